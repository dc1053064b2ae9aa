/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet addresses as text. */
#pragma once

#include <stdint.h>

#define MAC_TEXT_MAX 18

/* Six bytes in hexadecimal with ':' or '-' between, unicast and not zero. 0 or -EINVAL. */
int mac_parse(const char *text, uint8_t ret[6]);
/* "02:00:00:00:00:01"; returns `buffer`. */
const char *mac_format(const uint8_t mac[6], char buffer[MAC_TEXT_MAX]);
