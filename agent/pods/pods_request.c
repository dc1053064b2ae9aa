/* SPDX-License-Identifier: Apache-2.0 */
/* What the CNI plugin asks for, decoded and checked. */
#include "agent/common/mac.h"
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cni_deletion.h"
#include "agent/common/json_any_case.h"

/* Kubernetes' own limits, and room for runtimes that name pods by their containers. */
#define NAME_LENGTH_MAX 253
#define LABEL_KEY_MAX	317
#define LABEL_VALUE_MAX 63

/* ------------------------------------------------------------- JSON access */

static json_t *get(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

/* ------------------------------------------------------------------- names */

int pods_request_names(const json_t *args, const char **ret_container_id, const char **ret_ifname,
		       struct error *ret_error)
{
	const char *container_id = json_string_value(json_object_get(args, "container_id"));
	const char *ifname = json_string_value(json_object_get(args, "ifname"));

	if (!container_id || !cni_container_id_valid(container_id))
		return error_set(ret_error, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_CONTAINERID must begin with a letter or digit, then have "
				 "letters, digits, "
				 "'_', '.' and '-', at most %d in all",
				 CNI_CONTAINER_ID_MAX);
	if (!ifname || !cni_ifname_valid(ifname))
		return error_set(
			ret_error, -EINVAL, CNI_INVALID_ENVIRONMENT,
			"CNI_IFNAME must be 1 to %d printable characters without '/', ':' and "
			"blanks, and not '.' or '..'",
			CNI_IFNAME_MAX);
	*ret_container_id = container_id;
	*ret_ifname = ifname;
	return 0;
}

/* What the kernel would understand otherwise: a pattern, or its own names of all links. */
static int check_new_ifname(const char *ifname, struct error *ret_error)
{
	if (strchr(ifname, '%') || strcmp(ifname, "all") == 0 || strcmp(ifname, "default") == 0 ||
	    strcmp(ifname, "lo") == 0)
		return error_set(ret_error, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_IFNAME '%s' is not a valid interface name; choose another",
				 ifname);
	return 0;
}

/* Printable, without '/': it stands in messages, tables and keys. */
static bool name_is_good(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > NAME_LENGTH_MAX)
		return false;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/')
			return false;
	return true;
}

static int copy_cni_arg(const json_t *cni_args, const char *key, const char *otherwise, char **ret,
			struct error *ret_error)
{
	const char *text = json_string_value(json_object_get(cni_args, key));

	if (!text || text[0] == '\0')
		text = otherwise;
	else if (!name_is_good(text))
		return error_set(
			ret_error, -EINVAL, CNI_INVALID_ENVIRONMENT,
			"CNI_ARGS: %s must be 1 to %d printable characters without '/' and blanks",
			key, NAME_LENGTH_MAX);
	*ret = strdup(text);
	return *ret ? 0 : error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
}

static int decode_names(const json_t *args, const json_t *config, struct local_pod *pod,
			struct error *ret_error)
{
	const json_t *cni_args = json_object_get(args, "cni_args");
	const char *container_id, *ifname,
		*network = json_string_value(json_object_get(config, "name"));
	int r = pods_request_names(args, &container_id, &ifname, ret_error);

	if (r == 0)
		r = check_new_ifname(ifname, ret_error);
	if (r < 0)
		return r;
	if (!network || !cni_container_id_valid(network))
		return error_set(
			ret_error, -EINVAL, CNI_INVALID_CONFIG,
			"$.name must begin with a letter or digit, then have letters, digits, '_', "
			"'.' and '-', at most %d in all",
			CNI_CONTAINER_ID_MAX);
	pod->container_id = strdup(container_id);
	pod->ifname = strdup(ifname);
	pod->network = strdup(network);
	if (!pod->container_id || !pod->ifname || !pod->network)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	r = copy_cni_arg(cni_args, "K8S_POD_NAMESPACE", "default", &pod->namespace, ret_error);
	if (r == 0)
		r = copy_cni_arg(cni_args, "K8S_POD_NAME", container_id, &pod->name, ret_error);
	return r < 0 ? r : copy_cni_arg(cni_args, "K8S_POD_UID", "", &pod->uid, ret_error);
}

/* ------------------------------------------------------------------ labels */

static int say_label(const char *path, struct error *ret_error)
{
	return error_set(
		ret_error, -EINVAL, CNI_INVALID_CONFIG,
		"%s must be at most %d labels, {\"key\": …, \"value\": …} each or one object, keys "
		"of 1 to %d and values of at most %d characters",
		path, PODS_LABELS_MAX, LABEL_KEY_MAX, LABEL_VALUE_MAX);
}

static int keep_label(struct labels *labels, const char *key, const char *value, const char *path,
		      struct error *ret_error)
{
	if (!key || !value || key[0] == '\0' || strlen(key) > LABEL_KEY_MAX ||
	    strlen(value) > LABEL_VALUE_MAX ||
	    (labels->count >= PODS_LABELS_MAX && !labels_get(labels, key)))
		return say_label(path, ret_error);
	if (labels_set(labels, key, value) < 0)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	return 0;
}

static int decode_labels(const json_t *value, const char *path, struct labels *labels,
			 struct error *ret_error)
{
	const char *key;
	json_t *item;
	size_t i;
	int r = 0;

	if (!value)
		return 0;
	if (!json_is_array(value) && !json_is_object(value))
		return say_label(path, ret_error);
	json_array_foreach (value, i, item) {
		if (r == 0)
			r = keep_label(labels, json_string_value(json_object_get(item, "key")),
				       json_string_value(json_object_get(item, "value")), path,
				       ret_error);
	}
	json_object_foreach ((json_t *)value, key, item) {
		if (r == 0)
			r = keep_label(labels, key, json_string_value(item), path, ret_error);
	}
	return r;
}

/* ------------------------------------------------------- addresses and MAC */

static int keep_wanted(struct pod_request *request, const char *text, const char *where,
		       enum cni_code code, struct error *ret_error)
{
	char plain[INET6_ADDRSTRLEN + 4];
	struct polder_addr addr, *place;

	snprintf(plain, sizeof(plain), "%s", text);
	/* Some tools give the prefix as well; the pod's address stands alone. */
	plain[strcspn(plain, "/")] = '\0';
	if (strlen(text) >= sizeof(plain) || addr_parse(plain, &addr) < 0 || addr_is_zero(&addr))
		return error_set(ret_error, -EINVAL, code, "%s: '%.64s' is not an address", where,
				 text);
	place = addr_is_v4(&addr) ? &request->wanted_v4 : &request->wanted_v6;
	if (!addr_is_zero(place) && memcmp(place, &addr, sizeof(addr)) != 0)
		return error_set(
			ret_error, -EINVAL, code,
			"%s: two addresses of one family are requested; a pod has one of each",
			where);
	*place = addr;
	return 0;
}

static int decode_ip_list(struct pod_request *request, const json_t *list, const char *where,
			  struct error *ret_error)
{
	json_t *item;
	size_t i;
	int r = 0;

	if (list && !json_is_array(list))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "%s must be a list of addresses", where);
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);

		if (!text)
			return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
					 "%s must be a list of addresses", where);
		r = keep_wanted(request, text, where, CNI_INVALID_CONFIG, ret_error);
		if (r < 0)
			break;
	}
	return r;
}

/* "IP=10.0.0.5" or, as some runtimes do, "IP=10.0.0.5,fd00::5". */
static int decode_ip_arg(struct pod_request *request, const char *text, struct error *ret_error)
{
	int r = 0;

	while (text && *text && r == 0) {
		size_t length = strcspn(text, ",");
		char one[64];

		snprintf(one, sizeof(one), "%.*s", (int)length, text);
		r = keep_wanted(request, one, "CNI_ARGS IP", CNI_INVALID_ENVIRONMENT, ret_error);
		text += length;
		text += *text == ',';
	}
	return r;
}

/* The conventions' order: runtimeConfig, args.cni, CNI_ARGS. The first that says anything counts.
 */
static int decode_ips(struct pod_request *request, const json_t *runtime, const json_t *args_cni,
		      const json_t *cni_args, struct error *ret_error)
{
	const json_t *from_runtime = json_get_any_case(runtime, "ips"),
		     *from_args = get(args_cni, "ips");

	if (from_runtime && (!json_is_array(from_runtime) || json_array_size(from_runtime) > 0))
		return decode_ip_list(request, from_runtime, "$.runtimeConfig.ips", ret_error);
	if (from_args && (!json_is_array(from_args) || json_array_size(from_args) > 0))
		return decode_ip_list(request, from_args, "$.args.cni.ips", ret_error);
	return decode_ip_arg(request, json_string_value(json_object_get(cni_args, "IP")),
			     ret_error);
}

static const char *text_or_null(const json_t *value)
{
	const char *text = json_string_value(value);

	return text && text[0] ? text : NULL;
}

static int decode_mac(struct pod_request *request, const json_t *runtime, const json_t *args_cni,
		      const json_t *cni_args, struct error *ret_error)
{
	const char *where = "$.runtimeConfig.mac",
		   *text = text_or_null(json_get_any_case(runtime, "mac"));
	enum cni_code code = CNI_INVALID_CONFIG;

	if (!text) {
		where = "$.args.cni.mac";
		text = text_or_null(get(args_cni, "mac"));
	}
	if (!text) {
		where = "CNI_ARGS MAC";
		code = CNI_INVALID_ENVIRONMENT;
		text = text_or_null(json_object_get(cni_args, "MAC"));
	}
	if (!text)
		return 0;
	if (mac_parse(text, request->mac) < 0 || memcmp(request->mac, pods_gateway_mac, 6) == 0)
		return error_set(ret_error, -EINVAL, code,
				 "%s: '%.40s' is not a usable MAC address (unicast, "
				 "xx:xx:xx:xx:xx:xx)",
				 where, text);
	request->has_mac = true;
	return 0;
}

/* --------------------------------------------------------------------- MTU */

/* As other plugins have it; 0 and null say nothing. */
static int decode_mtu(struct pod_request *request, const json_t *value, struct error *ret_error)
{
	json_int_t mtu = json_integer_value(value);

	if (!value || (json_is_integer(value) && mtu == 0))
		return 0;
	if (!json_is_integer(value) || mtu < PODS_MTU_MIN || mtu > UINT16_MAX)
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "$.mtu must be a number of bytes from %d to %d", PODS_MTU_MIN,
				 UINT16_MAX);
	request->mtu = (uint32_t)mtu;
	return 0;
}

/* ------------------------------------------------------------ capabilities */

/*
 * A runtime passes on what the configuration declares. Undeclared, it is meant for another plugin
 * of the list (portmap, bandwidth), which does it.
 */
static bool is_declared(const json_t *config, const char *capability)
{
	return json_is_true(get(get(config, "capabilities"), capability));
}

/* ------------------------------------------------------------------ whole */

static int decode(const json_t *args, struct pod_request *request, struct error *ret_error)
{
	const json_t *config = json_object_get(args, "config");
	const json_t *cni_args = json_object_get(args, "cni_args");
	const json_t *runtime = get(config, "runtimeConfig");
	const json_t *own = get(config, "args"), *args_cni = get(own, "cni");
	int r;

	if (!json_is_object(config))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "the CNI configuration must be an object");
	r = decode_names(args, config, request->pod, ret_error);
	if (r == 0)
		r = decode_labels(get(own, "labels"), "$.args.labels", &request->pod->labels,
				  ret_error);
	if (r == 0)
		r = decode_labels(get(args_cni, "labels"), "$.args.cni.labels",
				  &request->pod->labels, ret_error);
	if (r == 0)
		r = decode_ips(request, runtime, args_cni, cni_args, ret_error);
	if (r == 0)
		r = decode_mac(request, runtime, args_cni, cni_args, ret_error);
	if (r == 0)
		r = decode_mtu(request, get(config, "mtu"), ret_error);
	if (r == 0 && is_declared(config, "portMappings"))
		r = port_mappings_decode(json_get_any_case(runtime, "portMappings"),
					 "$.runtimeConfig.portMappings", &request->pod->ports,
					 ret_error);
	if (r == 0 && is_declared(config, "bandwidth"))
		r = bandwidth_decode(json_get_any_case(runtime, "bandwidth"),
				     "$.runtimeConfig.bandwidth", &request->pod->bandwidth,
				     ret_error);
	return r;
}

int pods_request_decode(const json_t *args, struct pod_request *ret, struct error *ret_error)
{
	struct pod_request request = {};
	int r;

	request.pod = calloc(1, sizeof(*request.pod));
	if (!request.pod)
		return error_set(ret_error, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	r = decode(args, &request, ret_error);
	if (r < 0) {
		pods_request_clear(&request);
		return r;
	}
	*ret = request;
	return 0;
}

void pods_request_clear(struct pod_request *request)
{
	local_pod_free(request->pod);
	request->pod = NULL;
}
