/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of first fragments: who may fill it, who gives way, how long it holds. */
#include "suite.h"

#include <bpf/bpf.h>

#define TEST_SETS    4
#define TEST_ENTRIES (TEST_SETS * FRAGMENT_WAYS)

/* A piece of a datagram of the pod; offset 0 is the first. */
static struct world_result send_piece(int pod, enum suite_version v, const char *to, uint32_t id,
				      uint16_t offset)
{
	struct frame_spec spec = spec_of_pod(pod, v, to, IPPROTO_UDP, 9001, 53);

	spec.fragment_id = id;
	spec.fragment_offset = offset;
	spec.flags = FRAME_FRAGMENT | (offset ? 0 : FRAME_MORE_FRAGMENTS);
	spec.payload_length = offset ? 100 : 792;
	return send_of_pod(pod, &spec);
}

/* Calls `change` for each place of the table. */
static void each_place(void (*change)(struct fragment_entry *))
{
	for (uint32_t i = 0; i < TEST_SETS; i++) {
		struct fragment_set set;

		CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "fragments"), &i, &set), 0);
		for (int way = 0; way < FRAGMENT_WAYS; way++)
			change(&set.way[way]);
		world_set(world, "fragments", &i, &set);
	}
}

static void age(struct fragment_entry *e)
{
	e->ticks -= FRAGMENT_TIMEOUT + 1;
}

static void make_younger(struct fragment_entry *e)
{
	e->ticks += 1;
}

static void make_busy(struct fragment_entry *e)
{
	e->seq |= 1;
}

static void reset(void)
{
	for (int pod = 0; pod < WORLD_PODS; pod++)
		world_set_rules(world, pod, RULESET_OPEN, RULESET_OPEN);
	world_forget_flows(world);
}

/* RFC 8200: what is not whole in time is forgotten. */
static void a_first_fragment_is_remembered_for_a_while_only(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_piece(0, v, pod_text[1][v], 1, 0);

		CU_ASSERT(forwarded(&r));
		r = send_piece(0, v, pod_text[1][v], 1, 800);
		CU_ASSERT(forwarded(&r));
		each_place(age);
		r = send_piece(0, v, pod_text[1][v], 1, 800);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		reset();
	}
}

/* Another CPU's clock may be a tick ahead. */
static void a_first_fragment_of_the_next_tick_is_not_of_long_ago(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_piece(0, v, pod_text[1][v], 2, 0);

		CU_ASSERT(forwarded(&r));
		each_place(make_younger);
		r = send_piece(0, v, pod_text[1][v], 2, 800);
		CU_ASSERT(forwarded(&r));
		reset();
	}
}

static void a_place_that_is_being_written_gives_no_ports(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_piece(0, v, pod_text[1][v], 3, 0);

		CU_ASSERT(forwarded(&r));
		each_place(make_busy);
		r = send_piece(0, v, pod_text[1][v], 3, 800);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		r = send_piece(0, v, pod_text[1][v], 4, 0);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_TABLE));
		reset();
	}
}

static void a_pod_that_floods_forgets_its_own_fragments_only(void)
{
	EACH_VERSION(v)
	{
		uint64_t evicted = world_counter(world, COUNTER_FRAGMENTS_EVICTED);
		struct world_result r = send_piece(1, v, pod_text[2][v], 5, 0);

		CU_ASSERT(forwarded(&r));
		for (uint32_t id = 100; id < 100 + 10 * TEST_ENTRIES; id++) {
			r = send_piece(0, v, pod_text[2][v], id, 0);
			CU_ASSERT_FATAL(forwarded(&r));
		}
		CU_ASSERT(world_counter(world, COUNTER_FRAGMENTS_EVICTED) - evicted >=
			  9 * TEST_ENTRIES);
		r = send_piece(1, v, pod_text[2][v], 5, 800);
		CU_ASSERT(forwarded(&r));
		/* A newcomer finds room at the cost of who has most. */
		r = send_piece(2, v, pod_text[1][v], 6, 0);
		CU_ASSERT(forwarded(&r));
		r = send_piece(2, v, pod_text[1][v], 6, 800);
		CU_ASSERT(forwarded(&r));
		r = send_piece(1, v, pod_text[2][v], 5, 800);
		CU_ASSERT(forwarded(&r));
		reset();
	}
}

/* What is sent to a pod, and what it sends, do not push each other out. */
static void a_flood_from_the_wire_leaves_the_pods_own_fragments(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[0][v], IPPROTO_UDP, 7000, 53);
		struct world_result r = send_piece(0, v, pod_text[1][v], 7, 0);

		CU_ASSERT(forwarded(&r));
		spec.flags = FRAME_FRAGMENT | FRAME_MORE_FRAGMENTS;
		spec.payload_length = 792;
		for (spec.fragment_id = 100; spec.fragment_id < 100 + 4 * TEST_ENTRIES;
		     spec.fragment_id++) {
			r = send_of_wire(&spec);
			CU_ASSERT_FATAL(forwarded(&r));
		}
		r = send_piece(0, v, pod_text[1][v], 7, 800);
		CU_ASSERT(forwarded(&r));
		reset();
	}
}

static void what_is_denied_is_not_remembered(void)
{
	EACH_VERSION(v)
	{
		uint64_t tracked = world_counter(world, COUNTER_FRAGMENTS_TRACKED);
		struct world_result r;

		world_set_rules(world, 1, RULESET_OPEN, RULESET_CLOSED);
		for (uint32_t id = 0; id < 10; id++) {
			r = send_piece(0, v, pod_text[1][v], id, 0);
			CU_ASSERT(dropped(&r, REASON_NOT_READY));
		}
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FRAGMENTS_TRACKED), tracked);
		reset();
	}
}

/* The set is full of others that have one each: they keep it. Owners that no world has are written
 * by hand. */
static uint16_t next_owner;
static void take(struct fragment_entry *e)
{
	struct fragment_entry somebodys = {.ticks = e->ticks, .owner = ++next_owner};

	*e = somebodys;
}

static uint32_t newest_ticks;
static void note_ticks(struct fragment_entry *e)
{
	if (e->ticks)
		newest_ticks = e->ticks;
}

static void set_ticks(struct fragment_entry *e)
{
	e->ticks = newest_ticks;
}

static void the_last_entry_of_another_is_not_taken(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_piece(0, v, pod_text[1][v], 8, 0);

		CU_ASSERT(forwarded(&r));
		each_place(note_ticks);
		next_owner = 1000;
		each_place(take);
		each_place(set_ticks);
		r = send_piece(0, v, pod_text[1][v], 8, 0);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_TABLE));
		reset();
	}
}

static uint32_t id_of(const struct world_result *r, enum suite_version v)
{
	const uint8_t *at = r->out.bytes + (v == V4 ? 14 + 4 : 14 + 40 + 4);

	return v == V4 ? (uint32_t)at[0] << 8 | at[1]
		       : (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 |
				 at[3];
}

/* Behind the node's address the pieces of two pods' datagrams must not meet. */
static void masqueraded_fragments_of_two_pods_keep_apart(void)
{
	EACH_VERSION(v)
	{
		struct world_result first = send_piece(0, v, outside[v], 9, 0),
				    later = send_piece(0, v, outside[v], 9, 800),
				    other = send_piece(1, v, outside[v], 9, 0),
				    next = send_piece(0, v, outside[v], 10, 0);

		CU_ASSERT(forwarded(&first) && forwarded(&later) && forwarded(&other) &&
			  forwarded(&next));
		CU_ASSERT_EQUAL(id_of(&first, v), id_of(&later, v));
		CU_ASSERT_NOT_EQUAL(id_of(&first, v), id_of(&other, v));
		CU_ASSERT_NOT_EQUAL(id_of(&first, v), id_of(&next, v));
		CU_ASSERT_NOT_EQUAL(id_of(&first, v), 9);
		/* Pods' own addresses need no such thing. */
		first = send_piece(0, v, remote_pod[v], 9, 0);
		CU_ASSERT(forwarded(&first) && id_of(&first, v) == 9);
		reset();
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(a_first_fragment_is_remembered_for_a_while_only),
		SUITE_TEST(a_first_fragment_of_the_next_tick_is_not_of_long_ago),
		SUITE_TEST(a_place_that_is_being_written_gives_no_ports),
		SUITE_TEST(a_pod_that_floods_forgets_its_own_fragments_only),
		SUITE_TEST(a_flood_from_the_wire_leaves_the_pods_own_fragments),
		SUITE_TEST(what_is_denied_is_not_remembered),
		SUITE_TEST(the_last_entry_of_another_is_not_taken),
		SUITE_TEST(masqueraded_fragments_of_two_pods_keep_apart),
	};

	suite_options.fragment_sets = TEST_SETS;
	return SUITE_RUN("fragments", tests);
}
