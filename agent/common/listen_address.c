/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/listen_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int listen_address_parse(const char *text, struct sockaddr_in6 *ret)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6};
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 16];
	unsigned long port;
	size_t length;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	if (*end || strlen(colon + 1) > 5 || port > UINT16_MAX)
		return -EINVAL;
	address.sin6_port = htons((uint16_t)port);

	length = (size_t)(colon - text);
	if (length >= sizeof(host) - sizeof("::ffff:"))
		return -EINVAL;
	if (length == 0) {
		address.sin6_addr = in6addr_any;
	} else if (text[0] == '[' && text[length - 1] == ']') {
		snprintf(host, sizeof(host), "%.*s", (int)length - 2, text + 1);
		if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1)
			return -EINVAL;
	} else {
		snprintf(host, sizeof(host), "::ffff:%.*s", (int)length, text);
		if (memchr(text, ':', length) || inet_pton(AF_INET6, host, &address.sin6_addr) != 1)
			return -EINVAL;
	}
	*ret = address;
	return 0;
}
