/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/reconciler.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/policy/rule_counts.h"
#include "agent/reconcile/host_ports.h"
#include "agent/reconcile/touched.h"

struct reconciler {
	struct reconciler_env env;
	struct policy_sync *policy_sync;
	struct services *services;
	struct flows *flows;
	struct touched *touched;
	struct slots slots;
	bool synced, reconciled;
	bool policy_dirty;
	uint64_t run_ns;       /* when the next run is due */
	uint64_t change, held; /* the last change; the last one that is in force */
	uint64_t look_ns;      /* not before: when the next look through the flow table is due */
	uint64_t looked_ns;    /* when the last one had ended */
	int64_t look_credit_ns;
	struct reconciler_wait *waits;
	uint64_t runs, failures, switches, last_ns;
	uint64_t audits, differences;
};

static uint64_t now(const struct reconciler *r)
{
	return r->env.now_ns(r->env.data);
}

/* Something is dirty: a run is due at once. */
static void mark(struct reconciler *r)
{
	r->change++;
	r->run_ns = 0;
	if (r->env.wanted)
		r->env.wanted(r->env.data);
}

static void on_object(const struct object *object, bool deleted, void *data)
{
	struct reconciler *r = data;

	r->policy_dirty |= policy_sync_object_changed(r->policy_sync, object, deleted);
	services_object_changed(r->services, object, deleted);
	mark(r);
}

static void on_services_touched(const struct polder_addr *addr, void *data)
{
	const struct reconciler *r = data;

	touched_change(r->touched, addr);
}

static int open_flows(struct reconciler *r)
{
	const struct flows_maps tables = flows_maps_of(r->env.maps);

	r->flows = flows_new(&tables);
	if (!r->flows)
		return -ENOMEM;
	flows_on_over(r->flows, rule_counts_over, policy_sync_rule_counts(r->policy_sync));
	r->touched = touched_new(r->env.maps, r->flows);
	if (!r->touched)
		return -ENOMEM;
	services_on_touched(r->services, on_services_touched, r);
	return 0;
}

static int open_services(struct reconciler *r)
{
	const struct services_env env = {
		.maps = r->env.maps,
		.store = r->env.store,
		.config = r->env.config,
		.node = r->env.node,
		.peers = policy_sync_peers(r->policy_sync),
		.pods = policy_sync_service_pods,
		.pods_data = r->policy_sync,
	};

	return services_open(&env, &r->services);
}

int reconciler_open(const struct reconciler_env *env, struct reconciler **ret)
{
	struct reconciler *r = calloc(1, sizeof(*r));
	int result;

	if (!r)
		return -ENOMEM;
	*r = (struct reconciler){.env = *env, .run_ns = RECONCILER_NEVER};
	result = policy_sync_open(env->maps, env->store, env->config, env->node, env->peers,
				  env->state, &r->policy_sync);
	if (result == 0)
		result = open_services(r);
	if (result == 0)
		result = open_flows(r);
	if (result < 0) {
		reconciler_close(r);
		return result;
	}
	store_listen(env->store, on_object, r);
	*ret = r;
	return 0;
}

void reconciler_close(struct reconciler *r)
{
	if (!r)
		return;
	touched_free(r->touched);
	flows_free(r->flows);
	services_close(r->services);
	policy_sync_close(r->policy_sync);
	free(r);
}

/* ---------------------------------------------------------------- what changes */

void reconciler_synced(struct reconciler *r)
{
	r->synced = true;
	r->policy_dirty = true;
	services_pods_changed(r->services, NULL);
	mark(r);
}

static void pods_changed(struct reconciler *r, const char *namespace)
{
	services_pods_changed(r->services, namespace);
	r->policy_dirty = true;
	mark(r);
}

int reconciler_attach(struct reconciler *r, const struct local_pod *pod)
{
	int result;

	touched_enter(r->touched, pod);
	result = host_ports_put(r->services, pod);
	if (result == 0)
		result = policy_sync_add_pod(r->policy_sync, pod);
	if (result == 0)
		pods_changed(r, pod->namespace);
	return result;
}

void reconciler_detach(struct reconciler *r, const struct local_pod *pod)
{
	host_ports_remove(r->services, pod);
	policy_sync_remove_pod(r->policy_sync, pod);
	touched_leave(r->touched, pod);
	pods_changed(r, pod->namespace);
}

void reconciler_refresh(struct reconciler *r, bool node)
{
	r->policy_dirty = true;
	policy_sync_refresh(r->policy_sync, node);
	if (node)
		services_node_changed(r->services);
	mark(r);
}

void reconciler_services_changed(struct reconciler *r)
{
	mark(r);
}

/* ---------------------------------------------------------------- a run */

static int apply_policy(struct reconciler *r)
{
	const struct polder_addr *addrs;
	const struct prefix *ranges;
	bool switched = false;
	size_t count, i;
	int result;

	r->policy_dirty = false;
	result = policy_sync_run(r->policy_sync, &switched);
	r->policy_dirty = result < 0;
	count = policy_sync_touched(r->policy_sync, &addrs);
	for (i = 0; i < count; i++)
		touched_change(r->touched, &addrs[i]);
	count = policy_sync_touched_ranges(r->policy_sync, &ranges);
	for (i = 0; i < count; i++)
		touched_change_range(r->touched, &ranges[i]);
	/* Nothing says the numbers of peers that went any more. */
	if (result == 0 && r->env.peers)
		peers_written(r->env.peers);
	r->switches += switched;
	slots_ran(&r->slots, switched, now(r));
	return result;
}

/* Policy, once the other slot may be written. */
static int apply_policy_when_writable(struct reconciler *r)
{
	if (slots_writable(&r->slots))
		return apply_policy(r);
	slots_hurry(&r->slots);
	return 0;
}

/* Services first: policy is evaluated on endpoints. Peers before what names them. */
static int apply(struct reconciler *r)
{
	int result = 0, policy = 0;

	if (r->env.peers && peers_dirty(r->env.peers)) {
		r->policy_dirty = true;
		result = peers_write(r->env.peers);
		if (result < 0)
			return result;
	}
	if (services_dirty(r->services))
		result = services_apply(r->services);
	if (r->policy_dirty)
		policy = apply_policy_when_writable(r);
	return policy < 0 ? policy : result;
}

/* What each pod may have of a flow table that is nearly full. */
static void share_flows(struct reconciler *r)
{
	struct control *control = maps_control(r->env.maps);
	size_t pods = policy_sync_pod_count(r->policy_sync);
	struct flows_stats stats = {};

	flows_stats(r->flows, &stats);
	__atomic_store_n(&control->flow_share[0], flows_share(stats.capacity_v4, pods),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&control->flow_share[1], flows_share(stats.capacity_v6, pods),
			 __ATOMIC_RELAXED);
}

/* The first run that succeeded: what the maps hold and nobody asks for goes only now. 0 or -ENOMEM.
 */
static int first_run(struct reconciler *r)
{
	int result = services_prune_unknown(r->services);

	r->reconciled = result == 0;
	return result;
}

/* When the next run is due without a further change. */
static uint64_t next_run(const struct reconciler *r, int result)
{
	return result < 0 ? now(r) + RECONCILER_RETRY_NS : RECONCILER_NEVER;
}

int reconciler_run(struct reconciler *r)
{
	uint64_t change = r->change, begin = now(r);
	int result;

	if (!r->synced)
		return -EAGAIN;
	share_flows(r);
	result = apply(r);
	if (result == 0 && !r->reconciled)
		result = first_run(r);
	slots_ran(&r->slots, false, now(r));
	r->runs++;
	r->failures += result < 0;
	r->last_ns = now(r) - begin;
	if (result == 0 && !r->policy_dirty)
		r->held = change;
	r->run_ns = next_run(r, result);
	return result;
}

/* When the next look may come. */
static void charge_look(struct reconciler *r, uint64_t begin, uint64_t end)
{
	int64_t credit =
		r->look_credit_ns + (int64_t)((begin - r->looked_ns) / RECONCILER_LOOK_PARTS);
	int64_t wait;

	if (credit > RECONCILER_LOOK_CREDIT_NS)
		credit = RECONCILER_LOOK_CREDIT_NS;
	credit -= (int64_t)(end - begin);
	wait = credit < 0 ? -credit * RECONCILER_LOOK_PARTS : 0;
	if (wait > RECONCILER_LOOK_MAX_NS)
		wait = RECONCILER_LOOK_MAX_NS;
	r->look_credit_ns = credit;
	r->looked_ns = end;
	r->look_ns = wait ? end + (uint64_t)wait : 0;
}

static void look(struct reconciler *r)
{
	uint64_t begin = now(r);

	if (!touched_owes_look(r->touched))
		return;
	touched_look(r->touched);
	charge_look(r, begin, now(r));
	slots_ran(&r->slots, false, now(r)); /* the second look comes with a commit */
}

static struct reconciler_wait *take_ready(struct reconciler *r)
{
	struct reconciler_wait **at, *wait;

	for (at = &r->waits; *at; at = &(*at)->next) {
		if ((*at)->change > r->held)
			continue;
		wait = *at;
		*at = wait->next;
		return wait;
	}
	return NULL;
}

void reconciler_end_turn(struct reconciler *r)
{
	struct reconciler_wait *wait;

	look(r);
	while ((wait = take_ready(r)))
		wait->call(wait->data);
}

/* ---------------------------------------------------------------- after the grace period */

bool reconciler_begin(struct reconciler *r)
{
	if (!slots_begin(&r->slots))
		return false;
	services_prune_mark(r->services);
	if (r->env.peers)
		peers_prune_mark(r->env.peers);
	touched_mark(r->touched);
	return true;
}

void reconciler_commit(struct reconciler *r, int waited)
{
	bool dirty = services_dirty(r->services), again = false;

	if (waited < 0) {
		/* Nobody knows who still reads what was there before: it stays. */
		touched_give_up(r->touched);
		slots_end(&r->slots, true, now(r));
		return;
	}
	touched_second_look(r->touched);
	services_prune(r->services);
	if (r->env.peers)
		peers_prune(r->env.peers);
	if (slots_end(&r->slots, false, now(r)))
		again = policy_sync_commit(r->policy_sync);
	if (r->env.keep_labels)
		policy_sync_each_labels(r->policy_sync, r->env.keep_labels, r->env.data);
	if (again || (services_dirty(r->services) && !dirty))
		r->change++; /* there is room for what had none */
	r->policy_dirty |= again;
	if (r->policy_dirty || services_dirty(r->services))
		r->run_ns = 0;
	/* What could not be deleted is looked for when another run has ended. */
	if (reconciler_owes(r) && r->run_ns > now(r) + RECONCILER_RETRY_NS) {
		r->policy_dirty = true;
		r->run_ns = now(r) + RECONCILER_RETRY_NS;
	}
}

bool reconciler_owes(const struct reconciler *r)
{
	return policy_sync_owes(r->policy_sync);
}

int reconciler_finish(struct reconciler *r)
{
	int result;

	policy_sync_save(r->policy_sync);
	look(r);
	slots_ran(&r->slots, false, now(r));
	if (!reconciler_begin(r))
		return -EBUSY;
	result = r->env.wait_for_programs(r->env.data);
	reconciler_commit(r, result);
	return result;
}

int reconciler_save(struct reconciler *r)
{
	return policy_sync_save(r->policy_sync);
}

int reconciler_audit(struct reconciler *r, char **ret_difference)
{
	int result;

	*ret_difference = NULL;
	if (!r->synced || r->policy_dirty)
		return -EAGAIN;
	result = policy_sync_audit(r->policy_sync, ret_difference);
	r->audits += result == 0;
	if (result < 0 || !*ret_difference)
		return result;
	r->differences++;
	policy_sync_resync(r->policy_sync);
	r->policy_dirty = true;
	mark(r);
	return 0;
}

/* ---------------------------------------------------------------- who asks */

static bool is_somebody_ready(const struct reconciler *r)
{
	const struct reconciler_wait *wait;

	for (wait = r->waits; wait && wait->change > r->held; wait = wait->next)
		;
	return wait != NULL;
}

static uint64_t turn_due(const struct reconciler *r)
{
	/* Who waits for a change waits for its look, too. */
	if (touched_owes_look(r->touched))
		return r->look_ns;
	return is_somebody_ready(r) ? 0 : RECONCILER_NEVER;
}

struct reconciler_due reconciler_due(const struct reconciler *r)
{
	return (struct reconciler_due){
		.run_ns = r->synced ? r->run_ns : RECONCILER_NEVER,
		.begin_ns = slots_due(&r->slots),
		.turn_ns = turn_due(r),
	};
}

void reconciler_after(struct reconciler *r, struct reconciler_wait *wait)
{
	if (wait->change <= r->held) {
		wait->call(wait->data);
		return;
	}
	wait->next = r->waits;
	r->waits = wait;
}

void reconciler_cancel(struct reconciler *r, const struct reconciler_wait *wait)
{
	struct reconciler_wait **at;

	for (at = &r->waits; *at; at = &(*at)->next) {
		if (*at == wait) {
			*at = wait->next;
			return;
		}
	}
}

uint64_t reconciler_change(const struct reconciler *r)
{
	return r->change;
}

void reconciler_progress(const struct reconciler *r, struct reconciler_progress *ret)
{
	*ret = (struct reconciler_progress){
		.synced = r->synced,
		.reconciled = r->reconciled,
		.pending = r->held < r->change,
		.runs = r->runs,
		.failures = r->failures,
		.switches = r->switches,
		.last_ns = r->last_ns,
		.audits = r->audits,
		.differences = r->differences,
	};
}

struct policy_sync *reconciler_policy(const struct reconciler *r)
{
	return r->policy_sync;
}

struct services *reconciler_services(const struct reconciler *r)
{
	return r->services;
}

struct flows *reconciler_flows(const struct reconciler *r)
{
	return r->flows;
}
