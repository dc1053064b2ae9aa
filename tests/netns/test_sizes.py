# SPDX-License-Identifier: Apache-2.0
"""Maps get other sizes by a restart, under traffic: no connection ends, nothing is counted twice or lost, nothing denied passes."""

import glob
import os
import signal
import time

from lib import objects
from lib.agent import PATIENCE
from lib.objects import labels, policy
from lib.runner import in_worlds, limit
from lib.steady import Traffic
from lib.traffic import BOTH, Connection, UdpClient, wait_until
from lib.world import OUTSIDE_IP

LASTS = 150
# How programs are attached tells in tests that replace them under traffic, not in what maps keep as they move.
WORLDS = {
    "": {"nodes": 2, "flows_v4": 4096, "flows_v6": 4096, "metrics_listen": "127.0.0.1:9180"},
    "clsact": {"nodes": 2, "flows_v4": 4096, "flows_v6": 4096, "attach": "clsact", "metrics_listen": "127.0.0.1:9180"},
}
SMALL = {"flows-v4": 4096, "flows-v6": 4096}
# Every option that gives a map its size, smaller and larger than by default.
OTHERS = {"max-pods": (64, 8192), "max-addresses": (1024, 262144), "max-services": (256, 131072), "max-backends": (1024, 524288),
          "max-policy-entries": (4096, 524288), "max-rule-counters": (1024, 65536), "max-fragments": (1024, 16384),
          "max-socket-origins": (1024, 131072)}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.agent = world.n1.agent
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.remote = world.pod("remote", labels={"app": "client"}, node=world.n2)
    for where in (world.client, world.server, world.remote, world.n1, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")
    world.vip = world.service("server", 1, [objects.service_port(80, 8080, name="tcp"),
                                            objects.service_port(53, 5353, "UDP", name="udp")], {"app": "server"})
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"],
                                           ingress=[{"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.client, world.vip[family], 80, "open"), (world.n1, world.vip[family], 80, "open"))


def check_new_flows(world):
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"), (world.client, world.vip[family], 80, "open"),
                     (world.client, OUTSIDE_IP[family], 8080, "open"), (world.n1, world.vip[family], 80, "open"), within=0)
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.stranger, world.vip[family], 80, "timeout"), within=0)


def restart_with(world, number=signal.SIGTERM, **options):
    world.agent.kill(number)
    world.agent.options.update({key.replace("_", "-"): value for key, value in options.items()})
    world.agent.start()


def sizes(world):
    return {m["name"]: m["max_entries"] for m in world.agent.ctl_json("map", "list")}


def pins(world):
    return sorted(os.path.basename(p) for p in glob.glob(os.path.join(world.n1.bpffs, "v*", "next", "*")))


def test_flow_tables_grow_and_shrink_under_traffic(world):
    with Traffic(world) as traffic:
        for wanted in (8192, 32768, 16384, 4096):
            restart_with(world, flows_v4=wanted, flows_v6=wanted)
            found = sizes(world)
            assert found["flows4"] == found["flows6"] == wanted, found
            assert not pins(world)
            traffic.wait_round()
            check_new_flows(world)
    assert not world.agent.drops("tcp_without_flow"), world.agent.drops_by_reason()


@in_worlds("")
def test_other_maps_grow_and_shrink_under_traffic(world):
    before = sizes(world)
    with Traffic(world) as traffic:
        for which in (1, 0):
            restart_with(world, **{key: pair[which] for key, pair in OTHERS.items()})
            found = sizes(world)
            assert found["pods"] == OTHERS["max-pods"][which], found
            assert found["rulesets"] == 16 + 4 * OTHERS["max-pods"][which], found
            for name, key in (("addresses", "max-addresses"), ("services", "max-services"), ("backend_states", "max-backends"),
                              ("ruleset_peers", "max-policy-entries"), ("socket_origins", "max-socket-origins")):
                assert found[name] == OTHERS[key][which], (name, found[name])
            traffic.wait_round()
            check_new_flows(world)
        restart_with(world, **{key: None for key in OTHERS})
        traffic.wait_round()
        check_new_flows(world)
    assert sizes(world) == before


@in_worlds("")
def test_counts_of_flows_and_rules_stay(world):
    """Twenty datagrams before and twenty after: forty of them, for the flow and for its rule."""
    def rule():
        shown = world.agent.ctl_json("policy", "show", "default/server")
        return sum(r["packets"] for r in shown["rules"])

    with UdpClient(world.client, world.server.ips[4], 5353) as client:
        before = rule()
        for _ in range(20):
            client.ask()
        port = client.sock.getsockname()[1]
        told = rule()
        restart_with(world, flows_v4=16384, max_rule_counters=4096)
        wait_until(lambda: rule() == told, lambda: f"{rule()} packets for the rule, {told} before")
        for _ in range(20):
            client.ask()
        assert rule() - before == 80, (before, rule())
        flows = [f for f in world.agent.ctl_json("flow", "list", "--limit", "0")
                 if port in (f["source_port"], f["destination_port"])]
        assert [f["packets"] for f in flows] == [40, 40], flows
    restart_with(world, max_rule_counters=None, **SMALL)


@limit(120)
def test_agent_killed_while_maps_move_leaves_no_flow_behind(world):
    """Killed at ever other moments while they move, with another size each time."""
    def begins():
        return world.agent.log().count("map flows4:") + world.agent.log().count("ready:")

    with Traffic(world) as traffic:
        for number in range(12):
            wanted = (16384, 8192, 4096)[number % 3]
            world.agent.kill(signal.SIGKILL)
            world.agent.options.update({"flows-v4": wanted, "flows-v6": wanted, "max-pods": (4096, 1024)[number % 2]})
            before = begins()
            world.agent.start(wait=False)
            wait_until(lambda: begins() > before, world.agent.log_tail, PATIENCE, 0.001)
            deadline = time.monotonic() + 0.004 * number
            wait_until(lambda: time.monotonic() >= deadline, "the moment to kill", interval=0.001)
        restart_with(world, signal.SIGKILL, max_pods=None, **SMALL)
        traffic.wait_round()
        check_new_flows(world)
    restart_with(world, max_pods=None, **SMALL)
    found = sizes(world)
    assert found["flows4"] == found["flows6"] == 4096 and not pins(world), (found, pins(world))


@in_worlds("")
def test_map_that_is_too_full_to_shrink_keeps_its_size_and_says_so(world):
    """A flow for each of 3,000 ports: more than half of 4,096 entries."""
    restart_with(world, flows_v4=16384)
    sock = world.client.socket(2, 2)
    with sock, Connection(world.client, world.server.ips[4], 8080) as connection:
        for port in range(20000, 23000):
            sock.sendto(b"x", (OUTSIDE_IP[4], port))
        restart_with(world, **SMALL)
        found = sizes(world)
        assert found["flows4"] == 16384 and found["flows6"] == 4096, found
        assert "map flows4: keeps" in world.agent.log_tail(60), world.agent.log_tail(20)
        limits = {limit["map"]: limit["reason"] for limit in world.agent.ctl_json("status")["limits"]}
        assert "--flows-v4 asks for 4096" in limits["flows4"], limits
        connection.ask()
    world.agent.stop()
    restart_with(world, flows_v4=16384)
