/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/explain/explain_words.h"

#include <stdio.h>
#include <stdlib.h>

static const char *proto_word(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

static void put_values(FILE *out, const struct selector_term *term)
{
	for (size_t i = 0; i < term->value_count; i++)
		fprintf(out, "%s%s", i ? "," : "", term->values[i]);
}

static void put_term(FILE *out, const struct selector_term *term)
{
	switch (term->op) {
	case SELECTOR_IN:
		fprintf(out, term->value_count == 1 ? "%s=" : "%s in (", term->key);
		put_values(out, term);
		fputs(term->value_count == 1 ? "" : ")", out);
		break;
	case SELECTOR_NOT_IN:
		fprintf(out, "%s not in (", term->key);
		put_values(out, term);
		fputc(')', out);
		break;
	case SELECTOR_EXISTS:
		fprintf(out, "%s exists", term->key);
		break;
	case SELECTOR_DOES_NOT_EXIST:
		fprintf(out, "%s does not exist", term->key);
		break;
	}
}

/* "all pods", "pods with app=web and tier exists". */
static void put_selected(FILE *out, const char *what, const struct selector *selector)
{
	fprintf(out, selector->count ? "%s with " : "all %s", what);
	for (size_t i = 0; i < selector->count; i++) {
		fputs(i ? " and " : "", out);
		put_term(out, &selector->terms[i]);
	}
}

static void put_block(FILE *out, const struct policy_peer *peer)
{
	char text[PREFIX_TEXT_MAX];

	fputs(prefix_format(&peer->block, text), out);
	for (size_t i = 0; i < peer->except_count; i++)
		fprintf(out, "%s%s", i ? ", " : " except ", prefix_format(&peer->excepts[i], text));
}

static void put_peer(FILE *out, const struct object *policy, const struct policy_peer *peer)
{
	static const struct selector everything;

	if (peer->is_block) {
		put_block(out, peer);
		return;
	}
	if (peer->is_nodes) {
		put_selected(out, "nodes", &peer->node_selector);
		return;
	}
	put_selected(out, "pods", peer->has_pod_selector ? &peer->pod_selector : &everything);
	if (peer->has_namespace_selector) {
		fputs(" in ", out);
		put_selected(out, "namespaces", &peer->namespace_selector);
	} else {
		fprintf(out, " in %s", policy->namespace);
	}
}

static void put_port(FILE *out, const struct policy_port *port)
{
	if (port->any_port)
		fprintf(out, "%s", proto_word(port->proto));
	else if (port->name)
		fprintf(out, "%s %s", proto_word(port->proto), port->name);
	else if (port->first == port->last)
		fprintf(out, "%s %u", proto_word(port->proto), port->first);
	else
		fprintf(out, "%s %u-%u", proto_word(port->proto), port->first, port->last);
}

static void put_rule(FILE *out, const struct object *policy, const struct policy_rule *rule,
		     bool egress)
{
	if (rule->matches_nothing) {
		fputs("nothing: it accepts an unknown kind of peer or protocol", out);
		return;
	}
	if (rule->fails_closed)
		fputs("(an unknown kind of peer or protocol: fails closed) ", out);
	fputs(egress ? "to " : "from ", out);
	if (!rule->peer_count)
		fputs("every peer", out);
	for (size_t i = 0; i < rule->peer_count; i++) {
		fputs(i ? "; or " : "", out);
		put_peer(out, policy, &rule->peers[i]);
	}
	fputs(rule->port_count ? ": " : ": every port and protocol", out);
	for (size_t i = 0; i < rule->port_count; i++) {
		fputs(i ? ", " : "", out);
		put_port(out, &rule->ports[i]);
	}
}

char *explain_rule_words(const struct object *policy, const struct policy_rule *rule, bool egress)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	put_rule(out, policy, rule, egress);
	fclose(out);
	return text;
}

char *explain_subject_words(const struct object *policy)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	put_selected(out, "pods", &policy->network_policy.pod_selector);
	fputs(" in ", out);
	if (policy->kind == OBJECT_CLUSTER_NETWORK_POLICY)
		put_selected(out, "namespaces", &policy->network_policy.namespace_selector);
	else
		fputs(policy->namespace, out);
	fclose(out);
	return text;
}
