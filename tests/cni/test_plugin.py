#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real polder-cni against a recording control socket: what it prints, sends, notes and refuses.

usage: test_plugin.py POLDER_CNI [unittest options]; root is needed for the network namespace.
"""
import fcntl
import json
import os
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plugin_case import PluginCase, main  # noqa: E402
from recorder import Error, HANG, HANG_UP, Raw, Recorder  # noqa: E402

PLUGIN = os.path.abspath(sys.argv.pop(1))
VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
MAC = "0a:58:0a:f4:00:05"
ANSWER = {
    "interfaces": [
        {"name": "pd0a1b2c", "mac": "02:70:6f:6c:64:72", "mtu": 1500},
        {"name": "eth0", "mac": MAC, "mtu": 1500, "sandbox": "/run/netns/x"},
    ],
    "ips": [
        {"address": "10.244.0.5/32", "gateway": "169.254.1.1", "interface": 1},
        {"address": "fd00::5/128", "gateway": "fe80::1", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1", "mtu": 1450}, {"dst": "::/0"}],
    "dns": {},
}
PREVIOUS = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"}, {"name": "v1"}, {"name": "net0", "sandbox": "/x"}],
    "ips": [{"address": "192.168.9.2/24", "interface": 2}],
    "routes": [{"dst": "192.168.0.0/16"}],
    "dns": {"nameservers": ["192.168.9.1"]},
}


class Case(PluginCase):
    def good(self, operation, args):
        return ANSWER if operation == "cni.add" else {}

    def config(self, version="1.0.0", **more):
        return {"cniVersion": version, "name": "polder", "type": "polder-cni", "socket": self.socket,
                "timeout": 1, **more}

    def run_plugin(self, command, config=None, text=None, **variables):
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0",
                       "CNI_PATH": "/opt/cni/bin", **variables}
        text = json.dumps(self.config() if config is None else config) if text is None else text
        return self.run_program(text=text, **environment)

    def succeed(self, command, config=None, **variables):
        code, out = self.run_plugin(command, config, **variables)
        self.assertEqual(code, 0, out + self.stderr)
        return json.loads(out) if out else None

    def fail_with(self, expected, command, config=None, **variables):
        code, out = self.run_plugin(command, config, **variables)
        self.assertEqual(code, 1, out)
        error = json.loads(out)
        self.assertEqual(error["code"], expected, out)
        self.assertIn(error["cniVersion"], VERSIONS)
        self.assertTrue(error["msg"])
        self.assertNotIn("Traceback", self.stderr)
        return error


class CN01Output(Case):
    def test_success_prints_only_the_result(self):
        self.serve()
        code, out = self.run_plugin("ADD")
        self.assertEqual(code, 0, self.stderr)
        self.assertEqual(out.count("\n"), 1)
        self.assertEqual(json.loads(out)["cniVersion"], "1.0.0")
        for command in ["DEL", "STATUS", "GC"]:
            self.assertEqual(self.run_plugin(command), (0, ""))

    def test_failure_prints_the_error_object_and_diagnostics_go_to_stderr(self):
        error = self.fail_with(11, "ADD")
        self.assertEqual(error["cniVersion"], "1.0.0")
        self.assertIn(self.socket, error["msg"])
        self.assertIn("systemctl status polderd", error["details"])
        self.assertIn("polder-cni: error 11", self.stderr)

    def test_every_version_gets_its_own_form(self):
        self.serve()
        for version in VERSIONS:
            result = self.succeed("ADD", self.config(version))
            self.assertEqual(result["cniVersion"], version)
            old = version in ("0.3.0", "0.3.1", "0.4.0")
            self.assertEqual([ip.get("version") for ip in result["ips"]], ["4", "6"] if old else [None, None])
            self.assertEqual("mtu" in result["interfaces"][1], version == "1.1.0")
            self.assertEqual("mtu" in result["routes"][0], version == "1.1.0")
            for ip in result["ips"]:
                self.assertEqual(result["interfaces"][ip["interface"]]["mac"], MAC)

    def test_version_answers_dummy_environments(self):
        result = self.succeed("VERSION", {"cniVersion": "0.4.0"}, CNI_NETNS="dummy", CNI_IFNAME="dummy",
                              CNI_PATH="dummy", CNI_CONTAINERID="")
        self.assertEqual(result, {"cniVersion": "0.4.0", "supportedVersions": VERSIONS})
        self.assertEqual(self.succeed("VERSION", {"cniVersion": "9.9.9"})["cniVersion"], "9.9.9")

    def test_the_namespace_goes_along_as_a_descriptor(self):
        recorder = self.serve()
        self.succeed("ADD", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=demo")
        self.assertEqual(recorder.inodes, [os.stat(self.netns).st_ino])
        args = recorder.requests[0]["args"]
        self.assertEqual((args["container_id"], args["ifname"], args["netns"]), ("c1", "eth0", self.netns))
        self.assertEqual(args["cni_args"], {"IgnoreUnknown": "1", "K8S_POD_NAME": "web", "K8S_POD_NAMESPACE": "demo"})
        self.assertEqual(args["config"]["name"], "polder")
        self.assertEqual(recorder.requests[0]["version"], 1)

    def test_an_answer_that_makes_no_sense_is_taken_back(self):
        recorder = self.serve(lambda operation, args: {"ips": 5} if operation == "cni.add" else {})
        self.fail_with(6, "ADD")
        self.assertEqual(recorder.operations(), ["cni.add", "cni.del"])

    def test_a_result_that_nobody_reads_is_taken_back(self):
        recorder = self.serve()
        reader, writer = os.pipe()
        os.close(reader)
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0"}
        done = subprocess.run([PLUGIN], input=json.dumps(self.config()).encode(), env=environment, stdout=writer,
                              stderr=subprocess.DEVNULL, timeout=60)
        os.close(writer)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(recorder.operations(), ["cni.add", "cni.del"])

    def test_long_and_odd_messages_stay_valid_json(self):
        self.serve(lambda operation, args: Error(5, "é" * 2000, "\x01" * 3))
        self.fail_with(5, "ADD")


    def test_a_closed_standard_output_never_becomes_the_socket(self):
        recorder = self.serve()
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0",
                       "PATH": os.environ["PATH"]}
        done = subprocess.run(["sh", "-c", 'exec "$0" >&-', PLUGIN], input=json.dumps(self.config()).encode(),
                              env=environment, stderr=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(recorder.operations(), ["cni.add", "cni.del"])

    def test_a_machine_without_dev_null_is_served(self):
        self.serve()
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0",
                       "PATH": os.environ["PATH"]}
        for streams, served in (("", True), ("<&-", False)):
            done = subprocess.run(["unshare", "-m", "sh", "-c", f'mount -t tmpfs none /dev && exec "$0" {streams}', PLUGIN],
                                  input=json.dumps(self.config()).encode(), env=environment, capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 0 if served else 1, done.stderr)
            if not served:
                self.assertIn(b"/dev/null cannot be opened", done.stderr)

    def test_streams_that_never_block_are_waited_for(self):
        """A pipe's other end may have made it so."""
        self.serve()
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0"}
        ins, outs = os.pipe(), os.pipe()
        for end in (ins[0], outs[1]):
            os.set_blocking(end, False)
        os.write(outs[1], b" " * fcntl.fcntl(outs[1], fcntl.F_GETPIPE_SZ))
        process = subprocess.Popen([PLUGIN], stdin=ins[0], stdout=outs[1], stderr=subprocess.PIPE, env=environment)
        for end in (ins[0], outs[1]):
            os.close(end)
        time.sleep(0.1)
        os.write(ins[1], json.dumps(self.config()).encode())
        os.close(ins[1])
        time.sleep(0.1)
        with os.fdopen(outs[0], "rb") as out:
            result = json.loads(out.read())
        self.assertEqual(process.wait(60), 0, process.stderr.read())
        process.stderr.close()
        self.assertEqual(result["cniVersion"], "1.0.0")

    def test_a_result_that_cannot_be_written_says_why(self):
        self.serve()
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0"}
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PLUGIN], input=json.dumps(self.config()).encode(), env=environment, stdout=full,
                                  stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left on device", done.stderr)

    def test_people_get_help(self):
        done = subprocess.run([PLUGIN, "--help"], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"polder-cni(8)", done.stdout)


class CN02Codes(Case):
    def test_unsupported_versions_are_code_1_and_name_the_supported_ones(self):
        for version in ["0.1.0", "0.2.0", "1.2.0", "2.0.0", "nonsense", ""]:
            error = self.fail_with(1, "ADD", self.config(version))
            for supported in VERSIONS:
                self.assertIn(supported, error["msg"])
        config = self.config()
        del config["cniVersion"]
        self.fail_with(1, "ADD", config)

    def test_what_is_no_json_object_is_code_6(self):
        for text in ["", "{", "[]", "null", "\"x\"", '{"cniVersion":"1.0.0"', '{"a":1}{}', b"\xff\xfe", '{"a":"\\u0000"}',
                     "[" * 100000, '{"cniVersion":5,"name":"x"}']:
            self.fail_with(6, "ADD", text=text)

    def test_duplicate_keys_are_code_6(self):
        self.fail_with(6, "ADD", text='{"cniVersion":"1.0.0","name":"a","name":"b"}')

    def test_a_configuration_too_large_is_code_6(self):
        self.fail_with(6, "ADD", text=json.dumps(self.config(padding="x" * (5 << 20))))

    def test_invalid_configurations_are_code_7(self):
        for key, value in [("name", None), ("name", ""), ("name", "../x"), ("name", "a b"), ("name", 5),
                           ("type", "a/b"), ("type", 5), ("socket", "relative"), ("socket", 5), ("socket", "/" + "x" * 200),
                           ("timeout", 0), ("timeout", "1"), ("timeout", 100000), ("prevResult", []), ("prevResult", "x"),
                           ("prevResult", {"ips": 5}), ("prevResult", {"interfaces": [5]}), ("runtimeConfig", []),
                           ("runtimeConfig", {"ips": "10.0.0.1"}), ("runtimeConfig", {"ips": ["10.0.0.256"]}),
                           ("runtimeConfig", {"ips": ["10.0.0.1/33"]}), ("runtimeConfig", {"ips": [5]}),
                           ("runtimeConfig", {"mac": "xx"}), ("runtimeConfig", {"mac": "01:00:00:00:00:00"}),
                           ("runtimeConfig", {"portMappings": 5}), ("runtimeConfig", {"portMappings": [5]}),
                           ("runtimeConfig", {"portMappings": [{"hostPort": 0, "containerPort": 80}]}),
                           ("runtimeConfig", {"portMappings": [{"hostPort": "80-90", "containerPort": 80}]}),
                           ("runtimeConfig", {"portMappings": [{"hostPort": 80, "containerPort": 65536}]}),
                           ("runtimeConfig", {"PortMappings": [{"HostPort": 80, "ContainerPort": 8, "Protocol": "icmp"}]}),
                           ("runtimeConfig", {"portMappings": [{"hostPort": 80, "containerPort": 8, "hostIP": "x"}]}),
                           ("runtimeConfig", {"bandwidth": 5}), ("runtimeConfig", {"Bandwidth": {"IngressRate": "1M"}}),
                           ("runtimeConfig", {"bandwidth": {"egressRate": 1000}}), ("runtimeConfig", {"bandwidth": {"egressRate": -1}}),
                           ("args", {"labels": {"a": "b"}}), ("args", {"labels": [{"key": "a"}]}),
                           ("args", {"cni": {"labels": [{"key": "", "value": "b"}]}})]:
            with self.subTest(key=key, value=value):
                error = self.fail_with(7, "ADD", self.config(**{key: value}))
                self.assertIn(key, error["msg"])

    def test_published_ports_reach_the_agent_in_either_spelling(self):
        mapping = {"HostPort": 80, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": ""}
        for key in ["portMappings", "PortMappings"]:
            recorder = Recorder(self.socket, self.good)
            self.succeed("ADD", self.config(capabilities={"portMappings": True}, runtimeConfig={key: [mapping]}))
            self.assertEqual(recorder.requests[0]["args"]["config"]["runtimeConfig"]["portMappings"], [mapping])
            recorder.close()

    def test_empty_capabilities_ask_for_nothing(self):
        self.serve()
        self.succeed("ADD", self.config(capabilities={"ips": True}, aliases={"net": ["a"]}, runtimeConfig={
            "portMappings": [], "bandwidth": {"ingressRate": 0}, "ips": [], "mac": "", "dns": {"Servers": None}}))

    def test_the_agents_codes_are_passed_on(self):
        for code in [2, 3, 5, 7, 11, 100]:
            recorder = Recorder(self.socket, lambda operation, args, code=code: Error(code, "why", "more"))
            error = self.fail_with(code, "ADD")
            self.assertEqual((error["msg"], error["details"]), ("why", "more"))
            self.assertEqual(recorder.operations(), ["cni.add"])
            recorder.close()

    def test_an_agent_that_is_away_is_code_11_and_50_for_status(self):
        self.fail_with(11, "ADD")
        self.fail_with(11, "CHECK", self.config(prevResult=ANSWER))
        self.fail_with(11, "GC", self.config(**{"cni.dev/valid-attachments": []}))
        self.fail_with(50, "STATUS", CNI_CONTAINERID="", CNI_NETNS="", CNI_IFNAME="")

    def test_status_passes_on_what_the_agent_says(self):
        self.serve(lambda operation, args: Error(51, "no address left"))
        self.fail_with(51, "STATUS")

    def test_a_silent_agent_is_code_11_and_the_add_is_noted_for_deletion(self):
        for silence in [HANG, HANG_UP]:
            recorder = Recorder(self.socket, lambda operation, args, silence=silence: silence)
            self.fail_with(11, "ADD")
            self.assertEqual(self.noted(), ["c1:eth0.json"])
            recorder.close()
            os.unlink(self.notes + "/c1:eth0.json")

    def test_an_answer_of_another_protocol_is_code_6(self):
        for data in [b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"version":2,"ok":true,"result":{}}\n', b"[]\n",
                     b'{"version":1,"ok":true}\n', b'{"version":1,"ok":false,"error":5}\n']:
            recorder = Recorder(self.socket, lambda operation, args, data=data: Raw(data))
            self.fail_with(6, "CHECK", self.config(prevResult=ANSWER))
            recorder.close()

    def test_check_needs_the_previous_result(self):
        self.serve()
        self.fail_with(7, "CHECK")
        self.assertIsNone(self.succeed("CHECK", self.config(prevResult=ANSWER)))


class CN05Del(Case):
    def test_del_while_the_agent_is_down_succeeds_and_leaves_a_note(self):
        self.assertEqual(self.run_plugin("DEL", CNI_NETNS=""), (0, ""))
        self.assertEqual(self.noted(), ["c1:eth0.json"])
        with open(self.notes + "/c1:eth0.json", encoding="ascii") as file:
            self.assertEqual(json.load(file), {"version": 1, "container_id": "c1", "ifname": "eth0"})
        self.assertEqual(stat.S_IMODE(os.stat(self.notes).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.notes + "/c1:eth0.json").st_mode), 0o600)
        self.assertEqual(self.run_plugin("DEL", CNI_NETNS=""), (0, ""))
        self.assertEqual(self.noted(), ["c1:eth0.json"])

    def test_names_that_look_alike_have_notes_of_their_own(self):
        self.succeed("DEL", CNI_CONTAINERID="a-b", CNI_IFNAME="c")
        self.succeed("DEL", CNI_CONTAINERID="a", CNI_IFNAME="b-c")
        self.assertEqual(len(self.noted()), 2)

    def test_a_retryable_refusal_and_silence_leave_a_note_too(self):
        for answer in [Error(11, "starting"), HANG, HANG_UP]:
            recorder = Recorder(self.socket, lambda operation, args, answer=answer: answer)
            self.assertIsNone(self.succeed("DEL"))
            self.assertEqual(self.noted(), ["c1:eth0.json"])
            recorder.close()
            os.unlink(self.notes + "/c1:eth0.json")

    def test_a_lasting_refusal_is_passed_on(self):
        self.serve(lambda operation, args: Error(5, "disk full"))
        self.fail_with(5, "DEL")
        self.assertEqual(self.noted(), [])

    def test_del_of_what_is_not_there_succeeds(self):
        recorder = self.serve(lambda operation, args: Error(3, "unknown"))
        for netns in ["", "/run/netns/gone", "/proc/999999999/ns/net"]:
            self.assertIsNone(self.succeed("DEL", CNI_NETNS=netns))
        self.assertIsNone(self.succeed("DEL", self.config(prevResult=None)))
        self.assertEqual(recorder.operations(), ["cni.del"] * 4)
        self.assertEqual(recorder.inodes, [])

    def test_del_on_a_node_that_never_had_an_agent_succeeds(self):
        config = self.config()
        config["socket"] = self.directory + "/absent/polder.sock"
        self.assertIsNone(self.succeed("DEL", config))
        self.assertFalse(os.path.exists(self.directory + "/absent"))

    def test_a_deletion_that_cannot_be_noted_is_to_be_tried_again(self):
        os.mkdir(self.notes)
        os.chmod(self.notes, 0o777)
        self.fail_with(11, "DEL")
        os.rmdir(self.notes)
        os.symlink("/tmp", self.notes)
        self.fail_with(11, "DEL")

    def test_a_later_add_finishes_the_noted_deletion_first(self):
        self.succeed("DEL")
        self.assertEqual(self.noted(), ["c1:eth0.json"])
        recorder = self.serve()
        self.succeed("ADD")
        self.assertEqual(recorder.operations(), ["cni.del", "cni.add"])
        self.assertEqual(self.noted(), [])

    def test_an_add_does_not_start_while_the_old_deletion_fails(self):
        self.succeed("DEL")
        recorder = self.serve(lambda operation, args: Error(11, "not now"))
        self.fail_with(11, "ADD")
        self.assertEqual(recorder.operations(), ["cni.del"])
        self.assertEqual(self.noted(), ["c1:eth0.json"])


    def test_an_add_does_not_start_while_nobody_can_see_whether_a_deletion_is_noted(self):
        self.succeed("DEL")
        os.rename(self.notes, self.notes + ".away")
        with open(self.notes, "w"):
            pass
        recorder = self.serve()
        error = self.fail_with(11, "ADD")
        self.assertIn("Not a directory", error["msg"])
        self.assertEqual(recorder.operations(), [])
        os.unlink(self.notes)
        os.rename(self.notes + ".away", self.notes)
        self.succeed("ADD")
        self.assertEqual(recorder.operations(), ["cni.del", "cni.add"])


class CN07Gc(Case):
    def gc(self, **keys):
        recorder = Recorder(self.socket, self.good)
        self.assertIsNone(self.succeed("GC", self.config("1.1.0", **keys), CNI_CONTAINERID="", CNI_NETNS="", CNI_IFNAME=""))
        recorder.close()
        return [request["args"] for request in recorder.requests]

    def test_the_valid_attachments_are_passed_on(self):
        one = {"containerID": "c1", "ifname": "eth0"}
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"]:
            self.assertEqual(self.gc(**{key: [{**one, "extra": 1}]}), [{"valid": [one], "network": "polder"}])

    def test_null_and_the_empty_list_mean_that_none_is_valid(self):
        for value in [None, []]:
            self.assertEqual(self.gc(**{"cni.dev/valid-attachments": value}), [{"valid": [], "network": "polder"}])

    def test_without_a_usable_list_nothing_is_deleted(self):
        self.assertEqual(self.gc(), [])
        for value in ["", {}, 5, True, [5], [{"containerID": "c1"}], [{"containerID": 1, "ifname": "eth0"}]]:
            self.assertEqual(self.gc(**{"cni.dev/valid-attachments": value}), [], value)


class CN08Chaining(Case):
    def test_the_previous_result_is_kept_and_indexes_are_moved(self):
        self.serve()
        result = self.succeed("ADD", self.config(prevResult=PREVIOUS))
        self.assertEqual(result["interfaces"][:3], PREVIOUS["interfaces"])
        self.assertEqual(result["interfaces"][4]["mac"], MAC)
        self.assertEqual([ip["interface"] for ip in result["ips"]], [2, 4, 4])
        self.assertEqual([route["dst"] for route in result["routes"]], ["192.168.0.0/16", "0.0.0.0/0", "::/0"])
        self.assertEqual(result["dns"], PREVIOUS["dns"])

    def test_an_empty_previous_result_changes_nothing(self):
        self.serve()
        alone = self.succeed("ADD")
        for previous in [None, {}, {"interfaces": None, "ips": None, "routes": None}]:
            self.assertEqual(self.succeed("ADD", self.config(prevResult=previous)), alone)

    def test_dns_of_the_configuration_is_in_the_result(self):
        self.serve()
        dns = {"nameservers": ["10.96.0.10"]}
        self.assertEqual(self.succeed("ADD", self.config(dns=dns))["dns"], dns)


class CN09Capabilities(Case):
    def runtime(self, config, **variables):
        recorder = Recorder(self.socket, self.good)
        self.succeed("ADD", config, **variables)
        recorder.close()
        return recorder.requests[0]["args"]["config"]["runtimeConfig"]

    def test_capitalised_keys_are_understood(self):
        runtime = self.runtime(self.config(runtimeConfig={"IPs": ["10.244.0.9"], "MAC": MAC}))
        self.assertEqual((runtime["ips"], runtime["mac"]), (["10.244.0.9"], MAC))

    def test_podman_sends_each_address_twice(self):
        runtime = self.runtime(self.config(runtimeConfig={"ips": ["10.244.0.9", "10.244.0.9"]}))
        self.assertEqual(runtime["ips"], ["10.244.0.9", "10.244.0.9"])

    def test_labels_reach_the_agent(self):
        recorder = self.serve()
        args = {"labels": [{"key": "app", "value": "web"}], "cni": {"labels": [{"key": "tier", "value": ""}]}}
        self.succeed("ADD", self.config(args=args))
        self.assertEqual(recorder.requests[0]["args"]["config"]["args"], args)


class CN11Validation(Case):
    def test_bad_container_ids_are_code_4(self):
        recorder = self.serve()
        for bad in ["", "../x", "..", ".hidden", "-x", "_x", "a/b", "a b", "a\nb", "a\x01", "ä", "x" * 201, "x;reboot", "$(id)"]:
            for command in ["ADD", "DEL", "CHECK"]:
                error = self.fail_with(4, command, CNI_CONTAINERID=bad)
                self.assertIn("CNI_CONTAINERID", error["msg"])
        self.assertEqual(recorder.requests, [])
        self.assertEqual(self.noted(), [])

    def test_bad_interface_names_are_code_4(self):
        recorder = self.serve()
        for bad in ["", ".", "..", "../x", "a/b", "a:b", "a b", "a\tb", "a\x7f", "x" * 16]:
            error = self.fail_with(4, "ADD", CNI_IFNAME=bad)
            self.assertIn("CNI_IFNAME", error["msg"])
        self.assertEqual(recorder.requests, [])

    def test_bad_commands_are_code_4(self):
        for bad in ["", "add", "ADD ", "DELETE", "\x01"]:
            error = self.fail_with(4, bad)
            self.assertIn("CNI_COMMAND", error["msg"])
        self.assertEqual(self.fail_with(4, "X", self.config("0.4.0"))["cniVersion"], "0.4.0")

    def test_bad_namespaces_are_code_4(self):
        recorder = self.serve()
        for bad in ["", "/nowhere", "/dev/null", self.directory, "/proc/self/ns/net", "/proc/self/ns/mnt"]:
            error = self.fail_with(4, "ADD", CNI_NETNS=bad)
            self.assertIn("CNI_NETNS", error["msg"])
        self.assertEqual(recorder.requests, [])

    def test_bad_arguments_are_code_4(self):
        for bad in ["K8S_POD_NAME", "=x", "A=\x01", "A=b;C", "A=" + "x" * 70000]:
            error = self.fail_with(4, "ADD", CNI_ARGS=bad)
            self.assertIn("CNI_ARGS", error["msg"])

    def test_the_longest_names_work(self):
        self.succeed("DEL", CNI_CONTAINERID="x" * 200, CNI_IFNAME="y" * 15)
        self.assertEqual(len(self.noted()), 1)

    def test_no_program_is_started(self):
        recorder = self.serve()
        code, _ = self.run_plugin("ADD", PATH="", SHELL="/nowhere")
        self.assertEqual((code, recorder.operations()), (0, ["cni.add"]))

    def test_the_binary_needs_no_library_of_the_host(self):
        with open(PLUGIN, "rb") as file:
            content = file.read()
        if b"__asan_init" in content or b"__ubsan_" in content:
            self.skipTest("a build with sanitizers cannot be static")
        self.assertEqual(content[:4], b"\x7fELF")
        self.assertNotIn(b"/ld-linux", content)


if __name__ == "__main__":
    main(PLUGIN)
