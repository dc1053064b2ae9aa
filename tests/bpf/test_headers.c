/* SPDX-License-Identifier: Apache-2.0 */
/* IPv6 extension headers, and fragments of both families. */
#include "suite.h"

#include <linux/bpf.h>

static struct world_result send_with_headers(uint8_t first, const uint8_t *headers, size_t length,
					     size_t last)
{
	struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], IPPROTO_UDP, 9000, 53);

	spec.options = headers;
	spec.options_length = length;
	spec.first_next = first;
	spec.last_next = last;
	return send_of_pod(0, &spec);
}

static void finds_the_transport_behind_extension_headers(void)
{
	static const uint8_t options[8] = {0, 0, 1, 4};
	static const uint8_t both[24] = {IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0, 0, 1, 1, 12};
	struct world_result r = send_with_headers(IPPROTO_DSTOPTS, options, sizeof(options), 0);

	CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][V6], 9000, pod_text[1][V6], 53));
	r = send_with_headers(IPPROTO_HOPOPTS, both, sizeof(both), 8);
	CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][V6], 9000, pod_text[1][V6], 53));
}

static void drops_misplaced_extension_header(void)
{
	static const uint8_t late[16] = {IPPROTO_HOPOPTS, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4};
	struct world_result r = send_with_headers(IPPROTO_DSTOPTS, late, sizeof(late), 8);

	CU_ASSERT(dropped(&r, REASON_EXT_HEADERS));
}

/* With `count` headers of eight bytes between the IPv6 header and the transport header. */
static struct world_result send_with_many_headers(int count)
{
	uint8_t many[9 * 8] = {0};

	for (int i = 0; i < count; i++) {
		many[i * 8] = IPPROTO_DSTOPTS;
		many[i * 8 + 2] = 1;
		many[i * 8 + 3] = 4;
	}
	return send_with_headers(IPPROTO_DSTOPTS, many, count * 8, (count - 1) * 8);
}

static void more_than_eight_extension_headers_are_dropped(void)
{
	struct world_result r = send_with_many_headers(8);

	CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][V6], 9000, pod_text[1][V6], 53));
	r = send_with_many_headers(9);
	CU_ASSERT(dropped(&r, REASON_EXT_HEADERS));
}

static void drops_extension_header_that_is_cut_off(void)
{
	static const uint8_t options[8] = {0, 200, 1, 4};
	struct world_result r = send_with_headers(IPPROTO_DSTOPTS, options, sizeof(options), 0);

	CU_ASSERT(r.verdict == TC_ACT_SHOT &&
		  (r.reason == REASON_SHORT || r.reason == REASON_EXT_HEADERS));
}

/* Whatever is said to come next: of a protocol without ports no byte would be asked for. */
static void drops_extension_header_that_is_longer_than_its_packet(void)
{
	static const uint8_t longer[8] = {0, 3, 1, 4};
	static const uint8_t first_types[] = {IPPROTO_DSTOPTS, IPPROTO_HOPOPTS, IPPROTO_AH};

	for (int i = 0; i < 3; i++) {
		struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], 139, 0, 0);
		struct world_result r;

		spec.options = longer;
		spec.options_length = sizeof(longer);
		spec.first_next = first_types[i];
		spec.payload_length = 8;
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_SHORT));
		memcpy(spec.mac_source, world->pods[1].mac, 6);
		spec.source = addr(outside[V6]);
		spec.destination = addr(pod_text[0][V6]);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SHORT));
	}
}

/* With its header the packet would be of 65,544 bytes: of eight, to who counts by 16 bits. */
static void drops_ipv6_packet_whose_length_overflows(void)
{
	struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], 4, 0, 0);
	struct world_result r;
	struct frame frame;

	spec.payload_length = 100;
	frame_make(&frame, &spec);
	frame.bytes[18] = 0xff;
	frame.bytes[19] = 0xe0;
	r = world_run(world, HOOK_FROM_POD, world->pods[0].link, world->pods[0].link, &frame);
	CU_ASSERT(dropped(&r, REASON_SHORT));
}

/* One fragment of a datagram of the pod; offset 0 is the first. */
static struct world_result send_fragment(enum suite_version v, const char *to, uint32_t id,
					 uint16_t offset, bool more, size_t length)
{
	struct frame_spec spec = spec_of_pod(0, v, to, IPPROTO_UDP, 9001, 53);

	spec.fragment_id = id;
	spec.fragment_offset = offset;
	spec.flags = FRAME_FRAGMENT | (more ? FRAME_MORE_FRAGMENTS : 0);
	spec.payload_length = length;
	return send_of_pod(0, &spec);
}

static void later_fragment_without_first_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_fragment(v, pod_text[1][v], 1, 800, false, 100);

		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
	}
}

static void later_fragments_follow_the_first(void)
{
	static const char *const vip[2] = {"10.96.3.1", "fd00:96::3:1"};

	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct polder_addr endpoint = addr(pod_text[1][v]);
		struct world_result r;

		world_set_service(world, 50, vip[v], IPPROTO_UDP, 53, &backend, 1);
		r = send_fragment(v, vip[v], 2, 0, true, 792);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_ends(&r, pod_text[0][v], 9001, pod_text[1][v], 8080));
		r = send_fragment(v, vip[v], 2, 800, false, 100);
		CU_ASSERT(forwarded(&r)); /* the same way, by the ports of the first */
		CU_ASSERT(addr_same(&(struct polder_addr[1]){seen(&r).destination}[0], &endpoint));
		CU_ASSERT_EQUAL(seen(&r).fragment_offset, 800);
		r = send_fragment(v, vip[v], 3, 800, false, 100);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
	}
}

/* NP-26: the verdict on the first fragment holds for all. */
static void later_fragment_of_a_refused_segment_opens_no_flow(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], 9003, 80, TCP_ACK_FLAG);
		struct world_result r;

		spec.fragment_id = 4;
		spec.flags = FRAME_FRAGMENT | FRAME_MORE_FRAGMENTS;
		spec.payload_length = 100;
		r = send_of_pod(0, &spec);
		CU_ASSERT_EQUAL(r.reason, REASON_NO_FLOW);
		spec.fragment_offset = 120;
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		spec.fragment_offset = 0;
		spec.flags = 0;
		r = send_of_pod(0, &spec);
		CU_ASSERT_EQUAL(r.reason, REASON_NO_FLOW);
	}
}

static void first_fragment_without_whole_transport_header_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], 9002, 80, TCP_SYN_FLAG);
		struct world_result r;
		struct frame frame;

		spec.flags = FRAME_MORE_FRAGMENTS;
		spec.payload_length = 0;
		frame_make(&frame, &spec);
		frame.length -= 12; /* 8 bytes of TCP: ports, but no flags */
		if (v == V4) {
			frame.bytes[17] -= 12;
			frame.bytes[24] = frame.bytes[25] = 0;
		} else {
			frame.bytes[19] -= 12;
		}
		r = world_run(world, HOOK_FROM_POD, world->pods[0].link, 0, &frame);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_TINY));
	}
}

/* A fragment at offset 8 could write the first one's flags anew (RFC 1858). */
static void fragment_that_overlaps_the_transport_header_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct world_result r = send_fragment(v, pod_text[1][v], 4, 0, true, 792);

		CU_ASSERT(forwarded(&r));
		r = send_fragment(v, pod_text[1][v], 4, 8, false, 100);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_TINY));
	}
}

static void second_fragment_header_is_dropped(void)
{
	static const uint8_t fragment[8] = {0, 0, 0, 1, 0, 0, 0, 9};
	struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], IPPROTO_UDP, 9003, 53);
	struct world_result r;

	spec.options = fragment;
	spec.options_length = sizeof(fragment);
	spec.first_next = IPPROTO_FRAGMENT;
	spec.flags = FRAME_FRAGMENT;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_EXT_HEADERS));
}

static void policy_holds_for_fragments(void)
{
	EACH_VERSION(v)
	{
		struct world_result r;

		world_set_rules(world, 1, RULESET_OPEN, RULESET_CLOSED);
		r = send_fragment(v, pod_text[1][v], 5, 0, true, 792);
		CU_ASSERT(dropped(&r, REASON_NOT_READY));
		r = send_fragment(v, pod_text[1][v], 5, 800, false, 100);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN)); /* only what passed is remembered */
		world_set_rules(world, 1, RULESET_OPEN, RULESET_OPEN);
	}
}

static void masquerades_fragments(void)
{
	EACH_VERSION(v)
	{
		struct polder_addr own = addr(node[v]);
		struct world_result r = send_fragment(v, outside[v], 6, 0, true, 792);

		CU_ASSERT(forwarded(&r));
		r = send_fragment(v, outside[v], 6, 800, false, 100);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(addr_same(&(struct polder_addr[1]){seen(&r).source}[0], &own));
	}
}

/* Only the headers of what TCP sends are linear, and those of other senders may not be. */
static void headers_outside_the_linear_part_are_found(void)
{
	static const uint8_t options[16] = {IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4};

	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, pod_text[1][v], 9010, 80, TCP_SYN_FLAG);
		struct world_result r;
		struct frame frame;

		if (v == V6) {
			spec.options = options;
			spec.options_length = sizeof(options);
			spec.first_next = IPPROTO_DSTOPTS;
			spec.last_next = 8;
		}
		spec.payload_length = 400;
		frame_make(&frame, &spec);
		for (uint32_t linear = 14; linear <= 90; linear += 4) {
			if (!world_run_linear(world, HOOK_FROM_POD, world->pods[0].link, &frame,
					      linear, &r)) {
				printf("(no test-run with parts outside the linear one) ");
				return;
			}
			CU_ASSERT(forwarded(&r) &&
				  seen_ends(&r, pod_text[0][v], 9010, pod_text[1][v], 80));
		}
	}
}

static void drops_ipv6_routing_header_that_leads_elsewhere(void)
{
	uint8_t routing[8] = {0, 0, 4, 1};
	struct world_result r = send_with_headers(IPPROTO_ROUTING, routing, sizeof(routing), 0);

	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
	routing[2] = 0;
	routing[3] = 0;
	r = send_with_headers(IPPROTO_ROUTING, routing, sizeof(routing), 0);
	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
	routing[2] = 4;
	r = send_with_headers(IPPROTO_ROUTING, routing, sizeof(routing), 0);
	CU_ASSERT(forwarded(&r));
}

/* SRv6: what the node's own stack does with its own is its business. */
static void routing_header_from_the_wire_is_for_the_nodes_stack_only(void)
{
	static const uint8_t routing[8] = {0, 0, 4, 1};
	static const char *const targets[2] = {"fd00:7::1", "fd00:1::11"};

	for (int pod = 0; pod < 2; pod++) {
		struct frame_spec spec =
			spec_of_wire(outside[V6], targets[pod], IPPROTO_UDP, 9004, 53);
		struct world_result r;
		struct frame frame;

		spec.options = routing;
		spec.options_length = sizeof(routing);
		spec.first_next = IPPROTO_ROUTING;
		r = send_of_wire(&spec);
		CU_ASSERT(pod ? dropped(&r, REASON_IP_OPTIONS) : passed(&r));
		frame_make(&frame, &spec);
		r = world_run(world, HOOK_WIRE_XDP, WORLD_UPLINK, WORLD_UPLINK, &frame);
		CU_ASSERT(r.verdict == XDP_PASS && !r.drops);
		spec.source = addr(pod_text[1][V6]);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
	}
}

/* Behind the fragment header they would move the transport header to where a later fragment may
 * write. */
static void drops_extension_header_behind_the_fragment_header(void)
{
	static const uint8_t both[16] = {IPPROTO_DSTOPTS, 0, 0, 1, 0, 0, 0, 9, 0, 0, 1, 4};
	struct world_result r = send_with_headers(IPPROTO_FRAGMENT, both, sizeof(both), 8);

	CU_ASSERT(dropped(&r, REASON_EXT_HEADERS));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(finds_the_transport_behind_extension_headers),
		SUITE_TEST(drops_misplaced_extension_header),
		SUITE_TEST(more_than_eight_extension_headers_are_dropped),
		SUITE_TEST(drops_extension_header_that_is_cut_off),
		SUITE_TEST(drops_extension_header_that_is_longer_than_its_packet),
		SUITE_TEST(drops_ipv6_packet_whose_length_overflows),
		SUITE_TEST(later_fragment_without_first_is_dropped),
		SUITE_TEST(later_fragments_follow_the_first),
		SUITE_TEST(later_fragment_of_a_refused_segment_opens_no_flow),
		SUITE_TEST(first_fragment_without_whole_transport_header_is_dropped),
		SUITE_TEST(fragment_that_overlaps_the_transport_header_is_dropped),
		SUITE_TEST(second_fragment_header_is_dropped),
		SUITE_TEST(policy_holds_for_fragments),
		SUITE_TEST(masquerades_fragments),
		SUITE_TEST(headers_outside_the_linear_part_are_found),
		SUITE_TEST(drops_ipv6_routing_header_that_leads_elsewhere),
		SUITE_TEST(routing_header_from_the_wire_is_for_the_nodes_stack_only),
		SUITE_TEST(drops_extension_header_behind_the_fragment_header),
	};

	return SUITE_RUN("headers", tests);
}
