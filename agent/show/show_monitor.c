/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of events, and the names in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/clock.h"
#include "agent/kernel/counters.h"
#include "agent/observe/flow_filter.h"
#include "agent/show/show_internal.h"

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
	*ret = (struct event_names){name_pod,	    name_link,	  name_rule,	  name_of_rule,
				    find_isolation, name_service, (void *)sources};
}

/* ---------------------------------------------------------------- monitor */

static int send_line(json_t *line, void *data)
{
	return control_stream_send(data, line);
}

/* What one reader listens to. */
struct listening {
	struct event_subscriber *events; /* NULL: nothing of these */
	struct alert_subscriber *alerts;
};

static void on_hang_up(struct control_request *request, void *data)
{
	struct listening *listening = data;

	events_unsubscribe(listening->events);
	alert_watch_unsubscribe(listening->alerts);
	free(listening);
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

/* Takes `filter`. NULL: no memory. */
static struct listening *listen_to(const struct show_sources *sources, uint32_t mask,
				   struct flow_filter *filter, bool alerts,
				   struct control_request *request)
{
	struct listening *listening = calloc(1, sizeof(*listening));

	if (listening && alerts)
		listening->alerts = alert_watch_subscribe(sources->alerts, send_line, request);
	if (listening && mask)
		listening->events =
			events_subscribe(sources->events, mask, filter, send_line, request);
	else
		flow_filter_free(filter);
	if (listening && (!alerts || listening->alerts) && (!mask || listening->events))
		return listening;
	if (listening)
		on_hang_up(request, listening);
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

/* NULL, or why it is refused. */
static const char *check_monitor(const json_t *args, uint32_t mask, struct past *ret)
{
	bool alerts = is_wanted(args, "alerts");
	const json_t *filter = json_object_get(args, "filter");

	if (!mask && !alerts)
		return "monitor: ask for drops, flows, alerts or several of them";
	if (alerts && filter && !json_is_null(filter))
		return "monitor: a filter is about packets: alerts have none";
	return read_past(args, ret);
}

void show_monitor(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	uint32_t mask = (is_wanted(args, "drops") ? EVENT_MASK_DROPS : 0u) |
			(is_wanted(args, "flows") ? EVENT_MASK_FLOWS : 0u);
	struct listening *listening;
	struct flow_filter *filter = NULL;
	struct past past = {0};
	const char *why = check_monitor(args, mask, &past);
	struct error error;

	if (why) {
		control_fail(request, EINVAL, why, NULL);
		return;
	}
	if (flow_filter_parse(json_object_get(args, "filter"), &filter, &error) < 0) {
		control_fail(request, error.code, error.text, NULL);
		return;
	}
	if (mask && !flow_filter_mask(filter, mask)) {
		flow_filter_free(filter);
		control_fail(request, EINVAL,
			     "monitor: the filter lets none of the events through that are asked "
			     "for: what is allowed is a flow, what is not a drop",
			     NULL);
		return;
	}
	listening = listen_to(sources, mask, filter, is_wanted(args, "alerts"), request);
	if (!listening) {
		show_reply(request, NULL);
		return;
	}
	control_stream_begin(request, on_hang_up, listening);
	if (is_wanted(args, "begin"))
		control_stream_send(request, begin_document(sources));
	if (past.wanted && listening->alerts)
		replay_alerts(sources, &past, request);
	if (past.wanted && listening->events)
		events_replay(listening->events, past.after_ns, past.last);
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
