# SPDX-License-Identifier: Apache-2.0
"""What polderd tells the cluster: that its node has a network, and Events on objects that it refuses; and nothing else."""

import json
import socket
import time

from lib import objects
from lib.objects import labels, policy
from lib.runner import in_worlds, limit
from lib.traffic import V4, wait_until

WORLDS = {"http2": {}, "http1": {"protocols": ("http/1.1",)}}
KEY = "polder.dev/agent-not-ready"
FOREIGN = {"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"}
OURS = {"key": KEY, "effect": "NoExecute"}


def node(world, *taints, conditions=()):
    made = objects.node(world.node.name, list(world.node.pod_cidr.values()), list(world.node.ips.values()))
    made["spec"]["taints"] = list(taints)
    made["status"]["conditions"] = list(conditions)
    return made


def there(world):
    return world.store.objects["nodes"][("", world.node.name)]


def condition(world):
    return next((c for c in there(world)["status"].get("conditions", []) if c["type"] == "NetworkUnavailable"), None)


def wait_up(world, timeout=10):
    wait_until(lambda: KEY not in [t["key"] for t in there(world)["spec"].get("taints", [])]
               and (condition(world) or {}).get("status") == "False",
               lambda: f"a node that is told to be up: {there(world)}; {world.problems()}", timeout)


def writes(world):
    return {what for _, what, _ in list(world.api.requests) if what.split(" ")[0] in ("PATCH", "POST", "PUT", "DELETE")}


def wait_metric(world, kind, result, timeout=10):
    wait_until(lambda: (world.metric("polder_api_writes_total", kind=kind, result=result) or 0) >= 1,
               f"polder_api_writes_total of {kind}, {result}", timeout)


def bad_policy(name, key="ingres"):
    made = policy(name, labels(app="nobody"), policyTypes=["Ingress"])
    made["spec"][key] = [{}]
    return made


def test_node_that_is_ready_loses_the_taint_and_has_a_network(world):
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    world.resources.put("node", node(world, FOREIGN, OURS, {**OURS, "effect": "NoSchedule"}, conditions=[ready]))
    wait_up(world)
    assert there(world)["spec"]["taints"] == [FOREIGN], there(world)
    made = condition(world)
    assert made["reason"] == "PolderIsUp" and made["lastTransitionTime"].endswith("Z"), made
    assert ready in there(world)["status"]["conditions"], there(world)
    assert writes(world) == {f"PATCH /api/v1/nodes/{world.node.name}", f"PATCH /api/v1/nodes/{world.node.name}/status"}, writes(world)
    wait_metric(world, "taint", "done")


@in_worlds("http2")
def test_node_that_the_cluster_does_not_have_is_told_and_nothing_written(world):
    world.api.requests.clear()
    world.forget_kept()
    world.node.agent.start()
    assert f"no Node of the name {world.node.name}" in world.node.agent.log_tail(60)
    assert not writes(world), writes(world)
    assert world.node.agent.ctl_json("status")["ready"]


@in_worlds("http2")
def test_taint_that_comes_again_is_removed_again(world):
    world.resources.put("node", node(world, OURS))
    wait_up(world)
    for _ in range(2):
        world.store.put(node(world, OURS, FOREIGN, conditions=[condition(world)]))
        wait_up(world)
        assert there(world)["spec"]["taints"] == [FOREIGN], there(world)
    # A restart of the agent, as after a reboot: the kubelet has set it meanwhile.
    since = condition(world)["lastTransitionTime"]
    world.node.agent.stop()
    world.store.put(node(world, FOREIGN, OURS, conditions=[condition(world)]))
    world.node.agent.start()
    wait_up(world)
    assert condition(world)["lastTransitionTime"] == since, condition(world)


@in_worlds("http2")
def test_condition_of_another_network_keeps_its_time(world):
    before = {"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    world.resources.put("node", node(world, conditions=[before]))
    wait_until(lambda: condition(world)["reason"] == "PolderIsUp", lambda: f"our condition: {condition(world)}", 10)
    assert condition(world)["lastTransitionTime"] == before["lastTransitionTime"], condition(world)
    world.store.put(node(world, conditions=[{**before, "status": "True", "reason": "NoRouteCreated"}]))
    wait_up(world)
    assert condition(world)["lastTransitionTime"] > before["lastTransitionTime"], condition(world)


@in_worlds("http2")
def test_change_that_is_heard_of_before_the_answer_to_a_write_counts(world):
    def somebody():
        made = json.loads(json.dumps(there(world)))
        made["spec"]["taints"] = [OURS, FOREIGN]
        world.store.put(made)
        time.sleep(0.5)
    world.api.after_patch = somebody
    world.resources.put("node", node(world, OURS))
    wait_up(world)
    assert there(world)["spec"]["taints"] == [FOREIGN], there(world)
    assert world.metric("polder_api_writes_total", kind="taint", result="conflict") == 0


@in_worlds("http2")
def test_taint_of_somebody_who_writes_at_the_same_time_is_not_lost(world):
    late = {"key": "example.com/late", "effect": "NoSchedule"}

    def somebody():
        made = json.loads(json.dumps(there(world)))
        made["spec"]["taints"].insert(0, late)
        world.store.quietly("nodes", put=made)
    world.api.before_patch = somebody
    world.resources.put("node", node(world, OURS, FOREIGN))
    wait_up(world)
    assert there(world)["spec"]["taints"] == [late, FOREIGN], there(world)
    wait_metric(world, "taint", "conflict")


@in_worlds("http2")
@limit(150)
def test_node_that_is_not_ready_keeps_the_taint(world):
    world.forget_kept()
    world.resources.put("node", node(world, OURS))
    held = []

    def refuse(request):
        if request.resource != "networkpolicies":
            return False
        held.append(request)
        request.json(500, {"kind": "Status", "status": "Failure", "message": "not now", "code": 500})
        return True
    world.api.refuse = refuse
    world.node.agent.start(wait=False)
    wait_until(lambda: len(held) > 1, "two lists that failed", 60)
    assert there(world)["spec"]["taints"] == [OURS] and not condition(world), there(world)
    world.api.refuse = None
    wait_up(world, 40)
    world.wait_current()


@in_worlds("http2")
def test_rights_that_are_missing_are_named(world):
    world.api.forbidden = {"nodes/status", "events"}
    world.resources.put("node", node(world, OURS))
    world.resources.put("bad", bad_policy("bad"))
    problem = world.wait_problem("api:write/condition", "403")
    assert '"patch" of "nodes/status"' in problem and "rbac.yaml" in problem, problem
    problem = world.wait_problem("api:write/event", "403")
    assert '"create" of "events"' in problem, problem
    assert world.node.agent.ctl_json("status")["ready"]
    world.api.forbidden = set()
    world.node.agent.process.send_signal(1)
    wait_up(world)
    wait_until(lambda: world.store.told, "the Event", 10)
    world.resources.delete("bad")
    world.wait_no_problem()


@in_worlds("http2")
def test_refused_object_has_one_event_with_the_place(world):
    world.store.told.clear()
    world.resources.put("bad", bad_policy("bad"))
    wait_until(lambda: world.store.told, "an Event", 10)
    (namespace, name), made = next(iter(world.store.told.items()))
    about = made["involvedObject"]
    assert namespace == "default" and name.startswith("bad."), name
    assert about["kind"] == "NetworkPolicy" and about["apiVersion"] == "networking.k8s.io/v1", about
    assert about["uid"] == world.store.objects["networkpolicies"][("default", "bad")]["metadata"]["uid"], about
    assert about["fieldPath"].startswith("spec"), about
    assert made["type"] == "Warning" and "$.spec" in made["message"] and "ingres" in made["message"], made
    # Another agent, as this one is after a restart, says it no second time; a refusal in other words is another one.
    world.node.agent.restart()
    wait_metric(world, "event", "known")
    assert len(world.store.told) == 1, world.store.told
    world.resources.put("bad", bad_policy("bad", "egres"))
    wait_until(lambda: len(world.store.told) == 2, lambda: f"a second Event: {world.store.told}", 10)


@in_worlds("http2")
def test_event_on_an_object_without_a_namespace_is_in_default(world):
    world.store.told.clear()
    bad = node(world)
    bad["metadata"]["name"], bad["spec"]["podCIDRs"] = "elsewhere", ["10.1.2.3/x"]
    world.resources.put("bad", bad)
    wait_until(lambda: world.store.told, lambda: f"an Event; {world.problems()}", 10)
    (namespace, _), made = next(iter(world.store.told.items()))
    assert namespace == "default" and made["involvedObject"]["kind"] == "Node", made
    assert "namespace" not in made["involvedObject"], made


@in_worlds("http2")
def test_pod_outside_of_its_nodes_ranges_has_an_event(world):
    """Something else has connected it: its own node says so, and goes on."""
    world.store.told.clear()
    world.resources.put("stray", objects.pod("stray", node_name=world.node.name, ips=["10.88.0.5"]))
    wait_until(lambda: world.store.told, lambda: f"an Event; {world.problems()}", 10)
    made = next(iter(world.store.told.values()))
    assert made["reason"] == "PodOutsideRange" and made["type"] == "Warning", made
    assert made["involvedObject"]["kind"] == "Pod" and made["involvedObject"]["name"] == "stray", made
    assert made["message"].startswith("its address 10.88.0.5 is outside of the pod ranges"), made["message"]
    world.resources.put("stray", objects.pod("stray", node_name="elsewhere", ips=["10.88.0.5"]))
    wait_until(lambda: not world.problems(), lambda: f"no problem: {world.problems()}", 10)
    assert len(world.store.told) == 1, world.store.told


def told_of(world, name):
    """Reasons and messages of the Events on a Service."""
    return {(made["reason"], made["message"]) for made in list(world.store.told.values())
            if made["involvedObject"]["kind"] == "Service" and made["involvedObject"]["name"] == name}


def wait_told(world, name, reason, words):
    wait_until(lambda: any(why == reason and words in text for why, text in told_of(world, name)),
               lambda: f"an Event {reason} on {name}, {words}: {told_of(world, name)}; {world.problems()}", 10)


def put_service(world, name, number, second=0, **spec):
    made = objects.service(name, [f"10.96.8.{number}"], [{"port": 80, "protocol": "TCP", **spec.pop("port", {})}], **spec)
    made["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
    return made


@in_worlds("http2")
def test_frontends_that_are_not_served_are_events_on_the_service(world):
    """What `kubectl describe service` shows of addresses and ports that lead nowhere; once, over restarts too."""
    world.store.told.clear()
    port = {"nodePort": 30099}
    world.resources.put("early", put_service(world, "early", 1, 1, type="NodePort", port=port))
    world.resources.put("late", put_service(world, "late", 2, 2, type="NodePort", port=port,
                                            externalIPs=["127.0.0.1", "10.96.8.1", world.node.ips[V4]]))
    wait_told(world, "late", "FrontendNotServed", "port 30099/TCP of the nodes is Service default/early's, which is older")
    wait_told(world, "late", "FrontendNotServed", "spec.externalIPs: 127.0.0.1 is a loopback address: not served")
    wait_told(world, "late", "FrontendNotServed", "10.96.8.1 is the ClusterIP of Service default/early")
    wait_told(world, "late", "FrontendNotServed", f"{world.node.ips[V4]} is an address of node {world.node.name}: not served")
    made = next(made for made in world.store.told.values() if made["involvedObject"]["name"] == "late")
    there_is = world.store.objects["services"][("default", "late")]["metadata"]
    assert made["type"] == "Warning" and made["involvedObject"]["uid"] == there_is["uid"], made
    assert not told_of(world, "early"), told_of(world, "early")
    # Another agent, as this one is after a restart, says nothing twice.
    before = told_of(world, "late")
    world.node.agent.restart()
    wait_until(lambda: (world.metric("polder_api_writes_total", kind="event", result="known") or 0) >= len(before),
               "Events that are known", 20)
    assert told_of(world, "late") == before and len(before) == 4, before


@in_worlds("http2")
def test_endpoints_annotations_and_health_ports_are_events_too(world):
    world.store.told.clear()
    taken = world.node.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.bind(("0.0.0.0", 0))
    taken.listen()
    made = put_service(world, "odd", 3, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=taken.getsockname()[1])
    made["metadata"]["annotations"] = {"polder.dev/balancing": "fair"}
    foreign = objects.endpoint("10.77.9.9")
    foreign["targetRef"] = {"kind": "Pod", "namespace": "elsewhere", "name": "p"}
    world.resources.put("odd", made, objects.endpoint_slice("odd-1", "odd", [foreign], [objects.slice_port(80)]))
    wait_told(world, "odd", "AnnotationIgnored", 'polder.dev/balancing is "fair"')
    wait_told(world, "odd", "EndpointsLeftOut", "endpoints of its slices are pods of another namespace")
    wait_told(world, "odd", "HealthCheckNotServed", f"its health check node port {taken.getsockname()[1]} cannot be served on a node")
    assert len(told_of(world, "odd")) == 3, told_of(world, "odd")
    taken.close()


@in_worlds("http2")
def test_many_refused_objects_are_told_slowly_and_not_all(world):
    world.store.told.clear()
    for i in range(100):
        world.store.put(bad_policy(f"bad-{i}"))
    wait_metric(world, "event", "dropped")
    assert len(world.store.told) <= 10, len(world.store.told)
    world.resources.put("more", policy("more", labels(app="nobody"), policyTypes=["Ingress"]))
    world.wait_policy("more", timeout=2)
    for i in range(100):
        world.store.delete("networkpolicies", ("default", f"bad-{i}"))


@in_worlds("http2")
def test_writes_that_fail_are_tried_again_and_reads_go_on(world):
    until = world.now() + 3

    def refuse(request):
        if request.method == "GET" or world.now() > until:
            return False
        request.json(503, {"kind": "Status", "status": "Failure", "message": "not now", "code": 503})
        return True
    world.api.refuse = refuse
    world.resources.put("node", node(world, OURS))
    world.resources.put("more", policy("more", labels(app="nobody"), policyTypes=["Ingress"]))
    world.wait_policy("more", timeout=2)
    wait_up(world, 20)
    wait_metric(world, "taint", "failed")
