/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl policy show: one policy in words, with what its rules have counted. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

static void print_pair(const char *head, const char *text)
{
	printf("%-12s", head);
	text_print(*text ? text : "-", NULL, stdout);
	putchar('\n');
}

static void print_head(const json_t *policy)
{
	char *types = format_list(field(policy, "types"), 2);
	char priority[FORMAT_MAX];

	print_pair("Kind", field_text(policy, "kind"));
	print_pair("Name", field_text(policy, "policy"));
	print_pair("Tier", field_text(policy, "tier"));
	if (json_is_integer(field(policy, "priority")))
		print_pair("Priority", format_scalar(field(policy, "priority"), priority));
	print_pair("Subject", field_text(policy, "subject"));
	print_pair("Directions", types);
	free(types);
}

static void print_pods(const json_t *pods)
{
	printf("Pods here   %zu\n", json_array_size(pods));
	for (size_t i = 0; i < json_array_size(pods); i++) {
		const json_t *pod = json_array_get(pods, i);
		char *ips = format_list(field(pod, "ips"), 2);

		fputs("  ", stdout);
		text_print(field_text(pod, "pod"), NULL, stdout);
		printf(" %s\n", ips);
		free(ips);
	}
}

static void add_count(struct table *table, const json_t *item)
{
	char bytes[FORMAT_MAX], packets[FORMAT_MAX];

	table_add(table, json_is_false(field(item, "counted"))
				 ? "not counted"
				 : format_scalar(field(item, "packets"), packets));
	table_add(table, json_is_number(field(item, "bytes"))
				 ? format_bytes(field_number(item, "bytes"), bytes)
				 : NULL);
}

static void add_rule(struct table *table, const json_t *rule)
{
	table_add(table, field_text(rule, "rule_path"));
	table_add(table, field_text(rule, "rule_name"));
	table_add(table, field_text(rule, "action"));
	add_count(table, rule);
	table_add(table, field_text(rule, "text"));
}

static void add_default(struct table *table, const json_t *policy, const char *direction)
{
	const json_t *part = json_object_get(field(policy, "default_deny"), direction);

	if (!json_is_object(part))
		return;
	table_addf(table, "default %s", direction);
	table_add(table, NULL);
	table_add(table, "Deny");
	add_count(table, part);
	table_add(table, field_text(part, "text"));
}

static int print_rules(const json_t *policy)
{
	static const char *const titles[] = {"RULE",  "NAME", "ACTION", "PACKETS",
					     "BYTES", "WHAT", NULL};
	struct table *table = table_new(titles);
	const json_t *rules = field(policy, "rules");

	if (!table) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	for (size_t i = 0; i < json_array_size(rules); i++)
		add_rule(table, json_array_get(rules, i));
	add_default(table, policy, "ingress");
	add_default(table, policy, "egress");
	if (table_rows(table)) {
		putchar('\n');
		table_print(table, stdout);
	}
	table_free(table);
	return CLI_OK;
}

int cli_run_policy_show(struct cli *cli)
{
	json_t *args = json_pack("{s:s}", "name", cli->argument), *policy = NULL;
	int r = args ? cli_ask(cli, "policy", args, &policy) : -1;

	if (!args)
		cli_error("the name is not UTF-8");
	json_decref(args);
	if (r < 0)
		return CLI_FAILED;
	r = CLI_OK;
	if (cli->json) {
		cli_print_json(policy);
	} else {
		print_head(policy);
		print_pods(field(policy, "pods"));
		r = print_rules(policy);
	}
	json_decref(policy);
	return r;
}
