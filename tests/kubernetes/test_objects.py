# SPDX-License-Identifier: Apache-2.0
"""What kubectl does to objects of a real API server is in force on the node."""

import json
import os

from lib import objects
from lib.objects import alert, labels, policy
from lib.traffic import wait_until

import cluster


def setup(world):
    world.resources.put("other", objects.namespace("other"))
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", "other", labels={"app": "c"})
    world.serve(world.b, 8080)
    world.serve(world.c, 8080)
    expect(world, "open", world.a, world.c)


def expect(world, verdict, *sources, **options):
    world.expect(*[(source, world.b.ips[family], 8080, verdict) for source in sources for family in (4, 6)], **options)


def deny(name="deny", **more):
    return policy(name, labels(app="b"), policyTypes=["Ingress"], **more)


def from_pods(**match):
    return {"from": [{"podSelector": labels(**match)}]}


def explain(world, source, target):
    done = world.node.agent.ctl("-o", "json", "explain", "--from", f"{source.ns}/{source.name}", "--to", f"{target.ns}/{target.name}",
                                "--proto", "tcp", "--port", "8080", check=False)
    return json.loads(done.stdout)


def test_policy_is_applied_patched_and_deleted(world):
    world.kubectl("apply", objects=[deny()])
    expect(world, "timeout", world.a, world.c)
    found = explain(world, world.a, world.b)
    assert found["verdict"] == "denied" and found["policy"] == "default/deny", found
    world.kubectl("patch", "netpol", "deny", "--type=json", "-p",
                  json.dumps([{"op": "add", "path": "/spec/ingress", "value": [from_pods(app="a")]}]))
    expect(world, "open", world.a)
    expect(world, "timeout", world.c, within=0)
    assert explain(world, world.a, world.b)["verdict"] == "allowed"
    world.kubectl("patch", "netpol", "deny", "--type=merge", "-p", '{"spec":{"ingress":null}}')
    expect(world, "timeout", world.a)
    world.kubectl("patch", "netpol", "deny", "--type=strategic", "-p",
                  json.dumps({"spec": {"podSelector": {"matchLabels": {"app": "nobody"}}}}))
    expect(world, "open", world.a, world.c)
    world.kubectl("apply", objects=[deny()])
    expect(world, "timeout", world.a, world.c)
    world.kubectl("delete", "netpol", "deny")
    expect(world, "open", world.a, world.c)
    assert explain(world, world.a, world.b)["verdict"] == "allowed"


def test_policy_of_two_field_managers_is_what_the_server_makes_of_it(world):
    apply = ("apply", "--server-side", "--field-manager")
    world.kubectl(*apply, "one", objects=[deny()])
    expect(world, "timeout", world.a)
    # Another one's rules are beside the first one's selector.
    rules = deny(ingress=[from_pods(app="a")])
    del rules["spec"]["policyTypes"]
    world.kubectl(*apply, "two", objects=[rules])
    expect(world, "open", world.a)
    refused = world.kubectl(*apply, "three", objects=[deny(ingress=[])], check=False)
    assert "conflict" in refused, refused
    expect(world, "open", world.a, within=0)
    world.kubectl(*apply, "three", "--force-conflicts", objects=[deny(ingress=[])])
    expect(world, "timeout", world.a)


def test_labels_of_pods_and_namespaces_count_as_they_are_set(world):
    world.kubectl("apply", objects=[deny(ingress=[{"from": [
        {"podSelector": labels(role="friend")}, {"namespaceSelector": labels(team="blue")}]}])])
    expect(world, "timeout", world.a, world.c)
    world.kubectl("label", "pod", "a", "role=friend")
    expect(world, "open", world.a)
    expect(world, "timeout", world.c, within=0)
    world.kubectl("label", "ns", "other", "team=blue")
    expect(world, "open", world.a, world.c)
    world.kubectl("label", "--overwrite", "pod", "a", "role=foe")
    expect(world, "timeout", world.a)
    world.kubectl("label", "ns", "other", "team-")
    expect(world, "timeout", world.a, world.c)


def test_service_and_its_slices_are_followed(world):
    vips = [world.service_ip(7, family) for family in (4, 6)]
    ports = [objects.service_port(80, "web", name="web")]

    def cells(verdict):
        return [(source, vip, 80, verdict) for source in (world.a, world.node) for vip in vips]

    def slices(target, **conditions):
        return [objects.endpoint_slice(f"web-{family}", "web", [objects.endpoint(target.ips[family], world.node.name, **conditions)],
                                       [objects.slice_port(8080, name="web")]) for family in (4, 6)]
    world.kubectl("apply", objects=[objects.service("web", vips, ports), *slices(world.b)])
    world.expect(*cells("open"))
    for family in (4, 6):
        world.kubectl("patch", "endpointslice", f"web-{family}", "--type=json", "-p", json.dumps(
            [{"op": "replace", "path": "/endpoints/0/conditions", "value": {"ready": False, "serving": False, "terminating": True}}]))
    world.expect(*cells("refused"))
    world.kubectl("apply", objects=slices(world.c))
    world.expect(*cells("open"))
    world.kubectl("patch", "svc", "web", "--type=strategic", "-p", json.dumps(
        {"spec": {"ports": [{"port": 81, "name": "more", "targetPort": "web", "protocol": "TCP"}]}}))
    world.expect(*cells("open"))
    wait_until(lambda: {s["port"] for s in world.node.agent.ctl_json("service", "list") if s["name"] == "web"} == {80, 81},
               "both ports", 5)
    world.kubectl("delete", "svc", "web")
    wait_until(lambda: not any(s["name"] == "web" for s in world.node.agent.ctl_json("service", "list")), "no such Service", 5)


def test_pod_that_is_deleted_counts_until_its_object_is_gone(world):
    """With a grace period, as kubectl asks for: MODIFIED first, and DELETED when the kubelet says so."""
    world.kubectl("apply", objects=[deny(ingress=[{"from": [{"namespaceSelector": {}, "podSelector": labels(app="c")}]}])])
    expect(world, "timeout", world.a)  # c got through before the policy, too
    expect(world, "open", world.c, within=0)
    world.kubectl("delete", "pod", "c", "-n", "other", "--wait=false")
    found = world.kubectl.json("get", "pod", "c", "-n", "other")
    assert found["metadata"]["deletionTimestamp"] and found["metadata"]["deletionGracePeriodSeconds"] == 30, found["metadata"]
    expect(world, "open", world.c)
    world.kubectl("delete", "pod", "c", "-n", "other", "--grace-period=0", "--force")
    wait_until(lambda: "c" not in {p["name"] for p in world.node.agent.ctl_json("pod", "list")} or
               world.node.agent.ctl_json("status")["objects"]["pods"] == 2, "the object is gone", 5)


def test_namespace_that_is_deleted_selects_nothing(world):
    made = [objects.namespace("gone", team="gone"), objects.pod("elsewhere", "gone", {"app": "x"}, "elsewhere", ["10.99.0.9"])]
    world.kubectl("apply", objects=[*made, deny(ingress=[{"from": [{"namespaceSelector": labels(team="gone")}]}])])
    wait_until(lambda: world.node.agent.ctl_json("status")["objects"]["pods"] == 4, "four pods", 5)
    world.kubectl("delete", "pod", "elsewhere", "-n", "gone", "--grace-period=0", "--force")
    world.kubectl("delete", "ns", "gone")
    wait_until(lambda: world.node.agent.ctl_json("status")["objects"]["pods"] == 3, "three pods", 5)
    expect(world, "timeout", world.a, world.c)


def test_object_that_cannot_be_used_is_refused_alone(world):
    world.kubectl("apply", objects=[deny(), policy("bad", labels(app="c"), ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}])])
    problem = world.wait_problem("api:networkpolicies/default/bad", "10.0.0.0/33")
    assert "$.spec.ingress[0]" in problem, problem
    expect(world, "timeout", world.a)
    world.kubectl("patch", "netpol", "deny", "--type=merge", "-p", json.dumps({"spec": {"ingress": [from_pods(app="a")]}}))
    expect(world, "open", world.a)
    world.kubectl("delete", "netpol", "bad")
    world.wait_no_problem()


def test_cluster_policies_are_in_force_once_their_kind_is_there(world):
    world.node.agent.restart()
    world.wait_current()
    assert world.resource_status("clusternetworkpolicies")["state"] == "absent", world.api_status()
    world.wait_no_problem()
    world.kubectl("apply", objects=[cluster.CNP_RESOURCE])
    world.kubectl("wait", "--for=condition=Established", "crd/" + cluster.CNP_RESOURCE["metadata"]["name"])
    made = objects.cluster_policy("shut", {"pods": {"podSelector": labels(app="b"), "namespaceSelector": {}}},
                                  ingress=[objects.cluster_rule("Deny")])
    wait_until(lambda: "created" in world.kubectl("apply", objects=[made], check=False), "the policy is taken", 10, 0.2)
    # The agent looks every 30 s at least: a restart is quicker.
    world.node.agent.restart()
    world.wait_current()
    expect(world, "timeout", world.a, world.c)
    world.kubectl("patch", "cnp", "shut", "--type=json", "-p",
                  json.dumps([{"op": "replace", "path": "/spec/ingress/0/action", "value": "Accept"}]))
    expect(world, "open", world.a, world.c)
    world.kubectl("patch", "cnp", "shut", "--type=merge", "-p", json.dumps({"spec": made["spec"]}))
    expect(world, "timeout", world.a, world.c)
    # The kind goes with all its objects.
    world.kubectl("delete", "crd", cluster.CNP_RESOURCE["metadata"]["name"])
    expect(world, "open", world.a, world.c, within=2)
    assert not [p for p in world.problems() if "clusternetworkpolicies" in p], world.problems()


ALERTS_RESOURCE = os.path.join(cluster.MANIFESTS, "traffic-alerts.yaml")
ALERTS_SHIPPED = os.path.join(os.path.dirname(cluster.MANIFESTS), "traffic-alerts.json")
ALERTS = {
    "peersOutside": {"networks": ["192.0.2.0/24", "2001:db8::/32"]},
    "foreignResolver": {"services": ["kube-system/kube-dns"], "networks": ["192.0.2.53/32"]},
    "scan": {"targets": 20, "seconds": 60},
    "volume": {"bytes": 10 << 30, "seconds": 3600, "networks": ["192.0.2.0/24"]},
    "newPeer": {"seconds": 86400},
    "newProcess": {"seconds": 86400},
    "shell": {"executables": ["bash", "/bin/sh"]},
    "newListener": {"seconds": 86400, "ports": [80, "8000-8100"], "nodes": True},
}
# And what the server says of it.
WRONG_ALERTS = [
    ({}, "Found none valid"),
    ({"scan": {"targets": 2, "seconds": 1}, "shell": {}}, "Found 2 valid alternatives"),
    ({"shell": {}, "severity": "Bad"}, "spec.severity"),
    ({"shell": {}, "rateLimitSeconds": 0}, "spec.rateLimitSeconds"),
    ({"peersOutside": {}}, "spec.peersOutside.networks"),
    ({"foreignResolver": {"services": ["a/b"] * 65}}, "spec.foreignResolver.services"),
    ({"scan": {"targets": 1, "seconds": 1}}, "spec.scan.targets"),
    ({"volume": {"bytes": 1}}, "spec.volume.seconds"),
    ({"newPeer": {"seconds": 0}}, "spec.newPeer.seconds"),
    ({"newProcess": {}}, "spec.newProcess.seconds"),
    ({"shell": {"executables": []}}, "spec.shell.executables"),
    ({"shell": {"executable": ["sh"]}}, 'unknown field "spec.shell.executable"'),
    ({"newListener": {"nodes": True}}, "(anyOf)"),
    ({"newListener": {"ports": [True]}}, "spec.newListener.ports[0]"),
]


def test_alerts_are_taken_and_what_is_wrong_with_one_is_told_by_the_server(world):
    world.kubectl("apply", "-f", ALERTS_RESOURCE)
    world.kubectl("wait", "--for=condition=Established", "crd/trafficalerts.polder.dev")
    made = [alert(f"each-{kind.lower()}", severity="Critical", message="look", subject={"pods": {"podSelector": labels(app="a")}}, **{kind: rule})
            for kind, rule in ALERTS.items()]
    wait_until(lambda: world.kubectl("apply", objects=made, check=False).count("trafficalert.polder.dev/") == len(made), "the alerts are taken", 10, 0.2)
    world.kubectl("apply", "-f", ALERTS_SHIPPED)
    wrong = [alert(f"wrong-{number}", **spec) for number, (spec, _) in enumerate(WRONG_ALERTS)]
    out = world.kubectl("apply", "--dry-run=server", objects=wrong, check=False)
    for spec, text in WRONG_ALERTS:
        assert text in out, (spec, text, out)
    assert "dry run" not in out, out
    # The agent looks every 30 s at least: a restart is quicker. What the server takes it can use.
    world.node.agent.restart()
    world.wait_current()
    with open(ALERTS_SHIPPED, encoding="utf-8") as file:
        shipped = [item["metadata"]["name"] for item in json.load(file)["items"]]
    names = sorted([*shipped, *(one["metadata"]["name"] for one in made)])
    wait_until(lambda: sorted(rule["alert"] for rule in world.node.agent.ctl_json("alert", "list")["rules"]) == names, "they are followed", 5)
    world.wait_no_problem()
    world.kubectl("delete", "crd", "trafficalerts.polder.dev")
    wait_until(lambda: not world.node.agent.ctl_json("alert", "list")["rules"], "they go with their kind", 5)


def manifests():
    found = sorted(name for name in os.listdir(cluster.MANIFESTS) if name.endswith((".yaml", ".yml", ".json")))
    assert "rbac.yaml" in found, found
    return found


def test_manifests_are_taken_by_the_server(world):
    """Each field of each object is one that the server knows, whether it is there already or not."""
    for name in manifests():
        for more in ((), ("--server-side", "--force-conflicts")):
            out = world.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", os.path.join(cluster.MANIFESTS, name), *more)
            assert out.count("dry run") >= 1 and out.count("dry run") == len(out.splitlines()), out
        world.kubectl("apply", "--dry-run=client", "-f", os.path.join(cluster.MANIFESTS, name))


def test_what_the_manifests_allow_is_what_polderd_asks_for(world):
    """polderd is the ServiceAccount of deploy/kubernetes here; without its role it says which one is missing."""
    world.wait_no_problem()
    role = world.kubectl.json("get", "clusterrole", "polder")
    world.kubectl("delete", "clusterrole", "polder")
    world.forget_kept()
    world.node.agent.start(wait=False)
    world.node.agent.wait_answer()
    problem = world.wait_problem("pods cannot be read", "403", "rbac.yaml")
    assert 'system:serviceaccount:kube-system:polder" cannot' in problem, problem
    del role["metadata"]["resourceVersion"], role["metadata"]["uid"]
    world.kubectl("apply", objects=[role])
    world.node.agent.process.send_signal(1)
    world.node.agent.wait_ready()
    world.wait_no_problem()
