/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of the ABI that is about Services: included by abi.h alone, which has the types. */
#pragma once

/*
 * Hash `services`: addresses and ports at which Services are served. Port 0 and protocol 0: the
 * address is a Service's, whatever the port. The family's unspecified address (::ffff:0.0.0.0, ::)
 * stands for all addresses that `addresses` says serve node ports (ADDRESS_NODE_PORTS).
 */
struct service_key {
	struct polder_addr addr;
	__be16 port_be;
	__u8 proto;
	__u8 pad;
};
ABI_SIZE(struct service_key, 20);
enum service_flag {
	SERVICE_ADDRESS_ONLY = 1 << 0,
	SERVICE_EXTERNAL = 1 << 1, /* also for who is outside: a node port, an external or a load
				      balancer's address, a host port */
	SERVICE_EXTERNAL_LOCAL = 1 << 2, /* what comes from outside goes to endpoints of this node
					    only, from the address that it has */
	SERVICE_INTERNAL_LOCAL = 1 << 3, /* what comes from pods and the node itself goes to
					    endpoints of this node only */
	SERVICE_SOURCES = 1 << 4, /* from outside only for the sources in `service_sources` */
	SERVICE_DSR = 1 << 5, /* to an endpoint of another node untranslated: that node translates,
				 and answers from the Service's address */
	SERVICE_NODE_PORT = 1 << 6, /* at the unspecified address */
	SERVICE_HOST_PORT = 1 << 7, /* of one pod of this node, see `hostPort` of CNI's portMappings
				     */
};

/*
 * A Service's port has a set of endpoints for all that may use every node's, and one for what has
 * to stay on this node. They overlap in one row of `backends`: first those of this node's set
 * alone, then those of both, then the others. All addresses of one family that lead to a Service's
 * port name the same row, and have the same id.
 */
struct service_entry {
	__u32 id;	     /* number of the Service's port, stable while it exists */
	__u32 flags;	     /* enum service_flag */
	__u32 backend_first; /* index in `backends`; another row for each change */
	__u32 backend_count; /* 0: no endpoint, reject */
	__u32 local_first;   /* this node's set, the same way */
	__u32 local_count;   /* 0: what has to stay on this node is dropped if other nodes have
				endpoints, else rejected */
	__u32 table_first;   /* element of `service_tables`; see table_size */
	__u32 table_size;    /* cells; 0: an endpoint is chosen at random, each as likely */
	__u32 local_table_first;
	__u32 local_table_size;
	__u32 affinity_seconds; /* a client stays with its endpoint so long after its last use of
				   it; 0: it does not */
	__u32 reserved;		/* zero */
};
ABI_SIZE(struct service_entry, 48);

/*
 * Array `service_tables`: for each cell of a Service's table an endpoint, as its place in the set's
 * row; a table begins with an element of its own. A client's cell is its tuple's hash, without the
 * node's own seed, modulo the table's size: nodes that know the same endpoints choose the same one
 * (Maglev, Eisenbud et al., NSDI 2016, 3.4). A table is written before an entry of `services` names
 * it, and its elements are used again only when no program can still be reading it.
 */
#define SERVICE_CELLS 32 /* of an element, which is a cache line: it is written at once */
struct service_cells {
	__u16 places[SERVICE_CELLS];
};
ABI_SIZE(struct service_cells, 64);

/* LPM trie `service_sources` -> __u32, 1: who may use a Service's port from outside. prefixlen = 32
 * + bits of the 128-bit address. */
struct service_source_key {
	__u32 prefixlen;
	__u32 service_id;
	struct polder_addr addr;
};
ABI_SIZE(struct service_source_key, 24);

/* LRU hash `service_affinity`: which endpoint a client has, for Services with affinity. */
struct service_affinity_key {
	struct polder_addr client; /* all 0: sockets of this node */
	__u32 service_id;
};
ABI_SIZE(struct service_affinity_key, 20);
struct service_affinity {
	struct polder_addr endpoint;
	__be16 port_be;
	__u16 pad;
	__u32 used; /* seconds of the coarse monotonic clock: its last use */
};
ABI_SIZE(struct service_affinity, 24);

/*
 * Array `backends`: the endpoints that new flows may be sent to. Those of one Service's port stand
 * in a row; the range is written before an entry of `services` names it, and used again only when
 * no program can still be reading it.
 */
struct backend {
	struct polder_addr addr;
	__be16 port_be;
	__u16 pad;
};
ABI_SIZE(struct backend, 20);

/* Hash `backend_states`: endpoints a flow that exists may stay with -> __u32 enum backend_state. */
struct backend_state_key {
	__u32 service_id;
	struct polder_addr addr;
	__be16 port_be;
	__u16 pad;
};
ABI_SIZE(struct backend_state_key, 24);
enum backend_state { BACKEND_ACTIVE = 1, BACKEND_TERMINATING = 2 };

/*
 * Array `host_endpoints`: a bit for each port, set by the programs: processes of the node answer a
 * Service's clients outside from it, so what the node sends from it may be such an answer. Never
 * cleared: a hint, the flow table decides.
 */
#define HOST_ENDPOINT_WORDS 1024 /* of 64 bits */

/*
 * Hash `announced`, by address: load balancers' addresses that this node announces on an uplink.
 * The programs answer ARP requests and neighbour solicitations for them, until the time is over:
 * who writes it prolongs it, so that a node whose agent has gone for good lets go of its addresses.
 */
#define ANNOUNCED_MAX 4096
struct announced {
	__u64 until_ns; /* of the clock that goes on while the machine is suspended */
	__u64 term;	/* how often the address has been taken over, as its announcers count */
	__s64 since;	/* seconds since 1970 */
	__u32 ifindex;	/* of the uplink */
	__u8 mac[6];	/* of it */
	__u8 pad[2];
};
ABI_SIZE(struct announced, 40);

/*
 * Hash `socket_peers`: key __u64, the cookie of a socket of the node that is connected to an
 * endpoint by a Service. The programs write it at connect() and delete it when the socket is closed
 * or connects elsewhere; the agent finds here whose endpoint has gone.
 */
struct socket_peer {
	struct polder_addr service;
	struct polder_addr endpoint;
	__be16 service_port_be;
	__be16 endpoint_port_be;
	__u8 proto;
	__u8 pad[3];
	__u32 since; /* ticks */
};
ABI_SIZE(struct socket_peer, 44);

/* LRU hash `socket_origins`: what a socket of the node asked for before the translation of a
 * datagram at the socket. */
struct socket_origin_key {
	__u64 cookie;
	struct polder_addr addr; /* of the endpoint */
	__be16 port_be;
	__u16 pad[3];
};
ABI_SIZE(struct socket_origin_key, 32);
struct socket_origin {
	struct polder_addr addr; /* of the Service */
	__be16 port_be;
	__u16 pad;
};
ABI_SIZE(struct socket_origin, 20);
