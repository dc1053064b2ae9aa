/* SPDX-License-Identifier: Apache-2.0 */
/* Pods: addresses, named ports, node, state. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"

struct container {
	struct named_port *ports;
	size_t port_count;
	char *restart_policy;
};

static int decode_port(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"name", decode_port_name, offsetof(struct named_port, name), false},
		{"containerPort", json_get_port, offsetof(struct named_port, port), true},
		{"protocol", json_get_protocol, offsetof(struct named_port, proto), false},
	};
	struct named_port *port = target;
	int r;

	port->proto = IPPROTO_TCP;
	r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), port);
	if (r == 0 && port->name && port->name[0] == '\0') {
		free(port->name);
		port->name = NULL;
	}
	return r;
}

static int decode_ports(const struct json_at *at, void *target)
{
	struct container *container = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_CONTAINER_PORTS, sizeof(*container->ports), decode_port,
			   &items);

	container->ports = items.items;
	container->port_count = items.count;
	return r;
}

static int decode_container(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"ports", decode_ports, 0, false},
		{"restartPolicy", json_get_string, offsetof(struct container, restart_policy),
		 false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

/* Moves the container's ports to the pod. */
static int take_ports(struct pod_object *pod, struct container *container)
{
	struct named_port *ports;

	if (container->port_count == 0)
		return 0;
	ports = reallocarray(pod->ports, pod->port_count + container->port_count, sizeof(*ports));
	if (!ports)
		return -ENOMEM;
	memcpy(&ports[pod->port_count], container->ports, container->port_count * sizeof(*ports));
	pod->ports = ports;
	pod->port_count += container->port_count;
	container->port_count = 0;
	return 0;
}

static void container_clear(struct container *container)
{
	for (size_t i = 0; i < container->port_count; i++)
		free(container->ports[i].name);
	free(container->ports);
	free(container->restart_policy);
}

static int take_containers(const struct json_at *at, bool sidecars_only, struct pod_object *pod)
{
	struct json_items items = {};
	int r = json_items(at, LIMIT_CONTAINERS, sizeof(struct container), decode_container,
			   &items);
	struct container *containers = items.items;

	for (size_t i = 0; i < items.count; i++) {
		const char *policy = containers[i].restart_policy;
		bool counts = !sidecars_only || (policy && strcmp(policy, "Always") == 0);

		if (r == 0 && counts)
			r = take_ports(pod, &containers[i]);
		if (r == 0 && pod->port_count > LIMIT_CONTAINER_PORTS)
			r = json_fail(at, -EFBIG, "the pod has more than %d ports",
				      LIMIT_CONTAINER_PORTS);
		container_clear(&containers[i]);
	}
	free(containers);
	return r;
}

static int decode_containers(const struct json_at *at, void *target)
{
	return take_containers(at, false, target);
}

static int decode_init_containers(const struct json_at *at, void *target)
{
	return take_containers(at, true, target);
}

static int decode_spec(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"nodeName", json_get_string, offsetof(struct pod_object, node_name), false},
		{"hostNetwork", json_get_bool, offsetof(struct pod_object, host_network), false},
		{"containers", decode_containers, 0, false},
		{"initContainers", decode_init_containers, 0, false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_pod_ip(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {{"ip", decode_usable_addr, 0, true}};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_pod_ips(const struct json_at *at, void *target)
{
	struct pod_object *pod = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_POD_ADDRESSES, sizeof(*pod->addresses), decode_pod_ip, &items);

	pod->addresses = items.items;
	pod->address_count = items.count;
	return r;
}

/* podIP is the first of podIPs; it stands alone in old or hand-written objects. */
static int decode_single_ip(const struct json_at *at, void *target)
{
	struct pod_object *pod = target;
	struct polder_addr addr;
	int r = json_expect(at, JSON_STRING);

	if (r < 0 || json_string_length(at->value) == 0)
		return r;
	r = decode_usable_addr(at, &addr);
	if (r < 0 || pod->address_count > 0)
		return r;
	free(pod->addresses);
	pod->addresses = malloc(sizeof(addr));
	if (!pod->addresses)
		return -ENOMEM;
	pod->addresses[0] = addr;
	pod->address_count = 1;
	return 0;
}

struct condition {
	char *type;
	char *status;
};

static int decode_condition(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"type", json_get_string, offsetof(struct condition, type), true},
		{"status", json_get_string, offsetof(struct condition, status), false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static int decode_conditions(const struct json_at *at, void *target)
{
	struct pod_object *pod = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_CONDITIONS, sizeof(struct condition), decode_condition,
			   &items);
	struct condition *conditions = items.items;

	if (items.count > 0)
		pod->ready = false;
	for (size_t i = 0; i < items.count; i++) {
		const char *type = conditions[i].type, *status = conditions[i].status;

		if (type && status && strcmp(type, "Ready") == 0)
			pod->ready = strcmp(status, "True") == 0;
		free(conditions[i].type);
		free(conditions[i].status);
	}
	free(conditions);
	return r;
}

static int decode_status(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"phase", json_get_string, offsetof(struct pod_object, phase), false},
		{"podIPs", decode_pod_ips, 0, false},
		{"podIP", decode_single_ip, 0, false},
		{"conditions", decode_conditions, 0, false},
	};

	return json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), target);
}

static const struct json_kept container_kept[] = {{"ports", NULL}, {"restartPolicy", NULL}, {}};
static const struct json_kept spec_kept[] = {
	{"nodeName", NULL},
	{"hostNetwork", NULL},
	{"containers", container_kept},
	{"initContainers", container_kept},
	{},
};
static const struct json_kept condition_kept[] = {{"type", NULL}, {"status", NULL}, {}};
static const struct json_kept status_kept[] = {
	{"phase", NULL}, {"podIPs", NULL}, {"podIP", NULL}, {"conditions", condition_kept}, {},
};
const struct json_kept pod_kept[] = {
	{"kind", NULL},	     {"apiVersion", NULL},    {"metadata", metadata_kept},
	{"spec", spec_kept}, {"status", status_kept}, {}};

/* An annotation may be anything; one that names no pod says nothing. */
static int decode_mirror(const struct json_at *metadata, struct pod_object *pod)
{
	struct json_at annotations = json_key(metadata, "annotations");
	const char *text = json_string_value(
		json_object_get(annotations.value, "kubernetes.io/config.mirror"));

	if (!text || !text[0] || strlen(text) > LIMIT_UID)
		return 0;
	pod->mirror_of = strdup(text);
	return pod->mirror_of ? 0 : -ENOMEM;
}

int decode_pod(const struct json_at *at, struct object *object)
{
	static const struct json_field fields[] = {
		{"spec", decode_spec, 0, false},
		{"status", decode_status, 0, false},
	};
	struct json_at metadata = json_key(at, "metadata");
	struct pod_object *pod = &object->pod;
	int r;

	pod->ready = true;
	r = json_fields(at, FIELDS_TOLERANT, fields, COUNT(fields), pod);
	if (r == 0)
		r = decode_default_text(&pod->phase, "");
	if (r == 0)
		r = decode_mirror(&metadata, pod);
	if (r < 0)
		return r;
	if (pod->node_name && pod->node_name[0] == '\0') {
		free(pod->node_name);
		pod->node_name = NULL;
	}
	pod->terminating = json_key(&metadata, "deletionTimestamp").value;
	pod->finished = strcmp(pod->phase, "Succeeded") == 0 || strcmp(pod->phase, "Failed") == 0;
	return 0;
}
