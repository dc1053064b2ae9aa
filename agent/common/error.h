/* SPDX-License-Identifier: Apache-2.0 */
/* What has failed, for the one who asked: a code that programs understand, and words for people. */
#pragma once

struct error {
	int code;	   /* of the CNI specification (cni_code.h) or an errno; 0: none */
	char text[512];	   /* what, where, why, and what to do */
	char details[512]; /* more, such as the kernel's own words; "": nothing */
};

/* Code and text, no details. Returns `r`, a -errno, so that a function can fail in one statement.
 */
int error_set(struct error *error, int r, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* After error_set(). */
void error_details(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
