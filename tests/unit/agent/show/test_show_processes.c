/* SPDX-License-Identifier: Apache-2.0 */
#include <CUnit/CUnit.h>

#include "agent/show/show_processes.h"
#include "tests/unit/unit.h"

static void check(const char *text, const char *expected)
{
	json_t *value = show_foreign_text(text);

	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	CU_ASSERT_STRING_EQUAL(json_string_value(value), expected);
	json_decref(value);
}

static void text_that_is_utf8_stays_as_it_is(void)
{
	check("", "");
	check("curl", "curl");
	check("\x1b[2J\n", "\x1b[2J\n");
	check("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
	      "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void each_byte_that_is_none_is_replaced(void)
{
	check("a\xff"
	      "b",
	      "a\xef\xbf\xbd"
	      "b");
	check("\x80\x81", "\xef\xbf\xbd\xef\xbf\xbd");
	/* Cut off by the end, as the kernel cuts names. */
	check("gr\xc3", "gr\xef\xbf\xbd");
	check("\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd");
	/* Longer than need be, a surrogate, beyond Unicode. */
	check("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");
	check("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	check("\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	/* What is good beside it stays. */
	check("\xff\xc3\xbc\xff", "\xef\xbf\xbd\xc3\xbc\xef\xbf\xbd");
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(text_that_is_utf8_stays_as_it_is),
		UNIT_TEST(each_byte_that_is_none_is_replaced),
	};

	return UNIT_RUN("show_processes", tests);
}
