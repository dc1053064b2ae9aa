/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of what the programs' tables hold: identities, rule sets, addresses, endpoints. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/format.h"
#include "agent/cli/lists.h"

/* ---------------------------------------------------------------- identities */

/* "app=web,tier=front" */
static void add_labels(struct table *table, const json_t *labels)
{
	json_t *texts = json_array(), *value;
	const char *key;

	json_object_foreach ((json_t *)labels, key, value) {
		json_array_append_new(
			texts,
			json_sprintf("%s=%s", key,
				     json_string_value(value) ? json_string_value(value) : ""));
	}
	list_add_strings(table, texts);
	json_decref(texts);
}

static void add_identity(struct table *table, const json_t *identity)
{
	list_add_scalar(table, identity, "identity");
	list_add_scalar(table, identity, "namespace");
	add_labels(table, field(identity, "labels"));
}

static char *identity_name(const json_t *item)
{
	return list_name_of(item, "identity");
}

int cli_run_identities(struct cli *cli)
{
	static const char *const titles[] = {"IDENTITY", "NAMESPACE", "LABELS", NULL};
	static const struct list_form form = {
		.kind = "identity", .titles = titles, .row = add_identity, .name = identity_name};

	return list_run(cli, "identities", NULL, &form);
}

/* ---------------------------------------------------------------- rule sets */

static void add_ruleset(struct table *table, const json_t *ruleset)
{
	list_add_scalar(table, ruleset, "ruleset");
	list_add_scalar(table, ruleset, "isolates");
	list_add_scalar(table, ruleset, "ingress_pods");
	list_add_scalar(table, ruleset, "egress_pods");
	list_add_scalar(table, ruleset, "cells");
	list_add_scalar(table, ruleset, "port_classes");
	list_add_scalar(table, ruleset, "has_prefixes");
	list_add_scalar(table, ruleset, "has_ports");
}

static char *ruleset_name(const json_t *item)
{
	return list_name_of(item, "ruleset");
}

int cli_run_rulesets(struct cli *cli)
{
	static const char *const titles[] = {"RULESET",	    "ISOLATES", "INGRESS-PODS",
					     "EGRESS-PODS", "CELLS",	"PORT-CLASSES",
					     "PREFIXES",    "PORTS",	NULL};
	static const struct list_form form = {
		.kind = "ruleset", .titles = titles, .row = add_ruleset, .name = ruleset_name};

	return list_run(cli, "rulesets", NULL, &form);
}

/* ---------------------------------------------------------------- addresses */

static void add_address(struct table *table, const json_t *address)
{
	list_add_scalar(table, address, "prefix");
	list_add_scalar(table, address, "identity");
	list_add_scalar(table, address, "pod");
	list_add_strings(table, field(address, "flags"));
	list_add_scalar(table, address, "node");
}

static char *prefix_name(const json_t *item)
{
	return list_name_of(item, "prefix");
}

int cli_run_addresses(struct cli *cli)
{
	static const char *const titles[] = {"ADDRESS", "IDENTITY", "POD", "FLAGS", "NODE", NULL};
	static const struct list_form form = {
		.kind = "address", .titles = titles, .row = add_address, .name = prefix_name};

	return list_run(cli, "addresses", NULL, &form);
}

/* ---------------------------------------------------------------- made of other lists */

/* Adds rows for one element of the agent's list. */
typedef void (*expand)(json_t *rows, const json_t *item);

/* Nodes' answers are rows already: each has made them itself. */
static int run_expanded(const struct cli *cli, const char *operation, expand add,
			const struct list_form *form)
{
	json_t *list, *rows;
	const json_t *item;
	size_t index;
	int code;

	if (cli->answer)
		return list_run(cli, operation, NULL, form);
	if (cli_ask(cli, operation, NULL, &list) < 0)
		return CLI_FAILED;
	if (!json_is_array(list)) {
		rows = json_incref(list);
	} else {
		rows = json_array();
		json_array_foreach (list, index, item) {
			add(rows, item);
		}
	}
	code = list_show(cli, rows, form);
	json_decref(rows);
	json_decref(list);
	return code;
}

/* Of each port of a Service once: its addresses have the same endpoints. */
static void add_backends_of(json_t *rows, const json_t *service)
{
	const json_t *backend;
	size_t index;

	if (strcmp(field_text(service, "kind"), "ClusterIP") && *field_text(service, "kind") &&
	    strcmp(field_text(service, "kind"), "HostPort"))
		return;
	json_array_foreach (field(service, "backends"), index, backend) {
		json_array_append_new(rows,
				      json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "address",
						field_text(backend, "address"), "port",
						field_number(backend, "port"), "protocol",
						field_text(service, "protocol"), "state",
						field_text(backend, "state"), "namespace",
						field_text(service, "namespace"), "name",
						field_text(service, "name"), "service_port",
						field_number(service, "service_port")));
	}
}

static void add_backend(struct table *table, const json_t *backend)
{
	char endpoint[FORMAT_MAX];

	table_add(table, format_endpoint(field_text(backend, "address"),
					 field_number(backend, "port"), endpoint));
	list_add_scalar(table, backend, "protocol");
	list_add_scalar(table, backend, "state");
	list_add_scalar(table, backend, "namespace");
	list_add_scalar(table, backend, "name");
	list_add_scalar(table, backend, "service_port");
}

static char *endpoint_name(const json_t *backend)
{
	char endpoint[FORMAT_MAX], *text;

	format_endpoint(field_text(backend, "address"), field_number(backend, "port"), endpoint);
	if (asprintf(&text, "%s/%s", field_text(backend, "protocol"), endpoint) < 0)
		abort();
	return text;
}

int cli_run_backends(struct cli *cli)
{
	static const char *const titles[] = {"ENDPOINT", "PROTOCOL", "STATE", "NAMESPACE",
					     "SERVICE",	 "PORT",     NULL};
	static const struct list_form form = {
		.kind = "backend", .titles = titles, .row = add_backend, .name = endpoint_name};

	return run_expanded(cli, "services", add_backends_of, &form);
}

static void add_ips_of(json_t *rows, const json_t *pod)
{
	const json_t *ip;
	size_t index;

	json_array_foreach (field(pod, "ips"), index, ip) {
		json_array_append_new(rows,
				      json_pack("{s:O, s:s, s:s, s:s, s:s, s:I}", "address", ip,
						"namespace", field_text(pod, "namespace"), "name",
						field_text(pod, "name"), "container_id",
						field_text(pod, "container_id"), "ifname",
						field_text(pod, "ifname"), "created",
						field_number(pod, "created")));
	}
}

static void add_ip(struct table *table, const json_t *row)
{
	list_add_scalar(table, row, "address");
	list_add_scalar(table, row, "namespace");
	list_add_scalar(table, row, "name");
	list_add_scalar(table, row, "ifname");
	list_add_scalar(table, row, "container_id");
}

static char *ip_name(const json_t *row)
{
	return list_name_of(row, "address");
}

int cli_run_ipam(struct cli *cli)
{
	static const char *const titles[] = {"ADDRESS", "NAMESPACE", "POD",
					     "IFNAME",	"CONTAINER", NULL};
	static const struct list_form form = {
		.kind = "ip", .titles = titles, .row = add_ip, .name = ip_name};

	return run_expanded(cli, "pods", add_ips_of, &form);
}
