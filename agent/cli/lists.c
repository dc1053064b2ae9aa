/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that list things. */
#include "agent/cli/lists.h"

#include <stdlib.h>
#include <string.h>

#include "agent/cli/format.h"

#define TITLES_MAX 32

/* ---------------------------------------------------------------- any list */

static struct table *new_table(const struct cli *cli, const struct list_form *form,
			       const char **titles)
{
	size_t count = 0;
	struct table *table;

	/* Answers of several nodes have a column more. */
	if (cli->answer)
		titles[count++] = "NODE";
	for (size_t i = 0; form->titles[i]; i++)
		titles[count++] = form->titles[i];
	for (size_t i = 0; cli->format == CLI_WIDE && form->wide_titles && form->wide_titles[i];
	     i++)
		titles[count++] = form->wide_titles[i];
	titles[count] = NULL;
	table = table_new(titles);
	if (!table)
		abort();
	if (cli->given[CLI_NO_HEADERS])
		table_no_headers(table);
	if (text_has_colours())
		table_colours(table);
	return table;
}

static void print_table(const struct cli *cli, const json_t *list, const struct list_form *form)
{
	const char *titles[TITLES_MAX];
	struct table *table = new_table(cli, form, titles);
	const json_t *item;
	size_t index;

	json_array_foreach (list, index, item) {
		if (cli->answer)
			table_add(table, field_text(item, "node"));
		form->row(table, item);
		if (cli->format == CLI_WIDE && form->wide_titles)
			form->wide_row(table, item);
	}
	if (table_rows(table))
		table_print(table, stdout);
	else
		fputs("No resources found\n", stderr);
	table_free(table);
}

char *list_name_of(const json_t *item, const char *key)
{
	const json_t *value = field(item, key);
	char buffer[FORMAT_MAX], *text;

	text = strdup(json_is_string(value) ? json_string_value(value)
					    : format_scalar(value, buffer));
	if (!text)
		abort();
	return text;
}

static char *plain_name(const json_t *item)
{
	const char *namespace = field_text(item, "namespace"), *name = field_text(item, "name");
	char *text;

	if (asprintf(&text, "%s%s%s", namespace, *namespace ? "/" : "", name) < 0)
		abort();
	return text;
}

/* A line for each. Of things with several lines in the table each name stands once, if they follow
 * each other. */
static void print_names(const json_t *list, const struct list_form *form)
{
	char *last = NULL, *name;
	const json_t *item;
	size_t index;

	json_array_foreach (list, index, item) {
		name = form->name ? form->name(item) : plain_name(item);
		if (!last || strcmp(last, name)) {
			printf("%s/", form->kind);
			text_print(name, NULL, stdout);
			putchar('\n');
		}
		free(last);
		last = name;
	}
	free(last);
}

int list_show(const struct cli *cli, const json_t *list, const struct list_form *form)
{
	if (cli->json) {
		cli_print_json(list);
	} else if (!json_is_array(list)) {
		cli_error("polderd at %s sent something other than a list: is it of the same "
			  "release?",
			  cli->socket);
		return CLI_FAILED;
	} else if (cli->format == CLI_NAMES) {
		print_names(list, form);
	} else {
		print_table(cli, list, form);
	}
	return CLI_OK;
}

int list_run(const struct cli *cli, const char *operation, const json_t *args,
	     const struct list_form *form)
{
	json_t *list;
	int code;

	if (cli_ask(cli, operation, args, &list) < 0)
		return CLI_FAILED;
	code = list_show(cli, list, form);
	json_decref(list);
	return code;
}

void list_add_scalar(struct table *table, const json_t *item, const char *path)
{
	const json_t *value = field(item, path);
	char buffer[FORMAT_MAX];

	table_add(table,
		  json_is_string(value) ? json_string_value(value) : format_scalar(value, buffer));
}

void list_add_strings(struct table *table, const json_t *list)
{
	char *text = format_list(list, LIST_MOST);

	table_add(table, text);
	free(text);
}

/* ---------------------------------------------------------------- pods */

static void add_state(struct table *table, const char *state)
{
	enum table_colour colour = !strcmp(state, "ready")     ? COLOUR_GREEN
				   : !strcmp(state, "waiting") ? COLOUR_YELLOW
							       : COLOUR_RED;

	table_add_colour(table, colour, state);
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
	list_add_scalar(table, pod, "namespace");
	list_add_scalar(table, pod, "name");
	add_state(table, field_text(pod, "state"));
	list_add_strings(table, field(pod, "ips"));
	list_add_scalar(table, pod, "link");
	list_add_scalar(table, pod, "identity");
	add_isolation(table, field(pod, "ingress"));
	add_isolation(table, field(pod, "egress"));
}

static void add_pod_more(struct table *table, const json_t *pod)
{
	list_add_scalar(table, pod, "container_id");
	list_add_scalar(table, pod, "ifname");
	list_add_scalar(table, pod, "mac");
	list_add_scalar(table, pod, "mtu");
}

int cli_run_pods(struct cli *cli)
{
	static const char *const wide_titles[] = {"CONTAINER", "IFNAME", "MAC", "MTU", NULL};
	static const char *const titles[] = {"NAMESPACE", "NAME",    "STATE",  "IPS", "LINK",
					     "IDENTITY",  "INGRESS", "EGRESS", NULL};
	static const struct list_form form = {.kind = "pod",
					      .titles = titles,
					      .row = add_pod,
					      .wide_titles = wide_titles,
					      .wide_row = add_pod_more};

	return list_run(cli, "pods", NULL, &form);
}

static void add_node(struct table *table, const json_t *node)
{
	list_add_scalar(table, node, "name");
	list_add_strings(table, field(node, "addresses"));
	list_add_strings(table, field(node, "pod_ranges"));
	list_add_strings(table, field(node, "refused_ranges"));
	list_add_scalar(table, node, "ipv4");
	list_add_scalar(table, node, "ipv6");
	list_add_scalar(table, node, "number");
	list_add_scalar(table, node, "since");
}

int cli_run_nodes(struct cli *cli)
{
	static const char *const titles[] = {"NAME", "ADDRESSES", "POD RANGES", "REFUSED", "IPV4",
					     "IPV6", "NUMBER",	  "SINCE",	NULL};
	static const struct list_form form = {.kind = "node", .titles = titles, .row = add_node};

	return list_run(cli, "nodes", NULL, &form);
}

static void add_load_balancer(struct table *table, const json_t *one)
{
	list_add_scalar(table, one, "address");
	list_add_scalar(table, one, "namespace");
	list_add_scalar(table, one, "name");
	list_add_scalar(table, one, "state");
	list_add_scalar(table, one, "node");
	list_add_scalar(table, one, "link");
	list_add_scalar(table, one, "since");
	list_add_scalar(table, one, "reason");
}

static char *address_name(const json_t *one)
{
	return list_name_of(one, "address");
}

int cli_run_load_balancers(struct cli *cli)
{
	static const char *const titles[] = {"ADDRESS", "NAMESPACE", "SERVICE", "STATE", "NODE",
					     "LINK",	"SINCE",     "REASON",	NULL};
	static const struct list_form form = {.kind = "load-balancer",
					      .titles = titles,
					      .row = add_load_balancer,
					      .name = address_name};

	return list_run(cli, "load-balancers", NULL, &form);
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
	list_add_strings(table, texts);
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
	list_add_strings(table, texts);
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
	list_add_scalar(table, service, "namespace");
	list_add_scalar(table, service, "name");
	list_add_scalar(table, service, "kind");
	add_service_address(table, service);
	list_add_scalar(table, service, "port");
	list_add_scalar(table, service, "protocol");
	list_add_scalar(table, service, "port_name");
	add_backends(table, field(service, "backends"));
	add_local_backends(table, service);
	add_service_terms(table, service);
}

int cli_run_services(struct cli *cli)
{
	static const char *const titles[] = {"NAMESPACE", "NAME",     "KIND",	   "ADDRESS",
					     "PORT",	  "PROTOCOL", "PORT-NAME", "BACKENDS",
					     "THIS-NODE", "TERMS",    NULL};
	static const struct list_form form = {
		.kind = "service", .titles = titles, .row = add_service};

	return list_run(cli, "services", NULL, &form);
}

static void add_policy(struct table *table, const json_t *policy)
{
	list_add_scalar(table, policy, "tier");
	list_add_scalar(table, policy, "namespace");
	list_add_scalar(table, policy, "name");
	list_add_strings(table, field(policy, "types"));
	list_add_scalar(table, policy, "selected_pods");
	list_add_scalar(table, policy, "rules");
}

int cli_run_policies(struct cli *cli)
{
	static const char *const titles[] = {"TIER", "NAMESPACE", "NAME", "TYPES",
					     "PODS", "RULES",	  NULL};
	static const struct list_form form = {
		.kind = "policy", .titles = titles, .row = add_policy};

	return list_run(cli, "policies", NULL, &form);
}

static void add_map(struct table *table, const json_t *map)
{
	json_int_t entries = field_number(map, "entries"), most = field_number(map, "max_entries");
	char bytes[FORMAT_MAX];

	list_add_scalar(table, map, "name");
	list_add_scalar(table, map, "type");
	list_add_scalar(table, map, "entries");
	list_add_scalar(table, map, "max_entries");
	if (most > 0 && json_is_integer(field(map, "entries")))
		table_addf(table, "%.1f%%", 100.0 * (double)entries / (double)most);
	else
		table_add(table, NULL);
	list_add_scalar(table, map, "key_bytes");
	list_add_scalar(table, map, "value_bytes");
	table_add(table, field(map, "memory_bytes")
				 ? format_bytes(field_number(map, "memory_bytes"), bytes)
				 : NULL);
}

int cli_run_maps(struct cli *cli)
{
	static const char *const titles[] = {"NAME", "TYPE",  "ENTRIES", "MAX", "FILL",
					     "KEY",  "VALUE", "MEMORY",	 NULL};
	static const struct list_form form = {.kind = "map", .titles = titles, .row = add_map};

	return list_run(cli, "maps", NULL, &form);
}

int list_show_nodes(const struct cli *cli, const json_t *answers, list_shower show_one)
{
	struct cli one = *cli;
	const json_t *answer;
	int code = CLI_OK;
	size_t index;

	one.answer = NULL;
	json_array_foreach (answers, index, answer) {
		if (cli->format != CLI_NAMES) {
			printf("%sNode ", index ? "\n" : "");
			text_print(field_text(answer, "node"), NULL, stdout);
			putchar('\n');
			fflush(stdout);
		}
		code = show_one(&one, answer) ? CLI_FAILED : code;
	}
	return code;
}
