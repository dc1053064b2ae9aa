/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/services/service_world.h"

#include <arpa/inet.h>

static int no_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count,
		   void *data)
{
	*ret_count = 0;
	return 0;
}

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;

	if (object->kind == OBJECT_NODE)
		CU_ASSERT(peers_object(w->peers, object, deleted) == 0);
	services_object_changed(w->services, object, deleted);
}

static void on_touched(const struct polder_addr *addr, void *data)
{
	struct world *w = data;
	size_t used = strlen(w->told);
	char text[INET6_ADDRSTRLEN];

	snprintf(w->told + used, sizeof(w->told) - used, "%s ", addr_format(addr, text));
}

static size_t more_addresses(const struct object *service, const struct polder_addr **ret,
			     void *data)
{
	const struct world *w = data;

	*ret = w->more;
	return w->more_count;
}

struct polder_addr addr_of(const char *text)
{
	struct polder_addr addr;

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

struct service_key key_of(const char *addr, uint16_t port)
{
	return (struct service_key){.addr = strcmp(addr, "any") == 0	? addr_unspecified(true)
					    : strcmp(addr, "any6") == 0 ? addr_unspecified(false)
									: addr_of(addr),
				    .port_be = htons(port),
				    .proto = port ? IPPROTO_TCP : 0};
}

void link_add(struct world *w, const char *prefix)
{
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", prefix);
	CU_ASSERT_FATAL(prefix_parse(copy, &w->links[w->node.address_count]) == 0);
	*strchr(copy, '/') = '\0';
	w->links[w->node.address_count++].addr = addr_of(copy);
	w->node.uplink_address_count = w->node.address_count;
}

void services_start(struct world *w)
{
	const struct services_env env = {
		.maps = w->maps,
		.store = w->store,
		.config = &w->config,
		.node = &w->node,
		.peers = w->peers,
		.pods = no_pods,
	};

	CU_ASSERT_FATAL(services_open(&env, &w->services) == 0);
	services_on_touched(w->services, on_touched, w);
	services_on_addresses(w->services, more_addresses, w);
}

void world_begin(struct world *w, uint32_t room)
{
	*w = (struct world){.config = small_config(room)};
	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/24", &w->config.pod_cidr_v4) == 0);
	w->node.addresses = w->links;
	link_add(w, "192.168.7.1/24");
	w->node.ipv4 = w->links[0].addr;
	w->maps = small_maps(&w->config, NULL);
	CU_ASSERT_FATAL(peers_new(&w->config, NULL, &w->peers) == 0);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	CU_ASSERT_FATAL(peers_read(w->peers, w->store) == 0);
	services_start(w);
	store_listen(w->store, on_change, w);
}

void world_end(struct world *w)
{
	services_close(w->services);
	peers_free(w->peers);
	store_free(w->store);
	maps_close(w->maps);
}

void world_put(struct world *w, const char *origin, const char *text)
{
	struct object_list list = {};
	struct error error = {};
	char *copy = strdup(text);

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (*copy && objects_decode(copy, strlen(copy), &list, &error) < 0) {
		printf("%s: %s\n", error.path, error.text);
		CU_FAIL_FATAL("the objects cannot be decoded");
	}
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	free(copy);
	w->told[0] = '\0';
	CU_ASSERT(services_apply(w->services) == 0);
}

bool world_find(struct world *w, const char *addr, uint16_t port, struct service_entry *ret)
{
	const struct service_key key = key_of(addr, port);

	return maps_find(w->maps, MAP_SERVICES, &key, ret) == 0;
}

struct service_entry entry_of(struct world *w, const char *addr, uint16_t port)
{
	struct service_entry entry = {};

	CU_ASSERT(world_find(w, addr, port, &entry));
	return entry;
}

bool is_served(struct world *w, const char *addr, uint16_t port)
{
	struct service_entry entry;

	return world_find(w, addr, port, &entry);
}

const char *row_text(struct world *w, uint32_t first, uint32_t count)
{
	static char texts[4][512];
	static unsigned int turn;
	char *text = texts[turn++ % 4], addr[INET6_ADDRSTRLEN];
	size_t used = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < count; i++) {
		const struct backend *backend = maps_element(w->maps, MAP_BACKENDS, first + i);

		used += (size_t)snprintf(text + used, sizeof(texts[0]) - used, "%s%s", i ? " " : "",
					 addr_format(&backend->addr, addr));
	}
	return text;
}

const char *cluster_set(struct world *w, const char *addr, uint16_t port)
{
	const struct service_entry entry = entry_of(w, addr, port);

	return row_text(w, entry.backend_first, entry.backend_count);
}

const char *local_set(struct world *w, const char *addr, uint16_t port)
{
	const struct service_entry entry = entry_of(w, addr, port);

	return row_text(w, entry.local_first, entry.local_count);
}

bool is_told(struct world *w, const char *name, const char *words)
{
	const struct service_problem *problems;
	size_t count = services_problems(w->services, &problems);

	for (size_t i = 0; i < count; i++)
		if (strcmp(problems[i].name, name) == 0 && strstr(problems[i].reason, words))
			return true;
	for (size_t i = 0; i < count; i++)
		printf("\n%s: %s\n", problems[i].name, problems[i].reason);
	return false;
}

bool is_told_everywhere(struct world *w, const char *name, const char *words, bool here)
{
	const struct service_problem *problems;
	size_t count = services_problems(w->services, &problems);

	for (size_t i = 0; i < count; i++)
		if (strcmp(problems[i].name, name) == 0 && strstr(problems[i].everywhere, words))
			return problems[i].here == here;
	return false;
}

size_t problem_count(struct world *w)
{
	const struct service_problem *problems;

	return services_problems(w->services, &problems);
}

size_t held(struct world *w, enum map_index index)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0;

	CU_ASSERT(maps_dump(w->maps, index, &keys, &values, &count) == 0);
	free(keys);
	free(values);
	return count;
}
