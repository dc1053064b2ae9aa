# SPDX-License-Identifier: Apache-2.0
"""Two nodes that nobody has set routes on: Polder's lead from one node's pods to the other's, whatever becomes of them."""

import time

from lib import objects
from lib.runner import each_family
from lib.traffic import BOTH, V4, V6, Connection, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}


def setup(world):
    world.n1, world.n2 = world.nodes
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        for family in BOTH:
            node.netns.ip(f"route del {other.pod_cidr[family]} via {other.ips[family]}")
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        wait_until(lambda n=node, o=other: routes(n) == wanted(o), f"{node}: routes of Polder")
    world.a, world.c = world.pod("a"), world.pod("c", node=world.n2)
    world.serve(world.c, 8080)


def routes(node):
    """{range: gateway} of protocol 80 with a gateway."""
    return {route["dst"]: route["gateway"] for family in ("-4", "-6")
            for route in node.netns.ip_json(family, "route", "show", "proto", "80") if "gateway" in route}


def wanted(*nodes):
    return {n.pod_cidr[family]: n.ips[family] for n in nodes for family in BOTH}


def check_connected(world, what):
    wait_until(lambda: routes(world.n1) == wanted(world.n2), f"{what}: routes: {routes(world.n1)}")
    for family in BOTH:
        probe = reach(world.a, world.c.ips[family], 8080)
        assert probe.verdict == "open" and probe.answer["peer"] == world.a.ips[family], f"{what}: {probe.verdict}"


def set_up(world):
    """The uplink, and what of its set-up went when it was down."""
    world.n1.netns.ip("link set eth0 up", f"addr replace {world.n1.ips[V6]}/64 dev eth0 nodad",
                      *(f"route replace default via {OUTSIDE_IP[family]}" for family in BOTH))


def status(node):
    return node.agent.ctl_json("status")["routes"]


def problems(node, source):
    return [p["reason"] for p in node.agent.ctl_json("status")["problems"] if p["source"] == source]


def other_node(world, name, ranges, addresses):
    world.resources.put(f"node-{name}", objects.node(name, ranges, addresses))


def test_routes_lead_to_the_other_nodes_pods(world):
    check_connected(world, "at the start")
    assert {key: status(world.n1)[key] for key in ("wanted", "installed", "failed", "refused", "complete")} == {
        "wanted": 2, "installed": 2, "failed": 0, "refused": 0, "complete": True}
    metrics = world.n1.agent.metrics()
    assert metrics[("polder_node_routes", (("state", "installed"),))] == 2
    assert "Node routes" in world.n1.agent.ctl("status").stdout


def test_flushed_routes_come_back(world):
    for family in ("-4", "-6"):
        world.n1.netns.run("ip", family, "route", "flush", "proto", "80")
    check_connected(world, "flushed")
    # As a network manager that takes routes it does not know for leftovers.
    for family in BOTH:
        world.n1.netns.ip(f"route del {world.n2.pod_cidr[family]}")
    check_connected(world, "deleted one by one")
    assert "removed by others" in world.n1.agent.log()


def test_routes_come_back_with_the_uplink(world):
    uplink = world.n1.netns
    uplink.ip("link set eth0 down")
    time.sleep(0.5)
    set_up(world)
    check_connected(world, "down and up")


def test_routes_come_back_with_an_uplink_without_ipv6(world):
    uplink = world.n1.netns
    uplink.sysctl(**{"net/ipv6/conf/eth0/disable_ipv6": 1})
    try:
        uplink.ip("link set eth0 down", "link set eth0 up")
        wait_until(lambda: routes(world.n1) == {world.n2.pod_cidr[V4]: world.n2.ips[V4]},
                   f"routes: {routes(world.n1)}")
    finally:
        uplink.sysctl(**{"net/ipv6/conf/eth0/disable_ipv6": 0})
        set_up(world)
    check_connected(world, "with IPv6 again")


def test_route_that_failed_is_set_when_it_can_be(world):
    world.n1.netns.ip("link set eth0 down")
    other_node(world, "late", ["10.200.1.0/24"], ["172.30.0.200"])
    wait_until(lambda: status(world.n1)["failed"] > 0, "a route that failed")
    found = status(world.n1)
    assert "route to pod range" in found["error"] and found["failed_seconds"] >= 0, found
    assert any("route to pod range" in text for text in problems(world.n1, "Node late")), found
    set_up(world)
    wait_until(lambda: routes(world.n1).get("10.200.1.0/24") == "172.30.0.200", "the late route")
    wait_until(lambda: status(world.n1)["failed"] == 0 and "error" not in status(world.n1), "all is well")
    world.resources.delete("node-late")
    check_connected(world, "afterwards")


def test_node_that_was_deleted_while_the_agent_was_away_loses_its_routes_at_the_start(world):
    other_node(world, "gone", ["10.200.2.0/24", "fd44:0:0:200::/64"], ["172.30.0.200", "fd30::c8"])
    wait_until(lambda: {"10.200.2.0/24", "fd44:0:0:200::/64"} <= set(routes(world.n1)), "its routes")
    world.n1.netns.ip("route add 10.201.0.0/24 via 172.30.0.201")  # somebody else's
    before = world.n1.netns.ip_json("route", "show", "proto", "80")
    world.n1.agent.stop()
    world.resources.delete("node-gone")
    assert len(world.n1.netns.ip_json("route", "show", "proto", "80")) == len(before), "a stopped agent leaves routes"
    world.n1.agent.start()
    wait_until(lambda: routes(world.n1) == wanted(world.n2), f"routes: {routes(world.n1)}")
    world.n1.netns.ip("route del 10.201.0.0/24 via 172.30.0.201")
    check_connected(world, "after the restart")


def test_established_connections_outlive_a_restart_and_a_flush(world):
    with Connection(world.a, world.c.ips[V4], 8080) as connection:
        connection.ask()
        world.n1.agent.restart()
        connection.ask()
        world.n1.netns.run("ip", "route", "flush", "proto", "80")
        check_connected(world, "flushed")
        connection.ask()


def test_ranges_that_cannot_be_anothers_are_told_and_not_installed(world):
    own, networks = world.n1.pod_cidr, {V4: "172.30.0.0/24", V6: "fd30::/64"}
    shared = world.n2.pod_cidr
    for name, ranges, told in (
            ("own", [own[V4], own[V6]], "this node's own"),
            ("around", ["10.244.0.0/16", "fd44::/16"], "this node's own"),
            ("host", [networks[V4], networks[V6]], "a network that this node is on"),
            ("shared", [shared[V4], shared[V6]], "is also Node")):
        other_node(world, name, ranges, ["172.30.0.200", "fd30::c8"])
        # This node's own Node claims its range as well.
        source = "Node node2" if name == "shared" else f"Node {name}"
        wait_until(lambda s=source: len(problems(world.n1, s)) == 2, f"{name}: two problems")
        found = problems(world.n1, source)
        assert all(told in text or "is also Node" in text for text in found), found
        # Of two that nothing tells apart by age the last by name has the range.
        expected = {shared[V4]: "172.30.0.200", shared[V6]: "fd30::c8"} if name == "shared" else wanted(world.n2)
        assert routes(world.n1) == expected, f"{name}: {routes(world.n1)}"
        assert status(world.n1)["refused"] >= 2
        world.resources.delete(f"node-{name}")
        wait_until(lambda: status(world.n1)["refused"] == 0, f"{name}: nothing is refused any more")
    check_connected(world, "afterwards")


@each_family
def test_route_of_somebody_else_is_not_replaced(world, family):
    there, elsewhere = {V4: ("10.200.3.0/24", "172.30.0.1"), V6: ("fd44:0:0:203::/64", "fd30::1")}[family]
    world.n1.netns.ip(f"route add {there} via {elsewhere}")
    try:
        other_node(world, "third", [there], ["172.30.0.203", "fd30::cb"])
        wait_until(lambda: any("another route" in text for text in problems(world.n1, "Node third")), "a problem")
        assert there not in routes(world.n1)
        found = world.n1.netns.ip_json(f"-{family}", "route", "show", there)
        assert [route["gateway"] for route in found] == [elsewhere], found
    finally:
        world.n1.netns.ip(f"route del {there} via {elsewhere}")
    wait_until(lambda: there in routes(world.n1), "the route, when there is room")
