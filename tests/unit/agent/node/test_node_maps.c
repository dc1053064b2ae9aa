/* SPDX-License-Identifier: Apache-2.0 */
/* What programs are told of the ways out, where the map has no room for all. On the kernel's maps;
 * needs root. */
#include "agent/node/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "agent/config/config.h"
#include "tests/unit/unit.h"

#define UPLINK 7

struct world {
	struct maps *maps;
	struct node node;
	uint32_t room;
};

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
	char message[256] = "";

	*w = (struct world){};
	CU_ASSERT_FATAL(maps_open(sizes, NULL, &w->maps, message, sizeof(message)) == 0);
	w->room = maps_get(w->maps, MAP_EGRESS_ROUTES)->max_entries;
	w->node.egress = calloc((size_t)w->room + 16, sizeof(*w->node.egress));
	CU_ASSERT_FATAL(w->node.egress != NULL);
	w->node.uplinks[0].ifindex = UPLINK;
	w->node.uplink_count = 1;
}

static void end(struct world *w)
{
	free(w->node.egress);
	maps_close(w->maps);
}

static struct prefix host(uint32_t v4)
{
	return (struct prefix){.addr.words_be = {0, 0, htonl(0xffff), htonl(v4)}, .length = 128};
}

static void add_ways(struct world *w, uint32_t first, size_t count, enum polder_reason reason)
{
	for (size_t i = 0; i < count; i++)
		w->node.egress[w->node.egress_count++] = (struct node_egress){
			.prefix = host(first + (uint32_t)i),
			.ifindex = reason ? 0 : UPLINK,
			.reason = (uint16_t)reason,
		};
}

static bool is_there(struct world *w, uint32_t v4)
{
	struct address_key key = {.prefixlen = 128, .addr = host(v4).addr};
	struct egress_route entry;

	return maps_find(w->maps, MAP_EGRESS_ROUTES, &key, &entry) == 0;
}

static int write_maps(struct world *w)
{
	bool changed = false;

	return node_write_maps(&w->node, w->maps, &changed);
}

static void what_is_forbidden_stays_forbidden_where_the_map_is_full(void)
{
	struct world w;

	begin(&w);
	add_ways(&w, 0x0a000000, w.room, REASON_NONE);
	add_ways(&w, 0x0b000000, 8, REASON_ROUTE_PROHIBITED);
	CU_ASSERT(write_maps(&w) == -E2BIG);
	for (uint32_t i = 0; i < 8; i++)
		CU_ASSERT(is_there(&w, 0x0b000000 + i));
	end(&w);
}

static void ways_that_are_gone_make_room_for_those_that_come(void)
{
	struct world w;

	begin(&w);
	add_ways(&w, 0x0a000000, w.room, REASON_NONE);
	CU_ASSERT(write_maps(&w) == 0);
	w.node.egress_count = 0;
	add_ways(&w, 0x0c000000, w.room - 1, REASON_NONE);
	CU_ASSERT(write_maps(&w) == 0);
	CU_ASSERT(is_there(&w, 0x0c000000) && is_there(&w, 0x0c000000 + w.room - 2));
	CU_ASSERT(!is_there(&w, 0x0a000000));
	end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_is_forbidden_stays_forbidden_where_the_map_is_full),
		UNIT_TEST(ways_that_are_gone_make_room_for_those_that_come),
	};

	return UNIT_RUN("node_maps", tests);
}
