// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A wire's end: `send` makes frames, run by XDP test-run, and redirects them to the link, from
 * whose other side they come as a card's frames come to its driver; `receive` counts and drops what
 * the node sends back. A frame's page comes back as the receiver left it, so it is written anew
 * each time.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_run);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_counts);
} counts SEC(".maps");

struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
	__be32 mark;
	__u8 rest[6];
} __attribute__((packed));

_Static_assert(sizeof(struct frame) == WIRE_LENGTH, "the whole frame");

/* The ones' complement sum's other value when these two words are put in place of those. */
static __always_inline __u16 sum_with(__u16 sum, __u16 old1, __u16 old2, __u16 new1, __u16 new2)
{
	__u32 all = (__u16)~sum + (__u16)~old1 + (__u16)~old2 + new1 + new2;

	all = (all & 0xffff) + (all >> 16);
	return ~((all & 0xffff) + (all >> 16));
}

/* Bursts come when they are due, as those of a card's interrupts; what is late is sent at once. */
static __always_inline bool is_due(struct wire_run *run)
{
	if (!run->burst_ns)
		return true;
	if (run->burst_left) {
		run->burst_left--;
		return true;
	}
	if (bpf_ktime_get_ns() < run->due)
		return false;
	run->due += run->burst_ns;
	run->burst_left = WIRE_BURST - 1;
	return true;
}

SEC("xdp")
int send(struct xdp_md *xdp)
{
	struct frame *f = (void *)(long)xdp->data;
	__u32 zero = 0, flow;
	struct wire_run *run = bpf_map_lookup_elem(&runs, &zero);
	__u16 source, destination;

	if (!run || (void *)(f + 1) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	if (!is_due(run))
		return XDP_DROP;
	if (!run->begun)
		run->begun = bpf_ktime_get_ns();
	if (!--run->left)
		run->sent = bpf_ktime_get_ns();
	flow = run->next;
	run->next = flow + 1 < run->flows ? flow + 1 : 0;
	__builtin_memcpy(f, run->frame, WIRE_LENGTH);
	source = bpf_htons(bpf_ntohs(f->tcp.source) + flow);
	destination = bpf_htons(bpf_ntohs(f->tcp.dest) + (flow & (run->services - 1)));
	f->tcp.check = sum_with(f->tcp.check, f->tcp.source, f->tcp.dest, source, destination);
	f->tcp.source = source;
	f->tcp.dest = destination;
	return bpf_redirect(run->link, 0);
}

/* Turns a SYN into its answer. */
static __always_inline void make_answer(struct frame *f)
{
	__u8 mac[ETH_ALEN];
	__be32 address = f->ip.saddr;
	__be16 port = f->tcp.source;
	__u32 acknowledged = bpf_ntohl(f->tcp.seq) + 1;
	__u32 before[4], *words = (void *)&f->tcp;

	__builtin_memcpy(mac, f->ethernet.h_dest, ETH_ALEN);
	__builtin_memcpy(f->ethernet.h_dest, f->ethernet.h_source, ETH_ALEN);
	__builtin_memcpy(f->ethernet.h_source, mac, ETH_ALEN);
	f->ip.saddr = f->ip.daddr;
	f->ip.daddr = address;
	f->tcp.source = f->tcp.dest;
	f->tcp.dest = port;
	__builtin_memcpy(before, words, sizeof(before));
	f->tcp.ack_seq = bpf_htonl(acknowledged);
	f->tcp.seq = bpf_htonl(WIRE_ANSWER_SEQ);
	f->tcp.ack = 1;
	__s64 sum =
		bpf_csum_diff(before, sizeof(before), words, sizeof(before), (__u16)~f->tcp.check);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	f->tcp.check = ~sum;
}

SEC("xdp")
int receive(struct xdp_md *xdp)
{
	struct frame *f = (void *)(long)xdp->data;
	__u32 zero = 0;
	struct wire_run *run = bpf_map_lookup_elem(&runs, &zero);
	struct wire_counts *count = bpf_map_lookup_elem(&counts, &zero);

	if (!run || !count || (void *)(f + 1) > (void *)(long)xdp->data_end ||
	    f->ethernet.h_proto != bpf_htons(ETH_P_IP) || f->ip.protocol != IPPROTO_TCP ||
	    f->mark != bpf_htonl(WIRE_MARK))
		return XDP_PASS;
	if (f->ip.daddr == run->endpoint_be && f->ip.saddr == run->node_be) {
		count->forwarded++;
		if (!--count->expected)
			count->ended = bpf_ktime_get_ns();
		if (!run->answer || !f->tcp.syn)
			return XDP_DROP;
		make_answer(f);
		return XDP_TX;
	}
	if (f->ip.daddr == run->client_be && f->ip.saddr == run->node_be)
		count->answered++;
	else
		count->other++;
	return XDP_DROP;
}

/* The node's side of a link, where frames are to cost nothing more than to be there. */
SEC("xdp")
int drop(struct xdp_md *xdp)
{
	__u32 zero = 0;
	struct wire_counts *count = bpf_map_lookup_elem(&counts, &zero);

	if (count)
		count->forwarded++;
	return XDP_DROP;
}
