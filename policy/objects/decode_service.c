/* SPDX-License-Identifier: Apache-2.0 */
/* Services: addresses, ports, selector, traffic policy. */
#include <errno.h>
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

static int decode_internal_policy(const struct json_at *at, void *target)
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
		{"internalTrafficPolicy", decode_internal_policy,
		 offsetof(struct service_object, internal_local), false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

const struct json_kept service_kept[] = {
	{"kind", NULL}, {"apiVersion", NULL}, {"metadata", metadata_kept}, {"spec", NULL}, {}};

int decode_service(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {{"spec", decode_spec, 0, false}};
	struct service_object *service = &object->service;
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), service);

	if (r == 0)
		r = decode_default_text(&service->type, "ClusterIP");
	service->has_selector = service->selector.count > 0;
	return r;
}
