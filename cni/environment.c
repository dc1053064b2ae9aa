/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime says in CNI_* environment variables, checked. */
#include "cni/environment.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cni_deletion.h"
#include "plugin/text.h"

#define ARGS_MAX (64 * 1024)

static const char *const command_names[] = {
	[CNI_ADD] = "ADD", [CNI_DEL] = "DEL",	    [CNI_CHECK] = "CHECK",
	[CNI_GC] = "GC",   [CNI_STATUS] = "STATUS", [CNI_VERSION] = "VERSION",
};

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static int read_command(enum cni_command *ret, struct error *ret_failure)
{
	const char *text = variable("CNI_COMMAND");
	char quoted[TEXT_QUOTE_MAX];

	for (size_t i = 0; text && i < sizeof(command_names) / sizeof(*command_names); i++)
		if (!strcmp(text, command_names[i])) {
			*ret = (enum cni_command)i;
			return 0;
		}
	if (!text)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_COMMAND is not set: polder-cni is started by a container "
				 "runtime, see polder-cni(8)");
	return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
			 "CNI_COMMAND is \"%s\": expected ADD, DEL, CHECK, GC, STATUS or VERSION",
			 text_quote(text, quoted));
}

static int read_names(struct cni_environment *environment, struct error *ret_failure)
{
	const char *id = variable("CNI_CONTAINERID"), *ifname = variable("CNI_IFNAME");
	char quoted[TEXT_QUOTE_MAX];

	if (!id || !ifname)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "required environment variable %s is missing or empty",
				 !id ? "CNI_CONTAINERID" : "CNI_IFNAME");
	if (!cni_container_id_valid(id))
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
			"CNI_CONTAINERID \"%s\" is invalid: it starts with a letter or digit, "
			"goes on with letters, digits, '_', '.' and '-', and has at most %d "
			"characters",
			text_quote(id, quoted), CNI_CONTAINER_ID_MAX);
	if (!cni_ifname_valid(ifname))
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
			"CNI_IFNAME \"%s\" is invalid: at most %d printable characters without "
			"'/', ':' and blanks, and not \".\" or \"..\"",
			text_quote(ifname, quoted), CNI_IFNAME_MAX);
	environment->container_id = id;
	environment->ifname = ifname;
	return 0;
}

int cni_environment_read(struct cni_environment *ret, struct error *ret_failure)
{
	struct cni_environment environment = {0};
	int r = read_command(&environment.command, ret_failure);

	if (r < 0)
		return r;
	/* The others come with empty or invented names from some runtimes. */
	if (environment.command <= CNI_CHECK) {
		r = read_names(&environment, ret_failure);
		if (r < 0)
			return r;
		environment.netns = variable("CNI_NETNS");
		environment.args = variable("CNI_ARGS");
	}
	if ((environment.command == CNI_ADD || environment.command == CNI_CHECK) &&
	    !environment.netns)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "required environment variable CNI_NETNS is missing or empty");
	*ret = environment;
	return 0;
}

static bool has_control_characters(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

/* Splits "K=V" in place. */
static int add_pair(json_t *args, char *pair, struct error *ret_failure)
{
	char *equals = strchr(pair, '='), quoted[TEXT_QUOTE_MAX];
	json_t *value;

	if (!equals || equals == pair)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_ARGS: \"%s\" is not of the form KEY=VALUE",
				 text_quote(pair, quoted));
	value = json_string(equals + 1);
	*equals = '\0';
	if (!value || json_object_set_new(args, pair, value))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_ARGS: key or value of \"%s\" is not UTF-8",
				 text_quote(pair, quoted));
	return 0;
}

int cni_args_decode(const char *text, json_t **ret, struct error *ret_failure)
{
	char *copy, *rest, *pair;
	json_t *args;
	int r = 0;

	if (strlen(text) > ARGS_MAX)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_ARGS has more than %d bytes", ARGS_MAX);
	if (has_control_characters(text))
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_ARGS has control characters");
	args = json_object();
	copy = rest = strdup(text);
	if (!args || !copy)
		r = error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "out of memory");
	while (!r && (pair = strsep(&rest, ";")))
		if (*pair)
			r = add_pair(args, pair, ret_failure);
	free(copy);
	if (r < 0)
		json_decref(args);
	else
		*ret = args;
	return r;
}
