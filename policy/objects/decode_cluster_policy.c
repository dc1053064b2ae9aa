/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterNetworkPolicies (policy.networking.k8s.io/v1alpha2): strict, and closed towards kinds of
 * peers and protocols that a later version of the API may add.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "policy/objects/array.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"

/* A rule while it is decoded. */
struct decoding_rule {
	struct policy_rule *rule;
	size_t peer_capacity, port_capacity;
	bool unknown; /* a peer or a protocol of a kind that is not known */
};

/* The value of the only field of the object at `at`; NULL: none, several, or none of `names`. */
static const char *only_field(const struct json_at *at, const char *const *names, size_t count,
			      size_t *ret_known)
{
	const char *key, *found = NULL;
	size_t known = 0, fields = 0;
	json_t *value;

	json_object_foreach ((json_t *)at->value, key, value) {
		if (json_is_null(value))
			continue;
		fields++;
		for (size_t i = 0; i < count; i++)
			if (strcmp(names[i], key) == 0) {
				found = names[i];
				known++;
			}
	}
	*ret_known = known;
	return known == 1 && fields == 1 ? found : NULL;
}

static struct policy_peer *add_peer(struct decoding_rule *d)
{
	struct policy_rule *rule = d->rule;
	struct policy_peer *peers =
		array_grow(rule->peers, rule->peer_count, &d->peer_capacity, sizeof(*peers));

	if (!peers)
		return NULL;
	rule->peers = peers;
	peers += rule->peer_count++;
	*peers = (struct policy_peer){};
	return peers;
}

/* podSelector and namespaceSelector of a peer or a subject. */
static int decode_namespaced_pods(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"namespaceSelector", decode_selector, offsetof(struct namespaced_pods, namespaces),
		 false},
		{"podSelector", decode_selector, offsetof(struct namespaced_pods, pods), true},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), target);
}

static int decode_pods_peer(const struct json_at *at, struct decoding_rule *d)
{
	struct policy_peer *peer = add_peer(d);
	struct namespaced_pods pods = {};
	int r = peer ? decode_namespaced_pods(at, &pods) : -ENOMEM;

	if (!peer)
		return r;
	peer->has_namespace_selector = peer->has_pod_selector = true;
	peer->namespace_selector = pods.namespaces;
	peer->pod_selector = pods.pods;
	return r;
}

static int decode_networks(const struct json_at *at, struct decoding_rule *d)
{
	int r = json_expect(at, JSON_ARRAY);
	size_t count;

	if (r < 0)
		return r;
	count = json_array_size(at->value);
	if (count == 0 || count > LIMIT_CLUSTER_ITEMS)
		return json_fail(at, -EINVAL, "must have 1 to %d CIDRs, not %zu",
				 LIMIT_CLUSTER_ITEMS, count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct json_at item = json_item(at, i);
		struct policy_peer *peer = add_peer(d);

		if (!peer)
			return -ENOMEM;
		peer->is_block = true;
		r = decode_prefix(&item, &peer->block);
	}
	return r;
}

static int decode_selected(const struct json_at *at, struct decoding_rule *d, bool nodes)
{
	struct policy_peer *peer = add_peer(d);

	if (!peer)
		return -ENOMEM;
	if (nodes) {
		peer->is_nodes = true;
		return decode_selector(at, &peer->node_selector);
	}
	peer->has_namespace_selector = true;
	return decode_selector(at, &peer->namespace_selector);
}

static int decode_peer(const struct json_at *at, struct decoding_rule *d, bool egress)
{
	/* Ingress knows the first two. domainNames are part of the API, but not served: unknown. */
	static const char *const names[] = {"namespaces", "pods", "nodes", "networks"};
	int r = json_expect(at, JSON_OBJECT);
	const char *field;
	struct json_at child;
	size_t known;

	if (r < 0)
		return r;
	field = only_field(at, names, egress ? 4 : 2, &known);
	if (known > 1)
		return json_fail(at, -EINVAL, "must have one kind of peer, not %zu", known);
	if (!field) {
		d->unknown = true;
		return 0;
	}
	child = json_key(at, field);
	if (strcmp(field, "pods") == 0)
		return decode_pods_peer(&child, d);
	if (strcmp(field, "networks") == 0)
		return decode_networks(&child, d);
	return decode_selected(&child, d, strcmp(field, "nodes") == 0);
}

static struct policy_port *add_port(struct decoding_rule *d, uint8_t proto)
{
	struct policy_rule *rule = d->rule;
	struct policy_port *ports =
		array_grow(rule->ports, rule->port_count, &d->port_capacity, sizeof(*ports));

	if (!ports)
		return NULL;
	rule->ports = ports;
	ports += rule->port_count++;
	*ports = (struct policy_port){.proto = proto};
	return ports;
}

/* A name stands for a port of any protocol. */
static int decode_named_port(const struct json_at *at, struct decoding_rule *d)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	int r = 0;

	for (size_t i = 0; r == 0 && i < COUNT(protos); i++) {
		struct policy_port *port = add_port(d, protos[i]);

		if (!port)
			return -ENOMEM;
		r = decode_port_name(at, &port->name);
	}
	return r;
}

static int decode_range(const struct json_at *at, struct policy_port *port)
{
	static const struct json_field fields[] = {
		{"start", json_get_port, offsetof(struct policy_port, first), true},
		{"end", json_get_port, offsetof(struct policy_port, last), true},
	};
	struct json_at end = json_key(at, "end");
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), port);

	if (r < 0)
		return r;
	if (port->first >= port->last)
		return json_fail(&end, -EINVAL, "must be greater than start: %u <= %u", port->last,
				 port->first);
	return 0;
}

static int decode_destination_port(const struct json_at *at, struct decoding_rule *d, uint8_t proto)
{
	static const char *const names[] = {"number", "range"};
	int r = json_expect(at, JSON_OBJECT);
	struct policy_port *port;
	struct json_at child;
	const char *field;
	size_t known;

	if (r < 0)
		return r;
	field = only_field(at, names, COUNT(names), &known);
	if (known > 1)
		return json_fail(at, -EINVAL, "must have number or range, not both");
	if (!field) {
		d->unknown = true;
		return 0;
	}
	port = add_port(d, proto);
	if (!port)
		return -ENOMEM;
	child = json_key(at, field);
	if (strcmp(field, "range") == 0)
		return decode_range(&child, port);
	r = json_get_port(&child, &port->first);
	port->last = port->first;
	return r;
}

static int decode_transport(const struct json_at *at, struct decoding_rule *d, uint8_t proto)
{
	static const char *const names[] = {"destinationPort"};
	int r = json_expect(at, JSON_OBJECT);
	struct json_at child;
	size_t known;

	if (r < 0)
		return r;
	if (json_object_size(at->value) == 0)
		return json_fail(at, -EINVAL, "must not be empty; omit protocols for all of them");
	if (!only_field(at, names, 1, &known)) {
		d->unknown = true;
		return 0;
	}
	child = json_key(at, "destinationPort");
	return decode_destination_port(&child, d, proto);
}

static int decode_protocol(const struct json_at *at, struct decoding_rule *d)
{
	static const char *const names[] = {"tcp", "udp", "sctp", "destinationNamedPort"};
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	int r = json_expect(at, JSON_OBJECT);
	struct json_at child;
	const char *field;
	size_t known;

	if (r < 0)
		return r;
	field = only_field(at, names, COUNT(names), &known);
	if (known > 1)
		return json_fail(at, -EINVAL, "must have one kind of protocol, not %zu", known);
	if (!field) {
		d->unknown = true;
		return 0;
	}
	child = json_key(at, field);
	for (size_t i = 0; i < COUNT(protos); i++)
		if (strcmp(names[i], field) == 0)
			return decode_transport(&child, d, protos[i]);
	return decode_named_port(&child, d);
}

static int decode_items(const struct json_at *at, struct decoding_rule *d, bool egress,
			bool protocols)
{
	int r = json_expect(at, JSON_ARRAY);
	size_t count;

	if (r < 0)
		return r;
	count = json_array_size(at->value);
	if (count == 0 || count > LIMIT_CLUSTER_ITEMS)
		return json_fail(at, -EINVAL, "must have 1 to %d items, not %zu",
				 LIMIT_CLUSTER_ITEMS, count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct json_at item = json_item(at, i);

		r = protocols ? decode_protocol(&item, d) : decode_peer(&item, d, egress);
	}
	return r;
}

static int decode_action(const struct json_at *at, void *target)
{
	static const char *const names[] = {
		[RULE_ACCEPT] = "Accept", [RULE_DENY] = "Deny", [RULE_PASS] = "Pass"};
	struct policy_rule *rule = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	for (size_t i = 0; i < COUNT(names); i++) {
		if (strcmp(json_string_value(at->value), names[i]) == 0) {
			rule->action = (enum rule_action)i;
			return 0;
		}
	}
	return json_fail(at, -EINVAL, "must be Accept, Deny or Pass, not \"%.32s\"",
			 json_string_value(at->value));
}

static int decode_rule_name(const struct json_at *at, void *target)
{
	struct policy_rule *rule = target;

	return json_text(at, LIMIT_RULE_NAME, &rule->name);
}

/* Names mean nothing for addresses that are no pod's. */
static int check_names(const struct json_at *at, const struct policy_rule *rule)
{
	bool named = false, addresses = false;

	for (size_t i = 0; i < rule->port_count; i++)
		named |= rule->ports[i].name != NULL;
	for (size_t i = 0; i < rule->peer_count; i++)
		addresses |= rule->peers[i].is_block || rule->peers[i].is_nodes;
	if (named && addresses)
		return json_fail(at, -EINVAL,
				 "destinationNamedPort cannot be combined with networks or nodes");
	return 0;
}

static void clear_peers_and_ports(struct policy_rule *rule)
{
	struct policy_rule kept = {.action = rule->action, .name = rule->name};

	rule->name = NULL;
	policy_rule_clear(rule);
	*rule = kept;
}

/* What the API's text asks for where an implementation meets a kind it does not know. */
static void close_rule(struct policy_rule *rule)
{
	clear_peers_and_ports(rule);
	if (rule->action == RULE_ACCEPT) {
		rule->matches_nothing = true;
	} else {
		rule->action = RULE_DENY;
		rule->fails_closed = true;
	}
}

static int decode_rule(const struct json_at *at, struct policy_rule *rule, bool egress)
{
	const struct json_field fields[] = {
		{"name", decode_rule_name, 0, false},
		{"action", decode_action, 0, true},
		{egress ? "to" : "from", json_get_skipped, 0, true},
		{"protocols", json_get_skipped, 0, false},
	};
	struct json_at peers = json_key(at, egress ? "to" : "from");
	struct json_at protocols = json_key(at, "protocols");
	struct decoding_rule d = {.rule = rule};
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), rule);

	if (r == 0)
		r = decode_items(&peers, &d, egress, false);
	if (r == 0 && protocols.value)
		r = decode_items(&protocols, &d, egress, true);
	if (r == 0 && egress)
		r = check_names(at, rule);
	if (r == 0 && d.unknown)
		close_rule(rule);
	if (r == 0)
		policy_rule_digest(rule);
	return r;
}

static int decode_ingress_rule(const struct json_at *at, void *target)
{
	return decode_rule(at, target, false);
}

static int decode_egress_rule(const struct json_at *at, void *target)
{
	return decode_rule(at, target, true);
}

static int decode_ingress(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_CLUSTER_ITEMS, sizeof(*policy->ingress), decode_ingress_rule,
			   &items);

	policy->ingress = items.items;
	policy->ingress_count = items.count;
	return r;
}

static int decode_egress(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_CLUSTER_ITEMS, sizeof(*policy->egress), decode_egress_rule,
			   &items);

	policy->egress = items.items;
	policy->egress_count = items.count;
	return r;
}

static int decode_tier(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	if (strcmp(json_string_value(at->value), "Admin") == 0)
		policy->tier = TIER_ADMIN;
	else if (strcmp(json_string_value(at->value), "Baseline") == 0)
		policy->tier = TIER_BASELINE;
	else
		return json_fail(at, -EINVAL, "must be Admin or Baseline, not \"%.32s\"",
				 json_string_value(at->value));
	return 0;
}

static int decode_priority(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	json_int_t priority;
	int r = json_integer_in(at, 0, LIMIT_PRIORITY, &priority);

	if (r == 0)
		policy->priority = (int)priority;
	return r;
}

int decode_subject(const struct json_at *at, struct namespaced_pods *ret)
{
	static const struct json_field fields[] = {
		{"namespaces", json_get_skipped, 0, false},
		{"pods", json_get_skipped, 0, false},
	};
	struct json_at namespaces = json_key(at, "namespaces"), both = json_key(at, "pods");
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), ret);

	if (r < 0)
		return r;
	if (!namespaces.value == !both.value)
		return json_fail(at, -EINVAL, "must have either namespaces or pods");
	if (namespaces.value)
		return decode_selector(&namespaces, &ret->namespaces);
	return decode_namespaced_pods(&both, ret);
}

static int decode_policy_subject(const struct json_at *at, void *target)
{
	struct network_policy_object *policy = target;
	struct namespaced_pods pods = {};
	int r = decode_subject(at, &pods);

	policy->namespace_selector = pods.namespaces;
	policy->pod_selector = pods.pods;
	return r;
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"tier", decode_tier, 0, true},
		{"priority", decode_priority, 0, true},
		{"subject", decode_policy_subject, 0, true},
		{"ingress", decode_ingress, 0, false},
		{"egress", decode_egress, 0, false},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), target);
}

int decode_cluster_network_policy(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, true},		{"apiVersion", json_get_skipped, 0, false},
		{"kind", json_get_skipped, 0, false},	{"metadata", json_get_skipped, 0, false},
		{"status", json_get_skipped, 0, false},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), &object->network_policy);
}
