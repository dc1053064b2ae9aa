/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/trial.h"
#include "agent/policy/rule_counts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/flows.h"
#include "agent/reconcile/touched.h"

struct attachment {
	struct local_pod pod;
	struct attachment *next;
};

struct trial {
	const struct config *config;
	const struct node *node;
	char *state; /* NULL: none */
	struct maps *maps;
	struct datapath *datapath;
	struct test_run *run;
	struct store *store;
	struct enforce *enforce;
	struct services *services;
	struct flows *flows;
	struct touched *touched;
	struct attachment *attachments;
	bool policy_dirty;
	bool switched; /* a pass has switched slots, and what it left is not finished */
	bool settled; /* a pass has succeeded since the start */
};

struct config trial_config_small(const struct config *config, uint32_t entries)
{
	struct config small = *config;

	small.flows_v4 = small.flows_v6 = 4096;
	small.max_addresses = small.max_policy_entries = entries;
	small.max_services = small.max_backends = entries < 1024 ? entries : 1024;
	small.max_rule_counters = entries < config->max_rule_counters ? entries : config->max_rule_counters;
	small.max_socket_origins = 64;
	return small;
}

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct trial *t = data;

	t->policy_dirty |= enforce_object_changed(t->enforce, object, deleted);
	services_object_changed(t->services, object, deleted);
}

/* What an agent opens at its start; nothing of it exists yet. */
static int start(struct trial *t)
{
	const struct flows_maps tables = flows_maps_of(t->maps);
	const struct attachment *a;
	int r;

	t->settled = t->switched = false;
	t->policy_dirty = true;
	t->store = store_new();
	t->flows = flows_new(&tables);
	t->touched = t->flows ? touched_new(t->maps, t->flows) : NULL;
	if (!t->store || !t->touched)
		return -ENOMEM;
	r = enforce_open(t->maps, t->store, t->config, t->node, t->state, &t->enforce);
	if (r == 0)
		r = services_open(t->maps, t->store, enforce_service_pods, t->enforce, &t->services);
	if (r == 0)
		flows_on_over(t->flows, rule_counts_over, enforce_rule_counts(t->enforce));
	for (a = t->attachments; a && r == 0; a = a->next)
		r = enforce_add_pod(t->enforce, &a->pod);
	if (r == 0)
		store_listen(t->store, on_change, t);
	return r;
}

static void stop(struct trial *t)
{
	services_close(TAKE_PTR(t->services));
	enforce_close(TAKE_PTR(t->enforce));
	touched_free(TAKE_PTR(t->touched));
	flows_free(TAKE_PTR(t->flows));
	store_free(TAKE_PTR(t->store));
}

int trial_open(const struct config *config, const struct node *node, const char *state, struct trial **ret, char *message,
	       size_t size)
{
	struct trial *t = calloc(1, sizeof(*t));
	struct datapath_config constants;
	int r;

	if (!t)
		return -ENOMEM;
	message[0] = '\0';
	*t = (struct trial){.config = config, .node = node, .state = state ? strdup(state) : NULL};
	r = state && !t->state ? -ENOMEM : maps_open(config, NULL, &t->maps, message, size);
	if (r == 0)
		r = node_datapath_config(config, node, t->maps, &constants);
	if (r == 0)
		r = node_write_next_hops(node, t->maps);
	if (r == 0)
		r = datapath_load(t->maps, NULL, config, &constants, NULL, &t->datapath, message, size);
	if (r == 0)
		r = test_run_open(t->maps, t->datapath, true, &t->run);
	if (r == 0)
		r = start(t);
	if (r < 0) {
		if (!message[0])
			snprintf(message, size, "a private world cannot be made: %s", strerror(-r));
		trial_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

static void attachment_free(struct attachment *a)
{
	labels_clear(&a->pod.labels);
	free(a->pod.container_id);
	free(a->pod.ifname);
	free(a->pod.network);
	free(a->pod.namespace);
	free(a->pod.name);
	free(a->pod.uid);
	free(a);
}

static void forget_attachments(struct trial *t)
{
	struct attachment *a, *next;

	for (a = t->attachments; a; a = next) {
		next = a->next;
		attachment_free(a);
	}
	t->attachments = NULL;
}

void trial_close(struct trial *t)
{
	if (!t)
		return;
	stop(t);
	test_run_close(t->run);
	datapath_free(t->datapath);
	maps_close(t->maps);
	forget_attachments(t);
	free(t->state);
	free(t);
}

/* ---------------------------------------------------------------- objects */

/* The one origin of all. */
#define ORIGIN "trial"

int trial_put(struct trial *t, struct object *object)
{
	int r = store_upsert(t->store, ORIGIN, object);

	if (r < 0)
		object_free(object);
	return r;
}

bool trial_delete(struct trial *t, enum object_kind kind, const char *namespace, const char *name)
{
	return store_delete(t->store, ORIGIN, kind, namespace, name) == 0;
}

int trial_put_store(struct trial *t, const struct store *store)
{
	enum object_kind kind;
	int r = 0;

	for (kind = 0; kind < OBJECT_KIND_COUNT && r == 0; kind++) {
		size_t count, i;
		const struct object *const *objects = store_objects(store, kind, &count);

		for (i = 0; i < count && r == 0; i++)
			r = trial_put(t, object_share(objects[i]));
	}
	return r;
}

/* ---------------------------------------------------------------- local pods */

static int copy_labels(struct labels *to, const struct labels *from)
{
	struct labels copy = {};
	size_t i;

	for (i = 0; i < from->count; i++) {
		if (labels_set(&copy, from->items[i].key, from->items[i].value) < 0) {
			labels_clear(&copy);
			return -ENOMEM;
		}
	}
	labels_clear(to);
	*to = copy;
	return 0;
}

static int copy_pod(struct local_pod *to, const struct local_pod *from)
{
	*to = *from;
	to->labels = (struct labels){};
	to->container_id = strdup(from->container_id);
	to->ifname = strdup(from->ifname);
	to->network = strdup(from->network ? from->network : "");
	to->namespace = strdup(from->namespace);
	to->name = strdup(from->name);
	to->uid = strdup(from->uid ? from->uid : "");
	if (!to->container_id || !to->ifname || !to->network || !to->namespace || !to->name || !to->uid)
		return -ENOMEM;
	return copy_labels(&to->labels, &from->labels);
}

static struct attachment **find(struct trial *t, const char *container_id, const char *ifname)
{
	struct attachment **at;

	for (at = &t->attachments; *at; at = &(*at)->next)
		if (strcmp((*at)->pod.container_id, container_id) == 0 && strcmp((*at)->pod.ifname, ifname) == 0)
			break;
	return at;
}

int trial_attach(struct trial *t, const struct local_pod *pod)
{
	struct attachment *a;
	int r;

	if (*find(t, pod->container_id, pod->ifname))
		return -EEXIST;
	for (a = t->attachments; a; a = a->next)
		if (maps_pod_place(t->maps, a->pod.ifindex) == maps_pod_place(t->maps, pod->ifindex))
			return -EBUSY;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	r = copy_pod(&a->pod, pod);
	touched_enter(t->touched, pod);
	if (r == 0)
		r = enforce_add_pod(t->enforce, &a->pod);
	if (r < 0) {
		attachment_free(a);
		return r;
	}
	a->next = t->attachments;
	t->attachments = a;
	services_pods_changed(t->services, pod->namespace);
	t->policy_dirty = true;
	return 0;
}

int trial_detach(struct trial *t, const char *container_id, const char *ifname)
{
	struct attachment **at = find(t, container_id, ifname), *a = *at;

	if (!a)
		return -ENOENT;
	*at = a->next;
	enforce_remove_pod(t->enforce, &a->pod);
	touched_leave(t->touched, &a->pod);
	touched_mark(t->touched);
	touched_settle(t->touched);
	services_pods_changed(t->services, a->pod.namespace);
	t->policy_dirty = true;
	attachment_free(a);
	return 0;
}

/* A pod whose object goes keeps its labels, over a restart too. */
static void keep_labels(struct trial *t)
{
	struct attachment *a;

	for (a = t->attachments; a; a = a->next) {
		const struct object *object = store_get(t->store, OBJECT_POD, a->pod.namespace, a->pod.name);

		if (object && !object->pod.finished && !object->pod.host_network)
			copy_labels(&a->pod.labels, &object->labels);
	}
}

/* ---------------------------------------------------------------- passes */

static int apply_policy(struct trial *t, bool *ret_again)
{
	const struct polder_addr *addrs;
	size_t count, i;
	int r = t->switched ? maps_wait_for_programs(t->maps) : 0;

	if (r < 0)
		return r;
	r = enforce_apply(t->enforce, ret_again, &t->switched);

	count = enforce_touched(t->enforce, &addrs);
	for (i = 0; i < count; i++)
		touched_change(t->touched, &addrs[i]);
	touched_look(t->touched);
	return r;
}

int trial_pass(struct trial *t, bool *ret_again)
{
	bool again = false;
	int r = 0;

	if (services_dirty(t->services))
		r = services_apply(t->services);
	if (r == 0 && t->policy_dirty) {
		t->policy_dirty = false;
		r = apply_policy(t, &again);
		t->policy_dirty = again || r < 0;
	}
	if (r < 0)
		return r;
	if (!t->settled)
		r = services_forget_unknown(t->services);
	if (r < 0)
		return r;
	t->settled = true;
	*ret_again = again || services_dirty(t->services);
	return 0;
}

bool trial_finish(struct trial *t, bool wait)
{
	services_sweep_mark(t->services);
	touched_mark(t->touched);
	if (wait && maps_wait_for_programs(t->maps) < 0)
		return false;
	touched_settle(t->touched);
	services_sweep(t->services);
	t->policy_dirty |= enforce_finish(t->enforce);
	t->switched = false;
	keep_labels(t);
	return t->policy_dirty || services_dirty(t->services);
}

int trial_restart(struct trial *t, bool crash)
{
	struct store *old;
	int r;

	if (!crash)
		enforce_finish(t->enforce);
	old = TAKE_PTR(t->store);
	stop(t);
	r = start(t);
	if (r == 0)
		r = trial_put_store(t, old);
	store_free(old);
	if (r == 0)
		services_pods_changed(t->services, NULL);
	return r;
}

int trial_clear(struct trial *t)
{
	const struct attachment *a;
	enum map_index index;
	int r = 0;

	for (a = t->attachments; a; a = a->next)
		enforce_remove_pod(t->enforce, &a->pod);
	stop(t);
	forget_attachments(t);
	if (t->state && unlink(t->state) < 0 && errno != ENOENT)
		return -errno;
	/* No pod is left, no socket program runs here; the ring is read to its end after each packet. */
	for (index = 0; index < MAP_COUNT && r == 0; index++)
		if (index != MAP_PODS && index != MAP_CONTROL && index != MAP_EVENTS && index != MAP_SOCKET_ORIGINS)
			r = maps_clear(t->maps, index);
	if (r == 0)
		r = node_write_next_hops(t->node, t->maps);
	return r < 0 ? r : start(t);
}

/* ---------------------------------------------------------------- looking */

const struct store *trial_store(const struct trial *t)
{
	return t->store;
}

struct enforce *trial_enforce(const struct trial *t)
{
	return t->enforce;
}

struct services *trial_services(const struct trial *t)
{
	return t->services;
}

struct maps *trial_maps(const struct trial *t)
{
	return t->maps;
}

struct datapath *trial_datapath(const struct trial *t)
{
	return t->datapath;
}

struct flows *trial_flows(const struct trial *t)
{
	return t->flows;
}

struct test_run *trial_run(const struct trial *t)
{
	return t->run;
}
