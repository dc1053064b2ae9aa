# SPDX-License-Identifier: Apache-2.0
"""podman and containerd with directories of their own, so that nothing of the machine's is touched."""

import contextlib
import json
import os
import shutil
import subprocess

from lib.agent import POLDER_CNI
from lib.netns import run
from lib.runner import Skip
from lib.traffic import wait_until
from lib.world import World

IMAGE = "localhost/polder-busybox:1"
# Serves its own name to whoever connects.
SERVER = "mkdir -p /www && echo {name} >/www/index.html && exec httpd -f -p {port} -h /www"


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        raise Skip(f"{', '.join(missing)} not installed: deploy/install-deps test")


class Container:
    """A running container: exec() works the same in both runtimes."""

    def __init__(self, runtime, name, namespace="default"):
        self.runtime, self.name, self.ns = runtime, name, namespace

    def exec(self, *args, **options):
        return self.runtime.exec(self.name, *args, **options)

    def fetch(self, address, port, timeout=3):
        """The served name, or None."""
        host = f"[{address}]" if ":" in address else address
        # Not wget's own -T: busybox-static of bookworm crashes with it.
        done = self.exec("timeout", str(timeout), "wget", "-q", "-O", "-", f"http://{host}:{port}/",
                         check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def addresses(self):
        """{4: address, 6: address} of eth0, as the container itself sees them."""
        found = {}
        for line in self.exec("ip", "-o", "addr", "show", "dev", "eth0").stdout.splitlines():
            words = line.split()
            if words[2] in ("inet", "inet6") and not words[3].startswith("fe80"):
                found[4 if words[2] == "inet" else 6] = words[3].split("/")[0]
        return found

    def remove(self):
        self.runtime.remove(self.name)


class Podman:
    """podman 4.3 with the CNI back end."""

    def __init__(self, world, cni_version="1.0.0"):
        need("podman", "runc", "conmon")
        self.world, self.node = world, world.node
        self.base = os.path.join(world.workdir, "podman")
        self.conf_dir = os.path.join(self.base, "net.d")
        os.makedirs(self.conf_dir, exist_ok=True)
        self.write_network(cni_version)
        self.conf = os.path.join(self.base, "containers.conf")
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(f"""[network]
network_backend = "cni"
network_config_dir = "{self.conf_dir}"
cni_plugin_dirs = ["{os.path.dirname(POLDER_CNI)}", "/usr/lib/cni"]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
""")
        with open(os.path.join(self.base, "policy.json"), "w", encoding="ascii") as file:
            file.write('{"default": [{"type": "insecureAcceptAnything"}]}')
        world.cleanup.callback(self.close)
        self.import_image()

    def write_network(self, version, behind=()):
        """
        `version` of the configuration is that of the result, which podman 4.3 takes up to 1.0.0. Ports are offered to the
        plugins `behind` Polder where there are any, else to Polder itself.
        """
        config = {**self.node.cni_config(),
                  "capabilities": {"portMappings": not behind, "ips": True, "mac": True}}
        config.pop("cniVersion")
        netns_list = {"cniVersion": version, "name": config.pop("name"), "plugins": [config, *behind]}
        hidden = os.path.join(self.conf_dir, ".new")
        with open(hidden, "w", encoding="ascii") as file:
            json.dump(netns_list, file)
        os.rename(hidden, os.path.join(self.conf_dir, "10-polder.conflist"))

    def call(self, *args, **options):
        command = self.node.process_command(
            "podman", "--root", os.path.join(self.base, "root"), "--runroot",
            os.path.join(self.base, "runroot"), "--tmpdir", os.path.join(self.base, "tmp"),
            "--storage-driver", "vfs", *args)
        return run(command, env={**os.environ, "CONTAINERS_CONF": self.conf},
                   **{"timeout": 60, **options})

    def import_image(self):
        self.call("import", "--change", 'CMD=["/bin/sh"]', rootfs_archive(self.world), IMAGE,
                  timeout=120)

    def start(self, name, script="sleep 1000000", **options):
        extra = options.get("args", ())
        self.call("run", "-d", "--name", name, "--network", "polder", "--no-hosts", *extra, IMAGE,
                  "/bin/sh", "-c", script)
        return Container(self, name)

    def serve(self, name, port=8080, **options):
        return self.start(name, SERVER.format(name=name, port=port), **options)

    def exec(self, name, *args, **options):
        return self.call("exec", name, *args, **options)

    def remove(self, name):
        self.call("rm", "-f", "-t", "0", name)

    def save(self, path):
        self.call("save", "--format", "docker-archive", "-o", path, IMAGE)

    def close(self):
        with contextlib.suppress(Exception):
            self.call("rm", "-f", "-a", "-t", "0", check=False)
            self.call("umount", "-a", check=False)
        unmount_below(self.base)


class Containerd:
    """containerd and ctr; ctr reads /etc/cni/net.d and /opt/cni/bin only, so they get mounts of their own."""

    def __init__(self, world, image):
        need("containerd", "ctr", "runc", "containerd-shim-runc-v2")
        self.world, self.node = world, world.node
        self.base = os.path.join(world.workdir, "ctd")
        for name in ("root", "state", "net.d"):
            os.makedirs(os.path.join(self.base, name))
        self.socket = os.path.join(self.base, "c.sock")
        self.process = self.mounts = None
        world.cleanup.callback(self.close)
        self._own_mounts()
        self._start()
        self.ctr("images", "import", image, timeout=120)

    def _own_mounts(self):
        with open(os.path.join(self.base, "net.d", "05-polder.conflist"), "w",
                  encoding="ascii") as file:
            config = self.node.cni_config()
            json.dump({"cniVersion": config.pop("cniVersion"), "name": config.pop("name"),
                       "plugins": [config]}, file)
        os.makedirs("/etc/cni/net.d", exist_ok=True)
        script = """mount -t tmpfs tmpfs /opt && mkdir -p /opt/cni/bin && cp "$1" /opt/cni/bin/ &&
            mount --bind "$2" /etc/cni/net.d && echo ready && exec sleep 1000000"""
        self.mounts = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh",
             POLDER_CNI,
             os.path.join(self.base, "net.d")], stdout=subprocess.PIPE, text=True)
        assert self.mounts.stdout.readline() == "ready\n", "no mounts for containerd"

    def command(self, *args):
        return self.node.process_command("nsenter", f"--mount=/proc/{self.mounts.pid}/ns/mnt",
                                         *args)

    def _config(self):
        """Ends in the section of CRI."""
        return f"""version = 2
root = "{self.base}/root"
state = "{self.base}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt"]
[grpc]
address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
"""

    def _start(self):
        config = os.path.join(self.base, "config.toml")
        with open(config, "w", encoding="ascii") as file:
            file.write(self._config())
        self.log_path = os.path.join(self.base, "log")
        log = open(self.log_path, "wb")  # the process keeps it
        with log:
            self.process = subprocess.Popen(self.command("containerd", "-c", config),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self.ctr("version", check=False).returncode == 0, self.log_tail, 15, 0.1)

    def log_tail(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return "containerd does not answer: " + file.read()[-600:]

    def ctr(self, *args, **options):
        return run(self.command("ctr", "--address", self.socket, *args),
                   **{"timeout": 60, **options})

    def start(self, name, script="sleep 1000000"):
        self.ctr("run", "-d", "--cni", "--snapshotter", "native", IMAGE, name, "/bin/sh", "-c",
                 script)
        return Container(self, name)

    def serve(self, name, port=8080):
        return self.start(name, SERVER.format(name=name, port=port))

    def run_once(self, name, script):
        """ctr run --rm --cni: ADD before, DEL after."""
        return self.ctr("run", "--rm", "--cni", "--snapshotter", "native", IMAGE, name, "/bin/sh",
                        "-c", script)

    def exec(self, name, *args, **options):
        number = os.urandom(4).hex()
        return self.ctr("task", "exec", "--exec-id", number, name, *args, **options)

    def kill(self, name):
        """Without any DEL, as `ctr task kill` leaves it."""
        self.ctr("task", "kill", "-s", "SIGKILL", name, check=False)
        wait_until(lambda: " RUNNING" not in self._task(name), f"{name} ends", 10, 0.05)
        self.ctr("task", "rm", name, check=False)
        self.ctr("container", "rm", name, check=False)

    remove = kill

    def _task(self, name):
        out = self.ctr("task", "ls").stdout
        return next((line for line in out.splitlines() if line.split()[:1] == [name]), "")

    def close(self):
        with contextlib.suppress(Exception):
            for name in self.ctr("container", "ls", "-q").stdout.split():
                self.kill(name)
        if self.process:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.mounts:
            self.mounts.kill()
            self.mounts.wait()
            self.mounts.stdout.close()
        unmount_below(self.base)


def rootfs_archive(world):
    """A root directory with busybox and a link for each of its applets, as a tar file."""
    need("busybox", "tar")
    path = os.path.join(world.workdir, "rootfs.tar")
    if os.path.exists(path):
        return path
    rootfs = os.path.join(world.workdir, "rootfs")
    for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
        os.makedirs(os.path.join(rootfs, directory))
    binary = shutil.which("busybox")
    if "not a dynamic executable" not in run(["ldd", binary], check=False).stdout \
            + run(["ldd", binary], check=False).stderr:
        raise Skip("busybox is not static: install busybox-static")
    shutil.copy(binary, os.path.join(rootfs, "bin", "busybox"))
    for applet in run([binary, "--list"]).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(rootfs, "bin", applet))
    run(["tar", "-C", rootfs, "-cf", path, "."])
    shutil.rmtree(rootfs)
    return path


def remove_empty_cgroups():
    """The parents that podman and ctr make for their containers, in every hierarchy, if nobody is in them."""
    for base, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if os.path.basename(base) in ("libpod_parent", "default") or "/libpod_parent/" in base:
            with contextlib.suppress(OSError):
                os.rmdir(base)


def unmount_below(directory):
    """Mounts that a runtime left, the deepest first."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        points = [line.split()[1] for line in file]
    for point in sorted((p for p in points if p.startswith(directory + "/")), key=len,
                        reverse=True):
        run(["umount", "-l", point], check=False)


class ContainerWorld(World):
    """One node with podman and containerd on it, both started when first asked for."""

    def __init__(self, **options):
        self._podman = self._containerd = None
        super().__init__(**options)

    @property
    def podman(self):
        if not self._podman:
            self._podman = Podman(self)
        return self._podman

    @property
    def containerd(self):
        if not self._containerd:
            image = os.path.join(self.workdir, "image.tar")
            self.podman.save(image)
            self._containerd = Containerd(self, image)
        return self._containerd

    def close(self):
        super().close()
        if self._podman or self._containerd:
            remove_empty_cgroups()

    def wait_as_before(self, before):
        """Links, routes, neighbours, pins, records and map entries are as they were."""
        self.node.wait_as(before)
