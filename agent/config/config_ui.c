/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_ui.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/listen_address.h"
#include "agent/config/config_parse.h"

#define UNIX_PREFIX "unix:"
#define SOCKET_MAX  107

static int set_socket(struct config *config, const char *text, struct config_source *source)
{
	CLEANUP(cleanup_free) char *path = NULL;
	char *address = NULL;

	if (set_path(&path, text, source) < 0)
		return -EINVAL;
	if (strlen(path) > SOCKET_MAX)
		return bad(source, "the path of a socket has at most %d bytes", SOCKET_MAX);
	if (asprintf(&address, UNIX_PREFIX "%s", path) < 0)
		return bad(source, "out of memory");
	free(config->ui_listen);
	config->ui_listen = address;
	return 0;
}

int config_set_ui_listen(struct config *config, const char *text, struct config_source *source)
{
	struct sockaddr_in6 address;

	if (strcmp(text, "none") == 0) {
		free(TAKE_PTR(config->ui_listen));
		return 0;
	}
	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return set_socket(config, text + strlen(UNIX_PREFIX), source);
	if (listen_address_parse(text, &address) < 0 || address.sin6_port == 0)
		return bad(source, "an address with port such as 127.0.0.1:9966 or [::1]:9966, "
				   "unix:PATH, or none is required");
	return replace_text(&config->ui_listen, text, source);
}

/* As it stands in a Host header, without the port. */
static bool is_host(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > 253)
		return false;
	if (text[0] == '[')
		return length > 2 && text[length - 1] == ']' &&
		       strspn(text + 1, "0123456789abcdefABCDEF:.") == length - 2;
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ==
	       length;
}

int config_set_ui_host(struct config *config, const char *text, struct config_source *source)
{
	if (!is_host(text))
		return bad(source, "a name or an address without port, as browsers are given it, "
				   "is required, such as node1.example.org, 192.0.2.10 or "
				   "[2001:db8::10]");
	if (config->ui_host_count == CONFIG_MAX_UI_HOSTS)
		return bad(source, "at most %d names are allowed", CONFIG_MAX_UI_HOSTS);
	if (replace_text(&config->ui_hosts[config->ui_host_count], text, source) < 0)
		return -EINVAL;
	config->ui_host_count++;
	return 0;
}

void config_clear_ui_hosts(struct config *config)
{
	for (size_t i = 0; i < config->ui_host_count; i++)
		free(TAKE_PTR(config->ui_hosts[i]));
	config->ui_host_count = 0;
}

bool config_ui_is_open(const struct config *config)
{
	struct sockaddr_in6 address;
	const uint8_t *bytes = address.sin6_addr.s6_addr;

	if (!config->ui_listen || listen_address_parse(config->ui_listen, &address) < 0)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&address.sin6_addr))
		return bytes[12] != 127;
	return !IN6_IS_ADDR_LOOPBACK(&address.sin6_addr);
}

int config_check_ui(const struct config *config, struct config_source *source)
{
	if (!config_ui_is_open(config) || config->ui_host_count > 0)
		return 0;
	return bad(source,
		   "ui-listen %s: other machines reach this address, and the page asks nobody for "
		   "a password: listen at 127.0.0.1, [::1] or unix:PATH, or say with ui-host by "
		   "which names it is asked for, if you mean it",
		   config->ui_listen);
}
