# SPDX-License-Identifier: Apache-2.0
"""Limits of a pod's bandwidth hold for what it sends and what it gets, whoever is at the other end."""

import json
import socket
import threading
import time

from lib.cni import CniError
from lib.netns import inside
from lib.runner import each_family, limit
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, V4, V6, wait_until
from lib.world import OUTSIDE_IP

WORLD = {}
RATE = 20_000_000  # bits a second
HEADERS = {("TCP", V4): 1500 / 1448, ("TCP", V6): 1500 / 1428, ("UDP", V4): 1242 / 1200, ("UDP", V6): 1262 / 1200}
SETTLE, MEASURE = 0.6, 2.0
PORT = 9000


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


class Stream:
    """As much as goes, from one place to another, until it is closed."""

    def __init__(self, world, source, target, family, proto):
        self.kind = socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM
        self.sockets, self.received, self.stop = [], 0, threading.Event()
        receiver = self.make(target, family)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((ANY_ADDRESS[family], PORT))
        self.sender = self.make(source, family)
        if proto == "TCP":
            receiver.listen(1)
        self.sender.connect((world.addresses[target][family], PORT))
        if proto == "TCP":
            receiver = receiver.accept()[0]
            self.sockets.append(receiver)
        for one in (self.sender, receiver):
            one.settimeout(0.2)
        self.threads = [threading.Thread(target=self.send), threading.Thread(target=self.receive, args=(receiver,))]
        for thread in self.threads:
            thread.start()

    def make(self, where, family):
        made = where.socket(SOCKET_FAMILY[family], self.kind)
        made.settimeout(3)
        self.sockets.append(made)
        return made

    def send(self):
        data = bytes(65536 if self.kind == socket.SOCK_STREAM else 1200)
        while not self.stop.is_set():
            try:
                self.sender.send(data)
            except OSError:
                pass
            if self.kind == socket.SOCK_DGRAM:
                time.sleep(1200 * 8 / (4 * RATE))

    def receive(self, receiver):
        while not self.stop.is_set():
            try:
                self.received += len(receiver.recv(65536))
            except OSError:
                pass

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()


def rate(world, source, target, family, proto):
    """Bits a second on the wire, once what may go at once has gone."""
    stream = Stream(world, source, target, family, proto)
    try:
        time.sleep(SETTLE)
        before, begin = stream.received, time.monotonic()
        time.sleep(MEASURE)
        return (stream.received - before) * 8 * HEADERS[proto, family] / (time.monotonic() - begin)
    finally:
        stream.close()


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
    wait_until(lambda: queues(world.node.netns, pod.host_link) == ["tbf"], "the limit is back", 8, 0.1)
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
