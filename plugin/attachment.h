/* SPDX-License-Identifier: Apache-2.0 */
/* A container's interface: made and deleted by polderd, and noted down where it does not answer. */
#pragma once

#include <jansson.h>

#include "agent/common/error.h"
#include "plugin/agent.h"

/* All is borrowed; the names have to be valid (cni_deletion.h). */
struct attachment {
	struct agent_address agent;
	const char *container_id;
	const char *ifname;
	json_t *config; /* goes along with a deletion; NULL: none */
};

/*
 * A deletion that waits in the queue is older than what is to be made now: it must be done first,
 * or polderd would delete that. 0 or -EINVAL.
 */
int attachment_finish_note(const struct attachment *attachment, struct error *ret_failure);

/*
 * cni.add with these arguments and the namespace's descriptor. 0 with the answer (a new reference),
 * or -EINVAL; what nobody knows to have failed is taken back.
 */
int attachment_add(const struct attachment *attachment, const json_t *args, int netns_fd,
		   json_t **ret_answer, struct error *ret_failure);

/* Succeeds as well if there is none, or if polderd will do it when it is back. 0 or -EINVAL. */
int attachment_delete(const struct attachment *attachment, struct error *ret_failure);

/* Takes back what was made for nobody. Notes it down if polderd does not answer. */
void attachment_undo(const struct attachment *attachment);
