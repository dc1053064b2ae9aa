/* SPDX-License-Identifier: Apache-2.0 */
/* A history that outlives the agent: what its file keeps, and what is made of a damaged one. */
#include "agent/observe/flow_history_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/common/state_file.h"
#include "agent/observe/flow_history_text.h"
#include "tests/faults.h"
#include "tests/unit/unit.h"

#define SECOND 1000000000ull
#define DAY    (86400 * SECOND)
#define MIB    (1u << 20)
#define WALL   (1800000000ull * SECOND)

/* The agent's moment: so long after the machine's start, so long after WALL. */
static struct flow_history_now moment(uint64_t uptime_s, uint64_t wall_s)
{
	return (struct flow_history_now){flow_history_clock(uptime_s * SECOND),
					 WALL + wall_s * SECOND};
}

static struct flow_name name_of(const char *text, size_t length)
{
	return (struct flow_name){length, text};
}

static struct polder_addr addr_of(const char *text)
{
	struct polder_addr addr;

	if (addr_parse(text, &addr) < 0)
		abort();
	return addr;
}

/* Entry `number` of a few: each kind of peer, both families, names with all bytes. */
static struct flow_seen sample(unsigned int number)
{
	static const char pods[] = "demo\0app\0w%b \xc3\xbc\n", peer[] = "shop\0app\0db",
			  service[] = "shop/db";
	struct flow_seen seen = {
		.direction = number % 2 ? EGRESS : INGRESS,
		.allowed = number % 3 != 0,
		.proto = IPPROTO_TCP,
		.port = (uint16_t)(1 + number),
		.subject = name_of(pods, sizeof(pods)),
	};

	switch (number % 4) {
	case 0:
		seen.peer_kind = FLOW_PEER_POD;
		seen.peer = name_of(peer, sizeof(peer));
		seen.service = name_of(service, sizeof(service));
		seen.service_port = 80;
		break;
	case 1:
		seen.peer_kind = FLOW_PEER_ADDRESS;
		seen.addr = addr_of("192.0.2.7");
		break;
	case 2:
		seen.peer_kind = FLOW_PEER_UNKNOWN;
		seen.addr = addr_of("2001:db8::7");
		break;
	default:
		seen.peer_kind = FLOW_PEER_NODE;
		break;
	}
	return seen;
}

static struct flow_history *history_new(const struct flow_history_now *now)
{
	return flow_history_new(MIB, DAY, now->history_ns);
}

static void add_samples(struct flow_history *history, const struct flow_history_now *now,
			unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow_seen seen = sample(i);

		CU_ASSERT(flow_history_add(history, &seen, now->history_ns + i * SECOND, 0) == 0);
		CU_ASSERT(flow_history_add(history, &seen, now->history_ns + i * SECOND, 7) == 0);
	}
}

static size_t entries(const struct flow_history *history)
{
	struct flow_history_stats stats;

	flow_history_stats(history, &stats);
	return stats.entries;
}

/* As it is written at that moment. */
static char *text_of(const struct flow_history *history, const struct flow_history_now *now,
		     size_t *ret_length)
{
	struct flow_history_image image;
	char *text = NULL;

	CU_ASSERT_FATAL(flow_history_image(history, &image) == 0);
	image.now = *now;
	CU_ASSERT_FATAL(flow_history_format(&image, &text, ret_length) == 0);
	flow_history_image_clear(&image);
	return text;
}

/* A history that began when the wall clock stood at `begun`, with so many entries, ten seconds
 * later. */
static char *written(const struct flow_history_now *begun, unsigned int count, size_t *ret_length)
{
	struct flow_history *history = history_new(begun);
	const struct flow_history_now now = {begun->history_ns + 10 * SECOND,
					     begun->wall_ns + 10 * SECOND};
	char *text;

	add_samples(history, begun, count);
	text = text_of(history, &now, ret_length);
	flow_history_free(history);
	return text;
}

static bool is_name(const struct flow_name *one, const struct flow_name *other)
{
	return one->length == other->length &&
	       (!one->length || memcmp(one->text, other->text, one->length) == 0);
}

/* ---------------------------------------------------------------- the text */

static void all_that_was_seen_is_there_again(void)
{
	const struct flow_history_now begun = moment(100000, 0), now = moment(100070, 70);
	struct flow_history *history = history_new(&now);
	struct flow_history_copy copy;
	struct flow_history_read read;
	size_t length;
	char *text = written(&begun, 8, &length);

	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &now, &read) == 0);
	CU_ASSERT(read.entries == 8 && read.damaged == 0 && !read.cut_off);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	CU_ASSERT_FATAL(copy.count == 8);
	for (unsigned int i = 0; i < 8; i++) {
		const struct flow_seen expected = sample(i), *seen = &copy.items[i].seen;
		const struct flow_seen_counts *counts = &copy.items[i].counts;

		CU_ASSERT(seen->direction == expected.direction &&
			  seen->allowed == expected.allowed &&
			  seen->peer_kind == expected.peer_kind && seen->proto == expected.proto &&
			  seen->port == expected.port &&
			  seen->service_port == expected.service_port);
		CU_ASSERT(memcmp(&seen->addr, &expected.addr, sizeof(seen->addr)) == 0);
		CU_ASSERT(is_name(&seen->subject, &expected.subject));
		CU_ASSERT(is_name(&seen->peer, &expected.peer));
		CU_ASSERT(is_name(&seen->service, &expected.service));
		CU_ASSERT(counts->first_ns == begun.history_ns + i * SECOND &&
			  counts->last_ns == counts->first_ns);
		CU_ASSERT(counts->events == 1 && counts->found == 1);
	}
	flow_history_copy_clear(&copy);
	flow_history_free(history);
	free(text);
}

static void times_are_right_after_a_start_of_the_machine(void)
{
	const struct flow_history_now begun = moment(5000000, 0), now = moment(3, 3600);
	struct flow_history *history = history_new(&now);
	struct flow_history_copy copy;
	struct flow_history_read read;
	size_t length;
	char *text = written(&begun, 1, &length);

	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &now, &read) == 0);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	CU_ASSERT_FATAL(copy.count == 1);
	CU_ASSERT(now.history_ns - copy.items[0].counts.last_ns == 3600 * SECOND);
	CU_ASSERT(now.history_ns - flow_history_reach(history) == 3600 * SECOND);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
	free(text);
}

static void a_clock_that_was_set_back_makes_nothing_of_the_future(void)
{
	const struct flow_history_now begun = moment(100, 0), now = moment(200, -5000);
	struct flow_history *history = history_new(&now);
	struct flow_history_copy copy;
	struct flow_history_read read;
	size_t length;
	char *text = written(&begun, 4, &length);

	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &now, &read) == 0);
	CU_ASSERT_FATAL(flow_history_copy(history, 0, &copy) == 0);
	for (size_t i = 0; i < copy.count; i++)
		CU_ASSERT(copy.items[i].counts.last_ns == now.history_ns);
	flow_history_copy_clear(&copy);
	flow_history_free(history);
	free(text);
}

static void the_time_in_which_nobody_watched_is_a_gap(void)
{
	const struct flow_history_now begun = moment(100000, 0), second = moment(100030, 30),
				      third = moment(50, 500);
	struct flow_history *history = history_new(&second);
	struct flow_history_read read;
	size_t length;
	char *text = written(&begun, 2, &length);

	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &second, &read) == 0);
	CU_ASSERT(flow_history_missed(history, 0) == 20 * SECOND);
	CU_ASSERT(flow_history_missed(history, second.history_ns - 5 * SECOND) == 5 * SECOND);
	CU_ASSERT(flow_history_missed(history, second.history_ns) == 0);
	free(text);
	text = text_of(history, &second, &length);
	flow_history_free(history);
	history = history_new(&third);
	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &third, &read) == 0);
	CU_ASSERT(third.history_ns - flow_history_reach(history) == 500 * SECOND);
	CU_ASSERT(flow_history_missed(history, 0) == (20 + 470) * SECOND);
	/* What the history does not reach any more has no gaps. */
	flow_history_expire(history, third.history_ns + DAY - 100 * SECOND);
	CU_ASSERT(flow_history_missed(history, 0) == 100 * SECOND);
	flow_history_expire(history, third.history_ns + DAY);
	CU_ASSERT(flow_history_missed(history, 0) == 0);
	flow_history_free(history);
	free(text);
}

static void too_many_gaps_become_one_that_is_no_shorter(void)
{
	const struct flow_history_now now = moment(1000, 0);
	struct flow_history *history = history_new(&now);
	const struct flow_gap *gaps;
	uint64_t begin = now.history_ns;

	for (unsigned int i = 0; i < FLOW_GAPS_MAX + 10; i++)
		flow_history_add_gap(history, (struct flow_gap){begin + 10 * i * SECOND,
								begin + (10 * i + 1) * SECOND});
	CU_ASSERT(flow_history_gaps(history, &gaps) == FLOW_GAPS_MAX);
	CU_ASSERT(gaps[0].from_ns == begin && gaps[0].to_ns == begin + 101 * SECOND);
	CU_ASSERT(flow_history_missed(history, 0) == (101 + FLOW_GAPS_MAX - 1) * SECOND);
	flow_history_free(history);
}

static void a_smaller_history_keeps_the_newest_and_reaches_back_to_them(void)
{
	const struct flow_history_now begun = moment(100000, 0), now = moment(100070, 70);
	struct flow_history *large = history_new(&begun),
			    *small = flow_history_new(100000, DAY, now.history_ns);
	struct flow_history_copy copy;
	struct flow_history_read read;
	size_t length;
	char *text;

	for (unsigned int i = 0; i < 1000; i++) {
		struct flow_seen seen = sample(i);

		flow_history_add(large, &seen, begun.history_ns + i * SECOND / 100, 0);
	}
	text = text_of(large, &now, &length);
	CU_ASSERT_FATAL(flow_history_parse(small, text, length, &now, &read) == 0);
	CU_ASSERT(read.entries == 1000 && entries(small) > 100 && entries(small) < 1000);
	CU_ASSERT_FATAL(flow_history_copy(small, 0, &copy) == 0);
	CU_ASSERT(copy.items[copy.count - 1].seen.port == 1000);
	CU_ASSERT(flow_history_reach(small) == copy.items[0].counts.last_ns + 1);
	flow_history_copy_clear(&copy);
	flow_history_free(large);
	flow_history_free(small);
	free(text);
}

static void of_a_text_that_is_cut_off_what_is_good_is_kept(void)
{
	const struct flow_history_now begun = moment(100000, 0), now = moment(100070, 70);
	size_t length;
	char *text = written(&begun, 8, &length);
	size_t most = 0;

	for (size_t cut = 0; cut < length; cut++) {
		struct flow_history *history = history_new(&now);
		struct flow_history_read read = {0};
		int r = flow_history_parse(history, text, cut, &now, &read);

		CU_ASSERT(r == 0 || (r == -EBADMSG && entries(history) == 0));
		if (r == 0) {
			CU_ASSERT(read.cut_off && read.entries == entries(history));
			CU_ASSERT(read.entries >= most);
			most = read.entries;
		}
		/* Nobody knows what is missing. */
		CU_ASSERT(flow_history_reach(history) == now.history_ns);
		flow_history_free(history);
	}
	CU_ASSERT(most == 8);
	free(text);
}

static void a_changed_byte_costs_its_line_and_no_other(void)
{
	const struct flow_history_now begun = moment(100000, 0), now = moment(100070, 70);
	size_t length;
	char *text = written(&begun, 4, &length);

	for (size_t i = 0; i < length; i++) {
		struct flow_history *history = history_new(&now);
		struct flow_history_read read = {0};

		text[i] ^= 1;
		CU_ASSERT(flow_history_parse(history, text, length, &now, &read) == 0);
		CU_ASSERT(read.damaged > 0 || read.cut_off);
		CU_ASSERT(flow_history_reach(history) == now.history_ns);
		/* Entries that name what is damaged go with it: of the pods that all four are
		 * about. */
		CU_ASSERT(read.entries >= 2 || read.entries == 0);
		text[i] ^= 1;
		flow_history_free(history);
	}
	free(text);
}

/* With the checksum of a good one. */
static size_t put(char *text, const char *line)
{
	return (size_t)sprintf(text, "%08x %s\n", state_file_crc32(line, strlen(line)), line);
}

static void lines_that_make_no_sense_are_left_out(void)
{
	static const char *const lines[] = {
		"name 0 a%00",
		"name 9999999 a%00",
		"name 1 a%00", /* given already */
		"name 2 a",    /* ends with nothing */
		"name 2 a%0",
		"name 2 ",
		"entry 0 0 0 1 1 1 6 80 0 192.0.2.1 1 1 1 1",
		"entry 3 0 0 1 1 1 6 80 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 2 1 1 6 80 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 1 2 1 6 80 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 1 1 4 6 80 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 1 1 1 256 80 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 1 1 1 6 65536 0 192.0.2.1 1 1 1 1",
		"entry 1 0 0 1 1 1 6 80 0 192.0.2 1 1 1 1",
		"entry 1 0 0 1 1 0 6 80 0 - 1 1 1 1", /* a pod without a name */
		"entry 1 0 0 1 1 1 6 80 0 192.0.2.1 1 1 1",
		"entry 1 0 0 1 1 1 6 80 0 192.0.2.1 1 1 1 1 1",
		"gap 1",
		"end 1 1 1",
		"surprise",
		"",
	};
	const struct flow_history_now now = moment(1000, 0);
	struct flow_history *history = history_new(&now);
	struct flow_history_read read = {0};
	char text[4096];
	size_t length = put(text, "polder-flow-history 1");

	length += put(text + length, "name 1 demo%00");
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		length += put(text + length, lines[i]);
	length += put(text + length, "entry 1 0 0 1 1 1 6 80 0 192.0.2.1 1 1 1 1");
	length += put(text + length, "end 1 0 1 1");
	CU_ASSERT_FATAL(flow_history_parse(history, text, length, &now, &read) == 0);
	CU_ASSERT_EQUAL(read.damaged, sizeof(lines) / sizeof(*lines));
	CU_ASSERT(read.entries == 1 && entries(history) == 1);
	CU_ASSERT(flow_history_reach(history) == now.history_ns);
	flow_history_free(history);
}

static void what_is_something_else_is_refused(void)
{
	const struct flow_history_now now = moment(1000, 0);
	struct flow_history *history = history_new(&now);
	struct flow_history_read read = {0};
	char text[128];
	size_t length = put(text, "polder-flow-history 2");

	CU_ASSERT(flow_history_parse(history, text, length, &now, &read) == -EPROTO);
	CU_ASSERT(flow_history_parse(history, "root:x:0:0\n", 11, &now, &read) == -EBADMSG);
	CU_ASSERT(flow_history_parse(history, "\0\0\n\n", 4, &now, &read) == -EBADMSG);
	/* What a full disk has left. */
	CU_ASSERT(flow_history_parse(history, "", 0, &now, &read) == 0 && read.cut_off);
	CU_ASSERT(entries(history) == 0);
	flow_history_free(history);
}

static void without_memory_nothing_is_claimed(void)
{
	const struct flow_history_now begun = moment(100000, 0), now = moment(100070, 70);
	size_t length;
	char *text = written(&begun, 4, &length);
	bool failed = true;

	for (size_t number = 1; failed; number++) {
		struct flow_history *history = history_new(&now);
		struct flow_history_image image = {0};
		struct flow_history_read read = {0};
		char *again = NULL;
		size_t again_length;
		int r;

		faults_begin(number);
		r = flow_history_parse(history, text, length, &now, &read);
		failed = faults_end();
		CU_ASSERT(r == 0 || (r == -ENOMEM && failed));
		/* It reaches back only if it has all. */
		CU_ASSERT((entries(history) == 4 && !failed) ==
			  (flow_history_reach(history) < now.history_ns));
		if (!failed) {
			CU_ASSERT_FATAL(flow_history_image(history, &image) == 0);
			for (size_t i = 1; !again; i++) {
				faults_begin(i);
				r = flow_history_format(&image, &again, &again_length);
				CU_ASSERT(faults_end() == (r == -ENOMEM));
			}
			free(again);
			flow_history_image_clear(&image);
		}
		flow_history_free(history);
	}
	free(text);
}

/* ---------------------------------------------------------------- the file */

struct fixture {
	uv_loop_t loop;
	char directory[32], path[64];
	struct flow_history *history;
	struct flow_history_file *file;
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	uv_loop_init(&f->loop);
	snprintf(f->path, sizeof(f->path), "%s/history", unit_directory(f->directory));
	return f;
}

static void fixture_free(struct fixture *f)
{
	unit_end_loop(&f->loop);
	unit_remove_directory(f->directory);
	free(f);
}

static void open_file(struct fixture *f)
{
	f->history = flow_history_new(MIB, DAY, flow_history_now().history_ns);
	CU_ASSERT_FATAL(flow_history_file_open(&f->loop, f->path, f->history, MIB, &f->file) == 0);
}

static void close_file(struct fixture *f)
{
	flow_history_file_close(f->file);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	flow_history_free(f->history);
}

static struct flow_history_file_stats stats_of(const struct fixture *f)
{
	struct flow_history_file_stats stats;

	flow_history_file_stats(f->file, &stats);
	return stats;
}

static bool was_written(void *data)
{
	return stats_of(data).written_ns != 0;
}

static bool has_failed(void *data)
{
	return stats_of(data).failures > 0;
}

static void add_one(struct fixture *f, unsigned int number)
{
	struct flow_seen seen = sample(number);

	CU_ASSERT(flow_history_add(f->history, &seen, flow_history_now().history_ns, 0) == 0);
}

static void the_file_has_it_when_the_agent_ends(void)
{
	struct fixture *f = fixture_new();
	struct stat status;

	open_file(f);
	CU_ASSERT(unit_wait(&f->loop, was_written, f, 10000));
	CU_ASSERT(stat(f->path, &status) == 0 && (status.st_mode & 07777) == 0600);
	add_one(f, 0);
	close_file(f);
	open_file(f);
	CU_ASSERT(entries(f->history) == 1);
	CU_ASSERT_STRING_EQUAL(stats_of(f).problem, "");
	CU_ASSERT(flow_history_missed(f->history, 0) > 0);
	close_file(f);
	fixture_free(f);
}

/* The thread's version is an old one, whenever it comes to write. */
static void an_end_in_the_middle_of_a_write_keeps_the_newest(void)
{
	for (int turns = 0; turns < 3; turns++) {
		struct fixture *f = fixture_new();

		open_file(f);
		for (int i = 0; i < turns; i++)
			uv_run(&f->loop, UV_RUN_NOWAIT);
		add_one(f, 1);
		close_file(f);
		open_file(f);
		CU_ASSERT(entries(f->history) == 1);
		close_file(f);
		fixture_free(f);
	}
}

static void a_disk_without_room_loses_nothing_that_was_there(void)
{
	struct fixture *f = fixture_new();
	struct rlimit before, none = {0};
	size_t length, later_length;
	char *text, *later;

	open_file(f);
	for (unsigned int i = 0; i < 20; i++)
		add_one(f, i);
	close_file(f);
	CU_ASSERT_FATAL(file_read(f->path, 0, MIB, &text, &length) == 0);
	getrlimit(RLIMIT_FSIZE, &before);
	none.rlim_max = before.rlim_max;
	none.rlim_cur = 100;
	signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_FATAL(setrlimit(RLIMIT_FSIZE, &none) == 0);
	open_file(f);
	CU_ASSERT(unit_wait(&f->loop, has_failed, f, 10000));
	CU_ASSERT(strstr(stats_of(f).problem, "cannot be written") != NULL);
	CU_ASSERT(entries(f->history) == 20);
	close_file(f);
	setrlimit(RLIMIT_FSIZE, &before);
	CU_ASSERT_FATAL(file_read(f->path, 0, MIB, &later, &later_length) == 0);
	CU_ASSERT(later_length == length && memcmp(text, later, length) == 0);
	free(text);
	free(later);
	fixture_free(f);
}

static void a_directory_that_comes_later_gets_the_file(void)
{
	struct fixture *f = fixture_new();

	snprintf(f->path, sizeof(f->path), "%s/sub/history", f->directory);
	open_file(f);
	CU_ASSERT(unit_wait(&f->loop, has_failed, f, 10000));
	CU_ASSERT(strstr(stats_of(f).problem, "No such file") != NULL);
	snprintf(f->path, sizeof(f->path), "%s/sub", f->directory);
	CU_ASSERT(mkdir(f->path, 0700) == 0);
	strcat(f->path, "/history");
	close_file(f);
	CU_ASSERT(access(f->path, R_OK) == 0);
	fixture_free(f);
}

static void what_is_good_of_a_damaged_file_is_kept_and_the_rest_is_told(void)
{
	struct fixture *f = fixture_new();
	size_t length;
	char *text;

	open_file(f);
	for (unsigned int i = 0; i < 20; i++)
		add_one(f, i);
	close_file(f);
	CU_ASSERT_FATAL(file_read(f->path, 0, MIB, &text, &length) == 0);
	unit_write(f->path, text, length - 60);
	free(text);
	open_file(f);
	CU_ASSERT(stats_of(f).cut_off);
	CU_ASSERT(entries(f->history) >= 18 && entries(f->history) <= 20);
	CU_ASSERT(flow_history_now().history_ns - flow_history_reach(f->history) < 60 * SECOND);
	close_file(f);
	open_file(f);
	CU_ASSERT(!stats_of(f).cut_off && entries(f->history) >= 18);
	close_file(f);
	fixture_free(f);
}

static void somebody_elses_file_is_left_alone(void)
{
	static const char other[] = "root:x:0:0:root:/root:/bin/bash\n";
	struct fixture *f = fixture_new();
	size_t length;
	char *text;

	unit_write(f->path, other, strlen(other));
	open_file(f);
	CU_ASSERT(strstr(stats_of(f).problem, "left alone") != NULL);
	add_one(f, 0);
	unit_wait(&f->loop, NULL, NULL, 20);
	close_file(f);
	CU_ASSERT_FATAL(file_read(f->path, 0, MIB, &text, &length) == 0);
	CU_ASSERT_STRING_EQUAL(text, other);
	free(text);
	fixture_free(f);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(all_that_was_seen_is_there_again),
		UNIT_TEST(times_are_right_after_a_start_of_the_machine),
		UNIT_TEST(a_clock_that_was_set_back_makes_nothing_of_the_future),
		UNIT_TEST(the_time_in_which_nobody_watched_is_a_gap),
		UNIT_TEST(too_many_gaps_become_one_that_is_no_shorter),
		UNIT_TEST(a_smaller_history_keeps_the_newest_and_reaches_back_to_them),
		UNIT_TEST(of_a_text_that_is_cut_off_what_is_good_is_kept),
		UNIT_TEST(a_changed_byte_costs_its_line_and_no_other),
		UNIT_TEST(lines_that_make_no_sense_are_left_out),
		UNIT_TEST(what_is_something_else_is_refused),
		UNIT_TEST(without_memory_nothing_is_claimed),
		UNIT_TEST(the_file_has_it_when_the_agent_ends),
		UNIT_TEST(an_end_in_the_middle_of_a_write_keeps_the_newest),
		UNIT_TEST(a_disk_without_room_loses_nothing_that_was_there),
		UNIT_TEST(a_directory_that_comes_later_gets_the_file),
		UNIT_TEST(what_is_good_of_a_damaged_file_is_kept_and_the_rest_is_told),
		UNIT_TEST(somebody_elses_file_is_left_alone),
	};

	return UNIT_RUN("flow_history_file", tests);
}
