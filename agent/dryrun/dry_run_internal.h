/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of try share. */
#pragma once

#include "agent/dryrun/dry_run_policy.h"
#include "agent/show/show.h"

#define DRY_RUN_TEXT_MAX (8u << 20)

/*
 * The request's objects, from its descriptor (a sealed memfd with a JSON array; -1: none), and its
 * removals (args.delete, "KIND/NAMESPACE/NAME"). 0, or -EINVAL, -EFBIG, -ENOMEM with a message of
 * what is wrong.
 */
int dry_run_read_changes(const json_t *args, int fd, struct dry_run_changes *ret, char *message,
			 size_t size);
/* KIND NAMESPACE/NAME. */
void dry_run_object_text(enum object_kind kind, const char *namespace, const char *name,
			 char *buffer, size_t size);

void dry_run_commit(struct control_request *request, const json_t *args, int fd, void *data);
