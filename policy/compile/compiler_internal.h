/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler from within. */
#pragma once

#include "policy/compile/compiler.h"
#include "policy/compile/ruleset.h"

/* What stands under one number. Several live sets may come to the same. */
struct numbered_ruleset {
	struct compiled_ruleset compiled;
	size_t peer_capacity;
	size_t sets; /* live ones; 0: gone, but it may come back before it is buried */
	bool listed; /* among the gone */
	struct numbered_ruleset *next; /* of the gone */
	UT_hash_handle hh;	       /* by compiled.id */
};

/* A rule set that subjects have, by all that it depends on: the policies and, for ingress by name,
 * the subject's ports. */
struct live_ruleset {
	char *key;
	size_t key_length;
	struct ruleset set;
	struct view_policy **policies; /* sorted; the selection's stand last */
	size_t policy_count;
	const struct registry_identity *subject; /* one of them; held */
	struct numbered_ruleset *numbered;	 /* NULL: over a limit */
	struct compiled_selection *isolation;	 /* NULL: no NetworkPolicy is among them */
	size_t users;				 /* identities and pods apart */
	bool stale;				 /* not compiled, or not for what there is now */
	UT_hash_handle hh;
};

/* An identity's class, to be written to what stands under a number. */
struct peer_edit {
	struct numbered_ruleset *numbered;
	uint32_t identity;
	uint16_t peer_class;
	bool gone;
};

struct policy_compiler {
	struct view view;
	bool broken;
	struct live_ruleset *sets;
	struct numbered_ruleset *numbered;
	size_t numbered_count;	       /* without the gone */
	struct numbered_ruleset *gone; /* some may have come back */
	struct view_policy **selected; /* scratch: the policies that select a subject */
	size_t selected_capacity;
	struct peer_edit *edits;
	size_t edit_count, edit_capacity;
	uint32_t *fresh; /* numbers */
	size_t fresh_count, fresh_capacity;
	struct peer_change *peers;
	size_t peer_count, peer_capacity;
	uint32_t *unconfirmed; /* identities that came */
	size_t unconfirmed_count, unconfirmed_capacity;
};

/* compiler_select.c: which policies hold for a subject. `*ret` NULL: none do. One more user. */
struct subject {
	const struct view_identity *identity;
	enum direction direction;
	uint64_t terminating;
};
int compiler_find_ruleset(struct policy_compiler *c, const struct subject *subject,
			  struct live_ruleset **ret);
void live_ruleset_free(struct policy_compiler *c, struct live_ruleset *set);
/* It has no number any more. */
void live_ruleset_unname(struct policy_compiler *c, struct live_ruleset *set);

/* compiler_peers.c: identities that came, went, or changed with their namespace, in the sets that
 * stand. A set that would be another one with them becomes stale. */
int compiler_update_rulesets(struct policy_compiler *c);
/* The peers of `from` in the place of those that are there, and what changed is told. Takes them.
 */
int compiler_replace_peers(struct policy_compiler *c, struct numbered_ruleset *numbered,
			   struct compiled_ruleset *from);
int compiler_add_peer_change(struct policy_compiler *c, const struct peer_change *change);

/* compile.c: policy_compile() in the compiler's numbers, with identities made of the same words. */
int compiler_compile_like(const struct policy_compiler *c, const struct policy_input *input,
			  struct compiled_policy **ret);

static inline uint32_t live_ruleset_id(const struct live_ruleset *set)
{
	if (!set)
		return RULESET_OPEN;
	return set->numbered ? set->numbered->compiled.id : RULESET_CAPACITY;
}
