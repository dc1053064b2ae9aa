/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of events, and the names in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/kernel/counters.h"
#include "agent/observe/flow_filter.h"
#include "agent/show/show_internal.h"
#include "agent/show/show_processes.h"

/* ---------------------------------------------------------------- names */

static int name_pod(const struct polder_addr *addr, char *buffer, size_t size, void *data)
{
	const struct show_sources *sources = data;
	const struct object *pod = policy_sync_pod_at(sources->policy_sync, addr);

	if (!pod)
		return -ENOENT;
	snprintf(buffer, size, "%s/%s", pod->namespace, pod->name);
	return 0;
}

static int name_link(uint32_t ifindex, char *buffer, size_t size, void *data)
{
	const struct show_sources *sources = data;
	char name[IF_NAMESIZE];

	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (pod->ifindex == (int)ifindex) {
			snprintf(buffer, size, "%s", pod->link);
			return 0;
		}
	}
	if (!if_indextoname(ifindex, name))
		return -ENOENT;
	snprintf(buffer, size, "%s", name);
	return 0;
}

static int name_rule(uint32_t rule, struct rule_origin *ret, void *data)
{
	const struct show_sources *sources = data;

	return policy_rule_origin(policy_sync_registry(sources->policy_sync), rule, ret);
}

static const char *name_of_rule(const struct rule_origin *origin, void *data)
{
	const struct show_sources *sources = data;
	enum object_kind kind =
		*origin->namespace ? OBJECT_NETWORK_POLICY : OBJECT_CLUSTER_NETWORK_POLICY;
	const struct object *policy =
		store_get(sources->store, kind, origin->namespace, origin->name);
	const struct network_policy_object *spec = policy ? &policy->network_policy : NULL;
	size_t count = !spec ? 0 : origin->egress ? spec->egress_count : spec->ingress_count;

	if (origin->index >= count)
		return NULL;
	return origin->egress ? spec->egress[origin->index].name
			      : spec->ingress[origin->index].name;
}

static const struct compiled_selection *find_isolation(const struct polder_addr *addr, bool egress,
						       void *data)
{
	const struct show_sources *sources = data;

	return policy_sync_isolation(sources->policy_sync, addr, egress);
}

static int name_service(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
			size_t size, void *data)
{
	const struct show_sources *sources = data;
	const struct service_key key = {.addr = *addr, .port_be = port_be, .proto = proto};
	struct service_view view;

	if (!flow_proto_has_ports(proto) || !services_find(sources->services, &key, &view) ||
	    !*view.namespace)
		return -ENOENT;
	snprintf(buffer, size, "%s/%s", view.namespace, view.name);
	return 0;
}

void show_event_names(const struct show_sources *sources, struct event_names *ret)
{
	*ret = (struct event_names){name_pod,	    name_link,	  name_rule,	name_of_rule,
				    find_isolation, name_service, show_process, (void *)sources};
}

/* ---------------------------------------------------------------- monitor */

/* One who listens: to the programs' events, to what the kernel drops, to alerts, or to several. */
struct monitor {
	struct control_request *request;
	const struct event_names *names;
	struct event_subscriber *events; /* NULL: not to these */
	struct kernel_watch *kernel;	 /* the same */
	struct alert_subscriber *alerts; /* the same */
	uint64_t lost, limited; /* of the kernel's drops, that the reader has not heard of */
};

static int send_line(json_t *line, void *data)
{
	struct monitor *monitor = data;

	return control_stream_send(monitor->request, line);
}

static void free_monitor(struct monitor *monitor)
{
	events_unsubscribe(monitor->events);
	kernel_drops_unwatch(monitor->kernel);
	alert_watch_unsubscribe(monitor->alerts);
	free(monitor);
}

static void on_hang_up(struct control_request *request, void *data)
{
	free_monitor(data);
}

/* ---------------------------------------------------------------- the kernel's drops */

static void on_kernel_begun(const char *why, void *data)
{
	struct monitor *monitor = data;

	if (!why) {
		(void)send_line(json_pack("{s:{s:b}}", "kernel_drops", "available", true), monitor);
		return;
	}
	kernel_drops_unwatch(monitor->kernel);
	monitor->kernel = NULL;
	(void)send_line(json_pack("{s:{s:b, s:s, s:b}}", "kernel_drops", "available", false, "why",
				  why, "alone", monitor->events == NULL && monitor->alerts == NULL),
			monitor);
}

static void on_kernel_drop(const struct kernel_drop_told *told, void *data)
{
	struct monitor *monitor = data;
	json_t *line = kernel_drop_document(told, monitor->names);

	if (!line || send_line(line, monitor) < 0)
		monitor->lost++;
}

static void on_kernel_missed(uint64_t lost, uint64_t limited, void *data)
{
	struct monitor *monitor = data;

	monitor->lost += lost;
	monitor->limited += limited;
	if (!monitor->lost && !monitor->limited)
		return;
	if (send_line(json_pack("{s:o, s:o}", "kernel_lost", show_u64(monitor->lost),
				"kernel_limited", show_u64(monitor->limited)),
		      monitor) == 0)
		monitor->lost = monitor->limited = 0;
}

static bool is_wanted(const json_t *args, const char *key)
{
	return json_is_true(json_object_get(args, key));
}

/*
 * What a reader needs to know what it has missed since it listened last: what the programs have
 * counted by now, for ever.
 */
static json_t *begin_document(const struct show_sources *sources)
{
	__u64 counters[COUNTER_COUNT] = {0};
	struct drop_counter drops[DROPS_COUNT] = {{0}};
	uint64_t packets = 0;

	if (counters_read(maps_fd(sources->maps, MAP_COUNTERS), counters) < 0 ||
	    counters_read_drops(maps_fd(sources->maps, MAP_DROPS), drops) < 0)
		return NULL;
	for (size_t i = 0; i < DROPS_COUNT; i++)
		packets += drops[i].packets;
	return json_pack("{s:{s:I, s:o, s:o, s:o}}", "begin", "monotonic_ns",
			 (json_int_t)clock_monotonic_ns(), "dropped_packets", show_u64(packets),
			 "lost_events", show_u64(counters[COUNTER_EVENTS_LOST]), "limited_events",
			 show_u64(counters[COUNTER_EVENTS_LIMITED]));
}

/* What of the past is wanted. */
struct past {
	bool wanted;
	size_t last;
	uint64_t after_ns;
};

static bool take_number(const json_t *args, const char *key, json_int_t most, json_int_t *ret)
{
	const json_t *value = json_object_get(args, key);

	*ret = -1;
	if (!value || json_is_null(value))
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > most)
		return false;
	*ret = json_integer_value(value);
	return true;
}

/* NULL, or why not. */
static const char *read_past(const json_t *args, struct past *ret)
{
	const uint64_t now = clock_monotonic_ns();
	json_int_t last, since, after;

	if (!take_number(args, "last", EVENTS_REPLAY_MAX, &last))
		return "monitor: last: expected a number from 0 to 1000";
	if (!take_number(args, "since_seconds", INT32_MAX, &since))
		return "monitor: since_seconds: expected a number of seconds";
	if (!take_number(args, "after_ns", INT64_MAX, &after))
		return "monitor: after_ns: expected a time of the monotonic clock";
	*ret = (struct past){.wanted = last > 0 || since >= 0 || after >= 0,
			     .last = last >= 0 ? (size_t)last : SIZE_MAX};
	if (since >= 0 && (uint64_t)since < now / 1000000000)
		ret->after_ns = now - (uint64_t)since * 1000000000;
	if (after >= 0 && (uint64_t)after > ret->after_ns)
		ret->after_ns = (uint64_t)after;
	return NULL;
}

/* What of a question is for whom. */
struct wanted {
	uint32_t mask; /* enum event_mask */
	bool kernel, alerts;
	struct past past;
};

/* 0 with a filter for each of the two, or -errno with `error`. */
static int read_wanted(const struct show_sources *sources, const json_t *args, struct wanted *ret,
		       struct flow_filter *filters[2], struct error *error)
{
	const json_t *filter = json_object_get(args, "filter");
	const char *why;
	int r;

	ret->mask = (is_wanted(args, "drops") ? EVENT_MASK_DROPS : 0u) |
		    (is_wanted(args, "flows") ? EVENT_MASK_FLOWS : 0u);
	ret->kernel = is_wanted(args, "kernel");
	ret->alerts = is_wanted(args, "alerts");
	why = ret->mask || ret->kernel || ret->alerts
		      ? read_past(args, &ret->past)
		      : "monitor: ask for drops, flows, alerts or several of them";
	if (!why && ret->alerts && filter && !json_is_null(filter))
		why = "monitor: a filter is for packets, and alerts are none: ask for them without "
		      "it";
	if (why)
		return error_set(error, -EINVAL, EINVAL, "%s", why);
	r = show_filter_parse(sources, filter, &filters[0], error);
	if (r == 0)
		r = show_filter_parse(sources, filter, &filters[1], error);
	if (r < 0)
		return r;
	ret->mask = flow_filter_mask(filters[0], ret->mask);
	ret->kernel = ret->kernel && flow_filter_wants_kernel(filters[1]);
	if (ret->mask || ret->kernel || ret->alerts)
		return 0;
	return error_set(error, -EINVAL, EINVAL,
			 "monitor: the filter lets none of the events through that are asked for: "
			 "what is allowed is a flow, what is not a drop, and the kernel's own "
			 "drops have no policy");
}

/* Takes the filters. NULL: no memory. */
static struct monitor *listen_to(const struct show_sources *sources, const struct wanted *wanted,
				 struct flow_filter *filters[2], struct control_request *request)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));
	const struct kernel_watch_calls calls = {.began = on_kernel_begun,
						 .drop = on_kernel_drop,
						 .missed = on_kernel_missed,
						 .data = monitor};
	bool good = monitor != NULL;

	if (good) {
		monitor->request = request;
		monitor->names = sources->event_names;
	}
	if (good && wanted->mask) {
		monitor->events = events_subscribe(sources->events, wanted->mask,
						   TAKE_PTR(filters[0]), send_line, monitor);
		good = monitor->events != NULL;
	}
	if (good && wanted->kernel) {
		monitor->kernel =
			kernel_drops_watch(sources->kernel_drops, TAKE_PTR(filters[1]), &calls);
		good = monitor->kernel != NULL;
	}
	if (good && wanted->alerts) {
		monitor->alerts = alert_watch_subscribe(sources->alerts, send_line, monitor);
		good = monitor->alerts != NULL;
	}
	if (good)
		return monitor;
	if (monitor)
		free_monitor(monitor);
	return NULL;
}

static void replay_alerts(const struct show_sources *sources, const struct past *past,
			  struct control_request *request)
{
	json_t *kept = alert_watch_kept(sources->alerts, past->after_ns, past->last);
	size_t i;
	json_t *line;

	json_array_foreach (kept, i, line)
		control_stream_send(request, json_incref(line));
	json_decref(kept);
}

/* From now on `monitor` may go at any time: it is the stream's. */
static void begin_stream(struct control_request *request, const json_t *args,
			 const struct show_sources *sources, const struct past *past,
			 struct monitor *monitor)
{
	struct event_subscriber *events = monitor->events;

	control_stream_begin(request, on_hang_up, monitor);
	if (is_wanted(args, "begin"))
		control_stream_send(request, begin_document(sources));
	if (past->wanted && is_wanted(args, "alerts"))
		replay_alerts(sources, past, request);
	if (past->wanted && events)
		events_replay(events, past->after_ns, past->last);
}

void show_monitor(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	struct flow_filter *filters[2] = {NULL, NULL};
	struct monitor *monitor = NULL;
	struct wanted wanted = {0};
	struct error error;
	int r = read_wanted(sources, args, &wanted, filters, &error);

	if (r == 0)
		monitor = listen_to(sources, &wanted, filters, request);
	if (monitor)
		begin_stream(request, args, sources, &wanted.past, monitor);
	else if (r < 0)
		control_fail(request, error.code, error.text, NULL);
	else
		show_reply(request, NULL);
	flow_filter_free(filters[0]);
	flow_filter_free(filters[1]);
}

/* ---------------------------------------------------------------- drops */

void show_drops(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	json_t *result = NULL;
	struct error error;

	if (drop_log_document(sources->drop_log, args, &result, &error) < 0)
		control_fail(request, error.code, error.text, NULL);
	else
		control_reply(request, result);
}
