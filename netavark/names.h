/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of names, addresses and labels that users give. */
#pragma once

#include <stdbool.h>

#include "agent/common/error.h"

#define LABELS_MAX 256 /* what polderd takes for one pod */

/* At most 63 small letters, digits and '-', a letter or digit first and last. */
bool name_is_dns_label(const char *text);
/* Labels of letters, digits, '-' and '_' with '.' between; at most 253 characters; a dot may end
 * it. */
bool name_is_domain(const char *text);
/* IPv4 or IPv6, without a prefix length. */
bool name_is_address(const char *text);
/* Kubernetes' rules for a label's key and value; NULL is no value. 0 or -EINVAL. */
int label_check(const char *key, const char *value, struct error *ret_failure);
