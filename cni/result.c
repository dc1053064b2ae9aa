/* SPDX-License-Identifier: Apache-2.0 */
/* The result of an ADD, in the version that the configuration names, merged into that of the
 * plugins before. */
#include "cni/result.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* What 1.1.0 brought: older runtimes refuse or ignore it. */
static const char *const new_interface_keys[] = {"mtu", "socketPath", "pciID", NULL};
static const char *const new_route_keys[] = {"mtu", "advmss", "priority", "table", "scope", NULL};

static void remove_keys(json_t *object, const char *const *keys)
{
	for (; *keys; keys++)
		json_object_del(object, *keys);
}

/* The previous result's list, without what null says; a new reference. */
static json_t *start_list(const struct cni_config *config, const char *key)
{
	json_t *list = json_deep_copy(json_object_get(config->previous, key));

	if (json_is_array(list))
		return list;
	json_decref(list);
	return json_array();
}

static int convert_interface(const struct cni_config *config, json_t *interface, size_t offset)
{
	if (!json_is_string(json_object_get(interface, "name")))
		return -EINVAL;
	if (config->version < CNI_1_1_0)
		remove_keys(interface, new_interface_keys);
	return 0;
}

/* `offset`: how many interfaces the plugins before have listed. */
static int convert_ip(const struct cni_config *config, json_t *ip, size_t offset)
{
	const char *address = json_string_value(json_object_get(ip, "address"));
	const json_t *interface = json_object_get(ip, "interface");
	json_int_t index = json_integer_value(interface) + (json_int_t)offset;

	if (!address || !json_is_integer(interface))
		return -EINVAL;
	if (json_object_set_new(ip, "interface", json_integer(index)))
		return -ENOMEM;
	if (config->version < CNI_1_0_0)
		return json_object_set_new(ip, "version",
					   json_string(strchr(address, ':') ? "6" : "4"));
	json_object_del(ip, "version");
	return 0;
}

static int convert_route(const struct cni_config *config, json_t *route, size_t offset)
{
	if (!json_is_string(json_object_get(route, "dst")))
		return -EINVAL;
	if (config->version < CNI_1_1_0)
		remove_keys(route, new_route_keys);
	return 0;
}

/* One list of the result and how its items are converted. */
struct list_rule {
	const char *key;
	bool required;
	int (*convert)(const struct cni_config *config, json_t *item, size_t offset);
};

static const struct list_rule list_rules[] = {
	{"interfaces", true, convert_interface},
	{"ips", true, convert_ip},
	{"routes", false, convert_route},
};

static int add_list(const struct cni_config *config, const struct list_rule *rule,
		    const json_t *answer, json_t *result)
{
	const json_t *theirs = json_object_get(answer, rule->key), *item;
	size_t offset = json_array_size(json_object_get(config->previous, "interfaces")), index;
	json_t *list, *copy;

	if (!json_is_array(theirs) && (rule->required || theirs))
		return -EINVAL;
	list = start_list(config, rule->key);
	if (json_object_set_new(result, rule->key, list))
		return -ENOMEM;
	json_array_foreach (theirs, index, item) {
		copy = json_deep_copy(item);
		if (!json_is_object(copy) || rule->convert(config, copy, offset)) {
			json_decref(copy);
			return -EINVAL;
		}
		if (json_array_append_new(list, copy))
			return -ENOMEM;
	}
	return 0;
}

/* The first who says something counts: plugins before, the configuration, the agent. */
static int add_dns(const struct cni_config *config, const json_t *answer, json_t *result)
{
	json_t *choices[] = {
		json_object_get(config->previous, "dns"),
		json_object_get(config->root, "dns"),
		json_object_get(answer, "dns"),
	};

	for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++)
		if (json_object_size(choices[i]))
			return json_object_set_new(result, "dns", json_deep_copy(choices[i]));
	return json_object_set_new(result, "dns", json_object());
}

int cni_result_build(const struct cni_config *config, const json_t *answer, json_t **ret,
		     struct error *ret_failure)
{
	json_t *result = json_pack("{s:s}", "cniVersion", cni_versions[config->version]);
	const struct list_rule *rule;

	for (size_t i = 0; i < sizeof(list_rules) / sizeof(*list_rules); i++) {
		rule = &list_rules[i];
		if (result && !add_list(config, rule, answer, result))
			continue;
		json_decref(result);
		return error_set(
			ret_failure, -EINVAL, CNI_DECODE,
			"polderd's answer has no usable \"%s\": are polderd and polder-cni of the "
			"same release?",
			rule->key);
	}
	if (add_dns(config, answer, result)) {
		json_decref(result);
		return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	}
	*ret = result;
	return 0;
}
