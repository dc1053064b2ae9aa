# SPDX-License-Identifier: Apache-2.0
"""TrafficAlerts on a live node: what real traffic of both families raises, and what it must not."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess

from lib.agent import POLDERCTL
from lib.objects import alert, labels, policy
from lib.processes import Talker, pins, run_program
from lib.traffic import ANY_ADDRESS, BOTH, Connection, UdpClient, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 1}


def subject(name):
    return {"pods": {"podSelector": labels(app=name)}}


def setup(world):
    world.agent = world.nodes[0].agent
    world.client = world.pod("client", labels={"app": "client"})
    world.other = world.pod("other", labels={"app": "other"})
    world.server = world.pod("server", labels={"app": "server"})
    world.serve(world.server, 8080)
    world.serve(world.outside, 8080)
    world.serve(world.outside, 53, "UDP")
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"ports": [{"port": 8080}]}]))
    world.policies_in_force()


def put(world, name, **spec):
    """The alert is followed: it is asked about what happens from now on."""
    world.resources.put(f"alert-{name}", alert(name, **spec))
    wait_until(lambda: name in rules(world), f"the alert {name} is followed")


def answer(world):
    return world.agent.ctl_json("alert", "list")


def rules(world):
    return {rule["alert"]: rule for rule in answer(world)["rules"]}


def told(world, name):
    return [alert for alert in answer(world)["told"] if alert["alert"] == name]


def raised(world, name):
    return rules(world)[name]["raised"]


def test_an_alert_tells_as_long_as_it_is_there(world):
    found = answer(world)
    assert found == {"rules": [], "told": [], "bytes": 0, "forgotten": 0, "flows_left_out": 0,
                     "processes_unknown": 0, "lost": 0}, found
    assert "polder_alerts_total" not in world.agent.metrics_text()
    put(world, "any", peersOutside={"networks": []}, rateLimitSeconds=1)
    world.expect((world.client, OUTSIDE_IP[4], 8080, "open"))
    wait_until(lambda: told(world, "any"), "the alert is told")
    world.resources.delete("alert-any")
    wait_until(lambda: not rules(world), "the alert is gone")
    before = len(told(world, "any"))
    world.expect((world.client, OUTSIDE_IP[6], 8080, "open"))
    assert len(told(world, "any")) == before and answer(world)["bytes"] == 0
    assert "polder_alerts_total" not in world.agent.metrics_text()


def test_connections_outside_of_the_list_are_told_everywhere(world):
    put(world, "outside", severity="Critical", message="mail only", subject=subject("client"), rateLimitSeconds=1,
        peersOutside={"networks": ["192.0.2.0/32"]})
    for family in BOTH:
        address = OUTSIDE_IP[family]
        # A pod is no peer outside, and the other pod is no subject.
        world.expect((world.client, world.server.ips[family], 8080, "open"), (world.other, address, 8080, "open"))
        world.expect((world.client, address, 8080, "open"))
        found = wait_until(lambda: [one for one in told(world, "outside") if one["destination"]["ip"] == address], "the alert is told")
        one = found[0]
        assert one["source"] == {"ip": world.client.ips[family], "pod": str(world.client)}, one
        assert (one["destination"]["port"], one["proto"], one["verdict"], one["severity"]) == (8080, "tcp", "allow", "Critical"), one
    assert {one["source"]["pod"] for one in told(world, "outside")} == {str(world.client)}
    assert not [one for one in told(world, "outside") if one["destination"]["pod"]]
    assert "outside (Critical)" in world.agent.log() and "mail only" in world.agent.log()
    labels_of = (("alert", "outside"), ("severity", "Critical"))
    wait_until(lambda: world.agent.metrics()["polder_alerts_total", labels_of] == raised(world, "outside") >= 2, "the metric says as much")
    with subprocess.Popen([POLDERCTL, "--socket", world.agent.socket, "-o", "jsonl", "monitor", "--alerts", "--last", "1"],
                          stdout=subprocess.PIPE, text=True) as monitor:
        line = json.loads(monitor.stdout.readline())
        monitor.terminate()
    assert (line["type"], line["alert"]) == ("alert", "outside"), line
    assert "outside: " in world.agent.ctl("alert", "list").stdout


def test_dns_to_a_foreign_resolver_is_told(world):
    put(world, "resolver", foreignResolver={"networks": [OUTSIDE_IP[4] + "/32"]}, rateLimitSeconds=1)
    for family in (4, 6):  # that of IPv4 is meant
        with UdpClient(world.client, OUTSIDE_IP[family], 53) as client:
            client.ask()
    one = wait_until(lambda: told(world, "resolver"), "the alert is told")[0]
    assert (one["destination"]["ip"], one["destination"]["port"], one["proto"]) == (OUTSIDE_IP[6], 53, "udp"), one
    assert {one["destination"]["ip"] for one in told(world, "resolver")} == {OUTSIDE_IP[6]}


def test_a_scan_is_told_and_a_few_denied_ports_are_not(world):
    put(world, "scan", scan={"targets": 8, "seconds": 3600})
    for family in BOTH:
        for port in (1, 2, 3):
            reach(world.other, world.server.ips[family], port, timeout=0.05)
    for family in BOTH:
        for port in range(1, 6):
            reach(world.client, world.server.ips[family], port, timeout=0.05)
    one = wait_until(lambda: told(world, "scan"), "the scan is told")[0]
    assert one["source"]["pod"] == str(world.client) and one["amount"] == 8 and one["verdict"] == "drop", one
    assert raised(world, "scan") == 1 and rules(world)["scan"]["workloads"] == 2


def test_bytes_above_the_volume_are_told(world):
    put(world, "volume", volume={"bytes": 300000, "seconds": 3600}, subject=subject("client"), rateLimitSeconds=1)
    for family in BOTH:
        with Connection(world.client, world.server.ips[family], 8080) as inside, Connection(world.other, OUTSIDE_IP[family], 8080) as other:
            inside.push(500000)
            other.push(500000)
        with Connection(world.client, OUTSIDE_IP[family], 8080) as connection:
            connection.push(100000)
    assert not told(world, "volume")
    for family in BOTH:
        before = raised(world, "volume")
        with Connection(world.client, OUTSIDE_IP[family], 8080) as connection:
            connection.push(400000)
        wait_until(lambda: raised(world, "volume") > before, "the volume is told")
    one = told(world, "volume")[0]
    assert one["source"]["pod"] == str(world.client) and one["amount"] >= 300000, one


def test_a_peer_that_was_not_learnt_is_told(world):
    put(world, "new-peer", newPeer={"seconds": 1}, subject=subject("client"), rateLimitSeconds=1)
    known = [(world.client, world.server.ips[family], 8080, "open") for family in BOTH]
    world.expect(*known)
    wait_until(lambda: rules(world)["new-peer"]["workloads"] == 1, "the pod's peers are learnt")

    # Until the time of learning is over each port is learnt as well.
    ports = iter(range(9000, 65536))

    def other():
        reach(world.client, OUTSIDE_IP[6], next(ports), timeout=0.05)
        return told(world, "new-peer")
    one = wait_until(other, "a new peer is told")[0]
    assert one["destination"]["ip"] == OUTSIDE_IP[6] and one["source"]["pod"] == str(world.client), one
    world.expect(*known)
    assert not [one for one in told(world, "new-peer") if one["destination"]["ip"] in world.server.ips.values()], told(world, "new-peer")


def connect_by_shell(world, where, ip, shell="bash"):
    """Of the shells the one that opens connections itself."""
    return run_program(world.nodes[0], where, shell, "-c", f"exec 3<>/dev/tcp/{ip}/8080")


def test_a_connection_from_a_shell_is_told_and_those_of_others_are_not(world):
    node = world.nodes[0]
    wait_until(lambda: not pins(node), "nobody notes processes")
    put(world, "shell", shell={}, subject=subject("client"), rateLimitSeconds=1)
    assert len(pins(node)) == 11, pins(node)
    for family in BOTH:
        address = OUTSIDE_IP[family]
        for where in (world.client, world.other):
            with Talker(node, where, "tcp", address, 8080) as talker:
                talker.answered()
        connect_by_shell(world, world.other, address)
        result = connect_by_shell(world, world.client, address)
        assert result.returncode == 0, result
        one = wait_until(lambda to=address: [one for one in told(world, "shell") if one["destination"]["ip"] == to], "the alert is told")[0]
        assert one["source"]["pod"] == str(world.client) and one["process"]["comm"] == "bash", one
        assert os.path.basename(one["process"]["executable"]) == "bash" and one["process"]["uid"] == 0, one
    assert {(one["source"]["pod"], one["process"]["comm"]) for one in told(world, "shell")} == {(str(world.client), "bash")}, told(world, "shell")
    world.resources.delete("alert-shell")
    wait_until(lambda: not pins(node), "nobody notes processes any more")


def test_a_program_that_was_not_learnt_is_told(world):
    node = world.nodes[0]
    put(world, "program", newProcess={"seconds": 1}, subject=subject("client"), rateLimitSeconds=1)

    def talk():
        with Talker(node, world.client, "tcp", OUTSIDE_IP[6], 8080) as talker:
            talker.answered()
    talk()
    wait_until(lambda: rules(world)["program"]["workloads"] == 1, "the pod's programs are learnt")
    directory = os.path.realpath(world.workdir)
    copies = (os.path.join(directory, f"bash-{number}") for number in itertools.count())
    original = shutil.copy(shutil.which("bash"), next(copies))

    def new_one():
        copy = next(copies)
        os.link(original, copy)
        connect_by_shell(world, world.client, OUTSIDE_IP[4], copy)
        return copy

    def told_of(copy):
        return [one for one in told(world, "program") if one["process"]["executable"] == copy]
    # Until the time of learning is over each program is learnt as well.
    wait_until(lambda: new_one() and told(world, "program"), "a new program is told")
    first = new_one()
    one = wait_until(lambda: told_of(first), "another one is told, and what was before it")[0]
    assert one["source"]["pod"] == str(world.client) and one["process"]["comm"] == os.path.basename(first), one
    before = raised(world, "program")
    talk()
    connect_by_shell(world, world.client, OUTSIDE_IP[4], first)
    connect_by_shell(world, world.other, OUTSIDE_IP[4], first)
    last = new_one()
    wait_until(lambda: told_of(last), "the last one is told")
    assert raised(world, "program") == before + 1, told(world, "program")


def test_a_socket_that_listens_at_another_port_is_told(world):
    node, meant = world.nodes[0], [9000, "9100-9200"]
    put(world, "listener", newListener={"ports": meant}, rateLimitSeconds=1)

    def ports():
        return {one["destination"]["port"]: one for one in told(world, "listener")}
    with contextlib.ExitStack() as stack:
        def serve(where, what, ip, port):
            return stack.enter_context(Talker(node, where, what, ip, port))
        # Meant; reached by nobody else; no TCP; no pod's.
        for where, what, ip, port in ((world.client, "tcp-server", ANY_ADDRESS[4], 9000), (world.client, "tcp-server", ANY_ADDRESS[6], 9200),
                                      (world.client, "tcp-server", "127.0.0.1", 9301), (world.client, "tcp-server", "::1", 9302),
                                      (world.client, "udp-server", ANY_ADDRESS[4], 9303), (node, "tcp-server", ANY_ADDRESS[4], 9304)):
            serve(where, what, ip, port)
        for family in BOTH:
            for ip, port in ((ANY_ADDRESS[family], 9400 + family), (world.client.ips[family], 9500 + family)):
                server = serve(world.client, "tcp-server", ip, port)
                one = wait_until(lambda port=port: ports().get(port), f"port {port} is told")
                assert one["source"]["pod"] == str(world.client) and server.is_it(one["process"]), one
                assert one["destination"]["ip"] == ("::" if ip == ANY_ADDRESS[family] else ip), one
        unbound = serve(world.other, "tcp-unbound-server", ANY_ADDRESS[4], 0)
        one = wait_until(lambda: ports().get(unbound.port), "the one that was never bound is told")
        assert one["source"]["pod"] == str(world.other) and "process" not in one, one
        assert set(ports()) == {9404, 9406, 9504, 9506, unbound.port}, ports()

        # What was noted outlives polderd, which tells it anew.
        world.agent.kill()
        world.agent.start()
        wait_until(lambda: raised(world, "listener") == 5, "they are told again")
        put(world, "listener", newListener={"ports": ["1-9303", "9305-65535"], "nodes": True}, rateLimitSeconds=1)
        one = wait_until(lambda: ports().get(9304), "the node's own is told")
        assert (one["source"], one["destination"]["port"]) == ({"ip": one["source"]["ip"], "pod": ""}, 9304), one
        assert one["source"]["ip"] in node.ips.values(), one


def test_an_alert_that_is_wrong_is_refused_and_the_good_ones_stay(world):
    put(world, "good", scan={"targets": 5, "seconds": 60})
    world.resources.put("alert-bad", alert("bad", scan={"targets": 1, "seconds": 60}))
    wait_until(lambda: any("targets" in problem["path"] for problem in world.agent.ctl_json("status")["problems"]), "the status says why")
    assert "good" in rules(world) and "bad" not in rules(world)
