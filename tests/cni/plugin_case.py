# SPDX-License-Identifier: Apache-2.0
"""What the tests of both plugins share: a directory with the agent's socket and notes, an agent that answers, a run of the plugin."""
import os
import subprocess
import sys
import tempfile
import unittest

from recorder import Recorder
from spaces import Namespace


class PluginCase(unittest.TestCase):
    """`program` is the plugin's path, `netns` that of a network namespace; `good(operation, args)` is the agent's usual answer."""

    program = netns = None

    def good(self, operation, args):
        raise NotImplementedError

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="polder-plugin-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.socket = self.directory + "/polder.sock"
        self.notes = self.directory + "/cni-del"

    def serve(self, answer=None):
        recorder = Recorder(self.socket, answer or self.good)
        self.addCleanup(recorder.close)
        return recorder

    def run_program(self, *arguments, text, **environment):
        """The exit status and standard output; `text`, which may be bytes, is the input."""
        data = text if isinstance(text, bytes) else text.encode()
        done = subprocess.run([self.program, *arguments], input=data, env=environment, capture_output=True, timeout=60)
        self.stderr = done.stderr.decode()
        return done.returncode, done.stdout.decode()

    def noted(self):
        return sorted(os.listdir(self.notes)) if os.path.isdir(self.notes) else []


def main(program):
    """Runs the tests of the calling program, with a namespace for the plugin to look at."""
    if os.geteuid():
        print("needs root for a network namespace", file=sys.stderr)
        sys.exit(77)
    with Namespace() as namespace:
        PluginCase.program, PluginCase.netns = program, namespace.path
        unittest.main(verbosity=2)
