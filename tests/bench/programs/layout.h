/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases need and tests/bpf/world.h does not give: implemented for each layout of the maps.
 */
#pragma once

#include "tests/bpf/world.h"

/*
 * Isolates the first pod in egress and the second in ingress, and allows TCP from the one to the
 * other: by an identity, a protocol and a cell on each side, beside prefixes that do not match.
 */
void layout_isolate(struct world *world);

/*
 * Another node on the uplink's network, whose pod serves the frontend at `port`: `direct`, with the
 * client's address. The node's address as frontend means a node port. Aborts where the layout has
 * no such Services.
 */
void layout_serve_outside(struct world *world, uint32_t id, const char *frontend, uint16_t port,
			  uint16_t backend_port, bool direct);
extern const uint8_t layout_peer_mac[6];
#define LAYOUT_PEER_POD "10.4.0.5"
#define LAYOUT_NODE	"192.168.7.1"

/* The kernel has just sent to all neighbours: XDP may. The tick does not end for a while. */
void layout_neighbours_in_use(struct world *world);
