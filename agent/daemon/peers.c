/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes: what peers hear of Nodes and of this node's network, and the tunnel's device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/log.h"

/* ---------------------------------------------------------------- the tunnel */

/* The least of the uplinks': any of them may be the underlay's. */
static uint32_t uplink_mtu(const struct node *node)
{
	uint32_t mtu = 0;

	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex && node->uplinks[i].mtu &&
		    (!mtu || node->uplinks[i].mtu < mtu))
			mtu = node->uplinks[i].mtu;
	return mtu;
}

/* Some peer's end of the tunnel is IPv6, or this node has nothing else. */
static bool has_v6_underlay(const struct agent *agent)
{
	return addr_is_zero(&agent->node.ipv4) || peers_have_v6_end(agent->peers);
}

static int attach(int ifindex, char *message, size_t size, void *data)
{
	const struct agent *agent = data;

	return datapath_attach_tunnel(agent->datapath, ifindex, message, size);
}

/* What is wrong is in agent->tunnel, and told. */
static void apply_tunnel(struct agent *agent)
{
	const struct tunnel_env env = {
		.config = &agent->config, .nl = agent->nl, .attach = attach, .data = agent};
	int before = agent->tunnel.ifindex;
	uint32_t mtu = uplink_mtu(&agent->node);
	bool v6 = has_v6_underlay(agent);

	(void)tunnel_apply(&env, &agent->tunnel, mtu, v6);
	pods_limit_mtu(agent->pods, tunnel_mtu(&agent->config, mtu, v6));
	if (before && before != agent->tunnel.ifindex)
		datapath_detach_tunnel(agent->datapath, before);
	peers_set_tunnel(agent->peers, &agent->tunnel.is);
}

/* ---------------------------------------------------------------- the network */

void agent_follow_peers(struct agent *agent)
{
	int r = node_tell_peers(&agent->node, agent->peers);

	agent->peers_owed = r < 0;
	agent->tunnel_owed = false;
	apply_tunnel(agent);
	peers_keep_neighbours(agent->peers, agent->nl);
	agent_announce_changed(agent);
	if (agent->reconciler && peers_dirty(agent->peers))
		reconciler_refresh(agent->reconciler, false);
}

/* ---------------------------------------------------------------- Nodes, and pods behind them */

static void on_object(const struct object *object, bool deleted, void *data)
{
	const struct agent *agent = data;

	/* Without memory they are read again, with the routes. */
	(void)peers_object(agent->peers, object, deleted);
	stray_pods_object(agent->stray_pods, object, deleted);
}

/* The cluster hears of it if it has the object. */
static void on_stray_pod(const struct stray_pod *pod, void *data)
{
	const struct agent *agent = data;
	const char *origin = store_origin(agent->store, OBJECT_POD, pod->namespace, pod->name);
	char text[STRAY_POD_TEXT];
	struct refusal refusal = {.api_version = "v1", .kind = "Pod", .reason = "PodOutsideRange"};

	log_warning("peers", "pod %s/%s: %s", pod->namespace, pod->name,
		    stray_pod_text(agent->stray_pods, pod, text));
	if (!agent->api_source || !origin || strncmp(origin, "api:", 4) != 0)
		return;
	snprintf(refusal.namespace, sizeof(refusal.namespace), "%s", pod->namespace);
	snprintf(refusal.name, sizeof(refusal.name), "%s", pod->name);
	snprintf(refusal.uid, sizeof(refusal.uid), "%s", pod->uid);
	snprintf(refusal.error.text, sizeof(refusal.error.text), "%s", text);
	api_source_tell(agent->api_source, &refusal);
}

void agent_read_peers(struct agent *agent)
{
	(void)peers_read(agent->peers, agent->store);
	agent_follow_peers(agent);
}

int agent_start_peers(struct agent *agent)
{
	int r = peers_new(&agent->config, agent->maps, &agent->peers);

	if (r == 0)
		r = stray_pods_new(&agent->config, on_stray_pod, agent, &agent->stray_pods);
	if (r == 0)
		r = peers_recall(agent->peers);
	if (r < 0)
		return r;
	store_listen(agent->store, on_object, agent);
	agent_follow_peers(agent);
	return 0;
}
