# SPDX-License-Identifier: Apache-2.0
"""One pod's many flows leave the others theirs: short questions, handshakes without end, fragments, answers that Polder makes."""

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

from lib import packets
from lib.netns import inside
from lib.objects import labels
from lib.policies import egress
from lib.runner import each_family, limit
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, V4, Capture, Connection, Probe, UdpClient, run_probes, send_frame, \
    wait_until
from lib.world import WORLD_IP

LASTS = 100

QUERIES = {4: 70_000, 6: 36_000}  # each more than the flows that the table of the default size holds
MASQUERADED = 20_500  # more than there are source ports
HANDSHAKES = 150_000
BATCH = 128
FLOOD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "flood.py")


def setup(world):
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.hog, world.friend = world.pod("hog", labels={"app": "hog"}), world.pod("friend", labels={"app": "friend"})
    world.serve(world.b, 8080)
    world.serve(world.b, 5353, "UDP")
    world.serve(world.outside, 8080)


# ------------------------------------------------------------------ short questions


class Resolver:
    """Answers each datagram once, when asked to look."""

    def __init__(self, netns, address, port):
        family = 6 if packets.is_v6(address) else 4
        self.sock = netns.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        self.sock.bind((address, port))
        self.sock.setblocking(False)

    def answer(self, count, timeout=1.0):
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        while count and poller.poll(timeout * 1000):
            with contextlib.suppress(BlockingIOError):
                while count:
                    data, peer = self.sock.recvfrom(100)
                    self.sock.sendto(data, peer)
                    count -= 1

    def close(self):
        self.sock.close()


def ask_once(pod, resolver, targets, family):
    """One question from a socket of its own for each (source port, address, port); how many were answered."""
    answered = 0
    with inside(pod.netns.path):
        for start in range(0, len(targets), BATCH):
            socks = []
            for sport, address, port in targets[start:start + BATCH]:
                sock = socket.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
                sock.bind((ANY_ADDRESS[family], sport))
                sock.connect((address, port))
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    sock.send(b"question")
                socks.append(sock)
            resolver.answer(len(socks))
            for sock in socks:
                sock.settimeout(0.5)  # the link may deliver a little later
                with contextlib.suppress(OSError):
                    answered += sock.recv(100) == b"question"
                sock.close()
            if answered < (start + BATCH) * 0.95 - BATCH:
                break  # each loss costs a second: the caller has seen enough
    return answered


def new_flows_open(world, pod, address, count=50):
    before = world.node.agent.drops_by_reason()
    probes = [Probe(pod, address, 8080) for _ in range(count)] + [Probe(pod, address, 5353, "UDP") for _ in range(count)]
    run_probes(probes, 5)
    failed = [(p.proto, p.verdict) for p in probes if p.verdict != "open"]
    assert not failed, f"{len(failed)} of {len(probes)}: {failed[:5]}; dropped: {world.node.agent.dropped_since(before)}"


@each_family
@limit(150)
def test_many_short_questions_leave_room_for_all_new_flows(world, family):
    address, agent = world.b.ips[family], world.node.agent
    before = agent.drops_by_reason()
    asked = answered = 0
    for dport in (5400, 5401):
        resolver = Resolver(world.b, address, dport)
        targets = [(sport, address, dport) for sport in range(1024, 1024 + QUERIES[family] // 2)]
        try:
            answered += ask_once(world.a, resolver, targets, family)
        finally:
            resolver.close()
        asked += len(targets)
    assert answered >= asked * 0.999, f"{answered} of {asked} were answered; dropped: {agent.dropped_since(before)}"
    new_flows_open(world, world.a, address)
    assert not agent.dropped_since(before).get("flow_table_full"), agent.dropped_since(before)


def enough(answered, asked, agent, before):
    """All but what sockets lost on a machine that is busy: Polder refused hardly any for want of a port, and none for room."""
    dropped = agent.dropped_since(before)
    refused = dropped.get("nat_ports_exhausted", 0)
    return answered >= asked * 0.97 and refused <= asked * 0.001 and not dropped.get("flow_table_full")


@each_family
@limit(150)
def test_more_questions_to_one_resolver_within_a_minute_than_there_are_ports(world, family):
    """Half of them, then the other half when the first have idled for longer than a question may."""
    address, agent, half = WORLD_IP[family], world.node.agent, MASQUERADED // 2
    resolver = Resolver(world.outside, address, 5400)
    before, begun = agent.drops_by_reason(), time.monotonic()
    try:
        first = ask_once(world.a, resolver, [(1024 + n, address, 5400) for n in range(half)], family)
        asked = time.monotonic()
        assert enough(first, half, agent, before), \
            f"{first} of {half}, {asked - begun:.0f} s: {agent.dropped_since(before)}"

        def over():
            """The last of the first has idled for more than 29 ticks: real time has to go by."""
            return time.monotonic() - asked > 33
        wait_until(over, "the time", 60, 0.5)
        second = ask_once(world.a, resolver, [(1024 + half + n, address, 5400) for n in range(half)], family)
        took = time.monotonic() - begun
    finally:
        resolver.close()
    assert enough(second, half, agent, before), f"{second} of {half}, {took:.0f} s: {agent.dropped_since(before)}"
    assert took < 60, f"the machine is too slow for this test: {took:.0f} s"


# ------------------------------------------------------------------ handshakes


def segment(world, source, target, family, flags, swapped):
    """What flood.py sends: the frame without ports and checksum, and what the pseudo header adds to the sum."""
    seq, ack = {packets.SYN: (1000, 0), packets.SYN | packets.ACK: (2000, 1001), packets.ACK: (1001, 2001)}[flags]
    tcp = struct.pack("!HHIIBBHHH", 0, 0, seq, ack, 5 << 4, flags, 65535, 0, 0)
    packet = packets.ip(source.ips[family], target.ips[family], packets.TCP, tcp)
    frame = packets.ethernet(source.gateway_mac(), source.mac, packets.ethertype_of(packet), packet)
    pseudo = packets.pseudo_header(source.ips[family], target.ips[family], packets.TCP, len(tcp))
    return frame.hex(), len(frame) - len(tcp), swapped, sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))


@contextlib.contextmanager
def flooding(world, family, handshakes):
    """hog opens connections to its friend, who answers each, or does not; neither one's kernel has a say."""
    hog, friend = world.hog, world.friend
    parts = [(hog, friend, packets.SYN, False)]
    if handshakes:
        parts += [(friend, hog, packets.SYN | packets.ACK, True), (hog, friend, packets.ACK, False)]
    socks = {pod: pod.packet_socket("eth0", 0) for pod in (hog, friend)}
    for sock in socks.values():
        sock.setblocking(True)
    rows = [[socks[source].fileno(), *segment(world, source, target, family, flags, swapped)]
            for source, target, flags, swapped in parts]
    for pod, other in ((hog, friend), (friend, hog)):
        pod.netns.run("ip", f"-{family}", "rule", "add", "to", other.ips[family], "pref", "10", "blackhole")
    process = subprocess.Popen([sys.executable, FLOOD, str(HANDSHAKES)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                               pass_fds=[sock.fileno() for sock in socks.values()])
    try:
        process.stdin.write(json.dumps(rows))
        process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        for sock in socks.values():
            sock.close()
        for pod in (hog, friend):
            pod.netns.run("ip", f"-{family}", "rule", "del", "pref", "10")


def expect_neighbours_live(world, family, process):
    """While the flood runs and after it: connections that stand, and new ones, of which one in a thousand may fail."""
    address, agent = world.b.ips[family], world.node.agent
    before, tried, failed, rounds = agent.drops_by_reason(), 0, [], 0
    standing = []
    try:
        standing += [Connection(world.a, address, 8080) for _ in range(20)]
        for connection in standing:
            connection.ask()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (process.poll() is None or tried < 1000):
            probes = [Probe(world.a, address, 8080) for _ in range(20)] + [Probe(world.a, address, 5353, "UDP")
                                                                          for _ in range(20)]
            run_probes(probes, 3)
            tried += len(probes)
            failed += [(p.proto, p.verdict) for p in probes if p.verdict != "open"]
            standing[rounds % len(standing)].ask(5)
            rounds += 1
        assert process.poll() == 0, f"the flood did not end: {process.poll()}"
        for connection in standing:
            connection.ask(5)
    except OSError as error:
        raise AssertionError(f"a standing connection, round {rounds}: {error!r}; dropped: {agent.dropped_since(before)}") from error
    finally:
        for connection in standing:
            connection.close()
    # Some probes are late when the flood has the processor: a thousandth is what may fail, five what cannot be told from that.
    assert len(failed) <= max(5, tried * 0.001), \
        f"{len(failed)} of {tried} new flows failed: {failed[:3]}; dropped: {agent.dropped_since(before)}"


@each_family
@limit(150)
def test_pod_that_completes_handshakes_without_end_leaves_its_neighbours_theirs(world, family):
    with flooding(world, family, True) as process:
        expect_neighbours_live(world, family, process)
    new_flows_open(world, world.a, world.b.ips[family])


@each_family
@limit(150)
def test_pod_that_only_begins_handshakes_leaves_its_neighbours_theirs(world, family):
    with flooding(world, family, False) as process:
        expect_neighbours_live(world, family, process)
    new_flows_open(world, world.a, world.b.ips[family])


# ------------------------------------------------------------------ fragments


def fragment(pod, target, family, ident, part, offset, more):
    source, destination = pod.ips[family], target.ips[family]
    if family == V4:
        packet = packets.ipv4(source, destination, packets.UDP, part, ident=ident, flags=int(more), offset=offset)
    else:
        packet = packets.ipv6(source, destination, 44, packets.ipv6_fragment(packets.UDP, part, ident, offset, more))
    return packets.ethernet(pod.gateway_mac(), pod.mac, packets.ethertype_of(packet), packet)


@each_family
@limit(90)
def test_fragments_that_policy_denies_make_nobodys_be_forgotten(world, family):
    world.policies(egress("none", labels(app="hog"), "default"))
    world.expect((world.hog, world.b.ips[family], 8080, "timeout"))
    with UdpClient(world.b, world.a.ips[family], 9, source_port=5600) as receiver:
        data = b"x" * 1600
        whole = packets.udp(world.a.ips[family], world.b.ips[family], 5500, 5600, data)
        send_frame(world.a, fragment(world.a, world.b, family, 4711, whole[:800], 0, True))
        first = bytearray(fragment(world.hog, world.b, family, 0, packets.udp(
            world.hog.ips[family], world.b.ips[family], 1, 2, b"y" * 40), 0, True))
        with world.hog.packet_socket("eth0", 0) as sock:
            sock.setblocking(True)
            header = bytes(first[14:34])
            for ident in range(1, 20_001):
                if family == V4:
                    struct.pack_into("!H", first, 18, ident)
                    struct.pack_into("!H", first, 24, 0)
                    struct.pack_into("!H", first, 24, packets.checksum(header[:4] + struct.pack("!H", ident)
                                                                        + header[6:10] + b"\0\0" + header[12:]))
                else:
                    struct.pack_into("!I", first, 58, ident)
                sock.send(first)
        send_frame(world.a, fragment(world.a, world.b, family, 4711, whole[800:], 800, False))
        assert receiver.receive(3)[0] == data


# ------------------------------------------------------------------ what Polder sends itself


@each_family
@limit(90)
def test_resets_that_polder_makes_are_fewer_than_what_provokes_them(world, family):
    """One stray segment is told; a flood of them is not reflected."""
    source, target, count = world.a, world.b, 20_000
    packet = packets.ip(source.ips[family], target.ips[family], packets.TCP,
                        packets.tcp(source.ips[family], target.ips[family], 45_000, 7, packets.ACK, ack=77))
    frame = packets.ethernet(source.gateway_mac(), source.mac, packets.ethertype_of(packet), packet)

    def is_reset(seen):
        return seen.proto == packets.TCP and (seen.sport, seen.dport) == (7, 45_000) and seen.flags & packets.RST
    with Capture(source.netns) as capture:
        # What came before may have used up this second's RSTs.
        wait_until(lambda: send_frame(source, frame) or capture.read() or capture.matching(is_reset),
                   "the RST for one segment", interval=0.2)
        for _ in range(count // 200):
            send_frame(source, frame, count=200)
            capture.read()
        resets = len(capture.matching(is_reset))
        assert resets < count // 2, f"{resets} RSTs for {count} segments"
