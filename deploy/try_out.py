# SPDX-License-Identifier: Apache-2.0
"""The try-out: a node, its pods and a world outside, in network namespaces of this machine. Started by deploy/try-out."""

import argparse
import os
import shutil
import subprocess
import sys

from try_out_shared import (EXAMPLES, MONITOR, NODE, NODE_ADDRESSES, OUTSIDE, OUTSIDE_ADDRESSES, POD_RANGES, PODS_BY_ADDRESS, PREFIX, RUN,
                            SOCKET, STRANGER, Failure, Monitor, Place, Target, built, cgroup_root, cni, inside, ip, load_examples, pods,
                            print_table, probe, run, serve, spawn, take_down, wait_until)


def make_wires():
    """The node and the outside, with one wire between them."""
    for name in (NODE, OUTSIDE):
        ip('netns', 'add', name)
        ip('link', 'set', 'lo', 'up', namespace=name)
    ip('link', 'add', 'uplink0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', OUTSIDE, namespace=NODE)
    for namespace, link, addresses in ((NODE, 'uplink0', NODE_ADDRESSES), (OUTSIDE, 'wire0', OUTSIDE_ADDRESSES)):
        ip('addr', 'add', addresses[0] + '/24', 'dev', link, namespace=namespace)
        ip('addr', 'add', addresses[1] + '/64', 'dev', link, 'nodad', namespace=namespace)
        ip('link', 'set', link, 'up', namespace=namespace)
    for address in MONITOR + STRANGER:
        ip('addr', 'add', address, 'dev', 'lo', *(['nodad'] if ':' in address else []), namespace=OUTSIDE)
    for family, gateway in enumerate(OUTSIDE_ADDRESSES):
        ip('route', 'add', 'default', 'via', gateway, namespace=NODE)
        ip('route', 'add', POD_RANGES[family], 'via', NODE_ADDRESSES[family], namespace=OUTSIDE)


def start_agent():
    os.makedirs(RUN + '/bpf')
    run('mount', '-t', 'bpf', '-o', 'mode=0700', 'polder-try', RUN + '/bpf')
    cgroup = os.path.join(cgroup_root(), 'polder-try')
    os.makedirs(cgroup, exist_ok=True)
    shutil.copytree(EXAMPLES, RUN + '/resources')
    process = spawn(inside(NODE) + [
        built('polderd'), '--node-name', 'try', '--resources', RUN + '/resources', '--run-dir', RUN + '/agent', '--state-dir', RUN + '/state',
        '--bpffs', RUN + '/bpf', '--cgroup', cgroup, '--pod-cidr', ','.join(POD_RANGES), '--node-ip',
        ','.join(NODE_ADDRESSES), '--uplink', 'uplink0'], 'polderd.log')
    wait_until(lambda: os.path.exists(SOCKET) or process.poll() is not None, 30, f'{SOCKET} is there')
    result = subprocess.run([built('polderctl'), '--socket', SOCKET, 'status', '--wait=40'], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    if result.returncode != 0 or process.poll() is not None:
        with open(RUN + '/polderd.log', encoding='utf-8', errors='replace') as file:
            raise Failure(f'the agent did not become ready: {result.stdout.strip()}\n{file.read()}')
    return cgroup


def make_pods(objects):
    """Each example pod: a namespace, connected by CNI, with a server on its port. Returns places and targets."""
    places, targets = [], []
    for pod in (item for item in objects if item['kind'] == 'Pod'):
        namespace, name = pod['metadata']['namespace'], pod['metadata']['name']
        ip('netns', 'add', PREFIX + name)
        ip('link', 'set', 'lo', 'up', namespace=PREFIX + name)
        result = cni('ADD', namespace, name)
        addresses = [entry['address'].split('/')[0] for entry in result['ips']]
        port = pod['spec']['containers'][0]['ports'][0]['containerPort']
        serve(PREFIX + name, port, f'{namespace}/{name}')
        PODS_BY_ADDRESS.update({address: f'{namespace}/{name}' for address in addresses})
        places.append(Place(f'{namespace}/{name}', PREFIX + name, addresses))
        targets.append(Target(f'{namespace}/{name}:{port}', addresses, port))
    serve(OUTSIDE, 443, 'outside')
    for service in (item for item in objects if item['kind'] == 'Service'):
        port = service['spec']['ports'][0]['port']
        name = f'{service["metadata"]["namespace"]}/{service["metadata"]["name"]}'
        targets.append(Target(f'Service {name}:{port}', service['spec']['clusterIPs'], port))
    targets.append(Target('outside:443', MONITOR, 443))
    places += [Place('monitoring (outside)', OUTSIDE, MONITOR), Place('stranger (outside)', OUTSIDE, STRANGER),
               Place('the node', NODE, NODE_ADDRESSES)]
    return places, targets


def tell_how_to_go_on():
    polderctl = f'{os.path.relpath(built("polderctl"))} --socket {SOCKET}'
    print(f'''
The node is up. Look at it, from {os.getcwd()}:

    {polderctl} status
    {polderctl} pod list
    {polderctl} service list
    {polderctl} policy list
    {polderctl} monitor --drops
    nsenter --net=/run/netns/{PREFIX}visitor bash -c 'cat </dev/tcp/10.96.0.10/80'

Its objects are the files in {RUN}/resources: change or delete one, and it holds within a moment.
Take it down with: deploy/try-out --down''')


def bring_up():
    os.makedirs(RUN, mode=0o700)
    objects = load_examples()
    make_wires()
    cgroup = start_agent()
    places, targets = make_pods(objects)
    print(f'A node with {sum(place.name in pods(objects) for place in places)} pods, '
          f'{sum(item["kind"] == "Service" for item in objects)} Services and '
          f'{sum(item["kind"].endswith("NetworkPolicy") for item in objects)} policies is up.', flush=True)
    monitor = Monitor()
    found = {place.name: probe(place, targets, cgroup) for place in places}
    return print_table(places, targets, found, monitor.end(), objects)


def main():
    parser = argparse.ArgumentParser(prog='deploy/try-out')
    parser.add_argument('--once', action='store_true')
    parser.add_argument('--down', action='store_true')
    parser.add_argument('--no-install', action='store_true')
    args = parser.parse_args()
    take_down()
    if args.down:
        return 0
    try:
        wrong = bring_up()
        if wrong:
            raise Failure('not as the policies mean:\n  ' + '\n  '.join(wrong))
        if not args.once:
            tell_how_to_go_on()
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(f'try-out: {error}', file=sys.stderr)
        if os.path.exists(RUN + '/polderd.log') and not args.once:
            print(f'try-out: the agent\'s log is {RUN}/polderd.log; take it all down with deploy/try-out --down', file=sys.stderr)
        return 1
    finally:
        if args.once:
            take_down()
    return 0


if __name__ == '__main__':
    sys.exit(main())
