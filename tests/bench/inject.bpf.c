// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Frames that appear on a link as if its peer had sent them (XDP test-run with live frames), and
 * their count where they arrive. A frame's page comes back as the receiver left it, so it is
 * written anew each time.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "inject.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct inject);
} injects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

SEC("xdp")
int inject(struct xdp_md *xdp)
{
	__u8 *data = (void *)(long)xdp->data;
	__u32 zero = 0, sum;
	struct inject *in = bpf_map_lookup_elem(&injects, &zero);

	if (!in || data + INJECT_LENGTH > (__u8 *)(long)xdp->data_end)
		return XDP_DROP;
	__builtin_memcpy(data, in->frame, INJECT_LENGTH);
	if (!in->fresh)
		return XDP_PASS;
	sum = (__u16) ~*(__u16 *)(data + 50) + (__u16) ~*(__u16 *)(data + 34) + bpf_htons(in->port);
	*(__u16 *)(data + 34) = bpf_htons(in->port);
	sum = (sum & 0xffff) + (sum >> 16);
	*(__u16 *)(data + 50) = ~((sum & 0xffff) + (sum >> 16));
	in->port = in->port >= 65535 ? in->port_first : in->port + 1;
	return XDP_PASS;
}

/* A link takes live frames only while it has a program. */
SEC("xdp")
int keep(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("tc")
int arrive(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (!count || skb->protocol != bpf_htons(0x0800) || skb->len != INJECT_LENGTH)
		return TC_ACT_OK;
	(*count)++;
	return TC_ACT_SHOT;
}
