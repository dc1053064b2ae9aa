# SPDX-License-Identifier: Apache-2.0
"""What polderd tells a real API server: that its node has a network, and Events on objects that it refuses."""

import json

from lib import objects
from lib.objects import labels, policy
from lib.traffic import wait_until

KEY = "polder.dev/agent-not-ready"
FOREIGN = "example.com/gpu"


def get(world, *what):
    return json.loads(world.kubectl("get", *what, "-o", "json"))


def wait_up(world):
    def up():
        made = get(world, "node", world.node.name)
        condition = [c for c in made["status"].get("conditions", []) if c["type"] == "NetworkUnavailable"]
        return [t["key"] for t in made["spec"].get("taints", [])] == [FOREIGN] and condition and condition[0]["status"] == "False"
    wait_until(up, lambda: f"a node that is told to be up: {get(world, 'node', world.node.name)}; {world.problems()}", 20, 0.2)


def test_node_loses_our_taint_and_no_other_whenever_it_comes(world):
    made = objects.node(world.node.name, list(world.node.pod_cidr.values()), list(world.node.ips.values()))
    made["spec"]["taints"] = [{"key": FOREIGN, "effect": "NoSchedule"},
                              {"key": KEY, "effect": "NoExecute"}, {"key": KEY, "effect": "NoSchedule"}]
    world.kubectl("apply", objects=[made])
    wait_up(world)
    for effect in ("NoExecute", "NoSchedule"):
        world.kubectl("taint", "node", world.node.name, f"{KEY}=:{effect}")
        wait_up(world)
    world.kubectl("delete", "node", world.node.name)


def test_refused_object_has_one_event_that_kubectl_shows(world):
    bad = policy("bad", labels(app="nobody"), policyTypes=["Ingress"],
                 ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}])
    world.kubectl("apply", objects=[bad])
    wait_until(lambda: get(world, "events")["items"], lambda: f"an Event; {world.problems()}", 20, 0.2)
    made = get(world, "events")["items"][0]
    assert made["involvedObject"]["fieldPath"] == "spec.ingress[0].from[0].ipBlock.except[0]", made
    assert made["involvedObject"]["uid"] == get(world, "netpol", "bad")["metadata"]["uid"], made
    assert "not inside the block" in made["message"] and made["reason"] == "ObjectRefused", made
    world.node.agent.restart()
    wait_until(lambda: world.metric("polder_api_writes_total", kind="event", result="known"), "a conflict", 20, 0.2)
    assert len(get(world, "events")["items"]) == 1
    world.kubectl("delete", "netpol", "bad")
    world.kubectl("delete", "events", "--all")
