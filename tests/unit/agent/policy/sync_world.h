/* SPDX-License-Identifier: Apache-2.0 */
/* One pod of this node, x/own at 10.1.0.5, and policy that is applied on the kernel's maps. */
#pragma once

#include "agent/policy/policy_sync.h"

struct sync_world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct policy_sync *policy_sync;
	struct local_pod pod;
	const char *state; /* NULL: none is kept */
};

/* Words of a pod, in the slot in force or in the other one. */
enum pod_word { WORD_IDENTITY, WORD_INGRESS, WORD_EGRESS };

void sync_world_begin(struct sync_world *w, const char *state);
void sync_world_end(struct sync_world *w);
/* As if the agent had been restarted: the store and the maps stay. */
void sync_world_stop(struct sync_world *w);
void sync_world_start(struct sync_world *w);

/* JSON with ' for "; NULL deletes what the name stands for. */
void sync_world_put(struct sync_world *w, const char *name, const char *text);
/* A pod by that name in x; `spec`, `metadata` and `status` are inserted. */
void sync_world_put_pod(struct sync_world *w, const char *name, const char *metadata,
			const char *spec, const char *status);
/* A NetworkPolicy of x. */
void sync_world_put_policy(struct sync_world *w, const char *name, const char *spec);
/* One more pod of this node, in x. */
struct local_pod sync_world_add(struct sync_world *w, const char *name, uint32_t ifindex,
				const char *ipv4);

/* A run. Has it switched? */
bool sync_world_run(struct sync_world *w);
/* A run and the end of its grace period. Does the agent have to come again? */
bool sync_world_run_and_commit(struct sync_world *w);

uint32_t sync_world_word(const struct sync_world *w, const struct local_pod *pod,
			 enum pod_word word, bool other);
/* What holds now for what the pod gets. */
uint32_t sync_world_ingress(const struct sync_world *w, const struct local_pod *pod);
/* Identity of a pod's address in the slot in force, or in the other one; 0: it is no pod's. */
uint32_t sync_world_identity(const struct sync_world *w, const char *addr, bool other);
struct polder_addr sync_world_addr(const char *text);
