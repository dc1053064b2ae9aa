/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: the configuration and the resources are read again, and what can change while polderd
 * runs is changed. SIGUSR1: a few lines about the state. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/config/config_show.h"
#include "agent/config/config_ui.h"
#include "agent/kernel/latency.h"
#include "agent/kernel/processes.h"
#include "agent/observe/notify.h"

#define MESSAGE_MAX 512

static void take_text(char **place, char **other)
{
	char *text = *place;

	*place = *other;
	*other = text;
}

static int take_log_level(struct agent *agent, struct config *now, char *message, size_t size)
{
	(void)message;
	(void)size;
	agent->config.log_level = now->log_level;
	log_set_level(now->log_level);
	return 0;
}

static int take_events(struct agent *agent, struct config *now, char *message, size_t size)
{
	(void)message;
	(void)size;
	agent->config.events_per_second = now->events_per_second;
	maps_control(agent->maps)->events_per_second = now->events_per_second;
	return 0;
}

static int take_rejects(struct agent *agent, struct config *now, char *message, size_t size)
{
	(void)message;
	(void)size;
	agent->config.rejects_per_second = now->rejects_per_second;
	maps_control(agent->maps)->rejects_per_second = now->rejects_per_second;
	return 0;
}

/* A listener that cannot be had leaves the one of before. */
static int take_listen(struct agent *agent, char **place, char **now,
		       int (*serve)(struct agent *agent, char *message, size_t size), char *message,
		       size_t size)
{
	char again[MESSAGE_MAX];
	int r;

	take_text(place, now);
	r = serve(agent, message, size);
	if (r < 0) {
		take_text(place, now);
		(void)serve(agent, again, sizeof(again));
	}
	return r;
}

static int take_metrics(struct agent *agent, struct config *now, char *message, size_t size)
{
	return take_listen(agent, &agent->config.metrics_listen, &now->metrics_listen,
			   agent_serve_metrics, message, size);
}

static int take_health(struct agent *agent, struct config *now, char *message, size_t size)
{
	return take_listen(agent, &agent->config.health_listen, &now->health_listen,
			   agent_serve_health, message, size);
}

static int take_ui(struct agent *agent, struct config *now, char *message, size_t size)
{
	return take_listen(agent, &agent->config.ui_listen, &now->ui_listen, agent_serve_ui,
			   message, size);
}

/* The page's server looks into the list at each request. */
static int take_ui_hosts(struct agent *agent, struct config *now, char *message, size_t size)
{
	struct config *config = &agent->config;

	config_clear_ui_hosts(config);
	memcpy(config->ui_hosts, now->ui_hosts, sizeof(config->ui_hosts));
	config->ui_host_count = now->ui_host_count;
	memset(now->ui_hosts, 0, sizeof(now->ui_hosts));
	now->ui_host_count = 0;
	return agent_serve_ui(agent, message, size);
}

static int take_latency(struct agent *agent, struct config *now, char *message, size_t size)
{
	int r = latency_want(agent->datapath, now->latency, message, size);

	if (r == 0)
		agent->config.latency = now->latency;
	agent_measure(agent);
	/* Which would mean that a restart takes it. */
	return r == -EOPNOTSUPP ? -EINVAL : r;
}

static int take_processes(struct agent *agent, struct config *now, char *message, size_t size)
{
	bool before = agent->config.processes;
	int r;

	agent->config.processes = now->processes;
	r = processes_want(agent->datapath, agent_wants_processes(agent), message, size);
	if (r < 0)
		agent->config.processes = before;
	agent_note_processes(agent);
	return r;
}

/* Those that config_reloads() names. */
static const struct {
	const char *key;
	int (*take)(struct agent *agent, struct config *now, char *message, size_t size);
} takers[] = {
	{"log-level", take_log_level},	      {"events-per-second", take_events},
	{"rejects-per-second", take_rejects}, {"metrics-listen", take_metrics},
	{"health-listen", take_health},	      {"latency", take_latency},
	{"processes", take_processes},	      {"ui-listen", take_ui},
	{"ui-host", take_ui_hosts},
};

static int take(struct agent *agent, struct config *now, const char *key, char *message,
		size_t size)
{
	for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++)
		if (strcmp(takers[i].key, key) == 0)
			return takers[i].take(agent, now, message, size);
	return -EOPNOTSUPP;
}

/* What became of one key. */
static void reload_key(struct agent *agent, struct config *now, size_t index)
{
	const struct config_key *key = &config_keys[index];
	CLEANUP(cleanup_json) json_t *old_value = config_value(&agent->config, key);
	CLEANUP(cleanup_json) json_t *new_value = config_value(now, key);
	CLEANUP(cleanup_free) char *from = json_dumps(old_value, JSON_ENCODE_ANY | JSON_COMPACT);
	CLEANUP(cleanup_free) char *to = json_dumps(new_value, JSON_ENCODE_ANY | JSON_COMPACT);
	char message[MESSAGE_MAX] = "";
	int r;

	/* A level that polderctl has set is not one of the file: reloading sets it again. */
	if (strcmp(key->name, "log-level") == 0 && log_get_level() != now->log_level)
		log_set_level(now->log_level);
	if (!from || !to || json_equal(old_value, new_value))
		return;
	/* Nobody has said it, then or now: it was found out while running. */
	if (agent->config.origins[index] == CONFIG_DEFAULT && now->origins[index] == CONFIG_DEFAULT)
		return;
	r = config_reloads(key) ? take(agent, now, key->name, message, sizeof(message))
				: -EOPNOTSUPP;
	if (r == 0) {
		agent->config.origins[index] = now->origins[index];
		log_info("config", "%s: %s instead of %s from now on", key->name, to, from);
	} else if (r == -EOPNOTSUPP) {
		log_warning("config", "%s: %s stays in force, not %s: a restart is needed for that",
			    key->name, from, to);
	} else {
		log_error("config", "%s: %s stays in force: %s", key->name, from,
			  message[0] ? message : strerror(-r));
	}
}

void agent_reload(struct agent *agent)
{
	char error[MESSAGE_MAX] = "", text[96];
	struct config now = {0};

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)(clock_monotonic_ns() / 1000));
	notify_send(text);
	log_info("agent", "reading the configuration and the resources again");
	if (config_read(agent->argc, agent->argv, &now, error, sizeof(error)) < 0) {
		log_error("config", "%s; everything stays as it is", error);
	} else {
		for (size_t i = 0; i < config_key_count; i++)
			reload_key(agent, &now, i);
		config_clear(&now);
	}
	agent_reload_sources(agent);
	agent_install_cni_config(agent);
	if (agent->told_ready)
		notify_ready();
}

void agent_tell_state(struct agent *agent)
{
	struct control_stats control = {};
	struct log_stats log;
	struct show_progress progress = {};

	agent_progress(&progress, agent);
	log_read_stats(&log);
	if (agent->control)
		control_read_stats(agent->control, &control);
	log_info("agent", "state: %s, %s, %zu pods connected, %zu problems with resources",
		 progress.ready ? "ready" : "not ready", progress.synced ? "synced" : "not synced",
		 pods_count(agent->pods), store_problem_count(agent->store));
	log_info("agent",
		 "state: %llu reconciles, %llu failed; %llu control connections, %llu requests "
		 "refused; log level %s, %llu lines lost, %llu held back",
		 (unsigned long long)progress.reconciles,
		 (unsigned long long)progress.reconcile_errors,
		 (unsigned long long)control.connections, (unsigned long long)control.refused,
		 log_level_name(log_get_level()), (unsigned long long)log.lost,
		 (unsigned long long)log.held);
}
