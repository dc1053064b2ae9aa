/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent tells about itself on the control socket and to whoever scrapes it. */
#pragma once

#include "agent/announce/announce.h"
#include "agent/config/config.h"
#include "agent/control/control.h"
#include "agent/kernel/datapath.h"
#include "agent/kernel/flows.h"
#include "agent/kernel/maps.h"
#include "agent/node/node_routes.h"
#include "agent/node/stray_pods.h"
#include "agent/node/tunnel.h"
#include "agent/observe/alert_watch.h"
#include "agent/observe/cni_counts.h"
#include "agent/observe/drop_log.h"
#include "agent/observe/events.h"
#include "agent/observe/flow_export.h"
#include "agent/observe/flow_watch.h"
#include "agent/observe/kernel_drops.h"
#include "agent/pods/pods.h"
#include "agent/policy/policy_sync.h"
#include "agent/reconcile/reconciler.h"
#include "agent/services/services.h"
#include "agent/services/socket_ends.h"
#include "agent/sources/api/api_source.h"
#include "agent/store/store.h"

/* How the agent gets on. */
struct show_progress {
	bool ready, synced;
	const char *rules_note; /* why the routing rules are not there; "": they are */
	/* What of the state directory and of pins is missing, and why; "": nothing. */
	const char *families_note, *state_note, *pins_note;
	const char *passed_note;     /* routing rules that do not hold for pods; "": none */
	const char *node_ports_note; /* ports that node ports share with others; "": none */
	const char *cni_note;	     /* of the runtimes' network configuration; "": nothing */
	/* Why connections of the node outlive their Service's endpoint; "": they do not. */
	const char *sockets_note, *sockets_full_note;
	const char *latency_note; /* why connections are not measured; "": they are, or need not */
	const char *processes_note; /* the same of processes */
	bool pending;		    /* a change in the store is not in force yet */
	uint64_t reconciles, reconcile_errors, policy_switches;
	uint64_t audits, audit_differences;
	double last_reconcile_seconds;
};

/* Where the answers come from. All of it outlives the control server; read in the loop only. */
struct health_ports;
struct process_names;
struct show_sources {
	uv_loop_t *loop;
	uint64_t started_ns; /* uv_hrtime() when the agent started */
	const struct config *config;
	const struct node *node;
	const struct peers *peers;
	const struct tunnel *tunnel;
	const struct stray_pods *stray_pods;
	const struct node_routes *routes;
	const struct store *store;
	struct api_source *const *api_source; /* leads to NULL if there is none */
	struct balancers *const *balancers;   /* leads to NULL if there are no pools */
	struct announce *const *announce;     /* the same if none are announced */
	const struct pods *pods;
	struct reconciler *reconciler;
	const struct services *services;
	struct policy_sync *policy_sync;
	struct maps *maps;
	struct datapath *datapath;
	struct flows *flows;
	struct events *events;
	struct drop_log *drop_log;
	struct kernel_drops *kernel_drops;
	const struct event_names *event_names;
	const struct flow_export *flow_export; /* NULL: none is wanted */
	struct flow_recorder *recorder;
	struct process_names *process_names;
	struct alert_watch *alerts;
	enum program_wait_method wait_method;
	const struct socket_ends *socket_ends;
	const struct health_ports *health_ports;
	const struct cni_counts *cni;
	const struct histogram *reconcile_durations;
	struct control_server *control;			 /* for what it counts */
	struct http_server *const *http, *const *health; /* each leads to NULL if there is none */
	void (*progress)(struct show_progress *ret, void *data);
	void *data;
};

/*
 * Registers status, pods, nodes, services, policies, flows, drops, latency, maps, config, metrics
 * and monitor. `sources` is kept. 0 or -errno.
 */
int show_register(struct control_server *server, const struct show_sources *sources);

/* Who has an address, for a struct flow_watch_env; `data` is the struct show_sources. */
void show_flow_end(const struct polder_addr *addr, struct flow_watch_end *ret, void *data);

/* What was measured of pods and Services that are no more is forgotten. */
void show_latency_prune(const struct show_sources *sources);

/* Names for events, from `sources` (kept). */
void show_event_names(const struct show_sources *sources, struct event_names *ret);
