/* SPDX-License-Identifier: Apache-2.0 */
/* The input in the order the compiler works in: namespaces, identities, policies, rules; each
 * sorted. */
#pragma once

#include "policy/compile/registry.h"

struct view_identity {
	const struct registry_identity *registered;
	size_t pods;
	bool subject;	     /* one of its pods is a subject */
	uint32_t ruleset[2]; /* ingress, egress */
	const struct compiled_selection *isolation[2];
};

struct view_namespace {
	const char *name;
	struct labels labels; /* with kubernetes.io/metadata.name as it must be */
	size_t first, end;    /* its identities */
};

struct view_rule {
	const struct policy_rule *source;
	const struct view_namespace *namespace; /* of a NetworkPolicy; NULL: of no pod */
	enum policy_tier tier;
	uint32_t number;
	bool everyone; /* no peers: every address */
	bool all_pods; /* every pod, whatever its labels */
	bool prepared;
	uint64_t *matches;	      /* of identities; NULL when all match (all_pods) */
};

struct view_policy {
	const struct object *object;
	const struct view_namespace *namespace; /* of a NetworkPolicy; NULL: of no pod */
	uint64_t deleted_at; /* 0: it is there */
	struct view_rule *rules[2];		/* ingress, egress */
	size_t rule_count[2];
	bool named_ports[2];
};

struct view {
	struct view_namespace *namespaces;
	size_t namespace_count;
	struct view_identity *identities; /* by namespace, then labels and ports */
	size_t identity_count;
	size_t identity_words;	      /* of a set of identities */
	/* Cluster policies first: by tier, priority, name; then others by namespace, name. */
	struct view_policy *policies;
	size_t policy_count;
	size_t cluster_count; /* how many of them are cluster policies */
	const struct object *const *nodes; /* the input's */
	size_t node_count;
	const struct object *const *pods; /* the input's */
	size_t pod_count;
	const struct pod_addresses *local_addresses; /* of the first `local_count` pods; the input's */
	size_t local_count;
	size_t *pod_identity; /* of each pod; NO_IDENTITY */
};
#define NO_IDENTITY SIZE_MAX

enum direction { INGRESS = 0, EGRESS = 1 };

/* 0, -ENOMEM, -ENOSPC. Takes a zeroed view; clear it on failure too. */
int view_build(struct view *view, struct policy_registry *registry,
	       const struct policy_input *input);
void view_clear(struct view *view);
/* Finds out whom the rule names and what it says, once. 0 or -ENOMEM. */
int view_prepare_rule(const struct view *view, struct view_rule *rule);
/* The NetworkPolicies of a namespace: first and end in view->policies. */
void view_policies_of(const struct view *view, const struct view_namespace *namespace,
		      size_t *ret_first, size_t *ret_end);
