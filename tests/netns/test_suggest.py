# SPDX-License-Identifier: Apache-2.0
"""polderctl policy suggest: what was seen becomes policies that allow it, and nothing else."""

import json
import os
import socket
import subprocess
import time

import yaml

from lib.agent import POLDERCTL
from lib.objects import labels, policy
from lib.traffic import BOTH, V4, V6, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 1, "flow_history": "1"}
DNS = {"k8s-app": "kube-dns"}


def setup(world):
    world.n1 = world.nodes[0]
    world.web = world.pod("web-1", "demo", labels={"app": "web", "pod-template-hash": "a1"})
    world.other_web = world.pod("web-2", "demo", labels={"app": "web", "pod-template-hash": "b2"})
    world.cli = world.pod("cli", "demo", labels={"app": "cli"})
    world.stranger = world.pod("stranger", "demo", labels={"app": "stranger"})
    world.dns = world.pod("dns", "kube-system", labels=DNS)
    for pod in (world.web, world.other_web):
        world.serve(pod, 8080)
        world.serve(pod, 9090)
    world.serve(world.dns, 1053, "UDP")
    world.serve(world.dns, 1053, "TCP")
    world.serve(world.outside, 7000)
    world.serve(world.outside, 7001)
    world.service("web", 30, [{"port": 80, "targetPort": 8080}], selector={"app": "web"}, ns="demo")
    world.service("dns", 31, [{"name": "udp", "port": 53, "protocol": "UDP", "targetPort": 1053},
                              {"name": "tcp", "port": 53, "protocol": "TCP", "targetPort": 1053}], selector=DNS, ns="kube-system")


def seen_traffic(world, family):
    """What the policies have to allow."""
    return [(world.cli, world.service_ip(30, family), 80, "TCP"), (world.web, world.other_web.ips[family], 9090, "TCP"),
            (world.cli, world.service_ip(31, family), 53, "UDP"), (world.web, OUTSIDE_IP[family], 7000, "TCP")]


def other_traffic(world, family):
    """What nobody did while it was watched."""
    return [(world.cli, world.web.ips[family], 9090, "TCP"), (world.stranger, world.web.ips[family], 8080, "TCP"),
            (world.web, OUTSIDE_IP[family], 7001, "TCP"), (world.cli, OUTSIDE_IP[family], 7000, "TCP")]


def make_traffic(world):
    for family in BOTH:
        for source, address, port, proto in seen_traffic(world, family):
            world.expect((source, address, port, "open", proto))


def suggest(world, *words, code=0):
    result = subprocess.run([POLDERCTL, "--socket", world.n1.agent.socket, "policy", "suggest", *words],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result.stdout


def policies_of(text):
    return {item["metadata"]["name"]: item for item in yaml.safe_load_all(text) if item}


def write(world, text, name="suggested.yaml"):
    path = os.path.join(world.workdir, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def test_once_applied_the_same_traffic_passes_and_other_traffic_does_not(world):
    make_traffic(world)
    text = suggest(world, "--enough", "0")
    path = write(world, text)
    check = subprocess.run([POLDERCTL, "policy", "check", "--strict", path], capture_output=True, text=True, timeout=20, check=False)
    assert check.returncode == 0, (check.stdout, text)
    tried = json.loads(subprocess.run([POLDERCTL, "--socket", world.n1.agent.socket, "-o", "json", "policy", "try", "--for", "0", path],
                                      capture_output=True, text=True, timeout=20, check=False).stdout.splitlines()[-1])
    assert tried["type"] == "end" and tried["denied"] == 0, (tried, text)
    world.resources.put("suggested", *policies_of(text).values())
    world.policies_in_force()
    for family in BOTH:
        for source, address, port, proto in seen_traffic(world, family):
            world.expect((source, address, port, "open", proto))
        world.expect((world.cli, world.service_ip(31, family), 53, "open", "TCP"))
        for source, address, port, proto in other_traffic(world, family):
            world.expect((source, address, port, "timeout", proto))


def test_services_and_labels_are_named_and_not_addresses_of_pods(world):
    make_traffic(world)
    text = suggest(world, "demo", "--enough", "0")
    found = policies_of(text)
    cli = found["suggested-cli"]["spec"]
    assert cli["podSelector"] == labels(app="cli") and cli["policyTypes"] == ["Egress"], text
    assert {"namespaceSelector": labels(**{"kubernetes.io/metadata.name": "kube-system"}),
            "podSelector": labels(**DNS)} in [peer for rule in cli["egress"] for peer in rule["to"]], text
    assert "by Service demo/web port 80" in text and "DNS" in text, text
    assert "suggested-kube-dns" not in found, text
    for pod in (world.web, world.other_web, world.cli, world.dns):
        for family in BOTH:
            assert pod.ips[family] not in text, (pod, text)
    blocks = [peer["ipBlock"]["cidr"] for rule in found["suggested-web"]["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert sorted(blocks) == sorted([OUTSIDE_IP[V4] + "/32", OUTSIDE_IP[V6] + "/128"]), blocks


def test_what_was_denied_is_told_and_not_suggested(world):
    world.resources.put("policies", policy("web", labels(app="web"), ns="demo", policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="cli")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.cli, world.web.ips[family], 8080, "open"), (world.stranger, world.web.ips[family], 8080, "timeout"))
    late = world.pod("late", "demo", labels={"app": "late"})
    for family in BOTH:
        world.expect((late, world.web.ips[family], 8080, "timeout"), within=0)
    text = wait_until(lambda: "app=late" in (text := suggest(world, "demo/web-1", "--enough", "0")) and text, "it is told")
    peers = json.dumps(policies_of(text)["suggested-web"]["spec"]["ingress"])
    assert "late" not in peers, text
    line, = [line for line in text.splitlines() if "app=late" in line]
    assert line.startswith("# TCP 8080 from pods with app=late in demo") and line.endswith("denied"), text


def test_two_workloads_of_one_app_are_told_apart(world):
    canary = world.pod("canary", "demo", labels={"app": "web", "role": "canary"})
    for family in BOTH:
        world.expect((canary, world.web.ips[family], 9090, "open"), (world.cli, world.web.ips[family], 9090, "open"))
    text = suggest(world, "demo", "--enough", "0")
    found = policies_of(text)
    assert found["suggested-web"]["spec"]["podSelector"] == {
        "matchLabels": {"app": "web"}, "matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}, text
    assert found["suggested-web-canary"]["spec"]["podSelector"] == labels(app="web", role="canary"), text


def test_json_is_a_list_that_policy_check_takes(world):
    make_traffic(world)
    made = world.n1.agent.ctl_json("policy", "suggest", "--enough", "0")
    assert made["kind"] == "List" and made["items"] and made["seen"] and made["end"]["recorded"], made
    path = write(world, json.dumps(made), "suggested.json")
    assert json.loads(subprocess.run([POLDERCTL, "-o", "json", "policy", "check", "--strict", path], capture_output=True, text=True,
                                     timeout=20, check=False).stdout)["good"]


def test_history_lists_workloads_and_says_what_it_forgot(world):
    make_traffic(world)
    listed = world.n1.agent.ctl("flow", "history", "demo/cli").stdout.splitlines()
    assert any("kube-system/dns" in line and line.startswith("egress") for line in listed), listed
    with world.cli.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(8000):
            sender.sendto(b"x", (f"198.18.{number // 250}.{number % 250 + 1}", 9))
    ended = wait_until(lambda: (end := world.n1.agent.ctl_json("flow", "history", "demo/cli")["end"])["forgotten"] > 1000 and end,
                       "the history is full")
    assert ended["recorded"], ended
    told = world.n1.agent.ctl("flow", "history", "demo/cli", "--since", "10h").stderr
    assert "the history reaches back" in told and "forgotten" in told, told


def test_agent_that_ends_while_it_watches_ends_well(world):
    def start():
        return subprocess.Popen([POLDERCTL, "--socket", world.n1.agent.socket, "policy", "suggest", "--for", "1h"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def all_watch():
        """Who came while this question had the last place begins again."""
        for number, watcher in enumerate(watchers):
            if watcher.poll() is not None:
                watcher.communicate()
                watchers[number] = start()
        return "which is the limit" in world.n1.agent.ctl("policy", "suggest", check=False).stderr

    watchers = [start() for _ in range(4)]
    try:
        wait_until(all_watch, "all four watch", interval=0.2)
        restart(world)
        for watcher in watchers:
            _, error = watcher.communicate(timeout=30)
            assert watcher.returncode == 1 and "closed the connection" in error, error
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.communicate()


def test_too_short_a_time_suggests_nothing_and_says_so(world):
    make_traffic(world)
    text = suggest(world, "demo", code=3)
    assert not policies_of(text) and "seen for" in text and "--enough TIME" in text, text
    assert "which it does not reach" in suggest(world, "demo", "--since", "10h", code=3)


def test_watching_for_a_time_is_enough_and_tells_of_that_time_alone(world):
    command = [POLDERCTL, "--socket", world.n1.agent.socket, "policy", "suggest", "demo/cli", "--for", "2s"]
    time.sleep(2.5)  # the flow table knows the time of what was before to a second
    for family in BOTH:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            wait_until(lambda: world.expect((world.cli, world.other_web.ips[family], 9090, "open")) or process.poll() is not None,
                       "the time is over", interval=0.3)
            text = process.stdout.read()
        assert process.returncode == 0, text
        assert policies_of(text)["suggested-cli"]["spec"]["egress"][0]["ports"][0]["port"] == 9090, text
        assert text.splitlines()[1] == "# watched for 2s", text


def test_events_that_were_withheld_are_looked_for_in_the_flow_table(world):
    """By the agent itself, while the flows are there: nobody asks it before they have gone."""
    restart(world, events_per_second="1")
    sender = world.pod("sender", "demo", labels={"app": "sender"})
    before = history(world)

    def found():
        """Flows of the moment in which the pod came are evaluated once more, which a single datagram never is: new ones each time."""
        for port in range(9200, 9220):
            for family in BOTH:
                with sender.socket(socket.AF_INET if family == V4 else socket.AF_INET6, socket.SOCK_DGRAM) as made:
                    made.sendto(b"x", (world.web.ips[family], port))
        now = history(world)
        return now["entries"] >= before["entries"] + 40 and now["looked_up"] >= before["looked_up"] + 20

    wait_until(found, "what was withheld has been looked for, at both ends")
    sender.delete()
    text = suggest(world, "demo", "--enough", "0")
    ports = {port["port"] for rule in policies_of(text)["suggested-sender"]["spec"]["egress"] for port in rule["ports"]}
    assert set(range(9200, 9220)) <= ports, text
    assert "events were not told, and looked for in the flow table instead" in text, text


def test_with_a_file_the_history_outlives_polderd_and_what_is_good_of_it_damage(world):
    path = os.path.join(world.n1.agent.options["state-dir"], "flow-history")
    restart(world, flow_history_file=path, events_per_second="10000")
    gone = world.pod("gone", "demo", labels={"app": "gone"})
    for family in BOTH:
        world.expect((gone, world.web.ips[family], 9090, "open"))
    listed = lambda: [line for line in world.n1.agent.ctl("flow", "history", "demo").stdout.splitlines() if "app=gone" in line]
    wait_until(lambda: len(listed()) >= 2, "both ends are told")
    gone.delete()
    before = listed()
    world.n1.agent.restart()
    # The flow table has nothing of the pod any more.
    assert len(listed()) == len(before), (before, listed())
    told = world.n1.agent.ctl("flow", "history", "demo").stderr
    assert "no polderd watched" in told, told
    assert history(world)["missed_seconds"] > 0 and history(world)["file"]["problem"] == "", history(world)
    assert "no polderd watched" in suggest(world, "demo", "--enough", "0")
    world.n1.agent.stop()
    with open(path, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"\0" * 100)
    world.n1.agent.start()
    told = history(world)
    assert told["file"]["left_out"] + told["file"]["cut_off"] > 0 and told["entries"] > 0 and told["missed_seconds"] == 0, told
    assert listed(), "what is good is there"


def test_without_a_history_the_flow_table_alone_is_told(world):
    restart(world, flow_history="0", flow_history_file="none", events_per_second="10000")
    make_traffic(world)
    text = suggest(world, "demo", "--enough", "0")
    assert "no history is kept (flow-history)" in text and "suggested-web" in policies_of(text), text


def history(world):
    return world.n1.agent.ctl_json("status")["flow_history"]


def restart(world, **options):
    world.n1.agent.stop()
    world.n1.agent.options.update({key.replace("_", "-"): value for key, value in options.items()})
    world.n1.agent.start()
