# SPDX-License-Identifier: Apache-2.0
"""Addresses of pools in the statuses of Services: who may write, what is written, and that nobody's change is lost."""

import json
import signal
import time

from lib import objects
from lib.runner import in_worlds
from lib.traffic import V4, V6, wait_until

POOLS = ["192.0.2.10-192.0.2.13", "2001:db8:7::/124"]
WORLDS = {"one": {"load_balancer_pools": POOLS}, "three": {"load_balancer_pools": POOLS, "nodes": 3}}
LEASE = ("kube-system", "polder-load-balancer")


def balancer(world, name, families=(V4,), **spec):
    number = 1 + sum(name.encode()) % 200
    made = objects.service(name, [f"10.96.7.{number}" if family == V4 else f"fd96::7:{number}" for family in families],
                           [{"port": 80, "protocol": "TCP"}], type="LoadBalancer", **spec)
    world.resources.put(name, made)


def service(world, name):
    return world.store.objects["services"][("default", name)]


def addresses(world, name):
    return [one["ip"] for one in service(world, name).get("status", {}).get("loadBalancer", {}).get("ingress") or []]


def wait_addresses(world, name, count=1, timeout=20):
    wait_until(lambda: len(addresses(world, name)) == count,
               lambda: f"{count} addresses of {name}: {service(world, name)}; {world.store.leases}; {world.problems()}; "
               f"{world.node.agent.log_tail(5)}", timeout)
    return addresses(world, name)


def is_given(address):
    return address in {f"192.0.2.{number}" for number in range(10, 14)} or address.startswith("2001:db8:7::")


def writes(world, word):
    return [what for _, what, _ in list(world.api.requests) if what.split(" ")[0] in ("PATCH", "POST", "PUT") and word in what]


@in_worlds("one")
def test_service_gets_an_address_of_each_family_in_its_status(world):
    balancer(world, "both", (V4, V6))
    found = wait_addresses(world, "both", 2)
    assert all(is_given(address) for address in found) and len({":" in address for address in found}) == 2, found
    assert all(one["ipMode"] == "VIP" for one in service(world, "both")["status"]["loadBalancer"]["ingress"])
    wait_until(lambda: {one["address"] for one in world.node.agent.ctl_json("load-balancer", "list")} == set(found), "the list", 10)


@in_worlds("one")
def test_lease_is_taken_for_the_writing_and_let_go(world):
    world.api.requests.clear()
    balancer(world, "leased")
    wait_addresses(world, "leased")
    wait_until(lambda: world.store.leases[LEASE]["spec"]["holderIdentity"] == "", lambda: f"{world.store.leases}", 20)
    written = int(world.store.leases[LEASE]["metadata"]["annotations"]["polder.dev/written"])
    assert written >= int(service(world, "leased")["metadata"]["resourceVersion"]), world.store.leases
    time.sleep(1)
    before = len(world.api.requests)
    time.sleep(2)
    assert not [what for _, what, _ in list(world.api.requests)[before:] if "lease" in what or "PATCH" in what]


@in_worlds("one")
def test_lease_of_another_holder_is_waited_for(world):
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    with world.store.lock:
        world.store.revision += 1
        world.store.leases[LEASE] = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": LEASE[1], "namespace": LEASE[0], "resourceVersion": str(world.store.revision)},
            "spec": {"holderIdentity": "elsewhere", "renewTime": now, "leaseDurationSeconds": 6, "leaseTransitions": 1}}
    since = time.monotonic()
    balancer(world, "waits")
    time.sleep(3)
    assert not addresses(world, "waits") and not writes(world, "services/waits")
    wait_addresses(world, "waits", timeout=30)
    assert time.monotonic() - since >= 6
    assert world.store.leases[LEASE]["spec"]["leaseTransitions"] >= 2


@in_worlds("one")
def test_change_of_somebody_else_at_the_same_time_is_not_lost(world):
    def somebody():
        made = json.loads(json.dumps(service(world, "changed")))
        made["metadata"]["labels"] = {"by": "somebody"}
        made["status"] = {"conditions": [{"type": "Theirs", "status": "True"}]}
        world.store.put(made)
    world.api.before_patch = somebody
    balancer(world, "changed")
    wait_addresses(world, "changed")
    made = service(world, "changed")
    assert made["metadata"]["labels"] == {"by": "somebody"} and made["status"]["conditions"], made
    assert world.metric("polder_api_writes_total", kind="address", result="conflict") >= 1


@in_worlds("one")
def test_what_a_status_says_is_kept_over_a_restart(world):
    for name in ("a", "b", "c"):
        balancer(world, name)
    before = {name: wait_addresses(world, name) for name in ("a", "b", "c")}
    assert len({address for one in before.values() for address in one}) == 3
    world.api.requests.clear()
    world.node.agent.stop()
    world.node.agent.start()
    balancer(world, "d")
    found = wait_addresses(world, "d")
    assert {name: addresses(world, name) for name in before} == before and found[0] not in str(before)
    assert len(writes(world, "/services/")) == 1, writes(world, "/services/")


@in_worlds("one")
def test_pool_that_is_full_is_an_event_and_a_problem(world):
    for number in range(5):
        balancer(world, f"full-{number}")
    wait_until(lambda: sum(len(addresses(world, f"full-{number}")) for number in range(5)) == 4, "four addresses", 20)
    wait_until(lambda: any("no IPv4 address" in problem for problem in world.problems()), lambda: f"{world.problems()}", 10)
    wait_until(lambda: any(told["reason"] == "LoadBalancerAddress" and "no IPv4 address" in told["message"]
                           for told in world.store.told.values()), lambda: f"an Event: {world.store.told}", 20)
    given = {address for number in range(5) for address in addresses(world, f"full-{number}")}
    assert len(given) == 4
    loser = next(f"full-{number}" for number in range(5) if not addresses(world, f"full-{number}"))
    world.resources.delete(next(f"full-{number}" for number in range(5) if f"full-{number}" != loser))
    wait_addresses(world, loser)


@in_worlds("one")
def test_asked_address_is_given(world):
    balancer(world, "asks", loadBalancerIP="192.0.2.12")
    assert wait_addresses(world, "asks") == ["192.0.2.12"]
    made = objects.service("annotated", ["10.96.7.250"], [{"port": 80}], type="LoadBalancer")
    made["metadata"]["annotations"] = {"polder.dev/load-balancer-ips": "192.0.2.13"}
    world.resources.put("annotated", made)
    assert wait_addresses(world, "annotated") == ["192.0.2.13"]
    balancer(world, "late", loadBalancerIP="192.0.2.12")
    wait_until(lambda: any("which Service default/asks has" in problem for problem in world.problems()),
               lambda: f"{world.problems()}", 10)
    assert not addresses(world, "late")


@in_worlds("one")
def test_services_of_other_controllers_are_left_alone(world):
    balancer(world, "classed", loadBalancerClass="example.com/other")
    made = objects.service("clouds", ["10.96.7.251"], [{"port": 80}], type="LoadBalancer")
    made["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}
    world.resources.put("clouds", made)
    balancer(world, "ours", loadBalancerClass="polder.dev/pool")
    wait_addresses(world, "ours")
    time.sleep(1)
    assert not addresses(world, "classed")
    assert service(world, "clouds")["status"]["loadBalancer"]["ingress"] == [{"hostname": "lb.example.com"}]


@in_worlds("one")
def test_service_that_is_no_load_balancer_any_more_loses_its_address(world):
    balancer(world, "turned")
    wait_addresses(world, "turned")
    made = json.loads(json.dumps(service(world, "turned")))
    made["spec"]["type"] = "ClusterIP"
    world.store.put(made)
    wait_until(lambda: not addresses(world, "turned"), lambda: f"{service(world, 'turned')}", 20)


@in_worlds("one")
def test_right_that_is_missing_is_told(world):
    wait_until(lambda: world.store.leases.get(LEASE, {"spec": {"holderIdentity": ""}})["spec"]["holderIdentity"] == "",
               "nobody's Lease", 20)
    world.api.forbidden.add("leases")
    try:
        balancer(world, "forbidden")
        wait_until(lambda: any("polder-load-balancer" in problem and "rbac" in problem for problem in world.problems()),
                   lambda: f"{world.problems()}", 20)
        assert not addresses(world, "forbidden")
    finally:
        world.api.forbidden.discard("leases")
    world.node.agent.process.send_signal(signal.SIGHUP)
    wait_addresses(world, "forbidden")


@in_worlds("one")
def test_server_that_is_away_changes_nothing(world):
    balancer(world, "before")
    before = wait_addresses(world, "before")

    def listed():
        return [one["address"] for one in world.node.agent.ctl_json("load-balancer", "list")]
    wait_until(lambda: listed() == before, "the address in the list", 10)
    world.api.stop()
    time.sleep(3)
    assert listed() == before
    world.listen()
    balancer(world, "after")
    assert wait_addresses(world, "after", timeout=40) != before


@in_worlds("three")
def test_many_services_on_three_nodes_get_each_its_own(world):
    names = [f"many-{number}" for number in range(14)]
    world.api.requests.clear()
    for name in names:
        balancer(world, name, (V6,))
    wait_until(lambda: all(addresses(world, name) for name in names), lambda: f"{[addresses(world, name) for name in names]}", 40)
    assert len({address for name in names for address in addresses(world, name)}) == len(names)
    assert len(writes(world, "/services/")) == len(names), writes(world, "/services/")
