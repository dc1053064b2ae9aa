/* SPDX-License-Identifier: Apache-2.0 */
/* A table of items that carry their place in it. */
#include "agent/common/hash_table.h"

#include <errno.h>

#include "tests/faults.h"
#include "tests/unit/unit.h"

#define NUMBERS 5000

struct number {
	struct hash_table_item item;
	uint32_t value;
	bool present;
};

static struct number numbers[NUMBERS];

static struct number *find(const struct hash_table *table, uint32_t value, uint32_t hash)
{
	struct hash_table_item *item = hash_table_find(table, hash);

	while (item && ((struct number *)item)->value != value)
		item = hash_table_find_next(item);
	return (struct number *)item;
}

static uint32_t hash_of(uint32_t value)
{
	return hash_table_hash_of(&value, sizeof(value));
}

static void add(struct hash_table *table, uint32_t i, uint32_t hash)
{
	numbers[i] = (struct number){.value = i, .present = true};
	CU_ASSERT(hash_table_add(table, &numbers[i].item, hash) == 0);
}

static void an_empty_table_has_nothing(void)
{
	struct hash_table table = {};

	CU_ASSERT(hash_table_find(&table, 0) == NULL);
	CU_ASSERT(hash_table_first(&table) == NULL);
	hash_table_clear(&table);
}

/* Beside a list, in an order without a pattern. */
static void finds_what_was_added_and_not_removed(void)
{
	struct hash_table table = {};
	uint32_t random = 1, count = 0;

	memset(numbers, 0, sizeof(numbers));
	for (uint32_t turn = 0; turn < 40000; turn++) {
		uint32_t i;

		random = random * 1664525 + 1013904223;
		i = (random >> 8) % NUMBERS;
		if (!numbers[i].present) {
			add(&table, i, hash_of(i));
			count++;
		} else if (random >> 31) {
			hash_table_remove(&table, &numbers[i].item);
			numbers[i].present = false;
			count--;
		}
		CU_ASSERT(table.count == count);
	}
	for (uint32_t i = 0; i < NUMBERS; i++)
		CU_ASSERT(find(&table, i, hash_of(i)) == (numbers[i].present ? &numbers[i] : NULL));
	hash_table_clear(&table);
}

static void shows_each_item_once(void)
{
	uint32_t seen[1000] = {}, count = 0;
	struct hash_table table = {};

	for (uint32_t i = 0; i < 1000; i++)
		add(&table, i, hash_of(i));
	for (struct hash_table_item *item = hash_table_first(&table); item;
	     item = hash_table_next(&table, item)) {
		seen[((struct number *)item)->value]++;
		count++;
	}
	CU_ASSERT(count == 1000);
	for (uint32_t i = 0; i < 1000; i++)
		CU_ASSERT(seen[i] == 1);
	hash_table_clear(&table);
}

static void items_of_one_hash_are_told_apart(void)
{
	struct hash_table table = {};

	for (uint32_t i = 0; i < 100; i++)
		add(&table, i, 7);
	for (uint32_t i = 0; i < 100; i++)
		CU_ASSERT(find(&table, i, 7) == &numbers[i]);
	hash_table_remove(&table, &numbers[50].item);
	CU_ASSERT(find(&table, 50, 7) == NULL);
	CU_ASSERT(find(&table, 51, 7) == &numbers[51] && find(&table, 49, 7) == &numbers[49]);
	hash_table_clear(&table);
}

/* Addresses of one range, names with a number behind: keys that differ in few bits. */
static void keys_that_are_alike_have_hashes_that_differ(void)
{
	uint32_t used[1024] = {}, most = 0;
	char name[64];

	for (uint32_t i = 0; i < 1024; i++) {
		snprintf(name, sizeof(name), "namespace-1/deployment-7d9c5b8f6d-%u", i);
		used[hash_table_hash_of(name, strlen(name)) & 1023]++;
	}
	for (uint32_t i = 0; i < 1024; i++)
		most = used[i] > most ? used[i] : most;
	CU_ASSERT(most <= 10);
}

static void without_memory_only_the_first_item_is_refused(void)
{
	struct hash_table table = {};
	struct number one = {};
	unsigned int failed = 0;

	faults_begin(1);
	CU_ASSERT(hash_table_add(&table, &one.item, 1) == -ENOMEM);
	CU_ASSERT(faults_end());
	add(&table, 0, hash_of(0));
	for (uint32_t i = 1; i < 1000; i++) {
		faults_begin(1);
		add(&table, i, hash_of(i));
		failed += faults_end();
	}
	CU_ASSERT(failed > 0);
	for (uint32_t i = 0; i < 1000; i++)
		CU_ASSERT(find(&table, i, hash_of(i)) == &numbers[i]);
	hash_table_clear(&table);
}

/* A table of 8,192 chains: addresses that differ in their last bytes do not stand in one of them.
 */
static void neighbouring_addresses_stand_in_many_chains(void)
{
	static bool used[8192];
	unsigned char addr[16] = {[10] = 0xff, [11] = 0xff, [12] = 172, [13] = 20};
	unsigned int chains = 0;

	for (unsigned int i = 0; i < 5000; i++) {
		uint32_t chain;

		addr[14] = (unsigned char)(i >> 8);
		addr[15] = (unsigned char)i;
		chain = hash_table_hash_of(addr, sizeof(addr)) % 8192;
		chains += !used[chain];
		used[chain] = true;
	}
	CU_ASSERT(chains > 3000);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(neighbouring_addresses_stand_in_many_chains),
		UNIT_TEST(an_empty_table_has_nothing),
		UNIT_TEST(finds_what_was_added_and_not_removed),
		UNIT_TEST(shows_each_item_once),
		UNIT_TEST(items_of_one_hash_are_told_apart),
		UNIT_TEST(keys_that_are_alike_have_hashes_that_differ),
		UNIT_TEST(without_memory_only_the_first_item_is_refused),
	};

	return UNIT_RUN("hash_table", tests);
}
