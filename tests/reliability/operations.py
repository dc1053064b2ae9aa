# SPDX-License-Identifier: Apache-2.0
"""
The operations during which something is done: a start, a change, an ADD ... of the agent or of the plugin.

  prepare()              the node is as it is before the operation
  run(rule, describe)    does it once under a trace; keeps in `told` what whoever asked for it was told
  retry()                the agent runs again: what is still wrong after the operation has been
                         done once more
"""

import json
import os
import shutil
import signal
import subprocess
import time

import calls
from lib.cni import CniCall
from lib.world import _difference

REPAIRED = 8  # seconds after which what failed has been tried again: the agent looks every 5 s
QUIET = 0.4  # seconds after which a change has been applied, or never will be
HUNG = 70    # the plugin gives the agent 60


class Operation:
    traced = "agent"
    lives = False  # the traced process goes on after the operation

    def __init__(self, ground, name):
        self.ground, self.name = ground, name
        # Done as far as whoever asked was told, and what that was; hung: nobody was told anything.
        self.done, self.told, self.hung = False, "", False

    def log(self):
        return self.ground.agent.log()

    def prepare(self):
        self.is_over()

    def run(self, rule=None, describe=False):
        raise NotImplementedError

    def retry(self):
        return []

    def is_over(self):
        """No process is left that works on it, and the agent runs if it can."""
        ground = self.ground
        if not ground.agent.alive():
            ground.kill_agent()
            ground.start_agent()

    def forget(self):
        """What later operations must not find."""


class Start(Operation):
    """The agent is started on a node whose pods, maps and programs are there."""

    def prepare(self):
        self.ground.kill_agent()

    def run(self, rule=None, describe=False):
        result, self.done = self.ground.start_traced(rule, describe)
        self.hung = result.how == "left" and not self.done
        return result


class Resize(Start):
    """As Start, but with maps of another size: all is copied, and links are switched, under traffic."""

    SIZES = ("8192", "16384")

    def prepare(self):
        super().prepare()
        options = self.ground.agent.options
        options["flows-v4"] = self.SIZES[options["flows-v4"] == self.SIZES[0]]

    def forget(self):
        """The usual size."""
        self.ground.kill_agent()
        self.ground.agent.options["flows-v4"] = self.SIZES[0]
        self.ground.start_agent()


class FirstStart(Operation):
    """The agent is started on a node where it has never been: the second one of the world."""

    def __init__(self, ground, name):
        super().__init__(ground, name)
        self.node = ground.world.nodes[1]
        self.clean = None

    def wipe(self):
        self.ground.kill_agent(self.node.agent)
        shutil.rmtree(self.node.bpffs, ignore_errors=True)
        for key in ("run-dir", "state-dir"):
            shutil.rmtree(self.node.agent.options[key], ignore_errors=True)

    def prepare(self):
        if self.clean is None:
            self.wipe()
            self.ground.start_agent(self.node.agent)
            self.clean = self.ground.measure(self.node)
        self.wipe()

    def run(self, rule=None, describe=False):
        result, self.done = self.ground.start_traced(rule, describe, agent=self.node.agent)
        self.hung = result.how == "left" and not self.done
        return result

    def log(self):
        return self.node.agent.log()

    def retry(self):
        ground, agent = self.ground, self.node.agent
        if not agent.alive():
            ground.start_agent(agent)
        deadline = time.monotonic() + REPAIRED
        while (now := ground.measure(self.node)) != self.clean and time.monotonic() < deadline:
            time.sleep(0.05)
        return [f"differs from a start without a kill: {key}: {_difference(self.clean[key], now[key])}"
                for key in now if now[key] != self.clean[key]]

    def forget(self):
        self.wipe()


class Stop(Operation):
    """The agent is ended by SIGTERM."""

    def run(self, rule=None, describe=False):
        trace = self.ground.trace_agent(rule, describe)
        self.ground.agent.end_expected = True
        self.ground.agent.process.send_signal(signal.SIGTERM)
        self.hung = not trace.wait(10)
        result = trace.end()
        self.done = result.how == "exited" and result.status == 0
        return result


class Change(Operation):
    """An object changes, which the agent applies: policy, service or labels."""

    def __init__(self, ground, name, which):
        super().__init__(ground, name)
        self.which = which

    lives = True

    def run(self, rule=None, describe=False):
        trace = self.ground.trace_agent(rule, describe)
        self.ground.put_switch(self.which, not self.ground.switches[self.which])
        trace.wait(QUIET)
        result = trace.end()
        self.done = result.how == "left"
        return result

    def forget(self):
        if self.ground.switches[self.which]:
            self.ground.put_switch(self.which, False)


class Call(Operation):
    """A call of the plugin; `traced` is the agent, or the plugin."""

    def __init__(self, ground, name, command, traced):
        super().__init__(ground, name)
        self.command, self.traced, self.lives = command, traced, traced == "agent"
        self.status = None

    def prepare(self):
        """The box is connected, but for ADD."""
        wanted, ground = self.command != "ADD", self.ground
        if wanted == (ground.box_result is not None):
            return
        wrong = ground.must("ADD" if wanted else "DEL")
        if wrong:
            raise RuntimeError(f"{self.name} cannot be prepared: {wrong[0]}")

    def run(self, rule=None, describe=False):
        result = self.run_plugin(rule, describe) if self.traced == "plugin" \
            else self.run_agent(rule, describe)
        self.done = self.status == 0
        if self.done and self.command == "ADD":
            self.ground.box_result = json.loads(self.out)
        self.told = f"{self.out} {self.err}"
        return result

    def run_agent(self, rule, describe):
        ground = self.ground
        trace = ground.trace_agent(rule, describe)
        call = ground.plugin(self.command, ground.plugin_config(self.command))
        try:
            self.finish(call)
        finally:
            result = trace.end()
        return result

    def finish(self, call):
        self.hung = False
        try:
            self.status, self.out, self.err = call.finish(HUNG)
        except subprocess.TimeoutExpired:
            self.hung, self.status, self.out, self.err = True, 1, "", ""
            call.process.kill()
            call.process.wait()

    def run_plugin(self, rule, describe):
        ground = self.ground
        path = ground.list_path()

        def started(args, **options):
            return calls.Trace(path, rule, args, describe=describe, **options).process

        call = CniCall(self.command, ground.plugin_config(self.command), start=started,
                       **ground.plugin_options(self.command))
        self.finish(call)
        result = calls.Result(path)
        os.unlink(path)
        return result

    def retry(self):
        """
        What a runtime does: an ADD that failed, or of which nothing is known, is deleted and made again; DEL, GC and
        CHECK are called again.
        """
        ground = self.ground
        if self.command != "ADD":
            return ground.must(self.command)
        wrong = []
        if not self.done and self.traced == "agent":
            # The plugin lives, and has told the agent, or left a note: nobody else need do it.
            wrong = [f"after a failed ADD {one}" for one in ground.left_behind()]
        return wrong + ground.must("DEL") + ground.must("ADD") + ground.must("CHECK") \
            + ground.must("DEL")


# In the order of the page.
KINDS = {"start": (Start,), "start with maps of another size": (Resize,), "first start": (FirstStart,),
         "stop": (Stop,), **{f"change of {which}": (Change, which) for which in ("policy", "service", "labels")},
         **{f"{command}, {traced}": (Call, command, traced) for traced in ("agent", "plugin")
            for command in ("ADD", "DEL", "GC", "CHECK")}}
NAMES = tuple(KINDS)


def all_of(ground):
    """{name: operation}"""
    return {name: kind(ground, name, *more) for name, (kind, *more) in KINDS.items()}
