/* SPDX-License-Identifier: Apache-2.0 */
/* Services and their addresses: whose they are, what is written, what is remembered. */
#include "agent/announce/balancers.h"

#include "tests/unit/unit.h"

static struct config config = {.node_name = "node-1"};
static struct node node;
static struct store *store;
static struct balancers *balancers;
static char directory[32], kept[64];
static int changes, refusals;

static void changed(const char *namespace, const char *name, void *data)
{
	(void)namespace;
	(void)name;
	(void)data;
	changes++;
}

static void refused(const struct object *service, const char *why, void *data)
{
	(void)service;
	(void)data;
	CU_ASSERT(why[0] != '\0');
	refusals++;
}

static void open_balancers(void)
{
	const struct balancers_env env = {.config = &config,
					  .store = store,
					  .node = &node,
					  .kept = kept,
					  .changed = changed,
					  .refused = refused};

	CU_ASSERT_FATAL(balancers_new(&env, &balancers) == 0);
}

static void begin(const char *pool)
{
	config.pool_count = 1;
	CU_ASSERT_FATAL(address_range_parse(pool, &config.pools[0]) == 0);
	changes = refusals = 0;
	unlink(kept);
	store = store_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(store);
	open_balancers();
}

static void end(void)
{
	balancers_free(balancers);
	store_free(store);
}

/* `spec`, `status`: members with single quotes for double ones. */
static void put(const char *origin, const char *name, int version, const char *spec,
		const char *status)
{
	char text[1024];
	struct object *object = NULL;
	struct error error;

	snprintf(text, sizeof(text),
		 "{'metadata': {'name': '%s', 'namespace': 'default', 'resourceVersion': '%d'}, "
		 "'spec': {'clusterIP': '10.96.0.1', 'ipFamilies': ['IPv4'], 'ports': [{'port': "
		 "80}], %s}, 'status': {'loadBalancer': {'ingress': [%s]}}}",
		 name, version, spec, status);
	for (char *at = text; *at; at++)
		*at = *at == '\'' ? '"' : *at;
	CU_ASSERT_FATAL(object_decode(OBJECT_SERVICE, text, strlen(text), &object, &error) == 0);
	CU_ASSERT_FATAL(store_upsert(store, origin, object) == 0);
	/* An equal one has been freed. */
	CU_ASSERT(balancers_object_changed(balancers,
					   store_get(store, OBJECT_SERVICE, "default", name)));
}

static void update(void)
{
	CU_ASSERT(balancers_update(balancers) == 0);
}

static bool next(struct balancer_write *ret)
{
	return balancers_hooks.next(ret, balancers);
}

static bool wants(void)
{
	return balancers_hooks.wants(balancers);
}

static bool is(const struct polder_addr *addr, const char *text)
{
	struct polder_addr wanted = {};

	addr_parse(text, &wanted);
	return memcmp(addr, &wanted, sizeof(wanted)) == 0;
}

#define BALANCER "'type': 'LoadBalancer'"

static void what_a_status_lacks_is_written_once(void)
{
	struct balancer_write write = {};
	size_t count;

	begin("192.0.2.10");
	put("api:services", "web", 7, BALANCER, "");
	update();
	CU_ASSERT(wants() && next(&write));
	CU_ASSERT(!strcmp(write.name, "web") && !strcmp(write.version, "7"));
	CU_ASSERT(write.count == 1 && is(&write.addrs[0], "192.0.2.10"));
	/* Not announced before all nodes can know of it. */
	balancers_addresses(balancers, &count);
	CU_ASSERT(count == 0);
	balancers_hooks.written(&write, 9, balancers);
	CU_ASSERT(!wants() && !next(&write));
	put("api:services", "web", 9, BALANCER, "{'ip': '192.0.2.10'}");
	update();
	CU_ASSERT(!wants());
	balancers_addresses(balancers, &count);
	CU_ASSERT(count == 1);
	end();
}

/* The watch is behind the writes. */
static void address_that_was_written_is_given_to_nobody_else_meanwhile(void)
{
	struct balancer_write write = {};

	begin("192.0.2.10");
	put("api:services", "web", 7, BALANCER, "");
	update();
	CU_ASSERT(next(&write));
	balancers_hooks.written(&write, 12, balancers);
	put("api:services", "older", 5, BALANCER, "");
	put("api:services", "web", 8, BALANCER ", 'externalTrafficPolicy': 'Local'", "");
	update();
	CU_ASSERT(!wants() && balancers_refused(balancers) == 1 && refusals == 1);
	end();
}

static void service_that_somebody_changed_is_written_again_from_its_next_version(void)
{
	struct balancer_write write = {};

	begin("192.0.2.10");
	put("api:services", "web", 7, BALANCER, "");
	update();
	CU_ASSERT(next(&write));
	balancers_hooks.written(&write, 0, balancers);
	CU_ASSERT(wants() && !next(&write));
	put("api:services", "web", 8, BALANCER, "");
	update();
	CU_ASSERT(next(&write) && !strcmp(write.version, "8"));
	end();
}

static void services_of_others_are_left_alone(void)
{
	struct balancer_write write = {};

	begin("192.0.2.10");
	put("api:services", "classed", 1, BALANCER ", 'loadBalancerClass': 'a.b/c'", "");
	put("api:services", "named", 1, BALANCER, "{'hostname': 'lb.example'}");
	put("api:services", "clouds", 1, BALANCER, "{'ip': '203.0.113.1'}");
	put("api:services", "inside", 1, "'type': 'ClusterIP'", "");
	update();
	CU_ASSERT(!wants() && !next(&write) && balancers_count(balancers) == 0);
	end();
}

/* Of ours, what the pools have lost stays, and is told. */
static void address_outside_of_the_pools_is_kept_and_not_announced(void)
{
	struct balancer_write write = {};
	size_t count;

	begin("192.0.2.10");
	put("api:services", "web", 1, BALANCER ", 'loadBalancerClass': '" BALANCER_CLASS "'",
	    "{'ip': '192.0.2.99'}");
	update();
	CU_ASSERT(!wants() && !next(&write) && balancers_refused(balancers) == 1);
	balancers_addresses(balancers, &count);
	CU_ASSERT(count == 0 && store_problem_count(store) == 1);
	end();
}

static void service_that_is_none_any_more_loses_what_was_of_the_pools(void)
{
	struct balancer_write write = {};

	begin("192.0.2.10");
	put("api:services", "web", 3, "'type': 'ClusterIP'", "{'ip': '192.0.2.10'}");
	update();
	CU_ASSERT(wants() && next(&write) && write.count == 0);
	end();
}

static void clusters_own_addresses_are_not_given(void)
{
	struct balancer_write write = {};

	begin("10.96.0.1-10.96.0.2");
	put("api:services", "web", 3, BALANCER, "");
	update();
	CU_ASSERT(next(&write) && write.count == 1 && is(&write.addrs[0], "10.96.0.2"));
	end();
}

static void service_from_a_file_has_its_address_at_once_and_after_a_restart(void)
{
	const struct polder_addr *more;
	struct polder_addr before;
	const struct object *service;

	begin("192.0.2.0/24");
	put("web.json", "web", 1, BALANCER, "");
	update();
	CU_ASSERT(!wants() && changes == 1);
	service = store_get(store, OBJECT_SERVICE, "default", "web");
	CU_ASSERT_FATAL(balancers_more(balancers, service, &more) == 1);
	before = more[0];
	balancers_free(balancers);
	open_balancers();
	CU_ASSERT_FATAL(balancers_more(balancers, service, &more) == 1);
	CU_ASSERT(memcmp(&before, more, sizeof(before)) == 0);
	/* An older one, which begins to look at the same place, does not take it. */
	update();
	CU_ASSERT(balancers_more(balancers, service, &more) == 1 &&
		  memcmp(&before, more, sizeof(before)) == 0 && changes == 1);
	store_delete(store, "web.json", OBJECT_SERVICE, "default", "web");
	update();
	CU_ASSERT(changes == 2);
	end();
}

static void wish_that_makes_no_sense_is_told_and_ignored(void)
{
	struct balancer_write write = {};
	struct object *object = NULL;
	struct error error;
	const char *text = "{\"metadata\": {\"name\": \"web\", \"namespace\": \"default\", "
			   "\"resourceVersion\": \"1\", \"annotations\": {\"" BALANCER_ASKED
			   "\": \"soon\"}}, \"spec\": {\"type\": \"LoadBalancer\", \"ipFamilies\": "
			   "[\"IPv4\"], \"ports\": [{\"port\": 80}]}}";

	begin("192.0.2.10");
	CU_ASSERT_FATAL(object_decode(OBJECT_SERVICE, text, strlen(text), &object, &error) == 0);
	CU_ASSERT_FATAL(store_upsert(store, "api:services", object) == 0);
	update();
	CU_ASSERT(next(&write) && write.count == 1 && balancers_refused(balancers) == 1);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_a_status_lacks_is_written_once),
		UNIT_TEST(address_that_was_written_is_given_to_nobody_else_meanwhile),
		UNIT_TEST(service_that_somebody_changed_is_written_again_from_its_next_version),
		UNIT_TEST(services_of_others_are_left_alone),
		UNIT_TEST(address_outside_of_the_pools_is_kept_and_not_announced),
		UNIT_TEST(service_that_is_none_any_more_loses_what_was_of_the_pools),
		UNIT_TEST(clusters_own_addresses_are_not_given),
		UNIT_TEST(service_from_a_file_has_its_address_at_once_and_after_a_restart),
		UNIT_TEST(wish_that_makes_no_sense_is_told_and_ignored),
	};
	int r;

	unit_directory(directory);
	snprintf(kept, sizeof(kept), "%s/load-balancers.json", directory);
	r = UNIT_RUN("balancers", tests);
	unit_remove_directory(directory);
	return r;
}
