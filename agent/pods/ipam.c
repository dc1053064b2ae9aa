/* SPDX-License-Identifier: Apache-2.0 */
/* One family's pool of pod addresses. */
#include "agent/pods/ipam.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BITS_V4 24
#define MAX_BITS_V6 20
#define WORD_BITS   64

struct ipam_pool {
	struct prefix range;
	uint32_t count; /* addresses, reserved ones too */
	uint32_t reserved;
	uint32_t used;
	uint32_t cursor; /* where the search begins */
	bool v4, whole;	 /* whole: the range was not cut */
	uint64_t *taken; /* a bit for each, reserved ones too */
	uint64_t *fixed; /* the reserved ones */
	uint64_t *tired; /* those that rest */
	/* In the order in which they came to rest. One that is taken meanwhile leaves its place
	 * with NOBODY. */
	struct resting *resting;
	size_t first, end, room;
	uint32_t resting_count;
};

struct resting {
	uint32_t offset;
	uint64_t until;
};
#define NOBODY UINT32_MAX

static bool bit_get(const uint64_t *bits, uint32_t i)
{
	return bits[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

static void bit_set(uint64_t *bits, uint32_t i)
{
	bits[i / WORD_BITS] |= 1ull << (i % WORD_BITS);
}

static void bit_clear(uint64_t *bits, uint32_t i)
{
	bits[i / WORD_BITS] &= ~(1ull << (i % WORD_BITS));
}

static void wake_offset(struct ipam_pool *pool, uint32_t offset);

static void reserve_offset(struct ipam_pool *pool, uint32_t i)
{
	if (i >= pool->count || bit_get(pool->taken, i))
		return;
	wake_offset(pool, i);
	bit_set(pool->taken, i);
	bit_set(pool->fixed, i);
	pool->reserved++;
}

int ipam_pool_new(const struct prefix *range, struct ipam_pool **ret)
{
	struct ipam_pool *pool;
	unsigned int bits, max;
	size_t words;

	if (range->length > 128)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->range = *range;
	pool->v4 = addr_is_v4(&range->addr);
	bits = 128 - range->length;
	max = pool->v4 ? MAX_BITS_V4 : MAX_BITS_V6;
	pool->whole = bits <= max;
	pool->count = 1u << (pool->whole ? bits : max);
	words = (pool->count + WORD_BITS - 1) / WORD_BITS;
	pool->taken = calloc(words, sizeof(uint64_t));
	pool->fixed = calloc(words, sizeof(uint64_t));
	pool->tired = calloc(words, sizeof(uint64_t));
	if (!pool->taken || !pool->fixed || !pool->tired) {
		ipam_pool_free(pool);
		return -ENOMEM;
	}
	reserve_offset(pool, 0);
	reserve_offset(pool, 1);
	if (pool->v4 && pool->whole)
		reserve_offset(pool, pool->count - 1);
	*ret = pool;
	return 0;
}

void ipam_pool_free(struct ipam_pool *pool)
{
	if (!pool)
		return;
	free(pool->taken);
	free(pool->fixed);
	free(pool->tired);
	free(pool->resting);
	free(pool);
}

static void offset_to_addr(const struct ipam_pool *pool, uint32_t offset, struct polder_addr *ret)
{
	struct polder_addr addr = pool->range.addr;

	/* The pool has at most 2^24 addresses and its first one ends in as many zero bits. */
	addr.words_be[3] |= htonl(offset);
	*ret = addr;
}

static int addr_to_offset(const struct ipam_pool *pool, const struct polder_addr *addr,
			  uint32_t *ret)
{
	uint32_t offset = ntohl(addr->words_be[3]) - ntohl(pool->range.addr.words_be[3]);

	if (!prefix_contains(&pool->range, addr) || offset >= pool->count ||
	    memcmp(addr->bytes, pool->range.addr.bytes, 12) != 0)
		return -ERANGE;
	*ret = offset;
	return 0;
}

/* ---------------------------------------------------------------- rest */

static void wake(struct ipam_pool *pool, size_t place)
{
	struct resting *one = &pool->resting[place];

	bit_clear(pool->tired, one->offset);
	one->offset = NOBODY;
	pool->resting_count--;
	while (pool->first < pool->end && pool->resting[pool->first].offset == NOBODY)
		pool->first++;
	if (pool->first == pool->end)
		pool->first = pool->end = 0;
}

static void wake_offset(struct ipam_pool *pool, uint32_t offset)
{
	size_t i = pool->first;

	if (!bit_get(pool->tired, offset))
		return;
	while (i < pool->end && pool->resting[i].offset != offset)
		i++;
	if (i < pool->end)
		wake(pool, i);
}

static void wake_until(struct ipam_pool *pool, uint64_t now)
{
	while (pool->first < pool->end && pool->resting[pool->first].until <= now)
		wake(pool, pool->first);
}

/* Room behind the last one. False: no memory. */
static bool make_bed(struct ipam_pool *pool)
{
	size_t used = pool->end - pool->first, room = pool->room ? pool->room * 2 : 16;
	struct resting *grown;

	if (pool->end < pool->room)
		return true;
	if (pool->first > used) {
		memcpy(pool->resting, pool->resting + pool->first, used * sizeof(*grown));
		pool->first = 0;
		pool->end = used;
		return true;
	}
	grown = reallocarray(pool->resting, room, sizeof(*grown));
	if (!grown)
		return false;
	pool->resting = grown;
	pool->room = room;
	return true;
}

void ipam_rest(struct ipam_pool *pool, const struct polder_addr *addr, uint64_t until)
{
	uint32_t offset;

	ipam_release(pool, addr);
	if (addr_to_offset(pool, addr, &offset) < 0 || bit_get(pool->taken, offset) ||
	    bit_get(pool->tired, offset) || !make_bed(pool))
		return;
	bit_set(pool->tired, offset);
	pool->resting[pool->end++] = (struct resting){offset, until};
	pool->resting_count++;
}

void ipam_each_resting(const struct ipam_pool *pool,
		       void (*visit)(const struct polder_addr *addr, uint64_t until, void *data),
		       void *data)
{
	struct polder_addr addr;

	for (size_t i = pool->first; i < pool->end; i++) {
		if (pool->resting[i].offset == NOBODY)
			continue;
		offset_to_addr(pool, pool->resting[i].offset, &addr);
		visit(&addr, pool->resting[i].until, data);
	}
}

void ipam_next(const struct ipam_pool *pool, struct polder_addr *ret)
{
	offset_to_addr(pool, pool->cursor, ret);
}

/* ---------------------------------------------------------------- taking */

int ipam_take(struct ipam_pool *pool, const struct polder_addr *addr)
{
	uint32_t offset;
	int r = addr_to_offset(pool, addr, &offset);

	if (r < 0)
		return r;
	if (bit_get(pool->fixed, offset))
		return -EPERM;
	if (bit_get(pool->taken, offset))
		return -EADDRINUSE;
	wake_offset(pool, offset);
	bit_set(pool->taken, offset);
	pool->used++;
	return 0;
}

int ipam_take_next(struct ipam_pool *pool, uint64_t now, struct polder_addr *ret)
{
	uint32_t i = pool->cursor;

	if (pool->used + pool->reserved >= pool->count)
		return -ENOSPC;
	wake_until(pool, now);
	/* Rather one that has rested too little than none. */
	if (pool->used + pool->reserved + pool->resting_count >= pool->count)
		wake(pool, pool->first);
	while (bit_get(pool->taken, i) || bit_get(pool->tired, i)) {
		/* A full word at once. */
		if (i % WORD_BITS == 0 &&
		    (pool->taken[i / WORD_BITS] | pool->tired[i / WORD_BITS]) == UINT64_MAX)
			i += WORD_BITS;
		else
			i++;
		if (i >= pool->count)
			i = 0;
	}
	bit_set(pool->taken, i);
	pool->used++;
	pool->cursor = i + 1 < pool->count ? i + 1 : 0;
	offset_to_addr(pool, i, ret);
	return 0;
}

void ipam_release(struct ipam_pool *pool, const struct polder_addr *addr)
{
	uint32_t offset;

	if (addr_to_offset(pool, addr, &offset) < 0 || bit_get(pool->fixed, offset) ||
	    !bit_get(pool->taken, offset))
		return;
	bit_clear(pool->taken, offset);
	pool->used--;
}

void ipam_reserve(struct ipam_pool *pool, const struct polder_addr *addr)
{
	uint32_t offset;

	if (addr_to_offset(pool, addr, &offset) == 0)
		reserve_offset(pool, offset);
}

void ipam_continue_at(struct ipam_pool *pool, const struct polder_addr *addr)
{
	uint32_t offset;

	if (addr_to_offset(pool, addr, &offset) == 0)
		pool->cursor = offset;
}

void ipam_continue_after(struct ipam_pool *pool, const struct polder_addr *addr)
{
	uint32_t offset;

	if (addr_to_offset(pool, addr, &offset) == 0)
		pool->cursor = offset + 1 < pool->count ? offset + 1 : 0;
}

void ipam_usage(const struct ipam_pool *pool, uint64_t *ret_used, uint64_t *ret_size)
{
	*ret_used = pool->used;
	*ret_size = pool->count - pool->reserved;
}
