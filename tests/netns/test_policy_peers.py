# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy's peers and ports where they are hardest: blocks, named ports, host network, hairpin, odd labels."""

import os
import struct

from lib import objects, packets
from lib.objects import expression, labels, policy
from lib.policies import (ALL_PREFIX, OPEN, SHUT, A, B, Matrix, blocks, egress, ingress, others,
                          peers, six_pods, tcp)
from lib.runner import each_family
from lib.traffic import BOTH, Capture, ping, reach, send_frame, wait_until
from lib.world import FAR_IP, OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
setup = six_pods
CLOSED_PORT = 99


def named_pod(world, name, ports, ns="y", node=None):
    """A pod that serves TCP 80 and 81 and UDP 80, whatever names it gives them."""
    pod = world.pod(name, ns, labels={"named": name}, ports=ports, node=node)
    for port, proto in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
        world.serve(pod, port, proto)
    return pod


def test_np06_null_egress_with_its_type_listed_denies_all(world):
    m = Matrix(world)
    world.policies(policy("out", B, "x", policyTypes=["Egress"], egress=None))
    m.expect((world.xb, world.xa, SHUT), (world.xb, OUTSIDE_IP, SHUT), (world.xa, world.xb, OPEN))


def test_np08_absent_destinations_are_everyone(world):
    m = Matrix(world)
    for rule in ({"ports": [tcp(80)]}, {"to": [], "ports": [tcp(80)]},
                 {"to": None, "ports": [tcp(80)]}):
        world.policies(egress(pod=B, rules=[rule]))
        m.expect((world.xb, world.xa, OPEN), (world.xb, world.yb, OPEN), (world.xb, world.n1, OPEN),
                 (world.xb, OUTSIDE_IP, OPEN), (world.xb, world.xa, SHUT, 81),
                 (world.xb, OUTSIDE_IP, SHUT, 81), (world.xb, world.xa, SHUT, 80, "UDP"))


def test_np09_destinations_by_pod_and_namespace_selectors(world):
    m = Matrix(world)
    blue = labels(team="blue")
    for list_of_peers, allowed in (
            ([{"podSelector": A}], [world.xa]),
            ([{"namespaceSelector": blue, "podSelector": A}], [world.ya]),
            ([{"namespaceSelector": blue}, {"podSelector": A}], [world.xa, world.ya, world.yb]),
            ([{"namespaceSelector": {}}], others(world)),
            ([{"namespaceSelector": None, "podSelector": A}], [world.xa])):
        world.policies(egress(pod=B, rules=[peers(*list_of_peers, key="to")]))
        m.whom(world.xb, allowed)
        m.expect((world.xb, OUTSIDE_IP, SHUT))


def test_np10_smallest_and_widest_blocks(world):
    m = Matrix(world)
    pair = ({"cidr": "172.30.0.0/31"}, {"cidr": "fd30::/127"})  # .0 and .1, :: and ::1
    one = ({"cidr": "172.30.0.1/32"}, {"cidr": "fd30::1/128"})
    next_pair = ({"cidr": "172.30.0.2/31"}, {"cidr": "fd30::2/127"})
    all_of_it = tuple({"cidr": ALL_PREFIX[family]} for family in BOTH)
    for made, near, beyond in ((pair, OPEN, SHUT), (one, OPEN, SHUT), (next_pair, SHUT, SHUT),
                               (all_of_it, OPEN, OPEN)):
        rule = peers(*[{"ipBlock": block} for block in made], key="to")
        world.policies(egress(pod=B, rules=[rule]))
        m.expect((world.xb, OUTSIDE_IP, near), (world.xb, WORLD_IP, beyond),
                 (world.xb, world.xa, beyond))


def test_np10_each_of_several_excepts_counts(world):
    m = Matrix(world)
    wide = [{"ipBlock": {"cidr": ALL_PREFIX[4], "except": ["172.30.0.0/30", "203.0.113.0/24",
                                                           "203.0.113.2/32"]}},
            {"ipBlock": {"cidr": ALL_PREFIX[6], "except": ["fd30::1/128", "2001:db8:f::/48"]}}]
    world.policies(egress(pod=B, rules=[peers(*wide, key="to")]))
    m.expect((world.xb, OUTSIDE_IP, SHUT), (world.xb, WORLD_IP, OPEN), (world.xb, world.xa, OPEN),
             (world.xb, world.n2, OPEN))
    for family in BOTH:
        assert ping(world.xb, FAR_IP[family], timeout=0.3) == SHUT
        assert ping(world.xb, WORLD_IP[family]) == OPEN


def test_np11_block_matches_the_client_behind_a_service(world):
    """The endpoint sees the pod's or node's own address, on the same node and from another."""
    m = Matrix(world)
    vip = world.service("b", 60, [objects.service_port(8000, 80)], {"pod": "b"}, ns="x")
    m.expect((world.xa, vip, OPEN, 8000), (world.yb, vip, OPEN, 8000))
    world.policies(ingress(pod=B, rules=[peers(*blocks(world.xa, world.yb))]))
    m.expect((world.xa, vip, OPEN, 8000), (world.yb, vip, OPEN, 8000), (world.za, vip, SHUT, 8000),
             (world.xc, vip, SHUT, 8000), (world.n2, vip, SHUT, 8000), (world.n1, vip, OPEN, 8000))
    world.policies(ingress(pod=B, rules=[peers(*blocks(world.n2))]))
    m.expect((world.n2, vip, OPEN, 8000), (world.xa, vip, SHUT, 8000), (world.yb, vip, SHUT, 8000))


def test_np11_block_matches_the_endpoint_on_another_node(world):
    m = Matrix(world)
    vip = world.service("c", 61, [objects.service_port(8000, 80)], {"pod": "c"}, ns="x")
    m.expect((world.xb, vip, OPEN, 8000))
    world.policies(egress(pod=B, rules=[peers(*blocks(world.xc), key="to", ports=[tcp(80)])]))
    m.expect((world.xb, vip, OPEN, 8000), (world.xb, world.xc, OPEN), (world.xb, world.xa, SHUT))
    world.policies(egress(pod=B, rules=[peers(*blocks(vip), key="to")]))
    m.expect((world.xb, vip, SHUT, 8000), (world.xb, world.xc, SHUT))
    world.policies(egress(pod=B, rules=[peers(*blocks(world.xc), key="to", ports=[tcp(8000)])]))
    m.expect((world.xb, vip, SHUT, 8000), (world.xb, world.xc, SHUT))


def test_np11_except_takes_a_pod_and_a_node_out_of_a_block(world):
    m = Matrix(world)
    made = [{"ipBlock": {"cidr": ALL_PREFIX[family],
                         "except": [f"{target.ips[family]}/{32 if family == 4 else 128}"
                                    for target in (world.xa, world.xc, world.n2)]}}
            for family in BOTH]
    world.policies(egress(pod=B, rules=[peers(*made, key="to")]))
    m.whom(world.xb, [world.ya, world.yb, world.za])
    m.expect((world.xb, world.n2, SHUT), (world.xb, world.n1, OPEN), (world.xb, OUTSIDE_IP, OPEN))
    world.policies(ingress(pod=B, rules=[peers(*made)]))
    m.who(world.xb, [world.ya, world.yb, world.za])
    m.expect((world.n2, world.xb, SHUT), (world.outside, world.xb, OPEN))


def test_np13_named_port_follows_the_pod_object(world):
    m = Matrix(world)
    pod = named_pod(world, "moving", [("web", 80, "TCP")])
    world.policies(ingress(pod=labels(named="moving"), ns="y", rules=[{"ports": [{"port": "web"}]}]))
    m.expect((world.xa, pod, OPEN), (world.xa, pod, SHUT, 81), (world.yb, pod, OPEN))
    pod.ports = [("web", 81, "TCP")]
    pod.write_object()
    m.expect((world.xa, pod, SHUT), (world.xa, pod, OPEN, 81), (world.yb, pod, OPEN, 81))
    pod.ports = [("other", 80, "TCP")]
    pod.write_object()
    m.expect((world.xa, pod, SHUT), (world.xa, pod, SHUT, 81))


def test_np13_named_port_behind_a_service_is_the_endpoints(world):
    """Two endpoints with the same name for different numbers: each is reached by its own."""
    m = Matrix(world)
    one = named_pod(world, "one", [("web", 80, "TCP")])
    two = named_pod(world, "two", [("web", 81, "TCP")], node=world.n2)
    world.policies(ingress(pod=expression("named", "Exists"), ns="y",
                           rules=[{"ports": [{"port": "web"}]}]))
    for number, (pod, target) in enumerate(((one, 80), (two, 81), (one, 81), (two, 80))):
        vip = world.service(f"web{number}", 62 + number, [objects.service_port(8000, target)],
                            {"named": pod.name}, ns="y")
        right = (pod, target) in ((one, 80), (two, 81))
        m.expect((world.xa, vip, OPEN if right else SHUT, 8000),
                 (world.yb, vip, OPEN if right else SHUT, 8000))


def test_np14_named_port_in_egress_is_each_destinations_on_every_node(world):
    m = Matrix(world)
    near = named_pod(world, "near", [("web", 80, "TCP"), ("web", 80, "UDP")])
    away = named_pod(world, "away", [("web", 81, "TCP")], node=world.n2)
    bare = named_pod(world, "bare", [])
    world.policies(egress(pod=B, rules=[{"ports": [{"port": "web"}]}]))
    m.expect((world.xb, near, OPEN), (world.xb, near, SHUT, 81), (world.xb, near, SHUT, 80, "UDP"),
             (world.xb, away, SHUT), (world.xb, away, OPEN, 81), (world.xb, bare, SHUT),
             (world.xb, bare, SHUT, 81), (world.xb, world.n1, SHUT), (world.xb, OUTSIDE_IP, SHUT))
    world.policies(egress(pod=B, rules=[{"ports": [{"port": "web", "protocol": "UDP"}]}]))
    m.expect((world.xb, near, OPEN, 80, "UDP"), (world.xb, near, SHUT), (world.xb, away, SHUT, 81),
             (world.xb, away, SHUT, 80, "UDP"))


def test_np14_named_port_with_a_block_is_each_pods_within_it_and_no_outsides(world):
    m = Matrix(world)
    near = named_pod(world, "near", [("web", 80, "TCP")])
    away = named_pod(world, "away", [("web", 81, "TCP")], node=world.n2)
    web = [{"port": "web"}]
    world.policies(egress(pod=B, rules=[peers(*blocks(near, away), key="to", ports=web)]))
    m.expect((world.xb, near, OPEN), (world.xb, near, SHUT, 81), (world.xb, away, OPEN, 81),
             (world.xb, away, SHUT), (world.xb, world.xa, SHUT))
    everything = [{"ipBlock": {"cidr": ALL_PREFIX[family]}} for family in BOTH]
    world.policies(egress(pod=B, rules=[peers(*everything, key="to", ports=web)]))
    m.expect((world.xb, near, OPEN), (world.xb, away, OPEN, 81), (world.xb, OUTSIDE_IP, SHUT),
             (world.xb, world.n1, SHUT), (world.xb, OUTSIDE_IP, SHUT, 81))


@each_family
def test_np16_echo_request_is_no_reply_of_an_echo_request(world, family):
    """Same addresses, same identifier, other direction."""
    world.policies(ingress(pod=B))
    inner, outer = world.xb, world.xa
    ident = struct.unpack("!H", os.urandom(2))[0]
    request, reply = (8, 0) if family == 4 else (128, 129)
    with Capture(inner.netns) as capture:
        send_echo(inner, outer, family, ident)
        capture.wait(lambda p: p.kind == reply and p.payload == b"polder", "the reply")
        send_echo(outer, inner, family, ident)
        send_echo(outer, inner, family, ident, kind=reply, data=b"forged")
        capture.none(lambda p: p.kind == request or
                     (p.payload == b"forged" and p.kind == request), 0.2)
        # A reply with an identifier that nobody asked with belongs to no flow.
        with world.n1.agent.dropping("policy_denied_ingress"):
            send_echo(outer, inner, family, ident ^ 1, kind=reply, data=b"unasked")
            capture.none(lambda p: p.payload == b"unasked", 0.2)


def send_echo(source, target, family, ident, kind=None, data=b"polder"):
    """An echo request, or a message of that kind, as a frame of the source."""
    ours, theirs = source.ips[family], target.ips[family]
    proto, message = packets.echo_request(ours, theirs, ident, data=data)
    if kind is not None:
        rest = struct.pack("!HH", ident, 1) + data
        message = packets.icmp4(kind, 0, rest) if family == 4 else packets.icmp6(ours, theirs, kind,
                                                                                0, rest)
    packet = packets.ip(ours, theirs, proto, message)
    send_frame(source, packets.ethernet(source.gateway_mac(), source.mac,
                                        packets.ethertype_of(packet), packet))


@each_family
def test_np17_echo_needs_a_rule_without_ports(world, family):
    every = {"namespaceSelector": {}}
    every_port = [{"protocol": proto} for proto in ("TCP", "UDP", "SCTP")]
    world.policies(ingress(pod=B, rules=[peers(every, ports=every_port), peers({"podSelector": A})]))
    Matrix(world, family).expect((world.ya, world.xb, OPEN), (world.outside, world.xb, SHUT))
    assert ping(world.xa, world.xb.ips[family]) == OPEN
    assert ping(world.ya, world.xb.ips[family], timeout=0.3) == SHUT
    assert ping(world.yb, world.xb.ips[family], timeout=0.3) == SHUT
    world.policies(egress(pod=B, rules=[peers(every, key="to", ports=every_port),
                                        peers({"podSelector": A}, key="to")]))
    Matrix(world, family).expect((world.xb, world.ya, OPEN), (world.xb, OUTSIDE_IP, SHUT))
    assert ping(world.xb, world.xa.ips[family]) == OPEN
    assert ping(world.xb, world.ya.ips[family], timeout=0.3) == SHUT
    assert ping(world.xb, world.n1.ips[family], timeout=0.3) == SHUT


def test_np17_error_of_an_allowed_flow_passes_where_no_rule_allows_icmp(world):
    """The refusal of a closed UDP port, between two pods of which neither may send or get any other ICMP."""
    udp = {"port": CLOSED_PORT, "protocol": "UDP"}
    world.policies(ingress("client", B), egress("client-out", B, rules=[{"ports": [udp]}]),
                   ingress("server", expression("pod", "In", "a", "c"), rules=[{"ports": [udp]}]),
                   egress("server-out", expression("pod", "In", "a", "c")))
    Matrix(world).expect((world.xb, world.xa, "refused", CLOSED_PORT, "UDP"),
                         (world.xb, world.xc, "refused", CLOSED_PORT, "UDP"),
                         (world.xa, world.xb, SHUT, CLOSED_PORT, "UDP"),
                         (world.xb, world.xa, SHUT, 80, "UDP"))


def host_network_pods(world):
    """One on each node, with the labels that policies of the tests select."""
    for node in world.nodes:
        world.resources.put(f"pod-x-host{node.number}", objects.pod(
            f"host{node.number}", "x", {"pod": "host"}, node.name, list(node.ips.values()),
            [("web", 80, "TCP")], host_network=True))


def test_np19_host_network_pods_are_no_subjects(world):
    m = Matrix(world)
    host_network_pods(world)
    world.policies(ingress("in", labels(pod="host")), egress("out", labels(pod="host")),
                   ingress("b", B))
    m.expect((world.xa, world.xb, SHUT), (world.xa, world.n1, OPEN), (world.xc, world.n2, OPEN),
             (world.outside, world.n1, OPEN), (world.n1, OUTSIDE_IP, OPEN),
             (world.n2, world.xa, OPEN), (world.n1, world.xc, OPEN))


def test_np19_host_network_pods_are_no_selector_peers_but_their_nodes_block_is(world):
    m = Matrix(world)
    host_network_pods(world)
    host = labels(pod="host")
    for peer in ({"podSelector": host}, {"namespaceSelector": {}}, {"podSelector": {}}):
        world.policies(ingress(pod=B, rules=[peers(peer)]), egress(pod=B, rules=[peers(peer,
                                                                                       key="to")]))
        m.expect((world.n2, world.xb, SHUT), (world.xb, world.n1, SHUT), (world.xb, world.n2, SHUT),
                 (world.n1, world.xb, OPEN))
    world.policies(ingress(pod=B, rules=[peers(*blocks(world.n2))]),
                   egress(pod=B, rules=[peers(*blocks(world.n1), key="to")]))
    m.expect((world.n2, world.xb, OPEN), (world.xb, world.n1, OPEN), (world.xb, world.n2, SHUT))
    world.policies(egress(pod=B, rules=[{"ports": [{"port": "web"}]}]))
    m.expect((world.xb, world.n1, SHUT), (world.xb, world.xa, SHUT))


def test_np20_pod_that_may_do_nothing_reaches_itself(world):
    """By its own address and through its Service, by TCP and UDP."""
    m = Matrix(world)
    ports = [objects.service_port(8000, 80, name="tcp"),
             objects.service_port(8000, 80, "UDP", name="udp")]
    vip = world.service("self", 70, ports, {"pod": "b"}, ns="x")
    m.expect((world.xa, vip, OPEN, 8000), (world.xa, vip, OPEN, 8000, "UDP"))
    world.policies(ingress(pod={}), egress(pod={}))
    m.expect((world.xb, world.xb, OPEN), (world.xb, world.xb, OPEN, 80, "UDP"),
             (world.xb, vip, OPEN, 8000), (world.xb, vip, OPEN, 8000, "UDP"),
             (world.xa, vip, SHUT, 8000), (world.xa, vip, SHUT, 8000, "UDP"),
             (world.xb, world.xa, SHUT), (world.xa, world.xb, SHUT))
    for family in BOTH:
        assert ping(world.xb, world.xb.ips[family]) == OPEN


def test_np20_hairpin_opens_no_other_endpoint(world):
    """A Service of two endpoints, one of them the client: the other one stays closed to it."""
    vip = world.service("pair", 71, [objects.service_port(8000, 80)],
                        {"pod": "b"}, ns="x")
    other = world.pod("b2", "x", labels={"pod": "b"})
    server = world.serve(other, 80)
    Matrix(world).expect((world.xa, vip, OPEN, 8000))
    world.policies(ingress(pod=B), egress(pod=B))
    Matrix(world).expect((world.xb, other, SHUT), (world.xa, vip, SHUT, 8000))
    for one in server:
        one.seen.clear()
    for family in BOTH:
        answers = {reach(world.xb, vip[family], 8000, timeout=0.15).verdict for _ in range(8)}
        assert answers == {OPEN, SHUT} or answers == {OPEN} or answers == {SHUT}, answers
    assert not any(one.seen for one in server), "the other endpoint was reached"


ALIKE = ({"a": "b.c_d"}, {"a.b": "c.d"}, {"a": "b", "c": ""}, {"a": "b", "C": "d"},
         {"a": "B", "c": "d"}, {"a": "bc", "d": ""}, {"ab": "", "cd": ""}, {"x/a": "b", "x/c": "d"},
         {"a": "b", "c": "dd"}, {"a": "d", "c": "b"})
ODD = ({"a": "b,c=d"}, {"a=b,c": "d"}, {"a": "b;c=d"}, {"a": "b\nc=d"}, {"a": "b", "": "d"},
       {"a": "b", "c": "d "}, {"a": "b\0c=d"})


def test_np28_labels_that_look_alike_are_different(world):
    """Nothing is glued together that a label's text could imitate."""
    m = Matrix(world)
    guest = world.pod("guest", "x", labels={"round": "none"})
    rule = peers({"podSelector": labels(a="b", c="d")}, ports=[tcp(80)])
    rounds = [peers({"podSelector": labels(round=f"r{number}")}, ports=[tcp(81)])
              for number in range(len(ALIKE))]
    for number, alike in enumerate(ALIKE):
        guest.relabel(round=f"r{number}", **alike)
        world.policies(ingress(pod=B, rules=[rule, rounds[number]]))
        m.expect((guest, world.xb, OPEN, 81), (guest, world.xb, SHUT))
    guest.relabel(a="b", c="d")
    m.expect((guest, world.xb, OPEN), (guest, world.xb, SHUT, 81))


def test_np28_labels_that_no_label_may_be_are_refused_and_match_nothing(world):
    guest = world.pod("guest", "x", labels={"round": "none"})
    world.policies(ingress(pod=B, rules=[peers({"podSelector": labels(a="b", c="d")})]))
    Matrix(world).expect((guest, world.xb, SHUT))
    for odd in ODD:
        guest.relabel(**odd)
        wait_until(lambda: "pod-x-guest" in str(world.n1.agent.ctl_json("status")["problems"]),
                   f"{odd} is refused")
        assert reach(guest, world.xb.ips[4], 80, timeout=0.15).verdict == SHUT, odd
        guest.relabel(round="none")
        wait_until(lambda: not world.n1.agent.ctl_json("status")["problems"], "no problem is left")


INTERNAL_NAMES = {name: "x" for name in (
    "kubernetes.io/metadata.name", "io.kubernetes.pod.namespace", "namespace", "metadata.namespace",
    "k8s:io.kubernetes.pod.namespace", "reserved:host", "reserved.host", "host", "world", "polder",
    "identity", "name", "team")}


def test_np28_pod_labels_never_stand_for_its_namespace_or_for_the_node(world):
    m = Matrix(world)
    guest = world.pod("guest", "z", labels={**INTERNAL_NAMES, "team": "red"})
    named_x = labels(**{"kubernetes.io/metadata.name": "x"})
    world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": named_x}),
                                         peers({"namespaceSelector": labels(team="red")})]))
    m.expect((guest, world.xb, SHUT), (world.xa, world.xb, OPEN), (world.xc, world.xb, OPEN))
    world.policies(ingress("in", {}, "z"))
    world.serve(guest, 80)
    m.expect((world.xa, guest, SHUT), (world.n1, guest, OPEN))


def test_np28_namespace_cannot_take_the_name_of_another(world):
    m = Matrix(world)
    impostor = objects.namespace("z", **{"kubernetes.io/metadata.name": "x", "name": "x"})
    world.resources.put("namespaces", objects.namespace("x", team="red", env="test"),
                        objects.namespace("y", team="blue"), impostor)
    by_name = {"namespaceSelector": labels(**{"kubernetes.io/metadata.name": "x"})}
    world.policies(ingress(pod=B, rules=[peers(by_name)]))
    m.who(world.xb, [world.xa, world.xc])
    by_name = {"namespaceSelector": labels(**{"kubernetes.io/metadata.name": "z"})}
    world.policies(ingress(pod=B, rules=[peers(by_name)]))
    m.who(world.xb, [world.za])
