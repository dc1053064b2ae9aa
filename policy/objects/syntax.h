/* SPDX-License-Identifier: Apache-2.0 */
/* The Kubernetes rules for names, labels and port names. */
#pragma once

/*
 * 0; -EINVAL or -EFBIG with the complaint, a constant string, in `*ret_reason`.
 * syntax_name() wants what may be one segment of a path, no more: names that other runtimes give
 * are fine.
 */
int syntax_label_key(const char *text, const char **ret_reason);
int syntax_label_value(const char *text, const char **ret_reason);
int syntax_port_name(const char *text, const char **ret_reason);
int syntax_name(const char *text, const char **ret_reason);
