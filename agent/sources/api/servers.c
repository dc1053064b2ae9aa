/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/servers.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"

/* The parts of a URL, each of curl's memory. */
struct url {
	char *scheme, *host, *port, *path;
};

static void cleanup_url(struct url *url)
{
	curl_free(url->scheme);
	curl_free(url->host);
	curl_free(url->port);
	curl_free(url->path);
}

static const char *take_parts(CURLU *parser, struct url *ret)
{
	char *extra = NULL;

	if (curl_url_get(parser, CURLUPART_QUERY, &extra, 0) == CURLUE_OK ||
	    curl_url_get(parser, CURLUPART_FRAGMENT, &extra, 0) == CURLUE_OK ||
	    curl_url_get(parser, CURLUPART_USER, &extra, 0) == CURLUE_OK) {
		curl_free(extra);
		return "must not have a user, query or fragment";
	}
	if (curl_url_get(parser, CURLUPART_SCHEME, &ret->scheme, 0) != CURLUE_OK ||
	    curl_url_get(parser, CURLUPART_HOST, &ret->host, 0) != CURLUE_OK ||
	    curl_url_get(parser, CURLUPART_PORT, &ret->port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    curl_url_get(parser, CURLUPART_PATH, &ret->path, 0) != CURLUE_OK)
		return "is no URL such as https://192.0.2.1:6443";
	if (strcmp(ret->scheme, "https") != 0 && strcmp(ret->scheme, "http") != 0)
		return "must begin with https://";
	/* A path is a prefix: what follows begins with a slash. */
	for (size_t length = strlen(ret->path); length > 0 && ret->path[length - 1] == '/';)
		ret->path[--length] = '\0';
	return NULL;
}

/* NULL, or what is wrong. `client-go` takes a host without a scheme for https as well. */
static const char *parse_url(const char *text, struct url *ret)
{
	CURLU *parser = curl_url();
	const char *why = "is no URL such as https://192.0.2.1:6443";
	char *whole = NULL;

	if (!parser)
		return "out of memory";
	if (asprintf(&whole, "%s%s", strstr(text, "://") ? "" : "https://", text) < 0)
		whole = NULL;
	if (whole && curl_url_set(parser, CURLUPART_URL, whole, 0) == CURLUE_OK)
		why = take_parts(parser, ret);
	free(whole);
	curl_url_cleanup(parser);
	return why;
}

static void server_clear(struct server *server)
{
	free(server->name);
	free(server->base);
	free(server->connect_to);
	free(server->host);
	*server = (struct server){};
}

void servers_clear(struct servers *servers)
{
	for (size_t i = 0; i < servers->count; i++)
		server_clear(&servers->list[i]);
	*servers = (struct servers){};
}

static bool is_known(const struct servers *servers, const char *name)
{
	for (size_t i = 0; i < servers->count; i++)
		if (strcmp(servers->list[i].name, name) == 0)
			return true;
	return false;
}

/* At `url`, or with `address` there instead. */
static int add(struct servers *servers, const struct url *url, const char *address,
	       const char *verified)
{
	struct server server = {};
	bool named = verified && strcmp(verified, url->host) != 0;
	int r = 0;

	if (servers->count == SERVERS_MAX)
		return 0;
	if (address ? asprintf(&server.name, "%s://%s", url->scheme, address) < 0
		    : asprintf(&server.name, "%s://%s:%s%s", url->scheme, url->host, url->port,
			       url->path) < 0)
		return -ENOMEM;
	if (is_known(servers, server.name)) {
		free(server.name);
		return 0;
	}
	if (asprintf(&server.base, "%s://%s:%s%s", url->scheme, named ? verified : url->host,
		     url->port, url->path) < 0)
		r = -ENOMEM;
	if (r == 0 && (address || named) &&
	    (address ? asprintf(&server.connect_to, "::%s", address)
		     : asprintf(&server.connect_to, "::%s:%s", url->host, url->port)) < 0)
		r = -ENOMEM;
	if (r == 0 && named && asprintf(&server.host, "%s:%s", url->host, url->port) < 0)
		r = -ENOMEM;
	if (r < 0) {
		server_clear(&server);
		return r;
	}
	servers->list[servers->count++] = server;
	return 0;
}

static int add_url(struct servers *servers, const char *text, const char *address,
		   const char *verified, struct error *error)
{
	CLEANUP(cleanup_url) struct url url = {};
	const char *why = parse_url(text, &url);

	if (why)
		return error_at(error, -EINVAL, text, "%s", why);
	return add(servers, &url, address, verified);
}

int servers_set(struct servers *servers, const char *const *configured, size_t configured_count,
		const char *server, const char *tls_server_name, const char *const *remembered,
		size_t remembered_count, struct error *ret_error)
{
	const struct server *current = servers_current(servers);
	struct servers made = {};
	int r = 0;

	for (size_t i = 0; i < configured_count && r == 0; i++)
		r = add_url(&made, configured[i], NULL, tls_server_name, ret_error);
	if (r == 0)
		r = add_url(&made, server, NULL, tls_server_name, ret_error);
	for (size_t i = 0; i < remembered_count && r == 0; i++)
		r = add_url(&made, server, remembered[i], tls_server_name, ret_error);
	if (r < 0) {
		servers_clear(&made);
		return r;
	}
	for (size_t i = 0; current && i < made.count; i++)
		if (strcmp(made.list[i].name, current->name) == 0)
			made.current = i;
	servers_clear(servers);
	*servers = made;
	return 0;
}

const struct server *servers_current(const struct servers *servers)
{
	return servers->count ? &servers->list[servers->current] : NULL;
}

void servers_next(struct servers *servers)
{
	if (servers->count)
		servers->current = (servers->current + 1) % servers->count;
}
