/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranges of this node's pods where the configuration has none: from its own Node object. The
 * programs have them as constants, so they are known before anything else starts. While there are
 * pods the ranges stay what they were: those are on disk, and no server is asked.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cleanup.h"
#include "agent/common/cni_code.h"
#include "agent/common/state_file.h"
#include "agent/kernel/netlink_network.h"
#include "agent/observe/notify.h"

#define FILE_NAME    "node-ranges.json"
#define FILE_MAX     4096
#define TELL_EACH_MS 10000

/* ---------------------------------------------------------------- on disk */

static const char *file_path(const struct agent *agent, char path[PATH_MAX])
{
	if (agent_state_path(agent, FILE_NAME, path))
		return path;
	snprintf(path, PATH_MAX, "%s/" FILE_NAME, agent->config.run_dir);
	return path;
}

static bool has_pods(const struct agent *agent)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/pods", agent->config.run_dir);
	directory = opendir(path);
	while (directory && !found && (entry = readdir(directory)))
		found = entry->d_name[0] != '.' && strstr(entry->d_name, ".json");
	if (directory)
		closedir(directory);
	return found;
}

static void take_ranges(struct config *config, const struct prefix *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool v4 = prefix_is_v4(&ranges[i]);
		struct prefix *range = v4 ? &config->pod_cidr_v4 : &config->pod_cidr_v6;

		if (!range->length)
			*range = ranges[i];
	}
}

/* True: those of before are known. */
static bool recall(struct agent *agent)
{
	CLEANUP(cleanup_json) json_t *list = NULL;
	char path[PATH_MAX];
	const json_t *item;
	size_t i;

	if (state_file_read_json(file_path(agent, path), FILE_MAX, &list) < 0)
		return false;
	json_array_foreach (list, i, item) {
		struct prefix range;

		if (json_is_string(item) && prefix_parse(json_string_value(item), &range) == 0)
			take_ranges(&agent->config, &range, 1);
	}
	return agent->config.pod_cidr_v4.length || agent->config.pod_cidr_v6.length;
}

static void remember(const struct agent *agent)
{
	CLEANUP(cleanup_json) json_t *list = json_array();
	char path[PATH_MAX], text[PREFIX_TEXT_MAX];
	const struct prefix *const ranges[] = {&agent->config.pod_cidr_v4,
					       &agent->config.pod_cidr_v6};
	int r;

	for (size_t i = 0; i < 2; i++)
		if (ranges[i]->length)
			json_array_append_new(list, json_string(prefix_format(ranges[i], text)));
	r = state_file_write_json(file_path(agent, path), list);
	if (r < 0)
		log_warning("node",
			    "%s cannot be written: %s; a start without the Node object would wait "
			    "for it",
			    path, strerror(-r));
}

/* ---------------------------------------------------------------- the Node object */

/* An InternalIP that is an address of this host. */
static void take_addresses(struct config *config, const struct node_object *node)
{
	CLEANUP(cleanup_free) struct address_info *all = NULL;
	struct netlink *nl = NULL;
	size_t count = 0;

	if (netlink_open(-1, &nl) < 0 || netlink_all_addresses(nl, &all, &count) < 0) {
		netlink_close(nl);
		return;
	}
	netlink_close(nl);
	for (size_t i = 0; i < node->internal_count; i++) {
		const struct polder_addr *addr = &node->addresses[i];
		struct polder_addr *ip =
			addr_is_v4(addr) ? &config->node_ip_v4 : &config->node_ip_v6;

		for (size_t j = 0; j < count && addr_is_zero(ip); j++)
			if (memcmp(&all[j].prefix.addr, addr, sizeof(*addr)) == 0)
				*ip = *addr;
	}
}

static bool take_node(struct agent *agent)
{
	const struct object *object =
		store_get(agent->store, OBJECT_NODE, "", agent->config.node_name);

	if (!object || !object->node.pod_range_count)
		return false;
	take_ranges(&agent->config, object->node.pod_ranges, object->node.pod_range_count);
	take_addresses(&agent->config, &object->node);
	return true;
}

/* ---------------------------------------------------------------- while it waits */

static void describe(const struct agent *agent, char *text, size_t size)
{
	const struct object *object =
		store_get(agent->store, OBJECT_NODE, "", agent->config.node_name);

	snprintf(text, size,
		 object ? "Node %s has no spec.podCIDRs yet: the cluster gives them (kubeadm: "
			  "--pod-network-cidr), or --pod-cidr; until then no pod can start"
			: "there is no Node %s yet, whose spec.podCIDRs are the pods' ranges: is "
			  "--node-name right? Without Nodes give --pod-cidr; until then no pod can "
			  "start",
		 agent->config.node_name);
}

static void on_status(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct agent *agent = data;
	char text[400];

	describe(agent, text, sizeof(text));
	control_reply(request, json_pack("{s:s, s:s, s:b, s:b, s:[{s:s, s:s, s:s}]}", "version",
					 POLDER_VERSION, "node", agent->config.node_name, "ready",
					 false, "synced", false, "problems", "source", "pod range",
					 "path", "", "reason", text));
}

static void on_plugin(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct agent *agent = data;
	char text[400];

	describe(agent, text, sizeof(text));
	control_fail(request, CNI_TRY_AGAIN, "the pods' ranges are not known yet", text);
}

static int serve(struct agent *agent, struct control_server **ret)
{
	static const char *const operations[] = {"cni.add", "cni.check", "cni.status"};
	int r = control_server_new(agent->loop, agent->config.socket, ret);

	if (r == 0)
		r = control_register(*ret, "status", on_status, agent);
	for (size_t i = 0; r == 0 && i < sizeof(operations) / sizeof(operations[0]); i++)
		r = control_register(*ret, operations[i], on_plugin, agent);
	return r;
}

static void nothing_yet(void *data)
{
	(void)data;
}

static void on_tell(uv_timer_t *timer)
{
	const struct agent *agent = timer->data;
	char text[400], status[420];

	describe(agent, text, sizeof(text));
	log_warning("node", "%s", text);
	snprintf(status, sizeof(status), "STATUS=%s", text);
	(void)notify_send(status);
}

/* The loop turns until the Node says its ranges, or a signal ends it. */
static int wait_for_node(struct agent *agent, char *message, size_t size)
{
	struct control_server *control = NULL;
	uv_timer_t timer;
	int r = serve(agent, &control);

	if (r == 0)
		r = agent_open_sources(agent, nothing_yet, message, size);
	uv_timer_init(agent->loop, &timer);
	timer.data = agent;
	uv_timer_start(&timer, on_tell, 1000, TELL_EACH_MS);
	while (r == 0 && !agent->stopping && !take_node(agent))
		uv_run(agent->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	control_server_free(control);
	agent_stop_sources(agent);
	for (int i = 0; i < 100; i++)
		uv_run(agent->loop, UV_RUN_NOWAIT);
	if (agent->stopping)
		uv_stop(agent->loop);
	return r;
}

int agent_find_ranges(struct agent *agent, char *message, size_t size)
{
	struct config *config = &agent->config;
	struct store *store;
	int r;

	if (config->pod_cidr_v4.length || config->pod_cidr_v6.length ||
	    (!config->resources && !config->kubeconfig && !config->in_cluster))
		return 0;
	config->pod_cidr_of_node = true;
	if (has_pods(agent) && recall(agent)) {
		log_info("node", "the pods' ranges are those of before: there are pods");
		return 0;
	}
	r = wait_for_node(agent, message, size);
	if (r == 0 && agent->stopping)
		r = -ECANCELED;
	/* The real start hears of all objects anew. */
	store = store_new();
	if (!store)
		return -ENOMEM;
	store_free(agent->store);
	agent->store = store;
	if (r == 0)
		remember(agent);
	return r;
}
