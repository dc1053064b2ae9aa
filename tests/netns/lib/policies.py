# SPDX-License-Identifier: Apache-2.0
"""What tests of policy share: who may reach whom, and short ways to write policies."""

from . import objects
from .objects import labels, policy
from .traffic import BOTH

OPEN, SHUT = "open", "timeout"
OUTSIDE_PREFIX = {4: "172.30.0.1/32", 6: "fd30::1/128"}
ALL_PREFIX = {4: "0.0.0.0/0", 6: "::/0"}
FULL = {4: 32, 6: 128}


def six_pods(world):
    """A world of two nodes and three namespaces; pods a, b and c (on the second node) of x, a and b of y, a of z."""
    world.n1, world.n2 = world.nodes
    world.resources.put("namespaces", objects.namespace("x", team="red", env="test"),
                        objects.namespace("y", team="blue"), objects.namespace("z"))
    ports = (("serve-80", 80, "TCP"), ("serve-81", 81, "TCP"), ("serve-80-udp", 80, "UDP"),
             ("both", 81, "TCP"), ("both", 80, "UDP"))
    world.xa = world.pod("a", "x", labels={"pod": "a", "role": "front"}, ports=ports)
    world.xb = world.pod("b", "x", labels={"pod": "b"}, ports=ports)
    world.xc = world.pod("c", "x", labels={"pod": "c"}, ports=ports, node=world.n2)
    world.ya = world.pod("a", "y", labels={"pod": "a", "role": "front"}, ports=ports)
    world.yb = world.pod("b", "y", labels={"pod": "b"}, ports=ports, node=world.n2)
    world.za = world.pod("a", "z", labels={"pod": "a"}, ports=ports)
    world.everyone = [world.xa, world.xb, world.xc, world.ya, world.yb, world.za]
    for where in world.everyone + [world.n1, world.n2, world.outside]:
        for port, proto in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
            world.serve(where, port, proto)


class Matrix:
    """Verdicts in one family, or in both at once; expect() names who may reach whom."""

    def __init__(self, world, *families):
        self.world, self.families = world, families or BOTH

    def expect(self, *cells):
        """Cells of (source, target, verdict[, port[, protocol]])."""
        self.world.expect(*[self.cell(family, *cell) for cell in cells
                            for family in self.families])

    @staticmethod
    def cell(family, source, target, verdict, port=80, proto="TCP"):
        return (source, address_of(target, family), port, verdict, proto)

    def who(self, target, allowed, among=None, port=80, proto="TCP"):
        """Of the pods, exactly `allowed` reach the target."""
        sources = [p for p in (among or self.world.everyone) if p is not target]
        self.expect(*[(p, target, OPEN if p in allowed else SHUT, port, proto) for p in sources])

    def whom(self, source, allowed, port=80, proto="TCP"):
        """Of the pods, the source reaches exactly `allowed`."""
        targets = [p for p in self.world.everyone if p is not source]
        self.expect(*[(source, p, OPEN if p in allowed else SHUT, port, proto) for p in targets])

    def block(self, target, length=None):
        """The target's address as a CIDR."""
        family, = self.families
        return f"{address_of(target, family)}/{length or FULL[family]}"


def address_of(target, family):
    """Of a pod or node, of a dictionary of families (a Service), or the text itself."""
    if isinstance(target, str):
        return target
    return target[family] if isinstance(target, dict) else target.ips[family]


def blocks(*targets):
    """ipBlock peers of the targets' addresses in both families."""
    return [{"ipBlock": {"cidr": f"{address_of(target, family)}/{FULL[family]}"}}
            for target in targets for family in BOTH]


def others(world, *excluded):
    return [p for p in world.everyone if p not in excluded]


def ingress(name="in", pod=None, ns="x", rules=None, **spec):
    """A policy of type Ingress; no rules: nothing may come in."""
    return policy(name, pod, ns, policyTypes=["Ingress"], ingress=rules or [], **spec)


def egress(name="out", pod=None, ns="x", rules=None, **spec):
    return policy(name, pod, ns, policyTypes=["Egress"], egress=rules or [], **spec)


def peers(*list_of_peers, ports=None, key="from"):
    rule = {key: list(list_of_peers)}
    if ports is not None:
        rule["ports"] = ports
    return rule


def tcp(port, **more):
    return {"protocol": "TCP", "port": port, **more}


A, B = labels(pod="a"), labels(pod="b")
