/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that is read while memory runs out. */
#include "agent/common/json_text.h"

#include <errno.h>

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

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(mistake_is_told_with_its_place),
		UNIT_TEST(memory_that_is_refused_is_no_mistake_and_no_other_text),
		UNIT_TEST(state_file_that_finds_no_memory_is_not_damaged),
	};

	return UNIT_RUN("json_text", tests);
}
