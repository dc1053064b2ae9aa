# SPDX-License-Identifier: Apache-2.0
"""The real polderd of one node: started, asked, killed; and the directory of objects it reads."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

from . import busy
from .netns import CommandError, run
from .traffic import wait_until

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
# Seconds in which polderd has started or ended, and polderctl has answered, on a machine that is as busy as it may be: a start
# has the kernel verify all programs.
PATIENCE = 120
BUILD = os.environ.get("POLDER_BUILD") or os.path.join(REPOSITORY, "build")
POLDERD = os.path.join(BUILD, "agent", "polderd")
POLDERCTL = os.path.join(BUILD, "agent", "cli", "polderctl")
POLDER_CNI = os.path.join(BUILD, "cni", "polder-cni")
# What the sanitizers write when they find something.
SANITIZER = re.compile(r"^.*(?:ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error: ).*$", re.M)


def missing_binaries():
    return [path for path in (POLDERD, POLDERCTL, POLDER_CNI) if not os.access(path, os.X_OK)]


class Resources:
    """A directory of JSON objects. put() replaces a file as a whole; restore() undoes a test's changes."""

    def __init__(self, directory):
        self.directory = directory
        self.kept = {}
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        return os.path.join(self.directory, name + ".json")

    def put_text(self, name, text):
        self.put_bytes(name, text.encode())

    def put_bytes(self, name, content):
        hidden = os.path.join(self.directory, f".{name}.new")
        with open(hidden, "wb") as file:
            file.write(content)
        os.rename(hidden, self.path(name))

    def put(self, name, *objects):
        made = objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List",
                                                     "items": list(objects)}
        self.put_text(name, json.dumps(made))

    def delete(self, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def files(self):
        return {entry[:-5] for entry in os.listdir(self.directory) if entry.endswith(".json")}

    def keep(self):
        """What is there now belongs to the module and is put back after each test."""
        self.kept = {}
        for name in self.files():
            with open(self.path(name), encoding="utf-8") as file:
                self.kept[name] = file.read()

    def restore(self):
        changed = False
        os.makedirs(self.directory, exist_ok=True)
        for name in self.files() - set(self.kept):
            self.delete(name)
            changed = True
        for name, text in self.kept.items():
            try:
                with open(self.path(name), encoding="utf-8") as file:
                    same = file.read() == text
            except FileNotFoundError:
                same = False
            if not same:
                self.put_text(name, text)
                changed = True
        return changed


class Agent:
    """polderd of a node. `options` are long options without the dashes; a list repeats one, None leaves it out."""

    known = {}  # what --help of each binary says

    def __init__(self, node, workdir, options, binary=POLDERD):
        self.node, self.workdir, self.binary = node, workdir, binary
        self.options = options
        self.socket = os.path.join(options["run-dir"], "polder.sock")
        self.log_path = os.path.join(workdir, f"polderd-{node.label}.log")
        self.process = None
        self.end_expected = True  # nothing runs, and a test wanted it so
        self.checked = 0          # so much of the log has been searched

    def command(self):
        args = [self.binary]
        for key, value in self.options.items():
            if key == "state-dir" and not self.has_option(key):
                continue  # of a commit before it, whose times are compared
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    args += ["--" + key, str(one)]
        return self.node.process_command(*args)

    def has_option(self, name):
        if self.binary not in self.known:
            self.known[self.binary] = run([self.binary, "--help"]).stdout
        return f"--{name} " in self.known[self.binary]

    def start(self, wait=True):
        log = open(self.log_path, "ab")  # the process keeps it
        with log:
            log.write(f"--- {' '.join(self.command())}\n".encode())
            log.flush()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        busy.agents.add(self.process.pid)
        self.end_expected = False
        if wait:
            self.wait_ready()

    def wait_answer(self):
        """polderd answers, be it ready or not."""
        wait_until(lambda: self.check_alive() or self.ctl("status", check=False).returncode == 0,
                   lambda: f"an answer of polderd: {self.log_tail(5)}", PATIENCE, 0.1)

    def wait_ready(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        done = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.end_expected = True  # said here
                raise CommandError(f"polderd ended with status {self.process.returncode}: "
                                   f"{self.log_tail(5)}")
            try:
                done = run([POLDERCTL, "--socket", self.socket, "status", "--wait"], check=False,
                           timeout=max(1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
            if done.returncode == 0:
                return
            time.sleep(0.05)
        raise CommandError(f"polderd was not ready in {timeout} s: "
                           f"{done.stderr.strip() if done else ''} {self.log_tail(5)}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, number=signal.SIGKILL, timeout=PATIENCE):
        """Ends a running polderd, and returns its exit status. One that has ended by itself is an error."""
        self.check_alive()
        self.end_expected = True
        busy.agents.discard(self.process and self.process.pid)
        if self.alive():
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
                raise CommandError(f"polderd did not end in {timeout} s after signal {number}") \
                    from None
        return self.process.returncode if self.process else None

    def stop(self):
        """Ends polderd as a service manager does, which it has to survive with status 0."""
        running = self.alive()
        status = self.kill(signal.SIGTERM)
        if running and status != 0:
            raise CommandError(f"polderd ended with status {status} on SIGTERM: {self.log_tail(5)}")
        return status

    def wait_end(self, timeout=PATIENCE):
        """The exit status of a polderd that is expected to end by itself, as for a wrong option."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandError(f"polderd still runs after {timeout} s") from None
        busy.agents.discard(self.process.pid)
        self.end_expected = True
        return status

    def check_alive(self):
        """polderd runs, unless a test has ended it."""
        if not self.alive() and not self.end_expected:
            self.end_expected = True  # said once
            raise CommandError(f"polderd ended by itself, with status {self.process.returncode}: "
                               f"{self.log_tail(5)}")

    def check_log(self):
        """No sanitizer has found anything since the last call."""
        text = self.log()[self.checked:]
        self.checked += len(text)
        found = SANITIZER.search(text)
        if found:
            raise CommandError(f"{found[0].strip()} (in {self.log_path})")

    def restart(self, number=signal.SIGTERM):
        if number == signal.SIGTERM:
            self.stop()
        else:
            self.kill(number)
        self.start()

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=20):
        return "\n".join(self.log().splitlines()[-lines:])

    # ---- polderctl

    def ctl(self, *args, check=True, timeout=PATIENCE):
        return run([POLDERCTL, "--socket", self.socket, *args], check=check, timeout=timeout)

    def ctl_json(self, *args):
        out = self.ctl("-o", "json", *args).stdout
        try:
            return json.loads(out)
        except ValueError as error:
            raise CommandError(f"polderctl -o json {' '.join(args)}: {error}: {out[:200]!r}") from None

    def metrics_text(self):
        text = self.ctl("metrics").stdout
        if text.lstrip().startswith("{"):
            text = json.loads(text)["text"]
        return text

    def metrics(self):
        """{(name, ((label, value), ...)): number}"""
        found = {}
        for line in self.metrics_text().splitlines():
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if match and not line.startswith("#"):
                labels = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")))
                found[match[1], labels] = float(match[3])
        return found

    def drops(self, reason=None):
        """Packets dropped for the reason so far, in all directions."""
        total = 0
        for (name, labels), value in self.metrics().items():
            labels = dict(labels)
            if "drop" in name and "bytes" not in name and "reason" in labels \
                    and reason in (None, labels["reason"]):
                total += value
        return int(total)

    def drops_by_reason(self):
        found = {}
        for (name, labels), value in self.metrics().items():
            labels = dict(labels)
            if "drop" in name and "bytes" not in name and value and "reason" in labels:
                found[labels["reason"]] = found.get(labels["reason"], 0) + int(value)
        return found

    @contextlib.contextmanager
    def dropping(self, reason, count=1):
        """Within the block at least `count` packets are dropped for this reason."""
        before = self.drops_by_reason()
        yield
        wait_until(lambda: self.drops(reason) - before.get(reason, 0) >= count,
                   lambda: f"{count} drops for {reason} were not counted; since then: "
                   f"{self.dropped_since(before)}")

    def dropped_since(self, before):
        return {reason: count - before.get(reason, 0)
                for reason, count in self.drops_by_reason().items()
                if count != before.get(reason, 0)}
