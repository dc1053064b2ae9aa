/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table when it is full: what may push out what, and whom entries count for. */
#include "flow_room.h"

#include <bpf/bpf.h>
#include <time.h>
#include <unistd.h>

/* Two sets of eight for each family: the third flow of 8 pairs of entries already crowds it. */
#define SMALL_SETS 2
#define SMALL_WAYS (SMALL_SETS * FLOW_WAYS)

/* Established connections until no more fit; how many. Ports count up from 10000. */
static int fill_with_connections(enum suite_version v)
{
	for (int i = 0; i < SMALL_WAYS; i++) {
		struct world_result r = segment(v, 10000 + i, TCP_SYN_FLAG), answer;
		struct frame_spec back;

		if (r.verdict != TC_ACT_REDIRECT)
			return i;
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		answer = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&answer));
		r = segment(v, 10000 + i, TCP_ACK_FLAG);
		CU_ASSERT(forwarded(&r));
	}
	return SMALL_WAYS;
}

static void full_table(void)
{
	EACH_VERSION(v)
	{
		int count = fill_with_connections(v), refused = 0;
		struct world_result r;

		/* Both entries of a flow take a place. */
		CU_ASSERT(count >= SMALL_WAYS / 4 && count <= SMALL_WAYS / 2);
		for (int i = 0; i < 50; i++) {
			r = segment(v, 20000 + i, TCP_SYN_FLAG);
			refused += r.verdict == TC_ACT_SHOT && r.reason == REASON_FLOW_TABLE_FULL;
		}
		CU_ASSERT(refused > 0);
		for (int i = 0; i < count; i++) {
			r = segment(v, 10000 + i, TCP_ACK_FLAG);
			CU_ASSERT(forwarded(&r));
		}
	}
}

static void table_full_of_established_flows_refuses_new_ones_and_keeps_old(void)
{
	with_table(SMALL_SETS, full_table);
}

/* A segment of the connection from the first pod's port to the second pod's 80, by either of them.
 */
static bool passes(enum suite_version v, int from, uint16_t sport, uint8_t flags)
{
	struct frame_spec spec = from ? spec_of_segment(1, v, pod_text[0][v], 80, sport, flags)
				      : spec_of_segment(0, v, pod_text[1][v], sport, 80, flags);
	struct world_result r = send_of_pod(from, &spec);

	return r.verdict == TC_ACT_REDIRECT && !r.drops;
}

/* First packets for which there is no room. */
static int count_refused(enum suite_version v, int count)
{
	int refused = 0;

	for (int i = 0; i < count; i++)
		refused += !passes(v, 0, 20000 + i, TCP_SYN_FLAG);
	return refused;
}

static void connections_end(void)
{
	EACH_VERSION(v)
	{
		int count = fill_with_connections(v);

		for (int i = 0; i < count; i++)
			CU_ASSERT(passes(v, 0, 10000 + i, TCP_RST_FLAG));
		CU_ASSERT_EQUAL(count_refused(v, 50), 0);
		world_forget_flows(world);
		count = fill_with_connections(v);
		for (int i = 0; i < count; i++)
			CU_ASSERT(passes(v, 0, 10000 + i, TCP_FIN_FLAG | TCP_ACK_FLAG));
		/* One side has more to say. */
		CU_ASSERT(count_refused(v, 50) > 0);
		for (int i = 0; i < count; i++)
			CU_ASSERT(passes(v, 1, 10000 + i, TCP_FIN_FLAG | TCP_ACK_FLAG));
		CU_ASSERT_EQUAL(count_refused(v, 50), 0);
	}
}

static void connections_give_way_once_both_sides_have_ended_them(void)
{
	with_table(SMALL_SETS, connections_end);
}

/* Makes one direction of the connections look unused for longer than one may be. */
static void age_connections(enum suite_version v, int from, int count)
{
	for (int i = 0; i < count; i++) {
		struct frame_spec spec =
			from ? spec_of_segment(1, v, pod_text[0][v], 80, 10000 + i, 0)
			     : spec_of_segment(0, v, pod_text[1][v], 10000 + i, 80, 0);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);

		world_flow_age(world, &tuple, FLOW_TIMEOUT_TCP_ESTABLISHED + 1);
	}
}

static void connections_idle(void)
{
	EACH_VERSION(v)
	{
		int count = fill_with_connections(v);

		age_connections(v, 0, count);
		CU_ASSERT(count_refused(v, 50) > 0);
		for (int i = 0; i < count; i++)
			CU_ASSERT(passes(v, 1, 10000 + i, TCP_ACK_FLAG));
		age_connections(v, 1, count);
		CU_ASSERT_EQUAL(count_refused(v, 50), 0);
	}
}

static void connection_gives_way_when_both_sides_have_been_idle_for_its_time(void)
{
	with_table(SMALL_SETS, connections_idle);
}

struct owned {
	uint32_t place, entries;
};

static void count_owned(const struct flow_head *head, void *data)
{
	struct owned *owned = data;

	owned->entries += head->owner == owned->place;
}

/* Is what is counted for each pod what stands in the table? */
static bool usage_is_right(enum suite_version v)
{
	bool right = true;

	for (int pod = 0; pod < WORLD_PODS; pod++) {
		struct owned owned = {.place = world->pods[pod].link};
		struct flow_usage usage = {};

		each_entry(v, count_owned, &owned);
		CU_ASSERT_EQUAL(
			bpf_map_lookup_elem(world_map(world, "flow_usage"), &owned.place, &usage),
			0);
		if (usage.entries[v] != owned.entries)
			printf("\n    pod %d: %u entries are counted, %u stand there", pod,
			       usage.entries[v], owned.entries);
		right &= usage.entries[v] == owned.entries;
	}
	return right;
}

static void count_usage(void)
{
	EACH_VERSION(v)
	{
		int count = fill_with_connections(v);

		CU_ASSERT(usage_is_right(v));
		/* Places that are given back, since there is none for the other direction. */
		CU_ASSERT(count_refused(v, 50) > 0);
		CU_ASSERT(usage_is_right(v));
		/* A closed connection that is opened again. */
		CU_ASSERT(passes(v, 0, 10000, TCP_RST_FLAG) && passes(v, 0, 10000, TCP_SYN_FLAG));
		CU_ASSERT(usage_is_right(v));
		for (int i = 0; i < count; i++)
			passes(v, 0, 10000 + i, TCP_RST_FLAG);
		/* The third pod's take their places. */
		for (int i = 0; i < 50; i++) {
			struct frame_spec spec =
				spec_of_segment(2, v, pod_text[1][v], 1024 + i, 80, TCP_SYN_FLAG);

			send_of_pod(2, &spec);
		}
		CU_ASSERT(usage_is_right(v));
	}
}

static void entries_count_for_the_pod_that_opened_their_flow(void)
{
	with_table(SMALL_SETS, count_usage);
}

static void greedy_pod(void)
{
	set_share(SHARE);
	EACH_VERSION(v)
	{
		int refused = 0, standing = 0, opened = 0, reason;

		/* More than its share while there is room, then no more. */
		for (int i = 0; i < SHARED_WAYS && !refused; i++) {
			reason = connection(0, 1, v, 1024 + i);
			refused = reason == REASON_FLOW_SHARE;
			opened += !reason;
		}
		CU_ASSERT(refused);
		CU_ASSERT(2 * opened > SHARE);
		/* Whoever holds less than its share finds a place all the same, in the fullest sets
		 * too. */
		for (int i = 0; i < SHARE / 2 - 1; i++)
			CU_ASSERT_EQUAL(connection(2, 1, v, 1024 + i), 0);
		for (int i = 0; i < SHARE / 2 - 1; i++) {
			struct frame_spec spec =
				spec_of_segment(2, v, pod_text[1][v], 1024 + i, 80, TCP_ACK_FLAG);
			struct world_result r = send_of_pod(2, &spec);

			standing += forwarded(&r);
		}
		CU_ASSERT_EQUAL(standing, SHARE / 2 - 1);
	}
}

static void pod_no_longer_greedy(void)
{
	EACH_VERSION(v)
	{
		int opened = 0, reason = 0;

		set_share(SHARE);
		for (int i = 0; i < SHARED_WAYS && reason != REASON_FLOW_SHARE; i++) {
			reason = connection(0, 1, v, 1024 + i);
			opened += !reason;
		}
		CU_ASSERT(reason == REASON_FLOW_SHARE);
		/* As when other pods leave: it holds less than its share now. */
		set_share(SHARED_WAYS);
		for (int i = 0; i < SHARED_WAYS && reason != REASON_FLOW_TABLE_FULL; i++)
			reason = connection(2, 1, v, 1024 + i);
		CU_ASSERT(reason == REASON_FLOW_TABLE_FULL);
		for (int i = 0; i < opened; i++)
			CU_ASSERT(passes(v, 0, 1024 + i, TCP_ACK_FLAG));
	}
}

static void flows_of_a_pod_that_holds_its_share_again_do_not_give_way(void)
{
	with_table(SHARED_SETS, pod_no_longer_greedy);
}

static void flows_of_a_pod_over_its_share_give_way_to_those_of_others(void)
{
	with_table(SHARED_SETS, greedy_pod);
}

/* A datagram of the pod to the outside; what the pod gets of the answer. */
static struct world_result ask(int pod, enum suite_version v, uint16_t sport)
{
	struct frame_spec spec = spec_of_pod(pod, v, outside[v], IPPROTO_UDP, sport, 53);
	struct world_result r = send_of_pod(pod, &spec);

	CU_ASSERT(forwarded(&r));
	return r;
}

static bool answered(const struct world_result *question)
{
	struct frame_spec back = spec_of_answer(-1, question, 0);
	struct world_result r = send_of_wire(&back);

	return r.verdict == TC_ACT_REDIRECT && !r.drops;
}

#define QUESTIONS_AT_ONCE 8

static void pass_a_while(void)
{
	world_flows_age(world, 3);
}

static void questions_in_a_full_table(void)
{
	/* The table is full of flows that are over. */
	EACH_VERSION(v)
	{
		for (int i = 0; i < SHARED_WAYS; i++) {
			struct world_result question = ask(0, v, 1024 + i);

			CU_ASSERT(answered(&question));
		}
	}
	pass_a_while();
	EACH_VERSION(v)
	{
		int lost = 0;

		for (int round = 0; round < 32; round++) {
			struct world_result questions[QUESTIONS_AT_ONCE];

			for (int i = 0; i < QUESTIONS_AT_ONCE; i++)
				questions[i] = ask(0, v, 20000 + round * QUESTIONS_AT_ONCE + i);
			for (int i = 0; i < QUESTIONS_AT_ONCE; i++)
				lost += !answered(&questions[i]);
		}
		/* Two that happen to stand side by side look like a flood. */
		CU_ASSERT(lost <= 2);
	}
}

static void question_that_waits_for_its_answer_outlives_those_that_were_answered(void)
{
	with_table(SHARED_SETS, questions_in_a_full_table);
}

struct by_state {
	uint32_t now;
	int answered, unanswered, old; /* old: of those answered */
};

static void count_state(const struct flow_head *head, void *data)
{
	struct by_state *count = data;

	if (!(head->state & FLOW_REPLIED))
		count->unanswered++;
	else if (count->now - head->last >= 2)
		count->old++;
	else
		count->answered++;
}

static struct by_state states_now(enum suite_version v)
{
	struct timespec now;
	struct by_state count;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	count = (struct by_state){
		.now = ((uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec) >>
		       FLOW_TICK_SHIFT};
	each_entry(v, count_state, &count);
	return count;
}

static void ask_and_answer(enum suite_version v, uint16_t sport, int count)
{
	for (int i = 0; i < count; i++) {
		struct world_result question = ask(0, v, sport + i);

		CU_ASSERT(answered(&question));
	}
}

#define NEW_FLOWS 64
#define SOME_FREE 8 /* places that are free still: nobody gives way there */

static void questions_of_a_while_ago(void)
{
	struct by_state before, after;

	EACH_VERSION(v)
	{
		ask_and_answer(v, 1024, SHARED_WAYS);
	}
	pass_a_while();
	EACH_VERSION(v)
	{
		for (int i = 0; i < SHARED_WAYS / 4; i++)
			ask(0, v, 10000 + i);
	}
	pass_a_while();
	EACH_VERSION(v)
	{
		before = states_now(v);
		ask_and_answer(v, 20000, NEW_FLOWS);
		after = states_now(v);
		CU_ASSERT(before.unanswered - after.unanswered >= 2 * NEW_FLOWS - SOME_FREE);
	}
}

static void what_nobody_answered_for_a_while_gives_way_first(void)
{
	with_table(SHARED_SETS, questions_of_a_while_ago);
}

static void answers_of_a_while_ago(void)
{
	struct by_state before, after;

	EACH_VERSION(v)
	ask_and_answer(v, 1024, SHARED_WAYS);
	pass_a_while();
	EACH_VERSION(v)
	{
		ask_and_answer(v, 10000, SHARED_WAYS / 4);
		before = states_now(v);
		ask_and_answer(v, 20000, NEW_FLOWS);
		after = states_now(v);
		CU_ASSERT(before.old - after.old >= 2 * NEW_FLOWS - SOME_FREE);
	}
}

static void of_flows_that_are_alike_the_one_idle_for_longest_gives_way(void)
{
	with_table(SHARED_SETS, answers_of_a_while_ago);
}

/* The first pod's flood of first packets meets questions of the third pod, answered and not. */
static void flood_over_its_share(void)
{
	set_share(SHARE);
	EACH_VERSION(v)
	{
		struct world_result questions[SHARE / 4], waiting[SHARE / 8];
		int known = 0, waited = 0;

		for (int i = 0; i < SHARE / 4; i++) {
			questions[i] = ask(2, v, 1024 + i);
			CU_ASSERT(answered(&questions[i]));
		}
		for (int i = 0; i < SHARE / 8; i++)
			waiting[i] = ask(2, v, 10000 + i);
		for (int i = 0; i < 3 * SHARED_WAYS; i++) {
			struct frame_spec spec =
				spec_of_segment(0, v, pod_text[1][v], 1024 + i, 80, TCP_SYN_FLAG);
			struct frame frame;

			frame_make(&frame, &spec);
			world_step(world, HOOK_FROM_POD, world->pods[0].link, &frame);
		}
		for (int i = 0; i < SHARE / 4; i++)
			known += answered(&questions[i]);
		for (int i = 0; i < SHARE / 8; i++)
			waited += answered(&waiting[i]);
		CU_ASSERT(known >= SHARE / 4 * 9 / 10 && waited >= SHARE / 8 * 9 / 10);
	}
}

static void pod_over_its_share_takes_its_own_places_before_those_of_others(void)
{
	with_table(SHARED_SETS, flood_over_its_share);
}

/* As a sender does: the first packet again until it is answered. The flood goes on in between. */
static bool opens_sooner_or_later(enum suite_version v, uint16_t sport)
{
	for (int i = 0; i < 6; i++) {
		struct world_result r = segment(v, sport, TCP_SYN_FLAG), answer;
		struct frame_spec back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);

		answer = send_of_pod(1, &back);
		if (answer.verdict == TC_ACT_REDIRECT && !answer.drops)
			return true;
		for (int n = 0; n < SMALL_WAYS; n++)
			segment(v, 30000 + n, TCP_SYN_FLAG);
		world_flows_age(world, 1);
	}
	return false;
}

static void flood(void)
{
	EACH_VERSION(v)
	{
		uint64_t evicted;
		struct world_result r;

		/* Two connections, then many times what fits of first packets that nobody answers.
		 */
		for (int i = 0; i < 2; i++)
			open_connection(0, 1, v, pod_text[1][v], 10000 + i, 80);
		evicted = world_counter(world, COUNTER_FLOWS_EVICTED);
		for (int i = 0; i < 40 * SMALL_WAYS; i++)
			segment(v, 20000 + i, TCP_SYN_FLAG);
		CU_ASSERT(world_counter(world, COUNTER_FLOWS_EVICTED) > evicted);
		for (int i = 0; i < 2; i++) {
			r = segment(v, 10000 + i, TCP_ACK_FLAG);
			CU_ASSERT(forwarded(&r));
		}
		CU_ASSERT(opens_sooner_or_later(v, 10002));
	}
}

static void flood_does_not_evict_established_flows(void)
{
	with_table(SMALL_SETS, flood);
}

/* Connections under a rule until the first is refused; how many. Ports count up from 1024. */
static int connect_until_refused(enum suite_version v)
{
	for (int i = 0; i < SHARED_WAYS; i++)
		if (connection(0, 1, v, 1024 + i))
			return i;
	return SHARED_WAYS;
}

static void check_displaced(enum suite_version v, int count)
{
	uint64_t created = world_counter(world, COUNTER_FLOWS_CREATED);

	/* All of them stand, in both directions, once each. */
	for (int i = 0; i < count; i++) {
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 1024 + i, 80,
							 TCP_ACK_FLAG),
				  back;
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = send_of_pod(0, &spec), answer;

		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 1);
		back = spec_of_answer(1, &r, TCP_ACK_FLAG);
		tuple = world_tuple(&back, ZONE_POD);
		answer = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&answer));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 1);
	}
	CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_CREATED), created);
}

static void crowded_table(void)
{
	static const struct rule_counter none[256];
	uint32_t rule = 9;

	EACH_VERSION(v)
	{
		uint64_t displaced = world_counter(world, COUNTER_FLOWS_DISPLACED);
		int count;

		world_set(world, "rule_counters", &rule, none);
		world_set_rules(world, 1, RULESET_OPEN, allow_all());
		world_move_generation(world, 2);
		count = connect_until_refused(v);
		CU_ASSERT(2 * count >= SHARED_WAYS * 4 / 5);
		CU_ASSERT(world_counter(world, COUNTER_FLOWS_DISPLACED) > displaced);
		check_displaced(v, count);
		/* What they have seen is their rule's, wherever they stand: five segments each, and
		 * the one that was refused. */
		world_set_rules(world, 1, RULESET_OPEN, RULESET_OPEN);
		world_move_generation(world, 2);
		check_displaced(v, count);
		CU_ASSERT_EQUAL(rule_packets(rule), 5 * (uint64_t)count + 1);
	}
}

static void new_flows_find_room_where_others_can_stand_elsewhere(void)
{
	with_table(SHARED_SETS, crowded_table);
}

/* A router behind the pod says that a segment is too big. */
static struct world_result too_big(int from, enum suite_version v, const struct world_result *about)
{
	struct frame_spec spec = spec_of_wire(pod_text[from][v], pod_text[0][v],
					      v == V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0, 0);

	spec.icmp_type = v == V4 ? 3 : 2;
	spec.icmp_code = v == V4 ? 4 : 0;
	spec.mtu = 1300;
	spec.payload = about->out.bytes + 14;
	spec.payload_length = v == V4 ? 28 : about->out.length - 14;
	memcpy(spec.mac_source, world->pods[from].mac, 6);
	return send_of_pod(from, &spec);
}

/* Nothing comes from the other side meanwhile: the entry that moved is not re-evaluated. */
static void errors_in_a_crowded_table(void)
{
	EACH_VERSION(v)
	{
		int count, lost = 0, lost_again = 0;

		world_set_rules(world, 1, RULESET_OPEN, allow_all());
		world_move_generation(world, 2);
		count = connect_until_refused(v);
		for (int i = 0; i < count; i++) {
			struct frame_spec spec =
				spec_of_segment(0, v, pod_text[1][v], 1024 + i, 80, TCP_ACK_FLAG);
			struct world_result r = send_of_pod(0, &spec), error;

			for (int n = 0; n < 5; n++)
				r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			error = too_big(1, v, &r);
			lost += error.verdict != TC_ACT_REDIRECT;
			for (int n = 0; n < 5; n++)
				r = send_of_pod(0, &spec);
			error = too_big(1, v, &r);
			lost_again += error.verdict != TC_ACT_REDIRECT;
		}
		CU_ASSERT_EQUAL(lost, 0);
		CU_ASSERT_EQUAL(lost_again, 0);
	}
}

static void error_about_a_segment_of_a_flow_that_moved_arrives(void)
{
	with_table(SHARED_SETS, errors_in_a_crowded_table);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(table_full_of_established_flows_refuses_new_ones_and_keeps_old),
		SUITE_TEST(connections_give_way_once_both_sides_have_ended_them),
		SUITE_TEST(connection_gives_way_when_both_sides_have_been_idle_for_its_time),
		SUITE_TEST(entries_count_for_the_pod_that_opened_their_flow),
		SUITE_TEST(flows_of_a_pod_that_holds_its_share_again_do_not_give_way),
		SUITE_TEST(flows_of_a_pod_over_its_share_give_way_to_those_of_others),
		SUITE_TEST(flood_does_not_evict_established_flows),
		SUITE_TEST(question_that_waits_for_its_answer_outlives_those_that_were_answered),
		SUITE_TEST(what_nobody_answered_for_a_while_gives_way_first),
		SUITE_TEST(of_flows_that_are_alike_the_one_idle_for_longest_gives_way),
		SUITE_TEST(pod_over_its_share_takes_its_own_places_before_those_of_others),
		SUITE_TEST(new_flows_find_room_where_others_can_stand_elsewhere),
		SUITE_TEST(error_about_a_segment_of_a_flow_that_moved_arrives),
	};

	return SUITE_RUN("room in the flow table", tests);
}
