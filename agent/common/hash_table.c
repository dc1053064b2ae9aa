/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/hash_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 64

uint32_t hash_table_hash_of(const void *bytes, size_t length)
{
	uint64_t hash = length, word;

	for (size_t i = 0; i < length; i += sizeof(word)) {
		size_t left = length - i;

		word = 0;
		memcpy(&word, (const char *)bytes + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	/* The last bytes have reached the upper bits alone, and tables look at the lowest. */
	return (uint32_t)((hash * 0x9e3779b97f4a7c15ull) >> 32);
}

uint32_t hash_table_hash_of_names(const char *namespace, const char *name)
{
	return hash_table_hash_of(namespace, strlen(namespace)) * 31 +
	       hash_table_hash_of(name, strlen(name));
}

static struct hash_table_item **chain_of(const struct hash_table *table, uint32_t hash)
{
	return &table->chains[hash & (table->size - 1)];
}

static void push(const struct hash_table *table, struct hash_table_item *item)
{
	struct hash_table_item **chain = chain_of(table, item->hash);

	item->next = *chain;
	*chain = item;
}

/* Without memory the chains become longer. */
static void grow(struct hash_table *table)
{
	struct hash_table larger = {.size = table->size ? 2 * table->size : SIZE_MIN};
	struct hash_table_item *item;

	if (table->count < table->size || larger.size < table->size)
		return;
	larger.chains = calloc(larger.size, sizeof(struct hash_table_item *));
	if (!larger.chains)
		return;
	for (uint32_t i = 0; i < table->size; i++) {
		while ((item = table->chains[i])) {
			table->chains[i] = item->next;
			push(&larger, item);
		}
	}
	free(table->chains);
	table->chains = larger.chains;
	table->size = larger.size;
}

int hash_table_add(struct hash_table *table, struct hash_table_item *item, uint32_t hash)
{
	grow(table);
	if (!table->size)
		return -ENOMEM;
	item->hash = hash;
	push(table, item);
	table->count++;
	return 0;
}

void hash_table_remove(struct hash_table *table, struct hash_table_item *item)
{
	struct hash_table_item **at = chain_of(table, item->hash);

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	item->next = NULL;
	table->count--;
}

static struct hash_table_item *with_hash(struct hash_table_item *item, uint32_t hash)
{
	while (item && item->hash != hash)
		item = item->next;
	return item;
}

struct hash_table_item *hash_table_find(const struct hash_table *table, uint32_t hash)
{
	return table->size ? with_hash(*chain_of(table, hash), hash) : NULL;
}

struct hash_table_item *hash_table_find_next(const struct hash_table_item *item)
{
	return with_hash(item->next, item->hash);
}

static struct hash_table_item *first_from(const struct hash_table *table, uint32_t chain)
{
	for (; chain < table->size; chain++)
		if (table->chains[chain])
			return table->chains[chain];
	return NULL;
}

struct hash_table_item *hash_table_first(const struct hash_table *table)
{
	return first_from(table, 0);
}

struct hash_table_item *hash_table_next(const struct hash_table *table,
					const struct hash_table_item *item)
{
	return item->next ? item->next : first_from(table, (item->hash & (table->size - 1)) + 1);
}

void hash_table_clear(struct hash_table *table)
{
	free(table->chains);
	*table = (struct hash_table){};
}
