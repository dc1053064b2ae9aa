/* SPDX-License-Identifier: Apache-2.0 */
/* What the node's own stack sends into the tunnel. */
#include "peers.h"

#define TUNNEL_MTU 1450

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

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(node_reaches_pods_behind_peers),
		SUITE_TEST(node_is_no_router_into_the_tunnel),
		SUITE_TEST(all_of_the_nodes_addresses_are_its_own),
		SUITE_TEST(number_of_a_pods_link_is_no_peer),
		SUITE_TEST(what_polder_redirects_has_its_key),
	};

	return SUITE_RUN("into the tunnel", tests);
}
