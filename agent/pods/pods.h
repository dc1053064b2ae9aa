/* SPDX-License-Identifier: Apache-2.0 */
/* The containers that CNI connected to this node: records, addresses, links. */
#pragma once

#include <jansson.h>

#include "agent/common/bandwidth.h"
#include "agent/common/error.h"
#include "agent/common/port_mapping.h"
#include "agent/config/config.h"
#include "agent/kernel/netlink.h"
#include "policy/objects/objects.h"

struct pod_adding;

/* One attachment: one interface of one container. On disk in run_dir/pods/CONTAINERID:IFNAME.json
 * (agent/common/state_file.h). */
struct local_pod {
	char *container_id;
	char *ifname;		       /* in the container */
	char *network;		       /* the CNI configuration's name */
	char *namespace;	       /* K8S_POD_NAMESPACE, else "default" */
	char *name;		       /* K8S_POD_NAME, else the container id */
	char *uid;		       /* "" if unknown */
	struct labels labels;	       /* from the configuration, when no Pod object is there */
	struct polder_addr ipv4, ipv6; /* all zero: none */
	struct port_mappings ports;    /* of the node that lead to it, one entry for each family */
	struct bandwidth bandwidth;
	uint8_t mac[6];
	uint32_t mtu;
	int ifindex;		   /* host side; its last bits are its place in the map */
	char link[16];		   /* host side's name */
	uint64_t netns_cookie;	   /* of its network namespace; 0: unknown */
	int64_t created;	   /* seconds since 1970 */
	bool object_seen;	   /* a Pod object has stood for it */
	bool labels_lost;	   /* with its record: closed until a Pod object stands for it */
	bool gone;		   /* its link has vanished: to be freed by the next pass */
	char *held_down;	   /* why its link is kept down; NULL: it is not */
	struct pod_adding *adding; /* its ADD has no answer yet; NULL: it has */
	char queues[64];	   /* kinds of queues that others have put on its link; "": none */
	char queues_seen[64];	   /* the same while they are looked for */
};

#define POD_QUEUE_TEXT 320
/* What is to be said of a pod with such queues. */
const char *pods_queue_text(const struct local_pod *pod, char text[POD_QUEUE_TEXT]);

struct pods;

/* What the map `pods` says of a link. */
struct pods_addresses {
	struct polder_addr ipv4, ipv6; /* all zero: none */
	uint8_t mac[6];
	uint32_t mtu;
};

/*
 * What the pods need of the rest. Each returns 0 or -errno and fills `message` (what, where, what
 * to do) on failure.
 */
struct pods_hooks {
	/* Attaches the pod's programs and has its map entries written. Called before the links are
	 * up. */
	int (*connect)(const struct local_pod *pod, char *message, size_t size, void *data);
	/* -EAGAIN: not all of that is in force yet, ask again in a moment. 0: the first packet will
	 * be evaluated by all policies known at connect(). Only then the links are set up. */
	int (*in_force)(const struct local_pod *pod, char *message, size_t size, void *data);
	/* Takes its map entries and programs away; must succeed for pods half connected. */
	void (*disconnect)(const struct local_pod *pod, void *data);
	/* For CHECK: programs attached and entries right? -ENOENT: not; else it could not be asked.
	 */
	int (*check)(const struct local_pod *pod, char *message, size_t size, void *data);
	/* What the pinned map says of a link whose record is lost. 0; -ENOENT; -errno: the map
	 * cannot be read. NULL: nothing is known. Used by pods_open() alone. */
	int (*recall)(int ifindex, struct pods_addresses *ret, void *data);
	/* Its interface has another MAC address, which map entries have to say. NULL: nobody cares.
	 */
	int (*mac_changed)(const struct local_pod *pod, void *data);
	void *data;
	const char *copies; /* a directory for copies of the records, apart from run_dir; NULL: none
			       are kept. Used by pods_open() alone, as the next two */
	const char *pool;   /* a file that tells which addresses rest; NULL: a restart forgets */
	const char *agent_id; /* links are marked with it; "" or NULL: they are not */
};

/* Every host-side link of Polder has this address. */
extern const uint8_t pods_gateway_mac[6]; /* 02:70:6f:6c:64:72 */
#define PODS_GATEWAY_V4 "169.254.1.1"
#define PODS_GATEWAY_V6 "fe80::1"

/*
 * Reads the records of run_dir; damaged ones are put aside (renamed .bad) with a warning. Those
 * that are lost come from their copies, else from the links and hooks->recall, the only hook that
 * is called. Marks those whose link is no more as gone.
 */
int pods_open(const struct config *config, struct netlink *nl, const struct pods_hooks *hooks,
	      struct pods **ret);
void pods_close(struct pods *pods);

size_t pods_count(const struct pods *pods);
/* Order of container id, interface name. */
const struct local_pod *pods_at(const struct pods *pods, size_t index);
/* Frees what has vanished (records, addresses, routes, hook disconnect). Returns how many. */
size_t pods_prune(struct pods *pods);
/* A link of ours has gone. */
void pods_link_gone(struct pods *pods, int ifindex);
/*
 * A pod that cannot be given its programs is cut off rather than open: its link goes down and stays
 * so, for the reason `why`, until pods_let_up(); then the next pods_repair() puts all back. 0 or
 * -errno.
 */
int pods_hold_down(struct pods *pods, size_t index, const char *why);
void pods_let_up(struct pods *pods, size_t index);
/* How many links are held down. */
size_t pods_held_down(const struct pods *pods);
/* Puts back links' state, host routes and neighbours of all pods if somebody removed them.
 * Idempotent. */
int pods_repair(struct pods *pods);
/*
 * Takes over MAC addresses that others have given to pods' interfaces, of pods that were connected
 * in the last `youngest` seconds (0: of all). For how many seconds the last one of them has been
 * connected; -1: there are none.
 */
int64_t pods_follow_macs(struct pods *pods, int64_t youngest);
/* Looks for queues of others on the links of all pods, or of one. 0 or -errno. */
int pods_look_for_queues(struct pods *pods, const struct local_pod *only);
/* Writes the records that are not there any more. How many. */
size_t pods_restore_records(struct pods *pods);
/* The same for copies, and for what tells which addresses rest. */
void pods_restore_state(struct pods *pods);
/*
 * Where copies and resting addresses are kept from now on, and what links are marked with, as in
 * struct pods_hooks: of an agent whose state directory could not be used before. 0 or -ENOMEM.
 */
int pods_use_state(struct pods *pods, const char *copies, const char *pool, const char *agent_id);
/*
 * The labels of the pod's object, and that there was one, to be found again when object and agent
 * are gone but the container is not. Writes the record if they are others. 0 or -errno: then the
 * record is as it was. A container that is not known here needs none.
 */
int pods_keep_labels(struct pods *pods, const char *container_id, const char *ifname,
		     const struct labels *labels);
/* What a pod's link may have that no configuration gives its MTU: packets may go through a tunnel.
 * 0: the uplinks' alone counts. For pods that are connected from now on. */
void pods_limit_mtu(struct pods *pods, uint32_t most);
/* Addresses of pool: used and size of each family. */
struct pool_usage {
	uint64_t used_v4, size_v4, used_v6, size_v6;
};
void pods_pool_usage(const struct pods *pods, struct pool_usage *ret);

/* The CNI operations. `ret_result` as docs/control-protocol.md says. On failure a CNI error code (>
 * 0) and message/details. */
/*
 * ADD makes the pod's links and puts it into the table; until its policies are in force, and
 * packets reach it, takes a moment. 0: `*ret` is to be polled.
 */
int pods_cni_add(struct pods *pods, const json_t *args, int netns_fd, struct pod_adding **ret,
		 struct error *ret_error);
/*
 * The next step that can be done. 0: packets reach the pod. -EAGAIN: not yet, poll again in a
 * moment; not if this is the `last` time. Else the ADD has failed and the pod is taken away. Frees
 * `adding` unless it says -EAGAIN.
 */
int pods_adding_poll(struct pod_adding *adding, bool last, json_t **ret_result,
		     struct error *ret_error);
/* Takes the pod away, and frees `adding`. */
void pods_adding_cancel(struct pod_adding *adding);
int pods_cni_del(struct pods *pods, const json_t *args, struct error *ret_error);
int pods_cni_check(struct pods *pods, const json_t *args, int netns_fd, struct error *ret_error);
int pods_cni_gc(struct pods *pods, const json_t *args, struct error *ret_error);
int pods_cni_status(struct pods *pods, const json_t *args, struct error *ret_error);
