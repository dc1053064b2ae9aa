/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/test_run.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/kernel/counters.h"

/* No packet has this identity: the verdict is that of an earlier one. */
#define IDENTITY_STALE UINT32_MAX

/* What an object that is apart has counted. */
struct counts {
	struct drop_counter drops[DROPS_COUNT];
	__u64 created;
};

struct test_run {
	struct maps *maps;
	const struct datapath *datapath;
	bool alone;
	int flow_verdicts[DATAPATH_HOOKS]; /* the object's own map; negative: it evaluates nothing,
					    * or is not loaded yet */
	unsigned long *consumer;	   /* alone: the ring of events, mapped */
	const unsigned long *producer;
	const uint8_t *records;
	size_t ring_size;
	unsigned long read;	   /* so far */
	struct polder_event event; /* the last one; type 0: none since it was looked at */
	int cpus;
	void *values; /* one value for each possible CPU */
	struct counts before, after;
};

/*
 * The ring is read by hand: where the consumer stands just behind the producer the kernel raises an
 * interrupt for each record, which costs more than the packet. So it always lags by one record.
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

/* No verdict yet. Some programs are loaded when they are needed: this one's map is looked for until
 * it is there. */
static int open_flow_verdicts(struct test_run *run, enum datapath_hook hook)
{
	struct flow_verdict *stale = run->values;
	uint32_t zero = 0;
	int i;

	if (run->flow_verdicts[hook] >= 0)
		return 0;
	run->flow_verdicts[hook] = datapath_map_fd(run->datapath, hook, "flow_verdicts");
	if (run->flow_verdicts[hook] < 0)
		return 0;
	for (i = 0; i < run->cpus; i++)
		stale[i] = (struct flow_verdict){.source_identity = IDENTITY_STALE};
	return bpf_map_update_elem(run->flow_verdicts[hook], &zero, stale, BPF_ANY) < 0 ? -errno
											: 0;
}

static int enable_every_event(struct test_run *run)
{
	struct control *control = maps_control(run->maps);

	control->events_per_second = 0;
	control->events = EVENT_MASK_DROPS | EVENT_MASK_FLOWS;
	return ring_open(run);
}

int test_run_open(struct maps *maps, const struct datapath *datapath, bool alone,
		  struct test_run **ret)
{
	struct test_run *run = calloc(1, sizeof(*run));
	int i, r;

	if (!run)
		return -ENOMEM;
	*run = (struct test_run){.maps = maps,
				 .datapath = datapath,
				 .alone = alone,
				 .cpus = libbpf_num_possible_cpus()};
	run->values = run->cpus > 0 ? calloc(run->cpus, sizeof(struct flow_verdict)) : NULL;
	for (i = 0; i < DATAPATH_HOOKS; i++)
		run->flow_verdicts[i] = -ENOENT;
	r = run->values ? 0 : -ENOMEM;
	if (r == 0 && alone)
		r = enable_every_event(run);
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

int test_run_program(const struct datapath *datapath, const struct test_packet *packet,
		     struct test_result *result)
{
	struct __sk_buff skb = {
		.ifindex = packet->link, .ingress_ifindex = packet->ingress, .mark = packet->mark};
	struct xdp_md xdp = {.data_end = packet->length, .ingress_ifindex = packet->link};
	bool is_xdp = packet->hook == DATAPATH_WIRE_XDP;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet->frame,
		    .data_size_in = packet->length, .data_out = result->frame,
		    .data_size_out = sizeof(result->frame),
		    .ctx_in = is_xdp ? (void *)&xdp : (void *)&skb,
		    .ctx_size_in = is_xdp ? sizeof(xdp) : sizeof(skb), .repeat = 1);

	if (packet->hook >= DATAPATH_SOCKETS || packet->length < TEST_FRAME_MIN ||
	    packet->length > TEST_FRAME_MAX)
		return -EINVAL;
	if (bpf_prog_test_run_opts(packet->program ? packet->program
						   : datapath_program_fd(datapath, packet->hook),
				   &options) < 0)
		return -errno;
	result->verdict = options.retval;
	result->length = options.data_size_out;
	return 0;
}

static bool is_drop(const struct test_packet *packet, int verdict)
{
	return packet->hook == DATAPATH_WIRE_XDP ? verdict == XDP_DROP : verdict == TC_ACT_SHOT;
}

/* What the CPU that ran the program has found, if it evaluated this packet; on the others it is
 * stale.
 */
static int take_flow_verdict(struct test_run *run, enum datapath_hook hook,
			     struct test_result *result)
{
	struct flow_verdict *found = run->values;
	uint32_t zero = 0;
	int i = 0;

	if (run->flow_verdicts[hook] < 0 ||
	    bpf_map_lookup_elem(run->flow_verdicts[hook], &zero, run->values) < 0)
		return 0;
	while (i < run->cpus && found[i].source_identity == IDENTITY_STALE)
		i++;
	if (i == run->cpus)
		return 0;
	result->evaluated = true;
	result->flow_verdict = found[i];
	found[i].source_identity = IDENTITY_STALE;
	return bpf_map_update_elem(run->flow_verdicts[hook], &zero, run->values, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

static int run_alone(struct test_run *run, const struct test_packet *packet,
		     struct test_result *result)
{
	int r;

	run->event.type = 0;
	r = test_run_program(run->datapath, packet, result);
	if (r < 0)
		return r;
	ring_read(run);
	result->outcome = is_drop(packet, result->verdict) ? VERDICT_DROP : VERDICT_ALLOW;
	if (run->event.type == EVENT_DROP) {
		result->reason = run->event.reason;
		result->hook = run->event.hook;
		result->outcome = run->event.verdict;
	}
	result->opened = run->event.type == EVENT_FLOW;
	return take_flow_verdict(run, packet->hook, result);
}

/* ---------------------------------------------------------------- beside traffic */

static int read_counts(const struct test_run *run, enum datapath_hook hook, struct counts *ret)
{
	int r = counters_read_drops(datapath_map_fd(run->datapath, hook, "drops"), ret->drops);

	return r < 0 ? r
		     : counters_read_one(datapath_map_fd(run->datapath, hook, "counters"),
					 COUNTER_FLOWS_CREATED, &ret->created);
}

static int run_beside(struct test_run *run, const struct test_packet *packet,
		      struct test_result *result)
{
	uint32_t i;
	int r;

	r = read_counts(run, packet->hook, &run->before);
	if (r == 0)
		r = test_run_program(run->datapath, packet, result);
	if (r == 0)
		r = read_counts(run, packet->hook, &run->after);
	if (r < 0)
		return r;
	result->outcome = is_drop(packet, result->verdict) ? VERDICT_DROP : VERDICT_ALLOW;
	for (i = 0; i < DROPS_COUNT; i++) {
		if (run->after.drops[i].packets == run->before.drops[i].packets)
			continue;
		result->reason = i / DROP_HOOKS;
		result->hook = i % DROP_HOOKS;
		if (result->outcome == VERDICT_ALLOW)
			result->outcome = VERDICT_REJECT;
	}
	result->opened = run->after.created != run->before.created;
	return take_flow_verdict(run, packet->hook, result);
}

int test_run(struct test_run *run, const struct test_packet *packet, struct test_result *ret)
{
	int r;

	if (packet->hook >= DATAPATH_SOCKETS)
		return -EINVAL;
	r = open_flow_verdicts(run, packet->hook);
	if (r < 0)
		return r;
	ret->reason = REASON_NONE;
	ret->hook = 0;
	ret->evaluated = ret->opened = false;
	memset(&ret->flow_verdict, 0, sizeof(ret->flow_verdict));
	return run->alone ? run_alone(run, packet, ret) : run_beside(run, packet, ret);
}
