/* SPDX-License-Identifier: Apache-2.0 */
/* What turns the numbers in events and flows into names. */
#pragma once

#include <jansson.h>

#include "agent/common/address.h"
#include "policy/compile/compile.h"

#define EVENT_NAME_MAX 640

/* One end of a packet, as its socket has it. */
struct event_socket {
	uint8_t proto;
	struct polder_addr local, remote;
	__be16 local_port_be, remote_port_be;
	uint64_t time_ns; /* of the packet, by the monotonic clock; 0: it may be of any time */
};

/* What turns numbers into names. Each returns 0 or -ENOENT. */
struct event_names {
	/* "namespace/name" of the pod with the address. */
	int (*pod)(const struct polder_addr *addr, char *buffer, size_t size, void *data);
	int (*link)(uint32_t ifindex, char *buffer, size_t size, void *data);
	int (*rule)(uint32_t rule, struct rule_origin *ret, void *data);
	/* The name that the user gave the rule. Valid as long as the event is worked on. NULL:
	 * none. */
	const char *(*rule_name)(const struct rule_origin *origin, void *data);
	/* The policies that isolate the pod with the address; NULL: none, or it is no pod of this
	 * node. */
	const struct compiled_selection *(*isolation)(const struct polder_addr *addr, bool egress,
						      void *data);
	/* "namespace/name" of the Service that is served there. NULL: Services are not named. */
	int (*service)(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
		       size_t size, void *data);
	/* The process of the socket whose end this is: a document, or NULL: none is known. NULL:
	 * processes are not named. */
	json_t *(*process)(const struct event_socket *socket, void *data);
	void *data;
};
