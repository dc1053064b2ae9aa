/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/addresses.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/common/hash_table.h"
#include "agent/common/address_blocks.h"
#include "agent/policy/address_list.h"

struct address {
	struct hash_table_item by_key; /* first: the table gives it back */
	struct address_key key;
	struct address_entry entry;   /* as it stands in the map, if `present` */
	struct address_claim *claims; /* in their order */
	struct fixed *fixed;	      /* NULL: no node or range says anything */
	struct block_item in_block;   /* but a range is in none */
	struct address *next_dirty;
	bool present;
	bool dirty, pending, fresh, roomless; /* in the lists */
	bool contested;			      /* a claim does not count */
};

/* What a node or a range says of its addresses. */
struct fixed {
	struct address *address;
	struct address_fix said;
	bool named; /* since addresses_fix_begin() */
	struct fixed *next, **at;
};

struct addresses {
	struct addresses_env env;
	struct hash_table all; /* by key */
	struct address_blocks blocks;
	size_t present, contested_count;
	uint32_t max_entries;
	struct address *dirty;	      /* have to be looked at: a list that needs no memory */
	struct address_list pending;  /* the slots differ */
	struct address_list fresh;    /* pods' that were not there before this write */
	struct address_list roomless; /* found the map full */
	struct fixed *fixed;	      /* nodes' addresses and ranges */
	bool known;		      /* a write has succeeded since the map was read */
};

/* ---------------------------------------------------------------- the table */

static uint32_t hash_of(const struct address_key *key)
{
	return hash_table_hash_of(key, sizeof(*key));
}

static struct address *find(const struct addresses *a, const struct address_key *key)
{
	struct hash_table_item *item = hash_table_find(&a->all, hash_of(key));

	while (item && memcmp(&((struct address *)item)->key, key, sizeof(*key)) != 0)
		item = hash_table_find_next(item);
	return (struct address *)item;
}

/* All of them: the first one after NULL. */
static struct address *next_of(const struct addresses *a, const struct address *address)
{
	return (struct address *)(address ? hash_table_next(&a->all, &address->by_key)
					  : hash_table_first(&a->all));
}

static struct address *find_addr(const struct addresses *a, const struct polder_addr *addr)
{
	const struct address_key key = {.prefixlen = 128, .addr = *addr};

	return find(a, &key);
}

/* NULL: no memory. */
static struct address *need(struct addresses *a, const struct address_key *key)
{
	struct address *address = find(a, key);

	if (address)
		return address;
	address = calloc(1, sizeof(*address));
	if (!address)
		return NULL;
	address->key = *key;
	if (hash_table_add(&a->all, &address->by_key, hash_of(key)) < 0) {
		free(address);
		return NULL;
	}
	if (key->prefixlen < 128 ||
	    address_blocks_add(&a->blocks, &address->in_block, &key->addr) == 0)
		return address;
	hash_table_remove(&a->all, &address->by_key);
	free(address);
	return NULL;
}

static void mark(struct addresses *a, struct address *address)
{
	if (address->dirty)
		return;
	address->dirty = true;
	address->next_dirty = a->dirty;
	a->dirty = address;
}

void addresses_mark_all(struct addresses *a)
{
	struct address *address;

	for (address = next_of(a, NULL); address; address = next_of(a, address))
		mark(a, address);
}

static bool is_needed(const struct address *address)
{
	return address->present || address->claims || address->fixed || address->pending ||
	       address->fresh || address->roomless || address->dirty;
}

static void drop_if_done(struct addresses *a, struct address *address)
{
	if (is_needed(address))
		return;
	address_blocks_remove(&a->blocks, &address->in_block, &address->key.addr);
	hash_table_remove(&a->all, &address->by_key);
	free(address);
}

/* Keeps how many elements the map has. */
static void count_present(struct addresses *a, int more)
{
	a->present += more;
	maps_keep_count(a->env.maps, MAP_ADDRESSES, a->present);
}

static int take_over(struct addresses *a)
{
	const struct map_info *info = maps_get(a->env.maps, MAP_ADDRESSES);
	void *keys = NULL, *values = NULL;
	struct address *address;
	size_t count = 0, i;
	int r = maps_dump(a->env.maps, MAP_ADDRESSES, &keys, &values, &count);

	a->max_entries = info->max_entries;
	for (i = 0; i < count && r == 0; i++) {
		address = need(a, (struct address_key *)keys + i);
		if (!address) {
			r = -ENOMEM;
			break;
		}
		address->entry = ((struct address_entry *)values)[i];
		address->present = true;
		a->present++;
		mark(a, address);
	}
	count_present(a, 0);
	free(keys);
	free(values);
	return r;
}

int addresses_open(const struct addresses_env *env, struct addresses **ret)
{
	struct addresses *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->env = *env;
	r = take_over(a);
	if (r < 0) {
		addresses_close(a);
		return r;
	}
	*ret = a;
	return 0;
}

void addresses_close(struct addresses *a)
{
	struct address *address, *next;

	if (!a)
		return;
	for (address = next_of(a, NULL); address; address = next) {
		next = next_of(a, address);
		address_blocks_remove(&a->blocks, &address->in_block, &address->key.addr);
		free(address->fixed);
		free(address);
	}
	hash_table_clear(&a->all);
	address_blocks_clear(&a->blocks);
	free(a->pending.items);
	free(a->fresh.items);
	free(a->roomless.items);
	free(a);
}

/* ---------------------------------------------------------------- claims */

static int compare_claims(const struct address_claim *a, const struct address_claim *b)
{
	int order;

	if (!a->ifindex != !b->ifindex)
		return a->ifindex ? -1 : 1;
	order = strcmp(a->pod->namespace, b->pod->namespace);
	return order ? order : strcmp(a->pod->name, b->pod->name);
}

int addresses_claim(struct addresses *a, struct address_claim *claim,
		    const struct polder_addr *addr)
{
	const struct address_key key = {.prefixlen = 128, .addr = *addr};
	struct address *address = need(a, &key);
	struct address_claim **at;

	if (!address)
		return -ENOMEM;
	for (at = &address->claims; *at && compare_claims(*at, claim) <= 0; at = &(*at)->next)
		;
	claim->address = address;
	claim->next = *at;
	*at = claim;
	mark(a, address);
	return 0;
}

void addresses_unclaim(struct addresses *a, struct address_claim *claim)
{
	struct address_claim **at;

	if (!claim->address)
		return;
	for (at = &claim->address->claims; *at != claim; at = &(*at)->next)
		;
	*at = claim->next;
	mark(a, claim->address);
	claim->address = NULL;
	claim->next = NULL;
}

void addresses_claim_changed(struct addresses *a, struct address_claim *claim)
{
	if (claim->address)
		mark(a, claim->address);
}

static bool is_nodes(const struct address *address)
{
	return address->fixed && address->fixed->said.flags & ADDRESS_NODE;
}

/* May a pod of another node have it at all? */
static bool is_foreign(const struct addresses *a, const struct address *address)
{
	return !a->env.is_own(&address->key.addr, a->env.data);
}

/* The one that counts; NULL: none. */
static const struct address_claim *winner(const struct addresses *a, const struct address *address)
{
	const struct address_claim *claim = address->claims;

	while (claim && !claim->identity)
		claim = claim->next;
	if (!claim || claim->ifindex)
		return claim;
	return is_nodes(address) || !is_foreign(a, address) ? NULL : claim;
}

/* ---------------------------------------------------------------- nodes and ranges */

void addresses_fix_begin(struct addresses *a)
{
	struct fixed *fixed;

	for (fixed = a->fixed; fixed; fixed = fixed->next)
		fixed->named = false;
}

/* NULL: no memory. */
static struct fixed *need_fixed(struct addresses *a, const struct prefix *prefix)
{
	const struct address_key key = {.prefixlen = prefix->length, .addr = prefix->addr};
	struct address *address = need(a, &key);
	struct fixed *fixed = address ? address->fixed : NULL;

	if (fixed || !address)
		return fixed;
	mark(a, address);
	fixed = calloc(1, sizeof(*fixed));
	if (!fixed)
		return NULL;
	*fixed = (struct fixed){.address = address, .next = a->fixed, .at = &a->fixed};
	if (a->fixed)
		a->fixed->at = &fixed->next;
	a->fixed = address->fixed = fixed;
	return fixed;
}

int addresses_fix(struct addresses *a, const struct prefix *prefix, const struct address_fix *fix)
{
	struct fixed *fixed = need_fixed(a, prefix);

	if (!fixed)
		return -ENOMEM;
	if (fixed->said.identity != fix->identity || fixed->said.flags != fix->flags ||
	    fixed->said.peer != fix->peer)
		mark(a, fixed->address);
	fixed->named = true;
	fixed->said = *fix;
	return 0;
}

static void unfix(struct addresses *a, struct fixed *fixed)
{
	*fixed->at = fixed->next;
	if (fixed->next)
		fixed->next->at = fixed->at;
	mark(a, fixed->address);
	fixed->address->fixed = NULL;
	free(fixed);
}

void addresses_unfix(struct addresses *a, const struct prefix *prefix)
{
	const struct address_key key = {.prefixlen = prefix->length, .addr = prefix->addr};
	const struct address *address = find(a, &key);

	if (address && address->fixed)
		unfix(a, address->fixed);
}

void addresses_fix_end(struct addresses *a)
{
	struct fixed *fixed, *next;

	for (fixed = a->fixed; fixed; fixed = next) {
		next = fixed->next;
		if (!fixed->named)
			unfix(a, fixed);
	}
}

struct inside {
	struct addresses *addresses;
	const struct prefix *range;
};

/* Pods' alone: a node's address is the same whoever has a range around it. */
static void mark_inside(struct block_item *item, void *data)
{
	struct address *address =
		(struct address *)((char *)item - offsetof(struct address, in_block));
	const struct inside *inside = data;

	if (address->claims && prefix_covers(inside->range, &address->key.addr, 128))
		mark(inside->addresses, address);
}

void addresses_mark_inside(struct addresses *a, const struct prefix *range)
{
	struct inside inside = {a, range};

	address_blocks_each(&a->blocks, range, mark_inside, &inside);
}

/* ---------------------------------------------------------------- one address */

/* A pod, or what else. */
struct owner {
	const struct object *pod;
	const char *text;
};

/* What the map should say. False: nothing. */
static bool wanted(const struct addresses *a, const struct address *address,
		   struct address_entry *ret, struct owner *ret_owner)
{
	const struct address_claim *claim = winner(a, address);
	uint32_t identity, flags, shared = 0; /* a link, or a peer */

	if (claim) {
		identity = claim->identity;
		shared = claim->ifindex;
		flags = ADDRESS_POD | (shared ? ADDRESS_LOCAL : 0);
		if (!shared && a->env.peer_of)
			shared = a->env.peer_of(&address->key.addr, claim->pod->pod.node_name,
						a->env.data);
		*ret_owner = (struct owner){.pod = claim->pod};
	} else if (address->fixed) {
		identity = address->fixed->said.identity;
		flags = address->fixed->said.flags;
		shared = address->fixed->said.peer;
		*ret_owner = (struct owner){.text = address->fixed->said.owner};
	} else {
		return false;
	}
	*ret = (struct address_entry){
		.identity = {identity, identity}, .flags = flags, .ifindex = shared};
	return true;
}

static bool is_local_pod(const struct address *address, const struct address_entry *entry)
{
	return address->key.prefixlen == 128 && entry->flags & ADDRESS_POD &&
	       entry->flags & ADDRESS_LOCAL;
}

/* Into both maps. */
static int put(struct addresses *a, struct address *address, const struct address_entry *entry)
{
	bool same = address->present && memcmp(&address->entry, entry, sizeof(*entry)) == 0;
	int r = 0;

	if (!same && !address->present && a->present >= a->max_entries)
		return -E2BIG;
	/* The array answers before the trie does: it must not keep what was this node's. */
	if (address->present && is_local_pod(address, &address->entry) &&
	    !is_local_pod(address, entry))
		r = local_pods_clear(a->env.local_pods, &address->key.addr);
	if (r == 0 && !same)
		r = maps_put(a->env.maps, MAP_ADDRESSES, &address->key, entry);
	if (r < 0)
		return r;
	if (!address->present)
		count_present(a, 1);
	address->present = true;
	address->entry = *entry;
	return is_local_pod(address, entry)
		       ? local_pods_put(a->env.local_pods, &address->key.addr, entry)
		       : 0;
}

static void touch(struct addresses *a, const struct address *address)
{
	const struct prefix prefix = {.addr = address->key.addr,
				      .length = (uint8_t)address->key.prefixlen};

	a->env.touched(&prefix, a->env.data);
}

static int mark_pending(struct addresses *a, struct address *address)
{
	if (!address->pending && address_list_append(&a->pending, address) < 0)
		return -ENOMEM;
	address->pending = true;
	return 0;
}

static int mark_fresh(struct addresses *a, struct address *address)
{
	if (!address->fresh && address_list_append(&a->fresh, address) < 0)
		return -ENOMEM;
	address->fresh = true;
	return 0;
}

/* Flags or link are others, or it is new: both slots at once. Noted first, so that it can be
 * undone. */
static int put_both(struct addresses *a, struct address *address, const struct address_entry *entry)
{
	int r = entry->flags & ADDRESS_POD ? mark_fresh(a, address) : 0;

	if (r == 0)
		r = put(a, address, entry);
	if (r == 0)
		touch(a, address);
	return r;
}

/* The identity is another one: in the slot that is not in force. */
static int put_next(struct addresses *a, struct address *address, struct address_entry *entry,
		    unsigned int slot, bool *ret_switch)
{
	int r = mark_pending(a, address);

	if (r < 0)
		return r;
	entry->identity[slot] = address->entry.identity[slot];
	if (entry->identity[0] != entry->identity[1]) {
		*ret_switch = true;
		touch(a, address);
	}
	return put(a, address, entry);
}

/* It is behind another peer, whatever its identity becomes: one write, so both slots at once. */
static int put_peer(struct addresses *a, struct address *address, uint32_t peer)
{
	struct address_entry entry = address->entry;
	int r;

	entry.peer = peer;
	r = put(a, address, &entry);
	if (r == 0)
		touch(a, address);
	return r;
}

static int write_one(struct addresses *a, struct address *address, struct address_entry *entry,
		     unsigned int slot, bool *ret_switch)
{
	const struct address_entry *present = &address->entry;
	int r;

	if (address->present && present->flags == entry->flags && !(entry->flags & ADDRESS_LOCAL) &&
	    present->peer != entry->peer) {
		r = put_peer(a, address, entry->peer);
		if (r < 0)
			return r;
	}
	if (!address->present || present->flags != entry->flags ||
	    present->ifindex != entry->ifindex)
		return put_both(a, address, entry);
	if (memcmp(present->identity, entry->identity, sizeof(entry->identity)) == 0)
		return put(a, address, present);
	return put_next(a, address, entry, slot, ret_switch);
}

static void report_full(const struct addresses *a, const struct address *address,
			const struct owner *owner)
{
	char text[INET6_ADDRSTRLEN];

	addr_format(&address->key.addr, text);
	log_error("addresses",
		  "%s%s%s: no room for its address %s: map addresses has %u entries, all in use; "
		  "raise "
		  "--max-addresses",
		  owner->pod ? owner->pod->namespace : "", owner->pod ? "/" : "",
		  owner->pod ? owner->pod->name : owner->text, text, a->max_entries);
}

static int mark_roomless(struct addresses *a, struct address *address, const struct owner *owner)
{
	if (address->roomless)
		return 0;
	if (address_list_append(&a->roomless, address) < 0)
		return -ENOMEM;
	address->roomless = true;
	report_full(a, address, owner);
	return 0;
}

static int write_wanted(struct addresses *a, struct address *address, unsigned int slot,
			bool *ret_switch)
{
	struct address_entry entry;
	struct owner owner;
	int r;

	if (!wanted(a, address, &entry, &owner))
		return 0;
	r = write_one(a, address, &entry, slot, ret_switch);
	return r == -E2BIG ? mark_roomless(a, address, &owner) : r;
}

/* Nobody wants it, or does with other flags, which is for write_wanted(). */
static int delete_unwanted(struct addresses *a, struct address *address)
{
	struct address_entry entry;
	struct owner owner;
	int r;

	if (!address->present || wanted(a, address, &entry, &owner))
		return 0;
	touch(a, address);
	if (is_local_pod(address, &address->entry))
		local_pods_clear(a->env.local_pods, &address->key.addr);
	r = maps_delete(a->env.maps, MAP_ADDRESSES, &address->key);
	if (r < 0)
		return r;
	address->present = false;
	count_present(a, -1);
	return 0;
}

/* ---------------------------------------------------------------- all that is marked */

/* Does the claim ask for what it does not get? What this node gives is not for others to ask for.
 */
static bool is_refused(const struct addresses *a, const struct address *address,
		       const struct address_claim *claim)
{
	return claim != winner(a, address) && claim->identity && !claim->ifindex &&
	       is_foreign(a, address);
}

static void count_contested(struct addresses *a, struct address *address)
{
	const struct address_claim *claim = address->claims;

	while (claim && !is_refused(a, address, claim))
		claim = claim->next;
	a->contested_count += (claim != NULL) - address->contested;
	address->contested = claim != NULL;
}

static void end_fresh(struct addresses *a)
{
	while (a->fresh.count) {
		struct address *address = a->fresh.items[--a->fresh.count];

		address->fresh = false;
		drop_if_done(a, address);
	}
	address_list_settle(&a->fresh);
}

/* Those that found no room before, while there is some. */
static int retry_roomless(struct addresses *a, unsigned int slot, bool *ret_switch)
{
	size_t kept = 0, i;
	int r = 0;

	for (i = 0; i < a->roomless.count; i++) {
		struct address *address = a->roomless.items[i];
		struct address_entry entry;
		struct owner owner;

		if (!address->present && wanted(a, address, &entry, &owner) &&
		    (r < 0 || a->present >= a->max_entries)) {
			a->roomless.items[kept++] = address;
			continue;
		}
		if (r == 0 && wanted(a, address, &entry, &owner))
			r = write_one(a, address, &entry, slot, ret_switch);
		address->roomless = false;
		drop_if_done(a, address);
	}
	a->roomless.count = kept;
	return r;
}

static bool is_known_pod(const struct polder_addr *addr, void *data)
{
	const struct addresses *a = data;
	const struct address *address = find_addr(a, addr);
	const struct address_claim *claim = address ? winner(a, address) : NULL;

	return claim && claim->ifindex;
}

static int write_marked(struct addresses *a, unsigned int slot, bool *ret_switch)
{
	struct address *address;
	int r = 0;

	for (address = a->dirty; address && r == 0; address = address->next_dirty)
		r = write_wanted(a, address, slot, ret_switch);
	if (r == 0 && !a->known)
		r = local_pods_prune(a->env.local_pods, is_known_pod, a);
	for (address = a->dirty; address && r == 0; address = address->next_dirty)
		r = delete_unwanted(a, address);
	return r;
}

int addresses_write(struct addresses *a, unsigned int slot, bool *ret_switch)
{
	int r = write_marked(a, slot, ret_switch);

	if (r == 0 && a->roomless.count)
		r = retry_roomless(a, slot, ret_switch);
	if (r < 0) {
		addresses_mark_all(a);
		return r;
	}
	/* In force with the run, of which this is the last part that may fail. */
	end_fresh(a);
	a->known = true;
	while (a->dirty) {
		struct address *address = a->dirty;

		a->dirty = address->next_dirty;
		address->dirty = false;
		count_contested(a, address);
		drop_if_done(a, address);
	}
	return 0;
}

void addresses_sync_slots(struct addresses *a, unsigned int slot)
{
	while (a->pending.count) {
		struct address *address = a->pending.items[--a->pending.count];
		struct address_entry entry = address->entry;

		address->pending = false;
		entry.identity[!slot] = entry.identity[slot];
		/* What cannot be written now is looked at again. */
		if (address->present && put(a, address, &entry) < 0)
			mark(a, address);
		drop_if_done(a, address);
	}
	address_list_settle(&a->pending);
}

void addresses_undo(struct addresses *a)
{
	for (size_t i = 0; i < a->fresh.count; i++) {
		struct address *address = a->fresh.items[i];

		if (!address->present)
			continue;
		if (is_local_pod(address, &address->entry))
			local_pods_clear(a->env.local_pods, &address->key.addr);
		if (maps_delete(a->env.maps, MAP_ADDRESSES, &address->key) == 0) {
			address->present = false;
			count_present(a, -1);
		}
		mark(a, address);
	}
	end_fresh(a);
}

void addresses_remove(struct addresses *a, const struct polder_addr *addr)
{
	struct address *address = find_addr(a, addr);

	local_pods_clear(a->env.local_pods, addr);
	if (!address)
		return;
	if (address->present && maps_delete(a->env.maps, MAP_ADDRESSES, &address->key) == 0) {
		address->present = false;
		count_present(a, -1);
	}
	mark(a, address);
}

/* ---------------------------------------------------------------- asking */

const struct address_entry *addresses_find(const struct addresses *a,
					   const struct polder_addr *addr)
{
	const struct address *address = find_addr(a, addr);

	return address && address->present ? &address->entry : NULL;
}

const struct object *addresses_owner(const struct addresses *a, const struct polder_addr *addr)
{
	const struct address *address = find_addr(a, addr);
	const struct address_claim *claim = address ? winner(a, address) : NULL;

	return claim ? claim->pod : NULL;
}

void addresses_problems(const struct addresses *a,
			void (*visit)(const struct address_problem *problem, void *data),
			void *data)
{
	const struct address *address;

	if (!a->roomless.count && !a->contested_count)
		return;
	for (address = next_of(a, NULL); address; address = next_of(a, address)) {
		struct address_problem problem = {.addr = &address->key.addr};
		const struct address_claim *claim;
		struct address_entry entry;
		struct owner owner;

		problem.no_room = true;
		if (address->roomless && !address->present && wanted(a, address, &entry, &owner)) {
			problem.pod = owner.pod;
			problem.owner = owner.text;
			visit(&problem, data);
		}
		for (claim = address->claims; claim; claim = claim->next) {
			problem = (struct address_problem){.addr = &address->key.addr,
							   .pod = claim->pod};
			if (is_refused(a, address, claim))
				visit(&problem, data);
		}
	}
}

size_t addresses_without_room(const struct addresses *a)
{
	return a->roomless.count;
}

void addresses_each(const struct addresses *a,
		    void (*visit)(const struct address_key *key, const struct address_entry *entry,
				  void *data),
		    void *data)
{
	const struct address *address;

	for (address = next_of(a, NULL); address; address = next_of(a, address))
		if (address->present)
			visit(&address->key, &address->entry, data);
}
