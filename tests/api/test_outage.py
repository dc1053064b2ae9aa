# SPDX-License-Identifier: Apache-2.0
"""The API server goes, comes back, is another one: what is in force stays, and then follows without a gap."""

import os
import time

from lib import objects
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import in_worlds, limit
from lib.traffic import wait_until

from api_world import PORT, SECOND_ADDRESS

SILENCE = 3
WORLDS = {"http2": {"silence": SILENCE}, "http1": {"silence": SILENCE, "protocols": ("http/1.1",)}}
# Found by a question that has no answer, or by the kernel; then the watches begin anew.
DEAD = 2 * SILENCE + 5


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    expect_open(world)


def deny(name="deny", **more):
    return policy(name, labels(app="b"), policyTypes=["Ingress"], **more)


def other(name="other"):
    return policy(name, labels(app="nobody"), policyTypes=["Ingress"])


def expect_open(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "open"), **options)


def expect_shut(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), **options)


def test_outage_changes_nothing_and_ends_without_a_gap(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    begun = world.now()
    world.api.stop()
    world.wait_connected(False)
    assert world.metric("polder_api_connected") == 0
    problem = world.wait_problem("api:connection", "172.30.0.1:6443", "in force stays")
    assert "refused" in problem or "connect" in problem, problem
    expect_shut(world, within=0)
    # Pods are connected as before.
    late = world.pod("late", labels={"app": "a"}, with_object=False)
    world.expect((late, world.b.ips[4], 8080, "timeout"), within=0)
    assert world.node.agent.ctl_json("status")["ready"]
    world.store.delete("networkpolicies", ("default", "deny"))
    world.store.put(deny("after"))
    time.sleep(max(0, begun + 1.5 - world.now()))
    assert world.metric("polder_api_outage_seconds") >= 1
    world.listen()
    world.wait_connected()
    world.wait_policy("after")
    world.wait_policy("deny", there=False)
    expect_shut(world, within=0)
    late.with_object = True
    late.write_object()
    world.wait_no_problem()
    # The watches went on where they were.
    assert not world.api.asked("networkpolicies", begun, sendInitialEvents="true")
    world.store.delete("networkpolicies", ("default", "after"))
    expect_open(world)


@in_worlds("http2")
def test_nothing_goes_before_the_list_after_an_outage_is_whole(world):
    world.resources.put("deny", deny())
    world.resources.put("other", other())
    expect_shut(world)
    world.api.streaming = False
    held = []

    def half(request):
        if request.resource != "networkpolicies" or "limit" not in request.query:
            return False
        held.append(request)
        request.head(200, {"content-type": "application/json"})
        request.send(b'{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","metadata":{"resourceVersion":"99999"},"items":[')
        return True
    world.api.refuse = half
    world.store.quietly("networkpolicies", delete=("default", "deny"))
    world.store.compact()
    world.api.cut()
    wait_until(lambda: held, "a list that is half", 15)
    expect_shut(world, within=0)
    world.api.refuse = None
    world.api.cut()
    expect_open(world, within=15)


@in_worlds("http2")
def test_token_that_was_replaced_is_read_again(world):
    world.api.token = "token-2"
    world.api.cut()
    world.wait_problem("cannot be read", "401")
    world.write_kubeconfig(token="token-2")
    world.wait_current()
    world.wait_no_problem()
    world.resources.put("deny", deny())
    expect_shut(world)


def drop_connections(world):
    """What the server's connections have sent so far was the last of them: no FIN, no RST."""
    ports = ", ".join(str(port) for _, port in world.api.peers())
    run(world.outside.command("nft", "-f", "-"), stdin=f"""
        table inet dead {{
            chain from_them {{ type filter hook input priority 0; tcp dport {PORT} tcp sport {{ {ports} }} drop; }}
            chain to_them {{ type filter hook output priority 0; tcp sport {PORT} tcp dport {{ {ports} }} drop; }}
        }}""")


@limit(90)
def test_connection_that_is_dead_without_a_word_is_noticed(world):
    world.wait_current()
    drop_connections(world)
    begun = world.now()
    world.resources.put("deny", deny())
    world.wait_policy("deny", timeout=DEAD)
    assert world.now() - begun <= DEAD
    expect_shut(world)


@in_worlds("http2")
def test_server_that_is_stopped_is_noticed(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    world.api.paused.set()
    world.wait_connected(False, timeout=DEAD)
    world.wait_problem("api:connection")
    expect_shut(world, within=0)
    world.api.paused.clear()
    world.wait_connected()
    world.resources.delete("deny")
    expect_open(world, within=3)


@in_worlds("http2")
def test_data_that_was_put_back_is_listed_again(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    world.api.stop()
    with world.store.lock:
        world.store.revision -= 500
        world.store.events = []
    world.store.quietly("networkpolicies", delete=("default", "deny"))
    begun = world.now()
    world.listen()
    world.wait_connected()
    world.wait_listed("pods", begun)
    expect_open(world, within=5)
    assert world.metric("polder_api_errors_total", resource="networkpolicies", kind="backwards") >= 1


@limit(90)
@in_worlds("http2")
def test_data_that_was_put_back_to_after_most_resources_is_listed_again(world):
    """Only the policies have been changed since: the versions of the other resources are older than what was put back."""
    world.api.bookmarks = 600
    world.node.agent.restart()
    with world.store.lock:
        world.store.revision += 500
    world.resources.put("deny", deny())
    expect_shut(world)
    world.api.stop()
    with world.store.lock:
        world.store.revision -= 250
        world.store.events = []
    world.store.quietly("networkpolicies", delete=("default", "deny"))
    world.listen()
    world.wait_connected()
    expect_open(world, within=10)


@in_worlds("http2")
def test_other_addresses_are_tried_in_turn(world):
    second = world.server()
    world.listen(second, SECOND_ADDRESS)
    try:
        world.node.agent.options["api-server"] = f"https://{SECOND_ADDRESS}:{PORT}"
        world.node.agent.restart()
        world.wait_connected()
        assert world.api_status()["server"] == f"https://{SECOND_ADDRESS}:{PORT}", world.api_status()
        second.stop()
        world.wait_connected(False)
        world.wait_connected()
        assert world.api_status()["server"] == f"https://172.30.0.1:{PORT}", world.api_status()
        world.resources.put("deny", deny())
        world.wait_policy("deny")
    finally:
        second.stop()
        world.node.agent.options["api-server"] = None


@limit(90)
@in_worlds("http2")
def test_addresses_of_the_cluster_are_known_without_its_service(world):
    """A node whose kubeconfig names the Service's address, with nothing in its maps, after the servers were replaced."""
    world.resources.put("kubernetes", objects.endpoint_slice(
        "kubernetes", "kubernetes", [objects.endpoint(SECOND_ADDRESS)], [objects.slice_port(PORT, name="https")]))
    state = os.path.join(world.node.agent.options["state-dir"], "api-servers.json")
    wait_until(lambda: os.path.exists(state), "the addresses on the disk", 5)
    world.api.stop()
    second = world.server()
    world.listen(second, SECOND_ADDRESS)
    try:
        world.write_kubeconfig(server="https://10.96.0.1:443")
        world.outside.ip("route add blackhole 10.96.0.1")
        world.node.agent.stop()
        world.node.agent.start()
        world.wait_connected()
        assert world.api_status()["server"] == f"https://{SECOND_ADDRESS}:{PORT}", world.api_status()
    finally:
        second.stop()
        world.outside.ip("route del blackhole 10.96.0.1")
        world.node.agent.stop()
        os.unlink(state)
