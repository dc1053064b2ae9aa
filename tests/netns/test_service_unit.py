# SPDX-License-Identifier: Apache-2.0
"""The service's unit: what it forbids polderd does not need, and what polderd leaves behind is the machine's."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time

from lib.agent import BUILD, POLDERCTL, POLDERD
from lib.netns import run
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

WORLD = {"nodes": 1, "metrics_listen": "127.0.0.1:9180"}
UNIT = os.path.join(BUILD, "deploy", "polderd.service")


def setup(world):
    world.agent = world.node.agent


def unit():
    """{key: [values]}"""
    found = {}
    with open(UNIT, encoding="utf-8") as file:
        for key, value in re.findall(r"^(\w+)=(.*)$", file.read(), re.M):
            found.setdefault(key, []).append(value)
    return found


def expand(group, sets):
    for name in sets.get(group, [group]):
        if name.startswith("@"):
            yield from expand(name, sets)
        else:
            yield name


def allowed():
    """The system calls that SystemCallFilter= leaves; None: systemd is not here to ask."""
    if not shutil.which("systemd-analyze"):
        return None
    sets, group = {}, None
    for line in run(["systemd-analyze", "--no-pager", "syscall-filter"]).stdout.splitlines():
        if line.startswith("@"):
            group = line.strip()
            sets[group] = []
        elif group and line.strip() and not line.strip().startswith("#"):
            sets[group].append(line.strip())
    left = set()
    for line in unit()["SystemCallFilter"]:
        names = {name for word in line.lstrip("~").split() for name in expand(word, sets)}
        left = left - names if line.startswith("~") else left | names
    return left


def wrapped(world, text):
    """polderd by way of a script, whose $@ are its arguments."""
    path = os.path.join(world.workdir, "wrapped-polderd")
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, stat.S_IRWXU)
    return path


def live(world):
    """What a service does: pods come and go, policies, a reload, answers."""
    a, b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.serve(b, 8080)
    world.resources.put("p", policy("p", labels(app="b"), policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": labels(app="a")}]}]))
    world.policies_in_force()
    world.expect((a, b.ips[4], 8080, "open"), (a, b.ips[6], 8080, "open"))
    for command in (["status"], ["metrics"], ["flow", "list"], ["map", "list"], ["config", "show"],
                    ["explain", "--from", "default/a", "--to", "default/b", "--port", "8080"]):
        run([POLDERCTL, "--socket", world.agent.socket, *command])
    a.check()
    before = world.agent.log().count("again")
    os.kill(world.agent.process.pid, signal.SIGHUP)
    wait_until(lambda: world.agent.log().count("again") > before, "the reload")
    a.delete()
    b.delete()
    world.resources.delete("p")


@limit(120)
def test_the_unit_forbids_no_system_call_that_is_made(world):
    permitted = allowed()
    if permitted is None or not shutil.which("strace"):
        return
    trace = os.path.join(world.workdir, "trace")
    agent = world.agent
    agent.stop()
    agent.binary = wrapped(world, f'exec strace -D -f -qq -o {trace} {POLDERD} "$@"')
    try:
        agent.start()
        live(world)
        agent.stop()
    finally:
        agent.binary = POLDERD
    with open(trace, encoding="utf-8", errors="replace") as file:
        made = set(re.findall(r"^\d+ +(\w+)\(", file.read(), re.M))
    assert {"bpf", "setns", "sendto"} <= made, made
    assert not made - permitted, f"forbidden and made: {sorted(made - permitted)}"
    agent.start()


@limit(120)
def test_pins_outlive_a_service_with_mounts_of_its_own(world):
    """As systemd sets it up: a mount namespace below the machine's, everything read-only but /dev, /proc, /sys and its directories."""
    agent = world.agent
    agent.stop()
    own = f"mount --rbind {world.workdir} {world.workdir} && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /root"
    agent.binary = wrapped(world, f"exec unshare -m --propagation slave /bin/sh -c '{own} && exec {POLDERD} \"$@\"' sh \"$@\"")
    try:
        agent.start()
        live(world)
        pod = world.pod("stays")
        world.serve(pod, 8080)
        agent.stop()
        world.expect((world.node, pod.ips[4], 8080, "open"))
        assert any(os.scandir(world.node.bpffs)), "the pins have gone with the service"
    finally:
        agent.binary = POLDERD
        agent.start()
    assert world.agent.ctl_json("status")["pods"]["ready"] == 1


def test_ready_is_told_again_when_the_service_manager_was_too_busy(world):
    """Its socket takes no more: it would wait for the word for ever, and start polderd anew."""
    path = os.path.join(world.workdir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        manager.bind(path)
        others.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                others.sendto(b"WATCHDOG=1", path)
        world.agent.stop()
        os.environ["NOTIFY_SOCKET"] = path
        try:
            world.agent.start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        wait_until(lambda: "cannot be told" in world.agent.log(), "a line about it")
        told, deadline = [], time.monotonic() + 120
        manager.settimeout(0.5)
        while not any("READY=1" in text for text in told):
            assert time.monotonic() < deadline, told
            with contextlib.suppress(TimeoutError):
                told.append(manager.recv(4096).decode())
    world.agent.restart()


def test_the_unit_is_ordered_before_who_starts_containers(world):
    text = unit()
    before = set(text["Before"][0].split())
    assert {"containerd.service", "crio.service", "docker.service", "kubelet.service", "podman-restart.service"} <= before
    assert text["NoNewPrivileges"] == ["yes"] and text["ProtectSystem"] == ["strict"]
    assert int(text["WatchdogSec"][0]) > 0 and "-HUP" in text["ExecReload"][0]
    # These would take away what polderd needs.
    assert "ProtectKernelTunables" not in text and "PrivateNetwork" not in text and "PrivateUsers" not in text


def test_systemd_finds_nothing_to_say_about_the_unit(world):
    if not shutil.which("systemd-analyze"):
        return
    path = os.path.join(world.workdir, "polderd.service")
    with open(UNIT, encoding="utf-8") as file:
        text = re.sub(r"ExecStart=\S+", f"ExecStart={POLDERD}", file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 and not done.stderr.strip(), done
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=40", path], capture_output=True,
                          text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout[-300:]
