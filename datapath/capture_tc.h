/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What TC programs do for a capture, at their entry and at each of their exits. `captures` is a
 * constant of each entry program: without it nothing of this is compiled. */
#pragma once

#include "context_tc.h"

#include "capture.h"

static __always_inline void capture_begin(struct __sk_buff *skb, enum drop_hook hook, __u32 flags,
					  const bool captures)
{
	if (captures)
		capture_came(skb, skb->ifindex, skb->len, hook, flags);
}

static __always_inline int capture_passed(struct __sk_buff *skb, struct packet *p, int action,
					  const bool captures)
{
	if (captures)
		capture_left(skb, p, skb->len, action, CAPTURE_OUTCOME(VERDICT_ALLOW, REASON_NONE));
	return action;
}

static __always_inline int capture_refused(struct __sk_buff *skb, struct packet *p, int action,
					   int reason, const bool captures)
{
	if (captures)
		capture_left(skb, p, skb->len, action,
			     CAPTURE_OUTCOME(action == TC_ACT_SHOT ? VERDICT_DROP : VERDICT_REJECT,
					     reason));
	return action;
}

/* What Polder itself sends by the link has been told of where it came in. */
static __always_inline int capture_told(struct __sk_buff *skb, struct packet *p,
					enum drop_hook hook, const bool captures)
{
	capture_begin(skb, hook, CAPTURE_TOLD, captures);
	return capture_passed(skb, p, TC_ACT_OK, captures);
}
