/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes: their addresses and the ranges of their pods. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "agent/common/address.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"

struct node_address {
	char *type;
	char *text;
	struct polder_addr addr;
};

static int decode_range(const struct json_at *at, void *target)
{
	struct prefix *range = target;
	const char *reserved;
	int r = decode_prefix(at, range);

	if (r < 0)
		return r;
	reserved = addr_reserved_reason(&range->addr);
	if (reserved)
		return json_fail(at, -EINVAL, "begins with %s, which no pod can have", reserved);
	return 0;
}

static int decode_ranges(const struct json_at *at, void *target)
{
	struct node_object *node = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_NODE_RANGES, sizeof(*node->pod_ranges), decode_range, &items);

	node->pod_ranges = items.items;
	node->pod_range_count = items.count;
	return r;
}

static int decode_single_range(const struct json_at *at, void *target)
{
	struct node_object *node = target;
	struct prefix range;
	int r = json_expect(at, JSON_STRING);

	if (r < 0 || json_string_length(at->value) == 0)
		return r;
	r = decode_range(at, &range);
	if (r < 0 || node->pod_range_count > 0)
		return r;
	free(node->pod_ranges);
	node->pod_ranges = malloc(sizeof(range));
	if (!node->pod_ranges)
		return -ENOMEM;
	node->pod_ranges[0] = range;
	node->pod_range_count = 1;
	return 0;
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"podCIDRs", decode_ranges, 0, false},
		{"podCIDR", decode_single_range, 0, false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static bool is_type(const struct node_address *address, const char *type)
{
	return address->type && strcmp(address->type, type) == 0;
}

/* Names (Hostname, InternalDNS) are not read further. */
static int decode_node_address(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"type", json_get_string, offsetof(struct node_address, type), true},
		{"address", json_get_string, offsetof(struct node_address, text), true},
	};
	struct node_address *address = target;
	struct json_at text = json_key(at, "address");
	int r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), address);

	if (r < 0)
		return r;
	if (is_type(address, "InternalIP") || is_type(address, "ExternalIP"))
		return decode_usable_addr(&text, &address->addr);
	return 0;
}

static void take_addresses(struct node_object *node, const struct node_address *all, size_t count,
			   const char *type)
{
	for (size_t i = 0; i < count; i++)
		if (is_type(&all[i], type))
			node->addresses[node->address_count++] = all[i].addr;
}

static int decode_addresses(const struct json_at *at, void *target)
{
	struct node_object *node = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_NODE_ADDRESSES, sizeof(struct node_address),
			   decode_node_address, &items);
	struct node_address *all = items.items;

	if (r == 0 && items.count > 0) {
		node->addresses = calloc(items.count, sizeof(*node->addresses));
		r = node->addresses ? 0 : -ENOMEM;
	}
	if (r == 0) {
		take_addresses(node, all, items.count, "InternalIP");
		node->internal_count = node->address_count;
		take_addresses(node, all, items.count, "ExternalIP");
	}
	for (size_t i = 0; i < items.count; i++) {
		free(all[i].type);
		free(all[i].text);
	}
	free(all);
	return r;
}

static int decode_status(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"addresses", decode_addresses, 0, false}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static const struct json_kept spec_kept[] = {{"podCIDRs", NULL}, {"podCIDR", NULL}, {}};
static const struct json_kept status_kept[] = {{"addresses", NULL}, {}};
const struct json_kept node_kept[] = {
	{"kind", NULL},	     {"apiVersion", NULL},    {"metadata", metadata_kept},
	{"spec", spec_kept}, {"status", status_kept}, {}};

int decode_node(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, false},
		{"status", decode_status, 0, false},
	};

	object->node.created = decode_created(at);
	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), &object->node);
}
