/* SPDX-License-Identifier: Apache-2.0 */
/* The running agent: its parts, in the order in which they are started; events mark, the reconciler
 * applies. */
#pragma once

#include <limits.h>
#include <uv.h>

#include "agent/announce/announce.h"
#include "agent/capture/capture.h"
#include "agent/config/config.h"
#include "agent/control/control.h"
#include "agent/kernel/datapath.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink.h"
#include "agent/node/node.h"
#include "agent/node/node_routes.h"
#include "agent/node/peers.h"
#include "agent/node/stray_pods.h"
#include "agent/node/tunnel.h"
#include "agent/observe/cni_counts.h"
#include "agent/observe/http.h"
#include "agent/pods/cni_queue.h"
#include "agent/pods/pods.h"
#include "agent/reconcile/reconciler.h"
#include "agent/observe/health_ports.h"
#include "agent/observe/service_events.h"
#include "agent/services/socket_ends.h"
#include "agent/show/show.h"
#include "agent/show/show_processes.h"
#include "agent/sources/api/api_source.h"
#include "agent/sources/source_dir.h"
#include "agent/store/store.h"

#define AGENT_ID_SIZE	     17
#define AGENT_ANNOUNCE_POLLS (CONFIG_MAX_UPLINKS * ANNOUNCE_SOCKETS)

struct agent_add;     /* requests.c */
struct announce_poll; /* announce.c */
struct foreign_program;

struct agent {
	struct config config;
	int argc; /* what `config` was read from */
	char **argv;
	uv_loop_t *loop;
	struct store *store;
	bool stopping; /* a signal has said so */
	struct netlink *nl;
	struct netlink_monitor *monitor;
	uv_poll_t monitor_poll;
	uv_timer_t rescan_timer;
	uint64_t rescan_ns; /* how long the last one took */
	uint64_t rescan_end_ns;
	uint64_t rescans;
	bool rescan_failed;
	bool ways_owed; /* the maps do not say yet what `node` does */
	struct node node;
	struct node told; /* uplinks and exits as the log has them */
	struct maps *maps;
	struct datapath *datapath;
	struct peers *peers; /* other nodes */
	struct stray_pods *stray_pods;
	bool peers_owed;  /* they do not know the node's network as it is */
	bool tunnel_owed; /* the device may be another, or gone */
	struct tunnel tunnel;
	struct node_routes *routes;
	uv_timer_t routes_timer; /* what node_routes_due() says */
	char *state;		 /* the reconciler's file */
	struct reconciler *reconciler;
	struct pods *pods;
	struct cni_queue *cni_queue;
	struct source_dir *source;     /* NULL: none */
	struct api_source *api_source; /* NULL: none */
	struct balancers *balancers;   /* NULL: there are no pools of addresses */
	struct announce *announce;     /* NULL: this node announces none */
	bool balancers_dirty;
	uv_timer_t balance_timer;
	uv_timer_t announce_timer; /* what announce_run() says */
	struct announce_poll *announce_polls[AGENT_ANNOUNCE_POLLS];
	struct control_server *control;
	struct capture *capture;
	struct http_server *http;	   /* NULL: none */
	struct http_server *health;	   /* the same, for health alone */
	struct ui *ui;			   /* the page in the browser; NULL: none */
	struct health_ports *health_ports; /* of Services */
	struct service_events *service_events;
	struct events *events;
	struct show_sources show;
	struct event_names event_names;
	struct drop_log *drop_log;
	struct kernel_drops *kernel_drops;
	struct flow_export *flow_export; /* NULL: none is wanted */
	struct flow_recorder recorder;
	struct alert_watch *alerts;

	uv_timer_t run_timer; /* what reconciler_due() says */
	uv_timer_t turn_timer;
	uv_timer_t begin_timer;
	uv_work_t first_work; /* has the threads started */
	uv_work_t wait;	 /* for the programs, beside the loop: a busy machine may need seconds */
	int wait_result; /* 0 or -errno */
	uv_work_t prove; /* that waiting can be fast */
	int prove_result;
	bool prove_owed; /* it was not to be seen */
	unsigned int proofs;
	uv_timer_t repair_timer; /* looks after what others may have removed */
	uv_timer_t add_timer;
	uv_timer_t second_timer;
	uv_timer_t mac_timer;	   /* while pods are young */
	uint64_t mac_drops;	   /* seen so far */
	unsigned int seconds;	   /* since the start */
	char node_ports_note[512]; /* what the kernel's ports and node ports share; "": nothing */
	char families_note[256];   /* what of the configuration this kernel cannot; "": nothing */
	char told_status[512];	   /* to the service manager */
	bool told_ready;	   /* likewise */
	bool telling_failed;	   /* logged */
	struct cni_counts cni;
	struct histogram reconcile_durations;
	uint64_t failing_since_ns;     /* of reconciles; 0: the last one succeeded */
	struct agent_add *adds;	       /* CNI ADDs that wait for the kernel */
	struct agent_attach *attaches; /* programs of pods that are being connected */
	uv_work_t attach_work;
	uv_timer_t quiet_timer; /* since the last ADD */
	bool attaching;		/* in the thread, one of them */
	bool ready;		/* it has been told that a run has succeeded */
	bool links_dirty;	/* links of pods have gone */
	bool labels_owed;	/* of some pods: they could not be saved */
	bool labels_failed;	/* told */
	uint64_t limits_told;	/* limits_log() */
	unsigned int repairs;
	struct socket_ends *socket_ends;
	uv_timer_t sockets_timer; /* what socket_ends_due() says */
	uv_work_t sockets_work;	  /* a look at sockets, beside the loop */
	struct socket_look sockets_look;
	int sockets_result;
	uint64_t unknown_sockets; /* the programs' counter, as it was last read */
	uint64_t sockets_full_ns; /* when it had grown */
	char sockets_note[240];	  /* why sockets cannot be ended; "": they can */
	char sockets_full_note[240];
	bool sockets_failed;		       /* told */
	unsigned int latency_pruned;	       /* `seconds` when that was */
	char latency_note[512];		       /* why connections are not measured; "" */
	char processes_note[512];	       /* why processes are not noted; "" */
	char hooks_note[512];		       /* told: of the socket programs */
	int socket_failed;		       /* of the control socket: told; 0: it has not */
	uint64_t quiet_change, quiet_since_ns; /* no change of objects or pods has come since */
	uint64_t audited_change, audited_ns;   /* of the last audit */
	char passed_note[400]; /* routing rules that do not hold for pods; "": none */
	char rules_note[200];  /* why the routing rules are not there; "": they are */
	char run_lock_path[256];
	int run_lock, netns_lock, bpffs_lock, state_lock; /* <= 0: none */
	uv_poll_t netns_poll;
	char id[AGENT_ID_SIZE];		 /* this agent's, over restarts and reboots; "": none */
	char state_note[400];		 /* why there is no state directory; "": there is one */
	char cni_note[600];		 /* of the network configuration; "": nothing is wrong */
	char pins_note[400];		 /* what cannot be pinned; "": all is */
	struct foreign_program *foreign; /* to be replaced at the start */
	size_t foreign_count;
};

/*
 * Starts everything: nothing passes that the maps of before did not allow. On failure logs what is
 * wrong and what to do. 0 or -errno. agent_stop() is safe after either; it leaves programs, maps
 * and pins where they are.
 */
int agent_start(struct agent *agent, uv_loop_t *loop);
void agent_stop(struct agent *agent);

/* reconcile.c: the reconciler's time, and what is around it. */
void agent_reconcile_start(struct agent *agent);
struct reconciler_env agent_reconciler_env(struct agent *agent);
/* A link of a pod has gone: the pod is taken away, in a moment. */
void agent_links_changed(struct agent *agent);
/* Now, waiting for running programs if need be; 0 or -errno. */
int agent_reconcile(struct agent *agent);
void agent_synced(void *agent);
bool agent_is_synced(const struct agent *agent);
bool agent_ready(const struct agent *agent);
/* Ready, no pod is cut off for want of its programs, and reconciles succeed. */
bool agent_well(const struct agent *agent);

/* http.c */
int agent_start_http(struct agent *agent, char *message, size_t size);
/* Listens where the configuration says now, and there alone. 0 or -errno with a message: then
 * nowhere. */
int agent_serve_metrics(struct agent *agent, char *message, size_t size);
int agent_serve_health(struct agent *agent, char *message, size_t size);
/* The page in the browser, again if it is served already. */
int agent_serve_ui(struct agent *agent, char *message, size_t size);
/* Services have changed: their health check node ports are served as they ask for now. */
void agent_follow_health_ports(struct agent *agent);

/* service_problems.c: problems of Services, told to the cluster. 0 or -ENOMEM. */
int agent_start_service_events(struct agent *agent);
/* After anything that may have changed them. */
void agent_tell_service_problems(struct agent *agent);

/* sources.c: where objects come from. 0 or -errno with `message`. */
int agent_start_sources(struct agent *agent, char *message, size_t size);
/* The same with another one to be told when all is read, again and again. */
int agent_open_sources(struct agent *agent, void (*synced)(void *data), char *message, size_t size);
void agent_stop_sources(struct agent *agent);
/* Reads everything again that is not told of by itself. */
void agent_reload_sources(struct agent *agent);

/* reload.c */
void agent_reload(struct agent *agent);
void agent_tell_state(struct agent *agent); /* to the log */

/* service.c: what is done once a second. */
void agent_service_start(struct agent *agent);
/* That it is ready, unless it has been told or is not. What fails is repeated each second. */
void agent_tell_ready(struct agent *agent);

/* threads.c: those beside the loop, while it can still be told that there are none. 0 or
 * -errno. */
int agent_start_threads(struct agent *agent, char *message, size_t size);

/* network.c: links, addresses and routes of the node. */
int agent_watch_network(struct agent *agent);
/* What the maps and the uplinks' programs lack is put there. 0 or the first error. */
int agent_attach_uplinks(struct agent *agent, char *message, size_t size);
/* Programs that somebody took away come back, and what could not be written is tried again. */
void agent_repair_uplinks(struct agent *agent);

/*
 * attach.c: the programs of a pod that is being connected are attached, beside the loop. 0:
 * they are, or will be: agent_attach_result() tells. -errno with `message`.
 */
int agent_attach_begin(struct agent *agent, int ifindex, char *message, size_t size);
/* -EINPROGRESS: not yet. 0: the link may be up. -errno with `message`: it is over, and forgotten.
 */
int agent_attach_result(struct agent *agent, int ifindex, char *message, size_t size);
/* Also while it lacks what comes later. */
bool agent_is_attaching(const struct agent *agent, int ifindex);
/* An ADD is done: what waits for a quiet moment may come soon. */
void agent_attach_settle(struct agent *agent);
/* What connected pods lack yet, now: polderd ends. */
void agent_attach_finish(struct agent *agent);
/* The pod is taken away. */
void agent_attach_cancel(struct agent *agent, int ifindex);

/* links.c: pods' programs, and what others may have removed. */
void agent_tell_sockets(struct agent *agent);
void agent_measure(struct agent *agent);
bool agent_wants_processes(const struct agent *agent);
void agent_note_processes(struct agent *agent);
/* A pod has been connected: its MAC address may be changed by plugins behind ours. */
void agent_watch_macs(struct agent *agent);
extern const struct pods_hooks agent_pods_hooks;
/* All links get the programs that are in force now (datapath_use_capture()). */
void agent_attach_again(void *agent);
/* Sets the link down, to be tried again by agent_repair(), if it cannot be. 0 or -errno. */
int agent_attach_pod(struct agent *agent, size_t index);
void agent_apply_rules(struct agent *agent);
void agent_repair(struct agent *agent);

/* ranges.c: the pods' ranges, from this node's own Node where the configuration has none:
 * waits for it. 0 or -errno; -ECANCELED: it is to end. */
int agent_find_ranges(struct agent *agent, char *message, size_t size);

/* peers.c: other nodes and the tunnel to them. Before the reconciler and routes. 0 or
 * -errno. */
int agent_start_peers(struct agent *agent);
/* All objects are in the store. */
void agent_read_peers(struct agent *agent);
/* The node's network, or the tunnel's device, may be another. */
void agent_follow_peers(struct agent *agent);

/* routes.c: routes to other nodes. Before the sources are read. 0 or -errno. */
int agent_start_routes(struct agent *agent);

/* announce.c: load balancers' addresses. Before the sources are read. 0 or -errno with
 * `message`. */
int agent_start_announce(struct agent *agent, char *message, size_t size);
/* The node's network, its health, or endpoints may be others. */
void agent_announce_changed(struct agent *agent);
/* What is held stays so for a while. */
void agent_stop_announce(struct agent *agent);

/* sockets.c: connections of the node to endpoints that are gone. Once the reconciler is open.
 * 0 or -errno. */
int agent_start_sockets(struct agent *agent);
/* Endpoints may have gone while nobody followed: all are looked at. */
void agent_doubt_sockets(struct agent *agent);
/* Do the programs know of all that are connected? */
void agent_check_sockets(struct agent *agent);

/* locks.c: one agent for its directories and for a network namespace. 0 or -errno with
 * `message`. */
int agent_lock(struct agent *agent, char *message, size_t size);
int agent_watch_lock(struct agent *agent);
/* Directories that were made anew. Had the run directory, or its lock, been removed? */
bool agent_relock(struct agent *agent);
void agent_unlock(struct agent *agent);

/* state.c. 0; -EBUSY with `message`: it is another agent's. One that cannot be used is
 * told, and done without. */
int agent_open_state(struct agent *agent, char *message, size_t size);
/* One that could not be used, was removed or lacks what could not be written. */
void agent_repair_state(struct agent *agent);
/* What others removed from the run directory. */
void agent_repair_run_dir(struct agent *agent);
/* Of a file in it; NULL: there is none. */
const char *agent_state_path(const struct agent *agent, const char *name, char path[PATH_MAX]);

/*
 * pins.c. Programs on other maps than those pinned in `directory`: -EBUSY with `message` if
 * pods run on them, else they are noted, and agent_replace_foreign() takes them away once ours are
 * attached.
 */
int agent_find_foreign(struct agent *agent, const char *directory, char *message, size_t size);
size_t agent_replace_foreign(struct agent *agent); /* how many */
/* Puts back pins, and the directories they are in. */
void agent_repair_pins(struct agent *agent);

/* Is there a bpffs that stays when this process ends? In a pod only one of the node's does. 0 or
 * -ENODEV with `message`. */
int agent_check_bpffs(const struct agent *agent, char *message, size_t size);

/* cni_config.c: what runtimes find in their directory, once there is an agent that is ready.
 */
void agent_install_cni_config(struct agent *agent);

/* requests.c: the control socket. */
int agent_register_requests(struct agent *agent);
/* Goes on with those that wait, for a while. */
void agent_poll_adds(struct agent *agent);
/* Takes the pods away whose ADD has no answer yet, and answers. */
void agent_cancel_adds(struct agent *agent);
void agent_progress(struct show_progress *ret, void *agent);
int agent_cni_finish(const char *container_id, const char *ifname, void *agent);
