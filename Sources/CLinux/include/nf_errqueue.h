/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The error queue of a socket (ip(7), IP_RECVERR), whose records stand behind a macro. */
#ifndef NF_ERRQUEUE_H
#define NF_ERRQUEUE_H

#include <stdint.h>
#include <sys/socket.h>

/* Takes the oldest ICMP or ICMPv6 error from the queue: its type, its code and who sent it. 0 when there is none. */
int nf_take_icmp_error(int socket, uint8_t *type, uint8_t *code, struct sockaddr_storage *offender);

#endif
