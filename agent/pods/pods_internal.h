/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of the pods share: the table, records, requests and the links' state. */
#pragma once

#include "agent/common/cni_code.h"
#include "agent/common/cni_deletion.h"
#include "agent/pods/ipam.h"
#include "agent/pods/pods.h"

/* Host-side links are numbered from here on, away from the numbers that the kernel gives by itself.
 */
#define PODS_FIRST_IFINDEX 65536
#define PODS_IFINDEX_COUNT (1 << 24)
#define PODS_LINK_PREFIX   "pld"
#define PODS_LINK_DIGITS   11
#define PODS_RECORD_MAX	   (256 * 1024)
#define PODS_LABELS_MAX	   256
/* Others still send to an address for a while after its pod has gone. */
#define PODS_REST_S 60

struct pods {
	const struct config *config;
	struct netlink *nl;
	uint32_t mtu_most; /* of links whose MTU nobody has asked for; 0: the uplinks' alone */
	struct pods_hooks hooks;
	char *directory;
	char *copies;	    /* of the records; NULL: none */
	bool copies_stay;   /* of pods that are gone: to be removed later */
	bool copies_failed; /* told; some may be old or missing */
	char *pool_path;    /* which addresses rest; NULL: nowhere */
	bool pool_failed;   /* told */
	bool unread;	    /* a record could not be read: nobody knows whose links there are */
	char agent_id[20];  /* "": links have no mark */
	struct local_pod **items; /* in the order of container id, interface name */
	size_t count, room;
	struct ipam_pool *v4, *v6; /* NULL: no such family */
	uint32_t next_number;	   /* of links, counted from PODS_FIRST_IFINDEX */
	bool slot_used[POLDER_MAX_PODS];
};

/* ------------------------------------------------------------------ ADD (pods_cni.c,
 * pods_adding.c) */

/* An ADD that has made the links and waits for its policies, then for the kernel. */
struct pod_adding {
	struct pods *pods;
	struct local_pod *pod;	/* in the table; NULL: taken away meanwhile */
	int netns_fd;		/* the container's, until its links are set up; -1 */
	struct netlink *inside; /* in there; NULL: they are not */
	int ifindex;		/* there */
	json_t *result;
};
/* Are the links to stay down? Takes NULL. */
bool pods_adding_waits(const struct pod_adding *adding);
void pods_adding_free(struct pod_adding *adding); /* leaves the pod; takes NULL */
/* What a hook said of a pod that it could not connect. Returns `r`. */
int pods_say_unconnected(const struct local_pod *pod, int r, const char *message,
			 struct error *ret_error);

/* ------------------------------------------------------------------ the table (pods.c) */

/* NULL: none. */
struct local_pod *pods_find(const struct pods *pods, const char *container_id, const char *ifname);
/* Of a host-side link: its element in the map of pods. */
uint32_t pods_index(const struct pods *pods, int ifindex);
/* Says that there are as many pods as there may be. */
int pods_say_full(const struct pods *pods, int r, int code, struct error *ret_error);
/* Room for one more, so that pods_insert() cannot fail. 0 or -ENOMEM. */
int pods_make_room(struct pods *pods);
/* Takes the pod of a record, with its addresses and its slot. 0; -EBADMSG: others have one of them;
 * -ENOMEM. */
int pods_adopt(struct pods *pods, struct local_pod *pod);
/* Takes the pod. Its addresses and its slot are taken already. */
void pods_insert(struct pods *pods, struct local_pod *pod);
/*
 * Link, map entries, record and addresses of a pod that is in the table; frees it. On failure it
 * stays and counts as gone, so that the next run tries again. 0 or -errno.
 */
int pods_remove(struct pods *pods, struct local_pod *pod);
/* Gives addresses and slot back. */
void pods_release(struct pods *pods, const struct local_pod *pod);
void local_pod_free(struct local_pod *pod); /* takes NULL */
/* "NAMESPACE/NAME (CONTAINERID IFNAME)" for messages, with the container id cut to 12 characters;
 * returns `buffer`. */
#define POD_TEXT_MAX 600
const char *local_pod_text(const struct local_pod *pod, char *buffer);

/* ------------------------------------------------------------------ records (pods_record.c) */

/* With its copy. */
int pods_record_write(struct pods *pods, const struct local_pod *pod);
/* pods_mac.c: for one pod. -EADDRINUSE: it is the gateway's; else 0 or -errno. */
int pods_mac_follow(struct pods *pods, struct local_pod *pod);
int pods_record_remove(struct pods *pods, const struct local_pod *pod);
/* -EBADMSG: the content is damaged; -EPROTONOSUPPORT: it is of a newer version. */
int pods_record_read(const char *directory, const char *file, struct local_pod **ret);
json_t *pods_record_encode(const struct local_pod *pod);
/* 0, -EBADMSG, -EPROTONOSUPPORT or -ENOMEM. */
int pods_record_decode(const json_t *record, struct local_pod **ret);

/* ------------------------------------------------------------------ copies (pods_copies.c) */

/* `directory` NULL, or one that cannot be made: there are none. */
void pods_copies_open(struct pods *pods, const char *directory);
/* Takes over the pods that have no record, but a copy and one of these links. 0, -EPROTONOSUPPORT,
 * -ENOMEM. */
int pods_copies_read(struct pods *pods, const struct link_info *links, size_t count);
/* `text`: the record. What fails is told once. */
void pods_copy_write(struct pods *pods, const struct local_pod *pod, const char *text);
void pods_copy_ensure(struct pods *pods, const struct local_pod *pod);
void pods_copy_remove(struct pods *pods, const struct local_pod *pod);
/* The directory, and what is missing in it; all of them if one could not be written. */
void pods_repair_copies(struct pods *pods);

/* ------------------------------------------------------------------ lost records (pods_recall.c)
 */

/* Takes over the pods that have one of these links, and neither record nor copy. 0 or -ENOMEM. */
int pods_recall(struct pods *pods, const struct link_info *links, size_t count);

/* ------------------------------------------------------------------ addresses' rest (pods_pool.c)
 */

/* What the file says of before the start: which addresses rest, and where the search goes on. */
void pods_pool_load(struct pods *pods);
/* What fails is told once. */
void pods_pool_save(struct pods *pods);
/* Writes it if that has failed. */
void pods_repair_pool(struct pods *pods);
/* Seconds that count on over a suspend, from the machine's start. */
uint64_t pods_now(void);

/* ------------------------------------------------------------------ requests (pods_request.c) */

/* What ADD asks for. `pod` has names and labels only. */
struct pod_request {
	struct local_pod *pod;
	struct polder_addr wanted_v4, wanted_v6; /* all zero: any */
	bool has_mac;
	uint8_t mac[6];
	uint32_t mtu; /* bytes; 0: the node's */
};

int pods_request_decode(const json_t *args, struct pod_request *ret, struct error *ret_error);
void pods_request_clear(struct pod_request *request);
/* Container id and interface name, checked; borrowed from `args`. */
int pods_request_names(const json_t *args, const char **ret_container_id, const char **ret_ifname,
		       struct error *ret_error);
/* ------------------------------------------------------------------ published ports (pods_ports.c)
 */

/*
 * Gives each mapping of a new pod an address of the node, or all of them, of a family that the pod
 * has. 0; -errno: an address that it cannot be published at, or a port that another pod has.
 */
int pods_ports_settle(const struct pods *pods, struct local_pod *pod, struct error *ret_error);
/* Whose published port would meet this one; NULL: nobody's. */
const struct local_pod *pods_port_owner(const struct pods *pods, const struct port_mapping *port,
					const struct local_pod *except);

/* ------------------------------------------------------------------ links (pods_link.c) */

/* Chooses number and name, makes the pair (down). Takes the slot. Fills pod->ifindex and link. */
int pods_link_make(struct pods *pods, struct local_pod *pod, int netns_fd, struct error *ret_error);
/* Deletes the host side if it is still the pod's. 0 or -errno. */
int pods_link_delete(struct pods *pods, const struct local_pod *pod);
bool pods_link_exists(struct pods *pods, const struct local_pod *pod);
/* Up, neighbours, routes. Idempotent. `what` names the step that failed. */
int pods_link_host_up(struct pods *pods, const struct local_pod *pod, const char **ret_what);
/* The container's side: lo and interface up, addresses, gateway, default routes. */
int pods_link_container_up(struct netlink *inside, int netns_fd, const struct local_pod *pod,
			   int *ret_ifindex, const char **ret_what);
/* What new pods get. */
uint32_t pods_link_mtu(struct pods *pods);
#define PODS_MTU_MIN	68
#define PODS_MTU_MIN_V6 1280
/* The pod's default route of a family, as the container has it. */
struct route_spec pods_default_route(uint8_t family, int ifindex);
struct route_spec pods_host_route(const struct polder_addr *addr, int ifindex);
/* "pld" and digits: a name that only we give. */
bool pods_link_name_is_ours(const char *name);
/* Is it the pod's host side, under whatever name? */
bool pods_link_is(const struct local_pod *pod, const struct link_info *link);
/*
 * The mark of a host side, its alias: "polder", the agent's id, container id and interface name;
 * and, if all of that has room, namespace, name, uid ("-": none), network ("-": none) and how many
 * labels the attachment came with. "" without an id.
 */
#define POD_ALIAS_MAX LINK_ALIAS_SIZE
const char *pods_link_alias(const struct pods *pods, const struct local_pod *pod,
			    char alias[POD_ALIAS_MAX]);
struct link_mark {
	char agent[20], container_id[CNI_CONTAINER_ID_MAX + 1], ifname[CNI_IFNAME_MAX + 1];
	char namespace[64], name[254], uid[254], network[254]; /* "": not known, or none */
	bool no_labels;					       /* it had none at ADD */
};
bool pods_link_read_mark(const struct link_info *link, struct link_mark *ret);
enum link_maker { LINK_MADE_HERE, LINK_MADE_ELSEWHERE, LINK_NOT_MARKED };
enum link_maker pods_link_maker(const struct pods *pods, const struct link_info *link);

/* ------------------------------------------------------------------ bandwidth (pods_limit.c) */

/* What goes to the pod waits on the host's side, what it sends in its interface. Idempotent. 0 or
 * -errno. */
int pods_limit_host(struct pods *pods, const struct local_pod *pod);
int pods_limit_container(struct netlink *inside, int ifindex, const struct local_pod *pod);
/* Is the limit there, if there is to be one? 0; -ENOENT: not; -errno: not known. */
int pods_limit_find(struct netlink *nl, int ifindex, const struct local_pod *pod,
		    const struct bandwidth_limit *wanted);

/* ------------------------------------------------------------------ CHECK (pods_check.c) */

int pods_check_pod(struct pods *pods, struct local_pod *pod, const json_t *prev_result,
		   int netns_fd, struct error *ret_error);
