/* SPDX-License-Identifier: Apache-2.0 */
/* Objects written as the JSON that they could have been read from: only the fields that are kept.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "policy/objects/limits.h"
#include "policy/objects/objects.h"

/* Nothing is left out for want of memory: then there is no text at all. */
struct encoder {
	bool failed;
};

static void set(struct encoder *e, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) < 0)
		e->failed = true;
}

static void append(struct encoder *e, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) < 0)
		e->failed = true;
}

/* What is absent or empty is not written. */
static void set_text(struct encoder *e, json_t *object, const char *key, const char *text)
{
	if (text && text[0])
		set(e, object, key, json_string(text));
}

static void set_true(struct encoder *e, json_t *object, const char *key, bool value)
{
	if (value)
		set(e, object, key, json_true());
}

static json_t *of_addr(const struct polder_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	return json_string(addr_format(addr, text));
}

static json_t *of_prefix(const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	return json_string(prefix_format(prefix, text));
}

static json_t *of_addrs(struct encoder *e, const struct polder_addr *addrs, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		append(e, list, of_addr(&addrs[i]));
	return list;
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

/* ---------------------------------------------------------------- selectors */

/* A term that may stand in matchLabels, as long as its key has not been there. */
static bool is_label(const struct selector_term *term, const json_t *labels)
{
	return term->op == SELECTOR_IN && term->value_count == 1 &&
	       !json_object_get(labels, term->key) &&
	       json_object_size(labels) < LIMIT_SELECTOR_TERMS;
}

static json_t *of_term(struct encoder *e, const struct selector_term *term)
{
	static const char *const names[] = {
		[SELECTOR_IN] = "In",
		[SELECTOR_NOT_IN] = "NotIn",
		[SELECTOR_EXISTS] = "Exists",
		[SELECTOR_DOES_NOT_EXIST] = "DoesNotExist",
	};
	json_t *made = json_pack("{s:s, s:s}", "key", term->key, "operator", names[term->op]),
	       *values;

	if (term->value_count == 0)
		return made;
	values = json_array();
	for (size_t i = 0; i < term->value_count; i++)
		append(e, values, json_string(term->values[i]));
	set(e, made, "values", values);
	return made;
}

/* Terms keep their order. Returns how many stand in `labels`. */
static size_t fill_labels(struct encoder *e, const struct selector *selector, json_t *labels)
{
	size_t i = 0;

	for (; i < selector->count && is_label(&selector->terms[i], labels); i++)
		set(e, labels, selector->terms[i].key, json_string(selector->terms[i].values[0]));
	return i;
}

static json_t *of_selector(struct encoder *e, const struct selector *selector)
{
	json_t *made = json_object(), *labels = json_object(), *terms;
	size_t i = fill_labels(e, selector, labels);

	set(e, made, "matchLabels", labels);
	if (i == selector->count)
		return made;
	terms = json_array();
	for (; i < selector->count; i++)
		append(e, terms, of_term(e, &selector->terms[i]));
	set(e, made, "matchExpressions", terms);
	return made;
}

/* ---------------------------------------------------------------- pods, nodes, Services */

static json_t *of_pod_spec(struct encoder *e, const struct pod_object *pod)
{
	json_t *spec = json_object(), *ports, *port;

	set_text(e, spec, "nodeName", pod->node_name);
	set_true(e, spec, "hostNetwork", pod->host_network);
	if (pod->port_count == 0)
		return spec;
	ports = json_array();
	for (size_t i = 0; i < pod->port_count; i++) {
		port = json_pack("{s:i, s:s}", "containerPort", (int)pod->ports[i].port, "protocol",
				 proto_name(pod->ports[i].proto));
		set_text(e, port, "name", pod->ports[i].name);
		append(e, ports, port);
	}
	set(e, spec, "containers", json_pack("[{s:o}]", "ports", ports));
	return spec;
}

static json_t *of_pod_status(struct encoder *e, const struct pod_object *pod)
{
	json_t *status = json_object(), *addresses = json_array();

	set_text(e, status, "phase", pod->phase);
	for (size_t i = 0; i < pod->address_count; i++)
		append(e, addresses, json_pack("{s:o}", "ip", of_addr(&pod->addresses[i])));
	set(e, status, "podIPs", addresses);
	if (!pod->ready)
		set(e, status, "conditions",
		    json_pack("[{s:s, s:s}]", "type", "Ready", "status", "False"));
	return status;
}

static void fill_pod(struct encoder *e, const struct pod_object *pod, json_t *made)
{
	json_t *metadata = json_object_get(made, "metadata");

	if (pod->mirror_of)
		set(e, metadata, "annotations",
		    json_pack("{s:s}", "kubernetes.io/config.mirror", pod->mirror_of));
	set(e, made, "spec", of_pod_spec(e, pod));
	set(e, made, "status", of_pod_status(e, pod));
}

/* RFC 3339, UTC. */
static json_t *of_time(int64_t seconds)
{
	time_t time = (time_t)seconds;
	char text[32];
	struct tm tm;

	gmtime_r(&time, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static void fill_node(struct encoder *e, const struct node_object *node, json_t *made)
{
	json_t *ranges = json_array(), *addresses = json_array();

	for (size_t i = 0; i < node->pod_range_count; i++)
		append(e, ranges, of_prefix(&node->pod_ranges[i]));
	for (size_t i = 0; i < node->address_count; i++)
		append(e, addresses,
		       json_pack("{s:s, s:o}", "type",
				 i < node->internal_count ? "InternalIP" : "ExternalIP", "address",
				 of_addr(&node->addresses[i])));
	if (node->created)
		set(e, json_object_get(made, "metadata"), "creationTimestamp",
		    of_time(node->created));
	set(e, made, "spec", json_pack("{s:o}", "podCIDRs", ranges));
	set(e, made, "status", json_pack("{s:o}", "addresses", addresses));
}

static json_t *of_service_port(struct encoder *e, const struct service_port *port)
{
	json_t *made = json_pack("{s:i, s:s}", "port", (int)port->port, "protocol",
				 proto_name(port->proto));

	set_text(e, made, "name", port->name);
	set(e, made, "targetPort",
	    port->target_name ? json_string(port->target_name) : json_integer(port->target_port));
	if (port->node_port)
		set(e, made, "nodePort", json_integer(port->node_port));
	return made;
}

static json_t *of_families(struct encoder *e, const struct service_object *service)
{
	json_t *families = json_array();

	if (service->wants_v4)
		append(e, families, json_string("IPv4"));
	if (service->wants_v6)
		append(e, families, json_string("IPv6"));
	return families;
}

static json_t *of_ranges(struct encoder *e, const struct prefix *ranges, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		append(e, list, of_prefix(&ranges[i]));
	return list;
}

static json_t *of_map(struct encoder *e, const struct labels *labels)
{
	json_t *made = json_object();

	for (size_t i = 0; i < labels->count; i++)
		set(e, made, labels->items[i].key, json_string(labels->items[i].value));
	return made;
}

static void fill_service_metadata(struct encoder *e, const struct service_object *service,
				  json_t *metadata)
{
	if (service->created)
		set(e, metadata, "creationTimestamp", of_time(service->created));
	if (service->annotations.count)
		set(e, metadata, "annotations", of_map(e, &service->annotations));
}

/* What only some Services have. */
static void fill_service_traffic(struct encoder *e, const struct service_object *service,
				 json_t *spec)
{
	if (service->external_ip_count)
		set(e, spec, "externalIPs",
		    of_addrs(e, service->external_ips, service->external_ip_count));
	if (service->source_range_count)
		set(e, spec, "loadBalancerSourceRanges",
		    of_ranges(e, service->source_ranges, service->source_range_count));
	set_text(e, spec, "loadBalancerClass", service->balancer_class);
	if (!addr_is_zero(&service->balancer_asked))
		set(e, spec, "loadBalancerIP", of_addr(&service->balancer_asked));
	if (service->internal_local)
		set(e, spec, "internalTrafficPolicy", json_string("Local"));
	if (service->external_local)
		set(e, spec, "externalTrafficPolicy", json_string("Local"));
	if (service->health_port)
		set(e, spec, "healthCheckNodePort", json_integer(service->health_port));
	if (service->distribution)
		set(e, spec, "trafficDistribution",
		    json_string(service->distribution == DISTRIBUTION_SAME_NODE
					? "PreferSameNode"
					: "PreferSameZone"));
	if (service->wants_v4 || service->wants_v6)
		set(e, spec, "ipFamilies", of_families(e, service));
	if (!service->affinity_seconds)
		return;
	set(e, spec, "sessionAffinity", json_string("ClientIP"));
	set(e, spec, "sessionAffinityConfig",
	    json_pack("{s:{s:I}}", "clientIP", "timeoutSeconds",
		      (json_int_t)service->affinity_seconds));
}

static json_t *of_balancer(struct encoder *e, const struct service_object *service)
{
	json_t *list = json_array();

	for (size_t i = 0; i < service->balancer_ip_count; i++)
		append(e, list, json_pack("{s:o}", "ip", of_addr(&service->balancer_ips[i])));
	if (service->balancer_elsewhere)
		append(e, list, json_pack("{s:s}", "hostname", "elsewhere"));
	return json_pack("{s:{s:o}}", "loadBalancer", "ingress", list);
}

static void fill_service(struct encoder *e, const struct service_object *service, json_t *made)
{
	json_t *spec = json_object(), *ports = json_array(), *selector;
	json_t *addresses = of_addrs(e, service->cluster_ips, service->cluster_ip_count);

	if (service->headless)
		append(e, addresses, json_string("None"));
	for (size_t i = 0; i < service->port_count; i++)
		append(e, ports, of_service_port(e, &service->ports[i]));
	set_text(e, spec, "type", service->type);
	set(e, spec, "clusterIPs", addresses);
	set(e, spec, "ports", ports);
	set_true(e, spec, "publishNotReadyAddresses", service->publish_not_ready);
	fill_service_metadata(e, service, json_object_get(made, "metadata"));
	fill_service_traffic(e, service, spec);
	if (service->balancer_ip_count || service->balancer_elsewhere)
		set(e, made, "status", of_balancer(e, service));
	if (service->has_selector) {
		selector = json_object();
		(void)fill_labels(e, &service->selector, selector);
		set(e, spec, "selector", selector);
	}
	set(e, made, "spec", spec);
}

/* ---------------------------------------------------------------- EndpointSlices */

/* `names` with commas between them; NULL: none. */
static void set_hints(struct encoder *e, json_t *hints, const char *key, const char *names)
{
	json_t *list;
	size_t length;

	if (!names)
		return;
	list = json_array();
	for (; *names; names += length + (names[length] == ',')) {
		length = strcspn(names, ",");
		append(e, list, json_pack("{s:s%}", "name", names, length));
	}
	set(e, hints, key, list);
}

static json_t *of_endpoint(struct encoder *e, const struct slice_endpoint *endpoint)
{
	json_t *made = json_object(), *hints;

	set(e, made, "addresses", of_addrs(e, endpoint->addresses, endpoint->address_count));
	set(e, made, "conditions",
	    json_pack("{s:b, s:b, s:b}", "ready", (int)endpoint->ready, "serving",
		      (int)endpoint->serving, "terminating", (int)endpoint->terminating));
	if (endpoint->node_name)
		set(e, made, "nodeName", json_string(endpoint->node_name));
	if (endpoint->target_pod)
		set(e, made, "targetRef",
		    json_pack("{s:s, s:s, s:s*}", "kind", "Pod", "name", endpoint->target_pod,
			      "namespace", endpoint->target_namespace));
	if (!endpoint->zone_hints && !endpoint->node_hints)
		return made;
	hints = json_object();
	set_hints(e, hints, "forZones", endpoint->zone_hints);
	set_hints(e, hints, "forNodes", endpoint->node_hints);
	set(e, made, "hints", hints);
	return made;
}

static void fill_slice(struct encoder *e, const struct slice_object *slice, json_t *made)
{
	json_t *endpoints = json_array(), *ports = json_array(), *port;

	set(e, made, "addressType",
	    json_string(slice->family == FAMILY_V4   ? "IPv4"
			: slice->family == FAMILY_V6 ? "IPv6"
						     : "FQDN"));
	for (size_t i = 0; i < slice->port_count; i++) {
		port = json_pack("{s:s}", "protocol", proto_name(slice->ports[i].proto));
		set_text(e, port, "name", slice->ports[i].name);
		if (slice->ports[i].port)
			set(e, port, "port", json_integer(slice->ports[i].port));
		append(e, ports, port);
	}
	for (size_t i = 0; i < slice->endpoint_count; i++)
		append(e, endpoints, of_endpoint(e, &slice->endpoints[i]));
	set(e, made, "ports", ports);
	set(e, made, "endpoints", endpoints);
}

/* ---------------------------------------------------------------- NetworkPolicies */

static json_t *of_peer(struct encoder *e, const struct policy_peer *peer)
{
	json_t *made = json_object(), *excepts = json_array();

	if (!peer->is_block) {
		json_decref(excepts);
		if (peer->has_pod_selector)
			set(e, made, "podSelector", of_selector(e, &peer->pod_selector));
		if (peer->has_namespace_selector)
			set(e, made, "namespaceSelector",
			    of_selector(e, &peer->namespace_selector));
		return made;
	}
	for (size_t i = 0; i < peer->except_count; i++)
		append(e, excepts, of_prefix(&peer->excepts[i]));
	set(e, made, "ipBlock",
	    json_pack("{s:o, s:o}", "cidr", of_prefix(&peer->block), "except", excepts));
	return made;
}

static json_t *of_policy_port(struct encoder *e, const struct policy_port *port)
{
	json_t *made = json_pack("{s:s}", "protocol", proto_name(port->proto));

	if (port->name)
		set(e, made, "port", json_string(port->name));
	else if (!port->any_port)
		set(e, made, "port", json_integer(port->first));
	if (!port->name && !port->any_port && port->last != port->first)
		set(e, made, "endPort", json_integer(port->last));
	return made;
}

static json_t *of_rule(struct encoder *e, const struct policy_rule *rule, const char *side)
{
	json_t *made = json_object(), *peers = json_array(), *ports = json_array();

	for (size_t i = 0; i < rule->peer_count; i++)
		append(e, peers, of_peer(e, &rule->peers[i]));
	for (size_t i = 0; i < rule->port_count; i++)
		append(e, ports, of_policy_port(e, &rule->ports[i]));
	set(e, made, side, peers);
	set(e, made, "ports", ports);
	return made;
}

static void fill_policy(struct encoder *e, const struct network_policy_object *policy, json_t *made)
{
	json_t *types = json_array(), *ingress = json_array(), *egress = json_array();

	if (policy->isolates_ingress)
		append(e, types, json_string("Ingress"));
	if (policy->isolates_egress)
		append(e, types, json_string("Egress"));
	for (size_t i = 0; i < policy->ingress_count; i++)
		append(e, ingress, of_rule(e, &policy->ingress[i], "from"));
	for (size_t i = 0; i < policy->egress_count; i++)
		append(e, egress, of_rule(e, &policy->egress[i], "to"));
	set(e, made, "spec",
	    json_pack("{s:o, s:o, s:o, s:o}", "podSelector", of_selector(e, &policy->pod_selector),
		      "policyTypes", types, "ingress", ingress, "egress", egress));
}

/* ---------------------------------------------------------------- ClusterNetworkPolicies */

static json_t *of_both(struct encoder *e, const struct selector *namespaces,
		       const struct selector *pods)
{
	return json_pack("{s:o, s:o}", "namespaceSelector", of_selector(e, namespaces),
			 "podSelector", of_selector(e, pods));
}

/* CIDRs of one item, or of several, stand as peers in a row: as many as an item may have. */
static json_t *of_networks(struct encoder *e, const struct policy_rule *rule, size_t *at)
{
	json_t *list = json_array();

	while (*at < rule->peer_count && rule->peers[*at].is_block &&
	       json_array_size(list) < LIMIT_CLUSTER_ITEMS)
		append(e, list, of_prefix(&rule->peers[(*at)++].block));
	return json_pack("{s:o}", "networks", list);
}

static json_t *of_cluster_peers(struct encoder *e, const struct policy_rule *rule)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rule->peer_count;) {
		const struct policy_peer *peer = &rule->peers[i];

		if (peer->is_block) {
			append(e, list, of_networks(e, rule, &i));
			continue;
		}
		if (peer->is_nodes)
			append(e, list,
			       json_pack("{s:o}", "nodes", of_selector(e, &peer->node_selector)));
		else if (peer->has_pod_selector)
			append(e, list,
			       json_pack(
				       "{s:o}", "pods",
				       of_both(e, &peer->namespace_selector, &peer->pod_selector)));
		else
			append(e, list,
			       json_pack("{s:o}", "namespaces",
					 of_selector(e, &peer->namespace_selector)));
		i++;
	}
	return list;
}

static json_t *of_cluster_port(const struct policy_port *port)
{
	static const char *const names[] = {"tcp", "udp", "sctp"};
	const char *name = names[port->proto == IPPROTO_TCP   ? 0
				 : port->proto == IPPROTO_UDP ? 1
							      : 2];

	if (port->first == port->last)
		return json_pack("{s:{s:{s:i}}}", name, "destinationPort", "number",
				 (int)port->first);
	return json_pack("{s:{s:{s:{s:i, s:i}}}}", name, "destinationPort", "range", "start",
			 (int)port->first, "end", (int)port->last);
}

/* A name stands for one port of each protocol, in a row. */
static json_t *of_cluster_ports(struct encoder *e, const struct policy_rule *rule)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rule->port_count; i++) {
		const struct policy_port *port = &rule->ports[i];

		if (!port->name)
			append(e, list, of_cluster_port(port));
		else if (port->proto == IPPROTO_TCP)
			append(e, list, json_pack("{s:s}", "destinationNamedPort", port->name));
	}
	return list;
}

static json_t *of_cluster_rule(struct encoder *e, const struct policy_rule *rule, const char *side)
{
	static const char *const names[] = {
		[RULE_ACCEPT] = "Accept", [RULE_DENY] = "Deny", [RULE_PASS] = "Pass"};
	json_t *made = json_pack("{s:s}", "action", names[rule->action]);

	set_text(e, made, "name", rule->name);
	/* Of a kind that nobody knows, as it was read. */
	if (rule->matches_nothing || rule->fails_closed) {
		set(e, made, side, json_pack("[{s:{}}]", "unknown"));
		return made;
	}
	set(e, made, side, of_cluster_peers(e, rule));
	if (rule->port_count > 0)
		set(e, made, "protocols", of_cluster_ports(e, rule));
	return made;
}

static void fill_cluster_policy(struct encoder *e, const struct network_policy_object *policy,
				json_t *made)
{
	json_t *ingress = json_array(), *egress = json_array();

	for (size_t i = 0; i < policy->ingress_count; i++)
		append(e, ingress, of_cluster_rule(e, &policy->ingress[i], "from"));
	for (size_t i = 0; i < policy->egress_count; i++)
		append(e, egress, of_cluster_rule(e, &policy->egress[i], "to"));
	set(e, made, "spec",
	    json_pack("{s:s, s:i, s:{s:o}, s:o, s:o}", "tier",
		      policy->tier == TIER_ADMIN ? "Admin" : "Baseline", "priority",
		      policy->priority, "subject", "pods",
		      of_both(e, &policy->namespace_selector, &policy->pod_selector), "ingress",
		      ingress, "egress", egress));
}

/* ---------------------------------------------------------------- alerts */

static json_t *of_alert_networks(struct encoder *e, const struct traffic_alert_object *alert)
{
	json_t *list = json_array();

	for (size_t i = 0; i < alert->network_count; i++)
		append(e, list, of_prefix(&alert->networks[i]));
	return list;
}

static json_t *of_texts(struct encoder *e, char *const *texts, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		append(e, list, json_string(texts[i]));
	return list;
}

static json_t *of_alert_ports(struct encoder *e, const struct traffic_alert_object *alert)
{
	json_t *list = json_array();

	for (size_t i = 0; i < alert->port_count; i++) {
		const struct alert_ports *ports = &alert->ports[i];

		append(e, list,
		       ports->first == ports->last
			       ? json_integer(ports->first)
			       : json_sprintf("%u-%u", ports->first, ports->last));
	}
	return list;
}

static json_t *of_alert_rule(struct encoder *e, const struct traffic_alert_object *alert)
{
	json_t *rule = json_object();

	if (alert->network_count > 0 || alert->alert == ALERT_PEERS_OUTSIDE)
		set(e, rule, "networks", of_alert_networks(e, alert));
	if (alert->alert == ALERT_FOREIGN_RESOLVER)
		set(e, rule, "services", of_texts(e, alert->services, alert->service_count));
	if (alert->alert == ALERT_SHELL)
		set(e, rule, "executables", of_texts(e, alert->programs, alert->program_count));
	if (alert->port_count > 0 || (alert->alert == ALERT_NEW_LISTENER && !alert->seconds))
		set(e, rule, "ports", of_alert_ports(e, alert));
	if (alert->nodes)
		set(e, rule, "nodes", json_true());
	if (alert->targets)
		set(e, rule, "targets", json_integer(alert->targets));
	if (alert->bytes)
		set(e, rule, "bytes", json_integer((json_int_t)alert->bytes));
	if (alert->seconds)
		set(e, rule, "seconds", json_integer(alert->seconds));
	return rule;
}

static void fill_traffic_alert(struct encoder *e, const struct traffic_alert_object *alert,
			       json_t *made)
{
	json_t *spec =
		json_pack("{s:s, s:i, s:o}", "severity", alert_severity_name(alert->severity),
			  "rateLimitSeconds", (int)alert->rate_limit, alert_kind_name(alert->alert),
			  of_alert_rule(e, alert));

	set_text(e, spec, "message", alert->message);
	if (!alert->any_subject)
		set(e, spec, "subject",
		    json_pack("{s:o}", "pods",
			      of_both(e, &alert->namespace_selector, &alert->pod_selector)));
	set(e, made, "spec", spec);
}

/* ---------------------------------------------------------------- any object */

static json_t *of_metadata(struct encoder *e, const struct object *object)
{
	json_t *metadata = json_object(), *labels;
	bool terminating = (object->kind == OBJECT_POD && object->pod.terminating) ||
			   (object->kind == OBJECT_NAMESPACE && object->space.terminating);

	set_text(e, metadata, "name", object->name);
	set_text(e, metadata, "namespace", object->namespace);
	set_text(e, metadata, "uid", object->uid);
	if (terminating)
		set(e, metadata, "deletionTimestamp", json_string(""));
	if (object->labels.count == 0)
		return metadata;
	labels = json_object();
	for (size_t i = 0; i < object->labels.count; i++)
		set(e, labels, object->labels.items[i].key,
		    json_string(object->labels.items[i].value));
	set(e, metadata, "labels", labels);
	return metadata;
}

static void fill(struct encoder *e, const struct object *object, json_t *made)
{
	switch (object->kind) {
	case OBJECT_POD:
		fill_pod(e, &object->pod, made);
		break;
	case OBJECT_NODE:
		fill_node(e, &object->node, made);
		break;
	case OBJECT_SERVICE:
		fill_service(e, &object->service, made);
		break;
	case OBJECT_ENDPOINT_SLICE:
		fill_slice(e, &object->slice, made);
		break;
	case OBJECT_NETWORK_POLICY:
		fill_policy(e, &object->network_policy, made);
		break;
	case OBJECT_CLUSTER_NETWORK_POLICY:
		fill_cluster_policy(e, &object->network_policy, made);
		break;
	case OBJECT_TRAFFIC_ALERT:
		fill_traffic_alert(e, &object->traffic_alert, made);
		break;
	case OBJECT_NAMESPACE:
	case OBJECT_KIND_COUNT:
		break;
	}
}

char *object_encode(const struct object *object)
{
	CLEANUP(cleanup_json) json_t *made = json_object();
	struct encoder e = {.failed = !made};

	set(&e, made, "metadata", of_metadata(&e, object));
	if (!e.failed)
		fill(&e, object, made);
	return e.failed ? NULL : json_dumps(made, JSON_COMPACT);
}
