/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table when it is full, and connections that are being opened. */
#include "flow_room.h"

#include <time.h>

#define BEGUN 50
#define FLOOD 1500

/*
 * A handshake that has waited for two ticks gives way to first packets that come then. On a machine
 * that is too busy for the flood to be over by then it is made again.
 */
#define IN_TIME_NS    1000000000ull
#define IN_TIME_TRIES 40
static bool late;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void in_time(void (*test)(void))
{
	int tries = 0;

	do {
		late = false;
		with_table(SHARED_SETS, test);
	} while (late && ++tries < IN_TIME_TRIES);
	CU_ASSERT(!late);
}

/* SYN and SYN-ACK of connections from pod 0, then a flood from pod 2, then the third segments. */
static void handshakes_and_a_flood(void)
{
	EACH_VERSION(v)
	{
		struct world_result q[BEGUN];
		uint64_t begun;
		int cut = 0, dumb = 0;

		for (int i = 0; i < SHARED_WAYS * 30 / 100; i++)
			connection(0, 1, v, 1024 + i);
		begun = now_ns();
		for (int i = 0; i < BEGUN; i++) {
			struct frame_spec back;

			q[i] = segment(v, 30000 + i, TCP_SYN_FLAG);
			back = spec_of_answer(1, &q[i], TCP_SYN_FLAG | TCP_ACK_FLAG);
			send_of_pod(1, &back);
		}
		for (int i = 0; i < FLOOD; i++) {
			struct frame_spec spec =
				spec_of_segment(2, v, pod_text[1][v], 1024 + i, 81, TCP_SYN_FLAG);

			send_of_pod(2, &spec);
		}
		for (int i = 0; i < BEGUN; i++) {
			struct world_result r = segment(v, 30000 + i, TCP_ACK_FLAG);
			struct frame_spec back = spec_of_answer(1, &q[i], TCP_ACK_FLAG);

			cut += r.drops != 0;
			if (r.drops)
				continue;
			r = send_of_pod(1, &back);
			dumb += r.drops != 0;
		}
		late |= now_ns() - begun > IN_TIME_NS;
		CU_ASSERT(late || cut + dumb == 0);
	}
}

static void answered_handshakes_outlive_a_flood(void)
{
	in_time(handshakes_and_a_flood);
}

/* The same from the wire, all to one pod, with shares: who floods it and who connects count alike.
 */
static void flood_of_a_service(void)
{
	set_share(SHARE);
	EACH_VERSION(v)
	{
		struct world_result q[BEGUN];
		uint64_t begun;
		int cut = 0, refused = 0;

		for (int i = 0; i < SHARED_WAYS * 35 / 100; i++)
			connection(0, 1, v, 1024 + i);
		begun = now_ns();
		for (int i = 0; i < BEGUN; i++) {
			struct frame_spec spec = spec_of_wire(outside[v], pod_text[1][v],
							      IPPROTO_TCP, 30000 + i, 80),
					  back;

			spec.tcp_flags = TCP_SYN_FLAG;
			q[i] = send_of_wire(&spec);
			if (q[i].verdict != TC_ACT_REDIRECT) {
				refused++;
				continue;
			}
			back = spec_of_answer(1, &q[i], TCP_SYN_FLAG | TCP_ACK_FLAG);
			send_of_pod(1, &back);
		}
		for (int i = 0; i < FLOOD; i++) {
			struct frame_spec spec =
				spec_of_wire(outside[v], pod_text[1][v], IPPROTO_TCP, 1024 + i, 80);

			spec.tcp_flags = TCP_SYN_FLAG;
			send_of_wire(&spec);
		}
		for (int i = 0; i < BEGUN; i++) {
			struct frame_spec spec = spec_of_wire(outside[v], pod_text[1][v],
							      IPPROTO_TCP, 30000 + i, 80);

			spec.tcp_flags = TCP_ACK_FLAG;
			cut += send_of_wire(&spec).drops != 0;
		}
		/* Who is over its share has its own places only: in some sets those are all of
		 * handshakes. */
		late |= now_ns() - begun > IN_TIME_NS;
		CU_ASSERT(late || cut <= BEGUN / 4);
	}
}

static void answered_handshakes_with_a_service_outlive_a_flood(void)
{
	in_time(flood_of_a_service);
}

/* Pod 0 holds more than its share of a full table; pod 2 opens connections, all at once. */
static void handshakes_beside_a_greedy_pod(void)
{
	set_share(SHARE);
	EACH_VERSION(v)
	{
		struct world_result q[SHARE / 2 - 1];
		uint64_t begun;
		int cut = 0;

		for (int i = 0; connection(0, 1, v, 1024 + i) != REASON_FLOW_SHARE; i++)
			CU_ASSERT_FATAL(i < SHARED_WAYS);
		begun = now_ns();
		for (int i = 0; i < SHARE / 2 - 1; i++) {
			struct frame_spec spec = spec_of_segment(2, v, pod_text[1][v], 1024 + i, 80,
								 TCP_SYN_FLAG),
					  back;

			q[i] = send_of_pod(2, &spec);
			CU_ASSERT(forwarded(&q[i]));
			back = spec_of_answer(1, &q[i], TCP_SYN_FLAG | TCP_ACK_FLAG);
			q[i] = send_of_pod(1, &back);
			CU_ASSERT(forwarded(&q[i]));
		}
		for (int i = 0; i < SHARE / 2 - 1; i++) {
			struct frame_spec back = spec_of_answer(2, &q[i], TCP_ACK_FLAG);
			struct world_result r = send_of_pod(2, &back);

			cut += r.drops != 0;
		}
		late |= now_ns() - begun > IN_TIME_NS;
		CU_ASSERT(late || cut == 0);
	}
}

static void answered_handshakes_outlive_flows_of_a_pod_over_its_share(void)
{
	in_time(handshakes_beside_a_greedy_pod);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(answered_handshakes_outlive_a_flood),
		SUITE_TEST(answered_handshakes_with_a_service_outlive_a_flood),
		SUITE_TEST(answered_handshakes_outlive_flows_of_a_pod_over_its_share),
	};

	return SUITE_RUN("handshakes in a full flow table", tests);
}
