# SPDX-License-Identifier: Apache-2.0
"""A pod's containers as `podman run` takes them: as the kubelet would have them made, as far as manifests of Polder say anything."""

import os

SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
# What a container may say here. What is not known fails, so that no line of a manifest goes untested in silence.
CONTAINER = {'name', 'image', 'imagePullPolicy', 'command', 'args', 'env', 'resources', 'startupProbe', 'livenessProbe', 'readinessProbe',
             'securityContext', 'volumeMounts'}
MOUNT = {'name', 'mountPath', 'readOnly'}
SECURITY = {'privileged', 'readOnlyRootFilesystem', 'allowPrivilegeEscalation', 'capabilities'}
POD = {'hostNetwork', 'dnsPolicy', 'enableServiceLinks', 'serviceAccountName', 'priorityClassName', 'terminationGracePeriodSeconds',
       'nodeSelector', 'tolerations', 'securityContext', 'initContainers', 'containers', 'volumes', 'automountServiceAccountToken'}
POD_SECURITY = {'seccompProfile': {'type': 'RuntimeDefault'}, 'appArmorProfile': {'type': 'Unconfined'},
                'seLinuxOptions': {'type': 'spc_t', 'level': 's0'}}


def only(known, found, what):
    if set(found) - set(known):
        raise ValueError(f'{what} has {sorted(set(found) - set(known))}, which podman is not told of')


def security_arguments(context):
    only(SECURITY, context, 'securityContext')
    arguments = ['--security-opt', 'apparmor=unconfined', '--security-opt', 'label=disable']
    if context.get('readOnlyRootFilesystem'):
        arguments += ['--read-only', '--read-only-tmpfs=false']
    if context.get('allowPrivilegeEscalation') is False:
        arguments += ['--security-opt', 'no-new-privileges']
    if context.get('privileged'):
        raise ValueError('no container of Polder is privileged')
    capabilities = context.get('capabilities', {})
    for action in ('drop', 'add'):
        for name in capabilities.get(action, []):
            arguments += [f'--cap-{action}', name]
    return arguments


def volume_source(volume, place, config_maps):
    if 'configMap' in volume:
        return config_maps[volume['configMap']['name']]
    path = place(volume['hostPath']['path'])
    if volume['hostPath']['type'] == 'DirectoryOrCreate':
        os.makedirs(path, exist_ok=True)
    elif not os.path.isdir(path):
        raise ValueError(f'{path} is not there, which {volume["name"]} asks for')
    return path


def environment(container, node_name):
    for variable in container.get('env', []):
        if variable['valueFrom'] != {'fieldRef': {'fieldPath': 'spec.nodeName'}}:
            raise ValueError(f'{variable["name"]}: {variable}')
        yield variable['name'], node_name


def run_arguments(spec, container, node_name, place, config_maps, service_account=None):
    """
    What `podman run` gets for a container of a pod's spec. `place` tells where a path of the node is on this machine, `config_maps` in
    which directories their files are.
    """
    only(POD, spec, 'the pod')
    only(CONTAINER, container, container['name'])
    if spec['securityContext'] != POD_SECURITY or not spec['hostNetwork']:
        raise ValueError('podman is told of another security context of the pod')
    variables = dict(environment(container, node_name))
    arguments = ['--network', 'host', '--no-hosts', *security_arguments(container['securityContext'])]
    for name, value in variables.items():
        arguments += ['--env', f'{name}={value}']
    volumes = {volume['name']: volume for volume in spec['volumes']}
    for mount in container['volumeMounts']:
        source = volume_source(volumes[mount['name']], place, config_maps)
        only(MOUNT, mount, mount['name'])
        arguments += ['--volume', f'{source}:{mount["mountPath"]}:{"ro" if mount.get("readOnly") else "rw"},rprivate']
    if service_account:
        arguments += ['--volume', f'{service_account}:{SERVICE_ACCOUNT}:ro']
    words = [*container.get('command', []), *container.get('args', [])]
    for name, value in variables.items():
        words = [word.replace(f'$({name})', value) for word in words]
    if 'command' in container:
        arguments += ['--entrypoint', words.pop(0)]
    return [*arguments, container['image'], *words]
