/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin does for each CNI_COMMAND. */
#include "cni/commands.h"

#include <errno.h>
#include <unistd.h>

#include "plugin/agent.h"
#include "plugin/attachment.h"
#include "plugin/netns.h"
#include "cni/result.h"
#include "plugin/log.h"

const char plugin_program[] = "polder-cni";

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

static struct attachment attachment_of(const struct cni_config *config,
				       const struct cni_environment *environment)
{
	return (struct attachment){.agent = config->agent,
				   .container_id = environment->container_id,
				   .ifname = environment->ifname,
				   .config = config->root};
}

void cni_undo_add(const struct cni_config *config, const struct cni_environment *environment)
{
	struct attachment attachment = attachment_of(config, environment);

	attachment_undo(&attachment);
}

static int attach(const struct cni_config *config, const struct attachment *attachment,
		  const json_t *args, int netns_fd, json_t **ret_output, struct error *ret_failure)
{
	json_t *answer;
	int r = attachment_add(attachment, args, netns_fd, &answer, ret_failure);

	if (r < 0)
		return r;
	r = cni_result_build(config, answer, ret_output, ret_failure);
	json_decref(answer);
	if (r < 0)
		attachment_undo(attachment);
	return r;
}

int cni_add(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure)
{
	struct attachment attachment = attachment_of(config, environment);
	json_t *args = NULL;
	int netns_fd = -1, r;

	r = full_request(config, environment, &args, ret_failure);
	if (!r)
		r = cni_config_check_add(config, ret_failure);
	if (!r)
		r = netns_open(environment->netns, "CNI_NETNS", &netns_fd, ret_failure);
	if (!r)
		r = attachment_finish_note(&attachment, ret_failure);
	if (!r)
		r = attach(config, &attachment, args, netns_fd, ret_output, ret_failure);
	if (netns_fd >= 0)
		close(netns_fd);
	json_decref(args);
	return r;
}

int cni_del(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure)
{
	struct attachment attachment = attachment_of(config, environment);

	return attachment_delete(&attachment, ret_failure);
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
		r = netns_open(environment->netns, "CNI_NETNS", &netns_fd, ret_failure);
	if (!r && agent_call(&config->agent, "cni.check", args, netns_fd, &answer, ret_failure) !=
			  AGENT_OK)
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
		plugin_log("GC of network %s: %s; nothing is deleted", config->name, why);
		return 0;
	}
	args = json_pack("{s:o, s:s}", "valid", valid, "network", config->name);
	outcome = agent_call(&config->agent, "cni.gc", args, -1, &answer, ret_failure);
	json_decref(answer);
	json_decref(args);
	return outcome == AGENT_OK ? 0 : -EINVAL;
}

int cni_status(struct cni_config *config, const struct cni_environment *environment,
	       json_t **ret_output, struct error *ret_failure)
{
	json_t *args = json_pack("{s:O}", "config", config->root), *answer = NULL;
	enum agent_outcome outcome =
		agent_call(&config->agent, "cni.status", args, -1, &answer, ret_failure);

	json_decref(answer);
	json_decref(args);
	if (outcome == AGENT_OK)
		return 0;
	if (outcome != AGENT_REFUSED)
		ret_failure->code = CNI_NOT_AVAILABLE;
	return -EINVAL;
}
