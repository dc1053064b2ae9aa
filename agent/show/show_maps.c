/* SPDX-License-Identifier: Apache-2.0 */
/* How full the maps are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/show/show_internal.h"

#define BATCH	 1024
#define COUNT_NS 10000000 /* counting a map that takes longer is given up */

/* The elements of a hash or trie, by batches. 0; -ETIME: too many for the time; -errno. */
static int count_elements(const struct map_info *map, uint64_t *ret)
{
	CLEANUP(cleanup_free) char *keys = malloc((size_t)BATCH * map->key_size);
	CLEANUP(cleanup_free) char *values = malloc(BATCH * maps_value_bytes(map));
	/* A place in a hash is a number, in a trie a key. */
	CLEANUP(cleanup_free) char *at = malloc(map->key_size + sizeof(uint64_t));
	uint64_t count = 0, deadline = clock_monotonic_ns() + COUNT_NS;
	bool first = true;
	int r = 0;

	if (!keys || !values || !at)
		return -ENOMEM;
	while (r == 0) {
		uint32_t got = BATCH;

		r = bpf_map_lookup_batch(map->fd, first ? NULL : at, at, keys, values, &got, NULL);
		first = false;
		if (r == 0 || r == -ENOENT)
			count += got;
		if (r == 0 && clock_monotonic_ns() > deadline)
			return -ETIME;
	}
	if (r != -ENOENT)
		return r;
	*ret = count;
	return 0;
}

/* Datagrams that are remembered just now. 0; -ETIME: too many for the time; -errno. */
static int count_fragments(const struct map_info *map, uint64_t *ret)
{
	CLEANUP(cleanup_free) struct fragment_set *sets = calloc(BATCH, sizeof(*sets));
	CLEANUP(cleanup_free) uint32_t *keys = calloc(BATCH, sizeof(*keys));
	uint64_t count = 0, deadline = clock_monotonic_ns() + COUNT_NS;
	uint32_t at = 0, got, now = flows_now();
	int r = sets && keys ? 0 : -ENOMEM;

	for (bool first = true; r == 0; first = false) {
		if (clock_monotonic_ns() > deadline)
			return -ETIME;
		got = BATCH;
		r = bpf_map_lookup_batch(map->fd, first ? NULL : &at, &at, keys, sets, &got, NULL) <
				    0
			    ? -errno
			    : 0;
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < got * FRAGMENT_WAYS; i++) {
			const struct fragment_entry *e =
				&sets[i / FRAGMENT_WAYS].way[i % FRAGMENT_WAYS];

			count += e->owner && flow_age(now, e->ticks) <= FRAGMENT_TIMEOUT;
		}
	}
	if (r != -ENOENT)
		return r;
	*ret = count;
	return 0;
}

/* What the kernel says the map takes. */
static uint64_t memory_of(int fd)
{
	unsigned long long bytes = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	fclose(file);
	return bytes;
}

static bool is_counted_by_elements(const struct map_info *map)
{
	return strstr(map->type, "hash") || strstr(map->type, "trie");
}

static void flow_map_lookup(const struct show_sources *sources, bool v4, struct show_map *ret)
{
	struct flows_stats stats;

	flows_stats(sources->flows, &stats);
	ret->counted = true;
	ret->entries = v4 ? stats.entries_v4 : stats.entries_v6;
	ret->max_entries = v4 ? stats.capacity_v4 : stats.capacity_v6;
	ret->value_bytes = v4 ? sizeof(struct flow4) : sizeof(struct flow6);
}

static bool count_agents_map(const struct show_sources *sources, enum map_index index, bool exactly,
			     uint64_t *ret)
{
	bool is_known = maps_kept_count(sources->maps, index, ret);

	if (is_known && !exactly)
		return true;
	return count_elements(maps_get(sources->maps, index), ret) == 0 || is_known;
}

void show_map_lookup(const struct show_sources *sources, enum map_index index, bool exactly,
		     struct show_map *ret)
{
	const struct map_info *map = maps_get(sources->maps, index);

	*ret = (struct show_map){
		.max_entries = map->max_entries,
		.value_bytes = map->value_size,
		.memory_bytes = memory_of(map->fd),
		.fills = true,
	};
	if (index == MAP_FLOWS4 || index == MAP_FLOWS6) {
		flow_map_lookup(sources, index == MAP_FLOWS4, ret);
	} else if (index == MAP_PODS) {
		ret->counted = true;
		ret->entries = pods_count(sources->pods);
	} else if (index == MAP_RULESETS || index == MAP_RULESET_TABLES) {
		ret->counted = true;
		ret->entries = index == MAP_RULESETS
				       ? policy_sync_rulesets_used(sources->policy_sync)
				       : policy_sync_cells_used(sources->policy_sync);
	} else if (index == MAP_BACKENDS) {
		ret->counted = true;
		ret->entries = services_backends_used(sources->services);
	} else if (index == MAP_SERVICE_TABLES) {
		ret->counted = true;
		ret->entries = services_cells_used(sources->services);
		ret->max_entries = maps_entries(index, map->max_entries);
		ret->value_bytes = sizeof(struct service_cells) / SERVICE_CELLS;
	} else if (is_counted_by_elements(map)) {
		/* One that forgets what is used least is full sooner or later, and that is right.
		 */
		ret->fills = !strstr(map->type, "lru");
		ret->counted = count_agents_map(sources, index, exactly, &ret->entries);
	} else if (index == MAP_FRAGMENTS) {
		ret->counted = count_fragments(map, &ret->entries) == 0;
		ret->max_entries = (uint64_t)map->max_entries * FRAGMENT_WAYS;
		ret->value_bytes = sizeof(struct fragment_entry);
	} else if (strstr(map->type, "array")) {
		ret->fills = false;
		ret->counted = true; /* all of them, always */
		ret->entries = map->max_entries;
	}
}

static json_t *map_document(const struct show_sources *sources, enum map_index index)
{
	const struct map_info *map = maps_get(sources->maps, index);
	struct show_map found;

	show_map_lookup(sources, index, true, &found);
	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:o}", "name", map->name, "type",
			 map->type, "entries",
			 found.counted ? show_u64(found.entries) : json_null(), "max_entries",
			 show_u64(found.max_entries), "key_bytes", (json_int_t)map->key_size,
			 "value_bytes", (json_int_t)found.value_bytes, "memory_bytes",
			 found.memory_bytes ? show_u64(found.memory_bytes) : json_null());
}

void show_maps(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	json_t *list = json_array();

	for (int index = 0; index < MAP_COUNT; index++)
		json_array_append_new(list, map_document(data, index));
	show_reply(request, list);
}
