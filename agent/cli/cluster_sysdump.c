/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl polder sysdump: the sysdumps of all nodes, the agents' logs, and what the API server says
 * of them, in one archive. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/archive.h"
#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/cli/kubectl.h"
#include "agent/cli/redact.h"
#include "agent/cli/sysdump.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

#define NODE_MAX   (64u << 20) /* bytes of one node's archive */
#define TIMEOUT_MS 120000

/* Output of kubectl that is JSON, without values of environments. */
static void add_object(struct sysdump *dump, const char *name, const struct process *process)
{
	json_t *value;

	if (json_text_load(process->output, process->output_length, 0, NULL, &value) < 0) {
		sysdump_miss(dump, name, "kubectl's output is no JSON, or too large");
		return;
	}
	redact_object(value);
	sysdump_add_json(dump, name, value);
	json_decref(value);
}

static void add_from_kubectl(struct sysdump *dump)
{
	static const struct {
		const char *name;
		const char *words[7];
	} questions[] = {
		{"cluster/version.json", {"version", "-o", "json"}},
		{"cluster/nodes.json", {"get", "nodes", "-o", "json"}},
		{"cluster/daemonsets.json",
		 {"get", "daemonsets", "-A", "-l", CLUSTER_LABEL, "-o", "json"}},
		{"cluster/events.json", {"get", "events", "-A", "-o", "json"}},
	};
	struct process list[COUNT(questions)] = {0};
	char **argv[COUNT(questions)], message[1536];

	for (size_t i = 0; i < COUNT(questions); i++) {
		const char *words[COUNT(questions[i].words) + 1] = {NULL};

		memcpy(words, questions[i].words, sizeof(questions[i].words));
		argv[i] = kubectl_argv(dump->cli, words);
		list[i] = (struct process){.argv = argv[i], .most = NODE_MAX};
	}
	processes_run(list, COUNT(questions), CLUSTER_AT_ONCE, KUBECTL_TIMEOUT_MS);
	for (size_t i = 0; i < COUNT(questions); i++) {
		if (!list[i].error && !list[i].status) {
			add_object(dump, questions[i].name, &list[i]);
		} else {
			kubectl_explain(&list[i], message, sizeof(message));
			sysdump_miss(dump, questions[i].name, message);
		}
		process_clear(&list[i]);
		free(argv[i]);
	}
}

/* The log of an agent, of its container as it is and as it was before its last start. */
static void add_log(struct sysdump *dump, const struct cluster_agent *agent, bool previous)
{
	const char *words[] = {"logs",
			       agent->pod,
			       "-n",
			       agent->namespace,
			       "-c",
			       CLUSTER_CONTAINER,
			       "--timestamps",
			       "--tail=10000",
			       previous ? "--previous" : NULL,
			       NULL};
	CLEANUP(cleanup_free) char **argv = kubectl_argv(dump->cli, words);
	struct process process = {.argv = argv, .most = SYSDUMP_TEXT_MAX};
	char name[ARCHIVE_NAME_MAX], message[1536];

	snprintf(name, sizeof(name), "nodes/%.60s%s.log", agent->node, previous ? "-before" : "");
	processes_run(&process, 1, 1, KUBECTL_TIMEOUT_MS);
	if (!process.error && !process.status) {
		sysdump_add(dump, name, process.output, process.output_length,
			    process.cut ? "cut: there is more" : NULL);
	} else {
		kubectl_explain(&process, message, sizeof(message));
		sysdump_miss(dump, name, message);
	}
	process_clear(&process);
}

static bool add_node(struct sysdump *dump, const struct cluster_call *call)
{
	char name[ARCHIVE_NAME_MAX];

	snprintf(name, sizeof(name), "nodes/%.60s.tar.gz", call->agent->node);
	if (call->failed || call->code || !call->process.output_length)
		sysdump_miss(dump, name,
			     *call->agent->why_not ? call->agent->why_not
						   : "its agent's pod gave no sysdump");
	else
		sysdump_add_binary(dump, name, call->process.output, call->process.output_length);
	add_log(dump, call->agent, false);
	add_log(dump, call->agent, true);
	return !call->failed && !call->code;
}

/* Some nodes at a time: their archives are held in memory. */
static int add_nodes(struct sysdump *dump, const struct cluster *cluster)
{
	static const char *const words[] = {"sysdump", "-", NULL};
	struct cluster_call calls[CLUSTER_AT_ONCE];
	int code = CLI_OK;

	for (size_t at = 0, count; at < cluster->count; at += count) {
		count = cluster->count - at < COUNT(calls) ? cluster->count - at : COUNT(calls);
		for (size_t i = 0; i < count; i++) {
			cluster_call_set(dump->cli, &calls[i], &cluster->agents[at + i], words,
					 NULL);
			calls[i].process.most = NODE_MAX;
		}
		cluster_call_all(calls, count, TIMEOUT_MS);
		for (size_t i = 0; i < count; i++) {
			if (!add_node(dump, &calls[i]))
				code = CLI_FAILED;
			cluster_call_clear(&calls[i]);
		}
	}
	return code;
}

int cluster_run_sysdump(struct cli *cli)
{
	struct cluster cluster = {0};
	struct sysdump dump;
	char *path;
	int code = CLI_FAILED, r;

	if (cluster_check_nodes(cli))
		return CLI_USAGE;
	if (cluster_find(cli, cli->values[CLI_NODE], &cluster) < 0)
		return CLI_FAILED;
	if (!sysdump_open(cli, "cluster", &dump, &path)) {
		redact_object(cluster.document);
		sysdump_add_json(&dump, "cluster/agents.json", cluster.document);
		add_from_kubectl(&dump);
		code = add_nodes(&dump, &cluster);
		r = sysdump_close(&dump, path);
		code = r ? r : code;
	}
	cluster_clear(&cluster);
	return code;
}
