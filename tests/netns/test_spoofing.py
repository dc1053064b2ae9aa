# SPDX-License-Identifier: Apache-2.0
"""Frames that a pod or the wire may not send: none is forwarded, each is counted under its reason."""

import struct

from lib import objects, packets
from lib.objects import labels
from lib.policies import ingress
from lib.runner import each_family
from lib.traffic import CLOSED_AFTER, Capture, Connection, ping, reach, send_frame, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 1}
MARK = b"forged by a pod"
STRANGER_MAC = "02:00:00:00:00:99"
GATEWAY = {4: "169.254.1.1", 6: "fe80::1"}
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
COUNT = 3


def setup(world):
    world.a, world.b = world.pod("a"), world.pod("b", labels={"app": "b"})
    for where in (world.a, world.b, world.node, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")


def datagram(source, destination, dport=5353, data=MARK, **options):
    return packets.ip(source, destination, packets.UDP,
                      packets.udp(source, destination, 4444, dport, data), **options)


def frame(pod, packet, source_mac=None, target_mac=None, ethertype=None):
    return packets.ethernet(target_mac or pod.gateway_mac(), source_mac or pod.mac,
                            ethertype or packets.ethertype_of(packet), packet)


class Nowhere:
    """Within the block nothing that bears the mark reaches pod b, the outside, or a server of the node."""

    def __init__(self, world, mark=MARK):
        self.world, self.mark = world, mark

    def __enter__(self):
        self.captures = [Capture(self.world.b.netns), Capture(self.world.outside)]
        self.seen = [len(s.seen) for s in self.world.servers]
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for capture in self.captures:
                    capture.none(lambda p: self.mark in p.frame, 0.1)
                now = [len(s.seen) for s in self.world.servers]
                assert now == self.seen, "a server was asked"
        finally:
            for capture in self.captures:
                capture.close()


def dropped(world, made, reason, sender=None):
    """Sends the frame a few times: each is counted under the reason and none arrives."""
    with Nowhere(world), world.node.agent.dropping(reason, COUNT):
        send_frame(sender or world.a, made, count=COUNT)


def targets(world, family):
    return world.b.ips[family], world.node.ips[family], OUTSIDE_IP[family], WORLD_IP[family]


@each_family
def test_well_formed_frame_of_the_same_make_arrives(world, family):
    """So that the others fail for the reason they say."""
    with Capture(world.b.netns) as capture:
        send_frame(world.a, frame(world.a, datagram(world.a.ips[family], world.b.ips[family])))
        capture.wait(lambda p: p.payload == MARK, "the datagram")


@each_family
def test_source_address_of_another_is_dropped(world, family):
    forged = [world.b.ips[family], world.node.ips[family], OUTSIDE_IP[family], WORLD_IP[family],
              "10.244.4.250" if family == 4 else "fd44:0:0:1::fafa", GATEWAY[family]]
    for source in forged:
        for target in targets(world, family):
            if source != target:
                dropped(world, frame(world.a, datagram(source, target)), "source_ip")


@each_family
def test_unspecified_source_address_is_dropped(world, family):
    nothing = "0.0.0.0" if family == 4 else "::"
    with Nowhere(world):
        before = world.node.agent.drops()
        for target in targets(world, family):
            send_frame(world.a, frame(world.a, datagram(nothing, target)))
        wait_until(lambda: world.node.agent.drops() >= before + 4, "4 drops")


@each_family
def test_loopback_source_is_dropped(world, family):
    loopback = "127.0.0.1" if family == 4 else "::1"
    with Nowhere(world):
        before = world.node.agent.drops()
        for target in targets(world, family):
            send_frame(world.a, frame(world.a, datagram(loopback, target)))
        wait_until(lambda: world.node.agent.drops() >= before + 4, "4 drops")


@each_family
def test_source_mac_of_another_is_dropped(world, family):
    for mac in (world.b.mac, STRANGER_MAC, world.node.netns.mac()):
        packet = datagram(world.a.ips[family], world.b.ips[family])
        dropped(world, frame(world.a, packet, source_mac=mac), "source_mac")


@each_family
def test_other_family_source_trick_is_dropped(world, family):
    """An address of one family mapped into the other, or the length of one under the ethertype of the other."""
    packet = datagram(world.a.ips[family], world.b.ips[family])
    wrong = packets.ETH_IP6 if family == 4 else packets.ETH_IP4
    before = world.node.agent.drops()
    with Nowhere(world):
        send_frame(world.a, frame(world.a, packet, ethertype=wrong))
        if family == 6:
            mapped = datagram("::ffff:" + world.a.ips[4], world.b.ips[6])
            send_frame(world.a, frame(world.a, mapped))
            mapped = datagram(world.a.ips[6], "::ffff:" + world.b.ips[4])
            send_frame(world.a, frame(world.a, mapped))
        wait_until(lambda: world.node.agent.drops() >= before + (1 if family == 4 else 3),
                   "the drops")


@each_family
def test_loopback_destination_is_dropped(world, family):
    targets_of = ("127.0.0.1", "127.1.2.3") if family == 4 else ("::1",)
    world.serve(world.node, 5354, "UDP", [family], address=targets_of[0])
    for target in targets_of:
        packet = datagram(world.a.ips[family], target, 5354)
        dropped(world, frame(world.a, packet), "loopback")


@each_family
def test_multicast_and_broadcast_are_not_forwarded(world, family):
    many = (("224.0.0.251", "01:00:5e:00:00:fb"), ("255.255.255.255", BROADCAST_MAC)) \
        if family == 4 else (("ff02::fb", "33:33:00:00:00:fb"), ("ff05::2", "33:33:00:00:00:02"))
    for address, mac in many:
        packet = datagram(world.a.ips[family], address)
        dropped(world, frame(world.a, packet, target_mac=mac), "multicast")


def test_arp_in_the_name_of_another_is_dropped(world):
    a, b = world.a, world.b
    for operation in (1, 2):
        for mac, address in ((a.mac, b.ips[4]), (a.mac, GATEWAY[4]), (a.mac, world.node.ips[4]),
                             (STRANGER_MAC, a.ips[4])):
            made = packets.arp(operation, mac, address, "00:00:00:00:00:00", GATEWAY[4])
            dropped(world, packets.ethernet(BROADCAST_MAC, a.mac, packets.ETH_ARP, made),
                    "arp_spoof")


def test_arp_for_others_is_not_answered(world):
    a = world.a
    for target in (world.b.ips[4], world.node.ips[4], OUTSIDE_IP[4]):
        made = packets.arp(1, a.mac, a.ips[4], "00:00:00:00:00:00", target)
        with Capture(a.netns) as capture:
            dropped(world, packets.ethernet(BROADCAST_MAC, a.mac, packets.ETH_ARP, made),
                    "arp_other")
            capture.none(lambda p: p.ethertype == packets.ETH_ARP, 0.1)


def test_forged_arp_leaves_the_nodes_neighbours_as_they_were(world):
    before = world.node.netns.ip_json("neigh", "show", world.b.ips[4])
    for operation in (1, 2):
        made = packets.arp(operation, world.a.mac, world.b.ips[4], BROADCAST_MAC, world.b.ips[4])
        dropped(world, packets.ethernet(BROADCAST_MAC, world.a.mac, packets.ETH_ARP, made),
                "arp_spoof")
    after = world.node.netns.ip_json("neigh", "show", world.b.ips[4])
    assert [n.get("lladdr") for n in before] == [n.get("lladdr") for n in after]
    assert ping(world.node, world.b.ips[4]) == "open"


def test_neighbour_advertisement_for_another_is_dropped(world):
    a = world.a
    for target in (world.b.ips[6], GATEWAY[6], world.node.ips[6]):
        for source in (a.ips[6],):
            made = packets.neighbour_advertisement(source, ALL_NODES, target, a.mac)
            dropped(world, frame(a, made, target_mac=ALL_NODES_MAC), "nd_spoof")
    made = packets.neighbour_advertisement(a.ips[6], ALL_NODES, a.ips[6], STRANGER_MAC)
    dropped(world, frame(a, made, target_mac=ALL_NODES_MAC), "nd_spoof")


def test_neighbour_solicitation_for_others_is_dropped(world):
    a = world.a
    for target in (world.b.ips[6], world.node.ips[6]):
        group = "ff02::1:ff" + target_suffix(target)
        mac = "33:33:ff:" + packets.address_bytes(target)[13:].hex(":")
        made = packets.neighbour_solicitation(a.ips[6], group, target, a.mac)
        dropped(world, frame(a, made, target_mac=mac), "nd_other")


def target_suffix(address):
    tail = packets.address_bytes(address)[13:].hex()
    return f"{tail[:2]}:{tail[2:]}"


def test_router_messages_from_a_pod_are_dropped(world):
    a = world.a
    link_local = link_local_address(a)
    for source in (link_local, a.ips[6], GATEWAY[6]):
        made = packets.router_advertisement(source, ALL_NODES, a.mac)
        with Nowhere(world, b"\xfd\xba\0\x0d"):
            before = world.node.agent.drops()
            send_frame(a, frame(a, made, target_mac=ALL_NODES_MAC), count=COUNT)
            wait_until(lambda: world.node.agent.drops() >= before + COUNT, "drops")
    made = packets.router_advertisement(link_local, ALL_NODES, a.mac)
    with world.node.agent.dropping("router_message", COUNT):
        send_frame(a, frame(a, made, target_mac=ALL_NODES_MAC), count=COUNT)
    routes = world.node.netns.ip_json("-6", "route", "show")
    assert not any("fdba:d" in route["dst"] for route in routes), routes


def link_local_address(pod):
    return next(a["local"] for link in pod.netns.ip_json("addr", "show", "dev", "eth0")
                for a in link["addr_info"] if a["scope"] == "link" and a["family"] == "inet6")


def test_icmp_redirects_from_a_pod_are_dropped(world):
    a = world.a
    for target in (world.node.ips[4], world.b.ips[4], OUTSIDE_IP[4]):
        quoted = datagram(target, WORLD_IP[4])[:28]
        redirect = packets.icmp4(5, 1, packets.address_bytes(a.ips[4]) + quoted + MARK)
        packet = packets.ipv4(a.ips[4], target, packets.ICMP, redirect)
        dropped(world, frame(a, packet), "router_message")


def test_redirects_and_dhcp_server_messages_from_a_pod_are_dropped(world):
    a, b = world.a, world.b
    link_local = link_local_address(a)
    redirect = packets.icmp6(link_local, b.ips[6], 137, 0,
                             b"\0\0\0\0" + packets.address_bytes(GATEWAY[6])
                             + packets.address_bytes(OUTSIDE_IP[6]))
    dropped(world, frame(a, packets.ipv6(link_local, b.ips[6], packets.ICMP6, redirect,
                                         hop_limit=255)), "router_message")
    server = packets.udp(a.ips[6], b.ips[6], 547, 546, MARK)
    dropped(world, frame(a, packets.ipv6(a.ips[6], b.ips[6], packets.UDP, server)),
            "router_message")


@each_family
def test_vlan_tagged_frames_are_dropped(world, family):
    packet = datagram(world.a.ips[family], world.b.ips[family])
    for tag in (0, 5):
        inner = packets.vlan(tag, packets.ethertype_of(packet), packet)
        dropped(world, frame(world.a, inner, ethertype=packets.ETH_VLAN), "unknown_ethertype")
    inner = packets.vlan(1, packets.ETH_VLAN, packets.vlan(2, packets.ethertype_of(packet), packet))
    dropped(world, frame(world.a, inner, ethertype=0x88A8), "unknown_ethertype")


@each_family
def test_priority_tagged_frames_from_the_wire_are_of_this_network(world, family):
    """VLAN 0 carries a priority only: the kernel takes the tag off, and the checks hold as for a frame without one."""
    def tagged(packet, tag):
        inner = packets.vlan(tag, packets.ethertype_of(packet), packet)
        return packets.ethernet(world.node.netns.mac(), world.outside.mac(), packets.ETH_VLAN, inner)

    forged = datagram(world.a.ips[family], world.node.ips[family])
    for tag in (0, 3 << 13):
        with world.node.agent.dropping("martian_source", COUNT):
            send_frame(world.outside, tagged(forged, tag), count=COUNT)
    with Capture(world.b.netns) as capture:
        send_frame(world.outside, tagged(datagram(OUTSIDE_IP[family], world.b.ips[family]), 0))
        capture.wait(lambda p: p.payload == MARK, "the datagram with a priority tag")


def test_icmp_redirects_from_the_wire_reach_no_pod(world):
    quoted = datagram(world.b.ips[4], OUTSIDE_IP[4])[:28]
    redirect = packets.icmp4(5, 1, packets.address_bytes(OUTSIDE_IP[4]) + quoted + MARK)
    for source in (OUTSIDE_IP[4], GATEWAY[4]):
        from_wire(world, packets.ipv4(source, world.b.ips[4], packets.ICMP, redirect), "router_message")


def test_unknown_ethertypes_are_dropped(world):
    for ethertype in (0x88CC, 0x8864, 0x8847, 0x0006):
        dropped(world, frame(world.a, MARK * 4, ethertype=ethertype), "unknown_ethertype")


@each_family
def test_packet_in_a_packet_is_not_unwrapped(world, family):
    a, b = world.a, world.b
    inner = datagram(WORLD_IP[family], b.ips[family])
    proto = 4 if family == 4 else 41
    wrapped = packets.ip(a.ips[family], world.node.ips[family], proto, inner)
    with Nowhere(world):
        send_frame(a, frame(a, wrapped), count=COUNT)
    gre = packets.ip(a.ips[family], world.node.ips[family], packets.GRE,
                     struct.pack("!HH", 0, packets.ethertype_of(inner)) + inner)
    with Nowhere(world):
        send_frame(a, frame(a, gre), count=COUNT)


@each_family
def test_cut_off_packets_are_dropped(world, family):
    whole = datagram(world.a.ips[family], world.b.ips[family])
    header = 20 if family == 4 else 40
    for length in (1, header - 1, header, header + 4, header + 7):
        with Nowhere(world), world.node.agent.dropping("short_packet"):
            send_frame(world.a, frame(world.a, whole[:length],
                                      ethertype=packets.ethertype_of(whole)))


def test_source_routed_packets_are_dropped(world):
    a, b = world.a, world.b
    for option in (131, 137):  # loose, strict
        options = bytes([option, 7, 4]) + packets.address_bytes(OUTSIDE_IP[4]) + b"\0"
        packet = packets.ipv4(a.ips[4], b.ips[4], packets.UDP,
                              packets.udp(a.ips[4], b.ips[4], 1, 5353, MARK), options=options)
        dropped(world, frame(a, packet), "ip_source_route")


def test_type_0_routing_header_is_dropped(world):
    a, b = world.a, world.b
    routing = bytes([packets.UDP, 2, 0, 1, 0, 0, 0, 0]) + packets.address_bytes(OUTSIDE_IP[6])
    packet = packets.ipv6(a.ips[6], b.ips[6], 43,
                          routing + packets.udp(a.ips[6], b.ips[6], 1, 5353, MARK))
    dropped(world, frame(a, packet), "ip_source_route")


def from_wire(world, packet, reason, count=COUNT):
    made = packets.ethernet(world.node.netns.mac(), world.outside.mac(),
                            packets.ethertype_of(packet), packet)
    with Capture(world.b.netns) as capture:
        seen = [len(s.seen) for s in world.servers]
        with world.node.agent.dropping(reason, count):
            send_frame(world.outside, made, count=count)
        capture.none(lambda p: MARK in p.frame, 0.1)
        assert seen == [len(s.seen) for s in world.servers], "a server was asked"


@each_family
def test_own_pod_range_as_source_from_the_wire_is_dropped(world, family):
    for source in (world.a.ips[family], "10.244.5.99" if family == 4 else "fd44:0:0:1::99"):
        for target in (world.b.ips[family], world.node.ips[family]):
            from_wire(world, datagram(source, target), "martian_source")


@each_family
def test_nodes_own_address_as_source_from_the_wire_reaches_no_pod(world, family):
    packet = datagram(world.node.ips[family], world.b.ips[family])
    from_wire(world, packet, "martian_source")


STRANGER_IP = {4: "192.168.77.2", 6: "fd77:77::2"}


@each_family
def test_address_of_a_pod_by_a_link_that_is_no_uplink_is_dropped(world, family):
    """The node forwards for a network behind another link: what comes from there is no pod, and not the node."""
    node, stranger = world.node.netns, world._namespace("stranger")
    forwarding = "net/ipv4/ip_forward" if family == 4 else "net/ipv6/conf/all/forwarding"
    before = node.sysctl_get(forwarding)
    own = STRANGER_IP[family]
    length, flags = ("/24", "") if family == 4 else ("/64", " nodad")
    try:
        stranger.ip(f"link add eth0 type veth peer eth1 netns {node.name}",
                    f"addr add {own}{length} dev eth0{flags}", "link set eth0 up")
        node.ip(f"addr add {own[:-1]}1{length} dev eth1{flags}", "link set eth1 up")
        node.sysctl(**{forwarding: 1})
        if family == 4:
            node.sysctl(**{"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/eth1/rp_filter": 0})

        # Before Polder's own rules, which would refuse it first.
        node.run("ip", f"-{family}", "rule", "add", "iif", "eth1", "lookup", "main", "pref", "0")

        def send(source):
            packet = datagram(source, world.b.ips[family])
            send_frame(stranger, packets.ethernet(node.mac("eth1"), stranger.mac(),
                                                  packets.ethertype_of(packet), packet), count=COUNT)

        with Capture(world.b.netns) as capture:
            with world.node.agent.dropping("martian_source", COUNT):
                send(world.a.ips[family])
            if family == 6:
                # The kernel itself drops its own IPv4 address as a source. Of IPv6 it may be the node's masquerade: no right of the node's.
                world.policies(ingress("shut", labels(app="b"), "default"))
                world.expect((world.a, world.b.ips[6], 8080, "timeout"))
                with world.node.agent.dropping("policy_denied_ingress", COUNT):
                    send(world.node.ips[family])
                world.policies()
            capture.none(lambda p: MARK in p.frame, 0.1)
            send(own)
            capture.wait(lambda p: p.payload == MARK, "the stranger's own datagram")
    finally:
        node.sysctl(**{forwarding: before})
        node.run("ip", f"-{family}", "rule", "del", "iif", "eth1", "pref", "0", check=False)
        node.run("ip", "link", "del", "eth1", check=False)  # a namespace's links go some time after it
        stranger.delete()


@each_family
def test_loopback_addresses_from_the_wire_are_dropped(world, family):
    loopback = "127.0.0.1" if family == 4 else "::1"
    for source, target in ((loopback, world.b.ips[family]), (loopback, world.node.ips[family]),
                           (OUTSIDE_IP[family], loopback)):
        from_wire(world, datagram(source, target), "loopback")


@each_family
def test_spoofing_disturbs_no_running_flow(world, family):
    with Connection(world.b, OUTSIDE_IP[family], 8080) as flow:
        flow.ask()
        own_port = flow.sock.getsockname()[1]
        source, target = world.b.ips[family], OUTSIDE_IP[family]
        reset = packets.ip(source, target, packets.TCP,
                           packets.tcp(source, target, own_port, 8080, packets.RST))
        with world.node.agent.dropping("source_ip"):
            send_frame(world.a, frame(world.a, reset))
        flow.ask()
        assert flow.fetch(100_000)


def test_host_side_is_closed_to_router_advertisements_and_loopback_routing(world):
    link = world.a.host_link
    assert world.node.netns.sysctl_get(f"net/ipv6/conf/{link}/accept_ra") == "0"
    assert world.node.netns.sysctl_get(f"net/ipv4/conf/{link}/route_localnet") == "0"
    assert world.node.netns.sysctl_get(f"net/ipv4/conf/{link}/accept_redirects") == "0"


@each_family
def test_pod_that_changes_its_own_address_gets_nowhere(world, family):
    """NET_ADMIN inside its namespace gets a pod around nothing."""
    rogue = world.pod("rogue")
    stolen = world.b.ips[family]
    length = 32 if family == 4 else 128
    rogue.netns.ip(f"addr add {stolen}/{length} dev eth0" + (" nodad" if family == 6 else ""))
    probe = reach(rogue, OUTSIDE_IP[family], 8080, timeout=0.3, source=stolen)
    assert probe.verdict != "open", "with the address of another pod"
    assert reach(world.node, stolen, 8080).answer["server"] == "b"
    assert reach(rogue, OUTSIDE_IP[family], 8080, source=rogue.ips[family]).verdict == "open"


@each_family
def test_pod_that_takes_the_mac_address_of_the_gateway_gets_nowhere(world, family):
    """Frames under it could not be told from Polder's own; any other address of its interface is taken over (chained)."""
    rogue = world.pod("rogue")
    rogue.netns.ip(f"link set eth0 address {rogue.gateway_mac()}")
    assert reach(rogue, OUTSIDE_IP[family], 8080, timeout=CLOSED_AFTER).verdict != "open"
    rogue.netns.ip(f"link set eth0 address {rogue.mac}")
    wait_until(lambda: reach(rogue, OUTSIDE_IP[family], 8080).verdict == "open", "its own address serves again")


def test_cluster_addresses_cannot_be_hijacked_by_a_neighbour_entry(world):
    world.resources.put("service-s",
                        objects.service("s", ["10.96.7.7"], [objects.service_port(80)]))
    made = packets.arp(2, world.a.mac, "10.96.7.7", BROADCAST_MAC, "10.96.7.7")
    dropped(world, packets.ethernet(BROADCAST_MAC, world.a.mac, packets.ETH_ARP, made), "arp_spoof")
