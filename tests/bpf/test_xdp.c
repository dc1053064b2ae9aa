/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the wire back to the wire in XDP: what leaves, that it is the packet which TC sends, and
 * what is left to TC as it came.
 */
#include "frontends.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RANDOM_PACKETS 400
#define SEED	       20261128

static void know_the_neighbours(void)
{
	peers_fill(TUNNEL_MTU);
	CU_ASSERT_EQUAL_FATAL(world_know_neighbours(), 0);
}

static struct world_result run_xdp(const struct frame *frame)
{
	return world_run(world, HOOK_WIRE_XDP, WORLD_UPLINK, WORLD_UPLINK, frame);
}

static struct world_result send_xdp(const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return run_xdp(&frame);
}

static bool same_bytes(const struct frame *a, const struct frame *b)
{
	return a->length == b->length && !memcmp(a->bytes, b->bytes, a->length);
}

static bool sent(const struct world_result *r)
{
	if (r->verdict == XDP_TX && !r->drops && frame_sums_right(&r->out))
		return true;
	printf("\n    wanted: sent by XDP; got verdict %d, sums %s", r->verdict,
	       frame_sums_right(&r->out) ? "right" : "wrong");
	return false;
}

/* Left to TC, and no byte is another. */
static bool untouched(const struct frame *frame, const struct world_result *r)
{
	if (r->verdict == XDP_PASS && !r->drops && same_bytes(frame, &r->out))
		return true;
	printf("\n    wanted: passed as it came; got verdict %d, %u dropped", r->verdict, r->drops);
	return false;
}

static bool spec_untouched(const struct frame_spec *spec)
{
	struct frame frame;
	struct world_result r;

	frame_make(&frame, spec);
	r = run_xdp(&frame);
	return untouched(&frame, &r);
}

static struct flow_head entry_of(const struct frame_spec *spec)
{
	struct flow_tuple tuple = world_tuple(spec, ZONE_WIRE);
	struct flow_head head = {};

	CU_ASSERT_EQUAL(world_flow_find(world, &tuple, &head), 1);
	return head;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* The kernel has sent to all neighbours in this tick, which is not about to end. */
static void say_all_are_told(void)
{
	const uint64_t tick = 1ULL << FLOW_TICK_SHIFT;
	uint64_t ns = now_ns(), left = tick - ns % tick;
	struct next_hop hop;

	if (left < tick / 4) {
		usleep(left / 1000 + 10000);
		ns = now_ns();
	}
	for (uint32_t i = NEXT_HOP_UPLINKS; i < NEXT_HOPS; i++) {
		if (bpf_map_lookup_elem(world_map(world, "next_hops"), &i, &hop) || !hop.claim)
			continue;
		hop.told = ns >> FLOW_TICK_SHIFT;
		world_set(world, "next_hops", &i, &hop);
	}
}

/* A node port of a native peer's pod and a client that uses it: both directions are followed, and
 * the next hops known. */
struct conversation {
	enum suite_version v;
	struct frame_spec asks;	   /* a packet of the client more */
	struct frame_spec answers; /* a packet of the endpoint more */
};

static struct conversation converse(enum suite_version v, uint8_t proto, uint16_t sport,
				    uint32_t flags)
{
	const struct world_frontend f = node_port_of(v, proto, flags, peer_pod[PEER_NATIVE][v]);
	struct conversation made = {
		.v = v, .asks = spec_of_wire(client[v], node[v], proto, sport, NODE_PORT)};
	struct world_result r;

	world_set_frontend(world, &f);
	r = ask(&made.asks);
	made.answers = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
	memcpy(made.answers.mac_source, peer_mac, 6);
	r = ask(&made.answers);
	made.asks.tcp_flags = made.answers.tcp_flags = TCP_ACK_FLAG;
	for (int i = 0; i < 2; i++) {
		struct flow_tuple to = world_tuple(&made.asks, ZONE_WIRE),
				  back = world_tuple(&made.answers, ZONE_WIRE);

		if (!i) {
			world_flow_age(world, &to, 1);
			world_flow_age(world, &back, 1);
		}
		ask(&made.asks);
		ask(&made.answers);
	}
	say_all_are_told();
	return made;
}

static void packets_of_a_flow_leave_by_xdp_both_ways(void)
{
	static const uint8_t router[6] = {2, 0, 0, 0, 0, 0xfe};

	know_the_neighbours();
	EACH_VERSION(v)
	{
		for (int udp = 0; udp < 2; udp++) {
			struct conversation c =
				converse(v, udp ? IPPROTO_UDP : IPPROTO_TCP, 6000, 0);
			uint64_t packets = entry_of(&c.asks).packets;
			struct world_result r = send_xdp(&c.asks);

			CU_ASSERT(sent(&r) &&
				  seen_from_node(&r, v, peer_pod[PEER_NATIVE][v], 8080));
			CU_ASSERT(seen(&r).ttl == 63 &&
				  !memcmp(seen(&r).mac_destination, peer_mac, 6));
			CU_ASSERT_EQUAL(entry_of(&c.asks).packets, packets + 1);
			r = send_xdp(&c.answers);
			CU_ASSERT(sent(&r) && seen_ends(&r, node[v], NODE_PORT, client[v], 6000));
			CU_ASSERT(!memcmp(seen(&r).mac_destination, router, 6));
		}
	}
}

/* As a local socket's frame is in a veth pair: the pseudo header's sum. */
static void leave_sum_to_device(struct frame *frame, enum suite_version v, uint8_t proto)
{
	size_t l4 = 14 + (v == V4 ? 20 : 40), at = l4 + (proto == IPPROTO_UDP ? 6 : 16);
	uint16_t sum = frame_sum(frame->bytes + (v == V4 ? 26 : 22), v == V4 ? 8 : 32,
				 proto + frame->length - l4);

	frame->bytes[at] = sum >> 8;
	frame->bytes[at + 1] = sum;
}

/* DSR: the frame's addresses and the time to live alone are others. */
static void what_is_handed_on_keeps_its_addresses(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_UDP, SERVICE_DSR, peer_pod[PEER_NATIVE][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 6010, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_WIRE);
		struct world_result r;
		struct frame frame;

		f.table_size = 1;
		world_set_frontend(world, &f);
		ask(&spec);
		world_flow_age(world, &tuple, 1);
		ask(&spec);
		say_all_are_told();
		r = send_xdp(&spec);
		CU_ASSERT(sent(&r) && seen_ends(&r, client[v], 6010, external[v], 80));
		CU_ASSERT(seen(&r).ttl == 63 && !memcmp(seen(&r).mac_destination, peer_mac, 6));
		frame_make(&frame, &spec);
		leave_sum_to_device(&frame, v, IPPROTO_UDP);
		r = run_xdp(&frame);
		CU_ASSERT(untouched(&frame, &r));
	}
}

/* Opens a flow through XDP alone, once a neighbour is known. */
static void new_flow_leaves_by_xdp(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct conversation c = converse(v, IPPROTO_TCP, 6020, 0);
		struct frame_spec back;
		struct world_result r;

		c.asks.sport = 6021;
		c.asks.tcp_flags = TCP_SYN_FLAG;
		say_all_are_told();
		r = send_xdp(&c.asks);
		CU_ASSERT(sent(&r) && seen_from_node(&r, v, peer_pod[PEER_NATIVE][v], 8080));
		CU_ASSERT_EQUAL(entry_of(&c.asks).packets, 1);
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		memcpy(back.mac_source, peer_mac, 6);
		say_all_are_told();
		r = send_xdp(&back);
		CU_ASSERT(sent(&r) && seen_ends(&r, node[v], NODE_PORT, client[v], 6021));
		c.asks.tcp_flags = TCP_ACK_FLAG;
		say_all_are_told();
		r = send_xdp(&c.asks);
		CU_ASSERT(sent(&r));
		CU_ASSERT(entry_of(&c.asks).state & FLOW_ESTABLISHED);
	}
}

/* TC finds the flow that XDP has begun, and counts the packet once. */
static void flow_to_a_local_endpoint_is_left_to_tc(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		const struct world_frontend f = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], node[v], IPPROTO_TCP, 6030, NODE_PORT);
		struct world_result r;

		world_set_frontend(world, &f);
		CU_ASSERT(spec_untouched(&spec));
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080));
		CU_ASSERT_EQUAL(entry_of(&spec).packets, 1);
	}
}

/* Both evaluate it, and the rules of a pod hear of one packet. */
static void packet_that_policy_denies_is_counted_once(void)
{
	static const struct rule_counter none[256];
	const uint32_t rules = RULESET_FIRST + 40, denied = RULE_DEFAULT | rules;
	const struct ruleset_entry set = {.number = rules, .flags = RULESET_ISOLATES};

	world_set(world, "rulesets", &rules, &set);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	EACH_VERSION(v)
	{
		const struct world_frontend f = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], node[v], IPPROTO_TCP, 6035, NODE_PORT);
		struct world_result r;

		world_set(world, "rule_counters", &denied, none);
		world_set_frontend(world, &f);
		CU_ASSERT(spec_untouched(&spec));
		CU_ASSERT_EQUAL(rule_packets(denied), 0);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		CU_ASSERT_EQUAL(rule_packets(denied), 1);
	}
}

/* The kernel keeps neighbours that it sends to itself. */
static void one_packet_a_tick_to_each_neighbour_is_the_stacks(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct conversation c = converse(v, IPPROTO_UDP, 6040, 0);
		uint32_t place = entry_of(&c.asks).hop;
		uint64_t packets = entry_of(&c.asks).packets;
		struct world_result r;
		struct next_hop hop;

		CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "next_hops"), &place, &hop),
				0);
		hop.told--;
		world_set(world, "next_hops", &place, &hop);
		CU_ASSERT(spec_untouched(&c.asks));
		ask(&c.asks);
		CU_ASSERT_EQUAL(entry_of(&c.asks).packets, packets + 1);
		CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "next_hops"), &place, &hop),
				0);
		say_all_are_told();
		r = send_xdp(&c.asks);
		CU_ASSERT(hop.told && sent(&r));
	}
}

/* The sum of a local sender's frame is for the device to complete: nobody would. */
static void frame_with_a_sum_to_be_completed_is_left_to_tc(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		for (int udp = 0; udp < 2; udp++) {
			struct conversation c =
				converse(v, udp ? IPPROTO_UDP : IPPROTO_TCP, 6050, 0);
			struct world_result r;
			struct frame frame;

			c.asks.payload_length = 33;
			frame_make(&frame, &c.asks);
			leave_sum_to_device(&frame, v, c.asks.proto);
			r = run_xdp(&frame);
			CU_ASSERT(untouched(&frame, &r));
		}
	}
}

/* Same flow, and the same answer to each: TC's. */
static void what_is_not_plain_is_left_to_tc(void)
{
	static const uint8_t options[4] = {1, 1, 1, 1};

	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct conversation c = converse(v, IPPROTO_UDP, 6060, 0);
		uint64_t packets = entry_of(&c.asks).packets;
		struct frame_spec spec = c.asks;

		spec.ttl = 1;
		CU_ASSERT(spec_untouched(&spec));
		spec = c.asks;
		spec.payload_length = WORLD_UPLINK_MTU - (v == V4 ? 28 : 48) + 1;
		CU_ASSERT(spec_untouched(&spec));
		spec = c.asks;
		spec.flags |= v == V4 ? FRAME_MORE_FRAGMENTS : FRAME_FRAGMENT;
		CU_ASSERT(spec_untouched(&spec));
		spec = c.asks;
		if (v == V4) {
			spec.options = options;
			spec.options_length = sizeof(options);
			CU_ASSERT(spec_untouched(&spec));
			spec = c.asks;
		}
		spec.proto = icmp_of(v);
		spec.icmp_type = v == V4 ? 8 : 128;
		CU_ASSERT(spec_untouched(&spec));
		CU_ASSERT_EQUAL(entry_of(&c.asks).packets, packets);
	}
}

/* Nothing is served, to a Service's other port, from a source that may not, or in mid-stream: TC
 * says so, and counts it. */
static void what_is_refused_is_left_to_tc(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, SERVICE_SOURCES, peer_pod[PEER_NATIVE][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 6070, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_WIRE);

		world_set_frontend(world, &f);
		CU_ASSERT(spec_untouched(&spec));
		spec.dport = 81;
		CU_ASSERT(spec_untouched(&spec));
		spec.dport = 80;
		spec.tcp_flags = TCP_ACK_FLAG;
		CU_ASSERT(spec_untouched(&spec));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
	}
}

/* TC finds the flow, and tells the client that it is over. */
static void flow_whose_service_is_gone_is_ended_by_tc(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct conversation c = converse(v, IPPROTO_TCP, 6075, 0);
		struct flow_tuple tuple = world_tuple(&c.asks, ZONE_WIRE);
		struct world_result r;

		world_remove_frontend(world, any[v], IPPROTO_TCP, NODE_PORT);
		world_move_generation(world, 2);
		CU_ASSERT(spec_untouched(&c.asks));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 1);
		r = send_of_wire(&c.asks);
		CU_ASSERT(told(&r, REASON_ENDPOINT_GONE));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
	}
}

static void connection_to_a_closed_flows_port_passes(void)
{
	know_the_neighbours();
	EACH_VERSION(v)
	{
		struct conversation c = converse(v, IPPROTO_TCP, 5280, 0);
		struct flow_tuple tuple;
		struct world_result r;

		c.answers.tcp_flags = TCP_RST_FLAG;
		r = ask(&c.answers);
		c.answers.tcp_flags = TCP_SYN_FLAG;
		tuple = world_tuple(&c.answers, ZONE_WIRE);
		CU_ASSERT(spec_untouched(&c.answers));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
		r = send_of_wire(&c.answers);
		CU_ASSERT(passed(&r));
	}
}

static void what_concerns_no_service_passes(void)
{
	const char *const to[][2] = {{node[V4], node[V6]},
				     {pod_text[0][V4], pod_text[0][V6]},
				     {outside[V4], outside[V6]}};

	EACH_VERSION(v)
	{
		for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
			struct frame_spec spec =
				spec_of_wire(client[v], to[i][v], IPPROTO_TCP, 6080, 80);
			struct flow_tuple tuple = world_tuple(&spec, ZONE_WIRE);

			CU_ASSERT(spec_untouched(&spec));
			CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
		}
	}
}

/* Random packets of flows, through both: one packet out. */
static void xdp_sends_the_packet_that_tc_sends(void)
{
	know_the_neighbours();
	srandom(SEED);
	for (int i = 0; i < RANDOM_PACKETS; i++) {
		uint8_t proto = random() % 2 ? IPPROTO_UDP : IPPROTO_TCP;
		struct conversation c = converse(random() % 2, proto, 1024 + random() % 60000, 0);
		struct frame_spec *spec = random() % 2 ? &c.asks : &c.answers;
		struct world_result xdp, tc;
		uint8_t payload[1400];
		struct frame frame;

		for (size_t at = 0; at < sizeof(payload); at++)
			payload[at] = random();
		spec->payload = payload;
		spec->payload_length = random() % sizeof(payload);
		spec->ttl = 2 + random() % 254;
		spec->seq = random();
		if (proto == IPPROTO_UDP && c.v == V4 && random() % 4 == 0)
			spec->flags |= FRAME_NO_CHECKSUM;
		frame_make(&frame, spec);
		xdp = run_xdp(&frame);
		tc = world_run(world, HOOK_FROM_WIRE, WORLD_UPLINK, WORLD_UPLINK, &frame);
		CU_ASSERT(sent(&xdp) && forwarded(&tc));
		CU_ASSERT(same_bytes(&xdp.out, &tc.out));
		world_forget_flows(world);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(packets_of_a_flow_leave_by_xdp_both_ways),
		SUITE_TEST(what_is_handed_on_keeps_its_addresses),
		SUITE_TEST(new_flow_leaves_by_xdp),
		SUITE_TEST(flow_to_a_local_endpoint_is_left_to_tc),
		SUITE_TEST(packet_that_policy_denies_is_counted_once),
		SUITE_TEST(one_packet_a_tick_to_each_neighbour_is_the_stacks),
		SUITE_TEST(frame_with_a_sum_to_be_completed_is_left_to_tc),
		SUITE_TEST(what_is_not_plain_is_left_to_tc),
		SUITE_TEST(what_is_refused_is_left_to_tc),
		SUITE_TEST(flow_whose_service_is_gone_is_ended_by_tc),
		SUITE_TEST(connection_to_a_closed_flows_port_passes),
		SUITE_TEST(what_concerns_no_service_passes),
		SUITE_TEST(xdp_sends_the_packet_that_tc_sends),
	};

	return SUITE_RUN("xdp", tests);
}
