/* SPDX-License-Identifier: Apache-2.0 */
/* From what a user wrote to two ends, a protocol, a port and an address family. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/explain/explain_internal.h"
#include "agent/common/address.h"

#define REFUSE(explain, ...)                                                                       \
	({                                                                                         \
		snprintf((explain)->error, sizeof((explain)->error), __VA_ARGS__);                 \
		-EINVAL;                                                                           \
	})

static int family_index(uint8_t family)
{
	return family == FAMILY_V6;
}

static const char *family_text(uint8_t family)
{
	return family == FAMILY_V6 ? "IPv6" : "IPv4";
}

const struct polder_addr *explain_addr(const struct explain *explain, const struct explain_end *end)
{
	return &end->addr[family_index(explain->family)];
}

static void end_add_addr(struct explain_end *end, const struct polder_addr *addr)
{
	struct polder_addr *place = &end->addr[!addr_is_v4(addr)];

	if (addr_is_zero(place))
		*place = *addr;
}

/* ---------------------------------------------------------------- pods */

/* A private world does not have pods that were connected after it was made. */
static bool is_there(const struct explain *explain, const struct local_pod *pod)
{
	return !pod->gone && policy_sync_pod_object(explain->sources->policy_sync, pod);
}

/* The container that stands for a pod now: of several by one name, the youngest. */
static const struct local_pod *find_local(const struct explain *explain, const char *namespace,
					  const char *name)
{
	const struct pods *pods = explain->sources->pods;
	const struct local_pod *found = NULL;

	for (size_t i = 0; i < pods_count(pods); i++) {
		const struct local_pod *pod = pods_at(pods, i);

		if (strcmp(pod->namespace, namespace) == 0 && strcmp(pod->name, name) == 0 &&
		    (!found || pod->created > found->created) && is_there(explain, pod))
			found = pod;
	}
	return found;
}

static void end_set_local(const struct explain *explain, const struct local_pod *local,
			  struct explain_end *ret)
{
	*ret = (struct explain_end){
		.kind = EXPLAIN_POD,
		.local = local,
		.pod = policy_sync_pod_object(explain->sources->policy_sync, local),
		.addr = {local->ipv4, local->ipv6},
	};
	snprintf(ret->name, sizeof(ret->name), "%s/%s", local->namespace, local->name);
}

static bool is_own_address(const struct explain *explain, const struct polder_addr *addr)
{
	const struct node *node = explain->sources->node;

	for (size_t i = 0; i < node->address_count; i++)
		if (memcmp(&node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return memcmp(&node->ipv4, addr, sizeof(*addr)) == 0 ||
	       memcmp(&node->ipv6, addr, sizeof(*addr)) == 0;
}

static void end_set_object(const struct explain *explain, const struct object *pod,
			   struct explain_end *ret)
{
	*ret = (struct explain_end){.kind = EXPLAIN_POD, .pod = pod, .node = pod->pod.node_name};
	for (size_t i = 0; i < pod->pod.address_count; i++)
		end_add_addr(ret, &pod->pod.addresses[i]);
	snprintf(ret->name, sizeof(ret->name), "%s/%s", pod->namespace, pod->name);
	if (!pod->pod.host_network)
		return;
	/* It has its node's addresses, and policy knows it by them alone. */
	ret->pod = NULL;
	ret->kind = EXPLAIN_ADDRESS;
	for (int i = 0; i < 2; i++)
		if (!addr_is_zero(&ret->addr[i]) && is_own_address(explain, &ret->addr[i]))
			ret->kind = EXPLAIN_THIS_NODE;
}

static const char *node_of_address(const struct explain *explain, const struct polder_addr *addr)
{
	size_t count;
	const struct object *const *nodes =
		store_objects(explain->sources->store, OBJECT_NODE, &count);

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < nodes[i]->node.address_count; j++)
			if (memcmp(&nodes[i]->node.addresses[j], addr, sizeof(*addr)) == 0)
				return nodes[i]->name;
	return NULL;
}

/* The pod that policy finds at the address; names in the order of the store, as for the map. */
static const struct object *find_remote(const struct explain *explain,
					const struct polder_addr *addr)
{
	const struct object *pod = policy_sync_pod_at(explain->sources->policy_sync, addr);

	return pod ? store_get(explain->sources->store, OBJECT_POD, pod->namespace, pod->name)
		   : NULL;
}

void explain_find_address(const struct explain *explain, const struct polder_addr *addr,
			  struct explain_end *ret)
{
	const struct pods *pods = explain->sources->pods;
	const struct object *object;

	for (size_t i = 0; i < pods_count(pods); i++) {
		const struct local_pod *pod = pods_at(pods, i);

		if ((memcmp(&pod->ipv4, addr, sizeof(*addr)) != 0 &&
		     memcmp(&pod->ipv6, addr, sizeof(*addr)) != 0) ||
		    !is_there(explain, pod))
			continue;
		end_set_local(explain, pod, ret);
		return;
	}
	*ret = (struct explain_end){.kind = EXPLAIN_ADDRESS};
	object = is_own_address(explain, addr) ? NULL : find_remote(explain, addr);
	if (object && !object->pod.host_network && !object->pod.finished) {
		end_set_object(explain, object, ret);
	} else if (is_own_address(explain, addr)) {
		ret->kind = EXPLAIN_THIS_NODE;
	} else {
		ret->node = node_of_address(explain, addr);
	}
	ret->addr[0] = ret->addr[1] = (struct polder_addr){};
	end_add_addr(ret, addr);
}

/* ---------------------------------------------------------------- names */

struct service_search {
	const struct polder_addr *addr;
	const char *namespace, *name;
	bool external;
};

static void match_service(const struct service_view *view, void *data)
{
	struct service_search *search = data;

	if (memcmp(&view->key.addr, search->addr, sizeof(*search->addr)) == 0) {
		search->namespace = view->namespace;
		search->name = view->name;
		search->external |= view->flags & SERVICE_EXTERNAL;
	}
}

static void set_service_name(struct explain_end *end, const char *namespace, const char *name)
{
	snprintf(end->name, sizeof(end->name), "%s%s%s", namespace, *namespace ? "/" : "", name);
}

static void end_set_service(const struct object *service, struct explain_end *ret)
{
	*ret = (struct explain_end){.kind = EXPLAIN_SERVICE};
	snprintf(ret->name, sizeof(ret->name), "%s/%s", service->namespace, service->name);
	for (size_t i = 0; i < service->service.cluster_ip_count; i++)
		end_add_addr(ret, &service->service.cluster_ips[i]);
}

static int find_by_address(struct explain *explain, const char *key, const char *text,
			   const struct polder_addr *addr, struct explain_end *ret)
{
	struct service_search search = {.addr = addr};
	const char *reserved = addr_reserved_reason(addr);

	if (reserved)
		return REFUSE(explain,
			      "%s %s: %s is never forwarded; give a pod, a Service, or an address "
			      "of a pod, Service or outside host",
			      key, text, reserved);
	explain_find_address(explain, addr, ret);
	if (ret->kind != EXPLAIN_ADDRESS)
		return 0;
	services_each(explain->sources->services, match_service, &search);
	if (!search.name)
		return 0;
	*ret = (struct explain_end){.kind = EXPLAIN_SERVICE};
	set_service_name(ret, search.namespace, search.name);
	end_add_addr(ret, addr);
	if (strcmp(key, "to") == 0)
		explain->frontend.external_address = search.external;
	return 0;
}

static int check_service(struct explain *explain, const char *key, const char *text,
			 const struct object *service)
{
	if (strcmp(service->service.type, "ExternalName") == 0)
		return REFUSE(explain,
			      "%s %s: an ExternalName Service has no address; give its target", key,
			      text);
	if (service->service.headless || !service->service.cluster_ip_count)
		return REFUSE(explain,
			      "%s %s: the Service has no ClusterIP; give one of its pods, or "
			      "one of its addresses",
			      key, text);
	return 0;
}

static int check_pod(struct explain *explain, const char *key, const char *text,
		     const struct object *pod)
{
	if (pod->pod.finished)
		return REFUSE(
			explain,
			"%s %s: the pod has completed; its addresses may belong to another pod",
			key, text);
	if (!pod->pod.address_count)
		return REFUSE(explain,
			      "%s %s: the pod has no address yet (status.podIPs); polderctl pod "
			      "list shows whether it is connected",
			      key, text);
	return 0;
}

/* What the name may stand for. */
struct candidates {
	const struct local_pod *local;
	const struct object *pod, *service;
};

static int take_candidate(struct explain *explain, const char *key, const char *text,
			  const struct candidates *found, struct explain_end *ret)
{
	int r;

	if (found->local) {
		end_set_local(explain, found->local, ret);
		return 0;
	}
	r = found->pod ? check_pod(explain, key, text, found->pod)
		       : check_service(explain, key, text, found->service);
	if (r < 0)
		return r;
	if (found->pod)
		end_set_object(explain, found->pod, ret);
	else
		end_set_service(found->service, ret);
	return 0;
}

static int find_by_name(struct explain *explain, const char *key, const char *text,
			struct explain_end *ret)
{
	bool pods = strncmp(text, "pod:", 4) == 0, services = strncmp(text, "service:", 8) == 0;
	const char *full = pods ? text + 4 : services ? text + 8 : text, *slash = strchr(full, '/');
	CLEANUP(cleanup_free) char *namespace = slash ? strndup(full, slash - full) : NULL;
	const struct store *store = explain->sources->store;
	struct candidates found = {};
	bool is_target = strcmp(key, "to") == 0;

	if (!slash || slash == full || !slash[1] || strchr(slash + 1, '/'))
		return REFUSE(explain, "%s %s: expected NAMESPACE/POD, %san address", key, text,
			      is_target ? "NAMESPACE/SERVICE or " : "or ");
	if (!namespace)
		return -ENOMEM;
	if (!services) {
		found.local = find_local(explain, namespace, slash + 1);
		found.pod = store_get(store, OBJECT_POD, namespace, slash + 1);
	}
	if (!pods)
		found.service = store_get(store, OBJECT_SERVICE, namespace, slash + 1);
	if ((found.local || found.pod) && found.service && is_target)
		return REFUSE(explain,
			      "%s %s is both a pod and a Service; write pod:%s or service:%s", key,
			      text, full, full);
	if (found.local || found.pod || (found.service && is_target))
		return take_candidate(explain, key, text, &found, ret);
	if (found.service)
		return REFUSE(explain,
			      "%s %s: a Service cannot be the source; give a pod or an address",
			      key, text);
	return REFUSE(
		explain,
		"%s %s: no such %s; polderctl pod list and polderctl service list show what exists",
		key, full,
		services	     ? "Service"
		: pods || !is_target ? "pod"
				     : "pod or Service");
}

static int parse_end(struct explain *explain, const json_t *args, const char *key,
		     struct explain_end *ret)
{
	const char *text = json_string_value(json_object_get(args, key));
	struct polder_addr addr;
	int r;

	if (!text || !*text)
		return REFUSE(explain, "%s is missing: NAMESPACE/POD or an address", key);
	if (strlen(text) >= EXPLAIN_NAME_MAX)
		return REFUSE(explain, "%s: longer than %d characters", key, EXPLAIN_NAME_MAX - 1);
	if (addr_parse(text, &addr) < 0)
		return find_by_name(explain, key, text, ret);
	r = find_by_address(explain, key, text, &addr, ret);
	if (r == 0 && ret->kind == EXPLAIN_SERVICE && strcmp(key, "to") != 0)
		return REFUSE(
			explain,
			"%s %s: the address belongs to Service %s, which cannot be the source", key,
			text, ret->name);
	return r;
}

/* ---------------------------------------------------------------- protocol, family, port */

static int parse_proto(struct explain *explain, const json_t *args)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} protos[] = {{"tcp", IPPROTO_TCP},	  {"udp", IPPROTO_UDP},
		      {"sctp", IPPROTO_SCTP},	  {"icmp", IPPROTO_ICMP},
		      {"icmpv6", IPPROTO_ICMPV6}, {"icmp6", IPPROTO_ICMPV6}};
	const json_t *given = json_object_get(args, "proto");
	const char *text = given ? json_string_value(given) : "tcp";

	for (size_t i = 0; text && i < sizeof(protos) / sizeof(*protos); i++)
		if (strcasecmp(protos[i].name, text) == 0) {
			explain->proto = protos[i].proto;
			return 0;
		}
	return REFUSE(explain, "proto %s: expected tcp, udp, sctp or icmp", text ? text : "");
}

static bool has_family(const struct explain *explain, uint8_t family)
{
	return !addr_is_zero(&explain->from.addr[family_index(family)]) &&
	       !addr_is_zero(&explain->to.addr[family_index(family)]);
}

static int parse_family(struct explain *explain, const json_t *args)
{
	const char *text = json_string_value(json_object_get(args, "family"));

	if (text && strcasecmp(text, "ipv4") != 0 && strcasecmp(text, "ipv6") != 0)
		return REFUSE(explain, "family %s: expected ipv4 or ipv6", text);
	if (text)
		explain->family = strcasecmp(text, "ipv6") == 0 ? FAMILY_V6 : FAMILY_V4;
	else if (explain->proto == IPPROTO_ICMPV6 || !has_family(explain, FAMILY_V4))
		explain->family = FAMILY_V6;
	else
		explain->family = FAMILY_V4;
	if (!has_family(explain, explain->family))
		return REFUSE(explain, "source and destination do not both have an %s address%s",
			      family_text(explain->family),
			      text ? "" : ": they share no address family");
	if (explain->proto == IPPROTO_ICMP || explain->proto == IPPROTO_ICMPV6)
		explain->proto = explain->family == FAMILY_V6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	return 0;
}

static const struct object *service_of(const struct explain *explain)
{
	const char *slash = strchr(explain->to.name, '/');
	CLEANUP(cleanup_free)
	char *namespace = strndup(explain->to.name, slash ? slash - explain->to.name : 0);

	return namespace && slash
		       ? store_get(explain->sources->store, OBJECT_SERVICE, namespace, slash + 1)
		       : NULL;
}

/* A name, as the destination pod's containers or the Service's ports have it. */
static int find_port(struct explain *explain, const char *name)
{
	const struct object *service =
		explain->to.kind == EXPLAIN_SERVICE ? service_of(explain) : NULL;
	const struct object *pod = explain->to.pod;

	for (size_t i = 0; service && i < service->service.port_count; i++)
		if (service->service.ports[i].proto == explain->proto &&
		    strcmp(service->service.ports[i].name, name) == 0)
			explain->port = service->service.ports[i].port;
	for (size_t i = 0; pod && i < pod->pod.port_count; i++)
		if (pod->pod.ports[i].name && pod->pod.ports[i].proto == explain->proto &&
		    strcmp(pod->pod.ports[i].name, name) == 0)
			explain->port = pod->pod.ports[i].port;
	if (explain->port)
		return 0;
	return REFUSE(explain, "port %s: %s has no port of that name and protocol; give a number",
		      name, *explain->to.name ? explain->to.name : "an address");
}

/* Without a port: the Service's only one. */
static int default_port(struct explain *explain)
{
	const struct object *service =
		explain->to.kind == EXPLAIN_SERVICE ? service_of(explain) : NULL;
	size_t found = 0;

	for (size_t i = 0; service && i < service->service.port_count; i++)
		if (service->service.ports[i].proto == explain->proto) {
			explain->port = service->service.ports[i].port;
			found++;
		}
	return found == 1 ? 0 : REFUSE(explain, "port is missing: 1 to 65535, or a name");
}

static int parse_port(struct explain *explain, const json_t *args)
{
	const json_t *given = json_object_get(args, "port");
	const char *text = json_string_value(given);
	json_int_t number = json_integer_value(given);
	bool is_given = given && !json_is_null(given);
	char *end = NULL;

	if (explain->proto == IPPROTO_ICMP || explain->proto == IPPROTO_ICMPV6)
		return is_given ? REFUSE(explain, "port: ICMP has no ports; omit --port") : 0;
	if (!is_given)
		return default_port(explain);
	if (text && *text >= '0' && *text <= '9') {
		number = strtol(text, &end, 10);
		text = *end ? text : NULL;
	}
	if (text)
		return *text ? find_port(explain, text)
			     : REFUSE(explain, "port is empty: 1 to 65535, or a name");
	if (number < 1 || number > UINT16_MAX)
		return REFUSE(explain, "port %lld: expected 1 to 65535, or a name",
			      (long long)number);
	explain->port = (uint16_t)number;
	return 0;
}

bool explain_is_inside(const struct explain *explain)
{
	return explain->from.local || explain->from.pod ||
	       explain->from.kind == EXPLAIN_THIS_NODE || explain->from.node;
}

/* An address of this node, and a port that a Service has there. */
static void find_node_port(struct explain *explain)
{
	const struct polder_addr *addr = explain_addr(explain, &explain->to);
	const struct service_key key = {
		.addr = *addr, .port_be = htons(explain->port), .proto = explain->proto};
	struct service_view view;

	if (explain->to.kind != EXPLAIN_THIS_NODE ||
	    !services_find(explain->sources->services, &key, &view))
		return;
	explain->to = (struct explain_end){.kind = EXPLAIN_SERVICE};
	set_service_name(&explain->to, view.namespace, view.name);
	end_add_addr(&explain->to, &key.addr);
	explain->frontend.external_address = true;
}

int explain_parse(struct explain *explain, const json_t *args)
{
	int r = parse_proto(explain, args);

	if (r == 0)
		r = parse_end(explain, args, "from", &explain->from);
	if (r == 0)
		r = parse_end(explain, args, "to", &explain->to);
	if (r == 0)
		r = parse_family(explain, args);
	if (r == 0 && explain->from.kind == EXPLAIN_ADDRESS &&
	    explain_in_own_range(explain, explain_addr(explain, &explain->from)))
		r = REFUSE(explain,
			   "from: the address is in this node's pod range, but no pod has it");
	if (r == 0)
		r = parse_port(explain, args);
	if (r == 0)
		find_node_port(explain);
	return r;
}

bool explain_in_own_range(const struct explain *explain, const struct polder_addr *addr)
{
	const struct config *config = explain->sources->config;

	return (config->pod_cidr_v4.length && prefix_contains(&config->pod_cidr_v4, addr)) ||
	       (config->pod_cidr_v6.length && prefix_contains(&config->pod_cidr_v6, addr));
}

enum explain_vantage explain_vantage(const struct explain *explain, const struct explain_end *to)
{
	if (explain->from.local)
		return EXPLAIN_FROM_POD;
	if (explain->from.kind == EXPLAIN_THIS_NODE)
		return EXPLAIN_FROM_NODE;
	/* A pod of this node that is not connected, or a neighbour's pod and somebody else: nothing
	 * comes by here. */
	if (explain->from.kind == EXPLAIN_POD &&
	    explain_in_own_range(explain, explain_addr(explain, &explain->from)))
		return EXPLAIN_ELSEWHERE;
	return to->local || to->kind == EXPLAIN_THIS_NODE ||
			       explain_in_own_range(explain, explain_addr(explain, to))
		       ? EXPLAIN_FROM_WIRE
		       : EXPLAIN_ELSEWHERE;
}
