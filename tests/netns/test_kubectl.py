# SPDX-License-Identifier: Apache-2.0
"""kubectl polder: the real kubectl starts polderctl as its plugin, which asks the agents of two nodes."""

import json
import os
import signal
import subprocess

from lib import objects
from lib.kubectl import Kubectl, agent_pod
from lib.objects import labels, policy
from lib.runner import Skip, each_family
from lib.traffic import reach, wait_until
from lib.world import OUTSIDE_IP

LASTS = 50
WORLD = {"nodes": 2}
NAMES = {4: "ipv4", 6: "ipv6"}


def setup(world):
    world.kubectl = Kubectl(world)
    world.n1, world.n2 = world.nodes
    world.resources.put("namespaces", objects.namespace("a", team="red"), objects.namespace("b", team="blue"))
    ports = (("http", 8080, "TCP"),)
    world.cli = world.pod("cli", "a", labels={"app": "cli"})
    world.near = world.pod("near", "a", labels={"app": "web"}, ports=ports)
    world.far = world.pod("far", "a", labels={"app": "web"}, ports=ports, node=world.n2)
    world.lone = world.pod("lone", "b", labels={"app": "lone"}, node=world.n2)
    for pod in (world.near, world.far, world.lone):
        world.serve(pod, 8080)
    world.vip = world.service("web", 10, [objects.service_port(80, 8080, name="http")], selector={"app": "web"}, ns="a")
    world.service("far", 11, [objects.service_port(80, 8080, name="http")], selector={"app": "lone"}, ns="b")


def polder(world, *args, **options):
    if not world.kubectl.real:
        raise Skip("no kubectl: deploy/install-deps test")
    return world.kubectl.polder(*args, **options)


def good(world, *args, status=0, **options):
    done = polder(world, *args, **options)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def asked(world, *args, **options):
    return json.loads(good(world, *args, "-o", "json", **options).stdout)


def in_force(world, *policies):
    world.policies(*policies)
    return [p["metadata"]["namespace"] + "/" + p["metadata"]["name"] for p in policies]


def explain(world, source, target, family, port=8080, more=()):
    """The joined answer; table and JSON end with the same status."""
    words = ["explain", "--from", source, "--to", target, "--family", NAMES[family], *more]
    if port:
        words += ["--port", str(port)]
    done = polder(world, *words, "-o", "json")
    assert done.returncode in (0, 1, 2) and done.stdout, (done.returncode, done.stderr)
    answer = json.loads(done.stdout)
    assert answer["verdict"] == ("allowed", "denied", "unknown")[done.returncode], answer
    text = polder(world, *words)
    assert text.returncode == done.returncode, text.stderr
    assert text.stdout.startswith(("ALLOWED ", "DENIED ", "UNKNOWN ")[done.returncode]), text.stdout
    answer["text"] = text.stdout
    return answer


def asked_nodes(answer):
    return [(half["node"], half["directions"], half["asked"]) for half in answer["halves"]]


# ---------------------------------------------------------------- all nodes, one node

def test_lists_of_all_nodes_have_a_column_for_the_node(world):
    lines = good(world, "pod", "list").stdout.splitlines()
    assert lines[0].split()[:3] == ["NODE", "NAMESPACE", "NAME"], lines
    assert sorted(tuple(line.split()[:3]) for line in lines[1:]) == [
        ("node1", "a", "cli"), ("node1", "a", "near"), ("node2", "a", "far"), ("node2", "b", "lone")]
    for noun in ("service", "policy", "flow", "map"):
        found = asked(world, noun, "list")
        assert {item["node"] for item in found} <= {"node1", "node2"} and isinstance(found, list)
    assert {item["node"] for item in asked(world, "map", "list")} == {"node1", "node2"}


def test_documents_of_all_nodes_stand_below_their_nodes(world):
    text = good(world, "status").stdout
    assert [line for line in text.splitlines() if line.startswith("Node node")] == ["Node node1", "Node node2"]
    assert [item["node"] for item in asked(world, "status")] == ["node1", "node2"]


def test_filters_are_the_agents_and_the_namespace_is_the_pods(world):
    found = asked(world, "flow", "list", "-n", "a", "--limit", "0")
    assert all("a/" in flow["source_pod"][:2] + flow["destination_pod"][:2] + flow["service"][:2] for flow in found), found
    assert asked(world, "flow", "list", "-n", "nowhere") == []
    done = polder(world, "flow", "list", "--agent-namespace", "nowhere")
    assert done.returncode == 1 and "in namespace nowhere" in done.stderr, done
    assert [item["node"] for item in asked(world, "drop", "list", "-n", "a")] == ["node1", "node2"]
    text = good(world, "drop", "list").stdout
    assert [line for line in text.splitlines() if line.startswith("Node node")] == ["Node node1", "Node node2"], text
    done = polder(world, "flow", "list", "-w")
    assert done.returncode == 2 and "--node" in done.stderr, done


def test_one_node_answers_as_it_does_there(world):
    for words in (("status",), ("pod", "list"), ("config", "show"), ("map", "list")):
        here = world.n2.agent.ctl(*words).stdout
        there = good(world, *words, "--node", "node2").stdout
        assert [line.split()[:1] for line in there.splitlines()] == [line.split()[:1] for line in here.splitlines()]
    assert [pod["name"] for pod in asked(world, "pod", "list", "--node=node2")] == ["far", "lone"]


def test_exit_status_and_words_of_the_node_are_carried(world):
    done = polder(world, "policy", "show", "no/such", "--node", "node1")
    here = world.n1.agent.ctl("policy", "show", "no/such", check=False)
    assert done.returncode == here.returncode == 1
    assert "node node1: " in done.stderr and "command terminated" not in done.stderr, done.stderr
    assert polder(world, "explain", "--from", "a/cli", "--to", "no/such", "--port", "1").returncode == 2


def test_words_that_look_like_options_stay_words(world):
    done = polder(world, "policy", "show", "--node", "node1", "--", "--help")
    assert done.returncode == 1 and "--help" in done.stderr and "Usage" not in done.stdout, done


def test_log_levels_are_set_on_the_node_that_was_named(world):
    good(world, "log", "level", "debug", "--node", "node2")
    try:
        levels = [world.n1.agent.ctl_json("config", "show")["log_level_now"],
                  world.n2.agent.ctl_json("config", "show")["log_level_now"]]
        assert levels[1] == "debug" != levels[0], levels
    finally:
        good(world, "log", "level", levels[0], "--node", "node2")


@each_family
def test_what_all_nodes_have_seen_becomes_one_policy_for_each_workload(world, family):
    world.expect((world.cli, world.lone.ips[family], 8080, "open"), (world.cli, world.far.ips[family], 8080, "open"))
    made = asked(world, "policy", "suggest", "--enough", "0")
    names = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in made["items"]]
    assert made["kind"] == "List" and len(names) == len(set(names)), names
    assert {("a", "suggested-cli"), ("a", "suggested-web")} <= set(names), names
    text = good(world, "policy", "suggest", "--enough", "0").stdout
    assert text.count("name: suggested-cli\n") == 1 and text.count("no history is kept") == len(world.nodes), text


def test_monitor_follows_all_nodes(world):
    if not world.kubectl.real:
        raise Skip("no kubectl: deploy/install-deps test")
    output = os.path.join(world.workdir, "monitor")
    follower = world.kubectl.start(output, "monitor", "--flows", "-o", "json")

    def both():
        for source, target in ((world.cli, world.near), (world.far, world.lone)):
            reach(source, target.ips[4], 8080)
        with open(output, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return {line["node"] for line in lines} == {"node1", "node2"}
    try:
        wait_until(both, "events of both nodes", interval=0.2)
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait(10)


# ---------------------------------------------------------------- what goes wrong

def test_a_node_without_a_running_agent_is_named_and_others_answer(world):
    server = world.kubectl.server
    kept = list(server.pods)
    server.pods[1] = agent_pod("node2", phase="Pending")
    server.nodes.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node3"}, "spec": {}})
    try:
        done = polder(world, "pod", "list")
        assert done.returncode == 1 and "node1" in done.stdout and "node2" not in done.stdout, done
        assert "node node2: pod polder-system/polder-node2 is not running (Pending, ImagePullBackOff)" in done.stderr
        assert "node node3: no agent's pod is there" in done.stderr
        done = polder(world, "status", "--node", "node2")
        assert done.returncode == 1 and "is not running (Pending, ImagePullBackOff)" in done.stderr, done
        done = polder(world, "status", "--node", "node9")
        assert done.returncode == 1 and "no agent's pod is on node node9" in done.stderr, done
    finally:
        server.pods[:] = kept
        server.nodes.pop()


def test_of_two_pods_on_a_node_the_one_that_stays_is_asked(world):
    server = world.kubectl.server
    ending = agent_pod("node1", "polder-old", deletionTimestamp="2026-01-01T00:00:00Z")
    for where in (0, len(server.pods)):
        server.pods.insert(where, ending)
        try:
            good(world, "status", "--node", "node1")
        finally:
            server.pods.remove(ending)


def test_a_pod_that_has_just_gone_is_told(world):
    server = world.kubectl.server
    server.pods.append(agent_pod("node4", "polder-gone"))
    try:
        done = polder(world, "status")
        assert done.returncode == 1 and "Node node1" in done.stdout, done
        assert 'node node4: kubectl: Error from server (NotFound): pods "polder-gone" not found' in done.stderr, done
    finally:
        server.pods.pop()


def test_missing_rights_missing_servers_and_missing_kubectl_are_told_apart(world):
    server = world.kubectl.server
    server.forbidden.add("pods")
    try:
        done = polder(world, "status")
        assert done.returncode == 1 and 'User "jane" cannot list resource "pods"' in done.stderr, done
        assert "docs/operations.md" in done.stderr, done
    finally:
        server.forbidden.clear()
    server.forbidden.add("nodes")  # only used to find nodes without an agent
    try:
        good(world, "status")
    finally:
        server.forbidden.clear()
    done = polder(world, "status", "--context", "elsewhere")
    assert done.returncode == 1 and "elsewhere" in done.stderr, done
    path = os.path.join(world.kubectl.directory, "nowhere")
    world.kubectl.write_kubeconfig(path, "http://127.0.0.1:1", "test")
    done = polder(world, "status", "--kubeconfig", path)
    assert done.returncode == 1 and "refused" in done.stderr, done
    done = polder(world, "status", "-n", "elsewhere")
    assert done.returncode == 1 and "no agent's pod was found in namespace elsewhere" in done.stderr, done
    good(world, "status", "-n", "polder-system", "--context", "test", "--kubeconfig", world.kubectl.kubeconfig)
    done = subprocess.run([os.path.join(world.kubectl.directory, "kubectl-polder"), "status"], text=True, check=False,
                          capture_output=True, env={"PATH": "/nonexistent"})
    assert done.returncode == 1 and "kubectl is not in PATH" in done.stderr, done


def test_options_that_exclude_each_other_are_refused(world):
    for words in (("status", "--node", "n", "--all-nodes"), ("explain", "--from", "a/b"), ("cleanup",),
                  ("policy", "try", "--commit"), ("nothing",)):
        assert polder(world, *words).returncode == 2, words


def test_kubectl_completes_the_plugins_words(world):
    """As its shell scripts ask it: the real kubectl starts what stands beside the plugin."""
    def offered(*words):
        done = subprocess.run([world.kubectl.real, "__complete", "polder", *words], text=True, check=True, capture_output=True,
                              env=world.kubectl.environment())
        return done.stdout.split()
    assert offered("pod", "") == ["list", "show", ":4"], offered("pod", "")
    assert offered("policy", "check", "") == [":0"], offered("policy", "check", "")
    assert offered("status", "--all") == ["--all-nodes", ":4"], offered("status", "--all")


# ---------------------------------------------------------------- explain across nodes

@each_family
def test_each_node_says_its_half(world, family):
    answer = explain(world, "a/cli", "a/far", family)
    assert answer["verdict"] == "allowed" and answer["agree"] is True, answer["differences"]
    assert asked_nodes(answer) == [("node1", ["egress"], True), ("node2", ["ingress"], True)]
    assert answer["egress"]["here"] is answer["ingress"]["here"] is True
    assert answer["egress"]["node"] == "node1" and answer["ingress"]["node"] == "node2"
    assert answer["from"]["local"] is answer["to"]["local"] is False
    assert "on node node1" in answer["text"] and "on node node2" in answer["text"], answer["text"]


@each_family
def test_a_denial_of_either_end_is_told_with_its_policy(world, family):
    names = in_force(world, policy("in", labels(app="web"), "a", ingress=[{"ports": [{"port": 1}]}]))
    answer = explain(world, "a/cli", "a/far", family)
    assert (answer["verdict"], answer["direction"], answer["isolated_by"]) == ("denied", "ingress", names)
    assert [half["verdict"] for half in answer["halves"]] == ["allowed", "denied"] and answer["agree"], answer
    assert answer["methods"]["program"]["asked"] and answer["methods"]["program"]["verdict"] == "denied"
    more = in_force(world, policy("out", labels(app="cli"), "a", policyTypes=["Egress"], egress=[]))
    answer = explain(world, "a/cli", "a/far", family)
    assert (answer["verdict"], answer["direction"], answer["isolated_by"]) == ("denied", "egress", more)


@each_family
def test_rules_of_both_ends_are_named(world, family):
    names = in_force(
        world, policy("out", labels(app="cli"), "a", policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}]}]),
        policy("in", labels(app="web"), "a", ingress=[{"from": [{"podSelector": labels(app="cli")}]}]))
    answer = explain(world, "a/cli", "a/far", family)
    assert answer["verdict"] == "allowed" and answer["agree"], answer["differences"]
    assert (answer["policy"], answer["direction"]) == (names[1], "ingress")
    assert (answer["egress"]["policy"], answer["ingress"]["policy"]) == tuple(names)
    assert answer["egress"]["ruleset"] and answer["ingress"]["ruleset"]


@each_family
def test_services_ask_the_nodes_of_all_endpoints(world, family):
    answer = explain(world, "a/cli", "a/web", family, port=80)
    assert answer["verdict"] == "allowed" and not answer["mixed"] and len(answer["backends"]) == 2, answer
    assert ("node2", ["ingress"], True) in asked_nodes(answer)
    in_force(world, policy("in", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["lone"]}]}, "b"))
    answer = explain(world, "a/cli", "b/far", family, port=80)
    assert (answer["verdict"], answer["direction"], answer["backend"]["pod"]) == ("denied", "ingress", "b/lone"), answer


def test_pods_of_one_node_are_asked_of_that_node_alone(world):
    for source, target, node in (("a/cli", "a/near", "node1"), ("a/far", "b/lone", "node2")):
        answer = explain(world, source, target, 4)
        assert asked_nodes(answer) == [(node, ["egress", "ingress"], True)], answer["halves"]
        assert all(answer["methods"][way]["asked"] for way in ("objects", "maps", "program")), answer["methods"]


@each_family
def test_outside_and_addresses_of_pods(world, family):
    names = in_force(world, policy("in", labels(app="lone"), "b"))
    answer = explain(world, OUTSIDE_IP[family], "b/lone", family)
    assert (answer["verdict"], answer["isolated_by"]) == ("denied", names)
    assert asked_nodes(answer) == [("node2", ["ingress"], True)]
    answer = explain(world, world.far.ips[family], OUTSIDE_IP[family], family)
    assert answer["verdict"] == "allowed" and asked_nodes(answer) == [("node2", ["egress"], True)]
    answer = explain(world, world.cli.ips[family], world.lone.ips[family], family)
    assert answer["verdict"] == "denied" and asked_nodes(answer)[1] == ("node2", ["ingress"], True)


def test_a_half_that_cannot_be_asked_is_unknown_unless_the_other_denies(world):
    server = world.kubectl.server
    kept = server.pods.pop()  # node2's
    try:
        answer = explain(world, "a/cli", "a/far", 4)
        assert answer["verdict"] == "unknown" and not answer["halves"][1]["asked"], answer
        assert "no agent's pod is there" in answer["text"], answer["text"]
        answer = explain(world, "a/far", "a/cli", 4)
        assert answer["verdict"] == "unknown" and asked_nodes(answer) == [
            ("node2", ["egress"], False), ("node1", ["ingress"], True)], answer["halves"]
        in_force(world, policy("out", labels(app="cli"), "a", policyTypes=["Egress"], egress=[]))
        assert explain(world, "a/cli", "a/far", 4)["verdict"] == "denied"
    finally:
        server.pods.append(kept)


def test_what_if_is_asked_of_both_nodes(world):
    path = os.path.join(world.workdir, "with.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(policy("maybe", labels(app="web"), "a", ingress=[{"ports": [{"port": 1}]}]), file)
    answer = explain(world, "a/cli", "a/far", 4, more=("--with", path))
    assert (answer["verdict"], answer["isolated_by"], answer["hypothetical"]) == ("denied", ["a/maybe"], True), answer
    assert explain(world, "a/cli", "a/far", 4)["verdict"] == "allowed"


def test_one_node_alone_says_whose_node_evaluates_the_other_end(world):
    done = good(world, "explain", "--from", "a/cli", "--to", "a/far", "--port", "8080", "--node", "node1")
    assert "(decided on node node2, not here)" in done.stdout, done.stdout
    here = world.n1.agent.ctl("explain", "--from", "a/cli", "--to", "a/far", "--port", "8080")
    assert "(decided on node node2, not here)" in here.stdout, here.stdout


# ---------------------------------------------------------------- policy try

def test_objects_are_tried_on_all_nodes_from_files_here(world):
    path = os.path.join(world.workdir, "try.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: t, namespace: a}\n"
                   "spec: {podSelector: {}, policyTypes: [Ingress]}\n")
    lines = [json.loads(line) for line in
             good(world, "policy", "try", path, "--for", "0", "-o", "json", status=polder(
                 world, "policy", "try", path, "--for", "0").returncode).stdout.splitlines()]
    assert sorted(line["node"] for line in lines if line["type"] == "begin") == ["node1", "node2"], lines
    assert all(line["objects"][0]["name"] == "t" for line in lines if line["type"] == "begin")
