/* SPDX-License-Identifier: Apache-2.0 */
/* What a rule says, as a digest: worked out once, when it is read, for a rule may hold thousands of
 * blocks. */
#include "policy/objects/decode.h"
#include "policy/objects/digest.h"

static void digest_selector(struct digest *digest, bool present, const struct selector *selector)
{
	digest_add_number(digest, present ? selector->count + 1 : 0);
	for (size_t i = 0; i < selector->count; i++) {
		const struct selector_term *term = &selector->terms[i];

		digest_add_text(digest, term->key);
		digest_add_number(digest, term->op);
		digest_add_number(digest, term->value_count);
		for (size_t j = 0; j < term->value_count; j++)
			digest_add_text(digest, term->values[j]);
	}
}

static void digest_prefix(struct digest *digest, const struct prefix *prefix)
{
	digest_add(digest, &prefix->addr, sizeof(prefix->addr));
	digest_add(digest, &prefix->length, sizeof(prefix->length));
}

void policy_rule_digest(struct policy_rule *rule)
{
	struct digest digest;

	digest_begin(&digest);
	digest_add_number(&digest, rule->action);
	digest_add_number(&digest, rule->matches_nothing);
	digest_add_number(&digest, rule->peer_count);
	for (size_t i = 0; i < rule->peer_count; i++) {
		const struct policy_peer *peer = &rule->peers[i];

		digest_add_number(&digest, peer->is_block);
		digest_prefix(&digest, &peer->block);
		digest_add_number(&digest, peer->except_count);
		for (size_t j = 0; j < peer->except_count; j++)
			digest_prefix(&digest, &peer->excepts[j]);
		digest_selector(&digest, peer->has_namespace_selector, &peer->namespace_selector);
		digest_selector(&digest, peer->has_pod_selector, &peer->pod_selector);
		digest_selector(&digest, peer->is_nodes, &peer->node_selector);
	}
	digest_add_number(&digest, rule->port_count);
	for (size_t i = 0; i < rule->port_count; i++) {
		const struct policy_port *port = &rule->ports[i];

		digest_add_text(&digest, port->name);
		digest_add_number(&digest, port->proto);
		digest_add_number(&digest, (uint64_t)port->any_port << 32 |
						   (uint64_t)port->first << 16 | port->last);
	}
	digest_end(&digest, rule->digest);
}
