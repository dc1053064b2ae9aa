/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that list things. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

#define LIST_MOST     4
#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     100000000
#define TITLES_MAX    16

/* Adds the cells of one object. */
typedef void (*row_function)(struct table *table, const json_t *item);

/* Answers of several nodes have a column more. */
static void print_list(const struct cli *cli, const json_t *list, const char *const *titles,
		       row_function add_row)
{
	const char *all[TITLES_MAX] = {"NODE"};
	struct table *table;
	const json_t *item;
	size_t index;

	for (size_t i = 0; titles[i]; i++)
		all[i + 1] = titles[i];
	table = table_new(cli->answer ? all : titles);
	if (!table)
		abort();
	json_array_foreach (list, index, item) {
		if (cli->answer)
			table_add(table, field_text(item, "node"));
		add_row(table, item);
	}
	if (table_rows(table))
		table_print(table, stdout);
	else
		fputs("No resources found\n", stderr);
	table_free(table);
}

static int show_list(const struct cli *cli, const json_t *list, const char *const *titles,
		     row_function add_row)
{
	if (cli->json)
		cli_print_json(list);
	else if (json_is_array(list))
		print_list(cli, list, titles, add_row);
	else {
		cli_error("polderd at %s sent something other than a list: is it of the same "
			  "release?",
			  cli->socket);
		return CLI_FAILED;
	}
	return CLI_OK;
}

static int run_list(const struct cli *cli, const char *operation, const char *const *titles,
		    row_function add_row)
{
	json_t *list;
	int code;

	if (cli_ask(cli, operation, NULL, &list) < 0)
		return CLI_FAILED;
	code = show_list(cli, list, titles, add_row);
	json_decref(list);
	return code;
}

static void add_scalar(struct table *table, const json_t *item, const char *path)
{
	const json_t *value = field(item, path);
	char buffer[FORMAT_MAX];

	table_add(table,
		  json_is_string(value) ? json_string_value(value) : format_scalar(value, buffer));
}

static void add_strings(struct table *table, const json_t *list)
{
	char *text = format_list(list, LIST_MOST);

	table_add(table, text);
	free(text);
}

static void add_isolation(struct table *table, const json_t *direction)
{
	if (json_is_true(field(direction, "isolated")))
		table_addf(table, "isolated #%lld", (long long)field_number(direction, "ruleset"));
	else
		table_add(table, json_is_object(direction) ? "open" : "");
}

static void add_pod(struct table *table, const json_t *pod)
{
	add_scalar(table, pod, "namespace");
	add_scalar(table, pod, "name");
	add_scalar(table, pod, "state");
	add_strings(table, field(pod, "ips"));
	add_scalar(table, pod, "link");
	add_scalar(table, pod, "identity");
	add_isolation(table, field(pod, "ingress"));
	add_isolation(table, field(pod, "egress"));
}

int cli_run_pods(struct cli *cli)
{
	static const char *const titles[] = {"NAMESPACE", "NAME",    "STATE",  "IPS", "LINK",
					     "IDENTITY",  "INGRESS", "EGRESS", NULL};

	return run_list(cli, "pods", titles, add_pod);
}

static void add_node(struct table *table, const json_t *node)
{
	add_scalar(table, node, "name");
	add_strings(table, field(node, "addresses"));
	add_strings(table, field(node, "pod_ranges"));
	add_strings(table, field(node, "refused_ranges"));
	add_scalar(table, node, "ipv4");
	add_scalar(table, node, "ipv6");
	add_scalar(table, node, "number");
	add_scalar(table, node, "since");
}

int cli_run_nodes(struct cli *cli)
{
	static const char *const titles[] = {"NAME", "ADDRESSES", "POD RANGES", "REFUSED", "IPV4",
					     "IPV6", "NUMBER",	  "SINCE",	NULL};

	return run_list(cli, "nodes", titles, add_node);
}

static void add_load_balancer(struct table *table, const json_t *one)
{
	add_scalar(table, one, "address");
	add_scalar(table, one, "namespace");
	add_scalar(table, one, "name");
	add_scalar(table, one, "state");
	add_scalar(table, one, "node");
	add_scalar(table, one, "link");
	add_scalar(table, one, "since");
	add_scalar(table, one, "reason");
}

int cli_run_load_balancers(struct cli *cli)
{
	static const char *const titles[] = {"ADDRESS", "NAMESPACE", "SERVICE", "STATE", "NODE",
					     "LINK",	"SINCE",     "REASON",	NULL};

	return run_list(cli, "load-balancers", titles, add_load_balancer);
}

/* "10.0.0.1:80,10.0.0.2:80 (terminating) +3". */
static void add_backends(struct table *table, const json_t *backends)
{
	json_t *texts = json_array();
	char endpoint[FORMAT_MAX];
	const json_t *item;
	size_t index;

	json_array_foreach (backends, index, item) {
		format_endpoint(field_text(item, "address"), field_number(item, "port"), endpoint);
		json_array_append_new(texts,
				      json_sprintf("%s%s", endpoint,
						   strcmp(field_text(item, "state"), "terminating")
							   ? ""
							   : " (terminating)"));
	}
	add_strings(table, texts);
	json_decref(texts);
}

/* A node port is at the nodes' addresses. */
static void add_service_address(struct table *table, const json_t *service)
{
	const char *address = field_text(service, "address");

	if (strcmp(address, "0.0.0.0") == 0)
		table_add(table, "nodes (IPv4)");
	else if (strcmp(address, "::") == 0)
		table_add(table, "nodes (IPv6)");
	else
		table_add(table, address);
}

/* What is not as it is by default: "Local,affinity 60 s,dsr,hints: zone". */
static void add_service_terms(struct table *table, const json_t *service)
{
	json_t *texts = json_array(), *ranges = (json_t *)field(service, "source_ranges");
	long long seconds = field_number(service, "affinity_seconds");
	const char *hints = field_text(service, "hints"),
		   *reason = field_text(service, "hints_reason");

	if (strcmp(field_text(service, "traffic_policy"), "Local") == 0)
		json_array_append_new(texts, json_string("Local"));
	if (strcmp(field_text(service, "forwarding"), "dsr") == 0)
		json_array_append_new(texts, json_string("dsr"));
	if (seconds)
		json_array_append_new(texts, json_sprintf("affinity %lld s", seconds));
	if (json_is_array(ranges))
		json_array_append_new(texts,
				      json_sprintf("%zu source ranges", json_array_size(ranges)));
	if (*hints)
		json_array_append_new(texts, json_sprintf("hints: %s", hints));
	if (*reason)
		json_array_append_new(texts, json_sprintf("hints not used: %s", reason));
	add_strings(table, texts);
	json_decref(texts);
}

/* This node's set says something where it is what counts. */
static void add_local_backends(struct table *table, const json_t *service)
{
	if (strcmp(field_text(service, "traffic_policy"), "Local") == 0)
		add_backends(table, field(service, "local_backends"));
	else
		table_add(table, "");
}

static void add_service(struct table *table, const json_t *service)
{
	add_scalar(table, service, "namespace");
	add_scalar(table, service, "name");
	add_scalar(table, service, "kind");
	add_service_address(table, service);
	add_scalar(table, service, "port");
	add_scalar(table, service, "protocol");
	add_scalar(table, service, "port_name");
	add_backends(table, field(service, "backends"));
	add_local_backends(table, service);
	add_service_terms(table, service);
}

int cli_run_services(struct cli *cli)
{
	static const char *const titles[] = {"NAMESPACE", "NAME",     "KIND",	   "ADDRESS",
					     "PORT",	  "PROTOCOL", "PORT-NAME", "BACKENDS",
					     "THIS-NODE", "TERMS",    NULL};

	return run_list(cli, "services", titles, add_service);
}

static void add_policy(struct table *table, const json_t *policy)
{
	add_scalar(table, policy, "tier");
	add_scalar(table, policy, "namespace");
	add_scalar(table, policy, "name");
	add_strings(table, field(policy, "types"));
	add_scalar(table, policy, "selected_pods");
	add_scalar(table, policy, "rules");
}

int cli_run_policies(struct cli *cli)
{
	static const char *const titles[] = {"TIER", "NAMESPACE", "NAME", "TYPES",
					     "PODS", "RULES",	  NULL};

	return run_list(cli, "policies", titles, add_policy);
}

static void add_endpoint(struct table *table, const json_t *item, const char *address,
			 const char *port)
{
	char buffer[FORMAT_MAX];

	table_add(table,
		  format_endpoint(field_text(item, address), field_number(item, port), buffer));
}

/* What the packet's addresses become; "-" where nothing changes. */
static void add_translation(struct table *table, const json_t *flow)
{
	char source[FORMAT_MAX], destination[FORMAT_MAX];

	format_endpoint(field_text(flow, "new_source"), field_number(flow, "new_source_port"),
			source);
	format_endpoint(field_text(flow, "new_destination"),
			field_number(flow, "new_destination_port"), destination);
	if (source[0] && destination[0])
		table_addf(table, "%s -> %s", source, destination);
	else if (source[0])
		table_addf(table, "%s ->", source);
	else if (destination[0])
		table_addf(table, "-> %s", destination);
	else
		table_add(table, NULL);
}

static void add_flow(struct table *table, const json_t *flow)
{
	char idle[FORMAT_MAX];

	add_scalar(table, flow, "proto");
	add_endpoint(table, flow, "source", "source_port");
	add_endpoint(table, flow, "destination", "destination_port");
	add_translation(table, flow);
	if (*field_text(flow, "node"))
		table_addf(table, "%s (%s)", field_text(flow, "action"), field_text(flow, "node"));
	else
		add_scalar(table, flow, "action");
	add_strings(table, field(flow, "state"));
	add_scalar(table, flow, "reply");
	add_scalar(table, flow, "current");
	table_add(table, format_duration(field_number(flow, "idle_seconds"), idle));
	add_scalar(table, flow, "packets");
	add_scalar(table, flow, "bytes");
}

static int parse_limit(const char *text, json_int_t *ret)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || value > LIMIT_MAX)
		return -EINVAL;
	*ret = value;
	return 0;
}

int cli_run_flows(struct cli *cli)
{
	static const char *const titles[] = {"PROTO",  "SOURCE",  "DESTINATION", "TRANSLATED",
					     "ACTION", "STATE",	  "REPLY",	 "CURRENT",
					     "IDLE",   "PACKETS", "BYTES",	 NULL};
	json_int_t limit = LIMIT_DEFAULT;
	json_t *args, *list;
	int code;

	if (cli->values[CLI_LIMIT] && parse_limit(cli->values[CLI_LIMIT], &limit) < 0) {
		cli_error("--limit %s: expected a number from 0 to %d", cli->values[CLI_LIMIT],
			  LIMIT_MAX);
		return CLI_USAGE;
	}
	args = json_pack("{s:I}", "limit", limit);
	code = cli_ask(cli, "flows", args, &list) < 0 ? CLI_FAILED : CLI_OK;
	json_decref(args);
	if (code)
		return code;
	code = show_list(cli, list, titles, add_flow);
	if (limit && !cli->answer && json_array_size(list) >= (size_t)limit)
		cli_error("only the first %lld flows are shown: use --limit N for more, --limit "
			  "0 for all",
			  (long long)limit);
	json_decref(list);
	return code;
}

static void add_map(struct table *table, const json_t *map)
{
	json_int_t entries = field_number(map, "entries"), most = field_number(map, "max_entries");
	char bytes[FORMAT_MAX];

	add_scalar(table, map, "name");
	add_scalar(table, map, "type");
	add_scalar(table, map, "entries");
	add_scalar(table, map, "max_entries");
	if (most > 0 && json_is_integer(field(map, "entries")))
		table_addf(table, "%.1f%%", 100.0 * (double)entries / (double)most);
	else
		table_add(table, NULL);
	add_scalar(table, map, "key_bytes");
	add_scalar(table, map, "value_bytes");
	table_add(table, field(map, "memory_bytes")
				 ? format_bytes(field_number(map, "memory_bytes"), bytes)
				 : NULL);
}

int cli_run_maps(struct cli *cli)
{
	static const char *const titles[] = {"NAME", "TYPE",  "ENTRIES", "MAX", "FILL",
					     "KEY",  "VALUE", "MEMORY",	 NULL};

	return run_list(cli, "maps", titles, add_map);
}
