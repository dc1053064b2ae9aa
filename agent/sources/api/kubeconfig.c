/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/kubeconfig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/base64.h"
#include "agent/common/cleanup.h"
#include "agent/yaml/yaml_text.h"
#include "policy/objects/json.h"

#define TEXT_MAX KUBECONFIG_MAX

struct reader {
	const char *directory;
	struct kubeconfig *result;
};

static void clear_pem(struct kubeconfig_pem *pem)
{
	free(pem->text);
	free(pem->file);
}

void kubeconfig_clear(struct kubeconfig *kubeconfig)
{
	free(kubeconfig->context);
	free(kubeconfig->server);
	free(kubeconfig->tls_server_name);
	free(kubeconfig->proxy_url);
	clear_pem(&kubeconfig->authority);
	clear_pem(&kubeconfig->certificate);
	clear_pem(&kubeconfig->key);
	free(kubeconfig->token);
	free(kubeconfig->token_file);
	free(kubeconfig->username);
	free(kubeconfig->password);
	*kubeconfig = (struct kubeconfig){};
}

/* ---------------------------------------------------------------- members */

/* Absent and "" are the same: NULL. */
static int read_text(const struct json_at *parent, const char *key, char **ret)
{
	struct json_at at = json_key(parent, key);
	char *text = NULL;
	int r;

	if (!at.value)
		return 0;
	r = json_expect(&at, JSON_STRING);
	if (r == 0)
		r = json_text(&at, TEXT_MAX, &text);
	if (r < 0)
		return r;
	if (strlen(text) != json_string_length(at.value)) {
		free(text);
		return json_fail(&at, -EINVAL, "must not contain the character NUL");
	}
	if (text[0])
		*ret = text;
	else
		free(text);
	return 0;
}

static int read_bool(const struct json_at *parent, const char *key, bool *ret)
{
	struct json_at at = json_key(parent, key);

	return at.value ? json_get_bool(&at, ret) : 0;
}

/* Relative names begin at the file's directory. */
static int read_path(const struct reader *reader, const struct json_at *parent, const char *key,
		     char **ret)
{
	CLEANUP(cleanup_free) char *text = NULL;
	char *path = NULL;
	int r = read_text(parent, key, &text);

	if (r < 0 || !text)
		return r;
	if (text[0] == '/')
		path = TAKE_PTR(text);
	else if (asprintf(&path, "%s/%s", reader->directory, text) < 0)
		path = NULL;
	if (!path)
		return -ENOMEM;
	*ret = path;
	return 0;
}

static int read_data(const struct json_at *parent, const char *key, char **ret)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct json_at at = json_key(parent, key);
	size_t length = 0;
	char *data = NULL;
	int r = read_text(parent, key, &text);

	if (r < 0 || !text)
		return r;
	r = base64_decode(text, &data, &length);
	if (r == -EINVAL)
		return json_fail(&at, r, "is not base64");
	if (r == 0 && (strlen(data) != length || !strstr(data, "-----BEGIN "))) {
		free(data);
		return json_fail(&at, -EINVAL, "holds no PEM (-----BEGIN ...)");
	}
	if (r == 0)
		*ret = data;
	return r;
}

/* Data counts, if there are both. */
static int read_pem(const struct reader *reader, const struct json_at *parent, const char *data,
		    const char *file, struct kubeconfig_pem *ret)
{
	int r = read_data(parent, data, &ret->text);

	return r < 0 || ret->text ? r : read_path(reader, parent, file, &ret->file);
}

/* ---------------------------------------------------------------- entries by name */

/* Names that there are, for whoever has named another one. */
static void list_names(const struct json_at *list, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < json_array_size(list->value) && used < size; i++) {
		const char *name =
			json_string_value(json_object_get(json_array_get(list->value, i), "name"));

		used += (size_t)snprintf(text + used, size - used, "%s\"%.60s\"", used ? ", " : "",
					 name ? name : "");
	}
}

/*
 * The entry of a list (clusters, users, contexts) with this name; the first one, as kubectl has it.
 * `*ret_entry` is of the list; `item` and `ret` are the way to it.
 */
static int find_entry(const struct json_at *list, const char *name, const char *key,
		      struct json_at *item, struct json_at *ret)
{
	char names[200];

	for (size_t i = 0; i < json_array_size(list->value); i++) {
		const char *found;

		*item = json_item(list, i);
		found = json_string_value(json_object_get(item->value, "name"));
		if (!found || strcmp(found, name) != 0)
			continue;
		*ret = json_key(item, key);
		return json_expect(ret, JSON_OBJECT);
	}
	list_names(list, names, sizeof(names));
	return json_fail(list, -EINVAL, "has no entry with the name \"%.80s\"%s%.200s", name,
			 names[0] ? "; there are " : "", names);
}

static int read_cluster(const struct reader *reader, const struct json_at *at)
{
	struct kubeconfig *result = reader->result;
	struct json_at server = json_key(at, "server");
	int r = read_text(at, "server", &result->server);

	if (r == 0 && !result->server)
		return json_fail(&server, -EINVAL,
				 "is missing: the URL of the API server, such as "
				 "https://192.0.2.1:6443");
	if (r == 0)
		r = read_text(at, "tls-server-name", &result->tls_server_name);
	if (r == 0)
		r = read_text(at, "proxy-url", &result->proxy_url);
	if (r == 0)
		r = read_bool(at, "insecure-skip-tls-verify", &result->insecure);
	if (r == 0)
		r = read_pem(reader, at, "certificate-authority-data", "certificate-authority",
			     &result->authority);
	if (r == 0 && result->insecure && (result->authority.text || result->authority.file)) {
		struct json_at insecure = json_key(at, "insecure-skip-tls-verify");

		return json_fail(&insecure, -EINVAL,
				 "is true, and there is a certificate authority: give one of both");
	}
	return r;
}

/* What would start other programs, or make us somebody else. */
static int refuse_members(const struct json_at *at)
{
	static const struct {
		const char *key, *why;
	} refused[] = {
		{"exec", "credential plugins are not supported: polderd starts no other programs; "
			 "use a client certificate, a token or a tokenFile"},
		{"auth-provider", "authentication providers are not supported; use a client "
				  "certificate, a token or a tokenFile"},
		{"as", "impersonation is not supported; give credentials of the user itself"},
		{"as-uid", "impersonation is not supported"},
		{"as-groups", "impersonation is not supported"},
		{"as-user-extra", "impersonation is not supported"},
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct json_at member = json_key(at, refused[i].key);

		if (member.value)
			return json_fail(&member, -EINVAL, "%s", refused[i].why);
	}
	return 0;
}

static int read_user(const struct reader *reader, const struct json_at *at)
{
	struct kubeconfig *result = reader->result;
	int r = refuse_members(at);

	if (r == 0)
		r = read_pem(reader, at, "client-certificate-data", "client-certificate",
			     &result->certificate);
	if (r == 0)
		r = read_pem(reader, at, "client-key-data", "client-key", &result->key);
	if (r == 0)
		r = read_text(at, "token", &result->token);
	if (r == 0)
		r = read_path(reader, at, "tokenFile", &result->token_file);
	if (r == 0)
		r = read_text(at, "username", &result->username);
	if (r == 0)
		r = read_text(at, "password", &result->password);
	if (r == 0 && !(result->certificate.text || result->certificate.file) !=
			      !(result->key.text || result->key.file))
		return json_fail(at, -EINVAL,
				 "client-certificate and client-key belong together: one is "
				 "missing");
	return r;
}

/* ---------------------------------------------------------------- the file */

static int read_context(const struct reader *reader, const struct json_at *root,
			const struct json_at *context)
{
	CLEANUP(cleanup_free) char *cluster = NULL;
	CLEANUP(cleanup_free) char *user = NULL;
	struct json_at clusters = json_key(root, "clusters"), users = json_key(root, "users");
	struct json_at name = json_key(context, "cluster"), item, entry;
	int r = read_text(context, "cluster", &cluster);

	if (r == 0)
		r = read_text(context, "user", &user);
	if (r == 0 && !cluster)
		return json_fail(&name, -EINVAL, "is missing");
	if (r == 0)
		r = find_entry(&clusters, cluster, "cluster", &item, &entry);
	if (r == 0)
		r = read_cluster(reader, &entry);
	if (r < 0 || !user)
		return r;
	r = find_entry(&users, user, "user", &item, &entry);
	return r < 0 ? r : read_user(reader, &entry);
}

static int read_root(const struct reader *reader, const struct json_at *root, const char *wanted)
{
	struct json_at contexts = json_key(root, "contexts"), item, context;
	struct json_at current = json_key(root, "current-context");
	struct kubeconfig *result = reader->result;
	char names[200];
	int r = json_expect(root, JSON_OBJECT);

	if (r == 0)
		r = read_text(root, "current-context", &result->context);
	if (r < 0)
		return r;
	if (wanted) {
		free(result->context);
		result->context = strdup(wanted);
		if (!result->context)
			return -ENOMEM;
	}
	if (!result->context) {
		list_names(&contexts, names, sizeof(names));
		return json_fail(&current, -EINVAL, "is missing: set it, or give --context%s%.200s",
				 names[0] ? "; there are " : "", names);
	}
	r = find_entry(&contexts, result->context, "context", &item, &context);
	return r < 0 ? r : read_context(reader, root, &context);
}

/* JSON is tried first: not all of it is YAML of version 1.1. */
static int parse(const char *text, size_t length, json_t **ret, struct error *error)
{
	struct yaml_text *yaml = NULL;
	json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	int r;

	if (value) {
		*ret = value;
		return 0;
	}
	r = yaml_text_read(text, length, &yaml, error);
	if (r < 0)
		return r == -EFBIG ? -EINVAL : r;
	if (yaml_text_count(yaml) == 1)
		*ret = json_incref(yaml_text_value(yaml, 0));
	else
		r = error_at(error, -EINVAL, "$", "one document is expected, there are %zu",
			     yaml_text_count(yaml));
	yaml_text_free(yaml);
	return r;
}

int kubeconfig_parse(const char *text, size_t length, const char *directory, const char *context,
		     struct kubeconfig *ret, struct error *ret_error)
{
	CLEANUP(cleanup_json) json_t *value = NULL;
	struct reader reader = {directory, ret};
	struct error error = {};
	struct json_at root;
	int r;

	*ret = (struct kubeconfig){};
	r = parse(text, length, &value, &error);
	if (r == 0) {
		root = json_root(value, &error);
		r = read_root(&reader, &root, context);
	}
	if (r == -ENOMEM)
		error_at(&error, r, "$", "out of memory");
	if (r < 0)
		*ret_error = error;
	return r;
}
