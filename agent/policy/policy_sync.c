/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/policy_sync.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/policy_sync_internal.h"

unsigned int policy_sync_slot(const struct policy_sync *sync)
{
	return maps_slot(sync->maps);
}

struct policy_sync_problem *policy_sync_problem_add(struct policy_sync_problem **list,
						    size_t *count, const char *subject,
						    const char *format, ...)
{
	struct policy_sync_problem *grown = reallocarray(*list, *count + 1, sizeof(*grown));
	va_list args;

	if (!grown)
		return NULL;
	*list = grown;
	grown = &grown[(*count)++];
	*grown = (struct policy_sync_problem){};
	snprintf(grown->subject, sizeof(grown->subject), "%s", subject);
	va_start(args, format);
	vsnprintf(grown->reason, sizeof(grown->reason), format, args);
	va_end(args);
	return grown;
}

void policy_sync_problem_copy(struct policy_sync_problem **list, size_t *count,
			      const struct policy_sync_problem *problem)
{
	struct policy_sync_problem *copy =
		policy_sync_problem_add(list, count, problem->subject, "%s", problem->reason);

	if (copy)
		*copy = *problem;
}

static int open_addresses(struct policy_sync *sync)
{
	int r = local_pods_open(sync->maps, &sync->local_pods);
	const struct addresses_env env = {.maps = sync->maps,
					  .local_pods = sync->local_pods,
					  .is_own = address_is_own,
					  .touched = address_touched,
					  .peer_of = peer_of_address,
					  .data = sync};

	return r < 0 ? r : addresses_open(&env, &sync->addresses);
}

/* Those that others follow, or of its own, without numbers. */
static int open_peers(struct policy_sync *sync, struct peers *peers)
{
	int r = peers ? 0 : peers_new(sync->config, NULL, &sync->peers);

	if (r < 0)
		return r;
	sync->owns_peers = !peers;
	if (peers)
		sync->peers = peers;
	peers_listen(sync->peers, nodes_changed, sync);
	return 0;
}

int policy_sync_open(struct maps *maps, const struct store *store, const struct config *config,
		     const struct node *node, struct peers *peers, const char *state,
		     struct policy_sync **ret)
{
	struct policy_sync *sync = calloc(1, sizeof(*sync));
	int r;

	if (!sync)
		return -ENOMEM;
	*sync = (struct policy_sync){
		.maps = maps, .store = store, .config = config, .node = node, .resync = true};
	sync->state = state ? strdup(state) : NULL;
	sync->registry = policy_registry_new();
	r = (sync->state || !state) && sync->registry ? open_peers(sync, peers) : -ENOMEM;
	if (r == 0)
		r = open_addresses(sync);
	if (r == 0)
		r = rulesets_open(sync);
	if (r == 0)
		r = rule_counts_open(maps, &sync->counts);
	if (r == 0)
		r = state_load(sync);
	if (r < 0) {
		policy_sync_close(sync);
		return r;
	}
	/* A crash may have come between a switch and its syncing the slots: nothing is in force but
	 * the present slot. */
	sync->unfinished = sync->sync_all_slots = sync->prune_all = true;
	*ret = sync;
	return 0;
}

static void pod_free(struct synced_pod *pod)
{
	labels_clear(&pod->attached);
	object_free(pod->gone);
	free(pod->object.namespace);
	free(pod->object.name);
	free(pod->object.uid);
	free(pod->container_id);
	free(pod->ifname);
	free(pod->key);
	free(pod);
}

void policy_sync_close(struct policy_sync *sync)
{
	struct synced_pod *pod, *next;

	if (!sync)
		return;
	policy_sync_clear_known(sync);
	for (pod = sync->pods; pod; pod = next) {
		next = pod->next;
		HASH_DEL(sync->pods_by_name, pod);
		pod_free(pod);
	}
	policy_compiler_free(sync->successor);
	policy_registry_free(sync->registry);
	rule_counts_close(sync->counts);
	addresses_close(sync->addresses);
	local_pods_close(sync->local_pods);
	rulesets_close(sync);
	deleted_policies_clear(sync);
	json_decref(sync->held_before);
	free(sync->dirty);
	free(sync->touched);
	free(sync->touched_ranges);
	free(sync->changed);
	free(sync->own);
	if (sync->owns_peers)
		peers_free(sync->peers);
	free(sync->problems);
	free(sync->rule_problems);
	free(sync->service_pods);
	free(sync->state_text);
	free(sync->held_text);
	free(sync->held_copied);
	free(sync->state);
	free(sync);
}

static int copy_labels(struct labels *to, const struct labels *from)
{
	size_t i;
	int r = 0;

	labels_clear(to);
	for (i = 0; i < from->count && r == 0; i++)
		r = labels_set(to, from->items[i].key, from->items[i].value);
	return r;
}

static struct synced_pod **pod_find(struct policy_sync *sync, const struct local_pod *local)
{
	struct synced_pod **at;

	for (at = &sync->pods; *at; at = &(*at)->next)
		if (strcmp((*at)->container_id, local->container_id) == 0 &&
		    strcmp((*at)->ifname, local->ifname) == 0)
			return at;
	return NULL;
}

static uint32_t pod_index(const struct policy_sync *sync, const struct synced_pod *pod)
{
	return maps_pod_index(sync->maps, pod->entry.ifindex);
}

static void pod_fill(struct synced_pod *pod, const struct local_pod *local)
{
	pod->entry = (struct pod_entry){.ifindex = local->ifindex, .mtu = local->mtu};
	memcpy(pod->entry.mac, local->mac, 6);
	pod->limited = local->bandwidth.ingress.rate != 0;
	if (!addr_is_zero(&local->ipv4)) {
		pod->entry.ipv4_be = local->ipv4.words_be[3];
		pod->addresses[pod->address_count++] = local->ipv4;
	}
	if (!addr_is_zero(&local->ipv6)) {
		memcpy(pod->entry.ipv6_be, &local->ipv6, 16);
		pod->addresses[pod->address_count++] = local->ipv6;
	}
	pod->object.kind = OBJECT_POD;
	pod->object.pod.ready = true;
}

/* The runtime has named a pod, nobody has said whose labels it has, and a server knows that. */
static bool is_kubernetes(const struct policy_sync *sync, const struct local_pod *local)
{
	return (sync->config->kubeconfig || sync->config->in_cluster) && local->labels.count == 0 &&
	       strcmp(local->name, local->container_id) != 0;
}

int policy_sync_add_pod(struct policy_sync *sync, const struct local_pod *local)
{
	struct synced_pod *pod;
	struct pod_entry pinned;
	uint32_t index;

	if (pod_find(sync, local))
		return 0;
	pod = calloc(1, sizeof(*pod));
	if (!pod)
		return -ENOMEM;
	pod_fill(pod, local);
	pod->container_id = strdup(local->container_id);
	pod->ifname = strdup(local->ifname);
	pod->object.namespace = strdup(local->namespace);
	pod->object.name = strdup(local->name);
	pod->object.uid = strdup(local->uid ? local->uid : "");
	if (asprintf(&pod->key, "%s/%s", local->namespace, local->name) < 0)
		pod->key = NULL;
	if (!pod->key || !pod->container_id || !pod->ifname || !pod->object.namespace ||
	    !pod->object.name || !pod->object.uid ||
	    copy_labels(&pod->attached, &local->labels) < 0) {
		pod_free(pod);
		return -ENOMEM;
	}
	pod->object.labels = pod->attached;
	index = pod_index(sync, pod);
	/* After a restart the entry is in force already. */
	if (maps_find(sync->maps, MAP_PODS, &index, &pinned) == 0 &&
	    pinned.ifindex == pod->entry.ifindex) {
		memcpy(pod->entry.identity, pinned.identity, sizeof(pinned.identity));
		memcpy(pod->entry.egress_rules, pinned.egress_rules, sizeof(pinned.egress_rules));
		memcpy(pod->entry.ingress_rules, pinned.ingress_rules,
		       sizeof(pinned.ingress_rules));
		pod->entry.flags = pinned.flags;
		/* Unless it was another pod's by that number. */
		pod->written = memcmp(&pod->entry, &pinned, sizeof(pinned)) == 0;
	}
	HASH_ADD_KEYPTR(hh, sync->pods_by_name, pod->key, strlen(pod->key), pod);
	if (!HASH_ADDED(hh, pod)) {
		pod_free(pod);
		return -ENOMEM;
	}
	/* Until its object is found: it may have gone while the agent was away. */
	pod->object_gone = local->object_seen;
	pod->labels_lost = local->labels_lost;
	pod->is_late = is_kubernetes(sync, local);
	held_restore(sync, pod);
	pod->dirty = pod->labels_due = sync->labels_due = true;
	pod->next = sync->pods;
	sync->pods = pod;
	policy_sync_mark_pod(sync, local->namespace, local->name);
	return 0;
}

int policy_sync_pod_mac(struct policy_sync *sync, const struct local_pod *local)
{
	struct synced_pod **at = pod_find(sync, local);
	struct pod_entry entry;
	uint32_t index;
	int r;

	if (!at)
		return -ENOENT;
	memcpy((*at)->entry.mac, local->mac, sizeof(local->mac));
	index = pod_index(sync, *at);
	/* What is not written yet will be. */
	if (maps_find(sync->maps, MAP_PODS, &index, &entry) < 0 ||
	    entry.ifindex != (*at)->entry.ifindex)
		return 0;
	memcpy(entry.mac, local->mac, sizeof(local->mac));
	r = maps_put(sync->maps, MAP_PODS, &index, &entry);
	return r < 0 ? r : 0;
}

void policy_sync_remove_pod(struct policy_sync *sync, const struct local_pod *local)
{
	struct synced_pod **at = pod_find(sync, local), *pod;
	static const struct pod_entry none;
	uint32_t index;
	size_t i;

	if (!at)
		return;
	pod = *at;
	*at = pod->next;
	HASH_DEL(sync->pods_by_name, pod);
	index = pod_index(sync, pod);
	maps_put(sync->maps, MAP_PODS, &index, &none);
	for (i = 0; i < pod->address_count; i++) {
		addresses_unclaim(sync->addresses, &pod->claims[i]);
		addresses_remove(sync->addresses, &pod->addresses[i]);
	}
	/* If there is no memory the compiler is broken, and the next pass makes a new one. */
	if (pod->compiled)
		policy_compiler_remove_pod(sync->compiler, pod->compiled);
	pod_free(pod);
	policy_sync_mark_pod(sync, local->namespace, local->name);
	sync->problems_known = false;
}

/* Whose container it is, whatever becomes of the object. */
static void take_labels(struct policy_sync *sync, struct synced_pod *pod,
			const struct object *object)
{
	pod->labels_due = sync->labels_due = true;
	object_free(pod->gone);
	pod->gone = object_share(object);
	pod->object.labels = object->labels;
	pod->object.pod.ports = object->pod.ports;
	pod->object.pod.port_count = object->pod.port_count;
	pod->object.pod.ready = object->pod.ready;
}

/* From now on the object that went speaks for the pod. */
static void take_gone(struct policy_sync *sync, struct synced_pod *pod, const struct object *object)
{
	take_labels(sync, pod, object);
	pod->object.pod.terminating = true; /* Services send it nothing new */
	pod->object_gone = true;
}

bool policy_sync_object_changed(struct policy_sync *sync, const struct object *object, bool deleted)
{
	struct synced_pod *pod;

	if (object->kind == OBJECT_SERVICE || object->kind == OBJECT_ENDPOINT_SLICE ||
	    object->kind == OBJECT_TRAFFIC_ALERT)
		return false;
	if (object->kind == OBJECT_NODE)
		sync->node_objects_changed = true;
	else
		policy_sync_mark(sync, object);
	if (sync->owns_peers && peers_object(sync->peers, object, deleted) < 0)
		sync->nodes_dirty = true;
	if (deleted && (object->kind == OBJECT_NETWORK_POLICY ||
			object->kind == OBJECT_CLUSTER_NETWORK_POLICY))
		deleted_policy_keep(sync, object);
	if (object->kind != OBJECT_POD || !(deleted || object->pod.finished) ||
	    !pod_is_local(sync, object))
		return true;
	for (pod = sync->pods; pod; pod = pod->next) {
		if (strcmp(pod->object.namespace, object->namespace) != 0 ||
		    strcmp(pod->object.name, object->name) != 0 || !pod_is_of(pod, object))
			continue;
		if (deleted)
			take_gone(sync, pod, object);
		else if (pod_is_surely_of(pod, object))
			take_labels(sync, pod, object);
	}
	return true;
}

static const struct synced_pod *pod_by_link(const struct policy_sync *sync, int ifindex)
{
	const struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		if (pod->entry.ifindex == (uint32_t)ifindex)
			return pod;
	return NULL;
}

/* Both slots alike again. */
static void sync_slots(struct policy_sync *sync)
{
	addresses_sync_slots(sync->addresses, policy_sync_slot(sync));
	pods_sync_slots(sync);
	rulesets_sync_slots(sync);
}

/*
 * What a run that failed has put in both slots at once: pods that are new, and pods' addresses.
 * What stays in force does not know their rule sets and identities, so they pass nothing until a
 * pass succeeds.
 */
static void undo(struct policy_sync *sync)
{
	pods_undo(sync);
	addresses_undo(sync->addresses);
}

/* Who isolates the local pods, and which of them are on their way out and isolated by policies that
 * went. */
static void mark_policies(struct policy_sync *sync)
{
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		const struct compiled_pod compiled =
			policy_compiler_pod(sync->compiler, pod->compiled);

		pod->isolation[0] = compiled.ingress_isolation;
		pod->isolation[1] = compiled.egress_isolation;
		pod->held[INGRESS] = compiled.ingress_held || pod->held_before[INGRESS];
		pod->held[EGRESS] = compiled.egress_held || pod->held_before[EGRESS];
	}
}

/*
 * The generation moves only if something changed that any flow may depend on: what a switch of
 * slots changes for some, sync->touched names. What a failed run has written counts too.
 */
static void move(struct policy_sync *sync, bool switch_slots)
{
	if (!sync->move_owed && sync->in_force) {
		if (switch_slots)
			maps_switch_slots(sync->maps);
		return;
	}
	if (switch_slots)
		maps_switch_all(sync->maps);
	else
		maps_move_generation(sync->maps);
	sync->move_owed = false;
	sync->touched_count = sync->touched_range_count = 0; /* re-evaluated with all others */
}

size_t policy_sync_touched(struct policy_sync *sync, const struct polder_addr **ret)
{
	size_t count = sync->touched_count;

	*ret = sync->touched;
	sync->touched_count = 0;
	return count;
}

size_t policy_sync_touched_ranges(struct policy_sync *sync, const struct prefix **ret)
{
	size_t count = sync->touched_range_count;

	*ret = sync->touched_ranges;
	sync->touched_range_count = 0;
	return count;
}

static int put_in_force(struct policy_sync *sync, bool *ret_switched)
{
	bool switch_slots = false;
	int r = sync->in_force ? 0 : pods_prune_unknown(sync);

	if (r == 0)
		r = rulesets_write(sync, &switch_slots);
	if (r == 0) {
		pods_resolve(sync);
		r = pods_write(sync, &switch_slots);
	}
	if (r == 0)
		r = addresses_write(sync->addresses, policy_sync_slot(sync), &switch_slots);
	if (r < 0)
		return r;
	move(sync, switch_slots);
	*ret_switched = switch_slots;
	return 0;
}

/* What the store says, compiled. 0 or -errno: then a compiler that is given everything has to begin
 * anew. */
static int compile(struct policy_sync *sync)
{
	int r = policy_sync_follow(sync);

	if (r == 0)
		r = policy_compiler_run(sync->compiler);
	if (r < 0)
		policy_sync_clear_known(sync);
	return r;
}

int policy_sync_run(struct policy_sync *sync, bool *ret_switched)
{
	struct synced_pod *pod;
	int r;

	sync_slots(sync);
	touched_settle(sync);
	*ret_switched = false;
	sync->problems_known = false;
	sync->run++;
	for (pod = sync->pods; pod; pod = pod->next)
		pod->fresh = false;
	r = compile(sync);
	if (r == 0) {
		mark_policies(sync);
		r = state_save(sync);
	}
	if (r == 0) {
		sync->unfinished = true;
		r = put_in_force(sync, ret_switched);
		if (r < 0)
			undo(sync);
	}
	sync->half_written = r < 0;
	if (r < 0) {
		sync->write_all = sync->sync_all_slots = true;
		return r;
	}
	sync->prune_all |= sync->write_all;
	sync->write_all = false;
	sync->in_force = true;
	policy_compiler_confirm(sync->compiler);
	return 0;
}

bool policy_sync_commit(struct policy_sync *sync)
{
	bool deleted = false;

	if (!sync->unfinished)
		return false;
	sync_slots(sync);
	rule_counts_flush(sync->counts);
	/* After a run that failed nobody knows what is in use. */
	if (sync->in_force && !sync->half_written) {
		deleted = rulesets_prune(sync);
		rule_counts_prune(sync->counts);
		policy_registry_collect(sync->registry);
	}
	local_pods_commit(sync->local_pods);
	sync->unfinished = false;
	return sync->misfits && deleted;
}

bool policy_sync_owes(const struct policy_sync *sync)
{
	return sync->in_force && !sync->half_written && !sync->unfinished && sync->prune_all;
}

void policy_sync_resync(struct policy_sync *sync)
{
	sync->resync = sync->sync_all_slots = true;
	addresses_mark_all(sync->addresses);
}

void policy_sync_refresh(struct policy_sync *sync, bool node)
{
	sync->own_dirty |= node;
}

const char *policy_sync_pod_refused(struct policy_sync *sync, const struct local_pod *local)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);
	char subject[sizeof(sync->problems->subject)];
	size_t i;

	for (i = 0; pod && i < pod->address_count; i++)
		if (!addresses_find(sync->addresses, &pod->addresses[i]))
			break;
	if (!pod || i == pod->address_count)
		return NULL;
	snprintf(subject, sizeof(subject), "pod %s", pod->key);
	policy_sync_list_problems(sync);
	for (i = 0; i < sync->problem_count; i++)
		if (strcmp(sync->problems[i].subject, subject) == 0)
			return sync->problems[i].reason;
	return "its addresses are not in map addresses";
}

bool policy_sync_pod_written(const struct policy_sync *sync, const struct local_pod *local)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);

	return pod && pod->written;
}

bool policy_sync_pod_waits(const struct policy_sync *sync, const struct local_pod *local)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);

	return pod && pod->waits;
}

/* 0, -ENOENT, -errno. */
static int address_in_force(const struct policy_sync *sync, const struct synced_pod *pod,
			    const struct polder_addr *addr)
{
	const struct address_entry *local = local_pods_find(sync->maps, addr);
	struct address_key key = {.prefixlen = 128, .addr = *addr};
	struct address_entry address;
	int r = maps_find(sync->maps, MAP_ADDRESSES, &key, &address);

	if (r < 0)
		return r;
	return address.ifindex == pod->entry.ifindex &&
			       (!local || local->ifindex == pod->entry.ifindex)
		       ? 0
		       : -ENOENT;
}

int policy_sync_pod_in_force(const struct policy_sync *sync, const struct local_pod *local)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);
	struct pod_entry entry;
	uint32_t index;
	int r;

	if (!pod || !pod->written)
		return -ENOENT;
	index = pod_index(sync, pod);
	r = maps_find(sync->maps, MAP_PODS, &index, &entry);
	if (r == 0 && memcmp(&entry, &pod->entry, sizeof(entry)) != 0)
		r = -ENOENT;
	for (size_t i = 0; i < pod->address_count && r == 0; i++)
		r = address_in_force(sync, pod, &pod->addresses[i]);
	return r;
}

size_t policy_sync_pod_count(const struct policy_sync *sync)
{
	return HASH_COUNT(sync->pods_by_name);
}

/* True: they have been told, or there is nothing to tell. */
static bool tell_labels(const struct policy_sync *sync, const struct synced_pod *pod,
			policy_sync_labels_visitor visit, void *data)
{
	const struct object *object = pod_object_of(sync, pod);

	return (object == &pod->object && !pod->object_gone) ||
	       visit(pod->container_id, pod->ifname, &object->labels, data) == 0;
}

void policy_sync_each_labels(struct policy_sync *sync, policy_sync_labels_visitor visit, void *data)
{
	struct synced_pod *pod;
	bool due = false;

	for (pod = sync->pods; pod && sync->labels_due; pod = pod->next) {
		if (pod->labels_due)
			pod->labels_due = !tell_labels(sync, pod, visit, data);
		due |= pod->labels_due;
	}
	sync->labels_due = due;
}

static struct service_pod service_pod_of(const struct object *object,
					 const struct polder_addr *addresses, size_t count,
					 bool here)
{
	return (struct service_pod){
		.namespace = object->namespace,
		.labels = &object->labels,
		.object = object,
		.addresses = addresses,
		.address_count = count,
		.here = here,
	};
}

const struct peers *policy_sync_peers(const struct policy_sync *sync)
{
	return sync->peers;
}

int policy_sync_service_pods(const char *namespace, const struct service_pod **ret,
			     size_t *ret_count, void *data)
{
	struct policy_sync *sync = data;
	size_t known, locals = 0, count = 0, i;
	const struct object *const *objects =
		store_objects_in(sync->store, OBJECT_POD, namespace, &known);
	struct service_pod *pods;
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		locals += strcmp(pod->object.namespace, namespace) == 0;
	pods = calloc(locals + known + 1, sizeof(*pods));
	if (!pods)
		return -ENOMEM;
	for (pod = sync->pods; pod; pod = pod->next)
		if (strcmp(pod->object.namespace, namespace) == 0)
			pods[count++] = service_pod_of(pod_object_of(sync, pod), pod->addresses,
						       pod->address_count, true);
	for (i = 0; i < known; i++)
		if (!pod_is_local(sync, objects[i]))
			pods[count++] = service_pod_of(objects[i], objects[i]->pod.addresses,
						       objects[i]->pod.address_count, false);
	free(sync->service_pods);
	sync->service_pods = pods;
	*ret = pods;
	*ret_count = count;
	return 0;
}

const struct object *policy_sync_pod_object(const struct policy_sync *sync,
					    const struct local_pod *local)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);

	return pod ? pod_object_of(sync, pod) : NULL;
}

const struct compiled_selection *policy_sync_isolation(const struct policy_sync *sync,
						       const struct polder_addr *addr, bool egress)
{
	const struct synced_pod *pod;
	size_t i;

	for (pod = sync->pods; pod; pod = pod->next)
		for (i = 0; i < pod->address_count; i++)
			if (memcmp(&pod->addresses[i], addr, sizeof(*addr)) == 0)
				return pod->isolation[egress];
	return NULL;
}

size_t policy_sync_held_policies(const struct policy_sync *sync, const struct local_pod *local,
				 const struct object ***ret)
{
	const struct synced_pod *pod = pod_by_link(sync, local->ifindex);
	const struct object **held = calloc(sync->deleted_count + 1, sizeof(*held));
	size_t count = 0, i;

	for (i = 0; held && pod && pod->terminating && i < sync->deleted_count; i++)
		if (pod->terminating <= sync->deleted[i].run)
			held[count++] = sync->deleted[i].policy;
	*ret = held;
	return count;
}

size_t policy_sync_identity_count(const struct policy_sync *sync)
{
	return sync->compiler ? policy_compiler_identity_count(sync->compiler) : 0;
}

size_t policy_sync_ruleset_count(const struct policy_sync *sync)
{
	return sync->compiler ? policy_compiler_ruleset_count(sync->compiler) : 0;
}

size_t policy_sync_rulesets_used(const struct policy_sync *sync)
{
	return ruleset_slots_used(sync->slots);
}

size_t policy_sync_cells_used(const struct policy_sync *sync)
{
	return ruleset_slots_cells_used(sync->slots);
}

struct rule_counts *policy_sync_rule_counts(struct policy_sync *sync)
{
	return sync->counts;
}

struct policy_registry *policy_sync_registry(struct policy_sync *sync)
{
	return sync->registry;
}

const struct object *policy_sync_pod_at(const struct policy_sync *sync,
					const struct polder_addr *addr)
{
	return addresses_owner(sync->addresses, addr);
}

const struct object *policy_sync_local_pod_at(const struct policy_sync *sync,
					      const struct polder_addr *addr)
{
	const struct address_entry *entry = addresses_find(sync->addresses, addr);
	const uint32_t wanted = ADDRESS_POD | ADDRESS_LOCAL;
	const struct synced_pod *pod;

	if (!entry || (entry->flags & wanted) != wanted)
		return NULL;
	pod = pod_by_link(sync, (int)entry->ifindex);
	return pod ? pod_object_of(sync, pod) : NULL;
}

bool policy_sync_pod_without_room(const struct policy_sync *sync, const struct polder_addr *addr)
{
	return policy_sync_pod_at(sync, addr) && !addresses_find(sync->addresses, addr);
}

size_t policy_sync_problems(struct policy_sync *sync, const struct policy_sync_problem **ret)
{
	policy_sync_list_problems(sync);
	*ret = sync->problems;
	return sync->problem_count;
}
