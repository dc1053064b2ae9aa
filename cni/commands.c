/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin does for each CNI_COMMAND. */
#include "cni/commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cni_deletion.h"
#include "cni/agent.h"
#include "cni/result.h"

void cni_log(const char *format, ...)
{
	char line[2048];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "polder-cni: %s\n", line);
}

/* Takes the reference of `cni_args`; without one there are none. NULL without memory. */
static json_t *request_args(const struct cni_config *config,
			    const struct cni_environment *environment, json_t *cni_args)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:O}", "container_id", environment->container_id,
			 "ifname", environment->ifname, "netns",
			 environment->netns ? environment->netns : "", "cni_args",
			 cni_args ? cni_args : json_object(), "config", config->root);
}

/* The request of ADD and CHECK, which take CNI_ARGS seriously. */
static int full_request(struct cni_config *config, const struct cni_environment *environment,
			json_t **ret, struct error *ret_failure)
{
	json_t *cni_args, *args;
	int r = cni_args_decode(environment->args ? environment->args : "", &cni_args, ret_failure);

	if (r < 0)
		return r;
	args = request_args(config, environment, cni_args);
	if (!args)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "CNI_NETNS is not UTF-8, or out of memory");
	*ret = args;
	return 0;
}

static enum agent_outcome ask_del(const struct cni_config *config,
				  const struct cni_environment *environment,
				  struct error *ret_failure)
{
	json_t *args = json_pack("{s:s, s:s, s:O}", "container_id", environment->container_id,
				 "ifname", environment->ifname, "config", config->root);
	json_t *result = NULL;
	enum agent_outcome outcome = agent_call(config, "cni.del", args, -1, &result, ret_failure);

	json_decref(args);
	json_decref(result);
	return outcome;
}

/*
 * For polderd to finish when it is back. 0; -ENOENT: the agent's directory is not there, so it
 * holds no record of any container; other -errno.
 */
static int queue_deletion(const struct cni_config *config,
			  const struct cni_environment *environment)
{
	int directory, r;

	r = cni_deletion_open_directory(config->socket, &directory);
	if (r < 0)
		return r;
	r = cni_deletion_write(directory, environment->container_id, environment->ifname);
	close(directory);
	return r;
}

void cni_undo_add(const struct cni_config *config, const struct cni_environment *environment)
{
	struct error failure;
	int r;

	if (ask_del(config, environment, &failure) == AGENT_OK)
		return;
	r = queue_deletion(config, environment);
	cni_log("ADD %s %s could not be undone at once: %s; %s", environment->container_id,
		environment->ifname, failure.text,
		r < 0 ? "DEL or GC of the runtime will" : "polderd will when it is back");
}

/*
 * A deletion that waits in the queue is older than this ADD: it must be done first, or polderd
 * would delete what is made now.
 */
static int finish_deletion(const struct cni_config *config,
			   const struct cni_environment *environment, struct error *ret_failure)
{
	int directory, r;

	if (cni_deletion_open_directory(config->socket, &directory) < 0)
		return 0;
	r = 0;
	if (cni_deletion_exists(directory, environment->container_id, environment->ifname)) {
		if (ask_del(config, environment, ret_failure) != AGENT_OK)
			r = -EINVAL;
		else if (cni_deletion_remove(directory, environment->container_id,
					     environment->ifname))
			r = error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
				      "an earlier deletion of container %s is still noted "
				      "in " CNI_DELETION_DIRECTORY
				      " beside %s and cannot be removed",
				      environment->container_id, config->socket);
	}
	close(directory);
	return r;
}

static int attach(const struct cni_config *config, const struct cni_environment *environment,
		  const json_t *args, int netns_fd, json_t **ret_output, struct error *ret_failure)
{
	enum agent_outcome outcome;
	json_t *answer;
	int r;

	outcome = agent_call(config, "cni.add", args, netns_fd, &answer, ret_failure);
	if (outcome == AGENT_SILENT)
		cni_undo_add(config, environment);
	if (outcome != AGENT_OK)
		return -EINVAL;
	r = cni_result_build(config, answer, ret_output, ret_failure);
	json_decref(answer);
	if (r < 0)
		cni_undo_add(config, environment);
	return r;
}

int cni_add(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure)
{
	json_t *args = NULL;
	int netns_fd = -1, r;

	r = full_request(config, environment, &args, ret_failure);
	if (!r)
		r = cni_config_check_add(config, ret_failure);
	if (!r)
		r = cni_netns_open(environment->netns, &netns_fd, ret_failure);
	if (!r)
		r = finish_deletion(config, environment, ret_failure);
	if (!r)
		r = attach(config, environment, args, netns_fd, ret_output, ret_failure);
	if (netns_fd >= 0)
		close(netns_fd);
	json_decref(args);
	return r;
}

int cni_del(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure)
{
	enum agent_outcome outcome = ask_del(config, environment, ret_failure);
	int r;

	if (outcome == AGENT_OK ||
	    (outcome == AGENT_REFUSED && ret_failure->code == CNI_UNKNOWN_CONTAINER))
		return 0;
	if (outcome == AGENT_REFUSED && ret_failure->code != CNI_TRY_AGAIN)
		return -EINVAL;
	r = queue_deletion(config, environment);
	if (r == -ENOENT) {
		cni_log("DEL %s %s: polderd has no state on this node; nothing to delete",
			environment->container_id, environment->ifname);
		return 0;
	}
	if (r < 0) {
		error_details(ret_failure,
			      "and the deletion cannot be queued next to the socket: %s",
			      strerror(-r));
		return -EINVAL;
	}
	cni_log("DEL %s %s: %s; queued, polderd finishes it when it is back",
		environment->container_id, environment->ifname, ret_failure->text);
	return 0;
}

int cni_check(struct cni_config *config, const struct cni_environment *environment,
	      json_t **ret_output, struct error *ret_failure)
{
	json_t *args = NULL, *answer = NULL;
	int netns_fd = -1, r;

	if (!config->previous)
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			"prevResult is missing: CHECK compares with the result of the ADD");
	r = full_request(config, environment, &args, ret_failure);
	if (!r)
		r = cni_netns_open(environment->netns, &netns_fd, ret_failure);
	if (!r && agent_call(config, "cni.check", args, netns_fd, &answer, ret_failure) != AGENT_OK)
		r = -EINVAL;
	if (netns_fd >= 0)
		close(netns_fd);
	json_decref(answer);
	json_decref(args);
	return r;
}

int cni_gc(struct cni_config *config, const struct cni_environment *environment,
	   json_t **ret_output, struct error *ret_failure)
{
	json_t *valid, *args, *answer = NULL;
	enum agent_outcome outcome;
	const char *why;

	if (!cni_config_valid_attachments(config, &valid, &why)) {
		cni_log("GC of network %s: %s; nothing is deleted", config->name, why);
		return 0;
	}
	args = json_pack("{s:o, s:s}", "valid", valid, "network", config->name);
	outcome = agent_call(config, "cni.gc", args, -1, &answer, ret_failure);
	json_decref(answer);
	json_decref(args);
	return outcome == AGENT_OK ? 0 : -EINVAL;
}

int cni_status(struct cni_config *config, const struct cni_environment *environment,
	       json_t **ret_output, struct error *ret_failure)
{
	json_t *args = json_pack("{s:O}", "config", config->root), *answer = NULL;
	enum agent_outcome outcome =
		agent_call(config, "cni.status", args, -1, &answer, ret_failure);

	json_decref(answer);
	json_decref(args);
	if (outcome == AGENT_OK)
		return 0;
	if (outcome != AGENT_REFUSED)
		ret_failure->code = CNI_NOT_AVAILABLE;
	return -EINVAL;
}
