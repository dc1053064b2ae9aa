/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/health_ports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "agent/common/log.h"
#include "agent/observe/http.h"

struct health_port {
	UT_hash_handle hh; /* by port */
	uint16_t port;
	struct health_ports *all;
	struct http_server *server; /* NULL: the port cannot be had */
	char *namespace, *name;	    /* the Service's */
	size_t endpoints;
	bool wanted;
	int error; /* why there is no server; told */
};

struct health_ports {
	uv_loop_t *loop;
	bool (*well)(const void *data);
	const void *data;
	struct health_port *ports;
	bool changed; /* since health_ports_take_change() */
};

/* ---------------------------------------------------------------- answers */

/* In the form of kube-proxy. */
static char *make_body(const struct health_port *port, bool well)
{
	json_t *document = json_pack("{s:{s:s, s:s}, s:I, s:b}", "service", "namespace",
				     port->namespace, "name", port->name, "localEndpoints",
				     (json_int_t)port->endpoints, "serviceProxyHealthy", well);
	char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;

	json_decref(document);
	return text;
}

static unsigned int on_request(char **ret_body, size_t *ret_length, void *data)
{
	const struct health_port *port = data;
	bool well = port->all->well(port->all->data);

	*ret_body = make_body(port, well);
	*ret_length = *ret_body ? strlen(*ret_body) : 0;
	return well && port->endpoints ? 200 : 503;
}

static void write_weight(char *value, size_t size, void *data)
{
	const struct health_port *port = data;

	snprintf(value, size, "%zu", port->endpoints);
}

/* ---------------------------------------------------------------- ports */

static void tell(struct health_port *port, int r)
{
	if (r == port->error)
		return;
	if (r < 0)
		log_warning("services",
			    "%s/%s: its health check node port %u cannot be served: %s; retried "
			    "every 5 s",
			    port->namespace, port->name, port->port, strerror(-r));
	else if (port->error)
		log_info("services", "%s/%s: its health check node port %u is served now",
			 port->namespace, port->name, port->port);
	port->error = r;
	port->all->changed = true;
}

static void serve(struct health_port *port)
{
	const struct http_page page = {.content_type = HTTP_TYPE_JSON,
				       .handler = on_request,
				       .header = "X-Load-Balancing-Endpoint-Weight",
				       .header_value = write_weight,
				       .data = port};
	char address[16];
	int r;

	if (port->server)
		return;
	snprintf(address, sizeof(address), ":%u", port->port);
	r = http_server_new(port->all->loop, address, &port->server);
	if (r == 0)
		http_serve_every_path(port->server, &page);
	tell(port, r);
}

static void drop(struct health_port *port)
{
	port->all->changed |= port->error != 0;
	HASH_DEL(port->all->ports, port);
	http_server_free(port->server);
	free(port->namespace);
	free(port->name);
	free(port);
}

/* Whose the port is; another Service may have got it. 0 or -ENOMEM: it keeps what it had. */
static int set_names(struct health_port *port, const struct service_health *health)
{
	char *namespace, *name;

	if (port->name && strcmp(port->name, health->name) == 0 &&
	    strcmp(port->namespace, health->namespace) == 0)
		return 0;
	namespace = strdup(health->namespace);
	name = strdup(health->name);
	if (!namespace || !name) {
		free(namespace);
		free(name);
		return -ENOMEM;
	}
	free(port->namespace);
	free(port->name);
	port->namespace = namespace;
	port->name = name;
	port->all->changed |= port->error != 0;
	return 0;
}

/* NULL: no memory. */
static struct health_port *get(struct health_ports *ports, uint16_t number)
{
	struct health_port *port;

	HASH_FIND(hh, ports->ports, &number, sizeof(number), port);
	if (port)
		return port;
	port = calloc(1, sizeof(*port));
	if (!port)
		return NULL;
	port->all = ports;
	port->port = number;
	HASH_ADD(hh, ports->ports, port, sizeof(port->port), port);
	if (HASH_ADDED(hh, port))
		return port;
	free(port);
	return NULL;
}

/* Of two Services with one port the first counts; the API server gives no port twice. */
void health_ports_want(const struct service_health *health, void *ports)
{
	struct health_port *port = get(ports, health->port);

	if (!port || port->wanted)
		return;
	/* What cannot be named now is closed at the end: no answer is better than another's. */
	if (set_names(port, health) < 0)
		return;
	port->wanted = true;
	port->endpoints = health->endpoints;
}

void health_ports_begin(struct health_ports *ports)
{
	for (struct health_port *port = ports->ports; port; port = port->hh.next)
		port->wanted = false;
}

void health_ports_end(struct health_ports *ports)
{
	struct health_port *port, *next;

	HASH_ITER (hh, ports->ports, port, next) {
		if (port->wanted)
			serve(port);
		else
			drop(port);
	}
}

void health_ports_retry(struct health_ports *ports)
{
	for (struct health_port *port = ports->ports; port; port = port->hh.next)
		serve(port);
}

bool health_ports_take_change(struct health_ports *ports)
{
	bool changed = ports->changed;

	ports->changed = false;
	return changed;
}

void health_ports_problems(const struct health_ports *ports,
			   void (*visit)(const struct service_problem *problem, void *data),
			   void *data)
{
	const struct health_port *port;

	for (port = ports->ports; port; port = port->hh.next) {
		struct service_problem problem = {.namespace = port->namespace,
						  .name = port->name,
						  .kind = SERVICE_PROBLEM_HEALTH,
						  .here = true};

		if (!port->error)
			continue;
		snprintf(problem.reason, sizeof(problem.reason),
			 "its health check node port %u cannot be served: %s; load balancers take "
			 "this node for one without endpoints; end what has the port; retried "
			 "every 5 s",
			 port->port, strerror(-port->error));
		snprintf(problem.everywhere, sizeof(problem.everywhere),
			 "its health check node port %u cannot be served on a node: load balancers "
			 "take that node for one without endpoints; end what has the port",
			 port->port);
		visit(&problem, data);
	}
}

int health_ports_new(uv_loop_t *loop, bool (*well)(const void *data), const void *data,
		     struct health_ports **ret)
{
	struct health_ports *ports = calloc(1, sizeof(*ports));

	if (!ports)
		return -ENOMEM;
	*ports = (struct health_ports){.loop = loop, .well = well, .data = data};
	*ret = ports;
	return 0;
}

void health_ports_free(struct health_ports *ports)
{
	struct health_port *port, *next;

	if (!ports)
		return;
	HASH_ITER (hh, ports->ports, port, next)
		drop(port);
	free(ports);
}
