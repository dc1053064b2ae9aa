/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How full the flow table is when a new flow is first refused. All pods open connections to one
 * another through Services, in turn, so that none of them holds more than its share.
 */
#include "bench.h"

#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define ENTRIES	       (DEFAULT_SETS * FLOW_WAYS)
#define ENTRIES_A_FLOW 2
#define FIRST_ID       1000

static const char *const reasons[] = {
#define X(id, name, text) name,
	POLDER_REASONS(X)
#undef X
};

/* One connection: who opens it, who answers. */
struct connection {
	const struct world_pod *client;
	const struct world_pod *server;
	struct polder_addr client_address;
	struct polder_addr server_address;
	struct polder_addr service_address;
	uint16_t sport;
	uint16_t server_port;
};

static void service_text(bool v6, int number, char *text, size_t size)
{
	snprintf(text, size, v6 ? "fd00:96::2:%x" : "10.96.2.%d", number);
}

/* Each filling has Services of its own, one for each pod: so its flows have tuples of their own. */
static struct connection connection_of(const struct bench *b, uint32_t flow)
{
	int i = flow % WORLD_PODS;
	bool v6 = bench_is_v6(b->c);
	struct connection made = {
		.client = &b->world->pods[i],
		.server = &b->world->pods[(i + 1) % WORLD_PODS],
		.sport = FIRST_PORT + flow / WORLD_PODS,
		.server_port = BACKEND_PORT + b->fillings,
	};
	char text[48];

	service_text(v6, b->fillings * WORLD_PODS + i, text, sizeof(text));
	made.service_address = addr(text);
	made.client_address = v6 ? made.client->v6 : made.client->v4;
	made.server_address = v6 ? made.server->v6 : made.server->v4;
	return made;
}

static void add_services(struct bench *b)
{
	bool v6 = bench_is_v6(b->c);

	for (int i = 0; i < WORLD_PODS; i++) {
		int number = b->fillings * WORLD_PODS + i;
		char service[48], server[48];
		struct world_backend backend = {.addr = server, .port = BACKEND_PORT + b->fillings};

		service_text(v6, number, service, sizeof(service));
		snprintf(server, sizeof(server), v6 ? "fd00:1::%d" : "10.1.0.%d",
			 11 + (i + 1) % WORLD_PODS);
		world_set_service(b->world, FIRST_ID + number, service, IPPROTO_TCP, SERVICE_PORT,
				  &backend, 1);
	}
}

static void segment_of_client(const struct connection *c, uint8_t flags, struct frame *frame)
{
	struct frame_spec spec = {
		.source = c->client_address,
		.destination = c->service_address,
		.proto = IPPROTO_TCP,
		.sport = c->sport,
		.dport = SERVICE_PORT,
		.tcp_flags = flags,
	};

	memcpy(spec.mac_source, c->client->mac, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	frame_make(frame, &spec);
}

static void answer(struct bench *b, const struct connection *c)
{
	struct frame frame;
	struct frame_spec spec = {
		.source = c->server_address,
		.destination = c->client_address,
		.proto = IPPROTO_TCP,
		.sport = c->server_port,
		.dport = c->sport,
		.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG,
	};

	memcpy(spec.mac_source, c->server->mac, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	frame_make(&frame, &spec);
	if (world_step(b->world, HOOK_FROM_POD, c->server->link, &frame) != TC_ACT_REDIRECT)
		bench_fail("an answer was not forwarded while the table was filled");
}

/* False: refused. */
static bool connect_once(struct bench *b, const struct connection *c, const char **ret_reason)
{
	struct frame frame;
	struct world_result result;

	segment_of_client(c, TCP_SYN_FLAG, &frame);
	if (world_step(b->world, HOOK_FROM_POD, c->client->link, &frame) != TC_ACT_REDIRECT) {
		result = world_run(b->world, HOOK_FROM_POD, c->client->link, c->client->link,
				   &frame);
		*ret_reason = reasons[result.reason];
		return false;
	}
	answer(b, c);
	segment_of_client(c, TCP_ACK_FLAG, &frame);
	if (world_step(b->world, HOOK_FROM_POD, c->client->link, &frame) != TC_ACT_REDIRECT)
		bench_fail("a packet of a flow was not forwarded while the table was filled");
	return true;
}

double bench_fill(struct bench *b, const char **ret_reason)
{
	const char *reason = "none";
	uint32_t flow = 0;

	world_forget_flows(b->world);
	add_services(b);
	while (flow < ENTRIES / ENTRIES_A_FLOW) {
		struct connection c = connection_of(b, flow);

		if (!connect_once(b, &c, &reason))
			break;
		flow++;
	}
	b->fillings++;
	*ret_reason = reason;
	return 100.0 * ENTRIES_A_FLOW * flow / ENTRIES;
}
