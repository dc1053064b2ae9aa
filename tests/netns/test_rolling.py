# SPDX-License-Identifier: Apache-2.0
"""Endpoints that come and go under clients that try again: a first segment is never sent to an endpoint that has left."""

import errno
import os
import select
import socket

from lib import objects
from lib.packets import SYN
from lib.runner import each_family, limit
from lib.traffic import SOCKET_FAMILY, Capture, Connection, reach, wait_until

WORLD = {"nodes": 1}
TCP_REPAIR = 19


def setup(world):
    world.client = world.pod("client")
    world.old = world.pod("old", labels={"app": "old"})
    world.new = world.pod("new", labels={"app": "new"})
    for pod in (world.old, world.new):
        world.serve(pod, 8080)
    world.vip = world.service("web", 1, [objects.service_port(80, 8080, name="tcp")])


def endpoints(world, *pods):
    """The Service has these; returns when the agent says so."""
    for family in (4, 6):
        world.resources.put(f"slice-web-{family}", objects.endpoint_slice(
            f"web-{family}", "web", [objects.endpoint(pod.ips[family]) for pod in pods],
            [objects.slice_port(8080, name="tcp")]))

    def told():
        shown = str([s for s in world.node.agent.ctl_json("service", "list") if s.get("name") == "web"])
        return all((ip in shown) == (pod in pods) for pod in (world.old, world.new) for ip in pod.ips.values())
    wait_until(told, lambda: f"{world.node.agent.ctl_json('service', 'list')}")


def finish(sock, timeout):
    """The result of a connect() that has begun, as an errno."""
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    if not poller.poll(timeout * 1000):
        return errno.ETIMEDOUT
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def vanish(connection):
    """The socket is gone and has said nothing."""
    connection.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    connection.close()


@each_family
def test_first_segment_that_is_repeated_reaches_an_endpoint_that_is_left(world, family):
    """The endpoint never answered, then left; the client's kernel repeats its SYN."""
    endpoints(world, world.old)
    deaf = ("rule", "add", "to", world.client.ips[family], "pref", "10", "blackhole")
    world.old.netns.run("ip", f"-{family}", *deaf)
    try:
        with Capture(world.old.netns) as capture, \
                world.client.socket(SOCKET_FAMILY[family], socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            assert sock.connect_ex((world.vip[family], 80)) == errno.EINPROGRESS
            capture.wait(lambda p: p.dport == 8080 and p.flags == SYN, "the first SYN")
            endpoints(world, world.new)
            result = finish(sock, 15)
            assert result == 0, os.strerror(result)
            sock.settimeout(3)
            sock.sendall(b"who\n")
            assert b'"new"' in sock.recv(1000)
    finally:
        world.old.netns.run("ip", f"-{family}", "rule", "del", "pref", "10")


@each_family
def test_source_port_that_is_used_again_reaches_an_endpoint_that_is_left(world, family):
    """The old connection still stands in the flow table, for its client went without a word."""
    for number in range(5):
        sport = 41000 + number
        endpoints(world, world.old)
        connection = Connection(world.client, world.vip[family], 80, source_port=sport)
        assert connection.ask()["server"] == "old"
        vanish(connection)
        endpoints(world, world.new)
        probe = reach(world.client, world.vip[family], 80, source_port=sport, timeout=5)
        assert probe.verdict == "open", probe.verdict
        assert probe.answer["server"] == "new", probe.answer


@each_family
@limit(90)
def test_rolling_update_refuses_no_connection(world, family):
    """Endpoints that are replaced one after the other, their pods deleted behind them; few source ports, used again."""
    current, sport = world.old, 42000
    for number in range(6):
        following = world.pod(f"roll-{number}", labels={"app": "roll"})
        world.serve(following, 8080)
        for step in ((current, following), (following,)):
            endpoints(world, *step)
            for _ in range(20):
                sport = 42000 + (sport + 1) % 30
                connection = Connection(world.client, world.vip[family], 80, timeout=5, source_port=sport)
                assert connection.ask()["server"] in {pod.name for pod in step}
                vanish(connection)
        if current is not world.old:
            current.delete()
        current = following


@each_family
def test_connection_that_stands_goes_on_with_an_endpoint_that_terminates(world, family):
    """Only a first segment is moved; never one in mid-stream."""
    endpoints(world, world.old)
    with Connection(world.client, world.vip[family], 80) as connection:
        assert connection.ask()["server"] == "old"
        world.resources.put(f"slice-web-{family}", objects.endpoint_slice(
            f"web-{family}", "web", [objects.endpoint(world.old.ips[family], ready=False, serving=True,
                                                      terminating=True), objects.endpoint(world.new.ips[family])],
            [objects.slice_port(8080, name="tcp")]))
        wait_until(lambda: reach(world.client, world.vip[family], 80).answer["server"] == "new", "the new endpoint")
        assert connection.ask()["server"] == "old"
