/* SPDX-License-Identifier: Apache-2.0 */
/* What agent/kernel takes of the configuration. */
#include "agent/config/config.h"

#define POD_ADDRESS_BITS_MAX 16

/* An element for each address of the wider pod range, 65,536 at most, for both families. */
static uint32_t pod_addresses(const struct config *config)
{
	uint32_t v4 = config->pod_cidr_v4.length ? 128 - config->pod_cidr_v4.length : 0;
	uint32_t v6 = config->pod_cidr_v6.length ? 128 - config->pod_cidr_v6.length : 0;
	uint32_t bits = v4 > v6 ? v4 : v6;

	return 2u << (bits < POD_ADDRESS_BITS_MAX ? bits : POD_ADDRESS_BITS_MAX);
}

bool config_node_ports_at(const struct config *config, const struct polder_addr *addr)
{
	for (size_t i = 0; i < config->node_port_address_count; i++)
		if (prefix_contains(&config->node_port_addresses[i], addr))
			return true;
	return !config->node_port_address_count;
}

struct map_sizes config_map_sizes(const struct config *config)
{
	return (struct map_sizes){
		.flows_v4 = config->flows_v4,
		.flows_v6 = config->flows_v6,
		.pods = config->max_pods,
		.pod_addresses = pod_addresses(config),
		.addresses = config->max_addresses,
		.policy_entries = config->max_policy_entries,
		.rule_counters = config->max_rule_counters,
		.services = config->max_services,
		.backends = config->max_backends,
		.service_cells = config->max_service_cells,
		.service_sources = config->max_service_sources,
		.service_clients = config->max_service_clients,
		.socket_origins = config->max_socket_origins,
		.fragments = config->max_fragments,
		.events_per_second = config->events_per_second,
		.rejects_per_second = config->rejects_per_second,
	};
}

struct datapath_options config_datapath_options(const struct config *config)
{
	return (struct datapath_options){
		.attach = config->attach,
		.xdp = config->xdp,
		.tunnel = config->tunnel != TUNNEL_NONE,
		.cgroup = config->cgroup,
	};
}
