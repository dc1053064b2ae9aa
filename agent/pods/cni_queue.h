/* SPDX-License-Identifier: Apache-2.0 */
/* Finishes the deletions that the CNI plugin noted while the agent was away. */
#pragma once

#include <stddef.h>
#include <uv.h>

struct cni_queue;

/*
 * Frees the attachment, now, before it returns; one that is not there is free already. 0 or -errno:
 * it is asked again later. Must not call into the queue.
 */
typedef int (*cni_queue_finish)(const char *container_id, const char *ifname, void *data);

/*
 * The directory lies beside `socket` (see agent/common/cni_deletion.h), whose directory must exist.
 * Works off what is there before it returns: call it after the pods are known and before the
 * control socket listens, so that a new attachment of the same name never meets the note of an old
 * one. Then watches. 0 or -errno.
 */
int cni_queue_new(uv_loop_t *loop, const char *socket, cni_queue_finish finish, void *data,
		  struct cni_queue **ret);

/* Works off what is there. Returns how many notes were finished. */
size_t cni_queue_run(struct cni_queue *queue);

/* Takes NULL. The handles are closed by the loop: let it run once more. */
void cni_queue_free(struct cni_queue *queue);
