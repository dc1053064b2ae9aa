/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of pod addresses. */
#include "agent/pods/ipam.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static struct ipam_pool *make_pool(const char *text)
{
	struct ipam_pool *pool = NULL;
	struct prefix range;

	CU_ASSERT_FATAL(prefix_parse(text, &range) == 0);
	CU_ASSERT_FATAL(ipam_pool_new(&range, &pool) == 0);
	return pool;
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

static bool next_is(struct ipam_pool *pool, const char *text)
{
	struct polder_addr got = {};
	char buffer[INET6_ADDRSTRLEN];

	return ipam_take_next(pool, 0, &got) == 0 && strcmp(addr_format(&got, buffer), text) == 0;
}

static int take(struct ipam_pool *pool, const char *text)
{
	struct polder_addr one = addr(text);

	return ipam_take(pool, &one);
}

static void release(struct ipam_pool *pool, const char *text)
{
	struct polder_addr one = addr(text);

	ipam_release(pool, &one);
}

static void reserves_network_first_and_broadcast(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/29");
	struct polder_addr got;
	uint64_t used, size;

	CU_ASSERT(take(pool, "10.1.0.0") == -EPERM);
	CU_ASSERT(take(pool, "10.1.0.1") == -EPERM);
	CU_ASSERT(take(pool, "10.1.0.7") == -EPERM);
	CU_ASSERT(take(pool, "10.1.0.8") == -ERANGE);
	CU_ASSERT(take(pool, "fd00::2") == -ERANGE);
	for (int i = 2; i < 7; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.0.%d", i);
		CU_ASSERT(next_is(pool, text));
	}
	CU_ASSERT(ipam_take_next(pool, 0, &got) == -ENOSPC);
	ipam_usage(pool, &used, &size);
	CU_ASSERT(used == 5 && size == 5);
	ipam_pool_free(pool);
}

static void reuses_an_address_as_late_as_possible(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/29");

	CU_ASSERT(next_is(pool, "10.1.0.2"));
	release(pool, "10.1.0.2");
	CU_ASSERT(next_is(pool, "10.1.0.3"));
	CU_ASSERT(next_is(pool, "10.1.0.4"));
	CU_ASSERT(next_is(pool, "10.1.0.5"));
	CU_ASSERT(next_is(pool, "10.1.0.6"));
	CU_ASSERT(next_is(pool, "10.1.0.2"));
	ipam_pool_free(pool);
}

static void goes_on_after_a_restart(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/24");
	struct polder_addr last = addr("10.1.0.99");

	CU_ASSERT(take(pool, "10.1.0.99") == 0);
	ipam_continue_after(pool, &last);
	CU_ASSERT(next_is(pool, "10.1.0.100"));
	ipam_pool_free(pool);
}

static void gives_a_certain_address_once(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/24");

	CU_ASSERT(take(pool, "10.1.0.2") == 0);
	CU_ASSERT(take(pool, "10.1.0.2") == -EADDRINUSE);
	CU_ASSERT(next_is(pool, "10.1.0.3"));
	release(pool, "10.1.0.2");
	release(pool, "10.1.0.2");
	CU_ASSERT(take(pool, "10.1.0.2") == 0);
	ipam_pool_free(pool);
}

static void never_releases_what_is_reserved(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/24");
	struct polder_addr node = addr("10.1.0.2");
	uint64_t used, size;

	ipam_reserve(pool, &node);
	ipam_reserve(pool, &node);
	release(pool, "10.1.0.2");
	release(pool, "10.1.0.0");
	CU_ASSERT(take(pool, "10.1.0.2") == -EPERM);
	CU_ASSERT(next_is(pool, "10.1.0.3"));
	ipam_usage(pool, &used, &size);
	CU_ASSERT(used == 1 && size == 252);
	ipam_pool_free(pool);
}

static void tiny_ranges_have_no_address(void)
{
	static const char *const ranges[] = {"10.1.0.4/31", "10.1.0.4/32", "fd00::/127",
					     "fd00::5/128"};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct ipam_pool *pool = make_pool(ranges[i]);
		struct polder_addr got;
		uint64_t used, size;

		ipam_usage(pool, &used, &size);
		CU_ASSERT(size == 0);
		CU_ASSERT(ipam_take_next(pool, 0, &got) == -ENOSPC);
		ipam_pool_free(pool);
	}
}

static void cuts_a_large_ipv6_range(void)
{
	struct ipam_pool *pool = make_pool("fd00:1::/64");
	uint64_t used, size;

	ipam_usage(pool, &used, &size);
	CU_ASSERT(size == (1u << 20) - 2);
	CU_ASSERT(next_is(pool, "fd00:1::2"));
	CU_ASSERT(take(pool, "fd00:1::f:ffff") == 0);
	CU_ASSERT(take(pool, "fd00:1::10:0") == -ERANGE);
	CU_ASSERT(take(pool, "fd00:1::1:0:0:2") == -ERANGE);
	ipam_pool_free(pool);
}

static void fills_a_whole_range_without_doubles(void)
{
	struct ipam_pool *pool = make_pool("10.2.0.0/20");
	static bool seen[4096];
	struct polder_addr got;
	size_t count = 0;

	while (ipam_take_next(pool, 0, &got) == 0) {
		unsigned int offset = (got.bytes[14] & 15) << 8 | got.bytes[15];

		CU_ASSERT(!seen[offset]);
		seen[offset] = true;
		count++;
	}
	CU_ASSERT(count == 4093);
	release(pool, "10.2.7.9");
	CU_ASSERT(next_is(pool, "10.2.7.9"));
	CU_ASSERT(ipam_take_next(pool, 0, &got) == -ENOSPC);
	ipam_pool_free(pool);
}

static void rest(struct ipam_pool *pool, const char *text, uint64_t until)
{
	struct polder_addr one = addr(text);

	ipam_rest(pool, &one, until);
}

static bool next_at(struct ipam_pool *pool, uint64_t now, const char *text)
{
	struct polder_addr got = {};
	char buffer[INET6_ADDRSTRLEN];

	return ipam_take_next(pool, now, &got) == 0 && strcmp(addr_format(&got, buffer), text) == 0;
}

static void count_one(const struct polder_addr *addr, uint64_t until, void *data)
{
	++*(int *)data;
}

static void an_address_rests_as_long_as_there_is_another(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/29");
	int count = 0;

	for (int i = 2; i < 7; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.0.%d", i);
		CU_ASSERT(next_at(pool, 0, text));
	}
	/* The search comes to .2 first; .5 has been free for longer. */
	release(pool, "10.1.0.5");
	rest(pool, "10.1.0.2", 60);
	CU_ASSERT(next_at(pool, 59, "10.1.0.5"));
	rest(pool, "10.1.0.4", 70);
	ipam_each_resting(pool, count_one, &count);
	CU_ASSERT(count == 2);
	/* There is no other: the one that has rested longest. */
	CU_ASSERT(next_at(pool, 59, "10.1.0.2"));
	CU_ASSERT(next_at(pool, 59, "10.1.0.4"));
	rest(pool, "10.1.0.6", 80);
	CU_ASSERT(take(pool, "10.1.0.6") == 0);
	count = 0;
	ipam_each_resting(pool, count_one, &count);
	CU_ASSERT(count == 0);
	ipam_pool_free(pool);
}

static void rested_addresses_come_back(void)
{
	struct ipam_pool *pool = make_pool("10.1.0.0/24");
	struct polder_addr got;
	uint64_t used, size, now = 0;

	/* More than 60 s' worth of them, over and over. */
	for (int i = 0; i < 5000; i++, now++) {
		CU_ASSERT_FATAL(ipam_take_next(pool, now, &got) == 0);
		ipam_rest(pool, &got, now + 60);
	}
	ipam_usage(pool, &used, &size);
	CU_ASSERT(used == 0 && size == 253);
	ipam_pool_free(pool);
}

static const struct unit_test tests[] = {
	UNIT_TEST(reserves_network_first_and_broadcast),
	UNIT_TEST(reuses_an_address_as_late_as_possible),
	UNIT_TEST(goes_on_after_a_restart),
	UNIT_TEST(gives_a_certain_address_once),
	UNIT_TEST(never_releases_what_is_reserved),
	UNIT_TEST(tiny_ranges_have_no_address),
	UNIT_TEST(cuts_a_large_ipv6_range),
	UNIT_TEST(fills_a_whole_range_without_doubles),
	UNIT_TEST(an_address_rests_as_long_as_there_is_another),
	UNIT_TEST(rested_addresses_come_back),
};

int main(void)
{
	int failed;

	failed = UNIT_RUN("ipam", tests);
	return failed;
}
