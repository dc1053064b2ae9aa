/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of pointers: what was added is found, and nothing else, whatever was removed between. */
#include "agent/common/table.h"

#include "tests/unit/unit.h"

#define ITEMS 3000

struct item {
	uint32_t key;
	bool present;
};

/* So few values that many items want one place. */
static uint64_t crowded(const void *item)
{
	return ((const struct item *)item)->key % 7;
}

static uint64_t spread(const void *item)
{
	return table_hash_bytes(&((const struct item *)item)->key, sizeof(uint32_t));
}

static bool is_of_key(const void *item, const void *key)
{
	return ((const struct item *)item)->key == *(const uint32_t *)key;
}

static bool holds_what_it_should(const struct table *table, const struct item *items,
				 table_hash hash_of)
{
	size_t count = 0, at = 0, seen = 0;

	for (size_t i = 0; i < ITEMS; i++) {
		const struct item *found =
			table_find(table, hash_of(&items[i]), is_of_key, &items[i].key);

		if (found != (items[i].present ? &items[i] : NULL))
			return false;
		count += items[i].present;
	}
	while (table_next(table, &at))
		seen++;
	return table->count == count && seen == count;
}

static void add_and_remove(table_hash hash_of, uint32_t steps)
{
	static struct item items[ITEMS];
	struct table table = {};
	uint64_t random = 1;

	for (uint32_t i = 0; i < ITEMS; i++)
		items[i] = (struct item){.key = i};
	for (uint32_t i = 0; i < steps; i++) {
		struct item *item;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		item = &items[(random >> 33) % ITEMS];
		if (item->present)
			table_remove(&table, item, hash_of);
		else
			CU_ASSERT_FATAL(table_add(&table, item, hash_of) == 0);
		item->present = !item->present;
		if (i % (steps / 16) == 0)
			CU_ASSERT(holds_what_it_should(&table, items, hash_of));
	}
	CU_ASSERT(holds_what_it_should(&table, items, hash_of));
	table_clear(&table);
	CU_ASSERT(table.count == 0 && table.items == NULL);
}

static void what_was_added_is_found_and_what_was_removed_is_not(void)
{
	add_and_remove(spread, 40000);
}

static void items_that_want_one_place_are_all_found(void)
{
	add_and_remove(crowded, 3000);
}

static void an_empty_table_holds_nothing(void)
{
	struct table table = {};
	uint32_t key = 1;
	size_t at = 0;

	CU_ASSERT(table_find(&table, 1, is_of_key, &key) == NULL);
	CU_ASSERT(table_next(&table, &at) == NULL);
	table_clear(&table);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_was_added_is_found_and_what_was_removed_is_not),
		UNIT_TEST(items_that_want_one_place_are_all_found),
		UNIT_TEST(an_empty_table_holds_nothing),
	};

	return UNIT_RUN("table", tests);
}
