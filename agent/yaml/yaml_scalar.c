/* SPDX-License-Identifier: Apache-2.0 */
/* What a plain YAML scalar stands for: as YAML 1.1 is read by kubectl (go-yaml 2 and its JSON). */
#include "agent/yaml/yaml_scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 400 /* bytes; nothing that is longer is a number that JSON could carry */

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

/* Words that are not strings. NULL: none. */
static json_t *resolve_word(const char *text)
{
	static const char *const yes[] = {"y",	  "Y",	  "yes", "Yes", "YES", "true",
					  "True", "TRUE", "on",	 "On",	"ON",  NULL};
	static const char *const no[] = {"n",	  "N",	   "no",  "No",	 "NO",	"false",
					 "False", "FALSE", "off", "Off", "OFF", NULL};
	static const char *const nothing[] = {"", "~", "null", "Null", "NULL", NULL};

	if (is_one_of(text, yes))
		return json_true();
	if (is_one_of(text, no))
		return json_false();
	return is_one_of(text, nothing) ? json_null() : NULL;
}

static bool is_infinite(const char *text)
{
	static const char *const words[] = {".nan",  ".NaN",  ".NAN",  ".inf",	".Inf",
					    ".INF",  "+.inf", "+.Inf", "+.INF", "-.inf",
					    "-.Inf", "-.INF", NULL};

	return is_one_of(text, words);
}

/* The base that the digits are written in; moves past its prefix. 017 and 0o17 are octal. */
static int take_base(const char **digits)
{
	const char *d = *digits;
	char c = d[0] ? (char)tolower((unsigned char)d[1]) : '\0';
	int base = c == 'x' ? 16 : c == 'b' ? 2 : 8;

	if (d[0] != '0' || !c)
		return 10;
	*digits += strchr("xob", c) && d[2] ? 2 : 1;
	return *digits == d + 2 ? base : 8;
}

/* -ENOENT: not an integer; -ERANGE: one that does not fit. */
static int resolve_integer(const char *text, json_int_t *ret)
{
	bool negative = text[0] == '-';
	const char *digits = text + (text[0] == '-' || text[0] == '+');
	unsigned long long value, most = negative ? 1ull << 63 : (1ull << 63) - 1;
	int base = take_base(&digits);
	char *end;

	if (!isalnum((unsigned char)*digits) ||
	    (base == 16 && tolower((unsigned char)digits[1]) == 'x'))
		return -ENOENT;
	errno = 0;
	value = strtoull(digits, &end, base);
	if (*end)
		return -ENOENT;
	if (errno == ERANGE || value > most)
		return -ERANGE;
	*ret = negative ? (json_int_t)(0 - value) : (json_int_t)value;
	return 0;
}

static const char *skip_digits(const char *text)
{
	return text + strspn(text, "0123456789");
}

/* [-+]? ( .digits | digits [. digits] ) [e [-+] digits] */
static bool looks_like_float(const char *text)
{
	const char *p = text + (*text == '-' || *text == '+');
	const char *start = p, *fraction;

	p = skip_digits(p);
	if (*p == '.') {
		fraction = ++p;
		p = skip_digits(p);
		if (fraction - 1 == start && p == fraction)
			return false;
	} else if (p == start) {
		return false;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		if (!isdigit((unsigned char)*p))
			return false;
		p = skip_digits(p);
	}
	return *p == '\0';
}

/* 80.0 and 8e1 are written to JSON as 80. */
static json_t *float_value(double value)
{
	if (value == floor(value) && fabs(value) < 1e15)
		return json_integer((json_int_t)value);
	return json_real(value);
}

static int resolve_number(const char *text, json_t **ret)
{
	char plain[NUMBER_MAX + 1];
	size_t length = 0;
	json_int_t integer;
	double value;
	int r;

	for (const char *p = text; *p; p++)
		if (*p != '_' || text[0] == '.')
			plain[length++] = *p;
	plain[length] = '\0';
	r = text[0] == '.' ? -ENOENT : resolve_integer(plain, &integer);
	if (r == 0)
		*ret = json_integer(integer);
	if (r != -ENOENT)
		return r;
	if (!looks_like_float(plain))
		return -ENOENT;
	value = strtod(plain, NULL);
	if (!isfinite(value))
		return -ERANGE;
	*ret = float_value(value);
	return 0;
}

int yaml_scalar_resolve(const char *text, size_t length, json_t **ret, const char **ret_reason)
{
	json_t *value = strlen(text) == length ? resolve_word(text) : NULL;
	int r = -ENOENT;

	if (!value && is_infinite(text)) {
		*ret_reason = "is no number that JSON has; put a string in quotes";
		return -EINVAL;
	}
	if (!value && text[0] && strchr("+-.0123456789", text[0]) && length <= NUMBER_MAX)
		r = resolve_number(text, &value);
	if (r == -ERANGE) {
		*ret_reason = "is a number that is too big; put a string in quotes";
		return -EINVAL;
	}
	if (!value && r == -ENOENT)
		value = json_stringn(text, length);
	if (!value)
		return -ENOMEM;
	*ret = value;
	return 0;
}
