/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to a client's flow and is no plain packet of it: errors both ways, fragments,
 * answers of the node's own processes. */
#include "frontends.h"

static const char *const router[2] = {"198.18.0.1", "2001:db8:ffff::1"}; /* on the way */

/* A router's "too big" about a frame that was seen. */
static struct frame_spec error_about(enum suite_version v, const char *to,
				     const struct frame *about)
{
	struct frame_spec spec = spec_of_wire(router[v], to, icmp_of(v), 0, 0);

	spec.icmp_type = v == V4 ? 3 : 2;
	spec.icmp_code = v == V4 ? 4 : 0;
	spec.mtu = 1400;
	spec.payload = about->bytes + 14;
	spec.payload_length = v == V4 ? 28 : about->length - 14;
	return spec;
}

/* Does the error quote what its receiver had sent? */
static bool quotes(const struct world_result *r, const struct frame_spec *sent)
{
	bool v4 = addr_is_v4(&sent->source);
	size_t addrs = v4 ? 26 : 22, length = v4 ? 8 : 32, l4 = v4 ? 34 : 54;
	struct frame inner, whole;

	frame_make(&whole, sent);
	return !frame_inner(&r->out, &inner) &&
	       !memcmp(inner.bytes + addrs, whole.bytes + addrs, length) &&
	       !memcmp(inner.bytes + l4, whole.bytes + l4, 8) &&
	       (!v4 || frame_sum(inner.bytes + 14, 20, 0) == 0xffff);
}

static bool to_whom(const struct world_result *r, const char *from, const char *to)
{
	struct frame_spec got = seen(r);
	struct polder_addr source = addr(from), destination = addr(to);

	return addr_same(&got.source, &source) && addr_same(&got.destination, &destination) &&
	       got.mtu == (got.proto == IPPROTO_ICMP || got.proto == IPPROTO_ICMPV6 ? 1400 : 0);
}

/* An endpoint of another node; the client is behind a narrow link (B12). */
static void error_about_an_answer_reaches_the_endpoint_of_another_node(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		for (uint32_t peer = PEER_SECOND; peer <= PEER_NATIVE; peer++) {
			const struct world_frontend f =
				node_port_of(v, IPPROTO_UDP, 0, peer_pod[peer][v]);
			struct frame_spec spec =
				spec_of_wire(client[v], node[v], IPPROTO_UDP, 7000, NODE_PORT);
			struct frame_spec back, error;
			struct world_result r, answer;

			world_set_frontend(world, &f);
			r = ask(&spec);
			back = spec_of_answer(-1, &r, 0);
			back.payload = NULL; /* the same again, and not the next frame's */
			answer = peer == PEER_NATIVE ? send_of_wire(&back)
						     : send_of_peer(peer, &back);
			CU_ASSERT(forwarded(&answer));
			error = error_about(v, node[v], &answer.out);
			r = ask(&error);
			CU_ASSERT(to_whom(&r, router[v], peer_pod[peer][v]) && quotes(&r, &back));
			world_forget_flows(world);
		}
	}
}

static void error_about_a_request_reaches_the_client(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_frontend f =
			frontend_of(v, IPPROTO_UDP, 0, peer_pod[PEER_NATIVE][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 7010, 80);
		struct frame_spec error;
		struct world_result r;

		world_set_frontend(world, &f);
		r = ask(&spec);
		error = error_about(v, node[v], &r.out);
		r = ask(&error);
		CU_ASSERT(to_whom(&r, router[v], client[v]) && quotes(&r, &spec));
	}
}

/* The endpoint itself says that its port is closed: in the Service's name. */
static void error_of_a_local_endpoint_comes_from_the_service(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 7020, 80);
		struct frame_spec error;
		struct world_result r;

		world_set_frontend(world, &f);
		r = ask(&spec);
		error = error_about(v, node[v], &r.out);
		error.source = addr(pod_text[1][v]);
		error.icmp_type = v == V4 ? 3 : 1;
		error.icmp_code = v == V4 ? 3 : 4;
		memcpy(error.mac_source, world->pods[1].mac, 6);
		memcpy(error.mac_destination, world_gateway_mac, 6);
		r = send_of_pod(1, &error);
		CU_ASSERT(forwarded(&r) && to_whom(&r, external[v], client[v]) &&
			  quotes(&r, &spec));
	}
}

/* The node that answers a client by itself is told by the one that the error came to. */
static void error_is_handed_on_to_the_node_that_answers(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, SERVICE_DSR, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_peer(client[v], external[v], IPPROTO_UDP, 7030, 80);
		struct frame_spec back, error;
		struct world_result r, answer;

		world_set_frontend(world, &f);
		r = send_of_peer(PEER_FIRST, &spec);
		back = spec_of_answer(1, &r, 0);
		back.payload = NULL;
		answer = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&answer));
		error = error_about(v, external[v], &answer.out);
		r = send_of_peer(PEER_FIRST, &error);
		CU_ASSERT(forwarded(&r) && to_whom(&r, router[v], pod_text[1][v]) &&
			  quotes(&r, &back));
		/* On the first node: the flow's packets went to the peer, so does the error. */
		world_forget_flows(world);
		f.backends[0].addr = peer_pod[PEER_SECOND][v];
		f.table_size = 1;
		world_set_frontend(world, &f);
		spec = spec_of_wire(client[v], external[v], IPPROTO_UDP, 7030, 80);
		r = ask(&spec);
		r = ask(&error);
		CU_ASSERT(to_whom(&r, router[v], external[v]) &&
			  !memcmp(seen(&r).mac_destination, world_gateway_mac, 6));
	}
}

/* A piece of a client's datagram. */
static struct frame_spec piece_of(const char *from, const char *to, uint16_t port, uint16_t offset)
{
	struct frame_spec spec = spec_of_wire(from, to, IPPROTO_UDP, 7040, port);

	spec.fragment_id = 77;
	spec.fragment_offset = offset;
	spec.flags = FRAME_FRAGMENT | (offset ? 0 : FRAME_MORE_FRAGMENTS);
	spec.payload_length = offset ? 100 : 792;
	return spec;
}

static void fragments_of_a_datagram_reach_one_endpoint(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const char *const endpoints[] = {pod_text[1][v], peer_pod[PEER_NATIVE][v],
						 peer_pod[PEER_FIRST][v]};

		for (int i = 0; i < 3; i++) {
			const struct world_frontend f =
				frontend_of(v, IPPROTO_UDP, 0, endpoints[i]);
			struct frame_spec spec = piece_of(client[v], external[v], 80, 800);
			struct world_result first, later;

			world_set_frontend(world, &f);
			later = send_of_wire(&spec);
			CU_ASSERT(dropped(&later, REASON_FRAGMENT_ORPHAN));
			spec = piece_of(client[v], external[v], 80, 0);
			first = ask(&spec);
			CU_ASSERT(seen_from_node(&first, v, endpoints[i], 8080));
			spec = piece_of(client[v], external[v], 80, 800);
			later = ask(&spec);
			CU_ASSERT(to_whom(&later, node[v], endpoints[i]));
			CU_ASSERT_EQUAL(seen(&later).fragment_offset, 800);
			world_forget_flows(world);
		}
	}
}

/* Two clients whose datagrams have one id, and the node's address towards the endpoint. */
static void two_clients_fragments_have_ids_of_their_own(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		const char *const from[] = {client[v], v == V4 ? "203.0.113.77" : "2001:db8::77"};
		size_t at = 14 + (v == V4 ? 4 : 40 + 4), size = v == V4 ? 2 : 4;
		uint8_t ids[2][2][4] = {};

		world_set_frontend(world, &f);
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < 2; j++) {
				struct frame_spec spec =
					piece_of(from[i], external[v], 80, 800 * j);
				struct world_result r = ask(&spec);

				memcpy(ids[i][j], r.out.bytes + at, size);
			}
		CU_ASSERT(!memcmp(ids[0][0], ids[0][1], 4) && !memcmp(ids[1][0], ids[1][1], 4));
		CU_ASSERT(memcmp(ids[0][0], ids[1][0], 4) != 0);
	}
}

static void fragments_for_the_node_itself_are_its_own(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = node_port_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		struct frame_spec spec;
		struct world_result r;

		world_set_frontend(world, &f);
		for (int i = 0; i < 2; i++) {
			spec = piece_of(client[v], node[v], 53, 800 * i);
			r = send_of_wire(&spec);
			CU_ASSERT(passed(&r));
		}
	}
}

static struct world_result send_of_node(const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_TO_WIRE, WORLD_UPLINK, 0, &frame);
}

static void answer_of_a_process_of_the_node_has_the_services_address(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};

	EACH_VERSION(v)
	{
		for (int i = 0; i < 2; i++) {
			const struct world_frontend f = frontend_of(v, protos[i], 0, node[v]);
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], protos[i], 7060, 80);
			struct frame_spec back;
			struct world_result r;

			world_set_frontend(world, &f);
			r = send_of_wire(&spec);
			CU_ASSERT(passed(&r));
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_node(&back);
			CU_ASSERT(passed(&r) && frame_sums_right(&r.out) &&
				  seen_ends(&r, external[v], 80, client[v], 7060));
			CU_ASSERT_EQUAL(seen(&r).ttl, 64);
			/* What the process sends to others is its own. */
			back.dport = 7061;
			r = send_of_node(&back);
			CU_ASSERT(passed(&r) && seen_ends(&r, node[v], 8080, client[v], 7061));
		}
	}
}

static void fragments_of_such_an_answer_have_it_too(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, node[v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 7040, 80);
		struct world_result r;

		world_set_frontend(world, &f);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		for (int i = 0; i < 2; i++) {
			spec = piece_of(node[v], client[v], 7040, 800 * i);
			spec.sport = 8080;
			r = send_of_node(&spec);
			CU_ASSERT(passed(&r) && seen_from(&r, external[v]));
		}
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(error_about_an_answer_reaches_the_endpoint_of_another_node),
		SUITE_TEST(error_about_a_request_reaches_the_client),
		SUITE_TEST(error_of_a_local_endpoint_comes_from_the_service),
		SUITE_TEST(error_is_handed_on_to_the_node_that_answers),
		SUITE_TEST(fragments_of_a_datagram_reach_one_endpoint),
		SUITE_TEST(two_clients_fragments_have_ids_of_their_own),
		SUITE_TEST(fragments_for_the_node_itself_are_its_own),
		SUITE_TEST(answer_of_a_process_of_the_node_has_the_services_address),
		SUITE_TEST(fragments_of_such_an_answer_have_it_too),
	};

	return SUITE_RUN("what belongs to clients' flows", tests);
}
