# SPDX-License-Identifier: Apache-2.0
"""A second agent where one serves, or one that has lost its directories: it refuses, or finds all again; no container loses its network."""

import contextlib
import os
import shutil
import signal
import subprocess

from lib.agent import PATIENCE, POLDERD
from lib.netns import Namespace, run
from lib.objects import labels, policy
from lib.runner import limit
from lib.steady import Traffic
from lib.traffic import BOTH, reach, wait_until

WORLD = {"nodes": 2}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.agent = world.n1.agent
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
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()


def links(world):
    return {(link["ifindex"], link["ifname"]) for link in world.n1.netns.ip_json("link", "show")}


def second(world, **changed):
    """Its options, and status and output of a polderd that is expected to refuse."""
    options = {**world.agent.options, **{key.replace("_", "-"): value for key, value in changed.items()}}
    args = [POLDERD]
    for key, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            args += ["--" + key, str(one)]
    done = subprocess.run(world.n1.process_command(*args), capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


@contextlib.contextmanager
def unharmed(world):
    before = links(world)
    with Traffic(world) as traffic:
        yield
        traffic.wait_round()
    assert before <= links(world), f"links that are gone: {before - links(world)}"


@limit(90)
def test_second_agent_in_the_namespace_refuses_and_harms_nothing(world):
    own = os.path.join(world.workdir, "second")
    with unharmed(world):
        for changed in ({"run_dir": own, "state_dir": own + "-state", "bpffs": os.path.join(world.bpffs, "second")},
                        {"run_dir": own, "state_dir": own + "-state"}, {"run_dir": own}, {}):
            status, said = second(world, **changed)
            assert status != 0, said
            assert "another polderd" in said, said
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(own)


def test_agent_with_anothers_directories_in_another_namespace_refuses(world):
    elsewhere = Namespace("elsewhere", world.unique)
    own = os.path.join(world.workdir, "elsewhere")
    try:
        for changed, name in (({"run-dir": own, "state-dir": own + "-state"}, "bpffs"),
                              ({"run-dir": own, "bpffs": os.path.join(world.bpffs, "elsewhere")}, "state-dir")):
            options = {**world.agent.options, **changed, "uplink": None}
            args = [POLDERD]
            for key, value in options.items():
                args += [] if value is None else ["--" + key, str(value)]
            with unharmed(world):
                done = subprocess.run(elsewhere.command(*args), capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode != 0 and f"--{name}" in done.stderr and "another polderd" in done.stderr, \
                done.stderr
    finally:
        elsewhere.delete()
        for name in (own, own + "-state"):
            shutil.rmtree(name, ignore_errors=True)
        run(["rm", "-rf", os.path.join(world.bpffs, "elsewhere")])


@limit(90)
def test_lost_run_directory_costs_no_container_its_network(world):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with unharmed(world):
            world.agent.kill(number)
            shutil.rmtree(world.agent.options["run-dir"])
            world.agent.start()
        assert {p["name"] for p in world.agent.ctl_json("pod", "list")} == {"client", "stranger", "server"}
        for family in BOTH:
            world.expect((world.client, world.server.ips[family], 8080, "open"),
                         (world.stranger, world.server.ips[family], 8080, "timeout"))


@limit(90)
def test_run_directory_lost_under_a_killed_agent(world):
    with unharmed(world):
        shutil.rmtree(world.agent.options["run-dir"])
        world.agent.kill(signal.SIGKILL)
        world.agent.start()


@limit(90)
def test_another_agent_with_directories_of_its_own_leaves_pods_alone(world):
    """The first one is away: its pods' links are not the second one's to delete."""
    own = os.path.join(world.workdir, "third")
    before = links(world)
    world.agent.stop()
    status, said = second(world, run_dir=own, state_dir=own + "-state", bpffs=os.path.join(world.bpffs, "third"))
    assert status != 0 and "run programs of another" in said and world.n1.bpffs in said, said
    assert before == links(world)
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"),
                     (world.stranger, world.server.ips[family], 8080, "timeout"))
    world.agent.start()
    for name in (own, own + "-state"):
        shutil.rmtree(name, ignore_errors=True)


@limit(60)
def test_renamed_link_stays_its_pods_over_a_restart(world):
    link = world.server.host_link
    world.agent.stop()
    for word in (["down"], ["name", "renamed"], ["up"]):
        world.n1.netns.run("ip", "link", "set", "renamed" if word == ["up"] else link, *word)
    world.agent.start()
    assert {p["name"] for p in world.agent.ctl_json("pod", "list")} == {"client", "stranger", "server"}
    wait_until(lambda: reach(world.client, world.server.ips[4], 8080, timeout=0.3).verdict == "open",
               "the pod is reached again")
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"),
                     (world.stranger, world.server.ips[family], 8080, "timeout"))
    world.n1.netns.run("ip", "link", "set", "renamed", "down")
    world.n1.netns.run("ip", "link", "set", "renamed", "name", link)
    world.n1.netns.run("ip", "link", "set", link, "up")
    # With the link the node's routes to the pod went down; they are put back.
    for family in BOTH:
        wait_until(lambda f=family: reach(world.n1, world.server.ips[f], 8080, timeout=0.3).verdict == "open",
                   "the node reaches the pod again")


@limit(90)
def test_run_directory_removed_under_the_running_agent_is_made_again(world):
    directory = world.agent.options["run-dir"]

    def tree():
        return sorted(os.path.relpath(os.path.join(base, name), directory)
                      for base, dirs, files in os.walk(directory) for name in dirs + files)

    before = tree()
    with unharmed(world):
        shutil.rmtree(directory)
        wait_until(lambda: tree() == before, lambda: f"{before}, there is {tree()}", interval=0.1)
        world.agent.wait_ready()
    late = world.pod("late", labels={"app": "client"})
    world.expect((late, world.server.ips[4], 8080, "open"))
    # A deletion that is noted while no agent runs, in a directory that is a new one.
    shutil.rmtree(os.path.join(directory, "cni-del"))
    wait_until(lambda: os.path.exists(os.path.join(directory, "cni-del")), "the directory of notes", interval=0.1)
    status, said = second(world)
    assert status != 0 and "another polderd" in said, said
    world.agent.restart(signal.SIGKILL)
    assert {p["name"] for p in world.agent.ctl_json("pod", "list")} == {"client", "stranger", "server", "late"}
