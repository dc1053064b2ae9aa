/* SPDX-License-Identifier: Apache-2.0 */
/* The resources directory over a restart: the last good version of what cannot be used. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/unit/agent/sources/dir_world.h"

static size_t copy_count(const struct world *world)
{
	DIR *dir = opendir(world->copies);
	size_t count = 0;

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

/* The only copy's path. */
static void copy_path(const struct world *world, char path[512])
{
	DIR *dir = opendir(world->copies);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			snprintf(path, 512, "%s/%s", world->copies, entry->d_name);
	if (dir)
		closedir(dir);
}

/* a.json is good, and the agent away. */
static void keep_one_and_stop(struct world *world)
{
	begin(world);
	save(world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(world, "a", "1"));
	stop(world);
	CU_ASSERT(copy_count(world) == 1);
}

static void start_again(struct world *world)
{
	start(world);
	CU_ASSERT(unit_wait(&world->loop, is_synced, world, 2000));
}

static void bad_file_keeps_its_last_good_version_over_a_restart(void)
{
	struct world world;

	keep_one_and_stop(&world);
	save(&world, "a.json", "{\"kind\":");
	for (int i = 0; i < 2; i++) {
		start_again(&world);
		CU_ASSERT(has(&world, "a", "1"));
		CU_ASSERT(problem_count(&world, NULL) == 1);
		stop(&world);
	}
	save(&world, "a.json", TEXT("a", "2"));
	start_again(&world);
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(problem_count(&world, NULL) == 0);
	stop(&world);
	CU_ASSERT(copy_count(&world) == 1);
	unit_remove_directory(world.top);
}

static void restored_file_is_replaced_and_deleted_like_any_other(void)
{
	struct world world;

	keep_one_and_stop(&world);
	save(&world, "a.json", "{");
	start_again(&world);
	save(&world, "a.json", TEXT("a", "2"));
	CU_ASSERT(has(&world, "a", "2"));
	CU_ASSERT(becomes(&world, has_no_problem));
	save(&world, "a.json", "{");
	CU_ASSERT(keeps(&world, "a", "2"));
	delete (&world, "a.json");
	CU_ASSERT(has(&world, "a", NULL));
	CU_ASSERT(copy_count(&world) == 0);
	finish(&world);
}

static void unreadable_file_keeps_its_last_good_version_over_a_restart(void)
{
	struct world world;
	char path[512];

	keep_one_and_stop(&world);
	delete (&world, "a.json");
	CU_ASSERT(symlink("nowhere", at(&world, "a.json", path)) == 0);
	start_again(&world);
	CU_ASSERT(has(&world, "a", "1"));
	CU_ASSERT(problem_count(&world, NULL) == 1);
	finish(&world);
}

static void file_deleted_while_nobody_watches_is_deleted_with_its_copy(void)
{
	struct world world;

	keep_one_and_stop(&world);
	delete (&world, "a.json");
	start_again(&world);
	CU_ASSERT(has(&world, "a", NULL));
	CU_ASSERT(copy_count(&world) == 0);
	/* One of the same name that comes later is a new file. */
	save(&world, "a.json", "{");
	CU_ASSERT(becomes(&world, has_problem));
	CU_ASSERT(keeps(&world, "a", NULL));
	finish(&world);
}

static void directory_missing_at_start_keeps_the_copies(void)
{
	struct world world;
	char path[512];

	keep_one_and_stop(&world);
	move(&world, "../resources", "../away");
	start(&world);
	unit_wait(&world.loop, NULL, NULL, 120);
	CU_ASSERT(world.synced == 0);
	CU_ASSERT(copy_count(&world) == 1);
	save(&world, "../away/a.json", "{");
	CU_ASSERT(rename(at(&world, "../away", path), world.path) == 0);
	CU_ASSERT(unit_wait(&world.loop, is_synced, &world, 2000));
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

static void damaged_copy_is_put_aside_and_everything_else_goes_on(void)
{
	struct world world;
	char path[512], aside[600];

	keep_one_and_stop(&world);
	copy_path(&world, path);
	CU_ASSERT(truncate(path, 40) == 0);
	save(&world, "a.json", "{");
	save(&world, "b.json", TEXT("b", "1"));
	start(&world);
	CU_ASSERT(has(&world, "b", "1"));
	CU_ASSERT(has(&world, "a", NULL));
	CU_ASSERT(problem_count(&world, NULL) == 1);
	/* What it may have denied is not known to be gone. */
	CU_ASSERT(world.synced == 0);
	snprintf(aside, sizeof(aside), "%s.bad", path);
	CU_ASSERT(access(aside, F_OK) == 0);
	/* It goes with its file. */
	delete (&world, "a.json");
	CU_ASSERT(becomes(&world, has_no_problem));
	CU_ASSERT(access(aside, F_OK) < 0);
	CU_ASSERT(unit_wait(&world.loop, is_synced, &world, 2000));
	finish(&world);
}

static void broken_file_without_a_copy_is_waited_for(void)
{
	static const char *const texts[] = {"", "{", "\0\0\0\0", "[}"};
	struct world world;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		begin_without(&world);
		mkdir(world.path, 0700);
		save(&world, "a.json", TEXT("a", "1"));
		save(&world, "broken.json", texts[i]);
		CU_ASSERT(has(&world, "a", "1"));
		unit_wait(&world.loop, NULL, NULL, 100);
		CU_ASSERT(world.synced == 0);
		CU_ASSERT(problem_count(&world, NULL) == 1);
		save(&world, "broken.json", TEXT("b", "1"));
		CU_ASSERT(unit_wait(&world.loop, is_synced, &world, 2000));
		CU_ASSERT(has(&world, "b", "1"));
		CU_ASSERT(problem_count(&world, NULL) == 0);
		finish(&world);
	}
}

/* Nothing was in force before it came, and nothing is what it stands for. */
static void file_broken_from_its_first_moment_stops_no_later_start(void)
{
	struct world world;

	begin(&world);
	save(&world, "a.json", "{");
	CU_ASSERT(becomes(&world, has_problem));
	stop(&world);
	for (int i = 0; i < 2; i++) {
		start_again(&world);
		CU_ASSERT(problem_count(&world, NULL) == 1);
		stop(&world);
	}
	start(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

static void a_place_for_copies_that_cannot_be_used_stops_nothing(void)
{
	struct world world;

	begin(&world);
	stop(&world);
	rmdir(world.copies);
	unit_write(world.copies, "x", 1);
	start_again(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

static bool has_a_copy(void *data)
{
	return copy_count(data) > 0;
}

/* A place that can be used after some time has the copies of all that was read before. */
static void what_could_not_be_kept_is_kept_once_it_can(void)
{
	struct world world = {};

	unit_directory(world.top);
	snprintf(world.path, sizeof(world.path), "%s/resources", world.top);
	snprintf(world.copies, sizeof(world.copies), "%s/last-good", world.top);
	mkdir(world.path, 0700);
	save(&world, "../last-good", "in its place");
	save(&world, "a.json", TEXT("a", "1"));
	start_again(&world);
	CU_ASSERT(has(&world, "a", "1"));
	delete (&world, "../last-good");
	CU_ASSERT(unit_wait(&world.loop, has_a_copy, &world, 8000));
	/* Removed, it is made again. */
	unit_remove_directory(world.copies);
	CU_ASSERT(unit_wait(&world.loop, has_a_copy, &world, 8000));
	stop(&world);
	save(&world, "a.json", "{");
	start_again(&world);
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

static void copies_move_to_another_place(void)
{
	struct world world;
	char place[80];

	begin(&world);
	save(&world, "a.json", TEXT("a", "1"));
	CU_ASSERT(has(&world, "a", "1"));
	save(&world, "a.json", "{"); /* what is in force is known from its copy alone */
	CU_ASSERT(becomes(&world, has_problem));
	snprintf(place, sizeof(place), "%.60s/elsewhere", world.top);
	CU_ASSERT(source_dir_keep_in(world.source, place) == 0);
	snprintf(world.copies, sizeof(world.copies), "%.63s", place);
	CU_ASSERT(unit_wait(&world.loop, has_a_copy, &world, 4000));
	stop(&world);
	start_again(&world);
	CU_ASSERT(has(&world, "a", "1"));
	finish(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(bad_file_keeps_its_last_good_version_over_a_restart),
		UNIT_TEST(restored_file_is_replaced_and_deleted_like_any_other),
		UNIT_TEST(unreadable_file_keeps_its_last_good_version_over_a_restart),
		UNIT_TEST(file_deleted_while_nobody_watches_is_deleted_with_its_copy),
		UNIT_TEST(directory_missing_at_start_keeps_the_copies),
		UNIT_TEST(damaged_copy_is_put_aside_and_everything_else_goes_on),
		UNIT_TEST(broken_file_without_a_copy_is_waited_for),
		UNIT_TEST(file_broken_from_its_first_moment_stops_no_later_start),
		UNIT_TEST(a_place_for_copies_that_cannot_be_used_stops_nothing),
		UNIT_TEST(what_could_not_be_kept_is_kept_once_it_can),
		UNIT_TEST(copies_move_to_another_place),
	};

	return UNIT_RUN("source_dir_restart", tests);
}
