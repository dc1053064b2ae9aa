/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/credentials.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/sources/api/kubeconfig.h"

#define TOKEN_MAX 65536
#define PEM_MAX	  (1u << 20)

void identity_clear(struct identity *identity)
{
	free(identity->server);
	free(identity->tls_server_name);
	free(identity->proxy_url);
	free(identity->authority);
	free(identity->certificate);
	free(identity->key);
	free(identity->token);
	free(identity->username);
	free(identity->password);
	*identity = (struct identity){};
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return same(a->server, b->server) && same(a->tls_server_name, b->tls_server_name) &&
	       same(a->proxy_url, b->proxy_url) && a->insecure == b->insecure &&
	       same(a->authority, b->authority) && same(a->certificate, b->certificate) &&
	       same(a->key, b->key) && same(a->token, b->token) && same(a->username, b->username) &&
	       same(a->password, b->password);
}

/* ---------------------------------------------------------------- files */

static int read_file(const char *path, size_t max, char **ret, size_t *ret_length,
		     struct error *error)
{
	/* A pipe would hold up the agent. */
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_read_all(fd, max, ret, ret_length);

	if (r == -ENOMEM)
		return error_at(error, r, path, "out of memory");
	if (r == -EFBIG)
		return error_at(error, -EINVAL, path, "the file has more than %zu bytes", max);
	if (r < 0)
		return error_at(error, -EINVAL, path, "the file cannot be read: %s", strerror(-r));
	return 0;
}

static int read_pem(const struct kubeconfig_pem *pem, const char *what, char **ret,
		    struct error *error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length = 0;
	int r;

	if (!pem->text && !pem->file)
		return 0;
	if (pem->file) {
		r = read_file(pem->file, PEM_MAX, &text, &length, error);
		if (r < 0)
			return r;
		if (strlen(text) != length || !strstr(text, "-----BEGIN "))
			return error_at(error, -EINVAL, pem->file,
					"the file holds no %s in PEM (-----BEGIN ...)", what);
	} else {
		text = strdup(pem->text);
		if (!text)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(text);
	return 0;
}

/* One line, which becomes a header's. */
static int check_token(const char *token, const char *path, struct error *error)
{
	for (const char *c = token; *c; c++)
		if (!isgraph((unsigned char)*c))
			return error_at(error, -EINVAL, path,
					"the token has a space or a control character in it");
	if (!token[0])
		return error_at(error, -EINVAL, path, "the token is empty");
	return 0;
}

static int read_token(const char *path, char **ret, struct error *error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length = 0;
	int r = read_file(path, TOKEN_MAX, &text, &length, error);

	if (r < 0)
		return r;
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = '\0';
	r = check_token(text, path, error);
	if (r == 0)
		*ret = TAKE_PTR(text);
	return r;
}

/* ---------------------------------------------------------------- a kubeconfig */

static int take_kubeconfig(struct kubeconfig *config, const char *path, struct identity *identity,
			   struct error *error)
{
	int r = read_pem(&config->authority, "certificate", &identity->authority, error);

	if (r == 0)
		r = read_pem(&config->certificate, "certificate", &identity->certificate, error);
	if (r == 0)
		r = read_pem(&config->key, "key", &identity->key, error);
	if (r == 0 && config->token_file)
		r = read_token(config->token_file, &identity->token, error);
	else if (r == 0 && config->token)
		r = check_token(config->token, path, error);
	if (r < 0)
		return r;
	if (!identity->token)
		identity->token = TAKE_PTR(config->token);
	identity->server = TAKE_PTR(config->server);
	identity->tls_server_name = TAKE_PTR(config->tls_server_name);
	identity->proxy_url = TAKE_PTR(config->proxy_url);
	identity->username = TAKE_PTR(config->username);
	identity->password = TAKE_PTR(config->password);
	identity->insecure = config->insecure;
	return 0;
}

/* Where in the file, in one line. */
static int place_error(struct error *error, const char *path, int r)
{
	struct error inner = *error;

	if (inner.line > 0)
		return error_at(error, r, path, "line %d, column %d: %.400s", inner.line,
				inner.column, inner.text);
	return error_at(error, r, path, "%.90s %.400s", inner.path, inner.text);
}

static int read_kubeconfig(const struct credentials_from *from, struct identity *identity,
			   struct error *error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct kubeconfig config = {};
	char directory[PATH_MAX];
	size_t length = 0;
	char *slash;
	int r = read_file(from->kubeconfig, KUBECONFIG_MAX, &text, &length, error);

	if (r < 0)
		return r;
	snprintf(directory, sizeof(directory), "%s", from->kubeconfig);
	slash = strrchr(directory, '/');
	if (slash)
		slash[slash == directory] = '\0';
	r = kubeconfig_parse(text, length, slash ? directory : ".", from->context, &config, error);
	if (r == -EINVAL)
		r = place_error(error, from->kubeconfig, r);
	if (r == 0)
		r = take_kubeconfig(&config, from->kubeconfig, identity, error);
	kubeconfig_clear(&config);
	return r;
}

/* ---------------------------------------------------------------- a service account */

static int read_service_account(const struct credentials_from *from, struct identity *identity,
				struct error *error)
{
	const char *directory = from->directory ? from->directory : SERVICE_ACCOUNT;
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	struct kubeconfig_pem authority = {};
	char path[PATH_MAX];
	int r;

	if (!host || !host[0] || !port || !port[0])
		return error_at(error, -EINVAL, "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT",
				"are not set: --in-cluster is for a pod; give --kubeconfig "
				"elsewhere");
	if (asprintf(&identity->server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s",
		     host, port) < 0) {
		identity->server = NULL;
		return -ENOMEM;
	}
	snprintf(path, sizeof(path), "%s/token", directory);
	r = read_token(path, &identity->token, error);
	snprintf(path, sizeof(path), "%s/ca.crt", directory);
	authority.file = path;
	return r < 0 ? r : read_pem(&authority, "certificate", &identity->authority, error);
}

int credentials_read(const struct credentials_from *from, struct identity *ret,
		     struct error *ret_error)
{
	struct identity identity = {};
	struct error error = {};
	int r = from->kubeconfig ? read_kubeconfig(from, &identity, &error)
				 : read_service_account(from, &identity, &error);

	if (r == 0) {
		*ret = identity;
		return 0;
	}
	if (!error.text[0])
		error_at(&error, r, from->kubeconfig ? from->kubeconfig : SERVICE_ACCOUNT,
			 "out of memory");
	identity_clear(&identity);
	*ret_error = error;
	return r;
}
