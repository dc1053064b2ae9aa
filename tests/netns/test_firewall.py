# SPDX-License-Identifier: Apache-2.0
"""A packet filter of the node that drops what it does not know, as ufw and firewalld set one up: what passes, what has to be opened, what is told."""

import contextlib

from lib.nat import forwards, need_nft, publish
from lib.runner import each_family, limit
from lib.traffic import Connection, ping, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {}
PUBLISHED_TCP = 18080


def setup(world):
    need_nft()
    forwards(world.node)
    world.node.before = world.node.ruler()
    world.a, world.b = world.pod("a"), world.pod("b")
    for where in (world.a, world.b, world.node, world.outside):
        world.serve(where, 8080)


@contextlib.contextmanager
def closed_node(world, *opened):
    """Policy drop for input and forward; what belongs to a known connection passes, and what `opened` says."""
    rules = "\n".join(opened)
    world.node.netns.run("nft", "-f", "-", stdin=f"""table inet closed {{
        chain input {{
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iif lo accept
            icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
            {rules}
        }}
        chain forward {{ type filter hook forward priority 0; policy drop; ct state established,related accept; }}
    }}""")
    try:
        yield
    finally:
        world.node.netns.run("nft", "delete", "table", "inet", "closed")


def told(world):
    return [p["reason"] for p in world.node.agent.ctl_json("status")["problems"] if p["source"] == "node's answers"]


@each_family
def test_pods_pass_by_the_nodes_filter(world, family):
    """To each other, to the outside and back, from outside; the node's own connections to pods; nothing of it is input or forwarded."""
    with closed_node(world):
        assert reach(world.a, OUTSIDE_IP[family], 8080).verdict == "open"
        assert reach(world.a, world.b.ips[family], 8080).verdict == "open"
        assert reach(world.outside, world.b.ips[family], 8080).verdict == "open"
        assert reach(world.node, world.b.ips[family], 8080).verdict == "open"
        assert ping(world.a, OUTSIDE_IP[family]) == "open" and ping(world.node, world.a.ips[family]) == "open"
        with Connection(world.a, OUTSIDE_IP[family], 8080) as connection:
            assert connection.fetch(200_000)


@each_family
def test_source_range_opens_the_node_to_its_pods(world, family):
    """What docs/operations.md tells to open."""
    word = {4: "ip", 6: "ip6"}[family]
    with closed_node(world, f"{word} saddr {world.node.pod_cidr[family]} accept"):
        assert reach(world.a, world.node.ips[family], 8080).verdict == "open"


@limit(60)
def test_filter_that_drops_what_pods_ask_the_node_for_is_told(world):
    assert not told(world)
    with closed_node(world):
        assert reach(world.a, world.node.ips[4], 8080, timeout=1.5).verdict == "timeout"
        wait_until(lambda: told(world), "the status says so", interval=0.3)
        reason, = told(world)
        assert all(text in reason for text in (world.a.ips[4], world.node.ips[4], "8080", "INPUT")), reason


@each_family
def test_ports_that_are_published_need_the_way_through_the_filter(world, family):
    address = world.node.ips[family]
    with publish(world.node, {("TCP", PUBLISHED_TCP): 8080}, world.b):
        assert reach(world.outside, address, PUBLISHED_TCP).verdict == "open"
        with closed_node(world):
            assert reach(world.outside, address, PUBLISHED_TCP, timeout=0.5).verdict == "timeout"
            word = {4: "ip", 6: "ip6"}[family]
            world.node.netns.run("nft", "add", "rule", "inet", "closed", "forward", word, "daddr",
                                 world.node.pod_cidr[family], "accept")
            assert reach(world.outside, address, PUBLISHED_TCP).verdict == "open"
