# SPDX-License-Identifier: Apache-2.0
"""Routing rules of the administrator and of other software, and tables other than main, under pods."""

import contextlib

from lib.runner import each_family
from lib.traffic import V4, V6, ping, reach, wait_until
from lib.world import WORLD_IP

LASTS = 70
WORLD = {"nodes": 1}
TABLE = 200
NETWORK = {V4: "192.168.77", V6: "fd99:0:0:1:"}
BITS = {V4: 24, V6: 64}


def setup(world):
    world.a = world.pod("a")
    world.serve(world.outside, 8080)


@contextlib.contextmanager
def rule(world, family, *words):
    words = " ".join(words).split()
    world.node.netns.run("ip", f"-{family}", "rule", "add", *words)
    try:
        yield
    finally:
        world.node.netns.run("ip", f"-{family}", "rule", "del", *words)


def told(world):
    return [p["reason"] for p in world.node.agent.ctl_json("status")["problems"] if p["source"] == "routing rules"]


def wait_told(world, *words):
    wait_until(lambda: told(world) and all(word in told(world)[0] for word in words) if words else not told(world),
               lambda: f"a problem with {words}: {told(world)}")


def seen_as(world, family):
    probe = reach(world.a, WORLD_IP[family], 8080)
    return probe.answer["peer"] if probe.answer else None


@each_family
def test_rule_that_would_lead_pods_elsewhere_is_told_by_name(world, family):
    ranges = {V4: "10.244.4.0/22", V6: "fd44:0:0:1::/64"}
    wait_told(world)
    for words in ((f"from {ranges[family]}",), ("from all",), ("not fwmark 0xca6c",)):
        with rule(world, family, *words, f"lookup {TABLE} pref 500"):
            wait_told(world, "500 (", f"IPv{family}", f"lookup {TABLE}", "does not hold for what pods send")
            # It goes on as table main says.
            assert seen_as(world, family) == world.node.ips[family]
    wait_told(world)
    with rule(world, family, f"from {ranges[family]} prohibit pref 500"):
        wait_told(world, "500 (", "prohibit")


@each_family
def test_rule_that_holds_for_no_pod_is_not_told(world, family):
    others = {V4: "203.0.113.0/24", V6: "fdaa::/64"}
    with contextlib.ExitStack() as stack:
        for words in (f"from {others[family]} lookup {TABLE} pref 500", f"fwmark 0x77 lookup {TABLE} pref 501",
                      f"iif eth0 lookup {TABLE} pref 502", f"oif eth0 lookup {TABLE} pref 503",
                      "from all lookup main suppress_prefixlength 0 pref 504", f"uidrange 1000-2000 lookup {TABLE} pref 505"):
            stack.enter_context(rule(world, family, words))
        # One that is told shows that they have been looked at.
        with rule(world, family, f"from all lookup {TABLE} pref 510"):
            wait_told(world, "510 (")
            assert "more" not in told(world)[0].split(")")[1], told(world)
        wait_told(world)


@each_family
def test_rule_that_forbids_a_destination_is_told(world, family):
    for action in ("prohibit", "blackhole", "unreachable"):
        with rule(world, family, f"to {WORLD_IP[family]} {action} pref 500"):
            wait_told(world, f"500 (IPv{family}", action)
    wait_told(world)


@each_family
def test_second_uplink_with_a_table_of_its_own_source_serves_pods(world, family):
    """Main has a route to a network by it; what bears its address finds the gateway in the other table."""
    netns, agent = world.node.netns, world.node.agent
    dot = "." if family == V4 else ":"
    own, gateway = f"{NETWORK[family]}{dot}2", f"{NETWORK[family]}{dot}1"
    far = {V4: "192.0.2.77", V6: "fd98::77"}[family]
    nodad = " nodad" if family == V6 else ""
    before = dict(agent.options)
    netns.ip(f"link add wan2 type veth peer wan2x netns {world.outside.name}", "link set wan2 up",
             f"addr add {own}/{BITS[family]} dev wan2{nodad}")
    world.outside.ip("link set wan2x up", f"addr add {gateway}/{BITS[family]} dev wan2x{nodad}",
                     f"addr add {far}/{128 if family == V6 else 32} dev lo{nodad}")
    netns.ip(f"route add {far} via {gateway} dev wan2", f"route add default via {gateway} dev wan2 table {TABLE}")
    try:
        with rule(world, family, f"from {own} lookup {TABLE} pref 500"):
            agent.options["uplink"], agent.options["node-ip"] = ["eth0", "wan2"], None
            agent.restart()
            wait_until(lambda: (lambda p: p.answer and p.answer["peer"] == own)(reach(world.a, far, 8080)),
                       "seen with the second uplink's address")
            assert seen_as(world, family) == world.node.ips[family]
            assert ping(world.a, far)
            assert not told(world), told(world)
    finally:
        netns.ip("link del wan2")
        world.outside.ip(f"addr del {far}/{128 if family == V6 else 32} dev lo")
        agent.options.clear()
        agent.options.update(before)
        agent.restart()
