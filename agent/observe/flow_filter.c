/* SPDX-License-Identifier: Apache-2.0 */
/* Does a packet or flow match? */
#include "agent/observe/flow_filter.h"

#include <arpa/inet.h>
#include <string.h>

#define VERDICT_BIT(verdict) (1u << (verdict))

bool flow_proto_has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

void flow_subject_of_event(const struct polder_event *event, struct flow_subject *ret)
{
	*ret = (struct flow_subject){
		.family = event->family,
		.proto = event->proto,
		.verdict = event->verdict,
		.reason = event->reason,
		.from = {event->saddr, event->sport_be},
		.to = {event->daddr, event->dport_be},
		.to_becomes = {event->backend, event->backend_port_be},
		.egress_rule = event->egress_rule,
		.ingress_rule = event->ingress_rule,
		.time_ns = event->time_ns,
	};
}

void flow_subject_sockets(const struct flow_subject *subject, struct event_socket *ret_from,
			  struct event_socket *ret_to)
{
	const struct flow_end *from = &subject->from, *to = &subject->to;

	*ret_from = (struct event_socket){subject->proto, from->addr,  to->addr,
					  from->port_be,  to->port_be, subject->time_ns};
	if (!addr_is_zero(&subject->from_becomes.addr))
		from = &subject->from_becomes;
	if (!addr_is_zero(&subject->to_becomes.addr))
		to = &subject->to_becomes;
	*ret_to = (struct event_socket){subject->proto, to->addr,      from->addr,
					to->port_be,	from->port_be, subject->time_ns};
}

static bool has_bits(const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (words[i])
			return true;
	return false;
}

static bool has_bit(const uint64_t *words, unsigned int bit)
{
	return words[bit / 64] >> bit % 64 & 1;
}

/* ---------------------------------------------------------------- ends */

static bool is_pod(const struct flow_end *end, const char *name, const struct event_names *names)
{
	char found[EVENT_NAME_MAX];

	return !addr_is_zero(&end->addr) &&
	       names->pod(&end->addr, found, sizeof(found), names->data) == 0 &&
	       strcmp(found, name) == 0;
}

static bool is_service(const struct flow_end *end, uint8_t proto, const char *name,
		       const struct event_names *names)
{
	char found[EVENT_NAME_MAX];

	return !addr_is_zero(&end->addr) && names->service &&
	       names->service(&end->addr, end->port_be, proto, found, sizeof(found), names->data) ==
		       0 &&
	       strcmp(found, name) == 0;
}

static bool is_within(const struct flow_end *end, const struct prefix *prefix)
{
	/* ::/0 is a range of IPv6 addresses, although IPv4 ones are mapped into it. */
	return !addr_is_zero(&end->addr) && addr_is_v4(&end->addr) == (prefix_is_v4(prefix) != 0) &&
	       prefix_contains(prefix, &end->addr);
}

static bool term_matches(const struct flow_filter_term *term, const struct flow_end *end,
			 uint8_t proto, const struct event_names *names)
{
	if (!term->name)
		return is_within(end, &term->prefix);
	return is_pod(end, term->name, names) || is_service(end, proto, term->name, names);
}

/* Either of an end's two addresses, before and after translation. */
static bool terms_match(const struct flow_filter_terms *terms, const struct flow_end *end,
			const struct flow_end *becomes, uint8_t proto,
			const struct event_names *names)
{
	for (size_t i = 0; i < terms->count; i++)
		if (term_matches(&terms->items[i], end, proto, names) ||
		    term_matches(&terms->items[i], becomes, proto, names))
			return true;
	return terms->count == 0;
}

/* The four ends that a subject has. */
#define ENDS 4
static void ends_of(const struct flow_subject *subject, const struct flow_end *ret[ENDS])
{
	ret[0] = &subject->from;
	ret[1] = &subject->to;
	ret[2] = &subject->from_becomes;
	ret[3] = &subject->to_becomes;
}

static bool pods_match(const struct flow_filter *filter, const struct flow_subject *subject,
		       const struct event_names *names)
{
	const struct flow_end *ends[ENDS];

	ends_of(subject, ends);
	for (size_t i = 0; i < filter->pods.count; i++)
		for (size_t k = 0; k < ENDS; k++)
			if (is_pod(ends[k], filter->pods.items[i], names))
				return true;
	return filter->pods.count == 0;
}

bool flow_name_in_namespace(const char *name, const char *namespace)
{
	size_t length = strlen(namespace);

	return strncmp(name, namespace, length) == 0 && name[length] == '/';
}

static bool namespace_matches(const char *namespace, const struct flow_end *end, uint8_t proto,
			      const struct event_names *names)
{
	char found[EVENT_NAME_MAX];

	if (addr_is_zero(&end->addr))
		return false;
	if (names->pod(&end->addr, found, sizeof(found), names->data) == 0)
		return flow_name_in_namespace(found, namespace);
	return names->service &&
	       names->service(&end->addr, end->port_be, proto, found, sizeof(found), names->data) ==
		       0 &&
	       flow_name_in_namespace(found, namespace);
}

static bool namespaces_match(const struct flow_filter *filter, const struct flow_subject *subject,
			     const struct event_names *names)
{
	const struct flow_end *ends[ENDS];

	ends_of(subject, ends);
	for (size_t i = 0; i < filter->namespaces.count; i++)
		for (size_t k = 0; k < ENDS; k++)
			if (namespace_matches(filter->namespaces.items[i], ends[k], subject->proto,
					      names))
				return true;
	return filter->namespaces.count == 0;
}

static bool ips_match(const struct flow_filter *filter, const struct flow_subject *subject)
{
	const struct flow_end *ends[ENDS];

	ends_of(subject, ends);
	for (size_t i = 0; i < filter->ips.count; i++)
		for (size_t k = 0; k < ENDS; k++)
			if (is_within(ends[k], &filter->ips.items[i].prefix))
				return true;
	return filter->ips.count == 0;
}

static bool ports_match(const struct flow_filter *filter, const struct flow_subject *subject)
{
	const struct flow_end *ends[ENDS];
	uint16_t port;

	if (filter->port_count && !flow_proto_has_ports(subject->proto))
		return false;
	ends_of(subject, ends);
	for (size_t i = 0; i < filter->port_count; i++)
		for (size_t k = 0; k < ENDS; k++) {
			port = ntohs(ends[k]->port_be);
			if (port && port >= filter->ports[i].first && port <= filter->ports[i].last)
				return true;
		}
	return filter->port_count == 0;
}

/* ---------------------------------------------------------------- policies */

static bool rule_is_of(uint32_t rule, const char *policy, const struct event_names *names)
{
	struct rule_origin origin;
	char name[EVENT_NAME_MAX];

	if (!rule || names->rule(rule, &origin, names->data) < 0)
		return false;
	snprintf(name, sizeof(name), "%s%s%s", origin.namespace, *origin.namespace ? "/" : "",
		 origin.name);
	return strcmp(name, policy) == 0;
}

/* Was the packet denied because nothing matched, at a pod that this policy isolates? */
static bool isolates(const struct flow_subject *subject, bool egress, const char *policy,
		     const struct event_names *names)
{
	const struct polder_addr *receiver = addr_is_zero(&subject->to_becomes.addr)
						     ? &subject->to.addr
						     : &subject->to_becomes.addr;
	const struct compiled_selection *selection;

	if (subject->reason != (egress ? REASON_POLICY_EGRESS : REASON_POLICY_INGRESS) ||
	    (egress ? subject->egress_rule : subject->ingress_rule))
		return false;
	selection = names->isolation(egress ? &subject->from.addr : receiver, egress, names->data);
	for (size_t i = 0; selection && i < selection->count; i++)
		if (strcmp(selection->policies[i], policy) == 0)
			return true;
	return false;
}

static bool policies_match(const struct flow_filter *filter, const struct flow_subject *subject,
			   const struct event_names *names)
{
	for (size_t i = 0; i < filter->policies.count; i++) {
		const char *policy = filter->policies.items[i];

		if (rule_is_of(subject->egress_rule, policy, names) ||
		    rule_is_of(subject->ingress_rule, policy, names) ||
		    isolates(subject, true, policy, names) ||
		    isolates(subject, false, policy, names))
			return true;
	}
	return filter->policies.count == 0;
}

/* ---------------------------------------------------------------- processes */

bool flow_filter_asks_for_processes(const struct flow_filter *filter)
{
	return filter && (filter->processes.count || filter->uid_count);
}

static bool is_called(const json_t *process, const char *name)
{
	const char *comm = json_string_value(json_object_get(process, "comm")),
		   *file = json_string_value(json_object_get(process, "executable")),
		   *slash = file ? strrchr(file, '/') : NULL;

	return (comm && strcmp(comm, name) == 0) || (file && strcmp(file, name) == 0) ||
	       (slash && strcmp(slash + 1, name) == 0);
}

static bool process_matches(const struct flow_filter *filter, const json_t *process)
{
	json_int_t uid = json_integer_value(json_object_get(process, "uid"));
	bool called = !filter->processes.count, of_user = !filter->uid_count;

	for (size_t i = 0; i < filter->processes.count && !called; i++)
		called = is_called(process, filter->processes.items[i]);
	for (size_t i = 0; i < filter->uid_count && !of_user; i++)
		of_user = filter->uids[i] == uid;
	return called && of_user;
}

/* An end of which nothing is known matches nothing. */
static bool processes_match(const struct flow_filter *filter, const struct flow_subject *subject,
			    const struct event_names *names)
{
	struct event_socket sockets[2];
	bool matches = !flow_filter_asks_for_processes(filter);

	flow_subject_sockets(subject, &sockets[0], &sockets[1]);
	for (size_t i = 0; i < 2 && !matches; i++) {
		json_t *process = names->process ? names->process(&sockets[i], names->data) : NULL;

		matches = process && process_matches(filter, process);
		json_decref(process);
	}
	return matches;
}

/* ---------------------------------------------------------------- all */

static bool has_own_reasons(const struct flow_filter *filter)
{
	return has_bits(filter->reasons, sizeof(filter->reasons) / sizeof(*filter->reasons));
}

bool flow_filter_has_reason(const struct flow_filter *filter, uint8_t reason)
{
	if (!has_own_reasons(filter) && !filter->kernel_reasons.count)
		return true;
	return reason < REASON_COUNT && has_bit(filter->reasons, reason);
}

bool flow_filter_names_kernel_reason(const struct flow_filter *filter, const char *reason)
{
	for (size_t i = 0; filter && i < filter->kernel_reasons.count; i++)
		if (strcmp(filter->kernel_reasons.items[i], reason) == 0)
			return true;
	return false;
}

bool flow_filter_has_kernel_reason(const struct flow_filter *filter, const char *reason)
{
	const struct flow_filter_texts *wanted = &filter->kernel_reasons;

	for (size_t i = 0; i < wanted->count; i++)
		if (!*wanted->items[i] || strcmp(wanted->items[i], reason) == 0)
			return true;
	return !wanted->count && !has_own_reasons(filter);
}

/* What costs no look-up comes first. */
static bool numbers_match(const struct flow_filter *filter, const struct flow_subject *subject)
{
	if (filter->verdicts && !(filter->verdicts & VERDICT_BIT(subject->verdict)))
		return false;
	if (subject->kernel_reason ? !flow_filter_has_kernel_reason(filter, subject->kernel_reason)
				   : !flow_filter_has_reason(filter, subject->reason))
		return false;
	if (has_bits(filter->protos, 4) &&
	    (!subject->family || !has_bit(filter->protos, subject->proto)))
		return false;
	return ports_match(filter, subject) && ips_match(filter, subject);
}

bool flow_filter_matches(const struct flow_filter *filter, const struct flow_subject *subject,
			 const struct event_names *names)
{
	if (!filter)
		return true;
	return numbers_match(filter, subject) &&
	       terms_match(&filter->from, &subject->from, &subject->from_becomes, subject->proto,
			   names) &&
	       terms_match(&filter->to, &subject->to, &subject->to_becomes, subject->proto,
			   names) &&
	       pods_match(filter, subject, names) && namespaces_match(filter, subject, names) &&
	       policies_match(filter, subject, names) && processes_match(filter, subject, names);
}

bool flow_filter_wants_kernel(const struct flow_filter *filter)
{
	if (!filter)
		return true;
	if (filter->policies.count ||
	    (filter->verdicts && !(filter->verdicts & VERDICT_BIT(VERDICT_DROP))))
		return false;
	return filter->kernel_reasons.count || !has_own_reasons(filter);
}

uint32_t flow_filter_mask(const struct flow_filter *filter, uint32_t mask)
{
	bool own;

	if (!filter)
		return mask;
	own = has_own_reasons(filter);
	/* Only what is dropped has a reason. */
	if (own || filter->kernel_reasons.count ||
	    (filter->verdicts && !(filter->verdicts & VERDICT_BIT(VERDICT_ALLOW))))
		mask &= ~(uint32_t)EVENT_MASK_FLOWS;
	if (filter->verdicts == VERDICT_BIT(VERDICT_ALLOW) ||
	    (filter->kernel_reasons.count && !own))
		mask &= ~(uint32_t)EVENT_MASK_DROPS;
	return mask;
}
