/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of names, addresses and labels that users give. */
#include "netavark/names.h"

#include <errno.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "plugin/text.h"

#define DNS_LABEL_MAX 63
#define DOMAIN_MAX    253
#define SMALL	      "abcdefghijklmnopqrstuvwxyz0123456789"
#define ALNUM	      SMALL "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Of `first` at both ends, of `first` and `more` between; 1 to `max` characters. */
static bool has_form(const char *text, size_t length, const char *first, const char *more,
		     size_t max)
{
	if (!length || length > max || !strchr(first, text[0]) || !strchr(first, text[length - 1]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr(first, text[i]) && !strchr(more, text[i]))
			return false;
	return true;
}

/* Parts of that form with '.' between. */
static bool has_parts(const char *text, size_t length, const char *first, const char *more)
{
	size_t part;

	if (!length || length > DOMAIN_MAX)
		return false;
	for (;;) {
		part = strcspn(text, ".");
		if (part > length)
			part = length;
		if (!has_form(text, part, first, more, DNS_LABEL_MAX))
			return false;
		if (part == length)
			return true;
		text += part + 1;
		length -= part + 1;
	}
}

bool name_is_dns_label(const char *text)
{
	return has_form(text, strlen(text), SMALL, "-", DNS_LABEL_MAX);
}

bool name_is_domain(const char *text)
{
	size_t length = strlen(text);

	if (length > 1 && text[length - 1] == '.')
		length--;
	return has_parts(text, length, ALNUM "_", "-");
}

bool name_is_address(const char *text)
{
	struct polder_addr addr;

	return addr_parse(text, &addr) == 0;
}

static bool key_is_good(const char *key)
{
	const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;

	if (slash && !has_parts(key, (size_t)(slash - key), SMALL, "-"))
		return false;
	return has_form(name, strlen(name), ALNUM, "-_.", DNS_LABEL_MAX);
}

int label_check(const char *key, const char *value, struct error *ret_failure)
{
	char quoted[TEXT_QUOTE_MAX];

	if (!key_is_good(key))
		return error_set(
			ret_failure, -EINVAL, CNI_INVALID_CONFIG,
			"label key \"%s\" is invalid: a name of at most 63 letters, digits, "
			"'-', '_' and '.', a letter or digit first and last, and if need be "
			"a domain and '/' before it",
			text_quote(key, quoted));
	if (value && (!*value || has_form(value, strlen(value), ALNUM, "-_.", DNS_LABEL_MAX)))
		return 0;
	return error_set(
		ret_failure, -EINVAL, CNI_INVALID_CONFIG,
		"the value of label \"%s\" is invalid: at most 63 letters, digits, '-', '_' "
		"and '.', a letter or digit first and last, or nothing",
		text_quote(key, quoted));
}
