# SPDX-License-Identifier: Apache-2.0
"""What the node's own stack translates goes back through it: published ports and masquerade beside Polder's, under policy."""

import errno

from lib import objects
from lib.nat import forwards, need_nft, publish
from lib.objects import labels
from lib.policies import blocks, egress, ingress, peers
from lib.runner import each_family, limit
from lib.traffic import (BOTH, CLOSED_AFTER, V4, Connection, Probe, UdpClient, is_cut, md5, pattern, reach,
                         run_probes, wait_until)
from lib.world import FAR_MTU, OUTSIDE_IP

WORLD = {"nodes": 2}
TCP_PORT, UDP_PORT, CLOSED_PORT, BACK_PORT = 18080, 15353, 19999, 18081
PORTS = {("TCP", TCP_PORT): 8080, ("UDP", UDP_PORT): 5353, ("UDP", CLOSED_PORT): 999}
BOTH_PROTOCOLS = (("TCP", TCP_PORT), ("UDP", UDP_PORT))


def setup(world):
    need_nft()
    world.n1, world.n2 = world.nodes
    forwards(world.n1)
    world.n1.before = world.n1.ruler()
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", labels={"app": "c"}, node=world.n2)
    for where in (world.a, world.b, world.c, world.n1, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")
    # Published to 127.0.0.1 too, as portmap does.
    world.n1.netns.sysctl(**{f"net/ipv4/conf/{world.b.host_link}/route_localnet": 1})


def expect_published(world, source, address, seen_as=None):
    """Both protocols answer there, by pod b; it sees that address as its peer."""
    for proto, port in BOTH_PROTOCOLS:
        probe = reach(source, address, port, proto)
        assert probe.verdict == "open", f"{proto} {source} to {address}: {probe.verdict}"
        assert probe.answer["server"] == "b", probe.answer
        if seen_as:
            assert probe.answer["peer"] == seen_as, probe.answer


def published_cells(world, family, verdict, *sources):
    address = world.n1.ips[family]
    return [(source, address, port, verdict, proto) for source in sources for proto, port in BOTH_PROTOCOLS]


# ------------------------------------------------------------------ published ports


@each_family
def test_published_port_answers_the_outside(world, family):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.outside, world.n1.ips[family], OUTSIDE_IP[family])


@each_family
def test_published_port_answers_the_node_at_its_own_address(world, family):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.n1, world.n1.ips[family], world.n1.ips[family])


def test_published_port_answers_the_node_at_localhost(world):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.n1, "127.0.0.1", world.n1.ips[V4])


@each_family
def test_published_port_answers_another_pod(world, family):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.a, world.n1.ips[family], world.a.ips[family])


@each_family
def test_published_port_answers_the_pod_itself(world, family):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.b, world.n1.ips[family], world.n1.ips[family])


@each_family
def test_published_port_answers_a_pod_of_another_node(world, family):
    with publish(world.n1, PORTS, world.b):
        expect_published(world, world.c, world.n1.ips[family], world.c.ips[family])


@each_family
def test_published_port_and_the_pods_own_address_can_be_used_side_by_side(world, family):
    """One client, one source port, both ways at once: the answers do not get mixed up."""
    with publish(world.n1, PORTS, world.b):
        for source in (world.outside, world.a):
            for number in range(5):
                sport = 40100 + number
                with UdpClient(source, world.n1.ips[family], UDP_PORT, connect=True, source_port=sport) as client:
                    assert client.ask()["server"] == "b"
                with UdpClient(source, world.b.ips[family], 5353, connect=True, source_port=sport + 100) as client:
                    assert client.ask()["server"] == "b"
            with Connection(source, world.b.ips[family], 8080) as direct, \
                    Connection(source, world.n1.ips[family], TCP_PORT) as published:
                assert direct.ask()["server"] == published.ask()["server"] == "b"
                assert direct.ask()["port"] != published.ask()["port"]


@each_family
@limit(90)
def test_published_port_carries_a_lot_both_ways(world, family):
    with publish(world.n1, PORTS, world.b):
        for source in (world.outside, world.a, world.n1):
            with Connection(source, world.n1.ips[family], TCP_PORT) as connection:
                assert connection.fetch(2_000_000, 15), f"{source} fetches"
                assert connection.push(2_000_000, 15), f"{source} pushes"


@each_family
def test_published_port_carries_datagrams_in_fragments(world, family):
    data = pattern(20_000)
    with publish(world.n1, PORTS, world.b):
        for source in (world.outside, world.a):
            with UdpClient(source, world.n1.ips[family], UDP_PORT, connect=True) as client:
                answer = client.ask(data=data)
                assert (answer["length"], answer["md5"]) == (len(data), md5(data)), f"{source}: {answer}"
                client.send(b"send 15000")
                assert client.receive()[0] == pattern(15_000), f"{source}: the answer is damaged"


@each_family
def test_published_port_takes_many_connections_at_once(world, family):
    with publish(world.n1, PORTS, world.b):
        probes = [Probe(source, world.n1.ips[family], port, proto) for _ in range(40)
                  for source in (world.outside, world.a, world.b, world.n1) for proto, port in BOTH_PROTOCOLS]
        before = world.n1.agent.drops_by_reason()
        run_probes(probes, 10)
        # A datagram is asked for once: sockets and the packet filter of a busy machine may lose it, Polder must not.
        lost = [p for p in probes if p.proto == "UDP" and p.verdict == "timeout"]
        dropped = {reason: count for reason, count in world.n1.agent.dropped_since(before).items() if reason.startswith(("flow", "nat"))}
        assert len(lost) <= len(probes) // 100 and not dropped, f"{len(lost)} datagrams; dropped: {dropped}"
        failed = [(p.proto, p.verdict) for p in probes if p not in lost and (p.verdict != "open" or p.answer["server"] != "b")]
        assert not failed, f"{len(failed)} of {len(probes)}: {failed[:5]}; dropped: {world.n1.agent.dropped_since(before)}"


@each_family
def test_closed_port_behind_a_published_one_is_told(world, family):
    with publish(world.n1, PORTS, world.b):
        for source in (world.outside, world.a, world.n1):
            with UdpClient(source, world.n1.ips[family], CLOSED_PORT) as client:
                client.watch_errors()
                client.send()
                number, _, _, _, _, target = client.error()
                assert number == errno.ECONNREFUSED, (source, number)
                assert target == (world.n1.ips[family], CLOSED_PORT), (source, target)


@each_family
@limit(90)
def test_path_mtu_is_found_by_the_pod_behind_a_published_port(world, family):
    for netns in (world.b.netns, world.n1.netns):
        netns.run("ip", f"-{family}", "route", "flush", "cache")
    with publish(world.n1, PORTS, world.b):
        with Connection(world.far, world.n1.ips[family], TCP_PORT, 5) as connection:
            assert connection.fetch(400_000, 15), f"damaged; the path takes {FAR_MTU} bytes"


@each_family
def test_pod_behind_a_published_port_still_has_its_own_way_out(world, family):
    with publish(world.n1, PORTS, world.b):
        for address, peer in ((OUTSIDE_IP[family], world.n1.ips[family]),
                              (world.a.ips[family], world.b.ips[family]),
                              (world.c.ips[family], world.b.ips[family]),
                              (world.n1.ips[family], world.b.ips[family])):
            for proto, port in (("TCP", 8080), ("UDP", 5353)):
                probe = reach(world.b, address, port, proto)
                assert probe.verdict == "open" and probe.answer["peer"] == peer, \
                    f"{proto} {address}: {probe.verdict} {probe.answer}"


# ------------------------------------------------------------------ masquerade of the node beside


@each_family
def test_what_the_node_masquerades_reaches_the_pod(world, family):
    with publish(world.n1, PORTS, world.b, masquerade=True):
        for source in (world.outside, world.a, world.b, world.c, world.n1):
            expect_published(world, source, world.n1.ips[family], world.n1.ips[family])


@each_family
def test_what_the_node_masquerades_to_a_pod_of_another_node_comes_back(world, family):
    with publish(world.n1, PORTS, world.c, masquerade=True):
        for source in (world.outside, world.a, world.n1):
            for proto, port in BOTH_PROTOCOLS:
                probe = reach(source, world.n1.ips[family], port, proto)
                assert probe.verdict == "open", f"{proto} {source}: {probe.verdict}"
                assert (probe.answer["server"], probe.answer["peer"]) == ("c", world.n1.ips[family]), probe.answer


@each_family
@limit(90)
def test_masqueraded_connection_carries_a_lot_both_ways(world, family):
    with publish(world.n1, PORTS, world.b, masquerade=True):
        for source in (world.outside, world.a):
            with Connection(source, world.n1.ips[family], TCP_PORT) as connection:
                assert connection.fetch(2_000_000, 15) and connection.push(2_000_000, 15), source


@each_family
def test_port_of_the_node_may_lead_a_pod_to_a_host_outside(world, family):
    """What comes back has the node's address as its source and comes by the stack."""
    class Outside:
        ips = OUTSIDE_IP
    with publish(world.n1, {("TCP", BACK_PORT): 8080, ("UDP", BACK_PORT): 5353}, Outside, masquerade=True):
        for proto in ("TCP", "UDP"):
            probe = reach(world.a, world.n1.ips[family], BACK_PORT, proto)
            assert probe.verdict == "open" and probe.answer["server"] == "outside", f"{proto}: {probe.verdict}"


# ------------------------------------------------------------------ changes


def touch(world, number):
    """A change of the world that concerns none of these connections."""
    world.resources.put("touched", objects.pod(f"touched-{number}", "elsewhere", {"n": str(number)}, "node9",
                                               [f"10.250.0.{number + 1}"]))


@each_family
def test_connections_through_the_stack_live_over_changes(world, family):
    with publish(world.n1, PORTS, world.b):
        connections = [Connection(source, world.n1.ips[family], TCP_PORT)
                       for source in (world.outside, world.a, world.b, world.n1)]
        clients = [UdpClient(source, world.n1.ips[family], UDP_PORT, connect=True)
                   for source in (world.outside, world.a, world.b, world.n1)]
        try:
            before = [talk.ask()["port"] for talk in connections + clients]
            for number in range(10):
                touch(world, number)
                world.service("touched", 40 + number, [objects.service_port(80, 8080)], {"app": "nobody"})
                assert [talk.ask()["port"] for talk in connections + clients] == before
        finally:
            for talk in connections + clients:
                talk.close()


@each_family
def test_connection_through_the_stack_lives_over_a_restart(world, family):
    with publish(world.n1, PORTS, world.b), Connection(world.outside, world.n1.ips[family], TCP_PORT) as connection:
        connection.ask()
        world.n1.agent.restart()
        connection.ask()
        expect_published(world, world.outside, world.n1.ips[family], OUTSIDE_IP[family])


@each_family
def test_policy_cuts_a_connection_through_the_stack(world, family):
    with publish(world.n1, PORTS, world.b):
        for source in (world.outside, world.a):
            with Connection(source, world.n1.ips[family], TCP_PORT) as connection:
                connection.ask()
                world.policies(ingress("shut", labels(app="b"), "default", [peers({"podSelector": labels(app="c")})]))
                wait_until(lambda c=connection: is_cut(c), f"{source}: the connection is cut")
                world.policies()
                world.expect(*published_cells(world, family, "open", source))


# ------------------------------------------------------------------ policy


@each_family
def test_outside_host_that_policy_denies_stays_denied_at_a_published_port(world, family):
    with publish(world.n1, PORTS, world.b):
        world.policies(ingress("web", labels(app="b"), "default", [peers({"podSelector": labels(app="a")})]))
        world.expect(*published_cells(world, family, "timeout", world.outside, world.c),
                     *published_cells(world, family, "open", world.a, world.n1))


@each_family
def test_outside_host_that_policy_allows_is_allowed_at_a_published_port(world, family):
    with publish(world.n1, PORTS, world.b):
        block = [{"ipBlock": {"cidr": f"{OUTSIDE_IP[family]}/{32 if family == V4 else 128}"}}]
        world.policies(ingress("web", labels(app="b"), "default", [peers(*block)]))
        world.expect(*published_cells(world, family, "timeout", world.a, world.c),
                     *published_cells(world, family, "open", world.outside, world.n1))


@each_family
def test_port_that_policy_allows_is_the_pods_and_not_the_published_one(world, family):
    ports = [{"protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 5353}]
    published = [{"protocol": "TCP", "port": TCP_PORT}, {"protocol": "UDP", "port": UDP_PORT}]
    with publish(world.n1, PORTS, world.b):
        world.policies(ingress("web", labels(app="b"), "default", [{"ports": ports}]))
        world.expect(*published_cells(world, family, "open", world.outside, world.a, world.c))
        world.policies(ingress("web", labels(app="b"), "default", [{"ports": published}]))
        world.expect(*published_cells(world, family, "timeout", world.outside, world.a, world.c))


@each_family
def test_egress_of_a_pod_holds_for_the_pod_behind_a_published_port(world, family):
    """Allowed to the node alone, a pod does not get to another pod by way of the node."""
    to_node = peers(*blocks(world.n1), key="to")
    with publish(world.n1, PORTS, world.b):
        world.policies(egress("out", labels(app="a"), "default", [to_node]))
        world.expect(*published_cells(world, family, "timeout", world.a),
                     (world.a, world.n1.ips[family], 8080, "open"),
                     (world.a, world.b.ips[family], 8080, "timeout"))
        world.policies(egress("out", labels(app="a"), "default", [
            to_node, peers({"podSelector": labels(app="b")}, key="to")]))
        world.expect(*published_cells(world, family, "open", world.a))


@each_family
def test_node_that_masquerades_lends_its_own_right_to_nobody(world, family):
    """The node's processes always reach its pods; what it forwards under its own address does not."""
    with publish(world.n1, PORTS, world.b, masquerade=True):
        world.policies(ingress("shut", labels(app="b"), "default", [peers({"podSelector": labels(app="nobody")})]))
        world.expect(*published_cells(world, family, "timeout", world.outside, world.a, world.c),
                     *published_cells(world, family, "open", world.n1))


@each_family
def test_egress_of_a_pod_holds_where_the_node_masquerades(world, family):
    """Under the node's address too it is the pod that sends: to the node alone is not to another pod by way of it."""
    to_node = peers(*blocks(world.n1), key="to")
    with publish(world.n1, PORTS, world.b, masquerade=True):
        world.policies(egress("out", labels(app="a"), "default", [to_node]))
        world.expect(*published_cells(world, family, "timeout", world.a),
                     *published_cells(world, family, "open", world.outside, world.c, world.n1),
                     (world.a, world.n1.ips[family], 8080, "open"))
        world.policies(egress("out", labels(app="a"), "default", [
            to_node, peers({"podSelector": labels(app="b")}, key="to")]))
        world.expect(*published_cells(world, family, "open", world.a))


@each_family
def test_ingress_knows_the_pod_that_the_node_masquerades(world, family):
    with publish(world.n1, PORTS, world.b, masquerade=True):
        for senders in ([{"podSelector": labels(app="a")}], blocks(world.a)):
            world.policies(ingress("from-a", labels(app="b"), "default", [peers(*senders)]))
            world.expect(*published_cells(world, family, "open", world.a, world.n1),
                         *published_cells(world, family, "timeout", world.outside, world.c))
        world.policies(ingress("from-node", labels(app="b"), "default", [peers(*blocks(world.n1))]))
        world.expect(*published_cells(world, family, "timeout", world.a),
                     *published_cells(world, family, "open", world.outside, world.c, world.n1))


@each_family
def test_change_of_egress_cuts_a_connection_that_the_node_masquerades(world, family):
    with publish(world.n1, PORTS, world.b, masquerade=True):
        with Connection(world.a, world.n1.ips[family], TCP_PORT) as connection, \
                Connection(world.outside, world.n1.ips[family], TCP_PORT) as other:
            connection.ask()
            other.ask()
            world.policies(egress("out", labels(app="a"), "default", [peers(*blocks(world.n1), key="to")]))
            wait_until(lambda: is_cut(connection), "the connection is cut")
            other.ask()
            world.policies()
            world.expect(*published_cells(world, family, "open", world.a))


@each_family
def test_forged_answer_does_not_pass_for_one_that_the_stack_translates(world, family):
    """A pod behind a published port may answer its clients; it opens nothing with it that its egress denies."""
    with publish(world.n1, PORTS, world.b):
        world.policies(egress("silent", labels(app="b"), "default"))
        world.expect(*published_cells(world, family, "open", world.outside, world.a),
                     (world.b, OUTSIDE_IP[family], 8080, "timeout"))
        for proto, port in BOTH_PROTOCOLS:
            probe = reach(world.b, OUTSIDE_IP[family], 5353 if proto == "UDP" else 8080, proto, timeout=CLOSED_AFTER)
            assert probe.verdict == "timeout", probe.verdict


def test_both_families_are_published_by_one_table(world):
    with publish(world.n1, PORTS, world.b):
        world.expect(*[cell for family in BOTH for cell in published_cells(world, family, "open", world.outside)])
