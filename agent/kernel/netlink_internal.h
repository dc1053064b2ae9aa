/* SPDX-License-Identifier: Apache-2.0 */
/* What the netlink sources share: one socket, one function that sends and receives. */
#pragma once

#include <libmnl/libmnl.h>
#include <stddef.h>

#include "agent/kernel/netlink.h"

/* The kernel's dumps come in messages of up to 32 KiB. */
#define NETLINK_RECEIVE_SIZE (64 * 1024)
#define NETLINK_SEND_SIZE    4096
/* Dumps that a change interrupted are read again, so often. */
#define NETLINK_DUMP_TRIES 16
/* Of the queues that are Polder's own (netlink_limit.h): 0x504c, "PL". */
#define NETLINK_LIMIT_MAJOR 0x504cu

struct mnl_socket;

struct netlink {
	struct mnl_socket *socket;
	int protocol; /* NETLINK_* */
	unsigned int port;
	unsigned int sequence;
	char error[256];
	/* clsact qdiscs that were there before us */
	int *foreign_qdiscs;
	size_t foreign_qdisc_count;
	char send[NETLINK_SEND_SIZE] __attribute__((aligned(8)));
	char receive[NETLINK_RECEIVE_SIZE] __attribute__((aligned(8)));
};

/* netlink_open() for another protocol than that of routes (NETLINK_*). */
int netlink_open_protocol(int netns_fd, int protocol, struct netlink **ret);

/* Called for each message of data. A negative value ends the transaction with that error; the rest
 * is still read. */
typedef int (*netlink_callback)(const struct nlmsghdr *header, void *data);

/* Begins a request in nl->send: NLM_F_REQUEST is set, and NLM_F_ACK unless it is a dump. */
struct nlmsghdr *netlink_begin(struct netlink *nl, uint16_t type, uint16_t flags);

/* Sends what netlink_begin() began and reads the answer to its end. `callback` may be NULL. 0 or
 * -errno. */
int netlink_talk(struct netlink *nl, struct nlmsghdr *request, netlink_callback callback,
		 void *data);

/*
 * The same for dumps: read again when the kernel says that it changed meanwhile. `reset` empties
 * what `callback` gathered. -EAGAIN when it never came whole.
 */
int netlink_dump(struct netlink *nl, struct nlmsghdr *request, netlink_callback callback,
		 void (*reset)(void *data), void *data);

/*
 * netlink_dump() of the main table's routes, of a family (AF_*; AF_UNSPEC: of both) and a protocol
 * (0: of all). Others do not leave the kernel, or `callback` has to pass over them: before Linux
 * 4.20, and where a family is missing. A table that nothing stands in yet has no routes.
 */
int netlink_dump_main_routes(struct netlink *nl, uint8_t family, uint8_t protocol,
			     netlink_callback callback, void (*reset)(void *data), void *data);

void netlink_set_error(struct netlink *nl, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* 0; -EINVAL for a message that does not hold a link. */
int netlink_link_decode(const struct nlmsghdr *header, struct link_info *ret);

struct address_info;
/* False: the message holds no address of a link. `ret` has to be zeroed. */
bool netlink_address_decode(const struct nlmsghdr *header, struct address_info *ret);

struct kernel_route;
/* False: the message holds no route of the main table. */
bool netlink_kernel_route_decode(const struct nlmsghdr *header, struct kernel_route *ret);
/* False: no route that netlink_all_routes() would list. `ret` has to be zeroed. */
bool netlink_route_decode(const struct nlmsghdr *header, struct route_info *ret);

/* AF_INET or AF_INET6. */
uint8_t netlink_family(const struct polder_addr *addr);
/* The address's 4 or 16 bytes. */
const void *netlink_addr_bytes(const struct polder_addr *addr);
void netlink_put_addr(struct nlmsghdr *header, uint16_t type, const struct polder_addr *addr);
/* Reads 4 or 16 bytes. 0 or -EINVAL. */
int netlink_get_addr(const struct nlattr *attr, struct polder_addr *ret);
