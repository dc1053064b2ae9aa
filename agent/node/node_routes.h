/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes to other nodes' pod ranges, where the other node is a neighbour on an uplink; nodes that
 * are none are left to the network's own routing. A Node's change costs what its own ranges cost:
 * what is wanted and what is there are both kept, by range, and what the kernel tells is followed.
 *
 *     peers (peers.h), what the kernel tells ──> wanted()             node_routes_due(): when
 *     node_routes_run()    a slice of what is to be done; never waits, never takes long
 *
 * Routes that fail are tried again, ever more rarely. Routes of Polder's protocol with a gateway
 * that nobody wants are deleted, but never before all objects are there, and never while something
 * that says what is wanted could not be read.
 */
#pragma once

#include "agent/config/config.h"
#include "agent/kernel/netlink_routes.h"
#include "agent/node/node.h"
#include "agent/node/peers.h"
#include "agent/store/store.h"

#define NODE_ROUTES_NEVER UINT64_MAX
/* A slice of work in the loop, and how long to others' turn. */
#define NODE_ROUTES_SLICE_NS 5000000ull
#define NODE_ROUTES_PAUSE_NS 1000000ull
/* Until a route that failed is tried again: doubled each time. */
#define NODE_ROUTES_RETRY_NS 1000000000ull
#define NODE_ROUTES_LEVELS   6 /* the last one: 32 s */
/* The kernel's routes are read again at most so often, */
#define NODE_ROUTES_RESCAN_NS 500000000ull
/* and the routes at least so often, whatever the kernel has told. */
#define NODE_ROUTES_AUDIT_NS 60000000000ull
/*
 * IPv4 routes by gateways behind one link stand in one chain of the kernel's, whatever the
 * gateways, which is searched for each new route: fib_find_info() in Linux'
 * net/ipv4/fib_semantics.c. Another scope is another chain. With more ranges than these routes are
 * spread over so many scopes.
 */
#define NODE_ROUTES_CHAIN  256
#define NODE_ROUTES_SCOPES 199
/* Whether the uplinks have other numbers is looked at so often. */
#define NODE_ROUTES_LOOK_NS 2000000000ull

struct node_routes;

/* What is around it; borrowed, as is all that it points to. */
struct node_routes_env {
	const struct store *store;
	const struct node *node; /* its uplinks */
	struct peers *peers;
	struct netlink *nl;
	uint64_t (*now_ns)(void *data); /* never goes back */
	/* node_routes_due() has changed. NULL: nobody wants to know. */
	void (*wanted)(void *data);
	void *data;
};

/* 0 or -ENOMEM. */
int node_routes_new(const struct node_routes_env *env, struct node_routes **ret);
/* Leaves the routes: running connections need them while no agent runs. Takes NULL. */
void node_routes_free(struct node_routes *routes);

/* Another node has the range now, or has it no more, or is reached by another way; NULL: any. */
void node_routes_changed(struct node_routes *routes, const struct prefix *range);
/* All objects of all sources are in the store. Before that runs do nothing. */
void node_routes_synced(struct node_routes *routes);
/* What the kernel tells of links, addresses and routes. */
void node_routes_heard(struct node_routes *routes, const struct netlink_event *event);
/* Routes may be others without a word: messages were lost. */
void node_routes_distrust(struct node_routes *routes);

/* When node_routes_run() has something to do, by the environment's clock. */
uint64_t node_routes_due(const struct node_routes *routes);
void node_routes_run(struct node_routes *routes);

/* Ranges of other Nodes, each counted once but for `failed` and `wanted`. */
struct node_routes_state {
	size_t wanted;	  /* there is to be a route */
	size_t installed; /* of these: it is there */
	size_t failed;	  /* of these: it could not be set; tried again */
	size_t refused;	  /* the range is not one to be routed to that Node, see problems */
	size_t elsewhere; /* the Node is no neighbour: the network's own routing leads there */
	size_t stale;	  /* routes of Polder that nobody wants, not deleted yet */
	bool complete;	  /* objects, addresses and routes have been read */
	char error[600]; /* of the route that fails for the longest time, with its Node; "": none */
	uint64_t failed_since_ns; /* that one; by the environment's clock */
};
void node_routes_state(const struct node_routes *routes, struct node_routes_state *ret);

/* One call for each range or address that a Node claims and does not get, and for each range whose
 * route fails: the Node, and why in words. At most `max` calls; how many there are. */
size_t node_routes_problems(const struct node_routes *routes, size_t max,
			    void (*visit)(const char *node, const char *reason, void *data),
			    void *data);
