/* SPDX-License-Identifier: Apache-2.0 */
/* The agents of a cluster, and polderctl in their pods. */
#include "agent/cli/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/kubectl.h"
#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

#define OUTPUT_MAX (256u << 20)

/* ---------------------------------------------------------------- agents */

static const json_t *named(const json_t *list, const char *name)
{
	const json_t *item;
	size_t index;

	json_array_foreach (list, index, item) {
		if (!strcmp(field_text(item, "name"), name))
			return item;
	}
	return NULL;
}

/* Why nothing can run in this pod; "" if it can. */
static void find_why_not(const json_t *pod, char *ret, size_t size)
{
	const json_t *status = named(field(pod, "status.containerStatuses"), CLUSTER_CONTAINER);
	const char *phase = field_text(pod, "status.phase"), *reason;

	*ret = '\0';
	if (json_is_object(field(status, "state.running")))
		return;
	reason = field_text(status, "state.waiting.reason");
	if (!*reason)
		reason = field_text(status, "state.terminated.reason");
	if (!*reason)
		reason = field_text(pod, "status.reason");
	snprintf(ret, size, "pod %s/%s is not running (%s%s%s)",
		 field_text(pod, "metadata.namespace"), field_text(pod, "metadata.name"),
		 *phase ? phase : "no phase", *reason ? ", " : "", reason);
}

static bool is_terminating(const struct cluster_agent *agent, const json_t *pod)
{
	return *field_text(pod, "metadata.deletionTimestamp");
}

/* A running pod before one that is not; of two that run, the one that stays. */
static void add_agent(struct cluster *cluster, const json_t *pod)
{
	const json_t *container = named(field(pod, "spec.containers"), CLUSTER_CONTAINER);
	struct cluster_agent agent = {.node = field_text(pod, "spec.nodeName"),
				      .namespace = field_text(pod, "metadata.namespace"),
				      .pod = field_text(pod, "metadata.name"),
				      .image = field_text(container, "image")};
	struct cluster_agent *other;

	if (!container || !*agent.node || !*agent.pod || agent.pod[0] == '-')
		return;
	find_why_not(pod, agent.why_not, sizeof(agent.why_not));
	other = (struct cluster_agent *)cluster_agent_of(cluster, agent.node);
	if (!other)
		cluster->agents[cluster->count++] = agent;
	else if (!*agent.why_not && (*other->why_not || !is_terminating(&agent, pod)))
		*other = agent;
}

static int by_node(const void *a, const void *b)
{
	return strcmp(((const struct cluster_agent *)a)->node,
		      ((const struct cluster_agent *)b)->node);
}

void cluster_of_pods(json_t *document, struct cluster *ret)
{
	const json_t *items = field(document, "items"), *pod;
	size_t index;

	*ret = (struct cluster){.document = document};
	ret->agents = calloc(json_array_size(items) + 1, sizeof(*ret->agents));
	if (!ret->agents)
		abort();
	json_array_foreach (items, index, pod) {
		add_agent(ret, pod);
	}
	qsort(ret->agents, ret->count, sizeof(*ret->agents), by_node);
}

const struct cluster_agent *cluster_agent_of(const struct cluster *cluster, const char *node)
{
	for (size_t i = 0; i < cluster->count; i++)
		if (!strcmp(cluster->agents[i].node, node))
			return &cluster->agents[i];
	return NULL;
}

void cluster_clear(struct cluster *cluster)
{
	free(cluster->agents);
	json_decref(cluster->document);
	*cluster = (struct cluster){0};
}

/* Where commands have pods of a namespace, -n is that one. */
static const char *agents_namespace(const struct cli *cli)
{
	if (cli->given[CLI_AGENT_NAMESPACE] || cli->command->options & CLI_BIT(CLI_NAMESPACE))
		return cli->values[CLI_AGENT_NAMESPACE];
	return cli->values[CLI_NAMESPACE];
}

int cluster_find(const struct cli *cli, const char *node, struct cluster *ret)
{
	const char *namespace = agents_namespace(cli);
	const char *words[] = {"get",
			       "pods",
			       "-o",
			       "json",
			       "-l",
			       CLUSTER_LABEL,
			       NULL,
			       NULL /* -n NS */,
			       NULL /* --field-selector */,
			       NULL};
	CLEANUP(cleanup_free) char *selector = NULL;
	json_t *document;
	size_t used = 6;

	if (namespace) {
		words[used++] = "-n";
		words[used++] = namespace;
	} else {
		words[used++] = "-A";
	}
	if (node) {
		if (asprintf(&selector, "--field-selector=spec.nodeName=%s", node) < 0)
			abort();
		words[used++] = selector;
	}
	if (kubectl_json(cli, "the agents' pods cannot be listed", words, &document) < 0)
		return -1;
	cluster_of_pods(document, ret);
	if (ret->count)
		return 0;
	cluster_clear(ret);
	if (node)
		cli_error("no agent's pod is on node %s%s%s: is that its name (kubectl get nodes), "
			  "and Polder installed there? Its pods have the label " CLUSTER_LABEL,
			  node, namespace ? " in namespace " : "", namespace ? namespace : "");
	else
		cli_error("no agent's pod was found%s%s: is Polder installed in this cluster? Its "
			  "pods have the label " CLUSTER_LABEL,
			  namespace ? " in namespace " : "", namespace ? namespace : "");
	return -1;
}

/* ---------------------------------------------------------------- calls */

void cluster_call_set(const struct cli *cli, struct cluster_call *call,
		      const struct cluster_agent *agent, const char *const *words,
		      const char *input)
{
	size_t count = 0, used = 0;
	const char **all;

	while (words[count])
		count++;
	all = calloc(count + 10, sizeof(*all));
	if (!all)
		abort();
	all[used++] = "exec";
	if (input)
		all[used++] = "-i";
	all[used++] = "-n";
	all[used++] = agent->namespace;
	all[used++] = agent->pod;
	all[used++] = "-c";
	all[used++] = CLUSTER_CONTAINER;
	all[used++] = "--";
	all[used++] = "polderctl";
	memcpy(all + used, words, count * sizeof(*words));
	*call = (struct cluster_call){.agent = agent, .argv = kubectl_argv(cli, all)};
	free(all);
	call->process = (struct process){.argv = call->argv,
					 .input = input,
					 .input_length = input ? strlen(input) : 0,
					 .most = OUTPUT_MAX,
					 .data = call};
}

void cluster_call_clear(struct cluster_call *call)
{
	process_clear(&call->process);
	free(call->argv);
	json_decref(call->result);
	*call = (struct cluster_call){0};
}

/* What polderctl has said there, each line with the node. */
static void pass_errors_on(const struct cluster_call *call)
{
	char *line, *rest = NULL;

	for (line = strtok_r(call->process.errors, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (!strncmp(line, "polderctl: ", strlen("polderctl: ")))
			line += strlen("polderctl: ");
		cli_error("node %s: %s", call->agent->node, line);
	}
}

static void take_result(struct cluster_call *call)
{
	char message[1536];

	call->code = CLI_OK;
	if (call->process.error || call->process.status) {
		call->failed = !kubectl_remote_status(&call->process, &call->code);
		if (call->failed) {
			kubectl_explain(&call->process, message, sizeof(message));
			cli_error("node %s: %s", call->agent->node, message);
			call->code = CLI_FAILED;
			return;
		}
	}
	if (call->process.cut) {
		cli_error("node %s: polderctl printed more than %u MiB there", call->agent->node,
			  OUTPUT_MAX >> 20);
		call->failed = true;
		call->code = CLI_FAILED;
	}
	pass_errors_on(call);
}

void cluster_call_all(struct cluster_call *calls, size_t count, int timeout_ms)
{
	struct process *list = calloc(count + 1, sizeof(*list));
	size_t used = 0;

	if (!list)
		abort();
	for (size_t i = 0; i < count; i++)
		if (!*calls[i].agent->why_not)
			list[used++] = calls[i].process;
	processes_run(list, used, timeout_ms ? CLUSTER_AT_ONCE : used, timeout_ms);
	used = 0;
	for (size_t i = 0; i < count; i++) {
		if (!*calls[i].agent->why_not) {
			calls[i].process = list[used++];
			take_result(&calls[i]);
			continue;
		}
		cli_error("node %s: %s", calls[i].agent->node, calls[i].agent->why_not);
		calls[i].failed = true;
		calls[i].code = CLI_FAILED;
	}
	free(list);
}

bool cluster_call_json(struct cluster_call *call)
{
	if (call->failed)
		return false;
	if (!json_text_load(call->process.output, call->process.output_length, 0, NULL,
			    &call->result))
		return true;
	/* It has said why, if it could. */
	if (call->code == CLI_OK)
		cli_error("node %s: polderctl's answer is no JSON: is it of the same release?",
			  call->agent->node);
	call->failed = true;
	if (!call->code)
		call->code = CLI_FAILED;
	return false;
}

/* ---------------------------------------------------------------- words */

static void add_word(char **words, size_t *used, char *word)
{
	if (!word)
		abort();
	words[(*used)++] = word;
}

static void add_option(char **words, size_t *used, const char *name, const char *value)
{
	char *word = NULL;

	if (asprintf(&word, value ? "--%s=%s" : "--%s", name, value) < 0)
		abort();
	add_word(words, used, word);
}

static bool is_for_agents(const struct cli *cli, int option)
{
	return cli->given[option] && option != CLI_OUTPUT && option != CLI_WITH &&
	       !(CLI_OF_PLUGIN & ~cli->command->options & CLI_BIT(option));
}

char **cluster_words(const struct cli *cli, const char *output, const char *input)
{
	const struct cli_command *command = cli->command;
	size_t used = 0, most = 7 + cli->arguments.count + CLI_OPTION_COUNT;
	const struct cli_list *list;
	char **words;

	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		most += cli->lists[i].count;
	words = calloc(most, sizeof(*words));
	if (!words)
		abort();
	add_word(words, &used, strdup(command->noun));
	if (command->verb)
		add_word(words, &used, strdup(command->verb));
	if (output)
		add_option(words, &used, "output", output);
	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		list = &cli->lists[i];
		if (!is_for_agents(cli, i))
			continue;
		for (size_t k = 0; k < list->count; k++)
			add_option(words, &used, cli_options[i].name, list->items[k]);
		if (!list->count)
			add_option(words, &used, cli_options[i].name, cli->values[i]);
	}
	if (input)
		add_word(words, &used, strdup(command->argument ? "-" : "--with=-"));
	else if (command->argument && strcmp(command->argument, "FILE")) {
		add_word(words, &used, strdup("--"));
		for (size_t i = 0; i < cli->arguments.count; i++)
			add_word(words, &used, strdup(cli->arguments.items[i]));
	}
	return words;
}

void cluster_words_clear(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}
