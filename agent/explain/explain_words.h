/* SPDX-License-Identifier: Apache-2.0 */
/* Policies in plain words. */
#pragma once

#include "policy/objects/objects.h"

/* Each is the caller's; NULL: no memory. */
char *explain_subject_words(const struct object *policy);
char *explain_rule_words(const struct object *policy, const struct policy_rule *rule, bool egress);
