/* SPDX-License-Identifier: Apache-2.0 */
/* One pod of this node and a reconciler on the kernel's maps, with a clock and a wait of the
 * test's; needs root. */
#pragma once

#include "agent/reconcile/reconciler.h"

#define MS 1000000ull

struct world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct reconciler *reconciler;
	struct local_pod pod;
	const char *state;
	uint64_t now, tick;	/* each asking for the time takes a tick */
	int waits, wait_result; /* for programs */
	int wanted, called;
	char kept[64];		/* the last labels that were to be kept, */
	int keeps, keep_result; /* and how often */
};

/* JSON with ' for "; NULL deletes. */
void world_put(struct world *w, const char *origin, const char *text);
/* Each version is a rule set of its own: it comes in force by a switch. */
void world_put_policy(struct world *w, int version);
void world_put_pod(struct world *w, int number);
/* Takes a world that is zero, or says how many entries of policy it has room for. */
void world_open(struct world *w, const char *state);
void world_commit(struct world *w);
/* Synced, one policy in force, everything committed. */
void world_begin(struct world *w);
void world_end(struct world *w);
/* The rule set for what the pod gets: in the slot in force, or in the other one. */
uint32_t world_rules(const struct world *w, bool other);
uint32_t world_generation(const struct world *w);
bool world_is_pending(const struct world *w);
void world_on_held(void *data);
