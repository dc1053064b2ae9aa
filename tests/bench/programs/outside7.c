/* SPDX-License-Identifier: Apache-2.0 */
/* Layout 7: Services from outside, endpoints on other nodes. */
#include "bench.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"

#define PEER	  3
#define PEER_NODE "192.168.7.4"

const uint8_t layout_peer_mac[6] = {2, 0, 0, 0, 0, 0x44};

static void run(const char *command)
{
	if (system(command))
		bench_fail(command);
}

/* The peer's own address is its pods' next hop, the router the client's: the kernel knows both. */
static void add_peer(struct world *world)
{
	const struct peer_entry peer = {.ipv4_be = addr(PEER_NODE).words_be[3],
					.flags = PEER_NATIVE_V4};
	const struct next_hop hop = {
		.ifindex = WORLD_UPLINK, .mtu = WORLD_UPLINK_MTU, .peer = PEER};
	const struct address_entry pod = {.flags = ADDRESS_POD, .peer = PEER};
	uint32_t number = PEER, place = NEXT_HOP_PEERS + PEER;

	world_set(world, "peers", &number, &peer);
	world_set(world, "next_hops", &place, &hop);
	world_set_address(world, LAYOUT_PEER_POD, 32, &pod);
	run("echo 1 > /proc/sys/net/ipv4/ip_forward");
	run("ip neigh replace " PEER_NODE " lladdr 02:00:00:00:00:44 dev up21 nud permanent");
	run("ip neigh replace 192.168.7.254 lladdr 02:00:00:00:00:fe dev up21 nud permanent");
	run("ip route replace default via 192.168.7.254");
}

void layout_serve_outside(struct world *world, uint32_t id, const char *frontend, uint16_t port,
			  uint16_t backend_port, bool direct)
{
	const bool is_node = !strcmp(frontend, LAYOUT_NODE);
	const struct address_entry node = {.flags = ADDRESS_NODE | ADDRESS_LOCAL |
						    ADDRESS_NODE_PORTS};
	struct world_frontend served = {
		.id = id,
		.addr = is_node ? "0.0.0.0" : frontend,
		.proto = IPPROTO_TCP,
		.port = port,
		.flags = SERVICE_EXTERNAL | (direct ? SERVICE_DSR : 0) |
			 (is_node ? SERVICE_NODE_PORT : 0),
		.backends = {{LAYOUT_PEER_POD, backend_port, WORLD_CLUSTER_SET}},
		.table_size = direct,
	};

	if (id == 1)
		add_peer(world);
	if (is_node)
		world_set_address(world, LAYOUT_NODE, 32, &node);
	world_set_frontend(world, &served);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void layout_neighbours_in_use(struct world *world)
{
	const uint64_t tick = 1ULL << FLOW_TICK_SHIFT;
	uint64_t ns = now_ns(), left = tick - ns % tick;
	int fd = world_map(world, "next_hops");
	struct next_hop hop;

	if (left < tick / 4) {
		usleep(left / 1000 + 10000);
		ns = now_ns();
	}
	for (uint32_t i = NEXT_HOP_UPLINKS; i < NEXT_HOPS; i++) {
		if (bpf_map_lookup_elem(fd, &i, &hop) || !hop.claim)
			continue;
		hop.told = ns >> FLOW_TICK_SHIFT;
		bpf_map_update_elem(fd, &i, &hop, BPF_ANY);
	}
}
