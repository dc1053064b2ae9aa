/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/policy/sync_world.h"

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 1024

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct sync_world *w = data;

	if (w->policy_sync)
		policy_sync_object_changed(w->policy_sync, object, deleted);
}

struct polder_addr sync_world_addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

void sync_world_start(struct sync_world *w)
{
	CU_ASSERT_FATAL(policy_sync_open(w->maps, w->store, &w->config, &w->node, NULL, w->state,
					 &w->policy_sync) == 0);
	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &w->pod) == 0);
}

void sync_world_stop(struct sync_world *w)
{
	policy_sync_close(w->policy_sync);
	w->policy_sync = NULL;
}

void sync_world_begin(struct sync_world *w, const char *state)
{
	uint32_t entries = w->config.max_policy_entries ? w->config.max_policy_entries : ROOM;

	*w = (struct sync_world){.config = small_config(ROOM), .state = state};
	w->config.max_policy_entries = entries;
	w->config.pod_cidr_v4 =
		(struct prefix){.addr = sync_world_addr("10.1.0.0"), .length = 96 + 16};
	w->node.ipv4 = sync_world_addr("192.0.2.1");
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	store_listen(w->store, on_change, w);
	w->pod = (struct local_pod){.container_id = "c1",
				    .ifname = "eth0",
				    .namespace = "x",
				    .name = "own",
				    .ifindex = 65536,
				    .ipv4 = sync_world_addr("10.1.0.5")};
	sync_world_start(w);
}

void sync_world_end(struct sync_world *w)
{
	policy_sync_close(w->policy_sync);
	store_free(w->store);
	maps_close(w->maps);
}

void sync_world_put(struct sync_world *w, const char *name, const char *text)
{
	struct object_list list = {};
	struct error error = {};
	char *json = text ? strdup(text) : NULL;

	for (char *c = json; c && *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (json && objects_decode(json, strlen(json), &list, &error) < 0) {
		fprintf(stderr, "%s: %s\n", error.path, error.text);
		CU_FAIL_FATAL("objects of the test");
	}
	CU_ASSERT_FATAL(store_replace(w->store, name, &list) == 0);
	object_list_clear(&list);
	free(json);
}

void sync_world_put_pod(struct sync_world *w, const char *name, const char *metadata,
			const char *spec, const char *status)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s','namespace':'x'%s},"
		 "'spec':{%s},'status':{%s}}",
		 name, metadata, spec, status);
	sync_world_put(w, name, text);
}

void sync_world_put_policy(struct sync_world *w, const char *name, const char *spec)
{
	char text[1024], key[64];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'%s','namespace':'x'},'spec':{%s}}",
		 name, spec ? spec : "");
	snprintf(key, sizeof(key), "policy-%s", name);
	sync_world_put(w, key, spec ? text : NULL);
}

struct local_pod sync_world_add(struct sync_world *w, const char *name, uint32_t ifindex,
				const char *ipv4)
{
	struct local_pod pod = {.container_id = (char *)name,
				.ifname = "eth0",
				.namespace = "x",
				.name = (char *)name,
				.ifindex = ifindex,
				.ipv4 = sync_world_addr(ipv4)};

	CU_ASSERT_FATAL(policy_sync_add_pod(w->policy_sync, &pod) == 0);
	return pod;
}

bool sync_world_run(struct sync_world *w)
{
	bool switched = false;

	CU_ASSERT(policy_sync_run(w->policy_sync, &switched) == 0);
	return switched;
}

bool sync_world_run_and_commit(struct sync_world *w)
{
	sync_world_run(w);
	return policy_sync_commit(w->policy_sync);
}

uint32_t sync_world_word(const struct sync_world *w, const struct local_pod *pod,
			 enum pod_word word, bool other)
{
	uint32_t index = maps_pod_index(w->maps, pod->ifindex);
	uint32_t slot = maps_slot(w->maps) ^ other;
	struct pod_entry entry = {};

	CU_ASSERT(maps_find(w->maps, MAP_PODS, &index, &entry) == 0);
	if (word == WORD_IDENTITY)
		return entry.identity[slot];
	return word == WORD_INGRESS ? entry.ingress_rules[slot] : entry.egress_rules[slot];
}

uint32_t sync_world_ingress(const struct sync_world *w, const struct local_pod *pod)
{
	return sync_world_word(w, pod, WORD_INGRESS, false);
}

uint32_t sync_world_identity(const struct sync_world *w, const char *addr, bool other)
{
	const struct address_key key = {.prefixlen = 128, .addr = sync_world_addr(addr)};
	struct address_entry entry = {};

	maps_find(w->maps, MAP_ADDRESSES, &key, &entry);
	/* The element that is found may be a range's. */
	return entry.flags & ADDRESS_POD ? entry.identity[maps_slot(w->maps) ^ other] : 0;
}
