/* SPDX-License-Identifier: Apache-2.0 */
/* Which problems of Services become Events, by which node, and how often. */
#include "agent/observe/service_events.h"

#include "agent/store/store.h"
#include "tests/unit/unit.h"

struct world {
	struct store *store;
	struct service_events *events;
	size_t count; /* so many were told */
	char reason[64], text[SERVICE_REASON_MAX], name[64];
	bool few;
};

static void tell(const struct service_event *event, void *data)
{
	struct world *w = data;

	w->count++;
	w->few = event->few;
	snprintf(w->reason, sizeof(w->reason), "%s", event->reason);
	snprintf(w->text, sizeof(w->text), "%s", event->text);
	snprintf(w->name, sizeof(w->name), "%s", event->service->name);
}

static void put(struct world *w, const char *origin, const char *text)
{
	struct object_list list = {};
	struct error error;

	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
}

static void put_service(struct world *w, const char *origin, const char *name, const char *uid)
{
	char text[400];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"namespace\":\"shop\","
		 "\"name\":\"%s\",\"uid\":\"%s\"},\"spec\":{\"clusterIPs\":[\"10.96.0.1\"],"
		 "\"ports\":[{\"port\":80}]}}",
		 name, uid);
	put(w, origin, text);
}

static void put_nodes(struct world *w, int count)
{
	char text[200], origin[32];

	for (int n = 0; n < count; n++) {
		snprintf(origin, sizeof(origin), "node-%d", n);
		snprintf(
			text, sizeof(text),
			"{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n%d\"}}",
			n);
		put(w, origin, text);
	}
}

static void begin(struct world *w, const char *node)
{
	struct service_events_env env = {.node = node, .tell = tell, .data = w};

	*w = (struct world){.store = store_new()};
	CU_ASSERT_FATAL(w->store != NULL);
	env.store = w->store;
	CU_ASSERT_FATAL(service_events_new(&env, &w->events) == 0);
}

static void end(struct world *w)
{
	service_events_free(w->events);
	store_free(w->store);
}

static struct service_problem problem(const char *name, enum service_problem_kind kind, bool here,
				      const char *reason, const char *everywhere)
{
	struct service_problem made = {
		.namespace = "shop", .name = name, .kind = kind, .here = here};

	snprintf(made.reason, sizeof(made.reason), "%s", reason);
	snprintf(made.everywhere, sizeof(made.everywhere), "%s", everywhere);
	return made;
}

/* These are all that there are. How many were told. */
static size_t follow(struct world *w, const struct service_problem *problems, size_t count)
{
	size_t before = w->count;

	service_events_begin(w->events);
	for (size_t i = 0; i < count; i++)
		service_events_problem(&problems[i], w->events);
	service_events_end(w->events);
	return w->count - before;
}

static void problem_is_told_once_as_long_as_it_lasts(void)
{
	struct service_problem taken =
		problem("front", SERVICE_PROBLEM_FRONTEND, false, "port 80 is taken", "");
	struct world w;

	begin(&w, "here");
	put_service(&w, "api:services", "front", "1");
	CU_ASSERT(follow(&w, &taken, 1) == 1);
	CU_ASSERT_STRING_EQUAL(w.reason, "FrontendNotServed");
	CU_ASSERT_STRING_EQUAL(w.text, "port 80 is taken");
	CU_ASSERT_STRING_EQUAL(w.name, "front");
	CU_ASSERT(follow(&w, &taken, 1) == 0);
	/* In other words, or of another Service by the name, it is another one. */
	snprintf(taken.reason, sizeof(taken.reason), "port 81 is taken");
	CU_ASSERT(follow(&w, &taken, 1) == 1);
	put_service(&w, "api:services", "front", "2");
	CU_ASSERT(follow(&w, &taken, 1) == 1);
	/* It has gone, and comes again. */
	CU_ASSERT(follow(&w, NULL, 0) == 0);
	CU_ASSERT(follow(&w, &taken, 1) == 1);
	end(&w);
}

static void only_what_the_server_has_has_events(void)
{
	struct service_problem of_file =
		problem("front", SERVICE_PROBLEM_FRONTEND, false, "taken", "");
	struct service_problem of_pod =
		problem("pod shop/front", SERVICE_PROBLEM_FRONTEND, false, "taken", "");
	struct service_problem of_nothing =
		problem("gone", SERVICE_PROBLEM_FRONTEND, false, "taken", "");
	struct world w;

	of_pod.namespace = "";
	begin(&w, "here");
	put_service(&w, "/etc/polder/front.json", "front", "1");
	CU_ASSERT(follow(&w, &of_file, 1) == 0);
	CU_ASSERT(follow(&w, &of_pod, 1) == 0);
	CU_ASSERT(follow(&w, &of_nothing, 1) == 0);
	end(&w);
}

static void what_each_node_finds_few_tell(void)
{
	const struct service_problem taken =
		problem("front", SERVICE_PROBLEM_FRONTEND, false, "taken", "");
	size_t told = 0;

	for (int n = 0; n < 40; n++) {
		struct world w;
		char name[16];

		snprintf(name, sizeof(name), "n%d", n);
		begin(&w, name);
		put_nodes(&w, 40);
		put_service(&w, "api:services", "front", "1");
		told += follow(&w, &taken, 1);
		CU_ASSERT(!w.count || w.few);
		end(&w);
	}
	CU_ASSERT(told == SERVICE_EVENTS_TELLERS);
}

/* Or one node would tell of all Services. */
static void other_services_have_other_tellers(void)
{
	size_t told = 0;
	struct world w;

	begin(&w, "n7");
	put_nodes(&w, 40);
	for (int i = 0; i < 200; i++) {
		struct service_problem taken;
		char name[16], origin[32];

		snprintf(name, sizeof(name), "s%d", i);
		snprintf(origin, sizeof(origin), "api:services/%d", i);
		put_service(&w, origin, name, "1");
		taken = problem(name, SERVICE_PROBLEM_FRONTEND, false, "taken", "");
		told += follow(&w, &taken, 1);
	}
	CU_ASSERT(told > 0 && told < 60); /* 15 of them on average */
	end(&w);
}

static void what_is_one_nodes_it_tells_itself_in_words_of_all(void)
{
	for (int n = 0; n < 10; n++) {
		const struct service_problem full =
			problem("front", SERVICE_PROBLEM_ROOM, true, "full: 7 entries", "full");
		struct service_problem more = full;
		struct world w;
		char name[16];

		snprintf(name, sizeof(name), "n%d", n);
		begin(&w, name);
		put_nodes(&w, 40);
		put_service(&w, "api:services", "front", "1");
		CU_ASSERT(follow(&w, &full, 1) == 1 && !w.few);
		CU_ASSERT_STRING_EQUAL(w.text, "full");
		CU_ASSERT_STRING_EQUAL(w.reason, "NoRoomForService");
		snprintf(more.reason, sizeof(more.reason), "full: 8 entries");
		CU_ASSERT(follow(&w, &more, 1) == 0);
		end(&w);
	}
}

#define MANY (SERVICE_EVENTS_OWN + 5)

static void one_nodes_problem_of_a_kind_is_told_of_few_services(void)
{
	struct service_problem full[MANY];
	char names[MANY][16], origin[32];
	struct world w;

	begin(&w, "here");
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i);
		snprintf(origin, sizeof(origin), "api:services/%d", i);
		put_service(&w, origin, names[i], "1");
		full[i] = problem(names[i], SERVICE_PROBLEM_ROOM, true, "full", "");
	}
	CU_ASSERT(follow(&w, full, MANY) == SERVICE_EVENTS_OWN);
	CU_ASSERT(follow(&w, full, MANY) == 0);
	/* Another kind is another matter. */
	full[0].kind = SERVICE_PROBLEM_HEALTH;
	CU_ASSERT(follow(&w, full, MANY) == 1);
	CU_ASSERT_STRING_EQUAL(w.reason, "HealthCheckNotServed");
	/* All is well again, and then it is not. */
	CU_ASSERT(follow(&w, NULL, 0) == 0);
	full[0].kind = SERVICE_PROBLEM_ROOM;
	CU_ASSERT(follow(&w, full, MANY) == SERVICE_EVENTS_OWN);
	end(&w);
}

static void more_than_is_kept_in_mind_is_not_told(void)
{
	struct service_problem one;
	struct world w;

	begin(&w, "here");
	put_service(&w, "api:services", "front", "1");
	service_events_begin(w.events);
	for (int i = 0; i < SERVICE_EVENTS_MAX + 9; i++) {
		one = problem("front", SERVICE_PROBLEM_FRONTEND, false, "", "");
		snprintf(one.reason, sizeof(one.reason), "port %d is taken", i);
		service_events_problem(&one, w.events);
	}
	service_events_end(w.events);
	CU_ASSERT(w.count == SERVICE_EVENTS_MAX);
	/* Room again. */
	CU_ASSERT(follow(&w, &one, 1) == 0);
	CU_ASSERT(follow(&w, &one, 1) == 1);
	end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(problem_is_told_once_as_long_as_it_lasts),
		UNIT_TEST(only_what_the_server_has_has_events),
		UNIT_TEST(what_each_node_finds_few_tell),
		UNIT_TEST(other_services_have_other_tellers),
		UNIT_TEST(what_is_one_nodes_it_tells_itself_in_words_of_all),
		UNIT_TEST(one_nodes_problem_of_a_kind_is_told_of_few_services),
		UNIT_TEST(more_than_is_kept_in_mind_is_not_told),
	};

	return UNIT_RUN("service_events", tests);
}
