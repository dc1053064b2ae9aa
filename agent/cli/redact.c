/* SPDX-License-Identifier: Apache-2.0 */
/* Takes what looks like a secret out of text. */
#include "agent/cli/redact.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "agent/common/array.h"

#define TOKEN_LEAST 8 /* shorter words behind "Bearer" are words */

static bool is_base64(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("+/=_-", c));
}

static bool is_value(char c)
{
	return isgraph((unsigned char)c) && !strchr("\"',;\\", c);
}

static size_t overwrite(char *p, const char *end, bool (*belongs)(char c))
{
	size_t length = 0;

	while (p + length < end && belongs(p[length]))
		p[length++] = 'x';
	return length;
}

static bool begins(const char *p, const char *end, const char *word)
{
	size_t length = strlen(word);

	return (size_t)(end - p) >= length && strncasecmp(p, word, length) == 0;
}

/* ---------------------------------------------------------------- kinds; each returns the bytes
 * that it has dealt with, 0: none of its kind begins here */

static size_t private_key(char *p, char *end)
{
	static const char stop[] = "-----END", mark[] = "PRIVATE KEY-----";
	char *line, *last;

	if (!begins(p, end, "-----BEGIN "))
		return 0;
	line = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1);
	if (!line || line - p > 64)
		return 0;
	line += sizeof(mark) - 1;
	last = memmem(line, (size_t)(end - line), stop, sizeof(stop) - 1);
	for (last = last ? last : end; line < last; line++)
		if (is_base64(*line))
			*line = 'x';
	return (size_t)(last - p);
}

/* Header, payload and signature in base64, with dots between; and so the header of a JSON object
 * ("eyJ" is `{"`) is enough to tell. */
static bool is_token(char c)
{
	return is_base64(c) || c == '.';
}

static size_t web_token(char *p, char *end)
{
	return begins(p, end, "eyJ") ? overwrite(p, end, is_token) : 0;
}

static size_t http_credentials(char *p, char *end)
{
	static const char *const words[] = {"Bearer ", "Basic "};
	size_t length, found = 0;

	for (size_t i = 0; i < COUNT(words); i++) {
		length = strlen(words[i]);
		if (!begins(p, end, words[i]))
			continue;
		while (p + length + found < end && is_token(p[length + found]))
			found++;
		if (found >= TOKEN_LEAST)
			return length + overwrite(p + length, end, is_token);
	}
	return 0;
}

/* NAME: value, NAME=value, "NAME": "value", --NAME value; NAME may be the end of a longer one. */
static size_t named_value(char *p, char *end)
{
	static const char *const names[] = {
		"token",	 "password",   "passwd",     "secret",	    "passphrase",
		"authorization", "key-data",   "key_data",   "api-key",	    "api_key",
		"apikey",	 "access-key", "access_key", "private-key", "private_key",
		"credentials",	 "cookie",     "accesskey"};
	char *q = p;

	for (size_t i = 0; i < COUNT(names) && q == p; i++)
		if (begins(p, end, names[i]))
			q = p + strlen(names[i]);
	if (q == p)
		return 0;
	while (q < end && (*q == '"' || *q == '\'' || *q == '\\'))
		q++;
	if (q == end || (*q != ':' && *q != '='))
		return 0;
	for (q++; q < end && (*q == ' ' || *q == '"' || *q == '\'' || *q == '\\');)
		q++;
	if (begins(q, end, "Bearer ") || begins(q, end, "Basic "))
		return (size_t)(q - p);
	return (size_t)(q - p) + overwrite(q, end, is_value);
}

static bool is_user(char c)
{
	return isgraph((unsigned char)c) && !strchr("/?#@\"'", c);
}

static size_t user_of_url(char *p, char *end)
{
	char *at = p + 3;

	if (!begins(p, end, "://"))
		return 0;
	while (at < end && is_user(*at))
		at++;
	if (at == end || *at != '@' || at == p + 3)
		return 0;
	return 3 + overwrite(p + 3, at, is_user);
}

void redact(char *text, size_t length)
{
	static size_t (*const kinds[])(char *p, char *end) = {
		private_key, web_token, http_credentials, named_value, user_of_url};
	char *end = text + length;

	for (char *p = text; p < end;) {
		size_t done = 0;

		for (size_t i = 0; i < COUNT(kinds) && !done; i++)
			done = kinds[i](p, end);
		p += done ? done : 1;
	}
}

void redact_object(json_t *value)
{
	static const char *const keys[] = {"env", "envFrom",
					   "kubectl.kubernetes.io/last-applied-configuration"};
	const char *key;
	json_t *item;
	size_t index;

	json_array_foreach (value, index, item) {
		redact_object(item);
	}
	for (size_t i = 0; json_is_object(value) && i < COUNT(keys); i++)
		json_object_del(value, keys[i]);
	json_object_foreach (value, key, item) {
		redact_object(item);
	}
}
