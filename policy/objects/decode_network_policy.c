/* SPDX-License-Identifier: Apache-2.0 */
/* NetworkPolicies: strict, for what is not understood must not be taken for an allowance. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "agent/common/address.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"
#include "policy/objects/syntax.h"

static int decode_excepts(const struct json_at *at, void *target)
{
	struct policy_peer *peer = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_EXCEPTS, sizeof(*peer->excepts), decode_prefix, &items);

	peer->excepts = items.items;
	peer->except_count = items.count;
	return r;
}

static int check_excepts(const struct json_at *block, const struct policy_peer *peer)
{
	struct json_at excepts = json_key(block, "except");

	for (size_t i = 0; i < peer->except_count; i++) {
		const struct prefix *except = &peer->excepts[i];
		struct json_at at = json_item(&excepts, i);

		if (prefix_is_v4(except) != prefix_is_v4(&peer->block))
			return json_fail(&at, -EINVAL,
					 "is of another address family than the block");
		if (!prefix_covers(&peer->block, &except->addr, except->length))
			return json_fail(&at, -EINVAL, "is not inside the block");
	}
	return 0;
}

static int decode_block(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"cidr", decode_prefix, offsetof(struct policy_peer, block), true},
		{"except", decode_excepts, 0, false},
	};
	struct policy_peer *peer = target;
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), peer);

	peer->is_block = true;
	return r < 0 ? r : check_excepts(at, peer);
}

static int decode_pod_peer(const struct json_at *at, void *target)
{
	struct policy_peer *peer = target;

	peer->has_pod_selector = true;
	return decode_selector(at, &peer->pod_selector);
}

static int decode_namespace_peer(const struct json_at *at, void *target)
{
	struct policy_peer *peer = target;

	peer->has_namespace_selector = true;
	return decode_selector(at, &peer->namespace_selector);
}

static int decode_peer(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"ipBlock", decode_block, 0, false},
		{"podSelector", decode_pod_peer, 0, false},
		{"namespaceSelector", decode_namespace_peer, 0, false},
	};
	struct policy_peer *peer = target;
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), peer);
	bool selects = peer->has_pod_selector || peer->has_namespace_selector;

	if (r < 0)
		return r;
	if (peer->is_block && selects)
		return json_fail(at, -EINVAL, "ipBlock cannot be combined with a selector");
	if (!peer->is_block && !selects)
		return json_fail(at, -EINVAL,
				 "must have ipBlock, podSelector or namespaceSelector");
	return 0;
}

static int decode_peers(const struct json_at *at, void *target)
{
	struct policy_rule *rule = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_PEERS, sizeof(*rule->peers), decode_peer, &items);

	rule->peers = items.items;
	rule->peer_count = items.count;
	return r;
}

static int decode_port_or_name(const struct json_at *at, void *target)
{
	struct policy_port *port = target;
	const char *reason;
	int r;

	port->any_port = false;
	if (!json_is_string(at->value)) {
		r = json_get_port(at, &port->first);
		port->last = port->first;
		return r;
	}
	r = json_text(at, LIMIT_PORT_NAME, &port->name);
	if (r < 0)
		return r;
	r = syntax_port_name(port->name, &reason);
	return r < 0 ? json_fail(at, r, "%s", reason) : 0;
}

/* After `port`: the table's order. */
static int decode_end_port(const struct json_at *at, void *target)
{
	struct policy_port *port = target;
	uint16_t last;
	int r = json_get_port(at, &last);

	if (r < 0)
		return r;
	if (port->any_port)
		return json_fail(at, -EINVAL, "needs a port, the start of the range");
	if (port->name)
		return json_fail(at, -EINVAL, "needs a numeric port, not a name");
	if (last < port->first)
		return json_fail(at, -EINVAL, "must not be less than port: %u < %u", last,
				 port->first);
	port->last = last;
	return 0;
}

static int decode_port(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"protocol", json_get_protocol, offsetof(struct policy_port, proto), false},
		{"port", decode_port_or_name, 0, false},
		{"endPort", decode_end_port, 0, false},
	};
	struct policy_port *port = target;

	*port = (struct policy_port){.proto = IPPROTO_TCP, .any_port = true, .last = 65535};
	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), port);
}

static int decode_ports(const struct json_at *at, void *target)
{
	struct policy_rule *rule = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_RULE_PORTS, sizeof(*rule->ports), decode_port, &items);

	rule->ports = items.items;
	rule->port_count = items.count;
	return r;
}

static int decode_rule(const struct json_at *at, const struct json_field *fields, size_t count,
		       struct policy_rule *rule)
{
	int r = json_fields(at, FIELDS_STRICT, fields, count, rule);

	if (r == 0)
		policy_rule_digest(rule);
	return r;
}

static int decode_ingress_rule(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"from", decode_peers, 0, false},
		{"ports", decode_ports, 0, false},
	};

	return decode_rule(at, fields, COUNT(fields), target);
}

static int decode_egress_rule(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"to", decode_peers, 0, false},
		{"ports", decode_ports, 0, false},
	};

	return decode_rule(at, fields, COUNT(fields), target);
}

static int decode_ingress(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_RULES, sizeof(*policy->ingress), decode_ingress_rule, &items);

	policy->ingress = items.items;
	policy->ingress_count = items.count;
	return r;
}

static int decode_egress(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_RULES, sizeof(*policy->egress), decode_egress_rule, &items);

	policy->egress = items.items;
	policy->egress_count = items.count;
	return r;
}

static int decode_types(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	int r = json_expect(at, JSON_ARRAY);

	if (r < 0)
		return r;
	if (json_array_size(at->value) > 2)
		return json_fail(at, -EFBIG, "has %zu items; the limit is 2",
				 json_array_size(at->value));
	for (size_t i = 0; i < json_array_size(at->value); i++) {
		struct json_at item = json_item(at, i);

		r = json_expect(&item, JSON_STRING);
		if (r < 0)
			return r;
		if (strcmp(json_string_value(item.value), "Ingress") == 0)
			policy->isolates_ingress = true;
		else if (strcmp(json_string_value(item.value), "Egress") == 0)
			policy->isolates_egress = true;
		else
			return json_fail(&item, -EINVAL, "must be Ingress or Egress, not \"%.32s\"",
					 json_string_value(item.value));
	}
	return 0;
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"podSelector", decode_selector,
		 offsetof(struct network_policy_object, pod_selector), false},
		{"policyTypes", decode_types, 0, false},
		{"ingress", decode_ingress, 0, false},
		{"egress", decode_egress, 0, false},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), target);
}

int decode_network_policy(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, false},	{"apiVersion", json_get_skipped, 0, false},
		{"kind", json_get_skipped, 0, false},	{"metadata", json_get_skipped, 0, false},
		{"status", json_get_skipped, 0, false},
	};
	struct network_policy_object *policy = &object->network_policy;
	int r;

	policy->tier = TIER_NETWORK_POLICY;
	r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), policy);
	if (r < 0)
		return r;
	if (!policy->isolates_ingress && !policy->isolates_egress) {
		policy->isolates_ingress = true;
		policy->isolates_egress = policy->egress_count > 0;
	}
	return 0;
}
