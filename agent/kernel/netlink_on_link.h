/* SPDX-License-Identifier: Apache-2.0 */
/* What of the address space this network namespace has already on its links. */
#pragma once

#include "agent/kernel/netlink.h"

struct on_link {
	int ifindex;
	struct prefix range; /* of an address: with its host bits */
	bool is_address;
};

/* All addresses, and all routes that need no gateway but default routes; free(). Two dumps. 0 or
 * -errno. */
int netlink_on_link_list(struct netlink *nl, struct on_link **ret, size_t *ret_count);
