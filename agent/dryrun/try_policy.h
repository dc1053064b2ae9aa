/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What policy says now, beside what it would say with other objects: two compilations of one moment
 * in a registry of their own. Nothing that is in force is touched.
 */
#pragma once

#include "agent/policy/policy_sync.h"

/* Objects as if they were applied. */
struct try_changes {
	struct object_list objects; /* they replace those of the same kind, namespace and name */
	struct try_removal {
		enum object_kind kind;
		char *namespace, *name;
	} * removals;
	size_t removal_count;
};
void try_changes_clear(struct try_changes *changes);

struct try_policy;
/* Of this moment. 0, -ENOMEM or what policy_compile() says. */
int try_policy_new(const struct policy_sync *sync, const struct try_changes *changes,
		   struct try_policy **ret);
void try_policy_free(struct try_policy *policy); /* takes NULL */

/* A flow in its opener's direction. */
struct try_question {
	struct polder_addr source;	/* before masquerade */
	struct polder_addr destination; /* after Service translation */
	uint8_t proto;
	uint8_t zone;  /* enum polder_zone it came from */
	uint16_t port; /* of the destination, after translation; 0 where the protocol has none */
	bool through_service;
};

enum try_basis {
	TRY_NOT_ASKED, /* no pod of this node at this end, or it is the node's own traffic */
	TRY_OPEN,      /* no policy decides */
	TRY_RULE,
	TRY_DEFAULT_DENY, /* isolated, and no rule matches */
	TRY_CLOSED,	  /* the pod's rules do not fit the limits */
};
extern const char *const try_basis_names[];

struct try_side {
	enum try_basis basis;
	bool allowed;
	struct rule_origin rule; /* with TRY_RULE; strings live as long as the struct try_policy */
	const struct compiled_selection *isolation; /* with TRY_DEFAULT_DENY */
};
struct try_answer {
	bool allowed;
	struct try_side egress, ingress;
};
/* False: neither end is a pod that is known here. */
bool try_policy_judge(const struct try_policy *policy, bool staged,
		      const struct try_question *question, struct try_answer *ret);
/* Do both name the same verdict, and for each direction the same rule? */
bool try_answers_alike(const struct try_answer *a, const struct try_answer *b);
/* "namespace/name" of the pod with the address; NULL: none. Borrowed. */
const char *try_policy_pod(const struct try_policy *policy, const struct polder_addr *addr);
