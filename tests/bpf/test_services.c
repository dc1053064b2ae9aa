/* SPDX-License-Identifier: Apache-2.0 */
/* Services: to an endpoint and back, refusals, endpoints that come and go. */
#include "suite.h"

static const char *const vip[2] = {"10.96.0.1", "fd00:96::1"};

/* A Service of the test's own: number, port. Its endpoints are pods 12 and 13 by `mask`, port 8080.
 */
static void set_service(uint32_t id, enum suite_version v, uint8_t proto, uint16_t port, int mask,
			enum backend_state state)
{
	struct world_backend backends[2];
	int count = 0;

	for (int pod = 1; pod <= 2; pod++)
		if (mask & 1 << pod)
			backends[count++] = (struct world_backend){pod_text[pod][v], 8080, state};
	world_set_service(world, id, vip[v], proto, port, backends, count);
}

static uint64_t slow_path_runs(void)
{
	return world_counter(world, COUNTER_FLOWS_CREATED) +
	       world_counter(world, COUNTER_FLOWS_REEVALUATED);
}

static void translates_service_to_backend_and_reply_back(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};

	EACH_VERSION(v)
	{
		for (int i = 0; i < 2; i++) {
			struct frame_spec spec, back;
			struct world_result r, answer;

			set_service(1, v, protos[i], 80, 1 << 1, 0);
			spec = spec_of_pod(0, v, vip[v], protos[i], 1111, 80);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(seen_ends(&r, pod_text[0][v], 1111, pod_text[1][v], 8080));
			back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			answer = send_of_pod(1, &back);
			CU_ASSERT(forwarded(&answer));
			CU_ASSERT(seen_ends(&answer, vip[v], 80, pod_text[0][v], 1111));
		}
	}
}

static void translates_packets_of_every_length(void)
{
	EACH_VERSION(v)
	{
		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1112, 80);
		for (size_t length = 0; length < 1380; length += 23) {
			struct frame_spec spec =
				spec_of_segment(0, v, vip[v], 1112, 80, TCP_ACK_FLAG);
			struct world_result r;

			spec.payload_length = length;
			spec.seq = 77 * length;
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT_EQUAL(seen(&r).payload_length, length);
		}
	}
}

/* GSO packets take the helpers' way; to them the sums of a test-run's packet are complete too. */
static void translates_segmented_packets(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1113, 80, TCP_ACK_FLAG);
		struct world_result r;
		struct frame frame;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1113, 80);
		spec.payload_length = 1900;
		frame_make(&frame, &spec);
		r = world_run_gso(world, HOOK_FROM_POD, world->pods[0].link, &frame, 2, 1000);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_ends(&r, pod_text[0][v], 1113, pod_text[1][v], 8080));
	}
}

/* The sum in the packet is that of the pseudo header, as if a device were to complete it, but it is
 * complete. */
static void translates_a_sum_that_looks_unfinished(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1114, 80, TCP_ACK_FLAG);
		size_t skip = v == V4 ? 12 : 0, l4 = 14 + (v == V4 ? 20 : 40);
		uint16_t pseudo, payload[2] = {0};
		struct world_result r;
		struct frame frame;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1114, 80);
		pseudo = frame_sum(spec.source.bytes + skip, 16 - skip,
				   IPPROTO_TCP + 20 + sizeof(payload));
		pseudo = frame_sum(spec.destination.bytes + skip, 16 - skip, pseudo);
		for (uint32_t word = 0; word < 65536; word++) {
			payload[0] = word;
			spec.payload = payload;
			spec.payload_length = sizeof(payload);
			frame_make(&frame, &spec);
			if ((frame.bytes[l4 + 16] << 8 | frame.bytes[l4 + 17]) == pseudo)
				break;
		}
		CU_ASSERT_EQUAL(frame.bytes[l4 + 16] << 8 | frame.bytes[l4 + 17], pseudo);
		r = world_run(world, HOOK_FROM_POD, world->pods[0].link, 0, &frame);
		CU_ASSERT(forwarded(&r));
	}
}

static void udp_without_checksum_stays_without(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, vip[V4], IPPROTO_UDP, 1115, 53);
	struct world_result r;

	set_service(1, V4, IPPROTO_UDP, 53, 1 << 1, 0);
	spec.flags = FRAME_NO_CHECKSUM;
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT(r.out.bytes[40] == 0 && r.out.bytes[41] == 0);
}

/* A sum of 0 is written as 0xffff: the payload is chosen so that the translated packet has it. */
static void udp_sum_never_becomes_none(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 1116, 8080);
		size_t check = 14 + (v == V4 ? 20 : 40) + 6;
		struct world_result r;
		struct frame frame;
		uint16_t payload;

		set_service(1, v, IPPROTO_UDP, 53, 1 << 1, 0);
		spec.payload = &payload;
		spec.payload_length = 2;
		for (uint32_t word = 0; word < 65536; word++) {
			payload = word;
			frame_make(&frame, &spec);
			if (frame.bytes[check] == 0xff && frame.bytes[check + 1] == 0xff)
				break;
		}
		spec.destination = addr(vip[v]);
		spec.dport = 53;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(r.out.bytes[check] == 0xff && r.out.bytes[check + 1] == 0xff);
	}
}

static void translates_behind_options_and_extension_headers(void)
{
	static const uint8_t router_alert[4] = {148, 4, 0, 0},
			     destination_options[8] = {0, 0, 1, 4};
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};

	EACH_VERSION(v)
	{
		for (int i = 0; i < 2; i++) {
			struct frame_spec spec = spec_of_pod(0, v, vip[v], protos[i], 1117, 80);
			struct world_result r;

			set_service(1, v, protos[i], 80, 1 << 1, 0);
			spec.options = v == V4 ? router_alert : destination_options;
			spec.options_length = v == V4 ? 4 : 8;
			spec.first_next = IPPROTO_DSTOPTS;
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(seen_ends(&r, pod_text[0][v], 1117, pod_text[1][v], 8080));
		}
	}
}

static void rejects_without_endpoint_with_rst(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1120, 81, TCP_SYN_FLAG), got;
		struct world_result r;

		set_service(2, v, IPPROTO_TCP, 81, 0, 0);
		spec.seq = 1000;
		spec.payload_length = 0;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_NO_ENDPOINT));
		CU_ASSERT(seen_ends(&r, vip[v], 81, pod_text[0][v], 1120));
		got = seen(&r);
		CU_ASSERT_EQUAL(got.tcp_flags, TCP_RST_FLAG | TCP_ACK_FLAG);
		CU_ASSERT_EQUAL(got.ack, 1001);
		CU_ASSERT(!memcmp(got.mac_destination, world->pods[0].mac, 6));
	}
}

static void rejects_udp_with_port_unreachable(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 1121, 81), got;
		struct world_result r;
		struct frame inner;

		set_service(3, v, IPPROTO_UDP, 81, 0, 0);
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_NO_ENDPOINT));
		got = seen(&r);
		CU_ASSERT(got.icmp_type == (v == V4 ? 3 : 1) && got.icmp_code == (v == V4 ? 3 : 4));
		CU_ASSERT(addr_same(&got.destination, &spec.source));
		CU_ASSERT_EQUAL(frame_inner(&r.out, &inner), 0);
		CU_ASSERT_EQUAL(frame_read(&inner, &got), 0);
		CU_ASSERT(addr_same(&got.destination, &spec.destination) && got.sport == 1121 &&
			  got.dport == 81);
	}
}

static void rejects_ports_that_the_service_has_not(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1122, 4444, TCP_SYN_FLAG);
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_NO_SERVICE_PORT));
		CU_ASSERT_EQUAL(seen(&r).tcp_flags, TCP_RST_FLAG | TCP_ACK_FLAG);
	}
}

static void spreads_flows_over_the_endpoints(void)
{
	struct polder_addr first = addr(pod_text[1][V4]);
	int counts[2] = {0};

	set_service(1, V4, IPPROTO_TCP, 80, 1 << 1 | 1 << 2, 0);
	for (int i = 0; i < 400; i++) {
		struct frame_spec spec =
			spec_of_segment(0, V4, vip[V4], 2000 + i, 80, TCP_SYN_FLAG);
		struct world_result r = send_of_pod(0, &spec);
		struct frame_spec got = seen(&r);

		counts[addr_same(&got.destination, &first)]++;
	}
	CU_ASSERT(counts[0] > 130 && counts[1] > 130);
}

static void established_packet_takes_no_slow_path(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1130, 80, TCP_ACK_FLAG);
		struct world_result r;
		uint64_t before;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1130, 80);
		before = slow_path_runs();
		for (int i = 0; i < 20; i++) {
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
		}
		CU_ASSERT_EQUAL(slow_path_runs(), before);
	}
}

static void rejudges_after_generation_change(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1131, 80, TCP_ACK_FLAG),
				  back;
		uint64_t created, again;
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		r = open_connection(0, 1, v, vip[v], 1131, 80);
		back = spec_of_answer(1, &r, TCP_ACK_FLAG);
		created = world_counter(world, COUNTER_FLOWS_CREATED);
		again = world_counter(world, COUNTER_FLOWS_REEVALUATED);
		world_move_generation(world, 2);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1131, pod_text[1][v], 8080));
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_REEVALUATED), again + 1);
		world_move_generation(world, 2);
		r = send_of_pod(1, &back); /* the reply's side may come first */
		CU_ASSERT(forwarded(&r) && seen_ends(&r, vip[v], 80, pod_text[0][v], 1131));
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_REEVALUATED), again + 2);
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_CREATED), created);
	}
}

static void udp_leaves_removed_endpoint(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 1140, 82), back;
		struct world_result r;

		set_service(4, v, IPPROTO_UDP, 82, 1 << 1, 0);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1140, pod_text[1][v], 8080));
		back = spec_of_answer(1, &r, 0);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		set_service(4, v, IPPROTO_UDP, 82, 1 << 2, 0);
		world_remove_backend_state(world, 4, pod_text[1][v], 8080);
		world_move_generation(world, 2);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1140, pod_text[2][v], 8080));
		world_remove_backend_state(world, 4, pod_text[2][v], 8080);
	}
}

static void tcp_to_removed_endpoint_is_reset(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1141, 83, TCP_ACK_FLAG), got;
		struct world_result r;

		set_service(5, v, IPPROTO_TCP, 83, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1141, 83);
		set_service(5, v, IPPROTO_TCP, 83, 1 << 2, 0);
		world_remove_backend_state(world, 5, pod_text[1][v], 8080);
		world_move_generation(world, 2);
		spec.ack = 4711;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_ENDPOINT_GONE));
		got = seen(&r);
		CU_ASSERT(got.tcp_flags == TCP_RST_FLAG && got.seq == 4711);
		CU_ASSERT(seen_ends(&r, vip[v], 83, pod_text[0][v], 1141));
		/* A new connection on the same ports goes to the endpoint that is left. */
		spec.tcp_flags = TCP_SYN_FLAG;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1141, pod_text[2][v], 8080));
		world_remove_backend_state(world, 5, pod_text[2][v], 8080);
	}
}

static void terminating_endpoint_keeps_tcp(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1142, 84, TCP_ACK_FLAG);
		struct world_backend backends[2] = {{pod_text[1][v], 8080, BACKEND_TERMINATING},
						    {pod_text[2][v], 8080, 0}};
		struct world_result r;

		set_service(6, v, IPPROTO_TCP, 84, 1 << 1, 0);
		open_connection(0, 1, v, vip[v], 1142, 84);
		world_set_service(world, 6, vip[v], IPPROTO_TCP, 84, backends, 2);
		world_move_generation(world, 2);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1142, pod_text[1][v], 8080));
		spec = spec_of_segment(0, v, vip[v], 1143, 84, TCP_SYN_FLAG);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 1143, pod_text[2][v], 8080));
	}
}

static void pod_reaches_itself_through_its_service(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(1, v, vip[v], 1150, 80, TCP_SYN_FLAG), got,
				  back;
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		r = send_of_pod(1, &spec);
		CU_ASSERT(forwarded(&r));
		/* It must not see itself as the sender: it would answer to itself, past the
		 * translation. */
		got = seen(&r);
		CU_ASSERT(seen_ends(&r, vip[v], got.sport, pod_text[1][v], 8080));
		CU_ASSERT(!memcmp(got.mac_destination, world->pods[1].mac, 6));
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, vip[v], 80, pod_text[1][v], 1150));
	}
}

static void cluster_ip_serves_nobody_outside(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(outside[v], vip[v], IPPROTO_TCP, 1151, 80);
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_FROM_OUTSIDE));
	}
}

/* Its answers would be the pod's questions to the Service, which would go out to the wire. */
static void outside_cannot_pose_as_a_cluster_ip(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec posed =
			spec_of_wire(vip[v], pod_text[0][v], IPPROTO_UDP, 80, 1154);
		struct frame_spec asked = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 1154, 80);
		struct frame frame;
		struct world_result r;

		set_service(1, v, IPPROTO_UDP, 80, 1 << 1, 0);
		r = send_of_wire(&posed);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
		frame_make(&frame, &posed); /* nor by another link of the node */
		r = world_run(world, HOOK_TO_POD, world->pods[0].link, WORLD_UPLINK, &frame);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
		r = send_of_pod(0, &asked);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_ends(&r, pod_text[0][v], 1154, pod_text[1][v], 8080));
		posed.sport = 81; /* a port that the Service has not */
		r = send_of_wire(&posed);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
	}
}

static void outside_cannot_pose_as_what_answers_echo_requests(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec posed = spec_of_wire(vip[v], pod_text[0][v], icmp_of(v), 7, 0);
		struct frame_spec asked = spec_of_pod(0, v, vip[v], icmp_of(v), 7, 0);
		struct world_result r;

		posed.icmp_type = v == V4 ? 0 : 129;
		asked.icmp_type = v == V4 ? 8 : 128;
		set_service(1, v, IPPROTO_UDP, 80, 1 << 1, 0);
		r = send_of_wire(&posed);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
		r = send_of_pod(0, &asked);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(seen(&r).icmp_type, posed.icmp_type);
	}
}

/* Whoever sent it before there was a Service: the pod's next packet ends the flow, the one behind
 * it is the Service's. */
static void flow_from_an_address_that_becomes_a_service_ends(void)
{
	static const char *const third[2] = {"10.96.0.3", "fd00:96::3"};

	EACH_VERSION(v)
	{
		struct frame_spec posed =
			spec_of_wire(third[v], pod_text[0][v], IPPROTO_UDP, 80, 1155);
		struct frame_spec asked = spec_of_pod(0, v, third[v], IPPROTO_UDP, 1155, 80);
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct world_result r = send_of_wire(&posed);

		CU_ASSERT(forwarded(&r));
		world_set_service(world, 11 + v, third[v], IPPROTO_UDP, 80, &backend, 1);
		world_move_generation(world, 1);
		r = send_of_pod(0, &asked);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
		r = send_of_pod(0, &asked);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_ends(&r, pod_text[0][v], 1155, pod_text[1][v], 8080));
		world_forget_services(world);
	}
}

static void segment_in_mid_stream_opens_no_flow_and_is_reset(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 1152, 80, TCP_ACK_FLAG);
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_NO_FLOW));
		CU_ASSERT_EQUAL(seen(&r).tcp_flags, TCP_RST_FLAG);
	}
}

/* Two Services, one endpoint, the same port of the client: the endpoint has to see two flows. */
static void keeps_flows_to_one_endpoint_apart(void)
{
	static const char *const second[2] = {"10.96.0.2", "fd00:96::2"};

	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct frame_spec spec = spec_of_segment(0, v, second[v], 1153, 80, TCP_SYN_FLAG),
				  got, back;
		struct world_result r;

		set_service(1, v, IPPROTO_TCP, 80, 1 << 1, 0);
		world_set_service(world, 9, second[v], IPPROTO_TCP, 80, &backend, 1);
		open_connection(0, 1, v, vip[v], 1153, 80);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		got = seen(&r);
		CU_ASSERT(got.sport != 1153);
		CU_ASSERT(seen_ends(&r, pod_text[0][v], got.sport, pod_text[1][v], 8080));
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, second[v], 80, pod_text[0][v], 1153));
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(translates_service_to_backend_and_reply_back),
		SUITE_TEST(translates_packets_of_every_length),
		SUITE_TEST(translates_segmented_packets),
		SUITE_TEST(translates_a_sum_that_looks_unfinished),
		SUITE_TEST(udp_without_checksum_stays_without),
		SUITE_TEST(udp_sum_never_becomes_none),
		SUITE_TEST(translates_behind_options_and_extension_headers),
		SUITE_TEST(rejects_without_endpoint_with_rst),
		SUITE_TEST(rejects_udp_with_port_unreachable),
		SUITE_TEST(rejects_ports_that_the_service_has_not),
		SUITE_TEST(spreads_flows_over_the_endpoints),
		SUITE_TEST(established_packet_takes_no_slow_path),
		SUITE_TEST(rejudges_after_generation_change),
		SUITE_TEST(udp_leaves_removed_endpoint),
		SUITE_TEST(tcp_to_removed_endpoint_is_reset),
		SUITE_TEST(terminating_endpoint_keeps_tcp),
		SUITE_TEST(pod_reaches_itself_through_its_service),
		SUITE_TEST(cluster_ip_serves_nobody_outside),
		SUITE_TEST(outside_cannot_pose_as_a_cluster_ip),
		SUITE_TEST(outside_cannot_pose_as_what_answers_echo_requests),
		SUITE_TEST(flow_from_an_address_that_becomes_a_service_ends),
		SUITE_TEST(segment_in_mid_stream_opens_no_flow_and_is_reset),
		SUITE_TEST(keeps_flows_to_one_endpoint_apart),
	};

	return SUITE_RUN("Services", tests);
}
