/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl as polderctl's way to a cluster. */
#include "agent/cli/kubectl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/process.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

#define OUTPUT_MAX (256u << 20)
#define REMOTE	   "command terminated with exit code "

char **kubectl_argv(const struct cli *cli, const char *const *words)
{
	size_t count = 0, used = 0;
	const char **argv;

	while (words[count])
		count++;
	argv = calloc(count + 6, sizeof(*argv));
	if (!argv)
		abort();
	argv[used++] = "kubectl";
	if (cli->values[CLI_KUBECONFIG]) {
		argv[used++] = "--kubeconfig";
		argv[used++] = cli->values[CLI_KUBECONFIG];
	}
	if (cli->values[CLI_CONTEXT]) {
		argv[used++] = "--context";
		argv[used++] = cli->values[CLI_CONTEXT];
	}
	memcpy(argv + used, words, count * sizeof(*words));
	return (char **)argv;
}

bool kubectl_remote_status(struct process *process, int *ret_status)
{
	char *line = process->errors, *end, *found = NULL;

	/* The last one: the program may have printed such a line itself. */
	while ((line = strstr(line, REMOTE))) {
		if (line == process->errors || line[-1] == '\n')
			found = line;
		line++;
	}
	if (process->error || !process->status || !found)
		return false;
	*ret_status = (int)strtol(found + strlen(REMOTE), &end, 10);
	if (*end == '\n')
		end++;
	memmove(found, end, strlen(end) + 1);
	process->errors_length = strlen(process->errors);
	return *ret_status != 0;
}

/* The last line with something in it: before it kubectl may have tried again, or warned. */
static void last_line(const char *text, char *ret, size_t size)
{
	const char *line = "";
	size_t length = 0, found = 0;

	for (const char *p = text; *p; p += length + (p[length] == '\n')) {
		length = strcspn(p, "\n");
		if (length) {
			line = p;
			found = length;
		}
	}
	snprintf(ret, size, "%.*s", (int)(found < size ? found : size - 1), line);
}

static const char *hint(const char *text)
{
	static const struct {
		const char *sign, *hint;
	} hints[] = {
		{"(Forbidden)", ": this user needs the rights that docs/operations.md lists for "
				"kubectl polder"},
		{"(Unauthorized)", ": the kubeconfig's credentials are not valid"},
		{"You must be logged in", ": the kubeconfig's credentials are not valid"},
		{"container not found", ": the agent has just ended, or is being started"},
		{"executable file not found", ": is the pod's image Polder's?"},
		{"error dialing backend", ": the API server does not reach that node's kubelet"},
		{"connection to the server", ": --kubeconfig, --context and KUBECONFIG choose the "
					     "cluster"},
		{"does not exist", ": kubectl config get-contexts lists what there is"},
	};

	for (size_t i = 0; i < COUNT(hints); i++)
		if (strstr(text, hints[i].sign))
			return hints[i].hint;
	return "";
}

void kubectl_explain(const struct process *process, char *message, size_t size)
{
	char line[1024];

	if (process->error == -ENOENT)
		snprintf(message, size,
			 "kubectl is not in PATH: polderctl reaches a cluster by it alone");
	else if (process->error == -ETIMEDOUT)
		snprintf(message, size, "kubectl did not end within its time");
	else if (process->error == -ECANCELED)
		snprintf(message, size, "interrupted");
	else if (process->error)
		snprintf(message, size, "kubectl cannot be started: %s", strerror(-process->error));
	else if (process->status > 128)
		snprintf(message, size, "kubectl was ended by signal %d", process->status - 128);
	else {
		last_line(process->errors, line, sizeof(line));
		snprintf(message, size, "kubectl: %s%s", *line ? line : "failed without saying why",
			 hint(line));
	}
}

int kubectl_call(const struct cli *cli, const char *what, const char *const *words,
		 const char *input, char **ret_output)
{
	CLEANUP(cleanup_free) char **argv = kubectl_argv(cli, words);
	struct process process = {.argv = argv,
				  .input = input,
				  .input_length = input ? strlen(input) : 0,
				  .most = OUTPUT_MAX};
	char message[1536];
	int r = 0;

	processes_run(&process, 1, 1, KUBECTL_TIMEOUT_MS);
	if (process.error || process.status) {
		kubectl_explain(&process, message, sizeof(message));
		cli_error("%s: %s", what, message);
		r = -1;
	} else if (process.cut) {
		cli_error("%s: kubectl printed more than %u MiB", what, OUTPUT_MAX >> 20);
		r = -1;
	} else if (ret_output) {
		*ret_output = TAKE_PTR(process.output);
	}
	process_clear(&process);
	return r;
}

int kubectl_json(const struct cli *cli, const char *what, const char *const *words, json_t **ret)
{
	CLEANUP(cleanup_free) char *output = NULL;
	json_t *value;

	if (kubectl_call(cli, what, words, NULL, &output) < 0)
		return -1;
	if (json_text_load(output, strlen(output), 0, NULL, &value) < 0) {
		cli_error("%s: what kubectl printed is no JSON: is it kubectl?", what);
		return -1;
	}
	*ret = value;
	return 0;
}
