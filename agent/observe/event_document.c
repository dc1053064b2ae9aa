/* SPDX-License-Identifier: Apache-2.0 */
/* An event in words. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/common/clock.h"
#include "agent/kernel/counters.h"
#include "agent/observe/events.h"
#include "agent/observe/flow_filter.h"

#define NS_PER_S 1000000000ll

const char *event_time_format(uint64_t monotonic_ns, char *buffer, size_t size)
{
	struct timespec wall;
	struct tm tm;
	int64_t ns;
	time_t seconds;
	size_t length;

	clock_gettime(CLOCK_REALTIME, &wall);
	ns = wall.tv_sec * NS_PER_S + wall.tv_nsec - (int64_t)clock_monotonic_ns() +
	     (int64_t)monotonic_ns;
	seconds = (time_t)(ns / NS_PER_S);
	gmtime_r(&seconds, &tm);
	length = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buffer + length, size - length, ".%06dZ", (int)(ns % NS_PER_S / 1000));
	return buffer;
}

/* One end of a packet. */
static json_t *end_document(const struct polder_addr *addr, __be16 port_be, uint32_t identity,
			    const struct event_names *names)
{
	char text[INET6_ADDRSTRLEN] = "", pod[EVENT_NAME_MAX];

	if (!addr_is_zero(addr))
		addr_format(addr, text);
	if (!*text || names->pod(addr, pod, sizeof(pod), names->data) < 0)
		pod[0] = '\0';
	return json_pack("{s:s, s:i, s:s, s:I}", "ip", text, "port", ntohs(port_be), "pod", pod,
			 "identity", (json_int_t)identity);
}

/* The Service that the packet was sent to; "": none. */
static void add_service(json_t *end, const struct polder_event *event,
			const struct event_names *names)
{
	char name[EVENT_NAME_MAX];

	if (!names->service || addr_is_zero(&event->daddr) ||
	    names->service(&event->daddr, event->dport_be, event->proto, name, sizeof(name),
			   names->data) < 0)
		name[0] = '\0';
	json_object_set_new(end, "service", json_string(name));
}

static json_t *backend_document(const struct polder_event *event, const struct event_names *names)
{
	char text[INET6_ADDRSTRLEN], pod[EVENT_NAME_MAX];

	if (addr_is_zero(&event->backend))
		return json_null();
	if (names->pod(&event->backend, pod, sizeof(pod), names->data) < 0)
		pod[0] = '\0';
	return json_pack("{s:s, s:i, s:s}", "ip", addr_format(&event->backend, text), "port",
			 ntohs(event->backend_port_be), "pod", pod);
}

json_t *event_rule_document(const struct rule_origin *origin, const struct event_names *names)
{
	const char *name = names->rule_name(origin, names->data);

	return json_pack(
		"{s:o, s:I, s:o, s:s, s:s, s:b, s:[]}", "policy",
		*origin->namespace ? json_sprintf("%s/%s", origin->namespace, origin->name)
				   : json_string(origin->name),
		"rule", (json_int_t)origin->index, "rule_path",
		json_sprintf("spec.%s[%u]", origin->egress ? "egress" : "ingress", origin->index),
		"rule_name", name ? name : "", "direction", origin->egress ? "egress" : "ingress",
		"default_deny", false, "isolated_by");
}

/* No rule matched: the policies that isolate the pod are what it is due to. */
static json_t *default_document(const struct compiled_selection *isolation, bool egress)
{
	json_t *list = json_array();

	for (size_t i = 0; i < isolation->count; i++)
		json_array_append_new(list, json_string(isolation->policies[i]));
	return json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:o}", "policy", isolation->policies[0],
			 "rule", "rule_path", "rule_name", "", "direction",
			 egress ? "egress" : "ingress", "default_deny", true, "isolated_by", list);
}

/* What decided in a direction; null where nothing did. */
static json_t *policy_document(const struct polder_event *event, bool egress,
			       const struct event_names *names)
{
	uint32_t rule = egress ? event->egress_rule : event->ingress_rule;
	const struct polder_addr *receiver =
		addr_is_zero(&event->backend) ? &event->daddr : &event->backend;
	const struct compiled_selection *isolation;
	struct rule_origin origin;

	if (rule)
		return names->rule(rule, &origin, names->data) < 0
			       ? json_null()
			       : event_rule_document(&origin, names);
	if (event->reason != (egress ? REASON_POLICY_EGRESS : REASON_POLICY_INGRESS))
		return json_null();
	isolation = names->isolation(egress ? &event->saddr : receiver, egress, names->data);
	return isolation && isolation->count ? default_document(isolation, egress) : json_null();
}

static const char *verdict_name(uint8_t verdict)
{
	static const char *const names[] = {
		[VERDICT_DROP] = "drop", [VERDICT_ALLOW] = "allow", [VERDICT_REJECT] = "reject"};

	return verdict < sizeof(names) / sizeof(*names) ? names[verdict] : "unknown";
}

/* Who sends has the packet as it is here; of who receives only the port is asked: the connection
 * is not there yet. */
static void add_process(json_t *end, const struct event_socket *socket,
			const struct event_names *names)
{
	json_t *process = names->process ? names->process(socket, names->data) : NULL;

	if (process)
		json_object_set_new(end, "process", process);
}

static void add_processes(json_t *source, json_t *destination, const struct polder_event *event,
			  const struct event_names *names)
{
	struct flow_subject subject;
	struct event_socket from, to;

	flow_subject_of_event(event, &subject);
	flow_subject_sockets(&subject, &from, &to);
	add_process(source, &from, names);
	add_process(destination, &to, names);
}

json_t *event_document(const struct polder_event *event, const struct event_names *names)
{
	char time[EVENT_TIME_MAX], proto[PROTO_NAME_MAX], link[64];
	/* A protocol's ports: an echo's stand for its identifier and type. */
	bool ports = event->proto == IPPROTO_TCP || event->proto == IPPROTO_UDP ||
		     event->proto == IPPROTO_SCTP;
	json_t *destination = end_document(&event->daddr, ports ? event->dport_be : 0,
					   event->destination_identity, names);
	json_t *source = end_document(&event->saddr, ports ? event->sport_be : 0,
				      event->source_identity, names);

	add_service(destination, event, names);
	add_processes(source, destination, event, names);
	event_time_format(event->time_ns, time, sizeof(time));
	if (!event->ifindex || names->link(event->ifindex, link, sizeof(link), names->data) < 0)
		link[0] = '\0';
	return json_pack(
		"{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:I, s:o, s:o}",
		"time", time, "monotonic_ns", (json_int_t)event->time_ns, "type",
		event->type == EVENT_FLOW ? "flow" : "drop", "verdict",
		verdict_name(event->verdict), "reason", reason_name(event->reason), "hook",
		hook_name(event->hook), "family", family_name(event->family), "proto",
		event->family ? proto_name(event->proto, proto) : "", "source", source,
		"destination", destination, "backend", backend_document(event, names), "link", link,
		"length", (json_int_t)event->length, "egress_policy",
		policy_document(event, true, names), "ingress_policy",
		policy_document(event, false, names));
}
