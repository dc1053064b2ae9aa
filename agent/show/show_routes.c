/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes' pods, in the status. */
#include "agent/show/show_internal.h"

/* Problems of so many ranges stand in the status by themselves. */
#define PROBLEMS_MAX 16

json_t *show_routes(const struct show_sources *sources)
{
	struct node_routes_state state;
	json_t *routes;

	node_routes_state(sources->routes, &state);
	routes = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "wanted", show_u64(state.wanted),
			   "installed", show_u64(state.installed), "failed", show_u64(state.failed),
			   "refused", show_u64(state.refused), "elsewhere",
			   show_u64(state.elsewhere), "stale", show_u64(state.stale), "complete",
			   state.complete);
	if (routes && state.error[0]) {
		json_object_set_new(routes, "error", json_string(state.error));
		json_object_set_new(routes, "failed_seconds",
				    show_u64((uv_hrtime() - state.failed_since_ns) / 1000000000));
	}
	return routes;
}

static void add_problem(const char *node, const char *reason, void *data)
{
	json_t *source = json_sprintf("Node %s", node);

	json_array_append_new(data, json_pack("{s:o*, s:s, s:s}", "source", source, "path", "",
					      "reason", reason));
}

void show_route_problems(const struct show_sources *sources, json_t *list)
{
	size_t count = node_routes_problems(sources->routes, PROBLEMS_MAX, add_problem, list);

	if (count > PROBLEMS_MAX)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:o*}", "source", "Nodes", "path", "", "reason",
					json_sprintf("%zu more pod ranges have no route",
						     count - PROBLEMS_MAX)));
}
