/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/policy/enforce_world.h"

#include "tests/unit/unit.h"

#define ROOM 1024

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct enforce_world *w = data;

	if (w->enforce)
		enforce_object_changed(w->enforce, object, deleted);
}

struct polder_addr enforce_world_addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

void enforce_world_start(struct enforce_world *w)
{
	CU_ASSERT_FATAL(
		enforce_open(w->maps, w->store, &w->config, &w->node, w->state, &w->enforce) == 0);
	CU_ASSERT_FATAL(enforce_add_pod(w->enforce, &w->pod) == 0);
}

void enforce_world_stop(struct enforce_world *w)
{
	enforce_close(w->enforce);
	w->enforce = NULL;
}

void enforce_world_begin(struct enforce_world *w, const char *state)
{
	char message[512] = "";

	if (!w->config.max_policy_entries)
		w->config.max_policy_entries = ROOM;
	*w = (struct enforce_world){.config = {.node_name = "here",
					       .flows_v4 = 64,
					       .flows_v6 = 64,
					       .max_pods = 64,
					       .max_fragments = ROOM,
					       .max_rule_counters = ROOM,
					       .max_socket_origins = ROOM,
					       .max_services = ROOM,
					       .max_backends = ROOM,
					       .max_addresses = ROOM,
					       .max_policy_entries = w->config.max_policy_entries},
				    .state = state};
	w->config.pod_cidr_v4 =
		(struct prefix){.addr = enforce_world_addr("10.1.0.0"), .length = 96 + 16};
	w->node.ipv4 = enforce_world_addr("192.0.2.1");
	CU_ASSERT_FATAL(maps_open(&w->config, NULL, &w->maps, message, sizeof(message)) == 0);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	store_listen(w->store, on_change, w);
	w->pod = (struct local_pod){.container_id = "c1",
				    .ifname = "eth0",
				    .namespace = "x",
				    .name = "own",
				    .ifindex = 65536,
				    .ipv4 = enforce_world_addr("10.1.0.5")};
	enforce_world_start(w);
}

void enforce_world_end(struct enforce_world *w)
{
	enforce_close(w->enforce);
	store_free(w->store);
	maps_close(w->maps);
}

void enforce_world_put(struct enforce_world *w, const char *name, const char *text)
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

void enforce_world_put_pod(struct enforce_world *w, const char *name, const char *metadata,
			   const char *spec, const char *status)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s','namespace':'x'%s},"
		 "'spec':{%s},'status':{%s}}",
		 name, metadata, spec, status);
	enforce_world_put(w, name, text);
}

void enforce_world_put_policy(struct enforce_world *w, const char *name, const char *spec)
{
	char text[1024], key[64];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'%s','namespace':'x'},'spec':{%s}}",
		 name, spec ? spec : "");
	snprintf(key, sizeof(key), "policy-%s", name);
	enforce_world_put(w, key, spec ? text : NULL);
}

struct local_pod enforce_world_add(struct enforce_world *w, const char *name, uint32_t ifindex,
				   const char *ipv4)
{
	struct local_pod pod = {.container_id = (char *)name,
				.ifname = "eth0",
				.namespace = "x",
				.name = (char *)name,
				.ifindex = ifindex,
				.ipv4 = enforce_world_addr(ipv4)};

	CU_ASSERT_FATAL(enforce_add_pod(w->enforce, &pod) == 0);
	return pod;
}

bool enforce_world_apply(struct enforce_world *w)
{
	bool switched = false;

	CU_ASSERT(enforce_apply(w->enforce, &switched) == 0);
	return switched;
}

bool enforce_world_settle(struct enforce_world *w)
{
	enforce_world_apply(w);
	return enforce_finish(w->enforce);
}

uint32_t enforce_world_word(const struct enforce_world *w, const struct local_pod *pod,
			    enum pod_word word, bool other)
{
	uint32_t index = maps_pod_place(w->maps, pod->ifindex);
	uint32_t slot = maps_slot(w->maps) ^ other;
	struct pod_entry entry = {};

	CU_ASSERT(maps_find(w->maps, MAP_PODS, &index, &entry) == 0);
	if (word == WORD_IDENTITY)
		return entry.identity[slot];
	return word == WORD_INGRESS ? entry.ingress_rules[slot] : entry.egress_rules[slot];
}

uint32_t enforce_world_ingress(const struct enforce_world *w, const struct local_pod *pod)
{
	return enforce_world_word(w, pod, WORD_INGRESS, false);
}

uint32_t enforce_world_identity(const struct enforce_world *w, const char *addr, bool other)
{
	const struct address_key key = {.prefixlen = 128, .addr = enforce_world_addr(addr)};
	struct address_entry entry = {};

	maps_find(w->maps, MAP_ADDRESSES, &key, &entry);
	/* The element that is found may be a range's. */
	return entry.flags & ADDRESS_POD ? entry.identity[maps_slot(w->maps) ^ other] : 0;
}
