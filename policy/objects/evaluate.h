/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may reach whom, read straight from the objects by plain loops: no identities, no rule sets,
 * nothing shared with the compiler. For questions of people, one at a time.
 */
#pragma once

#include "policy/objects/objects.h"

/* One end of a packet, after Service translation and before masquerade. */
struct evaluate_end {
	const struct object *pod; /* the pod whose address it is; NULL: of no pod */
	bool unseen;		  /* the other end does not know that pod by its address */
	bool unknown_pod; /* for the other end a pod that no object names: any selector may choose
			     it */
	struct polder_addr addr;
	const struct object *const
		*held; /* deleted policies that hold for the pod while it ends (NP-24) */
	size_t held_count;
};

struct evaluate_question {
	struct evaluate_end source, destination;
	uint8_t proto;
	uint16_t port;	    /* the destination's, host byte order; 0 where the protocol has none */
	bool from_own_node; /* sent by the stack of the node that the destination is on (NP-18) */
	bool through_service;
};

/* Namespaces, nodes and policies of both kinds, in any order. Borrowed. */
struct evaluate_objects {
	const struct object *const *namespaces;
	size_t namespace_count;
	const struct object *const *nodes;
	size_t node_count;
	const struct object *const *policies;
	size_t policy_count;
};

enum evaluate_basis {
	EVALUATE_NOT_ASKED, /* no policy has a say here: no pod at this end, the node itself, a pod
			       and itself */
	EVALUATE_OPEN,	    /* nothing that selects the pod matched, and nothing isolates it */
	EVALUATE_RULE,	    /* `policy` and `index` decide */
	EVALUATE_DEFAULT_DENY, /* isolated by NetworkPolicies, and none of their rules matched */
};

struct evaluate_direction {
	enum evaluate_basis basis;
	bool allowed;
	bool presumed; /* a rule counted since it may choose an unknown pod: the one that decides,
			  or that said Pass */
	const struct object *policy; /* of the rule that decides; NULL: none. Denied by a Pass:
					presumed, see docs/policy.md */
	size_t index;		     /* in spec.ingress or spec.egress */
	const struct policy_rule *rule;
	const struct object *passed_by; /* of the Admin rule that said Pass; NULL: none */
	size_t passed_index;
	/* Policies that select the pod in this direction, in the order in which they are asked. */
	const struct object **policies;
	size_t policy_count;
};

struct evaluate_answer {
	struct evaluate_direction egress, ingress;
	bool allowed; /* both directions */
};

/* 0 or -ENOMEM. Free with evaluate_answer_clear(). */
int policy_evaluate(const struct evaluate_objects *objects,
		    const struct evaluate_question *question, struct evaluate_answer *ret);
void evaluate_answer_clear(struct evaluate_answer *answer);

/* Does the policy select the pod, in whatever direction? 0 or -ENOMEM. */
int policy_selects(const struct evaluate_objects *objects, const struct object *policy,
		   const struct object *pod, bool *ret);
/* A NetworkPolicy's tier is TIER_NETWORK_POLICY. */
enum policy_tier policy_tier_of(const struct object *policy);
/* Names of labels of a namespace as selectors see them: with kubernetes.io/metadata.name. 0 or
 * -ENOMEM. */
int evaluate_namespace_labels(const struct evaluate_objects *objects, const char *name,
			      struct labels *ret);
