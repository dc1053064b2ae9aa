# SPDX-License-Identifier: Apache-2.0
"""Masquerade at its limits: few ports, ports of the node's own sockets, ranges that are left out, none at all."""

import json
import socket
import struct
import time

from lib import packets
from lib.runner import each_family, in_worlds
from lib.traffic import SOCKET_FAMILY, V4, Capture, Connection, Probe, UdpClient, is_cut, ping, reach, run_probes, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

PORTS = range(20000, 20016)
WORLDS = {
    "few-ports": {"masquerade_ports": f"{PORTS[0]}-{PORTS[-1]}"},
    "left-out": {"no_masquerade": ["198.51.100.0/24", "2001:db8:51::/64"]},
    "off": {"masquerade": "no"},
}


def setup(world):
    world.a, world.b = world.pod("a"), world.pod("b")
    world.serve(world.outside, 8080)
    world.serve(world.outside, 5353, "UDP")
    world.serve(world.outside, 5354, "UDP")


@each_family
@in_worlds("few-ports")
def test_route_that_forbids_holds_for_every_packet_of_a_flow(world, family):
    """Also for those behind the first one of a second, and it ends nothing: when it has gone, the flow goes on."""
    node, target = world.node.netns, f"{OUTSIDE_IP[family]}/{32 if family == 4 else 128}"
    for kind, reason in (("prohibit", "route_prohibited"), ("blackhole", "route_blackhole"),
                         ("unreachable", "route_unreachable")):
        with UdpClient(world.a, OUTSIDE_IP[family], 5353) as client:
            client.ask()
            node.run("ip", f"-{family}", "route", "add", kind, target)
            try:
                wait_until(lambda: is_cut(client), f"{kind}: the flow stops")
                for _ in range(3):
                    expect_forbidden(world, client, reason)
                    time.sleep(0.6)  # another part of a tick
            finally:
                node.run("ip", f"-{family}", "route", "del", kind, target)
            wait_until(lambda: client.state(0.2) == "open", f"{kind}: the flow goes on")


def expect_forbidden(world, client, reason):
    """Nothing of a burst leaves."""
    before = world.node.agent.drops(reason)
    with Capture(world.outside) as capture:
        for _ in range(20):
            client.send()
        capture.none(lambda p: p.proto == packets.UDP and p.dport == 5353, 0.2)
    wait_until(lambda: world.node.agent.drops(reason) - before >= 20, f"20 drops for {reason}")


@each_family
@in_worlds("few-ports")
def test_exhausted_ports_are_counted_and_nothing_is_misdelivered(world, family):
    clients = [UdpClient(world.a if n % 2 else world.b, OUTSIDE_IP[family], 5353)
               for n in range(24)]
    try:
        before = world.node.agent.drops("nat_ports_exhausted")
        served = {}
        for client in clients:
            client.send()
        for client in clients:
            try:
                answer, _ = client.receive(0.3)
            except OSError:
                continue
            served[client] = json.loads(answer)["port"]
        assert len(set(served.values())) == len(served), "two flows left with one port"
        assert set(served.values()) <= set(PORTS), served.values()
        assert 8 <= len(served) <= len(PORTS), f"{len(served)} of {len(PORTS)} ports were used"
        wait_until(lambda: world.node.agent.drops("nat_ports_exhausted") > before, "the drops")
        for client in served:
            assert client.ask()["port"] == served[client], "a flow changed its port"
    finally:
        for client in clients:
            client.close()


@each_family
@in_worlds("few-ports")
def test_another_destination_has_ports_of_its_own(world, family):
    with UdpClient(world.a, OUTSIDE_IP[family], 5354) as client:
        assert client.ask()["port"] in PORTS


@each_family
@in_worlds("few-ports")
def test_ports_of_the_nodes_own_sockets_are_left_alone(world, family):
    own = []
    try:
        for port in (PORTS[2], PORTS[5], PORTS[9]):
            sock = UdpClient(world.node, WORLD_IP[family], 5353, source_port=port)
            assert sock.ask()["port"] == port
            own.append(sock)
        probes = [Probe(world.a, WORLD_IP[family], 5353, "UDP") for _ in range(10)]
        run_probes(probes, 1)
        taken = {p.answer["port"] for p in probes if p.answer}
        assert taken and not taken & {PORTS[2], PORTS[5], PORTS[9]}, taken
        for sock in own:
            assert sock.ask()["port"] in PORTS
    finally:
        for sock in own:
            sock.close()


@each_family
@in_worlds("few-ports")
def test_listening_sockets_of_the_node_keep_their_connections(world, family):
    server = world.serve(world.node, PORTS[1], "TCP", [family])[0]
    with Connection(world.outside, world.node.ips[family], PORTS[1]) as connection:
        connection.ask()
        probes = [Probe(world.a, OUTSIDE_IP[family], 8080) for _ in range(6)]
        run_probes(probes, 1)
        assert all(p.answer["port"] != PORTS[1] for p in probes if p.answer)
        connection.ask()
    server.close()


@each_family
@in_worlds("few-ports")
def test_closed_connections_give_their_ports_back(world, family):
    def opens():
        return reach(world.a, WORLD_IP[family], 8080, timeout=0.3).verdict == "open"
    opened = 0
    while opened < 2 * len(PORTS) and opens():
        opened += 1
    wait_until(opens, f"after {opened} closed connections another one opens", 25, 0.2)


@each_family
@in_worlds("left-out")
def test_range_that_is_left_out_sees_the_pods_address(world, family):
    probe = reach(world.a, WORLD_IP[family], 8080)
    assert probe.answer["peer"] == world.a.ips[family], probe.answer
    probe = reach(world.a, OUTSIDE_IP[family], 8080)
    assert probe.answer["peer"] == world.node.ips[family], probe.answer


@each_family
@in_worlds("off")
def test_without_masquerade_the_outside_sees_the_pods_address(world, family):
    for port, proto in ((8080, "TCP"), (5353, "UDP")):
        probe = reach(world.a, OUTSIDE_IP[family], port, proto)
        assert probe.answer["peer"] == world.a.ips[family], probe.answer
    assert ping(world.a, OUTSIDE_IP[family]) == "open"


@each_family
def test_many_pings_at_once_are_told_apart(world, family):
    """Echo identifiers of two pods may be the same."""
    kind = socket.IPPROTO_ICMP if family == V4 else socket.IPPROTO_ICMPV6
    socks, rest = [], struct.pack("!HH", 777, 1)
    for number, pod in enumerate((world.a, world.b)):
        sock = pod.socket(SOCKET_FAMILY[family], socket.SOCK_RAW, kind)
        sock.settimeout(20)
        body = rest + b"from %d" % number
        sock.sendto(packets.icmp4(8, 0, body) if family == V4
                    else struct.pack("!BBH", 128, 0, 0) + body, (OUTSIDE_IP[family], 0))
        socks.append(sock)
    for number, sock in enumerate(socks):
        while True:
            data = sock.recv(4096)
            icmp = data[(data[0] & 15) * 4:] if family == V4 else data
            if icmp[0] in (0, 129):
                break
        assert icmp[4:] == rest + b"from %d" % number, icmp
        sock.close()
