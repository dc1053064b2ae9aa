/* SPDX-License-Identifier: Apache-2.0 */
/* The node's ranges of pod addresses, and subnets of podman networks inside of them. */
#include "netavark/ranges.h"

#include <errno.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "plugin/text.h"

static void take_prefixes(const json_t *status, struct ranges_of_agent *ret)
{
	json_t *item;
	size_t index;

	ret->known = true;
	ret->prefixes = json_incref(json_object_get(status, "pod_cidrs"));
	json_array_foreach (ret->prefixes, index, item)
		if (json_is_string(item) && strchr(json_string_value(item), ':'))
			ret->has_v6 = true;
}

int ranges_ask(const struct agent_address *agent, bool needed, struct ranges_of_agent *ret,
	       struct error *ret_failure)
{
	json_t *status = NULL;
	enum agent_outcome outcome = agent_call(agent, "status", NULL, -1, &status, ret_failure);

	if (outcome == AGENT_OK)
		take_prefixes(status, ret);
	json_decref(status);
	return outcome == AGENT_OK || !needed ? 0 : -EINVAL;
}

void ranges_clear(struct ranges_of_agent *ranges)
{
	json_decref(ranges->prefixes);
	*ranges = (struct ranges_of_agent){0};
}

static bool is_in_a_range(const struct ranges_of_agent *ranges, const struct prefix *subnet)
{
	struct prefix range;
	json_t *item;
	size_t index;

	json_array_foreach (ranges->prefixes, index, item)
		if (json_is_string(item) && !prefix_parse(json_string_value(item), &range) &&
		    prefix_is_v4(&range) == prefix_is_v4(subnet) &&
		    prefix_covers(&range, &subnet->addr, subnet->length))
			return true;
	return false;
}

static int check_subnet(const struct ranges_of_agent *ranges, const json_t *given, int *families,
			struct error *ret_failure)
{
	const char *text = json_string_value(json_object_get(given, "subnet"));
	const char *gateway = json_string_value(json_object_get(given, "gateway"));
	char quoted[TEXT_QUOTE_MAX];
	struct prefix subnet;
	int family;

	text_quote(text ? text : "", quoted);
	if (!text || prefix_parse(text, &subnet))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "subnet \"%s\" is not an address and a prefix length", quoted);
	if (gateway && *gateway)
		return error_set(ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD,
				 "gateway of subnet %s (--gateway): it is always 169.254.1.1 and "
				 "fe80::1; leave it out",
				 quoted);
	family = prefix_is_v4(&subnet) ? 1 : 2;
	if (*families & family)
		return error_set(ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD,
				 "subnet %s is the second of its family: a container has one "
				 "address of each",
				 quoted);
	if (!is_in_a_range(ranges, &subnet))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "subnet %s does not lie in a range of pod addresses of polderd "
				 "(--pod-cidr); take a part of one, or leave --subnet out, and "
				 "polderd gives addresses",
				 quoted);
	*families |= family;
	return 0;
}

int ranges_check_subnets(const struct ranges_of_agent *ranges, const json_t *subnets,
			 struct error *ret_failure)
{
	json_t *given;
	int families = 0, r;
	size_t index;

	json_array_foreach (subnets, index, given) {
		r = check_subnet(ranges, given, &families, ret_failure);
		if (r < 0)
			return r;
	}
	return 0;
}
