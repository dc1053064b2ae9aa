/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Included first by TC programs: the context that functions which are shared with other hooks take.
 */
#pragma once

#include "common.h"

typedef struct __sk_buff packet_context;

/* Is a new flow's next hop asked for with its first packet? The kernel finds the neighbour. */
#define PACKET_FINDS_NEXT_HOP false
/* Does what is refused end here? Then it counts for the rules that were asked, and its flow may
 * end. */
#define PACKET_ENDS_REFUSED true

/* Bytes of the frame. 0 or -errno: they are not there. */
static __always_inline int packet_load(packet_context *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes(ctx, offset, to, length);
}
