/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node in maps: the real programs loaded with maps of their own, links in a network namespace of
 * its own, three pods, an uplink. Frames are put through a program by test-run; nothing leaves.
 */
#pragma once

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/bpf/frame.h"

enum world_hook {
	HOOK_FROM_POD,
	HOOK_TO_POD,
	HOOK_FROM_WIRE,
	HOOK_TO_WIRE,
	HOOK_FROM_TUNNEL,
	HOOK_TO_TUNNEL,
	HOOK_WIRE_XDP,
	HOOK_COUNT
};

struct world_pod {
	uint32_t link;
	uint8_t mac[6];
	uint32_t identity;
	struct polder_addr v4;
	struct polder_addr v6;
	bool limited; /* what it gets waits in its link's queue */
};

#define WORLD_PODS	  3
#define WORLD_UPLINK	  21
#define WORLD_POD_MTU	  1450
#define WORLD_UPLINK_MTU  1500
#define WORLD_TUNNEL	  31
#define WORLD_VNI	  77
#define WORLD_TUNNEL_PORT 4789
#define WORLD_STACK_MARK  0x00400000
#define WORLD_LOCAL_PODS  4096 /* of each family */

/* Zero means the default. */
struct world_options {
	uint32_t flow4_sets;
	uint32_t flow6_sets;
	uint32_t fragment_sets;
	uint16_t masquerade_port_min;
	uint16_t masquerade_port_max;
	bool no_masquerade;
	bool made_packets;
	bool outer_namespace; /* stay in the caller's network namespace, add no links */
};

struct world {
	struct bpf_object *objects[HOOK_COUNT];
	int programs[HOOK_COUNT]; /* borrowed from objects */
	struct world_pod pods[WORLD_PODS];
	struct control control;
	uint32_t next_backend;
	uint32_t next_table;
	bool trie_only; /* addresses of local pods stand in the trie alone */
	bool left;	/* the caller's network namespace */
	struct bpf_object *tunnel_entry;
};

/* What became of a frame. */
struct world_result {
	int verdict;	 /* TC_ACT_* or XDP_* */
	uint32_t reason; /* whose drop counter moved; REASON_NONE: none did */
	uint32_t hook;	 /* of that counter */
	uint32_t drops;	 /* by how many packets all of them moved */
	struct frame out;
};

extern const uint8_t world_gateway_mac[6];
extern const uint8_t world_router_mac[6]; /* of who stands at the uplink's other end */

/* Enters a new network namespace (the process stays in it) and loads everything. 0 or -errno. */
int world_open(const struct world_options *options, struct world **ret_world);
void world_close(struct world **world);

/* The kernel knows the MAC addresses of the router and of the native peer, says so, and forwards:
 * XDP sends. 0 or -errno. */
int world_know_neighbours(void);

/* The map's descriptor, borrowed; aborts on an unknown name. */
int world_map(const struct world *world, const char *name);

/* One entry of a map. They abort on failure: a test that cannot prepare has nothing to say. */
void world_set(struct world *world, const char *map, const void *key, const void *value);
void world_unset(struct world *world, const char *map, const void *key);

/* Addresses: `bits` of the family's own length. */
void world_set_address(struct world *world, const char *text, int bits,
		       const struct address_entry *entry);

/* By which uplink and with which source pods' packets leave for the prefix; the default is
 * WORLD_UPLINK and the node's address for all. */
void world_set_egress(struct world *world, const char *text, int bits,
		      const struct egress_route *way);

/* Rule sets of a pod, in both slots. */
void world_set_rules(struct world *world, int pod, uint32_t egress, uint32_t ingress);
/* With rules that allow all. */
void world_limit_pod(struct world *world, int pod, bool limited);

struct world_backend {
	const char *addr;
	uint16_t port;
	enum backend_state state; /* 0: BACKEND_ACTIVE. New flows go to active ones only */
};

/* Makes or changes the Service's port: new backends, members replaced. */
void world_set_service(struct world *world, uint32_t id, const char *addr, uint8_t proto,
		       uint16_t port, const struct world_backend *backends, int count);
enum world_place { WORLD_BOTH_SETS, WORLD_LOCAL_SET, WORLD_CLUSTER_SET };

/* A Service's port at one address, as the agent writes it. */
struct world_frontend {
	uint32_t id;
	const char *addr; /* an unspecified one: a node port */
	uint8_t proto;
	uint16_t port;
	uint32_t flags; /* enum service_flag */
	uint32_t affinity_seconds;
	struct {
		const char *addr;
		uint16_t port;
		enum world_place place;
	} backends[4]; /* in the row's order: of the local set alone, of both, of the cluster's */
	uint16_t table[8]; /* of the cluster's set; table_size 0: none */
	uint32_t table_size;
};
void world_set_frontend(struct world *world, const struct world_frontend *frontend);
/* Who may use it from outside, with SERVICE_SOURCES. */
void world_set_source(struct world *world, uint32_t id, const char *text, int bits);
void world_remove_frontend(struct world *world, const char *addr, uint8_t proto, uint16_t port);
void world_remove_backend_state(struct world *world, uint32_t id, const char *addr, uint16_t port);

/* Lets every flow be re-evaluated. */
void world_move_generation(struct world *world, uint32_t by);
/* The other slot is in force from now on; flows stay as they were evaluated. */
void world_switch_slots(struct world *world);

/* Empties the flow table and the memory of fragments. */
void world_forget_flows(struct world *world);

/* No Service is there any more, nor who has used one. */
void world_forget_services(struct world *world);

uint64_t world_counter(const struct world *world, enum polder_counter which);

/* Puts the frame through the program as a packet of `link` that came in by `ingress` (0: made by
 * the host). */
struct world_result world_run(struct world *world, enum world_hook hook, uint32_t link,
			      uint32_t ingress, const struct frame *frame);

/* The same through from_tunnel, as if the frame had come in outer headers from there. */
struct world_result world_run_tunnelled(struct world *world, const char *sender, uint32_t vni,
					const struct frame *frame);

/* The same as a packet of which more is said, before and afterwards. */
struct world_result world_run_skb(struct world *world, enum world_hook hook, struct __sk_buff *skb,
				  const struct frame *frame);

/* The same with GSO: segments of `gso_size`. */
struct world_result world_run_gso(struct world *world, enum world_hook hook, uint32_t link,
				  const struct frame *frame, uint32_t gso_segments,
				  uint32_t gso_size);

/* The same with only the first `linear` bytes where a program can read them directly. False: this
 * kernel's test-run cannot. */
bool world_run_linear(struct world *world, enum world_hook hook, uint32_t link,
		      const struct frame *frame, uint32_t linear, struct world_result *ret_result);

/* The same without looking at counters and output: 0 or a verdict, or -errno. */
int world_step(struct world *world, enum world_hook hook, uint32_t link, const struct frame *frame);

/* The same with the frame that the program left. For any number of threads. */
int world_pass(struct world *world, enum world_hook hook, uint32_t link, const struct frame *frame,
	       struct frame *ret_out);

/* Packets dropped or refused for this reason, in all directions, on all CPUs. */
uint64_t world_drops(const struct world *world, enum polder_reason reason);

/* The tuple that the packet's flow stands under in the table. */
struct flow_tuple world_tuple(const struct frame_spec *spec, enum polder_zone zone);

/* How many entries of the flow table hold this tuple; the first one's head if there is one. */
size_t world_flow_find(struct world *world, const struct flow_tuple *tuple,
		       struct flow_head *ret_head);
/* Makes all entries look unused for so many ticks more. */
void world_flows_age(struct world *world, uint32_t ticks);
/* What follows asserts that there is such an entry. Makes it look unused for so many ticks more. */
void world_flow_age(struct world *world, const struct flow_tuple *tuple, uint32_t ticks);
/* Leaves it as a writer does that dies in the middle. */
void world_flow_hold(struct world *world, const struct flow_tuple *tuple);
