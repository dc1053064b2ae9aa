# SPDX-License-Identifier: Apache-2.0
"""flow-export: events as lines in a file or at a socket, bounded, with what was lost."""

import json
import os
import socket

from lib.objects import labels, policy
from lib.traffic import BOTH, V4, reach, wait_until

WORLD = {"nodes": 1}


def setup(world):
    world.n1 = world.nodes[0]
    world.file = os.path.join(world.workdir, "flows.jsonl")
    restart(world, flow_export=world.file, flow_export_rate="50")
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.serve(world.server, 8080)
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"))


def lines(world, name=""):
    with open(world.file + name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def denied(world, family=V4):
    reach(world.stranger, world.server.ips[family], 8080, timeout=0.05)


def restart(world, **options):
    world.n1.agent.stop()
    world.n1.agent.options.update({key.replace("_", "-"): value for key, value in options.items()})
    world.n1.agent.start()


def status(world):
    return world.n1.agent.ctl_json("status")["flow_export"]


def test_flows_and_drops_are_lines_in_the_file(world):
    assert os.stat(world.file).st_mode & 0o777 == 0o640
    for family in BOTH:
        address = world.server.ips[family]
        wait_until(lambda: world.expect((world.client, address, 8080, "open")) or [line for line in lines(world)
                   if line.get("type") == "flow" and line["destination"]["ip"] == address], "a flow is written")
        found = wait_until(lambda: denied(world, family) or [line for line in lines(world) if line.get("type") == "drop"
                           and line["destination"]["ip"] == address], "a drop is written")[0]
        assert found["source"]["pod"] == str(world.stranger) and found["reason"] == "policy_denied_ingress", found


def test_a_flood_is_bounded_and_what_is_left_out_is_counted(world):
    before = status(world)
    sender = world.stranger.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        for _ in range(2000):
            sender.sendto(b"x", (world.server.ips[V4], 9))
    after = wait_until(lambda: (now := status(world))["limited"] - before["limited"] > 1000 and now, "the rate limit is counted")
    assert after["lost"] == before["lost"], (before, after)
    wait_until(lambda: sum(line.get("lost", 0) for line in lines(world)) > 1000, "lines say what was left out")
    metrics = world.n1.agent.metrics()
    assert metrics["polder_flow_export_limited_total", ()] >= after["limited"], metrics


def test_a_file_that_was_moved_away_is_made_anew(world):
    os.rename(world.file, world.file + ".moved")
    wait_until(lambda: denied(world) or os.path.exists(world.file) and lines(world), "a new file is written")


def test_a_file_that_is_full_becomes_another(world):
    restart(world, flow_export_size="1", flow_export_rate="0")
    with open(world.file, "a", encoding="utf-8") as file:
        file.write(json.dumps({"filler": "x" * 1000000}) + "\n")
    wait_until(lambda: [denied(world) for _ in range(3)] and os.path.exists(world.file + ".1"), "the file is rotated", 60)
    assert any("filler" in line for line in lines(world, ".1"))
    wait_until(lambda: denied(world) or lines(world), "the new one is written")


def test_a_socket_gets_the_lines_and_its_absence_is_told(world):
    path = os.path.join(world.workdir, "flows.sock")
    restart(world, flow_export="unix:" + path)
    problem = wait_until(lambda: denied(world) or [one for one in world.n1.agent.ctl_json("status")["problems"]
                         if one["source"] == "flow-export"], "the problem is told")[0]
    assert path in problem["reason"] and "No such file" in problem["reason"], problem
    assert wait_until(lambda: denied(world) or status(world)["lost"], "lost events are counted") > 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(0.2)

        def accepted():
            denied(world)
            try:
                return listener.accept()[0]
            except socket.timeout:
                return None
        with wait_until(accepted, "polderd connects") as connection, connection.makefile() as reader:
            connection.settimeout(20)
            assert any("lost" in json.loads(reader.readline()) for _ in range(100)), "a line says what was lost"
    assert wait_until(lambda: not status(world)["error"] or denied(world), "the problem is over")
