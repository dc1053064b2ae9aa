/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules of a set allow, piece by piece. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/limits.h"
#include "policy/set.h"

void *array_grow(void *items, size_t count, size_t *capacity, size_t size)
{
	size_t larger = *capacity ? *capacity * 2 : 32;
	void *moved;

	if (count < *capacity)
		return items;
	moved = reallocarray(items, larger, size);
	if (moved)
		*capacity = larger;
	return moved;
}

static int add_atom(struct set *set, struct atom atom)
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

/* Has the rule ports that are the same for all peers: none (all ports), numbers, names of the subject's own ports? */
static bool has_plain_ports(const struct set *set, const struct policy_rule *rule)
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

static int add_ports_of(struct set *set, const struct view_rule *rule, const struct policy_port *wanted,
			const struct registry_identity *identity)
{
	for (size_t i = 0; i < identity->port_count; i++) {
		const struct named_port *port = &identity->ports[i];
		struct atom atom = {.rule = rule, .named = true, .proto = port->proto, .port = port->port};
		int r;

		if (port->proto != wanted->proto || strcmp(port->name, wanted->name) != 0)
			continue;
		r = add_atom(set, atom);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Sorts the rule's named atoms and drops doubles; keeps those not more than the limit while they are collected. */
static void tidy_named(struct set *set, size_t first)
{
	struct atom *atoms = set->atoms + first;
	size_t count = set->atom_count - first, kept = 0;

	if (count < 2)
		return;
	qsort(atoms, count, sizeof(*atoms), compare_atoms);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || compare_atoms(&atoms[kept - 1], &atoms[i]) != 0)
			atoms[kept++] = atoms[i];
	set->atom_count = first + kept;
}

/* The ports that an egress rule's names stand for on the pods it leads to. */
static int add_named_atoms(struct set *set, struct set_rule *entry)
{
	const struct view_rule *rule = entry->rule;
	const struct view *view = set->view;

	entry->first_named = set->atom_count;
	for (size_t p = 0; p < rule->source->port_count; p++) {
		if (!rule->source->ports[p].name)
			continue;
		for (size_t i = 0; i < view->identity_count; i++) {
			int r;

			if (!rule->all_pods && !bits_has(rule->matches, i))
				continue;
			r = add_ports_of(set, rule, &rule->source->ports[p], view->identities[i].registered);
			if (r == -E2BIG) {
				tidy_named(set, entry->first_named);
				r = add_ports_of(set, rule, &rule->source->ports[p],
						 view->identities[i].registered);
			}
			if (r < 0)
				return r;
		}
		tidy_named(set, entry->first_named);
	}
	entry->named_count = set->atom_count - entry->first_named;
	return 0;
}

int set_add_atoms(struct set *set)
{
	for (size_t i = 0; i < set->rule_count; i++) {
		struct set_rule *entry = &set->rules[i];
		int r = view_prepare_rule(set->view, entry->rule);

		entry->plain = NO_ATOM;
		if (r == 0 && has_plain_ports(set, entry->rule->source)) {
			entry->plain = set->atom_count;
			r = add_atom(set, (struct atom){.rule = entry->rule});
		}
		if (r == 0 && set->direction == EGRESS)
			r = add_named_atoms(set, entry);
		if (r < 0)
			return r;
	}
	set->words = set->atom_count / 64 + 1;
	return 0;
}
