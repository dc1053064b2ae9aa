/* SPDX-License-Identifier: Apache-2.0 */
/* Made frames through all programs: what is put in (probes), what may come out (the model). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bpf/world.h"

/* ------------------------------------------------------------------ random numbers */

struct dice {
	uint64_t state;
};

uint64_t dice_next(struct dice *dice);
/* 0 to `sides` - 1. */
uint32_t dice_roll(struct dice *dice, uint32_t sides);
/* True in so many of a hundred cases. */
bool dice_percent(struct dice *dice, uint32_t percent);

/* ------------------------------------------------------------------ frames and where they come in
 */

struct probe {
	bool move; /* every flow is to be re-evaluated, before it */
	enum world_hook hook;
	uint32_t link;
	uint32_t ingress; /* 0: made by the node itself */
	bool gso;
	uint32_t gso_segments, gso_size;
	struct frame frame;
};

struct world_result probe_run(struct world *world, const struct probe *probe);
/* The zone that the programs see the frame in. */
enum polder_zone probe_zone(const struct probe *probe);

/* One line of text: "move" (or "-"), hook, link, ingress, GSO segments and size (- -: none), bytes
 * in hex. */
void probe_print(const struct probe *probe, void *file);
/* 0 or -EINVAL. */
int probe_read(struct probe *probe, const char *line);

/* ------------------------------------------------------------------ what a frame says */

/* What names a flow's packets, in host byte order, apart from datapath/abi.h. No padding: compared
 * as bytes. */
struct ends {
	struct polder_addr source, destination;
	uint16_t sport, dport; /* ICMP echo: identifier, type << 8; other ICMP: 0, type << 8 */
	uint8_t zone, proto, pad[2];
};

enum view_flag {
	VIEW_V4 = 1 << 0,
	VIEW_FIRST = 1 << 1, /* a first fragment */
	VIEW_LATER = 1 << 2, /* a later one */
	VIEW_PORTS = 1 << 3, /* the ends' ports are in the frame */
	VIEW_ERROR = 1 << 4, /* an ICMP error */
	VIEW_ND = 1 << 5,    /* link-local ICMPv6 */
	VIEW_BEHIND_END =
		1 << 6, /* the transport header is not in what the IP header says is the packet */
	VIEW_ROUTED = 1 << 7, /* a routing header leads elsewhere: what is behind it is not read */
	VIEW_LONG_CHAIN =
		1 << 8, /* extension headers that the programs do not follow to their end */
};

struct view {
	uint16_t ethertype;
	uint32_t flags;
	size_t ip, l4, end; /* offsets */
	size_t fragment_id; /* offset; 0: none */
	uint32_t id;	    /* of a fragment */
	uint8_t ttl, tcp_flags, icmp_type;
	struct ends ends;
};

/* 0; -EINVAL: no IP packet, or one that must go nowhere. */
int view_read(const struct frame *frame, enum polder_zone zone, struct view *ret_view);
/* Offset of the transport's checksum; 0: it has none (that is known here). */
size_t view_check(const struct view *view);
/* By how much sums are off, modulo 0xffff: header of IPv4, transport with its pseudo header. */
uint32_t view_header_error(const struct frame *frame, const struct view *view);
uint32_t view_transport_error(const struct frame *frame, const struct view *view);
void ends_reverse_ports(uint8_t proto, uint16_t sport, uint16_t dport, uint16_t *ret_sport,
			uint16_t *ret_dport);

/* ------------------------------------------------------------------ the model */

enum way_out {
	OUT_POD0,
	OUT_POD1,
	OUT_POD2,
	OUT_WIRE,
	OUT_HOST,
	OUT_BACK, /* where it came from through the node's stack: by the wire or by the stack again
		   */
};

/* One direction of a flow, as the frames that left have shown it. */
struct known_flow {
	struct ends in;
	struct ends out; /* zone: that of the answers */
	enum way_out way;
	bool closed;
	bool reply;
};

struct model;

struct model *model_new(const struct world *world);
void model_free(struct model *model);
/* Policies, Services and addresses of the world that the model knows by heart. */
void model_fill_world(struct world *world);
/* The flow table has been emptied. */
void model_forget(struct model *model);
/* NULL: all is as it must be; else what is wrong. Learns from what left. */
const char *model_check(struct model *model, const struct probe *probe,
			const struct world_result *result);
/* A flow that is known, at random; NULL: there is none. */
const struct known_flow *model_any_flow(const struct model *model, struct dice *dice);

/* May the pod open a flow to these ends, or these ends to the pod? `pod` 0 to 2. By the list of
 * rules alone. */
bool policy_allows(int pod, bool ingress, const struct polder_addr *peer, uint8_t proto,
		   uint16_t port);
/* The pod that has the address; -1: none. */
int pod_of_address(const struct polder_addr *address);

/* Hosts that rules, Services and frames are about. */
enum host {
	HOST_POD0,
	HOST_POD1,
	HOST_POD2,
	HOST_REMOTE_POD,
	HOST_REMOTE_UNKNOWN, /* in another node's range */
	HOST_NODE,
	HOST_OTHER_NODE,
	HOST_GATEWAY,
	HOST_NO_POD,	    /* in the node's range */
	HOST_ALLOWED_PORTS, /* outside */
	HOST_ALLOWED,
	HOST_DENIED,
	HOST_SERVICE,
	HOST_SERVICE_EMPTY,
	HOST_EXTERNAL, /* of Services, asked from outside too */
	HOST_BALANCER,
	HOST_COUNT,
};
struct polder_addr host_address(enum host host, bool v4);

/* Ports of Services that the model knows; the list is in frames_rules.c. */
#define SERVICE_PORTS 12
/* An address that is Services' alone; for who is outside, and not (ClusterIP). */
bool is_service(const struct polder_addr *address);
bool is_external(const struct polder_addr *address);
/* Is a Service served there, for who asks? From outside only at external frontends. */
bool is_served(const struct ends *asked);
/* Is what was got an endpoint of the Service's port that was asked for, and may who asked have it?
 * NULL, or what is wrong. */
const char *service_allows(const struct ends *asked, const struct ends *got);
/* Does an endpoint see this node in place of who asked from outside? */
bool service_hides_client(const struct ends *asked, const struct ends *got);
/* Pods and nodes of the cluster that are not this node's. */
bool is_of_cluster(const struct polder_addr *address);

/* ------------------------------------------------------------------ the grammar */

/* The next frame: along a flow that is known, of a new one, an error about one, a fragment,
 * anything; often damaged. */
void probe_make(struct probe *probe, struct dice *dice, const struct world *world,
		const struct model *model);
