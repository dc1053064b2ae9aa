/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of allowances, each kept once and numbered: what the peers, or the ports, of one class have
 * in common. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct class;

/* A set is `words` 64-bit words of bits. */
struct class_table {
	size_t words;
	size_t count;
	struct class **all; /* in the order they came; after class_table_number() by number, the
			       empty set apart */
	size_t capacity;
	struct class *by_bits;
};

struct class
{
	uint32_t number; /* 0: the empty set, or not numbered yet */
	size_t uses;	 /* the table's user counts */
	const uint64_t *bits;
};

void class_table_init(struct class_table *table, size_t words);
void class_table_clear(struct class_table *table);
/* The class of these bits. 0, -ENOMEM, -E2BIG (RULESET_MAX_CLASSES, RULESET_MAX_WORDS). */
int class_of(struct class_table *table, const uint64_t *bits, struct class **ret);
/* The same, but nothing is added. NULL: there is none. */
struct class *class_find(const struct class_table *table, const uint64_t *bits);
/*
 * Numbers the classes 1, 2, … by their content, whatever the order they came in; afterwards
 * table->all[i] has the number i + 1, and table->count leaves out the empty set.
 */
void class_table_number(struct class_table *table);

static inline void bits_set(uint64_t *bits, size_t bit)
{
	bits[bit / 64] |= 1ull << (bit % 64);
}

static inline void bits_reset(uint64_t *bits, size_t bit)
{
	bits[bit / 64] &= ~(1ull << (bit % 64));
}

static inline bool bits_has(const uint64_t *bits, size_t bit)
{
	return bits[bit / 64] >> (bit % 64) & 1;
}

/* The first bit from `first` to before `end` that both have; -1: none. */
long bits_first_common(const uint64_t *a, const uint64_t *b, size_t first, size_t end);
