/* SPDX-License-Identifier: Apache-2.0 */
/* The error that the plugin prints. */
#include "cni/failure.h"

#include <string.h>

const char *cni_quote(const char *text, char *buffer)
{
	size_t length = strlen(text), kept = length > 64 ? 64 : length;

	for (size_t i = 0; i < kept; i++)
		buffer[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	strcpy(buffer + kept, length > kept ? "..." : "");
	return buffer;
}

/* A message cut in the middle of a character is no UTF-8 any more. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char plain[sizeof(((struct error *)0)->text)];
	size_t i;

	if (json)
		return json;
	for (i = 0; text[i] && i < sizeof(plain) - 1; i++)
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	plain[i] = '\0';
	return json_string(plain);
}

json_t *cni_failure_json(const struct error *failure, const char *version)
{
	json_t *json = json_pack("{s:s, s:i, s:o}", "cniVersion", version, "code", failure->code,
				 "msg", text_json(failure->text));

	if (json && failure->details[0])
		json_object_set_new(json, "details", text_json(failure->details));
	return json;
}
