/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, and what the maps `peers`, `next_hops` and `tunnel_ends` say of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/log.h"
#include "agent/node/peers_internal.h"

/* An element is moved no further than so many places to make room for another. */
#define END_REACH 64

/* ---------------------------------------------------------------- numbers */

static const struct polder_addr *first_of(const struct peer *peer, bool v4)
{
	const struct peer_route *route = &peer->routes[!v4];

	if (route->way == WAY_NATIVE)
		return &route->gateway;
	for (size_t i = 0; i < peer->internal_count; i++)
		if (addr_is_v4(&peer->addresses[i]) == v4)
			return &peer->addresses[i];
	return NULL;
}

static bool has_address(const struct peer *peer, const struct polder_addr *addr)
{
	for (size_t i = 0; i < peer->internal_count; i++)
		if (memcmp(&peer->addresses[i], addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

static int compare_recalled(const void *a, const void *b)
{
	const struct recalled *one = a, *other = b;

	return memcmp(&one->addr, &other->addr, sizeof(one->addr));
}

/* The number by which an earlier agent knew a node with one of its addresses. */
static uint32_t recalled_number(const struct peers *p, const struct peer *peer)
{
	for (size_t i = 0; i < peer->internal_count && p->recalled_count; i++) {
		const struct recalled key = {.addr = peer->addresses[i]};
		const struct recalled *found = bsearch(&key, p->recalled, p->recalled_count,
						       sizeof(key), compare_recalled);

		if (found && p->numbers[found->number].state == NUMBER_RECALLED)
			return found->number;
	}
	return 0;
}

/* In turn, so that one that was given back rests as long as can be. 0: there is none. */
static uint32_t free_number(struct peers *p)
{
	for (uint32_t tried = 1; tried < POLDER_MAX_PEERS; tried++) {
		uint32_t number = p->next_number ? p->next_number : 1;

		p->next_number = (number + 1) % POLDER_MAX_PEERS;
		if (p->numbers[number].state == NUMBER_FREE)
			return number;
	}
	return 0;
}

void peers_give_number(struct peers *p, struct peer *peer)
{
	uint32_t number;

	if (!p->numbers || peer->is_self || peer->number || !peer->internal_count)
		return;
	number = recalled_number(p, peer);
	if (!number)
		number = free_number(p);
	if (!number) {
		p->numberless++;
		return;
	}
	p->numbers[number].state = NUMBER_USED;
	peer->number = number;
}

void peers_leave_number(struct peers *p, struct peer *peer)
{
	if (!peer->number)
		return;
	p->numbers[peer->number].state = NUMBER_LEFT;
	peer->number = 0;
	p->leaving = true;
}

/* There is room again for those that found none. */
static void give_numberless(struct peers *p)
{
	struct hash_table_item *item;

	p->numberless = 0;
	for (item = hash_table_first(&p->all); item; item = hash_table_next(&p->all, item)) {
		struct peer *peer = (struct peer *)item;

		if (peer->number || peer->is_self)
			continue;
		peers_give_number(p, peer);
		if (!peer->number)
			continue;
		peers_mark_dirty(p, peer);
		for (size_t i = 0; i < peer->range_count; i++)
			peers_tell(p, &peer->ranges[i].place->prefix, PEERS_OWNER);
	}
}

/* ---------------------------------------------------------------- tunnel_ends */

static int put_end(struct peers *p, uint32_t place, const struct tunnel_end *end)
{
	int r = maps_put(p->maps, MAP_TUNNEL_ENDS, &place, end);

	if (r == 0)
		p->ends[place] = *end;
	return r;
}

/* The place of an address; TUNNEL_ENDS: it has none. */
static uint32_t find_end(const struct peers *p, const struct polder_addr *underlay)
{
	uint32_t home = tunnel_end_hash(underlay);

	for (uint32_t i = 0; i < PEER_PROBES; i++) {
		uint32_t place = (home + i) % TUNNEL_ENDS;

		if (p->ends[place].peer &&
		    memcmp(&p->ends[place].underlay, underlay, sizeof(*underlay)) == 0)
			return place;
	}
	return TUNNEL_ENDS;
}

static uint32_t distance(uint32_t from, uint32_t to)
{
	return (to + TUNNEL_ENDS - from) % TUNNEL_ENDS;
}

/* Brings a free place nearer to `home`: what stands up to three places before it may stand there
 * itself. It is in both while it moves. 0, -ENOSPC or -errno. */
static int move_free(struct peers *p, uint32_t *free)
{
	static const struct tunnel_end none;

	for (uint32_t back = PEER_PROBES - 1; back > 0; back--) {
		uint32_t place = (*free + TUNNEL_ENDS - back) % TUNNEL_ENDS;
		const struct tunnel_end end = p->ends[place];
		int r;

		if (distance(tunnel_end_hash(&end.underlay), *free) >= PEER_PROBES)
			continue;
		r = put_end(p, *free, &end);
		if (r == 0)
			r = put_end(p, place, &none);
		if (r == 0)
			*free = place;
		return r;
	}
	return -ENOSPC;
}

/* As hopscotch hashing does it: all stand within PEER_PROBES places of their hash. */
static int add_end(struct peers *p, const struct polder_addr *underlay, uint32_t number)
{
	const struct tunnel_end end = {.underlay = *underlay, .peer = number};
	uint32_t home = tunnel_end_hash(underlay), place = find_end(p, underlay), i;
	int r = 0;

	if (place < TUNNEL_ENDS)
		return p->ends[place].peer == number ? 0 : put_end(p, place, &end);
	for (i = 0; i < END_REACH && p->ends[(home + i) % TUNNEL_ENDS].peer; i++)
		;
	if (i == END_REACH)
		return -ENOSPC;
	place = (home + i) % TUNNEL_ENDS;
	while (r == 0 && distance(home, place) >= PEER_PROBES)
		r = move_free(p, &place);
	return r < 0 ? r : put_end(p, place, &end);
}

static int remove_end(struct peers *p, const struct polder_addr *underlay)
{
	static const struct tunnel_end none;
	uint32_t place = find_end(p, underlay);

	return place == TUNNEL_ENDS ? 0 : put_end(p, place, &none);
}

void peers_forget_end(struct peers *p, const struct polder_addr *addr)
{
	size_t room = p->gone_room ? 2 * p->gone_room : 16;
	struct polder_addr *grown;

	if (!p->maps || find_end(p, addr) == TUNNEL_ENDS)
		return;
	if (p->gone_count == p->gone_room) {
		grown = reallocarray(p->gone, room, sizeof(*grown));
		if (!grown) {
			p->begun = false; /* all of them are looked at */
			return;
		}
		p->gone = grown;
		p->gone_room = room;
	}
	p->gone[p->gone_count++] = *addr;
}

/* Whose the address is now. */
static int write_end(struct peers *p, const struct polder_addr *addr)
{
	const struct claimed *place = peers_host(p, addr);
	const struct peer *owner = place && place->fault == RANGE_GOOD ? place->owner : NULL;

	if (p->config->tunnel == TUNNEL_NONE || !owner || owner->is_self || !owner->number ||
	    !has_address(owner, addr))
		return remove_end(p, addr);
	return add_end(p, addr, owner->number);
}

/* ---------------------------------------------------------------- one peer */

/* The link of either family: programs go by the place only in those that the entry names. */
static const struct peer_route *way_out(const struct peer *peer)
{
	const struct peer_route *route = &peer->routes[0];

	return route->way == WAY_NATIVE || route->way == WAY_TUNNEL ? route : &peer->routes[1];
}

static void entry_of(const struct peers *p, const struct peer *peer, struct peer_entry *ret)
{
	const struct polder_addr *v4 = first_of(peer, true), *v6 = first_of(peer, false);
	bool native = peer->routes[0].way == WAY_NATIVE || peer->routes[1].way == WAY_NATIVE;
	bool tunnel = peer->routes[0].way == WAY_TUNNEL || peer->routes[1].way == WAY_TUNNEL;

	memset(ret, 0, sizeof(*ret));
	ret->flags = PEER_KNOWN;
	ret->underlay = peer->underlay;
	ret->local = peer->local;
	if (v4)
		ret->ipv4_be = v4->words_be[3];
	if (v6)
		memcpy(ret->ipv6_be, v6, sizeof(ret->ipv6_be));
	for (int i = 0; i < 2; i++) {
		if (peer->routes[i].way == WAY_TUNNEL)
			ret->flags |= i == 0 ? PEER_TUNNEL_V4 : PEER_TUNNEL_V6;
		if (peer->routes[i].way == WAY_NATIVE &&
		    peer->routes[i].ifindex == way_out(peer)->ifindex)
			ret->flags |= i == 0 ? PEER_NATIVE_V4 : PEER_NATIVE_V6;
	}
	if (p->config->tunnel != TUNNEL_VXLAN && (native || !tunnel))
		ret->flags |= PEER_FROM_WIRE;
}

static struct next_hop hop_of(const struct peer *peer)
{
	const struct peer_route *route = way_out(peer);
	struct next_hop hop = {.claim = HOP_READY, .peer = peer->number};

	if (route->way != WAY_TUNNEL && route->way != WAY_NATIVE)
		return hop;
	hop.ifindex = (uint32_t)route->ifindex;
	hop.mtu = hop.mtu_most = (uint16_t)(route->mtu > UINT16_MAX ? UINT16_MAX : route->mtu);
	return hop;
}

/* `mtu` is the programs', as long as the most stays what it is. */
static bool same_hop(const struct next_hop *a, const struct next_hop *b)
{
	return a->claim == b->claim && a->ifindex == b->ifindex && a->mtu_most == b->mtu_most &&
	       a->peer == b->peer;
}

static int write_number(struct peers *p, uint32_t number, const struct peer_entry *entry,
			const struct next_hop *hop)
{
	struct number *n = &p->numbers[number];
	uint32_t place = NEXT_HOP_PEERS + number;
	int r = 0;

	/* The place before what leads to it. */
	if (!same_hop(&n->hop, hop))
		r = maps_put(p->maps, MAP_NEXT_HOPS, &place, hop);
	if (r < 0)
		return r;
	n->hop = *hop;
	if (memcmp(&n->entry, entry, sizeof(*entry)) != 0)
		r = maps_put(p->maps, MAP_PEERS, &number, entry);
	if (r == 0)
		n->entry = *entry;
	return r;
}

static int write_peer(struct peers *p, const struct peer *peer)
{
	struct peer_entry entry;
	const struct next_hop hop = hop_of(peer);
	int r;

	if (!peer->number)
		return 0;
	entry_of(p, peer, &entry);
	r = write_number(p, peer->number, &entry, &hop);
	for (size_t i = 0; i < peer->host_count && r == 0; i++) {
		r = write_end(p, &peer->hosts[i].place->prefix.addr);
		if (r != -ENOSPC)
			continue;
		log_error("peers",
			  "Node %s: map tunnel_ends has no place for its address: what it sends "
			  "through the tunnel is dropped; use --tunnel auto or fewer nodes",
			  peer->name);
		r = 0;
	}
	return r;
}

/* ---------------------------------------------------------------- all of them */

static void recall_address(struct peers *p, const struct polder_addr *addr, uint32_t number)
{
	if (!addr_is_zero(addr))
		p->recalled[p->recalled_count++] = (struct recalled){*addr, number};
}

static void recall(struct peers *p, const struct peer_entry *entries, const struct next_hop *hops)
{
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++) {
		const struct next_hop *hop = &hops[NEXT_HOP_PEERS + i];
		struct polder_addr v4 = {}, v6;

		if (!entries[i].flags && !hop->claim)
			continue;
		p->numbers[i] =
			(struct number){.state = NUMBER_RECALLED, .entry = entries[i], .hop = *hop};
		if (entries[i].ipv4_be) {
			v4.bytes[10] = v4.bytes[11] = 0xff;
			v4.words_be[3] = entries[i].ipv4_be;
		}
		memcpy(&v6, entries[i].ipv6_be, sizeof(v6));
		recall_address(p, &v4, i);
		recall_address(p, &v6, i);
	}
	qsort(p->recalled, p->recalled_count, sizeof(*p->recalled), compare_recalled);
}

int peers_recall(struct peers *p)
{
	struct peer_entry *entries = NULL;
	struct next_hop *hops = NULL;
	struct tunnel_end *ends = NULL;
	int r;

	if (!p->maps)
		return 0;
	p->recalled = calloc(2 * (size_t)POLDER_MAX_PEERS, sizeof(*p->recalled));
	r = p->recalled ? maps_read_array(p->maps, MAP_PEERS, (void **)&entries) : -ENOMEM;
	if (r == 0)
		r = maps_read_array(p->maps, MAP_NEXT_HOPS, (void **)&hops);
	if (r == 0)
		r = maps_read_array(p->maps, MAP_TUNNEL_ENDS, (void **)&ends);
	if (r == 0) {
		memcpy(p->ends, ends, TUNNEL_ENDS * sizeof(*ends));
		recall(p, entries, hops);
	}
	free(entries);
	free(hops);
	free(ends);
	return r;
}

bool peers_dirty(const struct peers *p)
{
	return p->dirty || p->leaving || p->gone_count || (p->maps && !p->begun);
}

/* What an agent of before wrote and no Node says: ends at once, numbers with the others that leave.
 */
static int leave_recalled(struct peers *p)
{
	int r = 0;

	for (uint32_t i = 0; i < TUNNEL_ENDS && r == 0; i++) {
		const struct polder_addr underlay = p->ends[i].underlay;

		if (p->ends[i].peer)
			r = write_end(p, &underlay);
	}
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++)
		if (p->numbers[i].state == NUMBER_RECALLED)
			p->numbers[i].state = NUMBER_LEFT;
	free(p->recalled);
	p->recalled = NULL;
	p->recalled_count = 0;
	p->leaving = true;
	return r;
}

/* Addresses of peers that went, or that are another's now. */
static int sweep_ends(struct peers *p)
{
	int r = 0;

	for (size_t i = 0; i < p->gone_count && r == 0; i++)
		r = write_end(p, &p->gone[i]);
	if (r == 0)
		p->gone_count = 0;
	return r;
}

int peers_write(struct peers *p)
{
	int r = 0;

	if (!p->maps)
		return 0;
	r = sweep_ends(p);
	while (p->dirty && r == 0) {
		struct peer *peer = p->dirty;

		r = write_peer(p, peer);
		if (r < 0)
			break;
		p->dirty = peer->next_dirty;
		peer->is_dirty = false;
	}
	if (r == 0 && !p->begun) {
		r = leave_recalled(p);
		p->begun = r == 0;
	}
	return r;
}

void peers_written(struct peers *p)
{
	if (!p->leaving)
		return;
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++)
		if (p->numbers[i].state == NUMBER_LEFT) {
			p->numbers[i].state = NUMBER_UNSAID;
			p->unsaid = true;
		}
	p->leaving = false;
}

void peers_prune_mark(struct peers *p)
{
	if (!p->unsaid)
		return;
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++)
		if (p->numbers[i].state == NUMBER_UNSAID)
			p->numbers[i].state = NUMBER_MARKED;
	p->unsaid = false;
	p->marked = true;
}

void peers_prune(struct peers *p)
{
	static const struct peer_entry no_entry;
	static const struct next_hop no_hop;

	if (!p->marked)
		return;
	p->marked = false;
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++) {
		struct number *n = &p->numbers[i];
		uint32_t place = NEXT_HOP_PEERS + i;

		if (n->state != NUMBER_MARKED)
			continue;
		if (maps_put(p->maps, MAP_PEERS, &i, &no_entry) < 0 ||
		    maps_put(p->maps, MAP_NEXT_HOPS, &place, &no_hop) < 0) {
			p->marked = true; /* with the next wait */
			continue;
		}
		*n = (struct number){.state = NUMBER_FREE};
	}
	if (p->numberless)
		give_numberless(p);
}
