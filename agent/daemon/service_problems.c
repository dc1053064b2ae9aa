/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of Services, told to the cluster. */
#include "agent/daemon/agent.h"

static void tell(const struct service_event *event, void *data)
{
	const struct agent *agent = data;

	api_source_tell_service(agent->api_source, event->service, event->reason, event->text,
				event->few);
}

int agent_start_service_events(struct agent *agent)
{
	const struct service_events_env env = {.store = agent->store,
					       .node = agent->config.node_name,
					       .tell = tell,
					       .data = agent};

	return service_events_new(&env, &agent->service_events);
}

void agent_tell_service_problems(struct agent *agent)
{
	struct services *services = reconciler_services(agent->reconciler);
	const struct service_problem *problems;
	bool changed = services_take_problem_change(services);
	size_t count;

	if (agent->health_ports)
		changed |= health_ports_take_change(agent->health_ports);
	if (!changed || !agent->api_source)
		return;
	service_events_begin(agent->service_events);
	count = services_problems(services, &problems);
	for (size_t i = 0; i < count; i++)
		service_events_problem(&problems[i], agent->service_events);
	if (agent->health_ports)
		health_ports_problems(agent->health_ports, service_events_problem,
				      agent->service_events);
	service_events_end(agent->service_events);
}
