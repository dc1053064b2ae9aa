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
/* More ranges than that are any flow's. */
#define TOUCHED_RANGES 64

static bool note_range(struct policy_sync *sync, const struct prefix *range)
{
	struct prefix *grown;

	if (sync->touched_range_count == TOUCHED_RANGES)
		return false;
	grown = reallocarray(sync->touched_ranges, sync->touched_range_count + 1, sizeof(*grown));
	if (!grown)
		return false;
	sync->touched_ranges = grown;
	grown[sync->touched_range_count++] = *range;
	return true;
}

void address_touched(const struct prefix *prefix, void *data)
{
	struct policy_sync *sync = data;
	size_t room = sync->touched_room ? 2 * sync->touched_room : 64;
	struct polder_addr *grown;

	if (prefix->length < 128) {
		sync->move_owed |= !note_range(sync, prefix);
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
	sync->touched[sync->touched_count++] = prefix->addr;
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

/* Must the addresses be pods? Then no other range says what they are, also none inside. */
static bool in_pod_range(const struct policy_sync *sync, const struct prefix *prefix)
{
	const struct config *config = sync->config;

	return (config->pod_cidr_v4.length &&
		prefix_covers(&config->pod_cidr_v4, &prefix->addr, prefix->length)) ||
	       (config->pod_cidr_v6.length &&
		prefix_covers(&config->pod_cidr_v6, &prefix->addr, prefix->length)) ||
	       peers_claims_around(sync->peers, prefix);
}

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->length && prefix_compare(a, b) == 0;
}

static bool is_this_nodes_address(const struct policy_sync *sync, const struct polder_addr *addr)
{
	for (size_t i = 0; i < sync->node->address_count; i++)
		if (memcmp(&sync->node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return !addr_is_zero(addr) && (memcmp(&sync->node->ipv4, addr, sizeof(*addr)) == 0 ||
				       memcmp(&sync->node->ipv6, addr, sizeof(*addr)) == 0);
}

static uint32_t node_ports_flag(bool has)
{
	return has ? ADDRESS_NODE_PORTS : 0;
}

/* What is said of just this address or range. False: nothing. */
static bool what_is_said(const struct policy_sync *sync, const struct prefix *prefix,
			 struct address_fix *ret)
{
	const struct config *config = sync->config;
	const struct peer *peer;
	bool own = address_is_own(&prefix->addr, sync), found;

	*ret = (struct address_fix){.owner = this_node};
	if (prefix->length == 128 && !own && peers_claims_address(sync->peers, &prefix->addr)) {
		*ret = (struct address_fix){
			another_node, IDENTITY_REMOTE_NODE,
			ADDRESS_NODE | node_ports_flag(config_node_ports_at(config, &prefix->addr)),
			peers_number_of_node(sync->peers, &prefix->addr)};
		return true;
	}
	if (!own && peers_claims_range(sync->peers, prefix)) {
		peer = peers_owner(sync->peers, prefix);
		*ret = (struct address_fix){another_node, IDENTITY_UNKNOWN_POD, ADDRESS_POD_RANGE,
					    peer ? peer->number : 0};
		return true;
	}
	if (prefix->length == 128 && is_this_nodes_address(sync, &prefix->addr)) {
		ret->identity = IDENTITY_HOST;
		ret->flags =
			ADDRESS_NODE | ADDRESS_LOCAL |
			node_ports_flag(node_has_node_ports(sync->node, config, &prefix->addr));
		return true;
	}
	if (same_prefix(&config->pod_cidr_v4, prefix) ||
	    same_prefix(&config->pod_cidr_v6, prefix)) {
		ret->identity = IDENTITY_UNKNOWN_POD;
		ret->flags = ADDRESS_POD_RANGE | ADDRESS_LOCAL;
		return true;
	}
	found = false;
	for (size_t i = 0; i < config->no_masquerade_count && !found; i++)
		found = same_prefix(&config->no_masquerade[i], prefix);
	ret->identity = IDENTITY_WORLD;
	ret->flags = ADDRESS_NO_MASQ;
	return found && !in_pod_range(sync, prefix);
}

static int fix_prefix(struct policy_sync *sync, const struct prefix *prefix)
{
	struct address_fix fix;

	if (what_is_said(sync, prefix, &fix))
		return addresses_fix(sync->addresses, prefix, &fix);
	addresses_unfix(sync->addresses, prefix);
	return 0;
}

static int fix_address(struct policy_sync *sync, const struct polder_addr *addr)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	return addr_is_zero(addr) ? 0 : fix_prefix(sync, &prefix);
}

/* Ranges of the configuration that another node's may have come around, or gone. */
static int fix_no_masquerade(struct policy_sync *sync)
{
	const struct config *config = sync->config;
	int r = 0;

	for (size_t i = 0; i < config->no_masquerade_count && r == 0; i++)
		if (config->no_masquerade[i].length)
			r = fix_prefix(sync, &config->no_masquerade[i]);
	return r;
}

/* This node's addresses, for `sync->own`. 0 or -ENOMEM. */
static int read_own(const struct policy_sync *sync, struct polder_addr **ret, size_t *ret_count)
{
	const struct node *node = sync->node;
	struct polder_addr *own = reallocarray(NULL, node->address_count + 2, sizeof(*own));
	size_t i;

	if (!own)
		return -ENOMEM;
	for (i = 0; i < node->address_count; i++)
		own[i] = node->addresses[i].addr;
	own[i++] = node->ipv4;
	own[i++] = node->ipv6;
	*ret = own;
	*ret_count = i;
	return 0;
}

/* A pod of another node has none of them, and has again what was one. */
static int fix_own(struct policy_sync *sync, const struct polder_addr *own, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++) {
		const struct prefix address = {.addr = own[i], .length = 128};

		r = fix_address(sync, &own[i]);
		addresses_mark_inside(sync->addresses, &address);
	}
	return r;
}

/* Costs what this node has, not what is known of others. After an error all is looked at. */
static int follow_own(struct policy_sync *sync)
{
	struct polder_addr *own;
	size_t count;
	int r = read_own(sync, &own, &count);

	if (r < 0)
		return r;
	r = fix_own(sync, sync->own, sync->own_count);
	if (r == 0)
		r = fix_own(sync, own, count);
	if (r < 0) {
		free(own);
		return r;
	}
	free(sync->own);
	sync->own = own;
	sync->own_count = count;
	sync->own_dirty = false;
	return 0;
}

static int fix_this_node(struct policy_sync *sync)
{
	int r = fix_no_masquerade(sync);

	if (r == 0 && sync->config->pod_cidr_v4.length)
		r = fix_prefix(sync, &sync->config->pod_cidr_v4);
	if (r == 0 && sync->config->pod_cidr_v6.length)
		r = fix_prefix(sync, &sync->config->pod_cidr_v6);
	return r < 0 ? r : follow_own(sync);
}

struct fixing {
	struct policy_sync *sync;
	int result;
};

static void fix_range(const struct prefix *range, void *data)
{
	struct fixing *fixing = data;

	if (fixing->result == 0)
		fixing->result = fix_prefix(fixing->sync, range);
}

static void fix_host(const struct polder_addr *addr, void *data)
{
	struct fixing *fixing = data;

	if (fixing->result == 0)
		fixing->result = fix_address(fixing->sync, addr);
}

static int fix_all(struct policy_sync *sync)
{
	struct fixing fixing = {.sync = sync};

	addresses_fix_begin(sync->addresses);
	fixing.result = fix_this_node(sync);
	peers_each_range(sync->peers, fix_range, &fixing);
	peers_each_address(sync->peers, fix_host, &fixing);
	if (fixing.result == 0)
		addresses_fix_end(sync->addresses);
	return fixing.result;
}

/* What peers have told of since the last time, and what this node's own addresses are now. */
static int fix_changed(struct policy_sync *sync)
{
	int r = sync->own_dirty ? follow_own(sync) : 0;

	if (r == 0 && sync->changed_count)
		r = fix_no_masquerade(sync);
	for (size_t i = 0; i < sync->changed_count && r == 0; i++) {
		r = fix_prefix(sync, &sync->changed[i]);
		addresses_mark_inside(sync->addresses, &sync->changed[i]);
	}
	return r;
}

int nodes_write(struct policy_sync *sync)
{
	int r;

	if (!sync->nodes_dirty && !sync->own_dirty && !sync->changed_count)
		return 0;
	if (sync->nodes_dirty && peers_incomplete(sync->peers)) {
		r = peers_read(sync->peers, sync->store);
		if (r < 0)
			return r;
		addresses_mark_all(sync->addresses);
	}
	r = sync->nodes_dirty ? fix_all(sync) : fix_changed(sync);
	if (r < 0) {
		sync->nodes_dirty = true;
		return r;
	}
	sync->nodes_dirty = false;
	sync->changed_count = 0;
	return 0;
}

void nodes_changed(const struct prefix *prefix, enum peers_change change, void *data)
{
	struct policy_sync *sync = data;
	size_t room = sync->changed_room ? 2 * sync->changed_room : 16;
	struct prefix *grown;

	if (sync->nodes_dirty && sync->in_force == false)
		return;
	if (prefix && change == PEERS_WAY)
		address_touched(prefix, sync);
	if (prefix && sync->changed_count == sync->changed_room) {
		grown = reallocarray(sync->changed, room, sizeof(*grown));
		if (grown) {
			sync->changed = grown;
			sync->changed_room = room;
		}
	}
	if (!prefix || sync->changed_count == sync->changed_room) {
		sync->nodes_dirty = true;
		addresses_mark_all(sync->addresses);
		return;
	}
	sync->changed[sync->changed_count++] = *prefix;
}

uint32_t peer_of_address(const struct polder_addr *addr, const char *node, const void *data)
{
	const struct policy_sync *sync = data;
	const struct peer *peer = NULL;
	uint32_t number = peers_number_behind(sync->peers, addr, &peer);

	/* One outside of its own node's range is found by routes alone. */
	return number && (!node || strcmp(node, peer->name) == 0) ? number : 0;
}

/* ---------------------------------------------------------------- what is told */

static void list_address(const struct address_problem *problem, void *data)
{
	struct policy_sync *sync = data;
	char subject[128], text[INET6_ADDRSTRLEN];

	if (problem->pod)
		snprintf(subject, sizeof(subject), "pod %s/%s", problem->pod->namespace,
			 problem->pod->name);
	else
		snprintf(subject, sizeof(subject), "%s", problem->owner);
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
	addresses_problems(sync->addresses, list_address, sync);
	sync->problems_known = true;
}
