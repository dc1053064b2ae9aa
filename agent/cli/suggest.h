/* SPDX-License-Identifier: Apache-2.0 */
/* NetworkPolicies out of what was seen. */
#pragma once

#include <jansson.h>
#include <stdio.h>

struct suggest_options {
	int range_v4, range_v6;	   /* length of blocks that addresses outside are put together in */
	json_int_t enough_seconds; /* for so long a direction has to have been watched; -1: an hour,
				      or any time that was asked for */
};

/* A policy beside the comments on its parts. */
struct suggestion {
	json_t *policy;			      /* NULL: none, `notes` say why */
	json_t *notes;			      /* lines */
	json_t *ingress_notes, *egress_notes; /* a list of lines for each rule */
};
struct suggestions {
	struct suggestion *items;
	size_t count;
	json_t *notes; /* on all */
};

/*
 * `answers`: a list of {"seen": [...], "end": {...}}, one for each node, of the lines that
 * policy.suggest answers with (docs/control-protocol.md). The same answers, in whatever order their
 * lines came, make the same policies.
 */
void suggestions_make(const json_t *answers, const struct suggest_options *options,
		      struct suggestions *ret);
void suggestions_clear(struct suggestions *suggestions);

/* In words, new references: "pods with app=web in demo"; of a peer also an address, or what it is.
 */
json_t *suggest_workload_text(const json_t *workload);
json_t *suggest_peer_text(const json_t *peer);

/* YAML with comments. */
void suggestions_print(const struct suggestions *suggestions, FILE *out);
/* The policies as one List, a new reference. */
json_t *suggestions_list(const struct suggestions *suggestions);
