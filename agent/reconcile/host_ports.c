/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/host_ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/kernel/maps.h"
#include "agent/pods/pods.h"
#include "agent/services/services.h"

#define NAME_MAX_SIZE 256

/* One place at which a pod's port is served. */
struct place {
	struct service_key key;
	uint32_t flags;
};
/* The published one, and the loopback address. */
#define PLACES 2

static struct polder_addr loopback(bool v4)
{
	return v4 ? (struct polder_addr){.bytes = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}
		  : (struct polder_addr){.bytes = {[15] = 1}};
}

static size_t find_places(const struct port_mapping *port, struct place places[PLACES])
{
	const struct service_key key = {
		.addr = port->host_ip, .port_be = htons(port->host_port), .proto = port->proto};
	size_t count = 0;

	places[count++] = (struct place){key, SERVICE_HOST_PORT};
	if (!addr_is_loopback(&port->host_ip))
		places[0].flags |= SERVICE_EXTERNAL | SERVICE_EXTERNAL_LOCAL;
	if (addr_is_unspecified(&port->host_ip)) {
		places[count] = places[0];
		places[count].flags = SERVICE_HOST_PORT;
		places[count++].key.addr = loopback(addr_is_v4(&port->host_ip));
	}
	return count;
}

static const char *place_name(const struct local_pod *pod, size_t port, size_t place,
			      char name[NAME_MAX_SIZE])
{
	snprintf(name, NAME_MAX_SIZE, "hostport/%s/%s/%zu/%zu", pod->container_id, pod->ifname,
		 port, place);
	return name;
}

static struct backend endpoint_of(const struct local_pod *pod, const struct port_mapping *port)
{
	return (struct backend){
		.addr = addr_is_v4(&port->host_ip) ? pod->ipv4 : pod->ipv6,
		.port_be = htons(port->container_port),
	};
}

/* For each place of each of the pod's ports, until one says other than 0, which is returned. */
typedef int (*visitor)(const struct local_pod *pod, size_t port, size_t index,
		       const struct place *place, void *data);

static int each(const struct local_pod *pod, visitor visit, void *data)
{
	struct place places[PLACES];
	int r = 0;

	for (size_t i = 0; i < pod->ports.count; i++) {
		size_t count = find_places(&pod->ports.items[i], places);

		for (size_t k = 0; k < count && r == 0; k++)
			r = visit(pod, i, k, &places[k], data);
	}
	return r;
}

/* ---------------------------------------------------------------- put and removed */

static int put(const struct local_pod *pod, size_t port, size_t index, const struct place *place,
	       void *data)
{
	char name[NAME_MAX_SIZE], owner[340];
	const struct services_fixed fixed = {
		.name = place_name(pod, port, index, name),
		.owner = owner,
		.key = place->key,
		.flags = place->flags,
		.endpoint = endpoint_of(pod, &pod->ports.items[port]),
		.created = pod->created,
	};

	snprintf(owner, sizeof(owner), "pod %s/%s", pod->namespace, pod->name);
	return services_put_fixed(data, &fixed);
}

static int drop(const struct local_pod *pod, size_t port, size_t index, const struct place *place,
		void *data)
{
	char name[NAME_MAX_SIZE];

	services_remove_fixed(data, place_name(pod, port, index, name));
	return 0;
}

int host_ports_put(struct services *services, const struct local_pod *pod)
{
	int r = each(pod, put, services);

	if (r < 0)
		host_ports_remove(services, pod);
	return r;
}

void host_ports_remove(struct services *services, const struct local_pod *pod)
{
	(void)each(pod, drop, services);
}

/* ---------------------------------------------------------------- asked */

struct question {
	const struct services *services;
	struct maps *maps;
	char *message;
	size_t size;
};

static const char *view_owner(const struct service_view *view, char *buffer, size_t size)
{
	if (view->namespace[0])
		snprintf(buffer, size, "Service %s/%s", view->namespace, view->name);
	else
		snprintf(buffer, size, "%s", view->name);
	return buffer;
}

static int find_conflict(const struct local_pod *pod, size_t port, size_t index,
			 const struct place *place, void *data)
{
	const struct question *question = data;
	char text[PORT_MAPPING_TEXT_MAX], owner[400];
	struct service_view view;

	if (!services_find(question->services, &place->key, &view))
		return 0;
	snprintf(question->message, question->size,
		 "portMappings: %s is served already, by %s; choose another port, or delete that",
		 port_mapping_text(&pod->ports.items[port], text),
		 view_owner(&view, owner, sizeof(owner)));
	return -EADDRINUSE;
}

int host_ports_conflict(const struct services *services, const struct local_pod *pod, char *message,
			size_t size)
{
	struct question question = {services, NULL, message, size};

	return each(pod, find_conflict, &question);
}

static bool is_its_own(const struct service_view *view, const struct backend *endpoint)
{
	return view->kind == SERVICE_KIND_HOST_PORT && view->backend_count == 1 &&
	       memcmp(view->backends, endpoint, sizeof(*endpoint)) == 0;
}

static int check(const struct local_pod *pod, size_t port, size_t index, const struct place *place,
		 void *data)
{
	const struct question *question = data;
	const struct backend endpoint = endpoint_of(pod, &pod->ports.items[port]);
	char text[PORT_MAPPING_TEXT_MAX];
	struct service_entry entry;
	struct service_view view;
	int r = services_find(question->services, &place->key, &view) &&
				is_its_own(&view, &endpoint)
			? maps_find(question->maps, MAP_SERVICES, &place->key, &entry)
			: -ENOENT;

	if (r == 0 && (entry.id != view.id || entry.backend_count != 1))
		r = -ENOENT;
	if (r < 0)
		snprintf(question->message, question->size, "pod %s/%s: its published port %s %s",
			 pod->namespace, pod->name,
			 port_mapping_text(&pod->ports.items[port], text),
			 r == -ENOENT ? "is not served; polderctl status may say why"
				      : strerror(-r));
	return r;
}

int host_ports_check(const struct services *services, struct maps *maps,
		     const struct local_pod *pod, char *message, size_t size)
{
	struct question question = {services, maps, message, size};

	return each(pod, check, &question);
}
