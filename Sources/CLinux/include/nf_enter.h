/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way into a lab, walked before any thread exists: a user namespace can be made or joined by a process with one
 * thread only. A constructor looks at the arguments; when they are
 *
 *     netforge __enter N      become a program in a node
 *     netforge __lab N        become a lab process: set up, then go on into main
 *
 * and descriptor N is a sealed memory file that begins with NF_ENTRY_MAGIC, it does what the file says. In every other
 * case it does nothing at all.
 *
 * The file is a list of strings, each ended by a NUL: the magic, then pairs of a tag and a value. They are carried out
 * in this order, whatever order they stand in:
 *
 *     rootless 1        new user, mount and network namespaces; ids mapped; a /run of its own with room for /run/netns
 *     user N, mount N, net N
 *                       join the namespace that descriptor N holds
 *     netns PATH        join the network namespace at PATH, as seen after the mount namespace was joined
 *     view 1            a mount namespace of its own, /sys as the network namespace has it
 *     bind SOURCE, on TARGET
 *                       show SOURCE at TARGET; what is missing of TARGET is made up in memory, never on a disk
 *     env NAME=VALUE, cwd PATH, arg TEXT
 *                       the program: `arg`s in order
 *     status N          descriptor that takes a failure instead of standard error
 *
 * Values of other tags are for main. A failure is written to `status` as four strings, each ended by a NUL: one of
 * "permission", "unavailable", "not-started", "bug"; the errno; what could not be done; why; and, when known, what
 * would mend it. To standard error it goes as one line. The exit code is 127 when the program is not there, else 126.
 */
#ifndef NF_ENTER_H
#define NF_ENTER_H

#include <stddef.h>
#include <stdint.h>

#define NF_ENTRY_MAGIC "netforge-entry-1"
#define NF_ENTRY_LIMIT (4u << 20)

/* A sealed memory file with these bytes, close-on-exec, at its beginning; or a negative errno. */
int nf_sealed_file(const void *bytes, size_t size);

/* Whether a descriptor is a memory file that nobody can change any more: its size, or a negative errno. */
int64_t nf_sealed_size(int descriptor);

/* A close-on-exec socket in the network namespace that `netns` holds, made on a thread of its own that ends with the
   call; or a negative errno. The socket stays in that namespace wherever it is used. */
int nf_socket_in(int netns, int domain, int type, int protocol);

/* Whether and how this user can make user namespaces: 0, or a positive errno. Forks once. */
int nf_user_namespace_probe(void);

/* What to say about a user namespace that could not be made or used: looks at the settings that forbid it. */
const char *nf_user_namespace_remedy(int error);

/* Gives the calling thread the signal mask that the process began with: before exec, which hands the thread's own mask
   on, and the threads of a pool block nearly every signal. 0 or an errno. */
int nf_restore_signal_mask(void);

/* This process adopts the orphans of its children. 0 or an errno. */
int nf_become_subreaper(void);

/* The pid of a child that has ended and is not yet waited for, without waiting for it; 0 when there is none. */
int nf_ended_child(void);

#endif
