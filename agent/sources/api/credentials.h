/* SPDX-License-Identifier: Apache-2.0 */
/* Who we are and whom we trust: from a kubeconfig, or from a pod's service account; read again as
 * files change. */
#pragma once

#include <stdbool.h>

#include "agent/common/error.h"

/* Service accounts' tokens live for an hour, and are replaced before. */
#define CREDENTIALS_AGAIN_MS 60000
#define SERVICE_ACCOUNT	     "/var/run/secrets/kubernetes.io/serviceaccount"

/* Texts of PEM; NULL: none. */
struct identity {
	char *server; /* URL */
	char *tls_server_name, *proxy_url;
	bool insecure;
	char *authority, *certificate, *key;
	char *token, *username, *password;
};

struct credentials_from {
	const char *kubeconfig; /* file; NULL: the service account */
	const char *context;	/* NULL: current-context */
	const char *directory;	/* of the service account; NULL: SERVICE_ACCOUNT */
};

/*
 * Reads all that `from` names. 0; -EINVAL with the error filled (its path: the file): what, where,
 * and what to do; -ENOMEM. identity_clear() after success.
 */
int credentials_read(const struct credentials_from *from, struct identity *ret,
		     struct error *ret_error);
void identity_clear(struct identity *identity);
bool identity_equal(const struct identity *a, const struct identity *b);
