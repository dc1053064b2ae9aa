/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes: how each is reached, in the status and as a list. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/show/show_internal.h"

#define STRAYS_MOST 20 /* that are named */

json_t *show_rfc3339(time_t when)
{
	char text[32];
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

json_t *show_peers(const struct show_sources *sources)
{
	struct peers_counts counts = peers_count(sources->peers);

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count", show_u64(counts.peers),
			 "native", show_u64(counts.by_way[WAY_NATIVE]), "tunnel",
			 show_u64(counts.by_way[WAY_TUNNEL]), "routes",
			 show_u64(counts.by_way[WAY_NONE]), "unknown",
			 show_u64(counts.by_way[WAY_UNKNOWN]), "conflicts",
			 show_u64(counts.conflicts), "numberless", show_u64(counts.numberless));
}

json_t *show_tunnel(const struct show_sources *sources)
{
	const struct tunnel *tunnel = sources->tunnel;

	if (sources->config->tunnel == TUNNEL_NONE)
		return json_null();
	return json_pack("{s:s, s:b, s:i, s:i, s:i, s:i, s:s}", "link", TUNNEL_NAME, "up",
			 tunnel->is.ifindex != 0, "ifindex", tunnel->ifindex, "port",
			 sources->config->tunnel_port, "vni", (int)sources->config->tunnel_vni,
			 "mtu", (int)tunnel->is.mtu4, "reason", tunnel->problem);
}

/* What this node's own Node says now is not what the pods have. */
static void show_own_range(const struct show_sources *sources, json_t *list)
{
	const struct config *config = sources->config;
	const struct object *own = store_get(sources->store, OBJECT_NODE, "", config->node_name);
	char text[PREFIX_TEXT_MAX];

	if (!config->pod_cidr_of_node || !own)
		return;
	for (size_t i = 0; i < own->node.pod_range_count; i++) {
		const struct prefix *said = &own->node.pod_ranges[i];

		if (prefix_compare(said, prefix_is_v4(said) ? &config->pod_cidr_v4
							    : &config->pod_cidr_v6) == 0)
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:o*}", "source", "pod range", "path", "", "reason",
				  json_sprintf("this node's Node says pod range %s, and pods have "
					       "addresses of another: not taken; drain the node "
					       "and restart polderd",
					       prefix_format(said, text))));
	}
}

static void show_unkept_neighbours(const struct peers *peers, json_t *list)
{
	char text[INET6_ADDRSTRLEN];
	struct polder_addr one;
	int error = 0;
	size_t count = peers_unkept_neighbours(peers, &one, &error);

	if (!count)
		return;
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:o*}", "source", "neighbours", "path", "", "reason",
				json_sprintf("the kernel does not keep %zu neighbours known by "
					     "whom other nodes are reached, among them %s: %s; "
					     "what their pods send may be dropped (peer_source); "
					     "tried again every 5 s",
					     count, addr_format(&one, text), strerror(-error))));
}

struct stray_list {
	const struct stray_pods *pods;
	json_t *list;
};

static void add_stray(const struct stray_pod *pod, void *data)
{
	const struct stray_list *strays = data;
	char text[STRAY_POD_TEXT];

	json_array_append_new(strays->list,
			      json_pack("{s:o*, s:s, s:s}", "source",
					json_sprintf("pod %s/%s", pod->namespace, pod->name),
					"path", "", "reason",
					stray_pod_text(strays->pods, pod, text)));
}

static void show_stray_pods(const struct show_sources *sources, json_t *list)
{
	struct stray_list strays = {.pods = sources->stray_pods, .list = list};
	size_t count = stray_pods_list(sources->stray_pods, STRAYS_MOST, add_stray, &strays);

	if (count > STRAYS_MOST)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:o*}", "source", "pods", "path", "", "reason",
					json_sprintf("%zu more pods of this node have addresses "
						     "outside of its pod ranges",
						     count - STRAYS_MOST)));
}

void show_tunnel_problems(const struct show_sources *sources, json_t *list)
{
	const struct tunnel *tunnel = sources->tunnel;
	struct peers_counts counts = peers_count(sources->peers);

	show_own_range(sources, list);
	if (tunnel->problem[0]) {
		json_t *since = show_rfc3339(tunnel->since);

		json_array_append_new(list, json_pack("{s:s, s:s, s:o*}", "source", "tunnel",
						      "path", "", "reason",
						      json_sprintf("%s (since %s)", tunnel->problem,
								   json_string_value(since))));
		json_decref(since);
	}
	show_unkept_neighbours(sources->peers, list);
	show_stray_pods(sources, list);
	if (counts.numberless)
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:o*}", "source", "Nodes", "path", "", "reason",
				  json_sprintf("%zu Nodes are more than the %d that there are "
					       "numbers for: they are reached by routes alone",
					       counts.numberless, POLDER_MAX_PEERS - 1)));
}

static json_t *addresses_of(const struct peer *peer)
{
	json_t *list = json_array();
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < peer->address_count; i++)
		json_array_append_new(list, json_string(addr_format(&peer->addresses[i], text)));
	return list;
}

/* `refused`: those that it claims and does not get. */
static json_t *ranges_of(const struct show_sources *sources, const struct peer *peer, bool refused)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];
	size_t count;
	const struct prefix **ranges = peers_ranges_of(peer, &count);

	for (size_t i = 0; ranges && i < count; i++)
		if ((peers_owner(sources->peers, ranges[i]) != peer) == refused)
			json_array_append_new(list, json_string(prefix_format(ranges[i], text)));
	free(ranges);
	return list;
}

static json_t *node_document(const struct show_sources *sources, const struct peer *peer)
{
	char underlay[INET6_ADDRSTRLEN] = "";

	if (!addr_is_zero(&peer->underlay))
		addr_format(&peer->underlay, underlay);
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:I, s:o}", "name", peer->name, "addresses",
		addresses_of(peer), "pod_ranges", ranges_of(sources, peer, false), "refused_ranges",
		ranges_of(sources, peer, true), "ipv4", peer_way_names[peer->routes[0].way], "ipv6",
		peer_way_names[peer->routes[1].way], "underlay", underlay, "number",
		(json_int_t)peer->number, "since", show_rfc3339(peer->since));
}

static int compare_names(const void *a, const void *b)
{
	const struct peer *const *one = a, *const *other = b;

	return strcmp((*one)->name, (*other)->name);
}

void show_nodes(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	const struct peer **all, *peer;
	size_t count = 0;
	json_t *list;

	all = calloc(peers_count(sources->peers).peers + 1, sizeof(struct peer *));
	if (!all) {
		show_reply(request, NULL);
		return;
	}
	for (peer = peers_next(sources->peers, NULL); peer; peer = peers_next(sources->peers, peer))
		if (!peer->is_self)
			all[count++] = peer;
	qsort(all, count, sizeof(struct peer *), compare_names);
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, node_document(sources, all[i]));
	free(all);
	show_reply(request, list);
}
