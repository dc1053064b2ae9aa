/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/maglev.h"

#include <assert.h>
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FREE UINT16_MAX

/* All nodes have the same two, of whatever version: what they hash decides where a flow goes. */
#define SEED_OFFSET 0x706f6c6465722d31ULL
#define SEED_SKIP   0x706f6c6465722d32ULL

/* The cells in the order in which an endpoint prefers them: next, next + skip, next + 2 * skip...
 */
struct preference {
	uint64_t high, low; /* of its address */
	uint16_t port;
	uint16_t weight;
	uint32_t credit; /* towards its next turn */
	uint32_t next, skip;
	uint16_t place;
};

bool maglev_is_prime(uint32_t number)
{
	if (number < 4)
		return number > 1;
	if (number % 2 == 0)
		return false;
	for (uint32_t i = 3; (uint64_t)i * i <= number; i += 2)
		if (number % i == 0)
			return false;
	return true;
}

void maglev_primes_around(uint32_t number, uint32_t *ret_below, uint32_t *ret_above)
{
	uint32_t below = number - 1, above = number + 1;

	assert(number > MAGLEV_SIZE_MIN && number < MAGLEV_SIZE_MAX);
	while (!maglev_is_prime(below))
		below--;
	while (!maglev_is_prime(above))
		above++;
	*ret_below = below;
	*ret_above = above;
}

/* Each bit of the result depends on each bit of `h` (the finish of splitmix64). */
static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
	return h ^ h >> 31;
}

static uint64_t hash_of(const struct preference *p, uint64_t seed)
{
	return mix(mix(mix(seed ^ p->high) ^ p->low) ^ p->port);
}

static struct preference preference_of(const struct backend *endpoint, uint16_t weight,
				       uint16_t place, uint32_t size)
{
	struct preference p = {.weight = weight, .place = place, .port = ntohs(endpoint->port_be)};
	uint64_t words[2];

	memcpy(words, &endpoint->addr, sizeof(words));
	p.high = be64toh(words[0]);
	p.low = be64toh(words[1]);
	p.next = hash_of(&p, SEED_OFFSET) % size;
	p.skip = hash_of(&p, SEED_SKIP) % (size - 1) + 1;
	return p;
}

static int compare(const void *a, const void *b)
{
	const struct preference *x = a, *y = b;

	if (x->high != y->high)
		return x->high < y->high ? -1 : 1;
	if (x->low != y->low)
		return x->low < y->low ? -1 : 1;
	return x->port - y->port;
}

/* Those that have a share, in an order that is the same everywhere. NULL: no memory. */
static struct preference *preferences_of(const struct backend *endpoints, const uint16_t *weights,
					 uint32_t count, uint32_t size, uint32_t *ret_count)
{
	struct preference *list = calloc(count, sizeof(*list));
	uint32_t n = 0;

	for (uint32_t i = 0; list && i < count; i++) {
		uint16_t weight = weights ? weights[i] : 1;

		assert(weight <= MAGLEV_WEIGHT_MAX);
		if (weight)
			list[n++] = preference_of(&endpoints[i], weight, (uint16_t)i, size);
	}
	if (list)
		qsort(list, n, sizeof(*list), compare);
	*ret_count = n;
	return list;
}

static void take_cell(struct preference *p, uint16_t *cells, uint32_t size)
{
	uint32_t cell = p->next;

	/* The size is a prime, so that this meets every cell. */
	while (cells[cell] != FREE) {
		cell += p->skip;
		if (cell >= size)
			cell -= size;
	}
	cells[cell] = p->place;
	p->next = cell;
}

/* By turns: in each round the heaviest take a cell, the others as often as is their share. */
static void fill(struct preference *list, uint32_t count, uint32_t size, uint16_t *cells)
{
	uint32_t heaviest = 0, filled = 0;

	for (uint32_t i = 0; i < count; i++)
		heaviest = list[i].weight > heaviest ? list[i].weight : heaviest;
	memset(cells, 0xff, size * sizeof(*cells));
	for (uint32_t i = 0; filled < size; i = i + 1 == count ? 0 : i + 1) {
		list[i].credit += list[i].weight;
		if (list[i].credit < heaviest)
			continue;
		list[i].credit -= heaviest;
		take_cell(&list[i], cells, size);
		filled++;
	}
}

int maglev_fill(const struct backend *endpoints, const uint16_t *weights, uint32_t count,
		uint32_t size, uint16_t *ret_cells)
{
	struct preference *list;
	uint32_t n;

	assert(count && count <= size && count <= MAGLEV_ENDPOINTS_MAX && maglev_is_prime(size) &&
	       size >= MAGLEV_SIZE_MIN);
	list = preferences_of(endpoints, weights, count, size, &n);
	if (!list)
		return -ENOMEM;
	assert(n);
	fill(list, n, size, ret_cells);
	free(list);
	return 0;
}
