# SPDX-License-Identifier: Apache-2.0
"""A node whose agent is the image, run by podman as the manifest says, against the API server of tests/api."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import subprocess

import yaml

from lib.agent import POLDER_CNI, REPOSITORY, Agent
from lib.netns import CommandError, run
from lib.traffic import V4, V6, wait_until
from lib.world import OUTSIDE_IP
from api_world import PORT, TOKEN, ApiWorld

import pod_spec

ARCHIVE = os.environ.get('POLDER_IMAGE', '')
RUN_DIR, BPFFS = '/run/polder', '/sys/fs/bpf/polder'
CONF_NAME = '10-polder.conflist'


def load_generator():
    path = os.path.join(REPOSITORY, 'deploy', 'kubernetes', 'generate')
    loader = importlib.machinery.SourceFileLoader('generate', path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('generate', loader))
    loader.exec_module(module)
    return module


generate = load_generator()


class Podman:
    """podman 4.3 with directories of its own."""

    def __init__(self, node, base):
        self.node, self.base = node, base
        os.makedirs(base)
        self.conf = os.path.join(base, 'containers.conf')
        with open(self.conf, 'w', encoding='ascii') as file:
            _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
            file.write(f'[containers]\ndefault_ulimits = ["nofile=1024:{descriptors}", "nproc=1024:1024"]\n[engine]\ncgroup_manager = "cgroupfs"\n'
                       'events_logger = "none"\nlock_type = "file"\nruntime = "runc"\n')
        # Whatever the machine's own says; podman 4.3 finds it by $HOME.
        os.makedirs(os.path.join(base, 'home', '.config', 'containers'))
        with open(os.path.join(base, 'home', '.config', 'containers', 'policy.json'), 'w', encoding='ascii') as file:
            file.write('{"default": [{"type": "insecureAcceptAnything"}]}')

    def command(self, *args):
        return self.node.process_command(
            'env', f'CONTAINERS_CONF={self.conf}', f'HOME={self.base}/home', 'podman', '--root', os.path.join(self.base, 'root'), '--runroot',
            os.path.join(self.base, 'runroot'), '--tmpdir', os.path.join(self.base, 'tmp'), '--storage-driver', 'vfs', *args)

    def call(self, *args, **options):
        return run(self.command(*args), **{'timeout': 60, **options})


class ImageAgent(Agent):
    """polderd in a container. start() does what the kubelet does with a pod of the DaemonSet."""

    def __init__(self, node, workdir, options):
        super().__init__(node, workdir, options)
        self.podman = Podman(node, os.path.join(workdir, 'podman'))
        self.host = os.path.join(workdir, 'host')  # where paths of the node are that other programs of this machine use as well
        self.account = os.path.join(workdir, 'account')
        self.config_map = os.path.join(workdir, 'config-map')
        self.values, self.places, self.count = {}, {}, 0

    def place(self, path):
        """Of a path of the node."""
        if path in self.places:
            return self.places[path]
        shared = path in ('/run', '/sys/fs/bpf', '/proc', '/proc/sys/net') or path.startswith('/run/')
        return path if shared else self.host + path

    def parts(self):
        return {part['kind']: part for text in (generate.manifest(self.values),) for part in yaml.safe_load_all(text)}

    def write_config_map(self):
        """As the kubelet does: files are links into a directory of one version."""
        data = self.parts()['ConfigMap']['data']
        version = os.path.join(self.config_map, f'..{self.count}')
        os.makedirs(version)
        for name, text in data.items():
            with open(os.path.join(version, name), 'w', encoding='utf-8') as file:
                file.write(text)
            link = os.path.join(self.config_map, name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(f'..{self.count}/{name}', link)

    def arguments(self, spec, container):
        return pod_spec.run_arguments(spec, container, self.node.name, self.place, {'polder': self.config_map}, self.account)

    def spec(self):
        return self.parts()['DaemonSet']['spec']['template']['spec']

    def run_once(self, spec, container, check=True, timeout=60):
        """Runs a container to its end."""
        return self.podman.call('run', '--rm', *self.arguments(spec, container), check=check, timeout=timeout)

    def start(self, wait=True):
        self.count += 1
        self.write_config_map()
        spec = self.spec()
        for container in spec['initContainers']:
            self.run_once(spec, container)
        [container] = spec['containers']
        command = self.podman.command('run', '--rm', '--name', f'polderd-{self.count}', '--env', 'KUBERNETES_SERVICE_HOST=10.96.0.1', '--env',
                                      'KUBERNETES_SERVICE_PORT=443', *self.arguments(spec, container))
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.end_expected = False
        if wait:
            self.wait_ready()

    def kill(self, number=9, timeout=20):
        self.check_alive()
        self.end_expected = True
        if self.alive():
            self.podman.call('kill', '--signal', str(int(number)), f'polderd-{self.count}')
            self.process.wait(timeout)
        return self.process.returncode if self.process else None

    def pid(self):
        return int(self.podman.call('inspect', '--format', '{{.State.Pid}}', f'polderd-{self.count}').stdout)

    # ---- the node's files

    @property
    def conf_dir(self):
        return self.place('/etc/cni/net.d')

    @property
    def plugin(self):
        return self.place('/opt/cni/bin') + '/polder-cni'

    def conflist(self):
        with open(os.path.join(self.conf_dir, CONF_NAME), encoding='utf-8') as file:
            return json.load(file)


class ImageWorld(ApiWorld):
    """The agent is told of by the manifest alone. Pods are connected by the plugin and the configuration that it has installed."""

    def _make(self, nodes, options):
        options.update({'run-dir': RUN_DIR, 'state-dir': '/var/lib/polder', 'bpffs': BPFFS, 'in-cluster': ''})
        super()._make(nodes, options)
        node = self.node
        agent = ImageAgent(node, self.workdir, node.agent.options)
        node.agent, node.bpffs = agent, BPFFS
        agent.places['/sys/fs/cgroup'] = node.cgroup
        agent.values = {'apiServers': [f'https://{OUTSIDE_IP[V4]}:{PORT}'],
                        'config': {'pod-cidr': list(node.pod_cidr.values()), 'api-silence': 4}}
        os.makedirs(agent.account)
        for name, text in (('token', TOKEN), ('namespace', 'kube-system')):
            with open(os.path.join(agent.account, name), 'w', encoding='ascii') as file:
                file.write(text)
        with open(self.authority.certificate, 'rb') as source, open(os.path.join(agent.account, 'ca.crt'), 'wb') as target:
            target.write(source.read())
        agent.podman.call('load', '--quiet', '--input', ARCHIVE)
        self.cleanup.callback(agent.podman.call, 'rm', '--force', '--all', '--time', '0', check=False)

    def pod(self, name, ns='default', **options):
        """Connected by what is installed, as a runtime does."""
        wait_until(lambda: os.path.exists(os.path.join(self.node.agent.conf_dir, CONF_NAME)), 'the network configuration', 10)
        found = self.node.agent.conflist()
        config = {'cniVersion': found['cniVersion'], 'name': found['name'], **found['plugins'][0]}
        return super().pod(name, ns, config=config, **options)

    def end_of_test(self):
        if not self.node.agent.alive():
            self.node.agent.start()
        super().end_of_test()

    def http(self, path, port=9965):
        """Status of an answer from the node's loopback; 0: there is none."""
        done = run(self.node.netns.command('curl', '--silent', '--max-time', '5', '--output', '/dev/null', '--write-out', '%{http_code}',
                                           f'http://127.0.0.1:{port}{path}'), check=False)
        return int(done.stdout or 0)


__all__ = ['BPFFS', 'CONF_NAME', 'POLDER_CNI', 'RUN_DIR', 'CommandError', 'ImageWorld', 'V6', 'generate']
