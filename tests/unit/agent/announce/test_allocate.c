/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which address of the pools. */
#include "agent/announce/allocate.h"

#include "tests/unit/unit.h"

#define MANY 500

static struct address_range ranges[4];
static struct balancer_pools pools = {.ranges = ranges};

static void set_pools(const char *first, const char *second)
{
	pools = (struct balancer_pools){.ranges = ranges};
	CU_ASSERT_FATAL(address_range_parse(first, &ranges[pools.count++]) == 0);
	if (second)
		CU_ASSERT_FATAL(address_range_parse(second, &ranges[pools.count++]) == 0);
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr made = {};

	if (text)
		CU_ASSERT_FATAL(addr_parse(text, &made) == 0);
	return made;
}

static struct balancer v4(const char *name, const char *has, const char *asked)
{
	return (struct balancer){.namespace = "default",
				 .name = name,
				 .wants = {true, false},
				 .has = {addr(has)},
				 .asked = {addr(asked)}};
}

static bool is(const struct polder_addr *got, const char *text)
{
	struct polder_addr wanted = addr(text);

	return memcmp(got, &wanted, sizeof(wanted)) == 0;
}

static const struct balancer *named(const struct balancer *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	CU_FAIL_FATAL("no such Service");
	return NULL;
}

static void gives_each_one_address_of_each_family_it_wants(void)
{
	struct balancer list[3] = {v4("a", NULL, NULL), v4("b", NULL, NULL), v4("c", NULL, NULL)};
	const struct balancer *b;

	list[1].wants[BALANCER_V6] = true;
	set_pools("192.0.2.10-192.0.2.20", "2001:db8::/112");
	CU_ASSERT(balancers_allocate(&pools, list, 3) == 0);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(balancer_pools_have(&pools, &list[i].gets[BALANCER_V4]) &&
			  addr_is_v4(&list[i].gets[BALANCER_V4]) && !list[i].problem[0]);
	b = named(list, 3, "b");
	CU_ASSERT(balancer_pools_have(&pools, &b->gets[BALANCER_V6]));
	CU_ASSERT(addr_is_zero(&named(list, 3, "a")->gets[BALANCER_V6]));
}

static void no_address_is_given_twice_and_all_are_given(void)
{
	static struct balancer list[MANY];
	static char names[MANY][16];

	set_pools("198.51.100.0-198.51.101.243", NULL);
	CU_ASSERT(address_range_size(&ranges[0]) == MANY);
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i);
		list[i] = v4(names[i], NULL, NULL);
	}
	CU_ASSERT(balancers_allocate(&pools, list, MANY) == 0);
	for (int i = 0; i < MANY; i++) {
		CU_ASSERT_FATAL(!addr_is_zero(&list[i].gets[BALANCER_V4]));
		for (int j = 0; j < i; j++)
			CU_ASSERT_FATAL(memcmp(&list[i].gets[0], &list[j].gets[0], 16) != 0);
	}
}

/* Whatever comes before it, and whatever its neighbours do. */
static void who_has_an_address_keeps_it(void)
{
	struct balancer list[3] = {v4("z", "192.0.2.11", NULL), v4("a", NULL, NULL),
				   v4("b", "192.0.2.10", NULL)};

	set_pools("192.0.2.10-192.0.2.12", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 3) == 0);
	CU_ASSERT(is(&named(list, 3, "z")->gets[0], "192.0.2.11"));
	CU_ASSERT(is(&named(list, 3, "b")->gets[0], "192.0.2.10"));
	CU_ASSERT(is(&named(list, 3, "a")->gets[0], "192.0.2.12"));
}

static void same_objects_give_the_same_addresses_in_any_order(void)
{
	struct balancer list[4] = {v4("a", NULL, NULL), v4("b", NULL, NULL), v4("c", NULL, NULL),
				   v4("d", NULL, NULL)},
			other[4] = {list[3], list[1], list[0], list[2]};

	set_pools("192.0.2.0/28", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 4) == 0);
	CU_ASSERT(balancers_allocate(&pools, other, 4) == 0);
	for (int i = 0; i < 4; i++)
		CU_ASSERT(memcmp(&list[i].gets, &other[i].gets, sizeof(list[i].gets)) == 0);
}

static void service_that_is_made_again_gets_its_old_address(void)
{
	struct balancer list[2] = {v4("a", NULL, NULL), v4("b", NULL, NULL)}, again;
	struct polder_addr before;

	set_pools("192.0.2.0/24", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 2) == 0);
	before = named(list, 2, "b")->gets[0];
	list[0] = *named(list, 2, "a");
	list[0].has[0] = list[0].gets[0];
	again = v4("b", NULL, NULL);
	again.created = 1000;
	list[1] = again;
	CU_ASSERT(balancers_allocate(&pools, list, 2) == 0);
	CU_ASSERT(memcmp(&named(list, 2, "b")->gets[0], &before, sizeof(before)) == 0);
}

static void asked_address_is_given_if_it_is_free_and_of_a_pool(void)
{
	struct balancer list[5] = {v4("asks", NULL, "192.0.2.12"), v4("late", NULL, "192.0.2.12"),
				   v4("elsewhere", NULL, "198.51.100.1"),
				   v4("moves", "192.0.2.10", "192.0.2.13"),
				   v4("stays", "192.0.2.11", "192.0.2.12")};

	list[1].created = 1;
	set_pools("192.0.2.10-192.0.2.14", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 5) == 0);
	CU_ASSERT(is(&named(list, 5, "asks")->gets[0], "192.0.2.12"));
	CU_ASSERT(is(&named(list, 5, "moves")->gets[0], "192.0.2.13"));
	/* No other address in the place of one that was asked for. */
	CU_ASSERT(addr_is_zero(&named(list, 5, "late")->gets[0]));
	CU_ASSERT(strstr(named(list, 5, "late")->problem, "which Service default/asks has") !=
		  NULL);
	CU_ASSERT(addr_is_zero(&named(list, 5, "elsewhere")->gets[0]));
	CU_ASSERT(strstr(named(list, 5, "elsewhere")->problem, "is in no pool") != NULL);
	/* What it has is better than nothing. */
	CU_ASSERT(is(&named(list, 5, "stays")->gets[0], "192.0.2.11"));
	CU_ASSERT(strstr(named(list, 5, "stays")->problem, "192.0.2.12") != NULL);
}

/* Two allocators at once, or a status that somebody edited. */
static void of_two_that_have_one_address_the_older_keeps_it(void)
{
	struct balancer list[2] = {v4("young", "192.0.2.10", NULL), v4("old", "192.0.2.10", NULL)};

	list[0].created = 200;
	list[1].created = 100;
	set_pools("192.0.2.10-192.0.2.11", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 2) == 0);
	CU_ASSERT(is(&named(list, 2, "old")->gets[0], "192.0.2.10"));
	CU_ASSERT(is(&named(list, 2, "young")->gets[0], "192.0.2.11"));
}

static void pool_that_is_full_is_told_and_takes_from_nobody(void)
{
	struct balancer list[3] = {v4("c", NULL, NULL), v4("a", "192.0.2.10", NULL),
				   v4("b", "192.0.2.11", NULL)};

	list[0].wants[BALANCER_V6] = true;
	set_pools("192.0.2.10-192.0.2.11", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 3) == 0);
	CU_ASSERT(is(&named(list, 3, "a")->gets[0], "192.0.2.10"));
	CU_ASSERT(is(&named(list, 3, "b")->gets[0], "192.0.2.11"));
	CU_ASSERT(addr_is_zero(&named(list, 3, "c")->gets[0]));
	CU_ASSERT(strstr(named(list, 3, "c")->problem, "no IPv6 addresses") != NULL);
	list[2].wants[BALANCER_V6] = false;
	named(list, 3, "c");
	for (int i = 0; i < 3; i++)
		list[i].wants[BALANCER_V6] = false;
	CU_ASSERT(balancers_allocate(&pools, list, 3) == 0);
	CU_ASSERT(strstr(named(list, 3, "c")->problem, "no IPv4 address") != NULL);
}

static void blocks_leave_out_what_looks_like_a_networks_own(void)
{
	struct balancer list[254];
	static char names[254][16];

	set_pools("192.0.2.0/24", NULL);
	for (int i = 0; i < 254; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i);
		list[i] = v4(names[i], NULL, NULL);
	}
	CU_ASSERT(balancers_allocate(&pools, list, 254) == 0);
	for (int i = 0; i < 254; i++)
		CU_ASSERT(list[i].gets[0].bytes[15] != 0 && list[i].gets[0].bytes[15] != 255);
}

static bool is_a_nodes(const struct polder_addr *one, void *data)
{
	return is(one, data);
}

static void addresses_of_nodes_are_never_given(void)
{
	struct balancer list[2] = {v4("has", "192.0.2.10", NULL), v4("asks", NULL, "192.0.2.10")};

	set_pools("192.0.2.10-192.0.2.12", NULL);
	pools.is_others = is_a_nodes;
	pools.data = "192.0.2.10";
	CU_ASSERT(balancers_allocate(&pools, list, 2) == 0);
	CU_ASSERT(!is(&named(list, 2, "has")->gets[0], "192.0.2.10"));
	CU_ASSERT(!addr_is_zero(&named(list, 2, "has")->gets[0]));
	CU_ASSERT(strstr(named(list, 2, "asks")->problem, "a node's address") != NULL);
}

static void large_pool_of_ipv6_is_looked_through_from_anywhere(void)
{
	struct balancer list[2] = {v4("a", NULL, NULL), v4("b", NULL, NULL)};

	for (int i = 0; i < 2; i++) {
		list[i].wants[BALANCER_V4] = false;
		list[i].wants[BALANCER_V6] = true;
	}
	set_pools("2001:db8::/64", NULL);
	CU_ASSERT(balancers_allocate(&pools, list, 2) == 0);
	CU_ASSERT(balancer_pools_have(&pools, &list[0].gets[1]));
	CU_ASSERT(memcmp(&list[0].gets[1], &list[1].gets[1], 16) != 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(gives_each_one_address_of_each_family_it_wants),
		UNIT_TEST(no_address_is_given_twice_and_all_are_given),
		UNIT_TEST(who_has_an_address_keeps_it),
		UNIT_TEST(same_objects_give_the_same_addresses_in_any_order),
		UNIT_TEST(service_that_is_made_again_gets_its_old_address),
		UNIT_TEST(asked_address_is_given_if_it_is_free_and_of_a_pool),
		UNIT_TEST(of_two_that_have_one_address_the_older_keeps_it),
		UNIT_TEST(pool_that_is_full_is_told_and_takes_from_nobody),
		UNIT_TEST(blocks_leave_out_what_looks_like_a_networks_own),
		UNIT_TEST(addresses_of_nodes_are_never_given),
		UNIT_TEST(large_pool_of_ipv6_is_looked_through_from_anywhere),
	};

	return UNIT_RUN("allocate", tests);
}
