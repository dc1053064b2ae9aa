/* SPDX-License-Identifier: Apache-2.0 */
/* What comes from the wire: to pods, to the node, and what can never be right, at XDP and at TC. */
#include "suite.h"

#include <linux/bpf.h>

static struct world_result send_xdp(const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_WIRE_XDP, WORLD_UPLINK, WORLD_UPLINK, &frame);
}

static bool xdp_dropped(const struct frame_spec *spec, enum polder_reason reason)
{
	struct world_result r = send_xdp(spec);

	if (r.verdict == XDP_DROP && r.drops == 1 && r.reason == reason)
		return true;
	printf("\n    XDP: verdict %d, reason %u", r.verdict, r.reason);
	return false;
}

static void martians_are_dropped_by_xdp_and_tc(void)
{
	static const struct {
		const char *source[2];
		enum polder_reason reason;
	} martians[] = {
		{{"127.0.0.1", "::1"}, REASON_LOOPBACK},
		{{"224.0.0.1", "ff02::1"}, REASON_MARTIAN},
		{{"10.1.0.77", "fd00:1::77"},
		 REASON_MARTIAN}, /* the node's own pods are not out there */
	};

	for (size_t i = 0; i < sizeof(martians) / sizeof(martians[0]); i++) {
		EACH_VERSION(v)
		{
			struct frame_spec spec = spec_of_wire(martians[i].source[v], pod_text[0][v],
							      IPPROTO_UDP, 1, 2);
			struct world_result r = send_of_wire(&spec);

			CU_ASSERT(dropped(&r, martians[i].reason));
			CU_ASSERT_EQUAL(r.hook, DROP_FROM_WIRE);
			CU_ASSERT(xdp_dropped(&spec, martians[i].reason));
		}
	}
}

static void loopback_never_crosses(void)
{
	static const char *const loopback[2] = {"127.0.0.1", "::1"};

	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(outside[v], loopback[v], IPPROTO_TCP, 1, 2);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(dropped(&r, REASON_LOOPBACK));
		CU_ASSERT(xdp_dropped(&spec, REASON_LOOPBACK));
		spec = spec_of_wire(loopback[v], pod_text[0][v], IPPROTO_TCP, 1, 2);
		r = send_of_host(0, &spec);
		CU_ASSERT(dropped(&r, REASON_LOOPBACK));
	}
}

static void xdp_passes_what_may_be_right(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[0][v], IPPROTO_TCP, 1, 2);
		struct world_result r = send_xdp(&spec);

		CU_ASSERT(r.verdict == XDP_PASS && !r.drops);
	}
}

static void xdp_drops_short_packet(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[0][v], IPPROTO_UDP, 1, 2);
		struct world_result r;
		struct frame frame;

		frame_make(&frame, &spec);
		frame.length -= 20;
		r = world_run(world, HOOK_WIRE_XDP, WORLD_UPLINK, WORLD_UPLINK, &frame);
		CU_ASSERT(r.verdict == XDP_DROP && r.reason == REASON_SHORT && r.drops == 1);
	}
}

static void reaches_a_pod_and_answers(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(remote_pod[v], pod_text[0][v], IPPROTO_TCP,
						      7000, 80),
				  back, got;
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(forwarded(&r) && seen_ends(&r, remote_pod[v], 7000, pod_text[0][v], 80));
		got = seen(&r);
		CU_ASSERT(!memcmp(got.mac_destination, world->pods[0].mac, 6) && got.ttl == 63);
		back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(0, &back);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][v], 80, remote_pod[v], 7000));
	}
}

static void address_without_pod_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(
			outside[v], v == V4 ? "10.1.0.99" : "fd00:1::99", IPPROTO_TCP, 1, 2);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(dropped(&r, REASON_UNKNOWN_POD));
		spec = spec_of_pod(0, v, v == V4 ? "10.1.0.99" : "fd00:1::99", IPPROTO_TCP, 1, 2);
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_UNKNOWN_POD));
		CU_ASSERT_EQUAL(seen(&r).icmp_type, v == V4 ? 3 : 1);
		CU_ASSERT_EQUAL(seen(&r).icmp_code,
				v == V4 ? 1 : 3); /* the host, the address is unreachable */
	}
}

static void nodes_traffic_goes_to_its_stack(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(outside[v], node[v], IPPROTO_TCP, 7001, 22);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(passed(&r));
		spec = spec_of_wire("192.168.7.3", "192.168.7.255", IPPROTO_UDP, 7001, 22);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		spec = spec_of_wire(outside[v], v == V4 ? "224.0.0.5" : "ff02::5", 89, 0, 0);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
	}
}

/* What the wire says may not ride on a flow that a pod opened: its zone is another. */
static void spoofed_packet_of_the_wire_meets_no_flow_of_a_pod(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec;
		struct world_result r = open_connection(0, 1, v, pod_text[1][v], 7002, 80);

		spec = spec_of_wire(remote_pod[v], pod_text[1][v], IPPROTO_TCP, 7002, 80);
		spec.tcp_flags = TCP_ACK_FLAG;
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_NO_FLOW));
	}
}

/* Redirect, router advertisement and solicitation: a pod's one router is its gateway, which sends
 * none. */
static void router_messages_reach_no_pod(void)
{
	static const uint8_t messages[] = {5, 9, 10};

	for (size_t i = 0; i < sizeof(messages); i++) {
		struct frame_spec spec =
			spec_of_wire(outside[V4], pod_text[0][V4], IPPROTO_ICMP, 0, 0);
		struct world_result r;

		spec.icmp_type = messages[i];
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
		r = send_of_host(0, &spec);
		CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
		spec.destination = addr(node[V4]);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r)); /* the node's stack has its own settings */
		spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_ICMP, 0, 0);
		spec.icmp_type = messages[i];
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
	}
}

static void the_nodes_own_router_messages_reach_no_pod(void)
{
	static const uint8_t messages[] = {134, 137};

	for (size_t i = 0; i < sizeof(messages); i++) {
		struct frame_spec spec =
			spec_of_wire(gateway[V6], pod_text[0][V6], IPPROTO_ICMPV6, 0, 0);
		struct world_result r;

		spec.icmp_type = messages[i];
		r = send_of_host(0, &spec);
		CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(martians_are_dropped_by_xdp_and_tc),
		SUITE_TEST(loopback_never_crosses),
		SUITE_TEST(xdp_passes_what_may_be_right),
		SUITE_TEST(xdp_drops_short_packet),
		SUITE_TEST(reaches_a_pod_and_answers),
		SUITE_TEST(address_without_pod_is_dropped),
		SUITE_TEST(nodes_traffic_goes_to_its_stack),
		SUITE_TEST(router_messages_reach_no_pod),
		SUITE_TEST(the_nodes_own_router_messages_reach_no_pod),
		SUITE_TEST(spoofed_packet_of_the_wire_meets_no_flow_of_a_pod),
	};

	return SUITE_RUN("the wire", tests);
}
