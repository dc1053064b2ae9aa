/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Included first by XDP programs: the context that functions which are shared with other hooks
 * take. */
#pragma once

#include "common.h"

typedef struct xdp_md packet_context;

/* Is a new flow's next hop asked for with its first packet? Nobody else finds it. */
#define PACKET_FINDS_NEXT_HOP true
/* Does what is refused end here? TC gets it, evaluates it again, and says what becomes of it. */
#define PACKET_ENDS_REFUSED false

/* Bytes of the frame. 0 or -errno: they are not there. */
static __always_inline int packet_load(packet_context *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(ctx, offset, to, length);
}
