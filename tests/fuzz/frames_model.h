/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the model. */
#pragma once

#include "frames.h"

#define FLOWS_MAX     4096
#define FRAGMENTS_MAX 256
#define GIVEN_UP_MAX  256
#define MASKS_MAX     512
/* Few, so that they are fought for. */
#define PORT_MIN 40000
#define PORT_MAX 40007

struct known_fragment {
	uint32_t id;
	struct ends ends;
};

/* What the ids of a pod's fragments are changed by towards a peer, where the node translates. As
 * bytes stand in the frame; of IPv4 only the first two count. */
struct known_mask {
	struct polder_addr source, destination;
	uint32_t mask;
};

struct model {
	const struct world *world;
	size_t flow_count, fragment_count;
	struct known_flow flows[FLOWS_MAX];
	struct known_fragment fragments[FRAGMENTS_MAX]; /* the newest ones */
	struct ends given_up[GIVEN_UP_MAX]; /* of SYNs that were dropped: some have opened a flow
					       all the same */
	size_t given_up_count;
	struct known_mask masks[MASKS_MAX];
	size_t mask_count;
};

/* The next flow, from index `*from` on, whose packets come in with these ends. */
struct known_flow *model_find(struct model *model, const struct ends *ends, size_t *from);
bool own_range(const struct polder_addr *address);

/* All of them: NULL, or what is wrong. */

/* Is the frame that left exactly what the flow makes of it? */
bool is_service_echo(const struct view *view);
const char *check_echo(const struct probe *probe, const struct view *view,
		       const struct world_result *result);
const char *flow_explains(struct model *model, const struct probe *probe, const struct view *view,
			  const struct known_flow *flow, const struct world_result *result);
const char *check_flow(struct model *model, const struct probe *probe, const struct view *view,
		       const struct world_result *result);
const char *check_icmp_error(struct model *model, const struct probe *probe,
			     const struct view *view, const struct world_result *result);
/* The opener, as it came in, of a flow that no frame has shown: it did not leave. May a packet with
 * the ends `in` be an answer? NULL: no. */
const struct ends *given_up_answered(const struct model *model, const struct ends *in);
bool opened_in_vain(const struct model *model, const struct ends *in);
/* RST or ICMP to who sent it. */
const char *check_refusal(const struct probe *probe, const struct view *view,
			  const struct world_result *result);
/* ARP and neighbour discovery of a pod. */
const char *check_neighbour(const struct model *model, const struct probe *probe,
			    const struct view *view, const struct world_result *result);
