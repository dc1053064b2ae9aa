/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_rules_of_others.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* As the kernel tells it. */
struct rule {
	bool v4, inverted, ours, has_link, is_l3mdev;
	uint8_t action;
	struct prefix source;
	uint32_t priority, table, mark, mask;
	struct fib_rule_uid_range uids;
};

struct search {
	const struct prefix *ranges;
	size_t range_count;
	struct passed_rules found, before; /* before: of the other family */
};

static void decode_attribute(const struct nlattr *attr, struct rule *rule)
{
	uint16_t type = mnl_attr_get_type(attr), length = mnl_attr_get_payload_len(attr);

	if (type == FRA_SRC)
		(void)netlink_get_addr(attr, &rule->source.addr);
	else if (type == FRA_IIFNAME || type == FRA_OIFNAME)
		rule->has_link = true;
	else if (type == FRA_PROTOCOL && length == 1)
		rule->ours = mnl_attr_get_u8(attr) == NETLINK_ROUTE_PROTOCOL;
	else if (type == FRA_L3MDEV && length == 1)
		rule->is_l3mdev = mnl_attr_get_u8(attr);
	else if (type == FRA_UID_RANGE && length == sizeof(rule->uids))
		memcpy(&rule->uids, mnl_attr_get_payload(attr), sizeof(rule->uids));
	else if (length != 4)
		return;
	else if (type == FRA_PRIORITY)
		rule->priority = mnl_attr_get_u32(attr);
	else if (type == FRA_TABLE)
		rule->table = mnl_attr_get_u32(attr);
	else if (type == FRA_FWMARK)
		rule->mark = mnl_attr_get_u32(attr);
	else if (type == FRA_FWMASK)
		rule->mask = mnl_attr_get_u32(attr);
}

static struct rule decode(const struct nlmsghdr *header)
{
	const struct fib_rule_hdr *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;
	struct rule rule = {.v4 = message->family == AF_INET,
			    .inverted = message->flags & FIB_RULE_INVERT,
			    .action = message->action,
			    .table = message->table};

	mnl_attr_for_each(attr, header, sizeof(*message)) decode_attribute(attr, &rule);
	if (message->src_len)
		rule.source.length =
			(uint8_t)(message->src_len + (rule.v4 ? POLDER_V4_MAPPED_BITS : 0));
	return rule;
}

static bool meets(const struct prefix *a, const struct prefix *b)
{
	const struct prefix *wide = a->length < b->length ? a : b, *narrow = wide == a ? b : a;

	return prefix_covers(wide, &narrow->addr, narrow->length);
}

static bool is_from_pods(const struct search *search, const struct rule *rule)
{
	for (size_t i = 0; i < search->range_count; i++)
		if (prefix_is_v4(&search->ranges[i]) == rule->v4 &&
		    (!rule->source.length || meets(&search->ranges[i], &rule->source)))
			return true;
	return false;
}

/*
 * What is forwarded from a pod's link has no mark, the user 0 and no link that it is bound to. A
 * rule that holds for what its selectors leave out is taken for one that holds unless it names the
 * pods alone.
 */
static bool selects_pods(const struct search *search, const struct rule *rule)
{
	bool selects = is_from_pods(search, rule);

	if (rule->inverted)
		return rule->mark || rule->has_link || rule->source.length;
	return selects && !rule->has_link && !rule->mark && rule->uids.start == 0;
}

static bool changes_way(const struct rule *rule)
{
	switch (rule->action) {
	case FR_ACT_TO_TBL:
		return !rule->is_l3mdev && rule->table != RT_TABLE_MAIN &&
		       rule->table != RT_TABLE_LOCAL && rule->table != RT_TABLE_DEFAULT;
	case FR_ACT_BLACKHOLE:
	case FR_ACT_UNREACHABLE:
	case FR_ACT_PROHIBIT:
		return true;
	default:
		return false;
	}
}

static void describe(const struct rule *rule, char text[RULE_TEXT])
{
	static const char *const words[] = {[FR_ACT_BLACKHOLE] = "blackhole",
					    [FR_ACT_UNREACHABLE] = "unreachable",
					    [FR_ACT_PROHIBIT] = "prohibit"};
	char source[PREFIX_TEXT_MAX] = "all", mark[48] = "", table[24] = "";

	if (rule->source.length)
		prefix_format(&rule->source, source);
	if (rule->mark)
		snprintf(mark, sizeof(mark), " fwmark 0x%x/0x%x", rule->mark, rule->mask);
	if (rule->action == FR_ACT_TO_TBL)
		snprintf(table, sizeof(table), "lookup %u", rule->table);
	snprintf(text, RULE_TEXT, "%u (%s, %sfrom %s%s %s)", rule->priority,
		 rule->v4 ? "IPv4" : "IPv6", rule->inverted ? "not " : "", source, mark,
		 *table ? table : words[rule->action]);
}

static int look_at_rule(const struct nlmsghdr *header, void *data)
{
	struct search *search = data;
	struct rule rule;

	if (header->nlmsg_type != RTM_NEWRULE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(struct fib_rule_hdr))
		return 0;
	rule = decode(header);
	if (!rule.ours && selects_pods(search, &rule) && changes_way(&rule) &&
	    search->found.count++ == 0)
		describe(&rule, search->found.first);
	return 0;
}

/* A list that changed while it was read is read again. */
static void begin_again(void *data)
{
	struct search *search = data;

	search->found = search->before;
}

static int look_at_family(struct netlink *nl, uint8_t family, struct search *search)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	int r;

	message->family = family;
	search->before = search->found;
	r = netlink_dump(nl, header, look_at_rule, begin_again, search);
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP ? 0 : r;
}

int netlink_passed_rules(struct netlink *nl, const struct prefix *ranges, size_t count,
			 struct passed_rules *ret)
{
	struct search search = {.ranges = ranges, .range_count = count};
	int r = look_at_family(nl, AF_INET, &search);

	if (r == 0)
		r = look_at_family(nl, AF_INET6, &search);
	if (r == 0)
		*ret = search.found;
	return r;
}
