#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""polderctl flow list, monitor and drop list: what they ask a recording control socket, and print in each form.

usage: test_polderctl_flows.py POLDERCTL [unittest options]
"""
import json
import os
import pty
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from recorder import Error, Recorder, Stream  # noqa: E402

POLDERCTL = os.path.abspath(sys.argv.pop(1))
RULE = {"policy": "demo/web", "rule": 0, "rule_path": "spec.ingress[0]", "rule_name": "", "direction": "ingress",
        "default_deny": False, "isolated_by": []}
FLOW = {"family": "ipv4", "proto": "tcp", "zone": 0, "source": "10.244.0.5", "source_port": 40000, "source_pod": "demo/cli",
        "destination": "10.96.0.9", "destination_port": 80, "destination_pod": "demo/web-1", "service": "demo/web",
        "new_source": "", "new_source_port": 0, "new_destination": "10.244.0.6", "new_destination_port": 8080,
        "action": "pod", "node": None, "state": ["established"], "reply": False, "generation": 7, "current": True,
        "idle_seconds": 61, "packets": 10, "bytes": 1000, "verdict": "allow", "egress_policy": None, "ingress_policy": RULE}
V6 = {**FLOW, "family": "ipv6", "source": "fd00::5", "source_pod": "", "destination": "fd00::6", "destination_pod": "",
      "service": "", "new_destination": "", "new_destination_port": 0, "ingress_policy": None, "bytes": 5}
DROP = {"time": "2026-11-22T10:00:00.000001Z", "monotonic_ns": 5000, "type": "drop", "verdict": "reject",
        "reason": "policy_denied_ingress", "hook": "from_pod", "family": "ipv4", "proto": "tcp",
        "source": {"ip": "10.244.0.5", "port": 40000, "pod": "demo/cli\x1b[2J", "identity": 4},
        "destination": {"ip": "10.96.0.9", "port": 80, "pod": "", "identity": 9, "service": "demo/web"},
        "backend": None, "link": "pd1", "length": 60, "egress_policy": None, "ingress_policy": RULE}
DROPS = {"since": "2026-11-22T10:00:00Z", "lost_events": 0, "limited_events": 7, "rows_left_out": 0, "counted": True,
         "drops": [{"reason": "policy_denied_ingress", "direction": "from_pod", "pod": "demo/web\x1b[2J", "policy": "demo/a,demo/b",
                    "packets": 12, "seconds": 3, "last": "2026-11-22T10:00:00Z", "example": DROP},
                   {"reason": "source_ip", "direction": "from_pod", "pod": "", "policy": "", "packets": 1, "seconds": 70,
                    "last": "2026-11-22T10:00:00Z", "example": DROP}],
         "reasons": [{"reason": "policy_denied_ingress", "direction": "from_pod", "packets": 19, "told": 12,
                      "means": "no rule allows it", "remedy": "What the policies say."},
                     {"reason": "source_ip", "direction": "from_pod", "packets": 1, "told": 1, "means": "not its own", "remedy": "Ask."}]}
ALERT = {"time": "2026-11-22T10:00:00.000001Z", "type": "alert", "monotonic_ns": 6000, "alert": "scan", "kind": "scan", "severity": "Critical",
         "message": "look\x1b[2J", "text": "demo/cli was denied 20 addresses", "count": 2, "several": False,
         "source": {"ip": "10.244.0.5", "pod": "demo/cli"}, "destination": {"ip": "10.244.0.6", "port": 80, "pod": "", "service": ""},
         "proto": "tcp", "verdict": "drop", "amount": 20}
ALERTS = {"rules": [{"alert": "scan", "kind": "scan", "severity": "Critical", "message": "look", "raised": 3, "told": 2, "workloads": 1}],
          "told": [ALERT], "bytes": 512, "forgotten": 7, "flows_left_out": 0, "lost": 0}
ANSWERS = {"flows": [FLOW, V6], "drops": DROPS, "alerts": ALERTS}
FLOW_TABLE = """\
PROTO   SOURCE            DESTINATION    TRANSLATED             VERDICT   POLICY     ACTION   STATE         IDLE   PACKETS   BYTES
tcp     demo/cli:40000    demo/web:80    -> 10.244.0.6:8080   allow     demo/web   pod      established   1m1s   10        1000
tcp     [fd00::5]:40000   [fd00::6]:80   -                      allow     -          pod      established   1m1s   10        5
"""


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="polderctl-")
        self.addCleanup(directory.cleanup)
        self.socket = directory.name + "/polder.sock"

    def serve(self, answer=lambda operation, args: ANSWERS[operation]):
        recorder = Recorder(self.socket, answer)
        self.addCleanup(recorder.close)
        return recorder

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "POLDER_SOCKET": self.socket, **more}

    def run_ctl(self, *words):
        done = subprocess.run([POLDERCTL, *words], env=self.environment(), capture_output=True, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def succeed(self, *words):
        code, out, err = self.run_ctl(*words)
        self.assertEqual(code, 0, err)
        return out

    def on_terminal(self, *words, **more):
        """What a terminal is given."""
        master, slave = pty.openpty()
        process = subprocess.Popen([POLDERCTL, *words], env=self.environment(TERM="xterm", **more), stdout=slave, stderr=slave)
        os.close(slave)
        out = b""
        try:
            while part := os.read(master, 65536):
                out += part
        except OSError:
            pass  # the other end is closed
        os.close(master)
        process.wait(timeout=60)
        return out.decode()


class Forms(Case):
    def test_the_table_names_pods_services_and_policies(self):
        self.serve()
        self.assertEqual([line.split() for line in self.succeed("flow", "list").splitlines()],
                         [line.split() for line in FLOW_TABLE.splitlines()])

    def test_wide_has_addresses_and_rules_behind_it(self):
        self.serve()
        lines = self.succeed("flow", "list", "-o", "wide").splitlines()
        self.assertTrue(lines[0].endswith("CURRENT   SOURCE-PROCESS   DESTINATION-PROCESS"), lines[0])
        for part in ["10.244.0.5:40000", "10.96.0.9:80", "demo/web spec.ingress[0]"]:
            self.assertIn(part, lines[1])

    def test_no_headers_leaves_the_first_line_out(self):
        self.serve()
        lines = self.succeed("flow", "list", "--no-headers").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith("tcp"))
        self.assertNotIn("to do", self.succeed("drop", "list", "--no-headers"))

    def test_json_lines_are_one_object_each(self):
        self.serve()
        self.assertEqual([json.loads(line) for line in self.succeed("flow", "list", "-o", "jsonl").splitlines()], [FLOW, V6])
        self.assertEqual([json.loads(line) for line in self.succeed("drop", "list", "-o", "jsonl").splitlines()], [DROPS])

    def test_names_are_one_a_line(self):
        self.serve()
        self.assertEqual(self.succeed("flow", "list", "-o", "name").splitlines(),
                         ["flow/tcp/10.244.0.5:40000/10.96.0.9:80", "flow/tcp/[fd00::5]:40000/[fd00::6]:80"])
        self.assertEqual(self.succeed("drop", "list", "-o", "name").splitlines(),
                         ["drop/policy_denied_ingress/demo/web\\x1b[2J", "drop/source_ip"])
        code, _, err = self.run_ctl("status", "-o", "name")
        self.assertEqual(code, 2)
        self.assertIn("lists", err)

    def test_yaml_cannot_be_misread(self):
        odd = {"a": "yes", "b": "1.5", "c": "", "d": "x: y", "e": "null", "f": [], "g": {}, "h": 5, "i": True, "j": None,
               "k": "line\nline", "l": "demo/web", "m": "\x1b[2J", "n": "\u20ac"}
        self.serve(lambda operation, args: [odd])
        out = self.succeed("flow", "list", "-o", "yaml")
        self.assertEqual(out, """\
- a: "yes"
  b: "1.5"
  c: ""
  d: "x: y"
  e: "null"
  f: []
  g: {}
  h: 5
  i: true
  j: null
  k: "line\\nline"
  l: demo/web
  m: "\\e[2J"
  n: "\\u20AC"
""".replace("  n:", '  "n":'))

    def test_a_terminal_has_colours_unless_they_are_refused(self):
        self.serve()
        coloured = self.on_terminal("flow", "list")
        self.assertIn("\x1b[32mallow\x1b[0m", coloured)
        self.assertIn("\x1b[1mPROTO", coloured)
        for refusal in [{"NO_COLOR": "1"}, {"TERM": "dumb"}]:
            self.assertNotIn("\x1b", self.on_terminal("flow", "list", **refusal) if "TERM" not in refusal
                             else subprocess.run([POLDERCTL, "flow", "list"], env=self.environment(**refusal),
                                                 capture_output=True, timeout=60).stdout.decode())
        self.assertNotIn("\x1b", self.succeed("flow", "list"))

    def test_the_drops_have_the_remedy_and_say_what_was_not_told(self):
        self.serve()
        out = self.succeed("drop", "list")
        for part in ["demo/web\\x1b[2J", "demo/a,demo/b", "12", "3s ago", "link pd1",
                     "policy_denied_ingress: 19 packets, 7 of them not told one by one", "means: no rule allows it",
                     "to do: What the policies say.", "source_ip: 1 packets\n", "7 were beyond events-per-second"]:
            self.assertIn(part, out)
        self.assertNotIn("\x1b", out)
        self.assertIn("tcp 10.244.0.5:40000 -> 10.96.0.9:80", self.succeed("drop", "list", "-o", "wide"))


class Filters(Case):
    def asked(self, *words):
        recorder = self.serve(lambda operation, args: Error(5) if operation == "monitor" else ANSWERS[operation])
        self.run_ctl(*words)
        recorder.close()
        self.assertEqual(len(recorder.requests), 1, words)
        return recorder.requests[0]["args"]

    def test_options_become_the_filter(self):
        words = ["--pod", "demo/cli", "--pod", "demo/web", "-n", "demo", "--from", "10.0.0.0/8", "--to", "demo/web", "--ip", "fd00::5",
                 "--port", "80", "--port", "8000-8100", "--proto", "udp", "--verdict", "allow", "--policy", "demo/web",
                 "--process", "curl", "--process", "/usr/bin/wget", "--uid", "1000"]
        wanted = {"pod": ["demo/cli", "demo/web"], "namespace": ["demo"], "from": ["10.0.0.0/8"], "to": ["demo/web"], "ip": ["fd00::5"],
                  "port": ["80", "8000-8100"], "proto": ["udp"], "verdict": ["allow"], "policy": ["demo/web"],
                  "process": ["curl", "/usr/bin/wget"], "uid": ["1000"]}
        self.assertEqual(self.asked("flow", "list", *words)["filter"], wanted)
        self.assertEqual(self.asked("monitor", *words)["filter"], wanted)
        self.assertEqual(self.asked("drop", "list", "--reason", "source_ip")["filter"], {"reason": ["source_ip"]})
        self.assertNotIn("filter", self.asked("flow", "list"))

    def test_a_name_alone_is_of_the_namespace(self):
        self.assertEqual(self.asked("flow", "list", "-n", "demo", "--pod", "web")["filter"], {"namespace": ["demo"], "pod": ["demo/web"]})
        self.assertEqual(self.asked("flow", "list", "--policy", "everywhere")["filter"], {"policy": ["everywhere"]})
        code, out, err = self.run_ctl("flow", "list", "--pod", "web")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("-n NAMESPACE", err)

    def test_what_is_wanted_of_the_past_is_passed_on(self):
        args = self.asked("flow", "list", "--last", "5", "--since", "2m")
        self.assertEqual((args["limit"], args["sort"], args["since_seconds"]), (5, "use", 120))
        args = self.asked("monitor", "--last", "5", "--since", "1h")
        self.assertEqual((args["last"], args["since_seconds"]), (5, 3600))
        self.assertEqual(self.asked("flow", "list", "--sort", "bytes")["sort"], "bytes")
        self.assertEqual(self.asked("drop", "list", "--since", "5m")["since_seconds"], 300)

    def test_what_makes_no_sense_is_wrong_usage(self):
        for words in [["flow", "list", "--last", "0"], ["flow", "list", "--last", "x"], ["flow", "list", "--last", "5", "--sort", "bytes"],
                      ["flow", "list", "--sort", "bytes", "--limit", "0"], ["flow", "list", "--since", "-5"], ["monitor", "--last", "1001"],
                      ["monitor", "--since", "tomorrow"], ["flow", "list", "--watch=0"], ["drop", "list", "--since", "2h"],
                      ["drop", "list", "--port", "80"], ["drop", "list", "--uid", "0"], ["drop", "list", "--process", "curl"],
                      ["pod", "list", "--pod", "a/b"], ["flow", "list", "--sort", "age"]]:
            code, out, err = self.run_ctl(*words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertTrue(err.startswith("polderctl: "), words)

    def test_watching_goes_on_until_nobody_reads(self):
        recorder = self.serve()
        process = subprocess.Popen([POLDERCTL, "flow", "list", "--watch=1", "--no-headers"], env=self.environment(), stdout=subprocess.PIPE)
        lines = [process.stdout.readline() for _ in range(4)]
        process.stdout.close()
        self.assertEqual(process.wait(timeout=30), 1)
        self.assertEqual((lines[0], lines[2]), (lines[3], b"\n"))
        self.assertEqual(recorder.requests[0]["args"]["sort"], "bytes")


def begin(**more):
    return {"begin": {"monotonic_ns": 1000, "dropped_packets": 10, "lost_events": 5, "limited_events": 2, **more}}


class Reconnect(Case):
    def follow(self, answers, *words):
        """monitor, with an agent that ends and comes back; until it has printed `lines` lines."""
        recorder = self.serve(lambda operation, args: answers.pop(0) if answers else Stream([]))
        process = subprocess.Popen([POLDERCTL, "monitor", *words], env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while len(recorder.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = [process.stdout.readline().decode() for _ in range(3)]
        process.terminate()
        process.wait(timeout=30)
        err = process.stderr.read().decode()
        process.stdout.close()
        process.stderr.close()
        return recorder, lines, err

    def test_a_restart_is_told_with_what_was_lost(self):
        later = {**DROP, "monotonic_ns": 9000}
        answers = [Stream([begin(), DROP, {"lost": 3}], ends=True), Stream([begin(dropped_packets=30, lost_events=12, limited_events=6), later])]
        recorder, lines, err = self.follow(answers, "--last", "7")
        self.assertIn("policy_denied_ingress", lines[2])
        self.assertIn("waiting for it to come back", err)
        self.assertIn("4 had no room and 4 were withheld", err)
        self.assertEqual(recorder.requests[0]["args"]["last"], 7)
        self.assertNotIn("last", recorder.requests[1]["args"])
        self.assertEqual(recorder.requests[1]["args"]["after_ns"], 5000)  # behind the newest one that was shown

    def test_programs_are_told_in_json(self):
        answers = [Stream([begin(), DROP], ends=True), Stream([begin(lost_events=6), DROP])]
        _, lines, _ = self.follow(answers, "-o", "jsonl")
        found = [json.loads(line) for line in lines]
        self.assertEqual((found[0], found[2]), (DROP, DROP))
        self.assertEqual((found[1]["reconnected"]["lost"], found[1]["reconnected"]["limited"]), (1, 0))

    def test_counts_that_began_anew_are_not_taken_for_counts(self):
        answers = [Stream([begin(), DROP, DROP], ends=True), Stream([begin(dropped_packets=0, lost_events=0), DROP])]
        _, _, err = self.follow(answers)
        self.assertIn("not known", err)

    def test_what_a_masqueraded_packet_left_with_is_told(self):
        drop = {**DROP, "type": "kernel_drop", "reason": "kernel:QDISC_DROP", "place": "node", "masqueraded": {"ip": "192.0.2.1", "port": 20345}}
        self.serve(lambda operation, args: Stream([begin(), drop, {**drop, "masqueraded": None}], ends=True))
        lines = self.run_ctl("monitor", "--no-reconnect", "--kernel")[1].splitlines()
        self.assertEqual(["masqueraded as 192.0.2.1:20345" in line for line in lines], [True, False])

    def test_an_agent_that_refuses_is_not_asked_again(self):
        recorder = self.serve(lambda operation, args: Error(22, "filter: no"))
        code, out, err = self.run_ctl("monitor")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("filter: no", err)
        self.assertEqual(len(recorder.requests), 1)


class Alerts(Case):
    LINE = "2026-11-22T10:00:00.000001Z Critical scan: demo/cli was denied 20 addresses: look\\x1b[2J"

    def test_alerts_are_listed_with_what_they_told_and_lack(self):
        self.serve()
        lines = self.succeed("alert", "list").splitlines()
        self.assertEqual(lines[0].split(), ["ALERT", "KIND", "SEVERITY", "RAISED", "TOLD", "WORKLOADS"])
        self.assertEqual(lines[1].split(), ["scan", "scan", "Critical", "3", "2", "1"])
        self.assertIn(self.LINE, lines)
        self.assertTrue([line for line in lines if line.startswith("7 workloads")], lines)
        self.assertEqual(self.succeed("alert", "list", "-o", "name").splitlines(), ["alert/scan"])
        self.assertEqual(json.loads(self.succeed("alert", "list", "-o", "json")), ALERTS)

    def test_monitor_asks_for_alerts_alone_or_beside_others(self):
        for words, wanted in ((["--alerts"], (False, False, True)), (["--alerts", "--drops"], (True, False, True)),
                              ([], (True, True, None))):
            recorder = self.serve(lambda operation, args: Stream([begin(), ALERT], ends=True))
            out = self.run_ctl("monitor", "--no-reconnect", *words)[1]
            args = recorder.requests[0]["args"]
            self.assertEqual((args["drops"], args["flows"], args.get("alerts")), wanted)
            self.assertEqual(out.splitlines(), [self.LINE])
            recorder.close()

    def test_a_recording_needs_alerts_beside_it(self):
        code, _, err = self.run_ctl("alert", "test", "/dev/null")
        self.assertEqual(code, 2)
        self.assertIn("files with TrafficAlerts", err)
        code, _, err = self.run_ctl("alert", "test", "/nowhere", "/dev/null")
        self.assertEqual(code, 1)


class Tools(Case):
    POD = {"namespace": "demo", "name": "web", "state": "ready", "ips": ["10.244.0.6", "fd00::6"], "link": "pd1", "identity": 300,
           "ifname": "eth0", "container_id": "c1", "created": 5, "ingress": {"ruleset": 17, "isolated": True},
           "egress": {"ruleset": 0, "isolated": False}, "labels": {"app": "web\x1b"}, "mac": "0a:00:00:00:00:01", "mtu": 1500}
    SERVICE = {"namespace": "demo", "name": "front", "kind": "ClusterIP", "address": "10.96.0.9", "port": 80, "service_port": 80,
               "protocol": "TCP", "port_name": "http", "traffic_policy": "Cluster",
               "backends": [{"address": "10.244.0.6", "port": 8080, "state": "active"}]}
    KNOWN = {"pods": [POD], "services": [SERVICE, {**SERVICE, "kind": "NodePort", "address": "0.0.0.0", "port": 30080}], "drops": DROPS,
             "identities": [{"identity": 300, "namespace": "demo", "labels": {"app": "web", "tier": "front"}}],
             "rulesets": [{"ruleset": 17, "place": 16, "isolates": True, "ingress_pods": 1, "egress_pods": 0, "cells": 4,
                           "port_classes": 2, "has_prefixes": False, "has_ports": True}],
             "addresses": [{"prefix": "10.244.0.6/32", "identity": 300, "pod": "demo/web", "flags": ["pod", "local"], "node": None}]}

    def serve_known(self):
        return self.serve(lambda operation, args: self.KNOWN[operation])

    def test_tables_of_the_programs_are_lists(self):
        self.serve_known()
        for noun, parts, name in (("identity", ["300", "demo", "app=web,tier=front"], "identity/300"),
                                  ("ruleset", ["17", "yes", "1", "0", "4"], "ruleset/17"),
                                  ("address", ["10.244.0.6/32", "300", "demo/web", "pod,local"], "address/10.244.0.6/32"),
                                  ("backend", ["10.244.0.6:8080", "TCP", "active", "front"], "backend/TCP/10.244.0.6:8080"),
                                  ("ipam", ["10.244.0.6", "demo", "web", "c1"], "ip/10.244.0.6")):
            lines = self.succeed(noun, "list").splitlines()
            self.assertEqual(len(lines), 3 if noun == "ipam" else 2, lines)
            for part in parts:
                self.assertIn(part, lines[1].split(), noun)
            self.assertEqual(self.succeed(noun, "list", "-o", "name").splitlines()[0], name)

    def test_a_pod_is_shown_with_what_concerns_it(self):
        recorder = self.serve_known()
        out = self.succeed("pod", "show", "demo/web")
        for part in ["10.244.0.6,fd00::6", "isolated, rule set 17", "app=web\\x1b", "demo/front", "12 policy_denied_ingress"]:
            self.assertIn(part, out)
        self.assertEqual(next(one["args"] for one in recorder.requests if one["op"] == "drops"), {"filter": {"pod": "demo/web"}})
        document = json.loads(self.succeed("pod", "show", "demo/web", "-o", "json"))[0]
        self.assertEqual((document["pod"], document["services"]), (self.POD, ["demo/front"]))
        for name, part in (("demo/none", "no pod demo/none"), ("web", "NAMESPACE/NAME")):
            code, out, err = self.run_ctl("pod", "show", name)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(part, err)

    def test_a_service_is_shown_with_its_endpoints_pods(self):
        self.serve_known()
        out = self.succeed("service", "show", "demo/front")
        for part in ["ClusterIP TCP 10.96.0.9:80 (http)", "NodePort TCP 0.0.0.0:30080", "10.244.0.6:8080", "demo/web"]:
            self.assertIn(part, out)

    def test_versions_are_compared(self):
        own = subprocess.run([POLDERCTL, "--version"], capture_output=True, check=True, timeout=60).stdout.decode().split()[1]
        for version, wanted in ((own, 0), ("9.9.9", 3)):
            recorder = self.serve(lambda operation, args, version=version: {"version": version, "layout": 7})
            code, out, _ = self.run_ctl("version")
            self.assertEqual(code, wanted, out)
            self.assertEqual("different releases" in out, wanted == 3)
            self.assertIn("layout     7", out)
            recorder.close()
        self.assertEqual(self.run_ctl("version")[0], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
