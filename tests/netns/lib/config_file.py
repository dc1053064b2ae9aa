# SPDX-License-Identifier: Apache-2.0
"""A configuration file of a node's polderd, written anew and read again while it runs."""

import json
import os
import signal

from .agent import PATIENCE
from .traffic import wait_until


class ConfigFile:
    """polderd is started again with the file, and the node's state compared with what it is then."""

    def __init__(self, world, **keys):
        self.agent = world.node.agent
        self.path = os.path.join(world.workdir, "polderd.json")
        self.write(**keys)
        self.agent.options["config"] = self.path
        self.agent.restart()
        world.node.before = world.node.ruler()

    def write(self, **keys):
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(keys, file)

    def reload(self, word, **keys):
        """Until polderd has said the word."""
        self.write(**keys)
        before = len(self.agent.log())
        os.kill(self.agent.process.pid, signal.SIGHUP)
        wait_until(lambda: word in self.agent.log()[before:], lambda: f"{word} in {self.agent.log()[before:]}", PATIENCE)
