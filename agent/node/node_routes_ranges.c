/* SPDX-License-Identifier: Apache-2.0 */
/* Which Node claims which range, whether that may be, and by which address it is reached. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/node/node_routes_internal.h"
#include "agent/common/address.h"

/* ---------------------------------------------------------------- ranges */

struct pod_range *ranges_find(const struct node_routes *r, const struct prefix *range)
{
	return (struct pod_range *)prefix_index_find(&r->ranges, range);
}

struct pod_range *ranges_get(struct node_routes *r, const struct prefix *range)
{
	struct pod_range *found = ranges_find(r, range);

	if (found)
		return found;
	found = calloc(1, sizeof(*found));
	if (!found)
		return NULL;
	found->range = *range;
	if (prefix_index_add(&r->ranges, &found->range) < 0) {
		free(found);
		return NULL;
	}
	return found;
}

void ranges_forget(struct node_routes *r, struct pod_range *range)
{
	prefix_index_remove(&r->ranges, &range->range);
	free(range->why);
	free(range);
}

/* A claim of this range came or went: it concerns those around it as well. */
static void concern(struct node_routes *r, struct pod_range *range)
{
	const struct prefix *at = NULL;

	routes_ready(r, range);
	while ((at = prefix_index_around(&r->ranges, &range->range, at)))
		routes_ready(r, (struct pod_range *)at);
}

/* ---------------------------------------------------------------- Nodes */

static void peer_free(struct peer *peer)
{
	if (!peer)
		return;
	free(peer->name);
	free(peer->addresses);
	free(peer->claims);
	free(peer);
}

static uint32_t name_hash(const char *name)
{
	return hash_table_hash_of(name, strlen(name));
}

static struct peer *peer_find(const struct node_routes *r, const char *name)
{
	struct hash_table_item *item = hash_table_find(&r->peers, name_hash(name));

	while (item && strcmp(((struct peer *)item)->name, name) != 0)
		item = hash_table_find_next(item);
	return (struct peer *)item;
}

static bool has_claim(const struct peer *peer, const struct prefix *range)
{
	for (size_t i = 0; i < peer->claim_count; i++)
		if (prefix_compare(&peer->claims[i].range->range, range) == 0)
			return true;
	return false;
}

static bool says_the_same(const struct peer *peer, const struct node_object *node)
{
	size_t i;

	if (peer->address_count != node->internal_count ||
	    (node->internal_count && memcmp(peer->addresses, node->addresses,
					    node->internal_count * sizeof(*node->addresses)) != 0))
		return false;
	/* A range that is named twice is one claim: then it is compared again for nothing. */
	if (peer->claim_count != node->pod_range_count)
		return false;
	for (i = 0; i < node->pod_range_count; i++)
		if (!has_claim(peer, &node->pod_ranges[i]))
			return false;
	return true;
}

/* Entries that were made for claims which then did not come. */
static void forget_unused(struct node_routes *r, struct peer *peer)
{
	for (size_t i = 0; i < peer->claim_count; i++)
		if (!peer->claims[i].range->claims && !peer->claims[i].range->list &&
		    !peer->claims[i].range->is_there)
			ranges_forget(r, peer->claims[i].range);
}

/* A Node with its claims, none of which counts yet. NULL: no memory. */
static struct peer *peer_make(struct node_routes *r, const struct object *object)
{
	const struct node_object *node = &object->node;
	struct peer *peer = calloc(1, sizeof(*peer));
	bool good = peer;
	size_t i;

	if (!peer)
		return NULL;
	peer->name = strdup(object->name);
	peer->is_self =
		r->env.config->node_name && strcmp(object->name, r->env.config->node_name) == 0;
	peer->addresses = calloc(node->internal_count + 1, sizeof(*peer->addresses));
	peer->claims = calloc(node->pod_range_count + 1, sizeof(*peer->claims));
	good = peer->name && peer->addresses && peer->claims;
	for (i = 0; good && i < node->internal_count; i++)
		peer->addresses[peer->address_count++] = node->addresses[i];
	for (i = 0; good && i < node->pod_range_count; i++) {
		struct pod_range *range;

		if (has_claim(peer, &node->pod_ranges[i]))
			continue;
		range = ranges_get(r, &node->pod_ranges[i]);
		good = range;
		if (good)
			peer->claims[peer->claim_count++] =
				(struct claim){.range = range, .peer = peer};
	}
	if (good)
		return peer;
	forget_unused(r, peer);
	peer_free(peer);
	return NULL;
}

static void enter_claims(struct node_routes *r, struct peer *peer)
{
	for (size_t i = 0; i < peer->claim_count; i++) {
		struct claim *claim = &peer->claims[i];

		claim->next = claim->range->claims;
		claim->range->claims = claim;
		concern(r, claim->range);
	}
}

static void leave_claims(struct node_routes *r, struct peer *peer)
{
	for (size_t i = 0; i < peer->claim_count; i++) {
		struct claim *claim = &peer->claims[i], **at = &claim->range->claims;

		while (*at != claim)
			at = &(*at)->next;
		*at = claim->next;
		concern(r, claim->range);
	}
}

static void peer_leave(struct node_routes *r, struct peer *peer)
{
	leave_claims(r, peer);
	hash_table_remove(&r->peers, &peer->item);
	peer_free(peer);
}

int ranges_follow(struct node_routes *r, const struct object *object, bool deleted)
{
	struct peer *old = peer_find(r, object->name), *new;

	if (deleted) {
		if (old)
			peer_leave(r, old);
		return 0;
	}
	if (old && says_the_same(old, &object->node)) {
		old->is_named = true;
		return 0;
	}
	new = peer_make(r, object);
	if (!new)
		return -ENOMEM;
	if (hash_table_add(&r->peers, &new->item, name_hash(new->name)) < 0) {
		forget_unused(r, new);
		peer_free(new);
		return -ENOMEM;
	}
	/* First the new claims: what both have is never without one. */
	enter_claims(r, new);
	if (old)
		peer_leave(r, old);
	new->is_named = true;
	return 0;
}

int ranges_read(struct node_routes *r)
{
	struct hash_table_item *item, *next;
	const struct object *const *nodes;
	size_t count, i;
	int result;

	for (item = hash_table_first(&r->peers); item; item = hash_table_next(&r->peers, item))
		((struct peer *)item)->is_named = false;
	nodes = store_objects(r->env.store, OBJECT_NODE, &count);
	for (i = 0; i < count; i++) {
		result = ranges_follow(r, nodes[i], false);
		if (result < 0)
			return result;
	}
	for (item = hash_table_first(&r->peers); item; item = next) {
		next = hash_table_next(&r->peers, item);
		if (!((struct peer *)item)->is_named)
			peer_leave(r, (struct peer *)item);
	}
	return 0;
}

void ranges_clear(struct node_routes *r)
{
	struct hash_table_item *item;

	while ((item = hash_table_first(&r->peers))) {
		hash_table_remove(&r->peers, item);
		peer_free((struct peer *)item);
	}
	hash_table_clear(&r->peers);
	while (r->ranges.count)
		ranges_forget(r, (struct pod_range *)r->ranges.items[r->ranges.count - 1]);
	prefix_index_clear(&r->ranges);
}

/* ---------------------------------------------------------------- may it be? */

static bool meets(const struct prefix *a, const struct prefix *b)
{
	return b->length &&
	       (prefix_covers(a, &b->addr, b->length) || prefix_covers(b, &a->addr, a->length));
}

/* A network of this host that the range meets; NULL: none. */
static const struct prefix *host_network(const struct node_routes *r, const struct prefix *range)
{
	const struct prefix *found = prefix_index_find(&r->hosts, range);

	if (!found)
		found = prefix_index_inside(&r->hosts, range, NULL);
	return found ? found : prefix_index_around(&r->hosts, range, NULL);
}

/* The claim of another Node than `peer`; NULL: none. */
static const struct claim *claim_of_another(const struct pod_range *range, const struct peer *peer)
{
	const struct claim *claim = range->claims;

	while (claim && claim->peer == peer)
		claim = claim->next;
	return claim;
}

/* The claim of another Node of a range inside; NULL: none. */
static const struct claim *claim_inside(const struct node_routes *r, const struct pod_range *range)
{
	const struct prefix *at = NULL;
	const struct claim *claim = NULL;

	while (!claim && (at = prefix_index_inside(&r->ranges, &range->range, at)))
		claim = claim_of_another((const struct pod_range *)at, range->claims->peer);
	return claim;
}

static bool is_own_address(const struct node_routes *r, const struct polder_addr *addr)
{
	for (size_t i = 0; i < r->network_count; i++)
		if (memcmp(&r->networks[i].prefix.addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

static bool is_uplink(const struct node_routes *r, int ifindex)
{
	const struct node *node = r->env.node;

	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex && node->uplinks[i].ifindex == ifindex)
			return true;
	return false;
}

/* The uplink on whose network the address lies, 0: none. `*ret_any`: an uplink has a network of
 * this family. */
static int link_of(const struct node_routes *r, const struct polder_addr *addr, bool *ret_any)
{
	for (size_t i = 0; i < r->network_count; i++) {
		const struct address_info *network = &r->networks[i];

		if (!is_uplink(r, network->ifindex) ||
		    addr_is_v4(&network->prefix.addr) != addr_is_v4(addr))
			continue;
		/* fe80::/64 is on every link and says nothing. */
		if (!addr_is_v4(addr) && network->prefix.addr.bytes[0] == 0xfe &&
		    (network->prefix.addr.bytes[1] & 0xc0) == 0x80)
			continue;
		*ret_any = true;
		if (prefix_covers(&network->prefix, addr, 128))
			return network->ifindex;
	}
	return 0;
}

/* By the first InternalIP of the range's family that is a neighbour. */
static void find_way(const struct node_routes *r, struct pod_range *range)
{
	const struct peer *peer = range->claims->peer;
	bool known = false;

	range->want = WANT_NONE;
	for (size_t i = 0; i < peer->address_count; i++) {
		const struct polder_addr *addr = &peer->addresses[i];
		int link;

		if (addr_is_v4(addr) != prefix_is_v4(&range->range))
			continue;
		if (is_own_address(r, addr)) {
			range->fault = RANGE_GATEWAY;
			return;
		}
		link = link_of(r, addr, &known);
		if (link) {
			range->want = WANT_ROUTE;
			range->wanted = (struct next_stop){.ifindex = link, .gateway = *addr};
			return;
		}
		if (!known)
			range->want = WANT_UNKNOWN;
	}
}

void ranges_evaluate(const struct node_routes *r, struct pod_range *range)
{
	const struct config *config = r->env.config;

	range->fault = RANGE_GOOD;
	range->want = WANT_NONE;
	if (!range->claims)
		return;
	if (claim_of_another(range, range->claims->peer))
		range->fault = RANGE_SHARED;
	else if (range->claims->peer->is_self)
		return;
	else if (meets(&range->range, &config->pod_cidr_v4) ||
		 meets(&range->range, &config->pod_cidr_v6))
		range->fault = RANGE_OURS;
	else if (host_network(r, &range->range))
		range->fault = RANGE_HOST;
	else if (claim_inside(r, range))
		range->fault = RANGE_AROUND;
	else
		find_way(r, range);
}

/* ---------------------------------------------------------------- in words */

const char *ranges_node(const struct pod_range *range)
{
	const struct claim *claim = range->claims;

	/* Of several the first by name, but this node itself last: it is the others' to be told. */
	for (const struct claim *c = claim; c; c = c->next)
		if (claim->peer->is_self ||
		    (!c->peer->is_self && strcmp(c->peer->name, claim->peer->name) < 0))
			claim = c;
	return claim ? claim->peer->name : "";
}

void ranges_describe(const struct node_routes *r, const struct pod_range *range, char *text,
		     size_t size)
{
	char name[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];
	const struct prefix *network;
	const struct claim *claim;

	prefix_format(&range->range, name);
	switch (range->fault) {
	case RANGE_SHARED:
		claim = range->claims;
		while (claim && strcmp(claim->peer->name, ranges_node(range)) == 0)
			claim = claim->next;
		snprintf(text, size,
			 "pod range %s is also Node %s's: no route is installed for it; give each "
			 "Node a range of its own",
			 name, claim ? claim->peer->name : "");
		return;
	case RANGE_AROUND:
		claim = claim_inside(r, range);
		snprintf(text, size,
			 "pod range %s contains %s, which is Node %s's: no route is installed for "
			 "it; give each Node a range of its own",
			 name, claim ? prefix_format(&claim->range->range, other) : "",
			 claim ? claim->peer->name : "");
		return;
	case RANGE_OURS:
		snprintf(text, size,
			 "pod range %s overlaps with this node's own (pod-cidr): no route is "
			 "installed for it",
			 name);
		return;
	case RANGE_HOST:
		network = host_network(r, &range->range);
		snprintf(text, size,
			 "pod range %s overlaps with %s, a network that this node is on: no route "
			 "is installed for it",
			 name, network ? prefix_format(network, other) : "");
		return;
	case RANGE_GATEWAY:
		snprintf(text, size,
			 "the Node's InternalIP is an address of this node: no route to %s is "
			 "installed; correct the Node object, or set node-name",
			 name);
		return;
	default:
		snprintf(text, size, "pod range %s", name);
	}
}
