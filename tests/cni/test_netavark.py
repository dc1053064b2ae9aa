#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real polder-netavark against a recording control socket: what it prints, sends, notes and refuses.

usage: test_netavark.py POLDER_NETAVARK [unittest options]; root is needed for the network namespace.
"""
import copy
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plugin_case import PluginCase, main  # noqa: E402
from recorder import Error, HANG, HANG_UP, Raw, Recorder  # noqa: E402

PLUGIN = os.path.abspath(sys.argv.pop(1))
ID = "752947ff91f961eb3cb47ffe9315016979f3ffbec09e4d96a4fae3fb03391697"
NETWORK_ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"
MAC = "0a:58:0a:f4:00:05"
ANSWER = {
    "interfaces": [{"name": "pld0a1b2c", "mac": "02:70:6f:6c:64:72"}, {"name": "eth0", "mac": MAC, "sandbox": "/x"}],
    "ips": [{"address": "10.244.0.5/32", "gateway": "169.254.1.1", "interface": 1},
            {"address": "fd00::5/128", "gateway": "fe80::1", "interface": 1}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0"}],
    "dns": {},
}
STATUS = {"pod_cidrs": ["10.244.0.0/24", "fd00::/112"]}


class Case(PluginCase):
    def good(self, operation, args):
        return {"cni.add": ANSWER, "status": STATUS}.get(operation, {})

    def network(self, options=None, **more):
        """As podman 5 gives it to create; a key of `more` that is None is left out."""
        given = {"name": "web", "id": NETWORK_ID, "driver": "polder-netavark", "ipv6_enabled": False,
                 "internal": False, "dns_enabled": True, "ipam_options": {}, "created": "0001-01-01T00:00:00Z",
                 "options": {"socket": self.socket, "timeout": "1", **(options or {})}, **more}
        return {key: value for key, value in given.items() if value is not None}

    def container(self, options=None, wants=None, **more):
        """As netavark gives it to setup and teardown."""
        return {"container_id": ID, "container_name": "web1", "port_mappings": None,
                "network": {**self.network(options), "network_interface": None, "subnets": None,
                            "ipam_options": {"driver": "none"}, "dns_enabled": False, "routes": None,
                            "network_dns_servers": None},
                "network_options": {"aliases": ["752947ff91f9"], "interface_name": "eth0", "static_ips": None,
                                    "static_mac": None, "options": None, **(wants or {})}, **more}

    def run_plugin(self, *arguments, given=None, text=None, **environment):
        text = json.dumps(given) if text is None else text
        return self.run_program(*arguments, text=text, **environment)

    def succeed(self, *arguments, given=None):
        code, out = self.run_plugin(*arguments, given=given)
        self.assertEqual(code, 0, out + self.stderr)
        return json.loads(out) if out else None

    def error_of(self, *arguments, given=None, text=None):
        """The message."""
        code, out = self.run_plugin(*arguments, given=given, text=text)
        self.assertEqual(code, 1, out)
        error = json.loads(out)
        self.assertEqual(list(error), ["error"], "podman refuses any other key")
        self.assertTrue(error["error"])
        self.assertEqual(out.count("\n"), 1)
        return error["error"]

    def setup_args(self, options=None, wants=None, **more):
        """What the agent is asked."""
        recorder = Recorder(self.socket, self.good)
        self.succeed("setup", self.netns, given=self.container(options, wants, **more))
        recorder.close()
        self.assertEqual(recorder.operations(), ["cni.add"])
        return recorder.requests[0]["args"]


class Info(Case):
    def test_info_names_the_api_and_needs_no_input(self):
        for arguments in [("info",), ()]:
            done = subprocess.run([PLUGIN, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            info = json.loads(done.stdout)
            self.assertEqual((done.returncode, info["api_version"], sorted(info)),
                             (0, "1.0.0", ["api_version", "version"]))
        shown = subprocess.run([PLUGIN, "--version"], capture_output=True, timeout=60, text=True).stdout
        self.assertEqual(shown.split(), ["polder-netavark", info["version"]])

    def test_people_get_help(self):
        done = subprocess.run([PLUGIN, "--help"], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"polder-netavark(8)", done.stdout)

    def test_unknown_subcommands_and_wrong_arguments_are_errors(self):
        self.assertIn("unknown subcommand \"check\"", self.error_of("check", given={}))
        self.assertIn("unknown subcommand", self.error_of("", given={}))
        for command in ["setup", "teardown"]:
            self.assertIn("network namespace is missing", self.error_of(command, given=self.container()))
            self.assertIn("network namespace is missing", self.error_of(command, "", given=self.container()))
            self.assertIn("\"more\"", self.error_of(command, self.netns, "more", given=self.container()))
        self.assertIn("\"/run/netns/x\"", self.error_of("create", "/run/netns/x", given=self.network()))


class Create(Case):
    def create(self, options=None, **more):
        return self.succeed("create", given=self.network(options, **more))

    def refused(self, options=None, **more):
        return self.error_of("create", given=self.network(options, **more))

    def test_a_plain_network_leaves_addresses_to_polderd_and_names_to_nobody(self):
        self.serve()
        given = self.network()
        made = self.succeed("create", given=given)
        expected = {**given, "dns_enabled": False, "ipam_options": {"driver": "none"}, "ipv6_enabled": True}
        self.assertEqual(made, expected)

    def test_what_the_plugin_does_not_know_stays(self):
        made = self.create(created="2026-01-01T00:00:00Z", something={"new": [1]})
        self.assertEqual((made["created"], made["something"]), ("2026-01-01T00:00:00Z", {"new": [1]}))

    def test_a_network_without_options_at_all_is_made(self):
        for options in [None, {}]:
            given = self.network()
            given["options"] = options
            made = self.succeed("create", given=given)
            self.assertEqual((made["options"], made["ipam_options"]), ({}, {"driver": "none"}))

    def test_ipv6_is_shown_as_polderd_has_it(self):
        for cidrs, has in [(["10.244.0.0/24"], False), (["fd00::/112"], True), (["10.244.0.0/24", "fd00::/112"], True)]:
            recorder = Recorder(self.socket, lambda operation, args, cidrs=cidrs: {"pod_cidrs": cidrs})
            self.assertEqual(self.create()["ipv6_enabled"], has)
            if not has:
                self.assertIn("--pod-cidr", self.refused(ipv6_enabled=True))
            recorder.close()
        self.assertEqual(self.create(ipv6_enabled=True)["ipv6_enabled"], True, "polderd is away")

    def test_labels_of_the_network_are_the_containers(self):
        made = self.create({"label.tier": "front"}, labels={"app": "web", "example.org/team": "a.b", "tier": "back", "bare": ""})
        self.assertEqual({key: value for key, value in made["options"].items() if key.startswith("label.")},
                         {"label.app": "web", "label.example.org/team": "a.b", "label.tier": "front", "label.bare": ""})
        self.assertEqual(made["labels"]["app"], "web")

    def test_bad_labels_are_refused(self):
        for key, value in [("", "a"), ("-a", "a"), ("a b", "a"), ("a/b/c", "a"), ("/a", "a"), ("a/", "a"), ("x" * 64, "a"),
                           ("Exa.org/a", "a"), ("a", "b c"), ("a", "-b"), ("a", "x" * 64), ("a", "ä")]:
            with self.subTest(key=key, value=value):
                self.assertIn("label", self.refused(labels={key: value}))
                self.assertIn("label", self.refused({"label." + key: value}))
        self.assertIn("label", self.refused(labels={"a": 5}))
        self.assertIn("labels", self.refused(labels=["a"]))
        self.assertIn("256", self.refused({f"label.l{number}": "" for number in range(257)}))

    def test_bad_options_are_refused_by_name(self):
        for key, value in [("socket", "relative"), ("socket", "/" + "x" * 200), ("timeout", "0"), ("timeout", "601"), ("timeout", "1s"),
                           ("mtu", "67"), ("mtu", "65536"), ("mtu", "-1"), ("mtu", "1500x"), ("mtu", ""), ("mtu", "99999999999999999999"),
                           ("com.docker.network.driver.mtu", "big"), ("namespace", ""), ("namespace", "A"), ("namespace", "a/b"),
                           ("ports", "yes"), ("ports", ""), ("dns", "one"), ("dns", "1.1.1.1,"), ("dns", "1.1.1.1/32"), ("dns", ""),
                           ("dns", ",".join(["1.1.1.1"] * 17)), ("dns-search", "a b"), ("dns-search", ".."), ("isolate", "true"),
                           ("no_default_route", "true"), ("metric", "5"), ("vlan", "5"), ("Mtu", "1500"), ("a\x01b", "x")]:
            with self.subTest(key=key, value=value):
                self.assertIn("option " + key.removeprefix("com.docker.network.driver.").replace("\x01", "?"),
                              self.refused({key: value}))
        for value in [5, None, True, ["a"]]:
            self.assertIn("option mtu", self.refused({"mtu": value}))
        given = self.network()
        given["options"] = ["mtu"]
        self.assertIn("options", self.error_of("create", given=given))

    def test_good_options_are_kept(self):
        options = {"mtu": "1400", "namespace": "demo", "ports": "ignore", "dns": "10.96.0.10,fd96::a", "dns-search": "demo.svc,x_y.org."}
        made = self.create(options)
        self.assertEqual(made["options"], {"socket": self.socket, "timeout": "1", **options})
        self.assertEqual(self.create({"com.docker.network.driver.mtu": "1400"})["options"].get("mtu"), "1400")

    def test_name_servers_become_the_containers_own(self):
        made = self.create(network_dns_servers=["10.96.0.10", "fd96::a"])
        self.assertEqual(made["options"]["dns"], "10.96.0.10,fd96::a")
        self.assertNotIn("network_dns_servers", made)
        self.assertIn("twice", self.refused({"dns": "1.1.1.1"}, network_dns_servers=["10.96.0.10"]))
        for bad in [["x"], [5], ["1.1.1.1"] * 400]:
            self.assertIn("network_dns_servers", self.refused(network_dns_servers=bad))

    def test_what_polder_has_not_is_refused_by_name(self):
        for key, value in [("internal", True), ("network_interface", "br0"),
                           ("routes", [{"destination": "10.0.0.0/8", "gateway": "10.1.1.1"}]),
                           ("ipam_options", {"driver": "dhcp"}), ("ipam_options", {"driver": "host-local"})]:
            with self.subTest(key=key):
                self.assertIn(key, self.refused(**{key: value}))

    def test_subnets_inside_of_polderds_ranges_are_podmans_to_give(self):
        self.serve()
        subnets = [{"subnet": "10.244.0.128/25", "lease_range": {"start_ip": "10.244.0.130", "end_ip": "10.244.0.140"}},
                   {"subnet": "fd00::8000/113"}]
        for ipam in [{}, {"driver": "host-local"}, None]:
            made = self.create(subnets=subnets, ipam_options=ipam)
            self.assertEqual((made["subnets"], made.get("ipam_options")), (subnets, ipam))
        self.create(subnets=[{"subnet": "10.244.0.0/24"}])

    def test_other_subnets_are_refused(self):
        self.serve()
        for subnets, word in [([{"subnet": "10.245.0.0/24"}], "--pod-cidr"), ([{"subnet": "10.244.0.0/23"}], "--pod-cidr"),
                              ([{"subnet": "10.244.1.0/25"}], "--pod-cidr"), ([{"subnet": "fd00::/64"}], "--pod-cidr"),
                              ([{"subnet": "10.244.0.0/25"}, {"subnet": "10.244.0.128/25"}], "family"),
                              ([{"subnet": "10.244.0.0/25", "gateway": "10.244.0.1"}], "gateway"),
                              ([{"subnet": "10.244.0.0"}], "prefix length"), ([{"subnet": "10.244.0.0/33"}], "prefix length"),
                              ([{"subnet": "10.244.0.0/"}], "prefix length"), ([{"subnet": 5}], "prefix length"), ([5], "prefix length")]:
            with self.subTest(subnets=subnets):
                self.assertIn(word, self.refused(subnets=subnets))

    def test_subnets_need_an_agent_and_plain_networks_do_not(self):
        self.assertIn("polderd is not listening", self.refused(subnets=[{"subnet": "10.244.0.0/25"}]))
        self.create()
        self.serve(lambda operation, args: HANG)
        self.create()
        self.assertIn("did not answer", self.refused(subnets=[{"subnet": "10.244.0.0/25"}]))

    def test_names_are_checked(self):
        for key in ["name", "id", "driver"]:
            for bad in [None, "", "../x", "a b", 5, "x" * 201, "a\nb"]:
                self.assertIn(key, self.refused(**{key: bad}))

    def test_a_result_that_podman_could_not_read_is_an_error(self):
        message = self.refused(padding="x" * 65536)
        self.assertIn("65536", message)
        self.create(padding="x" * 60000)


class Setup(Case):
    def refused(self, options=None, wants=None, **more):
        recorder = Recorder(self.socket, self.good)
        message = self.error_of("setup", self.netns, given=self.container(options, wants, **more))
        recorder.close()
        self.assertEqual(recorder.requests, [])
        return message

    def test_the_status_block_has_addresses_mac_and_no_name_server(self):
        self.serve()
        self.assertEqual(self.succeed("setup", self.netns, given=self.container()), {
            "dns_search_domains": [], "dns_server_ips": [],
            "interfaces": {"eth0": {"mac_address": MAC, "subnets": [
                {"ipnet": "10.244.0.5/32", "gateway": "169.254.1.1"}, {"ipnet": "fd00::5/128", "gateway": "fe80::1"}]}}})

    def test_name_servers_and_domains_are_told(self):
        self.serve()
        given = self.container({"dns": "10.96.0.10,fd96::a", "dns-search": "demo.svc,org"})
        given["network"]["network_dns_servers"] = ["1.1.1.1", "x", 5]
        status = self.succeed("setup", self.netns, given=given)
        self.assertEqual(status["dns_server_ips"], ["10.96.0.10", "fd96::a", "1.1.1.1"])
        self.assertEqual(status["dns_search_domains"], ["demo.svc", "org"])

    def test_the_agent_gets_the_namespace_and_a_pod_of_the_containers_name(self):
        recorder = self.serve()
        self.succeed("setup", self.netns, given=self.container())
        self.assertEqual(recorder.inodes, [os.stat(self.netns).st_ino])
        args = recorder.requests[0]["args"]
        self.assertEqual((args["container_id"], args["ifname"], args["netns"]), (ID, "eth0", self.netns))
        self.assertEqual(args["cni_args"], {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "web1"})
        self.assertEqual((args["config"]["name"], args["config"]["runtimeConfig"]), ("web", {}))

    def test_static_addresses_and_mac_are_asked_for(self):
        args = self.setup_args(wants={"static_ips": ["10.244.0.9", "fd00::9"], "static_mac": "02:00:00:00:00:09"})
        self.assertEqual(args["config"]["runtimeConfig"], {"ips": ["10.244.0.9", "fd00::9"], "mac": "02:00:00:00:00:09"})
        # podman's network reload names each twice.
        args = self.setup_args(wants={"static_ips": ["10.244.0.9", "10.244.0.9"], "static_mac": ""})
        self.assertEqual(args["config"]["runtimeConfig"]["ips"], ["10.244.0.9"] * 2)

    def test_bad_addresses_are_refused(self):
        for bad in ["10.244.0.256", "10.244.0.9/24", "", "x"]:
            self.assertIn("static_ips", self.refused(wants={"static_ips": [bad]}))
        for bad in [[5], "10.244.0.9", {}, ["10.244.0.9", "10.244.0.10"], ["fd00::1", "fd00::2"]]:
            self.assertIn("static_ips", self.refused(wants={"static_ips": bad}))
        for bad in ["xx", "01:00:00:00:00:00", 5]:
            self.assertIn("static_mac", self.refused(wants={"static_mac": bad}))

    def test_aliases_are_for_a_name_server_and_no_error(self):
        for aliases in [None, [], ["a", "b"]]:
            self.setup_args(wants={"aliases": aliases})

    def test_labels_mtu_and_namespace_reach_the_agent(self):
        args = self.setup_args({"label.app": "web", "label.tier": "back", "mtu": "1400", "namespace": "demo"},
                               {"options": {"label.tier": "front", "mtu": "1300"}})
        self.assertEqual(args["config"]["args"]["cni"]["labels"],
                         [{"key": "app", "value": "web"}, {"key": "tier", "value": "front"}])
        self.assertEqual((args["config"]["mtu"], args["cni_args"]["K8S_POD_NAMESPACE"]), (1300, "demo"))

    def test_options_of_one_container_are_checked_too(self):
        for key, value in [("label.a", "b c"), ("host_interface_name", "x"), ("socket", "/x"), ("dns", "1.1.1.1"), ("mtu", "x")]:
            self.assertIn(key.split(".")[-1], self.refused(wants={"options": {key: value}}))

    def published(self, *arguments, **more):
        config = self.setup_args(*arguments, **more)["config"]
        self.assertEqual(config["capabilities"], {"portMappings": True})
        return config["runtimeConfig"].get("portMappings", [])

    def test_published_ports_reach_the_agent(self):
        ports = [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]
        one = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
        self.assertEqual(self.published(port_mappings=ports), [one])
        self.assertEqual(self.published({"ports": "publish"}, port_mappings=ports), [one])
        for nothing in [None, []]:
            self.assertEqual(self.published(port_mappings=nothing), [])

    def test_ranges_and_lists_of_protocols_are_taken_apart(self):
        port = {"container_port": 80, "host_ip": "127.0.0.1", "host_port": 8080, "protocol": "tcp,udp", "range": 2}
        self.assertEqual(self.published(port_mappings=[port]), [
            {"hostPort": 8080 + i, "containerPort": 80 + i, "protocol": protocol, "hostIP": "127.0.0.1"}
            for protocol in ("tcp", "udp") for i in range(2)])
        for bad in [{"range": 100000}, {"range": -1}, {"range": "2"}, {"host_port": 65535}, {"host_port": 0}, {"container_port": "x"},
                    {"protocol": "icmp"}, {"protocol": 6}, {"host_ip": "x"}, {"protocol": "tcp,,x"}]:
            self.assertIn("port_mappings", self.refused(port_mappings=[{**port, **bad}]))
        for bad in [5, {}, "x", [5], [None]]:
            self.assertIn("port_mappings", self.refused(port_mappings=bad))

    def test_published_ports_may_be_ignored_or_refused(self):
        ports = [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]
        message = self.refused({"ports": "refuse"}, port_mappings=ports)
        for word in ["80", "8080", "ports=refuse"]:
            self.assertIn(word, message)
        self.assertEqual(self.published({"ports": "ignore"}, port_mappings=ports), [])
        self.assertEqual(self.published({"ports": "refuse"}, port_mappings=[]), [])

    def test_a_network_that_became_internal_is_refused(self):
        given = self.container()
        given["network"]["internal"] = True
        self.assertIn("internal", self.error_of("setup", self.netns, given=given))

    def test_bad_names_are_refused(self):
        for bad in [None, 5, "", "../x", ".hidden", "a/b", "a b", "a\nb", "ä", "x" * 201, "x;reboot", "$(id)"]:
            self.assertIn("container_id", self.refused(container_id=bad))
        for bad in [None, 5, "", "a/b", "a b", "a\x7f", "x" * 254]:
            self.assertIn("container_name", self.refused(container_name=bad))
        for bad in [None, 5, "", ".", "..", "../x", "a:b", "a b", "x" * 16]:
            self.assertIn("interface_name", self.refused(wants={"interface_name": bad}))
        for key in ["network", "network_options"]:
            for bad in [None, 5, [], "x"]:
                self.assertTrue(self.refused(**{key: bad}))

    def test_bad_namespaces_are_refused(self):
        recorder = self.serve()
        for bad in ["/nowhere", "/dev/null", self.directory, "/proc/self/ns/net", "/proc/self/ns/mnt", "relative"]:
            self.assertIn("network namespace", self.error_of("setup", bad, given=self.container()))
        self.assertEqual(recorder.requests, [])

    def test_what_the_agent_says_is_passed_on(self):
        recorder = self.serve(lambda operation, args: Error(11, "address 10.244.0.9 is in use", "by another"))
        self.assertEqual(self.error_of("setup", self.netns, given=self.container()), "address 10.244.0.9 is in use: by another")
        self.assertEqual(recorder.operations(), ["cni.add"])

    def test_an_agent_that_is_away_is_told(self):
        message = self.error_of("setup", self.netns, given=self.container())
        self.assertIn(self.socket, message)
        self.assertIn("systemctl status polderd", message)

    def test_a_silent_agent_is_told_and_the_setup_noted_for_deletion(self):
        for silence in [HANG, HANG_UP]:
            recorder = Recorder(self.socket, lambda operation, args, silence=silence: silence)
            self.error_of("setup", self.netns, given=self.container())
            self.assertEqual(self.noted(), [f"{ID}:eth0.json"])
            recorder.close()
            os.unlink(f"{self.notes}/{ID}:eth0.json")

    def test_an_answer_that_makes_no_sense_is_taken_back(self):
        for key, value in [("interfaces", []), ("interfaces", 5), ("interfaces", [{"name": "eth0", "mac": MAC}]),
                           ("interfaces", [{"name": "eth0", "sandbox": "/x"}]), ("ips", []), ("ips", [{}]), ("ips", 5)]:
            answer = {**copy.deepcopy(ANSWER), key: value}
            recorder = Recorder(self.socket, lambda operation, args, answer=answer: answer if operation == "cni.add" else {})
            self.assertIn("same release", self.error_of("setup", self.netns, given=self.container()))
            self.assertEqual(recorder.operations(), ["cni.add", "cni.del"])
            recorder.close()

    def test_an_answer_of_another_protocol_is_told(self):
        self.serve(lambda operation, args: Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.assertIn("cannot be understood", self.error_of("setup", self.netns, given=self.container()))

    def test_a_result_that_nobody_reads_is_taken_back(self):
        recorder = self.serve()
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([PLUGIN, "setup", self.netns], input=json.dumps(self.container()).encode(), stdout=writer,
                              stderr=subprocess.DEVNULL, timeout=60)
        os.close(writer)
        self.assertEqual((done.returncode, recorder.operations()), (1, ["cni.add", "cni.del"]))

    def test_a_closed_standard_output_never_becomes_the_socket(self):
        recorder = self.serve()
        done = subprocess.run(["sh", "-c", 'exec "$0" setup "$1" >&-', PLUGIN, self.netns],
                              input=json.dumps(self.container()).encode(), stderr=subprocess.DEVNULL, timeout=60)
        self.assertEqual((done.returncode, recorder.operations()), (1, ["cni.add", "cni.del"]))

    def test_closed_streams_are_no_crash(self):
        for closed in ["<&-", "2>&-", "<&- >&- 2>&-"]:
            done = subprocess.run(["sh", "-c", f'exec "$0" setup "$1" {closed}', PLUGIN, self.netns],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1)

    def test_a_noted_deletion_is_finished_first(self):
        self.succeed("teardown", self.netns, given=self.container())
        self.assertEqual(self.noted(), [f"{ID}:eth0.json"])
        recorder = self.serve()
        self.succeed("setup", self.netns, given=self.container())
        self.assertEqual((recorder.operations(), self.noted()), (["cni.del", "cni.add"], []))

    def test_no_program_is_started_and_no_library_of_the_host_needed(self):
        recorder = self.serve()
        self.run_plugin("setup", self.netns, given=self.container(), PATH="", SHELL="/nowhere")
        self.assertEqual(recorder.operations(), ["cni.add"])
        with open(PLUGIN, "rb") as file:
            content = file.read()
        if b"__asan_init" not in content and b"__ubsan_" not in content:
            self.assertNotIn(b"/ld-linux", content)


class Teardown(Case):
    def test_a_teardown_is_silent_and_may_come_again(self):
        for answer in [self.good, lambda operation, args: Error(3, "unknown")]:
            recorder = Recorder(self.socket, answer)
            for _ in range(2):
                self.assertEqual(self.run_plugin("teardown", self.netns, given=self.container()), (0, ""))
            recorder.close()
            self.assertEqual(recorder.operations(), ["cni.del"] * 2)

    def test_the_namespace_may_be_gone(self):
        self.serve()
        for netns in ["/run/netns/gone", "/dev/null", "/proc/self/ns/net"]:
            self.assertIsNone(self.succeed("teardown", netns, given=self.container()))

    def test_a_teardown_while_the_agent_is_away_is_noted(self):
        for _ in range(2):
            self.assertEqual(self.run_plugin("teardown", self.netns, given=self.container()), (0, ""))
        self.assertEqual(self.noted(), [f"{ID}:eth0.json"])
        self.assertIn("queued", self.stderr)

    def test_a_retryable_refusal_and_silence_are_noted_too(self):
        for answer in [Error(11, "starting"), HANG, HANG_UP]:
            recorder = Recorder(self.socket, lambda operation, args, answer=answer: answer)
            self.assertIsNone(self.succeed("teardown", self.netns, given=self.container()))
            self.assertEqual(self.noted(), [f"{ID}:eth0.json"])
            recorder.close()
            os.unlink(f"{self.notes}/{ID}:eth0.json")

    def test_a_lasting_refusal_is_passed_on(self):
        self.serve(lambda operation, args: Error(5, "disk full"))
        self.assertEqual(self.error_of("teardown", self.netns, given=self.container()), "disk full")
        self.assertEqual(self.noted(), [])

    def test_a_node_that_never_had_an_agent_has_nothing_to_tear_down(self):
        absent = self.directory + "/absent"
        self.assertIsNone(self.succeed("teardown", self.netns, given=self.container({"socket": absent + "/polder.sock"})))
        self.assertFalse(os.path.exists(absent))

    def test_what_has_become_invalid_keeps_no_container(self):
        """An option that somebody edited, ports, an internal network: a container can always be taken away."""
        recorder = self.serve()
        given = self.container({"mtu": "x", "unknown": "y", "label.a": "b c"}, {"options": {"z": "z"}, "static_ips": ["x"]},
                               port_mappings=[{"container_port": 1}], container_name="a b")
        given["network"]["internal"] = True
        self.assertIsNone(self.succeed("teardown", self.netns, given=given))
        self.assertEqual(recorder.operations(), ["cni.del"])

    def test_bad_names_are_refused_and_leave_no_note(self):
        for bad in [None, "", "../x", "a/b", "x" * 201]:
            self.assertIn("container_id", self.error_of("teardown", self.netns, given={**self.container(), "container_id": bad}))
        self.assertIn("interface_name", self.error_of("teardown", self.netns, given=self.container(wants={"interface_name": "../x"})))
        self.assertIn("option socket", self.error_of("teardown", self.netns, given=self.container({"socket": "x"})))
        self.assertEqual(self.noted(), [])


class Input(Case):
    def test_what_is_no_json_object_is_an_error(self):
        for command in [("create",), ("setup", self.netns), ("teardown", self.netns)]:
            for text in ["", "{", "[]", "null", "\"x\"", '{"name":"a"', '{"a":1}{}', b"\xff\xfe", '{"a":"\\u0000"}', "[" * 100000,
                         '{"name":"a","name":"b"}']:
                self.assertIn("standard input", self.error_of(*command, text=text))

    def test_too_much_input_is_read_to_its_end_and_refused(self):
        for size in [2 << 20, 8 << 20]:
            for command in [("create",), ("setup", self.netns), ("teardown", self.netns)]:
                process = subprocess.Popen([PLUGIN, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                process.stdin.write(b'{"padding":"' + b"x" * size + b'"}')  # BrokenPipeError if it were not read
                process.stdin.close()
                out = process.stdout.read()
                process.stdout.close()
                self.assertEqual(process.wait(60), 1)
                self.assertIn("more than 1048576 bytes", json.loads(out)["error"])

    def test_long_and_odd_messages_stay_valid_json(self):
        self.serve(lambda operation, args: Error(5, "é" * 2000, "\x01" * 3))
        self.error_of("setup", self.netns, given=self.container())


if __name__ == "__main__":
    main(PLUGIN)
