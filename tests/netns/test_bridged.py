# SPDX-License-Identifier: Apache-2.0
"""Containers of others on the node, behind a bridge and conntrack's masquerade: ports that they and pods want, and their published ports."""

import contextlib
import errno
import itertools
import socket
import struct

from lib import objects, packets
from lib.bridge import Container, make_bridge
from lib.nat import forwards, publish
from lib.objects import labels
from lib.policies import ingress, peers
from lib.runner import each_family, limit
from lib.traffic import (OPEN_WITHIN, SOCKET_FAMILY, V4, Connection, Probe, UdpClient, md5, pattern, reach,
                         run_probes, wait_until)
from lib.world import OUTSIDE_IP, WORLD_IP

PORTS = range(12777, 12781)
WORLD = {"masquerade_ports": f"{PORTS[0]}-{PORTS[-1]}"}
PUBLISHED_TCP, PUBLISHED_UDP = 18080, 15353
PUBLISHED = {("TCP", PUBLISHED_TCP): 8080, ("UDP", PUBLISHED_UDP): 5353}
BOTH_PROTOCOLS = (("TCP", PUBLISHED_TCP), ("UDP", PUBLISHED_UDP))
CLIENT = {"TCP": Connection, "UDP": UdpClient}


def setup(world):
    make_bridge(world.node)
    forwards(world.node)
    world.c, world.d = (Container(world, world.node, number) for number in range(2))
    world.node.before = world.node.ruler()
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.fresh_ports = itertools.count(7000)
    for where in (world.a, world.b, world.c, world.d):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")


def fresh_server(world, proto):
    """A peer to which all ports are free: closed connections hold theirs for two minutes."""
    port = next(world.fresh_ports)
    world.serve(world.outside, port, proto)
    return port


def pods_take(world, stack, address, port, proto, count):
    """That many flows of pods, of each the port that the server sees."""
    flows = []
    for number in range(count):
        pod = (world.a, world.b)[number % 2]
        client = stack.enter_context(CLIENT[proto](pod, address, port))
        flows.append((client, client.ask()["port"]))
    return flows


def expect_alive(flows):
    for client, port in flows:
        assert client.ask()["port"] == port, "the flow has another port now"


def expect_no_port_left(world, address, port, proto):
    with world.node.agent.dropping("nat_ports_exhausted"):
        probes = [Probe(pod, address, port, proto) for pod in (world.a, world.b)]
        run_probes(probes, 0.3)
        assert [p.verdict for p in probes] == ["timeout"] * 2, [(p.verdict, p.answer) for p in probes]


def others(world):
    return (world.c, world.node)


# ------------------------------------------------------------------ who comes first keeps the port


@each_family
def test_port_of_a_container_or_of_the_node_is_given_to_no_pod(world, family):
    address = WORLD_IP[family]
    for proto, other in itertools.product(CLIENT, others(world)):
        server = fresh_server(world, proto)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(CLIENT[proto](other, address, server, source_port=PORTS[1]))
            assert first.ask()["port"] == PORTS[1], "conntrack has kept the port"
            flows = pods_take(world, stack, address, server, proto, len(PORTS) - 1)
            assert {port for _, port in flows} == set(PORTS) - {PORTS[1]}, flows
            expect_no_port_left(world, address, server, proto)
            expect_alive([(first, PORTS[1]), *flows])


@each_family
def test_container_or_node_that_wants_a_pods_port_leaves_with_another(world, family):
    address = WORLD_IP[family]
    for proto, other in itertools.product(CLIENT, others(world)):
        server = fresh_server(world, proto)
        with contextlib.ExitStack() as stack:
            flows = pods_take(world, stack, address, server, proto, 2)
            taken = [port for _, port in flows]
            for port in taken:
                client = stack.enter_context(CLIENT[proto](other, address, server, source_port=port))
                seen = client.ask()["port"]
                assert seen in PORTS and seen not in taken, (proto, other, seen)
                flows.append((client, seen))
            assert {port for _, port in flows} == set(PORTS)
            expect_alive(flows)
            expect_alive(flows)


@each_family
def test_without_a_free_port_the_container_is_refused_and_the_pods_go_on(world, family):
    server, address = fresh_server(world, "UDP"), WORLD_IP[family]
    with contextlib.ExitStack() as stack:
        flows = pods_take(world, stack, address, server, "UDP", len(PORTS))
        for number, other in enumerate(others(world)):  # of one port conntrack itself keeps them apart
            late = stack.enter_context(UdpClient(other, address, server, source_port=PORTS[number]))
            with world.node.agent.dropping("port_collision"), contextlib.suppress(OSError):
                state = late.state()
                assert state == "timeout", state
        expect_alive(flows)


@each_family
def test_other_peers_and_ports_outside_the_range_are_left_alone(world, family):
    server, address = fresh_server(world, "UDP"), WORLD_IP[family]
    with contextlib.ExitStack() as stack:
        pods_take(world, stack, address, server, "UDP", 2)
        for number, other in enumerate(others(world)):
            for port, peer, peer_port in ((33333 + number, address, server), (PORTS[number], OUTSIDE_IP[family], server),
                                          (PORTS[number], address, fresh_server(world, "UDP"))):
                client = stack.enter_context(UdpClient(other, peer, peer_port, source_port=port))
                seen = client.ask()["port"]
                assert seen == port, (other, port, peer, seen)
                client.close()


# ------------------------------------------------------------------ echo requests


class Echo:
    """Echo requests under one identifier."""

    def __init__(self, where, family, ident):
        self.family, self.ident, self.sequence = family, ident, 0
        self.sock = where.socket(SOCKET_FAMILY[family], socket.SOCK_RAW,
                                 socket.IPPROTO_ICMP if family == V4 else socket.IPPROTO_ICMPV6)

    def answered(self, address, timeout=OPEN_WITHIN):
        self.sequence += 1
        rest = struct.pack("!HH", self.ident, self.sequence) + b"of %s" % str(id(self)).encode()
        self.sock.settimeout(timeout)
        try:
            self.sock.sendto(packets.icmp4(8, 0, rest) if self.family == V4 else struct.pack("!BBH", 128, 0, 0) + rest,
                             (address, 0))
            while True:
                data = self.sock.recv(4096)
                icmp = data[(data[0] & 15) * 4:] if self.family == V4 else data
                if icmp[0] in (0, 129) and icmp[4:] == rest:
                    return True
        except OSError:  # a time-out, or the node's own packet was dropped
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


@each_family
def test_echo_requests_of_containers_and_pods_are_told_apart(world, family):
    for number, other in enumerate(others(world)):
        # An identifier has no port of a server beside it: another peer each time.
        address = (WORLD_IP, OUTSIDE_IP)[number][family]
        with contextlib.ExitStack() as stack:
            before = stack.enter_context(Echo(other, family, PORTS[3]))
            assert before.answered(address)
            pods = [stack.enter_context(Echo(pod, family, 5)) for pod in (world.a, world.b)]
            after = [stack.enter_context(Echo(other, family, ident)) for ident in PORTS[:3]]
            assert all(echo.answered(address) for echo in pods)
            answered = [echo.answered(address, 1) for echo in after]
            assert sum(answered) == 1, f"one identifier of four is left: {answered}"
            assert before.answered(address) and all(echo.answered(address) for echo in pods)


# ------------------------------------------------------------------ what is carried


@each_family
@limit(60)
def test_container_with_another_port_carries_a_lot_both_ways(world, family):
    server, address = fresh_server(world, "TCP"), WORLD_IP[family]
    with contextlib.ExitStack() as stack:
        (pod, port), = pods_take(world, stack, address, server, "TCP", 1)
        for other in others(world):
            connection = stack.enter_context(Connection(other, address, server, source_port=port))
            assert connection.ask()["port"] != port
            assert connection.fetch(2_000_000, 15) and connection.push(2_000_000, 15), other
        assert pod.fetch(200_000, 15)


@each_family
def test_container_with_another_port_sends_and_gets_fragments(world, family):
    server, address = fresh_server(world, "UDP"), WORLD_IP[family]
    data = pattern(20_000)
    with contextlib.ExitStack() as stack:
        (pod, port), = pods_take(world, stack, address, server, "UDP", 1)
        client = stack.enter_context(UdpClient(world.c, address, server, connect=True, source_port=port))
        for talk in (client, pod):
            answer = talk.ask(data=data)
            assert (answer["length"], answer["md5"]) == (len(data), md5(data)), answer
            talk.send(b"send 15000")
            assert talk.receive()[0] == pattern(15_000), "the answer is damaged"


@each_family
def test_errors_about_a_containers_other_port_reach_the_container(world, family):
    address = WORLD_IP[family]
    for closed in itertools.islice(world.fresh_ports, 4):
        with UdpClient(world.a, address, closed) as pod:
            pod.watch_errors()
            pod.send()
            assert pod.error()[0] == errno.ECONNREFUSED
            for port in PORTS[:3]:  # one of four is the pod's
                with UdpClient(world.c, address, closed, source_port=port) as client:
                    client.watch_errors()
                    client.send()
                    number, *_, target = client.error()
                    assert number == errno.ECONNREFUSED and target == (address, closed), (number, target)


@each_family
def test_error_of_a_container_about_its_other_port_ends_no_flow_of_a_pod(world, family):
    """It names the port that the peer knows: not the container's own, which is the pod's out there."""
    address = WORLD_IP[family]
    server = world.outside.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
    with server, UdpClient(world.a, address, port := next(world.fresh_ports)) as pod:
        server.bind((address, port))
        server.settimeout(5)
        level, option = ((socket.IPPROTO_IPV6, 25) if family != V4 else (socket.IPPROTO_IP, 11))
        server.setsockopt(level, option, 1)  # RECVERR
        pod.send()
        _, of_pod = server.recvfrom(100)
        with UdpClient(world.c, address, port, source_port=of_pod[1]) as client:
            client.send()
            _, of_container = server.recvfrom(100)
            assert of_container[1] != of_pod[1]
        server.settimeout(0.3)
        wait_until(lambda: is_refused(server, of_container), "the container refuses")
        server.sendto(b"answer", of_pod)
        assert pod.receive(5)[0] == b"answer"


def is_refused(server, peer):
    """Asked again and again: a kernel sends one peer no more than some ICMP errors a second."""
    with contextlib.suppress(ConnectionRefusedError, TimeoutError):
        server.sendto(b"late", peer)
        return server.recvmsg(100, 512, socket.MSG_ERRQUEUE)[3][1] == peer[1]
    return False


@each_family
def test_ports_of_others_stay_while_everything_changes(world, family):
    address = WORLD_IP[family]
    with contextlib.ExitStack() as stack:
        flows = []
        for proto in CLIENT:
            server = fresh_server(world, proto)
            flows += pods_take(world, stack, address, server, proto, 1)
            for other, port in ((world.c, flows[-1][1]), (world.node, flows[-1][1])):
                client = stack.enter_context(CLIENT[proto](other, address, server, source_port=port))
                flows.append((client, client.ask()["port"]))
        for number in range(3):
            world.service(f"touched-{number}", 40 + number, [objects.service_port(80, 8080)], {"app": "nobody"})
            expect_alive(flows)
        world.node.agent.restart()
        expect_alive(flows)


# ------------------------------------------------------------------ published ports of containers


def expect_published(source, address, server, seen_as=None):
    for proto, port in BOTH_PROTOCOLS:
        probe = reach(source, address, port, proto)
        assert probe.verdict == "open", f"{proto} {source} to {address}: {probe.verdict}"
        assert probe.answer["server"] == server and seen_as in (None, probe.answer["peer"]), probe.answer


@each_family
def test_published_port_of_a_container_answers_everybody(world, family):
    address = world.node.ips[family]
    with publish(world.node, PUBLISHED, world.c):
        for source, peer in ((world.a, world.a.ips[family]), (world.outside, OUTSIDE_IP[family]),
                             (world.node, None), (world.d, world.d.ips[family])):
            expect_published(source, address, "c0", peer)


@each_family
@limit(60)
def test_published_port_of_a_container_carries_a_lot_for_a_pod(world, family):
    with publish(world.node, PUBLISHED, world.c):
        with Connection(world.a, world.node.ips[family], PUBLISHED_TCP) as connection:
            assert connection.fetch(2_000_000, 15) and connection.push(2_000_000, 15)


@each_family
def test_published_port_of_a_pod_answers_a_container(world, family):
    with publish(world.node, PUBLISHED, world.b):
        expect_published(world.c, world.node.ips[family], "b")
        world.policies(ingress("shut", labels(app="b"), "default", [peers({"podSelector": labels(app="a")})]))
        address = world.node.ips[family]
        world.expect((world.c, address, PUBLISHED_TCP, "timeout"), (world.a, address, PUBLISHED_TCP, "open"))


@each_family
def test_container_reaches_a_pod_by_its_own_address_under_policy(world, family):
    address = world.b.ips[family]
    for port, proto in ((8080, "TCP"), (5353, "UDP")):
        assert reach(world.c, address, port, proto).verdict == "open"
    world.policies(ingress("shut", labels(app="b"), "default", [peers({"podSelector": labels(app="a")})]))
    world.expect((world.c, address, 8080, "timeout"), (world.a, address, 8080, "open"))
