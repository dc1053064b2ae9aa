/* SPDX-License-Identifier: Apache-2.0 */
/* Layout 3: rule sets stand in slots of an array, their cells in tables of another. */
#include "layout.h"

#include <netinet/in.h>

#define ANY_PORT 48 /* prefixlen: of one protocol */

static void allow(struct world *world, uint32_t ruleset, uint32_t peer_identity)
{
	uint32_t class = 1;
	struct ruleset_entry set = {.number = ruleset,
				    .cell_first = 4 * ruleset,
				    .cell_count = 2,
				    .port_classes = 2,
				    .flags = RULESET_HAS_PREFIXES | RULESET_HAS_PORTS |
					     RULESET_ISOLATES};
	struct ruleset_peer_key peer = {.ruleset = ruleset, .identity = peer_identity};
	struct ruleset_peer peer_class = {.peer_class = {1, 1}};
	struct ruleset_port_key ports = {
		.prefixlen = ANY_PORT, .ruleset = ruleset, .proto = IPPROTO_TCP};
	uint32_t at = 4 * ruleset + 1; /* peer class 1, port class 1 */
	struct ruleset_cell cell = {.rule[STEP_REST] = 1, .verdict[STEP_REST] = CELL_ALLOW};

	world_set(world, "rulesets", &ruleset, &set);
	world_set(world, "ruleset_peers", &peer, &peer_class);
	world_set(world, "ruleset_ports", &ports, &class);
	world_set(world, "ruleset_tables", &at, &cell);
}

void layout_isolate(struct world *world)
{
	uint32_t egress = RULESET_FIRST, ingress = RULESET_FIRST + 1;

	allow(world, egress, IDENTITY_FIRST_POD + 1);
	allow(world, ingress, IDENTITY_FIRST_POD);
	world_set_rules(world, 0, egress, RULESET_OPEN);
	world_set_rules(world, 1, RULESET_OPEN, ingress);
}
