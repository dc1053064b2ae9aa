/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, files and Ethernet addresses as all programs use them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/common/clock.h"
#include "agent/common/error.h"
#include "agent/common/file.h"
#include "agent/common/mac.h"
#include "tests/unit/unit.h"

static int file_of(const void *content, size_t length)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT(file_write_all(fd, content, length) == 0);
	CU_ASSERT(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void a_file_is_read_whole_up_to_the_limit(void)
{
	char content[10000], *text = NULL;
	size_t length = 0;
	int fd;

	memset(content, 'x', sizeof(content));
	fd = file_of(content, sizeof(content));
	CU_ASSERT_EQUAL(file_read_all(fd, sizeof(content), &text, &length), 0);
	CU_ASSERT(length == sizeof(content) && !memcmp(text, content, length) && !text[length]);
	free(text);
	text = NULL;
	lseek(fd, 0, SEEK_SET);
	CU_ASSERT_EQUAL(file_read_all(fd, sizeof(content) - 1, &text, &length), -EFBIG);
	CU_ASSERT(text == NULL);
	close(fd);
}

static void what_has_no_size_is_read_to_its_end(void)
{
	int pipes[2];
	char *text = NULL;
	size_t length = 9;

	CU_ASSERT_FATAL(pipe(pipes) == 0);
	CU_ASSERT(file_write_all(pipes[1], "some words", 10) == 0);
	close(pipes[1]);
	CU_ASSERT_EQUAL(file_read_all(pipes[0], 100, &text, &length), 0);
	CU_ASSERT(length == 10 && !strcmp(text, "some words"));
	free(text);
	CU_ASSERT_EQUAL(file_read_all(pipes[0], 100, &text, &length), 0);
	CU_ASSERT(length == 0 && !*text);
	free(text);
	close(pipes[0]);
	CU_ASSERT_EQUAL(file_read_all(-1, 100, &text, &length), -EBADF);
	CU_ASSERT_EQUAL(file_write_all(-1, "x", 1), -EBADF);
}

static void an_error_says_only_what_it_was_set_to(void)
{
	struct error error = {.line = 7, .path = "$.old", .details = "old"};

	CU_ASSERT_EQUAL(error_set(&error, -EIO, 5, "pod %s", "web"), -EIO);
	CU_ASSERT(error.code == 5 && !strcmp(error.text, "pod web"));
	CU_ASSERT(!error.details[0] && !error.path[0] && !error.line);
	error_details(&error, "%d of them", 3);
	CU_ASSERT_STRING_EQUAL(error.details, "3 of them");
	CU_ASSERT_EQUAL(error_at(&error, -EINVAL, "$.spec", "missing"), -EINVAL);
	CU_ASSERT(error.code == EINVAL && !strcmp(error.path, "$.spec") && !error.details[0]);
}

static void only_unicast_ethernet_addresses_are_read(void)
{
	static const char *const bad[] = {"",
					  "02:00:00:00:00",
					  "02:00:00:00:00:00:00",
					  "03:00:00:00:00:01",
					  "00:00:00:00:00:00",
					  "02:00:00:00:00:0g",
					  "02:00:00:00:00.01",
					  " 2:00:00:00:00:01"};
	uint8_t mac[6] = {9};
	char text[MAC_TEXT_MAX];

	CU_ASSERT_EQUAL(mac_parse("02:aB:00:00:00:01", mac), 0);
	CU_ASSERT_STRING_EQUAL(mac_format(mac, text), "02:ab:00:00:00:01");
	CU_ASSERT_EQUAL(mac_parse("02-00-00-00-00-02", mac), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(mac_parse(bad[i], mac), -EINVAL);
	CU_ASSERT(mac[0] == 2 && mac[5] == 2);
}

static void the_clock_goes_forward(void)
{
	uint64_t first = clock_monotonic_ns();

	CU_ASSERT(first > 0 && clock_monotonic_ns() >= first);
	CU_ASSERT(clock_monotonic_ms() >= (int64_t)(first / 1000000));
}

static const struct unit_test tests[] = {
	UNIT_TEST(a_file_is_read_whole_up_to_the_limit),
	UNIT_TEST(what_has_no_size_is_read_to_its_end),
	UNIT_TEST(an_error_says_only_what_it_was_set_to),
	UNIT_TEST(only_unicast_ethernet_addresses_are_read),
	UNIT_TEST(the_clock_goes_forward),
};

int main(void)
{
	return UNIT_RUN("common", tests);
}
