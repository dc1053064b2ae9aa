/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl pod show, service show: one of them, with all that concerns it. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"

/* ---------------------------------------------------------------- both */

static bool is_named(const json_t *item, const char *full_name)
{
	const char *namespace = field_text(item, "namespace"), *name = field_text(item, "name");
	size_t length = strlen(namespace);

	return strncmp(full_name, namespace, length) == 0 && full_name[length] == '/' &&
	       strcmp(full_name + length + 1, name) == 0;
}

/* Elements of that name. */
static json_t *named(const json_t *list, const char *full_name)
{
	json_t *found = json_array(), *item;
	size_t index;

	json_array_foreach ((json_t *)list, index, item) {
		if (is_named(item, full_name))
			json_array_append(found, item);
	}
	return found;
}

/* Asks, and takes what has the name that was given. NULL after a complaint. */
static json_t *ask_for_named(const struct cli *cli, const char *operation, const char *what,
			     const char *where)
{
	json_t *list, *found;

	if (!strchr(cli->argument, '/')) {
		cli_error("%s: expected NAMESPACE/NAME of a %s", cli->argument, what);
		return NULL;
	}
	if (cli_ask(cli, operation, NULL, &list) < 0)
		return NULL;
	found = named(list, cli->argument);
	json_decref(list);
	if (json_array_size(found))
		return found;
	cli_error("there is no %s %s %s", what, cli->argument, where);
	json_decref(found);
	return NULL;
}

static void print_line(const char *title, const char *text)
{
	printf("%-14s ", title);
	text_print(*text ? text : "-", NULL, stdout);
	putchar('\n');
}

static void print_list(const char *title, const json_t *list)
{
	char *text = format_list(list, SIZE_MAX);

	print_line(title, text);
	free(text);
}

static void print_scalar(const char *title, const json_t *item, const char *path)
{
	const json_t *value = field(item, path);
	char buffer[FORMAT_MAX];

	print_line(title,
		   json_is_string(value) ? json_string_value(value) : format_scalar(value, buffer));
}

/* ---------------------------------------------------------------- a pod */

static bool has_ip(const json_t *pod, const char *address)
{
	const json_t *ip;
	size_t index;

	json_array_foreach (field(pod, "ips"), index, ip) {
		if (!strcmp(json_string_value(ip) ? json_string_value(ip) : "", address))
			return true;
	}
	return false;
}

static bool is_endpoint(const json_t *service, const json_t *pod)
{
	const json_t *backend;
	size_t index;

	json_array_foreach (field(service, "backends"), index, backend) {
		if (has_ip(pod, field_text(backend, "address")))
			return true;
	}
	return false;
}

/* "demo/web" of the Services that lead to it, each once. */
static json_t *services_of(const json_t *services, const json_t *pod)
{
	json_t *found = json_object(), *names = json_array();
	const json_t *service;
	const char *name;
	json_t *value;
	size_t index;

	json_array_foreach (services, index, service) {
		char full[FORMAT_MAX * 4];

		snprintf(full, sizeof(full), "%s/%s", field_text(service, "namespace"),
			 field_text(service, "name"));
		if (is_endpoint(service, pod))
			json_object_set_new(found, full, json_true());
	}
	json_object_foreach (found, name, value) {
		json_array_append_new(names, json_string(name));
	}
	json_decref(found);
	return names;
}

static void print_isolation(const char *title, const json_t *direction)
{
	if (json_is_true(field(direction, "isolated")))
		printf("%-14s isolated, rule set %lld\n", title,
		       (long long)field_number(direction, "ruleset"));
	else
		print_line(title, "open");
}

static void print_labels(const json_t *labels)
{
	json_t *value;
	const char *key;
	bool first = true;

	json_object_foreach ((json_t *)labels, key, value) {
		printf("%-14s ", first ? "Labels" : "");
		text_print(key, NULL, stdout);
		putchar('=');
		text_print(json_string_value(value) ? json_string_value(value) : "", NULL, stdout);
		putchar('\n');
		first = false;
	}
}

static void print_pod(const json_t *pod, const json_t *services, const json_t *drops)
{
	const json_t *row;
	size_t index;

	print_scalar("Namespace", pod, "namespace");
	print_scalar("Name", pod, "name");
	print_scalar("State", pod, "state");
	print_list("IPs", field(pod, "ips"));
	print_scalar("MAC", pod, "mac");
	print_scalar("MTU", pod, "mtu");
	print_scalar("Interface", pod, "ifname");
	print_scalar("Link", pod, "link");
	print_scalar("Container", pod, "container_id");
	print_scalar("Identity", pod, "identity");
	print_isolation("Ingress", field(pod, "ingress"));
	print_isolation("Egress", field(pod, "egress"));
	print_labels(field(pod, "labels"));
	print_list("Services", services);
	json_array_foreach (drops, index, row) {
		printf("%-14s %lld ", index ? "" : "Dropped",
		       (long long)field_number(row, "packets"));
		text_print_colour(COLOUR_RED, field_text(row, "reason"));
		putchar(' ');
		text_print(field_text(row, "policy"), NULL, stdout);
		putchar('\n');
	}
	if (!json_array_size(drops))
		print_line("Dropped", "nothing since polderd started");
	else
		puts("               why, and what to do: polderctl drop list --pod NS/POD");
}

/* NULL: not known, which is no reason to say nothing of the pod. */
static json_t *ask_for_more(const struct cli *cli, const char *operation, const json_t *args)
{
	char message[1536];
	json_t *answer;

	return cli_ask_quietly(cli, operation, args, &answer, message, sizeof(message)) < 0
		       ? NULL
		       : answer;
}

static int show_pod(const struct cli *cli, const json_t *pods)
{
	json_t *args = json_pack("{s:{s:s}}", "filter", "pod", cli->argument),
	       *services = ask_for_more(cli, "services", NULL),
	       *drops = ask_for_more(cli, "drops", args), *documents = json_array(), *names;
	const json_t *pod;
	size_t index;

	json_array_foreach (pods, index, pod) {
		names = services_of(services, pod);
		if (!cli->json)
			print_pod(pod, names, field(drops, "drops"));
		json_array_append_new(documents,
				      json_pack("{s:O, s:O, s:O?}", "pod", pod, "services", names,
						"drops", field(drops, "drops")));
		json_decref(names);
	}
	if (cli->json)
		cli_print_json(documents);
	json_decref(documents);
	json_decref(services);
	json_decref(drops);
	json_decref(args);
	return CLI_OK;
}

int cli_run_pod_show(struct cli *cli)
{
	json_t *pods = ask_for_named(cli, "pods", "pod",
				     "on this node: polderctl pod list has those that there are");
	int code;

	if (!pods)
		return CLI_FAILED;
	code = show_pod(cli, pods);
	json_decref(pods);
	return code;
}

/* ---------------------------------------------------------------- a Service */

/* "demo/web-1" of a pod of this node, else "". */
static void name_of(const json_t *pods, const char *address, char *ret, size_t size)
{
	const json_t *pod;
	size_t index;

	*ret = '\0';
	json_array_foreach (pods, index, pod) {
		if (has_ip(pod, address))
			snprintf(ret, size, "%s/%s", field_text(pod, "namespace"),
				 field_text(pod, "name"));
	}
}

static void print_backends(const json_t *service, const json_t *pods)
{
	char endpoint[FORMAT_MAX], pod[FORMAT_MAX * 4];
	const json_t *backend;
	size_t index;

	json_array_foreach (field(service, "backends"), index, backend) {
		name_of(pods, field_text(backend, "address"), pod, sizeof(pod));
		printf("  %-11s %-46s ", field_text(backend, "state"),
		       format_endpoint(field_text(backend, "address"),
				       field_number(backend, "port"), endpoint));
		text_print(*pod ? pod : "not a pod of this node", NULL, stdout);
		putchar('\n');
	}
	if (!json_array_size(field(service, "backends")))
		puts("  no endpoint: who asks is refused. Are its pods ready, does its selector "
		     "fit?");
}

static void print_service(const json_t *service, const json_t *pods)
{
	char endpoint[FORMAT_MAX];

	text_print(field_text(service, "kind"), NULL, stdout);
	printf(" %s %s", field_text(service, "protocol"),
	       format_endpoint(field_text(service, "address"), field_number(service, "port"),
			       endpoint));
	if (*field_text(service, "port_name")) {
		fputs(" (", stdout);
		text_print(field_text(service, "port_name"), NULL, stdout);
		putchar(')');
	}
	printf(", traffic policy %s\n", field_text(service, "traffic_policy"));
	print_backends(service, pods);
}

int cli_run_service_show(struct cli *cli)
{
	json_t *services = ask_for_named(cli, "services", "Service",
					 "that is served here: polderctl service list has those "
					 "that there are, polderctl status why one is not"),
	       *pods;
	const json_t *service;
	size_t index;

	if (!services)
		return CLI_FAILED;
	if (cli->json) {
		cli_print_json(services);
	} else {
		pods = ask_for_more(cli, "pods", NULL);
		json_array_foreach (services, index, service) {
			print_service(service, pods);
		}
		json_decref(pods);
	}
	json_decref(services);
	return CLI_OK;
}
