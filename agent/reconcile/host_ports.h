/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the node that are published for pods, as addresses and ports that are served beside
 * those of Services: at one address of the node, or at all that serve node ports; then for the node
 * itself at its loopback address, too.
 */
#pragma once

#include <stddef.h>

struct local_pod;
struct maps;
struct services;

/* The next services_apply() brings them into force. 0; -ENOMEM: then none of them. */
int host_ports_put(struct services *services, const struct local_pod *pod);
void host_ports_remove(struct services *services, const struct local_pod *pod);

/* Of a pod that is to be connected: 0; -EADDRINUSE with `message`: a Service has one of its ports.
 */
int host_ports_conflict(const struct services *services, const struct local_pod *pod, char *message,
			size_t size);
/* Are they all in force? 0; -ENOENT with `message`: one is not; -errno: the map cannot be read. */
int host_ports_check(const struct services *services, struct maps *maps,
		     const struct local_pod *pod, char *message, size_t size);
