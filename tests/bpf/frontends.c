/* SPDX-License-Identifier: Apache-2.0 */
#include "frontends.h"

const char *const external[2] = {"198.51.100.7", "2001:db8:7::7"};
const char *const any[2] = {"0.0.0.0", "::"};
const char *const client[2] = {"203.0.113.9", "2001:db8::9"};

struct world_frontend frontend_of(enum suite_version v, uint8_t proto, uint32_t flags,
				  const char *endpoint)
{
	struct world_frontend f = {.id = 500 + v,
				   .addr = external[v],
				   .proto = proto,
				   .port = 80,
				   .flags = SERVICE_EXTERNAL | flags};

	f.backends[0].addr = endpoint;
	f.backends[0].port = 8080;
	return f;
}

struct world_frontend node_port_of(enum suite_version v, uint8_t proto, uint32_t flags,
				   const char *endpoint)
{
	struct world_frontend f = frontend_of(v, proto, flags | SERVICE_NODE_PORT, endpoint);

	f.addr = any[v];
	f.port = NODE_PORT;
	return f;
}

struct world_result ask(const struct frame_spec *spec)
{
	struct world_result r = send_of_wire(spec);

	CU_ASSERT(forwarded(&r));
	return r;
}

bool seen_from_node(const struct world_result *result, enum suite_version v, const char *to,
		    uint16_t dport)
{
	struct frame_spec got = seen(result);
	struct polder_addr source = addr(node[v]), destination = addr(to);

	if (addr_same(&got.source, &source) && addr_same(&got.destination, &destination) &&
	    got.sport >= 40000 && got.sport <= 49999 && got.dport == dport)
		return true;
	printf("\n    seen: ports %u %u", got.sport, got.dport);
	return false;
}
