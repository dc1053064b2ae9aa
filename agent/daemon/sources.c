/* SPDX-License-Identifier: Apache-2.0 */
/* The sources of objects: a directory, an API server, or both. */
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"
#include "agent/sources/last_good.h"

static int start_directory(struct agent *agent, void (*synced)(void *data), char *message,
			   size_t size)
{
	char last_good[PATH_MAX], fallback[PATH_MAX];
	int r;

	snprintf(fallback, sizeof(fallback), "%s/last-good", agent->config.run_dir);
	if (!agent_state_path(agent, "last-good", last_good))
		memcpy(last_good, fallback, sizeof(last_good));
	else if (last_good_import(last_good, fallback) > 0)
		log_info("source", "copies of valid files in %s are moved to %s", fallback,
			 last_good);
	r = source_dir_new(agent->loop, agent->config.resources, last_good, agent->store, synced,
			   agent, &agent->source);
	if (r < 0)
		snprintf(message, size, "--resources %s: cannot be watched: %s",
			 agent->config.resources, strerror(-r));
	return r;
}

static int start_api(struct agent *agent, void (*synced)(void *data), char *message, size_t size)
{
	char remembered[PATH_MAX], kept[PATH_MAX];
	const struct config *config = &agent->config;
	struct balancer_hooks balancers = balancers_hooks;
	const struct api_options options = {
		.kubeconfig = config->kubeconfig,
		.context = config->context,
		.servers = config->api_servers,
		.server_count = config->api_server_count,
		.silence_ms = 1000ull * config->api_silence,
		.node = config->node_name,
		.balancers = agent->balancers ? &balancers : NULL,
		.kept = agent_state_path(agent, "api-objects", kept),
		.remembered = agent_state_path(agent, "api-servers.json", remembered),
	};
	int r;

	balancers.data = agent->balancers;
	r = api_source_new(agent->loop, &options, agent->store, synced, agent, &agent->api_source);

	if (r < 0)
		snprintf(message, size, "the API server cannot be followed: %s", strerror(-r));
	return r;
}

int agent_open_sources(struct agent *agent, void (*synced)(void *data), char *message, size_t size)
{
	const struct config *config = &agent->config;
	int r = 0;

	if (config->kubeconfig || config->in_cluster)
		r = start_api(agent, synced, message, size);
	return r == 0 && config->resources ? start_directory(agent, synced, message, size) : r;
}

int agent_start_sources(struct agent *agent, char *message, size_t size)
{
	const struct config *config = &agent->config;

	if (config->resources || config->kubeconfig || config->in_cluster)
		return agent_open_sources(agent, agent_synced, message, size);
	agent_synced(agent);
	return 0;
}

void agent_stop_sources(struct agent *agent)
{
	source_dir_free(TAKE_PTR(agent->source));
	api_source_free(TAKE_PTR(agent->api_source));
}

void agent_reload_sources(struct agent *agent)
{
	if (agent->source)
		source_dir_reload(agent->source);
	if (agent->api_source)
		api_source_reload(agent->api_source);
}
