# SPDX-License-Identifier: Apache-2.0
"""Services at every kind of address, from everywhere, to endpoints everywhere, where nodes reach each other's pods by the tunnel."""

from lib import frontends
from lib.runner import each_family
from lib.traffic import BOTH, wait_until

WORLD = {"nodes": 2, "tunnel": "vxlan"}
DEVICE = "polder_vxlan"


def setup(world):
    world.n1, world.n2 = world.nodes
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        for family in BOTH:
            node.netns.ip(f"route del {other.pod_cidr[family]} via {other.ips[family]}")
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        wait_until(lambda n=node, o=other: tunnelled(n) == set(o.pod_cidr.values()), f"{node}: routes by the tunnel")
        now = node.ruler()
        node.before = {**node.before, "routes": now["routes"], "pins": now["pins"],
                       "maps": {**node.before["maps"], "egress_routes": now["maps"].get("egress_routes")}}
    frontends.fill(world)


def tunnelled(node):
    return {route["dst"] for family in ("-4", "-6") for route in node.netns.ip_json(family, "route", "show")
            if route.get("dev") == DEVICE}


@each_family
def test_a_pod_of_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-1")


@each_family
def test_a_pod_of_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-2")


@each_family
def test_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-1")


@each_family
def test_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-2")


@each_family
def test_the_outside_reaches_what_it_may(world, family):
    frontends.check(world, family, "outside")
