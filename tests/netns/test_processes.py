# SPDX-License-Identifier: Apache-2.0
"""Who opened a flow is told: process, user, program file, container and pod; and only while that is wanted."""

import contextlib
import os
import socket
import sys

from lib import objects, strangers
from lib.config_file import ConfigFile
from lib.monitor import Monitor
from lib.netns import Namespace, run
from lib.processes import NODES_NUMBERS, Talker, pins
from lib.runner import each_family
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, V4, V6, Connection, reach, wait_until
from lib.world import OUTSIDE_IP

UID = "9c1f0a52-7b3e-4d18-8f60-2b9a7c5d4e31"
CONTAINER = "0a1b2c3d4e5f6071" * 4
HOSTILE = b"\x1b[2Jx\"\xff\n y"
KIND = {V4: "web4", V6: "web6"}
PORTS = {"tcp": 80, "udp": 53}


def setup(world):
    world.n1, world.agent = world.node, world.node.agent
    world.config = ConfigFile(world, processes=True)
    world.client, world.server = world.pod("client"), world.pod("server")
    world.serve(world.server, 8080)
    world.serve(world.server, 5353, "UDP")
    world.ips = {}
    for family, name in KIND.items():
        ips = world.service(name, 20 + family, [objects.service_port(80, 8080, name="http"),
                                                objects.service_port(53, 5353, "UDP", name="dns")])
        world.ips[family] = ips[family]
        world.resources.put(f"slice-{name}", objects.endpoint_slice(
            f"{name}-1", name, [objects.endpoint(world.server.ips[family])],
            [objects.slice_port(8080, name="http"), objects.slice_port(5353, "UDP", "dns")]))
    for family, ip in world.ips.items():
        wait_until(lambda to=ip: answers(world.client, to), f"the Service of IPv{family} answers")


def answers(where, ip, port=80):
    with contextlib.suppress(OSError), Connection(where, ip, port) as connection:
        return connection.ask()["server"]


def flows(world, proto, talker):
    family = "ipv6" if ":" in talker.target else "ipv4"
    return [flow for flow in world.agent.ctl_json("flow", "list", "--limit", "0", "--proto", proto)
            if (flow["source_port"], flow["family"]) == (talker.port, family) and not flow["reply"]]


def opened(world, talker, proto="tcp"):
    """The flow that the process has opened."""
    return wait_until(lambda: flows(world, proto, talker), lambda: f"the flow of port {talker.port}")[0]


def check(process, talker, uid=0, runs=True):
    """What is told of it is right; of one that runs the file is /proc's, where that has the node's numbers."""
    assert talker.is_it(process) and (process["uid"], process["gid"]) == (uid, uid and uid + 1), (process, talker.comm, talker.told)
    if runs and NODES_NUMBERS:
        assert process["executable"] == os.path.realpath(sys.executable), process
    else:
        assert os.path.basename(process["executable"]).startswith("python3"), process


@each_family
def test_a_pods_connections_are_its_processes(world, family):
    for what, proto in (("tcp", "tcp"), ("udp", "udp"), ("udp-connected", "udp")):
        for ip, port in ((world.ips[family], PORTS[proto]), (world.server.ips[family], {"tcp": 8080, "udp": 5353}[proto])):
            with Talker(world.n1, world.client, what, ip, port, comm=b"asker", uid=1234) as talker:
                flow = opened(world, talker.answered(), proto)
                check(flow["source_process"], talker, uid=1234)
                assert flow["source_process"]["comm"] == "asker", flow


@each_family
def test_the_nodes_own_are_too_though_their_sockets_are_translated(world, family):
    for what, proto in (("tcp", "tcp"), ("udp", "udp"), ("udp-connected", "udp")):
        for ip, port in ((world.ips[family], PORTS[proto]), (world.server.ips[family], {"tcp": 8080, "udp": 5353}[proto])):
            with Talker(world.n1, world.n1, what, ip, port) as talker:
                check(opened(world, talker.answered(), proto)["source_process"], talker)


@each_family
def test_a_connected_socket_that_is_silent_at_first_is_known_when_it_speaks(world, family):
    with Talker(world.n1, world.client, "udp-connected", world.server.ips[family], 5353, "wait") as talker:
        assert not flows(world, "udp", talker)
        talker.go_on()
        assert talker.read()["port"] == talker.port
        check(opened(world, talker.answered(), "udp")["source_process"], talker)


@each_family
def test_who_answers_is_told_at_both_directions(world, family):
    for where in (world.server, world.n1):
        ip = (world.server if where is world.server else world.n1).ips[family]
        for proto in ("tcp", "udp"):
            with Talker(world.n1, where, f"{proto}-server", ANY_ADDRESS[family], 9090, comm=b"answerer") as server, \
                 Talker(world.n1, world.client, proto, ip, 9090) as client:
                flow = opened(world, client, proto)
                check(flow["source_process"], client)
                check(flow["destination_process"], server)
                assert flow["destination_process"]["comm"] == "answerer", flow
    with Talker(world.n1, world.server, "tcp-server", world.server.ips[family], 9091) as server:
        assert reach(world.client, world.server.ips[family], 9091, timeout=0.3)
        found = wait_until(lambda: [flow for flow in world.agent.ctl_json("flow", "list", "--limit", "0", "--port", "9091", "--ip", world.server.ips[family])
                                    if flow["reply"]], "the flow of the answers")[0]
        check(found["source_process"], server)


@each_family
def test_of_two_that_had_a_port_the_later_one_is_told(world, family):
    ip = world.server.ips[family]
    for address in (ip, ANY_ADDRESS[family], ip):
        for proto in ("tcp", "udp"):
            with Talker(world.n1, world.server, f"{proto}-server", address, 9093) as server, \
                 Talker(world.n1, world.client, proto, ip, 9093) as client:
                check(opened(world, client, proto)["destination_process"], server)


def test_of_a_process_that_has_ended_what_was_noted_is_told(world):
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080, comm=b"brief") as talker:
        opened(world, talker.answered())
    check(opened(world, talker)["source_process"], talker, runs=False)


def test_one_that_was_made_without_a_file_of_its_own_has_its_parents(world):
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080, "fork") as talker:
        opened(world, talker.answered())
    check(opened(world, talker)["source_process"], talker, runs=False)


def test_a_kill_of_the_agent_loses_nothing(world):
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as before:
        before.answered()
        world.agent.kill()
        with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as between:
            between.answered()
            world.agent.start()
            for talker in (before, between):
                check(opened(world, talker)["source_process"], talker)
        with Talker(world.n1, world.client, "udp-connected", world.server.ips[V6], 5353) as after:
            check(opened(world, after.answered(), "udp")["source_process"], after)


def test_the_cgroup_tells_container_and_pod(world):
    pod = objects.pod("proxy", "system", node_name=world.n1.name, ips=[world.n1.ips[V4]], host_network=True)
    pod["metadata"]["uid"] = UID
    world.resources.put("pod-proxy", pod)
    cgroup = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope"
    with Talker(world.n1, world.n1, "tcp", world.server.ips[V4], 8080, cgroup=cgroup) as talker:
        talker.answered()

        def named():
            # The file is read a moment later.
            process = opened(world, talker)["source_process"]
            return process if "pod" in process else None
        process = wait_until(named, "the pod's name")
        assert process["pod"] == "system/proxy" and process["container"] == CONTAINER, process
        assert process["cgroup"] == "/" + cgroup, process
    # Its cgroup is gone by now.
    assert opened(world, talker)["source_process"]["pod"] == "system/proxy"


def test_a_hostile_name_is_harmless_and_nothing_is_made_of_it(world):
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080, comm=HOSTILE) as talker:
        flow = opened(world, talker.answered())
        assert flow["source_process"]["comm"] == HOSTILE.decode(errors="replace"), flow
        line = next(line for line in world.agent.ctl("flow", "list", "-o", "wide", "--limit", "0").stdout.splitlines() if f"pid {flow['source_process']['pid']} " in line)
        assert "\x1b" not in line and "\\x1b[2Jx\\\"" in line and "\\x0a" in line, line


def test_events_have_the_process_of_what_is_opened_and_of_what_is_dropped(world):
    world.resources.put("deny", objects.policy("closed", objects.labels(app="closed"), policyTypes=["Ingress"], ingress=[]))
    closed = world.pod("closed", labels={"app": "closed"})
    world.policies_in_force()
    with Monitor(world.agent) as monitor:
        def event(what, talker):
            return monitor.wait(lambda e: e.get("type") == what and e["source"]["port"] == talker.port)[0]
        wait_until(lambda: answers(world.client, world.ips[V4]) and monitor.events(), "the monitor listens")
        with Talker(world.n1, world.server, "tcp-server", ANY_ADDRESS[V4], 9092) as server, \
             Talker(world.n1, world.client, "tcp", world.server.ips[V4], 9092) as talker:
            found = event("flow", talker)
            check(found["source"]["process"], talker)
            check(found["destination"]["process"], server)
        with Talker(world.n1, world.client, "udp", closed.ips[V4], 53) as talker:
            check(event("drop", talker)["source"]["process"], talker)


@each_family
def test_flows_and_events_are_filtered_by_process_and_user(world, family):
    def listed(talker, *words):
        return [flow for flow in world.agent.ctl_json("flow", "list", "--limit", "10000", *words) if flow["source_port"] == talker.port]
    with Monitor(world.agent, "--flows", "--process", "wanted", "--uid", "1234") as monitor:
        # Somebody who is let through says that it listens.
        def speak():
            with Talker(world.n1, world.client, "tcp", world.server.ips[family], 8080, comm=b"wanted", uid=1234) as one:
                one.answered()
        monitor.wait(lambda event: event.get("type") == "flow", speak)
        with Talker(world.n1, world.client, "tcp", world.server.ips[family], 8080, comm=b"wanted", uid=4321) as other, \
             Talker(world.n1, world.client, "tcp", world.server.ips[family], 8080, comm=b"wanted", uid=1234) as talker:
            opened(world, other.answered())
            file = os.path.basename(opened(world, talker.answered())["source_process"]["executable"])
            monitor.wait(lambda event: event.get("type") == "flow" and event["source"]["port"] == talker.port)
            assert all(event["source"]["process"]["uid"] == 1234 for event in monitor.events() if event.get("type") == "flow"), monitor.events()
            for words in (["--process", "wanted"], ["--uid", "1234"], ["--process", "wanted", "--uid", "1234"], ["--process", file],
                          ["--process", "none", "--process", "wanted", "--sort", "bytes"], ["--process", "wanted", "--since", "1h"]):
                assert listed(talker, *words), words
            for words in (["--process", "none"], ["--uid", "4321"], ["--process", "none", "--uid", "1234"]):
                assert not listed(talker, *words), words
            assert not listed(other, "--process", "wanted", "--uid", "1234") and listed(other, "--uid", "4321")
    with Monitor(world.agent, "--flows", "--process", "wanted", "--uid", "4321", "--last", "1000") as monitor:
        monitor.wait(lambda event: event.get("type") == "flow" and event["source"]["port"] == other.port)
        assert all(event["source"]["process"]["uid"] == 4321 for event in monitor.events() if event.get("type") == "flow"), monitor.events()


def test_an_event_of_before_is_not_a_later_processes(world):
    with Monitor(world.agent, "--flows", "--port", "9095") as monitor:
        wait_until(lambda: reach(world.client, world.server.ips[V4], 9095, timeout=0.1) and monitor.events(), "an event")
    with Talker(world.n1, world.server, "tcp-server", ANY_ADDRESS[V4], 9095):
        with Monitor(world.agent, "--flows", "--port", "9095", "--last", "1000") as monitor:
            monitor.wait(lambda event: "reason" in event)
            past = len(monitor.events())
            monitor.wait(lambda event: "process" in event["destination"], lambda: answers(world.client, world.server.ips[V4], 9095))
            assert all("process" not in event["destination"] for event in monitor.events()[:past])


@each_family
def test_of_an_end_that_is_not_of_this_node_nothing_is_said(world, family):
    # The node has a process at this port, and the outside another.
    with Talker(world.n1, world.n1, "udp-server", ANY_ADDRESS[family], 9094), \
         Talker(world.n1, world.client, "udp", OUTSIDE_IP[family], 9094) as client:
        flow = opened(world, client, "udp")
        check(flow["source_process"], client)
        assert "destination_process" not in flow, flow


@each_family
def test_an_address_that_somebody_gives_himself_is_not_the_pods(world, family):
    """Whoever may make network namespaces has any address in one of his own."""
    own = Namespace("own", world.unique, world.n1.factory)
    try:
        width = {V4: 32, V6: 128}[family]
        own.sysctl(**{"net/ipv6/conf/all/accept_dad": 0})
        own.ip("link set lo up", f"addr add {world.client.ips[family]}/{width} dev lo",
               f"addr add {world.server.ips[family]}/{width} dev lo")
        with Talker(world.n1, world.client, "udp", world.server.ips[family], 5353) as talker:
            flow = opened(world, talker.answered(), "udp")
            with contextlib.closing(own.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)) as sock:
                sock.bind((world.client.ips[family], talker.port))
                sock.sendto(b"x", (world.server.ips[family], 5353))
                assert opened(world, talker, "udp")["source_process"] == flow["source_process"]
    finally:
        own.delete()


def programs(world):
    return run(["bpftool", "cgroup", "show", world.n1.cgroup]).stdout + run(["bpftool", "link", "show"]).stdout


def test_off_it_leaves_nothing_and_on_again_it_begins_anew(world):
    assert len(pins(world.n1)) == 10, pins(world.n1)
    assert "process_tcp" in programs(world)
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as talker:
        check(opened(world, talker.answered())["source_process"], talker)
        world.config.reload("processes: false instead of true", processes=False)
        assert pins(world.n1) == [] and "process_" not in run(["bpftool", "cgroup", "show", world.n1.cgroup]).stdout
        assert "source_process" not in opened(world, talker)
        for words in (["flow", "list", "--uid", "0"], ["monitor", "--process", "curl"], ["drop", "list", "--kernel", "--for", "1s", "--uid", "0"]):
            done = world.agent.ctl(*words, check=False)
            assert done.returncode == 1 and '"processes": true' in done.stderr, done
        world.config.reload("processes: true instead of false", processes=True)
        assert "source_process" not in opened(world, talker)
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as talker:
        check(opened(world, talker.answered())["source_process"], talker)


def test_a_start_without_it_takes_the_programs_of_an_earlier_agent_away(world):
    world.agent.kill()
    world.config.write(processes=False)
    world.agent.start()
    assert pins(world.n1) == []
    world.config.reload("processes: true instead of false", processes=True)
    assert len(pins(world.n1)) == 10


def test_programs_that_somebody_detached_are_attached_again(world):
    for name in ("process_tcp", "process_exec"):
        os.unlink(os.path.join(world.n1.bpffs, "v7", "links", name))
    wait_until(lambda: len(pins(world.n1)) == 10, "they are pinned again")
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as talker:
        check(opened(world, talker.answered())["source_process"], talker)


def feature(world):
    found, = [f for f in world.agent.ctl_json("status")["features"] if f["name"] == "processes"]
    return found


def test_where_another_program_stands_alone_the_status_says_why_and_none_is_left(world):
    assert feature(world) == {"name": "processes", "available": True, "note": ""}
    world.agent.stop()
    for name in pins(world.n1):
        os.unlink(os.path.join(world.n1.bpffs, "v7", "links", name))
    wait_until(lambda: "process_" not in run(["bpftool", "cgroup", "show", world.n1.cgroup]).stdout, "they are detached")
    with strangers.at_cgroup(world.n1.cgroup, 0, "stranger_ops", strangers.SOCK_OPS_HOOK):
        world.agent.start()
        assert not feature(world)["available"] and world.n1.cgroup in feature(world)["note"], feature(world)
        assert pins(world.n1) == []
        with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as talker:
            assert "source_process" not in opened(world, talker.answered())
    wait_until(lambda: feature(world)["available"], "they are attached again")
    with Talker(world.n1, world.client, "tcp", world.server.ips[V4], 8080) as talker:
        check(opened(world, talker.answered())["source_process"], talker)


def test_a_value_that_is_neither_changes_nothing(world):
    world.config.reload("everything stays as it is", processes="sometimes")
    assert len(pins(world.n1)) == 10
    world.config.write(processes=True)
