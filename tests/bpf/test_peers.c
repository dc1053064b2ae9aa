/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of one network, routed natively: by their own addresses, whatever the routes say. */
#include "peers.h"

#include <bpf/bpf.h>
#include <stdlib.h>

#define TUNNEL_MTU 1450

static void run(const char *command)
{
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static void know_the_neighbour(void)
{
	run("echo 1 > /proc/sys/net/ipv4/ip_forward");
	run("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
	run("ip neigh replace 192.168.7.4 lladdr 02:00:00:00:00:44 dev up21 nud permanent");
	run("ip neigh replace fd00:7::4 lladdr 02:00:00:00:00:44 dev up21 nud permanent");
}

static struct frame_spec spec_of_native(const char *from, const char *to, uint8_t proto,
					uint16_t sport, uint16_t dport)
{
	struct frame_spec spec = spec_of_wire(from, to, proto, sport, dport);

	memcpy(spec.mac_source, peer_mac, 6);
	return spec;
}

static struct flow_head entry_of_pod(const struct frame_spec *spec)
{
	struct flow_tuple tuple = world_tuple(spec, ZONE_POD);
	struct flow_head head = {};

	CU_ASSERT_EQUAL(world_flow_find(world, &tuple, &head), 1);
	return head;
}

/* No route leads to the range; a route for it elsewhere does not count. The entry is aged by a
 * tick, so that the neighbour is asked for. */
static void pod_reaches_a_peers_pod_by_the_peers_neighbour(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	run("ip route replace blackhole 10.4.0.0/24");
	run("ip -6 route replace blackhole fd00:4::/64");
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_NATIVE][v], IPPROTO_UDP, 7100, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = send_of_pod(0, &spec);
		struct next_hop hop;
		uint32_t place;

		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 7100, peer_pod[PEER_NATIVE][v], 80));
		CU_ASSERT_EQUAL(entry_of_pod(&spec).hop, NEXT_HOP_PEERS + PEER_NATIVE);
		world_flow_age(world, &tuple, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		place = entry_of_pod(&spec).hop;
		CU_ASSERT(place >= NEXT_HOP_UPLINKS && place < NEXT_HOPS);
		CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "next_hops"), &place, &hop),
				0);
		CU_ASSERT(hop.peer == PEER_NATIVE && !memcmp(hop.mac, peer_mac, 6));
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) && !memcmp(seen(&r).mac_destination, peer_mac, 6));
	}
	run("ip route del blackhole 10.4.0.0/24");
	run("ip -6 route del blackhole fd00:4::/64");
}

static void neighbour_that_is_not_known_is_found_for_each_packet(void)
{
	peers_fill(TUNNEL_MTU);
	run("ip neigh flush dev up21 nud permanent");
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_NATIVE][v], IPPROTO_UDP, 7101, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		world_flow_age(world, &tuple, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(entry_of_pod(&spec).hop, NEXT_HOP_PEERS + PEER_NATIVE);
	}
}

static void peer_that_is_native_no_more_has_no_route(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_NATIVE][v], IPPROTO_UDP, 7102, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_POD);
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		world_flow_age(world, &tuple, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		peer_set_flags(PEER_NATIVE, 0);
		world_flow_age(world, &tuple, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_NO_ROUTE));
		/* Re-evaluated, it goes by the routes. */
		world_move_generation(world, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(entry_of_pod(&spec).hop < NEXT_HOPS);
		peers_fill(TUNNEL_MTU);
		world_move_generation(world, 1);
	}
}

static void peers_pod_is_answered_by_the_peer(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_native(peer_pod[PEER_NATIVE][v], pod_text[0][v],
							IPPROTO_TCP, 7103, 80),
				  back;
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(0, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(entry_of_pod(&back).hop, NEXT_HOP_PEERS + PEER_NATIVE);
	}
}

/* Its Node object went, and its number: what its pod has opened goes on. */
static void pod_of_a_peer_that_is_no_more_is_answered_by_the_routes(void)
{
	const uint32_t number = PEER_NATIVE, place = NEXT_HOP_PEERS + PEER_NATIVE;
	const struct next_hop no_hop = {};
	const struct peer_entry none = {};

	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_native(peer_pod[PEER_NATIVE][v], pod_text[0][v],
							IPPROTO_TCP, 7131, 80);
		struct frame_spec back;
		struct world_result r;

		peers_fill(TUNNEL_MTU);
		know_the_neighbour();
		r = send_of_wire(&spec);
		CU_ASSERT(forwarded(&r));
		world_set(world, "peers", &number, &none);
		world_set(world, "next_hops", &place, &no_hop);
		peer_set_range(PEER_NATIVE + 1, 0);
		world_move_generation(world, 1);
		back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(0, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(entry_of_pod(&back).hop < NEXT_HOPS);
	}
	peers_fill(TUNNEL_MTU);
	world_move_generation(world, 1);
}

static void sender_has_the_mac_that_the_peer_is_known_by(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	EACH_VERSION(v)
	{
		const char *const sources[] = {peer_pod[PEER_NATIVE][v], peer_node[PEER_NATIVE][v]};

		for (int i = 0; i < 2; i++) {
			struct frame_spec spec = spec_of_native(sources[i], pod_text[0][v],
								IPPROTO_UDP, 7104 + i, 80);
			struct world_result r;

			for (int byte = 0; byte < 6; byte++) {
				spec.mac_source[byte] ^= 4;
				r = send_of_wire(&spec);
				CU_ASSERT(dropped(&r, REASON_PEER_SOURCE) &&
					  r.hook == DROP_FROM_WIRE);
				spec.mac_source[byte] ^= 4;
			}
			r = send_of_wire(&spec);
			CU_ASSERT(forwarded(&r));
		}
	}
	/* Who is not known is not there. */
	run("ip neigh flush dev up21 nud permanent");
	world_forget_flows(world);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_native(peer_pod[PEER_NATIVE][v], pod_text[0][v],
							IPPROTO_UDP, 7106, 80);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
	}
}

/* Then the kernel says nothing about neighbours. */
static void mac_is_not_checked_where_the_node_does_not_forward(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	run("echo 0 > /proc/sys/net/ipv4/ip_forward");
	run("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(peer_pod[PEER_NATIVE][v], pod_text[0][v],
						      IPPROTO_UDP, 7110, 80);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(forwarded(&r));
	}
}

static void wire_is_not_the_way_of_who_has_a_tunnel(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(peer_pod[PEER_FIRST][v], pod_text[0][v],
						      IPPROTO_UDP, 7107, 80);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		peer_set_flags(PEER_FIRST,
			       PEER_KNOWN | PEER_TUNNEL_V4 | PEER_TUNNEL_V6 | PEER_FROM_WIRE);
		r = send_of_wire(&spec);
		CU_ASSERT(forwarded(&r));
		peers_fill(TUNNEL_MTU);
	}
}

static void made_packets_are_not_asked_by_which_way_they_came(void)
{
	peers_fill(TUNNEL_MTU);
	know_the_neighbour();
	EACH_VERSION(v)
	{
		for (uint32_t peer = PEER_FIRST; peer <= PEER_NATIVE; peer++) {
			struct frame_spec spec = spec_of_wire(peer_pod[peer][v], pod_text[0][v],
							      IPPROTO_UDP, 7111, 80);
			struct world_result r = send_of_wire(&spec);

			CU_ASSERT(forwarded(&r));
		}
	}
}

/* What `polderctl explain` puts through programs that nothing but test-run reaches. */
static void explain_can_be_asked_about_peers(void)
{
	const struct world_options options = {.made_packets = true};

	in_world_of(&options, made_packets_are_not_asked_by_which_way_they_came);
}

/* The node translates what comes for one of its ports, through the tunnel or by the wire. */
static void what_the_stack_forwards_from_a_peer_came_by_its_link(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(peer_pod[PEER_FIRST][v], pod_text[0][v],
						      IPPROTO_UDP, 7108, 80);
		struct world_result r;
		struct frame frame;

		memcpy(spec.mac_source, world_gateway_mac, 6);
		memcpy(spec.mac_destination, world->pods[0].mac, 6);
		frame_make(&frame, &spec);
		r = world_run(world, HOOK_TO_POD, world->pods[0].link, WORLD_UPLINK, &frame);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
		r = world_run(world, HOOK_TO_POD, world->pods[0].link, WORLD_TUNNEL, &frame);
		CU_ASSERT(passed(&r));
	}
}

/* What was masqueraded before the node was known as one goes on so. */
static void flow_keeps_its_translated_source_when_a_node_becomes_a_peer(void)
{
	EACH_VERSION(v)
	{
		const struct address_entry world_entry = {
			.identity = {IDENTITY_WORLD, IDENTITY_WORLD}};
		struct frame_spec spec =
			spec_of_pod(0, v, peer_node[PEER_FIRST][v], IPPROTO_UDP, 7109, 80);
		struct world_result r;

		peers_fill(TUNNEL_MTU);
		world_set_address(world, peer_node[PEER_FIRST][v], v == V4 ? 32 : 128,
				  &world_entry);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_from(&r, node[v]));
		peers_fill(TUNNEL_MTU);
		world_move_generation(world, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(seen_from(&r, node[v]));
		CU_ASSERT_EQUAL(entry_of_pod(&spec).action, FLOW_TO_WIRE);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(pod_reaches_a_peers_pod_by_the_peers_neighbour),
		SUITE_TEST(neighbour_that_is_not_known_is_found_for_each_packet),
		SUITE_TEST(peer_that_is_native_no_more_has_no_route),
		SUITE_TEST(peers_pod_is_answered_by_the_peer),
		SUITE_TEST(pod_of_a_peer_that_is_no_more_is_answered_by_the_routes),
		SUITE_TEST(sender_has_the_mac_that_the_peer_is_known_by),
		SUITE_TEST(mac_is_not_checked_where_the_node_does_not_forward),
		SUITE_TEST(wire_is_not_the_way_of_who_has_a_tunnel),
		SUITE_TEST(explain_can_be_asked_about_peers),
		SUITE_TEST(what_the_stack_forwards_from_a_peer_came_by_its_link),
		SUITE_TEST(flow_keeps_its_translated_source_when_a_node_becomes_a_peer),
	};

	return SUITE_RUN("nodes of one network", tests);
}
