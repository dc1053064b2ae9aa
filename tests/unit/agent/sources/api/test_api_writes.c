/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is written to the API server, when, and what each answer leads to. The source around it is
 * made of questions that are kept, a clock that is set, and numbers that are not at random.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/backoff.h"
#include "tests/faults.h"
#include "tests/unit/unit.h"

#define NODE	       "node-1"
#define TAINTED	       "\"taints\":[{\"key\":\"polder.dev/agent-not-ready\",\"effect\":\"NoExecute\"}]"
#define BEHIND_ANOTHER "\"taints\":[{\"key\":\"a\"},{\"key\":\"polder.dev/agent-not-ready\"}]"
#define NO_TAINTS      "\"taints\":[]"
#define UP                                                                                         \
	"\"conditions\":[{\"type\":\"NetworkUnavailable\",\"status\":\"False\",\"reason\":"        \
	"\"PolderIsUp\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]"
#define NOT_UP	      "\"conditions\":[]"
#define FORBIDDEN_MS  60000
#define PACE_MS	      1000
#define BODY_TOO_MUCH (3u << 20)

/* ---------------------------------------------------------------- around it */

static struct asked {
	size_t count; /* so many questions */
	char method[16], query[400], type[64];
	char *body; /* of the last one; "" if it had none */
	const struct http_handlers *handlers;
	void *data;
	bool is_open;
	size_t cancelled;
	int result; /* what asking says */
} asked;

static uint64_t now_ms, random_number;

int __wrap_api_ask(struct api_source *source, const struct api_question *question,
		   const struct http_handlers *handlers, void *data, struct http_request **ret);
int __wrap_api_ask(struct api_source *source, const struct api_question *question,
		   const struct http_handlers *handlers, void *data, struct http_request **ret)
{
	CU_ASSERT(!asked.is_open);
	asked.count++;
	if (asked.result < 0)
		return asked.result;
	snprintf(asked.method, sizeof(asked.method), "%s",
		 question->method ? question->method : "GET");
	snprintf(asked.query, sizeof(asked.query), "%s", question->query);
	snprintf(asked.type, sizeof(asked.type), "%s", question->type ? question->type : "");
	faults_pause();
	free(asked.body);
	asked.body = strdup(question->body ? question->body : "");
	faults_go_on();
	asked.handlers = handlers;
	asked.data = data;
	asked.is_open = true;
	*ret = (struct http_request *)&asked;
	return 0;
}

void __wrap_api_schedule(struct api_source *source);
void __wrap_api_schedule(struct api_source *source)
{
}

void __wrap_api_heard(struct api_source *source);
void __wrap_api_heard(struct api_source *source)
{
}

uint64_t __wrap_api_now(const struct api_source *source);
uint64_t __wrap_api_now(const struct api_source *source)
{
	return now_ms;
}

uint64_t __wrap_api_random(struct api_source *source);
uint64_t __wrap_api_random(struct api_source *source)
{
	return random_number;
}

void __wrap_http_request_cancel(struct http_request *request);
void __wrap_http_request_cancel(struct http_request *request)
{
	asked.cancelled += request != NULL;
	asked.is_open = false;
}

struct world {
	struct api_source source;
	struct api_writes *writes;
};

static void begin(struct world *w)
{
	free(asked.body);
	asked = (struct asked){};
	now_ms = 1000000;
	random_number = 0;
	*w = (struct world){.source = {.connected = true, .credentials_due_ms = 77}};
	w->source.store = store_new();
	CU_ASSERT_FATAL(w->source.store != NULL);
	CU_ASSERT_FATAL(api_writes_new(&w->source, NODE, &w->writes) == 0);
}

static void end(struct world *w)
{
	api_writes_free(w->writes);
	store_free(w->source.store);
	free(asked.body);
	asked = (struct asked){};
}

static const char *node_text(const char *name, unsigned int version, const char *spec,
			     const char *status)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "{\"metadata\":{\"name\":\"%s\",\"resourceVersion\":\"%u\"},\"spec\":{%s},"
		 "\"status\":{%s}}",
		 name, version, spec, status);
	return text;
}

static void hear_node(struct world *w, unsigned int version, const char *spec, const char *status)
{
	const char *text = node_text(NODE, version, spec, status);

	api_writes_node(w->writes, text, strlen(text));
}

/* How many questions that makes. */
static size_t run(struct world *w)
{
	size_t before = asked.count;

	api_writes_run(w->writes, now_ms);
	return asked.count - before;
}

static size_t run_after(struct world *w, uint64_t ms)
{
	now_ms += ms;
	return run(w);
}

static void answer_with(int status, unsigned int retry_after, const char *body, const char *failure)
{
	const struct asked was = asked;

	CU_ASSERT_FATAL(was.is_open);
	if (status)
		was.handlers->head(status, "application/json", retry_after, was.data);
	if (body)
		CU_ASSERT(was.handlers->body(body, strlen(body), was.data) == 0);
	asked.is_open = false;
	was.handlers->end(failure, was.data);
}

static void answer(int status, const char *body)
{
	answer_with(status, 0, body, NULL);
}

static bool asked_is(const char *method, const char *query, const char *type)
{
	bool same = strcmp(asked.method, method) == 0 && strcmp(asked.query, query) == 0 &&
		    strcmp(asked.type, type) == 0;

	if (!same)
		printf("\n  asked %s %s (%s)\n", asked.method, asked.query, asked.type);
	return same;
}

#define TAINT_PATCH "PATCH", "/api/v1/nodes/" NODE, "application/json-patch+json"
#define STATUS_PATCH                                                                               \
	"PATCH", "/api/v1/nodes/" NODE "/status", "application/strategic-merge-patch+json"
#define READ "GET", "/api/v1/nodes?fieldSelector=metadata.name%3D" NODE, ""

static struct write_status status_of(struct world *w, enum write_kind kind, size_t *ret_waiting)
{
	struct write_status all[WRITE_KINDS];
	size_t waiting;

	api_writes_status(w->writes, all, ret_waiting ? ret_waiting : &waiting);
	return all[kind];
}

static uint64_t count_of(struct world *w, enum write_kind kind, enum write_result result)
{
	return status_of(w, kind, NULL).results[result];
}

/* ---------------------------------------------------------------- this node */

static void node_is_told_to_be_up_when_it_is_ready(void)
{
	struct world w;

	begin(&w);
	hear_node(&w, 5, TAINTED, NOT_UP);
	CU_ASSERT(run(&w) == 0 && api_writes_due(w.writes) == UINT64_MAX);
	api_writes_set_ready(w.writes, true);
	CU_ASSERT(api_writes_due(w.writes) <= now_ms);
	CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
	CU_ASSERT(strstr(asked.body, "\"test\"") && strstr(asked.body, "\"remove\""));
	/* One at a time. */
	CU_ASSERT(run(&w) == 0 && api_writes_due(w.writes) == UINT64_MAX);
	answer(200, node_text(NODE, 6, NO_TAINTS, NOT_UP));
	CU_ASSERT(run(&w) == 1 && asked_is(STATUS_PATCH));
	CU_ASSERT(strstr(asked.body, "NetworkUnavailable") != NULL);
	answer(200, node_text(NODE, 7, NO_TAINTS, UP));
	CU_ASSERT(run_after(&w, 600000) == 0 && api_writes_due(w.writes) == UINT64_MAX);
	CU_ASSERT(count_of(&w, WRITE_TAINT, WRITE_DONE) == 1 &&
		  count_of(&w, WRITE_CONDITION, WRITE_DONE) == 1);
	end(&w);
}

static void nothing_is_written_without_a_server_or_without_a_node(void)
{
	const char *other;
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	other = node_text("node-2", 5, TAINTED, NOT_UP);
	api_writes_node(w.writes, other, strlen(other));
	CU_ASSERT(run(&w) == 0);
	hear_node(&w, 5, TAINTED, NOT_UP);
	w.source.connected = false;
	CU_ASSERT(run(&w) == 0 && api_writes_due(w.writes) == UINT64_MAX);
	w.source.connected = true;
	/* The Nodes are listed anew, and this one is not among them. */
	api_writes_list(w.writes);
	CU_ASSERT(run(&w) == 0);
	hear_node(&w, 6, TAINTED, NOT_UP);
	other = node_text("node-2", 9, TAINTED, NOT_UP);
	api_writes_node_gone(w.writes, other, strlen(other));
	CU_ASSERT(run(&w) == 1);
	answer(500, NULL);
	other = node_text(NODE, 9, TAINTED, NOT_UP);
	api_writes_node_gone(w.writes, other, strlen(other));
	CU_ASSERT(run_after(&w, 600000) == 0);
	end(&w);
}

static void what_is_older_than_what_is_known_tells_nothing(void)
{
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 8, NO_TAINTS, UP);
	hear_node(&w, 7, TAINTED, NOT_UP);
	CU_ASSERT(run(&w) == 0);
	hear_node(&w, 9, TAINTED, UP);
	CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
	end(&w);
}

/* Somebody has changed the list of taints: what stands at a place is another one now. */
static void conflict_reads_the_node_before_it_is_written_again(void)
{
	static const int conflicts[] = {409, 422};
	char list[1200];
	struct world w;

	for (int i = 0; i < 2; i++) {
		begin(&w);
		api_writes_set_ready(w.writes, true);
		hear_node(&w, 5, TAINTED, UP);
		CU_ASSERT(run(&w) == 1);
		answer(conflicts[i], "{\"message\":\"the object has been modified\"}");
		CU_ASSERT(run(&w) == 0);
		CU_ASSERT(run_after(&w, BACKOFF_FIRST_MS * 2) == 1 && asked_is(READ));
		snprintf(list, sizeof(list), "{\"items\":[%s]}",
			 node_text(NODE, 6, BEHIND_ANOTHER, UP));
		answer(200, list);
		CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
		CU_ASSERT(strstr(asked.body, "/spec/taints/1") != NULL);
		CU_ASSERT(!status_of(&w, WRITE_TAINT, NULL).error[0]);
		CU_ASSERT(count_of(&w, WRITE_TAINT, WRITE_CONFLICT) == 1);
		end(&w);
	}
}

static void node_that_is_read_and_not_there_is_waited_for(void)
{
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, UP);
	run(&w);
	answer(409, NULL);
	CU_ASSERT(run_after(&w, BACKOFF_FIRST_MS * 2) == 1 && asked_is(READ));
	answer(200, "{\"items\":[]}");
	CU_ASSERT(run_after(&w, 600000) == 0);
	hear_node(&w, 7, TAINTED, UP);
	CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
	answer(404, "{\"message\":\"nodes \\\"node-1\\\" not found\"}");
	CU_ASSERT(run_after(&w, 600000) == 0 && !status_of(&w, WRITE_TAINT, NULL).error[0]);
	end(&w);
}

static void refusal_names_the_right_and_is_tried_again_when_it_may_be_mended(void)
{
	struct write_status status;
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, NO_TAINTS, NOT_UP);
	run(&w);
	answer(403, "{\"message\":\"cannot patch\\nresource\"}");
	status = status_of(&w, WRITE_CONDITION, NULL);
	CU_ASSERT(strstr(status.error, "\"patch\" of \"nodes/status\"") != NULL);
	CU_ASSERT(strstr(status.error, "rbac.yaml") != NULL);
	CU_ASSERT(strstr(status.error, "cannot patch") != NULL && !strchr(status.error, '\n'));
	CU_ASSERT(run_after(&w, FORBIDDEN_MS - 1) == 0);
	CU_ASSERT(run_after(&w, 1) == 1);
	answer(403, NULL);
	api_writes_hurry(w.writes);
	CU_ASSERT(run(&w) == 1);
	answer(200, node_text(NODE, 6, NO_TAINTS, UP));
	CU_ASSERT(!status_of(&w, WRITE_CONDITION, NULL).error[0]);
	CU_ASSERT(count_of(&w, WRITE_CONDITION, WRITE_REFUSED) == 2);
	end(&w);
}

/* A patch of the status that does not fit is no conflict of lists. */
static void status_that_the_server_cannot_take_is_told(void)
{
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, NO_TAINTS, NOT_UP);
	run(&w);
	answer(422, "{\"message\":\"Invalid value\"}");
	CU_ASSERT(strstr(status_of(&w, WRITE_CONDITION, NULL).error, "status 422: Invalid value") !=
		  NULL);
	end(&w);
}

/* Longer each time, as the server says where it says so, to half a minute. */
static void failure_waits_longer_each_time(void)
{
	static const int statuses[] = {0, 408, 429, 500, 503};
	uint64_t before = 0, waited;
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, UP);
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
		answer_with(statuses[i], 0, NULL, statuses[i] ? NULL : "the connection was reset");
		waited = api_writes_due(w.writes) - now_ms;
		CU_ASSERT(waited > before && waited <= 2 * BACKOFF_MOST_MS);
		before = waited;
		CU_ASSERT(run_after(&w, waited - 1) == 0);
		now_ms++;
	}
	api_writes_hurry(w.writes);
	CU_ASSERT(run(&w) == 1);
	answer_with(429, 7, NULL, NULL);
	CU_ASSERT(api_writes_due(w.writes) == now_ms + 7000);
	api_writes_hurry(w.writes);
	CU_ASSERT(run(&w) == 1);
	answer_with(429, 86400, NULL, NULL);
	CU_ASSERT(api_writes_due(w.writes) == now_ms + 30000);
	CU_ASSERT(count_of(&w, WRITE_TAINT, WRITE_FAILED) == 7);
	CU_ASSERT(!status_of(&w, WRITE_TAINT, NULL).error[0]);
	end(&w);
}

static void credentials_that_are_refused_are_read_again(void)
{
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, UP);
	run(&w);
	answer(401, NULL);
	CU_ASSERT(w.source.credentials_due_ms == 0);
	CU_ASSERT(count_of(&w, WRITE_TAINT, WRITE_FAILED) == 1);
	end(&w);
}

/* They take turns: neither writes at the other's pace. */
static void who_wants_it_otherwise_is_written_over_more_and_more_slowly(void)
{
	uint64_t before = 0, waited;
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	for (unsigned int version = 10; version < 20; version += 2) {
		hear_node(&w, version, TAINTED, UP);
		waited = api_writes_due(w.writes) > now_ms ? api_writes_due(w.writes) - now_ms : 0;
		CU_ASSERT(version == 10 ? waited == 0 : waited > before);
		before = waited;
		CU_ASSERT(run_after(&w, waited) == 1);
		answer(200, node_text(NODE, version + 1, NO_TAINTS, UP));
	}
	/* Who has left it alone for a while begins anew. */
	now_ms += 10 * FORBIDDEN_MS;
	hear_node(&w, 30, TAINTED, UP);
	CU_ASSERT(run(&w) == 1);
	answer(200, node_text(NODE, 31, NO_TAINTS, UP));
	hear_node(&w, 32, TAINTED, UP);
	CU_ASSERT(api_writes_due(w.writes) - now_ms <= 2 * BACKOFF_FIRST_MS);
	end(&w);
}

static char *much(void)
{
	char *text = malloc(BODY_TOO_MUCH + 1);

	CU_ASSERT_FATAL(text != NULL);
	memset(text, ' ', BODY_TOO_MUCH);
	text[BODY_TOO_MUCH] = '\0';
	return text;
}

static void answer_that_is_too_large_is_read_by_itself(void)
{
	char *text = much();
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, NOT_UP);
	run(&w);
	answer(200, text);
	CU_ASSERT(run(&w) == 1 && asked_is(READ));
	/* Of what is read for itself there is no more room either: the client ends it. */
	asked.handlers->head(200, "application/json", 0, asked.data);
	CU_ASSERT(asked.handlers->body(text, BODY_TOO_MUCH, asked.data) == -EFBIG);
	asked.is_open = false;
	asked.handlers->end("the answer is too large", asked.data);
	CU_ASSERT(count_of(&w, WRITE_CONDITION, WRITE_FAILED) == 1);
	free(text);
	end(&w);
}

static void request_that_is_cut_is_sent_again(void)
{
	struct world w;

	begin(&w);
	api_writes_cut(w.writes);
	CU_ASSERT(asked.cancelled == 0);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, UP);
	run(&w);
	api_writes_cut(w.writes);
	CU_ASSERT(asked.cancelled == 1 && count_of(&w, WRITE_TAINT, WRITE_FAILED) == 1);
	CU_ASSERT(run_after(&w, 2 * BACKOFF_FIRST_MS) == 1 && asked_is(TAINT_PATCH));
	/* What cannot be sent at all counts the same. */
	api_writes_cut(w.writes);
	asked.result = -EMFILE;
	CU_ASSERT(run_after(&w, 4 * BACKOFF_FIRST_MS) == 1);
	CU_ASSERT(count_of(&w, WRITE_TAINT, WRITE_FAILED) == 3);
	CU_ASSERT(api_writes_due(w.writes) > now_ms);
	end(&w);
}

/* ---------------------------------------------------------------- Events */

static void refuse(struct world *w, const char *name)
{
	struct refusal refusal = {.api_version = "networking.k8s.io/v1",
				  .kind = "NetworkPolicy",
				  .uid = "1-2",
				  .namespace = "shop",
				  .error = {.text = "is unknown", .path = "$.spec.ingres"}};

	snprintf(refusal.name, sizeof(refusal.name), "%s", name);
	api_writes_refused(w->writes, &refusal);
}

#define EVENT_POST "POST", "/api/v1/namespaces/shop/events", "application/json"

static void events_are_told_one_after_the_other(void)
{
	struct world w;
	size_t waiting;

	begin(&w);
	refuse(&w, "front");
	refuse(&w, "back");
	CU_ASSERT(run(&w) == 1 && asked_is(EVENT_POST) && strstr(asked.body, "front"));
	answer(201, "{}");
	CU_ASSERT(run_after(&w, PACE_MS - 1) == 0);
	CU_ASSERT(run_after(&w, 1) == 1 && strstr(asked.body, "back"));
	/* Another node was first. */
	answer(409, "{\"message\":\"already exists\"}");
	CU_ASSERT(run_after(&w, 600000) == 0);
	status_of(&w, WRITE_EVENT, &waiting);
	CU_ASSERT(waiting == 0 && count_of(&w, WRITE_EVENT, WRITE_DONE) == 1 &&
		  count_of(&w, WRITE_EVENT, WRITE_KNOWN) == 1);
	end(&w);
}

static void put_nodes(struct world *w, unsigned int count)
{
	struct object_list list = {};
	struct error error;
	char text[200], name[16];

	for (unsigned int n = 0; n < count; n++) {
		snprintf(name, sizeof(name), "n%u", n);
		snprintf(text, sizeof(text),
			 "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\"}}",
			 name);
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
		CU_ASSERT(store_replace(w->source.store, name, &list) == 0);
		object_list_clear(&list);
	}
}

/* All nodes refuse the same object at the same moment. */
static void events_of_many_nodes_are_spread_over_time(void)
{
	struct world w;

	begin(&w);
	put_nodes(&w, 50);
	random_number = 1000; /* the most that 50 nodes wait: 20 ms each */
	refuse(&w, "late");
	random_number = 400;
	refuse(&w, "early");
	CU_ASSERT(api_writes_due(w.writes) == now_ms + 400);
	CU_ASSERT(run_after(&w, 399) == 0 && run_after(&w, 1) == 1);
	CU_ASSERT(strstr(asked.body, "early") != NULL);
	answer(201, NULL);
	CU_ASSERT(run_after(&w, 599) == 0 && run_after(&w, PACE_MS) == 1);
	CU_ASSERT(strstr(asked.body, "late") != NULL);
	end(&w);
}

/* Who reads them does not want to wait. */
static void events_of_few_nodes_come_soon(void)
{
	struct refusal refusal = {.api_version = "v1",
				  .kind = "Service",
				  .namespace = "shop",
				  .name = "front",
				  .reason = "FrontendNotServed",
				  .few = true,
				  .error = {.text = "port 80 is taken"}};
	struct world w;

	begin(&w);
	put_nodes(&w, 80);
	random_number = 1001; /* modulo one more than the most */
	api_writes_refused(w.writes, &refusal);
	CU_ASSERT(api_writes_due(w.writes) == now_ms);
	random_number = 1000;
	refusal.few = false;
	api_writes_refused(w.writes, &refusal);
	CU_ASSERT(run(&w) == 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(asked.body, "FrontendNotServed"));
	answer(201, NULL);
	CU_ASSERT(api_writes_due(w.writes) == now_ms + PACE_MS);
	end(&w);
}

static void more_events_than_are_told_are_counted(void)
{
	struct world w;
	size_t waiting;
	char name[32];

	begin(&w);
	for (int i = 0; i < WRITES_EVENTS_MAX + 9; i++) {
		snprintf(name, sizeof(name), "policy-%d", i);
		refuse(&w, name);
	}
	status_of(&w, WRITE_EVENT, &waiting);
	CU_ASSERT(waiting == WRITES_EVENTS_MAX && count_of(&w, WRITE_EVENT, WRITE_DROPPED) == 9);
	CU_ASSERT(run(&w) == 1);
	answer(201, NULL);
	refuse(&w, "room-again");
	CU_ASSERT(count_of(&w, WRITE_EVENT, WRITE_DROPPED) == 9);
	end(&w);
}

static void event_that_nobody_can_read_is_given_up(void)
{
	static const struct {
		int status;
		const char *body;
		bool is_kept, is_told;
	} answers[] = {
		{404, "{\"message\":\"namespaces \\\"shop\\\" not found\"}", false, false},
		{403, "{\"message\":\"because it is being terminated\"}", false, false},
		{403, "{\"message\":\"cannot create resource\"}", true, true},
		{400, "{\"message\":\"bad\"}", false, true},
		{500, NULL, true, false},
	};
	struct world w;
	size_t waiting;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		begin(&w);
		refuse(&w, "front");
		CU_ASSERT(run(&w) == 1);
		answer(answers[i].status, answers[i].body);
		CU_ASSERT((status_of(&w, WRITE_EVENT, &waiting).error[0] != '\0') ==
			  answers[i].is_told);
		CU_ASSERT(waiting == answers[i].is_kept);
		CU_ASSERT(run_after(&w, FORBIDDEN_MS) == answers[i].is_kept);
		end(&w);
	}
}

/* Events wait for nothing that has to do with the Node, and the Node not for Events. */
static void lanes_do_not_wait_for_each_other(void)
{
	struct world w;

	begin(&w);
	api_writes_set_ready(w.writes, true);
	hear_node(&w, 5, TAINTED, UP);
	refuse(&w, "front");
	CU_ASSERT(run(&w) == 1 && asked_is(TAINT_PATCH));
	answer(403, NULL);
	CU_ASSERT(run(&w) == 1 && asked_is(EVENT_POST));
	answer(500, NULL);
	CU_ASSERT(run_after(&w, FORBIDDEN_MS) == 1 && asked_is(TAINT_PATCH));
	end(&w);
}

/* ---------------------------------------------------------------- no memory */

static void nothing_is_lost_without_memory(void)
{
	bool failed = true;
	size_t number;

	for (number = 1; failed; number++) {
		struct world w;
		size_t waiting;

		begin(&w);
		api_writes_set_ready(w.writes, true);
		hear_node(&w, 5, TAINTED, UP);
		faults_begin(number);
		refuse(&w, "front");
		(void)run(&w);
		failed = faults_end();
		status_of(&w, WRITE_EVENT, &waiting);
		CU_ASSERT(waiting + count_of(&w, WRITE_EVENT, WRITE_DROPPED) == 1);
		if (!asked.is_open)
			CU_ASSERT(api_writes_due(w.writes) != UINT64_MAX);
		api_writes_cut(w.writes);
		CU_ASSERT(run_after(&w, 4 * BACKOFF_FIRST_MS) >= 1 && asked_is(TAINT_PATCH));
		end(&w);
	}
	CU_ASSERT(number > 4);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(node_is_told_to_be_up_when_it_is_ready),
		UNIT_TEST(nothing_is_written_without_a_server_or_without_a_node),
		UNIT_TEST(what_is_older_than_what_is_known_tells_nothing),
		UNIT_TEST(conflict_reads_the_node_before_it_is_written_again),
		UNIT_TEST(node_that_is_read_and_not_there_is_waited_for),
		UNIT_TEST(refusal_names_the_right_and_is_tried_again_when_it_may_be_mended),
		UNIT_TEST(status_that_the_server_cannot_take_is_told),
		UNIT_TEST(failure_waits_longer_each_time),
		UNIT_TEST(credentials_that_are_refused_are_read_again),
		UNIT_TEST(who_wants_it_otherwise_is_written_over_more_and_more_slowly),
		UNIT_TEST(answer_that_is_too_large_is_read_by_itself),
		UNIT_TEST(request_that_is_cut_is_sent_again),
		UNIT_TEST(events_are_told_one_after_the_other),
		UNIT_TEST(events_of_many_nodes_are_spread_over_time),
		UNIT_TEST(events_of_few_nodes_come_soon),
		UNIT_TEST(more_events_than_are_told_are_counted),
		UNIT_TEST(event_that_nobody_can_read_is_given_up),
		UNIT_TEST(lanes_do_not_wait_for_each_other),
		UNIT_TEST(nothing_is_lost_without_memory),
	};

	faults_take_jansson();
	return UNIT_RUN("writes to the API server", tests);
}
