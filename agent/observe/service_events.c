/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/service_events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/announce/claims.h"
#include "agent/common/hash.h"
#include "agent/store/store.h"
#include "policy/objects/digest.h"

#define API_ORIGIN "api:"

/* The reasons of Events; people filter by them. */
static const char *const reasons[SERVICE_PROBLEM_KINDS] = {
	[SERVICE_PROBLEM_FRONTEND] = "FrontendNotServed",
	[SERVICE_PROBLEM_ENDPOINTS] = "EndpointsLeftOut",
	[SERVICE_PROBLEM_ANNOTATION] = "AnnotationIgnored",
	[SERVICE_PROBLEM_ROOM] = "NoRoomForService",
	[SERVICE_PROBLEM_HEALTH] = "HealthCheckNotServed",
};

/* A problem that is known, said or not. */
struct known {
	UT_hash_handle hh;
	uint8_t key[DIGEST_BYTES];
	enum service_problem_kind kind;
	bool own; /* this node's, and said */
	bool marked;
};

struct service_events {
	struct service_events_env env;
	struct known *known;
	size_t own[SERVICE_PROBLEM_KINDS];
	size_t seen; /* since service_events_begin() */
};

int service_events_new(const struct service_events_env *env, struct service_events **ret)
{
	struct service_events *events = calloc(1, sizeof(*events));

	if (!events)
		return -ENOMEM;
	events->env = *env;
	*ret = events;
	return 0;
}

static void forget(struct service_events *events, struct known *known)
{
	events->own[known->kind] -= known->own;
	HASH_DEL(events->known, known);
	free(known);
}

void service_events_free(struct service_events *events)
{
	struct known *known, *next;

	if (!events)
		return;
	HASH_ITER (hh, events->known, known, next)
		forget(events, known);
	free(events);
}

/* ---------------------------------------------------------------- who says it */

/* The digest of the Service's names in the place of an address. */
static struct polder_addr place_of(const struct object *service)
{
	uint8_t bytes[DIGEST_BYTES];
	struct polder_addr place;
	struct digest digest;

	digest_begin(&digest);
	digest_add_text(&digest, service->namespace);
	digest_add_text(&digest, service->name);
	digest_end(&digest, bytes);
	memcpy(&place, bytes, sizeof(place));
	return place;
}

/* Is this node one of the few that say what each finds? */
static bool is_teller(const struct service_events *events, const struct object *service)
{
	const struct polder_addr place = place_of(service);
	const uint64_t own = claim_score(claim_node_hash(events->env.node), &place);
	size_t count, better = 0;
	const struct object *const *nodes = store_objects(events->env.store, OBJECT_NODE, &count);

	for (size_t i = 0; i < count && better < SERVICE_EVENTS_TELLERS; i++)
		better += claim_score(claim_node_hash(nodes[i]->name), &place) < own;
	return better < SERVICE_EVENTS_TELLERS;
}

static bool is_told_here(struct service_events *events, const struct service_problem *problem,
			 const struct object *service)
{
	return problem->here ? events->own[problem->kind] < SERVICE_EVENTS_OWN
			     : is_teller(events, service);
}

/* ---------------------------------------------------------------- what is known */

static const char *text_of(const struct service_problem *problem)
{
	return problem->everywhere[0] ? problem->everywhere : problem->reason;
}

/* The same words about another Service of the name are new. */
static void write_key(const struct service_problem *problem, const struct object *service,
		      uint8_t key[DIGEST_BYTES])
{
	struct digest digest;

	digest_begin(&digest);
	digest_add_text(&digest, service->namespace);
	digest_add_text(&digest, service->name);
	digest_add_text(&digest, service->uid);
	digest_add_number(&digest, problem->kind);
	digest_add_text(&digest, text_of(problem));
	digest_end(&digest, key);
}

/* NULL: no memory, or there are too many. */
static struct known *know(struct service_events *events, const uint8_t key[DIGEST_BYTES],
			  enum service_problem_kind kind)
{
	struct known *known;

	if (HASH_COUNT(events->known) >= SERVICE_EVENTS_MAX)
		return NULL;
	known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	memcpy(known->key, key, sizeof(known->key));
	known->kind = kind;
	HASH_ADD(hh, events->known, key, sizeof(known->key), known);
	if (HASH_ADDED(hh, known))
		return known;
	free(known);
	return NULL;
}

/* The Service, if it is the API server's: who wrote a file reads the status. */
static const struct object *service_of(const struct service_events *events,
				       const struct service_problem *problem)
{
	const char *origin;

	if (!problem->namespace[0])
		return NULL;
	origin = store_origin(events->env.store, OBJECT_SERVICE, problem->namespace, problem->name);
	if (!origin || strncmp(origin, API_ORIGIN, strlen(API_ORIGIN)) != 0)
		return NULL;
	return store_get(events->env.store, OBJECT_SERVICE, problem->namespace, problem->name);
}

void service_events_begin(struct service_events *events)
{
	struct known *known;

	events->seen = 0;
	for (known = events->known; known; known = known->hh.next)
		known->marked = false;
}

void service_events_problem(const struct service_problem *problem, void *data)
{
	struct service_events *events = data;
	const struct object *service = service_of(events, problem);
	struct service_event event;
	uint8_t key[DIGEST_BYTES];
	struct known *known;

	if (!service || events->seen == SERVICE_EVENTS_MAX)
		return;
	events->seen++;
	write_key(problem, service, key);
	HASH_FIND(hh, events->known, key, sizeof(key), known);
	if (known) {
		known->marked = true;
		return;
	}
	known = know(events, key, problem->kind);
	if (!known)
		return;
	known->marked = true;
	if (!is_told_here(events, problem, service))
		return;
	known->own = problem->here;
	events->own[problem->kind] += problem->here;
	event = (struct service_event){.service = service,
				       .reason = reasons[problem->kind],
				       .text = text_of(problem),
				       .few = !problem->here};
	events->env.tell(&event, events->env.data);
}

void service_events_end(struct service_events *events)
{
	struct known *known, *next;

	HASH_ITER (hh, events->known, known, next)
		if (!known->marked)
			forget(events, known);
}
