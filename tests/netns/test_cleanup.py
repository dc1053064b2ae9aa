# SPDX-License-Identifier: Apache-2.0
"""polderctl cleanup takes away all that Polder has made, also after a crash and with half of it gone; drain tells who is connected."""

import json
import os
import shutil
import signal

from lib.agent import POLDERCTL
from lib.netns import run
from lib.runner import in_worlds
from lib.traffic import reach, wait_until

LASTS = 60
WORLDS = {
    "": {"nodes": 1, "latency": "yes"},
    "clsact": {"nodes": 1, "attach": "clsact"},
}


def setup(world):
    world.agent = world.node.agent


def everything(world):
    """What Polder may have left in the node: links, rules, routes, filters, qdiscs, programs."""
    node = world.node.netns
    found = [link["ifname"] for link in node.ip_json("link", "show") if link["ifname"].startswith("pld")]
    for family in ("-4", "-6"):
        found += [str(rule) for rule in node.ip_json(family, "rule", "show") if str(rule.get("protocol")) == "80"]
        found += [str(route) for route in node.ip_json(family, "route", "show", "table", "all", "proto", "80")]
    found += [line for line in node.run("tc", "qdisc", "show", "dev", "eth0").stdout.splitlines() if "clsact" in line]
    found += [line for direction in ("ingress", "egress")
              for line in node.run("tc", "filter", "show", "dev", "eth0", direction, check=False).stdout.splitlines() if "polder" in line]
    shown = node.run("bpftool", "net", "show", check=False).stdout
    found += [line.strip() for line in shown.splitlines() if "eth0" in line and ("wire" in line or "tcx" in line)]
    for path in (world.node.bpffs, world.agent.options["run-dir"]):
        if os.path.exists(path):
            found.append(path)
    return found


def of_cgroup(world):
    """Programs at the node's cgroup: the kernel takes them away a while after their last pin."""
    return run(["bpftool", "cgroup", "show", world.node.cgroup]).stdout


def cleanup(world, *args, check=True):
    options = world.agent.options
    return run(world.node.process_command(POLDERCTL, "cleanup", "--config", empty(world), "--run-dir", options["run-dir"],
                                          "--bpffs", options["bpffs"], *args), check=check)


def empty(world):
    path = os.path.join(world.workdir, "empty.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write("{}")
    return path


def begin(world):
    pods = [world.pod("a"), world.pod("b")]
    world.serve(pods[1], 8080)
    assert reach(pods[0], pods[1].ips[4], 8080)
    return pods


def end(world, pods):
    """Of pods whose links are gone."""
    for pod in pods:
        pod.result = None
        pod.delete()
    world.agent.start()
    world.node.before = world.node.ruler()


@in_worlds("", "clsact")
def test_a_running_agent_and_connected_pods_are_in_its_way(world):
    pods = begin(world)
    before = everything(world)
    done = cleanup(world, check=False)
    assert done.returncode == 1 and "polderd is running" in done.stderr and "--force" in done.stderr, done
    world.agent.stop()
    done = cleanup(world, check=False)
    assert done.returncode == 1 and "2 links of pods" in done.stderr, done
    assert everything(world) == before
    world.agent.start()
    world.expect((pods[0], pods[1].ips[4], 8080, "open"))


@in_worlds("", "clsact")
def test_a_dry_run_tells_all_and_takes_nothing(world):
    begin(world)
    before = everything(world)
    told = json.loads(cleanup(world, "-o", "json", "--dry-run").stdout)
    kinds = {item["kind"] for item in told}
    assert {"link", "rule", "route", "pin", "file", "directory"} <= kinds, kinds
    assert {item["state"] for item in told} == {"found"}
    assert everything(world) == before
    assert world.agent.ctl_json("status")["ready"]


@in_worlds("", "clsact")
def test_everything_goes_after_a_crash(world):
    pods = begin(world)
    assert "socket_connect4" in of_cgroup(world)
    assert ("sock_ops" in of_cgroup(world)) == (world.agent.options.get("latency") == "yes")
    world.agent.kill(signal.SIGKILL)
    done = cleanup(world, "--force")
    wait_until(lambda: not of_cgroup(world), lambda: f"no program at the cgroup: {of_cgroup(world)}")
    assert "deleted: link pld" in done.stdout and "deleted: pin" in done.stdout, done.stdout
    assert not everything(world), everything(world)
    assert "nothing of Polder is left" in cleanup(world).stdout
    end(world, pods)


@in_worlds("", "clsact")
def test_what_is_left_of_half_of_it_goes(world):
    """Pins, run directory or links have gone before."""
    for what in ("bpffs", "run-dir"):
        pods = begin(world)
        world.agent.stop()
        shutil.rmtree(world.agent.options[what])
        cleanup(world, "--force")
        assert not everything(world), (what, everything(world))
        end(world, pods)
    for pod in begin(world):
        pod.delete()
    world.agent.stop()
    cleanup(world)
    assert not everything(world), everything(world)
    world.agent.start()
    world.node.before = world.node.ruler()


@in_worlds("")
def test_what_others_made_stays(world):
    node = world.node.netns
    node.ip("link add other type veth peer name pld-not-ours", "link add pldabc type veth peer name other2",
            "route add 203.0.113.0/24 dev eth0 proto 81", "rule add from 203.0.113.0/24 table 99 protocol 81")
    foreign = os.path.join(world.workdir, "foreign")
    os.makedirs(foreign)
    with open(os.path.join(foreign, "file"), "w", encoding="utf-8") as file:
        file.write("precious")
    pods = begin(world)
    world.agent.stop()
    try:
        done = run(world.node.process_command(POLDERCTL, "cleanup", "--config", empty(world), "--force", "--run-dir", foreign,
                                              "--bpffs", world.agent.options["bpffs"]), check=False)
        assert done.returncode == 1 and foreign in done.stderr, done
        done = run(world.node.process_command(POLDERCTL, "cleanup", "--config", empty(world), "--force", "--run-dir",
                                              world.agent.options["run-dir"], "--bpffs", foreign), check=False)
        assert done.returncode == 1 and "BPF file system" in done.stderr, done
        assert os.path.exists(os.path.join(foreign, "file"))
        cleanup(world, "--force")
        names = {link["ifname"] for link in node.ip_json("link", "show")}
        assert {"other", "pld-not-ours", "pldabc"} <= names, names
        assert node.ip_json("route", "show", "proto", "81")
        assert "protocol 81" in node.run("ip", "rule", "show").stdout or node.ip_json("rule", "show")
        assert os.path.isdir(world.resources.directory) and world.resources.files()
    finally:
        node.ip("link delete other", "link delete pldabc", "route delete 203.0.113.0/24 dev eth0 proto 81",
                "rule delete from 203.0.113.0/24 table 99")
        end(world, pods)


@in_worlds("")
def test_drain_tells_who_is_connected(world):
    def drain(*args):
        return run(world.node.process_command(POLDERCTL, "--socket", world.agent.socket, "drain", *args), check=False)
    assert drain("--check").returncode == 0
    pod = world.pod("stays")
    done = drain("--check")
    assert done.returncode == 1 and "pod default/stays" in done.stdout, done
    told = json.loads(drain("--check", "-o", "json").stdout)
    assert not told["drained"] and told["links"] == 1 and told["pods"][0]["name"] == "stays", told
    world.agent.stop()
    done = drain("--check")
    assert done.returncode == 1 and "1 links" in done.stdout, done
    world.agent.start()
    pod.delete()
    assert drain("--check").returncode == 0
    assert drain().returncode == 2
