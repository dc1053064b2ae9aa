/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the view share. */
#pragma once

#include "policy/compile/view.h"

/* Found or made. NULL: no memory. */
struct view_namespace *view_namespace(struct view *view, const char *name);
/* Its policies, or what its labels say, are not those of the last run. 0 or -ENOMEM. */
int view_mark_namespace(struct view *view, struct view_namespace *namespace);

/* view_words.c. Once more, or (`named` false) less, that a policy names these words. 0 or -ENOMEM.
 */
int view_name_words(struct view *view, const struct network_policy_object *policy, bool named);
void view_clear_words(struct view *view);
/* What of the pod makes its identity: texts are the pod's, the arrays are the caller's. 0 or
 * -ENOMEM. */
int view_take_labels(const struct view *view, const struct object *pod, struct labels *ret);
int view_take_ports(const struct view *view, const struct object *pod, struct named_port **ret,
		    size_t *ret_count);

/* view_labels.c. The labels of an identity that came, or goes. 0 or -ENOMEM: then none is listed.
 */
int view_list_labels(struct view *view, struct view_identity *identity);
void view_unlist_labels(struct view *view, const struct view_identity *identity);
void view_clear_labels(struct view *view);
/*
 * The term of the selector that the fewest identities can meet, by the labels it names: how many.
 * SIZE_MAX: no term names any (`*ret` NULL), each identity has to be asked.
 */
size_t view_rarest_term(const struct view *view, const struct selector *selector,
			const struct selector_term **ret);
/* NULL: no identity has the label. */
const struct view_label *view_find_label(const struct view *view, const char *key,
					 const char *value);

/* view_policies.c */
void view_free_trash(struct view *view);
void view_clear_policies(struct view *view);
