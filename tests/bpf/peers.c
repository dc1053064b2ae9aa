/* SPDX-License-Identifier: Apache-2.0 */
#include "peers.h"

#define OTHER_MTU 1500

const char *const peer_end[3] = {NULL, "192.168.7.2", "fd00:7::3"};
const char *const peer_node[4][2] = {{NULL},
				     {"192.168.7.2", "fd00:7::2"},
				     {"192.168.7.3", "fd00:7::3"},
				     {"192.168.7.4", "fd00:7::4"}};
const char *const peer_pod[4][2] = {
	{NULL}, {"10.2.0.5", "fd00:2::5"}, {"10.3.0.5", "fd00:3::5"}, {"10.4.0.5", "fd00:4::5"}};
const uint8_t peer_mac[6] = {0x02, 0, 0, 0, 0, 0x44};

static struct peer_entry entry_of(uint32_t number)
{
	struct peer_entry entry = {.ipv4_be = addr(peer_node[number][V4]).words_be[3],
				   .flags = PEER_KNOWN | PEER_TUNNEL_V4 | PEER_TUNNEL_V6};
	struct polder_addr node6 = addr(peer_node[number][V6]);

	memcpy(entry.ipv6_be, &node6, 16);
	if (number == PEER_NATIVE)
		entry.flags = PEER_KNOWN | PEER_NATIVE_V4 | PEER_NATIVE_V6 | PEER_FROM_WIRE;
	else
		entry.underlay = addr(peer_end[number]);
	return entry;
}

void peer_set_flags(uint32_t number, uint32_t flags)
{
	struct peer_entry entry = entry_of(number);

	entry.flags = flags;
	world_set(world, "peers", &number, &entry);
}

void peer_set_range(int net, uint32_t number)
{
	char v4[32], v6[32];
	struct address_entry range = {.identity = {IDENTITY_UNKNOWN_POD, IDENTITY_UNKNOWN_POD},
				      .flags = ADDRESS_POD_RANGE,
				      .peer = number};

	snprintf(v4, sizeof(v4), "10.%d.0.0", net);
	snprintf(v6, sizeof(v6), "fd00:%d::", net);
	world_set_address(world, v4, 24, &range);
	world_set_address(world, v6, 64, &range);
}

static void fill_one(uint32_t number, uint16_t mtu)
{
	const bool native = number == PEER_NATIVE;
	struct next_hop hop = {.claim = HOP_READY,
			       .ifindex = native ? WORLD_UPLINK : WORLD_TUNNEL,
			       .mtu = native ? OTHER_MTU : mtu,
			       .mtu_most = native ? OTHER_MTU : mtu,
			       .peer = number};
	struct address_entry pod = {.identity = {300 + number, 300 + number},
				    .flags = ADDRESS_POD,
				    .peer = number},
			     node = {.identity = {IDENTITY_REMOTE_NODE, IDENTITY_REMOTE_NODE},
				     .flags = ADDRESS_NODE,
				     .peer = number};
	struct peer_entry entry = entry_of(number);
	uint32_t place = NEXT_HOP_PEERS + number, at;
	struct tunnel_end end = {.underlay = entry.underlay, .peer = number};

	world_set(world, "peers", &number, &entry);
	world_set(world, "next_hops", &place, &hop);
	peer_set_range((int)number + 1, number);
	EACH_VERSION(v)
	{
		world_set_address(world, peer_pod[number][v], v == V4 ? 32 : 128, &pod);
		world_set_address(world, peer_node[number][v], v == V4 ? 32 : 128, &node);
	}
	at = tunnel_end_hash(&entry.underlay);
	if (!native)
		world_set(world, "tunnel_ends", &at, &end);
}

void peers_fill(uint16_t mtu)
{
	for (uint32_t i = PEER_FIRST; i <= PEER_NATIVE; i++)
		fill_one(i, mtu);
}

struct world_result send_of_peer(uint32_t number, const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run_tunnelled(world, peer_end[number], WORLD_VNI, &frame);
}

struct frame_spec spec_of_peer(const char *from, const char *to, uint8_t proto, uint16_t sport,
			       uint16_t dport)
{
	struct frame_spec spec = spec_of_wire(from, to, proto, sport, dport);

	memcpy(spec.mac_source, world_gateway_mac, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	return spec;
}

bool seen_from(const struct world_result *result, const char *source)
{
	struct frame_spec spec = seen(result);
	struct polder_addr from = addr(source);

	return addr_same(&spec.source, &from);
}
