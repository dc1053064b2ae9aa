# SPDX-License-Identifier: Apache-2.0
"""Destinations that the node has no route to, or that its routes forbid: pods fare as the node does, and are told as the kernel tells."""

import contextlib
import json

from lib import packets
from lib.runner import each_family, in_worlds
from lib.traffic import BOTH, V4, V6, Capture, Connection, UdpClient, is_cut, reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

LASTS = 85
WORLDS = {"": {}, "automatic": {"uplink": None, "node_ip": None}}
BITS = {V4: 32, V6: 128}
# What a forwarding Linux answers: (ICMP, ICMPv6) type and code; None: nothing.
ANSWERS = {
    "unreachable": ("route_unreachable", {V4: (3, 1), V6: (1, 0)}),
    "prohibit": ("route_prohibited", {V4: (3, 13), V6: (1, 1)}),
    "blackhole": ("route_blackhole", {V4: None, V6: None}),
    "throw": ("no_route", {V4: (3, 0), V6: (1, 0)}),
}
NO_ROUTE = {V4: (3, 0), V6: (1, 0)}


def setup(world):
    world.a = world.pod("a")
    world.serve(world.outside, 8080)
    world.serve(world.outside, 5353, "UDP")


@contextlib.contextmanager
def route(world, family, *words):
    """A route of the administrator's; also one that comes when the module's own is there."""
    world.node.netns.run("ip", f"-{family}", "route", "add", *words)
    try:
        yield
    finally:
        world.node.netns.run("ip", f"-{family}", "route", "del", *words)


@contextlib.contextmanager
def no_default_route(world, family):
    world.node.netns.run("ip", f"-{family}", "route", "del", "default")
    try:
        yield
    finally:
        world.node.netns.run("ip", f"-{family}", "route", "add", "default", "via", OUTSIDE_IP[family])


def answer(world, address, timeout=0.5):
    """(type, code) of the error that comes back for a datagram; None: none comes; "open"."""
    with UdpClient(world.a, address, 5353) as client:
        client.watch_errors()
        client.send()
        try:
            found = client.error(timeout)
            return found[1], found[2]
        except Exception:  # no error came
            return "open" if client.state(0.1) == "open" else None


def check_refused(world, family, address, reason, expected):
    """From within 5 s on: told at once, counted, and explained; TCP, UDP, and nothing leaves."""
    agent, seen = world.node.agent, []

    def refused():
        before = agent.drops(reason)
        seen[:] = [answer(world, address), agent.drops(reason) - before]
        return seen[0] == expected and seen[1] > 0
    wait_until(refused, lambda: f"{address}: {reason}, {expected}: it was {seen}", interval=0.05)
    # What left in the moment before still looks for its neighbour, three times a second apart.
    world.node.netns.run("ip", "neigh", "del", address, "dev", "eth0", check=False)
    with Capture(world.outside) as capture, agent.dropping(reason):
        verdict = reach(world.a, address, 8080, timeout=1.5).verdict
        assert verdict == ("timeout" if expected is None else "unreachable"), verdict
        # The node itself may say of a late answer from there that nobody waits for it.
        capture.none(lambda p: asks_for(p, address) or (p.destination == address and p.proto in (packets.TCP, packets.UDP)), 0.2)
    check_explained(world, family, address, reason)


def asks_for(packet, address):
    """Looks for a neighbour with that address: who has it, on the link?"""
    raw = getattr(packet, "frame", b"")
    wanted = packets.address_bytes(address)
    return (raw[12:14] == b"\x08\x06" and raw[38:42] == wanted) or \
        (raw[12:14] == b"\x86\xdd" and raw[54:55] == b"\x87" and raw[62:78] == wanted)


def check_explained(world, family, address, reason):
    done = world.node.agent.ctl("-o", "json", "explain", "--from", "default/a", "--to", address, "--port", "8080",
                                "--family", {V4: "ipv4", V6: "ipv6"}[family], check=False)
    answered = json.loads(done.stdout)
    assert answered["verdict"] == "denied" and answered["reason"] == reason, answered
    assert answered["agree"] is True, answered["differences"]
    for method in ("objects", "maps", "program"):
        assert answered["methods"][method]["reason"] == reason, answered["methods"]


def check_open(world, family, address):
    wait_until(lambda: reach(world.a, address, 8080, timeout=0.3).verdict == "open", f"{address} is reached again")
    assert answer(world, address) == "open"


@each_family
@in_worlds("", "automatic")
def test_routes_that_forbid_hold_for_pods_and_tell_as_the_kernel_does(world, family):
    for address in (WORLD_IP[family], OUTSIDE_IP[family]):
        for kind, (reason, expected) in ANSWERS.items():
            # On the uplink's own network the network's route holds behind one that passes on.
            if kind == "throw" and address == OUTSIDE_IP[family]:
                continue
            with route(world, family, kind, f"{address}/{BITS[family]}"):
                check_refused(world, family, address, reason, expected[family])
            check_open(world, family, address)


@each_family
@in_worlds("", "automatic")
def test_destination_without_a_route_is_refused_at_once(world, family):
    with no_default_route(world, family):
        check_refused(world, family, WORLD_IP[family], "no_route", NO_ROUTE[family])
        # The uplink's own network, and the other family, are there as before.
        check_open(world, family, OUTSIDE_IP[family])
        check_open(world, BOTH[0] + BOTH[1] - family, WORLD_IP[BOTH[0] + BOTH[1] - family])
    check_open(world, family, WORLD_IP[family])


@each_family
@in_worlds("", "automatic")
def test_wider_and_narrower_routes_hold_by_their_length(world, family):
    network = {V4: "198.51.100.0/24", V6: "2001:db8:51::/48"}[family]
    with route(world, family, "prohibit", network):
        check_refused(world, family, WORLD_IP[family], *prohibited(family))
        with route(world, family, f"{WORLD_IP[family]}/{BITS[family]}", "via", OUTSIDE_IP[family]):
            check_open(world, family, WORLD_IP[family])
        check_refused(world, family, WORLD_IP[family], *prohibited(family))
    check_open(world, family, WORLD_IP[family])


def prohibited(family):
    return ANSWERS["prohibit"][0], ANSWERS["prohibit"][1][family]


@each_family
@in_worlds("", "automatic")
def test_route_by_a_link_that_is_no_uplink_is_no_way_for_pods(world, family):
    world.node.netns.ip("link add elsewhere type veth peer name nobody", "link set elsewhere up", "link set nobody up")
    try:
        with route(world, family, f"{WORLD_IP[family]}/{BITS[family]}", "dev", "elsewhere"):
            check_refused(world, family, WORLD_IP[family], "no_route", NO_ROUTE[family])
    finally:
        world.node.netns.ip("link del elsewhere")
    check_open(world, family, WORLD_IP[family])


@each_family
@in_worlds("", "automatic")
def test_live_flows_stop_with_the_route_and_go_on_with_it(world, family):
    """Whatever the uplink forwards; the connection is not ended: routes flap."""
    for forwards in (0, 1):
        world.node.netns.sysctl(**{"net/ipv4/conf/eth0/forwarding": forwards})
        with Connection(world.a, WORLD_IP[family], 8080, timeout=10) as connection, \
                UdpClient(world.a, WORLD_IP[family], 5353) as client:
            connection.ask()
            client.ask()
            for kind in ("prohibit", "blackhole"):
                with route(world, family, kind, f"{WORLD_IP[family]}/{BITS[family]}"):
                    wait_until(lambda: is_cut(client), f"{kind}: datagrams stop")
                    with Capture(world.outside) as capture, world.node.agent.dropping(ANSWERS[kind][0], 20):
                        for _ in range(20):
                            with contextlib.suppress(OSError):
                                client.send()
                        capture.none(lambda p: p.destination == WORLD_IP[family], 0.2)
                wait_until(lambda: client.state(0.2) == "open", f"{kind}: datagrams go on")
                connection.ask()
    world.node.netns.sysctl(**{"net/ipv4/conf/eth0/forwarding": 0})
