/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and UDP sockets of this network namespace, found by the address that they are connected to,
 * and ended (sock_diag(7)). In any thread, but one handle in one thread at a time.
 */
#pragma once

#include <linux/inet_diag.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/abi.h"

struct netlink;

/* To be closed by netlink_close(). 0 or -errno. */
int sock_diag_open(struct netlink **ret);

struct connected_socket {
	uint64_t cookie; /* of no other socket of the machine, ever */
	uint8_t proto;
	uint8_t family;		   /* AF_*: an IPv6 socket may be connected to an IPv4 address */
	struct polder_addr remote; /* whom it is connected to */
	uint16_t remote_port_be;
	struct inet_diag_sockid id; /* as the kernel names it */
};
/* 0, or -errno, which ends the list. */
typedef int (*sock_diag_visitor)(const struct connected_socket *socket, void *data);

/* With so many at most the kernel itself leaves out the sockets of others. */
#define SOCK_DIAG_PEERS_MAX 32

/*
 * Sockets of a protocol (IPPROTO_TCP, IPPROTO_UDP) that are connected, or about to be; with `count`
 * from 1 to SOCK_DIAG_PEERS_MAX only those that are to one of `peers`. 0 or -errno; -EOPNOTSUPP:
 * this kernel does not tell of them.
 */
int sock_diag_list(struct netlink *nl, uint8_t proto, const struct backend *peers, size_t count,
		   sock_diag_visitor visit, void *data);
/*
 * Does a socket wait at this address and port (host byte order), or at all addresses? An
 * unspecified address: at any of its family. 0: one does, `*ret_user` owns it; -ENOENT: none;
 * -errno: not known.
 */
int sock_diag_find_listener(struct netlink *nl, uint8_t proto, const struct polder_addr *addr,
			    uint16_t port, uint32_t *ret_user);
/*
 * Ends the very socket: whoever uses it gets ECONNABORTED, the other side of TCP a reset. -ENOENT:
 * it is gone, or connected to somebody else; -EOPNOTSUPP: this kernel cannot
 * (CONFIG_INET_DIAG_DESTROY); -errno.
 */
int sock_diag_end(struct netlink *nl, const struct connected_socket *socket);
/* Can it? 0; -EOPNOTSUPP; -errno. */
int sock_diag_probe(struct netlink *nl);
