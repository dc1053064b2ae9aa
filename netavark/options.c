/* SPDX-License-Identifier: Apache-2.0 */
/* What `podman network create --opt` and `podman run --network NAME:KEY=VALUE` say. */
#include "netavark/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "agent/common/cni_code.h"
#include "netavark/names.h"
#include "plugin/text.h"

#define DEFAULT_NAMESPACE  "default"
#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX	   600
#define MTU_MIN		   68
#define MTU_MAX		   65535
#define LIST_MAX	   16

struct option_rule {
	const char *key;
	bool of_containers; /* may be said of one container, too */
	int (*take)(struct options *options, const char *value, struct error *ret_failure);
};

static int say(const char *key, const char *value, const char *expected, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];

	return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG, "option %s: \"%s\" is not %s",
			 key, text_quote(value, quoted), expected);
}

static int number(const char *text, long low, long high, int *ret)
{
	char *end;
	long value;

	if (text[0] < '0' || text[0] > '9' || strlen(text) > 9)
		return -EINVAL;
	value = strtol(text, &end, 10);
	if (*end || value < low || value > high)
		return -EINVAL;
	*ret = (int)value;
	return 0;
}

static int take_socket(struct options *options, const char *value, struct error *ret_failure)
{
	if (value[0] != '/' || strlen(value) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return say("socket", value, "an absolute path of at most 107 bytes", ret_failure);
	options->agent.socket = value;
	return 0;
}

static int take_timeout(struct options *options, const char *value, struct error *ret_failure)
{
	int seconds;

	if (number(value, 1, TIMEOUT_MAX, &seconds))
		return say("timeout", value, "a number of seconds from 1 to 600", ret_failure);
	options->agent.timeout_ms = seconds * 1000;
	return 0;
}

static int take_mtu(struct options *options, const char *value, struct error *ret_failure)
{
	if (number(value, MTU_MIN, MTU_MAX, &options->mtu))
		return say("mtu", value, "a number of bytes from 68 to 65535", ret_failure);
	return 0;
}

static int take_namespace(struct options *options, const char *value, struct error *ret_failure)
{
	if (!name_is_dns_label(value))
		return say("namespace", value,
			   "the name of a namespace: at most 63 small letters, digits and '-', a "
			   "letter or digit first and last",
			   ret_failure);
	options->namespace = value;
	return 0;
}

static int take_ports(struct options *options, const char *value, struct error *ret_failure)
{
	static const char *const names[] = {
		[PORTS_PUBLISH] = "publish", [PORTS_IGNORE] = "ignore", [PORTS_REFUSE] = "refuse"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(value, names[i])) {
			options->ports = (enum ports_option)i;
			return 0;
		}
	return say("ports", value, "publish, ignore or refuse", ret_failure);
}

/* Splits "a,b" into a list of strings that all are good. */
static int take_list(const char *key, const char *value, bool (*good)(const char *text),
		     const char *expected, json_t *list, struct error *ret_failure)
{
	char *copy = strdup(value), *rest = copy, *one;
	int r = 0;

	if (!copy)
		return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	while (!r && (one = strsep(&rest, ",")))
		if (!good(one) || json_array_size(list) == LIST_MAX)
			r = say(key, value, expected, ret_failure);
		else if (json_array_append_new(list, json_string(one)))
			r = error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	free(copy);
	return r;
}

static int take_dns(struct options *options, const char *value, struct error *ret_failure)
{
	return take_list("dns", value, name_is_address,
			 "a list of at most 16 IP addresses with ',' between", options->dns_servers,
			 ret_failure);
}

static int take_dns_search(struct options *options, const char *value, struct error *ret_failure)
{
	return take_list("dns-search", value, name_is_domain,
			 "a list of at most 16 domains with ',' between", options->dns_search,
			 ret_failure);
}

static const struct option_rule rules[] = {
	{"socket", false, take_socket},
	{"timeout", false, take_timeout},
	{"mtu", true, take_mtu},
	{"namespace", true, take_namespace},
	{"ports", true, take_ports},
	{"dns", false, take_dns},
	{"dns-search", false, take_dns_search},
};

static const struct option_rule *find_rule(const char *key)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (!strcmp(rules[i].key, key))
			return &rules[i];
	return NULL;
}

/* A label that is there already gets the new value: what the container says comes last. */
static int put_label(json_t *labels, const char *key, const json_t *value)
{
	json_t *label;
	size_t index;

	json_array_foreach (labels, index, label)
		if (!strcmp(json_string_value(json_object_get(label, "key")), key))
			return json_object_set(label, "value", (json_t *)value);
	return json_array_append_new(labels, json_pack("{s:s, s:O}", "key", key, "value", value));
}

static int take_label(struct options *options, const char *key, const json_t *value,
		      struct error *ret_failure)
{
	const char *name = key + strlen(OPTION_LABEL_PREFIX);
	int r = label_check(name, json_string_value(value), ret_failure);

	if (r < 0)
		return r;
	if (json_array_size(options->labels) >= LABELS_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "there are more than %d labels", LABELS_MAX);
	if (put_label(options->labels, name, value))
		return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	return 0;
}

static int take_option(struct options *options, const char *key, const json_t *value,
		       bool of_container, struct error *ret_failure)
{
	const struct option_rule *rule = find_rule(key);
	char quoted[TEXT_QUOTE_MAX];

	text_quote(key, quoted);
	if (!json_is_string(value))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "option %s is not a string", quoted);
	if (!strncmp(key, OPTION_LABEL_PREFIX, strlen(OPTION_LABEL_PREFIX)))
		return take_label(options, key, value, ret_failure);
	if (!rule)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "unknown option %s: there are socket, timeout, mtu, namespace, "
				 "ports, dns, dns-search and " OPTION_LABEL_PREFIX "KEY",
				 quoted);
	if (of_container && !rule->of_containers)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "option %s is the network's, not one container's: give it to "
				 "podman network create",
				 quoted);
	return rule->take(options, json_string_value(value), ret_failure);
}

static int take_all(struct options *options, const json_t *given, bool of_container,
		    struct error *ret_failure)
{
	const char *key;
	json_t *value;
	int r;

	if (given && !json_is_null(given) && !json_is_object(given))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "options is not an object");
	json_object_foreach ((json_t *)given, key, value) {
		r = take_option(options, key, value, of_container, ret_failure);
		if (r < 0)
			return r;
	}
	return 0;
}

int options_decode(const json_t *network, const json_t *container, struct options *ret,
		   struct error *ret_failure)
{
	struct options options = {
		.agent = {.socket = AGENT_DEFAULT_SOCKET, .timeout_ms = TIMEOUT_DEFAULT_MS},
		.namespace = DEFAULT_NAMESPACE,
		.labels = json_array(),
		.dns_servers = json_array(),
		.dns_search = json_array(),
	};
	int r = take_all(&options, network, false, ret_failure);

	if (!r)
		r = take_all(&options, container, true, ret_failure);
	if (r < 0)
		options_clear(&options);
	else
		*ret = options;
	return r;
}

int options_decode_agent(const json_t *network, struct agent_address *ret,
			 struct error *ret_failure)
{
	static const char *const keys[] = {"socket", "timeout"};
	struct options options = {
		.agent = {.socket = AGENT_DEFAULT_SOCKET, .timeout_ms = TIMEOUT_DEFAULT_MS},
	};
	const json_t *value;
	int r = 0;

	for (size_t i = 0; !r && i < sizeof(keys) / sizeof(*keys); i++) {
		value = json_object_get(network, keys[i]);
		if (value)
			r = take_option(&options, keys[i], value, false, ret_failure);
	}
	if (!r)
		*ret = options.agent;
	return r;
}

void options_clear(struct options *options)
{
	json_decref(options->labels);
	json_decref(options->dns_servers);
	json_decref(options->dns_search);
	*options = (struct options){0};
}
