/* SPDX-License-Identifier: Apache-2.0 */
#include "flow_room.h"

void with_table(uint32_t sets, void (*run)(void))
{
	in_world_of(&(struct world_options){.outer_namespace = true,
					    .flow4_sets = sets,
					    .flow6_sets = sets},
		    run);
}

int connection(int from, int to, enum suite_version v, uint16_t sport)
{
	struct frame_spec spec = spec_of_segment(from, v, pod_text[to][v], sport, 80, TCP_SYN_FLAG),
			  back;
	struct world_result r = send_of_pod(from, &spec), answer;

	if (r.verdict != TC_ACT_REDIRECT)
		return r.reason;
	back = spec_of_answer(to, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
	answer = send_of_pod(to, &back);
	CU_ASSERT(forwarded(&answer));
	spec.tcp_flags = TCP_ACK_FLAG;
	r = send_of_pod(from, &spec);
	CU_ASSERT(forwarded(&r));
	return 0;
}

void set_share(uint32_t share)
{
	world->control.flow_share[0] = world->control.flow_share[1] = share;
	world_move_generation(world, 2);
}
