/* SPDX-License-Identifier: Apache-2.0 */
/* Labels and selectors. */
#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

static bool matches(enum selector_operator op, const char *key, const char *value,
		    const char *label_value)
{
	char *values[] = {(char *)value, "other"};
	struct selector_term term = {
		.key = (char *)key, .op = op, .values = values, .value_count = value ? 2 : 0};
	struct selector selector = {.terms = &term, .count = 1};
	struct labels labels = {};
	bool result;

	labels_set(&labels, "z", "1");
	labels_set(&labels, "a", "1");
	if (label_value)
		labels_set(&labels, key, label_value);
	result = selector_matches(&selector, &labels);
	labels_clear(&labels);
	return result;
}

static void keeps_keys_sorted_and_single(void)
{
	struct labels labels = {};

	labels_set(&labels, "m", "1");
	labels_set(&labels, "b", "2");
	labels_set(&labels, "z", "3");
	labels_set(&labels, "m", "4");
	CU_ASSERT_EQUAL(labels.count, 3);
	CU_ASSERT_STRING_EQUAL(labels.items[0].key, "b");
	CU_ASSERT_STRING_EQUAL(labels_get(&labels, "m"), "4");
	CU_ASSERT_PTR_NULL(labels_get(&labels, "n"));
	labels_clear(&labels);
	CU_ASSERT_EQUAL(labels.count, 0);
}

static void in_and_exists_want_the_key(void)
{
	CU_ASSERT(matches(SELECTOR_IN, "app", "web", "web"));
	CU_ASSERT(matches(SELECTOR_IN, "app", "web", "other"));
	CU_ASSERT_FALSE(matches(SELECTOR_IN, "app", "web", "db"));
	CU_ASSERT_FALSE(matches(SELECTOR_IN, "app", "web", NULL));
	CU_ASSERT(matches(SELECTOR_EXISTS, "app", NULL, ""));
	CU_ASSERT_FALSE(matches(SELECTOR_EXISTS, "app", NULL, NULL));
}

static void not_in_and_does_not_exist_match_without_the_key(void)
{
	CU_ASSERT(matches(SELECTOR_NOT_IN, "app", "web", NULL));
	CU_ASSERT(matches(SELECTOR_NOT_IN, "app", "web", "db"));
	CU_ASSERT_FALSE(matches(SELECTOR_NOT_IN, "app", "web", "web"));
	CU_ASSERT(matches(SELECTOR_DOES_NOT_EXIST, "app", NULL, NULL));
	CU_ASSERT_FALSE(matches(SELECTOR_DOES_NOT_EXIST, "app", NULL, ""));
}

static void an_empty_value_is_a_value(void)
{
	CU_ASSERT(matches(SELECTOR_IN, "app", "", ""));
	CU_ASSERT_FALSE(matches(SELECTOR_IN, "app", "", NULL));
}

static void an_empty_selector_matches_everything(void)
{
	struct selector selector = {};
	struct labels labels = {};

	CU_ASSERT(selector_matches(&selector, &labels));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(keeps_keys_sorted_and_single),
		UNIT_TEST(in_and_exists_want_the_key),
		UNIT_TEST(not_in_and_does_not_exist_match_without_the_key),
		UNIT_TEST(an_empty_value_is_a_value),
		UNIT_TEST(an_empty_selector_matches_everything),
	};

	return UNIT_RUN("policy/labels", tests);
}
