# SPDX-License-Identifier: Apache-2.0
"""polderctl monitor beside a test."""

import json
import subprocess
import threading

from .agent import POLDERCTL
from .traffic import wait_until


class Monitor:
    """polderctl monitor, while the test goes on."""

    def __init__(self, agent, *words):
        self.process = subprocess.Popen([POLDERCTL, "--socket", agent.socket, "-o", "jsonl", "monitor", *words],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, ""))),
                        threading.Thread(target=lambda: self.errors.extend(iter(self.process.stderr.readline, "")))]
        for reader in self.readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        for reader in self.readers:
            reader.join(60)
        self.process.stdout.close()
        self.process.stderr.close()

    def events(self):
        return [json.loads(line) for line in list(self.lines)]

    def wait(self, condition, act=lambda: None):
        def found():
            act()
            return [event for event in self.events() if condition(event)]
        return wait_until(found, lambda: f"an event among {self.lines[-3:]}, {self.errors[-3:]}")
