/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/reconcile/reconciler_world.h"

#include <errno.h>

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 1024

/* ---------------------------------------------------------------- what is around it */

static uint64_t now_ns(void *data)
{
	struct world *w = data;

	return w->now += w->tick;
}

static int wait_for_programs(void *data)
{
	struct world *w = data;

	w->waits++;
	return w->wait_result;
}

static void on_wanted(void *data)
{
	((struct world *)data)->wanted++;
}

static int keep_labels(const char *container_id, const char *ifname, const struct labels *labels,
		       void *data)
{
	const char *app = labels_get(labels, "app");
	struct world *w = data;

	w->keeps++;
	snprintf(w->kept, sizeof(w->kept), "%s %s %s", container_id, ifname, app ? app : "");
	return w->keep_result;
}

void world_on_held(void *data)
{
	((struct world *)data)->called++;
}

void world_put(struct world *w, const char *origin, const char *text)
{
	struct object_list list = {};
	struct error error = {};
	char *json = text ? strdup(text) : NULL, *c;

	for (c = json; c && *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (json)
		CU_ASSERT_FATAL(objects_decode(json, strlen(json), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	object_list_clear(&list);
	free(json);
}

void world_put_policy(struct world *w, int version)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'p','namespace':'x'},'spec':{'podSelector':{},'ingress':[{'ports':[{'port':%d}]}]"
		 "}}",
		 1000 + version);
	world_put(w, "policy", text);
}

static void start(struct world *w)
{
	const struct reconciler_env env = {.maps = w->maps,
					   .store = w->store,
					   .config = &w->config,
					   .node = &w->node,
					   .state = w->state,
					   .now_ns = now_ns,
					   .wait_for_programs = wait_for_programs,
					   .wanted = on_wanted,
					   .keep_labels = keep_labels,
					   .data = w};

	CU_ASSERT_FATAL(reconciler_open(&env, &w->reconciler) == 0);
	CU_ASSERT_FATAL(reconciler_attach(w->reconciler, &w->pod) == 0);
}

void world_open(struct world *w, const char *state)
{
	uint32_t entries = w->config.max_policy_entries ? w->config.max_policy_entries : ROOM;

	*w = (struct world){.config = small_config(ROOM), .state = state, .now = 1000 * MS};
	w->config.max_policy_entries = entries;
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	w->pod = (struct local_pod){.container_id = "c1",
				    .ifname = "eth0",
				    .namespace = "x",
				    .name = "own",
				    .ifindex = 65536};
	CU_ASSERT_FATAL(addr_parse("10.1.0.5", &w->pod.ipv4) == 0);
	start(w);
}

void world_commit(struct world *w)
{
	CU_ASSERT(reconciler_begin(w->reconciler));
	reconciler_commit(w->reconciler, 0);
}

void world_begin(struct world *w)
{
	*w = (struct world){};
	world_open(w, NULL);
	world_put_policy(w, 0);
	reconciler_synced(w->reconciler);
	CU_ASSERT(reconciler_run(w->reconciler) == 0);
	world_commit(w);
	w->waits = w->wanted = 0;
}

void world_end(struct world *w)
{
	reconciler_close(w->reconciler);
	store_free(w->store);
	maps_close(w->maps);
}

static uint32_t slot(const struct world *w)
{
	return maps_slot(w->maps);
}

uint32_t world_rules(const struct world *w, bool other)
{
	uint32_t index = maps_pod_index(w->maps, w->pod.ifindex);
	struct pod_entry entry = {};

	CU_ASSERT(maps_find(w->maps, MAP_PODS, &index, &entry) == 0);
	return entry.ingress_rules[other ? !slot(w) : slot(w)];
}

bool world_is_pending(const struct world *w)
{
	struct reconciler_progress progress;

	reconciler_progress(w->reconciler, &progress);
	return progress.pending;
}

void world_put_pod(struct world *w, int number)
{
	char origin[16], text[256];

	snprintf(origin, sizeof(origin), "pod%d", number);
	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p%d','namespace':'x'},'spec':"
		 "{'nodeName':'n2'},'status':{'podIPs':[{'ip':'10.2.0.%d'}]}}",
		 number, number);
	world_put(w, origin, text);
}

uint32_t world_generation(const struct world *w)
{
	return maps_control(w->maps)->generation;
}
