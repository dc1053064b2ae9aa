/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl polder connectivity: pods on two nodes, and a table of who reaches whom with and without
 * policies. All that is made stands in one namespace, which goes again whatever happens. */
#include "agent/cli/connectivity.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/cli/connectivity_cases.h"
#include "agent/cli/format.h"
#include "agent/cli/kubectl.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"

#define READY_MS     120000
#define LOOK_MS	     1000
#define AT_ONCE	     16
#define SETTLE_MS    10000 /* until a change must be in force everywhere */
#define PROBE_MS     30000
#define DELETE_LIMIT "--timeout=90s"

/* Ctrl-C: what runs is ended, nothing new begun, and what was made removed. */
static void on_signal(int number)
{
	processes_stopped = 1;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* ---------------------------------------------------------------- objects */

static int create(const struct cli *cli, const char *what, json_t *objects)
{
	static const char *const words[] = {"create", "--validate=false", "-f", "-", NULL};
	CLEANUP(cleanup_free) char *text = json_dumps(objects, JSON_COMPACT);
	int r = 0;

	if (!text)
		abort();
	if (!json_is_array(field(objects, "items")) || json_array_size(field(objects, "items")))
		r = kubectl_call(cli, what, words, text, NULL);
	json_decref(objects);
	return r;
}

/* In a group of its own: a second Ctrl-C does not leave the objects behind. */
static int remove_all(const struct cli *cli)
{
	static const char *const words[] = {
		"delete",     "namespace", CONNECTIVITY_NAMESPACE, "--ignore-not-found",
		DELETE_LIMIT, NULL};
	CLEANUP(cleanup_free) char **argv = kubectl_argv(cli, words);
	struct process process = {.argv = argv, .most = 4096, .detached = true};
	char message[1536];
	int r = 0;

	processes_run(&process, 1, 1, 0);
	if (process.error || process.status) {
		kubectl_explain(&process, message, sizeof(message));
		cli_error("what was made could not be removed: %s; do it by hand: kubectl delete "
			  "namespace " CONNECTIVITY_NAMESPACE,
			  message);
		r = -1;
	}
	process_clear(&process);
	return r;
}

/* Why the pods are not ready; "" if they are. */
static void find_unready(const json_t *pods, size_t expected, char *ret, size_t size)
{
	const json_t *pod, *container;
	size_t index, ready = 0;

	*ret = '\0';
	json_array_foreach (field(pods, "items"), index, pod) {
		container = json_array_get(field(pod, "status.containerStatuses"), 0);
		if (json_is_true(field(container, "ready")) &&
		    json_array_size(field(pod, "status.podIPs"))) {
			ready++;
			continue;
		}
		snprintf(ret, size, "pod %s on node %s: %s %s %s", field_text(pod, "metadata.name"),
			 field_text(pod, "spec.nodeName"), field_text(pod, "status.phase"),
			 field_text(container, "state.waiting.reason"),
			 field_text(container, "state.waiting.message"));
	}
	if (ready < expected && !*ret)
		snprintf(ret, size, "%zu of %zu pods are there", ready, expected);
}

/* The pods with their addresses; NULL after a complaint. */
static json_t *wait_for_pods(const struct cli *cli, size_t expected)
{
	static const char *const words[] = {"get", "pods", "-n", CONNECTIVITY_NAMESPACE,
					    "-o",  "json", NULL};
	int64_t deadline = clock_monotonic_ms() + READY_MS;
	char why[512];
	json_t *pods;

	for (;;) {
		if (processes_stopped || kubectl_json(cli, "the test's pods", words, &pods) < 0)
			return NULL;
		find_unready(pods, expected, why, sizeof(why));
		if (!*why)
			return pods;
		json_decref(pods);
		if (clock_monotonic_ms() >= deadline) {
			cli_error("the test's pods are not ready after %d s: %s", READY_MS / 1000,
				  why);
			return NULL;
		}
		poll(NULL, 0, LOOK_MS);
	}
}

/* ---------------------------------------------------------------- probes */

static void set_probe(const struct cli *cli, const struct connectivity_case *item, char **words,
		      struct process *ret)
{
	const char *all[20] = {"exec", "-n",	   CONNECTIVITY_NAMESPACE, item->from, "-c", "test",
			       "--",   "polderctl"};
	char **argv;

	for (size_t i = 0; words[i]; i++)
		all[8 + i] = words[i];
	argv = kubectl_argv(cli, all);
	*ret = (struct process){.argv = argv, .most = 65536};
}

static void take_outcome(struct process *process, struct connectivity_case *item)
{
	char message[1536];
	json_error_t error;
	json_t *outcome;
	int status;

	item->rounds++;
	outcome = json_loadb(process->output, process->output_length, 0, &error);
	if (json_is_string(field(outcome, "result"))) {
		snprintf(item->got, sizeof(item->got), "%.60s", field_text(outcome, "result"));
		item->ms = field_number(outcome, "ms");
	} else if (kubectl_remote_status(process, &status)) {
		snprintf(item->got, sizeof(item->got), "the probe failed: %.60s", process->errors);
	} else {
		kubectl_explain(process, message, sizeof(message));
		snprintf(item->got, sizeof(item->got), "%.120s", message);
	}
	item->got[strcspn(item->got, "\n")] = '\0';
	json_decref(outcome);
}

/* All cases of a phase that are not yet as expected. Returns how many are left. */
static size_t run_round(const struct cli *cli, struct connectivity_cases *cases,
			enum connectivity_phase phase)
{
	struct process *list = calloc(cases->count + 1, sizeof(*list));
	struct connectivity_case *item;
	size_t count = 0, left = 0;

	if (!list)
		abort();
	for (size_t i = 0; i < cases->count; i++) {
		item = &cases->items[i];
		if (item->phase == phase && !connectivity_case_good(item))
			set_probe(cli, item, item->words, &list[count++]);
	}
	processes_run(list, count, AT_ONCE, PROBE_MS);
	count = 0;
	for (size_t i = 0; i < cases->count; i++) {
		item = &cases->items[i];
		if (item->phase != phase || connectivity_case_good(item))
			continue;
		if (!processes_stopped)
			take_outcome(&list[count], item);
		free((void *)list[count].argv);
		process_clear(&list[count++]);
		left += !connectivity_case_good(item);
	}
	free(list);
	return left;
}

static int run_phases(const struct cli *cli, struct connectivity_cases *cases)
{
	int64_t deadline;

	for (int phase = 0; phase < CONNECTIVITY_PHASES; phase++) {
		if (create(cli, "the test's policies", connectivity_policies(phase)) < 0)
			return -1;
		deadline = clock_monotonic_ms() + SETTLE_MS;
		while (run_round(cli, cases, phase) && clock_monotonic_ms() < deadline) {
			if (processes_stopped)
				return -1;
			poll(NULL, 0, LOOK_MS);
		}
	}
	return processes_stopped ? -1 : 0;
}

/* ---------------------------------------------------------------- the test */

/* Two nodes whose agents run, --node's first; the second is NULL if there is only one. */
static int choose_nodes(const struct cli *cli, const struct cluster *cluster, const char **ret,
			const char **ret_image)
{
	const char *wanted = cli->values[CLI_NODE];
	const struct cluster_agent *agent = wanted ? cluster_agent_of(cluster, wanted) : NULL;

	ret[0] = ret[1] = NULL;
	if (wanted && (!agent || *agent->why_not)) {
		cli_error("node %s: %s", wanted,
			  agent ? agent->why_not : "no agent's pod is there");
		return -1;
	}
	if (agent)
		ret[0] = agent->node;
	for (size_t i = 0; i < cluster->count; i++) {
		if (*cluster->agents[i].why_not || &cluster->agents[i] == agent)
			continue;
		agent = agent ? agent : &cluster->agents[i];
		if (!ret[0])
			ret[0] = cluster->agents[i].node;
		else if (!ret[1])
			ret[1] = cluster->agents[i].node;
	}
	if (!ret[0]) {
		cli_error("no node's agent is running: kubectl polder status");
		return -1;
	}
	*ret_image = cli->values[CLI_IMAGE] ? cli->values[CLI_IMAGE] : agent->image;
	if (!ret[1])
		cli_error("only node %s has a running agent: nothing is tried between nodes",
			  ret[0]);
	return 0;
}

/* What there is to ask about: pods, Services, cluster DNS, nodes. */
static int find_targets(const struct cli *cli, json_t *pods, json_t **ret)
{
	static const char *const services[] = {"get", "services", "-n", CONNECTIVITY_NAMESPACE,
					       "-o",  "json",	  NULL};
	static const char *const dns[] = {"get",	 "services", "-n",
					  "kube-system", "-l",	     "k8s-app=kube-dns",
					  "-o",		 "json",     NULL};
	static const char *const nodes[] = {"get", "nodes", "-o", "json", NULL};
	json_t *values[3] = {NULL};

	if (kubectl_json(cli, "the test's Services", services, &values[0]) < 0 ||
	    kubectl_json(cli, "the cluster's DNS", dns, &values[1]) < 0 ||
	    kubectl_json(cli, "the nodes", nodes, &values[2]) < 0) {
		for (int i = 0; i < 3; i++)
			json_decref(values[i]);
		return -1;
	}
	*ret = json_pack("{s:O, s:o, s:o, s:o}", "pods", pods, "services", values[0], "dns",
			 values[1], "nodes", values[2]);
	return *ret ? 0 : -1;
}

static int run_with_objects(const struct cli *cli, const char *const nodes[2], const char *image)
{
	size_t expected = nodes[1] ? CONNECTIVITY_PODS : CONNECTIVITY_PODS - 1;
	CLEANUP(cleanup_json) json_t *pods = NULL, *targets = NULL;
	struct connectivity_cases cases = {0};
	int r, code = CLI_FAILED;

	if (create(cli, "the test's pods", connectivity_objects(nodes, image)) < 0)
		return CLI_FAILED;
	pods = wait_for_pods(cli, expected);
	if (!pods || find_targets(cli, pods, &targets) < 0)
		return CLI_FAILED;
	connectivity_cases_make(targets, nodes, cli->values[CLI_OUTSIDE], &cases);
	r = run_phases(cli, &cases);
	if (!r)
		code = connectivity_cases_show(cli, &cases);
	connectivity_cases_clear(&cases);
	return code;
}

static int check_outside(const struct cli *cli)
{
	const char *text = cli->values[CLI_OUTSIDE];
	char host[CONNECTIVITY_HOST_MAX], port[CONNECTIVITY_PORT_MAX];
	bool six;

	if (!text || connectivity_outside(text, host, port, &six))
		return CLI_OK;
	cli_error("--outside %s: expected an address, as 192.0.2.1:443 or [2001:db8::1]:443", text);
	return CLI_USAGE;
}

int cluster_run_connectivity(struct cli *cli)
{
	struct cluster cluster = {0};
	const char *nodes[2], *image;
	int code = CLI_FAILED;

	if (cluster_check_nodes(cli) || check_outside(cli))
		return CLI_USAGE;
	if (cluster_find(cli, NULL, &cluster) < 0)
		return CLI_FAILED;
	if (choose_nodes(cli, &cluster, nodes, &image) < 0)
		goto out;
	if (cli->given[CLI_FORCE] && remove_all(cli) < 0)
		goto out;
	catch_signals();
	/* Nothing is removed that another run has made. */
	if (create(cli,
		   "namespace " CONNECTIVITY_NAMESPACE
		   " (--force removes the one of a run that was killed)",
		   connectivity_namespace()) < 0 &&
	    !processes_stopped)
		goto out;
	if (!processes_stopped)
		code = run_with_objects(cli, nodes, image);
	if (processes_stopped)
		cli_error("interrupted: what was made is being removed");
	if (remove_all(cli) < 0)
		code = CLI_FAILED;
out:
	cluster_clear(&cluster);
	return code;
}

int cli_run_connectivity(struct cli *cli)
{
	cli_error("connectivity makes pods in a cluster: kubectl polder connectivity");
	return CLI_USAGE;
}
