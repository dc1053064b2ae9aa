/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/show/map_limits.h"
#include "agent/observe/notify.h"
#include "agent/policy/rule_counts.h"

#define REPAIR_INTERVAL_MS 5000
/* Nothing has changed for so long: time for what costs what the whole world costs. */
#define QUIET_NS	  30000000000ull
#define AUDIT_INTERVAL_NS 3600000000000ull
/* So long reconciles may fail before the node is not ready. */
#define FAILING_NS 15000000000ull
/* So often it is tried to prove a way of waiting: a machine may be too busy to see it. */
#define PROOFS 20
/* Counting large maps takes some ms. */
#define REPAIRS_PER_LIMITS 6

static struct reconciler_progress progress_of(const struct agent *agent)
{
	struct reconciler_progress progress = {};

	if (agent->reconciler)
		reconciler_progress(agent->reconciler, &progress);
	return progress;
}

bool agent_is_synced(const struct agent *agent)
{
	return progress_of(agent).synced;
}

bool agent_ready(const struct agent *agent)
{
	return agent->ready;
}

bool agent_well(const struct agent *agent)
{
	bool failing =
		agent->failing_since_ns && uv_hrtime() - agent->failing_since_ns >= FAILING_NS;

	return agent->ready && !pods_held_down(agent->pods) && !failing &&
	       !node_misses(&agent->node);
}

/* ---------------------------------------------------------------- time */

static void start_timer(uv_timer_t *timer, uv_timer_cb call, uint64_t due_ns)
{
	uint64_t now = uv_hrtime(), ms = due_ns > now ? (due_ns - now + 999999) / 1000000 : 0;

	if (due_ns == RECONCILER_NEVER)
		uv_timer_stop(timer);
	else if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) != ms)
		uv_timer_start(timer, call, ms, 0);
}

static void on_run(uv_timer_t *timer);
static void on_end_turn(uv_timer_t *timer);
static void on_begin(uv_timer_t *timer);

/* The timers as the reconciler wants them now. */
static void set_timers(struct agent *agent)
{
	struct reconciler_due due = reconciler_due(agent->reconciler);

	if (agent->links_dirty && agent_is_synced(agent))
		due.run_ns = 0;
	start_timer(&agent->run_timer, on_run, due.run_ns);
	start_timer(&agent->turn_timer, on_end_turn, due.turn_ns);
	start_timer(&agent->begin_timer, on_begin, due.begin_ns);
}

static void prove_in_thread(uv_work_t *work)
{
	struct agent *agent = work->data;

	agent->prove_result = maps_prove_wait(agent->maps);
}

static void on_proven(uv_work_t *work, int status)
{
	struct agent *agent = work->data;

	if (status == 0 && agent->prove_result == 0)
		agent->show.wait_method = PROGRAM_WAIT_UNMOUNT;
	agent->prove_owed = status == 0 && agent->prove_result < 0 &&
			    agent->prove_result != -EOPNOTSUPP && ++agent->proofs < PROOFS;
}

/* When nobody waits for the start any more. Without it waiting takes longer. */
static void prove_wait(struct agent *agent)
{
	agent->prove_owed = false;
	agent->prove.data = agent;
	if (uv_queue_work(agent->loop, &agent->prove, prove_in_thread, on_proven) < 0)
		log_warning("agent", "no thread for trying how to wait for programs: a change of "
				     "policy takes some milliseconds longer");
}

/* The first run that succeeded. */
static void report_ready(struct agent *agent)
{
	agent->ready = true;
	agent_note_processes(agent);
	agent_doubt_sockets(agent);
	malloc_trim(0); /* of what reading everything took */
	log_info("agent", "ready: %zu pods connected, %zu policies, %zu Services",
		 pods_count(agent->pods), store_count(agent->store, OBJECT_NETWORK_POLICY),
		 store_count(agent->store, OBJECT_SERVICE));
	agent_tell_ready(agent);
	agent_install_cni_config(agent);
	prove_wait(agent);
}

static int ran(struct agent *agent, uint64_t began_ns, int r)
{
	histogram_add(&agent->reconcile_durations, uv_hrtime() - began_ns);
	if (r == 0)
		agent->failing_since_ns = 0;
	else if (!agent->failing_since_ns)
		agent->failing_since_ns = began_ns;
	if (r < 0)
		log_error("agent",
			  "reconcile failed: %s; the previous state stays in force, next attempt "
			  "in %d s",
			  strerror(-r), (int)(RECONCILER_RETRY_NS / 1000000000));
	if (!agent->ready && progress_of(agent).reconciled)
		report_ready(agent);
	if (agent->ready)
		agent_follow_health_ports(agent);
	agent_tell_service_problems(agent);
	agent_announce_changed(agent);
	set_timers(agent);
	return r;
}

static void on_run(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	uint64_t began_ns = uv_hrtime();

	peers_keep_neighbours(agent->peers, agent->nl);
	if (agent->links_dirty) {
		agent->links_dirty = false;
		pods_prune(agent->pods);
	}
	ran(agent, began_ns, reconciler_run(agent->reconciler));
}

int agent_reconcile(struct agent *agent)
{
	uint64_t began_ns = uv_hrtime();

	return ran(agent, began_ns, reconciler_run(agent->reconciler));
}

static void on_end_turn(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	reconciler_end_turn(agent->reconciler);
	set_timers(agent);
}

static void wait_in_thread(uv_work_t *work)
{
	struct agent *agent = work->data;

	agent->wait_result = maps_wait_for_programs(agent->maps);
}

static void on_waited(uv_work_t *work, int status)
{
	struct agent *agent = work->data;
	int r = status < 0 ? status : agent->wait_result;

	if (r < 0)
		log_error("agent",
			  "waiting for running programs failed: %s; map entries that are no longer "
			  "used "
			  "stay, and the next change of policies has to wait; the kernel "
			  "must allow membarrier(2) or maps of maps",
			  strerror(-r));
	reconciler_commit(agent->reconciler, r);
	if (r == 0 && reconciler_owes(agent->reconciler))
		log_warning(
			"agent",
			"rules that no pod has any more cannot be deleted from the maps; they are "
			"not in force; retried in %d s",
			(int)(RECONCILER_RETRY_NS / 1000000000));
	set_timers(agent);
}

static void on_begin(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	int r;

	if (reconciler_begin(agent->reconciler)) {
		agent->wait.data = agent;
		r = uv_queue_work(agent->loop, &agent->wait, wait_in_thread, on_waited);
		if (r < 0)
			on_waited(&agent->wait, r);
	}
	set_timers(agent);
}

/* Once in a while, and only if something has changed since the last time. */
static void audit(struct agent *agent)
{
	uint64_t change = reconciler_change(agent->reconciler);
	char *difference = NULL;
	int r;

	if (change == agent->audited_change || uv_hrtime() - agent->audited_ns < AUDIT_INTERVAL_NS)
		return;
	r = reconciler_audit(agent->reconciler, &difference);
	if (r == -EAGAIN)
		return;
	agent->audited_change = change;
	agent->audited_ns = uv_hrtime();
	malloc_trim(0); /* it takes as much memory again */
	if (r < 0)
		log_warning("policy", "audit: %s", strerror(-r));
	if (difference)
		log_error("policy",
			  "audit: %s; the incremental state differs from what the objects ask for; "
			  "everything is compiled again now; please report this",
			  difference);
	free(difference);
	set_timers(agent);
}

static void when_quiet(struct agent *agent)
{
	uint64_t change = reconciler_change(agent->reconciler), now = uv_hrtime();

	if (change != agent->quiet_change || !agent->ready) {
		agent->quiet_change = change;
		agent->quiet_since_ns = now;
	} else if (now - agent->quiet_since_ns >= QUIET_NS) {
		reconciler_save(agent->reconciler);
		audit(agent);
	}
}

static void keep_owed_labels(struct agent *agent);

static void on_repair(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	rule_counts_flush(policy_sync_rule_counts(reconciler_policy(agent->reconciler)));
	if (agent->repairs++ % REPAIRS_PER_LIMITS == 0)
		limits_log(&agent->show, &agent->limits_told);
	agent_repair(agent);
	if (agent->health_ports)
		health_ports_retry(agent->health_ports);
	agent_tell_service_problems(agent);
	keep_owed_labels(agent);
	agent_check_sockets(agent);
	if (agent->prove_owed)
		prove_wait(agent);
	when_quiet(agent);
}

void agent_reconcile_start(struct agent *agent)
{
	uv_timer_init(agent->loop, &agent->run_timer);
	uv_timer_init(agent->loop, &agent->turn_timer);
	uv_timer_init(agent->loop, &agent->begin_timer);
	uv_timer_init(agent->loop, &agent->repair_timer);
	agent->run_timer.data = agent->turn_timer.data = agent;
	agent->begin_timer.data = agent->repair_timer.data = agent;
	agent->audited_ns = uv_hrtime();
	uv_timer_start(&agent->repair_timer, on_repair, REPAIR_INTERVAL_MS, REPAIR_INTERVAL_MS);
}

void agent_links_changed(struct agent *agent)
{
	agent->links_dirty = true;
	set_timers(agent);
}

/* ---------------------------------------------------------------- what the reconciler needs */

static uint64_t now_ns(void *data)
{
	(void)data;
	return uv_hrtime();
}

static int wait_for_programs(void *data)
{
	const struct agent *agent = data;

	return maps_wait_for_programs(agent->maps);
}

static void on_wanted(void *data)
{
	set_timers(data);
}

/* A pod whose object goes keeps its labels until its container goes, over a restart too. */
static int keep_labels(const char *container_id, const char *ifname, const struct labels *labels,
		       void *data)
{
	struct agent *agent = data;
	int r = pods_keep_labels(agent->pods, container_id, ifname, labels);

	if (r < 0 && !agent->labels_failed)
		log_warning(
			"pods",
			"container %s, interface %s: the labels of its pod cannot be saved: %s; "
			"they are lost if polderd restarts after the object is deleted; retried "
			"every 5 s",
			container_id, ifname, strerror(-r));
	agent->labels_owed |= r < 0;
	return r;
}

/* What could not be saved with the change that it came by. */
static void keep_owed_labels(struct agent *agent)
{
	if (!agent->labels_owed)
		return;
	agent->labels_failed = true;
	agent->labels_owed = false;
	policy_sync_each_labels(reconciler_policy(agent->reconciler), keep_labels, agent);
	agent->labels_failed = agent->labels_owed;
}

struct reconciler_env agent_reconciler_env(struct agent *agent)
{
	return (struct reconciler_env){
		.maps = agent->maps,
		.store = agent->store,
		.config = &agent->config,
		.node = &agent->node,
		.state = agent->state,
		.now_ns = now_ns,
		.wait_for_programs = wait_for_programs,
		.wanted = on_wanted,
		.keep_labels = keep_labels,
		.data = agent,
	};
}

/* Everything that the sources had is in the store. */
void agent_synced(void *data)
{
	struct agent *agent = data;

	if (agent_is_synced(agent) || !store_synced(agent->store))
		return;
	pods_prune(agent->pods);
	agent_read_peers(agent);
	reconciler_synced(agent->reconciler);
	node_routes_synced(agent->routes);
	agent_reconcile(agent);
}
