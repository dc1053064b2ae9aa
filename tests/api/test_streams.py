# SPDX-License-Identifier: Apache-2.0
"""What servers send that makes no sense, is too much, or comes in any piece and order."""

import json

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

import api_server

WORLD = {"silence": 3}


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    # What must stay in force whatever else is wrong.
    world.resources.put("canary", policy("canary", labels(app="b"), policyTypes=["Ingress"]))
    canary(world)


def canary(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), **options)


def other(name="other", **more):
    return policy(name, labels(app="nobody"), policyTypes=["Ingress"], **more)


def line(kind, made):
    return api_server.line(kind, made)


def versioned(world, made):
    with world.store.lock:
        world.store.revision += 1
        made["metadata"]["resourceVersion"] = str(world.store.revision)
    return made


@limit(90)
def test_watches_that_make_no_sense_change_nothing_and_are_begun_anew(world):
    good = other("good")
    streams = {
        "no JSON": b"this is not JSON\n",
        "an array": b"[1, 2]\n",
        "no object": b'{"type":"ADDED"}\n',
        "unknown type": line("CHANGED", good),
        "type is a number": b'{"type":7,"object":{"metadata":{"name":"x"}}}\n',
        "deleted without name": line("DELETED", {"kind": "NetworkPolicy", "metadata": {}}),
        "error without code": line("ERROR", {"kind": "Status", "message": "no"}),
        "deep": b'{"type":"ADDED","object":' + b'{"a":' * 2000,
        "zero bytes": b"\0" * 1000,
        "control characters": b'{"type":"ADDED","object":{"metadata":{"name":"\1"}}}}\n',
    }
    names = list(streams)
    resources = ("pods", "nodes", "services", "endpointslices", "networkpolicies")
    for some in (names[:5], names[5:]):
        world.wait_current(30)
        asked = {resource: len(world.api.asked(resource)) for resource in resources}
        for name, resource in zip(some, resources):
            world.api.inject(resource, streams[name])
        for name, resource in zip(some, resources):
            wait_until(lambda r=resource: len(world.api.asked(r)) > asked[r], f"another watch after: {name}", 10)
        canary(world, within=0)
    world.api.inject("networkpolicies", line("ADDED", good)[:-40])
    world.api.cut()
    world.wait_current(30)
    world.resources.put("other", other())
    world.wait_policy("other")
    assert "good" not in {p["name"] for p in world.node.agent.ctl_json("policy", "list")}


def test_bytes_one_by_one_are_an_object(world):
    made = versioned(world, other("slow"))
    data = line("ADDED", made)
    for i in range(len(data)):
        world.api.inject("networkpolicies", data[i:i + 1])
    world.wait_policy("slow")
    world.api.inject("networkpolicies", line("DELETED", versioned(world, made)))
    world.wait_policy("slow", there=False)


def test_events_twice_and_out_of_order_come_right(world):
    first, second = versioned(world, other("twice")), versioned(world, other("second"))
    world.store.objects["networkpolicies"]["default", "twice"] = first
    world.store.objects["networkpolicies"]["default", "second"] = second
    since = world.now()
    for made in (second, second, first):
        world.api.inject("networkpolicies", line("ADDED", made))
    world.wait_policy("twice")
    world.wait_policy("second")
    world.wait_listed("networkpolicies", since)
    for name in ("twice", "second"):
        world.store.delete("networkpolicies", ("default", name))
        world.wait_policy(name, there=False)


def test_bookmarks_of_any_kind_are_taken(world):
    for annotations in (None, {"k8s.io/initial-events-end": "true"}):
        for _ in range(2):
            world.api.inject("networkpolicies", line("BOOKMARK", {
                "kind": "NetworkPolicy", "metadata": {"resourceVersion": str(world.store.revision),
                                                      **({"annotations": annotations} if annotations else {})}}))
    world.resources.put("other", other())
    world.wait_policy("other")
    canary(world)


def places(value, path=()):
    """The path of each value within it."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def replaced(value, path, other):
    if not path:
        return other
    made = dict(value) if isinstance(value, dict) else list(value)
    made[path[0]] = replaced(value[path[0]], path[1:], other)
    return made


def specimens():
    """One of each kind, with what Polder reads."""
    pod = objects.pod("mutant", "default", {"app": "x"}, "elsewhere", ["10.99.0.1", "fd99::1"], [("web", 80, "TCP")],
                      init_containers=[{"name": "i", "ports": [{"name": "p", "containerPort": 1}], "restartPolicy": "Always"}])
    pod["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    peers = [{"podSelector": objects.expression("app", "In", "x")}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    service = objects.service("mutant", ["10.96.9.9", "fd96::9:9"], [objects.service_port(80, "web", name="web")], {"app": "x"},
                              externalIPs=["192.0.2.1"], internalTrafficPolicy="Cluster")
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}
    return {
        "pods": pod, "namespaces": objects.namespace("mutant", team="x"), "services": service,
        "nodes": objects.node("mutant", ["10.98.0.0/24", "fd98::/64"], ["172.30.0.99", "fd30::99"]),
        "endpointslices": objects.endpoint_slice("mutant", "mutant", [objects.endpoint(
            "10.99.0.1", "elsewhere", ready=True, serving=True, terminating=False)], [objects.slice_port(80, name="web")]),
        "networkpolicies": policy("mutant", labels(app="nobody"), policyTypes=["Ingress"],
                                  ingress=[{"from": peers, "ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}]}]),
    }


@limit(90)
def test_wrong_types_at_every_place_of_every_kind_stay_with_their_object(world):
    """Each value of each object is another type once: refused or taken, nothing else is touched, and a good version ends it."""
    begun, count = world.now(), 0
    for resource, good in specimens().items():
        for path in places(good):
            if path in ((), ("metadata",), ("metadata", "name"), ("metadata", "namespace")):
                continue  # what it is cannot be told: test_watches_that_make_no_sense
            for other_type in (None, True, -7, 1.5, 10 ** 30, "", "text", [], [7], {}, {"a": {}}):
                world.api.inject(resource, line("MODIFIED", versioned(world, replaced(good, path, other_type))))
                count += 1
        world.api.inject(resource, line("MODIFIED", versioned(world, good)))
        canary(world, within=0)
    wait_until(lambda: not [p for p in world.problems() if "mutant" in p], lambda: f"no problem; {world.problems()}", 30)
    world.resources.put("other", other())
    world.wait_policy("other")
    world.wait_policy("mutant")
    for resource, good in specimens().items():
        world.api.inject(resource, line("DELETED", versioned(world, good)))
    world.wait_policy("mutant", there=False)
    canary(world, within=0)
    print(f"# {count} events", flush=True)
    assert not world.api.asked("pods", begun), "the watch went on"


def resident(world):
    with open(f"/proc/{world.node.agent.process.pid}/status", encoding="ascii") as file:
        return int(next(text for text in file if text.startswith("VmHWM")).split()[1]) / 1024


def cpu_seconds(world):
    return world.metric("process_cpu_seconds_total")


def reset_peak(world):
    with open(f"/proc/{world.node.agent.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def test_object_of_a_hundred_megabytes_is_refused_alone(world):
    made = versioned(world, other("large"))
    data = line("ADDED", made)
    head, tail = data[:-2], data[-2:]
    reset_peak(world)
    before = resident(world)
    world.api.inject("networkpolicies", head[:-1] + b',"padding":"')
    for _ in range(100):
        world.api.inject("networkpolicies", b"x" * (1 << 20))
    world.api.inject("networkpolicies", b'"}' + tail)
    world.wait_problem("api:networkpolicies/default/large", "bytes", timeout=30)
    grown = resident(world) - before
    assert grown < 40, f"{grown:.0f} MB"
    world.resources.put("other", other())
    world.wait_policy("other")
    world.api.inject("networkpolicies", line("DELETED", versioned(world, made)))
    world.wait_no_problem()


def many_pods(count):
    for i in range(count):
        made = objects.pod(f"pod-{i}", f"ns-{i % 50}", {"app": f"app-{i % 200}", "pod": f"{i}"}, f"node-{i % 100}",
                           [f"10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}"])
        made["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {f"f:{j}": {"x": "y" * 40} for j in range(40)}}]
        yield made


@limit(120)
def test_ten_thousand_pods_are_never_in_memory_whole(world):
    world.api.streaming = False
    pods, made = world.store.objects["pods"], list(many_pods(10000))
    with world.store.lock:
        for number, pod in enumerate(made):
            pod["metadata"]["resourceVersion"] = str(number + 1)
            pods[pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod
    size = len(json.dumps(made[0])) / 100
    world.forget_kept()
    world.node.agent.start(wait=False)
    world.node.agent.wait_ready(60)
    peak = resident(world)
    print(f"# 10,000 pods, {size:.0f} MB of JSON: {peak:.0f} MB resident at most, {cpu_seconds(world):.1f} s of CPU", flush=True)
    with world.store.lock:
        for key in [key for key in pods if key[1].startswith("pod-")]:
            del pods[key]
    assert peak < 110, f"{peak:.0f} MB"
    assert world.node.agent.ctl_json("status")["objects"]["pods"] >= 10000
    world.node.agent.stop()
