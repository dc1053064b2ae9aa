/* SPDX-License-Identifier: Apache-2.0 */
/* What is walked over ends where it ends, wherever in a word of eight bytes that is. */
#include "agent/common/json_scan.h"

#include <stdlib.h>

#include "tests/unit/unit.h"

#define LONGEST 40
#define ROUNDS	200000

/* Byte by byte. */
static const char *plain_by_bytes(const char *at, const char *end)
{
	while (at < end && *at != '"' && *at != '\\')
		at++;
	return at;
}

static const char *string_by_bytes(const char *at, const char *end)
{
	for (at++; at < end; at++) {
		if (*at == '"')
			return at + 1;
		if (*at == '\\')
			at++;
	}
	return NULL;
}

/* Any bytes, and many of those that count or look like them. */
static void fill(char *text, size_t length)
{
	static const char often[] = "\"\\\"\\a!#[]\x22\xa2\x5c\xdc\x21\x23\x5b\x5d";

	for (size_t i = 0; i < length; i++)
		text[i] = random() % 4 ? (char)random()
				       : often[(size_t)random() % (sizeof(often) - 1)];
}

static void string_ends_where_it_ends_byte_by_byte(void)
{
	char text[LONGEST + 8];

	srandom(1);
	for (int i = 0; i < ROUNDS; i++) {
		size_t begin = (size_t)random() % 8, length = (size_t)random() % LONGEST;
		const char *at = text + begin, *end = at + length;

		fill(text, sizeof(text));
		if (json_scan_plain(at, end) != plain_by_bytes(at, end)) {
			CU_FAIL("plain");
			return;
		}
		if (length && json_scan_string(at, end) != string_by_bytes(at, end)) {
			CU_FAIL("string");
			return;
		}
	}
}

/* Length of the value at the beginning; 0: it does not end. */
static size_t value_in(const char *text)
{
	const char *behind = json_scan_value(text, text + strlen(text));

	return behind ? (size_t)(behind - text) : 0;
}

static void value_ends_behind_what_it_holds(void)
{
	CU_ASSERT_EQUAL(value_in("\"a\\\"b\", 1"), 6);
	CU_ASSERT_EQUAL(value_in("{\"a\": [\"}\", {\"b\": \"]\\\\\"}]}, 1"), 26);
	CU_ASSERT_EQUAL(value_in("[]]"), 2);
	CU_ASSERT_EQUAL(value_in("-1.5e3 ,"), 6);
	CU_ASSERT_EQUAL(value_in("true}"), 4);
}

static void value_that_the_text_cuts_off_does_not_end(void)
{
	static const char whole[] = "{\"a\": [\"x\\\"y\", {\"b\": null}], \"c\": 12}";

	CU_ASSERT_EQUAL(value_in(whole), sizeof(whole) - 1);
	for (size_t length = 0; length < sizeof(whole) - 1; length++)
		CU_ASSERT(!json_scan_value(whole, whole + length));
	CU_ASSERT_EQUAL(value_in("12"), 0);
	CU_ASSERT_EQUAL(value_in("\"a\\"), 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(string_ends_where_it_ends_byte_by_byte),
		UNIT_TEST(value_ends_behind_what_it_holds),
		UNIT_TEST(value_that_the_text_cuts_off_does_not_end),
	};

	return UNIT_RUN("json_scan", tests);
}
