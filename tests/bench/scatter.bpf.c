// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Writes the packet of a test-run anew, each time from another source, and hands it to the program
 * that is measured. */
#include "common.h"

#include "scatter.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scatter);
} scatters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} measured SEC(".maps");

/* The last word of the source address; Polder leaves checksums to the receiver. */
static __always_inline void source_write(void *at, __u32 more)
{
	__u16 *half = at;
	__u32 word = ((__u32)bpf_ntohs(half[0]) << 16 | bpf_ntohs(half[1])) + more;

	half[0] = bpf_htons(word >> 16);
	half[1] = bpf_htons(word);
}

SEC("tc")
int scatter(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 zero = 0, more;
	struct scatter *s = bpf_map_lookup_elem(&scatters, &zero);
	__u16 *header = data;
	int i;

	if (!s || data + SCATTER_HEADER_V4 > end)
		return TC_ACT_OK;
	/* Each number below a power of two comes once in a round. */
	s->at = (s->at * 1664525 + 1013904223) & ((1 << SCATTER_BITS) - 1);
	more = (__u32)((__u64)s->at * s->count >> SCATTER_BITS) * s->stride;
	for (i = 0; i < SCATTER_HEADER_V4 / 2; i++)
		header[i] = ((__u16 *)s->header)[i];
	if (!s->v6) {
		source_write(data + 26, more);
	} else {
		if (data + SCATTER_HEADER_V6 > end)
			return TC_ACT_OK;
		for (; i < SCATTER_HEADER_V6 / 2; i++)
			header[i] = ((__u16 *)s->header)[i];
		source_write(data + 34, more);
	}
	/* Time for the stores to reach the cache. */
	bpf_ktime_get_ns();
	bpf_tail_call(skb, &measured, 0);
	return TC_ACT_OK;
}

/* What the measured program's place holds while the wrapper itself is measured. */
SEC("tc")
int nobody(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}
