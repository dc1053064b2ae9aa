/* SPDX-License-Identifier: Apache-2.0 */
/* What the usual ones of the kernel's drop reasons mean, and what to do: for polderctl drop list
 * --kernel, and for the table in docs/observe.md, which docs/check --write makes from this list. */
#pragma once

/* X("the kernel's name", "what it means", "what to do"). Names that a kernel does not have do no
 * harm. */
#define POLDER_KERNEL_REMEDIES(X)                                                                  \
	X("NO_SOCKET", "nothing listens on the port",                                              \
	  "Start the server, or see on which address and port it listens: ss -lntu in the pod. "   \
	  "A server on 127.0.0.1 is not reached from outside of its pod.")                         \
	X("SOCKET_RCVBUFF", "the socket's receive buffer is full",                                 \
	  "The process reads too slowly or stands still. UDP: a larger SO_RCVBUF "                 \
	  "(net.core.rmem_max, net.core.rmem_default) bridges bursts only.")                       \
	X("SOCKET_BACKLOG", "too many segments wait for a socket that is in use",                  \
	  "The process or its CPU limit is too slow for what comes.")                              \
	X("SOCKET_FILTER", "a BPF filter of the socket refused it",                                \
	  "The program's own filter (SO_ATTACH_FILTER, SO_ATTACH_BPF): ss -0 -b, or the "          \
	  "program's documentation.")                                                              \
	X("PROTO_MEM", "the protocol has used up its memory",                                      \
	  "Raise net.ipv4.udp_mem or net.ipv4.tcp_mem, or the memory limit of the pod's control "  \
	  "group.")                                                                                \
	X("TCP_LISTEN_OVERFLOW", "the queue of connections that nobody has accepted is full",      \
	  "The server accepts too slowly: ss -lnt shows its queue (Recv-Q); a larger backlog "     \
	  "needs net.core.somaxconn as well.")                                                     \
	X("TCP_CSUM", "the TCP checksum is wrong",                                                 \
	  "A damaged packet, or a card whose checksum offload is broken: ethtool -K LINK tx off "  \
	  "and rx off on the path, one after the other.")                                          \
	X("UDP_CSUM", "the UDP checksum is wrong",                                                 \
	  "A damaged packet, or a card whose checksum offload is broken: ethtool -K LINK tx off "  \
	  "and rx off on the path, one after the other.")                                          \
	X("ICMP_CSUM", "the ICMP checksum is wrong", "As TCP_CSUM.")                               \
	X("IP_CSUM", "the checksum of the IPv4 header is wrong", "As TCP_CSUM.")                   \
	X("SKB_CSUM", "a checksum could not be worked out or was wrong", "As TCP_CSUM.")           \
	X("NETFILTER_DROP", "a firewall rule dropped it",                                          \
	  "nft list ruleset and iptables-save where it was dropped (the node, or the pod's "       \
	  "namespace); nft monitor trace names the rule.")                                         \
	X("NEIGH_FAILED", "the neighbour does not answer ARP or neighbour solicitations",          \
	  "The next hop is down or filters ARP/ND: ip neigh show. A wrong route names a next hop " \
	  "that is not on the link.")                                                              \
	X("NEIGH_QUEUEFULL", "too many packets wait for a neighbour's answer",                     \
	  "As NEIGH_FAILED, if it lasts; a few at the first packets are normal.")                  \
	X("NEIGH_CREATEFAIL", "there is no room for another neighbour",                            \
	  "Raise net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3.")        \
	X("IP_RPFILTER", "the way back to the source leads by another link",                       \
	  "Asymmetric routes: net.ipv4.conf.LINK.rp_filter 2 (loose) or 0, or mend the routes.")   \
	X("IP_OUTNOROUTES", "no route leads to the destination",                                   \
	  "ip route get ADDRESS, in the namespace where it was dropped. A pod whose programs "     \
	  "were "                                                                                  \
	  "taken away is refused like this, too: polderctl status.")                               \
	X("IP_INNOROUTES", "no route leads to the destination, or forwarding is off",              \
	  "ip route get ADDRESS from SOURCE iif LINK on the node; net.ipv4.ip_forward and "        \
	  "net.ipv6.conf.all.forwarding.")                                                         \
	X("IP_INADDRERRORS", "the address is none that can be forwarded to", "As IP_INNOROUTES.")  \
	X("IP_LOCAL_SOURCE", "it came from outside with an address of this machine",               \
	  "A spoofed packet, a routing loop, or an address that is used twice.")                   \
	X("QDISC_DROP", "the queue of a link dropped it",                                          \
	  "tc -s qdisc show dev LINK. A pod with a bandwidth limit loses what is above it here.")  \
	X("QDISC_OVERLIMIT", "the queue of a link is full", "As QDISC_DROP.")                      \
	X("QDISC_CONGESTED", "the queue of a link is congested (CoDel)", "As QDISC_DROP.")         \
	X("FULL_RING", "the ring of a virtual link or card is full",                               \
	  "The receiver's CPU is too slow: spread the load (RPS), or a larger ring.")              \
	X("CPU_BACKLOG", "the CPU's queue of received packets is full",                            \
	  "Raise net.core.netdev_max_backlog, or spread the load over CPUs (RPS).")                \
	X("PKT_TOO_BIG", "it is larger than the MTU of the way on",                                \
	  "Path MTU discovery is broken (ICMP filtered), or an MTU is wrong: ip link; docs: "      \
	  "operations.md.")                                                                        \
	X("PKT_TOO_SMALL", "it is shorter than its header says", "A broken sender. Find it.")      \
	X("NOMEM", "the machine is out of memory", "Free memory; see dmesg.")                      \
	X("OTHERHOST", "its MAC address is another machine's",                                     \
	  "Normal while somebody captures on the link. Else a neighbour has a wrong entry: "       \
	  "ip neigh show at the sender.")                                                          \
	X("UNHANDLED_PROTO", "nothing on the machine speaks its protocol",                         \
	  "The sender speaks a protocol that this machine does not.")                              \
	X("IP_NOPROTO", "nothing on the machine speaks its protocol",                              \
	  "The sender speaks a protocol that this machine does not.")                              \
	X("IPV6DISABLED", "IPv6 is turned off where it came",                                      \
	  "net.ipv6.conf.LINK.disable_ipv6 in the namespace where it was dropped.")                \
	X("BPF_CGROUP_EGRESS", "a BPF program at the sender's control group refused it",           \
	  "bpftool cgroup tree: systemd's IPAddressDeny= is one, container runtimes have "         \
	  "others.")                                                                               \
	X("TC_INGRESS", "a program or filter at TC ingress in the pod's own namespace refused it", \
	  "tc filter show and bpftool net in the pod's namespace.")                                \
	X("TC_EGRESS", "a program or filter at TC egress in the pod's own namespace refused it",   \
	  "tc filter show and bpftool net in the pod's namespace.")                                \
	X("XDP", "an XDP program in the pod's own namespace refused it",                           \
	  "bpftool net in the pod's namespace.")                                                   \
	X("XFRM_POLICY", "an IPsec policy refused it", "ip xfrm policy where it was dropped.")     \
	X("SECURITY_HOOK", "a security module refused it", "SELinux, Smack: the audit log.")       \
	X("SOCKET_CLOSE", "the socket was closed before it was read",                              \
	  "Normal when a process ends.")                                                           \
	X("TCP_RESET", "a reset ended the connection", "Normal; many: see who resets, and why.")   \
	X("TCP_OLD_DATA", "a segment that came already came again",                                \
	  "Harmless: retransmissions. Many: packets or their acknowledgements are lost on the "    \
	  "way.")                                                                                  \
	X("TCP_OFOMERGE", "a segment that came already came again", "As TCP_OLD_DATA.")            \
	X("TCP_CLOSE", "a segment for a connection that is closed",                                \
	  "Normal when connections end.")                                                          \
	X("NOT_SPECIFIED", "the kernel does not say why",                                          \
	  "The location in the JSON form, with /proc/kallsyms, names the function.")
