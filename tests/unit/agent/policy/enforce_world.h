/* SPDX-License-Identifier: Apache-2.0 */
/* One pod of this node, x/own at 10.1.0.5, and policy that is applied on the kernel's maps. */
#pragma once

#include "agent/policy/enforce.h"

struct enforce_world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct enforce *enforce;
	struct local_pod pod;
	const char *state; /* NULL: none is kept */
};

/* Words of a pod, in the slot in force or in the other one. */
enum pod_word { WORD_IDENTITY, WORD_INGRESS, WORD_EGRESS };

void enforce_world_begin(struct enforce_world *w, const char *state);
void enforce_world_end(struct enforce_world *w);
/* As if the agent had been restarted: the store and the maps stay. */
void enforce_world_stop(struct enforce_world *w);
void enforce_world_start(struct enforce_world *w);

/* JSON with ' for "; NULL deletes what the name stands for. */
void enforce_world_put(struct enforce_world *w, const char *name, const char *text);
/* A pod by that name in x; `spec`, `metadata` and `status` are inserted. */
void enforce_world_put_pod(struct enforce_world *w, const char *name, const char *metadata,
			   const char *spec, const char *status);
/* A NetworkPolicy of x. */
void enforce_world_put_policy(struct enforce_world *w, const char *name, const char *spec);
/* One more pod of this node, in x. */
struct local_pod enforce_world_add(struct enforce_world *w, const char *name, uint32_t ifindex,
				   const char *ipv4);

/* A pass. Has it switched? */
bool enforce_world_apply(struct enforce_world *w);
/* A pass and the end of its grace period. Does the agent have to come again? */
bool enforce_world_settle(struct enforce_world *w);

uint32_t enforce_world_word(const struct enforce_world *w, const struct local_pod *pod,
			    enum pod_word word, bool other);
/* What holds now for what the pod gets. */
uint32_t enforce_world_ingress(const struct enforce_world *w, const struct local_pod *pod);
/* Identity of a pod's address in the slot in force, or in the other one; 0: it is no pod's. */
uint32_t enforce_world_identity(const struct enforce_world *w, const char *addr, bool other);
struct polder_addr enforce_world_addr(const char *text);
