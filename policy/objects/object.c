/* SPDX-License-Identifier: Apache-2.0 */
/* Objects: freeing and comparing. */
#include <stdlib.h>
#include <string.h>

#include "policy/objects/decode.h"
#include "policy/objects/objects.h"

void selector_clear(struct selector *selector)
{
	for (size_t i = 0; i < selector->count; i++) {
		struct selector_term *term = &selector->terms[i];

		for (size_t j = 0; j < term->value_count; j++)
			free(term->values[j]);
		free(term->values);
		free(term->key);
	}
	free(selector->terms);
	*selector = (struct selector){};
}

static void pod_clear(struct pod_object *pod)
{
	for (size_t i = 0; i < pod->port_count; i++)
		free(pod->ports[i].name);
	free(pod->ports);
	free(pod->addresses);
	free(pod->node_name);
	free(pod->phase);
	free(pod->mirror_of);
}

static void service_clear(struct service_object *service)
{
	for (size_t i = 0; i < service->port_count; i++) {
		free(service->ports[i].name);
		free(service->ports[i].target_name);
	}
	free(service->ports);
	free(service->cluster_ips);
	free(service->external_ips);
	free(service->balancer_ips);
	free(service->source_ranges);
	free(service->balancer_class);
	labels_clear(&service->annotations);
	free(service->type);
	selector_clear(&service->selector);
}

static void slice_clear(struct slice_object *slice)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		free(slice->endpoints[i].addresses);
		free(slice->endpoints[i].node_name);
		free(slice->endpoints[i].target_pod);
		free(slice->endpoints[i].target_namespace);
		free(slice->endpoints[i].zone_hints);
		free(slice->endpoints[i].node_hints);
	}
	for (size_t i = 0; i < slice->port_count; i++)
		free(slice->ports[i].name);
	free(slice->endpoints);
	free(slice->ports);
	free(slice->service);
}

void policy_rule_clear(struct policy_rule *rule)
{
	for (size_t i = 0; i < rule->peer_count; i++) {
		free(rule->peers[i].excepts);
		selector_clear(&rule->peers[i].namespace_selector);
		selector_clear(&rule->peers[i].pod_selector);
		selector_clear(&rule->peers[i].node_selector);
	}
	for (size_t i = 0; i < rule->port_count; i++)
		free(rule->ports[i].name);
	free(rule->peers);
	free(rule->ports);
	free(rule->name);
}

static void network_policy_clear(struct network_policy_object *policy)
{
	selector_clear(&policy->namespace_selector);
	selector_clear(&policy->pod_selector);
	for (size_t i = 0; i < policy->ingress_count; i++)
		policy_rule_clear(&policy->ingress[i]);
	for (size_t i = 0; i < policy->egress_count; i++)
		policy_rule_clear(&policy->egress[i]);
	free(policy->ingress);
	free(policy->egress);
}

static void texts_clear(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void traffic_alert_clear(struct traffic_alert_object *alert)
{
	selector_clear(&alert->namespace_selector);
	selector_clear(&alert->pod_selector);
	texts_clear(alert->services, alert->service_count);
	texts_clear(alert->programs, alert->program_count);
	free(alert->networks);
	free(alert->ports);
	free(alert->message);
}

static void content_clear(struct object *object)
{
	switch (object->kind) {
	case OBJECT_POD:
		pod_clear(&object->pod);
		break;
	case OBJECT_NODE:
		free(object->node.pod_ranges);
		free(object->node.addresses);
		break;
	case OBJECT_SERVICE:
		service_clear(&object->service);
		break;
	case OBJECT_ENDPOINT_SLICE:
		slice_clear(&object->slice);
		break;
	case OBJECT_NETWORK_POLICY:
	case OBJECT_CLUSTER_NETWORK_POLICY:
		network_policy_clear(&object->network_policy);
		break;
	case OBJECT_TRAFFIC_ALERT:
		traffic_alert_clear(&object->traffic_alert);
		break;
	case OBJECT_NAMESPACE:
	case OBJECT_KIND_COUNT:
		break;
	}
}

struct object *object_share(const struct object *object)
{
	struct object *shared = (struct object *)object; /* the count is no part of what it says */

	__atomic_fetch_add(&shared->sharers, 1, __ATOMIC_RELAXED);
	return shared;
}

void object_free(struct object *object)
{
	if (!object)
		return;
	if (__atomic_fetch_sub(&object->sharers, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (object->is_shared)
		pod_unshare(object);
	if (!object->is_packed) {
		content_clear(object);
		labels_clear(&object->labels);
		free(object->namespace);
		free(object->name);
		free(object->uid);
	}
	free(object->resource_version);
	free(object);
}

void object_list_clear(struct object_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		object_free(list->objects[i]);
	free(list->objects);
	*list = (struct object_list){};
}
