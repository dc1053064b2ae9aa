# SPDX-License-Identifier: Apache-2.0
"""Services at every kind of address, from everywhere, to endpoints everywhere; nodes reach each other's pods by routes, or by the tunnel."""

from lib import frontends, objects
from lib.runner import each_family
from lib.traffic import BOTH, Connection, UdpClient, reach, wait_until

WORLDS = {"native": {"nodes": 2}, "tunnel": {"nodes": 2, "tunnel": "vxlan"}}
DEVICE = "polder_vxlan"
OF_A_PROCESS = 30190  # node ports whose endpoint is a process of the first node
FREE = 30191  # nobody listens there
PROCESS = 8081
LARGE = 300_000


def setup(world):
    world.n1, world.n2 = world.nodes
    if "tunnel" in world.n1.agent.options:
        take_tunnel(world)
    frontends.fill(world)
    for proto in ("TCP", "UDP"):
        world.serve(world.n1, PROCESS, proto)
    put_process(world, "process", 90, OF_A_PROCESS, PROCESS)
    put_process(world, "free", 91, FREE, PROCESS + 1)


def take_tunnel(world):
    """Instead of the routes of the world."""
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        for family in BOTH:
            node.netns.ip(f"route del {other.pod_cidr[family]} via {other.ips[family]}")
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        wait_until(lambda n=node, o=other: tunnelled(n) == set(o.pod_cidr.values()), f"{node}: routes by the tunnel")
        now = node.ruler()
        node.before = {**node.before, "routes": now["routes"], "pins": now["pins"]}


def put_process(world, name, number, node_port, port):
    """A Service whose endpoint is the first node itself."""
    ports = [{**objects.service_port(80, port, proto, name=proto.lower()), "nodePort": node_port} for proto in ("TCP", "UDP")]
    world.resources.put(f"service-{name}", objects.service(name, [world.service_ip(number, family) for family in BOTH], ports, type="NodePort"))
    for family in BOTH:
        world.resources.put(f"slice-{name}-{family}", objects.endpoint_slice(
            f"{name}-{family}", name, [objects.endpoint(world.n1.ips[family], world.n1.name)],
            [objects.slice_port(port, proto, proto.lower()) for proto in ("TCP", "UDP")]))


def tunnelled(node):
    return {route["dst"] for family in ("-4", "-6") for route in node.netns.ip_json(family, "route", "show")
            if route.get("dev") == DEVICE}


@each_family
def test_a_pod_of_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-1")


@each_family
def test_a_pod_of_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-2")


@each_family
def test_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-1")


@each_family
def test_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-2")


@each_family
def test_the_outside_reaches_what_it_may(world, family):
    frontends.check(world, family, "outside")


@each_family
def test_a_process_answers_a_pod_of_the_other_node_at_the_node_port(world, family):
    pod, address = world.callers["pod-2"], world.n1.ips[family]
    for proto in ("TCP", "UDP"):
        wait_until(lambda p=proto: reach(pod, address, OF_A_PROCESS, p, timeout=0.5).verdict == "open", f"{proto} is answered")
        answer = reach(pod, address, OF_A_PROCESS, proto).answer
        assert (answer["server"], answer["peer"]) == (world.n1.name, pod.ips[family]), answer
    with Connection(pod, address, OF_A_PROCESS) as connection:
        assert connection.push(LARGE) and connection.fetch(LARGE), "damaged"
    with UdpClient(pod, address, OF_A_PROCESS, connect=True) as client:
        assert client.ask(data=b"x" * 4000)["length"] == 4000


@each_family
def test_a_process_that_is_not_there_refuses_at_the_node_port(world, family):
    """By a reset, and by an ICMP error about the port that the pod knows."""
    pod, address = world.callers["pod-2"], world.n1.ips[family]
    for proto in ("TCP", "UDP"):
        wait_until(lambda p=proto: reach(pod, address, FREE, p, timeout=0.5).verdict == "refused", f"{proto} is refused")


@each_family
def test_an_answer_to_the_node_port_follows_its_flow_through_a_change(world, family):
    pod, address = world.callers["pod-2"], world.n1.ips[family]
    with Connection(pod, address, OF_A_PROCESS) as connection:
        assert connection.ask()["server"] == world.n1.name
        world.resources.put("policy-late", objects.policy("late", {"matchLabels": {"place": "here"}}, policyTypes=["Ingress"], ingress=[{}]))
        for node in world.nodes:
            wait_until(lambda n=node: "late" in str(n.agent.ctl_json("policy", "list")), f"{node}: the policy")
        assert connection.push(LARGE) and connection.fetch(LARGE), "damaged"
        world.resources.delete("policy-late")
