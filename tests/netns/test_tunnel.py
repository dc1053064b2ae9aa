# SPDX-License-Identifier: Apache-2.0
"""What passes the tunnel between two nodes: every size, large writes, Services, policies, errors, the path's MTU; and what may not."""

import errno
import glob
import os
import signal
import struct

from lib import objects, packets
from lib.runner import each_family, limit
from lib.traffic import BOTH, V4, V6, Capture, Connection, UdpClient, ping, reach, send_frame, wait_until
from lib.world import WORLD_IP

WORLD = {"nodes": 2, "tunnel": "vxlan"}
DEVICE = "polder_vxlan"
PORT = 4789
MARK = b"forged on the nodes' link"
WITHIN = 5
SERVICE = 7
LINK_MTU = 1500
OVERHEAD = 50
COUNTERS = ("TcpRetransSegs", "TcpExtTCPDSACKRecvSegs", "TcpInCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors")


def setup(world):
    world.n1, world.n2 = world.nodes
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        # The path's MTU is what the kernel says of the underlay; it says so on nodes that forward, as those of clusters do.
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        for family in BOTH:
            node.netns.ip(f"route del {other.pod_cidr[family]} via {other.ips[family]}")
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        wait_until(lambda n=node, o=other: tunnelled(n) == set(o.pod_cidr.values()), f"{node}: routes by the tunnel", WITHIN)
        now = node.ruler()
        node.before = {**node.before, "routes": now["routes"], "pins": now["pins"],
                       "maps": {**node.before["maps"], "egress_routes": now["maps"].get("egress_routes")}}
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", node=world.n2, labels={"app": "c"})
    for where in (world.a, world.c):
        world.serve(where, 8080)
        world.serve(where, 8080, "UDP")
    world.serve(world.n2, 8081)
    world.vip = world.service("c", SERVICE, [objects.service_port(80, 8080)], {"app": "c"})


def tunnelled(node):
    return {route["dst"] for family in ("-4", "-6") for route in node.netns.ip_json(family, "route", "show")
            if route.get("dev") == DEVICE}


def counters(world):
    """Of the kernel: segments that were sent again and had not come yet (DSACK tells of the others), and wrong sums."""
    found = {}
    for netns in (world.a.netns, world.c.netns, world.n1.netns, world.n2.netns):
        lines = netns.run("nstat", "-asz", *COUNTERS).stdout.splitlines()
        values = {line.split()[0]: int(line.split()[1]) for line in lines if line and line[0] != "#"}
        found[f"{netns}: lost"] = values.pop("TcpRetransSegs") - values.pop("TcpExtTCPDSACKRecvSegs")
        found.update({f"{netns}: {name}": value for name, value in values.items()})
    return found


def since(world, before):
    return {name: count - before[name] for name, count in counters(world).items() if count > before[name]}


@each_family
@limit(60)
def test_every_size_passes_and_nothing_is_sent_again(world, family):
    before, drops = counters(world), [node.agent.drops_by_reason() for node in world.nodes]
    for target in (world.c.ips[family], world.vip[family]):
        port = 80 if target == world.vip[family] else 8080
        with Connection(world.a, target, port) as connection:
            for size in range(1300, 1501):
                assert connection.push(size), f"{size} bytes were damaged"
            for _ in range(20):
                assert connection.push(65536, 10) and connection.fetch(65536, 10), "damaged"
    with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
        for size in range(1300, 1501):
            assert client.ask(data=b"x" * size)["length"] == size
    assert not since(world, before), since(world, before)
    lost = [node.agent.dropped_since(was) for node, was in zip(world.nodes, drops)]
    assert not any("big" in reason for each in lost for reason in each), lost


@each_family
def test_large_writes_pass_in_both_directions(world, family):
    before = counters(world)
    for source, target in ((world.a, world.c), (world.c, world.a)):
        with Connection(source, target.ips[family], 8080) as connection:
            assert connection.push(8_000_000, 20) and connection.fetch(8_000_000, 20), "damaged"
    assert not since(world, before), since(world, before)


@each_family
def test_nodes_and_pods_reach_each_other(world, family):
    for source, target, own in ((world.n1, world.c.ips[family], world.n1.ips[family]),
                                (world.a, world.c.ips[family], world.a.ips[family])):
        probe = reach(source, target, 8080)
        assert probe.verdict == "open" and probe.answer["peer"] == own, f"{source}: {probe.verdict} {probe.answer}"
    probe = reach(world.a, world.n2.ips[family], 8081)
    assert probe.verdict == "open" and probe.answer["peer"] == world.a.ips[family], f"{probe.verdict} {probe.answer}"
    assert ping(world.a, world.c.ips[family])
    assert ping(world.n1, world.c.ips[family])


@each_family
def test_fragments_pass(world, family):
    with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
        assert client.ask(data=b"y" * 4000)["length"] == 4000


@each_family
def test_policy_of_the_receiver_knows_the_pod_behind_the_tunnel(world, family):
    world.policies(objects.policy("only-b", objects.labels(app="c"), ingress=[{"from": [{"podSelector": objects.labels(app="b")}]}]))
    world.expect((world.b, world.c.ips[family], 8080, "open"), (world.a, world.c.ips[family], 8080, "timeout"))


@each_family
def test_error_of_a_pod_behind_the_tunnel_comes_back(world, family):
    with UdpClient(world.a, world.c.ips[family], 9, connect=True) as client:
        client.watch_errors()
        client.send(b"nobody listens")
        number, _, _, _, teller, _ = client.error()
        assert number == errno.ECONNREFUSED and teller == world.c.ips[family], (number, teller)


@each_family
def test_explain_and_flow_list_name_the_other_node(world, family):
    name = "ipv4" if family == V4 else "ipv6"

    def explain(source, target, incoming, status):
        question = ("explain", "--from", source, "--to", target, "--port", "8080", "--family", name)
        done = world.n1.agent.ctl(*question, check=False, timeout=30)
        assert done.returncode == status, done.stdout + done.stderr
        assert f"through the tunnel {'from' if incoming else 'to'} node node2" in done.stdout, done.stdout

    explain("pod:default/a", "pod:default/c", False, 0)
    explain("pod:default/c", "pod:default/a", True, 0)
    explain(world.n2.ips[family], "pod:default/a", True, 0)
    world.policies(objects.policy("nobody", objects.labels(app="a"), policyTypes=["Ingress", "Egress"]))
    explain("pod:default/a", "pod:default/c", False, 1)
    explain("pod:default/c", "pod:default/a", True, 1)
    world.policies()
    with Connection(world.a, world.c.ips[family], 8080) as connection:
        connection.ask()
        flows = [flow for flow in world.n1.agent.ctl_json("flow", "list")
                 if world.c.ips[family] in (flow["source"], flow["destination"]) and flow["proto"] == "tcp"]
        assert {flow["action"] for flow in flows} == {"tunnel", "pod"}, flows
        assert all(flow["node"] == "node2" for flow in flows), flows
        assert "tunnel (node2)" in world.n1.agent.ctl("flow", "list").stdout


def in_tunnel(world, sender, inner, vni=1):
    """What somebody on the nodes' link hands to the first node's tunnel, under an address that may be another's."""
    vxlan = struct.pack("!II", 0x08000000, vni << 8)
    frame = packets.ethernet("02:00:00:00:00:02", "02:00:00:00:00:01", packets.ethertype_of(inner), inner)
    target = world.n1.ips[V6 if packets.is_v6(sender) else V4]
    outer = packets.ip(sender, target, packets.UDP, packets.udp(sender, target, 40000, PORT, vxlan + frame))
    return packets.ethernet(world.n1.netns.mac(), world.outside.mac(), packets.ethertype_of(outer), outer)


def forged(world, source, family):
    return packets.ip(source, world.a.ips[family], packets.UDP, packets.udp(source, world.a.ips[family], 40001, 8080, MARK))


def lost(world, frame, reason):
    with Capture(world.a.netns) as capture, world.n1.agent.dropping(reason):
        send_frame(world.outside, frame)
        capture.none(lambda got: MARK in got.frame)


@each_family
def test_who_is_no_node_sends_nothing_through_the_tunnel(world, family):
    inner = forged(world, world.c.ips[family], family)
    lost(world, in_tunnel(world, "172.30.0.1", inner), "tunnel_unknown_peer")
    with Capture(world.a.netns) as capture:  # with a node's address it would come
        send_frame(world.outside, in_tunnel(world, world.n2.ips[V4], inner))
        capture.wait(lambda got: MARK in got.frame, "the same from a node")


@each_family
def test_node_sends_with_sources_of_its_own_only(world, family):
    for source in (world.b.ips[family], WORLD_IP[family], world.n1.ips[family]):
        reason = "peer_source" if source == WORLD_IP[family] else "martian_source"
        lost(world, in_tunnel(world, world.n2.ips[V4], forged(world, source, family)), reason)


@limit(30)
def test_path_mtu_of_the_underlay_reaches_the_pod(world):
    """As routers between the nodes make it known to the kernel: an exception of the route."""
    narrow = 1400
    for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
        node.netns.ip(f"route add {other.ips[V4]}/32 dev eth0 mtu {narrow}")
    try:
        for family in BOTH:
            headers = 28 if family == V4 else 48
            with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
                level, option = (0, 10) if family == V4 else (41, 23)
                client.sock.setsockopt(level, option, 2)  # IP_MTU_DISCOVER: do
                client.watch_errors()

                def told():
                    try:
                        client.send(b"z" * (LINK_MTU - OVERHEAD - headers))
                    except OSError as error:
                        return error.errno == errno.EMSGSIZE
                    return False
                wait_until(told, "the pod is told", 10, 0.3)
                size = narrow - OVERHEAD - headers
                client.sock.close()
            with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
                assert client.ask(data=b"z" * size)["length"] == size
        with Connection(world.a, world.c.ips[V4], 8080) as connection:
            assert connection.push(300_000, 10), "damaged"
    finally:
        for node, other in ((world.n1, world.n2), (world.n2, world.n1)):
            node.netns.ip(f"route del {other.ips[V4]}/32 dev eth0 mtu {narrow}")
        for pod in (world.a, world.c):
            for family in ("-4", "-6"):
                pod.netns.run("ip", family, "route", "flush", "cache")


@each_family
def test_outside_spoofs_no_pod_behind_the_tunnel_by_the_wire(world, family):
    inner = forged(world, world.c.ips[family], family)
    lost(world, packets.ethernet(world.n1.netns.mac(), world.outside.mac(), packets.ethertype_of(inner), inner), "peer_source")


def test_nothing_passes_while_programs_of_the_device_are_gone(world):
    """What stands behind them closes it, until the agent has put them back."""
    world.n1.agent.kill(signal.SIGKILL)
    pins = glob.glob(os.path.join(world.n1.bpffs, "**", "from_tunnel-*"), recursive=True)
    try:
        assert pins, "no pin: attached by clsact, which nobody takes away by a pin"
        for pin in pins:
            os.unlink(pin)
        wait_until(lambda: reach(world.c, world.a.ips[V4], 8080).verdict == "timeout", "the device is closed", WITHIN)
    finally:
        world.n1.agent.start()
    assert reach(world.c, world.a.ips[V4], 8080).verdict == "open"
