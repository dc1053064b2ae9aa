/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes' addresses and ranges, and what is told of addresses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/policy_sync_internal.h"
#include "agent/common/address.h"

/* A list that all addresses have grown, as at the start, is given back. */
#define TOUCHED_KEPT 1024

void address_touched(const struct polder_addr *addr, void *data)
{
	struct policy_sync *sync = data;
	size_t room = sync->touched_room ? 2 * sync->touched_room : 64;
	struct polder_addr *grown;

	if (!addr) {
		sync->move_owed = true;
		return;
	}
	if (sync->touched_count == sync->touched_room) {
		grown = reallocarray(sync->touched, room, sizeof(*grown));
		if (!grown) {
			sync->move_owed = true;
			return;
		}
		sync->touched = grown;
		sync->touched_room = room;
	}
	sync->touched[sync->touched_count++] = *addr;
}

void touched_settle(struct policy_sync *sync)
{
	if (sync->touched_count || sync->touched_room <= TOUCHED_KEPT)
		return;
	free(sync->touched);
	sync->touched = NULL;
	sync->touched_room = 0;
}

/* Is it this node's, or in its pod range? Then another Node object must not have it. */
bool address_is_own(const struct polder_addr *addr, const void *data)
{
	const struct policy_sync *sync = data;
	size_t i;

	if ((sync->config->pod_cidr_v4.length &&
	     prefix_contains(&sync->config->pod_cidr_v4, addr)) ||
	    (sync->config->pod_cidr_v6.length && prefix_contains(&sync->config->pod_cidr_v6, addr)))
		return true;
	for (i = 0; i < sync->node->address_count; i++)
		if (memcmp(&sync->node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return memcmp(&sync->node->ipv4, addr, sizeof(*addr)) == 0 ||
	       memcmp(&sync->node->ipv6, addr, sizeof(*addr)) == 0;
}

/* ---------------------------------------------------------------- nodes and ranges */

static const char this_node[] = "this node", another_node[] = "another node";

static int fix_prefix(struct policy_sync *sync, const char *owner, const struct prefix *prefix,
		      uint32_t identity, uint32_t flags)
{
	return prefix->length ? addresses_fix(sync->addresses, prefix, owner, identity, flags) : 0;
}

static int fix_address(struct policy_sync *sync, const char *owner, const struct polder_addr *addr,
		       uint32_t identity, uint32_t flags)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	return addr_is_zero(addr) ? 0
				  : addresses_fix(sync->addresses, &prefix, owner, identity, flags);
}

/* Must the addresses be pods? Then no other range says what they are, also none inside. */
static bool in_pod_range(const struct policy_sync *sync, const struct object *const *nodes,
			 size_t count, const struct prefix *prefix)
{
	const struct config *config = sync->config;

	if ((config->pod_cidr_v4.length &&
	     prefix_covers(&config->pod_cidr_v4, &prefix->addr, prefix->length)) ||
	    (config->pod_cidr_v6.length &&
	     prefix_covers(&config->pod_cidr_v6, &prefix->addr, prefix->length)))
		return true;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < nodes[i]->node.pod_range_count; j++)
			if (prefix_covers(&nodes[i]->node.pod_ranges[j], &prefix->addr,
					  prefix->length))
				return true;
	return false;
}

static void report_own_address(struct policy_sync *sync, const struct object *node,
			       const char *what, const struct polder_addr *addr)
{
	char subject[128], text[INET6_ADDRSTRLEN];

	snprintf(subject, sizeof(subject), "node %s", node->name);
	policy_sync_problem_add(&sync->node_problems, &sync->node_problem_count, subject,
				"its %s %s is this node's: is --node-name right?", what,
				addr_format(addr, text));
}

static int fix_other_node(struct policy_sync *sync, const struct object *object)
{
	const struct node_object *other = &object->node;
	int r = 0;

	for (size_t i = 0; i < other->pod_range_count && r == 0; i++) {
		if (address_is_own(&other->pod_ranges[i].addr, sync))
			report_own_address(sync, object, "pod range", &other->pod_ranges[i].addr);
		else
			r = fix_prefix(sync, another_node, &other->pod_ranges[i],
				       IDENTITY_UNKNOWN_POD, ADDRESS_POD_RANGE);
	}
	for (size_t i = 0; i < other->address_count && r == 0; i++) {
		if (address_is_own(&other->addresses[i], sync))
			report_own_address(sync, object, "address", &other->addresses[i]);
		else
			r = fix_address(sync, another_node, &other->addresses[i],
					IDENTITY_REMOTE_NODE, ADDRESS_NODE);
	}
	return r;
}

/* What counts where two say something of one address or range comes last. */
static int fix_this_node(struct policy_sync *sync, const struct object *const *nodes, size_t count)
{
	const uint32_t range = ADDRESS_POD_RANGE | ADDRESS_LOCAL,
		       own = ADDRESS_NODE | ADDRESS_LOCAL;
	const struct config *config = sync->config;
	const struct node *node = sync->node;
	int r = 0;

	for (size_t i = 0; i < config->no_masquerade_count && r == 0; i++)
		if (!in_pod_range(sync, nodes, count, &config->no_masquerade[i]))
			r = fix_prefix(sync, this_node, &config->no_masquerade[i], IDENTITY_WORLD,
				       ADDRESS_NO_MASQ);
	if (r == 0)
		r = fix_prefix(sync, this_node, &config->pod_cidr_v4, IDENTITY_UNKNOWN_POD, range);
	if (r == 0)
		r = fix_prefix(sync, this_node, &config->pod_cidr_v6, IDENTITY_UNKNOWN_POD, range);
	for (size_t i = 0; i < node->address_count && r == 0; i++)
		r = fix_address(sync, this_node, &node->addresses[i].addr, IDENTITY_HOST, own);
	if (r == 0)
		r = fix_address(sync, this_node, &node->ipv4, IDENTITY_HOST, own);
	if (r == 0)
		r = fix_address(sync, this_node, &node->ipv6, IDENTITY_HOST, own);
	return r;
}

int nodes_write(struct policy_sync *sync)
{
	size_t count;
	const struct object *const *nodes = store_objects(sync->store, OBJECT_NODE, &count);
	int r;

	if (!sync->nodes_dirty)
		return 0;
	sync->node_problem_count = 0;
	addresses_fix_begin(sync->addresses);
	r = fix_this_node(sync, nodes, count);
	for (size_t i = 0; i < count && r == 0; i++)
		if (strcmp(nodes[i]->name, sync->config->node_name) != 0)
			r = fix_other_node(sync, nodes[i]);
	if (r < 0)
		return r;
	addresses_fix_end(sync->addresses);
	sync->nodes_dirty = false;
	return 0;
}

/* ---------------------------------------------------------------- what is told */

static void list_address(const struct address_problem *problem, void *data)
{
	struct policy_sync *sync = data;
	char subject[128], text[INET6_ADDRSTRLEN];

	snprintf(subject, sizeof(subject), "%s%s", problem->pod ? "pod " : "", problem->owner);
	addr_format(problem->addr, text);
	if (problem->no_room)
		policy_sync_problem_add(
			&sync->problems, &sync->problem_count, subject,
			"no room for its address %s: map addresses has %u entries, all in "
			"use; raise --max-addresses",
			text, maps_get(sync->maps, MAP_ADDRESSES)->max_entries);
	else
		policy_sync_problem_add(
			&sync->problems, &sync->problem_count, subject,
			"its address %s is another pod's or a node's already: not taken", text);
}

static void list_pods(struct policy_sync *sync)
{
	struct policy_sync_problem *problem;
	const struct synced_pod *pod;
	char subject[128];

	for (pod = sync->pods; pod; pod = pod->next) {
		if (!pod->closed)
			continue;
		snprintf(subject, sizeof(subject), "pod %s", pod->key);
		problem = policy_sync_problem_add(
			&sync->problems, &sync->problem_count, subject,
			"closed: its policies do not fit in the maps; raise "
			"--max-policy-entries");
		if (problem)
			problem->pod_closed = true;
	}
}

static void list_copies(struct policy_sync *sync, const struct policy_sync_problem *problems,
			size_t count)
{
	for (size_t i = 0; i < count; i++)
		policy_sync_problem_copy(&sync->problems, &sync->problem_count, &problems[i]);
}

void policy_sync_list_problems(struct policy_sync *sync)
{
	if (sync->problems_known)
		return;
	sync->problem_count = 0;
	list_copies(sync, sync->rule_problems, sync->rule_problem_count);
	list_pods(sync);
	list_copies(sync, sync->node_problems, sync->node_problem_count);
	addresses_problems(sync->addresses, list_address, sync);
	sync->problems_known = true;
}
