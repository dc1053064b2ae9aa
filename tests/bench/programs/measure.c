/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds. A part of a round is timed twice: through a program that does nothing and through the one
 * that is measured; the difference counts. What others left in the caches is overwritten first.
 */
#include "bench.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "layout.h"
#include "restore.skel.h"

#define PARTS	      4
#define NEW_PARTS     16
#define NEW_AT_ONCE   4096 /* so long the table stays about a quarter full */
#define STAYING_SEEN  8192 /* of the flows that stay, before new ones come */
#define ANEW_PARTS    8
#define FLOOD_FILLS   131072 /* that many leave nothing of an empty table */
#define WARM_AT_LEAST 4096

/* Packets in a row: flow `first` and those after it, as many as `mask` names. */
struct batch {
	uint32_t first;
	uint32_t mask;
	uint32_t *at;
	uint32_t count;
	uint8_t tcp_flags;
};

static const uint8_t *receiver_mac(const struct bench_case *c)
{
	static const uint8_t pod[6] = {2, 0, 0, 0, 1, 12};

	return c->path->place == PLACE_POD ? pod : layout_peer_mac;
}

/* What is answered directly keeps the destination of its flow: the last words count up. */
static bool seen_destination(const struct bench_case *c, const struct frame_spec *seen)
{
	struct polder_addr destination = addr(c->path->seen_destination);

	return c->path->place == PLACE_DIRECT
		       ? !memcmp(&destination, &seen->destination, sizeof(destination) - 2)
		       : addr_same(&seen->destination, &destination);
}

static void check_output(const struct bench_case *c, const struct frame *out)
{
	struct frame_spec seen;

	if (frame_read(out, &seen) < 0 || !seen_destination(c, &seen) ||
	    seen.dport < c->path->seen_dport || seen.dport >= c->path->seen_dport + SERVICES ||
	    seen.ttl != 63 || memcmp(seen.mac_destination, receiver_mac(c), 6) ||
	    !frame_sums_right(out))
		bench_fail("the forwarded packet's bytes are wrong");
}

/* The wrapper of the measured program's kind, what it hands the packet to, and how it is run. */
struct wrapper {
	int restore;
	int measured;
	int nothing;
};

static struct wrapper wrapper_of(const struct bench *b)
{
	const struct restore_bpf *w = b->wrapper;

	if (b->c->path->hook == HOOK_WIRE_XDP)
		return (struct wrapper){bpf_program__fd(w->progs.restore_xdp),
					bpf_map__fd(w->maps.measured_xdp),
					bpf_program__fd(w->progs.nothing_xdp)};
	return (struct wrapper){bpf_program__fd(w->progs.restore), bpf_map__fd(w->maps.measured),
				bpf_program__fd(w->progs.nothing)};
}

/* Nanoseconds a packet, wrapper and `target` together. */
static double run(struct bench *b, const struct batch *batch, int target)
{
	const struct bench_case *c = b->c;
	const struct wrapper wrapper = wrapper_of(b);
	struct frame frame, out = {0};
	struct restore r = {.mask = batch->mask, .v6 = bench_is_v6(c), .at = *batch->at};
	struct __sk_buff skb = {.ifindex = c->path->link, .ingress_ifindex = c->path->link};
	struct xdp_md xdp = {.ingress_ifindex = c->path->link};
	uint32_t zero = 0;
	int restores = bpf_map__fd(b->wrapper->maps.restores);
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .data_out = out.bytes,
		    .data_size_out = sizeof(out.bytes), .ctx_in = &skb, .ctx_size_in = sizeof(skb),
		    .repeat = batch->count);

	bench_frame(c, batch->first, batch->tcp_flags, &frame);
	options.data_size_in = frame.length;
	memcpy(r.header, frame.bytes, sizeof(r.header));
	if (c->path->hook == HOOK_WIRE_XDP) {
		xdp.data_end = frame.length;
		options.ctx_in = &xdp;
		options.ctx_size_in = sizeof(xdp);
		layout_neighbours_in_use(b->world);
	}
	if (bpf_map_update_elem(restores, &zero, &r, BPF_ANY) ||
	    bpf_map_update_elem(wrapper.measured, &zero, &target, BPF_ANY) ||
	    bpf_prog_test_run_opts(wrapper.restore, &options) ||
	    bpf_map_lookup_elem(restores, &zero, &r))
		bench_fail(strerror(errno));
	if ((int)options.retval != bench_forwards(c))
		bench_fail("the program did not forward");
	*batch->at = r.at;
	out.length = options.data_size_out;
	if (target == b->world->programs[c->path->hook])
		check_output(c, &out);
	return options.duration;
}

static double run_nothing(struct bench *b, const struct batch *batch)
{
	uint32_t at = *batch->at;
	double ns = run(b, batch, wrapper_of(b).nothing);

	*batch->at = at; /* the same packets again */
	return ns;
}

static double run_program(struct bench *b, const struct batch *batch)
{
	return run(b, batch, b->world->programs[b->c->path->hook]);
}

/* Packets of flows that are there. */
static struct batch old_flows(struct bench *b, uint32_t first, uint32_t flows, uint32_t count)
{
	return (struct batch){
		.first = first,
		.mask = flows - 1,
		.at = &b->at,
		.count = count,
		.tcp_flags = TCP_ACK_FLAG,
	};
}

static struct batch fresh_flows(struct bench *b, uint32_t count)
{
	return (struct batch){
		.mask = FRESH_FLOWS - 1,
		.at = &b->fresh_at,
		.count = count,
		.tcp_flags = TCP_SYN_FLAG,
	};
}

static double round_established(struct bench *b)
{
	struct batch warm = old_flows(b, 0, b->c->flows,
				      b->c->flows > WARM_AT_LEAST ? b->c->flows : WARM_AT_LEAST);
	struct batch timed = old_flows(b, 0, b->c->flows, b->repeat / PARTS);
	double sum = 0, nothing;

	run_program(b, &warm);
	for (int i = 0; i < PARTS; i++) {
		nothing = run_nothing(b, &timed);
		sum += run_program(b, &timed) - nothing;
	}
	return sum / PARTS;
}

static double round_new(struct bench *b)
{
	struct batch staying = old_flows(b, STAYING_FLOW, STAYING_SEEN, STAYING_SEEN);
	struct batch fresh = fresh_flows(b, NEW_AT_ONCE);
	double sum = 0, nothing;

	/* What XDP has not seen for some ticks it leaves to TC: the flows that stay are kept as
	 * they are at the round's begin. */
	bench_put_back(b->kept);
	run_program(b, &staying);
	bench_kept_free(&b->kept);
	b->kept = bench_keep(b->world);
	for (int i = 0; i < NEW_PARTS; i++) {
		nothing = run_nothing(b, &fresh);
		bench_put_back(b->kept);
		run_program(b, &staying);
		sum += run_program(b, &fresh) - nothing;
	}
	return sum / NEW_PARTS;
}

static double round_flood(struct bench *b)
{
	struct batch warm = fresh_flows(b, b->fresh_at ? WARM_AT_LEAST : FLOOD_FILLS);
	struct batch timed = fresh_flows(b, b->repeat / PARTS);
	double sum = 0, nothing;

	run_program(b, &warm);
	for (int i = 0; i < PARTS; i++) {
		nothing = run_nothing(b, &timed);
		sum += run_program(b, &timed) - nothing;
	}
	return sum / PARTS;
}

static double round_anew(struct bench *b)
{
	struct batch all = old_flows(b, 0, b->c->flows, b->c->flows);
	double sum = 0, nothing;

	for (int i = 0; i < ANEW_PARTS; i++) {
		run_program(b, &all);
		nothing = run_nothing(b, &all);
		world_move_generation(b->world, 2);
		sum += run_program(b, &all) - nothing;
	}
	return sum / ANEW_PARTS;
}

/* Flows that a round opens or re-evaluates: what moved by less did something else. */
static void check_counters(const struct bench *b, uint64_t created, uint64_t reevaluated)
{
	uint64_t fresh = b->c->kind == KIND_NEW	    ? NEW_PARTS * NEW_AT_ONCE
			 : b->c->kind == KIND_FLOOD ? b->repeat / PARTS * PARTS
						    : 0;
	uint64_t anew = b->c->kind == KIND_ANEW ? (uint64_t)ANEW_PARTS * b->c->flows : 0;

	if (created < fresh)
		bench_fail("packets that should open flows met flows");
	if (reevaluated < anew)
		bench_fail("packets after a change were not re-evaluated");
	if ((!fresh && created) || (!anew && reevaluated))
		bench_fail("established packets were evaluated");
}

double bench_round(struct bench *b)
{
	static double (*const rounds[KIND_COUNT])(struct bench *) = {
		[KIND_ESTABLISHED] = round_established,
		[KIND_NEW] = round_new,
		[KIND_FLOOD] = round_flood,
		[KIND_ANEW] = round_anew,
	};
	uint64_t created = world_counter(b->world, COUNTER_FLOWS_CREATED);
	uint64_t reevaluated = world_counter(b->world, COUNTER_FLOWS_REEVALUATED);
	double ns = rounds[b->c->kind](b);

	check_counters(b, world_counter(b->world, COUNTER_FLOWS_CREATED) - created,
		       world_counter(b->world, COUNTER_FLOWS_REEVALUATED) - reevaluated);
	return ns;
}
