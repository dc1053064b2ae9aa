/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/test_run.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* No packet has this identity: the judgement is that of an earlier one. */
#define IDENTITY_STALE UINT32_MAX
#define DROP_COUNTERS (REASON_COUNT * DROP_DIRECTIONS)

/* What one CPU has counted. */
struct counts {
	uint64_t drops[DROP_COUNTERS];
	uint64_t created, rejudged;
};

struct test_run {
	struct maps *maps;
	const struct datapath *datapath;
	bool alone;
	int judgements[DATAPATH_HOOKS]; /* the object's own map; negative: it judges nothing */
	unsigned long *consumer;        /* alone: the ring of events, mapped */
	const unsigned long *producer;
	const uint8_t *records;
	size_t ring_size;
	unsigned long read; /* so far */
	struct polder_event event;      /* the last one; type 0: none since it was looked at */
	int cpus;
	void *values; /* one value for each possible CPU */
	struct counts before, after;
};

/*
 * The ring is read by hand: where the consumer stands just behind the producer the kernel raises an interrupt for each record, which costs
 * more than the packet. So it always lags by one record.
 */
static int ring_open(struct test_run *run)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int fd = maps_fd(run->maps, MAP_EVENTS);

	run->ring_size = maps_get(run->maps, MAP_EVENTS)->max_entries;
	run->consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run->consumer == MAP_FAILED)
		return run->consumer = NULL, -errno;
	/* The producer's page, then the data twice, so that no record is torn. */
	run->producer = mmap(NULL, page + 2 * run->ring_size, PROT_READ, MAP_SHARED, fd, page);
	if (run->producer == MAP_FAILED)
		return run->producer = NULL, -errno;
	run->records = (const uint8_t *)run->producer + page;
	run->read = __atomic_load_n(run->consumer, __ATOMIC_ACQUIRE);
	return 0;
}

static void ring_close(struct test_run *run)
{
	size_t page = sysconf(_SC_PAGESIZE);

	if (run->consumer)
		munmap(run->consumer, page);
	if (run->producer)
		munmap((void *)run->producer, page + 2 * run->ring_size);
}

/* The last event that came, if any. */
static void ring_read(struct test_run *run)
{
	unsigned long end = __atomic_load_n(run->producer, __ATOMIC_ACQUIRE), at = run->read;

	while (at < end) {
		const uint8_t *record = run->records + (at & (run->ring_size - 1));
		uint32_t length = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);

		if (length & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(length & BPF_RINGBUF_DISCARD_BIT) && length >= sizeof(run->event))
			memcpy(&run->event, record + BPF_RINGBUF_HDR_SZ, sizeof(run->event));
		__atomic_store_n(run->consumer, at, __ATOMIC_RELEASE);
		length &= ~BPF_RINGBUF_DISCARD_BIT;
		at += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
	}
	run->read = at;
}

/* Every event, and no judgement yet. */
static int hear(struct test_run *run)
{
	struct control *control = maps_control(run->maps);
	struct judgement *stale = run->values;
	uint32_t zero = 0;
	int i;

	control->events_per_second = 0;
	control->events = EVENT_MASK_DROPS | EVENT_MASK_FLOWS;
	for (i = 0; i < run->cpus; i++)
		stale[i] = (struct judgement){.source_identity = IDENTITY_STALE};
	for (i = 0; i < DATAPATH_HOOKS; i++)
		if (run->judgements[i] >= 0 && bpf_map_update_elem(run->judgements[i], &zero, stale, BPF_ANY) < 0)
			return -errno;
	return ring_open(run);
}

int test_run_open(struct maps *maps, const struct datapath *datapath, bool alone, struct test_run **ret)
{
	struct test_run *run = calloc(1, sizeof(*run));
	int i, r = 0;

	if (!run)
		return -ENOMEM;
	*run = (struct test_run){.maps = maps, .datapath = datapath, .alone = alone, .cpus = libbpf_num_possible_cpus()};
	run->values = run->cpus > 0 ? calloc(run->cpus, sizeof(struct judgement)) : NULL;
	for (i = 0; i < DATAPATH_HOOKS; i++)
		run->judgements[i] = datapath_map_fd(datapath, i, "judgements");
	if (!run->values)
		r = -ENOMEM;
	else if (alone)
		r = hear(run);
	if (r < 0) {
		test_run_close(run);
		return r;
	}
	*ret = run;
	return 0;
}

void test_run_close(struct test_run *run)
{
	if (!run)
		return;
	ring_close(run);
	free(run->values);
	free(run);
}

int test_run_program(const struct datapath *datapath, const struct test_packet *packet, struct test_result *result)
{
	struct __sk_buff skb = {.ifindex = packet->link, .ingress_ifindex = packet->ingress, .mark = packet->mark};
	struct xdp_md xdp = {.data_end = packet->length, .ingress_ifindex = packet->link};
	bool is_xdp = packet->hook == DATAPATH_WIRE_XDP;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet->frame, .data_size_in = packet->length,
		    .data_out = result->frame, .data_size_out = sizeof(result->frame),
		    .ctx_in = is_xdp ? (void *)&xdp : (void *)&skb, .ctx_size_in = is_xdp ? sizeof(xdp) : sizeof(skb),
		    .repeat = 1);

	if (packet->hook >= DATAPATH_SOCKETS || packet->length < TEST_FRAME_MIN || packet->length > TEST_FRAME_MAX)
		return -EINVAL;
	if (bpf_prog_test_run_opts(datapath_program_fd(datapath, packet->hook), &options) < 0)
		return -errno;
	result->verdict = options.retval;
	result->length = options.data_size_out;
	return 0;
}

static bool is_drop(const struct test_packet *packet, int verdict)
{
	return packet->hook == DATAPATH_WIRE_XDP ? verdict == XDP_DROP : verdict == TC_ACT_SHOT;
}

/* What the CPU that ran the program has found; on the others it is stale. */
static struct judgement *read_judgement(struct test_run *run, enum datapath_hook hook)
{
	struct judgement *found = run->values;
	uint32_t zero = 0;
	int i;

	if (run->judgements[hook] < 0 || bpf_map_lookup_elem(run->judgements[hook], &zero, run->values) < 0)
		return NULL;
	for (i = 0; i < run->cpus; i++)
		if (found[i].source_identity != IDENTITY_STALE)
			return &found[i];
	return NULL;
}

static int run_alone(struct test_run *run, const struct test_packet *packet, struct test_result *result)
{
	struct judgement *found;
	uint32_t zero = 0;
	int r;

	run->event.type = 0;
	r = test_run_program(run->datapath, packet, result);
	if (r < 0)
		return r;
	ring_read(run);
	result->outcome = is_drop(packet, result->verdict) ? VERDICT_DROP : VERDICT_ALLOW;
	if (run->event.type == EVENT_DROP) {
		result->reason = run->event.reason;
		result->direction = run->event.direction;
		result->outcome = run->event.verdict;
	}
	result->opened = run->event.type == EVENT_FLOW;
	found = read_judgement(run, packet->hook);
	if (!found)
		return 0;
	result->judged = true;
	result->judgement = *found;
	found->source_identity = IDENTITY_STALE;
	return bpf_map_update_elem(run->judgements[packet->hook], &zero, run->values, BPF_ANY) < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- beside traffic */

static int read_counts(struct test_run *run, int cpu, struct counts *ret)
{
	static const enum polder_counter counters[] = {COUNTER_FLOWS_CREATED, COUNTER_FLOWS_REJUDGED};
	uint64_t *const into[] = {&ret->created, &ret->rejudged};
	struct drop_counter *drops = run->values;
	uint64_t *values = run->values;
	uint32_t i, index;

	static_assert(sizeof(*drops) <= sizeof(struct judgement), "`values` has room for each CPU's");
	for (i = 0; i < DROP_COUNTERS; i++) {
		if (maps_find(run->maps, MAP_DROPS, &i, drops) < 0)
			return -EIO;
		ret->drops[i] = drops[cpu].packets;
	}
	for (i = 0; i < 2; i++) {
		index = counters[i];
		if (maps_find(run->maps, MAP_COUNTERS, &index, values) < 0)
			return -EIO;
		*into[i] = values[cpu];
	}
	return 0;
}

/* What moved on this CPU is this packet's, if nobody else's came in the same moment. */
static void read_moved(struct test_run *run, const struct test_packet *packet, const struct judgement *before,
		       const struct judgement *after, struct test_result *result)
{
	uint32_t i;

	result->outcome = is_drop(packet, result->verdict) ? VERDICT_DROP : VERDICT_ALLOW;
	for (i = 0; i < DROP_COUNTERS; i++) {
		if (run->after.drops[i] == run->before.drops[i])
			continue;
		result->reason = i / DROP_DIRECTIONS;
		result->direction = i % DROP_DIRECTIONS;
		if (result->outcome == VERDICT_ALLOW)
			result->outcome = VERDICT_REJECT;
	}
	result->opened = run->after.created != run->before.created;
	result->judged = result->opened || run->after.rejudged != run->before.rejudged ||
			 memcmp(before, after, sizeof(*before)) != 0 || (result->reason && after->reason == result->reason);
	if (result->judged)
		result->judgement = *after;
}

static int run_beside(struct test_run *run, const struct test_packet *packet, struct test_result *result)
{
	struct judgement before = {}, after = {};
	int map = run->judgements[packet->hook], cpu = sched_getcpu(), r;
	const struct judgement *all = run->values;
	cpu_set_t old, one;
	uint32_t zero = 0;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(old), &old) < 0 || sched_setaffinity(0, sizeof(one), &one) < 0)
		return -errno;
	r = read_counts(run, cpu, &run->before);
	if (r == 0 && map >= 0 && bpf_map_lookup_elem(map, &zero, run->values) == 0)
		before = all[cpu];
	if (r == 0)
		r = test_run_program(run->datapath, packet, result);
	if (r == 0 && map >= 0 && bpf_map_lookup_elem(map, &zero, run->values) == 0)
		after = all[cpu];
	if (r == 0)
		r = read_counts(run, cpu, &run->after);
	sched_setaffinity(0, sizeof(old), &old);
	if (r == 0)
		read_moved(run, packet, &before, &after, result);
	return r;
}

int test_run(struct test_run *run, const struct test_packet *packet, struct test_result *ret)
{
	if (packet->hook >= DATAPATH_SOCKETS)
		return -EINVAL;
	ret->reason = REASON_NONE;
	ret->direction = 0;
	ret->judged = ret->opened = false;
	memset(&ret->judgement, 0, sizeof(ret->judgement));
	return run->alone ? run_alone(run, packet, ret) : run_beside(run, packet, ret);
}
