/* SPDX-License-Identifier: Apache-2.0 */
/* ipBlocks made disjoint: one walk over all blocks in the order of a binary trie. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/ruleset.h"
#include "agent/common/address.h"
#include "policy/objects/limits.h"

/* At this block an allowance begins, or ends for what lies inside. */
struct event {
	struct prefix prefix;
	size_t atom; /* NO_ATOM: nothing changes */
	int change;
};

struct open_block {
	size_t first, end; /* its events */
	struct class *class;
};

struct walk {
	struct ruleset *set;
	struct event *events;
	size_t count, capacity;
	uint32_t *covers;	     /* how many blocks allow each atom here */
	struct open_block open[130]; /* one in the other */
	size_t depth;
};

static const struct prefix all_v4 = {.addr = {.bytes = {[10] = 0xff, [11] = 0xff}},
				     .length = POLDER_V4_MAPPED_BITS};

static int add_event(struct walk *walk, const struct prefix *prefix, size_t atom, int change)
{
	struct event *events;

	if (walk->count == RULESET_MAX_BLOCKS)
		return -E2BIG;
	events = array_grow(walk->events, walk->count, &walk->capacity, sizeof(*events));
	if (!events)
		return -ENOMEM;
	walk->events = events;
	events[walk->count++] = (struct event){.prefix = *prefix, .atom = atom, .change = change};
	return 0;
}

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* Excepts inside one another end the block once. */
static int add_excepts(struct walk *walk, const struct policy_peer *peer, size_t atom)
{
	struct prefix *sorted = calloc(peer->except_count, sizeof(*sorted));
	const struct prefix *last = NULL;
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, peer->excepts, peer->except_count * sizeof(*sorted));
	qsort(sorted, peer->except_count, sizeof(*sorted), compare_prefixes);
	for (size_t i = 0; r == 0 && i < peer->except_count; i++) {
		const struct prefix *except = &sorted[i];

		if (last && prefix_covers(last, &except->addr, except->length))
			continue;
		if (!prefix_covers(&peer->block, &except->addr, except->length))
			continue;
		r = add_event(walk, except, atom, -1);
		last = except;
	}
	free(sorted);
	return r;
}

struct naming {
	struct walk *walk;
	const struct ruleset_rule *entry;
	bool v4;
};

/* A pod's address in a block: the ports by name that it has. */
static int add_named_address(const struct registry_identity *identity,
			     const struct polder_addr *addr, void *data)
{
	struct naming *naming = data;
	struct ruleset *set = naming->walk->set;
	const struct prefix single = {.addr = *addr, .length = 128};
	const struct ruleset_rule *entry = naming->entry;
	int r = 0;

	if (addr_is_v4(addr) != naming->v4)
		return 0;
	memset(set->scratch, 0, set->words * sizeof(*set->scratch));
	ruleset_named_atoms(set, entry, identity, set->scratch);
	for (size_t i = entry->first_named; r == 0 && i < entry->first_named + entry->named_count;
	     i++)
		if (bits_has(set->scratch, i))
			r = add_event(naming->walk, &single, i, 1);
	return r;
}

static int add_nodes(struct walk *walk, const struct policy_peer *peer, size_t atom, bool v4)
{
	const struct view *view = walk->set->view;
	int r = 0;

	for (size_t i = 0; i < view->node_count; i++) {
		const struct node_object *node = &view->nodes[i]->node;

		if (!selector_matches(&peer->node_selector, &view->nodes[i]->labels))
			continue;
		for (size_t j = 0; r == 0 && j < node->address_count; j++) {
			const struct prefix single = {.addr = node->addresses[j], .length = 128};

			if (addr_is_v4(&node->addresses[j]) == v4)
				r = add_event(walk, &single, atom, 1);
		}
	}
	return r;
}

static int add_peer(struct walk *walk, const struct policy_peer *peer, size_t atom, bool v4)
{
	int r;

	if (peer->is_nodes)
		return add_nodes(walk, peer, atom, v4);
	if (!peer->is_block || prefix_is_v4(&peer->block) != v4)
		return 0;
	r = add_event(walk, &peer->block, atom, 1);
	return r == 0 && peer->except_count > 0 ? add_excepts(walk, peer, atom) : r;
}

static int add_blocks(struct walk *walk, bool v4)
{
	for (size_t i = 0; i < walk->set->rule_count; i++) {
		const struct ruleset_rule *entry = &walk->set->rules[i];
		struct naming naming = {.walk = walk, .entry = entry, .v4 = v4};
		int r = ruleset_each_block_pod(walk->set, entry->rule, add_named_address, &naming);

		if (r < 0)
			return r;
		if (entry->plain == NO_ATOM)
			continue;
		for (size_t j = 0; j < entry->rule->source->peer_count; j++) {
			r = add_peer(walk, &entry->rule->source->peers[j], entry->plain, v4);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void apply(struct walk *walk, size_t first, size_t end, int sign)
{
	for (size_t i = first; i < end; i++) {
		const struct event *event = &walk->events[i];

		if (event->atom == NO_ATOM)
			continue;
		walk->covers[event->atom] += (uint32_t)(sign * event->change);
		if (walk->covers[event->atom] > 0)
			bits_set(walk->set->scratch, event->atom);
		else
			bits_reset(walk->set->scratch, event->atom);
	}
}

static void leave_blocks(struct walk *walk, const struct prefix *next)
{
	while (walk->depth > 0) {
		struct open_block *top = &walk->open[walk->depth - 1];

		if (next &&
		    prefix_covers(&walk->events[top->first].prefix, &next->addr, next->length))
			return;
		apply(walk, top->first, top->end, -1);
		walk->depth--;
	}
}

static int emit(struct ruleset *set, const struct prefix *prefix, struct class *class)
{
	struct ruleset_prefix *prefixes;

	if (set->prefix_count == RULESET_MAX_ENTRIES)
		return -E2BIG;
	prefixes = array_grow(set->prefixes, set->prefix_count, &set->prefix_capacity,
			      sizeof(*prefixes));
	if (!prefixes)
		return -ENOMEM;
	set->prefixes = prefixes;
	prefixes[set->prefix_count++] = (struct ruleset_prefix){.prefix = *prefix, .class = class};
	return 0;
}

/* A block needs an entry only where its class is not that of the block around it. */
static int enter_block(struct walk *walk, size_t first, size_t end, struct class *outside)
{
	const struct prefix *prefix = &walk->events[first].prefix;
	struct open_block *block = &walk->open[walk->depth++];
	int r;

	if (walk->depth > 1)
		outside = walk->open[walk->depth - 2].class;
	*block = (struct open_block){.first = first, .end = end};
	apply(walk, first, end, 1);
	r = class_of(&walk->set->peers, walk->set->scratch, &block->class);
	if (r < 0 || block->class == outside)
		return r;
	return emit(walk->set, prefix, block->class);
}

/* `outside` is what holds where no block of this family is. */
static int walk_family(struct walk *walk, struct class *outside)
{
	struct ruleset *set = walk->set;
	int r = 0;

	qsort(walk->events, walk->count, sizeof(*walk->events), compare_prefixes);
	memcpy(set->scratch, set->world, set->words * sizeof(*set->world));
	/* What the whole world may do stays allowed inside excepts. */
	memset(walk->covers, 0, set->atom_count * sizeof(*walk->covers));
	for (size_t i = 0; i < set->atom_count; i++)
		walk->covers[i] = bits_has(set->world, i);
	for (size_t first = 0, end; r == 0 && first < walk->count; first = end) {
		const struct prefix *prefix = &walk->events[first].prefix;

		for (end = first + 1; end < walk->count; end++)
			if (prefix_compare(prefix, &walk->events[end].prefix) != 0)
				break;
		leave_blocks(walk, prefix);
		r = enter_block(walk, first, end, outside);
	}
	walk->depth = 0;
	return r;
}

/* What the IPv6 blocks would say of IPv4 addresses, which stand in the midst of them. */
static struct class *class_around_v4(const struct ruleset *set)
{
	struct class *class = set->world_class;

	for (size_t i = 0; i < set->prefix_count; i++)
		if (prefix_covers(&set->prefixes[i].prefix, &all_v4.addr, all_v4.length))
			class = set->prefixes[i].class;
	return class;
}

int ruleset_classify_prefixes(struct ruleset *set)
{
	struct walk walk = {.set = set};
	struct class *around;
	int r;

	walk.covers = calloc(set->atom_count + 1, sizeof(*walk.covers));
	if (!walk.covers)
		return -ENOMEM;
	r = add_blocks(&walk, false);
	if (r == 0 && walk.count > 0)
		r = walk_family(&walk, set->world_class);
	around = class_around_v4(set);
	walk.count = 0;
	if (r == 0)
		r = add_blocks(&walk, true);
	if (r == 0 && around != set->world_class)
		r = add_event(&walk, &all_v4, NO_ATOM, 0);
	if (r == 0 && walk.count > 0)
		r = walk_family(&walk, around);
	free(walk.events);
	free(walk.covers);
	return r;
}
