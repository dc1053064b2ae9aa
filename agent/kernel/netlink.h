/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that speaks netlink (libmnl). Operations are named by intent and idempotent. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/common/address.h"

/* Recognises Polder's routes in `ip route show proto 80`. */
#define NETLINK_ROUTE_PROTOCOL 80

struct route_info;   /* netlink_network.h */
struct kernel_route; /* netlink_routes.h */
struct netlink;	     /* one route socket in one network namespace */

/* `netns_fd` -1: the current namespace; else the socket is opened in that one (setns and back). 0
 * or -errno. */
int netlink_open(int netns_fd, struct netlink **ret);
void netlink_close(struct netlink *nl); /* takes NULL */
/* The kernel's words on the last error (extended ACK), "" if none. */
const char *netlink_error(const struct netlink *nl);

#define LINK_ALIAS_SIZE 256

struct link_info {
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	uint32_t mtu;
	bool up;
	bool running; /* operational state UP: carrier, and the kernel sends on it. Never of links
			 without carrier (lo, dummy). */
	bool is_veth;
	uint32_t xdp_prog_id;	     /* 0: none */
	uint16_t type;		     /* ARPHRD_*: 1 has an Ethernet header */
	int master;		     /* the link that this one is a port of; 0: none */
	char kind[16];		     /* "dummy", "vlan", "tun"; "": a device */
	char slave_kind[16];	     /* of the master: "bridge", "bond", "vrf" */
	char alias[LINK_ALIAS_SIZE]; /* "": none */
};

/*
 * Makes a veth pair: `name` with `ifindex` and `mac` here, `peer_name` with `peer_mac` in the
 * namespace `peer_netns_fd`; both down, host side with no IPv6 address generation. -EEXIST: a name
 * or index is taken (netlink_error() tells which side).
 */
struct veth_spec {
	const char *name;
	int ifindex;
	uint8_t mac[6];
	const char *peer_name;
	uint8_t peer_mac[6];
	int peer_netns_fd;
	uint32_t mtu;
	const char *alias; /* of the link here; NULL or "": none */
};
int netlink_veth_add(struct netlink *nl, const struct veth_spec *spec);
int netlink_link_get(struct netlink *nl, const char *name, struct link_info *ret); /* -ENODEV */
/*
 * Does the link send what an XDP program in its driver gives back (XDP_TX)? One side of a veth pair
 * does only while the other side polls: it has an XDP program, or GRO is on. 1: yes; 0: no, frames
 * would be lost without a word; -ENOENT: the kernel does not say (before Linux 6.3); -errno.
 */
int netlink_xdp_sends(const struct link_info *link);
int netlink_link_get_index(struct netlink *nl, int ifindex, struct link_info *ret);
int netlink_link_list(struct netlink *nl, struct link_info **ret, size_t *ret_count);
int netlink_link_set_up(struct netlink *nl, int ifindex);
int netlink_link_set_down(struct netlink *nl, int ifindex);
int netlink_link_set_mtu(struct netlink *nl, int ifindex, uint32_t mtu);
int netlink_link_set_alias(struct netlink *nl, int ifindex, const char *alias);
/* The kernel gives the link no IPv6 address by itself. `alias` NULL or "": none. */
int netlink_link_refuse_addresses(struct netlink *nl, int ifindex, const char *alias);
/*
 * Is the link running? One whose other side came up after it drops all packets until the kernel's
 * link watch has seen it. From 6.8 on asking is enough; before, it takes some milliseconds. 0 or
 * -errno.
 */
int netlink_link_is_running(struct netlink *nl, int ifindex, bool *ret);
int netlink_link_delete(struct netlink *nl, int ifindex); /* gone already: 0 */
/* The MAC address of a veth pair's other side, in whatever namespace that is. 0 or -errno. */
int netlink_link_peer_mac(struct netlink *nl, int ifindex, uint8_t ret_mac[6]);

/* flags: IFA_F_NODAD for IPv6 is set always. Prefix host bits are kept. */
int netlink_address_add(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			uint8_t length);
/*
 * Are packets to an address of this namespace delivered? The kernel puts an IPv6 address's local
 * route in place some time after it has answered.
 */
bool netlink_address_is_local(struct netlink *nl, const struct polder_addr *addr);
int netlink_address_list(struct netlink *nl, int ifindex, struct prefix **ret, size_t *ret_count);

struct route_spec {
	struct prefix destination; /* length 0 or 96 with a zero address: default route */
	uint8_t family;		   /* enum polder_family */
	bool has_gateway;
	struct polder_addr gateway; /* on-link */
	int ifindex;
	bool has_source;
	struct polder_addr source;
	/* Of an IPv4 route with a gateway, below RT_SCOPE_SITE; 0: universe. It changes nothing of
	 * where packets go: the kernel tells by it what is on a link or on the host from the rest,
	 * and these numbers are nobody's. */
	uint8_t scope;
};
/* -EEXIST: there is one to this destination, whoever made it. */
int netlink_route_add(struct netlink *nl, const struct route_spec *route);
int netlink_route_replace(struct netlink *nl, const struct route_spec *route);
/* Of any scope. Gone already: 0. */
int netlink_route_delete(struct netlink *nl, const struct route_spec *route);
/* Is it in the table main? 0; -ENOENT: it is not; -errno: it is not known (no memory, no buffers).
 */
int netlink_route_find(struct netlink *nl, const struct route_spec *route);
/* The interface of the family's default route; -ENOENT. */
int netlink_default_route(struct netlink *nl, uint8_t family, int *ret_ifindex);

/*
 * Rules by which the node's stack forwards nothing with a source in one of `ranges` (at most one of
 * each family) unless its mark has the bit `mark`. Idempotent; other rules of Polder are deleted,
 * so with no range all of them are. `*ret_changed`: how many were missing or too many.
 */
int netlink_stack_rules_apply(struct netlink *nl, const struct prefix *ranges, size_t count,
			      uint32_t mark, size_t *ret_changed);

/* A permanent entry. */
int netlink_neighbour_replace(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			      const uint8_t mac[6]);

/*
 * clsact: a direct-action program on a link, replaced atomically under one handle and priority. One
 * behind runs when the first one is not there or leaves the packet to it.
 */
enum clsact_position { CLSACT_FIRST, CLSACT_BEHIND };
int netlink_clsact_attach(struct netlink *nl, int ifindex, bool egress,
			  enum clsact_position position, int prog_fd, const char *name);
int netlink_clsact_detach(struct netlink *nl, int ifindex, bool egress,
			  enum clsact_position position);
/* The program's id, 0: none. */
int netlink_clsact_query(struct netlink *nl, int ifindex, bool egress,
			 enum clsact_position position, uint32_t *ret_prog_id);

/*
 * Tells of each root queue that a link (0: any) has neither by itself nor by netlink_limit_set(),
 * and of "ingress", which leads what comes in to one. A link may be told twice. 0 or -errno.
 */
typedef void (*netlink_queue_visitor)(int ifindex, const char *kind, void *data);
int netlink_queue_list(struct netlink *nl, int ifindex, netlink_queue_visitor visit, void *data);

/* Any filter of a link's direction. */
struct clsact_filter {
	char kind[16]; /* "bpf", "u32", ... */
	uint32_t priority;
	uint32_t prog_id; /* 0: no program */
	bool ours;
};
/* All of them up to `size`, in the order in which they run; none where there is no qdisc. 0 or
 * -errno. */
int netlink_clsact_list(struct netlink *nl, int ifindex, bool egress, struct clsact_filter *ret,
			size_t size, size_t *ret_count);

/*
 * Events: a second socket joined to the groups of links, addresses, routes and neighbours, of both
 * families; of neighbours their going alone.
 * -ENOBUFS from netlink_monitor_read() means that messages were lost: read everything anew. It
 * reads a bounded number of messages; the descriptor stays readable while there are more. Of routes
 * those of the main table are told.
 */
struct netlink_monitor;
enum netlink_change {
	NETLINK_LINK_NEW,
	NETLINK_LINK_GONE,
	NETLINK_ADDRESS,
	NETLINK_ROUTES,
	NETLINK_NEIGHBOUR_GONE,
};
struct netlink_event {
	enum netlink_change change;
	struct link_info link;	 /* of an address or a neighbour its ifindex alone */
	struct polder_addr addr; /* a neighbour's */
	bool deleted;		 /* a route */
	/* A route as netlink_all_routes() lists it, and as those of Polder are listed; NULL: not
	 * there. */
	const struct route_info *route;
	const struct kernel_route *kernel_route;
};
typedef void (*netlink_listener)(const struct netlink_event *event, void *data);
int netlink_monitor_open(struct netlink_monitor **ret);
void netlink_monitor_close(struct netlink_monitor *monitor); /* takes NULL */
int netlink_monitor_fd(const struct netlink_monitor *monitor);
int netlink_monitor_read(struct netlink_monitor *monitor, netlink_listener listener, void *data);
