/* SPDX-License-Identifier: Apache-2.0 */
/* One identity in a set: what its class is, and whether a compiled set has one for it. */
#include "policy/compile/ruleset.h"

#include <string.h>

/* The atoms of the rule that lead to the ports which its names stand for on this pod. */
void ruleset_named_atoms(const struct ruleset *set, const struct ruleset_rule *entry,
			 const struct registry_identity *identity, uint64_t *bits)
{
	const struct policy_rule *rule = entry->rule->source;

	for (size_t i = 0; i < identity->port_count; i++) {
		const struct named_port *port = &identity->ports[i];
		bool wanted = false;

		for (size_t j = 0; !wanted && j < rule->port_count; j++)
			wanted = rule->ports[j].name && rule->ports[j].proto == port->proto &&
				 strcmp(rule->ports[j].name, port->name) == 0;
		for (size_t j = 0; wanted && j < entry->named_count; j++) {
			const struct atom *atom = &set->atoms[entry->first_named + j];

			if (atom->proto == port->proto && atom->port == port->port)
				bits_set(bits, entry->first_named + j);
		}
	}
}

void ruleset_collect_atoms(const struct ruleset *set, const struct view_identity *identity,
			   uint64_t *bits)
{
	memcpy(bits, set->all_pods, set->words * sizeof(*bits));
	for (size_t i = 0; i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		if (!view_rule_matches(entry->rule, identity))
			continue;
		if (entry->plain != NO_ATOM)
			bits_set(bits, entry->plain);
		if (entry->named_count > 0)
			ruleset_named_atoms(set, entry, identity->registered, bits);
	}
}

struct class *ruleset_find_class(struct ruleset *set, const struct view_identity *identity)
{
	ruleset_collect_atoms(set, identity, set->scratch);
	return class_find(&set->peers, set->scratch);
}

static bool has_wanted_port(const struct policy_rule *rule,
			    const struct registry_identity *identity)
{
	for (size_t i = 0; i < rule->port_count; i++)
		for (size_t j = 0; rule->ports[i].name && j < identity->port_count; j++)
			if (rule->ports[i].proto == identity->ports[j].proto &&
			    strcmp(rule->ports[i].name, identity->ports[j].name) == 0)
				return true;
	return false;
}

bool ruleset_asks_ports(const struct ruleset *set, const struct view_identity *identity)
{
	if (set->direction != EGRESS || identity->registered->port_count == 0)
		return false;
	for (size_t i = 0; i < set->rule_count; i++)
		if (view_rule_matches(set->rules[i].rule, identity) &&
		    has_wanted_port(set->rules[i].rule->source, identity->registered))
			return true;
	return false;
}
