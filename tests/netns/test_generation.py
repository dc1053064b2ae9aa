# SPDX-License-Identifier: Apache-2.0
"""What is re-evaluated when something changes: the flows that it can matter to, at once, and no others."""

import time

from lib import objects
from lib.busy import Clock
from lib.objects import cluster_policy, cluster_rule, labels
from lib.runner import limit
from lib.traffic import BOTH, Capture, Connection, Sender, wait_until
from lib.world import WORLD_IP

LASTS = 50
WORLD = {"nodes": 2}
REEVALUATED = "polder_flows_reevaluated_total"
SWITCHES = "polder_policy_switches_total"
PROMISED = 1


def setup(world):
    world.n1, world.n2 = world.nodes
    world.near = world.pod("near", "x", labels={"app": "near"})
    world.peer = world.pod("peer", "x", labels={"app": "peer"})
    # Who says Deny below speaks of an identity that is there already.
    world.bad = world.pod("bad", "x", labels={"app": "bad"}, node=world.n2)
    for where in (world.peer, world.outside):
        world.serve(where, 80)
        world.serve(where, 80, "UDP")


def deny_bad(name):
    """Of near: nothing to pods that are bad, and nothing from them."""
    bad = {"pods": {"podSelector": labels(app="bad"), "namespaceSelector": {}}}
    return cluster_policy(name, {"pods": {"podSelector": labels(app="near"), "namespaceSelector": {}}},
                          egress=[cluster_rule("Deny", bad, egress=True)], ingress=[cluster_rule("Deny", bad)])


def metric(world, name):
    return sum(value for (found, _), value in world.n1.agent.metrics().items() if found == name)


def reconciled(world, since):
    """All changes so far have been compared with what is in force."""
    wait_until(lambda: metric(world, "polder_reconciles_total") > since, "a reconcile")


def in_force(world, change):
    since = metric(world, "polder_reconciles_total")
    change()
    reconciled(world, since)


def settled(world, change):
    """In force, and what it or the test before has left to be done later is done: flows of before are looked at no more."""
    in_force(world, change)

    def is_quiet():
        before = metric(world, "polder_reconciles_total")
        time.sleep(0.3)
        return metric(world, "polder_reconciles_total") == before
    wait_until(is_quiet, "no reconcile")


def policies_in_force(world, *policies):
    settled(world, lambda: world.cluster_policies(*policies))


def elsewhere(world, name, ips=("10.244.9.9",), ready=True, note="", app="far", gone=False):
    if gone:
        world.resources.delete(f"pod-{name}")
        return
    pod = objects.pod(name, "x", {"app": app, "name": name}, world.n2.name, list(ips))
    pod["metadata"]["annotations"] = {"note": note}
    pod["status"].setdefault("conditions", []).append({"type": "Ready", "status": str(ready)})
    world.resources.put(f"pod-{name}", pod)


class Flows:
    """Live flows to a pod and to the outside, TCP and UDP, of both families; used() looks whether they pass still."""

    def __init__(self, world):
        self.connections = [Connection(world.near, address, 80) for family in BOTH
                            for address in (world.peer.ips[family], WORLD_IP[family])]

    def used(self):
        for connection in self.connections:
            assert connection.ask(), connection

    def __enter__(self):
        self.used()
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()


def nothing_is_reevaluated(world, flows, change, times, what):
    before, generation = metric(world, REEVALUATED), world.n1.agent.ctl_json("status")["generation"]
    for number in range(times):
        in_force(world, lambda n=number: change(n))
        flows.used()
    # The second look comes when the programs of the last change have ended.
    time.sleep(0.2)
    flows.used()
    assert world.n1.agent.ctl_json("status")["generation"] == generation, what
    assert metric(world, REEVALUATED) == before, f"{what}: {metric(world, REEVALUATED) - before} flows were re-evaluated"


@limit(60)
def test_what_no_verdict_depends_on_has_no_flow_reevaluated(world):
    """Readiness and annotations of a pod of another node, which policies speak of."""
    policies_in_force(world, deny_bad("first"))
    in_force(world, lambda: elsewhere(world, "far"))
    with Flows(world) as flows:
        nothing_is_reevaluated(world, flows, lambda n: elsewhere(world, "far", ready=bool(n % 2), note=str(n)), 100,
                               "readiness and annotations")


@limit(60)
def test_pods_that_come_and_go_have_no_flow_of_others_reevaluated(world):
    """On this node by ADD and DEL, on another one by objects alone; each has labels of its own, and so an identity."""
    def local(number):
        world.pod(f"guest{number}", "x", labels={"app": "guest", "number": str(number)}).delete()

    def remote(number):
        """Every other one is one that a policy denies."""
        which = number // 2
        elsewhere(world, f"far{which}", (f"10.244.9.{which + 1}",), app=("far", "bad")[which % 2], gone=number % 2)
    policies_in_force(world, deny_bad("second"))
    with Flows(world) as flows:
        nothing_is_reevaluated(world, flows, local, 20, "ADD and DEL")
        nothing_is_reevaluated(world, flows, remote, 40, "pods of another node")


def policy_of_another(number):
    """Of peer2, a pod of this node: whom it lets in changes with each call."""
    return objects.policy("of-another", labels(app="peer2"), "x",
                          ingress=[{"from": [{"podSelector": labels(app=("near", "far")[number % 2])}]}])


@limit(60)
def test_policies_and_labels_of_other_pods_have_no_flow_reevaluated(world):
    """A policy of another pod of this node, and the labels of a pod elsewhere: each of them switches slots."""
    world.pod("peer2", "x", labels={"app": "peer2"})
    policies_in_force(world, deny_bad("others"))
    in_force(world, lambda: elsewhere(world, "turncoat", app="far"))
    with Flows(world) as flows:
        switches = metric(world, SWITCHES)
        nothing_is_reevaluated(world, flows, lambda n: world.resources.put("of-another", policy_of_another(n)), 20,
                               "a policy of another pod")
        nothing_is_reevaluated(world, flows, lambda n: elsewhere(world, "turncoat", app=("bad", "far")[n % 2]), 20,
                               "labels of a pod of another node")
        assert metric(world, SWITCHES) - switches >= 20
    world.resources.delete("of-another")
    elsewhere(world, "turncoat", gone=True)


def put_service(world, name, number, endpoint):
    """With one endpoint of each family. Returns its addresses."""
    ips = [f"10.96.9.{number}", f"fd96::9:{number}"]
    slices = [objects.endpoint_slice(f"{name}-{family}", name, [objects.endpoint(endpoint.ips[family])],
                                     [objects.slice_port(80)], "x") for family in BOTH]
    world.resources.put(name, objects.service(name, ips, [objects.service_port(80)], ns="x"), *slices)
    return ips


@limit(60)
def test_endpoints_of_another_service_have_no_flow_reevaluated(world):
    """Neither of a pod nor of a Service; when the Service's own endpoint goes, its connections are reset."""
    extra = world.pod("extra", "x", labels={"app": "extra"})
    policies_in_force(world, deny_bad("services"))
    in_force(world, lambda: put_service(world, "busy", 2, world.bad))
    ips = []
    settled(world, lambda: ips.extend(put_service(world, "quiet", 1, world.peer)))
    with Flows(world) as flows:
        mine = [Connection(world.near, ip, 80) for ip in ips]
        flows.connections += mine
        flows.used()
        nothing_is_reevaluated(world, flows, lambda n: put_service(world, "busy", 2, (extra, world.bad)[n % 2]), 40,
                               "endpoints of another Service")
        in_force(world, lambda: put_service(world, "quiet", 1, extra))
        wait_until(lambda: [connection.state() for connection in mine] == ["reset", "reset"], "the Service's connections are reset")
        flows.connections = [connection for connection in flows.connections if connection not in mine]
        flows.used()
        for connection in mine:
            connection.close()
    for name in ("busy", "quiet"):
        world.resources.delete(name)


@limit(60)
def test_a_pod_elsewhere_that_comes_late_is_denied_within_100_ms_on_a_live_flow(world):
    """What is known of one address changes, and the flows that name it are re-evaluated; the generation stays."""
    policies_in_force(world, deny_bad("third"))
    generation, took = world.n1.agent.ctl_json("status")["generation"], []
    with Capture(world.outside) as capture, Flows(world) as flows, \
            Sender(*[(world.near, WORLD_IP[family], 5000, "tick") for family in BOTH], pause=0.001):
        def ticks(seconds):
            capture.read()
            capture.packets.clear()
            time.sleep(seconds)
            return {6 if ":" in p.source else 4 for p in capture.matching(lambda p: (p.payload or b"").startswith(b"tick"))}
        before = metric(world, REEVALUATED)
        for _ in range(5):
            wait_until(lambda: ticks(0.02) == set(BOTH), "datagrams of both families", interval=0)
            clock = Clock()
            elsewhere(world, "late", list(WORLD_IP.values()), app="bad")
            while ticks(0.005):
                assert not clock.is_over(20), "still sent"
            took.append(max(0.0, clock.seconds() - 0.005))
            assert not ticks(0.3), "sent again"
            elsewhere(world, "late", gone=True)
        took.sort()
        print(f"  a live flow is cut after {took[2] * 1000:.0f} ms, at most {took[-1] * 1000:.0f} ms")
        assert took[2] < PROMISED, [round(t, 3) for t in took]
        for connection in flows.connections[::2]:
            assert connection.ask()
    assert world.n1.agent.ctl_json("status")["generation"] == generation
    assert metric(world, REEVALUATED) > before


@limit(60)
def test_flows_of_pods_that_end_at_once_are_forgotten_and_no_others(world):
    pods = [world.pod(f"end{number}", "x", labels={"app": "end"}) for number in range(24)]
    for pod in pods:
        for family in BOTH:
            with Connection(pod, world.peer.ips[family], 80) as connection:
                assert connection.ask()
    gone = {address for pod in pods for address in pod.ips.values()}

    def named():
        flows = world.n1.agent.ctl_json("flow", "list")
        return {address for flow in flows for address in (flow["source"], flow["destination"])}
    with Flows(world) as flows:
        assert gone <= named()
        kept = named() - gone
        calls = [pod.call("DEL") for pod in pods]
        for pod, call in zip(pods, calls):
            call.result()
            pod.result = None
        wait_until(lambda: not gone & named(), lambda: f"no flow of {gone & named()}")
        assert kept <= named()
        flows.used()
