# SPDX-License-Identifier: Apache-2.0
"""kubectl polder connectivity: its pods on two nodes, its table, and that nothing of it stays."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

from lib import objects
from lib.agent import POLDERCTL
from lib.kubectl import Controllers, Kubectl, agent_pod
from lib.objects import labels, policy
from lib.runner import Skip, limit
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}
LASTS = 60
NAMESPACE = "polder-connectivity"


def setup(world):
    world.kubectl = Kubectl(world)
    world.controllers = Controllers(world, world.kubectl)
    world.resources.put("namespaces", objects.namespace("kube-system"))
    world.dns = world.pod("dns", "kube-system", world.nodes[1], labels={"k8s-app": "kube-dns"})
    serve_dns(world.dns)
    ips = world.service("kube-dns", 40, [objects.service_port(53, 53, proto="UDP", name="dns")],
                        selector={"k8s-app": "kube-dns"}, ns="kube-system")
    world.kubectl.server.services.append({
        "apiVersion": "v1", "kind": "Service", "spec": {"clusterIPs": list(ips.values())},
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}})


def serve_dns(pod):
    """Says of every name that there is none."""
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        server = pod.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((any_address, 53))

        def answer(server=server):
            while True:
                data, sender = server.recvfrom(2048)
                server.sendto(data[:2] + b"\x81\x83" + data[4:], sender)
        threading.Thread(target=answer, daemon=True).start()


def connectivity(world, *args, after=None, timeout=90):
    """Runs it, and what the cluster does meanwhile. `after(process)` is called between two changes."""
    if not world.kubectl.real:
        raise Skip("no kubectl: deploy/install-deps test")
    kept = list(world.kubectl.server.services)
    path = os.path.join(world.workdir, "connectivity")
    process = world.kubectl.start(path, "connectivity", *args)
    deadline = time.monotonic() + timeout
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            world.controllers.work(0.1)
            if after:
                after(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
            world.controllers.remove_all()
            world.kubectl.server.namespaces.clear()
        world.kubectl.server.services[:] = kept
    with open(path, encoding="utf-8") as file:
        return process.returncode, file.read()


def is_gone(world):
    server = world.kubectl.server
    assert not server.namespaces and not server.networkpolicies, (server.namespaces, server.networkpolicies)
    assert all(pod["metadata"]["namespace"] != NAMESPACE for pod in server.pods)
    assert all(service["metadata"]["namespace"] != NAMESPACE for service in server.services)


def outcome(world, *args, **options):
    status, text = connectivity(world, *args, "-o", "json", **options)
    start = text.index("[")
    return status, json.loads(text[start:text.rindex("]") + 1])


@limit(120)
def test_all_is_as_expected_on_two_nodes_and_nothing_stays(world):
    world.serve(world.outside, 8443)
    status, rows = outcome(world, "--outside", f"{OUTSIDE_IP[4]}:8443")
    assert status == 0, [row for row in rows if not row["ok"]]
    seen = {(row["policy"], row["family"], row["from"], row["to"], row["what"]) for row in rows}
    assert ("no policy", "IPv4", "client", f"{OUTSIDE_IP[4]}:8443", "tcp") in seen
    for family in ("IPv4", "IPv6"):
        for to in ("near", "far", "Service near", "Service far"):
            for what in ("tcp", "udp"):
                assert ("no policy", family, "client", to, what) in seen
                assert ("ingress policy", family, "stranger", to, what) in seen
        assert ("egress policy", family, "client", "far", "tcp") in seen
        assert ("no policy", family, "client", "cluster DNS", "dns") in seen
        assert ("no policy", family, "client", "far", "udp, sizes around the MTU") in seen
        assert {("no policy", family, "client", f"node node{number}", "tcp") for number in (1, 2)} <= seen
    denied = [row for row in rows if row["expected"] == "denied"]
    assert len(denied) == 24 and all(row["result"] != "answered" for row in denied), denied
    is_gone(world)


@limit(120)
def test_one_node_is_enough_for_what_can_be_tried_there(world):
    server = world.kubectl.server
    kept = list(server.pods)
    server.pods[1] = agent_pod("node2", phase="Pending")
    try:
        status, text = connectivity(world)
    finally:
        server.pods[:] = kept
    assert status == 0 and "only node node1 has a running agent" in text and " far " not in text, text
    assert text.rstrip().endswith("as expected"), text
    is_gone(world)


@limit(120)
def test_what_does_not_hold_is_told(world):
    """A policy of somebody else's keeps the far pod's traffic away."""
    world.resources.put("somebody", policy("closed", labels(**{"polder.dev/connectivity": "far"}), NAMESPACE))
    try:
        status, text = connectivity(world, timeout=110)
    finally:
        world.resources.delete("somebody")
    assert status == 1, text
    wrong = [line.split() for line in text.splitlines() if " NO " in line]
    assert wrong and all("far" in line for line in wrong), text
    is_gone(world)


@limit(120)
def test_an_interrupted_test_removes_what_it_made(world):
    for number, when in ((signal.SIGINT, "pods"), (signal.SIGTERM, "networkpolicies")):
        sent = []

        def interrupt(process, when=when, number=number, sent=sent):
            made = [item for item in getattr(world.kubectl.server, when) if item["metadata"]["namespace"] == NAMESPACE]
            if made and not sent:
                sent.append(made)
                process.send_signal(number)
        status, text = connectivity(world, after=interrupt)
        assert sent and status == 1 and "interrupted" in text, text
        is_gone(world)


def test_a_namespace_of_another_run_is_left_alone_unless_forced(world):
    server = world.kubectl.server
    server.namespaces.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        status, text = connectivity(world)
        assert status == 1 and "already exists" in text and "--force" in text, text
        assert len(server.namespaces) == 1
        server.forbidden.add("services")  # ends it early
        status, text = connectivity(world, "--force")
        assert status == 1 and "forbidden" in text, text
        is_gone(world)
    finally:
        server.forbidden.clear()
        server.namespaces.clear()


def test_probes_tell_damage_silence_and_refusal_apart(world):
    pod = world.pod("probed", "kube-system")

    def probe(*args):
        done = subprocess.run(pod.netns.command(POLDERCTL, "connectivity", "probe", "--to", "127.0.0.1", *args),
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout)["result"], done.returncode

    assert probe("--port", "8081") == ("refused", 1)
    assert probe("--port", "8081", "--proto", "udp") == ("refused", 1)
    silent = pod.socket(socket.AF_INET, socket.SOCK_STREAM)
    wrong = pod.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with silent, wrong:
        silent.bind(("127.0.0.1", 8082))
        silent.listen()
        assert probe("--port", "8082") == ("no answer", 1)
        assert probe("--port", "8082", "--size", "0") == ("answered", 0)
        wrong.bind(("127.0.0.1", 8083))

        def spoil():
            data, sender = wrong.recvfrom(2048)
            wrong.sendto(data[:-1] + bytes([data[-1] ^ 1]), sender)
        spoiler = threading.Thread(target=spoil, daemon=True)
        spoiler.start()
        assert probe("--port", "8083", "--proto", "udp") == ("damaged", 1)
        spoiler.join(5)
