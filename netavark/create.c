/* SPDX-License-Identifier: Apache-2.0 */
/* `podman network create --driver polder-netavark`: the network is checked and completed. */
#include "netavark/create.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/cni_code.h"
#include "agent/common/cni_deletion.h"
#include "netavark/names.h"
#include "plugin/text.h"

static int no_memory(struct error *ret_failure)
{
	return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
}

static int refuse(struct error *ret_failure, const char *what, const char *advice)
{
	return error_set(ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD, "%s: %s", what, advice);
}

static int check_names(const json_t *network, struct error *ret_failure)
{
	static const char *const keys[] = {"name", "id", "driver"};
	const char *text;
	char quoted[TEXT_QUOTE_MAX];

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		text = json_string_value(json_object_get(network, keys[i]));
		if (!text)
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "%s is missing or not a string", keys[i]);
		if (!cni_container_id_valid(text))
			return error_set(
				ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				"%s \"%s\" is invalid: it starts with a letter or digit, "
				"goes on with letters, digits, '_', '.' and '-', and has at "
				"most 200 characters",
				keys[i], text_quote(text, quoted));
	}
	return 0;
}

/* What other drivers have and this one has not. */
static int refuse_unsupported(const json_t *network, struct error *ret_failure)
{
	const char *interface = json_string_value(json_object_get(network, "network_interface"));

	if (json_is_true(json_object_get(network, "internal")))
		return refuse(ret_failure, "internal (--internal)",
			      "Polder has no internal networks; a NetworkPolicy says whom "
			      "containers may reach");
	if (interface && *interface)
		return refuse(ret_failure, "network_interface (--interface-name)",
			      "there is no interface of the network on the node; leave it out");
	if (json_array_size(json_object_get(network, "routes")))
		return refuse(ret_failure, "routes (--route)",
			      "a container's only route is the one to its node, which routes for "
			      "it; leave it out");
	return 0;
}

/* ------------------------------------------------------------------- labels */

/* netavark does not tell a plugin the network's labels, but its options. */
static int keep_label(json_t *options, const char *key, const json_t *value,
		      struct error *ret_failure)
{
	char option[sizeof(OPTION_LABEL_PREFIX) + 320];
	int r = label_check(key, json_string_value(value), ret_failure);

	if (r < 0)
		return r;
	snprintf(option, sizeof(option), OPTION_LABEL_PREFIX "%s", key);
	if (json_object_get(options, option))
		return 0;
	return json_object_set(options, option, (json_t *)value) ? no_memory(ret_failure) : 0;
}

static int keep_labels(const json_t *network, json_t *options, struct error *ret_failure)
{
	const json_t *labels = json_object_get(network, "labels");
	const char *key;
	json_t *value;
	int r;

	if (labels && !json_is_object(labels) && !json_is_null(labels))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "labels is not an object");
	json_object_foreach ((json_t *)labels, key, value) {
		r = keep_label(options, key, value, ret_failure);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---------------------------------------------------------------------- DNS */

static int join_servers(const json_t *servers, char *ret, size_t size, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];
	size_t index, used = 0;
	const char *text;
	json_t *item;

	json_array_foreach (servers, index, item) {
		text = json_string_value(item);
		if (!text || !name_is_address(text))
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "network_dns_servers[%zu] \"%s\" is not an IP address",
					 index, text_quote(text ? text : "", quoted));
		used += (size_t)snprintf(ret + used, size - used, "%s%s", index ? "," : "", text);
		if (used >= size)
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "network_dns_servers has too many addresses");
	}
	return 0;
}

/*
 * podman's name server serves bridges only. The servers of --dns become the containers' own, by
 * the option: podman refuses them on a network without its name server.
 */
static int convert_dns(json_t *network, json_t *options, struct error *ret_failure)
{
	const json_t *servers = json_object_get(network, "network_dns_servers");
	char joined[1024] = "";
	int r;

	if (json_array_size(servers) && json_object_get(options, "dns"))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "name servers are given twice: by --dns and by --opt dns");
	r = join_servers(servers, joined, sizeof(joined), ret_failure);
	if (r < 0)
		return r;
	json_object_del(network, "network_dns_servers");
	if ((*joined && json_object_set_new(options, "dns", json_string(joined))) ||
	    json_object_set_new(network, "dns_enabled", json_false()))
		return no_memory(ret_failure);
	return 0;
}

/* ---------------------------------------------------------------- addresses */

static int convert_options(json_t *network, json_t *options, struct error *ret_failure)
{
	static const char docker_mtu[] = "com.docker.network.driver.mtu";
	json_t *mtu = json_object_get(options, docker_mtu);
	int r = keep_labels(network, options, ret_failure);

	if (r < 0)
		return r;
	if (mtu && json_object_set(options, "mtu", mtu))
		return no_memory(ret_failure);
	json_object_del(options, docker_mtu);
	return convert_dns(network, options, ret_failure);
}

/* podman gives no addresses: polderd does, of each family that it has. */
static int leave_to_agent(json_t *network, const struct ranges_of_agent *ranges,
			  struct error *ret_failure)
{
	json_t *ipam = json_object_get(network, "ipam_options");

	if (!json_is_object(ipam)) {
		ipam = json_object();
		if (json_object_set_new(network, "ipam_options", ipam))
			return no_memory(ret_failure);
	}
	if (json_object_set_new(ipam, "driver", json_string("none")))
		return no_memory(ret_failure);
	if (ranges->known &&
	    json_object_set_new(network, "ipv6_enabled", json_boolean(ranges->has_v6)))
		return no_memory(ret_failure);
	return 0;
}

static int check_ipam(const json_t *network, struct error *ret_failure)
{
	const char *driver = json_string_value(
		json_object_get(json_object_get(network, "ipam_options"), "driver"));
	char quoted[TEXT_QUOTE_MAX];

	if (!driver || !*driver || !strcmp(driver, "none"))
		return 0;
	if (strcmp(driver, "host-local"))
		return error_set(
			ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD,
			"ipam_options.driver \"%s\" (--ipam-driver) is not supported: leave "
			"it out",
			text_quote(driver, quoted));
	if (!create_needs_ranges(network))
		return refuse(ret_failure, "ipam_options.driver \"host-local\" (--ipam-driver)",
			      "it needs --subnet; leave it out, and polderd gives addresses");
	return 0;
}

int create_place(json_t *network, const struct ranges_of_agent *ranges, struct error *ret_failure)
{
	if (json_is_true(json_object_get(network, "ipv6_enabled")) && ranges->known &&
	    !ranges->has_v6)
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			"ipv6_enabled (--ipv6): polderd has no range of IPv6 pod addresses "
			"(--pod-cidr)");
	if (!create_needs_ranges(network))
		return leave_to_agent(network, ranges, ret_failure);
	return ranges_check_subnets(ranges, json_object_get(network, "subnets"), ret_failure);
}

int create_convert(json_t *network, struct options *ret_options, struct error *ret_failure)
{
	json_t *options = json_object_get(network, "options");
	int r = check_names(network, ret_failure);

	if (!r)
		r = refuse_unsupported(network, ret_failure);
	if (!r)
		r = check_ipam(network, ret_failure);
	if (r < 0)
		return r;
	if (!options || json_is_null(options)) {
		options = json_object();
		if (json_object_set_new(network, "options", options))
			return no_memory(ret_failure);
	}
	if (json_is_object(options))
		r = convert_options(network, options, ret_failure);
	return r < 0 ? r : options_decode(options, NULL, ret_options, ret_failure);
}

bool create_needs_ranges(const json_t *network)
{
	return json_array_size(json_object_get(network, "subnets"));
}
