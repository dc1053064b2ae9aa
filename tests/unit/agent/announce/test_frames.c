/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of what is asked, told and said. */
#include "agent/announce/frames.h"

#include <errno.h>

#include "tests/unit/unit.h"

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
static uint8_t frame[FRAME_MOST];

static struct polder_addr addr(const char *text)
{
	struct polder_addr made = {};

	CU_ASSERT_FATAL(addr_parse(text, &made) == 0);
	return made;
}

/* The ones' complement sum over pseudo header and message is 0xffff where the checksum is right. */
static bool nd_sum_is_right(size_t length)
{
	size_t message = length - 54;
	uint32_t sum = 58 + (uint32_t)message;

	for (size_t i = 22; i < length; i += 2)
		sum += (uint32_t)frame[i] << 8 | frame[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static void probe_of_ipv4_is_an_arp_request_from_nobody(void)
{
	static const uint8_t wanted[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,   0, 0, 0,
					   0,	 9,    8,    6, /* Ethernet */
					   0,	 1,    8,    0,	   6,	 4,    0,   1, 2, 0,
					   0,	 0,    0,    9,	   0,	 0,    0,   0, /* sender */
					   0,	 0,    0,    0,	   0,	 0,    192, 0, 2, 7};
	struct polder_addr one = addr("192.0.2.7");

	CU_ASSERT(frame_probe(frame, mac, &one) == 60);
	CU_ASSERT(memcmp(frame, wanted, sizeof(wanted)) == 0);
}

static void probe_of_ipv6_is_a_solicitation_from_nobody(void)
{
	struct polder_addr one = addr("2001:db8::12:3456"), group = addr("ff02::1:ff12:3456");
	size_t length = frame_probe(frame, mac, &one);

	CU_ASSERT(length == 14 + 40 + 24 && nd_sum_is_right(length));
	CU_ASSERT(memcmp(frame, (uint8_t[6]){0x33, 0x33, 0xff, 0x12, 0x34, 0x56}, 6) == 0);
	CU_ASSERT(frame[21] == 255 && frame[54] == 135);
	CU_ASSERT(memcmp(frame + 22, (uint8_t[16]){0}, 16) == 0);
	CU_ASSERT(memcmp(frame + 38, group.bytes, 16) == 0);
	CU_ASSERT(memcmp(frame + 62, one.bytes, 16) == 0);
}

static void all_hosts_are_told_in_both_forms_of_arp(void)
{
	struct polder_addr one = addr("192.0.2.7"), read;
	uint8_t read_mac[6];

	for (int answer = 0; answer < 2; answer++) {
		CU_ASSERT(frame_tell(frame, mac, &one, answer) == 60);
		CU_ASSERT(frame[21] == (answer ? 2 : 1));
		CU_ASSERT(memcmp(frame, (uint8_t[6]){255, 255, 255, 255, 255, 255}, 6) == 0);
		CU_ASSERT(memcmp(frame + 22, mac, 6) == 0);
		CU_ASSERT(memcmp(frame + 28, one.bytes + 12, 4) == 0 &&
			  memcmp(frame + 38, one.bytes + 12, 4) == 0);
	}
	CU_ASSERT(frame_read_arp(frame, 42, &read, read_mac) == 0);
	CU_ASSERT(memcmp(&read, &one, sizeof(one)) == 0 && memcmp(read_mac, mac, 6) == 0);
	CU_ASSERT(frame_read_arp(frame, 41, &read, read_mac) == -EINVAL);
	frame[21] = 1;
	CU_ASSERT(frame_read_arp(frame, 42, &read, read_mac) == -EINVAL);
}

static void all_hosts_are_told_by_an_advertisement_that_overrides(void)
{
	struct polder_addr one = addr("2001:db8::7"), group = addr("ff02::1"), read;
	size_t length = frame_tell(frame, mac, &one, false);
	uint8_t read_mac[6];

	CU_ASSERT(length == 14 + 40 + 32 && nd_sum_is_right(length));
	CU_ASSERT(memcmp(frame, (uint8_t[6]){0x33, 0x33, 0, 0, 0, 1}, 6) == 0);
	CU_ASSERT(memcmp(frame + 38, group.bytes, 16) == 0 && frame[21] == 255);
	CU_ASSERT(frame[54] == 136 && frame[58] == 0x20);
	CU_ASSERT(frame_read_advertisement(frame + 54, 32, &read, read_mac) == 0);
	CU_ASSERT(memcmp(&read, &one, sizeof(one)) == 0 && memcmp(read_mac, mac, 6) == 0);
	/* One without an option says that somebody is there, not who. */
	CU_ASSERT(frame_read_advertisement(frame + 54, 24, &read, read_mac) == 0);
	CU_ASSERT(memcmp(read_mac, (uint8_t[6]){0}, 6) == 0);
	CU_ASSERT(frame_read_advertisement(frame + 54, 23, &read, read_mac) == -EINVAL);
	frame[54] = 135;
	CU_ASSERT(frame_read_advertisement(frame + 54, 32, &read, read_mac) == -EINVAL);
}

static struct frame_words some_words(size_t count)
{
	struct frame_words words = {.node = "node-1.example", .count = count};

	for (size_t i = 0; i < count; i++)
		words.entries[i] = (struct claim_entry){.addr = addr("192.0.2.1"),
							.term = 0x0102030405060708 + i,
							.since = 1700000000 + (int64_t)i,
							.word = 1 + i % 3};
	return words;
}

static void words_are_read_as_they_were_written(void)
{
	for (size_t count = 0; count <= FRAME_WORDS_MOST; count++) {
		struct frame_words words = some_words(count), read = {};
		size_t length = frame_words_write(frame, mac, &words);

		CU_ASSERT(length >= 60 && length <= FRAME_MOST);
		CU_ASSERT(frame_words_read(frame, length, &read) == 0);
		CU_ASSERT(strcmp(read.node, words.node) == 0 && read.count == count);
		for (size_t i = 0; i < count; i++)
			CU_ASSERT(memcmp(&read.entries[i].addr, &words.entries[i].addr, 16) == 0 &&
				  read.entries[i].term == words.entries[i].term &&
				  read.entries[i].since == words.entries[i].since &&
				  read.entries[i].word == words.entries[i].word);
	}
}

static void words_that_are_cut_or_of_others_are_refused(void)
{
	struct frame_words words = some_words(3), read;
	size_t length = frame_words_write(frame, mac, &words);

	for (size_t i = 0; i < length; i++)
		CU_ASSERT(frame_words_read(frame, i, &read) == -EINVAL);
	frame[18] = 2;
	CU_ASSERT(frame_words_read(frame, length, &read) == -EPROTONOSUPPORT);
	frame[18] = 1;
	frame[19] = 254;
	CU_ASSERT(frame_words_read(frame, FRAME_MOST, &read) == -EINVAL);
	frame[19] = 0;
	CU_ASSERT(frame_words_read(frame, FRAME_MOST, &read) == -EINVAL);
	frame[19] = 14;
	frame[20] = FRAME_WORDS_MOST + 1;
	CU_ASSERT(frame_words_read(frame, FRAME_MOST, &read) == -EINVAL);
	frame[20] = 3;
	frame[14] ^= 1;
	CU_ASSERT(frame_words_read(frame, length, &read) == -EINVAL);
	frame[14] ^= 1;
	frame[13] = 0xb6;
	CU_ASSERT(frame_words_read(frame, length, &read) == -EINVAL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(probe_of_ipv4_is_an_arp_request_from_nobody),
		UNIT_TEST(probe_of_ipv6_is_a_solicitation_from_nobody),
		UNIT_TEST(all_hosts_are_told_in_both_forms_of_arp),
		UNIT_TEST(all_hosts_are_told_by_an_advertisement_that_overrides),
		UNIT_TEST(words_are_read_as_they_were_written),
		UNIT_TEST(words_that_are_cut_or_of_others_are_refused),
	};

	return UNIT_RUN("frames", tests);
}
