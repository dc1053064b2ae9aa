# SPDX-License-Identifier: Apache-2.0
"""The agent dies, restarts, is upgraded, is asked: running flows never notice, what is denied stays denied."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from lib import objects
from lib.agent import POLDERCTL, POLDERD
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import limit
from lib.steady import Traffic
from lib.traffic import BOTH, Connection, ping, reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

LASTS = 105
WORLD = {"nodes": 2, "metrics_listen": "127.0.0.1:9180"}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.remote = world.pod("remote", labels={"app": "client"}, node=world.n2)
    for where in (world.client, world.server, world.remote, world.n1, world.outside):
        world.serve(where, 8080)
        world.serve(where, 5353, "UDP")
    world.vip = world.service("server", 1, [
        objects.service_port(80, 8080, name="tcp"),
        objects.service_port(53, 5353, "UDP", name="udp")],
        {"app": "server"})
    world.resources.put("policies",
                        policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.client, world.vip[family], 80, "open"),
                     (world.n1, world.vip[family], 80, "open"))


def check_new_flows(world):
    """What is allowed opens, what is denied does not."""
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"),
                     (world.client, world.vip[family], 80, "open"),
                     (world.remote, world.vip[family], 80, "open"),
                     (world.client, OUTSIDE_IP[family], 8080, "open"),
                     (world.client, WORLD_IP[family], 5353, "open", "UDP"),
                     (world.outside, world.client.ips[family], 8080, "open"),
                     (world.n1, world.vip[family], 80, "open"),
                     (world.n1, world.client.ips[family], 8080, "open"), within=0)
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.stranger, world.vip[family], 80, "timeout"),
                     (world.outside, world.server.ips[family], 8080, "timeout"), within=0)


def test_killed_agent_loses_and_opens_nothing(world):
    agent = world.n1.agent
    with Traffic(world) as traffic:
        agent.kill(signal.SIGKILL)
        traffic.wait_round()
        check_new_flows(world)
        agent.start()
        traffic.wait_round()
        check_new_flows(world)


@limit(90)
def test_agent_killed_again_and_again_while_it_starts(world):
    agent = world.n1.agent
    with Traffic(world) as traffic:
        for number in range(10):
            agent.kill(signal.SIGKILL)
            agent.start(wait=False)
            deadline = time.monotonic() + 0.01 * 2 ** (number % 6)
            wait_until(lambda: time.monotonic() >= deadline, "the moment to kill", interval=0.005)
        agent.kill(signal.SIGKILL)
        agent.start()
        traffic.wait_round()
        check_new_flows(world)


def test_restart_loses_and_opens_nothing(world):
    with Traffic(world) as traffic:
        for _ in range(2):
            world.n1.agent.restart()
            traffic.wait_round()
        check_new_flows(world)


def test_upgrade_to_a_newer_binary_loses_and_opens_nothing(world):
    agent = world.n1.agent
    newer = os.path.join(world.workdir, "polderd-newer")
    shutil.copy(POLDERD, newer)
    try:
        with Traffic(world) as traffic:
            agent.stop()
            agent.binary = newer
            agent.start()
            traffic.wait_round()
            check_new_flows(world)
    finally:
        agent.binary = POLDERD
        agent.restart()


def test_stopped_agent_ends_well_and_leaves_the_datapath(world):
    agent = world.n1.agent
    assert agent.stop() == 0
    assert not os.path.exists(agent.socket)
    check_new_flows(world)
    agent.start()


def test_pods_keep_their_programs_and_addresses_over_a_restart(world):
    before = world.n1.agent.ctl_json("pod", "list")
    world.n1.agent.restart()
    after = world.n1.agent.ctl_json("pod", "list")
    for one, other in zip(before, after):
        for key in ("namespace", "name", "ips", "link", "identity"):
            assert one[key] == other[key], f"{key}: {one[key]} -> {other[key]}"
    late = world.pod("late")
    assert not {late.ips[f] for f in BOTH} & {ip for pod in before for ip in pod["ips"]}


def test_changes_made_while_the_agent_is_away_are_in_force_when_it_is_back(world):
    agent = world.n1.agent
    with Connection(world.client, world.server.ips[4], 8080) as cut, \
            Connection(world.client, OUTSIDE_IP[4], 8080) as stays:
        cut.ask()
        stays.ask()
        agent.stop()
        world.resources.put("policies",
                            policy("server-2", labels(app="server"), policyTypes=["Ingress"],
                                               ingress=[{"from": [{"podSelector": labels(app="stranger")}]}]))
        world.resources.delete("service-default-server")
        agent.start()
        world.expect((world.client, world.server.ips[4], 8080, "timeout"),
                     (world.stranger, world.server.ips[4], 8080, "open"))
        wait_until(lambda: cut.state() == "timeout", "a connection that policy denies now is cut")
        stays.ask()
        assert reach(world.client, world.vip[4], 80, timeout=0.3).verdict != "open"


def test_nothing_is_swept_before_all_objects_are_read(world):
    """The directory is not there when the agent starts: what the maps hold stays in force until it is."""
    agent, directory = world.n1.agent, world.resources.directory
    with Traffic(world) as traffic:
        agent.stop()
        os.rename(directory, directory + ".away")
        try:
            agent.start(wait=False)
            agent.wait_answer()
            traffic.wait_round()
            done = agent.ctl("status", "--wait=1", check=False)
            assert done.returncode != 0, "ready without having read its objects"
            traffic.wait_round()
            check_new_flows(world)
        finally:
            os.rename(directory + ".away", directory)
        agent.wait_ready()
        traffic.wait_round()
        check_new_flows(world)


def test_pod_that_went_while_the_agent_was_away_is_swept(world):
    before = world.n1.ruler()
    gone = world.pod("gone", with_object=False)
    world.n1.agent.stop()
    gone.netns.delete()
    world.n1.agent.start()
    world.n1.wait_as(before)
    gone.result = None


def test_two_agents_on_one_machine_do_not_disturb_each_other(world):
    """Both nodes have the same options but for what makes them two; one is killed and restarted."""
    status = {n: n.agent.ctl_json("status") for n in world.nodes}
    assert status[world.n1]["node"] == "node1" and status[world.n2]["node"] == "node2"
    with Traffic(world) as traffic:
        world.n2.agent.restart(signal.SIGKILL)
        traffic.wait_round()
        names = {p["name"] for p in world.n2.agent.ctl_json("pod", "list")}
        assert names == {"remote"}, names
        assert "remote" not in {p["name"] for p in world.n1.agent.ctl_json("pod", "list")}


def test_second_agent_on_the_same_run_directory_is_refused(world):
    agent = world.n1.agent
    command = agent.command()
    done = run(command, check=False)
    assert done.returncode != 0 and done.stderr.strip(), "a second agent started"
    assert agent.ctl_json("status")["ready"]
    check_new_flows(world)


def test_uplink_that_goes_down_and_comes_back_serves_again(world):
    world.n1.netns.ip("link set eth0 down")
    world.n1.netns.ip("link set eth0 up", f"addr replace {world.n1.ips[6]}/64 dev eth0 nodad",
                      f"route replace default via {OUTSIDE_IP[4]}",
                      f"route replace default via {OUTSIDE_IP[6]}")
    for family in BOTH:
        world.n1.netns.ip(f"route replace {world.n2.pod_cidr[family]} via {world.n2.ips[family]}")
        wait_until(lambda f=family: reach(world.client, OUTSIDE_IP[f], 8080,
                                          timeout=0.5).verdict == "open",
                   "the outside is reached again")
        # A question about a neighbour that was lost with the link is asked again after a second.
        wait_until(lambda f=family: reach(world.remote, world.vip[f], 80, timeout=0.5).verdict == "open",
                   "the other node's pods are reached again")
    check_new_flows(world)


# ------------------------------------------------------------------ foreign hands


def test_host_route_and_neighbour_that_somebody_deleted_come_back(world):
    node, ip = world.n1, world.client.ips[4]
    before = node.ruler()
    node.netns.run("ip", "route", "del", ip, check=False)
    node.netns.run("ip", "neigh", "flush", "dev", world.client.host_link, "nud", "permanent",
                   check=False)
    node.netns.run("ip", "link", "set", world.client.host_link, "down")
    node.agent.restart()
    node.wait_as(before)
    check_new_flows(world)


# ------------------------------------------------------------------ what polderctl says


def test_status_tells_what_is_there(world):
    status = world.n1.agent.ctl_json("status")
    assert status["ready"] is True and status["synced"] is True
    assert status["node"] == "node1" and status["version"]
    assert set(status["node_ips"]) == set(world.n1.ips.values()), status["node_ips"]
    assert set(status["pod_cidrs"]) == set(world.n1.pod_cidr.values()), status["pod_cidrs"]
    assert status["pods"]["total"] == 3, status["pods"]
    assert status["problems"] == []
    text = world.n1.agent.ctl("status").stdout
    assert "node1" in text and "yes" in text


def test_pod_list(world):
    pods = {p["name"]: p for p in world.n1.agent.ctl_json("pod", "list")}
    assert set(pods) == {"client", "server", "stranger"}
    assert set(pods["server"]["ips"]) == set(world.server.ips.values())
    assert pods["server"]["ingress"]["isolated"] and not pods["client"]["ingress"]["isolated"]
    assert pods["server"]["link"] == world.server.host_link
    assert "server" in world.n1.agent.ctl("pod", "list").stdout


def test_service_list(world):
    rows = [s for s in world.n1.agent.ctl_json("service", "list") if s["name"] == "server"]
    assert {(s["address"], s["port"], s["protocol"]) for s in rows} == {
        (world.vip[f], port, proto) for f in BOTH
        for port, proto in ((80, "TCP"), (53, "UDP"))}, rows
    for row in rows:
        family = 6 if ":" in row["address"] else 4
        assert [b["address"] for b in row["backends"]] == [world.server.ips[family]], row


def test_policy_list(world):
    rows = {p["name"]: p for p in world.n1.agent.ctl_json("policy", "list")}
    assert set(rows) == {"server"}
    assert rows["server"]["namespace"] == "default" and rows["server"]["selected_pods"] == 1
    assert [t.lower() for t in rows["server"]["types"]] == ["ingress"]


def test_flow_list_shows_a_flow_and_its_translation(world):
    for family in BOTH:
        with Connection(world.client, world.vip[family], 80) as connection:
            connection.ask()
            port = connection.sock.getsockname()[1]
            rows = [f for f in world.n1.agent.ctl_json("flow", "list", "--limit", "0")
                    if f.get("source_port") == port and f["source"] == world.client.ips[family]]
            assert len(rows) == 1, rows
            assert rows[0]["destination"] == world.vip[family] and rows[0]["destination_port"] == 80
            assert rows[0]["new_destination"] == world.server.ips[family], rows[0]
            assert rows[0]["packets"] >= 3


def test_map_list_tells_sizes_and_fill(world):
    maps = {m["name"]: m for m in world.n1.agent.ctl_json("map", "list")}
    for name in ("pods", "addresses", "services", "backends", "rulesets"):
        assert name in maps, sorted(maps)
        assert maps[name]["max_entries"] > 0
    assert maps["services"]["entries"] >= 4, maps["services"]


def test_metrics_are_prometheus_text(world):
    text = world.n1.agent.ctl("metrics").stdout
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert families and len(families) == len(set(families)), "a family twice"
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            assert any(name.startswith(f) for f in families), f"{line} has no TYPE"
            float(line.rsplit(" ", 1)[1])
    assert any(name.endswith("_total") for name in families)


def http(world, path, node=None):
    """(status, body) of a GET on the metrics address."""
    sock = (node or world.n1).socket(2, 1)
    with sock:
        sock.settimeout(3)
        sock.connect(("127.0.0.1", 9180))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while part := sock.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_http_serves_metrics_and_health(world):
    for node in world.nodes:
        status, body = http(world, "/metrics", node)
        assert status == 200 and "# TYPE" in body
        assert http(world, "/healthz", node)[0] == 200
        assert http(world, "/readyz", node)[0] == 200
        assert http(world, "/nonsense", node)[0] == 404


def test_monitor_tells_drops_with_pod_verdict_reason_and_rule(world):
    command = [POLDERCTL, "--socket", world.n1.agent.socket, "-o", "json", "monitor", "--drops"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        def seen():
            reach(world.stranger, world.server.ips[4], 8080, timeout=0.05)
            return [e for e in map(json.loads, list(lines))
                    if e.get("reason") == "policy_denied_ingress"]
        event = wait_until(seen, lambda: f"the drop among {lines[-3:]}")[0]
        text = json.dumps(event)
        for wanted in (world.stranger.ips[4], world.server.ips[4], "8080", "stranger", "server"):
            assert wanted in text, f"{wanted} is not in {text}"
    finally:
        process.terminate()
        process.wait(60)
        reader.join(60)
        process.stdout.close()


def test_log_level_is_settable_while_running(world):
    world.n1.agent.ctl("log", "level", "debug")
    world.n1.agent.ctl("log", "level", "info")
    assert world.n1.agent.ctl("log", "level", "loud", check=False).returncode != 0


def test_polderctl_without_an_agent_says_what_where_and_what_to_do(world):
    done = run([POLDERCTL, "--socket", "/nonexistent/polder.sock", "status"], check=False)
    assert done.returncode == 1 and "/nonexistent/polder.sock" in done.stderr, done
    done = run([POLDERCTL, "nonsense"], check=False)
    assert done.returncode == 2 and done.stderr, done
    done = run([POLDERCTL, "-o", "xml", "status"], check=False)
    assert done.returncode == 2, done


# ------------------------------------------------------------------ local attack surface


def test_control_socket_and_directories_are_roots_alone(world):
    agent = world.n1.agent
    assert os.stat(agent.socket).st_mode & 0o777 == 0o600
    assert os.stat(agent.options["run-dir"]).st_mode & 0o077 == 0
    for base, dirs, files in os.walk(agent.options["run-dir"]):
        for name in dirs + files:
            mode = os.lstat(os.path.join(base, name)).st_mode & 0o777
            assert mode & 0o077 == 0, f"{os.path.join(base, name)} has mode {mode:o}"
    for base, dirs, files in os.walk(world.n1.bpffs):
        for name in dirs + files:
            mode = os.lstat(os.path.join(base, name)).st_mode & 0o777
            assert mode & 0o077 == 0, f"pin {os.path.join(base, name)} has mode {mode:o}"


def test_agent_listens_nowhere_but_where_it_is_told(world):
    shown = world.n1.netns.run("ss", "-Hlntup").stdout
    foreign = [line for line in shown.splitlines() if "polderd" in line and ":9180" not in line]
    assert not foreign, foreign


def test_garbage_on_the_control_socket_hurts_nobody(world):
    for garbage in (b"\n" * 100, b"{\n", b"[]\n", b'{"version":99,"op":"status"}\n',
                    b"\xff" * 70000,
                    b'{"version":1,"op":"status","args":[]}\n', b'{"version":1,"op":5}\n',
                    b'{"version":1,"op":"cni.add","args":{}}\n', b"{" * 5000 + b"\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            sock.connect(world.n1.agent.socket)
            try:
                sock.sendall(garbage)
                sock.recv(65536)
            except OSError:
                pass
    assert world.n1.agent.ctl_json("status")["ready"]


def test_ping_of_everything_after_all_that(world):
    for family in BOTH:
        assert ping(world.client, world.remote.ips[family]) == "open"
        assert ping(world.client, OUTSIDE_IP[family]) == "open"


# ------------------------------------------------------------------ XDP


def xdp_modes(node):
    """What the agent says of its uplinks, which is what the kernel says."""
    told = {link["link"]: link["mode"] for link in node.agent.ctl_json("status")["xdp"]}
    for name, mode in told.items():
        xdp = node.netns.ip_json("link", "show", "dev", name)[0].get("xdp", {})
        assert {0: "off", 1: "native", 2: "generic"}[xdp.get("mode", 0)] == mode, (name, mode, xdp)
    return told


@limit(120)
def test_xdp_is_native_or_off_unless_generic_is_asked_for(world):
    """Over restarts: a pinned link keeps its mode when it gets another program, and is not taken for what it is not."""
    before = dict(world.n1.agent.options)
    world.n1.netns.ip("link add nodrv0 type bridge", "link set nodrv0 up")
    try:
        for xdp, eth0, nodrv0 in ((None, "native", "off"), ("generic", "generic", "generic"), (None, "native", "off"),
                                  ("generic", "generic", "generic"), ("off", "off", "off"), ("auto", "native", "off")):
            world.n1.agent.options.update({"uplink": ["eth0", "nodrv0"], "xdp": xdp})
            world.n1.agent.restart()
            found = xdp_modes(world.n1)
            assert found == {"eth0": eth0, "nodrv0": nodrv0}, (xdp, found)
            for family in BOTH:
                assert ping(world.outside, world.client.ips[family]) == "open", (xdp, family)
        # Looked after as well: a program of another mode is not put back for ever.
        time.sleep(5.5)
        assert xdp_modes(world.n1) == {"eth0": "native", "nodrv0": "off"}
        world.n1.agent.options.update({"xdp": "native"})
        world.n1.agent.kill()
        world.n1.agent.start(wait=False)
        assert world.n1.agent.wait_end() != 0
        assert "use --xdp auto" in world.n1.agent.log_tail(3), world.n1.agent.log_tail(3)
    finally:
        world.n1.agent.kill()
        world.n1.agent.options.clear()
        world.n1.agent.options.update(before)
        world.n1.netns.ip("link del nodrv0")
        world.n1.agent.start()
