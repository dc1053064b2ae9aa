/* SPDX-License-Identifier: Apache-2.0 */
/* The resources directory where the kernel gives no inotify instance, or no watch: it is looked at
 * instead. The limits are those of a user namespace of this process alone. */
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "tests/unit/agent/sources/dir_world.h"

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

/* In a user namespace of its own, with uid and gid as before. */
static bool enter_namespace(void)
{
	char uid[32], gid[32];

	snprintf(uid, sizeof(uid), "%u %u 1", geteuid(), geteuid());
	snprintf(gid, sizeof(gid), "%u %u 1", getegid(), getegid());
	return unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/uid_map", uid) &&
	       write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", gid);
}

static void limit(const char *instances, const char *watches)
{
	CU_ASSERT(write_text("/proc/sys/user/max_inotify_instances", instances));
	CU_ASSERT(write_text("/proc/sys/user/max_inotify_watches", watches));
}

static void follows_files(void)
{
	struct world world;
	char path[512], target[512];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	save(&world, "a.json", TEXT("a", "2"));
	CU_ASSERT(has(&world, "a", "2"));
	save(&world, "b.json", TEXT("b", "1"));
	CU_ASSERT(has(&world, "b", "1"));
	/* A bad one is told, and the last good version stays. */
	save(&world, "a.json", "{");
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(keeps(&world, "a", "2"));
	save(&world, "a.json", TEXT("a", "3"));
	CU_ASSERT(has(&world, "a", "3"));
	CU_ASSERT(becomes(&world, has_no_problem));
	/* What a link leads to. */
	save(&world, "../target", TEXT("l", "1"));
	CU_ASSERT(symlink(at(&world, "../target", target), at(&world, "l.json", path)) == 0);
	CU_ASSERT(has(&world, "l", "1"));
	save(&world, "../target", TEXT("l", "2"));
	CU_ASSERT(has(&world, "l", "2"));
	delete (&world, "b.json");
	CU_ASSERT(has(&world, "b", NULL));
	move(&world, "a.json", "c.json");
	CU_ASSERT(keeps(&world, "a", "3"));
	finish(&world);
}

/* The directory itself is put in another's place. */
static void follows_the_directory(void)
{
	struct world world;
	char path[512], old[512];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	mkdir(at(&world, "../new", path), 0700);
	save(&world, "../new/b.json", TEXT("b", "1"));
	CU_ASSERT(rename(world.path, at(&world, "../old", old)) == 0);
	CU_ASSERT(rename(path, world.path) == 0);
	CU_ASSERT(has(&world, "b", "1"));
	CU_ASSERT(has(&world, "a", NULL));
	finish(&world);
}

static void without_an_instance_files_are_followed(void)
{
	limit("0", "0");
	follows_files();
}

static void without_an_instance_the_directory_is_followed(void)
{
	limit("0", "0");
	follows_the_directory();
}

static void without_a_watch_files_are_followed(void)
{
	limit("100", "0");
	follows_files();
}

static void without_a_watch_the_directory_is_followed(void)
{
	limit("100", "0");
	follows_the_directory();
}

/* Raising the limit is enough: no restart. */
static void events_come_again_when_the_kernel_has_room(void)
{
	struct world world;

	limit("0", "0");
	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	limit("100", "100");
	unit_wait(&world.loop, NULL, NULL, 10500);
	save(&world, "a.json", TEXT("a", "2"));
	/* Sooner than the next look. */
	unit_wait(&world.loop, NULL, NULL, 100);
	CU_ASSERT(keeps(&world, "a", "2"));
	finish(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(without_an_instance_files_are_followed),
		UNIT_TEST(without_an_instance_the_directory_is_followed),
		UNIT_TEST(without_a_watch_files_are_followed),
		UNIT_TEST(without_a_watch_the_directory_is_followed),
		UNIT_TEST(events_come_again_when_the_kernel_has_room),
	};

	if (!enter_namespace()) {
		printf("skipped: no user namespaces here\n");
		return 77;
	}
	return UNIT_RUN("source_polled", tests);
}
