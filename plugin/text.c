/* SPDX-License-Identifier: Apache-2.0 */
/* Text from outside. */
#include "plugin/text.h"

#include <string.h>

#define PLAIN_MAX 1100 /* a message and its details */

const char *text_quote(const char *text, char *buffer)
{
	size_t length = strlen(text), kept = length > 64 ? 64 : length;

	for (size_t i = 0; i < kept; i++)
		buffer[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	strcpy(buffer + kept, length > kept ? "..." : "");
	return buffer;
}

/* A message cut in the middle of a character is no UTF-8 any more. */
json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char plain[PLAIN_MAX];
	size_t i;

	if (json)
		return json;
	for (i = 0; text[i] && i < sizeof(plain) - 1; i++)
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	plain[i] = '\0';
	return json_string(plain);
}
