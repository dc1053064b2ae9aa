/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/touched.h"

#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/kernel/flow_table.h"
#include "agent/node/node.h"

/* With more than so many changed addresses every flow is re-evaluated instead. */
#define CHANGES_MAX 4096
/* The same of ranges: each flow's addresses are compared with each of them. */
#define RANGES_MAX 64

struct touch {
	struct polder_addr addr;
	uint8_t length;	     /* of a range that begins there; 128: the address alone */
	uint32_t generation; /* when the maps had changed: if it moved since, all flows are
				evaluated anew already */
	uint16_t place;	     /* of a pod that left: flows to it lead there */
	bool left;
};

struct list {
	struct touch *items;
	size_t count, room;
};

struct touched {
	struct maps *maps;
	struct flows *flows;
	struct list first, second; /* which look is owed */
	size_t marked;		   /* of `second`: the wait that runs covers them */
};

struct touched *touched_new(struct maps *maps, struct flows *flows)
{
	struct touched *t = calloc(1, sizeof(*t));

	if (t)
		*t = (struct touched){.maps = maps, .flows = flows};
	return t;
}

void touched_free(struct touched *t)
{
	if (!t)
		return;
	free(t->first.items);
	free(t->second.items);
	free(t);
}

static uint32_t generation_of(const struct touched *t)
{
	return maps_control(t->maps)->generation;
}

static bool append(struct list *list, const struct touch *touch)
{
	size_t room = list->room ? 2 * list->room : 64;
	struct touch *grown;

	if (list->count == list->room) {
		grown = reallocarray(list->items, room, sizeof(*grown));
		if (!grown)
			return false;
		list->items = grown;
		list->room = room;
	}
	list->items[list->count++] = *touch;
	return true;
}

/* Told twice in a row, as of a Service with many ports. */
static bool is_same(const struct touch *a, const struct touch *b)
{
	return a->generation == b->generation && a->length == b->length &&
	       memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

void touched_change_range(struct touched *t, const struct prefix *range)
{
	const struct touch touch = {
		.addr = range->addr, .length = range->length, .generation = generation_of(t)};

	if (t->first.count && is_same(&t->first.items[t->first.count - 1], &touch))
		return;
	if (t->first.count < CHANGES_MAX && append(&t->first, &touch))
		return;
	maps_move_generation(t->maps);
	t->first.count = 0; /* re-evaluated with all others */
}

void touched_change(struct touched *t, const struct polder_addr *addr)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	touched_change_range(t, &prefix);
}

/* No packet can use them: they wait for the second look, which so many pods share. */
static void leave(struct touched *t, const struct polder_addr *addr, uint16_t place)
{
	const struct touch touch = {.addr = *addr, .length = 128, .place = place, .left = true};

	if (!addr_is_zero(addr) && !append(&t->second, &touch))
		maps_move_generation(t->maps);
}

/* In the map of pods, whose size is a power of two. */
static uint16_t place_of(const struct touched *t, const struct local_pod *pod)
{
	return (uint32_t)pod->ifindex & (maps_get(t->maps, MAP_PODS)->max_entries - 1);
}

void touched_leave(struct touched *t, const struct local_pod *pod)
{
	uint16_t place = place_of(t, pod);

	struct polder_addr owner4 = flow_owner_addr(place, FAMILY_V4),
			   owner6 = flow_owner_addr(place, FAMILY_V6);

	leave(t, &pod->ipv4, place);
	leave(t, &pod->ipv6, place);
	if (!addr_is_zero(&pod->ipv4))
		leave(t, &owner4, place);
	if (!addr_is_zero(&pod->ipv6))
		leave(t, &owner6, place);
}

static bool is_of(const struct touched *t, const struct touch *touch, const struct local_pod *pod)
{
	const struct prefix range = {.addr = touch->addr, .length = touch->length};

	return (touch->left && touch->place == place_of(t, pod)) ||
	       prefix_covers(&range, &pod->ipv4, 128) || prefix_covers(&range, &pod->ipv6, 128);
}

/* Into what the flow table is looked through for. Changes that a new generation has overtaken are
 * done. */
static int collect(const struct touched *t, const struct touch *items, size_t count,
		   struct prefix ranges[RANGES_MAX], struct flows_touched *ret)
{
	size_t i;
	int r = 0;

	ret->ranges = ranges;
	for (i = 0; i < count && r == 0; i++) {
		const struct touch *touch = &items[i];

		if (touch->left)
			r = address_set_add(&ret->left, &touch->addr);
		else if (touch->generation != generation_of(t))
			continue;
		else if (touch->length == 128)
			r = address_set_add(&ret->changed, &touch->addr);
		else if (ret->range_count == RANGES_MAX)
			maps_move_generation(t->maps); /* and so all that follow are done */
		else
			ranges[ret->range_count++] =
				(struct prefix){.addr = touch->addr, .length = touch->length};
	}
	return r;
}

static void look(struct touched *t, const struct touch *items, size_t count)
{
	struct flows_touched touched = {};
	struct prefix ranges[RANGES_MAX];

	if (!count)
		return;
	if (collect(t, items, count, ranges, &touched) < 0 || !flows_touch(t->flows, &touched)) {
		log_warning("flows",
			    "the flow table could not be looked through whole (no memory, or an "
			    "entry that a program does not let go of): every flow is re-evaluated");
		maps_move_generation(t->maps);
	}
	address_set_clear(&touched.left);
	address_set_clear(&touched.changed);
}

void touched_enter(struct touched *t, const struct local_pod *pod)
{
	size_t i, kept = 0, marked = 0;

	for (i = 0; i < t->second.count && !is_of(t, &t->second.items[i], pod); i++)
		;
	if (i == t->second.count)
		return;
	/* Now, since a later look would take the new pod's flows for those of the one that left. */
	look(t, t->second.items, t->second.count);
	for (i = 0; i < t->second.count; i++) {
		if (is_of(t, &t->second.items[i], pod))
			continue;
		marked += i < t->marked;
		t->second.items[kept++] = t->second.items[i];
	}
	t->second.count = kept;
	t->marked = marked;
	maps_move_generation(t->maps);
}

bool touched_owes_look(const struct touched *t)
{
	return t->first.count != 0;
}

void touched_look(struct touched *t)
{
	size_t i;

	look(t, t->first.items, t->first.count);
	for (i = 0; i < t->first.count; i++)
		if (!append(&t->second, &t->first.items[i]))
			break;
	if (i < t->first.count)
		maps_move_generation(t->maps);
	t->first.count = 0;
}

void touched_mark(struct touched *t)
{
	t->marked = t->second.count;
}

void touched_second_look(struct touched *t)
{
	if (!t->marked)
		return;
	look(t, t->second.items, t->marked);
	t->second.count -= t->marked;
	memmove(t->second.items, t->second.items + t->marked,
		t->second.count * sizeof(*t->second.items));
	t->marked = 0;
}

void touched_give_up(struct touched *t)
{
	if (t->marked)
		maps_move_generation(t->maps);
	touched_second_look(t);
}
