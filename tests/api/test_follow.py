# SPDX-License-Identifier: Apache-2.0
"""Objects of an API server are in force: listed, watched, listed again when history is gone."""

import json
import os

from lib import objects
from lib.objects import labels, policy
from lib.runner import in_worlds
from lib.traffic import wait_until

WORLDS = {"http2": {}, "http1": {"protocols": ("http/1.1",)}}


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    expect_open(world)


def deny(name="deny", **more):
    return policy(name, labels(app="b"), policyTypes=["Ingress"], **more)


def expect_open(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "open"), (world.a, world.b.ips[6], 8080, "open"), **options)


def expect_shut(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), (world.a, world.b.ips[6], 8080, "timeout"), **options)


def test_policy_is_in_force_as_it_comes_and_goes(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    world.resources.put("deny", deny(ingress=[{"from": [{"podSelector": labels(app="a")}]}]))
    expect_open(world)
    world.resources.put("deny", deny())
    expect_shut(world)
    world.resources.delete("deny")
    expect_open(world)
    wanted = "h2" if "h2" in world.protocols else "http/1.1"
    assert world.api.protocols == {wanted}, world.api.protocols


def test_service_of_the_server_is_translated(world):
    vip = world.service("web", 1, [objects.service_port(80, 8080)], {"app": "b"})[4]
    world.resources.put("slice", objects.endpoint_slice(
        "web-1", "web", [objects.endpoint(world.b.ips[4], world.node.name)], [objects.slice_port(8080)]))
    world.expect((world.a, vip, 80, "open"), (world.node, vip, 80, "open"))


def test_status_and_metrics_tell_of_the_server(world):
    status = world.api_status()
    assert status["connected"] and status["server"] == "https://172.30.0.1:6443", status
    assert {r["name"]: r["state"] for r in status["resources"]} == {
        "namespaces": "watch", "nodes": "watch", "pods": "watch", "services": "watch", "endpointslices": "watch",
        "networkpolicies": "watch", "clusternetworkpolicies": "absent", "trafficalerts": "absent"}, status
    assert world.metric("polder_api_connected") == 1 and world.metric("polder_api_outage_seconds") == 0
    assert world.metric("polder_api_synced", resource="pods") == 1
    wait_until(lambda: world.metric("polder_api_age_seconds", resource="pods") < 2, "bookmarks", 5)
    text = world.node.agent.ctl("status").stdout
    assert "https://172.30.0.1:6443: connected for" in text and "endpointslices" in text, text


@in_worlds("http2")
def test_lists_in_pages_where_there_are_no_streaming_lists(world):
    world.api.streaming, world.api.page = False, 2
    for i in range(5):
        world.resources.put(f"policy-{i}", policy(f"p{i}", labels(app="nobody"), policyTypes=["Ingress"]))
    world.node.agent.restart()
    world.wait_current()
    pages = world.api.asked("networkpolicies", limit="500")
    assert len(pages) >= 3 and any("continue" in page for page in pages), pages
    assert len(world.node.agent.ctl_json("policy", "list")) == 5
    world.resources.put("deny", deny())
    expect_shut(world)


def relist(world, resource="networkpolicies"):
    """The history is gone while the connection is: the watch cannot go on."""
    since = world.now()
    world.store.compact()
    world.api.cut()
    world.wait_listed(resource, since)
    world.wait_current()


def test_history_that_is_gone_is_listed_again_without_a_gap(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    world.store.quietly("networkpolicies", put=policy("other", labels(app="nobody"), policyTypes=["Ingress"]))
    world.store.quietly("networkpolicies", delete=("default", "deny"))
    expect_shut(world, within=0)
    relist(world)
    world.wait_policy("other")
    expect_open(world)
    world.store.delete("networkpolicies", ("default", "other"))
    world.wait_policy("other", there=False)


@in_worlds("http2")
def test_expired_token_in_mid_list_begins_the_list_again(world):
    world.api.streaming, world.api.page = False, 2
    for i in range(5):
        world.resources.put(f"policy-{i}", policy(f"p{i}", labels(app="nobody"), policyTypes=["Ingress"]))
    world.resources.put("deny", deny())
    expect_shut(world)
    world.api.expire_tokens = 2
    world.node.agent.restart()
    world.wait_current(30)
    assert len(world.node.agent.ctl_json("policy", "list")) == 6
    expect_shut(world)


@in_worlds("http2")
def test_name_that_was_deleted_and_made_anew_between_two_lists(world):
    pod = objects.pod("late", labels={"app": "b"}, node_name="elsewhere", ips=["10.99.0.7"])
    world.resources.put("late", pod)
    world.resources.put("only", policy("only", labels(app="b"), ingress=[{"from": [{"podSelector": labels(app="a")}]}]))
    expect_open(world)
    again = {**pod, "metadata": {**pod["metadata"], "uid": "another", "labels": {"app": "new"}}}
    world.store.quietly("pods", delete=("default", "late"))
    world.store.quietly("pods", put=again)
    relist(world, "pods")
    expect_open(world, within=0)
    found = [p for p in world.node.agent.ctl_json("status")["objects"].items()]
    assert dict(found)["pods"] == 3, found


@in_worlds("http2")
def test_throttled_watch_waits_and_does_not_list(world):
    since = world.now()
    until = since + 3

    def refuse(request):
        if request.resource in ("networkpolicies", "/version") or world.now() > until:
            return False
        request.json(429, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "slow down",
                           "reason": "TooManyRequests", "code": 429}, Retry_After=1)
        return True
    world.api.refuse = refuse
    world.api.cut()
    wait_until(lambda: world.metric("polder_api_errors_total", resource="pods", kind="throttled"), "429", 5)
    world.wait_current()
    asked = world.api.asked("pods", since)
    assert 2 <= len(asked) <= 8, asked
    assert all("sendInitialEvents" not in query and query.get("watch") for query in asked), asked


@in_worlds("http2")
def test_cluster_policies_are_found_when_the_server_has_them_later(world):
    world.forget_kept()
    world.node.agent.start()
    assert world.resource_status("clusternetworkpolicies")["state"] == "absent"
    assert not world.problems()
    # The agent looks every 30 s: a restart is quicker.
    world.api.absent = set()
    world.resources.put("cluster", objects.cluster_policy("cluster", {"namespaces": {}}, ingress=[objects.cluster_rule("Deny")]))
    world.node.agent.restart()
    expect_shut(world)
    # They go with their kind, and not with one answer of somebody else's.
    world.api.absent = {"clusternetworkpolicies"}
    world.api.cut()
    expect_open(world, within=10)


@in_worlds("http2")
def test_alerts_that_may_not_be_read_hold_nothing_up(world):
    world.forget_kept()
    world.api.forbidden, world.api.absent = {"trafficalerts"}, {"clusternetworkpolicies"}
    world.resources.put("alert", objects.alert("scan", scan={"targets": 2, "seconds": 60}))
    world.node.agent.start()
    assert [problem for problem in world.problems() if "trafficalerts.polder.dev cannot be read" in problem], world.problems()
    expect_open(world)
    # The agent asks again within 30 s: a restart is quicker.
    world.api.forbidden = set()
    world.node.agent.restart()
    wait_until(lambda: [rule["alert"] for rule in world.node.agent.ctl_json("alert", "list")["rules"]] == ["scan"], "the alert is read")
    world.resources.delete("alert")
    wait_until(lambda: not world.node.agent.ctl_json("alert", "list")["rules"], "the alert is gone")


@in_worlds("http2")
def test_object_that_is_refused_keeps_its_last_good_version(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    bad = deny()
    bad["spec"]["ingres"] = [{}]
    world.resources.put("deny", bad)
    problem = world.wait_problem("api:networkpolicies/default/deny", "ingres")
    assert "$.spec" in problem, problem
    expect_shut(world, within=0)
    world.resources.put("more", policy("more", labels(app="nobody"), policyTypes=["Ingress"]))
    world.wait_policy("more")
    relist(world)
    world.wait_problem("api:networkpolicies/default/deny")
    expect_shut(world, within=0)
    world.resources.put("deny", deny(ingress=[{}]))
    world.wait_no_problem()
    expect_open(world)


@in_worlds("http2")
def test_policy_that_never_was_valid_isolates_what_it_selects(world):
    bad = deny(ingress=[{}])
    bad["spec"]["ingres"] = [{}]
    world.resources.put("deny", bad)
    world.wait_problem("api:networkpolicies/default/deny")
    expect_shut(world)
    world.resources.delete("deny")
    world.wait_no_problem()
    expect_open(world)


@in_worlds("http2")
def test_objects_of_a_directory_and_of_the_server_are_both_in_force(world):
    directory = os.path.join(world.workdir, "files")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "deny.json"), "w", encoding="ascii") as file:
        json.dump(deny(), file)
    world.node.agent.options["resources"] = directory
    try:
        world.node.agent.restart()
        expect_shut(world)
        os.unlink(os.path.join(directory, "deny.json"))
        expect_open(world)
    finally:
        world.node.agent.options["resources"] = None
