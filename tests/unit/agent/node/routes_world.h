/* SPDX-License-Identifier: Apache-2.0 */
/* A node in a network namespace of its own: link up0 on 192.168.7.0/24 and 2001:db8:7::/64, a store
 * of Nodes, and the routes to them, by the kernel's own netlink. Time goes on as a test says. */
#pragma once

#include "agent/node/node_routes.h"

#define WORLD_UPLINK "up0"

struct routes_world {
	struct config config;
	struct node node;
	struct store *store;
	struct netlink *nl;
	struct netlink_monitor *monitor;
	struct peers *peers;
	struct node_routes *routes;
	uint64_t ahead_ns; /* of the real clock */
	unsigned int runs;
	uint64_t longest_ns; /* of a run, or of hearing, by the CPU's time */
	uint64_t busy_ns;    /* of all of them */
};

/* A namespace, a link, an agent that has not read its objects yet. Ends the program on failure. */
void world_open(struct routes_world *world);
void world_close(struct routes_world *world);
/* Another agent in the same namespace, with the same store: nothing is remembered. */
void world_restart(struct routes_world *world);
/* All there is is read. */
void world_synced(struct routes_world *world);

void world_add_uplink(void);
/* `ip` with these arguments, as an administrator says it. */
void world_ip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A Node with the number `n`: 192.168.7.(n), 2001:db8:7::(n), its ranges as given (NULL: none). */
void world_node(struct routes_world *world, unsigned int n, const char *range, const char *range6);
/* The same by its addresses. */
void world_node_at(struct routes_world *world, const char *name, const char *addresses,
		   const char *ranges);
void world_no_node(struct routes_world *world, unsigned int n);

/* Hears the kernel, and runs while something is due. */
void world_settle(struct routes_world *world);
/* Lets time pass, and does what becomes due meanwhile. */
void world_pass(struct routes_world *world, unsigned int ms);
struct node_routes_state world_state(const struct routes_world *world);

/* How many routes `ip route show` has for these words ("proto 80", "10.2.0.0/24 via 192.168.7.2").
 */
unsigned int world_routes(const char *words);
