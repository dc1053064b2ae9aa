# SPDX-License-Identifier: Apache-2.0
"""Programs of others at the hooks that Polder's stand at: the status names them, and what can run beside them runs."""

import contextlib
import glob
import os

from lib import objects, strangers
from lib.netns import run
from lib.runner import in_worlds, limit
from lib.traffic import V4, reach, wait_until
from lib.world import OUTSIDE_IP

WORLDS = {"tcx": {}, "clsact": {"attach": "clsact"}}
SERVICE_PORT = 80


def setup(world):
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    for where in (world.a, world.b, world.outside):
        world.serve(where, 8080)
    world.web = world.service("web", 9, [objects.service_port(SERVICE_PORT, 8080)], {"app": "b"})[V4]


def status(world):
    return world.node.agent.ctl_json("status")


def others(world, at, hook):
    """(name, order) of those that the status names there."""
    return [(p["name"], p["order"]) for p in status(world)["other_programs"]
            if p["hook"] == hook and p["at"].endswith(at)]


def expect_traffic(world):
    for family, address in OUTSIDE_IP.items():
        assert reach(world.a, address, 8080).verdict == "open", family
        assert reach(world.a, world.b.ips[family], 8080).verdict == "open", family


def links(world, pattern):
    return glob.glob(os.path.join(world.node.bpffs, "v*", "links", pattern))


def node_reaches_service(world):
    return reach(world.node, world.web, SERVICE_PORT, timeout=0.3).verdict == "open"


# ------------------------------------------------------------------ links


@contextlib.contextmanager
def xdp_taken(world):
    """A stranger's XDP program is where Polder's was."""
    pin, = links(world, "wire_xdp-*")
    world.node.agent.stop()
    run(["bpftool", "link", "detach", "pinned", pin])
    with strangers.at_link(world.node, "eth0", strangers.XDP_HOOK, name="stranger_xdp"):
        world.node.agent.start()
        yield


@in_worlds("tcx")
@limit(60)
def test_xdp_program_of_another_is_named_and_the_rest_runs(world):
    with xdp_taken(world):
        uplink, = status(world)["uplinks"]
        assert uplink["xdp"] == "off" and uplink["state"] == "ready", uplink
        assert "stranger_xdp" in uplink["xdp_reason"], uplink
        assert others(world, "eth0", "xdp") == [("stranger_xdp", "instead")]
        shown = world.node.agent.ctl("status").stdout
        assert "stranger_xdp" in shown, shown
        assert "stranger_xdp" in world.node.agent.log(), "the log says so"
        expect_traffic(world)
    wait_until(lambda: status(world)["uplinks"][0]["xdp"] == "native", "the driver takes ours again", interval=0.3)
    # One side of a veth pair, whose other side has no GRO.
    assert "does not forward" in status(world)["uplinks"][0]["xdp_reason"] and not others(world, "eth0", "xdp")


def test_tcx_programs_of_others_are_named_with_their_order(world):
    by_tcx = "attach" not in world.node.agent.options
    for hook, direction in ((strangers.TCX_INGRESS, "tc ingress"), (strangers.TCX_EGRESS, "tc egress")):
        with strangers.at_link(world.node, "eth0", hook, strangers.BEFORE, "stranger_first"), \
                strangers.at_link(world.node, "eth0", hook, strangers.AFTER, "stranger_last"):
            found = others(world, "eth0", direction)
            assert found == [("stranger_first", "before"), ("stranger_last", "behind" if by_tcx else "before")], found
            expect_traffic(world)
    assert not others(world, "eth0", "tc ingress") and not others(world, "eth0", "tc egress")


def test_filters_of_others_are_named_with_their_order(world):
    for direction in ("ingress", "egress"):
        with strangers.at_filter(world.node, "eth0", direction, 7, "stranger_flt"):
            assert others(world, "eth0", f"tc {direction}") == [("stranger_flt", "behind")]
            expect_traffic(world)
        assert not others(world, "eth0", f"tc {direction}")


# ------------------------------------------------------------------ sockets


@contextlib.contextmanager
def connect4_taken(world, directory, flags=0):
    """By a program that was there before Polder's."""
    world.node.agent.stop()
    for pin in links(world, "socket_*"):
        run(["bpftool", "link", "detach", "pinned", pin])  # to unlink it alone detaches it a moment later
        os.unlink(pin)
    with strangers.at_cgroup(directory, flags, "stranger_sock"):
        world.node.agent.start()
        yield


@in_worlds("tcx")
@limit(60)
def test_program_that_stands_alone_at_connect_is_named_and_the_rest_runs(world):
    with connect4_taken(world, world.node.cgroup):
        now = status(world)
        feature, = [f for f in now["features"] if f["name"] == "socket_programs"]
        assert not now["socket_programs"] and not feature["available"]
        assert now["ready"], now["problems"]
        for text in (feature["note"], str(now["problems"]), world.node.agent.log()):
            assert "stranger_sock" in text and "connect4" in text, text
        assert others(world, world.node.cgroup, "connect4") == [("stranger_sock", "instead")]
        expect_traffic(world)
        assert reach(world.a, world.web, SERVICE_PORT).verdict == "open", "pods are not concerned"
        assert not node_reaches_service(world)
    wait_until(lambda: status(world)["socket_programs"], "ours is there again", interval=0.3)
    assert node_reaches_service(world) and not [p for p in status(world)["problems"] if p["source"] == "socket programs"]


@in_worlds("tcx")
@limit(60)
def test_program_that_stands_alone_at_a_cgroup_above_is_named(world):
    agent, below = world.node.agent, os.path.join(world.node.cgroup, "below")
    os.makedirs(below)
    before = agent.options["cgroup"]
    try:
        agent.options["cgroup"] = below
        with connect4_taken(world, world.node.cgroup):
            now = status(world)
            assert now["ready"] and not now["socket_programs"]
            problem, = [p["reason"] for p in now["problems"] if p["source"] == "socket programs"]
            assert "stranger_sock" in problem and f"{world.node.cgroup} alone" in problem, problem
    finally:
        agent.options["cgroup"] = before
        agent.restart()
        with contextlib.suppress(FileNotFoundError):  # other runs on the machine tidy up empty ones
            os.rmdir(below)
    assert status(world)["socket_programs"] and node_reaches_service(world)


@in_worlds("tcx")
def test_programs_that_share_connect_run_beside_polders(world):
    with strangers.at_cgroup(world.node.cgroup, strangers.ALLOW_MULTI, "stranger_sock"):
        assert others(world, world.node.cgroup, "connect4") == [("stranger_sock", "behind")]
        assert status(world)["socket_programs"] and node_reaches_service(world)


@in_worlds("tcx")
def test_cgroup_that_is_not_the_root_is_told(world):
    note, = [f["note"] for f in status(world)["features"] if f["name"] == "socket_programs"]
    assert world.node.cgroup in note and "not the root" in note, note
