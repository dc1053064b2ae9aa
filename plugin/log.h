/* SPDX-License-Identifier: Apache-2.0 */
/* What is written for people. */
#pragma once

/* The program's own name, for messages; each program defines it. */
extern const char plugin_program[];

/* For humans and the runtime's log, on standard error. One line. */
void plugin_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
