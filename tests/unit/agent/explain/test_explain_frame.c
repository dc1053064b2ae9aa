/* SPDX-License-Identifier: Apache-2.0 */
/* The made packets: what a receiver's kernel would take, and the flow they open. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "agent/explain/explain_frame.h"
#include "tests/unit/unit.h"

#define ETHERNET 14

static uint8_t frame[EXPLAIN_FRAME_MAX];

static size_t make(uint8_t proto, uint8_t family, struct explain_frame *ret)
{
	*ret = (struct explain_frame){.from_mac = {2, 0, 0, 0, 0, 1},
				      .to_mac = {2, 0, 0, 0, 0, 2},
				      .family = family,
				      .proto = proto,
				      .source_port = 40001,
				      .port = 443};
	addr_parse(family == FAMILY_V4 ? "10.0.0.1" : "fd00::1", &ret->source);
	addr_parse(family == FAMILY_V4 ? "10.0.0.2" : "fd00::2", &ret->destination);
	return explain_frame_make(ret, frame);
}

static uint32_t add(const uint8_t *at, size_t length, uint32_t sum)
{
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What a receiver does: everything, the checksum too, must add up to all ones. */
static bool adds_up(const struct explain_frame *made, size_t length, bool with_addresses)
{
	size_t ip = made->family == FAMILY_V4 ? 20 : 40,
	       address = made->family == FAMILY_V4 ? 4 : 16;
	size_t payload = length - ETHERNET - ip;
	uint32_t sum = 0;

	if (with_addresses)
		sum = add(frame + ETHERNET + ip - 2 * address, 2 * address,
			  made->proto + (uint32_t)payload);
	return add(frame + ETHERNET + ip, payload, sum) == 0xffff;
}

static void checksums_are_right(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};
	struct explain_frame made;
	size_t length;

	for (uint8_t family = FAMILY_V4; family <= FAMILY_V6; family += 2)
		for (size_t i = 0; i < sizeof(protos); i++) {
			length = make(protos[i], family, &made);
			CU_ASSERT(adds_up(&made, length, true));
			frame[length - 1] ^= 1;
			CU_ASSERT_FALSE(adds_up(&made, length, true));
		}
	length = make(IPPROTO_ICMP, FAMILY_V4, &made);
	CU_ASSERT(adds_up(&made, length, false));
	CU_ASSERT_EQUAL(add(frame + ETHERNET, 20, 0), 0xffff);
	length = make(IPPROTO_ICMPV6, FAMILY_V6, &made);
	CU_ASSERT(adds_up(&made, length, true));
}

static void lengths_and_types_are_right(void)
{
	struct explain_frame made;

	CU_ASSERT_EQUAL(make(IPPROTO_TCP, FAMILY_V4, &made), ETHERNET + 20 + 20);
	CU_ASSERT(frame[12] == 0x08 && frame[13] == 0x00);
	CU_ASSERT(frame[16] == 0 && frame[17] == 40);
	CU_ASSERT_EQUAL(frame[ETHERNET + 20 + 13], 0x02); /* SYN alone */
	CU_ASSERT_EQUAL(make(IPPROTO_UDP, FAMILY_V6, &made), ETHERNET + 40 + 8);
	CU_ASSERT(frame[12] == 0x86 && frame[13] == 0xdd && frame[ETHERNET + 5] == 8);
	CU_ASSERT_EQUAL(make(IPPROTO_SCTP, FAMILY_V4, &made), ETHERNET + 20 + 32);
	CU_ASSERT_EQUAL(frame[ETHERNET + 20 + 12], 1); /* INIT */
	make(IPPROTO_ICMPV6, FAMILY_V6, &made);
	CU_ASSERT_EQUAL(frame[ETHERNET + 40], 128);
}

static void the_flow_is_the_packets_own(void)
{
	struct explain_frame made;
	struct flow_tuple tuple;

	make(IPPROTO_TCP, FAMILY_V4, &made);
	explain_frame_tuple(&made, ZONE_POD, &tuple);
	CU_ASSERT(tuple.sport_be == htons(40001) && tuple.dport_be == htons(443) &&
		  tuple.proto == IPPROTO_TCP);
	CU_ASSERT(tuple.v4.saddr_be == htonl(0x0a000001) && tuple.v4.daddr_be == htonl(0x0a000002));
	make(IPPROTO_ICMPV6, FAMILY_V6, &made);
	explain_frame_tuple(&made, ZONE_WIRE, &tuple);
	CU_ASSERT(tuple.sport_be == htons(40001) && tuple.dport_be == htons(128 << 8) &&
		  tuple.zone == ZONE_WIRE);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(checksums_are_right),
		UNIT_TEST(lengths_and_types_are_right),
		UNIT_TEST(the_flow_is_the_packets_own),
	};

	return UNIT_RUN("explain_frame", tests);
}
