# SPDX-License-Identifier: Apache-2.0
"""A polderd whose maps have another layout, on a node that runs pods, and on one that is drained. It is this tree with another version and
another shape of a map's values, built beside the tests' own programs."""

import os
import re
import shutil
import signal
import subprocess

from lib.agent import BUILD, REPOSITORY
from lib.objects import labels, policy
from lib.runner import limit
from lib.steady import Traffic
from lib.traffic import BOTH
from lib.world import OUTSIDE_IP

LASTS = 140
WORLD = {"nodes": 2}
PARTS = ("agent", "cni", "datapath", "netavark", "plugin", "policy", "meson.build", "meson_options.txt")


def setup(world):
    world.n1, world.n2 = world.nodes
    world.agent = world.n1.agent
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()


# ------------------------------------------------------------------ the other tree


def put(path, content):
    """Only a change makes ninja build."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path, "rb") as file:
            if file.read() == content:
                return
    except FileNotFoundError:
        pass
    with open(path, "wb") as file:
        file.write(content)


CHANGES = {
    "datapath/abi.h": (r"(#define POLDER_LAYOUT_VERSION )(\d+)", lambda m: m[1] + str(int(m[2]) + 1)),
    "datapath/abi_services.h": (r"\n};\nABI_SIZE\(struct service_entry, (\d+)\)", lambda m:
                                f"\n\t__u64 other_layout;\n}};\nABI_SIZE(struct service_entry, {int(m[1]) + 8})"),
}


def changed(name, content):
    if name not in CHANGES:
        return content
    text, found = re.subn(*CHANGES[name], content.decode())
    assert found == 1, f"{name} is not what this test knows"
    return text.encode()


def sources():
    for part in PARTS:
        top = os.path.join(REPOSITORY, part)
        names = [top] if os.path.isfile(top) else [os.path.join(base, name) for base, _, found in os.walk(top)
                                                   for name in found if not name.endswith(".pyc")]
        for name in names:
            yield os.path.relpath(name, REPOSITORY)


def other_binary():
    """polderd of another layout."""
    tree, build = (os.path.join(BUILD, "other-layout", name) for name in ("tree", "build"))
    for name in sources():
        with open(os.path.join(REPOSITORY, name), "rb") as file:
            put(os.path.join(tree, name), changed(name, file.read()))
    for name in ("tests", "docs", "deploy"):
        put(os.path.join(tree, name, "meson.build"), b"# SPDX-License-Identifier: Apache-2.0\n")
    if not os.path.exists(os.path.join(build, "build.ninja")):
        shutil.rmtree(build, ignore_errors=True)
        # How fast it runs tells nothing here, and it is built while others wait.
        command("meson", "setup", "-Dtests=disabled", "-Doptimization=0", "-Ddebug=false", "-Dwerror=false", build, tree)
    command("ninja", "-C", build, "agent/polderd")
    return os.path.join(build, "agent", "polderd")


def command(*args):
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def with_other(world):
    """From the next start on the node has the other polderd."""
    world.own_binary = world.agent.binary
    world.agent.binary = other_binary()


def with_own(world):
    world.agent.binary = world.own_binary


# ------------------------------------------------------------------ tests


def pods(world):
    world.client = world.pod("client", labels={"app": "client"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.server = world.pod("server", labels={"app": "server"})
    world.remote = world.pod("remote", labels={"app": "client"}, node=world.n2)
    for where in (world.server, world.client, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")
    world.vip = world.service("web", 3, [
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 53, "targetPort": 5353, "protocol": "UDP"}], {"app": "server"})


def isolated(world):
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"),
                     (world.client, OUTSIDE_IP[family], 8080, "open"),
                     (world.stranger, world.server.ips[family], 8080, "timeout"))


def layouts(world):
    return sorted(name for name in os.listdir(world.n1.bpffs) if re.fullmatch(r"v\d+", name))


@limit(900)
def test_other_layout_refuses_while_pods_run_and_the_old_one_comes_back(world):
    with_other(world)
    before = layouts(world)
    pods(world)
    try:
        with Traffic(world) as traffic:
            for number in (signal.SIGTERM, signal.SIGKILL):
                world.agent.kill(number)
                world.agent.start(wait=False)
                assert world.agent.wait_end() != 0
                said = world.agent.log_tail(3)
                assert "drain the node" in said and os.path.join(world.n1.bpffs, before[0]) in said, said
                traffic.wait_round()
                with_own(world)
                world.agent.start()
                world.agent.binary = other_binary()
                traffic.wait_round()
        with_own(world)
        assert layouts(world) == before
        # What the old one is told now is in force.
        world.resources.put("policies", policy("all", {}, policyTypes=["Ingress", "Egress"]))
        world.policies_in_force()
        for family in BOTH:
            world.expect((world.client, world.server.ips[family], 8080, "timeout"))
    finally:
        with_own(world)


@limit(900)
def test_drained_node_goes_to_the_other_layout_and_back(world):
    with_other(world)
    before = layouts(world)
    try:
        world.agent.restart()
        assert layouts(world) != before and len(layouts(world)) == 1, layouts(world)
        pods(world)
        isolated(world)
        for pod in [pod for pod in world.pods if pod.node is world.n1]:
            pod.delete()
    finally:
        with_own(world)
        world.agent.restart()
    assert layouts(world) == before
    for name in ("client", "stranger", "server"):
        world.resources.delete(f"pod-default-{name}")
    world.client = world.pod("client2", labels={"app": "client"})
    world.stranger = world.pod("stranger2", labels={"app": "stranger"})
    world.server = world.pod("server2", labels={"app": "server"})
    world.serve(world.server, 8080)
    isolated(world)


@limit(900)
def test_pods_of_the_other_layout_are_refused_by_this_one(world):
    """Rolling back without draining: as the other way round."""
    with_other(world)
    try:
        world.agent.restart()
        pods(world)
        with Traffic(world) as traffic:
            world.agent.stop()
            with_own(world)
            world.agent.start(wait=False)
            assert world.agent.wait_end() != 0
            traffic.wait_round()
            world.agent.binary = other_binary()
            world.agent.start()
            traffic.wait_round()
        for pod in [pod for pod in world.pods if pod.node is world.n1]:
            pod.delete()
    finally:
        with_own(world)
        world.agent.restart() if world.agent.alive() else world.agent.start()
