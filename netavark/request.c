/* SPDX-License-Identifier: Apache-2.0 */
/* What setup and teardown get on standard input: a container, its network, what it wants there. */
#include "netavark/request.h"

#include <errno.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "agent/common/cni_deletion.h"
#include "agent/common/mac.h"
#include "netavark/ports.h"
#include "plugin/text.h"

#define POD_NAME_MAX 253

/* ------------------------------------------------------------------- names */

static int say(const char *key, const char *value, const char *expected, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];

	if (!value)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "%s is missing or not a string", key);
	return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG, "%s \"%s\" is invalid: %s", key,
			 text_quote(value, quoted), expected);
}

static int decode_attachment(const json_t *root, struct attachment *attachment,
			     struct error *ret_failure)
{
	const json_t *options = json_object_get(root, "network_options");
	const char *id = json_string_value(json_object_get(root, "container_id"));
	const char *ifname = json_string_value(json_object_get(options, "interface_name"));

	if (!id || !cni_container_id_valid(id))
		return say("container_id", id,
			   "it starts with a letter or digit, goes on with letters, digits, '_', "
			   "'.' and '-', and has at most 200 characters",
			   ret_failure);
	if (!ifname || !cni_ifname_valid(ifname))
		return say("network_options.interface_name", ifname,
			   "at most 15 printable characters without '/', ':' and blanks, and not "
			   "\".\" or \"..\"",
			   ret_failure);
	attachment->container_id = id;
	attachment->ifname = ifname;
	return 0;
}

/* What the agent takes as a pod's name. */
static bool pod_name_is_good(const char *text)
{
	size_t length = strlen(text);

	if (!length || length > POD_NAME_MAX)
		return false;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/')
			return false;
	return true;
}

static int decode_names(struct request *request, struct error *ret_failure)
{
	const json_t *network = json_object_get(request->root, "network");
	const char *name = json_string_value(json_object_get(request->root, "container_name"));
	const char *network_name = json_string_value(json_object_get(network, "name"));

	if (!name || !pod_name_is_good(name))
		return say("container_name", name,
			   "1 to 253 printable characters without '/' and blanks", ret_failure);
	if (!network_name || !cni_container_id_valid(network_name))
		return say("network.name", network_name,
			   "it starts with a letter or digit, goes on with letters, digits, '_', "
			   "'.' and '-', and has at most 200 characters",
			   ret_failure);
	request->container_name = name;
	request->network_name = network_name;
	return 0;
}

/* ------------------------------------------------------- addresses and MAC */

/* Is another address of its family before it? The same one may come again. */
static bool is_one_too_many(const json_t *ips, size_t last, const struct polder_addr *addr)
{
	struct polder_addr other;

	for (size_t i = 0; i < last; i++)
		if (!addr_parse(json_string_value(json_array_get(ips, i)), &other) &&
		    addr_is_v4(&other) == addr_is_v4(addr) && memcmp(&other, addr, sizeof(other)))
			return true;
	return false;
}

static int check_ips(const json_t *ips, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];
	struct polder_addr addr;
	const char *text;
	json_t *item;
	size_t index;

	if (ips && !json_is_array(ips) && !json_is_null(ips))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "network_options.static_ips is not a list of addresses");
	json_array_foreach (ips, index, item) {
		text = json_string_value(item);
		if (!text || addr_parse(text, &addr))
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "network_options.static_ips[%zu] \"%s\" is not an IP "
					 "address",
					 index, text_quote(text ? text : "", quoted));
		if (is_one_too_many(ips, index, &addr))
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "network_options.static_ips: two addresses of one family; "
					 "a container has one of each");
	}
	return 0;
}

static int check_mac(const json_t *mac, struct error *ret_failure)
{
	const char *text = json_string_value(mac);
	char quoted[TEXT_QUOTE_MAX];
	uint8_t bytes[6];

	if (!mac || json_is_null(mac) || (text && (!*text || mac_parse(text, bytes) == 0)))
		return 0;
	return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			 "network_options.static_mac \"%s\" is not a unicast MAC address",
			 text_quote(text ? text : "", quoted));
}

/* ------------------------------------------------------------------- ports */

static int refuse_ports(const json_t *mappings, struct error *ret_failure)
{
	const json_t *first = json_array_get(mappings, 0);

	if (!first)
		return 0;
	return error_set(
		ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD,
		"port %d of the container is not published at port %d of the node: the network "
		"has the option ports=refuse: start the container without ports, or make the "
		"network with ports=publish",
		(int)json_integer_value(json_object_get(first, "container_port")),
		(int)json_integer_value(json_object_get(first, "host_port")));
}

/* Whom the ports are left to publishes them by other means. */
static int decode_ports(struct request *request, struct error *ret_failure)
{
	const json_t *mappings = json_object_get(request->root, "port_mappings");

	if (request->options.ports == PORTS_REFUSE && refuse_ports(mappings, ret_failure) < 0)
		return -EINVAL;
	if (request->options.ports == PORTS_IGNORE)
		mappings = NULL;
	return ports_convert(mappings, &request->ports, ret_failure);
}

/* ------------------------------------------------------------------- whole */

/* The agent knows one form of requests. */
static json_t *make_config(const struct request *request)
{
	const json_t *given = json_object_get(request->root, "network_options");
	json_t *ips = json_object_get(given, "static_ips");
	const char *mac = json_string_value(json_object_get(given, "static_mac"));

	return json_pack("{s:s, s:s, s:s, s:i, s:{s:{s:O}}, s:{s:b}, s:{s:O*, s:s*, s:O*}}",
			 "cniVersion", "1.0.0", "name", request->network_name, "type",
			 "polder-netavark", "mtu", request->options.mtu, "args", "cni", "labels",
			 request->options.labels, "capabilities", "portMappings", 1,
			 "runtimeConfig", "ips", json_is_array(ips) ? ips : NULL, "mac", mac,
			 "portMappings", json_array_size(request->ports) ? request->ports : NULL);
}

static int check_network(const json_t *network, struct error *ret_failure)
{
	if (!json_is_object(network))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "network is missing or not an object");
	if (json_is_true(json_object_get(network, "internal")))
		return error_set(
			ret_failure, -EINVAL, CNI_UNSUPPORTED_FIELD,
			"network.internal: Polder has no internal networks; a NetworkPolicy "
			"says whom containers may reach");
	return 0;
}

static int decode_setup(struct request *request, struct error *ret_failure)
{
	const json_t *root = request->root, *network = json_object_get(root, "network");
	const json_t *given = json_object_get(root, "network_options");
	int r = check_network(network, ret_failure);

	if (!r)
		r = decode_attachment(root, &request->attachment, ret_failure);
	if (!r)
		r = decode_names(request, ret_failure);
	if (!r)
		r = options_decode(json_object_get(network, "options"),
				   json_object_get(given, "options"), &request->options,
				   ret_failure);
	if (!r)
		r = check_ips(json_object_get(given, "static_ips"), ret_failure);
	if (!r)
		r = check_mac(json_object_get(given, "static_mac"), ret_failure);
	if (!r)
		r = decode_ports(request, ret_failure);
	if (r < 0)
		return r;
	request->attachment.agent = request->options.agent;
	request->dns_servers = json_object_get(network, "network_dns_servers");
	request->config = make_config(request);
	request->attachment.config = request->config;
	return request->config ? 0
			       : error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
}

int request_decode_setup(json_t *root, struct request *ret, struct error *ret_failure)
{
	struct request request = {.root = root};
	int r = decode_setup(&request, ret_failure);

	if (r < 0)
		request_clear(&request);
	else
		*ret = request;
	return r;
}

int request_decode_teardown(json_t *root, struct request *ret, struct error *ret_failure)
{
	const json_t *network = json_object_get(root, "network");
	struct request request = {.root = root};
	int r = decode_attachment(root, &request.attachment, ret_failure);

	if (!r)
		r = options_decode_agent(json_object_get(network, "options"),
					 &request.attachment.agent, ret_failure);
	if (r < 0) {
		request_clear(&request);
		return r;
	}
	*ret = request;
	return 0;
}

void request_clear(struct request *request)
{
	options_clear(&request->options);
	json_decref(request->config);
	json_decref(request->ports);
	json_decref(request->root);
	*request = (struct request){0};
}

json_t *request_args(const struct request *request, const char *netns)
{
	return json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:O}", "container_id",
			 request->attachment.container_id, "ifname", request->attachment.ifname,
			 "netns", netns, "cni_args", "K8S_POD_NAMESPACE",
			 request->options.namespace, "K8S_POD_NAME", request->container_name,
			 "config", request->config);
}
