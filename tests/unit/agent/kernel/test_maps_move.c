/* SPDX-License-Identifier: Apache-2.0 */
/* Pinned maps that get other sizes: what goes along, and what an agent finds that ended in between.
 * Needs root. */
#include "agent/kernel/maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/config/config.h"
#include "agent/kernel/flows_move.h"
#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

#define SMALL 1024
#define LARGE 8192
#define FLOWS 300 /* entries */

struct world {
	char top[32];
	char directory[64];
	struct config config;
	struct maps *maps;
	char message[512];
};

static void open_maps(struct world *w)
{
	w->message[0] = '\0';
	CU_ASSERT_FATAL(maps_open(config_map_sizes(&w->config), w->directory, &w->maps, w->message,
				  sizeof(w->message)) == 0);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = {.flows_v4 = SMALL,
				       .flows_v6 = SMALL,
				       .max_pods = 64,
				       .max_fragments = 64,
				       .max_socket_origins = 1024,
				       .max_rule_counters = 64,
				       .max_services = 64,
				       .max_backends = 64,
				       .max_addresses = 64,
				       .max_policy_entries = 64}};
	unit_directory(w->top);
	CU_ASSERT_FATAL(mount("bpf", w->top, "bpf", 0, NULL) == 0);
	snprintf(w->directory, sizeof(w->directory), "%s/maps", w->top);
	open_maps(w);
	/* Where tuples stand is the same in each run: by chance two sets may be full at this load.
	 */
	maps_control(w->maps)->hash_seed[0] = 0x0123456789abcdefULL;
	maps_control(w->maps)->hash_seed[1] = 0xfedcba9876543210ULL;
}

static void end(struct world *w)
{
	maps_close(w->maps);
	umount(w->top);
	rmdir(w->top);
}

/* The agent ends; its maps stay as they are pinned. */
static void restart(struct world *w)
{
	maps_close(w->maps);
	open_maps(w);
}

static int move_begin(struct world *w)
{
	size_t left_out = 0;
	int r = maps_move_begin(w->maps, &left_out, w->message, sizeof(w->message));

	CU_ASSERT(left_out == 0);
	return r;
}

static int move_end(struct world *w)
{
	return maps_move_end(w->maps, w->message, sizeof(w->message));
}

static uint32_t entries(const struct world *w, enum map_index index)
{
	return maps_get(w->maps, index)->max_entries;
}

static bool next_is_there(const struct world *w)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/next", w->directory);
	return access(path, F_OK) == 0;
}

/* ---------------------------------------------------------------- flows */

/* A flow table as a program sees it. */
struct seen {
	struct flow4_set *sets;
	uint64_t *tags;
	struct flow_rules_set *rules;
	uint32_t count;
};

static void *map_in(const struct world *w, enum map_index index, size_t step)
{
	const struct map_info *info = maps_get(w->maps, index);
	void *base = mmap(NULL, info->max_entries * step, PROT_READ | PROT_WRITE, MAP_SHARED,
			  info->fd, 0);

	CU_ASSERT_FATAL(base != MAP_FAILED);
	return base;
}

static struct seen see(const struct world *w)
{
	return (struct seen){
		map_in(w, MAP_FLOWS4, sizeof(struct flow4_set)), map_in(w, MAP_FLOW_TAGS4, 8),
		map_in(w, MAP_FLOW_RULES4, sizeof(struct flow_rules_set)), entries(w, MAP_FLOWS4)};
}

static void unsee(const struct seen *s)
{
	munmap(s->sets, s->count * sizeof(*s->sets));
	munmap(s->tags, s->count * sizeof(*s->tags));
	munmap(s->rules, s->count * sizeof(*s->rules));
}

static struct flow_tuple tuple_of(uint16_t number)
{
	struct flow_tuple t = {0};

	t.sport_be = htons(number);
	t.dport_be = htons(80);
	t.proto = IPPROTO_TCP;
	t.v4.saddr_be = htonl(0x0a000001);
	t.v4.daddr_be = htonl(0x0a000002);
	return t;
}

/* Where the tuple stands, by its tags as a program looks; NULL: nowhere. */
static struct flow4 *find(struct world *w, const struct seen *s, uint16_t number,
			  struct flow_rules **ret_rules)
{
	struct flow_tuple t = tuple_of(number);
	uint64_t hash = flow_hash(&t, FAMILY_V4, maps_control(w->maps));

	for (uint8_t which = 0; which < 2; which++) {
		uint32_t set = flow_set_index(hash, which, s->count);

		for (uint64_t found = flow_tags_equal(s->tags[set], flow_tag(hash)); found;
		     found &= found - 1) {
			uint32_t way = flow_tags_first(found);
			struct flow4 *flow = &s->sets[set].way[way];

			if (memcmp(flow->key, t.words, sizeof(flow->key)) != 0 ||
			    !flow->head.generation)
				continue;
			if (ret_rules)
				*ret_rules = &s->rules[set].way[way];
			return flow;
		}
	}
	return NULL;
}

static struct flow4 *put(struct world *w, const struct seen *s, uint16_t number)
{
	struct flow_tuple t = tuple_of(number);
	uint64_t hash = flow_hash(&t, FAMILY_V4, maps_control(w->maps));
	uint32_t set = flow_set_index(hash, 0, s->count), way;
	uint64_t free = flow_tags_free(s->tags[set]);
	struct flow4 *flow;

	if (!free) {
		set = flow_set_index(hash, 1, s->count);
		free = flow_tags_free(s->tags[set]);
	}
	CU_ASSERT_FATAL(free != 0);
	way = flow_tags_first(free);
	flow = &s->sets[set].way[way];
	memcpy(flow->key, t.words, sizeof(flow->key));
	flow->head = (struct flow_head){.seq = 4,
					.generation = 2,
					.last = 100,
					.packets = number,
					.bytes = number * 100u,
					.state = FLOW_RULED | FLOW_REPLIED,
					.action = FLOW_TO_POD,
					.hop = 5,
					.owner = 5};
	flow->new_saddr_be = t.v4.saddr_be;
	flow->new_daddr_be = t.v4.daddr_be;
	((uint8_t *)&s->tags[set])[way] = flow_tag(hash);
	s->rules[set].way[way] = (struct flow_rules){number, number + 1u};
	return flow;
}

static void take_away(struct world *w, const struct seen *s, uint16_t number)
{
	struct flow4 *flow = find(w, s, number, NULL);
	size_t place;

	CU_ASSERT_FATAL(flow != NULL);
	place = (size_t)(flow - &s->sets[0].way[0]);
	flow->head.generation = 0;
	flow->key[0] = 0;
	flow->head.seq += 2;
	((uint8_t *)s->tags)[place] = FLOW_TAG_FREE;
}

static void fill(struct world *w)
{
	struct seen s = see(w);
	struct pod_entry pod = {.ifindex = 64 * 3 + 5};
	struct flow_usage usage = {.entries = {FLOWS}};
	uint32_t place = 5, last = entries(w, MAP_FLOW_USAGE) - 1;

	CU_ASSERT(maps_put(w->maps, MAP_FLOW_USAGE, &place, &usage) == 0);
	CU_ASSERT(maps_put(w->maps, MAP_FLOW_USAGE, &last, &usage) == 0);
	for (uint16_t i = 1; i <= FLOWS; i++)
		put(w, &s, i);
	CU_ASSERT(maps_put(w->maps, MAP_PODS, &place, &pod) == 0);
	unsee(&s);
}

/* All flows, each with what it had. */
static void check_flows(struct world *w, uint16_t hop)
{
	struct seen s = see(w);
	struct flow_usage usage;
	size_t wrong = 0;
	uint32_t last = entries(w, MAP_FLOW_USAGE) - 1;

	for (uint16_t i = 1; i <= FLOWS; i++) {
		struct flow_rules *rules = NULL;
		const struct flow4 *flow = find(w, &s, i, &rules);

		wrong += !flow || flow->head.packets != i || flow->head.bytes != i * 100u ||
			 flow->head.hop != hop || flow->head.owner != hop ||
			 rules->egress_rule != i || rules->ingress_rule != i + 1u ||
			 flow->head.seq & 1 || flow->head.generation != 2 ||
			 flow->head.state != (FLOW_RULED | FLOW_REPLIED);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(maps_find(w->maps, MAP_FLOW_USAGE, &last, &usage) == 0 &&
		  usage.entries[0] == FLOWS && usage.entries[1] == 0);
	unsee(&s);
}

static void flows_go_to_larger_and_smaller_tables(void)
{
	struct world w;

	begin(&w);
	fill(&w);
	for (uint32_t size = LARGE; size >= SMALL; size /= 2) {
		w.config.flows_v4 = size;
		restart(&w);
		CU_ASSERT(maps_is_moving(w.maps));
		CU_ASSERT(entries(&w, MAP_FLOWS4) == size / FLOW_WAYS &&
			  entries(&w, MAP_FLOW_TAGS4) == size / FLOW_WAYS);
		CU_ASSERT(move_begin(&w) == 0);
		CU_ASSERT(maps_control(w.maps)->moving == (MOVING_HOLD | MOVING_NEXT));
		CU_ASSERT(move_end(&w) == 0);
		CU_ASSERT(!maps_is_moving(w.maps) && !next_is_there(&w));
		check_flows(&w, 5);
	}
	restart(&w);
	CU_ASSERT(!maps_is_moving(w.maps));
	check_flows(&w, 5);
	end(&w);
}

#define CANDIDATES 6000

/* As full as a table gets where entries may move; who found a place. */
static size_t crowd(struct world *w, bool stands[CANDIDATES])
{
	struct seen s = see(w);
	size_t count = 0;

	for (uint16_t i = 1; i < CANDIDATES; i++) {
		struct flow_tuple t = tuple_of(i);
		uint64_t hash = flow_hash(&t, FAMILY_V4, maps_control(w->maps));

		stands[i] = flow_tags_free(s.tags[flow_set_index(hash, 0, s.count)]) ||
			    flow_tags_free(s.tags[flow_set_index(hash, 1, s.count)]);
		if (stands[i])
			put(w, &s, i);
		count += stands[i];
	}
	unsee(&s);
	return count;
}

/* Of another size is the array of pods; the table of flows is made anew beside it. */
static void a_crowded_table_keeps_all_flows_in_one_of_its_own_size(void)
{
	static bool stands[CANDIDATES];
	struct pod_entry pod = {.ifindex = 64 * 3 + 5};
	uint32_t place = 5;
	struct world w;
	struct seen s;
	size_t lost = 0;

	begin(&w);
	CU_ASSERT(maps_put(w.maps, MAP_PODS, &place, &pod) == 0);
	CU_ASSERT(crowd(&w, stands) > SMALL * 9 / 10);
	w.config.max_pods = 128;
	restart(&w);
	CU_ASSERT(maps_is_moving(w.maps));
	CU_ASSERT(move_begin(&w) == 0);
	CU_ASSERT(move_end(&w) == 0);
	s = see(&w);
	for (uint16_t i = 1; i < CANDIDATES; i++)
		lost += stands[i] && !find(&w, &s, i, NULL);
	CU_ASSERT_EQUAL(lost, 0);
	unsee(&s);
	end(&w);
}

/* The old table while programs use it, opened beside the agent. */
static void what_old_programs_note_meanwhile_is_added(void)
{
	struct flow4 *flow, *again;
	struct seen old, new;
	struct world w;

	begin(&w);
	fill(&w);
	old = see(&w);
	w.config.flows_v4 = LARGE;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0);
	new = see(&w);
	/* One more packet by an old program, one by a new one; a FIN seen by the old one alone. */
	flow = find(&w, &old, 7, NULL);
	CU_ASSERT_FATAL(flow != NULL);
	flow->head.packets++;
	flow->head.last = 103;
	flow->head.state |= FLOW_FIN_ORIG;
	again = find(&w, &new, 7, NULL);
	CU_ASSERT_FATAL(again != NULL && again->head.packets == 0);
	again->head.packets++;
	again->head.last = 102;
	/* Written anew: what the old program saw was of the connection before. */
	find(&w, &new, 8, NULL)->head.seq += 2;
	find(&w, &old, 8, NULL)->head.state |= FLOW_RESET;
	CU_ASSERT(move_end(&w) == 0);
	CU_ASSERT_EQUAL(again->head.packets, 7 + 2);
	CU_ASSERT_EQUAL(again->head.last, 103);
	CU_ASSERT(again->head.state & FLOW_FIN_ORIG);
	CU_ASSERT(!(find(&w, &new, 8, NULL)->head.state & FLOW_RESET));
	CU_ASSERT_EQUAL(find(&w, &new, 8, NULL)->head.packets, 8);
	unsee(&old);
	unsee(&new);
	end(&w);
}

/* The copy is made twice: what changed between is in the second one. */
static void flows_that_change_while_they_are_copied_are_copied_as_they_are_then(void)
{
	struct flows_maps from, to;
	struct flows_move *move = NULL;
	struct world w, other;
	struct seen old, new;
	size_t left_out = 0;

	begin(&w);
	fill(&w);
	begin(&other);
	old = see(&w);
	new = see(&other);
	from = flows_maps_of(w.maps);
	to = flows_maps_of(other.maps);
	to.control = from.control;
	CU_ASSERT_FATAL(flows_move_open(&from, &to, NULL, 0, 0, &move) == 0);
	find(&w, &old, 3, NULL)->head.seq++; /* a writer is at it */
	CU_ASSERT(flows_move_copy(move, &left_out) == 0);
	CU_ASSERT(find(&w, &new, 1, NULL) && !find(&w, &new, 3, NULL));
	find(&w, &old, 3, NULL)->head.seq++;
	take_away(&w, &old, 1);
	put(&w, &old, 1000);
	find(&w, &old, 2, NULL)->head.hop = 9;
	find(&w, &old, 2, NULL)->head.seq += 2;
	CU_ASSERT(flows_move_copy(move, &left_out) == 0 && left_out == 0);
	CU_ASSERT(!find(&w, &new, 1, NULL) && find(&w, &new, 3, NULL) &&
		  find(&w, &new, 1000, NULL));
	CU_ASSERT_FATAL(find(&w, &new, 2, NULL) != NULL);
	CU_ASSERT_EQUAL(find(&w, &new, 2, NULL)->head.hop, 9);
	flows_move_close(move);
	unsee(&old);
	unsee(&new);
	end(&other);
	end(&w);
}

static void flows_follow_their_pod_to_its_new_place(void)
{
	struct pod_entry pod = {};
	uint32_t place = 64 + 64 + 64 + 5;
	struct world w;

	begin(&w);
	fill(&w);
	w.config.max_pods = 256;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
	CU_ASSERT_EQUAL(entries(&w, MAP_RULESETS), RULESET_FIRST + 4 * 256);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &place, &pod) == 0 && pod.ifindex == place);
	check_flows(&w, (uint16_t)place);
	end(&w);
}

/* ---------------------------------------------------------------- an agent that ends in between */

static void agent_that_ends_before_the_switch_leaves_all_as_it_was(void)
{
	struct world w;

	begin(&w);
	fill(&w);
	w.config.flows_v4 = LARGE;
	restart(&w);
	CU_ASSERT(next_is_there(&w));
	/* As if it had been killed while it copied. */
	maps_control(w.maps)->moving = MOVING_HOLD | MOVING_NEXT;
	maps_close(w.maps);
	w.config.flows_v4 = SMALL;
	open_maps(&w);
	maps_control(w.maps)->moving = MOVING_HOLD;
	restart(&w);
	CU_ASSERT(!maps_is_moving(w.maps) && !next_is_there(&w) &&
		  maps_control(w.maps)->moving == 0);
	CU_ASSERT_EQUAL(entries(&w, MAP_FLOWS4), SMALL / FLOW_WAYS);
	check_flows(&w, 5);
	end(&w);
}

static void agent_that_ends_behind_the_switch_is_followed_by_one_that_goes_on(void)
{
	static const uint32_t moving[] = {MOVING_HOLD | MOVING_NEXT, MOVING_NEXT};

	for (size_t i = 0; i < 2; i++) {
		struct world w;

		begin(&w);
		fill(&w);
		w.config.flows_v4 = LARGE;
		restart(&w);
		CU_ASSERT(move_begin(&w) == 0);
		maps_control(w.maps)->moving = moving[i];
		w.config.flows_v4 =
			2 * LARGE; /* told another size meanwhile: the first change is finished */
		restart(&w);
		CU_ASSERT(maps_is_moving(w.maps));
		CU_ASSERT_EQUAL(entries(&w, MAP_FLOWS4), LARGE / FLOW_WAYS);
		CU_ASSERT_EQUAL(maps_get(w.maps, MAP_FLOWS4)->wanted, 2 * LARGE / FLOW_WAYS);
		CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
		CU_ASSERT(!next_is_there(&w));
		check_flows(&w, 5);
		restart(&w);
		CU_ASSERT_EQUAL(entries(&w, MAP_FLOWS4), 2 * LARGE / FLOW_WAYS);
		CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
		check_flows(&w, 5);
		end(&w);
	}
}

static void agent_that_ends_while_pins_change_places_is_followed_by_one_that_goes_on(void)
{
	char from[128], to[128];
	struct world w;

	begin(&w);
	fill(&w);
	w.config.flows_v4 = LARGE;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0);
	/* As maps_move_end() does, but for the last pins. */
	maps_control(w.maps)->moving = MOVING_NEXT;
	maps_close(w.maps);
	open_maps(&w);
	CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
	check_flows(&w, 5);
	w.config.flows_v4 = 2 * LARGE;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0);
	snprintf(from, sizeof(from), "%s/flow_tags4", w.directory);
	CU_ASSERT(access(from, F_OK) == 0);
	snprintf(from, sizeof(from), "%s/next/flow_tags4", w.directory);
	snprintf(to, sizeof(to), "%s/flow_tags4", w.directory);
	CU_ASSERT(rename(from, to) == 0);
	maps_control(w.maps)->moving = MOVING_NEXT;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
	CU_ASSERT(!next_is_there(&w));
	check_flows(&w, 5);
	end(&w);
}

/* Programs are on the map in `next`: with the old one the agent would write where nobody reads. */
static void a_map_in_next_that_cannot_be_opened_ends_the_start(void)
{
	char path[128], away[140];
	struct world w;

	begin(&w);
	fill(&w);
	w.config.flows_v4 = LARGE;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0);
	maps_control(w.maps)->moving = MOVING_NEXT;
	maps_close(w.maps);
	w.maps = NULL;
	snprintf(path, sizeof(path), "%s/next/flow_tags4", w.directory);
	snprintf(away, sizeof(away), "%s_away", path);
	CU_ASSERT_FATAL(rename(path, away) == 0 && mkdir(path, 0700) == 0);
	CU_ASSERT(maps_open(config_map_sizes(&w.config), w.directory, &w.maps, w.message,
			    sizeof(w.message)) < 0);
	CU_ASSERT(strstr(w.message, "flow_tags4") && strstr(w.message, "cannot be opened"));
	CU_ASSERT_FATAL(rmdir(path) == 0 && rename(away, path) == 0);
	open_maps(&w);
	CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
	check_flows(&w, 5);
	end(&w);
}

/* ---------------------------------------------------------------- the other maps */

static void put_addresses(struct world *w, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct address_key key = {
			.prefixlen = 128,
			.addr.words_be = {0, 0, htonl(0xffff), htonl(0x0a000000 + i)}};
		struct address_entry entry = {.identity = {i, i}, .flags = ADDRESS_POD};

		CU_ASSERT(maps_put(w->maps, MAP_ADDRESSES, &key, &entry) == 0);
	}
}

static void tables_of_the_agent_keep_their_content(void)
{
	struct service_key service = {.port_be = htons(80)};
	struct service_entry named = {.id = 9,
				      .backend_first = 20,
				      .backend_count = 3,
				      .local_table_first = 1,
				      .local_table_size = 13},
			     found = {};
	struct backend backend = {.port_be = htons(8080)};
	struct service_cells cells = {.places = {1, 2}};
	struct service_source_key source = {.prefixlen = 32 + 96, .service_id = 9};
	struct service_affinity_key client = {.service_id = 9};
	struct service_affinity endpoint = {.used = 77}, kept = {};
	uint32_t one = 1;
	struct ruleset_entry set = {.number = 77, .cell_first = 30, .cell_count = 4};
	struct ruleset_cell cell = {.rule = {5, 6}};
	size_t count = 0;
	void *keys, *values;
	struct world w;

	begin(&w);
	put_addresses(&w, 60);
	CU_ASSERT(maps_put(w.maps, MAP_SERVICES, &service, &named) == 0);
	CU_ASSERT(maps_element_put(w.maps, MAP_BACKENDS, 22, &backend) == 0);
	CU_ASSERT(maps_element_put(w.maps, MAP_SERVICE_TABLES, 1, &cells) == 0);
	CU_ASSERT(maps_put(w.maps, MAP_SERVICE_SOURCES, &source, &one) == 0);
	CU_ASSERT(maps_put(w.maps, MAP_SERVICE_AFFINITY, &client, &endpoint) == 0);
	CU_ASSERT(maps_element_put(w.maps, MAP_RULESETS, 40, &set) == 0);
	CU_ASSERT(maps_element_put(w.maps, MAP_RULESET_TABLES, 33, &cell) == 0);
	for (uint32_t size = 128; size >= 64; size /= 2) {
		w.config.max_addresses = w.config.max_services = w.config.max_backends =
			w.config.max_policy_entries = size;
		w.config.max_pods = w.config.max_service_cells = w.config.max_service_sources =
			w.config.max_service_clients = size;
		restart(&w);
		CU_ASSERT(maps_is_moving(w.maps) && move_begin(&w) == 0 && move_end(&w) == 0);
		CU_ASSERT(entries(&w, MAP_ADDRESSES) == size && entries(&w, MAP_BACKENDS) == size &&
			  entries(&w, MAP_RULESET_TABLES) == size);
		CU_ASSERT(maps_dump(w.maps, MAP_ADDRESSES, &keys, &values, &count) == 0 &&
			  count == 60);
		free(keys);
		free(values);
		CU_ASSERT(maps_find(w.maps, MAP_SERVICES, &service, &found) == 0 &&
			  found.backend_first == 20);
		CU_ASSERT(memcmp(maps_element(w.maps, MAP_BACKENDS, 22), &backend,
				 sizeof(backend)) == 0);
		CU_ASSERT(entries(&w, MAP_SERVICE_TABLES) == size / SERVICE_CELLS &&
			  entries(&w, MAP_SERVICE_SOURCES) == size &&
			  entries(&w, MAP_SERVICE_AFFINITY) == size);
		CU_ASSERT(memcmp(maps_element(w.maps, MAP_SERVICE_TABLES, 1), &cells,
				 sizeof(cells)) == 0);
		CU_ASSERT(maps_find(w.maps, MAP_SERVICE_SOURCES, &source, &one) == 0 && one == 1);
		CU_ASSERT(maps_find(w.maps, MAP_SERVICE_AFFINITY, &client, &kept) == 0 &&
			  kept.used == 77);
		CU_ASSERT(memcmp(maps_element(w.maps, MAP_RULESETS, 40), &set, sizeof(set)) == 0);
		CU_ASSERT(memcmp(maps_element(w.maps, MAP_RULESET_TABLES, 33), &cell,
				 sizeof(cell)) == 0);
	}
	end(&w);
}

static void map_that_is_too_full_keeps_its_size_and_says_how_much_it_needs(void)
{
	struct pod_entry pods[2] = {{.ifindex = 65536 + 1}, {.ifindex = 65536 + 65}};
	struct service_entry named = {.backend_first = 90,
				      .backend_count = 10,
				      .table_first = 2,
				      .table_size = 2 * SERVICE_CELLS - 1};
	struct service_key service = {};
	uint32_t place[2] = {1, 65};
	struct world w;

	begin(&w);
	w.config.max_addresses = w.config.max_backends = w.config.max_pods =
		w.config.max_service_cells = 128;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0 && move_end(&w) == 0);
	put_addresses(&w, 100);
	CU_ASSERT(maps_put(w.maps, MAP_SERVICES, &service, &named) == 0);
	CU_ASSERT(maps_put(w.maps, MAP_PODS, &place[0], &pods[0]) == 0 &&
		  maps_put(w.maps, MAP_PODS, &place[1], &pods[1]) == 0);
	w.config.max_addresses = w.config.max_backends = w.config.max_pods =
		w.config.max_service_cells = 64;
	restart(&w);
	CU_ASSERT(entries(&w, MAP_ADDRESSES) == 128 && entries(&w, MAP_PODS) == 128 &&
		  entries(&w, MAP_BACKENDS) == 128);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_ADDRESSES)->wanted, 64);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_ADDRESSES)->needed, 100);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_PODS)->needed, 128);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_BACKENDS)->needed, 100);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_SERVICE_TABLES)->max_entries, 4);
	CU_ASSERT_EQUAL(
		maps_entries(MAP_SERVICE_TABLES, maps_get(w.maps, MAP_SERVICE_TABLES)->needed),
		128);
	end(&w);
}

static void counts_of_rules_are_added_to_those_that_came_meanwhile(void)
{
	int cpus = libbpf_num_possible_cpus();
	struct rule_counter *values = calloc((size_t)cpus, sizeof(*values));
	uint32_t rule = 5;
	struct world w;
	int old;

	CU_ASSERT_FATAL(values != NULL);
	begin(&w);
	values[0] = (struct rule_counter){10, 1000};
	CU_ASSERT(bpf_map_update_elem(maps_fd(w.maps, MAP_RULE_COUNTERS), &rule, values, BPF_ANY) ==
		  0);
	old = fcntl(maps_fd(w.maps, MAP_RULE_COUNTERS), F_DUPFD_CLOEXEC, 0);
	w.config.max_rule_counters = 200;
	restart(&w);
	CU_ASSERT(move_begin(&w) == 0);
	values[0] = (struct rule_counter){11, 1100}; /* an old program's packet */
	CU_ASSERT(bpf_map_update_elem(old, &rule, values, BPF_ANY) == 0);
	values[0] = (struct rule_counter){2, 200}; /* and two of a new one */
	CU_ASSERT(bpf_map_update_elem(maps_fd(w.maps, MAP_RULE_COUNTERS), &rule, values, BPF_ANY) ==
		  0);
	CU_ASSERT(move_end(&w) == 0);
	CU_ASSERT(bpf_map_lookup_elem(maps_fd(w.maps, MAP_RULE_COUNTERS), &rule, values) == 0);
	CU_ASSERT(values[0].packets == 13 && values[0].bytes == 1300);
	close(old);
	free(values);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(flows_go_to_larger_and_smaller_tables),
	UNIT_TEST(a_crowded_table_keeps_all_flows_in_one_of_its_own_size),
	UNIT_TEST(what_old_programs_note_meanwhile_is_added),
	UNIT_TEST(flows_that_change_while_they_are_copied_are_copied_as_they_are_then),
	UNIT_TEST(flows_follow_their_pod_to_its_new_place),
	UNIT_TEST(agent_that_ends_before_the_switch_leaves_all_as_it_was),
	UNIT_TEST(agent_that_ends_behind_the_switch_is_followed_by_one_that_goes_on),
	UNIT_TEST(agent_that_ends_while_pins_change_places_is_followed_by_one_that_goes_on),
	UNIT_TEST(a_map_in_next_that_cannot_be_opened_ends_the_start),
	UNIT_TEST(tables_of_the_agent_keep_their_content),
	UNIT_TEST(map_that_is_too_full_keeps_its_size_and_says_how_much_it_needs),
	UNIT_TEST(counts_of_rules_are_added_to_those_that_came_meanwhile),
};

int main(void)
{
	if (geteuid() != 0) {
		fprintf(stderr, "skipped: a bpffs needs root\n");
		return 77;
	}
	return UNIT_RUN("maps move", tests);
}
