/* SPDX-License-Identifier: Apache-2.0 */
/* The third way: a made packet through the loaded program. What it leaves in the maps is taken away
 * again. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/explain/explain_flows.h"
#include "agent/explain/explain_frame.h"
#include "agent/explain/explain_internal.h"
#include "agent/kernel/test_run.h"

#define TRIED_PATHS   32 /* endpoints of a Service that are tried */
#define SERVICE_TRIES 16 /* until the program has chosen the sender itself */
#define FIRST_PORT    32768
#define PORT_COUNT    28232 /* as many as the kernel gives away by default: up to 60999 */

struct probes {
	struct explain *explain;
	struct test_run *run;
	uint8_t zone;
	struct test_result result;
};

/* A port that no flow of the protocol has. 0: all are taken. */
static uint16_t free_port(struct probes *t)
{
	uint32_t start = 0;

	if (getrandom(&start, sizeof(start), GRND_NONBLOCK) < 0)
		start = (uint32_t)uv_hrtime();
	for (uint32_t i = 0; i < PORT_COUNT; i++) {
		uint16_t port = (uint16_t)(FIRST_PORT + (start + i) % PORT_COUNT);

		if (explain_flows_use_port(t->explain->found, port))
			return port;
	}
	return 0;
}

/* ---------------------------------------------------------------- the packet */

static uint32_t uplink_of(const struct explain *explain)
{
	const struct node *node = explain->sources->node;

	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex)
			return (uint32_t)node->uplinks[i].ifindex;
	return 0;
}

/* Where the packet is put in; NULL or why it cannot be. */
static const char *fill_packet(const struct explain *explain, const struct explain_path *path,
			       struct test_packet *packet, struct explain_frame *frame)
{
	switch (path->vantage) {
	case EXPLAIN_FROM_POD:
		*packet = (struct test_packet){.hook = DATAPATH_FROM_POD,
					       .link = (uint32_t)explain->from.local->ifindex};
		packet->ingress = packet->link;
		memcpy(frame->from_mac, explain->from.local->mac, 6);
		memcpy(frame->to_mac, pods_gateway_mac, 6);
		return NULL;
	case EXPLAIN_FROM_NODE:
		if (!path->to.local)
			return "packets of this node to that destination pass none of its programs";
		*packet = (struct test_packet){.hook = DATAPATH_TO_POD,
					       .link = (uint32_t)path->to.local->ifindex};
		memcpy(frame->from_mac, pods_gateway_mac, 6);
		memcpy(frame->to_mac, path->to.local->mac, 6);
		return NULL;
	case EXPLAIN_FROM_WIRE:
		*packet = (struct test_packet){.hook = DATAPATH_FROM_WIRE,
					       .link = uplink_of(explain)};
		packet->ingress = packet->link;
		return packet->link ? NULL
				    : "this node has no uplink on which the packet could arrive";
	case EXPLAIN_ELSEWHERE:
		break;
	}
	return "neither end is on this node: its programs do not see the packet";
}

static void take_result(const struct explain *explain, const struct test_result *result,
			struct explain_method *method)
{
	const struct flow_verdict *j = &result->flow_verdict;

	*method = (struct explain_method){.asked = true};
	method->allowed = result->outcome == VERDICT_ALLOW;
	method->reason = method->allowed  ? REASON_NONE
			 : result->reason ? (unsigned int)result->reason
					  : j->reason;
	method->identity[0] = j->source_identity;
	method->identity[1] = j->destination_identity;
	method->ruleset[EGRESS] = j->egress_ruleset;
	method->ruleset[INGRESS] = j->ingress_ruleset;
	method->evaluated[EGRESS] = result->evaluated && j->egress_ruleset;
	method->evaluated[INGRESS] = result->evaluated && j->ingress_ruleset;
	explain_name_rule(explain, j->egress_rule, &method->rule[EGRESS]);
	explain_name_rule(explain, j->ingress_rule, &method->rule[INGRESS]);
}

/* One packet. 0 or -errno. */
static int run_once(struct probes *t, const struct test_packet *where, struct explain_frame *frame)
{
	struct test_packet packet = *where;
	uint8_t buffer[EXPLAIN_FRAME_MAX];
	struct flow_tuple tuple;
	int r;

	frame->source_port = free_port(t);
	if (!frame->source_port)
		return -EADDRINUSE;
	packet.frame = buffer;
	packet.length = explain_frame_make(frame, buffer);
	r = test_run(t->run, &packet, &t->result);
	explain_frame_tuple(frame, t->zone, &tuple);
	flows_delete_flow(t->explain->sources->flows, frame->family, &tuple);
	return r;
}

/* Runs the packet to `addr` and `port`; the path says where from. */
static void run_path(struct probes *t, struct explain_path *path, const struct polder_addr *addr,
		     uint16_t port, struct explain_method *method)
{
	struct explain *explain = t->explain;
	struct explain_frame frame = {
		.family = explain->family,
		.proto = explain->proto,
		.source = *explain_addr(explain, &explain->from),
		.destination = *addr,
		.port = port,
	};
	struct test_packet packet;
	const char *note = fill_packet(explain, path, &packet, &frame);
	int r;

	if (path->itself)
		note = "a packet to the pod's own address does not leave the pod";
	if (note) {
		snprintf(method->note, sizeof(method->note), "%s", note);
		return;
	}
	t->zone = path->vantage == EXPLAIN_FROM_POD    ? ZONE_POD
		  : path->vantage == EXPLAIN_FROM_NODE ? ZONE_HOST
						       : ZONE_WIRE;
	r = run_once(t, &packet, &frame);
	if (r == 0)
		take_result(explain, &t->result, method);
	else
		snprintf(method->note, sizeof(method->note), "%s",
			 r == -EADDRINUSE ? "every source port of the sender is in use"
			 : r == -ENODEV	  ? "the link does not exist"
					  : strerror(-r));
}

/* ---------------------------------------------------------------- all paths */

/* Through the Service itself: which endpoint does the program choose? */
static void run_service(struct probes *t)
{
	struct explain *explain = t->explain;
	struct explain_path from = {.vantage = explain_is_inside(explain)
						       ? explain->paths[0].vantage
						       : EXPLAIN_FROM_WIRE};
	struct explain_method method = {};
	const struct flow_verdict *j = &t->result.flow_verdict;

	run_path(t, &from, explain_addr(explain, &explain->to), explain->port, &method);
	if (!method.asked)
		return;
	for (size_t i = 0; i < explain->path_count; i++) {
		struct explain_path *path = &explain->paths[i];

		if (explain->reason || (memcmp(&path->addr, &j->backend, sizeof(j->backend)) == 0 &&
					path->port == ntohs(j->backend_port_be))) {
			explain->chosen = i;
			explain->tried = !explain->reason;
			path->methods[METHOD_PROGRAM] = method;
			return;
		}
	}
	/* An endpoint that the objects do not name, or none. */
	explain->paths[0].methods[METHOD_PROGRAM] = method;
}

/* Is the pod itself an endpoint that the program has not chosen yet? */
static bool is_itself_untried(const struct explain *explain)
{
	for (size_t i = 0; !explain->reason && i < explain->path_count; i++)
		if (explain->from.local && explain->paths[i].to.local == explain->from.local)
			return !explain->paths[i].methods[METHOD_PROGRAM].asked;
	return false;
}

/* Is the endpoint chosen by this node's programs? */
static bool chooses_here(const struct explain *explain)
{
	return explain->to.kind == EXPLAIN_SERVICE &&
	       (explain->paths[0].vantage == EXPLAIN_FROM_POD || !explain_is_inside(explain));
}

static void run_all(struct probes *t)
{
	struct explain *explain = t->explain;
	size_t count = explain->path_count;

	for (size_t i = 0; i < count; i++) {
		struct explain_method *method = &explain->paths[i].methods[METHOD_PROGRAM];

		if (i >= TRIED_PATHS)
			snprintf(method->note, sizeof(method->note),
				 "only the first %d endpoints are tried", TRIED_PATHS);
		else if (explain->to.kind == EXPLAIN_SERVICE && explain->paths[i].to.local &&
			 explain->paths[i].to.local == explain->from.local)
			snprintf(method->note, sizeof(method->note),
				 "the endpoint is the pod itself, which it reaches only through "
				 "the Service; the Service chose another");
		else if (!explain->reason)
			run_path(t, &explain->paths[i], &explain->paths[i].addr,
				 explain->paths[i].port, method);
	}
	if (explain->reason || chooses_here(explain))
		for (int i = 0; i < SERVICE_TRIES && (i == 0 || is_itself_untried(explain)); i++)
			run_service(t);
}

static void ask_nothing(struct explain *explain, int r)
{
	for (size_t i = 0; i < explain->path_count; i++)
		snprintf(explain->paths[i].methods[METHOD_PROGRAM].note,
			 sizeof(explain->paths[i].methods[METHOD_PROGRAM].note),
			 "the program cannot be run: %s", strerror(-r));
}

void explain_ask_program(struct explain *explain)
{
	struct datapath *apart = datapath_apart(explain->sources->datapath);
	struct probes *t = calloc(1, sizeof(*t));
	struct test_run *own = NULL;
	int r = 0;

	if (!t)
		return;
	t->explain = explain;
	if (!explain->run)
		r = apart ? test_run_open(explain->sources->maps, apart, false, &own)
			  : explain->run_error;
	t->run = explain->run ? explain->run : own;
	explain->flows = explain_flows_document(explain->found, explain->live_generation);
	if (r == 0)
		run_all(t);
	else
		ask_nothing(explain, r);
	test_run_close(own);
	free(t);
}
