# SPDX-License-Identifier: Apache-2.0
"""What is made for other nodes goes when it is not wanted any more: by --tunnel none, and by polderctl cleanup."""

import glob
import json
import os
import signal

from lib import tunnel
from lib.agent import POLDERCTL
from lib.netns import run
from lib.runner import in_worlds
from lib.traffic import BOTH, reach, wait_until
from lib.tunnel import DEVICE, routes

LASTS = 55
WORLDS = {"": {"nodes": 2, "tunnel": "vxlan"}, "clsact": {"nodes": 2, "tunnel": "vxlan", "attach": "clsact"},
          "native": {"nodes": 2, "tunnel": "none"}}


def setup(world):
    tunnel.begin(world)
    world.a, world.c = world.pod("a"), world.pod("c", node=world.n2)
    world.serve(world.c, 8080)


def links(node):
    return [link["ifname"] for link in node.netns.ip_json("link", "show")]


def neighbours(node):
    """That Polder has the kernel keep known."""
    return {entry["dst"] for entry in node.netns.ip_json("neigh", "show", "dev", "eth0") if entry.get("protocol") == "80"}


def pins(node):
    return [path for path in glob.glob(os.path.join(node.bpffs, "**", "*_tunnel-*"), recursive=True)]


def check_connected(world):
    for family in BOTH:
        probe = reach(world.a, world.c.ips[family], 8080)
        assert probe.verdict == "open" and probe.answer["peer"] == world.a.ips[family], probe.verdict


def restart_with(world, way):
    for node in world.nodes:
        node.agent.stop()
        node.agent.options["tunnel"] = way
        node.agent.start()


@in_worlds("", "clsact")
def test_none_removes_device_programs_and_routes(world):
    check_connected(world)
    assert not neighbours(world.n1), "nobody is reached natively"
    restart_with(world, "none")
    tunnel.wait_for_routes(world)
    for node, other in tunnel.pairs(world):
        assert DEVICE not in links(node) and not pins(node), (links(node), pins(node))
        wait_until(lambda n=node, o=other: neighbours(n) == set(o.ips.values()), lambda n=node: f"{n}: {neighbours(n)}")
    check_connected(world)
    restart_with(world, "vxlan")
    tunnel.wait_for_routes(world)
    wait_without_neighbours(world)
    check_connected(world)


def wait_without_neighbours(world):
    for node in world.nodes:
        wait_until(lambda n=node: not neighbours(n), lambda n=node: f"{n}: {neighbours(n)}")


@in_worlds("")
def test_none_leaves_a_device_of_the_name_that_is_not_polders(world):
    world.n1.agent.stop()
    world.n1.netns.ip(f"link del {DEVICE}", f"link add {DEVICE} type bridge")
    world.n1.agent.options["tunnel"] = "none"
    try:
        world.n1.agent.start()
        assert DEVICE in links(world.n1)
        world.n1.agent.stop()
    finally:
        world.n1.netns.ip(f"link del {DEVICE}")
        world.n1.agent.options["tunnel"] = "vxlan"
        world.n1.agent.start()
    tunnel.wait_for_routes(world)
    wait_without_neighbours(world)
    check_connected(world)


def cleanup(node, *args):
    options = node.agent.options
    empty = os.path.join(node.world.workdir, "empty.json")
    with open(empty, "w", encoding="utf-8") as file:
        file.write("{}")
    done = run(node.process_command(POLDERCTL, "-o", "json", "cleanup", "--config", empty, "--run-dir", options["run-dir"],
                                    "--bpffs", options["bpffs"], "--force", *args))
    return [(item["kind"], item["name"]) for item in json.loads(done.stdout)]


@in_worlds("", "clsact", "native")
def test_cleanup_removes_what_was_made_for_other_nodes(world):
    """After a crash; what others have made stays."""
    node, through = world.n1, world.n1.agent.options["tunnel"] == "vxlan"
    node.netns.ip("link add vxlan9 type vxlan id 9 dstport 4799 dev eth0", "route add 203.0.113.77/32 via 172.30.0.1 proto 99")
    before = {"routes": routes(node), "neighbours": neighbours(node)}
    assert before["routes"] and bool(before["neighbours"]) != through, before
    node.agent.kill(signal.SIGKILL)
    told = cleanup(node, "--dry-run")
    assert DEVICE in links(node) or not through
    assert {name for kind, name in told if kind == "neighbour"} == before["neighbours"], told
    assert {name for kind, name in told if kind == "route"} >= set(before["routes"]), told
    assert [name for kind, name in told if kind == "tunnel"] == ([DEVICE] if through else []), told
    assert sorted(cleanup(node)) == sorted(told)
    assert DEVICE not in links(node) and "vxlan9" in links(node), links(node)
    assert not routes(node) and not neighbours(node) and not pins(node), (routes(node), neighbours(node), pins(node))
    assert node.netns.ip_json("route", "show", "proto", "99"), "a route of others went as well"
    assert not cleanup(node), "nothing is left"
    node.netns.ip("link del vxlan9", "route del 203.0.113.77/32")
    world.a.result = None  # it went with its link
    world.a.delete()
    node.agent.start()
    wait_until(lambda: routes(node) == before["routes"], lambda: f"{routes(node)}")
    node.before = {**node.ruler(), "maps": node.before["maps"]}
