# SPDX-License-Identifier: Apache-2.0
"""What Prometheus, its alerts and Grafana's dashboard make of polderd's metrics, by Debian's own Prometheus."""

import contextlib
import json
import os
import re
import subprocess
import time

from lib.agent import REPOSITORY
from lib.cni import CniError
from lib.objects import labels, policy
from lib.runner import Skip, limit
from lib.traffic import V4

import prometheus

LISTEN = "127.0.0.1:9180"
WORLD = {"latency": "yes", "load_balancer_pools": ["192.0.2.10-192.0.2.13"], "load_balancer_announce": "l2", "metrics_listen": LISTEN}
DASHBOARD = os.path.join(REPOSITORY, "deploy", "grafana", "polder.json")
ALERTS = os.path.join(REPOSITORY, "deploy", "alerts.yml")
METRIC = re.compile(r"\b(?:polder|process)_[a-z_]+\b")
# Scrapes twice a second: enough for a rate.
RATE = "4s"


def setup(world):
    world.programs = os.environ.get(prometheus.ENVIRONMENT)
    world.a, world.b = world.pod("a", labels={"app": "a"}), world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    world.resources.put("policy", policy("only-8080", labels(app="b"), ingress=[{"ports": [{"port": 8080}]}], policyTypes=["Ingress"]))
    broken = world.pod("broken")
    broken.netns.ip("addr flush dev eth0")
    with contextlib.suppress(CniError):
        broken.check()


def traffic(world):
    world.expect((world.a, world.b.ips[V4], 8080, "open"), (world.a, world.b.ips[V4], 81, "timeout"))


def programs(world):
    if not world.programs:
        raise Skip("Debian's package prometheus could not be fetched")
    return world.programs


def promtool(world, *words, text=None):
    return subprocess.run([os.path.join(programs(world), "promtool"), *words], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)


def exported(world):
    """Names of all samples."""
    return {name for name, _ in world.node.agent.metrics()}


def test_metrics_are_as_prometheus_wants_them(world):
    done = promtool(world, "check", "metrics", text=world.node.agent.metrics_text())
    assert done.returncode == 0, done.stdout


def test_alerts_have_rules_on_what_is_exported(world):
    done = promtool(world, "check", "rules", ALERTS)
    assert done.returncode == 0, done.stdout
    with open(ALERTS, encoding="utf-8") as file:
        names = {name for line in file if " expr:" in line for name in METRIC.findall(line)}
    missing = names - exported(world)
    assert not missing, missing


def panels():
    with open(DASHBOARD, encoding="utf-8") as file:
        made = json.load(file)
    assert {one["name"] for one in made["templating"]["list"]} == {"datasource", "instance"}
    return [panel for panel in made["panels"] if panel["type"] != "row"]


@limit(120)
def test_each_panel_of_the_dashboard_shows_something(world):
    server = prometheus.Prometheus(programs(world), world.node, LISTEN, world.workdir)
    try:
        for _ in range(3):
            traffic(world)
            time.sleep(0.5)
        names = exported(world)
        wrong = []
        for panel in panels():
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", RATE).replace("$instance", ".*")
                if set(METRIC.findall(expression)) - names:
                    wrong.append(f"{panel['title']}: not exported: {set(METRIC.findall(expression)) - names}")
                # Nothing above 0 of what goes wrong is well.
                elif not server.query(expression.removesuffix(" > 0")):
                    wrong.append(f"{panel['title']}: nothing for {expression}")
        assert not wrong, "\n".join(wrong)
    finally:
        server.close()
