/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of bench-program-times, and what measures them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/programs/restore.h"
#include "tests/bpf/world.h"

/* More than are met again while they are in the table. */
#define FRESH_FLOWS    (1u << 22)
#define FRESH_SERVICES (FRESH_FLOWS / RESTORE_PORTS)
/* The flows that stay where the table is a quarter full have numbers of their own. */
#define STAYING_FLOW FRESH_FLOWS
#define SERVICES     (FRESH_SERVICES + 1)
#define SERVICE_PORT 80
#define BACKEND_PORT 8080
#define FIRST_PORT   10000
#define DEFAULT_SETS 16384
#define TCP_SYN_FLAG 0x02
#define TCP_ACK_FLAG 0x10

enum bench_kind {
	KIND_ESTABLISHED, /* packets of flows that are there */
	KIND_NEW,	  /* each opens a flow, in a table that stays about a quarter full */
	KIND_FLOOD,	  /* each opens a flow, in a table full of flows that nobody answered */
	KIND_ANEW,	  /* each is its flow's first after a change, and evaluated as before */
	KIND_FILL,	  /* how full the table is when a new flow is first refused */
	KIND_COUNT
};
extern const char *const bench_kind_names[KIND_COUNT];

enum bench_place {
	PLACE_POD,    /* of this node: pod 12 */
	PLACE_PEER,   /* of another node, which answers this one */
	PLACE_DIRECT, /* of another node, which answers the client: the packet keeps its addresses
		       */
};

/* Which way a case's frames go. Addresses are flow 0's; the others count up, see restore.h. */
struct bench_path {
	enum world_hook hook;
	uint32_t link;
	const char *source;
	const char *destination;
	uint16_t dport;
	const char *seen_destination; /* after translation */
	uint16_t seen_dport;
	enum bench_place place; /* of the endpoint */
};

struct bench_case {
	const char *name;
	enum bench_kind kind;
	const struct bench_path *path; /* KIND_FILL: says the family only */
	uint32_t flows;		       /* how many there are, a power of two */
	bool policy;
};
extern const struct bench_case bench_cases[];
extern const int bench_case_count;

struct restore_bpf;
struct bench_kept;

struct bench {
	struct restore_bpf *wrapper;
	uint32_t repeat; /* packets in a round */
	/* Of the open case: */
	const struct bench_case *c;
	struct world *world;
	struct bench_kept *kept; /* the table as it is put back; NULL: it is not */
	uint32_t at;		 /* where the last run ended, of established flows */
	uint32_t fresh_at;	 /* the same of flows that are opened */
	int fillings;
};

_Noreturn void bench_fail(const char *what);
bool bench_is_v6(const struct bench_case *c);

/* A frame of the case's flow. */
void bench_frame(const struct bench_case *c, uint32_t flow, uint8_t tcp_flags, struct frame *frame);

/* What the program gives back for a packet that it forwards. */
int bench_forwards(const struct bench_case *c);

/* Loads programs with empty maps, and brings in what the case wants to be there. */
void bench_open(struct bench *b, const struct bench_case *c);
void bench_close(struct bench *b);

/* One round: ns a packet, net of the wrapper. */
double bench_round(struct bench *b);

/* Fills the table with established flows: percent of its entries when the first was refused, and
 * why. */
double bench_fill(struct bench *b, const char **ret_reason);

/* What the programs write in arrays, kept and put back. */
struct bench_kept *bench_keep(const struct world *world);
void bench_put_back(struct bench_kept *kept);
void bench_kept_free(struct bench_kept **kept);
