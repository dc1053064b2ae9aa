/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes. */
#include <errno.h>

#include "agent/common/address.h"
#include "tests/unit/unit.h"

static struct prefix prefix(const char *text)
{
	struct prefix result = {};

	CU_ASSERT_EQUAL(prefix_parse(text, &result), 0);
	return result;
}

static bool contains(const char *block, const char *address)
{
	struct prefix outer = prefix(block);
	struct polder_addr addr = {};

	CU_ASSERT_EQUAL(addr_parse(address, &addr), 0);
	return prefix_contains(&outer, &addr);
}

static void writes_what_it_read(void)
{
	static const char *const same[] = {"10.1.2.3/32", "0.0.0.0/0", "10.0.0.0/31",
					   "::/0",	  "fd00::/8",  "2001:db8::1/128",
					   "::/96",	  "::/80"};
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
		struct prefix p = prefix(same[i]);

		CU_ASSERT_STRING_EQUAL(prefix_format(&p, text), same[i]);
	}
}

static void masks_host_bits(void)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix p = prefix("10.0.1.7/4");

	CU_ASSERT_STRING_EQUAL(prefix_format(&p, text), "0.0.0.0/4");
	p = prefix("fd00:1234:ffff::1/36");
	CU_ASSERT_STRING_EQUAL(prefix_format(&p, text), "fd00:1234:f000::/36");
}

static void refuses_what_is_no_block(void)
{
	static const char *const wrong[] = {"",
					    "10.0.0.0",
					    "10.0.0.0/33",
					    "10.0.0.0/",
					    "10.0.0.0/08",
					    "10.0.0.0/+8",
					    "10.0.0.0/-1",
					    "10.0.0/8",
					    "010.0.0.0/8",
					    "::/129",
					    "::ffff:10.0.0.0/104",
					    "fe80::1%eth0/64",
					    "10.0.0.0/8 ",
					    " 10.0.0.0/8",
					    "10.0.0.0/8/8",
					    "::ffff:0:0/96"};
	struct prefix p = {.length = 77};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CU_ASSERT_EQUAL(prefix_parse(wrong[i], &p), -EINVAL);
	CU_ASSERT_EQUAL(p.length, 77);
}

static void refuses_ipv4_written_as_ipv6(void)
{
	struct polder_addr addr;

	CU_ASSERT_EQUAL(addr_parse("::ffff:10.0.0.1", &addr), -EINVAL);
	CU_ASSERT_EQUAL(addr_parse("::ffff:a00:1", &addr), -EINVAL);
	CU_ASSERT_EQUAL(addr_parse("::10.0.0.1", &addr), 0);
}

static void contains_at_odd_lengths(void)
{
	CU_ASSERT(contains("10.0.0.0/31", "10.0.0.1"));
	CU_ASSERT_FALSE(contains("10.0.0.0/31", "10.0.0.2"));
	CU_ASSERT(contains("10.0.0.5/32", "10.0.0.5"));
	CU_ASSERT_FALSE(contains("10.0.0.5/32", "10.0.0.4"));
	CU_ASSERT(contains("0.0.0.0/0", "255.255.255.255"));
	CU_ASSERT(contains("fd00::/9", "fd7f::1"));
	CU_ASSERT_FALSE(contains("fd00::/9", "fd80::1"));
}

static void never_mixes_the_families(void)
{
	CU_ASSERT_FALSE(contains("::/0", "10.0.0.1"));
	CU_ASSERT_FALSE(contains("0.0.0.0/0", "::1"));
	CU_ASSERT_FALSE(contains("::/80", "0.0.0.1"));
	CU_ASSERT(contains("::/0", "::1"));
}

static void knows_addresses_that_nobody_can_have(void)
{
	static const char *const wrong[] = {
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255",
		"::",	   "::1",     "fe80::1",   "febf::1",	  "ff02::1"};
	static const char *const right[] = {"10.0.0.1", "100.64.0.1",  "192.168.255.255",
					    "fd00::1",	"2001:db8::1", "fec0::1"};
	struct polder_addr addr;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		CU_ASSERT_EQUAL(addr_parse(wrong[i], &addr), 0);
		CU_ASSERT_PTR_NOT_NULL(addr_reserved_reason(&addr));
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(*right); i++) {
		CU_ASSERT_EQUAL(addr_parse(right[i], &addr), 0);
		CU_ASSERT_PTR_NULL(addr_reserved_reason(&addr));
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(writes_what_it_read),
		UNIT_TEST(masks_host_bits),
		UNIT_TEST(refuses_what_is_no_block),
		UNIT_TEST(refuses_ipv4_written_as_ipv6),
		UNIT_TEST(contains_at_odd_lengths),
		UNIT_TEST(never_mixes_the_families),
		UNIT_TEST(knows_addresses_that_nobody_can_have),
	};

	return UNIT_RUN("policy/address", tests);
}
