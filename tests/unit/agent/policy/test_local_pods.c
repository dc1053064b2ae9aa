/* SPDX-License-Identifier: Apache-2.0 */
/* Which elements of `local_pods` answer for which address, and when they change hands. Needs root.
 */
#include "agent/policy/local_pods.h"

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

struct world {
	struct config config;
	struct maps *maps;
	struct local_pods *pods;
};

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(64)};
	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/24", &w->config.pod_cidr_v4) == 0);
	CU_ASSERT_FATAL(prefix_parse("fd00:1::/120", &w->config.pod_cidr_v6) == 0);
	w->maps = small_maps(&w->config, NULL);
	CU_ASSERT_FATAL(local_pods_open(w->maps, &w->pods) == 0);
}

static void end(struct world *w)
{
	local_pods_close(w->pods);
	maps_close(w->maps);
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

static void put(struct world *w, const char *text, uint32_t link)
{
	struct address_entry entry = {.flags = ADDRESS_POD | ADDRESS_LOCAL, .ifindex = link};
	struct polder_addr a = addr(text);

	CU_ASSERT(local_pods_put(w->pods, &a, &entry) == 0);
}

static void clear(struct world *w, const char *text)
{
	struct polder_addr a = addr(text);

	CU_ASSERT(local_pods_clear(w->pods, &a) == 0);
}

/* 0: the array does not answer. */
static uint32_t link_of(struct world *w, const char *text)
{
	struct polder_addr a = addr(text);
	const struct address_entry *entry = local_pods_find(w->maps, &a);

	return entry ? entry->ifindex : 0;
}

static void answers_for_the_address_that_was_put_in_each_family(void)
{
	struct world w;

	begin(&w);
	CU_ASSERT(maps_get(w.maps, MAP_LOCAL_PODS)->max_entries == 512 &&
		  maps_local_pods_mask(w.maps) == 255);
	put(&w, "10.1.0.7", 7);
	put(&w, "fd00:1::7", 8);
	put(&w, "10.1.0.255", 9);
	put(&w, "fd00:1::ff", 10);
	CU_ASSERT(link_of(&w, "10.1.0.7") == 7 && link_of(&w, "fd00:1::7") == 8);
	CU_ASSERT(link_of(&w, "10.1.0.255") == 9 && link_of(&w, "fd00:1::ff") == 10);
	CU_ASSERT(link_of(&w, "10.1.0.8") == 0);
	CU_ASSERT(link_of(&w, "10.2.0.7") == 0); /* the same last bits */
	CU_ASSERT(link_of(&w, "fd00:2::7") == 0);
	end(&w);
}

static void an_address_whose_element_is_taken_is_left_to_the_trie(void)
{
	struct world w;

	begin(&w);
	put(&w, "10.1.0.7", 7);
	put(&w, "10.1.1.7", 8);
	CU_ASSERT(link_of(&w, "10.1.0.7") == 7 && link_of(&w, "10.1.1.7") == 0);
	clear(&w, "10.1.1.7"); /* not its own */
	CU_ASSERT(link_of(&w, "10.1.0.7") == 7);
	end(&w);
}

/* A program may have compared the old address and not yet read the rest. */
static void an_element_gets_another_address_only_after_a_whole_wait(void)
{
	struct world w;

	begin(&w);
	put(&w, "10.1.0.7", 7);
	clear(&w, "10.1.0.7");
	CU_ASSERT(link_of(&w, "10.1.0.7") == 0);
	put(&w, "10.1.1.7", 8);
	CU_ASSERT(link_of(&w, "10.1.1.7") == 0);
	local_pods_commit(w.pods); /* this wait may have begun before */
	put(&w, "10.1.1.7", 8);
	CU_ASSERT(link_of(&w, "10.1.1.7") == 0);
	local_pods_commit(w.pods);
	put(&w, "10.1.1.7", 8);
	CU_ASSERT(link_of(&w, "10.1.1.7") == 8);
	end(&w);
}

static void an_address_that_comes_back_is_not_taken_away_by_the_wait(void)
{
	struct world w;

	begin(&w);
	put(&w, "10.1.0.7", 7);
	clear(&w, "10.1.0.7");
	put(&w, "10.1.0.7", 9);
	local_pods_commit(w.pods);
	local_pods_commit(w.pods);
	CU_ASSERT(link_of(&w, "10.1.0.7") == 9);
	end(&w);
}

static bool is_seven(const struct polder_addr *a, void *data)
{
	struct polder_addr seven = addr("10.1.0.7");

	return memcmp(a, &seven, sizeof(seven)) == 0;
}

static void what_a_former_agent_left_is_cleared(void)
{
	struct world w;

	begin(&w);
	put(&w, "10.1.0.7", 7);
	put(&w, "10.1.0.8", 8);
	put(&w, "fd00:1::8", 8);
	local_pods_close(w.pods);
	CU_ASSERT_FATAL(local_pods_open(w.maps, &w.pods) == 0);
	CU_ASSERT(link_of(&w, "10.1.0.8") == 8);
	CU_ASSERT(local_pods_prune(w.pods, is_seven, NULL) == 0);
	CU_ASSERT(link_of(&w, "10.1.0.7") == 7);
	CU_ASSERT(link_of(&w, "10.1.0.8") == 0 && link_of(&w, "fd00:1::8") == 0);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(answers_for_the_address_that_was_put_in_each_family),
	UNIT_TEST(an_address_whose_element_is_taken_is_left_to_the_trie),
	UNIT_TEST(an_element_gets_another_address_only_after_a_whole_wait),
	UNIT_TEST(an_address_that_comes_back_is_not_taken_away_by_the_wait),
	UNIT_TEST(what_a_former_agent_left_is_cleared),
};

int main(void)
{
	return UNIT_RUN("local pods", tests);
}
