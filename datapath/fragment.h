/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first one's ports are remembered for the others. */
#pragma once

#include "event.h"

static __always_inline void fragment_key_of(const struct packet *p, struct fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = tuple_saddr(&p->tuple, p->family);
	key->daddr = tuple_daddr(&p->tuple, p->family);
	key->id_be = p->fragment_id_be;
	key->proto = p->family == FAMILY_V4 ? p->tuple.proto : 0;
	key->zone = p->tuple.zone;
}

/* Completes a later fragment's tuple, remembers a first one's. 0 or -reason. */
__noinline int fragment_track(struct packet *p)
{
	struct fragment_ports ports = {}, *known;
	struct fragment_key key;
	__u32 now = now_ticks();

	if (!p)
		return -REASON_INTERNAL;
	fragment_key_of(p, &key);
	if (p->flags & PACKET_LATER_FRAGMENT) {
		known = bpf_map_lookup_elem(&fragments, &key);
		if (!known || now - known->ticks > FRAGMENT_TIMEOUT)
			return -REASON_FRAGMENT_ORPHAN;
		p->tuple.sport_be = known->sport_be;
		p->tuple.dport_be = known->dport_be;
		p->tuple.proto = known->proto;
		return 0;
	}
	ports.sport_be = p->tuple.sport_be;
	ports.dport_be = p->tuple.dport_be;
	ports.proto = p->tuple.proto;
	ports.ticks = now;
	if (bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY))
		return -REASON_FRAGMENT_TABLE;
	count_up(COUNTER_FRAGMENTS_TRACKED);
	return 0;
}
