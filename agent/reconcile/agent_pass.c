/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "agent/observe/map_limits.h"
#include "agent/observe/notify.h"
#include "agent/policy/rule_counts.h"

/* Programs run for microseconds; the delay gathers the remains of changes that come in a burst. */
#define FINISH_DELAY_MS 50
#define REPAIR_INTERVAL_MS 5000
/* Counting large maps takes some ms. */
#define REPAIRS_PER_LIMITS 6

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static int pass(struct agent *agent, bool may_block);

static void on_pass(uv_timer_t *timer)
{
	pass(timer->data, false);
}

/* A pod whose object goes keeps its labels until its container goes, over a restart too (it stays isolated). */
static void keep_labels(struct agent *agent)
{
	size_t i;
	int r;

	for (i = 0; i < pods_count(agent->pods); i++) {
		const struct local_pod *pod = pods_at(agent->pods, i);
		const struct object *object = store_get(agent->store, OBJECT_POD, pod->namespace, pod->name);

		if (!object || object->pod.finished || object->pod.host_network)
			continue;
		r = pods_keep_labels(agent->pods, i, &object->labels);
		if (r < 0)
			log_warning("pods", "pod %s/%s: its labels cannot be recorded: %s; they are forgotten if polderd restarts after the "
				    "object is deleted", pod->namespace, pod->name, strerror(-r));
	}
}

static void wait_begin(struct agent *agent);
static void on_finish(uv_timer_t *timer);

static void wait_in_thread(uv_work_t *work)
{
	struct agent *agent = work->data;

	agent->wait_result = maps_wait_for_programs(agent->maps);
}

/* Nobody knows who still reads what was there before: it stays, and so does the change of slots. */
static void wait_failed(struct agent *agent)
{
	log_error("agent",
		  "it cannot be waited for running programs: %s; what is not used any more stays "
		  "in the maps, and the next change of "
		  "policies waits; the kernel must allow membarrier(2) or maps of maps",
		  strerror(-agent->wait_result));
	touched_give_up(agent->touched);
	uv_timer_start(&agent->finish_timer, on_finish, REPAIR_INTERVAL_MS, 0);
}

/* No program runs any more that may have seen what was there before the wait began. */
static void on_waited(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	bool again = false;

	(void)status;
	agent->waiting = false;
	if (agent->wait_result < 0) {
		wait_failed(agent);
		return;
	}
	touched_settle(agent->touched);
	services_sweep(agent->services);
	if (enforce_switches(agent->enforce) == agent->waiting_since)
		again = enforce_finish(agent->enforce);
	else
		agent->wait_again = true; /* switched meanwhile, for a pod that could not wait */
	if (agent->wait_again) {
		agent->wait_again = false;
		wait_begin(agent);
	}
	agent->policy_dirty |= again;
	keep_labels(agent);
	if (services_dirty(agent->services) || agent->policy_dirty)
		agent_schedule(agent);
}

static void wait_begin(struct agent *agent)
{
	if (agent->waiting) {
		agent->wait_again = true;
		return;
	}
	agent->waiting_since = enforce_switches(agent->enforce);
	services_sweep_mark(agent->services);
	touched_mark(agent->touched);
	agent->wait.data = agent;
	agent->waiting = uv_queue_work(agent->loop, &agent->wait, wait_in_thread, on_waited) == 0;
}

static void finish_soon(struct agent *agent)
{
	/* Not put off by what comes meanwhile: under a stream of changes old rule sets would fill the maps. */
	if (!uv_is_active((uv_handle_t *)&agent->finish_timer))
		uv_timer_start(&agent->finish_timer, on_finish, FINISH_DELAY_MS, 0);
}

static void on_look(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	touched_look(agent->touched);
	finish_soon(agent);
}

void agent_look_soon(struct agent *agent)
{
	if (touched_owes_look(agent->touched) && !uv_is_active((uv_handle_t *)&agent->look_timer))
		uv_timer_start(&agent->look_timer, on_look, 0, 0);
}

static void on_finish(uv_timer_t *timer)
{
	wait_begin(timer->data);
}

static void on_repair(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	rule_counts_flush(enforce_rule_counts(agent->enforce));
	if (agent->repairs++ % REPAIRS_PER_LIMITS == 0)
		limits_log(&agent->show, &agent->limits_told);
	agent_repair(agent);
}

int agent_pass_start(struct agent *agent)
{
	uv_timer_init(agent->loop, &agent->pass_timer);
	uv_timer_init(agent->loop, &agent->look_timer);
	uv_timer_init(agent->loop, &agent->finish_timer);
	uv_timer_init(agent->loop, &agent->repair_timer);
	agent->pass_timer.data = agent->look_timer.data = agent->finish_timer.data = agent->repair_timer.data = agent;
	uv_timer_start(&agent->repair_timer, on_repair, REPAIR_INTERVAL_MS, REPAIR_INTERVAL_MS);
	return 0;
}

void agent_schedule(struct agent *agent)
{
	/* Before the sources are complete, what the pins hold stays in force. */
	if (agent->synced && (!uv_is_active((uv_handle_t *)&agent->pass_timer) || uv_timer_get_due_in(&agent->pass_timer) > 0))
		uv_timer_start(&agent->pass_timer, on_pass, 0, 0);
}

static int apply_policy(struct agent *agent, bool *ret_again)
{
	const struct polder_addr *addrs;
	size_t count, i;
	int r = enforce_apply(agent->enforce, ret_again);

	count = enforce_touched(agent->enforce, &addrs);
	for (i = 0; i < count; i++)
		touched_change(agent->touched, &addrs[i]);
	agent_look_soon(agent);
	return r;
}

/* Services first: policy is judged on endpoints. */
static int apply(struct agent *agent, bool may_block, bool *ret_again)
{
	int r = 0, result;

	if (services_dirty(agent->services))
		r = services_apply(agent->services);
	if (agent->policy_dirty && !may_block && enforce_switched(agent->enforce)) {
		wait_begin(agent); /* and then the pass */
	} else if (agent->policy_dirty) {
		agent->policy_dirty = false;
		result = apply_policy(agent, ret_again);
		if (result < 0) {
			agent->policy_dirty = true;
			r = result;
		}
	}
	return r;
}

/* The first pass that succeeded: what the maps hold and nobody asks for goes only now. 0 or -ENOMEM. */
static int settle(struct agent *agent)
{
	int r = services_forget_unknown(agent->services);

	if (r < 0)
		return r;
	agent->settled = true;
	log_info("agent", "ready: %zu pods connected, %zu policies, %zu Services", pods_count(agent->pods),
		 store_count(agent->store, OBJECT_NETWORK_POLICY), store_count(agent->store, OBJECT_SERVICE));
	notify_ready();
	return 0;
}

/* What each pod may have of a flow table that is nearly full. */
static void share_flows(struct agent *agent)
{
	struct control *control = maps_control(agent->maps);
	struct flows_stats stats = {};

	if (!agent->flows)
		return;
	flows_stats(agent->flows, &stats);
	__atomic_store_n(&control->flow_share[0], flows_share(stats.capacity_v4, pods_count(agent->pods)), __ATOMIC_RELAXED);
	__atomic_store_n(&control->flow_share[1], flows_share(stats.capacity_v6, pods_count(agent->pods)), __ATOMIC_RELAXED);
}

static int pass(struct agent *agent, bool may_block)
{
	uint64_t start = now_ns();
	bool again = false;
	int r;

	if (agent->links_dirty) {
		agent->links_dirty = false;
		if (pods_sweep(agent->pods))
			agent->policy_dirty = true;
	}
	if (agent->nodes_dirty)
		agent->nodes_dirty = node_routes_apply(agent->routes, agent->store, &agent->config, &agent->node, agent->nl) < 0;
	share_flows(agent);
	r = apply(agent, may_block, &again);
	if (r == 0 && !agent->settled)
		r = settle(agent);
	agent->passes++;
	agent->failed_passes += r < 0;
	agent->last_pass_ns = now_ns() - start;
	if (r < 0)
		log_error("agent", "a pass failed: %s; what was in force stays, the next pass comes in %d ms", strerror(-r),
			  REPAIR_INTERVAL_MS);
	agent->policy_dirty |= again;
	finish_soon(agent);
	if (again || r < 0)
		uv_timer_start(&agent->pass_timer, on_pass, r < 0 ? REPAIR_INTERVAL_MS : 2 * FINISH_DELAY_MS, 0);
	return r;
}

int agent_pass(struct agent *agent)
{
	return pass(agent, true);
}

void agent_store_changed(const struct object *object, bool deleted, void *data)
{
	struct agent *agent = data;

	agent->policy_dirty |= enforce_object_changed(agent->enforce, object, deleted);
	services_object_changed(agent->services, object, deleted);
	agent->nodes_dirty |= object->kind == OBJECT_NODE;
	agent_schedule(agent);
}

/* Everything that the sources had is in the store. */
void agent_synced(void *data)
{
	struct agent *agent = data;

	if (agent->synced || !store_synced(agent->store))
		return;
	agent->synced = true;
	agent->policy_dirty = agent->nodes_dirty = agent->links_dirty = true;
	services_pods_changed(agent->services, NULL);
	agent_pass(agent);
}

bool agent_ready(const struct agent *agent)
{
	return agent->settled;
}

bool agent_well(const struct agent *agent)
{
	return agent->settled && !pods_held_down(agent->pods);
}
