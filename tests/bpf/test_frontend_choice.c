/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoint a Service's client gets: inside and outside, by policy, affinity and tables, and
 * on which node (DSR). */
#include "frontends.h"

#include <bpf/bpf.h>
#include <stdlib.h>

/* A second endpoint, of one of the sets. */
static void add_endpoint(struct world_frontend *f, const char *endpoint, enum world_place place)
{
	int i = 0;

	while (f->backends[i].addr)
		i++;
	f->backends[i].addr = endpoint;
	f->backends[i].port = 8080;
	f->backends[i].place = place;
}

static bool reaches(const struct world_result *r, const char *endpoint)
{
	struct frame_spec got = seen(r);
	struct polder_addr to = addr(endpoint);

	return addr_same(&got.destination, &to);
}

/* ------------------------------------------------------------------ from inside */

static void pod_uses_node_ports_and_external_addresses_with_its_own_address(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const char *const endpoints[] = {pod_text[1][v], peer_pod[PEER_FIRST][v],
						 peer_pod[PEER_NATIVE][v]};

		for (int i = 0; i < 3; i++) {
			struct world_frontend ports[2] = {
				frontend_of(v, IPPROTO_TCP, SERVICE_EXTERNAL_LOCAL, endpoints[i]),
				node_port_of(v, IPPROTO_TCP, SERVICE_EXTERNAL_LOCAL, endpoints[i])};
			const char *const at[2] = {external[v], node[v]};

			for (int j = 0; j < 2; j++) {
				struct frame_spec spec = spec_of_pod(
					0, v, at[j], IPPROTO_TCP, 6000 + 2 * i + j, ports[j].port);
				struct world_result r;

				if (i > 0)
					ports[j].backends[0].place = WORLD_CLUSTER_SET;
				world_set_frontend(world, &ports[j]);
				r = send_of_pod(0, &spec);
				CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][v], spec.sport,
								     endpoints[i], 8080));
			}
		}
	}
}

static void node_ports_are_this_nodes_and_other_ports_are_its_own(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_frontend port = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec = spec_of_pod(0, v, node[v], IPPROTO_TCP, 6010, 22);
		struct world_result r;

		world_set_frontend(world, &port);
		r = send_of_pod(0, &spec);
		CU_ASSERT(passed(&r));
		spec = spec_of_pod(0, v, peer_node[PEER_FIRST][v], IPPROTO_TCP, 6011, NODE_PORT);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 6011, peer_node[PEER_FIRST][v], NODE_PORT));
		spec = spec_of_pod(0, v, pod_text[2][v], IPPROTO_TCP, 6012, NODE_PORT);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 6012, pod_text[2][v], NODE_PORT));
	}
}

static void internal_policy_keeps_pods_on_their_node(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_UDP, SERVICE_INTERNAL_LOCAL, pod_text[1][v]);
		struct world_frontend remote = frontend_of(v, IPPROTO_TCP, SERVICE_INTERNAL_LOCAL,
							   peer_pod[PEER_FIRST][v]);
		struct frame_spec spec;
		struct world_result r;

		add_endpoint(&f, peer_pod[PEER_FIRST][v], WORLD_CLUSTER_SET);
		world_set_frontend(world, &f);
		for (int i = 0; i < 16; i++) {
			spec = spec_of_pod(0, v, external[v], IPPROTO_UDP, 6020 + i, 80);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r) && reaches(&r, pod_text[1][v]));
		}
		remote.backends[0].place = WORLD_CLUSTER_SET;
		world_set_frontend(world, &remote);
		spec = spec_of_pod(0, v, external[v], IPPROTO_TCP, 6040, 80);
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_NO_LOCAL_ENDPOINT));
		/* The outside has the other policy. */
		spec = spec_of_wire(client[v], external[v], IPPROTO_TCP, 6041, 80);
		r = ask(&spec);
		CU_ASSERT(reaches(&r, peer_pod[PEER_FIRST][v]));
	}
}

static void pod_reaches_itself_by_a_node_port(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};

	EACH_VERSION(v)
	{
		for (int i = 0; i < 2; i++) {
			const struct world_frontend f =
				node_port_of(v, protos[i], 0, pod_text[0][v]);
			struct frame_spec spec =
				spec_of_pod(0, v, node[v], protos[i], 6050, NODE_PORT);
			struct frame_spec back;
			struct world_result r;

			world_set_frontend(world, &f);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r) && seen_from(&r, node[v]) &&
				  reaches(&r, pod_text[0][v]));
			back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_pod(0, &back);
			CU_ASSERT(forwarded(&r) &&
				  seen_ends(&r, node[v], NODE_PORT, pod_text[0][v], 6050));
		}
	}
}

/* ------------------------------------------------------------------ affinity and tables */

static void affinity_age(uint32_t id, enum suite_version v, uint32_t seconds)
{
	struct service_affinity_key key = {.client = addr(client[v]), .service_id = id};
	struct service_affinity value;

	CU_ASSERT_EQUAL_FATAL(
		bpf_map_lookup_elem(world_map(world, "service_affinity"), &key, &value), 0);
	value.used -= seconds;
	world_set(world, "service_affinity", &key, &value);
}

/* Has the client had one endpoint alone, over so many connections? */
static bool stays(enum suite_version v, uint16_t port, const char *endpoint)
{
	for (int i = 0; i < 24; i++) {
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, port + i, 80);
		struct world_result r = ask(&spec);

		if (!reaches(&r, endpoint))
			return false;
	}
	return true;
}

static const char *first_endpoint(enum suite_version v, uint16_t port)
{
	struct frame_spec spec = spec_of_wire(client[v], external[v], IPPROTO_UDP, port, 80);
	struct world_result r = ask(&spec);

	return reaches(&r, pod_text[1][v]) ? pod_text[1][v] : pod_text[2][v];
}

static void client_with_affinity_keeps_its_endpoint_for_its_time(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		const char *endpoint;
		bool moved = false;

		f.affinity_seconds = 100;
		add_endpoint(&f, pod_text[2][v], WORLD_BOTH_SETS);
		world_set_frontend(world, &f);
		endpoint = first_endpoint(v, 6100);
		CU_ASSERT(stays(v, 6101, endpoint));
		affinity_age(f.id, v, 90);
		CU_ASSERT(stays(v, 6130, endpoint)); /* from its last use on */
		affinity_age(f.id, v, 90);
		CU_ASSERT(stays(v, 6160, endpoint));
		for (int i = 0; i < 40 && !moved; i++) {
			affinity_age(f.id, v, 100);
			moved = first_endpoint(v, 6200 + i) != endpoint;
		}
		CU_ASSERT(moved);
	}
}

/* A pod of this node that has the same client's address is another; and each port its own. */
static void affinity_is_of_a_client_and_a_services_port(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		bool seen_both[2] = {};

		f.affinity_seconds = 100;
		add_endpoint(&f, pod_text[2][v], WORLD_BOTH_SETS);
		world_set_frontend(world, &f);
		for (int i = 0; i < 60; i++) {
			char from[40];
			struct frame_spec spec;
			struct world_result r;

			snprintf(from, sizeof(from), v == V4 ? "203.0.113.%d" : "2001:db8::1:%d",
				 100 + i);
			spec = spec_of_wire(from, external[v], IPPROTO_UDP, 6250, 80);
			r = ask(&spec);
			seen_both[reaches(&r, pod_text[2][v])] = true;
		}
		CU_ASSERT(seen_both[0] && seen_both[1]);
	}
}

static void packets_of_a_flow_renew_its_clients_affinity(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 6260, 80);
		struct service_affinity_key key = {.client = addr(client[v]), .service_id = f.id};
		struct flow_tuple tuple = world_tuple(&spec, ZONE_WIRE);
		struct service_affinity before, after;

		f.affinity_seconds = 100;
		world_set_frontend(world, &f);
		ask(&spec);
		CU_ASSERT_EQUAL(
			bpf_map_lookup_elem(world_map(world, "service_affinity"), &key, &before),
			0);
		affinity_age(f.id, v, 50);
		world_flow_age(world, &tuple, 1);
		ask(&spec);
		CU_ASSERT_EQUAL(
			bpf_map_lookup_elem(world_map(world, "service_affinity"), &key, &after), 0);
		CU_ASSERT(after.used - before.used <= 1);
	}
}

/* A flow's entry says whether its Service keeps clients: no other one is looked up once a tick. */
static void flow_says_whether_its_service_keeps_clients(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 6270, 80);
		struct flow_tuple tuple = world_tuple(&spec, ZONE_WIRE);
		struct flow_head head;

		for (int round = 0; round < 4; round++) {
			f.affinity_seconds = round & 1 ? 100 : 0;
			world_set_frontend(world, &f);
			world_move_generation(world, 1);
			ask(&spec);
			CU_ASSERT_EQUAL_FATAL(world_flow_find(world, &tuple, &head), 1);
			CU_ASSERT_EQUAL(head.state & (FLOW_SERVICE | FLOW_AFFINITY),
					round & 1 ? FLOW_SERVICE | FLOW_AFFINITY : FLOW_SERVICE);
		}
	}
}

static void client_whose_endpoint_goes_gets_another_and_keeps_it(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);

		f.affinity_seconds = 100;
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 6300, pod_text[1][v]));
		world_remove_backend_state(world, f.id, pod_text[1][v], 8080);
		f.backends[0].addr = pod_text[2][v];
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 6330, pod_text[2][v]));
		add_endpoint(&f, pod_text[1][v], WORLD_BOTH_SETS);
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 6360, pod_text[2][v]));
	}
}

/* Policy Local from now on: the endpoint of another node is no endpoint. */
static void affinity_heeds_the_traffic_policy(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, peer_pod[PEER_NATIVE][v]);

		f.affinity_seconds = 100;
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 6400, peer_pod[PEER_NATIVE][v]));
		f.flags |= SERVICE_EXTERNAL_LOCAL;
		f.backends[0].addr = pod_text[1][v];
		add_endpoint(&f, peer_pod[PEER_NATIVE][v], WORLD_CLUSTER_SET);
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 6430, pod_text[1][v]));
	}
}

/* Three quarters of the cells are the second endpoint's. */
static void table_says_how_many_flows_an_endpoint_gets(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		int second = 0;

		f.table_size = 4;
		f.table[1] = f.table[2] = f.table[3] = 1;
		add_endpoint(&f, pod_text[2][v], WORLD_BOTH_SETS);
		world_set_frontend(world, &f);
		for (int i = 0; i < 400; i++) {
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], IPPROTO_UDP, 10000 + i, 80);
			struct world_result r = ask(&spec);

			second += reaches(&r, pod_text[2][v]);
		}
		CU_ASSERT(second > 250 && second < 350);
		world_forget_flows(world);
		/* Nothing but the tuple decides. */
		for (int i = 0; i < 400; i++) {
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], IPPROTO_UDP, 10000 + i, 80);
			struct world_result r = ask(&spec);

			second -= reaches(&r, pod_text[2][v]);
		}
		CU_ASSERT_EQUAL(second, 0);
	}
}

static void cell_that_names_no_endpoint_is_no_hole(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);

		f.table_size = 2;
		f.table[0] = 7;
		f.table[1] = UINT16_MAX;
		world_set_frontend(world, &f);
		CU_ASSERT(stays(v, 11000, pod_text[1][v]));
	}
}

/* ------------------------------------------------------------------ DSR */

/* The frame of the client but for MAC addresses and TTL. */
static bool unchanged(const struct world_result *r, const struct frame_spec *sent)
{
	struct frame_spec wanted = *sent, got = seen(r);
	struct frame frame;

	memcpy(wanted.mac_source, got.mac_source, 6);
	memcpy(wanted.mac_destination, got.mac_destination, 6);
	wanted.ttl = 63;
	frame_make(&frame, &wanted);
	return r->out.length == frame.length && !memcmp(r->out.bytes, frame.bytes, frame.length);
}

static void first_node_hands_on_what_is_for_another_nodes_endpoint(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		for (uint32_t peer = PEER_SECOND; peer <= PEER_NATIVE; peer++) {
			struct world_frontend f =
				frontend_of(v, IPPROTO_TCP, SERVICE_DSR, peer_pod[peer][v]);
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], IPPROTO_TCP, 6500, 80);
			struct world_result r;

			f.table_size = 1;
			world_set_frontend(world, &f);
			r = ask(&spec);
			CU_ASSERT(unchanged(&r, &spec));
			spec.tcp_flags = TCP_ACK_FLAG;
			r = ask(&spec);
			CU_ASSERT(unchanged(&r, &spec));
			/* Also in mid-stream: another node was the first one before. */
			world_forget_flows(world);
			r = ask(&spec);
			CU_ASSERT(unchanged(&r, &spec));
			world_forget_flows(world);
		}
	}
}

static void endpoints_node_answers_the_client_itself(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_TCP, SERVICE_DSR, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_peer(client[v], external[v], IPPROTO_TCP, 6510, 80);
		struct frame_spec back;
		struct world_result r;

		f.table_size = 1;
		add_endpoint(&f, peer_pod[PEER_SECOND][v], WORLD_CLUSTER_SET);
		world_set_frontend(world, &f);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, client[v], 6510, pod_text[1][v], 8080));
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, external[v], 80, client[v], 6510));
		/* By another node, or by the wire: it is the same flow. */
		spec.tcp_flags = TCP_ACK_FLAG;
		r = send_of_peer(PEER_SECOND, &spec);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, client[v], 6510, pod_text[1][v], 8080));
		r = ask(&spec);
		CU_ASSERT(seen_ends(&r, client[v], 6510, pod_text[1][v], 8080));
		/* Without a flow it is lost, and the client not where the packet came from. */
		spec.sport = 6511;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_NO_FLOW));
	}
}

static void what_was_handed_on_stays(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, SERVICE_DSR, peer_pod[PEER_SECOND][v]);
		struct frame_spec spec =
			spec_of_peer(client[v], external[v], IPPROTO_TCP, 6520, 80);
		struct world_result r;

		f.table_size = 1;
		f.backends[0].place = WORLD_CLUSTER_SET;
		world_set_frontend(world, &f);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_HANDED_ON));
		/* The table says another node, but there is an endpoint here. */
		f.backends[0].addr = pod_text[1][v];
		f.backends[0].place = WORLD_BOTH_SETS;
		add_endpoint(&f, peer_pod[PEER_SECOND][v], WORLD_CLUSTER_SET);
		f.table[0] = 1;
		world_set_frontend(world, &f);
		spec.sport++;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r) && reaches(&r, pod_text[1][v]));
	}
}

/* The client has an endpoint of another node, from when it came here itself. */
static void what_was_handed_on_stays_whatever_endpoint_its_client_has(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, SERVICE_DSR, peer_pod[PEER_SECOND][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 6525, 80);
		struct world_result r;

		f.table_size = 1;
		f.affinity_seconds = 100;
		f.backends[0].place = WORLD_CLUSTER_SET;
		world_set_frontend(world, &f);
		r = ask(&spec);
		CU_ASSERT(unchanged(&r, &spec));
		spec = spec_of_peer(client[v], external[v], IPPROTO_TCP, 6526, 80);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_HANDED_ON));
		f.backends[0].addr = pod_text[1][v];
		f.backends[0].place = WORLD_BOTH_SETS;
		add_endpoint(&f, peer_pod[PEER_SECOND][v], WORLD_CLUSTER_SET);
		f.table[0] = 1;
		world_set_frontend(world, &f);
		spec.sport++;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r) && reaches(&r, pod_text[1][v]));
	}
}

/* The client is not where the packet came from; a first fragment's neither. */
static void nobody_is_told_of_what_was_handed_on_and_is_refused(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_UDP, SERVICE_DSR, NULL);
		struct frame_spec spec =
			spec_of_peer(client[v], external[v], IPPROTO_UDP, 6528, 80);
		struct world_result r;

		world_set_frontend(world, &f);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_NO_ENDPOINT));
		spec.flags |= FRAME_MORE_FRAGMENTS;
		spec.fragment_id = 9;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_NO_ENDPOINT));
	}
}

static void only_clients_outside_are_handed_on(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_TCP, SERVICE_DSR, pod_text[1][v]);
		const char *const sources[] = {peer_pod[PEER_SECOND][v], peer_node[PEER_SECOND][v],
					       pod_text[2][v], node[v]};
		struct frame_spec spec;
		struct world_result r;

		world_set_frontend(world, &f);
		for (int i = 0; i < 4; i++) {
			spec = spec_of_peer(sources[i], external[v], IPPROTO_TCP, 6530, 80);
			r = send_of_peer(PEER_FIRST, &spec);
			CU_ASSERT(!forwarded(&r) && r.verdict == TC_ACT_SHOT);
		}
		/* Nor to a Service without DSR, nor to a port that is none. */
		spec = spec_of_peer(client[v], external[v], IPPROTO_TCP, 6531, 81);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_DESTINATION));
		f.flags &= ~SERVICE_DSR;
		world_set_frontend(world, &f);
		spec = spec_of_peer(client[v], external[v], IPPROTO_TCP, 6532, 80);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(dropped(&r, REASON_TUNNEL_DESTINATION));
	}
}

/* Both nodes know other endpoints: the packet would go to and fro. */
static void nothing_is_handed_back_to_the_node_it_came_from(void)
{
	peers_fill(TUNNEL_MTU);
	CU_ASSERT_EQUAL_FATAL(system("echo 1 > /proc/sys/net/ipv4/ip_forward;"
				     "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding;"
				     "ip neigh replace 192.168.7.4 lladdr 02:00:00:00:00:44 dev "
				     "up21 nud permanent;"
				     "ip neigh replace fd00:7::4 lladdr 02:00:00:00:00:44 dev up21 "
				     "nud permanent"),
			      0);
	EACH_VERSION(v)
	{
		struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, SERVICE_DSR, peer_pod[PEER_NATIVE][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 6540, 80);
		struct world_result r;

		f.table_size = 1;
		world_set_frontend(world, &f);
		r = ask(&spec);
		spec.sport++;
		memcpy(spec.mac_source, peer_mac, 6);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_HANDED_ON));
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(pod_uses_node_ports_and_external_addresses_with_its_own_address),
		SUITE_TEST(node_ports_are_this_nodes_and_other_ports_are_its_own),
		SUITE_TEST(internal_policy_keeps_pods_on_their_node),
		SUITE_TEST(pod_reaches_itself_by_a_node_port),
		SUITE_TEST(client_with_affinity_keeps_its_endpoint_for_its_time),
		SUITE_TEST(affinity_is_of_a_client_and_a_services_port),
		SUITE_TEST(packets_of_a_flow_renew_its_clients_affinity),
		SUITE_TEST(flow_says_whether_its_service_keeps_clients),
		SUITE_TEST(client_whose_endpoint_goes_gets_another_and_keeps_it),
		SUITE_TEST(affinity_heeds_the_traffic_policy),
		SUITE_TEST(table_says_how_many_flows_an_endpoint_gets),
		SUITE_TEST(cell_that_names_no_endpoint_is_no_hole),
		SUITE_TEST(first_node_hands_on_what_is_for_another_nodes_endpoint),
		SUITE_TEST(endpoints_node_answers_the_client_itself),
		SUITE_TEST(what_was_handed_on_stays),
		SUITE_TEST(what_was_handed_on_stays_whatever_endpoint_its_client_has),
		SUITE_TEST(nobody_is_told_of_what_was_handed_on_and_is_refused),
		SUITE_TEST(only_clients_outside_are_handed_on),
		SUITE_TEST(nothing_is_handed_back_to_the_node_it_came_from),
	};

	return SUITE_RUN("which endpoint", tests);
}
