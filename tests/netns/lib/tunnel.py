# SPDX-License-Identifier: Apache-2.0
"""Nodes that reach each other's pods by the agents' routes: through the tunnel, or natively."""

from .traffic import BOTH, wait_until

DEVICE = "polder_vxlan"


def routes(node):
    """Polder's to other nodes: {range: link}."""
    return {route["dst"]: route.get("dev") for family in ("-4", "-6") for route in node.netns.ip_json(family, "route", "show", "proto", "80")
            if "gateway" in route or route.get("dev") == DEVICE}


def tunnelled(node):
    return {range for range, link in routes(node).items() if link == DEVICE}


def device(node):
    return node.netns.ip_json("-d", "link", "show", "dev", DEVICE)[0]


def begin(world):
    """Before the first pod: the world's own routes to pods go, those of the agents come."""
    world.n1, world.n2 = world.nodes
    for node, other in pairs(world):
        for family in BOTH:
            node.netns.run("ip", "route", "del", other.pod_cidr[family], "via", other.ips[family], check=False)
    wait_for_routes(world)
    for node in world.nodes:
        wait_until(lambda n=node: is_settled(n), f"{node}: ways out as the routes are", interval=0.2)


def is_settled(node):
    """The agent reads the host's routes again a moment after they have changed: what is found twice will stay."""
    last, node.before = node.before, node.ruler()
    return node.before == last


def pairs(world):
    return ((world.n1, world.n2), (world.n2, world.n1))


def wait_for_routes(world):
    for node, other in pairs(world):
        link = DEVICE if node.agent.options["tunnel"] == "vxlan" else "eth0"
        wait_until(lambda n=node, o=other, l=link: routes(n) == dict.fromkeys(o.pod_cidr.values(), l),
                   lambda n=node, l=link: f"{n}: routes by {l}: {routes(n)}")
