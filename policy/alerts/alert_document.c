/* SPDX-License-Identifier: Apache-2.0 */
/* An alert in words, and as JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/common/cleanup.h"
#include "policy/alerts/alerts.h"

#define PROTO_MAX 8

static const char *proto_text(uint8_t proto, char buffer[PROTO_MAX])
{
	static const struct {
		uint8_t proto;
		const char *name;
	} names[] = {{IPPROTO_TCP, "tcp"},
		     {IPPROTO_UDP, "udp"},
		     {IPPROTO_SCTP, "sctp"},
		     {IPPROTO_ICMP, "icmp"},
		     {IPPROTO_ICMPV6, "icmpv6"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].proto == proto)
			return names[i].name;
	snprintf(buffer, PROTO_MAX, "%u", proto);
	return buffer;
}

/* "192.0.2.1:53 (udp)", "[2001:db8::1]:53 (udp)", "192.0.2.1 (icmp)". */
#define TARGET_MAX (INET6_ADDRSTRLEN + 32)
static const char *target_text(const struct alert_sample *sample, char buffer[TARGET_MAX])
{
	char addr[INET6_ADDRSTRLEN], proto[PROTO_MAX];
	bool v4 = addr_is_v4(&sample->to);

	addr_format(&sample->to, addr);
	if (sample->port)
		snprintf(buffer, TARGET_MAX, v4 ? "%s:%u (%s)" : "[%s]:%u (%s)", addr, sample->port,
			 proto_text(sample->proto, proto));
	else
		snprintf(buffer, TARGET_MAX, "%s (%s)", addr, proto_text(sample->proto, proto));
	return buffer;
}

/* The same of where it listens. */
static const char *place_text(const struct alert_sample *sample, char buffer[TARGET_MAX])
{
	if (!addr_is_zero(&sample->to))
		return target_text(sample, buffer);
	snprintf(buffer, TARGET_MAX, "port %u (tcp) of all addresses", sample->port);
	return buffer;
}

/* In quotes that it cannot end. */
#define QUOTED_MAX (2 * ALERT_PROGRAM_MAX + 3)
static const char *quoted(const char *text, char buffer[QUOTED_MAX])
{
	size_t length = 0;

	buffer[length++] = '"';
	for (; *text && length < QUOTED_MAX - 3; text++) {
		if (*text == '"' || *text == '\\')
			buffer[length++] = '\\';
		buffer[length++] = *text;
	}
	buffer[length++] = '"';
	buffer[length] = '\0';
	return buffer;
}

/* "\"/usr/bin/curl\" (pid 4711, uid 0)". Without a file what the thread calls itself. */
#define PROCESS_MAX (QUOTED_MAX + 40)
static const char *process_text(const struct alert_sample *sample, char buffer[PROCESS_MAX])
{
	char name[QUOTED_MAX];

	snprintf(buffer, PROCESS_MAX, "%s (pid %" PRIu32 ", uid %" PRIu32 ")",
		 quoted(sample->executable[0] ? sample->executable : sample->comm, name),
		 sample->pid, sample->uid);
	return buffer;
}

/* What happened, after the name of who did it. NULL: no memory. */
static char *deed_text(const struct alert *alert)
{
	const struct traffic_alert_object *rule = alert->rule;
	const struct alert_sample *newest = alert->newest;
	const char *verb = newest->denied ? "was denied" : "opened";
	char target[TARGET_MAX], process[PROCESS_MAX], *text = NULL;
	int r = -1;

	target_text(newest, target);
	process_text(newest, process);
	switch (rule->alert) {
	case ALERT_PEERS_OUTSIDE:
		r = asprintf(&text, "%s a connection to %s, which is in none of its networks", verb,
			     target);
		break;
	case ALERT_FOREIGN_RESOLVER:
		r = asprintf(&text, "%s DNS to %s, which is none of its resolvers",
			     newest->denied ? "was denied" : "sends", target);
		break;
	case ALERT_SCAN:
		r = asprintf(&text,
			     "was denied %" PRIu64 " addresses or ports within %u s, %s at last",
			     newest->amount, rule->seconds, target);
		break;
	case ALERT_VOLUME:
		r = asprintf(&text,
			     "has sent %" PRIu64 " bytes to the outside within %u s, at last to %s",
			     newest->amount, rule->seconds, target);
		break;
	case ALERT_NEW_PEER:
		r = asprintf(&text, "%s a connection to %s%s%s, a peer that it never had", verb,
			     newest->peer, newest->peer[0] ? " " : "", target);
		break;
	case ALERT_NEW_PROCESS:
		r = asprintf(&text, "%s a connection to %s%s%s by %s, a program that never did",
			     verb, newest->peer, newest->peer[0] ? " " : "", target, process);
		break;
	case ALERT_SHELL:
		r = asprintf(&text, "%s a connection to %s%s%s from a shell: %s", verb,
			     newest->peer, newest->peer[0] ? " " : "", target, process);
		break;
	case ALERT_NEW_LISTENER:
		r = asprintf(&text, "listens at %s, %s%s%s", place_text(newest, target),
			     rule->seconds ? "where it never did" : "which is none of its ports",
			     newest->pid ? ": " : "", newest->pid ? process : "");
		break;
	case ALERT_KINDS:
		break;
	}
	return r < 0 ? NULL : text;
}

char *alert_text(const struct alert *alert)
{
	CLEANUP(cleanup_free) char *deed = deed_text(alert);
	const struct alert_sample *newest = alert->newest;
	char addr[INET6_ADDRSTRLEN], times[80] = "", *text;

	if (!deed)
		return NULL;
	if (alert->several)
		snprintf(times, sizeof(times), " (%" PRIu64 " alerts of several workloads)",
			 alert->count);
	else if (alert->count > 1)
		snprintf(times, sizeof(times), " (%" PRIu64 " times)", alert->count);
	if (asprintf(&text, "%s %s%s",
		     newest->pod[0] ? newest->pod : addr_format(&newest->from, addr), deed,
		     times) < 0)
		return NULL;
	return text;
}

static json_t *source_document(const struct alert_sample *newest)
{
	char addr[INET6_ADDRSTRLEN];

	return json_pack("{s:s, s:s}", "ip", addr_format(&newest->from, addr), "pod", newest->pod);
}

static json_t *destination_document(const struct alert_sample *newest)
{
	char addr[INET6_ADDRSTRLEN];

	return json_pack("{s:s, s:i, s:s, s:s}", "ip", addr_format(&newest->to, addr), "port",
			 (int)newest->port, "pod", newest->peer, "service", newest->service);
}

/* NULL: none is known. */
static json_t *process_document(const struct alert_sample *newest)
{
	return newest->pid ? json_pack("{s:I, s:I, s:s, s:s}", "pid", (json_int_t)newest->pid,
				       "uid", (json_int_t)newest->uid, "comm", newest->comm,
				       "executable", newest->executable)
			   : NULL;
}

json_t *alert_document(const struct alert *alert, const char *time)
{
	CLEANUP(cleanup_free) char *text = alert_text(alert);
	const struct alert_sample *newest = alert->newest;
	char proto[PROTO_MAX];

	if (!text)
		return NULL;
	return json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:o, s:o, s:o*, s:s, s:s, s:I}",
		"time", time, "type", "alert", "monotonic_ns", (json_int_t)newest->time_ns, "alert",
		alert->name, "kind", alert_kind_name(alert->rule->alert), "severity",
		alert_severity_name(alert->rule->severity), "message",
		alert->rule->message ? alert->rule->message : "", "text", text, "count",
		(json_int_t)alert->count, "several", alert->several, "source",
		source_document(newest), "destination", destination_document(newest), "process",
		process_document(newest), "proto", proto_text(newest->proto, proto), "verdict",
		newest->denied ? "drop" : "allow", "amount", (json_int_t)newest->amount);
}
