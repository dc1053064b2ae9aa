/* SPDX-License-Identifier: Apache-2.0 */
/* A limit of what a link sends: the kernel's token bucket (tbf) as its root queue. */
#pragma once

#include <stdint.h>

struct netlink;

struct link_limit {
	uint64_t rate;	/* bytes a second; not 0 */
	uint32_t burst; /* bytes that may go at once */
	uint32_t queue; /* bytes that may wait; what is more is dropped */
};

/* In the place of what root queue there is. 0 or -errno; -EOPNOTSUPP, -ENOENT: this kernel has no
 * tbf (CONFIG_NET_SCH_TBF). */
int netlink_limit_set(struct netlink *nl, int ifindex, const struct link_limit *limit);
/* Is it there, as it was set? 0; -ENOENT: not; -errno: not known. */
int netlink_limit_find(struct netlink *nl, int ifindex, const struct link_limit *limit);
