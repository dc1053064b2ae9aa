/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of pointers, for what there may be 100,000 of: it takes two to four pointers for
 * each item, where uthash takes eight in the item and a bucket. Open addressing; items are the
 * caller's, and stay where they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: empty. */
struct table {
	void **items;
	size_t size; /* a power of two, never more than half full; 0: nothing was ever added */
	size_t count;
};

/* Of an item, by its key: always the same. */
typedef uint64_t (*table_hash)(const void *item);
typedef bool (*table_is)(const void *item, const void *key);

uint64_t table_hash_bytes(const void *bytes, size_t length);

/* The item whose key is `key`, which has the hash; NULL: there is none. */
void *table_find(const struct table *table, uint64_t hash, table_is is, const void *key);
/* An item whose key is not there. 0 or -ENOMEM: then nothing has changed. */
int table_add(struct table *table, void *item, table_hash hash_of);
/* One that is there. */
void table_remove(struct table *table, const void *item, table_hash hash_of);
/* Forgets all items, and frees what the table itself took. */
void table_clear(struct table *table);

/* The next item at or after place `*at`, which is moved behind it; NULL: no more. Begin with 0;
 * nothing may be added or removed meanwhile. */
void *table_next(const struct table *table, size_t *at);
