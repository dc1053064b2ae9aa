/* SPDX-License-Identifier: Apache-2.0 */
/* What a sysdump consists of: secrets overwritten, files in an archive that tar reads. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/archive.h"
#include "agent/cli/process.h"
#include "agent/cli/redact.h"
#include "tests/unit/unit.h"

static void check(const char *text, const char *expected)
{
	char *copy = strdup(text);

	redact(copy, strlen(copy));
	CU_ASSERT_STRING_EQUAL(copy, expected);
	free(copy);
}

static void secrets_are_overwritten(void)
{
	check("Authorization: Bearer abcdef0123456789", "Authorization: Bearer xxxxxxxxxxxxxxxx");
	check("a eyJhbGciOi.eyJpc3Mi.c2ln_-x b", "a xxxxxxxxxxxxxxxxxxxxxxxxxxx b");
	check("{\"token\": \"abc\", \"a\": 1}", "{\"token\": \"xxx\", \"a\": 1}");
	check("DB_PASSWORD=hunter2 next", "DB_PASSWORD=xxxxxxx next");
	check("client-key-data: QUJD+/==\nname: x", "client-key-data: xxxxxxxx\nname: x");
	check("{\\\"secret\\\":\\\"abc\\\"}", "{\\\"secret\\\":\\\"xxx\\\"}");
	check("https://me:pass@192.0.2.1:6443/x", "https://xxxxxxx@192.0.2.1:6443/x");
	check("-----BEGIN RSA PRIVATE KEY-----\nQUJD\nREVG\n-----END RSA PRIVATE KEY-----\n",
	      "-----BEGIN RSA PRIVATE KEY-----\nxxxx\nxxxx\n-----END RSA PRIVATE KEY-----\n");
	check("-----BEGIN PRIVATE KEY-----\nQUJD\n", "-----BEGIN PRIVATE KEY-----\nxxxx\n");
	check("password", "password");
	check("token=", "token=");
}

static void what_is_no_secret_stays(void)
{
	static const char *const texts[] = {
		"tokenFile /var/run/secrets/kubernetes.io/serviceaccount/token",
		"10.96.0.1:443 https://192.0.2.1:6443/api?x=a@b",
		"Basic rules, Bearer of",
		"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----",
		"{\"key\": \"node-name\", \"value\": \"n1\"}",
		"key: hey eyes",
		"",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		check(texts[i], texts[i]);
}

static void bytes_that_are_no_text_are_taken(void)
{
	char bytes[] = "\0token=ab\0\xff\xfe://\0";

	redact(bytes, sizeof(bytes) - 1);
	CU_ASSERT(!memcmp(bytes, "\0token=xx\0\xff\xfe://\0", sizeof(bytes) - 1));
}

static void environments_of_pods_are_left_out(void)
{
	json_t *pod = json_loads("{\"items\": [{\"metadata\": {\"annotations\": {\"a\": \"b\", "
				 "\"kubectl.kubernetes.io/last-applied-configuration\": \"S\"}}, "
				 "\"spec\": {\"containers\": [{\"name\": \"c\", \"env\": "
				 "[{\"name\": \"X\", \"value\": \"S\"}]}]}}]}",
				 0, NULL);
	char *text;

	redact_object(pod);
	text = json_dumps(pod, JSON_COMPACT);
	CU_ASSERT_STRING_EQUAL(text, "{\"items\":[{\"metadata\":{\"annotations\":{\"a\":\"b\"}},"
				     "\"spec\":{\"containers\":[{\"name\":\"c\"}]}}]}");
	free(text);
	json_decref(pod);
}

static void tar_reads_the_archive(void)
{
	char path[] = "/tmp/polder-archive-XXXXXX";
	int fd = mkstemp(path);
	char *const argv[] = {"tar", "-xzOf", path, NULL};
	char *const names[] = {"tar", "-tzf", path, NULL};
	struct process list[] = {{.argv = argv, .most = 1 << 20}, {.argv = names, .most = 4096}};
	struct archive *archive;
	char block[1500];

	memset(block, 'b', sizeof(block));
	CU_ASSERT_FATAL(!archive_open(fd, "dir", &archive));
	CU_ASSERT_EQUAL(archive_add(archive, "a/one.txt", "hello", 5), 0);
	CU_ASSERT_EQUAL(archive_add(archive, "empty", "", 0), 0);
	CU_ASSERT_EQUAL(archive_add(archive, "b\x1b[2Jad\nname", block, 512), 0);
	CU_ASSERT_EQUAL(archive_add(archive, "c", block, sizeof(block)), 0);
	CU_ASSERT_EQUAL(archive_close(archive), 0);
	processes_run(list, 2, 2, 20000);
	CU_ASSERT_EQUAL(list[0].status, 0);
	CU_ASSERT_EQUAL(list[0].output_length, 5 + 512 + sizeof(block));
	CU_ASSERT_STRING_EQUAL(list[1].output,
			       "dir/a/one.txt\ndir/empty\ndir/b__2Jad_name\ndir/c\n");
	process_clear(&list[0]);
	process_clear(&list[1]);
	unlink(path);
}

static void a_full_disk_is_told(void)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct archive *archive;
	char *random = malloc(1 << 20);

	CU_ASSERT_FATAL(fd >= 0 && random && !archive_open(fd, "dir", &archive));
	for (size_t i = 0; i < 1 << 20; i++)
		random[i] = (char)(i * i * 2654435761u >> 13);
	archive_add(archive, "a", random, 1 << 20);
	CU_ASSERT_EQUAL(archive_close(archive), -ENOSPC);
	free(random);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(secrets_are_overwritten),
		UNIT_TEST(what_is_no_secret_stays),
		UNIT_TEST(bytes_that_are_no_text_are_taken),
		UNIT_TEST(environments_of_pods_are_left_out),
		UNIT_TEST(tar_reads_the_archive),
		UNIT_TEST(a_full_disk_is_told),
	};

	return unit_run("sysdump", tests, sizeof(tests) / sizeof(*tests));
}
