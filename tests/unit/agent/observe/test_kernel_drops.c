/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel dropped, in words and counted. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/observe/kernel_drop_tally.h"
#include "tests/unit/unit.h"

static struct polder_addr addr_of(const char *text)
{
	struct polder_addr addr = {0};

	CU_ASSERT_EQUAL_FATAL(addr_parse(text, &addr), 0);
	return addr;
}

/* 10.0.x.y and fd00::… are pods, by their address. */
static int name_pod(const struct polder_addr *addr, char *buffer, size_t size, void *data)
{
	char text[INET6_ADDRSTRLEN];

	(void)data;
	addr_format(addr, text);
	if (strncmp(text, "10.0.", 5) != 0 && strncmp(text, "fd00:", 5) != 0)
		return -ENOENT;
	snprintf(buffer, size, "demo/%s", text);
	return 0;
}

static const struct compiled_selection *isolate_nobody(const struct polder_addr *addr, bool egress,
						       void *data)
{
	return NULL;
}

static const struct event_names names = {.pod = name_pod, .isolation = isolate_nobody};

static const char *name_reason(uint32_t reason, char buffer[KERNEL_REASON_NAME_MAX],
			       const void *data)
{
	if (reason == 3)
		return "NO_SOCKET";
	snprintf(buffer, KERNEL_REASON_NAME_MAX, "REASON_%u", reason);
	return buffer;
}

/* UDP without a socket. `told` points to `drop`. */
static void fill(const char *from, const char *to, enum kernel_drop_place place,
		 struct kernel_drop *drop, struct kernel_drop_told *told)
{
	struct polder_addr source = addr_of(from), destination = addr_of(to);

	*drop = (struct kernel_drop){.reason = 3,
				     .place = place,
				     .location = 0xffffffff81234567,
				     .device = "eth0",
				     .saddr = source,
				     .daddr = destination};
	*told = (struct kernel_drop_told){
		.drop = drop,
		.reason = "NO_SOCKET",
		.event = {.type = EVENT_DROP,
			  .family = addr_is_v4(&source) ? FAMILY_V4 : FAMILY_V6,
			  .proto = IPPROTO_UDP,
			  .saddr = source,
			  .daddr = destination,
			  .sport_be = htons(40000),
			  .dport_be = htons(53)},
	};
}

static const char *text_of(const json_t *document, const char *key)
{
	const char *text = json_string_value(json_object_get(document, key));

	return text ? text : "";
}

static void a_drop_says_why_where_and_whose(void)
{
	static const struct {
		const char *from, *to, *where;
		enum kernel_drop_place place;
	} cases[] = {
		{"10.0.0.2", "10.0.0.3", "pod demo/10.0.0.3", KERNEL_DROP_RECEIVER},
		{"10.0.0.2", "10.0.0.3", "pod demo/10.0.0.2", KERNEL_DROP_SENDER},
		{"10.0.0.2", "192.0.2.1", "node", KERNEL_DROP_NODE},
		{"fd00::2", "fd00::3", "pod demo/fd00::3", KERNEL_DROP_RECEIVER},
	};
	struct kernel_drop drop;
	struct kernel_drop_told told;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *document;

		fill(cases[i].from, cases[i].to, cases[i].place, &drop, &told);
		document = kernel_drop_document(&told, &names);
		CU_ASSERT_FATAL(document != NULL);
		CU_ASSERT_STRING_EQUAL(text_of(document, "type"), "kernel_drop");
		CU_ASSERT_STRING_EQUAL(text_of(document, "reason"), "kernel:NO_SOCKET");
		CU_ASSERT_STRING_EQUAL(text_of(document, "verdict"), "drop");
		CU_ASSERT_STRING_EQUAL(text_of(document, "hook"), "kernel");
		CU_ASSERT_STRING_EQUAL(text_of(document, "link"), "eth0");
		CU_ASSERT_STRING_EQUAL(text_of(document, "place"), cases[i].where);
		CU_ASSERT_STRING_EQUAL(text_of(document, "location"), "0xffffffff81234567");
		CU_ASSERT_STRING_EQUAL(text_of(json_object_get(document, "source"), "ip"),
				       cases[i].from);
		json_decref(document);
	}
}

/* A name fills the kernel's field whole, without an end. */
static void a_devices_longest_name_is_whole(void)
{
	struct kernel_drop drop;
	struct kernel_drop_told told;
	json_t *document;

	fill("10.0.0.2", "10.0.0.3", KERNEL_DROP_NODE, &drop, &told);
	memcpy(drop.device, "0123456789abcdef", sizeof(drop.device));
	document = kernel_drop_document(&told, &names);
	CU_ASSERT_STRING_EQUAL(text_of(document, "link"), "0123456789abcdef");
	json_decref(document);
}

static json_t *answer_of(const struct kernel_tally *tally, uint64_t no_socket,
			 const struct flow_filter *filter)
{
	uint64_t counts[KERNEL_DROP_COUNTS] = {[3] = no_socket};

	return kernel_tally_document(tally, counts, filter, name_reason, NULL);
}

static void rows_have_reason_direction_and_pod_in_common(void)
{
	struct kernel_tally *tally = kernel_tally_new(&names);
	const uint64_t begun[KERNEL_DROP_COUNTS] = {[3] = 100};
	struct kernel_drop drop;
	struct kernel_drop_told told;
	json_t *answer, *rows, *reason;

	kernel_tally_begin(tally, begun);
	for (int i = 0; i < 3; i++) {
		fill("10.0.0.2", "10.0.0.3", KERNEL_DROP_RECEIVER, &drop, &told);
		kernel_tally_add(tally, &told);
	}
	fill("10.0.0.3", "192.0.2.1", KERNEL_DROP_NODE, &drop, &told);
	kernel_tally_add(tally, &told);
	kernel_tally_missed(tally, 2, 5);
	answer = answer_of(tally, 111, NULL);
	rows = json_object_get(answer, "drops");
	CU_ASSERT_EQUAL(json_array_size(rows), 2);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_array_get(rows, 0), "packets")), 3);
	CU_ASSERT_STRING_EQUAL(text_of(json_array_get(rows, 0), "direction"), "to_pod");
	CU_ASSERT_STRING_EQUAL(text_of(json_array_get(rows, 1), "direction"), "from_pod");
	CU_ASSERT_STRING_EQUAL(text_of(json_array_get(rows, 1), "pod"), "demo/10.0.0.3");
	reason = json_array_get(json_object_get(answer, "reasons"), 0);
	/* The kernel's count is exact, and since it began. */
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(reason, "packets")), 11);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(reason, "told")), 4);
	CU_ASSERT_STRING_EQUAL(text_of(reason, "means"), "nothing listens on the port");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "lost_events")), 2);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "limited_events")), 5);
	json_decref(answer);
	kernel_tally_free(tally);
}

static void reasons_that_nobody_wants_are_left_out(void)
{
	struct kernel_tally *tally = kernel_tally_new(&names);
	json_t *question = json_pack("{s:s}", "reason", "kernel:TCP_CSUM"), *answer;
	struct flow_filter *filter = NULL;
	struct error error;

	CU_ASSERT_EQUAL_FATAL(flow_filter_parse(question, &filter, &error), 0);
	answer = answer_of(tally, 7, filter);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer, "reasons")), 0);
	json_decref(answer);
	flow_filter_free(filter);
	json_decref(question);
	kernel_tally_free(tally);
}

/* A scan of all addresses takes no more memory than that. */
static void rows_that_were_idle_for_longest_make_room(void)
{
	struct kernel_tally *tally = kernel_tally_new(&names);
	struct kernel_drop drop;
	struct kernel_drop_told told;
	char address[32];
	json_t *answer;

	for (int i = 0; i < KERNEL_TALLY_ROWS + 10; i++) {
		snprintf(address, sizeof(address), "10.0.%d.%d", i / 200, i % 200);
		fill("192.0.2.1", address, KERNEL_DROP_RECEIVER, &drop, &told);
		kernel_tally_add(tally, &told);
	}
	answer = answer_of(tally, KERNEL_TALLY_ROWS + 10, NULL);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer, "drops")), KERNEL_TALLY_ROWS);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "rows_left_out")), 10);
	json_decref(answer);
	kernel_tally_free(tally);
}

static void a_reason_without_words_of_ours_has_some_all_the_same(void)
{
	CU_ASSERT_PTR_NOT_NULL(strstr(kernel_drop_meaning("SOMETHING_NEW"), "dropreason"));
	CU_ASSERT(*kernel_drop_remedy("SOMETHING_NEW") != '\0');
	CU_ASSERT_PTR_NOT_NULL(strstr(kernel_drop_remedy("NETFILTER_DROP"), "nft"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_drop_says_why_where_and_whose),
		UNIT_TEST(a_devices_longest_name_is_whole),
		UNIT_TEST(rows_have_reason_direction_and_pod_in_common),
		UNIT_TEST(reasons_that_nobody_wants_are_left_out),
		UNIT_TEST(rows_that_were_idle_for_longest_make_room),
		UNIT_TEST(a_reason_without_words_of_ours_has_some_all_the_same),
	};

	return UNIT_RUN("kernel_drops", tests);
}
