# SPDX-License-Identifier: Apache-2.0
"""Where Services are served: what the lists and the status tell of it, and what explain says of a host outside."""

import ipaddress
import json

from lib import objects
from lib.runner import each_family
from lib.traffic import reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
NAMES = {4: "ipv4", 6: "ipv6"}
NODE_PORT = 30080
EXTERNAL = {4: "203.0.113.9", 6: "2001:db8:9::9"}
BALANCER = {4: "203.0.113.10", 6: "2001:db8:9::a"}
LOCAL_BALANCER = {4: "203.0.113.11", 6: "2001:db8:9::b"}


def balanced(world, name, number, addresses, endpoints, **spec):
    """A Service of type LoadBalancer with slices of its own."""
    ips = [world.service_ip(number, family) for family in (4, 6)]
    service = objects.service(name, ips, [{"port": 80, "targetPort": 8080, **spec.pop("port", {})}], None, "a",
                              type="LoadBalancer", **spec)
    service["status"] = {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}
    slices = [objects.endpoint_slice(f"{name}-{family}", name,
                                     [objects.endpoint(pod.ips[family], node) for pod, node in endpoints],
                                     [objects.slice_port(8080)], "a") for family in (4, 6)]
    world.resources.put(f"service-a-{name}", service, *slices)
    for node in world.nodes:
        wait_until(lambda: frontends(node, name), f"{node}: Service a/{name} in the list")


def frontends(node, name):
    return [s for s in node.agent.ctl_json("service", "list") if s["name"] == name]


def problems(node):
    return {p["source"]: p["reason"] for p in node.agent.ctl_json("status")["problems"]}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.resources.put("namespaces", objects.namespace("a"))
    world.cli = world.pod("cli", "a", labels={"app": "cli"})
    world.web = world.pod("web", "a", labels={"app": "web"})
    world.far = world.pod("far", "a", labels={"app": "web"}, node=world.n2)
    for pod in (world.web, world.far):
        world.serve(pod, 8080)
    names = [node.name for node in world.nodes]
    both = [(world.web, names[0]), (world.far, names[1])]
    balanced(world, "open", 20, BALANCER.values(), both, externalIPs=list(EXTERNAL.values()),
             port={"nodePort": NODE_PORT})
    balanced(world, "local", 21, LOCAL_BALANCER.values(), both[1:], externalTrafficPolicy="Local",
             loadBalancerSourceRanges=["198.51.100.0/24", "2001:db8:51::/64"], sessionAffinity="ClientIP")


def explain(world, source, target, family, port, node=None):
    done = (node or world.n1).agent.ctl("-o", "json", "explain", "--from", source, "--to", target, "--port", str(port),
                                        "--family", NAMES[family], check=False)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert answer["agree"] is True, answer["differences"]
    return answer


def test_every_frontend_is_listed_with_its_sets_and_terms(world):
    listed = {(s["kind"], s["address"], s["port"]): s for s in frontends(world.n1, "open")}
    wanted = {("NodePort", any_, NODE_PORT) for any_ in ("0.0.0.0", "::")}
    for family in (4, 6):
        wanted |= {("ClusterIP", world.service_ip(20, family), 80), ("ExternalIP", EXTERNAL[family], 80),
                   ("LoadBalancer", BALANCER[family], 80)}
    assert set(listed) == wanted, listed.keys()
    for (kind, address, _), one in listed.items():
        family = 6 if ":" in address else 4
        assert {b["address"] for b in one["backends"]} == {world.web.ips[family], world.far.ips[family]}, one
        assert [b["address"] for b in one["local_backends"]] == [world.web.ips[family]], one
        assert one["forwarding"] == ("" if kind == "ClusterIP" else "snat"), one
        assert one["service_port"] == 80 and one["source_ranges"] is None and one["affinity_seconds"] == 0, one
    local = {s["address"]: s for s in frontends(world.n1, "local")}[LOCAL_BALANCER[4]]
    assert local["traffic_policy"] == "Local" and local["local_backends"] == [], local
    assert local["source_ranges"] == ["198.51.100.0/24"] and local["affinity_seconds"] == 10800, local
    table = world.n1.agent.ctl("service", "list").stdout
    rows = [line for line in table.splitlines() if " NodePort " in line]
    assert any("nodes (IPv6)" in row and str(NODE_PORT) in row for row in rows), table
    assert any("Local" in line and "affinity 10800 s" in line and "1 source ranges" in line
               for line in table.splitlines()), table


@each_family
def test_explain_says_what_a_host_outside_gets(world, family):
    node = world.n1.ips[family]
    endpoints = {world.web.ips[family], world.far.ips[family]}
    for target, port, kind in ((node, NODE_PORT, "NodePort"), (EXTERNAL[family], 80, "ExternalIP"),
                               (BALANCER[family], 80, "LoadBalancer")):
        answer = explain(world, WORLD_IP[family], target, family, port)
        assert answer["verdict"] == "allowed" and answer["service"]["kind"] == kind, answer
        assert answer["service"]["name"] == "a/open" and answer["service"]["forwarding"] == "snat", answer["service"]
        assert answer["service"]["endpoints"] == 2 and answer["backend"]["ip"] in endpoints, answer
        assert answer["chosen"] == "program", answer
    for target, reason in ((world.service_ip(20, family), "cluster_ip_from_outside"),
                           (LOCAL_BALANCER[family], "service_without_local_endpoint")):
        answer = explain(world, WORLD_IP[family], target, family, 80)
        assert answer["verdict"] == "denied" and answer["reason"] == reason, answer
    answer = explain(world, OUTSIDE_IP[family], LOCAL_BALANCER[family], family, 80)
    assert answer["reason"] == "service_source_ranges", answer
    answer = explain(world, WORLD_IP[family], EXTERNAL[family], family, 81)
    assert answer["reason"] == "service_without_port", answer


@each_family
def test_explain_says_that_pods_have_the_clusters_endpoints(world, family):
    for target, port in ((LOCAL_BALANCER[family], 80), (world.n1.ips[family], NODE_PORT)):
        answer = explain(world, "a/cli", target, family, port)
        assert answer["verdict"] == "allowed" and answer["service"]["set"] == "cluster", answer
    assert answer["backend"]["ip"] in (world.web.ips[family], world.far.ips[family]), answer
    assert reach(world.cli, BALANCER[family], 80), "the balancer's address from a pod"


def test_two_that_want_the_same_are_told_and_the_older_one_has_it(world):
    def put(name, number, second, addresses):
        service = objects.service(name, [world.service_ip(number, 4)], [objects.service_port(80)], None, "a",
                                  externalIPs=addresses)
        service["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
        world.resources.put(f"service-a-{name}", service)

    put("late", 30, 9, ["203.0.113.20", "127.0.0.1", world.n1.ips[4], world.n2.ips[4], world.web.ips[4],
                        world.service_ip(20, 4)])
    told = wait_until(lambda: frontends(world.n1, "late") and problems(world.n1), "the new Service")
    reasons = [p["reason"] for p in world.n1.agent.ctl_json("status")["problems"] if p["source"] == "Service a/late"]
    for words in ("127.0.0.1 is a loopback address", f"{world.n1.ips[4]} is this node's own address",
                  f"{world.n2.ips[4]} is an address of node {world.n2.name}", f"{world.web.ips[4]} is an address of this node's pod range",
                  f"{world.service_ip(20, 4)} is the ClusterIP of Service a/open"):
        assert any(words in reason for reason in reasons), (words, reasons)
    assert {s["address"] for s in frontends(world.n1, "late")} == {world.service_ip(30, 4), "203.0.113.20"}, told
    put("early", 31, 1, ["203.0.113.20"])
    wait_until(lambda: any(s["address"] == "203.0.113.20" for s in frontends(world.n1, "early")), "the older one has it")
    assert all(s["address"] != "203.0.113.20" for s in frontends(world.n1, "late"))
    assert any("is Service a/early's, which is older" in p["reason"] for p in world.n1.agent.ctl_json("status")["problems"])
    world.resources.delete("service-a-early")
    wait_until(lambda: any(s["address"] == "203.0.113.20" for s in frontends(world.n1, "late")), "the other one gets it")
    world.resources.delete("service-a-late")
    wait_until(lambda: not frontends(world.n1, "late") and "Service a/late" not in problems(world.n1), "nothing is left")


def test_addresses_are_whole(world):
    for listed in world.n1.agent.ctl_json("service", "list"):
        ipaddress.ip_address(listed["address"])
