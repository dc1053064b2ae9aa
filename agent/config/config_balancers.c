/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_balancers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(struct config_source *source, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int refuse(struct config_source *source, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(source->error, sizeof(source->error), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int config_set_pool(struct config *config, const char *text, struct config_source *source)
{
	struct address_range range;
	const char *what;

	if (address_range_parse(text, &range) < 0)
		return refuse(source, "a block such as 192.0.2.64/26 or 2001:db8::/112, or a range "
				      "such as 192.0.2.10-192.0.2.20, is required");
	what = addr_reserved_reason(&range.first);
	if (!what)
		what = addr_reserved_reason(&range.last);
	if (what)
		return refuse(source, "%s has %s in it, which no Service can have", text, what);
	if (config->pool_count == CONFIG_MAX_POOLS)
		return refuse(source, "at most %d pools are allowed", CONFIG_MAX_POOLS);
	config->pools[config->pool_count++] = range;
	return 0;
}

void config_clear_pools(struct config *config)
{
	config->pool_count = 0;
}

int config_set_announce(struct config *config, const char *text, struct config_source *source)
{
	if (strcmp(text, "l2") != 0 && strcmp(text, "none") != 0)
		return refuse(source, "l2 or none is required");
	config->announce = strcmp(text, "l2") == 0;
	return 0;
}

#define RETURN_MAX 86400

int config_set_return(struct config *config, const char *text, struct config_source *source)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value > RETURN_MAX)
		return refuse(source, "a whole number from 0 to %d is required", RETURN_MAX);
	config->announce_return = (uint32_t)value;
	return 0;
}

static int check_pool(const struct config *config, const struct address_range *pool,
		      struct config_source *source)
{
	const struct prefix *const ranges[] = {&config->pod_cidr_v4, &config->pod_cidr_v6};
	const struct polder_addr *const nodes[] = {&config->node_ip_v4, &config->node_ip_v6};
	char text[ADDRESS_RANGE_TEXT_MAX], other[PREFIX_TEXT_MAX];

	address_range_format(pool, text);
	for (size_t i = 0; i < 2; i++) {
		if (ranges[i]->length && address_range_meets_prefix(pool, ranges[i]))
			return refuse(source,
				      "load-balancer-pools: %s meets the pods' range %s: what is "
				      "a Service's address can be no pod's; choose another pool",
				      text, prefix_format(ranges[i], other));
		if (!addr_is_zero(nodes[i]) && address_range_contains(pool, nodes[i]))
			return refuse(source,
				      "load-balancer-pools: %s has this node's address %s in it, "
				      "which a Service would take from it; leave it out",
				      text, addr_format(nodes[i], other));
	}
	for (const struct address_range *before = config->pools; before < pool; before++)
		if (address_range_meets(before, pool))
			return refuse(source,
				      "load-balancer-pools: %s and another pool have addresses in "
				      "common; give each address in one pool",
				      text);
	return 0;
}

int config_check_pools(const struct config *config, struct config_source *source)
{
	int r = 0;

	for (size_t i = 0; i < config->pool_count && r == 0; i++)
		r = check_pool(config, &config->pools[i], source);
	return r;
}
