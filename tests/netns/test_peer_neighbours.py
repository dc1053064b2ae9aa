# SPDX-License-Identifier: Apache-2.0
"""Nodes that reach each other natively: the kernel keeps them known, and what other machines send in their pods' name is dropped."""

from lib import objects, packets
from lib.runner import each_family
from lib.traffic import BOTH, V4, Capture, send_frame, wait_until

WORLD = {"nodes": 2, "tunnel": "auto"}
SOON = 2  # the kernel tells of entries that go: nobody waits for the look every 5 s
MARK = b"sent by the wire to a pod"


def setup(world):
    world.n1, world.n2 = world.nodes
    for node in world.nodes:
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
    give_permanent_entries(world)
    for node in world.nodes:  # with the routes that come with forwarding
        now = node.ruler()
        node.before = {**node.before, "routes": now["routes"], "neighbours": now["neighbours"]}
    world.a, world.c = world.pod("a"), world.pod("c", node=world.n2)


def give_permanent_entries(world):
    """The other node then never asks who we are, from which we would learn who it is."""
    for family in BOTH:
        world.n2.netns.ip(f"neigh replace {world.n1.ips[family]} dev eth0 lladdr {world.n1.netns.mac()} nud permanent")


def entries(node):
    return {entry["dst"]: entry for entry in node.netns.ip_json("neigh", "show", "dev", "eth0")}


def kept(node):
    """Those that Polder has the kernel keep, by address."""
    return {address: entry for address, entry in entries(node).items() if entry.get("protocol") == "80"}


def is_known(world):
    found = kept(world.n1)
    return set(found) == set(world.n2.ips.values()) and all(
        entry.get("lladdr") == world.n2.netns.mac() and "managed" in entry for entry in found.values())


def frame_of(world, family, mac):
    source, target = world.c.ips[family], world.a.ips[family]
    inner = packets.ip(source, target, packets.UDP, packets.udp(source, target, 40001, 8080, MARK))
    return packets.ethernet(world.n1.netns.mac(), mac, packets.ethertype_of(inner), inner)


def check_first_packet(world):
    """One packet, which nobody sends again."""
    for family in BOTH:
        with Capture(world.a.netns) as capture:
            send_frame(world.n2, frame_of(world, family, world.n2.netns.mac()))
            capture.wait(lambda got: MARK in got.frame, "the first packet")


def forget_flows(world):
    world.n1.agent.stop()
    world.n1.netns.ip("neigh flush dev eth0")
    for address in entries(world.n1):
        world.n1.netns.run("ip", "neigh", "del", address, "dev", "eth0")
    assert not kept(world.n1)
    world.n1.agent.start()


def test_first_packet_of_a_node_that_nobody_has_spoken_to_arrives(world):
    forget_flows(world)
    wait_until(lambda: is_known(world), lambda: f"known: {entries(world.n1)}", SOON)
    check_first_packet(world)


def test_entries_that_somebody_takes_away_come_back_at_once(world):
    for family, flag in zip(BOTH, ("-4", "-6")):
        # They come back while it flushes: it may give up.
        world.n1.netns.run("ip", flag, "neigh", "flush", "dev", "eth0", check=False)
        world.n1.netns.run("ip", "neigh", "del", world.n2.ips[family], "dev", "eth0", check=False)
    wait_until(lambda: is_known(world), lambda: f"known: {entries(world.n1)}", SOON)
    check_first_packet(world)


def test_entries_come_back_with_the_uplink(world):
    routes = {family: [r for r in world.n1.netns.ip_json(flag, "route", "show", "default")] for family, flag in zip(BOTH, ("-4", "-6"))}
    address = world.n1.ips
    world.n1.netns.ip("link set eth0 down", "link set eth0 up")
    for family, length in zip(BOTH, (24, 64)):  # IPv6 loses them
        world.n1.netns.run("ip", "addr", "replace", f"{address[family]}/{length}", "dev", "eth0", *(["nodad"] if family != V4 else []))
        for route in routes[family]:
            world.n1.netns.run("ip", "route", "replace", "default", "via", route["gateway"], "dev", "eth0")
    wait_until(lambda: is_known(world), lambda: f"known: {entries(world.n1)}")


@each_family
def test_who_is_not_the_node_sends_nothing_in_its_pods_name(world, family):
    with Capture(world.a.netns) as capture, world.n1.agent.dropping("peer_source"):
        send_frame(world.outside, frame_of(world, family, world.outside.mac()))
        capture.none(lambda got: MARK in got.frame)


def test_permanent_entry_of_the_administrator_is_left_alone(world):
    for family in BOTH:
        found = entries(world.n2)[world.n1.ips[family]]
        assert found["state"] == ["PERMANENT"] and "managed" not in found, found


def test_explain_says_that_the_other_node_is_reached_natively(world):
    for source, target, word in (("default/a", "default/c", "by"), ("default/c", "default/a", "from")):
        done = world.n1.agent.ctl("explain", "--from", source, "--to", target, "--port", "8080", check=False)
        assert done.returncode == 0 and f"natively {word} node node2" in done.stdout, done.stdout + done.stderr


def test_entries_are_gone_with_the_node(world):
    nodes = [objects.node(n.name, list(n.pod_cidr.values()), list(n.ips.values())) for n in world.nodes]
    world.resources.put("nodes", objects.item_list(nodes[:1]))
    wait_until(lambda: not kept(world.n1), lambda: f"gone: {kept(world.n1)}", SOON)
    world.resources.put("nodes", objects.item_list(nodes))
    wait_until(lambda: is_known(world), lambda: f"known again: {entries(world.n1)}", SOON)


def test_kernel_follows_a_node_that_tells_its_new_mac_address(world):
    """Which one that does not tell takes the kernel's probes, half a minute."""
    old, new = world.n2.netns.mac(), "02:00:00:00:77:02"
    world.n2.netns.sysctl(**{"net/ipv4/conf/eth0/arp_notify": 1, "net/ipv6/conf/eth0/ndisc_notify": 1})
    for mac in (new, old):
        world.n2.netns.ip(f"link set eth0 address {mac}")
        wait_until(lambda: is_known(world), lambda: f"followed: {entries(world.n1)}", SOON)
        check_first_packet(world)
    give_permanent_entries(world)  # they went with the address
