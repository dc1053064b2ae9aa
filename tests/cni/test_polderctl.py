#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real polderctl against a recording control socket: what it asks, prints, and how it ends.

usage: test_polderctl.py POLDERCTL [unittest options]
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from recorder import Error, HANG, HANG_UP, Raw, Recorder, Stream  # noqa: E402

POLDERCTL = os.path.abspath(sys.argv.pop(1))
STATUS = {
    "version": "0.1.0", "node": "n1", "ready": True, "synced": True, "uptime_seconds": 3700, "generation": 7,
    "attach": "tcx", "xdp": [{"link": "eth0", "mode": "native"}], "socket_programs": True, "node_ips": ["192.0.2.1"],
    "pod_cidrs": ["10.244.0.0/24", "fd00::/64"],
    "pool": {"ipv4": {"used": 3, "size": 254}, "ipv6": {"used": 3, "size": 18446744073709551615.0}},
    "pods": {"total": 3, "ready": 2},
    "objects": {"pods": 9, "namespaces": 4, "nodes": 1, "services": 2, "endpointslices": 2, "networkpolicies": 5},
    "problems": [{"source": "bad\x1b.json", "path": "$.items[3].spec", "reason": "unknown field"}],
    "features": [{"name": "tcx", "available": True, "note": ""}, {"name": "netkit", "available": False, "note": "kernel"}],
    "policy": {"identities": 4, "rulesets": 2, "over_capacity": [{"pod": "demo/big", "reason": "70000 entries"}]},
}
POD = {"namespace": "demo", "name": "web\x1b[2J", "uid": "u", "container_id": "c1", "ifname": "eth0", "link": "pd1",
       "ifindex": 7, "ips": ["10.244.0.5", "fd00::5"], "mac": "0a:58:0a:f4:00:05", "identity": 12,
       "ingress": {"ruleset": 3, "isolated": True}, "egress": {"ruleset": 0, "isolated": False}, "state": "ready",
       "labels": {"app": "web"}}
SERVICE = {"namespace": "demo", "name": "web", "address": "10.96.0.9", "port": 80, "protocol": "TCP", "port_name": "http",
           "backends": [{"address": "10.244.0.5", "port": 8080, "state": "active"},
                        {"address": "fd00::5", "port": 8080, "state": "terminating"}]}
POLICY = {"namespace": "demo", "name": "deny", "types": ["Ingress", "Egress"], "selected_pods": 2, "rules": 0}
FLOW = {"family": "ipv4", "proto": "tcp", "zone": 1, "source": "10.244.0.5", "source_port": 40000,
        "destination": "10.96.0.9", "destination_port": 80, "new_source": "", "new_source_port": 0,
        "new_destination": "10.244.0.6", "new_destination_port": 8080, "action": "peer", "state": ["established"],
        "reply": False, "generation": 7, "current": True, "idle_seconds": 61, "packets": 10, "bytes": 1000}
MAP = {"name": "flows_v4", "type": "array", "entries": 512, "max_entries": 1024, "key_bytes": 4, "value_bytes": 64,
       "memory_bytes": 1572864}
DROP = {"time": "2026-11-22T10:00:00.000001Z", "type": "drop", "verdict": "drop", "reason": "policy_denied_ingress",
        "direction": "egress", "family": "ipv4", "proto": "tcp",
        "source": {"ip": "10.244.0.5", "port": 40000, "pod": "demo/cli\n", "identity": 4},
        "destination": {"ip": "10.244.0.6", "port": 80, "pod": "", "identity": 9}, "backend": None, "link": "pd1",
        "length": 60, "egress_policy": None, "ingress_policy": {"policy": "demo/deny", "rule": 0}}
ANSWERS = {"status": STATUS, "pods": [POD], "services": [SERVICE], "policies": [POLICY], "flows": [FLOW], "maps": [MAP],
           "metrics": {"text": "# HELP polder_x y\npolder_x 1\n"}, "log.level": {}}
LISTS = {"pod": "pods", "service": "services", "policy": "policies", "flow": "flows", "map": "maps"}


def good(operation, args):
    return ANSWERS.get(operation, Error(2, "unknown operation"))


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="polderctl-")
        self.addCleanup(directory.cleanup)
        self.socket = directory.name + "/polder.sock"

    def serve(self, answer=good):
        recorder = Recorder(self.socket, answer)
        self.addCleanup(recorder.close)
        return recorder

    def run_ctl(self, *words, **more):
        environment = {"PATH": os.environ["PATH"], "POLDER_SOCKET": self.socket}
        done = subprocess.run([POLDERCTL, *words], env=environment, capture_output=True, timeout=90, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def succeed(self, *words):
        code, out, err = self.run_ctl(*words)
        self.assertEqual(code, 0, err)
        return out


class Lists(Case):
    def test_tables_have_a_header_and_a_line_for_each(self):
        self.serve()
        for noun in LISTS:
            lines = self.succeed(noun, "list").splitlines()
            self.assertEqual(len(lines), 2, lines)
            self.assertEqual(lines[0], lines[0].upper())
            self.assertEqual(lines[0], lines[0].rstrip())

    def test_json_is_what_the_agent_says(self):
        recorder = self.serve()
        for noun, operation in LISTS.items():
            self.assertEqual(json.loads(self.succeed(noun, "list", "-o", "json")), ANSWERS[operation])
        self.assertEqual(recorder.operations(), list(LISTS.values()))

    def test_nothing_found_is_said_on_stderr(self):
        self.serve(lambda operation, args: [])
        for noun in LISTS:
            self.assertEqual(self.run_ctl(noun, "list"), (0, "", "No resources found\n"))
            self.assertEqual(self.run_ctl(noun, "list", "-o", "json"), (0, "[]\n", ""))

    def test_outside_strings_are_escaped(self):
        self.serve()
        out = self.succeed("pod", "list")
        self.assertIn("web\\x1b[2J", out)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("\x1b", self.succeed("status"))
        self.assertNotIn("\x1b", self.succeed("pod", "list", "-o", "json"))

    def test_what_people_look_for_is_in_the_tables(self):
        self.serve()
        self.assertIn("10.244.0.5,fd00::5", self.succeed("pod", "list"))
        self.assertIn("isolated #3", self.succeed("pod", "list"))
        self.assertIn("10.244.0.5:8080,[fd00::5]:8080 (terminating)", self.succeed("service", "list"))
        self.assertIn("Ingress,Egress", self.succeed("policy", "list"))
        self.assertIn("-> 10.244.0.6:8080", self.succeed("flow", "list"))
        self.assertIn("50.0%", self.succeed("map", "list"))
        self.assertIn("1.5 MiB", self.succeed("map", "list"))

    def test_documents_of_another_release_do_no_harm(self):
        for odd in [[{}], [5], [None], [{"ips": 5, "ingress": [], "backends": "x", "state": {}}]]:
            recorder = Recorder(self.socket, lambda operation, args, odd=odd: odd)
            for noun in LISTS:
                self.succeed(noun, "list")
            recorder.close()
        self.serve(lambda operation, args: {})
        self.succeed("status")
        for noun in LISTS:
            code, out, err = self.run_ctl(noun, "list")
            self.assertEqual((code, out), (1, ""))
            self.assertIn("release", err)

    def test_the_limit_is_passed_on_and_reaching_it_is_told(self):
        recorder = self.serve()
        code, _, err = self.run_ctl("flow", "list", "--limit", "1")
        self.assertEqual(code, 0)
        self.assertIn("--limit", err)
        self.assertEqual(self.run_ctl("flow", "list", "--limit=0")[2], "")
        self.succeed("flow", "list")
        self.assertEqual([request["args"]["limit"] for request in recorder.requests], [1, 0, 1000])
        for bad in ["", "-1", "x", "1x", "99999999999999999999"]:
            self.assertEqual(self.run_ctl("flow", "list", "--limit", bad)[0], 2)

    def test_a_hundred_thousand_flows_are_shown(self):
        self.serve(lambda operation, args: [FLOW] * 100000)
        self.assertEqual(self.succeed("flow", "list", "--limit", "0").count("\n"), 100001)


class Status(Case):
    def test_the_table_tells_what_matters(self):
        self.serve()
        out = self.succeed("status")
        for part in ["n1", "0.1.0", "1h1m", "tcx", "eth0 (native)", "10.244.0.0/24", "3 of 254", "$.items[3].spec",
                     "unknown field", "netkit", "demo/big", "4 identities, 2 rule sets"]:
            self.assertIn(part, out)

    def test_wait_ends_when_the_agent_becomes_ready(self):
        answers = [{**STATUS, "ready": False, "synced": False}] * 3 + [STATUS]
        recorder = self.serve(lambda operation, args: answers.pop(0))
        self.assertTrue(json.loads(self.succeed("status", "--wait=20", "-o", "json"))["ready"])
        self.assertEqual(len(recorder.requests), 4)

    def test_wait_ends_when_the_agent_appears(self):
        timer = threading.Timer(0.5, self.serve)
        timer.start()
        self.succeed("status", "--wait")
        timer.join()

    def test_wait_gives_up_and_says_why(self):
        self.serve(lambda operation, args: {**STATUS, "ready": False, "synced": False})
        started = time.monotonic()
        code, out, err = self.run_ctl("status", "--wait=1")
        self.assertEqual(code, 1)
        self.assertIn("Ready         no", out)
        self.assertIn("have not all been read", err)
        self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(self.run_ctl("status")[0], 0)
        self.assertEqual(self.run_ctl("status", "--wait=0")[0], 1)
        self.assertEqual(self.run_ctl("status", "--wait=x")[0], 2)

    def test_wait_is_not_held_up_by_a_silent_agent(self):
        self.serve(lambda operation, args: HANG)
        started = time.monotonic()
        self.assertEqual(self.run_ctl("status", "--wait=2")[0], 1)
        self.assertLess(time.monotonic() - started, 15)


class Errors(Case):
    def test_an_agent_that_is_away_is_named_with_what_to_do(self):
        for words in [["status"], ["pod", "list"], ["monitor"], ["metrics"]]:
            code, out, err = self.run_ctl(*words)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(f"polderd is not listening at {self.socket}", err)
            self.assertIn("systemctl status polderd", err)

    def test_a_refusal_is_passed_on(self):
        self.serve(lambda operation, args: Error(2, "unknown operation \x1b", "x"))
        for words in [["pod", "list"], ["monitor"]]:
            code, out, err = self.run_ctl(*words)
            self.assertEqual((code, out), (1, ""))
            self.assertIn("unknown operation \\x1b", err)

    def test_hanging_up_and_nonsense_are_told_apart(self):
        for answer, part in [(HANG_UP, "closed the connection"), (Raw(b"SSH-2.0\n"), "cannot be understood"), (Raw(b'{"version":9}\n'), "cannot be understood")]:
            recorder = Recorder(self.socket, lambda operation, args, answer=answer: answer)
            code, _, err = self.run_ctl("status")
            self.assertEqual(code, 1)
            self.assertIn(part, err)
            recorder.close()

    def test_wrong_usage_is_2(self):
        for words in [[], ["pods"], ["pod"], ["pod", "list", "x"], ["-o", "xml", "status"], ["status", "--drops"], ["--bad"],
                      ["log", "level", "loud"], ["completion"]]:
            code, out, err = self.run_ctl(*words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertIn("--help" if "xml" not in words and "loud" not in words else "expected one of", err)

    def test_help_and_version(self):
        self.assertIn("polderctl pod list", self.succeed("--help"))
        self.assertIn("--drops", self.succeed("monitor", "--help"))
        self.assertNotIn("pod list", self.succeed("monitor", "-h"))
        self.assertTrue(self.succeed("--version").startswith("polderctl "))

    def test_a_full_disk_is_a_failure(self):
        self.serve()
        with open("/dev/full", "wb") as full:
            done = subprocess.run([POLDERCTL, "--socket", self.socket, "status"], stdout=full, stderr=subprocess.PIPE,
                                  timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_a_reader_that_had_enough_is_no_story(self):
        self.serve(lambda operation, args: [FLOW] * 100000)
        done = subprocess.run(["sh", "-c", '"$0" --socket "$1" flow list --limit 0 | head -n 1', POLDERCTL, self.socket],
                              capture_output=True, timeout=60)
        self.assertEqual((done.stdout.count(b"\n"), done.stderr), (1, b""))

    def test_a_closed_standard_output_never_becomes_the_socket(self):
        recorder = self.serve()
        done = subprocess.run(["sh", "-c", 'exec "$0" --socket "$1" pod list >&-', POLDERCTL, self.socket],
                              stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)
        self.assertEqual(recorder.operations(), ["pods"])


class Monitor(Case):
    def test_events_are_lines(self):
        self.serve(lambda operation, args: Stream([DROP, {"lost": 3}], ends=True))
        code, out, err = self.run_ctl("monitor", "--no-reconnect")
        self.assertEqual(code, 1)
        self.assertIn("closed the connection", err)
        lines = out.splitlines()
        self.assertEqual(len(lines), 2)
        for part in ["2026-11-22T10:00:00.000001Z", "policy_denied_ingress", "demo/cli\\x0a 10.244.0.5:40000 -> 10.244.0.6:80",
                     "identity 9", "ingress demo/deny rule 0", "link pd1"]:
            self.assertIn(part, lines[0])
        self.assertIn("lost 3", lines[1])

    def test_json_is_one_object_a_line(self):
        self.serve(lambda operation, args: Stream([DROP, {"lost": 3}], ends=True))
        out = self.run_ctl("monitor", "--no-reconnect", "-o", "json")[1]
        self.assertEqual([json.loads(line) for line in out.splitlines()], [DROP, {"lost": 3}])

    def test_the_choice_is_passed_on(self):
        recorder = self.serve(lambda operation, args: HANG_UP)
        for words in [[], ["--drops"], ["--flows"], ["--drops", "--flows"]]:
            self.run_ctl("monitor", *words)
        self.assertEqual([(request["args"]["drops"], request["args"]["flows"]) for request in recorder.requests],
                         [(True, True), (True, False), (False, True), (True, True)])

    def test_each_line_comes_at_once_and_the_end_of_the_reader_ends_it(self):
        self.serve(lambda operation, args: Stream([DROP]))
        process = subprocess.Popen([POLDERCTL, "--socket", self.socket, "monitor", "-o", "json"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.assertEqual(json.loads(process.stdout.readline()), DROP)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=30), 1)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()


class Rest(Case):
    def test_metrics_are_text(self):
        self.serve()
        self.assertEqual(self.succeed("metrics"), ANSWERS["metrics"]["text"])
        self.assertEqual(json.loads(self.succeed("metrics", "-o", "json")), ANSWERS["metrics"])

    def test_the_log_level_is_set_in_silence(self):
        recorder = self.serve()
        self.assertEqual(self.succeed("log", "level", "debug"), "")
        self.assertEqual(recorder.requests[0]["args"], {"level": "debug"})

    def complete(self, *words):
        script = f"""source <("{POLDERCTL}" completion bash)
COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _polderctl; echo "${{COMPREPLY[*]}}" """
        environment = {"PATH": os.path.dirname(POLDERCTL) + ":" + os.environ["PATH"], "POLDER_SOCKET": self.socket}
        return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True, timeout=60).stdout.decode().split()

    def test_bash_completes_words_options_and_values(self):
        self.assertEqual(self.complete("polderctl", "po"), ["pod", "policy"])
        self.assertEqual(self.complete("polderctl", "pod", ""), ["list", "show"])
        self.assertEqual(self.complete("polderctl", "-o", "j"), ["json", "jsonl"])
        self.assertEqual(self.complete("polderctl", "-o", "json", "log", "level", "w"), ["warning"])
        self.assertEqual(self.complete("polderctl", "monitor", "--d"), ["--drops"])
        self.assertEqual(self.complete("polderctl", "pod", "list", "--d"), [])

    def test_bash_completes_names_of_pods_policies_and_services(self):
        pods = [{"namespace": "demo", "name": "web"}, {"namespace": "demo", "name": "cli"}, {"namespace": "demo", "name": "$(touch x)"}]
        answers = {"pods": pods, "policies": [{"namespace": "demo", "name": "deny"}, {"namespace": "", "name": "all"}],
                   "services": [{"namespace": "demo", "name": "front"}]}
        recorder = Recorder(self.socket, lambda operation, args: answers[operation])
        self.addCleanup(recorder.close)
        for words, wanted in ((["monitor", "--pod", ""], ["demo/cli", "demo/web"]), (["pod", "show", "demo/w"], ["demo/web"]),
                              (["monitor", "--policy", "d"], ["demo/deny"]), (["policy", "show", ""], ["all", "demo/deny"]),
                              (["explain", "--to", ""], ["demo/cli", "demo/front", "demo/web"]), (["service", "show", ""], ["demo/front"])):
            self.assertEqual(self.complete("polderctl", *words), wanted, words)

    def offered(self, *words):
        """What kubectl's completion is told: the candidates, and what the shell does without one (4: nothing, 0: files)."""
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "kubectl_complete-polder")
            os.symlink(os.path.abspath(POLDERCTL), program)
            lines = subprocess.run([program, *words], capture_output=True, check=True, timeout=60).stdout.decode().splitlines()
        return lines[:-1], lines[-1]

    def test_kubectl_is_told_what_may_follow(self):
        self.assertEqual(self.offered("po"), (["pod", "policy"], ":4"))
        self.assertEqual(self.offered("pod", ""), (["list", "show"], ":4"))
        self.assertEqual(self.offered("-o", "j"), (["json", "jsonl"], ":4"))
        self.assertEqual(self.offered("-o", "json", "log", "level", "w"), (["warning"], ":4"))
        self.assertEqual(self.offered("monitor", "--d"), (["--drops"], ":4"))
        self.assertEqual(self.offered("pod", "list", "--d"), ([], ":4"))
        self.assertEqual(self.offered("status", "--no"), (["--node"], ":4"))
        self.assertEqual(self.offered("pod", "list", ""), ([], ":4"))
        self.assertEqual(self.offered("nothing", ""), ([], ":4"))
        for words in (["policy", "check", ""], ["policy", "check", "a.yaml", ""], ["--kubeconfig", ""], ["explain", "--with", ""]):
            self.assertEqual(self.offered(*words), ([], ":0"), words)
        whole, _ = self.offered("")
        self.assertIn("status", whole)
        self.assertEqual(len(whole), len(set(whole)))
        self.assertEqual(self.offered(), (whole, ":4"))

    def test_scripts_are_sound(self):
        for noun in ["pod", "policy", "service"]:
            self.assertIn(f"(__polderctl_names {noun})", self.succeed("completion", "fish"))
        for shell in ["bash", "zsh", "fish"]:
            if not shutil.which(shell):
                continue
            subprocess.run([shell, "-n"], input=self.succeed("completion", shell).encode(), check=True, timeout=60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
