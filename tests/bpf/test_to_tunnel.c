/* SPDX-License-Identifier: Apache-2.0 */
/* What the node's own stack sends into the tunnel. */
#include "frontends.h"

static struct world_result send_of_stack(const struct frame_spec *spec, uint32_t ingress)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_TO_TUNNEL, WORLD_TUNNEL, ingress, &frame);
}

static void node_reaches_pods_behind_peers(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(node[v], peer_pod[PEER_FIRST][v], IPPROTO_TCP, 7016, 80);
		struct world_result r = send_of_stack(&spec, 0);
		struct frame_spec got;

		CU_ASSERT(passed(&r) && frame_sums_right(&r.out));
		got = seen(&r);
		CU_ASSERT(!memcmp(got.mac_source, world_gateway_mac, 6));
		CU_ASSERT(!memcmp(got.mac_destination, world_gateway_mac, 6));
	}
}

static void node_is_no_router_into_the_tunnel(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct {
			const char *from, *to;
			enum polder_reason reason;
		} packets[] = {
			{outside[v], peer_pod[PEER_FIRST][v], REASON_PEER_SOURCE},
			{pod_text[0][v], peer_pod[PEER_FIRST][v], REASON_PEER_SOURCE},
			{peer_pod[PEER_SECOND][v], peer_pod[PEER_FIRST][v], REASON_PEER_SOURCE},
			{peer_node[PEER_SECOND][v], peer_pod[PEER_FIRST][v], REASON_PEER_SOURCE},
			{node[v], outside[v], REASON_TUNNEL_PEER},
			{node[v], pod_text[0][v], REASON_TUNNEL_PEER},
			{node[v], peer_pod[PEER_NATIVE][v], REASON_TUNNEL_PEER},
			{node[v], v == V4 ? "224.0.0.5" : "ff02::16", REASON_MULTICAST},
		};

		for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
			struct frame_spec spec =
				spec_of_wire(packets[i].from, packets[i].to, IPPROTO_UDP, 7017, 80);
			struct world_result r = send_of_stack(&spec, 0);

			CU_ASSERT(dropped(&r, packets[i].reason) && r.hook == DROP_TO_TUNNEL);
		}
	}
}

static void all_of_the_nodes_addresses_are_its_own(void)
{
	static const char *const further[2] = {"192.168.8.1", "fd00:8::1"};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct address_entry entry = {.identity = {IDENTITY_HOST, IDENTITY_HOST},
						    .flags = ADDRESS_NODE | ADDRESS_LOCAL};
		struct frame_spec spec =
			spec_of_wire(further[v], peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7025, 80);
		struct world_result r;

		world_set_address(world, further[v], v == V4 ? 32 : 128, &entry);
		r = send_of_stack(&spec, 0);
		CU_ASSERT(passed(&r));
	}
}

/* Of an address of this node the entry has the pod's link where others' have the peer. */
static void number_of_a_pods_link_is_no_peer(void)
{
	static const char *const here[2] = {"10.1.0.77", "fd00:1::77"};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct address_entry entry = {.flags = ADDRESS_POD | ADDRESS_LOCAL,
						    .ifindex = PEER_FIRST};
		struct frame_spec spec = spec_of_wire(node[v], here[v], IPPROTO_UDP, 7026, 80);
		struct world_result r;

		world_set_address(world, here[v], v == V4 ? 32 : 128, &entry);
		r = send_of_stack(&spec, 0);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_PEER));
	}
}

/* Of a pod's link, and without the mark of what was handed to the stack. */
static void what_polder_redirects_has_its_key(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, peer_pod[PEER_FIRST][v], IPPROTO_UDP, 7018, 80);
		struct world_result r = send_of_stack(&spec, world->pods[0].link);

		CU_ASSERT(passed(&r));
	}
}

/* A pod behind the tunnel asks a node port that a process of this node serves: what the process
 * gets. */
static struct world_result ask_process(enum suite_version v, uint8_t proto, uint16_t sport)
{
	const struct world_frontend f = node_port_of(v, proto, 0, node[v]);
	struct frame_spec spec =
		spec_of_peer(peer_pod[PEER_FIRST][v], node[v], proto, sport, NODE_PORT);
	struct world_result r;

	world_set_frontend(world, &f);
	r = send_of_peer(PEER_FIRST, &spec);
	CU_ASSERT(passed(&r) && frame_sums_right(&r.out));
	CU_ASSERT(seen_ends(&r, peer_pod[PEER_FIRST][v], sport, node[v], 8080));
	return r;
}

static bool is_for_the_tunnel(const struct world_result *r)
{
	const struct frame_spec got = seen(r);

	return passed(r) && frame_sums_right(&r->out) &&
	       !memcmp(got.mac_source, world_gateway_mac, 6) &&
	       !memcmp(got.mac_destination, world_gateway_mac, 6);
}

static void answer_of_a_process_has_the_node_ports_address(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	for (size_t i = 0; i < sizeof(protos); i++) {
		struct world_result r = ask_process(v, protos[i], 7060);
		struct frame_spec back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);

		for (int round = 0; round < 3; round++) {
			r = send_of_stack(&back, 0);
			CU_ASSERT(is_for_the_tunnel(&r) && seen(&r).ttl == 64);
			CU_ASSERT(seen_ends(&r, node[v], NODE_PORT, peer_pod[PEER_FIRST][v], 7060));
			back.tcp_flags = TCP_ACK_FLAG;
			world_move_generation(world, 2);
		}
		/* What the process sends to others is its own. */
		back.dport = 7061;
		r = send_of_stack(&back, 0);
		CU_ASSERT(is_for_the_tunnel(&r));
		CU_ASSERT(seen_ends(&r, node[v], 8080, peer_pod[PEER_FIRST][v], 7061));
	}
}

static void fragments_of_such_an_answer_have_it_too(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		ask_process(v, IPPROTO_UDP, 7063);
		for (int i = 0; i < 2; i++) {
			struct frame_spec spec = spec_of_wire(node[v], peer_pod[PEER_FIRST][v],
							      IPPROTO_UDP, 8080, 7063);
			struct frame_spec got;
			struct world_result r;

			spec.fragment_id = 78;
			spec.fragment_offset = 800 * i;
			spec.flags = FRAME_FRAGMENT | (i ? 0 : FRAME_MORE_FRAGMENTS);
			spec.payload_length = i ? 100 : 792;
			r = send_of_stack(&spec, 0);
			got = seen(&r);
			CU_ASSERT(passed(&r) && seen_from(&r, node[v]));
			CU_ASSERT(i || got.sport == NODE_PORT);
		}
	}
}

/* Nobody listens: the stack says so about the port that the pod knows. */
static void error_of_the_node_is_about_the_node_port(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_result asked = ask_process(v, IPPROTO_UDP, 7064), r;
		struct frame_spec error =
			spec_of_wire(node[v], peer_pod[PEER_FIRST][v], icmp_of(v), 0, 0);
		struct frame inner;
		struct frame_spec quoted;

		error.icmp_type = v == V4 ? 3 : 1;
		error.icmp_code = v == V4 ? 3 : 4;
		error.payload = asked.out.bytes + 14;
		error.payload_length = asked.out.length - 14;
		r = send_of_stack(&error, 0);
		CU_ASSERT(is_for_the_tunnel(&r) && seen_from(&r, node[v]));
		CU_ASSERT_FATAL(!frame_inner(&r.out, &inner) && !frame_read(&inner, &quoted));
		CU_ASSERT_EQUAL(quoted.sport, 7064);
		CU_ASSERT_EQUAL(quoted.dport, NODE_PORT);
		CU_ASSERT(frame_sums_right(&inner));
		/* About what is no Service's it leaves as it is. */
		world_forget_flows(world);
		r = send_of_stack(&error, 0);
		CU_ASSERT_FATAL(passed(&r) && !frame_inner(&r.out, &inner) &&
				!frame_read(&inner, &quoted));
		CU_ASSERT_EQUAL(quoted.dport, 8080);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(node_reaches_pods_behind_peers),
		SUITE_TEST(node_is_no_router_into_the_tunnel),
		SUITE_TEST(all_of_the_nodes_addresses_are_its_own),
		SUITE_TEST(number_of_a_pods_link_is_no_peer),
		SUITE_TEST(what_polder_redirects_has_its_key),
		SUITE_TEST(answer_of_a_process_has_the_node_ports_address),
		SUITE_TEST(fragments_of_such_an_answer_have_it_too),
		SUITE_TEST(error_of_the_node_is_about_the_node_port),
	};

	return SUITE_RUN("into the tunnel", tests);
}
