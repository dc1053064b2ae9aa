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

/*
 * Lists may have tens of thousands of items, and each is made while the loop waits: some of them at
 * a time. Between two turns anything may come and go, so that a list keeps what finds the next item
 * again.
 */
#define SLICE_NS 1000000

static uint64_t slice_end(void)
{
	return uv_hrtime() + SLICE_NS;
}

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

struct pod_listing {
	const struct show_sources *sources;
	char *container_id, *ifname; /* of the last one; NULL: none yet */
};

/* The order of the list. */
static bool is_listed(const struct pod_listing *listing, const struct local_pod *pod)
{
	int order = listing->container_id ? strcmp(pod->container_id, listing->container_id) : 1;

	return order < 0 || (order == 0 && strcmp(pod->ifname, listing->ifname) <= 0);
}

static size_t next_pod(const struct pod_listing *listing)
{
	size_t low = 0, high = pods_count(listing->sources->pods);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (is_listed(listing, pods_at(listing->sources->pods, middle)))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool note_pod(struct pod_listing *listing, const struct local_pod *pod)
{
	free(listing->container_id);
	free(listing->ifname);
	listing->container_id = strdup(pod->container_id);
	listing->ifname = strdup(pod->ifname);
	return listing->container_id && listing->ifname;
}

static bool fill_pods(struct control_list *list, void *data)
{
	struct pod_listing *listing = data;
	const struct pods *pods = listing->sources->pods;
	const uint64_t end = slice_end();
	size_t i;

	for (i = next_pod(listing); i < pods_count(pods) && uv_hrtime() < end; i++) {
		const struct local_pod *pod = pods_at(pods, i);
		json_t *document =
			note_pod(listing, pod) ? pod_document(listing->sources, pod) : NULL;

		if (!control_list_add(list, document))
			return true;
	}
	return i >= pods_count(pods);
}

static void end_pods(void *data)
{
	struct pod_listing *listing = data;

	free(listing->container_id);
	free(listing->ifname);
	free(listing);
}

void show_pods(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct pod_listing *listing = calloc(1, sizeof(*listing));

	if (!listing) {
		show_reply(request, NULL);
		return;
	}
	listing->sources = data;
	control_reply_list(request, fill_pods, end_pods, listing);
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

/* The ports of Services that there were at the beginning. */
struct service_listing {
	const struct services *services;
	struct service_key *keys;
	size_t count, next;
};

static void note_service(const struct service_view *view, void *data)
{
	struct service_listing *listing = data;

	listing->keys[listing->count++] = view->key;
}

static void count_service(const struct service_view *view, void *data)
{
	(void)view;
	(*(size_t *)data)++;
}

static bool fill_services(struct control_list *list, void *data)
{
	struct service_listing *listing = data;
	const uint64_t end = slice_end();

	while (listing->next < listing->count && uv_hrtime() < end) {
		CLEANUP(cleanup_json) json_t *one = json_array();
		struct service_view view;

		if (!services_find(listing->services, &listing->keys[listing->next++], &view))
			continue;
		add_service(&view, one);
		if (!control_list_add(list, json_incref(json_array_get(one, 0))))
			return true;
	}
	return listing->next >= listing->count;
}

static void end_services(void *data)
{
	struct service_listing *listing = data;

	free(listing->keys);
	free(listing);
}

void show_services(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	struct service_listing *listing = calloc(1, sizeof(*listing));
	size_t count = 0;

	services_each(sources->services, count_service, &count);
	if (listing)
		listing->keys = calloc(count + 1, sizeof(*listing->keys));
	if (!listing || !listing->keys) {
		free(listing);
		show_reply(request, NULL);
		return;
	}
	listing->services = sources->services;
	services_each(sources->services, note_service, listing);
	control_reply_list(request, fill_services, end_services, listing);
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

/* Shares of those that there were at the beginning. */
struct policy_listing {
	const struct show_sources *sources;
	struct object **policies;
	size_t count, next;
};

static void note_policies(struct policy_listing *listing, enum object_kind kind)
{
	size_t count;
	const struct object *const *objects = store_objects(listing->sources->store, kind, &count);

	for (size_t i = 0; i < count; i++)
		listing->policies[listing->count++] = object_share(objects[i]);
}

static bool fill_policies(struct control_list *list, void *data)
{
	struct policy_listing *listing = data;
	const uint64_t end = slice_end();

	while (listing->next < listing->count && uv_hrtime() < end)
		if (!control_list_add(list, policy_document(listing->sources,
							    listing->policies[listing->next++])))
			return true;
	return listing->next >= listing->count;
}

static void end_policies(void *data)
{
	struct policy_listing *listing = data;

	for (size_t i = 0; i < listing->count; i++)
		object_free(listing->policies[i]);
	free(listing->policies);
	free(listing);
}

void show_policies(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;
	struct policy_listing *listing = calloc(1, sizeof(*listing));
	size_t room = store_count(sources->store, OBJECT_NETWORK_POLICY) +
		      store_count(sources->store, OBJECT_CLUSTER_NETWORK_POLICY);

	if (listing)
		listing->policies = calloc(room + 1, sizeof(*listing->policies));
	if (!listing || !listing->policies) {
		free(listing);
		show_reply(request, NULL);
		return;
	}
	listing->sources = sources;
	note_policies(listing, OBJECT_CLUSTER_NETWORK_POLICY);
	note_policies(listing, OBJECT_NETWORK_POLICY);
	control_reply_list(request, fill_policies, end_policies, listing);
}
