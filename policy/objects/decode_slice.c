/* SPDX-License-Identifier: Apache-2.0 */
/* EndpointSlices: the endpoints of Services. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"

/* Conditions as written: null is not false. */
struct conditions {
	bool has_ready, ready;
	bool has_serving, serving;
	bool terminating;
};

static int decode_ready(const struct json_at *at, void *target)
{
	struct conditions *conditions = target;

	conditions->has_ready = true;
	return json_get_bool(at, &conditions->ready);
}

static int decode_serving(const struct json_at *at, void *target)
{
	struct conditions *conditions = target;

	conditions->has_serving = true;
	return json_get_bool(at, &conditions->serving);
}

static int decode_conditions(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"ready", decode_ready, 0, false},
		{"serving", decode_serving, 0, false},
		{"terminating", json_get_bool, offsetof(struct conditions, terminating), false},
	};
	struct slice_endpoint *endpoint = target;
	struct conditions conditions = {};
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), &conditions);

	if (r < 0)
		return r;
	endpoint->ready = !conditions.has_ready || conditions.ready;
	endpoint->serving = conditions.has_serving ? conditions.serving : endpoint->ready;
	endpoint->terminating = conditions.terminating;
	return 0;
}

static int decode_addresses(const struct json_at *at, void *target)
{
	struct slice_endpoint *endpoint = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_ENDPOINT_ADDRS, sizeof(*endpoint->addresses),
			   decode_usable_addr, &items);

	endpoint->addresses = items.items;
	endpoint->address_count = items.count;
	return r;
}

struct target_ref {
	char *kind;
	char *name;
	char *namespace;
};

static int decode_target_ref(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"kind", json_get_string, offsetof(struct target_ref, kind), false},
		{"name", json_get_string, offsetof(struct target_ref, name), false},
		{"namespace", json_get_string, offsetof(struct target_ref, namespace), false},
	};
	struct slice_endpoint *endpoint = target;
	struct target_ref ref = {};
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), &ref);

	if (r == 0 && ref.kind && strcmp(ref.kind, "Pod") == 0) {
		endpoint->target_pod = TAKE_PTR(ref.name);
		endpoint->target_namespace = TAKE_PTR(ref.namespace);
	}
	free(ref.kind);
	free(ref.name);
	free(ref.namespace);
	return r;
}

/* Appends ",NAME" to `*list`. */
static int add_hint(const struct json_at *at, char **list)
{
	struct json_at name = json_key(at, "name");
	size_t length = *list ? strlen(*list) : 0, more;
	int r = json_expect(at, JSON_OBJECT);
	char *grown;

	if (r == 0)
		r = json_expect(&name, JSON_STRING);
	if (r < 0)
		return r;
	more = json_string_length(name.value);
	if (!more || more > LIMIT_NAME || strchr(json_string_value(name.value), ','))
		return json_fail(&name, -EINVAL, "must be a name of 1 to %d bytes without a comma",
				 LIMIT_NAME);
	grown = realloc(*list, length + more + 2);
	if (!grown)
		return -ENOMEM;
	*list = grown;
	if (length)
		grown[length++] = ',';
	memcpy(grown + length, json_string_value(name.value), more + 1);
	return 0;
}

static int decode_hint_names(const struct json_at *at, void *target)
{
	int r = json_expect(at, JSON_ARRAY);

	if (r == 0 && json_array_size(at->value) > LIMIT_HINTS)
		r = json_fail(at, -EFBIG, "has %zu items; the limit is %d",
			      json_array_size(at->value), LIMIT_HINTS);
	for (size_t i = 0; r == 0 && i < json_array_size(at->value); i++) {
		struct json_at item = json_item(at, i);

		r = add_hint(&item, target);
	}
	return r;
}

static int decode_hints(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"forZones", decode_hint_names, offsetof(struct slice_endpoint, zone_hints), false},
		{"forNodes", decode_hint_names, offsetof(struct slice_endpoint, node_hints), false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_endpoint(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"addresses", decode_addresses, 0, true},
		{"conditions", decode_conditions, 0, false},
		{"nodeName", json_get_string, offsetof(struct slice_endpoint, node_name), false},
		{"targetRef", decode_target_ref, 0, false},
		{"hints", decode_hints, 0, false},
	};
	struct slice_endpoint *endpoint = target;

	endpoint->ready = endpoint->serving = true;
	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), endpoint);
}

static int check_family(const struct json_at *endpoints, const struct slice_object *slice,
			size_t index)
{
	const struct slice_endpoint *endpoint = &slice->endpoints[index];
	struct json_at item = json_item(endpoints, index);
	struct json_at addresses = json_key(&item, "addresses");

	for (size_t i = 0; i < endpoint->address_count; i++) {
		struct json_at at = json_item(&addresses, i);

		if (addr_is_v4(&endpoint->addresses[i]) != (slice->family == FAMILY_V4))
			return json_fail(&at, -EINVAL,
					 "is not an address of the slice's addressType");
	}
	return 0;
}

static int decode_endpoints(const struct json_at *at, struct slice_object *slice)
{
	struct json_items items = {};
	int r = json_items(at, LIMIT_ENDPOINTS, sizeof(*slice->endpoints), decode_endpoint, &items);

	slice->endpoints = items.items;
	slice->endpoint_count = items.count;
	for (size_t i = 0; r == 0 && i < items.count; i++)
		r = check_family(at, slice, i);
	return r;
}

static int decode_port(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"name", decode_port_name, offsetof(struct slice_port, name), false},
		{"port", json_get_port, offsetof(struct slice_port, port), false},
		{"protocol", json_get_protocol, offsetof(struct slice_port, proto), false},
	};
	struct slice_port *port = target;
	int r;

	port->proto = IPPROTO_TCP;
	r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), port);
	return r < 0 ? r : decode_default_text(&port->name, "");
}

static int decode_ports(const struct json_at *at, void *target)
{
	struct slice_object *slice = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_SLICE_PORTS, sizeof(*slice->ports), decode_port, &items);

	slice->ports = items.items;
	slice->port_count = items.count;
	return r;
}

static int decode_address_type(const struct json_at *at, void *target)
{
	uint8_t *family = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	if (strcmp(json_string_value(at->value), "IPv4") == 0)
		*family = FAMILY_V4;
	else if (strcmp(json_string_value(at->value), "IPv6") == 0)
		*family = FAMILY_V6;
	else if (strcmp(json_string_value(at->value), "FQDN") != 0)
		return json_fail(at, -EINVAL, "must be IPv4, IPv6 or FQDN, not \"%.32s\"",
				 json_string_value(at->value));
	return 0;
}

static const struct json_kept target_kept[] = {
	{"kind", NULL}, {"name", NULL}, {"namespace", NULL}, {}};
static const struct json_kept endpoint_kept[] = {{"addresses", NULL}, {"conditions", NULL},
						 {"nodeName", NULL},  {"targetRef", target_kept},
						 {"hints", NULL},     {}};
const struct json_kept slice_kept[] = {{"kind", NULL},
				       {"apiVersion", NULL},
				       {"metadata", metadata_kept},
				       {"addressType", NULL},
				       {"endpoints", endpoint_kept},
				       {"ports", NULL},
				       {}};

static void forget_own_namespace(struct slice_endpoint *endpoint, const char *own)
{
	const char *named = endpoint->target_namespace;

	if (named && (!named[0] || strcmp(named, own) == 0))
		free(TAKE_PTR(endpoint->target_namespace));
}

/* Slices of names (FQDN) have no endpoint that a packet could be sent to: their endpoints are not
 * read. */
int decode_slice(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"addressType", decode_address_type, offsetof(struct slice_object, family), true},
		{"ports", decode_ports, 0, false},
	};
	struct slice_object *slice = &object->slice;
	struct json_at endpoints = json_key(at, "endpoints");
	const char *service = labels_get(&object->labels, "kubernetes.io/service-name");
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), slice);

	if (r == 0 && endpoints.value && slice->family)
		r = decode_endpoints(&endpoints, slice);
	for (size_t i = 0; i < slice->endpoint_count; i++)
		forget_own_namespace(&slice->endpoints[i], object->namespace);
	if (r == 0 && service && service[0]) {
		slice->service = strdup(service);
		r = slice->service ? 0 : -ENOMEM;
	}
	return r;
}
