/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the API server's source share. */
#pragma once

#include "agent/sources/api/api_kept.h"
#include "agent/sources/api/api_objects.h"
#include "agent/sources/api/api_source.h"
#include "agent/sources/api/api_writes.h"
#include "agent/sources/api/http_client.h"
#include "agent/sources/api/servers.h"

/* A watch's failure may be the server's, or its connection's. */
enum api_probe { PROBE_NONE, PROBE_ALIVE, PROBE_VERSION };
/* Enough for what stands before the items of a list. */
#define PROBE_BODY 8192

struct api_resource {
	struct api_source *source;
	const struct watch_resource *resource;
	struct watch_hooks hooks;
	struct watch *watch;
	struct api_objects *objects;
	struct http_request *request; /* NULL: none is on its way */
	char told[400];		      /* the problem that the store has; "": none */
	uint64_t errors[WATCH_RESULTS];
	unsigned int turn; /* of the servers, when it was asked */
};

struct api_source {
	uv_loop_t *loop;
	struct store *store;
	struct api_options options;
	void (*on_synced)(void *data);
	void *data;
	bool synced;
	uv_timer_t timer;
	struct http_client *http;
	struct api_resource resources[API_RESOURCES];
	struct api_writes *writes;
	struct api_balancers *balancers; /* NULL: their addresses are not written */
	struct api_kept *kept;		 /* NULL: objects are not kept */
	uint64_t started_ms;
	bool from_disk;	   /* what is in force is what was kept */
	int64_t kept_time; /* of that, in seconds since 1970 */
	uint64_t random_state;

	/* api_servers.c */
	bool has_identity;
	struct identity identity;
	uint64_t credentials_due_ms;
	struct error credentials_error; /* text "": none */
	struct servers servers;
	unsigned int turn;	       /* counts changes of the current one */
	char *remembered_path;	       /* NULL: they are not kept */
	char *remembered[SERVERS_MAX]; /* "ADDRESS:PORT" */
	size_t remembered_count;
	bool slices_changed; /* those of the Service `kubernetes`, maybe */

	/* api_connection.c */
	bool connected, was_connected;
	uint64_t since_ms; /* connected, or not */
	uint64_t heard_ms; /* from the server, whatever it was */
	bool has_heard;
	uint64_t outages;
	char error[400];    /* of the connection, the last one; "": none */
	char told[256];	    /* the same without the server's name, as the log has it */
	bool served;	    /* this server has listed or watched something */
	bool check_version; /* a connection was lost: is the server's state what it was? */
	enum api_probe probe;
	struct http_request *probe_request;
	uint64_t probe_version; /* of the namespaces, when it was asked */
	bool probe_answered;
	int probe_status;
	char probe_body[PROBE_BODY];
	size_t probe_length;
};

uint64_t api_now(const struct api_source *source); /* ms */
uint64_t api_random(struct api_source *source);	   /* for waiting times, not for secrets */
/* Something is due earlier than it was. */
void api_schedule(struct api_source *source);

/* api_servers.c: credentials and addresses. */
void api_load_remembered(struct api_source *source);
/* Reads the credentials when it is time. */
void api_refresh_credentials(struct api_source *source, uint64_t now);
/* The addresses in the EndpointSlices of the Service `kubernetes` are kept for the next start. */
void api_remember_servers(struct api_source *source);
void api_servers_clear(struct api_source *source);

/* api_connection.c: is the server there? */
struct api_question {
	const char *method; /* NULL: GET */
	const char *query;  /* path and query */
	const char *body;   /* NULL: none */
	const char *type;   /* of the body */
	uint64_t timeout_ms;
};
/* All is copied. 0 or -errno. */
int api_ask(struct api_source *source, const struct api_question *question,
	    const struct http_handlers *handlers, void *data, struct http_request **ret);
void api_heard(struct api_source *source);  /* any answer */
void api_served(struct api_source *source); /* one of status 200 */
/* The server that was asked in this turn cannot be used: the next one, unless it is its turn
 * already. */
void api_unreachable(struct api_source *source, unsigned int turn, const char *why);
/* Asks the server whether it is there, if nothing was heard for too long, or what its state is. */
void api_probe(struct api_source *source, uint64_t now);
uint64_t api_probe_due(const struct api_source *source);
void api_probe_cancel(struct api_source *source);

/* api_resource.c */
extern const struct watch_resource api_resources[API_RESOURCES];
int api_resource_open(struct api_source *source, size_t index);
void api_resource_close(struct api_resource *resource);
/* Asks, or gives up, what is due. */
void api_resource_run(struct api_resource *resource, uint64_t now);
/* When it has something to do; UINT64_MAX: never. */
uint64_t api_resource_due(const struct api_resource *resource);
/* A request that has no answer yet is given up: the server is another one now. */
void api_resource_move(struct api_resource *resource, const char *why, uint64_t now);
/* Its connection is lost: the answer ends here. */
void api_resource_cut(struct api_resource *resource, const char *why, uint64_t now);
