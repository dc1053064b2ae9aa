/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of items that carry their place in it: 16 bytes in the item and about as many in the
 * table, where uthash takes 56. For what there may be 100,000 of. Whoever looks for an item goes
 * through those with its hash and compares the keys himself.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_table_item {
	struct hash_table_item *next;
	uint32_t hash;
};

/* Zeroed: empty. */
struct hash_table {
	struct hash_table_item **chains;
	uint32_t size; /* a power of two, or 0 */
	uint32_t count;
};

/* Of some bytes; the same on every run. */
uint32_t hash_table_hash_of(const void *bytes, size_t length);
/* Of an object's names. */
uint32_t hash_table_hash_of_names(const char *namespace, const char *name);
/* Takes the item, which is in no table. 0 or -ENOMEM, which only an empty table says. */
int hash_table_add(struct hash_table *table, struct hash_table_item *item, uint32_t hash);
/* It is in the table. */
void hash_table_remove(struct hash_table *table, struct hash_table_item *item);
/* The items with this hash, one after the other; NULL: no (more). */
struct hash_table_item *hash_table_find(const struct hash_table *table, uint32_t hash);
struct hash_table_item *hash_table_find_next(const struct hash_table_item *item);
/* All items, in no order: the first one, and the one behind `item`, which is still in the table. */
struct hash_table_item *hash_table_first(const struct hash_table *table);
struct hash_table_item *hash_table_next(const struct hash_table *table,
					const struct hash_table_item *item);
/* Forgets the items, which are their owners', and frees the rest. */
void hash_table_clear(struct hash_table *table);
