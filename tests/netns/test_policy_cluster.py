# SPDX-License-Identifier: Apache-2.0
"""ClusterNetworkPolicy on real traffic. Names start with the rule that they prove (CNP-1 to CNP-9)."""

import json
import random

from lib import objects
from lib.objects import cluster_policy, cluster_rule, labels
from lib.policies import (OPEN, SHUT, A, B, Matrix, egress, ingress, others, peers, six_pods, tcp)
from lib.traffic import BOTH, Connection, UdpClient, is_cut, ping, reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
IN_X = {"namespaces": labels(team="red")}
POD_B = {"pods": {"namespaceSelector": labels(team="red"), "podSelector": B}}
FROM_A = {"pods": {"namespaceSelector": {}, "podSelector": A}}
FROM_BLUE = {"namespaces": labels(team="blue")}
EVERYONE = {"networks": ["0.0.0.0/0", "::/0"]}
TCP_80 = {"tcp": {"destinationPort": {"number": 80}}}
UDP_80 = {"udp": {"destinationPort": {"number": 80}}}


def setup(world):
    six_pods(world)
    world.resources.put("nodes", *[
        {**objects.node(n.name, list(n.pod_cidr.values()), list(n.ips.values())),
         "metadata": {"name": n.name, "labels": {"zone": f"z{n.number}"}}} for n in world.nodes])


def admin(name="admin", priority=10, subject=None, **spec):
    return cluster_policy(name, subject or POD_B, "Admin", priority, **spec)


def baseline(name="baseline", priority=10, subject=None, **spec):
    return cluster_policy(name, subject or POD_B, "Baseline", priority, **spec)


def rules_in(*rules):
    return {"ingress": [cluster_rule(*rule) for rule in rules]}


def rules_out(*rules):
    return {"egress": [cluster_rule(*rule, egress=True) for rule in rules]}


# ------------------------------------------------------------------ CNP-1, CNP-4, CNP-5


def test_cnp1_admin_decides_before_network_policy(world):
    m = Matrix(world)
    world.policies(ingress(pod=B, rules=[{}]), egress(pod=B, rules=[{}]))
    world.cluster_policies(admin(**rules_in(("Deny", FROM_BLUE)), **rules_out(("Deny", FROM_BLUE))))
    m.who(world.xb, [world.xa, world.xc, world.za])
    m.whom(world.xb, [world.xa, world.xc, world.za])
    m.expect((world.outside, world.xb, OPEN), (world.xb, OUTSIDE_IP, OPEN))
    world.policies(ingress(pod=B), egress(pod=B))
    world.cluster_policies(admin(**rules_in(("Accept", FROM_BLUE)),
                                 **rules_out(("Accept", FROM_BLUE))))
    m.who(world.xb, [world.ya, world.yb])
    m.whom(world.xb, [world.ya, world.yb])
    m.expect((world.outside, world.xb, SHUT), (world.xb, OUTSIDE_IP, SHUT))


def test_cnp1_baseline_decides_where_no_network_policy_does(world):
    m = Matrix(world)
    world.cluster_policies(baseline(**rules_in(("Deny", FROM_BLUE)),
                                    **rules_out(("Deny", FROM_BLUE))))
    m.who(world.xb, [world.xa, world.xc, world.za])
    m.whom(world.xb, [world.xa, world.xc, world.za])
    world.cluster_policies(admin(**rules_in(("Accept", FROM_A)), **rules_out(("Accept", FROM_A))),
                           baseline(**rules_in(("Deny", {"namespaces": {}})),
                                    **rules_out(("Deny", {"namespaces": {}}))))
    m.who(world.xb, [world.xa, world.ya, world.za])
    m.whom(world.xb, [world.xa, world.ya, world.za])
    m.expect((world.outside, world.xb, OPEN), (world.xb, OUTSIDE_IP, OPEN))


def test_cnp4_network_policy_is_final_for_the_pods_it_selects(world):
    """Allowed or denied: Baseline is not asked; for the pods beside them it is."""
    m = Matrix(world)
    deny, accept = ([("Deny", {"namespaces": {}})], [("Accept", {"namespaces": {}})])
    world.cluster_policies(baseline(subject=IN_X, **rules_in(*deny)))
    world.policies(ingress(pod=B, rules=[peers({"namespaceSelector": labels(team="blue")})]))
    m.who(world.xb, [world.ya, world.yb])
    m.who(world.xa, [])
    m.expect((world.outside, world.xb, SHUT), (world.outside, world.xa, OPEN))
    world.cluster_policies(baseline(subject=IN_X, **rules_in(*accept)))
    m.who(world.xa, others(world))
    m.who(world.xb, [world.ya, world.yb])


def test_cnp4_holds_for_each_direction_by_itself(world):
    """A policy of type Ingress leaves egress to Baseline, and the other way round."""
    m = Matrix(world)
    deny = [("Deny", {"namespaces": {}})]
    world.cluster_policies(baseline(**rules_in(*deny), **rules_out(*deny)))
    world.policies(ingress(pod=B, rules=[{}]))
    m.expect((world.xa, world.xb, OPEN), (world.yb, world.xb, OPEN), (world.xb, world.xa, SHUT),
             (world.xb, world.yb, SHUT))
    world.policies(egress(pod=B, rules=[{}]))
    m.expect((world.xa, world.xb, SHUT), (world.yb, world.xb, SHUT), (world.xb, world.xa, OPEN),
             (world.xb, world.yb, OPEN))
    # Where it serves no more, the default is what it was.
    world.policies()
    m.expect((world.xa, world.xb, SHUT), (world.xb, world.xa, SHUT))
    world.cluster_policies()
    m.expect((world.xa, world.xb, OPEN), (world.xb, world.xa, OPEN))


def test_cnp5_nothing_is_isolated_by_being_selected(world):
    m = Matrix(world)
    denied = cluster_rule("Deny", FROM_A, protocols=[UDP_80])
    for policies in ([admin(), baseline("empty")],
                     [admin(**rules_in(("Accept", FROM_A)), **rules_out(("Accept", FROM_A)))],
                     [baseline(**rules_in(("Accept", FROM_A)), **rules_out(("Pass", FROM_A)))],
                     [admin(**rules_in(("Pass", FROM_A)))]):
        # One rule of another subject tells that they are in force.
        world.cluster_policies(*policies, admin("told", 99, {"pods": {"podSelector": labels(
            pod="c")}}, ingress=[denied]))
        m.who(world.xb, others(world))
        m.whom(world.xb, others(world))
        m.expect((world.outside, world.xb, OPEN), (world.xb, OUTSIDE_IP, OPEN),
                 (world.xa, world.xc, SHUT, 80, "UDP"), (world.xa, world.xc, OPEN))
        world.cluster_policies()
        m.expect((world.xa, world.xc, OPEN, 80, "UDP"))


# ------------------------------------------------------------------ CNP-2, CNP-3, CNP-9


def test_cnp2_lower_priority_number_comes_first(world):
    m = Matrix(world)
    everyone = {"namespaces": {}}
    for deny, accept, allowed in ((10, 20, False), (20, 10, True), (0, 1000, False),
                                  (1000, 0, True), (2, 10, False), (100, 20, True)):
        for tier in (admin, baseline):
            # The names are in the other order.
            world.cluster_policies(
                tier("a" if allowed else "z", deny, **rules_in(("Deny", everyone))),
                tier("z" if allowed else "a", accept, **rules_in(("Accept", FROM_A))))
            m.who(world.xb, [world.xa, world.ya, world.za] if allowed else [])


def test_cnp2_rules_of_one_object_count_in_their_order(world):
    m = Matrix(world)
    everyone = {"namespaces": {}}
    for tier in (admin, baseline):
        for rules, allowed in (
                ([("Deny", FROM_A), ("Accept", everyone)], [world.xc, world.yb]),
                ([("Accept", everyone), ("Deny", FROM_A)], others(world)),
                ([("Accept", FROM_A), ("Deny", everyone)], [world.xa, world.ya, world.za]),
                ([("Deny", everyone), ("Accept", FROM_A)], []),
                ([("Accept", FROM_BLUE), ("Deny", FROM_A), ("Accept", everyone)],
                 [world.ya, world.yb, world.xc])):
            world.cluster_policies(tier(**rules_in(*rules)))
            m.who(world.xb, allowed)


def test_cnp2_ports_and_peers_of_overlapping_rules_count_in_their_order(world):
    """The first rule that fits peer and port decides, whatever the later ones say of one or the other."""
    m = Matrix(world)
    world.cluster_policies(admin(ingress=[
        cluster_rule("Deny", FROM_BLUE, protocols=[TCP_80]),
        cluster_rule("Accept", FROM_A, protocols=[TCP_80, UDP_80]),
        cluster_rule("Deny", {"namespaces": {}}, protocols=[
            {"tcp": {"destinationPort": {"range": {"start": 80, "end": 81}}}}]),
        cluster_rule("Accept", {"namespaces": {}})]))
    m.expect((world.ya, world.xb, SHUT), (world.ya, world.xb, OPEN, 80, "UDP"),
             (world.ya, world.xb, SHUT, 81), (world.xa, world.xb, OPEN), (world.za, world.xb, OPEN),
             (world.xa, world.xb, SHUT, 81), (world.xc, world.xb, SHUT),
             (world.xc, world.xb, OPEN, 80, "UDP"), (world.yb, world.xb, OPEN, 80, "UDP"))
    for family in BOTH:
        assert ping(world.xc, world.xb.ips[family]) == OPEN


def test_cnp3_pass_skips_the_rest_of_the_admin_tier(world):
    m = Matrix(world)
    everyone = {"namespaces": {}}
    passing = admin("passing", 1, **rules_in(("Pass", FROM_A), ("Deny", FROM_BLUE),
                                             ("Deny", FROM_A)))
    denying = admin("denying", 2, **rules_in(("Deny", everyone)))
    from_a = [world.xa, world.ya, world.za]
    world.cluster_policies(passing, denying)
    m.who(world.xb, from_a)
    # Then NetworkPolicy is asked, if there is one for the pod, and Baseline if there is none.
    world.policies(ingress(pod=B, rules=[peers({"podSelector": {}})]))
    m.who(world.xb, [world.xa])
    world.policies()
    world.cluster_policies(passing, denying, baseline(**rules_in(("Deny", FROM_BLUE),
                                                                 ("Accept", FROM_A))))
    m.who(world.xb, [world.xa, world.za])
    # A Pass that comes too late passes nobody.
    world.cluster_policies(admin("passing", 3, **rules_in(("Pass", FROM_A))), denying)
    m.who(world.xb, [])


def test_cnp3_pass_in_baseline_leaves_the_default(world):
    m = Matrix(world)
    world.cluster_policies(baseline("one", 1, **rules_in(("Pass", FROM_A))),
                           baseline("two", 2, **rules_in(("Deny", {"namespaces": {}}))))
    m.who(world.xb, [world.xa, world.ya, world.za])


def test_cnp3_pass_counts_for_egress_too(world):
    m = Matrix(world)
    everyone = {"namespaces": {}}
    world.cluster_policies(admin("one", 1, **rules_out(("Pass", FROM_A))),
                           admin("two", 2, **rules_out(("Deny", everyone))))
    m.whom(world.xb, [world.xa, world.ya, world.za])
    world.policies(egress(pod=B, rules=[peers({"podSelector": A}, key="to", ports=[tcp(80)])]))
    m.whom(world.xb, [world.xa])
    m.expect((world.xb, world.xa, SHUT, 81), (world.xb, OUTSIDE_IP, SHUT))


def test_cnp9_equal_priorities_give_one_answer_whatever_the_order_of_arrival(world):
    """By name: a stable choice, over restarts too."""
    m = Matrix(world)
    everyone = {"namespaces": {}}
    made = [admin("a", 5, **rules_in(("Accept", FROM_A))),
            admin("b", 5, **rules_in(("Deny", everyone))),
            admin("c", 5, **rules_in(("Accept", everyone)))]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        world.cluster_policies()
        m.who(world.xb, others(world))
        for place in order:
            world.resources.put(f"cluster-{place}", made[place])
        m.who(world.xb, [world.xa, world.ya, world.za])
        if order[0] == 1:
            world.n1.agent.restart()
            m.who(world.xb, [world.xa, world.ya, world.za])
        for place in order:
            world.resources.delete(f"cluster-{place}")
    random.shuffle(made)
    world.cluster_policies(*made)
    m.who(world.xb, [world.xa, world.ya, world.za])


# ------------------------------------------------------------------ CNP-6, CNP-7, CNP-8


UNKNOWN_PEERS = ({"domainNames": ["example.org"]}, {"serviceAccounts": {"name": "x"}}, {},
                 {"namespaces": None}, {"namespaces": {}, "sameLabels": ["tenant"]})
UNKNOWN_PROTOCOLS = ({"quic": {"destinationPort": {"number": 80}}}, {}, {"tcp": None},
                     {"tcp": {"sourcePort": {"number": 80}}},
                     {"tcp": {"destinationPort": {"multiple": [80]}}},
                     {"udp": {"destinationPort": {}}})


def subjects(world, count, ports=()):
    """So many pods of the namespace x, each the subject of a policy of its own."""
    made = []
    for number in range(count):
        pod = world.pod(f"s{number}", "x", labels={"pod": "s", "subject": f"s{number}"}, ports=ports)
        for port, proto in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
            world.serve(pod, port, proto)
        made.append(pod)
    return made


def subject_of(pod):
    return {"pods": {"podSelector": labels(subject=pod.labels["subject"])}}


def test_cnp6_rule_of_an_unknown_kind_fails_closed(world):
    """Accept matches nothing; Deny and Pass deny everything, the outside included. Alone, and beside a kind that is known."""
    rules = [({"to": [peer]}, None) for peer in UNKNOWN_PEERS]
    rules += [({"to": [FROM_A, UNKNOWN_PEERS[0]]}, None)]
    rules += [({"to": [FROM_A]}, [protocol]) for protocol in UNKNOWN_PROTOCOLS]
    rules += [({"to": [FROM_A]}, [TCP_80, UNKNOWN_PROTOCOLS[0]])]
    cases = [(rule, protocols, action) for rule, protocols in rules
             for action in ("Accept", "Deny", "Pass")]
    pods = subjects(world, len(cases))
    first = cluster_rule("Accept", FROM_BLUE, egress=True, protocols=[UDP_80])
    world.cluster_policies(*[admin(f"s{number}", 10, subject_of(pod), egress=[
        first, {"action": action, **rule, **({"protocols": protocols} if protocols else {})}])
        for number, (pod, (rule, protocols, action)) in enumerate(zip(pods, cases))])
    world.policies(egress(pod=labels(pod="s"),
                          rules=[peers({"podSelector": labels(pod="c")}, key="to")]))
    cells = [cell for pod, case in zip(pods, cases) for cell in (
        (pod, world.ya, OPEN, 80, "UDP"), (pod, world.xc, OPEN if case[2] == "Accept" else SHUT),
        (pod, world.xa, SHUT), (pod, OUTSIDE_IP, SHUT), (pod, world.n1, SHUT))]
    for place in range(0, len(cells), 60):
        Matrix(world).expect(*cells[place:place + 60])


def test_cnp6_ingress_knows_neither_nodes_nor_networks(world):
    m = Matrix(world)
    for peer in ({"nodes": {}}, EVERYONE):
        for action, verdict in (("Accept", OPEN), ("Deny", SHUT)):
            world.cluster_policies(admin(ingress=[cluster_rule("Deny", FROM_BLUE),
                                                  cluster_rule(action, peer)]))
            m.expect((world.ya, world.xb, SHUT), (world.xa, world.xb, verdict),
                     (world.outside, world.xb, verdict), (world.n1, world.xb, OPEN))
            world.cluster_policies()
            m.expect((world.ya, world.xb, OPEN))


def test_cnp7_egress_to_nodes_by_their_labels(world):
    m = Matrix(world)
    zone = {"nodes": labels(zone="z2")}
    world.cluster_policies(admin(**rules_out(("Deny", zone))))
    m.expect((world.xb, world.n2, SHUT), (world.xb, world.n1, OPEN), (world.xb, OUTSIDE_IP, OPEN),
             (world.xb, world.xc, OPEN), (world.xb, world.n2, SHUT, 80, "UDP"))
    world.policies(egress(pod=B))
    world.cluster_policies(admin(**rules_out(("Accept", zone))))
    m.expect((world.xb, world.n2, OPEN), (world.xb, world.n1, SHUT), (world.xb, OUTSIDE_IP, SHUT),
             (world.xb, world.xc, SHUT))
    world.cluster_policies(admin(**rules_out(("Accept", {"nodes": {}}))))
    m.expect((world.xb, world.n2, OPEN), (world.xb, world.n1, OPEN), (world.xb, world.xa, SHUT))


def test_cnp7_labels_of_nodes_change(world):
    m = Matrix(world)
    world.cluster_policies(admin(**rules_out(("Deny", {"nodes": labels(zone="shut")}))))
    for shut in ((2,), (1, 2), (), (1,)):
        world.resources.put("nodes", *[
            {**objects.node(n.name, list(n.pod_cidr.values()), list(n.ips.values())),
             "metadata": {"name": n.name,
                          "labels": {"zone": "shut" if n.number in shut else "open"}}}
            for n in world.nodes])
        m.expect(*[(world.xb, n, SHUT if n.number in shut else OPEN) for n in world.nodes])


def test_cnp7_egress_to_networks(world):
    """Of the outside, of pods and of nodes; the first rule that fits decides, however wide the later ones are."""
    m = Matrix(world)
    outside = {"networks": ["172.30.0.1/32", "fd30::1/128"]}
    pod_a = {"networks": [f"{world.xa.ips[4]}/32", f"{world.xa.ips[6]}/128"]}
    world.cluster_policies(admin(**rules_out(("Deny", outside), ("Deny", pod_a))))
    m.expect((world.xb, OUTSIDE_IP, SHUT), (world.xb, WORLD_IP, OPEN), (world.xb, world.xa, SHUT),
             (world.xb, world.ya, OPEN), (world.xb, world.n1, OPEN))
    world.cluster_policies(admin(**rules_out(("Accept", outside), ("Accept", pod_a),
                                             ("Deny", EVERYONE))))
    m.expect((world.xb, OUTSIDE_IP, OPEN), (world.xb, WORLD_IP, SHUT), (world.xb, world.xa, OPEN),
             (world.xb, world.ya, SHUT), (world.xb, world.n1, SHUT), (world.xb, world.n2, SHUT),
             (world.xb, world.yb, SHUT))
    wide = {"networks": ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]}
    world.cluster_policies(admin(**rules_out(("Deny", wide), ("Accept", outside))))
    m.expect((world.xb, OUTSIDE_IP, SHUT), (world.xb, WORLD_IP, SHUT), (world.xb, world.xa, SHUT))


def test_cnp7_networks_are_evaluated_after_service_translation(world):
    m = Matrix(world)
    vip = world.service("a", 90, [objects.service_port(8000, 80)], {"pod": "a"}, ns="z")
    endpoint = {"networks": [f"{world.za.ips[4]}/32", f"{world.za.ips[6]}/128"]}
    service = {"networks": [f"{vip[4]}/32", f"{vip[6]}/128"]}
    world.cluster_policies(admin(**rules_out(("Deny", service), ("Deny", FROM_BLUE))))
    m.expect((world.xb, vip, OPEN, 8000), (world.xb, world.ya, SHUT))
    world.cluster_policies(admin(**rules_out(("Deny", endpoint))))
    m.expect((world.xb, vip, SHUT, 8000), (world.xb, world.ya, OPEN), (world.xa, vip, OPEN, 8000))


def ranged(proto, start, end):
    return {proto: {"destinationPort": {"range": {"start": start, "end": end}}}}


PROTOCOLS = (  # and what they leave of TCP 80, TCP 81 and UDP 80 when they are denied
    ([TCP_80], SHUT, OPEN, OPEN), ([UDP_80], OPEN, OPEN, SHUT),
    ([ranged("tcp", 80, 81)], SHUT, SHUT, OPEN), ([ranged("tcp", 1, 65535)], SHUT, SHUT, OPEN),
    ([ranged("tcp", 81, 82)], OPEN, SHUT, OPEN), ([ranged("tcp", 79, 80)], SHUT, OPEN, OPEN),
    ([ranged("udp", 1, 80), ranged("tcp", 81, 65535)], OPEN, SHUT, SHUT),
    ([ranged("sctp", 1, 65535), UDP_80], OPEN, OPEN, SHUT),
    ([{"destinationNamedPort": "web"}, UDP_80], SHUT, OPEN, SHUT),
    ([{"destinationNamedPort": "both"}], OPEN, SHUT, SHUT),
    ([{"destinationNamedPort": "none"}, UDP_80], OPEN, OPEN, SHUT),
    (None, SHUT, SHUT, SHUT))


def test_cnp8_protocols_and_port_ranges(world):
    pods = subjects(world, len(PROTOCOLS), (("web", 80, "TCP"), ("both", 81, "TCP"),
                                            ("both", 80, "UDP")))
    world.cluster_policies(*[admin(f"s{number}", 10, subject_of(pod), ingress=[
        cluster_rule("Deny", {"namespaces": {}}, protocols=protocols)])
        for number, (pod, (protocols, *_)) in enumerate(zip(pods, PROTOCOLS))])
    for source in (world.xa, world.yb):
        Matrix(world).expect(*[cell for pod, (_, tcp80, tcp81, udp80) in zip(pods, PROTOCOLS)
                               for cell in ((source, pod, tcp80), (source, pod, tcp81, 81),
                                            (source, pod, udp80, 80, "UDP"))])


def test_cnp8_named_port_in_egress_is_each_destinations(world):
    m = Matrix(world)
    one = world.pod("one", "y", labels={"named": "1"}, ports=[("web", 80, "TCP")])
    two = world.pod("two", "y", labels={"named": "2"}, ports=[("web", 81, "TCP")], node=world.n2)
    for pod in (one, two):
        world.serve(pod, 80)
        world.serve(pod, 81)
    web = [{"destinationNamedPort": "web"}]
    world.cluster_policies(admin(egress=[cluster_rule("Deny", {"namespaces": {}}, egress=True,
                                                      protocols=web)]))
    m.expect((world.xb, one, SHUT), (world.xb, one, OPEN, 81), (world.xb, two, OPEN),
             (world.xb, two, SHUT, 81), (world.xb, world.ya, OPEN), (world.xb, OUTSIDE_IP, OPEN))


BAD = {
    "range start == end": {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 80,
                                                                               "end": 80}}}}]},
    "range start > end": {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 81,
                                                                              "end": 80}}}}]},
    "range without end": {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 81}}}}]},
    "port 0": {"protocols": [{"tcp": {"destinationPort": {"number": 0}}}]},
    "port 65616": {"protocols": [{"tcp": {"destinationPort": {"number": 65616}}}]},
    "no peers": {"from": []}, "peers null": {"from": None},
    "26 peers": {"from": [{"namespaces": {}}] * 26}, "no protocols": {"protocols": []},
    "two kinds in a peer": {"from": [{"namespaces": {}, "pods": {"podSelector": {}}}]},
    "unknown action": {"action": "Allow"}, "action null": {"action": None},
    "peer null": {"from": [None]}, "peer list": {"from": [[]]}, "unknown field": {"ports": [80]},
    "protocol null": {"protocols": [None]}, "empty tcp": {"protocols": [{"tcp": {}}]},
}
BAD_SPEC = {
    "priority 1001": {"priority": 1001}, "priority -1": {"priority": -1},
    "priority 1.5": {"priority": 1.5}, "priority null": {"priority": None},
    "tier Other": {"tier": "Other"}, "tier null": {"tier": None}, "no subject": {"subject": None},
    "empty subject": {"subject": {}}, "two subjects": {"subject": {**IN_X, **POD_B}},
    "unknown subject": {"subject": {"nodes": {}}}, "unknown field": {"policyTypes": []},
    "26 rules": {"ingress": [cluster_rule("Accept")] * 26},
}


def test_cnp_what_makes_no_sense_is_refused_and_the_last_good_version_stays(world):
    """Each would open what is denied if it were believed in part."""
    m = Matrix(world)
    deny = admin(**rules_in(("Deny", {"namespaces": {}})))
    world.cluster_policies(deny)
    m.who(world.xb, [])
    bad = [(name, admin(ingress=[cluster_rule("Accept"), {**cluster_rule("Accept"), **rule}]))
           for name, rule in BAD.items()]
    for name, more in BAD_SPEC.items():
        made = admin(ingress=[cluster_rule("Accept")])
        made["spec"].update(more)
        bad.append((name, made))
    for name, made in bad:
        world.cluster_policies(made)
        wait_until(lambda: "cluster-policies" in json.dumps(world.n1.agent.ctl_json("status")
                                                            ["problems"]), f"{name} is refused")
        assert reach(world.xa, world.xb.ips[4], 80, timeout=0.06).verdict == SHUT, name
        world.cluster_policies(deny)
        wait_until(lambda: not world.n1.agent.ctl_json("status")["problems"], "no problem is left")
    m.who(world.xb, [])


# ------------------------------------------------------------------ subjects, hairpin, change


def test_cnp_subjects_are_namespaces_or_pods_of_them(world):
    m = Matrix(world)
    for subject, closed in (
            ({"namespaces": {}}, world.everyone), ({"namespaces": labels(team="red")},
                                                   [world.xa, world.xb, world.xc]),
            ({"pods": {"namespaceSelector": {}, "podSelector": A}}, [world.xa, world.ya, world.za]),
            ({"pods": {"namespaceSelector": labels(team="red"), "podSelector": A}}, [world.xa])):
        world.cluster_policies(admin(subject=subject, ingress=[cluster_rule("Deny")]))
        m.expect(*[(world.xa if pod is not world.xa else world.za, pod,
                    SHUT if pod in closed else OPEN) for pod in world.everyone])


def test_np18_node_reaches_its_pods_whatever_cluster_policies_say(world):
    m = Matrix(world)
    world.cluster_policies(admin(subject={"namespaces": {}}, ingress=[
        cluster_rule("Deny"), cluster_rule("Deny", {"unknown": {}})], egress=[
        cluster_rule("Deny", EVERYONE, egress=True)]))
    m.expect((world.n1, world.xb, OPEN), (world.n2, world.xc, OPEN), (world.xa, world.xb, SHUT),
             (world.n1, world.xb, OPEN, 80, "UDP"), (world.xb, world.n1, SHUT),
             (world.n2, world.xb, SHUT), (world.outside, world.xb, SHUT))


def test_np20_cluster_policy_applies_to_a_pod_that_reaches_itself_through_its_service(world):
    """NetworkPolicy does not; the pod's own address is its own affair."""
    m = Matrix(world)
    vip = world.service("self", 91, [objects.service_port(8000, 80)], {"pod": "b"}, ns="x")
    world.policies(ingress(pod=B), egress(pod=B))
    m.expect((world.xb, vip, OPEN, 8000), (world.xa, vip, SHUT, 8000))
    for direction in (rules_in, rules_out):
        world.cluster_policies(admin(**direction(("Deny", POD_B))))
        m.expect((world.xb, vip, SHUT, 8000), (world.xb, world.xb, OPEN))
        world.cluster_policies()
        m.expect((world.xb, vip, OPEN, 8000))


def test_np20_baseline_is_not_asked_for_hairpin_of_a_pod_with_network_policies(world):
    m = Matrix(world)
    vip = world.service("self", 92, [objects.service_port(8000, 80)], {"pod": "b"}, ns="x")
    world.cluster_policies(baseline(**rules_in(("Deny", {"namespaces": {}}))))
    m.expect((world.xb, vip, SHUT, 8000), (world.xa, world.xb, SHUT))
    world.policies(ingress(pod=B, rules=[peers({"podSelector": A})]))
    m.expect((world.xa, world.xb, OPEN), (world.yb, world.xb, SHUT))


def test_np23_cluster_policies_cut_and_open_live_flows(world):
    deny = admin(**rules_in(("Deny", FROM_A)))
    for family in BOTH:
        with UdpClient(world.xa, world.xb.ips[family], 80) as datagrams, \
                Connection(world.xa, world.xb.ips[family], 80) as flow, \
                Connection(world.xc, world.xb.ips[family], 80) as other:
            datagrams.ask()
            flow.ask()
            world.cluster_policies(deny)
            wait_until(lambda d=datagrams: is_cut(d), "UDP is cut")
            wait_until(lambda f=flow: f.state() == SHUT, "TCP is cut")
            other.ask()
            world.cluster_policies(admin(**rules_in(("Deny", FROM_BLUE))))
            wait_until(lambda d=datagrams: d.state(0.1) == OPEN, "UDP passes again")
            other.ask()
            world.cluster_policies()


def test_cnp_other_protocols_are_denied_and_accepted_by_rules_without_protocols_alone(world):
    m = Matrix(world)
    world.policies(ingress(pod=B))
    all_ports = [{proto: {"destinationPort": {"range": {"start": 1, "end": 65535}}}}
                 for proto in ("tcp", "udp", "sctp")]
    world.cluster_policies(admin(ingress=[cluster_rule("Accept", FROM_A, protocols=all_ports)]))
    m.expect((world.xa, world.xb, OPEN), (world.xa, world.xb, OPEN, 80, "SCTP"))
    for family in BOTH:  # what was expected so far holds without any policy, too: they may not be in force yet
        wait_until(lambda f=family: ping(world.xa, world.xb.ips[f], timeout=0.2) == SHUT, "echo is denied")
    world.cluster_policies(admin(ingress=[cluster_rule("Accept", FROM_A, protocols=[TCP_80]),
                                          cluster_rule("Accept", FROM_A)]))
    for family in BOTH:
        wait_until(lambda f=family: ping(world.xa, world.xb.ips[f], timeout=0.1) == OPEN,
                   "echo is accepted")


# ------------------------------------------------------------------ pods that no object names


def late_pod(world, name, ns, app):
    """On the second node, with a server; its Pod object is not there yet."""
    pod = world.pod(name, ns, labels={"pod": app}, node=world.n2, with_object=False)
    world.serve(pod, 80)
    return pod


def object_comes(world, pod):
    """Until the first node knows whose address it is."""
    pod.write_object()
    for ip in pod.ips.values():
        wait_until(lambda ip=ip: repr(pod) in world.n1.agent.ctl(
            "explain", "--from", ip, "--to", "x/b", "--port", "80", check=False).stdout, f"{pod} at {ip}")


def test_deny_by_selector_holds_for_a_pod_whose_object_is_late(world):
    """As long as its labels are not known, any selector may choose it; x/a, for which no policy is, it reaches."""
    m = Matrix(world)
    chosen, other = late_pod(world, "chosen", "y", "a"), late_pod(world, "other", "z", "b")
    for tier in (admin, baseline):
        world.cluster_policies(tier(**rules_in(("Deny", FROM_BLUE)), **rules_out(("Deny", FROM_BLUE))))
        m.expect(*[cell for late in (chosen, other) for cell in (
            (late, world.xb, SHUT), (world.xb, late, SHUT), (late, world.xa, OPEN), (world.xa, late, OPEN))])
        m.expect((world.za, world.xb, OPEN), (world.outside, world.xb, OPEN), (world.xb, OUTSIDE_IP, OPEN))
    for late in (chosen, other):
        object_comes(world, late)
    m.expect((chosen, world.xb, SHUT), (world.xb, chosen, SHUT), (other, world.xb, OPEN), (world.xb, other, OPEN))


def test_denies_by_selector_cut_what_a_pod_has_open_when_its_object_goes(world):
    """And a policy that has no such deny leaves it open."""
    m = Matrix(world)
    world.cluster_policies(admin(**rules_in(("Deny", FROM_BLUE))))
    for family in BOTH:
        with Connection(world.xc, world.xb.ips[family], 80) as connection:
            assert connection.ask()
            world.resources.delete("pod-x-c")
            m.expect((world.xc, world.xb, SHUT))
            wait_until(lambda c=connection: c.state() == "timeout", "the connection is cut")
            world.cluster_policies(admin(**rules_out(("Deny", FROM_BLUE))))
            m.expect((world.xc, world.xb, OPEN))
            world.xc.write_object()
            world.cluster_policies(admin(**rules_in(("Deny", FROM_BLUE))))
            m.expect((world.xc, world.xb, OPEN), (world.yb, world.xb, SHUT))


def test_pass_by_selector_opens_nothing_to_a_pod_whose_object_is_late(world):
    """What an Accept by address lets through does not count where the Pass might have chosen the pod and NetworkPolicy denies."""
    m = Matrix(world)
    late = late_pod(world, "other", "z", "b")
    passing = rules_out(("Pass", FROM_BLUE), ("Accept", EVERYONE))
    world.cluster_policies(admin(**passing))
    m.expect((world.xb, late, OPEN), (world.xb, OUTSIDE_IP, OPEN))
    world.policies(egress(pod=B))
    m.expect((world.xb, late, SHUT), (world.xb, world.yb, SHUT), (world.xb, world.za, OPEN),
             (world.xb, OUTSIDE_IP, OPEN))
    object_comes(world, late)
    m.expect((world.xb, late, OPEN))


def test_packets_are_counted_for_the_policies_that_decide_them(world):
    """In the metrics, one by one, while a pod of this node has their rules."""
    def packets(policy, namespace, verdict, name="polder_policy_packets_total"):
        wanted = {("namespace", namespace), ("direction", "ingress"), ("verdict", verdict)}
        found = [value for (metric, pairs), value in world.n1.agent.metrics().items()
                 if metric == name and wanted <= set(pairs) and dict(pairs)["policy"].startswith(policy)]
        return found[0] if found else None
    m = Matrix(world)
    world.policies(ingress("open", pod=B, rules=[{}]))
    world.cluster_policies(admin("shut", **rules_in(("Deny", FROM_BLUE))))
    m.expect((world.yb, world.xb, SHUT), (world.xa, world.xb, OPEN))
    assert packets("shut", "", "deny") > 0 and packets("shut", "", "allow") == 0
    assert packets("shut", "", "deny", "polder_policy_bytes_total") >= 40 * packets("shut", "", "deny")
    # Of a connection when it is over, as with the pod that had it.
    brief = world.pod("brief", "x", labels={"pod": "brief"})
    m.expect((brief, world.xb, OPEN))
    brief.delete()
    wait_until(lambda: packets("open", "x", "allow") > 0, "packets of connections that are over", 20, 0.2)
    assert packets("open", "x", "deny") == 0
    world.cluster_policies()
    wait_until(lambda: packets("shut", "", "deny") is None, "a policy that went is told no more", 10)
