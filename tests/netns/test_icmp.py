# SPDX-License-Identifier: Apache-2.0
"""ICMP errors find the socket they belong to, through Services and masquerade; forged ones find none."""

import errno
import socket

from lib import objects, packets
from lib.objects import policy
from lib.runner import each_family
from lib.traffic import (IP_MTU, IP_MTU_DISCOVER, IPV6_MTU, IPV6_MTU_DISCOVER, PMTUDISC_DO, V4, V6,
                         Capture, Connection, UdpClient, pattern, ping, reach, send_frame,
                         wait_until)
from lib.world import FAR_IP, FAR_MTU, OUTSIDE_IP

WORLD = {"nodes": 1}


def setup(world):
    world.a, world.b = world.pod("a"), world.pod("b", labels={"app": "b"})
    for where in (world.a, world.b, world.far, world.node):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")
    # Port 9 of the Service has an endpoint on which nobody listens.
    world.vip = world.service("b", 1, [objects.service_port(80, 8080, name="tcp"),
                                       objects.service_port(9, 999, "UDP", name="closed")],
                              {"app": "b"})
    world.far_vip = world.service("far", 2, [objects.service_port(80, 8080, name="tcp"),
                                             objects.service_port(53, 5353, "UDP", name="udp")])
    for family in (V4, V6):
        world.resources.put(f"slice-far-{family}", objects.endpoint_slice(
            f"far-{family}", "far", [objects.endpoint(FAR_IP[family])],
            [objects.slice_port(8080, name="tcp"), objects.slice_port(5353, "UDP", "udp")]))
        wait_until(lambda f=family: reach(world.a, world.far_vip[f], 80,
                                          timeout=0.3).verdict == "open",
                   "the Service of the far host")


def path_mtu(sock, family):
    return sock.getsockopt(*((socket.IPPROTO_IP, IP_MTU) if family == V4
                             else (socket.IPPROTO_IPV6, IPV6_MTU)))


def strict(client):
    """Nothing larger than the path's MTU is sent, nothing is fragmented."""
    level, option = ((socket.IPPROTO_IP, IP_MTU_DISCOVER) if client.family == V4
                     else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER))
    client.sock.setsockopt(level, option, PMTUDISC_DO)
    client.watch_errors()


def set_ttl(client, ttl):
    level, option = ((socket.IPPROTO_IP, socket.IP_TTL) if client.family == V4
                     else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS))
    client.sock.setsockopt(level, option, ttl)
    client.watch_errors()


def flush_path_mtu(world):
    for netns in (world.a.netns, world.b.netns, world.node.netns):
        for family in ("-4", "-6"):
            netns.run("ip", family, "route", "flush", "cache")


@each_family
def test_port_unreachable_from_an_endpoint_names_the_service(world, family):
    with UdpClient(world.a, world.vip[family], 9) as client:
        client.watch_errors()
        client.send()
        number, _, _, _, offender, target = client.error()
        assert number == errno.ECONNREFUSED and target == (world.vip[family], 9), (number, target)
        assert offender in (world.vip[family], world.b.ips[family]), offender
    assert reach(world.a, world.vip[family], 9, "UDP").verdict == "refused"


@each_family
def test_port_unreachable_comes_back_through_masquerade(world, family):
    with UdpClient(world.a, FAR_IP[family], 999) as client:
        client.watch_errors()
        client.send()
        number, _, _, _, offender, target = client.error()
        assert (number, offender, target) == (errno.ECONNREFUSED, FAR_IP[family],
                                              (FAR_IP[family], 999)), (number, offender, target)


@each_family
def test_port_unreachable_between_pods_and_node(world, family):
    for source, address in ((world.a, world.b.ips[family]), (world.a, world.node.ips[family]),
                            (world.node, world.b.ips[family]), (world.far, world.b.ips[family])):
        probe = reach(source, address, 999, "UDP")
        assert probe.verdict == "refused", f"{source} to {address}: {probe.verdict}"


@each_family
def test_path_mtu_is_found_through_masquerade(world, family):
    flush_path_mtu(world)
    with UdpClient(world.a, FAR_IP[family], 5353, connect=True) as client:
        strict(client)
        client.send(pattern(1400))
        number, _, _, info, offender, target = client.error()
        assert number == errno.EMSGSIZE and info == FAR_MTU, (number, info)
        assert target == (FAR_IP[family],
                          5353) and offender == OUTSIDE_IP[family], (target, offender)
        assert path_mtu(client.sock, family) == FAR_MTU
        assert client.ask(data=pattern(1200))["length"] == 1200


@each_family
def test_path_mtu_is_found_through_a_service(world, family):
    flush_path_mtu(world)
    with UdpClient(world.a, world.far_vip[family], 53, connect=True) as client:
        strict(client)
        client.send(pattern(1400))
        number, _, _, info, _, target = client.error()
        assert number == errno.EMSGSIZE and info == FAR_MTU, (number, info)
        assert target == (world.far_vip[family], 53), target
        assert path_mtu(client.sock, family) == FAR_MTU
        assert client.ask(data=pattern(1200))["length"] == 1200


@each_family
def test_tcp_finds_the_path_mtu_on_every_way(world, family):
    for source, address, port in ((world.a, FAR_IP[family], 8080),
                                  (world.a, world.far_vip[family], 80),
                                  (world.node, FAR_IP[family], 8080)):
        flush_path_mtu(world)
        with Connection(source, address, port) as connection:
            assert connection.push(400_000), f"{source} to {address}: damaged"
            assert path_mtu(connection.sock, family) == FAR_MTU, \
                f"{source} to {address}: MTU {path_mtu(connection.sock, family)}"
    flush_path_mtu(world)
    with Connection(world.far, world.a.ips[family], 8080) as connection:
        assert connection.fetch(400_000), "a pod that answers the far host"


@each_family
def test_path_of_a_pod_can_be_traced(world, family):
    """The node answers for the first hop, the router for the second, then the host itself."""
    tellers = {}
    for ttl in (1, 2, 3, 4):
        with UdpClient(world.a, FAR_IP[family], 999) as client:
            set_ttl(client, ttl)
            client.send()
            number, kind, _, _, offender, target = client.error()
            assert target == (FAR_IP[family], 999)
            tellers[ttl] = offender
            if number == errno.ECONNREFUSED:
                break
            assert kind == (11 if family == V4 else 3), f"type {kind} from {offender}"
    assert list(tellers.values())[-1] == FAR_IP[family], tellers
    assert OUTSIDE_IP[family] in tellers.values(), tellers
    if tellers[1] != OUTSIDE_IP[family]:
        assert tellers[1] in (world.node.ips[family], "169.254.1.1", "fe80::1"), tellers


@each_family
def test_time_exceeded_comes_back_through_a_service(world, family):
    with UdpClient(world.a, world.far_vip[family], 53) as client:
        set_ttl(client, 2)
        client.send()
        number, _, _, _, offender, target = client.error()
        assert number == errno.EHOSTUNREACH and target == (world.far_vip[family],
                                                           53), (number, target)
        assert offender == OUTSIDE_IP[family], offender


@each_family
def test_errors_of_an_allowed_flow_pass_a_policy_that_lets_nothing_in(world, family):
    world.policies(policy("in", {}, policyTypes=["Ingress"]))
    world.expect((world.b, world.a.ips[family], 8080, "timeout"))
    flush_path_mtu(world)
    assert reach(world.a, FAR_IP[family], 999, "UDP").verdict == "refused"
    with Connection(world.a, FAR_IP[family], 8080) as connection:
        assert connection.push(300_000)


def icmp_error(family, source, destination, kind, code, info, quoted):
    rest = info + quoted
    if family == V4:
        return packets.ipv4(source, destination, packets.ICMP, packets.icmp4(kind, code, rest))
    return packets.ipv6(source, destination, packets.ICMP6,
                        packets.icmp6(source, destination, kind, code, rest))


@each_family
def test_error_about_no_known_flow_is_dropped(world, family):
    source, pod = OUTSIDE_IP[family], world.a.ips[family]
    quoted = packets.ip(pod, FAR_IP[family], packets.UDP,
                        packets.udp(pod, FAR_IP[family], 40404, 53, b"never sent"))
    kind, code = (3, 3) if family == V4 else (1, 4)
    packet = icmp_error(family, source, pod, kind, code, b"\0\0\0\0", quoted)
    made = packets.ethernet(world.node.netns.mac(), world.outside.mac(),
                            packets.ethertype_of(packet), packet)
    with Capture(world.a.netns) as capture, \
            world.node.agent.dropping("icmp_error_without_flow", 3):
        send_frame(world.outside, made, count=3)
        capture.none(lambda p: p.source == source, 0.1)


@each_family
def test_error_forged_by_another_pod_reaches_nobody(world, family):
    """It quotes a flow of its victim, but the sender is no party to it and no router."""
    thief = world.pod("thief")
    with Connection(world.a, world.b.ips[family], 8080) as flow:
        flow.ask()
        port = flow.sock.getsockname()[1]
        a, b = world.a.ips[family], world.b.ips[family]
        quoted = packets.ip(a, b, packets.TCP, packets.tcp(a, b, port, 8080, packets.ACK))
        kind, code = (3, 3) if family == V4 else (1, 4)
        packet = icmp_error(family, thief.ips[family], a, kind, code, b"\0\0\0\0", quoted)
        with Capture(world.a.netns) as capture, world.node.agent.dropping("icmp_error_without_flow", 3):
            send_frame(thief, packets.ethernet(thief.gateway_mac(), thief.mac,
                                               packets.ethertype_of(packet), packet), count=3)
            capture.none(lambda p: p.source == thief.ips[family])
        flow.ask()


@each_family
def test_error_cut_off_within_the_quoted_packet_is_dropped(world, family):
    kind, code = (3, 4) if family == V4 else (2, 0)
    for length in (0, 4, 19, 24, 40, 44):
        quoted = packets.ip(world.a.ips[family], FAR_IP[family], packets.UDP, packets.udp(
            world.a.ips[family], FAR_IP[family], 1, 2, b""))
        reason = "short_packet" if length < len(quoted) else "icmp_error_without_flow"
        quoted = quoted[:length]
        packet = icmp_error(family, OUTSIDE_IP[family], world.a.ips[family], kind, code,
                            b"\0\0\x02\0", quoted)
        with Capture(world.a.netns) as capture, world.node.agent.dropping(reason):
            send_frame(world.outside, packets.ethernet(
                world.node.netns.mac(), world.outside.mac(), packets.ethertype_of(packet), packet))
            capture.none(lambda p: p.source == OUTSIDE_IP[family] and p.kind == kind, 0.05)
    assert ping(world.a, OUTSIDE_IP[family]) == "open"


@each_family
def test_echo_reply_without_a_request_is_dropped(world, family):
    source, target = OUTSIDE_IP[family], world.a.ips[family]
    world.policies(policy("in", {}, policyTypes=["Ingress"]))
    world.expect((world.b, world.a.ips[family], 8080, "timeout"))
    rest = b"\x12\x34\0\x01unasked"
    packet = packets.ipv4(source, target, packets.ICMP, packets.icmp4(0, 0, rest)) if family == V4 \
        else packets.ipv6(source, target, packets.ICMP6,
                          packets.icmp6(source, target, 129, 0, rest))
    with Capture(world.a.netns) as capture, world.node.agent.dropping("policy_denied_ingress", 3):
        send_frame(world.outside, packets.ethernet(
            world.node.netns.mac(), world.outside.mac(), packets.ethertype_of(packet), packet),
            count=3)
        capture.none(lambda p: p.source == source)


def test_messages_of_the_link_reach_no_pod_from_outside(world):
    """ICMPv6 130 to 143 belong to one link: none is forwarded, whatever the node's stack would do."""
    source, target = OUTSIDE_IP[V6], world.a.ips[V6]
    world.policies(policy("in", {}, policyTypes=["Ingress"]))
    world.expect((world.b, target, 8080, "timeout"))
    forwarding = world.node.netns.sysctl_get("net/ipv6/conf/all/forwarding")
    world.node.netns.sysctl(**{"net/ipv6/conf/all/forwarding": 1})
    try:
        with Capture(world.a.netns) as capture, world.node.agent.dropping("router_message", 2), \
                world.node.agent.dropping("nd_other", 7):
            for kind in (130, 133, 134, 135, 136, 137, 139, 140, 143):
                packet = packets.ipv6(source, target, packets.ICMP6, packets.icmp6(
                    source, target, kind, 0, bytes(4) + packets.address_bytes(target)), hop_limit=255)
                send_frame(world.outside, packets.ethernet(
                    world.node.netns.mac(), world.outside.mac(), packets.ETH_IP6, packet))
            capture.none(lambda p: p.source == source)
    finally:
        world.node.netns.sysctl(**{"net/ipv6/conf/all/forwarding": forwarding})
        world.node.netns.ip(f"route replace default via {OUTSIDE_IP[V6]}")
