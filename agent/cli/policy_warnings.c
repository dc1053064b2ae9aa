/* SPDX-License-Identifier: Apache-2.0 */
/* What is valid in a policy and surely not meant. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/policy_check.h"

#define PATH_MAX_SHOWN 256

/* A value of the policy and the way to it. */
struct spot {
	const struct check_location *location;
	const json_t *value;
	char path[PATH_MAX_SHOWN];
};

static struct spot spot_key(const struct spot *parent, const char *key)
{
	struct spot spot = {.location = parent->location,
			    .value = json_object_get(parent->value, key)};

	snprintf(spot.path, sizeof(spot.path), "%.*s.%s", (int)(sizeof(spot.path) - 40),
		 parent->path, key);
	return spot;
}

static struct spot spot_item(const struct spot *parent, size_t index)
{
	struct spot spot = {.location = parent->location,
			    .value = json_array_get(parent->value, index)};

	snprintf(spot.path, sizeof(spot.path), "%.*s[%zu]", (int)(sizeof(spot.path) - 24),
		 parent->path, index);
	return spot;
}

#define warn(spot, ...) check_warn((spot)->location, (spot)->path, __VA_ARGS__)

/* ---------------------------------------------------------------- NetworkPolicy */

/* A prefix with bits after its length reads like an address. */
static int warn_host_bits(const struct spot *cidr)
{
	const char *text = json_string_value(cidr->value);
	char shown[PREFIX_TEXT_MAX], address[INET6_ADDRSTRLEN];
	struct polder_addr addr;
	struct prefix prefix;
	const char *slash = text ? strchr(text, '/') : NULL;

	if (!slash || (size_t)(slash - text) >= sizeof(address) || prefix_parse(text, &prefix) < 0)
		return 0;
	snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	if (addr_parse(address, &addr) < 0 || memcmp(&addr, &prefix.addr, sizeof(addr)) == 0)
		return 0;
	return warn(cidr, "is read as %s", prefix_format(&prefix, shown));
}

static int warn_block(const struct spot *block)
{
	struct spot cidr = spot_key(block, "cidr"), excepts = spot_key(block, "except");
	struct prefix whole, part;
	int r = warn_host_bits(&cidr);

	if (r < 0 || !json_is_string(cidr.value) ||
	    prefix_parse(json_string_value(cidr.value), &whole) < 0)
		return r;
	for (size_t i = 0; r == 0 && i < json_array_size(excepts.value); i++) {
		struct spot except = spot_item(&excepts, i);

		r = warn_host_bits(&except);
		if (r == 0 && json_is_string(except.value) &&
		    prefix_parse(json_string_value(except.value), &part) == 0 &&
		    part.length == whole.length)
			r = warn(&except, "excludes the whole block: the peer matches nothing");
	}
	return r;
}

static bool has_named_port(const json_t *ports)
{
	for (size_t i = 0; i < json_array_size(ports); i++)
		if (json_is_string(json_object_get(json_array_get(ports, i), "port")))
			return true;
	return false;
}

static int warn_peers(const struct spot *peers, bool egress, bool named)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(peers->value); i++) {
		struct spot peer = spot_item(peers, i), block = spot_key(&peer, "ipBlock");

		if (!json_is_object(block.value))
			continue;
		r = warn_block(&block);
		if (r == 0 && egress && named)
			r = warn(&block, "is combined with a named port, which addresses outside "
					 "the cluster "
					 "do not have: it matches only pods inside the block");
	}
	return r;
}

static int warn_empty(const struct spot *list, const char *means)
{
	if (!json_is_array(list->value) || json_array_size(list->value) > 0)
		return 0;
	return warn(list, "is empty, which means %s; omit it if that is intended", means);
}

static int warn_rule(const struct spot *rule, bool egress)
{
	struct spot peers = spot_key(rule, egress ? "to" : "from"), ports = spot_key(rule, "ports");
	int r = warn_empty(&peers, "all peers");

	if (r == 0)
		r = warn_empty(&ports, "all ports of all protocols");
	return r < 0 ? r : warn_peers(&peers, egress, has_named_port(ports.value));
}

static bool lists_type(const json_t *types, const char *type)
{
	for (size_t i = 0; i < json_array_size(types); i++) {
		const char *text = json_string_value(json_array_get(types, i));

		if (text && strcmp(text, type) == 0)
			return true;
	}
	return false;
}

static int warn_direction(const struct spot *spec, bool egress)
{
	struct spot rules = spot_key(spec, egress ? "egress" : "ingress");
	const json_t *types = json_object_get(spec->value, "policyTypes");
	const char *type = egress ? "Egress" : "Ingress";
	int r = 0;

	if (json_array_size(types) > 0 && !lists_type(types, type) &&
	    json_array_size(rules.value) > 0)
		return warn(&rules, "is ignored: policyTypes does not list %s", type);
	for (size_t i = 0; r == 0 && i < json_array_size(rules.value); i++) {
		struct spot rule = spot_item(&rules, i);

		r = warn_rule(&rule, egress);
	}
	return r;
}

static int warn_network_policy(const struct spot *spec)
{
	struct spot selector = spot_key(spec, "podSelector");
	int r = 0;

	if (!selector.value || json_is_null(selector.value))
		r = warn(spec, "has no podSelector, which means every pod of the namespace; write "
			       "podSelector: {} if "
			       "that is intended");
	if (r == 0)
		r = warn_direction(spec, false);
	return r < 0 ? r : warn_direction(spec, true);
}

/* ---------------------------------------------------------------- ClusterNetworkPolicy */

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(word, *words) == 0)
			return true;
	return false;
}

/* What the rule comes to when one of its peers or protocols is not known here. */
static const char *closed(const json_t *rule)
{
	const char *action = json_string_value(json_object_get(rule, "action"));

	return action && strcmp(action, "Accept") == 0 ? "the rule matches nothing"
						       : "the rule denies everything";
}

static int warn_unknown(const struct spot *list, const json_t *rule, const char *const *known,
			const char *what)
{
	const char *key;
	json_t *value;
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(list->value); i++) {
		struct spot item = spot_item(list, i);

		json_object_foreach ((json_t *)item.value, key, value) {
			if (is_one_of(key, known))
				continue;
			r = warn(&item, "%.40s is a %s that Polder does not support: %s", key, what,
				 closed(rule));
			break;
		}
		if (r == 0 && json_is_object(item.value) && json_object_size(item.value) == 0)
			r = warn(&item, "names no known %s: %s", what, closed(rule));
	}
	return r;
}

static int warn_networks(const struct spot *peers)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(peers->value); i++) {
		struct spot peer = spot_item(peers, i), networks = spot_key(&peer, "networks");

		for (size_t j = 0; r == 0 && j < json_array_size(networks.value); j++) {
			struct spot cidr = spot_item(&networks, j);

			r = warn_host_bits(&cidr);
		}
	}
	return r;
}

static int warn_cluster_rule(const struct spot *rule, bool egress)
{
	static const char *const sources[] = {"namespaces", "pods", NULL};
	static const char *const destinations[] = {"namespaces", "pods", "nodes", "networks", NULL};
	static const char *const protocols[] = {"tcp", "udp", "sctp", "destinationNamedPort", NULL};
	struct spot peers = spot_key(rule, egress ? "to" : "from"),
		    ports = spot_key(rule, "protocols");
	int r = warn_unknown(&peers, rule->value, egress ? destinations : sources, "peer");

	if (r == 0)
		r = warn_unknown(&ports, rule->value, protocols, "protocol");
	if (r == 0)
		r = warn_empty(&ports, "all ports of all protocols");
	return r < 0 ? r : warn_networks(&peers);
}

static int warn_cluster_policy(const struct spot *spec)
{
	int r = 0;

	for (int egress = 0; r == 0 && egress < 2; egress++) {
		struct spot rules = spot_key(spec, egress ? "egress" : "ingress");

		for (size_t i = 0; r == 0 && i < json_array_size(rules.value); i++) {
			struct spot rule = spot_item(&rules, i);

			r = warn_cluster_rule(&rule, egress);
		}
	}
	return r;
}

int check_object_warnings(const struct check_location *location, const char *path,
			  const json_t *value)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));
	struct spot root = {.location = location, .value = value}, spec;

	snprintf(root.path, sizeof(root.path), "%s", path);
	spec = spot_key(&root, "spec");
	if (kind && strcmp(kind, "ClusterNetworkPolicy") == 0)
		return warn_cluster_policy(&spec);
	/* Items of a NetworkPolicyList need not say their kind. */
	if (strncmp(location->object, "NetworkPolicy", 13) == 0 ||
	    (!kind && json_object_get(spec.value, "podSelector")))
		return warn_network_policy(&spec);
	return 0;
}
