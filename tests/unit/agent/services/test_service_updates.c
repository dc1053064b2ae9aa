/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another thread looks Services up as the programs do, while their endpoints change: an entry, its
 * cell, its row. At no moment is there a Service without endpoints, or a row or a table that is
 * not the entry's. Needs root.
 */
#include "tests/unit/agent/services/service_world.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define ROOM	 4096
#define SERVICES 8
#define CHANGES	 2000

struct reader {
	struct world *world;
	pthread_t thread;
	atomic_bool ends;
	atomic_ulong looks;
	unsigned long missing, empty, foreign, holes;
};

static struct service_key key_at(int service)
{
	char text[32];

	snprintf(text, sizeof(text), "10.96.0.%d", service + 1);
	return key_of(text, 80);
}

/* The endpoints of Service N are 10.(100 + N).x.y. */
static bool is_own(const struct backend *backend, int service)
{
	return (ntohl(backend->addr.words_be[3]) >> 16 & 255) == (uint32_t)(100 + service);
}

static void look_at_row(struct reader *r, int service, const struct service_entry *entry)
{
	const struct maps *maps = r->world->maps;

	for (uint32_t i = 0; i < entry->backend_count; i++) {
		const struct backend *backend =
			maps_element(maps, MAP_BACKENDS, entry->backend_first + i);

		r->foreign += !backend || !is_own(backend, service);
	}
	for (uint32_t i = 0; i < entry->table_size; i++) {
		const struct service_cells *cells = maps_element(
			maps, MAP_SERVICE_TABLES, entry->table_first + i / SERVICE_CELLS);

		r->holes += !cells || cells->places[i % SERVICE_CELLS] >= entry->backend_count;
	}
}

static void *read_on(void *data)
{
	struct reader *r = data;
	struct service_entry entry;

	for (int service = 0; !atomic_load(&r->ends); service = (service + 1) % SERVICES) {
		const struct service_key key = key_at(service);

		if (maps_find(r->world->maps, MAP_SERVICES, &key, &entry) < 0)
			r->missing++;
		else if (!entry.backend_count)
			r->empty++;
		else
			look_at_row(r, service, &entry);
		atomic_fetch_add(&r->looks, 1);
	}
	return NULL;
}

/* 2 to 9 endpoints, other ones each time. */
static void put_service(struct world *w, int service, int turn, bool maglev)
{
	char text[4096], name[16];
	size_t at;

	at = (size_t)snprintf(
		text, sizeof(text),
		"[{'apiVersion':'v1','kind':'Service','metadata':{'name':'s%d','annotations':{"
		"'polder.dev/balancing':'%s'}},'spec':{'clusterIP':'10.96.0.%d','ports':[{'port':"
		"80}]}},{'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice','metadata':{"
		"'name':'s%d','labels':{'kubernetes.io/service-name':'s%d'}},'addressType':'IPv4',"
		"'ports':[{'port':8080}],'endpoints':[",
		service, maglev ? "maglev" : "random", service + 1, service, service);
	for (int i = 0; i < 2 + turn % 8; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "%s{'addresses':['10.%d.%d.%d']}", i ? "," : "",
				       100 + service, turn / 7 % 256, 1 + i + turn % 5);
	snprintf(text + at, sizeof(text) - at, "]}]");
	snprintf(name, sizeof(name), "s%d", service);
	world_put(w, name, text);
}

/* As after a grace period: the look that was under way has ended, and another one. */
static void prune(struct reader *r)
{
	unsigned long begun;

	services_prune_mark(r->world->services);
	begun = atomic_load(&r->looks);
	while (atomic_load(&r->looks) < begun + 2)
		sched_yield();
	services_prune(r->world->services);
}

static void change_under_a_reader(bool maglev)
{
	struct world w;
	struct reader r = {.world = &w};

	world_begin(&w, ROOM);
	for (int i = 0; i < SERVICES; i++)
		put_service(&w, i, 0, maglev);
	CU_ASSERT_FATAL(pthread_create(&r.thread, NULL, read_on, &r) == 0);
	for (int turn = 1; turn <= CHANGES; turn++) {
		put_service(&w, turn % SERVICES, turn, maglev);
		if (turn % 3 == 0)
			prune(&r);
	}
	atomic_store(&r.ends, true);
	pthread_join(r.thread, NULL);
	CU_ASSERT(r.looks > 2 * CHANGES / 3);
	CU_ASSERT_EQUAL(r.missing, 0);
	CU_ASSERT_EQUAL(r.empty, 0);
	CU_ASSERT_EQUAL(r.foreign, 0);
	CU_ASSERT_EQUAL(r.holes, 0);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	world_end(&w);
}

static void nobody_meets_a_service_without_endpoints(void)
{
	change_under_a_reader(false);
}

static void nobody_meets_a_table_that_is_not_the_rows(void)
{
	change_under_a_reader(true);
}

static const struct unit_test tests[] = {
	UNIT_TEST(nobody_meets_a_service_without_endpoints),
	UNIT_TEST(nobody_meets_a_table_that_is_not_the_rows),
};

int main(void)
{
	return UNIT_RUN("updates of Services", tests);
}
