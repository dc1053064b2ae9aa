/* SPDX-License-Identifier: Apache-2.0 */
/* State files: replaced whole, damage noticed. */
#include "agent/common/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/refuse.h"
#include "tests/unit/unit.h"

static char directory[32];
static char path[64];

static void begin(void)
{
	unit_directory(directory);
	snprintf(path, sizeof(path), "%s/state.json", directory);
}

static void end(void)
{
	unit_remove_directory(directory);
}

static size_t read_raw(char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, buffer, size);

	close(fd);
	CU_ASSERT_FATAL(length >= 0);
	return (size_t)length;
}

static bool content_is(const char *expected, size_t expected_length)
{
	char *text = NULL;
	size_t length = 0;
	bool same;

	if (state_file_read(path, 1 << 20, &text, &length) < 0)
		return false;
	same = length == expected_length && memcmp(text, expected, length) == 0 && !text[length];
	free(text);
	return same;
}

static void reads_what_was_written(void)
{
	struct stat status;

	begin();
	CU_ASSERT(state_file_write(path, "one\0two\n", 8) == 0);
	CU_ASSERT(content_is("one\0two\n", 8));
	CU_ASSERT(state_file_write(path, "", 0) == 0);
	CU_ASSERT(content_is("", 0));
	CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 07777) == 0600);
	end();
}

static void file_that_is_missing_is_no_damage(void)
{
	char *text = NULL;

	begin();
	CU_ASSERT(state_file_read(path, 100, &text, NULL) == -ENOENT);
	CU_ASSERT(text == NULL);
	CU_ASSERT(state_file_remove(path) == 0);
	CU_ASSERT(state_file_write(path, "x", 1) == 0);
	CU_ASSERT(state_file_remove(path) == 0);
	CU_ASSERT(access(path, F_OK) < 0);
	CU_ASSERT(state_file_remove("/nonexistent-polder/x") == 0);
	end();
}

static void notices_a_cut_at_every_byte(void)
{
	char raw[256];
	size_t length;

	begin();
	CU_ASSERT(state_file_write(path, "{\"a\": 1}\n", 9) == 0);
	length = read_raw(raw, sizeof(raw));
	for (size_t cut = 0; cut < length; cut++) {
		char *text = NULL;

		unit_write(path, raw, cut);
		CU_ASSERT(state_file_read(path, 1000, &text, NULL) == -EBADMSG);
		CU_ASSERT(text == NULL);
	}
	end();
}

static void notices_each_flipped_bit(void)
{
	char raw[256];
	size_t length;

	begin();
	CU_ASSERT(state_file_write(path, "{\"a\": 1, \"b\": [2, 3]}", 21) == 0);
	length = read_raw(raw, sizeof(raw));
	for (size_t bit = 0; bit < length * 8; bit++) {
		char *text = NULL;

		raw[bit / 8] ^= (char)(1 << bit % 8);
		unit_write(path, raw, length);
		CU_ASSERT(state_file_read(path, 1000, &text, NULL) == -EBADMSG);
		raw[bit / 8] ^= (char)(1 << bit % 8);
	}
	end();
}

static void notices_what_was_added(void)
{
	char raw[256];
	size_t length;
	char *text = NULL;

	begin();
	CU_ASSERT(state_file_write(path, "abc", 3) == 0);
	length = read_raw(raw, sizeof(raw));
	raw[length] = '\n';
	unit_write(path, raw, length + 1);
	CU_ASSERT(state_file_read(path, 1000, &text, NULL) == -EBADMSG);
	end();
}

static void refuses_what_is_too_large(void)
{
	char *text = NULL;
	char large[5000];

	begin();
	memset(large, 'x', sizeof(large));
	CU_ASSERT(state_file_write(path, large, sizeof(large)) == 0);
	CU_ASSERT(state_file_read(path, sizeof(large) - 1, &text, NULL) == -EFBIG);
	CU_ASSERT(state_file_read(path, 10, &text, NULL) == -EFBIG);
	CU_ASSERT(state_file_read(path, sizeof(large), &text, NULL) == 0);
	free(text);
	end();
}

static void refuses_what_is_no_plain_file(void)
{
	char *text = NULL;

	begin();
	CU_ASSERT(mkdir(path, 0700) == 0);
	CU_ASSERT(state_file_read(path, 100, &text, NULL) == -EBADMSG);
	CU_ASSERT(state_file_write(path, "x", 1) == -EISDIR);
	rmdir(path);
	CU_ASSERT(symlink("/etc/passwd", path) == 0);
	CU_ASSERT(state_file_read(path, 100, &text, NULL) == -ELOOP);
	CU_ASSERT(state_file_write("/nonexistent-polder/x", "x", 1) == -ENOENT);
	CU_ASSERT(state_file_write("/tmp/", "x", 1) == -EINVAL);
	end();
}

static void keeps_the_old_version_when_the_disk_is_full(void)
{
	char *large = calloc(1, 1 << 20);
	char *text = NULL;

	begin();
	if (mount("polder-unit", directory, "tmpfs", 0, "size=64k,mode=0700") < 0) {
		printf(" (no tmpfs: %s) ", strerror(errno));
		CU_ASSERT(errno == EPERM);
		free(large);
		end();
		return;
	}
	CU_ASSERT(state_file_write(path, "old", 3) == 0);
	CU_ASSERT(state_file_write(path, large, 1 << 20) == -ENOSPC);
	CU_ASSERT(content_is("old", 3));
	/* Nothing is left of the attempt: another file of some size fits. */
	CU_ASSERT(state_file_write(path, large, 40000) == 0);
	CU_ASSERT(mount("none", directory, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0);
	CU_ASSERT(state_file_write(path, "new", 3) == -EROFS);
	CU_ASSERT(state_file_read(path, 1 << 20, &text, NULL) == 0);
	free(text);
	free(large);
	CU_ASSERT(umount(directory) == 0);
	end();
}

static void replaces_the_remains_of_a_crash(void)
{
	char remains[96];

	begin();
	snprintf(remains, sizeof(remains), "%s/.state.json.tmp", directory);
	unit_write(remains, "half of somethi", 15);
	CU_ASSERT(state_file_write(path, "new", 3) == 0);
	CU_ASSERT(content_is("new", 3));
	CU_ASSERT(access(remains, F_OK) < 0);
	end();
}

/* The descriptor is closed and the content written, whatever a signal makes close() say. */
static void a_signal_at_the_end_is_no_failure(void)
{
	int status;
	pid_t child;

	begin();
	child = fork();
	if (child == 0)
		_exit(!refuse_call(SYS_close, REFUSE_ANY, EINTR) ||
		      state_file_write(path, "one", 3) != 0);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	child = fork();
	if (child == 0)
		_exit(!refuse_call(SYS_close, REFUSE_ANY, ENOSPC) ||
		      state_file_write(path, "two", 3) != -ENOSPC);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	end();
}

static void keeps_json_values(void)
{
	json_t *value = json_pack("{s:[i,i], s:s}", "a", 1, 2, "b", "text");
	json_t *read = NULL;

	begin();
	CU_ASSERT(state_file_write_json(path, value) == 0);
	CU_ASSERT(state_file_read_json(path, 1000, &read) == 0);
	CU_ASSERT(json_equal(value, read));
	json_decref(read);
	json_decref(value);
	read = NULL;
	CU_ASSERT(state_file_write(path, "{\"a\":1,\"a\":2}", 13) == 0);
	CU_ASSERT(state_file_read_json(path, 1000, &read) == -EBADMSG);
	CU_ASSERT(read == NULL);
	end();
}

/* Bit by bit. */
static uint32_t slow_crc32(const unsigned char *data, size_t length)
{
	uint32_t crc = 0xffffffffu;

	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* Files of former versions are read, whatever their length. */
static void the_checksum_is_the_crc_of_ethernet(void)
{
	unsigned char data[64];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 73 + 201);
	CU_ASSERT_EQUAL(state_file_crc32("123456789", 9), 0xcbf43926u);
	for (size_t first = 0; first < 8; first++)
		for (size_t length = 0; length <= sizeof(data) - first; length++)
			CU_ASSERT_EQUAL(state_file_crc32(data + first, length),
					slow_crc32(data + first, length));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(the_checksum_is_the_crc_of_ethernet),
		UNIT_TEST(reads_what_was_written),
		UNIT_TEST(file_that_is_missing_is_no_damage),
		UNIT_TEST(notices_a_cut_at_every_byte),
		UNIT_TEST(notices_each_flipped_bit),
		UNIT_TEST(notices_what_was_added),
		UNIT_TEST(refuses_what_is_too_large),
		UNIT_TEST(refuses_what_is_no_plain_file),
		UNIT_TEST(keeps_the_old_version_when_the_disk_is_full),
		UNIT_TEST(replaces_the_remains_of_a_crash),
		UNIT_TEST(a_signal_at_the_end_is_no_failure),
		UNIT_TEST(keeps_json_values),
	};

	return UNIT_RUN("state_file", tests);
}
