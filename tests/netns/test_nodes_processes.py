# SPDX-License-Identifier: Apache-2.0
"""What the nodes' own processes reach on the other node: pods, and Services with endpoints there, through the tunnel and natively."""

from lib import objects, tunnel
from lib.runner import each_family
from lib.traffic import BOTH, V4, Connection, UdpClient, ping, reach, wait_until

WORLDS = {"": {"nodes": 2, "tunnel": "vxlan"}, "native": {"nodes": 2, "tunnel": "none"}}
HERE, THERE, BOTH_ENDS, MOVING = 11, 12, 13, 14
PORTS = [objects.service_port(80, 8080, name="tcp"), objects.service_port(53, 5353, "UDP", name="udp")]
LARGE = 300_000


def setup(world):
    tunnel.begin(world)
    world.a = world.pod("a", labels={"app": "a", "all": "yes"})
    world.c = world.pod("c", node=world.n2, labels={"app": "c", "all": "yes"})
    for pod in (world.a, world.c):
        world.serve(pod, 8080)
        world.serve(pod, 5353, "UDP")
    # Of the first node's view: served by a pod of its own, by one of the other node, by both.
    world.here = world.service("here", HERE, PORTS, {"app": "a"})
    world.there = world.service("there", THERE, PORTS, {"app": "c"})
    world.both = world.service("both", BOTH_ENDS, PORTS, {"all": "yes"})


def crossings(world, family):
    """(node, Service's address, the pod behind it, which is on the other node)"""
    return ((world.n1, world.there[family], world.c), (world.n2, world.here[family], world.a))


@each_family
def test_tcp_of_a_node_reaches_a_service_with_its_endpoint_on_the_other(world, family):
    for node, address, pod in crossings(world, family):
        probe = reach(node, address, 80)
        assert probe.verdict == "open", f"{node} -> {address}: {probe.verdict}"
        assert (probe.answer["server"], probe.answer["peer"]) == (pod.name, node.ips[family]), probe.answer
        with Connection(node, address, 80) as connection:
            assert connection.push(LARGE) and connection.fetch(LARGE), "damaged"


@each_family
def test_udp_of_a_node_reaches_a_service_with_its_endpoint_on_the_other(world, family):
    for node, address, pod in crossings(world, family):
        for connect in (True, False):
            with UdpClient(node, address, 53, connect=connect) as client:
                answer = client.ask()
                assert (answer["server"], answer["peer"], answer["from"][0]) == (pod.name, node.ips[family], address), answer
                assert client.ask(data=b"x" * 4000)["length"] == 4000


@each_family
def test_node_meets_endpoints_of_both_nodes(world, family):
    for node in world.nodes:
        met = set()
        for _ in range(200):
            with UdpClient(node, world.both[family], 53, connect=True) as client:
                met.add(client.ask()["server"])
            if len(met) == 2:
                break
        assert len(met) == 2, f"{node}: {met}"


@each_family
def test_node_reaches_pods_of_the_other(world, family):
    for node, pod in ((world.n1, world.c), (world.n2, world.a)):
        for proto, port in (("TCP", 8080), ("UDP", 5353)):
            probe = reach(node, pod.ips[family], port, proto)
            assert probe.verdict == "open" and probe.answer["peer"] == node.ips[family], f"{node} {proto}: {probe.verdict}"
        assert ping(node, pod.ips[family]) == "open"


@each_family
def test_policy_holds_for_the_other_nodes_processes_not_for_the_own(world, family):
    """The kubelet's probes always arrive; another node is what its address says."""
    closed = objects.policy("closed", objects.labels(app="a"), policyTypes=["Ingress"])
    world.policies(closed)
    world.expect((world.n1, world.a.ips[family], 8080, "open"), (world.n2, world.a.ips[family], 8080, "timeout"),
                 (world.n2, world.here[family], 80, "timeout"))
    length = 32 if family == V4 else 128
    block = {"ipBlock": {"cidr": f"{world.n2.ips[family]}/{length}"}}
    world.policies(objects.policy("node", objects.labels(app="a"), ingress=[{"from": [block]}]))
    world.expect((world.n2, world.a.ips[family], 8080, "open"), (world.n2, world.here[family], 80, "open"),
                 (world.c, world.a.ips[family], 8080, "timeout"))


def test_connections_of_a_node_outlive_the_agents(world):
    connections = []
    try:
        for family in BOTH:
            for node, address, _ in crossings(world, family):
                connections.append(Connection(node, address, 80))
                connections[-1].ask()
        for node in world.nodes:
            node.agent.kill()
        for connection in connections:
            connection.ask()
        for node in world.nodes:
            node.agent.start()
        for connection in connections:
            connection.ask()
    finally:
        for connection in connections:
            connection.close()


@each_family
def test_socket_of_a_node_leaves_an_endpoint_of_the_other_node_that_went(world, family):
    """It is told by an error, and finds the next one by connecting again."""
    address = world.service("moving", MOVING, PORTS[1:])[family]

    def put(pod):
        world.resources.put("slice-moving", objects.endpoint_slice(
            "moving-1", "moving", [objects.endpoint(pod.ips[family], pod.node.name)], [objects.slice_port(5353, "UDP", "udp")]))
    put(world.c)
    world.expect((world.n1, address, 53, "open", "UDP"))
    with UdpClient(world.n1, address, 53, connect=True) as client:
        assert client.ask()["server"] == world.c.name
        put(world.a)

        def left():
            try:
                return client.ask(0.3)["server"] == world.a.name
            except OSError:
                client.sock.connect((address, 53))
                return False
        wait_until(left, "the socket is served by the other pod")
