#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The oracle against cases made by hand from the API texts. Names carry the item of the semantics: np05 is NP-05, cnp3 CNP-3."""

import itertools
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
from labels import Block, Selector, Unreadable, address
from oracle import CLOSED, World
from policies import ADMIN, BASELINE, NETWORK_POLICY

TCP, UDP, SCTP, ICMP = 6, 17, 132, 1
OUTSIDE = '203.0.113.9'


def namespace(name, **labels):
    return {'kind': 'Namespace', 'metadata': {'name': name, 'labels': labels}}


def pod(name, ip, node='n1', space='a', labels=None, ports=(), spec=None, status=None, meta=None):
    containers = [{'name': 'c', 'ports': [dict(zip(('name', 'protocol', 'containerPort'), port)) for port in ports]}]
    return {'kind': 'Pod', 'metadata': dict({'name': name, 'namespace': space, 'labels': labels or {}}, **(meta or {})),
            'spec': dict({'nodeName': node, 'containers': containers}, **(spec or {})),
            'status': dict({'phase': 'Running', 'podIPs': [{'ip': ip}]}, **(status or {}))}


def policy(name='p', space='a', **spec):
    return {'kind': 'NetworkPolicy', 'metadata': {'name': name, 'namespace': space},
            'spec': dict({'podSelector': {}}, **{key.rstrip('_'): value for key, value in spec.items()})}


def cluster(name='c', tier='Admin', priority=10, subject=None, **sections):
    return {'kind': 'ClusterNetworkPolicy', 'metadata': {'name': name},
            'spec': dict({'tier': tier, 'priority': priority, 'subject': subject or {'namespaces': {}}}, **sections)}


def match(**labels):
    return {'matchLabels': labels}


class Case(unittest.TestCase):
    """Pods a/web 10.1.0.5, a/db 10.1.0.6 and b/web 10.1.0.7 on this node, b/far 10.1.1.5 on another."""

    def setUp(self):
        self.world = World('n1')
        self.put(namespace('a', team='one'), namespace('b', team='two'),
                 {'kind': 'Node', 'metadata': {'name': 'n1', 'labels': {'zone': 'x'}},
                  'status': {'addresses': [{'type': 'InternalIP', 'address': '192.168.7.1'}]}},
                 {'kind': 'Node', 'metadata': {'name': 'n2', 'labels': {'zone': 'y'}},
                  'status': {'addresses': [{'type': 'InternalIP', 'address': '192.168.7.2'},
                                           {'type': 'Hostname', 'address': 'n2'}]}})
        self.local('a', 'web', '10.1.0.5', {'app': 'web'}, [('http', 'TCP', 8080), ('http', 'UDP', 9090)])
        self.local('a', 'db', '10.1.0.6', {'app': 'db'}, [('sql', 'TCP', 5432)])
        self.local('b', 'web', '10.1.0.7', {'app': 'web'}, [('http', 'TCP', 80)])
        self.put(pod('far', '10.1.1.5', node='n2', space='b', labels={'app': 'web'}, ports=[('http', 'TCP', 8081)]))

    def put(self, *objects):
        for obj in objects:
            self.world.put(obj)

    def local(self, space, name, ip, labels, ports=(), **more):
        self.put(pod(name, ip, space=space, labels=labels, ports=ports, **more))
        self.world.attach(f'{space}-{name}', space, name, {}, [ip])
        self.world.in_force()

    def ask(self, direction, who, other, port=80, proto=TCP, hairpin=False):
        return self.world.verdict(self.world.pod_of(who), direction, address(other), proto, port, hairpin)

    def into(self, who, other, port=80, proto=TCP):
        return self.ask('ingress', who, other, port, proto).allowed

    def out(self, who, other, port=80, proto=TCP):
        return self.ask('egress', who, other, port, proto).allowed


class Isolation(Case):
    def test_np01_pod_that_nobody_selects_is_open(self):
        verdict = self.ask('ingress', 'a-web', OUTSIDE)
        self.assertEqual((verdict.allowed, verdict.tier, verdict.rules, verdict.isolating), (True, None, (), ()))

    def test_np02_policy_is_for_its_own_namespace(self):
        self.put(policy(policyTypes=['Ingress']))
        self.assertFalse(self.into('a-web', OUTSIDE))
        self.assertTrue(self.into('b-web', OUTSIDE))

    def test_np02_missing_namespace_is_default(self):
        obj = policy(policyTypes=['Ingress'])
        del obj['metadata']['namespace']
        self.local('default', 'd', '10.1.0.9', {})
        self.put(obj)
        self.assertFalse(self.into('default-d', OUTSIDE))
        self.assertTrue(self.into('a-web', OUTSIDE))

    def test_np02_missing_or_null_pod_selector_is_every_pod(self):
        obj = policy(policyTypes=['Ingress'])
        for value in (None, {}):
            obj['spec']['podSelector'] = value
            self.put(obj)
            self.assertFalse(self.into('a-web', OUTSIDE))

    def test_np04_without_types_ingress_is_isolated(self):
        for section in ({}, {'egress': None}, {'egress': []}, {'policyTypes': None}, {'policyTypes': []}):
            self.put(policy(**section))
            self.assertFalse(self.into('a-web', OUTSIDE))
            self.assertTrue(self.out('a-web', OUTSIDE))

    def test_np04_without_types_an_egress_rule_isolates_egress(self):
        self.put(policy(egress=[{'ports': [{'port': 53}]}]))
        self.assertFalse(self.into('a-web', OUTSIDE))
        self.assertFalse(self.out('a-web', OUTSIDE))
        self.assertTrue(self.out('a-web', OUTSIDE, 53))

    def test_np05_section_of_an_unlisted_direction_is_ignored(self):
        self.put(policy(policyTypes=['Egress'], ingress=[], egress=[{}]))
        self.assertTrue(self.into('a-web', OUTSIDE))
        self.put(policy(policyTypes=['Ingress'], ingress=[{}], egress=[]))
        self.assertTrue(self.out('a-web', OUTSIDE))

    def test_np06_no_rule_denies_empty_rule_allows(self):
        for section in (None, []):
            self.put(policy(policyTypes=['Ingress'], ingress=section))
            self.assertFalse(self.into('a-web', OUTSIDE))
        self.put(policy(policyTypes=['Ingress'], ingress=[{}]))
        self.assertTrue(self.into('a-web', OUTSIDE, 0, ICMP))

    def test_np07_policies_add_up(self):
        self.put(policy('one', policyTypes=['Ingress'], ingress=[{'ports': [{'port': 80}]}]),
                 policy('two', policyTypes=['Ingress'], ingress=[{'ports': [{'port': 81}]}, {'ports': [{'port': 80}]}]))
        self.assertEqual(self.ask('ingress', 'a-web', OUTSIDE).rules,
                         (('a', 'one', 'ingress', 0), ('a', 'two', 'ingress', 1)))
        self.assertTrue(self.into('a-web', OUTSIDE, 81))
        self.assertFalse(self.into('a-web', OUTSIDE, 82))

    def test_np07_connection_needs_both_ends(self):
        self.put(policy('in', policyTypes=['Ingress'], podSelector=match(app='db')))
        out, into = self.world.connection(address('10.1.0.5'), address('10.1.0.6'), TCP, 80)
        self.assertTrue(out.allowed)
        self.assertFalse(into.allowed)
        self.assertEqual(into.isolating, (('a', 'in'),))

    def test_np08_empty_peers_and_ports_are_all(self):
        for value in ({}, {'from': None, 'ports': None}, {'from': [], 'ports': []}):
            self.put(policy(policyTypes=['Ingress'], ingress=[value]))
            self.assertTrue(self.into('a-web', OUTSIDE, 7, UDP))


class Peers(Case):
    def allow_from(self, *peers):
        self.put(policy(policyTypes=['Ingress'], ingress=[{'from': list(peers)}]))

    def test_np03_expressions_and_absent_keys(self):
        labels = {'a': '1', 'empty': ''}
        for operator, key, values, wanted in (
                ('In', 'a', ['1', '2'], True), ('In', 'a', ['2'], False), ('In', 'x', ['1'], False),
                ('NotIn', 'a', ['1'], False), ('NotIn', 'a', ['2'], True), ('NotIn', 'x', ['1'], True),
                ('Exists', 'a', None, True), ('Exists', 'empty', [], True), ('Exists', 'x', None, False),
                ('DoesNotExist', 'a', None, False), ('DoesNotExist', 'x', [], True)):
            spec = {'matchExpressions': [{'key': key, 'operator': operator, 'values': values}]}
            self.assertEqual(Selector(spec).matches(labels), wanted, spec)

    def test_np03_labels_and_expressions_must_all_hold(self):
        spec = {'matchLabels': {'a': '1'}, 'matchExpressions': [{'key': 'b', 'operator': 'Exists'}]}
        self.assertFalse(Selector(spec).matches({'a': '1'}))
        self.assertFalse(Selector(spec).matches({'b': '1'}))
        self.assertTrue(Selector(spec).matches({'a': '1', 'b': '2'}))

    def test_np03_namespace_name_is_a_label_and_cannot_be_faked(self):
        self.put(namespace('b', **{'kubernetes.io/metadata.name': 'a'}))
        self.put(policy(policyTypes=['Ingress'],
                        ingress=[{'from': [{'namespaceSelector': match(**{'kubernetes.io/metadata.name': 'b'})}]}]))
        self.assertTrue(self.into('a-web', '10.1.0.7'))
        self.world.delete('Namespace', '', 'b')
        self.assertTrue(self.into('a-web', '10.1.0.7'))
        self.assertFalse(self.into('a-web', '10.1.0.6'))

    def test_np09_pod_selector_alone_is_the_own_namespace(self):
        self.allow_from({'podSelector': match(app='web')})
        self.assertTrue(self.into('a-db', '10.1.0.5'))
        self.assertFalse(self.into('a-db', '10.1.0.7'))

    def test_np09_namespace_selector_alone_is_all_pods_there(self):
        self.allow_from({'namespaceSelector': match(team='two')})
        self.assertTrue(self.into('a-db', '10.1.1.5'))
        self.assertFalse(self.into('a-db', '10.1.0.5'))
        self.assertFalse(self.into('a-db', OUTSIDE))

    def test_np09_both_in_one_element_is_and_two_elements_are_or(self):
        self.allow_from({'namespaceSelector': match(team='two'), 'podSelector': match(app='db')})
        self.assertFalse(self.into('a-db', '10.1.0.7'))
        self.allow_from({'namespaceSelector': match(team='two')}, {'podSelector': match(app='web')})
        self.assertTrue(self.into('a-db', '10.1.0.7'))
        self.assertTrue(self.into('a-db', '10.1.0.5'))

    def test_np09_empty_selector_is_not_a_missing_one(self):
        self.allow_from({'podSelector': {}})
        self.assertFalse(self.into('a-db', '10.1.0.7'))
        self.allow_from({'namespaceSelector': {}})
        self.assertTrue(self.into('a-db', '10.1.0.7'))
        self.assertFalse(self.into('a-db', OUTSIDE))

    def test_np10_block_with_excepts_and_host_bits(self):
        self.allow_from({'ipBlock': {'cidr': '10.1.0.7/4', 'except': ['10.1.0.0/24', '10.1.1.5/32']}})
        self.assertTrue(self.into('a-web', '10.200.0.1'))
        self.assertTrue(self.into('a-web', '0.0.0.1'))
        self.assertFalse(self.into('a-web', '16.0.0.0'))
        self.assertFalse(self.into('a-web', '10.1.0.6'))
        self.assertFalse(self.into('a-web', '10.1.1.5'))

    def test_np10_excepted_address_may_be_allowed_by_another_rule(self):
        self.put(policy(policyTypes=['Ingress'], ingress=[
            {'from': [{'ipBlock': {'cidr': '0.0.0.0/0', 'except': ['203.0.113.0/24']}}]},
            {'from': [{'ipBlock': {'cidr': '203.0.113.9/32'}}]}]))
        self.assertTrue(self.into('a-web', OUTSIDE))
        self.assertFalse(self.into('a-web', '203.0.113.8'))

    def test_np10_edges_of_blocks_and_families(self):
        self.assertIn(address('255.255.255.255'), Block('0.0.0.0/0'))
        self.assertNotIn(address('::1'), Block('0.0.0.0/0'))
        self.assertNotIn(address('1.2.3.4'), Block('::/0'))
        self.assertIn(address('10.0.0.1'), Block('10.0.0.0/31'))
        self.assertNotIn(address('10.0.0.2'), Block('10.0.0.0/31'))
        self.assertIn(address('fd00::1'), Block('fd00::1/128'))

    def test_np10_block_beside_a_selector_and_strange_excepts_are_refused(self):
        for peer in ({'ipBlock': {'cidr': '10.0.0.0/8'}, 'podSelector': {}}, {},
                     {'ipBlock': {'cidr': '10.0.0.0/8', 'except': ['11.0.0.0/16']}},
                     {'ipBlock': {'cidr': '10.0.0.0/8', 'except': ['0.0.0.0/0']}}):
            with self.assertRaises(Unreadable):
                self.allow_from(peer)

    def test_np11_block_matches_pods_and_nodes(self):
        self.put(policy(policyTypes=['Egress'], egress=[{'to': [{'ipBlock': {'cidr': '10.1.1.5/32'}},
                                                                {'ipBlock': {'cidr': '192.168.7.0/24'}}]}]))
        self.assertTrue(self.out('a-web', '10.1.1.5'))
        self.assertTrue(self.out('a-web', '192.168.7.1'))
        self.assertFalse(self.out('a-web', '10.1.0.6'))

    def test_np19_host_network_pods_are_no_peers(self):
        self.put(pod('host', '192.168.7.2', node='n2', labels={'app': 'web'}, spec={'hostNetwork': True}))
        self.allow_from({'podSelector': match(app='web')})
        self.assertFalse(self.into('a-web', '192.168.7.2'))
        self.allow_from({'ipBlock': {'cidr': '192.168.7.2/32'}})
        self.assertTrue(self.into('a-web', '192.168.7.2'))

    def test_np24_finished_pod_lends_its_labels_to_nobody(self):
        self.put(pod('old', '10.1.1.9', node='n2', labels={'app': 'web'}, status={'phase': 'Succeeded'}))
        self.allow_from({'podSelector': match(app='web')})
        self.assertFalse(self.into('a-db', '10.1.1.9'))

    def test_np28_labels_of_a_pod_are_never_those_of_its_namespace(self):
        self.put(pod('far', '10.1.1.5', node='n2', space='b', labels={'team': 'one', 'kubernetes.io/metadata.name': 'a'}))
        self.allow_from({'namespaceSelector': match(team='one')})
        self.assertFalse(self.into('a-db', '10.1.1.5'))


class Ports(Case):
    def allow_ports(self, *ports):
        self.put(policy(policyTypes=['Ingress'], ingress=[{'ports': list(ports)}]))

    def test_np12_protocol_defaults_to_tcp(self):
        self.allow_ports({'port': 80})
        self.assertTrue(self.into('a-web', OUTSIDE, 80, TCP))
        self.assertFalse(self.into('a-web', OUTSIDE, 80, UDP))
        self.allow_ports({})
        self.assertTrue(self.into('a-web', OUTSIDE, 1, TCP))
        self.assertFalse(self.into('a-web', OUTSIDE, 1, UDP))

    def test_np12_ranges_include_both_ends(self):
        self.allow_ports({'port': 80, 'endPort': 82}, {'port': 90, 'endPort': 90})
        self.assertEqual([self.into('a-web', OUTSIDE, port) for port in (79, 80, 82, 83, 90)],
                         [False, True, True, False, True])

    def test_np12_bad_ranges_are_refused(self):
        for port in ({'port': 80, 'endPort': 79}, {'endPort': 80}, {'port': 'http', 'endPort': 80}, {'protocol': 'ICMP'}):
            with self.assertRaises(Unreadable):
                self.allow_ports(port)

    def test_np13_named_port_is_of_the_pod_and_the_protocol(self):
        self.allow_ports({'port': 'http'})
        self.assertTrue(self.into('a-web', OUTSIDE, 8080))
        self.assertFalse(self.into('a-web', OUTSIDE, 9090))
        self.assertFalse(self.into('a-web', OUTSIDE, 9090, UDP))
        self.assertFalse(self.into('a-db', OUTSIDE, 8080))
        self.allow_ports({'protocol': 'UDP', 'port': 'http'})
        self.assertTrue(self.into('a-web', OUTSIDE, 9090, UDP))

    def test_np13_sidecars_count_and_other_init_containers_do_not(self):
        for restart, wanted in (('Always', True), (None, False)):
            init = {'name': 'i', 'ports': [{'name': 'side', 'containerPort': 15000}], 'restartPolicy': restart}
            self.put(pod('db', '10.1.0.6', labels={'app': 'db'}, spec={'initContainers': [init]}))
            self.allow_ports({'port': 'side'})
            self.assertEqual(self.into('a-db', OUTSIDE, 15000), wanted)

    def test_np13_np14_named_port_in_egress_is_of_each_destination(self):
        self.put(policy(policyTypes=['Egress'], egress=[{'ports': [{'port': 'http'}]}]))
        self.assertTrue(self.out('a-db', '10.1.0.5', 8080))
        self.assertTrue(self.out('a-db', '10.1.1.5', 8081))
        self.assertFalse(self.out('a-db', '10.1.1.5', 8080))
        self.assertFalse(self.out('a-db', OUTSIDE, 8080))

    def test_np14_named_port_with_a_block_is_of_the_pods_in_it(self):
        self.put(policy(policyTypes=['Egress'], egress=[{'to': [{'ipBlock': {'cidr': '10.1.0.0/16'}}],
                                                         'ports': [{'port': 'http'}]}]))
        self.assertTrue(self.out('a-db', '10.1.1.5', 8081))
        self.assertFalse(self.out('a-db', '10.1.9.9', 8081))

    def test_np15_protocols_are_distinct(self):
        self.allow_ports({'protocol': 'SCTP', 'port': 80})
        self.assertTrue(self.into('a-web', OUTSIDE, 80, SCTP))
        self.assertFalse(self.into('a-web', OUTSIDE, 80, TCP))

    def test_np17_other_protocols_need_a_rule_without_ports(self):
        self.allow_ports({'protocol': 'TCP'}, {'protocol': 'UDP'}, {'protocol': 'SCTP'})
        self.assertFalse(self.into('a-web', OUTSIDE, 0, ICMP))
        self.assertFalse(self.into('a-web', OUTSIDE, 0, 47))
        self.put(policy(policyTypes=['Ingress'], ingress=[{}]))
        self.assertTrue(self.into('a-web', OUTSIDE, 0, 47))


class Changes(Case):
    def test_np20_network_policy_is_not_asked_about_a_pod_and_itself(self):
        self.put(policy(policyTypes=['Ingress', 'Egress']))
        self.assertTrue(self.ask('egress', 'a-web', '10.1.0.5', hairpin=True).allowed)
        self.put(cluster(egress=[{'action': 'Deny', 'to': [{'namespaces': {}}]}]))
        self.assertFalse(self.ask('egress', 'a-web', '10.1.0.5', hairpin=True).allowed)

    def test_np22_changes_of_policies_and_labels(self):
        self.put(policy(policyTypes=['Ingress'], ingress=[{'from': [{'namespaceSelector': match(team='two')}]}]))
        self.assertFalse(self.into('a-web', '10.1.0.6'))
        self.put(namespace('a', team='two'))
        self.assertTrue(self.into('a-web', '10.1.0.6'))
        self.world.delete('NetworkPolicy', 'a', 'p')
        self.world.in_force()
        self.assertTrue(self.into('a-web', OUTSIDE))

    def test_np24_pod_whose_object_went_keeps_its_labels(self):
        self.put(policy(policyTypes=['Ingress'], podSelector=match(app='web')))
        self.world.delete('Pod', 'a', 'web')
        self.assertFalse(self.into('a-web', OUTSIDE))

    def test_np24_terminating_pod_keeps_a_policy_that_goes(self):
        self.put(policy(policyTypes=['Ingress']))
        self.local('a', 'web', '10.1.0.5', {'app': 'web'}, meta={'deletionTimestamp': '2026-01-01T00:00:00Z'})
        self.world.delete('NetworkPolicy', 'a', 'p')
        self.world.in_force()
        self.assertFalse(self.into('a-web', OUTSIDE))
        self.assertTrue(self.into('a-db', OUTSIDE))

    def test_np24_restart_closes_what_a_lost_policy_held(self):
        self.test_np24_terminating_pod_keeps_a_policy_that_goes()
        self.world.restart()
        self.assertEqual(self.ask('ingress', 'a-web', OUTSIDE).tier, CLOSED)
        self.assertTrue(self.out('a-web', OUTSIDE))
        self.assertTrue(self.into('a-db', OUTSIDE))

    def test_np24_policy_that_went_before_the_pod_began_to_end_is_over(self):
        self.put(policy(policyTypes=['Ingress']))
        self.world.delete('NetworkPolicy', 'a', 'p')
        self.world.in_force()
        self.local('a', 'web', '10.1.0.5', {}, meta={'deletionTimestamp': '2026-01-01T00:00:00Z'})
        self.assertTrue(self.into('a-web', OUTSIDE))

    def test_np25_families_get_the_same_verdict(self):
        self.put(pod('six', 'fd00:1::5', node='n2', labels={'app': 'web'}))
        self.put(policy(policyTypes=['Ingress'], ingress=[{'from': [{'podSelector': match(app='web')}]}]))
        self.assertTrue(self.into('a-db', 'fd00:1::5'))
        self.assertFalse(self.into('a-db', 'fd00:1::6'))

    def test_np29_order_of_arrival_does_not_matter(self):
        late = World('n1')
        for obj in reversed(list(self.world.objects.values())):
            late.put(obj)
        late.attach('a-db', 'a', 'db', {}, ['10.1.0.6'])
        late.attach('a-web', 'a', 'web', {}, ['10.1.0.5'])
        for world in (self.world, late):
            world.put(policy(policyTypes=['Ingress'], ingress=[{'from': [{'podSelector': match(app='web')}]}]))
            self.assertTrue(world.verdict(world.pod_of('a-db'), 'ingress', address('10.1.0.5'), TCP, 80).allowed)


class ClusterPolicies(Case):
    EVERYBODY = [{'namespaces': {}}]

    def test_cnp1_admin_then_network_policy_then_baseline(self):
        self.put(cluster('base', tier='Baseline', ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertEqual(self.ask('ingress', 'a-web', '10.1.0.6')[:3], (False, BASELINE, (('', 'base', 'ingress', 0),)))
        self.put(policy(policyTypes=['Ingress'], ingress=[{}]))
        self.assertEqual(self.ask('ingress', 'a-web', '10.1.0.6')[:2], (True, NETWORK_POLICY))
        self.put(cluster('top', ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertEqual(self.ask('ingress', 'a-web', '10.1.0.6')[:2], (False, ADMIN))
        self.assertTrue(self.into('a-web', OUTSIDE))

    def test_cnp2_lower_number_first_then_order_of_rules(self):
        self.put(cluster('late', priority=20, ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]),
                 cluster('early', priority=5, ingress=[{'action': 'Accept', 'from': self.EVERYBODY},
                                                       {'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertEqual(self.ask('ingress', 'a-web', '10.1.0.6').rules, (('', 'early', 'ingress', 0),))

    def test_cnp2_accept_is_final_over_a_network_policy(self):
        self.put(policy(policyTypes=['Ingress']), cluster(ingress=[{'action': 'Accept', 'from': self.EVERYBODY}]))
        self.assertTrue(self.into('a-web', '10.1.0.6'))
        self.assertFalse(self.into('a-web', OUTSIDE))

    def test_cnp3_pass_skips_the_rest_of_its_tier(self):
        self.put(cluster(ingress=[{'action': 'Pass', 'from': self.EVERYBODY}, {'action': 'Deny', 'from': self.EVERYBODY}]),
                 cluster('later', priority=11, ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertTrue(self.into('a-web', '10.1.0.6'))
        self.put(cluster('base', tier='Baseline', ingress=[{'action': 'Pass', 'from': self.EVERYBODY},
                                                           {'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertEqual(self.ask('ingress', 'a-web', '10.1.0.6').passed, (('', 'c', 'ingress', 0), ('', 'base', 'ingress', 0)))

    def test_cnp4_baseline_serves_only_pods_without_network_policy(self):
        self.put(policy(policyTypes=['Ingress'], podSelector=match(app='web')),
                 cluster(tier='Baseline', ingress=[{'action': 'Accept', 'from': self.EVERYBODY}]))
        self.assertFalse(self.into('a-web', '10.1.0.6'))
        self.put(cluster(tier='Baseline', ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertFalse(self.into('a-db', '10.1.0.5'))

    def test_cnp5_nothing_is_isolated_by_being_a_subject(self):
        self.put(cluster(ingress=[{'action': 'Accept', 'from': [{'namespaces': match(team='none')}]}]))
        self.assertTrue(self.into('a-web', '10.1.0.6'))

    def test_cnp6_unknown_peers_fail_closed(self):
        for action, wanted in (('Accept', True), ('Deny', False), ('Pass', False)):
            self.put(cluster(ingress=[{'action': action, 'from': [{'namespaces': {}}, {'unknown': {}}]}]))
            self.assertEqual(self.into('a-web', OUTSIDE), wanted)
        self.put(cluster(egress=[{'action': 'Accept', 'to': [{'domainNames': ['example.com']}]},
                                 {'action': 'Deny', 'to': [{'networks': ['0.0.0.0/0']}]}]))
        self.assertFalse(self.out('a-web', OUTSIDE))

    def test_cnp6_unknown_protocols_fail_closed(self):
        for unknown in ({'quic': {}}, {'tcp': {'sourcePort': {'number': 80}}}, {'tcp': {'destinationPort': {}}}):
            self.put(cluster(ingress=[{'action': 'Deny', 'from': [{'namespaces': match(team='none')}], 'protocols': [unknown]}]))
            self.assertFalse(self.into('a-web', OUTSIDE))

    def test_cnp7_egress_to_nodes_and_networks(self):
        self.put(cluster(egress=[{'action': 'Accept', 'to': [{'nodes': match(zone='y')}]},
                                 {'action': 'Deny', 'to': [{'networks': ['192.168.7.0/24', '10.1.1.0/24']}]}]))
        self.assertTrue(self.out('a-web', '192.168.7.2'))
        self.assertFalse(self.out('a-web', '192.168.7.1'))
        self.assertFalse(self.out('a-web', '10.1.1.5'))

    def test_cnp8_ranges_start_below_their_end(self):
        def ranged(start, end):
            port = {'tcp': {'destinationPort': {'range': {'start': start, 'end': end}}}}
            self.put(cluster(ingress=[{'action': 'Deny', 'from': self.EVERYBODY, 'protocols': [port]}]))
        ranged(80, 82)
        self.assertEqual([self.into('a-web', '10.1.0.6', port) for port in (79, 80, 82, 83)], [True, False, False, True])
        with self.assertRaises(Unreadable):
            ranged(80, 80)

    def test_cnp8_named_ports_are_of_any_protocol(self):
        self.put(cluster(ingress=[{'action': 'Deny', 'from': self.EVERYBODY, 'protocols': [{'destinationNamedPort': 'http'}]}]))
        self.assertFalse(self.into('a-web', '10.1.0.6', 8080, TCP))
        self.assertFalse(self.into('a-web', '10.1.0.6', 9090, UDP))
        self.assertTrue(self.into('a-web', '10.1.0.6', 8080, UDP))
        self.assertTrue(self.into('a-db', '10.1.0.5', 8080, TCP))

    def test_cnp9_equal_priorities_go_by_name(self):
        self.put(cluster('b', ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]),
                 cluster('a', ingress=[{'action': 'Accept', 'from': self.EVERYBODY}]))
        self.assertTrue(self.into('a-web', '10.1.0.6'))

    def test_subjects_by_namespaces_and_pods(self):
        subject = {'pods': {'namespaceSelector': match(team='one'), 'podSelector': match(app='web')}}
        self.put(cluster(subject=subject, ingress=[{'action': 'Deny', 'from': self.EVERYBODY}]))
        self.assertFalse(self.into('a-web', '10.1.0.6'))
        self.assertTrue(self.into('a-db', '10.1.0.5'))
        self.assertTrue(self.into('b-web', '10.1.0.5'))


class Services(Case):
    def service(self, **spec):
        self.put({'kind': 'Service', 'metadata': {'name': 's', 'namespace': 'a'},
                  'spec': dict({'clusterIPs': ['10.96.0.9'], 'ports': [{'name': 'q', 'port': 80, 'targetPort': 'http'}]}, **spec)})

    def slice(self, name, *endpoints, port=8080):
        self.put({'kind': 'EndpointSlice', 'addressType': 'IPv4',
                  'metadata': {'name': name, 'namespace': 'a', 'labels': {'kubernetes.io/service-name': 's'}},
                  'endpoints': [{'addresses': [ip], 'conditions': conditions} for ip, conditions in endpoints],
                  'ports': [{'name': 'q', 'port': port}]})

    def fresh(self):
        return self.world.frontend(address('10.96.0.9'), TCP, 80).fresh

    def test_sv03_endpoints_of_several_slices(self):
        self.service()
        self.slice('one', ('10.1.0.5', {}), ('10.1.0.6', {'ready': False}))
        self.slice('two', ('10.1.0.6', {'ready': True}))
        self.assertEqual(self.fresh(), {(address('10.1.0.5'), 8080), (address('10.1.0.6'), 8080)})

    def test_sv03_named_target_port_of_each_pod(self):
        self.service(selector={'app': 'web'})
        self.assertEqual(self.fresh(), {(address('10.1.0.5'), 8080)})

    def test_sv04_no_endpoint_and_no_such_port(self):
        self.service()
        self.assertEqual(self.fresh(), frozenset())
        self.assertIsNone(self.world.frontend(address('10.96.0.9'), UDP, 80))
        self.assertTrue(self.world.service_address(address('10.96.0.9')))

    def test_sv06_terminating_ones_serve_when_no_other_is_left(self):
        going = {'ready': False, 'serving': True, 'terminating': True}
        self.service()
        self.slice('one', ('10.1.0.5', going), ('10.1.0.6', {'ready': True}))
        self.assertEqual(self.fresh(), {(address('10.1.0.6'), 8080)})
        self.slice('one', ('10.1.0.5', going), ('10.1.0.6', {'ready': False}))
        self.assertEqual(self.fresh(), {(address('10.1.0.5'), 8080)})


class ExternalFrontends(Case):
    """Of one Service with endpoints on this node (n1) and on another."""

    def expose(self, status=None, **spec):
        self.put({'kind': 'Service', 'metadata': {'name': 's', 'namespace': 'a'}, 'status': status or {},
                  'spec': dict({'clusterIPs': ['10.96.0.9'], 'ports': [{'name': 'q', 'port': 80, 'nodePort': 30080}]}, **spec)})

    def endpoints(self, *endpoints):
        self.put({'kind': 'EndpointSlice', 'addressType': 'IPv4',
                  'metadata': {'name': 'one', 'namespace': 'a', 'labels': {'kubernetes.io/service-name': 's'}},
                  'endpoints': [{'addresses': [ip], 'nodeName': node, 'conditions': conditions} for ip, node, conditions in endpoints],
                  'ports': [{'name': 'q', 'port': 8080}]})

    def at(self, text, port=80):
        return self.world.frontend(address(text), TCP, port)

    def test_kinds_and_where_they_come_from(self):
        ingress = [{'ip': '192.0.2.1'}, {'ip': '192.0.2.2', 'ipMode': 'Proxy'}, {'hostname': 'x'}]
        self.expose(type='LoadBalancer', externalIPs=['192.0.2.9'], status={'loadBalancer': {'ingress': ingress}})
        self.assertEqual([self.at(text).kind for text in ('10.96.0.9', '192.0.2.1', '192.0.2.9')],
                         ['ClusterIP', 'LoadBalancer', 'ExternalIP'])
        self.assertIsNone(self.at('192.0.2.2'))
        self.assertEqual(self.world.node_port(True, TCP, 30080).kind, 'NodePort')
        self.assertIsNone(self.world.node_port(False, TCP, 30080))
        self.assertTrue(self.world.cluster_ip(address('10.96.0.9')))
        self.assertFalse(self.world.cluster_ip(address('192.0.2.1')))
        self.expose(type='ClusterIP', status={'loadBalancer': {'ingress': ingress}})
        self.assertIsNone(self.at('192.0.2.1'))
        self.assertIsNone(self.world.node_port(True, TCP, 30080))

    def test_sv09_local_set_falls_back_by_itself(self):
        going = {'ready': False, 'serving': True, 'terminating': True}
        self.expose(type='NodePort', externalTrafficPolicy='Local')
        self.endpoints(('10.1.0.5', 'n1', going), ('10.1.1.5', 'n2', {}))
        found = self.at('10.96.0.9').endpoints
        self.assertEqual(found.cluster, {(address('10.1.1.5'), 8080)})
        self.assertEqual(found.local, {(address('10.1.0.5'), 8080)})
        self.assertEqual(found.leaving, frozenset())
        self.expose(type='NodePort')
        found = self.at('10.96.0.9').endpoints
        self.assertEqual(found.local, frozenset())
        self.assertEqual(found.leaving, {(address('10.1.0.5'), 8080)})

    def test_sv16_ranges_hold_for_the_load_balancers_address_alone(self):
        self.expose(type='LoadBalancer', externalIPs=['192.0.2.9'], loadBalancerSourceRanges=[' 198.51.100.0/24 '],
                    status={'loadBalancer': {'ingress': [{'ip': '192.0.2.1'}]}})
        self.assertTrue(self.at('192.0.2.1').admits(address('198.51.100.7')))
        self.assertFalse(self.at('192.0.2.1').admits(address('203.0.113.7')))
        self.assertTrue(self.at('192.0.2.9').admits(address('203.0.113.7')))
        self.assertTrue(self.world.node_port(True, TCP, 30080).admits(address('203.0.113.7')))

    def test_forwarding_and_affinity(self):
        self.expose(sessionAffinity='ClientIP')
        self.assertEqual((self.at('10.96.0.9').terms.affinity, self.at('10.96.0.9').terms.handed_on), (10800, False))
        self.world.forwarding = 'dsr'
        self.expose(sessionAffinity='ClientIP', sessionAffinityConfig={'clientIP': {'timeoutSeconds': 5}})
        self.assertEqual((self.at('10.96.0.9').terms.affinity, self.at('10.96.0.9').terms.handed_on), (5, True))


class UnknownPods(Case):
    """10.1.1.9 is in n2's pod range, and no object names it: of what its labels could make of the rules, the strictest holds."""

    def setUp(self):
        super().setUp()
        self.put({'kind': 'Node', 'metadata': {'name': 'n2'}, 'spec': {'podCIDRs': ['10.1.1.0/24']}, 'status': {}})

    def out_by(self, *rules, **more):
        self.put(cluster(egress=[{'action': action, 'to': [peer]} for action, peer in rules]))
        return self.out('a-web', '10.1.1.9', **more)

    def test_deny_by_selector_holds(self):
        deny = {'action': 'Deny', 'from': [{'namespaces': match(team='three')}]}
        for tier in ('Admin', 'Baseline'):
            self.put(cluster(tier=tier, ingress=[deny]))
            self.assertFalse(self.into('a-web', '10.1.1.9'))
            self.assertTrue(self.into('a-web', '10.1.1.5'))
            self.assertTrue(self.into('a-web', OUTSIDE))
            self.assertTrue(self.out('a-web', '10.1.1.9'))

    def test_its_object_ends_it(self):
        self.put(cluster(ingress=[{'action': 'Deny', 'from': [{'namespaces': match(team='one')}]}]))
        self.assertFalse(self.into('b-web', '10.1.1.9'))
        self.put(pod('late', '10.1.1.9', node='n2', space='b'))
        self.assertTrue(self.into('b-web', '10.1.1.9'))

    def test_any_port_may_have_the_name(self):
        self.put(cluster(egress=[{'action': 'Deny', 'to': [{'namespaces': {}}], 'protocols': [{'destinationNamedPort': 'http'}]}]))
        for proto in (TCP, UDP, SCTP):
            self.assertFalse(self.out('a-web', '10.1.1.9', 1, proto))
        self.assertTrue(self.out('a-web', '10.1.1.9', 0, ICMP))

    def test_pass_by_selector(self):
        ways, net, other = {'namespaces': match(team='one')}, {'networks': ['10.1.1.0/28']}, {'networks': ['10.1.0.0/16']}
        self.assertTrue(self.out_by(('Pass', ways), ('Accept', net)))
        self.assertFalse(self.out_by(('Pass', ways), ('Deny', ways)))
        self.assertFalse(self.out_by(('Pass', ways), ('Accept', net), ('Deny', other)))
        self.assertTrue(self.out_by(('Accept', net), ('Pass', ways), ('Deny', other)))
        self.put(policy(policyTypes=['Egress']))
        self.assertFalse(self.out_by(('Pass', ways), ('Accept', net)))

    @staticmethod
    def reading(rules, chosen, behind):
        """What the tier comes to, if these of its rules by selector choose the pod."""
        for place, (action, selects, addressed) in enumerate(rules):
            if addressed or (selects and place in chosen):
                return behind if action == 'Pass' else action == 'Accept'
        return behind

    def test_never_more_open_than_a_reading(self):
        """And never stricter than the strictest one, unless a Pass by selector, an Accept and a Deny by address come in this order."""
        rng = random.Random(7)
        for _ in range(3000):
            rules, objects = [], []
            for _ in range(rng.randint(1, 5)):
                action, kind = rng.choice(['Accept', 'Deny', 'Pass', 'Pass']), rng.choice(['pods', 'here', 'elsewhere', 'both'])
                peers = [{'namespaces': match(team='none')}] if kind in ('pods', 'both') else []
                if kind != 'pods':
                    peers.append({'networks': ['10.1.2.0/24' if kind == 'elsewhere' else '10.1.1.0/24']})
                rules.append((action, kind in ('pods', 'both'), kind in ('here', 'both')))
                objects.append({'action': action, 'to': peers})
            self.put(cluster(egress=objects))
            behind = rng.random() < 0.5
            if behind:
                self.world.delete('NetworkPolicy', 'a', 'p')
            else:
                self.put(policy(policyTypes=['Egress']))
            free = [place for place, rule in enumerate(rules) if rule[1]]
            strictest = all(self.reading(rules, chosen, behind) for count in range(len(free) + 1)
                            for chosen in itertools.combinations(free, count))
            allowed = self.out('a-web', '10.1.1.9')
            if not strictest:
                self.assertFalse(allowed, (objects, behind))
            elif not allowed:
                order = [rule['action'] for rule in objects]
                first = order.index('Pass')
                self.assertIn('Deny', order[order.index('Accept', first):], (objects, behind))


class Speed(Case):
    def test_question_takes_less_than_25_microseconds(self):
        for number in range(30):
            self.put(policy(f'p{number}', policyTypes=['Ingress'],
                            ingress=[{'from': [{'podSelector': match(app=str(number))}, {'ipBlock': {'cidr': f'10.{number}.0.0/16'}}],
                                      'ports': [{'port': 80 + number}]}]))
        pod_, count = self.world.pod_of('a-web'), 20000
        began = time.process_time()
        for number in range(count):
            self.world.verdict(pod_, 'ingress', FIRST + number % 200, TCP, 80 + number % 40)
        self.assertLess((time.process_time() - began) / count, 25e-6)


FIRST = address('10.3.0.1')

if __name__ == '__main__':
    unittest.main()
