/* SPDX-License-Identifier: Apache-2.0 */
/* TrafficAlerts (polder.dev/v1alpha1): strict, one rule each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"

#define DEFAULT_RATE_LIMIT 300

/* Where clusters have their DNS, as a rule. */
#define DEFAULT_RESOLVER "kube-system/kube-dns"

/* What opens a shell, by the names of their files. */
static const char *const default_shells[] = {"ash", "bash", "busybox", "csh",  "dash", "fish",
					     "ksh", "mksh", "sh",      "tcsh", "zsh"};

static const char *const severity_names[ALERT_SEVERITIES] = {
	[ALERT_INFO] = "Info", [ALERT_WARNING] = "Warning", [ALERT_CRITICAL] = "Critical"};

static const char *const kind_names[ALERT_KINDS] = {
	[ALERT_PEERS_OUTSIDE] = "peersOutside",
	[ALERT_FOREIGN_RESOLVER] = "foreignResolver",
	[ALERT_SCAN] = "scan",
	[ALERT_VOLUME] = "volume",
	[ALERT_NEW_PEER] = "newPeer",
	[ALERT_NEW_PROCESS] = "newProcess",
	[ALERT_SHELL] = "shell",
	[ALERT_NEW_LISTENER] = "newListener",
};

const char *alert_severity_name(enum alert_severity severity)
{
	return severity < ALERT_SEVERITIES ? severity_names[severity] : "unknown";
}

const char *alert_kind_name(enum alert_kind kind)
{
	return kind < ALERT_KINDS ? kind_names[kind] : "unknown";
}

/* ---------------------------------------------------------------- fields */

static int decode_severity(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ALERT_SEVERITIES; i++) {
		if (strcmp(json_string_value(at->value), severity_names[i]) == 0) {
			alert->severity = (enum alert_severity)i;
			return 0;
		}
	}
	return json_fail(at, -EINVAL, "must be Info, Warning or Critical, not \"%.32s\"",
			 json_string_value(at->value));
}

static int decode_message(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;

	return json_text(at, LIMIT_ALERT_MESSAGE, &alert->message);
}

static int decode_seconds(const struct json_at *at, json_int_t most, uint32_t *ret)
{
	json_int_t seconds;
	int r = json_integer_in(at, 1, most, &seconds);

	if (r == 0)
		*ret = (uint32_t)seconds;
	return r;
}

static int decode_rate_limit(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;

	return decode_seconds(at, LIMIT_ALERT_COUNTING, &alert->rate_limit);
}

static int decode_alert_subject(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	struct namespaced_pods pods = {};
	int r = decode_subject(at, &pods);

	alert->any_subject = false;
	alert->namespace_selector = pods.namespaces;
	alert->pod_selector = pods.pods;
	return r;
}

/* ---------------------------------------------------------------- rules */

static int decode_networks(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_ALERT_NETWORKS, sizeof(*alert->networks), decode_prefix,
			   &items);

	alert->networks = items.items;
	alert->network_count = items.count;
	return r;
}

static int decode_service_name(const struct json_at *at, void *target)
{
	const char *text, *slash;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	text = json_string_value(at->value);
	slash = strchr(text, '/');
	if (!slash || slash == text || !slash[1] || strchr(slash + 1, '/'))
		return json_fail(at, -EINVAL, "must be NAMESPACE/NAME of a Service, not \"%.64s\"",
				 text);
	return json_text(at, LIMIT_NAMESPACE + 1 + LIMIT_NAME, target);
}

static int decode_services(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_ALERT_SERVICES, sizeof(*alert->services), decode_service_name,
			   &items);

	alert->services = items.items;
	alert->service_count = items.count;
	return r;
}

static int decode_program(const struct json_at *at, void *target)
{
	const char *text, *slash;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	text = json_string_value(at->value);
	slash = strchr(text, '/');
	if (!*text || (slash && (*text != '/' || !strrchr(text, '/')[1])))
		return json_fail(at, -EINVAL,
				 "must be the name of a program file, or its whole path, not "
				 "\"%.64s\"",
				 text);
	return json_text(at, LIMIT_ALERT_PROGRAM, target);
}

static int decode_executables(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_ALERT_PROGRAMS, sizeof(*alert->programs), decode_program,
			   &items);

	alert->programs = items.items;
	alert->program_count = items.count;
	if (r == 0 && !items.count)
		r = json_fail(at, -EINVAL, "must name one program at least");
	return r;
}

/* "8000-8100"; whole, and nothing else. */
static bool parse_ports(const char *text, struct alert_ports *ret)
{
	unsigned int first, last;
	int length = 0;

	if (strspn(text, "0123456789-") != strlen(text) || strlen(text) > strlen("65535-65535") ||
	    sscanf(text, "%u-%u%n", &first, &last, &length) != 2 || text[length] || !first ||
	    first > last || last > UINT16_MAX)
		return false;
	*ret = (struct alert_ports){(uint16_t)first, (uint16_t)last};
	return true;
}

static int decode_alert_ports(const struct json_at *at, void *target)
{
	struct alert_ports *ports = target;
	const char *text = json_string_value(at->value);
	json_int_t port;
	int r;

	if (text)
		return parse_ports(text, ports)
			       ? 0
			       : json_fail(at, -EINVAL,
					   "must be a port such as 80, or ports such as "
					   "\"8000-8100\", not \"%.32s\"",
					   text);
	r = json_integer_in(at, 1, UINT16_MAX, &port);
	if (r == 0)
		*ports = (struct alert_ports){(uint16_t)port, (uint16_t)port};
	return r;
}

static int decode_ports(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_ALERT_PORTS, sizeof(*alert->ports), decode_alert_ports,
			   &items);

	alert->ports = items.items;
	alert->port_count = items.count;
	return r;
}

static int decode_nodes(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;

	return json_get_bool(at, &alert->nodes);
}

static int decode_targets(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	json_int_t targets;
	int r = json_integer_in(at, 2, LIMIT_ALERT_TARGETS, &targets);

	if (r == 0)
		alert->targets = (uint32_t)targets;
	return r;
}

static int decode_bytes(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;
	json_int_t bytes;
	int r = json_integer_in(at, 1, INT64_MAX, &bytes);

	if (r == 0)
		alert->bytes = (uint64_t)bytes;
	return r;
}

static int decode_counting_time(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;

	return decode_seconds(at, LIMIT_ALERT_COUNTING, &alert->seconds);
}

static int decode_learning_time(const struct json_at *at, void *target)
{
	struct traffic_alert_object *alert = target;

	return decode_seconds(at, LIMIT_ALERT_LEARNING, &alert->seconds);
}

static int decode_peers_outside(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"networks", decode_networks, 0, true}};
	struct traffic_alert_object *alert = target;

	alert->alert = ALERT_PEERS_OUTSIDE;
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

static int add_default_resolver(struct traffic_alert_object *alert)
{
	alert->services = calloc(1, sizeof(*alert->services));
	if (!alert->services)
		return -ENOMEM;
	alert->services[0] = strdup(DEFAULT_RESOLVER);
	if (!alert->services[0])
		return -ENOMEM;
	alert->service_count = 1;
	return 0;
}

static int decode_foreign_resolver(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"networks", decode_networks, 0, false},
		{"services", decode_services, 0, false},
	};
	struct traffic_alert_object *alert = target;
	struct json_at services = json_key(at, "services");
	int r;

	alert->alert = ALERT_FOREIGN_RESOLVER;
	r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
	return r < 0 || services.value ? r : add_default_resolver(alert);
}

static int decode_scan(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"targets", decode_targets, 0, true},
		{"seconds", decode_counting_time, 0, true},
	};
	struct traffic_alert_object *alert = target;

	alert->alert = ALERT_SCAN;
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

static int decode_volume(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"bytes", decode_bytes, 0, true},
		{"seconds", decode_counting_time, 0, true},
		{"networks", decode_networks, 0, false},
	};
	struct traffic_alert_object *alert = target;

	alert->alert = ALERT_VOLUME;
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

static int decode_new_peer(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"seconds", decode_learning_time, 0, true}};
	struct traffic_alert_object *alert = target;

	alert->alert = ALERT_NEW_PEER;
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

static int decode_new_process(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"seconds", decode_learning_time, 0, true}};
	struct traffic_alert_object *alert = target;

	alert->alert = ALERT_NEW_PROCESS;
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

static int add_default_shells(struct traffic_alert_object *alert)
{
	alert->programs = calloc(COUNT(default_shells), sizeof(*alert->programs));
	if (!alert->programs)
		return -ENOMEM;
	for (; alert->program_count < COUNT(default_shells); alert->program_count++) {
		char *name = strdup(default_shells[alert->program_count]);

		if (!name)
			return -ENOMEM;
		alert->programs[alert->program_count] = name;
	}
	return 0;
}

static int decode_shell(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"executables", decode_executables, 0, false}};
	struct traffic_alert_object *alert = target;
	struct json_at executables = json_key(at, "executables");
	int r;

	alert->alert = ALERT_SHELL;
	r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
	return r < 0 || executables.value ? r : add_default_shells(alert);
}

static int decode_new_listener(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"seconds", decode_learning_time, 0, false},
		{"ports", decode_ports, 0, false},
		{"nodes", decode_nodes, 0, false},
	};
	struct traffic_alert_object *alert = target;
	struct json_at ports = json_key(at, "ports");
	int r;

	alert->alert = ALERT_NEW_LISTENER;
	r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
	if (r == 0 && !alert->seconds && !ports.value)
		r = json_fail(at, -EINVAL,
			      "must have seconds, in which ports are learnt, or ports, or both");
	return r;
}

/* ---------------------------------------------------------------- the object */

static int check_rule_count(const struct json_at *at)
{
	size_t rules = 0;

	for (size_t i = 0; i < ALERT_KINDS; i++) {
		struct json_at rule = json_key(at, kind_names[i]);

		rules += rule.value != NULL;
	}
	if (rules == 1)
		return 0;
	return json_fail(at, -EINVAL,
			 "must have one of peersOutside, foreignResolver, scan, volume, newPeer, "
			 "newProcess, shell, newListener; it has %zu",
			 rules);
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"severity", decode_severity, 0, false},
		{"message", decode_message, 0, false},
		{"rateLimitSeconds", decode_rate_limit, 0, false},
		{"subject", decode_alert_subject, 0, false},
		{"peersOutside", decode_peers_outside, 0, false},
		{"foreignResolver", decode_foreign_resolver, 0, false},
		{"scan", decode_scan, 0, false},
		{"volume", decode_volume, 0, false},
		{"newPeer", decode_new_peer, 0, false},
		{"newProcess", decode_new_process, 0, false},
		{"shell", decode_shell, 0, false},
		{"newListener", decode_new_listener, 0, false},
	};
	struct traffic_alert_object *alert = target;
	int r = json_expect(at, JSON_OBJECT);

	alert->severity = ALERT_WARNING;
	alert->rate_limit = DEFAULT_RATE_LIMIT;
	alert->any_subject = true;
	/* Before the rules: two of them would be decoded into one another. */
	if (r == 0)
		r = check_rule_count(at);
	return r < 0 ? r : json_fields(at, FIELDS_STRICT, fields, COUNT(fields), alert);
}

int decode_traffic_alert(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, true},
		{"apiVersion", json_get_skipped, 0, false},
		{"kind", json_get_skipped, 0, false},
		{"metadata", json_get_skipped, 0, false},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), &object->traffic_alert);
}
