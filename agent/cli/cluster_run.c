/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl's commands in the agents' pods: one node as it is there, several nodes as one list. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/cli/format.h"
#include "agent/cli/kubectl.h"
#include "agent/cli/resources.h"
#include "agent/cli/table.h"
#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

#define LINE_LEAST 256

/* Whose command makes one answer of all nodes' answers. */
static bool is_list(const struct cli_command *command)
{
	return command->verb &&
	       (!strcmp(command->verb, "list") || command->run == cli_run_policy_suggest);
}

/* Waits as long as it has to: the time is the command's own. */
static int timeout_of(const struct cli *cli)
{
	return cli->given[CLI_WAIT] || cli->given[CLI_FOR] || cli->given[CLI_WATCH] ||
			       cli->command->run_in_cluster == cluster_run_policy_try ||
			       cli->command->run_in_cluster == cluster_run_monitor ||
			       cli->command->run_in_cluster == cluster_run_capture
		       ? 0
		       : KUBECTL_TIMEOUT_MS;
}

int cluster_check_nodes(const struct cli *cli)
{
	if (!cli->given[CLI_NODE] || !cli->given[CLI_ALL_NODES])
		return CLI_OK;
	cli_error("--node and --all-nodes: give one of them");
	return CLI_USAGE;
}

/* ---------------------------------------------------------------- one node */

static void pass_on(struct process *process, const char *data, size_t length)
{
	fwrite(data, 1, length, stdout);
	fflush(stdout);
	if (ferror(stdout) && process->pid > 0)
		kill(process->pid, SIGTERM);
}

/* Its output and status, as they are there. */
int cluster_run_on_node(struct cli *cli, const char *input)
{
	char **words = cluster_words(cli, cli->values[CLI_OUTPUT], input);
	struct cluster cluster = {0};
	struct cluster_call call = {0};
	int code = CLI_FAILED;

	if (!cluster_find(cli, cli->values[CLI_NODE], &cluster)) {
		cluster_call_set(cli, &call, &cluster.agents[0], (const char *const *)words, input);
		call.process.on_output = pass_on;
		cluster_call_all(&call, 1, timeout_of(cli));
		code = call.code;
		cluster_call_clear(&call);
	}
	cluster_clear(&cluster);
	cluster_words_clear(words);
	return code;
}

/* ---------------------------------------------------------------- all nodes */

/* Nodes that have no agent's pod; who may not list nodes does not learn of them. */
static void tell_nodes_without_agent(const struct cli *cli, const struct cluster *cluster)
{
	const char *const words[] = {"get", "nodes", "-o", "jsonpath={.items[*].metadata.name}",
				     NULL};
	CLEANUP(cleanup_free) char **argv = kubectl_argv(cli, words);
	struct process process = {.argv = argv, .most = 16u << 20};
	char *name, *rest = NULL;

	processes_run(&process, 1, 1, KUBECTL_TIMEOUT_MS);
	for (name = process.error || process.status ? NULL : strtok_r(process.output, " \n", &rest);
	     name; name = strtok_r(NULL, " \n", &rest))
		if (!cluster_agent_of(cluster, name))
			cli_error("node %s: no agent's pod is there", name);
	process_clear(&process);
}

static void put_node(json_t *object, const char *node)
{
	if (json_is_object(object))
		json_object_set_new(object, "node", json_string(node));
}

/* All nodes' answers in one list. An element has the key `node`. */
static json_t *merge(struct cluster_call *calls, size_t count, int *code)
{
	json_t *merged = json_array(), *item;
	size_t index;

	for (size_t i = 0; i < count; i++) {
		if (!cluster_call_json(&calls[i])) {
			*code = calls[i].code > *code ? calls[i].code : *code;
			continue;
		}
		if (!json_is_array(calls[i].result)) {
			put_node(calls[i].result, calls[i].agent->node);
			json_array_append(merged, calls[i].result);
			continue;
		}
		json_array_foreach (calls[i].result, index, item) {
			put_node(item, calls[i].agent->node);
			json_array_append(merged, item);
		}
	}
	return merged;
}

static void print_texts(const struct cluster_call *calls, size_t count)
{
	for (size_t i = 0, printed = 0; i < count; i++) {
		if (calls[i].failed || !calls[i].process.output_length)
			continue;
		printf("%sNode ", printed++ ? "\n" : "");
		text_print(calls[i].agent->node, NULL, stdout);
		putchar('\n');
		text_print(calls[i].process.output, "\n", stdout);
	}
}

static int show(struct cli *cli, struct cluster_call *calls, size_t count)
{
	int code = CLI_OK, r;
	json_t *merged;

	for (size_t i = 0; i < count; i++)
		code = calls[i].code > code ? calls[i].code : code;
	if (!cli->json && !is_list(cli->command)) {
		print_texts(calls, count);
		return code;
	}
	merged = merge(calls, count, &code);
	if (cli->json && cli->command->run != cli_run_policy_suggest) {
		cli_print_json(merged);
	} else {
		cli->answer = merged;
		r = cli->command->run(cli);
		cli->answer = NULL;
		/* That one node alone has seen nothing is not for all to say. */
		code = r > code || code == CLI_DIFFERS ? r : code;
	}
	json_decref(merged);
	return code;
}

int cluster_run_on_all(struct cli *cli, const char *input)
{
	char **words =
		cluster_words(cli, cli->json || is_list(cli->command) ? "json" : NULL, input);
	struct cluster cluster = {0};
	struct cluster_call *calls;
	int code = CLI_FAILED;

	if (!cluster_find(cli, NULL, &cluster)) {
		calls = calloc(cluster.count, sizeof(*calls));
		if (!calls)
			abort();
		for (size_t i = 0; i < cluster.count; i++)
			cluster_call_set(cli, &calls[i], &cluster.agents[i],
					 (const char *const *)words, input);
		tell_nodes_without_agent(cli, &cluster);
		cluster_call_all(calls, cluster.count, timeout_of(cli));
		code = show(cli, calls, cluster.count);
		for (size_t i = 0; i < cluster.count; i++)
			cluster_call_clear(&calls[i]);
		free(calls);
	}
	cluster_clear(&cluster);
	cluster_words_clear(words);
	return code;
}

int cluster_run(struct cli *cli)
{
	if (cluster_check_nodes(cli))
		return CLI_USAGE;
	if (cli->given[CLI_WATCH] && !cli->given[CLI_NODE]) {
		cli_error("--watch shows one node: give --node");
		return CLI_USAGE;
	}
	return cli->given[CLI_NODE] ? cluster_run_on_node(cli, NULL)
				    : cluster_run_on_all(cli, NULL);
}

int cluster_refuse_here(struct cli *cli)
{
	cli_error("%s needs no agent, and runs on its node: polderctl %s", cli->command->noun,
		  cli->command->noun);
	return CLI_USAGE;
}

/* ---------------------------------------------------------------- streams */

/* The line that one node's monitor has begun. */
struct follower {
	const struct cli *cli;
	const char *node;
	char *text;
	size_t length;
};

static void show_event(const struct follower *follower)
{
	json_t *event;

	if (!follower->cli->json) {
		text_print(follower->node, NULL, stdout);
		putchar(' ');
		text_print(follower->text, NULL, stdout);
		putchar('\n');
		return;
	}
	if (json_text_load(follower->text, follower->length, 0, NULL, &event) < 0)
		return;
	put_node(event, follower->node);
	cli_print_line(event);
	json_decref(event);
}

static void add_text(struct follower *follower, const char *data, size_t length)
{
	char *grown = realloc(follower->text, follower->length + length + LINE_LEAST);

	if (!grown)
		abort();
	memcpy(grown + follower->length, data, length);
	follower->length += length;
	grown[follower->length] = '\0';
	follower->text = grown;
}

static void on_events(struct process *process, const char *data, size_t length)
{
	struct follower *follower = process->data;
	const char *end;

	while ((end = memchr(data, '\n', length))) {
		add_text(follower, data, (size_t)(end - data));
		show_event(follower);
		length -= (size_t)(end + 1 - data);
		data = end + 1;
		follower->length = 0;
	}
	add_text(follower, data, length);
	fflush(stdout);
	if (ferror(stdout) && process->pid > 0)
		kill(process->pid, SIGTERM);
}

static int follow_nodes(struct cli *cli, const struct cluster *cluster, char **words,
			const char *input)
{
	struct cluster_call *calls = calloc(cluster->count, sizeof(*calls));
	struct follower *followers = calloc(cluster->count, sizeof(*followers));
	int code = CLI_OK;

	if (!calls || !followers)
		abort();
	for (size_t i = 0; i < cluster->count; i++) {
		cluster_call_set(cli, &calls[i], &cluster->agents[i], (const char *const *)words,
				 input);
		followers[i] = (struct follower){.cli = cli, .node = cluster->agents[i].node};
		calls[i].process.data = &followers[i];
		calls[i].process.on_output = on_events;
	}
	cluster_call_all(calls, cluster->count, 0);
	for (size_t i = 0; i < cluster->count; i++) {
		code = calls[i].code > code ? calls[i].code : code;
		cluster_call_clear(&calls[i]);
		free(followers[i].text);
	}
	free(followers);
	free(calls);
	return code;
}

/* All nodes' lines as they come, each with its node. */
static int follow_all(struct cli *cli, const char *input)
{
	char **words = cluster_words(cli, cli->json ? "json" : NULL, input);
	struct cluster cluster = {0};
	int code = CLI_FAILED;

	if (!cluster_find(cli, NULL, &cluster)) {
		if (cluster.count > CLUSTER_FOLLOW_MAX)
			cli_error("%d nodes can be followed at a time, and there are %zu: give "
				  "--node",
				  CLUSTER_FOLLOW_MAX, cluster.count);
		else
			code = follow_nodes(cli, &cluster, words, input);
	}
	cluster_clear(&cluster);
	cluster_words_clear(words);
	return code;
}

int cluster_run_monitor(struct cli *cli)
{
	if (cluster_check_nodes(cli))
		return CLI_USAGE;
	return cli->given[CLI_NODE] ? cluster_run_on_node(cli, NULL) : follow_all(cli, NULL);
}

/* Files of one node at a time; what is named here is not there. */
int cluster_run_capture(struct cli *cli)
{
	const char *file = cli->given[CLI_WRITE] ? cli->values[CLI_WRITE] : "-";

	if (!cli->given[CLI_NODE]) {
		cli_error("capture: --node NODE says on which node");
		return CLI_USAGE;
	}
	if (strcmp(file, "-") || cli->given[CLI_READ]) {
		cli_error("capture: files are the agent's pod's here: -w - > FILE writes one of "
			  "this machine, and polderctl reads it");
		return CLI_USAGE;
	}
	return cluster_run_on_node(cli, NULL);
}

/* ---------------------------------------------------------------- policy try */

/* A stream of YAML documents: JSON has no stream, and a list would be a document of its own. */
char *cluster_documents(const json_t *list)
{
	const json_t *document;
	char *text = NULL;
	size_t index, size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	json_array_foreach (list, index, document) {
		fputs("---\n", out);
		json_dumpf(document, out, JSON_COMPACT | JSON_ENCODE_ANY);
		fputc('\n', out);
	}
	if (fclose(out))
		abort();
	return text;
}

/* The files are here, the agents there: their objects go as one text to standard input. */
int cluster_run_policy_try(struct cli *cli)
{
	CLEANUP(cleanup_json) json_t *objects = NULL;
	CLEANUP(cleanup_free) char *text = NULL;

	if (cluster_check_nodes(cli))
		return CLI_USAGE;
	if (cli->given[CLI_COMMIT]) {
		cli_error("--commit: in a cluster objects are put in force with kubectl apply");
		return CLI_USAGE;
	}
	if (cli->arguments.count) {
		if (resources_read(cli->arguments.items, cli->arguments.count, &objects) < 0)
			return CLI_FAILED;
		text = cluster_documents(objects);
	}
	if (cli->given[CLI_NODE])
		return cluster_run_on_node(cli, text);
	return cli->json ? follow_all(cli, text) : cluster_run_on_all(cli, text);
}
