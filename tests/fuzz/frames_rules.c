/* SPDX-License-Identifier: Apache-2.0 */
/* The hosts of the made frames, and what policy says of them: as a list that can be read, and as
 * maps. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "frames.h"

static const char *const hosts[HOST_COUNT][2] = {
	[HOST_POD0] = {"10.1.0.11", "fd00:1::11"},
	[HOST_POD1] = {"10.1.0.12", "fd00:1::12"},
	[HOST_POD2] = {"10.1.0.13", "fd00:1::13"},
	[HOST_REMOTE_POD] = {"10.2.0.5", "fd00:2::5"},
	[HOST_REMOTE_UNKNOWN] = {"10.2.0.6", "fd00:2::6"},
	[HOST_NODE] = {"192.168.7.1", "fd00:7::1"},
	[HOST_OTHER_NODE] = {"192.168.7.2", "fd00:7::2"},
	[HOST_GATEWAY] = {"10.1.0.1", "fd00:1::1"},
	[HOST_NO_POD] = {"10.1.0.77", "fd00:1::77"},
	[HOST_ALLOWED_PORTS] = {"203.0.113.9", "2001:db8::9"},
	[HOST_ALLOWED] = {"203.0.113.10", "2001:db8::10"},
	[HOST_DENIED] = {"198.51.100.9", "2001:db8:51::9"},
	[HOST_SERVICE] = {"10.96.0.1", "fd00:96::1"},
	[HOST_SERVICE_EMPTY] = {"10.96.0.2", "fd00:96::2"},
	[HOST_EXTERNAL] = {"203.0.113.80", "2001:db8:80::1"},
	[HOST_BALANCER] = {"203.0.113.81", "2001:db8:81::1"},
};

/* Who may be reached by pods that are isolated, or may reach them. Protocol 0: any, whatever the
 * port. */
static const struct rule {
	int pod;
	bool ingress;
	enum host peer;
	uint8_t proto;
	uint16_t port;
} rules[] = {
	{0, false, HOST_POD1, IPPROTO_TCP, 8080},
	{0, false, HOST_POD1, IPPROTO_UDP, 5353},
	{0, false, HOST_REMOTE_POD, IPPROTO_TCP, 80},
	{0, false, HOST_REMOTE_POD, IPPROTO_UDP, 53},
	{0, false, HOST_ALLOWED_PORTS, IPPROTO_TCP, 443},
	{0, false, HOST_ALLOWED_PORTS, IPPROTO_UDP, 443},
	{0, false, HOST_ALLOWED, 0, 0},
	{0, false, HOST_NODE, IPPROTO_TCP, 9100},
	{1, true, HOST_POD0, IPPROTO_TCP, 8080},
	{1, true, HOST_POD0, IPPROTO_UDP, 5353},
	{1, true, HOST_ALLOWED_PORTS, IPPROTO_TCP, 8080},
	{1, true, HOST_REMOTE_POD, 0, 0},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

/* Other pods and directions are open. */
static bool isolated(int pod, bool ingress)
{
	return ingress ? pod == 1 : pod == 0;
}

struct polder_addr host_address(enum host host, bool v4)
{
	return addr(hosts[host][v4 ? 0 : 1]);
}

static bool is_host(const struct polder_addr *address, enum host host)
{
	struct polder_addr known = host_address(host, addr_is_v4(address));

	return addr_same(address, &known);
}

int pod_of_address(const struct polder_addr *address)
{
	for (int pod = 0; pod < WORLD_PODS; pod++)
		if (is_host(address, HOST_POD0 + pod))
			return pod;
	return -1;
}

bool policy_allows(int pod, bool ingress, const struct polder_addr *peer, uint8_t proto,
		   uint16_t port)
{
	if (!isolated(pod, ingress))
		return true;
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].pod == pod && rules[i].ingress == ingress &&
		    is_host(peer, rules[i].peer) &&
		    (!rules[i].proto || (rules[i].proto == proto && rules[i].port == port)))
			return true;
	return false;
}

/* ------------------------------------------------------------------ the same in maps */

#define PORT_CLASS_ANY 1

static uint32_t identity_of(enum host host)
{
	if (host <= HOST_POD2)
		return IDENTITY_FIRST_POD + host;
	return host == HOST_REMOTE_POD ? 300 : IDENTITY_HOST;
}

static void put_peer(struct world *world, uint32_t ruleset, enum host host)
{
	uint32_t class = host + 1;

	if (host != HOST_ALLOWED_PORTS && host != HOST_ALLOWED) {
		struct ruleset_peer_key key = {.ruleset = ruleset, .identity = identity_of(host)};
		struct ruleset_peer peer = {.peer_class = {class, class}};

		world_set(world, "ruleset_peers", &key, &peer);
		return;
	}
	for (int v4 = 0; v4 < 2; v4++) {
		struct ruleset_prefix_key key = {
			.prefixlen = 32 + 128, .ruleset = ruleset, .addr = host_address(host, v4)};

		world_set(world, "ruleset_prefixes", &key, &class);
	}
}

static void put_cell(struct world *world, uint32_t ruleset, uint16_t peer, uint16_t port)
{
	struct ruleset_cell_key key = {.ruleset = ruleset, .peer_class = peer, .port_class = port};
	struct ruleset_cell cell = {.rule[STEP_REST] = 1, .verdict[STEP_REST] = CELL_ALLOW};

	world_set(world, "ruleset_cells", &key, &cell);
}

/* Each port of a rule is a class of its own; so is "any". A peer with all ports has a cell for each
 * of them. */
static void put_ruleset(struct world *world, uint32_t ruleset, int pod, bool ingress)
{
	struct ruleset_entry set = {.number = ruleset,
				    .flags = RULESET_HAS_PREFIXES | RULESET_HAS_PORTS |
					     RULESET_ISOLATES};
	struct ruleset_port_key any = {.prefixlen = 32, .ruleset = ruleset};
	uint32_t class = PORT_CLASS_ANY;

	world_set(world, "rulesets", &ruleset, &set);
	world_set(world, "ruleset_ports", &any, &class);
	for (size_t i = 0; i < RULES; i++) {
		const struct rule *rule = &rules[i];

		if (rule->pod != pod || rule->ingress != ingress)
			continue;
		put_peer(world, ruleset, rule->peer);
		if (!rule->proto)
			put_cell(world, ruleset, rule->peer + 1, PORT_CLASS_ANY);
		for (size_t k = 0; k < RULES; k++) {
			struct ruleset_port_key key = {.prefixlen = 64,
						       .ruleset = ruleset,
						       .proto = rules[k].proto,
						       .port_be = htons(rules[k].port)};
			uint16_t port_class = 0;

			if (!rules[k].proto)
				continue;
			/* The first rule with these ports names the class. */
			while (rules[port_class].proto != rules[k].proto ||
			       rules[port_class].port != rules[k].port)
				port_class++;
			class = port_class += PORT_CLASS_ANY + 1;
			world_set(world, "ruleset_ports", &key, &class);
			if (!rule->proto ||
			    (rule->proto == rules[k].proto && rule->port == rules[k].port))
				put_cell(world, ruleset, rule->peer + 1, port_class);
		}
	}
}

/* What a Service's frames may be sent to instead. HOST_NODE: a node port. `flags` 0: a ClusterIP.
 */
static const struct service_port {
	enum host service;
	uint8_t proto;
	uint16_t port;
	struct {
		enum host host;
		uint16_t port; /* 0: no more */
	} endpoints[2];
	uint32_t flags; /* enum service_flag */
} service_ports[SERVICE_PORTS] = {
	{HOST_SERVICE, IPPROTO_TCP, 80, {{HOST_POD1, 8080}, {HOST_POD2, 8080}}, 0},
	{HOST_SERVICE, IPPROTO_UDP, 53, {{HOST_POD1, 5353}, {HOST_REMOTE_POD, 53}}, 0},
	{HOST_SERVICE, IPPROTO_TCP, 9100, {{HOST_NODE, 9100}}, 0},
	{HOST_SERVICE, IPPROTO_UDP, 443, {{HOST_ALLOWED_PORTS, 443}, {HOST_DENIED, 443}}, 0},
	{HOST_SERVICE_EMPTY, IPPROTO_TCP, 443, {{0, 0}}, 0},
	{HOST_EXTERNAL,
	 IPPROTO_TCP,
	 80,
	 {{HOST_POD1, 8080}, {HOST_REMOTE_POD, 80}},
	 SERVICE_EXTERNAL},
	{HOST_EXTERNAL,
	 IPPROTO_UDP,
	 53,
	 {{HOST_POD2, 5353}, {HOST_REMOTE_POD, 53}},
	 SERVICE_EXTERNAL | SERVICE_EXTERNAL_LOCAL},
	{HOST_NODE,
	 IPPROTO_TCP,
	 30080,
	 {{HOST_POD2, 8080}, {HOST_REMOTE_POD, 80}},
	 SERVICE_EXTERNAL | SERVICE_NODE_PORT},
	{HOST_NODE,
	 IPPROTO_UDP,
	 30053,
	 {{HOST_POD1, 5353}, {HOST_REMOTE_POD, 53}},
	 SERVICE_EXTERNAL | SERVICE_NODE_PORT | SERVICE_DSR},
	{HOST_BALANCER, IPPROTO_TCP, 443, {{HOST_POD2, 8080}}, SERVICE_EXTERNAL | SERVICE_SOURCES},
	{HOST_BALANCER, IPPROTO_UDP, 443, {{HOST_NODE, 9100}}, SERVICE_EXTERNAL},
	{HOST_BALANCER, IPPROTO_TCP, 80, {{0, 0}}, SERVICE_EXTERNAL},
};
/* Of the load balancer's source range, outside. */
static const enum host admitted = HOST_ALLOWED_PORTS;

/* Local endpoints are of both sets. */
static void put_external(struct world *world, const struct service_port *port, uint32_t id, int v4)
{
	struct world_frontend frontend = {.id = id,
					  .proto = port->proto,
					  .port = port->port,
					  .flags = port->flags,
					  .table_size = !!(port->flags & SERVICE_DSR)};

	frontend.addr = port->service != HOST_NODE ? hosts[port->service][!v4]
			: v4			   ? "0.0.0.0"
						   : "::";
	for (int k = 0; k < 2 && port->endpoints[k].port; k++) {
		enum host host = port->endpoints[k].host;

		frontend.backends[k].addr = hosts[host][!v4];
		frontend.backends[k].port = port->endpoints[k].port;
		frontend.backends[k].place = host <= HOST_POD2 || host == HOST_NODE
						     ? WORLD_BOTH_SETS
						     : WORLD_CLUSTER_SET;
	}
	world_set_frontend(world, &frontend);
	if (port->flags & SERVICE_SOURCES)
		world_set_source(world, id, hosts[admitted][!v4], v4 ? 32 : 128);
}

static void put_service(struct world *world, const struct service_port *port, uint32_t id, int v4)
{
	struct world_backend backends[2];
	int count = 0;

	if (port->flags) {
		put_external(world, port, id, v4);
		return;
	}
	while (count < 2 && port->endpoints[count].port) {
		backends[count].addr = hosts[port->endpoints[count].host][!v4];
		backends[count].port = port->endpoints[count].port;
		backends[count].state = 0;
		count++;
	}
	world_set_service(world, id, hosts[port->service][!v4], port->proto, port->port, backends,
			  count);
}

static const struct service_port *asked_port(const struct ends *asked)
{
	for (size_t i = 0; i < SERVICE_PORTS; i++) {
		const struct service_port *port = &service_ports[i];

		if (is_host(&asked->destination, port->service) && port->proto == asked->proto &&
		    port->port == asked->dport && (port->flags || asked->zone == ZONE_POD))
			return port;
	}
	return NULL;
}

bool is_served(const struct ends *asked)
{
	return asked->zone != ZONE_HOST && asked_port(asked);
}

bool is_of_cluster(const struct polder_addr *address)
{
	struct polder_addr pod = host_address(HOST_REMOTE_POD, addr_is_v4(address));
	size_t bytes = addr_is_v4(address) ? 14 : 8;

	return is_host(address, HOST_OTHER_NODE) || !memcmp(address, &pod, bytes);
}

/* Outside of the cluster the traffic policy holds, and ranges do. */
static bool is_client(const struct ends *asked)
{
	return asked->zone == ZONE_WIRE && !is_of_cluster(&asked->source);
}

const char *service_allows(const struct ends *asked, const struct ends *got)
{
	const struct service_port *port = asked_port(asked);
	bool client = is_client(asked);

	if (!port)
		return "a Service's frame goes to no endpoint of it";
	if (client && port->flags & SERVICE_SOURCES && !is_host(&asked->source, admitted))
		return "a client that no source range holds is served";
	for (int k = 0; k < 2 && port->endpoints[k].port; k++)
		if (is_host(&got->destination, port->endpoints[k].host) &&
		    got->dport == port->endpoints[k].port)
			return client && port->flags & SERVICE_EXTERNAL_LOCAL &&
					       pod_of_address(&got->destination) < 0
				       ? "policy Local leads to another node"
				       : NULL;
	return "a Service's frame goes to no endpoint of it";
}

bool service_hides_client(const struct ends *asked, const struct ends *got)
{
	const struct service_port *port = asked_port(asked);

	if (!port || asked->zone != ZONE_WIRE || is_host(&got->destination, HOST_NODE))
		return false;
	if (!is_client(asked))
		return true;
	if (port->flags & SERVICE_EXTERNAL_LOCAL)
		return false;
	/* Nobody is there who could answer in this node's place. */
	return !(port->flags & SERVICE_DSR) || pod_of_address(&got->destination) < 0;
}

bool is_service(const struct polder_addr *address)
{
	return is_host(address, HOST_SERVICE) || is_host(address, HOST_SERVICE_EMPTY);
}

bool is_external(const struct polder_addr *address)
{
	return is_host(address, HOST_EXTERNAL) || is_host(address, HOST_BALANCER);
}

void model_fill_world(struct world *world)
{
	uint32_t id = 100;

	put_ruleset(world, RULESET_FIRST, 0, false);
	put_ruleset(world, RULESET_FIRST + 1, 1, true);
	world_set_rules(world, 0, RULESET_FIRST, RULESET_OPEN);
	world_set_rules(world, 1, RULESET_OPEN, RULESET_FIRST + 1);
	for (int v4 = 0; v4 < 2; v4++)
		for (size_t i = 0; i < SERVICE_PORTS; i++)
			put_service(world, &service_ports[i], id++, v4);
	world_move_generation(world, 2);
}
