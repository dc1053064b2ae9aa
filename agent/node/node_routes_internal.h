/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes: what is wanted (node_routes_ranges.c) and what is there (node_routes.c).
 */
#pragma once

#include "agent/common/hash_table.h"
#include "agent/node/node_routes.h"
#include "agent/node/prefix_index.h"

struct peer;

/* A Node says that a range is its own. */
struct claim {
	struct pod_range *range;
	struct peer *peer;
	struct claim *next; /* of the same range */
};

/* A Node. */
struct peer {
	struct hash_table_item item;
	char *name;
	bool is_self;
	bool is_named;		       /* by the store, while all Nodes are read again */
	struct polder_addr *addresses; /* its InternalIPs */
	size_t address_count;
	struct claim *claims;
	size_t claim_count;
};

/* Why a range is not routed to who claims it. */
enum range_fault {
	RANGE_GOOD,
	RANGE_OURS,    /* it meets the range of this node's pods */
	RANGE_HOST,    /* it meets a network that this node is on */
	RANGE_SHARED,  /* several Nodes claim it */
	RANGE_AROUND,  /* a range of another Node lies inside */
	RANGE_GATEWAY, /* the Node's address is one of this node's */
};

enum range_want {
	WANT_NONE,
	WANT_ROUTE,
	WANT_UNKNOWN, /* no uplink has an address of that family at present: what is there stays */
};

struct next_stop {
	int ifindex;
	struct polder_addr gateway;
};

/* A range that Nodes claim, or that a route of Polder leads to. */
struct pod_range {
	struct prefix range; /* first: the index's item */
	struct claim *claims;
	enum range_fault fault, logged;
	enum range_want want;
	struct next_stop wanted, there;
	bool is_there;	 /* a route of Polder, by `there` */
	bool is_foreign; /* somebody else's route leads there the same way */
	int error;	 /* of the last try */
	char *why;	 /* the kernel's words; NULL */
	uint64_t failed_ns, due_ns;
	unsigned int level;
	struct range_list *list;
	struct pod_range *next, *prev;
};

struct range_list {
	struct pod_range *first, *last;
};

#define RESCAN(family) (1u << (family))
#define RESCAN_ALL     (RESCAN(FAMILY_V4) | RESCAN(FAMILY_V6))

struct node_routes {
	struct node_routes_env env;
	struct hash_table peers;
	struct prefix_index ranges;	 /* of struct pod_range */
	int uplinks[CONFIG_MAX_UPLINKS]; /* their numbers, as networks were read; 0: none */
	struct address_info *networks;
	size_t network_count;
	struct prefix_index hosts; /* the networks without host bits, each once: of host_items */
	struct prefix *host_items;
	struct range_list ready, failed[NODE_ROUTES_LEVELS];
	bool synced;
	bool peers_dirty;		 /* a Node's change found no memory: all are read again */
	bool networks_dirty;		 /* to be read again */
	unsigned int rescan;		 /* RESCAN(): the kernel's routes of a family as well */
	uint64_t networks_ns, rescan_ns; /* not before */
	uint64_t retry_ns;		 /* reading failed: nothing before */
	uint64_t pause_ns;		 /* the next slice: not before */
	uint64_t look_ns;		 /* are the uplinks the same? */
	uint64_t audit_ns;		 /* the kernel's routes are read even if nothing happened */
	size_t removed;			 /* by others, since the last line in the log */
	size_t failing;			 /* ranges with an error */
	bool logged_failing;
};

/* ------------------------------------------------ node_routes_ranges.c */

/* What a Node object says is followed, and the ranges that it concerns are to be looked at. 0 or
 * -ENOMEM: nothing has changed. */
int ranges_follow(struct node_routes *routes, const struct object *object, bool deleted);
/* All Nodes of the store, and no others. 0 or -ENOMEM. */
int ranges_read(struct node_routes *routes);
void ranges_clear(struct node_routes *routes);
/* The entry of a range, made if need be; NULL: no memory. */
struct pod_range *ranges_get(struct node_routes *routes, const struct prefix *range);
struct pod_range *ranges_find(const struct node_routes *routes, const struct prefix *range);
/* Nobody claims it, no route leads there, it stands in no list. */
void ranges_forget(struct node_routes *routes, struct pod_range *range);
/* Fault, want and wanted, as all Nodes and networks are now. */
void ranges_evaluate(const struct node_routes *routes, struct pod_range *range);
/* The fault in words, into `size` bytes. */
void ranges_describe(const struct node_routes *routes, const struct pod_range *range, char *text,
		     size_t size);
/* The Node that a range is told by; "" if nobody claims it. */
const char *ranges_node(const struct pod_range *range);

/* ------------------------------------------------ node_routes.c */

/* To be looked at in the next run, now and not later. */
void routes_ready(struct node_routes *routes, struct pod_range *range);
