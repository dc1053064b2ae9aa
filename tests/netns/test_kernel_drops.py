# SPDX-License-Identifier: Apache-2.0
"""What Polder lets go and the kernel drops: told with the kernel's own reason, and only while somebody asks."""

import contextlib
import json
import os
import signal
import socket
import subprocess

from lib import packets
from lib.agent import POLDERCTL
from lib.monitor import Monitor
from lib.netns import Namespace, run
from lib.objects import labels, policy
from lib.runner import each_family
from lib.traffic import BOTH, SOCKET_FAMILY, Connection, UdpClient, ping, reach, send_frame, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}
NOBODY = 9999  # no socket has the port
SERVED = 8080
ECHO = 5353


def setup(world):
    world.n1, world.n2 = world.nodes
    world.client = world.pod("client", node=world.n1, labels={"app": "client"})
    world.server = world.pod("server", node=world.n1, labels={"app": "server"})
    world.closed = world.pod("closed", node=world.n1, labels={"app": "closed"})
    world.other = world.pod("other", node=world.n2)
    world.serve(world.server, SERVED)
    world.serve(world.outside, ECHO, "UDP")
    world.resources.put("policies", policy("closed", labels(app="closed"), policyTypes=["Ingress"]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], SERVED, "open"),
                     (world.client, world.closed.ips[family], SERVED, "timeout"))


def send(netns, address, port):
    """A datagram, and no interest in what becomes of it: an ICMP error comes to the next one."""
    client = UdpClient(netns, address, port)
    with contextlib.closing(client), contextlib.suppress(OSError):
        client.send()


def is_kernels(event, reason, address):
    return (event.get("type") == "kernel_drop" and event["reason"] == f"kernel:{reason}"
            and event["destination"]["ip"] == address)


def kernels(monitor):
    return [event for event in monitor.events() if event.get("type") == "kernel_drop"]


def attached(agent):
    """Programs at skb:kfree_skb that the agent holds: links that go with it."""
    found = []
    directory = f"/proc/{agent.process.pid}/fdinfo"
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError), open(f"{directory}/{name}", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
            if fields.get("tp_name", "").strip() == "kfree_skb":
                found.append(int(fields["prog_id"]))
    return found


def is_loaded(program):
    return run(["bpftool", "prog", "show", "id", str(program)], check=False).returncode == 0


def wait_detached(agent):
    wait_until(lambda: not attached(agent), lambda: f"nothing is attached: {attached(agent)}")


@each_family
def test_datagram_that_no_socket_takes(world, family):
    address = world.server.ips[family]
    with Monitor(world.n1.agent, "--drops") as monitor:
        event = monitor.wait(lambda event: is_kernels(event, "NO_SOCKET", address),
                             lambda: send(world.client, address, NOBODY))[0]
    assert (event["source"]["pod"], event["destination"]["pod"]) == (str(world.client), str(world.server)), event
    assert (event["source"]["ip"], event["destination"]["port"]) == (world.client.ips[family], NOBODY), event
    assert (event["proto"], event["family"], event["verdict"]) == ("udp", f"ipv{family}", "drop"), event
    assert (event["place"], event["link"]) == (f"pod {world.server}", "eth0"), event


def spoiled(world, proto, family):
    """A segment or datagram whose checksum is not right."""
    source, destination = world.client.ips[family], world.server.ips[family]
    if proto == "tcp":
        payload, number, at = packets.tcp(source, destination, 40000, SERVED, 2), socket.IPPROTO_TCP, 16
    else:
        payload, number, at = packets.udp(source, destination, 40000, NOBODY, b"spoiled"), socket.IPPROTO_UDP, 6
    wrong = (int.from_bytes(payload[at:at + 2], "big") ^ 0x0101) or 1
    payload = payload[:at] + wrong.to_bytes(2, "big") + payload[at + 2:]
    packet = packets.ip(source, destination, number, payload)
    return packets.ethernet(world.client.gateway_mac(), world.client.netns.mac(), packets.ethertype_of(packet), packet)


@each_family
def test_wrong_checksums(world, family):
    address = world.server.ips[family]
    with Monitor(world.n1.agent, "--kernel") as monitor:
        for proto in ("tcp", "udp"):
            frame = spoiled(world, proto, family)
            event = monitor.wait(lambda event, proto=proto: is_kernels(event, f"{proto.upper()}_CSUM", address),
                                 lambda frame=frame: send_frame(world.client, frame))[0]
            assert event["source"]["pod"] == str(world.client) and event["place"] == f"pod {world.server}", event


@each_family
def test_datagram_to_the_node_that_its_firewall_refuses(world, family):
    address = world.n1.ips[family]
    netns = world.n1.netns
    netns.run("nft", "add", "table", "inet", "refusing")
    try:
        netns.run("nft", "add", "chain", "inet", "refusing", "input", "{ type filter hook input priority 0; }")
        netns.run("nft", "add", "rule", "inet", "refusing", "input", "udp", "dport", str(NOBODY), "drop")
        with Monitor(world.n1.agent, "--kernel", "--pod", str(world.client)) as monitor:
            event = monitor.wait(lambda event: is_kernels(event, "NETFILTER_DROP", address),
                                 lambda: send(world.client, address, NOBODY))[0]
    finally:
        netns.run("nft", "delete", "table", "inet", "refusing")
    assert event["place"] == "node" and event["source"]["pod"] == str(world.client), event


@contextlib.contextmanager
def full_uplink(world):
    """The queue of the first node's uplink takes no packet."""
    world.n1.netns.run("tc", "qdisc", "replace", "dev", "eth0", "root", "pfifo", "limit", "0")
    try:
        yield
    finally:
        world.n1.netns.run("tc", "qdisc", "del", "dev", "eth0", "root")


@each_family
def test_masqueraded_packet_that_the_uplink_has_no_room_for(world, family):
    """It has the node's address by then: the flow table knows whose it is. The node's own packets are nobody's."""
    address = OUTSIDE_IP[family]
    client = UdpClient(world.client, address, ECHO)
    with contextlib.closing(client), Monitor(world.n1.agent, "--kernel") as monitor:
        wait_until(lambda: attached(world.n1.agent) and client.state(0.2) == "open" and ping(world.client, address) == "open", "all is well")
        with full_uplink(world):
            send(world.n1.netns, address, NOBODY)
            for proto, act in (("udp", client.send), ("icmp" if family == 4 else "icmpv6", lambda: ping(world.client, address, 0.2))):
                event = monitor.wait(lambda event, proto=proto: is_kernels(event, "QDISC_DROP", address) and event["proto"] == proto, act)[0]
                assert (event["source"]["pod"], event["source"]["ip"]) == (str(world.client), world.client.ips[family]), event
                assert (event["place"], event["link"], event["masqueraded"]["ip"]) == ("node", "eth0", world.n1.ips[family]), event
                if proto == "udp":
                    assert event["source"]["port"] == client.sock.getsockname()[1] and event["masqueraded"]["port"] > 0, event
            told = kernels(monitor)
    assert not [event for event in told if event["destination"]["port"] == NOBODY], told


@each_family
def test_full_receive_buffer(world, family):
    address = world.server.ips[family]
    reader = world.server.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
    sender = UdpClient(world.client, address, 9000)
    with contextlib.closing(reader), contextlib.closing(sender):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.bind((address, 9000))
        with Monitor(world.n1.agent, "--drops", "--reason", "kernel:SOCKET_RCVBUFF") as monitor:
            event = monitor.wait(lambda event: is_kernels(event, "SOCKET_RCVBUFF", address),
                                 lambda: [sender.send(bytes(1000)) for _ in range(20)])[0]
    assert event["place"] == f"pod {world.server}" and event["destination"]["port"] == 9000, event


@each_family
def test_segment_that_the_connection_does_not_want(world, family):
    """It has no device any more when it is given up: where that was the socket says."""
    source, address = world.client.ips[family], world.server.ips[family]
    with Connection(world.client, address, SERVED) as connection, Monitor(world.n1.agent, "--kernel") as monitor:
        assert connection.ask()
        segment = packets.tcp(source, address, connection.sock.getsockname()[1], SERVED, 0x10, seq=1, data=b"stray")
        packet = packets.ip(source, address, socket.IPPROTO_TCP, segment)
        frame = packets.ethernet(world.client.gateway_mac(), world.client.netns.mac(), packets.ethertype_of(packet), packet)
        event = monitor.wait(lambda event: event.get("type") == "kernel_drop" and event["destination"]["ip"] == address
                             and "SEQUENCE" in event["reason"], lambda: send_frame(world.client, frame))[0]
    assert event["place"] == f"pod {world.server}" and event["source"]["pod"] == str(world.client), event


@each_family
def test_reasons_that_say_little_are_told_to_who_asks_for_them(world, family):
    """A frame with another machine's MAC address: each packet on a link that somebody captures on is one."""
    source, address = world.n1.ips[family], world.server.ips[family]
    packet = packets.ip(source, address, socket.IPPROTO_UDP, packets.udp(source, address, 40000, NOBODY, b"x"))
    frame = packets.ethernet("02:00:00:00:00:99", world.server.gateway_mac(), packets.ethertype_of(packet), packet)
    send_it = lambda: send_frame(world.n1, frame, world.server.host_link)
    with Monitor(world.n1.agent, "--kernel") as every:
        with Monitor(world.n1.agent, "--kernel", "--reason", "kernel:OTHERHOST") as asked:
            asked.wait(lambda event: is_kernels(event, "OTHERHOST", address), send_it)
        count = len(kernels(every))
        every.wait(lambda _: len(kernels(every)) > count, lambda: (send_it(), send(world.client, address, NOBODY)))
        wait_until(lambda: any(is_kernels(event, "NO_SOCKET", address) for event in kernels(every)), "the marker")
        told = kernels(every)
    assert not [event for event in told if event["reason"] == "kernel:OTHERHOST"], told


def test_nothing_is_attached_unless_somebody_asks(world):
    agent = world.n1.agent
    wait_detached(agent)
    with Monitor(agent, "--flows") as flows, Monitor(agent, "--drops", "--reason", "policy_denied_ingress") as own:
        flows.wait(lambda event: event.get("type") == "flow", lambda: reach(world.client, world.server.ips[4], SERVED))
        own.wait(lambda event: "reason" in event, lambda: reach(world.client, world.closed.ips[4], SERVED, timeout=0.1))
        assert not attached(agent), "flows and Polder's own drops need it not"
        with Monitor(agent, "--drops") as first, Monitor(agent, "--kernel") as second:
            program, = wait_until(lambda: attached(agent), "the program is attached")
            first.process.kill()
            first.process.wait(60)
            second.wait(lambda event: is_kernels(event, "NO_SOCKET", world.server.ips[4]),
                        lambda: send(world.client, world.server.ips[4], NOBODY))
            assert attached(agent) == [program], "one for all who ask"
        wait_detached(agent)
    wait_until(lambda: not is_loaded(program), "the program is gone")


def test_agent_that_is_killed_leaves_nothing_attached_and_the_next_one_goes_on(world):
    agent, address = world.n1.agent, world.server.ips[4]
    with Monitor(agent, "--kernel") as monitor:
        program, = wait_until(lambda: attached(agent), "the program is attached")
        agent.kill(signal.SIGKILL)
        wait_until(lambda: not is_loaded(program), "the program went with the agent")
        agent.start()
        monitor.wait(lambda event: is_kernels(event, "NO_SOCKET", address), lambda: send(world.client, address, NOBODY))
    wait_detached(agent)


def test_agent_that_ends_detaches_it(world):
    agent = world.n1.agent
    with Monitor(agent, "--kernel"):
        program, = wait_until(lambda: attached(agent), "the program is attached")
        agent.restart()
        wait_until(lambda: not is_loaded(program), "the program went with the agent")


def test_what_polder_dropped_is_not_told_twice(world):
    address = world.server.ips[4]
    with Monitor(world.n1.agent, "--drops") as monitor:
        monitor.wait(lambda event: is_kernels(event, "NO_SOCKET", address), lambda: send(world.client, address, NOBODY))
        reach(world.client, world.closed.ips[4], SERVED, timeout=0.1)
        monitor.wait(lambda event: event.get("type") == "drop" and event["destination"]["ip"] == world.closed.ips[4])
        count = len(kernels(monitor))
        monitor.wait(lambda _: len(kernels(monitor)) > count, lambda: send(world.client, address, NOBODY))
        told = kernels(monitor)
    assert not [event for event in told if event["destination"]["ip"] == world.closed.ips[4]], told
    assert not [event for event in told if event["reason"] in ("kernel:TC_INGRESS", "kernel:TC_EGRESS")], told


@each_family
def test_namespaces_of_others_are_not_told(world, family):
    """A pod of another node, and a namespace of somebody else that has a pod's address."""
    address, elsewhere = world.server.ips[family], world.other.ips[family]
    twin = Namespace("twin", world.unique)
    try:
        twin.ip("link set lo up", "link add eth0 type veth peer name eth1", "link set eth0 up",
                f"addr add {address} dev eth0" + (" nodad" if family == 6 else ""))
        with Monitor(world.n2.agent, "--kernel") as theirs, Monitor(world.n1.agent, "--kernel") as ours:
            wait_until(lambda: attached(world.n1.agent), "the program is attached")
            theirs.wait(lambda event: is_kernels(event, "NO_SOCKET", elsewhere), lambda: send(world.client, elsewhere, NOBODY))
            send(twin, address, NOBODY + 1)
            ours.wait(lambda event: is_kernels(event, "NO_SOCKET", address), lambda: send(world.client, address, NOBODY))
            told = kernels(ours)
    finally:
        twin.delete()
    assert not [event for event in told if event["destination"]["ip"] == elsewhere], told
    assert not [event for event in told if event["destination"]["port"] == NOBODY + 1], told


def test_filters_hold_for_the_kernels_drops(world):
    address, other = world.server.ips[4], world.client.ips[4]
    both = lambda: (send(world.client, address, NOBODY), send(world.closed, other, NOBODY))
    with Monitor(world.n1.agent, "--kernel") as every, \
            Monitor(world.n1.agent, "--kernel", "--pod", str(world.server)) as of_pod, \
            Monitor(world.n1.agent, "--kernel", "--reason", "kernel:tcp_csum") as of_reason, \
            Monitor(world.n1.agent, "--drops", "--reason", "kernel:no_socket", "--port", str(NOBODY)) as of_both:
        of_pod.wait(lambda event: is_kernels(event, "NO_SOCKET", address), both)
        of_both.wait(lambda event: is_kernels(event, "NO_SOCKET", other), both)
        every.wait(lambda event: is_kernels(event, "NO_SOCKET", other), both)
        of_reason.wait(lambda event: is_kernels(event, "TCP_CSUM", address),
                       lambda: send_frame(world.client, spoiled(world, "tcp", 4)))
        assert {event["destination"]["ip"] for event in kernels(of_pod)} == {address}, of_pod.events()
        assert {event["reason"] for event in kernels(of_reason)} == {"kernel:TCP_CSUM"}, of_reason.events()
        assert {event["reason"] for event in kernels(of_both)} == {"kernel:NO_SOCKET"}, of_both.events()


def test_what_makes_no_sense_is_refused_in_words(world):
    for words, why in ((["monitor", "--kernel", "--reason", "kernel:NO_SUCH_THING"], "this kernel drops no packet for that"),
                       (["monitor", "--kernel", "--reason", "kernel:no such"], "expected a reason of the kernel's"),
                       (["monitor", "--kernel", "--policy", "demo/x"], "have no policy"),
                       (["monitor", "--kernel", "--verdict", "allow"], "have no policy"),
                       (["drop", "list", "--for", "1s"], "--kernel"), (["drop", "list", "--kernel", "--since", "1m"], "--for"),
                       (["drop", "list", "--kernel", "--for", "soon"], "expected a time"),
                       (["drop", "list", "--kernel", "--for", "1s", "--reason", "kernel:NO_SUCH_THING"], "this kernel drops"),
                       (["drop", "list", "--reason", "kernel:NO_SOCKET"], "drop list --kernel")):
        done = world.n1.agent.ctl(*words, check=False)
        assert done.returncode != 0 and why in done.stderr, (words, done)
    wait_detached(world.n1.agent)


def test_drop_list_counts_while_it_waits_and_says_what_to_do(world):
    agent, address = world.n1.agent, world.server.ips[4]
    for words, read in ((("-o", "json"), json.loads), ((), str)):
        asked = subprocess.Popen([POLDERCTL, "--socket", agent.socket, *words, "drop", "list", "--kernel", "--for", "3s"],
                                 stdout=subprocess.PIPE, text=True)
        wait_until(lambda: attached(agent) or asked.poll() is not None, "the program is attached")
        while asked.poll() is None:
            for _ in range(10):
                send(world.client, address, NOBODY)
            with contextlib.suppress(subprocess.TimeoutExpired):
                asked.wait(0.1)
        answer = read(asked.stdout.read())
        asked.stdout.close()
        if words:
            rows = [row for row in answer["drops"] if row["reason"] == "kernel:NO_SOCKET" and row["pod"] == str(world.server)]
            reason, = [reason for reason in answer["reasons"] if reason["reason"] == "kernel:NO_SOCKET"]
            assert rows and rows[0]["direction"] == "to_pod" and rows[0]["packets"] > 1, answer
            assert reason["packets"] > 1 and reason["told"] >= rows[0]["packets"] and "ss -lntu" in reason["remedy"], answer
            assert rows[0]["example"]["destination"]["ip"] == address, answer
        else:
            assert "kernel:NO_SOCKET" in answer and str(world.server) in answer and "nothing listens on the port" in answer, answer
    wait_detached(agent)


def test_more_than_the_rate_is_counted_and_said(world):
    address = world.server.ips[4]
    options = world.n1.agent.options
    options["events-per-second"] = 5
    world.n1.agent.restart()
    try:
        sender = UdpClient(world.client, address, NOBODY)
        with contextlib.closing(sender), Monitor(world.n1.agent, "--kernel") as monitor:
            def flood():
                for _ in range(200):
                    with contextlib.suppress(OSError):
                        sender.send()
            event = monitor.wait(lambda event: event.get("kernel_limited"), flood)[0]
            assert event["kernel_lost"] == 0, event
    finally:
        del options["events-per-second"]
        world.n1.agent.restart()
