/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns which range and address after any sequence of Nodes' changes, against a plain model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/clock.h"
#include "agent/node/peers_internal.h"
#include "tests/unit/unit.h"

#define NODES  12
#define RANGES 24
#define STEPS  4000

struct world {
	struct config config;
	struct store *store;
	struct maps *maps;
	struct peers *peers;
	bool is_deaf; /* peers are told of nothing */
};

/* What a Node says, in the model. */
struct model {
	bool is_there;
	unsigned int created;
	int ranges[3], address; /* -1: none */
};

static const char *const range_texts[RANGES] = {
	"10.2.0.0/24",	 "10.2.1.0/24",	 "10.2.2.0/24",	 "10.2.3.0/24",	  "10.2.0.0/22",
	"10.2.0.0/16",	 "10.3.0.0/24",	 "10.3.0.0/25",	 "10.3.0.128/25", "10.3.0.0/21",
	"10.4.0.0/24",	 "10.5.0.0/24",	 "10.6.0.0/24",	 "10.0.0.0/8",	  "fd00:2::/64",
	"fd00:3::/64",	 "fd00:4::/64",	 "fd00::/16",	 "fd00:2::/96",	  "10.1.0.0/24",
	"10.1.0.128/25", "10.20.0.0/16", "10.20.1.0/24", "10.20.1.0/25",
};

static void on_object(const struct object *object, bool deleted, void *data)
{
	const struct world *w = data;

	if (!w->is_deaf)
		CU_ASSERT(peers_object(w->peers, object, deleted) == 0);
}

static void start(struct world *w)
{
	CU_ASSERT_FATAL(peers_new(&w->config, w->maps, &w->peers) == 0);
	CU_ASSERT_FATAL(peers_recall(w->peers) == 0);
}

static void begin(struct world *w)
{
	static const struct map_sizes sizes = {
		.flows_v4 = 1024,
		.flows_v6 = 1024,
		.pods = 16,
		.pod_addresses = 512,
		.addresses = 64,
		.policy_entries = 64,
		.rule_counters = 64,
		.services = 64,
		.backends = 64,
		.socket_origins = 64,
		.fragments = 64,
	};
	char message[200] = "";

	*w = (struct world){.config = {.node_name = "n0", .tunnel = TUNNEL_VXLAN}};
	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/24", &w->config.pod_cidr_v4) == 0);
	CU_ASSERT_FATAL(maps_open(sizes, NULL, &w->maps, message, sizeof(message)) == 0);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	start(w);
	store_listen(w->store, on_object, w);
	CU_ASSERT(peers_read(w->peers, w->store) == 0);
}

static void end(struct world *w)
{
	peers_free(w->peers);
	store_free(w->store);
	maps_close(w->maps);
}

static void put(struct world *w, unsigned int n, const struct model *m)
{
	char text[900], ranges[300] = "", address[120] = "", name[16];
	struct object_list list = {};
	struct error error = {};

	snprintf(name, sizeof(name), "n%u", n);
	for (int i = 0; i < 3; i++)
		if (m->ranges[i] >= 0)
			snprintf(ranges + strlen(ranges), sizeof(ranges) - strlen(ranges),
				 "%s\"%s\"", *ranges ? "," : "", range_texts[m->ranges[i]]);
	if (m->address >= 0)
		snprintf(address, sizeof(address),
			 "{\"type\":\"InternalIP\",\"address\":\"192.168.7.%d\"}", m->address);
	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\","
		 "\"uid\":\"u%u\",\"creationTimestamp\":\"2026-01-01T00:%02u:%02uZ\"},"
		 "\"spec\":{\"podCIDRs\":[%s]},\"status\":{\"addresses\":[%s]}}",
		 name, n, m->created / 60 % 60, m->created % 60, ranges, address);
	if (m->is_there)
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT(store_replace(w->store, name, &list) == 0);
	object_list_clear(&list);
}

/* As the reconciler does it. */
static void settle(struct world *w)
{
	CU_ASSERT(peers_write(w->peers) == 0);
	peers_written(w->peers);
	peers_prune_mark(w->peers);
	peers_prune(w->peers);
}

/* ---------------------------------------------------------------- the model */

static bool is_newer(const struct model *all, unsigned int a, unsigned int b)
{
	char one[16], other[16];

	if (all[a].created != all[b].created)
		return all[a].created > all[b].created;
	snprintf(one, sizeof(one), "u%u", a);
	snprintf(other, sizeof(other), "u%u", b);
	return strcmp(one, other) > 0;
}

static bool meet(const char *a, const char *b)
{
	struct prefix one, other;

	CU_ASSERT_FATAL(prefix_parse(a, &one) == 0 && prefix_parse(b, &other) == 0);
	return prefix_covers(&one, &other.addr, other.length) ||
	       prefix_covers(&other, &one.addr, one.length);
}

/* Newest first, each Node gets what meets no newer one's that was got; what is this node's is its
 * own alone. Who has each range; -1: nobody. */
static void own(const struct model *all, int owner[RANGES])
{
	bool done[NODES] = {};

	for (int i = 0; i < RANGES; i++)
		owner[i] = -1;
	for (;;) {
		int newest = -1;

		for (int n = 0; n < NODES; n++)
			if (all[n].is_there && !done[n] &&
			    (newest < 0 || is_newer(all, (unsigned int)n, (unsigned int)newest)))
				newest = n;
		if (newest < 0)
			return;
		done[newest] = true;
		for (int i = 0; i < 3; i++) {
			int range = all[newest].ranges[i];
			bool free = range >= 0 &&
				    (newest == 0 || !meet(range_texts[range], "10.1.0.0/24"));

			for (int j = 0; free && j < RANGES; j++)
				free = owner[j] < 0 || owner[j] == newest ||
				       !meet(range_texts[range], range_texts[j]);
			if (free)
				owner[range] = newest;
		}
	}
}

static void compare(const struct world *w, const struct model *all)
{
	bool numbers[POLDER_MAX_PEERS] = {};
	int owner[RANGES];
	char name[16];

	own(all, owner);
	for (int i = 0; i < RANGES; i++) {
		struct prefix range;
		const struct peer *peer;

		CU_ASSERT_FATAL(prefix_parse(range_texts[i], &range) == 0);
		peer = peers_owner(w->peers, &range);
		snprintf(name, sizeof(name), "n%d", owner[i]);
		/* This node is no peer. */
		CU_ASSERT((peer != NULL) == (owner[i] > 0));
		CU_ASSERT(!peer || strcmp(peer->name, name) == 0);
	}
	for (const struct peer *peer = peers_next(w->peers, NULL); peer;
	     peer = peers_next(w->peers, peer)) {
		CU_ASSERT(!peer->number || !numbers[peer->number]);
		CU_ASSERT(peer->is_self || !peer->internal_count || peer->number);
		numbers[peer->number] = true;
	}
}

/* The maps say what peers are, and nothing else. */
static void compare_maps(struct world *w)
{
	struct peer_entry *entries = NULL;
	struct tunnel_end *ends = NULL;
	size_t found = 0, wanted = 0;

	CU_ASSERT_FATAL(maps_read_array(w->maps, MAP_PEERS, (void **)&entries) == 0);
	CU_ASSERT_FATAL(maps_read_array(w->maps, MAP_TUNNEL_ENDS, (void **)&ends) == 0);
	for (uint32_t i = 0; i < POLDER_MAX_PEERS; i++)
		found += entries[i].flags != 0;
	for (const struct peer *peer = peers_next(w->peers, NULL); peer;
	     peer = peers_next(w->peers, peer)) {
		wanted += peer->number != 0;
		CU_ASSERT(!peer->number || entries[peer->number].flags & PEER_KNOWN);
	}
	CU_ASSERT(found == wanted);
	found = wanted = 0;
	for (uint32_t i = 0; i < TUNNEL_ENDS; i++)
		found += ends[i].peer != 0;
	for (size_t i = 0; i < w->peers->hosts.count; i++) {
		const struct claimed *place = (const struct claimed *)w->peers->hosts.items[i];

		wanted += place->owner && !place->owner->is_self && place->fault == RANGE_GOOD;
	}
	CU_ASSERT(found == wanted);
	free(entries);
	free(ends);
}

static void change(struct model *m)
{
	if (rand() % 4 == 0) {
		m->is_there = !m->is_there;
		return;
	}
	m->is_there = true;
	if (rand() % 3 == 0)
		m->created = (unsigned int)rand() % 40;
	if (rand() % 2)
		m->address = rand() % 8 - 1;
	for (int i = 0; i < 3; i++)
		if (rand() % 2)
			m->ranges[i] = rand() % 3 ? rand() % RANGES : -1;
}

static void any_sequence_leaves_one_owner_for_each_range(void)
{
	struct model all[NODES];
	struct world w;

	for (unsigned int n = 0; n < NODES; n++)
		all[n] = (struct model){.ranges = {-1, -1, -1}, .address = -1};
	srand(20261128);
	begin(&w);
	for (unsigned int step = 0; step < STEPS; step++) {
		unsigned int n = (unsigned int)rand() % NODES;

		change(&all[n]);
		put(&w, n, &all[n]);
		compare(&w, all);
		if (step % 7)
			continue;
		settle(&w);
		if (step % 49 == 0)
			compare_maps(&w);
	}
	for (unsigned int n = 0; n < NODES; n++) {
		all[n].is_there = false;
		put(&w, n, &all[n]);
	}
	settle(&w);
	compare_maps(&w);
	CU_ASSERT(w.peers->ranges.count == 0 && w.peers->hosts.count == 0 && w.peers->count == 0);
	end(&w);
}

static void numbers_outlive_the_agent(void)
{
	uint32_t numbers[NODES];
	struct world w;
	char name[16];

	begin(&w);
	for (unsigned int n = 1; n < NODES; n++)
		put(&w, n,
		    &(struct model){
			    .is_there = true, .ranges = {(int)n, -1, -1}, .address = (int)n});
	settle(&w);
	for (unsigned int n = 1; n < NODES; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		numbers[n] = peers_find(w.peers, name)->number;
	}
	put(&w, 3, &(struct model){});
	peers_free(w.peers);
	start(&w);
	CU_ASSERT(peers_read(w.peers, w.store) == 0);
	settle(&w);
	for (unsigned int n = 1; n < NODES; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		if (n != 3)
			CU_ASSERT(peers_find(w.peers, name)->number == numbers[n]);
	}
	compare_maps(&w);
	end(&w);
}

static void what_was_not_heard_is_made_up_for_when_all_is_read(void)
{
	struct model one = {.is_there = true, .ranges = {0, -1, -1}, .address = 1};
	struct model other = {.is_there = true, .ranges = {6, -1, -1}, .address = 2};
	struct world w;

	begin(&w);
	put(&w, 1, &one);
	put(&w, 2, &other);
	settle(&w);
	w.is_deaf = true;
	one.is_there = false;
	put(&w, 1, &one);
	other.ranges[0] = 0;
	put(&w, 2, &other);
	CU_ASSERT(peers_find(w.peers, "n1") != NULL);
	CU_ASSERT(peers_read(w.peers, w.store) == 0);
	settle(&w);
	CU_ASSERT(peers_find(w.peers, "n1") == NULL && w.peers->count == 1);
	CU_ASSERT(w.peers->ranges.count == 1 && w.peers->hosts.count == 1);
	compare_maps(&w);
	end(&w);
}

static void a_number_rests_until_nothing_says_it(void)
{
	struct world w;
	uint32_t number;
	struct model one = {.is_there = true, .ranges = {0, -1, -1}, .address = 1};

	begin(&w);
	put(&w, 1, &one);
	settle(&w);
	number = peers_find(w.peers, "n1")->number;
	one.is_there = false;
	put(&w, 1, &one);
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
	compare_maps(&w);
	end(&w);
}

/* 5,000 Nodes: what one costs that comes, and one that goes. */
static void a_change_among_5000_nodes_costs_little(void)
{
	struct object_list list = {};
	struct error error = {};
	char text[400], name[16];
	uint64_t began, longest = 0;
	struct world w;

	begin(&w);
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
		settle(&w);
		if (n > 4900 && clock_monotonic_ns() - began > longest)
			longest = clock_monotonic_ns() - began;
	}
	printf("(%llu us) ", (unsigned long long)longest / 1000);
	compare_maps(&w);
	CU_ASSERT(peers_count(w.peers).peers == 5000 && peers_count(w.peers).numberless == 0);
	end(&w);
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
