# SPDX-License-Identifier: Apache-2.0
"""The package in a clean root: installed, configured, upgraded, removed, installed again and purged, while two pods talk."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

from lib.netns import inside
from lib.world import cgroup2_root
from spaces import Namespace

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
POD_RANGES = '10.91.0.0/24,fd00:91::/112'
CLIENT = '198.51.100.7'  # on the node's uplink


class Failed(Exception):
    """Something of the package is not as it should be."""


def check(condition, why):
    if not condition:
        raise Failed(why)


class Host:
    """The root as a running machine: /proc, /sys, a cgroup and a network of its own."""

    def __init__(self, root, cleanup):
        self.root = root
        subprocess.check_call(['mount', '--bind', root, root])  # ip-netns wants a root that is a mount
        for kind, place in [('proc', 'proc'), ('sysfs', 'sys'), ('bpf', 'sys/fs/bpf'), ('cgroup2', 'sys/fs/cgroup'), ('tmpfs', 'run')]:
            subprocess.check_call(['mount', '-t', kind, kind, os.path.join(root, place)])
        subprocess.check_call(['mount', '--rbind', '/dev', os.path.join(root, 'dev')])
        name = f'polder-package-test-{os.getpid()}'
        self.cgroup = f'/sys/fs/cgroup/{name}'
        os.mkdir(os.path.join(cgroup2_root(), name))
        cleanup.callback(os.rmdir, os.path.join(cgroup2_root(), name))
        self.policy('exit 101')

    def path(self, name):
        return os.path.join(self.root, name.lstrip('/'))

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def policy(self, script):
        self.write('/usr/sbin/policy-rc.d', f'#!/bin/sh\n{script}\n', 0o755)

    def run(self, *command, stdin=None, **environment):
        done = subprocess.run(['chroot', self.root, *command], input=stdin or '', stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=120, check=False,
                              env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C.UTF-8',
                                   **environment})
        check(done.returncode == 0, f'{" ".join(command)}: exit {done.returncode}: {done.stdout[-1500:]}')
        return done.stdout

    def dpkg(self, *words):
        return self.run('dpkg', *words)

    def start_service_manager(self):
        """From here on /run/systemd/system is there, and the scripts may start and stop the service."""
        shutil.copy(os.path.join(HERE, 'systemctl'), self.path('/usr/bin/systemctl'))
        os.makedirs(self.path('/run/systemd/system'))
        self.policy('exit 0')

    def asked(self):
        """What the service manager was asked for since the last time."""
        with contextlib.suppress(FileNotFoundError), open(self.path('/run/asked'), encoding='utf-8') as file:
            lines = file.read().splitlines()
            os.unlink(self.path('/run/asked'))
            return [word for line in lines for word in line.split() if word in ('start', 'stop', 'restart')]
        return []

    def agent_alive(self):
        """A zombie is not alive."""
        with contextlib.suppress(FileNotFoundError), open(self.path('/run/polderd.pid'), encoding='ascii') as file, \
                open(f'/proc/{int(file.read())}/stat', encoding='ascii') as stat:
            return stat.read().split()[2] not in 'ZX'
        return False

    def ready(self):
        self.run('polderctl', 'status', '--wait=30')

    def pods(self):
        return json.loads(self.run('polderctl', '-o', 'json', 'pod', 'list'))


class Pod:
    """A namespace that the installed plugin connects."""

    def __init__(self, host, name, cleanup):
        self.host, self.name = host, name
        self.space = cleanup.enter_context(Namespace())
        self.address = None

    def call(self, command):
        text = self.host.run('/usr/lib/cni/polder-cni', stdin='{"cniVersion":"1.0.0","name":"polder","type":"polder-cni"}',
                             CNI_COMMAND=command, CNI_CONTAINERID=self.name, CNI_IFNAME='eth0', CNI_NETNS=self.space.path,
                             CNI_PATH='/usr/lib/cni')
        if command == 'ADD':
            self.address = json.loads(text)['ips'][0]['address'].split('/')[0]


class Talk:
    """One TCP connection between two pods, which has to go on."""

    def __init__(self, server, client, cleanup):
        with inside(server.space.path):
            listener = cleanup.enter_context(socket.create_server((server.address, 7000)))
        with inside(client.space.path):
            self.client = cleanup.enter_context(socket.create_connection((server.address, 7000), 5))
        self.server = cleanup.enter_context(listener.accept()[0])
        self.server.settimeout(3)

    def goes_on(self, when):
        try:
            self.client.sendall(b'x')
            check(self.server.recv(10) == b'x', f'{when}: the connection ended')
        except OSError as error:
            raise Failed(f'{when}: the pods\' connection broke: {error}') from None


def make_uplink():
    """A link with addresses and the default routes; its other end is nobody."""
    for line in ('link add eth0 type veth peer name far', 'link set eth0 up', 'link set far up', f'addr add {CLIENT}/24 dev eth0',
                 'addr add 2001:db8:91::7/64 dev eth0 nodad', 'route add default via 198.51.100.1',
                 'route add default via 2001:db8:91::1'):
        subprocess.check_call(['ip', *line.split()])


def left_behind(host):
    """What a purge shall not leave, by name."""
    links = [link['ifname'] for link in json.loads(subprocess.check_output(['ip', '-j', 'link'])) if link['ifname'].startswith('pld')]
    rules = [line for family in ('-4', '-6') for line in subprocess.check_output(['ip', family, 'rule'], text=True).splitlines()
             if line.split(':')[0] in ('1', '2', '3')]
    routes = [line for family in ('-4', '-6')
              for line in subprocess.check_output(['ip', family, 'route', 'show', 'table', 'all', 'proto', '80'], text=True).splitlines()]
    filters = [line for direction in ('ingress', 'egress')
               for line in subprocess.run(['tc', 'filter', 'show', 'dev', 'eth0', direction], stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL, text=True, check=False).stdout.splitlines() if 'polder' in line]
    shown = subprocess.check_output(['ip', '-d', 'link', 'show', 'dev', 'eth0'], text=True)
    files = [name for name in ('/run/polder', '/var/lib/polder', '/sys/fs/bpf/polder', '/etc/polder', '/usr/sbin/polderd',
                               '/etc/systemd/system/multi-user.target.wants/polderd.service') if os.path.lexists(host.path(name))]
    return links + rules + routes + filters + files + (['XDP on eth0'] if 'prog/xdp' in shown else [])


class Lifecycle:
    """The steps, in order; a later one stands on what the earlier ones left."""

    def __init__(self, host, cleanup):
        self.host, self.cleanup, self.talk = host, cleanup, None

    def installs_without_a_service_manager_and_starts_nothing(self):
        host = self.host
        host.dpkg('-i', '/polder.deb')
        check(os.path.islink(host.path('/etc/systemd/system/multi-user.target.wants/polderd.service')), 'the service is not enabled')
        check(host.asked() == [] and not host.agent_alive(), 'something was started')
        version = host.run('polderd', '--version').split()[-1]
        check(host.run('dpkg-query', '-W', '-f', '${Version}', 'polder') == version, f'the package has another version than polderd {version}')

    def configuration_as_shipped_is_one_that_the_agent_takes(self):
        text = self.host.run('cat', '/etc/polder/polderd.json')
        check(os.path.isdir(self.host.path(json.loads(text)['resources'])), 'the directory of resources is not there')

    def start(self, **options):
        host = self.host
        host.write('/etc/polder/polderd.json', json.dumps({'resources': '/etc/polder/resources', 'pod-cidr': POD_RANGES,
                                                           'cgroup': host.cgroup, 'node-name': 'n1', **options}))
        host.run('deb-systemd-invoke', 'start', 'polderd.service')
        host.ready()

    def service_is_started_and_serves_pods(self):
        host = self.host
        host.start_service_manager()
        self.start()
        pods = [Pod(host, name, self.cleanup) for name in ('server', 'client')]
        for pod in pods:
            pod.call('ADD')
        self.talk = Talk(*pods, self.cleanup)
        self.talk.goes_on('at first')
        host.asked()

    def smoke_test_of_the_package_passes(self):
        shutil.copy(os.path.join(SOURCE, 'debian', 'tests', 'smoke'), self.host.path('/smoke'))
        check('smoke: all is well' in self.host.run('/smoke'), 'it did not come to its end')

    def upgrade_restarts_the_agent_keeps_the_configuration_and_cuts_no_pod(self):
        host = self.host
        before = host.run('cat', '/etc/polder/polderd.json')
        host.dpkg('--force-confold', '-i', '/next.deb')
        asked = host.asked()
        check(asked == ['restart'], f'the service was asked to {asked}')
        self.talk.goes_on('after the upgrade')
        host.ready()
        self.talk.goes_on('after the restart')
        check(host.run('cat', '/etc/polder/polderd.json') == before, 'the configuration was changed')
        check(len(host.pods()) == 2, f'pods: {host.pods()}')

    def removal_stops_the_agent_and_leaves_pods_their_network(self):
        host = self.host
        host.dpkg('-r', 'polder')
        asked = host.asked()
        check(asked == ['stop'] and not host.agent_alive(), f'the service was asked to {asked}')
        check(not os.path.exists(host.path('/usr/sbin/polderd')), 'polderd is still there')
        check(os.path.exists(host.path('/etc/polder/polderd.json')), 'the configuration is gone')
        self.talk.goes_on('after the removal')

    def installed_again_it_takes_its_pods_over(self):
        host = self.host
        host.dpkg('--force-confold', '-i', '/polder.deb')
        host.run('deb-systemd-invoke', 'start', 'polderd.service')
        host.ready()
        check(sorted(pod['name'] for pod in host.pods()) == ['client', 'server'], f'pods: {host.pods()}')
        self.talk.goes_on('after the second installation')

    def purge_leaves_nothing(self):
        host = self.host
        kinds = ['pld', ':', '10.91.0.', '/run/polder', '/sys/fs/bpf/polder']
        check(all(any(kind in one for one in left_behind(host)) for kind in kinds), f'there is too little to purge: {left_behind(host)}')
        host.dpkg('-P', 'polder')
        check(host.asked().count('stop') == 1 and not host.agent_alive(), 'the agent was not stopped')
        left = left_behind(host)
        check(not left, f'left: {"; ".join(left)}')

    def purge_of_a_package_that_is_removed_already_does_so_too(self):
        """With filters instead of tcx, which older kernels have not."""
        host = self.host
        host.dpkg('-i', '/polder.deb')
        host.run('deb-systemd-invoke', 'stop', 'polderd.service')
        self.start(attach='clsact')
        check(any('polder:' in one for one in left_behind(host)), f'there is no filter: {left_behind(host)}')
        host.write('/etc/polder/resources/mine.json', '[]')
        host.dpkg('-r', 'polder')
        host.dpkg('-P', 'polder')
        check(os.path.exists(host.path('/etc/polder/resources/mine.json')), 'a file of the administrator is gone')
        left = [name for name in left_behind(host) if name != '/etc/polder']
        check(not left, f'left: {"; ".join(left)}')


STEPS = [Lifecycle.installs_without_a_service_manager_and_starts_nothing, Lifecycle.configuration_as_shipped_is_one_that_the_agent_takes,
         Lifecycle.service_is_started_and_serves_pods, Lifecycle.smoke_test_of_the_package_passes,
         Lifecycle.upgrade_restarts_the_agent_keeps_the_configuration_and_cuts_no_pod,
         Lifecycle.removal_stops_the_agent_and_leaves_pods_their_network, Lifecycle.installed_again_it_takes_its_pods_over,
         Lifecycle.purge_leaves_nothing, Lifecycle.purge_of_a_package_that_is_removed_already_does_so_too]


def stop_agent(host):
    with contextlib.suppress(OSError, ValueError), open(host.path('/run/polderd.pid'), encoding='ascii') as file:
        os.kill(int(file.read()), 9)
        time.sleep(0.2)  # its cgroup is removed next; it is no child of ours


def run(root, report):
    """The exit status."""
    with contextlib.ExitStack() as cleanup:
        make_uplink()
        host = Host(root, cleanup)
        cleanup.callback(stop_agent, host)
        steps = Lifecycle(host, cleanup)
        for number, step in enumerate(STEPS):
            try:
                step(steps)
            except (Failed, subprocess.TimeoutExpired, OSError) as error:
                report('not ok', step.__name__, error)
                with contextlib.suppress(OSError), open(host.path('/run/polderd.log'), encoding='utf-8', errors='replace') as log:
                    print(''.join(f'  {line}' for line in log.readlines()[-20:]))
                print(f'  {len(STEPS) - number - 1} steps were not tried')
                return 1
            report('ok', step.__name__)
    return 0
