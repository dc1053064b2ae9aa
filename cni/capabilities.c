/* SPDX-License-Identifier: Apache-2.0 */
/* What users and runtimes ask for beyond the plain attachment: addresses, MAC, published ports,
 * bandwidth, labels. */
#include "agent/common/bandwidth.h"
#include "agent/common/mac.h"
#include "agent/common/port_mapping.h"
#include "cni/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/text.h"

#define IPS_MAX	   16
#define LABELS_MAX 256

/* "10.0.0.1", "10.0.0.1/24", "fd00::1/64". */
static bool address_valid(const char *text)
{
	char address[INET6_ADDRSTRLEN], *end;
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	unsigned char binary[16];
	bool v6 = memchr(text, ':', length);
	unsigned long bits = 0;

	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	if (inet_pton(v6 ? AF_INET6 : AF_INET, address, binary) != 1)
		return false;
	if (!slash)
		return true;
	if (slash[1] < '0' || slash[1] > '9')
		return false;
	bits = strtoul(slash + 1, &end, 10);
	return !*end && bits <= (v6 ? 128 : 32);
}

static int check_ips(const json_t *ips, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];
	const char *text;
	json_t *item;
	size_t index;

	if (!ips || json_is_null(ips))
		return 0;
	if (!json_is_array(ips) || json_array_size(ips) > IPS_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "runtimeConfig.ips is not a list of at most %d addresses",
				 IPS_MAX);
	json_array_foreach (ips, index, item) {
		text = json_string_value(item);
		if (!text || !address_valid(text))
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "runtimeConfig.ips[%zu] \"%s\" is not an IP address",
					 index, text_quote(text ? text : "", quoted));
	}
	return 0;
}

static int check_mac(const json_t *mac, struct error *ret_failure)
{
	const char *text = json_string_value(mac);
	uint8_t bytes[6];
	char quoted[TEXT_QUOTE_MAX];

	if (!mac || json_is_null(mac) || (text && !*text) || (text && mac_parse(text, bytes) == 0))
		return 0;
	return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			 "runtimeConfig.mac \"%s\" is not a unicast MAC address",
			 text_quote(text ? text : "", quoted));
}

/* What polderd takes, told before it is asked. */
static int check_ports(const json_t *ports, struct error *ret_failure)
{
	struct port_mappings mappings = {};
	int r = port_mappings_decode(ports, "runtimeConfig.portMappings", &mappings, ret_failure);

	port_mappings_clear(&mappings);
	return r;
}

static int check_labels(const json_t *labels, const char *path, struct error *ret_failure)
{
	const char *key;
	json_t *item;
	size_t index;

	if (!labels || json_is_null(labels))
		return 0;
	if (!json_is_array(labels) || json_array_size(labels) > LABELS_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "%s is not a list of at most %d {\"key\", \"value\"}", path,
				 LABELS_MAX);
	json_array_foreach (labels, index, item) {
		key = json_string_value(json_object_get(item, "key"));
		if (!key || !*key || !json_is_string(json_object_get(item, "value")))
			return error_set(
				ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				"%s[%zu] is not a pair {\"key\": …, \"value\": …} of strings", path,
				index);
	}
	return 0;
}

int cni_config_check_add(const struct cni_config *config, struct error *ret_failure)
{
	const json_t *runtime = json_object_get(config->root, "runtimeConfig");
	const json_t *args = json_object_get(config->root, "args");
	struct bandwidth bandwidth;
	int r = bandwidth_decode(json_object_get(runtime, "bandwidth"), "runtimeConfig.bandwidth",
				 &bandwidth, ret_failure);

	if (!r)
		r = check_ports(json_object_get(runtime, "portMappings"), ret_failure);
	if (!r)
		r = check_ips(json_object_get(runtime, "ips"), ret_failure);
	if (!r)
		r = check_mac(json_object_get(runtime, "mac"), ret_failure);
	if (!r)
		r = check_labels(json_object_get(args, "labels"), "args.labels", ret_failure);
	if (!r)
		r = check_labels(json_object_get(json_object_get(args, "cni"), "labels"),
				 "args.cni.labels", ret_failure);
	return r;
}
