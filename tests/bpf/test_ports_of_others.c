/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the masquerade range that the node itself uses, beside those of pods' flows. */
#include "suite.h"

static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};

static struct world_result send_to_wire(const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_TO_WIRE, WORLD_UPLINK, 0, &frame);
}

static struct frame_spec spec_of_node(enum suite_version v, uint8_t proto, uint16_t sport,
				      uint16_t dport)
{
	struct frame_spec spec = spec_of_wire(node[v], outside[v], proto, sport, dport);

	spec.tcp_flags = TCP_SYN_FLAG;
	return spec;
}

/* A pod's flow; the port that it leaves with. */
static uint16_t pods_port(int pod, enum suite_version v, uint8_t proto, uint16_t sport)
{
	struct frame_spec spec = spec_of_pod(pod, v, outside[v], proto, sport, 53);
	struct world_result r = send_of_pod(pod, &spec);

	CU_ASSERT_FATAL(forwarded(&r));
	return seen(&r).sport;
}

static bool unchanged(const struct frame_spec *spec, const struct world_result *r)
{
	struct frame frame;

	frame_make(&frame, spec);
	return passed(r) && frame.length == r->out.length &&
	       !memcmp(frame.bytes, r->out.bytes, frame.length);
}

/* There and back; the other port stays. */
static void sockets_packet_leaves_with_another_port(void)
{
	EACH_VERSION(v)
	for (size_t i = 0; i < sizeof(protos); i++) {
		uint16_t pods = pods_port(0, v, protos[i], 6005), port = 0;
		struct frame_spec own = spec_of_node(v, protos[i], pods, 53), back;
		struct world_result r;

		for (int round = 0; round < 3; round++) {
			own.tcp_flags = round ? TCP_ACK_FLAG : TCP_SYN_FLAG;
			r = send_to_wire(&own);
			CU_ASSERT(passed(&r) && frame_sums_right(&r.out));
			port = round ? port : seen(&r).sport;
			CU_ASSERT(port != pods && port >= 40000 && port <= 49999);
			CU_ASSERT(seen_ends(&r, node[v], port, outside[v], 53));
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_wire(&back);
			CU_ASSERT(passed(&r) && frame_sums_right(&r.out));
			CU_ASSERT(seen_ends(&r, outside[v], 53, node[v], pods));
			world_move_generation(world, 2);
		}
		/* The pod's own answers are the pod's. */
		back.dport = pods;
		r = send_of_wire(&back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_ends(&r, outside[v], 53, pod_text[0][v], 6005));
	}
}

static void connection_that_has_begun_is_not_moved(void)
{
	EACH_VERSION(v)
	{
		uint16_t pods = pods_port(0, v, IPPROTO_TCP, 6006);
		struct frame_spec own = spec_of_node(v, IPPROTO_TCP, pods, 53);
		struct world_result r;

		own.tcp_flags = TCP_ACK_FLAG;
		r = send_to_wire(&own);
		CU_ASSERT(dropped(&r, REASON_PORT_COLLISION));
		own.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG;
		r = send_to_wire(&own);
		CU_ASSERT(dropped(&r, REASON_PORT_COLLISION));
	}
}

/* They are found when a pod's port is chosen. */
static void sockets_that_meet_nobody_take_no_entry(void)
{
	EACH_VERSION(v)
	for (size_t i = 0; i < sizeof(protos); i++) {
		struct frame_spec own = spec_of_node(v, protos[i], 45000, 53);
		struct world_result r = send_to_wire(&own);
		struct flow_tuple tuple = world_tuple(&own, ZONE_HOST);

		CU_ASSERT(unchanged(&own, &r));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
		/* Nor does what is no port of the range. */
		own.sport = 39999;
		(void)pods_port(0, v, protos[i], 6007);
		r = send_to_wire(&own);
		CU_ASSERT(unchanged(&own, &r));
	}
}

/* It is of no flow of a pod any more: who listens there answers by the way that the stack chooses.
 */
static void connection_to_a_closed_flows_port_is_the_nodes(void)
{
	EACH_VERSION(v)
	{
		uint16_t port = pods_port(0, v, IPPROTO_TCP, 6030);
		struct frame_spec reset = spec_of_wire(outside[v], node[v], IPPROTO_TCP, 53, port);
		struct frame_spec syn = reset, answer = spec_of_node(v, IPPROTO_TCP, port, 53);
		struct flow_tuple tuple = world_tuple(&syn, ZONE_WIRE);
		struct world_result r;

		reset.tcp_flags = TCP_RST_FLAG;
		r = send_of_wire(&reset);
		CU_ASSERT(forwarded(&r));
		r = send_of_wire(&syn);
		CU_ASSERT(unchanged(&syn, &r));
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
		answer.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG;
		r = send_to_wire(&answer);
		CU_ASSERT(unchanged(&answer, &r));
	}
}

static void another_peers_port_is_another_flow(void)
{
	EACH_VERSION(v)
	for (size_t i = 0; i < sizeof(protos); i++) {
		struct frame_spec own =
			spec_of_node(v, protos[i], pods_port(0, v, protos[i], 6008), 54);
		struct world_result r = send_to_wire(&own);

		CU_ASSERT(unchanged(&own, &r));
	}
}

/* A process may speak with a pod's address; the stack may hand what answers it to the pod's link.
 */
static void flow_with_a_pods_address_stays_the_nodes(void)
{
	static const char *const vip[2] = {"10.96.0.50", "fd00:96::50"};

	EACH_VERSION(v)
	{
		const struct world_backend backend = {.addr = remote_pod[v], .port = 53};
		struct frame_spec pods = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 40000, 80);
		struct frame_spec own =
			spec_of_wire(pod_text[0][v], remote_pod[v], IPPROTO_UDP, 40000, 53);
		struct frame_spec back = own;
		struct world_result r;
		struct frame frame;
		uint16_t port;

		world_set_service(world, 1 + v, vip[v], IPPROTO_UDP, 80, &backend, 1);
		r = send_of_pod(0, &pods);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][v], 40000, remote_pod[v], 53));
		r = send_to_wire(&own);
		port = seen(&r).sport;
		CU_ASSERT(passed(&r) && port != 40000);
		for (int round = 0; round < 2; round++) {
			world_move_generation(world, 2);
			back = spec_of_wire(remote_pod[v], pod_text[0][v], IPPROTO_UDP, 53, port);
			frame_make(&frame, &back);
			r = world_run(world, HOOK_TO_POD, world->pods[0].link, WORLD_UPLINK,
				      &frame);
			CU_ASSERT(passed(&r) &&
				  seen_ends(&r, remote_pod[v], 53, pod_text[0][v], 40000));
			r = send_to_wire(&own);
			CU_ASSERT(passed(&r) &&
				  seen_ends(&r, pod_text[0][v], port, remote_pod[v], 53));
		}
	}
}

/* The pod's route may have gone for a moment: what leaves by the uplink meanwhile is of the same
 * flow, and has the port that keeps it apart from a client's. */
static void flow_to_a_pod_is_the_same_by_the_uplink(void)
{
	static const char *const vip[2] = {"203.0.113.50", "2001:db8:50::1"};

	EACH_VERSION(v)
	{
		const struct world_frontend frontend = {
			.id = 11 + v,
			.addr = vip[v],
			.port = 80,
			.proto = IPPROTO_TCP,
			.flags = SERVICE_EXTERNAL,
			.backends = {
				{.addr = pod_text[1][v], .port = 8080, .place = WORLD_BOTH_SETS}}};
		struct frame_spec client = spec_of_wire(outside[v], vip[v], IPPROTO_TCP, 6040, 80),
				  own;
		struct world_result r;
		struct frame frame;
		uint16_t port;

		world_set_frontend(world, &frontend);
		client.tcp_flags = TCP_SYN_FLAG;
		r = send_of_wire(&client);
		CU_ASSERT_FATAL(forwarded(&r));
		own = spec_of_node(v, IPPROTO_TCP, seen(&r).sport, 8080);
		own.destination = addr(pod_text[1][v]);
		frame_make(&frame, &own);
		r = world_run(world, HOOK_TO_POD, world->pods[1].link, 0, &frame);
		port = seen(&r).sport;
		CU_ASSERT(passed(&r) && port != own.sport);
		own.tcp_flags = TCP_RST_FLAG;
		r = send_to_wire(&own);
		CU_ASSERT(passed(&r) && seen(&r).sport == port);
		/* A new connection, on the ports of the one that is closed. */
		own.tcp_flags = TCP_SYN_FLAG;
		r = send_to_wire(&own);
		CU_ASSERT(passed(&r) && seen(&r).sport != own.sport);
		port = seen(&r).sport;
		world_move_generation(world, 2);
		own.tcp_flags = TCP_ACK_FLAG;
		r = send_to_wire(&own);
		CU_ASSERT(passed(&r) && seen(&r).sport == port);
		frame_make(&frame, &own);
		r = world_run(world, HOOK_TO_POD, world->pods[1].link, 0, &frame);
		CU_ASSERT(passed(&r) && seen(&r).sport == port);
	}
}

/* Nothing but the flow table knows of identifiers. */
static void echo_first(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec own = spec_of_node(v, icmp_of(v), 40001, 0), spec, back;
		struct world_result r;

		own.icmp_type = v == V4 ? 8 : 128;
		r = send_to_wire(&own);
		CU_ASSERT(unchanged(&own, &r));
		back = spec_of_answer(-1, &r, 0);
		r = send_of_wire(&back);
		CU_ASSERT(unchanged(&back, &r));
		for (uint16_t i = 0; i < 4; i++) {
			spec = spec_of_pod(0, v, outside[v], icmp_of(v), 6100 + i, 0);
			r = send_of_pod(0, &spec);
			CU_ASSERT(i == 3 ? dropped(&r, REASON_NAT_PORTS) : forwarded(&r));
			if (i < 3)
				CU_ASSERT(seen(&r).sport != 40001);
		}
		r = send_of_wire(&back);
		CU_ASSERT(unchanged(&back, &r));
		/* To answer one takes nothing. */
		own.icmp_type = v == V4 ? 0 : 129;
		own.sport = 40002;
		r = send_to_wire(&own);
		CU_ASSERT(unchanged(&own, &r));
	}
}

static void without_a_port(void)
{
	EACH_VERSION(v)
	for (size_t i = 0; i < sizeof(protos); i++) {
		struct frame_spec own;
		struct world_result r;

		for (uint16_t port = 0; port < 4; port++)
			(void)pods_port(0, v, protos[i], 6200 + port);
		own = spec_of_node(v, protos[i], 40002, 53);
		r = send_to_wire(&own);
		CU_ASSERT(dropped(&r, REASON_PORT_COLLISION));
	}
}

static const struct world_options four_ports = {
	.outer_namespace = true, .masquerade_port_min = 40000, .masquerade_port_max = 40003};

static void identifier_of_an_echo_request_is_given_to_no_pod(void)
{
	in_world_of(&four_ports, echo_first);
}

static void packet_is_dropped_where_all_ports_are_taken(void)
{
	in_world_of(&four_ports, without_a_port);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(sockets_packet_leaves_with_another_port),
		SUITE_TEST(connection_that_has_begun_is_not_moved),
		SUITE_TEST(sockets_that_meet_nobody_take_no_entry),
		SUITE_TEST(connection_to_a_closed_flows_port_is_the_nodes),
		SUITE_TEST(another_peers_port_is_another_flow),
		SUITE_TEST(flow_with_a_pods_address_stays_the_nodes),
		SUITE_TEST(flow_to_a_pod_is_the_same_by_the_uplink),
		SUITE_TEST(identifier_of_an_echo_request_is_given_to_no_pod),
		SUITE_TEST(packet_is_dropped_where_all_ports_are_taken),
	};

	return SUITE_RUN("ports_of_others", tests);
}
