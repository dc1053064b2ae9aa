/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_limit.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* The handle by which our queue is known from that of others. */
#define LIMIT_HANDLE TC_H_MAKE(NETLINK_LIMIT_MAJOR << 16, 0)

static struct tcmsg *put_root(struct nlmsghdr *header, int ifindex)
{
	struct tcmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->tcm_family = AF_UNSPEC;
	message->tcm_ifindex = ifindex;
	message->tcm_parent = TC_H_ROOT;
	message->tcm_handle = LIMIT_HANDLE;
	return message;
}

/* With the link layer named the kernel needs no table of what each length costs, and by the burst
 * in bytes no conversion into its own ticks. */
static void put_options(struct nlmsghdr *header, const struct link_limit *limit)
{
	struct tc_tbf_qopt options = {
		.rate = {.linklayer = TC_LINKLAYER_ETHERNET,
			 .rate = limit->rate > UINT32_MAX ? UINT32_MAX : (uint32_t)limit->rate},
		.limit = limit->queue,
		.buffer = 1,
	};
	struct nlattr *nest = mnl_attr_nest_start(header, TCA_OPTIONS);

	mnl_attr_put(header, TCA_TBF_PARMS, sizeof(options), &options);
	mnl_attr_put_u64(header, TCA_TBF_RATE64, limit->rate);
	mnl_attr_put_u32(header, TCA_TBF_BURST, limit->burst);
	mnl_attr_nest_end(header, nest);
}

int netlink_limit_set(struct netlink *nl, int ifindex, const struct link_limit *limit)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);

	put_root(header, ifindex);
	mnl_attr_put_strz(header, TCA_KIND, "tbf");
	put_options(header, limit);
	return netlink_talk(nl, header, NULL, NULL);
}

struct search {
	const struct link_limit *limit;
	int ifindex;
	bool found;
};

static bool is_as_set(const struct nlattr *nest, const struct link_limit *limit)
{
	const struct tc_tbf_qopt *options = NULL;
	uint64_t rate = 0;
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == TCA_TBF_PARMS &&
		    mnl_attr_get_payload_len(attr) >= sizeof(*options))
			options = mnl_attr_get_payload(attr);
		if (mnl_attr_get_type(attr) == TCA_TBF_RATE64 &&
		    mnl_attr_validate(attr, MNL_TYPE_U64) == 0)
			rate = mnl_attr_get_u64(attr);
	}
	if (!options)
		return false;
	/* The kernel tells of rates that have no room in 32 bits only in the long form. */
	return options->limit == limit->queue && (rate ? rate : options->rate.rate) == limit->rate;
}

static int look_at(const struct nlmsghdr *header, void *data)
{
	const struct tcmsg *message = mnl_nlmsg_get_payload(header);
	struct search *search = data;
	const struct nlattr *attr, *options = NULL;
	bool tbf = false;

	if (header->nlmsg_type != RTM_NEWQDISC ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message) ||
	    message->tcm_ifindex != search->ifindex || message->tcm_parent != TC_H_ROOT ||
	    message->tcm_handle != LIMIT_HANDLE)
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			tbf = strcmp(mnl_attr_get_str(attr), "tbf") == 0;
		if (mnl_attr_get_type(attr) == TCA_OPTIONS)
			options = attr;
	}
	search->found |= tbf && options && is_as_set(options, search->limit);
	return 0;
}

static void begin_again(void *data)
{
	struct search *search = data;

	search->found = false;
}

int netlink_limit_find(struct netlink *nl, int ifindex, const struct link_limit *limit)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETQDISC, NLM_F_DUMP);
	struct tcmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct search search = {.limit = limit, .ifindex = ifindex};
	int r;

	message->tcm_family = AF_UNSPEC;
	message->tcm_ifindex = ifindex;
	r = netlink_dump(nl, header, look_at, begin_again, &search);
	return r < 0 ? r : search.found ? 0 : -ENOENT;
}
