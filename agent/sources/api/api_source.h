/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes objects from an API server: a second source beside the directory, into the same store.
 * Each resource is an origin of the store ("api:pods"), listed and then watched. While no server is
 * reached everything stays as it is; what is not there any more goes with the first list that is
 * whole.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "agent/sources/api/api_balancers.h"
#include "agent/sources/api/api_writes.h"
#include "agent/sources/api/watch.h"
#include "agent/store/store.h"

#define API_RESOURCES 8

struct api_options {
	const char *kubeconfig;	     /* file; NULL: --in-cluster */
	const char *context;	     /* NULL: current-context */
	const char *service_account; /* directory; NULL: a pod's */
	char *const *servers;	     /* --api-server */
	size_t server_count;
	/* A server that says nothing for so long is asked whether it is there, and has as long to
	 * answer; so long a connection may go without a sign of life. */
	uint64_t silence_ms;
	const char *remembered; /* file of the servers' last known addresses; NULL: none is kept */
	const char *kept;	/* file of the objects; NULL: they are not kept */
	const char *node;	/* the name of this one's Node */
	/* Whose addresses are written to Services; NULL: none are. */
	const struct balancer_hooks *balancers;
};

struct api_source;

/*
 * `options` is read; what it points to is kept, but for the two files. `on_synced` (may be NULL)
 * runs once, from the loop, when all resources have been read whole, or those that were kept are
 * put in force because they cannot be. Credentials that cannot be
 * read, and servers that cannot be reached, are problems of the store, and tried again. 0 or
 * -ENOMEM.
 */
int api_source_new(uv_loop_t *loop, const struct api_options *options, struct store *store,
		   void (*on_synced)(void *data), void *data, struct api_source **ret);
/* Reads the credentials again, and asks at once for what is waited with. */
void api_source_reload(struct api_source *source);
/* Pods have a network on this node, or not: what the cluster is told. */
void api_source_set_ready(struct api_source *source, bool ready);
/* An Event on a Service that something is wrong with. `few`: see struct refusal. */
void api_source_tell_service(struct api_source *source, const struct object *service,
			     const char *reason, const char *text, bool few);
/* What the hooks of load balancers say may have changed. */
void api_source_balance(struct api_source *source);
/* An Event on an object. What finds no room is not told. */
void api_source_tell(struct api_source *source, const struct refusal *refusal);
/* Takes NULL; leaves the store as it is. The memory is released by the loop's next turn. */
void api_source_free(struct api_source *source);

struct api_resource_status {
	const char *name;
	struct watch_state watch;
	bool synced;
	size_t refused; /* objects that cannot be used now */
	uint64_t errors[WATCH_RESULTS];
	int64_t age_ms; /* since something came of it; -1: never */
};

struct api_status {
	const char *server; /* "": none is known yet */
	bool connected;
	uint64_t since_ms; /* for so long it is, or is not */
	const char *error; /* the last one of the connection or the credentials, "" */
	int64_t age_ms;	   /* since anything came; -1: never */
	uint64_t received; /* bytes */
	uint64_t outages;  /* how often it was lost */
	struct api_resource_status resources[API_RESOURCES];
	const char *kept;  /* file of the objects; NULL: they are not kept */
	bool from_disk;	   /* what is in force has been read of it */
	int64_t kept_time; /* when it was so, in seconds since 1970; 0: never whole */
	struct write_status writes[WRITE_KINDS];
	size_t waiting;	    /* Events to be told */
	const char *holder; /* of the Lease of load balancers, as it was seen last; "": nobody */
};
/* Texts are valid until the loop turns. */
void api_source_status(const struct api_source *source, struct api_status *ret);
