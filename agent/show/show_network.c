/* SPDX-License-Identifier: Apache-2.0 */
/* Uplinks and ways out, as status and metrics show them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/show/show_internal.h"

static const char *const families[2] = {"ipv4", "ipv6"};
static const char *const reaches[] = {
	[REACH_NONE] = "none", [REACH_SOME] = "some", [REACH_ALL] = "all"};

static json_t *one_uplink(const struct node_uplink *uplink)
{
	const char *reason = uplink->reason[0] ? uplink->reason : uplink->attach_error;

	return json_pack("{s:s, s:s, s:o*, s:i, s:i, s:s, s:s, s:b, s:s}", "link", uplink->name,
			 "state", uplink_state_names[uplink->state], "since",
			 show_rfc3339(uplink->since), "ifindex", uplink->ifindex, "mtu",
			 (int)uplink->mtu, "xdp", uplink->xdp ? uplink->xdp : "off", "xdp_reason",
			 uplink->xdp_note, "configured", uplink->configured, "reason", reason);
}

json_t *show_uplinks(const struct node *node)
{
	json_t *list = json_array();

	for (size_t i = 0; i < node->uplink_count; i++)
		json_array_append_new(list, one_uplink(&node->uplinks[i]));
	return list;
}

json_t *show_egress(const struct node *node)
{
	json_t *result = json_object();

	for (int i = 0; i < 2; i++) {
		const struct node_exit *exit = &node->exits[i];

		if (exit->since)
			json_object_set_new(result, families[i],
					    json_pack("{s:s, s:o*, s:s}", "reaches",
						      reaches[exit->reach], "since",
						      show_rfc3339(exit->since), "reason",
						      exit->reason));
	}
	return result;
}

static void add_problem(json_t *list, json_t *source, const char *reason, time_t when)
{
	json_t *began = show_rfc3339(when);
	json_t *text = json_sprintf("%s (since %s)", reason, json_string_value(began));

	json_decref(began);
	json_array_append_new(
		list, json_pack("{s:o*, s:s, s:o*}", "source", source, "path", "", "reason", text));
}

void show_network_problems(const struct node *node, json_t *list)
{
	static const char *const names[2] = {"IPv4", "IPv6"};

	for (size_t i = 0; i < node->uplink_count; i++) {
		const struct node_uplink *uplink = &node->uplinks[i];
		const char *reason = uplink->reason[0] ? uplink->reason : uplink->attach_error;

		if (*reason)
			add_problem(list, json_sprintf("uplink %s", uplink->name), reason,
				    uplink->since);
	}
	for (int i = 0; i < 2; i++)
		if (node->exits[i].reason[0])
			add_problem(list, json_sprintf("way out, %s", names[i]),
				    node->exits[i].reason, node->exits[i].since);
	if (node->range_met[0])
		add_problem(list, json_string("pod range"), node->range_met, node->range_met_since);
	if (node->egress_full)
		add_problem(list, json_string("ways out"), EGRESS_FULL_TEXT, node->egress_full);
}

void show_unanswered(const struct show_sources *sources, json_t *list)
{
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	struct flows_stats stats;
	json_t *reason;

	flows_stats(sources->flows, &stats);
	if (!stats.unanswered.count)
		return;
	reason = json_sprintf(
		"%llu connections of pods to the node itself get no answer, such as %s to %s port "
		"%u: Polder lets them through; does the node's packet filter (INPUT) drop them? "
		"See 'A packet filter' in docs/operations.md",
		(unsigned long long)stats.unanswered.count,
		addr_format(&stats.unanswered.from, from), addr_format(&stats.unanswered.to, to),
		stats.unanswered.port);
	json_array_append_new(list, json_pack("{s:s, s:s, s:o*}", "source", "node's answers",
					      "path", "", "reason", reason));
}

json_t *show_other_programs(const struct show_sources *sources)
{
	const struct node *node = sources->node;
	struct other_programs others = {};
	json_t *list = json_array();

	/* What cannot be read is not told. */
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex)
			(void)datapath_others_of_link(sources->datapath, node->uplinks[i].ifindex,
						      node->uplinks[i].name, &others);
	(void)datapath_others_of_cgroup(sources->datapath, &others);
	for (size_t i = 0; i < others.count; i++) {
		const struct other_program *p = &others.items[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:b}", "at", p->at,
					"hook", p->hook, "order", program_order_names[p->order],
					"name", p->name, "id", (json_int_t)p->id, "tag", p->tag,
					"uid", (json_int_t)p->uid, "exclusive", p->exclusive));
	}
	free(others.items);
	return list;
}
