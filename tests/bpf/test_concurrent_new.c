/* SPDX-License-Identifier: Apache-2.0 */
/* Two CPUs that want the same place of the flow table, the same port or the same flow; writers that
 * died. */
#include "suite.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/kernel/flows.h"
#include "duel.h"

#define DUEL_MS 1000
#define TRIES	5 /* of a packet that meets a writer: its sender sends it again */

static const char *const vip[2] = {"10.96.0.1", "fd00:96::1"};

static void with_options(struct world_options options, void (*run)(enum suite_version v))
{
	struct world *outer = world;

	options.outer_namespace = true;
	CU_ASSERT_EQUAL_FATAL(world_open(&options, &world), 0);
	EACH_VERSION(v)
	{
		run(v);
		world_forget_flows(world);
	}
	world_close(&world);
	world = outer;
}

/* What one side saw in a duel. */
struct tally {
	uint64_t reset;	  /* told that there is no connection, or sent somewhere else */
	uint64_t gave_up; /* dropped however often it was sent */
	uint64_t busy;	  /* dropped, and sent again */
};

/* Sends until it is not dropped. The verdict; the frame as it left. */
static int send_again(enum world_hook hook, uint32_t link, const struct frame *frame,
		      struct tally *tally, struct frame *out)
{
	int verdict = TC_ACT_SHOT;

	for (int i = 0; i < TRIES && verdict == TC_ACT_SHOT; i++) {
		verdict = world_pass(world, hook, link, frame, out);
		tally->busy += verdict == TC_ACT_SHOT;
	}
	tally->gave_up += verdict == TC_ACT_SHOT;
	return verdict;
}

static bool tallies_are_clean(const struct tally *tally, uint64_t rounds)
{
	uint64_t reset = tally[0].reset + tally[1].reset,
		 gave_up = tally[0].gave_up + tally[1].gave_up;
	uint64_t busy = tally[0].busy + tally[1].busy;

	if (!rounds)
		printf("\n    nothing was tried: one CPU ");
	if (!reset && !gave_up && busy * 100 <= rounds)
		return true;
	printf("\n    %lu rounds: %lu packets reset, %lu given up, %lu dropped ", rounds, reset,
	       gave_up, busy);
	return false;
}

/* ------------------------------------------------------------------ a table with hardly any room
 */

#define HANDSHAKES 2
#define SEGMENTS   3

/* Each side opens connections from a pod of its own to pod 1. */
struct handshakes {
	enum suite_version v;
	struct frame frames[2][HANDSHAKES][SEGMENTS];
	struct tally tally[2];
};

static const int openers[2] = {0, 2};

static void handshakes_prepare(void *data, uint64_t round)
{
	struct handshakes *h = data;

	world_forget_flows(world);
	for (int side = 0; side < 2; side++) {
		const char *from = pod_text[openers[side]][h->v];

		for (int i = 0; i < HANDSHAKES; i++) {
			uint16_t port = 1024 + (round * HANDSHAKES + i) % 60000;
			struct frame_spec spec = spec_of_segment(
				openers[side], h->v, pod_text[1][h->v], port, 80, TCP_SYN_FLAG);
			struct frame_spec back = spec_of_segment(1, h->v, from, 80, port,
								 TCP_SYN_FLAG | TCP_ACK_FLAG);

			frame_make(&h->frames[side][i][0], &spec);
			frame_make(&h->frames[side][i][1], &back);
			spec.tcp_flags = TCP_ACK_FLAG;
			frame_make(&h->frames[side][i][2], &spec);
		}
	}
}

static void shake_hands(void *data, int side, uint64_t round)
{
	struct handshakes *h = data;
	struct tally *tally = &h->tally[side];
	struct frame out;

	(void)round;
	for (int i = 0; i < HANDSHAKES; i++) {
		for (int segment = 0; segment < SEGMENTS; segment++) {
			int from = segment == 1 ? 1 : openers[side],
			    to = segment == 1 ? openers[side] : 1;
			int verdict = send_again(HOOK_FROM_POD, world->pods[from].link,
						 &h->frames[side][i][segment], tally, &out);

			if (verdict == TC_ACT_SHOT)
				return;
			if (verdict != TC_ACT_REDIRECT ||
			    memcmp(out.bytes, world->pods[to].mac, 6) != 0) {
				tally->reset++;
				return;
			}
		}
	}
}

static void shake_hands_in_little_room(enum suite_version v)
{
	struct handshakes h = {.v = v};
	struct duel duel = {.between = handshakes_prepare,
			    .step = shake_hands,
			    .data = &h,
			    .milliseconds = DUEL_MS};
	uint64_t before = world_drops(world, REASON_NO_FLOW), rounds = duel_run(&duel);

	CU_ASSERT(tallies_are_clean(h.tally, rounds));
	CU_ASSERT_EQUAL(world_drops(world, REASON_NO_FLOW), before);
}

/* 16 places, 8 entries at a time: there is room for all, but two may want the same place. */
static void connections_opened_at_once_find_a_place_each(void)
{
	with_options((struct world_options){.flow4_sets = 2, .flow6_sets = 2},
		     shake_hands_in_little_room);
}

/* ------------------------------------------------------------------ one new flow, seen on both
 * CPUs */

struct twice {
	enum suite_version v;
	struct frame frame;
	struct flow_tuple tuple;
	struct frame out[2];
	int verdict[2];
	uint64_t parted;      /* not both to the same endpoint */
	uint64_t doubled;     /* more than one entry stayed */
	uint64_t reevaluated; /* again and again */
};

static void twice_prepare(void *data, uint64_t round)
{
	struct twice *t = data;
	struct frame_spec spec =
		spec_of_pod(0, t->v, vip[t->v], IPPROTO_UDP, 1024 + round % 60000, 53);

	if (round % 64 == 0)
		world_forget_flows(world);
	frame_make(&t->frame, &spec);
	t->tuple = world_tuple(&spec, ZONE_POD);
}

static void send_the_same(void *data, int side, uint64_t round)
{
	struct twice *t = data;

	(void)round;
	t->verdict[side] =
		world_pass(world, HOOK_FROM_POD, world->pods[0].link, &t->frame, &t->out[side]);
}

static bool same_frame(const struct frame *a, const struct frame *b)
{
	return a->length == b->length && !memcmp(a->bytes, b->bytes, a->length);
}

/* How often 20 packets are evaluated once the generation has moved. */
static uint64_t reevaluated_of_twenty(struct twice *t)
{
	uint64_t before;
	struct frame out;

	world_move_generation(world, 2);
	before = world_counter(world, COUNTER_FLOWS_REEVALUATED);
	for (int i = 0; i < 20; i++)
		world_pass(world, HOOK_FROM_POD, world->pods[0].link, &t->frame, &out);
	return world_counter(world, COUNTER_FLOWS_REEVALUATED) - before;
}

static void twice_check(void *data, uint64_t round)
{
	struct twice *t = data;
	struct frame again;
	int verdict = world_pass(world, HOOK_FROM_POD, world->pods[0].link, &t->frame, &again);

	(void)round;
	for (int side = 0; side < 2; side++)
		t->parted += t->verdict[side] != TC_ACT_SHOT &&
			     (t->verdict[side] != verdict || !same_frame(&t->out[side], &again));
	t->doubled += world_flow_find(world, &t->tuple, NULL) != 1;
	t->reevaluated += reevaluated_of_twenty(t) > 2;
}

static void see_twice(enum suite_version v)
{
	struct world_backend backends[] = {{pod_text[1][v], 8080, 0}, {pod_text[2][v], 8080, 0}};
	struct twice t = {.v = v};
	struct duel duel = {.between = twice_prepare,
			    .step = send_the_same,
			    .after = twice_check,
			    .data = &t,
			    .milliseconds = DUEL_MS};
	uint64_t rounds;

	world_set_service(world, 1, vip[v], IPPROTO_UDP, 53, backends, 2);
	rounds = duel_run(&duel);
	if (t.parted || t.doubled || t.reevaluated)
		printf("\n    %lu rounds: %lu packets to another endpoint, %lu flows with two "
		       "entries, %lu evaluated "
		       "again and again ",
		       rounds, t.parted, t.doubled, t.reevaluated);
	CU_ASSERT_EQUAL(t.parted, 0);
	CU_ASSERT_EQUAL(t.doubled, 0);
	CU_ASSERT_EQUAL(t.reevaluated, 0);
}

static void flow_first_seen_on_two_cpus_is_one_flow(void)
{
	with_options((struct world_options){.flow4_sets = 64, .flow6_sets = 64}, see_twice);
}

/* A pod asks itself by its own address, from both ends at once: whoever is second has answered. */
struct both_ends {
	enum suite_version v;
	struct frame frame[2], out[2];
	int verdict[2];
	uint64_t apart; /* two flows instead of one */
};

static void both_ends_prepare(void *data, uint64_t round)
{
	struct both_ends *b = data;

	if (round % 64 == 0)
		world_forget_flows(world);
	for (int side = 0; side < 2; side++) {
		uint16_t port = 1024 + round % 60000;
		struct frame_spec spec = spec_of_pod(0, b->v, pod_text[0][b->v], IPPROTO_UDP,
						     side ? 53 : port, side ? port : 53);

		frame_make(&b->frame[side], &spec);
	}
}

static void send_from_each_end(void *data, int side, uint64_t round)
{
	struct both_ends *b = data;

	(void)round;
	b->verdict[side] = world_pass(world, HOOK_FROM_POD, world->pods[0].link, &b->frame[side],
				      &b->out[side]);
}

static void both_ends_check(void *data, uint64_t round)
{
	struct both_ends *b = data;
	size_t ports = b->v == V4 ? 34 : 54;

	(void)round;
	for (int side = 0; side < 2; side++)
		b->apart += b->verdict[side] == TC_ACT_REDIRECT &&
			    memcmp(b->frame[side].bytes + ports, b->out[side].bytes + ports, 4);
}

static void begin_at_both_ends(enum suite_version v)
{
	struct both_ends b = {.v = v};
	struct duel duel = {.between = both_ends_prepare,
			    .step = send_from_each_end,
			    .after = both_ends_check,
			    .data = &b,
			    .milliseconds = DUEL_MS};

	duel_run(&duel);
	CU_ASSERT_EQUAL(b.apart, 0);
}

static void flow_of_a_pod_to_itself_begun_at_both_ends_is_one_flow(void)
{
	with_options((struct world_options){.flow4_sets = 64, .flow6_sets = 64},
		     begin_at_both_ends);
}

/* ------------------------------------------------------------------ masquerade ports */

/* Each side's pod opens a flow to the same peer. */
struct takers {
	enum suite_version v;
	uint8_t proto;
	struct frame_spec specs[2];
	struct frame frames[2], out[2];
	int verdict[2];
	uint64_t shared;       /* one port for two flows */
	uint64_t misdelivered; /* an answer to the wrong pod, or to nobody */
};

static void takers_prepare(void *data, uint64_t round)
{
	struct takers *t = data;

	world_forget_flows(world);
	for (int side = 0; side < 2; side++) {
		t->specs[side] =
			spec_of_pod(side, t->v, outside[t->v], t->proto, 1024 + round % 30000, 53);
		frame_make(&t->frames[side], &t->specs[side]);
	}
}

static void take_port(void *data, int side, uint64_t round)
{
	struct takers *t = data;

	(void)round;
	t->verdict[side] = world_pass(world, HOOK_FROM_POD, world->pods[side].link,
				      &t->frames[side], &t->out[side]);
}

static bool answer_arrives(struct takers *t, int side)
{
	struct frame_spec got, back;
	struct frame frame, out;

	if (frame_read(&t->out[side], &got))
		return false;
	back = spec_of_wire(outside[t->v], node[t->v], t->proto, 53, got.sport);
	back.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG;
	frame_make(&frame, &back);
	if (world_pass(world, HOOK_FROM_WIRE, WORLD_UPLINK, &frame, &out) != TC_ACT_REDIRECT ||
	    frame_read(&out, &got))
		return false;
	return !memcmp(got.mac_destination, world->pods[side].mac, 6) &&
	       addr_same(&got.destination, &t->specs[side].source) &&
	       got.dport == t->specs[side].sport;
}

static void takers_check(void *data, uint64_t round)
{
	struct takers *t = data;
	struct frame_spec got[2];

	(void)round;
	if (t->verdict[0] == TC_ACT_REDIRECT && t->verdict[1] == TC_ACT_REDIRECT &&
	    !frame_read(&t->out[0], &got[0]) && !frame_read(&t->out[1], &got[1]))
		t->shared += got[0].sport == got[1].sport;
	for (int side = 0; side < 2; side++)
		t->misdelivered += t->verdict[side] == TC_ACT_REDIRECT && !answer_arrives(t, side);
}

static void take_ports(enum suite_version v, uint8_t proto)
{
	struct takers t = {.v = v, .proto = proto};
	struct duel duel = {.between = takers_prepare,
			    .step = take_port,
			    .after = takers_check,
			    .data = &t,
			    .milliseconds = DUEL_MS / 2};
	uint64_t rounds = duel_run(&duel);

	if (t.shared || t.misdelivered)
		printf("\n    %lu rounds: %lu ports of two flows, %lu answers not to the flow's "
		       "pod ",
		       rounds, t.shared, t.misdelivered);
	CU_ASSERT_EQUAL(t.shared, 0);
	CU_ASSERT_EQUAL(t.misdelivered, 0);
}

static void take_ports_of_both_protocols(enum suite_version v)
{
	take_ports(v, IPPROTO_UDP);
	take_ports(v, IPPROTO_TCP);
}

static void port_taken_on_two_cpus_at_once_belongs_to_one_flow(void)
{
	with_options((struct world_options){.flow4_sets = 8,
					    .flow6_sets = 8,
					    .masquerade_port_min = 40000,
					    .masquerade_port_max = 40000},
		     take_ports_of_both_protocols);
	with_options((struct world_options){.flow4_sets = 8,
					    .flow6_sets = 8,
					    .masquerade_port_min = 40000,
					    .masquerade_port_max = 40001},
		     take_ports_of_both_protocols);
}

/* ------------------------------------------------------------------ places that change hands */

#define CROWD	    96
#define CROWD_PORTS 3 /* of the Service: two with an endpoint each, one that it does not have */

/* Flows of one pair of addresses: their keys differ in the ports alone. */
struct crowd {
	struct frame sent[CROWD], wanted[CROWD];
	int verdict[CROWD];
	struct tally tally[2];
};

static void crowd_fill(struct crowd *c, enum suite_version v)
{
	struct world_backend one = {pod_text[1][v], 8081, 0}, other = {pod_text[2][v], 8082, 0};

	world_set_service(world, 2, vip[v], IPPROTO_UDP, 80, &one, 1);
	world_set_service(world, 3, vip[v], IPPROTO_UDP, 81, &other, 1);
	for (int i = 0; i < CROWD; i++) {
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP,
						     3000 + i / CROWD_PORTS, 80 + i % CROWD_PORTS);
		struct world_result r;

		frame_make(&c->sent[i], &spec);
		r = world_run(world, HOOK_FROM_POD, world->pods[0].link, world->pods[0].link,
			      &c->sent[i]);
		c->wanted[i] = r.out;
		c->verdict[i] = r.verdict;
		CU_ASSERT(r.drops == (i % CROWD_PORTS == 2));
	}
}

static void jostle(void *data, int side, uint64_t round)
{
	struct crowd *c = data;
	struct tally *tally = &c->tally[side];
	struct frame out;

	for (int i = 0; i < 8; i++) {
		/* One side stays with a few flows, the other goes through all. */
		uint64_t which = side ? (round * 8 + i) % CROWD : (round + i) % 6;
		int verdict = send_again(HOOK_FROM_POD, world->pods[0].link, &c->sent[which], tally,
					 &out);

		tally->reset += verdict != TC_ACT_SHOT && (verdict != c->verdict[which] ||
							   !same_frame(&out, &c->wanted[which]));
	}
}

static void crowd_jostles(enum suite_version v)
{
	struct crowd *c = calloc(1, sizeof(*c));
	struct duel duel = {.step = jostle, .data = c, .milliseconds = 2 * DUEL_MS};

	CU_ASSERT_FATAL(c != NULL);
	crowd_fill(c, v);
	CU_ASSERT(tallies_are_clean(c->tally, 16 * duel_run(&duel)));
	free(c);
}

static void packet_never_leaves_by_another_flows_entry(void)
{
	with_options((struct world_options){.flow4_sets = 2, .flow6_sets = 2}, crowd_jostles);
}

/* ------------------------------------------------------------------ entries that move to their
 * second set */

#define MOVING_SETS 64
#define MOVING_WAYS (MOVING_SETS * FLOW_WAYS)
#define NEWCOMER    40000

/* A map's memory, and what it held when a new flow found no room unless another one moves. */
struct kept {
	char *memory, *content;
	size_t size;
};

struct moving {
	struct kept kept[2]; /* entries, tags */
	struct frame newcomer,
		resident[2]; /* both directions of the connection whose entry moves */
	int from[2];
	struct tally tally[2];
};

static struct kept keep(const char *map, size_t size)
{
	struct kept kept = {.size = size, .content = malloc(size)};

	kept.memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, world_map(world, map), 0);
	CU_ASSERT_FATAL(kept.memory != MAP_FAILED && kept.content != NULL);
	memcpy(kept.content, kept.memory, size);
	return kept;
}

static void put_back(void *data, uint64_t round)
{
	struct moving *m = data;

	(void)round;
	for (int i = 0; i < 2; i++)
		memcpy(m->kept[i].memory, m->kept[i].content, m->kept[i].size);
}

static bool opens(enum suite_version v, uint16_t sport)
{
	struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], sport, 80, TCP_SYN_FLAG),
			  back;
	struct world_result r = send_of_pod(0, &spec), answer;

	if (r.verdict != TC_ACT_REDIRECT)
		return false;
	back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
	answer = send_of_pod(1, &back);
	spec.tcp_flags = TCP_ACK_FLAG;
	r = send_of_pod(0, &spec);
	return forwarded(&answer) && forwarded(&r);
}

/* Fills the table until the next connection makes entries move; how many stand then. */
static int fill_until_one_moves(struct moving *m, enum suite_version v)
{
	for (int i = 0; i < MOVING_WAYS; i++) {
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], NEWCOMER + i, 80, TCP_SYN_FLAG);
		uint64_t moved = world_counter(world, COUNTER_FLOWS_DISPLACED);

		m->kept[0] = keep(v == V4 ? "flows4" : "flows6",
				  MOVING_SETS * (v == V4 ? sizeof(struct flow4_set)
							 : sizeof(struct flow6_set)));
		m->kept[1] =
			keep(v == V4 ? "flow_tags4" : "flow_tags6", MOVING_SETS * sizeof(uint64_t));
		CU_ASSERT_FATAL(opens(v, NEWCOMER + i));
		if (world_counter(world, COUNTER_FLOWS_DISPLACED) > moved) {
			frame_make(&m->newcomer, &spec);
			return i;
		}
		for (int k = 0; k < 2; k++) {
			munmap(m->kept[k].memory, m->kept[k].size);
			free(m->kept[k].content);
		}
	}
	CU_FAIL_FATAL("no entry has moved");
	return 0;
}

/* Where a tuple's entry stands; NULL: nowhere. */
static const char *entry_of(const char *table, size_t size, const struct flow_tuple *tuple,
			    enum suite_version v)
{
	size_t step = v == V4 ? sizeof(struct flow4) : sizeof(struct flow6),
	       words = v == V4 ? FLOW_WORDS_V4 : FLOW_WORDS_V6;

	for (size_t at = 0; at < size; at += step)
		if (!memcmp(table + at, tuple->words, words * sizeof(uint64_t)))
			return table + at;
	return NULL;
}

/* The connection one of whose entries stands elsewhere now. */
static void find_who_moved(struct moving *m, enum suite_version v, int count)
{
	const struct kept *k = &m->kept[0];

	for (int i = 0; i < count; i++) {
		struct frame_spec spec[2] = {
			spec_of_segment(0, v, pod_text[1][v], NEWCOMER + i, 80, TCP_ACK_FLAG),
			spec_of_segment(1, v, pod_text[0][v], 80, NEWCOMER + i, TCP_ACK_FLAG)};

		for (int way = 0; way < 2; way++) {
			struct flow_tuple tuple = world_tuple(&spec[way], ZONE_POD);
			const char *before = entry_of(k->content, k->size, &tuple, v),
				   *now = entry_of(k->memory, k->size, &tuple, v);

			CU_ASSERT_FATAL(before && now);
			if (before - k->content == now - k->memory)
				continue;
			for (int n = 0; n < 2; n++) {
				m->from[n] = way ? !n : n;
				frame_make(&m->resident[n], &spec[m->from[n]]);
			}
			return;
		}
	}
	CU_FAIL_FATAL("nobody stands elsewhere");
}

/* One side opens the connection that makes the entry move, the other one goes on with the one that
 * it is of. */
static void meet_who_moves(void *data, int side, uint64_t round)
{
	struct moving *m = data;
	struct frame out;

	(void)round;
	if (!side) {
		send_again(HOOK_FROM_POD, world->pods[0].link, &m->newcomer, &m->tally[0], &out);
		return;
	}
	for (int i = 0; i < 4; i++) {
		int from = m->from[i > 2];
		int verdict = send_again(HOOK_FROM_POD, world->pods[from].link, &m->resident[i > 2],
					 &m->tally[1], &out);

		m->tally[1].reset += verdict != TC_ACT_REDIRECT ||
				     memcmp(out.bytes, world->pods[!from].mac, 6) != 0;
	}
}

static void entry_moves(enum suite_version v)
{
	struct moving m = {};
	struct duel duel = {.between = put_back,
			    .step = meet_who_moves,
			    .data = &m,
			    .milliseconds = 2 * DUEL_MS};
	uint64_t created, moved, rounds;

	find_who_moved(&m, v, fill_until_one_moves(&m, v));
	created = world_counter(world, COUNTER_FLOWS_CREATED);
	moved = world_counter(world, COUNTER_FLOWS_DISPLACED);
	rounds = duel_run(&duel);
	CU_ASSERT(tallies_are_clean(m.tally, rounds));
	/* Nobody took what moved for a flow that is not there, and opened it anew. */
	CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_CREATED), created + rounds);
	CU_ASSERT(world_counter(world, COUNTER_FLOWS_DISPLACED) >= moved + rounds);
	for (int k = 0; k < 2; k++) {
		munmap(m.kept[k].memory, m.kept[k].size);
		free(m.kept[k].content);
	}
}

static void an_entry_that_moves_is_found_all_the_time(void)
{
	with_options((struct world_options){.flow4_sets = MOVING_SETS, .flow6_sets = MOVING_SETS},
		     entry_moves);
}

/* ------------------------------------------------------------------ writers that died */

/* Given up, and counted as such: nobody is told that the connection does not exist. */
static bool dropped_as_busy(const struct world_result *r)
{
	enum polder_reason busy = reason_named("flow_busy");

	if (busy < REASON_COUNT)
		return dropped(r, busy);
	printf("\n    there is no reason flow_busy; verdict %d, reason %u ", r->verdict, r->reason);
	return false;
}

static void entry_in_the_making_is_waited_for_in_vain(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 13000, 80,
							 TCP_ACK_FLAG),
				  back;
		uint64_t rejects = world_counter(world, COUNTER_REJECTS);
		struct world_result r = open_connection(0, 1, v, pod_text[1][v], 13000, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);

		back = spec_of_answer(1, &r, TCP_ACK_FLAG);
		world_flow_hold(world, &tuple);
		for (int i = 0; i < 3; i++) {
			r = send_of_pod(0, &spec);
			CU_ASSERT(dropped_as_busy(&r));
		}
		/* The other direction is not held. */
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_REJECTS), rejects);
	}
}

static void held_answers_of_a_masqueraded_flow_are_not_the_nodes(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, outside[v], 13001, 443,
							 TCP_SYN_FLAG),
				  back;
		struct world_result r = send_of_pod(0, &spec);
		struct flow_tuple tuple;

		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_wire(&back);
		CU_ASSERT(forwarded(&r));
		tuple = world_tuple(&back, ZONE_WIRE);
		world_flow_hold(world, &tuple);
		back.tcp_flags = TCP_ACK_FLAG;
		r = send_of_wire(&back);
		CU_ASSERT(dropped_as_busy(&r));
	}
}

static void held_answers_of_a_service_are_not_a_new_flow(void)
{
	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 13002, 54), back;
		struct flow_tuple tuple;
		struct world_result r;

		world_set_service(world, 4, vip[v], IPPROTO_UDP, 54, &backend, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(1, &r, 0);
		tuple = world_tuple(&back, ZONE_POD);
		world_flow_hold(world, &tuple);
		r = send_of_pod(1, &back);
		CU_ASSERT(dropped_as_busy(&r));
		CU_ASSERT(world_flow_find(world, &tuple, NULL) == 1);
	}
}

/* The clock by which the collector takes a writer for dead. */
static uint64_t clock_ns;

static uint64_t clock_now(void)
{
	return clock_ns;
}

static struct flows *collector_new(void)
{
	struct flows_maps maps = {
		.fd_v4 = world_map(world, "flows4"),
		.fd_v6 = world_map(world, "flows6"),
		.sets_v4 = bpf_map__max_entries(
			bpf_object__find_map_by_name(world->objects[0], "flows4")),
		.sets_v6 = bpf_map__max_entries(
			bpf_object__find_map_by_name(world->objects[0], "flows6")),
		.control = &world->control,
		.clock_ns = clock_now,
	};

	return flows_new(&maps);
}

static void collector_repairs_what_a_dead_writer_left(void)
{
	struct flows *collector = collector_new();
	struct flows_stats stats;

	CU_ASSERT_FATAL(collector != NULL);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], 13003, 80, TCP_ACK_FLAG);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);

		open_connection(0, 1, v, pod_text[1][v], 13003, 80);
		world_flow_hold(world, &tuple);
	}
	flows_collect(collector, flows_now(), UINT64_MAX);
	clock_ns += 1100000000; /* a writer is not taken for dead sooner */
	flows_collect(collector, flows_now(), UINT64_MAX);
	flows_stats(collector, &stats);
	CU_ASSERT_EQUAL(stats.repaired, 2);
	EACH_VERSION(v)
	open_connection(0, 1, v, pod_text[1][v], 13003, 80);
	flows_free(collector);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(connections_opened_at_once_find_a_place_each),
		SUITE_TEST(flow_first_seen_on_two_cpus_is_one_flow),
		SUITE_TEST(flow_of_a_pod_to_itself_begun_at_both_ends_is_one_flow),
		SUITE_TEST(port_taken_on_two_cpus_at_once_belongs_to_one_flow),
		SUITE_TEST(packet_never_leaves_by_another_flows_entry),
		SUITE_TEST(an_entry_that_moves_is_found_all_the_time),
		SUITE_TEST(entry_in_the_making_is_waited_for_in_vain),
		SUITE_TEST(held_answers_of_a_masqueraded_flow_are_not_the_nodes),
		SUITE_TEST(held_answers_of_a_service_are_not_a_new_flow),
		SUITE_TEST(collector_repairs_what_a_dead_writer_left),
	};

	return SUITE_RUN("new flows on two CPUs", tests);
}
