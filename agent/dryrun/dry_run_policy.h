/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What policy says now, beside what it would say with other objects: two compilations of one moment
 * in a registry of their own. Nothing that is in force is touched.
 */
#pragma once

#include "agent/policy/policy_sync.h"

/* Objects as if they were applied. */
struct dry_run_changes {
	struct object_list objects; /* they replace those of the same kind, namespace and name */
	struct dry_run_removal {
		enum object_kind kind;
		char *namespace, *name;
	} * removals;
	size_t removal_count;
};
void dry_run_changes_clear(struct dry_run_changes *changes);

struct dry_run_policy;
struct dry_run_world; /* dry_run_world.h */
/* In any thread, while the loop holds both. 0, -ENOMEM or what policy_compile() says. */
int dry_run_policy_new(const struct dry_run_world *world, const struct dry_run_changes *changes,
		       struct dry_run_policy **ret);
void dry_run_policy_free(struct dry_run_policy *policy); /* takes NULL */

/* A flow in its opener's direction. */
struct dry_run_question {
	struct polder_addr source;	/* before masquerade */
	struct polder_addr destination; /* after Service translation */
	uint8_t proto;
	uint8_t zone;  /* enum polder_zone it came from */
	uint16_t port; /* of the destination, after translation; 0 where the protocol has none */
	bool through_service;
};

enum dry_run_basis {
	DRY_RUN_NOT_ASKED, /* no pod of this node at this end, or it is the node's own traffic */
	DRY_RUN_OPEN,	   /* no policy decides */
	DRY_RUN_RULE,
	DRY_RUN_DEFAULT_DENY, /* isolated, and no rule matches */
	DRY_RUN_CLOSED,	      /* the pod's rules do not fit the limits */
	DRY_RUN_WAITING,      /* the pod's object has not come: it is isolated until then */
};
extern const char *const dry_run_basis_names[];

struct dry_run_side {
	enum dry_run_basis basis;
	bool allowed;
	struct rule_origin
		rule; /* with DRY_RUN_RULE; strings live as long as the struct dry_run_policy */
	const struct compiled_selection *isolation; /* with DRY_RUN_DEFAULT_DENY */
};
struct dry_run_answer {
	bool allowed;
	struct dry_run_side egress, ingress;
};
/* False: neither end is a pod that is known here. */
bool dry_run_verdict(const struct dry_run_policy *policy, bool staged,
		     const struct dry_run_question *question, struct dry_run_answer *ret);
/* Do both name the same verdict, and for each direction the same rule? */
bool dry_run_answers_alike(const struct dry_run_answer *a, const struct dry_run_answer *b);
/* "namespace/name" of the pod with the address; NULL: none. Borrowed. */
const char *dry_run_policy_pod(const struct dry_run_policy *policy, const struct polder_addr *addr);
