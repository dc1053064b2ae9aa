/* SPDX-License-Identifier: Apache-2.0 */
/* What the history keeps, what it forgets, and that it knows how far back it reaches. */
#include "agent/observe/flow_history.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

#define SECOND 1000000000ull
#define MIB    (1u << 20)

static struct flow_name name_of(const char *text)
{
	return (struct flow_name){strlen(text) + 1, text};
}

/* A pod of `subject` that reaches the address with this number. */
static struct flow_seen egress(const char *subject, uint32_t number)
{
	return (struct flow_seen){
		.direction = EGRESS,
		.allowed = true,
		.peer_kind = FLOW_PEER_ADDRESS,
		.proto = IPPROTO_TCP,
		.port = 443,
		.addr = {.words_be = {0, 0, htonl(0xffff), htonl(0x0a000000 + number)}},
		.subject = name_of(subject),
	};
}

static size_t entries(const struct flow_history *history)
{
	struct flow_history_stats stats;

	flow_history_stats(history, &stats);
	return stats.entries;
}

static void the_same_is_counted_once(void)
{
	struct flow_history *history = flow_history_new(MIB, 3600 * SECOND, SECOND);
	struct flow_seen seen = egress("demo", 1), other = egress("demo", 1);
	struct flow_history_copy copy;

	for (uint64_t i = 0; i < 10; i++)
		CU_ASSERT(flow_history_add(history, &seen, (2 + i) * SECOND, 0) == 0);
	other.service = name_of("demo/web");
	CU_ASSERT(flow_history_add(history, &other, 5 * SECOND, 0) == 0);
	other.allowed = false;
	CU_ASSERT(flow_history_add(history, &other, 6 * SECOND, 0) == 0);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	CU_ASSERT_FATAL(copy.count == 3);
	/* Those used last come last. */
	CU_ASSERT(copy.items[2].counts.events == 10);
	CU_ASSERT(copy.items[2].counts.first_ns == 2 * SECOND);
	CU_ASSERT(copy.items[2].counts.last_ns == 11 * SECOND);
	CU_ASSERT_STRING_EQUAL(copy.items[2].seen.subject.text, "demo");
	CU_ASSERT_STRING_EQUAL(copy.items[1].seen.service.text, "demo/web");
	CU_ASSERT(copy.items[2].seen.service.length == 0);
	flow_history_copy_clear(&copy);
	CU_ASSERT_FATAL(flow_history_copy(history, 6 * SECOND, &copy) == 0);
	CU_ASSERT(copy.count == 2);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
}

static void walks_find_the_same_flows_again(void)
{
	struct flow_history *history = flow_history_new(MIB, 3600 * SECOND, SECOND);
	struct flow_seen seen = egress("demo", 1);
	struct flow_history_copy copy;

	flow_history_add(history, &seen, 2 * SECOND, 0);
	for (uint32_t walk = 1; walk <= 5; walk++)
		for (uint32_t flow = 0; flow < walk % 4; flow++)
			flow_history_add(history, &seen, 3 * SECOND, walk);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	CU_ASSERT(copy.items[0].counts.events == 1);
	CU_ASSERT(copy.items[0].counts.found == 3);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
}

static void what_was_used_longest_ago_makes_room(void)
{
	const uint64_t most = 64 << 10;
	struct flow_history *history = flow_history_new(most, 3600 * SECOND, SECOND);
	struct flow_seen kept = egress("demo", 0);
	struct flow_history_stats stats;
	struct flow_history_copy copy;
	uint64_t now = SECOND;
	bool found = false;

	for (uint32_t i = 1; i <= 10000; i++) {
		struct flow_seen seen = egress("demo", i);

		flow_history_add(history, &seen, now += SECOND, 0);
		flow_history_add(history, &kept, now, 0);
		flow_history_stats(history, &stats);
		CU_ASSERT_FATAL(stats.bytes <= most);
	}
	CU_ASSERT(stats.forgotten > 9000);
	CU_ASSERT(stats.forgotten + stats.entries == 10001);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	for (size_t i = 0; i < copy.count; i++) {
		found |= copy.items[i].counts.events == 10000;
		/* All that is promised to be there is. */
		CU_ASSERT(copy.items[i].counts.last_ns >= flow_history_reach(history));
	}
	CU_ASSERT(found);
	/* And nothing that is not: one a second, but for what is always used. */
	CU_ASSERT_EQUAL(copy.count - 1, (now - flow_history_reach(history)) / SECOND + 1);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
}

static void names_of_what_is_forgotten_take_no_room(void)
{
	struct flow_history *history = flow_history_new(MIB, 10 * SECOND, SECOND);
	struct flow_history_stats before, after;
	char name[64];

	flow_history_stats(history, &before);
	for (uint32_t i = 0; i < 100; i++) {
		struct flow_seen seen = egress(name, i);

		snprintf(name, sizeof(name), "namespace-%u", i);
		seen.subject = seen.peer = name_of(name);
		seen.peer_kind = FLOW_PEER_POD;
		flow_history_add(history, &seen, 2 * SECOND, 0);
	}
	CU_ASSERT(entries(history) == 100);
	flow_history_expire(history, 100 * SECOND);
	flow_history_stats(history, &after);
	CU_ASSERT(after.entries == 0 && after.bytes == before.bytes);
	flow_history_free(history);
}

static void what_is_too_old_is_forgotten_and_told(void)
{
	struct flow_history *history = flow_history_new(MIB, 60 * SECOND, SECOND);
	struct flow_seen early = egress("demo", 1), late = egress("demo", 2);

	flow_history_add(history, &early, 2 * SECOND, 0);
	flow_history_add(history, &late, 30 * SECOND, 0);
	flow_history_expire(history, 50 * SECOND);
	CU_ASSERT(entries(history) == 2 && flow_history_reach(history) == SECOND);
	flow_history_expire(history, 80 * SECOND);
	CU_ASSERT(entries(history) == 1 && flow_history_reach(history) == 20 * SECOND);
	flow_history_free(history);
}

/* Events of several CPUs, and flows that a walk finds idle. */
static void what_comes_out_of_order_is_put_in_order(void)
{
	struct flow_history *history = flow_history_new(MIB, 3600 * SECOND, SECOND);
	struct flow_history_copy copy;

	for (uint32_t i = 0; i < 100; i++) {
		struct flow_seen seen = egress("demo", i * 37 % 100);

		flow_history_add(history, &seen, (i * 37 % 100 + 1) * SECOND, i % 2);
	}
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	CU_ASSERT_FATAL(copy.count == 100);
	for (size_t i = 0; i < copy.count; i++)
		CU_ASSERT_EQUAL(copy.items[i].counts.last_ns, (i + 1) * SECOND);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
}

static void labels_of_a_revision_do_not_name_a_workload(void)
{
	struct labels one = {0}, two = {0}, other = {0};
	char first[FLOW_WORKLOAD_MAX], second[FLOW_WORKLOAD_MAX], third[FLOW_WORKLOAD_MAX];
	size_t length;

	labels_set(&one, "app", "web");
	labels_set(&one, "pod-template-hash", "5d8f");
	labels_set(&two, "app", "web");
	labels_set(&two, "pod-template-hash", "77aa");
	labels_set(&two, "apps.kubernetes.io/pod-index", "2");
	labels_set(&other, "app", "web");
	labels_set(&other, "role", "x");
	length = flow_workload("demo", &one, first);
	CU_ASSERT_EQUAL(length, flow_workload("demo", &two, second));
	CU_ASSERT(memcmp(first, second, length) == 0);
	CU_ASSERT(length == sizeof("demo\0app\0web") && !memcmp(first, "demo\0app\0web", length));
	CU_ASSERT(flow_workload("demo", &other, third) != length);
	CU_ASSERT(flow_workload("dem", &one, third) != length);
	labels_clear(&one);
	labels_clear(&two);
	labels_clear(&other);
}

static void labels_without_end_are_cut_as_a_whole(void)
{
	struct labels labels = {0};
	char key[32], buffer[FLOW_WORKLOAD_MAX];
	size_t length, nuls = 0;

	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "key-%03d", i);
		labels_set(&labels, key, "some-value");
	}
	length = flow_workload("demo", &labels, buffer);
	CU_ASSERT(length <= FLOW_WORKLOAD_MAX && length > FLOW_WORKLOAD_MAX - 32);
	for (size_t i = 0; i < length; i++)
		nuls += !buffer[i];
	CU_ASSERT(nuls % 2 == 1 && buffer[length - 1] == '\0');
	labels_clear(&labels);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(the_same_is_counted_once),
		UNIT_TEST(walks_find_the_same_flows_again),
		UNIT_TEST(what_was_used_longest_ago_makes_room),
		UNIT_TEST(names_of_what_is_forgotten_take_no_room),
		UNIT_TEST(what_is_too_old_is_forgotten_and_told),
		UNIT_TEST(what_comes_out_of_order_is_put_in_order),
		UNIT_TEST(labels_of_a_revision_do_not_name_a_workload),
		UNIT_TEST(labels_without_end_are_cut_as_a_whole),
	};

	return UNIT_RUN("flow_history", tests);
}
