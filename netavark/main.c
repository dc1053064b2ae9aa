/* SPDX-License-Identifier: Apache-2.0 */
/* polder-netavark: reads what netavark or podman asks for, has polderd do it, prints the result or
 * the error. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cni_code.h"
#include "agent/common/streams.h"
#include "netavark/commands.h"
#include "plugin/io.h"
#include "plugin/log.h"
#include "plugin/text.h"

#define API_VERSION "1.0.0"
#define INPUT_MAX   (1u << 20)
/* podman reads the output after the plugin has ended: it has to fit in a pipe. */
#define OUTPUT_MAX 65536

struct command {
	const char *name;
	bool has_netns; /* the path is its argument */
	int (*run)(json_t *input, const char *netns, json_t **ret_output,
		   struct error *ret_failure);
	void (*undo)(json_t *input); /* when nobody got the output; NULL: nothing to undo */
};

static const struct command commands[] = {
	{"create", false, netavark_create, NULL},
	{"setup", true, netavark_setup, netavark_undo_setup},
	{"teardown", true, netavark_teardown, NULL},
};

/* podman knows the key "error" and no other. */
static int report(const struct error *failure)
{
	char text[sizeof(failure->text) + sizeof(failure->details) + 2];
	json_t *error;

	snprintf(text, sizeof(text), "%s%s%s", failure->text, failure->details[0] ? ": " : "",
		 failure->details);
	error = json_pack("{s:o}", "error", text_json(text));

	if (!error || output_print(error, OUTPUT_MAX) < 0)
		plugin_log("%s (which cannot be written to standard output)", text);
	json_decref(error);
	return EXIT_FAILURE;
}

static int read_input(json_t **ret, struct error *ret_failure)
{
	char *text = NULL;
	size_t length = 0;
	int r = input_read(INPUT_MAX, &text, &length, ret_failure);

	if (!r)
		r = input_parse(text, length, INPUT_MAX, ret, ret_failure);
	free(text);
	return r;
}

/* 0 or -EINVAL. */
static int deliver(const struct command *command, json_t *input, const json_t *output,
		   struct error *ret_failure)
{
	int r = output_print(output, OUTPUT_MAX);

	if (!r)
		return 0;
	if (command->undo)
		command->undo(input);
	if (r == -EMSGSIZE)
		return error_set(
			ret_failure, -EINVAL, CNI_IO_FAILURE,
			"the result has more than %d bytes, which podman cannot read: give "
			"the network fewer options and labels",
			OUTPUT_MAX);
	return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE,
			 "the result cannot be written to standard output: %s", strerror(-r));
}

static int run(const struct command *command, const char *netns, struct error *ret_failure)
{
	json_t *input = NULL, *output = NULL;
	int r = read_input(&input, ret_failure);

	if (r < 0)
		return r;
	r = command->run(json_incref(input), netns, &output, ret_failure);
	if (!r && output)
		r = deliver(command, input, output, ret_failure);
	json_decref(output);
	json_decref(input);
	return r;
}

static int print_info(void)
{
	json_t *info =
		json_pack("{s:s, s:s}", "version", POLDER_VERSION, "api_version", API_VERSION);
	int r = info ? output_print(info, OUTPUT_MAX) : -ENOMEM;

	json_decref(info);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static const char help[] =
	"Usage: polder-netavark create | setup NETNS | teardown NETNS | info\n"
	"       polder-netavark --help | --version\n\n"
	"A netavark plugin: podman and netavark start it, with JSON on standard input.\n"
	"    podman network create --driver polder-netavark NAME\n"
	"See polder-netavark(8).\n";

/* For people. -1: it is not for them. */
static int answer_person(const char *argument)
{
	if (!strcmp(argument, "--help") || !strcmp(argument, "-h"))
		return fputs(help, stdout) < 0 || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
	if (!strcmp(argument, "--version"))
		return puts("polder-netavark " POLDER_VERSION) < 0 || fflush(stdout) ? EXIT_FAILURE
										     : EXIT_SUCCESS;
	return -1;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int check_arguments(const struct command *command, int argc, char **argv,
			   struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];
	int wanted;

	if (!command)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "unknown subcommand \"%s\": there are create, setup, teardown and "
				 "info, see polder-netavark(8)",
				 text_quote(argv[1], quoted));
	wanted = command->has_netns ? 3 : 2;
	if (argc < wanted || (command->has_netns && !*argv[2]))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "%s: the path of the network namespace is missing", command->name);
	if (argc > wanted)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "%s: unexpected argument \"%s\"", command->name,
				 text_quote(argv[wanted], quoted));
	return 0;
}

int main(int argc, char **argv)
{
	const struct command *command;
	struct error failure = {0};
	int r;

	streams_fill();
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || !strcmp(argv[1], "info"))
		return print_info();
	r = answer_person(argv[1]);
	if (r >= 0)
		return r;
	command = find_command(argv[1]);
	r = check_arguments(command, argc, argv, &failure);
	if (!r)
		r = run(command, command->has_netns ? argv[2] : NULL, &failure);
	return r < 0 ? report(&failure) : EXIT_SUCCESS;
}
