# SPDX-License-Identifier: Apache-2.0
"""Services: which endpoints a new flow to a Service's address may go to, and with which ones an old flow may stay."""

from labels import PROTOCOLS, Selector, address, is_ipv4


class Frontend:
    """What stands behind one address, protocol and port. Endpoints are pairs of address and port."""

    def __init__(self, service, port_name, endpoints):
        self.service, self.port_name = service, port_name
        ready = {where for where, (is_ready, _) in endpoints.items() if is_ready}
        serving = {where for where, (_, is_serving) in endpoints.items() if is_serving}
        self.fresh = frozenset(ready or serving)                  # for new flows (SV-06)
        self.leaving = frozenset(set(endpoints) - self.fresh)     # only for flows that are there already


def better(endpoints, where, state):
    """A duplicate across slices counts as its readier copy."""
    endpoints[where] = max(endpoints.get(where, state), state)


def from_slices(service, port, slices, ipv4):
    """{(address, port): (ready, serving though terminating)} of one Service's port and family."""
    endpoints = {}
    everybody = service['spec'].get('publishNotReadyAddresses')
    for item in slices:
        if (item.get('addressType') == 'IPv4') != ipv4:
            continue
        number = next((p.get('port') for p in item.get('ports') or []
                       if (p.get('name') or '') == (port.get('name') or '') and
                       (p.get('protocol') or 'TCP') == (port.get('protocol') or 'TCP')), None)
        if not number:
            continue
        for endpoint in item.get('endpoints') or []:
            conditions = endpoint.get('conditions') or {}
            ready, serving = conditions.get('ready'), conditions.get('serving')
            ready = True if ready is None else ready
            serving = ready if serving is None else serving
            if everybody and not conditions.get('terminating'):
                ready = True
            # The addresses of one endpoint are interchangeable; consumers use the first (API text).
            better(endpoints, (address(endpoint['addresses'][0]), number), (ready, serving))
    return endpoints


def from_pods(service, port, pods, ipv4):
    """A Service with a selector and without slices: the pods that the node knows."""
    spec = service['spec']
    selector, proto = Selector({'matchLabels': spec['selector']}), PROTOCOLS[port.get('protocol') or 'TCP']
    target = port.get('targetPort') or port['port']
    endpoints = {}
    for pod in pods:
        if pod.namespace != (service['metadata'].get('namespace') or 'default') or not selector.matches(pod.labels):
            continue
        number = target
        if isinstance(target, str):
            number = next((n for name, p, n in pod.named_ports if name == target and p == proto), None)
        where = next((addr for addr in pod.addresses if is_ipv4(addr) == ipv4), None)
        if number is None or where is None:
            continue
        able = pod.ready or bool(spec.get('publishNotReadyAddresses'))
        better(endpoints, (where, number), (able and not pod.terminating, able))
    return endpoints


def frontends(world):
    """{(address, protocol, port): Frontend} and the set of all Service addresses."""
    table, addresses = {}, set()
    for service in world.of_kind('Service'):
        spec, meta = service.get('spec') or {}, service['metadata']
        namespace = meta.get('namespace') or 'default'
        if spec.get('type') == 'ExternalName':
            continue
        slices = [item for item in world.of_kind('EndpointSlice')
                  if (item['metadata'].get('namespace') or 'default') == namespace and
                  (item['metadata'].get('labels') or {}).get('kubernetes.io/service-name') == meta['name']]
        for text in spec.get('clusterIPs') or ([spec['clusterIP']] if spec.get('clusterIP') else []):
            if text == 'None':
                continue
            number = address(text)
            addresses.add(number)
            for port in spec.get('ports') or []:
                proto = PROTOCOLS[port.get('protocol') or 'TCP']
                if proto == PROTOCOLS['SCTP']:
                    continue  # not balanced in this version: such a port is not served
                if slices or not spec.get('selector'):
                    endpoints = from_slices(service, port, slices, is_ipv4(number))
                else:
                    endpoints = from_pods(service, port, world.all_pods(), is_ipv4(number))
                table[number, proto, port['port']] = Frontend((namespace, meta['name']), port.get('name') or '',
                                                              endpoints)
    return table, addresses
