# SPDX-License-Identifier: Apache-2.0
"""Signals, a configuration that is read again, and the configuration that is shown."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess

from lib.agent import POLDERD
from lib.cni import CniError
from lib.netns import run
from lib.runner import limit
from lib.traffic import wait_until

WORLD = {"nodes": 1}


def setup(world):
    world.agent = world.node.agent
    world.file = os.path.join(world.workdir, "polderd.json")
    write(world, {"log-level": "info", "events-per-second": 500})
    world.agent.options["config"] = world.file
    world.agent.restart()


def write(world, config):
    with open(world.file, "w", encoding="utf-8") as file:
        file.write(config if isinstance(config, str) else json.dumps(config))


def reload(world, *words):
    """SIGHUP, and the log after it, which holds the words."""
    before = len(world.agent.log())
    os.kill(world.agent.process.pid, signal.SIGHUP)

    def told():
        log = world.agent.log()[before:]
        return log if all(word in log for word in words) else None
    return wait_until(told, lambda: f"{words} in {world.agent.log()[before:]}")


def shown(world):
    return {key["key"]: key for key in world.agent.ctl_json("config", "show")["keys"]}


def test_signals_end_nothing_but_sigterm_and_sigint(world):
    pid = world.agent.process.pid
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        for _ in range(3):
            os.kill(pid, number)
    wait_until(lambda: "state: ready" in world.agent.log(), "the state in the log")
    assert world.agent.ctl_json("status")["ready"]
    assert world.agent.process.pid == pid and world.agent.alive()


def test_what_can_change_is_changed_and_the_rest_is_named(world):
    write(world, {"log-level": "debug", "events-per-second": 700, "rejects-per-second": 50, "max-pods": 128,
                  "metrics-listen": "127.0.0.1:9191"})
    log = reload(world, "log-level", "events-per-second", "rejects-per-second", "metrics-listen", "max-pods")
    assert re.search(r"max-pods: 4096 stays in force, not 128: a restart is needed", log), log
    for key in ("log-level", "events-per-second", "rejects-per-second", "metrics-listen"):
        assert re.search(rf"{key}: \S+ instead of \S+ from now on", log), (key, log)
    keys = shown(world)
    assert keys["log-level"]["value"] == "debug" and keys["events-per-second"]["value"] == 700
    assert keys["rejects-per-second"]["value"] == 50 and keys["rejects-per-second"]["source"] == "file"
    assert keys["max-pods"]["value"] == 4096 and keys["max-pods"]["source"] == "default"
    with world.node.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", 9191))
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in sock.recv(1000)
    write(world, {"log-level": "info", "events-per-second": 500})
    reload(world, "metrics-listen: null instead of")


def test_a_listener_that_cannot_be_had_leaves_the_one_of_before(world):
    write(world, {"metrics-listen": "127.0.0.1:9192"})
    reload(world, "metrics-listen")
    write(world, {"metrics-listen": "203.0.113.99:9192"})
    log = reload(world, "metrics-listen")
    assert "stays in force" in log and "203.0.113.99" in log, log
    with world.node.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", 9192))
    write(world, {"log-level": "info", "events-per-second": 500})
    reload(world, "metrics-listen")


def test_a_bad_file_changes_nothing(world):
    for text, word in (('{"log-level": "loud"}', "loud"), ("{", "JSON"), ('{"nonsense": 1}', "nonsense")):
        write(world, text)
        log = reload(world, word)
        assert "everything stays as it is" in log, log
    os.unlink(world.file)
    reload(world, "cannot be read")
    assert shown(world)["events-per-second"]["value"] == 500
    write(world, {"log-level": "info", "events-per-second": 500})


def test_a_level_that_was_set_by_hand_ends_with_a_reload(world):
    world.agent.ctl("log", "level", "error")
    assert world.agent.ctl_json("config", "show")["log_level_now"] == "error"
    os.kill(world.agent.process.pid, signal.SIGHUP)
    wait_until(lambda: world.agent.ctl_json("config", "show")["log_level_now"] == "info", "the configured level")


def test_resources_are_read_again(world):
    before = world.agent.log().count("files read")
    world.agent.ctl("log", "level", "debug")
    write(world, {"log-level": "debug", "events-per-second": 500})
    os.kill(world.agent.process.pid, signal.SIGHUP)
    wait_until(lambda: world.agent.log().count("files read") > before, "all files read again")
    write(world, {"log-level": "info", "events-per-second": 500})
    reload(world, "log-level")


def test_the_configuration_in_force_is_shown_with_its_sources(world):
    keys = shown(world)
    assert keys["bpffs"] == {"key": "bpffs", "value": world.node.bpffs, "source": "option", "file": "", "reload": False}
    assert keys["events-per-second"]["source"] == "file" and keys["events-per-second"]["file"] == world.file
    assert keys["max-services"]["source"] == "default"
    table = world.agent.ctl("config", "show").stdout
    assert re.search(r"^uplink +eth0 +option +restart", table, re.M), table
    assert re.search(rf"^events-per-second +500 +file {world.file} +reload", table, re.M), table


def test_a_configuration_is_checked_without_starting(world):
    def check(*args):
        return run([POLDERD, "--check-config", *args], check=False)
    done = check("--config", world.file, "--pod-cidr", "10.1.0.0/24")
    assert done.returncode == 0 and "valid" in done.stdout, done
    for args, word in ((("--config", "/nonexistent"), "/nonexistent"), (("--pod-cidr", "10.1.0.0"), "pod-cidr"),
                       (("--nonsense",), "nonsense")):
        done = check(*args)
        assert done.returncode == 1 and word in done.stderr, done
    done = check("--resources", "/nonexistent/resources")
    assert done.returncode == 0 and "/nonexistent/resources" in done.stdout, done


class Manager:
    """What a service manager hears on its socket."""

    def __init__(self, world):
        self.path = os.path.join(world.workdir, "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # an earlier test's
        self.sock.bind(self.path)
        self.sock.settimeout(0.1)
        self.heard = []

    def hears(self, *words):
        try:
            self.heard.append(self.sock.recv(4096).decode())
        except TimeoutError:
            pass
        return any(all(word in one for word in words) for one in self.heard)


@contextlib.contextmanager
def started_without_resources(world, manager):
    """Within the block the directory is not there."""
    agent, moved = world.agent, world.resources.directory + ".away"
    agent.stop()
    os.rename(world.resources.directory, moved)
    try:
        agent.process = subprocess.Popen(agent.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, env={**os.environ, "NOTIFY_SOCKET": manager.path})
        agent.end_expected = False
        yield
    finally:
        os.rename(moved, world.resources.directory)


def test_the_service_manager_hears_what_it_waits_for(world):
    agent, manager = world.agent, Manager(world)
    with started_without_resources(world, manager):
        wait_until(lambda: manager.hears("STATUS=Waiting for", world.resources.directory), lambda: str(manager.heard))
        assert any("EXTEND_TIMEOUT_USEC=" in one for one in manager.heard), manager.heard
        assert not any("READY=1" in one for one in manager.heard)
    wait_until(lambda: manager.hears("READY=1"), lambda: str(manager.heard))
    wait_until(lambda: manager.hears("STATUS=Ready"), lambda: str(manager.heard))
    manager.heard.clear()
    os.kill(agent.process.pid, signal.SIGHUP)
    wait_until(lambda: manager.hears("RELOADING=1", "MONOTONIC_USEC="), lambda: str(manager.heard))
    wait_until(lambda: manager.hears("READY=1"), lambda: str(manager.heard))
    agent.stop()
    wait_until(lambda: manager.hears("STOPPING=1"), lambda: str(manager.heard))
    manager.sock.close()
    agent.start()


@limit(90)
def test_boot_goes_on_while_the_resources_are_missing(world):
    """Container runtimes are started behind polderd: what it waits for must not be waited for by them."""
    agent, manager = world.agent, Manager(world)
    with started_without_resources(world, manager):
        wait_until(lambda: manager.hears("STATUS=Waiting for"), lambda: str(manager.heard))
        assert not any("READY=1" in one for one in manager.heard), manager.heard
        wait_until(lambda: manager.hears("READY=1"), lambda: str(manager.heard), 60)
        status = agent.ctl_json("status")
        assert not status["ready"] and any(world.resources.directory in p["source"] + p["reason"] for p in status["problems"]), status
        try:
            world.pod("early", with_object=False)
            raise AssertionError("a pod is connected though no policy is known")
        except CniError as error:
            assert error.code == 11, error
    wait_until(lambda: manager.hears("STATUS=Ready"), lambda: str(manager.heard))
    manager.heard.clear()
    os.kill(agent.process.pid, signal.SIGHUP)
    wait_until(lambda: manager.hears("RELOADING=1"), lambda: str(manager.heard))
    wait_until(lambda: manager.hears("READY=1"), lambda: str(manager.heard))
    agent.stop()
    manager.sock.close()
    agent.start()


def test_standard_streams_that_are_closed_are_nobodys(world):
    """Log lines go into no map and no lock."""
    agent = world.agent
    agent.stop()
    command = agent.command()
    agent.process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command])
    agent.end_expected = False
    agent.wait_ready()
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{agent.process.pid}/fd/{number}") == "/dev/null"
    agent.restart()
