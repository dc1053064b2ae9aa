/* SPDX-License-Identifier: Apache-2.0 */
/* The Kubernetes rules for names, labels and port names. */
#include "policy/objects/syntax.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "policy/objects/limits.h"

#define TEXT_OF(x) #x
#define NUMBER(x)  TEXT_OF(x)

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static int refuse(int code, const char *reason, const char **ret_reason)
{
	*ret_reason = reason;
	return code;
}

static bool has_only(const char *text, size_t length, const char *allowed)
{
	return strspn(text, allowed) >= length;
}

static bool is_alnum(char c)
{
	return c && strchr(LOWER UPPER DIGIT, c);
}

/* "qualified name" without its prefix: letters and digits at both ends, -_. between. */
static bool is_label_word(const char *text, size_t length)
{
	return length > 0 && is_alnum(text[0]) && is_alnum(text[length - 1]) &&
	       has_only(text, length, LOWER UPPER DIGIT "-_.");
}

/* Words of lower-case letters, digits and -, joined by dots (RFC 1123). */
static bool is_subdomain(const char *text, size_t length)
{
	size_t start = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length && text[i] != '.')
			continue;
		if (i == start || text[start] == '-' || text[i - 1] == '-')
			return false;
		start = i + 1;
	}
	return has_only(text, length, LOWER DIGIT "-.");
}

int syntax_label_key(const char *text, const char **ret_reason)
{
	const char *slash = strchr(text, '/');
	const char *word = slash ? slash + 1 : text;

	if (slash && slash - text > LIMIT_LABEL_PREFIX)
		return refuse(-EFBIG,
			      "the label key's prefix is longer than " NUMBER(
				      LIMIT_LABEL_PREFIX) " bytes",
			      ret_reason);
	if (strlen(word) > LIMIT_LABEL_NAME)
		return refuse(-EFBIG,
			      "the label key is longer than " NUMBER(LIMIT_LABEL_NAME) " bytes",
			      ret_reason);
	if (slash && !is_subdomain(text, (size_t)(slash - text)))
		return refuse(-EINVAL, "the label key's prefix is not a DNS name in lower case",
			      ret_reason);
	if (!is_label_word(word, strlen(word)))
		return refuse(-EINVAL,
			      "the label key must begin and end with a letter or digit, with only "
			      "-_. besides",
			      ret_reason);
	return 0;
}

int syntax_label_value(const char *text, const char **ret_reason)
{
	size_t length = strlen(text);

	if (length > LIMIT_LABEL_VALUE)
		return refuse(-EFBIG,
			      "the label value is longer than " NUMBER(LIMIT_LABEL_VALUE) " bytes",
			      ret_reason);
	if (length > 0 && !is_label_word(text, length))
		return refuse(-EINVAL,
			      "the label value must begin and end with a letter or digit, with "
			      "only -_. besides",
			      ret_reason);
	return 0;
}

int syntax_port_name(const char *text, const char **ret_reason)
{
	size_t length = strlen(text);

	if (length == 0 || length > 15)
		return refuse(-EINVAL, "a port name has 1 to 15 characters", ret_reason);
	if (!has_only(text, length, LOWER DIGIT "-") || text[strcspn(text, LOWER)] == '\0')
		return refuse(
			-EINVAL,
			"a port name has lower-case letters (at least one), digits and - only",
			ret_reason);
	if (text[0] == '-' || text[length - 1] == '-' || strstr(text, "--"))
		return refuse(-EINVAL, "a port name cannot begin or end with -, or contain --",
			      ret_reason);
	return 0;
}

int syntax_name(const char *text, const char **ret_reason)
{
	if (text[0] == '\0')
		return refuse(-EINVAL, "must not be empty", ret_reason);
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || strpbrk(text, "/%"))
		return refuse(-EINVAL, "must not be . or .., or contain / or %", ret_reason);
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
			return refuse(-EINVAL,
				      "must have printable ASCII characters only, no blanks",
				      ret_reason);
	return 0;
}
