/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A browser on this machine also runs the scripts of other sites. They can have it send requests
 * here, and can have a name of their own lead to this address (DNS rebinding); what they cannot do
 * is to choose the Host that it sends with the one, or to hide their Origin with the other.
 */
#include <string.h>
#include <strings.h>

#include "agent/ui/ui_internal.h"

/* Without its port; 0: it is no name. */
static size_t name_length(const char *host)
{
	size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	const char *port = host + (length <= strlen(host) ? length : 0);

	if (length == 0 || length > strlen(host))
		return 0;
	if (port[0] == '\0')
		return length;
	if (port[0] != ':' || !port[1] || strlen(port + 1) > 5 ||
	    strspn(port + 1, "0123456789") != strlen(port + 1))
		return 0;
	return length;
}

static bool is_name(const char *host, size_t length, const char *name)
{
	return strlen(name) == length && strncasecmp(host, name, length) == 0;
}

bool ui_host_allowed(const struct ui_options *options, const char *host)
{
	static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
	size_t length = name_length(host);

	if (length == 0)
		return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (is_name(host, length, own[i]))
			return true;
	for (size_t i = 0; i < options->host_count; i++)
		if (is_name(host, length, options->hosts[i]))
			return true;
	return false;
}

/* The page's own, also behind a proxy that speaks TLS. */
static bool is_own_origin(const char *origin, const char *host)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncasecmp(origin, schemes[i], strlen(schemes[i])) == 0 &&
		    strcasecmp(origin + strlen(schemes[i]), host) == 0)
			return true;
	return false;
}

const char *ui_guard(const struct ui *ui, const struct http_exchange *exchange, bool is_question)
{
	const char *host = http_exchange_header(exchange, "Host");
	const char *origin = http_exchange_header(exchange, "Origin");
	const char *site = http_exchange_header(exchange, "Sec-Fetch-Site");

	if (!host || !ui_host_allowed(&ui->options, host))
		return "the Host of the request is none of this page's names (localhost, "
		       "127.0.0.1, [::1]); ask for it by one of these, or name yours in ui-host of "
		       "polderd's configuration\n";
	if (origin && !is_own_origin(origin, host))
		return "the request comes from a page of another site (Origin)\n";
	/* A link on another page may lead to the page, but not to an answer. */
	if (is_question && site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return "the request comes from a page of another site (Sec-Fetch-Site)\n";
	return NULL;
}
