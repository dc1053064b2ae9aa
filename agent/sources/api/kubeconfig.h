/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubeconfig file says of one context: which server, how it proves itself, and who we are.
 * Reads no other file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/common/error.h"

#define KUBECONFIG_MAX (1u << 20) /* bytes of a file */

/* PEM, here or elsewhere; both NULL: none. */
struct kubeconfig_pem {
	char *text;
	char *file; /* absolute */
};

struct kubeconfig {
	char *context;			   /* its name; "" without contexts */
	char *server;			   /* URL */
	char *tls_server_name, *proxy_url; /* NULL: none */
	bool insecure;
	struct kubeconfig_pem authority, certificate, key;
	char *token, *token_file;  /* NULL: none */
	char *username, *password; /* NULL: none */
};

/*
 * `text` is YAML or JSON. `directory`: what relative names of files begin at. `context` NULL: the
 * file's current-context. 0, -EINVAL with the error filled, -ENOMEM. kubeconfig_clear() after
 * either.
 */
int kubeconfig_parse(const char *text, size_t length, const char *directory, const char *context,
		     struct kubeconfig *ret, struct error *ret_error);
void kubeconfig_clear(struct kubeconfig *kubeconfig);
