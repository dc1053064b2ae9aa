/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel dropped, in words. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "agent/observe/events.h"
#include "agent/observe/kernel_drops.h"

static bool is_pod(const struct polder_addr *addr, const struct event_names *names)
{
	char name[EVENT_NAME_MAX];

	return !addr_is_zero(addr) && names->pod(addr, name, sizeof(name), names->data) == 0;
}

const struct polder_addr *kernel_drop_end(const struct kernel_drop_told *told,
					  const struct event_names *names, bool *ret_to)
{
	if (told->drop->place == KERNEL_DROP_NODE)
		*ret_to = is_pod(&told->event.daddr, names);
	else
		*ret_to = told->drop->place == KERNEL_DROP_RECEIVER;
	return *ret_to ? &told->event.daddr : &told->event.saddr;
}

/* "node", or the pod: in whose namespace it was. */
static json_t *place_document(const struct kernel_drop_told *told, const struct event_names *names)
{
	char pod[EVENT_NAME_MAX] = "";
	bool to;

	if (told->drop->place == KERNEL_DROP_NODE)
		return json_string("node");
	if (names->pod(kernel_drop_end(told, names, &to), pod, sizeof(pod), names->data) < 0)
		return json_string("pod");
	return json_sprintf("pod %s", pod);
}

/* What the packet had in place of the pod's source; null: the pod's own. */
static json_t *masqueraded_document(const struct kernel_drop *drop)
{
	char text[INET6_ADDRSTRLEN];

	if (!drop->masqueraded)
		return json_null();
	return json_pack("{s:s, s:i}", "ip", addr_format(&drop->wire_source, text), "port",
			 ntohs(drop->wire_port_be));
}

json_t *kernel_drop_document(const struct kernel_drop_told *told, const struct event_names *names)
{
	json_t *document = event_document(&told->event, names);
	char location[24], device[sizeof(told->drop->device) + 1] = "";

	if (!document)
		return NULL;
	memcpy(device, told->drop->device, sizeof(told->drop->device));
	snprintf(location, sizeof(location), "0x%llx", (unsigned long long)told->drop->location);
	json_object_set_new(document, "type", json_string("kernel_drop"));
	json_object_set_new(document, "hook", json_string("kernel"));
	json_object_set_new(document, "reason", json_sprintf("kernel:%s", told->reason));
	json_object_set_new(document, "link", json_string(device));
	json_object_set_new(document, "place", place_document(told, names));
	json_object_set_new(document, "location", json_string(location));
	json_object_set_new(document, "masqueraded", masqueraded_document(told->drop));
	return document;
}
