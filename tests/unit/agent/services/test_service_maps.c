/* SPDX-License-Identifier: Apache-2.0 */
/* Services in the kernel's maps: where backends stand, when their places are used again, and what a
 * restart finds. Needs root. */
#include "agent/services/services.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 64

struct world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct services *services;
	char told[512]; /* addresses whose flows are to be re-evaluated: "10.96.0.1 10.1.1.2 " */
};

static int no_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count,
		   void *data)
{
	*ret_count = 0;
	return 0;
}

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;

	services_object_changed(w->services, object, deleted);
}

static void on_touched(const struct polder_addr *addr, void *data)
{
	struct world *w = data;
	size_t used = strlen(w->told);
	char text[INET6_ADDRSTRLEN];

	snprintf(w->told + used, sizeof(w->told) - used, "%s ", addr_format(addr, text));
}

static void services_start(struct world *w)
{
	const struct services_env env = {
		.maps = w->maps,
		.store = w->store,
		.config = &w->config,
		.node = &w->node,
		.pods = no_pods,
	};

	CU_ASSERT_FATAL(services_open(&env, &w->services) == 0);
	services_on_touched(w->services, on_touched, w);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(ROOM)};
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	services_start(w);
	store_listen(w->store, on_change, w);
}

static void end(struct world *w)
{
	services_close(w->services);
	store_free(w->store);
	maps_close(w->maps);
}

/* A Service 10.96.0.N with endpoints 10.1.HOST.1 to 10.1.HOST.COUNT, the last `ending` of them on
 * their way out; count < 0: it is deleted. */
static void serve_some(struct world *w, int n, int host, int count, int ending)
{
	static char text[16384];
	struct object_list list = {};
	struct error error = {};
	char origin[16];
	size_t at = 0;

	snprintf(origin, sizeof(origin), "s%d", n);
	at += snprintf(
		text, sizeof(text),
		"[{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s%d\"},"
		"\"spec\":{"
		"\"clusterIP\":\"10.96.0.%d\",\"ports\":[{\"port\":80}]}},"
		"{\"apiVersion\":\"discovery.k8s.io/"
		"v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"s%d\","
		"\"labels\":{\"kubernetes.io/service-name\":\"s%d\"}},\"addressType\":\"IPv4\","
		"\"ports\":[{\"port\":8080}],\"endpoints\":[",
		n, n, n, n);
	for (int i = 1; i <= count; i++)
		at += snprintf(text + at, sizeof(text) - at, "%s{\"addresses\":[\"10.1.%d.%d\"]%s}",
			       i > 1 ? "," : "", host, i,
			       i > count - ending ? ",\"conditions\":{\"ready\":false,\"serving\":"
						    "false,\"terminating\":true}"
						  : "");
	snprintf(text + at, sizeof(text) - at, "]}]");
	if (count >= 0)
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	object_list_clear(&list);
}

static void serve(struct world *w, int n, int host, int count)
{
	serve_some(w, n, host, count, 0);
}

static void apply(struct world *w)
{
	CU_ASSERT(services_apply(w->services) == 0);
}

static void prune(struct world *w)
{
	services_prune_mark(w->services);
	services_prune(w->services);
}

static struct service_entry entry_of(struct world *w, int n)
{
	struct service_key key = {.port_be = htons(80), .proto = IPPROTO_TCP};
	struct service_entry entry = {};
	char text[32];

	snprintf(text, sizeof(text), "10.96.0.%d", n);
	CU_ASSERT_FATAL(addr_parse(text, &key.addr) == 0);
	CU_ASSERT(maps_find(w->maps, MAP_SERVICES, &key, &entry) == 0);
	return entry;
}

/* Does the Service's range hold 10.1.HOST.1 to 10.1.HOST.COUNT? */
static bool sends_to(struct world *w, int n, int host, uint32_t count)
{
	struct service_entry entry = entry_of(w, n);
	char wanted[32], text[INET6_ADDRSTRLEN];

	if (entry.backend_count != count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct backend *backend =
			maps_element(w->maps, MAP_BACKENDS, entry.backend_first + i);

		snprintf(wanted, sizeof(wanted), "10.1.%d.%u", host, i + 1);
		if (!backend || strcmp(addr_format(&backend->addr, text), wanted) != 0 ||
		    ntohs(backend->port_be) != 8080)
			return false;
	}
	return true;
}

static void endpoints_of_a_service_stand_in_a_row(void)
{
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 3);
	serve(&w, 2, 2, 5);
	serve(&w, 3, 3, 0);
	apply(&w);
	CU_ASSERT(sends_to(&w, 1, 1, 3));
	CU_ASSERT(sends_to(&w, 2, 2, 5));
	CU_ASSERT(entry_of(&w, 3).backend_count == 0);
	CU_ASSERT(services_backends_used(w.services) == 8);
	end(&w);
}

static void a_range_is_used_again_only_after_the_sweep(void)
{
	struct world w;
	uint32_t before;

	begin(&w);
	serve(&w, 1, 1, 4);
	apply(&w);
	before = entry_of(&w, 1).backend_first;
	serve(&w, 1, 2, 4);
	apply(&w);
	CU_ASSERT(entry_of(&w, 1).backend_first != before);
	serve(&w, 2, 3, 4);
	apply(&w);
	CU_ASSERT(entry_of(&w, 2).backend_first != before);
	CU_ASSERT(services_backends_used(w.services) == 12);
	prune(&w);
	CU_ASSERT(services_backends_used(w.services) == 8);
	serve(&w, 3, 4, 4);
	apply(&w);
	CU_ASSERT(entry_of(&w, 3).backend_first == before);
	CU_ASSERT(sends_to(&w, 1, 2, 4));
	end(&w);
}

/* What leaves after the wait began may still be read by programs that began before it left. */
static void what_leaves_during_the_wait_stays_until_the_next_one(void)
{
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 4);
	serve(&w, 2, 2, 4);
	apply(&w);
	serve(&w, 1, 3, 4);
	apply(&w);
	services_prune_mark(w.services);
	serve(&w, 2, 4, 4);
	apply(&w);
	services_prune(w.services);
	CU_ASSERT(services_backends_used(w.services) == 12);
	prune(&w);
	CU_ASSERT(services_backends_used(w.services) == 8);
	end(&w);
}

static void a_full_map_is_told_with_numbers_and_what_was_in_force_stays(void)
{
	const struct service_problem *problems;
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 40);
	apply(&w);
	serve(&w, 1, 2, 30);
	serve(&w, 2, 3, 20);
	apply(&w);
	CU_ASSERT_FATAL(services_problems(w.services, &problems) == 1);
	if (strcmp(problems[0].name, "s1") == 0) {
		CU_ASSERT_STRING_EQUAL(
			problems[0].reason,
			"map backends is full: 64 entries, 60 used, 4 free in a row, 30 "
			"needed; raise --max-backends");
	}
	CU_ASSERT(sends_to(&w, 1, 1, 40));
	CU_ASSERT(sends_to(&w, 2, 3, 20));
	/* Room again: it is tried again. */
	serve(&w, 2, 0, -1);
	apply(&w);
	prune(&w);
	serve(&w, 1, 2, 24);
	apply(&w);
	CU_ASSERT(services_problems(w.services, &problems) == 0);
	CU_ASSERT(sends_to(&w, 1, 2, 24));
	prune(&w);
	CU_ASSERT(services_backends_used(w.services) == 24);
	end(&w);
}

static void a_restart_learns_the_ranges_and_keeps_them(void)
{
	struct service_entry before;
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 4);
	serve(&w, 2, 2, 6);
	serve(&w, 3, 3, 5);
	apply(&w);
	before = entry_of(&w, 2);
	services_close(w.services);
	services_start(&w);
	CU_ASSERT(services_backends_used(w.services) == 15);
	serve(&w, 1, 4, 4); /* changed while the agent was away */
	serve(&w, 2, 2, 6);
	services_object_changed(w.services, store_get(w.store, OBJECT_SERVICE, "default", "s2"),
				false);
	services_object_changed(w.services,
				store_get(w.store, OBJECT_ENDPOINT_SLICE, "default", "s2"), false);
	apply(&w);
	CU_ASSERT(sends_to(&w, 1, 4, 4));
	CU_ASSERT(entry_of(&w, 2).backend_first == before.backend_first &&
		  entry_of(&w, 2).id == before.id);
	/* The third has gone meanwhile. */
	services_prune_unknown(w.services);
	prune(&w);
	CU_ASSERT(services_backends_used(w.services) == 10);
	CU_ASSERT(sends_to(&w, 2, 2, 6));
	end(&w);
}

static void an_entry_with_another_ones_range_has_no_endpoint_until_it_is_put_right(void)
{
	struct service_key key = {.port_be = htons(80), .proto = IPPROTO_TCP};
	struct service_entry broken = {.id = 77, .backend_first = ROOM - 1, .backend_count = 2};
	struct world w;

	begin(&w);
	CU_ASSERT_FATAL(addr_parse("10.96.0.9", &key.addr) == 0);
	CU_ASSERT_FATAL(maps_put(w.maps, MAP_SERVICES, &key, &broken) == 0);
	services_close(w.services);
	services_start(&w);
	CU_ASSERT(entry_of(&w, 9).id == 77 && entry_of(&w, 9).backend_count == 0);
	serve(&w, 9, 9, 2);
	apply(&w);
	CU_ASSERT(sends_to(&w, 9, 9, 2));
	CU_ASSERT(entry_of(&w, 9).id == 77);
	end(&w);
}

/* Each with a name that no other had. */
static void numbers_that_begin_anew_are_no_others(void)
{
	struct service_key key = {.port_be = htons(80), .proto = IPPROTO_TCP};
	struct service_entry entry;
	struct world w;
	uint32_t ids[6];

	begin(&w);
	serve(&w, 1, 1, 2);
	apply(&w);
	/* Numbers of a node that has run for long: of a Service of before the start. */
	CU_ASSERT_FATAL(addr_parse("10.96.0.2", &key.addr) == 0);
	serve(&w, 2, 2, 2);
	apply(&w);
	entry = entry_of(&w, 2);
	entry.id = 0xfffffffe;
	CU_ASSERT_FATAL(maps_put(w.maps, MAP_SERVICES, &key, &entry) == 0);
	services_close(w.services);
	services_start(&w);
	for (int n = 3; n <= 6; n++)
		serve(&w, n, n, 2);
	apply(&w);
	for (int n = 1; n <= 6; n++)
		ids[n - 1] = entry_of(&w, n).id;
	for (int i = 0; i < 6; i++) {
		CU_ASSERT(ids[i] != 0);
		for (int j = 0; j < i; j++)
			CU_ASSERT(ids[i] != ids[j]);
	}
	end(&w);
}

static void come_and_go(struct world *w, int first, int last)
{
	for (int n = first; n <= last; n++) {
		serve(w, n, 1, 3);
		apply(w);
		serve(w, n, 1, -1);
		apply(w);
		prune(w);
	}
}

static void a_deleted_service_leaves_nothing_in_memory(void)
{
	struct world w;
	size_t before;

	begin(&w);
	come_and_go(&w, 1, 20);
	before = mallinfo2().uordblks;
	come_and_go(&w, 21, 220);
	/* Tables may have grown; 200 Services would take 40,000 bytes. */
	CU_ASSERT(mallinfo2().uordblks < before + 4096);
	end(&w);
}

static void put_service(struct world *w, const char *namespace, const char *name)
{
	struct object_list list = {};
	struct error error = {};
	char text[512], origin[64];

	snprintf(origin, sizeof(origin), "%s-%s", namespace, name);
	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"%s\","
		 "\"namespace\":\"%s\"},"
		 "\"spec\":{\"clusterIP\":\"10.96.1.1\",\"selector\":{\"a\":\"b\"},\"ports\":[{"
		 "\"port\":80}]}}",
		 name, namespace);
	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
}

static bool is_concerned(struct world *w, const char *namespace)
{
	bool dirty;

	services_pods_changed(w->services, namespace);
	dirty = services_dirty(w->services);
	apply(w);
	return dirty;
}

static void pods_concern_services_of_their_namespace_that_have_no_slice(void)
{
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 3); /* with a slice, in "default" */
	apply(&w);
	CU_ASSERT(!is_concerned(&w, "default"));
	CU_ASSERT(!is_concerned(&w, NULL));
	put_service(&w, "default", "s2");
	put_service(&w, "other", "s3");
	apply(&w);
	CU_ASSERT(is_concerned(&w, "default"));
	CU_ASSERT(is_concerned(&w, "other"));
	CU_ASSERT(!is_concerned(&w, "third"));
	CU_ASSERT(is_concerned(&w, NULL));
	serve(&w, 2, 1, 3); /* s2 gets a slice */
	apply(&w);
	CU_ASSERT(!is_concerned(&w, "default"));
	serve(&w, 2, 1, -1); /* and loses it */
	apply(&w);
	CU_ASSERT(is_concerned(&w, "default"));
	end(&w);
}

/* Applies, and tells whose flows that concerned. The generation stays. */
static const char *told_by_apply(struct world *w)
{
	uint32_t before = maps_control(w->maps)->generation;

	w->told[0] = '\0';
	apply(w);
	CU_ASSERT(maps_control(w->maps)->generation == before);
	return w->told;
}

static void a_service_that_comes_or_goes_concerns_flows_to_its_address(void)
{
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 2);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w),
			       "10.96.0.1 10.96.0.1 "); /* the address, and its port */
	serve(&w, 2, 2, 2);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.96.0.2 10.96.0.2 ");
	serve(&w, 1, 0, -1);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.96.0.1 10.96.0.1 ");
	end(&w);
}

static void endpoints_that_come_concern_no_flow_and_those_that_go_their_own(void)
{
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 2);
	serve(&w, 2, 2, 2);
	apply(&w);
	serve(&w, 1, 1, 4);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "");
	CU_ASSERT(sends_to(&w, 1, 1, 4));
	serve(&w, 1, 1, 3);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.4 ");
	serve_some(&w, 1, 1, 3, 1);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.3 ");
	serve(&w, 1, 1, 2);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.3 ");
	serve(&w, 1, 3, 1);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.1 10.1.1.2 ");
	end(&w);
}

/* Datagrams stay with an endpoint on its way out only while there is no other. */
static void the_first_endpoint_for_new_flows_concerns_flows_to_those_on_their_way_out(void)
{
	struct world w;

	begin(&w);
	serve_some(&w, 1, 1, 2, 2);
	apply(&w);
	serve_some(&w, 1, 1, 2, 1);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.1 10.1.1.2 ");
	serve_some(&w, 1, 1, 3, 2);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "");
	serve_some(&w, 1, 1, 3, 3);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.1.1.1 10.1.1.2 10.1.1.3 ");
	end(&w);
}

/* Which endpoints it had is not known; and the agent before this one may not have told all. */
static void after_a_restart_a_change_concerns_the_whole_service(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 4);
	serve(&w, 2, 2, 4);
	apply(&w);
	services_close(w.services);
	services_start(&w);
	serve(&w, 1, 1, 3);
	services_object_changed(w.services, store_get(w.store, OBJECT_SERVICE, "default", "s2"),
				false);
	services_object_changed(w.services,
				store_get(w.store, OBJECT_ENDPOINT_SLICE, "default", "s2"), false);
	CU_ASSERT_STRING_EQUAL(told_by_apply(&w), "10.96.0.1 ");
	before = maps_control(w.maps)->generation;
	CU_ASSERT(services_prune_unknown(w.services) == 0);
	CU_ASSERT(maps_control(w.maps)->generation == before + 1);
	end(&w);
}

/* enum backend_state of 10.1.HOST.I as an endpoint of 10.96.0.N; 0: it is none. */
static uint32_t member_of(struct world *w, int n, int host, int i)
{
	struct backend_state_key key = {.service_id = entry_of(w, n).id, .port_be = htons(8080)};
	uint32_t state = 0;
	char text[32];

	snprintf(text, sizeof(text), "10.1.%d.%d", host, i);
	CU_ASSERT_FATAL(addr_parse(text, &key.addr) == 0);
	return maps_find(w->maps, MAP_BACKEND_STATES, &key, &state) == 0 ? state : 0;
}

/* What is written for one endpoint more, and for one that goes, does not grow with the others. */
static void an_endpoint_that_comes_or_goes_writes_no_other_member(void)
{
	uint64_t before;
	struct world w;

	begin(&w);
	for (int count = 5; count <= 20; count += 15) {
		serve_some(&w, 1, 1, count, 1);
		apply(&w);
		prune(&w);
		before = maps_writes(w.maps);
		/* The range, the entry that names it, two members: one is active now, one came. */
		serve_some(&w, 1, 1, count + 1, 1);
		apply(&w);
		prune(&w);
		CU_ASSERT_EQUAL(maps_writes(w.maps) - before, (uint64_t)count + 3);
		before = maps_writes(w.maps);
		serve_some(&w, 1, 1, count, 0);
		apply(&w);
		prune(&w);
		CU_ASSERT(maps_writes(w.maps) - before <= (uint64_t)count + 2);
		CU_ASSERT_EQUAL(member_of(&w, 1, 1, count), BACKEND_ACTIVE);
		CU_ASSERT_EQUAL(member_of(&w, 1, 1, count + 1), 0);
	}
	end(&w);
}

static void what_a_change_without_room_wrote_is_taken_back(void)
{
	const struct service_problem *problems;
	struct world w;

	begin(&w);
	serve_some(&w, 1, 1, 20, 4);
	serve_some(&w, 2, 2, ROOM - 24, ROOM - 24);
	apply(&w);
	CU_ASSERT_FATAL(services_problems(w.services, &problems) == 0);
	/* Four more are on their way out, and eight come: there is room for four. */
	serve_some(&w, 1, 1, 28, 16);
	apply(&w);
	CU_ASSERT_FATAL(services_problems(w.services, &problems) == 1);
	CU_ASSERT(strstr(problems[0].reason, "map backend_states is full") != NULL);
	for (int i = 1; i <= 28; i++)
		CU_ASSERT_EQUAL(member_of(&w, 1, 1, i), i > 20	 ? 0u
							: i > 16 ? (uint32_t)BACKEND_TERMINATING
								 : (uint32_t)BACKEND_ACTIVE);
	end(&w);
}

/* A map whose descriptor is another file's refuses everything. */
static int break_map(struct world *w, enum map_index index)
{
	int fd = maps_fd(w->maps, index), kept = dup(fd), nothing = open("/dev/null", O_RDONLY);

	CU_ASSERT_FATAL(kept >= 0 && nothing >= 0 && dup2(nothing, fd) == fd);
	close(nothing);
	return kept;
}

static void mend_map(struct world *w, enum map_index index, int kept)
{
	CU_ASSERT_FATAL(dup2(kept, maps_fd(w->maps, index)) >= 0);
	close(kept);
}

/* How many elements the kernel's map has. */
static size_t held(struct world *w, enum map_index index)
{
	void *keys = NULL, *values = NULL;
	size_t count = 0;

	CU_ASSERT(maps_dump(w->maps, index, &keys, &values, &count) == 0);
	free(keys);
	free(values);
	return count;
}

/* A flow to a member that is left over would stay with an endpoint that has gone. */
static void what_the_maps_refuse_to_delete_goes_with_the_next_run(void)
{
	struct service_entry gone, next;
	int services, states;
	struct world w;

	begin(&w);
	serve(&w, 1, 1, 3);
	serve(&w, 3, 3, 2);
	apply(&w);
	gone = entry_of(&w, 1);
	services = break_map(&w, MAP_SERVICES);
	states = break_map(&w, MAP_BACKEND_STATES);
	serve(&w, 1, 1, -1);
	CU_ASSERT(services_apply(w.services) < 0);
	prune(&w);
	mend_map(&w, MAP_SERVICES, services);
	mend_map(&w, MAP_BACKEND_STATES, states);
	/* Programs may still read the range: nobody else gets it. */
	CU_ASSERT_EQUAL(entry_of(&w, 1).backend_first, gone.backend_first);
	serve(&w, 2, 2, 3);
	apply(&w);
	next = entry_of(&w, 2);
	CU_ASSERT(next.backend_first >= gone.backend_first + gone.backend_count ||
		  next.backend_first + next.backend_count <= gone.backend_first);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 4); /* ports, and addresses */
	CU_ASSERT_EQUAL(held(&w, MAP_BACKEND_STATES), 5);
	/* And of one that stays, an endpoint. */
	states = break_map(&w, MAP_BACKEND_STATES);
	serve(&w, 3, 3, 1);
	CU_ASSERT(services_apply(w.services) < 0);
	mend_map(&w, MAP_BACKEND_STATES, states);
	apply(&w);
	CU_ASSERT_EQUAL(member_of(&w, 3, 3, 2), 0);
	CU_ASSERT_EQUAL(held(&w, MAP_BACKEND_STATES), 4);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(what_the_maps_refuse_to_delete_goes_with_the_next_run),
	UNIT_TEST(endpoints_of_a_service_stand_in_a_row),
	UNIT_TEST(a_range_is_used_again_only_after_the_sweep),
	UNIT_TEST(what_leaves_during_the_wait_stays_until_the_next_one),
	UNIT_TEST(a_full_map_is_told_with_numbers_and_what_was_in_force_stays),
	UNIT_TEST(a_restart_learns_the_ranges_and_keeps_them),
	UNIT_TEST(an_entry_with_another_ones_range_has_no_endpoint_until_it_is_put_right),
	UNIT_TEST(numbers_that_begin_anew_are_no_others),
	UNIT_TEST(a_deleted_service_leaves_nothing_in_memory),
	UNIT_TEST(pods_concern_services_of_their_namespace_that_have_no_slice),
	UNIT_TEST(a_service_that_comes_or_goes_concerns_flows_to_its_address),
	UNIT_TEST(endpoints_that_come_concern_no_flow_and_those_that_go_their_own),
	UNIT_TEST(the_first_endpoint_for_new_flows_concerns_flows_to_those_on_their_way_out),
	UNIT_TEST(after_a_restart_a_change_concerns_the_whole_service),
	UNIT_TEST(an_endpoint_that_comes_or_goes_writes_no_other_member),
	UNIT_TEST(what_a_change_without_room_wrote_is_taken_back),
};

int main(void)
{
	return UNIT_RUN("service maps", tests);
}
