/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the programs share: tests by name, a world, who sends what, what may become of
 * it. */
#pragma once

#include <CUnit/Basic.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/bpf/world.h"

struct suite_test {
	const char *name;
	void (*run)(void);
};
#define SUITE_TEST(function)                                                                       \
	{                                                                                          \
#function, function                                                                \
	}

/* Of the program; opened by suite_run(), emptied of flows before each test. */
extern struct world *world;

/* Of that world; to be set before. */
extern struct world_options suite_options;

int suite_run(const char *name, const struct suite_test *tests, size_t count);
#define SUITE_RUN(name, tests) suite_run(name, tests, sizeof(tests) / sizeof((tests)[0]))

enum suite_version { V4, V6 };
#define EACH_VERSION(v) for (enum suite_version v = V4; v <= V6; v++)

/* Runs it in a world of its own, for options of its own. */
void in_world_of(const struct world_options *options, void (*run)(void));

/* A rule set whose one rule, number 9, allows all: flows are counted for it. */
uint32_t allow_all(void);

/* Walks all entries of a family's flow table. */
void each_entry(enum suite_version v, void (*see)(const struct flow_head *head, void *data),
		void *data);

#define TCP_FIN_FLAG 0x01
#define TCP_SYN_FLAG 0x02
#define TCP_RST_FLAG 0x04
#define TCP_ACK_FLAG 0x10

/* Addresses by version. */
extern const char *const outside[2];	 /* a host behind the router */
extern const char *const node[2];	 /* this node */
extern const char *const remote_pod[2];	 /* a pod of another node */
extern const char *const gateway[2];	 /* of the pods */
extern const char *const pod_text[3][2]; /* the pods' */

uint8_t icmp_of(enum suite_version v);

/* A packet of the pod, or of somebody on the wire, with everything in its place. */
struct frame_spec spec_of_pod(int pod, enum suite_version v, const char *to, uint8_t proto,
			      uint16_t sport, uint16_t dport);
struct frame_spec spec_of_wire(const char *from, const char *to, uint8_t proto, uint16_t sport,
			       uint16_t dport);
/* A TCP segment of the pod. */
struct frame_spec spec_of_segment(int pod, enum suite_version v, const char *to, uint16_t sport,
				  uint16_t dport, uint8_t flags);
/* What the receiver of `seen` answers, `pod` being that receiver. */
struct frame_spec spec_of_answer(int pod, const struct world_result *seen, uint8_t tcp_flags);

struct world_result send_of_pod(int pod, const struct frame_spec *spec);
struct world_result send_of_wire(const struct frame_spec *spec);
struct world_result send_of_host(int to_pod, const struct frame_spec *spec); /* the node's own */

/* A TCP segment of the first pod to the second one's port 80. */
struct world_result segment(enum suite_version v, uint16_t sport, uint8_t flags);

/* SYN, SYN and ACK, ACK between two pods; what the receiver saw at last. Asserts that all passed.
 */
struct world_result open_connection(int from, int to, enum suite_version v, const char *destination,
				    uint16_t sport, uint16_t dport);

/* Packets that were counted for a rule, on all CPUs; 0 where it has no counter. */
uint64_t rule_packets(uint32_t rule);

/* The drop reason of this name; REASON_COUNT: there is none. */
enum polder_reason reason_named(const char *name);

/* They print what was found if it is not so. */
bool forwarded(const struct world_result *result); /* redirected, nothing counted, sums right */
bool passed(const struct world_result *result);	   /* left to the node's stack */
bool dropped(const struct world_result *result, enum polder_reason reason);
bool told(const struct world_result *result,
	  enum polder_reason reason); /* refused, the sender is told */

/* The frame as it was seen; asserts that it can be read. */
struct frame_spec seen(const struct world_result *result);
bool seen_ends(const struct world_result *result, const char *from, uint16_t sport, const char *to,
	       uint16_t dport);
