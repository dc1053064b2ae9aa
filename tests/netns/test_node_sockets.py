# SPDX-License-Identifier: Apache-2.0
"""Sockets of the node that are connected by a Service leave an endpoint that is gone; no others do."""

import errno
import select
import socket

from lib import objects
from lib.runner import each_family
from lib.traffic import PATIENCE, V4, Connection, Timeout, UdpClient, wait_until

ROOM = 1024
WORLD = {"max_socket_origins": ROOM}
ENDED = (errno.ECONNABORTED, errno.EDESTADDRREQ, errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET)


def setup(world):
    world.n1 = world.nodes[0]
    world.web = [world.pod("web1"), world.pod("web2")]
    for pod in world.web:
        world.serve(pod, 8080)
        world.serve(pod, 5353, "UDP")


def put(world, name, number, endpoints, family):
    """A Service with these endpoints: pods, or (pod, conditions)."""
    items = [e if isinstance(e, tuple) else (e, {}) for e in endpoints]
    ips = world.service(name, number, [objects.service_port(80, 8080, name="http"),
                                       objects.service_port(53, 5353, "UDP", name="dns")])
    put_slice(world, name, items, family)
    return ips[family]


def put_slice(world, name, items, family):
    world.resources.put(f"slice-{name}", objects.endpoint_slice(
        f"{name}-1", name, [objects.endpoint(pod.ips[family], **more) for pod, more in items],
        [objects.slice_port(8080, name="http"), objects.slice_port(5353, "UDP", "dns")]))


def served(world, ip, names, proto="UDP"):
    """Until new sockets of the node get these servers, and no other."""
    def question():
        got = set()
        for _ in range(12):
            try:
                if proto == "UDP":
                    with UdpClient(world.n1, ip, 53, connect=True) as client:
                        got.add(client.ask(0.3)["server"])
                else:
                    with Connection(world.n1, ip, 80) as connection:
                        got.add(connection.ask()["server"])
            except OSError as error:
                got.add(error.errno)
        return got == set(names)
    wait_until(question, f"the node's sockets are served by {names}")


def wait_ended(sock, within=PATIENCE):
    """The socket has an error for whoever waits for it, and sends nothing any more."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    if not poller.poll(within * 1000):
        raise Timeout("nobody told the socket that its endpoint is gone")
    try:
        sock.settimeout(0.3)
        data = sock.recv(4096)
    except OSError as error:
        assert error.errno in ENDED, error
    else:
        raise AssertionError(f"read {data!r}")
    try:
        sock.send(b"who\n")
        sock.recv(4096)
    except OSError as error:
        assert error.errno in ENDED, error
    else:
        raise AssertionError("it can still send")


def ended(world, proto):
    return world.n1.agent.metrics()["polder_sockets_ended_total", (("proto", proto),)]


def mapped_socket(world, kind, ip, port):
    sock = world.n1.socket(socket.AF_INET6, kind)
    sock.settimeout(20)
    sock.connect(("::ffff:" + ip, port))
    sock.send(b"who\n")
    assert b"web1" in sock.recv(4096)
    return sock


@each_family
def test_connected_udp_socket_leaves_an_endpoint_that_went(world, family):
    ip = put(world, "moving", 10, world.web[:1], family)
    served(world, ip, ["web1"])
    before = ended(world, "udp")
    with UdpClient(world.n1, ip, 53, connect=True) as client:
        assert client.ask()["server"] == "web1"
        put(world, "moving", 10, world.web[1:], family)
        # web1 still answers at that address, as would any pod that gets it.
        wait_ended(client.sock)
        client.sock.connect((ip, 53))
        assert client.ask()["server"] == "web2"
    wait_until(lambda: ended(world, "udp") > before, "it is counted")


@each_family
def test_socket_that_is_bound_leaves_too(world, family):
    ip = put(world, "bound", 11, world.web[:1], family)
    served(world, ip, ["web1"])
    with UdpClient(world.n1, ip, 53, connect=True, source_port=34567) as client:
        assert client.ask()["server"] == "web1"
        put(world, "bound", 11, [], family)
        wait_ended(client.sock)


@each_family
def test_tcp_connection_of_the_node_leaves_an_endpoint_that_went(world, family):
    ip = put(world, "cut", 12, world.web[:1], family)
    served(world, ip, ["web1"], "TCP")
    before = ended(world, "tcp")
    with Connection(world.n1, ip, 80) as connection:
        assert connection.ask()["server"] == "web1"
        put(world, "cut", 12, world.web[1:], family)
        wait_ended(connection.sock)
    wait_until(lambda: ended(world, "tcp") > before, "it is counted")


def test_v4_mapped_sockets_leave_too(world):
    ip = put(world, "mapped", 13, world.web[:1], V4)
    served(world, ip, ["web1"])
    with mapped_socket(world, socket.SOCK_DGRAM, ip, 53) as udp, \
            mapped_socket(world, socket.SOCK_STREAM, ip, 80) as tcp:
        put(world, "mapped", 13, world.web[1:], V4)
        wait_ended(udp)
        wait_ended(tcp)


@each_family
def test_many_sockets_leave_many_endpoints(world, family):
    ip = put(world, "many", 14, world.web, family)
    served(world, ip, ["web1", "web2"])
    clients = [UdpClient(world.n1, ip, 53, connect=True) for _ in range(300)]
    try:
        put(world, "many", 14, [], family)
        for client in clients:
            wait_ended(client.sock)
    finally:
        for client in clients:
            client.close()


@each_family
def test_sockets_stay_with_an_endpoint_that_terminates(world, family):
    ip = put(world, "draining", 15, world.web[:1], family)
    served(world, ip, ["web1"])
    with UdpClient(world.n1, ip, 53, connect=True) as udp, Connection(world.n1, ip, 80) as tcp:
        for client in (udp, tcp):
            assert client.ask()["server"] == "web1"
        conditions = {"ready": False, "serving": True, "terminating": True}
        put(world, "draining", 15, [(world.web[0], conditions), world.web[1]], family)
        served(world, ip, ["web2"])
        for client in (udp, tcp):
            assert client.ask()["server"] == "web1"
        put(world, "draining", 15, world.web[1:], family)
        for client in (udp, tcp):
            wait_ended(client.sock)


@each_family
def test_datagrams_leave_an_endpoint_that_does_not_serve_and_tcp_stays(world, family):
    ip = put(world, "silent", 26, world.web[:1], family)
    served(world, ip, ["web1"])
    with UdpClient(world.n1, ip, 53, connect=True) as udp, Connection(world.n1, ip, 80) as tcp:
        assert udp.ask()["server"] == tcp.ask()["server"] == "web1"
        put(world, "silent", 26, [(world.web[0], {"ready": False}), world.web[1]], family)
        wait_ended(udp.sock)
        assert tcp.ask()["server"] == "web1"


@each_family
def test_sockets_stay_when_another_endpoint_goes(world, family):
    ip = put(world, "partly", 16, world.web, family)
    served(world, ip, ["web1", "web2"])
    clients = [UdpClient(world.n1, ip, 53, connect=True) for _ in range(16)]
    try:
        servers = [client.ask()["server"] for client in clients]
        assert set(servers) == {"web1", "web2"}, servers
        put(world, "partly", 16, world.web[:1], family)
        for client, server in zip(clients, servers):
            if server == "web2":
                wait_ended(client.sock)
        assert all(c.ask()["server"] == "web1" for c, s in zip(clients, servers) if s == "web1")
    finally:
        for client in clients:
            client.close()


@each_family
def test_sockets_by_another_service_and_by_the_pods_address_stay(world, family):
    ip, other = (put(world, name, number, world.web[:1], family)
                 for name, number in (("one", 17), ("two", 18)))
    served(world, ip, ["web1"])
    served(world, other, ["web1"])
    address = world.web[0].ips[family]
    staying = [UdpClient(world.n1, other, 53, connect=True), Connection(world.n1, other, 80),
               UdpClient(world.n1, address, 5353, connect=True), Connection(world.n1, address, 8080),
               UdpClient(world.web[1], address, 5353, connect=True)]
    again = UdpClient(world.n1, ip, 53, connect=True)  # by the Service, then straight to the pod
    again.ask()
    again.sock.connect((address, 5353))
    staying.append(again)
    going = UdpClient(world.n1, ip, 53, connect=True)
    try:
        for client in staying:
            assert client.ask()["server"] == "web1"
        put(world, "one", 17, world.web[1:], family)
        wait_ended(going.sock)
        served(world, ip, ["web2"])
        for client in staying:
            assert client.ask()["server"] == "web1"
        assert again.sock.getpeername()[:2] == (address, 5353), again.sock.getpeername()
    finally:
        for client in staying + [going]:
            client.close()


@each_family
def test_sockets_of_a_pod_are_left_to_the_packet_path(world, family):
    ip = put(world, "pods", 19, world.web[:1], family)
    served(world, ip, ["web1"])
    with UdpClient(world.web[1], ip, 53, connect=True) as client:
        assert client.ask()["server"] == "web1"
        put(world, "pods", 19, world.web[1:], family)

        def moved():
            try:
                return client.ask(0.2)["server"] == "web2"
            except OSError as error:
                assert error.errno not in ENDED, error
                return False
        wait_until(moved, "the pod's socket moves to web2")


@each_family
def test_sockets_leave_a_service_that_is_deleted(world, family):
    ip = put(world, "deleted", 20, world.web[:1], family)
    served(world, ip, ["web1"])
    with UdpClient(world.n1, ip, 53, connect=True) as udp, Connection(world.n1, ip, 80) as tcp:
        assert udp.ask()["server"] == tcp.ask()["server"] == "web1"
        world.resources.delete("service-default-deleted")
        wait_ended(udp.sock)
        wait_ended(tcp.sock)


@each_family
def test_sockets_leave_what_went_while_the_agent_was_away(world, family):
    ip = put(world, "away", 21, world.web[:1], family)
    kept = put(world, "kept", 22, world.web[:1], family)
    served(world, ip, ["web1"])
    served(world, kept, ["web1"])
    with UdpClient(world.n1, ip, 53, connect=True) as udp, Connection(world.n1, ip, 80) as tcp, \
            UdpClient(world.n1, kept, 53, connect=True) as stays:
        for client in (udp, tcp, stays):
            assert client.ask()["server"] == "web1"
        world.n1.agent.stop()
        put_slice(world, "away", [(world.web[1], {})], family)
        world.n1.agent.start()
        wait_ended(udp.sock)
        wait_ended(tcp.sock)
        assert stays.ask()["server"] == "web1"


@each_family
def test_who_got_the_address_does_not_answer_in_the_services_name(world, family):
    """Of a socket that is not connected: each datagram goes where the Service is, and an answer is
    the Service's only if it comes from one of its endpoints."""
    ip = put(world, "named", 23, world.web[:1], family)
    served(world, ip, ["web1"])
    address = world.web[0].ips[family]
    with UdpClient(world.n1, ip, 53) as client:
        assert client.ask()["from"] == (ip, 53)
        put(world, "named", 23, world.web[1:], family)
        served(world, ip, ["web2"])
        answer = client.ask()
        assert (answer["server"], answer["from"]) == ("web2", (ip, 53)), answer
        client.sock.sendto(b"who\n", (address, 5353))
        _, source = client.receive()
        assert source[:2] == (address, 5353), source


@each_family
def test_sockets_that_are_closed_are_forgotten(world, family):
    def known():
        return world.n1.agent.metrics()["polder_map_entries", (("map", "socket_peers"),)]
    ip = put(world, "closed", 24, world.web[:1], family)
    served(world, ip, ["web1"])
    wait_until(lambda: known() == 0, "no socket is left")
    clients = [UdpClient(world.n1, ip, 53, connect=True) for _ in range(20)]
    clients.append(Connection(world.n1, ip, 80))
    assert known() == 21, known()
    for client in clients:
        client.close()
    wait_until(lambda: known() == 0, "they are forgotten")


def test_status_says_that_sockets_can_be_ended(world):
    features = {f["name"]: f for f in world.n1.agent.ctl_json("status")["features"]}
    assert features["socket_ends"]["available"], features


def test_sockets_that_are_not_known_are_told(world):
    ip = put(world, "full", 25, world.web[:1], V4)
    served(world, ip, ["web1"])
    clients = [UdpClient(world.n1, ip, 53, connect=True) for _ in range(ROOM + 8)]
    try:
        assert clients[-1].sock.getpeername() == (ip, 53)

        def told():
            return any("socket_peers is full: 8 connections" in p["reason"]
                       for p in world.n1.agent.ctl_json("status")["problems"])
        wait_until(told, "the status says that the map is full", interval=0.1)
        put(world, "full", 25, world.web[1:], V4)
        for client in clients[:ROOM]:
            wait_ended(client.sock)
    finally:
        for client in clients:
            client.close()
