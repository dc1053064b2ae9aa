# SPDX-License-Identifier: Apache-2.0
"""A reboot: run directory, pins and pods are gone, and files are what the power failure left of them. Nothing is open that was denied."""

import os
import shutil
import signal

from lib.cni import CniCall, CniError, cni_args
from lib.netns import Namespace, run
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import BOTH, wait_until

ALLOW_CLIENT = [{"from": [{"podSelector": labels(app="client")}]}]
DAMAGES = {"empty": b"", "NULs": bytes(400), "truncated": None, "not readable": b"unreadable"}


def setup(world):
    world.agent = world.node.agent
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"],
                                           ingress=ALLOW_CLIENT))
    world.policies_in_force()


def reboot(world, state=True):
    """The machine's crash: what is in memory is gone, and the node's pods are."""
    agent = world.agent
    agent.kill(signal.SIGKILL)
    for server in world.servers:
        server.close()
    del world.servers[:]
    for pod in list(world.pods):
        pod.netns.delete()
        world.pods.remove(pod)
    for link in world.node.netns.ip_json("link", "show"):
        if link["ifname"].startswith("pld"):
            world.node.netns.run("ip", "link", "del", link["ifname"], check=False)
    shutil.rmtree(agent.options["run-dir"])
    run(["rm", "-r", world.node.bpffs])
    if not state:
        shutil.rmtree(agent.options["state-dir"])


def damage(world, name, how):
    path = world.resources.path(name)
    with open(path, "rb") as file:
        content = file.read()
    changed = content[:len(content) // 2] if DAMAGES[how] is None else DAMAGES[how]
    if how == "not readable":
        os.unlink(path)
        os.symlink("nowhere", path)
    else:
        with open(path, "wb") as file:
            file.write(changed)
    return content


def pods(world):
    client = world.pod("client", labels={"app": "client"})
    stranger = world.pod("stranger", labels={"app": "stranger"})
    server = world.pod("server", labels={"app": "server"})
    world.serve(server, 8080)
    return client, stranger, server


def isolated(world, client, stranger, server):
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "open"),
                     (stranger, server.ips[family], 8080, "timeout"))


@limit(180)
def test_last_good_version_holds_after_a_reboot_whatever_became_of_the_file(world):
    isolated(world, *pods(world))
    for how in DAMAGES:
        wait_until(lambda: not [name for name in os.listdir(
            os.path.join(world.agent.options["state-dir"], "last-good")) if "." in name],
            "copies are on the disk")
        reboot(world)
        content = damage(world, "policies", how)
        world.agent.start()
        assert any("policies.json" in p["source"] for p in world.agent.ctl_json("status")["problems"]), how
        isolated(world, *pods(world))
        world.resources.put_bytes("policies", content)
        world.policies_in_force()


@limit(180)
def test_node_is_not_ready_while_a_file_has_no_good_version(world):
    for how in DAMAGES:
        reboot(world, state=False)
        content = damage(world, "policies", how)
        world.agent.start(wait=False)
        world.agent.wait_answer()
        wait_until(lambda: world.agent.ctl_json("status")["problems"], "the problem")
        status = world.agent.ctl_json("status")
        assert not status["ready"] and not status["synced"], how
        assert world.agent.metrics()["polder_ready", ()] == 0, how
        refused(world)
        world.resources.put_bytes("policies", content)
        world.agent.wait_ready()
        isolated(world, *pods(world))


def refused(world):
    """No pod is added, and the runtime is told why."""
    netns = Namespace("late", world.unique, world.node.factory)
    try:
        for code, call in ((11, CniCall("ADD", world.node.cni_config(),
                                        container_id=f"{world.unique}late", netns=netns.path,
                                        args=cni_args("default", "late"))),
                           (50, CniCall("STATUS", world.node.cni_config("1.1.0")))):
            try:
                raise AssertionError(f"answered with {call.result()}")
            except CniError as error:
                assert error.code == code, error
                assert "policies.json" in error.object.get("details", ""), error.object
    finally:
        netns.delete()


@limit(60)
def test_file_that_is_broken_from_its_first_moment_holds_up_nothing(world):
    world.resources.put_text("typo", "{")
    wait_until(lambda: world.agent.ctl_json("status")["problems"], "the problem")
    assert world.agent.ctl_json("status")["ready"]
    world.agent.restart()
    assert world.agent.ctl_json("status")["ready"]
    isolated(world, *pods(world))
