# SPDX-License-Identifier: Apache-2.0
"""
Debian's Prometheus, unpacked and not installed: its checks, and a server that reads one node's metrics. Fetched where the mirror can
be reached, kept where tools.py keeps the rest.
"""

import fcntl
import glob
import os
import subprocess
import tempfile

from debian_packages import Missing
from lib.traffic import wait_until
import tools

PORT = 9090
ENVIRONMENT = "POLDER_PROMETHEUS"  # names the directory of its programs, inside
PROGRAMS = ("prometheus", "promtool")
FETCH_LIMIT = 120  # seconds


def get():
    """The directory of its programs. Missing: why there is none."""
    base = tools.cache()
    os.makedirs(base, exist_ok=True)
    kept = os.path.join(base, "prometheus")
    with open(kept + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(kept):
            with tempfile.TemporaryDirectory(prefix="prometheus-fetching-", dir=base) as work:
                os.rename(_fetch(work), kept)
    return kept


def _fetch(work):
    try:
        done = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "prometheus"],
                              cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=FETCH_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"the mirror did not give the package prometheus in {FETCH_LIMIT} s") from None
    packages = glob.glob(os.path.join(work, "*.deb"))
    if done.returncode or not packages:
        raise Missing(f"the package prometheus cannot be fetched: {(done.stdout.strip().splitlines() or ['apt said nothing'])[-1]}")
    subprocess.check_call(["dpkg-deb", "-x", packages[0], work])
    made = os.path.join(work, "made")
    os.mkdir(made)
    for name in PROGRAMS:
        os.rename(os.path.join(work, "usr", "bin", name), os.path.join(made, name))
    return made


class Prometheus:
    """Asks `target` twice a second, in the node's network."""

    def __init__(self, programs, node, target, directory):
        self.programs, self.node = programs, node
        config = os.path.join(directory, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write("global: {scrape_interval: 500ms, scrape_timeout: 400ms}\n"
                       f"scrape_configs: [{{job_name: polder, static_configs: [{{targets: ['{target}']}}]}}]\n")
        with open(os.path.join(directory, "prometheus.log"), "wb") as log:
            self.process = subprocess.Popen(
                node.netns.command(os.path.join(programs, "prometheus"), f"--config.file={config}",
                                   f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{PORT}"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
        wait_until(lambda: self.query("up == 1"), "Prometheus reads polderd's metrics", 30, 0.3)

    def query(self, expression):
        """What it answers, "" for nothing. AssertionError: it does not understand the question."""
        done = subprocess.run(self.node.netns.command(os.path.join(self.programs, "promtool"), "query", "instant",
                                                      f"http://127.0.0.1:{PORT}", expression),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        assert "parse error" not in done.stderr, f"{expression}: {done.stderr}"
        return done.stdout.strip() if done.returncode == 0 else ""

    def close(self):
        self.process.terminate()
        self.process.wait()
