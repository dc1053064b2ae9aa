/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the view share. */
#pragma once

#include "policy/compile/view.h"

/* Found or made. NULL: no memory. */
struct view_namespace *view_namespace(struct view *view, const char *name);
/* Its policies, or what its labels say, are not those of the last run. 0 or -ENOMEM. */
int view_mark_namespace(struct view *view, struct view_namespace *namespace);

/* view_policies.c */
void view_free_trash(struct view *view);
void view_clear_policies(struct view *view);
