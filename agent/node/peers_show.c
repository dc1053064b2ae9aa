/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of peers, and what is told of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/node/peers_internal.h"

/* ---------------------------------------------------------------- asking */

static struct peer *owner_of(const struct claimed *place)
{
	return place && place->owner && place->fault == RANGE_GOOD && !place->owner->is_self
		       ? place->owner
		       : NULL;
}

const struct peer *peers_owner(const struct peers *p, const struct prefix *range)
{
	return owner_of(peers_range(p, range));
}

static bool is_anothers(const struct claimed *place)
{
	for (const struct claim *claim = place ? place->claims : NULL; claim; claim = claim->next)
		if (!claim->peer->is_self)
			return true;
	return false;
}

bool peers_claims_range(const struct peers *p, const struct prefix *range)
{
	return is_anothers(peers_range(p, range));
}

bool peers_claims_address(const struct peers *p, const struct polder_addr *addr)
{
	return is_anothers(peers_host(p, addr));
}

bool peers_claims_around(const struct peers *p, const struct prefix *prefix)
{
	return peers_range(p, prefix) || prefix_index_around(&p->ranges, prefix, NULL);
}

uint32_t peers_number_behind(const struct peers *p, const struct polder_addr *addr,
			     const struct peer **ret_peer)
{
	const struct prefix host = {.addr = *addr, .length = 128};
	const struct claimed *place = peers_range(p, &host);
	const struct prefix *at = NULL;

	/* The narrowest that counts, as the map's own look-up finds it. */
	while (!owner_of(place) && (at = prefix_index_around(&p->ranges, &host, at)))
		place = (const struct claimed *)at;
	if (!owner_of(place))
		return 0;
	*ret_peer = place->owner;
	return place->owner->number;
}

uint32_t peers_number_of_node(const struct peers *p, const struct polder_addr *addr)
{
	const struct peer *peer = owner_of(peers_host(p, addr));

	return peer && peer->routes[!addr_is_v4(addr)].way == WAY_TUNNEL ? peer->number : 0;
}

const struct peer *peers_node_with(const struct peers *p, const struct polder_addr *addr)
{
	return owner_of(peers_host(p, addr));
}

const struct peer_route *peers_route(const struct peers *p, const struct prefix *range)
{
	const struct peer *peer = peers_owner(p, range);

	return peer ? &peer->routes[!prefix_is_v4(range)] : NULL;
}

const struct prefix **peers_ranges_of(const struct peer *peer, size_t *ret_count)
{
	const struct prefix **list = calloc(peer->range_count + 1, sizeof(struct prefix *));

	for (size_t i = 0; list && i < peer->range_count; i++)
		list[i] = &peer->ranges[i].place->prefix;
	*ret_count = peer->range_count;
	return list;
}

void peers_each_range(const struct peers *p, void (*visit)(const struct prefix *range, void *data),
		      void *data)
{
	for (size_t i = 0; i < p->ranges.count; i++)
		if (is_anothers((const struct claimed *)p->ranges.items[i]))
			visit(p->ranges.items[i], data);
}

void peers_each_address(const struct peers *p,
			void (*visit)(const struct polder_addr *addr, void *data), void *data)
{
	for (size_t i = 0; i < p->hosts.count; i++)
		if (is_anothers((const struct claimed *)p->hosts.items[i]))
			visit(&p->hosts.items[i]->addr, data);
}

/* ---------------------------------------------------------------- conflicts */

/* The claim of a Node that is refused; NULL: none. This node's own last: it is the others' to be
 * told. */
static const struct claim *refused_claim(const struct claimed *place)
{
	const struct claim *found = NULL;

	for (const struct claim *claim = place->claims; claim; claim = claim->next) {
		if (claim->peer == place->owner &&
		    (place->fault == RANGE_GOOD || claim->peer->is_self))
			continue;
		if (!found || found->peer->is_self)
			found = claim;
	}
	return found;
}

static void describe_taken(const struct claimed *place, const struct claim *claim, bool is_host,
			   char *text, size_t size)
{
	const struct peer *winner = place->owner ? place->owner : place->rival;
	const char *what = is_host ? "address" : "pod range";
	char name[PREFIX_TEXT_MAX];

	if (is_host)
		addr_format(&place->prefix.addr, name);
	else
		prefix_format(&place->prefix, name);
	if (place->owner)
		snprintf(text, size,
			 "%s %s is also Node %s's, which is the newer one and has it: delete the "
			 "Node object that is out of date, or give each Node %s of its own",
			 what, name, winner->name, is_host ? "an address" : "a range");
	else
		snprintf(text, size,
			 "pod range %s meets one of Node %s, which is the newer one: it is not "
			 "routed to Node %s; delete the Node object that is out of date, or give "
			 "each Node a range of its own",
			 name, winner ? winner->name : "", claim->peer->name);
}

static void describe(const struct peers *p, const struct claimed *place, const struct claim *claim,
		     char *text, size_t size)
{
	bool is_host = peers_host(p, &place->prefix.addr) == place;
	char name[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];
	const struct prefix *network;

	prefix_format(&place->prefix, name);
	if (claim->peer != place->owner && place->fault != RANGE_OURS) {
		describe_taken(place, claim, is_host, text, size);
		return;
	}
	switch (place->fault) {
	case RANGE_OURS:
		if (is_host)
			snprintf(text, size, "its address %s is this node's: is --node-name right?",
				 addr_format(&place->prefix.addr, name));
		else
			snprintf(text, size,
				 "pod range %s overlaps with this node's own (pod-cidr): no route "
				 "is installed for it",
				 name);
		return;
	case RANGE_HOST:
		network = peers_own_network(p, &place->prefix);
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
		describe_taken(place, claim, is_host, text, size);
	}
}

bool peers_refused(const struct peers *p, const struct prefix *range, char *text, size_t size,
		   const char **ret_node)
{
	const struct claimed *place = peers_range(p, range);
	const struct claim *claim = place ? refused_claim(place) : NULL;

	if (!claim)
		return false;
	describe(p, place, claim, text, size);
	*ret_node = claim->peer->name;
	return true;
}

struct problems {
	size_t max, found;
	void (*visit)(const char *node, const char *reason, void *data);
	void *data;
};

static void visit_problems(const struct peers *p, const struct prefix_index *index,
			   struct problems *problems)
{
	char text[320];

	for (size_t i = 0; i < index->count; i++) {
		const struct claimed *place = (const struct claimed *)index->items[i];
		const struct claim *claim = refused_claim(place);

		if (!claim || problems->found++ >= problems->max)
			continue;
		describe(p, place, claim, text, sizeof(text));
		problems->visit(claim->peer->name, text, problems->data);
	}
}

size_t peers_problems(const struct peers *p, size_t max,
		      void (*visit)(const char *node, const char *reason, void *data), void *data)
{
	struct problems problems = {.max = max, .visit = visit, .data = data};

	visit_problems(p, &p->ranges, &problems);
	visit_problems(p, &p->hosts, &problems);
	return problems.found;
}

/* ---------------------------------------------------------------- counts */

static bool is_contested(const struct claimed *place)
{
	return (place->claims && place->claims->next) || place->rival;
}

struct peers_counts peers_count(const struct peers *p)
{
	struct peers_counts counts = {.numberless = p->numberless};
	const struct peer *peer;

	for (peer = peers_next(p, NULL); peer; peer = peers_next(p, peer)) {
		enum peer_way v4 = peer->routes[0].way, v6 = peer->routes[1].way;

		if (peer->is_self)
			continue;
		counts.peers++;
		if (v4 == WAY_NATIVE || v6 == WAY_NATIVE)
			counts.by_way[WAY_NATIVE]++;
		else if (v4 == WAY_TUNNEL || v6 == WAY_TUNNEL)
			counts.by_way[WAY_TUNNEL]++;
		else if (v4 == WAY_UNKNOWN || v6 == WAY_UNKNOWN)
			counts.by_way[WAY_UNKNOWN]++;
		else
			counts.by_way[WAY_NONE]++;
	}
	for (size_t i = 0; i < p->ranges.count; i++)
		counts.conflicts += is_contested((const struct claimed *)p->ranges.items[i]);
	for (size_t i = 0; i < p->hosts.count; i++)
		counts.conflicts += is_contested((const struct claimed *)p->hosts.items[i]);
	return counts;
}
