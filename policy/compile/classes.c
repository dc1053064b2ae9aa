/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of allowances, each kept once and numbered. */
#include "policy/compile/classes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"
#include "policy/objects/limits.h"

struct entry {
	struct class class; /* first: a class is its entry */
	UT_hash_handle hh;
	uint64_t bits[];
};

void class_table_init(struct class_table *table, size_t words)
{
	*table = (struct class_table){.words = words ? words : 1};
}

void class_table_clear(struct class_table *table)
{
	struct entry *entries = (struct entry *)table->by_bits, *entry, *next;

	HASH_ITER (hh, entries, entry, next) {
		HASH_DEL(entries, entry);
		free(entry);
	}
	free(table->all);
	*table = (struct class_table){};
}

static int grow(struct class_table *table)
{
	size_t capacity = table->capacity ? table->capacity * 2 : 64;
	struct class **all = reallocarray(table->all, capacity, sizeof(struct class *));

	if (!all)
		return -ENOMEM;
	table->all = all;
	table->capacity = capacity;
	return 0;
}

struct class *class_find(const struct class_table *table, const uint64_t *bits)
{
	struct entry *entries = (struct entry *)table->by_bits, *entry;

	HASH_FIND(hh, entries, bits, (unsigned int)(table->words * sizeof(*bits)), entry);
	return entry ? &entry->class : NULL;
}

int class_of(struct class_table *table, const uint64_t *bits, struct class **ret)
{
	struct entry *entries = (struct entry *)table->by_bits, *entry;
	unsigned int size = (unsigned int)(table->words * sizeof(*bits));

	*ret = class_find(table, bits);
	if (*ret)
		return 0;
	/* One more than the numbers: the empty set takes none. */
	if (table->count > RULESET_MAX_CLASSES ||
	    (table->count + 1) * table->words > RULESET_MAX_WORDS)
		return -E2BIG;
	if (table->count == table->capacity && grow(table) < 0)
		return -ENOMEM;
	entry = malloc(sizeof(*entry) + size);
	if (!entry)
		return -ENOMEM;
	memcpy(entry->bits, bits, size);
	entry->class = (struct class){.bits = entry->bits};
	HASH_ADD_KEYPTR(hh, entries, entry->bits, size, entry);
	table->by_bits = (struct class *)entries;
	if (!HASH_ADDED(hh, entry)) {
		free(entry);
		return -ENOMEM;
	}
	table->all[table->count++] = &entry->class;
	*ret = &entry->class;
	return 0;
}

static int compare(const void *a, const void *b, void *data)
{
	const struct class *x = *(const struct class *const *)a,
			   *y = *(const struct class *const *)b;
	const size_t *words = data;

	for (size_t i = 0; i < *words; i++)
		if (x->bits[i] != y->bits[i])
			return x->bits[i] < y->bits[i] ? -1 : 1;
	return 0;
}

static bool is_empty(const struct class *class, size_t words)
{
	for (size_t i = 0; i < words; i++)
		if (class->bits[i])
			return false;
	return true;
}

void class_table_number(struct class_table *table)
{
	if (table->count > 1)
		qsort_r(table->all, table->count, sizeof(struct class *), compare, &table->words);
	/* The empty set sorts first. */
	if (table->count > 0 && is_empty(table->all[0], table->words)) {
		table->count--;
		memmove(table->all, table->all + 1, table->count * sizeof(struct class *));
	}
	for (size_t i = 0; i < table->count; i++)
		table->all[i]->number = (uint32_t)(i + 1);
}

long bits_first_common(const uint64_t *a, const uint64_t *b, size_t first, size_t end)
{
	for (size_t i = first / 64; i * 64 < end; i++) {
		uint64_t common = a[i] & b[i];

		if (i == first / 64)
			common &= ~0ull << (first % 64);
		if (common) {
			size_t bit = i * 64 + (size_t)__builtin_ctzll(common);

			return bit < end ? (long)bit : -1;
		}
	}
	return -1;
}
