/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/sources/dir_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

static void on_synced(void *data)
{
	((struct world *)data)->synced++;
}

static void on_change(const struct object *object, bool deleted, void *data)
{
	((struct world *)data)->deletions += deleted;
}

void start(struct world *world)
{
	uv_loop_init(&world->loop);
	world->synced = 0;
	world->store = store_new();
	store_listen(world->store, on_change, world);
	CU_ASSERT_FATAL(source_dir_new(&world->loop, world->path, world->copies, world->store,
				       on_synced, world, &world->source) == 0);
}

void begin_without(struct world *world)
{
	*world = (struct world){};
	unit_directory(world->top);
	snprintf(world->path, sizeof(world->path), "%s/resources", world->top);
	snprintf(world->copies, sizeof(world->copies), "%s/last-good", world->top);
	start(world);
}

bool is_synced(void *data)
{
	return ((struct world *)data)->synced > 0;
}

void begin(struct world *world)
{
	begin_without(world);
	mkdir(world->path, 0700);
	CU_ASSERT(unit_wait(&world->loop, is_synced, world, 2000));
}

void stop(struct world *world)
{
	source_dir_free(world->source);
	unit_end_loop(&world->loop);
	store_free(world->store);
}

void finish(struct world *world)
{
	stop(world);
	unit_remove_directory(world->top);
}

/* "a.json" of the watched directory, "../x" beside it. */
const char *at(const struct world *world, const char *name, char buffer[512])
{
	if (strncmp(name, "../", 3) == 0)
		snprintf(buffer, 512, "%s/%s", world->top, name + 3);
	else
		snprintf(buffer, 512, "%s/%s", world->path, name);
	return buffer;
}

void save(const struct world *world, const char *name, const char *text)
{
	char path[512];

	unit_write(at(world, name, path), text, strlen(text));
}

void move(const struct world *world, const char *from, const char *to)
{
	char a[512], b[512];

	CU_ASSERT(rename(at(world, from, a), at(world, to, b)) == 0);
}

void delete (const struct world *world, const char *name)
{
	char path[512];

	CU_ASSERT(remove(at(world, name, path)) == 0);
}

static bool has_now(void *data)
{
	const struct world *world = data;
	const struct object *object = store_get(world->store, OBJECT_NAMESPACE, "", world->name);
	const char *label = object ? labels_get(&object->labels, "l") : NULL;

	if (!world->label || !label)
		return !world->label && !object;
	return strcmp(label, world->label) == 0;
}

/* Waits until the namespace has the label; NULL: until it is no more. */
bool has(struct world *world, const char *name, const char *label)
{
	world->name = name;
	world->label = label;
	return unit_wait(&world->loop, has_now, world, 3000);
}

/* It has the label, and goes on having it for some time. */
bool keeps(struct world *world, const char *name, const char *label)
{
	unit_wait(&world->loop, NULL, NULL, 60);
	world->name = name;
	world->label = label;
	return has_now(world);
}

struct seen_problems {
	size_t count;
	struct error first;
};

static void see_problem(const char *origin, const struct error *error, void *data)
{
	struct seen_problems *seen = data;

	if (seen->count++ == 0)
		seen->first = *error;
}

size_t problem_count(const struct world *world, struct error *ret)
{
	struct seen_problems seen = {};

	store_problems(world->store, see_problem, &seen);
	CU_ASSERT(seen.count == store_problem_count(world->store));
	if (seen.count > 0 && ret)
		*ret = seen.first;
	return seen.count;
}

bool has_no_problem(void *data)
{
	return problem_count(data, NULL) == 0;
}

bool has_problem(void *data)
{
	return problem_count(data, NULL) == 1;
}

bool becomes(struct world *world, bool (*holds)(void *data))
{
	return unit_wait(&world->loop, holds, world, 3000);
}
