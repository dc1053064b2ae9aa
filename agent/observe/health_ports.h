/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health check node ports: at each, load balancers in front of the cluster ask whether this node
 * has endpoints of the Service, and send it traffic only then. One HTTP server for each, at all of
 * the node's addresses; a port that somebody else has is tried again.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "agent/services/services.h"

struct health_ports;

/* `well`: does the node serve what it is asked for? 0 or -ENOMEM. */
int health_ports_new(uv_loop_t *loop, bool (*well)(const void *data), const void *data,
		     struct health_ports **ret);
/* Takes NULL. Ports are closed. */
void health_ports_free(struct health_ports *ports);

/*
 * After each change of Services: health_ports_begin(), then health_ports_want() for each port that
 * is asked for now, by services_each_health(), then health_ports_end(). Ports that nobody asks for
 * any more are closed.
 */
void health_ports_begin(struct health_ports *ports);
void health_ports_want(const struct service_health *health, void *ports);
void health_ports_end(struct health_ports *ports);
/* The ports that could not be had are tried again. */
void health_ports_retry(struct health_ports *ports);

/* Has what is told below become another since the last call? */
bool health_ports_take_change(struct health_ports *ports);
/* Why a Service's port is not served; valid until the next change. */
void health_ports_problems(const struct health_ports *ports,
			   void (*visit)(const struct service_problem *problem, void *data),
			   void *data);
