/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl polder explain: each node evaluates its own pods' egress and ingress, so the source's
 * node and the destination's are asked, and their halves joined. */
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/cli/explain_join.h"
#include "agent/cli/format.h"
#include "agent/cli/kubectl.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"

#define UNKNOWN	    2
#define ASKED_FIRST 3  /* agents that are tried for the first answer */
#define ENDPOINTS   32 /* endpoints whose nodes are asked */

/* What is asked of each node, with --with's objects as standard input. */
struct question {
	const struct cli *cli;
	const struct cluster *cluster;
	const json_t *args;
	char *objects; /* NULL: none */
};

#define WORDS 9

/* The question as words, about other ends where they are not NULL. */
static void put_words(const struct question *question, const char *to, const char *port,
		      const char *family, char **words)
{
	const char *names[] = {"from", "to", "proto", "port", "family"};
	const char *others[] = {NULL, to, NULL, port, family};
	size_t used = 0;

	words[used++] = strdup("explain");
	words[used++] = strdup("--output=json");
	for (size_t i = 0; i < COUNT(names); i++) {
		const char *value = others[i] ? others[i] : field_text(question->args, names[i]);

		if (*value && asprintf(&words[used++], "--%s=%s", names[i], value) < 0)
			abort();
	}
	if (question->objects)
		words[used++] = strdup("--with=-");
	words[used] = NULL;
}

/* Sets a call of the question about an end of `answer` (NULL: as it was asked). */
static void set_call(const struct question *question, const struct cluster_agent *agent,
		     const char *to, json_int_t port, const char *family, char **words,
		     struct cluster_call *ret)
{
	char number[32] = "";

	if (port > 0)
		snprintf(number, sizeof(number), "%lld", (long long)port);
	put_words(question, to, *number ? number : NULL, family, words);
	cluster_call_set(question->cli, ret, agent, (const char *const *)words, question->objects);
}

static void clear_words(char **words)
{
	for (size_t i = 0; words[i]; i++)
		free(words[i]);
}

/* The answer of one agent to the question as it was asked; NULL after a complaint. */
static json_t *ask(const struct question *question, const struct cluster_agent *agent)
{
	char *words[WORDS] = {NULL};
	struct cluster_call call;
	json_t *answer = NULL;

	set_call(question, agent, NULL, 0, NULL, words, &call);
	cluster_call_all(&call, 1, KUBECTL_TIMEOUT_MS);
	if (cluster_call_json(&call))
		answer = json_incref(call.result);
	cluster_call_clear(&call);
	clear_words(words);
	return answer;
}

/* Any agent knows where the ends are. */
static json_t *ask_anyone(const struct question *question, const char **ret_node)
{
	const struct cluster *cluster = question->cluster;
	json_t *answer = NULL;

	for (size_t i = 0, tried = 0; !answer && i < cluster->count && tried < ASKED_FIRST; i++) {
		if (*cluster->agents[i].why_not)
			continue;
		answer = ask(question, &cluster->agents[i]);
		*ret_node = cluster->agents[i].node;
		tried++;
	}
	for (size_t i = 0; !answer && i < cluster->count; i++)
		if (*cluster->agents[i].why_not)
			cli_error("node %s: %s", cluster->agents[i].node,
				  cluster->agents[i].why_not);
	return answer;
}

/* The answer of the node that evaluates the source's egress, if one does; else of any. */
static json_t *ask_source(const struct question *question, struct explain_half *ret)
{
	const struct cluster_agent *agent;
	const char *asked = NULL, *node;
	json_t *answer = ask_anyone(question, &asked), *better;

	if (!answer || strcmp(field_text(answer, "from.kind"), "pod")) {
		*ret = (struct explain_half){.answer = answer};
		return answer;
	}
	node = field_text(answer, "from.node");
	*ret = (struct explain_half){.node = node, .answer = answer};
	if (!strcmp(node, asked))
		return answer;
	ret->answer = NULL;
	agent = cluster_agent_of(question->cluster, node);
	if (!agent || *agent->why_not) {
		ret->why_not = agent ? agent->why_not : "no agent's pod is there";
		return answer;
	}
	better = ask(question, agent);
	if (!better) {
		ret->why_not = "its agent gave no answer";
		return answer;
	}
	*ret = (struct explain_half){.node = agent->node, .answer = better};
	json_decref(answer);
	return better;
}

/* The ends whose ingress another node evaluates: the destination, or endpoints of the Service. */
static size_t find_targets(const struct question *question, const json_t *answer,
			   const char *source_node, struct explain_half *ret, size_t *ret_left_out)
{
	const json_t *list = field(answer, "backends"), *backend;
	const char *node = field_text(answer, "to.node"), *pod;
	size_t index, count = 0;

	if (!json_is_object(field(answer, "service"))) {
		if (strcmp(field_text(answer, "to.kind"), "pod") || !strcmp(node, source_node))
			return 0;
		ret[0] = (struct explain_half){.node = node,
					       .pod = field_text(answer, "to.name"),
					       .port = field_number(answer, "port"),
					       .endpoint = EXPLAIN_NO_ENDPOINT};
		return 1;
	}
	json_array_foreach (list, index, backend) {
		node = field_text(backend, "node");
		pod = field_text(backend, "pod");
		if (!*pod || !*node || !strcmp(node, source_node))
			continue;
		if (count == ENDPOINTS)
			(*ret_left_out)++;
		else
			ret[count++] = (struct explain_half){.node = node,
							     .pod = pod,
							     .port = field_number(backend, "port"),
							     .endpoint = index};
	}
	return count;
}

static void ask_targets(const struct question *question, const json_t *answer,
			struct explain_half *halves, size_t count)
{
	struct cluster_call calls[ENDPOINTS];
	char *words[ENDPOINTS][WORDS] = {{NULL}}, *to[ENDPOINTS] = {NULL};
	size_t place[ENDPOINTS], used = 0;

	for (size_t i = 0; i < count; i++) {
		const struct cluster_agent *agent =
			cluster_agent_of(question->cluster, halves[i].node);

		if (!agent || *agent->why_not) {
			halves[i].why_not = agent ? agent->why_not : "no agent's pod is there";
			continue;
		}
		if (asprintf(&to[i], "pod:%s", halves[i].pod) < 0)
			abort();
		place[used] = i;
		set_call(question, agent, to[i], halves[i].port, field_text(answer, "family"),
			 words[used], &calls[used]);
		used++;
	}
	cluster_call_all(calls, used, KUBECTL_TIMEOUT_MS);
	for (size_t i = 0; i < used; i++) {
		if (cluster_call_json(&calls[i]))
			halves[place[i]].answer = json_incref(calls[i].result);
		else
			halves[place[i]].why_not = "its agent gave no answer";
		cluster_call_clear(&calls[i]);
		clear_words(words[i]);
	}
	for (size_t i = 0; i < count; i++)
		free(to[i]);
}

static int explain(const struct question *question)
{
	struct explain_half source, targets[ENDPOINTS];
	CLEANUP(cleanup_json) json_t *answer = ask_source(question, &source), *joined = NULL;
	size_t count, left_out = 0;

	if (!answer)
		return UNKNOWN;
	count = find_targets(question, answer, source.node ? source.node : "", targets, &left_out);
	ask_targets(question, answer, targets, count);
	joined = explain_join(answer, &source, targets, count);
	for (size_t i = 0; i < count; i++)
		json_decref((json_t *)targets[i].answer);
	if (left_out)
		cli_error("%d endpoints were asked about on their nodes; of the other %zu the "
			  "answer is the objects' alone",
			  ENDPOINTS, left_out);
	if (question->cli->json)
		cli_print_json(joined);
	else
		cli_print_explain(joined);
	return cli_explain_status(joined);
}

int cluster_run_explain(struct cli *cli)
{
	CLEANUP(cleanup_json) json_t *args = NULL;
	struct question question = {.cli = cli};
	struct cluster cluster = {0};
	const json_t *objects;
	int code = UNKNOWN;

	if (cluster_check_nodes(cli))
		return CLI_USAGE;
	args = cli_explain_args(cli);
	if (!args)
		return UNKNOWN;
	objects = field(args, "objects");
	if (objects)
		question.objects = cluster_documents(objects);
	if (cli->given[CLI_NODE]) {
		code = cluster_run_on_node(cli, question.objects);
	} else if (cli->given[CLI_ALL_NODES]) {
		code = cluster_run_on_all(cli, question.objects);
	} else if (!cluster_find(cli, NULL, &cluster)) {
		question.cluster = &cluster;
		question.args = args;
		code = explain(&question);
	}
	cluster_clear(&cluster);
	free(question.objects);
	return code;
}
