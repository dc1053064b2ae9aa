# SPDX-License-Identifier: Apache-2.0
"""A node whose configuration has no pod range: its own Node object says it."""

import os
import signal

from lib import objects
from lib.cni import CniError
from lib.traffic import V4, wait_until

WORLD = {"start": False}


def own_node(world, ranges):
    node = objects.node(world.node.name, ranges or ["10.0.0.0/24"], list(world.node.ips.values()))
    if not ranges:
        node["spec"] = {}
    world.resources.put("nodes", objects.item_list([node]))


def setup(world):
    del world.node.agent.options["pod-cidr"]
    del world.node.agent.options["node-ip"]
    world.node.before = None


def problem(world):
    return [p["reason"] for p in world.node.agent.ctl_json("status")["problems"] if p["source"] == "pod range"]


def test_node_waits_for_its_range_and_says_so(world):
    own_node(world, [])
    world.node.agent.start(wait=False)
    world.node.agent.wait_answer()
    assert problem(world) and "has no spec.podCIDRs" in problem(world)[0], world.node.agent.ctl_json("status")
    try:
        world.pod("early")
        raise AssertionError("a pod without a range")
    except CniError as error:
        assert error.object["code"] == 11 and "ranges are not known" in error.object["msg"], error.object
    own_node(world, ["10.99.0.0/24"])
    world.node.agent.wait_ready()
    world.node.before = world.node.ruler()
    assert world.pod("a").ips[V4].startswith("10.99.0.")
    assert world.node.agent.ctl_json("status")["node_ips"][0] == world.node.ips[V4]


def test_reload_says_nothing_of_what_the_node_object_gave(world):
    before = len(world.node.agent.log())
    os.kill(world.node.agent.process.pid, signal.SIGHUP)
    wait_until(lambda: "reading the configuration" in world.node.agent.log()[before:], "a reload")
    world.node.agent.ctl("status")
    assert "stays in force" not in world.node.agent.log()[before:], world.node.agent.log()[before:]


def test_range_stays_while_there_are_pods(world):
    assert world.pod("a").ips[V4].startswith("10.99.0.")
    own_node(world, ["10.98.0.0/24"])
    wait_until(lambda: problem(world), "a problem")
    assert "drain the node" in problem(world)[0]
    world.node.agent.restart()
    assert world.pod("b").ips[V4].startswith("10.99.0.")
    for pod in list(world.pods):
        pod.delete()
    world.node.agent.restart()
    world.node.before = {**world.node.before, "routes": world.node.ruler()["routes"]}
    assert world.pod("c").ips[V4].startswith("10.98.0.") and not problem(world)
