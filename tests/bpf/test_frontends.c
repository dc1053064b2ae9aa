/* SPDX-License-Identifier: Apache-2.0 */
/* Services from outside: node ports, external addresses, local and remote endpoints, refusals. */
#include "frontends.h"

static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
#define EACH_PROTO(proto) for (size_t i_ = 0, proto; i_ < 3 && (proto = protos[i_], true); i_++)

static bool from_mac(const struct world_result *r, const uint8_t *mac)
{
	return !memcmp(seen(r).mac_destination, mac, 6);
}

static void outside_reaches_a_local_endpoint_under_the_nodes_address(void)
{
	EACH_VERSION(v)
	{
		EACH_PROTO(proto)
		{
			const struct world_frontend frontends[2] = {
				frontend_of(v, proto, 0, pod_text[1][v]),
				node_port_of(v, proto, 0, pod_text[1][v])};
			const char *const at[2] = {external[v], node[v]};

			for (int i = 0; i < 2; i++) {
				uint16_t port = frontends[i].port;
				struct frame_spec spec = spec_of_wire(client[v], at[i], proto,
								      5000 + i, port),
						  back;
				struct world_result r;

				world_set_frontend(world, &frontends[i]);
				r = ask(&spec);
				CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080));
				CU_ASSERT(from_mac(&r, world->pods[1].mac) && seen(&r).ttl == 63);
				CU_ASSERT_EQUAL(seen(&r).payload_length, spec.payload_length);
				back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
				r = send_of_pod(1, &back);
				CU_ASSERT(forwarded(&r) &&
					  seen_ends(&r, at[i], port, client[v], 5000 + i));
				spec.tcp_flags = TCP_ACK_FLAG;
				r = ask(&spec);
				CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080));
			}
		}
	}
}

static void local_policy_keeps_the_clients_address(void)
{
	EACH_VERSION(v)
	{
		EACH_PROTO(proto)
		{
			struct world_frontend f =
				frontend_of(v, proto, SERVICE_EXTERNAL_LOCAL, pod_text[1][v]);
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], proto, 5010, 80);
			struct frame_spec back;
			struct world_result r;

			f.backends[1].addr = peer_pod[PEER_FIRST][v];
			f.backends[1].port = 8080;
			f.backends[1].place = WORLD_CLUSTER_SET;
			world_set_frontend(world, &f);
			for (int i = 0; i < 16; i++) {
				spec.sport = 5010 + i;
				r = ask(&spec);
				CU_ASSERT(seen_ends(&r, client[v], 5010 + i, pod_text[1][v], 8080));
			}
			back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_pod(1, &back);
			CU_ASSERT(forwarded(&r) && seen_ends(&r, external[v], 80, client[v], 5025));
		}
	}
}

/* The reply comes by the wire, and leaves by it. */
static void outside_reaches_an_endpoint_of_a_native_peer(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		EACH_PROTO(proto)
		{
			const struct world_frontend f =
				node_port_of(v, proto, 0, peer_pod[PEER_NATIVE][v]);
			struct frame_spec spec =
				spec_of_wire(client[v], node[v], proto, 5030, NODE_PORT);
			struct frame_spec back;
			struct world_result r;

			world_set_frontend(world, &f);
			r = ask(&spec);
			CU_ASSERT(seen_from_node(&r, v, peer_pod[PEER_NATIVE][v], 8080));
			CU_ASSERT_EQUAL(seen(&r).ttl, 63);
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = ask(&back);
			CU_ASSERT(seen_ends(&r, node[v], NODE_PORT, client[v], 5030));
			spec.tcp_flags = TCP_ACK_FLAG;
			r = ask(&spec);
			CU_ASSERT(seen_from_node(&r, v, peer_pod[PEER_NATIVE][v], 8080));
		}
	}
}

static void outside_reaches_an_endpoint_behind_the_tunnel(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		EACH_PROTO(proto)
		{
			const struct world_frontend f =
				frontend_of(v, proto, 0, peer_pod[PEER_FIRST][v]);
			struct frame_spec spec =
				spec_of_wire(client[v], external[v], proto, 5040, 80);
			struct frame_spec back;
			struct world_result r;

			world_set_frontend(world, &f);
			r = ask(&spec);
			CU_ASSERT(seen_from_node(&r, v, peer_pod[PEER_FIRST][v], 8080));
			CU_ASSERT(from_mac(&r, world_gateway_mac)); /* of the inner frame */
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_peer(PEER_FIRST, &back);
			CU_ASSERT(forwarded(&r) && seen_ends(&r, external[v], 80, client[v], 5040));
			/* From elsewhere it is no answer. */
			back.tcp_flags = TCP_ACK_FLAG;
			r = send_of_peer(PEER_SECOND, &back);
			CU_ASSERT(!forwarded(&r));
		}
	}
}

static void connection_from_a_peer_to_a_closed_flows_port_is_the_nodes(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, 0, peer_pod[PEER_FIRST][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5045, 80);
		struct flow_tuple tuple;
		struct world_result r;

		world_set_frontend(world, &f);
		r = ask(&spec);
		spec = spec_of_answer(-1, &r, TCP_RST_FLAG);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r));
		spec.tcp_flags = TCP_SYN_FLAG;
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(passed(&r));
		CU_ASSERT(seen_ends(&r, peer_pod[PEER_FIRST][v], 8080, node[v], spec.dport));
		tuple = world_tuple(&spec, ZONE_TUNNEL);
		tuple.peer = PEER_FIRST;
		CU_ASSERT_EQUAL(world_flow_find(world, &tuple, NULL), 0);
	}
}

/* The endpoint is no pod: a process of another node, or a machine outside. */
static void outside_reaches_an_endpoint_by_the_nodes_routes(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const char *const endpoints[] = {peer_node[PEER_FIRST][v], outside[v]};

		for (int i = 0; i < 2; i++) {
			const struct world_frontend f =
				frontend_of(v, IPPROTO_TCP, 0, endpoints[i]);
			struct frame_spec spec =
				spec_of_wire(v == V4 ? "203.0.113.44" : "2001:db8::44", external[v],
					     IPPROTO_TCP, 5050, 80);
			struct frame_spec back;
			struct world_result r;

			world_set_frontend(world, &f);
			r = ask(&spec);
			CU_ASSERT(seen_from_node(&r, v, endpoints[i], 8080));
			CU_ASSERT(!from_mac(&r, world_gateway_mac));
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = ask(&back);
			CU_ASSERT(seen_from(&r, external[v]));
			world_forget_flows(world);
		}
	}
}

/* A process of this node: it sees the client, the stack takes nothing from its own address. */
static void outside_reaches_a_process_of_the_node(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, node[v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5060, 80);
		struct world_result r;

		world_set_frontend(world, &f);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r) && frame_sums_right(&r.out));
		CU_ASSERT(seen_ends(&r, client[v], 5060, node[v], 8080));
	}
}

static void two_clients_of_one_port_stay_apart(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		uint16_t ports[8];

		world_set_frontend(world, &f);
		for (int i = 0; i < 8; i++) {
			char from[40];
			struct frame_spec spec, back;
			struct world_result r;

			snprintf(from, sizeof(from), v == V4 ? "203.0.113.%d" : "2001:db8::%d",
				 20 + i);
			spec = spec_of_wire(from, external[v], IPPROTO_UDP, 5070, 80);
			r = ask(&spec);
			ports[i] = seen(&r).sport;
			for (int j = 0; j < i; j++)
				CU_ASSERT_NOT_EQUAL(ports[i], ports[j]);
			back = spec_of_answer(1, &r, 0);
			r = send_of_pod(1, &back);
			CU_ASSERT(forwarded(&r) && seen_ends(&r, external[v], 80, from, 5070));
		}
	}
}

static void source_ranges_hold_for_the_outside(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f =
			frontend_of(v, IPPROTO_TCP, SERVICE_SOURCES, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5080, 80);
		struct frame_spec inside;
		struct world_result r;

		world_set_frontend(world, &f);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_SOURCE));
		world_set_source(world, f.id,
				 v == V4 ? "203.0.113.0" : "2001:db8::", v == V4 ? 28 : 64);
		r = ask(&spec);
		spec.source = addr(v == V4 ? "203.0.113.17" : "2001:db8:0:1::9");
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_SOURCE));
		/* Nor are pods and nodes of the cluster outside. */
		inside = spec_of_pod(0, v, external[v], IPPROTO_TCP, 5081, 80);
		r = send_of_pod(0, &inside);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 5081, pod_text[1][v], 8080));
		spec = spec_of_wire(peer_node[PEER_NATIVE][v], external[v], IPPROTO_TCP, 5082, 80);
		memcpy(spec.mac_source, peer_mac, 6);
		r = ask(&spec);
	}
}

static void nobody_serves_is_rejected_and_only_elsewhere_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend none = frontend_of(v, IPPROTO_TCP, 0, NULL);
		struct world_frontend remote = frontend_of(v, IPPROTO_TCP, SERVICE_EXTERNAL_LOCAL,
							   peer_pod[PEER_NATIVE][v]);
		struct world_frontend udp = node_port_of(v, IPPROTO_UDP, 0, NULL);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5090, 80);
		struct world_result r;

		world_set_frontend(world, &none);
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_NO_ENDPOINT));
		CU_ASSERT(seen_ends(&r, external[v], 80, client[v], 5090));
		CU_ASSERT_EQUAL(seen(&r).tcp_flags, TCP_RST_FLAG | TCP_ACK_FLAG);
		none.flags |= SERVICE_EXTERNAL_LOCAL;
		world_set_frontend(world, &none);
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_NO_ENDPOINT));
		remote.backends[0].place = WORLD_CLUSTER_SET;
		world_set_frontend(world, &remote);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_NO_LOCAL_ENDPOINT));
		world_set_frontend(world, &udp);
		spec = spec_of_wire(client[v], node[v], IPPROTO_UDP, 5091, NODE_PORT);
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_NO_ENDPOINT));
		CU_ASSERT_EQUAL(seen(&r).icmp_type, v == V4 ? 3 : 1);
		CU_ASSERT_EQUAL(seen(&r).icmp_code, v == V4 ? 3 : 4);
	}
}

static void unserved_ports_are_rejected_and_the_nodes_own_left_to_it(void)
{
	static const char *const cluster_ip[2] = {"10.96.9.9", "fd00:96::9:9"};

	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		const struct world_frontend port = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct world_frontend inner = f;
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5100, 81);
		struct world_result r;

		world_set_frontend(world, &f);
		world_set_frontend(world, &port);
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_NO_SERVICE_PORT));
		spec.proto = IPPROTO_UDP;
		spec.dport = 80;
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_NO_SERVICE_PORT));
		/* Ports of the node's address that are no node ports, and the port at another
		 * protocol. */
		spec = spec_of_wire(client[v], node[v], IPPROTO_TCP, 5101, 22);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		spec = spec_of_wire(client[v], node[v], IPPROTO_UDP, 5101, NODE_PORT);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		/* Addresses that are not the node's serve no node ports. */
		spec = spec_of_wire(client[v], peer_node[PEER_FIRST][v], IPPROTO_TCP, 5102,
				    NODE_PORT);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		inner.addr = cluster_ip[v];
		inner.flags = 0;
		inner.id += 10;
		world_set_frontend(world, &inner);
		spec = spec_of_wire(client[v], cluster_ip[v], IPPROTO_TCP, 5103, 80);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_FROM_OUTSIDE));
		spec.dport = 81;
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SERVICE_FROM_OUTSIDE));
	}
}

/* The answer is the request with its ends and type changed. */
static void echo_to_a_services_address_is_answered(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec = spec_of_wire(client[v], external[v], icmp_of(v), 77, 0),
				  inside = spec_of_pod(0, v, external[v], icmp_of(v), 78, 0),
				  wanted;
		uint64_t before = world_counter(world, COUNTER_ECHOES_ANSWERED);
		struct world_result r;
		struct frame frame;

		world_set_frontend(world, &f);
		r = send_of_wire(&spec);
		CU_ASSERT(forwarded(&r));
		wanted = spec;
		wanted.source = spec.destination;
		wanted.destination = spec.source;
		wanted.icmp_type = v == V4 ? 0 : 129;
		wanted.ttl = 64;
		memcpy(wanted.mac_source, spec.mac_destination, 6);
		memcpy(wanted.mac_destination, spec.mac_source, 6);
		frame_make(&frame, &wanted);
		CU_ASSERT(r.out.length == frame.length &&
			  !memcmp(r.out.bytes, frame.bytes, frame.length));
		r = send_of_pod(0, &inside);
		CU_ASSERT(forwarded(&r) && seen_from(&r, external[v]));
		CU_ASSERT(from_mac(&r, world->pods[0].mac));
		CU_ASSERT_EQUAL(seen(&r).icmp_type, v == V4 ? 0 : 129);
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_ECHOES_ANSWERED), before + 2);
		/* Answers, and parts of requests, are not. */
		spec.icmp_type = v == V4 ? 0 : 129;
		r = send_of_wire(&spec);
		CU_ASSERT(!forwarded(&r));
	}
}

/* B5: replies to what the node itself sent from a node port's number. */
static void port_of_the_nodes_own_connection_is_its_own(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend port = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], node[v], IPPROTO_TCP, 443, NODE_PORT);
		static const uint8_t answers[] = {TCP_SYN_FLAG | TCP_ACK_FLAG, TCP_ACK_FLAG,
						  TCP_FIN_FLAG | TCP_ACK_FLAG, TCP_RST_FLAG};
		struct world_result r;

		world_set_frontend(world, &port);
		for (size_t i = 0; i < sizeof(answers); i++) {
			spec.tcp_flags = answers[i];
			r = send_of_wire(&spec);
			CU_ASSERT(passed(&r));
		}
		spec.tcp_flags = TCP_SYN_FLAG;
		r = ask(&spec);
	}
}

static void segment_without_flow_at_an_external_address_is_reset(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5110, 80);
		struct world_result r;

		world_set_frontend(world, &f);
		spec.tcp_flags = TCP_ACK_FLAG;
		spec.ack = 4711;
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_SERVICE_NO_FLOW));
		CU_ASSERT(seen(&r).tcp_flags == TCP_RST_FLAG && seen(&r).seq == 4711);
	}
}

static void last_hop_and_too_large_are_told(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_frontend f =
			frontend_of(v, IPPROTO_UDP, 0, peer_pod[PEER_FIRST][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_UDP, 5120, 80);
		struct world_result r;

		world_set_frontend(world, &f);
		spec.ttl = 1;
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED) && seen_from(&r, node[v]));
		CU_ASSERT_EQUAL(seen(&r).icmp_type, v == V4 ? 11 : 3);
		spec.ttl = 64;
		spec.flags = FRAME_DONT_FRAGMENT;
		spec.payload_length = 1440;
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_TOO_BIG));
		CU_ASSERT_EQUAL(seen(&r).mtu, TUNNEL_MTU);
	}
}

/* What a chosen endpoint is told of the client's address. */
static void policy_sees_the_client(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5130, 80);
		struct ruleset_entry set = {.number = 78,
					    .flags = RULESET_ISOLATES | RULESET_HAS_PREFIXES};
		struct ruleset_prefix_key prefix = {.ruleset = 78, .addr = addr(client[v])};
		struct ruleset_cell_key key = {.ruleset = 78, .peer_class = 1};
		struct ruleset_cell cell = {.rule[STEP_REST] = 9, .verdict[STEP_REST] = CELL_ALLOW};
		uint32_t slot = RULESET_FIRST + 1, class = 1;
		struct world_result r;

		world_set_frontend(world, &f);
		world_set(world, "rulesets", &slot, &set);
		world_set_rules(world, 1, RULESET_OPEN, slot);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		prefix.prefixlen = 32 + 128;
		world_set(world, "ruleset_prefixes", &prefix, &class);
		world_set(world, "ruleset_cells", &key, &cell);
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080));
		world_unset(world, "ruleset_prefixes", &prefix);
		world_set_rules(world, 1, RULESET_OPEN, RULESET_OPEN);
	}
}

static void deleted_endpoint_is_reset_and_datagrams_move(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5140, 80);
		struct frame_spec back;
		struct world_result r;

		world_set_frontend(world, &f);
		r = ask(&spec);
		back = spec_of_answer(1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		world_remove_backend_state(world, f.id, pod_text[1][v], 8080);
		f.backends[0].addr = pod_text[2][v];
		world_set_frontend(world, &f);
		world_move_generation(world, 1);
		spec.tcp_flags = TCP_ACK_FLAG;
		r = send_of_wire(&spec);
		CU_ASSERT(told(&r, REASON_ENDPOINT_GONE));
		CU_ASSERT(seen(&r).tcp_flags == TCP_RST_FLAG);

		f.proto = IPPROTO_UDP;
		world_set_frontend(world, &f);
		spec = spec_of_wire(client[v], external[v], IPPROTO_UDP, 5141, 80);
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[2][v], 8080));
		world_remove_backend_state(world, f.id, pod_text[2][v], 8080);
		f.backends[0].addr = pod_text[0][v];
		world_set_frontend(world, &f);
		world_move_generation(world, 1);
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[0][v], 8080));
	}
}

static void closed_connections_ports_are_used_again(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend port = node_port_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], node[v], IPPROTO_TCP, 5150, NODE_PORT);
		struct world_result r;

		world_set_frontend(world, &port);
		r = ask(&spec);
		spec.tcp_flags = TCP_RST_FLAG;
		r = ask(&spec);
		spec.tcp_flags = TCP_SYN_FLAG;
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080));
	}
}

static void flow_keeps_its_source_as_long_as_it_is_the_nodes(void)
{
	EACH_VERSION(v)
	{
		struct world_frontend f = frontend_of(v, IPPROTO_TCP, 0, pod_text[1][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], external[v], IPPROTO_TCP, 5160, 80);
		struct address_entry gone = {}, own = {.flags = ADDRESS_NODE | ADDRESS_LOCAL |
								ADDRESS_NODE_PORTS,
						       .identity = {IDENTITY_HOST, IDENTITY_HOST}};
		struct world_result r;
		uint16_t port;

		world_set_frontend(world, &f);
		r = ask(&spec);
		port = seen(&r).sport;
		f.flags |= SERVICE_EXTERNAL_LOCAL;
		world_set_frontend(world, &f);
		world_move_generation(world, 1);
		r = ask(&spec);
		CU_ASSERT(seen_from_node(&r, v, pod_text[1][v], 8080) && seen(&r).sport == port);
		world_set_address(world, node[v], v == V4 ? 32 : 128, &gone);
		world_move_generation(world, 1);
		spec.tcp_flags = TCP_ACK_FLAG;
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_SOURCE_GONE));
		world_set_address(world, node[v], v == V4 ? 32 : 128, &own);
	}
}

/* Through the tunnel come a peer's pods; policy Local is for the outside. */
static void other_nodes_pods_use_a_node_port_as_cluster(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		struct world_frontend f = node_port_of(v, IPPROTO_TCP, SERVICE_EXTERNAL_LOCAL,
						       peer_pod[PEER_SECOND][v]);
		struct frame_spec spec = spec_of_peer(peer_pod[PEER_FIRST][v], node[v], IPPROTO_TCP,
						      5170, NODE_PORT);
		struct frame_spec back;
		struct world_result r;

		f.backends[0].place = WORLD_CLUSTER_SET;
		world_set_frontend(world, &f);
		r = send_of_peer(PEER_FIRST, &spec);
		CU_ASSERT(forwarded(&r) && seen_from_node(&r, v, peer_pod[PEER_SECOND][v], 8080));
		back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_peer(PEER_SECOND, &back);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, node[v], NODE_PORT, peer_pod[PEER_FIRST][v], 5170));
		/* A node itself comes by the wire. */
		spec = spec_of_wire(peer_node[PEER_FIRST][v], node[v], IPPROTO_TCP, 5171,
				    NODE_PORT);
		r = ask(&spec);
		/* A pod that is behind the tunnel does not. */
		spec.source = addr(peer_pod[PEER_FIRST][v]);
		spec.sport = 5172;
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_PEER_SOURCE));
	}
}

/* By its mark to_wire knows it again; a port that a client's flow has is not the node's to use. */
static void what_is_sent_on_is_marked_and_keeps_its_port(void)
{
	peers_fill(TUNNEL_MTU);
	EACH_VERSION(v)
	{
		const struct world_frontend f =
			node_port_of(v, IPPROTO_TCP, 0, peer_pod[PEER_NATIVE][v]);
		struct frame_spec spec =
			spec_of_wire(client[v], node[v], IPPROTO_TCP, 5180, NODE_PORT);
		struct __sk_buff skb = {.ifindex = WORLD_UPLINK, .ingress_ifindex = WORLD_UPLINK};
		struct world_result r, egress;
		struct frame frame;

		world_set_frontend(world, &f);
		frame_make(&frame, &spec);
		r = world_run_skb(world, HOOK_FROM_WIRE, &skb, &frame);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(skb.mark, WORLD_STACK_MARK);
		egress = world_run(world, HOOK_TO_WIRE, WORLD_UPLINK, 0, &r.out);
		CU_ASSERT(passed(&egress) && seen(&egress).sport != seen(&r).sport);
	}
}

/* An external address may be a machine's own, which speaks from its other ports. */
static void outside_cannot_pose_as_a_frontend(void)
{
	EACH_VERSION(v)
	{
		EACH_PROTO(proto)
		{
			const struct world_frontend f = frontend_of(v, proto, 0, pod_text[1][v]);
			struct frame_spec posed =
				spec_of_wire(external[v], pod_text[0][v], proto, 80, 5600);
			struct frame_spec asked = spec_of_pod(0, v, external[v], proto, 5600, 80);
			struct world_result r;

			world_set_frontend(world, &f);
			r = send_of_wire(&posed);
			CU_ASSERT(dropped(&r, REASON_MARTIAN));
			r = send_of_pod(0, &asked);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(seen_ends(&r, pod_text[0][v], 5600, pod_text[1][v], 8080));
			posed.sport = 81;
			r = send_of_wire(&posed);
			CU_ASSERT(forwarded(&r));
		}
	}
}

static void tunnels_outer_packets_are_the_stacks(void)
{
	EACH_VERSION(v)
	{
		const struct world_frontend f = node_port_of(v, IPPROTO_UDP, 0, pod_text[1][v]);
		struct world_frontend taken = f;
		struct frame_spec spec = spec_of_wire(peer_node[PEER_FIRST][v], node[v],
						      IPPROTO_UDP, 5190, WORLD_TUNNEL_PORT);
		struct world_result r;

		taken.port = WORLD_TUNNEL_PORT;
		world_set_frontend(world, &taken);
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		world_remove_frontend(world, any[v], IPPROTO_UDP, WORLD_TUNNEL_PORT);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(outside_reaches_a_local_endpoint_under_the_nodes_address),
		SUITE_TEST(local_policy_keeps_the_clients_address),
		SUITE_TEST(outside_reaches_an_endpoint_of_a_native_peer),
		SUITE_TEST(outside_reaches_an_endpoint_behind_the_tunnel),
		SUITE_TEST(connection_from_a_peer_to_a_closed_flows_port_is_the_nodes),
		SUITE_TEST(outside_reaches_an_endpoint_by_the_nodes_routes),
		SUITE_TEST(outside_reaches_a_process_of_the_node),
		SUITE_TEST(two_clients_of_one_port_stay_apart),
		SUITE_TEST(source_ranges_hold_for_the_outside),
		SUITE_TEST(nobody_serves_is_rejected_and_only_elsewhere_is_dropped),
		SUITE_TEST(unserved_ports_are_rejected_and_the_nodes_own_left_to_it),
		SUITE_TEST(echo_to_a_services_address_is_answered),
		SUITE_TEST(port_of_the_nodes_own_connection_is_its_own),
		SUITE_TEST(segment_without_flow_at_an_external_address_is_reset),
		SUITE_TEST(last_hop_and_too_large_are_told),
		SUITE_TEST(policy_sees_the_client),
		SUITE_TEST(deleted_endpoint_is_reset_and_datagrams_move),
		SUITE_TEST(closed_connections_ports_are_used_again),
		SUITE_TEST(flow_keeps_its_source_as_long_as_it_is_the_nodes),
		SUITE_TEST(other_nodes_pods_use_a_node_port_as_cluster),
		SUITE_TEST(what_is_sent_on_is_marked_and_keeps_its_port),
		SUITE_TEST(outside_cannot_pose_as_a_frontend),
		SUITE_TEST(tunnels_outer_packets_are_the_stacks),
	};

	return SUITE_RUN("Services from outside", tests);
}
