/* SPDX-License-Identifier: Apache-2.0 */
/* All resources of an API server: what is due when, and how it stands. */
#include "agent/sources/api/api_source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/own_node.h"

#define KEPT_ORIGIN "api:objects"

/* So long a server may stay away, or its lists take, before what was kept is put in force. */
#define KEPT_AWAY_MS 5000
#define KEPT_SLOW_MS 30000
/* Without anything else to do. */
#define LOOK_MS 10000

uint64_t api_now(const struct api_source *source)
{
	return uv_now(source->loop);
}

static void on_timer(uv_timer_t *timer);

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* No verdict depends on alerts: where they cannot be read (older RBAC rules) pods start all the
 * same. */
static bool is_spare(size_t resource)
{
	return resource == OBJECT_TRAFFIC_ALERT;
}

static bool is_listed(const struct api_source *source)
{
	for (size_t i = 0; i < API_RESOURCES; i++)
		if (!is_spare(i) && !watch_is_synced(source->resources[i].watch))
			return false;
	return true;
}

/* When what was kept is put in force; UINT64_MAX: never. */
static uint64_t kept_due(const struct api_source *source)
{
	if (source->synced || !source->kept || !api_kept_recalled(source->kept))
		return UINT64_MAX;
	return source->started_ms + (source->connected ? KEPT_SLOW_MS : KEPT_AWAY_MS);
}

/* Before there are credentials nothing else can be done. */
static uint64_t next_due(struct api_source *source)
{
	uint64_t due = least(source->credentials_due_ms, kept_due(source));

	if (source->slices_changed || ((!source->synced || source->from_disk) && is_listed(source)))
		return 0;
	if (!source->has_identity)
		return due;
	due = least(due, api_probe_due(source));
	due = least(due, api_writes_due(source->writes));
	due = least(due, api_balancers_due(source->balancers, api_now(source)));
	for (size_t i = 0; i < API_RESOURCES; i++)
		due = least(due, api_resource_due(&source->resources[i]));
	return due;
}

void api_schedule(struct api_source *source)
{
	uint64_t now = api_now(source), due = least(next_due(source), now + LOOK_MS);

	if (!uv_is_closing((uv_handle_t *)&source->timer))
		uv_timer_start(&source->timer, on_timer, due > now ? due - now : 0, 0);
}

static void tell_kept(struct api_source *source)
{
	char when[32];
	struct error error;

	own_node_time(source->kept_time, when);
	error_at(
		&error, -ENOTCONN, "",
		"what is in force are the objects of %s, from %s: the API server has not been read "
		"since polderd was started; policies that are newer are not known, pods that are "
		"newer are isolated",
		when, api_kept_path(source->kept));
	log_warning("api", "%s", error.text);
	store_set_problem(source->store, KEPT_ORIGIN, &error);
}

/* No list has to wait for it: what they lack goes when they are whole. */
static void put_kept_in_force(struct api_source *source)
{
	source->synced = source->from_disk = true;
	tell_kept(source);
	for (size_t i = 0; i < API_RESOURCES; i++)
		store_set_synced(source->store, api_objects_origin(source->resources[i].objects));
	if (source->on_synced)
		source->on_synced(source->data);
}

static void become_synced(struct api_source *source)
{
	bool was_synced = source->synced;

	source->synced = true;
	source->from_disk = false;
	log_info("api", "all resources are listed");
	store_set_problem(source->store, KEPT_ORIGIN, NULL);
	api_writes_synced(source->writes);
	for (size_t i = 0; i < API_RESOURCES; i++)
		if (is_spare(i))
			store_set_synced(source->store,
					 api_objects_origin(source->resources[i].objects));
	if (source->kept)
		api_kept_set_whole(source->kept);
	/* Last: the callback may free the source. */
	if (source->on_synced && !was_synced)
		source->on_synced(source->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct api_source *source = timer->data;
	uint64_t now = api_now(source);

	api_refresh_credentials(source, now);
	for (size_t i = 0; i < API_RESOURCES && source->has_identity; i++)
		api_resource_run(&source->resources[i], now);
	api_probe(source, now);
	if (source->has_identity) {
		api_writes_run(source->writes, now);
		api_balancers_run(source->balancers, now);
	}
	if (source->slices_changed)
		api_remember_servers(source);
	if (source->kept && source->connected && is_listed(source))
		api_kept_confirm(source->kept);
	api_schedule(source);
	if ((!source->synced || source->from_disk) && is_listed(source))
		become_synced(source);
	else if (kept_due(source) <= now)
		put_kept_in_force(source);
}

void api_source_reload(struct api_source *source)
{
	source->credentials_due_ms = 0;
	/* Somebody has mended what was wrong. */
	api_writes_hurry(source->writes);
	api_balancers_hurry(source->balancers);
	for (size_t i = 0; i < API_RESOURCES; i++)
		if (!source->resources[i].request)
			watch_hurry(source->resources[i].watch, api_now(source));
	api_schedule(source);
}

void api_source_tell(struct api_source *source, const struct refusal *refusal)
{
	api_writes_refused(source->writes, refusal);
}

void api_source_set_ready(struct api_source *source, bool ready)
{
	api_writes_set_ready(source->writes, ready);
}

void api_source_tell_service(struct api_source *source, const struct object *service,
			     const char *reason, const char *text, bool few)
{
	struct refusal refusal = {
		.api_version = "v1", .kind = "Service", .reason = reason, .few = few};

	snprintf(refusal.namespace, sizeof(refusal.namespace), "%s", service->namespace);
	snprintf(refusal.name, sizeof(refusal.name), "%s", service->name);
	snprintf(refusal.uid, sizeof(refusal.uid), "%s", service->uid ? service->uid : "");
	snprintf(refusal.error.text, sizeof(refusal.error.text), "%s", text);
	api_writes_refused(source->writes, &refusal);
}

void api_source_balance(struct api_source *source)
{
	api_schedule(source);
}

/* ---------------------------------------------------------------- life */

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* What there is but the timer. */
static void release(struct api_source *source)
{
	/* Before what tells it which objects stand for refused ones. */
	api_kept_free(source->kept);
	if (source->http)
		api_probe_cancel(source);
	for (size_t i = 0; i < API_RESOURCES; i++)
		api_resource_close(&source->resources[i]);
	api_writes_free(source->writes);
	api_balancers_free(source->balancers);
	http_client_free(source->http);
	api_servers_clear(source);
	free(source->remembered_path);
}

void api_source_free(struct api_source *source)
{
	if (!source)
		return;
	release(source);
	uv_close((uv_handle_t *)&source->timer, on_closed);
}

static int recall(enum object_kind kind, const char *json, size_t length, bool closed, void *data)
{
	struct api_source *source = data;

	return api_objects_recall(source->resources[kind].objects, json, length, closed);
}

static void forget(void *data)
{
	struct api_source *source = data;

	for (size_t i = 0; i < API_RESOURCES; i++)
		api_objects_forget(source->resources[i].objects);
}

static bool is_closed(const struct object *object, void *data)
{
	const struct api_source *source = data;

	return api_objects_is_closed(source->resources[object->kind].objects, object);
}

/* The resources are in the order of the store's kinds. */
static int open_kept(struct api_source *source, const char *path)
{
	const struct kept_hooks hooks = {recall, forget, is_closed, source};
	int r = api_kept_new(source->loop, source->store, path, &hooks, &source->kept);

	if (r == 0)
		source->kept_time = api_kept_time(source->kept);
	return r;
}

/* The Lease stands in the namespace that this agent's own account is of. */
static int open_balancers(struct api_source *source)
{
	char path[PATH_MAX], namespace[LIMIT_NAMESPACE + 2] = "";
	const char *directory = source->options.service_account;
	FILE *file;

	snprintf(path, sizeof(path), "%s/namespace", directory ? directory : SERVICE_ACCOUNT);
	file = source->options.kubeconfig ? NULL : fopen(path, "re");
	if (file && !fgets(namespace, sizeof(namespace), file))
	namespace[0] = '\0';
	if (file)
		fclose(file);
	namespace[strcspn(namespace, "\n")] = '\0';
	return api_balancers_new(source, source->options.node,
				 namespace[0] ? namespace : "kube-system",
				 source->options.balancers, &source->balancers);
}

int api_source_new(uv_loop_t *loop, const struct api_options *options, struct store *store,
		   void (*on_synced)(void *data), void *data, struct api_source **ret)
{
	struct api_source *source = calloc(1, sizeof(*source));
	int r = 0;

	if (!source)
		return -ENOMEM;
	source->loop = loop;
	source->options = *options;
	source->store = store;
	source->on_synced = on_synced;
	source->data = data;
	/* The loop's clock stood still while the agent started; the server's time begins now. */
	uv_update_time(loop);
	source->since_ms = source->started_ms = api_now(source);
	if (options->remembered) {
		source->remembered_path = strdup(options->remembered);
		r = source->remembered_path ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = http_client_new(loop, options->silence_ms, &source->http);
	if (r == 0)
		r = api_writes_new(source, options->node, &source->writes);
	if (r == 0 && options->balancers)
		r = open_balancers(source);
	for (size_t i = 0; i < API_RESOURCES && r == 0; i++)
		r = api_resource_open(source, i);
	if (r == 0 && options->kept)
		r = open_kept(source, options->kept);
	if (r < 0) {
		release(source);
		free(source);
		return r;
	}
	api_load_remembered(source);
	uv_timer_init(loop, &source->timer);
	source->timer.data = source;
	uv_timer_start(&source->timer, on_timer, 0, 0);
	*ret = source;
	return 0;
}

/* ---------------------------------------------------------------- how it stands */

static int64_t age(uint64_t now, uint64_t then, bool ever)
{
	return ever ? (int64_t)(now - then) : -1;
}

void api_source_status(const struct api_source *source, struct api_status *ret)
{
	const struct server *server = servers_current(&source->servers);
	uint64_t now = api_now(source);

	*ret = (struct api_status){
		.server = server ? server->name : "",
		.connected = source->connected,
		.since_ms = now - source->since_ms,
		.error = source->credentials_error.text[0] ? source->credentials_error.text
							   : source->error,
		.age_ms = age(now, source->heard_ms, source->has_heard),
		.received = http_client_received(source->http),
		.outages = source->outages,
	};
	api_writes_status(source->writes, ret->writes, &ret->waiting);
	api_balancers_status(source->balancers, ret->writes);
	ret->holder = api_balancers_holder(source->balancers);
	if (source->kept) {
		ret->kept = api_kept_path(source->kept);
		ret->from_disk = source->from_disk;
		ret->kept_time =
			source->from_disk ? source->kept_time : api_kept_time(source->kept);
	}
	for (size_t i = 0; i < API_RESOURCES; i++) {
		const struct api_resource *resource = &source->resources[i];
		struct api_resource_status *status = &ret->resources[i];

		status->name = resource->resource->name;
		watch_read_state(resource->watch, &status->watch);
		status->synced = watch_is_synced(resource->watch);
		status->refused = api_objects_refused(resource->objects);
		memcpy(status->errors, resource->errors, sizeof(status->errors));
		status->age_ms = age(now, status->watch.last_ms, status->watch.last_ms > 0);
	}
}
