/* SPDX-License-Identifier: Apache-2.0 */
/* The log while nobody reads it, and while much too much is told. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/common/log_internal.h"
#include "tests/unit/unit.h"

#define SECOND 1000000000ull

/* Standard error is `fd` until end_redirect(). */
static int saved = -1;

static void redirect(int fd)
{
	saved = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
}

static void end_redirect(void)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Everything that can be read now. */
static char *read_all(int fd)
{
	char *text = calloc(1, 1), *grown;
	size_t length = 0;
	ssize_t got;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (;;) {
		grown = realloc(text, length + 65537);
		if (!grown)
			abort();
		text = grown;
		got = read(fd, text + length, 65536);
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	text[length] = '\0';
	return text;
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; (text = strchr(text, '\n')); text++)
		lines++;
	return lines;
}

/* A megabyte of lines that nobody takes; then somebody reads again. */
static void flood(int write_fd, int read_fd)
{
	struct log_stats before, after;
	size_t lines = 0;
	double began = now();
	bool told = false;
	char *text;

	log_read_stats(&before);
	log_set_level(LOG_LEVEL_DEBUG);
	redirect(write_fd);
	for (int i = 0; i < 20000; i++) {
		errno = 17;
		log_debug("x", "line %d of a flood that nobody reads", i);
		CU_ASSERT(errno == 17);
	}
	log_read_stats(&after);
	for (int i = 0; i < 50 && !told; i++) {
		text = read_all(read_fd);
		lines += count_lines(text);
		told = strstr(text, " lines were lost: ") != NULL;
		free(text);
		log_tick();
	}
	log_error("x", "the line after the flood");
	text = read_all(read_fd);
	end_redirect();
	log_set_level(LOG_LEVEL_INFO);
	CU_ASSERT(now() - began < 5);
	CU_ASSERT(after.lost > before.lost);
	CU_ASSERT(told);
	CU_ASSERT(strstr(text, " error x: the line after the flood\n") != NULL);
	/* Nothing that was not counted as lost is missing: all lines but those, and the two that
	 * tell. */
	CU_ASSERT(lines + count_lines(text) == 20000 - (after.lost - before.lost) + 2);
	free(text);
}

static void a_pipe_that_nobody_reads_stops_nothing(void)
{
	int fds[2];

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	flood(fds[1], fds[0]);
	/* Others who write to it are not changed. */
	CU_ASSERT(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
	close(fds[0]);
	close(fds[1]);
}

static void a_journal_that_has_stopped_stops_nothing(void)
{
	int fds[2];

	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	flood(fds[1], fds[0]);
	CU_ASSERT(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
	close(fds[0]);
	close(fds[1]);
}

static void a_reader_that_is_gone_stops_nothing(void)
{
	struct log_stats before, after;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	close(fds[0]);
	log_read_stats(&before);
	redirect(fds[1]);
	log_error("gone", "nobody reads this");
	for (int i = 0; i < 10; i++)
		log_tick();
	end_redirect();
	log_read_stats(&after);
	CU_ASSERT(after.lost == before.lost + 1);
	close(fds[1]);
	log_sink_told();
}

static const char format[] = "a kind of message: %d";

/* How many of `count` different lines are let through at this time. */
static unsigned int let_through(unsigned int count, uint64_t now_ns)
{
	unsigned int through = 0;
	char message[64];

	for (unsigned int i = 0; i < count; i++) {
		snprintf(message, sizeof(message), "line %u at %llu", i,
			 (unsigned long long)now_ns);
		through += log_limit_allows(LOG_LEVEL_ERROR, "kind", format, message, now_ns);
	}
	return through;
}

static void a_storm_becomes_some_lines_and_a_count(void)
{
	uint64_t at = 1000 * SECOND, held = log_limit_held();
	struct log_summary summary = {};

	CU_ASSERT(let_through(900, at) == 20);
	CU_ASSERT(log_limit_held() == held + 880);
	CU_ASSERT(!log_limit_next_summary(at + 9 * SECOND, &summary));
	CU_ASSERT(log_limit_next_summary(at + 10 * SECOND, &summary));
	CU_ASSERT(summary.held == 880 && summary.seconds == 10);
	CU_ASSERT(summary.level == LOG_LEVEL_ERROR && strcmp(summary.category, "kind") == 0);
	CU_ASSERT(strncmp(summary.sample, "line 899 at", 11) == 0);
	CU_ASSERT(!log_limit_next_summary(at + 10 * SECOND, &summary));
	/* While it goes on: a line and a count each minute. */
	at += 10 * SECOND;
	for (int i = 0; i < 60; i++)
		CU_ASSERT(let_through(10, at + (uint64_t)i * SECOND) == (i == 0));
	CU_ASSERT(log_limit_next_summary(at + 60 * SECOND, &summary));
	CU_ASSERT(summary.held == 599 && summary.seconds == 60);
	/* After a quiet time all is as in the beginning. */
	at += 200 * SECOND;
	CU_ASSERT(let_through(20, at) == 20);
	CU_ASSERT(!log_limit_next_summary(at + 100 * SECOND, &summary));
}

static void one_line_again_and_again_is_written_ten_times(void)
{
	uint64_t at = 5000 * SECOND;
	unsigned int through = 0;

	for (int i = 0; i < 100; i++)
		through += log_limit_allows(LOG_LEVEL_ERROR, "same", "it is %s", "it is so", at);
	CU_ASSERT(through == 10);
}

static void kinds_do_not_hide_each_other(void)
{
	uint64_t at = 9000 * SECOND;

	CU_ASSERT(let_through(100, at) == 20);
	CU_ASSERT(log_limit_allows(LOG_LEVEL_ERROR, "kind", "another", "another", at));
	CU_ASSERT(log_limit_allows(LOG_LEVEL_ERROR, "elsewhere", format, "line 1", at));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_pipe_that_nobody_reads_stops_nothing),
		UNIT_TEST(a_journal_that_has_stopped_stops_nothing),
		UNIT_TEST(a_reader_that_is_gone_stops_nothing),
		UNIT_TEST(a_storm_becomes_some_lines_and_a_count),
		UNIT_TEST(one_line_again_and_again_is_written_ten_times),
		UNIT_TEST(kinds_do_not_hide_each_other),
	};

	return UNIT_RUN("log_flood", tests);
}
