/* SPDX-License-Identifier: Apache-2.0 */
/* Log records, and what the service manager is told. */
#include "agent/common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/observe/notify.h"
#include "tests/unit/unit.h"

static char record[16384];

/* What the statement writes to standard error stands in `record`. */
#define RECORD(...)                                                                                \
	do {                                                                                       \
		int saved_ = dup(STDERR_FILENO);                                                   \
		int into_ = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);                    \
		ssize_t length_;                                                                   \
                                                                                                   \
		dup2(into_, STDERR_FILENO);                                                        \
		__VA_ARGS__;                                                                       \
		dup2(saved_, STDERR_FILENO);                                                       \
		close(saved_);                                                                     \
		length_ = pread(into_, record, sizeof(record) - 1, 0);                             \
		record[length_ < 0 ? 0 : length_] = '\0';                                          \
		close(into_);                                                                      \
	} while (0)

static bool record_ends(const char *end)
{
	size_t length = strlen(record), wanted = strlen(end);

	return length >= wanted && strcmp(record + length - wanted, end) == 0;
}

static void writes_time_level_category_and_message(void)
{
	int year, month, day, hour, minute, used = 0;
	double second;

	RECORD(log_warning("pods", "%s is %d", "one", 1));
	CU_ASSERT(sscanf(record, "%4d-%2d-%2dT%2d:%2d:%lfZ%n", &year, &month, &day, &hour, &minute,
			 &second, &used) == 6);
	CU_ASSERT(strcmp(record + used, " warning pods: one is 1\n") == 0);
}

static void escapes_what_could_deceive(void)
{
	RECORD(log_error("x", "%s", "a\nb\tc\x1b[31m\x7f\\"));
	CU_ASSERT(record_ends(" error x: a\\nb\\tc\\x1b[31m\\x7f\\\\\n"));
	RECORD(log_error("x", "%s", "\xff\xc3\xa4 \xc2\x85 \xc0\x80 \xe2\x80\xae \xed"));
	CU_ASSERT(record_ends(": \\xff\xc3\xa4 \\xc2\\x85 \\xc0\\x80 \\xe2\\x80\\xae \\xed\n"));
}

static void cuts_a_message_without_end(void)
{
	char *text = malloc(100001);

	memset(text, '\1', 100000);
	text[100000] = '\0';
	RECORD(log_error("x", "%s", text));
	CU_ASSERT(record_ends("\\x01...\n"));
	CU_ASSERT(strlen(record) < 8400);
	free(text);
}

static void level_decides_what_is_written(void)
{
	enum log_level level;

	CU_ASSERT(log_level_parse("verbose", &level) == -EINVAL);
	CU_ASSERT(log_level_parse("debug", &level) == 0 && level == LOG_LEVEL_DEBUG);
	RECORD(log_debug("x", "hidden"));
	CU_ASSERT(record[0] == '\0');
	log_set_level(level);
	RECORD(log_debug("x", "shown"));
	CU_ASSERT(record_ends(" debug x: shown\n"));
	log_set_level(LOG_LEVEL_ERROR);
	RECORD(log_warning("x", "hidden"));
	CU_ASSERT(record[0] == '\0');
	CU_ASSERT(log_get_level() == LOG_LEVEL_ERROR);
	log_set_level(LOG_LEVEL_INFO);
}

/* As the journal would have set the variable for the present standard error. */
static void log_to_journal(bool same_file)
{
	struct stat status;
	char stream[64];

	fstat(STDERR_FILENO, &status);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)status.st_dev,
		 (unsigned long long)status.st_ino + !same_file);
	setenv("JOURNAL_STREAM", stream, 1);
	errno = ENOENT;
	log_info("x", "hello");
	CU_ASSERT(errno == ENOENT);
	unsetenv("JOURNAL_STREAM");
}

static void journal_gets_its_own_form(void)
{
	RECORD(log_to_journal(true));
	CU_ASSERT(strcmp(record, "<6>x: hello\n") == 0);
	RECORD(log_to_journal(false));
	CU_ASSERT(record_ends("Z info x: hello\n"));
}

/* ---------------------------------------------------------------- sd_notify */

static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));

	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	CU_ASSERT_FATAL(bind(fd, (struct sockaddr *)&address, length) == 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static bool told(int fd, const char *expected)
{
	char text[1024];
	ssize_t length = recv(fd, text, sizeof(text) - 1, 0);

	if (length < 0)
		return false;
	text[length] = '\0';
	return strcmp(text, expected) == 0;
}

static void tells_the_service_manager(void)
{
	char directory[32], name[64];
	int fd;

	unit_directory(directory);
	snprintf(name, sizeof(name), "%s/notify", directory);
	fd = listen_at(name);
	CU_ASSERT(notify_ready() == 0 && told(fd, "READY=1"));
	CU_ASSERT(notify_stopping() == 0 && told(fd, "STOPPING=1"));
	close(fd);
	CU_ASSERT(notify_ready() == -ECONNREFUSED);
	unit_remove_directory(directory);

	snprintf(name, sizeof(name), "@polder-unit-%d", getpid());
	fd = listen_at(name);
	CU_ASSERT(notify_ready() == 0 && told(fd, "READY=1"));
	close(fd);
	setenv("NOTIFY_SOCKET", "relative", 1);
	CU_ASSERT(notify_ready() == -EAFNOSUPPORT);
	unsetenv("NOTIFY_SOCKET");
	CU_ASSERT(notify_ready() == 0);
}

static void watchdog_tells_that_the_loop_turns(void)
{
	struct notify_watchdog *watchdog;
	char name[64];
	uv_loop_t loop;
	int fd;

	uv_loop_init(&loop);
	CU_ASSERT(notify_watchdog_start(&loop, &watchdog) == 0 && !watchdog);
	setenv("WATCHDOG_USEC", "20000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	CU_ASSERT(notify_watchdog_start(&loop, &watchdog) == 0 && !watchdog);
	snprintf(name, sizeof(name), "%d", getpid());
	setenv("WATCHDOG_PID", name, 1);
	snprintf(name, sizeof(name), "@polder-unit-%d", getpid());
	fd = listen_at(name);
	CU_ASSERT(notify_watchdog_start(&loop, &watchdog) == 0 && watchdog);
	unit_wait(&loop, NULL, NULL, 100);
	for (int i = 0; i < 4; i++)
		CU_ASSERT(told(fd, "WATCHDOG=1"));
	notify_watchdog_stop(watchdog);
	notify_watchdog_stop(NULL);
	unit_end_loop(&loop);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(writes_time_level_category_and_message),
		UNIT_TEST(escapes_what_could_deceive),
		UNIT_TEST(cuts_a_message_without_end),
		UNIT_TEST(level_decides_what_is_written),
		UNIT_TEST(journal_gets_its_own_form),
		UNIT_TEST(tells_the_service_manager),
		UNIT_TEST(watchdog_tells_that_the_loop_turns),
	};

	return UNIT_RUN("log", tests);
}
