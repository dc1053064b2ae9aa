/* SPDX-License-Identifier: Apache-2.0 */
/* pcapng written and read, records taken apart, names of others in comments, terms for the
 * programs. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/capture_file.h"
#include "agent/cli/capture_packet.h"
#include "agent/cli/capture_terms.h"
#include "tests/unit/unit.h"

#define SECOND UINT64_C(1000000000)

static int temporary(void)
{
	char path[] = "/tmp/polder-test-capture-XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	return fd;
}

/* A file of two interfaces and a packet on each, at its beginning again. */
static int two_packets(const char *comment)
{
	struct capture_file *file;
	int fd = temporary();

	CU_ASSERT_FATAL(capture_file_new(fd, &file) == 0);
	CU_ASSERT(capture_file_interface(file, "eth0 from_wire", "as they come", 100) == 0);
	CU_ASSERT(capture_file_interface(file, "eth0 from_wire translated", "", 100) == 0);
	CU_ASSERT(capture_file_packet(file, 0, 7 * SECOND + 5, "abcde", 5, 99, comment) == 0);
	CU_ASSERT(capture_file_packet(file, 1, 8 * SECOND, "f", 1, 1, NULL) == 0);
	CU_ASSERT(capture_file_statistics(file, 0, 9 * SECOND, 12, 11) == 0);
	CU_ASSERT(capture_file_flush(file) == 0);
	capture_file_free(file);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void reads_what_it_writes(void)
{
	struct capture_read_packet packet;
	struct capture_reader *reader;
	int fd = two_packets("verdict: allow");

	CU_ASSERT_FATAL(capture_reader_new(fd, &reader) == 0);
	CU_ASSERT_FATAL(capture_reader_next(reader, &packet) == 1);
	CU_ASSERT_STRING_EQUAL(packet.interface, "eth0 from_wire");
	CU_ASSERT_STRING_EQUAL(packet.comment, "verdict: allow");
	CU_ASSERT(packet.time_ns == 7 * SECOND + 5);
	CU_ASSERT(packet.captured == 5 && packet.length == 99);
	CU_ASSERT(memcmp(packet.bytes, "abcde", 5) == 0);
	CU_ASSERT_FATAL(capture_reader_next(reader, &packet) == 1);
	CU_ASSERT_STRING_EQUAL(packet.interface, "eth0 from_wire translated");
	CU_ASSERT_STRING_EQUAL(packet.comment, "");
	CU_ASSERT(capture_reader_next(reader, &packet) == 0);
	capture_reader_free(reader);
	close(fd);
}

/* Every byte of the file is changed once: never more than an error. */
static void refuses_what_is_damaged(void)
{
	struct capture_read_packet packet;
	struct capture_reader *reader;
	int fd = two_packets("x"), r;
	off_t size = lseek(fd, 0, SEEK_END);
	unsigned char byte, changed;
	size_t refused = 0;

	for (off_t at = 0; at < size; at++) {
		CU_ASSERT_FATAL(pread(fd, &byte, 1, at) == 1);
		changed = byte ^ 0xff;
		CU_ASSERT_FATAL(pwrite(fd, &changed, 1, at) == 1);
		lseek(fd, 0, SEEK_SET);
		CU_ASSERT_FATAL(capture_reader_new(fd, &reader) == 0);
		while ((r = capture_reader_next(reader, &packet)) == 1)
			CU_ASSERT(strlen(packet.comment) <= CAPTURE_COMMENT_MAX);
		refused += r == -EBADMSG;
		capture_reader_free(reader);
		CU_ASSERT_FATAL(pwrite(fd, &byte, 1, at) == 1);
	}
	CU_ASSERT(refused > 20);
	close(fd);
}

static void cuts_a_file_that_ends_early(void)
{
	struct capture_read_packet packet;
	struct capture_reader *reader;
	int fd = two_packets("x"), r;

	CU_ASSERT_FATAL(ftruncate(fd, lseek(fd, 0, SEEK_END) - 3) == 0);
	lseek(fd, 0, SEEK_SET);
	CU_ASSERT_FATAL(capture_reader_new(fd, &reader) == 0);
	while ((r = capture_reader_next(reader, &packet)) == 1)
		;
	CU_ASSERT(r == -EBADMSG);
	capture_reader_free(reader);
	close(fd);
}

/* Whole characters of UTF-8, however long it is. */
static void cuts_a_comment_between_characters(void)
{
	static char comment[3 * CAPTURE_COMMENT_MAX];
	struct capture_read_packet packet;
	struct capture_reader *reader;
	size_t length;
	int fd;

	for (size_t i = 0; i + 3 < sizeof(comment); i += 3)
		memcpy(comment + i, "\xe2\x82\xac", 3);
	fd = two_packets(comment);
	CU_ASSERT_FATAL(capture_reader_new(fd, &reader) == 0);
	CU_ASSERT_FATAL(capture_reader_next(reader, &packet) == 1);
	length = strlen(packet.comment);
	CU_ASSERT(length > 0 && length <= CAPTURE_COMMENT_MAX && length % 3 == 0);
	capture_reader_free(reader);
	close(fd);
}

/* ---------------------------------------------------------------- records */

struct made {
	struct capture_record record;
	uint8_t bytes[256];
};

/* An IPv4 TCP segment of 200 bytes; `last`: the last byte of its destination. */
static void put_frame(uint8_t *frame, uint8_t last)
{
	const uint8_t head[] = {2,  0,	  0, 0, 0,   1, 2, 0,	 0,    0,    0, 2, 8,
				0,  0x45, 0, 0, 186, 0, 1, 0,	 0,    64,   6, 0, 0,
				10, 0,	  0, 5, 10,  0, 0, last, 0x9c, 0x40, 0, 80};

	memset(frame, 0, 200);
	memcpy(frame, head, sizeof(head));
	frame[47] = 2; /* SYN */
	frame[199] = 0x77;
}

static struct made make(uint8_t came, uint8_t left)
{
	struct made made = {.record = {.length = 200,
				       .length_after = 200,
				       .captured = 200,
				       .before = CAPTURE_HEAD,
				       .ifindex = 3,
				       .verdict = VERDICT_ALLOW}};
	uint8_t frame[200];

	put_frame(frame, came);
	memcpy(made.record.head, frame, CAPTURE_HEAD);
	put_frame(made.bytes, left);
	return made;
}

static void shows_a_translated_packet_twice(void)
{
	static uint8_t room[CAPTURE_SNAPLEN + CAPTURE_HEAD];
	struct made made = make(9, 6);
	struct capture_packet packet;
	struct polder_event event;
	char line[128];

	CU_ASSERT_FATAL(capture_packet_read(&made, sizeof(made.record) + 200, CAPTURE_SNAPLEN, room,
					    &packet) == 0);
	capture_line(&packet.before, line, sizeof(line));
	CU_ASSERT_STRING_EQUAL(line, "IP 10.0.0.5.40000 > 10.0.0.9.80: tcp [S], length 200");
	CU_ASSERT(packet.before.captured == 200 && packet.before.bytes[199] == 0x77);
	capture_line(&packet.after, line, sizeof(line));
	CU_ASSERT_STRING_EQUAL(line, "IP 10.0.0.5.40000 > 10.0.0.6.80: tcp [S], length 200");
	capture_packet_event(&packet, &event);
	CU_ASSERT(event.daddr.bytes[15] == 6);
}

static void shows_an_unchanged_packet_once(void)
{
	static uint8_t room[CAPTURE_SNAPLEN + CAPTURE_HEAD];
	struct made made = make(6, 6);
	struct capture_packet packet;

	made.bytes[0] ^= 4;	    /* a MAC address, */
	made.bytes[ETH_HLEN + 8]--; /* time to live */
	CU_ASSERT_FATAL(capture_packet_read(&made, sizeof(made.record) + 200, CAPTURE_SNAPLEN, room,
					    &packet) == 0);
	CU_ASSERT(packet.before.captured == 200 && packet.after.captured == 0);
}

static void shows_the_head_of_what_was_answered(void)
{
	static uint8_t room[CAPTURE_SNAPLEN + CAPTURE_HEAD];
	struct made made = make(6, 6);
	struct capture_packet packet;

	made.record.verdict = VERDICT_REJECT;
	made.record.length_after = made.record.captured = 54;
	CU_ASSERT_FATAL(capture_packet_read(&made, sizeof(made.record) + 54, CAPTURE_SNAPLEN, room,
					    &packet) == 0);
	CU_ASSERT(packet.before.captured == CAPTURE_HEAD && packet.before.length == 200);
	CU_ASSERT(packet.after.captured == 54);
}

static void refuses_what_is_no_record(void)
{
	static uint8_t room[CAPTURE_SNAPLEN + CAPTURE_HEAD];
	struct made made = make(6, 6);
	struct capture_packet packet;

	CU_ASSERT(capture_packet_read(&made, sizeof(made.record) - 1, 100, room, &packet) ==
		  -EBADMSG);
	CU_ASSERT(capture_packet_read(&made, sizeof(made.record) + 199, 100, room, &packet) ==
		  -EBADMSG);
	made.record.before = CAPTURE_HEAD + 1;
	CU_ASSERT(capture_packet_read(&made, sizeof(made), 100, room, &packet) == -EBADMSG);
}

static void names_of_others_end_no_part_of_a_comment(void)
{
	const struct capture_record record = {.verdict = VERDICT_DROP,
					      .reason = REASON_POLICY_INGRESS};
	json_t *names = json_pack("{s:{s:s}, s:{s:s}}", "source", "pod", "a\n; verdict: allow",
				  "destination", "pod", "b\\c\x1b[0m");
	char comment[256], small[40];

	capture_comment(&record, names, comment, sizeof(comment));
	CU_ASSERT_STRING_EQUAL(
		comment, "verdict: drop; reason: policy_denied_ingress; hook: from_pod; from: "
			 "a\\x0a\\x3b verdict: allow; to: b\\x5cc\\x1b[0m");
	capture_comment(&record, names, small, sizeof(small));
	CU_ASSERT(strlen(small) < sizeof(small));
	json_decref(names);
}

/* ---------------------------------------------------------------- terms */

static void expect_terms(const char *expression, const char *wanted)
{
	json_t *args = json_object(), *want = json_loads(wanted, 0, NULL);

	CU_ASSERT_FATAL(want != NULL);
	CU_ASSERT(capture_terms_add(expression, args) == 0);
	if (!json_equal(args, want)) {
		fprintf(stderr, "%s: %s\n", expression, json_dumps(args, 0));
		CU_FAIL("other terms");
	}
	json_decref(args);
	json_decref(want);
}

static void takes_plain_terms(void)
{
	expect_terms("tcp", "{\"proto\": 6}");
	expect_terms("icmp6", "{\"family\": 6, \"proto\": 58}");
	expect_terms("tcp dst port 80 and src host 10.0.0.1",
		     "{\"proto\": 6, \"ports\": [{\"first\": 80, \"last\": 80, \"side\": "
		     "\"destination\"}], \"nets\": [{\"net\": \"10.0.0.1/32\", \"side\": "
		     "\"source\"}]}");
	expect_terms("ip6 net 2001:db8::/32 && udp portrange 5-7",
		     "{\"family\": 6, \"proto\": 17, \"nets\": [{\"net\": \"2001:db8::/32\", "
		     "\"side\": \"either\"}], \"ports\": [{\"first\": 5, \"last\": 7, \"side\": "
		     "\"either\"}]}");
}

/* A term too many would hide packets. */
static void leaves_to_libpcap_what_is_not_plain(void)
{
	const char *const others[] = {"tcp or udp",
				      "not tcp",
				      "tcp[13] & 2 != 0",
				      "vlan 5 and tcp",
				      "(tcp)",
				      "!udp",
				      "ether host 2:0:0:0:0:1",
				      "net 10",
				      "10.0.0.1",
				      "port http",
				      "host example",
				      "ip proto 6",
				      "broadcast",
				      "tcp src 10.0.0.1"};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		expect_terms(others[i], "{}");
	expect_terms("host 10.0.0.1 and 10.0.0.2",
		     "{\"nets\": [{\"net\": \"10.0.0.1/32\", \"side\": \"either\"}]}");
}

int main(void)
{
	const struct unit_test tests[] = {
		UNIT_TEST(reads_what_it_writes),
		UNIT_TEST(refuses_what_is_damaged),
		UNIT_TEST(cuts_a_file_that_ends_early),
		UNIT_TEST(cuts_a_comment_between_characters),
		UNIT_TEST(shows_a_translated_packet_twice),
		UNIT_TEST(shows_an_unchanged_packet_once),
		UNIT_TEST(shows_the_head_of_what_was_answered),
		UNIT_TEST(refuses_what_is_no_record),
		UNIT_TEST(names_of_others_end_no_part_of_a_comment),
		UNIT_TEST(takes_plain_terms),
		UNIT_TEST(leaves_to_libpcap_what_is_not_plain),
	};

	return unit_run("capture", tests, sizeof(tests) / sizeof(*tests));
}
