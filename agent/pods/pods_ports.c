/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the node that are published for pods: at which addresses, and whose they are already. */
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"

static bool has_family(const struct local_pod *pod, const struct polder_addr *host_ip)
{
	return !addr_is_zero(addr_is_v4(host_ip) ? &pod->ipv4 : &pod->ipv6);
}

static bool is_listed(const struct port_mappings *ports, const struct port_mapping *port)
{
	for (size_t i = 0; i < ports->count; i++)
		if (memcmp(&ports->items[i].host_ip, &port->host_ip, sizeof(port->host_ip)) == 0 &&
		    port_mapping_overlaps(&ports->items[i], port))
			return true;
	return false;
}

/* Room is there. */
static void append(struct port_mappings *ports, const struct port_mapping *port)
{
	if (!is_listed(ports, port))
		ports->items[ports->count++] = *port;
}

/* A mapping without an address is one of each family that the pod has. 0 or -ENOMEM. */
static int split_families(struct local_pod *pod)
{
	struct port_mappings split = {};

	split.items = calloc(pod->ports.count * 2, sizeof(*split.items));
	if (!split.items)
		return -ENOMEM;
	for (size_t i = 0; i < pod->ports.count; i++) {
		struct port_mapping port = pod->ports.items[i];

		if (!port.every_family) {
			append(&split, &port);
			continue;
		}
		port.every_family = false;
		for (size_t f = 0; f < 2; f++) {
			port.host_ip = addr_unspecified(f == 0);
			if (has_family(pod, &port.host_ip))
				append(&split, &port);
		}
	}
	port_mappings_clear(&pod->ports);
	pod->ports = split;
	return 0;
}

static int check_place(const struct pods *pods, const struct local_pod *pod,
		       const struct port_mapping *port, struct error *ret_error)
{
	const char *reserved = addr_reserved_reason(&port->host_ip);
	char text[PORT_MAPPING_TEXT_MAX];

	port_mapping_text(port, text);
	if (!has_family(pod, &port->host_ip))
		return error_set(ret_error, -EAFNOSUPPORT, CNI_INVALID_CONFIG,
				 "portMappings: %s cannot lead to the pod, which has no %s address",
				 text, addr_is_v4(&port->host_ip) ? "IPv4" : "IPv6");
	if (addr_is_unspecified(&port->host_ip) || addr_is_loopback(&port->host_ip))
		return 0;
	if (reserved)
		return error_set(ret_error, -EADDRNOTAVAIL, CNI_INVALID_CONFIG,
				 "portMappings: %s cannot be published at %s", text, reserved);
	if (!netlink_address_is_local(pods->nl, &port->host_ip))
		return error_set(
			ret_error, -EADDRNOTAVAIL, CNI_INVALID_CONFIG,
			"portMappings: %s cannot be published: the node does not have that "
			"address; name one that it has, or none for all",
			text);
	return 0;
}

const struct local_pod *pods_port_owner(const struct pods *pods, const struct port_mapping *port,
					const struct local_pod *except)
{
	for (size_t i = 0; i < pods->count; i++) {
		const struct local_pod *pod = pods->items[i];

		if (pod == except || pod->gone)
			continue;
		for (size_t k = 0; k < pod->ports.count; k++)
			if (port_mapping_overlaps(&pod->ports.items[k], port))
				return pod;
	}
	return NULL;
}

static int check_owner(const struct pods *pods, const struct port_mapping *port,
		       struct error *ret_error)
{
	const struct local_pod *owner = pods_port_owner(pods, port, NULL);
	char text[PORT_MAPPING_TEXT_MAX], name[POD_TEXT_MAX];

	if (!owner)
		return 0;
	return error_set(ret_error, -EADDRINUSE, CNI_TRY_AGAIN,
			 "portMappings: %s is published for pod %.300s already; delete that one or "
			 "choose another port",
			 port_mapping_text(port, text), local_pod_text(owner, name));
}

int pods_ports_settle(const struct pods *pods, struct local_pod *pod, struct error *ret_error)
{
	int r = 0;

	if (!pod->ports.count)
		return 0;
	if (split_families(pod) < 0)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	for (size_t i = 0; i < pod->ports.count && r == 0; i++) {
		r = check_place(pods, pod, &pod->ports.items[i], ret_error);
		if (r == 0)
			r = check_owner(pods, &pod->ports.items[i], ret_error);
	}
	return r;
}
