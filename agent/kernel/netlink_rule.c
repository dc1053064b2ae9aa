/* SPDX-License-Identifier: Apache-2.0 */
/* Routing rules: the node's stack forwards nothing that a pod sends but what the programs have
 * marked. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* Directly behind the local table's rule, which has priority 0: what is for the node itself is not
 * forwarded. */
#define RULE_PASS_PRIORITY  1
#define RULE_CLOSE_PRIORITY 2
#define RULE_NEXT_PRIORITY  3

#define RULES_MAX (2 * 2 + 2)

struct rule {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t action;
	uint8_t source_length; /* as the family counts; 0: any */
	bool from_node;	       /* what the node itself sends, the programs' redirects among it */
	uint32_t priority, target, mark, mask;
	struct polder_addr source;
};

struct rule_list {
	struct rule items[64];
	size_t count;
	bool more; /* than there is room for */
};

/*
 * Three for a family: what is sent from here goes on (also the look-up behind a redirect to the
 * wire, and reverse path checks); of the rest, what comes from the pods and bears no mark goes
 * nowhere.
 */
static size_t wanted_rules(const struct prefix *ranges, size_t count, uint32_t mark,
			   struct rule *ret)
{
	size_t made = 0;

	for (size_t i = 0; i < count; i++) {
		bool v4 = addr_is_v4(&ranges[i].addr);
		struct rule rule = {
			.family = v4 ? AF_INET : AF_INET6,
			.source = ranges[i].addr,
			.source_length = ranges[i].length - (v4 ? POLDER_V4_MAPPED_BITS : 0),
		};

		ret[made++] = (struct rule){.family = rule.family,
					    .action = FR_ACT_NOP,
					    .priority = RULE_NEXT_PRIORITY};
		ret[made] = rule;
		ret[made].action = FR_ACT_GOTO;
		ret[made].priority = RULE_PASS_PRIORITY;
		ret[made].target = RULE_NEXT_PRIORITY;
		ret[made++].from_node = true;
		ret[made] = rule;
		ret[made].action = FR_ACT_PROHIBIT;
		ret[made].priority = RULE_CLOSE_PRIORITY;
		ret[made++].mask = mark;
	}
	return made;
}

static bool rule_equal(const struct rule *a, const struct rule *b)
{
	return a->family == b->family && a->action == b->action &&
	       a->source_length == b->source_length && a->from_node == b->from_node &&
	       a->priority == b->priority && a->target == b->target && a->mark == b->mark &&
	       a->mask == b->mask &&
	       (!a->source_length || memcmp(&a->source, &b->source, sizeof(a->source)) == 0);
}

static int change_rule(struct netlink *nl, uint16_t type, uint16_t flags, const struct rule *rule)
{
	struct nlmsghdr *header = netlink_begin(nl, type, flags);
	struct fib_rule_hdr *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->family = rule->family;
	message->action = rule->action;
	message->src_len = rule->source_length;
	mnl_attr_put_u32(header, FRA_PRIORITY, rule->priority);
	mnl_attr_put_u8(header, FRA_PROTOCOL, NETLINK_ROUTE_PROTOCOL);
	if (rule->source_length)
		netlink_put_addr(header, FRA_SRC, &rule->source);
	if (rule->from_node)
		mnl_attr_put_strz(header, FRA_IIFNAME, "lo");
	if (rule->target)
		mnl_attr_put_u32(header, FRA_GOTO, rule->target);
	if (rule->mask) {
		mnl_attr_put_u32(header, FRA_FWMARK, rule->mark);
		mnl_attr_put_u32(header, FRA_FWMASK, rule->mask);
	}
	return netlink_talk(nl, header, NULL, NULL);
}

static void decode_attribute(const struct nlattr *attr, struct rule *rule, bool *ret_ours)
{
	uint16_t type = mnl_attr_get_type(attr), length = mnl_attr_get_payload_len(attr);

	if (type == FRA_SRC)
		(void)netlink_get_addr(attr, &rule->source);
	else if (type == FRA_IIFNAME)
		rule->from_node = length == 3 && memcmp(mnl_attr_get_payload(attr), "lo", 3) == 0;
	else if (type == FRA_PROTOCOL && length == 1)
		*ret_ours = mnl_attr_get_u8(attr) == NETLINK_ROUTE_PROTOCOL;
	else if (length != 4)
		return;
	else if (type == FRA_PRIORITY)
		rule->priority = mnl_attr_get_u32(attr);
	else if (type == FRA_GOTO)
		rule->target = mnl_attr_get_u32(attr);
	else if (type == FRA_FWMARK)
		rule->mark = mnl_attr_get_u32(attr);
	else if (type == FRA_FWMASK)
		rule->mask = mnl_attr_get_u32(attr);
}

static int keep_rule(const struct nlmsghdr *header, void *data)
{
	const struct fib_rule_hdr *message = mnl_nlmsg_get_payload(header);
	struct rule_list *list = data;
	const struct nlattr *attr;
	struct rule rule = {};
	bool ours = false;

	if (header->nlmsg_type != RTM_NEWRULE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	rule.family = message->family;
	rule.action = message->action;
	rule.source_length = message->src_len;
	mnl_attr_for_each(attr, header, sizeof(*message)) decode_attribute(attr, &rule, &ours);
	if (!ours || (rule.family != AF_INET && rule.family != AF_INET6))
		return 0;
	if (list->count == sizeof(list->items) / sizeof(list->items[0]))
		list->more = true;
	else
		list->items[list->count++] = rule;
	return 0;
}

static void forget_rules(void *data)
{
	struct rule_list *list = data;

	list->count = 0;
	list->more = false;
}

static int read_rules(struct netlink *nl, uint8_t family, struct rule_list *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	int r;

	forget_rules(ret);
	message->family = family;
	r = netlink_dump(nl, header, keep_rule, forget_rules, ret);
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP ? 0 : r;
}

static bool has_rule(const struct rule *list, size_t count, const struct rule *rule)
{
	for (size_t i = 0; i < count; i++)
		if (rule_equal(&list[i], rule))
			return true;
	return false;
}

/* New ones first: there is no moment without. */
static int apply_family(struct netlink *nl, uint8_t family, const struct rule *wanted, size_t count,
			size_t *changed)
{
	struct rule_list present;
	int r = read_rules(nl, family, &present), first = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		if (wanted[i].family != family ||
		    has_rule(present.items, present.count, &wanted[i]))
			continue;
		r = change_rule(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &wanted[i]);
		if (r < 0 && r != -EEXIST)
			return r;
		(*changed)++;
	}
	for (size_t i = present.count; i-- > 0;) {
		if (has_rule(wanted, count, &present.items[i]))
			continue;
		r = change_rule(nl, RTM_DELRULE, 0, &present.items[i]);
		if (r < 0 && r != -ENOENT && first == 0)
			first = r;
		(*changed)++;
	}
	return first < 0 || !present.more ? first : -E2BIG;
}

int netlink_stack_rules_apply(struct netlink *nl, const struct prefix *ranges, size_t count,
			      uint32_t mark, size_t *ret_changed)
{
	struct rule wanted[RULES_MAX];
	size_t made, changed = 0;
	int r, r6;

	if (count > 2)
		return -E2BIG;
	made = wanted_rules(ranges, count, mark, wanted);
	r = apply_family(nl, AF_INET, wanted, made, &changed);
	r6 = apply_family(nl, AF_INET6, wanted, made, &changed);
	*ret_changed = changed;
	return r < 0 ? r : r6;
}
