# SPDX-License-Identifier: Apache-2.0
"""Clients outside over time: endpoints that go, affinity, path MTU, processes of the node, the node's own ports, DSR, ping."""

from lib import frontends, objects
from lib.runner import each_family
from lib.traffic import BOTH, V4, V6, Connection, UdpClient, ping, reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
WEB = {"app": "web"}
NODE_PORT = 30480
FIRST = 80  # of the Services' numbers
NUMBERS = {}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.web = [world.pod("web1", labels=WEB), world.pod("web2", labels=WEB), world.pod("web3", labels=WEB, node=world.n2)]
    world.client = world.pod("client")
    for pod in world.web:
        world.serve(pod, 8080)
        world.serve(pod, 5353, "UDP")
    world.serve(world.n1, 8081)
    world.serve(world.n1, 8081, "UDP")
    world.serve(world.outside, 8443)
    world.serve(world.outside, 8443, "UDP")
    world.outside.ip(f"route add {frontends.EXTERNAL[V4]}0/24 via {world.n1.ips[V4]}",
                     f"route add {frontends.EXTERNAL[V6]}/64 via {world.n1.ips[V6]}")


def external(name, family):
    number = FIRST + NUMBERS.setdefault(name, len(NUMBERS))
    return f"{frontends.EXTERNAL[family]}{number if family == V4 else format(number, 'x')}"


def put(world, name, annotations=None, **spec):
    """A Service without selector with an external address of each family; its node ports, too."""
    number = FIRST + NUMBERS.setdefault(name, len(NUMBERS))
    ports = [{**objects.service_port(80, 8080, name="http"), "nodePort": NODE_PORT + number},
             {**objects.service_port(53, 5353, "UDP", name="dns"), "nodePort": NODE_PORT + number}]
    made = objects.service(name, [world.service_ip(number, family) for family in BOTH], ports, type="NodePort",
                           externalIPs=[external(name, family) for family in BOTH], **spec)
    made["metadata"]["annotations"] = annotations or {}
    world.resources.put(f"service-{name}", made)
    return NODE_PORT + number


def put_endpoints(world, name, endpoints, family, tcp=8080, udp=5353):
    """Pods, or (address, node's name)."""
    made = [objects.endpoint(*((e.ips[family], e.node.name) if hasattr(e, "ips") else e)) for e in endpoints]
    world.resources.put(f"slice-{name}-{family}", objects.endpoint_slice(
        f"{name}-{family}", name, made, [objects.slice_port(tcp, name="http"), objects.slice_port(udp, "UDP", "dns")]))


def wait_served(world, source, address, port, proto="TCP", by=None):
    def served():
        probe = reach(source, address, port, proto, timeout=0.5)
        return probe.answer and (by is None or probe.answer["server"] == by)
    wait_until(served, f"{source}: {address} {proto}/{port} is served")


def served(world, name, endpoints, family, source=None, **spec):
    """A Service that is in force; its external address."""
    put(world, name, **spec)
    put_endpoints(world, name, endpoints, family)
    address = external(name, family)
    wait_served(world, source or world.outside, address, 80)
    return address


@each_family
def test_connection_to_a_deleted_endpoint_is_reset(world, family):
    address = served(world, "cut", [world.web[2]], family)
    with Connection(world.outside, address, 80) as connection:
        assert connection.ask()["server"] == "web3"
        put_endpoints(world, "cut", [world.web[0]], family)
        wait_served(world, world.outside, address, 80, by="web1")
        wait_until(lambda: connection.state(1) == "reset", "the connection is reset")


@each_family
def test_datagrams_leave_a_deleted_endpoint(world, family):
    address = served(world, "moving", [world.web[2]], family)
    with UdpClient(world.outside, address, 53) as client:
        assert client.ask()["server"] == "web3"
        put_endpoints(world, "moving", [world.web[0]], family)

        def moved():
            try:
                return client.ask(0.2)["server"] == "web1"
            except OSError:
                return False
        wait_until(moved, "the client moves to web1")


@each_family
def test_client_with_affinity_keeps_its_endpoint(world, family):
    address = served(world, "sticky", world.web, family, sessionAffinity="ClientIP")
    for source in (world.outside, world.client, world.n1):
        answers = {reach(source, address, port, proto).answer["server"]
                   for port, proto in ((80, "TCP"),) for _ in range(24)}
        assert len(answers) == 1, f"{source}: {answers}"
        answers = {reach(source, address, 53, "UDP").answer["server"] for _ in range(24)}
        assert len(answers) == 1, f"{source}: {answers}"


@each_family
def test_affinity_moves_when_its_endpoint_goes(world, family):
    address = served(world, "sticky-moves", world.web, family, sessionAffinity="ClientIP")
    first = reach(world.outside, address, 80).answer["server"]
    left = [pod for pod in world.web if pod.name != first]
    put_endpoints(world, "sticky-moves", left, family)
    wait_until(lambda: (reach(world.outside, address, 80).answer or {}).get("server") != first, "another endpoint")
    assert len({reach(world.outside, address, 80).answer["server"] for _ in range(24)}) == 1


@each_family
def test_path_mtu_of_a_clients_link_reaches_an_endpoint_of_another_node(world, family):
    """B12: the router's "too big" comes to the node that was asked, and is about the endpoint's packets."""
    port = put(world, "narrow")
    put_endpoints(world, "narrow", [world.web[2]], family)
    for netns in (world.n1.netns, world.n2.netns, world.web[2].netns):
        netns.run("ip", "route", "flush", "cache")
    wait_served(world, world.far, world.n1.ips[family], port)
    with Connection(world.far, world.n1.ips[family], port) as connection:
        assert connection.fetch(200000)


@each_family
def test_process_of_the_node_serves_the_outside(world, family):
    put(world, "host", internalTrafficPolicy="Cluster")
    put_endpoints(world, "host", [(world.n1.ips[family], world.n1.name)], family, 8081, 8081)
    address = external("host", family)
    for port, proto in ((80, "TCP"), (53, "UDP")):
        wait_served(world, world.outside, address, port, proto, by=world.n1.name)
        probe = reach(world.outside, address, port, proto)
        assert probe.answer["peer"] == OUTSIDE_IP[family], probe.answer
    with Connection(world.outside, address, 80) as connection:
        assert connection.fetch(300000)


@each_family
def test_process_of_another_node_serves_the_outside(world, family):
    world.serve(world.n2, 8081, families=(family,))
    world.serve(world.n2, 8081, "UDP", families=(family,))
    put(world, "host-there")
    put_endpoints(world, "host-there", [(world.n2.ips[family], world.n2.name)], family, 8081, 8081)
    address = external("host-there", family)
    for port, proto in ((80, "TCP"), (53, "UDP")):
        wait_served(world, world.outside, address, port, proto, by=world.n2.name)
        assert reach(world.outside, address, port, proto).answer["peer"] == world.n1.ips[family]


@each_family
def test_the_nodes_own_connection_from_a_node_port_keeps_its_answers(world, family):
    """B5: a SYN to the port is the Service's, answers to what the node sent from it are the node's."""
    port = put(world, "ports")
    put_endpoints(world, "ports", [world.web[0]], family)
    wait_served(world, world.outside, world.n1.ips[family], port)
    wait_served(world, world.outside, world.n1.ips[family], port, "UDP")
    for proto in ("TCP", "UDP"):
        probe = reach(world.n1, WORLD_IP[family], 8443, proto, source_port=port)
        assert probe.answer and probe.answer["port"] == port, f"{proto}: {probe.verdict}"
    assert reach(world.outside, world.n1.ips[family], port).answer["server"] == "web1"


@each_family
def test_ping_of_a_services_address_is_answered_and_unserved_ports_are_refused(world, family):
    address = served(world, "pinged", [world.web[0]], family)
    for source in (world.outside, world.client):
        assert ping(source, address) == "open", source
        for port, proto in ((81, "TCP"), (81, "UDP")):
            probe = reach(source, address, port, proto)
            assert probe.verdict == "refused", f"{source} {proto}: {probe.verdict}"
    assert reach(world.n1, address, 81).verdict == "refused"


@each_family
def test_dsr_shows_the_client_to_an_endpoint_of_another_node(world, family):
    address = served(world, "direct", [world.web[2]], family, annotations={"polder.dev/forwarding": "dsr"})
    for port, proto in ((80, "TCP"), (53, "UDP")):
        probe = reach(world.outside, address, port, proto)
        assert probe.answer and probe.answer["peer"] == OUTSIDE_IP[family], f"{proto}: {probe.verdict} {probe.answer}"
    with Connection(world.outside, address, 80) as connection:
        assert connection.fetch(300000)
