/* SPDX-License-Identifier: Apache-2.0 */
/* One node under test: a private world, its network namespace, and the requests of protocol.md. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "agent/kernel/netlink.h"
#include "agent/reconcile/sandbox.h"

#define HARNESS_ERROR 512
/* High numbers: the links' other ends get the low ones. */
#define HARNESS_UPLINK	  8000
#define HARNESS_OTHER	  8001
#define HARNESS_TUNNEL	  8002
#define HARNESS_FIRST_POD 8193
#define HARNESS_MAX_PODS  2048

struct harness {
	struct config config;
	struct node node;
	struct sandbox *sandbox; /* NULL: not opened */
	struct netlink *nl;
	struct bpf_object *entry; /* before from_tunnel; NULL: there is no tunnel */
	int entry_program;	  /* borrowed from it */
	uint32_t mtu;
	int pods;
	char error[HARNESS_ERROR];
};

/* Every operation returns 0, or -errno with `error`; `reply` takes what it has to say. */
typedef int (*harness_op)(struct harness *h, const json_t *request, json_t *reply);

/* harness_node.c: the namespace, the links, the world. */
int harness_open(struct harness *h, const json_t *request, json_t *reply);
void harness_close(struct harness *h);

/* harness_tunnel.c: other nodes as peers, and by the tunnel what they send. 0 or -errno with
 * `error`. */
int harness_open_peers(struct harness *h, const json_t *request);
void harness_close_tunnel(struct harness *h);
/* The next packet through the tunnel comes from 192.168.7.`host`. 0 or -errno. */
int harness_tunnel_from(struct harness *h, uint8_t host);

/* harness_packets.c: reads `request`'s records from `in`. The answers' buffer belongs to the
 * caller. */
int harness_run(struct harness *h, const json_t *request, FILE *in, json_t *reply,
		void **ret_answers, size_t *ret_size);

/* As protocol.md says. `flags`: of a race, the number of the CPU; of what comes through the tunnel,
 * its sender. */
struct packet_record {
	uint8_t hook;
	uint8_t flags;
	uint16_t length;
	uint32_t link;
	uint32_t ingress;
	uint32_t mark;
} __attribute__((packed));

struct answer_record {
	int32_t result;
	uint8_t reason;
	uint8_t direction;
	uint8_t verdict;
	uint8_t flags;
	uint32_t egress_rule;
	uint32_t ingress_rule;
	uint32_t source_identity;
	uint32_t destination_identity;
	uint32_t egress_ruleset;
	uint32_t ingress_ruleset;
	struct polder_addr backend;
	__be16 backend_port_be;
	uint16_t length;
} __attribute__((packed));

/* harness_race.c: the same on two CPUs at once. */
int harness_race(struct harness *h, const json_t *request, FILE *in, json_t *reply,
		 void **ret_answers, size_t *ret_size);

/* harness_questions.c */
int harness_rules(struct harness *h, const json_t *request, json_t *reply);
int harness_rule_packets(struct harness *h, const json_t *request, json_t *reply);
int harness_counters(struct harness *h, const json_t *request, json_t *reply);
int harness_reasons(struct harness *h, const json_t *request, json_t *reply);
int harness_maps(struct harness *h, const json_t *request, json_t *reply);

/* Writes `error` and returns `r`. */
int harness_fail(struct harness *h, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
