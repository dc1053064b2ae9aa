/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands and options, and the help that is made from it. */
#include "agent/cli/cli.h"

#include <string.h>

const struct cli_option_spec cli_options[CLI_OPTION_COUNT] = {
	[CLI_SOCKET] = {"socket", 0, CLI_VALUE_REQUIRED, "PATH", NULL,
			"polderd's control socket (POLDER_SOCKET; " CLI_DEFAULT_SOCKET ")"},
	[CLI_OUTPUT] = {"output", 'o', CLI_VALUE_REQUIRED, "FORMAT", "table json",
			"table for people, json for programs"},
	[CLI_HELP] = {"help", 'h', CLI_VALUE_NONE, NULL, NULL, "show this help"},
	[CLI_VERSION] = {"version", 0, CLI_VALUE_NONE, NULL, NULL, "show polderctl's version"},
	[CLI_WAIT] = {"wait", 0, CLI_VALUE_OPTIONAL, "SECONDS", NULL,
		      "until the agent is ready, for at most 60 seconds or so many"},
	[CLI_LIMIT] = {"limit", 0, CLI_VALUE_REQUIRED, "N", NULL,
		       "at most so many flows; 0: all (default 1000)"},
	[CLI_DROPS] = {"drops", 0, CLI_VALUE_NONE, NULL, NULL, "packets that were dropped"},
	[CLI_FLOWS] = {"flows", 0, CLI_VALUE_NONE, NULL, NULL, "flows that were judged"},
};

const struct cli_command cli_commands[] = {
	{"status", NULL, NULL, NULL, "Show whether the agent is well, and what it works on",
	 CLI_BIT(CLI_WAIT), cli_run_status},
	{"pod", "list", NULL, NULL, "List this node's pods with addresses, identity and isolation",
	 0, cli_run_pods},
	{"service", "list", NULL, NULL, "List Services with their backends", 0, cli_run_services},
	{"policy", "list", NULL, NULL, "List network policies and how many pods they select", 0,
	 cli_run_policies},
	{"flow", "list", NULL, NULL, "List the flows in the flow table", CLI_BIT(CLI_LIMIT),
	 cli_run_flows},
	{"monitor", NULL, NULL, NULL, "Print drops and flows as they happen, one a line",
	 CLI_BIT(CLI_DROPS) | CLI_BIT(CLI_FLOWS), cli_run_monitor},
	{"map", "list", NULL, NULL, "List the BPF maps with size and fill", 0, cli_run_maps},
	{"metrics", NULL, NULL, NULL, "Print the metrics in Prometheus text format", 0,
	 cli_run_metrics},
	{"log", "level", "LEVEL", "error warning info debug", "Set how much the agent logs", 0,
	 cli_run_log_level},
	{"completion", NULL, "SHELL", "bash zsh", "Print the completion script for a shell", 0,
	 cli_run_completion},
};
const size_t cli_command_count = sizeof(cli_commands) / sizeof(*cli_commands);

static void print_usage(const struct cli_command *command, FILE *out)
{
	fprintf(out, "  polderctl %s", command->noun);
	if (command->verb)
		fprintf(out, " %s", command->verb);
	if (command->argument)
		fprintf(out, " %s", command->argument);
	fprintf(out, "\n      %s", command->summary);
	if (command->choices)
		fprintf(out, " (%s)", command->choices);
	fputc('\n', out);
}

static void print_option(const struct cli_option_spec *spec, FILE *out)
{
	char left[64];
	const char *before = spec->value == CLI_VALUE_OPTIONAL ? "[=" : " ";

	snprintf(left, sizeof(left), "%c%c%s--%s%s%s%s", spec->letter ? '-' : ' ',
		 spec->letter ? spec->letter : ' ', spec->letter ? ", " : "  ", spec->name,
		 spec->value_name ? before : "", spec->value_name ? spec->value_name : "",
		 spec->value == CLI_VALUE_OPTIONAL ? "]" : "");
	fprintf(out, "  %-24s %s", left, spec->help);
	if (spec->choices)
		fprintf(out, " (%s)", spec->choices);
	fputc('\n', out);
}

void cli_print_help(const char *noun, const char *verb, FILE *out)
{
	const struct cli_command *command;
	uint32_t options = 0;

	fputs("Usage: polderctl [OPTIONS] COMMAND\n\nCommands:\n", out);
	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (noun && strcmp(noun, command->noun))
			continue;
		if (noun && verb && command->verb && strcmp(verb, command->verb))
			continue;
		print_usage(command, out);
		options |= command->options;
	}
	if (options)
		fputs("\nOptions of these commands:\n", out);
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (options & CLI_BIT(i))
			print_option(&cli_options[i], out);
	fputs("\nOptions of all commands:\n", out);
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (CLI_EVERYWHERE & CLI_BIT(i))
			print_option(&cli_options[i], out);
	fputs("\nExit status: 0 done, 1 failed, 2 wrong usage. See polderctl(8).\n", out);
}
