/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/ranges.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct gap {
	uint32_t first, count;
};

/* What is free, in order; no two gaps touch. */
struct ranges {
	uint32_t size, used;
	struct gap *gaps;
	size_t count, room;
	size_t taken; /* ranges: so many gaps and one more can there be at most */
};

int ranges_new(uint32_t size, struct ranges **ret)
{
	struct ranges *r = calloc(1, sizeof(*r));

	if (r)
		r->gaps = calloc(8, sizeof(*r->gaps));
	if (!r || !r->gaps) {
		free(r);
		return -ENOMEM;
	}
	r->size = size;
	r->room = 8;
	r->count = size ? 1 : 0;
	r->gaps[0] = (struct gap){.first = 0, .count = size};
	*ret = r;
	return 0;
}

void ranges_free(struct ranges *r)
{
	if (!r)
		return;
	free(r->gaps);
	free(r);
}

/* Room for the gaps that one more range can leave between the others: giving back then needs no
 * memory. */
static int reserve(struct ranges *r)
{
	struct gap *grown;
	size_t room = 2 * r->room;

	if (r->taken + 2 <= r->room)
		return 0;
	grown = reallocarray(r->gaps, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->gaps = grown;
	r->room = room;
	return 0;
}

static void gap_insert(struct ranges *r, size_t at, struct gap gap)
{
	memmove(&r->gaps[at + 1], &r->gaps[at], (r->count - at) * sizeof(*r->gaps));
	r->gaps[at] = gap;
	r->count++;
}

static void gap_remove(struct ranges *r, size_t at)
{
	r->count--;
	memmove(&r->gaps[at], &r->gaps[at + 1], (r->count - at) * sizeof(*r->gaps));
}

/* Cuts a range out of a gap that holds it. */
static void gap_cut(struct ranges *r, size_t at, uint32_t first, uint32_t count)
{
	struct gap *gap = &r->gaps[at];
	struct gap behind = {.first = first + count,
			     .count = gap->first + gap->count - (first + count)};

	gap->count = first - gap->first;
	if (gap->count && behind.count)
		gap_insert(r, at + 1, behind);
	else if (behind.count)
		*gap = behind;
	else if (!gap->count)
		gap_remove(r, at);
	r->used += count;
	r->taken++;
}

/* The first gap that ends behind `number`; r->count if none does. */
static size_t gap_behind(const struct ranges *r, uint32_t number)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if ((uint64_t)r->gaps[middle].first + r->gaps[middle].count > number)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int ranges_take(struct ranges *r, uint32_t count, uint32_t *ret_first)
{
	uint32_t first;
	size_t at;

	if (!count) {
		*ret_first = 0;
		return 0;
	}
	if (reserve(r) < 0)
		return -ENOMEM;
	for (at = 0; at < r->count && r->gaps[at].count < count; at++)
		;
	if (at == r->count)
		return -E2BIG;
	first = r->gaps[at].first;
	gap_cut(r, at, first, count);
	*ret_first = first;
	return 0;
}

int ranges_take_at(struct ranges *r, uint32_t first, uint32_t count)
{
	size_t at;

	if (!count)
		return 0;
	if (first >= r->size || count > r->size - first)
		return -ERANGE;
	if (reserve(r) < 0)
		return -ENOMEM;
	at = gap_behind(r, first);
	if (at == r->count || r->gaps[at].first > first ||
	    r->gaps[at].count - (first - r->gaps[at].first) < count)
		return -EEXIST;
	gap_cut(r, at, first, count);
	return 0;
}

void ranges_give(struct ranges *r, uint32_t first, uint32_t count)
{
	struct gap *before = NULL, *behind = NULL;
	size_t at;

	if (!count)
		return;
	at = gap_behind(r, first);
	if (at < r->count)
		behind = &r->gaps[at];
	if (at > 0)
		before = &r->gaps[at - 1];
	assert(count <= r->used && (!behind || first + count <= behind->first));
	if (before && before->first + before->count != first)
		before = NULL;
	if (behind && first + count != behind->first)
		behind = NULL;
	if (before && behind) {
		before->count += count + behind->count;
		gap_remove(r, at);
	} else if (before) {
		before->count += count;
	} else if (behind) {
		*behind = (struct gap){.first = first, .count = count + behind->count};
	} else {
		assert(r->count < r->room);
		gap_insert(r, at, (struct gap){.first = first, .count = count});
	}
	r->used -= count;
	r->taken--;
}

uint32_t ranges_used(const struct ranges *r)
{
	return r->used;
}

uint32_t ranges_longest_free(const struct ranges *r)
{
	uint32_t longest = 0;
	size_t i;

	for (i = 0; i < r->count; i++)
		if (r->gaps[i].count > longest)
			longest = r->gaps[i].count;
	return longest;
}
