/* SPDX-License-Identifier: Apache-2.0 */
/* Whether two objects say the same in every field that is kept. */
#include <string.h>

#include "policy/objects/objects.h"

/* Both absent, or the same text. */
static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Plain arrays, without holes in their items. */
static bool same_bytes(const void *a, size_t a_count, const void *b, size_t b_count, size_t size)
{
	return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * size) == 0);
}

static bool same_prefixes(const struct prefix *a, size_t a_count, const struct prefix *b,
			  size_t b_count)
{
	_Static_assert(sizeof(struct prefix) == 20, "compared field by field for its hole");

	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (a[i].length != b[i].length ||
		    memcmp(&a[i].addr, &b[i].addr, sizeof(a[i].addr)) != 0)
			return false;
	return true;
}

static bool same_terms(const struct selector_term *a, const struct selector_term *b)
{
	if (a->op != b->op || a->value_count != b->value_count || strcmp(a->key, b->key) != 0)
		return false;
	for (size_t i = 0; i < a->value_count; i++)
		if (strcmp(a->values[i], b->values[i]) != 0)
			return false;
	return true;
}

static bool same_selectors(const struct selector *a, const struct selector *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_terms(&a->terms[i], &b->terms[i]))
			return false;
	return true;
}

static bool same_pods(const struct pod_object *a, const struct pod_object *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++)
		if (!same_text(a->ports[i].name, b->ports[i].name) ||
		    a->ports[i].port != b->ports[i].port || a->ports[i].proto != b->ports[i].proto)
			return false;
	return same_bytes(a->addresses, a->address_count, b->addresses, b->address_count,
			  sizeof(*a->addresses)) &&
	       same_text(a->node_name, b->node_name) && same_text(a->phase, b->phase) &&
	       same_text(a->mirror_of, b->mirror_of) && a->host_network == b->host_network &&
	       a->ready == b->ready && a->terminating == b->terminating &&
	       a->finished == b->finished;
}

static bool same_nodes(const struct node_object *a, const struct node_object *b)
{
	return a->created == b->created && a->internal_count == b->internal_count &&
	       same_bytes(a->addresses, a->address_count, b->addresses, b->address_count,
			  sizeof(*a->addresses)) &&
	       same_prefixes(a->pod_ranges, a->pod_range_count, b->pod_ranges, b->pod_range_count);
}

static bool same_service_ports(const struct service_port *a, const struct service_port *b)
{
	return same_text(a->name, b->name) && same_text(a->target_name, b->target_name) &&
	       a->port == b->port && a->proto == b->proto && a->target_port == b->target_port &&
	       a->node_port == b->node_port;
}

static bool same_service_addresses(const struct service_object *a, const struct service_object *b)
{
	return same_bytes(a->cluster_ips, a->cluster_ip_count, b->cluster_ips, b->cluster_ip_count,
			  sizeof(*a->cluster_ips)) &&
	       same_bytes(a->external_ips, a->external_ip_count, b->external_ips,
			  b->external_ip_count, sizeof(*a->external_ips)) &&
	       same_bytes(a->balancer_ips, a->balancer_ip_count, b->balancer_ips,
			  b->balancer_ip_count, sizeof(*a->balancer_ips)) &&
	       same_prefixes(a->source_ranges, a->source_range_count, b->source_ranges,
			     b->source_range_count) &&
	       a->balancer_elsewhere == b->balancer_elsewhere &&
	       same_bytes(&a->balancer_asked, 1, &b->balancer_asked, 1,
			  sizeof(a->balancer_asked)) &&
	       a->wants_v4 == b->wants_v4 && a->wants_v6 == b->wants_v6;
}

static bool same_services(const struct service_object *a, const struct service_object *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++)
		if (!same_service_ports(&a->ports[i], &b->ports[i]))
			return false;
	return same_text(a->type, b->type) && same_service_addresses(a, b) &&
	       same_text(a->balancer_class, b->balancer_class) &&
	       labels_equal(&a->annotations, &b->annotations) && a->created == b->created &&
	       a->affinity_seconds == b->affinity_seconds && a->health_port == b->health_port &&
	       a->distribution == b->distribution && a->headless == b->headless &&
	       a->has_selector == b->has_selector && same_selectors(&a->selector, &b->selector) &&
	       a->publish_not_ready == b->publish_not_ready &&
	       a->internal_local == b->internal_local && a->external_local == b->external_local;
}

static bool same_endpoints(const struct slice_endpoint *a, const struct slice_endpoint *b)
{
	return same_bytes(a->addresses, a->address_count, b->addresses, b->address_count,
			  sizeof(*a->addresses)) &&
	       a->ready == b->ready && a->serving == b->serving &&
	       a->terminating == b->terminating && same_text(a->node_name, b->node_name) &&
	       same_text(a->target_pod, b->target_pod) &&
	       same_text(a->target_namespace, b->target_namespace) &&
	       same_text(a->zone_hints, b->zone_hints) && same_text(a->node_hints, b->node_hints);
}

static bool same_slices(const struct slice_object *a, const struct slice_object *b)
{
	if (a->endpoint_count != b->endpoint_count || a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->endpoint_count; i++)
		if (!same_endpoints(&a->endpoints[i], &b->endpoints[i]))
			return false;
	for (size_t i = 0; i < a->port_count; i++)
		if (!same_text(a->ports[i].name, b->ports[i].name) ||
		    a->ports[i].port != b->ports[i].port || a->ports[i].proto != b->ports[i].proto)
			return false;
	return same_text(a->service, b->service) && a->family == b->family;
}

static bool same_peers(const struct policy_peer *a, const struct policy_peer *b)
{
	return a->is_block == b->is_block && same_prefixes(&a->block, 1, &b->block, 1) &&
	       same_prefixes(a->excepts, a->except_count, b->excepts, b->except_count) &&
	       a->has_namespace_selector == b->has_namespace_selector &&
	       a->has_pod_selector == b->has_pod_selector &&
	       same_selectors(&a->namespace_selector, &b->namespace_selector) &&
	       same_selectors(&a->pod_selector, &b->pod_selector) && a->is_nodes == b->is_nodes &&
	       same_selectors(&a->node_selector, &b->node_selector);
}

static bool same_ports(const struct policy_port *a, const struct policy_port *b)
{
	return a->proto == b->proto && a->any_port == b->any_port && same_text(a->name, b->name) &&
	       a->first == b->first && a->last == b->last;
}

static bool same_rules(const struct policy_rule *a, size_t a_count, const struct policy_rule *b,
		       size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (a[i].peer_count != b[i].peer_count || a[i].port_count != b[i].port_count ||
		    a[i].action != b[i].action || !same_text(a[i].name, b[i].name) ||
		    a[i].matches_nothing != b[i].matches_nothing ||
		    a[i].fails_closed != b[i].fails_closed)
			return false;
		for (size_t j = 0; j < a[i].peer_count; j++)
			if (!same_peers(&a[i].peers[j], &b[i].peers[j]))
				return false;
		for (size_t j = 0; j < a[i].port_count; j++)
			if (!same_ports(&a[i].ports[j], &b[i].ports[j]))
				return false;
	}
	return true;
}

static bool same_policies(const struct network_policy_object *a,
			  const struct network_policy_object *b)
{
	return a->tier == b->tier && a->priority == b->priority &&
	       same_selectors(&a->namespace_selector, &b->namespace_selector) &&
	       same_selectors(&a->pod_selector, &b->pod_selector) &&
	       a->isolates_ingress == b->isolates_ingress &&
	       a->isolates_egress == b->isolates_egress &&
	       same_rules(a->ingress, a->ingress_count, b->ingress, b->ingress_count) &&
	       same_rules(a->egress, a->egress_count, b->egress, b->egress_count);
}

static bool same_text_lists(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

static bool same_alert_ports(const struct traffic_alert_object *a,
			     const struct traffic_alert_object *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++)
		if (a->ports[i].first != b->ports[i].first || a->ports[i].last != b->ports[i].last)
			return false;
	return true;
}

static bool same_traffic_alerts(const struct traffic_alert_object *a,
				const struct traffic_alert_object *b)
{
	return a->severity == b->severity && a->alert == b->alert &&
	       same_text_lists(a->services, a->service_count, b->services, b->service_count) &&
	       same_text_lists(a->programs, a->program_count, b->programs, b->program_count) &&
	       same_alert_ports(a, b) && a->nodes == b->nodes &&
	       same_text(a->message, b->message) && a->rate_limit == b->rate_limit &&
	       a->any_subject == b->any_subject &&
	       same_selectors(&a->namespace_selector, &b->namespace_selector) &&
	       same_selectors(&a->pod_selector, &b->pod_selector) &&
	       same_prefixes(a->networks, a->network_count, b->networks, b->network_count) &&
	       a->targets == b->targets && a->bytes == b->bytes && a->seconds == b->seconds;
}

static bool same_content(const struct object *a, const struct object *b)
{
	switch (a->kind) {
	case OBJECT_POD:
		return same_pods(&a->pod, &b->pod);
	case OBJECT_NODE:
		return same_nodes(&a->node, &b->node);
	case OBJECT_SERVICE:
		return same_services(&a->service, &b->service);
	case OBJECT_ENDPOINT_SLICE:
		return same_slices(&a->slice, &b->slice);
	case OBJECT_NETWORK_POLICY:
	case OBJECT_CLUSTER_NETWORK_POLICY:
		return same_policies(&a->network_policy, &b->network_policy);
	case OBJECT_TRAFFIC_ALERT:
		return same_traffic_alerts(&a->traffic_alert, &b->traffic_alert);
	case OBJECT_NAMESPACE:
		return a->space.terminating == b->space.terminating;
	case OBJECT_KIND_COUNT:
		break;
	}
	return true;
}

bool object_equal(const struct object *a, const struct object *b)
{
	return a->kind == b->kind && same_text(a->namespace, b->namespace) &&
	       same_text(a->name, b->name) && same_text(a->uid, b->uid) &&
	       labels_equal(&a->labels, &b->labels) && same_content(a, b);
}
