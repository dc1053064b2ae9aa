/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns which range and address after any sequence of Nodes' changes, against a plain model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/clock.h"
#include "tests/unit/agent/node/peers_world.h"

#define STEPS 4000

static void any_sequence_leaves_one_owner_for_each_range(void)
{
	struct model all[NODES];
	struct world w;

	for (unsigned int n = 0; n < NODES; n++)
		all[n] = (struct model){.ranges = {-1, -1, -1}, .address = -1};
	srand(20261128);
	world_begin(&w);
	for (unsigned int step = 0; step < STEPS; step++) {
		unsigned int n = (unsigned int)rand() % NODES;

		model_change(&all[n]);
		world_put(&w, n, &all[n]);
		world_compare(&w, all);
		if (step % 7)
			continue;
		world_settle(&w);
		if (step % 49 == 0)
			world_compare_maps(&w);
	}
	for (unsigned int n = 0; n < NODES; n++) {
		all[n].is_there = false;
		world_put(&w, n, &all[n]);
	}
	world_settle(&w);
	world_compare_maps(&w);
	CU_ASSERT(w.peers->ranges.count == 0 && w.peers->hosts.count == 0 && w.peers->count == 0);
	world_end(&w);
}

static void numbers_outlive_the_agent(void)
{
	uint32_t numbers[NODES];
	struct world w;
	char name[16];

	world_begin(&w);
	for (unsigned int n = 1; n < NODES; n++)
		world_put(&w, n,
			  &(struct model){
				  .is_there = true, .ranges = {(int)n, -1, -1}, .address = (int)n});
	world_settle(&w);
	for (unsigned int n = 1; n < NODES; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		numbers[n] = peers_find(w.peers, name)->number;
	}
	world_put(&w, 3, &(struct model){});
	peers_free(w.peers);
	world_start(&w);
	CU_ASSERT(peers_read(w.peers, w.store) == 0);
	world_settle(&w);
	for (unsigned int n = 1; n < NODES; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		if (n != 3)
			CU_ASSERT(peers_find(w.peers, name)->number == numbers[n]);
	}
	world_compare_maps(&w);
	world_end(&w);
}

static void what_was_not_heard_is_made_up_for_when_all_is_read(void)
{
	struct model one = {.is_there = true, .ranges = {0, -1, -1}, .address = 1};
	struct model other = {.is_there = true, .ranges = {6, -1, -1}, .address = 2};
	struct world w;

	world_begin(&w);
	world_put(&w, 1, &one);
	world_put(&w, 2, &other);
	world_settle(&w);
	w.is_deaf = true;
	one.is_there = false;
	world_put(&w, 1, &one);
	other.ranges[0] = 0;
	world_put(&w, 2, &other);
	CU_ASSERT(peers_find(w.peers, "n1") != NULL);
	CU_ASSERT(peers_read(w.peers, w.store) == 0);
	world_settle(&w);
	CU_ASSERT(peers_find(w.peers, "n1") == NULL && w.peers->count == 1);
	CU_ASSERT(w.peers->ranges.count == 1 && w.peers->hosts.count == 1);
	world_compare_maps(&w);
	world_end(&w);
}

static void a_number_rests_until_nothing_says_it(void)
{
	struct world w;
	uint32_t number;
	struct model one = {.is_there = true, .ranges = {0, -1, -1}, .address = 1};

	world_begin(&w);
	world_put(&w, 1, &one);
	world_settle(&w);
	number = peers_find(w.peers, "n1")->number;
	one.is_there = false;
	world_put(&w, 1, &one);
	CU_ASSERT(peers_write(w.peers) == 0);
	CU_ASSERT(w.peers->numbers[number].state == NUMBER_LEFT);
	peers_prune_mark(w.peers);
	peers_prune(w.peers);
	CU_ASSERT(w.peers->numbers[number].state == NUMBER_LEFT);
	peers_written(w.peers);
	peers_prune(w.peers);
	CU_ASSERT(w.peers->numbers[number].state == NUMBER_UNSAID);
	peers_prune_mark(w.peers);
	peers_prune(w.peers);
	CU_ASSERT(w.peers->numbers[number].state == NUMBER_FREE);
	world_compare_maps(&w);
	world_end(&w);
}

/* 5,000 Nodes: what one costs that comes, and one that goes. */
static void a_change_among_5000_nodes_costs_little(void)
{
	struct object_list list = {};
	struct error error = {};
	char text[400], name[16];
	uint64_t began, longest = 0;
	struct world w;

	world_begin(&w);
	for (unsigned int n = 1; n <= 5000; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		snprintf(text, sizeof(text),
			 "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":"
			 "\"%s\"},\"spec\":{\"podCIDRs\":[\"10.%u.%u.0/24\"]},\"status\":{"
			 "\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"172.16.%u.%u\"}]"
			 "}}",
			 name, 100 + n / 256, n % 256, n / 250, 1 + n % 250);
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
		CU_ASSERT(store_replace(w.store, name, &list) == 0);
		object_list_clear(&list);
		if (n < 4900)
			continue;
		began = clock_monotonic_ns();
		world_settle(&w);
		if (n > 4900 && clock_monotonic_ns() - began > longest)
			longest = clock_monotonic_ns() - began;
	}
	printf("(%llu us) ", (unsigned long long)longest / 1000);
	world_compare_maps(&w);
	CU_ASSERT(peers_count(w.peers).peers == 5000 && peers_count(w.peers).numberless == 0);
	world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(any_sequence_leaves_one_owner_for_each_range),
		UNIT_TEST(numbers_outlive_the_agent),
		UNIT_TEST(what_was_not_heard_is_made_up_for_when_all_is_read),
		UNIT_TEST(a_number_rests_until_nothing_says_it),
		UNIT_TEST(a_change_among_5000_nodes_costs_little),
	};

	return UNIT_RUN("peers", tests);
}
