/* SPDX-License-Identifier: Apache-2.0 */
/* A container's interface: made and deleted by polderd, and noted down where it does not answer. */
#include "plugin/attachment.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cni_code.h"
#include "agent/common/cni_deletion.h"
#include "plugin/log.h"

static enum agent_outcome ask_deletion(const struct attachment *attachment,
				       struct error *ret_failure)
{
	json_t *args = json_pack("{s:s, s:s, s:O*}", "container_id", attachment->container_id,
				 "ifname", attachment->ifname, "config", attachment->config);
	json_t *result = NULL;
	enum agent_outcome outcome =
		agent_call(&attachment->agent, "cni.del", args, -1, &result, ret_failure);

	json_decref(args);
	json_decref(result);
	return outcome;
}

/*
 * For polderd to finish when it is back. 0; -ENOENT: the agent's directory is not there, so it
 * holds no record of any container; other -errno.
 */
static int queue_deletion(const struct attachment *attachment)
{
	int directory, r;

	r = cni_deletion_open_directory(attachment->agent.socket, &directory);
	if (r < 0)
		return r;
	r = cni_deletion_write(directory, attachment->container_id, attachment->ifname);
	close(directory);
	return r;
}

void attachment_undo(const struct attachment *attachment)
{
	struct error failure;
	int r;

	if (ask_deletion(attachment, &failure) == AGENT_OK)
		return;
	r = queue_deletion(attachment);
	plugin_log("%s %s was made in vain and cannot be deleted at once: %s; %s",
		   attachment->container_id, attachment->ifname, failure.text,
		   r < 0 ? "the runtime's deletion will" : "polderd will when it is back");
}

/* polderd would do later what an old note says, and take the new interface away. */
static int say_unknown(const struct attachment *attachment, int r, struct error *ret_failure)
{
	return error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			 "whether an earlier deletion of container %s is noted "
			 "in " CNI_DELETION_DIRECTORY " beside %s cannot be seen: %s",
			 attachment->container_id, attachment->agent.socket, strerror(-r));
}

int attachment_finish_note(const struct attachment *attachment, struct error *ret_failure)
{
	const char *id = attachment->container_id, *ifname = attachment->ifname;
	int directory, noted, r;

	r = cni_deletion_open_directory(attachment->agent.socket, &directory);
	/* Without the socket's directory there is no agent, nor a note that it would find. */
	if (r < 0)
		return r == -ENOENT ? 0 : say_unknown(attachment, r, ret_failure);
	noted = cni_deletion_exists(directory, id, ifname);
	if (noted < 0) {
		r = say_unknown(attachment, noted, ret_failure);
	} else if (noted) {
		if (ask_deletion(attachment, ret_failure) != AGENT_OK)
			r = -EINVAL;
		else if (cni_deletion_remove(directory, id, ifname))
			r = error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
				      "an earlier deletion of container %s is still noted "
				      "in " CNI_DELETION_DIRECTORY
				      " beside %s and cannot be removed",
				      id, attachment->agent.socket);
	}
	close(directory);
	return r;
}

int attachment_add(const struct attachment *attachment, const json_t *args, int netns_fd,
		   json_t **ret_answer, struct error *ret_failure)
{
	enum agent_outcome outcome =
		agent_call(&attachment->agent, "cni.add", args, netns_fd, ret_answer, ret_failure);

	if (outcome == AGENT_SILENT)
		attachment_undo(attachment);
	return outcome == AGENT_OK ? 0 : -EINVAL;
}

int attachment_delete(const struct attachment *attachment, struct error *ret_failure)
{
	enum agent_outcome outcome = ask_deletion(attachment, ret_failure);
	int r;

	if (outcome == AGENT_OK ||
	    (outcome == AGENT_REFUSED && ret_failure->code == CNI_UNKNOWN_CONTAINER))
		return 0;
	if (outcome == AGENT_REFUSED && ret_failure->code != CNI_TRY_AGAIN)
		return -EINVAL;
	r = queue_deletion(attachment);
	if (r == -ENOENT) {
		plugin_log("%s %s: polderd has no state on this node; nothing to delete",
			   attachment->container_id, attachment->ifname);
		return 0;
	}
	if (r < 0) {
		error_details(ret_failure,
			      "and the deletion cannot be queued next to the socket: %s",
			      strerror(-r));
		return -EINVAL;
	}
	plugin_log("%s %s: %s; the deletion is queued, polderd finishes it when it is back",
		   attachment->container_id, attachment->ifname, ret_failure->text);
	return 0;
}
