/* SPDX-License-Identifier: Apache-2.0 */
/* From objects to identities and rule sets: pure, no kernel, no I/O. */
#pragma once

#include "policy/objects/objects.h"

struct json_t;

/*
 * Numbers that must not change while something refers to them: identities, rule sets and rules.
 * Lives as long as the agent; its numbers survive a restart through export and import.
 */
struct policy_registry;
struct policy_registry *policy_registry_new(void);
void policy_registry_free(struct policy_registry *registry);
/* A JSON object's text for the state file, keys in order, behind the members that `first` is ("" or
 * with a comma at its end). The caller frees it. NULL: no memory. */
char *policy_registry_export(const struct policy_registry *registry, const char *first);
/* Moves when numbers were given that an older export does not keep from being given to something
 * else. */
uint64_t policy_registry_revision(const struct policy_registry *registry);
/* Moves when any number was given: an export of before does not have it. */
uint64_t policy_registry_changes(const struct policy_registry *registry);
/* Into an empty registry. 0, -EINVAL (content makes no sense: the registry stays empty), -ENOMEM.
 */
int policy_registry_import(struct policy_registry *registry, const struct json_t *state);
/* A rule set that the maps already hold keeps its number if the compiler makes the same content
 * again. */
int policy_registry_know_ruleset(struct policy_registry *registry, uint32_t id,
				 const uint64_t digest[2]);

/* Where a rule number comes from. Strings live as long as the registry's number does. */
struct rule_origin {
	const char *namespace; /* "": a ClusterNetworkPolicy */
	const char *name;
	bool egress;
	uint32_t index; /* of the rule in spec.ingress or spec.egress */
};
/* -ENOENT: no such number. */
int policy_rule_origin(const struct policy_registry *registry, uint32_t rule,
		       struct rule_origin *ret);
/* The other way round. 0: that rule has no number. */
uint32_t policy_rule_number(const struct policy_registry *registry,
			    const struct rule_origin *origin);

/* Each identity that somebody holds, in no order: numbers for showing. */
void policy_registry_each_identity(const struct policy_registry *registry,
				   void (*visit)(uint32_t id, void *data), void *data);
/* What it stands for. Valid until the next compilation. -ENOENT: nobody holds it. */
int policy_registry_identity(const struct policy_registry *registry, uint32_t id,
			     const char **ret_namespace, const struct labels **ret_labels);

/* One identity in use: distinct (namespace, labels, named ports). */
struct compiled_identity {
	uint32_t id;
	const char *namespace;
	const struct labels *labels;
	size_t pods;
};

/* IDENTITY_UNKNOWN_POD stands among them where the set denies by selector: see docs/policy.md. */
struct compiled_peer {
	uint32_t identity;
	uint32_t peer_class;
};
struct compiled_prefix {
	struct prefix prefix;
	uint32_t peer_class; /* 0: an except inside a wider block */
};
struct compiled_port {
	uint8_t length; /* prefix bits after the rule set's number: 0, 16, or 16 + n; see
			   ruleset_port_key */
	uint8_t proto;
	uint16_t port; /* host byte order */
	uint32_t port_class;
};
struct compiled_cell {
	uint16_t peer_class, port_class;
	struct ruleset_cell cell;
};

/* Rule sets RULESET_OPEN, RULESET_CLOSED and RULESET_CAPACITY are never listed. Arrays are sorted
 * by key. */
struct compiled_ruleset {
	uint32_t id;
	struct ruleset_entry entry;
	struct compiled_peer *peers;
	size_t peer_count;
	struct compiled_prefix *prefixes;
	size_t prefix_count;
	struct compiled_port *ports;
	size_t port_count;
	struct compiled_cell *cells;
	size_t cell_count;
};

/* The NetworkPolicies that isolate a pod in one direction: what a default deny is due to. */
struct compiled_selection {
	char **policies; /* "namespace/name", sorted */
	size_t count;
};

/* What holds for one pod of the input, in the input's order. */
struct compiled_pod {
	uint32_t identity;
	uint32_t ingress_ruleset;
	uint32_t egress_ruleset;
	const struct compiled_selection *ingress_isolation; /* NULL: not isolated */
	const struct compiled_selection *egress_isolation;
	bool ingress_held, egress_held; /* deleted policies are part of it */
};

struct compiled_policy {
	struct compiled_identity *identities;
	size_t identity_count;
	struct compiled_ruleset *rulesets;
	size_t ruleset_count;
	struct compiled_pod *pods;
	size_t pod_count;
	struct compiled_selection **selections; /* what the pods' isolations point to */
	size_t selection_count;
};

/*
 * Namespaces that no object names have only the label kubernetes.io/metadata.name. Only pods with
 * `subject[i]` true get rule sets (those of this node); the others serve as peers. Host-network and
 * finished pods have no identity (0).
 */
struct pod_addresses {
	const struct polder_addr *items;
	size_t count;
};
struct policy_input {
	const struct object *const *namespaces;
	size_t namespace_count;
	const struct object *const *pods;
	const bool *subject;
	const uint64_t *terminating; /* of each pod: since when it is on its way out; 0: it is not;
					NULL: none is */
	size_t pod_count;
	/* What the first `local_count` pods are connected with, whatever their objects say. */
	const struct pod_addresses *local_addresses;
	size_t local_count;
	const struct object *const *policies;
	size_t policy_count;
	const struct object *const *cluster_policies;
	size_t cluster_policy_count;
	/* Of both kinds; they hold for pods that were on their way out by the time the policy went
	 * (both count alike). */
	const struct object *const *deleted_policies;
	const uint64_t *deleted_at;
	size_t deleted_policy_count;
	const struct object *const *nodes;
	size_t node_count;
};

/*
 * The same input and registry give the same output, whatever the order of the input's objects. A
 * rule set's digest covers prefixes, ports, cells, defaults and rule numbers, and the classes'
 * meaning, but not which identities exist: a new identity that fits an existing class adds a peer
 * to the set and leaves its number. 0, -ENOMEM, -E2BIG (more than 65,535 classes in one set: that
 * set becomes RULESET_CAPACITY, no error). Free with compiled_policy_free().
 */
int policy_compile(struct policy_registry *registry, const struct policy_input *input,
		   struct compiled_policy **ret);
void compiled_policy_free(struct compiled_policy *policy);

/* The library's own evaluation on a compiled rule set, as the program does it. */
struct policy_verdict {
	bool allowed;
	uint32_t rule; /* 0: default */
};
/* What is asked: who stands at the other end, and the destination's port (host byte order). */
struct ruleset_question {
	uint32_t identity;
	const struct polder_addr *peer;
	uint8_t proto;
	uint16_t port;	/* 0 for protocols without ports */
	bool to_itself; /* a pod that reaches itself through a Service: NetworkPolicies do not apply
			 */
};
struct policy_verdict compiled_ruleset_verdict(const struct compiled_ruleset *ruleset,
					       const struct ruleset_question *question);

/* Identities, rule sets and rules that nothing used in the last two compilations are forgotten,
 * never renumbered. */
void policy_registry_collect(struct policy_registry *registry);
