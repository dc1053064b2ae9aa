# SPDX-License-Identifier: Apache-2.0
"""Pods, nodes and the outside reach each other, with the right source addresses, in each way of attaching."""

from lib import packets
from lib.runner import each_family
from lib.traffic import Capture, Connection, Probe, ping, reach, run_probes, send_frame
from lib.world import FAR_IP, OUTSIDE_IP, WORLD_IP

WORLDS = {
    "": {"nodes": 2},
    "clsact": {"nodes": 2, "attach": "clsact"},
    "xdp-generic": {"nodes": 2, "xdp": "generic"},
    "xdp-off": {"nodes": 2, "xdp": "off"},
}
PORTS = ((8080, "TCP"), (5353, "UDP"))
MANY = 40


def setup(world):
    world.n1, world.n2 = world.nodes
    world.a, world.b = world.pod("a"), world.pod("b")
    world.c = world.pod("c", node=world.n2)
    for where in (world.a, world.b, world.c, world.n1, world.n2, world.outside, world.far):
        for port, proto in PORTS:
            world.serve(where, port, proto)


def check_reaches(source, address, server, seen_as):
    """TCP, UDP and echo; the server sees the address `seen_as` (None: whatever it is)."""
    for port, proto in PORTS:
        probe = reach(source, address, port, proto)
        assert probe.verdict == "open", f"{proto} to {address}: {probe.verdict}"
        assert probe.answer["server"] == server, f"{proto}: answered by {probe.answer['server']}"
        assert seen_as in (None, probe.answer["peer"]), \
            f"{proto}: {server} saw {probe.answer['peer']}, expected {seen_as}"
    assert ping(source, address) == "open", f"no echo reply from {address}"


@each_family
def test_pod_reaches_pod_of_the_same_node(world, family):
    check_reaches(world.a, world.b.ips[family], "b", world.a.ips[family])
    check_reaches(world.b, world.a.ips[family], "a", world.b.ips[family])


@each_family
def test_pod_reaches_pod_of_another_node(world, family):
    check_reaches(world.a, world.c.ips[family], "c", world.a.ips[family])
    check_reaches(world.c, world.a.ips[family], "a", world.c.ips[family])


@each_family
def test_pod_reaches_itself(world, family):
    check_reaches(world.a, world.a.ips[family], "a", world.a.ips[family])


@each_family
def test_pod_reaches_its_node(world, family):
    check_reaches(world.a, world.n1.ips[family], "node1", world.a.ips[family])


@each_family
def test_pod_reaches_another_node_with_its_own_address(world, family):
    check_reaches(world.a, world.n2.ips[family], "node2", world.a.ips[family])


@each_family
def test_node_reaches_its_pod(world, family):
    check_reaches(world.n1, world.a.ips[family], "a", None)


@each_family
def test_node_reaches_pod_of_another_node(world, family):
    check_reaches(world.n1, world.c.ips[family], "c", world.n1.ips[family])


@each_family
def test_node_reaches_the_outside_as_before(world, family):
    check_reaches(world.n1, OUTSIDE_IP[family], "outside", world.n1.ips[family])
    check_reaches(world.outside, world.n1.ips[family], "node1", OUTSIDE_IP[family])


@each_family
def test_pod_reaches_the_outside_with_its_nodes_address(world, family):
    check_reaches(world.a, OUTSIDE_IP[family], "outside", world.n1.ips[family])
    check_reaches(world.c, OUTSIDE_IP[family], "outside", world.n2.ips[family])


@each_family
def test_pod_reaches_what_lies_beyond_the_router(world, family):
    check_reaches(world.a, WORLD_IP[family], "outside", world.n1.ips[family])
    check_reaches(world.a, FAR_IP[family], "far", world.n1.ips[family])


@each_family
def test_masquerade_takes_ports_from_its_range(world, family):
    for port, proto in PORTS:
        seen = reach(world.a, OUTSIDE_IP[family], port, proto).answer["port"]
        assert 10240 <= seen <= 29999, f"{proto} left with source port {seen}"


@each_family
def test_masquerade_keeps_same_source_ports_of_two_pods_apart(world, family):
    for port, proto in PORTS:
        probes = [Probe(pod, OUTSIDE_IP[family], port, proto, source_port=40000)
                  for pod in (world.a, world.b)]
        run_probes(probes, 2)
        assert [p.verdict for p in probes] == ["open", "open"], [p.verdict for p in probes]
        ports = {p.answer["port"] for p in probes}
        assert len(ports) == 2, f"{proto}: both left with {ports}"


@each_family
def test_unsolicited_packet_to_a_masquerade_port_does_not_reach_the_pod(world, family):
    port = reach(world.a, OUTSIDE_IP[family], 5353, "UDP").answer["port"]
    target = world.n1.ips[family]

    def send(source, sport, data):
        packet = packets.ip(source, target, packets.UDP, packets.udp(source, target, sport, port, data))
        send_frame(world.outside, packets.ethernet(
            world.n1.netns.mac(), world.outside.mac(), packets.ethertype_of(packet), packet))
    with Capture(world.a.netns) as capture:
        send(WORLD_IP[family], 9, b"no")
        send(OUTSIDE_IP[family], 9, b"no")
        send(OUTSIDE_IP[family], 5353, b"yes")
        capture.wait(lambda p: p.payload == b"yes", "what the server says")
        capture.none(lambda p: p.proto == packets.UDP and p.payload == b"no")


@each_family
def test_outside_opens_connections_to_pods(world, family):
    check_reaches(world.outside, world.a.ips[family], "a", OUTSIDE_IP[family])
    check_reaches(world.far, world.c.ips[family], "c", FAR_IP[family])


@each_family
def test_refusal_of_a_closed_port_comes_back(world, family):
    for source, address in ((world.a, world.b.ips[family]), (world.a, world.c.ips[family]),
                            (world.a, world.n1.ips[family]), (world.a, OUTSIDE_IP[family]),
                            (world.n1, world.a.ips[family]), (world.outside, world.a.ips[family])):
        for proto in ("TCP", "UDP"):
            probe = reach(source, address, 9, proto)
            assert probe.verdict == "refused", f"{source} to {address} {proto}: {probe.verdict}"


@each_family
def test_large_transfers_arrive_whole(world, family):
    for source, address in ((world.a, world.b.ips[family]), (world.a, world.c.ips[family]),
                            (world.a, OUTSIDE_IP[family]), (world.a, world.n1.ips[family]),
                            (world.n1, world.a.ips[family]), (world.outside, world.a.ips[family])):
        with Connection(source, address, 8080) as connection:
            assert connection.fetch(3_000_000), f"{source} from {address}: damaged"
            assert connection.push(3_000_000), f"{source} to {address}: damaged"


@each_family
def test_large_pings_arrive_whole(world, family):
    for address in (world.b.ips[family], world.c.ips[family], OUTSIDE_IP[family],
                    world.n1.ips[family]):
        for size in (0, 1, 1400, 4000):
            verdict = ping(world.a, address, size=size)
            assert verdict == "open", f"{size} bytes to {address}: {verdict}"


@each_family
def test_many_connections_at_once(world, family):
    probes = [Probe(source, address, port, proto) for port, proto in PORTS
              for source,
              address in ((world.a, world.b.ips[family]), (world.a, world.c.ips[family]),
                                      (world.b, OUTSIDE_IP[family])) for _ in range(MANY)]
    run_probes(probes, 4)
    wrong = [p.verdict for p in probes if p.verdict != "open"]
    assert not wrong, f"{len(wrong)} of {len(probes)}: {set(wrong)}"


@each_family
def test_address_of_no_pod_is_dropped_and_counted(world, family):
    nobody = "10.244.7.200" if family == 4 else "fd44:0:0:1::dead"
    for source in (world.a, world.outside):
        with world.n1.agent.dropping("no_such_pod"):
            verdict = reach(source, nobody, 8080, timeout=0.3).verdict
            assert verdict in ("timeout", "unreachable"), f"{source}: {verdict}"


@each_family
def test_nothing_is_dropped_while_all_goes_well(world, family):
    before = world.n1.agent.drops_by_reason()
    check_reaches(world.a, world.b.ips[family], "b", None)
    check_reaches(world.a, OUTSIDE_IP[family], "outside", None)
    check_reaches(world.n1, world.a.ips[family], "a", None)
    since = {reason: count for reason, count in world.n1.agent.dropped_since(before).items()
             if reason not in ("multicast", "router_message", "nd_other")}  # what kernels send of their own accord
    assert not since, f"dropped: {since}"


def test_attachment_is_the_one_asked_for(world):
    """bpftool's view of the node: no clsact programs where tcx is used, and the other way round."""
    shown = world.n1.netns.run("tc", "filter", "show", "dev", world.a.host_link, "ingress").stdout
    uses_clsact = world.n1.agent.options.get("attach") == "clsact"
    assert bool(shown.strip()) == uses_clsact, f"tc filter show: {shown!r}"
    xdp = world.n1.netns.ip_json("link", "show", "dev", "eth0")[0].get("xdp", {})
    mode = world.n1.agent.options.get("xdp")
    wanted = {"generic": 2, "off": 0}.get(mode, 1)
    assert xdp.get("mode", 0) == wanted, f"XDP mode of eth0 is {xdp}, asked for {mode}"
