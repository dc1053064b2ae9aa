/* SPDX-License-Identifier: Apache-2.0 */
/* What a real API server of version 1.36 has sent, however it is cut, becomes the objects that it
 * had. */
#include <errno.h>

#include "agent/sources/api/api_objects.h"
#include "agent/sources/api/watch.h"
#include "tests/unit/unit.h"

static const struct {
	enum object_kind kind;
	struct watch_resource resource;
	const char *list, *watch; /* files; NULL: none */
	size_t listed, after;	  /* objects */
} recordings[] = {
	{OBJECT_NAMESPACE,
	 {"namespaces", "", "/", "Namespace", false},
	 "list-namespaces.json",
	 NULL,
	 5,
	 5},
	{OBJECT_NODE, {"nodes", "", "/", "Node", false}, "list-nodes.json", NULL, 1, 1},
	{OBJECT_POD, {"pods", "", "/", "Pod", false}, "list-pods.json", "watch-pods.jsonl", 1, 1},
	{OBJECT_POD,
	 {"pods", "", "/", "Pod", false},
	 "list-pods.json",
	 "real-watch-pods.jsonl",
	 1,
	 3},
	{OBJECT_SERVICE,
	 {"services", "", "/", "Service", false},
	 "list-services.json",
	 "watch-services.jsonl",
	 4,
	 3},
	{OBJECT_ENDPOINT_SLICE,
	 {"endpointslices", "", "/", "EndpointSlice", false},
	 "list-endpointslices.json",
	 "watch-endpointslices.jsonl",
	 1,
	 1},
	{OBJECT_ENDPOINT_SLICE,
	 {"endpointslices", "", "/", "EndpointSlice", false},
	 "list-endpointslices.json",
	 "real-watch-endpointslices.jsonl",
	 1,
	 2},
	{OBJECT_NETWORK_POLICY,
	 {"networkpolicies", "", "/", "NetworkPolicy", false},
	 "list-networkpolicies.json",
	 "watch-networkpolicies.jsonl",
	 2,
	 1},
};
static const size_t pieces[] = {1, 2, 3, 7, 64, 1000, 1000000};

struct world {
	struct store *store;
	struct api_objects *objects;
	struct watch_hooks hooks;
	struct watch *watch;
	char query[WATCH_QUERY_MAX];
};

static int list_begin(void *data)
{
	return api_objects_list_begin(((struct world *)data)->objects);
}

static int put(const char *text, size_t length, bool whole, void *data)
{
	return api_objects_put(((struct world *)data)->objects, text, length, whole);
}

static int take_away(const char *text, size_t length, bool whole, void *data)
{
	return api_objects_remove(((struct world *)data)->objects, text, length, whole);
}

static void list_end(void *data)
{
	api_objects_list_end(((struct world *)data)->objects);
}

static uint64_t random_number(void *data)
{
	return 0;
}

static bool is_server(void *data)
{
	return true;
}

static void begin(struct world *world, enum object_kind kind, const struct watch_resource *resource)
{
	*world = (struct world){.store = store_new()};
	CU_ASSERT_FATAL(api_objects_new(world->store, kind, resource->name, NULL, NULL,
					&world->objects) == 0);
	world->hooks = (struct watch_hooks){list_begin,	   put,	      take_away, list_end,
					    random_number, is_server, world};
	world->watch = watch_new(resource, &world->hooks);
}

static void end(struct world *world)
{
	watch_free(world->watch);
	api_objects_free(world->objects);
	store_free(world->store);
}

static char *read_file(const char *name, size_t *ret_length)
{
	char path[512], *text = calloc(1, 1 << 20);
	FILE *file;

	snprintf(path, sizeof(path), UNIT_DATA "/api/%s", name);
	file = fopen(path, "re");
	if (!file || !text)
		abort();
	*ret_length = fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	return text;
}

/* The next answer, in pieces. */
static enum watch_result answer(struct world *world, int status, const char *name, size_t piece)
{
	size_t length;
	char *text = read_file(name, &length), *body = strstr(text, "\r\n\r\n");
	int r = 0;

	CU_ASSERT(watch_begin(world->watch, watch_due(world->watch), world->query) == 0);
	watch_head(world->watch, status, "application/json", 0);
	body = body ? body + 4 : strstr(text, "\n\n{") ? strstr(text, "\n\n{") + 2 : text;
	length -= (size_t)(body - text);
	for (size_t at = 0; at < length && r == 0; at += piece)
		r = watch_body(world->watch, body + at, length - at < piece ? length - at : piece,
			       1000);
	free(text);
	return watch_end(world->watch, NULL, 1000);
}

static void no_stream(struct world *world)
{
	CU_ASSERT(watch_begin(world->watch, 0, world->query) == 0);
	watch_head(world->watch, 422, "application/json", 0);
	CU_ASSERT(watch_end(world->watch, NULL, 0) == WATCH_SERVER);
}

static void lists_and_watches_give_the_objects(void)
{
	for (size_t i = 0; i < sizeof(recordings) / sizeof(recordings[0]); i++) {
		for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++) {
			struct world world;

			begin(&world, recordings[i].kind, &recordings[i].resource);
			no_stream(&world);
			CU_ASSERT(answer(&world, 200, recordings[i].list, pieces[j]) == WATCH_FINE);
			CU_ASSERT_EQUAL(store_count(world.store, recordings[i].kind),
					recordings[i].listed);
			CU_ASSERT(store_synced(world.store));
			if (recordings[i].watch)
				CU_ASSERT(answer(&world, 200, recordings[i].watch, pieces[j]) ==
					  WATCH_FINE);
			CU_ASSERT_EQUAL(store_count(world.store, recordings[i].kind),
					recordings[i].after);
			CU_ASSERT_EQUAL(store_problem_count(world.store), 0);
			end(&world);
		}
	}
}

static void streaming_list_goes_on_as_a_watch(void)
{
	const struct object *pod;

	for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++) {
		struct world world;

		begin(&world, OBJECT_POD, &recordings[2].resource);
		CU_ASSERT(answer(&world, 200, "watch-pods-sendInitialEvents.jsonl", pieces[j]) ==
			  WATCH_FINE);
		CU_ASSERT(store_synced(world.store) && store_count(world.store, OBJECT_POD) == 1);
		pod = store_get(world.store, OBJECT_POD, "demo", "web-0");
		CU_ASSERT(pod && pod->uid[0] &&
			  strcmp(labels_get(&pod->labels, "app"), "web") == 0);
		CU_ASSERT(watch_begin(world.watch, 100000, world.query) == 0);
		CU_ASSERT(strstr(world.query, "resourceVersion=245&") != NULL);
		end(&world);
	}
}

static void history_that_is_gone_is_understood(void)
{
	struct world world;

	begin(&world, OBJECT_POD, &recordings[2].resource);
	CU_ASSERT(answer(&world, 200, "watch-pods-sendInitialEvents.jsonl", 100) == WATCH_FINE);
	CU_ASSERT(answer(&world, 200, "410-watch.txt", 100) == WATCH_GONE);
	CU_ASSERT(answer(&world, 410, "410-continue.txt", 100) == WATCH_GONE);
	CU_ASSERT(answer(&world, 410, "410-list-exact.txt", 100) == WATCH_GONE);
	CU_ASSERT(store_count(world.store, OBJECT_POD) == 1);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(lists_and_watches_give_the_objects),
		UNIT_TEST(streaming_list_goes_on_as_a_watch),
		UNIT_TEST(history_that_is_gone_is_understood),
	};

	return UNIT_RUN("sources/api/recorded", tests);
}
