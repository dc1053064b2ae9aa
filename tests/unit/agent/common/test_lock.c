/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of directories, files and network namespaces. Needs root. */
#include "agent/common/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define NAME "polder-test-lock"

static void a_directory_is_locked_once(void)
{
	char top[32], path[64];
	int one = -1, other = -1;

	unit_directory(top);
	CU_ASSERT(lock_directory(top, &one) == 0);
	CU_ASSERT(lock_directory(top, &other) == -EWOULDBLOCK && other == -1);
	CU_ASSERT(lock_is_at(top, one));
	close(one);
	CU_ASSERT(lock_directory(top, &other) == 0);
	/* Another one in its place has no lock. */
	snprintf(path, sizeof(path), "%s/x", top);
	CU_ASSERT(!lock_is_at(path, other));
	CU_ASSERT(mkdir(path, 0700) == 0 && !lock_is_at(path, other));
	close(other);
	CU_ASSERT(lock_directory("/nonexistent", &one) == -ENOENT);
	unit_remove_directory(top);
}

static void a_file_is_made_and_locked_once(void)
{
	char top[32], path[64];
	struct stat status;
	int one = -1, other = -1;

	unit_directory(top);
	snprintf(path, sizeof(path), "%s/lock", top);
	CU_ASSERT(lock_file(path, &one) == 0);
	CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600);
	CU_ASSERT(lock_file(path, &other) == -EWOULDBLOCK);
	unlink(path);
	CU_ASSERT(!lock_is_at(path, one));
	CU_ASSERT(lock_file(path, &other) == 0);
	close(one);
	close(other);
	unit_remove_directory(top);
}

static void a_network_namespace_is_locked_once(void)
{
	int one = -1, other = -1;
	pid_t pid = 0;

	CU_ASSERT(lock_network_namespace(NAME, &one, &pid) == 0);
	CU_ASSERT(lock_network_namespace(NAME, &other, &pid) == -EADDRINUSE);
	CU_ASSERT(pid == getpid() && other == -1);
	/* Another one is another's. */
	CU_ASSERT_FATAL(unshare(CLONE_NEWNET) == 0);
	CU_ASSERT(lock_network_namespace(NAME, &other, &pid) == 0);
	close(other);
	close(one);
}

/* A process without root's rights binds the name, and listens if it is told to. */
static pid_t squat(bool listens)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int ready[2], fd;
	char byte;
	pid_t pid;

	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, NAME);
	CU_ASSERT_FATAL(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (setresuid(65534, 65534, 65534) < 0 ||
		    bind(fd, (struct sockaddr *)&address,
			 offsetof(struct sockaddr_un, sun_path) + 1 + strlen(NAME)) < 0 ||
		    (listens && listen(fd, 1) < 0) || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	CU_ASSERT(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return pid;
}

static void end_of(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void others_names_keep_no_agent_away(void)
{
	int one = -1, other = -1;
	pid_t pid = 0, squatter;

	for (int listens = 0; listens < 2; listens++) {
		squatter = squat(listens);
		CU_ASSERT(lock_network_namespace(NAME, &one, &pid) == 0);
		/* Nor two in. */
		CU_ASSERT(lock_network_namespace(NAME, &other, &pid) == -EADDRINUSE);
		CU_ASSERT(pid == getpid());
		end_of(squatter);
		/* The name is free again, and the lock is still there. */
		CU_ASSERT(lock_network_namespace(NAME, &other, &pid) == -EADDRINUSE);
		close(one);
	}
	CU_ASSERT(lock_network_namespace(NAME, &one, &pid) == 0);
	close(one);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_directory_is_locked_once),
		UNIT_TEST(a_file_is_made_and_locked_once),
		UNIT_TEST(a_network_namespace_is_locked_once),
		UNIT_TEST(others_names_keep_no_agent_away),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	return UNIT_RUN("lock", tests);
}
