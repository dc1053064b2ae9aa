/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/address_range.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef unsigned __int128 number;

static number number_of(const struct polder_addr *addr)
{
	number value = 0;

	for (size_t i = 0; i < sizeof(addr->bytes); i++)
		value = value << 8 | addr->bytes[i];
	return value;
}

static struct polder_addr address_of(number value)
{
	struct polder_addr addr;

	for (size_t i = sizeof(addr.bytes); i-- > 0; value >>= 8)
		addr.bytes[i] = (uint8_t)value;
	return addr;
}

static struct polder_addr last_of(const struct prefix *prefix)
{
	number host = prefix->length ? ((number)1 << (128 - prefix->length)) - 1 : ~(number)0;

	return address_of(number_of(&prefix->addr) | host);
}

static int parse_two(const char *text, const char *dash, struct address_range *ret)
{
	char first[INET6_ADDRSTRLEN];
	struct address_range range = {};

	if ((size_t)(dash - text) >= sizeof(first))
		return -EINVAL;
	snprintf(first, sizeof(first), "%.*s", (int)(dash - text), text);
	if (addr_parse(first, &range.first) < 0 || addr_parse(dash + 1, &range.last) < 0 ||
	    addr_is_v4(&range.first) != addr_is_v4(&range.last) ||
	    number_of(&range.first) > number_of(&range.last))
		return -EINVAL;
	*ret = range;
	return 0;
}

int address_range_parse(const char *text, struct address_range *ret)
{
	const char *dash = strchr(text, '-');
	struct address_range range = {};
	struct prefix block;

	if (dash)
		return parse_two(text, dash, ret);
	if (!strchr(text, '/')) {
		if (addr_parse(text, &range.first) < 0)
			return -EINVAL;
		range.last = range.first;
		*ret = range;
		return 0;
	}
	if (prefix_parse(text, &block) < 0)
		return -EINVAL;
	range.first = block.addr;
	range.last = last_of(&block);
	range.careful = prefix_is_v4(&block);
	*ret = range;
	return 0;
}

const char *address_range_format(const struct address_range *range, char *buffer)
{
	char first[INET6_ADDRSTRLEN], last[INET6_ADDRSTRLEN];

	snprintf(buffer, ADDRESS_RANGE_TEXT_MAX, "%s-%s", addr_format(&range->first, first),
		 addr_format(&range->last, last));
	return buffer;
}

bool address_range_is_v4(const struct address_range *range)
{
	return addr_is_v4(&range->first);
}

bool address_range_contains(const struct address_range *range, const struct polder_addr *addr)
{
	number value = number_of(addr);

	return value >= number_of(&range->first) && value <= number_of(&range->last);
}

bool address_range_gives(const struct address_range *range, const struct polder_addr *addr)
{
	uint8_t end = addr->bytes[15];

	return address_range_contains(range, addr) && !(range->careful && (end == 0 || end == 255));
}

bool address_range_meets(const struct address_range *a, const struct address_range *b)
{
	return number_of(&a->first) <= number_of(&b->last) &&
	       number_of(&b->first) <= number_of(&a->last);
}

bool address_range_meets_prefix(const struct address_range *range, const struct prefix *prefix)
{
	const struct address_range other = {.first = prefix->addr, .last = last_of(prefix)};

	return address_range_meets(range, &other);
}

uint32_t address_range_size(const struct address_range *range)
{
	number more = number_of(&range->last) - number_of(&range->first);

	return more >= UINT32_MAX ? UINT32_MAX : (uint32_t)more + 1;
}

struct polder_addr address_range_at(const struct address_range *range, uint32_t place)
{
	return address_of(number_of(&range->first) + place);
}
