// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A test-run's repetitions all get the one packet, as the run before left it. This program writes
 * the packet anew, for one flow after another, and hands it to the program that is measured. Its
 * own time is found by handing it to one that does nothing. It includes nothing of datapath/: the
 * same wrapper measures the programs of other commits.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "restore.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct restore);
} restores SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} measured SEC(".maps");

/* A place holds programs of one kind. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} measured_xdp SEC(".maps");

static __always_inline void add16(void *at, __u16 value)
{
	__u16 word = bpf_ntohs(*(__u16 *)at) + value;

	*(__u16 *)at = bpf_htons(word);
}

static __always_inline __u16 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void check_add16(void *at, __u16 value)
{
	__u16 check = *(__u16 *)at;

	*(__u16 *)at = ~folded((__u32)(__u16)~check + bpf_htons(value));
}

/* False: the packet is no such. */
static __always_inline bool write_packet(void *data, void *end)
{
	__u32 zero = 0, port, address;
	struct restore *r = bpf_map_lookup_elem(&restores, &zero);
	__u8 *header = data;
	int i;

	if (!r || data + RESTORE_HEADER_V4 + 2 > end)
		return false;
	r->at = (r->at * 5 + 12345) &
		r->mask; /* visits each number below a power of two once in a round */
	port = r->at & (RESTORE_PORTS - 1);
	address = r->at >> RESTORE_PORT_BITS;
	for (i = 0; i < RESTORE_HEADER_V4 / 4 + 1; i++)
		((__u32 *)header)[i] = ((__u32 *)r->header)[i];
	if (!r->v6) {
		add16(header + 32, address);
		check_add16(header + 24, address);
		add16(header + 34, port);
		check_add16(header + 50, address);
		check_add16(header + 50, port);
	} else {
		if (data + RESTORE_HEADER_V6 + 2 > end)
			return false;
		for (; i < RESTORE_HEADER_V6 / 4 + 1; i++)
			((__u32 *)header)[i] = ((__u32 *)r->header)[i];
		add16(header + 52, address);
		add16(header + 54, port);
		check_add16(header + 70, address);
		check_add16(header + 70, port);
	}
	/* Time for the stores to reach the cache: a packet that came by a device would not be in
	 * the store buffer. */
	bpf_ktime_get_ns();
	return true;
}

SEC("tc")
int restore(struct __sk_buff *skb)
{
	if (write_packet((void *)(long)skb->data, (void *)(long)skb->data_end))
		bpf_tail_call(skb, &measured, 0);
	return TC_ACT_SHOT;
}

SEC("xdp")
int restore_xdp(struct xdp_md *xdp)
{
	if (write_packet((void *)(long)xdp->data, (void *)(long)xdp->data_end))
		bpf_tail_call(xdp, &measured_xdp, 0);
	return XDP_ABORTED;
}

/* What the measured program's place holds while the wrapper itself is measured. */
SEC("tc")
int nothing(struct __sk_buff *skb)
{
	return TC_ACT_REDIRECT;
}

SEC("xdp")
int nothing_xdp(struct xdp_md *xdp)
{
	return XDP_TX;
}
