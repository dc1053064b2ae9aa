/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of pods, Services and policies: objects beside what the maps say. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/mac.h"
#include "agent/show/show_internal.h"
#include "policy/objects/evaluate.h"
#include "policy/objects/json.h"

/* ---------------------------------------------------------------- pods */

const char *const show_pod_state_names[SHOW_POD_STATES] = {
	[SHOW_POD_READY] = "ready",
	[SHOW_POD_WAITING] = "waiting",
	[SHOW_POD_CLOSED] = "closed",
	[SHOW_POD_GONE] = "gone",
};

const struct labels *show_pod_labels(const struct show_sources *sources,
				     const struct local_pod *pod)
{
	const struct object *object = policy_sync_pod_object(sources->policy_sync, pod);

	return object ? &object->labels : &pod->labels;
}

static bool is_unset(uint32_t ruleset)
{
	return ruleset == RULESET_CLOSED;
}

/* The number of the set behind a pod's word. */
static uint32_t ruleset_number(const struct show_sources *sources, uint32_t word)
{
	const struct ruleset_entry *entry = maps_element(sources->maps, MAP_RULESETS, word);

	if (word < RULESET_FIRST)
		return word;
	return entry && entry->number ? entry->number : RULESET_CLOSED;
}

void show_pod_lookup(const struct show_sources *sources, const struct local_pod *pod,
		     struct show_pod *ret)
{
	uint32_t slot = maps_slot(sources->maps);
	uint32_t index = maps_pod_index(sources->maps, (uint32_t)pod->ifindex);
	struct pod_entry entry;

	*ret = (struct show_pod){SHOW_POD_WAITING, IDENTITY_NONE, RULESET_CLOSED, RULESET_CLOSED};
	if (maps_find(sources->maps, MAP_PODS, &index, &entry) == 0 &&
	    entry.ifindex == (uint32_t)pod->ifindex) {
		ret->identity = entry.identity[slot];
		ret->ingress_ruleset = ruleset_number(sources, entry.ingress_rules[slot]);
		ret->egress_ruleset = ruleset_number(sources, entry.egress_rules[slot]);
		if (entry.flags & POD_READY && !is_unset(ret->ingress_ruleset) &&
		    !is_unset(ret->egress_ruleset))
			ret->state = SHOW_POD_READY;
	}
	if (ret->ingress_ruleset == RULESET_CAPACITY || ret->egress_ruleset == RULESET_CAPACITY)
		ret->state = SHOW_POD_CLOSED;
	if (pod->gone)
		ret->state = SHOW_POD_GONE;
}

static json_t *isolation(uint32_t ruleset)
{
	return json_pack("{s:I, s:b}", "ruleset", (json_int_t)ruleset, "isolated",
			 ruleset != RULESET_OPEN);
}

static json_t *pod_document(const struct show_sources *sources, const struct local_pod *pod)
{
	json_t *ips = json_array();
	struct show_pod found;
	char mac[18];

	if (!addr_is_zero(&pod->ipv4))
		json_array_append_new(ips, show_addr(&pod->ipv4));
	if (!addr_is_zero(&pod->ipv6))
		json_array_append_new(ips, show_addr(&pod->ipv6));
	mac_format(pod->mac, mac);
	show_pod_lookup(sources, pod, &found);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:s, s:I, s:o, s:o, s:s, s:o, "
		"s:I, s:I, s:o, s:o}",
		"namespace", pod->namespace, "name", pod->name, "uid", pod->uid, "container_id",
		pod->container_id, "ifname", pod->ifname, "link", pod->link, "ifindex",
		pod->ifindex, "ips", ips, "mac", mac, "identity", (json_int_t)found.identity,
		"ingress", isolation(found.ingress_ruleset), "egress",
		isolation(found.egress_ruleset), "state", show_pod_state_names[found.state],
		"labels", json_of_labels(show_pod_labels(sources, pod)), "mtu",
		(json_int_t)pod->mtu, "created", (json_int_t)pod->created, "ports",
		port_mappings_encode(&pod->ports), "bandwidth", bandwidth_encode(&pod->bandwidth));
}

void show_pods(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	json_t *list = json_array();

	for (size_t i = 0; i < pods_count(sources->pods); i++)
		json_array_append_new(list, pod_document(sources, pods_at(sources->pods, i)));
	show_reply(request, list);
}

/* ---------------------------------------------------------------- Services */

static void add_backends(json_t *list, const struct backend *backends, size_t count,
			 const char *state)
{
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "address",
						      addr_format(&backends[i].addr, text), "port",
						      ntohs(backends[i].port_be), "state", state));
}

static const char *protocol(uint8_t proto)
{
	return proto == IPPROTO_TCP    ? "TCP"
	       : proto == IPPROTO_UDP  ? "UDP"
	       : proto == IPPROTO_SCTP ? "SCTP"
				       : "";
}

/* A node port is at the unspecified address, which stands for none elsewhere. */
static json_t *service_address(const struct polder_addr *addr)
{
	return addr_is_zero(addr) ? json_string("::") : show_addr(addr);
}

static const char *traffic_policy(uint32_t flags, uint32_t local)
{
	return flags & local ? "Local" : "Cluster";
}

static json_t *source_ranges(const struct service_view *view)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < view->source_count; i++)
		json_array_append_new(list, json_string(prefix_format(&view->sources[i], text)));
	return list;
}

/* NULL: they are all the same. */
static json_t *weights(const struct service_view *view)
{
	json_t *list;

	if (!view->weights || !view->table_size)
		return json_null();
	list = json_array();
	for (size_t i = 0; i < view->backend_count; i++)
		json_array_append_new(list, json_integer(view->weights[i]));
	return list;
}

/* How it is served; what concerns traffic from outside is told of what is served there. */
static void add_terms(json_t *document, const struct service_view *view)
{
	bool external = view->flags & SERVICE_EXTERNAL;
	json_t *local = json_array();

	add_backends(local, view->local, view->local_count, "active");
	json_object_set_new(document, "kind", json_string(service_kind_names[view->kind]));
	json_object_set_new(document, "service_port", json_integer(view->port));
	json_object_set_new(document, "local_backends", local);
	json_object_set_new(
		document, "traffic_policy",
		json_string(traffic_policy(view->flags, external ? SERVICE_EXTERNAL_LOCAL
								 : SERVICE_INTERNAL_LOCAL)));
	json_object_set_new(document, "forwarding",
			    json_string(!external		    ? ""
					: view->flags & SERVICE_DSR ? "dsr"
								    : "snat"));
	json_object_set_new(document, "affinity_seconds", json_integer(view->affinity_seconds));
	json_object_set_new(document, "table_cells", json_integer(view->table_size));
	json_object_set_new(document, "weights", weights(view));
	json_object_set_new(document, "source_ranges",
			    view->flags & SERVICE_SOURCES ? source_ranges(view) : json_null());
	json_object_set_new(document, "hints", json_string(service_hints_use(view->hints)));
	json_object_set_new(document, "hints_reason",
			    json_string(service_hints_reason(view->hints)));
}

/* The endpoints for new flows, then those that only finish what they have. */
static void add_service(const struct service_view *view, void *data)
{
	json_t *backends = json_array(), *document;

	add_backends(backends, view->backends, view->backend_count, "active");
	add_backends(backends, view->terminating, view->terminating_count, "terminating");
	document = json_pack("{s:s, s:s, s:o, s:i, s:s, s:s, s:o}", "namespace", view->namespace,
			     "name", view->name, "address", service_address(&view->key.addr),
			     "port", ntohs(view->key.port_be), "protocol",
			     protocol(view->key.proto), "port_name",
			     view->port_name ? view->port_name : "", "backends", backends);
	add_terms(document, view);
	json_array_append_new(data, document);
}

void show_services(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	json_t *list = json_array();

	services_each(sources->services, add_service, list);
	show_reply(request, list);
}

/* ---------------------------------------------------------------- policies */

/* 0 or -ENOMEM. */
static int count_selected_pods(const struct show_sources *sources, const struct object *policy,
			       size_t *ret)
{
	struct evaluate_objects objects = {};
	size_t count = 0;
	int r = 0;

	objects.namespaces =
		store_objects(sources->store, OBJECT_NAMESPACE, &objects.namespace_count);
	for (size_t i = 0; i < pods_count(sources->pods) && r == 0; i++) {
		const struct local_pod *local = pods_at(sources->pods, i);
		const struct object pod = {.kind = OBJECT_POD,
					   .namespace = local->namespace,
					   .labels = *show_pod_labels(sources, local)};
		bool selects = false;

		r = policy_selects(&objects, policy, &pod, &selects);
		count += !local->gone && selects;
	}
	*ret = count;
	return r;
}

/* NULL: no memory. */
static json_t *policy_document(const struct show_sources *sources, const struct object *object)
{
	static const char *const tiers[] = {[TIER_ADMIN] = "Admin",
					    [TIER_NETWORK_POLICY] = "NetworkPolicy",
					    [TIER_BASELINE] = "Baseline"};
	const struct network_policy_object *policy = &object->network_policy;
	bool cluster = object->kind == OBJECT_CLUSTER_NETWORK_POLICY;
	size_t rules = 0, selected = 0;
	json_t *types, *document;

	if (count_selected_pods(sources, object, &selected) < 0)
		return NULL;
	types = json_array();
	if (cluster ? policy->ingress_count > 0 : policy->isolates_ingress) {
		json_array_append_new(types, json_string("Ingress"));
		rules += policy->ingress_count;
	}
	if (cluster ? policy->egress_count > 0 : policy->isolates_egress) {
		json_array_append_new(types, json_string("Egress"));
		rules += policy->egress_count;
	}
	document = json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:I}", "kind",
			     object_kind_name(object->kind), "namespace", object->namespace, "name",
			     object->name, "tier", tiers[policy->tier], "types", types,
			     "selected_pods", (json_int_t)selected, "rules", (json_int_t)rules);
	if (cluster)
		json_object_set_new(document, "priority", json_integer(policy->priority));
	return document;
}

/* 0 or -ENOMEM. */
static int add_policies(const struct show_sources *sources, enum object_kind kind, json_t *list)
{
	size_t count;
	const struct object *const *objects = store_objects(sources->store, kind, &count);

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(list, policy_document(sources, objects[i])) < 0)
			return -ENOMEM;
	return 0;
}

void show_policies(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	json_t *list = json_array();

	if (add_policies(data, OBJECT_CLUSTER_NETWORK_POLICY, list) < 0 ||
	    add_policies(data, OBJECT_NETWORK_POLICY, list) < 0) {
		json_decref(list);
		list = NULL;
	}
	show_reply(request, list);
}
