/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes: what is read is written so that it reads the same again. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "policy/objects/objects.h"

static void check_addr(const char *text)
{
	struct polder_addr addr, again;
	char buffer[INET6_ADDRSTRLEN];

	if (addr_parse(text, &addr) < 0)
		return;
	MUST(addr_parse(addr_format(&addr, buffer), &again) == 0);
	MUST(memcmp(&addr, &again, sizeof(addr)) == 0);
}

static void check_prefix(const char *text)
{
	struct prefix prefix, again;
	char buffer[PREFIX_TEXT_MAX];

	if (prefix_parse(text, &prefix) < 0)
		return;
	MUST(prefix.length <= 128);
	MUST(prefix_contains(&prefix, &prefix.addr));
	MUST(prefix_parse(prefix_format(&prefix, buffer), &again) == 0);
	MUST(memcmp(&prefix.addr, &again.addr, sizeof(again.addr)) == 0 &&
	     prefix.length == again.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[128];

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	check_addr(text);
	check_prefix(text);
	return 0;
}
