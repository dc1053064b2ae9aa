/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/enforce.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/enforce_internal.h"

unsigned int enforce_slot(const struct enforce *e)
{
	return maps_slot(e->maps);
}

struct enforce_problem *enforce_problem_add(struct enforce_problem **list, size_t *count,
					    const char *subject, const char *format, ...)
{
	struct enforce_problem *grown = reallocarray(*list, *count + 1, sizeof(*grown));
	va_list args;

	if (!grown)
		return NULL;
	*list = grown;
	grown = &grown[(*count)++];
	*grown = (struct enforce_problem){};
	snprintf(grown->subject, sizeof(grown->subject), "%s", subject);
	va_start(args, format);
	vsnprintf(grown->reason, sizeof(grown->reason), format, args);
	va_end(args);
	return grown;
}

void enforce_problem_copy(struct enforce_problem **list, size_t *count,
			  const struct enforce_problem *problem)
{
	struct enforce_problem *copy =
		enforce_problem_add(list, count, problem->subject, "%s", problem->reason);

	if (copy)
		*copy = *problem;
}

static int open_addresses(struct enforce *e)
{
	int r = local_pods_open(e->maps, &e->local_pods);
	const struct addresses_env env = {.maps = e->maps,
					  .local_pods = e->local_pods,
					  .is_own = address_is_own,
					  .touched = address_touched,
					  .data = e};

	return r < 0 ? r : addresses_open(&env, &e->addresses);
}

int enforce_open(struct maps *maps, const struct store *store, const struct config *config,
		 const struct node *node, const char *state, struct enforce **ret)
{
	struct enforce *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	*e = (struct enforce){
		.maps = maps, .store = store, .config = config, .node = node, .resync = true};
	e->state = state ? strdup(state) : NULL;
	e->registry = policy_registry_new();
	r = (e->state || !state) && e->registry ? open_addresses(e) : -ENOMEM;
	if (r == 0)
		r = rules_open(e);
	if (r == 0)
		r = rule_counts_open(maps, &e->counts);
	if (r == 0)
		r = state_load(e);
	if (r < 0) {
		enforce_close(e);
		return r;
	}
	/* A crash may have come between a switch and its mirroring: nothing is in force but the
	 * present slot. */
	e->unfinished = e->mirror_all = e->sweep_all = true;
	*ret = e;
	return 0;
}

static void pod_free(struct enforced_pod *pod)
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

void enforce_close(struct enforce *e)
{
	struct enforced_pod *pod, *next;

	if (!e)
		return;
	enforce_forget_all(e);
	for (pod = e->pods; pod; pod = next) {
		next = pod->next;
		HASH_DEL(e->pods_by_name, pod);
		pod_free(pod);
	}
	policy_registry_free(e->registry);
	rule_counts_close(e->counts);
	addresses_close(e->addresses);
	local_pods_close(e->local_pods);
	rules_close(e);
	deleted_policies_clear(e);
	json_decref(e->held_before);
	free(e->dirty);
	free(e->touched);
	free(e->problems);
	free(e->rule_problems);
	free(e->node_problems);
	free(e->service_pods);
	free(e->state_text);
	free(e->held_text);
	free(e->state);
	free(e);
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

static struct enforced_pod **pod_find(struct enforce *e, const struct local_pod *local)
{
	struct enforced_pod **at;

	for (at = &e->pods; *at; at = &(*at)->next)
		if (strcmp((*at)->container_id, local->container_id) == 0 &&
		    strcmp((*at)->ifname, local->ifname) == 0)
			return at;
	return NULL;
}

static uint32_t pod_index(const struct enforce *e, const struct enforced_pod *pod)
{
	return maps_pod_place(e->maps, pod->entry.ifindex);
}

static void pod_fill(struct enforced_pod *pod, const struct local_pod *local)
{
	pod->entry = (struct pod_entry){.ifindex = local->ifindex, .mtu = local->mtu};
	memcpy(pod->entry.mac, local->mac, 6);
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

int enforce_add_pod(struct enforce *e, const struct local_pod *local)
{
	struct enforced_pod *pod;
	struct pod_entry pinned;
	uint32_t index;

	if (pod_find(e, local))
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
	index = pod_index(e, pod);
	/* After a restart the entry is in force already. */
	if (maps_find(e->maps, MAP_PODS, &index, &pinned) == 0 &&
	    pinned.ifindex == pod->entry.ifindex) {
		memcpy(pod->entry.identity, pinned.identity, sizeof(pinned.identity));
		memcpy(pod->entry.egress_rules, pinned.egress_rules, sizeof(pinned.egress_rules));
		memcpy(pod->entry.ingress_rules, pinned.ingress_rules,
		       sizeof(pinned.ingress_rules));
		pod->entry.flags = pinned.flags;
		/* Unless it was another pod's by that number. */
		pod->written = memcmp(&pod->entry, &pinned, sizeof(pinned)) == 0;
	}
	HASH_ADD_KEYPTR(hh, e->pods_by_name, pod->key, strlen(pod->key), pod);
	if (!HASH_ADDED(hh, pod)) {
		pod_free(pod);
		return -ENOMEM;
	}
	/* Until its object is found: it may have gone while the agent was away. */
	pod->object_gone = local->object_seen;
	held_restore(e, pod);
	pod->dirty = true;
	pod->next = e->pods;
	e->pods = pod;
	enforce_note_pod(e, local->namespace, local->name);
	return 0;
}

void enforce_remove_pod(struct enforce *e, const struct local_pod *local)
{
	struct enforced_pod **at = pod_find(e, local), *pod;
	static const struct pod_entry none;
	uint32_t index;
	size_t i;

	if (!at)
		return;
	pod = *at;
	*at = pod->next;
	HASH_DEL(e->pods_by_name, pod);
	index = pod_index(e, pod);
	maps_put(e->maps, MAP_PODS, &index, &none);
	for (i = 0; i < pod->address_count; i++) {
		addresses_unclaim(e->addresses, &pod->claims[i]);
		addresses_remove(e->addresses, &pod->addresses[i]);
	}
	/* If there is no memory the compiler is broken, and the next pass makes a new one. */
	if (pod->compiled)
		policy_compiler_remove_pod(e->compiler, pod->compiled);
	pod_free(pod);
	enforce_note_pod(e, local->namespace, local->name);
	e->problems_known = false;
}

/* From now on the object that went speaks for the pod. */
static void take_gone(struct enforced_pod *pod, const struct object *object)
{
	object_free(pod->gone);
	pod->gone = object_share(object);
	pod->object.labels = object->labels;
	pod->object.pod.ports = object->pod.ports;
	pod->object.pod.port_count = object->pod.port_count;
	pod->object.pod.ready = object->pod.ready;
	pod->object.pod.terminating = true; /* Services send it nothing new */
	pod->object_gone = true;
}

bool enforce_object_changed(struct enforce *e, const struct object *object, bool deleted)
{
	struct enforced_pod *pod;

	if (object->kind == OBJECT_SERVICE || object->kind == OBJECT_ENDPOINT_SLICE)
		return false;
	if (object->kind == OBJECT_NODE)
		e->nodes_dirty = true;
	else
		enforce_note(e, object);
	if (deleted && (object->kind == OBJECT_NETWORK_POLICY ||
			object->kind == OBJECT_CLUSTER_NETWORK_POLICY))
		deleted_policy_keep(e, object);
	for (pod = e->pods; pod && object->kind == OBJECT_POD && deleted; pod = pod->next) {
		if (strcmp(pod->object.namespace, object->namespace) == 0 &&
		    strcmp(pod->object.name, object->name) == 0)
			take_gone(pod, object);
	}
	return true;
}

static const struct enforced_pod *pod_by_link(const struct enforce *e, int ifindex)
{
	const struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		if (pod->entry.ifindex == (uint32_t)ifindex)
			return pod;
	return NULL;
}

/* Both slots alike again. */
static void mirror(struct enforce *e)
{
	addresses_mirror(e->addresses, enforce_slot(e));
	pods_mirror(e);
	rules_mirror(e);
}

/*
 * What a pass that failed has put in both slots at once: pods that are new, and pods' addresses.
 * What stays in force does not know their rule sets and identities, so they pass nothing until a
 * pass succeeds.
 */
static void undo(struct enforce *e)
{
	pods_undo(e);
	addresses_undo(e->addresses);
}

/* Who isolates the local pods, and which of them are on their way out and isolated by policies that
 * went. */
static void note_policies(struct enforce *e)
{
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		const struct compiled_pod compiled =
			policy_compiler_pod(e->compiler, pod->compiled);

		pod->isolation[0] = compiled.ingress_isolation;
		pod->isolation[1] = compiled.egress_isolation;
		pod->held[INGRESS] = compiled.ingress_held || pod->held_before[INGRESS];
		pod->held[EGRESS] = compiled.egress_held || pod->held_before[EGRESS];
	}
}

/*
 * The generation moves only if something changed that any flow may depend on: what a switch of
 * slots changes for some, e->touched names. What a failed pass has written counts too.
 */
static void move(struct enforce *e, bool switch_slots)
{
	if (!e->move_owed && e->in_force) {
		if (switch_slots)
			maps_switch_slots(e->maps);
		return;
	}
	if (switch_slots)
		maps_switch_all(e->maps);
	else
		maps_move_generation(e->maps);
	e->move_owed = false;
	e->touched_count = 0; /* judged anew with all others */
}

size_t enforce_touched(struct enforce *e, const struct polder_addr **ret)
{
	size_t count = e->touched_count;

	*ret = e->touched;
	e->touched_count = 0;
	return count;
}

static int put_in_force(struct enforce *e, bool *ret_switched)
{
	bool switch_slots = false;
	int r = e->in_force ? 0 : pods_forget_unknown(e);

	if (r == 0)
		r = rules_write(e, &switch_slots);
	if (r == 0) {
		pods_resolve(e);
		r = pods_write(e, &switch_slots);
	}
	if (r == 0)
		r = addresses_write(e->addresses, enforce_slot(e), &switch_slots);
	if (r < 0)
		return r;
	move(e, switch_slots);
	*ret_switched = switch_slots;
	return 0;
}

/* What the store says, compiled. 0 or -errno: then a compiler that is given everything has to begin
 * anew. */
static int compile(struct enforce *e)
{
	int r = enforce_follow(e);

	if (r == 0)
		r = policy_compiler_run(e->compiler);
	if (r < 0)
		enforce_forget_all(e);
	return r;
}

int enforce_apply(struct enforce *e, bool *ret_switched)
{
	struct enforced_pod *pod;
	int r;

	mirror(e);
	*ret_switched = false;
	e->problems_known = false;
	e->run++;
	for (pod = e->pods; pod; pod = pod->next)
		pod->fresh = false;
	r = compile(e);
	if (r == 0) {
		note_policies(e);
		r = state_save(e);
	}
	if (r == 0) {
		e->unfinished = true;
		r = put_in_force(e, ret_switched);
		if (r < 0)
			undo(e);
	}
	e->half_written = r < 0;
	if (r < 0) {
		e->write_all = e->mirror_all = true;
		return r;
	}
	e->sweep_all |= e->write_all;
	e->write_all = false;
	e->in_force = true;
	policy_compiler_confirm(e->compiler);
	return 0;
}

bool enforce_finish(struct enforce *e)
{
	bool swept = false;

	if (!e->unfinished)
		return false;
	mirror(e);
	rule_counts_flush(e->counts);
	/* After a pass that failed nobody knows what is in use. */
	if (e->in_force && !e->half_written) {
		swept = rules_sweep(e);
		rule_counts_sweep(e->counts);
		policy_registry_collect(e->registry);
	}
	local_pods_settle(e->local_pods);
	e->unfinished = false;
	return e->misfits && swept;
}

void enforce_distrust(struct enforce *e)
{
	e->resync = e->mirror_all = true;
	addresses_mark_all(e->addresses);
}

void enforce_refresh(struct enforce *e, bool node)
{
	if (!node)
		return;
	e->nodes_dirty = true;
	addresses_mark_all(e->addresses);
}

const char *enforce_pod_refused(struct enforce *e, const struct local_pod *local)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);
	char subject[sizeof(e->problems->subject)];
	size_t i;

	for (i = 0; pod && i < pod->address_count; i++)
		if (!addresses_find(e->addresses, &pod->addresses[i]))
			break;
	if (!pod || i == pod->address_count)
		return NULL;
	snprintf(subject, sizeof(subject), "pod %s", pod->key);
	enforce_list_problems(e);
	for (i = 0; i < e->problem_count; i++)
		if (strcmp(e->problems[i].subject, subject) == 0)
			return e->problems[i].reason;
	return "its addresses are not in map addresses";
}

bool enforce_pod_in_force(const struct enforce *e, const struct local_pod *local)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);
	struct pod_entry entry;
	struct address_entry address;
	uint32_t index;
	size_t i;

	if (!pod || !pod->written)
		return false;
	index = pod_index(e, pod);
	if (maps_find(e->maps, MAP_PODS, &index, &entry) < 0 ||
	    memcmp(&entry, &pod->entry, sizeof(entry)) != 0)
		return false;
	for (i = 0; i < pod->address_count; i++) {
		struct address_key key = {.prefixlen = 128, .addr = pod->addresses[i]};

		const struct address_entry *local = local_pods_find(e->maps, &pod->addresses[i]);

		if (maps_find(e->maps, MAP_ADDRESSES, &key, &address) < 0 ||
		    address.ifindex != pod->entry.ifindex ||
		    (local && local->ifindex != pod->entry.ifindex))
			return false;
	}
	return true;
}

size_t enforce_pod_count(const struct enforce *e)
{
	return HASH_COUNT(e->pods_by_name);
}

void enforce_each_labels(const struct enforce *e,
			 void (*visit)(const char *container_id, const char *ifname,
				       const struct labels *labels, void *data),
			 void *data)
{
	const struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		const struct object *object = pod_object_of(e, pod);

		if (object != &pod->object || pod->object_gone)
			visit(pod->container_id, pod->ifname, &object->labels, data);
	}
}

static struct service_pod service_pod_of(const struct object *object,
					 const struct polder_addr *addresses, size_t count)
{
	return (struct service_pod){
		.namespace = object->namespace,
		.labels = &object->labels,
		.object = object,
		.addresses = addresses,
		.address_count = count,
	};
}

int enforce_service_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count,
			 void *data)
{
	struct enforce *e = data;
	size_t known, locals = 0, count = 0, i;
	const struct object *const *objects =
		store_objects_in(e->store, OBJECT_POD, namespace, &known);
	struct service_pod *pods;
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		locals += strcmp(pod->object.namespace, namespace) == 0;
	pods = calloc(locals + known + 1, sizeof(*pods));
	if (!pods)
		return -ENOMEM;
	for (pod = e->pods; pod; pod = pod->next)
		if (strcmp(pod->object.namespace, namespace) == 0)
			pods[count++] = service_pod_of(pod_object_of(e, pod), pod->addresses,
						       pod->address_count);
	for (i = 0; i < known; i++)
		if (!pod_is_local(e, objects[i]))
			pods[count++] = service_pod_of(objects[i], objects[i]->pod.addresses,
						       objects[i]->pod.address_count);
	free(e->service_pods);
	e->service_pods = pods;
	*ret = pods;
	*ret_count = count;
	return 0;
}

const struct object *enforce_pod_object(const struct enforce *e, const struct local_pod *local)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);

	return pod ? pod_object_of(e, pod) : NULL;
}

const struct compiled_selection *enforce_isolation(const struct enforce *e,
						   const struct polder_addr *addr, bool egress)
{
	const struct enforced_pod *pod;
	size_t i;

	for (pod = e->pods; pod; pod = pod->next)
		for (i = 0; i < pod->address_count; i++)
			if (memcmp(&pod->addresses[i], addr, sizeof(*addr)) == 0)
				return pod->isolation[egress];
	return NULL;
}

size_t enforce_held_policies(const struct enforce *e, const struct local_pod *local,
			     const struct object ***ret)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);
	const struct object **held = calloc(e->deleted_count + 1, sizeof(*held));
	size_t count = 0, i;

	for (i = 0; held && pod && pod->terminating && i < e->deleted_count; i++)
		if (pod->terminating <= e->deleted[i].run)
			held[count++] = e->deleted[i].policy;
	*ret = held;
	return count;
}

size_t enforce_identity_count(const struct enforce *e)
{
	return e->compiler ? policy_compiler_identity_count(e->compiler) : 0;
}

size_t enforce_ruleset_count(const struct enforce *e)
{
	return e->compiler ? policy_compiler_ruleset_count(e->compiler) : 0;
}

size_t enforce_rulesets_used(const struct enforce *e)
{
	return ruleset_slots_used(e->slots);
}

size_t enforce_cells_used(const struct enforce *e)
{
	return ruleset_slots_cells_used(e->slots);
}

struct rule_counts *enforce_rule_counts(struct enforce *e)
{
	return e->counts;
}

struct policy_registry *enforce_registry(struct enforce *e)
{
	return e->registry;
}

const char *enforce_pod_name(const struct enforce *e, const struct polder_addr *addr)
{
	return addresses_owner(e->addresses, addr);
}

bool enforce_pod_without_room(const struct enforce *e, const struct polder_addr *addr)
{
	return enforce_pod_name(e, addr) && !addresses_find(e->addresses, addr);
}

size_t enforce_problems(struct enforce *e, const struct enforce_problem **ret)
{
	enforce_list_problems(e);
	*ret = e->problems;
	return e->problem_count;
}
