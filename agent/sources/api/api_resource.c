/* SPDX-License-Identifier: Apache-2.0 */
/* One resource: its watch, its requests, its objects. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/common/log.h"
#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/json_span.h"

#define NODES 1 /* of them */

/* In the order of the store's kinds; so they are asked for as well. */
const struct watch_resource api_resources[API_RESOURCES] = {
	{"namespaces", "", "/api/v1/namespaces", "Namespace", false},
	{"nodes", "", "/api/v1/nodes", "Node", false},
	{"pods", "", "/api/v1/pods", "Pod", false},
	{"services", "", "/api/v1/services", "Service", false},
	{"endpointslices", "discovery.k8s.io", "/apis/discovery.k8s.io/v1/endpointslices",
	 "EndpointSlice", false},
	{"networkpolicies", "networking.k8s.io", "/apis/networking.k8s.io/v1/networkpolicies",
	 "NetworkPolicy", false},
	{"clusternetworkpolicies", "policy.networking.k8s.io",
	 "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies", "ClusterNetworkPolicy",
	 true},
	{"trafficalerts", "polder.dev", "/apis/polder.dev/v1alpha1/trafficalerts", "TrafficAlert",
	 true},
};
_Static_assert(API_RESOURCES == OBJECT_KIND_COUNT, "one for each kind, in the same order");

/* ---------------------------------------------------------------- hooks of the watch */

static bool is_nodes(const struct api_resource *resource)
{
	return resource == &resource->source->resources[NODES];
}

static int list_begin(void *data)
{
	struct api_resource *resource = data;

	if (is_nodes(resource))
		api_writes_list(resource->source->writes);
	return api_objects_list_begin(resource->objects);
}

/* Those of the API server itself tell where it is. */
static void note_slice(struct api_resource *resource, const char *text, size_t length)
{
	struct span object = {text, length, true}, meta;
	char name[64];

	if (strcmp(resource->resource->name, "endpointslices") == 0 &&
	    span_member(object, "metadata", &meta) && span_text(meta, "name", name, sizeof(name)) &&
	    strncmp(name, "kubernetes", 10) == 0)
		resource->source->slices_changed = true;
}

static int put(const char *text, size_t length, bool whole, void *data)
{
	struct api_resource *resource = data;

	note_slice(resource, text, length);
	if (is_nodes(resource) && whole)
		api_writes_node(resource->source->writes, text, length);
	return api_objects_put(resource->objects, text, length, whole);
}

static int take_away(const char *text, size_t length, bool whole, void *data)
{
	struct api_resource *resource = data;

	if (is_nodes(resource))
		api_writes_node_gone(resource->source->writes, text, length);
	return api_objects_remove(resource->objects, text, length, whole);
}

static void list_end(void *data)
{
	struct api_resource *resource = data;

	api_objects_list_end(resource->objects);
	log_info("api", "%s: listed", api_objects_origin(resource->objects));
}

/* xorshift */
uint64_t api_random(struct api_source *source)
{
	uint64_t *state = &source->random_state;

	if (!*state && getrandom(state, sizeof(*state), 0) != sizeof(*state))
		*state = api_now(source);
	*state |= !*state;
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t random_number(void *data)
{
	struct api_resource *resource = data;

	return api_random(resource->source);
}

static bool is_server(void *data)
{
	const struct api_resource *resource = data;

	return resource->source->served;
}

static void on_refused(struct refusal *refusal, void *data)
{
	const struct api_resource *resource = data;
	const struct watch_resource *what = resource->resource;
	char version[64];
	const char *group = what->path + strlen("/apis/"), *end = strrchr(what->path, '/');

	if (what->group[0])
		snprintf(version, sizeof(version), "%.*s", (int)(end - group), group);
	else
		snprintf(version, sizeof(version), "v1");
	refusal->api_version = version;
	refusal->kind = what->kind;
	api_writes_refused(resource->source->writes, refusal);
}

/* ---------------------------------------------------------------- what is wrong with it */

static const char *advice(enum watch_result result)
{
	switch (result) {
	case WATCH_FORBIDDEN:
		return "; grant \"list\" and \"watch\" of it, see deploy/kubernetes/rbac.yaml";
	case WATCH_UNAUTHORIZED:
		return "; the credentials are read again; are they of this cluster, and not "
		       "expired?";
	case WATCH_NOT_FOUND:
		return "; is this a Kubernetes API server?";
	default:
		return "";
	}
}

/* What is the connection's is told once, not for each resource. */
static bool is_own(enum watch_result result)
{
	return result != WATCH_FINE && result != WATCH_FAILED && result != WATCH_CUT &&
	       result != WATCH_SILENT && result != WATCH_GONE && result != WATCH_BACKWARDS &&
	       result != WATCH_THROTTLED;
}

static void tell(struct api_resource *resource)
{
	const struct watch_resource *what = resource->resource;
	const char *origin = api_objects_origin(resource->objects);
	struct watch_state state;
	struct error error;
	char text[400] = "";

	watch_read_state(resource->watch, &state);
	/* It may be looked for before the server has shown that it is one. */
	if (is_own(state.result) && !(what->optional && state.result == WATCH_NOT_FOUND))
		snprintf(text, sizeof(text), "%s%s%s cannot be read: %.200s%s", what->name,
			 what->group[0] ? "." : "", what->group, state.error, advice(state.result));
	if (strcmp(text, resource->told) == 0)
		return;
	memcpy(resource->told, text, sizeof(text));
	if (text[0]) {
		log_error("api", "%s; what was read of them before stays in force", text);
		error_at(&error, -EIO, "", "%s", text);
		store_set_problem(resource->source->store, origin, &error);
	} else {
		log_info("api", "%s%s%s can be read again", what->name, what->group[0] ? "." : "",
			 what->group);
		store_set_problem(resource->source->store, origin, NULL);
	}
}

/* ---------------------------------------------------------------- requests */

/* The server is none, or its address leads elsewhere. */
static bool is_no_server(const struct api_resource *resource, enum watch_result result)
{
	struct watch_state state;

	if (result == WATCH_FAILED)
		return true;
	if (resource->source->served)
		return false;
	watch_read_state(resource->watch, &state);
	return (result == WATCH_MALFORMED && strstr(state.error, "no API server")) ||
	       (result == WATCH_NOT_FOUND && !resource->resource->optional);
}

static void after(struct api_resource *resource, enum watch_result result)
{
	struct api_source *source = resource->source;
	struct watch_state state;

	if (result != WATCH_FINE)
		resource->errors[result]++;
	watch_read_state(resource->watch, &state);
	if (result == WATCH_FINE)
		log_debug("api", "%s: the answer ended", resource->resource->name);
	else
		log_debug("api", "%s: %s: %s", resource->resource->name, watch_result_names[result],
			  state.error);
	if (is_no_server(resource, result))
		api_unreachable(source, resource->turn, state.error);
	if (result == WATCH_CUT)
		source->check_version = true;
	if (result == WATCH_UNAUTHORIZED)
		source->credentials_due_ms = 0;
	tell(resource);
	api_schedule(source);
}

static void on_head(int status, const char *type, unsigned int retry_after, void *data)
{
	struct api_resource *resource = data;

	api_heard(resource->source);
	watch_head(resource->watch, status, type, retry_after);
	if (status == 200 && type && strncmp(type, "application/json", 16) == 0)
		api_served(resource->source);
	tell(resource);
}

static int on_body(const char *bytes, size_t length, void *data)
{
	struct api_resource *resource = data;
	struct api_source *source = resource->source;
	int r;

	api_heard(source);
	store_batch_begin(source->store);
	r = watch_body(resource->watch, bytes, length, api_now(source));
	store_batch_end(source->store);
	/* A list that is whole ends what was wrong; the watch behind it goes on for minutes. */
	if (resource->told[0])
		tell(resource);
	if (!source->synced || source->slices_changed)
		api_schedule(source);
	return r;
}

static void on_end(const char *failure, void *data)
{
	struct api_resource *resource = data;

	resource->request = NULL;
	after(resource, watch_end(resource->watch, failure, api_now(resource->source)));
}

static const struct http_handlers handlers = {on_head, on_body, on_end};

static void ask(struct api_resource *resource, uint64_t now)
{
	char query[WATCH_QUERY_MAX];
	int r = watch_begin(resource->watch, now, query);

	resource->turn = resource->source->turn;
	if (r == 0)
		r = api_ask(resource->source, &(struct api_question){.query = query}, &handlers,
			    resource, &resource->request);
	if (r == 0) {
		log_debug("api", "GET %s", query);
		return;
	}
	resource->request = NULL;
	after(resource, watch_end(resource->watch, strerror(-r), now));
}

void api_resource_cut(struct api_resource *resource, const char *why, uint64_t now)
{
	if (!resource->request)
		return;
	http_request_cancel(resource->request);
	resource->request = NULL;
	resource->errors[WATCH_SILENT]++;
	(void)watch_end(resource->watch, why, now);
}

void api_resource_move(struct api_resource *resource, const char *why, uint64_t now)
{
	if (!resource->request || watch_is_answered(resource->watch))
		return;
	http_request_cancel(resource->request);
	resource->request = NULL;
	(void)watch_end(resource->watch, why, now);
}

static void give_up(struct api_resource *resource, uint64_t now)
{
	http_request_cancel(resource->request);
	resource->request = NULL;
	after(resource, watch_give_up(resource->watch, now));
}

void api_resource_run(struct api_resource *resource, uint64_t now)
{
	uint64_t deadline = watch_deadline(resource->watch);

	if (!resource->request && watch_due(resource->watch) <= now)
		ask(resource, now);
	else if (resource->request && deadline && deadline <= now)
		give_up(resource, now);
}

uint64_t api_resource_due(const struct api_resource *resource)
{
	uint64_t deadline = watch_deadline(resource->watch);

	if (!resource->request)
		return watch_due(resource->watch);
	return deadline ? deadline : UINT64_MAX;
}

/* ---------------------------------------------------------------- life */

int api_resource_open(struct api_source *source, size_t index)
{
	struct api_resource *resource = &source->resources[index];

	resource->source = source;
	resource->resource = &api_resources[index];
	resource->hooks = (struct watch_hooks){list_begin,    put,	 take_away, list_end,
					       random_number, is_server, resource};
	resource->watch = watch_new(resource->resource, &resource->hooks);
	if (!resource->watch)
		return -ENOMEM;
	return api_objects_new(source->store, (enum object_kind)index, resource->resource->name,
			       on_refused, resource, &resource->objects);
}

void api_resource_close(struct api_resource *resource)
{
	http_request_cancel(resource->request);
	watch_free(resource->watch);
	api_objects_free(resource->objects);
	resource->request = NULL;
	resource->watch = NULL;
	resource->objects = NULL;
}
