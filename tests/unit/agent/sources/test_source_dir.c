/* SPDX-License-Identifier: Apache-2.0 */
/* The resources directory: how files come, change and go. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/unit/agent/sources/dir_world.h"

static void everything_is_read_before_it_is_synced(void)
{
	struct world world;

	begin_without(&world);
	mkdir(world.path, 0700);
	save(&world, "a.json", TEXT("a", "1"));
	save(&world, "b.json", TEXT("b", "1"));
	CU_ASSERT(!world.synced);
	CU_ASSERT(unit_wait(&world.loop, is_synced, &world, 2000));
	CU_ASSERT(store_count(world.store, OBJECT_NAMESPACE) == 2);
	unit_wait(&world.loop, NULL, NULL, 100);
	CU_ASSERT(world.synced == 1);
	finish(&world);
}

static void waits_for_a_directory_that_is_missing(void)
{
	struct error error;
	struct world world;
	char path[512];

	begin_without(&world);
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strstr(error.text, "No such file") != NULL);
	CU_ASSERT(!world.synced);
	/* A file in its place is no directory. */
	unit_write(world.path, "x", 1);
	unit_wait(&world.loop, NULL, NULL, 120);
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strstr(error.text, "Not a directory") != NULL);
	unlink(world.path);
	mkdir(at(&world, "../new", path), 0700);
	save(&world, "../new/a.json", TEXT("a", "1"));
	CU_ASSERT(rename(path, world.path) == 0);
	CU_ASSERT(has(&world, "a", "1"));
	CU_ASSERT(world.synced == 1);
	CU_ASSERT(problem_count(&world, NULL) == 0);
	finish(&world);
}

static void reads_a_new_a_changed_and_a_deleted_file(void)
{
	struct world world;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	save(&world, "a.json", TEXT("a", "2"));
	CU_ASSERT(has(&world, "a", "2"));
	save(&world, "a.json", "[" TEXT("a", "3") "," TEXT("b", "1") "]");
	CU_ASSERT(has(&world, "b", "1"));
	CU_ASSERT(has(&world, "a", "3"));
	delete (&world, "a.json");
	CU_ASSERT(has(&world, "a", NULL));
	CU_ASSERT(has(&world, "b", NULL));
	finish(&world);
}

static void a_change_arrives_within_milliseconds(void)
{
	struct timespec begin_time, end_time;
	struct world world;
	double ms;

	begin(&world);
	clock_gettime(CLOCK_MONOTONIC, &begin_time);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	delete (&world, "a.json");
	CU_ASSERT(has(&world, "a", NULL));
	clock_gettime(CLOCK_MONOTONIC, &end_time);
	ms = (double)(end_time.tv_sec - begin_time.tv_sec) * 1e3 +
	     (double)(end_time.tv_nsec - begin_time.tv_nsec) / 1e6;
	/* 2 of them for the deletion; the rest is room for a busy machine. */
	CU_ASSERT(ms < 500);
	finish(&world);
}

static void atomic_rename_into_place_replaces(void)
{
	struct world world;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	save(&world, "a.json.new", TEXT("a", "2"));
	CU_ASSERT(keeps(&world, "a", "1"));
	move(&world, "a.json.new", "a.json");
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(world.deletions == 0);
	finish(&world);
}

static void an_editors_save_deletes_nothing(void)
{
	struct world world;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	/* The old file becomes a backup, the new one is written under its name. */
	move(&world, "a.json", "a.json~");
	save(&world, "a.json", TEXT("a", "2"));
	delete (&world, "a.json~");
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(keeps(&world, "a", "2"));
	CU_ASSERT(world.deletions == 0);
	finish(&world);
}

static void renaming_a_file_deletes_nothing(void)
{
	struct world world;
	const struct object *object;

	begin(&world);
	save(&world, "b.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	object = store_get(world.store, OBJECT_NAMESPACE, "", "a");
	move(&world, "b.json", "a.json");
	CU_ASSERT(keeps(&world, "a", "1"));
	move(&world, "a.json", "c.json");
	CU_ASSERT(keeps(&world, "a", "1"));
	CU_ASSERT(world.deletions == 0);
	CU_ASSERT(store_get(world.store, OBJECT_NAMESPACE, "", "a") == object);
	finish(&world);
}

static void half_written_file_changes_nothing(void)
{
	static const char text[] = TEXT("a", "2");
	struct world world;
	char path[512];
	int fd;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	fd = open(at(&world, "a.json", path), O_WRONLY | O_TRUNC | O_CLOEXEC);
	CU_ASSERT(write(fd, text, 30) == 30);
	CU_ASSERT(keeps(&world, "a", "1"));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	CU_ASSERT(write(fd, text + 30, sizeof(text) - 31) == sizeof(text) - 31);
	close(fd);
	CU_ASSERT(has(&world, "a", "2"));

	/* A new one is no problem before it is closed, either. */
	fd = open(at(&world, "b.json", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT(write(fd, text, 30) == 30);
	CU_ASSERT(keeps(&world, "a", "2"));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	close(fd);
	CU_ASSERT(becomes(&world, has_problem));
	finish(&world);
}

static void bad_file_keeps_its_last_good_version(void)
{
	struct error error;
	struct world world;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	save(&world, "b.json", TEXT("b", "1"));
	CU_ASSERT(has(&world, "b", "1"));
	save(&world, "a.json", "[\n" TEXT("a", "2") ",\n{\"kind\": 5}]");
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strncmp(error.path, "$[1]", 4) == 0);
	CU_ASSERT(keeps(&world, "a", "1"));
	save(&world, "b.json", TEXT("b", "2"));
	CU_ASSERT(has(&world, "b", "2"));
	save(&world, "a.json", TEXT("a", "3"));
	CU_ASSERT(has(&world, "a", "3"));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	save(&world, "a.json", "{");
	CU_ASSERT(becomes(&world, has_problem));
	delete (&world, "a.json");
	CU_ASSERT(has(&world, "a", NULL));
	CU_ASSERT(becomes(&world, has_no_problem));
	finish(&world);
}

static void other_names_are_nothing(void)
{
	struct world world;

	begin(&world);
	save(&world, ".a.json", TEXT("a", "1"));
	save(&world, "a.yaml", TEXT("a", "1"));
	save(&world, "a.json.swp", "{");
	save(&world, ".json", "{");
	save(&world, "json", "{");
	CU_ASSERT(keeps(&world, "a", NULL));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	finish(&world);
}

static void what_is_no_plain_file_is_refused(void)
{
	struct error error;
	struct world world;
	char path[512];

	begin(&world);
	CU_ASSERT(mkfifo(at(&world, "pipe.json", path), 0600) == 0);
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strstr(error.text, "not a regular file") != NULL);
	unlink(path);
	CU_ASSERT(becomes(&world, has_no_problem));
	CU_ASSERT(mkdir(at(&world, "dir.json", path), 0700) == 0);
	CU_ASSERT(becomes(&world, has_problem));
	rmdir(path);
	CU_ASSERT(becomes(&world, has_no_problem));
	finish(&world);
}

static void too_large_a_file_is_refused_with_the_numbers(void)
{
	struct error error;
	struct world world;
	char path[512];
	int fd;

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	fd = open(at(&world, "a.json", path), O_WRONLY | O_CLOEXEC);
	CU_ASSERT(ftruncate(fd, 100 << 20) == 0);
	close(fd);
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strstr(error.text, "104857600") && strstr(error.text, "67108864"));
	CU_ASSERT(keeps(&world, "a", "1"));
	finish(&world);
}

static void links_are_followed(void)
{
	struct world world;
	char path[512];

	begin(&world);
	save(&world, "../target", TEXT("a", "1"));
	CU_ASSERT(symlink("../target", at(&world, "a.json", path)) == 0);
	CU_ASSERT(has(&world, "a", "1"));
	/* Written in place, replaced, away and back: outside of the watched directory. */
	save(&world, "../target", TEXT("a", "2"));
	CU_ASSERT(has(&world, "a", "2"));
	save(&world, "../other", TEXT("a", "3"));
	move(&world, "../other", "../target");
	CU_ASSERT(has(&world, "a", "3"));
	delete (&world, "../target");
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(keeps(&world, "a", "3"));
	save(&world, "../target", TEXT("a", "4"));
	CU_ASSERT(has(&world, "a", "4"));
	CU_ASSERT(becomes(&world, has_no_problem));
	delete (&world, "a.json");
	CU_ASSERT(has(&world, "a", NULL));
	finish(&world);
}

static void a_mounted_config_map_is_switched_at_once(void)
{
	struct world world;
	char path[512];

	begin(&world);
	mkdir(at(&world, "..1", path), 0700);
	mkdir(at(&world, "..2", path), 0700);
	save(&world, "..1/a.json", TEXT("a", "1"));
	save(&world, "..2/a.json", TEXT("a", "2"));
	CU_ASSERT(symlink("..1", at(&world, "..data", path)) == 0);
	CU_ASSERT(symlink("..data/a.json", at(&world, "a.json", path)) == 0);
	CU_ASSERT(has(&world, "a", "1"));
	CU_ASSERT(symlink("..2", at(&world, "..tmp", path)) == 0);
	move(&world, "..tmp", "..data");
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(world.deletions == 0);
	finish(&world);
}

static void a_hard_link_is_read(void)
{
	struct world world;
	char from[512], to[512];

	begin(&world);
	save(&world, "../beside", TEXT("a", "1"));
	CU_ASSERT(link(at(&world, "../beside", from), at(&world, "a.json", to)) == 0);
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

static void a_directory_that_goes_keeps_its_objects(void)
{
	struct error error;
	struct world world;
	char away[512];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	save(&world, "b.json", TEXT("b", "1"));
	CU_ASSERT(has(&world, "b", "1"));
	CU_ASSERT(rename(world.path, at(&world, "../away", away)) == 0);
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(problem_count(&world, &error) == 1);
	CU_ASSERT(strstr(error.text, "waiting") != NULL);
	CU_ASSERT(keeps(&world, "a", "1"));
	unit_remove_directory(away);
	CU_ASSERT(keeps(&world, "b", "1"));
	CU_ASSERT(world.deletions == 0);

	CU_ASSERT(mkdir(away, 0700) == 0);
	save(&world, "../away/a.json", TEXT("a", "2"));
	CU_ASSERT(rename(away, world.path) == 0);
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(has(&world, "b", NULL));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	save(&world, "c.json", TEXT("c", "1"));
	CU_ASSERT(has(&world, "c", "1"));
	finish(&world);
}

static void an_emptied_and_removed_directory_comes_back(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(rmdir(world.path) == 0);
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(mkdir(world.path, 0700) == 0);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	CU_ASSERT(becomes(&world, has_no_problem));
	finish(&world);
}

static void a_directory_switched_by_rename_loses_nothing_in_between(void)
{
	struct world world;
	char new[512], old[512];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	save(&world, "b.json", TEXT("b", "1"));
	CU_ASSERT(has(&world, "b", "1"));
	CU_ASSERT(mkdir(at(&world, "../new", new), 0700) == 0);
	save(&world, "../new/a.json", TEXT("a", "2"));
	save(&world, "../new/x.json", TEXT("b", "1"));
	CU_ASSERT(rename(world.path, at(&world, "../old", old)) == 0);
	CU_ASSERT(rename(new, world.path) == 0);
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(keeps(&world, "b", "1"));
	CU_ASSERT(world.deletions == 0);
	CU_ASSERT(problem_count(&world, NULL) == 0);
	finish(&world);
}

static void a_parent_that_is_switched_is_noticed(void)
{
	struct world world;
	char moved[64];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	snprintf(moved, sizeof(moved), "%s.old", world.top);
	CU_ASSERT(rename(world.top, moved) == 0);
	mkdir(world.top, 0700);
	mkdir(world.path, 0700);
	save(&world, "a.json", TEXT("a", "2"));
	CU_ASSERT(has(&world, "a", "2"));
	unit_remove_directory(moved);
	finish(&world);
}

/* The kernel's queue of events, made as short as it can be. */
static bool set_queue(const char *value, char old[32])
{
	FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r+e");
	bool done;

	if (!file)
		return false;
	if (old && !fgets(old, 32, file))
		old[0] = '\0';
	rewind(file);
	done = fputs(value, file) >= 0;
	return fclose(file) == 0 && done;
}

static void an_overflow_of_events_is_survived(void)
{
	char old[32] = "16384", name[64], text[512];
	struct world world;
	bool shortened = set_queue("8", old);

	begin(&world);
	if (shortened)
		set_queue(old, NULL);
	else
		printf(" (fs.inotify.max_queued_events cannot be set here) ");
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%d.json", i);
		snprintf(text, sizeof(text),
			 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
			 "\"n%d\"}}",
			 i);
		save(&world, name, text);
	}
	save(&world, "last.json", TEXT("last", "1"));
	delete (&world, "50.json");
	CU_ASSERT(has(&world, "last", "1"));
	CU_ASSERT(has(&world, "n50", NULL));
	CU_ASSERT(store_count(world.store, OBJECT_NAMESPACE) == 100);
	finish(&world);
}

static void an_unreadable_file_is_tried_again(void)
{
	struct world world;
	char path[512];

	begin(&world);
	CU_ASSERT(symlink("a.json", at(&world, "a.json", path)) == 0);
	CU_ASSERT(becomes(&world, has_problem));
	delete (&world, "a.json");
	CU_ASSERT(becomes(&world, has_no_problem));
	finish(&world);
}

/* ---------------------------------------------------------------- over a restart */

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(everything_is_read_before_it_is_synced),
		UNIT_TEST(waits_for_a_directory_that_is_missing),
		UNIT_TEST(reads_a_new_a_changed_and_a_deleted_file),
		UNIT_TEST(a_change_arrives_within_milliseconds),
		UNIT_TEST(atomic_rename_into_place_replaces),
		UNIT_TEST(an_editors_save_deletes_nothing),
		UNIT_TEST(renaming_a_file_deletes_nothing),
		UNIT_TEST(half_written_file_changes_nothing),
		UNIT_TEST(bad_file_keeps_its_last_good_version),
		UNIT_TEST(other_names_are_nothing),
		UNIT_TEST(what_is_no_plain_file_is_refused),
		UNIT_TEST(too_large_a_file_is_refused_with_the_numbers),
		UNIT_TEST(links_are_followed),
		UNIT_TEST(a_mounted_config_map_is_switched_at_once),
		UNIT_TEST(a_hard_link_is_read),
		UNIT_TEST(a_directory_that_goes_keeps_its_objects),
		UNIT_TEST(an_emptied_and_removed_directory_comes_back),
		UNIT_TEST(a_directory_switched_by_rename_loses_nothing_in_between),
		UNIT_TEST(a_parent_that_is_switched_is_noticed),
		UNIT_TEST(an_overflow_of_events_is_survived),
		UNIT_TEST(an_unreadable_file_is_tried_again),
	};

	return UNIT_RUN("source_dir", tests);
}
