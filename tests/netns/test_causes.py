# SPDX-License-Identifier: Apache-2.0
"""Messages name what is wrong: a memory limit, too few descriptors, a capability."""

import contextlib
import os
import subprocess

from lib.runner import limit
from lib.traffic import wait_until

WORLD = {"nodes": 1}
MEMORY = "/sys/fs/cgroup/memory"


def setup(world):
    world.agent = world.node.agent


def fails(world, command, **options):
    """The last line of a polderd that cannot start."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False, **options)
    assert done.returncode == 1, done
    return done.stdout.strip().splitlines()[-1]


def other_place(world):
    """With maps of its own: what is pinned already needs no memory. Alone: two agents do not share a network namespace."""
    agent = world.agent
    agent.stop()
    kept = dict(agent.options)
    agent.options["bpffs"] = world.node.bpffs + "-causes"
    agent.options["run-dir"] = agent.options["run-dir"] + "-causes"
    command = agent.command()
    agent.options = kept
    return command


@limit(60)
def test_a_memory_limit_is_named_with_its_number(world):
    if not os.path.exists(os.path.join(MEMORY, "memory.limit_in_bytes")):
        return  # control groups of version 2: a group with a limit cannot be made in every place
    group = os.path.join(MEMORY, f"polder-test-{world.unique}")
    os.mkdir(group)
    try:
        with open(os.path.join(group, "memory.limit_in_bytes"), "w", encoding="utf-8") as file:
            file.write(str(16 << 20))
        line = fails(world, ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *other_place(world)])
        assert "memory limit is 16 MiB" in line and "MemoryMax" in line, line
        assert "CAP_BPF" not in line, line
    finally:
        def gone():
            with contextlib.suppress(OSError):
                os.rmdir(group)
            return not os.path.exists(group)
        wait_until(gone, "the group is empty")


def test_too_few_descriptors_are_named(world):
    line = fails(world, ["/bin/sh", "-c", 'ulimit -n 25 && exec "$@"', "sh", *other_place(world)])
    assert "LimitNOFILE" in line or "open files" in line, line
    assert "CAP_BPF" not in line, line


def test_a_missing_capability_is_named(world):
    command = other_place(world)
    at = next(i for i, word in enumerate(command) if word.endswith("/polderd"))
    # Dropped after the namespace has been entered.
    line = fails(world, command[:at] + ["setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin", "--"] + command[at:])
    assert "CAP_BPF" in line, line
