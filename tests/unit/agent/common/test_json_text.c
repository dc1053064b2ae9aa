/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that is read while memory runs out. */
#include "agent/common/json_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/common/state_file.h"
#include "tests/faults.h"
#include "tests/unit/unit.h"

/* Strings that outgrow the reader's buffer, and numbers behind them. */
#define TEXT                                                                                       \
	"{\"a-key-that-is-longer-than-sixteen-bytes\": "                                           \
	"\"a value that is longer than thirty-two bytes, and than sixty-four bytes as well\", "    \
	"\"n\": [1, 2.5, 12345678901234567, true, null, {\"x\": \"y\"}]}"

static void mistake_is_told_with_its_place(void)
{
	json_error_t error = {};
	json_t *value = NULL;

	CU_ASSERT(json_text_load("{\"a\": }", 7, 0, &error, &value) == -EBADMSG);
	CU_ASSERT(error.line == 1 && error.text[0]);
	CU_ASSERT(json_text_load("{\"a\": 1, \"a\": 2}", 16, JSON_REJECT_DUPLICATES, NULL,
				 &value) == -EBADMSG);
	CU_ASSERT(json_text_load("", 0, 0, NULL, &value) == -EBADMSG);
	CU_ASSERT(!value);
}

/* Whichever allocation it is that fails: neither a mistake in the text, nor another text. */
static void memory_that_is_refused_is_no_mistake_and_no_other_text(void)
{
	json_t *whole = NULL;
	bool failed = true;

	CU_ASSERT_FATAL(json_text_load(TEXT, strlen(TEXT), 0, NULL, &whole) == 0);
	for (size_t number = 1; failed; number++) {
		json_t *value = NULL;
		int r;

		faults_begin(number);
		r = json_text_load(TEXT, strlen(TEXT), 0, NULL, &value);
		failed = faults_end();
		CU_ASSERT_EQUAL(r, failed ? -ENOMEM : 0);
		CU_ASSERT(failed == !value && (failed || json_equal(value, whole)));
		json_decref(value);
	}
	json_decref(whole);
}

/* A record that is put aside as damaged is lost. */
static void state_file_that_finds_no_memory_is_not_damaged(void)
{
	char top[32], path[64];
	bool failed = true;

	snprintf(path, sizeof(path), "%s/state", unit_directory(top));
	CU_ASSERT_FATAL(state_file_write(path, TEXT, strlen(TEXT)) == 0);
	for (size_t number = 1; failed; number++) {
		json_t *value = NULL;
		int r;

		faults_begin(number);
		r = state_file_read_json(path, 4096, &value);
		failed = faults_end();
		CU_ASSERT_EQUAL(r, failed ? -ENOMEM : 0);
		json_decref(value);
	}
	unit_remove_directory(top);
}

/* "[0,1,2...]" */
static void reads_numbers(size_t count)
{
	json_t *list = NULL;
	size_t i, length = 1;
	char *text = malloc(8 * count + 3);

	if (!text)
		abort();
	text[0] = '[';
	for (i = 0; i < count; i++)
		length += (size_t)snprintf(text + length, 8, "%s%zu", i ? "," : "", i);
	text[length++] = ']';
	CU_ASSERT(json_text_load(text, length, 0, NULL, &list) == 0);
	CU_ASSERT(json_array_size(list) == count);
	for (i = 0; i < json_array_size(list); i++)
		if (json_integer_value(json_array_get(list, i)) != (json_int_t)i)
			break;
	CU_ASSERT(i == count);
	json_decref(list);
	free(text);
}

/* Whether it has room in the scratch or not, and again when all has been let go. */
static void values_in_a_scratch_are_whole_whatever_their_size(void)
{
	static const size_t counts[] = {0, 1, 100, 2000, 20000};
	static struct json_scratch scratch;

	json_scratch_begin(&scratch);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		reads_numbers(counts[i]);
		CU_ASSERT(scratch.live == 0 && scratch.used == 0);
	}
	json_scratch_end(&scratch);
}

/* What is read takes nothing from the heap. */
static void small_text_is_read_without_the_heap(void)
{
	static struct json_scratch scratch;
	json_t *value = NULL;

	json_scratch_begin(&scratch);
	faults_begin(1);
	CU_ASSERT(json_text_load(TEXT, strlen(TEXT), 0, NULL, &value) == 0);
	CU_ASSERT(!faults_end());
	CU_ASSERT(scratch.live > 10);
	json_decref(value);
	json_scratch_end(&scratch);
}

/* What was made before is let go in between, and the other way round nothing is. */
static void value_of_the_heap_may_be_let_go_beside_a_scratch(void)
{
	static struct json_scratch scratch;
	json_t *before = NULL, *value = NULL;

	CU_ASSERT(json_text_load(TEXT, strlen(TEXT), 0, NULL, &before) == 0);
	json_scratch_begin(&scratch);
	CU_ASSERT(json_text_load(TEXT, strlen(TEXT), 0, NULL, &value) == 0);
	CU_ASSERT(json_equal(before, value));
	json_decref(before);
	json_decref(value);
	json_scratch_end(&scratch);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(mistake_is_told_with_its_place),
		UNIT_TEST(memory_that_is_refused_is_no_mistake_and_no_other_text),
		UNIT_TEST(values_in_a_scratch_are_whole_whatever_their_size),
		UNIT_TEST(small_text_is_read_without_the_heap),
		UNIT_TEST(value_of_the_heap_may_be_let_go_beside_a_scratch),
		UNIT_TEST(state_file_that_finds_no_memory_is_not_damaged),
	};

	return UNIT_RUN("json_text", tests);
}
