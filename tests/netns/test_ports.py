# SPDX-License-Identifier: Apache-2.0
"""A source port of the node belongs to one flow for as long as any side of it can still speak (SV-27)."""

import json
import socket
import struct
import time

from lib import objects, packets
from lib.runner import each_family, in_worlds, limit
from lib.traffic import ANY_ADDRESS, SOCKET_FAMILY, Connection, UdpClient, reach, send_frame, wait_until
from lib.world import WORLD_IP

PORT = 20000
STILL_TAKEN = 8  # seconds for which a closed connection's port is nobody else's, at the least
LASTS = 140
WORLDS = {"one-port": {"masquerade_ports": f"{PORT}-{PORT}"}, "many-ports": {}}


def setup(world):
    world.a, world.b = world.pod("a"), world.pod("b")
    world.serve(world.outside, 8080)
    world.serve(world.outside, 5353, "UDP")


def opens(pod, address, port=8080, proto="TCP"):
    return reach(pod, address, port, proto, timeout=0.3).verdict == "open"


def expect_refused_for(pod, address, seconds, meanwhile=lambda: None, **options):
    """The pod tries all the time; never may it get the port."""
    begun, tries = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        assert not opens(pod, address, **options), f"{pod} got the port {time.monotonic() - begun:.1f} s after"
        meanwhile()
        tries += 1
    assert tries >= 2, tries


@each_family
@in_worlds("one-port")
def test_port_of_a_finished_connection_is_nobodys_for_a_while(world, family):
    """Both sides have said FIN; either may still repeat it."""
    with Connection(world.a, WORLD_IP[family], 8080) as connection:
        assert connection.ask()["port"] == PORT
    expect_refused_for(world.b, WORLD_IP[family], STILL_TAKEN)


@each_family
@in_worlds("one-port")
def test_port_of_a_reset_connection_is_nobodys_for_a_while_and_then_free(world, family):
    world.serve(world.outside, 8081)
    connection = Connection(world.a, WORLD_IP[family], 8081)
    assert connection.ask()["port"] == PORT
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    expect_refused_for(world.b, WORLD_IP[family], STILL_TAKEN, port=8081)
    wait_until(lambda: opens(world.b, WORLD_IP[family], 8081), "the port is free again", 25, 0.2)


@each_family
@in_worlds("one-port")
@limit(90)
def test_forged_reset_ends_no_connection_and_frees_no_port(world, family):
    """Its sequence number is none that the server could send: the pod's kernel takes no notice of it."""
    world.serve(world.outside, 8082)
    address, node = WORLD_IP[family], world.node.ips[family]
    with Connection(world.a, address, 8082) as connection:
        assert connection.ask()["port"] == PORT
        forged = packets.ip(address, node, packets.TCP, packets.tcp(address, node, 8082, PORT, packets.RST, seq=1))
        frame = packets.ethernet(world.node.netns.mac(), world.outside.mac(), packets.ethertype_of(forged), forged)
        send_frame(world.outside, frame, count=3)
        assert connection.ask()["port"] == PORT
        expect_refused_for(world.b, address, 12, port=8082)
        assert connection.ask(5)["port"] == PORT
        expect_refused_for(world.b, address, 1, port=8082)


@each_family
@in_worlds("one-port")
@limit(90)
def test_stream_without_answers_keeps_its_port(world, family):
    """One answer, then for longer than an answered flow may idle only the pod sends."""
    address = WORLD_IP[family]
    server = world.outside.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
    with server, UdpClient(world.a, address, 6000, connect=True) as client:
        server.bind((address, 6000))
        server.settimeout(20)
        client.send(b"first")
        _, peer = server.recvfrom(100)
        assert peer[1] == PORT
        server.sendto(b"answer", peer)
        assert client.receive()[0] == b"answer"
        server.setblocking(False)
        seen = set()

        def stream():
            client.send(b"stream")
            while True:
                try:
                    seen.add(server.recvfrom(100))
                except BlockingIOError:
                    return
        expect_refused_for(world.b, address, 36, stream, port=6000, proto="UDP")
        assert {(data, source[1]) for data, source in seen} == {(b"stream", PORT)}, seen
        server.sendto(b"late", peer)
        assert client.receive()[0] == b"late"


def change(world, number):
    """A change after which flows are re-evaluated; returns when it is in force."""
    world.service(f"new-{number}", 60 + number, [objects.service_port(80, 8080)], {"app": "nobody"})


@each_family
@in_worlds("many-ports")
def test_node_that_starts_to_listen_on_a_flows_port_does_not_break_it(world, family):
    address = WORLD_IP[family]
    listeners = []
    try:
        with Connection(world.a, address, 8080) as connection, UdpClient(world.a, address, 5353) as client:
            for number, talk, kind in ((0, connection, socket.SOCK_STREAM), (1, client, socket.SOCK_DGRAM)):
                port = talk.ask()["port"]
                own = world.node.socket(SOCKET_FAMILY[family], kind)
                listeners.append(own)
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                own.bind((ANY_ADDRESS[family], port))
                if kind == socket.SOCK_STREAM:
                    own.listen(5)
                for round_ in range(3):
                    change(world, 10 * number + round_)
                    assert talk.ask()["port"] == port, "the flow got another port"
    finally:
        for own in listeners:
            own.close()


@each_family
@in_worlds("many-ports")
def test_ports_stay_while_everything_changes(world, family):
    clients = [UdpClient(pod, WORLD_IP[family], 5353) for pod in (world.a, world.b) for _ in range(20)]
    try:
        for client in clients:
            client.send()
        before = [json.loads(client.receive()[0])["port"] for client in clients]
        assert len(set(before)) == len(before), "two flows share a port"
        for number in range(5):
            change(world, 40 + number)
            assert [client.ask()["port"] for client in clients] == before
    finally:
        for client in clients:
            client.close()
