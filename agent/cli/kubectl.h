/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl as polderctl's way to a cluster: started directly, with the kubeconfig and context that
 * were given. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct cli;
struct process;

#define KUBECTL_TIMEOUT_MS 90000

/* "kubectl", its options of connection, and `words` (which end with NULL). The strings are
 * borrowed; the caller frees the array. Never NULL. */
char **kubectl_argv(const struct cli *cli, const char *const *words);

/*
 * Did the program that `kubectl exec` was to run end with another status than 0? Then
 * `*ret_status`. Takes kubectl's line about it out of `errors`. If kubectl has failed and this says
 * no, kubectl itself could not do what it was asked.
 */
bool kubectl_remote_status(struct process *process, int *ret_status);

/* Why kubectl has failed, and what to do, into `message`. */
void kubectl_explain(const struct process *process, char *message, size_t size);

/* Runs kubectl once, with `input` (NULL: nothing) to read. 0, or -1 after a complaint that begins
 * with `what`. The caller frees `*ret_output` (may be NULL: not wanted). */
int kubectl_call(const struct cli *cli, const char *what, const char *const *words,
		 const char *input, char **ret_output);
/* The same for what prints one JSON object (-o json). The caller owns it. */
int kubectl_json(const struct cli *cli, const char *what, const char *const *words, json_t **ret);
