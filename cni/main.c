/* SPDX-License-Identifier: Apache-2.0 */
/* polder-cni: reads what the runtime asks for, has polderd do it, prints the result or the error.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cni_files.h"
#include "agent/common/streams.h"
#include "cni/commands.h"
#include "plugin/io.h"
#include "plugin/log.h"

#define OUTPUT_MAX	       SIZE_MAX
#define VERSION_OF_LAST_RESORT "1.0.0"

typedef int (*command_function)(struct cni_config *config,
				const struct cni_environment *environment, json_t **ret_output,
				struct error *ret_failure);

static const command_function commands[] = {
	[CNI_ADD] = cni_add, [CNI_DEL] = cni_del,	[CNI_CHECK] = cni_check,
	[CNI_GC] = cni_gc,   [CNI_STATUS] = cni_status,
};

/* A person who asks for the version gives no configuration: `*ret` stays as it is. */
static int read_config(bool may_be_empty, json_t **ret, struct error *ret_failure)
{
	char *text = NULL;
	size_t length = 0;
	int r = input_read(CNI_CONFIG_MAX, &text, &length, ret_failure);

	if (!r && (length || !may_be_empty))
		r = input_parse(text, length, CNI_CONFIG_MAX, ret, ret_failure);
	free(text);
	return r;
}

/* The version asked for comes back, whichever it is: the runtime picks from the list. */
static json_t *version_output(const char *version)
{
	json_t *supported = json_array();

	for (int i = 0; i < CNI_VERSION_COUNT; i++)
		json_array_append_new(supported, json_string(cni_versions[i]));
	return json_pack("{s:s, s:o}", "cniVersion", version, "supportedVersions", supported);
}

/* What nobody has read was made in vain. 0 or -EINVAL. */
static int deliver(const struct cni_config *config, const struct cni_environment *environment,
		   const json_t *output, struct error *ret_failure)
{
	int r = output_print(output, OUTPUT_MAX);

	if (!r)
		return 0;
	if (environment->command == CNI_ADD)
		cni_undo_add(config, environment);
	return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE,
			 "the result cannot be written to standard output: %s", strerror(-r));
}

/* Takes the reference of `root`. */
static int run(json_t *root, const struct cni_environment *environment, struct error *ret_failure)
{
	struct cni_config config;
	json_t *output = NULL;
	int r = cni_config_decode(root, &config, ret_failure);

	if (r < 0)
		return r;
	r = commands[environment->command](&config, environment, &output, ret_failure);
	if (!r && output)
		r = deliver(&config, environment, output, ret_failure);
	json_decref(output);
	cni_config_clear(&config);
	return r;
}

static int report(const struct error *failure, const char *version)
{
	json_t *error = cni_failure_json(failure, version);

	plugin_log("error %d: %s%s%s", failure->code, failure->text,
		   failure->details[0] ? ": " : "", failure->details);
	if (!error || output_print(error, OUTPUT_MAX) < 0)
		plugin_log("the error object cannot be written to standard output");
	json_decref(error);
	return EXIT_FAILURE;
}

/* In the version of the configuration, as far as it has one that could be read. */
static void read_version(const json_t *root, char *version, size_t size)
{
	const char *text = cni_config_version(root);

	for (int i = 0; text && i < CNI_VERSION_COUNT; i++)
		if (!strcmp(text, cni_versions[i]))
			snprintf(version, size, "%s", text);
}

static int print_version(const json_t *root)
{
	const char *text = root ? json_string_value(json_object_get(root, "cniVersion")) : NULL;
	json_t *output = version_output(text ? text : VERSION_OF_LAST_RESORT);
	int r = output ? output_print(output, OUTPUT_MAX) : -ENOMEM;

	json_decref(output);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static const char help[] =
	"Usage: polder-cni [--help | --version]\n\n"
	"A CNI plugin: the container runtime starts it with CNI_COMMAND and others in the "
	"environment\n"
	"and the network configuration on standard input. CNI 0.3.0, 0.3.1, 0.4.0, 1.0.0, "
	"1.1.0.\n" CNI_PLUGIN_MARK "\n";

/* For people; runtimes give no arguments. */
static int answer_person(const char *argument)
{
	if (!strcmp(argument, "--help") || !strcmp(argument, "-h"))
		return fputs(help, stdout) < 0 || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
	if (!strcmp(argument, "--version"))
		return puts("polder-cni " POLDER_VERSION) < 0 || fflush(stdout) ? EXIT_FAILURE
										: EXIT_SUCCESS;
	plugin_log("unknown argument %s: see polder-cni --help", argument);
	return 2;
}

int main(int argc, char **argv)
{
	struct error failure = {0}, input_failure = {0};
	char version[16] = VERSION_OF_LAST_RESORT;
	struct cni_environment environment = {0};
	json_t *root = NULL;
	int r, input;

	streams_fill();
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		return answer_person(argv[1]);
	r = cni_environment_read(&environment, &failure);
	input = read_config(!r && environment.command == CNI_VERSION, &root, &input_failure);
	if (root)
		read_version(root, version, sizeof(version));
	if (!r && input < 0) {
		failure = input_failure;
		r = input;
	}
	if (!r && environment.command == CNI_VERSION) {
		r = print_version(root);
		json_decref(root);
		return r;
	}
	if (!r)
		r = run(root, &environment, &failure);
	else
		json_decref(root);
	return r < 0 ? report(&failure, version) : EXIT_SUCCESS;
}
