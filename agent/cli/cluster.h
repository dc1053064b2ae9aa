/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl as kubectl's plugin: which agents there are, and how commands run in their pods. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/cli/process.h"

struct cli;

#define CLUSTER_LABEL	  "app.kubernetes.io/name=polder"
#define CLUSTER_CONTAINER "polderd"

#define CLUSTER_AT_ONCE	   16 /* calls that run at a time */
#define CLUSTER_FOLLOW_MAX 64 /* nodes that are followed at a time */

/* One agent's pod. */
struct cluster_agent {
	const char *node, *namespace, *pod, *image; /* of `document` */
	char why_not[192];			    /* why nothing can run in it; "": it can */
};

struct cluster {
	struct cluster_agent *agents; /* one for each node, by the nodes' names */
	size_t count;
	json_t *document; /* kubectl's list of pods */
};

/*
 * The agents' pods, of `node` alone if it is not NULL. 0, or -1 after a complaint, as when there is
 * none. Free with cluster_clear().
 */
int cluster_find(const struct cli *cli, const char *node, struct cluster *ret);
void cluster_clear(struct cluster *cluster); /* takes a zeroed one */
/* From a list of pods as `kubectl get pods -o json` prints it; takes over the reference. */
void cluster_of_pods(json_t *document, struct cluster *ret);
const struct cluster_agent *cluster_agent_of(const struct cluster *cluster, const char *node);

/* One `polderctl` in an agent's pod. */
struct cluster_call {
	const struct cluster_agent *agent;
	struct process process;
	char **argv;
	json_t *result; /* what it printed, once cluster_call_json() has read it */
	int code;	/* its exit status, or CLI_FAILED if it could not run */
	bool failed;	/* it could not run, or what it printed is of no use */
};

/* `words` end with NULL and are polderctl's arguments; borrowed, as is `input`. */
void cluster_call_set(const struct cli *cli, struct cluster_call *call,
		      const struct cluster_agent *agent, const char *const *words,
		      const char *input);
void cluster_call_clear(struct cluster_call *call);
/* Runs the calls whose agents can, all at once if `timeout_ms` is 0; says on standard error what
 * went wrong, by node. */
void cluster_call_all(struct cluster_call *calls, size_t count, int timeout_ms);
/* Reads the output of a call that ran as JSON, into `result`; false after a complaint. */
bool cluster_call_json(struct cluster_call *call);

/* The words of this invocation for an agent: without the plugin's own options; `input` (may be
 * NULL) stands for its files, as standard input. Free with cluster_words_clear(). */
char **cluster_words(const struct cli *cli, const char *output, const char *input);
void cluster_words_clear(char **words);

/* Documents as one text that polderctl reads as "-". The caller frees. */
char *cluster_documents(const json_t *list);

/* CLI_OK, or CLI_USAGE after a complaint. */
int cluster_check_nodes(const struct cli *cli);
/* This invocation on the node of --node, as it is there, or on all. Exit codes. */
int cluster_run_on_node(struct cli *cli, const char *input);
int cluster_run_on_all(struct cli *cli, const char *input);
int cluster_run(struct cli *cli);
int cluster_run_explain(struct cli *cli);
int cluster_run_policy_try(struct cli *cli);
int cluster_run_monitor(struct cli *cli);
int cluster_run_capture(struct cli *cli);
int cluster_run_sysdump(struct cli *cli);
int cluster_refuse_here(struct cli *cli);
