# SPDX-License-Identifier: Apache-2.0
"""From outside to Services, with XDP in the driver, in the generic path, and without: the same verdicts, and streams that XDP sends back to the wire."""

import re

from lib import frontends
from lib.runner import each_family, in_worlds
from lib.traffic import Connection, wait_until

LASTS = 65
WORLDS = {"native": {"nodes": 2}, "generic": {"nodes": 2, "xdp": "generic"}, "off": {"nodes": 2, "xdp": "off"}}
ASKED = 300


def offload(netns, link, feature, state):
    netns.run("ethtool", "-K", link, feature, state)


def setup(world):
    """The other sides of the uplinks poll, so that frames may be sent there from XDP; whoever sends to them completes its sums; and the nodes
    forward, so that the kernel says next hops."""
    for node in world.nodes:
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        node.before = node.ruler()
    frontends.fill(world)
    for node in world.nodes:
        offload(world.fabric, f"p-{node.label}", "gro", "on")
        offload(node.netns, "eth0", "tx", "off")
        node.agent.restart()
    offload(world.outside, "eth0", "tx", "off")


def sent_by_xdp(node):
    """Frames that the driver of the uplink got back from XDP to be sent."""
    text = node.netns.run("ethtool", "-S", "eth0").stdout
    return sum(int(number) for number in re.findall(r"rx_queue_\d+_xdp_redirect: (\d+)", text))


def to_the_other_node(world, family, proto):
    frontend = next(f for f in world.frontends if f.name == "there-cluster")
    return frontend.address(world, family, "node-port-1", proto)


@each_family
def test_the_outside_reaches_what_it_may(world, family):
    frontends.check(world, family, "outside")


@each_family
def test_stream_to_another_nodes_endpoint_arrives_whole(world, family):
    connection = Connection(world.outside, *to_the_other_node(world, family, "TCP"))
    for _ in range(3):
        assert connection.fetch(500_000)


@in_worlds("native")
@each_family
def test_stream_leaves_by_xdp_also_while_the_agent_is_away(world, family):
    connection = Connection(world.outside, *to_the_other_node(world, family, "TCP"))
    for stopped in (False, True):
        if stopped:
            world.n1.agent.stop()
        before = sent_by_xdp(world.n1)
        for _ in range(ASKED):
            connection.ask()
        # One packet a second to each neighbour is the kernel's, and the first of all.
        assert sent_by_xdp(world.n1) - before > ASKED, (stopped, before, sent_by_xdp(world.n1))
    world.n1.agent.start()
    connection.ask()


@in_worlds("native")
@each_family
def test_sums_left_to_a_device_are_completed(world, family):
    """As between namespaces of one host: XDP sees the pseudo header's sum alone, and passes the frame."""
    offload(world.outside, "eth0", "tx", "on")
    try:
        connection = Connection(world.outside, *to_the_other_node(world, family, "TCP"))
        assert connection.fetch(500_000)
        for _ in range(20):
            connection.ask()
    finally:
        offload(world.outside, "eth0", "tx", "off")


@in_worlds("native")
def test_link_whose_other_side_does_not_poll_is_told(world):
    offload(world.fabric, "p-n1", "gro", "off")
    try:
        world.n1.agent.restart()
        wait_until(lambda: "does not forward" in world.n1.agent.ctl_json("status")["uplinks"][0]["xdp_reason"], "told in status")
        connection = Connection(world.outside, *to_the_other_node(world, 4, "TCP"))
        assert connection.fetch(100_000), "TC does it"
    finally:
        offload(world.fabric, "p-n1", "gro", "on")
        world.n1.agent.restart()
    assert world.n1.agent.ctl_json("status")["uplinks"][0]["xdp_reason"] == ""
