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

static uint32_t at_most(uint32_t n, uint32_t limit)
{
	return n < limit ? n : limit;
}

/* An element for each address of the wider pod range, 65,536 at most, for both families. */
static uint32_t local_pods_size(const struct config *c)
{
	uint32_t v4 = c->pod_cidr_v4.length ? 128 - c->pod_cidr_v4.length : 0;
	uint32_t v6 = c->pod_cidr_v6.length ? 128 - c->pod_cidr_v6.length : 0;

	return 2u << at_most(v4 > v6 ? v4 : v6, 16);
}

/* Elements that the configuration asks for; 0: it says nothing of the map. */
static uint32_t configured_size(const struct config *c, enum map_index index)
{
	switch (index) {
	case MAP_FLOWS4:
	case MAP_FLOW_TAGS4:
	case MAP_FLOW_RULES4:
		return power_of_two(c->flows_v4) / FLOW_WAYS;
	case MAP_FLOWS6:
	case MAP_FLOW_TAGS6:
	case MAP_FLOW_RULES6:
		return power_of_two(c->flows_v6) / FLOW_WAYS;
	case MAP_FLOW_USAGE:
		return power_of_two(c->max_pods) + 1;
	case MAP_PODS:
		return power_of_two(c->max_pods);
	case MAP_ADDRESSES:
		return c->max_addresses;
	case MAP_LOCAL_PODS:
		return local_pods_size(c);
	case MAP_RULESETS: /* both directions, old and new sets side by side */
		return RULESET_FIRST + 4 * power_of_two(c->max_pods);
	case MAP_RULESET_PEERS:
	case MAP_RULESET_PREFIXES:
	case MAP_RULESET_PORTS:
	case MAP_RULESET_CELLS:
	case MAP_RULESET_TABLES:
		return c->max_policy_entries;
	case MAP_RULE_COUNTERS: /* one of the programs, one of the agent */
		return 2 * c->max_rule_counters;
	case MAP_SERVICES:
		return c->max_services;
	case MAP_BACKENDS:
	case MAP_BACKEND_STATES:
		return c->max_backends;
	case MAP_SOCKET_ORIGINS:
		return c->max_socket_origins;
	case MAP_FRAGMENTS:
		return power_of_two(c->max_fragments) / FRAGMENT_WAYS;
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

int maps_shapes(const struct config *config, struct map_shape ret_shapes[MAP_COUNT], char *message,
		size_t size)
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
			ret_shapes[i] = shape_of(map, names[i], configured_size(config, i));
			continue;
		}
		r = -ENOENT;
		snprintf(message, size, "map %s: the programs of this build do not define it",
			 names[i]);
	}
	bpf_object__close(object);
	return r;
}
