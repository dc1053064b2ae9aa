# SPDX-License-Identifier: Apache-2.0
"""The try-out of a cluster: etcd, an API server and three nodes in network namespaces of this machine. Started by deploy/try-out."""

import argparse
import json
import os
import signal
import stat
import subprocess
import sys

from try_out_shared import (EXAMPLES, EXPECTED, MONITOR, OUTSIDE, OUTSIDE_ADDRESSES, PREFIX, RUN, SOURCE, STRANGER, Monitor, Node,
                            Place, address_outside, address_uplink, built, connect_pod, ip, load_examples, make_namespace, other_targets,
                            print_table, probe, remember, show, start_agent, take_down, wait_until)

TESTS = os.path.join(SOURCE, 'tests')
sys.path[:0] = [os.path.join(TESTS, 'kubernetes'), os.path.join(TESTS, 'api'), os.path.join(TESTS, 'netns'), TESTS]

from lib import objects as kinds
from lib.netns import NETNS_DIR, CommandError, Namespace
from lib.traffic import Timeout
from api_server import Authority
from cluster import CNP_RESOURCE
from control_plane import ControlPlane
from debian_packages import Missing
import tools

PORT = 6443
SKIPPED = 77  # exit status: the API server is not to be had here
FABRIC = PREFIX + 'fabric'
NODES = [Node(f'node{n}', f'{PREFIX}node{n}', [f'192.0.2.{n}', f'2001:db8:2::{n}'], [f'10.77.{n}.0/24', f'fd00:77:0:{n}::/64'],
              f'{RUN}/node{n}') for n in (1, 2, 3)]
PLANE, KUBECTL = RUN + '/plane', RUN + '/kubectl'


class There(Namespace):
    """A namespace that is there."""

    def __init__(self, name):
        self.label = self.name = name
        self.path = f'{NETNS_DIR}/{name}'
        self.factory, self.deleted = None, True


# ---------------------------------------------------------------- up

def make_wires(tunnel):
    """The nodes and the outside on a bridge. With the tunnel no route says where other nodes' pods are."""
    for name in (FABRIC, OUTSIDE, *(node.namespace for node in NODES)):
        make_namespace(name)
    ip('link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0', 'forward_delay', '0', namespace=FABRIC)
    ip('link', 'set', 'br0', 'up', namespace=FABRIC)
    for number, (namespace, link) in enumerate([(OUTSIDE, 'wire0'), *((node.namespace, 'uplink0') for node in NODES)]):
        ip('link', 'add', link, 'type', 'veth', 'peer', 'name', f'port{number}', 'netns', FABRIC, namespace=namespace)
        ip('link', 'set', f'port{number}', 'master', 'br0', 'up', namespace=FABRIC)
    address_outside()
    for node in NODES:
        address_uplink(node)
    for node in NODES if tunnel == 'none' else []:
        for other in (other for other in NODES if other is not node):
            for family, prefix in enumerate(other.ranges):
                ip('route', 'add', prefix, 'via', other.addresses[family], namespace=node.namespace)


def start_plane(found):
    """etcd and the API server, in the outside's namespace; they outlive this process."""
    os.makedirs(RUN + '/authority')
    plane = ControlPlane(found, There(OUTSIDE), PLANE, Authority(RUN + '/authority'), OUTSIDE_ADDRESSES[0], PORT)
    try:
        for daemon in (plane.etcd, plane.server):
            daemon.start()
            remember(daemon.process.pid)
    finally:
        for daemon in (plane.etcd, plane.server):
            if daemon.process and not daemon.alive():
                print(f'try-out: {daemon.log_tail()}', file=sys.stderr)
    plane.wait_ready()
    with open(RUN + '/agent.kubeconfig', 'w', encoding='ascii') as file:
        json.dump(plane.kubeconfig('token-1'), file)
    with open(KUBECTL, 'w', encoding='ascii') as file:
        file.write(f'#!/bin/sh\n# kubectl where the API server is.\nexport KUBECONFIG={PLANE}/admin.kubeconfig\n'
                   f'exec nsenter --net={NETNS_DIR}/{OUTSIDE} -- {found.kubectl} "$@"\n')
    os.chmod(KUBECTL, stat.S_IRWXU)
    return plane


def apply_before_pods(plane):
    """What an administrator gives the cluster: Polder's rights, the nodes, and the examples but for their pods."""
    plane.kubectl('apply', '-f', os.path.join(SOURCE, 'deploy', 'kubernetes', 'rbac.yaml'))
    plane.kubectl('apply', objects=[CNP_RESOURCE])
    plane.kubectl('wait', '--for=condition=Established', '--timeout=20s', 'crd/' + CNP_RESOURCE['metadata']['name'])
    for node in NODES:
        plane.client.put(kinds.node(node.name, node.ranges, node.addresses))
    plane.kubectl('apply', *(word for name in ('namespaces', 'policies', 'cluster-policies', 'services')
                             for word in ('-f', os.path.join(EXAMPLES, name + '.json'))))
    plane.kubectl('apply', '-f', os.path.join(EXAMPLES, 'kubernetes'))


def pods_of(deployment):
    """Those that the controllers of a cluster would make."""
    meta, template = deployment['metadata'], deployment['spec']['template']
    return [{'apiVersion': 'v1', 'kind': 'Pod', 'spec': template['spec'],
             'metadata': {**template['metadata'], 'namespace': meta['namespace'], 'name': f'{meta["name"]}-{number}'}}
            for number in range(1, deployment['spec']['replicas'] + 1)]


def run_pod(plane, node, pod):
    """What scheduler, kubelet and container runtime do: the pod is bound, connected by CNI, and its status told."""
    bound = {**pod, 'spec': {**pod['spec'], 'nodeName': node.name}}
    plane.kubectl('apply', objects=[bound])
    place, target = connect_pod(node, bound)
    plane.client.put({**bound, 'status': {'phase': 'Running', 'podIP': place.addresses[0],
                                          'podIPs': [{'ip': address} for address in place.addresses],
                                          'conditions': [{'type': 'Ready', 'status': 'True'}]}})
    return place, target


def publish_slices(plane, examples, made):
    """What the controller of EndpointSlices does for Services with a selector; `made` are (pod, node, place)."""
    for service in (item for item in examples if item['kind'] == 'Service' and item['spec'].get('selector')):
        meta, port = service['metadata'], service['spec']['ports'][0]
        chosen = [(pod, node, place) for pod, node, place in made if pod['metadata']['namespace'] == meta['namespace']
                  and service['spec']['selector'].items() <= pod['metadata']['labels'].items()]
        number = next(each['containerPort'] for each in chosen[0][0]['spec']['containers'][0]['ports']
                      if port['targetPort'] in (each['name'], each['containerPort']))
        plane.kubectl('apply', objects=[kinds.endpoint_slice(
            f'{meta["name"]}-{name}', meta['name'], [kinds.endpoint(place.addresses[family], node.name) for _, node, place in chosen],
            [kinds.slice_port(number, name=port['name'])], meta['namespace']) for family, name in enumerate(('ipv4', 'ipv6'))])


def make_pods(plane, examples):
    """The examples' pods, each on another node in turn. Returns places and targets of the table."""
    deployments = plane.kubectl.json('get', 'deployments', '-A')['items']
    wanted = [item for item in examples if item['kind'] == 'Pod'] + [pod for item in deployments for pod in pods_of(item)]
    made, targets = [], []
    for number, pod in enumerate(wanted):
        node = NODES[number % len(NODES)]
        place, target = run_pod(plane, node, pod)
        made.append((pod, node, place))
        targets.append(target)
    publish_slices(plane, examples, made)
    places = [place for _, _, place in made] + [
        Place('monitoring (outside)', OUTSIDE, MONITOR), Place('stranger (outside)', OUTSIDE, STRANGER),
        *(Place(node.name, node.namespace, node.addresses, node.cgroup) for node in NODES)]
    return places, targets + other_targets(examples)


def wait_known(count):
    """All agents know so many pods, and each other."""
    for node in NODES:
        def known(node=node):
            done = subprocess.run([built('polderctl'), '--socket', node.socket, '-o', 'json', 'status'], stdout=subprocess.PIPE, text=True,
                                  check=True, timeout=20)
            return json.loads(done.stdout)['objects'].get('pods') == count
        wait_until(known, 20, f'{node.name} knows {count} pods')


# ---------------------------------------------------------------- the table

def expected(place, target):
    """
    As for the single node. The Deployment's pods are what their namesake is, which everybody reaches, so they too; a node is no pod,
    and reaches its own pods always.
    """
    asked = namesake(target.name)
    if place.cgroup:
        return target.node in (None, place.namespace) or asked in EXPECTED['stranger (outside)']
    return asked in EXPECTED[namesake(place.name)] or asked.partition(':')[0] == namesake(place.name)


def namesake(name):
    """shop/web-2:8080 is another shop/web:8080."""
    pod, colon, port = name.partition(':')
    base, dash, number = pod.rpartition('-')
    return (base if dash and number.isdigit() else pod) + colon + port


def tell_where(places, targets):
    homes = {target.name.split(':')[0]: target.node for target in targets if target.node}
    for node in NODES:
        names = [place.name for place in places if homes.get(place.name) == node.namespace]
        print(f'  {node.name}  {node.addresses[0]:10}{node.ranges[0]:15}{node.ranges[1]:20}{", ".join(names)}', flush=True)


def tell_how_to_go_on():
    polderctl = f'{os.path.relpath(built("polderctl"))} --socket {NODES[1].socket}'
    print(f'''
The cluster is up. Its kubeconfig is {PLANE}/admin.kubeconfig; the API server is in the namespace {OUTSIDE}, so from here:

    {KUBECTL} get nodes
    {KUBECTL} get pods,services,networkpolicies -A -o wide
    {KUBECTL} delete networkpolicy -n shop default-deny      it holds on all nodes within a moment

Each node has its agent; the second one's:

    {polderctl} status
    {polderctl} node list
    {polderctl} explain --from guest/visitor --to shop/db --port 5432
    {polderctl} monitor --drops

There are no controllers here: pods, and endpoints of Services, were made once, as the examples say.
Take it down with: deploy/try-out --down''')


def bring_up(found, tunnel):
    os.makedirs(RUN, mode=0o700)
    examples = load_examples()
    make_wires(tunnel)
    plane = start_plane(found)
    apply_before_pods(plane)
    for node in NODES:
        start_agent(node, '--kubeconfig', RUN + '/agent.kubeconfig', '--tunnel', tunnel)
    places, targets = make_pods(plane, examples)
    wait_known(sum(target.node is not None for target in targets))
    print(f'Three nodes follow one API server; they reach each other\'s pods {"by routes" if tunnel == "none" else "through VXLAN"}:\n')
    tell_where(places, targets)
    monitors = [Monitor(node) for node in NODES]
    found = {place.name: probe(place, targets) for place in places}
    return print_table(places, targets, found, [event for monitor in monitors for event in monitor.end()], expected)


def main():
    parser = argparse.ArgumentParser(prog='deploy/try-out')
    parser.add_argument('--kubernetes', action='store_true')
    parser.add_argument('--once', action='store_true')
    parser.add_argument('--no-install', action='store_true')
    parser.add_argument('--tunnel', choices=('vxlan', 'none', 'auto'), default='vxlan')
    args = parser.parse_args()
    take_down()
    try:
        found = tools.get()
    except Missing as missing:
        print(f'try-out: no API server: {missing}', file=sys.stderr)
        return SKIPPED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return show(lambda: bring_up(found, args.tunnel), tell_how_to_go_on, args.once, (CommandError, Timeout))


if __name__ == '__main__':
    sys.exit(main())
