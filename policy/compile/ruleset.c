/* SPDX-License-Identifier: Apache-2.0 */
/* One rule set: from the policies that select a pod to the entries of the maps. */
#include "policy/compile/ruleset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/array.h"
#include "policy/objects/digest.h"
#include "policy/objects/limits.h"

void compiled_ruleset_clear(struct compiled_ruleset *ruleset)
{
	free(ruleset->peers);
	free(ruleset->prefixes);
	free(ruleset->ports);
	free(ruleset->cells);
	*ruleset = (struct compiled_ruleset){};
}

/* What only compiling needs. */
static void free_scaffold(struct ruleset *set)
{
	class_table_clear(&set->ports);
	free(set->world);
	free(set->members);
	free(set->prefixes);
	free(set->port_entries);
	set->world = NULL;
	set->members = NULL;
	set->prefixes = NULL;
	set->port_entries = NULL;
	set->view = NULL;
}

void ruleset_clear(struct ruleset *set)
{
	free_scaffold(set);
	class_table_clear(&set->peers);
	free(set->rules);
	free(set->atoms);
	free(set->all_pods);
	free(set->scratch);
	*set = (struct ruleset){};
}

static bool asks_nodes(const struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->peer_count; i++)
		if (rule->peers[i].is_nodes)
			return true;
	return false;
}

static bool asks_addresses(const struct policy_rule *rule)
{
	bool named = false, block = false;

	for (size_t i = 0; i < rule->port_count; i++)
		named |= rule->ports[i].name != NULL;
	for (size_t i = 0; i < rule->peer_count; i++)
		block |= rule->peers[i].is_block;
	return named && block;
}

static int collect_rules(struct ruleset *set, struct view_policy *const *policies, size_t count)
{
	size_t rules = 0;

	for (size_t i = 0; i < count; i++) {
		rules += policies[i]->rule_count[set->direction];
		set->isolates |= policies[i]->object->network_policy.tier == TIER_NETWORK_POLICY;
	}
	set->rules = calloc(rules + 1, sizeof(*set->rules));
	if (!set->rules)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < policies[i]->rule_count[set->direction]; j++) {
			struct view_rule *rule = &policies[i]->rules[set->direction][j];

			if (rule->source->matches_nothing)
				continue;
			set->rules[set->rule_count++].rule = rule;
			set->asks_nodes |= asks_nodes(rule->source);
			set->asks_addresses |=
				set->direction == EGRESS && asks_addresses(rule->source);
		}
	return 0;
}

static int prepare_bits(struct ruleset *set)
{
	set->world = calloc(set->words, sizeof(*set->world));
	set->all_pods = calloc(set->words, sizeof(*set->all_pods));
	set->scratch = calloc(set->words, sizeof(*set->scratch));
	if (!set->world || !set->all_pods || !set->scratch)
		return -ENOMEM;
	class_table_init(&set->peers, set->words);
	class_table_init(&set->ports, set->words);
	for (size_t i = 0; i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		if (entry->plain != NO_ATOM && entry->rule->any_peer)
			bits_set(set->world, entry->plain);
		if (entry->plain != NO_ATOM && entry->rule->all_pods)
			bits_set(set->all_pods, entry->plain);
	}
	return 0;
}

/* The identities that some rule says more of than what holds for all pods. */
static void find_special(const struct ruleset *set, uint64_t *special)
{
	size_t words = view_identity_words(set->view);

	for (size_t i = 0; i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		for (size_t w = 0; w < words; w++)
			if (!entry->rule->all_pods)
				special[w] |= entry->rule->matches[w];
			else if (entry->named_count > 0)
				special[w] = ~0ull;
	}
}

static int add_member(struct ruleset *set, const struct view_identity *identity)
{
	struct ruleset_identity *members = array_grow(set->members, set->member_count,
						      &set->member_capacity, sizeof(*members));
	struct ruleset_identity *member;

	if (!members)
		return -ENOMEM;
	set->members = members;
	member = &members[set->member_count++];
	member->identity = identity;
	ruleset_collect_atoms(set, identity, set->scratch);
	return class_of(&set->peers, set->scratch, &member->class);
}

static int add_backend_states(struct ruleset *set)
{
	const struct view *view = set->view;
	size_t words = view_identity_words(view);
	uint64_t *special = calloc(words, sizeof(*special));
	int r = special ? 0 : -ENOMEM;

	if (r == 0)
		find_special(set, special);
	for (size_t w = 0; r == 0 && w < words; w++)
		for (uint64_t left = special[w]; r == 0 && left; left &= left - 1) {
			size_t index = w * 64 + (size_t)__builtin_ctzll(left);
			const struct view_identity *identity =
				index < view->identity_slots ? view->identities[index] : NULL;

			if (identity && identity->pods)
				r = add_member(set, identity);
		}
	free(special);
	return r;
}

static int classify_identities(struct ruleset *set)
{
	int r = class_of(&set->peers, set->world, &set->world_class);

	if (r == 0)
		r = class_of(&set->peers, set->all_pods, &set->all_pods_class);
	if (r == 0)
		r = add_backend_states(set);
	if (r == 0)
		r = ruleset_classify_unknown(set);
	return r;
}

/* Which classes are there for more than the identities that happen to be there. */
static void count_uses(struct ruleset *set)
{
	set->world_class->uses++;
	set->all_pods_class->uses++;
	set->unknown_class->uses++;
	for (size_t i = 0; i < set->member_count; i++)
		set->members[i].class->uses++;
	for (size_t i = 0; i < set->prefix_count; i++)
		set->prefixes[i].class->uses++;
}

static int fill_peers(const struct ruleset *set, struct compiled_ruleset *ret)
{
	ret->peers = calloc(set->member_count + 2, sizeof(*ret->peers));
	if (!ret->peers)
		return -ENOMEM;
	if (set->unknown_class != set->world_class)
		ret->peers[ret->peer_count++] = (struct compiled_peer){
			.identity = IDENTITY_UNKNOWN_POD, .peer_class = set->unknown_class->number};
	for (size_t i = 0; i < set->member_count; i++) {
		const struct ruleset_identity *member = &set->members[i];

		if (member->class == set->all_pods_class)
			continue;
		ret->peers[ret->peer_count++] =
			(struct compiled_peer){.identity = member->identity->registered->id,
					       .peer_class = member->class->number};
	}
	return 0;
}

static int fill_prefixes_and_ports(const struct ruleset *set, struct compiled_ruleset *ret)
{
	ret->prefixes = calloc(set->prefix_count + 1, sizeof(*ret->prefixes));
	ret->ports = calloc(set->port_count + 1, sizeof(*ret->ports));
	if (!ret->prefixes || !ret->ports)
		return -ENOMEM;
	for (size_t i = 0; i < set->prefix_count; i++)
		ret->prefixes[ret->prefix_count++] =
			(struct compiled_prefix){.prefix = set->prefixes[i].prefix,
						 .peer_class = set->prefixes[i].class->number};
	for (size_t i = 0; i < set->port_count; i++)
		ret->ports[ret->port_count++] = (struct compiled_port){
			.length = set->port_entries[i].length,
			.proto = set->port_entries[i].proto,
			.port = set->port_entries[i].port,
			.port_class = set->port_entries[i].class->number,
		};
	return 0;
}

static enum cell_verdict verdict_of(const struct view_rule *rule)
{
	if (rule->source->action == RULE_DENY)
		return CELL_DENY;
	/* Behind the last tier everything is allowed. */
	return rule->source->action == RULE_PASS && rule->tier == TIER_ADMIN ? CELL_PASS
									     : CELL_ALLOW;
}

static bool fill_step(const struct ruleset *set, const struct class *peer, const struct class *port,
		      enum policy_step step, struct ruleset_cell *cell)
{
	size_t first = step == STEP_ADMIN ? 0 : set->admin_atoms;
	size_t end = step == STEP_ADMIN ? set->admin_atoms : set->atom_count;
	long atom;

	if (step == STEP_ADMIN && peer == set->unknown_class && peer != set->world_class)
		return ruleset_unknown_step(set, port, cell);
	atom = bits_first_common(peer->bits, port->bits, first, end);
	if (atom < 0)
		return false;
	cell->rule[step] = set->atoms[atom].rule->number;
	cell->rank[step] = (uint16_t)atom;
	cell->verdict[step] = (uint8_t)verdict_of(set->atoms[atom].rule);
	return true;
}

/* Where a class of peers meets a class of ports, the first rule of a step that both have decides.
 */
static int fill_cells(const struct ruleset *set, struct compiled_ruleset *ret)
{
	uint64_t pairs = (uint64_t)set->peers.count * set->ports.count;
	size_t capacity = 0;

	/* Of unknown pods each atom is looked at. */
	if ((pairs + 64ull * set->ports.count) * set->words > RULESET_MAX_CELL_OPS)
		return -E2BIG;
	for (size_t p = 0; p < set->peers.count; p++)
		for (size_t q = 0; q < set->ports.count; q++) {
			struct ruleset_cell cell = {};
			struct compiled_cell *cells;
			bool any = false;

			for (int step = 0; step < POLICY_STEPS; step++)
				any |= fill_step(set, set->peers.all[p], set->ports.all[q], step,
						 &cell);
			if (!any)
				continue;
			if (ret->cell_count == RULESET_MAX_ENTRIES)
				return -E2BIG;
			cells = array_grow(ret->cells, ret->cell_count, &capacity, sizeof(*cells));
			if (!cells)
				return -ENOMEM;
			ret->cells = cells;
			cells[ret->cell_count++] = (struct compiled_cell){
				.peer_class = (uint16_t)set->peers.all[p]->number,
				.port_class = (uint16_t)set->ports.all[q]->number,
				.cell = cell,
			};
		}
	return 0;
}

static int compare_peers(const void *a, const void *b)
{
	const struct compiled_peer *x = a, *y = b;

	return (x->identity > y->identity) - (x->identity < y->identity);
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct compiled_prefix *x = a, *y = b;

	if (x->prefix.length != y->prefix.length)
		return (int)x->prefix.length - (int)y->prefix.length;
	return memcmp(&x->prefix.addr, &y->prefix.addr, sizeof(x->prefix.addr));
}

static int compare_ports(const void *a, const void *b)
{
	const struct compiled_port *x = a, *y = b;

	if (x->length != y->length)
		return (int)x->length - (int)y->length;
	return x->proto != y->proto ? (int)x->proto - (int)y->proto : (int)x->port - (int)y->port;
}

static void digest_classes(struct digest *digest, const struct class_table *table)
{
	digest_add_number(digest, table->count);
	for (size_t i = 0; i < table->count; i++)
		digest_add(digest, table->all[i]->bits, table->words * sizeof(uint64_t));
}

static void digest_atoms(struct digest *digest, const struct ruleset *set)
{
	digest_add_number(digest, set->rule_count);
	for (size_t i = 0; i < set->rule_count; i++) {
		digest_add_number(digest, set->rules[i].rule->number);
		digest_add(digest, set->rules[i].rule->source->digest,
			   sizeof(set->rules[i].rule->source->digest));
	}
	digest_add_number(digest, set->admin_atoms);
	digest_add_number(digest, set->atom_count);
	for (size_t i = 0; i < set->atom_count; i++) {
		const struct atom *atom = &set->atoms[i];

		digest_add_number(digest, atom->rule->number);
		digest_add_number(digest, (uint64_t)atom->named << 32 |
						  (uint64_t)atom->proto << 16 | atom->port);
	}
}

/* All but which identities there are: see policy_compile(). */
static void digest_set(const struct ruleset *set, struct compiled_ruleset *ruleset)
{
	uint8_t bytes[DIGEST_BYTES];
	struct digest digest;

	digest_begin(&digest);
	digest_add_text(&digest, "polder rule set 2");
	digest_atoms(&digest, set);
	digest_classes(&digest, &set->peers);
	digest_classes(&digest, &set->ports);
	digest_add_number(&digest, ruleset->entry.default_pod_class);
	digest_add_number(&digest, ruleset->entry.default_world_class);
	digest_add_number(&digest, ruleset->entry.flags);
	digest_add_number(&digest, ruleset->prefix_count);
	for (size_t i = 0; i < ruleset->prefix_count; i++) {
		digest_add(&digest, &ruleset->prefixes[i].prefix.addr, sizeof(struct polder_addr));
		digest_add_number(&digest, ruleset->prefixes[i].prefix.length);
		digest_add_number(&digest, ruleset->prefixes[i].peer_class);
	}
	digest_add_number(&digest, ruleset->port_count);
	for (size_t i = 0; i < ruleset->port_count; i++) {
		const struct compiled_port *port = &ruleset->ports[i];

		digest_add_number(&digest, (uint64_t)port->length << 24 |
						   (uint64_t)port->proto << 16 | port->port);
		digest_add_number(&digest, port->port_class);
	}
	digest_add_number(&digest, ruleset->cell_count);
	for (size_t i = 0; i < ruleset->cell_count; i++) {
		const struct compiled_cell *cell = &ruleset->cells[i];

		digest_add_number(&digest, (uint64_t)cell->peer_class << 16 | cell->port_class);
		digest_add(&digest, &cell->cell, sizeof(cell->cell));
	}
	digest_end(&digest, bytes);
	memcpy(ruleset->entry.digest, bytes, sizeof(ruleset->entry.digest));
}

static int fill(struct ruleset *set, struct compiled_ruleset *ret)
{
	int r;

	class_table_number(&set->peers);
	class_table_number(&set->ports);
	if (set->peers.count > RULESET_MAX_CLASSES || set->ports.count > RULESET_MAX_CLASSES)
		return -E2BIG;
	r = fill_peers(set, ret);
	if (r == 0)
		r = fill_prefixes_and_ports(set, ret);
	if (r == 0)
		r = fill_cells(set, ret);
	if (r < 0)
		return r;
	qsort(ret->peers, ret->peer_count, sizeof(*ret->peers), compare_peers);
	qsort(ret->prefixes, ret->prefix_count, sizeof(*ret->prefixes), compare_prefixes);
	qsort(ret->ports, ret->port_count, sizeof(*ret->ports), compare_ports);
	ret->entry.default_pod_class = (uint16_t)set->all_pods_class->number;
	ret->entry.default_world_class = (uint16_t)set->world_class->number;
	ret->entry.flags = (ret->prefix_count ? RULESET_HAS_PREFIXES : 0) |
			   (ret->port_count ? RULESET_HAS_PORTS : 0) |
			   (set->isolates ? RULESET_ISOLATES : 0);
	digest_set(set, ret);
	return 0;
}

int ruleset_compile(struct ruleset *set, struct view *view, enum direction direction,
		    const struct registry_identity *subject, struct view_policy *const *policies,
		    size_t policy_count, struct compiled_ruleset *ret)
{
	struct compiled_ruleset ruleset = {};
	int r;

	*set = (struct ruleset){.view = view, .direction = direction, .subject = subject};
	r = collect_rules(set, policies, policy_count);
	if (r == 0)
		r = ruleset_add_atoms(set);
	if (r == 0)
		r = prepare_bits(set);
	if (r == 0)
		r = classify_identities(set);
	if (r == 0)
		r = ruleset_classify_prefixes(set);
	if (r == 0)
		r = ruleset_classify_ports(set);
	if (r == 0)
		r = fill(set, &ruleset);
	if (r == 0)
		count_uses(set);
	free_scaffold(set);
	if (r < 0)
		compiled_ruleset_clear(&ruleset);
	else
		*ret = ruleset;
	return r;
}
