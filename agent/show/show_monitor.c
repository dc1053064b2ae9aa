/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of events, and the names in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void show_event_names(const struct show_sources *sources, struct event_names *ret)
{
	*ret = (struct event_names){name_pod,	  name_link,	  name_rule,
				    name_of_rule, find_isolation, (void *)sources};
}

/* ---------------------------------------------------------------- monitor */

static int send_line(json_t *line, void *data)
{
	return control_stream_send(data, line);
}

static void on_hang_up(struct control_request *request, void *data)
{
	events_unsubscribe(data);
}

static bool is_wanted(const json_t *args, const char *key)
{
	return json_is_true(json_object_get(args, key));
}

void show_monitor(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	uint32_t mask = (is_wanted(args, "drops") ? EVENT_MASK_DROPS : 0u) |
			(is_wanted(args, "flows") ? EVENT_MASK_FLOWS : 0u);
	struct event_subscriber *subscriber;

	if (!mask) {
		control_fail(request, EINVAL, "monitor: ask for drops, flows or both", NULL);
		return;
	}
	subscriber = events_subscribe(sources->events, mask, send_line, request);
	if (!subscriber) {
		show_reply(request, NULL);
		return;
	}
	control_stream_begin(request, on_hang_up, subscriber);
}
