/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's configuration, as it comes on standard input. */
#include "cni/config.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "agent/common/json_any_case.h"
#include "plugin/text.h"

#define NAME_LENGTH_MAX	    200
#define TIMEOUT_DEFAULT	    30
#define TIMEOUT_MAX	    600
#define OLD_ATTACHMENTS_KEY "cni.dev/attachments"
#define ATTACHMENTS_KEY	    "cni.dev/valid-attachments"

const char *const cni_versions[CNI_VERSION_COUNT] = {
	[CNI_0_3_0] = "0.3.0", [CNI_0_3_1] = "0.3.1", [CNI_0_4_0] = "0.4.0",
	[CNI_1_0_0] = "1.0.0", [CNI_1_1_0] = "1.1.0",
};

/* The capabilities that go-cni and others may spell with a capital. */
static const char *const capability_names[] = {"portMappings", "bandwidth", "ips", "mac"};

const char *cni_config_version(const json_t *root)
{
	const json_t *version = json_object_get(root, "cniVersion");

	return version ? json_string_value(version) : "0.1.0";
}

static int decode_version(const json_t *root, enum cni_version *ret, struct error *ret_failure)
{
	const char *text = cni_config_version(root);
	char quoted[TEXT_QUOTE_MAX];

	if (!text)
		return error_set(ret_failure, -EINVAL, CNI_DECODE, "cniVersion is not a string");
	for (int i = 0; i < CNI_VERSION_COUNT; i++)
		if (!strcmp(text, cni_versions[i])) {
			*ret = (enum cni_version)i;
			return 0;
		}
	error_set(ret_failure, -EINVAL, CNI_INCOMPATIBLE_VERSION,
		  "cniVersion \"%s\" is not supported: use 0.3.0, 0.3.1, 0.4.0, 1.0.0 or 1.1.0",
		  text_quote(text, quoted));
	if (!json_object_get(root, "cniVersion"))
		error_details(ret_failure,
			      "the configuration has no cniVersion, which means 0.1.0");
	return -EINVAL;
}

static bool network_name_valid(const char *name)
{
	size_t length = strlen(name);

	return length && length <= NAME_LENGTH_MAX && isalnum((unsigned char)name[0]) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
		       length;
}

static int decode_name(const json_t *root, const char **ret, struct error *ret_failure)
{
	const char *name = json_string_value(json_object_get(root, "name"));
	char quoted[TEXT_QUOTE_MAX];

	if (!name)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "name is missing or not a string");
	if (!network_name_valid(name))
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			"name \"%s\" is invalid: it starts with a letter or digit and goes on with "
			"letters, digits, '_', '.' and '-'",
			text_quote(name, quoted));
	*ret = name;
	return 0;
}

static int decode_socket(const json_t *root, const char **ret, struct error *ret_failure)
{
	const json_t *socket = json_object_get(root, "socket");
	const char *path = socket ? json_string_value(socket) : AGENT_DEFAULT_SOCKET;

	if (!path || path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "socket is not an absolute path of at most %zu bytes",
				 sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	*ret = path;
	return 0;
}

static int decode_timeout(const json_t *root, int *ret_ms, struct error *ret_failure)
{
	const json_t *timeout = json_object_get(root, "timeout");
	json_int_t seconds = timeout ? json_integer_value(timeout) : TIMEOUT_DEFAULT;

	if (seconds < 1 || seconds > TIMEOUT_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
				 "timeout is not a number of seconds from 1 to %d", TIMEOUT_MAX);
	*ret_ms = (int)seconds * 1000;
	return 0;
}

/* Null counts as absent everywhere. */
static int decode_object(const json_t *root, const char *key, const json_t **ret,
			 struct error *ret_failure)
{
	const json_t *value = json_object_get(root, key);

	if (value && !json_is_object(value) && !json_is_null(value))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG, "%s is not an object",
				 key);
	*ret = json_is_object(value) ? value : NULL;
	return 0;
}

static int decode_previous(const json_t *root, const json_t **ret, struct error *ret_failure)
{
	static const char *const lists[] = {"interfaces", "ips", "routes"};
	const json_t *previous = NULL, *list, *item;
	size_t index;
	int r = decode_object(root, "prevResult", &previous, ret_failure);

	if (r < 0)
		return r;
	for (size_t i = 0; previous && i < sizeof(lists) / sizeof(*lists); i++) {
		list = json_object_get(previous, lists[i]);
		if (list && !json_is_array(list) && !json_is_null(list))
			return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
					 "prevResult.%s is not a list", lists[i]);
		json_array_foreach (list, index, item)
			if (!json_is_object(item))
				return error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
						 "prevResult.%s[%zu] is not an object", lists[i],
						 index);
	}
	*ret = previous;
	return 0;
}

/* The values stand below the names that they have here as well. */
static int correct_spelling(json_t *root, struct error *ret_failure)
{
	json_t *runtime = json_object_get(root, "runtimeConfig"), *value;

	for (size_t i = 0; i < sizeof(capability_names) / sizeof(*capability_names); i++) {
		value = json_get_any_case(runtime, capability_names[i]);
		if (value && json_object_set(runtime, capability_names[i], value))
			return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	}
	return 0;
}

static int decode(json_t *root, struct cni_config *ret, struct error *ret_failure)
{
	const json_t *type = json_object_get(root, "type"), *runtime;
	int r = decode_version(root, &ret->version, ret_failure);

	if (!r)
		r = decode_name(root, &ret->name, ret_failure);
	if (!r && type && (!json_is_string(type) || strchr(json_string_value(type), '/')))
		r = error_set(ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			      "type is not a plugin's name");
	if (!r)
		r = decode_socket(root, &ret->agent.socket, ret_failure);
	if (!r)
		r = decode_timeout(root, &ret->agent.timeout_ms, ret_failure);
	if (!r)
		r = decode_object(root, "runtimeConfig", &runtime, ret_failure);
	if (!r)
		r = correct_spelling(root, ret_failure);
	if (!r)
		r = decode_previous(root, &ret->previous, ret_failure);
	return r;
}

int cni_config_decode(json_t *root, struct cni_config *ret, struct error *ret_failure)
{
	struct cni_config config = {.root = root};
	int r = decode(root, &config, ret_failure);

	if (r < 0) {
		cni_config_clear(&config);
		return r;
	}
	*ret = config;
	return 0;
}

void cni_config_clear(struct cni_config *config)
{
	json_decref(config->root);
	*config = (struct cni_config){0};
}

/* One attachment as the agent wants it; NULL: not in the form of the specification. */
static json_t *attachment(const json_t *item)
{
	const json_t *id = json_object_get(item, "containerID");
	const json_t *ifname = json_object_get(item, "ifname");

	if (!json_is_string(id) || !json_is_string(ifname))
		return NULL;
	return json_pack("{s:O, s:O}", "containerID", id, "ifname", ifname);
}

bool cni_config_valid_attachments(const struct cni_config *config, json_t **ret,
				  const char **ret_why)
{
	const json_t *list = json_object_get(config->root, ATTACHMENTS_KEY), *item;
	json_t *valid;
	size_t index;

	if (!list)
		list = json_object_get(config->root, OLD_ATTACHMENTS_KEY);
	if (!list || (!json_is_array(list) && !json_is_null(list))) {
		*ret_why = list ? ATTACHMENTS_KEY " is not a list" : ATTACHMENTS_KEY " is missing";
		return false;
	}
	valid = json_array();
	json_array_foreach (list, index, item)
		if (json_array_append_new(valid, attachment(item))) {
			json_decref(valid);
			*ret_why =
				ATTACHMENTS_KEY " holds something other than {containerID, ifname}";
			return false;
		}
	if (!valid) {
		*ret_why = "out of memory";
		return false;
	}
	*ret = valid;
	return true;
}
