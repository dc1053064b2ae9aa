# SPDX-License-Identifier: Apache-2.0
"""The same world told otherwise: every packet must have the same outcome."""

import copy
import json
import random

from frames import ICMP, ICMPV6
from labels import address, is_ipv4
from rules import cluster_policy, network_policy
from timeline import Timeline
from case_runner import OPTIONS, Difference
from worlds import Maker


def told_in_another_order(case, rng):
    """Objects come one by one, policies before or after what they select, with passes in between."""
    steps = []
    for step in case['steps']:
        if step['op'] == 'put' and len(step['objects']) > 1:
            objects = list(step['objects'])
            if len({(o['kind'], o['metadata'].get('namespace'), o['metadata']['name']) for o in objects}) == len(objects):
                rng.shuffle(objects)
            for obj in objects:
                steps.append({'op': 'put', 'objects': [obj]})
                if rng.random() < 0.2:
                    steps.append({'op': 'reconcile'})
        else:
            steps.append(step)
    first = next(number for number, step in enumerate(steps) if step['op'] == 'run')
    before = [step for step in steps[:first] if step['op'] != 'reconcile']
    if len({json.dumps(step) for step in before}) == len(before):
        rng.shuffle(before)
    return {'name': case['name'], 'steps': before + [{'op': 'reconcile'}] + steps[first:]}


SPACE = 'kubernetes.io/metadata.name'


def renamed(case, rng):
    """Other names of the same order, for namespaces, pods, containers and policies."""
    prefix = rng.choice(['a', 'zz-', 'team-0-'])

    def rename(value, key=None):
        if isinstance(value, list):
            return [rename(item, key) for item in value]
        if isinstance(value, dict):
            if value.get('key') == SPACE and value.get('values'):
                return dict(value, values=[prefix + item for item in value['values']])
            return {k: rename(v, k) for k, v in value.items()}
        if isinstance(value, str) and (key in ('namespace', SPACE, 'from', 'container')):
            return prefix + value
        return value

    steps = []
    for step in case['steps']:
        objects = []
        for obj in step.get('objects', ()):
            made = rename(obj)
            if obj['kind'] != 'Node':
                made['metadata']['name'] = prefix + obj['metadata']['name']
            if obj['kind'] in ('Pod', 'NetworkPolicy'):  # a missing namespace has a name too
                made['metadata']['namespace'] = prefix + obj['metadata'].get('namespace', 'default')
            objects.append(made)
        made = rename({key: value for key, value in step.items() if key != 'objects'})
        if objects:
            made['objects'] = objects
        if step['op'] in ('attach', 'delete') and step.get('kind') != 'Node':
            made['name'] = prefix + step['name']
        if step['op'] == 'delete' and not step.get('namespace'):
            made['namespace'] = ''
        steps.append(made)
    return {'name': case['name'], 'steps': steps}


def with_policies_that_come_and_go(case, rng):
    """Policies are added and removed again before each round."""
    steps, maker, number = [], Maker(rng), 0
    for step in case['steps']:
        if step['op'] == 'run' and rng.random() < 0.5:
            number += 1
            maker.namespaces = sorted({s['namespace'] for s in case['steps'] if s['op'] == 'attach'})
            extra = [cluster_policy(maker, f'extra{number}'), network_policy(maker, f'extra{number}')]
            steps += [{'op': 'put', 'objects': extra}, {'op': 'reconcile'}]
            steps += [{'op': 'delete', 'kind': obj['kind'], 'namespace': obj['metadata'].get('namespace', 'default' if obj['kind'] ==
                       'NetworkPolicy' else ''), 'name': obj['metadata']['name']} for obj in extra]
            steps.append({'op': 'reconcile'})
        steps.append(step)
    return {'name': case['name'], 'steps': steps}


def split(case, _):
    """Each NetworkPolicy becomes one for each rule, which together say the same."""
    steps, parts = [], {}
    for step in case['steps']:
        if step['op'] == 'put':
            for obj in step['objects']:
                if obj['kind'] != 'NetworkPolicy':
                    steps.append({'op': 'put', 'objects': [obj]})
                    continue
                key = obj['metadata'].get('namespace', 'default'), obj['metadata']['name']
                steps += [gone(key[0], name) for name in parts.get(key, ())]
                made = pieces(obj)
                parts[key] = [piece['metadata']['name'] for piece in made]
                steps += [{'op': 'put', 'objects': [piece]} for piece in made]
        elif step['op'] == 'delete' and step['kind'] == 'NetworkPolicy':
            steps += [gone(step['namespace'], name) for name in parts.pop((step['namespace'], step['name']), ())]
        else:
            steps.append(step)
    return {'name': case['name'], 'steps': steps}


def gone(namespace, name):
    return {'op': 'delete', 'kind': 'NetworkPolicy', 'namespace': namespace, 'name': name}


def pieces(obj):
    spec = obj['spec']
    types = spec.get('policyTypes') or ['Ingress'] + (['Egress'] if spec.get('egress') else [])
    made = []
    for kind in types:
        section = kind.lower()
        for number, rule in enumerate(spec.get(section) or [None]):
            piece = {'apiVersion': obj['apiVersion'], 'kind': obj['kind'],
                     'metadata': dict(obj['metadata'], name=f'{obj["metadata"]["name"]}-{section}-{number}'),
                     'spec': {'policyTypes': [kind]}}
            if 'podSelector' in spec:
                piece['spec']['podSelector'] = spec['podSelector']
            if rule is not None:
                piece['spec'][section] = [rule]
            made.append(piece)
    return made


def with_restarts(case, _):
    """The agent ends and starts again between the rounds."""
    steps = []
    for step in case['steps']:
        steps.append(step)
        if step['op'] == 'run':
            steps.append({'op': 'restart'})
    return {'name': case['name'], 'steps': steps}


# ---------------------------------------------------------------- one family's world in the other's addresses

MIRROR = dict(OPTIONS, pod_ranges=['10.1.0.0/24', 'fd44::a01:0/120'],
              node_addresses=['192.168.7.1/24', 'fd44::c0a8:701/120'])


def to_v6(text):
    """IPv4 addresses and blocks below fd44::/96."""
    plain, _, bits = text.partition('/')
    number = address(plain)
    mirrored = f'fd44::{number >> 16 & 0xffff:x}:{number & 0xffff:x}' if is_ipv4(number) else plain
    return mirrored + (f'/{int(bits) + 96 if is_ipv4(number) else bits}' if bits else '')


def is_v4_text(value):
    return isinstance(value, str) and value.count('.') == 3 and value.replace('.', '').partition('/')[0].isdigit()


def only_v4(case):
    """The case with IPv4 alone in its packets and its blocks, and both families for every pod."""
    case = copy.deepcopy(case)
    for step in case['steps']:
        if step['op'] == 'attach':
            step['addresses'] = both(step['addresses'])
        for obj in step.get('objects', ()):
            if obj['kind'] == 'Pod':
                texts = both([item['ip'] for item in obj['status']['podIPs']])
                obj['status']['podIPs'] = [{'ip': text} for text in texts]
                obj['status'].pop('podIP', None)
            elif obj['kind'] == 'Node':
                obj['spec']['podCIDRs'] = both(obj['spec']['podCIDRs'])
                found = obj['status']['addresses']
                v4 = [item for item in found if is_v4_text(item['address'])]
                obj['status']['addresses'] = v4 + [dict(item, address=to_v6(item['address'])) for item in v4]
            else:
                blocks_of_v4(obj['spec'] if 'spec' in obj else {})
        if step['op'] == 'run':
            step['packets'] = [packet for packet in step['packets'] if 'of' in packet or
                               (':' not in packet['to'] and packet.get('hook') in ('from_pod', 'from_wire', 'to_pod'))]
            for packet in step['packets']:
                if packet.get('proto') == ICMP and packet.get('type') in (5, 10, 13, 14, 17, 18):
                    packet['type'] = 40  # those have answers in IPv4 alone
    return case


def both(texts):
    v4 = [text for text in texts if is_v4_text(text)]
    if not v4 and texts:  # a pod of IPv6 alone: its number in the other family
        v4 = ['10.1.' + ('0.' if text.startswith('fd00:1::') else f'{text.split(":")[3]}.') + str(int(text.split(':')[-1], 16))
              for text in texts[:1]]
    return v4 + [to_v6(text) for text in v4]


def blocks_of_v4(spec):
    """A block of IPv6 becomes one that no address of either telling has."""
    def walk(value):
        if isinstance(value, dict):
            if 'cidr' in value and ':' in value['cidr']:
                value.clear()
                value['cidr'] = '240.0.0.0/8'
            for key, item in value.items():
                if key == 'networks':
                    value[key] = sorted({'240.0.0.0/8' if ':' in text else text for text in item})
                else:
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
    walk(spec)


def mirrored(case, _):
    """Every IPv4 address in blocks and packets becomes an IPv6 one."""
    def turn(value, key=None):
        if isinstance(value, dict):
            return {k: turn(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [turn(item, key) for item in value]
        if key in ('cidr', 'except', 'networks', 'to', 'src', 'dst', 'router') and is_v4_text(value):
            return to_v6(value)
        return value

    steps = []
    for step in case['steps']:
        if step['op'] == 'put':
            step = dict(step, objects=[dict(obj, spec=turn(obj['spec'])) if 'Policy' in obj['kind'] else obj
                                       for obj in step['objects']])
        elif step['op'] == 'run':
            step = dict(step, packets=[mirror_packet(turn(packet)) for packet in step['packets']])
        steps.append(step)
    return {'name': case['name'], 'steps': steps}


OTHER_TYPES = {8: 128, 0: 129, 13: 144, 14: 145, 17: 146, 40: 200}


def mirror_packet(packet):
    if packet.get('proto') == ICMP:
        packet['proto'] = ICMPV6
        packet['type'] = OTHER_TYPES[packet['type']]
    packet.pop('no_check', None)
    return packet


RELATIONS = [
    ('order_of_arrival', told_in_another_order, None),
    ('other_names', renamed, None),
    ('added_and_removed', with_policies_that_come_and_go, None),
    ('split_policies', split, None),
    ('restart_between_rounds', with_restarts, None),
    ('ipv6_for_ipv4', mirrored, MIRROR),
]


def world(seed, only_ipv4):
    case = Timeline(seed, openers=40, plain=True).case(f'world-{seed}')
    return only_v4(case) if only_ipv4 else case


def check(runner, name, change, seed):
    """Runs a world and its other telling. Raises Difference."""
    case = world(seed, name == 'ipv6_for_ipv4')
    runner.run(case)
    before = runner.outcomes
    runner.run(change(copy.deepcopy(case), random.Random(f'{seed}-{name}')))
    if len(before) != len(runner.outcomes):
        raise Difference(f'{len(before)} packets and {len(runner.outcomes)} in the other telling')
    for number, (one, other) in enumerate(zip(before, runner.outcomes)):
        if one != other and one and other:  # none: an ICMP error, which a change may hold up
            raise Difference(f'packet {number}: {one} and {other} in the other telling')
