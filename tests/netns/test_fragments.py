# SPDX-License-Identifier: Apache-2.0
"""Fragments and extension headers: whole datagrams arrive, tricks do not, policy holds for every piece."""

import os
import struct

from lib import objects, packets
from lib.objects import labels, policy
from lib.runner import each_family
from lib.traffic import PATIENCE, Capture, UdpClient, md5, pattern, ping, reach, send_frame, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}
TCP, UDP = packets.TCP, packets.UDP


def setup(world):
    world.n1, world.n2 = world.nodes
    world.a, world.b = world.pod("a"), world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", node=world.n2)
    world.udp = {}
    for where in (world.a, world.b, world.c, world.n1, world.outside):
        servers = world.serve(where, 5353, "UDP")
        world.udp[where] = {s.family: s for s in reversed(servers)}
        world.serve(where, 8080)
    world.vip = world.service("b", 1, [objects.service_port(53, 5353, "UDP")], {"app": "b"})


def pieces(source, destination, proto, payload, cuts, ident=None):
    """The packets of one datagram, cut at these offsets (multiples of 8)."""
    ident = ident or struct.unpack("!H", os.urandom(2))[0] | 1
    edges = [0, *cuts, len(payload)]
    made = []
    for start, end in zip(edges, edges[1:]):
        more = end != len(payload)
        made.append(piece(source, destination, proto, payload[start:end], ident, start, more))
    return made


def piece(source, destination, proto, part, ident, offset, more):
    if packets.is_v6(source):
        return packets.ipv6(source, destination, 44,
                            packets.ipv6_fragment(proto, part, ident, offset, more))
    return packets.ipv4(source, destination, proto, part, ident=ident, flags=1 if more else 0,
                        offset=offset)


def send(pod, *made):
    for packet in made:
        send_frame(pod, packets.ethernet(pod.gateway_mac(), pod.mac, packets.ethertype_of(packet),
                                         packet))


def new_port():
    return 20000 + struct.unpack("!H", os.urandom(2))[0] % 30000


def arrives(world, target, family, source, sport, timeout=PATIENCE):
    """The server of the target has got a whole datagram from there."""
    seen = world.udp[target][family].seen
    wait_until(lambda: (source, sport) in seen, f"{target} gets the datagram", timeout)


def arrives_not(world, target, family, source, sport):
    try:
        arrives(world, target, family, source, sport, 0.3)
    except Exception:
        return
    raise AssertionError(f"{target} got the datagram")


@each_family
def test_datagram_of_64_kilobytes_arrives_whole_on_every_path(world, family):
    data = pattern(60000)
    for source, address, port in ((world.a, world.b.ips[family], 5353),
                                  (world.a, world.c.ips[family], 5353),
                                  (world.a, world.vip[family], 53),
                                  (world.a, OUTSIDE_IP[family], 5353),
                                  (world.a, world.n1.ips[family], 5353),
                                  (world.n1, world.b.ips[family], 5353),
                                  (world.n1, world.vip[family], 53),
                                  (world.outside, world.b.ips[family], 5353)):
        with UdpClient(source, address, port) as client:
            client.watch_errors()
            for _ in range(2):
                answer = client.ask(data=data)
                assert (answer["length"], answer["md5"]) == (len(data), md5(data)), \
                    f"{source} to {address}: damaged"
                client.send(b"send 50000")
                answer, _ = client.receive()
                assert answer == pattern(50000), f"{address} to {source}: damaged"


@each_family
def test_fragments_in_order_arrive(world, family):
    source, target, port = world.a.ips[family], world.b.ips[family], new_port()
    payload = packets.udp(source, target, port, 5353, pattern(4000))
    send(world.a, *pieces(source, target, UDP, payload, [1400, 2800]))
    arrives(world, world.b, family, source, port)


@each_family
def test_fragments_through_the_service_arrive_at_one_endpoint(world, family):
    source, target, port = world.a.ips[family], world.vip[family], new_port()
    payload = packets.udp(source, target, port, 53, pattern(4000))
    send(world.a, *pieces(source, target, UDP, payload, [1400, 2800]))
    arrives(world, world.b, family, source, port)


@each_family
def test_later_fragments_in_any_order_after_the_first_arrive(world, family):
    source, target, port = world.a.ips[family], world.b.ips[family], new_port()
    first, second, third = pieces(source, target, UDP,
                                  packets.udp(source, target, port, 5353, pattern(4000)),
                                  [1400, 2800])
    send(world.a, first, third, second)
    arrives(world, world.b, family, source, port)


@each_family
def test_reversed_fragments_are_dropped_and_counted(world, family):
    source, target, port = world.a.ips[family], world.b.ips[family], new_port()
    payload = packets.udp(source, target, port, 5353, pattern(4000))
    with world.n1.agent.dropping("fragment_without_first", 2):
        send(world.a, *reversed(pieces(source, target, UDP, payload, [1400, 2800])))
    arrives_not(world, world.b, family, source, port)


@each_family
def test_fragments_without_the_first_are_dropped_and_counted(world, family):
    source = world.a.ips[family]
    for target in (world.b.ips[family], world.c.ips[family], OUTSIDE_IP[family], world.vip[family],
                   world.n1.ips[family]):
        payload = packets.udp(source, target, new_port(), 5353, pattern(4000))
        with Capture(world.b.netns) as capture, \
                world.n1.agent.dropping("fragment_without_first", 2):
            send(world.a, *pieces(source, target, UDP, payload, [1400, 2800])[1:])
            capture.none(lambda p: p.source == source, 0.1)


@each_family
def test_tiny_first_fragment_is_dropped(world, family):
    """Eight bytes of TCP: the ports, but not the flags."""
    source, target = world.a.ips[family], world.b.ips[family]
    segment = packets.tcp(source, target, 4000, 8080, packets.SYN, data=pattern(40))
    with Capture(world.b.netns) as capture, \
            world.n1.agent.dropping("fragment_tiny_or_overlapping"):
        send(world.a, pieces(source, target, TCP, segment, [8])[0])
        capture.none(lambda p: p.source == source and p.proto == TCP, 0.1)


@each_family
def test_fragment_that_overwrites_the_transport_header_is_dropped(world, family):
    source, target = world.a.ips[family], world.b.ips[family]
    segment = packets.tcp(source, target, 4000, 8080, packets.ACK, data=pattern(60))
    forged = packets.tcp(source, target, 4000, 8080, packets.SYN, data=pattern(60))
    with Capture(world.b.netns) as capture, \
            world.n1.agent.dropping("fragment_tiny_or_overlapping"):
        send(world.a, piece(source, target, TCP, segment[:40], 77, 0, True),
             piece(source, target, TCP, forged[8:], 77, 8, False))
        capture.none(lambda p: p.source == source and p.fragment_offset == 8, 0.1)


@each_family
def test_first_fragment_sent_twice_with_another_port_is_evaluated_each_time(world, family):
    """A denied port is not opened by an allowed first fragment of the same number."""
    world.policies(policy("in", labels(app="b"), policyTypes=["Ingress"],
                          ingress=[{"ports": [{"port": 5353, "protocol": "UDP"}]}]))
    world.expect((world.a, world.b.ips[family], 5353, "open", "UDP"),
                 (world.a, world.b.ips[family], 8080, "timeout"))
    server = world.serve(world.b, 5999, "UDP", [family])[0]
    source, target = world.a.ips[family], world.b.ips[family]
    data = pattern(2000)
    allowed = pieces(source, target, UDP, packets.udp(source, target, 4001, 5353, data), [1400], 78)
    denied = pieces(source, target, UDP, packets.udp(source, target, 4001, 5999, data), [1400], 78)
    with world.n1.agent.dropping("policy_denied_ingress"):
        send(world.a, allowed[0], denied[0], denied[1], allowed[1])
    assert not server.seen, "the denied port got a datagram"


@each_family
def test_policy_holds_for_every_fragment(world, family):
    world.policies(policy("in", labels(app="b"), policyTypes=["Ingress"],
                          ingress=[{"ports": [{"port": 80, "protocol": "UDP"}]}]))
    world.expect((world.a, world.b.ips[family], 5353, "timeout", "UDP"))
    source, target, port = world.a.ips[family], world.b.ips[family], new_port()
    payload = packets.udp(source, target, port, 5353, pattern(4000))
    with Capture(world.b.netns) as capture, world.n1.agent.dropping("policy_denied_ingress", 1):
        send(world.a, *pieces(source, target, UDP, payload, [1400, 2800]))
        capture.none(lambda p: p.source == source)


@each_family
def test_fragments_of_two_senders_with_one_number_are_kept_apart(world, family):
    d = world.pod("d")
    target = world.b.ips[family]
    made, ports = {}, {}
    for pod in (world.a, d):
        ports[pod] = new_port()
        payload = packets.udp(pod.ips[family], target, ports[pod], 5353, pattern(2400))
        made[pod] = pieces(pod.ips[family], target, UDP, payload, [1400], 99)
    send(world.a, made[world.a][0])
    send(d, made[d][0], made[d][1])
    send(world.a, made[world.a][1])
    for pod in (world.a, d):
        arrives(world, world.b, family, pod.ips[family], ports[pod])


# ------------------------------------------------------------------ IPv6 extension headers


def with_headers(world, target, headers, port, dport=5353, data=b"extended"):
    """A UDP datagram behind extension headers given as (number, body)."""
    source = world.a.ips[6]
    proto, rest = UDP, packets.udp(source, target, port, dport, data)
    for number, body in reversed(headers):
        rest = packets.extension_header(proto, body) + rest
        proto = number
    return packets.ipv6(source, target, proto, rest)


PAD6 = b"\x01\x04\0\0\0\0"
PAD14 = b"\x1e\x0c" + bytes(12)  # an option to be skipped; Linux refuses more than 7 bytes of padding
HOP, DESTINATION = 0, 60


def test_extension_headers_pass_and_the_port_behind_them_is_found(world):
    for headers in ([(DESTINATION, PAD6)], [(HOP, PAD6)], [(HOP, PAD14), (DESTINATION, PAD14)],
                    [(DESTINATION, PAD6), (DESTINATION, PAD6)]):
        port = new_port()
        send(world.a, with_headers(world, world.b.ips[6], headers, port))
        arrives(world, world.b, 6, world.a.ips[6], port)


def test_extension_headers_pass_through_the_service(world):
    port = new_port()
    send(world.a, with_headers(world, world.vip[6], [(DESTINATION, PAD6)], port, 53))
    arrives(world, world.b, 6, world.a.ips[6], port)


def test_extension_headers_pass_through_masquerade(world):
    seen = world.udp[world.outside][6].seen
    before = len(seen)
    send(world.a, with_headers(world, OUTSIDE_IP[6], [(DESTINATION, PAD6)], new_port()))
    wait_until(lambda: len(seen) > before, "the outside gets the datagram")
    assert seen[-1][0] == world.n1.ips[6], seen[-1]


def test_extension_headers_open_no_denied_port(world):
    world.policies(policy("in", labels(app="b"), policyTypes=["Ingress"],
                          ingress=[{"ports": [{"port": 80, "protocol": "UDP"}]}]))
    world.expect((world.a, world.b.ips[6], 5353, "timeout", "UDP"))
    for headers in ([(DESTINATION, PAD6)], [(HOP, PAD6)], [(HOP, PAD14), (DESTINATION, PAD14)]):
        with Capture(world.b.netns) as capture, world.n1.agent.dropping("policy_denied_ingress"):
            send(world.a, with_headers(world, world.b.ips[6], headers, new_port()))
            capture.none(lambda p: p.source == world.a.ips[6], 0.1)


def test_endless_or_misplaced_extension_headers_are_dropped(world):
    for headers in ([(DESTINATION, PAD6)] * 20, [(DESTINATION, PAD6), (HOP, PAD6)]):
        with Capture(world.b.netns) as capture, \
                world.n1.agent.dropping("ipv6_extension_headers"):
            send(world.a, with_headers(world, world.b.ips[6], headers, new_port()))
            capture.none(lambda p: p.source == world.a.ips[6], 0.1)


def test_extension_header_longer_than_the_packet_is_dropped(world):
    source, target = world.a.ips[6], world.b.ips[6]
    broken = bytes([UDP, 200]) + bytes(6) + packets.udp(source, target, 9, 5353, b"x")
    before = world.n1.agent.drops()
    with Capture(world.b.netns) as capture:
        send(world.a, packets.ipv6(source, target, DESTINATION, broken))
        capture.none(lambda p: p.source == source, 0.1)
    assert world.n1.agent.drops() > before


def test_fragment_behind_extension_headers_arrives(world):
    source, target, port = world.a.ips[6], world.b.ips[6], new_port()
    payload = packets.udp(source, target, port, 5353, pattern(2400))
    for start, end, more in ((0, 1400, True), (1400, len(payload), False)):
        part = packets.ipv6_fragment(UDP, payload[start:end], 4242, start, more)
        send(world.a, packets.ipv6(source, target, DESTINATION,
                                   packets.extension_header(44, PAD6) + part))
    arrives(world, world.b, 6, source, port)


def test_atomic_fragment_arrives(world):
    source, target, port = world.a.ips[6], world.b.ips[6], new_port()
    payload = packets.udp(source, target, port, 5353, b"atomic")
    send(world.a, piece(source, target, UDP, payload, 1, 0, False))
    arrives(world, world.b, 6, source, port)


@each_family
def test_large_pings_pass_and_fragments_of_echo_requests_are_filtered(world, family):
    assert ping(world.a, world.b.ips[family], size=8000) == "open"
    world.policies(policy("in", labels(app="b"), policyTypes=["Ingress"]))
    world.expect((world.a, world.b.ips[family], 8080, "timeout"))
    assert ping(world.a, world.b.ips[family], size=8000, timeout=0.3) == "timeout"
    assert reach(world.b, world.a.ips[family], 8080).verdict == "open"
