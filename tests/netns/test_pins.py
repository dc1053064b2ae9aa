# SPDX-License-Identifier: Apache-2.0
"""Somebody removes pins, the directory or the whole bpffs while the agent runs: nothing is open for a moment, all is pinned again."""

import os
import signal
import time

from lib.netns import run
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import BOTH, Capture, Connection, Sender, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 1}
MARK = b"nobody evaluated this"


def setup(world):
    world.agent = world.node.agent
    world.a = world.pod("a", labels={"app": "a"})
    world.friend = world.pod("friend", labels={"app": "friend"})
    world.denied = world.pod("denied")
    for where in (world.friend, world.denied, world.outside):
        world.serve(where, 8080)
    world.vip = world.service("friend", 9, [{"name": "web", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
                              {"app": "friend"})
    world.resources.put("policies", policy("a", labels(app="a"), policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": labels(app="friend")}]}]))
    world.policies_in_force()
    check(world)


def check(world):
    for family in BOTH:
        world.expect((world.a, world.friend.ips[family], 8080, "open"),
                     (world.node, world.vip[family], 80, "open"),
                     (world.a, world.denied.ips[family], 8080, "timeout"), within=0)


def pins(world):
    return {os.path.relpath(os.path.join(base, name), world.bpffs)
            for base, _, names in os.walk(world.node.bpffs) for name in names}


class Shut:
    """Within the block a pod sends without end to whom policy denies, through a node that forwards, and nothing arrives; a connection that is
    allowed goes on."""

    def __init__(self, world):
        self.world = world

    def __enter__(self):
        world = self.world
        world.node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        self.captures = [Capture(world.denied.netns), Capture(world.outside)]
        self.sender = Sender(*((world.a, address, 5353, MARK.decode()) for family in BOTH
                               for address in (world.denied.ips[family], OUTSIDE_IP[family])))
        self.connections = [Connection(world.a, world.friend.ips[family], 8080) for family in BOTH]
        for connection in self.connections:
            connection.ask()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for connection in self.connections:
                    connection.ask()
                for capture in self.captures:
                    capture.none(lambda p: MARK in p.frame, 0.2)
        finally:
            self.sender.close()
            for one in self.connections + self.captures:
                one.close()
            self.world.node.netns.sysctl(**{"net/ipv4/ip_forward": 0,
                                            "net/ipv6/conf/all/forwarding": 0})


def pinned_again(world, before):
    wait_until(lambda: before <= pins(world), lambda: f"pins are back; missing: {sorted(before - pins(world))}", interval=0.1)
    check(world)


def survives_restart(world):
    """What is pinned is what the next agent finds: connections go on over it."""
    connections = [Connection(world.a, world.friend.ips[family], 8080) for family in BOTH]
    for connection in connections:
        connection.ask()
    world.agent.restart(signal.SIGKILL)
    for connection in connections:
        connection.ask()
        connection.close()
    check(world)


@limit(60)
def test_whole_directory_removed(world):
    before = pins(world)
    with Shut(world):
        run(["rm", "-r", world.node.bpffs])
        pinned_again(world, before)
    survives_restart(world)


@limit(60)
def test_pins_of_links_removed(world):
    before = pins(world)
    with Shut(world):
        run(["sh", "-c", f"rm -r {world.node.bpffs}/v*/links"])
        pinned_again(world, before)
    survives_restart(world)


@limit(60)
def test_every_single_pin_removed(world):
    before = pins(world)
    with Shut(world):
        for name in before:
            os.unlink(os.path.join(world.bpffs, name))
        pinned_again(world, before)
    survives_restart(world)


@limit(60)
def test_bpffs_unmounted_and_mounted_again(world):
    before = pins(world)
    with Shut(world):
        run(["umount", "-l", world.bpffs])
        run(["mount", "-t", "bpf", "bpf", world.bpffs])
        pinned_again(world, before)
    survives_restart(world)


@limit(60)
def test_agent_that_ends_before_it_has_looked_leaves_all_pinned(world):
    before = pins(world)
    with Shut(world):
        run(["rm", "-r", world.node.bpffs])
        world.agent.stop()
        assert before <= pins(world)
        time.sleep(0.5)
        world.agent.start()
    check(world)


@limit(60)
def test_pin_of_another_name_is_no_reason_to_detach(world):
    """A pod's pin replaced by another's: the right one is put back."""
    before = pins(world)
    links = [name for name in before if "/links/from_pod-" in name]
    with Shut(world):
        one, other = (os.path.join(world.bpffs, name) for name in links[:2])
        os.rename(one, one + "x")
        os.rename(other, one)
        os.rename(one + "x", other)
        time.sleep(6)
        pinned_again(world, before)
    survives_restart(world)


@limit(60)
def test_programs_at_the_cgroup_come_back(world):
    for name in pins(world):
        if "/links/socket_" in name:
            os.unlink(os.path.join(world.bpffs, name))
    check(world)
    wait_until(lambda: any("/links/socket_connect4" in name for name in pins(world)), "pinned again", interval=0.1)
    check(world)


def test_directory_of_pins_is_locked_anew(world):
    before = pins(world)
    run(["rm", "-r", world.node.bpffs])
    pinned_again(world, before)
    done = run(["flock", "-n", world.node.bpffs, "true"], check=False)
    assert done.returncode != 0, "nobody has locked the directory"


@limit(60)
def test_programs_leave_a_link_that_is_no_uplink_any_more(world):
    world.node.netns.ip("link add eth9 type bridge", "link set eth9 up")
    ifindex = world.node.netns.ifindex("eth9")
    try:
        world.agent.stop()
        world.agent.options["uplink"] = ["eth0", "eth9"]
        world.agent.start()
        assert any(name.endswith(f"-{ifindex}") for name in pins(world)), pins(world)
    finally:
        world.agent.stop()
        world.agent.options["uplink"] = "eth0"
        world.agent.start()
    assert not any(name.endswith(f"-{ifindex}") for name in pins(world)), pins(world)
    world.node.netns.ip("link del eth9")
    check(world)


@limit(60)
def test_sockets_follow_another_cgroup(world):
    """--cgroup of the next start: the programs move there."""
    other = world.node.cgroup + "-other"
    os.makedirs(other, exist_ok=True)
    own = world.agent.options["cgroup"]
    try:
        world.agent.stop()
        world.agent.options["cgroup"] = other
        world.agent.start()
        world.expect((world.node, world.vip[4], 80, "unreachable"), within=0)
    finally:
        world.agent.stop()
        world.agent.options["cgroup"] = own
        world.agent.start()
        os.rmdir(other)
    check(world)
