/* SPDX-License-Identifier: Apache-2.0 */
/* The running agent: its parts, in the order in which they are started; events mark, one pass applies. */
#pragma once

#include <uv.h>

#include "agent/config/config.h"
#include "agent/control/control.h"
#include "agent/kernel/datapath.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink.h"
#include "agent/node/node.h"
#include "agent/node/node_routes.h"
#include "agent/observe/http.h"
#include "agent/pods/cni_queue.h"
#include "agent/pods/pods.h"
#include "agent/policy/enforce.h"
#include "agent/reconcile/touched.h"
#include "agent/services/services.h"
#include "agent/show/show.h"
#include "agent/sources/source_dir.h"
#include "agent/store/store.h"

struct agent {
	struct config config;
	uv_loop_t *loop;
	struct store *store;
	struct netlink *nl;
	struct netlink_monitor *monitor;
	uv_poll_t monitor_poll;
	struct node node;
	struct maps *maps;
	struct datapath *datapath;
	struct enforce *enforce;
	struct services *services;
	struct node_routes *routes;
	struct pods *pods;
	struct cni_queue *cni_queue;
	struct source_dir *source;
	struct control_server *control;
	struct http_server *http;
	struct flows *flows;
	struct touched *touched;
	struct events *events;
	struct show_sources show;
	struct event_names event_names;

	uv_timer_t pass_timer;   /* runs the pass that events asked for */
	uv_timer_t look_timer;   /* looks through the flow table for what the turn has touched */
	uv_timer_t finish_timer; /* begins to wait for the programs that ran during it */
	uv_work_t wait;          /* waits, beside the loop: a busy machine may need seconds */
	bool waiting, wait_again;
	int wait_result;	 /* 0 or -errno */
	uint64_t waiting_since;  /* enforce_switches() when the wait began */
	uv_timer_t repair_timer; /* looks after what others may have removed */
	bool synced;             /* the sources have told all they had at start */
	bool settled;            /* a pass has succeeded since: ready */
	bool policy_dirty, nodes_dirty, links_dirty;
	uint64_t limits_told;    /* limits_log() */
	unsigned int repairs;
	char rules_note[200]; /* why the routing rules are not there; "": they are */
	uint64_t started_ns;
	uint64_t passes, failed_passes, last_pass_ns;
	char run_lock_path[256];
	int run_lock;
};

/*
 * Starts everything: nothing passes that the maps of before did not allow. On failure logs what is wrong and what to do.
 * 0 or -errno. agent_stop() is safe after either; it leaves programs, maps and pins where they are.
 */
int agent_start(struct agent *agent, uv_loop_t *loop);
void agent_stop(struct agent *agent);

/* agent_pass.c: events mark, the pass applies. */
int agent_pass_start(struct agent *agent);
void agent_schedule(struct agent *agent);
/* At the end of the turn the flow table is looked through for what was touched in it. */
void agent_look_soon(struct agent *agent);
/* Now, and if it must wait for running programs, waiting; 0 or -errno. */
int agent_pass(struct agent *agent);
void agent_store_changed(const struct object *object, bool deleted, void *agent);
void agent_synced(void *agent);
bool agent_ready(const struct agent *agent);
/* Ready, and no pod is cut off for want of its programs. */
bool agent_well(const struct agent *agent);

/* agent_links.c: pods' and uplinks' programs, links that come and go. */
extern const struct pods_hooks agent_pods_hooks;
/* Sets the link down, to be tried again by agent_repair(), if it cannot be. 0 or -errno. */
int agent_attach_pod(struct agent *agent, size_t index);
void agent_apply_rules(struct agent *agent);
int agent_attach_uplinks(struct agent *agent, char *message, size_t size);
int agent_watch_links(struct agent *agent);
void agent_repair(struct agent *agent);

/* agent_requests.c: the control socket and HTTP. */
int agent_register_requests(struct agent *agent);
int agent_start_http(struct agent *agent, char *message, size_t size);
void agent_progress(struct show_progress *ret, void *agent);
int agent_cni_finish(const char *container_id, const char *ifname, void *agent);
