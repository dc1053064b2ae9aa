/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/enforce.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/policy/enforce_internal.h"

#define STATE_MAX (64u << 20)

unsigned int enforce_slot(const struct enforce *e)
{
	return __atomic_load_n(&maps_control(e->maps)->generation, __ATOMIC_SEQ_CST) & 1;
}

struct enforce_problem *enforce_problem_add(struct enforce *e, const char *subject, const char *format, ...)
{
	struct enforce_problem *grown = reallocarray(e->problems, e->problem_count + 1, sizeof(*grown));
	va_list args;

	if (!grown)
		return NULL;
	e->problems = grown;
	grown = &e->problems[e->problem_count++];
	*grown = (struct enforce_problem){};
	snprintf(grown->subject, sizeof(grown->subject), "%s", subject);
	va_start(args, format);
	vsnprintf(grown->reason, sizeof(grown->reason), format, args);
	va_end(args);
	return grown;
}

/* A rule set of the maps: known by its content, or only its number kept from use. */
static int know_ruleset(const struct ruleset_entry *entry, void *data)
{
	const struct enforce *e = data;
	uint64_t digest[2] = {};
	int r;

	if (e->state_text)
		memcpy(digest, entry->digest, sizeof(digest));
	r = policy_registry_know_ruleset(e->registry, entry->number, digest);
	/* The same content under two numbers: the second goes with the next sweep. */
	return r == -EEXIST ? 0 : r;
}

/* Numbers of before. Without them the maps' rule sets mean nothing any more: new ones are built beside. */
static int load_state(struct enforce *e)
{
	json_t *state = NULL;
	int r = e->state ? state_file_read_json(e->state, STATE_MAX, &state) : -ENOENT;

	if (r == 0) {
		r = policy_registry_import(e->registry, state);
		if (r == 0) {
			e->state_text = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS);
			e->held_before = json_incref(json_object_get(state, "held"));
		}
		json_decref(state);
	}
	if (r < 0 && r != -ENOENT)
		log_warning("policy", "%s: cannot be used (%s): identities are numbered anew", e->state, strerror(-r));
	return ruleset_slots_each(e->slots, know_ruleset, e);
}

int enforce_open(struct maps *maps, const struct store *store, const struct config *config, const struct node *node,
		 const char *state, struct enforce **ret)
{
	struct enforce *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	*e = (struct enforce){.maps = maps, .store = store, .config = config, .node = node};
	e->state = state ? strdup(state) : NULL;
	e->registry = policy_registry_new();
	r = (e->state || !state) && e->registry ? shadow_open(maps, MAP_ADDRESSES, &e->addresses) : -ENOMEM;
	if (r == 0)
		r = local_pods_open(maps, &e->local_pods);
	if (r == 0)
		r = rules_open(e);
	if (r == 0)
		r = rule_counts_open(maps, &e->counts);
	if (r == 0)
		r = load_state(e);
	if (r < 0) {
		enforce_close(e);
		return r;
	}
	/* A crash may have come between a switch and its mirroring: nothing is in force but the present slot. */
	e->unfinished = true;
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
	struct pod_name *name, *next_name;

	if (!e)
		return;
	for (pod = e->pods; pod; pod = next) {
		next = pod->next;
		HASH_DEL(e->pods_by_name, pod);
		pod_free(pod);
	}
	HASH_ITER(hh, e->names, name, next_name) {
		HASH_DEL(e->names, name);
		free(name);
	}
	compiled_policy_free(e->policy);
	policy_registry_free(e->registry);
	rule_counts_close(e->counts);
	local_pods_close(e->local_pods);
	shadow_close(e->addresses);
	rules_close(e);
	deleted_policies_clear(e);
	json_decref(e->held_before);
	free(e->pending);
	free(e->touched);
	free(e->problems);
	free(e->service_pods);
	free(e->fits);
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
		if (strcmp((*at)->container_id, local->container_id) == 0 && strcmp((*at)->ifname, local->ifname) == 0)
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
	if (!pod->key || !pod->container_id || !pod->ifname || !pod->object.namespace || !pod->object.name || !pod->object.uid ||
	    copy_labels(&pod->attached, &local->labels) < 0) {
		pod_free(pod);
		return -ENOMEM;
	}
	pod->object.labels = pod->attached;
	index = pod_index(e, pod);
	/* After a restart the entry is in force already. */
	if (maps_find(e->maps, MAP_PODS, &index, &pinned) == 0 && pinned.ifindex == pod->entry.ifindex) {
		memcpy(pod->entry.identity, pinned.identity, sizeof(pinned.identity));
		memcpy(pod->entry.egress_rules, pinned.egress_rules, sizeof(pinned.egress_rules));
		memcpy(pod->entry.ingress_rules, pinned.ingress_rules, sizeof(pinned.ingress_rules));
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
	pod->next = e->pods;
	e->pods = pod;
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
	for (i = 0; i < pod->address_count; i++)
		addresses_remove(e, &pod->addresses[i]);
	pod_free(pod);
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
	if (deleted && (object->kind == OBJECT_NETWORK_POLICY || object->kind == OBJECT_CLUSTER_NETWORK_POLICY))
		deleted_policy_keep(e, object);
	for (pod = e->pods; pod && object->kind == OBJECT_POD && deleted; pod = pod->next) {
		if (strcmp(pod->object.namespace, object->namespace) == 0 && strcmp(pod->object.name, object->name) == 0)
			take_gone(pod, object);
	}
	return true;
}

/* What a pod's word says. A set that found no room closes its pods; so does one that is not in the policy. */
static uint32_t ruleset_word(const struct enforce *e, const struct compiled_policy *policy, const bool *fits, uint32_t id)
{
	const struct compiled_ruleset *set;
	uint32_t slot;

	if (id < RULESET_FIRST)
		return id;
	set = ruleset_of_number(policy, id);
	if (!set)
		return RULESET_CLOSED;
	slot = ruleset_slots_find(e->slots, id);
	return fits[set - policy->rulesets] && slot ? slot : RULESET_CAPACITY;
}

static void resolve_pods(struct enforce *e, const struct compiled_policy *policy, const bool *fits)
{
	struct enforce_problem *problem;
	struct enforced_pod *pod;
	char subject[128];
	size_t i = 0;

	for (pod = e->pods; pod; pod = pod->next, i++) {
		pod->identity = policy->pods[i].identity;
		pod->ingress = ruleset_word(e, policy, fits, policy->pods[i].ingress_ruleset);
		pod->egress = ruleset_word(e, policy, fits, policy->pods[i].egress_ruleset);
		/* The policies that held a pod when the agent ended are not known any more. */
		if (pod->held_before[INGRESS_HELD])
			pod->ingress = RULESET_CLOSED;
		if (pod->held_before[EGRESS_HELD])
			pod->egress = RULESET_CLOSED;
		if (pod->ingress != RULESET_CAPACITY && pod->egress != RULESET_CAPACITY)
			continue;
		snprintf(subject, sizeof(subject), "pod %s/%s", pod->object.namespace, pod->object.name);
		problem = enforce_problem_add(e, subject, "closed: its policies do not fit in the maps; raise --max-policy-entries");
		if (problem)
			problem->pod_closed = true;
	}
}

/* The pods' words, into the other slot; a new pod has both. */
static int write_pods(struct enforce *e, bool *ret_switch)
{
	unsigned int slot = enforce_slot(e), next = !slot;
	struct enforced_pod *pod;
	size_t i;
	int r;

	for (pod = e->pods; pod; pod = pod->next) {
		struct pod_entry entry = pod->entry;
		uint32_t index = pod_index(e, pod);

		entry.identity[next] = pod->identity;
		entry.egress_rules[next] = pod->egress;
		entry.ingress_rules[next] = pod->ingress;
		entry.flags = POD_READY;
		if (!pod->written) {
			entry.identity[slot] = pod->identity;
			entry.egress_rules[slot] = pod->egress;
			entry.ingress_rules[slot] = pod->ingress;
			for (i = 0; i < pod->address_count; i++)
				address_touched(e, &pod->addresses[i]);
		} else if (entry.identity[slot] != pod->identity || entry.egress_rules[slot] != pod->egress ||
			   entry.ingress_rules[slot] != pod->ingress) {
			*ret_switch = true;
		}
		if (pod->written && memcmp(&entry, &pod->entry, sizeof(entry)) == 0)
			continue;
		r = maps_put(e->maps, MAP_PODS, &index, &entry);
		if (r < 0)
			return r;
		pod->entry = entry;
		pod->fresh |= !pod->written;
		pod->written = true;
	}
	return 0;
}

static const struct enforced_pod *pod_by_link(const struct enforce *e, int ifindex)
{
	const struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		if (pod->entry.ifindex == (uint32_t)ifindex)
			return pod;
	return NULL;
}

/* Entries of before the start whose pods have no record any more. */
static int forget_unknown_pods(struct enforce *e)
{
	static const struct pod_entry none;
	void *values = NULL;
	const struct pod_entry *entries;
	uint32_t index;
	int r = maps_read_array(e->maps, MAP_PODS, &values);

	entries = values;
	for (index = 0; index < maps_get(e->maps, MAP_PODS)->max_entries && r == 0; index++)
		if (entries[index].ifindex && !pod_by_link(e, entries[index].ifindex))
			r = maps_put(e->maps, MAP_PODS, &index, &none);
	free(values);
	return r;
}

static void mirror_pods(struct enforce *e)
{
	unsigned int slot = enforce_slot(e);
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		struct pod_entry entry = pod->entry;
		uint32_t index = pod_index(e, pod);

		entry.identity[!slot] = entry.identity[slot];
		entry.egress_rules[!slot] = entry.egress_rules[slot];
		entry.ingress_rules[!slot] = entry.ingress_rules[slot];
		if (pod->written && memcmp(&entry, &pod->entry, sizeof(entry)) != 0 &&
		    maps_put(e->maps, MAP_PODS, &index, &entry) == 0)
			pod->entry = entry;
	}
}

/* Both slots alike again. */
static void mirror(struct enforce *e)
{
	addresses_mirror(e);
	mirror_pods(e);
	rules_mirror(e);
}

/*
 * What a pass that failed has put in both slots at once: pods that are new, and pods' addresses. The policy that stays in force does not
 * know their rule sets and identities, so they pass nothing until a pass succeeds.
 */
static void undo(struct enforce *e)
{
	static const struct pod_entry none;
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		uint32_t index = pod_index(e, pod);

		if (!pod->fresh)
			continue;
		maps_put(e->maps, MAP_PODS, &index, &none);
		pod->written = pod->fresh = false;
	}
	addresses_undo(e);
}

/* Which pods on their way out are isolated by policies that went. */
static void note_held(struct enforce *e, const struct compiled_policy *policy)
{
	struct enforced_pod *pod;
	size_t i = 0;

	for (pod = e->pods; pod; pod = pod->next, i++) {
		pod->held[INGRESS_HELD] = policy->pods[i].ingress_held || pod->held_before[INGRESS_HELD];
		pod->held[EGRESS_HELD] = policy->pods[i].egress_held || pod->held_before[EGRESS_HELD];
	}
}

/* Takes the text. */
static int write_state(struct enforce *e, char *text)
{
	int r = e->state_text && strcmp(text, e->state_text) == 0 ? 0 : state_file_write(e->state, text, strlen(text));

	if (r < 0)
		log_error("policy", "%s: cannot be written: %s; changes of policy wait until it can", e->state, strerror(-r));
	free(e->state_text);
	e->state_text = text;
	if (r < 0) {
		free(text);
		e->state_text = NULL;
	}
	return r;
}

/* Before a number is used in a map, it is on disk. 0 or -errno: then it must not be used. */
static int save_state(struct enforce *e)
{
	uint64_t revision = policy_registry_revision(e->registry);
	json_t *state, *held = e->state ? held_export(e) : NULL;
	char *held_text = held ? json_dumps(held, JSON_COMPACT) : NULL, *text;
	int r;

	if (!e->state || (held_text && e->held_text && e->state_revision == revision &&
			  strcmp(held_text, e->held_text) == 0)) {
		json_decref(held);
		free(held_text);
		return 0;
	}
	state = held_text ? policy_registry_export(e->registry) : NULL;
	text = state && json_object_set(state, "held", held) == 0
		       ? json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS)
		       : NULL;
	json_decref(state);
	json_decref(held);
	r = text ? write_state(e, text) : -ENOMEM;
	if (r < 0) {
		free(held_text);
		return r;
	}
	free(e->held_text);
	e->held_text = held_text;
	e->state_revision = revision;
	return 0;
}

/* Only if something changed that any flow may depend on. What a failed pass has written counts too. */
static void move(struct enforce *e, bool switch_slots)
{
	if (!switch_slots && !e->move_owed && e->policy)
		return;
	maps_move_generation(e->maps, switch_slots);
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

static int put_in_force(struct enforce *e, const struct enforce_input *in, struct compiled_policy *policy, bool *ret_again,
			bool *ret_switched)
{
	bool *fits = calloc(policy->ruleset_count + 1, sizeof(*fits));
	bool switch_slots = false;
	size_t i;
	int r;

	if (!fits)
		return -ENOMEM;
	r = e->policy ? 0 : forget_unknown_pods(e);
	if (r == 0)
		r = rule_counts_prepare(e->counts, policy);
	if (r == 0)
		r = rules_write(e, policy, fits, &switch_slots);
	if (r == 0) {
		resolve_pods(e, policy, fits);
		r = write_pods(e, &switch_slots);
	}
	if (r == 0)
		r = addresses_write(e, &in->input, policy, &switch_slots, ret_again);
	e->misfit = false;
	for (i = 0; i < policy->ruleset_count; i++)
		e->misfit |= !fits[i];
	if (r < 0) {
		free(fits);
		return r;
	}
	move(e, switch_slots);
	*ret_switched = switch_slots;
	free(e->fits);
	e->fits = fits;
	return 0;
}

/* What default denies are due to. The pods are those of the pass that has just ended, in their order. */
static void take_isolations(struct enforce *e)
{
	struct enforced_pod *pod;
	size_t i = 0;

	for (pod = e->pods; pod; pod = pod->next, i++) {
		pod->isolation[0] = e->policy->pods[i].ingress_isolation;
		pod->isolation[1] = e->policy->pods[i].egress_isolation;
	}
}

int enforce_apply(struct enforce *e, bool *ret_again, bool *ret_switched)
{
	struct compiled_policy *policy = NULL;
	struct enforce_input in = {};
	struct enforced_pod *pod;
	int r;

	mirror(e);
	*ret_again = *ret_switched = false;
	e->problem_count = 0;
	e->pass++;
	for (pod = e->pods; pod; pod = pod->next)
		pod->fresh = false;
	r = deleted_policies_settle(e);
	if (r == 0)
		r = enforce_gather(e, &in);
	if (r == 0)
		r = policy_compile(e->registry, &in.input, &policy);
	if (r == 0) {
		note_held(e, policy);
		r = save_state(e);
	}
	if (r == 0) {
		e->unfinished = true;
		r = put_in_force(e, &in, policy, ret_again, ret_switched);
		e->half_written = r < 0;
		if (r < 0)
			undo(e);
	}
	if (r == 0) {
		compiled_policy_free(e->policy);
		e->policy = policy;
		take_isolations(e);
	} else {
		compiled_policy_free(policy);
	}
	enforce_input_clear(&in);
	return r;
}

bool enforce_finish(struct enforce *e)
{
	bool swept = false;

	if (!e->unfinished)
		return false;
	mirror(e);
	rule_counts_flush(e->counts);
	if (e->policy) {
		if (!e->half_written) /* else nobody knows which rules are in use */
			rule_counts_sweep(e->counts);
		swept = rules_sweep(e);
		policy_registry_collect(e->registry);
	}
	local_pods_settle(e->local_pods);
	e->unfinished = false;
	return e->misfit && swept;
}

const char *enforce_pod_refused(const struct enforce *e, const struct local_pod *local)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);
	char subject[sizeof(e->problems->subject)];
	size_t i;

	for (i = 0; pod && i < pod->address_count; i++) {
		struct address_key key = {.prefixlen = 128, .addr = pod->addresses[i]};

		if (!shadow_find(e->addresses, &key))
			break;
	}
	if (!pod || i == pod->address_count)
		return NULL;
	snprintf(subject, sizeof(subject), "pod %s/%s", pod->object.namespace, pod->object.name);
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
	if (maps_find(e->maps, MAP_PODS, &index, &entry) < 0 || memcmp(&entry, &pod->entry, sizeof(entry)) != 0)
		return false;
	for (i = 0; i < pod->address_count; i++) {
		struct address_key key = {.prefixlen = 128, .addr = pod->addresses[i]};

		const struct address_entry *local = local_pods_find(e->maps, &pod->addresses[i]);

		if (maps_find(e->maps, MAP_ADDRESSES, &key, &address) < 0 || address.ifindex != pod->entry.ifindex ||
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
			 void (*visit)(const char *container_id, const char *ifname, const struct labels *labels, void *data),
			 void *data)
{
	const struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		const struct object *object = pod_object_of(e, pod);

		if (object != &pod->object || pod->object_gone)
			visit(pod->container_id, pod->ifname, &object->labels, data);
	}
}

static struct service_pod service_pod_of(const struct object *object, const struct polder_addr *addresses, size_t count)
{
	return (struct service_pod){
		.namespace = object->namespace,
		.labels = &object->labels,
		.object = object,
		.addresses = addresses,
		.address_count = count,
	};
}

int enforce_service_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count, void *data)
{
	struct enforce *e = data;
	size_t known, locals = 0, count = 0, i;
	const struct object *const *objects = store_objects_in(e->store, OBJECT_POD, namespace, &known);
	struct service_pod *pods;
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		locals += strcmp(pod->object.namespace, namespace) == 0;
	pods = calloc(locals + known + 1, sizeof(*pods));
	if (!pods)
		return -ENOMEM;
	for (pod = e->pods; pod; pod = pod->next)
		if (strcmp(pod->object.namespace, namespace) == 0)
			pods[count++] = service_pod_of(pod_object_of(e, pod), pod->addresses, pod->address_count);
	for (i = 0; i < known; i++)
		if (!pod_is_local(e, objects[i]))
			pods[count++] = service_pod_of(objects[i], objects[i]->pod.addresses, objects[i]->pod.address_count);
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

const struct compiled_selection *enforce_isolation(const struct enforce *e, const struct polder_addr *addr, bool egress)
{
	const struct enforced_pod *pod;
	size_t i;

	for (pod = e->pods; pod; pod = pod->next)
		for (i = 0; i < pod->address_count; i++)
			if (memcmp(&pod->addresses[i], addr, sizeof(*addr)) == 0)
				return pod->isolation[egress];
	return NULL;
}

size_t enforce_held_policies(const struct enforce *e, const struct local_pod *local, const struct object ***ret)
{
	const struct enforced_pod *pod = pod_by_link(e, local->ifindex);
	const struct object **held = calloc(e->deleted_count + 1, sizeof(*held));
	size_t count = 0, i;

	for (i = 0; held && pod && pod->terminating && i < e->deleted_count; i++)
		if (pod->terminating <= e->deleted[i].pass)
			held[count++] = e->deleted[i].policy;
	*ret = held;
	return count;
}

const struct compiled_policy *enforce_policy(const struct enforce *e)
{
	return e->policy;
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
	struct pod_name *name;

	HASH_FIND(hh, e->names, addr, sizeof(*addr), name);
	return name ? name->name : NULL;
}

bool enforce_pod_without_room(const struct enforce *e, const struct polder_addr *addr)
{
	return enforce_pod_name(e, addr) && addresses_lacks(e, addr);
}

size_t enforce_problems(const struct enforce *e, const struct enforce_problem **ret)
{
	*ret = e->problems;
	return e->problem_count;
}
