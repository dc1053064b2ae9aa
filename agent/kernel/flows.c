/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over the flow tables, in slices. */
#include "agent/common/clock.h"
#include "agent/kernel/address_filter.h"
#include "agent/kernel/flows_internal.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/common/address.h"

#define PAGE_BYTES	 4096
#define SETS_BEFORE_LOOK 2 /* at the clock: a set of flows that are all over takes 0.1 ms */
/* A writer needs nanoseconds; one that is not seen to move for so long is dead. */
#define STUCK_NS   1000000000ull
#define BUSY_TRIES 1000

/* One direction of a flow, and where it stands. */
struct side {
	void *entry;
	struct flow_head *head;
	struct flow_snapshot flow;
	uint32_t set;
};

uint32_t flows_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)(((uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec) >>
			  FLOW_TICK_SHIFT);
}

struct flows_maps flows_maps_of(struct maps *maps)
{
	return (struct flows_maps){
		.fd_v4 = maps_fd(maps, MAP_FLOWS4),
		.fd_v6 = maps_fd(maps, MAP_FLOWS6),
		.sets_v4 = maps_get(maps, MAP_FLOWS4)->max_entries,
		.sets_v6 = maps_get(maps, MAP_FLOWS6)->max_entries,
		.control = maps_control(maps),
		.fd_rules_v4 = maps_fd(maps, MAP_FLOW_RULES4),
		.fd_rules_v6 = maps_fd(maps, MAP_FLOW_RULES6),
		.fd_tags_v4 = maps_fd(maps, MAP_FLOW_TAGS4),
		.fd_tags_v6 = maps_fd(maps, MAP_FLOW_TAGS6),
		.fd_usage = maps_fd(maps, MAP_FLOW_USAGE),
		.usage_count = maps_get(maps, MAP_FLOW_USAGE)->max_entries,
	};
}

void flows_on_over(struct flows *flows, flows_over over, void *data)
{
	flows->over = over;
	flows->over_data = data;
}

uint32_t flows_share(uint64_t capacity, size_t pods)
{
	return pods > 1 ? (uint32_t)(capacity / pods) : 0;
}

/* An array that is small enough to stay mapped. NULL: there is none, or it cannot be mapped. */
static void *map_whole(int fd, size_t bytes)
{
	void *base =
		fd > 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	return base == MAP_FAILED ? NULL : base;
}

static void unmap_whole(void *base, size_t bytes)
{
	if (base)
		munmap(base, bytes);
}

/* Tags and usage. False: one that is there cannot be mapped. */
static bool map_others(struct flows *flows, const struct flows_maps *maps)
{
	const int tags[2] = {maps->fd_tags_v4, maps->fd_tags_v6};

	flows->usage_count = maps->usage_count;
	flows->usage = map_whole(maps->fd_usage, maps->usage_count * sizeof(struct flow_usage));
	for (size_t i = 0; i < 2; i++) {
		flows->tables[i].tags =
			map_whole(tags[i], (size_t)flows->tables[i].sets * FLOW_WAYS);
		flows->tables[i].usage = flows->usage;
		flows->tables[i].usage_count = flows->usage_count;
		if (tags[i] > 0 && !flows->tables[i].tags)
			return false;
	}
	return flows->usage || maps->fd_usage <= 0;
}

struct flows *flows_new(const struct flows_maps *maps)
{
	struct flows *flows = calloc(1, sizeof(*flows));

	if (!flows)
		return NULL;
	assert(maps->sets_v4 && !(maps->sets_v4 & (maps->sets_v4 - 1)));
	assert(maps->sets_v6 && !(maps->sets_v6 & (maps->sets_v6 - 1)));
	flows->tables[0] =
		(struct flow_table){.fd = maps->fd_v4, .family = FAMILY_V4, .sets = maps->sets_v4};
	flows->tables[1] =
		(struct flow_table){.fd = maps->fd_v6, .family = FAMILY_V6, .sets = maps->sets_v6};
	flows->control = maps->control;
	flows->clock_ns = maps->clock_ns ? maps->clock_ns : clock_monotonic_ns;
	flows->rules_fd[0] = maps->fd_rules_v4;
	flows->rules_fd[1] = maps->fd_rules_v6;
	flows->stats.capacity_v4 = (uint64_t)maps->sets_v4 * FLOW_WAYS;
	flows->stats.capacity_v6 = (uint64_t)maps->sets_v6 * FLOW_WAYS;
	if (!map_others(flows, maps)) {
		flows_free(flows);
		return NULL;
	}
	return flows;
}

void flows_free(struct flows *flows)
{
	if (!flows)
		return;
	assert(flows->handles == 0);
	flow_window_close(&flows->window);
	flow_window_close(&flows->reply_window);
	for (size_t i = 0; i < 2; i++)
		unmap_whole(flows->tables[i].tags, (size_t)flows->tables[i].sets * FLOW_WAYS);
	unmap_whole(flows->usage, flows->usage_count * sizeof(struct flow_usage));
	free(flows->scan.counted);
	free(flows);
}

void flows_stats(const struct flows *flows, struct flows_stats *ret)
{
	*ret = flows->stats;
}

/* ---------------------------------------------------------------- dead writers */

static void stuck_add(struct flows *flows, uint32_t way, uint32_t seq)
{
	if (flows->stuck_count == STUCK_MAX)
		return; /* a later scan sees the others again */
	flows->stuck[flows->stuck_count++] = (struct stuck){
		.table = flows->scan.table,
		.set = flows->scan.set,
		.way = way,
		.seq = seq,
		.since = flows->clock_ns(),
		.scan = flows->stats.scans,
	};
}

/* An odd entry: remembered; repaired when it has not moved since a scan at least STUCK_NS ago. */
static void collect_odd(struct flows *flows, const struct flow_table *table, void *entry,
			uint32_t way, uint32_t seq)
{
	struct stuck *stuck = flows->stuck, *end = stuck + flows->stuck_count;

	while (stuck < end && (stuck->table != flows->scan.table || stuck->set != flows->scan.set ||
			       stuck->way != way))
		stuck++;
	if (stuck == end) {
		stuck_add(flows, way, seq);
		return;
	}
	stuck->scan = flows->stats.scans;
	if (stuck->seq != seq) {
		stuck->seq = seq;
		stuck->since = flows->clock_ns();
	} else if (flows->clock_ns() - stuck->since >= STUCK_NS &&
		   flow_entry_repair(table, entry, flows->scan.set * FLOW_WAYS + way, seq)) {
		flows->stats.repaired++;
		*stuck = flows->stuck[--flows->stuck_count];
	}
}

/* Those that this pass did not see odd are well. */
static void stuck_forget(struct flows *flows)
{
	for (size_t i = flows->stuck_count; i-- > 0;)
		if (flows->stuck[i].scan != flows->stats.scans)
			flows->stuck[i] = flows->stuck[--flows->stuck_count];
}

/* ---------------------------------------------------------------- flows that are over */

static void *set_for_reply(struct flows *flows, const struct flow_table *table, uint32_t set)
{
	if (set >= flows->window.first && set - flows->window.first < flows->window.count)
		return flow_window_set(table, &flows->window, set, FLOW_WINDOW_BYTES);
	return flow_window_set(table, &flows->reply_window, set, PAGE_BYTES);
}

/* The entry of a tuple. 0, -ENOENT, -EBUSY (a writer is at a set it may stand in: not to be told
 * now), -ENOMEM. */
static int find_tuple(struct flows *flows, const struct flow_table *table,
		      const struct flow_tuple *tuple, struct side *ret)
{
	uint64_t hash = flow_hash(tuple, table->family, flows->control);
	int result = -ENOENT;

	for (uint8_t which = 0; which < 2; which++) {
		uint32_t set = flow_set_index(hash, which, table->sets);
		void *base = set_for_reply(flows, table, set);

		if (!base)
			return -ENOMEM;
		for (uint32_t way = 0; way < FLOW_WAYS; way++) {
			void *entry = flow_entry(table, base, way);
			struct flow_snapshot flow;
			int r = flow_snapshot(table, entry, &flow);

			if (r == -EBUSY)
				result = -EBUSY;
			if (r < 0 || !flow_tuple_equal(table, &flow.tuple, tuple))
				continue;
			*ret = (struct side){entry, flow_entry_head(table, entry), flow, set};
			return 0;
		}
	}
	return result;
}

/*
 * The other direction, if it is this flow's own. 0; -ENOENT: there is none, or it belongs to a
 * newer flow; others as find_tuple().
 */
static int find_other_side(struct flows *flows, const struct flow_table *table,
			   const struct side *side, struct side *ret)
{
	struct flow_tuple reply = {0}, back = {0};
	struct side other;
	int r;

	flow_reply_tuple(&side->flow.tuple, &side->flow.content, table->family, &reply);
	if (flow_tuple_equal(table, &reply, &side->flow.tuple))
		return -ENOENT;
	r = find_tuple(flows, table, &reply, &other);
	if (r < 0)
		return r;
	flow_reply_tuple(&other.flow.tuple, &other.flow.content, table->family, &back);
	if (!flow_tuple_equal(table, &back, &side->flow.tuple))
		return -ENOENT;
	*ret = other;
	return 0;
}

/* Read in place: `last` and `state` change while nobody holds the entry. */
static bool is_idle(const struct flow_head *head, uint32_t now, uint32_t timeout)
{
	return flow_age(now, __atomic_load_n(&head->last, __ATOMIC_RELAXED)) > timeout;
}

static uint32_t way_of(const struct flow_table *table, const void *entry)
{
	size_t set_bytes = FLOW_WAYS * FLOW_SIZE(table->family);

	return (uint32_t)((uintptr_t)entry % set_bytes / FLOW_SIZE(table->family));
}

/* The rules of a set's ways; zeroes where they are not kept. */
void flows_read_rules(const struct flows *flows, const struct flow_table *table, uint32_t set,
		      struct flow_rules_set *ret)
{
	int fd = flows->rules_fd[table - flows->tables];

	if (fd <= 0 || bpf_map_lookup_elem(fd, &set, ret) < 0)
		memset(ret, 0, sizeof(*ret));
}

/* Frees a claimed entry and keeps its counts. */
static void free_side(struct flows *flows, const struct flow_table *table, const struct side *side)
{
	struct flow_scan *scan = &flows->scan;
	uint32_t packets = side->head->packets;
	uint64_t bytes = side->head->bytes;

	if (flows->over) {
		struct flow_rules_set rules = {0};

		if (side->head->state & FLOW_RULED)
			flows_read_rules(flows, table, side->set, &rules);
		flows->over(&rules.way[way_of(table, side->entry)], packets, bytes,
			    flows->over_data);
	}
	flow_entry_free(table, side->entry, side->set * FLOW_WAYS + way_of(table, side->entry));
	flows->over_packets += packets;
	flows->over_bytes += bytes;
	/* Counted by this pass already: its set is behind us. */
	if (scan->running && side->set < scan->set && table == &flows->tables[scan->table] &&
	    scan->entries[scan->table] > 0) {
		scan->entries[scan->table]--;
		scan->packets -= packets < scan->packets ? packets : scan->packets;
		scan->bytes -= bytes < scan->bytes ? bytes : scan->bytes;
	}
}

/* Both directions, or the one that is there, if both have been idle for the flow's time. The number
 * of entries freed. */
static size_t expire(struct flows *flows, const struct flow_table *table, struct side *side,
		     uint32_t now)
{
	struct side other = {0};
	uint8_t state = side->flow.content.state;
	uint32_t timeout;
	int r = find_other_side(flows, table, side, &other);
	bool idle;

	if (r < 0 && r != -ENOENT)
		return 0;
	if (other.head)
		state |= other.flow.content.state;
	/* What one direction has seen of the connection's end or beginning holds for both. */
	timeout = flow_timeout(side->flow.tuple.proto, state);
	if (!is_idle(side->head, now, timeout) ||
	    (other.head && !is_idle(other.head, now, timeout)))
		return 0;
	if (!flow_entry_claim(side->head, side->flow.seq))
		return 0;
	if (other.head && !flow_entry_claim(other.head, other.flow.seq)) {
		flow_entry_release(side->head);
		return 0;
	}
	/* A packet may have come between the look and the claim. */
	idle = is_idle(side->head, now, timeout) &&
	       (!other.head || is_idle(other.head, now, timeout));
	if (!idle) {
		flow_entry_release(side->head);
		if (other.head)
			flow_entry_release(other.head);
		return 0;
	}
	free_side(flows, table, side);
	if (other.head)
		free_side(flows, table, &other);
	return other.head ? 2 : 1;
}

/* 0: it is not over, or somebody is at it. Else how many entries were freed. */
static size_t collect_idle(struct flows *flows, const struct flow_table *table, void *entry,
			   struct flow_head *head, uint32_t now)
{
	struct side side = {.entry = entry, .head = head, .set = flows->scan.set};

	if (flow_snapshot(table, entry, &side.flow) < 0)
		return 0;
	return expire(flows, table, &side, now);
}

static void collect_entry(struct flows *flows, const struct flow_table *table, void *set,
			  uint32_t way, uint32_t now)
{
	struct flow_scan *scan = &flows->scan;
	void *entry = flow_entry(table, set, way);
	struct flow_head *head = flow_entry_head(table, entry);
	uint32_t seq = __atomic_load_n(&head->seq, __ATOMIC_ACQUIRE);
	size_t freed = 0;

	if (seq & 1) {
		collect_odd(flows, table, entry, way, seq);
		return;
	}
	if (!head->generation)
		return;
	if (is_idle(head, now, flow_timeout(flow_entry_proto(entry), head->state)))
		freed = collect_idle(flows, table, entry, head, now);
	flows->stats.expired += freed;
	if (freed)
		return;
	scan->entries[scan->table]++;
	scan->packets += head->packets;
	scan->bytes += head->bytes;
	flows_note_unanswered(scan, table, entry);
	if (scan->counted && head->owner < flows->usage_count - 1)
		scan->counted[head->owner].entries[scan->table]++;
}

/* Programs and collector count exactly; what differs by more than flows come and go in a scan was
 * left by one that died. */
#define USAGE_SLACK 1024

static void usage_mend(uint32_t *word, uint64_t counted)
{
	uint32_t now = __atomic_load_n(word, __ATOMIC_RELAXED);
	int64_t off = (int64_t)(int32_t)now - (int64_t)counted;

	if (off > USAGE_SLACK + (int64_t)counted / 4 || -off > USAGE_SLACK + (int64_t)counted / 4)
		__atomic_compare_exchange_n(word, &now, (uint32_t)counted, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

static void usage_check(struct flows *flows)
{
	struct flow_usage *counted = flows->scan.counted;

	for (uint32_t table = 0; table < 2 && counted; table++) {
		for (uint32_t i = 0; i + 1 < flows->usage_count; i++)
			usage_mend(&flows->usage[i].entries[table], counted[i].entries[table]);
		usage_mend(&flows->usage[flows->usage_count - 1].entries[table],
			   flows->scan.entries[table]);
	}
	free(counted);
	flows->scan.counted = NULL;
}

/* ---------------------------------------------------------------- scans */

static void scan_end(struct flows *flows)
{
	struct flows_stats *stats = &flows->stats;
	uint64_t packets = flows->over_packets + flows->scan.packets;
	uint64_t bytes = flows->over_bytes + flows->scan.bytes;

	flow_window_close(&flows->window);
	flow_window_close(&flows->reply_window);
	stuck_forget(flows);
	flows->scan.running = false;
	if (!flows->scan.failed)
		usage_check(flows);
	free(flows->scan.counted);
	flows->scan.counted = NULL;
	if (flows->scan.failed)
		return;
	stats->unanswered = flows->scan.unanswered;
	stats->entries_v4 = flows->scan.entries[0];
	stats->entries_v6 = flows->scan.entries[1];
	/* What was evicted took its counts along: the sum waits rather than fall. */
	stats->packets = packets > stats->packets ? packets : stats->packets;
	stats->bytes = bytes > stats->bytes ? bytes : stats->bytes;
	stats->last_scan_seconds = (double)flows->scan.worked_ns / 1e9;
}

/* The next sets. False: the scan is at its end. */
static bool collect_sets(struct flows *flows, uint32_t now, uint32_t count)
{
	struct flow_scan *scan = &flows->scan;
	const struct flow_table *table = &flows->tables[scan->table];

	for (; count && scan->set < table->sets; count--, scan->set++) {
		void *set = flow_window_set(table, &flows->window, scan->set, FLOW_WINDOW_BYTES);

		if (!set) {
			scan->failed = true; /* the next scan tries again */
			return false;
		}
		for (uint32_t way = 0; way < FLOW_WAYS; way++)
			collect_entry(flows, table, set, way, now);
	}
	if (scan->set < table->sets)
		return true;
	flow_window_close(&flows->window);
	flow_window_close(&flows->reply_window);
	scan->set = 0;
	return ++scan->table < 2;
}

bool flows_collect(struct flows *flows, uint32_t now, uint64_t budget_ns)
{
	uint64_t began = clock_monotonic_ns(), worked = 0;
	bool more = true;

	if (!flows->scan.running) {
		flows->scan = (struct flow_scan){.running = true};
		if (flows->usage)
			flows->scan.counted = calloc(flows->usage_count, sizeof(struct flow_usage));
		flows->stats.scans++;
	}
	while (more && worked < budget_ns) {
		more = collect_sets(flows, now, SETS_BEFORE_LOOK);
		worked = clock_monotonic_ns() - began;
	}
	flows->scan.worked_ns += worked;
	if (!more)
		scan_end(flows);
	return !more;
}

static void on_idle(uv_idle_t *idle)
{
	struct flows *flows = idle->data;

	if (flows_collect(flows, flows->scan_now, FLOWS_SLICE_NS))
		uv_idle_stop(idle);
}

static void on_time(uv_timer_t *timer)
{
	struct flows *flows = timer->data;

	if (flows->scan.running)
		return;
	flows->scan_now = flows_now();
	uv_idle_start(&flows->idle, on_idle);
}

int flows_start(struct flows *flows, uv_loop_t *loop)
{
	int r = uv_timer_init(loop, &flows->timer);

	if (r < 0)
		return r;
	uv_idle_init(loop, &flows->idle);
	flows->timer.data = flows->idle.data = flows;
	flows->handles = 2;
	return uv_timer_start(&flows->timer, on_time, 0, FLOWS_INTERVAL_MS);
}

static void on_closed(uv_handle_t *handle)
{
	struct flows *flows = handle->data;

	if (--flows->handles == 0 && flows->stopped)
		flows->stopped(flows->stopped_data);
}

void flows_stop(struct flows *flows, void (*stopped)(void *data), void *data)
{
	if (flows->handles == 0) {
		if (stopped)
			stopped(data);
		return;
	}
	flows->stopped = stopped;
	flows->stopped_data = data;
	uv_close((uv_handle_t *)&flows->timer, on_closed);
	uv_close((uv_handle_t *)&flows->idle, on_closed);
}

/* ---------------------------------------------------------------- addresses that changed, pods
 * that left */

/* A copy even if a living writer is at it just now. As flow_snapshot(). */
static int snapshot_patiently(const struct flow_table *table, void *entry,
			      struct flow_snapshot *ret)
{
	int r = -EBUSY;

	for (int i = 0; r == -EBUSY && i < BUSY_TRIES; i++)
		r = flow_snapshot(table, entry, ret);
	return r;
}

enum fate { FATE_KEEP, FATE_DOUBT, FATE_FORGET };

/* A page costs half of what a copy of a set does, and holds eight sets of IPv4, four of IPv6. */
#define SPARSE_PART 16
#define FEW_SETS    1024

/* Most flows name none of the addresses: the filter says so without a copy of the entry.
 * Read in place: what is being written meanwhile is the next look's. */
static bool may_name(const struct flow_table *table, const void *entry,
		     const struct address_filter *filter)
{
	const struct flow_tuple *t = entry;
	const struct flow4 *v4 = entry;
	const struct flow6 *v6 = entry;

	if (table->family == FAMILY_V4)
		return address_filter_may_hold(filter, htonl(v4->head.owner + 1u)) |
		       address_filter_may_hold(filter, t->v4.saddr_be) |
		       address_filter_may_hold(filter, t->v4.daddr_be) |
		       address_filter_may_hold(filter, v4->new_saddr_be) |
		       address_filter_may_hold(filter, v4->new_daddr_be);
	return address_filter_may_hold(filter, htonl(v6->head.owner + 1u)) |
	       address_filter_may_hold(filter, t->v6.saddr_be[3]) |
	       address_filter_may_hold(filter, t->v6.daddr_be[3]) |
	       address_filter_may_hold(filter, v6->new_saddr_be[3]) |
	       address_filter_may_hold(filter, v6->new_daddr_be[3]);
}

static bool is_in_a_range(const struct flows_touched *touched, const struct polder_addr *addr)
{
	for (size_t i = 0; i < touched->range_count; i++)
		if (prefix_covers(&touched->ranges[i], addr, 128))
			return true;
	return false;
}

/* Of all that the flow names; addresses that are not translated are zero, or the same. */
static enum fate fate_of(const struct flows *flows, const struct flow_table *table,
			 const struct flow_snapshot *flow, const struct flows_touched *touched)
{
	struct polder_addr addrs[FLOW_ADDRESSES];
	enum fate fate = FATE_KEEP;

	flow_addresses(table, flow, addrs);
	for (size_t i = 0; i < FLOW_ADDRESSES; i++) {
		if (address_set_holds(&touched->left, &addrs[i]))
			return FATE_FORGET;
		if (address_set_holds(&touched->changed, &addrs[i]) ||
		    is_in_a_range(touched, &addrs[i]))
			fate = FATE_DOUBT;
	}
	return flow->content.generation == flows->control->generation ? fate : FATE_KEEP;
}

/* False: a writer is at it all the time, or has died there; what the entry says is not known. */
static bool touch_entry(struct flows *flows, const struct flow_table *table, struct side *side,
			const struct flows_touched *touched)
{
	/* Each try that fails has lost against a writer who has changed the entry. */
	for (int i = 0; i < BUSY_TRIES; i++) {
		int r = snapshot_patiently(table, side->entry, &side->flow);
		enum fate fate;

		if (r < 0)
			return r == -ENOENT;
		fate = fate_of(flows, table, &side->flow, touched);
		if (fate == FATE_KEEP)
			return true;
		if (fate == FATE_DOUBT && flow_entry_doubt(side->head, &side->flow)) {
			flows->stats.doubted++;
			return true;
		}
		if (fate == FATE_FORGET && flow_entry_claim(side->head, side->flow.seq)) {
			free_side(flows, table, side);
			flows->stats.forgotten++;
			return true;
		}
	}
	return false;
}

/* No way of the set is taken. Who holds one that has no tag yet writes by what he has read before
 * now. */
static bool is_empty(const struct flow_table *table, uint32_t set)
{
	return table->tags && !((const uint64_t *)table->tags)[set];
}

static bool is_taken(const struct flow_table *table, uint32_t set, uint32_t way)
{
	return !table->tags || table->tags[set * FLOW_WAYS + way] != FLOW_TAG_FREE;
}

/* The sets whose tags share a line of the cache with the set's. */
#define LINE_SETS 8

/* The first of a line: is none of the line's sets taken? */
static bool is_line_empty(const struct flow_table *table, uint32_t set)
{
	const uint64_t *tags = (const uint64_t *)table->tags;
	uint64_t taken = 0;

	if (!tags || table->sets - set < LINE_SETS)
		return false;
	for (uint32_t i = 0; i < LINE_SETS; i++)
		taken |= tags[set + i];
	return !taken;
}

/* The sets that are taken, if they are so few that a copy of each costs less than to map the pages
 * of all. Else FEW_SETS + 1. */
static uint32_t list_few(const struct flow_table *table, uint32_t *few)
{
	uint32_t room = table->sets / SPARSE_PART < FEW_SETS ? table->sets / SPARSE_PART : FEW_SETS,
		 count = 0;

	for (uint32_t set = 0; set < table->sets; set++) {
		if (set % LINE_SETS == 0 && is_line_empty(table, set)) {
			set += LINE_SETS - 1;
			continue;
		}
		if (is_empty(table, set))
			continue;
		if (count == room)
			return FEW_SETS + 1;
		few[count++] = set;
	}
	return count;
}

static bool set_may_name(const struct flow_table *table, uint32_t set,
			 const struct address_filter *filter)
{
	_Alignas(struct flow6) uint8_t copy[FLOW_SET_MAX];

	if (flow_set_copy(table, set, copy) < 0)
		return true;
	for (uint32_t way = 0; way < FLOW_WAYS; way++)
		if (is_taken(table, set, way) &&
		    may_name(table, flow_entry(table, copy, way), filter))
			return true;
	return false;
}

/* What is looked for, and the window. */
struct touching {
	const struct flows_touched *touched;
	const struct address_filter *filter;
	struct flow_window window;
};

static bool touch_set(struct flows *flows, const struct flow_table *table,
		      struct touching *touching, uint32_t index, uint32_t window_bytes)
{
	void *set = flow_window_set(table, &touching->window, index, window_bytes);
	bool whole = set;

	for (uint32_t way = 0; set && way < FLOW_WAYS; way++) {
		void *entry = flow_entry(table, set, way);
		struct side side;

		if (!is_taken(table, index, way) || !may_name(table, entry, touching->filter))
			continue;
		/* Not before: to clear one for each entry takes longer than all else. */
		side = (struct side){.entry = entry, .set = index};
		side.head = flow_entry_head(table, side.entry);
		if (side.head->generation || side.head->seq & 1)
			whole &= touch_entry(flows, table, &side, touching->touched);
	}
	return whole;
}

static bool touch_table(struct flows *flows, const struct flow_table *table,
			const struct flows_touched *touched, const struct address_filter *filter)
{
	struct touching touching = {.touched = touched, .filter = filter};
	uint32_t few[FEW_SETS], count = list_few(table, few);
	bool whole = true;

	for (uint32_t i = 0; count <= FEW_SETS && i < count; i++)
		if (set_may_name(table, few[i], filter))
			whole &= touch_set(flows, table, &touching, few[i], PAGE_BYTES);
	for (uint32_t set = 0; count > FEW_SETS && set < table->sets; set++)
		if (!is_empty(table, set))
			whole &= touch_set(flows, table, &touching, set, FLOW_WINDOW_BYTES);
	flow_window_close(&touching.window);
	return whole;
}

bool flows_touch(struct flows *flows, const struct flows_touched *touched)
{
	size_t count = touched->left.count + touched->changed.count + touched->range_count;
	size_t v4_count = touched->left.v4_count + touched->changed.v4_count;
	struct address_filter filter = {};
	bool whole = true;

	for (size_t i = 0; i < touched->range_count; i++)
		v4_count += prefix_is_v4(&touched->ranges[i]);
	/* It holds addresses' last words: of a range any. */
	if (touched->range_count)
		memset(&filter, 0xff, sizeof(filter));
	address_filter_add(&filter, &touched->left);
	address_filter_add(&filter, &touched->changed);
	if (v4_count)
		whole = touch_table(flows, &flows->tables[0], touched, &filter);
	if (count > v4_count)
		whole &= touch_table(flows, &flows->tables[1], touched, &filter);
	return whole;
}

static bool release_side(struct flows *flows, const struct flow_table *table,
			 const struct side *side)
{
	if (!flow_entry_claim(side->head, side->flow.seq))
		return false;
	free_side(flows, table, side);
	return true;
}

/* One find at a time: the window moves with each. */
static size_t release_flow(struct flows *flows, const struct flow_table *table,
			   const struct flow_tuple *tuple)
{
	struct side side = {0}, other = {0};
	size_t freed = 0;

	if (find_tuple(flows, table, tuple, &side) < 0)
		return 0;
	if (find_other_side(flows, table, &side, &other) == 0)
		freed += release_side(flows, table, &other);
	if (find_tuple(flows, table, tuple, &side) == 0)
		freed += release_side(flows, table, &side);
	return freed;
}

size_t flows_delete_flow(struct flows *flows, uint8_t family, const struct flow_tuple *tuple)
{
	const struct flow_table *table = &flows->tables[family == FAMILY_V4 ? 0 : 1];
	size_t freed = 0, more = 1;

	/* A writer at the same set hides the entry for a moment. */
	for (int i = 0; i < BUSY_TRIES && more; i++) {
		more = release_flow(flows, table, tuple);
		freed += more;
	}
	flow_window_close(&flows->reply_window);
	return freed;
}
