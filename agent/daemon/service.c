/* SPDX-License-Identifier: Apache-2.0 */
/* Once a second: the log, and what the service manager is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/node/port_ranges.h"
#include "agent/observe/notify.h"

#define SECOND_MS 1000
/* While it is not ready it asks for so much more time, so often. */
#define EXTEND_SECONDS 60
#define EXTEND_EVERY   10
/* Container runtimes are started behind polderd, and what polderd waits for (an API server in a
 * container of this node, a mount behind the network) may be started behind them: the boot goes on
 * without what has not come in so much time. */
#define BOOT_SECONDS 15
/* So often the ports that others use are looked at. */
#define PORTS_SECONDS 30

struct first_problem {
	char *text;
	size_t size;
};

static void keep_problem(const char *source, const struct error *error, void *data)
{
	struct first_problem *first = data;

	if (!first->text[0])
		snprintf(first->text, first->size, "Waiting for %s: %.300s", source, error->text);
}

/* One line, in words: what it waits for, or what it serves. */
static void describe(const struct agent *agent, char *text, size_t size)
{
	struct first_problem first = {text, size};

	text[0] = '\0';
	if (agent_ready(agent)) {
		snprintf(text, size, "%s: %zu pods connected, %zu policies, %zu Services",
			 agent_well(agent) ? "Ready" : "Not ready, see polderctl status",
			 pods_count(agent->pods),
			 store_count(agent->store, OBJECT_NETWORK_POLICY) +
				 store_count(agent->store, OBJECT_CLUSTER_NETWORK_POLICY),
			 store_count(agent->store, OBJECT_SERVICE));
		return;
	}
	if (!agent_is_synced(agent))
		store_problems(agent->store, keep_problem, &first);
	if (!text[0])
		snprintf(text, size, "%s",
			 agent_is_synced(agent) ? "Putting what was read in force; an attempt that "
						  "failed is repeated, see the log"
						: "Reading the objects");
}

/* 0, or -errno, which is logged once. */
static int tell(struct agent *agent, const char *text)
{
	int r = notify_send(text);

	if (r < 0 && !agent->telling_failed)
		log_warning("agent",
			    "the service manager (NOTIFY_SOCKET) cannot be told \"%.40s\": %s; "
			    "retried every second",
			    text, strerror(-r));
	agent->telling_failed = r < 0;
	return r;
}

void agent_tell_ready(struct agent *agent)
{
	bool late = !agent->ready && agent->seconds >= BOOT_SECONDS;

	if (agent->told_ready || (!agent->ready && !late))
		return;
	if (late && !agent->telling_failed && getenv("NOTIFY_SOCKET"))
		log_warning("agent",
			    "nothing is in force yet after %d s: the service manager is told to go "
			    "on; new pods are refused until there is, see polderctl status",
			    BOOT_SECONDS);
	agent->told_ready = tell(agent, "READY=1") == 0;
}

/*
 * Connected pods go on meanwhile, and whoever waits for the network of new ones may wait: being
 * killed and started again would bring nothing nearer.
 */
static void tell_service_manager(struct agent *agent)
{
	char status[512], text[640];
	bool extend = !agent->ready && !agent->told_ready && agent->seconds % EXTEND_EVERY == 0;

	agent_tell_ready(agent);
	describe(agent, status, sizeof(status));
	if (!extend && strcmp(status, agent->told_status) == 0)
		return;
	snprintf(text, sizeof(text), "STATUS=%s", status);
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	if (extend)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 "\nEXTEND_TIMEOUT_USEC=%d000000", EXTEND_SECONDS);
	/* What could not be told is told by the next second. */
	if (tell(agent, text) == 0)
		snprintf(agent->told_status, sizeof(agent->told_status), "%s", status);
}

/* Somebody may set the sysctls at any time. Told in the log when it is new. */
static void look_at_ports(struct agent *agent)
{
	char before[sizeof(agent->node_ports_note)];

	memcpy(before, agent->node_ports_note, sizeof(before));
	port_ranges_note(&agent->config, agent->node_ports_note, sizeof(agent->node_ports_note));
	if (agent->node_ports_note[0] && strcmp(before, agent->node_ports_note) != 0)
		log_warning("services", "%s", agent->node_ports_note);
}

static void on_second(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	if (agent->seconds % PORTS_SECONDS == 0)
		look_at_ports(agent);

	log_tick();
	tell_service_manager(agent);
	if (agent->api_source)
		api_source_set_ready(agent->api_source, agent_ready(agent) && agent_well(agent));
	agent->seconds++;
}

void agent_service_start(struct agent *agent)
{
	uv_timer_init(agent->loop, &agent->second_timer);
	agent->second_timer.data = agent;
	uv_timer_start(&agent->second_timer, on_second, 0, SECOND_MS);
}
