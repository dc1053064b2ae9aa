# SPDX-License-Identifier: Apache-2.0
"""Processes of their own in a node's cgroups and network namespaces."""

import json
import os
import subprocess
import sys

TALKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "talker.py")
# Where the suite has a PID namespace of its own nobody in it knows by what number the node knows a process.
NODES_NUMBERS = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
ENTER = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'


def pins(node):
    """Those of the programs that note processes."""
    return sorted(name for name in os.listdir(os.path.join(node.bpffs, "v7", "links")) if name.startswith("process"))


def run_program(node, where, *words):
    """Runs a program in the namespace of a pod or node, and in the node's cgroup, to its end. Returns what became of it."""
    command = ["/bin/sh", "-c", ENTER, "sh", node.cgroup, *where.netns.command(*words)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


class Talker:
    """Runs lib/talker.py in the namespace of a pod or node while the block lasts. `cgroup` is below the node's."""

    made = 0

    def __init__(self, node, where, *words, comm=b"", uid=0, cgroup=""):
        Talker.made += 1
        comm = comm or f"talker{Talker.made}".encode()
        self.comm = comm.decode(errors="replace")
        self.directory = os.path.join(node.cgroup, cgroup).rstrip("/")
        os.makedirs(self.directory, exist_ok=True)
        command = where.netns.command(sys.executable, TALKER, comm.hex(), str(uid), *map(str, words))
        self.process = subprocess.Popen(["/bin/sh", "-c", ENTER, "sh", self.directory, *command],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.node, self.target = node, words[1]
        self.told = self.read()

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the process ended before it said anything"
        return json.loads(line)

    def is_it(self, process):
        """Is this what polderd tells of it? By its name, which no other has."""
        return process["comm"] == self.comm and process["pid"] > 0 and (not NODES_NUMBERS or process["pid"] == self.told["pid"])

    @property
    def port(self):
        return self.told["port"]

    def answered(self):
        assert self.read() == {"answered": True}
        return self

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def end(self):
        if self.process.stdin:
            self.process.stdin.close()
            self.process.wait(60)
            self.process.stdout.close()
            self.process.stdin = None
            while self.directory != self.node.cgroup:
                os.rmdir(self.directory)
                self.directory = os.path.dirname(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
