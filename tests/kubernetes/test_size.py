# SPDX-License-Identifier: Apache-2.0
"""A large cluster at a real API server: the agent starts, follows, and stays small."""

import base64
import json
import time
import urllib.request

from lib import objects
from lib.netns import inside
from lib.objects import labels, policy
from lib.runner import limit

LASTS = 40
PODS, SERVICES, POLICIES, NAMESPACES, NODES = 10_000, 1_000, 500, 50, 100
STORED = {"Pod": "pods", "Service": "services", "EndpointSlice": "discovery.k8s.io/endpointslices", "Namespace": "namespaces",
          "NetworkPolicy": "networking.k8s.io/networkpolicies"}


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)


def namespace(number):
    return f"ns-{number % NAMESPACES}"


def many():
    for i in range(NAMESPACES):
        yield objects.namespace(namespace(i), team=f"team-{i % 7}")
    for i in range(PODS):
        yield objects.pod(f"pod-{i}", namespace(i), {"app": f"app-{i % 200}", "pod-template-hash": f"{i % 977:x}"}, f"node-{i % NODES}",
                          [address(i)])
    for i in range(SERVICES):
        yield objects.service(f"svc-{i}", [f"10.97.{i // 250}.{i % 250 + 1}"], [objects.service_port(80, 8080)], ns=namespace(i))
        yield objects.endpoint_slice(f"svc-{i}-1", f"svc-{i}", [objects.endpoint(address(10 * i + j), f"node-{(10 * i + j) % NODES}")
                                                                for j in range(10)], [objects.slice_port(8080)], namespace(i))
    for i in range(POLICIES):
        yield policy(f"policy-{i}", labels(app=f"app-{i % 200}"), namespace(i), policyTypes=["Ingress"],
                     ingress=[{"from": [{"podSelector": labels(app=f"app-{(i + 1) % 200}")}], "ports": [{"port": 8080}]}])


def address(i):
    return f"10.{100 + i // 50_000}.{i // 250 % 200}.{i % 250 + 1}"


def store(world, made):
    """
    Into etcd itself, 100 objects a transaction: as a request each they take half a minute. The server reads JSON there, too, and is
    away meanwhile: objects of one resource with one resourceVersion are in a list what they are in no watch.
    """
    requests = []
    world.server.stop()
    for number, item in enumerate(made):
        meta = item["metadata"]
        meta.update(uid=f"00000000-0000-4000-8000-{number:012d}", creationTimestamp="2026-01-02T03:04:05Z", generation=1)
        key = "/".join(["/registry", STORED[item["kind"]], *([meta["namespace"]] if "namespace" in meta else []), meta["name"]])
        requests.append({"requestPut": {"key": base64.b64encode(key.encode()).decode(),
                                        "value": base64.b64encode(json.dumps(item).encode()).decode()}})
    with inside(world.outside.path):
        for begin in range(0, len(requests), 100):
            body = json.dumps({"success": requests[begin:begin + 100]}).encode()
            with urllib.request.urlopen(urllib.request.Request(world.etcd.url + "/v3/kv/txn", body), timeout=30) as answer:
                answer.read()
    world.server.start()


def resident(world, field):
    with open(f"/proc/{world.node.agent.process.pid}/status", encoding="ascii") as file:
        return int(next(text for text in file if text.startswith(field)).split()[1]) / 1024


@limit(120)
def test_large_cluster_is_known_and_followed(world):
    begun = time.monotonic()
    store(world, many())
    stored = time.monotonic() - begun
    world.wait_objects("pods", PODS + 2, 60)
    world.wait_objects("networkpolicies", POLICIES, 20)
    world.wait_current()
    followed = time.monotonic() - begun
    world.forget_kept()
    begun = time.monotonic()
    world.node.agent.start(wait=False)
    world.node.agent.wait_ready(60)
    ready = time.monotonic() - begun
    found = world.node.agent.ctl_json("status")["objects"]
    assert (found["pods"], found["networkpolicies"]) == (PODS + 2, POLICIES), found
    assert found["services"] >= SERVICES and found["endpointslices"] >= SERVICES, found
    peak = resident(world, "VmHWM")
    print(f"# {PODS} pods, {SERVICES} Services, {POLICIES} policies: stored in {stored:.1f} s, known after {followed:.1f} s; an agent that "
          f"starts is ready after {ready:.1f} s, {peak:.0f} MB resident at most", flush=True)
    assert peak < 128, f"{peak:.0f} MB"
    assert ready < 30, f"{ready:.1f} s"
    world.kubectl("apply", objects=[policy("deny", labels(app="b"), policyTypes=["Ingress"])])
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), (world.a, world.b.ips[6], 8080, "timeout"))
    world.kubectl("delete", "netpol", "deny")
    world.expect((world.a, world.b.ips[4], 8080, "open"), (world.a, world.b.ips[6], 8080, "open"))
    world.server.stop()
    for kind in ("NetworkPolicy", "EndpointSlice", "Service", "Pod"):
        world.etcd.ctl("del", "--prefix", f"/registry/{STORED[kind]}/ns-")
    world.server.start()
    world.wait_objects("pods", 2, 30)
