/* SPDX-License-Identifier: Apache-2.0 */
/* Through the tunnel: to other nodes' pods, from them, and what may not come that way. */
#include "peers.h"

#define TUNNEL_MTU 1450

/* Two inner frames that differ in MACs and TTL alone. */
static bool same_but_for_the_hop(const struct world_result *r, const struct frame_spec *sent,
				 const uint8_t *to_mac)
{
	struct frame_spec wanted = *sent;
	struct frame frame;

	memcpy(wanted.mac_source, world_gateway_mac, 6);
	memcpy(wanted.mac_destination, to_mac, 6);
	wanted.ttl = 63;
	frame_make(&frame, &wanted);
	return r->out.length == frame.length && !memcmp(r->out.bytes, frame.bytes, frame.length);
}

static void pod_reaches_a_pod_behind_a_peer_and_is_answered(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		for (uint32_t peer = PEER_FIRST; peer <= PEER_SECOND; peer++) {
			struct frame_spec spec =
				spec_of_segment(0, v, peer_pod[peer][v], 7000, 80, TCP_SYN_FLAG);
			struct world_result r = send_of_pod(0, &spec);
			struct frame_spec back;

			CU_ASSERT(forwarded(&r));
			CU_ASSERT(same_but_for_the_hop(&r, &spec, world_gateway_mac));
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_peer(peer, &back);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(same_but_for_the_hop(&r, &back, world->pods[0].mac));
			spec.tcp_flags = TCP_ACK_FLAG;
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
		}
	}
}

static void pod_behind_a_peer_reaches_a_pod_and_is_answered(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v],
						      IPPROTO_TCP, 7001, 80),
				  back;
		struct world_result r = send_of_peer(PEER_FIRST, &spec);

		CU_ASSERT(forwarded(&r));
		CU_ASSERT(same_but_for_the_hop(&r, &spec, world->pods[0].mac));
		back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(0, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(same_but_for_the_hop(&r, &back, world_gateway_mac));
	}
}

/* No masquerade: its kernel answers by the tunnel. */
static void pod_reaches_a_peer_itself_with_its_own_address(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_node[PEER_FIRST][v], IPPROTO_UDP, 7002, 53);
		struct world_result r = send_of_pod(0, &spec);
		struct frame_spec back;

		CU_ASSERT(forwarded(&r));
		CU_ASSERT(same_but_for_the_hop(&r, &spec, world_gateway_mac));
		back = spec_of_answer(-1, &r, 0);
		r = send_of_peer(PEER_FIRST, &back);
		CU_ASSERT(forwarded(&r));
	}
}

/* The endpoint of a Service is behind the peer: replies are translated back. */
static void service_has_an_endpoint_behind_a_peer(void)
{
	static const char *const vip[2] = {"10.96.7.1", "fd00:96::7:1"};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_backend backend = {.addr = peer_pod[PEER_SECOND][v],
						      .port = 8080};
		struct frame_spec spec = spec_of_segment(0, v, vip[v], 7003, 80, TCP_SYN_FLAG),
				  back;
		struct world_result r;

		world_set_service(world, 70 + v, vip[v], IPPROTO_TCP, 80, &backend, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 7003, peer_pod[PEER_SECOND][v], 8080));
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_peer(PEER_SECOND, &back);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, vip[v], 80, pod_text[0][v], 7003));
	}
}

static void who_is_no_peer_sends_nothing(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v], IPPROTO_UDP, 1, 2);
		struct world_result r;
		struct frame frame;

		frame_make(&frame, &spec);
		r = world_run_tunnelled(world, "192.168.7.99", WORLD_VNI, &frame);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_PEER) && r.hook == DROP_FROM_TUNNEL);
		r = world_run_tunnelled(world, "fd00:7::99", WORLD_VNI, &frame);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_PEER));
		r = world_run_tunnelled(world, peer_end[PEER_FIRST], WORLD_VNI + 1, &frame);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_PEER));
		/* Without outer headers at all. */
		r = world_run(world, HOOK_FROM_TUNNEL, WORLD_TUNNEL, WORLD_TUNNEL, &frame);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_PEER));
	}
}

static void end_of_a_peer_is_found_behind_others(void)
{
	struct tunnel_end end = {.underlay = addr(peer_end[PEER_FIRST])}, none = {}, other;
	uint32_t at = tunnel_end_hash(&end.underlay), next;
	struct frame_spec spec;
	struct world_result r;

	peers_fill(TUNNEL_MTU);
	spec = spec_of_peer(peer_pod[PEER_FIRST][V4], pod_text[0][V4], IPPROTO_UDP, 1, 2);
	other = end;
	other.underlay.words_be[3]++;
	other.peer = PEER_SECOND;
	end.peer = PEER_FIRST;
	for (uint32_t i = 0; i <= PEER_PROBES; i++) {
		next = (at + i) % TUNNEL_ENDS;
		world_set(world, "tunnel_ends", &next, &end);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(i < PEER_PROBES ? forwarded(&r) : dropped(&r, REASON_TUNNEL_PEER));
		world_set(world, "tunnel_ends", &next, &other);
	}
	for (uint32_t i = 0; i <= PEER_PROBES; i++) {
		next = (at + i) % TUNNEL_ENDS;
		world_set(world, "tunnel_ends", &next, &none);
	}
}

static void source_must_be_behind_the_peer(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct {
			const char *source;
			enum polder_reason reason;
		} sources[] = {
			{peer_pod[PEER_SECOND][v], REASON_PEER_SOURCE},
			{peer_pod[PEER_NATIVE][v], REASON_PEER_SOURCE},
			{peer_node[PEER_SECOND][v], REASON_PEER_SOURCE},
			{outside[v], REASON_PEER_SOURCE},
			{pod_text[1][v], REASON_MARTIAN},
			{node[v], REASON_MARTIAN},
			{v == V4 ? "127.0.0.1" : "::1", REASON_LOOPBACK},
			{v == V4 ? "224.0.0.1" : "ff02::1", REASON_MARTIAN},
		};

		for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
			struct frame_spec spec =
				spec_of_peer(sources[i].source, pod_text[0][v], IPPROTO_UDP, 3, 4);
			struct world_result r = send_of_peer(PEER_FIRST, &spec);

			CU_ASSERT(dropped(&r, sources[i].reason));
			/* Nor to the node itself. */
			spec.destination = addr(node[v]);
			r = send_of_peer(PEER_FIRST, &spec);
			CU_ASSERT(dropped(&r, sources[i].reason));
		}
	}
}

/* An address that no pod has, but that is in the peer's range; and the peer's own. */
static void all_of_the_peers_addresses_are_its_own(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const char *const sources[] = {v == V4 ? "10.2.0.77" : "fd00:2::77",
					       peer_node[PEER_FIRST][v]};

		for (int i = 0; i < 2; i++) {
			struct frame_spec spec =
				spec_of_peer(sources[i], pod_text[0][v], IPPROTO_UDP, 5, 6);
			struct world_result r = send_of_peer(PEER_FIRST, &spec);

			CU_ASSERT(forwarded(&r));
			spec.destination = addr(node[v]);
			r = send_of_peer(PEER_FIRST, &spec);
			CU_ASSERT(passed(&r));
		}
	}
}

/* One that is known only by `peers`, since another node has the address in `addresses`. */
static void address_of_the_peer_itself_needs_no_entry(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct address_entry nobody = {.identity = {IDENTITY_WORLD, IDENTITY_WORLD}};
		struct frame_spec spec =
			spec_of_peer(peer_node[PEER_FIRST][v], pod_text[0][v], IPPROTO_UDP, 5, 6);
		struct world_result r;

		world_set_address(world, peer_node[PEER_FIRST][v], v == V4 ? 32 : 128, &nobody);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r));
	}
	peers_fill(TUNNEL_MTU);
}

static void peer_never_meets_a_flow_of_another(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, peer_pod[PEER_FIRST][v], 7004, 80,
							 TCP_SYN_FLAG),
				  back;
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_peer(PEER_SECOND, &back);
		CU_ASSERT(dropped(&r, REASON_NO_FLOW));
		r = send_of_wire(&back);
		CU_ASSERT(dropped(&r, REASON_NO_FLOW));
		back.proto = IPPROTO_UDP;
		r = send_of_peer(PEER_SECOND, &back);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		r = send_of_wire(&back);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		back.proto = IPPROTO_TCP;
		r = send_of_peer(PEER_FIRST, &back);
		CU_ASSERT(forwarded(&r));
	}
}

static void nothing_but_this_node_is_reached_through_the_tunnel(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct {
			const char *to;
			enum polder_reason reason;
		} places[] = {
			{outside[v], REASON_TUNNEL_DESTINATION},
			{peer_pod[PEER_SECOND][v], REASON_TUNNEL_DESTINATION},
			{peer_pod[PEER_NATIVE][v], REASON_TUNNEL_DESTINATION},
			{peer_node[PEER_SECOND][v], REASON_TUNNEL_DESTINATION},
			{v == V4 ? "10.1.0.99" : "fd00:1::99", REASON_UNKNOWN_POD},
			{v == V4 ? "224.0.0.5" : "ff02::5", REASON_MULTICAST},
			{v == V4 ? "255.255.255.255" : "fe80::7", REASON_MULTICAST},
			{v == V4 ? "0.0.0.0" : "::", REASON_MULTICAST},
			{v == V4 ? "127.0.0.1" : "::1", REASON_LOOPBACK},
		};

		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			struct frame_spec spec = spec_of_peer(peer_pod[PEER_FIRST][v], places[i].to,
							      IPPROTO_UDP, 7, 8);
			struct world_result r = send_of_peer(PEER_FIRST, &spec);

			CU_ASSERT(dropped(&r, places[i].reason));
		}
	}
}

static void links_own_messages_do_not_cross(void)
{
	struct frame_spec spec;
	struct world_result r;
	struct frame frame;

	peers_fill(TUNNEL_MTU);
	spec = spec_of_peer(peer_pod[PEER_FIRST][V6], pod_text[0][V6], IPPROTO_ICMPV6, 0, 0);
	for (int type = 133; type <= 137; type++) {
		spec.icmp_type = (uint8_t)type;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_ND_OTHER));
	}
	spec = spec_of_peer(peer_pod[PEER_FIRST][V4], pod_text[0][V4], IPPROTO_ICMP, 0, 0);
	spec.icmp_type = 5;
	r = send_of_peer(PEER_FIRST, &spec);
	CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
	frame_make(&frame, &spec);
	frame.bytes[12] = 0x08;
	frame.bytes[13] = 0x06;
	r = world_run_tunnelled(world, peer_end[PEER_FIRST], WORLD_VNI, &frame);
	CU_ASSERT(dropped(&r, REASON_L2_UNKNOWN));
}

static void policy_of_the_receiver_knows_the_sender(void)
{
	const struct ruleset_entry set = {.number = 88, .flags = RULESET_ISOLATES};
	const struct ruleset_cell_key key = {.ruleset = 88, .peer_class = 1};
	const struct ruleset_cell cell = {.rule[STEP_REST] = 9, .verdict[STEP_REST] = CELL_ALLOW};
	const struct ruleset_peer_key friend = {.ruleset = 88, .identity = 300 + PEER_FIRST};
	const struct ruleset_peer class = {{1, 1}};
	uint32_t slot = RULESET_FIRST + 1;

	peers_fill(TUNNEL_MTU);
	world_set(world, "rulesets", &slot, &set);
	world_set(world, "ruleset_cells", &key, &cell);
	world_set(world, "ruleset_peers", &friend, &class);
	world_set_rules(world, 0, RULESET_OPEN, slot);
	EACH_VERSION(v)
	{
		for (uint32_t peer = PEER_FIRST; peer <= PEER_SECOND; peer++) {
			struct frame_spec spec = spec_of_peer(peer_pod[peer][v], pod_text[0][v],
							      IPPROTO_TCP, 7005, 80);
			struct world_result r = send_of_peer(peer, &spec);

			CU_ASSERT(peer == PEER_FIRST ? forwarded(&r)
						     : dropped(&r, REASON_POLICY_INGRESS));
		}
	}
	world_set_rules(world, 0, RULESET_OPEN, RULESET_OPEN);
}

/* What the node is told to refuse it refuses in its own name, back through the tunnel. */
static void hop_limit_ends_on_both_sides(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7006, 80);
		struct world_result r;

		spec.ttl = 1;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED));
		CU_ASSERT(seen_from(&r, gateway[v]));
		spec = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v], IPPROTO_UDP, 7006, 80);
		spec.ttl = 1;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED));
		CU_ASSERT(seen_from(&r, node[v]));
	}
}

static void what_does_not_fit_is_told_the_tunnels_mtu(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7007, 80);
		size_t headers = v == V4 ? 28 : 48;
		struct world_result r;

		spec.flags = FRAME_DONT_FRAGMENT;
		spec.payload_length = TUNNEL_MTU - headers;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		spec.payload_length++;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_TOO_BIG) && seen(&r).mtu == TUNNEL_MTU);
	}
}

static void segments_are_measured_not_what_they_stand_in(void)
{
	peers_fill(1300);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_segment(0, v, peer_pod[PEER_FIRST][v], 7008, 80, TCP_SYN_FLAG);
		const uint16_t headers = v == V4 ? 40 : 60;
		struct world_result r = send_of_pod(0, &spec);
		struct frame frame;

		CU_ASSERT(forwarded(&r));
		spec.tcp_flags = TCP_ACK_FLAG;
		spec.payload_length = 1400;
		frame_make(&frame, &spec);
		r = world_run_gso(world, HOOK_FROM_POD, world->pods[0].link, &frame, 2,
				  1300 - headers);
		CU_ASSERT(r.verdict == TC_ACT_REDIRECT && !r.drops);
		r = world_run_gso(world, HOOK_FROM_POD, world->pods[0].link, &frame, 2,
				  1301 - headers);
		CU_ASSERT(told(&r, REASON_TOO_BIG) && seen(&r).mtu == 1300);
	}
}

static void fragments_cross_and_are_each_peers_own(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v],
						      IPPROTO_UDP, 7009, 80),
				  later;
		struct world_result r;

		spec.flags = FRAME_MORE_FRAGMENTS | FRAME_FRAGMENT;
		spec.fragment_id = 4711;
		spec.payload_length = 64;
		later = spec;
		later.flags = FRAME_FRAGMENT;
		later.fragment_offset = 72;
		r = send_of_peer(PEER_FIRST, &later);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_FIRST, &later);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_SECOND, &later);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		/* And out. */
		spec = spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7010, 80);
		spec.flags = FRAME_MORE_FRAGMENTS | FRAME_FRAGMENT;
		spec.fragment_id = 4712;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		spec.flags = FRAME_FRAGMENT;
		spec.fragment_offset = 72;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
	}
}

static void errors_about_a_flow_cross_in_both_directions(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP,
						     7011, 80),
				  error;
		struct world_result sent = send_of_pod(0, &spec), r;

		CU_ASSERT(forwarded(&sent));
		error = spec_of_peer(peer_node[PEER_FIRST][v], pod_text[0][v], icmp_of(v), 0, 0);
		error.icmp_type = v == V4 ? 3 : 1;
		error.icmp_code = v == V4 ? 3 : 4;
		error.payload = sent.out.bytes + 14;
		error.payload_length = v == V4 ? 28 : sent.out.length - 14;
		r = send_of_peer(PEER_FIRST, &error);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_SECOND, &error);
		CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
		/* The pod's, about what it was sent. */
		spec = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v], IPPROTO_UDP, 7012, 80);
		sent = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&sent));
		error = spec_of_pod(0, v, peer_pod[PEER_FIRST][v], icmp_of(v), 0, 0);
		error.icmp_type = v == V4 ? 3 : 1;
		error.icmp_code = v == V4 ? 3 : 4;
		error.payload = sent.out.bytes + 14;
		error.payload_length = v == V4 ? 28 : sent.out.length - 14;
		r = send_of_pod(0, &error);
		CU_ASSERT(forwarded(&r));
	}
}

/* The range goes to another node: what the one before still sends is not believed, the pod's
 * packets go to the new one, and its answers are taken. */
static void range_that_moves_takes_its_flows_along(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct address_entry moved = {
			.identity = {301, 301}, .flags = ADDRESS_POD, .peer = PEER_SECOND};
		struct frame_spec spec = spec_of_segment(0, v, peer_pod[PEER_FIRST][v], 7013, 80,
							 TCP_SYN_FLAG),
				  back, from;
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_peer(PEER_FIRST, &back);
		CU_ASSERT(forwarded(&r));
		from = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v], IPPROTO_UDP, 7014, 80);
		r = send_of_peer(PEER_FIRST, &from);
		CU_ASSERT(forwarded(&r));
		peer_set_range(2, PEER_SECOND);
		world_set_address(world, peer_pod[PEER_FIRST][v], v == V4 ? 32 : 128, &moved);
		world_move_generation(world, 1);
		back.tcp_flags = TCP_ACK_FLAG;
		r = send_of_peer(PEER_FIRST, &back);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		r = send_of_peer(PEER_FIRST, &from);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		spec.tcp_flags = TCP_ACK_FLAG;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_SECOND, &back);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_FIRST, &back);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE) || dropped(&r, REASON_NO_FLOW));
		peers_fill(TUNNEL_MTU);
		world_move_generation(world, 1);
	}
}

static void peer_without_an_end_is_not_reached(void)
{
	struct peer_entry gone = {.flags = PEER_KNOWN | PEER_TUNNEL_V4 | PEER_TUNNEL_V6};
	uint32_t number = PEER_FIRST;

	peers_fill(TUNNEL_MTU);
	world_set(world, "peers", &number, &gone);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7015, 80);
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(told(&r, REASON_NO_ROUTE));
	}
	peers_fill(TUNNEL_MTU);
}

static void source_routes_do_not_cross(void)
{
	static const uint8_t loose[] = {131, 7, 4, 10, 1, 0, 6, 0};
	struct frame_spec spec;
	struct world_result r;

	peers_fill(TUNNEL_MTU);
	spec = spec_of_peer(peer_pod[PEER_FIRST][V4], pod_text[0][V4], IPPROTO_UDP, 7019, 80);
	spec.options = loose;
	spec.options_length = sizeof(loose);
	r = send_of_peer(PEER_FIRST, &spec);
	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
}

/* Its Node object names one family alone: "no address" of the other is not one of its own. */
static void peer_without_an_address_of_a_family_does_not_send_with_none(void)
{
	struct peer_entry entry = {.underlay = addr(peer_end[PEER_FIRST]),
				   .flags = PEER_KNOWN | PEER_TUNNEL_V4 | PEER_TUNNEL_V6};
	uint32_t number = PEER_FIRST;

	peers_fill(TUNNEL_MTU);
	world_set(world, "peers", &number, &entry);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_peer(v == V4 ? "0.0.0.0" : "::", pod_text[0][v],
						      IPPROTO_UDP, 7020, 80);
		struct world_result r = send_of_peer(PEER_FIRST, &spec);

		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		spec.destination = addr(node[v]);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
	}
	peers_fill(TUNNEL_MTU);
}

/* The tunnel's end and the ranges are taken away behind the peer itself. */
static void peer_that_is_gone_sends_nothing(void)
{
	const struct peer_entry gone = {};
	uint32_t number = PEER_FIRST;

	peers_fill(TUNNEL_MTU);
	world_set(world, "peers", &number, &gone);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_peer(peer_pod[PEER_FIRST][v], pod_text[0][v],
						      IPPROTO_UDP, 7021, 80);
		struct world_result r = send_of_peer(PEER_FIRST, &spec);

		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
	}
	peers_fill(TUNNEL_MTU);
}

/* Beside those that its entry in `peers` has. */
static void further_addresses_of_the_peer_are_its_own(void)
{
	static const char *const further[2] = {"192.168.7.22", "fd00:7::22"};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct address_entry entry = {
			.identity = {IDENTITY_REMOTE_NODE, IDENTITY_REMOTE_NODE},
			.flags = ADDRESS_NODE,
			.peer = PEER_FIRST};
		struct frame_spec spec =
			spec_of_peer(further[v], pod_text[0][v], IPPROTO_UDP, 7022, 80);
		struct world_result r;

		world_set_address(world, further[v], v == V4 ? 32 : 128, &entry);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r));
		r = send_of_peer(PEER_SECOND, &spec);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
	}
}

/* Whatever the entry's other field is: of this node's pods it is the link's number. */
static void this_nodes_addresses_are_no_peers(void)
{
	static const char *const here[2] = {"192.168.8.9", "fd00:8::9"};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const uint32_t flags[] = {ADDRESS_NODE, ADDRESS_POD};

		for (int i = 0; i < 2; i++) {
			const struct address_entry entry = {.flags = flags[i] | ADDRESS_LOCAL,
							    .ifindex = i ? PEER_FIRST : 0};
			struct frame_spec spec =
				spec_of_peer(here[v], pod_text[0][v], IPPROTO_UDP, 7027, 80);
			struct world_result r;

			world_set_address(world, here[v], v == V4 ? 32 : 128, &entry);
			r = send_of_peer(PEER_FIRST, &spec);
			CU_ASSERT(dropped(&r, REASON_MARTIAN));
			spec.destination = addr(node[v]);
			r = send_of_peer(PEER_FIRST, &spec);
			CU_ASSERT(dropped(&r, REASON_MARTIAN));
		}
	}
}

/* Each family has its own way: what is not for the tunnel goes by the routes. */
static void tunnel_of_one_family_is_not_the_others(void)
{
	static const uint32_t ways[2] = {PEER_TUNNEL_V4, PEER_TUNNEL_V6};

	EACH_VERSION(has)
	{
		EACH_VERSION(v)
		{
			struct frame_spec spec = spec_of_pod(0, v, peer_pod[PEER_FIRST][v],
							     IPPROTO_UDP, 7023 + has, 80);
			struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
			struct flow_head head = {};

			peers_fill(TUNNEL_MTU);
			peer_set_flags(PEER_FIRST, PEER_KNOWN | ways[has]);
			(void)send_of_pod(0, &spec);
			CU_ASSERT_EQUAL(world_flow_find(world, &tuple, &head), 1);
			CU_ASSERT_EQUAL(head.action == FLOW_TO_TUNNEL, v == has);
		}
	}
	peers_fill(TUNNEL_MTU);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(pod_reaches_a_pod_behind_a_peer_and_is_answered),
		SUITE_TEST(pod_behind_a_peer_reaches_a_pod_and_is_answered),
		SUITE_TEST(pod_reaches_a_peer_itself_with_its_own_address),
		SUITE_TEST(service_has_an_endpoint_behind_a_peer),
		SUITE_TEST(who_is_no_peer_sends_nothing),
		SUITE_TEST(end_of_a_peer_is_found_behind_others),
		SUITE_TEST(source_must_be_behind_the_peer),
		SUITE_TEST(all_of_the_peers_addresses_are_its_own),
		SUITE_TEST(address_of_the_peer_itself_needs_no_entry),
		SUITE_TEST(peer_never_meets_a_flow_of_another),
		SUITE_TEST(nothing_but_this_node_is_reached_through_the_tunnel),
		SUITE_TEST(links_own_messages_do_not_cross),
		SUITE_TEST(policy_of_the_receiver_knows_the_sender),
		SUITE_TEST(hop_limit_ends_on_both_sides),
		SUITE_TEST(what_does_not_fit_is_told_the_tunnels_mtu),
		SUITE_TEST(segments_are_measured_not_what_they_stand_in),
		SUITE_TEST(fragments_cross_and_are_each_peers_own),
		SUITE_TEST(errors_about_a_flow_cross_in_both_directions),
		SUITE_TEST(range_that_moves_takes_its_flows_along),
		SUITE_TEST(peer_without_an_end_is_not_reached),
		SUITE_TEST(source_routes_do_not_cross),
		SUITE_TEST(peer_without_an_address_of_a_family_does_not_send_with_none),
		SUITE_TEST(peer_that_is_gone_sends_nothing),
		SUITE_TEST(further_addresses_of_the_peer_are_its_own),
		SUITE_TEST(this_nodes_addresses_are_no_peers),
		SUITE_TEST(tunnel_of_one_family_is_not_the_others),
	};

	return SUITE_RUN("the tunnel", tests);
}
