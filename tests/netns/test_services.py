# SPDX-License-Identifier: Apache-2.0
"""ClusterIP Services from pods and from the node: balancing, refusal, live changes, hairpin, endpoints of each kind."""

import socket

from lib import objects
from lib.busy import Clock
from lib.runner import each_family
from lib.traffic import (V4, V6, Capture, Connection, Probe, UdpClient, ping, reach, run_probes,
                         wait_until)
from lib.world import FAR_IP

WORLD = {"nodes": 2}
WEB = {"app": "web"}
WEB_PORTS = (("http", 8080, "TCP"), ("dns", 5353, "UDP"))


def setup(world):
    world.n1, world.n2 = world.nodes
    world.client = world.pod("client")
    world.web = [world.pod("web1", labels=WEB, ports=WEB_PORTS),
                 world.pod("web2", labels=WEB, ports=WEB_PORTS),
                 world.pod("web3", labels=WEB, ports=WEB_PORTS, node=world.n2)]
    for pod in world.web:
        world.serve(pod, 8080)
        world.serve(pod, 5353, "UDP")
    world.serve(world.far, 8080)
    world.serve(world.far, 5353, "UDP")
    world.vip = world.service("web", 1, both(80, 53), WEB)


def both(tcp, udp):
    return [objects.service_port(tcp, 8080, name="http"),
            objects.service_port(udp, 5353, "UDP", name="dns")]


def slices(world, name, number, pods_or_ips, family, tcp=8080, udp=5353, **conditions):
    """A Service without selector and one slice with these endpoints."""
    ips = world.service(name, number, both(80, 53))
    set_slice(world, name, pods_or_ips, family, tcp, udp, **conditions)
    return ips[family]


def set_slice(world, name, pods_or_ips, family, tcp=8080, udp=5353, **conditions):
    endpoints = [objects.endpoint(p if isinstance(p, str) else p.ips[family], **conditions)
                 for p in pods_or_ips]
    world.resources.put(f"slice-{name}", objects.endpoint_slice(
        f"{name}-1", name, endpoints,
        [objects.slice_port(tcp, name="http"), objects.slice_port(udp, "UDP", "dns")]))


def answering(source, address, port, proto="TCP", count=24):
    """Names of the servers that answer `count` attempts at once; any that is not open is its verdict."""
    probes = [Probe(source, address, port, proto) for _ in range(count)]
    run_probes(probes, 2)
    return {p.answer["server"] if p.answer else p.verdict for p in probes}


def wait_answering(source, address, port, names, proto="TCP"):
    seen = []

    def question():
        seen.append(answering(source, address, port, proto, 16))
        return seen[-1] == set(names)
    wait_until(question, lambda: f"answered by {seen[-1]}, expected {names}")


ALL = {"web1", "web2", "web3"}


@each_family
def test_pod_reaches_every_endpoint_by_tcp(world, family):
    assert answering(world.client, world.vip[family], 80, count=60) == ALL


@each_family
def test_pod_reaches_every_endpoint_by_udp(world, family):
    assert answering(world.client, world.vip[family], 53, "UDP", count=60) == ALL


@each_family
def test_endpoint_sees_the_pods_own_address(world, family):
    for port, proto in ((80, "TCP"), (53, "UDP")):
        for _ in range(6):
            probe = reach(world.client, world.vip[family], port, proto)
            assert probe.answer["peer"] == world.client.ips[family], probe.answer


@each_family
def test_pod_of_another_node_reaches_the_service(world, family):
    other = world.pod("other", node=world.n2)
    assert answering(other, world.vip[family], 80, count=60) == ALL


@each_family
def test_choice_is_even(world, family):
    probes = [Probe(world.client, world.vip[family], 53, "UDP") for _ in range(600)]
    run_probes(probes, 5)
    names = [p.answer["server"] for p in probes if p.answer]
    counts = {name: names.count(name) for name in ALL}
    # Three ways, 600 flows: 200 each, standard deviation 11.5; 50 is beyond four of them.
    assert len(names) == 600 and all(abs(n - 200) < 50 for n in counts.values()), counts


@each_family
def test_node_reaches_the_service_by_tcp(world, family):
    assert answering(world.n1, world.vip[family], 80, count=60) == ALL


@each_family
def test_node_reaches_the_service_by_udp(world, family):
    assert answering(world.n1, world.vip[family], 53, "UDP", count=60) == ALL


@each_family
def test_getpeername_on_the_node_shows_the_service(world, family):
    with Connection(world.n1, world.vip[family], 80) as connection:
        assert connection.sock.getpeername()[:2] == (world.vip[family], 80), \
            connection.sock.getpeername()
        connection.ask()
    with UdpClient(world.n1, world.vip[family], 53, connect=True) as client:
        assert client.sock.getpeername()[:2] == (world.vip[family], 53), client.sock.getpeername()
        assert client.ask()["server"] in ALL


@each_family
def test_recvfrom_on_the_node_shows_the_service(world, family):
    with UdpClient(world.n1, world.vip[family], 53) as client:
        for _ in range(4):
            assert client.ask()["from"] == (world.vip[family], 53), "source not restored"


@each_family
def test_recvfrom_in_a_pod_shows_the_service(world, family):
    with UdpClient(world.client, world.vip[family], 53) as client:
        for _ in range(4):
            assert client.ask()["from"] == (world.vip[family], 53)


def test_v4_mapped_socket_of_the_node_reaches_the_service(world):
    mapped = "::ffff:" + world.vip[V4]
    sock = world.n1.socket(socket.AF_INET6, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(20)
        sock.connect((mapped, 80))
        assert sock.getpeername()[:2] == (mapped, 80), sock.getpeername()
        sock.sendall(b"who\n")
        assert sock.recv(4096).endswith(b"\n")
    sock = world.n1.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(20)
        sock.sendto(b"who\n", (mapped, 53))
        _, source = sock.recvfrom(4096)
        assert source[:2] == (mapped, 53), source


@each_family
def test_sockets_of_other_namespaces_are_left_alone(world, family):
    """A pod's own sockets go the packet path: its peer is what it asked for, as seen on its wire."""
    with Capture(world.client.netns, incoming_only=False) as capture:
        reach(world.client, world.vip[family], 80)
        capture.wait(lambda p: p.destination == world.vip[family] and p.dport == 80,
                     "a packet to the virtual address")


@each_family
def test_tcp_and_udp_of_one_port_number_are_independent(world, family):
    assert reach(world.client, world.vip[family], 80, "UDP").verdict == "refused"
    assert reach(world.client, world.vip[family], 53, "TCP").verdict == "refused"
    assert reach(world.n1, world.vip[family], 53, "TCP").verdict == "refused"


def expect_refused_at_once(source, address, port, proto):
    """By the answer to the first packet: the second SYN is sent a second later."""
    clock = Clock()
    probe = reach(source, address, port, proto)
    assert probe.verdict == "refused" and clock.seconds() < 1, f"{source} {proto}: {probe.verdict} after {probe.elapsed:.2f} s"


@each_family
def test_unknown_port_is_refused_at_once(world, family):
    for source in (world.client, world.n1):
        for proto in ("TCP", "UDP"):
            expect_refused_at_once(source, world.vip[family], 81, proto)
    with world.n1.agent.dropping("service_without_port"):
        reach(world.client, world.vip[family], 81)


@each_family
def test_service_without_endpoint_refuses_at_once(world, family):
    ip = world.service("empty", 2, both(80, 53), {"app": "nobody"})[family]
    for source in (world.client, world.n1):
        for port, proto in ((80, "TCP"), (53, "UDP")):
            expect_refused_at_once(source, ip, port, proto)
    with world.n1.agent.dropping("service_without_endpoint"):
        reach(world.client, ip, 80)


@each_family
def test_pod_reaches_itself_through_its_service(world, family):
    alone = world.pod("alone", labels={"app": "alone"})
    world.serve(alone, 8080)
    world.serve(alone, 5353, "UDP")
    ip = world.service("alone", 3, both(80, 53), {"app": "alone"})[family]
    wait_answering(alone, ip, 80, ["alone"])
    assert answering(alone, ip, 53, "UDP", 8) == {"alone"}
    with Connection(alone, ip, 80) as connection:
        assert connection.fetch(500_000) and connection.push(500_000)
    with UdpClient(alone, ip, 53) as client:
        assert client.ask()["from"] == (ip, 53)


@each_family
def test_transfer_through_the_service_arrives_whole(world, family):
    for source in (world.client, world.n1):
        for _ in range(4):
            with Connection(source, world.vip[family], 80) as connection:
                assert connection.fetch(2_000_000) and connection.push(2_000_000), f"{source}: damaged"


@each_family
def test_selector_follows_labels(world, family):
    extra = world.pod("extra", labels={"app": "other"})
    world.serve(extra, 8080)
    ip = world.service("labelled", 4, both(80, 53), {"app": "labelled"})[family]
    assert reach(world.client, ip, 80).verdict == "refused"
    extra.relabel(app="labelled")
    wait_answering(world.client, ip, 80, ["extra"])
    extra.relabel(app="other")
    wait_answering(world.client, ip, 80, ["refused"])


@each_family
def test_named_target_port_is_each_pods_own(world, family):
    first = world.pod("named1", labels={"app": "named"}, ports=[("web", 8081, "TCP")])
    second = world.pod("named2", labels={"app": "named"}, ports=[("web", 8082, "TCP")])
    world.pod("named3", labels={"app": "named"}, ports=[("other", 8083, "TCP")])
    world.serve(first, 8081)
    world.serve(second, 8082)
    ip = world.service("named", 5, [objects.service_port(80, "web")], {"app": "named"})[family]
    wait_answering(world.client, ip, 80, ["named1", "named2"])


@each_family
def test_endpoints_come_from_slices(world, family):
    ip = slices(world, "sliced", 6, world.web[:1], family)
    wait_answering(world.client, ip, 80, ["web1"])
    set_slice(world, "sliced", world.web[1:], family)
    wait_answering(world.client, ip, 80, ["web2", "web3"])
    wait_answering(world.client, ip, 53, ["web2", "web3"], "UDP")
    wait_answering(world.n1, ip, 80, ["web2", "web3"])


@each_family
def test_several_slices_with_a_duplicate_endpoint(world, family):
    ip = slices(world, "several", 7, world.web[:2], family)
    world.resources.put("slice-several-2", objects.endpoint_slice(
        "several-2", "several", [objects.endpoint(p.ips[family]) for p in world.web[1:]],
        [objects.slice_port(8080, name="http")]))
    wait_answering(world.client, ip, 80, ALL)
    wait_answering(world.client, ip, 53, ["web1", "web2"], "UDP")


@each_family
def test_endpoint_outside_the_cluster(world, family):
    ip = slices(world, "external", 8, [FAR_IP[family]], family)
    wait_answering(world.client, ip, 80, ["far"])
    probe = reach(world.client, ip, 53, "UDP")
    assert probe.answer["server"] == "far" and probe.answer["peer"] == world.n1.ips[family], \
        f"{probe.verdict} {probe.answer}"
    wait_answering(world.n1, ip, 80, ["far"])


@each_family
def test_unready_endpoint_gets_no_new_flows(world, family):
    ip = slices(world, "unready", 9, world.web[:1], family, ready=False)
    wait_answering(world.client, ip, 80, ["refused"])
    set_slice(world, "unready", world.web[:1], family, ready=True)
    wait_answering(world.client, ip, 80, ["web1"])


@each_family
def test_udp_client_leaves_an_endpoint_that_went(world, family):
    ip = slices(world, "moving", 10, world.web[:1], family)
    wait_answering(world.client, ip, 53, ["web1"], "UDP")
    for source in (world.client, world.n1):
        set_slice(world, "moving", world.web[:1], family)
        wait_answering(source, ip, 53, ["web1"], "UDP")
        with UdpClient(source, ip, 53) as client:
            assert client.ask()["server"] == "web1"
            set_slice(world, "moving", world.web[1:2], family)

            def moved():
                try:
                    return client.ask(0.2)["server"] == "web2"
                except OSError:
                    return False
            wait_until(moved, f"{source}: the client moves to web2")


@each_family
def test_udp_client_that_started_before_the_service_is_served(world, family):
    ip = world.service_ip(11, family)
    with UdpClient(world.client, ip, 53) as client:
        assert client.state() != "open"
        slices(world, "late", 11, world.web[:1], family)
        wait_until(lambda: client.state(0.2) == "open", "answers to the early client")


@each_family
def test_tcp_flow_to_a_deleted_endpoint_is_reset(world, family):
    ip = slices(world, "cut", 12, world.web[:1], family)
    wait_answering(world.client, ip, 80, ["web1"])
    with Connection(world.client, ip, 80) as connection:
        assert connection.ask()["server"] == "web1"
        set_slice(world, "cut", world.web[1:2], family)
        wait_answering(world.client, ip, 80, ["web2"])
        wait_until(lambda: connection.state(1) == "reset", "the connection is reset")


@each_family
def test_tcp_flow_to_a_terminating_endpoint_goes_on(world, family):
    ip = slices(world, "draining", 13, world.web[:1], family)
    wait_answering(world.client, ip, 80, ["web1"])
    with Connection(world.client, ip, 80) as connection:
        connection.ask()
        world.resources.put("slice-draining", objects.endpoint_slice("draining-1", "draining", [
            objects.endpoint(world.web[0].ips[family], ready=False, serving=True, terminating=True),
            objects.endpoint(world.web[1].ips[family])], [objects.slice_port(8080, name="http")]))
        wait_answering(world.client, ip, 80, ["web2"])
        assert connection.ask()["server"] == "web1"


@each_family
def test_other_flows_go_on_when_one_endpoint_goes(world, family):
    ip = slices(world, "partly", 14, world.web[:2], family)
    wait_answering(world.client, ip, 80, ["web1", "web2"])
    connections = [Connection(world.client, ip, 80) for _ in range(12)]
    try:
        staying = [c for c in connections if c.ask()["server"] == "web1"]
        assert staying, "no connection went to web1"
        set_slice(world, "partly", world.web[:1], family)
        wait_answering(world.client, ip, 80, ["web1"])
        assert all(c.ask()["server"] == "web1" for c in staying)
    finally:
        for connection in connections:
            connection.close()


@each_family
def test_deleted_service_serves_no_more(world, family):
    ip = slices(world, "deleted", 15, world.web[:1], family)
    wait_answering(world.client, ip, 80, ["web1"])
    with Connection(world.client, ip, 80) as connection:
        connection.ask()
        world.resources.delete("service-default-deleted")
        wait_until(lambda: reach(world.client, ip, 80, timeout=0.2).verdict != "open",
                   "the address stops answering")
        wait_until(lambda: connection.state(0.5) != "open", "the old connection carries no more data")
    assert reach(world.client, world.vip[family], 80).verdict == "open"


@each_family
def test_cluster_ip_serves_no_outside_host(world, family):
    prefix = "10.96.0.0/16" if family == V4 else "fd96::/64"
    world.outside.ip(f"route replace {prefix} via {world.n1.ips[family]}")
    for proto, port in (("TCP", 80), ("UDP", 53)):
        with world.n1.agent.dropping("cluster_ip_from_outside"):
            verdict = reach(world.outside, world.vip[family], port, proto, timeout=0.3).verdict
            assert verdict != "open", f"{proto}: open from outside"


@each_family
def test_ping_of_the_virtual_address_is_answered_here(world, family):
    with Capture(world.outside) as capture:
        assert ping(world.client, world.vip[family]) == "open"
        capture.none(lambda p: p.destination == world.vip[family], 0.1)


@each_family
def test_services_of_two_namespaces_with_one_name(world, family):
    world.service("web", 16, [objects.service_port(80, 8080)], ns="other")
    world.resources.put("slice-other-web", objects.endpoint_slice(
        "web-x", "web", [objects.endpoint(world.web[1].ips[family])], [objects.slice_port(8080)],
        ns="other"))
    wait_answering(world.client, world.service_ip(16, family), 80, ["web2"])
    assert answering(world.client, world.vip[family], 80, count=60) == ALL


@each_family
def test_address_that_makes_no_sense_is_refused_and_hurts_nobody(world, family):
    for address in ("127.0.0.1", "224.0.0.1", world.n1.ips[family], "::1", "169.254.1.1"):
        world.resources.put("service-bad", objects.service("bad", [address], both(80, 53), WEB))
        world.resources.put("slice-bad", objects.endpoint_slice(
            "bad-1", "web", [objects.endpoint("127.0.0.1" if family == V4 else "::1")],
            [objects.slice_port(8080, name="http")]))
        assert answering(world.client, world.vip[family], 80, count=12) <= ALL
        if family == V6 or ":" not in address:
            assert ping(world.client, world.n1.ips[family]) == "open"
