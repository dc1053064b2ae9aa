/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/hash.h"

/* Stands for the record that polderd keeps on disk. */
struct attachment {
	UT_hash_handle hh; /* by `key` */
	char *key;	   /* container id and interface */
	struct local_pod pod;
};

struct sandbox {
	const struct config *config;
	const struct node *node;
	char *state; /* NULL: none */
	struct maps *maps;
	struct datapath *datapath;
	struct test_run *run;
	struct store *store;
	struct reconciler *reconciler;
	struct peers *peers; /* NULL: not known */
	struct peers_tunnel tunnel;
	struct attachment *attachments;
	bool shared;	  /* sandbox_share() */
	bool knows_peers; /* sandbox_know_peers() */
};

struct config sandbox_config_small(const struct config *config, uint32_t entries)
{
	struct config small = *config;

	small.flows_v4 = small.flows_v6 = 4096;
	small.max_addresses = small.max_policy_entries = entries;
	small.max_services = small.max_backends = entries < 1024 ? entries : 1024;
	small.max_rule_counters =
		entries < config->max_rule_counters ? entries : config->max_rule_counters;
	small.max_service_clients = small.max_socket_origins = 64;
	return small;
}

/* ---------------------------------------------------------------- what is around the reconciler */

static uint64_t now_ns(void *data)
{
	struct timespec now;

	(void)data;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int wait_for_programs(void *data)
{
	const struct sandbox *t = data;

	return t->shared ? maps_wait_for_programs(t->maps) : 0;
}

/* Of a container id and an interface. */
#define KEY_MAX 512
static const char *key_of(const char *container_id, const char *ifname, char buffer[KEY_MAX])
{
	snprintf(buffer, KEY_MAX, "%s:%s", container_id, ifname);
	return buffer;
}

static struct attachment *find(struct sandbox *t, const char *container_id, const char *ifname)
{
	struct attachment *a;
	char buffer[KEY_MAX];

	HASH_FIND_STR(t->attachments, key_of(container_id, ifname, buffer), a);
	return a;
}

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

static int keep_labels(const char *container_id, const char *ifname, const struct labels *labels,
		       void *data)
{
	struct attachment *a = find(data, container_id, ifname);
	int r = a ? copy_labels(&a->pod.labels, labels) : 0;

	if (a && r == 0)
		a->pod.object_seen = true;
	return r;
}

static void on_object(const struct object *object, bool deleted, void *data)
{
	const struct sandbox *t = data;

	(void)peers_object(t->peers, object, deleted);
}

/* 0 or -errno. */
static int start_peers(struct sandbox *t)
{
	int r = peers_new(t->config, t->maps, &t->peers);

	if (r == 0)
		r = node_tell_peers(t->node, t->peers);
	if (r < 0)
		return r;
	peers_set_tunnel(t->peers, &t->tunnel);
	store_listen(t->store, on_object, t);
	return peers_recall(t->peers);
}

/* All objects are in the store. 0 or -ENOMEM. */
static int synced(struct sandbox *t)
{
	int r = t->peers ? peers_read(t->peers, t->store) : 0;

	if (r == 0)
		reconciler_synced(t->reconciler);
	return r;
}

/* On maps and records that are there already, or are not. */
static int start(struct sandbox *t)
{
	const struct attachment *a;
	struct reconciler_env env = {.maps = t->maps,
				     .config = t->config,
				     .node = t->node,
				     .state = t->state,
				     .now_ns = now_ns,
				     .wait_for_programs = wait_for_programs,
				     .keep_labels = keep_labels,
				     .data = t};
	int r;

	env.store = t->store = store_new();
	if (!t->store)
		return -ENOMEM;
	r = t->knows_peers ? start_peers(t) : 0;
	if (r < 0)
		return r;
	env.peers = t->peers;
	r = reconciler_open(&env, &t->reconciler);
	for (a = t->attachments; a && r == 0; a = a->hh.next)
		r = reconciler_attach(t->reconciler, &a->pod);
	return r;
}

static void stop(struct sandbox *t)
{
	reconciler_close(TAKE_PTR(t->reconciler));
	peers_free(TAKE_PTR(t->peers));
	store_free(TAKE_PTR(t->store));
}

int sandbox_open(const struct config *config, const struct node *node, const char *state,
		 struct sandbox **ret, char *message, size_t size)
{
	struct sandbox *t = calloc(1, sizeof(*t));
	struct datapath_config constants;
	bool changed;
	int r;

	if (!t)
		return -ENOMEM;
	message[0] = '\0';
	*t = (struct sandbox){
		.config = config, .node = node, .state = state ? strdup(state) : NULL};
	r = state && !t->state ? -ENOMEM
			       : maps_open(config_map_sizes(config), NULL, &t->maps, message, size);
	if (r == 0)
		r = node_datapath_config(config, t->maps, &constants);
	if (r == 0)
		r = node_write_maps(node, t->maps, &changed);
	if (r == 0)
		r = datapath_load(t->maps, NULL, config_datapath_options(config), &constants, NULL,
				  &t->datapath, message, size);
	if (r == 0)
		r = test_run_open(t->maps, t->datapath, true, &t->run);
	if (r == 0)
		r = start(t);
	if (r == 0)
		r = synced(t);
	if (r < 0) {
		if (!message[0])
			snprintf(message, size, "a private world cannot be made: %s", strerror(-r));
		sandbox_close(t);
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
	free(a->key);
	free(a);
}

static void drop_attachments(struct sandbox *t)
{
	struct attachment *a, *next;

	HASH_ITER (hh, t->attachments, a, next) {
		HASH_DEL(t->attachments, a);
		attachment_free(a);
	}
}

void sandbox_close(struct sandbox *t)
{
	if (!t)
		return;
	stop(t);
	test_run_close(t->run);
	datapath_free(t->datapath);
	maps_close(t->maps);
	drop_attachments(t);
	free(t->state);
	free(t);
}

/* ---------------------------------------------------------------- objects */

/* The one origin of all. */
#define ORIGIN "trial"

int sandbox_put(struct sandbox *t, struct object *object)
{
	int r = store_upsert(t->store, ORIGIN, object);

	if (r < 0)
		object_free(object);
	return r;
}

bool sandbox_delete(struct sandbox *t, enum object_kind kind, const char *namespace,
		    const char *name)
{
	return store_delete(t->store, ORIGIN, kind, namespace, name) == 0;
}

int sandbox_put_store(struct sandbox *t, const struct store *store)
{
	enum object_kind kind;
	int r = 0;

	for (kind = 0; kind < OBJECT_KIND_COUNT && r == 0; kind++) {
		size_t count, i;
		const struct object *const *objects = store_objects(store, kind, &count);

		for (i = 0; i < count && r == 0; i++)
			r = sandbox_put(t, object_share(objects[i]));
	}
	return r;
}

/* ---------------------------------------------------------------- local pods */

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
	if (!to->container_id || !to->ifname || !to->network || !to->namespace || !to->name ||
	    !to->uid)
		return -ENOMEM;
	return copy_labels(&to->labels, &from->labels);
}

int sandbox_attach(struct sandbox *t, const struct local_pod *pod)
{
	struct attachment *a;
	char buffer[KEY_MAX];
	int r;

	if (find(t, pod->container_id, pod->ifname))
		return -EEXIST;
	for (a = t->attachments; a; a = a->hh.next)
		if (maps_pod_index(t->maps, a->pod.ifindex) ==
		    maps_pod_index(t->maps, pod->ifindex))
			return -EBUSY;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	r = copy_pod(&a->pod, pod);
	a->key = strdup(key_of(pod->container_id, pod->ifname, buffer));
	if (r == 0)
		r = a->key ? 0 : -ENOMEM;
	if (r < 0) {
		attachment_free(a);
		return r;
	}
	HASH_ADD_KEYPTR(hh, t->attachments, a->key, strlen(a->key), a);
	r = HASH_ADDED(hh, a) ? reconciler_attach(t->reconciler, &a->pod) : -ENOMEM;
	if (r < 0) {
		if (HASH_ADDED(hh, a))
			HASH_DEL(t->attachments, a);
		attachment_free(a);
	}
	return r;
}

int sandbox_detach(struct sandbox *t, const char *container_id, const char *ifname)
{
	struct attachment *a = find(t, container_id, ifname);

	if (!a)
		return -ENOENT;
	HASH_DEL(t->attachments, a);
	reconciler_detach(t->reconciler, &a->pod);
	attachment_free(a);
	return 0;
}

/* ---------------------------------------------------------------- passes */

void sandbox_share(struct sandbox *t)
{
	t->shared = true;
}

static bool wants_run(const struct sandbox *t)
{
	return reconciler_due(t->reconciler).run_ns != RECONCILER_NEVER;
}

static int end_turn(struct sandbox *t, int r, bool *ret_again)
{
	reconciler_end_turn(t->reconciler);
	if (r == 0)
		*ret_again = wants_run(t);
	return r;
}

/* A grace period that begins at once is what the run had to leave policy for. */
int sandbox_run(struct sandbox *t, bool *ret_again)
{
	int r = reconciler_run(t->reconciler);

	if (r == 0 && reconciler_due(t->reconciler).begin_ns == 0 && sandbox_commit(t))
		r = reconciler_run(t->reconciler);
	return end_turn(t, r, ret_again);
}

bool sandbox_commit(struct sandbox *t)
{
	if (reconciler_begin(t->reconciler))
		reconciler_commit(t->reconciler, wait_for_programs(t));
	return wants_run(t);
}

int sandbox_restart(struct sandbox *t, bool crash)
{
	struct store *old;
	int r;

	if (!crash)
		(void)reconciler_finish(t->reconciler);
	old = TAKE_PTR(t->store);
	stop(t);
	r = start(t);
	if (r == 0)
		r = sandbox_put_store(t, old);
	store_free(old);
	return r < 0 ? r : synced(t);
}

int sandbox_clear(struct sandbox *t)
{
	const struct attachment *a;
	enum map_index index;
	bool changed;
	int r = 0;

	for (a = t->attachments; a; a = a->hh.next)
		reconciler_detach(t->reconciler, &a->pod);
	stop(t);
	drop_attachments(t);
	if (t->state && unlink(t->state) < 0 && errno != ENOENT)
		return -errno;
	/* No pod is left, no socket program runs here; the ring is read to its end after each
	 * packet. */
	for (index = 0; index < MAP_COUNT && r == 0; index++)
		if (index != MAP_PODS && index != MAP_CONTROL && index != MAP_EVENTS &&
		    index != MAP_SOCKET_PEERS && index != MAP_SOCKET_ORIGINS)
			r = maps_clear(t->maps, index);
	if (r == 0)
		r = node_write_maps(t->node, t->maps, &changed);
	if (r == 0)
		r = start(t);
	return r < 0 ? r : synced(t);
}

int sandbox_know_peers(struct sandbox *t, const struct peers_tunnel *tunnel)
{
	t->knows_peers = true;
	t->tunnel = *tunnel;
	return sandbox_clear(t);
}

/* ---------------------------------------------------------------- looking */

const struct store *sandbox_store(const struct sandbox *t)
{
	return t->store;
}

struct reconciler *sandbox_reconciler(const struct sandbox *t)
{
	return t->reconciler;
}

struct policy_sync *sandbox_policy_sync(const struct sandbox *t)
{
	return reconciler_policy(t->reconciler);
}

struct services *sandbox_services(const struct sandbox *t)
{
	return reconciler_services(t->reconciler);
}

struct maps *sandbox_maps(const struct sandbox *t)
{
	return t->maps;
}

struct datapath *sandbox_datapath(const struct sandbox *t)
{
	return t->datapath;
}

struct flows *sandbox_flows(const struct sandbox *t)
{
	return reconciler_flows(t->reconciler);
}

struct test_run *sandbox_test_run(const struct sandbox *t)
{
	return t->run;
}
