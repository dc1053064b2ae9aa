# SPDX-License-Identifier: Apache-2.0
"""Maps that are too small: what does not fit is closed or refused, with the numbers; the rest works; room is used again."""

import json

from lib import objects
from lib.cni import CniError
from lib.objects import labels, policy
from lib.runner import in_worlds
from lib.traffic import BOTH, wait_until

LASTS = 60
WORLDS = {
    "rules": {"max_policy_entries": 64},
    "services": {"max_services": 64, "max_backends": 64},
    "addresses": {"max_addresses": 64},
    "remote": {"max_addresses": 64, "nodes": 2},
    "counters": {"max_rule_counters": 64},
}


def setup(world):
    world.agent = world.node.agent
    world.client = world.pod("client", labels={"app": "client"})
    world.big = world.pod("big", labels={"app": "big"})
    world.small = world.pod("small", labels={"app": "small"})
    for pod in (world.big, world.small):
        world.serve(pod, 8080)
        world.serve(pod, 8081)


def blocks(name, app, first, count):
    """A policy with so many prefixes; the client's address is in none of them."""
    peers = [{"ipBlock": {"cidr": f"100.{first}.{n // 256}.{n % 256}/32"}} for n in range(count)]
    return policy(name, labels(app=app), policyTypes=["Ingress"],
                  ingress=[{"from": peers}, {"from": [{"podSelector": labels(app="client")}],
                                             "ports": [{"port": 8080}]}])


def over_capacity(world):
    return {p["pod"]: p["reason"] for p in world.agent.ctl_json("status")["policy"]["over_capacity"]}


def expect_metrics(world, wanted):
    """Once old rule sets are swept: until then they take room too."""
    def seen():
        metrics = world.agent.metrics()
        return {key: metrics[key] for key in wanted}
    wait_until(lambda: seen() == wanted, lambda: f"{seen()}, expected {wanted}")


@in_worlds("rules")
def test_policy_that_does_not_fit_closes_its_pods_alone_and_says_so(world):
    world.resources.put("small", blocks("small", "small", 64, 5))
    world.resources.put("big", blocks("big", "big", 65, 100))
    for family in BOTH:
        world.expect((world.client, world.small.ips[family], 8080, "open"))
        world.expect((world.client, world.big.ips[family], 8080, "timeout"),
                     (world.client, world.small.ips[family], 8081, "timeout"))
    told = over_capacity(world)
    assert any("default/big" in pod for pod in told), told
    assert not any("default/small" in pod for pod in told), told
    for text in (str(told), world.agent.log(), world.agent.ctl("status").stdout):
        for wanted in ("ruleset_prefixes", "64 entries", "100 more needed", "--max-policy-entries"):
            assert wanted in text, f"{wanted} is not in {text}"
    prefixes = (("map", "ruleset_prefixes"),)
    expect_metrics(world, {("polder_pods_over_capacity", ()): 1,
                           ("polder_policy_entries_missing", prefixes): 100 - (64 - 5),
                           ("polder_map_max_entries", prefixes): 64})
    # A smaller one opens what it allows.
    world.resources.put("big", blocks("big", "big", 65, 20))
    for family in BOTH:
        world.expect((world.client, world.big.ips[family], 8080, "open"))
    world.expect((world.client, world.big.ips[4], 8081, "timeout"))
    wait_until(lambda: not over_capacity(world), lambda: str(over_capacity(world)))
    expect_metrics(world, {("polder_pods_over_capacity", ()): 0,
                           ("polder_policy_entries_missing", prefixes): 0})


@in_worlds("rules")
def test_room_that_another_policy_leaves_is_used(world):
    world.resources.put("small", blocks("small", "small", 64, 40))
    world.expect((world.client, world.small.ips[4], 8080, "open"),
                 (world.client, world.small.ips[4], 8081, "timeout"))
    world.resources.put("big", blocks("big", "big", 65, 40))
    world.expect((world.client, world.big.ips[4], 8080, "timeout"),
                 (world.client, world.small.ips[4], 8080, "open"))
    world.resources.delete("small")
    world.expect((world.client, world.big.ips[4], 8080, "open"),
                 (world.client, world.small.ips[4], 8081, "open"))
    world.expect((world.client, world.big.ips[4], 8081, "timeout"))
    # Every content needs room beside what it replaces; never is the pod open meanwhile.
    for round_ in range(4):
        world.resources.put("big", blocks("big", "big", 70 + round_, 50))
        for _ in range(5):
            world.expect((world.client, world.big.ips[4], 8081, "timeout"), within=0)
        world.expect((world.client, world.big.ips[4], 8080, "open"))


@in_worlds("rules")
def test_pods_that_are_closed_stay_closed_over_a_restart(world):
    world.resources.put("big", blocks("big", "big", 65, 100))
    world.expect((world.client, world.big.ips[4], 8080, "timeout"))
    world.agent.restart()
    for family in BOTH:
        world.expect((world.client, world.big.ips[family], 8080, "timeout"),
                     (world.client, world.big.ips[family], 8081, "timeout"), within=0)
        world.expect((world.client, world.small.ips[family], 8080, "open"), within=0)


# ------------------------------------------------------------------ Services


def many_ports(world, name, number, count, selector):
    """A Service with so many ports; does not wait."""
    ports = [objects.service_port(1000 + n, 8080, name=f"p{n}") for n in range(count)]
    ips = [world.service_ip(number, family) for family in BOTH]
    world.resources.put(f"service-{name}", objects.service(name, ips, ports, selector))
    return dict(zip(BOTH, ips))


def problems(world):
    return {p["source"]: p["reason"] for p in world.agent.ctl_json("status")["problems"]}


@in_worlds("services")
def test_service_that_does_not_fit_is_told_and_others_work(world):
    small = many_ports(world, "small", 1, 2, {"app": "small"})
    for family in BOTH:
        world.expect((world.client, small[family], 1000, "open"))
    before = world.node.map_fill()
    big = many_ports(world, "big", 2, 100, {"app": "big"})
    told = wait_until(lambda: [r for s, r in problems(world).items() if "default/big" in s],
                      lambda: str(problems(world)))[0]
    assert "map services is full" in told or "map backends is full" in told, told
    assert "--max-" in told, told
    for family in BOTH:
        world.expect((world.client, small[family], 1001, "open"))
    # It is looked at again when there is room, not all the time.
    passes = passes_of(world)
    world.expect((world.client, small[4], 1001, "open"))
    world.expect((world.client, big[4], 1099, "refused"))
    assert passes_of(world) - passes < 5, "the agent goes round in circles"
    many_ports(world, "big", 2, 4, {"app": "big"})
    for family in BOTH:
        world.expect((world.client, big[family], 1003, "open"))
    wait_until(lambda: not problems(world), lambda: str(problems(world)))
    world.resources.delete("service-big")
    wait_until(lambda: world.node.map_fill() == before, lambda: f"{world.node.map_fill()} {before}")


@in_worlds("services")
def test_room_that_another_service_leaves_is_used(world):
    first = many_ports(world, "first", 1, 25, {"app": "small"})
    world.expect((world.client, first[4], 1024, "open"), (world.client, first[6], 1024, "open"))
    second = many_ports(world, "second", 2, 25, {"app": "big"})
    wait_until(lambda: problems(world), "a problem")
    world.resources.delete("service-first")
    for family in BOTH:
        world.expect((world.client, second[family], 1000, "open"),
                     (world.client, second[family], 1024, "open"))
    wait_until(lambda: not problems(world), lambda: str(problems(world)))


def passes_of(world):
    for (name, _), value in world.agent.metrics().items():
        if name == "polder_reconciles_total":
            return value
    return 0


# ------------------------------------------------------------------ addresses


def strangers(first, count):
    return [objects.pod(f"far{n}", "default", {"app": f"far{n}"}, "node9", [f"10.250.{n // 256}.{n % 256}"])
            for n in range(first, first + count)]


@in_worlds("addresses")
def test_pod_whose_address_finds_no_room_is_refused_with_the_numbers(world):
    world.serve(world.outside, 8080)
    world.resources.put("far", *strangers(0, 100))
    told = wait_until(lambda: {s: r for s, r in problems_of_addresses(world).items()}, "a problem")
    assert any("64 entries" in reason and "--max-addresses" in reason for reason in told.values()), told
    before = world.node.ruler()
    try:
        world.pod("late", with_object=False)
    except CniError as error:
        assert error.code == 11, error
        assert "64 entries" in str(error) and "--max-addresses" in str(error), error
    else:
        raise AssertionError("a pod without an entry for its address was connected")
    after = world.node.ruler()
    assert after == before, {k: (before[k], after[k]) for k in before if before[k] != after[k]}
    for family in BOTH:
        world.expect((world.client, world.small.ips[family], 8080, "open"),
                     (world.outside, world.small.ips[family], 8080, "open"))
    world.agent.restart()
    for family in BOTH:
        world.expect((world.client, world.small.ips[family], 8080, "open"), within=0)
    # Room again.
    world.resources.put("far", *strangers(50, 20))
    wait_until(lambda: not problems_of_addresses(world), lambda: str(problems_of_addresses(world)))
    late = world.pod("later", labels={"app": "client"})
    world.expect((late, world.small.ips[4], 8080, "open"))


def problems_of_addresses(world):
    return {**over_capacity(world), **problems(world)}


@in_worlds("remote")
def test_deny_by_selector_holds_for_a_remote_pod_whose_address_finds_no_room(world):
    """So for the one that the deny does not choose, until there is room for it."""
    remote = {app: world.pod(app, labels={"app": app}, node=world.nodes[1], with_object=False)
              for app in ("lost", "stray")}
    world.resources.put("far", *strangers(0, 70))
    wait_until(lambda: problems_of_addresses(world), "a problem")
    for pod in remote.values():
        pod.write_object()
    world.resources.put("deny", objects.cluster_policy(
        "deny", {"pods": {"namespaceSelector": {}, "podSelector": labels(app="small")}},
        ingress=[objects.cluster_rule("Deny", {"pods": {"namespaceSelector": {}, "podSelector": labels(app="lost")}})]))
    for family in BOTH:
        for pod in remote.values():
            world.expect((pod, world.small.ips[family], 8080, "timeout"), (pod, world.big.ips[family], 8080, "open"))
            said = explained(world, pod, family)
            assert said["agree"] and said["policy"] == "deny" and said["ingress"]["presumed"], said
            assert "--max-addresses" in said["ingress"]["note"], said["ingress"]
        world.expect((world.client, world.small.ips[family], 8080, "open"))
    world.resources.delete("far")
    for family in BOTH:
        world.expect((remote["lost"], world.small.ips[family], 8080, "timeout"),
                     (remote["stray"], world.small.ips[family], 8080, "open"))
        assert explained(world, remote["stray"], family)["ingress"]["note"] is None


def explained(world, pod, family):
    return json.loads(world.agent.ctl("-o", "json", "explain", "--from", repr(pod), "--to", "default/small", "--port", "8080",
                                      "--family", f"ipv{family}", check=False).stdout)


# ------------------------------------------------------------------ counters


@in_worlds("counters")
def test_rules_without_a_counter_hold_and_are_told(world):
    """A hundred rules, room to count some sixty of them."""
    peers = [{"podSelector": labels(app="client")}]
    many = [{"from": peers, "ports": [{"port": 8000 + n}]} for n in range(100)]
    world.resources.put("many", policy("many", labels(app="big"), policyTypes=["Ingress"], ingress=many))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.client, world.big.ips[family], 8080, "open"),
                     (world.client, world.big.ips[family], 8081, "open"),
                     (world.small, world.big.ips[family], 8080, "timeout"))
    metrics = world.agent.metrics()
    missing = metrics[("polder_rules_not_counted", ())]
    assert 36 <= missing <= 40, missing
    limits = {limit["map"]: limit for limit in world.agent.ctl_json("status")["limits"]}
    assert f"{missing:.0f} rules" in limits["rule_counters"]["reason"], limits
    assert "--max-rule-counters" in world.agent.ctl("status").stdout
    rules = world.agent.ctl_json("policy", "show", "default/many")["rules"]
    untold = [rule for rule in rules if not rule["counted"]]
    assert len(rules) == 100 and 0 < len(untold) <= missing, (len(rules), len(untold), missing)
    assert all(rule["packets"] is None for rule in untold), untold[0]
    assert world.agent.ctl("policy", "show", "default/many").stdout.count("not counted") == len(untold)
    # With room for all of them they are counted.
    world.agent.stop()
    world.agent.options["max-rule-counters"] = 256
    world.agent.start()
    world.policies_in_force()
    assert world.agent.metrics()[("polder_rules_not_counted", ())] == 0
    assert all(rule["counted"] for rule in world.agent.ctl_json("policy", "show", "default/many")["rules"])
    assert not world.agent.ctl_json("status")["limits"], world.agent.ctl_json("status")["limits"]
