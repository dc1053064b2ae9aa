# SPDX-License-Identifier: Apache-2.0
"""
Three nodes follow one API server, with ranges of their Node objects: who reaches whom is the same whatever node they are on, by
routes and through the tunnel, and whatever happens to agents, nodes and the server.
"""

import contextlib
import signal
import threading
import time

from lib import objects
from lib.objects import labels, policy
from lib.runner import in_worlds, limit
from lib.traffic import BOTH, Connection, UdpClient, wait_until
from lib.world import OUTSIDE_IP

WORLDS = {"native": {"nodes": 3, "pod_cidr": None}, "vxlan": {"nodes": 3, "pod_cidr": None, "tunnel": "vxlan"}}
LASTS = 75
PORT = 8080
DEVICE = "polder_vxlan"


def tunnelled(node):
    return {route["dst"] for family in ("-4", "-6") for route in node.netns.ip_json(family, "route", "show")
            if route.get("dev") == DEVICE}


def take_routes_away(world):
    """Between the nodes: the tunnel's take their place, and belong to the node as it is without pods."""
    for node in world.nodes:
        for other in [other for other in world.nodes if other is not node]:
            node.netns.ip(*(f"route del {other.pod_cidr[family]} via {other.ips[family]}" for family in BOTH))
    for node in world.nodes:
        wanted = {prefix for other in world.nodes if other is not node for prefix in other.pod_cidr.values()}
        wait_until(lambda n=node, w=wanted: tunnelled(n) == w, lambda n=node: f"{n}: routes by the tunnel; {tunnelled(n)}", 10)
        now = node.ruler()
        node.before = {**node.before, "links": now["links"], "routes": now["routes"], "addresses": now["addresses"], "pins": now["pins"]}


def setup(world):
    """A web and a client on each node, and clients of another namespace."""
    if world.node.agent.options.get("tunnel"):
        take_routes_away(world)
    world.resources.put("other", objects.namespace("other", team="blue"))
    world.webs, world.clients, world.others = [], [], []
    for number, node in enumerate(world.nodes, 1):
        world.webs.append(world.pod(f"web{number}", node=node, labels={"app": "web", "on": node.name}))
        world.clients.append(world.pod(f"client{number}", node=node, labels={"app": "client"}))
        world.others.append(world.pod(f"other{number}", "other", node=node, labels={"app": "client"}))
        world.serve(world.webs[-1], PORT)
        world.serve(world.webs[-1], PORT, "UDP")
    expect(world, clients="open", others="open", outside="open")


def expect(world, clients, others, outside, webs=None, **options):
    """The whole table: each source on each node to each web, both families."""
    cells = []
    for web in webs or world.webs:
        for family in BOTH:
            cells += [(source, web.ips[family], PORT, clients) for source in world.clients]
            cells += [(source, web.ips[family], PORT, others) for source in world.others]
            cells.append((world.outside, web.ips[family], PORT, outside))
    world.expect(*cells, **options)


def rules(*peers):
    return policy("web", labels(app="web"), policyTypes=["Ingress"], ingress=[{"from": list(peers)}] if peers else [])


OWN, BLUE = {"podSelector": labels(app="client")}, {"namespaceSelector": labels(team="blue")}


def test_policy_holds_for_pods_of_all_nodes_from_all_nodes(world):
    world.kubectl("apply", objects=[rules()])
    expect(world, clients="timeout", others="timeout", outside="timeout")
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    world.kubectl("apply", objects=[rules(OWN, BLUE)])
    expect(world, clients="open", others="open", outside="timeout")
    world.kubectl("label", "ns", "other", "team-")
    expect(world, clients="open", others="timeout", outside="timeout")
    world.kubectl("apply", objects=[policy("web", labels(on="node2"), policyTypes=["Ingress"])])
    expect(world, clients="timeout", others="timeout", outside="timeout", webs=[world.webs[1]])
    expect(world, clients="open", others="open", outside="open", webs=[world.webs[0], world.webs[2]])
    world.kubectl("delete", "netpol", "web")
    expect(world, clients="open", others="open", outside="open")


def test_service_reaches_endpoints_of_all_nodes_from_all_nodes(world):
    vips = [world.service_ip(9, family) for family in BOTH]
    slices = [objects.endpoint_slice(f"web-{family}", "web", [objects.endpoint(web.ips[family], web.node.name) for web in world.webs],
                                     [objects.slice_port(PORT)]) for family in BOTH]
    world.kubectl("apply", objects=[objects.service("web", vips, [objects.service_port(80, PORT)]), *slices])
    cells = [(source, vip, 80) for source in (*world.clients, *world.others, *world.nodes) for vip in vips]
    world.expect(*[(*cell, "open") for cell in cells])
    world.kubectl("apply", objects=[rules(OWN)])
    pods = 2 * len(world.clients)
    world.expect(*[(*cell, "open") for cell in cells[:pods]], *[(*cell, "timeout") for cell in cells[pods:2 * pods]])


@in_worlds("native")
@limit(90)
def test_nodes_whose_agents_are_away_while_things_change_come_to_the_same(world):
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    world.nodes[1].agent.kill(signal.SIGKILL)
    expect(world, clients="open", others="timeout", outside="timeout", within=0)
    world.kubectl("apply", objects=[rules(BLUE)])
    expect(world, clients="timeout", others="open", outside="timeout", webs=[world.webs[0], world.webs[2]])
    # What was in force on the node is, until its agent is back.
    expect(world, clients="open", others="timeout", outside="timeout", webs=[world.webs[1]], within=0)
    world.nodes[1].agent.start()
    world.wait_current()
    expect(world, clients="timeout", others="open", outside="timeout")


class Flows:
    """From the clients of `nodes` to the webs of the others, TCP and UDP of both families: they talk all the time."""

    def __init__(self, world, nodes=None):
        self.stop, self.answers, self.trouble, self.flows = threading.Event(), 0, [], []
        chosen = nodes or world.nodes
        pairs = [(client, web) for client in world.clients for web in world.webs
                 if client.node in chosen and web.node in chosen and client.node is not web.node]
        for client, web in pairs:
            for family in BOTH:
                self.flows.append((f"{client} tcp {web.ips[family]}", Connection(client, web.ips[family], PORT)))
                self.flows.append((f"{client} udp {web.ips[family]}", UdpClient(client, web.ips[family], PORT)))
        self.talker = threading.Thread(target=self.talk)

    def talk(self):
        while not self.stop.is_set() and len(self.trouble) < 8:
            for name, flow in self.flows:
                try:
                    flow.ask(2.0)
                    self.answers += 1
                except OSError as error:
                    self.trouble.append(f"{name}: {error or type(error).__name__}")
            time.sleep(0.005)

    def check(self):
        """All have been answered once more, and none has been without an answer."""
        wanted = self.answers + 2 * len(self.flows)
        wait_until(lambda: self.answers >= wanted or self.trouble, "answers", 20)
        assert not self.trouble, "; ".join(self.trouble[:4])

    def __enter__(self):
        self.talker.start()
        self.check()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.check()
        finally:
            self.stop.set()
            self.talker.join()
            for _, flow in self.flows:
                flow.close()


@limit(120)
def test_agents_are_replaced_one_at_a_time_under_traffic(world):
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    with Flows(world) as flows:
        for node in world.nodes:
            node.agent.stop()
            expect(world, clients="open", others="timeout", outside="timeout", webs=[world.webs[node.number - 1]], within=0)
            node.agent.start()
            flows.check()
    expect(world, clients="open", others="timeout", outside="timeout", within=0)


@limit(120)
def test_outage_of_the_server_and_killed_agents_leave_all_as_it_is(world):
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    with Flows(world) as flows:
        world.server.stop()
        world.wait_connected(False)
        for node in world.nodes:
            node.agent.kill(signal.SIGKILL)
        expect(world, clients="open", others="timeout", outside="timeout", within=0)
        for node in world.nodes:
            node.agent.start(wait=False)
        for node in world.nodes:
            node.agent.wait_ready()
        flows.check()
        expect(world, clients="open", others="timeout", outside="timeout", within=0)
        world.server.start()
        world.wait_connected(timeout=40)
        world.kubectl("delete", "netpol", "web")
        expect(world, clients="open", others="open", outside="open", within=3)


def uplink_up(node):
    """And what the kernel took with it, as the machine's network configuration would put it back."""
    node.netns.ip("link set eth0 up")
    for line in [f"addr add {node.ips[6]}/64 dev eth0 nodad", *(f"route add default via {OUTSIDE_IP[family]}" for family in BOTH)]:
        with contextlib.suppress(Exception):
            node.netns.ip(line)
    if not node.agent.options.get("tunnel"):
        for other in [other for other in node.world.nodes if other is not node]:
            for family in BOTH:
                with contextlib.suppress(Exception):
                    node.netns.ip(f"route add {other.pod_cidr[family]} via {other.ips[family]}")


@limit(120)
def test_node_that_fails_and_returns_disturbs_no_other(world):
    lost, web = world.nodes[1], world.webs[1]
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    with Flows(world, [world.nodes[0], world.nodes[2]]) as flows:
        lost.agent.kill(signal.SIGKILL)
        lost.netns.ip("link set eth0 down")
        try:
            flows.check()
            world.expect(*[(world.clients[0], web.ips[family], PORT, "timeout") for family in BOTH], within=0)
        finally:
            uplink_up(lost)
            lost.agent.start()
        world.wait_connected(timeout=40)
        expect(world, clients="open", others="timeout", outside="timeout", within=10)


def peers_of(node):
    return {peer["name"] for peer in node.agent.ctl_json("node", "list")}


@limit(120)
def test_node_that_is_removed_and_added_disturbs_no_other(world):
    node, rest = world.nodes[1], [world.nodes[0], world.nodes[2]]
    made = objects.node(node.name, list(node.pod_cidr.values()), list(node.ips.values()))
    # Without the tunnel its pods are where the kernel's routes say, which nobody has changed.
    verdict = "timeout" if node.agent.options.get("tunnel") else "open"
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    assert node.name in peers_of(rest[0]), peers_of(rest[0])
    with Flows(world, rest) as flows:
        world.kubectl("delete", "node", node.name)
        try:
            for other in rest:
                wait_until(lambda o=other: node.name not in peers_of(o), lambda o=other: f"{o}: {peers_of(o)}", 10)
            flows.check()
            world.expect(*[(world.clients[0], world.webs[1].ips[family], PORT, verdict) for family in BOTH])
        finally:
            world.store.put(made)
        for other in rest:
            wait_until(lambda o=other: node.name in peers_of(o), lambda o=other: f"{o}: {peers_of(o)}", 10)
        expect(world, clients="open", others="timeout", outside="timeout", within=10)
