/* SPDX-License-Identifier: Apache-2.0 */
/* The programs: loaded once with the configuration, attached to links and to the cgroup, replaced
 * in place. */
#pragma once

#include "agent/kernel/datapath_options.h"
#include "agent/kernel/maps.h"
#include "agent/kernel/netlink.h"
#include "agent/kernel/other_programs.h"
#include "agent/kernel/program_object.h"

struct datapath;

/* What the kernel has, found by trying. */
struct datapath_features {
	bool tcx;
	bool socket_programs;  /* attached, all of them */
	bool socket_held;      /* others keep some of them away */
	char socket_note[512]; /* why not, or for whom they are */
};

/*
 * Loads the programs on the maps, on several CPUs at once; those of the tunnel only if the options
 * have one, and an XDP program when an uplink needs it. `directory` takes the pins of links (made
 * if missing). With ATTACH_AUTO tcx is taken where the kernel has it. `directory` NULL: to be run
 * by test-run only; then nothing can be attached, `nl` may be NULL, and only the TC programs of
 * pods and uplinks are loaded. 0 or -errno with `message`.
 */
int datapath_load(struct maps *maps, struct netlink *nl, struct datapath_options options,
		  const struct datapath_config *constants, const char *directory,
		  struct datapath **ret, char *message, size_t size);
/* Loads what the hook needs, unless it is. 0 or -errno with `message`. */
int datapath_need(struct datapath *datapath, enum datapath_hook hook, char *message, size_t size);
/*
 * Those for test-run once more, on the same maps, attached to nothing: to be run beside traffic.
 * What they keep while a packet is at hand, what they count and what they tell lies in maps of
 * their own. Before Linux 6.3 a packet may interrupt a test-run on its CPU and run the attached
 * programs; in memory that both share it would leave its own addresses to a verdict about others.
 * Takes some tenths of a second of a CPU, in any thread. 0 or -errno with `message`.
 */
int datapath_load_apart(const struct datapath *datapath, struct datapath **ret, char *message,
			size_t size);
/* Gives them to `datapath`, which frees them with itself; if it has some already, at once. */
void datapath_keep_apart(struct datapath *datapath, struct datapath *apart);
struct datapath *datapath_apart(const struct datapath *datapath); /* NULL: none yet */
/*
 * The programs that capture (datapath/capture.h), of every hook that has one loaded, on the same
 * maps. Takes a second of a CPU, in any thread while nobody else loads. 0 or -errno with `message`.
 */
enum capture_map { CAPTURE_FILTERS, CAPTURE_RINGS, CAPTURE_LOST, CAPTURE_MAPS };
int datapath_load_capture(const struct datapath *datapath, struct datapath **ret, char *message,
			  size_t size);
int datapath_capture_map(const struct datapath *capture, enum capture_map map); /* borrowed */
/* From now on these are what is attached to links (borrowed, until the next call), or the ordinary
 * ones (NULL). What is attached already the caller attaches again. */
void datapath_use_capture(struct datapath *datapath, const struct datapath *capture);
void datapath_free(struct datapath *datapath); /* leaves everything attached; takes NULL */
const struct datapath_features *datapath_features(const struct datapath *datapath);
/* Borrowed descriptors of a hook's program (before DATAPATH_SOCKETS), and of a map that its object
 * alone has; -ENOENT. */
int datapath_program_fd(const struct datapath *datapath, enum datapath_hook hook);
int datapath_map_fd(const struct datapath *datapath, enum datapath_hook hook, const char *map);

/* A pod's host-side link: both directions. Idempotent; replaces the program of an earlier agent
 * atomically. */
int datapath_attach_pod(struct datapath *datapath, int ifindex, char *message, size_t size);
/*
 * The same for a link that has none of them yet, in three steps, of which the second, where the
 * kernel takes its time, is for any thread, and touches nothing but the attachment. Until the third
 * all goes with pod_attachment_free(). -EOPNOTSUPP: without tcx it is done by
 * datapath_attach_pod(), and quick. -EEXIST: it has some. Else 0 or -errno. The first time the
 * programs that evaluate are attached, without which the link may not be up; as long as
 * pod_attachment_has_more() says so, the second and the third step attach one more of those that
 * close the link without them.
 */
struct pod_attachment;
int datapath_prepare_pod(struct datapath *datapath, int ifindex, struct pod_attachment **ret);
void pod_attachment_run(struct pod_attachment *attachment);
bool pod_attachment_has_more(const struct pod_attachment *attachment);
/* 0, or -errno with `message`; of that nothing stays but what datapath_detach_pod() takes away. */
int datapath_finish_pod(struct datapath *datapath, struct pod_attachment *attachment, char *message,
			size_t size);
void pod_attachment_free(struct pod_attachment *attachment); /* takes NULL */
/* Only replaces the programs of an earlier agent that evaluate, as quickly as can be; else false:
 * datapath_attach_pod() says why. */
bool datapath_switch_pod(struct datapath *datapath, int ifindex);
void datapath_detach_pod(struct datapath *datapath, int ifindex);
/* Are our programs there, in both directions, and those that close the link without them? 0: they
 * are. -ENOENT: not all of them. -errno: the kernel could not be asked. */
int datapath_pod_attached(struct datapath *datapath, int ifindex);

/*
 * The tunnel's device (VXLAN, in external mode): both directions, and what closes it without them.
 * To be called before the device is set up, for without a program the node's stack would route what
 * comes by it. Idempotent; replaces the programs of an earlier agent atomically. 0 or -errno with
 * `message`.
 */
int datapath_attach_tunnel(struct datapath *datapath, int ifindex, char *message, size_t size);
/* To be called when the device is down, or gone. */
void datapath_detach_tunnel(struct datapath *datapath, int ifindex);
/* The same question of the device. */
int datapath_tunnel_attached(struct datapath *datapath, int ifindex);

/* An uplink: TC both directions and XDP. `*ret_xdp` says what XDP became: "native", "generic",
 * "off". On success `message` says why it is off though it is asked for, or why it forwards
 * nothing, or is "". */
int datapath_attach_uplink(struct datapath *datapath, int ifindex, const char **ret_xdp,
			   char *message, size_t size);
/* Removes our programs from links that were uplinks and are none of these any more, also those of
 * an earlier agent. */
void datapath_keep_uplinks(struct datapath *datapath, const int *uplinks, size_t count);
/* The same for one link and what an earlier agent left as clsact filters there, which have no pins
 * to be found by. Not for a pod's link. */
void datapath_clear_filters(struct datapath *datapath, int ifindex);
/* The socket programs at the configured cgroup. Where others keep one of them away, by a program
 * that stands alone, the features say so, and the rest is attached. */
int datapath_attach_sockets(struct datapath *datapath, char *message, size_t size);
/* What others have at our hooks: of a link, and of the configured cgroup. 0 or -errno. */
int datapath_others_of_link(struct datapath *datapath, int ifindex, const char *name,
			    struct other_programs *list);
int datapath_others_of_cgroup(struct datapath *datapath, struct other_programs *list);
/* Detaches what an earlier agent has attached, and pinned, to network links that are not `in_use`:
 * gone, or no uplinks any more. */
void datapath_prune_pins(struct datapath *datapath, bool (*in_use)(int ifindex, void *data),
			 void *data);
/* Pins that somebody removed, once the maps' directory is there. `*ret_repaired`: how many. 0 or
 * -errno. */
int datapath_repair_pins(struct datapath *datapath, size_t *ret_repaired);
