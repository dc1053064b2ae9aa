# SPDX-License-Identifier: Apache-2.0
"""Limits of a pod's bandwidth hold for what it sends and what it gets, whoever is at the other end."""

import contextlib
import json
import select
import socket
import struct
import time

from lib.cni import CniError
from lib.netns import inside
from lib.runner import each_family, limit
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, V4, V6, wait_until
from lib.world import OUTSIDE_IP

LASTS = 70
WORLD = {}
RATE = 20_000_000  # bits a second
HEADERS = {("TCP", V4): 1500 / 1448, ("TCP", V6): 1500 / 1428, ("UDP", V4): 1242 / 1200, ("UDP", V6): 1262 / 1200}
DATAGRAM = 1200
SETTLE, MEASURE = 0.6, 2.0
PORT = 9000
SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 32, 33, 35
TCPI_BYTES_RECEIVED = 128  # its place in struct tcp_info


def limits(**bandwidth):
    return {"capabilities": {"bandwidth": True}, "runtimeConfig": {"bandwidth": bandwidth}}


def limited(world, name, **bandwidth):
    return world.pod(name, config=world.node.cni_config(**limits(**bandwidth)))


def setup(world):
    world.free = world.pod("free")
    world.slow_in = limited(world, "slow-in", ingressRate=RATE, ingressBurst=4294967295)
    world.slow_out = limited(world, "slow-out", egressRate=RATE, egressBurst=4294967295)
    world.addresses = {world.free: world.free.ips, world.slow_in: world.slow_in.ips, world.slow_out: world.slow_out.ips,
                       world.node: world.node.ips, world.outside: OUTSIDE_IP}


def datagram_rate(sender, receiver):
    """
    Bits a second of payload. Four times the limit is offered, what a busy machine was late with too. Nobody has to receive in time:
    there is room for all, and the kernel notes when each came.
    """
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
    receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 22)
    data, sent, begin = bytes(DATAGRAM), 0, time.monotonic()
    while (elapsed := time.monotonic() - begin) < SETTLE + MEASURE:
        for _ in range(int(elapsed * 4 * RATE / 8 / DATAGRAM) - sent):
            sent += 1
            with contextlib.suppress(OSError):  # no room in the queue
                sender.send(data)
        time.sleep(0.002)
    # One that came before the kernel had begun to stamp has the time at which it is read.
    ended = time.time()
    times = sorted(at for at in arrivals(receiver) if at <= ended)
    times = [at for at in times if at >= times[0] + SETTLE]
    return (len(times) - 1) * DATAGRAM * 8 / (times[-1] - times[0]) if len(times) > 1 else 0.0


def arrivals(receiver):
    with contextlib.suppress(BlockingIOError):
        while True:
            _, control, _, _ = receiver.recvmsg(DATAGRAM, 64)
            seconds, nanoseconds = next(struct.unpack("=qq", part) for _, kind, part in control if kind == SO_TIMESTAMPNS)
            yield seconds + nanoseconds / 1e9


def stream_rate(sender, receiver):
    """Bits a second of payload, by what the kernel received, whenever it was read."""
    poller, data, marks = select.poll(), bytes(65536), []
    poller.register(sender, select.POLLOUT)
    poller.register(receiver, select.POLLIN)
    begin = time.monotonic()
    for end in (SETTLE, SETTLE + MEASURE):
        while time.monotonic() - begin < end:
            for number, _ in poller.poll(100):
                if number == sender.fileno():
                    sender.send(data)
                else:
                    receiver.recv(1 << 20)
        info = receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        marks.append((time.monotonic(), struct.unpack_from("=Q", info, TCPI_BYTES_RECEIVED)[0]))
    (before, had), (after, has) = marks
    return (has - had) * 8 / (after - before)


def rate(world, source, target, family, proto):
    """Bits a second on the wire, once what may go at once has gone."""
    kind = socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM
    with target.socket(SOCKET_FAMILY[family], kind) as receiver, source.socket(SOCKET_FAMILY[family], kind) as sender:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((ANY_ADDRESS[family], PORT))
        if proto == "TCP":
            receiver.listen(1)
        sender.settimeout(10)
        sender.connect((world.addresses[target][family], PORT))
        sender.setblocking(False)
        if proto == "UDP":
            receiver.setblocking(False)
            return datagram_rate(sender, receiver) * HEADERS[proto, family]
        receiver.settimeout(10)
        with receiver.accept()[0] as accepted:
            accepted.setblocking(False)
            return stream_rate(sender, accepted) * HEADERS[proto, family]


def ratios(world, ways, family):
    return {f"{source} to {target} {proto}": round(rate(world, source, target, family, proto) / RATE, 2)
            for source, target in ways for proto in ("TCP", "UDP")}


@each_family
@limit(60)
def test_what_a_pod_gets_is_limited_wherever_it_comes_from(world, family):
    ways = [(source, world.slow_in) for source in (world.free, world.node, world.outside)]
    found = ratios(world, ways, family)
    assert all(0.75 < ratio < 1.1 for ratio in found.values()), found


@each_family
@limit(60)
def test_what_a_pod_sends_is_limited_wherever_it_goes(world, family):
    ways = [(world.slow_out, target) for target in (world.free, world.node, world.outside)]
    found = ratios(world, ways, family)
    assert all(0.75 < ratio < 1.1 for ratio in found.values()), found


@each_family
@limit(60)
def test_the_other_direction_and_other_pods_are_not_limited(world, family):
    ways = [(world.slow_in, world.free), (world.free, world.slow_out), (world.free, world.node)]
    found = {f"{source} to {target}": round(rate(world, source, target, family, "TCP") / RATE, 1) for source, target in ways}
    assert all(ratio > 3 for ratio in found.values()), found


def queues(netns, ifname):
    return [q["kind"] for q in json.loads(netns.run("tc", "-j", "qdisc", "show", "dev", ifname).stdout) if q.get("root")]


@limit(60)
def test_limits_outlive_a_restart_and_are_put_back(world):
    pod = limited(world, "kept", ingressRate=RATE, egressRate=RATE)
    shown = next(p for p in world.node.agent.ctl_json("pod", "list") if p["name"] == "kept")
    assert shown["bandwidth"] == {"ingressRate": RATE, "ingressBurst": 0, "egressRate": RATE, "egressBurst": 0}
    world.node.agent.restart()
    pod.check()
    assert queues(world.node.netns, pod.host_link) == ["tbf"] and queues(pod.netns, "eth0") == ["tbf"]
    with inside(world.node.netns.path):
        world.node.netns.run("tc", "qdisc", "del", "dev", pod.host_link, "root")
    wait_until(lambda: queues(world.node.netns, pod.host_link) == ["tbf"], "the limit is back", interval=0.1)
    problems = [p for p in world.node.agent.ctl_json("status")["problems"] if "kept" in p["source"]]
    assert not problems, problems


def test_check_finds_a_limit_that_is_gone(world):
    pod = limited(world, "checked", egressRate=RATE)
    pod.check()
    pod.netns.run("tc", "qdisc", "del", "dev", "eth0", "root")
    try:
        pod.check()
    except CniError as error:
        assert "limit" in str(error), error
    else:
        raise AssertionError("CHECK is content without the limit")
