/* SPDX-License-Identifier: Apache-2.0 */
/* Where a server listens, as people write it. */
#pragma once

#include <netinet/in.h>

/* "127.0.0.1:9100", "[::1]:9100", ":9100" (all addresses of both families). IPv4 becomes mapped.
 * 0 or -EINVAL. */
int listen_address_parse(const char *text, struct sockaddr_in6 *ret);
