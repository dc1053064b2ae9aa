/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps of other sizes, under traffic. The new ones are made beside the old ones and pinned in
 * `next`; what stands in the old ones is copied; programs are replaced by such on the new ones,
 * link by link; what the old programs have noted meanwhile is added; the new pins take the place of
 * the old ones. As long as programs are on both, none writes a flow's entry (control.moving), so
 * both flow tables hold the same flows. See docs/architecture.md.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/maps_internal.h"

#define NEXT "next"

/* They stand or fall together: places in one of them are places in the others. */
static const enum map_index flow_maps[] = {
	MAP_FLOWS4,	 MAP_FLOWS6,	  MAP_FLOW_TAGS4, MAP_FLOW_TAGS6,
	MAP_FLOW_RULES4, MAP_FLOW_RULES6, MAP_FLOW_USAGE,
};
#define FLOW_MAPS (sizeof(flow_maps) / sizeof(flow_maps[0]))

static bool is_moved(const struct maps *maps, enum map_index index)
{
	return maps->old[index].fd >= 0;
}

bool maps_is_moving(const struct maps *maps)
{
	for (int i = 0; i < MAP_COUNT; i++)
		if (is_moved(maps, i))
			return true;
	return maps->control->moving;
}

/* ---------------------------------------------------------------- what fits */

/* Elements of a hash or trie. */
static uint32_t count_keys(const struct map_info *info)
{
	char key[64];
	uint32_t count = 0;
	bool more = bpf_map_get_next_key(info->fd, NULL, key) == 0;

	while (more && count <= info->max_entries) {
		count++;
		more = bpf_map_get_next_key(info->fd, key, key) == 0;
	}
	return count;
}

static uint32_t later(uint32_t end, uint32_t first, uint32_t count)
{
	return first + count > end ? first + count : end;
}

static uint32_t table_elements(uint32_t cells)
{
	return (cells + SERVICE_CELLS - 1) / SERVICE_CELLS;
}

/* Endpoints, and tables, lie in the ranges that Services name: the end of the last one. */
static uint32_t services_end(const struct maps *maps, bool tables)
{
	const struct map_info *info = &maps->info[MAP_SERVICES];
	struct service_entry e;
	struct service_key key;
	uint32_t end = 0;
	bool more = bpf_map_get_next_key(info->fd, NULL, &key) == 0;

	for (; more; more = bpf_map_get_next_key(info->fd, &key, &key) == 0) {
		if (bpf_map_lookup_elem(info->fd, &key, &e) < 0)
			continue;
		if (tables) {
			end = later(end, e.table_first, table_elements(e.table_size));
			end = later(end, e.local_table_first, table_elements(e.local_table_size));
		} else {
			end = later(end, e.backend_first, e.backend_count);
			end = later(end, e.local_first, e.local_count);
		}
	}
	return end;
}

/* The element behind the last used one of `rulesets`, or of the tables that they name. */
static uint32_t rulesets_end(const struct maps *maps, bool tables)
{
	const struct map_info *info = &maps->info[MAP_RULESETS];
	CLEANUP(cleanup_free) struct ruleset_entry *entries = NULL;
	uint32_t end = 0, one;

	if (maps_read_values(info, (void **)&entries) < 0)
		return UINT32_MAX;
	for (uint32_t i = 0; i < info->max_entries; i++) {
		if (!entries[i].number)
			continue;
		one = tables ? entries[i].cell_first + entries[i].cell_count : i + 1;
		end = one > end ? one : end;
	}
	return end;
}

static uint64_t flows_used(const struct maps *maps, enum map_index index)
{
	const struct map_info *info = &maps->info[index];
	uint64_t used = 0;

	if (flows_move_count(info->fd, index == MAP_FLOWS4 ? FAMILY_V4 : FAMILY_V6,
			     info->max_entries, &used) < 0)
		return UINT32_MAX;
	/* A table that is more than half full may have no place for one of them. */
	return (2 * used + FLOW_WAYS - 1) / FLOW_WAYS;
}

/* The smallest number of places, a power of two, by which no two pods meet. */
static uint32_t pods_needed(const struct maps *maps)
{
	const struct map_info *info = &maps->info[MAP_PODS];
	CLEANUP(cleanup_free) struct pod_entry *pods = NULL;
	CLEANUP(cleanup_free) bool *used = calloc(info->max_entries, sizeof(*used));
	uint32_t size = info->max_entries, i;

	if (!used || maps_read_values(info, (void **)&pods) < 0)
		return size;
	for (; size > POLDER_MIN_PODS; size /= 2) {
		memset(used, 0, info->max_entries * sizeof(*used));
		for (i = 0; i < info->max_entries; i++) {
			bool *place = &used[pods[i].ifindex & (size / 2 - 1)];

			if (pods[i].ifindex && *place)
				return size;
			*place |= pods[i].ifindex != 0;
		}
	}
	return size;
}

/* How many elements a map must have for what is in it. */
static uint64_t needed(const struct maps *maps, enum map_index index)
{
	switch (index) {
	case MAP_FLOWS4:
	case MAP_FLOWS6:
		return flows_used(maps, index);
	case MAP_PODS:
		return pods_needed(maps);
	case MAP_RULESETS:
	case MAP_RULESET_TABLES:
		return rulesets_end(maps, index == MAP_RULESET_TABLES);
	case MAP_BACKENDS:
	case MAP_SERVICE_TABLES:
		return services_end(maps, index == MAP_SERVICE_TABLES);
	case MAP_FRAGMENTS:
	case MAP_SERVICE_AFFINITY:
	case MAP_SOCKET_ORIGINS:
		return 0; /* the oldest give way */
	default:
		return count_keys(&maps->info[index]);
	}
}

/* The others follow from these, or never change. */
bool maps_has_own_size(enum map_index index)
{
	switch (index) {
	case MAP_FLOWS4:
	case MAP_FLOWS6:
	case MAP_PODS:
	case MAP_ADDRESSES:
	case MAP_RULESETS:
	case MAP_RULESET_PEERS:
	case MAP_RULESET_PREFIXES:
	case MAP_RULESET_PORTS:
	case MAP_RULESET_CELLS:
	case MAP_RULESET_TABLES:
	case MAP_RULE_COUNTERS:
	case MAP_SERVICES:
	case MAP_BACKENDS:
	case MAP_BACKEND_STATES:
	case MAP_SERVICE_TABLES:
	case MAP_SERVICE_SOURCES:
	case MAP_SERVICE_AFFINITY:
	case MAP_SOCKET_PEERS:
	case MAP_SOCKET_ORIGINS:
	case MAP_FRAGMENTS:
		return true;
	default:
		return false;
	}
}

static void plan(struct maps *maps, const struct map_shape shapes[MAP_COUNT],
		 uint32_t sizes[MAP_COUNT])
{
	for (int i = 0; i < MAP_COUNT; i++) {
		struct map_info *info = &maps->info[i];

		sizes[i] = info->max_entries;
		if (!maps_has_own_size(i) || shapes[i].max_entries == info->max_entries)
			continue;
		info->needed = shapes[i].max_entries < info->max_entries ? needed(maps, i) : 0;
		if (info->needed <= shapes[i].max_entries)
			sizes[i] = shapes[i].max_entries;
		else
			info->wanted = shapes[i].max_entries;
	}
	sizes[MAP_FLOW_TAGS4] = sizes[MAP_FLOW_RULES4] = sizes[MAP_FLOWS4];
	sizes[MAP_FLOW_TAGS6] = sizes[MAP_FLOW_RULES6] = sizes[MAP_FLOWS6];
	sizes[MAP_FLOW_USAGE] = sizes[MAP_PODS] + 1;
}

/* ---------------------------------------------------------------- new maps beside the old ones */

static void remove_next(const struct maps *maps)
{
	char path[320];

	for (int i = 0; i < MAP_COUNT; i++) {
		maps_path(maps, NEXT, maps->info[i].name, path, sizeof(path));
		unlink(path);
	}
	maps_path(maps, NEXT, NULL, path, sizeof(path));
	rmdir(path);
}

static int make_next(struct maps *maps, enum map_index index, const struct map_shape *shape,
		     uint32_t entries, char *message, size_t size)
{
	struct map_info next = {.fd = -1};
	struct map_shape other = *shape;
	char path[320];
	int r;

	other.max_entries = entries;
	maps_path(maps, NEXT, shape->name, path, sizeof(path));
	r = maps_make(&other, path, &next, message, size);
	if (r < 0)
		return r;
	next.wanted = maps->info[index].wanted;
	next.needed = maps->info[index].needed;
	maps->old[index] = maps->info[index];
	maps->info[index] = next;
	return 0;
}

static int begin(struct maps *maps, const struct map_shape shapes[MAP_COUNT], char *message,
		 size_t size)
{
	uint32_t sizes[MAP_COUNT];
	bool other[MAP_COUNT], flows, any = false;
	char path[320];
	int i, r = 0;

	plan(maps, shapes, sizes);
	for (i = 0; i < MAP_COUNT; i++)
		any |= other[i] = sizes[i] != maps->info[i].max_entries;
	flows = other[MAP_FLOWS4] || other[MAP_FLOWS6] || other[MAP_PODS];
	for (i = 0; i < (int)FLOW_MAPS; i++)
		other[flow_maps[i]] = flows;
	if (!any)
		return 0;
	if (program_wait_probe(&maps->wait) == PROGRAM_WAIT_METHODS) {
		snprintf(message, size,
			 "maps cannot be resized: this kernel has no way to wait for running "
			 "programs; use the previous sizes");
		return -EOPNOTSUPP;
	}
	maps_path(maps, NEXT, NULL, path, sizeof(path));
	if (mkdir(path, 0700) < 0) {
		r = -errno;
		snprintf(message, size, "%s: cannot be made: %s", path, strerror(-r));
	}
	for (i = 0; i < MAP_COUNT && r == 0; i++)
		if (other[i])
			r = make_next(maps, i, &shapes[i], sizes[i], message, size);
	return r;
}

/* Some programs are on the maps in `next` already: all shall be. */
static int resume(struct maps *maps, const struct map_shape shapes[MAP_COUNT], char *message,
		  size_t size)
{
	char path[320];
	int i, r;

	for (i = 0; i < MAP_COUNT; i++) {
		struct map_info next = maps->info[i];

		maps_path(maps, NEXT, next.name, path, sizeof(path));
		r = maps_get_pinned(&next, path, message, size);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0) {
			maps->old[i] = maps->info[i];
			maps->info[i] = next;
			r = maps_check(&shapes[i], path, &maps->info[i], message, size);
			if (r < 0)
				return r;
		}
		if (maps_has_own_size(i) && maps->info[i].max_entries != shapes[i].max_entries)
			maps->info[i].wanted = shapes[i].max_entries;
	}
	return 0;
}

int maps_move_open(struct maps *maps, const struct map_shape shapes[MAP_COUNT], char *message,
		   size_t size)
{
	if (!maps->directory[0])
		return 0;
	if (maps->control->moving & MOVING_NEXT)
		return resume(maps, shapes, message, size);
	/* An agent that ended before the first program was replaced leaves nothing but these. */
	remove_next(maps);
	__atomic_store_n(&maps->control->moving, 0, __ATOMIC_SEQ_CST);
	return begin(maps, shapes, message, size);
}

void maps_move_close(struct maps *maps)
{
	bool begun = maps->control && maps->control->moving & MOVING_NEXT;
	bool any = false;

	flows_move_close(maps->flows);
	maps->flows = NULL;
	free(maps->links);
	maps->links = NULL;
	for (int i = 0; i < MAP_COUNT; i++) {
		if (!is_moved(maps, i))
			continue;
		any = true;
		close(maps->old[i].fd);
		maps->old[i].fd = -1;
	}
	if (!any || begun)
		return;
	remove_next(maps);
	if (maps->control)
		__atomic_store_n(&maps->control->moving, 0, __ATOMIC_SEQ_CST);
}

/* ---------------------------------------------------------------- copying */

/* All elements of a hash or trie; zeros for their values with `empty`. */
static int copy_keys(const struct map_info *from, const struct map_info *to, bool empty,
		     uint64_t flags)
{
	CLEANUP(cleanup_free) char *value = calloc(1, maps_value_bytes(from));
	bool lru = strstr(from->type, "lru");
	uint64_t left = 4ull * from->max_entries; /* a key that goes meanwhile sends the walk back
						     to its beginning */
	char key[64], next[64];
	int r = value ? 0 : -ENOMEM;
	bool more = value && bpf_map_get_next_key(from->fd, NULL, next) == 0;

	while (more && left-- && r == 0) {
		memcpy(key, next, from->key_size);
		more = bpf_map_get_next_key(from->fd, key, next) == 0;
		if (!empty && bpf_map_lookup_elem(from->fd, key, value) < 0)
			continue;
		if (bpf_map_update_elem(to->fd, key, value, flags) < 0 && errno != EEXIST && !lru)
			r = -errno;
	}
	return r;
}

/* Elements keep their places; pods have others. */
static int copy_array(struct maps *maps, enum map_index index)
{
	const struct map_info *from = &maps->old[index], *to = &maps->info[index];
	CLEANUP(cleanup_free) char *values = NULL, *zero = calloc(1, from->value_size);
	uint32_t i, place;
	int r = zero ? maps_read_values(from, (void **)&values) : -ENOMEM;

	for (i = 0; i < from->max_entries && r == 0; i++) {
		const char *value = values + (size_t)i * from->value_size;

		place = index == MAP_PODS
				? ((const struct pod_entry *)value)->ifindex & (to->max_entries - 1)
				: i;
		if (memcmp(value, zero, from->value_size) == 0 || place >= to->max_entries)
			continue; /* beyond its end nothing is in use */
		r = bpf_map_update_elem(to->fd, &place, value, BPF_ANY) < 0 ? -errno : 0;
	}
	return r;
}

static bool is_flow_map(enum map_index index)
{
	for (size_t i = 0; i < FLOW_MAPS; i++)
		if (flow_maps[i] == index)
			return true;
	return false;
}

static int copy_map(struct maps *maps, enum map_index index)
{
	const struct map_info *from = &maps->old[index], *to = &maps->info[index];

	if (is_flow_map(index) || index == MAP_FRAGMENTS)
		return 0;
	if (strstr(from->type, "array"))
		return copy_array(maps, index);
	return copy_keys(from, to, index == MAP_RULE_COUNTERS, BPF_ANY);
}

static struct flows_maps tables_of(const struct maps *maps,
				   const struct map_info *const info[MAP_COUNT])
{
	return (struct flows_maps){
		.fd_v4 = info[MAP_FLOWS4]->fd,
		.fd_v6 = info[MAP_FLOWS6]->fd,
		.sets_v4 = info[MAP_FLOWS4]->max_entries,
		.sets_v6 = info[MAP_FLOWS6]->max_entries,
		.control = maps->control,
		.fd_rules_v4 = info[MAP_FLOW_RULES4]->fd,
		.fd_rules_v6 = info[MAP_FLOW_RULES6]->fd,
		.fd_tags_v4 = info[MAP_FLOW_TAGS4]->fd,
		.fd_tags_v6 = info[MAP_FLOW_TAGS6]->fd,
		.fd_usage = info[MAP_FLOW_USAGE]->fd,
		.usage_count = info[MAP_FLOW_USAGE]->max_entries,
	};
}

static int read_links(struct maps *maps)
{
	const struct map_info *info = &maps->old[MAP_PODS];
	CLEANUP(cleanup_free) struct pod_entry *pods = NULL;
	int r;

	if (!is_moved(maps, MAP_PODS))
		return 0;
	maps->links = calloc(info->max_entries, sizeof(*maps->links));
	r = maps->links ? maps_read_values(info, (void **)&pods) : -ENOMEM;
	for (uint32_t i = 0; i < info->max_entries && r == 0; i++)
		maps->links[i] = pods[i].ifindex;
	return r;
}

/* Some maps of the old tables may be gone, if an agent ended while it renamed. */
static int open_flows(struct maps *maps)
{
	const struct map_info *old[MAP_COUNT], *new[MAP_COUNT];
	struct flows_maps from, to;
	int r;

	if (!is_moved(maps, MAP_FLOWS4) && !is_moved(maps, MAP_FLOWS6))
		return 0;
	for (int i = 0; i < MAP_COUNT; i++) {
		old[i] = &maps->old[i];
		new[i] = &maps->info[i];
	}
	from = tables_of(maps, old);
	to = tables_of(maps, new);
	r = read_links(maps);
	return r < 0 ? r
		     : flows_move_open(&from, &to, maps->links, maps->old[MAP_PODS].max_entries,
				       maps->info[MAP_PODS].max_entries, &maps->flows);
}

static int copy_flows(struct maps *maps, size_t *ret_left_out)
{
	int r = flows_move_copy(maps->flows, ret_left_out);

	if (r < 0)
		return r;
	__atomic_store_n(&maps->control->moving, MOVING_HOLD, __ATOMIC_SEQ_CST);
	/* Who did not see it has written its entry by then. */
	r = maps_wait_for_programs(maps);
	return r < 0 ? r : flows_move_copy(maps->flows, ret_left_out);
}

int maps_move_begin(struct maps *maps, size_t *ret_left_out, char *message, size_t size)
{
	int i, r = open_flows(maps);
	char cause[CAUSE_MAX];

	*ret_left_out = 0;
	if (maps->control->moving & MOVING_NEXT)
		goto out;
	for (i = 0; i < MAP_COUNT && r == 0; i++) {
		if (!is_moved(maps, i))
			continue;
		r = copy_map(maps, i);
		if (r < 0)
			snprintf(message, size,
				 "map %s: cannot be copied to a map of %u entries: %s; the old map "
				 "stays",
				 maps->info[i].name, maps->info[i].max_entries, cause_of(r, cause));
	}
	if (r == 0 && maps->flows)
		r = copy_flows(maps, ret_left_out);
	if (r == 0)
		__atomic_store_n(&maps->control->moving, MOVING_HOLD | MOVING_NEXT,
				 __ATOMIC_SEQ_CST);
out:
	if (r < 0 && !message[0])
		snprintf(message, size, "flow tables cannot be copied: %s; the old ones stay",
			 strerror(-r));
	return r;
}

/* ---------------------------------------------------------------- the end */

/* What programs have counted for rules; zeroed where it was, so that it is added once. */
static void add_rule_counts(const struct map_info *from, const struct map_info *to)
{
	int cpus = libbpf_num_possible_cpus();
	CLEANUP(cleanup_free)
	struct rule_counter *old = calloc((size_t)cpus, sizeof(*old)),
			    *new = calloc((size_t)cpus, sizeof(*new)),
			    *zero = calloc((size_t)cpus, sizeof(*zero));
	uint32_t key;
	bool more = old && new &&zero &&bpf_map_get_next_key(from->fd, NULL, &key) == 0;

	for (; more; more = bpf_map_get_next_key(from->fd, &key, &key) == 0) {
		if (bpf_map_lookup_elem(from->fd, &key, old) < 0 ||
		    memcmp(old, zero, (size_t)cpus * sizeof(*old)) == 0 ||
		    bpf_map_lookup_elem(to->fd, &key, new) < 0)
			continue;
		for (int i = 0; i < cpus; i++) {
			new[i].packets += old[i].packets;
			new[i].bytes += old[i].bytes;
		}
		if (bpf_map_update_elem(to->fd, &key, new, BPF_EXIST) == 0)
			bpf_map_update_elem(from->fd, &key, zero, BPF_EXIST);
	}
}

/* What sockets asked for, and which endpoints clients got, while the programs were replaced. */
static void add_noted(struct maps *maps)
{
	static const enum map_index noted[] = {MAP_SOCKET_PEERS, MAP_SOCKET_ORIGINS,
					       MAP_SERVICE_AFFINITY};

	for (size_t i = 0; i < sizeof(noted) / sizeof(noted[0]); i++)
		if (is_moved(maps, noted[i]))
			copy_keys(&maps->old[noted[i]], &maps->info[noted[i]], false, BPF_NOEXIST);
}

/* The new pin in the old one's place, in one step. */
static int take_place(struct maps *maps, enum map_index index)
{
	char from[320], to[320];

	maps_path(maps, NEXT, maps->info[index].name, from, sizeof(from));
	maps_path(maps, NULL, maps->info[index].name, to, sizeof(to));
	return rename(from, to) < 0 ? -errno : 0;
}

int maps_move_end(struct maps *maps, char *message, size_t size)
{
	char path[320];
	int i, r = maps_wait_for_programs(maps);

	if (r < 0) {
		snprintf(message, size, "programs that use the old maps may still run: %s",
			 strerror(-r));
		return r;
	}
	__atomic_store_n(&maps->control->moving, MOVING_NEXT, __ATOMIC_SEQ_CST);
	if (maps->flows)
		flows_move_merge(maps->flows);
	if (is_moved(maps, MAP_RULE_COUNTERS))
		add_rule_counts(&maps->old[MAP_RULE_COUNTERS], &maps->info[MAP_RULE_COUNTERS]);
	add_noted(maps);
	for (i = 0; i < MAP_COUNT && r == 0; i++)
		if (is_moved(maps, i))
			r = take_place(maps, i);
	if (r < 0) {
		snprintf(message, size, "map %s: its pin cannot replace the old one: %s",
			 maps->info[i - 1].name, strerror(-r));
		return r;
	}
	maps_path(maps, NEXT, NULL, path, sizeof(path));
	rmdir(path);
	__atomic_store_n(&maps->control->moving, 0, __ATOMIC_SEQ_CST);
	maps_move_close(maps);
	return 0;
}

uint64_t maps_entries(enum map_index index, uint64_t elements)
{
	if (index == MAP_FLOWS4 || index == MAP_FLOWS6)
		return elements * FLOW_WAYS;
	if (index == MAP_SERVICE_TABLES)
		return elements * SERVICE_CELLS;
	return index == MAP_FRAGMENTS ? elements * FRAGMENT_WAYS : elements;
}

bool maps_was_moved(const struct maps *maps, enum map_index index, uint32_t *ret_before)
{
	if (!is_moved(maps, index))
		return false;
	*ret_before = maps->old[index].max_entries;
	return true;
}
