/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* On a link's way out: what of it is Polder's own. */
#pragma once

#include "context_tc.h"
#include "maps.h"

/*
 * What Polder redirects has had its verdict. A pod's packet still belongs to the pod's socket, of
 * which the stack deprives all that it forwards; without one the link tells, and the mark: of a pod
 * it says that its program handed the packet to the stack, of what came in elsewhere that Polder
 * sent it on.
 */
static __always_inline bool is_redirected(struct __sk_buff *skb)
{
	if (!skb->ingress_ifindex)
		return false;
	if (likely(skb->sk))
		return true;
	return !pod_of_link(skb->ingress_ifindex) == !!(skb->mark & config.stack_mark);
}
