/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the view share. */
#pragma once

#include "policy/compile/view.h"

/* Found or made. NULL: no memory. */
struct view_namespace *view_namespace(struct view *view, const char *name);
/* Its policies, or what its labels say, are not those of the last run. 0 or -ENOMEM. */
int view_mark_namespace(struct view *view, struct view_namespace *namespace);

/* view_words.c. Once more, or (`named` false) less, that a policy names these words. 0 or -ENOMEM. */
int view_name_words(struct view *view, const struct network_policy_object *policy, bool named);
void view_clear_words(struct view *view);
/* What of the pod makes its identity: texts are the pod's, the arrays are the caller's. 0 or -ENOMEM. */
int view_take_labels(const struct view *view, const struct object *pod, struct labels *ret);
int view_take_ports(const struct view *view, const struct object *pod, struct named_port **ret,
		    size_t *ret_count);

/* view_policies.c */
void view_free_trash(struct view *view);
void view_clear_policies(struct view *view);
