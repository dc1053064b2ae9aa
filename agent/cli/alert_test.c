/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl alert test: what TrafficAlerts would have told of recorded events. No agent is asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/cli/alerts.h"
#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/resources.h"
#include "agent/common/cleanup.h"
#include "policy/alerts/alerts.h"

#define LINE_MAX_BYTES (1u << 20)
#define NS_PER_S       1000000000ll

struct replay {
	const struct cli *cli;
	const char *file;
	size_t line;
	struct object_list objects;
	struct alerts *alerts;
	uint64_t now_ns; /* of the recording: since 1970 */
	uint64_t events, lost, told, unknown_processes;
	bool unknown_labels, has_selectors, has_volume, has_listener;
};

/* ---------------------------------------------------------------- objects */

static const struct object *find(const struct replay *replay, enum object_kind kind,
				 const char *namespace, const char *name)
{
	for (size_t i = 0; i < replay->objects.count; i++) {
		const struct object *object = replay->objects.objects[i];

		if (object->kind == kind && strcmp(object->name, name) == 0 &&
		    (!namespace || strcmp(object->namespace, namespace) == 0))
			return object;
	}
	return NULL;
}

static const struct labels *namespace_labels(const char *name, void *data)
{
	const struct object *space = find(data, OBJECT_NAMESPACE, NULL, name);

	return space ? &space->labels : NULL;
}

static int take_rules(struct replay *replay)
{
	size_t rules = 0;

	for (size_t i = 0; i < replay->objects.count; i++) {
		const struct object *object = replay->objects.objects[i];
		const struct traffic_alert_object *rule = &object->traffic_alert;

		if (object->kind != OBJECT_TRAFFIC_ALERT)
			continue;
		if (alerts_set(replay->alerts, object) < 0)
			return -ENOMEM;
		rules++;
		replay->has_volume |= rule->alert == ALERT_VOLUME;
		replay->has_listener |= rule->alert == ALERT_NEW_LISTENER;
		replay->has_selectors |= rule->pod_selector.count > 0 ||
					 rule->alert == ALERT_NEW_PEER ||
					 rule->alert == ALERT_NEW_PROCESS;
	}
	if (rules)
		return 0;
	cli_error("no TrafficAlert is in the files: give those that are to be tested after the "
		  "recording");
	return -EINVAL;
}

static int read_objects(struct replay *replay)
{
	const struct cli_list *files = &replay->cli->arguments;
	CLEANUP(cleanup_json) json_t *list = NULL;
	CLEANUP(cleanup_free) char *text = NULL;
	struct error error = {0};

	if (resources_read(files->items + 1, files->count - 1, &list) < 0)
		return -EINVAL;
	text = json_dumps(list, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	if (objects_decode(text, strlen(text), &replay->objects, &error) < 0) {
		cli_error("the objects cannot be used together: %s %s (polderctl policy check says "
			  "where)",
			  error.path, error.text);
		return -EINVAL;
	}
	return take_rules(replay);
}

/* ---------------------------------------------------------------- alerts */

static const char *format_time(uint64_t ns, char *buffer, size_t size)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct tm tm;
	size_t length;

	gmtime_r(&seconds, &tm);
	length = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buffer + length, size - length, ".%06dZ", (int)(ns % NS_PER_S / 1000));
	return buffer;
}

static void on_alert(const struct alert *alert, void *data)
{
	struct replay *replay = data;
	char time[40];
	json_t *document =
		alert_document(alert, format_time(alert->newest->time_ns, time, sizeof(time)));

	replay->told++;
	json_object_del(document, "monotonic_ns"); /* of a clock that nobody knows here */
	if (replay->cli->json)
		cli_print_line(document);
	else
		alert_print(document);
	json_decref(document);
}

/* ---------------------------------------------------------------- events */

static int fail(const struct replay *replay, const char *why)
{
	cli_error("%s, line %zu: %s", replay->file, replay->line, why);
	return -EINVAL;
}

/* "2026-11-22T10:00:00.000001Z" in ns since 1970. False: it is none. */
static bool parse_time(const char *text, uint64_t *ret)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	double fraction = 0;
	char *end;

	if (!rest)
		return false;
	end = (char *)rest;
	if (*rest == '.')
		fraction = strtod(rest, &end);
	if (strcmp(end, "Z") != 0 || timegm(&tm) < 0)
		return false;
	*ret = (uint64_t)timegm(&tm) * NS_PER_S + (uint64_t)(fraction * NS_PER_S);
	return true;
}

static bool parse_proto(const char *text, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} names[] = {{"tcp", IPPROTO_TCP},
		     {"udp", IPPROTO_UDP},
		     {"sctp", IPPROTO_SCTP},
		     {"icmp", IPPROTO_ICMP},
		     {"icmpv6", IPPROTO_ICMPV6}};
	unsigned long number;
	char *end;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i].name, text) == 0) {
			*ret = names[i].proto;
			return true;
		}
	}
	number = strtoul(text, &end, 10);
	*ret = (uint8_t)number;
	return *text && !*end && number <= UINT8_MAX;
}

/* An end of an event: its address, and its pod by name, with the labels that the objects say. */
static bool read_end(struct replay *replay, const json_t *end, char namespace[ALERT_NAME_MAX],
		     struct alert_end *ret)
{
	const char *pod = field_text(end, "pod"), *slash = strchr(pod, '/');
	json_int_t port = field_number(end, "port");
	const struct object *object;

	*ret = (struct alert_end){.port = (uint16_t)port};
	if (addr_parse(field_text(end, "ip"), &ret->addr) < 0 || port < 0 || port > UINT16_MAX)
		return false;
	if (!slash || slash - pod >= ALERT_NAME_MAX)
		return !*pod;
	memcpy(namespace, pod, (size_t)(slash - pod));
	namespace[slash - pod] = '\0';
	object = find(replay, OBJECT_POD, namespace, slash + 1);
	replay->unknown_labels |= !object;
	ret->namespace = namespace;
	ret->name = slash + 1;
	ret->labels = object ? &object->labels : NULL;
	ret->inside = true;
	return true;
}

/* Whose connection it is. False: the event does not say. */
static bool read_process(const json_t *event, struct alert_process *ret)
{
	*ret = (struct alert_process){.pid = (uint32_t)field_number(event, "source.process.pid"),
				      .uid = (uint32_t)field_number(event, "source.process.uid"),
				      .comm = field_text(event, "source.process.comm")};
	if (*field_text(event, "source.process.executable"))
		ret->executable = field_text(event, "source.process.executable");
	return ret->pid != 0;
}

/* A drop for another reason than policy is no connection that somebody wanted. */
static bool is_opening(const json_t *event)
{
	return !strcmp(field_text(event, "type"), "flow") ||
	       !strcmp(field_text(event, "reason"), "policy_denied_egress") ||
	       !strcmp(field_text(event, "reason"), "policy_denied_ingress");
}

static int replay_opening(struct replay *replay, const json_t *event)
{
	char from[ALERT_NAME_MAX], to[ALERT_NAME_MAX], backend[ALERT_NAME_MAX];
	struct alert_opening opening = {.denied = strcmp(field_text(event, "type"), "flow") != 0};
	struct alert_process process;

	if (!parse_time(field_text(event, "time"), &opening.time_ns))
		return fail(replay, "time: no time such as 2026-11-22T10:00:00.000001Z");
	if (!parse_proto(field_text(event, "proto"), &opening.proto))
		return fail(replay, "proto: no protocol");
	if (!read_end(replay, field(event, "source"), from, &opening.from) ||
	    !read_end(replay, field(event, "destination"), to, &opening.to))
		return fail(replay, "source, destination: no address, port and pod as monitor has "
				    "them");
	opening.from.local = !strcmp(field_text(event, "hook"), "from_pod");
	opening.asked = opening.to.addr;
	opening.asked_port = opening.to.port;
	if (*field_text(event, "destination.service"))
		opening.service = field_text(event, "destination.service");
	if (json_is_object(field(event, "backend")) &&
	    !read_end(replay, field(event, "backend"), backend, &opening.to))
		return fail(replay, "backend: no address, port and pod as monitor has them");
	/* Recorded before there were names of backends: a Service's are pods, as a rule. */
	if (json_is_object(field(event, "backend")) && !field(event, "backend.pod"))
		opening.to.inside = opening.service != NULL;
	if (read_process(event, &process))
		opening.process = &process;
	else
		replay->unknown_processes += opening.from.local;
	if (opening.time_ns > replay->now_ns)
		replay->now_ns = opening.time_ns;
	replay->events++;
	alerts_tick(replay->alerts, replay->now_ns);
	alerts_opening(replay->alerts, &opening);
	return 0;
}

static int replay_line(struct replay *replay, const char *line, size_t length)
{
	CLEANUP(cleanup_json) json_t *event = json_loadb(line, length, 0, NULL);

	if (!json_is_object(event))
		return fail(replay, "no JSON object: expected what polderctl monitor -o jsonl or "
				    "flow-export writes");
	replay->lost += (uint64_t)field_number(event, "lost");
	return is_opening(event) ? replay_opening(replay, event) : 0;
}

static int replay_lines(struct replay *replay, FILE *file)
{
	CLEANUP(cleanup_free) char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int r = 0;

	while (r == 0 && (length = getline(&line, &size, file)) >= 0) {
		replay->line++;
		if (length > LINE_MAX_BYTES)
			return fail(replay, "longer than 1 MiB");
		if (length > 0 && strspn(line, " \t\r\n") < (size_t)length)
			r = replay_line(replay, line, (size_t)length);
	}
	if (r == 0 && ferror(file)) {
		cli_error("%s: cannot be read: %s", replay->file, strerror(errno));
		r = -EIO;
	}
	return r;
}

static int replay_file(struct replay *replay)
{
	bool standard = strcmp(replay->file, "-") == 0;
	FILE *file = standard ? stdin : fopen(replay->file, "re");
	int r;

	if (!file) {
		cli_error("%s: cannot be read: %s", replay->file, strerror(errno));
		return -EIO;
	}
	r = replay_lines(replay, file);
	if (!standard)
		fclose(file);
	return r;
}

/* ---------------------------------------------------------------- the command */

static void tell_gaps(const struct replay *replay)
{
	cli_error("%llu connections were read, %llu alerts told",
		  (unsigned long long)replay->events, (unsigned long long)replay->told);
	if (replay->lost)
		cli_error("the recording lacks %llu events that were lost",
			  (unsigned long long)replay->lost);
	if (replay->has_volume)
		cli_error("volume was not tested: events have no bytes");
	if (replay->has_listener)
		cli_error("newListener was not tested: sockets that listen are no events");
	if (replay->unknown_processes && alerts_wanted(replay->alerts) & ALERTS_WANT_PROCESSES)
		cli_error("of %llu connections no process was recorded: newProcess and shell know "
			  "nothing of them (record with processes on, see docs/observe.md)",
			  (unsigned long long)replay->unknown_processes);
	if (replay->unknown_labels && replay->has_selectors)
		cli_error("some pods are known by name alone: no podSelector matches them, and "
			  "newPeer and newProcess take those of a namespace for one workload; "
			  "give their Pods in a file");
}

int cli_run_alert_test(struct cli *cli)
{
	struct replay replay = {.cli = cli, .file = cli->arguments.items[0]};
	const struct alerts_env env = {on_alert, namespace_labels, &replay};
	int r;

	if (cli->arguments.count < 2) {
		cli_error("alert test: give a recording, and files with TrafficAlerts");
		return CLI_USAGE;
	}
	replay.alerts = alerts_new(&env);
	r = replay.alerts ? read_objects(&replay) : -ENOMEM;
	if (r == 0)
		r = replay_file(&replay);
	if (r == 0) {
		alerts_flush(replay.alerts);
		tell_gaps(&replay);
	}
	if (r == -ENOMEM)
		cli_error("out of memory");
	alerts_free(replay.alerts);
	object_list_clear(&replay.objects);
	return r < 0 ? CLI_FAILED : replay.told ? CLI_DIFFERS : CLI_OK;
}
