# SPDX-License-Identifier: Apache-2.0
"""Every policy of a small scope: 2 namespaces x 2 pods, 2 protocols, 2 ports, at most 2 rules. Each policy is asked with a packet for each
ordered pair of pods, protocol, port and family; and each pod with an address of a pod range that no object names, both ways.

NetworkPolicy: 6 kinds of peers x 6 kinds of ports are 36 rules; none, one or two of them (their order does not matter) are 703
sections; each as ingress and as egress, for all pods of the namespace and for one: 2,812 policies. ClusterNetworkPolicy: 3 actions x
4 kinds of peers x 3 kinds of ports are 36 rules; one or two in their order are 1,332 sections; each as ingress and as
egress, in both tiers, with and without a NetworkPolicy that isolates the pods: 10,656 worlds.
"""

from itertools import combinations_with_replacement, product

PODS = {'a/x': ['10.1.0.5', 'fd00:1::5'], 'a/y': ['10.1.0.6', 'fd00:1::6'], 'b/x': ['10.1.0.7', 'fd00:1::7'],
        'b/y': ['10.1.0.8', 'fd00:1::8']}
STRANGER = ['10.1.1.9', 'fd00:1:0:1::9']  # a pod's of another node, whose object is late

PEERS = [
    None,
    [{'podSelector': {'matchLabels': {'pod': 'x'}}}],
    [{'namespaceSelector': {'matchLabels': {'space': 'b'}}}],
    [{'namespaceSelector': {}, 'podSelector': {'matchExpressions': [{'key': 'pod', 'operator': 'NotIn', 'values': ['x']}]}}],
    [{'ipBlock': {'cidr': '10.1.0.8/32'}}, {'ipBlock': {'cidr': 'fd00:1::8/128'}}],
    [{'ipBlock': {'cidr': '10.1.0.0/24', 'except': ['10.1.0.5/32']}}, {'ipBlock': {'cidr': 'fd00:1::6/127'}}],
]
PORTS = [
    None,
    [{'port': 80}],
    [{'protocol': 'UDP', 'port': 81}],
    [{'protocol': 'UDP'}],
    [{'protocol': 'TCP', 'port': 80, 'endPort': 81}],
    [{'port': 'named'}, {'protocol': 'UDP', 'port': 'named'}],
]
CLUSTER_PEERS = {
    'ingress': [{'namespaces': {'matchLabels': {'space': 'b'}}}, {'namespaces': {}},
                {'pods': {'namespaceSelector': {}, 'podSelector': {'matchLabels': {'pod': 'x'}}}}, {'unknown': {}}],
    'egress': [{'namespaces': {'matchLabels': {'space': 'b'}}}, {'networks': ['10.1.0.5/32', 'fd00:1::4/126', '10.1.1.8/31', 'fd00:1:0:1::8/125']},
               {'pods': {'namespaceSelector': {}, 'podSelector': {'matchLabels': {'pod': 'x'}}}}, {'unknown': {}}],
}
CLUSTER_PROTOCOLS = [None, [{'tcp': {'destinationPort': {'number': 80}}}],
                     [{'udp': {'destinationPort': {'range': {'start': 80, 'end': 81}}}}]]

ISOLATING = {'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy', 'metadata': {'name': 'base', 'namespace': 'a'},
             'spec': {'podSelector': {'matchLabels': {'pod': 'x'}}, 'policyTypes': ['Ingress', 'Egress'],
                      'ingress': [{'ports': [{'port': 81}]}], 'egress': [{'ports': [{'port': 81}]}]}}


def setup():
    steps = [{'op': 'put', 'objects': [{'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name, 'labels': {'space': name}}}
                                       for name in 'ab']},
             {'op': 'put', 'objects': [{'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': 'n2'},
                                        'spec': {'podCIDRs': ['10.1.1.0/24', 'fd00:1:0:1::/64']}, 'status': {}}]}]
    for slot, (key, addresses) in enumerate(PODS.items()):
        namespace, name = key.split('/')
        ports = [{'name': 'named', 'containerPort': 80 if name == 'x' else 81},
                 {'name': 'named', 'containerPort': 81 if name == 'x' else 80, 'protocol': 'UDP'}]
        steps.append({'op': 'put', 'objects': [{
            'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'namespace': namespace, 'labels': {'pod': name}},
            'spec': {'nodeName': 'n1', 'containers': [{'name': 'c', 'image': 'x', 'ports': ports}]},
            'status': {'phase': 'Running', 'podIPs': [{'ip': text} for text in addresses]}}]})
        steps.append({'op': 'attach', 'container': key, 'namespace': namespace, 'name': name, 'slot': slot,
                      'addresses': addresses})
    return steps


def questions(turn):
    """A round of packets. Ports are taken again after some rounds: then they belong to flows that are known."""
    packets, sport = [], 30000 + turn % 16 * 200

    def ask(**ends):
        nonlocal sport
        for proto, dport in product((6, 17), (80, 81)):
            packets.append({**ends, 'proto': proto, 'sport': sport, 'dport': dport, 'flags': 2 if proto == 6 else 0})
            sport += 1

    for (source, own), addresses in product(PODS.items(), [*PODS.values(), STRANGER]):
        for to in addresses:
            if to not in own:
                ask(hook='from_pod', **{'from': source, 'to': to})
    for addresses in PODS.values():
        for source, to in zip(STRANGER, addresses):
            ask(hook='from_wire', src=source, to=to)
    return {'op': 'run', 'packets': packets}


def rule(who, peers, ports):
    made = {}
    if peers is not None:
        made[who] = peers
    if ports is not None:
        made['ports'] = ports
    return made


def network_policies():
    kinds = list(product(PEERS, PORTS))
    sections = [()] + [(one,) for one in kinds] + list(combinations_with_replacement(kinds, 2))
    for subject, (direction, who) in product(({}, {'matchLabels': {'pod': 'x'}}), (('ingress', 'from'), ('egress', 'to'))):
        for section in sections:
            yield [{'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy', 'metadata': {'name': 'p', 'namespace': 'a'},
                    'spec': {'podSelector': subject, 'policyTypes': [direction.capitalize()],
                             direction: [rule(who, *parts) for parts in section]}}]


def cluster_policies():
    for isolated, tier, direction in product((False, True), ('Admin', 'Baseline'), ('ingress', 'egress')):
        who = 'from' if direction == 'ingress' else 'to'
        kinds = list(product(('Accept', 'Deny', 'Pass'), CLUSTER_PEERS[direction], CLUSTER_PROTOCOLS))
        for section in [(one,) for one in kinds] + list(product(kinds, kinds)):
            rules = []
            for action, peer, protocols in section:
                rules.append({'action': action, who: [peer]})
                if protocols:
                    rules[-1]['protocols'] = protocols
            made = [{'apiVersion': 'policy.networking.k8s.io/v1alpha2', 'kind': 'ClusterNetworkPolicy', 'metadata': {'name': 'p'},
                     'spec': {'tier': tier, 'priority': 1, 'subject': {'namespaces': {'matchLabels': {'space': 'a'}}},
                              direction: rules}}]
            yield made + [ISOLATING] if isolated else made


CHUNK = 60  # policies a case


def cases(part, parts):
    """The share of one of several workers. Each case begins with an empty node."""
    for name, policies in (('network-policy', network_policies()), ('cluster-network-policy', cluster_policies())):
        steps, count, chunk, before = setup(), 0, 0, []
        for number, objects in enumerate(policies):
            if number // CHUNK % parts != part:
                continue
            if number // CHUNK != chunk and count:
                yield {'name': f'exhaustive-{name}-{chunk}', 'steps': steps}
                steps, count, before = setup(), 0, []
            chunk = number // CHUNK
            names = {obj['metadata']['name'] for obj in objects}
            for obj in before:
                if obj['metadata']['name'] not in names:
                    steps.append({'op': 'delete', 'kind': obj['kind'], 'name': obj['metadata']['name'],
                                  'namespace': obj['metadata'].get('namespace', '')})
            steps += [{'op': 'put', 'objects': objects}, {'op': 'reconcile'}, questions(count)]
            before = objects
            count += 1
        if count:
            yield {'name': f'exhaustive-{name}-{chunk}', 'steps': steps}
