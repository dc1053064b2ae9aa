/* SPDX-License-Identifier: Apache-2.0 */
/* What a rule set says of one packet, look-up by look-up as the program does it. */
#include <string.h>

#include "policy/compile/compile.h"
#include "agent/common/address.h"

static uint32_t peer_class(const struct compiled_ruleset *ruleset, uint32_t identity)
{
	size_t low = 0, high = ruleset->peer_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ruleset->peers[middle].identity == identity)
			return ruleset->peers[middle].peer_class;
		if (ruleset->peers[middle].identity < identity)
			low = middle + 1;
		else
			high = middle;
	}
	return identity >= IDENTITY_FIRST_POD ? ruleset->entry.default_pod_class
					      : ruleset->entry.default_world_class;
}

/* The longest prefix stands last. */
static uint32_t prefix_class(const struct compiled_ruleset *ruleset, const struct polder_addr *addr)
{
	for (size_t i = ruleset->prefix_count; i > 0; i--)
		if (prefix_covers(&ruleset->prefixes[i - 1].prefix, addr, 128))
			return ruleset->prefixes[i - 1].peer_class;
	return 0;
}

static bool port_matches(const struct compiled_port *entry, uint8_t proto, uint16_t port)
{
	if (entry->length == 0)
		return true;
	if (entry->proto != proto)
		return false;
	return entry->length == 16 || (entry->port ^ port) >> (32 - entry->length) == 0;
}

static uint32_t port_class(const struct compiled_ruleset *ruleset, uint8_t proto, uint16_t port)
{
	for (size_t i = ruleset->port_count; i > 0; i--)
		if (port_matches(&ruleset->ports[i - 1], proto, port))
			return ruleset->ports[i - 1].port_class;
	return 0;
}

static const struct ruleset_cell *find_cell(const struct compiled_ruleset *ruleset, uint32_t peer,
					    uint32_t port)
{
	size_t low = 0, high = ruleset->cell_count;
	uint64_t wanted = (uint64_t)peer << 16 | port;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct compiled_cell *cell = &ruleset->cells[middle];
		uint64_t key = (uint64_t)cell->peer_class << 16 | cell->port_class;

		if (key == wanted)
			return &cell->cell;
		if (key < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Of two cells, the one whose rule comes first in this step; NULL: neither has one. */
static const struct ruleset_cell *first_of(const struct ruleset_cell *a,
					   const struct ruleset_cell *b, enum policy_step step)
{
	bool in_a = a && a->verdict[step] != CELL_NONE, in_b = b && b->verdict[step] != CELL_NONE;

	if (in_a && in_b)
		return b->rank[step] < a->rank[step] ? b : a;
	return in_a ? a : in_b ? b : NULL;
}

static struct policy_verdict verdict_of(const struct ruleset_cell *cell, enum policy_step step)
{
	return (struct policy_verdict){.allowed = cell->verdict[step] == CELL_ALLOW,
				       .rule = cell->rule[step]};
}

struct policy_verdict compiled_ruleset_verdict(const struct compiled_ruleset *ruleset,
					       const struct ruleset_question *question)
{
	bool isolates = ruleset->entry.flags & RULESET_ISOLATES;
	uint32_t ports = port_class(ruleset, question->proto, question->port);
	const struct ruleset_cell *by_identity =
		find_cell(ruleset, peer_class(ruleset, question->identity), ports);
	const struct ruleset_cell *by_prefix =
		find_cell(ruleset, prefix_class(ruleset, question->peer), ports);
	const struct ruleset_cell *cell = first_of(by_identity, by_prefix, STEP_ADMIN);

	if (cell && cell->verdict[STEP_ADMIN] != CELL_PASS)
		return verdict_of(cell, STEP_ADMIN);
	if (isolates && question->to_itself)
		return (struct policy_verdict){.allowed = true};
	cell = first_of(by_identity, by_prefix, STEP_REST);
	if (cell)
		return verdict_of(cell, STEP_REST);
	return (struct policy_verdict){.allowed = !isolates};
}
