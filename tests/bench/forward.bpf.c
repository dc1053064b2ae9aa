// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts and drops the frames of forward.c where they arrive, so that nobody answers them. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "forward.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

SEC("tc")
int arrive(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (!count || skb->protocol != bpf_htons(0x0800) || skb->len != FORWARD_LENGTH)
		return TC_ACT_OK;
	__sync_fetch_and_add(count, 1);
	return TC_ACT_SHOT;
}
