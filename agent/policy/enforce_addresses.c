/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes' addresses and ranges, and what is told of addresses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/enforce_internal.h"
#include "policy/objects/address.h"

void address_touched(const struct polder_addr *addr, void *data)
{
	struct enforce *e = data;
	size_t room = e->touched_room ? 2 * e->touched_room : 64;
	struct polder_addr *grown;

	if (!addr) {
		e->move_owed = true;
		return;
	}
	if (e->touched_count == e->touched_room) {
		grown = reallocarray(e->touched, room, sizeof(*grown));
		if (!grown) {
			e->move_owed = true;
			return;
		}
		e->touched = grown;
		e->touched_room = room;
	}
	e->touched[e->touched_count++] = *addr;
}

/* Is it this node's, or in its pod range? Then another Node object must not have it. */
bool address_is_own(const struct polder_addr *addr, const void *data)
{
	const struct enforce *e = data;
	size_t i;

	if ((e->config->pod_cidr_v4.length && prefix_contains(&e->config->pod_cidr_v4, addr)) ||
	    (e->config->pod_cidr_v6.length && prefix_contains(&e->config->pod_cidr_v6, addr)))
		return true;
	for (i = 0; i < e->node->address_count; i++)
		if (memcmp(&e->node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return memcmp(&e->node->ipv4, addr, sizeof(*addr)) == 0 ||
	       memcmp(&e->node->ipv6, addr, sizeof(*addr)) == 0;
}

/* ---------------------------------------------------------------- nodes and ranges */

static const char this_node[] = "this node", another_node[] = "another node";

static int fix_prefix(struct enforce *e, const char *owner, const struct prefix *prefix,
		      uint32_t identity, uint32_t flags)
{
	return prefix->length ? addresses_fix(e->addresses, prefix, owner, identity, flags) : 0;
}

static int fix_address(struct enforce *e, const char *owner, const struct polder_addr *addr,
		       uint32_t identity, uint32_t flags)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	return addr_is_zero(addr) ? 0
				  : addresses_fix(e->addresses, &prefix, owner, identity, flags);
}

/* Must the addresses be pods? Then no other range says what they are, also none inside. */
static bool in_pod_range(const struct enforce *e, const struct object *const *nodes, size_t count,
			 const struct prefix *prefix)
{
	const struct config *config = e->config;

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

static void tell_own(struct enforce *e, const struct object *node, const char *what,
		     const struct polder_addr *addr)
{
	char subject[128], text[INET6_ADDRSTRLEN];

	snprintf(subject, sizeof(subject), "node %s", node->name);
	enforce_problem_add(&e->node_problems, &e->node_problem_count, subject,
			    "its %s %s is this node's: is --node-name right?", what,
			    addr_format(addr, text));
}

static int fix_other_node(struct enforce *e, const struct object *object)
{
	const struct node_object *other = &object->node;
	int r = 0;

	for (size_t i = 0; i < other->pod_range_count && r == 0; i++) {
		if (address_is_own(&other->pod_ranges[i].addr, e))
			tell_own(e, object, "pod range", &other->pod_ranges[i].addr);
		else
			r = fix_prefix(e, another_node, &other->pod_ranges[i], IDENTITY_UNKNOWN_POD,
				       ADDRESS_POD_RANGE);
	}
	for (size_t i = 0; i < other->address_count && r == 0; i++) {
		if (address_is_own(&other->addresses[i], e))
			tell_own(e, object, "address", &other->addresses[i]);
		else
			r = fix_address(e, another_node, &other->addresses[i], IDENTITY_REMOTE_NODE,
					ADDRESS_NODE);
	}
	return r;
}

/* What counts where two say something of one address or range comes last. */
static int fix_this_node(struct enforce *e, const struct object *const *nodes, size_t count)
{
	const uint32_t range = ADDRESS_POD_RANGE | ADDRESS_LOCAL,
		       own = ADDRESS_NODE | ADDRESS_LOCAL;
	const struct config *config = e->config;
	const struct node *node = e->node;
	int r = 0;

	for (size_t i = 0; i < config->no_masquerade_count && r == 0; i++)
		if (!in_pod_range(e, nodes, count, &config->no_masquerade[i]))
			r = fix_prefix(e, this_node, &config->no_masquerade[i], IDENTITY_WORLD,
				       ADDRESS_NO_MASQ);
	if (r == 0)
		r = fix_prefix(e, this_node, &config->pod_cidr_v4, IDENTITY_UNKNOWN_POD, range);
	if (r == 0)
		r = fix_prefix(e, this_node, &config->pod_cidr_v6, IDENTITY_UNKNOWN_POD, range);
	for (size_t i = 0; i < node->address_count && r == 0; i++)
		r = fix_address(e, this_node, &node->addresses[i].addr, IDENTITY_HOST, own);
	if (r == 0)
		r = fix_address(e, this_node, &node->ipv4, IDENTITY_HOST, own);
	if (r == 0)
		r = fix_address(e, this_node, &node->ipv6, IDENTITY_HOST, own);
	return r;
}

int nodes_write(struct enforce *e)
{
	size_t count;
	const struct object *const *nodes = store_objects(e->store, OBJECT_NODE, &count);
	int r;

	if (!e->nodes_dirty)
		return 0;
	e->node_problem_count = 0;
	addresses_fix_begin(e->addresses);
	r = fix_this_node(e, nodes, count);
	for (size_t i = 0; i < count && r == 0; i++)
		if (strcmp(nodes[i]->name, e->config->node_name) != 0)
			r = fix_other_node(e, nodes[i]);
	if (r < 0)
		return r;
	addresses_fix_end(e->addresses);
	e->nodes_dirty = false;
	return 0;
}

/* ---------------------------------------------------------------- what is told */

static void list_address(const struct address_problem *problem, void *data)
{
	struct enforce *e = data;
	char subject[128], text[INET6_ADDRSTRLEN];

	snprintf(subject, sizeof(subject), "%s%s", problem->pod ? "pod " : "", problem->owner);
	addr_format(problem->addr, text);
	if (problem->no_room)
		enforce_problem_add(
			&e->problems, &e->problem_count, subject,
			"no room for its address %s: map addresses has %u entries, all in "
			"use; raise --max-addresses",
			text, maps_get(e->maps, MAP_ADDRESSES)->max_entries);
	else
		enforce_problem_add(
			&e->problems, &e->problem_count, subject,
			"its address %s is another pod's or a node's already: not taken", text);
}

static void list_pods(struct enforce *e)
{
	struct enforce_problem *problem;
	const struct enforced_pod *pod;
	char subject[128];

	for (pod = e->pods; pod; pod = pod->next) {
		if (!pod->closed)
			continue;
		snprintf(subject, sizeof(subject), "pod %s", pod->key);
		problem = enforce_problem_add(&e->problems, &e->problem_count, subject,
					      "closed: its policies do not fit in the maps; raise "
					      "--max-policy-entries");
		if (problem)
			problem->pod_closed = true;
	}
}

static void list_copies(struct enforce *e, const struct enforce_problem *problems, size_t count)
{
	for (size_t i = 0; i < count; i++)
		enforce_problem_copy(&e->problems, &e->problem_count, &problems[i]);
}

void enforce_list_problems(struct enforce *e)
{
	if (e->problems_known)
		return;
	e->problem_count = 0;
	list_copies(e, e->rule_problems, e->rule_problem_count);
	list_pods(e);
	list_copies(e, e->node_problems, e->node_problem_count);
	addresses_problems(e->addresses, list_address, e);
	e->problems_known = true;
}
