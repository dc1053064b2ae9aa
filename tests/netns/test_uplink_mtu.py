# SPDX-License-Identifier: Apache-2.0
"""
The uplinks' MTU changes while pods are connected: their own links keep what they have, and who sends more than the way takes is told.
Between pods of one node, and to the node, nothing changes: those packets pass no uplink.
"""

import errno
import socket

from lib import tunnel
from lib.runner import each_family
from lib.traffic import BOTH, IP_MTU, IP_MTU_DISCOVER, IPV6_MTU, IPV6_MTU_DISCOVER, PMTUDISC_DO, V4, V6, Connection, UdpClient, wait_until

WORLDS = {"native": {"nodes": 2, "tunnel": "none"}, "tunnel": {"nodes": 2, "tunnel": "vxlan"}}
WIDE, NARROW = 1500, 1400
HEADERS = {V4: 28, V6: 48}
LEVEL = {V4: (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU), V6: (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU)}
PIECES = 300_000


def setup(world):
    tunnel.begin(world)
    world.through = world.node.agent.options["tunnel"] == "vxlan"
    world.a, world.b = world.pod("a"), world.pod("b")
    world.c = world.pod("c", node=world.n2)
    for pod in (world.a, world.b, world.c):
        world.serve(pod, 8080)
        world.serve(pod, 8080, "UDP")


def within(world, mtu):
    """What a packet of a pod may have on its way to the other node."""
    return mtu - 50 if world.through else mtu


def link_mtu(pod):
    return pod.netns.ip_json("link", "show", "dev", "eth0")[0]["mtu"]


class Uplinks:
    """Within the block both nodes' uplinks have that MTU; afterwards again what they had."""

    def __init__(self, world, mtu):
        self.world, self.mtu = world, mtu

    def set(self, mtu):
        for node in self.world.nodes:
            node.netns.ip(f"link set eth0 mtu {mtu}")
        for node in self.world.nodes:
            wait_until(lambda n=node: n.agent.ctl_json("status")["uplinks"][0]["mtu"] == mtu, f"{node}: the MTU in the status")
            if self.world.through:
                wait_until(lambda n=node: tunnel.device(n)["mtu"] == within(self.world, mtu), f"{node}: the tunnel's MTU")

    def __enter__(self):
        self.set(self.mtu)

    def __exit__(self, *_):
        self.set(WIDE)
        forget(self.world)


def forget(world):
    """What pods have been told, as they do by themselves after ten minutes."""
    for pod in world.pods:
        for family in ("-4", "-6"):
            pod.netns.run("ip", family, "route", "flush", "cache")


def unfragmented(source, target, family):
    client = UdpClient(source, target.ips[family], 8080, connect=True)
    level, discover, _ = LEVEL[family]
    client.sock.setsockopt(level, discover, PMTUDISC_DO)
    return client


def told_size(client, size, family):
    """Sends until the socket knows that less fits; the size that it was told of."""
    level, _, mtu = LEVEL[family]

    def refused():
        try:
            client.send(b"z" * (size - HEADERS[family]))
        except OSError as error:
            assert error.errno == errno.EMSGSIZE, error
            return True
        return False
    wait_until(refused, "the sender is told", interval=0.1)
    return client.sock.getsockopt(level, mtu)


def passes(source, target, family, size):
    with unfragmented(source, target, family) as client:
        length = size - HEADERS[family]
        return client.ask(data=b"z" * length)["length"] == length


@each_family
def test_sender_is_told_the_size_that_fits_and_goes_on_with_it(world, family):
    assert passes(world.a, world.c, family, within(world, WIDE))
    with Uplinks(world, NARROW):
        for source, target in ((world.a, world.c), (world.c, world.a)):
            with unfragmented(source, target, family) as client:
                assert told_size(client, within(world, WIDE), family) == within(world, NARROW)
            assert passes(source, target, family, within(world, NARROW))
            assert link_mtu(source) == within(world, WIDE), "the pod's own link keeps its MTU"
    assert passes(world.a, world.c, family, within(world, WIDE)), "with the uplink as before"


@each_family
def test_connections_go_on_when_it_gets_smaller_and_larger(world, family):
    pairs = ((world.a, world.c), (world.c, world.a))
    connections = [Connection(source, target.ips[family], 8080) for source, target in pairs]
    try:
        for connection in connections:
            assert connection.push(PIECES) and connection.fetch(PIECES)
        with Uplinks(world, NARROW):
            connections += [Connection(source, target.ips[family], 8080) for source, target in pairs]
            for connection in connections:
                assert connection.push(PIECES, 10) and connection.fetch(PIECES, 10), "damaged"
        for connection in connections:
            assert connection.push(PIECES, 10) and connection.fetch(PIECES, 10), "damaged"
    finally:
        for connection in connections:
            connection.close()


@each_family
def test_pods_of_one_node_lose_nothing_of_their_size(world, family):
    with Uplinks(world, NARROW):
        before = world.n1.agent.drops("packet_too_big")
        for source, target in ((world.a, world.b), (world.b, world.a)):
            assert passes(source, target, family, within(world, WIDE))
        assert world.n1.agent.drops("packet_too_big") == before


@each_family
def test_pods_that_are_connected_later_have_the_new_size(world, family):
    with Uplinks(world, NARROW):
        late = world.pod("late")
        assert link_mtu(late) == within(world, NARROW)
        world.serve(late, 8080, "UDP")
    wide = world.pod("wide")
    assert link_mtu(wide) == within(world, WIDE)
    # The way takes more again; the pod's own link does not, and its node says so.
    for source in (world.c, world.a):
        with unfragmented(source, late, family) as client:
            assert told_size(client, within(world, WIDE), family) == within(world, NARROW)
        assert passes(source, late, family, within(world, NARROW))


def test_larger_uplinks_than_a_pod_has_known_are_no_trouble(world):
    """To jumbo frames: pods that are there go on with what they have, later ones have more."""
    jumbo = 9000
    ports = [link["ifname"] for link in world.fabric.ip_json("link", "show") if link["ifname"] in ("p-n1", "p-n2", "br0")]
    try:
        for port in ports:
            world.fabric.ip(f"link set {port} mtu {jumbo}")
        with Uplinks(world, jumbo):
            large = world.pod("large", node=world.n2)
            world.serve(large, 8080)
            assert link_mtu(large) == within(world, jumbo) and link_mtu(world.a) == within(world, WIDE)
            for family in BOTH:
                for source, target in ((world.a, large), (large, world.a)):
                    with Connection(source, target.ips[family], 8080) as connection:
                        assert connection.push(PIECES, 10) and connection.fetch(PIECES, 10), "damaged"
    finally:
        for port in ports:
            world.fabric.ip(f"link set {port} mtu {WIDE}")
