/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/base64.h"

#include <errno.h>

#include "tests/unit/unit.h"

static bool decodes(const char *text, const char *expected, size_t length)
{
	size_t found_length = 0;
	char *found = NULL;
	bool same = base64_decode(text, &found, &found_length) == 0 && found_length == length &&
		    memcmp(found, expected, length) == 0 && found[length] == '\0';

	free(found);
	return same;
}

static void decodes_all_lengths(void)
{
	CU_ASSERT(decodes("", "", 0));
	CU_ASSERT(decodes("Zg==", "f", 1));
	CU_ASSERT(decodes("Zm8=", "fo", 2));
	CU_ASSERT(decodes("Zm9v", "foo", 3));
	CU_ASSERT(decodes("Zm9vYmFy", "foobar", 6));
	CU_ASSERT(decodes("AP/+", "\0\xff\xfe", 3));
	CU_ASSERT(decodes(" Zm9v\r\nYm\tFy\n", "foobar", 6));
}

static void refuses_what_it_is_not(void)
{
	static const char *const wrong[] = {
		"Z",	"Zg",	    "Zg=",  "Zg===", "=",	  "====",
		"Zm9-", "Zg==Zg==", "Z=g=", "Zm9v%", "\xc3\xa4mm"};
	size_t length;
	char *found;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT(base64_decode(wrong[i], &found, &length) == -EINVAL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(decodes_all_lengths),
		UNIT_TEST(refuses_what_it_is_not),
	};

	return UNIT_RUN("common/base64", tests);
}
