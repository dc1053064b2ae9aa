# SPDX-License-Identifier: Apache-2.0
"""--tunnel auto: natively to neighbours, whose pods are found without a route; through the tunnel to others."""

from lib import objects
from lib.traffic import BOTH, V4, Connection, reach, wait_until

WORLD = {"nodes": 2, "tunnel": "auto"}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.a, world.c = world.pod("a"), world.pod("c", node=world.n2)
    world.serve(world.c, 8080)


def way(world):
    return {peer["name"]: (peer["ipv4"], peer["ipv6"]) for peer in world.n1.agent.ctl_json("node", "list")}


def check_connected(world, what):
    for family in BOTH:
        probe = reach(world.a, world.c.ips[family], 8080)
        assert probe.verdict == "open" and probe.answer["peer"] == world.a.ips[family], f"{what}: {probe.verdict}"


def put_nodes(world, addresses):
    world.resources.put("nodes", objects.item_list(
        [objects.node(n.name, list(n.pod_cidr.values()), list(n.ips.values()) if n is world.n1 else addresses)
         for n in world.nodes]))


def test_neighbours_are_reached_natively(world):
    assert way(world) == {"node2": ("native", "native")}
    check_connected(world, "natively")


def test_node_that_is_no_neighbour_any_more_is_reached_by_the_tunnel(world):
    with Connection(world.a, world.c.ips[V4], 8080) as connection:
        connection.ask()
        put_nodes(world, ["192.0.2.77", "2001:db8:77::77"])
        wait_until(lambda: way(world) == {"node2": ("tunnel", "tunnel")}, lambda: f"the tunnel: {way(world)}")
        put_nodes(world, list(world.n2.ips.values()))
        wait_until(lambda: way(world) == {"node2": ("native", "native")}, "natively")
        connection.ask()
    check_connected(world, "natively again")


def test_one_family_of_addresses_takes_the_tunnel_for_both(world):
    """Its IPv6 pods cannot be reached natively: one way for the node."""
    put_nodes(world, [world.n2.ips[V4]])
    wait_until(lambda: way(world) == {"node2": ("tunnel", "tunnel")}, lambda: f"the tunnel: {way(world)}")
    put_nodes(world, list(world.n2.ips.values()))
    wait_until(lambda: way(world) == {"node2": ("native", "native")}, "natively")
    check_connected(world, "in the end")


def test_pod_outside_of_its_nodes_ranges_is_a_problem_of_that_node(world):
    def problems(node):
        return [p["reason"] for p in node.agent.ctl_json("status")["problems"] if p["source"] == "pod default/stray"]
    world.resources.put("pod-stray", objects.pod("stray", node_name=world.n1.name, ips=["10.88.0.5", "fd88::5"]))
    wait_until(lambda: problems(world.n1), "the problem")
    assert "10.88.0.5 is outside of the pod ranges of its node node1 (10.244.4.0/22," in problems(world.n1)[0], problems(world.n1)
    wait_until(lambda: world.n2.agent.ctl_json("status")["objects"]["pods"] == 3, "the other node knows the pod")
    assert not problems(world.n2), "its own node tells"
    assert [node.agent.metrics()[("polder_stray_pods", ())] for node in world.nodes] == [1, 0]
    world.resources.delete("pod-stray")
    wait_until(lambda: not problems(world.n1), "no problem")
