/* SPDX-License-Identifier: Apache-2.0 */
/* What to do about each drop reason: for polderctl drop list, and for the table in
 * docs/operations.md, which docs/check --write makes from this list. */
#pragma once

/* X(identifier of datapath/reasons.h, "what to do", as a page of docs/ has it). */
#define POLDER_REMEDIES(X)                                                                         \
	X(SHORT, "Broken sender or driver. A few are noise; many from one pod: look at its "       \
		 "packets with tcpdump inside it.")                                                \
	X(L2_UNKNOWN, "Pods speak IPv4, IPv6 and ARP only. VLANs inside pods are not supported.")  \
	X(NOT_A_POD,                                                                               \
	  "The link has Polder's programs but no record: an ADD that was cut off, or a "           \
	  "map entry removed by hand. Delete the container and start it again.")                   \
	X(SOURCE_MAC, "The pod bridges something behind it, or changed its MAC address a moment "  \
		      "ago: a new one is [taken over](#neighbours-on-the-node) within 5 s, but "   \
		      "never the gateway's. Do not bridge; give the address by CNI (`mac`).")      \
	X(SOURCE_IP,                                                                               \
	  "The pod sends with an address it was not given: an address added by hand, a "           \
	  "router or VPN in the pod. Not supported.")                                              \
	X(ARP_SPOOF, "A pod claims an address that is not its own. Find it by its link in "        \
		     "`polderctl monitor --drops`.")                                               \
	X(ARP_OTHER, "Harmless: a pod looks for a neighbour; it has none but its gateway.")        \
	X(ND_SPOOF, "A pod advertises an address. Harmless when its kernel does so of itself "     \
		    "(unsolicited advertisements); else as arp_spoof.")                            \
	X(ND_OTHER, "Harmless: duplicate address detection, router solicitations.")                \
	X(ROUTER_MESSAGE, "A pod plays router or DHCPv6 server. Find it by its link.")             \
	X(MARTIAN, "From the wire with a pod's, a Service's or this node's own address, or from "  \
		   "a multicast address: a spoofed packet, a routing loop, or a range used "       \
		   "twice.")                                                                       \
	X(LOOPBACK, "127.0.0.0/8 or ::1 outside of a machine: a misconfigured sender, or an "      \
		    "attempt.")                                                                    \
	X(MULTICAST, "Harmless: pods' kernels join groups (MLD). An application that needs "       \
		     "multicast, broadcast or link-local addresses does not work in pods.")        \
	X(IP_OPTIONS, "Nobody needs it. Find the sender.")                                         \
	X(EXT_HEADERS, "More than eight, or in a forbidden order. Find the sender.")               \
	X(FRAGMENT_ORPHAN,                                                                         \
	  "Fragments arrive in the wrong order or the first one was lost. Many: path "             \
	  "MTU trouble; lower the sender's size.")                                                 \
	X(FRAGMENT_TINY, "Evasion, or a broken sender. Find it.")                                  \
	X(FRAGMENT_TABLE,                                                                          \
	  "Many pods send or get fragmented datagrams at once: each has its place in "             \
	  "the set, none is free. Lower the senders' size.")                                       \
	X(POLICY_EGRESS,                                                                           \
	  "What the policies say. `polderctl monitor --drops` names pods and policies; "           \
	  "[`polderctl explain`](explain.md) says why.")                                           \
	X(POLICY_INGRESS, "What the policies of the destination say. `polderctl monitor --drops` " \
			  "names pods and policies; [`polderctl explain`](explain.md) says why.")  \
	X(NOT_READY, "The pod is being connected or taken away. Staying: `polderctl pod list`, "   \
		     "state `waiting`; the log says why.")                                         \
	X(NO_ENDPOINT,                                                                             \
	  "No ready pod behind the Service: `polderctl service list`, readiness of the "           \
	  "pods, the selector.")                                                                   \
	X(NO_SERVICE_PORT, "A client uses a port that the Service has not.")                       \
	X(ENDPOINT_GONE,                                                                           \
	  "Connections to pods that left their Service. Clients connect again; many: "             \
	  "pods end without draining.")                                                            \
	X(SERVICE_FROM_OUTSIDE,                                                                    \
	  "Something outside sends to a ClusterIP: take the route to it away, or it is "           \
	  "a scan.")                                                                               \
	X(NO_FLOW, "Segments of connections that are over or older than this agent's table. A "    \
		   "few after a start are normal. Many: asymmetric routing, or idle longer than "  \
		   "6.4 h: use keep-alives.")                                                      \
	X(FLOW_TABLE_FULL, "Raise `flows-v4`, `flows-v6`. See *Sizes*.")                           \
	X(NAT_PORTS, "Too many connections from pods to one address and port outside: widen "      \
		     "`masquerade-ports`, or use `no-masquerade` with routing.")                   \
	X(NAT_PROTOCOL,                                                                            \
	  "Only TCP, UDP, SCTP and echo can be masqueraded, and translated for Services "          \
	  "TCP, UDP and SCTP. Others need `no-masquerade` and a route back.")                      \
	X(NO_ROUTE, "No route of the table main leads there by an uplink, or the uplink is gone: " \
		    "`polderctl status`, `ip route get ADDRESS` on the node. The pod is told "     \
		    "\"network unreachable\" (IPv6: no route). See [The node\\'s "                 \
		    "network](#the-nodes-network).")                                               \
	X(TTL_EXPIRED, "traceroute, or a routing loop.")                                           \
	X(TOO_BIG, "Path MTU discovery at work, or `pod-mtu` larger than the way. IPv4 packets "   \
		   "without DF are not fragmented here: their sender is told as well, and sends "  \
		   "fragments from then on.")                                                      \
	X(ICMP_NO_FLOW, "ICMP errors about nothing known: late, or forged. Harmless.")             \
	X(UNKNOWN_POD, "Somebody uses the address of a pod that is gone: stale clients, a scan.")  \
	X(PORT_COLLISION,                                                                          \
	  "A process of the node, or a container whose packets the node masquerades, "             \
	  "uses a port of `masquerade-ports` towards the same peer as a pod's flow. Its "          \
	  "new flows get another port ([ports of "                                                 \
	  "others](architecture.md#ports-of-others)); this one is in mid-stream, or no "           \
	  "port is free. Widen `masquerade-ports`, or keep others away from them.")                \
	X(REWRITE, "The kernel refused a change; driver or memory trouble. Look at the kernel's "  \
		   "log.")                                                                         \
	X(REJECT_FAILED,                                                                           \
	  "The kernel had no room for the answer, or refused it: memory trouble. Look at the "     \
	  "kernel's log. The packet was dropped all the same.")                                    \
	X(INTERNAL, "A map entry that must be there is not. `polderctl status`; if it says "       \
		    "nothing, report it with its output.")                                         \
	X(POLICY_CAPACITY,                                                                         \
	  "Raise `max-policy-entries`; `polderctl status` says by how much it does not "           \
	  "fit.")                                                                                  \
	X(FLOW_BUSY,                                                                               \
	  "Nothing, if it is rare, or while polderd starts with other sizes: the sender "          \
	  "tries again. If it goes on for one flow, a writer died: the agent's "                   \
	  "collector repairs the entry within some seconds.")                                      \
	X(FLOW_SHARE, "Others' new flows may take the places of its oldest ones. Look which pod: " \
		      "`polderctl flow list`. Raise `flows-v4`, `flows-v6` if the pod needs that " \
		      "many connections.")                                                         \
	X(NO_PROGRAM,                                                                              \
	  "Somebody removed Polder's programs or pins from the pod's link. They are put "          \
	  "back within 5 s; the log says so. Find out who does it.")                               \
	X(NO_NODE_ADDRESS,                                                                         \
	  "The uplink has no address of the family that others can reach (yet), or no "            \
	  "link has the one of `node-ip`: `polderctl status`.")                                    \
	X(SOURCE_GONE,                                                                             \
	  "Once for each flow after the node's address has gone, or its default route "            \
	  "has moved to another link. Many at other times: an address that comes and "             \
	  "goes.")                                                                                 \
	X(ROUTE_UNREACHABLE,                                                                       \
	  "An `unreachable` route of the node, which holds for its pods too: `ip route "           \
	  "get ADDRESS`. The pod is told \"host unreachable\" (IPv6: no route).")                  \
	X(ROUTE_PROHIBITED,                                                                        \
	  "A `prohibit` route of the node, which holds for its pods too: `ip route get "           \
	  "ADDRESS`. The pod is told \"administratively prohibited\".")                            \
	X(ROUTE_BLACKHOLE,                                                                         \
	  "A `blackhole` route of the node, which holds for its pods too: `ip route get "          \
	  "ADDRESS`. As such routes are meant, the pod hears nothing.")                            \
	X(TUNNEL_PEER, "No Node object has the sender's address as InternalIP, or `tunnel-vni` "   \
		       "differs: `polderctl node list`. If it is no node, somebody sends to the "  \
		       "tunnel's port: a firewall should let nodes alone do so.")                  \
	X(PEER_SOURCE,                                                                             \
	  "The sender's Node has another pod range than its pods have, or it forges: "             \
	  "`polderctl node list` on this node, the pods' addresses on that one. "                  \
	  "Natively: a MAC address that is not that node's (`peer-mac-check`).")                   \
	X(TUNNEL_DESTINATION,                                                                      \
	  "The sender takes this node for the owner of a range that it has not: two "              \
	  "Nodes with one range, or a pod that has just gone. `polderctl node list` "              \
	  "there.")                                                                                \
	X(NO_LOCAL_ENDPOINT,                                                                       \
	  "Clients, or the load balancer before the nodes, ask a node without an "                 \
	  "endpoint: use the health check's port, or traffic policy Cluster.")                     \
	X(SERVICE_SOURCE, "Add the client's range to the Service, or leave it out there.")         \
	X(SERVICE_NO_FLOW,                                                                         \
	  "The connection was another node's before its address moved, or idle for too "           \
	  "long: clients connect again.")                                                          \
	X(HANDED_ON, "With forwarding `dsr`, for a moment after a change of endpoints. If it "     \
		     "stays, the nodes do not know the same ones: `polderctl service list` on "    \
		     "both.")
