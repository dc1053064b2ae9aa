# SPDX-License-Identifier: Apache-2.0
"""The image as the DaemonSet runs it: ready, installed, replaced while pods talk, and taken away."""

import contextlib
import json
import os
import subprocess

from image_world import BPFFS, CONF_NAME, RUN_DIR
from lib import objects
from lib.agent import REPOSITORY
from lib.cni import CniError
from lib.netns import run
from lib.traffic import BOTH, V4, Connection, UdpClient, wait_until

import yaml

CAPABILITIES = {12, 21, 38, 39}  # NET_ADMIN, SYS_ADMIN, PERFMON, BPF


def setup(world):
    world.client, world.server = world.pod("client"), world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", ns="kube-system")
    world.serve(world.server, 8080)
    world.serve(world.server, 5353, "UDP")
    world.policies(objects.policy("own-namespace", {"matchLabels": {"app": "server"}}, ingress=[{"from": [{"podSelector": {}}]}]))


def flows(world):
    found = []
    for family in BOTH:
        found += [Connection(world.client, world.server.ips[family], 8080), UdpClient(world.client, world.server.ips[family], 5353)]
    for flow in found:
        flow.ask()
    return found


def verdicts(world):
    """The pod of the own namespace is let in, the other one is not."""
    world.expect(*[(source, world.server.ips[family], 8080, verdict) for family in BOTH
                   for source, verdict in ((world.client, "open"), (world.stranger, "timeout"))])


def test_agent_is_ready_and_answers_the_kubelets_probes(world):
    assert world.http("/healthz") == 200 and world.http("/readyz") == 200
    assert world.node.agent.ctl_json("status")["node"] == world.node.name


def test_agent_has_four_capabilities_and_no_other_privilege(world):
    with open(f"/proc/{world.node.agent.pid()}/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert {bit for bit in range(64) if int(status[kind], 16) >> bit & 1} == CAPABILITIES, f"{kind} {status[kind]}"
    assert status["Seccomp"] == "2", "no seccomp filter"


def test_plugin_and_configuration_are_installed(world):
    agent = world.node.agent
    assert os.listdir(os.path.dirname(agent.plugin)) == ["polder-cni"] and os.access(agent.plugin, os.X_OK)
    assert "polder-cni" in run([agent.plugin, "--version"]).stdout
    found = agent.conflist()
    assert found["cniVersion"] == "1.0.0" and "1.1.0" in found["cniVersions"] and found["plugins"][0]["type"] == "polder-cni"
    with open(os.path.join(REPOSITORY, "deploy", "cni", CONF_NAME), encoding="utf-8") as file:
        assert json.load(file) == found
    assert os.listdir(agent.conf_dir) == [CONF_NAME]


def test_sysctls_of_pods_links_are_set_from_the_container(world):
    for pod in (world.client, world.server):
        assert world.node.netns.sysctl_get(f"net/ipv4/conf/{pod.host_link}/accept_redirects") == "0"
        assert pod.netns.sysctl_get("net/ipv4/conf/eth0/accept_redirects") == "0"


def test_policy_holds(world):
    verdicts(world)


def test_other_configurations_are_named_and_left_alone(world):
    path = os.path.join(world.node.agent.conf_dir, "05-other.conflist")
    with open(path, "w", encoding="ascii") as file:
        json.dump({"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "bridge"}]}, file)
    try:
        world.wait_problem("cni-config", "05-other.conflist", "delete or rename", timeout=15)
        assert os.path.exists(path)
    finally:
        os.unlink(path)
    world.node.agent.process.send_signal(1)
    world.wait_no_problem()


def test_own_configuration_is_mended(world):
    path = os.path.join(world.node.agent.conf_dir, CONF_NAME)
    whole = world.node.agent.conflist()
    for damaged, reload in (("", False), (json.dumps(whole)[:40], True), (None, True)):
        if damaged is None:
            os.unlink(path)
        else:
            with open(path, "w", encoding="ascii") as file:
                file.write(damaged)
        if reload:
            world.node.agent.process.send_signal(1)

        def mended():
            with contextlib.suppress(OSError, ValueError):
                return world.node.agent.conflist() == whole
            return False
        wait_until(mended, f"a whole {CONF_NAME} after {damaged!r}", 15)


def test_update_keeps_traffic_policy_and_configuration(world):
    agent, traffic = world.node.agent, flows(world)
    agent.stop()
    assert not agent.alive() and agent.conflist()["name"] == "polder"
    for flow in traffic:
        flow.ask()
    verdicts_while_away(world)
    late = _late_pod(world)
    agent.start(wait=False)
    while not agent.ctl("status", "--wait=1", check=False).returncode == 0:
        agent.check_alive()
        for flow in traffic:
            flow.ask()
    for flow in traffic:
        flow.ask()
    verdicts(world)
    world.expect((world.pod("fresh"), world.server.ips[V4], 8080, "open"))
    late.delete()


def verdicts_while_away(world):
    world.expect(*[(source, world.server.ips[family], 8080, verdict) for family in BOTH
                   for source, verdict in ((world.client, "open"), (world.stranger, "timeout"))], within=0)


def _late_pod(world):
    """One that the kubelet tries to start while there is no agent: refused, to be tried again."""
    late = type(world.client)(world, world.node, "late", "default", config=world.client.config)
    try:
        late.add()
    except CniError as error:
        assert error.code == 11, error
    else:
        raise AssertionError("a pod was connected without an agent")
    return late


def test_plugin_is_replaced_as_a_whole(world):
    """It is started again and again while init containers put the image's in place of older ones."""
    agent, spec = world.node.agent, world.node.agent.spec()
    install = next(c for c in spec["initContainers"] if c["name"] == "install-cni")
    going_on = os.path.join(world.workdir, "going-on")
    with open(going_on, "w", encoding="ascii"):
        pass
    script = 'n=0; while [ -e "$1" ]; do "$0" --version >/dev/null || exit 1; n=$((n + 1)); done; echo $n'
    with subprocess.Popen(["/bin/sh", "-c", script, agent.plugin, going_on], stdout=subprocess.PIPE, text=True) as loop:
        try:
            for _ in range(3):
                put_older_plugin(agent)
                assert "installed" in agent.run_once(spec, install).stdout
                assert "there already" in agent.run_once(spec, install).stdout
        finally:
            os.unlink(going_on)
        out, _ = loop.communicate(timeout=20)
    assert loop.returncode == 0 and int(out) > 0


def put_older_plugin(agent):
    """The same with a byte more, which the loader does not mind."""
    with open(agent.plugin, "rb") as file:
        content = file.read()
    with open(agent.plugin + ".older", "wb") as file:
        file.write(content + b"x")
    os.chmod(agent.plugin + ".older", 0o755)
    os.rename(agent.plugin + ".older", agent.plugin)


def test_bpf_file_system_is_mounted_where_there_is_none(world):
    agent, spec = world.node.agent, world.node.agent.spec()
    mount = next(c for c in spec["initContainers"] if c["name"] == "mount-bpffs")
    bare = os.path.join(world.workdir, "bare")
    os.makedirs(bare)
    mount["command"][mount["command"].index("--bpffs=/sys/fs/bpf")] = f"--bpffs={bare}"
    try:
        assert "installed" in agent.run_once(spec, mount).stdout
        assert run(["stat", "-f", "-c", "%T", bare]).stdout.strip() == "bpf_fs"
        assert "there already" in agent.run_once(spec, mount).stdout
    finally:
        run(["umount", bare])


def test_agent_of_a_pod_pins_nothing_where_its_pins_would_go_with_it(world):
    agent = world.node.agent
    agent.stop()
    spec = agent.spec()
    bare = os.path.join(world.workdir, "no-bpffs")
    os.makedirs(bare)
    agent.places["/sys/fs/bpf"] = bare
    try:
        done = agent.run_once(spec, spec["containers"][0], check=False)
    finally:
        del agent.places["/sys/fs/bpf"]
    assert done.returncode == 1 and "no BPF file system of the node" in done.stderr, done.stderr
    assert not os.listdir(bare)


def test_uninstall_leaves_nothing(world):
    agent = world.node.agent
    with open(os.path.join(REPOSITORY, "deploy", "kubernetes", "cleanup.yaml"), encoding="utf-8") as file:
        spec = yaml.safe_load(file)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    # To its end: the DaemonSet's stays.
    container["command"].remove("--hold")
    spec["dnsPolicy"] = "Default"
    os.symlink("10-polder.conflist", os.path.join(agent.conf_dir, "99-others.conf"))
    done = agent.run_once(spec, container, check=False)
    assert done.returncode == 1 and "polderd is running" in done.stderr, done.stderr
    agent.stop()
    done = agent.run_once(spec, container, check=False)
    assert done.returncode == 1 and "links of pods are there" in done.stderr, done.stderr
    os.unlink(os.path.join(agent.conf_dir, "99-others.conf"))
    other = os.path.join(agent.conf_dir, "87-other.conflist")
    with open(other, "w", encoding="ascii") as file:
        file.write('{"name": "other", "plugins": [{"type": "bridge"}]}')
    for server in world.servers:
        server.close()
    for pod in (world.client, world.server, world.stranger):
        pod.delete()  # the node is drained; what nobody answers is noted
    wait_until(lambda: not [link for link in world.node.netns.ip_json("link", "show") if link["ifname"].startswith("pld")],
               "no link of a pod", 10)
    agent.run_once(spec, container)
    assert os.listdir(agent.conf_dir) == ["87-other.conflist"] and not os.listdir(os.path.dirname(agent.plugin))
    assert not os.path.exists(RUN_DIR) and not os.path.exists(agent.place("/var/lib/polder")) and not os.path.exists(BPFFS)
    rules = world.node.netns.ip_json("rule", "show") + world.node.netns.ip_json("-6", "rule", "show")
    assert not [rule for rule in rules if rule.get("priority") in (1, 2, 3)], rules
    assert "nothing of Polder is left" in agent.run_once(spec, container).stdout
    os.unlink(other)
