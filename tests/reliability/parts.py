# SPDX-License-Identifier: Apache-2.0
"""
The parts of the suite, and how they tell what they found.

A part is a module of this folder with
  TITLE           the heading of its section in docs/reliability.md;
  short(tally)    a sample by a fixed seed, for CI; told to the tally, one result for each behaviour;
  record(tally)   everything. Returns its section of the page (Markdown below the heading, with the
                  command and the figures), and tells the tally as well.
"""

import importlib
import importlib.util
import time
import traceback

# In the order of the page.
NAMES = ("kills", "failures", "damage", "resources", "soak", "load")


def load():
    """{name: module} of those that there are."""
    return {name: importlib.import_module(name) for name in NAMES if importlib.util.find_spec(name)}


class Tally:
    """Prints a line for each result, as tests/README.md says. Names get the part's name in front."""

    def __init__(self):
        self.part, self.passed, self.failed = "", 0, 0

    def _line(self, kind, name, why=""):
        why = " ".join(str(why).split())
        print(f"{kind} {self.part}.{name}" + (f" - {why}" if why else ""), flush=True)

    def ok(self, name):
        self.passed += 1
        self._line("ok", name)

    def not_ok(self, name, why):
        self.failed += 1
        self._line("not ok", name, why)

    def skip(self, name, why):
        self._line("skip", name, why)

    def check(self, name, wrong):
        """`wrong`: what was found, one text each; none is a pass."""
        wrong = list(wrong)
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            self.not_ok(name, "; ".join(str(one) for one in wrong[:3]) + more)
        else:
            self.ok(name)

    def attempt(self, name, action):
        """Passes if action() returns. True if it did."""
        try:
            action()
        except Exception as error:
            for line in traceback.format_exc().rstrip().splitlines():
                self.note(line)
            self.not_ok(name, f"{type(error).__name__}: {error}")
            return False
        self.ok(name)
        return True

    def note(self, text):
        """For whoever reads the log; no result."""
        print(f"# {time.strftime('%H:%M:%S')} {text}", flush=True)
