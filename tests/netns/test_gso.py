# SPDX-License-Identifier: Apache-2.0
"""Aggregates of network cards: what a virtio card hands over passes whole, each protocol's segments count by their own size."""

import errno
import os
import socket
import struct

from lib import objects, packets
from lib.runner import each_family, in_worlds, limit
from lib.tap import Cable
from lib.traffic import (ANY_ADDRESS, IP_MTU, IP_MTU_DISCOVER, IPV6_MTU, IPV6_MTU_DISCOVER, PMTUDISC_DO, SOCKET_FAMILY, V4,
                         Capture, Connection, UdpClient, wait_until)

PEER_IP, NODE_IP = {4: "192.0.2.1", 6: "fd92::1"}, {4: "192.0.2.11", 6: "fd92::b"}
NODE = {"start": False, "uplink": "tap0", "node_ip": ",".join(NODE_IP.values())}
WORLDS = {"no-xdp": {**NODE, "xdp": "off"}, "xdp": NODE, "narrow": {**NODE, "pod_mtu": 1500},
          "small-pods": {**NODE, "pod_mtu": 1400}}
NARROW = (1400, 1492)
UDP_SEGMENT = 103
LARGEST = {4: 1472, 6: 1452}  # what one datagram of a link of 1500 bytes holds
COUNT = 10


def setup(world):
    """The node's uplink is a tap; behind it, by a cable, another host."""
    node, world.peer = world.node.netns, world._namespace("peer")
    world.cable = Cable((node, "tap0"), (world.peer, "tap1"))
    world.cleanup.callback(world.cable.close)
    world.uplink_mtu = NARROW[0] if world.node.agent.options.get("pod-mtu") == 1500 else 1500
    for netns, name, own in ((node, "tap0", NODE_IP), (world.peer, "tap1", PEER_IP)):
        netns.ip(f"addr add {own[4]}/24 dev {name}", f"addr add {own[6]}/64 dev {name} nodad", f"link set {name} up")
    node.ip(f"link set tap0 mtu {world.uplink_mtu}",
            *[f"route replace default via {address} dev tap0" for address in PEER_IP.values()])
    world.peer.ip("link set lo up",
                  *[f"route add {world.node.pod_cidr[f]} via {NODE_IP[f]}" for f in (4, 6)])
    world.node.agent.start()
    world.node.before = world.node.ruler()
    world.a = world.pod("a")
    world.b = world.pod("b", labels={"app": "b"})
    for where in (world.a, world.b, world.peer):
        world.serve(where, 8080)
    world.vip = world.service("b", 1, [objects.service_port(6000, 6000, "UDP", name="u")], {"app": "b"})


def refused(world, before):
    return {reason: count for reason, count in world.node.agent.dropped_since(before).items() if "big" in reason}


@each_family
@limit(90)
@in_worlds("no-xdp", "xdp")
def test_aggregates_of_a_virtio_card_reach_the_pod(world, family):
    before, first = world.node.agent.drops_by_reason(), len(world.cable.seen)
    with Connection(world.peer, world.b.ips[family], 8080, 5) as connection:
        assert connection.push(3_000_000, 20), "damaged"
        assert connection.fetch(3_000_000, 20), "damaged"
    assert not refused(world, before), refused(world, before)
    assert world.cable.largest("tap1", first) > 10_000, "the host sent no aggregates: this tests nothing"


@each_family
@limit(90)
@in_worlds("no-xdp", "xdp")
def test_aggregates_of_answers_reach_a_masqueraded_pod(world, family):
    before, first = world.node.agent.drops_by_reason(), len(world.cable.seen)
    with Connection(world.a, PEER_IP[family], 8080, 5) as connection:
        assert connection.ask()["peer"] == NODE_IP[family]
        assert connection.fetch(3_000_000, 20) and connection.push(3_000_000, 20), "damaged"
    assert not refused(world, before), refused(world, before)
    assert world.cable.largest("tap1", first) > 10_000, "the host sent no aggregates: this tests nothing"


class Receiver:
    """Counts datagrams by their length."""

    def __init__(self, where, family, port=6000):
        self.sock = where.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
        self.sock.bind((ANY_ADDRESS[family], port))
        self.sock.setblocking(False)
        self.lengths = []

    def read(self):
        while True:
            try:
                self.lengths.append(len(self.sock.recv(70_000)))
            except BlockingIOError:
                return self.lengths

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def strict(client, family):
    """Nothing larger than the path's MTU leaves, nothing is cut."""
    level, option = ((socket.IPPROTO_IP, IP_MTU_DISCOVER) if family == V4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER))
    client.sock.setsockopt(level, option, PMTUDISC_DO)
    client.watch_errors()


def send_segments(client, size, count=COUNT):
    """One send() of so many datagrams, cut by whoever comes last."""
    client.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    client.sock.send(bytes(size) * count)


def expect_segments(world, source, target, address, family, size):
    before = world.node.agent.drops_by_reason()
    with Receiver(target, family) as receiver, UdpClient(source, address, 6000, connect=True) as client:
        strict(client, family)
        send_segments(client, size)
        wait_until(lambda: len(receiver.read()) >= COUNT, lambda: f"{source} to {address}: {len(receiver.lengths)} of "
                   f"{COUNT} came; dropped: {world.node.agent.dropped_since(before)}")
        assert receiver.lengths == [size] * COUNT, receiver.lengths
        send_segments(client, size // 2)
        wait_until(lambda: len(receiver.read()) >= 2 * COUNT, f"{source} to {address}: the smaller ones")


@each_family
@in_worlds("no-xdp", "xdp")
def test_datagrams_sent_in_one_piece_may_each_fill_the_link(world, family):
    size = LARGEST[family]
    for source, target, address in ((world.a, world.peer, PEER_IP[family]), (world.a, world.b, world.b.ips[family]),
                                    (world.a, world.b, world.vip[family]), (world.peer, world.b, world.b.ips[family]),
                                    (world.node, world.b, world.b.ips[family])):
        expect_segments(world, source, target, address, family, size)


def path_mtu(sock, family):
    return sock.getsockopt(*((socket.IPPROTO_IP, IP_MTU) if family == V4 else (socket.IPPROTO_IPV6, IPV6_MTU)))


def flush_path_mtu(*where):
    for netns in where:
        for family in ("-4", "-6"):
            netns.run("ip", family, "route", "flush", "cache")


def expect_told(world, source, target, address, family, mtu, size):
    """Segments too large for the way are not sent on, and their sender learns what is."""
    with Receiver(target, family) as receiver, UdpClient(source, address, 6000, connect=True) as client:
        strict(client, family)
        send_segments(client, size)
        number, _, _, info, _, _ = client.error()
        assert (number, info) == (errno.EMSGSIZE, mtu), (number, info)
        assert path_mtu(client.sock, family) == mtu, path_mtu(client.sock, family)
        assert not receiver.read(), f"came through: {receiver.lengths}"
        fits = size - (1500 - mtu)
        send_segments(client, fits)
        wait_until(lambda: len(receiver.read()) >= COUNT, lambda: f"{len(receiver.lengths)} of {COUNT}")


@each_family
@in_worlds("narrow")
def test_datagrams_too_large_for_the_way_out_are_told(world, family):
    flush_path_mtu(world.a.netns)
    expect_told(world, world.a, world.peer, PEER_IP[family], family, world.uplink_mtu, LARGEST[family])


@each_family
@in_worlds("small-pods")
def test_datagrams_too_large_for_the_pod_are_told(world, family):
    flush_path_mtu(world.peer)
    expect_told(world, world.peer, world.b, world.b.ips[family], family, 1400, LARGEST[family])


@each_family
@limit(90)
@in_worlds("narrow")
def test_segments_of_a_connection_fit_the_way_out_whatever_options_they_carry(world, family):
    """Time stamps make the header 12 bytes longer than the shortest: no segment may exceed the link by them."""
    for mtu in NARROW:
        world.node.netns.ip(f"link set tap0 mtu {mtu}")
        try:
            flush_path_mtu(world.a.netns, world.b.netns)
            first = len(world.cable.seen)
            with Connection(world.a, PEER_IP[family], 8080, 5) as connection:
                assert connection.push(1_000_000, 15), "damaged"
            with Connection(world.peer, world.b.ips[family], 8080, 5) as connection:
                assert connection.fetch(1_000_000, 15), "damaged"
            headers = (20 if family == V4 else 40) + 32
            large = [frame for frame in world.cable.seen[first:] if frame[0] == "tap0"
                     and (frame[3] + headers if frame[3] else frame[1] - 14) > mtu]
            assert not large, f"MTU {mtu}: {len(large)} frames were larger: {large[:3]}"
        finally:
            world.node.netns.ip(f"link set tap0 mtu {world.uplink_mtu}")


@each_family
@in_worlds("no-xdp")
def test_aggregate_forged_to_be_small_is_measured_by_its_segments(world, family):
    """A card that says segments of 3,000 bytes hands over what no link takes: it is no reason to let it pass to a pod."""
    before = world.node.agent.drops_by_reason()
    frame = forged_aggregate(world, family, 3000, 9000)
    fd = next(fd for fd, name in world.cable.fds.items() if name == "tap0")
    with Capture(world.b.netns) as capture:
        for _ in range(3):
            os.write(fd, frame)
        capture.none(lambda p: len(p.frame) > 1514 and p.sport == 5999)
    assert refused(world, before), world.node.agent.dropped_since(before)


def forged_aggregate(world, family, size, length):
    source, target = PEER_IP[family], world.b.ips[family]
    packet = packets.ip(source, target, packets.UDP, packets.udp(source, target, 5999, 6000, bytes(length)))
    frame = packets.ethernet(world.node.netns.mac("tap0"), world.peer.mac("tap1"), packets.ethertype_of(packet), packet)
    start = 14 + (20 if family == V4 else 40)
    return struct.pack("<BBHHHH", 1, 5, start + 8, size, start, 6) + frame
