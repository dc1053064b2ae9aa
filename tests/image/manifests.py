# SPDX-License-Identifier: Apache-2.0
"""What manifests and chart have to say, without a cluster: `kubectl apply --dry-run` against a server is another suite's."""

import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('POLDER_BUILD', os.path.join(SOURCE, 'build'))
DEPLOY = os.path.join(SOURCE, 'deploy')
GENERATE = os.path.join(DEPLOY, 'kubernetes', 'generate')
API_VERSIONS = {'ServiceAccount': 'v1', 'ConfigMap': 'v1', 'DaemonSet': 'apps/v1', 'ClusterRole': 'rbac.authorization.k8s.io/v1',
                'ClusterRoleBinding': 'rbac.authorization.k8s.io/v1'}
# Values as people set them, each with what has to be found in polderd.json.
VALUES = [
    ({'apiServers': ['https://192.0.2.1:6443', 'https://[2001:db8::1]:6443']}, {'api-server': ['https://192.0.2.1:6443', 'https://[2001:db8::1]:6443']}),
    ({'config': {'log-level': 'debug', 'uplink': ['eth0'], 'pod-cidr': '10.244.1.0/24', 'masquerade': False}}, {'log-level': 'debug', 'masquerade': False}),
    ({'metricsListen': '', 'healthPort': 10965}, {'health-listen': '127.0.0.1:10965'}),
    ({'uiListen': 'unix:/run/polder/ui.sock', 'uiHosts': ['page.example']}, {'ui-listen': 'unix:/run/polder/ui.sock', 'ui-host': ['page.example']}),
    ({'tunnel': 'none'}, {'tunnel': 'none'}),
    ({'loadBalancer': {'pools': ['192.0.2.64/26'], 'announce': 'none', 'returnSeconds': 0}},
     {'load-balancer-pools': ['192.0.2.64/26'], 'load-balancer-announce': 'none', 'load-balancer-return': 0}),
    ({'services': {'forwarding': 'dsr', 'balancing': 'maglev', 'maglevTableSize': 65521, 'nodePortRange': '30000-31000',
                   'nodePortAddresses': ['192.0.2.0/24', '2001:db8::/64'], 'maxServices': 1024, 'maxBackends': 2048,
                   'maxServiceCells': 131072, 'maxServiceSources': 128, 'maxServiceClients': 256}},
     {'forwarding': 'dsr', 'balancing': 'maglev', 'maglev-table-size': 65521, 'node-port-range': '30000-31000',
      'node-port-addresses': ['192.0.2.0/24', '2001:db8::/64'], 'max-services': 1024, 'max-backends': 2048,
      'max-service-cells': 131072, 'max-service-sources': 128, 'max-service-clients': 256}),
    ({'cni': {'configName': '05-polder.conflist', 'plugins': [{'type': 'portmap', 'capabilities': {'portMappings': True}}]}},
     {'cni-config': '/etc/polder/05-polder.conflist'}),
    ({'bpffs': {'mount': False}, 'image': {'repository': 'registry.example/polder', 'tag': 'x'}, 'podAnnotations': {'a/b': 'c: d'}}, {}),
]


def read(*path):
    with open(os.path.join(DEPLOY, *path), encoding='utf-8') as file:
        return file.read()


def parts(text):
    found = [part for part in yaml.safe_load_all(text) if part]
    kinds = {part['kind']: part for part in found}
    assert len(kinds) == len(found), 'a kind twice'
    return kinds


def render(values):
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        json.dump(values, file)
        file.flush()
        return subprocess.check_output([GENERATE, '--values', file.name], text=True)


def version():
    with open(os.path.join(SOURCE, 'meson.build'), encoding='utf-8') as file:
        return re.search(r"version: '([^']+)'", file.read()).group(1)


def check_config(config_map):
    """polderd takes the configuration: with the machine's directories, since those of a pod are not there."""
    data = config_map['data']
    config = json.loads(data['polderd.json'])
    name = os.path.basename(config['cni-config'])
    assert json.loads(data[name])['plugins'][0]['type'] == 'polder-cni', name
    with tempfile.TemporaryDirectory() as directory:
        for place in ('cgroup', 'sysctl-dir', 'cni-config-dir'):
            assert config[place].startswith('/host/'), place
            config[place] = directory
        path = os.path.join(directory, 'polderd.json')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(config, file)
        done = subprocess.run([os.path.join(BUILD, 'agent', 'polderd'), '--config', path, '--node-name=n1', '--check-config'],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return config


def manifest_is_what_the_chart_gives():
    done = subprocess.run([GENERATE, '--check'], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout


def objects_have_the_versions_of_the_api():
    found = {**parts(read('kubernetes', 'polder.yaml')), **parts(read('kubernetes', 'cleanup.yaml')), **parts(read('kubernetes', 'rbac.yaml'))}
    assert {kind: part['apiVersion'] for kind, part in found.items()} == API_VERSIONS, found.keys()


def rights_are_those_of_the_rbac_manifest():
    ours, theirs = parts(read('kubernetes', 'polder.yaml')), parts(read('kubernetes', 'rbac.yaml'))
    for kind in ('ServiceAccount', 'ClusterRole', 'ClusterRoleBinding'):
        assert ours[kind] == theirs[kind], kind


def named(text):
    return {(part['kind'], part['metadata']['name']): part for part in yaml.safe_load_all(text) if part}


def pools_bring_the_rights_that_they_need():
    without, pools = named(render({})), named(render({'loadBalancer': {'pools': ['192.0.2.64/26']}}))
    rights = named(read('kubernetes', 'rbac-load-balancer.yaml'))
    assert {name: pools[name] for name in set(pools) - set(without)} == rights, set(pools) - set(without)
    config = json.loads(pools['ConfigMap', 'polder']['data']['polderd.json'])
    assert config['load-balancer-pools'] == ['192.0.2.64/26'] and config['load-balancer-announce'] == 'l2', config
    check_config(pools['ConfigMap', 'polder'])
    added = [found['DaemonSet', 'polder']['spec']['template']['spec']['containers'][0]['securityContext']['capabilities']['add']
             for found in (without, pools)]
    assert set(added[1]) - set(added[0]) == {'NET_RAW'}, added
    assert not [key for key in json.loads(without['ConfigMap', 'polder']['data']['polderd.json']) if 'load-balancer' in key]


def images_are_of_this_version():
    wanted = f'localhost/polder:{version()}'
    for name in ('polder.yaml', 'cleanup.yaml'):
        spec = parts(read('kubernetes', name))['DaemonSet']['spec']['template']['spec']
        for container in spec['containers'] + spec.get('initContainers', []):
            assert container['image'] == wanted, f'{name}: {container["image"]}, not {wanted}'


def no_container_is_privileged():
    for name in ('polder.yaml', 'cleanup.yaml'):
        spec = parts(read('kubernetes', name))['DaemonSet']['spec']['template']['spec']
        for container in spec['containers'] + spec.get('initContainers', []):
            context = container['securityContext']
            assert not context.get('privileged') and context['capabilities']['drop'] == ['ALL'], container['name']
            assert context['readOnlyRootFilesystem'] is True, container['name']
        assert 'hostPID' not in spec and 'hostIPC' not in spec


def agent_runs_on_every_node_and_is_replaced_one_at_a_time():
    found = parts(read('kubernetes', 'polder.yaml'))['DaemonSet']['spec']
    spec = found['template']['spec']
    assert found['updateStrategy'] == {'type': 'RollingUpdate', 'rollingUpdate': {'maxUnavailable': 1}}
    assert spec['tolerations'] == [{'operator': 'Exists'}] and spec['priorityClassName'] == 'system-node-critical'
    assert found['selector']['matchLabels'].items() <= found['template']['metadata']['labels'].items()
    assert spec['hostNetwork'] is True and spec['dnsPolicy'] == 'Default'


def probes_ask_the_agent_at_the_loopback():
    found = parts(read('kubernetes', 'polder.yaml'))
    listen = json.loads(found['ConfigMap']['data']['polderd.json'])['health-listen']
    [container] = found['DaemonSet']['spec']['template']['spec']['containers']
    for probe, path in (('startupProbe', '/healthz'), ('livenessProbe', '/healthz'), ('readinessProbe', '/readyz')):
        asked = container[probe]['httpGet']
        assert f'{asked["host"]}:{asked["port"]}' == listen and asked['path'] == path, probe
    assert 'ports' not in container


def mounts_have_volumes_and_volumes_mounts():
    for name in ('polder.yaml', 'cleanup.yaml'):
        spec = parts(read('kubernetes', name))['DaemonSet']['spec']['template']['spec']
        mounted = {m['name'] for c in spec['containers'] + spec.get('initContainers', []) for m in c['volumeMounts']}
        assert mounted == {volume['name'] for volume in spec['volumes']}, name
        for volume in spec['volumes']:
            assert 'configMap' in volume or volume['hostPath']['type'] in ('Directory', 'DirectoryOrCreate'), volume


def network_configuration_is_the_one_in_deploy():
    data = parts(read('kubernetes', 'polder.yaml'))['ConfigMap']['data']
    assert json.loads(data['10-polder.conflist']) == json.loads(read('cni', '10-polder.conflist'))


def polderd_takes_the_configuration_of_any_values():
    check_config(parts(read('kubernetes', 'polder.yaml'))['ConfigMap'])
    for values, wanted in VALUES:
        found = check_config(named(render(values))['ConfigMap', 'polder'])
        assert wanted.items() <= found.items(), f'{values}: {found}'


def changed_configuration_restarts_the_agent():
    def mark(values):
        return parts(render(values))['DaemonSet']['spec']['template']['metadata']['annotations']['polder.dev/config-checksum']
    marks = [mark({}), mark({'config': {'log-level': 'debug'}}), mark({'cni': {'plugins': [{'type': 'portmap'}]}})]
    assert len(set(marks)) == 3, marks
    assert mark({'podAnnotations': {'a': 'b'}}) == marks[0]


def values_arrive():
    found = parts(render({'bpffs': {'mount': False}, 'image': {'repository': 'r.example/p', 'tag': 'x'}, 'podAnnotations': {'a/b': 'c: d'},
                          'cni': {'configDir': '/a/net.d', 'binDir': '/a/bin'}, 'maxUnavailable': '10%', 'cgroupDir': '/sys/fs/cgroup/unified'}))
    spec = found['DaemonSet']['spec']['template']['spec']
    assert [c['name'] for c in spec['initContainers']] == ['install-cni'] and spec['containers'][0]['image'] == 'r.example/p:x'
    paths = {volume['hostPath']['path'] for volume in spec['volumes'] if 'hostPath' in volume}
    assert {'/a/net.d', '/a/bin', '/sys/fs/cgroup/unified'} <= paths, paths
    assert found['DaemonSet']['spec']['template']['metadata']['annotations']['a/b'] == 'c: d'
    assert found['DaemonSet']['spec']['updateStrategy']['rollingUpdate']['maxUnavailable'] == '10%'


def template_that_is_not_understood_is_refused():
    sys.path.insert(0, os.path.join(DEPLOY, 'kubernetes'))
    import go_template  # pylint: disable=import-outside-toplevel
    for text in ('{{ lookup "v1" }}', '{{ if .a }}', '{{ end }}', '{{ $x }}', '{{ .a.b.c }}', '{{ (printf "x" }}'):
        try:
            go_template.Templates({'x': text}).render('x', {'a': {'b': 1}})
        except go_template.TemplateError:
            continue
        raise AssertionError(text)
    given = go_template.Templates({'x': '{{ range $k, $v := .m }}{{ $k }}={{ $v }},{{ end }}{{- /* no */ -}} {{ if not .n }}y{{ else }}n{{ end }}'})
    assert given.render('x', {'m': {'b': 2, 'a': True}}) == 'a=true,b=2,y'


CHECKS = [manifest_is_what_the_chart_gives, objects_have_the_versions_of_the_api, rights_are_those_of_the_rbac_manifest, pools_bring_the_rights_that_they_need,
          images_are_of_this_version, no_container_is_privileged, agent_runs_on_every_node_and_is_replaced_one_at_a_time,
          probes_ask_the_agent_at_the_loopback, mounts_have_volumes_and_volumes_mounts, network_configuration_is_the_one_in_deploy,
          polderd_takes_the_configuration_of_any_values, changed_configuration_restarts_the_agent, values_arrive,
          template_that_is_not_understood_is_refused]


def run(report):
    """How many failed."""
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:  # whatever is wrong with a manifest
            failed += 1
            report('not ok', f'manifests.{check.__name__}', f'{type(error).__name__}: {error}')
        else:
            report('ok', f'manifests.{check.__name__}')
    return failed
