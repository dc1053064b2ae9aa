/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/base64.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int value_of(char c)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *place = c ? strchr(letters, c) : NULL;

	return place ? (int)(place - letters) : -1;
}

int base64_decode(const char *text, char **ret, size_t *ret_length)
{
	char *bytes = malloc(strlen(text) / 4 * 3 + 4);
	size_t length = 0, letters = 0, padding = 0;
	uint32_t bits = 0;

	if (!bytes)
		return -ENOMEM;
	for (; *text; text++) {
		int value = value_of(*text);

		if (strchr(" \t\r\n", *text))
			continue;
		if ((*text != '=' && (value < 0 || padding)) || padding > 2) {
			free(bytes);
			return -EINVAL;
		}
		padding += *text == '=';
		letters++;
		bits = bits << 6 | (uint32_t)(value < 0 ? 0 : value);
		if (letters % 4 != 0)
			continue;
		bytes[length++] = (char)(bits >> 16);
		bytes[length++] = (char)(bits >> 8);
		bytes[length++] = (char)bits;
	}
	if (letters % 4 != 0 || padding > 2) {
		free(bytes);
		return -EINVAL;
	}
	length -= padding;
	bytes[length] = '\0';
	*ret = bytes;
	*ret_length = length;
	return 0;
}
