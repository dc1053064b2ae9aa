/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's maps, small and without pins, for tests of what is written to them. They need root.
 */
#pragma once

#include "agent/config/config.h"
#include "agent/kernel/maps.h"
#include "tests/unit/unit.h"

/* The smallest flow tables, 64 pods, and `room` entries of everything else. */
static inline struct config small_config(uint32_t room)
{
	return (struct config){
		.node_name = "here",
		.flows_v4 = 64,
		.flows_v6 = 64,
		.max_pods = 64,
		.max_fragments = room,
		.max_socket_origins = room,
		.max_rule_counters = room,
		.max_services = room,
		.max_backends = room,
		.max_service_cells = room,
		.max_service_clients = room,
		.maglev_table_size = 13,
		.max_addresses = room,
		.max_policy_entries = room,
	};
}

/* Of the sizes that the configuration gives; maps_close() ends them. `directory`: of their pins,
 * NULL: none. */
static inline struct maps *small_maps(const struct config *config, const char *directory)
{
	char message[512] = "";
	struct maps *maps = NULL;

	if (maps_open(config_map_sizes(config), directory, &maps, message, sizeof(message)) < 0)
		fprintf(stderr, "%s\n", message);
	CU_ASSERT_FATAL(maps != NULL);
	return maps;
}
