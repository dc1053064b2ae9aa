/* SPDX-License-Identifier: Apache-2.0 */
/* Services in a world's maps, as the agent writes them. */
#include <arpa/inet.h>
#include <bpf/bpf.h>

#include "world.h"

static void set_backend_state(struct world *world, uint32_t id, const struct world_backend *backend)
{
	struct backend_state_key key = {
		.service_id = id, .addr = addr(backend->addr), .port_be = htons(backend->port)};
	uint32_t state = backend->state ? backend->state : BACKEND_ACTIVE;

	world_set(world, "backend_states", &key, &state);
}

void world_remove_backend_state(struct world *world, uint32_t id, const char *address,
				uint16_t port)
{
	struct backend_state_key key = {
		.service_id = id, .addr = addr(address), .port_be = htons(port)};

	world_unset(world, "backend_states", &key);
}

void world_set_service(struct world *world, uint32_t id, const char *address, uint8_t proto,
		       uint16_t port, const struct world_backend *backends, int count)
{
	struct service_key key = {.addr = addr(address), .port_be = htons(port), .proto = proto};
	struct service_key whole = {.addr = key.addr};
	struct service_entry entry = {.id = id, .backend_first = world->next_backend};
	struct service_entry only = {.flags = SERVICE_ADDRESS_ONLY};

	for (int i = 0; i < count; i++) {
		struct backend backend = {.addr = addr(backends[i].addr),
					  .port_be = htons(backends[i].port)};

		set_backend_state(world, id, &backends[i]);
		if (backends[i].state == BACKEND_TERMINATING)
			continue;
		world_set(world, "backends", &world->next_backend, &backend);
		world->next_backend++;
		entry.backend_count++;
	}
	world_set(world, "services", &whole, &only);
	world_set(world, "services", &key, &entry);
}

static void put_backends(struct world *world, const struct world_frontend *f,
			 struct service_entry *entry)
{
	entry->backend_first = entry->local_first = world->next_backend;
	for (size_t i = 0; i < 4 && f->backends[i].addr; i++) {
		const struct world_backend member = {.addr = f->backends[i].addr,
						     .port = f->backends[i].port};
		struct backend backend = {.addr = addr(member.addr), .port_be = htons(member.port)};

		set_backend_state(world, f->id, &member);
		world_set(world, "backends", &world->next_backend, &backend);
		world->next_backend++;
		if (f->backends[i].place == WORLD_LOCAL_SET)
			entry->backend_first++;
		else
			entry->backend_count++;
		if (f->backends[i].place != WORLD_CLUSTER_SET)
			entry->local_count++;
	}
}

void world_set_frontend(struct world *world, const struct world_frontend *f)
{
	struct service_key key = {
		.addr = addr(f->addr), .port_be = htons(f->port), .proto = f->proto};
	struct service_entry entry = {.id = f->id,
				      .flags = f->flags,
				      .affinity_seconds = f->affinity_seconds,
				      .table_first = world->next_table,
				      .table_size = f->table_size};
	struct service_entry only = {.flags = SERVICE_ADDRESS_ONLY | (f->flags & SERVICE_EXTERNAL)};
	struct service_key whole = {.addr = key.addr};
	struct service_cells cells = {};

	put_backends(world, f, &entry);
	for (uint32_t i = 0; i < f->table_size; i++)
		cells.places[i] = f->table[i];
	if (f->table_size)
		world_set(world, "service_tables", &world->next_table, &cells);
	world->next_table += !!f->table_size;
	if (!(f->flags & SERVICE_NODE_PORT))
		world_set(world, "services", &whole, &only);
	world_set(world, "services", &key, &entry);
}

void world_remove_frontend(struct world *world, const char *address, uint8_t proto, uint16_t port)
{
	struct service_key key = {.addr = addr(address), .port_be = htons(port), .proto = proto};

	world_unset(world, "services", &key);
}

void world_set_source(struct world *world, uint32_t id, const char *text, int bits)
{
	struct service_source_key key = {.service_id = id, .addr = addr(text)};
	uint32_t one = 1;

	key.prefixlen = 32 + bits + (addr_is_v4(&key.addr) ? POLDER_V4_MAPPED_BITS : 0);
	world_set(world, "service_sources", &key, &one);
}

static void map_empty(struct world *world, const char *name)
{
	int fd = world_map(world, name);
	uint8_t key[64];

	while (!bpf_map_get_next_key(fd, NULL, key))
		world_unset(world, name, key);
}

void world_forget_services(struct world *world)
{
	map_empty(world, "services");
	map_empty(world, "backend_states");
	map_empty(world, "service_sources");
	map_empty(world, "service_affinity");
	world->next_backend = world->next_table = 0;
}
