/* SPDX-License-Identifier: Apache-2.0 */
/* The status block that netavark shows its user: interfaces, addresses, name servers. */
#include "netavark/status.h"

#include <errno.h>
#include <string.h>

#include "agent/common/cni_code.h"
#include "netavark/names.h"

/* The MAC address of the interface in the container; NULL: the answer has none. */
static const char *find_mac(const struct request *request, const json_t *answer)
{
	json_t *interface;
	const char *name;
	size_t index;

	json_array_foreach (json_object_get(answer, "interfaces"), index, interface) {
		name = json_string_value(json_object_get(interface, "name"));
		if (name && !strcmp(name, request->attachment.ifname) &&
		    json_is_string(json_object_get(interface, "sandbox")))
			return json_string_value(json_object_get(interface, "mac"));
	}
	return NULL;
}

/* A new list; NULL: an address is missing or has no sense. */
static json_t *make_subnets(const json_t *answer)
{
	json_t *subnets = json_array(), *address, *ip;
	size_t index;

	json_array_foreach (json_object_get(answer, "ips"), index, ip) {
		address = json_object_get(ip, "address");
		if (json_is_string(address) &&
		    !json_array_append_new(subnets,
					   json_pack("{s:O, s:O*}", "ipnet", address, "gateway",
						     json_object_get(ip, "gateway"))))
			continue;
		json_decref(subnets);
		return NULL;
	}
	if (json_array_size(subnets))
		return subnets;
	json_decref(subnets);
	return NULL;
}

static int no_sense(const char *key, struct error *ret_failure)
{
	return error_set(
		ret_failure, -EINVAL, CNI_DECODE,
		"polderd's answer has no usable \"%s\": are polderd and polder-netavark of "
		"the same release?",
		key);
}

/* The options' servers, then those that the network has by itself (podman network update). */
static json_t *make_servers(const struct request *request)
{
	json_t *servers = json_copy(request->options.dns_servers), *item;
	size_t index;

	json_array_foreach (request->dns_servers, index, item)
		if (json_is_string(item) && name_is_address(json_string_value(item)))
			json_array_append(servers, item);
	return servers;
}

int status_build(const struct request *request, const json_t *answer, json_t **ret,
		 struct error *ret_failure)
{
	const char *mac = find_mac(request, answer);
	json_t *subnets, *status;

	if (!mac)
		return no_sense("interfaces", ret_failure);
	subnets = make_subnets(answer);
	if (!subnets)
		return no_sense("ips", ret_failure);
	status = json_pack("{s:O, s:o, s:{s:{s:s, s:o}}}", "dns_search_domains",
			   request->options.dns_search, "dns_server_ips", make_servers(request),
			   "interfaces", request->attachment.ifname, "mac_address", mac, "subnets",
			   subnets);
	if (!status)
		return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	*ret = status;
	return 0;
}
