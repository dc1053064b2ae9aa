// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Gives a packet the key that the tunnel's device would have taken from its outer headers, then
 * goes on in the program under test. In test-run a packet comes by no device.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "datapath/abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(
		value, struct {
			struct polder_addr sender;
			__u32 vni;
		});
	__uint(max_entries, 1);
} outer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} target SEC(".maps");

SEC("tc")
int tunnel_entry(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct {
		struct polder_addr sender;
		__u32 vni;
	} *from = bpf_map_lookup_elem(&outer, &zero);
	struct bpf_tunnel_key key = {};
	__u64 flags = 0;

	if (!from)
		return TC_ACT_UNSPEC;
	key.tunnel_id = from->vni;
	if (from->sender.words_be[0]) {
		__builtin_memcpy(key.local_ipv6, &from->sender, 16);
		flags = BPF_F_TUNINFO_IPV6;
	} else {
		key.local_ipv4 = bpf_ntohl(from->sender.words_be[3]);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return TC_ACT_UNSPEC;
	bpf_tail_call(skb, &target, 0);
	return TC_ACT_UNSPEC;
}
