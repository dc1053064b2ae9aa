# SPDX-License-Identifier: Apache-2.0
"""Every path under every stance of policy, one assertion a cell; overlaps against plain arithmetic; forged addresses."""

import contextlib
import ipaddress
import os
import random
import time

from lib import objects, packets
from lib.objects import labels
from lib.policies import (ALL_PREFIX, FULL, OPEN, OUTSIDE_PREFIX, SHUT, B, Matrix, blocks, egress,
                          ingress, peers, six_pods)
from lib.runner import each_family
from lib.traffic import BOTH, Capture, Probe, ping, reach, run_probes, send_frame
from lib.world import OUTSIDE_IP, WORLD_IP

WORLD = {"nodes": 2}
SECOND_IP = {4: "192.0.2.77", 6: "2001:db8:77::77"}  # of the first node
THIRD_IP = {4: "192.0.2.78", 6: "2001:db8:77::78"}
BOTH_PROTOCOLS = ("TCP", "UDP")
EVERY = {"namespaceSelector": {}}


def setup(world):
    six_pods(world)
    ports = [objects.service_port(8000, 80, proto, name=proto.lower()) for proto in BOTH_PROTOCOLS]
    world.vip = {name: world.service(name, 80 + number, ports, {"pod": name[1:]}, ns=name[0])
                 for number, name in enumerate(("xb", "xc", "za"))}


# ------------------------------------------------------------------ the path matrix


def cells_into(world, stance):
    """
    Paths into the pod x/b, direct and through its ClusterIP. `stance`: of each kind of source the verdict; its own node and
    itself reach it always.
    """
    always = {"own node": OPEN, "itself": OPEN}
    stance = {**stance, **always}
    sources = {"local pod": world.xa, "remote pod": world.yb, "own node": world.n1,
               "other node": world.n2, "outside": world.outside, "itself": world.xb}
    for name, source in sources.items():
        for proto in BOTH_PROTOCOLS:
            yield source, world.xb, stance[name], 80, proto
            if source is not world.outside:
                yield source, world.vip["xb"], stance[name], 8000, proto
    yield world.xa, world.xb, stance.get("port 81", stance["local pod"]), 81


INTO = {
    "no_policy": ([], dict.fromkeys(("local pod", "remote pod", "other node", "outside"), OPEN)),
    "ingress_denied": (lambda w: [ingress("in", B)],
                       dict.fromkeys(("local pod", "remote pod", "other node", "outside"), SHUT)),
    "ingress_by_selectors": (lambda w: [ingress("in", B, rules=[peers(EVERY)])],
                             {"local pod": OPEN, "remote pod": OPEN, "other node": SHUT,
                              "outside": SHUT}),
    "ingress_by_blocks": (
        lambda w: [ingress("in", B, rules=[peers(*blocks(w.yb, w.n2, OUTSIDE_IP))])],
        {"local pod": SHUT, "remote pod": OPEN, "other node": OPEN, "outside": OPEN}),
    "ingress_of_ports": (
        lambda w: [ingress("in", B, rules=[{"ports": [{"port": 80}, {"port": 80,
                                                                     "protocol": "UDP"}]}])],
        {**dict.fromkeys(("local pod", "remote pod", "other node", "outside"), OPEN),
         "port 81": SHUT}),
    "ingress_of_service_ports": (
        lambda w: [ingress("in", B, rules=[{"ports": [{"port": 8000}, {"port": 8000,
                                                                       "protocol": "UDP"}]}])],
        dict.fromkeys(("local pod", "remote pod", "other node", "outside"), SHUT)),
    "egress_denied_at_the_source": (
        lambda w: [egress("out", {}, "y"), egress("out", {}, "x")],
        {"local pod": SHUT, "remote pod": SHUT, "other node": OPEN, "outside": OPEN}),
}


def cells_out_of(world, stance):
    """Paths out of the pod x/b, direct and through ClusterIPs; itself, also through its Service, it reaches always."""
    targets = {"local pod": (world.za, world.vip["za"]), "remote pod": (world.xc, world.vip["xc"]),
               "own node": (world.n1,), "other node": (world.n2,), "outside": (OUTSIDE_IP,),
               "itself": (world.xb, world.vip["xb"])}
    for name, (direct, *virtual) in targets.items():
        for proto in BOTH_PROTOCOLS:
            yield world.xb, direct, {**stance, "itself": OPEN}[name], 80, proto
            for vip in virtual:
                yield world.xb, vip, {**stance, "itself": OPEN}[name], 8000, proto


TARGETS = ("local pod", "remote pod", "own node", "other node", "outside")
OUT_OF = {
    "no_policy": ([], dict.fromkeys(TARGETS, OPEN)),
    "egress_denied": (lambda w: [egress("out", B)], dict.fromkeys(TARGETS, SHUT)),
    "egress_by_selectors": (lambda w: [egress("out", B, rules=[peers(EVERY, key="to")])],
                            {**dict.fromkeys(TARGETS, SHUT), "local pod": OPEN, "remote pod": OPEN}),
    "egress_by_blocks": (
        lambda w: [egress("out", B, rules=[peers(*blocks(w.xc, w.n2, OUTSIDE_IP), key="to")])],
        {"local pod": SHUT, "remote pod": OPEN, "own node": SHUT, "other node": OPEN,
         "outside": OPEN}),
    "egress_by_blocks_of_services": (
        lambda w: [egress("out", B, rules=[peers(*blocks(*w.vip.values()), key="to")])],
        dict.fromkeys(TARGETS, SHUT)),
    "ingress_denied_at_the_target": (
        lambda w: [ingress("in", labels(pod="a"), "z"), ingress("in", labels(pod="c"))],
        {**dict.fromkeys(TARGETS, OPEN), "local pod": SHUT, "remote pod": SHUT}),
}


def path_test(name, made, stance, cells, pings):
    def test(world):
        world.policies(*(made(world) if made else []))
        Matrix(world).expect(*cells(world, stance))
        for family in BOTH:
            for source, target, kind in pings(world):
                # Echo is what a rule without ports allows.
                want = OPEN if kind == "always" else stance[kind]
                got = ping(source, target.ips[family] if hasattr(target, "ips")
                           else target[family], 2.0 if want == OPEN else 0.15)
                assert got == want, f"ping {source} -> {target} v{family}: {got}, expected {want}"
    test.__name__ = "test_path_matrix_" + name
    return test


def pings_into(world):
    return ((world.xa, world.xb, "local pod"), (world.yb, world.xb, "remote pod"),
            (world.n1, world.xb, "always"), (world.n2, world.xb, "other node"),
            (world.outside, world.xb, "outside"), (world.xb, world.xb, "always"))


def pings_out_of(world):
    return ((world.xb, world.za, "local pod"), (world.xb, world.xc, "remote pod"),
            (world.xb, world.n1, "own node"), (world.xb, world.n2, "other node"),
            (world.xb, OUTSIDE_IP, "outside"))


def no_pings(_world):
    return ()


def make_path_tests():
    for name, (made, stance) in INTO.items():
        yield path_test("into_a_pod_" + name, made, stance, cells_into,
                        no_pings if "ports" in name else pings_into)
    for name, (made, stance) in OUT_OF.items():
        yield path_test("out_of_a_pod_" + name, made, stance, cells_out_of, pings_out_of)


globals().update({test.__name__: test for test in make_path_tests()})


# ------------------------------------------------------------------ NP-18


@contextlib.contextmanager
def more_addresses(node):
    """The node has two more of each family."""
    lines = [f"{address[family]}/{FULL[family]} dev lo" for address in (SECOND_IP, THIRD_IP)
             for family in BOTH]
    node.netns.ip(*[f"addr add {line}" for line in lines])
    try:
        yield
    finally:
        node.netns.ip(*[f"addr del {line}" for line in lines])


def test_np18_node_reaches_its_pods_from_each_of_its_addresses(world):
    """From the uplink's, from others, by TCP and UDP, directly and through a Service, whatever policy says."""
    world.policies(ingress(pod={}), egress(pod={}))
    Matrix(world).expect((world.xa, world.xb, SHUT), (world.n2, world.xb, SHUT))
    with more_addresses(world.n1):
        probes = [Probe(world.n1, target[family], port, proto, source=source[family])
                  for family in BOTH for source in (world.n1.ips, SECOND_IP, THIRD_IP)
                  for target, port in ((world.xb.ips, 80), (world.vip["xb"], 8000))
                  for proto in BOTH_PROTOCOLS]
        run_probes(probes, 2)
    assert [p.verdict for p in probes] == [OPEN] * len(probes), \
        [(p.address, p.proto, p.verdict) for p in probes if p.verdict != OPEN]


@each_family
def test_np18_address_of_the_node_in_a_pods_packet_opens_nothing(world, family):
    """Every address of the node, forged by a pod of this node, by a pod of another, and from outside."""
    target = world.xb
    own = [world.n1.ips[family], SECOND_IP[family], THIRD_IP[family],
           "169.254.1.1" if family == 4 else "fe80::1"]
    world.policies(ingress(pod={}))
    Matrix(world, family).expect((world.xa, target, SHUT), (world.outside, target, SHUT))
    with more_addresses(world.n1), Capture(target.netns) as capture:
        for sender, mac_to, mac_from in (
                (world.xa, world.xa.gateway_mac(), world.xa.mac),
                (world.yb, world.yb.gateway_mac(), world.yb.mac),
                (world.n2, world.n1.netns.mac(), world.n2.netns.mac()),
                (world.outside, world.n1.netns.mac(), world.outside.mac())):
            for source in own:
                forge(sender, mac_to, mac_from, source, target.ips[family])
        capture.none(lambda p: p.payload == b"forged")
        # Of an open pod, too, no packet of a pod comes under the node's name.
        world.policies()
        Matrix(world, family).expect((world.xa, target, OPEN))
        for source in own:
            forge(world.xa, world.xa.gateway_mac(), world.xa.mac, source, target.ips[family])
        capture.none(lambda p: p.payload == b"forged")
        forge(world.xa, world.xa.gateway_mac(), world.xa.mac, world.xa.ips[family],
              target.ips[family])
        capture.wait(lambda p: p.payload == b"forged", "what it sends in its own name", count=2)


def forge(sender, mac_to, mac_from, source, target):
    """A datagram, an opening segment and an echo request with that source."""
    datagram = packets.ip(source, target, packets.UDP, packets.udp(source, target, 9, 80,
                                                                   b"forged"))
    opening = packets.ip(source, target, packets.TCP, packets.tcp(source, target, 9, 80,
                                                                  packets.SYN, data=b"forged"))
    proto, echo = packets.echo_request(source, target, 7, data=b"forged")
    for packet in (datagram, opening, packets.ip(source, target, proto, echo)):
        send_frame(sender, packets.ethernet(mac_to, mac_from, packets.ethertype_of(packet), packet))


@each_family
def test_forged_address_of_an_allowed_peer_opens_nothing(world, family):
    """What one pod may do, no other pod does in its name; by selector and by block."""
    target, allowed = world.xb, world.yb.ips[family]
    for rule in (peers({"namespaceSelector": labels(team="blue")}), peers(*blocks(world.yb))):
        world.policies(ingress(pod=B, rules=[rule]))
        Matrix(world, family).expect((world.yb, target, OPEN), (world.xa, target, SHUT))
        with Capture(target.netns) as capture, world.n1.agent.dropping("source_ip", 3), \
                world.n2.agent.dropping("source_ip", 3):
            for sender in (world.xa, world.xc):
                forge(sender, sender.gateway_mac(), sender.mac, allowed, target.ips[family])
            capture.none(lambda p: p.payload == b"forged", 0.2)


# ------------------------------------------------------------------ overlap and precedence


def random_block(chance, family, addresses):
    """A block around one of the addresses, with excepts inside of it."""
    address = ipaddress.ip_address(chance.choice(addresses))
    full = FULL[family]
    length = chance.choice((0, 1, 8, 22, 24, 29, 30, 31, 32) if family == 4 else
                           (0, 1, 16, 48, 64, 112, 125, 127, 128))
    block = ipaddress.ip_network(f"{address}/{length}", strict=False)
    excepts = []
    for _ in range(chance.choice((0, 0, 1, 3))):
        inner = ipaddress.ip_address(chance.choice(addresses))
        if inner in block and length < full:
            excepts.append(ipaddress.ip_network(f"{inner}/{chance.randint(length + 1, full)}",
                                                strict=False))
    return block, excepts


def random_ports(chance):
    """Ranges as (first, last), some of one port, some of nearly all."""
    made = []
    for _ in range(chance.choice((1, 1, 2, 4))):
        first = chance.choice((1, 79, 80, 81, 100, 1000, 32768, 65535, chance.randint(1, 65535)))
        made.append((first, chance.choice((first, first, min(first + 1, 65535), 65535,
                                           chance.randint(first, 65535)))))
    return made


def rule_of(block, excepts, ports):
    made = {"cidr": str(block)}
    if excepts:
        made["except"] = [str(e) for e in excepts]
    return {"from": [{"ipBlock": made}],
            "ports": [{"protocol": "TCP", "port": first, **({"endPort": last} if last != first
                                                            else {})} for first, last in ports]}


def allowed_by(rules, address, port):
    address = ipaddress.ip_address(address)
    return any(address in block and not any(address in e for e in excepts)
               and any(first <= port <= last for first, last in ports)
               for block, excepts, ports in rules)


@each_family
def test_overlapping_blocks_and_port_ranges_agree_with_arithmetic(world, family):
    """Of pods, nodes and outside addresses; a refusal by the pod tells that the packet came through."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"  overlap v{family}: seed {seed}")
    chance = random.Random(seed)
    sources = [(p, p.ips[family]) for p in world.everyone if p is not world.xb]
    sources += [(world.n2, world.n2.ips[family]), (world.outside, OUTSIDE_IP[family]),
                (world.outside, WORLD_IP[family])]
    addresses = [address for _, address in sources]
    for _ in range(4):
        rules = [(*random_block(chance, family, addresses), random_ports(chance))
                 for _ in range(chance.randint(2, 9))]
        world.policies(*[ingress(f"p{number}", B, rules=[rule_of(*rule) for rule in part])
                         for number, part in enumerate((rules[::2], rules[1::2]))])
        edges = {edge + step for *_, ports in rules for pair in ports for edge in pair
                 for step in (-1, 0, 1)} | {80, 65535}
        ports = chance.sample(sorted(p for p in edges if 0 < p <= 65535),
                              min(14, len(edges) - 2))
        questions = [(source, address, port) for source, address in sources for port in ports]
        wanted = [allowed_by(rules, address, port) for _, address, port in questions]
        compare(world, family, questions, wanted, f"seed {seed}: {rules}")


def compare(world, family, questions, wanted, story):
    deadline = time.monotonic() + 2.5
    while True:
        probes = [Probe(source, world.xb.ips[family], port, source=address)
                  for source, address, port in questions]
        run_probes(probes, 0.6, 0.3, [p for p, open_ in zip(probes, wanted) if not open_])
        wrong = [(source, address, port, probe.verdict)
                 for (source, address, port), probe, open_ in zip(questions, probes, wanted)
                 if (probe.verdict != SHUT) != open_]
        if not wrong:
            return
        assert time.monotonic() < deadline, f"{len(wrong)} differ: {wrong[:6]}; {story}"


def test_widest_and_narrowest_rules_on_one_address_add_up(world):
    """An except in one policy takes nothing from what another one gives, whatever its length."""
    everything = [{"ipBlock": {"cidr": ALL_PREFIX[family], "except": [OUTSIDE_PREFIX[family]]}}
                  for family in BOTH]
    m = Matrix(world)
    world.policies(ingress("wide", B, rules=[peers(*everything)]))
    m.expect((world.outside, world.xb, SHUT), (world.xa, world.xb, OPEN))
    world.policies(ingress("wide", B, rules=[peers(*everything)]),
                   ingress("narrow", B, rules=[peers(*blocks(OUTSIDE_IP),
                                                     ports=[{"port": 80}])]))
    m.expect((world.outside, world.xb, OPEN), (world.outside, world.xb, SHUT, 81),
             (world.outside, world.xb, SHUT, 80, "UDP"), (world.xa, world.xb, OPEN, 81))
    assert reach(world.n2, world.xb.ips[4], 80).verdict == OPEN
