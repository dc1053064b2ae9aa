/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as kubectl takes it: what becomes of each form, what is refused, which line a path has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/yaml/yaml_text.h"
#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

/* The documents as one JSON text: [first, second, ...]; NULL if it is refused. */
static char *as_json(const char *text, struct error *ret_error)
{
	struct yaml_text *yaml = NULL;
	json_t *list = json_array();
	char *result = NULL;

	if (yaml_text_read(text, strlen(text), &yaml, ret_error) == 0) {
		for (size_t i = 0; i < yaml_text_count(yaml); i++)
			json_array_append(list, yaml_text_value(yaml, i));
		result = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	}
	json_decref(list);
	yaml_text_free(yaml);
	return result;
}

static void expect(const char *text, const char *json)
{
	struct error error = {0};
	char *got = as_json(text, &error);

	if (!got || strcmp(got, json) != 0)
		fprintf(stderr, "%s\n  became %s, not %s (%s)\n", text, got ? got : "nothing", json,
			error.text);
	CU_ASSERT(got && strcmp(got, json) == 0);
	free(got);
}

static void expect_error(const char *text, int line, const char *part)
{
	struct error error = {0};
	char *got = as_json(text, &error);

	if (got || error.line != line || !strstr(error.text, part))
		fprintf(stderr, "%s\n  became %s; line %d: %s\n", text, got ? got : "nothing",
			error.line, error.text);
	CU_ASSERT(!got);
	CU_ASSERT_EQUAL(error.line, line);
	CU_ASSERT(strstr(error.text, part) != NULL);
	free(got);
}

static void plain_words_are_truth_null_or_strings(void)
{
	expect("[yes, No, on, OFF, y, N, true, False]",
	       "[[true,false,true,false,true,false,true,false]]");
	expect("[~, null, Null, NULL, ]", "[[null,null,null,null]]");
	expect("a:", "[{\"a\":null}]");
	expect("[yEs, oN, nULL, True1, tRUE]", "[[\"yEs\",\"oN\",\"nULL\",\"True1\",\"tRUE\"]]");
}

static void plain_numbers_are_numbers(void)
{
	expect("[80, -1, +7, 0, -0]", "[[80,-1,7,0,0]]");
	expect("[010, 0o17, 0x1F, 0b101, 1_000]", "[[8,15,31,5,1000]]");
	expect("[80.0, 1e3, .5, 1., 08, -.5e1]", "[[80,1000,0.5,1,8,-5]]");
	expect("[9223372036854775807, -9223372036854775808]",
	       "[[9223372036854775807,-9223372036854775808]]");
}

static void what_only_looks_like_a_number_is_a_string(void)
{
	expect("[1:20, 10.0.0.0/8, 1.2.3, 0x, 0b2, 0xg, '-', +, ., 1e, 1e+, 0x0x1]",
	       "[[\"1:20\",\"10.0.0.0/"
	       "8\",\"1.2.3\",\"0x\",\"0b2\",\"0xg\",\"-\",\"+\",\".\",\"1e\",\"1e+\",\"0x0x1\"]]");
	expect("[2001-12-14, 2001-12-14T21:59:43Z, 8080-tcp, fd00::1]",
	       "[[\"2001-12-14\",\"2001-12-14T21:59:43Z\",\"8080-tcp\",\"fd00::1\"]]");
}

static void quoted_scalars_stay_strings(void)
{
	expect("['80', \"80\", 'yes', \"null\", '', \"~\"]",
	       "[[\"80\",\"80\",\"yes\",\"null\",\"\",\"~\"]]");
	expect("\"\\x41\\u00e9\\n\"", "[\"A\xc3\xa9\\n\"]");
	expect("'it''s'", "[\"it's\"]");
}

static void block_scalars_are_strings(void)
{
	expect("a: |\n  80\n  90\n", "[{\"a\":\"80\\n90\\n\"}]");
	expect("a: |-\n  80\n", "[{\"a\":\"80\"}]");
	expect("a: >\n  one\n  two\n", "[{\"a\":\"one two\\n\"}]");
	expect("a: one\n  two\n", "[{\"a\":\"one two\"}]");
}

static void documents_are_told_apart(void)
{
	expect("", "[]");
	expect("# only a comment\n", "[]");
	expect("---\na: 1\n---\nb: 2\n---\n", "[{\"a\":1},{\"b\":2},null]");
	expect("a: 1\n...\n---\nb: 2\n", "[{\"a\":1},{\"b\":2}]");
	expect("%YAML 1.1\n---\na: 1\n", "[{\"a\":1}]");
}

static void json_is_yaml(void)
{
	expect("{\"kind\": \"List\", \"items\": [{\"port\": 80}]}",
	       "[{\"items\":[{\"port\":80}],\"kind\":\"List\"}]");
}

static void keys_become_strings(void)
{
	expect("80: a\ntrue: b\nyes1: c\n", "[{\"80\":\"a\",\"true\":\"b\",\"yes1\":\"c\"}]");
	expect_error("a: 1\n~: 2\n", 2, "a key must be a string");
	expect_error("1.5: 2\n", 1, "a key must be a string");
	expect_error("[a, b]: 2\n", 1, "a key must be a string");
}

static void aliases_repeat_their_anchor(void)
{
	expect("a: &x {app: web}\nb: *x\n", "[{\"a\":{\"app\":\"web\"},\"b\":{\"app\":\"web\"}}]");
	expect("a: &x 1\nb: &x 2\nc: *x\n", "[{\"a\":1,\"b\":2,\"c\":2}]");
	expect_error("a: 1\nb: *nobody\n", 2, "no anchor &nobody");
	expect_error("a: &x 1\n---\nb: *x\n", 3, "no anchor &x");
	expect_error("a: &x\n  b: *x\n", 2, "would contain itself");
}

static void merge_keys_bring_what_is_not_there(void)
{
	expect("x: &x {a: 1, b: 2}\nw:\n  <<: *x\n  b: 3\n",
	       "[{\"w\":{\"a\":1,\"b\":3},\"x\":{\"a\":1,\"b\":2}}]");
	expect("x: &x {a: 1}\nz: &z {a: 2, c: 3}\nw:\n  <<: [*x, *z]\n",
	       "[{\"w\":{\"a\":1,\"c\":3},\"x\":{\"a\":1},\"z\":{\"a\":2,\"c\":3}}]");
	expect("\"<<\": 1\n", "[{\"<<\":1}]");
	expect_error("x: &x {a: 1}\nw:\n  a: 2\n  <<: *x\n", 4, "write << first");
	expect_error("w:\n  <<: 5\n", 2, "<< takes a mapping");
	expect_error("x: &x {a: 1}\nw:\n  <<: *x\n  <<: *x\n", 4, "<< is given twice");
}

static void doubled_keys_are_refused(void)
{
	expect_error("a: 1\nb: 2\na: 3\n", 3, "the key a is given twice");
	expect_error("1: 1\n'1': 2\n", 2, "the key 1 is given twice");
}

static void tags_are_refused(void)
{
	expect_error("a: !!str 80\n", 1, "tags are not supported");
	expect_error("a: !Ref x\n", 1, "!Ref");
	expect_error("a: !!binary aGk=\n", 1, "tags are not supported");
	expect_error("a:\n  !!map {b: 1}\n", 2, "tags are not supported");
	expect_error("a: !!seq []\n", 1, "tags are not supported");
}

static void numbers_without_a_place_in_json_are_refused(void)
{
	expect_error("a: .inf\n", 1, "is no number that JSON has");
	expect_error("a: .NaN\n", 1, "is no number that JSON has");
	expect_error("a: 9223372036854775808\n", 1, "too big");
	expect_error("a: 1e999\n", 1, "too big");
}

static void syntax_errors_tell_line_and_reason(void)
{
	expect_error("a: 1\n b: 2\n", 2, "not YAML");
	expect_error("a:\n\t- 1\n", 2, "a tab cannot indent");
	expect_error("a: [1, 2\n", 2, "not YAML");
	expect_error("a: \"\\0\"\n", 1, "NUL");
	expect_error("a: \xff\n", 0, "not YAML");
}

static void nesting_has_a_limit(void)
{
	char text[2048];

	memset(text, '[', 256);
	strcpy(text + 256, "1");
	memset(text + 257, ']', 256);
	text[513] = '\0';
	expect_error(text, 1, "nested too deeply");
}

/* Each alias doubles what the one before stands for. */
static void aliases_that_explode_are_refused_at_once(void)
{
	char text[8192];
	size_t used = (size_t)sprintf(text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");

	for (int i = 1; i < 40; i++)
		used += (size_t)sprintf(text + used, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i, i,
					i - 1, i - 1, i - 1, i - 1);
	expect_error(text, 9, "aliases expand to more than");
}

static void aliases_cannot_go_around_the_depth(void)
{
	char text[16384];
	size_t used = (size_t)sprintf(text, "a0: &a0 [x]\n");

	for (int i = 1; i < 300; i++)
		used += (size_t)sprintf(text + used, "a%d: &a%d [*a%d]\n", i, i, i - 1);
	expect_error(text, 255, "nested too deeply here");
}

static void expect_place(const char *text, size_t document, const char *path, int line, int column)
{
	struct error error = {0};
	struct yaml_text *yaml = NULL;
	int got_line = 0, got_column = 0;

	CU_ASSERT_EQUAL_FATAL(yaml_text_read(text, strlen(text), &yaml, &error), 0);
	yaml_text_location(yaml, document, path, &got_line, &got_column);
	if (got_line != line || got_column != column)
		fprintf(stderr, "%s: %d:%d\n", path, got_line, got_column);
	CU_ASSERT_EQUAL(got_line, line);
	CU_ASSERT_EQUAL(got_column, column);
	yaml_text_free(yaml);
}

static void paths_have_lines(void)
{
	static const char text[] = "kind: A\n"
				   "---\n"
				   "spec:\n"
				   "  ingress:\n"
				   "  - from:\n"
				   "    - {}\n"
				   "    - podSelector:\n"
				   "        matchLabels: {app: x, \"a/b.c\": y}\n"
				   "base: &base {one: 1}\n"
				   "more:\n"
				   "  <<: *base\n"
				   "  two: *base\n";

	expect_place(text, 0, "$.kind", 1, 1);
	expect_place(text, 0, "$", 1, 1);
	expect_place(text, 1, "$", 3, 1);
	expect_place(text, 1, "$.spec.ingress", 4, 3);
	expect_place(text, 1, "$.spec.ingress[0].from[1]", 7, 7);
	expect_place(text, 1, "$.spec.ingress[0].from[1].podSelector.matchLabels[\"a/b.c\"]", 8,
		     31);
	expect_place(text, 1, "$.more.one", 9, 14);
	expect_place(text, 1, "$.more.two.one", 9, 14);
	/* What is not there: as far as the way goes. */
	expect_place(text, 1, "$.spec.egress", 3, 1);
	expect_place(text, 1, "$.spec.ingress[7].x", 4, 3);
	expect_place(text, 1, "$.spec.ingress[0].from[1].podSelector[\"cut of", 7, 7);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(plain_words_are_truth_null_or_strings),
		UNIT_TEST(plain_numbers_are_numbers),
		UNIT_TEST(what_only_looks_like_a_number_is_a_string),
		UNIT_TEST(quoted_scalars_stay_strings),
		UNIT_TEST(block_scalars_are_strings),
		UNIT_TEST(documents_are_told_apart),
		UNIT_TEST(json_is_yaml),
		UNIT_TEST(keys_become_strings),
		UNIT_TEST(aliases_repeat_their_anchor),
		UNIT_TEST(merge_keys_bring_what_is_not_there),
		UNIT_TEST(doubled_keys_are_refused),
		UNIT_TEST(tags_are_refused),
		UNIT_TEST(numbers_without_a_place_in_json_are_refused),
		UNIT_TEST(syntax_errors_tell_line_and_reason),
		UNIT_TEST(nesting_has_a_limit),
		UNIT_TEST(aliases_that_explode_are_refused_at_once),
		UNIT_TEST(aliases_cannot_go_around_the_depth),
		UNIT_TEST(paths_have_lines),
	};

	return UNIT_RUN("cli/yaml_text", tests);
}
