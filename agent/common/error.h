/* SPDX-License-Identifier: Apache-2.0 */
/* What has failed, for the one who asked: a code that programs understand, and words for people. */
#pragma once

struct error {
	int code;	   /* of the CNI specification (cni_code.h) or an errno; 0: none */
	char text[512];	   /* what, where, why, and what to do */
	char details[512]; /* more, such as the kernel's own words; "": nothing */
	char path[256];	   /* of an object: the JSON path, as $.items[3].spec.ingress[0].from[1] */
	int line, column;  /* of a syntax error; 0: does not apply */
};

/* Code and text, and nothing else. Returns `r`, a -errno, so that a function can fail in one
 * statement.
 */
int error_set(struct error *error, int r, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Of what people write: the code is `r`'s errno. */
int error_at(struct error *error, int r, const char *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* After error_set(). */
void error_details(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
