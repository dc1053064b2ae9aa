/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiler that follows a world as it changes. Objects and pods go in one by one; a run brings
 * the rule sets after them and costs what changed: an identity that comes is one question to each
 * rule set, a policy concerns the pods of its namespace, a pod of a known identity nothing at all.
 * A run gives what policy_compile() gives for the same world.
 *
 * Each function that returns an int gives 0, -ENOMEM or -ENOSPC (no number left). After a failure
 * the compiler is broken: it can only be freed, and a new one be given everything. The registry's
 * numbers outlive it.
 */
#pragma once

#include "policy/compile/compile.h"

struct policy_compiler;
/* A pod, by whoever gave it. Its memory is the compiler's. */
struct policy_pod;

/* NULL: no memory. The registry is borrowed. */
struct policy_compiler *policy_compiler_new(struct policy_registry *registry);
/* In the place of one that is broken, or not trusted: makes identities of the same words. */
struct policy_compiler *policy_compiler_new_after(const struct policy_compiler *before);
void policy_compiler_free(struct policy_compiler *compiler); /* takes NULL */

/* ---------------------------------------------------------------- what goes in */

/* NULL: there is no object, the namespace has but its name. Copies. */
int policy_compiler_set_namespace(struct policy_compiler *compiler, const char *name,
				  const struct object *object);
/* Takes a share of the object, which nobody may change any more. */
int policy_compiler_set_policy(struct policy_compiler *compiler, const struct object *object);
int policy_compiler_remove_policy(struct policy_compiler *compiler, enum object_kind kind,
				  const char *namespace, const char *name);
/* As policy_input's deleted_policies, in the place of those that were given before. */
int policy_compiler_set_deleted(struct policy_compiler *compiler,
				const struct object *const *objects, const uint64_t *when,
				size_t count);
/* Borrowed until the next run is over. `changed`: labels or addresses are not those of the last
 * run. */
void policy_compiler_set_nodes(struct policy_compiler *compiler, const struct object *const *nodes,
			       size_t count, bool changed);
/*
 * `*pod` NULL: a new one. `object` says labels, ports and what keeps it from an identity; it is not
 * kept. `addresses` are borrowed until the next call. `subject` (of a new one) and `terminating` as
 * in policy_input.
 */
int policy_compiler_set_pod(struct policy_compiler *compiler, struct policy_pod **pod,
			    const struct object *object, const struct pod_addresses *addresses,
			    bool subject, uint64_t terminating);
int policy_compiler_remove_pod(struct policy_compiler *compiler, struct policy_pod *pod);

/*
 * After policies, before pods and the run: identities are made of those labels and named ports that
 * policies name. True: these are others than before, and each pod that has been given has to be
 * given again if policy_compiler_concerns() says so. What policies named until a moment ago
 * counts for a while, so that a policy that comes and goes makes them anew only once.
 */
bool policy_compiler_regroup(struct policy_compiler *compiler);
bool policy_compiler_concerns(const struct policy_compiler *compiler, const struct object *pod);

int policy_compiler_run(struct policy_compiler *compiler);

/* ---------------------------------------------------------------- what comes out */

/* Of the last run, as all that follows. Isolations are valid until the next one. */
struct compiled_pod policy_compiler_pod(const struct policy_compiler *compiler,
					const struct policy_pod *pod);
/* NULL: there is none by that number. */
const struct compiled_ruleset *policy_compiler_ruleset(const struct policy_compiler *compiler,
						       uint32_t id);
/* Calls for each rule set, in no order; stops at a value other than 0 and returns it. */
int policy_compiler_each_ruleset(const struct policy_compiler *compiler,
				 int (*visit)(const struct compiled_ruleset *ruleset, void *data),
				 void *data);
size_t policy_compiler_ruleset_count(const struct policy_compiler *compiler);
size_t policy_compiler_identity_count(const struct policy_compiler *compiler);
/* Does any pod have it? */
bool policy_compiler_has_identity(const struct policy_compiler *compiler, uint32_t identity);

/* An identity's class in a rule set that was there before the run. */
struct peer_change {
	uint32_t ruleset, identity;
	uint16_t peer_class;
	bool gone; /* it is no peer any more: the set's default class holds */
};

/* What the last run changed. Valid until the next one. */
struct policy_changes {
	const uint32_t *rulesets; /* numbers of sets that are new, or were gone and are back */
	size_t ruleset_count;
	const struct peer_change *peers;
	size_t peer_count;
};
struct policy_changes policy_compiler_changes(const struct policy_compiler *compiler);

/*
 * Rule sets that nothing needs any more, of this run and those before: they stay until
 * policy_compiler_bury(), so that their entries can be found.
 */
int policy_compiler_each_gone(const struct policy_compiler *compiler,
			      int (*visit)(const struct compiled_ruleset *ruleset, void *data),
			      void *data);
void policy_compiler_bury(struct policy_compiler *compiler);

/* What the last run says is in force: addresses have its identities from now on. */
void policy_compiler_confirm(struct policy_compiler *compiler);
/* May an address have it since the last policy_compiler_confirm()? */
bool policy_compiler_in_force(const struct policy_compiler *compiler, uint32_t identity);

/*
 * Compiles the world that `input` describes anew and compares. `pods`: the handles of input's pods,
 * in its order. `*ret_difference` NULL: nothing differs; else the first difference in words, the
 * caller's. 0, or what policy_compile() says. Costs what the whole world costs.
 */
int policy_compiler_audit(const struct policy_compiler *compiler, const struct policy_input *input,
			  struct policy_pod *const *pods, char **ret_difference);
