/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes of both families as 128 bits, IPv4 mapped. */
#include "agent/common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

bool addr_is_v4(const struct polder_addr *addr)
{
	return memcmp(addr->bytes, mapped, sizeof(mapped)) == 0;
}

bool addr_is_zero(const struct polder_addr *addr)
{
	return !(addr->words_be[0] | addr->words_be[1] | addr->words_be[2] | addr->words_be[3]);
}

bool addr_is_unspecified(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? !addr->words_be[3] : addr_is_zero(addr);
}

struct polder_addr addr_unspecified(bool v4)
{
	return v4 ? (struct polder_addr){.bytes = {[10] = 0xff, [11] = 0xff}}
		  : (struct polder_addr){};
}

/* IPv4 written as IPv6 is refused: it would stand for two different things. */
int addr_parse(const char *text, struct polder_addr *ret)
{
	struct polder_addr addr;

	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, addr.bytes) != 1 || addr_is_v4(&addr))
			return -EINVAL;
	} else {
		memcpy(addr.bytes, mapped, sizeof(mapped));
		if (inet_pton(AF_INET, text, addr.bytes + sizeof(mapped)) != 1)
			return -EINVAL;
	}
	*ret = addr;
	return 0;
}

const char *addr_format(const struct polder_addr *addr, char *buffer)
{
	if (addr_is_v4(addr))
		inet_ntop(AF_INET, addr->bytes + sizeof(mapped), buffer, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, addr->bytes, buffer, INET6_ADDRSTRLEN);
	return buffer;
}

static int parse_length(const char *text, int max, int *ret)
{
	int value = 0;

	if (*text == '\0' || strlen(text) > 3 || (text[0] == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (*text - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static void clear_host_bits(struct polder_addr *addr, unsigned int length)
{
	for (unsigned int i = 0; i < 16; i++) {
		unsigned int first = i * 8;

		if (first >= length)
			addr->bytes[i] = 0;
		else if (length - first < 8)
			addr->bytes[i] &= (uint8_t)(0xff << (8 - (length - first)));
	}
}

void prefix_clear_host_bits(struct prefix *prefix)
{
	clear_host_bits(&prefix->addr, prefix->length);
}

int prefix_parse(const char *text, struct prefix *ret)
{
	char copy[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	struct prefix prefix;
	bool v4;
	int length;

	if (!slash || (size_t)(slash - text) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, (size_t)(slash - text));
	copy[slash - text] = '\0';
	if (addr_parse(copy, &prefix.addr) < 0)
		return -EINVAL;
	v4 = addr_is_v4(&prefix.addr);
	if (parse_length(slash + 1, v4 ? 32 : 128, &length) < 0)
		return -EINVAL;
	prefix.length = (uint8_t)(v4 ? POLDER_V4_MAPPED_BITS + length : length);
	clear_host_bits(&prefix.addr, prefix.length);
	/* An IPv6 block that begins where the mapped addresses do cannot be told from an IPv4 one.
	 */
	if (!v4 && prefix.length >= POLDER_V4_MAPPED_BITS && addr_is_v4(&prefix.addr))
		return -EINVAL;
	*ret = prefix;
	return 0;
}

bool prefix_is_v4(const struct prefix *prefix)
{
	return prefix->length >= POLDER_V4_MAPPED_BITS && addr_is_v4(&prefix->addr);
}

const char *prefix_format(const struct prefix *prefix, char *buffer)
{
	bool v4 = prefix_is_v4(prefix);
	size_t used;

	if (v4 || !addr_is_v4(&prefix->addr))
		addr_format(&prefix->addr, buffer);
	else
		inet_ntop(AF_INET6, prefix->addr.bytes, buffer, INET6_ADDRSTRLEN);
	used = strlen(buffer);
	snprintf(buffer + used, PREFIX_TEXT_MAX - used, "/%d",
		 v4 ? prefix->length - POLDER_V4_MAPPED_BITS : prefix->length);
	return buffer;
}

bool prefix_covers(const struct prefix *outer, const struct polder_addr *addr, unsigned int length)
{
	unsigned int bytes = outer->length / 8, bits = outer->length % 8;

	if (length < outer->length || memcmp(outer->addr.bytes, addr->bytes, bytes) != 0)
		return false;
	return bits == 0 || ((outer->addr.bytes[bytes] ^ addr->bytes[bytes]) >> (8 - bits)) == 0;
}

bool prefix_contains(const struct prefix *prefix, const struct polder_addr *addr)
{
	if (addr_is_v4(addr) && !prefix_is_v4(prefix))
		return false;
	return prefix_covers(prefix, addr, 128);
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
	int order = memcmp(a->addr.bytes, b->addr.bytes, sizeof(a->addr.bytes));

	return order ? order : (int)a->length - (int)b->length;
}

bool addr_is_loopback(const struct polder_addr *addr)
{
	static const struct polder_addr v6 = {.bytes = {[15] = 1}};

	return addr_is_v4(addr) ? addr->bytes[12] == 127 : memcmp(addr, &v6, sizeof(v6)) == 0;
}

const char *addr_reserved_reason(const struct polder_addr *addr)
{
	static const struct polder_addr unspecified, loopback = {.bytes = {[15] = 1}};
	const uint8_t *b = addr->bytes;

	if (addr_is_v4(addr)) {
		b += sizeof(mapped);
		if (b[0] == 0)
			return "an unspecified address";
		if (b[0] == 127)
			return "a loopback address";
		if (b[0] == 169 && b[1] == 254)
			return "a link-local address";
		if (b[0] >= 224 && b[0] < 240)
			return "a multicast address";
		return (b[0] & b[1] & b[2] & b[3]) == 255 ? "the broadcast address" : NULL;
	}
	if (memcmp(addr, &unspecified, sizeof(*addr)) == 0)
		return "the unspecified address";
	if (memcmp(addr, &loopback, sizeof(*addr)) == 0)
		return "the loopback address";
	if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		return "a link-local address";
	return b[0] == 0xff ? "a multicast address" : NULL;
}
