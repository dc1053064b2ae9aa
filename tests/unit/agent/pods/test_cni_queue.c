/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of deletions: written whole, read with suspicion, finished once. */
#include "agent/pods/cni_queue.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/common/cni_deletion.h"
#include "tests/unit/refuse.h"

static char base[64], socket_path[96];
static int directory;

/* What the callback saw and says. */
static struct {
	unsigned int calls;
	int answer;
	char last[CNI_CONTAINER_ID_MAX + CNI_IFNAME_MAX + 2];
} finished;

static int finish(const char *container_id, const char *ifname, void *data)
{
	finished.calls++;
	snprintf(finished.last, sizeof(finished.last), "%s:%s", container_id, ifname);
	return finished.answer;
}

static int set_up(void)
{
	strcpy(base, "/tmp/polder-queue-XXXXXX");
	if (!mkdtemp(base))
		return 1;
	snprintf(socket_path, sizeof(socket_path), "%s/polder.sock", base);
	return cni_deletion_open_directory(socket_path, &directory) < 0;
}

static int tear_down(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" CNI_DELETION_DIRECTORY, base);
	close(directory);
	rmdir(path);
	return rmdir(base) < 0;
}

static void put(const char *file, const char *text)
{
	int fd = openat(directory, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static bool there(const char *file)
{
	return !faccessat(directory, file, F_OK, AT_SYMLINK_NOFOLLOW);
}

static void reset(void)
{
	memset(&finished, 0, sizeof(finished));
}

/* A queue that has run once, and its loop. */
static struct cni_queue *start(uv_loop_t *loop)
{
	struct cni_queue *queue = NULL;

	reset();
	uv_loop_init(loop);
	CU_ASSERT_EQUAL_FATAL(cni_queue_new(loop, socket_path, finish, NULL, &queue), 0);
	return queue;
}

static void stop(uv_loop_t *loop, struct cni_queue *queue)
{
	cni_queue_free(queue);
	uv_run(loop, UV_RUN_DEFAULT);
	CU_ASSERT_EQUAL(uv_loop_close(loop), 0);
}

static void a_note_is_read_back(void)
{
	struct cni_deletion note;

	CU_ASSERT_EQUAL(cni_deletion_write(directory, "c1", "eth0"), 0);
	CU_ASSERT(cni_deletion_exists(directory, "c1", "eth0"));
	CU_ASSERT_EQUAL(cni_deletion_read(directory, "c1:eth0.json", &note), 0);
	CU_ASSERT_STRING_EQUAL(note.container_id, "c1");
	CU_ASSERT_STRING_EQUAL(note.ifname, "eth0");
	CU_ASSERT_EQUAL(cni_deletion_remove(directory, "c1", "eth0"), 0);
	CU_ASSERT_EQUAL(cni_deletion_remove(directory, "c1", "eth0"), 0);
	CU_ASSERT_EQUAL(cni_deletion_read(directory, "c1:eth0.json", &note), -ENOENT);
}

/* It gets its name when it is whole. */
static void a_note_that_is_being_written_is_left_alone(void)
{
	uv_loop_t loop;
	struct cni_queue *queue;

	put(".c1:eth0.json", "{\"version\":1,");
	queue = start(&loop);
	CU_ASSERT_EQUAL(finished.calls, 0);
	CU_ASSERT(there(".c1:eth0.json"));
	CU_ASSERT_EQUAL(unlinkat(directory, ".c1:eth0.json", 0), 0);
	stop(&loop, queue);
}

static void a_note_cut_anywhere_is_damaged(void)
{
	const char *whole = "{\"version\":1,\"container_id\":\"c1\",\"ifname\":\"eth0\"}";
	struct cni_deletion note;

	CU_ASSERT_EQUAL(cni_deletion_decode(whole, strlen(whole), &note), 0);
	for (size_t length = 0; length < strlen(whole); length++)
		CU_ASSERT_EQUAL(cni_deletion_decode(whole, length, &note), -EBADMSG);
}

static void names_from_outside_are_checked(void)
{
	static const char *const bad[] = {
		"{\"version\":2,\"container_id\":\"c1\",\"ifname\":\"eth0\"}",
		"{\"version\":1,\"container_id\":\"../c1\",\"ifname\":\"eth0\"}",
		"{\"version\":1,\"container_id\":\"c1\",\"ifname\":\"..\"}",
		"{\"version\":1,\"container_id\":\"c1\",\"ifname\":\"waytoolongforaname\"}",
		"{\"version\":1,\"container_id\":5,\"ifname\":\"eth0\"}",
		"{\"version\":1,\"version\":1,\"container_id\":\"c1\",\"ifname\":\"eth0\"}",
	};
	struct cni_deletion note;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_EQUAL(cni_deletion_decode(bad[i], strlen(bad[i]), &note), -EBADMSG);
}

static void the_first_run_finishes_what_is_there(void)
{
	struct cni_queue *queue;
	uv_loop_t loop;

	cni_deletion_write(directory, "c1", "eth0");
	queue = start(&loop);
	CU_ASSERT_EQUAL(finished.calls, 1);
	CU_ASSERT_STRING_EQUAL(finished.last, "c1:eth0");
	CU_ASSERT_FALSE(there("c1:eth0.json"));
	stop(&loop, queue);
}

static void a_note_is_finished_when_it_comes(void)
{
	struct cni_queue *queue;
	uv_loop_t loop;

	queue = start(&loop);
	CU_ASSERT_EQUAL(finished.calls, 0);
	cni_deletion_write(directory, "c2", "net1");
	for (int i = 0; i < 100 && !finished.calls; i++)
		uv_run(&loop, UV_RUN_ONCE);
	CU_ASSERT_STRING_EQUAL(finished.last, "c2:net1");
	CU_ASSERT_FALSE(there("c2:net1.json"));
	stop(&loop, queue);
}

static void what_fails_is_kept_and_tried_again(void)
{
	struct cni_queue *queue;
	uv_loop_t loop;

	queue = start(&loop);
	finished.answer = -EBUSY;
	cni_deletion_write(directory, "c1", "eth0");
	CU_ASSERT_EQUAL(cni_queue_run(queue), 0);
	CU_ASSERT(there("c1:eth0.json"));
	finished.answer = 0;
	CU_ASSERT_EQUAL(cni_queue_run(queue), 1);
	CU_ASSERT_FALSE(there("c1:eth0.json"));
	CU_ASSERT_EQUAL(finished.calls, 2);
	stop(&loop, queue);
}

static void damaged_notes_are_put_aside(void)
{
	struct cni_queue *queue;
	uv_loop_t loop;

	put("c1:eth0.json", "{\"version\":1,\"container");
	put("c9:eth0.json", "{\"version\":1,\"container_id\":\"c1\",\"ifname\":\"eth0\"}");
	CU_ASSERT_EQUAL(symlinkat("/etc/passwd", directory, "link.json"), 0);
	put(".1.tmp", "half");
	put("readme", "not ours");
	queue = start(&loop);
	CU_ASSERT_EQUAL(finished.calls, 0);
	CU_ASSERT(there("c1:eth0.json.bad") && there("c9:eth0.json.bad") && there("link.json.bad"));
	CU_ASSERT_FALSE(there("c1:eth0.json") || there("c9:eth0.json") || there("link.json"));
	CU_ASSERT(there(".1.tmp") && there("readme"));
	stop(&loop, queue);
	unlinkat(directory, "c1:eth0.json.bad", 0);
	unlinkat(directory, "c9:eth0.json.bad", 0);
	unlinkat(directory, "link.json.bad", 0);
	unlinkat(directory, ".1.tmp", 0);
	unlinkat(directory, "readme", 0);
}

static void a_directory_that_others_may_write_is_refused(void)
{
	int fd = -1;

	CU_ASSERT_EQUAL(fchmod(directory, 0770), 0);
	CU_ASSERT_EQUAL(cni_deletion_open_directory(socket_path, &fd), -EPERM);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL(fchmod(directory, 0700), 0);
	CU_ASSERT_EQUAL(cni_deletion_open_directory("/nowhere/at/all.sock", &fd), -ENOENT);
}

static void a_directory_that_cannot_be_looked_at_is_not_said_to_be_others(void)
{
	int fd, status;
	pid_t child = fork();

	if (child == 0) {
#ifdef SYS_newfstatat
		if (!refuse_call(SYS_newfstatat, REFUSE_ANY, ENOMEM))
			_exit(1);
#endif
		_exit(!refuse_call(SYS_fstat, REFUSE_ANY, ENOMEM) ||
		      cni_deletion_open_directory(socket_path, &fd) != -ENOMEM);
	}
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
}

int main(void)
{
	CU_pSuite suite;
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite("cni_queue", set_up, tear_down);
	CU_ADD_TEST(suite, a_note_is_read_back);
	CU_ADD_TEST(suite, a_note_that_is_being_written_is_left_alone);
	CU_ADD_TEST(suite, a_note_cut_anywhere_is_damaged);
	CU_ADD_TEST(suite, names_from_outside_are_checked);
	CU_ADD_TEST(suite, the_first_run_finishes_what_is_there);
	CU_ADD_TEST(suite, a_note_is_finished_when_it_comes);
	CU_ADD_TEST(suite, what_fails_is_kept_and_tried_again);
	CU_ADD_TEST(suite, damaged_notes_are_put_aside);
	CU_ADD_TEST(suite, a_directory_that_others_may_write_is_refused);
	CU_ADD_TEST(suite, a_directory_that_cannot_be_looked_at_is_not_said_to_be_others);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
