/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of a store on the disk, and in the next one. */
#include "agent/sources/api/api_kept.h"

#include <errno.h>

#include "agent/common/log.h"
#include "tests/unit/unit.h"

struct world {
	uv_loop_t loop;
	struct store *store;
	struct api_kept *kept;
	size_t recalled, forgotten;
	const char *closed; /* the name of one */
	int answer;	    /* of recall, for pods */
	char problem[1024];
};

static char directory[32], path[64];

static int recall(enum object_kind kind, const char *json, size_t length, bool closed, void *data)
{
	struct world *world = data;
	struct object *object = NULL;
	struct error error;
	int r = object_decode(kind, json, length, &object, &error);

	CU_ASSERT_FATAL(r == 0);
	CU_ASSERT(closed == (world->closed && strcmp(object->name, world->closed) == 0));
	world->recalled++;
	if (kind == OBJECT_POD && world->answer < 0) {
		object_free(object);
		return world->answer;
	}
	return store_recall(world->store, kind == OBJECT_POD ? "api:pods" : "api:others", object);
}

static void forget(void *data)
{
	((struct world *)data)->forgotten++;
}

static bool is_closed(const struct object *object, void *data)
{
	const struct world *world = data;

	return world->closed && strcmp(object->name, world->closed) == 0;
}

static void begin(struct world *world)
{
	const struct kept_hooks hooks = {recall, forget, is_closed, world};

	uv_loop_init(&world->loop);
	world->store = store_new();
	CU_ASSERT_FATAL(api_kept_new(&world->loop, world->store, path, &hooks, &world->kept) == 0);
}

static void end(struct world *world)
{
	api_kept_free(world->kept);
	unit_end_loop(&world->loop);
	store_free(world->store);
}

static void put(struct world *world, const char *origin, enum object_kind kind, const char *name)
{
	struct object *object = NULL;
	struct error error;
	char text[128];

	snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"n\"}}", name);
	CU_ASSERT_FATAL(object_decode(kind, text, strlen(text), &object, &error) == 0);
	CU_ASSERT_FATAL(store_upsert(world->store, origin, object) == 0);
}

static bool has(const struct world *world, enum object_kind kind, const char *name)
{
	return store_get(world->store, kind, "n", name);
}

static void what_was_listed_is_there_for_the_next_one(void)
{
	struct world world = {};

	unlink(path);
	begin(&world);
	CU_ASSERT(!api_kept_recalled(world.kept) && api_kept_time(world.kept) == 0);
	put(&world, "api:pods", OBJECT_POD, "a");
	put(&world, "api:pods", OBJECT_POD, "b");
	put(&world, "api:others", OBJECT_SERVICE, "a");
	put(&world, "/a/file.json", OBJECT_POD, "of-a-file");
	api_kept_set_whole(world.kept);
	store_delete(world.store, "api:pods", OBJECT_POD, "n", "b");
	end(&world);

	world = (struct world){};
	begin(&world);
	CU_ASSERT(api_kept_recalled(world.kept) && api_kept_time(world.kept) > 0);
	CU_ASSERT(world.recalled == 2 && has(&world, OBJECT_POD, "a"));
	CU_ASSERT(has(&world, OBJECT_SERVICE, "a") && !has(&world, OBJECT_POD, "b"));
	/* What this one changes is behind what the last one has written. */
	put(&world, "api:pods", OBJECT_POD, "c");
	store_delete(world.store, "api:pods", OBJECT_POD, "n", "a");
	end(&world);

	world = (struct world){};
	begin(&world);
	CU_ASSERT(world.recalled == 2 && !has(&world, OBJECT_POD, "a"));
	CU_ASSERT(has(&world, OBJECT_POD, "c") && has(&world, OBJECT_SERVICE, "a"));
	end(&world);
}

/* The list is whole, and has not named it. */
static void what_a_list_leaves_out_goes_from_the_file_too(void)
{
	struct world world = {};

	begin(&world);
	CU_ASSERT(has(&world, OBJECT_POD, "c"));
	CU_ASSERT_FATAL(store_list_begin(world.store, "api:pods") == 0);
	put(&world, "api:pods", OBJECT_POD, "d");
	CU_ASSERT(has(&world, OBJECT_POD, "c"));
	store_list_end(world.store, "api:pods");
	CU_ASSERT(!has(&world, OBJECT_POD, "c"));
	end(&world);

	world = (struct world){};
	begin(&world);
	CU_ASSERT(has(&world, OBJECT_POD, "d") && !has(&world, OBJECT_POD, "c"));
	end(&world);
}

static void half_of_a_first_list_is_not_taken_for_all(void)
{
	struct world world = {};

	unlink(path);
	begin(&world);
	put(&world, "api:pods", OBJECT_POD, "a");
	end(&world);
	world = (struct world){};
	begin(&world);
	CU_ASSERT(!api_kept_recalled(world.kept) && world.recalled == 0);
	end(&world);
}

static void one_that_stands_for_a_refused_one_is_marked(void)
{
	struct world world = {.closed = "x"};

	unlink(path);
	begin(&world);
	put(&world, "api:others", OBJECT_SERVICE, "x");
	put(&world, "api:others", OBJECT_SERVICE, "y");
	api_kept_set_whole(world.kept);
	end(&world);
	world = (struct world){.closed = "x"};
	begin(&world); /* recall() looks */
	CU_ASSERT(world.recalled == 2);
	end(&world);
}

static void object_that_makes_no_sense_any_more_makes_all_of_no_use(void)
{
	struct world world = {};
	char aside[80];

	unlink(path);
	begin(&world);
	put(&world, "api:pods", OBJECT_POD, "a");
	api_kept_set_whole(world.kept);
	end(&world);
	world = (struct world){.answer = -EINVAL};
	begin(&world);
	CU_ASSERT(!api_kept_recalled(world.kept) && world.forgotten == 1);
	snprintf(aside, sizeof(aside), "%s.bad", path);
	CU_ASSERT(access(aside, F_OK) == 0 && access(path, F_OK) < 0);
	end(&world);
}

static void keep_problem(const char *origin, const struct error *error, void *data)
{
	struct world *world = data;

	snprintf(world->problem, sizeof(world->problem), "%s %s", origin, error->text);
}

static bool has_problem(void *data)
{
	struct world *world = data;

	store_problems(world->store, keep_problem, world);
	return world->problem[0];
}

static bool is_there(void *data)
{
	return access(path, F_OK) == 0;
}

/* One that falls behind would put back what is over. */
static void file_that_others_have_changed_is_removed(void)
{
	struct world world = {};

	unlink(path);
	begin(&world);
	put(&world, "api:pods", OBJECT_POD, "a");
	CU_ASSERT(!unit_wait(&world.loop, is_there, NULL, 300)); /* there may be others */
	api_kept_set_whole(world.kept);
	CU_ASSERT(unit_wait(&world.loop, is_there, NULL, 5000));
	unit_wait(&world.loop, NULL, NULL, 300);
	unit_write(path, "x", 1);
	put(&world, "api:pods", OBJECT_POD, "b");
	CU_ASSERT(unit_wait(&world.loop, has_problem, &world, 5000));
	CU_ASSERT(strstr(world.problem, "api:kept") != NULL && !is_there(NULL));
	end(&world);
	CU_ASSERT(!is_there(NULL));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_was_listed_is_there_for_the_next_one),
		UNIT_TEST(what_a_list_leaves_out_goes_from_the_file_too),
		UNIT_TEST(half_of_a_first_list_is_not_taken_for_all),
		UNIT_TEST(one_that_stands_for_a_refused_one_is_marked),
		UNIT_TEST(object_that_makes_no_sense_any_more_makes_all_of_no_use),
		UNIT_TEST(file_that_others_have_changed_is_removed),
	};
	int r;

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(path, sizeof(path), "%s/objects", unit_directory(directory));
	r = UNIT_RUN("sources/api/api_kept", tests);
	unit_remove_directory(directory);
	return r;
}
