/* SPDX-License-Identifier: Apache-2.0 */
/* What polderctl writes for people: columns, escapes, numbers; and how it reads its command line.
 */
#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

static bool prints(const char *text, const char *keep, const char *expected, size_t width)
{
	char *output = NULL;
	size_t length, columns;
	FILE *out = open_memstream(&output, &length);
	bool equal;

	columns = text_print(text, keep, out);
	fclose(out);
	equal = !strcmp(output, expected) && columns == width;
	free(output);
	return equal;
}

static void control_characters_are_escaped(void)
{
	CU_ASSERT(prints("plain", NULL, "plain", 5));
	CU_ASSERT(prints("a\x1b[31mb\n", NULL, "a\\x1b[31mb\\x0a", 14));
	CU_ASSERT(prints("\x7f\xc2\x9b", NULL, "\\x7f\\x9b", 8));
	CU_ASSERT(prints("a\xe2\x80\xae"
			 "b",
			 NULL, "a\\u202eb", 8));
	CU_ASSERT(prints("gr\xc3\xbc\xc3\x9f", NULL, "gr\xc3\xbc\xc3\x9f", 4));
	CU_ASSERT(prints("bad\xff\xc3", NULL, "bad\\xff\\xc3", 11));
	CU_ASSERT(prints("a\nb\t", "\n", "a\nb\\x09", 7));
}

static void columns_are_aligned(void)
{
	static const char *const titles[] = {"NAME", "IP", "X", NULL};
	struct table *table = table_new(titles);
	char *output = NULL;
	size_t length;
	FILE *out = open_memstream(&output, &length);

	table_add(table, "a-long-name");
	table_add(table, NULL);
	table_addf(table, "%d", 5);
	table_add(table, "gr\xc3\xbc\xc3\x9f");
	table_add(table, "10.0.0.1");
	table_add(table, "");
	CU_ASSERT_EQUAL(table_rows(table), 2);
	table_print(table, out);
	fclose(out);
	CU_ASSERT_STRING_EQUAL(output, "NAME          IP         X\n"
				       "a-long-name   -          5\n"
				       "gr\xc3\xbc\xc3\x9f          10.0.0.1   -\n");
	free(output);
	table_free(table);
}

static void numbers_are_written_for_people(void)
{
	char buffer[FORMAT_MAX];

	CU_ASSERT_STRING_EQUAL(format_duration(59, buffer), "59s");
	CU_ASSERT_STRING_EQUAL(format_duration(3599, buffer), "59m59s");
	CU_ASSERT_STRING_EQUAL(format_duration(90000, buffer), "1d1h");
	CU_ASSERT_STRING_EQUAL(format_bytes(1023, buffer), "1023 B");
	CU_ASSERT_STRING_EQUAL(format_bytes(1536, buffer), "1.5 KiB");
	CU_ASSERT_STRING_EQUAL(format_endpoint("10.0.0.1", 80, buffer), "10.0.0.1:80");
	CU_ASSERT_STRING_EQUAL(format_endpoint("fd00::1", 80, buffer), "[fd00::1]:80");
	CU_ASSERT_STRING_EQUAL(format_endpoint("fd00::1", 0, buffer), "fd00::1");
}

static void lists_are_cut(void)
{
	json_t *list = json_pack("[s, s, i]", "a", "b", 3);
	char *text = format_list(list, 2);

	CU_ASSERT_STRING_EQUAL(text, "a,b +1");
	free(text);
	text = format_list(NULL, 2);
	CU_ASSERT_STRING_EQUAL(text, "");
	free(text);
	json_decref(list);
}

static void choices_are_whole_words(void)
{
	CU_ASSERT(cli_is_choice("table json", "json"));
	CU_ASSERT(cli_is_choice("jsonx json", "json"));
	CU_ASSERT_FALSE(cli_is_choice("table json", "jso"));
	CU_ASSERT_FALSE(cli_is_choice("table json", "table json"));
	CU_ASSERT_FALSE(cli_is_choice("table json", ""));
}

/* Arguments up to NULL, the program's name left out. */
static int parse(struct cli *ret, const char *first, const char *second, const char *third,
		 const char *fourth)
{
	const char *words[] = {"polderctl", first, second, third, fourth, NULL};
	int count = 1;

	while (words[count])
		count++;
	return cli_parse(count, (char **)words, ret);
}

static void options_stand_anywhere(void)
{
	struct cli cli;

	CU_ASSERT_EQUAL(parse(&cli, "-o", "json", "pod", "list"), CLI_OK);
	CU_ASSERT(cli.json && !strcmp(cli.command->noun, "pod"));
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "--output=json", NULL), CLI_OK);
	CU_ASSERT(cli.json);
	CU_ASSERT_EQUAL(parse(&cli, "status", "--wait=5", "--socket", "/x"), CLI_OK);
	CU_ASSERT_STRING_EQUAL(cli.values[CLI_WAIT], "5");
	CU_ASSERT_STRING_EQUAL(cli.socket, "/x");
	CU_ASSERT_EQUAL(parse(&cli, "log", "level", "debug", NULL), CLI_OK);
	CU_ASSERT_STRING_EQUAL(cli.argument, "debug");
}

static void wrong_usage_is_refused(void)
{
	struct cli cli;

	CU_ASSERT_EQUAL(parse(&cli, "pods", NULL, NULL, NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", NULL, NULL, NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "lst", NULL, NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "more", NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "--wait", NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "--nonsense", NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "-o", NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "pod", "list", "-o", "xml"), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "log", "level", NULL, NULL), CLI_USAGE);
	CU_ASSERT_EQUAL(parse(&cli, "log", "level", "loud", NULL), CLI_USAGE);
}

int main(void)
{
	CU_pSuite suite;
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite("cli", NULL, NULL);
	CU_ADD_TEST(suite, control_characters_are_escaped);
	CU_ADD_TEST(suite, columns_are_aligned);
	CU_ADD_TEST(suite, numbers_are_written_for_people);
	CU_ADD_TEST(suite, lists_are_cut);
	CU_ADD_TEST(suite, choices_are_whole_words);
	CU_ADD_TEST(suite, options_stand_anywhere);
	CU_ADD_TEST(suite, wrong_usage_is_refused);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
