/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the maps look like. Types, keys, values and flags are those of datapath/maps.h: the
 * programs' objects have them. So are the sizes that do not depend on the configuration.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/kernel/maps_internal.h"
#include "agent/kernel/program_object.h"

static const char *const names[MAP_COUNT] = {
	[MAP_CONTROL] = "control",
	[MAP_FLOWS4] = "flows4",
	[MAP_FLOWS6] = "flows6",
	[MAP_FLOW_TAGS4] = "flow_tags4",
	[MAP_FLOW_TAGS6] = "flow_tags6",
	[MAP_FLOW_USAGE] = "flow_usage",
	[MAP_NEXT_HOPS] = "next_hops",
	[MAP_PEERS] = "peers",
	[MAP_TUNNEL_ENDS] = "tunnel_ends",
	[MAP_EGRESS_ROUTES] = "egress_routes",
	[MAP_THIS_NODE] = "this_node",
	[MAP_NAT_FULL] = "nat_full",
	[MAP_PODS] = "pods",
	[MAP_ADDRESSES] = "addresses",
	[MAP_LOCAL_PODS] = "local_pods",
	[MAP_RULESETS] = "rulesets",
	[MAP_RULESET_PEERS] = "ruleset_peers",
	[MAP_RULESET_PREFIXES] = "ruleset_prefixes",
	[MAP_RULESET_PORTS] = "ruleset_ports",
	[MAP_RULESET_CELLS] = "ruleset_cells",
	[MAP_RULESET_TABLES] = "ruleset_tables",
	[MAP_RULE_COUNTERS] = "rule_counters",
	[MAP_FLOW_RULES4] = "flow_rules4",
	[MAP_FLOW_RULES6] = "flow_rules6",
	[MAP_SERVICES] = "services",
	[MAP_BACKENDS] = "backends",
	[MAP_BACKEND_STATES] = "backend_states",
	[MAP_SERVICE_TABLES] = "service_tables",
	[MAP_SERVICE_SOURCES] = "service_sources",
	[MAP_SERVICE_AFFINITY] = "service_affinity",
	[MAP_HOST_ENDPOINTS] = "host_endpoints",
	[MAP_ANNOUNCED] = "announced",
	[MAP_SOCKET_PEERS] = "socket_peers",
	[MAP_SOCKET_ORIGINS] = "socket_origins",
	[MAP_FRAGMENTS] = "fragments",
	[MAP_DROPS] = "drops",
	[MAP_COUNTERS] = "counters",
	[MAP_EVENTS] = "events",
	[MAP_EVENT_BUDGETS] = "event_budgets",
};

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n && p < 1u << 30)
		p <<= 1;
	return p;
}

/* Elements that are asked for; 0: the programs' object has the size. */
static uint32_t wanted_size(const struct map_sizes *s, enum map_index index)
{
	switch (index) {
	case MAP_FLOWS4:
	case MAP_FLOW_TAGS4:
	case MAP_FLOW_RULES4:
		return power_of_two(s->flows_v4) / FLOW_WAYS;
	case MAP_FLOWS6:
	case MAP_FLOW_TAGS6:
	case MAP_FLOW_RULES6:
		return power_of_two(s->flows_v6) / FLOW_WAYS;
	case MAP_FLOW_USAGE:
		return power_of_two(s->pods) + 1;
	case MAP_PODS:
		return power_of_two(s->pods);
	case MAP_ADDRESSES:
		return s->addresses;
	case MAP_LOCAL_PODS:
		return s->pod_addresses;
	case MAP_RULESETS: /* both directions, old and new sets side by side */
		return RULESET_FIRST + 4 * power_of_two(s->pods);
	case MAP_RULESET_PEERS:
	case MAP_RULESET_PREFIXES:
	case MAP_RULESET_PORTS:
	case MAP_RULESET_CELLS:
	case MAP_RULESET_TABLES:
		return s->policy_entries;
	case MAP_RULE_COUNTERS: /* one of the programs, one of the agent */
		return 2 * s->rule_counters;
	case MAP_SERVICES:
		return s->services;
	case MAP_BACKENDS:
	case MAP_BACKEND_STATES:
		return s->backends;
	case MAP_SERVICE_TABLES:
		return (s->service_cells + SERVICE_CELLS - 1) / SERVICE_CELLS;
	case MAP_SERVICE_SOURCES:
		return s->service_sources;
	case MAP_SERVICE_AFFINITY:
		return s->service_clients;
	case MAP_SOCKET_PEERS:
	case MAP_SOCKET_ORIGINS:
		return s->socket_origins;
	case MAP_FRAGMENTS:
		return power_of_two(s->fragments) / FRAGMENT_WAYS;
	default:
		return 0;
	}
}

static struct map_shape shape_of(const struct bpf_map *map, const char *name, uint32_t size)
{
	return (struct map_shape){
		.name = name,
		.type = bpf_map__type(map),
		.key_size = bpf_map__key_size(map),
		.value_size = bpf_map__value_size(map),
		.max_entries = size ? size : bpf_map__max_entries(map),
		.flags = bpf_map__map_flags(map),
	};
}

int maps_shapes(const struct map_sizes *sizes, struct map_shape ret_shapes[MAP_COUNT],
		char *message, size_t size)
{
	struct bpf_object *object;
	/* All objects have all shared maps; this one is small, and opened in 0.1 ms. */
	int r = program_object_open(DATAPATH_CLOSED, &object);

	if (r < 0) {
		snprintf(message, size, "program closed: its object cannot be read: %s",
			 strerror(-r));
		return r;
	}
	for (int i = 0; i < MAP_COUNT && r == 0; i++) {
		const struct bpf_map *map = bpf_object__find_map_by_name(object, names[i]);

		if (map) {
			ret_shapes[i] = shape_of(map, names[i], wanted_size(sizes, i));
			continue;
		}
		r = -ENOENT;
		snprintf(message, size, "map %s: the programs of this build do not define it",
			 names[i]);
	}
	bpf_object__close(object);
	return r;
}
