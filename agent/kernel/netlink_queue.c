/* SPDX-License-Identifier: Apache-2.0 */
/* Queueing disciplines that somebody has given to links. */
#include "agent/kernel/netlink.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

struct queue_search {
	netlink_queue_visitor visit;
	void *data;
};

/* What a virtual link has by itself is none, or noqueue; clsact holds programs, no packets. */
static int look_at(const struct nlmsghdr *header, void *data)
{
	const struct tcmsg *message = mnl_nlmsg_get_payload(header);
	const struct queue_search *search = data;
	const struct nlattr *attr;

	if (header->nlmsg_type != RTM_NEWQDISC ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		const char *kind = mnl_attr_get_payload(attr);

		if (mnl_attr_get_type(attr) != TCA_KIND ||
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
			continue;
		if ((message->tcm_parent == TC_H_ROOT && strcmp(kind, "noqueue") != 0 &&
		     TC_H_MAJ(message->tcm_handle) >> 16 != NETLINK_LIMIT_MAJOR) ||
		    strcmp(kind, "ingress") == 0)
			search->visit(message->tcm_ifindex, kind, search->data);
	}
	return 0;
}

/* A list that is read again tells of links twice. */
static void begin_again(void *data)
{
	(void)data;
}

int netlink_queue_list(struct netlink *nl, int ifindex, netlink_queue_visitor visit, void *data)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETQDISC, NLM_F_DUMP);
	struct tcmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct queue_search search = {visit, data};

	message->tcm_family = AF_UNSPEC;
	message->tcm_ifindex = ifindex;
	return netlink_dump(nl, header, look_at, begin_again, &search);
}
