{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "polder.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* polderd.json: what the DaemonSet's mounts mean, what values say, and what stands in `config`. */}}
{{- define "polder.config" -}}
{{- $config := dict "in-cluster" true "cni-config" (printf "/etc/polder/%s" .Values.cni.configName) "cni-config-dir" "/host/etc/cni/net.d" -}}
{{- $config = set $config "sysctl-dir" "/host/proc/sys/net" -}}
{{- $config = set $config "cgroup" "/host/sys/fs/cgroup" -}}
{{- $config = set $config "health-listen" (printf "127.0.0.1:%v" .Values.healthPort) -}}
{{- if .Values.metricsListen }}{{ $config = set $config "metrics-listen" .Values.metricsListen }}{{ end -}}
{{- if .Values.uiListen }}{{ $config = set $config "ui-listen" .Values.uiListen }}{{ end -}}
{{- if .Values.uiHosts }}{{ $config = set $config "ui-host" .Values.uiHosts }}{{ end -}}
{{- if .Values.apiServers }}{{ $config = set $config "api-server" .Values.apiServers }}{{ end -}}
{{- if .Values.tunnel }}{{ $config = set $config "tunnel" .Values.tunnel }}{{ end -}}
{{- if .Values.tunnelPort }}{{ $config = set $config "tunnel-port" .Values.tunnelPort }}{{ end -}}
{{- if .Values.loadBalancer.pools }}{{ $config = set $config "load-balancer-pools" .Values.loadBalancer.pools }}{{ end -}}
{{- if .Values.loadBalancer.pools }}{{ $config = set $config "load-balancer-announce" .Values.loadBalancer.announce }}{{ end -}}
{{- if .Values.loadBalancer.pools }}{{ $config = set $config "load-balancer-return" .Values.loadBalancer.returnSeconds }}{{ end -}}
{{- if .Values.services.forwarding }}{{ $config = set $config "forwarding" .Values.services.forwarding }}{{ end -}}
{{- if .Values.services.balancing }}{{ $config = set $config "balancing" .Values.services.balancing }}{{ end -}}
{{- if .Values.services.maglevTableSize }}{{ $config = set $config "maglev-table-size" .Values.services.maglevTableSize }}{{ end -}}
{{- if .Values.services.nodePortAddresses }}{{ $config = set $config "node-port-addresses" .Values.services.nodePortAddresses }}{{ end -}}
{{- if .Values.services.nodePortRange }}{{ $config = set $config "node-port-range" .Values.services.nodePortRange }}{{ end -}}
{{- if .Values.services.maxServices }}{{ $config = set $config "max-services" .Values.services.maxServices }}{{ end -}}
{{- if .Values.services.maxBackends }}{{ $config = set $config "max-backends" .Values.services.maxBackends }}{{ end -}}
{{- if .Values.services.maxServiceCells }}{{ $config = set $config "max-service-cells" .Values.services.maxServiceCells }}{{ end -}}
{{- if .Values.services.maxServiceSources }}{{ $config = set $config "max-service-sources" .Values.services.maxServiceSources }}{{ end -}}
{{- if .Values.services.maxServiceClients }}{{ $config = set $config "max-service-clients" .Values.services.maxServiceClients }}{{ end -}}
{{- range $key, $value := .Values.config }}{{ $config = set $config $key $value }}{{ end -}}
{{ toPrettyJson $config }}
{{- end }}

{{- define "polder.conflist" -}}
{
  "cniVersion": "1.0.0",
  "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
  "name": "polder",
  "plugins": [
    {
      "type": "polder-cni",
      "socket": "/run/polder/polder.sock",
      "capabilities": { "ips": true, "mac": true, "portMappings": {{ .Values.cni.portMappings }}, "bandwidth": {{ .Values.cni.bandwidth }} }
    }
    {{- range .Values.cni.plugins }},
    {{ toJson . }}
    {{- end }}
  ]
}
{{- end }}
