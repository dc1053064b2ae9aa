# SPDX-License-Identifier: Apache-2.0
"""The chart by the real helm: what it renders, and a release's life at a real API server."""

import json
import os
import shutil
import subprocess

import yaml
from lib.netns import run
from lib.runner import Skip, limit

import cluster
import helm

TOP = os.path.dirname(os.path.dirname(cluster.MANIFESTS))
CHART = os.path.join(TOP, "deploy", "helm", "polder")
RBAC = os.path.join(cluster.MANIFESTS, "rbac.yaml")
GENERATE = os.path.join(cluster.MANIFESTS, "generate")
NAMESPACE, RELEASE = "kube-system", "polder"
# What docs/install.md names, and what else a template looks at.
VALUES = {
    "those of the chart": {},
    "without kube-proxy": {"apiServers": ["https://192.0.2.10:6443", "https://192.0.2.11:6443"]},
    "natively, another port": {"tunnel": "auto", "tunnelPort": 8472},
    "polderd's own defaults": {"tunnel": "", "tunnelPort": 0},
    "load balancers without a cloud": {"loadBalancer": {"pools": ["192.0.2.64/26", "2001:db8::100-2001:db8::1ff"], "announce": "none",
                                                        "returnSeconds": 0}},
    "Services": {"services": {"forwarding": "dsr", "balancing": "maglev", "maglevTableSize": 65521, "nodePortRange": "30000-31000",
                              "nodePortAddresses": ["192.0.2.0/24", "2001:db8::/64"], "maxServices": 1048576, "maxBackends": 524288,
                              "maxServiceCells": 16777216, "maxServiceSources": 128, "maxServiceClients": 256}},
    "keys of the configuration": {"config": {"uplink": ["eth0", "eth1"], "log-level": "debug", "max-pods": 512, "masquerade": False}},
    "k3s": {"apiServers": ["https://127.0.0.1:6444"], "cni": {"configDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
                                                             "binDir": "/var/lib/rancher/k3s/data/cni"}},
    "hostPort by portmap": {"cni": {"plugins": [{"type": "portmap", "capabilities": {"portMappings": True}}], "configName": "00-polder.conflist"}},
    "cgroup v1 beside v2, bpffs there": {"cgroupDir": "/sys/fs/cgroup/unified", "bpffs": {"mount": False}},
    "an image of one's own": {"image": {"repository": "registry.example/net/polder", "tag": "v7", "pullPolicy": "Always"}},
    "where it runs": {"nodeSelector": {"a": "b"}, "tolerations": [], "priorityClassName": "", "maxUnavailable": "20%",
                      "podAnnotations": {"x.example/y": "z: \"quoted\""}, "resources": {}},
}


def setup(world):
    world.helm = os.environ.get(helm.ENVIRONMENT)
    if not world.helm:
        raise Skip("there is no helm")
    home = os.path.join(world.workdir, "helm")
    world.chart = versionless(os.path.join(world.workdir, "chart"))
    world.helm_environment = {**world.kubectl.environment, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}


def versionless(copy):
    """The chart for the tests' server: what it is built of says no version of Kubernetes that helm could compare."""
    shutil.copytree(CHART, copy)
    path = os.path.join(copy, "Chart.yaml")
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line for line in lines if not line.startswith("kubeVersion:"))
    return copy


def call(world, *words, check=True):
    return run(world.outside.command(world.helm, *words), env=world.helm_environment, check=check, timeout=60)


def parts(text):
    return {(part["kind"], part["metadata"]["name"]): part for part in yaml.safe_load_all(text) if part}


def values_file(world, values):
    path = os.path.join(world.workdir, "values.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
    return path


def rendered(world, values):
    return parts(call(world, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", values_file(world, values)).stdout)


def test_chart_passes_helms_linter(world):
    done = call(world, "lint", "--strict", CHART)
    assert "0 chart(s) failed" in done.stdout, done.stdout


def test_helm_renders_what_generate_renders(world):
    """deploy/kubernetes/generate is for those without helm: it knows as much of the language as the chart uses."""
    for name, values in VALUES.items():
        ours = subprocess.check_output([GENERATE, "--values", values_file(world, values), "--namespace", NAMESPACE], text=True)
        assert parts(ours) == rendered(world, values), name


def there(world, kind, name=RELEASE):
    return json.loads(world.kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json"))


def history(world):
    return [(one["revision"], one["status"]) for one in json.loads(call(world, "-n", NAMESPACE, "history", RELEASE, "-o", "json").stdout)]


def config(world):
    return json.loads(there(world, "configmap")["data"]["polderd.json"])


@limit(120)
def test_release_is_installed_upgraded_rolled_back_and_uninstalled(world):
    names = set(rendered(world, {}))
    world.kubectl("delete", "-f", RBAC)  # the release brings the same
    try:
        live(world, names)
    finally:
        world.kubectl("apply", "-f", RBAC)


def live(world, names):
    call(world, "install", RELEASE, world.chart, "-n", NAMESPACE)
    for kind, name in names:
        made = there(world, kind, name)
        assert made["metadata"]["annotations"]["meta.helm.sh/release-name"] == RELEASE, made["metadata"]
    before = config(world)
    assert "api-server" not in before and history(world) == [(1, "deployed")], (before, history(world))
    call(world, "upgrade", RELEASE, world.chart, "-n", NAMESPACE, "--set", "apiServers={https://192.0.2.10:6443}")
    assert config(world) == {**before, "api-server": ["https://192.0.2.10:6443"]}, config(world)
    template = there(world, "daemonset")["spec"]["template"]
    call(world, "rollback", RELEASE, "1", "-n", NAMESPACE)
    assert config(world) == before
    assert there(world, "daemonset")["spec"]["template"] != template, "pods would not be made again for the other configuration"
    assert history(world)[-1] == (3, "deployed"), history(world)
    call(world, "uninstall", RELEASE, "-n", NAMESPACE)
    for kind, name in names:
        assert "NotFound" in world.kubectl("-n", NAMESPACE, "get", kind, name, check=False), f"{kind} {name} is left"


def test_release_over_what_kubectl_has_made_is_refused(world):
    """helm owns nothing of it; it says so, and changes nothing."""
    before = there(world, "serviceaccount")["metadata"]
    done = call(world, "install", RELEASE, world.chart, "-n", NAMESPACE, check=False)
    assert done.returncode != 0 and "exists and cannot be imported" in done.stderr, done.stderr
    assert there(world, "serviceaccount")["metadata"] == before
    assert "NotFound" in world.kubectl("-n", NAMESPACE, "get", "daemonset", RELEASE, check=False)
