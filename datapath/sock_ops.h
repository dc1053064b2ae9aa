/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ends of a TCP socket that a sock_ops program is asked about. */
#pragma once

#include "packet.h"

#define AF_INET 2

/*
 * A word of the context, kept where it is read: the compiler would make one load of the two
 * families' with an offset in a register, or of two words, which the verifier refuses.
 */
#define context_word(field)                                                                        \
	({                                                                                         \
		__be32 word = ctx->field;                                                          \
		opaque(word);                                                                      \
		word;                                                                              \
	})

static __always_inline struct polder_addr local_address(struct bpf_sock_ops *ctx)
{
	__be32 addr[4];

	if (ctx->family == AF_INET)
		return addr_from4(context_word(local_ip4));
	addr[0] = context_word(local_ip6[0]);
	addr[1] = context_word(local_ip6[1]);
	addr[2] = context_word(local_ip6[2]);
	addr[3] = context_word(local_ip6[3]);
	return addr_from6(addr);
}

static __always_inline struct polder_addr remote_address(struct bpf_sock_ops *ctx)
{
	__be32 addr[4];

	if (ctx->family == AF_INET)
		return addr_from4(context_word(remote_ip4));
	addr[0] = context_word(remote_ip6[0]);
	addr[1] = context_word(remote_ip6[1]);
	addr[2] = context_word(remote_ip6[2]);
	addr[3] = context_word(remote_ip6[3]);
	return addr_from6(addr);
}

static __always_inline bool is_loopback(const struct polder_addr *addr)
{
	if (is_v4_mapped(addr))
		return (addr->words_be[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(addr->words_be[0] | addr->words_be[1] | addr->words_be[2] |
		 (addr->words_be[3] ^ bpf_htonl(1)));
}
