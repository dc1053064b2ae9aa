# SPDX-License-Identifier: Apache-2.0
"""containerd runs pods of an API server as a kubelet has it do, and Polder connects them."""

import contextlib
import json
import signal

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import BOTH, wait_until

import cri


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.running = None


def containerd(world):
    """Started when it is first asked for: a test is skipped where there is none."""
    if not world.running:
        world.running = cri.Cri(world)
    return world.running


def pod_object(world, name, **match):
    """A pod of this node, as a scheduler leaves it. Its uid."""
    made = objects.pod(name, labels=match, node_name=world.node.name, phase="Pending")
    world.kubectl("apply", objects=[made])
    return world.kubectl.json("get", "pod", name)["metadata"]["uid"]


def tell_status(world, sandbox):
    """What a kubelet tells the API server of its pod."""
    made = world.kubectl.json("get", "pod", sandbox.name)
    made["status"] = {"phase": "Running", "podIP": sandbox.ips[4], "podIPs": [{"ip": ip} for ip in sandbox.ips.values()]}
    world.plane.client.ask("PUT", world.plane.client.path(made, sandbox.name, "status"), made)


@contextlib.contextmanager
def sandbox_of(world, name, with_object=True, **match):
    """It is removed at the end, and nothing of it is left."""
    runtime = containerd(world)
    before = world.node.ruler()
    uid = pod_object(world, name, **match) if with_object else ""
    sandbox = runtime.run(name, uid=uid)
    try:
        if with_object:
            tell_status(world, sandbox)
        yield sandbox
    finally:
        sandbox.remove()
        world.plane.client.delete("Pod", name)
    world.node.wait_as(before)


def expect(world, verdict, sandbox, **options):
    world.expect(*[(world.a, sandbox.ips[family], 8080, verdict) for family in BOTH], **options)


@limit(90)
def test_sandbox_has_addresses_and_what_is_said_of_its_pod_holds_for_it(world):
    with sandbox_of(world, "web", app="web") as web:
        assert set(web.ips) == set(BOTH) and web.status.state == 0, web.status
        world.serve(web, 8080)
        expect(world, "open", web)
        world.kubectl("apply", objects=[policy("shut", labels(app="web"), policyTypes=["Ingress"])])
        expect(world, "timeout", web)
        world.kubectl("label", "--overwrite", "pod", "web", "app=other")
        expect(world, "open", web)
        world.kubectl("label", "--overwrite", "pod", "web", "app=web")
        expect(world, "timeout", web)
        world.kubectl("delete", "netpol", "shut")
        expect(world, "open", web)
        listed = next(p for p in world.node.agent.ctl_json("pod", "list") if p["name"] == "web")
        assert set(listed["ips"]) == set(web.ips.values()), listed


@limit(90)
def test_container_of_a_sandbox_serves_and_reaches_others(world):
    world.serve(world.a, 8080)
    with sandbox_of(world, "served", app="served") as served:
        container = served.start_container("server", "/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www")
        wait_until(lambda: served.execute(container, "/bin/busybox", "nc", "-w", "1", "127.0.0.1", "8080")[0] == 0, "a server", 5)
        expect(world, "open", served)
        for family in BOTH:
            status, out = served.execute(container, "/bin/busybox", "nc", "-w", "2", world.a.ips[family], "8080")
            assert status == 0, out


@limit(90)
def test_pod_whose_object_is_late_is_isolated_until_it_comes(world):
    """That of another pod of the same name is not its own."""
    with sandbox_of(world, "late", with_object=False) as late:
        world.serve(late, 8080)
        expect(world, "timeout", late)
        pod_object(world, "late", app="late")
        tell_status(world, late)
        expect(world, "timeout", late, within=0)
        world.plane.client.delete("Pod", "late")
        # The API server gives each object a uid of its own; this one has to be the sandbox's.
        own = objects.pod("late", labels={"app": "late"}, node_name=world.node.name, ips=list(late.ips.values()))
        assert own["metadata"]["uid"] == late.config["metadata"]["uid"]
        world.etcd.ctl("put", "/registry/pods/default/late", json.dumps(own))
        expect(world, "open", late)


@limit(90)
def test_agent_that_is_killed_between_leaves_the_pod_as_it_was(world):
    with sandbox_of(world, "kept", app="kept") as kept:
        world.serve(kept, 8080)
        expect(world, "open", kept)
        world.node.agent.kill(signal.SIGKILL)
        expect(world, "open", kept, within=0)
        world.node.agent.start()
        expect(world, "open", kept, within=0)


@limit(90)
def test_pod_that_is_removed_while_the_agent_is_away_is_gone_when_it_is_back(world):
    with sandbox_of(world, "gone", app="gone") as gone:
        world.node.agent.kill(signal.SIGKILL)
        gone.stop()
        world.node.agent.start()
        wait_until(lambda: "gone" not in {p["name"] for p in world.node.agent.ctl_json("pod", "list")}, "the pod is gone", 5)


@limit(90)
def test_sandbox_that_is_stopped_three_times_is_stopped(world):
    with sandbox_of(world, "often", app="often") as often:
        for _ in range(3):
            often.stop()
        again = often.cri.call("PodSandboxStatus", pod_sandbox_id=often.id).status
        assert again.state == 1, again


@limit(90)
def test_old_sandbox_of_a_pod_takes_nothing_from_its_new_one(world):
    """A sandbox that died: the kubelet makes another one for the same pod, and removes the old one later."""
    with sandbox_of(world, "again", app="again") as old:
        uid = old.config["metadata"]["uid"]
        old.stop()
        new = old.cri.run("again", uid=uid, attempt=1)
        tell_status(world, new)
        world.serve(new, 8080)
        expect(world, "open", new)
        old.remove()
        expect(world, "open", new, within=0)
        new.remove()


@limit(90)
def test_sandbox_without_an_agent_fails_with_words_and_comes_about_later(world):
    runtime = containerd(world)
    before = world.node.ruler()
    uid = pod_object(world, "early", app="early")
    world.node.agent.stop()
    try:
        runtime.run("early", uid=uid)
    except runtime.grpc.RpcError as error:
        said = error.details()
    else:
        raise AssertionError("a sandbox without a network")
    assert "polderd" in said and world.node.agent.socket in said, said
    world.node.agent.start()
    sandbox = runtime.run("early", uid=uid, attempt=1)
    world.serve(sandbox, 8080)
    tell_status(world, sandbox)
    expect(world, "open", sandbox)
    sandbox.remove()
    world.kubectl("delete", "pod", "early", "--grace-period=0", "--force")
    world.node.wait_as(before)


def test_network_of_the_node_is_ready_by_its_conflist(world):
    ready, message = containerd(world).conditions()["NetworkReady"]
    assert ready, message
