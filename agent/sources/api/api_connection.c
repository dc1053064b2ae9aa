/* SPDX-License-Identifier: Apache-2.0 */
/* Is the server there, and is it the one that it was? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/json_span.h"

#define CONNECTION_ORIGIN "api:connection"
/* Beside the answer to the question itself the connection is made in this time. */
#define PROBE_VERSION_MS 30000

int api_ask(struct api_source *source, const struct api_question *question,
	    const struct http_handlers *handlers, void *data, struct http_request **ret)
{
	const struct server *server = servers_current(&source->servers);
	CLEANUP(cleanup_free) char *url = NULL;
	struct http_query wanted;

	if (!server)
		return -EDESTADDRREQ;
	if (asprintf(&url, "%s%s", server->base, question->query) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	wanted = (struct http_query){.method = question->method,
				     .url = url,
				     .connect_to = server->connect_to,
				     .host = server->host,
				     .identity = &source->identity,
				     .timeout_ms = question->timeout_ms,
				     .body = question->body,
				     .type = question->type};
	return http_client_ask(source->http, &wanted, handlers, data, ret);
}

/* ---------------------------------------------------------------- there, or not */

void api_heard(struct api_source *source)
{
	source->heard_ms = api_now(source);
	source->has_heard = true;
}

/* Whoever waits longer because there was no server need not any more. */
static void hurry(struct api_source *source, uint64_t now)
{
	struct watch_state state;

	for (size_t i = 0; i < API_RESOURCES; i++) {
		watch_read_state(source->resources[i].watch, &state);
		if (!source->resources[i].request &&
		    (state.result == WATCH_FAILED || state.result == WATCH_CUT ||
		     state.result == WATCH_SILENT))
			watch_hurry(source->resources[i].watch, now);
	}
}

void api_served(struct api_source *source)
{
	const struct server *server = servers_current(&source->servers);
	uint64_t now = api_now(source);

	source->served = true;
	if (source->connected)
		return;
	if (source->was_connected) {
		source->check_version = true;
		log_info("api", "API server %s: serves again, after %llu s", server->name,
			 (unsigned long long)(now - source->since_ms) / 1000);
	} else {
		log_info("api", "API server %s: connected", server->name);
	}
	source->connected = source->was_connected = true;
	source->since_ms = now;
	source->error[0] = source->told[0] = '\0';
	store_set_problem(source->store, CONNECTION_ORIGIN, NULL);
	hurry(source, now);
	api_schedule(source);
}

static void tell(struct api_source *source, const char *server, const char *why)
{
	char text[400];
	struct error error;

	snprintf(text, sizeof(text),
		 "%.120s cannot be used: %.200s; what is in force stays as it is", server, why);
	if (strcmp(text, source->error) == 0)
		return;
	memcpy(source->error, text, sizeof(text));
	/* Several addresses that fail alike are one line. */
	if (strncmp(why, source->told, sizeof(source->told) - 1) != 0)
		log_warning("api", "API server %s", text);
	snprintf(source->told, sizeof(source->told), "%s", why);
	error_at(&error, -EIO, "", "API server %s", text);
	store_set_problem(source->store, CONNECTION_ORIGIN, &error);
}

/* All resources find it out, one after the other: the first one changes the address. */
void api_unreachable(struct api_source *source, unsigned int turn, const char *why)
{
	const struct server *server = servers_current(&source->servers);
	uint64_t now = api_now(source);

	if (!server || turn != source->turn)
		return;
	tell(source, server->name, why);
	if (source->connected) {
		source->connected = false;
		source->since_ms = now;
		source->outages++;
	}
	source->served = false;
	source->turn++;
	servers_next(&source->servers);
	/* Those that wait for the same connection would each try it again. */
	for (size_t i = 0; i < API_RESOURCES; i++)
		api_resource_move(&source->resources[i], why, now);
}

/* ---------------------------------------------------------------- probes */

static void lose(struct api_source *source, const char *why)
{
	uint64_t now = api_now(source);

	for (size_t i = 0; i < API_RESOURCES; i++)
		api_resource_cut(&source->resources[i], why, now);
	api_writes_cut(source->writes);
	api_balancers_cut(source->balancers);
	http_client_reset(source->http);
	source->check_version = true;
	api_unreachable(source, source->turn, why);
	api_heard(source); /* the next one has its time */
}

/* A state before the one that is known: the server's data was put back, or it is another cluster's.
 */
static void check_version(struct api_source *source)
{
	struct span list = {source->probe_body, source->probe_length, false}, meta;
	char text[129] = "";
	uint64_t version, now = api_now(source);

	source->check_version = false;
	if (!span_member(list, "metadata", &meta) ||
	    !span_text(meta, "resourceVersion", text, sizeof(text)))
		return;
	version = strtoull(text, NULL, 10);
	if (!version || version >= source->probe_version)
		return;
	log_warning("api",
		    "the API server is at resourceVersion %llu, before %llu, which it has sent: "
		    "its data was put back; all is listed again",
		    (unsigned long long)version, (unsigned long long)source->probe_version);
	for (size_t i = 0; i < API_RESOURCES; i++) {
		struct api_resource *resource = &source->resources[i];

		api_resource_cut(resource, "its data was put back", now);
		resource->errors[WATCH_BACKWARDS]++;
		watch_relist(resource->watch, now);
	}
}

static void on_head(int status, const char *type, unsigned int retry_after, void *data)
{
	struct api_source *source = data;

	(void)type;
	(void)retry_after;
	source->probe_answered = true;
	source->probe_status = status;
	api_heard(source);
}

static int on_body(const char *bytes, size_t length, void *data)
{
	struct api_source *source = data;
	size_t room = sizeof(source->probe_body) - source->probe_length;

	if (length > room)
		length = room;
	memcpy(source->probe_body + source->probe_length, bytes, length);
	source->probe_length += length;
	return 0;
}

static void on_end(const char *failure, void *data)
{
	struct api_source *source = data;
	enum api_probe probe = source->probe;

	source->probe_request = NULL;
	source->probe = PROBE_NONE;
	if (!source->probe_answered)
		lose(source, failure ? failure : "there is no answer");
	else if (probe == PROBE_VERSION && source->probe_status == 200)
		check_version(source);
	else if (probe == PROBE_VERSION)
		source->check_version = false;
	api_schedule(source);
}

static const struct http_handlers handlers = {on_head, on_body, on_end};

/* Of all resources: the one that changed last has the newest, and its watch would wait for the
 * server to come to it again. 0: nothing has been read yet. */
static uint64_t newest_version(const struct api_source *source)
{
	struct watch_state state;
	uint64_t newest = 0;

	for (size_t i = 0; i < API_RESOURCES; i++) {
		watch_read_state(source->resources[i].watch, &state);
		if (state.version > newest)
			newest = state.version;
	}
	return newest;
}

static void ask(struct api_source *source, enum api_probe probe, uint64_t now)
{
	const struct api_question question = {
		.query = probe == PROBE_ALIVE ? "/version" : "/api/v1/namespaces?limit=1",
		.timeout_ms = probe == PROBE_ALIVE ? source->options.silence_ms : PROBE_VERSION_MS};

	source->probe_version = newest_version(source);
	source->probe_answered = false;
	source->probe_length = 0;
	source->probe = probe;
	if (api_ask(source, &question, &handlers, source, &source->probe_request) < 0) {
		source->probe = PROBE_NONE;
		source->heard_ms = now; /* later */
	}
}

/* Nobody waits for a version before there is one, and not while lists tell it anyway. */
static bool wants_version(const struct api_source *source)
{
	return source->check_version && source->connected && newest_version(source);
}

void api_probe(struct api_source *source, uint64_t now)
{
	if (source->probe != PROBE_NONE || !source->has_identity)
		return;
	if (wants_version(source))
		ask(source, PROBE_VERSION, now);
	else if (source->connected && source->heard_ms + source->options.silence_ms <= now)
		ask(source, PROBE_ALIVE, now);
}

uint64_t api_probe_due(const struct api_source *source)
{
	if (source->probe != PROBE_NONE || !source->connected)
		return UINT64_MAX;
	return wants_version(source) ? 0 : source->heard_ms + source->options.silence_ms;
}

void api_probe_cancel(struct api_source *source)
{
	http_request_cancel(source->probe_request);
	source->probe_request = NULL;
	source->probe = PROBE_NONE;
}
