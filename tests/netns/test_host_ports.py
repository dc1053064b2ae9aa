# SPDX-License-Identifier: Apache-2.0
"""Published ports (CNI's portMappings): who reaches them where, under which policy, and whose they are (SV-28, SV-29)."""

import struct

from lib import objects, packets
from lib.cni import CniError
from lib.objects import labels, policy
from lib.runner import each_family, limit
from lib.traffic import BOTH, Capture, Connection, V4, V6, reach, send_sctp, wait_until
from lib.world import OUTSIDE_IP

WORLDS = {"native": {"nodes": 2}, "tunnel": {"nodes": 2, "tunnel": "vxlan"}}
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
HOST = 18080
ASSOCIATION = 3868  # the container's port for SCTP


def mapping(host, container, protocol="tcp", address=""):
    return {"hostPort": host, "containerPort": container, "protocol": protocol, "hostIP": address}


def config(world, *mappings):
    return world.node.cni_config(capabilities={"portMappings": True}, runtimeConfig={"portMappings": list(mappings)})


def published(world, name, *mappings, **options):
    pod = world.pod(name, config=config(world, *mappings), **options)
    return pod


def setup(world):
    world.client = world.pod("client", labels={"app": "client"})
    world.remote = world.pod("remote", node=world.nodes[1], labels={"app": "remote"})
    world.web = published(world, "web", mapping(HOST, 8080), mapping(HOST, 5353, "udp"), mapping(HOST, ASSOCIATION, "sctp"),
                          labels={"app": "web"})
    world.serve(world.web, 8080)
    world.serve(world.web, 5353, "UDP")


def server_of(probe):
    return (probe.answer or {}).get("server") if probe.verdict == "open" else probe.verdict


def everybody(world):
    return {"outside": world.outside, "node": world.node, "other node": world.nodes[1], "pod": world.client,
            "itself": world.web, "pod of another node": world.remote}


@each_family
@limit(60)
def test_sv28_port_is_reached_by_everybody_at_the_nodes_address(world, family):
    address = world.node.ips[family]
    for proto in ("TCP", "UDP"):
        found = {name: server_of(reach(source, address, HOST, proto)) for name, source in everybody(world).items()}
        assert set(found.values()) == {"web"}, f"{proto}: {found}"


@each_family
def test_sv28_node_reaches_it_by_localhost_and_nobody_else_does(world, family):
    for proto in ("TCP", "UDP"):
        assert server_of(reach(world.node, LOOPBACK[family], HOST, proto)) == "web", proto
        assert reach(world.nodes[1], LOOPBACK[family], HOST, proto).verdict != "open", proto
    assert reach(world.client, LOOPBACK[family], HOST).verdict == "refused"


@each_family
def test_sv28_clients_address_is_kept(world, family):
    addresses = {world.outside: OUTSIDE_IP, world.nodes[1]: world.nodes[1].ips, world.remote: world.remote.ips,
                 world.client: world.client.ips}
    for proto in ("TCP", "UDP"):
        for source, address in addresses.items():
            probe = reach(source, world.node.ips[family], HOST, proto)
            assert probe.verdict == "open" and probe.answer["peer"] == address[family], (source, proto, probe.verdict, probe.answer)


def sums_are_right(packet):
    """CRC32c over the whole SCTP packet with 0 in its place, and of IPv4 the header's sum, computed anew."""
    sctp = packet.transport
    plain = sctp[:8] + bytes(4) + sctp[12:]
    header = packet.frame[14:14 + (packet.frame[14] & 15) * 4]
    return struct.unpack_from("<I", sctp, 8)[0] == packets.crc32c(plain) and (
        packet.ethertype != packets.ETH_IP4 or packets.checksum(header) == 0)


def test_the_sum_that_is_compared_with_is_that_of_the_rfc(world):
    """RFC 3720, B.4; RFC 9260 has the same polynomial."""
    del world
    assert packets.crc32c(b"123456789") == 0xE3069283
    assert packets.crc32c(bytes(32)) == 0x8A9136AA
    assert packets.crc32c(b"\xff" * 32) == 0x62A8AB43


@each_family
def test_sv28_sctp_gets_the_containers_port_there_and_the_nodes_back(world, family):
    """No kernel socket: chunks by hand, seen on the links. The node's own would be translated when its socket connects."""
    def is_sctp(packet):
        return packet.proto == packets.SCTP and packet.transport

    callers = {name: source for name, source in everybody(world).items() if name not in ("itself", "node")}
    for number, (name, source) in enumerate(callers.items()):
        sport, address = 41000 + number, world.node.ips[family]
        with Capture(world.web) as at_pod:
            send_sctp(source, address, sport, HOST)
            first = at_pod.wait(lambda p, s=sport: is_sctp(p) and p.sport == s, f"{name}'s INIT")[0]
        assert (first.destination, first.dport) == (world.web.ips[family], ASSOCIATION), (name, first)
        assert sums_are_right(first), f"{name}: {first.frame.hex()}"
        with Capture(source) as back:
            send_sctp(world.web, first.source, ASSOCIATION, sport)
            answer = back.wait(lambda p, s=sport: is_sctp(p) and p.dport == s, f"the answer to {name}")[0]
        assert (answer.source, answer.sport) == (address, HOST), (name, answer)
        assert sums_are_right(answer), f"{name}: {answer.frame.hex()}"


@each_family
def test_sv28_same_port_with_another_address_or_protocol_is_another_pods(world, family):
    address = world.node.ips[family]
    one = published(world, "one", mapping(7000, 8080, address=address))
    two = published(world, "two", mapping(7000, 8080, address=LOOPBACK[family]))
    three = published(world, "three", mapping(7000, 5353, "udp"))
    for pod in (one, two):
        world.serve(pod, 8080)
    world.serve(three, 5353, "UDP")
    assert server_of(reach(world.outside, address, 7000)) == "one"
    assert server_of(reach(world.node, address, 7000)) == "one"
    assert server_of(reach(world.node, LOOPBACK[family], 7000)) == "two"
    assert server_of(reach(world.outside, address, 7000, "UDP")) == "three"
    other = V6 if family == V4 else V4
    assert reach(world.outside, world.node.ips[other], 7000).verdict != "open"


@each_family
def test_sv29_policy_is_judged_on_the_client_and_the_container_port(world, family):
    address, outside = world.node.ips[family], OUTSIDE_IP[family]
    bits = 32 if family == V4 else 128
    world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"], ingress=[
        {"from": [{"ipBlock": {"cidr": f"{outside}/{bits}"}}, {"podSelector": labels(app="client")}],
         "ports": [{"protocol": "TCP", "port": 8080}]}]))
    world.expect((world.outside, address, HOST, "open"), (world.client, address, HOST, "open"),
                 (world.remote, address, HOST, "timeout"))
    world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"], ingress=[
        {"ports": [{"protocol": "TCP", "port": HOST}]}]))
    world.expect((world.outside, address, HOST, "timeout"), (world.client, address, HOST, "timeout"))
    world.policies(policy("client", labels(app="client"), policyTypes=["Egress"], egress=[
        {"to": [{"ipBlock": {"cidr": f"{outside}/{bits}"}}]}]))
    world.expect((world.outside, address, HOST, "open"), (world.client, address, HOST, "timeout"))


def refusal(world, *mappings, code):
    try:
        pod = published(world, f"refused-{len(world.pods)}", *mappings)
    except CniError as error:
        assert error.code == code, error
        return str(error)
    raise AssertionError(f"{pod} was connected")


def test_sv28_what_cannot_be_published_is_refused_by_name(world):
    for wrong, word in ((mapping(0, 80), "hostPort 0"), (mapping("80-90", 80), "80-90"), (mapping(80, 70000), "70000"),
                        (mapping(80, 80, "icmp"), "icmp"), (mapping(80, 80, address="node"), "hostIP"),
                        (mapping(80, 80, address="192.0.2.77"), "192.0.2.77"), (mapping(80, 80, address="2001:db8::77"), "2001:db8::77")):
        assert word in refusal(world, wrong, code=7)
    before = world.node.ruler()
    assert "default/web" in refusal(world, mapping(HOST, 80), code=11)
    assert "default/web" in refusal(world, mapping(HOST, 80, address=world.node.ips[V4]), code=11)
    assert world.node.ruler() == before


def test_sv28_port_of_a_node_port_is_refused_and_the_other_way_round(world):
    world.service("np", 5, [{**objects.service_port(80, 8080), "nodePort": 30123}], {"app": "web"}, type="NodePort")
    address = world.node.ips[V4]
    wait_until(lambda: reach(world.outside, address, 30123).verdict == "open", "the node port is served")
    assert "default/np" in refusal(world, mapping(30123, 80), code=11)
    published(world, "first", mapping(30124, 8080))
    world.service("late", 6, [{**objects.service_port(80, 8080), "nodePort": 30124}], {"app": "web"}, type="NodePort")

    def told():
        problems = world.node.agent.ctl_json("status")["problems"]
        return [p for p in problems if "late" in p["source"] and "default/first" in p["reason"]]

    wait_until(told, "the Service is told whose its node port is")


@each_family
@limit(60)
def test_sv28_ports_survive_a_restart_and_go_with_their_pod(world, family):
    address = world.node.ips[family]
    pod = published(world, "kept", mapping(7100, 8080))
    world.serve(pod, 8080)
    connection = Connection(world.outside, address, 7100)
    connection.ask()
    world.node.agent.stop()
    connection.ask()
    assert server_of(reach(world.outside, address, 7100)) == "kept"
    world.node.agent.start()
    connection.ask()
    connection.close()
    assert server_of(reach(world.outside, address, 7100)) == "kept"
    pod.check()
    shown = next(p for p in world.node.agent.ctl_json("pod", "list") if p["name"] == "kept")
    assert {(p["hostIP"], p["hostPort"], p["containerPort"], p["protocol"]) for p in shown["ports"]} == {
        ("0.0.0.0", 7100, 8080, "TCP"), ("::", 7100, 8080, "TCP")}
    pod.delete()
    wait_until(lambda: reach(world.outside, address, 7100).verdict == "refused", "the port is the node's again")
    assert reach(world.node, LOOPBACK[family], 7100).verdict == "refused"


def test_socket_of_the_node_that_has_the_port_is_told(world):
    listener = world.node.socket(2, 1)
    listener.bind(("0.0.0.0", 7200))
    listener.listen(1)
    try:
        published(world, "over", mapping(7200, 8080))
        assert "a socket of the node" in world.node.agent.log() and ":7200/TCP" in world.node.agent.log()
    finally:
        listener.close()


def test_no_ports_without_the_capability(world):
    pod = world.pod("undeclared", config=world.node.cni_config(runtimeConfig={"portMappings": [mapping(7300, 8080)]}))
    world.serve(pod, 8080)
    for family in BOTH:
        assert reach(world.outside, world.node.ips[family], 7300).verdict == "refused"
