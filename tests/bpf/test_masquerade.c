/* SPDX-License-Identifier: Apache-2.0 */
/* Pods to the outside with the node's address, and back. */
#include "suite.h"

#include <bpf/bpf.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

static void masquerades_and_restores(void)
{
	EACH_VERSION(v)
	{
		uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, icmp_of(v)};

		for (int i = 0; i < 3; i++) {
			struct frame_spec spec = spec_of_pod(0, v, outside[v], protos[i], 6000, 53),
					  got, back;
			struct world_result r = send_of_pod(0, &spec);

			CU_ASSERT(forwarded(&r));
			got = seen(&r);
			CU_ASSERT(got.sport >= 40000 && got.sport <= 49999);
			CU_ASSERT(seen_ends(&r, node[v], got.sport, outside[v],
					    protos[i] == icmp_of(v) ? 0 : 53));
			back = spec_of_answer(-1, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
			r = send_of_wire(&back);
			CU_ASSERT(forwarded(&r));
			got = seen(&r);
			CU_ASSERT(addr_same(&got.source, &spec.destination) &&
				  addr_same(&got.destination, &spec.source));
			CU_ASSERT_EQUAL(protos[i] == icmp_of(v) ? got.sport : got.dport, 6000);
			CU_ASSERT_EQUAL(got.ttl, 63);
			CU_ASSERT(!memcmp(got.mac_destination, world->pods[0].mac, 6));
		}
	}
}

static void keeps_the_port_of_a_flow(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_UDP, 6001, 53);
	struct world_result r = send_of_pod(0, &spec);
	uint16_t port = seen(&r).sport;

	r = send_of_pod(0, &spec);
	CU_ASSERT_EQUAL(seen(&r).sport, port);
	world_move_generation(world, 2);
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT_EQUAL(seen(&r).sport, port);
}

/* A peer that becomes a node's, or is one no more, still knows the flow by the address that it
 * began with. */
static void live_flow_keeps_its_address_when_its_peer_becomes_a_node(void)
{
	static const char *const peers[2] = {"203.0.113.77", "2001:db8:77::1"};
	static const struct address_entry as_node = {{IDENTITY_REMOTE_NODE, IDENTITY_REMOTE_NODE},
						     ADDRESS_NODE,
						     {0}},
					  as_world = {{IDENTITY_WORLD, IDENTITY_WORLD}, 0, {0}};

	EACH_VERSION(v)
	{
		for (int was_node = 0; was_node < 2; was_node++) {
			struct frame_spec spec = spec_of_pod(0, v, peers[v], IPPROTO_UDP,
							     6010 + was_node, 53),
					  back;
			int bits = v == V4 ? 32 : 128;
			struct world_result r;
			uint16_t port;

			world_set_address(world, peers[v], bits, was_node ? &as_node : &as_world);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			port = seen(&r).sport;
			CU_ASSERT_EQUAL(port == spec.sport, was_node);
			back = spec_of_answer(-1, &r, 0);
			world_set_address(world, peers[v], bits, was_node ? &as_world : &as_node);
			world_move_generation(world, 2);
			r = send_of_wire(&back);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(seen_ends(&r, peers[v], 53, pod_text[0][v], spec.sport));
			world_move_generation(world, 2);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			CU_ASSERT(seen_ends(&r, was_node ? pod_text[0][v] : node[v], port, peers[v],
					    53));
		}
	}
}

static void pods_and_nodes_see_the_pods_own_address(void)
{
	static const char *const remote_node[2] = {"192.168.7.2", "fd00:7::2"};

	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, remote_pod[v], IPPROTO_UDP, 6002, 53);
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][v], 6002, remote_pod[v], 53));
		spec = spec_of_pod(0, v, remote_node[v], IPPROTO_UDP, 6002, 53);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) && seen_ends(&r, pod_text[0][v], 6002, remote_node[v], 53));
	}
}

static void two_pods_get_different_ports(void)
{
	struct frame_spec first = spec_of_pod(0, V4, outside[V4], IPPROTO_UDP, 6003, 53);
	struct frame_spec second = spec_of_pod(1, V4, outside[V4], IPPROTO_UDP, 6003, 53);
	struct world_result a = send_of_pod(0, &first), b = send_of_pod(1, &second);

	CU_ASSERT(forwarded(&a) && forwarded(&b));
	CU_ASSERT(seen(&a).sport != seen(&b).sport);
}

static void leaves_packets_of_the_nodes_own_sockets_alone(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(outside[v], node[v], IPPROTO_TCP, 443, 33000);
		struct world_result r;

		spec.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG;
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
		/* In the range, but of no flow: the stack knows best. */
		spec.dport = 45000;
		r = send_of_wire(&spec);
		CU_ASSERT(passed(&r));
	}
}

/* Its CRC covers all of the packet; of a fragment nobody can tell what becomes of it. */
static void sctp_is_masqueraded_unless_it_is_fragmented(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, outside[v], IPPROTO_SCTP, 6004, 53),
				  back;
		struct world_result r;

		for (size_t length = 0; length < 1300; length += 129) {
			spec.payload_length = length;
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r) && seen(&r).sport >= 40000);
			back = spec_of_answer(-1, &r, 0);
			r = send_of_wire(&back);
			CU_ASSERT(forwarded(&r) &&
				  seen_ends(&r, outside[v], 53, pod_text[0][v], 6004));
		}
		spec.flags = FRAME_MORE_FRAGMENTS;
		spec.payload_length = 28;
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_NAT_PROTOCOL));
	}
}

/* It has no identifier that two pods' messages could be told apart by. */
static void icmp_of_the_other_family_cannot_be_masqueraded(void)
{
	EACH_VERSION(v)
	{
		uint8_t proto = icmp_of(v == V4 ? V6 : V4);
		uint8_t types[] = {0, 8, 128, 129};

		for (int i = 0; i < 4; i++) {
			struct frame_spec spec = spec_of_pod(0, v, outside[v], proto, 6005, 0);
			struct world_result r;

			spec.icmp_type = types[i];
			r = send_of_pod(0, &spec);
			CU_ASSERT(dropped(&r, REASON_NAT_PROTOCOL));
		}
	}
}

/* These two need a small range of ports, and so programs of their own. */
static void with_ports(uint16_t min, uint16_t max, void (*run)(void))
{
	in_world_of(&(struct world_options){.outer_namespace = true,
					    .masquerade_port_min = min,
					    .masquerade_port_max = max},
		    run);
}

static void exhaust(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec;
		struct world_result r;

		for (uint16_t i = 0; i < 4; i++) {
			spec = spec_of_pod(0, v, outside[v], IPPROTO_UDP, 6100 + i, 53);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
		}
		spec = spec_of_pod(0, v, outside[v], IPPROTO_UDP, 6110, 53);
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_NAT_PORTS));
		/* Towards another peer all ports are free. */
		spec.dport = 54;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
	}
}

static void masquerade_ports_exhausted_is_counted(void)
{
	with_ports(40000, 40003, exhaust);
}

#define SOME_PORTS 1000

/* Until a whole tick lies ahead: the programs count by the upper bits of this clock. */
static void begin_tick(void)
{
	struct timespec now;
	uint64_t ns, first = 0;

	do {
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
		ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
		first = first ? first : ns >> FLOW_TICK_SHIFT;
	} while (ns >> FLOW_TICK_SHIFT == first);
}

/* Quick: the programs' clock must not go on to the next tick meanwhile. */
static bool gets_a_port(enum suite_version v, uint16_t sport)
{
	struct frame_spec spec = spec_of_pod(0, v, outside[v], IPPROTO_UDP, sport, 53);
	struct frame frame;

	frame_make(&frame, &spec);
	return world_step(world, HOOK_FROM_POD, world->pods[0].link, &frame) == TC_ACT_REDIRECT;
}

static void search_in_vain(void)
{
	EACH_VERSION(v)
	{
		int taken = 0, refused = 0;

		for (int i = 0; i < 4 * SOME_PORTS && taken < SOME_PORTS - 2; i++)
			taken += gets_a_port(v, 1024 + i);
		begin_tick();
		for (int i = 0; i < 20 && gets_a_port(v, 10000 + i); i++)
			;
		/* Four fifths of the ports: eight tries at the end would fail for one flow in six.
		 */
		world_forget_flows(world);
		for (int i = 0; i < SOME_PORTS * 4 / 5; i++)
			refused += !gets_a_port(v, 20000 + i);
		CU_ASSERT_EQUAL(refused, 0);
	}
}

static void one_search_for_a_port_in_vain_does_not_cut_the_next_ones_short(void)
{
	with_ports(30001, 30000 + SOME_PORTS, search_in_vain);
}

#define HUNDRED_PORTS 100
#define TRIES	      64 /* of a search */

/* Retries of so many searches that find nothing. */
static uint64_t search(enum suite_version v, int count)
{
	uint64_t before = world_counter(world, COUNTER_NAT_RETRIES);

	for (int i = 0; i < count; i++)
		CU_ASSERT(!gets_a_port(v, 10000 + i));
	return world_counter(world, COUNTER_NAT_RETRIES) - before;
}

static void search_often(void)
{
	EACH_VERSION(v)
	{
		int taken = 0;

		for (int i = 0; i < 100 * HUNDRED_PORTS && taken < HUNDRED_PORTS; i++)
			taken += gets_a_port(v, 1024 + i);
		CU_ASSERT_EQUAL_FATAL(taken, HUNDRED_PORTS);
		begin_tick();
		/* What was found in the tick before is forgotten. */
		CU_ASSERT_EQUAL(search(v, 1), TRIES);
		CU_ASSERT(search(v, 50) < 50 * TRIES / 2);
	}
}

static void many_searches_for_a_port_in_vain_make_the_next_ones_short(void)
{
	with_ports(30001, 30000 + HUNDRED_PORTS, search_often);
}

#define MANY_PORTS 2048

static void one_pod_takes_all(void)
{
	EACH_VERSION(v)
	{
		int taken[2] = {};

		for (int pod = 0; pod < 2; pod++) {
			for (int i = 0; i < 3 * MANY_PORTS; i++) {
				struct frame_spec spec =
					spec_of_pod(pod, v, outside[v], IPPROTO_UDP, 1024 + i, 53);
				struct frame frame;

				frame_make(&frame, &spec);
				taken[pod] +=
					world_step(world, HOOK_FROM_POD, world->pods[pod].link,
						   &frame) == TC_ACT_REDIRECT;
			}
		}
		/* Three quarters, as good as a hash divides; and of the others three quarters. */
		CU_ASSERT(taken[0] > MANY_PORTS * 65 / 100 && taken[0] < MANY_PORTS * 85 / 100);
		CU_ASSERT(taken[1] > (MANY_PORTS - taken[0]) / 2);
	}
}

static void one_pod_leaves_ports_for_the_others(void)
{
	with_ports(30001, 30000 + MANY_PORTS, one_pod_takes_all);
}

/* The only port's connection is closed, and idle for so many ticks: may another pod have it? */
static bool next_pod_gets_the_port_after(uint16_t sport, uint32_t ticks)
{
	struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_TCP, sport, 80), back;
	struct world_result r = send_of_pod(0, &spec);
	struct flow_tuple tuple;

	CU_ASSERT(forwarded(&r));
	back = spec_of_answer(-1, &r, TCP_FIN_FLAG | TCP_ACK_FLAG);
	spec.tcp_flags = TCP_FIN_FLAG | TCP_ACK_FLAG;
	r = send_of_wire(&back);
	CU_ASSERT(forwarded(&r));
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
	tuple = world_tuple(&spec, ZONE_POD);
	world_flow_age(world, &tuple, ticks);
	tuple = world_tuple(&back, ZONE_WIRE);
	world_flow_age(world, &tuple, ticks);
	spec = spec_of_pod(1, V4, outside[V4], IPPROTO_TCP, sport, 80);
	r = send_of_pod(1, &spec);
	CU_ASSERT(forwarded(&r) || dropped(&r, REASON_NAT_PORTS));
	return forwarded(&r);
}

static void wait_for_closed(void)
{
	CU_ASSERT(!next_pod_gets_the_port_after(6300, 0));
	world_forget_flows(world);
	CU_ASSERT(!next_pod_gets_the_port_after(6301, FLOW_TIMEOUT_LEAST - 2));
	world_forget_flows(world);
	CU_ASSERT(next_pod_gets_the_port_after(6302, FLOW_TIMEOUT_LEAST + 2));
}

static void port_of_a_closed_connection_is_not_taken_at_once(void)
{
	with_ports(40000, 40000, wait_for_closed);
}

static void avoid_socket(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(41001)};
	struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_UDP, 6200, 53);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct world_result r;

	CU_ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
	CU_ASSERT_EQUAL(seen(&r).sport, 41000);
	spec.sport++;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_NAT_PORTS));
	close(fd);
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r) && seen(&r).sport == 41001);
}

static void keeps_off_the_ports_of_the_nodes_sockets(void)
{
	with_ports(41000, 41001, avoid_socket);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(masquerades_and_restores),
		SUITE_TEST(keeps_the_port_of_a_flow),
		SUITE_TEST(live_flow_keeps_its_address_when_its_peer_becomes_a_node),
		SUITE_TEST(pods_and_nodes_see_the_pods_own_address),
		SUITE_TEST(two_pods_get_different_ports),
		SUITE_TEST(leaves_packets_of_the_nodes_own_sockets_alone),
		SUITE_TEST(sctp_is_masqueraded_unless_it_is_fragmented),
		SUITE_TEST(icmp_of_the_other_family_cannot_be_masqueraded),
		SUITE_TEST(masquerade_ports_exhausted_is_counted),
		SUITE_TEST(one_search_for_a_port_in_vain_does_not_cut_the_next_ones_short),
		SUITE_TEST(many_searches_for_a_port_in_vain_make_the_next_ones_short),
		SUITE_TEST(one_pod_leaves_ports_for_the_others),
		SUITE_TEST(port_of_a_closed_connection_is_not_taken_at_once),
		SUITE_TEST(keeps_off_the_ports_of_the_nodes_sockets),
	};

	return SUITE_RUN("masquerade", tests);
}
