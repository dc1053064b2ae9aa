/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes' pod ranges, where the other node is a neighbour on an uplink. */
#pragma once

#include "agent/node/node.h"
#include "agent/store/store.h"

struct node_routes;

int node_routes_new(struct node_routes **ret);
/* Leaves the routes: running connections need them while no agent runs. Takes NULL. */
void node_routes_free(struct node_routes *routes);
/*
 * Adds and removes routes so that each other Node's ranges lead to its InternalIP of that family.
 * Nodes that are no neighbours are left to the network's own routing. 0 or the first error; goes on
 * after one. If it is not known which routes are wanted (no memory, the uplinks' addresses could
 * not be read), none is deleted.
 */
int node_routes_apply(struct node_routes *routes, const struct store *store,
		      const struct config *config, const struct node *node, struct netlink *nl);
