/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules of a set allow, piece by piece. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/ruleset.h"
#include "policy/objects/limits.h"

static int add_atom(struct ruleset *set, struct atom atom)
{
	struct atom *atoms;

	if (set->atom_count == RULESET_MAX_ATOMS)
		return -E2BIG;
	atoms = array_grow(set->atoms, set->atom_count, &set->atom_capacity, sizeof(*atoms));
	if (!atoms)
		return -ENOMEM;
	set->atoms = atoms;
	atoms[set->atom_count++] = atom;
	return 0;
}

static bool has_port(const struct registry_identity *identity, const char *name, uint8_t proto)
{
	for (size_t i = 0; i < identity->port_count; i++)
		if (identity->ports[i].proto == proto && strcmp(identity->ports[i].name, name) == 0)
			return true;
	return false;
}

/* Has the rule ports that are the same for all peers: none (all ports), numbers, names of the
 * subject's own ports? */
static bool has_plain_ports(const struct ruleset *set, const struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->port_count; i++) {
		const struct policy_port *port = &rule->ports[i];

		if (!port->name)
			return true;
		if (set->direction == INGRESS && has_port(set->subject, port->name, port->proto))
			return true;
	}
	return rule->port_count == 0;
}

static int compare_atoms(const void *a, const void *b)
{
	const struct atom *x = a, *y = b;
	int order = (int)x->proto - (int)y->proto;

	return order ? order : (int)x->port - (int)y->port;
}

static int add_ports_of(struct ruleset *set, const struct view_rule *rule,
			const struct policy_port *wanted, const struct registry_identity *identity)
{
	for (size_t i = 0; i < identity->port_count; i++) {
		const struct named_port *port = &identity->ports[i];
		struct atom atom = {
			.rule = rule, .named = true, .proto = port->proto, .port = port->port};
		int r;

		if (port->proto != wanted->proto || strcmp(port->name, wanted->name) != 0)
			continue;
		r = add_atom(set, atom);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Sorts the rule's named atoms and drops doubles; keeps those not more than the limit while they
 * are collected. */
static void tidy_named(struct ruleset *set, size_t first)
{
	size_t count = set->atom_count - first, kept = 0;
	struct atom *atoms;

	if (count < 2)
		return;
	atoms = set->atoms + first;
	qsort(atoms, count, sizeof(*atoms), compare_atoms);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || compare_atoms(&atoms[kept - 1], &atoms[i]) != 0)
			atoms[kept++] = atoms[i];
	set->atom_count = first + kept;
}

static bool lies_in_block(struct ruleset *set, const struct policy_rule *rule,
			  const struct polder_addr *addr)
{
	for (size_t i = 0; i < rule->peer_count; i++) {
		const struct policy_peer *peer = &rule->peers[i];
		bool inside = peer->is_block && prefix_contains(&peer->block, addr);

		set->address_tests++;
		for (size_t j = 0; inside && j < peer->except_count; j++, set->address_tests++)
			inside = !prefix_contains(&peer->excepts[j], addr);
		if (inside)
			return true;
	}
	return false;
}

static bool has_named_port(const struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->port_count; i++)
		if (rule->ports[i].name)
			return true;
	return false;
}

static int each_address(struct ruleset *set, const struct view_rule *rule,
			const struct policy_pod *pod, block_pod_found found, void *data)
{
	int r = 0;

	if (!pod->identity)
		return 0;
	for (size_t i = 0; r == 0 && i < pod->address_count; i++)
		if (lies_in_block(set, rule->source, &pod->addresses[i]))
			r = found(pod->identity->registered, &pod->addresses[i], data);
	if (r == 0 && set->address_tests > RULESET_MAX_ADDRESS_TESTS)
		r = -E2BIG;
	return r;
}

int ruleset_each_block_pod(struct ruleset *set, const struct view_rule *rule, block_pod_found found,
			   void *data)
{
	const struct policy_pod *lists[] = {set->view->subjects.first, set->view->pods.first}, *pod;
	int r = 0;

	if (set->direction != EGRESS || !has_named_port(rule->source))
		return 0;
	for (int i = 0; i < 2; i++)
		for (pod = lists[i]; pod && r == 0; pod = pod->next)
			r = each_address(set, rule, pod, found, data);
	return r;
}

struct naming {
	struct ruleset *set;
	struct ruleset_rule *entry;
};

/* All ports that the rule's names stand for on one pod. */
static int add_names_of(const struct registry_identity *identity, const struct polder_addr *addr,
			void *data)
{
	struct naming *naming = data;
	const struct view_rule *rule = naming->entry->rule;

	for (size_t p = 0; p < rule->source->port_count; p++) {
		int r = 0;

		if (rule->source->ports[p].name)
			r = add_ports_of(naming->set, rule, &rule->source->ports[p], identity);
		if (r == -E2BIG) {
			tidy_named(naming->set, naming->entry->first_named);
			r = add_ports_of(naming->set, rule, &rule->source->ports[p], identity);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* The ports that an egress rule's names stand for on the pods it leads to. */
static int add_named_atoms(struct ruleset *set, struct ruleset_rule *entry)
{
	const struct view_rule *rule = entry->rule;
	struct naming naming = {.set = set, .entry = entry};
	int r;

	entry->first_named = set->atom_count;
	if (!has_named_port(rule->source))
		return 0;
	for (size_t i = 0; i < set->view->identity_slots; i++) {
		const struct view_identity *identity = set->view->identities[i];

		if (!identity || !identity->pods ||
		    (!rule->all_pods && !bits_has(rule->matches, i)))
			continue;
		r = add_names_of(identity->registered, NULL, &naming);
		if (r < 0)
			return r;
	}
	r = ruleset_each_block_pod(set, rule, add_names_of, &naming);
	if (r < 0)
		return r;
	tidy_named(set, entry->first_named);
	entry->named_count = set->atom_count - entry->first_named;
	if (!ruleset_rule_may_match(rule))
		return 0;
	entry->unknown = set->atom_count;
	return add_atom(set, (struct atom){.rule = rule, .named = true});
}

/* Asked before anybody looks whom the rules name, which costs the most. */
static bool is_hopeless(const struct ruleset *set)
{
	size_t plain = 0;

	for (size_t i = 0; i < set->rule_count; i++)
		plain += has_plain_ports(set, set->rules[i].rule->source);
	return plain > RULESET_MAX_ATOMS;
}

int ruleset_add_atoms(struct ruleset *set)
{
	set->hopeless = is_hopeless(set);
	if (set->hopeless)
		return -E2BIG;
	for (size_t i = 0; i < set->rule_count; i++) {
		struct ruleset_rule *entry = &set->rules[i];
		int r = view_prepare_rule(set->view, entry->rule);

		entry->plain = entry->unknown = NO_ATOM;
		if (r == 0 && has_plain_ports(set, entry->rule->source)) {
			entry->plain = set->atom_count;
			r = add_atom(set, (struct atom){.rule = entry->rule});
		}
		if (r == 0 && set->direction == EGRESS)
			r = add_named_atoms(set, entry);
		if (r < 0)
			return r;
		if (entry->rule->tier == TIER_ADMIN)
			set->admin_atoms = set->atom_count;
	}
	/* One bit more than there are atoms, at least. */
	set->words = set->atom_count / 64 + 1;
	return 0;
}
