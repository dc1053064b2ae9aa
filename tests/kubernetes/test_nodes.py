# SPDX-License-Identifier: Apache-2.0
"""Three nodes follow one API server: who reaches whom is the same whatever node they are on."""

import signal

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import BOTH

WORLD = {"nodes": 3}
LASTS = 45
PORT = 8080


def setup(world):
    """A web and a client on each node, and clients of another namespace."""
    world.resources.put("other", objects.namespace("other", team="blue"))
    world.webs, world.clients, world.others = [], [], []
    for number, node in enumerate(world.nodes, 1):
        world.webs.append(world.pod(f"web{number}", node=node, labels={"app": "web", "on": node.name}))
        world.clients.append(world.pod(f"client{number}", node=node, labels={"app": "client"}))
        world.others.append(world.pod(f"other{number}", "other", node=node, labels={"app": "client"}))
        world.serve(world.webs[-1], PORT)
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


@limit(90)
def test_outage_of_the_server_leaves_all_nodes_as_they_are(world):
    world.kubectl("apply", objects=[rules(OWN)])
    expect(world, clients="open", others="timeout", outside="timeout")
    world.server.stop()
    world.wait_connected(False)
    expect(world, clients="open", others="timeout", outside="timeout", within=0)
    for node in world.nodes:
        node.agent.stop()
        node.agent.start(wait=False)
    for node in world.nodes:
        node.agent.wait_ready()
    expect(world, clients="open", others="timeout", outside="timeout", within=0)
    world.server.start()
    world.wait_connected(timeout=40)
    world.kubectl("delete", "netpol", "web")
    expect(world, clients="open", others="open", outside="open", within=3)
