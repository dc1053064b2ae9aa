/* SPDX-License-Identifier: Apache-2.0 */
/* What is served over HTTP: metrics and health. */
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/observe/exporter.h"

/* Alive: the loop turns. */
static unsigned int on_healthz(char **ret_body, size_t *ret_length, void *data)
{
	(void)data;
	*ret_body = strdup("ok\n");
	*ret_length = *ret_body ? 3 : 0;
	return 200;
}

/* Ready: what the sources ask for is in force. */
static unsigned int on_readyz(char **ret_body, size_t *ret_length, void *data)
{
	const struct agent *agent = data;
	bool ready = agent_well(agent);

	*ret_body =
		strdup(ready ? "ok\n"
		       : agent_ready(agent)
			       ? "not ready: links of pods are held down, see polderctl status\n"
			       : "not ready\n");
	*ret_length = *ret_body ? strlen(*ret_body) : 0;
	return ready ? 200 : 503;
}

int agent_start_http(struct agent *agent, char *message, size_t size)
{
	int r = http_server_new(agent->loop, agent->config.metrics_listen, &agent->http);

	if (r == 0)
		r = http_route(agent->http, "/metrics", HTTP_TYPE_METRICS, exporter_answer,
			       &agent->show);
	if (r == 0)
		r = http_route(agent->http, "/healthz", HTTP_TYPE_TEXT, on_healthz, agent);
	if (r == 0)
		r = http_route(agent->http, "/readyz", HTTP_TYPE_TEXT, on_readyz, agent);
	if (r < 0)
		snprintf(message, size, "--metrics-listen %s: %s", agent->config.metrics_listen,
			 strerror(-r));
	return r;
}
