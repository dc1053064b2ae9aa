/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each flow has sent since it was looked at last, from walks over the flow table, which has
 * sums. Bounded: flows that find no room are counted, not followed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/kernel/flows.h"

#define FLOW_BYTES_FLOWS 32768

struct flow_bytes;
struct flow_bytes *flow_bytes_new(size_t most_flows); /* NULL: no memory */
void flow_bytes_free(struct flow_bytes *bytes);	      /* takes NULL */

/*
 * One entry of the present walk: bytes that are new since the last walk. Of the first walk's flows
 * nobody knows when they sent; a flow that came later has sent all it has.
 */
uint64_t flow_bytes_of(struct flow_bytes *bytes, const struct flow_record *record);
/* The walk has ended: flows that it did not find are forgotten. */
void flow_bytes_walked(struct flow_bytes *bytes);
uint64_t flow_bytes_left_out(const struct flow_bytes *bytes); /* for want of room, each time */
