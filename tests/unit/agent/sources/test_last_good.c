/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of good resource files: kept, found, forgotten, damaged. */
#include "agent/sources/last_good.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/unit/unit.h"

struct world {
	char top[32];
	char path[64];
	struct last_good *copies;
};

static void open_copies(struct world *world)
{
	CU_ASSERT_FATAL(last_good_open(world->path, &world->copies) == 0);
}

static void begin(struct world *world)
{
	unit_directory(world->top);
	snprintf(world->path, sizeof(world->path), "%s/last-good", world->top);
	open_copies(world);
}

static void open_again(struct world *world)
{
	last_good_close(world->copies);
	open_copies(world);
}

static void end(struct world *world)
{
	last_good_close(world->copies);
	unit_remove_directory(world->top);
}

static int keep(struct world *world, const char *origin, const char *text)
{
	return last_good_keep(world->copies, origin, text, strlen(text));
}

/* 0 if the copy holds the text. */
static int find(struct world *world, const char *origin, const char *text)
{
	char *found = NULL;
	size_t length = 0;
	int r = last_good_find(world->copies, origin, &found, &length);

	if (r == 0 && (length != strlen(text) || strcmp(found, text) != 0))
		r = -ESRCH;
	free(found);
	return r;
}

/* Files that nftw() sees; `last` is the path of one. */
static size_t seen;
static char last[512];

static int see(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)place;
	if (type == FTW_F) {
		seen++;
		snprintf(last, sizeof(last), "%s", path);
		CU_ASSERT((status->st_mode & 0777) == 0600);
	}
	return 0;
}

static size_t files(const struct world *world)
{
	seen = 0;
	nftw(world->path, see, 16, FTW_PHYS);
	return seen;
}

static void keeps_what_it_was_given_last(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(find(&world, "/r/a.json", "") == -ENOENT);
	CU_ASSERT(keep(&world, "/r/a.json", "one") == 0);
	CU_ASSERT(keep(&world, "/r/b.json", "") == 0);
	CU_ASSERT(keep(&world, "/r/a.json", "two, longer") == 0);
	CU_ASSERT(find(&world, "/r/a.json", "two, longer") == 0);
	open_again(&world);
	CU_ASSERT(find(&world, "/r/a.json", "two, longer") == 0);
	CU_ASSERT(find(&world, "/r/b.json", "") == 0);
	CU_ASSERT(files(&world) == 2);
	end(&world);
}

static void what_is_there_already_is_not_written_again(void)
{
	struct stat before, after;
	struct world world;

	begin(&world);
	CU_ASSERT(keep(&world, "a", "text") == 0);
	CU_ASSERT(files(&world) == 1);
	CU_ASSERT(stat(last, &before) == 0);
	open_again(&world);
	CU_ASSERT(keep(&world, "a", "text") == 0);
	CU_ASSERT(files(&world) == 1);
	CU_ASSERT(stat(last, &after) == 0);
	CU_ASSERT(before.st_ino == after.st_ino);
	CU_ASSERT(keep(&world, "a", "texT") == 0);
	CU_ASSERT(find(&world, "a", "texT") == 0);
	end(&world);
}

static void forgets(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(last_good_delete(world.copies, "a") == 0);
	CU_ASSERT(keep(&world, "a", "1") == 0);
	CU_ASSERT(last_good_delete(world.copies, "a") == 0);
	CU_ASSERT(find(&world, "a", "1") == -ENOENT);
	CU_ASSERT(files(&world) == 0);
	end(&world);
}

static void forgets_what_nobody_asked_for(void)
{
	char path[128];
	struct world world;

	begin(&world);
	keep(&world, "kept", "1");
	keep(&world, "found", "1");
	keep(&world, "other", "1");
	snprintf(path, sizeof(path), "%s/.x.tmp", world.path);
	unit_write(path, "half", 4);
	open_again(&world);
	keep(&world, "kept", "1");
	find(&world, "found", "1");
	CU_ASSERT(last_good_prune(world.copies) == 1);
	CU_ASSERT(files(&world) == 2);
	CU_ASSERT(find(&world, "other", "1") == -ENOENT);
	end(&world);
}

static void every_cut_and_every_flipped_bit_is_noticed(void)
{
	char content[512], aside[600], path[512];
	struct world world;
	size_t length;
	FILE *file;

	begin(&world);
	keep(&world, "a", "{\"kind\":\"List\"}");
	CU_ASSERT(files(&world) == 1);
	snprintf(path, sizeof(path), "%s", last);
	snprintf(aside, sizeof(aside), "%s.bad", path);
	strcpy(strstr(aside, ".new"), ".bad");
	file = fopen(path, "re");
	length = fread(content, 1, sizeof(content), file);
	fclose(file);
	for (size_t cut = 0; cut < length; cut++) {
		unit_write(path, content, cut);
		CU_ASSERT(find(&world, "a", "") == -EBADMSG);
		CU_ASSERT(access(aside, F_OK) == 0);
	}
	for (size_t bit = 0; bit < 8 * length; bit++) {
		content[bit / 8] ^= 1 << bit % 8;
		unit_write(path, content, length);
		CU_ASSERT(find(&world, "a", "") == -EBADMSG);
		content[bit / 8] ^= 1 << bit % 8;
	}
	unit_write(path, content, length);
	CU_ASSERT(find(&world, "a", "{\"kind\":\"List\"}") == 0);
	/* What was put aside goes with the copy. */
	CU_ASSERT(last_good_delete(world.copies, "a") == 0);
	CU_ASSERT(access(aside, F_OK) < 0);
	end(&world);
}

static int sync_copies(struct world *world)
{
	struct last_good_sync *sync = last_good_sync_begin(world->copies);

	if (!sync)
		return -ENOENT;
	last_good_sync_run(sync);
	return last_good_sync_end(world->copies, sync);
}

/* Beside the only copy, as a crash of the machine leaves what was not synced. */
static void leave_half(const struct world *world, const char *ending)
{
	char path[600];

	CU_ASSERT(files(world) == 1);
	snprintf(path, sizeof(path), "%s%s", last, ending);
	unit_write(path, "polder-state 1 5", 16);
}

static void the_older_copy_stays_until_the_new_one_is_synced(void)
{
	static const char *const endings[] = {".new", ".sync"};
	struct world world;

	for (size_t i = 0; i < 2; i++) {
		begin(&world);
		CU_ASSERT(!last_good_pending(world.copies));
		CU_ASSERT(keep(&world, "a", "old") == 0);
		CU_ASSERT(last_good_pending(world.copies));
		CU_ASSERT(sync_copies(&world) == 0);
		CU_ASSERT(!last_good_pending(world.copies));
		leave_half(&world, endings[i]);
		CU_ASSERT(find(&world, "a", "old") == 0);
		open_again(&world);
		CU_ASSERT(find(&world, "a", "old") == 0);
		CU_ASSERT(files(&world) == 1);
		CU_ASSERT(keep(&world, "a", "new") == 0);
		CU_ASSERT(files(&world) == 2);
		CU_ASSERT(find(&world, "a", "new") == 0);
		end(&world);
	}
}

static void what_an_agent_left_unsynced_is_synced_by_the_next(void)
{
	struct last_good_sync *sync;
	struct last_good *next;
	struct world world;

	begin(&world);
	keep(&world, "a", "1");
	sync = last_good_sync_begin(world.copies);
	keep(&world, "a", "2");
	/* Killed here, in the midst of both. */
	CU_ASSERT(last_good_open(world.path, &next) == 0);
	last_good_sync_run(sync);
	last_good_sync_end(world.copies, sync);
	last_good_close(world.copies);
	world.copies = next;
	CU_ASSERT(last_good_pending(world.copies));
	CU_ASSERT(find(&world, "a", "2") == 0);
	CU_ASSERT(sync_copies(&world) == 0);
	CU_ASSERT(find(&world, "a", "2") == 0);
	CU_ASSERT(files(&world) == 1);
	end(&world);
}

static void what_comes_and_goes_during_a_sync_is_right_afterwards(void)
{
	struct last_good_sync *sync;
	struct world world;

	begin(&world);
	keep(&world, "changed", "1");
	keep(&world, "gone", "1");
	keep(&world, "back", "1");
	sync = last_good_sync_begin(world.copies);
	CU_ASSERT(last_good_sync_begin(world.copies) == NULL);
	keep(&world, "changed", "2");
	CU_ASSERT(last_good_delete(world.copies, "gone") == 0);
	CU_ASSERT(last_good_delete(world.copies, "back") == 0);
	keep(&world, "back", "2");
	last_good_sync_run(sync);
	CU_ASSERT(last_good_sync_end(world.copies, sync) == 0);
	CU_ASSERT(find(&world, "changed", "2") == 0);
	CU_ASSERT(find(&world, "back", "2") == 0);
	CU_ASSERT(find(&world, "gone", "1") == -ENOENT);
	CU_ASSERT(sync_copies(&world) == 0);
	CU_ASSERT(files(&world) == 2);
	end(&world);
}

static void copy_of_another_origin_is_damage(void)
{
	char from[512], to[512];
	struct world world;

	begin(&world);
	keep(&world, "a", "1");
	files(&world);
	snprintf(from, sizeof(from), "%s", last);
	last_good_delete(world.copies, "a");
	keep(&world, "b", "2");
	files(&world);
	snprintf(to, sizeof(to), "%s", last);
	CU_ASSERT(rename(to, from) == 0);
	open_again(&world);
	CU_ASSERT(find(&world, "a", "2") == -EBADMSG);
	end(&world);
}

static void what_has_no_room_leaves_the_older_copy(void)
{
	size_t large = 60u << 20;
	char *text = calloc(1, large), name[16];
	struct world world;

	begin(&world);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%d", i);
		CU_ASSERT(last_good_keep(world.copies, name, text, large) == 0);
	}
	CU_ASSERT(keep(&world, "small", "1") == 0);
	CU_ASSERT(last_good_keep(world.copies, "small", text, large) == -EDQUOT);
	CU_ASSERT(find(&world, "small", "1") == 0);
	open_again(&world);
	CU_ASSERT(last_good_keep(world.copies, "4", text, large) == -EDQUOT);
	last_good_delete(world.copies, "0");
	CU_ASSERT(last_good_keep(world.copies, "4", text, large) == 0);
	free(text);
	end(&world);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double keep_thousands(struct world *world, int count)
{
	double begun = now_ms();
	char name[64], text[1024];

	memset(text, 'x', sizeof(text));
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "/etc/polder/resources/%d.json", i);
		last_good_keep(world->copies, name, text, sizeof(text));
	}
	return now_ms() - begun;
}

static void ten_thousand_files_cost_little(void)
{
	double written, read;
	struct world world;

	begin(&world);
	written = keep_thousands(&world, 10000);
	open_again(&world);
	read = keep_thousands(&world, 10000);
	CU_ASSERT(last_good_prune(world.copies) == 0);
	printf(" (10,000 files: written in %.0f ms, compared in %.0f ms) ", written, read);
	/* Synced one by one it would take minutes. */
	CU_ASSERT(written < 20000);
	end(&world);
}

static void copies_of_another_directory_are_moved_and_are_the_newer_ones(void)
{
	struct world world, other;
	struct stat status;
	char bad[128];

	begin(&world);
	begin(&other);
	keep(&world, "both", "1");
	keep(&world, "here", "1");
	keep(&other, "both", "2");
	CU_ASSERT(sync_copies(&other) == 0);
	keep(&other, "there", "2");
	last_good_close(world.copies);
	last_good_close(other.copies);
	snprintf(bad, sizeof(bad), "%s/0123456789abcdef0123456789abcdef", other.path);
	close(open(bad, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CU_ASSERT(last_good_import(world.path, world.path) == 0);
	CU_ASSERT(last_good_import(world.path, other.path) == 2);
	CU_ASSERT(stat(other.path, &status) < 0);
	CU_ASSERT(last_good_import(world.path, other.path) == 0);
	open_copies(&world);
	CU_ASSERT(find(&world, "both", "2") == 0);
	CU_ASSERT(find(&world, "here", "1") == 0);
	CU_ASSERT(find(&world, "there", "2") == 0);
	CU_ASSERT(sync_copies(&world) == 0);
	CU_ASSERT(files(&world) == 3);
	other.copies = NULL;
	end(&other);
	end(&world);
}

/* Descriptors from `first` on cannot be opened; -1: all can. */
static void refuse_descriptors(int first)
{
	struct rlimit limit;

	CU_ASSERT_FATAL(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = first < 0 ? limit.rlim_max : (rlim_t)first;
	CU_ASSERT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void copy_that_cannot_be_read_is_kept_and_no_older_one_stands_for_it(void)
{
	struct world world, other;
	int lowest = dup(0);

	CU_ASSERT_FATAL(lowest >= 0);
	close(lowest);
	begin(&world);
	CU_ASSERT(keep(&world, "/r/a.json", "older") == 0);
	open_again(&world); /* and synced */
	CU_ASSERT(keep(&world, "/r/a.json", "newest") == 0);
	CU_ASSERT(files(&world) == 2);
	refuse_descriptors(lowest + 1); /* the directory, and none of its files */
	CU_ASSERT(last_good_open(world.path, &other.copies) == 0);
	refuse_descriptors(lowest);
	CU_ASSERT(find(&other, "/r/a.json", "") == -EMFILE);
	refuse_descriptors(-1);
	CU_ASSERT(find(&other, "/r/a.json", "newest") == 0);
	last_good_close(other.copies);
	CU_ASSERT(find(&world, "/r/a.json", "newest") == 0);
	end(&world);
}

static void removed_directory_is_made_again_for_the_next_copy(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(keep(&world, "/r/a.json", "one") == 0);
	unit_remove_directory(world.path);
	CU_ASSERT(keep(&world, "/r/a.json", "one") == 0);
	open_again(&world);
	CU_ASSERT(find(&world, "/r/a.json", "one") == 0);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(keeps_what_it_was_given_last),
		UNIT_TEST(what_is_there_already_is_not_written_again),
		UNIT_TEST(forgets),
		UNIT_TEST(forgets_what_nobody_asked_for),
		UNIT_TEST(every_cut_and_every_flipped_bit_is_noticed),
		UNIT_TEST(the_older_copy_stays_until_the_new_one_is_synced),
		UNIT_TEST(what_an_agent_left_unsynced_is_synced_by_the_next),
		UNIT_TEST(what_comes_and_goes_during_a_sync_is_right_afterwards),
		UNIT_TEST(copies_of_another_directory_are_moved_and_are_the_newer_ones),
		UNIT_TEST(copy_of_another_origin_is_damage),
		UNIT_TEST(what_has_no_room_leaves_the_older_copy),
		UNIT_TEST(ten_thousand_files_cost_little),
		UNIT_TEST(copy_that_cannot_be_read_is_kept_and_no_older_one_stands_for_it),
		UNIT_TEST(removed_directory_is_made_again_for_the_next_copy),
	};

	return UNIT_RUN("last_good", tests);
}
