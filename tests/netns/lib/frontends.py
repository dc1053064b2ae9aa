# SPDX-License-Identifier: Apache-2.0
"""Who reaches which address of a Service how: one table of callers, addresses, endpoints' places and traffic policies."""

from . import objects
from .traffic import BOTH, CLOSED_AFTER, V4, V6, Probe, run_probes, wait_until
from .world import OUTSIDE_IP, SERVICE_NET

PLACES = {"here": 1, "there": 2, "nowhere": None}  # the number of the node that the endpoint is on
POLICIES = ("cluster", "local", "internal")
KINDS = ("cluster-ip", "node-port-1", "node-port-2", "external-ip", "load-balancer")
PORTS = {"TCP": 80, "UDP": 53}
TARGETS = {"TCP": 8080, "UDP": 5353}
FIRST_NODE_PORT = 30100
FIRST_SERVICE = 50
EXTERNAL = {V4: "192.0.2.", V6: "2001:db8:e::"}


class Frontend:
    """A Service of one place and traffic policy, with all kinds of addresses."""

    def __init__(self, number, place, policy):
        self.number, self.place, self.policy = number, place, policy
        self.name = f"{place}-{policy}"
        self.node_port = {"TCP": FIRST_NODE_PORT + number, "UDP": FIRST_NODE_PORT + number}

    def cluster_ip(self, world, family):
        return world.service_ip(FIRST_SERVICE + self.number, family)

    def external(self, family, kind):
        number = self.number + (10 if kind == "external-ip" else 110)
        return f"{EXTERNAL[family]}{number if family == V4 else format(number, 'x')}"

    def address(self, world, family, kind, proto):
        """Address and port."""
        if kind == "cluster-ip":
            return self.cluster_ip(world, family), PORTS[proto]
        if kind.startswith("node-port"):
            return world.nodes[int(kind[-1]) - 1].ips[family], self.node_port[proto]
        return self.external(family, kind), PORTS[proto]

    def put(self, world):
        ports = [{**objects.service_port(PORTS[proto], TARGETS[proto], proto, name=proto.lower()),
                  "nodePort": self.node_port[proto]} for proto in PORTS]
        made = objects.service(
            self.name, [self.cluster_ip(world, family) for family in BOTH], ports, {"place": self.place},
            type="LoadBalancer", externalIPs=[self.external(family, "external-ip") for family in BOTH],
            externalTrafficPolicy="Local" if self.policy == "local" else "Cluster",
            internalTrafficPolicy="Local" if self.policy == "internal" else "Cluster")
        made["status"] = {"loadBalancer": {"ingress": [{"ip": self.external(family, "load-balancer")}
                                                       for family in BOTH]}}
        world.resources.put(f"service-{self.name}", made)


def fill(world):
    """Endpoints on two nodes, a Service for each cell of places and policies, and the outside's routes to the first node."""
    world.n1, world.n2 = world.nodes
    for name, node in (("here", world.n1), ("there", world.n2)):
        pod = world.pod(name, node=node, labels={"place": name})
        for proto, port in TARGETS.items():
            world.serve(pod, port, proto)
    world.callers = {"pod-1": world.pod("pod-1", node=world.n1), "pod-2": world.pod("pod-2", node=world.n2),
                     "node-1": world.n1, "node-2": world.n2, "outside": world.outside}
    world.outside.ip(*[f"route add {prefix} via {world.n1.ips[V6 if ':' in prefix else V4]}"
                       for prefix in (EXTERNAL[V4] + "0/24", EXTERNAL[V6] + "/64", SERVICE_NET[V4] + "0.0/16", SERVICE_NET[V6] + "/64")])
    world.frontends = [Frontend(number, place, policy)
                       for number, (place, policy) in enumerate((place, policy) for place in PLACES for policy in POLICIES)]
    for frontend in world.frontends:
        frontend.put(world)
    for node in world.nodes:
        names = {frontend.name for frontend in world.frontends}
        wait_until(lambda n=node: names <= {s.get("name") for s in n.agent.ctl_json("service", "list")}, f"{node}: all Services")


def check(world, family, caller):
    """The whole table of a caller."""
    wrong = table(world, family, caller)
    assert not wrong, f"{len(wrong)} wrong: " + "; ".join(wrong[:12])


def asked_node(caller, kind):
    """The number of the node that translates; None: none does."""
    if kind.startswith("node-port"):
        return int(kind[-1])
    if caller == "outside":
        return None if kind == "cluster-ip" else 1
    return int(caller[-1])


def expected(caller, kind, frontend):
    """The verdict: open, refused, or timeout for what is not answered."""
    node, place = asked_node(caller, kind), PLACES[frontend.place]
    if node is None:
        return "timeout"
    if place is None:
        return "refused"
    if caller == "outside":
        stays = frontend.policy == "local"
    else:
        stays = frontend.policy == "internal" and kind == "cluster-ip"
    return "timeout" if stays and place != node else "open"


def expected_peer(world, caller, kind, frontend, family):
    """The address that the endpoint sees; None: one of several of the node that asks."""
    node = asked_node(caller, kind)
    if caller == "outside":
        return OUTSIDE_IP[family] if frontend.policy == "local" else world.nodes[node - 1].ips[family]
    if int(caller[-1]) != node:
        return world.nodes[node - 1].ips[family]
    return world.callers[caller].ips[family] if caller.startswith("pod") else None


class Cell:
    """One attempt."""

    def __init__(self, world, caller, kind, frontend, proto, family):
        self.what = f"{caller} -> {kind} of {frontend.name}, {proto} v{family}"
        self.verdict = expected(caller, kind, frontend)
        # A socket of the node is told at once what is not to be had; no packet leaves that could go unanswered.
        if self.verdict == "timeout" and caller.startswith("node") and asked_node(caller, kind) == int(caller[-1]):
            self.verdict = "unreachable"
        self.peer = expected_peer(world, caller, kind, frontend, family) if self.verdict == "open" else None
        self.frontend = frontend
        self.probe = Probe(world.callers[caller], *frontend.address(world, family, kind, proto), proto)

    def wrong(self):
        """What is not as expected; empty: all is."""
        if self.probe.verdict != self.verdict:
            return f"{self.what}: {self.probe.verdict}, expected {self.verdict}"
        if self.verdict == "open" and self.probe.answer["server"] != self.frontend.place:
            return f"{self.what}: answered by {self.probe.answer['server']}"
        if self.peer and self.probe.answer["peer"] != self.peer:
            return f"{self.what}: seen as {self.probe.answer['peer']}, expected {self.peer}"
        return ""


def table(world, family, caller):
    """All cells of a caller and a family; those that differ, in words."""
    cells = [Cell(world, caller, kind, frontend, proto, family)
             for kind in KINDS for frontend in world.frontends for proto in PORTS]
    run_probes([cell.probe for cell in cells], 5, CLOSED_AFTER,
               [cell.probe for cell in cells if cell.verdict == "timeout"])
    return [wrong for wrong in (cell.wrong() for cell in cells) if wrong]
