# SPDX-License-Identifier: Apache-2.0
"""The try-out: a node, its pods and a world outside, in network namespaces of this machine. Started by deploy/try-out."""

import argparse
import os
import shutil
import sys

from try_out_shared import (EXAMPLES, EXPECTED, MONITOR, OUTSIDE, PREFIX, RUN, STRANGER, Monitor, Node, Place,
                            address_outside, address_uplink, built, connect_pod, ip, load_examples, make_namespace, other_targets,
                            print_table, probe, show, start_agent, take_down)

NODE = Node('try', PREFIX + 'node', ['192.0.2.1', '2001:db8:2::1'], ['10.77.0.0/24', 'fd00:77::/112'], RUN)


def make_wires():
    """The node and the outside, with one wire between them."""
    make_namespace(NODE.namespace)
    make_namespace(OUTSIDE)
    ip('link', 'add', 'uplink0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', OUTSIDE, namespace=NODE.namespace)
    address_outside()
    address_uplink(NODE)


def make_pods(objects):
    """Places and targets of the table."""
    made = [connect_pod(NODE, item) for item in objects if item['kind'] == 'Pod']
    places = [place for place, _ in made] + [
        Place('monitoring (outside)', OUTSIDE, MONITOR), Place('stranger (outside)', OUTSIDE, STRANGER),
        Place('the node', NODE.namespace, NODE.addresses, NODE.cgroup)]
    return places, [target for _, target in made] + other_targets(objects)


def tell_how_to_go_on():
    polderctl = f'{os.path.relpath(built("polderctl"))} --socket {NODE.socket}'
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
    shutil.copytree(EXAMPLES, RUN + '/resources')
    start_agent(NODE, '--resources', RUN + '/resources', '--pod-cidr', ','.join(NODE.ranges))
    places, targets = make_pods(objects)
    print(f'A node with {sum(item["kind"] == "Pod" for item in objects)} pods, '
          f'{sum(item["kind"] == "Service" for item in objects)} Services and '
          f'{sum(item["kind"].endswith("NetworkPolicy") for item in objects)} policies is up.', flush=True)
    monitor = Monitor(NODE)
    found = {place.name: probe(place, targets) for place in places}
    return print_table(places, targets, found, monitor.end(), lambda place, target: target.name in EXPECTED[place.name])


def main():
    parser = argparse.ArgumentParser(prog='deploy/try-out')
    parser.add_argument('--once', action='store_true')
    parser.add_argument('--down', action='store_true')
    parser.add_argument('--no-install', action='store_true')
    args = parser.parse_args()
    take_down()
    if args.down:
        return 0
    return show(bring_up, tell_how_to_go_on, args.once)


if __name__ == '__main__':
    sys.exit(main())
