/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that this node announces on an uplink: who asks there is answered, nobody else. */
#include <time.h>

#include "suite.h"

#define OTHER_LINK (WORLD_UPLINK + 1)

static const char *const announced[2] = {"192.0.2.100", "2001:db8:2::100"};
static const char *const asker[2] = {"192.0.2.1", "2001:db8:2::1"};
static const uint8_t own_mac[6] = {2, 0, 0, 0, 7, 7};
static const uint8_t asker_mac[6] = {2, 0, 0, 0, 8, 8};

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* For so long, in seconds, from now on. */
static void announce(uint32_t link, int seconds)
{
	struct announced entry = {.until_ns = boot_ns() + seconds * 1000000000ll, .ifindex = link};

	memcpy(entry.mac, own_mac, 6);
	EACH_VERSION(v)
	{
		struct polder_addr key = addr(announced[v]);

		world_set(world, "announced", &key, &entry);
	}
}

static struct world_result send_frame(const struct frame *frame)
{
	return world_run(world, HOOK_FROM_WIRE, WORLD_UPLINK, WORLD_UPLINK, frame);
}

static struct world_result ask_arp(uint8_t operation, const char *from, const char *target)
{
	struct polder_addr sender = addr(from), wanted = addr(target);
	struct frame frame = {.length = 60}; /* padded, as on a wire */
	uint8_t *b = frame.bytes;

	memset(b, 0xff, 6);
	memcpy(b + 6, asker_mac, 6);
	memcpy(b + 12, (uint8_t[10]){8, 6, 0, 1, 8, 0, 6, 4, 0, operation}, 10);
	memcpy(b + 22, asker_mac, 6);
	memcpy(b + 28, sender.bytes + 12, 4);
	memcpy(b + 38, wanted.bytes + 12, 4);
	return send_frame(&frame);
}

static struct world_result ask_nd(const char *from, const char *target, uint8_t ttl)
{
	struct frame_spec spec = spec_of_wire(from, "ff02::1:ff00:100", IPPROTO_ICMPV6, 0, 0);
	bool looks = !strcmp(from, "::"); /* whether it is free: without an option */
	struct polder_addr wanted = addr(target);
	uint8_t payload[24] = {0};
	struct frame frame;

	memcpy(payload, wanted.bytes, 16);
	payload[16] = payload[17] = 1;
	memcpy(payload + 18, asker_mac, 6);
	memcpy(spec.mac_source, asker_mac, 6);
	spec.icmp_type = 135;
	spec.ttl = ttl;
	spec.payload = payload;
	spec.payload_length = looks ? 16 : 24;
	frame_make(&frame, &spec);
	return send_frame(&frame);
}

static bool is_arp_answer(const struct world_result *r, const char *to)
{
	struct polder_addr own = addr(announced[V4]), asked = addr(to);
	const uint8_t *b = r->out.bytes;

	return r->verdict == TC_ACT_REDIRECT && !r->drops && !memcmp(b, asker_mac, 6) &&
	       !memcmp(b + 6, own_mac, 6) && b[20] == 0 && b[21] == 2 &&
	       !memcmp(b + 22, own_mac, 6) && !memcmp(b + 28, own.bytes + 12, 4) &&
	       !memcmp(b + 32, asker_mac, 6) && !memcmp(b + 38, asked.bytes + 12, 4);
}

static bool left_to_the_stack(const struct world_result *r)
{
	return r->verdict == TC_ACT_OK && !r->drops;
}

static void answers_arp_for_an_announced_address(void)
{
	struct world_result r;

	announce(WORLD_UPLINK, 60);
	r = ask_arp(1, asker[V4], announced[V4]);
	CU_ASSERT(is_arp_answer(&r, asker[V4]));
	/* Who only looks whether it is free (RFC 5227). */
	r = ask_arp(1, "0.0.0.0", announced[V4]);
	CU_ASSERT(is_arp_answer(&r, "0.0.0.0"));
}

static void answers_a_solicitation_for_an_announced_address(void)
{
	struct world_result r;
	struct frame_spec spec;

	announce(WORLD_UPLINK, 60);
	r = ask_nd(asker[V6], announced[V6], 255);
	spec = seen(&r);
	CU_ASSERT(r.verdict == TC_ACT_REDIRECT && !r.drops && frame_sums_right(&r.out));
	CU_ASSERT(spec.icmp_type == 136 && spec.ttl == 255);
	CU_ASSERT(seen_ends(&r, announced[V6], 0x6000, asker[V6], 0)); /* solicited, override */
	CU_ASSERT(!memcmp(spec.payload, addr(announced[V6]).bytes, 16));
	CU_ASSERT(!memcmp((const uint8_t *)spec.payload + 18, own_mac, 6));
	CU_ASSERT(!memcmp(spec.mac_destination, asker_mac, 6) &&
		  !memcmp(spec.mac_source, own_mac, 6));
}

/* RFC 4862: who looks whether the address is free hears it on all nodes' group. */
static void tells_all_nodes_when_somebody_looks_whether_the_address_is_free(void)
{
	struct world_result r;
	struct frame_spec spec;

	announce(WORLD_UPLINK, 60);
	r = ask_nd("::", announced[V6], 255);
	spec = seen(&r);
	CU_ASSERT(r.verdict == TC_ACT_REDIRECT && !r.drops && frame_sums_right(&r.out));
	CU_ASSERT(seen_ends(&r, announced[V6], 0x2000, "ff02::1", 0));
	CU_ASSERT(!memcmp(spec.mac_destination, (uint8_t[6]){0x33, 0x33, 0, 0, 0, 1}, 6));
}

static void leaves_questions_for_others_to_the_stack(void)
{
	struct world_result r;

	announce(WORLD_UPLINK, 60);
	r = ask_arp(1, asker[V4], node[V4]);
	CU_ASSERT(left_to_the_stack(&r));
	r = ask_arp(2, asker[V4], announced[V4]);
	CU_ASSERT(left_to_the_stack(&r));
	/* Gratuitous: another announcer tells of itself. */
	r = ask_arp(1, announced[V4], announced[V4]);
	CU_ASSERT(left_to_the_stack(&r));
	r = ask_nd(asker[V6], node[V6], 255);
	CU_ASSERT(left_to_the_stack(&r));
	/* Routed: from beyond the link. */
	r = ask_nd(asker[V6], announced[V6], 254);
	CU_ASSERT(left_to_the_stack(&r));
}

static void is_silent_on_another_uplink(void)
{
	struct world_result r;

	announce(OTHER_LINK, 60);
	r = ask_arp(1, asker[V4], announced[V4]);
	CU_ASSERT(left_to_the_stack(&r));
	r = ask_nd(asker[V6], announced[V6], 255);
	CU_ASSERT(left_to_the_stack(&r));
}

static void is_silent_when_the_agent_has_not_prolonged_it(void)
{
	struct world_result r;

	announce(WORLD_UPLINK, -1);
	r = ask_arp(1, asker[V4], announced[V4]);
	CU_ASSERT(left_to_the_stack(&r));
	r = ask_nd(asker[V6], announced[V6], 255);
	CU_ASSERT(left_to_the_stack(&r));
}

static void passes_arp_that_is_cut_or_of_other_hardware(void)
{
	struct frame frame = {.length = 20};
	struct world_result r;

	announce(WORLD_UPLINK, 60);
	memset(frame.bytes, 0xff, 6);
	memcpy(frame.bytes + 12, (uint8_t[8]){8, 6, 0, 1, 8, 0, 6, 4}, 8);
	r = send_frame(&frame);
	CU_ASSERT(left_to_the_stack(&r));
	frame.length = 42;
	frame.bytes[15] = 6; /* IEEE 802 */
	frame.bytes[21] = 1;
	memcpy(frame.bytes + 38, addr(announced[V4]).bytes + 12, 4);
	r = send_frame(&frame);
	CU_ASSERT(left_to_the_stack(&r));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(answers_arp_for_an_announced_address),
		SUITE_TEST(answers_a_solicitation_for_an_announced_address),
		SUITE_TEST(tells_all_nodes_when_somebody_looks_whether_the_address_is_free),
		SUITE_TEST(leaves_questions_for_others_to_the_stack),
		SUITE_TEST(is_silent_on_another_uplink),
		SUITE_TEST(is_silent_when_the_agent_has_not_prolonged_it),
		SUITE_TEST(passes_arp_that_is_cut_or_of_other_hardware),
	};

	return SUITE_RUN("announce", tests);
}
