/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/node/peers_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const range_texts[RANGES] = {
	"10.2.0.0/24",	 "10.2.1.0/24",	 "10.2.2.0/24",	 "10.2.3.0/24",	  "10.2.0.0/22",
	"10.2.0.0/16",	 "10.3.0.0/24",	 "10.3.0.0/25",	 "10.3.0.128/25", "10.3.0.0/21",
	"10.4.0.0/24",	 "10.5.0.0/24",	 "10.6.0.0/24",	 "10.0.0.0/8",	  "fd00:2::/64",
	"fd00:3::/64",	 "fd00:4::/64",	 "fd00::/16",	 "fd00:2::/96",	  "10.1.0.0/24",
	"10.1.0.128/25", "10.20.0.0/16", "10.20.1.0/24", "10.20.1.0/25",
};

static void on_object(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;
	bool failed = false;
	int r;

	if (w->is_deaf)
		return;
	if (w->before)
		w->before(w);
	r = peers_object(w->peers, object, deleted);
	if (w->before)
		failed = w->after();
	CU_ASSERT(r == 0 || (failed && r == -ENOMEM));
}

void world_start(struct world *w)
{
	CU_ASSERT_FATAL(peers_new(&w->config, w->maps, &w->peers) == 0);
	CU_ASSERT_FATAL(peers_recall(w->peers) == 0);
}

void world_begin(struct world *w)
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
	world_start(w);
	store_listen(w->store, on_object, w);
	CU_ASSERT(peers_read(w->peers, w->store) == 0);
}

void world_end(struct world *w)
{
	peers_free(w->peers);
	store_free(w->store);
	maps_close(w->maps);
}

void world_put(struct world *w, unsigned int n, const struct model *m)
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

void world_settle(struct world *w)
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

bool ranges_meet(const char *a, const char *b)
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
			bool free = range >= 0 && (newest == 0 ||
						   !ranges_meet(range_texts[range], "10.1.0.0/24"));

			for (int j = 0; free && j < RANGES; j++)
				free = owner[j] < 0 || owner[j] == newest ||
				       !ranges_meet(range_texts[range], range_texts[j]);
			if (free)
				owner[range] = newest;
		}
	}
}

void world_compare(const struct world *w, const struct model *all)
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

void world_compare_maps(struct world *w)
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

void model_change(struct model *m)
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
