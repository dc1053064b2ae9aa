/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a packet was dropped or refused: the one list that the programs, the agent, the CLI and the
 * manual share. */
#pragma once

/*
 * X(identifier, "name", "explanation"). Append only: the numbers are part of the layout.
 * A stage of a program returns a verdict (>= 0) or the negative of one of these.
 */
#define POLDER_REASONS(X)                                                                          \
	X(NONE, "none", "not dropped")                                                             \
	X(SHORT, "short_packet", "a header is cut off or says a wrong length")                     \
	X(L2_UNKNOWN, "unknown_ethertype", "neither IPv4, IPv6 nor ARP, or tagged with a VLAN")    \
	X(NOT_A_POD, "not_a_pod", "the interface belongs to no pod that is set up")                \
	X(SOURCE_MAC, "source_mac", "the Ethernet source is not the pod's")                        \
	X(SOURCE_IP, "source_ip", "the source address is not the pod's")                           \
	X(ARP_SPOOF, "arp_spoof", "the ARP sender is not the pod")                                 \
	X(ARP_OTHER, "arp_other", "ARP for something other than the pod's gateway")                \
	X(ND_SPOOF, "nd_spoof", "a neighbour advertisement or solicitation the pod may not send")  \
	X(ND_OTHER, "nd_other", "neighbour discovery for something other than the pod's gateway")  \
	X(ROUTER_MESSAGE, "router_message",                                                        \
	  "a router advertisement or redirect from or to a pod, or a DHCPv6 server message from "  \
	  "one")                                                                                   \
	X(MARTIAN, "martian_source", "a source address that cannot come from there")               \
	X(LOOPBACK, "loopback", "a loopback address on the wire or from a pod")                    \
	X(MULTICAST, "multicast", "multicast and broadcast are not forwarded")                     \
	X(IP_OPTIONS, "ip_source_route",                                                           \
	  "an IPv4 source route or an IPv6 routing header that leads elsewhere")                   \
	X(EXT_HEADERS, "ipv6_extension_headers", "too many or misplaced IPv6 extension headers")   \
	X(FRAGMENT_ORPHAN, "fragment_without_first", "a later fragment whose first was not seen")  \
	X(FRAGMENT_TINY, "fragment_tiny_or_overlapping",                                           \
	  "a fragment that hides or overwrites the transport header")                              \
	X(FRAGMENT_TABLE, "fragment_table_full", "no room to remember a first fragment")           \
	X(POLICY_EGRESS, "policy_denied_egress", "no rule of the source's policies allows it")     \
	X(POLICY_INGRESS, "policy_denied_ingress",                                                 \
	  "no rule of the destination's policies allows it")                                       \
	X(NOT_READY, "pod_not_ready", "the pod's policy is not in the maps yet")                   \
	X(NO_ENDPOINT, "service_without_endpoint",                                                 \
	  "the Service has no endpoint; the sender is told")                                       \
	X(NO_SERVICE_PORT, "service_without_port",                                                 \
	  "the Service has no such port; the sender is told")                                      \
	X(ENDPOINT_GONE, "endpoint_gone",                                                          \
	  "the flow's endpoint left its Service; the sender is told")                              \
	X(SERVICE_FROM_OUTSIDE, "cluster_ip_from_outside",                                         \
	  "a ClusterIP serves pods and nodes only")                                                \
	X(NO_FLOW, "tcp_without_flow",                                                             \
	  "a TCP segment in mid-stream that belongs to no known flow")                             \
	X(FLOW_TABLE_FULL, "flow_table_full", "every place for the flow holds an established one") \
	X(NAT_PORTS, "nat_ports_exhausted", "no free source port for the translation")             \
	X(NAT_PROTOCOL, "nat_unsupported_protocol", "a protocol that cannot be translated")        \
	X(NO_ROUTE, "no_route", "the node has no route to the destination; the sender is told")    \
	X(TTL_EXPIRED, "ttl_expired", "time to live or hop limit used up; the sender is told")     \
	X(TOO_BIG, "packet_too_big", "larger than the way out allows; the sender is told")         \
	X(ICMP_NO_FLOW, "icmp_error_without_flow",                                                 \
	  "an ICMP error about a packet of no known flow")                                         \
	X(UNKNOWN_POD, "no_such_pod",                                                              \
	  "an address of the node's pod range that no pod has; a pod is told")                     \
	X(PORT_COLLISION, "port_collision",                                                        \
	  "a packet of the node has the port of a pod's flow, and cannot have another")            \
	X(REWRITE, "rewrite_failed", "the kernel refused to change the packet")                    \
	X(REJECT_FAILED, "reject_failed", "no answer could be made for the sender")                \
	X(INTERNAL, "internal", "a map that must be there is not")                                 \
	X(POLICY_CAPACITY, "policy_capacity", "the pod's policies do not fit in the maps: closed") \
	X(FLOW_BUSY, "flow_busy",                                                                  \
	  "another CPU kept the flow's entry for too long, or the table is moved")                 \
	X(FLOW_SHARE, "flow_share",                                                                \
	  "the flow table is nearly full and the pod holds more than its share")                   \
	X(NO_PROGRAM, "no_program", "the link's programs are gone; closed until they are back")    \
	X(NO_NODE_ADDRESS, "no_node_address",                                                      \
	  "the node has no address that the source could be translated to; the sender is told")    \
	X(SOURCE_GONE, "source_gone",                                                              \
	  "the node's address that the flow left with is gone; the flow ends")                     \
	X(ROUTE_UNREACHABLE, "route_unreachable",                                                  \
	  "a route of the node makes the destination unreachable; the sender is told")             \
	X(ROUTE_PROHIBITED, "route_prohibited",                                                    \
	  "a route of the node prohibits the destination; the sender is told")                     \
	X(ROUTE_BLACKHOLE, "route_blackhole",                                                      \
	  "a route of the node discards what is sent to the destination; the sender is not told")  \
	X(TUNNEL_PEER, "tunnel_unknown_peer",                                                      \
	  "a packet through the tunnel from an address that is no node's")                         \
	X(PEER_SOURCE, "peer_source",                                                              \
	  "the source address is not behind the node that the packet came from")                   \
	X(TUNNEL_DESTINATION, "tunnel_destination",                                                \
	  "a packet through the tunnel for neither a pod nor an address of this node")             \
	X(NO_LOCAL_ENDPOINT, "service_without_local_endpoint",                                     \
	  "the Service's traffic policy is Local, and its endpoints are on other nodes")           \
	X(SERVICE_SOURCE, "service_source_ranges",                                                 \
	  "the source is in none of the Service's loadBalancerSourceRanges")                       \
	X(SERVICE_NO_FLOW, "service_without_flow",                                                 \
	  "a TCP segment in mid-stream to a Service from outside, of no known flow; the sender "   \
	  "is told")                                                                               \
	X(HANDED_ON, "service_handed_on",                                                          \
	  "a node handed on a packet for a Service that has no endpoint here")

enum polder_reason {
#define X(id, name, text) REASON_##id,
	POLDER_REASONS(X)
#undef X
		REASON_COUNT
};
