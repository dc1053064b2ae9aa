/* SPDX-License-Identifier: Apache-2.0 */
/* clsact: direct-action programs for each direction of a link. */
#include "agent/kernel/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

#define FILTER_HANDLE 1
/* Stands before the program's name, so that our filter is known from others under the same handle.
 */
#define FILTER_NAME_PREFIX "polder:"
#define CLSACT_HANDLE	   TC_H_MAKE(TC_H_CLSACT, 0)

struct filter {
	uint32_t priority; /* the one looked for */
	bool found;	   /* something stands at this priority and our handle */
	bool ours;
	uint32_t prog_id;
	size_t count; /* filters of the direction in all */
	size_t own;   /* those of them that are ours */
};

static uint32_t position_priority(enum clsact_position position)
{
	return position == CLSACT_FIRST ? 1 : 2;
}

static uint32_t direction_parent(bool egress)
{
	return TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
}

static struct tcmsg *put_tc(struct nlmsghdr *header, int ifindex, uint32_t parent, uint32_t handle)
{
	struct tcmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->tcm_family = AF_UNSPEC;
	message->tcm_ifindex = ifindex;
	message->tcm_parent = parent;
	message->tcm_handle = handle;
	return message;
}

/* ------------------------------------------------------------ what is there */

struct filter_options {
	bool ours;
	uint32_t prog_id;
};

static void decode_options(const struct nlattr *nest, struct filter_options *ret)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		switch (mnl_attr_get_type(attr)) {
		case TCA_BPF_NAME:
			if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
				ret->ours = strncmp(mnl_attr_get_str(attr), FILTER_NAME_PREFIX,
						    strlen(FILTER_NAME_PREFIX)) == 0;
			break;
		case TCA_BPF_ID:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
				ret->prog_id = mnl_attr_get_u32(attr);
			break;
		default:
			break;
		}
	}
}

static int keep_filter(const struct nlmsghdr *header, void *data)
{
	const struct tcmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *options = NULL;
	struct filter_options decoded = {};
	struct filter *filter = data;
	bool bpf = false;

	if (header->nlmsg_type != RTM_NEWTFILTER ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	/* A priority's first message has handle 0 and stands for no filter. */
	if (message->tcm_handle == 0)
		return 0;
	filter->count++;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			bpf = strcmp(mnl_attr_get_str(attr), "bpf") == 0;
		if (mnl_attr_get_type(attr) == TCA_OPTIONS)
			options = attr;
	}
	if (bpf && options)
		decode_options(options, &decoded);
	filter->own += decoded.ours;
	if (TC_H_MAJ(message->tcm_info) >> 16 != filter->priority ||
	    message->tcm_handle != FILTER_HANDLE)
		return 0;
	filter->found = true;
	filter->ours = decoded.ours;
	filter->prog_id = decoded.prog_id;
	return 0;
}

static void forget_filter(void *data)
{
	struct filter *filter = data;

	*filter = (struct filter){.priority = filter->priority};
}

/* No qdisc: no filter. */
static int read_filter(struct netlink *nl, int ifindex, bool egress, enum clsact_position position,
		       struct filter *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETTFILTER, NLM_F_DUMP);
	struct filter filter = {.priority = position_priority(position)};
	int r;

	put_tc(header, ifindex, direction_parent(egress), 0);
	r = netlink_dump(nl, header, keep_filter, forget_filter, &filter);
	if (r < 0 && r != -EINVAL && r != -ENOENT)
		return r;
	*ret = filter;
	return 0;
}

struct filter_list {
	struct clsact_filter *items;
	size_t size, count;
};

static int list_filter(const struct nlmsghdr *header, void *data)
{
	const struct tcmsg *message = mnl_nlmsg_get_payload(header);
	struct clsact_filter filter = {};
	struct filter_options decoded = {};
	const struct nlattr *attr, *options = NULL;
	struct filter_list *list = data;

	if (header->nlmsg_type != RTM_NEWTFILTER ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message) || message->tcm_handle == 0 ||
	    list->count == list->size)
		return 0;
	filter.priority = TC_H_MAJ(message->tcm_info) >> 16;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			snprintf(filter.kind, sizeof(filter.kind), "%s", mnl_attr_get_str(attr));
		if (mnl_attr_get_type(attr) == TCA_OPTIONS)
			options = attr;
	}
	if (strcmp(filter.kind, "bpf") == 0 && options)
		decode_options(options, &decoded);
	filter.prog_id = decoded.prog_id;
	filter.ours = decoded.ours;
	list->items[list->count++] = filter;
	return 0;
}

static void forget_list(void *data)
{
	((struct filter_list *)data)->count = 0;
}

int netlink_clsact_list(struct netlink *nl, int ifindex, bool egress, struct clsact_filter *ret,
			size_t size, size_t *ret_count)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETTFILTER, NLM_F_DUMP);
	struct filter_list list = {.items = ret, .size = size};
	int r;

	put_tc(header, ifindex, direction_parent(egress), 0);
	r = netlink_dump(nl, header, list_filter, forget_list, &list);
	if (r < 0 && r != -EINVAL && r != -ENOENT)
		return r;
	*ret_count = list.count;
	return 0;
}

/* --------------------------------------------------------------- the qdisc */

static bool qdisc_is_foreign(const struct netlink *nl, int ifindex)
{
	for (size_t i = 0; i < nl->foreign_qdisc_count; i++)
		if (nl->foreign_qdiscs[i] == ifindex)
			return true;
	return false;
}

static int remember_foreign(struct netlink *nl, int ifindex)
{
	int *list;

	if (qdisc_is_foreign(nl, ifindex))
		return 0;
	list = reallocarray(nl->foreign_qdiscs, nl->foreign_qdisc_count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	nl->foreign_qdiscs = list;
	nl->foreign_qdiscs[nl->foreign_qdisc_count++] = ifindex;
	return 0;
}

static void drop_foreign(struct netlink *nl, int ifindex)
{
	for (size_t i = 0; i < nl->foreign_qdisc_count; i++)
		if (nl->foreign_qdiscs[i] == ifindex)
			nl->foreign_qdiscs[i--] = nl->foreign_qdiscs[--nl->foreign_qdisc_count];
}

static int keep_kind(const struct nlmsghdr *header, void *data)
{
	const struct tcmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;

	if (header->nlmsg_type != RTM_NEWQDISC ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
		    message->tcm_parent == TC_H_CLSACT)
			*(bool *)data = strcmp(mnl_attr_get_str(attr), "clsact") == 0;
	}
	return 0;
}

/* Another kind of qdisc (ingress) in the same place is -EEXIST. Without NLM_F_ECHO the kernel tells
 * listeners only. */
static int check_kind(struct netlink *nl, int ifindex)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETQDISC, NLM_F_ECHO);
	bool clsact = false;
	int r;

	put_tc(header, ifindex, TC_H_CLSACT, CLSACT_HANDLE);
	r = netlink_talk(nl, header, keep_kind, &clsact);
	if (r < 0)
		return r;
	if (!clsact)
		netlink_set_error(nl, "the link's ingress has another qdisc than clsact");
	return clsact ? 0 : -EEXIST;
}

/* A qdisc without any filter of ours that is there before us is somebody else's: it stays when we
 * go. */
static int record_foreign(struct netlink *nl, int ifindex)
{
	struct filter in, out;
	int r;

	r = read_filter(nl, ifindex, false, CLSACT_FIRST, &in);
	if (r == 0)
		r = read_filter(nl, ifindex, true, CLSACT_FIRST, &out);
	if (r == 0 && !in.own && !out.own)
		r = remember_foreign(nl, ifindex);
	return r;
}

static int ensure_clsact(struct netlink *nl, int ifindex)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
	int r;

	put_tc(header, ifindex, TC_H_CLSACT, CLSACT_HANDLE);
	mnl_attr_put_strz(header, TCA_KIND, "clsact");
	r = netlink_talk(nl, header, NULL, NULL);
	if (r == 0)
		drop_foreign(nl, ifindex);
	if (r != -EEXIST)
		return r;
	r = check_kind(nl, ifindex);
	return r < 0 ? r : record_foreign(nl, ifindex);
}

static int remove_clsact(struct netlink *nl, int ifindex)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_DELQDISC, 0);
	int r;

	put_tc(header, ifindex, TC_H_CLSACT, CLSACT_HANDLE);
	r = netlink_talk(nl, header, NULL, NULL);
	return r == -ENOENT || r == -EINVAL || r == -ENODEV ? 0 : r;
}

/* -------------------------------------------------------------- operations */

int netlink_clsact_attach(struct netlink *nl, int ifindex, bool egress,
			  enum clsact_position position, int prog_fd, const char *name)
{
	char full[64];
	struct nlmsghdr *header;
	struct nlattr *options;
	struct filter filter;
	struct tcmsg *message;
	int r;

	r = ensure_clsact(nl, ifindex);
	if (r == 0)
		r = read_filter(nl, ifindex, egress, position, &filter);
	if (r < 0)
		return r;
	if (filter.found && !filter.ours) {
		netlink_set_error(nl, "a filter that is not Polder's has priority %u, handle %d",
				  filter.priority, FILTER_HANDLE);
		return -EEXIST;
	}
	snprintf(full, sizeof(full), FILTER_NAME_PREFIX "%s", name);
	header = netlink_begin(nl, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE);
	message = put_tc(header, ifindex, direction_parent(egress), FILTER_HANDLE);
	message->tcm_info = TC_H_MAKE(filter.priority << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(header, TCA_KIND, "bpf");
	options = mnl_attr_nest_start(header, TCA_OPTIONS);
	mnl_attr_put_u32(header, TCA_BPF_FD, prog_fd);
	mnl_attr_put_strz(header, TCA_BPF_NAME, full);
	mnl_attr_put_u32(header, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_nest_end(header, options);
	return netlink_talk(nl, header, NULL, NULL);
}

static int delete_filter(struct netlink *nl, int ifindex, bool egress, uint32_t priority)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_DELTFILTER, 0);
	struct tcmsg *message = put_tc(header, ifindex, direction_parent(egress), FILTER_HANDLE);
	int r;

	message->tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(header, TCA_KIND, "bpf");
	r = netlink_talk(nl, header, NULL, NULL);
	return r == -ENOENT || r == -EINVAL || r == -ENODEV ? 0 : r;
}

int netlink_clsact_detach(struct netlink *nl, int ifindex, bool egress,
			  enum clsact_position position)
{
	struct filter filter, other;
	int r;

	r = read_filter(nl, ifindex, egress, position, &filter);
	if (r == -ENODEV)
		return 0;
	if (r < 0 || !filter.ours)
		return r;
	r = delete_filter(nl, ifindex, egress, filter.priority);
	if (r == 0)
		r = read_filter(nl, ifindex, !egress, position, &other);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	/* Only what we would leave empty goes. */
	if (filter.count > 1 || other.count > 0 || qdisc_is_foreign(nl, ifindex))
		return 0;
	return remove_clsact(nl, ifindex);
}

int netlink_clsact_query(struct netlink *nl, int ifindex, bool egress,
			 enum clsact_position position, uint32_t *ret_prog_id)
{
	struct filter filter;
	int r;

	r = read_filter(nl, ifindex, egress, position, &filter);
	if (r < 0)
		return r;
	*ret_prog_id = filter.ours ? filter.prog_id : 0;
	return 0;
}
