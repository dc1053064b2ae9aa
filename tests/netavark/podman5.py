# SPDX-License-Identifier: Apache-2.0
"""podman 5 in a root of its own, on a node of the tests."""

import contextlib
import json
import os
import signal
import shutil
import subprocess

from lib.agent import BUILD
from lib.netns import run
from lib.world import World
from runtimes import IMAGE, SERVER, Container, remove_empty_cgroups, rootfs_archive, unmount_below

PLUGIN = os.path.join(BUILD, "netavark", "polder-netavark")
CONTAINERS_CONF = """[network]
network_backend = "netavark"
firewall_driver = "none"
netavark_plugin_dirs = ["/usr/libexec/netavark"]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
"""
# The root becomes the file system's; /run and /tmp are as new as after a boot.
ENTER = """mount --bind "$1" "$1" && cd "$1" && mount --rbind /proc proc && mount --rbind /sys sys && mount --rbind /dev dev &&
    mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && mkdir -p "$1$2" && mount --bind "$2" "$1$2" &&
    /sbin/pivot_root . mnt && /bin/busybox umount -l /mnt && echo ready && exec /bin/busybox sleep 1000000"""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}


class Podman5:
    """Networks of the driver polder-netavark, and containers on them. Nothing but the root below /run, /tmp survives a reboot()."""

    def __init__(self, world, root):
        self.world, self.node, self.root = world, world.node, root
        self.shared = world.workdir  # the same path inside and outside: the agent's socket, the image
        self.process = None
        plugins = os.path.join(root, "usr/libexec/netavark")
        os.makedirs(plugins, exist_ok=True)
        shutil.copy(PLUGIN, plugins)
        with open(os.path.join(root, "etc/containers/containers.conf"), "w", encoding="ascii") as file:
            file.write(CONTAINERS_CONF)
        world.cleanup.callback(self.close)
        self.boot()
        self.create("polder")
        self.call("import", "--change", 'CMD=["/bin/sh"]', rootfs_archive(world), IMAGE, timeout=120)

    def boot(self):
        self.process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "sh",
                                         self.root, self.shared], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", "no root for podman 5"

    def halt(self):
        """All processes of containers at once, and everything that a reboot forgets."""
        pids = []
        shown = self.call("ps", "-q", "--no-trunc", check=False).stdout.split()
        for name in shown:
            state = json.loads(self.call("inspect", name).stdout)[0]["State"]
            pids += [state["ConmonPid"], state["Pid"]]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def call(self, *args, **options):
        command = self.node.process_command("nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "podman",
                                            "--storage-driver", "vfs", *args)
        return run(command, env=ENVIRONMENT, **{"timeout": 60, **options})

    def create(self, name, *words, **options):
        """podman network create, with the node's socket."""
        return self.call("network", "create", "--driver", "polder-netavark", "--opt", f"socket={self.node.agent.socket}", *words, name,
                         **options)

    def refusal(self, *args):
        """What podman says to something that fails."""
        done = self.call(*args, check=False)
        assert done.returncode != 0, f"podman {' '.join(args)} succeeded: {done.stdout}"
        return done.stderr

    def start(self, name, script="sleep 1000000", network="polder", args=()):
        self.call("run", "-d", "--name", name, "--network", network, *args, IMAGE, "/bin/sh", "-c", script)
        return Container(self, name)

    def serve(self, name, port=8080, **options):
        return self.start(name, SERVER.format(name=name, port=port), **options)

    def exec(self, name, *args, **options):
        return self.call("exec", name, *args, **options)

    def inspect(self, name):
        return json.loads(self.call("inspect", name).stdout)[0]

    def remove(self, name):
        self.call("rm", "-f", "-t", "0", name)

    def close(self):
        if self.process:
            with contextlib.suppress(Exception):
                self.call("rm", "-f", "-a", "-t", "0", check=False)
                self.call("rmi", "-f", "-a", check=False)
            with contextlib.suppress(Exception):
                self.halt()
        unmount_below(self.root)
        for name in ("etc/containers/networks", "var/lib/containers"):
            shutil.rmtree(os.path.join(self.root, name), ignore_errors=True)


class Podman5World(World):
    """One node with podman 5 on it."""

    def __init__(self, **options):
        super().__init__(**options)
        try:
            self.podman = Podman5(self, os.environ["POLDER_TRIXIE"])
        except BaseException:
            self.close()
            raise

    def close(self):
        super().close()
        remove_empty_cgroups()
