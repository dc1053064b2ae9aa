/* SPDX-License-Identifier: Apache-2.0 */
/* Live flows whose two directions are on two CPUs while every flow is re-evaluated, again and
 * again.
 */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "duel.h"

#define DUEL_MS 1000
/* A packet that meets a writer too often is given up; more than so many in a thousand is no
 * accident. */
#define BUSY_PER_MILLE 10

static const char *const vip[2] = {"10.96.0.1", "fd00:96::1"};

/* One direction of a flow: a packet, and what becomes of it when all is quiet. */
struct side {
	enum world_hook hook;
	uint32_t link;
	struct frame sent, wanted;
	/* What came of it in the duel. */
	uint64_t wrong, lost;
	int verdict; /* of the first that went wrong */
	struct frame seen;
};

struct flow {
	enum suite_version v;
	uint8_t proto;
	const char *to;
	uint16_t sport, dport;
	struct side sides[2]; /* the opener's and the answers' */
};

static uint64_t busy_drops(void)
{
	enum polder_reason busy = reason_named("flow_busy");

	return busy < REASON_COUNT ? world_drops(world, busy) : 0;
}

static struct world_result send_side(const struct side *side)
{
	return world_run(world, side->hook, side->link, side->link, &side->sent);
}

/* Where the packet of an answerer comes in. */
static void answerer_fill(struct side *side, int answerer, const struct frame_spec *spec)
{
	side->hook = answerer < 0 ? HOOK_FROM_WIRE : HOOK_FROM_POD;
	side->link = answerer < 0 ? WORLD_UPLINK : world->pods[answerer].link;
	frame_make(&side->sent, spec);
}

/* Opens it while all is quiet, from pod 0; `answerer` is a pod, or -1: behind the router. */
static void flow_open(struct flow *flow, int answerer)
{
	bool tcp = flow->proto == IPPROTO_TCP;
	struct frame_spec spec = spec_of_pod(0, flow->v, flow->to, flow->proto, flow->sport,
					     flow->dport),
			  back;
	struct side *opener = &flow->sides[0], *other = &flow->sides[1];
	struct world_result r;

	opener->hook = HOOK_FROM_POD;
	opener->link = world->pods[0].link;
	frame_make(&opener->sent, &spec);
	r = send_side(opener);
	CU_ASSERT(forwarded(&r));
	back = spec_of_answer(answerer, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
	answerer_fill(other, answerer, &back);
	r = send_side(other);
	CU_ASSERT(forwarded(&r));
	spec.tcp_flags = back.tcp_flags = tcp ? TCP_ACK_FLAG : 0;
	frame_make(&opener->sent, &spec);
	answerer_fill(other, answerer, &back);
	for (int i = 0; i < 2; i++) {
		r = send_side(&flow->sides[i]);
		CU_ASSERT(forwarded(&r));
		flow->sides[i].wanted = r.out;
	}
}

static void exchange(void *data, int number, uint64_t round)
{
	struct flow *flow = data;
	struct side *side = &flow->sides[number];
	struct frame out;
	int verdict = world_pass(world, side->hook, side->link, &side->sent, &out);

	(void)round;
	if (verdict == TC_ACT_REDIRECT && out.length == side->wanted.length &&
	    !memcmp(out.bytes, side->wanted.bytes, out.length))
		return;
	if (verdict == TC_ACT_SHOT) {
		side->lost++;
		return;
	}
	if (!side->wrong++) {
		side->verdict = verdict;
		side->seen = out;
	}
}

static bool side_is_right(const struct side *side, const char *name)
{
	struct frame_spec got = {0};

	if (!side->wrong)
		return true;
	printf("\n    %s: %lu packets went wrong; the first: verdict %d", name, side->wrong,
	       side->verdict);
	if (!frame_read(&side->seen, &got))
		printf(", ports %u to %u, TCP flags 0x%x", got.sport, got.dport, got.tcp_flags);
	return false;
}

static void move(void *data, uint64_t round)
{
	(void)data;
	(void)round;
	world_move_generation(world, 2);
}

/* Nothing may have been told to a sender or given up, but for a few that met a writer. */
static void assert_nothing_broke(const struct flow *flow, uint64_t rounds, const uint64_t before[3])
{
	uint64_t lost = flow->sides[0].lost + flow->sides[1].lost, busy = busy_drops() - before[2];

	CU_ASSERT(side_is_right(&flow->sides[0], "from the opener"));
	CU_ASSERT(side_is_right(&flow->sides[1], "to the opener"));
	CU_ASSERT_EQUAL(world_drops(world, REASON_NO_FLOW), before[0]);
	CU_ASSERT_EQUAL(world_counter(world, COUNTER_REJECTS), before[1]);
	CU_ASSERT_EQUAL(lost, busy);
	CU_ASSERT(busy * 1000 <= 2 * rounds * BUSY_PER_MILLE);
}

static void duel_flow(struct flow *flow, int answerer, void (*between)(void *data, uint64_t round))
{
	struct duel duel = {
		.between = between, .step = exchange, .data = flow, .milliseconds = DUEL_MS};
	uint64_t before[3], rounds;

	flow_open(flow, answerer);
	before[0] = world_drops(world, REASON_NO_FLOW);
	before[1] = world_counter(world, COUNTER_REJECTS);
	before[2] = busy_drops();
	rounds = duel_run(&duel);
	if (!rounds)
		printf("\n    nothing was tried: one CPU ");
	assert_nothing_broke(flow, rounds, before);
	/* And when it is quiet again. */
	for (int i = 0; i < 2; i++) {
		struct world_result r = send_side(&flow->sides[i]);

		CU_ASSERT(forwarded(&r));
		CU_ASSERT(r.out.length == flow->sides[i].wanted.length &&
			  !memcmp(r.out.bytes, flow->sides[i].wanted.bytes, r.out.length));
	}
}

static void changes_do_not_break_connections_between_pods(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_TCP, pod_text[1][v], 12000, 80, {{0}}};

		duel_flow(&flow, 1, move);
	}
}

static void set_service(uint32_t id, enum suite_version v, uint8_t proto, uint16_t port)
{
	struct world_backend backends[] = {{pod_text[1][v], 8080, 0}};

	world_set_service(world, id, vip[v], proto, port, backends, 1);
}

static void changes_do_not_break_connections_to_a_service(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_TCP, vip[v], 12001, 80, {{0}}};

		set_service(1, v, IPPROTO_TCP, 80);
		duel_flow(&flow, 1, move);
	}
}

static void changes_leave_answers_of_a_service_their_translation(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_UDP, vip[v], 12002, 53, {{0}}};

		set_service(2, v, IPPROTO_UDP, 53);
		duel_flow(&flow, 1, move);
	}
}

static void changes_leave_masqueraded_connections_their_port(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_TCP, outside[v], 12003, 443, {{0}}};

		duel_flow(&flow, -1, move);
	}
}

static void changes_leave_masqueraded_datagrams_their_port(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_UDP, outside[v], 12004, 443, {{0}}};

		duel_flow(&flow, -1, move);
	}
}

/* The generation moves in the middle of packets, not between them. */
static void *move_every_millisecond(void *data)
{
	atomic_bool *over = data;
	struct timespec pause = {.tv_nsec = 1000000};

	while (!atomic_load(over)) {
		world_move_generation(world, 2);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void changes_in_mid_packet_do_not_break_connections(void)
{
	EACH_VERSION(v)
	{
		struct flow flow = {v, IPPROTO_TCP, vip[v], 12005, 81, {{0}}};
		atomic_bool over = false;
		pthread_t mover;

		set_service(3, v, IPPROTO_TCP, 81);
		CU_ASSERT_FATAL(pthread_create(&mover, NULL, move_every_millisecond, &over) == 0);
		duel_flow(&flow, 1, NULL);
		atomic_store(&over, true);
		pthread_join(mover, NULL);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(changes_do_not_break_connections_between_pods),
		SUITE_TEST(changes_do_not_break_connections_to_a_service),
		SUITE_TEST(changes_leave_answers_of_a_service_their_translation),
		SUITE_TEST(changes_leave_masqueraded_connections_their_port),
		SUITE_TEST(changes_leave_masqueraded_datagrams_their_port),
		SUITE_TEST(changes_in_mid_packet_do_not_break_connections),
	};

	return SUITE_RUN("live flows on two CPUs", tests);
}
