/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/address_set.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"

#define SIZE_FIRST 16

static bool is_zero(const struct polder_addr *addr)
{
	return !(addr->words_be[0] | addr->words_be[1] | addr->words_be[2] | addr->words_be[3]);
}

/* The place of the address, or the free one where it belongs. */
static size_t find(const struct polder_addr *places, size_t size, const struct polder_addr *addr)
{
	uint64_t hash = addr->words_be[3] ^ (uint64_t)addr->words_be[2] << 32;
	size_t at;

	hash = (hash ^
		((uint64_t)addr->words_be[1] << 32 | addr->words_be[0]) * 0x9e3779b97f4a7c15) *
	       0x9e3779b97f4a7c15;
	for (at = hash >> 32 & (size - 1); !is_zero(&places[at]); at = (at + 1) & (size - 1))
		if (memcmp(&places[at], addr, sizeof(*addr)) == 0)
			break;
	return at;
}

void address_set_clear(struct address_set *set)
{
	free(set->places);
	*set = (struct address_set){};
}

static int grow(struct address_set *set)
{
	size_t size = set->size ? set->size * 2 : SIZE_FIRST, i;
	struct polder_addr *places = calloc(size, sizeof(*places));

	if (!places)
		return -ENOMEM;
	for (i = 0; i < set->size; i++)
		if (!is_zero(&set->places[i]))
			places[find(places, size, &set->places[i])] = set->places[i];
	free(set->places);
	set->places = places;
	set->size = size;
	return 0;
}

int address_set_add(struct address_set *set, const struct polder_addr *addr)
{
	size_t at;
	int r;

	if (is_zero(addr) || address_set_holds(set, addr))
		return 0;
	if (set->count >= set->size / 2) {
		r = grow(set);
		if (r < 0)
			return r;
	}
	at = find(set->places, set->size, addr);
	set->places[at] = *addr;
	set->count++;
	set->v4_count += addr_is_v4(addr);
	return 0;
}

bool address_set_holds(const struct address_set *set, const struct polder_addr *addr)
{
	return set->count && !is_zero(addr) &&
	       !is_zero(&set->places[find(set->places, set->size, addr)]);
}
