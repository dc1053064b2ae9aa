/* SPDX-License-Identifier: Apache-2.0 */
/* What was seen, for polderctl policy suggest: watched for a while, or out of the history. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/clock.h"
#include "agent/common/hash.h"
#include "agent/kernel/counters.h"
#include "agent/show/show_internal.h"

#define SECONDS_MAX  86400
#define SLICE_NS     1000000
#define RETRY_MS     20 /* the peer has not read yet */
#define WATCHERS_MAX 4
#define SECOND_NS    1000000000ull

/* ---------------------------------------------------------------- who has an address */

static bool is_in_pod_range(const struct show_sources *sources, const struct polder_addr *addr)
{
	const struct config *config = sources->config;
	size_t count;
	const struct object *const *nodes = store_objects(sources->store, OBJECT_NODE, &count);

	if ((config->pod_cidr_v4.length && prefix_contains(&config->pod_cidr_v4, addr)) ||
	    (config->pod_cidr_v6.length && prefix_contains(&config->pod_cidr_v6, addr)))
		return true;
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < nodes[i]->node.pod_range_count; k++)
			if (prefix_contains(&nodes[i]->node.pod_ranges[k], addr))
				return true;
	return false;
}

static const char *node_with(const struct show_sources *sources, const struct polder_addr *addr)
{
	size_t count;
	const struct object *const *nodes = store_objects(sources->store, OBJECT_NODE, &count);

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < nodes[i]->node.address_count; k++)
			if (memcmp(&nodes[i]->node.addresses[k], addr, sizeof(*addr)) == 0)
				return nodes[i]->name;
	return NULL;
}

void show_flow_end(const struct polder_addr *addr, struct flow_watch_end *ret, void *data)
{
	const struct show_sources *sources = data;
	const struct object *pod = policy_sync_local_pod_at(sources->policy_sync, addr);

	*ret = (struct flow_watch_end){.local = pod != NULL};
	if (!pod) {
		pod = policy_sync_pod_at(sources->policy_sync, addr);
		pod = pod ? store_get(sources->store, OBJECT_POD, pod->namespace, pod->name) : NULL;
	}
	if (pod) {
		ret->namespace = pod->namespace;
		ret->name = pod->name;
		ret->labels = &pod->labels;
		return;
	}
	ret->unknown = is_in_pod_range(sources, addr) && !node_with(sources, addr);
}

/* ---------------------------------------------------------------- the question */

/* What is known of a workload by now. */
struct workload_document {
	UT_hash_handle hh;
	json_t *document;
	const struct flow_name *name; /* the copy's */
};

struct suggestion {
	const struct show_sources *sources;
	struct control_request *request;
	char *namespace, *pod; /* NULL: all; of a pod: its workload */
	struct flow_name workload;
	char workload_text[FLOW_WORKLOAD_MAX];
	uint64_t since_ns;	  /* asked for, or when it began to watch */
	json_int_t asked_seconds; /* the same; -1: all there is */
	bool watches;
	uint64_t forgotten, looked_up; /* when it began to watch */
	struct flow_watch_look look;
	bool looks;
	struct flow_history_copy copy;
	size_t next; /* of the copy that goes out */
	struct workload_document *workloads;
	uv_timer_t timer;
	uv_idle_t idle;
	int handles;
};

static unsigned int running;

static const char *family_of(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? "ipv4" : "ipv6";
}

/* A new reference; NULL: no memory. */
static json_t *workload_document(struct suggestion *suggestion, const struct flow_name *name)
{
	struct workload_document *known;

	HASH_FIND(hh, suggestion->workloads, name->text, name->length, known);
	if (known)
		return json_incref(known->document);
	known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	known->document = show_workload(suggestion->sources, name);
	HASH_ADD_KEYPTR(hh, suggestion->workloads, name->text, name->length, known);
	if (HASH_ADDED(hh, known))
		return json_incref(known->document);
	json_decref(known->document);
	free(known);
	return NULL;
}

static json_t *peer_document(struct suggestion *suggestion, const struct flow_seen *seen)
{
	static const char *const kinds[] = {
		[FLOW_PEER_POD] = "pod",
		[FLOW_PEER_ADDRESS] = "address",
		[FLOW_PEER_UNKNOWN] = "unknown_pod",
		[FLOW_PEER_NODE] = "own_node",
	};
	char text[INET6_ADDRSTRLEN];
	const char *node;
	json_t *peer = seen->peer_kind == FLOW_PEER_POD ? workload_document(suggestion, &seen->peer)
							: json_object();

	/* A workload's document is shared by all that name it. */
	if (seen->peer_kind == FLOW_PEER_POD)
		return json_pack("{s:s, s:o}", "kind", kinds[seen->peer_kind], "workload", peer);
	json_object_set_new(peer, "kind", json_string(kinds[seen->peer_kind]));
	if (seen->peer_kind == FLOW_PEER_NODE)
		return peer;
	node = node_with(suggestion->sources, &seen->addr);
	json_object_set_new(peer, "ip", json_string(addr_format(&seen->addr, text)));
	json_object_set_new(peer, "family", json_string(family_of(&seen->addr)));
	json_object_set_new(peer, "node", json_string(node ? node : ""));
	return peer;
}

/* Seconds since then; never less than 0. */
static json_int_t ago(uint64_t now_ns, uint64_t then_ns)
{
	return then_ns < now_ns ? (json_int_t)((now_ns - then_ns) / SECOND_NS) : 0;
}

static json_t *item_document(struct suggestion *suggestion, const struct flow_history_item *item)
{
	const struct flow_seen *seen = &item->seen;
	const struct flow_seen_counts *counts = &item->counts;
	uint64_t now = flow_history_clock(clock_monotonic_ns());
	char proto[PROTO_NAME_MAX];

	return json_pack(
		"{s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:o, s:o, s:I, s:I, s:I}", "type", "seen",
		"direction", seen->direction == EGRESS ? "egress" : "ingress", "verdict",
		seen->allowed ? "allow" : "deny", "proto", proto_name(seen->proto, proto), "port",
		seen->port, "service", seen->service.length ? seen->service.text : "",
		"service_port", seen->service_port, "subject",
		workload_document(suggestion, &seen->subject), "peer",
		peer_document(suggestion, seen), "count",
		(json_int_t)(counts->events > counts->found ? counts->events : counts->found),
		"first_seconds", ago(now, counts->first_ns), "last_seconds",
		ago(now, counts->last_ns));
}

/* For how long no polderd watched; whoever asks for all there is asks since its reach. A part of a
 * second counts as one: that there was a gap is told. */
static json_int_t missed_seconds(const struct flow_history *history, uint64_t since_ns)
{
	return (json_int_t)((flow_history_missed(history, since_ns) + SECOND_NS - 1) / SECOND_NS);
}

static json_t *end_document(const struct suggestion *suggestion)
{
	const struct flow_recorder *recorder = suggestion->sources->recorder;
	const struct flow_history *history = flow_watch_history(recorder->watch);
	struct flow_history_stats stats;
	struct flow_watch_stats watched;
	uint64_t now = flow_history_clock(clock_monotonic_ns());

	flow_history_stats(history, &stats);
	flow_watch_stats(recorder->watch, &watched);
	return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "type", "end", "recorded",
			 recorder->most_bytes != 0, "watched", suggestion->watches, "asked_seconds",
			 suggestion->asked_seconds, "reach_seconds",
			 ago(now, flow_history_reach(history)), "missed_seconds",
			 missed_seconds(history, suggestion->since_ns), "forgotten",
			 (json_int_t)(stats.forgotten - suggestion->forgotten), "looked_up",
			 (json_int_t)(watched.looked_up - suggestion->looked_up));
}

/* What is known of the file; null: there is none. */
static json_t *file_document(const struct flow_recorder *recorder)
{
	struct flow_history_file_stats stats;

	if (!recorder->file)
		return json_null();
	flow_history_file_stats(recorder->file, &stats);
	return json_pack("{s:s, s:o, s:o, s:o, s:b, s:o, s:s}", "path", recorder->path, "bytes",
			 show_u64(stats.bytes), "written_seconds",
			 stats.written_ns
				 ? json_integer(ago(clock_monotonic_ns(), stats.written_ns))
				 : json_null(),
			 "left_out", show_u64(stats.left_out), "cut_off", stats.cut_off, "failures",
			 show_u64(stats.failures), "problem", stats.problem);
}

json_t *show_flow_history(const struct show_sources *sources)
{
	const struct flow_recorder *recorder = sources->recorder;
	const struct flow_history *history = flow_watch_history(recorder->watch);
	struct flow_history_stats stats;
	struct flow_watch_stats watched;

	flow_history_stats(history, &stats);
	flow_watch_stats(recorder->watch, &watched);
	return json_pack("{s:I, s:I, s:o, s:o, s:o, s:I, s:o, s:o}", "entries",
			 (json_int_t)stats.entries, "missed_seconds", missed_seconds(history, 0),
			 "file", file_document(recorder), "bytes", show_u64(stats.bytes),
			 "forgotten", show_u64(stats.forgotten), "reach_seconds",
			 ago(flow_history_clock(clock_monotonic_ns()), flow_history_reach(history)),
			 "looked_up", show_u64(watched.looked_up), "walks",
			 show_u64(watched.walks));
}

/* ---------------------------------------------------------------- lines */

static bool concerns(const struct suggestion *suggestion, const struct flow_seen *seen)
{
	if (suggestion->pod)
		return seen->subject.length == suggestion->workload.length &&
		       memcmp(seen->subject.text, suggestion->workload.text,
			      seen->subject.length) == 0;
	return !suggestion->namespace || strcmp(seen->subject.text, suggestion->namespace) == 0;
}

static void on_send(uv_idle_t *idle);

static void on_retry(uv_timer_t *timer)
{
	struct suggestion *suggestion = timer->data;

	uv_idle_start(&suggestion->idle, on_send);
}

/* For a millisecond; a peer that does not read is asked again. */
static void on_send(uv_idle_t *idle)
{
	struct suggestion *suggestion = idle->data;
	const uint64_t end = uv_hrtime() + SLICE_NS;
	int r = 0;

	while (r == 0 && suggestion->next < suggestion->copy.count && uv_hrtime() < end) {
		const struct flow_history_item *item = &suggestion->copy.items[suggestion->next];

		if (concerns(suggestion, &item->seen))
			r = control_stream_send(suggestion->request,
						item_document(suggestion, item));
		suggestion->next += r == 0;
	}
	if (r == 0 && suggestion->next < suggestion->copy.count)
		return;
	if (r == 0)
		r = control_stream_send(suggestion->request, end_document(suggestion));
	uv_idle_stop(idle);
	if (r == -ENOBUFS || r == -ENOMEM)
		uv_timer_start(&suggestion->timer, on_retry, RETRY_MS, 0);
}

static void on_looked(bool whole, void *data)
{
	struct suggestion *suggestion = data;
	struct flow_watch *watch = suggestion->sources->recorder->watch;

	suggestion->looks = false;
	/* polderd ends, and the connection with it. */
	if (!whole)
		return;
	if (flow_history_copy(flow_watch_history(watch), suggestion->since_ns, &suggestion->copy) <
	    0)
		control_stream_send(suggestion->request,
				    json_pack("{s:s, s:s}", "type", "failed", "reason",
					      "polderd is out of memory"));
	else
		uv_idle_start(&suggestion->idle, on_send);
}

static void on_time(uv_timer_t *timer)
{
	struct suggestion *suggestion = timer->data;

	suggestion->looks = true;
	suggestion->look = (struct flow_watch_look){.done = on_looked, .data = suggestion};
	flow_watch_look(suggestion->sources->recorder->watch, &suggestion->look);
}

/* ---------------------------------------------------------------- its life */

static void suggestion_free(struct suggestion *suggestion)
{
	struct workload_document *known, *next;

	HASH_ITER (hh, suggestion->workloads, known, next) {
		HASH_DEL(suggestion->workloads, known);
		json_decref(known->document);
		free(known);
	}
	flow_history_copy_clear(&suggestion->copy);
	free(suggestion->namespace);
	free(suggestion->pod);
	free(suggestion);
}

static void on_closed(uv_handle_t *handle)
{
	struct suggestion *suggestion = handle->data;

	if (--suggestion->handles == 0)
		suggestion_free(suggestion);
}

static void on_hang_up(struct control_request *request, void *data)
{
	struct suggestion *suggestion = data;
	struct flow_recorder *recorder = suggestion->sources->recorder;

	(void)request;
	running--;
	uv_timer_stop(&suggestion->timer);
	uv_idle_stop(&suggestion->idle);
	if (suggestion->looks)
		flow_watch_cancel(recorder->watch, &suggestion->look);
	flow_recorder_end(recorder);
	uv_close((uv_handle_t *)&suggestion->timer, on_closed);
	uv_close((uv_handle_t *)&suggestion->idle, on_closed);
}

static int copy_text(const json_t *args, const char *key, char **ret)
{
	const char *text = json_string_value(json_object_get(args, key));

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

/* The workload of the pod that is asked for: a pod of this node. */
static int find_workload(struct suggestion *suggestion, struct error *error)
{
	const struct show_sources *sources = suggestion->sources;

	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (strcmp(pod->namespace, suggestion->namespace) != 0 ||
		    strcmp(pod->name, suggestion->pod) != 0)
			continue;
		suggestion->workload.length = flow_workload(
			pod->namespace, show_pod_labels(sources, pod), suggestion->workload_text);
		suggestion->workload.text = suggestion->workload_text;
		return 0;
	}
	return error_set(error, -ENOENT, ENOENT, "%.253s/%.253s is no pod of this node",
			 suggestion->namespace, suggestion->pod);
}

static bool read_seconds(const json_t *args, const char *key, json_int_t most, json_int_t *ret)
{
	const json_t *value = json_object_get(args, key);

	*ret = json_is_integer(value) ? json_integer_value(value) : -1;
	return !value || (*ret >= 0 && *ret <= most);
}

static int read_question(struct suggestion *suggestion, const json_t *args, json_int_t *ret_seconds,
			 struct error *error)
{
	uint64_t now = flow_history_clock(clock_monotonic_ns());
	json_int_t since;

	if (!read_seconds(args, "seconds", SECONDS_MAX, ret_seconds))
		return error_set(error, -EINVAL, EINVAL,
				 "seconds: expected a number from 0 to 86400");
	if (!read_seconds(args, "since_seconds", INT32_MAX, &since))
		return error_set(error, -EINVAL, EINVAL,
				 "since_seconds: expected a number of seconds");
	if (copy_text(args, "namespace", &suggestion->namespace) < 0 ||
	    copy_text(args, "pod", &suggestion->pod) < 0)
		return error_set(error, -ENOMEM, ENOMEM, "polderd is out of memory");
	if (suggestion->pod && !suggestion->namespace)
		return error_set(error, -EINVAL, EINVAL, "pod: needs a namespace as well");
	suggestion->watches = *ret_seconds > 0;
	suggestion->asked_seconds = suggestion->watches ? *ret_seconds : since;
	if (suggestion->watches)
		suggestion->since_ns = now;
	else if (since >= 0)
		suggestion->since_ns = now - (uint64_t)since * SECOND_NS;
	return suggestion->pod ? find_workload(suggestion, error) : 0;
}

static int prepare(struct suggestion *suggestion, const json_t *args, json_int_t *ret_seconds,
		   struct error *error)
{
	int r = read_question(suggestion, args, ret_seconds, error);

	if (r == 0 && running >= WATCHERS_MAX)
		r = error_set(error, -EBUSY, EBUSY,
			      "%d suggestions are being made, which is the limit; wait for one to "
			      "end",
			      WATCHERS_MAX);
	if (r == 0 && flow_recorder_begin(suggestion->sources->recorder) < 0)
		r = error_set(error, -ENOMEM, ENOMEM, "polderd is out of memory");
	return r;
}

/* What is told of the time that is watched is of that time alone. */
static void note_begin(struct suggestion *suggestion)
{
	struct flow_watch *watch = suggestion->sources->recorder->watch;
	struct flow_history_stats stats;
	struct flow_watch_stats watched;

	if (!suggestion->watches)
		return;
	flow_history_stats(flow_watch_history(watch), &stats);
	flow_watch_stats(watch, &watched);
	suggestion->forgotten = stats.forgotten;
	suggestion->looked_up = watched.looked_up;
}

void show_suggest(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct suggestion *suggestion = calloc(1, sizeof(*suggestion));
	struct error error;
	json_int_t seconds;

	(void)netns_fd;
	if (!suggestion) {
		show_reply(request, NULL);
		return;
	}
	suggestion->sources = data;
	suggestion->request = request;
	if (prepare(suggestion, args, &seconds, &error) < 0) {
		control_fail(request, error.code, error.text, NULL);
		suggestion_free(suggestion);
		return;
	}
	running++;
	note_begin(suggestion);
	uv_timer_init(suggestion->sources->loop, &suggestion->timer);
	uv_idle_init(suggestion->sources->loop, &suggestion->idle);
	suggestion->timer.data = suggestion->idle.data = suggestion;
	suggestion->handles = 2;
	uv_timer_start(&suggestion->timer, on_time, seconds > 0 ? (uint64_t)seconds * 1000 : 0, 0);
	control_stream_begin(request, on_hang_up, suggestion);
}
