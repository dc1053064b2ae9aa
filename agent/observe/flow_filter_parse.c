/* SPDX-License-Identifier: Apache-2.0 */
/* A filter from what somebody asks for, with a reason when it makes no sense. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/kernel/counters.h"
#include "agent/observe/flow_filter.h"

#define NAMESPACE_MAX 63
#define NAME_MAX_LEN  253
#define VALUE_MAX     512

/* One value of a key goes into the filter. */
typedef int (*take_value)(struct flow_filter *filter, const char *text, struct error *error);

__attribute__((format(printf, 4, 5))) static int bad(struct error *error, const char *key,
						     const char *text, const char *format, ...)
{
	char reason[384];
	va_list list;

	va_start(list, format);
	vsnprintf(reason, sizeof(reason), format, list);
	va_end(list);
	return error_set(error, -EINVAL, EINVAL, "filter %s \"%.80s\": %s", key, text, reason);
}

static int no_memory(struct error *error)
{
	return error_set(error, -ENOMEM, ENOMEM, "polderd is out of memory");
}

/* ---------------------------------------------------------------- names */

/* What Kubernetes allows in names; those of namespaces have no dots. */
static bool is_name(const char *text, size_t length, size_t most)
{
	const char *allowed = most == NAMESPACE_MAX ? "abcdefghijklmnopqrstuvwxyz0123456789-"
						    : "abcdefghijklmnopqrstuvwxyz0123456789-.";

	if (!length || length > most)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr(allowed, text[i]))
			return false;
	return true;
}

static bool is_full_name(const char *text)
{
	const char *slash = strchr(text, '/');

	return slash && is_name(text, (size_t)(slash - text), NAMESPACE_MAX) &&
	       is_name(slash + 1, strlen(slash + 1), NAME_MAX_LEN);
}

static int add_text(struct flow_filter_texts *texts, const char *text, struct error *error)
{
	texts->items[texts->count] = strdup(text);
	if (!texts->items[texts->count])
		return no_memory(error);
	texts->count++;
	return 0;
}

static int take_pod(struct flow_filter *filter, const char *text, struct error *error)
{
	if (!is_full_name(text))
		return bad(error, "pod", text,
			   "expected NAMESPACE/NAME, as polderctl pod list has them");
	return add_text(&filter->pods, text, error);
}

static int take_namespace(struct flow_filter *filter, const char *text, struct error *error)
{
	if (!is_name(text, strlen(text), NAMESPACE_MAX))
		return bad(error, "namespace", text, "expected the name of a namespace");
	return add_text(&filter->namespaces, text, error);
}

static int take_policy(struct flow_filter *filter, const char *text, struct error *error)
{
	if (!is_full_name(text) && !is_name(text, strlen(text), NAME_MAX_LEN))
		return bad(error, "policy", text,
			   "expected NAMESPACE/NAME of a NetworkPolicy, or NAME of a "
			   "ClusterNetworkPolicy");
	return add_text(&filter->policies, text, error);
}

/* ---------------------------------------------------------------- addresses */

/* An address is a range of its own. */
static bool parse_range(const char *text, struct prefix *ret)
{
	if (strchr(text, '/'))
		return prefix_parse(text, ret) == 0;
	ret->length = 128;
	return addr_parse(text, &ret->addr) == 0;
}

static int take_end(struct flow_filter_terms *terms, const char *key, const char *text,
		    struct error *error)
{
	struct flow_filter_term term = {0};

	if (!parse_range(text, &term.prefix)) {
		if (!is_full_name(text))
			return bad(error, key, text,
				   "expected NAMESPACE/NAME of a pod or Service, an address or a "
				   "range such as 10.0.0.0/8");
		term.name = strdup(text);
		if (!term.name)
			return no_memory(error);
	}
	terms->items[terms->count++] = term;
	return 0;
}

static int take_from(struct flow_filter *filter, const char *text, struct error *error)
{
	return take_end(&filter->from, "from", text, error);
}

static int take_to(struct flow_filter *filter, const char *text, struct error *error)
{
	return take_end(&filter->to, "to", text, error);
}

static int take_ip(struct flow_filter *filter, const char *text, struct error *error)
{
	struct flow_filter_term term = {0};

	if (!parse_range(text, &term.prefix))
		return bad(error, "ip", text,
			   "expected an address, or a range such as 10.0.0.0/8 or fd00::/64");
	filter->ips.items[filter->ips.count++] = term;
	return 0;
}

/* ---------------------------------------------------------------- numbers */

static int take_port(struct flow_filter *filter, const char *text, struct error *error)
{
	unsigned int first = 0, last = 0;
	char rest;
	int found = 0;

	if (strspn(text, "0123456789-") == strlen(text) && strlen(text) <= 11)
		found = sscanf(text, "%5u-%5u%c", &first, &last, &rest);
	if (found == 1 && !strchr(text, '-') && strlen(text) <= 5)
		last = first;
	else if (found != 2)
		first = 0;
	if (!first || first > UINT16_MAX || last > UINT16_MAX || first > last)
		return bad(error, "port", text,
			   "expected a number from 1 to 65535, or a range, the lower one first, "
			   "such as 8000-8100");
	filter->ports[filter->port_count++] =
		(struct flow_filter_ports){(uint16_t)first, (uint16_t)last};
	return 0;
}

static void set_bit(uint64_t *words, unsigned int bit)
{
	words[bit / 64] |= UINT64_C(1) << bit % 64;
}

static int take_proto(struct flow_filter *filter, const char *text, struct error *error)
{
	char name[PROTO_NAME_MAX];

	/* Protocols that have no name of their own go by their number. */
	for (unsigned int proto = 0; proto < 256; proto++) {
		if (strcasecmp(text, proto_name(proto, name)) != 0)
			continue;
		set_bit(filter->protos, proto);
		return 0;
	}
	return bad(error, "proto", text,
		   "expected tcp, udp, sctp, icmp, icmpv6, or the number of "
		   "another protocol, up to 255");
}

static int take_verdict(struct flow_filter *filter, const char *text, struct error *error)
{
	static const char *const names[] = {
		[VERDICT_DROP] = "drop", [VERDICT_ALLOW] = "allow", [VERDICT_REJECT] = "reject"};

	for (unsigned int i = 0; i < COUNT(names); i++)
		if (strcmp(text, names[i]) == 0) {
			filter->verdicts |= 1u << i;
			return 0;
		}
	return bad(error, "verdict", text,
		   "expected allow, drop, or reject (dropped, and the sender is told)");
}

#define KERNELS	     "kernel:"
#define KERNELS_LONG "skb_drop_reason_"

/* As the kernel writes it, but for capitals: "kernel:NO_SOCKET". Whether the running kernel has
 * such a reason is for who asks it. */
static int take_kernel_reason(struct flow_filter *filter, const char *text, struct error *error)
{
	const char *name = text + strlen(KERNELS);
	char upper[64] = "";
	size_t i;

	if (strncasecmp(name, KERNELS_LONG, strlen(KERNELS_LONG)) == 0)
		name += strlen(KERNELS_LONG);
	for (i = 0; name[i] && i + 1 < sizeof(upper); i++)
		upper[i] = (char)toupper((unsigned char)name[i]);
	if (name[i] || strspn(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != i)
		return bad(error, "reason", text,
			   "expected a reason of the kernel's, such as kernel:NO_SOCKET, or "
			   "kernel: for all of them");
	return add_text(&filter->kernel_reasons, upper, error);
}

static int take_reason(struct flow_filter *filter, const char *text, struct error *error)
{
	if (strncmp(text, KERNELS, strlen(KERNELS)) == 0)
		return take_kernel_reason(filter, text, error);
	for (unsigned int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
		if (strcmp(text, reason_name(reason)) == 0) {
			set_bit(filter->reasons, reason);
			return 0;
		}
	return bad(error, "reason", text,
		   "no packet is dropped for that; the reasons stand in docs/operations.md, such "
		   "as policy_denied_ingress; the kernel's begin with kernel:, such as "
		   "kernel:NO_SOCKET");
}

/* A process calls itself what it likes. */
static int take_process(struct flow_filter *filter, const char *text, struct error *error)
{
	return add_text(&filter->processes, text, error);
}

static int take_uid(struct flow_filter *filter, const char *text, struct error *error)
{
	unsigned long uid = strtoul(text, NULL, 10);

	if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 10 || uid > UINT32_MAX)
		return bad(error, "uid", text,
			   "expected the number of a user of the node, such as 1000");
	filter->uids[filter->uid_count++] = (uint32_t)uid;
	return 0;
}

static const struct {
	const char *key;
	take_value take;
} keys[] = {
	{"pod", take_pod},	   {"namespace", take_namespace},
	{"from", take_from},	   {"to", take_to},
	{"ip", take_ip},	   {"port", take_port},
	{"proto", take_proto},	   {"verdict", take_verdict},
	{"reason", take_reason},   {"policy", take_policy},
	{"process", take_process}, {"uid", take_uid},
};

/* ---------------------------------------------------------------- sense */

/* A range of one family alone; 0: names, or both. */
static int family_of(const struct flow_filter_terms *terms)
{
	bool v4 = false, v6 = false;

	for (size_t i = 0; i < terms->count; i++) {
		if (terms->items[i].name)
			return 0;
		if (prefix_is_v4(&terms->items[i].prefix))
			v4 = true;
		else
			v6 = true;
	}
	return v4 == v6 ? 0 : v4 ? 4 : 6;
}

static bool wants_ports_only_of(const struct flow_filter *filter)
{
	uint64_t with_ports[4] = {0};
	bool any = false, some = false;

	set_bit(with_ports, IPPROTO_TCP);
	set_bit(with_ports, IPPROTO_UDP);
	set_bit(with_ports, IPPROTO_SCTP);
	for (size_t i = 0; i < 4; i++) {
		any |= filter->protos[i] != 0;
		some |= (filter->protos[i] & with_ports[i]) != 0;
	}
	return any && !some;
}

/* No other protocols' sockets are noted. */
static bool wants_processes_of_others(const struct flow_filter *filter)
{
	const uint64_t noted = UINT64_C(1) << IPPROTO_TCP | UINT64_C(1) << IPPROTO_UDP;
	uint64_t any = 0;

	for (size_t i = 0; i < 4; i++)
		any |= filter->protos[i];
	return flow_filter_asks_for_processes(filter) && any && !(filter->protos[0] & noted);
}

static bool has_reason(const struct flow_filter *filter)
{
	for (size_t i = 0; i < COUNT(filter->reasons); i++)
		if (filter->reasons[i])
			return true;
	return filter->kernel_reasons.count != 0;
}

/* What can never match is a mistake, and silence would look like an answer. */
static int check_sense(const struct flow_filter *filter, struct error *error)
{
	int from = family_of(&filter->from), to = family_of(&filter->to);

	if (filter->port_count && wants_ports_only_of(filter))
		return error_set(error, -EINVAL, EINVAL,
				 "filter port: the protocols that are asked for have no ports; "
				 "leave port out, or ask for tcp, udp or sctp");
	if (wants_processes_of_others(filter))
		return error_set(error, -EINVAL, EINVAL,
				 "filter process, uid: only of TCP and UDP processes are known; "
				 "leave proto out, or ask for tcp or udp");
	if (has_reason(filter) && filter->verdicts == 1u << VERDICT_ALLOW)
		return error_set(error, -EINVAL, EINVAL,
				 "filter reason: what is allowed has no reason; leave verdict out, "
				 "or ask for drop or reject");
	if (from && to && from != to)
		return error_set(error, -EINVAL, EINVAL,
				 "filter from, to: one is IPv%d and the other IPv%d, which no "
				 "packet has at once",
				 from, to);
	return 0;
}

/* ---------------------------------------------------------------- all */

static int take_one(struct flow_filter *filter, const char *key, take_value take,
		    const json_t *value, struct error *error)
{
	const char *text = json_string_value(value);

	if (!text || !*text || json_string_length(value) > VALUE_MAX ||
	    strlen(text) != json_string_length(value))
		return error_set(error, -EINVAL, EINVAL,
				 "filter %s: expected a text that is not empty, or a list of them",
				 key);
	return take(filter, text, error);
}

static int take_values(struct flow_filter *filter, const char *key, const json_t *value,
		       struct error *error)
{
	take_value take = NULL;
	int r = 0;

	for (size_t i = 0; i < COUNT(keys); i++)
		if (strcmp(key, keys[i].key) == 0)
			take = keys[i].take;
	if (!take)
		return error_set(error, -EINVAL, EINVAL,
				 "filter: unknown key \"%.80s\"; known are pod, namespace, from, "
				 "to, ip, port, proto, verdict, reason, policy, process and uid",
				 key);
	if (!json_is_array(value))
		return take_one(filter, key, take, value, error);
	if (!json_array_size(value) || json_array_size(value) > FLOW_FILTER_VALUES)
		return error_set(error, -EINVAL, EINVAL,
				 "filter %s: expected 1 to %d values; a range of addresses or "
				 "ports, or a namespace, covers many at once",
				 key, FLOW_FILTER_VALUES);
	for (size_t i = 0; i < json_array_size(value) && !r; i++)
		r = take_one(filter, key, take, json_array_get(value, i), error);
	return r;
}

static void cleanup_filter(struct flow_filter **filter)
{
	flow_filter_free(*filter);
}

int flow_filter_parse(const json_t *object, struct flow_filter **ret, struct error *ret_error)
{
	CLEANUP(cleanup_filter) struct flow_filter *filter = NULL;
	const char *key;
	json_t *value;
	int r;

	if (!object || json_is_null(object)) {
		*ret = NULL;
		return 0;
	}
	if (!json_is_object(object))
		return error_set(ret_error, -EINVAL, EINVAL, "filter: expected an object");
	filter = calloc(1, sizeof(*filter));
	if (!filter)
		return no_memory(ret_error);
	json_object_foreach ((json_t *)object, key, value) {
		r = take_values(filter, key, value, ret_error);
		if (r < 0)
			return r;
	}
	r = check_sense(filter, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(filter);
	return 0;
}

static void free_texts(struct flow_filter_texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i]);
}

static void free_terms(struct flow_filter_terms *terms)
{
	for (size_t i = 0; i < terms->count; i++)
		free(terms->items[i].name);
}

void flow_filter_free(struct flow_filter *filter)
{
	if (!filter)
		return;
	free_texts(&filter->pods);
	free_texts(&filter->namespaces);
	free_texts(&filter->policies);
	free_texts(&filter->processes);
	free_texts(&filter->kernel_reasons);
	free_terms(&filter->from);
	free_terms(&filter->to);
	free(filter);
}
