/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of a try: the flows of the table, then new ones, each evaluated by what is in force
 * and by what is staged. */
#include "agent/dryrun/dry_run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/dryrun/dry_run_internal.h"
#include "agent/dryrun/dry_run_world.h"
#include "agent/kernel/counters.h"
#include "agent/common/hash.h"

#define SLICE_NS    1000000
#define SECONDS_MAX 86400
#define LINES_MAX   1000  /* flows that are told one by one; more are counted */
#define SEEN_MAX    65536 /* flows that are known again when they come twice */
#define TRIES_MAX   4
/* Between two compilations, when the objects in force change meanwhile. */
#define REBUILD_MS 200

struct flow_key {
	struct dry_run_question question;
	struct polder_addr asked; /* before translation */
	uint16_t sport, dport;
};

struct seen {
	struct flow_key key;
	UT_hash_handle hh;
};

struct totals {
	uint64_t live, fresh, denied, allowed, other_rule, lost, rebuilt;
};

struct dry_run {
	const struct show_sources *sources;
	struct control_request *request; /* NULL: over */
	json_int_t seconds;
	struct dry_run_changes changes;
	struct dry_run_policy *policy; /* NULL: the stream has not begun */
	uv_work_t work;		       /* compiles the next one, beside the loop */
	bool compiling;
	struct dry_run_world world;
	struct dry_run_policy *fresh;
	int compiled;		       /* how that went: 0 or -errno */
	uint64_t built_ns;	       /* when the last compilation was begun */
	struct reconciler_wait change; /* the first one since then */
	bool stale;		       /* it is in force */
	uv_timer_t rebuild;
	struct flows_cursor cursor;
	struct event_subscriber *tap;
	struct seen *seen;
	struct totals totals;
	size_t lines;
	bool walked, timed_out;
	uv_idle_t walk;
	uv_timer_t timer;
	int handles;
};

static unsigned int running; /* tries of all connections */

/* ---------------------------------------------------------------- documents */

static json_t *end_document(const struct dry_run_policy *policy, const struct polder_addr *addr,
			    uint16_t port)
{
	const char *pod = dry_run_policy_pod(policy, addr);
	char text[INET6_ADDRSTRLEN];

	return json_pack("{s:s, s:i, s:s}", "ip", addr_format(addr, text), "port", port, "pod",
			 pod ? pod : "");
}

static json_t *side_document(const struct dry_run_side *side)
{
	json_t *document = json_pack("{s:s, s:s}", "verdict", side->allowed ? "allow" : "deny",
				     "basis", dry_run_basis_names[side->basis]);
	json_t *list;

	if (side->basis == DRY_RUN_RULE) {
		bool cluster = !*side->rule.namespace;

		json_object_set_new(document, "policy",
				    json_sprintf("%s%s%s", side->rule.namespace, cluster ? "" : "/",
						 side->rule.name));
		json_object_set_new(document, "rule", json_integer(side->rule.index));
	}
	if (side->basis == DRY_RUN_DEFAULT_DENY && side->isolation) {
		list = json_array();
		for (size_t i = 0; i < side->isolation->count; i++)
			json_array_append_new(list, json_string(side->isolation->policies[i]));
		json_object_set_new(document, "isolated_by", list);
	}
	return document;
}

static json_t *answer_document(const struct dry_run_answer *answer)
{
	return json_pack("{s:s, s:o, s:o}", "verdict", answer->allowed ? "allow" : "deny", "egress",
			 side_document(&answer->egress), "ingress",
			 side_document(&answer->ingress));
}

static json_t *flow_document(const struct dry_run *dry_run, const struct flow_key *key,
			     const struct dry_run_answer *before,
			     const struct dry_run_answer *after)
{
	const struct dry_run_question *q = &key->question;
	bool v4 = addr_is_v4(&q->source), translated = q->through_service;
	char proto[PROTO_NAME_MAX];

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "type", "flow", "change",
			 after->allowed ? "allowed" : "denied", "family", v4 ? "ipv4" : "ipv6",
			 "proto", proto_name(q->proto, proto), "source",
			 end_document(dry_run->policy, &q->source, key->sport), "destination",
			 end_document(dry_run->policy, &key->asked, key->dport), "backend",
			 translated ? end_document(dry_run->policy, &q->destination, q->port)
				    : json_null(),
			 "before", answer_document(before), "after", answer_document(after));
}

static json_t *change_document(const struct dry_run *dry_run, enum object_kind kind,
			       const char *namespace, const char *name, const struct object *object)
{
	const struct object *present = store_get(dry_run->sources->store, kind, namespace, name);
	const char *change = !object			     ? "removed"
			     : !present			     ? "new"
			     : object_equal(present, object) ? "unchanged"
							     : "changed";

	return json_pack("{s:s, s:s, s:s, s:s}", "kind", object_kind_name(kind), "namespace",
			 namespace, "name", name, "change", change);
}

static json_t *begin_document(const struct dry_run *dry_run, json_int_t seconds)
{
	json_t *list = json_array();
	json_int_t ignored = 0;

	for (size_t i = 0; i < dry_run->changes.objects.count; i++) {
		const struct object *object = dry_run->changes.objects.objects[i];

		ignored += object->kind == OBJECT_SERVICE || object->kind == OBJECT_ENDPOINT_SLICE;
		json_array_append_new(list,
				      change_document(dry_run, object->kind, object->namespace,
						      object->name, object));
	}
	for (size_t i = 0; i < dry_run->changes.removal_count; i++) {
		const struct dry_run_removal *removal = &dry_run->changes.removals[i];

		json_array_append_new(list,
				      change_document(dry_run, removal->kind, removal->namespace,
						      removal->name, NULL));
	}
	return json_pack("{s:s, s:I, s:o, s:I}", "type", "begin", "seconds", seconds, "objects",
			 list, "ignored", ignored);
}

static json_t *totals_document(const struct totals *totals)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "type", "end", "live_flows",
			 (json_int_t)totals->live, "new_flows", (json_int_t)totals->fresh, "denied",
			 (json_int_t)totals->denied, "allowed", (json_int_t)totals->allowed,
			 "other_rule", (json_int_t)totals->other_rule, "lost",
			 (json_int_t)totals->lost, "rebuilt", (json_int_t)totals->rebuilt);
}

/* ---------------------------------------------------------------- both compilations */

static void compile_in_thread(uv_work_t *work)
{
	struct dry_run *dry_run = work->data;

	dry_run->compiled = dry_run_policy_new(&dry_run->world, &dry_run->changes, &dry_run->fresh);
}

static void on_compiled(uv_work_t *work, int status);
static void on_change(void *data);

/* Of this moment; 0 or -errno: none is under way. */
static int compile(struct dry_run *dry_run)
{
	struct reconciler *reconciler = dry_run->sources->reconciler;
	int r = dry_run_world_take(dry_run->sources->policy_sync, &dry_run->world);

	dry_run->built_ns = uv_hrtime();
	dry_run->work.data = dry_run;
	if (r == 0)
		r = uv_queue_work(dry_run->sources->loop, &dry_run->work, compile_in_thread,
				  on_compiled);
	if (r < 0) {
		dry_run_world_release(&dry_run->world);
		return r;
	}
	dry_run->compiling = true;
	dry_run->stale = false;
	dry_run->change = (struct reconciler_wait){
		.change = reconciler_change(reconciler) + 1, .call = on_change, .data = dry_run};
	reconciler_after(reconciler, &dry_run->change);
	return 0;
}

static void on_rebuild(uv_timer_t *timer)
{
	struct dry_run *dry_run = timer->data;

	if (!dry_run->compiling && compile(dry_run) < 0)
		uv_timer_start(timer, on_rebuild, REBUILD_MS, 0);
}

/* Other objects are in force: flows are evaluated by those of before until the new ones have been
 * compiled. */
static void rebuild(struct dry_run *dry_run)
{
	uint64_t past = (uv_hrtime() - dry_run->built_ns) / 1000000;

	if (dry_run->stale && !dry_run->compiling)
		uv_timer_start(&dry_run->rebuild, on_rebuild,
			       past < REBUILD_MS ? REBUILD_MS - past : 0, 0);
}

static void on_change(void *data)
{
	struct dry_run *dry_run = data;

	dry_run->stale = true;
	if (dry_run->handles)
		rebuild(dry_run);
}

/* ---------------------------------------------------------------- one flow */

static bool was_seen(struct dry_run *dry_run, const struct flow_key *key)
{
	struct seen *seen;

	HASH_FIND(hh, dry_run->seen, key, sizeof(*key), seen);
	if (seen)
		return true;
	seen = HASH_COUNT(dry_run->seen) < SEEN_MAX ? calloc(1, sizeof(*seen)) : NULL;
	if (!seen)
		return false;
	seen->key = *key;
	HASH_ADD(hh, dry_run->seen, key, sizeof(seen->key), seen);
	if (!HASH_ADDED(hh, seen))
		free(seen);
	return false;
}

static void send_line(struct dry_run *dry_run, json_t *line)
{
	if (dry_run->lines++ >= LINES_MAX) {
		json_decref(line);
		return;
	}
	if (control_stream_send(dry_run->request, line) < 0)
		dry_run->totals.lost++;
}

static void evaluate_flow(struct dry_run *dry_run, const struct flow_key *key)
{
	struct dry_run_answer before, after;

	if (!dry_run_verdict(dry_run->policy, false, &key->question, &before) ||
	    !dry_run_verdict(dry_run->policy, true, &key->question, &after))
		return;
	if (before.allowed == after.allowed) {
		dry_run->totals.other_rule += !dry_run_answers_alike(&before, &after);
		return;
	}
	if (after.allowed)
		dry_run->totals.allowed++;
	else
		dry_run->totals.denied++;
	send_line(dry_run, flow_document(dry_run, key, &before, &after));
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* ---------------------------------------------------------------- the flow table */

static struct polder_addr addr_of(const __be32 *words, uint8_t family)
{
	struct polder_addr addr = {.words_be = {0, 0, htonl(0xffff), words[0]}};

	if (family == FAMILY_V6)
		memcpy(&addr, words, sizeof(addr));
	return addr;
}

static void key_of_record(const struct flow_record *record, struct flow_key *key)
{
	const struct flow_tuple *t = &record->flow.tuple;
	const struct flow_copy *content = &record->flow.content;
	bool v4 = record->family == FAMILY_V4, ports = has_ports(t->proto);
	bool translated = content->state & FLOW_TRANSLATED;

	memset(key, 0, sizeof(*key)); /* it is a hash's key */
	key->asked = addr_of(v4 ? &t->v4.daddr_be : t->v6.daddr_be, record->family);
	key->sport = ports ? ntohs(t->sport_be) : 0;
	key->dport = ports ? ntohs(t->dport_be) : 0;
	key->question.source = addr_of(v4 ? &t->v4.saddr_be : t->v6.saddr_be, record->family);
	key->question.destination =
		translated ? addr_of(content->new_daddr_be, record->family) : key->asked;
	key->question.proto = t->proto;
	key->question.zone = t->zone;
	key->question.port = !ports ? 0 : ntohs(translated ? content->new_dport_be : t->dport_be);
	key->question.through_service = content->state & FLOW_SERVICE;
}

static bool on_flow(const struct flow_record *record, void *data)
{
	struct flow_key key;
	struct dry_run *dry_run = data;

	/* Replies are the same flow; what is over waits for the collector. */
	if (record->flow.content.state & FLOW_REPLY || flow_closed(record->flow.content.state) ||
	    record->idle > flow_timeout(record->flow.tuple.proto, record->flow.content.state))
		return true;
	key_of_record(record, &key);
	if (was_seen(dry_run, &key))
		return true;
	dry_run->totals.live++;
	evaluate_flow(dry_run, &key);
	return true;
}

static void end_if_done(struct dry_run *dry_run);

static void on_walk(uv_idle_t *idle)
{
	struct dry_run *dry_run = idle->data;

	if (!flows_walk(dry_run->sources->flows, &dry_run->cursor, SLICE_NS, on_flow, dry_run))
		return;
	uv_idle_stop(idle);
	dry_run->walked = true;
	end_if_done(dry_run);
}

/* ---------------------------------------------------------------- new flows */

/* Evaluated by a policy, one way or the other? Other drops do not change with policies. */
static bool is_evaluated(const struct polder_event *event)
{
	return event->type == EVENT_FLOW || event->reason == REASON_POLICY_EGRESS ||
	       event->reason == REASON_POLICY_INGRESS;
}

static void on_event(const struct polder_event *event, void *data)
{
	bool ports = has_ports(event->proto), translated = !addr_is_zero(&event->backend);
	struct dry_run *dry_run = data;
	struct flow_key key;

	if (!event->family || !is_evaluated(event))
		return;
	memset(&key, 0, sizeof(key));
	key.asked = event->daddr;
	key.sport = ports ? ntohs(event->sport_be) : 0;
	key.dport = ports ? ntohs(event->dport_be) : 0;
	key.question.source = event->saddr;
	key.question.destination = translated ? event->backend : event->daddr;
	key.question.proto = event->proto;
	key.question.zone = event->zone;
	key.question.port =
		!ports ? 0 : ntohs(translated ? event->backend_port_be : event->dport_be);
	key.question.through_service = translated;
	if (was_seen(dry_run, &key))
		return;
	dry_run->totals.fresh++;
	evaluate_flow(dry_run, &key);
}

static void on_lost(uint64_t count, void *data)
{
	struct dry_run *dry_run = data;

	dry_run->totals.lost += count;
}

/* ---------------------------------------------------------------- life */

/* Nothing of it is under way any more. */
static void try_free(struct dry_run *dry_run)
{
	struct seen *seen, *next;

	HASH_ITER (hh, dry_run->seen, seen, next) {
		HASH_DEL(dry_run->seen, seen);
		free(seen);
	}
	dry_run_policy_free(dry_run->policy);
	dry_run_changes_clear(&dry_run->changes);
	free(dry_run);
	running--;
}

static void on_closed(uv_handle_t *handle)
{
	struct dry_run *dry_run = handle->data;

	if (--dry_run->handles == 0 && !dry_run->compiling)
		try_free(dry_run);
}

static void stop(struct dry_run *dry_run)
{
	uv_idle_stop(&dry_run->walk);
	uv_timer_stop(&dry_run->timer);
	uv_timer_stop(&dry_run->rebuild);
	dry_run->stale = false;
	reconciler_cancel(dry_run->sources->reconciler, &dry_run->change);
	events_unsubscribe(dry_run->tap);
	dry_run->tap = NULL;
}

/* The peer has hung up, after the end or before. */
static void on_hang_up(struct control_request *request, void *data)
{
	struct dry_run *dry_run = data;

	stop(dry_run);
	dry_run->request = NULL;
	uv_close((uv_handle_t *)&dry_run->walk, on_closed);
	uv_close((uv_handle_t *)&dry_run->timer, on_closed);
	uv_close((uv_handle_t *)&dry_run->rebuild, on_closed);
}

static void end_if_done(struct dry_run *dry_run)
{
	if (!dry_run->walked || !dry_run->timed_out)
		return;
	stop(dry_run);
	control_stream_send(dry_run->request, totals_document(&dry_run->totals));
}

static void on_time(uv_timer_t *timer)
{
	struct dry_run *dry_run = timer->data;

	dry_run->timed_out = true;
	end_if_done(dry_run);
}

static int find_absent(const struct dry_run *dry_run, char *message, size_t size)
{
	char text[512];

	for (size_t i = 0; i < dry_run->changes.removal_count; i++) {
		const struct dry_run_removal *removal = &dry_run->changes.removals[i];

		if (store_get(dry_run->sources->store, removal->kind, removal->namespace,
			      removal->name))
			continue;
		dry_run_object_text(removal->kind, removal->namespace, removal->name, text,
				    sizeof(text));
		snprintf(message, size, "delete: %s not found", text);
		return -ENOENT;
	}
	return 0;
}

static void say_not_compiled(int r, char *message, size_t size)
{
	snprintf(message, size, "the staged objects cannot be compiled: %s", strerror(-r));
}

static int prepare(struct dry_run *dry_run, const json_t *args, int fd, char *message, size_t size)
{
	int r;

	if (running >= TRIES_MAX) {
		snprintf(message, size,
			 "%d tries are running, which is the limit; wait for one to end",
			 TRIES_MAX);
		return -EBUSY;
	}
	r = dry_run_read_changes(args, fd, &dry_run->changes, message, size);
	if (r == 0)
		r = find_absent(dry_run, message, size);
	if (r < 0)
		return r;
	r = compile(dry_run);
	if (r < 0)
		say_not_compiled(r, message, size);
	return r;
}

static void begin(struct dry_run *dry_run)
{
	const struct event_tap tap = {on_event, on_lost, dry_run};
	json_int_t seconds = dry_run->seconds;

	uv_idle_init(dry_run->sources->loop, &dry_run->walk);
	uv_timer_init(dry_run->sources->loop, &dry_run->timer);
	uv_timer_init(dry_run->sources->loop, &dry_run->rebuild);
	dry_run->walk.data = dry_run->timer.data = dry_run->rebuild.data = dry_run;
	dry_run->handles = 3;
	dry_run->timed_out = seconds == 0;
	control_stream_begin(dry_run->request, on_hang_up, dry_run);
	if (!dry_run->request)
		return; /* nobody listens any more */
	control_stream_send(dry_run->request, begin_document(dry_run, seconds));
	if (seconds > 0)
		dry_run->tap = events_tap(dry_run->sources->events,
					  EVENT_MASK_DROPS | EVENT_MASK_FLOWS, &tap);
	uv_idle_start(&dry_run->walk, on_walk);
	if (seconds > 0)
		uv_timer_start(&dry_run->timer, on_time, (uint64_t)seconds * 1000, 0);
	rebuild(dry_run);
}

static void fail(struct dry_run *dry_run, int r)
{
	char message[128];

	say_not_compiled(r, message, sizeof(message));
	control_fail(dry_run->request, -r, message, NULL);
	reconciler_cancel(dry_run->sources->reconciler, &dry_run->change);
	try_free(dry_run);
}

static void take_fresh(struct dry_run *dry_run)
{
	dry_run->totals.rebuilt += dry_run->policy != NULL;
	dry_run_policy_free(dry_run->policy);
	dry_run->policy = dry_run->fresh;
	dry_run->fresh = NULL;
}

static void on_compiled(uv_work_t *work, int status)
{
	struct dry_run *dry_run = work->data;
	bool first = !dry_run->policy;
	int r = status < 0 ? status : dry_run->compiled;

	dry_run->compiling = false;
	dry_run_world_release(&dry_run->world);
	if (r == 0)
		take_fresh(dry_run);
	if (first && r < 0)
		fail(dry_run, r);
	else if (first)
		begin(dry_run);
	else if (!dry_run->handles)
		try_free(dry_run); /* the peer has hung up */
	else if (dry_run->request)
		rebuild(dry_run);
}

static void on_try(struct control_request *request, const json_t *args, int fd, void *data)
{
	const json_t *seconds = json_object_get(args, "seconds");
	struct dry_run *dry_run;
	char message[640] = "no memory";
	int r = -ENOMEM;

	if (!json_is_integer(seconds) || json_integer_value(seconds) < 0 ||
	    json_integer_value(seconds) > SECONDS_MAX) {
		control_fail(request, EINVAL, "seconds: expected a number from 0 to 86400", NULL);
		return;
	}
	dry_run = calloc(1, sizeof(*dry_run));
	if (dry_run) {
		dry_run->sources = data;
		dry_run->request = request;
		dry_run->seconds = json_integer_value(seconds);
		r = prepare(dry_run, args, fd, message, sizeof(message));
	}
	if (r == 0) {
		running++;
		return;
	}
	control_fail(request, -r, message, NULL);
	if (dry_run)
		dry_run_changes_clear(&dry_run->changes);
	free(dry_run);
}

int dry_run_register(struct control_server *server, const struct show_sources *sources)
{
	int r = control_register(server, "policy.try", on_try, (void *)sources);

	return r < 0 ? r
		     : control_register(server, "policy.commit", dry_run_commit, (void *)sources);
}
