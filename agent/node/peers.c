/* SPDX-License-Identifier: Apache-2.0 */
/* Which Node claims which range and address, and whose claim counts. */
#include "agent/node/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/node/peers_internal.h"

/* ---------------------------------------------------------------- telling */

void peers_listen(struct peers *p, peers_listener listener, void *data)
{
	if (p->listener_count == PEERS_LISTENERS)
		return;
	p->listeners[p->listener_count].call = listener;
	p->listeners[p->listener_count++].data = data;
}

void peers_tell(const struct peers *p, const struct prefix *prefix, enum peers_change change)
{
	for (size_t i = 0; i < p->listener_count; i++)
		p->listeners[i].call(prefix, change, p->listeners[i].data);
}

static bool counts(const struct claimed *place, const struct peer *peer)
{
	return place->owner == peer && place->fault == RANGE_GOOD;
}

void peers_tell_way(const struct peers *p, const struct peer *peer)
{
	for (size_t i = 0; i < peer->range_count; i++)
		if (counts(peer->ranges[i].place, peer))
			peers_tell(p, &peer->ranges[i].place->prefix, PEERS_WAY);
	for (size_t i = 0; i < peer->host_count; i++)
		if (counts(peer->hosts[i].place, peer))
			peers_tell(p, &peer->hosts[i].place->prefix, PEERS_WAY);
}

void peers_mark_dirty(struct peers *p, struct peer *peer)
{
	if (peer->is_dirty)
		return;
	peer->is_dirty = true;
	peer->next_dirty = p->dirty;
	p->dirty = peer;
}

static void forget_dirty(struct peers *p, struct peer *peer)
{
	struct peer **at = &p->dirty;

	if (!peer->is_dirty)
		return;
	while (*at != peer)
		at = &(*at)->next_dirty;
	*at = peer->next_dirty;
	peer->is_dirty = false;
}

/* ---------------------------------------------------------------- places */

struct claimed *peers_range(const struct peers *p, const struct prefix *range)
{
	return (struct claimed *)prefix_index_find(&p->ranges, range);
}

struct claimed *peers_host(const struct peers *p, const struct polder_addr *addr)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	return (struct claimed *)prefix_index_find(&p->hosts, &prefix);
}

static struct claimed *need(struct prefix_index *index, const struct prefix *prefix)
{
	struct claimed *place = (struct claimed *)prefix_index_find(index, prefix);

	if (place)
		return place;
	place = calloc(1, sizeof(*place));
	if (!place)
		return NULL;
	place->prefix = *prefix;
	if (prefix_index_add(index, &place->prefix) == 0)
		return place;
	free(place);
	return NULL;
}

static void drop_unclaimed(struct prefix_index *index, struct claimed *place)
{
	if (place->claims)
		return;
	prefix_index_remove(index, &place->prefix);
	free(place);
}

/* ---------------------------------------------------------------- whose is it? */

bool peer_is_newer(const struct peer *a, const struct peer *b)
{
	int order;

	if (a->created != b->created)
		return a->created > b->created;
	order = strcmp(a->uid, b->uid);
	return order ? order > 0 : strcmp(a->name, b->name) > 0;
}

/* What is this node's is no other Node's, however new that is. */
static bool is_eligible(const struct peers *p, const struct claim *claim)
{
	return claim->peer->is_self || !peers_is_ours(p, claim->place);
}

/* What is worked out for ranges that meet, before it is in force. */
struct contender {
	struct claimed *place;
	struct claim *claim;
};

static int newest_first(const void *a, const void *b)
{
	const struct contender *one = a, *other = b;

	if (one->claim->peer == other->claim->peer)
		return prefix_compare(&one->place->prefix, &other->place->prefix);
	return peer_is_newer(one->claim->peer, other->claim->peer) ? -1 : 1;
}

/* The owner of another peer's range that meets this one; NULL: none. */
static struct peer *rival_of(const struct peers *p, const struct claimed *place,
			     const struct peer *peer)
{
	const struct prefix *at = NULL;

	while ((at = prefix_index_around(&p->ranges, &place->prefix, at))) {
		struct peer *owner = ((const struct claimed *)at)->owner;

		if (owner && owner != peer)
			return owner;
	}
	while ((at = prefix_index_inside(&p->ranges, &place->prefix, at))) {
		struct peer *owner = ((const struct claimed *)at)->owner;

		if (owner && owner != peer)
			return owner;
	}
	return NULL;
}

struct before {
	struct peer *owner;
	const struct peer *rival;
	enum range_fault fault;
};

static struct before state_of(const struct claimed *place)
{
	return (struct before){place->owner, place->rival, place->fault};
}

/* What a number or a refusal depends on. */
static void compare(struct peers *p, struct claimed *place, const struct before *before)
{
	place->fault = peers_fault_of(p, place);
	if (before->owner == place->owner && before->rival == place->rival &&
	    before->fault == place->fault)
		return;
	if (before->owner)
		peers_mark_dirty(p, before->owner);
	if (place->owner)
		peers_mark_dirty(p, place->owner);
	peers_tell(p, &place->prefix, PEERS_OWNER);
}

static struct claimed *widest_around(const struct peers *p, struct claimed *place)
{
	const struct prefix *at = NULL, *found = &place->prefix;

	while ((at = prefix_index_around(&p->ranges, &place->prefix, at)))
		found = at;
	return (struct claimed *)found;
}

static size_t count_claims(const struct claimed *place)
{
	size_t count = 0;

	for (const struct claim *claim = place->claims; claim; claim = claim->next)
		count++;
	return count;
}

/* Of all ranges in one that meets them. 0 or -ENOMEM. */
static int resolve_inside(struct peers *p, struct claimed *top)
{
	struct contender *all;
	struct before *before;
	const struct prefix *at;
	size_t count = count_claims(top), places = 1, used = 0, i = 0;

	for (at = NULL; (at = prefix_index_inside(&p->ranges, &top->prefix, at)); places++)
		count += count_claims((const struct claimed *)at);
	all = calloc(count + 1, sizeof(*all));
	before = calloc(places, sizeof(*before));
	if (!all || !before) {
		free(all);
		free(before);
		return -ENOMEM;
	}
	for (at = &top->prefix; at;
	     at = prefix_index_inside(&p->ranges, &top->prefix, at == &top->prefix ? NULL : at)) {
		struct claimed *place = (struct claimed *)at;

		before[i++] = state_of(place);
		place->owner = NULL;
		place->rival = NULL;
		for (struct claim *claim = place->claims; claim; claim = claim->next)
			all[used++] = (struct contender){place, claim};
	}
	qsort(all, used, sizeof(*all), newest_first);
	for (i = 0; i < used; i++) {
		struct claimed *place = all[i].place;
		struct peer *peer = all[i].claim->peer, *rival;

		if (place->owner || !is_eligible(p, all[i].claim))
			continue;
		rival = rival_of(p, place, peer);
		place->owner = rival ? NULL : peer;
		place->rival = rival;
	}
	i = 0;
	for (at = &top->prefix; at;
	     at = prefix_index_inside(&p->ranges, &top->prefix, at == &top->prefix ? NULL : at))
		compare(p, (struct claimed *)at, &before[i++]);
	free(all);
	free(before);
	return 0;
}

/* An address, or a range that meets no other: the newest claim counts. */
static void resolve_alone(struct peers *p, struct claimed *place)
{
	const struct before before = state_of(place);

	place->owner = NULL;
	place->rival = NULL;
	for (struct claim *claim = place->claims; claim && !place->owner; claim = claim->next)
		if (is_eligible(p, claim))
			place->owner = claim->peer;
	compare(p, place, &before);
}

void peers_resolve_host(struct peers *p, struct claimed *place)
{
	resolve_alone(p, place);
}

/* Claims to the place have come, gone, or are of another age. 0 or -ENOMEM. */
static int resolve(struct peers *p, struct prefix_index *index, struct claimed *place)
{
	struct claimed *top;

	if (index == &p->hosts) {
		resolve_alone(p, place);
		return 0;
	}
	top = widest_around(p, place);
	if (top == place && !prefix_index_inside(&p->ranges, &place->prefix, NULL)) {
		resolve_alone(p, place);
		return 0;
	}
	return resolve_inside(p, top);
}

/* ---------------------------------------------------------------- claims */

static void enter(struct claim *claim)
{
	struct claim **at = &claim->place->claims;

	while (*at && peer_is_newer((*at)->peer, claim->peer))
		at = &(*at)->next;
	claim->next = *at;
	*at = claim;
}

static void leave(struct claim *claim)
{
	struct claim **at = &claim->place->claims;

	while (*at != claim)
		at = &(*at)->next;
	*at = claim->next;
}

static bool has(const struct claim *claims, size_t count, const struct prefix *prefix)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_compare(&claims[i].place->prefix, prefix) == 0)
			return true;
	return false;
}

/* Claims of a Node, none of which counts yet; what is named twice is one. 0 or -ENOMEM. */
static int make_claims(struct prefix_index *index, const struct prefix *prefixes, size_t count,
		       struct peer *peer, struct claim **ret, size_t *ret_count)
{
	struct claim *claims = calloc(count + 1, sizeof(*claims));
	size_t used = 0, i;

	for (i = 0; claims && i < count; i++) {
		if (has(claims, used, &prefixes[i]))
			continue;
		claims[used] = (struct claim){.place = need(index, &prefixes[i]), .peer = peer};
		if (!claims[used].place)
			break;
		used++;
	}
	if (claims && i == count) {
		*ret = claims;
		*ret_count = used;
		return 0;
	}
	for (i = 0; i < used; i++)
		drop_unclaimed(index, claims[i].place);
	free(claims);
	return -ENOMEM;
}

/* Who claims what instead of what before, and what follows for both. 0 or -ENOMEM: owners are not
 * known, which peers_read() mends. */
static int exchange(struct peers *p, struct prefix_index *index, struct claim *old,
		    size_t old_count, struct claim *new, size_t new_count)
{
	int result = 0, r;

	for (size_t i = 0; i < old_count; i++) {
		leave(&old[i]);
		if (index == &p->hosts)
			peers_forget_end(p, &old[i].place->prefix.addr);
	}
	for (size_t i = 0; i < new_count; i++)
		enter(&new[i]);
	for (size_t i = 0; i < new_count; i++) {
		r = resolve(p, index, new[i].place);
		result = r < 0 ? r : result;
	}
	for (size_t i = 0; i < old_count; i++) {
		r = resolve(p, index, old[i].place);
		result = r < 0 ? r : result;
		if (r == 0)
			drop_unclaimed(index, old[i].place);
	}
	return result;
}

/* ---------------------------------------------------------------- Nodes */

static uint32_t hash_of(const char *name)
{
	return hash_table_hash_of(name, strlen(name));
}

const struct peer *peers_find(const struct peers *p, const char *name)
{
	struct hash_table_item *item = hash_table_find(&p->all, hash_of(name));

	while (item && strcmp(((struct peer *)item)->name, name) != 0)
		item = hash_table_find_next(item);
	return (struct peer *)item;
}

const struct peer *peers_next(const struct peers *p, const struct peer *peer)
{
	return (const struct peer *)(peer ? hash_table_next(&p->all, &peer->item)
					  : hash_table_first(&p->all));
}

static void peer_free(struct peer *peer)
{
	if (!peer)
		return;
	free(peer->name);
	free(peer->uid);
	free(peer->addresses);
	free(peer->ranges);
	free(peer->hosts);
	free(peer);
}

static bool names(const struct node_object *node, const struct prefix *range)
{
	for (size_t i = 0; i < node->pod_range_count; i++)
		if (prefix_compare(&node->pod_ranges[i], range) == 0)
			return true;
	return false;
}

/* One that is named twice is one claim. */
static bool same_ranges(const struct peer *peer, const struct node_object *node)
{
	for (size_t i = 0; i < node->pod_range_count; i++)
		if (!has(peer->ranges, peer->range_count, &node->pod_ranges[i]))
			return false;
	for (size_t i = 0; i < peer->range_count; i++)
		if (!names(node, &peer->ranges[i].place->prefix))
			return false;
	return true;
}

static bool same_addresses(const struct peer *peer, const struct node_object *node)
{
	return peer->address_count == node->address_count &&
	       peer->internal_count == node->internal_count &&
	       (!node->address_count ||
		memcmp(peer->addresses, node->addresses,
		       node->address_count * sizeof(*node->addresses)) == 0);
}

static bool same_age(const struct peer *peer, const struct object *object)
{
	return peer->created == object->node.created && strcmp(peer->uid, object->uid) == 0;
}

/* What a Node object says, taken apart from the peer. */
struct said {
	char *uid;
	struct polder_addr *addresses;
	struct claim *ranges, *hosts;
	size_t range_count, host_count;
};

static void said_clear(struct peers *p, struct said *said)
{
	for (size_t i = 0; i < said->range_count; i++)
		drop_unclaimed(&p->ranges, said->ranges[i].place);
	for (size_t i = 0; i < said->host_count; i++)
		drop_unclaimed(&p->hosts, said->hosts[i].place);
	free(said->uid);
	free(said->addresses);
	free(said->ranges);
	free(said->hosts);
}

static int said_make(struct peers *p, const struct object *object, struct peer *peer,
		     struct said *ret)
{
	const struct node_object *node = &object->node;
	struct said said = {.uid = strdup(object->uid),
			    .addresses = calloc(node->address_count + 1, sizeof(*said.addresses))};
	struct prefix *hosts = calloc(node->address_count + 1, sizeof(*hosts));
	int r = said.uid && said.addresses && hosts ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < node->address_count; i++) {
		said.addresses[i] = node->addresses[i];
		hosts[i] = (struct prefix){.addr = node->addresses[i], .length = 128};
	}
	if (r == 0)
		r = make_claims(&p->ranges, node->pod_ranges, node->pod_range_count, peer,
				&said.ranges, &said.range_count);
	if (r == 0)
		r = make_claims(&p->hosts, hosts, node->address_count, peer, &said.hosts,
				&said.host_count);
	free(hosts);
	if (r < 0)
		said_clear(p, &said);
	else
		*ret = said;
	return r;
}

/* A Node that is heard of for the first time, and has said nothing yet. NULL: no memory. */
static struct peer *peer_make(struct peers *p, const char *name)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->name = strdup(name);
	peer->uid = strdup("");
	peer->since = time(NULL);
	peer->is_self = p->config->node_name && strcmp(name, p->config->node_name) == 0;
	if (peer->name && peer->uid && hash_table_add(&p->all, &peer->item, hash_of(name)) == 0) {
		p->count++;
		return peer;
	}
	peer_free(peer);
	return NULL;
}

static int peer_leave(struct peers *p, struct peer *peer)
{
	int r = exchange(p, &p->ranges, peer->ranges, peer->range_count, NULL, 0), r2;

	r2 = exchange(p, &p->hosts, peer->hosts, peer->host_count, NULL, 0);
	forget_dirty(p, peer);
	peers_leave_neighbours(p, peer);
	peers_leave_number(p, peer);
	peer_forget_end(p, peer);
	hash_table_remove(&p->all, &peer->item);
	p->count--;
	if (r < 0 || r2 < 0) {
		/* Places that could not be looked at may name it. */
		for (size_t i = 0; i < p->ranges.count; i++) {
			struct claimed *place = (struct claimed *)p->ranges.items[i];

			place->owner = place->owner == peer ? NULL : place->owner;
			place->rival = place->rival == peer ? NULL : place->rival;
		}
	}
	peer_free(peer);
	return r < 0 ? r : r2;
}

/* The newest of its ranges' and addresses' claims are in order by age: with another age they leave
 * their places first. */
static int peer_take(struct peers *p, struct peer *peer, const struct object *object,
		     struct said *said)
{
	struct peer old = *peer;
	int r, r2;

	for (size_t i = 0; i < old.range_count; i++)
		leave(&old.ranges[i]);
	for (size_t i = 0; i < old.host_count; i++)
		leave(&old.hosts[i]);
	peer->uid = said->uid;
	peer->created = object->node.created;
	peer->addresses = said->addresses;
	peer->address_count = object->node.address_count;
	peer->internal_count = object->node.internal_count;
	peer->ranges = said->ranges;
	peer->range_count = said->range_count;
	peer->hosts = said->hosts;
	peer->host_count = said->host_count;
	peers_mark_dirty(p, peer);
	for (size_t i = 0; i < old.range_count; i++)
		enter(&old.ranges[i]);
	for (size_t i = 0; i < old.host_count; i++)
		enter(&old.hosts[i]);
	if (peer_find_ways(p, peer))
		peers_tell_way(p, peer);
	peers_give_number(p, peer);
	r = exchange(p, &p->ranges, old.ranges, old.range_count, peer->ranges, peer->range_count);
	r2 = exchange(p, &p->hosts, old.hosts, old.host_count, peer->hosts, peer->host_count);
	free(old.uid);
	free(old.addresses);
	free(old.ranges);
	free(old.hosts);
	return r < 0 ? r : r2;
}

static int follow(struct peers *p, const struct object *object, bool deleted)
{
	struct peer *peer = (struct peer *)peers_find(p, object->name);
	const bool is_new = !peer;
	struct said said = {};
	int r;

	if (deleted)
		return peer ? peer_leave(p, peer) : 0;
	if (peer && same_ranges(peer, &object->node) && same_addresses(peer, &object->node) &&
	    same_age(peer, object)) {
		peer->is_named = true;
		return 0;
	}
	if (is_new)
		peer = peer_make(p, object->name);
	if (!peer)
		return -ENOMEM;
	r = said_make(p, object, peer, &said);
	if (r < 0 && is_new)
		(void)peer_leave(p, peer);
	if (r < 0)
		return r;
	peer->is_named = true;
	return peer_take(p, peer, object, &said);
}

int peers_object(struct peers *p, const struct object *object, bool deleted)
{
	int r = object->kind == OBJECT_NODE && p->is_read ? follow(p, object, deleted) : 0;

	p->incomplete |= r < 0;
	return r;
}

/* Each range anew: one may have been left out for want of memory. */
static int resolve_all(struct peers *p)
{
	int r = 0;

	for (size_t i = 0; i < p->ranges.count && r == 0; i++)
		r = resolve(p, &p->ranges, (struct claimed *)p->ranges.items[i]);
	for (size_t i = p->ranges.count; i-- > 0 && r == 0;)
		drop_unclaimed(&p->ranges, (struct claimed *)p->ranges.items[i]);
	return r;
}

int peers_read(struct peers *p, const struct store *store)
{
	struct hash_table_item *item, *next;
	const struct object *const *nodes;
	size_t count, i;
	int r = 0;

	for (item = hash_table_first(&p->all); item; item = hash_table_next(&p->all, item))
		((struct peer *)item)->is_named = false;
	nodes = store_objects(store, OBJECT_NODE, &count);
	for (i = 0; i < count && r == 0; i++)
		r = follow(p, nodes[i], false);
	for (item = hash_table_first(&p->all); item && r == 0; item = next) {
		next = hash_table_next(&p->all, item);
		if (!((struct peer *)item)->is_named)
			r = peer_leave(p, (struct peer *)item);
	}
	if (r == 0 && p->incomplete)
		r = resolve_all(p);
	p->incomplete = r < 0;
	p->is_read = true;
	return r;
}

bool peers_incomplete(const struct peers *p)
{
	return p->incomplete;
}

/* ---------------------------------------------------------------- beginning and end */

int peers_new(const struct config *config, struct maps *maps, struct peers **ret)
{
	struct peers *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->config = config;
	p->maps = maps;
	p->incomplete = true;
	if (maps) {
		p->numbers = calloc(POLDER_MAX_PEERS, sizeof(*p->numbers));
		p->ends = calloc(TUNNEL_ENDS, sizeof(*p->ends));
		if (!p->numbers || !p->ends) {
			peers_free(p);
			return -ENOMEM;
		}
	}
	*ret = p;
	return 0;
}

static void clear_index(struct prefix_index *index)
{
	for (size_t i = 0; i < index->count; i++)
		free((struct claimed *)index->items[i]);
	prefix_index_clear(index);
}

void peers_free(struct peers *p)
{
	struct hash_table_item *item;

	if (!p)
		return;
	while ((item = hash_table_first(&p->all))) {
		hash_table_remove(&p->all, item);
		peer_free((struct peer *)item);
	}
	hash_table_clear(&p->all);
	peers_free_neighbours(p);
	clear_index(&p->ranges);
	clear_index(&p->hosts);
	prefix_index_clear(&p->own);
	free(p->own_items);
	free(p->networks);
	free(p->numbers);
	free(p->ends);
	free(p->gone);
	free(p->recalled);
	free(p);
}
