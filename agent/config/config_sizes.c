/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_sizes.h"

#include <errno.h>

#include "agent/config/config_parse.h"
#include "agent/common/maglev.h"

/* Of what is found by some bits of a number: a power of two, as `min` and `max` are. */
static int set_power(uint32_t *field, const char *text, uint32_t min, uint32_t max,
		     struct config_source *source)
{
	uint32_t size = min, wanted = 0;

	if (set_u32(&wanted, text, min, max, source) < 0)
		return -EINVAL;
	while (size < wanted)
		size *= 2;
	*field = size;
	return 0;
}

#define FLOWS_MIN 1024
#define FLOWS_MAX (1u << 24)

static int set_flows(uint32_t *field, const char *text, struct config_source *source)
{
	return set_power(field, text, FLOWS_MIN, FLOWS_MAX, source);
}

int config_set_flows_v4(struct config *config, const char *text, struct config_source *source)
{
	return set_flows(&config->flows_v4, text, source);
}

int config_set_flows_v6(struct config *config, const char *text, struct config_source *source)
{
	return set_flows(&config->flows_v6, text, source);
}

#define MAP_MIN 64
#define MAP_MAX (1u << 24)

int config_set_max_services(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->max_services, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_backends(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->max_backends, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_service_cells(struct config *config, const char *text,
				 struct config_source *source)
{
	return set_u32(&config->max_service_cells, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_service_sources(struct config *config, const char *text,
				   struct config_source *source)
{
	return set_u32(&config->max_service_sources, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_service_clients(struct config *config, const char *text,
				   struct config_source *source)
{
	return set_u32(&config->max_service_clients, text, MAP_MIN, MAP_MAX, source);
}

int config_set_maglev_table_size(struct config *config, const char *text,
				 struct config_source *source)
{
	uint32_t size = 0, below, above;

	if (set_u32(&size, text, MAGLEV_SIZE_MIN, MAGLEV_SIZE_MAX, source) < 0)
		return -EINVAL;
	if (!maglev_is_prime(size)) {
		maglev_primes_around(size, &below, &above);
		return bad(source, "a prime is required: the next ones are %u and %u", below,
			   above);
	}
	config->maglev_table_size = size;
	return 0;
}

int config_set_max_addresses(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->max_addresses, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_policy_entries(struct config *config, const char *text,
				  struct config_source *source)
{
	return set_u32(&config->max_policy_entries, text, MAP_MIN, MAP_MAX, source);
}

int config_set_max_pods(struct config *config, const char *text, struct config_source *source)
{
	return set_power(&config->max_pods, text, POLDER_MIN_PODS, POLDER_MAX_PODS, source);
}

int config_set_max_fragments(struct config *config, const char *text, struct config_source *source)
{
	return set_power(&config->max_fragments, text, MAP_MIN, 1u << 20, source);
}

int config_set_max_socket_origins(struct config *config, const char *text,
				  struct config_source *source)
{
	return set_u32(&config->max_socket_origins, text, 1024, MAP_MAX, source);
}

int config_set_max_rule_counters(struct config *config, const char *text,
				 struct config_source *source)
{
	return set_u32(&config->max_rule_counters, text, MAP_MIN, MAP_MAX, source);
}
