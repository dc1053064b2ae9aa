# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of the machine runs out, is taken away, or is another from one moment to the next."""

import contextlib
import glob
import os
import re
import resource
import shutil
import signal
import struct
import tempfile
import time

import page
from lib import objects
from lib.cni import CniError
from lib.netns import CommandError, run
from lib.objects import labels, policy
from lib.traffic import BOTH, V4, Timeout, reach, wait_until
from lib.world import cgroup2_root
from scene import REPAIRED, Scene, build_shim

TITLE = "Resources that run out or vanish"


# ------------------------------------------------------------------ small file systems


class Tmpfs:
    """A file system of its own at a directory, so small that it can be filled."""

    def __init__(self, directory, options="size=1m,nr_inodes=400"):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", options + ",mode=0700", "small", directory])

    def fill(self):
        """To the last byte."""
        with open(os.path.join(self.directory, "filler"), "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def fill_inodes(self):
        os.makedirs(os.path.join(self.directory, "filler.d"), exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(10000):
                with open(os.path.join(self.directory, "filler.d", str(number)), "wb"):
                    pass

    def empty(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "filler"))
        shutil.rmtree(os.path.join(self.directory, "filler.d"), ignore_errors=True)

    def read_only(self, on):
        run(["mount", "-o", "remount," + ("ro" if on else "rw"), self.directory])

    def close(self):
        run(["umount", "-l", self.directory], check=False)


@contextlib.contextmanager
def on_small_disks(options=""):
    """The scene's agent with run and state directory on small file systems of their own."""
    base = tempfile.mkdtemp(prefix="polder-small-")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        disks = {}
        for name in ("run", "state"):
            disks[name] = Tmpfs(os.path.join(base, name), *([options] if options else []))
            stack.callback(disks[name].close)
        scene = stack.enter_context(Scene(run_dir=disks["run"].directory, state_dir=disks["state"].directory))
        yield scene, disks["run"], disks["state"]


def holds(directory, text):
    """Does a file of the directory have this in it?"""
    for name in glob.glob(os.path.join(directory, "*")):
        with contextlib.suppress(OSError), open(name, "rb") as file:
            if text.encode() in file.read():
                return True
    return False


def restart(scene):
    scene.agent.kill(signal.SIGKILL)
    scene.start()


def wait_ready(scene):
    scene.agent.wait_ready(90)
    wait_until(lambda: scene.status()["ready"] and not scene.status()["problems"],
               lambda: f"ready without problems: {scene.problems()}", REPAIRED, 0.1)


def state_is_kept(scene, state, pod):
    """What was changed while nothing could be kept is kept now: without its run directory the agent knows all of it."""
    wait_until(lambda: holds(os.path.join(state.directory, "last-good"), "kept-later"), "a copy of the new policy", REPAIRED, 0.1)
    wait_until(lambda: holds(os.path.join(state.directory, "pods"), pod.container_id), "a copy of the pod's record", REPAIRED, 0.1)


def full_state(scene, state, fill, why):
    with scene.telling(f"no copy can be kept: {why}"):
        fill()
        scene.deny("kept-later", "late")
    pod = scene.pod("late", app="late")
    scene.world.serve(pod, 8080)
    for family in BOTH:
        scene.world.expect((scene.client, pod.ips[family], 8080, "timeout"), within=1)
    scene.verdicts()
    scene.check()
    state.empty()
    state_is_kept(scene, state, pod)
    wait_ready(scene)
    restart(scene)
    for family in BOTH:
        scene.world.expect((scene.client, pod.ips[family], 8080, "timeout"), within=0)
    pod.delete()
    scene.resources.delete("kept-later")
    scene.verdicts(within=1)
    scene.check()


def full_state_disk():
    """The state directory's disk is full: what changes holds, and is kept once there is room."""
    with on_small_disks() as (scene, _, state):
        full_state(scene, state, state.fill, "No space left on device")


def full_state_inodes():
    """No inodes in the state directory's file system."""
    with on_small_disks() as (scene, _, state):
        full_state(scene, state, state.fill_inodes, "No space left on device")


def full_run(scene, disk, fill):
    with scene.telling(r"policy\.json: cannot be written: No space left on device; changes of policy wait"):
        fill()
        close_client(scene)
    answer = scene.plugin_fails("late")
    assert "No space left" in answer, answer
    scene.verdicts()
    scene.check()
    disk.empty()
    client_is_closed(scene)
    scene.resources.delete("new")
    scene.resources.delete("seen")
    wait_ready(scene)
    scene.connects("late")
    scene.verdicts(within=1)
    scene.check()


def close_client(scene):
    """Nobody may reach client but pods of a label that no identity has had: numbers have to be written."""
    scene.resources.put("new", policy("new", labels(app="client"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(never="seen")}]}]))
    scene.resources.put("seen", objects.pod("seen", "default", {"never": "seen"}, "node9", ["10.99.0.1"]))


def client_is_closed(scene, seconds=REPAIRED):
    for family in BOTH:
        wait_until(lambda f=family: reach(scene.server, scene.client.ips[f], 8080, timeout=0.3).verdict == "timeout",
                   "the policy is in force", seconds, 0.05)


def full_run_disk():
    """The run directory's disk is full: changes wait, are told, and come."""
    with on_small_disks() as (scene, disk, _):
        full_run(scene, disk, disk.fill)


def full_run_inodes():
    """No inodes in the run directory's file system."""
    with on_small_disks() as (scene, disk, _):
        full_run(scene, disk, disk.fill_inodes)


def labels_on_a_full_run_disk():
    """A pod's labels change while the run directory is full: they are kept later, over a restart and its object's end."""
    with on_small_disks() as (scene, disk, _):
        pod = scene.pod("changing", app="before")
        scene.world.serve(pod, 8080)
        scene.deny("closed", "after")
        disk.fill()
        with scene.telling("the labels of its pod cannot be saved: No space left on device"):
            pod.relabel(app="after")
        for family in BOTH:
            scene.world.expect((scene.client, pod.ips[family], 8080, "timeout"), within=2)
        disk.empty()
        time.sleep(REPAIRED / 2)
        scene.agent.kill(signal.SIGKILL)
        scene.resources.delete(f"pod-default-{pod.name}")
        scene.start()
        for family in BOTH:
            scene.world.expect((scene.client, pod.ips[family], 8080, "timeout"), within=0)
        pod.delete()
        scene.resources.delete("closed")
        wait_ready(scene)
        scene.check()


def lost_state_directory():
    """rm -r of the state directory under a running agent: it is made again, with all that was in it."""
    with Scene() as scene:
        directory = scene.agent.options["state-dir"]
        wait_until(lambda: copies(directory), "copies on the disk", 5, 0.1)
        before = copies(directory)
        with open(os.path.join(directory, "agent-id"), "rb") as file:
            number = file.read()
        with scene.telling("somebody has removed it; it is made again"):
            shutil.rmtree(directory)
        wait_until(lambda: copies(directory) == before, lambda: f"{before - copies(directory)}", REPAIRED, 0.1)
        with open(os.path.join(directory, "agent-id"), "rb") as file:
            assert file.read() == number, "another number"
        shutil.rmtree(os.path.join(directory, "last-good"))
        shutil.rmtree(os.path.join(directory, "pods"))
        wait_until(lambda: copies(directory) == before, lambda: f"{before - copies(directory)}", REPAIRED, 0.1)
        wait_ready(scene)
        scene.verdicts()
        scene.check()


def copies(directory):
    """What is kept in a state directory, whether it is on the disk already or not."""
    return {os.path.join(part, name.split(".new")[0].split(".sync")[0]) for part in ("last-good", "pods")
            for name in (os.listdir(os.path.join(directory, part)) if os.path.isdir(os.path.join(directory, part)) else [])
            if not name.startswith(".")}


def deleted_on_full_disks():
    """A pod is taken away although nothing can be written; its note, while the agent is away, is refused in words."""
    with on_small_disks() as (scene, disk, state):
        pods = [scene.pod(name) for name in ("one", "two")]
        disk.fill()
        state.fill()
        pods[0].delete()
        disk.fill()
        scene.agent.kill(signal.SIGKILL)
        try:
            pods[1].call("DEL").result()
            raise AssertionError("a deletion that is noted nowhere was confirmed")
        except CniError as error:
            assert "No space left" in str(error), error
        disk.empty()
        state.empty()
        scene.start()
        pods[1].delete()
        names = {pod["name"] for pod in scene.agent.ctl_json("pod", "list")}
        assert names == {"client", "server", "stranger"}, names
        scene.check()


def start_on_full_disks():
    """Both disks are full when the agent starts: it serves what was there, says so, and uses them once there is room."""
    with on_small_disks() as (scene, disk, state):
        scene.agent.kill(signal.SIGKILL)
        disk.fill()
        state.fill()
        scene.agent.start(wait=False)
        time.sleep(1)
        scene.verdicts()
        scene.check(alive=False)
        disk.empty()
        state.empty()
        if not scene.agent.alive():
            assert "No space left" in scene.agent.log_tail(3), scene.agent.log_tail(3)
            scene.agent.wait_end()
            scene.start()
        wait_ready(scene)
        scene.deny("kept-later", "nobody")
        wait_until(lambda: holds(os.path.join(state.directory, "last-good"), "kept-later"), "a copy", REPAIRED, 0.1)
        scene.connects("late")
        scene.check()


def first_start_on_a_full_state_disk():
    """No number of the agent's own, no copies, as long as the disk is full; then both, without a restart."""
    with on_small_disks() as (scene, _, state):
        scene.agent.kill(signal.SIGKILL)
        for name in os.listdir(state.directory):
            path = os.path.join(state.directory, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        state.fill_inodes()
        with scene.telling(r"state-dir.*cannot be used: No space left on device"):
            scene.start()
        assert any("state-dir" in one for one in scene.problems()), scene.problems()
        scene.verdicts()
        state.empty()
        wait_ready(scene)
        wait_until(lambda: os.path.exists(os.path.join(state.directory, "agent-id")), "a number", REPAIRED, 0.1)
        wait_until(lambda: holds(os.path.join(state.directory, "last-good"), "server"), "copies of files", REPAIRED, 0.1)
        wait_until(lambda: holds(os.path.join(state.directory, "pods"), scene.client.container_id), "copies of records", REPAIRED, 0.1)
        scene.check()


def read_only_state():
    """The state directory's file system is mounted read-only, while the agent runs and when it starts."""
    with on_small_disks() as (scene, _, state):
        with scene.telling("no copy can be kept: Read-only file system"):
            state.read_only(True)
            scene.deny("kept-later", "late")
        scene.verdicts()
        scene.check()
        with scene.telling("[Rr]ead-only file system"):
            restart(scene)
            scene.deny("kept-later", "later")
        scene.verdicts()
        state.read_only(False)
        wait_ready(scene)
        wait_until(lambda: holds(os.path.join(state.directory, "last-good"), "later"), "a copy", REPAIRED, 0.1)
        scene.connects("late")
        scene.check()


def read_only_run():
    """The run directory's file system is mounted read-only: changes wait, nothing opens."""
    with on_small_disks() as (scene, disk, _):
        # The kernel does not do it to a file system with files open for writing, but by an error of the disk.
        run(["mount", "--bind", disk.directory, disk.directory])
        try:
            with scene.telling(r"policy\.json: cannot be written: Read-only file system"):
                run(["mount", "-o", "remount,bind,ro", disk.directory])
                close_client(scene)
            answer = scene.plugin_fails("late")
            assert "ead-only" in answer, answer
            scene.verdicts()
            scene.check()
        finally:
            run(["umount", "-l", disk.directory])
        client_is_closed(scene)
        scene.resources.delete("new")
        scene.resources.delete("seen")
        wait_ready(scene)
        scene.connects("late")
        scene.check()


# ------------------------------------------------------------------ what is taken away


def lost_run_directory():
    """rm -r of the run directory, under a running agent and under a killed one."""
    with Scene() as scene:
        directory = scene.agent.options["run-dir"]
        with scene.telling("somebody has removed the socket or state"):
            shutil.rmtree(directory)
        wait_ready(scene)
        scene.connects("late")
        scene.check()
        scene.agent.kill(signal.SIGKILL)
        shutil.rmtree(directory)
        scene.start()
        wait_ready(scene)
        scene.verdicts()
        scene.check()


def lost_pins():
    """The bpffs is emptied, and unmounted for some time."""
    with Scene() as scene:
        before = pins(scene)
        with scene.telling("had lost their pins; pinned again"):
            run(["rm", "-r", scene.node.bpffs])
        wait_until(lambda: pins(scene) == before, "all pins", REPAIRED, 0.1)
        run(["umount", "-l", scene.world.bpffs])
        time.sleep(6)
        scene.verdicts()
        scene.check()
        run(["mount", "-t", "bpf", "bpf", scene.world.bpffs])
        wait_until(lambda: pins(scene) == before, lambda: f"all pins: {sorted(before - pins(scene))} {scene.problems()}", REPAIRED, 0.1)
        wait_ready(scene)
        restart(scene)
        scene.verdicts()
        scene.check()


def pins(scene):
    return {os.path.relpath(os.path.join(base, name), scene.world.bpffs)
            for base, _, names in os.walk(scene.node.bpffs) for name in names}


def lost_cgroup():
    """The cgroup that the programs of sockets are attached to is removed, and made again."""
    with Scene() as scene:
        group = scene.node.cgroup + "-sockets"
        os.makedirs(group)
        try:
            scene.agent.stop()
            scene.agent.options["cgroup"] = group
            scene.start()
            assert by_service(scene, group) == "open"
            with scene.telling(re.escape(group)):
                os.rmdir(group)
                time.sleep(6)
            assert not scene.status()["socket_programs"]
            scene.check(alive=False)
            os.makedirs(group)
            wait_until(lambda: by_service(scene, group) == "open", "sockets of the new group are translated", REPAIRED, 0.2)
            wait_ready(scene)
            scene.agent.stop()
            scene.agent.options["cgroup"] = scene.node.cgroup
            scene.start()
            scene.verdicts()
            scene.check()
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(group)


def by_service(scene, group):
    """Does a process in the group reach the Service?"""
    script = "echo $$ > \"$1/cgroup.procs\" && exec nsenter --net=\"$2\" timeout 2 bash -c \"echo > /dev/tcp/$3/80\""
    done = run(["/bin/sh", "-c", script, "sh", group, scene.node.netns.path, scene.vip[V4]], check=False)
    return "open" if done.returncode == 0 else "closed"


# ------------------------------------------------------------------ clocks, and what the shim takes away


class Shim:
    """What shim.c does to the agent that is started next."""

    def __init__(self, scene):
        self.scene, self.path = scene, os.path.join(scene.world.workdir, "shim")
        self.set()
        plain = scene.agent.command
        scene.agent.command = lambda: ["env", "LD_PRELOAD=" + build_shim(), "SHIM=" + self.path, *plain()]

    def set(self, ahead=0, slept=0, no_inotify=0, no_threads=0):
        mode = "r+b" if os.path.exists(self.path) else "wb"
        with open(self.path, mode) as file:
            file.write(struct.pack("=qqii", ahead, slept, no_inotify, no_threads))


def clock_steps():
    """The wall clock steps by a day, to 1970 and to 2040; the machine sleeps for an hour."""
    with Scene() as scene:
        shim = Shim(scene)
        restart(scene)
        steps = [{"ahead": 86400}, {"ahead": -86400}, {"ahead": -int(time.time()) + 5}, {"ahead": 500000000}, {},
                 {"slept": 3600}, {"ahead": -86400, "slept": 3600}]
        for number, step in enumerate(steps):
            shim.set(**step)
            scene.deny("new", f"nobody-{number}")
            scene.connects(f"late-{number}")
            scene.verdicts()
            scene.check()
            assert scene.status()["ready"], scene.problems()
        begin = len(scene.agent.log())
        restart(scene)
        shim.set()
        scene.connects("late")
        scene.verdicts()
        scene.check()
        assert " error " not in scene.agent.log()[begin:].lower(), scene.agent.log()[begin:]


def no_inotify_instance():
    """The kernel gives no inotify instance: named, polled, and used once there is one."""
    with Scene() as scene:
        shim = Shim(scene)
        scene.agent.kill(signal.SIGKILL)
        shim.set(no_inotify=1)
        with scene.telling("fs.inotify.max_user_instances"):
            scene.start()
        changes_come(scene, 3)
        shim.set()
        with scene.telling("tells of changes again", timeout=20):
            pass
        changes_come(scene, 1)
        scene.verdicts()
        scene.check()


def changes_come(scene, seconds):
    """A policy put into the directory is in force within so long, and so is its deletion."""
    scene.deny("new", "client")
    client_is_closed(scene, seconds + 1)
    scene.resources.delete("new")
    for family in BOTH:
        wait_until(lambda f=family: reach(scene.server, scene.client.ips[f], 8080, timeout=0.3).verdict == "open",
                   "the policy has gone", seconds + 1, 0.05)


def no_threads():
    """No thread can be started: at the start it is told and ends, later all goes on."""
    with Scene() as scene:
        shim = Shim(scene)
        scene.agent.kill(signal.SIGKILL)
        shim.set(no_threads=1)
        scene.agent.start(wait=False)
        status = scene.agent.wait_end()
        assert status == 1, f"status {status}: {scene.agent.log_tail(5)}"
        assert re.search("threads? cannot be started.*TasksMax", scene.agent.log_tail(5)), scene.agent.log_tail(5)
        scene.verdicts()
        scene.check(alive=False)
        shim.set()
        scene.start()
        shim.set(no_threads=1)
        # A pod's namespace is entered by a thread of its own.
        answer = scene.plugin_fails("late")
        assert "emporarily unavailable" in answer, answer
        changes_come(scene, 1)
        scene.agent.ctl("explain", "--from", "default/client", "--to", "pod:default/server", "--port", "8080")
        scene.verdicts()
        scene.check()
        shim.set()
        scene.connects("late")
        scene.check()


# ------------------------------------------------------------------ what the kernel tells is lost


@contextlib.contextmanager
def stopped(scene):
    scene.agent.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        scene.agent.process.send_signal(signal.SIGCONT)


def netlink_overrun():
    """More messages of links, addresses and routes than the sockets hold, and among them what matters."""
    with Scene() as scene:
        node = scene.node.netns
        node.ip("link add noise type veth peer noise1", "link set noise up", "link set noise1 up")
        lines = []
        for number in range(20000):
            address = f"192.{10 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
            lines += [f"addr add {address}/32 dev noise", f"addr del {address}/32 dev noise"]
        with scene.telling("kernel messages were lost"):
            with stopped(scene):
                node.ip(f"route del {scene.client.ips[4]}/32 dev {scene.client.host_link}", "addr add 172.30.0.77/24 dev eth0", *lines[:20000])
                node.ip(*lines[20000:])
        wait_until(lambda: node.ip_json("route", "show", scene.client.ips[4]), "the pod's route is back", REPAIRED, 0.1)
        wait_until(lambda: in_node_addresses(scene, "172.30.0.77"), "the address that came is the node's", REPAIRED, 0.2)
        wait_ready(scene)
        scene.verdicts()
        scene.check()


def in_node_addresses(scene, address):
    """What is sent to an address of the node's own is not masqueraded: by `explain`'s maps it is a node's."""
    return address in scene.node.netns.run("ip", "-4", "addr", "show", "dev", "eth0").stdout and scene.agent.alive()


def inotify_overflow():
    """More changes of files than the kernel keeps, the last of them a policy that closes."""
    with Scene() as scene:
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
            queued = int(file.read())
        with scene.telling("dropped change events"):
            with stopped(scene):
                path = os.path.join(scene.resources.directory, "noise.txt")
                for number in range(queued // 2 + 100):
                    other = path + str(number % 2)
                    os.close(os.open(other, os.O_WRONLY | os.O_CREAT, 0o600))
                    os.unlink(other)
                scene.deny("new", "client")
        client_is_closed(scene, 3)
        scene.resources.delete("new")
        changes_come(scene, 1)
        scene.verdicts()
        scene.check()


# ------------------------------------------------------------------ limits of the process


def no_descriptors():
    """All descriptors that the agent may have are open: an ADD is refused by name, changes hold, and all is well afterwards."""
    with Scene() as scene:
        pid = scene.agent.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        first_free = max(int(number) for number in os.listdir(f"/proc/{pid}/fd")) + 1
        with scene.telling("Too many open files"):
            for spare in range(6):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free + spare, before[1]))
                answer = scene.plugin_fails(f"late-{spare}")
                assert "LimitNOFILE" in answer, answer
            scene.deny("new", "client")
            time.sleep(6)
        scene.verdicts()
        scene.check()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        client_is_closed(scene)
        scene.resources.delete("new")
        wait_ready(scene)
        scene.connects("late")
        scene.verdicts(within=1)
        scene.check()


def started_with(scene, *arguments):
    """The agent started by prlimit(1) with these: ready, or ended with status 1 and a word; never by a signal."""
    agent = scene.agent
    plain = type(agent).command.__get__(agent)()
    place = plain.index(agent.binary)
    agent.command = lambda: [*plain[:place], "prlimit", *arguments, *plain[place:]]
    begin = len(agent.log())
    try:
        agent.start(wait=False)
        with contextlib.suppress(Timeout):
            wait_until(lambda: not agent.alive() or "agent: ready" in agent.log()[begin:], "an end or a beginning", 10, 0.02)
        if agent.alive():
            scene.verdicts()
            agent.kill(signal.SIGKILL)
            return "served" if "agent: ready" in agent.log()[begin:] else "waits"
        status = agent.wait_end()
    finally:
        del agent.command
    text = "\n".join(line for line in agent.log()[begin:].splitlines() if not line.startswith("---"))
    assert status > 0, f"{arguments}: ended by signal {-status}: {text[-300:]}"
    assert text.strip(), f"{arguments}: ended with status {status} without a word"
    return "refused"


def start_with_few_descriptors(step=12):
    """Started with so few descriptors: refused in words, or served; never a crash, and nothing opens."""
    with Scene() as scene:
        scene.agent.kill(signal.SIGKILL)
        found = [started_with(scene, f"--nofile={limit}:{limit}") for limit in [*range(3, 10), *range(10, 440, step)]]
        assert found[0] == "refused" and found[-1] == "served", found
        scene.verdicts()
        scene.start()
        wait_ready(scene)
        scene.check()


def start_with_little_memory(step=16):
    """The same with little address space."""
    with Scene() as scene:
        scene.agent.kill(signal.SIGKILL)
        found = [started_with(scene, f"--as={limit << 20}") for limit in range(8, 240, step)]
        assert found[0] == "refused", found
        scene.verdicts()
        scene.start()
        wait_ready(scene)
        scene.check()


def no_memory():
    """No more address space for a running agent, while objects and pods change."""
    with Scene() as scene:
        pid = scene.agent.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (used, before[1]))
        many = [objects.pod(f"p{i}", "far", {"app": f"a{i}"}, "node9", [f"10.9.{i // 250}.{i % 250 + 1}"]) for i in range(20000)]
        with scene.telling("[Oo]ut of memory|not enough memory|Cannot allocate memory"):
            scene.resources.put("many", *many)
            scene.deny("new", "client")
            time.sleep(3)
        scene.may_connect("meanwhile")
        scene.verdicts()
        scene.check()
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        client_is_closed(scene)
        wait_until(lambda: scene.status()["objects"]["pods"] > 20000, "all objects", REPAIRED, 0.1)
        scene.resources.delete("new")
        scene.resources.delete("many")
        wait_ready(scene)
        scene.connects("late")
        scene.verdicts(within=1)
        scene.check()


@contextlib.contextmanager
def memory_group(scene, limit):
    """A group of the memory controller (version 1, or 2 where it is there) for the agent."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        if os.path.exists(os.path.join(root, "cgroup.procs")) and (name != "memory.max" or
                                                                 "memory" in open(os.path.join(root, "cgroup.controllers")).read()):
            break
    else:
        raise FileNotFoundError("no memory controller")
    group = os.path.join(root, f"polder-test-{scene.world.unique}-memory")
    os.makedirs(group)
    try:
        with open(os.path.join(group, name), "w", encoding="ascii") as file:
            file.write(str(limit))
        yield group
    finally:
        wait_until(lambda: not open(os.path.join(group, "cgroup.procs")).read(), "an empty group", 5)
        os.rmdir(group)


def killed_for_memory():
    """The unit's memory limit is so small that the kernel kills the agent: pods go on, and the next start serves."""
    with Scene() as scene:
        scene.agent.kill(signal.SIGKILL)
        with memory_group(scene, 24 << 20) as group:
            plain = type(scene.agent).command.__get__(scene.agent)
            scene.agent.command = lambda: ["/bin/sh", "-c", f"echo $$ > {group}/cgroup.procs; exec \"$@\"", "sh", *plain()]
            try:
                scene.agent.start(wait=False)
                many = [objects.pod(f"p{i}", "far", {"app": f"a{i}"}, "node9", [f"10.9.{i // 250}.{i % 250 + 1}"]) for i in range(20000)]
                scene.resources.put("many", *many)
                with contextlib.suppress(CommandError):
                    scene.agent.wait_end(8)
            finally:
                del scene.agent.command
            if scene.agent.alive():
                scene.agent.kill(signal.SIGKILL)
        scene.agent.end_expected = True
        scene.verdicts()
        scene.check(alive=False)
        scene.resources.delete("many")
        scene.start()
        wait_ready(scene)
        scene.verdicts()
        scene.check()


# ------------------------------------------------------------------ maps


def full_maps():
    """No room in the map of addresses: what does not fit is closed, told with the option, and comes when there is room."""
    with Scene(max_addresses=64) as scene:
        many = [objects.pod(f"p{i}", "far", {"app": f"a{i % 3}"}, "node9", [f"10.9.0.{i + 1}"]) for i in range(100)]
        with scene.telling("max-addresses"):
            scene.resources.put("many", *many)
        answer = scene.plugin_fails("late")
        assert "max-addresses" in answer, answer
        scene.verdicts()
        scene.check()
        scene.resources.delete("many")
        wait_until(lambda: not scene.status()["limits"], lambda: str(scene.status()["limits"]), 60, 0.2)
        scene.connects("late")
        scene.verdicts(within=1)
        scene.check()


# In the order of the page; the second word says whether it is quick enough for CI.
CASES = [
    (full_state_disk, True), (full_state_inodes, False), (full_run_disk, True), (full_run_inodes, False),
    (labels_on_a_full_run_disk, False), (lost_state_directory, False), (deleted_on_full_disks, False), (start_on_full_disks, False), (first_start_on_a_full_state_disk, False),
    (read_only_state, False), (read_only_run, False), (lost_run_directory, False), (lost_pins, False), (lost_cgroup, False),
    (clock_steps, False), (no_inotify_instance, False), (no_threads, True), (netlink_overrun, True), (inotify_overflow, False),
    (no_descriptors, False), (start_with_few_descriptors, False), (start_with_little_memory, False), (no_memory, False),
    (killed_for_memory, False), (full_maps, False),
]


def tried(tally, cases):
    """[(case, seconds)] of those that passed."""
    found = []
    for case in cases:
        began = time.monotonic()
        if tally.attempt(case.__name__, case):
            found.append((case, time.monotonic() - began))
    return found


def short(tally):
    tried(tally, [case for case, quick in CASES if quick])


def record(tally):
    found = tried(tally, [case for case, _ in CASES])
    rows = [(" ".join(case.__doc__.split()), f"{seconds:.1f} s") for case, seconds in found]
    return "\n\n".join([
        page.recorded_by("tests/reliability/run --record --part resources"),
        "In each case a pod that policy keeps away sends without end to one that is isolated, and a client talks over "
        "connections that stay, in IPv4 and IPv6, by addresses, by a Service and to the outside. No denied packet came through, "
        "no connection broke, the log or `polderctl status` named the cause, and all was well again without a restart "
        "of polderd unless the case says so. The time is that of the whole case.",
        page.table(("what runs out or vanishes, and what becomes of it", "time"), rows, right=(1,))])
