/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints a Service's port has: from its slices, or from pods by its selector. */
#pragma once

#include "agent/services/services.h"

/* For one port and one family. `active` takes new flows; `terminating` keeps those it has; `silent`
 * are those of `terminating` that do not serve. Sorted, no address twice. */
struct endpoints {
	struct backend *active;
	size_t active_count;
	struct backend *terminating;
	size_t terminating_count;
	struct backend *silent;
	size_t silent_count;
};

/* `slices`: those of the Service. Without any, and with a selector, the pods count. 0 or -ENOMEM;
 * free with endpoints_clear(). */
int endpoints_collect(const struct object *service, const struct service_port *port, bool v4,
		      const struct object *const *slices, size_t slice_count,
		      const struct service_pod *pods, size_t pod_count, struct endpoints *ret);
/* The order of both lists: by address, then by port. */
int backend_compare(const struct backend *a, const struct backend *b);
void endpoints_clear(struct endpoints *endpoints);
