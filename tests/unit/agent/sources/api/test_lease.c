/* SPDX-License-Identifier: Apache-2.0 */
/* What a Lease says, and how one is written. */
#include "agent/sources/api/lease.h"

#include <errno.h>

#include "tests/unit/unit.h"

static int read_text(const char *text, struct lease *ret)
{
	return lease_read(text, strlen(text), ret);
}

static void lease_is_read_as_it_was_written(void)
{
	struct lease lease = {.version = "17",
			      .holder = "node-1",
			      .seconds = 15,
			      .transitions = 3,
			      .written = 12345678901},
		     read = {};
	char *text = lease_text(&lease, "kube-system", "polder-load-balancer", 1767323045000006);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT(strstr(text, "\"coordination.k8s.io/v1\"") != NULL);
	CU_ASSERT(read_text(text, &read) == 0);
	CU_ASSERT_STRING_EQUAL(read.version, "17");
	CU_ASSERT_STRING_EQUAL(read.holder, "node-1");
	CU_ASSERT_STRING_EQUAL(read.renewed, "2026-01-02T03:04:05.000006Z");
	CU_ASSERT(read.seconds == 15 && read.transitions == 3 && read.written == 12345678901);
	free(text);
}

/* The API server makes it only if it has no version. */
static void lease_that_is_made_has_no_version(void)
{
	const struct lease lease = {.holder = "node-1", .seconds = 15};
	char *text = lease_text(&lease, "kube-system", "polder-load-balancer", 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT(strstr(text, "resourceVersion") == NULL);
	free(text);
}

static void lease_of_another_program_lacks_what_it_lacks(void)
{
	struct lease lease = {};

	CU_ASSERT(read_text("{\"metadata\": {\"resourceVersion\": \"9\"}, \"spec\": {}}", &lease) ==
		  0);
	CU_ASSERT(!lease.holder[0] && !lease.renewed[0] && !lease.seconds && !lease.written);
	CU_ASSERT(read_text("{\"metadata\": {\"resourceVersion\": \"9\"}, \"spec\": "
			    "{\"leaseDurationSeconds\": -5, \"holderIdentity\": \"a\"}}",
			    &lease) == 0);
	CU_ASSERT(lease.seconds == 0);
}

static void text_that_is_no_lease_is_refused(void)
{
	struct lease lease;

	CU_ASSERT(read_text("", &lease) == -EBADMSG);
	CU_ASSERT(read_text("[]", &lease) == -EBADMSG);
	CU_ASSERT(read_text("{\"metadata\": {}}", &lease) == -EBADMSG);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(lease_is_read_as_it_was_written),
		UNIT_TEST(lease_that_is_made_has_no_version),
		UNIT_TEST(lease_of_another_program_lacks_what_it_lacks),
		UNIT_TEST(text_that_is_no_lease_is_refused),
	};

	return UNIT_RUN("lease", tests);
}
