/* SPDX-License-Identifier: Apache-2.0 */
/* What the pinned maps are made for. config_map_sizes() takes it from the configuration. */
#pragma once

#include <stdint.h>

/* Entries, not elements of a map. Those of flows, pods and fragments are rounded up to a power of
 * two. */
struct map_sizes {
	uint32_t flows_v4, flows_v6;
	uint32_t pods;
	uint32_t pod_addresses; /* of local pods in the array that is asked first */
	uint32_t addresses;
	uint32_t policy_entries; /* of each policy map */
	uint32_t rule_counters;	 /* rules */
	uint32_t services, backends;
	uint32_t service_cells, service_sources, service_clients;
	uint32_t socket_origins;
	uint32_t fragments;
	uint32_t events_per_second;  /* of each CPU; 0: no limit */
	uint32_t rejects_per_second; /* of each link; 0: no limit */
};
