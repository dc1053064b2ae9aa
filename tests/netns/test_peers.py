# SPDX-License-Identifier: Apache-2.0
"""Two nodes that reach each other's pods through the tunnel, whatever becomes of nodes and device."""

from lib import objects, tunnel
from lib.runner import each_family
from lib.traffic import BOTH, V4, Connection, reach, wait_until
from lib.tunnel import DEVICE, device, tunnelled

WORLD = {"nodes": 2, "tunnel": "vxlan"}


def setup(world):
    tunnel.begin(world)
    world.a, world.c = world.pod("a"), world.pod("c", node=world.n2)
    world.serve(world.c, 8080)
    world.serve(world.a, 8080)


def keep_as_ruler(world):
    """What must be the same again in the end, with the routes and pins that the setup has changed for good."""
    for node in world.nodes:
        now, before = node.ruler(), node.before
        routes = [route for route in before["routes"] if not any(
            route.startswith(range) for other in world.nodes if other is not node for range in other.pod_cidr.values())]
        routes += [route for route in now["routes"] if DEVICE in route]
        pins = [pin for pin in before["pins"] if "tunnel" not in pin] + [pin for pin in now["pins"] if "tunnel" in pin]
        node.before = {**before, "routes": sorted(routes), "pins": sorted(pins)}


def check_connected(world, what):
    for family in BOTH:
        for source, target in ((world.a, world.c), (world.c, world.a)):
            probe = reach(source, target.ips[family], 8080)
            assert probe.verdict == "open" and probe.answer["peer"] == source.ips[family], f"{what}: {probe.verdict}"


def peers(node):
    return {peer["name"]: peer for peer in node.agent.ctl_json("node", "list")}


def metric(node, name, **labels):
    return node.agent.metrics()[(name, tuple(labels.items()))]


def problems(node, source):
    return [p["reason"] for p in node.agent.ctl_json("status")["problems"] if p["source"] == source]


def test_pods_reach_each_other_through_the_tunnel(world):
    check_connected(world, "at the start")
    link = device(world.n1)
    assert link["linkinfo"]["info_kind"] == "vxlan" and link["mtu"] == 1450, link
    assert world.a.netns.ip_json("link", "show", "dev", "eth0")[0]["mtu"] == 1450
    found = peers(world.n1)["node2"]
    assert found["ipv4"] == found["ipv6"] == "tunnel" and found["underlay"] == world.n2.ips[V4], found
    assert world.n1.agent.ctl_json("status")["peers"]["tunnel"] == 1
    assert metric(world.n1, "polder_peers", way="tunnel") == 1
    assert metric(world.n1, "polder_tunnel_wanted") == metric(world.n1, "polder_tunnel_up") == 1
    assert metric(world.n1, "polder_peers_numberless") == metric(world.n1, "polder_peer_neighbours_unkept") == 0


@each_family
def test_node_reaches_a_remote_pod_and_back(world, family):
    probe = reach(world.n1, world.c.ips[family], 8080)
    assert probe.verdict == "open" and probe.answer["peer"] == world.n1.ips[family], probe.verdict


def test_established_connections_outlive_a_restart(world):
    with Connection(world.a, world.c.ips[V4], 8080) as connection:
        connection.ask()
        number = device(world.n1)["ifindex"]
        world.n1.agent.restart()
        connection.ask()
        world.n1.agent.kill()
        connection.ask()
        world.n1.agent.start()
        connection.ask()
        assert device(world.n1)["ifindex"] == number, "the device is taken over"
    check_connected(world, "after the restart")


def test_device_that_is_deleted_comes_back(world):
    world.n1.netns.ip(f"link del {DEVICE}")
    wait_until(lambda: tunnelled(world.n1) == set(world.n2.pod_cidr.values()), "routes by the new device")
    check_connected(world, "deleted")
    keep_as_ruler(world)


def test_range_goes_to_the_newer_node_and_back(world):
    """Replaced under another name, while the old Node object is still there."""
    number = peers(world.n1)["node2"]["number"]
    newer = objects.node("node2b", list(world.n2.pod_cidr.values()), ["172.30.0.99", "fd30::99"])
    newer["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    world.resources.put("node-newer", newer)
    wait_until(lambda: len(problems(world.n1, "Node node2")) == 2, "two problems")
    assert "is also Node node2b's" in problems(world.n1, "Node node2")[0]
    assert metric(world.n1, "polder_peer_conflicts") == 2
    assert peers(world.n1)["node2b"]["pod_ranges"] and not peers(world.n1)["node2"]["pod_ranges"]
    assert reach(world.a, world.c.ips[V4], 8080).verdict != "open", "the old node has no range any more"
    world.resources.delete("node-newer")
    wait_until(lambda: not problems(world.n1, "Node node2"), "no problem any more")
    check_connected(world, "taken back")
    assert peers(world.n1)["node2"]["number"] == number


def test_device_follows_the_uplinks_mtu(world):
    for node in world.nodes:
        node.netns.ip("link set eth0 mtu 1400")
    for node in world.nodes:
        wait_until(lambda n=node: device(n)["mtu"] == 1350, "the device's MTU")
    check_connected(world, "with a smaller MTU")
    for node in world.nodes:
        node.netns.ip("link set eth0 mtu 1500")
    for node in world.nodes:
        wait_until(lambda n=node: device(n)["mtu"] == 1450, "the device's MTU")


def test_foreign_device_of_the_name_is_refused_in_words(world):
    world.n1.agent.stop()
    world.n1.netns.ip(f"link del {DEVICE}", f"link add {DEVICE} type bridge")
    world.n1.agent.start()
    wait_until(lambda: problems(world.n1, "tunnel"), "a problem")
    assert "that Polder has not made" in problems(world.n1, "tunnel")[0]
    assert metric(world.n1, "polder_tunnel_up") == 0 and metric(world.n1, "polder_tunnel_wanted") == 1
    world.n1.netns.ip(f"link del {DEVICE}")
    wait_until(lambda: not problems(world.n1, "tunnel"), "no problem")
    wait_until(lambda: tunnelled(world.n1) == set(world.n2.pod_cidr.values()), "routes by the tunnel")
    check_connected(world, "made again")


def test_port_that_another_device_has_is_refused_in_words(world):
    world.n1.agent.stop()
    world.n1.netns.ip(f"link del {DEVICE}", "link add flannel.1 type vxlan id 1 dstport 4789 dev eth0", "link set flannel.1 up")
    world.n1.agent.start()
    wait_until(lambda: problems(world.n1, "tunnel"), "a problem")
    assert "UDP port 4789 is device flannel.1's" in problems(world.n1, "tunnel")[0], problems(world.n1, "tunnel")
    world.n1.netns.ip("link del flannel.1")
    wait_until(lambda: not problems(world.n1, "tunnel"), "no problem")
    wait_until(lambda: tunnelled(world.n1) == set(world.n2.pod_cidr.values()), "routes by the tunnel")
    check_connected(world, "with the port")
    keep_as_ruler(world)
