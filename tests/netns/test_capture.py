# SPDX-License-Identifier: Apache-2.0
"""polderctl capture: what comes, what leaves, what is refused and why, in a file that tshark reads."""

import contextlib
import json
import os
import re
import signal
import subprocess

from lib import objects
from lib.agent import POLDERCTL
from lib.captures import PolderCapture
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import each_family, in_worlds
from lib.traffic import BOTH, Connection, reach, wait_until
from lib.world import OUTSIDE_IP

LASTS = 145
WORLDS = {"tcx": {"nodes": 1}, "clsact": {"nodes": 1, "attach": "clsact", "xdp": "off"}}
CAPTURING = "_captur"  # the kernel keeps 15 bytes of a name


def setup(world):
    world.n1 = world.nodes[0]
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.serve(world.server, 8080)
    world.serve(world.outside, 8080)
    world.vip = world.service("server", 1, [objects.service_port(80, 8080, name="tcp")], {"app": "server"})
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.client, world.vip[family], 80, "open"))


def path_of(world):
    return os.path.join(world.workdir, "capture.pcapng")


@each_family
def test_translated_packet_stands_on_two_interfaces_with_its_verdict(world, family):
    with PolderCapture(world.n1.agent, path=path_of(world)) as capture:
        assert reach(world.client, world.vip[family], 80).verdict == "open"
        packets = capture.end()
    came = [p for p in packets if p.destination == world.vip[family]]
    left = [p for p in packets if p.destination == world.server.ips[family] and p.interface.endswith(" translated")]
    assert came and left, packets
    for packet in came + left:
        assert "verdict: allow" in packet.comment, packet
        assert "from: default/client" in packet.comment and "to: default/server" in packet.comment, packet
        assert "ingress: default/server rule 0" in packet.comment, packet


@in_worlds("tcx")
@each_family
def test_denied_packet_names_reason_and_policy(world, family):
    with PolderCapture(world.n1.agent, "--drops", "tcp", path=path_of(world)) as capture:
        reach(world.stranger, world.server.ips[family], 8080, timeout=0.3)
        assert reach(world.client, world.vip[family], 80).verdict == "open"
        packets = capture.end()
    assert packets and all(p.destination == world.server.ips[family] for p in packets), packets
    for packet in packets:
        assert "verdict: drop; reason: policy_denied_ingress; hook: from_pod" in packet.comment, packet
        assert "ingress: default deny of default/server" in packet.comment, packet


@in_worlds("tcx")
@each_family
def test_expression_and_count_choose_packets(world, family):
    """The expression is libpcap's; what the programs can test of it they test."""
    where = f"tcp and dst port 8080 and dst host {world.server.ips[family]}"
    with PolderCapture(world.n1.agent, "-c", "1", where, path=path_of(world)) as capture:
        reach(world.client, world.vip[family], 80)
        packets = capture.wait()
    assert capture.process.returncode == 0 and len(packets) == 1, (capture.said, packets)
    assert packets[0].destination == world.server.ips[family] and packets[0].ports[1] == 8080, packets
    assert packets[0].interface.endswith("from_pod translated"), packets


@in_worlds("tcx")
def test_expression_that_programs_cannot_test_is_held_to_all_the_same(world):
    with PolderCapture(world.n1.agent, "tcp[13] & 2 != 0 and not src port 8080", path=path_of(world)) as capture:
        reach(world.client, world.vip[4], 80)
        packets = capture.end()
    assert packets, capture.said
    for packet in packets:
        assert int(packet.field("tcp.flags"), 16) & 2 and packet.ports[0] != 8080, packet


@in_worlds("tcx")
def test_snaplen_keeps_the_first_bytes_and_says_the_length(world):
    with PolderCapture(world.n1.agent, "--snaplen", "60", "tcp", path=path_of(world)) as capture:
        reach(world.client, world.vip[4], 80)
        packets = capture.end()
    assert packets and all(int(p.field("frame.cap_len")) <= 60 for p in packets), packets
    assert any(int(p.field("frame.len")) > 60 for p in packets), packets


@in_worlds("tcx")
def test_duration_ends_it(world):
    with PolderCapture(world.n1.agent, "--duration", "1s", path=path_of(world)) as capture:
        capture.wait()
    assert capture.process.returncode == 0, capture.said


@in_worlds("tcx")
@each_family
def test_uplink_shows_what_leaves_masqueraded_and_what_comes_back(world, family):
    with PolderCapture(world.n1.agent, "-i", "eth0", "tcp port 8080", path=path_of(world)) as capture:
        assert reach(world.client, OUTSIDE_IP[family], 8080).verdict == "open"
        packets = capture.end()
    names = {p.interface for p in packets}
    assert "eth0 to_wire" in names, packets
    assert names & {"eth0 from_wire translated", "eth0 xdp translated"}, packets
    assert all(p.destination != world.client.ips[family] for p in packets if p.interface == "eth0 from_wire"), packets


@in_worlds("tcx")
def test_pod_filter_shows_that_pod_alone(world):
    with PolderCapture(world.n1.agent, "--pod", "default/stranger", "tcp", path=path_of(world)) as capture:
        reach(world.client, world.vip[4], 80)
        reach(world.stranger, world.server.ips[4], 8080, timeout=0.3)
        packets = capture.end()
    assert packets, capture.said
    for packet in packets:
        assert world.stranger.ips[4] in (packet.source, packet.destination), packet


@in_worlds("tcx")
def test_lines_on_a_pipe_and_a_live_file_on_standard_output(world):
    with PolderCapture(world.n1.agent, "tcp dst port 80") as capture:
        reach(world.client, world.vip[4], 80)
        line = capture.process.stdout.readline().decode()
        capture.end()
    assert f"> {world.vip[4]}.80: tcp [S]" in line and "# verdict: allow" in line, line
    with PolderCapture(world.n1.agent, "-n", "-w", "-", "tcp") as capture:
        shown = subprocess.Popen([POLDERCTL, "capture", "-r", "-", "-c", "1"], stdin=capture.process.stdout,
                                 stdout=subprocess.PIPE, text=True)
        reach(world.client, world.vip[4], 80)
        out, _ = shown.communicate(timeout=120)
        capture.end()
    assert "verdict: allow" in out, out


def programs_on_links(world):
    """Names of the programs that the node's links have: of pinned links where tcx is used, else as bpftool tells."""
    shown = json.loads(world.n1.netns.run("bpftool", "-j", "net", "show").stdout)
    numbers = {entry["id"] for part in shown for entries in part.values() for entry in entries if "id" in entry}
    for directory, _, pins in os.walk(world.n1.agent.options["bpffs"]):
        for pin in pins if directory.endswith("links") else []:
            link = json.loads(run(["bpftool", "-j", "link", "show", "pinned", os.path.join(directory, pin)]).stdout)
            numbers.add(link["prog_id"])
    told = [run(["bpftool", "-j", "prog", "show", "id", str(number)], check=False) for number in numbers]
    # One that has gone since is no link's any more.
    return {json.loads(one.stdout)["name"] for one in told if one.returncode == 0}


def test_ordinary_programs_are_back_when_the_last_reader_has_gone(world):
    before = programs_on_links(world)
    assert "from_pod" in str(before) and CAPTURING not in str(before), before
    with PolderCapture(world.n1.agent) as first, PolderCapture(world.n1.agent) as second:
        assert CAPTURING in str(programs_on_links(world))
        first.end()
        assert CAPTURING in str(programs_on_links(world))
        second.end(signal.SIGKILL)
    wait_until(lambda: programs_on_links(world) == before, lambda: f"{before}, now {programs_on_links(world)}")


@in_worlds("tcx")
def test_agent_killed_while_capturing_ends_it_and_starts_with_the_ordinary_programs(world):
    agent = world.n1.agent
    with PolderCapture(agent, path=path_of(world)) as capture:
        assert reach(world.client, world.vip[4], 80).verdict == "open"
        agent.kill(signal.SIGKILL)
        packets = capture.wait()
        assert capture.process.returncode == 1 and "closed the connection" in capture.said, capture.said
        assert packets, "what was captured before is in the file"
        assert reach(world.client, world.vip[4], 80).verdict == "open"
        reach(world.stranger, world.server.ips[4], 8080, timeout=0.3)
    agent.start()
    wait_until(lambda: CAPTURING not in str(programs_on_links(world)), lambda: str(programs_on_links(world)))


@in_worlds("tcx")
def test_agent_that_ends_while_capturing_leaves_the_ordinary_programs(world):
    agent = world.n1.agent
    with PolderCapture(agent, path=path_of(world)) as capture:
        assert CAPTURING in str(programs_on_links(world))
        agent.kill(signal.SIGTERM)
        capture.wait()
        left = programs_on_links(world)
        assert "from_pod" in str(left) and CAPTURING not in str(left), left
    agent.start()


@in_worlds("tcx")
def test_reader_that_stalls_loses_packets_that_are_counted_in_the_file(world):
    with PolderCapture(world.n1.agent, path=path_of(world)) as capture:
        capture.process.send_signal(signal.SIGSTOP)
        with Connection(world.client, world.server.ips[4], 8080) as connection:
            connection.fetch(60 << 20)
        assert reach(world.client, world.vip[4], 80).verdict == "open", "forwarding does not wait for the reader"
        capture.process.send_signal(signal.SIGCONT)
        capture.process.send_signal(signal.SIGINT)
        capture.wait()
    captured, lost = capture.counts()
    assert captured and lost, capture.said
    drops = run(["capinfos", "-M", path_of(world)], check=False).stdout
    counted = sum(int(n) for n in re.findall(r"Number of packets dropped[^0-9]*(\d+)", drops)) or lost
    assert counted == lost, drops


@in_worlds("tcx")
def test_what_makes_no_sense_is_refused_in_words(world):
    for words, why in ((["tcp port nonsense"], "pcap-filter"), (["-i", "lo"], "neither a pod's"),
                       (["--pod", "default/nobody"], "not on this node"), (["--pod", "x"], "NAMESPACE/NAME"),
                       (["-c", "0"], "expected a number"), (["--duration", "soon"], "expected a time"),
                       (["-r", "/etc/passwd"], "not a pcapng file"), (["-r", "x", "-i", "eth0"], "does not go with"),
                       (["-w", "/nonexistent/file"], "No such file")):
        done = world.n1.agent.ctl("capture", *words, check=False)
        assert done.returncode != 0 and why in done.stderr, (words, done)


@in_worlds("tcx")
def test_fifth_capture_is_refused_in_words(world):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(PolderCapture(world.n1.agent, "port 1"))
        done = world.n1.agent.ctl("capture", "port 1", check=False)
        assert done.returncode == 1 and "4 captures are running" in done.stderr, done
    wait_until(lambda: CAPTURING not in str(programs_on_links(world)), "the agent has seen all of them end")


@in_worlds("tcx")
def test_full_disk_is_told_and_the_file_is_whole(world):
    mount = os.path.join(world.workdir, "small")
    os.makedirs(mount, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount])
    try:
        with PolderCapture(world.n1.agent, path=os.path.join(mount, "x")) as capture:
            with Connection(world.client, world.server.ips[4], 8080) as connection:
                connection.fetch(4 << 20)
            packets = capture.wait()
        assert capture.process.returncode == 1 and "No space left" in capture.said, capture.said
        assert packets
    finally:
        run(["umount", mount])
