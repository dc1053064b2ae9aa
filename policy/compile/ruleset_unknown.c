/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a set says of a pod that no object names yet: any selector may choose it, or not, so the
 * stricter of both holds. Denies by selector match, and accepts by selector do not. A Pass by
 * selector opens nothing by not matching, unless an accept by address follows in its tier: there
 * the Pass is taken to match, and as a deny if the tier goes on to deny, since a cell has room for
 * one answer.
 */
#include <string.h>

#include "policy/compile/ruleset.h"

static bool has_selectors(const struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->peer_count; i++)
		if (!rule->peers[i].is_block && !rule->peers[i].is_nodes)
			return true;
	return false;
}

static bool has_addresses(const struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->peer_count; i++)
		if (rule->peers[i].is_block || rule->peers[i].is_nodes)
			return true;
	return false;
}

bool ruleset_rule_may_match(const struct view_rule *rule)
{
	if (!has_selectors(rule->source))
		return false;
	/* NetworkPolicies accept only. Behind the last tier a Pass is an Accept. */
	return rule->source->action == RULE_DENY ||
	       (rule->source->action == RULE_PASS && rule->tier == TIER_ADMIN);
}

static bool accepts_addresses(const struct view_rule *rule)
{
	return rule->tier == TIER_ADMIN && rule->source->action == RULE_ACCEPT &&
	       has_addresses(rule->source);
}

/* Is there anything that an unknown pod may not do, and an address outside may? */
static bool is_stricter(const struct ruleset *set)
{
	bool may_pass = false;

	for (size_t i = 0; i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		if (entry->plain == NO_ATOM && entry->unknown == NO_ATOM)
			continue;
		if (ruleset_rule_may_match(entry->rule)) {
			if (entry->rule->source->action == RULE_DENY)
				return true;
			may_pass = true;
		} else if (may_pass && accepts_addresses(entry->rule)) {
			return true;
		}
	}
	return false;
}

int ruleset_classify_unknown(struct ruleset *set)
{
	set->unknown_class = set->world_class;
	if (!is_stricter(set))
		return 0;
	memcpy(set->scratch, set->world, set->words * sizeof(*set->scratch));
	for (size_t i = 0; i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		if (!ruleset_rule_may_match(entry->rule))
			continue;
		if (entry->plain != NO_ATOM)
			bits_set(set->scratch, entry->plain);
		if (entry->unknown != NO_ATOM)
			bits_set(set->scratch, entry->unknown);
	}
	/* No atom's bit: its cells are not those of a pod that all these rules choose. */
	bits_set(set->scratch, set->atom_count);
	return class_of(&set->peers, set->scratch, &set->unknown_class);
}

static long next_atom(const struct ruleset *set, const struct class *port, long after)
{
	return bits_first_common(port->bits, port->bits, (size_t)(after + 1), set->admin_atoms);
}

/* Does a rule after the atom deny an unknown pod, or an address that it may have? */
static bool denies_after(const struct ruleset *set, const struct class *port, long atom)
{
	while ((atom = next_atom(set, port, atom)) >= 0)
		if (set->atoms[atom].rule->source->action == RULE_DENY &&
		    (!set->atoms[atom].named || bits_has(set->unknown_class->bits, (size_t)atom)))
			return true;
	return false;
}

bool ruleset_unknown_step(const struct ruleset *set, const struct class *port,
			  struct ruleset_cell *cell)
{
	const struct view_rule *passing = NULL, *decides = NULL;
	enum cell_verdict verdict = CELL_DENY;
	long atom = -1;

	while (!decides && (atom = next_atom(set, port, atom)) >= 0) {
		const struct view_rule *rule = set->atoms[atom].rule;
		bool matches = bits_has(set->unknown_class->bits, (size_t)atom);

		if (matches && rule->source->action == RULE_DENY) {
			decides = rule;
		} else if (matches && !passing) {
			passing = rule;
		} else if (passing && !set->atoms[atom].named && accepts_addresses(rule)) {
			decides = passing;
			verdict = denies_after(set, port, atom) ? CELL_DENY : CELL_PASS;
		}
	}
	if (!decides)
		return false;
	cell->rule[STEP_ADMIN] = decides->number;
	/* The rank of the accept, before which denies by address still count. Of two cells of one
	 * rank the identity's decides. */
	cell->rank[STEP_ADMIN] = (uint16_t)atom;
	cell->verdict[STEP_ADMIN] = (uint8_t)verdict;
	return true;
}
