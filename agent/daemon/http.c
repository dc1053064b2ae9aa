/* SPDX-License-Identifier: Apache-2.0 */
/* What is served over HTTP: metrics, health, the page in the browser. */
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/config/config_ui.h"
#include "agent/show/exporter.h"
#include "agent/ui/ui.h"

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

	*ret_body = strdup(
		ready ? "ok\n"
		: agent_ready(agent)
			? "not ready: links of pods are held down, the uplink or its address "
			  "is missing, or changes cannot be put in force; see polderctl status and "
			  "the log\n"
			: "not ready\n");
	*ret_length = *ret_body ? strlen(*ret_body) : 0;
	return ready ? 200 : 503;
}

/* Each scrape asks kernel and agent about hundreds of things: however many scrape, twice a second
 * is enough. */
#define EXPOSITION_CACHE_MS 500

static int serve(struct agent *agent, const char *option, const char *address, bool metrics,
		 struct http_server **ret, char *message, size_t size)
{
	struct http_server *server = NULL;
	int r = http_server_new(agent->loop, address, &server);

	if (r == 0 && metrics)
		r = http_route_cached(server, "/metrics", HTTP_TYPE_METRICS, exporter_answer,
				      &agent->show, EXPOSITION_CACHE_MS);
	if (r == 0)
		r = http_route(server, "/healthz", HTTP_TYPE_TEXT, on_healthz, agent);
	if (r == 0)
		r = http_route(server, "/readyz", HTTP_TYPE_TEXT, on_readyz, agent);
	if (r == 0) {
		*ret = server;
		return 0;
	}
	http_server_free(server);
	snprintf(message, size, "--%s %s: %s", option, address, strerror(-r));
	return r;
}

/* One that is to listen where the other one did takes its place: the old one goes first then. */
static int serve_again(struct agent *agent, const char *option, const char *address, bool metrics,
		       struct http_server **server, char *message, size_t size)
{
	http_server_free(TAKE_PTR(*server));
	return address ? serve(agent, option, address, metrics, server, message, size) : 0;
}

int agent_serve_metrics(struct agent *agent, char *message, size_t size)
{
	return serve_again(agent, "metrics-listen", agent->config.metrics_listen, true,
			   &agent->http, message, size);
}

int agent_serve_health(struct agent *agent, char *message, size_t size)
{
	return serve_again(agent, "health-listen", agent->config.health_listen, false,
			   &agent->health, message, size);
}

int agent_serve_ui(struct agent *agent, char *message, size_t size)
{
	const struct config *config = &agent->config;
	const struct ui_options options = {.address = config->ui_listen,
					   .hosts = config->ui_hosts,
					   .host_count = config->ui_host_count,
					   .control = agent->control};
	int r = 0;

	ui_free(TAKE_PTR(agent->ui));
	if (config->ui_listen)
		r = ui_new(agent->loop, &options, &agent->ui);
	if (r < 0)
		snprintf(message, size, "--ui-listen %s: %s", config->ui_listen, strerror(-r));
	else if (config_ui_is_open(config))
		log_warning("ui",
			    "the page at %s shows who talks to whom to everybody who reaches this "
			    "address: it asks for no password, and is not encrypted",
			    config->ui_listen);
	return r;
}

static bool is_well(const void *data)
{
	return agent_well(data);
}

void agent_follow_health_ports(struct agent *agent)
{
	struct services *services = reconciler_services(agent->reconciler);

	if (!agent->health_ports || !services_take_health_change(services))
		return;
	health_ports_begin(agent->health_ports);
	services_each_health(services, health_ports_want, agent->health_ports);
	health_ports_end(agent->health_ports);
}

int agent_start_http(struct agent *agent, char *message, size_t size)
{
	int r = health_ports_new(agent->loop, is_well, agent, &agent->health_ports);

	agent->show.health_ports = agent->health_ports;
	if (r == 0)
		r = agent_serve_metrics(agent, message, size);
	agent->show.http = &agent->http;
	agent->show.health = &agent->health;
	if (r == 0)
		r = agent_serve_health(agent, message, size);
	return r < 0 ? r : agent_serve_ui(agent, message, size);
}
