/* SPDX-License-Identifier: Apache-2.0 */
/* Services: addresses, ports, selector, traffic policy. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"
#include "policy/objects/syntax.h"

static int decode_target_port(const struct json_at *at, void *target)
{
	struct service_port *port = target;
	const char *reason;
	json_int_t value;
	int r;

	if (!json_is_string(at->value)) {
		r = json_integer_in(at, 0, 65535, &value);
		port->target_port = r < 0 ? 0 : (uint16_t)value;
		return r;
	}
	if (json_string_length(at->value) == 0)
		return 0;
	r = json_text(at, LIMIT_PORT_NAME, &port->target_name);
	if (r < 0)
		return r;
	r = syntax_port_name(port->target_name, &reason);
	return r < 0 ? json_fail(at, r, "%s", reason) : 0;
}

static int decode_node_port(const struct json_at *at, void *target)
{
	uint16_t *port = target;
	json_int_t value;
	int r = json_integer_in(at, 0, 65535, &value);

	if (r == 0)
		*port = (uint16_t)value;
	return r;
}

static int decode_port(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"name", decode_port_name, offsetof(struct service_port, name), false},
		{"port", json_get_port, offsetof(struct service_port, port), true},
		{"protocol", json_get_protocol, offsetof(struct service_port, proto), false},
		{"targetPort", decode_target_port, 0, false},
		{"nodePort", decode_node_port, offsetof(struct service_port, node_port), false},
	};
	struct service_port *port = target;
	int r;

	port->proto = IPPROTO_TCP;
	r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), port);
	if (r == 0)
		r = decode_default_text(&port->name, "");
	if (r == 0 && !port->target_name && port->target_port == 0)
		port->target_port = port->port;
	return r;
}

static int refuse_double_ports(const struct json_at *at, const struct service_object *service)
{
	uint8_t *seen = calloc(3, 65536);
	int r = seen ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < service->port_count; i++) {
		const struct service_port *port = &service->ports[i];
		size_t row = port->proto == IPPROTO_TCP ? 0 : port->proto == IPPROTO_UDP ? 1 : 2;
		struct json_at item = json_item(at, i);

		if (seen[row * 65536 + port->port]++)
			r = json_fail(&item, -EINVAL, "port %u of this protocol is defined twice",
				      port->port);
	}
	free(seen);
	return r;
}

static int decode_ports(const struct json_at *at, void *target)
{
	struct service_object *service = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_SERVICE_PORTS, sizeof(*service->ports), decode_port, &items);

	service->ports = items.items;
	service->port_count = items.count;
	if (r == 0 && items.count > 1)
		r = refuse_double_ports(at, service);
	return r;
}

/* "" and "None" are no addresses; the latter makes the Service headless. */
static int add_cluster_ip(const struct json_at *at, struct service_object *service)
{
	struct polder_addr addr, *addresses;
	int r = json_expect(at, JSON_STRING);

	if (r < 0 || json_string_length(at->value) == 0)
		return r;
	if (strcmp(json_string_value(at->value), "None") == 0) {
		service->headless = true;
		return 0;
	}
	r = decode_usable_addr(at, &addr);
	if (r < 0)
		return r;
	addresses = reallocarray(service->cluster_ips, service->cluster_ip_count + 1,
				 sizeof(*addresses));
	if (!addresses)
		return -ENOMEM;
	addresses[service->cluster_ip_count++] = addr;
	service->cluster_ips = addresses;
	return 0;
}

static int decode_cluster_ips(const struct json_at *at, void *target)
{
	int r = json_expect(at, JSON_ARRAY);

	if (r < 0)
		return r;
	if (json_array_size(at->value) > LIMIT_CLUSTER_IPS)
		return json_fail(at, -EFBIG, "has %zu items; the limit is %d",
				 json_array_size(at->value), LIMIT_CLUSTER_IPS);
	for (size_t i = 0; i < json_array_size(at->value); i++) {
		struct json_at item = json_item(at, i);

		r = add_cluster_ip(&item, target);
		if (r < 0)
			return r;
	}
	return 0;
}

/* clusterIP repeats the first of clusterIPs. */
static int decode_cluster_ip(const struct json_at *at, void *target)
{
	struct service_object *service = target, ignored = {};
	bool known = service->cluster_ip_count > 0 || service->headless;
	int r = add_cluster_ip(at, known ? &ignored : service);

	free(ignored.cluster_ips);
	return r;
}

/* Any number of addresses, whatever they are. */
static int decode_addrs(const struct json_at *at, struct polder_addr **ret, size_t *ret_count)
{
	struct json_items items = {};
	int r = json_items(at, LIMIT_SERVICE_ADDRS, sizeof(**ret), decode_addr, &items);

	*ret = items.items;
	*ret_count = items.count;
	return r;
}

static int decode_external_ips(const struct json_at *at, void *target)
{
	struct service_object *service = target;

	return decode_addrs(at, &service->external_ips, &service->external_ip_count);
}

static int decode_source_range(const struct json_at *at, void *target)
{
	char text[LIMIT_RANGE_TEXT + 1], *end;
	struct prefix *range = target;
	size_t length;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	/* The API server lets blanks around it pass, so they mean nothing here either. */
	length = strspn(json_string_value(at->value), " \t");
	snprintf(text, sizeof(text), "%s", json_string_value(at->value) + length);
	for (end = text + strlen(text); end > text && (end[-1] == ' ' || end[-1] == '\t');)
		*--end = '\0';
	if (prefix_parse(text, range) < 0)
		return json_fail(at, -EINVAL,
				 "must be a block such as 10.0.0.0/8 or fd00::/64, not \"%.64s\"",
				 json_string_value(at->value));
	return 0;
}

static int decode_source_ranges(const struct json_at *at, void *target)
{
	struct service_object *service = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_SOURCE_RANGES, sizeof(*service->source_ranges),
			   decode_source_range, &items);

	service->source_ranges = items.items;
	service->source_range_count = items.count;
	return r;
}

static int decode_type(const struct json_at *at, void *target)
{
	static const char *const types[] = {"ClusterIP", "NodePort", "LoadBalancer",
					    "ExternalName"};
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	for (size_t i = 0; i < COUNT(types); i++)
		if (strcmp(json_string_value(at->value), types[i]) == 0)
			return json_get_string(at, target);
	return json_fail(at, -EINVAL,
			 "must be ClusterIP, NodePort, LoadBalancer or ExternalName, not \"%.32s\"",
			 json_string_value(at->value));
}

static int decode_traffic_policy(const struct json_at *at, void *target)
{
	bool *local = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	*local = strcmp(json_string_value(at->value), "Local") == 0;
	if (!*local && strcmp(json_string_value(at->value), "Cluster") != 0)
		return json_fail(at, -EINVAL, "must be Cluster or Local, not \"%.32s\"",
				 json_string_value(at->value));
	return 0;
}

static int decode_families(const struct json_at *at, void *target)
{
	struct service_object *service = target;
	int r = json_expect(at, JSON_ARRAY);

	for (size_t i = 0; r == 0 && i < json_array_size(at->value); i++) {
		struct json_at item = json_item(at, i);
		const char *text = json_string_value(item.value);

		if (text && strcmp(text, "IPv4") == 0)
			service->wants_v4 = true;
		else if (text && strcmp(text, "IPv6") == 0)
			service->wants_v6 = true;
		else
			r = json_fail(&item, -EINVAL, "must be IPv4 or IPv6");
	}
	return r;
}

/* What nobody knows yet prefers nothing, as the API says. */
static int decode_distribution(const struct json_at *at, void *target)
{
	uint8_t *distribution = target;
	int r = json_expect(at, JSON_STRING);
	const char *text = r == 0 ? json_string_value(at->value) : "";

	if (strcmp(text, "PreferClose") == 0 || strcmp(text, "PreferSameZone") == 0)
		*distribution = DISTRIBUTION_SAME_ZONE;
	else if (strcmp(text, "PreferSameNode") == 0)
		*distribution = DISTRIBUTION_SAME_NODE;
	return r;
}

#define AFFINITY_SECONDS_DEFAULT 10800
#define AFFINITY_SECONDS_MAX	 86400

struct affinity {
	bool client_ip;
	uint32_t seconds;
};

static int decode_affinity(const struct json_at *at, void *target)
{
	bool *client_ip = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	*client_ip = strcmp(json_string_value(at->value), "ClientIP") == 0;
	if (!*client_ip && strcmp(json_string_value(at->value), "None") != 0)
		return json_fail(at, -EINVAL, "must be None or ClientIP, not \"%.32s\"",
				 json_string_value(at->value));
	return 0;
}

static int decode_affinity_seconds(const struct json_at *at, void *target)
{
	json_int_t value = 0;
	int r = json_integer_in(at, 1, AFFINITY_SECONDS_MAX, &value);

	if (r == 0)
		*(uint32_t *)target = (uint32_t)value;
	return r;
}

static int decode_affinity_client(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"timeoutSeconds", decode_affinity_seconds, 0, false}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_affinity_config(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"clientIP", decode_affinity_client, 0, false}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_affinity_of(const struct json_at *spec, struct service_object *service)
{
	static const struct json_field fields[] = {
		{"sessionAffinity", decode_affinity, offsetof(struct affinity, client_ip), false},
		{"sessionAffinityConfig", decode_affinity_config,
		 offsetof(struct affinity, seconds), false},
	};
	struct affinity affinity = {.seconds = AFFINITY_SECONDS_DEFAULT};
	int r = json_fields(spec, FIELDS_TOLERANT, fields, COUNT(fields), &affinity);

	service->affinity_seconds = affinity.client_ip ? affinity.seconds : 0;
	return r;
}

/* Whoever gives addresses takes it as a wish; what is none is no reason to refuse the Service. */
static int decode_asked(const struct json_at *at, void *target)
{
	struct polder_addr *asked = target;

	if (json_is_string(at->value) && addr_parse(json_string_value(at->value), asked) < 0)
		*asked = (struct polder_addr){};
	return 0;
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"type", decode_type, offsetof(struct service_object, type), false},
		{"clusterIPs", decode_cluster_ips, 0, false},
		{"clusterIP", decode_cluster_ip, 0, false},
		{"ports", decode_ports, 0, false},
		{"selector", decode_match_labels, offsetof(struct service_object, selector), false},
		{"publishNotReadyAddresses", json_get_bool,
		 offsetof(struct service_object, publish_not_ready), false},
		{"internalTrafficPolicy", decode_traffic_policy,
		 offsetof(struct service_object, internal_local), false},
		{"externalTrafficPolicy", decode_traffic_policy,
		 offsetof(struct service_object, external_local), false},
		{"externalIPs", decode_external_ips, 0, false},
		{"loadBalancerSourceRanges", decode_source_ranges, 0, false},
		{"loadBalancerIP", decode_asked, offsetof(struct service_object, balancer_asked),
		 false},
		{"loadBalancerClass", json_get_string,
		 offsetof(struct service_object, balancer_class), false},
		{"healthCheckNodePort", decode_node_port,
		 offsetof(struct service_object, health_port), false},
		{"trafficDistribution", decode_distribution,
		 offsetof(struct service_object, distribution), false},
		{"ipFamilies", decode_families, 0, false},
	};
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);

	return r < 0 ? r : decode_affinity_of(at, target);
}

struct ingress {
	char *ip, *mode;
};

/* One with a name, or whose addresses lead to a balancer that is somebody else's (ipMode Proxy), is
 * none that is served here. */
static int add_ingress(const struct json_at *at, struct service_object *service)
{
	static const struct json_field fields[] = {
		{"ip", json_get_string, offsetof(struct ingress, ip), false},
		{"ipMode", json_get_string, offsetof(struct ingress, mode), false},
	};
	struct json_at ip = json_key(at, "ip");
	struct ingress ingress = {};
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), &ingress);

	if (r == 0 &&
	    (!ingress.ip || !ingress.ip[0] || (ingress.mode && strcmp(ingress.mode, "VIP") != 0)))
		service->balancer_elsewhere = true;
	else if (r == 0)
		r = decode_addr(&ip, &service->balancer_ips[service->balancer_ip_count++]);
	free(ingress.ip);
	free(ingress.mode);
	return r;
}

static int decode_ingresses(const struct json_at *at, void *target)
{
	struct service_object *service = target;
	int r = json_expect(at, JSON_ARRAY);
	size_t count = r == 0 ? json_array_size(at->value) : 0;

	if (r < 0 || !count)
		return r;
	if (count > LIMIT_SERVICE_ADDRS)
		return json_fail(at, -EFBIG, "has %zu items; the limit is %d", count,
				 LIMIT_SERVICE_ADDRS);
	service->balancer_ips = calloc(count, sizeof(*service->balancer_ips));
	if (!service->balancer_ips)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct json_at item = json_item(at, i);

		r = add_ingress(&item, service);
	}
	return r;
}

static int decode_load_balancer(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"ingress", decode_ingresses, 0, false}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_status(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"loadBalancer", decode_load_balancer, 0, false}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static const struct json_kept status_kept[] = {{"loadBalancer", NULL}, {}};
const struct json_kept service_kept[] = {
	{"kind", NULL}, {"apiVersion", NULL},	 {"metadata", metadata_kept},
	{"spec", NULL}, {"status", status_kept}, {}};

int decode_service(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, false},
		{"status", decode_status, 0, false},
	};
	struct service_object *service = &object->service;
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), service);

	service->created = decode_created(at);
	if (r == 0)
		r = decode_own_annotations(at, &service->annotations);
	if (r == 0)
		r = decode_default_text(&service->type, "ClusterIP");
	service->has_selector = service->selector.count > 0;
	return r;
}
