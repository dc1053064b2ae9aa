// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tracepoint skb:kfree_skb, where the kernel gives a packet up and says why. Attached only while
 * somebody asks what became of packets that Polder had let go. It looks and never decides.
 */
#include "kernel_types.h"
#include "kernel_drop_abi.h"
#include "flow.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

MAP(kernel_drop_settings, BPF_MAP_TYPE_ARRAY, __u32, struct kernel_drop_settings, 1,
    BPF_F_RDONLY_PROG);
MAP(kernel_drop_counts, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, KERNEL_DROP_COUNTS, 0);
MAP(kernel_drop_budgets, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct event_budget, 1, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KERNEL_DROPS_BYTES);
} kernel_drops SEC(".maps");

/* The tracepoint has a fourth argument, the socket that the packet was for (Linux 6.11). */
const volatile bool has_socket SEC(".rodata.kernel_drop") = false;

#define VXLAN_HEADERS (8 + 8 + ETH_HLEN) /* UDP, VXLAN, the inner frame's */
#define EXTENSIONS    4			 /* of IPv6, that are followed to the ports */
#define DEVICES                                                                                    \
	16 /* of a namespace, that are looked at for the pod's: it is the first                    \
	      or stands behind those that every namespace has */

/* What the skb says of itself. */
struct freed {
	const unsigned char *head;
	__u32 end; /* of what lies in one piece */
	__u32 network;
	__be16 protocol;
};

/* ------------------------------------------------------------------ the packet */

static __always_inline bool load(const struct freed *f, __u32 offset, void *to, __u32 size)
{
	return offset + size <= f->end && !bpf_probe_read_kernel(to, size, f->head + offset);
}

/* Of the transport header at `offset`, as far as it is there. */
static __always_inline void read_ports(const struct freed *f, __u32 offset, struct kernel_drop *d)
{
	__be16 ports[2];

	if (d->proto != IPPROTO_TCP && d->proto != IPPROTO_UDP && d->proto != IPPROTO_SCTP)
		return;
	if (!load(f, offset, ports, sizeof(ports)))
		return;
	d->sport_be = ports[0];
	d->dport_be = ports[1];
}

/* Returns the offset of the transport header; 0: it is no such packet, or a later fragment. */
static __always_inline __u32 read_ipv4(const struct freed *f, __u32 offset, struct kernel_drop *d)
{
	struct ipv4_header ip;

	if (!load(f, offset, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4)
		return 0;
	d->family = FAMILY_V4;
	d->proto = ip.proto;
	d->saddr = (struct polder_addr){.words_be = {0, 0, bpf_htonl(0xffff), ip.saddr_be}};
	d->daddr = (struct polder_addr){.words_be = {0, 0, bpf_htonl(0xffff), ip.daddr_be}};
	if (ip.fragment_be & bpf_htons(IPV4_OFFSET_MASK))
		return 0;
	return offset + (ip.version_ihl & 15) * 4;
}

static __always_inline __u32 read_ipv6(const struct freed *f, __u32 offset, struct kernel_drop *d)
{
	struct ipv6_header ip;
	__u8 next[8];

	if (!load(f, offset, &ip, sizeof(ip)) ||
	    (ip.version_class_label_be & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return 0;
	d->family = FAMILY_V6;
	d->proto = ip.next;
	__builtin_memcpy(&d->saddr, ip.saddr_be, 16);
	__builtin_memcpy(&d->daddr, ip.daddr_be, 16);
	offset += sizeof(ip);
	for (int i = 0; i < EXTENSIONS && is_extension6(d->proto); i++) {
		if (!load(f, offset, next, sizeof(next)))
			return 0;
		/* A later fragment's ports are elsewhere. */
		if (d->proto == IPPROTO_FRAGMENT && (next[2] | (next[3] & 0xf8)))
			return 0;
		offset += d->proto == IPPROTO_FRAGMENT ? 8 : (next[1] + 1) * 8;
		d->proto = next[0];
	}
	return offset;
}

static __always_inline __u32 read_ip(const struct freed *f, __be16 protocol, __u32 offset,
				     struct kernel_drop *d)
{
	__u32 l4 = 0;

	if (protocol == bpf_htons(ETH_P_IP))
		l4 = read_ipv4(f, offset, d);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		l4 = read_ipv6(f, offset, d);
	if (l4)
		read_ports(f, l4, d);
	return l4;
}

/* ------------------------------------------------------------------ whose it is */

/* The host-side link of this node's pod with the address; 0: none has it. */
static __always_inline __u32 pod_with(const struct polder_addr *addr)
{
	const struct address_entry *entry = address_find(addr);

	if (!entry || !(entry->flags & ADDRESS_POD) || !(entry->flags & ADDRESS_LOCAL))
		return 0;
	return entry->ifindex;
}

/* Does a pod have it, of this node or another one, or may one? */
static __always_inline bool is_pods(const struct polder_addr *addr)
{
	const struct address_entry *entry = address_find(addr);

	return entry && entry->flags & (ADDRESS_POD | ADDRESS_POD_RANGE);
}

/* Is it the namespace of the pod? Addresses alone do not say so: other clusters on this machine
 * may have the same ones. */
static __always_inline bool is_namespace_of(struct net *net, __u32 link)
{
	const struct pod_entry *pod = pod_of_link(link);
	struct list_head *head = (void *)net + bpf_core_field_offset(struct net, dev_base_head);
	struct list_head *at = BPF_CORE_READ(head, next);
	const __u32 offset = bpf_core_field_offset(struct net_device, dev_list);
	__u64 pods = 0;

	if (!link || !pod)
		return false;
	__builtin_memcpy(&pods, pod->mac, sizeof(pod->mac));
	for (int i = 0; i < DEVICES && at && at != head; i++) {
		struct net_device *dev = (void *)at - offset;
		__u64 mac = 0;

		if (bpf_probe_read_kernel(&mac, sizeof(pod->mac), BPF_CORE_READ(dev, dev_addr)))
			return false;
		if (mac == pods)
			return true;
		at = BPF_CORE_READ(at, next);
	}
	return false;
}

/* Where it was given up; 0: in no namespace that can be told. What waits in a socket's queue has
 * no device any more, or something else in its place. */
static __always_inline struct net *find_namespace(struct sk_buff *skb, struct sock *receiver,
						  struct kernel_drop *d)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct net *net = BPF_CORE_READ(dev, nd_net.net);
	struct sock *sk = receiver;

	if (BPF_CORE_READ(net, net_cookie)) {
		bpf_probe_read_kernel_str(d->device, sizeof(d->device),
					  (void *)dev +
						  bpf_core_field_offset(struct net_device, name));
		return net;
	}
	if (!sk)
		sk = BPF_CORE_READ(skb, sk);
	return BPF_CORE_READ(sk, __sk_common.skc_net.net);
}

/* The tuple by which the answer to the packet comes from the wire. False: it has none. */
static __always_inline bool answer_tuple(const struct freed *f, __u32 l4,
					 const struct kernel_drop *d, struct flow_tuple *t)
{
	__be16 sport = d->sport_be, dport = d->dport_be;
	__u8 type = 0;

	/* An echo's: its identifier, and its type. */
	if (d->proto == IPPROTO_ICMP || d->proto == IPPROTO_ICMPV6) {
		if (!load(f, l4, &type, sizeof(type)) || !load(f, l4 + 4, &sport, sizeof(sport)))
			return false;
		dport = bpf_htons(type << 8);
	} else if (!sport) {
		return false;
	}
	t->proto = d->proto;
	t->zone = ZONE_WIRE;
	tuple_set_reversed_ports(t, sport, dport);
	if (d->family == FAMILY_V4) {
		t->v4.saddr_be = d->daddr.words_be[3];
		t->v4.daddr_be = d->saddr.words_be[3];
	} else {
		__builtin_memcpy(t->v6.saddr_be, &d->daddr, 16);
		__builtin_memcpy(t->v6.daddr_be, &d->saddr, 16);
	}
	return true;
}

/* A packet whose source was masqueraded has the node's address. Its answer's entry in the flow
 * table says whose it is: it gets the pod's back. */
static __always_inline bool was_masqueraded(const struct freed *f, __u32 l4, struct kernel_drop *d)
{
	const struct control *control = control_get();
	struct flow_tuple t = {};
	struct flow_copy answer;

	if (!control || !l4 ||
	    !(d->family == FAMILY_V4 ? config.masquerade_v4 : config.masquerade_v6) ||
	    !answer_tuple(f, l4, d, &t) ||
	    flow_lookup(&t, tuple_hash(&t, d->family, control), &answer, d->family) != FLOW_FOUND ||
	    !(answer.state & FLOW_REPLY) || answer.action != FLOW_TO_POD)
		return false;
	d->masqueraded = 1;
	d->wire_source = d->saddr;
	d->wire_port_be = d->sport_be;
	if (d->family == FAMILY_V4)
		d->saddr.words_be[3] = answer.new_daddr_be[0];
	else
		__builtin_memcpy(&d->saddr, answer.new_daddr_be, 16);
	if (d->sport_be)
		d->sport_be = answer.new_dport_be;
	return true;
}

/* Was it a packet to or from a pod, in the node's namespace or in that of a pod of this node?
 * `l4`: offset of its transport header; 0: it is not known. */
static __always_inline bool is_ours(struct net *net, const struct freed *f, __u32 l4,
				    struct kernel_drop *d)
{
	if (BPF_CORE_READ(net, net_cookie) == config.netns_cookie) {
		d->place = KERNEL_DROP_NODE;
		return is_pods(&d->saddr) || is_pods(&d->daddr) || was_masqueraded(f, l4, d);
	}
	if (is_namespace_of(net, pod_with(&d->saddr)))
		d->place = KERNEL_DROP_SENDER;
	else if (is_namespace_of(net, pod_with(&d->daddr)))
		d->place = KERNEL_DROP_RECEIVER;
	else
		return false;
	return true;
}

/* The packet within one of the tunnel's own, which are the node's. */
static __always_inline bool is_ours_within(const struct freed *f, __u32 udp, struct net *net,
					   struct kernel_drop *d)
{
	__be16 protocol;

	if (!udp || d->proto != IPPROTO_UDP || !config.tunnel_port_be ||
	    d->dport_be != config.tunnel_port_be ||
	    BPF_CORE_READ(net, net_cookie) != config.netns_cookie)
		return false;
	udp += VXLAN_HEADERS;
	if (!load(f, udp - sizeof(protocol), &protocol, sizeof(protocol)))
		return false;
	d->sport_be = d->dport_be = 0;
	read_ip(f, protocol, udp, d);
	return d->family && is_ours(net, f, 0, d);
}

/* ------------------------------------------------------------------ telling */

static __always_inline bool has_bit(const __u64 *words, __u32 bit)
{
	return bit < KERNEL_REASONS && words[bit / 64 % (KERNEL_REASONS / 64)] >> bit % 64 & 1;
}

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&kernel_drop_counts, &which);

	if (counter)
		(*counter)++;
}

static __always_inline void tell(struct kernel_drop *d)
{
	const struct control *control = control_get();
	__u32 zero = 0;

	count(d->reason < KERNEL_REASON_REST ? d->reason : KERNEL_REASON_REST);
	if (!control || !budget_take(bpf_map_lookup_elem(&kernel_drop_budgets, &zero),
				     control->events_per_second)) {
		count(KERNEL_DROPS_LIMITED);
		return;
	}
	d->time_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&kernel_drops, d, sizeof(*d), 0))
		count(KERNEL_DROPS_LOST);
}

SEC("raw_tp/kfree_skb")
int kernel_drop(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (void *)ctx->args[0];
	struct kernel_drop d = {.location = ctx->args[1], .reason = ctx->args[2]};
	struct sock *receiver = has_socket ? (void *)ctx->args[3] : NULL;
	const struct kernel_drop_settings *settings;
	__u32 zero = 0, l4;
	struct freed f;
	struct net *net;

	settings = bpf_map_lookup_elem(&kernel_drop_settings, &zero);
	if (!settings || has_bit(settings->left_out, d.reason))
		return 0;
	f = (struct freed){.head = BPF_CORE_READ(skb, head),
			   .end = BPF_CORE_READ(skb, tail),
			   .network = BPF_CORE_READ(skb, network_header),
			   .protocol = BPF_CORE_READ(skb, protocol)};
	l4 = read_ip(&f, f.protocol, f.network, &d);
	if (!d.family)
		return 0;
	net = find_namespace(skb, receiver, &d);
	if (!is_ours(net, &f, l4, &d) && !is_ours_within(&f, l4, net, &d))
		return 0;
	if (d.place == KERNEL_DROP_NODE && has_bit(settings->own, d.reason))
		return 0;
	d.length = BPF_CORE_READ(skb, len);
	tell(&d);
	return 0;
}
