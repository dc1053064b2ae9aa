#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""polderctl policy check on files: what it refuses and warns of, where, and how it ends.

usage: test_policy_check.py POLDERCTL [unittest options]
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

POLDERCTL = os.path.abspath(sys.argv.pop(1))
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

GOOD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: demo}
spec:
  podSelector: {}
"""
CLUSTER = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: NAME}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress:
  - {name: one, action: Accept, to: [{PEER}]}
"""


def policy(name, *spec):
    """A policy of YAML whose spec has these lines; the first of them is line 5."""
    return GOOD.replace("web", name).replace("  podSelector: {}\n", "".join(f"  {line}\n" for line in spec))


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="policy-check-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def run_check(self, *words, text=None):
        done = subprocess.run([POLDERCTL, "policy", "check", *words], input=text, capture_output=True, text=True, timeout=60,
                              check=False, env={"PATH": os.environ["PATH"], "POLDER_SOCKET": "/nowhere"})
        return done.returncode, done.stdout, done.stderr

    def check(self, *words, text=None):
        """Exit status and JSON document."""
        code, out, err = self.run_check("-o", "json", *words, text=text)
        self.assertEqual(err, "")
        return code, json.loads(out)

    def one_fault(self, text, severity):
        code, document = self.check("-", text=text)
        self.assertEqual(code, 1 if severity == "error" else 0, document)
        self.assertEqual(len(document["faults"]), 1, document)
        self.assertEqual(document["faults"][0]["severity"], severity, document)
        return document["faults"][0]


class Files(Case):
    def test_good_files_are_0_and_counted(self):
        self.assertEqual(self.run_check("-", text=GOOD),
                         (0, "1 file, 1 object good, 0 of other kinds skipped, 0 errors, 0 warnings\n", ""))
        examples = os.path.join(SOURCE, "deploy/examples")
        count = len([name for name in os.listdir(examples) if name.endswith(".json")])
        code, document = self.check(examples)
        self.assertEqual((code, document["good"], document["files"], document["faults"]), (0, True, count, []))
        self.assertGreater(document["objects"], 10)

    def test_a_directory_is_its_json_yaml_and_yml(self):
        for name in ["b.yaml", "a.json", "c.yml", ".hidden.yaml", "notes.txt", "d.yaml~"]:
            self.write(name, "{" if name in (".hidden.yaml", "notes.txt", "d.yaml~") else GOOD.replace("web", name[0])
                       if name != "a.json" else "[]")
        code, document = self.check(self.directory)
        self.assertEqual((code, document["files"], document["objects"]), (0, 3, 2))

    def test_what_cannot_be_read_is_2(self):
        self.assertEqual(self.run_check("/nowhere/x.yaml")[0], 2)
        self.assertIn("/nowhere/x.yaml: error: $ cannot be opened: No such file", self.run_check("/nowhere/x.yaml")[1])
        self.assertEqual(self.run_check()[0], 2)
        code, _, err = self.run_check(self.directory)
        self.assertEqual(code, 2)
        self.assertIn("has no file that ends in", err)
        # It wins over what is refused elsewhere, which is told all the same.
        code, out, _ = self.run_check("/nowhere/x.yaml", self.write("bad.json", "{"))
        self.assertEqual(code, 2)
        self.assertIn("bad.json:1:", out)

    def test_each_fault_tells_file_document_line_path_object_and_reason(self):
        path = self.write("two.yaml", GOOD + "---\n" + policy("bad", "podSelector: {}", "ingress:", "- from:", "  - podSelectr: {}"))
        code, out, _ = self.run_check(path)
        self.assertEqual(code, 1)
        self.assertEqual(out.splitlines()[0], f"{path}:14:7: error: document 2: NetworkPolicy demo/bad: "
                         "$.spec.ingress[0].from[0].podSelectr is an unknown field")
        fault = self.check(path)[1]["faults"][0]
        self.assertEqual((fault["file"], fault["document"], fault["line"], fault["column"], fault["object"], fault["path"]),
                         (path, 2, 14, 7, "NetworkPolicy demo/bad", "$.spec.ingress[0].from[0].podSelectr"))

    def test_every_bad_object_of_a_list_is_named(self):
        items = [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": f"p{i}"},
                  "spec": {"podSelector": 5 if i % 2 else {}}} for i in range(5)]
        for whole, prefix in [(items, "$"), ({"kind": "List", "apiVersion": "v1", "items": items}, "$.items")]:
            code, document = self.check("-", text=json.dumps(whole))
            self.assertEqual(code, 1)
            self.assertEqual([fault["path"] for fault in document["faults"]],
                             [f"{prefix}[1].spec.podSelector", f"{prefix}[3].spec.podSelector"])
            self.assertEqual(document["objects"], 3)

    def test_items_may_leave_their_kind_to_the_list(self):
        whole = {"kind": "NetworkPolicyList", "apiVersion": "networking.k8s.io/v1",
                 "items": [{"metadata": {"name": "a"}, "spec": {"podSelector": {}}}, {"metadata": {}, "spec": {}}]}
        code, document = self.check("-", text=json.dumps(whole))
        self.assertEqual((code, document["objects"]), (1, 1))
        self.assertEqual(document["faults"][0]["path"], "$.items[1].metadata.name")

    def test_json_and_yaml_have_the_same_errors(self):
        value = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x"},
                 "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 0}]}]}}
        as_json = self.check(self.write("x.json", json.dumps(value)))[1]["faults"][0]
        as_yaml = self.check(self.write("x.yaml", json.dumps(value, indent=1)))[1]["faults"][0]
        self.assertEqual((as_json["path"], as_json["reason"]), (as_yaml["path"], as_yaml["reason"]))
        self.assertIn("must be from 1 to 65535", as_json["reason"])

    def test_syntax_errors_have_lines(self):
        self.assertEqual(self.one_fault("{\n\"a\": 1,\n}", "error")["line"], 3)
        self.assertEqual(self.one_fault("a: 1\n b: 2\n", "error")["line"], 2)
        self.assertIn("a tab cannot indent", self.one_fault("a:\n\t- b\n", "error")["reason"])

    def test_quoted_numbers_stay_strings(self):
        self.assertIn("port", self.one_fault(policy("x", "podSelector: {}", "ingress:", "- ports:", '  - port: "80"'), "error")["path"])
        self.assertEqual(self.check("-", text=policy("x", "podSelector: {}", "ingress:", "- ports:", "  - port: 80"))[0], 0)
        self.assertIn("must be a string", self.one_fault(
            policy("x", "podSelector: {matchLabels: {on-call: yes}}"), "error")["reason"])

    def test_other_kinds_are_skipped_and_all_of_ours_are_checked(self):
        text = "---\n".join(["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
                             "apiVersion: apps/v1\nkind: Deployment\nspec: 5\n",
                             "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 70000}]}\n",
                             "apiVersion: v1\nkind: Pod\nmetadata: {name: [p]}\n",
                             "apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\n"])
        code, document = self.check("-", text=text)
        self.assertEqual((code, document["skipped"]), (1, 2))
        self.assertEqual([fault["path"] for fault in document["faults"]], ["$.spec.ports[0].port", "$.metadata.name", "$.apiVersion"])

    def test_control_characters_of_a_file_do_not_reach_the_terminal(self):
        out = self.run_check("-", text='{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "\\u001b[2J"}}')[1]
        self.assertNotIn("\x1b", out)


class Together(Case):
    def test_a_name_twice_in_one_file_is_refused(self):
        fault = self.one_fault(GOOD + "---\n" + GOOD, "error")
        self.assertEqual((fault["document"], fault["object"]), (2, "NetworkPolicy demo/web"))
        self.assertIn("is defined twice", fault["reason"])

    def test_a_name_in_two_files_is_a_warning(self):
        code, document = self.check(self.write("a.yaml", GOOD), self.write("b.yaml", GOOD))
        self.assertEqual((code, document["warnings"]), (0, 1))
        self.assertTrue(document["faults"][0]["file"].endswith("b.yaml"))
        self.assertIn("a.yaml", document["faults"][0]["reason"])

    def test_strict_makes_warnings_fail(self):
        paths = [self.write("a.yaml", GOOD), self.write("b.yaml", GOOD)]
        self.assertEqual(self.run_check("--strict", *paths)[0], 1)
        self.assertEqual(self.run_check("--strict", paths[0])[0], 0)
        self.assertFalse(self.check("--strict", *paths)[1]["good"])


class Warnings(Case):
    def warned(self, path, line, part, *spec):
        fault = self.one_fault(policy("x", *spec), "warning")
        self.assertEqual((fault["path"], fault["line"]), (path, line), fault)
        self.assertIn(part, fault["reason"])

    def test_a_section_of_an_unlisted_direction(self):
        self.warned("$.spec.egress", 7, "policyTypes does not list Egress",
                    "podSelector: {}", "policyTypes: [Ingress]", "egress:", "- {}")
        self.warned("$.spec.ingress", 7, "policyTypes does not list Ingress",
                    "podSelector: {}", "policyTypes: [Egress]", "ingress:", "- {}")

    def test_an_except_of_the_whole_block(self):
        self.warned("$.spec.ingress[0].from[0].ipBlock.except[1]", 8, "matches nothing", "podSelector: {}", "ingress:",
                    "- from:", "  - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.0.0.0/8]}")

    def test_a_block_with_host_bits(self):
        self.warned("$.spec.ingress[0].from[0].ipBlock.cidr", 8, "is read as 0.0.0.0/4", "podSelector: {}", "ingress:",
                    "- from:", "  - ipBlock: {cidr: 10.0.1.7/4}")

    def test_a_port_by_name_beside_a_block(self):
        lines = ["- DIRECTION:", "  - ipBlock: {cidr: 10.0.0.0/8}", "  ports: [{port: http}]"]
        self.warned("$.spec.egress[0].to[0].ipBlock", 8, "named port", "podSelector: {}", "egress:",
                    *[line.replace("DIRECTION", "to") for line in lines])
        # The subject's own ports have names, whoever calls.
        text = policy("x", "podSelector: {}", "ingress:", *[line.replace("DIRECTION", "from") for line in lines])
        self.assertEqual(self.check("-", text=text)[1]["faults"], [])

    def test_empty_lists_of_peers_and_ports(self):
        self.warned("$.spec.ingress[0].from", 7, "means all peers", "podSelector: {}", "ingress:", "- from: []")
        self.warned("$.spec.ingress[0].ports", 7, "all ports", "podSelector: {}", "ingress:", "- ports: []")

    def test_no_pod_selector(self):
        self.warned("$.spec", 4, "every pod", "policyTypes: [Ingress]")


if __name__ == "__main__":
    unittest.main(verbosity=2)
