/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says of most addresses that they are not in a set, at the cost of one look at a bit. Inline: it
 * is asked for each flow of a table.
 */
#pragma once

#include <string.h>

#include "agent/kernel/address_set.h"

/* A bit for each address's last word. */
#define FILTER_BITS 4096
/* Zeroed: empty. */
struct address_filter {
	uint64_t bits[FILTER_BITS / 64];
};

static inline uint32_t address_filter_bit(__be32 last_word)
{
	return (last_word * 0x9e3779b1u) >> 20;
}

static inline void address_filter_add(struct address_filter *filter, const struct address_set *set)
{
	static const struct polder_addr none;

	for (size_t i = 0; i < set->size; i++) {
		uint32_t bit = address_filter_bit(set->places[i].words_be[3]);

		if (memcmp(&set->places[i], &none, sizeof(none)) != 0)
			filter->bits[bit / 64] |= 1ull << bit % 64;
	}
}

/* 0: an address that ends with the word is not in it. */
static inline uint64_t address_filter_may_hold(const struct address_filter *filter,
					       __be32 last_word)
{
	uint32_t bit = address_filter_bit(last_word);

	return filter->bits[bit / 64] >> bit % 64 & 1;
}
