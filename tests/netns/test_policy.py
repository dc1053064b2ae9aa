# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy on real traffic. Names start with the rule that they prove (NP-01 to NP-23; more in test_policy_*.py)."""

import ipaddress
import socket
import threading
import time

from lib import objects, packets
from lib.netns import inside
from lib.objects import expression, labels, policy
from lib.policies import (ALL_PREFIX, FULL, OPEN, OUTSIDE_PREFIX, SHUT, A, B, Matrix, egress,
                          ingress, others, peers, six_pods, tcp)
from lib.runner import each_family
from lib.traffic import SOCKET_FAMILY, Capture, Connection, UdpClient, is_cut, ping, reach, sctp_reach, send_frame, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP, Pod

LASTS = 110
WORLD = {"nodes": 2}
setup = six_pods


@each_family
def test_np01_pod_of_no_policy_is_open(world, family):
    m = Matrix(world, family)
    m.whom(world.xa, others(world))
    world.policies(ingress(pod=B))
    m.who(world.xb, [])
    m.who(world.xa, others(world))
    m.whom(world.xb, others(world))
    m.expect((world.outside, world.xa, OPEN), (world.outside, world.xb, SHUT),
             (world.xb, OUTSIDE_IP[family], OPEN))


@each_family
def test_np01_drops_are_counted_with_their_reason(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod=B), egress(pod=labels(pod="a")))
    m.expect((world.za, world.xb, SHUT), (world.xa, world.za, SHUT))
    with world.n1.agent.dropping("policy_denied_ingress"):
        assert reach(world.za, world.xb.ips[family], 80, timeout=0.3).verdict == SHUT
    with world.n1.agent.dropping("policy_denied_egress"):
        assert reach(world.xa, world.za.ips[family], 80, timeout=0.3).verdict == SHUT


@each_family
def test_np02_policy_selects_pods_of_its_namespace_only(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod=A, ns="x"))
    m.who(world.xa, [])
    m.who(world.ya, others(world))
    world.policies(ingress(pod={}, ns="y"))
    m.who(world.ya, [])
    m.who(world.yb, [])
    m.who(world.xa, others(world))


@each_family
def test_np02_missing_namespace_is_default(world, family):
    plain = world.pod("plain")
    world.serve(plain, 80)
    m = Matrix(world, family)
    world.policies(policy("in", {}, None, policyTypes=["Ingress"]))
    m.expect((world.xa, plain, SHUT), (world.xa, world.xb, OPEN))


@each_family
def test_np03_match_labels_and_expressions_both_count(world, family):
    m = Matrix(world, family)
    both = {"matchLabels": {"pod": "a"},
            "matchExpressions": [{"key": "role", "operator": "Exists"}]}
    every_namespace = {"namespaceSelector": {}}
    world.policies(ingress(pod=B, rules=[peers({**every_namespace, "podSelector": both})]))
    m.who(world.xb, [world.xa, world.ya])


@each_family
def test_np03_selector_operators(world, family):
    m = Matrix(world, family)
    for selector, allowed in (
            (expression("pod", "In", "a", "c"), [world.xa, world.xc, world.ya, world.za]),
            (expression("pod", "NotIn", "a", "c"), [world.yb]),
            (expression("role", "NotIn", "front"), [world.xc, world.yb, world.za]),
            (expression("role", "Exists"), [world.xa, world.ya]),
            (expression("role", "DoesNotExist"), [world.xc, world.yb, world.za]),
            (expression("role", "In", "other"), [])):
        world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": {},
                                                    "podSelector": selector})]))
        m.who(world.xb, allowed)


@each_family
def test_np03_namespace_selector_reads_its_labels_and_name(world, family):
    m = Matrix(world, family)
    of_x, of_y = [world.xa, world.xc], [world.ya, world.yb]
    for selector, allowed in (
            (labels(team="blue"), of_y),
            (expression("team", "NotIn", "red"), of_y + [world.za]),
            (expression("env", "Exists"), of_x),
            (labels(**{"kubernetes.io/metadata.name": "z"}), [world.za])):
        world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": selector})]))
        m.who(world.xb, allowed)


@each_family
def test_np04_missing_policy_types_isolate_by_the_sections_there(world, family):
    m = Matrix(world, family)
    out_of_b = (world.xb, world.ya)
    for spec, out in (({}, OPEN), ({"policyTypes": None}, OPEN), ({"policyTypes": []}, OPEN),
                      ({"egress": None}, OPEN), ({"egress": []}, OPEN),
                      ({"egress": [peers(ports=[tcp(81)], key="to")]}, SHUT)):
        world.policies(policy("types", B, "x", **spec))
        m.expect((world.ya, world.xb, SHUT), (*out_of_b, out))


@each_family
def test_np05_sections_of_directions_not_listed_are_ignored(world, family):
    m = Matrix(world, family)
    world.policies(policy("types", B, "x", policyTypes=["Egress"], egress=[{}],
                          ingress=[peers({"podSelector": labels(pod="nobody")})]))
    m.who(world.xb, others(world))
    world.policies(policy("types", B, "x", policyTypes=["Ingress"], ingress=[{}],
                          egress=[peers({"podSelector": labels(pod="nobody")}, key="to")]))
    m.whom(world.xb, others(world))


@each_family
def test_np06_absent_or_empty_rules_deny_all_and_an_empty_rule_allows_all(world, family):
    m = Matrix(world, family)
    for spec, verdict in (({}, SHUT), ({"ingress": []}, SHUT), ({"ingress": None}, SHUT),
                          ({"ingress": [{}]}, OPEN)):
        world.policies(policy("in", B, "x", policyTypes=["Ingress"], **spec))
        m.expect((world.xa, world.xb, verdict), (world.outside, world.xb, verdict),
                 (world.xa, world.xb, verdict, 80, "UDP"))
    for spec, verdict in (({}, SHUT), ({"egress": []}, SHUT), ({"egress": [{}]}, OPEN)):
        world.policies(policy("out", B, "x", policyTypes=["Egress"], **spec))
        m.expect((world.xb, world.xa, verdict), (world.xb, OUTSIDE_IP[family], verdict),
                 (world.xb, world.xa, verdict, 80, "UDP"))


@each_family
def test_np07_policies_and_rules_add_up(world, family):
    m = Matrix(world, family)
    from_a = peers({"podSelector": A})
    from_y = peers({"namespaceSelector": labels(team="blue")})
    for made in ([ingress("one", B, rules=[from_a]), ingress("two", B, rules=[from_y])],
                 [ingress("two", B, rules=[from_y]), ingress("one", B, rules=[from_a])],
                 [ingress("one", B, rules=[from_y, from_a]), ingress("deny", {})]):
        world.policies(*made)
        m.who(world.xb, [world.xa, world.ya, world.yb])


@each_family
def test_np07_both_ends_must_allow(world, family):
    m = Matrix(world, family)
    to_y = peers({"namespaceSelector": labels(team="blue")}, key="to")
    from_x = peers({"namespaceSelector": labels(team="red")})
    world.policies(egress(pod=A, rules=[to_y]))
    m.whom(world.xa, [world.ya, world.yb])
    world.policies(egress(pod=A, rules=[to_y]), ingress("in", A, "y"))
    m.whom(world.xa, [world.yb])
    world.policies(egress(pod=A, rules=[to_y]), ingress("in", A, "y", [from_x]))
    m.whom(world.xa, [world.ya, world.yb])
    m.expect((world.za, world.ya, SHUT))


@each_family
def test_np08_absent_peers_are_everyone_and_absent_ports_everything(world, family):
    m = Matrix(world, family)
    for rule in ({"ports": [tcp(80)]}, {"from": [], "ports": [tcp(80)]},
                 {"from": None, "ports": [tcp(80)]}):
        world.policies(ingress(pod=B, rules=[rule]))
        m.expect((world.xa, world.xb, OPEN), (world.yb, world.xb, OPEN),
                 (world.outside, world.xb, OPEN), (world.xa, world.xb, SHUT, 81),
                 (world.outside, world.xb, SHUT, 81), (world.xa, world.xb, SHUT, 80, "UDP"))
    for ports in ({}, {"ports": []}, {"ports": None}):
        world.policies(ingress(pod=B, rules=[{"from": [{"podSelector": A}], **ports}]))
        m.expect((world.xa, world.xb, OPEN), (world.xa, world.xb, OPEN, 81),
                 (world.xa, world.xb, OPEN, 80, "UDP"), (world.ya, world.xb, SHUT),
                 (world.outside, world.xb, SHUT))
        assert ping(world.xa, world.xb.ips[family]) == OPEN, "echo is a portless rule's too"


@each_family
def test_np09_pod_and_namespace_selectors_in_one_or_in_several_elements(world, family):
    m = Matrix(world, family)
    blue = labels(team="blue")
    for list_of_peers, allowed in (
            ([{"podSelector": A}], [world.xa]),
            ([{"podSelector": {}}], [world.xa, world.xc]),
            ([{"namespaceSelector": blue}], [world.ya, world.yb]),
            ([{"namespaceSelector": blue, "podSelector": A}], [world.ya]),
            ([{"namespaceSelector": blue}, {"podSelector": A}], [world.xa, world.ya, world.yb]),
            ([{"namespaceSelector": {}}], others(world)),
            ([{"namespaceSelector": {}, "podSelector": A}], [world.xa, world.ya, world.za])):
        world.policies(ingress(pod=B, rules=[peers(*list_of_peers)]))
        m.who(world.xb, allowed)
        m.expect((world.outside, world.xb, SHUT))


@each_family
def test_np10_block_beside_a_selector_is_refused_and_the_last_good_version_stays(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod=B, rules=[peers({"podSelector": A})]))
    m.who(world.xb, [world.xa])
    bad = ingress(pod=B, rules=[peers({"ipBlock": {"cidr": ALL_PREFIX[family]}, "podSelector": A})])
    world.resources.put("policies", objects.item_list([bad]))
    wait_until(lambda: "ipBlock" in world.n1.agent.ctl("-o", "json", "status").stdout
               or "policies.json" in world.n1.agent.ctl("-o", "json", "status").stdout,
               "the refusal in the status")
    m.who(world.xb, [world.xa])


@each_family
def test_np10_block_with_excepts(world, family):
    m = Matrix(world, family)
    link = "172.30.0.0/24" if family == 4 else "fd30::/64"
    outside = OUTSIDE_PREFIX[family]
    for block, from_outside, from_world in (
            ({"cidr": link}, OPEN, SHUT),
            ({"cidr": link, "except": [outside]}, SHUT, SHUT),
            ({"cidr": ALL_PREFIX[family]}, OPEN, OPEN),
            ({"cidr": ALL_PREFIX[family], "except": [link]}, SHUT, OPEN),
            ({"cidr": outside}, OPEN, SHUT)):
        world.policies(egress(pod=B, rules=[peers({"ipBlock": block}, key="to")]))
        m.expect((world.xb, OUTSIDE_IP[family], from_outside),
                 (world.xb, WORLD_IP[family], from_world))


@each_family
def test_np10_cidr_that_is_not_canonical_is_masked(world, family):
    m = Matrix(world, family)
    crooked = "172.30.0.77/24" if family == 4 else "fd30::77/64"
    world.policies(ingress(pod=B, rules=[peers({"ipBlock": {"cidr": crooked}})]))
    m.expect((world.outside, world.xb, OPEN), (world.xa, world.xb, SHUT))


@each_family
def test_np10_excepted_address_may_be_allowed_by_another_rule(world, family):
    m = Matrix(world, family)
    outside = OUTSIDE_PREFIX[family]
    wide = peers({"ipBlock": {"cidr": ALL_PREFIX[family], "except": [outside]}})
    world.policies(ingress(pod=B, rules=[wide]))
    m.expect((world.outside, world.xb, SHUT))
    world.policies(ingress(pod=B, rules=[wide, peers({"ipBlock": {"cidr": outside}},
                                                     ports=[tcp(80)])]))
    m.expect((world.outside, world.xb, OPEN), (world.outside, world.xb, SHUT, 81))


@each_family
def test_np10_block_of_one_family_never_matches_the_other(world, family):
    m = Matrix(world, family)
    other = 6 if family == 4 else 4
    world.policies(ingress(pod=B, rules=[peers({"ipBlock": {"cidr": ALL_PREFIX[other]}})]))
    m.expect((world.outside, world.xb, SHUT), (world.xa, world.xb, SHUT))
    Matrix(world, other).expect((world.outside, world.xb, OPEN))


@each_family
def test_np11_block_matches_addresses_of_pods(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod=B, rules=[peers({"ipBlock": {"cidr": m.block(world.xa)}},
                                               {"ipBlock": {"cidr": m.block(world.yb)}})]))
    m.who(world.xb, [world.xa, world.yb])
    block = {"cidr": world.n1.pod_cidr[family], "except": [m.block(world.xa)]}
    world.policies(egress(pod=B, rules=[peers({"ipBlock": block}, key="to")]))
    m.whom(world.xb, [world.ya, world.za])


@each_family
def test_np11_block_matches_addresses_of_nodes(world, family):
    m = Matrix(world, family)
    world.policies(egress(pod=B, rules=[peers({"ipBlock": {"cidr": m.block(world.n2)}}, key="to")]))
    m.expect((world.xb, world.n2, OPEN), (world.xb, OUTSIDE_IP[family], SHUT))
    world.policies(ingress(pod=B, rules=[peers({"ipBlock": {"cidr": m.block(world.n2)}})]))
    m.expect((world.n2, world.xb, OPEN), (world.outside, world.xb, SHUT))


@each_family
def test_np11_egress_is_evaluated_after_service_translation(world, family):
    m = Matrix(world, family)
    vip = world.service("yb", 50, [objects.service_port(8000, 80)], {"pod": "b"}, ns="y")[family]
    block = {"cidr": m.block(world.yb)}
    m.expect((world.xb, vip, OPEN, 8000))
    world.policies(egress(pod=B, rules=[peers({"ipBlock": block}, key="to", ports=[tcp(80)])]))
    m.expect((world.xb, vip, OPEN, 8000))
    world.policies(egress(pod=B, rules=[peers({"ipBlock": {"cidr": m.block(vip)}}, key="to")]))
    m.expect((world.xb, vip, SHUT, 8000))
    world.policies(ingress("in", B, "y", [peers({"namespaceSelector": labels(team="red")},
                                                ports=[tcp(80)])]))
    m.expect((world.xb, vip, OPEN, 8000), (world.za, vip, SHUT, 8000))


@each_family
def test_np12_ports_by_number_range_and_protocol(world, family):
    m = Matrix(world, family)
    for ports, tcp80, tcp81, udp80 in (
            ([{"port": 80}], OPEN, SHUT, SHUT),
            ([{"port": 80, "protocol": "UDP"}], SHUT, SHUT, OPEN),
            ([{"protocol": "TCP"}], OPEN, OPEN, SHUT),
            ([{"protocol": "UDP"}], SHUT, SHUT, OPEN),
            ([tcp(79, endPort=80)], OPEN, SHUT, SHUT),
            ([tcp(81, endPort=65535)], SHUT, OPEN, SHUT),
            ([tcp(1, endPort=65535)], OPEN, OPEN, SHUT),
            ([tcp(81), {"port": 80, "protocol": "UDP"}], SHUT, OPEN, OPEN),
            ([tcp(80, endPort=80)], OPEN, SHUT, SHUT)):
        world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": {}}, ports=ports)]))
        for source in (world.xa, world.yb):
            m.expect((source, world.xb, tcp80), (source, world.xb, tcp81, 81),
                     (source, world.xb, udp80, 80, "UDP"))


@each_family
def test_np13_named_port_is_each_destinations_own(world, family):
    m = Matrix(world, family)
    one = world.pod("one", "x", labels={"named": "1"}, ports=[("web", 80, "TCP")])
    two = world.pod("two", "x", labels={"named": "2"},
                    ports=[("web", 81, "TCP"), ("web", 80, "UDP")])
    none = world.pod("none", "x", labels={"named": "3"}, ports=[("other", 80, "TCP")])
    for pod in (one, two, none):
        for port, proto in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
            world.serve(pod, port, proto)
    rule = {"ports": [{"port": "web"}]}
    world.policies(ingress(pod=expression("named", "Exists"), rules=[rule]))
    m.expect((world.xa, one, OPEN), (world.xa, one, SHUT, 81), (world.xa, two, SHUT),
             (world.xa, two, OPEN, 81), (world.xa, none, SHUT), (world.xa, none, SHUT, 81),
             (world.xa, two, SHUT, 80, "UDP"), (world.yb, two, OPEN, 81))
    rule = {"ports": [{"port": "web", "protocol": "UDP"}]}
    world.policies(ingress(pod=expression("named", "Exists"), rules=[rule]))
    m.expect((world.xa, one, SHUT), (world.xa, two, SHUT, 81), (world.xa, two, OPEN, 80, "UDP"),
             (world.xa, one, SHUT, 80, "UDP"))


@each_family
def test_np13_named_ports_of_sidecars_count_and_of_init_containers_do_not(world, family):
    m = Matrix(world, family)
    pod = world.pod("sidecar", "x", labels={"named": "s"})
    world.serve(pod, 80)
    world.serve(pod, 81)
    pod.write_object(init_containers=[
        {"name": "proxy", "restartPolicy": "Always",
         "ports": [{"name": "side", "containerPort": 80}]},
        {"name": "once", "ports": [{"name": "init", "containerPort": 81}]}])
    world.policies(ingress(pod=labels(named="s"), rules=[{"ports": [{"port": "side"},
                                                                    {"port": "init"}]}]))
    m.expect((world.xa, pod, OPEN), (world.xa, pod, SHUT, 81))


@each_family
def test_np14_named_port_in_egress_is_each_destinations_and_never_the_outsides(world, family):
    m = Matrix(world, family)
    one = world.pod("one", "y", labels={"named": "1"}, ports=[("web", 80, "TCP")])
    two = world.pod("two", "y", labels={"named": "2"}, ports=[("web", 81, "TCP")])
    for pod in (one, two):
        world.serve(pod, 80)
        world.serve(pod, 81)
    world.policies(egress(pod=B, rules=[{"ports": [{"port": "web"}]}]))
    m.expect((world.xb, one, OPEN), (world.xb, one, SHUT, 81), (world.xb, two, SHUT),
             (world.xb, two, OPEN, 81), (world.xb, OUTSIDE_IP[family], SHUT),
             (world.xb, OUTSIDE_IP[family], SHUT, 81), (world.xb, world.ya, SHUT))


@each_family
def test_np15_sctp_udp_and_tcp_are_distinct(world, family):
    m = Matrix(world, family)
    target = world.xb.ips[family]
    assert sctp_reach(world.xa, world.xb, target, 80) == OPEN, "SCTP passes where nothing isolates"
    world.policies(ingress(pod=B, rules=[{"ports": [{"port": 80, "protocol": "SCTP"}]}]))
    m.expect((world.xa, world.xb, OPEN, 80, "SCTP"), (world.xa, world.xb, SHUT, 81, "SCTP"),
             (world.xa, world.xb, SHUT), (world.xa, world.xb, SHUT, 80, "UDP"))
    world.policies(ingress(pod=B, rules=[{"ports": [tcp(80)]}]))
    m.expect((world.xa, world.xb, OPEN), (world.xa, world.xb, SHUT, 80, "SCTP"))
    assert sctp_reach(world.yb, world.xb, target, 80, 0.3) == SHUT, "from another node"


@each_family
def test_np16_replies_pass_and_unsolicited_packets_do_not(world, family):
    world.policies(ingress(pod=B), egress(pod=B, rules=[peers({"podSelector": A}, key="to")]))
    m = Matrix(world, family)
    m.expect((world.xb, world.xa, OPEN), (world.xb, world.xa, OPEN, 80, "UDP"),
             (world.xa, world.xb, SHUT), (world.xa, world.xb, SHUT, 80, "UDP"))
    assert ping(world.xb, world.xa.ips[family]) == OPEN
    assert ping(world.xa, world.xb.ips[family], timeout=0.3) == SHUT


@each_family
def test_np16_udp_to_another_port_is_no_reply(world, family):
    world.policies(ingress(pod=B))
    Matrix(world, family).expect((world.xa, world.xb, SHUT))
    with UdpClient(world.xb, world.xa.ips[family], 80) as client:
        client.ask()
        port = client.sock.getsockname()[1]
        assert reach(world.xa, world.xb.ips[family], port, "UDP", timeout=0.3).verdict == SHUT
        client.ask()


@each_family
def test_np16_tcp_segment_in_mid_stream_opens_nothing(world, family):
    source, target = world.za.ips[family], world.xb.ips[family]
    world.policies(ingress(pod=B))
    Matrix(world, family).expect((world.za, world.xb, SHUT))
    with Capture(world.xb.netns) as capture, world.n1.agent.dropping("tcp_without_flow", 4):
        for flags in (packets.ACK, packets.SYN | packets.ACK, packets.RST,
                      packets.FIN | packets.ACK):
            packet = packets.ip(source, target, packets.TCP,
                                packets.tcp(source, target, 80, 33333, flags, ack=7))
            send_frame(world.za, packets.ethernet(world.za.gateway_mac(), world.za.mac,
                                                  packets.ethertype_of(packet), packet))
        capture.none(lambda p: p.source == source)


@each_family
def test_np18_node_reaches_its_pods_whatever_policy_says(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod={}), egress(pod={}))
    m.expect((world.n1, world.xa, OPEN), (world.n1, world.xb, OPEN),
             (world.n1, world.xb, OPEN, 80, "UDP"), (world.n2, world.xc, OPEN),
             (world.n2, world.xb, SHUT), (world.n1, world.xc, SHUT), (world.xa, world.xb, SHUT),
             (world.xb, world.n1, SHUT))
    assert ping(world.n1, world.xb.ips[family]) == OPEN


@each_family
def test_np18_is_proven_by_the_path_not_by_the_source_address(world, family):
    node_ip, target = world.n1.ips[family], world.xb.ips[family]
    world.policies(ingress(pod={}))
    Matrix(world, family).expect((world.xa, world.xb, SHUT))
    with Capture(world.xb.netns) as capture, world.n1.agent.dropping("source_ip", 3), \
            world.n1.agent.dropping("martian_source", 3):
        for sender, mac_to, mac_from in (
                (world.outside, world.n1.netns.mac(), world.outside.mac()),
                (world.xa, world.xa.gateway_mac(), world.xa.mac)):
            packet = packets.ip(node_ip, target, packets.UDP,
                                packets.udp(node_ip, target, 9, 80, b"forged"))
            send_frame(sender, packets.ethernet(mac_to, mac_from, packets.ethertype_of(packet),
                                                packet), count=3)
        capture.none(lambda p: p.payload == b"forged")


@each_family
def test_np18_holds_for_every_address_of_the_node(world, family):
    second = "192.0.2.77" if family == 4 else "2001:db8:77::77"
    world.n1.netns.ip(f"addr add {second}/{FULL[family]} dev lo")
    try:
        world.policies(ingress(pod={}))
        Matrix(world, family).expect((world.xa, world.xb, SHUT))
        probe = reach(world.n1, world.xb.ips[family], 80, source=second)
        assert probe.verdict == OPEN, probe.verdict
    finally:
        world.n1.netns.ip(f"addr del {second}/{FULL[family]} dev lo")


def flood(sender, addresses, stop):
    """UDP and TCP openings to the addresses, without end."""
    sock = sender.socket(SOCKET_FAMILY[6 if ":" in addresses[0] else 4], socket.SOCK_DGRAM)
    while not stop.is_set():
        for address in addresses:
            try:
                sock.sendto(b"flood", (address, 80))
            except OSError:
                pass
        time.sleep(0.0005)
    sock.close()


def addresses_around(pod, family, count):
    """The next addresses of the pool after the pod's."""
    first = ipaddress.ip_address(pod.ips[family])
    return [str(first + i) for i in range(1, count + 1)]


@each_family
def test_np21_new_pod_is_isolated_from_its_first_packet(world, family):
    world.policies(ingress(pod=labels(fresh="yes")), egress(pod=labels(fresh="yes")))
    Matrix(world, family).expect((world.xa, world.xb, OPEN))
    known = world.pod("known", "x", labels={"fresh": "yes"})
    stop = threading.Event()
    flooder = threading.Thread(target=flood, args=(world.xa, addresses_around(known, family, 24),
                                                   stop))
    flooder.start()
    try:
        for number in range(6):
            pod = Pod(world, world.n1, f"fresh{number}", "x", {"fresh": "yes"})
            world.pods.append(pod)
            world.cleanup.callback(pod.netns.delete)
            with AnyLinkCapture(pod.netns) as capture, Capture(world.xb.netns) as victim, \
                    world.n1.agent.dropping("policy_denied_egress", 20):
                pod.add()
                source = pod.ips[family]
                sends = pod.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
                for _ in range(20):
                    sends.sendto(b"escaped", (world.xb.ips[family], 80))
                sends.close()
                seen = capture.matching(lambda p: p.payload == b"flood")
                assert not seen, f"{pod}: {len(seen)} packets before policy"
                victim.none(lambda p: p.source == source, 0.1)
    finally:
        stop.set()
        flooder.join()


class AnyLinkCapture(Capture):
    """Of all links, also those that come later."""

    def __init__(self, netns):
        with inside(netns.path):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setblocking(False)
        self.incoming_only, self.packets = True, []


@each_family
def test_np21_holds_for_labels_from_the_cni_configuration(world, family):
    world.policies(ingress(pod=labels(fresh="yes")))
    config = world.n1.cni_config(args={"labels": [{"key": "fresh", "value": "yes"}]})
    pod = world.pod("unnamed", "x", config=config, with_object=False)
    world.serve(pod, 80)
    assert reach(world.xa, pod.ips[family], 80, timeout=0.5).verdict == SHUT
    Matrix(world, family).expect((world.xa, pod, SHUT), (world.xa, world.xb, OPEN))


@each_family
def test_np22_policies_come_change_and_go(world, family):
    m = Matrix(world, family)
    m.who(world.xb, others(world))
    world.policies(ingress(pod=B))
    m.who(world.xb, [])
    world.policies(ingress(pod=B, rules=[peers({"podSelector": A})]))
    m.who(world.xb, [world.xa])
    world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": {}}, ports=[tcp(81)])]))
    m.who(world.xb, [])
    m.who(world.xb, others(world), port=81)
    world.policies()
    m.who(world.xb, others(world))


@each_family
def test_np22_labels_of_pods_change(world, family):
    m = Matrix(world, family)
    pod = world.pod("changing", "y", labels={"kind": "none"}, node=world.n2)
    near = world.pod("near", "x", labels={"kind": "none"})
    world.serve(near, 80)
    rule = peers({"namespaceSelector": {}, "podSelector": labels(kind="guest")})
    world.policies(ingress(pod=B, rules=[rule]), ingress("guarded", labels(kind="guarded")))
    m.expect((pod, world.xb, SHUT), (near, world.xb, SHUT), (world.xa, near, OPEN))
    pod.relabel(kind="guest")
    near.relabel(kind="guest")
    m.expect((pod, world.xb, OPEN), (near, world.xb, OPEN))
    pod.relabel(kind="none")
    near.relabel(kind="guarded")
    m.expect((pod, world.xb, SHUT), (near, world.xb, SHUT), (world.xa, near, SHUT))
    near.relabel(kind="none")
    m.expect((world.xa, near, OPEN))


@each_family
def test_np22_labels_of_namespaces_change(world, family):
    m = Matrix(world, family)
    world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": labels(team="green")})]))
    m.who(world.xb, [])
    world.resources.put("namespaces", objects.namespace("x", team="red"),
                        objects.namespace("y", team="green"), objects.namespace("z"))
    m.who(world.xb, [world.ya, world.yb])
    world.resources.put("namespaces", objects.namespace("x", team="red"),
                        objects.namespace("y", team="blue"), objects.namespace("z", team="green"))
    m.who(world.xb, [world.za])
    world.resources.delete("namespaces")
    m.who(world.xb, [])


@each_family
def test_np23_new_policy_cuts_live_connections_and_its_end_restores_them(world, family):
    sources = [world.xa, world.yb, world.outside]
    flows = [Connection(s, world.xb.ips[family], 80) for s in sources]
    flows += [Connection(world.xb, ip, 80) for ip in (world.za.ips[family], OUTSIDE_IP[family])]
    try:
        for flow in flows:
            flow.ask()
        with UdpClient(world.xa, world.xb.ips[family], 80) as datagrams:
            datagrams.ask()
            world.policies(ingress(pod=B), egress(pod=B))
            wait_until(lambda: is_cut(datagrams), "UDP is cut")
            wait_until(lambda: all(f.state() == SHUT for f in flows), "TCP is cut")
            world.policies()
            wait_until(lambda: datagrams.state() == OPEN, "UDP passes again")
            # What TCP held back comes with its next retransmission.
            for flow in flows:
                flow.sock.settimeout(5)
                assert flow.line(), "TCP goes on"
    finally:
        for flow in flows:
            flow.close()


@each_family
def test_np23_flows_that_stay_allowed_go_on_through_changes(world, family):
    with Connection(world.xa, world.xb.ips[family], 80) as flow:
        for round_number in range(8):
            rules = [peers({"podSelector": A})] + ([peers({"podSelector": {}}, ports=[tcp(81)])]
                                                   if round_number % 2 else [])
            world.policies(ingress(pod=B, rules=rules))
            flow.ask()


@each_family
def test_what_is_denied_before_and_after_a_change_is_never_open_in_between(world, family):
    rounds = 12
    stop, leaks = threading.Event(), []
    with Capture(world.xb.netns) as capture:
        world.policies(ingress(pod=B, rules=[peers({"podSelector": A})]))
        Matrix(world, family).expect((world.za, world.xb, SHUT))
        capture.read()
        capture.packets.clear()
        flooder = threading.Thread(target=flood, args=(world.za, [world.xb.ips[family]], stop))
        flooder.start()
        try:
            for number in range(rounds):
                rules = [peers({"podSelector": A}),
                         peers({"podSelector": {}}, ports=[tcp(number + 1)])]
                world.policies(ingress(f"one{number}", B, rules=rules[:1 + number % 2]),
                               ingress("every", {} if number % 3 else B))
                leaks += capture.matching(lambda p: p.payload == b"flood")
        finally:
            stop.set()
            flooder.join()
    assert not leaks, f"{len(leaks)} packets came through"


@each_family
def test_neighbour_resolution_survives_deny_all(world, family):
    world.policies(ingress(pod={}), egress(pod={}))
    Matrix(world, family).expect((world.xa, world.xb, SHUT))
    world.xa.netns.ip("neigh flush all")
    assert ping(world.n1, world.xa.ips[family]) == OPEN
    world.policies()
    Matrix(world, family).expect((world.xa, world.xb, OPEN))
