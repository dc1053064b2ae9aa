# SPDX-License-Identifier: Apache-2.0
"""What passes the tunnel between two nodes: every size, large writes, Services, policies, errors, the path's MTU; and what may not."""

import errno
import glob
import os
import signal
import socket
import struct

from lib import objects, packets, tunnel
from lib.monitor import Monitor
from lib.runner import each_family, in_worlds, limit
from lib.traffic import (BOTH, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO, V4, V6, Capture, Connection, UdpClient, ping, reach,
                         send_frame, wait_until)
from lib.world import OUTSIDE_IP, WORLD_IP

# Outer packets are IPv4 where the nodes have it; in the second world they have IPv6 alone.
WORLDS = {"": {"nodes": 2, "tunnel": "vxlan"}, "ipv6-underlay": {"nodes": 2, "tunnel": "vxlan", "start": False}}
PORT = 4789
MARK = b"forged on the nodes' link"
SERVICE = 7
LINK_MTU = 1500
OVERHEAD = {V4: 50, V6: 70}
DONT_FRAGMENT = {V4: (socket.IPPROTO_IP, IP_MTU_DISCOVER), V6: (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)}
# Segments that were sent again, less those that came twice: each packet of them that the receiver tells of, and the segments of one
# packet that the sender is told of, but for the first.
LOST = {"TcpRetransSegs": 1, "TcpExtTCPDSACKOldSent": -1, "TcpExtTCPDSACKOfoSent": -1,
        "TcpExtTCPDSACKRecvSegs": -1, "TcpExtTCPDSACKRecv": 1, "TcpExtTCPDSACKOfoRecv": 1}
COUNTERS = (*LOST, "TcpInCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors")


def setup(world):
    if not world.node.agent.alive():
        start_without_ipv4(world)
    world.underlay = V4 if world.node.ips[V4] in world.node.agent.options["node-ip"] else V6
    world.overhead = OVERHEAD[world.underlay]
    for node in world.nodes:
        # The path's MTU is what the kernel says of the underlay; it says so on nodes that forward, as those of clusters do.
        node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
    tunnel.begin(world)
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", node=world.n2, labels={"app": "c"})
    for where in (world.a, world.c):
        world.serve(where, 8080)
        world.serve(where, 8080, "UDP")
    world.serve(world.n2, 8081)
    world.vip = world.service("c", SERVICE, [objects.service_port(80, 8080)], {"app": "c"})


def start_without_ipv4(world):
    """IPv4 is the pods' alone: neither links between the nodes nor Node objects have it."""
    for node in world.nodes:
        node.netns.ip("addr flush dev eth0 scope global", f"addr add {node.ips[V6]}/64 dev eth0 nodad",
                      f"route replace default via {OUTSIDE_IP[V6]}")
        node.agent.options["node-ip"] = node.ips[V6]
    world.resources.put("nodes", objects.item_list([objects.node(n.name, list(n.pod_cidr.values()), [n.ips[V6]]) for n in world.nodes]))
    for node in world.nodes:
        node.agent.start()


def has_address(world, family):
    """Have the nodes addresses of the family?"""
    return family == V6 or world.underlay == V4


def counters(world):
    """
    Of the kernel: segments that were lost, and wrong sums. On a busy machine segments are sent again before their ACK comes, or when
    one that was on another CPU comes late.
    """
    found = {"lost": 0}
    for netns in (world.a.netns, world.c.netns, world.n1.netns, world.n2.netns):
        lines = netns.run("nstat", "-asz", *COUNTERS).stdout.splitlines()
        values = {line.split()[0]: int(line.split()[1]) for line in lines if line and line[0] != "#"}
        found["lost"] += sum(sign * values.pop(name) for name, sign in LOST.items())
        found.update({f"{netns}: {name}": value for name, value in values.items()})
    return found


def dropped_by_kernel(world):
    """Packets for which its queues had no room, those of the links between the nodes included: a machine that is busy, nothing that the
    tunnel did. A link whose peer has an XDP program counts them where they are sent."""
    with open("/proc/net/softnet_stat", encoding="ascii") as file:
        dropped = sum(int(line.split()[1], 16) for line in file)
    places = [*(node.netns for node in world.nodes), world.fabric, world.a.netns, world.c.netns]
    links = [link for netns in places for link in netns.ip_json("-s", "link", "show")]
    return dropped + sum(link["stats64"][way]["dropped"] for link in links for way in ("rx", "tx"))


def nothing_is_lost(world, before, dropped):
    """What was sent again in vain comes a moment later, too."""
    found = {}

    def same():
        found.clear()
        found.update({name: count - before[name] for name, count in counters(world).items() if count > before[name]})
        return sum(found.values()) <= dropped_by_kernel(world) - dropped
    wait_until(same, lambda: str(found), 5)


@each_family
@limit(60)
def test_every_size_passes_and_nothing_is_sent_again(world, family):
    before, dropped = counters(world), dropped_by_kernel(world)
    drops = [node.agent.drops_by_reason() for node in world.nodes]
    for target in (world.c.ips[family], world.vip[family]):
        port = 80 if target == world.vip[family] else 8080
        with Connection(world.a, target, port) as connection:
            for size in range(1300, 1501):
                assert connection.push(size), f"{size} bytes were damaged"
            for _ in range(20):
                assert connection.push(65536) and connection.fetch(65536), "damaged"
    with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
        for size in range(1300, 1501):
            assert client.ask(data=b"x" * size)["length"] == size
    nothing_is_lost(world, before, dropped)
    lost = [node.agent.dropped_since(was) for node, was in zip(world.nodes, drops)]
    assert not any("big" in reason for each in lost for reason in each), lost


@each_family
def test_large_writes_pass_in_both_directions(world, family):
    before, dropped = counters(world), dropped_by_kernel(world)
    for source, target in ((world.a, world.c), (world.c, world.a)):
        with Connection(source, target.ips[family], 8080) as connection:
            assert connection.push(8_000_000) and connection.fetch(8_000_000), "damaged"
    nothing_is_lost(world, before, dropped)


@each_family
def test_nodes_and_pods_reach_each_other(world, family):
    cells = [(world.a, world.c.ips[family], 8080)]
    if has_address(world, family):
        cells += [(world.n1, world.c.ips[family], 8080), (world.a, world.n2.ips[family], 8081)]
    for source, target, port in cells:
        probe = reach(source, target, port)
        assert probe.verdict == "open" and probe.answer["peer"] == source.ips[family], f"{source}: {probe.verdict} {probe.answer}"
        assert ping(source, target) == "open", f"{source} -> {target}"


@each_family
def test_links_leave_room_for_the_outer_headers(world, family):
    assert tunnel.device(world.n1)["mtu"] == LINK_MTU - world.overhead
    assert world.a.netns.ip_json("link", "show", "dev", "eth0")[0]["mtu"] == LINK_MTU - world.overhead
    headers = 28 if family == V4 else 48
    with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
        client.sock.setsockopt(*DONT_FRAGMENT[family], PMTUDISC_DO)
        size = LINK_MTU - world.overhead - headers
        assert client.ask(data=b"z" * size)["length"] == size
        try:
            client.send(b"z" * (size + 1))
        except OSError as error:
            assert error.errno == errno.EMSGSIZE, error
        else:
            raise AssertionError(f"{size + 1} bytes were sent")


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
        done = world.n1.agent.ctl(*question, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert f"through the tunnel {'from' if incoming else 'to'} node node2" in done.stdout, done.stdout

    explain("pod:default/a", "pod:default/c", False, 0)
    explain("pod:default/c", "pod:default/a", True, 0)
    if has_address(world, family):
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
    lost(world, in_tunnel(world, OUTSIDE_IP[world.underlay], inner), "tunnel_unknown_peer")
    with Capture(world.a.netns) as capture:  # with a node's address it would come
        send_frame(world.outside, in_tunnel(world, world.n2.ips[world.underlay], inner))
        capture.wait(lambda got: MARK in got.frame, "the same from a node")


@each_family
def test_node_sends_with_sources_of_its_own_only(world, family):
    own = {world.b.ips[family]} | ({world.n1.ips[family]} if has_address(world, family) else set())
    for source in own | {WORLD_IP[family]}:
        reason = "martian_source" if source in own else "peer_source"
        lost(world, in_tunnel(world, world.n2.ips[world.underlay], forged(world, source, family)), reason)


@limit(30)
def test_path_mtu_of_the_underlay_reaches_the_pod(world):
    """
    As routers between the nodes make it known to the kernel: an exception of the route. What IPv6 routes say themselves counts
    if it is locked: the kernel tells the programs of no other.
    """
    narrow = 1400
    word = "mtu" if world.underlay == V4 else "mtu lock"
    routes = [(node, f"{other.ips[world.underlay]} dev eth0 {word} {narrow}") for node, other in tunnel.pairs(world)]
    for node, route in routes:
        node.netns.ip(f"route add {route}")
    try:
        for family in BOTH:
            headers = 28 if family == V4 else 48
            with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
                client.sock.setsockopt(*DONT_FRAGMENT[family], PMTUDISC_DO)
                client.watch_errors()

                def told():
                    try:
                        client.send(b"z" * (LINK_MTU - world.overhead - headers))
                    except OSError as error:
                        return error.errno == errno.EMSGSIZE
                    return False
                wait_until(told, "the pod is told", interval=0.3)
                size = narrow - world.overhead - headers
                client.sock.close()
            with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
                assert client.ask(data=b"z" * size)["length"] == size
        with Connection(world.a, world.c.ips[V4], 8080) as connection:
            assert connection.push(300_000, 10), "damaged"
    finally:
        for node, route in routes:
            node.netns.ip(f"route del {route}")
        for pod in (world.a, world.c):
            for family in ("-4", "-6"):
                pod.netns.run("ip", family, "route", "flush", "cache")


@in_worlds("")
@each_family
def test_outer_packets_are_fragmented_where_the_path_is_narrower_than_ipv6_needs(world, family):
    """Pods are told 1,280 bytes at least; what is larger outside for that has no DF. The kernel's VXLAN does not fragment over IPv6."""
    routes = [(node, f"{other.ips[world.underlay]} dev eth0 mtu 1300") for node, other in tunnel.pairs(world)]
    for node, route in routes:
        node.netns.ip(f"route add {route}")
    try:
        size = 1280 - (28 if family == V4 else 48)
        with UdpClient(world.a, world.c.ips[family], 8080, connect=True) as client:
            client.sock.setsockopt(*DONT_FRAGMENT[family], PMTUDISC_DO)
            wait_until(lambda: answers(client, size), "a datagram of 1,280 bytes passes")
    finally:
        for node, route in routes:
            node.netns.ip(f"route del {route}")
        for pod in (world.a, world.c):
            for flag in ("-4", "-6"):
                pod.netns.run("ip", flag, "route", "flush", "cache")


def answers(client, size):
    try:
        return client.ask(0.5, b"z" * size)["length"] == size
    except OSError:
        return False


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
        wait_until(lambda: reach(world.c, world.a.ips[V4], 8080).verdict == "timeout", "the device is closed")
    finally:
        world.n1.agent.start()
    assert reach(world.c, world.a.ips[V4], 8080).verdict == "open"


@each_family
def test_what_the_kernel_drops_of_the_tunnels_is_told_by_what_is_within(world, family):
    """A firewall of the node that refuses the tunnel's packets: outside they are the nodes', within the pods'."""
    def is_told(event):
        return (event.get("type") == "kernel_drop" and event["reason"] == "kernel:NETFILTER_DROP" and event["place"] == "node"
                and (event["source"]["ip"], event["destination"]["ip"]) == (world.a.ips[family], world.c.ips[family]))

    netns = world.n2.netns
    netns.run("nft", "add", "table", "inet", "refusing")
    try:
        netns.run("nft", "add", "chain", "inet", "refusing", "input", "{ type filter hook input priority 0; }")
        netns.run("nft", "add", "rule", "inet", "refusing", "input", "udp", "dport", str(PORT), "drop")
        with Monitor(world.n2.agent, "--kernel") as monitor:
            sender = UdpClient(world.a, world.c.ips[family], 9999)
            try:
                event = monitor.wait(is_told, sender.send)[0]
            finally:
                sender.close()
        assert event["destination"]["port"] == 9999 and event["destination"]["pod"] == str(world.c), event
    finally:
        netns.run("nft", "delete", "table", "inet", "refusing")
