/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod may send at all: its own addresses, whole headers, nothing that only a router may say.
 */
#include "suite.h"

static struct world_result run_bytes(const struct frame *frame)
{
	return world_run(world, HOOK_FROM_POD, world->pods[0].link, world->pods[0].link, frame);
}

static void drops_short_packet(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_TCP, 1000, 80);
		struct world_result r;
		struct frame frame;

		frame_make(&frame, &spec);
		frame.length -= 1; /* the IP header says more than there is */
		r = run_bytes(&frame);
		CU_ASSERT(dropped(&r, REASON_SHORT));
		spec.proto = IPPROTO_UDP;
		spec.payload_length = 0;
		frame_make(&frame, &spec);
		frame.bytes[v == V4 ? 23 : 20] = IPPROTO_TCP; /* 8 bytes are no TCP header */
		r = run_bytes(&frame);
		CU_ASSERT(dropped(&r, REASON_SHORT));
	}
}

/* What an Ethernet frame was padded with belongs to no packet. */
static void drops_packet_whose_transport_header_lies_in_the_padding(void)
{
	static const struct {
		uint8_t proto;
		uint8_t header;
	} transports[] = {{IPPROTO_TCP, 20}, {IPPROTO_UDP, 8}};

	EACH_VERSION(v)
	{
		for (int i = 0; i < 2; i++) {
			struct frame_spec spec =
				spec_of_pod(0, v, pod_text[1][v], transports[i].proto, 1000, 80);
			uint8_t whole = transports[i].header + (v == V4 ? 20 : 0);
			struct world_result r;
			struct frame frame;

			frame_make(&frame, &spec);
			frame.bytes[v == V4 ? 16 : 18] = 0;
			frame.bytes[v == V4 ? 17 : 19] = whole - 1;
			r = run_bytes(&frame);
			CU_ASSERT(dropped(&r, REASON_SHORT));
		}
	}
}

static void drops_unknown_ethertype(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	frame.bytes[12] = 0x88;
	frame.bytes[13] = 0xcc; /* LLDP */
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_L2_UNKNOWN));
}

static void drops_vlan_tagged(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	memmove(frame.bytes + 16, frame.bytes + 12, frame.length - 12);
	memcpy(frame.bytes + 12, (uint8_t[4]){0x81, 0, 0, 5}, 4);
	frame.length += 4;
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_L2_UNKNOWN));
}

static void drops_packet_of_a_link_without_pod(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	r = world_run(world, HOOK_FROM_POD, WORLD_UPLINK, WORLD_UPLINK, &frame);
	CU_ASSERT(dropped(&r, REASON_NOT_A_POD));
}

static void drops_spoofed_source_mac(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;

	spec.mac_source[5]++;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_SOURCE_MAC));
}

static void drops_spoofed_source_ip(void)
{
	EACH_VERSION(v)
	{
		const char *others[] = {pod_text[2][v], outside[v], node[v],
					v == V4 ? "0.0.0.0" : "::"};

		for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
			struct frame_spec spec =
				spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 1000, 80);
			struct world_result r;

			spec.source = addr(others[i]);
			r = send_of_pod(0, &spec);
			CU_ASSERT(dropped(&r, REASON_SOURCE_IP));
		}
	}
}

static void drops_loopback_addresses(void)
{
	static const char *const loopback[2] = {"127.0.0.53", "::1"};

	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, loopback[v], IPPROTO_UDP, 1000, 53);
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(dropped(&r, REASON_LOOPBACK));
		spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 1000, 53);
		spec.source = addr(loopback[v]);
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_LOOPBACK));
	}
}

static void drops_ipv4_in_ipv6_addresses(void)
{
	struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], IPPROTO_UDP, 1000, 53);
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	memcpy(frame.bytes + 38, addr("10.1.0.12").bytes, 16);
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_MARTIAN));
}

static void drops_multicast_and_broadcast(void)
{
	static const char *const group[2] = {"224.0.0.251", "ff02::fb"};
	struct frame_spec spec;
	struct world_result r;

	EACH_VERSION(v)
	{
		spec = spec_of_pod(0, v, group[v], IPPROTO_UDP, 5353, 5353);
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_MULTICAST));
	}
	spec = spec_of_pod(0, V4, "255.255.255.255", IPPROTO_UDP, 68, 67);
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_MULTICAST));
}

static void arp_make(struct frame *frame, uint8_t operation, const uint8_t mac[6],
		     const char *sender, const char *target)
{
	struct polder_addr from = addr(sender), to = addr(target);
	uint8_t *b = frame->bytes;

	memset(frame, 0, sizeof(*frame));
	memset(b, 0xff, 6);
	memcpy(b + 6, world->pods[0].mac, 6);
	memcpy(b + 12, (uint8_t[10]){8, 6, 0, 1, 8, 0, 6, 4, 0, operation}, 10);
	memcpy(b + 22, mac, 6);
	memcpy(b + 28, from.bytes + 12, 4);
	memcpy(b + 38, to.bytes + 12, 4);
	frame->length = 42;
}

static void answers_arp_for_gateway(void)
{
	struct world_result r;
	struct frame frame;
	const uint8_t *b = r.out.bytes;

	arp_make(&frame, 1, world->pods[0].mac, "10.1.0.11", "10.1.0.1");
	r = run_bytes(&frame);
	CU_ASSERT(r.verdict == TC_ACT_REDIRECT && !r.drops);
	CU_ASSERT(!memcmp(b, world->pods[0].mac, 6) && !memcmp(b + 6, world_gateway_mac, 6));
	CU_ASSERT(b[21] == 2 && !memcmp(b + 22, world_gateway_mac, 6) &&
		  !memcmp(b + 28, (uint8_t[4]){10, 1, 0, 1}, 4));
	CU_ASSERT(!memcmp(b + 32, world->pods[0].mac, 6) &&
		  !memcmp(b + 38, (uint8_t[4]){10, 1, 0, 11}, 4));
}

static void drops_arp_for_another(void)
{
	struct world_result r;
	struct frame frame;

	arp_make(&frame, 1, world->pods[0].mac, "10.1.0.11", "10.1.0.12");
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_ARP_OTHER));
	arp_make(&frame, 2, world->pods[0].mac, "10.1.0.11", "10.1.0.1");
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_ARP_OTHER));
}

static void drops_spoofed_arp(void)
{
	struct world_result r;
	struct frame frame;

	arp_make(&frame, 1, world->pods[1].mac, "10.1.0.11", "10.1.0.1");
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_ARP_SPOOF));
	arp_make(&frame, 1, world->pods[0].mac, "10.1.0.12", "10.1.0.1");
	r = run_bytes(&frame);
	CU_ASSERT(dropped(&r, REASON_ARP_SPOOF));
}

/* An ICMPv6 message with a target and a link-layer address option, as neighbour discovery has them.
 */
static struct world_result discover(uint8_t type, const char *source, const char *to,
				    const char *target, uint8_t option, const uint8_t *mac)
{
	struct frame_spec spec = spec_of_pod(0, V6, to, IPPROTO_ICMPV6, 0, 0);
	uint8_t payload[24] = {0};
	struct polder_addr a = addr(target);

	memcpy(payload, a.bytes, 16);
	payload[16] = option;
	payload[17] = 1;
	memcpy(payload + 18, mac, 6);
	spec.source = addr(source);
	spec.icmp_type = type;
	spec.ttl = 255;
	spec.payload = payload;
	spec.payload_length = sizeof(payload);
	return send_of_pod(0, &spec);
}

static void answers_neighbour_solicitation(void)
{
	struct world_result r =
		discover(135, "fd00:1::11", "ff02::1:ff00:1", "fd00:1::1", 1, world->pods[0].mac);
	struct frame_spec spec = seen(&r);

	CU_ASSERT(forwarded(&r));
	CU_ASSERT(spec.icmp_type == 136 && spec.ttl == 255);
	CU_ASSERT(seen_ends(&r, "fd00:1::1", 0xe000, "fd00:1::11",
			    0)); /* router, solicited, override */
	CU_ASSERT(!memcmp(spec.payload, addr("fd00:1::1").bytes, 16));
	CU_ASSERT(!memcmp((const uint8_t *)spec.payload + 18, world_gateway_mac, 6));
	CU_ASSERT(!memcmp(spec.mac_destination, world->pods[0].mac, 6));
}

static void drops_solicitation_for_another_or_with_anothers_mac(void)
{
	struct world_result r =
		discover(135, "fd00:1::11", "ff02::1:ff00:12", "fd00:1::12", 1, world->pods[0].mac);

	CU_ASSERT(dropped(&r, REASON_ND_OTHER));
	r = discover(135, "fd00:1::11", "ff02::1:ff00:1", "fd00:1::1", 1, world->pods[1].mac);
	CU_ASSERT(dropped(&r, REASON_ND_SPOOF));
}

static void drops_neighbour_advertisement(void)
{
	struct world_result r =
		discover(136, "fd00:1::11", "ff02::1", "fd00:1::1", 2, world->pods[0].mac);

	CU_ASSERT(dropped(&r, REASON_ND_SPOOF));
}

static void drops_router_advertisement(void)
{
	struct world_result r =
		discover(134, "fd00:1::11", "ff02::1", "fd00:1::1", 1, world->pods[0].mac);

	CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
	r = discover(137, "fd00:1::11", "fd00:1::12", "fd00:1::1", 1,
		     world->pods[0].mac); /* redirect */
	CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
}

static void drops_icmp_redirect(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_ICMP, 0, 0);
	struct world_result r;

	spec.icmp_type = 5;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
}

static void drops_dhcpv6_server(void)
{
	struct frame_spec spec = spec_of_pod(0, V6, pod_text[1][V6], IPPROTO_UDP, 547, 546);
	struct world_result r = send_of_pod(0, &spec);

	CU_ASSERT(dropped(&r, REASON_ROUTER_MESSAGE));
}

static void drops_source_routed_packet(void)
{
	static const uint8_t loose[8] = {131, 7, 4, 10, 1, 0, 13, 0},
			     strict[8] = {1, 137, 7, 4, 10, 1, 0, 13};
	static const uint8_t routing[24] = {0, 2, 0, 1};
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;

	spec.options = loose;
	spec.options_length = 8;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
	spec.options = strict;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
	spec = spec_of_pod(0, V6, pod_text[1][V6], IPPROTO_UDP, 1000, 80);
	spec.options = routing;
	spec.options_length = sizeof(routing);
	spec.first_next = IPPROTO_ROUTING;
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_IP_OPTIONS));
}

static void forwards_harmless_ip_options(void)
{
	static const uint8_t router_alert[4] = {148, 4, 0, 0};
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 1000, 80);
	struct world_result r;

	spec.options = router_alert;
	spec.options_length = sizeof(router_alert);
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
}

static void forwards_between_pods_with_new_macs_and_ttl(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 1000, 80),
				  got;
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		got = seen(&r);
		CU_ASSERT(seen_ends(&r, pod_text[0][v], 1000, pod_text[1][v], 80));
		CU_ASSERT_EQUAL(got.ttl, 63);
		CU_ASSERT(!memcmp(got.mac_destination, world->pods[1].mac, 6));
		CU_ASSERT(!memcmp(got.mac_source, world_gateway_mac, 6));
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(drops_short_packet),
		SUITE_TEST(drops_packet_whose_transport_header_lies_in_the_padding),
		SUITE_TEST(drops_unknown_ethertype),
		SUITE_TEST(drops_vlan_tagged),
		SUITE_TEST(drops_packet_of_a_link_without_pod),
		SUITE_TEST(drops_spoofed_source_mac),
		SUITE_TEST(drops_spoofed_source_ip),
		SUITE_TEST(drops_loopback_addresses),
		SUITE_TEST(drops_ipv4_in_ipv6_addresses),
		SUITE_TEST(drops_multicast_and_broadcast),
		SUITE_TEST(answers_arp_for_gateway),
		SUITE_TEST(drops_arp_for_another),
		SUITE_TEST(drops_spoofed_arp),
		SUITE_TEST(answers_neighbour_solicitation),
		SUITE_TEST(drops_solicitation_for_another_or_with_anothers_mac),
		SUITE_TEST(drops_neighbour_advertisement),
		SUITE_TEST(drops_router_advertisement),
		SUITE_TEST(drops_icmp_redirect),
		SUITE_TEST(drops_dhcpv6_server),
		SUITE_TEST(drops_source_routed_packet),
		SUITE_TEST(forwards_harmless_ip_options),
		SUITE_TEST(forwards_between_pods_with_new_macs_and_ttl),
	};

	return SUITE_RUN("what a pod may send", tests);
}
