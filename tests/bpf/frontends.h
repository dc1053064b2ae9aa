/* SPDX-License-Identifier: Apache-2.0 */
/* Services' frontends for the tests of the programs: an external address, a node port, and who
 * answers. */
#pragma once

#include "tests/bpf/peers.h"

#define TUNNEL_MTU 1450
#define NODE_PORT  30080

extern const char *const external[2]; /* an external address of a Service */
extern const char *const any[2];      /* the address that node ports stand under */
extern const char *const client[2];   /* the outside, behind the router */

/* One endpoint at port 8080, for external[v]:80. */
struct world_frontend frontend_of(enum suite_version v, uint8_t proto, uint32_t flags,
				  const char *endpoint);
/* The same as a node port. */
struct world_frontend node_port_of(enum suite_version v, uint8_t proto, uint32_t flags,
				   const char *endpoint);

/* From the client to the frontend: what the endpoint sees; asserts that it is forwarded. */
struct world_result ask(const struct frame_spec *spec);

/* Is what was seen from an address of this node, with a port that was chosen, to there? */
bool seen_from_node(const struct world_result *result, enum suite_version v, const char *to,
		    uint16_t dport);
