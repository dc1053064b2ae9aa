/* SPDX-License-Identifier: Apache-2.0 */
/* What an API server may send, cut anywhere: a watch and a list, to the store; and a kubeconfig. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "agent/common/log.h"
#include "agent/sources/api/api_objects.h"
#include "agent/sources/api/kubeconfig.h"
#include "agent/sources/api/watch.h"

static const struct watch_resource resource = {"networkpolicies", "networking.k8s.io", "/p",
					       "NetworkPolicy", false};
static size_t lists;

static int list_begin(void *data)
{
	return api_objects_list_begin(data);
}

static int put(const char *text, size_t length, bool whole, void *data)
{
	MUST(text[length] == '\0' && length > 0 && text[0] == '{');
	return api_objects_put(data, text, length, whole);
}

static int take_away(const char *text, size_t length, bool whole, void *data)
{
	MUST(text[length] == '\0');
	return api_objects_remove(data, text, length, whole);
}

static void list_end(void *data)
{
	lists++;
	api_objects_list_end(data);
}

static uint64_t random_number(void *data)
{
	return 7;
}

static bool is_server(void *data)
{
	return true;
}

/* Answers one after the other; a 0xff ends one, and pieces are as long as the first byte says. */
static void run_watch(const uint8_t *data, size_t size, bool streams)
{
	struct store *store = store_new();
	struct api_objects *objects = NULL;
	char query[WATCH_QUERY_MAX];
	struct watch_hooks hooks = {list_begin,	   put,	      take_away, list_end,
				    random_number, is_server, NULL};
	size_t piece = 1 + data[0] % 64;
	struct watch *watch;
	uint64_t now = 1;

	MUST(api_objects_new(store, OBJECT_NETWORK_POLICY, resource.name, NULL, NULL, &objects) ==
	     0);
	hooks.data = objects;
	watch = watch_new(&resource, &hooks);
	MUST(watch_begin(watch, now, query) == 0);
	if (!streams) {
		watch_head(watch, 422, "application/json", 0);
		watch_end(watch, NULL, now);
		MUST(watch_begin(watch, now, query) == 0);
	}
	watch_head(watch, 200, "application/json", 0);
	for (size_t at = 1; at < size; at += piece) {
		size_t length = size - at < piece ? size - at : piece;
		int r = watch_body(watch, (const char *)data + at, length, now);

		if (r < 0 || data[at] == 0xff) {
			watch_end(watch, data[at] & 1 ? "cut" : NULL, now);
			MUST(watch_due(watch) >= now);
			now = watch_due(watch) + 1;
			MUST(watch_begin(watch, now, query) == 0);
			watch_head(watch, 200, "application/json", 0);
		}
	}
	watch_end(watch, NULL, now);
	MUST(watch_is_synced(watch) == store_synced(store));
	watch_free(watch);
	api_objects_free(objects);
	store_free(store);
}

static void run_kubeconfig(const char *text, size_t size)
{
	struct kubeconfig config;
	struct error error = {};
	int r = kubeconfig_parse(text, size, "/d", NULL, &config, &error);

	MUST(r == 0 ? config.server && config.context : error.text[0] != '\0');
	kubeconfig_clear(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_LEVEL_ERROR);
	if (size < 2)
		return 0;
	if (data[0] & 0x80)
		run_kubeconfig((const char *)data + 1, size - 1);
	else
		run_watch(data, size, data[0] & 0x40);
	return 0;
}
