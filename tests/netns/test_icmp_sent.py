# SPDX-License-Identifier: Apache-2.0
"""ICMP errors that pods send go to the other side of their flow and to nobody else, whatever they quote."""

from lib import packets
from lib.nat import forwards
from lib.objects import labels
from lib.policies import blocks, egress, ingress, peers
from lib.runner import each_family
from lib.traffic import V4, Capture, Connection, UdpClient, send_frame
from lib.world import FAR_IP, OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
MARK = b"carried out by an error"
# (type, code, the word after the checksum)
KINDS = {4: [(3, 0, b"\0\0\0\0"), (3, 3, b"\0\0\0\0"), (3, 4, b"\0\0\x05\0"), (4, 0, b"\0\0\0\0"), (11, 0, b"\0\0\0\0"),
             (11, 1, b"\0\0\0\0"), (12, 0, b"\x14\0\0\0")],
         6: [(1, 0, b"\0\0\0\0"), (1, 4, b"\0\0\0\0"), (2, 0, b"\0\0\x05\0"), (3, 0, b"\0\0\0\0"), (3, 1, b"\0\0\0\0"),
             (4, 0, b"\0\0\0\x28")]}


def setup(world):
    world.n1, world.n2 = world.nodes
    forwards(world.n1)  # the node's stack too would carry them out
    world.n1.before = world.n1.ruler()
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.quiet = world.pod("quiet", labels={"app": "quiet"})
    world.remote = world.pod("remote", labels={"app": "remote"}, node=world.n2)
    world.other = world.pod("other", node=world.n2)
    for where in (world.b, world.remote, world.n1, world.n2, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")


def strangers(world, family):
    """Whom pod a may not reach: beyond the router, on the link, another node, pods near and far."""
    return [OUTSIDE_IP[family], WORLD_IP[family], FAR_IP[family], world.n2.ips[family], world.other.ips[family],
            world.quiet.ips[family]]


def about(flow, data=MARK):
    """The packet that the flow's other side would have sent, with what is to be carried out behind it."""
    proto, (mine, mport), (theirs, tport) = flow
    made = packets.udp(theirs, mine, tport, mport, data) if proto == packets.UDP \
        else packets.tcp(theirs, mine, tport, mport, packets.ACK, data=data)
    return packets.ip(theirs, mine, proto, made)


def error(source, destination, kind, quoted):
    number, code, word = kind
    if packets.is_v6(source):
        return packets.ipv6(source, destination, packets.ICMP6,
                            packets.icmp6(source, destination, number, code, word + quoted))
    return packets.ipv4(source, destination, packets.ICMP, packets.icmp4(number, code, word + quoted))


def send(pod, *made):
    for packet in made:
        send_frame(pod, packets.ethernet(pod.gateway_mac(), pod.mac, packets.ethertype_of(packet), packet))


class Captures:
    """Looks at every place where such an error could come out."""

    def __init__(self, world):
        self.all = [Capture(where.netns if hasattr(where, "netns") else where)
                    for where in (world.outside, world.far, world.n2, world.other, world.quiet, world.remote)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for capture in self.all:
            capture.close()

    def none(self):
        first, *rest = self.all
        first.none(lambda p: MARK in p.frame)
        for capture in rest:
            capture.none(lambda p: MARK in p.frame, 0)
            found = capture.matching(lambda p: MARK in p.frame)
            assert not found, f"came through: {found[:3]}"


def expect_kept(world, family, flow, quoted=None):
    """No kind of error about the flow reaches any stranger, and each is counted."""
    made = [error(world.a.ips[family], stranger, kind, quoted or about(flow))
            for kind in KINDS[family] for stranger in strangers(world, family)]
    with Captures(world) as captures, world.n1.agent.dropping("icmp_error_without_flow", len(made) // 2):
        before = sum(world.n1.agent.drops_by_reason().values())
        send(world.a, *made)
        captures.none()
        dropped = sum(world.n1.agent.drops_by_reason().values()) - before
        assert dropped >= len(made), f"{dropped} of {len(made)} were counted as dropped"


def only_remote(world):
    """Pod a may reach one pod of the other node and its own node."""
    world.policies(egress("out", labels(app="a"), "default", [
        peers({"podSelector": labels(app="remote")}, *blocks(world.n1), key="to")]))
    for family in (4, 6):
        world.expect((world.a, OUTSIDE_IP[family], 8080, "timeout"), (world.a, world.n2.ips[family], 8080, "timeout"),
                     (world.a, world.remote.ips[family], 8080, "open"))


@each_family
def test_errors_about_a_flow_to_a_remote_pod_reach_nobody_else(world, family):
    only_remote(world)
    for address in (world.remote.ips[family],):
        with UdpClient(world.a, address, 5353, connect=True) as client:
            client.ask()
            expect_kept(world, family, (packets.UDP, client.sock.getsockname()[:2], (address, 5353)))
            client.ask()
        with Connection(world.a, address, 8080) as connection:
            connection.ask()
            expect_kept(world, family, (packets.TCP, connection.sock.getsockname()[:2], (address, 8080)))
            connection.ask()


@each_family
def test_errors_about_a_flow_to_the_node_reach_nobody_else(world, family):
    only_remote(world)
    with UdpClient(world.a, world.n1.ips[family], 5353, connect=True) as client:
        client.ask()
        expect_kept(world, family, (packets.UDP, client.sock.getsockname()[:2], (world.n1.ips[family], 5353)))
        client.ask()


@each_family
def test_errors_about_a_flow_that_came_from_elsewhere_reach_nobody_else(world, family):
    """The node and a remote pod opened these; pod a itself may open hardly anything."""
    world.serve(world.a, 5353, "UDP")
    only_remote(world)
    for source in (world.n1, world.remote):
        with UdpClient(source, world.a.ips[family], 5353, connect=True) as client:
            client.ask()
            expect_kept(world, family, (packets.UDP, (world.a.ips[family], 5353), client.sock.getsockname()[:2]))
            client.ask()


@each_family
def test_errors_about_a_flow_between_two_pods_of_a_node_reach_nobody_else(world, family):
    world.policies(egress("out", labels(app="a"), "default", [peers({"podSelector": labels(app="b")}, key="to")]))
    world.expect((world.a, OUTSIDE_IP[family], 8080, "timeout"), (world.a, world.b.ips[family], 8080, "open"))
    with UdpClient(world.a, world.b.ips[family], 5353, connect=True) as client:
        client.ask()
        expect_kept(world, family, (packets.UDP, client.sock.getsockname()[:2], (world.b.ips[family], 5353)))
        client.ask()


@each_family
def test_errors_about_a_masqueraded_flow_reach_nobody_else(world, family):
    block = {"ipBlock": {"cidr": f"{FAR_IP[family]}/{32 if family == V4 else 128}"}}
    world.serve(world.far, 5353, "UDP")
    world.policies(egress("out", labels(app="a"), "default", [peers(block, key="to")]))
    world.expect((world.a, OUTSIDE_IP[family], 8080, "timeout"))
    with UdpClient(world.a, FAR_IP[family], 5353, connect=True) as client:
        client.ask()
        mine = client.sock.getsockname()[:2]
        made = [error(world.a.ips[family], stranger, kind, about((packets.UDP, mine, (FAR_IP[family], 5353))))
                for kind in KINDS[family] for stranger in strangers(world, family) if stranger != FAR_IP[family]]
        with Capture(world.outside) as capture, world.n1.agent.dropping("icmp_error_without_flow", len(made) // 2):
            send(world.a, *made)
            capture.none(lambda p: MARK in p.frame and p.destination != FAR_IP[family])
        client.ask()


@each_family
def test_error_reaches_the_other_side_of_its_flow(world, family):
    """The control of the tests above: the same packets, only sent to whom they concern."""
    only_remote(world)
    kinds = [kind for kind in KINDS[family] if kind[0] != 4 or family == 6]  # nobody forwards a source quench
    for target in (world.remote, world.n1):
        netns = target.netns
        with UdpClient(world.a, target.ips[family], 5353, connect=True) as client, Capture(
                netns, "eth0" if target is world.remote else world.a.host_link) as capture:
            client.ask()
            flow = (packets.UDP, client.sock.getsockname()[:2], (target.ips[family], 5353))
            for kind in kinds:
                send(world.a, error(world.a.ips[family], target.ips[family], kind, about(flow)))
                capture.wait(lambda p, k=kind: (p.kind, p.code) == k[:2] and MARK in p.frame, f"{target}: type {kind[0]}")


@each_family
def test_error_from_outside_about_one_pod_reaches_no_other(world, family):
    """From the wire: its outer destination is a pod that lets nothing in, what it quotes is another pod's flow."""
    world.policies(ingress("in", labels(app="quiet"), "default"))
    with Connection(world.a, world.remote.ips[family], 8080) as connection, Capture(world.quiet.netns) as capture:
        connection.ask()
        mine = connection.sock.getsockname()[:2]
        quoted = packets.ip(*[mine[0], world.remote.ips[family]], packets.TCP,
                            packets.tcp(mine[0], world.remote.ips[family], mine[1], 8080, packets.ACK, data=MARK))
        made = [error(OUTSIDE_IP[family], world.quiet.ips[family], kind, quoted) for kind in KINDS[family]]
        with world.n1.agent.dropping("icmp_error_without_flow", len(made) - 1):
            for packet in made:
                send_frame(world.outside, packets.ethernet(world.n1.netns.mac(), world.outside.mac(),
                                                           packets.ethertype_of(packet), packet))
            capture.none(lambda p: MARK in p.frame)
        connection.ask()
