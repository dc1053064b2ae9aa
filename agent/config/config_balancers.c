/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_balancers.h"

#include <string.h>

#include "agent/config/config_parse.h"

int config_set_pool(struct config *config, const char *text, struct config_source *source)
{
	struct address_range range;
	const char *what;

	if (address_range_parse(text, &range) < 0)
		return bad(source, "a block such as 192.0.2.64/26 or 2001:db8::/112, or a range "
				   "such as 192.0.2.10-192.0.2.20, is required");
	what = addr_reserved_reason(&range.first);
	if (!what)
		what = addr_reserved_reason(&range.last);
	if (what)
		return bad(source, "%s has %s in it, which no Service can have", text, what);
	if (config->pool_count == CONFIG_MAX_POOLS)
		return bad(source, "at most %d pools are allowed", CONFIG_MAX_POOLS);
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
		return bad(source, "l2 or none is required");
	config->announce = strcmp(text, "l2") == 0;
	return 0;
}

int config_set_return(struct config *config, const char *text, struct config_source *source)
{
	return set_u32(&config->announce_return, text, 0, 86400, source);
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
			return bad(source,
				   "load-balancer-pools: %s meets the pods' range %s: what is "
				   "a Service's address can be no pod's; choose another pool",
				   text, prefix_format(ranges[i], other));
		if (!addr_is_zero(nodes[i]) && address_range_contains(pool, nodes[i]))
			return bad(source,
				   "load-balancer-pools: %s has this node's address %s in it, "
				   "which a Service would take from it; leave it out",
				   text, addr_format(nodes[i], other));
	}
	for (const struct address_range *before = config->pools; before < pool; before++)
		if (address_range_meets(before, pool))
			return bad(source,
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
