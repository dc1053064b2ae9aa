# SPDX-License-Identifier: Apache-2.0
"""Connections of pods, Services and the node are measured, and only while that is wanted."""

import contextlib
import json
import os
import signal
import socket
import struct
import time

from lib import objects, strangers
from lib.netns import run
from lib.runner import each_family
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, V4, V6, Connection, wait_until

SLOW = 0.3
KIND = {V4: "web4", V6: "web6"}


def setup(world):
    world.n1, world.agent = world.node, world.node.agent
    world.file = os.path.join(world.workdir, "polderd.json")
    want(world, True)
    world.agent.options["config"] = world.file
    world.agent.restart()
    world.n1.before = world.n1.ruler()
    world.client, world.server = world.pod("client"), world.pod("server")
    world.serve(world.server, 8080)
    world.ips = {}
    for family, name in KIND.items():
        ips = world.service(name, 20 + family, [objects.service_port(80, 8080, name="http"),
                                                objects.service_port(90, 9090, name="slow")])
        world.ips[family] = ips[family]
        world.resources.put(f"slice-{name}", objects.endpoint_slice(
            f"{name}-1", name, [objects.endpoint(world.server.ips[family])],
            [objects.slice_port(8080, name="http"), objects.slice_port(9090, name="slow")]))
    for family, ip in world.ips.items():
        wait_until(lambda to=ip: answers(world.client, to), f"the Service of IPv{family} answers")


def want(world, wanted):
    with open(world.file, "w", encoding="utf-8") as file:
        json.dump({"latency": wanted}, file)


def reload(world, word):
    before = len(world.agent.log())
    os.kill(world.agent.process.pid, signal.SIGHUP)
    wait_until(lambda: word in world.agent.log()[before:], lambda: f"{word} in {world.agent.log()[before:]}")


def answers(where, ip, port=80):
    with contextlib.suppress(OSError), Connection(where, ip, port) as connection:
        return connection.ask()["server"]


def row(world, kind, name="", port=0):
    rows = [r for r in world.agent.ctl_json("latency")
            if (r["kind"], r["name"], r["port"]) == (kind, name, port)]
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def number(world, what, *key):
    found = row(world, *key)
    if not found:
        return 0
    return found[what] if isinstance(found[what], int) else found[what]["count"]


def grown(world, before, what, *key, by=1):
    wait_until(lambda: number(world, what, *key) >= before + by, lambda: f"{what} of {key}: {row(world, *key)}, {before} before")


@contextlib.contextmanager
def listener(world, family, port):
    with world.server.socket(SOCKET_FAMILY[family], socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ANY_ADDRESS[family], port))
        sock.listen(4)
        sock.settimeout(10)
        yield sock


@contextlib.contextmanager
def pair(world, family, port=9090, where=None, ip=None):
    """A connection of the client, or of somebody else, to the server; both ends."""
    with listener(world, family, port) as sock:
        with Connection(where or world.client, ip or world.server.ips[family], port) as client:
            peer, _ = sock.accept()
            peer.settimeout(10)
            with peer:
                yield client.sock, peer


def ask_slowly(client, peer):
    client.sendall(b"question\n")
    assert peer.recv(100)
    time.sleep(SLOW)  # the slow peer
    peer.sendall(b"answer\n")
    assert client.recv(100)


def tail(world, what, *key):
    """How many took at least as long as the slow peer, by the buckets that begin there."""
    found = row(world, *key)
    ends = [b["most_us"] or float("inf") for b in found[what]["buckets"] for _ in range(b["count"])] if found else []
    return sum(end >= SLOW * 1e6 for end in ends)


@each_family
def test_a_slow_server_is_seen_by_the_client_its_service_and_the_server(world, family):
    service = ("service", KIND[family], 90)
    before = [tail(world, "first_byte", "pod", "client"), tail(world, "first_byte", *service), tail(world, "answer", "pod", "server")]
    with listener(world, family, 9090) as sock:
        with Connection(world.client, world.ips[family], 90) as client:
            peer, _ = sock.accept()
            with peer:
                ask_slowly(client.sock, peer)
                ask_slowly(client.sock, peer)  # of a connection the first request is measured
    after = [tail(world, "first_byte", "pod", "client"), tail(world, "first_byte", *service), tail(world, "answer", "pod", "server")]
    assert [b - a for a, b in zip(before, after)] == [1, 1, 1], (before, after)
    measured = row(world, *service)
    assert measured["connect"]["count"] >= 1 and measured["round_trip"]["count"] >= 1, measured
    assert measured["namespace"] == "default" and measured["first_byte"]["p99_us"] >= SLOW * 1e6 / 2, measured


@each_family
def test_a_server_that_speaks_first_has_answered_nothing(world, family):
    before = number(world, "answer", "pod", "server")
    with pair(world, family) as (client, peer):
        peer.sendall(b"220 ready\n")
        assert client.recv(100)
    assert number(world, "answer", "pod", "server") == before


@each_family
def test_the_end_of_a_stream_is_neither_a_request_nor_an_answer(world, family):
    ends = ("first_byte", "pod", "client"), ("answer", "pod", "server")
    before = [number(world, *end) for end in ends]
    with pair(world, family) as (client, peer):
        client.sendall(b"question\n")
        assert peer.recv(100)
        peer.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
        client.sendall(b"and?\n")
        assert peer.recv(100)
    with pair(world, family) as (client, peer):
        client.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b""
        peer.sendall(b"nobody asked\n")
        assert client.recv(100)
    assert [number(world, *end) for end in ends] == before


@each_family
def test_of_a_stream_round_trips_are_taken_though_nobody_answers(world, family):
    before = number(world, "round_trip", "pod", "client"), number(world, "first_byte", "pod", "client")
    with pair(world, family) as (client, peer):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def taken():
            for _ in range(300):
                client.sendall(b"x")
                assert peer.recv(100)
            # The handshake's is the first.
            return number(world, "round_trip", "pod", "client") >= before[0] + 3
        wait_until(taken, "round trips of the stream")
        peer.sendall(b"late")
        assert client.recv(100)
    assert number(world, "first_byte", "pod", "client") == before[1]


@each_family
def test_sockets_of_the_node_are_the_nodes_and_their_services(world, family):
    service = ("service", KIND[family], 80)
    before = number(world, "connect", "node"), number(world, "connect", *service)
    assert answers(world.n1, world.ips[family])
    grown(world, before[0], "connect", "node")
    grown(world, before[1], "connect", *service)
    assert row(world, "node")["namespace"] == ""


def test_both_families_of_a_service_are_one(world):
    ips = world.service("both", 31, [objects.service_port(80, 8080)])
    for family, ip in ips.items():
        world.resources.put(f"slice-both-{family}", objects.endpoint_slice(
            f"both-{family}", "both", [objects.endpoint(world.server.ips[family])], [objects.slice_port(8080)]))
        wait_until(lambda to=ip: answers(world.client, to), f"the Service of IPv{family} answers")
    before = row(world, "service", "both", 80)["connect"]["count"]
    for ip in ips.values():
        assert answers(world.client, ip)
    assert number(world, "connect", "service", "both", 80) == before + len(ips)
    lines = [line.split(" ")[0] for line in world.agent.metrics_text().splitlines() if 'name="both"' in line]
    assert lines and len(lines) == len(set(lines)), lines


def test_an_ipv6_socket_that_speaks_ipv4_is_measured_as_any(world):
    key = ("service", KIND[V4], 80)
    before = number(world, "connect", *key), number(world, "first_byte", "pod", "client")
    with world.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(("::ffff:" + world.ips[V4], 80))
        sock.sendall(b"who\n")
        assert b"server" in sock.recv(4096)
    grown(world, before[0], "connect", *key)
    grown(world, before[1], "first_byte", "pod", "client")


@each_family
def test_what_never_leaves_its_namespace_is_not_measured(world, family):
    loopback = {V4: "127.0.0.1", V6: "::1"}[family]
    before = number(world, "connect", "pod", "server")
    assert answers(world.server, loopback, 8080)
    assert number(world, "connect", "pod", "server") == before


@each_family
def test_resets_are_of_both_ends(world, family):
    before = [number(world, "resets", "pod", name) for name in ("client", "server")]
    with pair(world, family) as (client, peer):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with contextlib.suppress(ConnectionResetError):
            peer.recv(1)
    for count, name in zip(before, ("client", "server")):
        grown(world, count, "resets", "pod", name)


@each_family
def test_an_orderly_end_is_no_reset_and_a_refusal_no_timeout(world, family):
    key = ("pod", "client")
    before = {what: number(world, what, *key) for what in ("resets", "failed", "timeouts")}
    assert answers(world.client, world.ips[family])
    with contextlib.suppress(ConnectionRefusedError), Connection(world.client, world.server.ips[family], 7777):
        raise AssertionError("somebody listens")
    grown(world, before["failed"], "failed", *key)
    assert number(world, "resets", *key) == before["resets"]
    assert number(world, "timeouts", *key) == before["timeouts"]


@contextlib.contextmanager
def unheard(world, family):
    """Nothing that the server says arrives at the client."""
    route = f"blackhole {world.client.ips[family]}"
    world.server.netns.ip(f"route add {route}")
    try:
        yield
    finally:
        world.server.netns.ip(f"route del {route}")


@each_family
def test_segments_that_are_lost_are_counted_when_they_are_sent_again(world, family):
    before = number(world, "retransmitted", "pod", "client")
    with pair(world, family) as (client, peer):
        with unheard(world, family):
            client.sendall(b"lost\n")
            grown(world, before, "retransmitted", "pod", "client")
        assert peer.recv(100) == b"lost\n"


@each_family
def test_a_peer_that_went_silent_is_a_timeout_and_no_reset(world, family):
    key = ("pod", "client")
    before = {what: number(world, what, *key) for what in ("resets", "timeouts")}
    with pair(world, family) as (client, _), unheard(world, family):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
        client.sendall(b"lost\n")
        grown(world, before["timeouts"], "timeouts", *key)
    assert number(world, "resets", *key) == before["resets"]


def test_a_kill_of_the_agent_loses_nothing(world):
    key = ("service", KIND[V4], 80)
    assert answers(world.client, world.ips[V4])
    before = row(world, *key)
    with Connection(world.client, world.ips[V4], 80) as connection:
        world.agent.kill()
        assert answers(world.client, world.ips[V4])
        world.agent.start()
        after = row(world, *key)
        assert after["connect"]["count"] == before["connect"]["count"] + 2, (before, after)
        # One that was connected before is followed by the new program.
        assert connection.ask()["server"] == "server"
        grown(world, after["first_byte"]["count"], "first_byte", *key)


def test_a_pod_that_went_is_forgotten(world):
    pod = world.pod("brief")
    assert answers(pod, world.ips[V4])
    grown(world, 0, "connect", "pod", "brief")
    pod.delete()
    wait_until(lambda: row(world, "pod", "brief") is None, "its row is gone")


def test_the_command_shows_one_or_all_and_names_what_it_cannot_find(world):
    assert answers(world.client, world.ips[V4])
    table = world.agent.ctl("latency").stdout
    assert "default/web4:80" in table and "default/client" in table, table
    names = world.agent.ctl("latency", "-o", "name").stdout.split()
    assert {"latency/service/default/web4:80", "latency/pod/default/client"} <= set(names), names
    one = world.agent.ctl("latency", "default/web4:80").stdout
    assert one.startswith("Service default/web4:80\n") and "Connect: " in one and "#" in one, one
    assert world.agent.ctl("latency", "web4:80", "-o", "name").stdout == "latency/service/default/web4:80\n"
    assert [r["port"] for r in world.agent.ctl_json("latency", "web4:80")] == [80]
    missing = world.agent.ctl("latency", "default/nobody", check=False)
    assert missing.returncode == 1 and "default/nobody: no connection" in missing.stderr, missing
    for bad in ("a/b/c", "/x", "x/", "web4:", "web4:0", "web4:65536", "web4:8x"):
        refused = world.agent.ctl("latency", bad, check=False)
        assert refused.returncode == 2 and "is required" in refused.stderr, (bad, refused)


def test_metrics_are_histograms_of_pods_and_services(world):
    assert answers(world.client, world.ips[V4])
    metrics = world.agent.metrics()
    labels = tuple(sorted({"kind": "service", "namespace": "default", "name": KIND[V4], "port": "80"}.items()))
    assert metrics["polder_tcp_connect_seconds_count", labels] >= 1
    assert metrics["polder_tcp_connect_seconds_bucket", tuple(sorted(labels + (("le", "+Inf"),)))] == metrics["polder_tcp_connect_seconds_count", labels]
    assert metrics["polder_tcp_unmeasured_total", ()] == 0
    assert ("polder_tcp_resets_total", labels) in metrics


def programs(world):
    return run(["bpftool", "cgroup", "show", world.n1.cgroup]).stdout


def test_off_it_leaves_nothing_and_on_again_it_begins_anew(world):
    assert answers(world.client, world.ips[V4])
    assert "latency" in programs(world)
    pin = os.path.join(world.n1.bpffs, "v7", "links", "latency")
    assert os.path.exists(pin)
    want(world, False)
    reload(world, "latency: false instead of true")
    assert "latency" not in programs(world) and not os.path.exists(pin)
    assert answers(world.client, world.ips[V4])
    refused = world.agent.ctl("latency", check=False)
    assert refused.returncode == 1 and "set latency to true" in refused.stderr, refused
    assert not any(name.startswith("polder_tcp_") for name, _ in world.agent.metrics())
    want(world, True)
    reload(world, "latency: true instead of false")
    assert number(world, "connect", "pod", "client") == 0
    assert answers(world.client, world.ips[V4])
    grown(world, 0, "connect", "pod", "client")


def test_a_start_without_it_takes_the_program_of_an_earlier_agent_away(world):
    assert "latency" in programs(world)
    world.agent.kill()
    want(world, False)
    world.agent.start()
    assert "latency" not in programs(world)
    want(world, True)
    reload(world, "latency: true instead of false")
    assert "latency" in programs(world)


def test_a_program_that_somebody_detached_is_attached_again(world):
    os.unlink(os.path.join(world.n1.bpffs, "v7", "links", "latency"))
    wait_until(lambda: os.path.exists(os.path.join(world.n1.bpffs, "v7", "links", "latency")), "it is pinned again")
    assert answers(world.client, world.ips[V4])


def feature(world):
    found, = [f for f in world.agent.ctl_json("status")["features"] if f["name"] == "latency"]
    return found


def test_where_another_program_stands_alone_the_status_says_why_and_it_is_tried_again(world):
    assert feature(world)["available"]
    world.agent.stop()
    os.unlink(os.path.join(world.n1.bpffs, "v7", "links", "latency"))
    wait_until(lambda: "latency" not in programs(world), "it is detached")
    with strangers.at_cgroup(world.n1.cgroup, 0, "stranger_ops", strangers.SOCK_OPS_HOOK):
        world.agent.start()
        assert not feature(world)["available"] and world.n1.cgroup in feature(world)["note"], feature(world)
        refused = world.agent.ctl("latency", check=False)
        assert refused.returncode == 1 and "polderctl status" in refused.stderr, refused
        assert answers(world.client, world.ips[V4])
    wait_until(lambda: feature(world)["available"], "it is attached again")
    assert answers(world.client, world.ips[V4])
    grown(world, 0, "connect", "pod", "client")


def test_a_value_that_is_neither_changes_nothing(world):
    with open(world.file, "w", encoding="utf-8") as file:
        json.dump({"latency": "sometimes"}, file)
    reload(world, "everything stays as it is")
    assert "latency" in programs(world)
    want(world, True)
