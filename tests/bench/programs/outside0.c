/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts before 7: Services serve pods and the node alone. */
#include "bench.h"

#include "layout.h"

const uint8_t layout_peer_mac[6];

void layout_serve_outside(struct world *world, uint32_t id, const char *frontend, uint16_t port,
			  uint16_t backend_port, bool direct)
{
	bench_fail("this commit serves nobody outside");
}

void layout_neighbours_in_use(struct world *world)
{
}
