# SPDX-License-Identifier: Apache-2.0
"""A real API server and its etcd are stopped, killed, emptied of history, put back: what is in force stays, then it follows."""

import os

from lib.netns import run
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

SILENCE = 3
WORLD = {"silence": SILENCE}
LASTS = 60
# Found by a question without an answer; then another connection has to come about.
NOTICED = 2 * SILENCE + 5
BUFFERS = "net/ipv4/tcp_wmem"
STORED = "/registry/networking.k8s.io/networkpolicies/default/"


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    expect(world, "open")


def expect(world, verdict, **options):
    world.expect((world.a, world.b.ips[4], 8080, verdict), (world.a, world.b.ips[6], 8080, verdict), **options)


def deny(name="deny", **more):
    return policy(name, labels(app="b"), policyTypes=["Ingress"], **more)


def other(name="other", **annotations):
    made = policy(name, labels(app="nobody"), policyTypes=["Ingress"])
    made["metadata"]["annotations"] = annotations
    return made


def errors(world, kind):
    return sum(value for (name, found), value in world.node.agent.metrics().items()
               if name == "polder_api_errors_total" and ("kind", kind) in found)


@limit(90)
def test_server_that_is_stopped_changes_nothing(world):
    world.kubectl("apply", objects=[deny()])
    expect(world, "timeout")
    world.server.pause()
    world.wait_connected(False, timeout=NOTICED)
    world.wait_problem("api:connection")
    expect(world, "timeout", within=0)
    # Pods are connected as before, and isolated until their object comes.
    late = world.pod("late", labels={"app": "a"}, with_object=False)
    world.expect((late, world.b.ips[4], 8080, "timeout"), within=0)
    world.server.resume()
    world.wait_connected(timeout=40)
    late.with_object = True
    late.write_object()
    world.kubectl("delete", "netpol", "deny")
    expect(world, "open", within=3)
    world.expect((late, world.b.ips[4], 8080, "open"), within=2)
    world.wait_no_problem()


@limit(90)
def test_server_that_was_killed_is_followed_again_without_a_gap(world):
    world.kubectl("apply", objects=[deny(), other()])
    expect(world, "timeout")
    world.server.stop()
    world.wait_connected(False)
    expect(world, "timeout", within=0)
    world.etcd.ctl("del", STORED + "other")
    world.server.start()
    world.wait_connected(timeout=40)
    world.wait_policy("other", there=False, timeout=15)
    expect(world, "timeout", within=0)
    world.kubectl("delete", "netpol", "deny")
    expect(world, "open")


def begin_anew(world):
    """Everything is killed, and etcd has forgotten its history."""
    world.server.stop()
    world.etcd.compact()
    world.etcd.stop()
    world.etcd.start()


@limit(90)
def test_history_that_is_gone_is_listed_again(world):
    world.kubectl("apply", objects=[deny(), other()])
    expect(world, "timeout")
    world.server.stop()
    world.wait_connected(False)
    gone = errors(world, "gone")
    world.etcd.ctl("del", STORED + "deny")
    begin_anew(world)
    expect(world, "timeout", within=0)
    world.server.start()
    world.wait_connected(timeout=40)
    expect(world, "open", within=10)
    assert errors(world, "gone") > gone, world.node.agent.metrics_text()
    world.kubectl("delete", "netpol", "other")
    world.wait_policy("other", there=False)


@limit(120)
def test_nothing_goes_before_the_list_after_an_outage_is_whole(world):
    """The server stands still in the middle of a list that no longer has the policy."""
    padding = {f"padding-{i}": os.urandom(2000).hex() for i in range(10)}
    world.kubectl("apply", "--server-side", objects=[deny(), *[other(f"other-{i}", **padding) for i in range(30)]])
    expect(world, "timeout")
    world.wait_policy("other-29")
    world.server.stop()
    world.wait_connected(False)
    world.etcd.ctl("del", STORED + "deny")
    begin_anew(world)
    # 1.2 MB at half a megabyte a second, of which the kernel holds little: the rest of a list stays with the server.
    buffers = world.outside.sysctl_get(BUFFERS)
    world.outside.sysctl(**{BUFFERS: "4096 16384 32768"})
    run(world.outside.command("tc", "qdisc", "add", *"dev eth0 root tbf rate 4mbit burst 16kb latency 4s".split()))
    try:
        before = world.metric("polder_api_received_bytes_total")
        world.server.start()
        wait_until(lambda: world.metric("polder_api_received_bytes_total") - before > 400_000, "a third of the list", 60, 0.01)
        world.server.pause()
        world.wait_connected(False, timeout=NOTICED + 5)
        assert world.metric("polder_api_received_bytes_total") - before < 1_100_000
        assert "deny" in {p["name"] for p in world.node.agent.ctl_json("policy", "list")}
        expect(world, "timeout", within=0)
    finally:
        run(world.outside.command("tc", "qdisc", "del", "dev", "eth0", "root"))
        world.outside.sysctl(**{BUFFERS: buffers})
    world.server.resume()
    world.wait_connected(timeout=40)
    expect(world, "open", within=15)
    world.wait_policy("other-29")


@limit(90)
def test_state_that_was_put_back_is_followed(world):
    """An etcd restored from a snapshot: resource versions go backwards, and come again with other contents."""
    world.kubectl("apply", objects=[other("before")])
    world.wait_policy("before")
    snapshot = world.etcd.snapshot()
    for i in range(20):
        world.kubectl("annotate", "--overwrite", "netpol", "before", f"round={i}")
    world.kubectl("delete", "netpol", "before")
    world.kubectl("apply", objects=[deny()])
    expect(world, "timeout")
    world.plane.put_back(snapshot)
    world.wait_connected(timeout=40)
    world.wait_policy("before", timeout=20)
    expect(world, "open", within=10)
    world.kubectl("apply", objects=[deny("again")])
    expect(world, "timeout")


@limit(90)
def test_etcd_that_stands_still_changes_nothing_for_an_agent_that_starts(world):
    world.kubectl("apply", objects=[deny()])
    expect(world, "timeout")
    world.etcd.pause()
    world.node.agent.stop()
    world.node.agent.start(wait=False)
    expect(world, "timeout", within=0)
    world.etcd.resume()
    world.node.agent.wait_ready(60)
    expect(world, "timeout", within=0)
    world.wait_current(40)
    world.kubectl("delete", "netpol", "deny")
    expect(world, "open")
