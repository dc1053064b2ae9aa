# SPDX-License-Identifier: Apache-2.0
"""polderctl sysdump: what is in it, what is not, on a node and of a cluster."""

import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile

from lib import objects
from lib.busy import Clock
from lib.agent import POLDERCTL
from lib.kubectl import Kubectl
from lib.runner import Skip

WORLD = {"nodes": 2}
WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZC1zaWduYXR1cmU"
PLANTED = "planted5ecret0123456789"
# A process that is seen as polderd, with secrets where a process may have them.
IMPOSTOR = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b"polderd", 0, 0, 0)
print("up", flush=True)
time.sleep(120)
"""


def setup(world):
    world.kubectl = Kubectl(world)
    world.resources.put("namespaces", objects.namespace("a"))
    world.cli = world.pod("cli", "a")
    world.web = world.pod("web", "a", node=world.nodes[1])


def members(data):
    """All files of an archive, those of archives in it with them: name without the first part -> bytes."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member).read()
            name = member.name.split("/", 1)[1]
            found[name] = content
            if name.endswith(".tar.gz"):
                found.update({f"{name}/{inner}": text for inner, text in members(content).items()})
    return found


@contextlib.contextmanager
def planted(world):
    """Secrets in a process, in files of the agent's directories, and in what the API server says."""
    agent = world.nodes[0].agent
    files = [os.path.join(agent.options[key], "kubeconfig") for key in ("run-dir", "state-dir")]
    for path in files:
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"users: [{{name: u, user: {{token: {WEB_TOKEN}, password: {PLANTED}}}}}]\n")
    impostor = subprocess.Popen(
        world.nodes[0].netns.command(sys.executable, "-c", IMPOSTOR, f"--api-server=https://u:{PLANTED}@192.0.2.1", f"--token={PLANTED}",
         f"Bearer {WEB_TOKEN}"), env={**os.environ, "PLANTED": PLANTED}, stdout=subprocess.PIPE)
    impostor.stdout.readline()
    server = world.kubectl.server
    server.logs = f"connected\nAuthorization: Bearer {WEB_TOKEN}\npassword={PLANTED}\nclosed\n"
    pod = server.pods[0]
    kept = json.loads(json.dumps(pod))
    pod["spec"]["containers"][0]["env"] = [{"name": "X", "value": PLANTED}]
    pod["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": PLANTED}
    try:
        yield impostor
    finally:
        server.pods[0] = kept
        server.logs = ""
        impostor.kill()
        impostor.wait()
        impostor.stdout.close()
        for path in files:
            os.unlink(path)


def has_no_secrets(found):
    for name, content in found.items():
        for secret in (WEB_TOKEN, PLANTED):
            assert secret.encode() not in content, name


def dump_of_node(node, *args, check=True):
    done = subprocess.run(node.netns.command(POLDERCTL, "--socket", node.agent.socket, "sysdump", *args), check=False,
                          capture_output=True, timeout=180)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_a_node_tells_of_agent_kernel_and_network_without_secrets(world):
    node = world.nodes[0]
    with planted(world) as impostor:
        found = members(dump_of_node(node, "-").stdout)
        assert f"process/{impostor.pid}/cmdline" in found
    has_no_secrets(found)
    assert json.loads(found["agent/status.json"])["node"] == node.name
    assert [pod["name"] for pod in json.loads(found["agent/pods.json"])] == ["cli"]
    keys = {key["key"] for key in json.loads(found["agent/config.json"])["keys"]}
    assert {"pod-cidr", "bpffs"} <= keys
    assert json.loads(found["agent/metrics.json"])["text"].startswith("# HELP")
    assert b"/proc/sys/net/ipv4/ip_forward " in found["system/sysctls.txt"]
    assert b"/sys/class/net/" in found["system/links.txt"]
    assert node.bpffs.encode() in found["files/pins.txt"] and b"kubeconfig" in found["files/run.txt"]
    assert b"Linux version" in found["system/proc/version"]
    index = json.loads(found["index.json"])
    names = [file["name"] for file in index["files"]]
    assert {"agent/flows.json", "network/rules4.json", "bpf/links.json"} <= set(names), names
    assert all(file["note"] for file in index["files"] if file["name"] not in found), index
    rules = json.loads(found["network/rules4.json"])
    assert any(rule["priority"] == 2 for rule in rules), rules


def test_sizes_are_bounded(world):
    data = dump_of_node(world.nodes[0], "-").stdout
    assert len(data) < 8 << 20 and all(len(content) <= 1 << 20 for content in members(data).values())
    assert len(gzip.decompress(data)) < 32 << 20


def test_without_an_agent_the_rest_is_there(world):
    clock = Clock()
    done = subprocess.run([POLDERCTL, "--socket", "/nowhere/polder.sock", "sysdump", "-"], check=False, timeout=180,
                          capture_output=True)
    assert done.returncode == 0 and clock.seconds() < 30, done.stderr
    found = members(done.stdout)
    assert "system/sysctls.txt" in found and "agent/status.json" not in found
    notes = {file["name"]: file.get("note", "") for file in json.loads(found["index.json"])["files"]}
    assert "not listening at /nowhere/polder.sock" in notes["agent/status.json"], notes


def test_an_agent_that_is_stuck_does_not_hold_it_up(world):
    node = world.nodes[0]
    node.agent.process.send_signal(19)
    try:
        clock = Clock()
        found = members(dump_of_node(node, "-").stdout)
        assert clock.seconds() < 40
        assert "agent/status.json" not in found and "system/sysctls.txt" in found
    finally:
        node.agent.process.send_signal(18)
    node.agent.wait_answer()


def test_files_are_made_for_root_alone_and_never_written_over(world):
    node = world.nodes[0]
    path = os.path.join(world.workdir, "dump.tar.gz")
    done = dump_of_node(node, path)
    assert path.encode() in done.stdout and os.stat(path).st_mode & 0o777 == 0o600
    before = os.stat(path).st_size
    done = dump_of_node(node, path, check=False)
    assert done.returncode == 1 and b"exists" in done.stderr and os.stat(path).st_size == before, done
    link = os.path.join(world.workdir, "link.tar.gz")
    os.symlink("/dev/null", link)
    assert dump_of_node(node, link, check=False).returncode == 1
    full = dump_of_node(node, "/nowhere/x", check=False)
    assert full.returncode == 1 and b"cannot be written" in full.stderr
    os.unlink(link)
    assert dump_of_node(node, "a", "b", check=False).returncode == 2


def test_a_cluster_has_all_nodes_and_their_logs_in_one_archive(world):
    if not world.kubectl.real:
        raise Skip("no kubectl: deploy/install-deps test")
    path = os.path.join(world.workdir, "cluster.tar.gz")
    with planted(world):
        done = world.kubectl.polder("sysdump", path)
    assert done.returncode == 0, done.stderr
    with open(path, "rb") as file:
        found = members(file.read())
    has_no_secrets(found)
    for name in ("node1", "node2"):
        assert json.loads(found[f"nodes/{name}.tar.gz/agent/status.json"])["node"] == name
        assert b"connected" in found[f"nodes/{name}.log"], found[f"nodes/{name}.log"]
    assert len(json.loads(found["cluster/nodes.json"])["items"]) == 2
    assert {file["name"] for file in json.loads(found["index.json"])["files"]} >= {
        "cluster/agents.json", "nodes/node1.tar.gz", "nodes/node2.tar.gz"}
    # One of the agents is away: the others are in it, and the status says so.
    server = world.kubectl.server
    world.kubectl.pods["polder-system/polder-node2"]["prefix"] = ["/bin/false"]
    world.kubectl.write_pods()
    try:
        done = world.kubectl.polder("sysdump", path + "2", "-o", "json")
        assert done.returncode == 1, done
        notes = {file["name"]: file.get("note") for file in json.loads(done.stdout)["files"]}
        assert notes["nodes/node2.tar.gz"] and not notes["nodes/node1.tar.gz"], notes
    finally:
        world.kubectl.pods["polder-system/polder-node2"]["prefix"] = world.nodes[1].netns.command()
        world.kubectl.write_pods()
        assert len(server.pods) == 2
