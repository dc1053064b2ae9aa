/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes: what is wanted (node_routes_ranges.c) and what is there (node_routes.c).
 */
#pragma once

#include "agent/node/node_routes.h"
#include "agent/node/prefix_index.h"

enum range_want {
	WANT_NONE,
	WANT_ROUTE,
	WANT_UNKNOWN, /* no uplink has an address of that family at present: what is there stays */
};

/* By a neighbour, or (no gateway) by the tunnel with a source. */
struct next_stop {
	int ifindex;
	struct polder_addr gateway, source;
};

/* A range that Nodes claim, or that a route of Polder leads to. */
struct pod_range {
	struct prefix range; /* first: the index's item */
	enum range_want want;
	struct next_stop wanted, there;
	bool is_claimed; /* by another Node */
	bool is_told;	 /* in the log: a claim is refused */
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
	struct prefix_index ranges;	 /* of struct pod_range */
	int uplinks[CONFIG_MAX_UPLINKS]; /* their numbers, as routes were read; 0: none */
	struct range_list ready, failed[NODE_ROUTES_LEVELS];
	bool synced;
	bool claims_dirty;   /* a range found no memory: all claims are looked at again */
	unsigned int rescan; /* RESCAN(): the kernel's routes of a family are read again */
	uint64_t rescan_ns;  /* not before */
	uint64_t retry_ns;   /* reading failed: nothing before */
	uint64_t pause_ns;   /* the next slice: not before */
	uint64_t look_ns;    /* are the uplinks the same? */
	uint64_t audit_ns;   /* the kernel's routes are read even if nothing happened */
	size_t removed;	     /* by others, since the last line in the log */
	size_t failing;	     /* ranges with an error */
	bool logged_failing;
};

/* ------------------------------------------------ node_routes_ranges.c */

void ranges_clear(struct node_routes *routes);
/* The entry of a range, made if need be; NULL: no memory. */
struct pod_range *ranges_get(struct node_routes *routes, const struct prefix *range);
struct pod_range *ranges_find(const struct node_routes *routes, const struct prefix *range);
/* Nobody claims it, no route leads there, it stands in no list. */
void ranges_forget(struct node_routes *routes, struct pod_range *range);
/* What is wanted, as peers are now. */
void ranges_evaluate(const struct node_routes *routes, struct pod_range *range);
/* Entries for all that Nodes claim, to be looked at. 0 or -ENOMEM. */
int ranges_read(struct node_routes *routes);
/* The Node that has the range; "" if nobody has. */
const char *ranges_node(const struct node_routes *routes, const struct pod_range *range);

/* ------------------------------------------------ node_routes.c */

/* To be looked at in the next run, now and not later. */
void routes_ready(struct node_routes *routes, struct pod_range *range);
