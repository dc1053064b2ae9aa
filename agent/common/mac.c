/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/mac.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/hex.h"

const char *mac_format(const uint8_t mac[6], char buffer[MAC_TEXT_MAX])
{
	snprintf(buffer, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return buffer;
}

int mac_parse(const char *text, uint8_t ret[6])
{
	uint8_t mac[6];
	bool any = false;

	if (strlen(text) != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);
		char after = text[3 * i + 2];

		if (high < 0 || low < 0 || (i < 5 && after != ':' && after != '-'))
			return -EINVAL;
		mac[i] = high << 4 | low;
		any |= mac[i] != 0;
	}
	if (!any || mac[0] & 1)
		return -EINVAL;
	memcpy(ret, mac, 6);
	return 0;
}
