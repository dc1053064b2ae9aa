// SPDX-License-Identifier: Apache-2.0

package main

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// set gives what was left out its default.
func set[T comparable](value *T, usual T) {
	var none T
	if *value == none {
		*value = usual
	}
}

func setPointer[T any](value **T, usual T) {
	if *value == nil {
		*value = &usual
	}
}

// registerDefaults has the server fill in what a kube-apiserver fills in and Polder reads.
func registerDefaults() {
	scheme.AddTypeDefaultingFunc(&corev1.Pod{}, func(o any) { defaultPod(o.(*corev1.Pod)) })
	scheme.AddTypeDefaultingFunc(&corev1.Service{}, func(o any) { defaultService(o.(*corev1.Service)) })
	scheme.AddTypeDefaultingFunc(&discoveryv1.EndpointSlice{}, func(o any) { defaultSlice(o.(*discoveryv1.EndpointSlice)) })
	scheme.AddTypeDefaultingFunc(&networkingv1.NetworkPolicy{}, func(o any) { defaultPolicy(o.(*networkingv1.NetworkPolicy)) })
}

func defaultPod(pod *corev1.Pod) {
	set(&pod.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	setPointer(&pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for c := range containers {
			for p := range containers[c].Ports {
				set(&containers[c].Ports[p].Protocol, corev1.ProtocolTCP)
			}
		}
	}
}

func defaultService(service *corev1.Service) {
	set(&service.Spec.Type, corev1.ServiceTypeClusterIP)
	set(&service.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	for p := range service.Spec.Ports {
		port := &service.Spec.Ports[p]
		set(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
}

func defaultSlice(slice *discoveryv1.EndpointSlice) {
	for p := range slice.Ports {
		setPointer(&slice.Ports[p].Name, "")
		setPointer(&slice.Ports[p].Protocol, corev1.ProtocolTCP)
	}
}

func defaultPolicy(policy *networkingv1.NetworkPolicy) {
	if len(policy.Spec.PolicyTypes) == 0 {
		policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(policy.Spec.Egress) > 0 {
			policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for _, rule := range policy.Spec.Ingress {
		defaultPorts(rule.Ports)
	}
	for _, rule := range policy.Spec.Egress {
		defaultPorts(rule.Ports)
	}
}

func defaultPorts(ports []networkingv1.NetworkPolicyPort) {
	for p := range ports {
		setPointer(&ports[p].Protocol, corev1.ProtocolTCP)
	}
}
