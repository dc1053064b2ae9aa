# SPDX-License-Identifier: Apache-2.0
"""What polderctl tells of flows and drops on a live node: filters, the past, restarts of the agent."""

from lib import objects
from lib.monitor import Monitor
from lib.objects import labels, policy
from lib.traffic import BOTH, V4, reach, wait_until

WORLD = {"nodes": 1}


def setup(world):
    world.n1 = world.nodes[0]
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.serve(world.server, 8080)
    world.vip = world.service("server", 1, [objects.service_port(80, 8080, name="tcp")], {"app": "server"})
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.client, world.vip[family], 80, "open"), (world.stranger, world.server.ips[family], 8080, "timeout"))


def flows(world, *words):
    return world.n1.agent.ctl_json("flow", "list", "--limit", "0", *words)


def denied(world, family=V4):
    reach(world.stranger, world.server.ips[family], 8080, timeout=0.05)


def test_flows_have_the_names_of_their_pods_service_and_policy(world):
    pod, service = str(world.client), f"{world.server.ns}/server"
    for family in BOTH:
        world.expect((world.client, world.vip[family], 80, "open"))
        found = [flow for flow in flows(world, "--from", pod, "--to", service) if not flow["reply"] and flow["destination"] == world.vip[family]]
        assert found, flows(world)
        flow = found[0]
        assert (flow["source_pod"], flow["destination_pod"], flow["service"]) == (pod, str(world.server), service), flow
        assert flow["ingress_policy"]["policy"] == f"{world.server.ns}/server" and flow["verdict"] == "allow", flow
    table = world.n1.agent.ctl("flow", "list", "--from", pod).stdout
    assert f"{pod}:" in table and f"{service}:80" in table, table


def test_flows_are_filtered(world):
    world.expect((world.client, world.vip[4], 80, "open"), (world.client, world.vip[6], 80, "open"))
    everything = flows(world)
    pod = str(world.client)
    assert everything and all(pod in (flow["source_pod"], flow["destination_pod"]) for flow in flows(world, "--pod", pod))
    assert flows(world, "--pod", str(world.stranger)) == []
    assert all(flow["family"] == "ipv6" for flow in flows(world, "--ip", "::/0")) and flows(world, "--ip", "::/0")
    assert all(80 in (flow["source_port"], flow["destination_port"], flow["new_source_port"]) for flow in flows(world, "--port", "80"))
    assert flows(world, "--proto", "sctp") == [] and flows(world, "--port", "1-79") == []
    assert len(flows(world, "-n", world.client.ns)) == len([flow for flow in everything if flow["source_pod"] or flow["destination_pod"]])
    assert flows(world, "--policy", f"{world.server.ns}/server") and flows(world, "--policy", "nobodys") == []
    assert len(flows(world, "--since", "1h")) >= len(flows(world, "--since", "0s"))


def test_flows_are_sorted_and_the_last_ones_found(world):
    for _ in range(3):
        world.expect((world.client, world.vip[4], 80, "open"))
    by_bytes = [flow["bytes"] for flow in world.n1.agent.ctl_json("flow", "list", "--sort", "bytes", "--limit", "5")]
    assert by_bytes == sorted(by_bytes, reverse=True) and by_bytes[0] == max(flow["bytes"] for flow in flows(world)), by_bytes
    last = world.n1.agent.ctl_json("flow", "list", "--last", "3")
    assert len(last) == 3 and [flow["idle_seconds"] for flow in last] == sorted(flow["idle_seconds"] for flow in last), last


def test_filters_without_sense_are_refused_in_words(world):
    for words, part in ((["--pod", "a/b/c"], "NAMESPACE/NAME"), (["--ip", "10.0.0.300"], "address"), (["--port", "90-80"], "lower one first"),
                        (["--verdict", "drop"], "drop list"), (["--proto", "icmp", "--port", "5"], "no ports"),
                        (["--from", "10.0.0.1", "--to", "fd00::1"], "IPv6")):
        done = world.n1.agent.ctl("flow", "list", *words, check=False)
        assert done.returncode == 1 and part in done.stderr, done
    done = world.n1.agent.ctl("monitor", "--drops", "--verdict", "allow", check=False)
    assert done.returncode == 1 and "none of the events" in done.stderr, done


def test_monitor_shows_what_its_filter_lets_through(world):
    with Monitor(world.n1.agent, "--pod", str(world.stranger), "--reason", "policy_denied_ingress") as monitor:
        for family in BOTH:
            address = world.server.ips[family]
            event = monitor.wait(lambda event: event.get("destination", {}).get("ip") == address, lambda: (
                world.expect((world.client, world.vip[family], 80, "open")), denied(world, family)))[0]
            assert event["ingress_policy"]["isolated_by"] == [f"{world.server.ns}/server"], event
        assert {event.get("source", {}).get("pod") for event in monitor.events() if "source" in event} == {str(world.stranger)}


def test_monitor_begins_with_the_last_drops(world):
    denied(world)
    wait_until(lambda: world.n1.agent.ctl_json("drop", "list", "--pod", str(world.server))["drops"], "the drop is counted")
    with Monitor(world.n1.agent, "--drops", "--last", "1", "--pod", str(world.server)) as monitor:
        event = monitor.wait(lambda event: "reason" in event)[0]  # and nobody sends
        assert event["reason"] == "policy_denied_ingress", event
    with Monitor(world.n1.agent, "--drops", "--since", "1h", "--pod", str(world.server)) as monitor:
        monitor.wait(lambda event: "reason" in event)


def test_monitor_goes_on_over_a_restart_and_says_what_was_lost(world):
    with Monitor(world.n1.agent, "--drops", "--pod", str(world.stranger)) as monitor:
        monitor.wait(lambda event: "reason" in event, lambda: denied(world))
        world.n1.agent.stop()
        wait_until(lambda: monitor.errors, "the end of the agent is told")
        seen = len(monitor.events())
        denied(world)  # no agent runs: the next one finds it in the ring
        world.n1.agent.start()
        told = monitor.wait(lambda event: "reconnected" in event)[0]["reconnected"]
        assert told["lost"] == 0 and told["limited"] == 0 and told["seconds"] > 0, told
        wait_until(lambda: [event for event in monitor.events()[seen:] if "reason" in event],
                   lambda: f"the drop of between is told: {monitor.events()[seen:]}")
        count = len(monitor.events())
        wait_until(lambda: denied(world) or len(monitor.events()) > count, "new drops are told")
    assert "waiting for it to come back" in "".join(monitor.errors)


def test_drops_are_counted_by_reason_pod_and_policy_with_the_remedy(world):
    def row():
        answer = world.n1.agent.ctl_json("drop", "list", "--reason", "policy_denied_ingress", "--since", "5m")
        return [(one, answer) for one in answer["drops"] if one["pod"] == str(world.server)]
    for family in BOTH:
        denied(world, family)
    one, answer = wait_until(row, "the drops have a row")[0]
    assert one["policy"] == f"{world.server.ns}/server" and one["direction"] == "from_pod" and one["packets"] >= 2, one
    assert one["example"]["source"]["pod"] == str(world.stranger), one
    reason = answer["reasons"][0]
    assert reason["packets"] >= reason["told"] >= one["packets"] and "polderctl explain" in reason["remedy"], reason
    out = world.n1.agent.ctl("drop", "list").stdout
    assert "to do: " in out and str(world.server) in out, out
    done = world.n1.agent.ctl("drop", "list", "--pod", "demo/none")
    assert "No resources found" in done.stderr, done


def test_the_counts_are_the_metrics(world):
    """A flood is not told packet by packet, and counted all the same."""
    before = world.n1.agent.drops("policy_denied_ingress")
    counted = world.n1.agent.ctl_json("drop", "list", "--reason", "policy_denied_ingress")["reasons"][0]["packets"]
    for _ in range(5):
        denied(world)
    wait_until(lambda: world.n1.agent.ctl_json("drop", "list", "--reason", "policy_denied_ingress")["reasons"][0]["packets"] - counted
               >= world.n1.agent.drops("policy_denied_ingress") - before >= 5, "both count the same packets")


def test_the_programs_tables_are_listed(world):
    agent = world.n1.agent
    pods = {f"{pod['namespace']}/{pod['name']}": pod for pod in agent.ctl_json("pod", "list")}
    server, client = pods[str(world.server)], pods[str(world.client)]
    identities = {one["identity"]: one for one in agent.ctl_json("identity", "list")}
    assert identities[server["identity"]]["labels"] == {"app": "server"}, identities
    rulesets = {one["ruleset"]: one for one in agent.ctl_json("ruleset", "list")}
    used = rulesets[server["ingress"]["ruleset"]]
    assert used["isolates"] and used["ingress_pods"] == 1 and used["egress_pods"] == 0, used
    addresses = {one["prefix"]: one for one in agent.ctl_json("address", "list")}
    for family, length in ((4, 32), (6, 128)):
        found = addresses[f"{world.server.ips[family]}/{length}"]
        assert (found["pod"], found["identity"]) == (str(world.server), server["identity"]) and "local" in found["flags"], found
    assert {one["address"] for one in agent.ctl_json("backend", "list") if one["name"] == "server"} == set(world.server.ips.values())
    assert {one["address"] for one in agent.ctl_json("ipam", "list") if one["name"] == "client"} == set(client["ips"])


def test_a_pod_and_a_service_are_shown(world):
    denied(world)
    shown = world.n1.agent.ctl_json("pod", "show", str(world.server))[0]
    assert shown["services"] == [f"{world.server.ns}/server"] and shown["pod"]["state"] == "ready", shown
    wait_until(lambda: world.n1.agent.ctl_json("pod", "show", str(world.server))[0]["drops"], "its drops are shown")
    out = world.n1.agent.ctl("service", "show", f"{world.server.ns}/server").stdout
    assert str(world.server) in out and f"{world.vip[4]}:80" in out, out
    assert world.n1.agent.ctl("version").returncode == 0
