/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that differ in capitals. */
#include "agent/common/json_any_case.h"

#include "tests/unit/unit.h"

/* -1: not there. */
static json_int_t found(const char *text, const char *key)
{
	json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
	const json_t *value = json_get_any_case(object, key);
	json_int_t number = value ? json_integer_value(value) : -1;

	CU_ASSERT(object != NULL);
	json_decref(object);
	return number;
}

static void key_is_found_in_any_spelling(void)
{
	CU_ASSERT(found("{\"portMappings\": 1}", "portMappings") == 1);
	CU_ASSERT(found("{\"a\": 0, \"PortMappings\": 2, \"z\": 0}", "portMappings") == 2);
	CU_ASSERT(found("{\"portMapping\": 3, \"portMappingss\": 3}", "portMappings") == -1);
}

static void key_as_written_goes_before_other_spellings(void)
{
	CU_ASSERT(found("{\"IPS\": 1, \"ips\": 2, \"Ips\": 3}", "ips") == 2);
	CU_ASSERT(found("{\"IPS\": 1, \"ips\": null}", "ips") == -1);
}

static void null_and_what_is_no_object_hold_nothing(void)
{
	CU_ASSERT(found("{\"Mac\": null}", "mac") == -1);
	CU_ASSERT(found("[1]", "mac") == -1);
	CU_ASSERT(found("\"mac\"", "mac") == -1);
	CU_ASSERT(json_get_any_case(NULL, "mac") == NULL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(key_is_found_in_any_spelling),
		UNIT_TEST(key_as_written_goes_before_other_spellings),
		UNIT_TEST(null_and_what_is_no_object_hold_nothing),
	};

	return UNIT_RUN("json_any_case", tests);
}
