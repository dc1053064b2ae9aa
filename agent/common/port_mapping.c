/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the node that lead to a port of a container: CNI's capability portMappings. */
#include "agent/common/port_mapping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "agent/common/json_any_case.h"

static const struct {
	const char *name;
	uint8_t proto;
} protocols[] = {{"TCP", IPPROTO_TCP}, {"UDP", IPPROTO_UDP}, {"SCTP", IPPROTO_SCTP}};

const char *port_protocol_name(uint8_t proto)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (protocols[i].proto == proto)
			return protocols[i].name;
	return NULL;
}

uint8_t port_protocol_parse(const char *text)
{
	if (!*text)
		return IPPROTO_TCP;
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (strcasecmp(protocols[i].name, text) == 0)
			return protocols[i].proto;
	return 0;
}

/* ---------------------------------------------------------------- one mapping */

/* Where in the list, for messages. */
struct place {
	const char *path;
	size_t index;
};

static int say(const struct place *place, struct error *ret_error, const char *key,
	       const json_t *value, const char *expected)
{
	char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
	int r = value ? error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				  "%s[%zu].%s %.80s is not %s", place->path, place->index, key,
				  text ? text : "(…)", expected)
		      : error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				  "%s[%zu].%s is missing: it must be %s", place->path, place->index,
				  key, expected);

	free(text);
	return r;
}

static int decode_port(const struct place *place, const json_t *item, const char *key,
		       uint16_t *ret, struct error *ret_error)
{
	const json_t *value = json_get_any_case(item, key);
	json_int_t port = json_integer_value(value);

	if (!json_is_integer(value) || port < 1 || port > UINT16_MAX)
		return say(place, ret_error, key, value, "a port from 1 to 65535");
	*ret = (uint16_t)port;
	return 0;
}

static int decode_protocol(const struct place *place, const json_t *item, uint8_t *ret,
			   struct error *ret_error)
{
	const json_t *value = json_get_any_case(item, "protocol");
	const char *text = value ? json_string_value(value) : "";
	uint8_t proto = text ? port_protocol_parse(text) : 0;

	if (!proto)
		return say(place, ret_error, "protocol", value, "tcp, udp or sctp");
	*ret = proto;
	return 0;
}

static int decode_host_ip(const struct place *place, const json_t *item,
			  struct port_mapping *mapping, struct error *ret_error)
{
	const json_t *value = json_get_any_case(item, "hostIP");
	const char *text = value ? json_string_value(value) : "";

	mapping->every_family = text && !*text;
	if (!text || (*text && addr_parse(text, &mapping->host_ip) < 0))
		return say(place, ret_error, "hostIP", value, "an address");
	return 0;
}

static int decode_one(const struct place *place, const json_t *item, struct port_mapping *ret,
		      struct error *ret_error)
{
	struct port_mapping mapping = {};
	int r;

	if (!json_is_object(item))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "%s[%zu] is not {hostPort, containerPort, protocol, hostIP}",
				 place->path, place->index);
	r = decode_port(place, item, "hostPort", &mapping.host_port, ret_error);
	if (r == 0)
		r = decode_port(place, item, "containerPort", &mapping.container_port, ret_error);
	if (r == 0)
		r = decode_protocol(place, item, &mapping.proto, ret_error);
	if (r == 0)
		r = decode_host_ip(place, item, &mapping, ret_error);
	if (r == 0)
		*ret = mapping;
	return r;
}

/* ---------------------------------------------------------------- the list */

static bool is_every(const struct port_mapping *mapping)
{
	return mapping->every_family || addr_is_unspecified(&mapping->host_ip);
}

bool port_mapping_overlaps(const struct port_mapping *a, const struct port_mapping *b)
{
	if (a->proto != b->proto || a->host_port != b->host_port)
		return false;
	if (!a->every_family && !b->every_family &&
	    addr_is_v4(&a->host_ip) != addr_is_v4(&b->host_ip))
		return false;
	return is_every(a) || is_every(b) ||
	       memcmp(&a->host_ip, &b->host_ip, sizeof(a->host_ip)) == 0;
}

static bool is_same(const struct port_mapping *a, const struct port_mapping *b)
{
	return a->every_family == b->every_family && a->proto == b->proto &&
	       a->host_port == b->host_port && a->container_port == b->container_port &&
	       memcmp(&a->host_ip, &b->host_ip, sizeof(a->host_ip)) == 0;
}

/* Room is there. */
static int keep(struct port_mappings *mappings, const struct place *place,
		const struct port_mapping *mapping, struct error *ret_error)
{
	char text[PORT_MAPPING_TEXT_MAX];

	for (size_t i = 0; i < mappings->count; i++) {
		const struct port_mapping *other = &mappings->items[i];

		if (is_same(other, mapping))
			return 0;
		/* One port of the container may well have several places. */
		if (port_mapping_overlaps(other, mapping) &&
		    other->container_port != mapping->container_port)
			return error_set(
				ret_error, -EINVAL, CNI_INVALID_CONFIG,
				"%s[%zu]: %s would lead to port %u, and by another mapping "
				"of the list to port %u",
				place->path, place->index, port_mapping_text(mapping, text),
				mapping->container_port, other->container_port);
	}
	mappings->items[mappings->count++] = *mapping;
	return 0;
}

int port_mappings_decode(const json_t *list, const char *path, struct port_mappings *ret,
			 struct error *ret_error)
{
	struct port_mappings mappings = {};
	struct place place = {path, 0};
	struct port_mapping mapping;
	const json_t *item;
	int r = 0;

	if (list && !json_is_null(list) &&
	    (!json_is_array(list) || json_array_size(list) > PORT_MAPPINGS_MAX))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "%s is not a list of at most %d mappings", path,
				 PORT_MAPPINGS_MAX);
	if (json_array_size(list) == 0) {
		*ret = mappings;
		return 0;
	}
	mappings.items = calloc(json_array_size(list), sizeof(*mappings.items));
	if (!mappings.items)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	json_array_foreach (list, place.index, item) {
		r = decode_one(&place, item, &mapping, ret_error);
		if (r == 0)
			r = keep(&mappings, &place, &mapping, ret_error);
		if (r < 0)
			break;
	}
	if (r < 0)
		port_mappings_clear(&mappings);
	else
		*ret = mappings;
	return r;
}

void port_mappings_clear(struct port_mappings *mappings)
{
	free(mappings->items);
	*mappings = (struct port_mappings){};
}

static json_t *encode_one(const struct port_mapping *mapping)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (!mapping->every_family)
		addr_format(&mapping->host_ip, text);
	return json_pack("{s:s, s:i, s:i, s:s}", "hostIP", text, "hostPort", mapping->host_port,
			 "containerPort", mapping->container_port, "protocol",
			 port_protocol_name(mapping->proto));
}

json_t *port_mappings_encode(const struct port_mappings *mappings)
{
	json_t *list = json_array();

	for (size_t i = 0; i < mappings->count; i++) {
		/* It refuses NULL, too. */
		if (json_array_append_new(list, encode_one(&mappings->items[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

const char *port_mapping_text(const struct port_mapping *mapping, char *buffer)
{
	const char *proto = port_protocol_name(mapping->proto);
	char text[INET6_ADDRSTRLEN];
	bool v4 = addr_is_v4(&mapping->host_ip);

	if (mapping->every_family)
		snprintf(buffer, PORT_MAPPING_TEXT_MAX, "port %u/%s", mapping->host_port, proto);
	else
		snprintf(buffer, PORT_MAPPING_TEXT_MAX, v4 ? "%s:%u/%s" : "[%s]:%u/%s",
			 addr_format(&mapping->host_ip, text), mapping->host_port, proto);
	return buffer;
}
