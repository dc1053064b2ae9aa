/* SPDX-License-Identifier: Apache-2.0 */
/* What a watch asks, and when, by what came. The clock is the test's. */
#include "agent/sources/api/watch.h"

#include <errno.h>

#include "agent/sources/api/backoff.h"
#include "tests/unit/unit.h"

static const struct watch_resource pods = {"pods", "", "/api/v1/pods", "Pod", false};
static const struct watch_resource optional = {"things", "g", "/apis/g/v1/things", "Thing", true};

struct world {
	struct watch_hooks hooks;
	struct watch *watch;
	uint64_t now, random;
	char query[WATCH_QUERY_MAX];
	char log[4096]; /* b: list_begin, +NAME, -NAME, e: list_end */
	bool is_server;
};

static void note(struct world *world, const char *mark, const char *text)
{
	const char *name = text ? strstr(text, "\"name\":\"") : NULL;

	if (strlen(world->log) + 40 > sizeof(world->log))
		world->log[0] = '\0';
	sprintf(world->log + strlen(world->log), "%s%.*s ", mark,
		name ? (int)strcspn(name + 8, "\"") : 0, name ? name + 8 : "");
}

static int list_begin(void *data)
{
	note(data, "b", NULL);
	return 0;
}

static int put(const char *text, size_t length, bool whole, void *data)
{
	CU_ASSERT(strlen(text) == length && whole);
	note(data, "+", text);
	return strstr(text, "no-memory") ? -ENOMEM : 0;
}

static int take_away(const char *text, size_t length, bool whole, void *data)
{
	note(data, "-", text);
	return strstr(text, "\"name\"") ? 0 : -EBADMSG;
}

static void list_end(void *data)
{
	note(data, "e", NULL);
}

static uint64_t random_number(void *data)
{
	return ((struct world *)data)->random;
}

static bool is_server(void *data)
{
	return ((struct world *)data)->is_server;
}

static void begin_with(struct world *world, const struct watch_resource *resource)
{
	*world = (struct world){.now = 1000000, .is_server = true};
	world->hooks = (struct watch_hooks){list_begin,	   put,	      take_away, list_end,
					    random_number, is_server, world};
	world->watch = watch_new(resource, &world->hooks);
}

static void begin(struct world *world)
{
	begin_with(world, &pods);
}

/* When it is due, and it is by now; the query is kept. */
static void ask(struct world *world)
{
	if (watch_due(world->watch) > world->now)
		world->now = watch_due(world->watch);
	CU_ASSERT(watch_begin(world->watch, world->now, world->query) == 0);
}

static int say(struct world *world, const char *text)
{
	return watch_body(world->watch, text, strlen(text), world->now);
}

static void head(struct world *world, int status)
{
	watch_head(world->watch, status, "application/json", 0);
}

static bool asked(const struct world *world, const char *part)
{
	return strstr(world->query, part);
}

static bool did(struct world *world, const char *log)
{
	bool same = strcmp(world->log, log) == 0;

	if (!same)
		printf("\n\"%s\", expected \"%s\"\n", world->log, log);
	world->log[0] = '\0';
	return same;
}

/* How long until the next question. */
static uint64_t waits(const struct world *world)
{
	uint64_t due = watch_due(world->watch);

	return due > world->now ? due - world->now : 0;
}

static struct watch_state state(const struct world *world)
{
	struct watch_state state;

	watch_read_state(world->watch, &state);
	return state;
}

#define ADDED(name, version)                                                                       \
	"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"name\":\"" name          \
	"\",\"resourceVersion\":\"" version "\"}}}\n"
#define DELETED(name, version)                                                                     \
	"{\"type\":\"DELETED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"name\":\"" name        \
	"\",\"resourceVersion\":\"" version "\"}}}\n"
#define BOOKMARK(version)                                                                          \
	"{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":"   \
	"\"" version "\"}}}\n"
#define INITIAL_END(version)                                                                       \
	"{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":"   \
	"\"" version "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"
#define FAILED(code)                                                                               \
	"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"message\":\"m\",\"code\":" code     \
	"}}\n"
#define PAGE(meta, items)                                                                          \
	"{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{" meta "},\"items\":[" items "]}"
#define ITEM(name) "{\"metadata\":{\"name\":\"" name "\"}}"

/* Listed by a stream at version 10; its watch has just ended. */
static void listed(struct world *world)
{
	begin(world);
	ask(world);
	head(world, 200);
	CU_ASSERT(say(world, ADDED("a", "3") INITIAL_END("10")) == 0);
	world->now += 10000;
	CU_ASSERT(watch_end(world->watch, NULL, world->now) == WATCH_FINE);
	world->log[0] = '\0';
}

static void no_streams(struct world *world)
{
	begin(world);
	ask(world);
	head(world, 422);
	CU_ASSERT(watch_end(world->watch, NULL, world->now) == WATCH_SERVER);
	CU_ASSERT(waits(world) == 0);
	world->log[0] = '\0';
}

static void stream_lists_and_goes_on_as_a_watch(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(watch_due(world.watch) <= world.now && !watch_is_synced(world.watch));
	ask(&world);
	CU_ASSERT(asked(&world,
			"/api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents="
			"true&resourceVersionMatch=NotOlderThan&timeoutSeconds=300"));
	head(&world, 200);
	CU_ASSERT(say(&world, ADDED("a", "7") ADDED("b", "3")) == 0);
	CU_ASSERT(!watch_is_synced(world.watch));
	CU_ASSERT(say(&world, INITIAL_END("10") DELETED("a", "11")) == 0);
	CU_ASSERT(did(&world, "b +a +b e -a ") && watch_is_synced(world.watch));
	world.now += 20000;
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
	ask(&world);
	CU_ASSERT(asked(&world, "resourceVersion=11&") && !asked(&world, "sendInitialEvents"));
	CU_ASSERT(did(&world, ""));
	watch_free(world.watch);
}

static void pages_where_streams_are_refused(void)
{
	struct world world;

	no_streams(&world);
	ask(&world);
	CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods?limit=500");
	head(&world, 200);
	CU_ASSERT(say(&world, PAGE("\"resourceVersion\":\"9\",\"continue\":\"x/+=\"", ITEM("a"))) ==
		  0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE && waits(&world) == 0);
	ask(&world);
	CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods?limit=500&continue=x%2F%2B%3D");
	head(&world, 200);
	CU_ASSERT(say(&world, PAGE("\"resourceVersion\":\"9\"", ITEM("b"))) == 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE && waits(&world) == 0);
	CU_ASSERT(did(&world, "b +a +b e "));
	ask(&world);
	CU_ASSERT(asked(&world, "watch=true") && asked(&world, "resourceVersion=9&"));
	watch_free(world.watch);
}

/* Old servers, and those whose etcd is too old for it. */
static void streams_that_do_not_work_become_pages(void)
{
	static const char *const answers[] = {FAILED("500"), BOOKMARK("5"), "{\"type\":\"X\"}"};
	struct world world;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		begin(&world);
		ask(&world);
		head(&world, 200);
		CU_ASSERT(say(&world, ADDED("a", "7")) == 0);
		CU_ASSERT(say(&world, answers[i]) == -ECANCELED);
		CU_ASSERT(watch_end(world.watch, "ended", world.now) != WATCH_FINE);
		CU_ASSERT(waits(&world) == 0 && !watch_is_synced(world.watch));
		ask(&world);
		CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods?limit=500");
		CU_ASSERT(did(&world, "b +a b "));
		watch_free(world.watch);
	}
	/* One that says nothing at all. */
	begin(&world);
	ask(&world);
	head(&world, 200);
	world.now = watch_deadline(world.watch);
	CU_ASSERT(watch_give_up(world.watch, world.now) == WATCH_SILENT && waits(&world) == 0);
	ask(&world);
	CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods?limit=500");
	watch_free(world.watch);
}

static void list_that_is_cut_off_is_asked_for_again(void)
{
	struct world world;

	no_streams(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, PAGE("\"resourceVersion\":\"9\",\"continue\":\"c\"", ITEM("a"))) ==
		  0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, "{\"kind\":\"PodList\",\"items\":[" ITEM("b")) == 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_CUT);
	CU_ASSERT(waits(&world) >= BACKOFF_FIRST_MS);
	ask(&world);
	CU_ASSERT(asked(&world, "continue=c"));
	CU_ASSERT(did(&world, "b +a +b ") && !watch_is_synced(world.watch));
	watch_free(world.watch);
}

static void history_that_is_gone_is_listed_again_in_all_forms(void)
{
	struct world world;

	/* As an event of a watch. */
	listed(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, FAILED("410")) == -ECANCELED);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_GONE);
	CU_ASSERT(waits(&world) == 0);
	ask(&world);
	CU_ASSERT(asked(&world, "sendInitialEvents"));
	watch_free(world.watch);
	/* As a status. */
	listed(&world);
	ask(&world);
	head(&world, 410);
	CU_ASSERT(say(&world, "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}") == 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_GONE);
	ask(&world);
	CU_ASSERT(asked(&world, "sendInitialEvents"));
	watch_free(world.watch);
	/* As a list that is none. */
	no_streams(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, "{\"kind\":\"Status\",\"reason\":\"Expired\",\"code\":410}") == 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_GONE);
	CU_ASSERT(did(&world, "b "));
	watch_free(world.watch);
}

static void tokens_that_expire_again_and_again_end_in_one_large_list(void)
{
	struct world world;

	no_streams(&world);
	for (int i = 0; i < 2; i++) {
		ask(&world);
		CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods?limit=500");
		head(&world, 200);
		CU_ASSERT(say(&world, PAGE("\"resourceVersion\":\"9\",\"continue\":\"c\"",
					   ITEM("a"))) == 0);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
		ask(&world);
		head(&world, 410);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_GONE);
	}
	ask(&world);
	CU_ASSERT_STRING_EQUAL(world.query, "/api/v1/pods");
	CU_ASSERT(did(&world, "b +a b +a b "));
	watch_free(world.watch);
}

/* 0.8 to 30 s, longer each time, and the version that is known stays. */
static void failures_wait_and_do_not_list(void)
{
	static const int codes[] = {0, 429, 500, 503, 401, 403};
	struct world world;
	uint64_t last = 0;

	listed(&world);
	for (int i = 0; i < 12; i++) {
		int code = codes[i % 6];

		ask(&world);
		CU_ASSERT(asked(&world, "resourceVersion=10&"));
		if (code)
			head(&world, code);
		CU_ASSERT(watch_end(world.watch, code ? NULL : "refused", world.now) != WATCH_FINE);
		CU_ASSERT(waits(&world) >= BACKOFF_FIRST_MS && waits(&world) <= BACKOFF_MOST_MS);
		CU_ASSERT(waits(&world) >= last);
		last = waits(&world);
	}
	CU_ASSERT(last == BACKOFF_MOST_MS / 2 && did(&world, ""));
	CU_ASSERT(!state(&world).current);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(state(&world).current);
	watch_free(world.watch);
}

static void server_says_how_long_to_wait(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	watch_head(world.watch, 429, "application/json", 7);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_THROTTLED);
	CU_ASSERT(waits(&world) == 7000);
	ask(&world);
	watch_head(world.watch, 429, "application/json", 100000);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_THROTTLED);
	CU_ASSERT(waits(&world) == 30000);
	watch_free(world.watch);
}

static void watch_that_is_cut_off_goes_on_from_its_last_object(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, ADDED("b", "12") "{\"type\":\"ADDED\",\"object\":{\"metadata\"") ==
		  0);
	world.now += 60000;
	CU_ASSERT(watch_end(world.watch, "connection reset", world.now) == WATCH_CUT);
	CU_ASSERT(waits(&world) <= 1000 && state(&world).current);
	ask(&world);
	CU_ASSERT(asked(&world, "resourceVersion=12&") && did(&world, "+b "));
	watch_free(world.watch);
}

static void answers_that_end_at_once_are_not_asked_for_without_end(void)
{
	struct world world;
	uint64_t begun;

	listed(&world);
	begun = world.now;
	for (int i = 0; i < 20; i++) {
		ask(&world);
		head(&world, 200);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
	}
	CU_ASSERT(world.now - begun > 60000);
	watch_free(world.watch);
}

static void state_that_goes_backwards_is_listed_again(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, ADDED("b", "10") BOOKMARK("10") BOOKMARK("10")) == 0);
	CU_ASSERT(say(&world, ADDED("c", "9")) == -ECANCELED);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_BACKWARDS);
	ask(&world);
	CU_ASSERT(asked(&world, "sendInitialEvents"));
	watch_free(world.watch);
}

/* A version that the server does not have yet: it answers, and then says nothing. */
static void silence_of_a_server_that_sends_bookmarks_is_listed_again(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(watch_deadline(world.watch) == world.now + WATCH_SILENCE_MS);
	world.now += WATCH_SILENCE_MS;
	CU_ASSERT(watch_give_up(world.watch, world.now) == WATCH_SILENT);
	ask(&world);
	CU_ASSERT(asked(&world, "sendInitialEvents"));
	watch_free(world.watch);
}

static void answer_that_does_not_begin_is_given_up(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	CU_ASSERT(watch_deadline(world.watch) == world.now + WATCH_LIST_SILENCE_MS);
	world.now += WATCH_LIST_SILENCE_MS;
	CU_ASSERT(watch_give_up(world.watch, world.now) == WATCH_FAILED);
	CU_ASSERT(watch_deadline(world.watch) == 0);
	ask(&world);
	CU_ASSERT(asked(&world, "resourceVersion=10&"));
	watch_free(world.watch);
}

static void what_makes_no_sense_three_times_is_listed_again(void)
{
	struct world world;

	listed(&world);
	for (int i = 0; i < 3; i++) {
		ask(&world);
		CU_ASSERT(asked(&world, "resourceVersion=10&"));
		head(&world, 200);
		CU_ASSERT(say(&world, "{\"type\":\"DELETED\",\"object\":{\"metadata\":{}}}") ==
			  -ECANCELED);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_MALFORMED);
		CU_ASSERT(i == 2 || waits(&world) >= BACKOFF_FIRST_MS);
	}
	ask(&world);
	CU_ASSERT(asked(&world, "sendInitialEvents"));
	watch_free(world.watch);
}

static void pages_for_people_are_no_answers(void)
{
	struct world world;

	begin(&world);
	ask(&world);
	watch_head(world.watch, 200, "text/html; charset=utf-8", 0);
	CU_ASSERT(say(&world, "<html>") == -ECANCELED);
	CU_ASSERT(watch_end(world.watch, "write error", world.now) == WATCH_MALFORMED);
	CU_ASSERT(strstr(state(&world).error, "HTML") && did(&world, "b "));
	watch_free(world.watch);
}

static void resource_that_is_not_there_is_looked_for_again(void)
{
	struct world world;

	begin_with(&world, &optional);
	ask(&world);
	watch_head(world.watch, 404, "text/plain", 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
	CU_ASSERT(watch_is_synced(world.watch) && did(&world, "b e "));
	CU_ASSERT_STRING_EQUAL(state(&world).phase, "absent");
	CU_ASSERT(waits(&world) == WATCH_ABSENT_MS);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, "{\"kind\":\"ThingList\",\"metadata\":{\"resourceVersion\":\"5\"},"
			      "\"items\":[" ITEM("t") "]}") == 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE);
	CU_ASSERT(did(&world, "b +t e "));
	/* It goes while it is watched: with its objects. */
	ask(&world);
	CU_ASSERT(asked(&world, "watch=true"));
	watch_head(world.watch, 404, "text/plain", 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_FINE && did(&world, "b e "));
	watch_free(world.watch);
}

static void absence_is_not_believed_of_anybody(void)
{
	struct world world;

	begin_with(&world, &optional);
	ask(&world);
	watch_head(world.watch, 404, "text/html", 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_NOT_FOUND);
	world.is_server = false;
	ask(&world);
	watch_head(world.watch, 404, "text/plain", 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_NOT_FOUND);
	CU_ASSERT(!watch_is_synced(world.watch));
	watch_free(world.watch);
	/* One that each server has. */
	begin(&world);
	ask(&world);
	watch_head(world.watch, 404, "text/plain", 0);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_NOT_FOUND);
	watch_free(world.watch);
}

static void lists_of_something_else_are_refused(void)
{
	static const char *const texts[] = {
		"{\"kind\":\"NodeList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}",
		"{\"kind\":\"PodList\",\"metadata\":{},\"items\":[]}",
		"{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"\"},\"items\":[]}",
		"{}",
	};
	struct world world;

	no_streams(&world);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		ask(&world);
		head(&world, 200);
		CU_ASSERT(say(&world, texts[i]) == 0);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_MALFORMED);
		CU_ASSERT(!watch_is_synced(world.watch));
	}
	watch_free(world.watch);
}

static void want_of_memory_asks_again(void)
{
	struct world world;

	listed(&world);
	ask(&world);
	head(&world, 200);
	CU_ASSERT(say(&world, ADDED("no-memory", "12")) == -ECANCELED);
	CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_NO_MEMORY);
	ask(&world);
	CU_ASSERT(asked(&world, "resourceVersion=10&"));
	watch_free(world.watch);
}

static void lists_do_not_follow_each_other_at_once(void)
{
	struct world world;
	uint64_t begun;

	listed(&world);
	begun = world.now;
	for (int i = 0; i < 1000; i++) {
		ask(&world);
		head(&world, 200);
		CU_ASSERT(say(&world, FAILED("410")) == -ECANCELED);
		CU_ASSERT(watch_end(world.watch, NULL, world.now) == WATCH_GONE);
	}
	CU_ASSERT(state(&world).lists >= 999);
	CU_ASSERT(world.now - begun > 1000 * 10000ull);
	watch_free(world.watch);
}

static void times_of_watches_are_spread(void)
{
	struct world world;

	begin(&world);
	world.random = 300;
	ask(&world);
	CU_ASSERT(asked(&world, "timeoutSeconds=600"));
	watch_free(world.watch);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(stream_lists_and_goes_on_as_a_watch),
		UNIT_TEST(pages_where_streams_are_refused),
		UNIT_TEST(streams_that_do_not_work_become_pages),
		UNIT_TEST(list_that_is_cut_off_is_asked_for_again),
		UNIT_TEST(history_that_is_gone_is_listed_again_in_all_forms),
		UNIT_TEST(tokens_that_expire_again_and_again_end_in_one_large_list),
		UNIT_TEST(failures_wait_and_do_not_list),
		UNIT_TEST(server_says_how_long_to_wait),
		UNIT_TEST(watch_that_is_cut_off_goes_on_from_its_last_object),
		UNIT_TEST(answers_that_end_at_once_are_not_asked_for_without_end),
		UNIT_TEST(state_that_goes_backwards_is_listed_again),
		UNIT_TEST(silence_of_a_server_that_sends_bookmarks_is_listed_again),
		UNIT_TEST(answer_that_does_not_begin_is_given_up),
		UNIT_TEST(what_makes_no_sense_three_times_is_listed_again),
		UNIT_TEST(pages_for_people_are_no_answers),
		UNIT_TEST(resource_that_is_not_there_is_looked_for_again),
		UNIT_TEST(absence_is_not_believed_of_anybody),
		UNIT_TEST(lists_of_something_else_are_refused),
		UNIT_TEST(want_of_memory_asks_again),
		UNIT_TEST(lists_do_not_follow_each_other_at_once),
		UNIT_TEST(times_of_watches_are_spread),
	};

	return UNIT_RUN("sources/api/watch", tests);
}
