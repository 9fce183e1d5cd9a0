/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the lab process needs of the C library and Swift cannot say: packets with descriptors, listening beside a folder
 * whose path may be longer than a socket's address, datagrams answered from the address that they were sent to.
 *
 * Functions return 0 or more, or a negative errno.
 */
#ifndef NF_PROCESS_H
#define NF_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>

#define NF_PACKET_DESCRIPTORS 16

/* Sends one packet with at most NF_PACKET_DESCRIPTORS descriptors; -EAGAIN when the socket is full. */
int nf_packet_send(int socket, const void *bytes, size_t size, const int *descriptors, size_t count);

/*
 * Receives one packet without waiting; its size, 0 at the end of the connection. `descriptors` takes
 * NF_PACKET_DESCRIPTORS, close-on-exec. -EMSGSIZE, and no descriptor, when the packet or what came with it is larger
 * than there is room for.
 */
long nf_packet_receive(int socket, void *bytes, size_t size, int *descriptors, size_t *count);

/* A listening SOCK_SEQPACKET socket `name` in the folder, which only the owner can connect to; an old one is replaced. */
int nf_control_listen(int folder, const char *name);

/* A connected, non-blocking socket. */
int nf_control_connect(int folder, const char *name);

/* A close-on-exec pipe: reading end, writing end. */
int nf_pipe(int ends[2]);

/* Who is at the other end of a connected AF_UNIX socket. */
int nf_peer(int socket, pid_t *pid, uid_t *uid);

/* Binds a socket of AF_INET or AF_INET6 to every address and `port` (host byte order); IPv6 alone for the latter. */
int nf_bind_any(int socket, int domain, uint16_t port);

/* A socket that listens on the loopback address of AF_INET or AF_INET6, close-on-exec and non-blocking. Negative: the
   error's number. */
int nf_listen_loopback(int domain, uint16_t port);

/* The next connection of a listening socket: close-on-exec and non-blocking, as `socket` should be. */
int nf_accept(int socket);

/* What a datagram is answered with: nothing, itself, or always the same. */
enum nf_answer { NF_ANSWER_NONE, NF_ANSWER_ECHO, NF_ANSWER_FIXED };

/* Reads datagrams until there is none, at most 64, and answers each from the address it was sent to. How many were
   read. */
int nf_answer_datagrams(int socket, enum nf_answer answer, const void *fixed, size_t length);

/* A close-on-exec descriptor of a process, so that a signal hits that one and no later one of its number. */
int nf_pidfd_open(pid_t pid);

/* A descriptor that becomes readable when SIGTERM, SIGINT or SIGHUP comes, of which a process has one; SIGPIPE is ignored
   from now on. */
int nf_signal_descriptor(void);

/*
 * Room for descriptors: as many as this process may have, and a table for some thousand at once. When a process with
 * several threads outgrows its table, the kernel waits for a grace period at each doubling (expand_fdtable), together
 * some 10 ms on the way to 400; before the first thread it costs nothing.
 */
void nf_reserve_descriptors(void);

/*
 * Before another program begins: the soft limit on descriptors as this process was given it, since a program that
 * uses select(2), or closes all that may be open, relies on it. Of use in a child of a process with threads.
 */
void nf_restore_descriptor_limit(void);

/*
 * Lets every heap of the process grow by `bytes` at once and keep what it has. By default a thread's heap grows by the
 * page, each time with an mprotect(2) that stops all threads. What is not used stays virtual.
 */
void nf_heap_grow_by(int bytes);

#endif
