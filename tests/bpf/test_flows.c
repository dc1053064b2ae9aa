/* SPDX-License-Identifier: Apache-2.0 */
/* The states of flows, and what may end one. */
#include "suite.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct states {
	int count;
	uint8_t all, any;
	uint64_t packets;
	bool locked;
};

static void collect_states(const struct flow_head *head, void *data)
{
	struct states *states = data;

	states->count++;
	states->any |= head->state;
	states->all &= head->state;
	states->packets += head->packets;
	states->locked |= head->seq & 1;
}

static struct states states_now(enum suite_version v)
{
	struct states states = {.all = 0xff};

	each_entry(v, collect_states, &states);
	return states;
}

static void both_entries_know_the_connections_state(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 10100, 80,
							 TCP_SYN_FLAG),
				  back;
		struct world_result r = send_of_pod(0, &spec);
		struct states states = states_now(v);

		CU_ASSERT(states.count == 2 && !(states.any & (FLOW_REPLIED | FLOW_ESTABLISHED)) &&
			  !states.locked);
		CU_ASSERT(states.any & FLOW_REPLY && !(states.all & FLOW_REPLY));
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		send_of_pod(1, &back);
		states = states_now(v);
		CU_ASSERT(states.all & FLOW_REPLIED && !(states.any & FLOW_ESTABLISHED));
		spec.tcp_flags = TCP_ACK_FLAG;
		send_of_pod(0, &spec);
		states = states_now(v);
		CU_ASSERT(states.all & FLOW_ESTABLISHED);
		spec.tcp_flags = TCP_FIN_FLAG | TCP_ACK_FLAG;
		send_of_pod(0, &spec);
		back.tcp_flags = TCP_FIN_FLAG | TCP_ACK_FLAG;
		send_of_pod(1, &back);
		states = states_now(v);
		CU_ASSERT(states.all & FLOW_FIN_ORIG && states.all & FLOW_FIN_REPLY);
		CU_ASSERT_EQUAL(states.count, 2);
	}
}

static void what_is_reevaluated_keeps_the_connections_state(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], 10150, 80, TCP_ACK_FLAG);
		struct states states;

		open_connection(0, 1, v, pod_text[1][v], 10150, 80);
		world_move_generation(world, 2);
		send_of_pod(0, &spec);
		states = states_now(v);
		CU_ASSERT(states.count == 2 && states.all & FLOW_ESTABLISHED &&
			  states.all & FLOW_REPLIED);
		world_forget_flows(world);
	}
}

static void a_question_and_its_answer_are_no_stream(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 10101, 53),
				  back;
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(!(states_now(v).any & (FLOW_ESTABLISHED | FLOW_REPLIED)));
		back = spec_of_answer(1, &r, 0);
		send_of_pod(1, &back);
		send_of_pod(0, &spec);
		CU_ASSERT(states_now(v).all & FLOW_REPLIED);
		CU_ASSERT(!(states_now(v).any & FLOW_ESTABLISHED));
	}
}

static void datagrams_that_go_on_after_an_answer_are_a_stream(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 10101, 53),
				  back;
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = send_of_pod(0, &spec);

		back = spec_of_answer(1, &r, 0);
		send_of_pod(1, &back);
		world_flow_age(world, &tuple, 2);
		send_of_pod(0, &spec);
		CU_ASSERT(states_now(v).all & FLOW_ESTABLISHED);
		world_forget_flows(world);
	}
}

static void counts_packets_of_both_directions(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = open_connection(0, 1, v, pod_text[1][v], 10102, 80);
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 10102, 80,
							 TCP_ACK_FLAG),
				  back;
		uint64_t before = states_now(v).packets;

		back = spec_of_answer(1, &r, TCP_ACK_FLAG);
		for (int i = 0; i < 5; i++) {
			send_of_pod(0, &spec);
			send_of_pod(1, &back);
		}
		CU_ASSERT_EQUAL(states_now(v).packets, before + 10);
	}
}

static void syn_on_the_ports_of_a_closed_connection_opens_a_new_one(void)
{
	EACH_VERSION(v)
	{
		uint64_t created;
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 10103, 80,
							 TCP_RST_FLAG | TCP_ACK_FLAG);

		open_connection(0, 1, v, pod_text[1][v], 10103, 80);
		send_of_pod(0, &spec);
		CU_ASSERT(states_now(v).all & FLOW_RESET);
		created = world_counter(world, COUNTER_FLOWS_CREATED);
		open_connection(0, 1, v, pod_text[1][v], 10103, 80);
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_CREATED), created + 1);
		CU_ASSERT(!(states_now(v).any & FLOW_RESET));
		CU_ASSERT_EQUAL(states_now(v).count, 2);
	}
}

static void unanswered_opener_does_not_establish_by_itself(void)
{
	struct states states;

	segment(V4, 10104, TCP_SYN_FLAG);
	segment(V4, 10104, TCP_ACK_FLAG); /* nobody has answered */
	states = states_now(V4);
	CU_ASSERT(!(states.any & FLOW_ESTABLISHED));
}

static struct flow4 *map_table(uint32_t *ret_sets)
{
	uint32_t sets =
		bpf_map__max_entries(bpf_object__find_map_by_name(world->objects[0], "flows4"));
	struct flow4 *table = mmap(NULL, sets * sizeof(struct flow4_set), PROT_READ | PROT_WRITE,
				   MAP_SHARED, world_map(world, "flows4"), 0);

	CU_ASSERT_FATAL(table != MAP_FAILED);
	*ret_sets = sets;
	return table;
}

/* The entries of replies, or of openers, are gone. */
static void wipe(bool replies)
{
	uint32_t sets;
	struct flow4 *table = map_table(&sets);

	for (uint32_t i = 0; i < sets * FLOW_WAYS; i++)
		if (!!(table[i].head.state & FLOW_REPLY) == replies)
			memset(&table[i], 0, sizeof(table[i]));
	munmap(table, sets * sizeof(struct flow4_set));
}

/* A writer begins to write, or ends writing, the entries of replies or of openers. */
static void claim(bool replies, bool begins)
{
	uint32_t sets;
	struct flow4 *table = map_table(&sets);

	for (uint32_t i = 0; i < sets * FLOW_WAYS; i++)
		if (table[i].head.generation && !!(table[i].head.state & FLOW_REPLY) == replies) {
			CU_ASSERT((table[i].head.seq & 1) != begins);
			table[i].head.seq++;
		}
	munmap(table, sets * sizeof(struct flow4_set));
}

/* Its reply's entry had to make room: the opener's next packet writes it again. */
static void unanswered_flow_gets_its_reply_entry_back(void)
{
	struct world_result r = segment(V4, 10105, TCP_SYN_FLAG);
	struct frame_spec back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);

	wipe(true);
	r = send_of_pod(1, &back);
	CU_ASSERT(told(&r, REASON_NO_FLOW));
	world_flows_age(world, 1);
	r = segment(V4, 10105, TCP_SYN_FLAG);
	CU_ASSERT(forwarded(&r));
	r = send_of_pod(1, &back);
	CU_ASSERT(forwarded(&r));
}

/* The opener's entry had to make room: an answer would open a connection whose next segment finds
 * no flow. */
static void handshake_whose_opener_was_evicted_begins_again(void)
{
	struct world_result r = segment(V4, 10106, TCP_SYN_FLAG);
	struct frame_spec back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);

	for (int i = 0; i < 2; i++) {
		wipe(false);
		/* However often it is answered. */
		for (int again = 0; again < 2; again++) {
			r = send_of_pod(1, &back);
			CU_ASSERT(told(&r, REASON_NO_FLOW));
		}
		r = segment(V4, 10106, TCP_SYN_FLAG);
		CU_ASSERT(forwarded(&r));
	}
	r = send_of_pod(1, &back);
	CU_ASSERT(forwarded(&r));
	r = segment(V4, 10106, TCP_ACK_FLAG);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT(states_now(V4).all & FLOW_ESTABLISHED);
}

/* A datagram's answer opens nothing: it arrives, and the next question is a new one. */
static void answer_to_a_datagram_arrives_without_its_questions_entry(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 10107, 53);
	struct world_result r = send_of_pod(0, &spec);
	struct frame_spec back = spec_of_answer(1, &r, 0);

	wipe(false);
	r = send_of_pod(1, &back);
	CU_ASSERT(forwarded(&r));
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
}

/* A writer is at the other side's entry when the answer comes, and when the handshake ends: both
 * entries know the connection's state from a later packet. */
static void state_that_one_entry_could_not_be_told_is_told_later(void)
{
	struct world_result r = segment(V4, 10108, TCP_SYN_FLAG);
	struct frame_spec back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);

	claim(false, true);
	r = send_of_pod(1, &back);
	CU_ASSERT(forwarded(&r));
	claim(false, false);
	CU_ASSERT(!(states_now(V4).any & FLOW_REPLIED));
	r = send_of_pod(1, &back);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT(states_now(V4).all & FLOW_REPLIED);
	claim(true, true);
	r = segment(V4, 10108, TCP_ACK_FLAG);
	CU_ASSERT(forwarded(&r));
	claim(true, false);
	CU_ASSERT(!(states_now(V4).any & FLOW_ESTABLISHED));
	r = segment(V4, 10108, TCP_ACK_FLAG);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT(states_now(V4).all & FLOW_ESTABLISHED);
}

static void many_flows_stay_apart(void)
{
	enum { FLOWS = 2000 };

	for (int i = 0; i < FLOWS; i++)
		segment(V4, 20000 + i, TCP_SYN_FLAG);
	CU_ASSERT_EQUAL(states_now(V4).count, 2 * FLOWS);
	for (int i = 0; i < FLOWS; i++) {
		struct frame_spec back = spec_of_segment(1, V4, pod_text[0][V4], 80, 20000 + i,
							 TCP_SYN_FLAG | TCP_ACK_FLAG);
		struct world_result r = send_of_pod(1, &back);

		CU_ASSERT(r.verdict == TC_ACT_REDIRECT);
	}
	CU_ASSERT(states_now(V4).all & FLOW_REPLIED);
}

static void hold(bool on)
{
	world->control.moving = on ? MOVING_HOLD : 0;
	world_move_generation(world, 0);
}

/* While maps of other sizes take their place: the tables hold the same flows, nobody may write one
 * in one of them alone. */
static void while_tables_move_none_opens_a_flow_and_none_ends(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 30000, 80,
							 TCP_SYN_FLAG),
				  back;
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = segment(v, 30000, TCP_SYN_FLAG), answer;
		struct states before;
		struct flow_head head;

		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		answer = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&answer));
		r = segment(v, 30000, TCP_ACK_FLAG);
		CU_ASSERT(forwarded(&r));
		before = states_now(v);
		hold(true);
		r = segment(v, 30001, TCP_SYN_FLAG);
		CU_ASSERT(r.verdict == TC_ACT_SHOT && r.reason == REASON_FLOW_BUSY);
		r = segment(v, 30000, TCP_ACK_FLAG);
		CU_ASSERT(forwarded(&r));
		/* Re-evaluated with the same outcome: one word, in whichever table. */
		world_move_generation(world, 2);
		r = segment(v, 30000, TCP_ACK_FLAG);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(world_flow_find(world, &tuple, &head) == 1 &&
			  head.generation == world->control.generation);
		/* Another outcome has to wait, and the flow is not over for that. */
		world_set_rules(world, 1, RULESET_OPEN, allow_all());
		world_move_generation(world, 2);
		r = segment(v, 30000, TCP_ACK_FLAG);
		CU_ASSERT(r.verdict == TC_ACT_SHOT && r.reason == REASON_FLOW_BUSY);
		CU_ASSERT_EQUAL(states_now(v).count, before.count);
		hold(false);
		r = segment(v, 30000, TCP_ACK_FLAG);
		CU_ASSERT(forwarded(&r));
		r = segment(v, 30001, TCP_SYN_FLAG);
		CU_ASSERT(forwarded(&r));
		world_set_rules(world, 1, RULESET_OPEN, RULESET_OPEN);
		world_move_generation(world, 2);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(both_entries_know_the_connections_state),
		SUITE_TEST(what_is_reevaluated_keeps_the_connections_state),
		SUITE_TEST(a_question_and_its_answer_are_no_stream),
		SUITE_TEST(datagrams_that_go_on_after_an_answer_are_a_stream),
		SUITE_TEST(counts_packets_of_both_directions),
		SUITE_TEST(syn_on_the_ports_of_a_closed_connection_opens_a_new_one),
		SUITE_TEST(unanswered_opener_does_not_establish_by_itself),
		SUITE_TEST(unanswered_flow_gets_its_reply_entry_back),
		SUITE_TEST(handshake_whose_opener_was_evicted_begins_again),
		SUITE_TEST(answer_to_a_datagram_arrives_without_its_questions_entry),
		SUITE_TEST(state_that_one_entry_could_not_be_told_is_told_later),
		SUITE_TEST(many_flows_stay_apart),
		SUITE_TEST(while_tables_move_none_opens_a_flow_and_none_ends),
	};

	return SUITE_RUN("the flow table", tests);
}
