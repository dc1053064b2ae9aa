// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// kind is one resource that is served. `fields` are selectors beside the two that all kinds have.
type kind struct {
	version    schema.GroupVersion
	name       string
	resource   string
	namespaced bool
	status     bool
	fields     func(runtime.Object) fields.Set
	short      []string
}

var kinds = []kind{
	{corev1.SchemeGroupVersion, "Namespace", "namespaces", false, true, nil, []string{"ns"}},
	{corev1.SchemeGroupVersion, "Node", "nodes", false, true, nil, []string{"no"}},
	{corev1.SchemeGroupVersion, "Pod", "pods", true, true, podFields, []string{"po"}},
	{corev1.SchemeGroupVersion, "Service", "services", true, true, nil, []string{"svc"}},
	{corev1.SchemeGroupVersion, "ConfigMap", "configmaps", true, false, nil, []string{"cm"}},
	{corev1.SchemeGroupVersion, "Secret", "secrets", true, false, nil, nil},
	{corev1.SchemeGroupVersion, "ServiceAccount", "serviceaccounts", true, false, nil, []string{"sa"}},
	{corev1.SchemeGroupVersion, "ResourceQuota", "resourcequotas", true, true, nil, []string{"quota"}},
	{corev1.SchemeGroupVersion, "Event", "events", true, false, eventFields, []string{"ev"}},
	{appsv1.SchemeGroupVersion, "DaemonSet", "daemonsets", true, true, nil, []string{"ds"}},
	{appsv1.SchemeGroupVersion, "Deployment", "deployments", true, true, nil, []string{"deploy"}},
	{coordinationv1.SchemeGroupVersion, "Lease", "leases", true, false, nil, nil},
	{discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", true, false, nil, nil},
	{eventsv1.SchemeGroupVersion, "Event", "events", true, false, nil, nil},
	{networkingv1.SchemeGroupVersion, "NetworkPolicy", "networkpolicies", true, false, nil, []string{"netpol"}},
	{policyv1.SchemeGroupVersion, "PodDisruptionBudget", "poddisruptionbudgets", true, true, nil, []string{"pdb"}},
	{rbacv1.SchemeGroupVersion, "Role", "roles", true, false, nil, nil},
	{rbacv1.SchemeGroupVersion, "RoleBinding", "rolebindings", true, false, nil, nil},
	{rbacv1.SchemeGroupVersion, "ClusterRole", "clusterroles", false, false, nil, nil},
	{rbacv1.SchemeGroupVersion, "ClusterRoleBinding", "clusterrolebindings", false, false, nil, nil},
	{schedulingv1.SchemeGroupVersion, "PriorityClass", "priorityclasses", false, false, nil, []string{"pc"}},
}

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
	params = runtime.NewParameterCodec(scheme)
)

func groupVersions() (found []schema.GroupVersion) {
	for _, k := range kinds {
		if !slices.Contains(found, k.version) {
			found = append(found, k.version)
		}
	}
	return found
}

func init() {
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme,
		discoveryv1.AddToScheme, eventsv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme,
		schedulingv1.AddToScheme} {
		check(add(scheme))
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, version := range groupVersions() {
		registerAsInternal(version)
	}
	for _, k := range kinds {
		if k.fields != nil {
			registerFields(k)
		}
	}
	registerDefaults()
}

// registerAsInternal makes the external types those that the server works with, too: nothing is converted.
func registerAsInternal(version schema.GroupVersion) {
	internal := schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal}
	for name, known := range scheme.KnownTypes(version) {
		if known.PkgPath() == "k8s.io/apimachinery/pkg/apis/meta/v1" {
			continue
		}
		made, err := scheme.New(version.WithKind(name))
		check(err)
		scheme.AddKnownTypeWithName(internal.WithKind(name), made)
	}
}

func registerFields(k kind) {
	known := k.fields(k.object())
	check(scheme.AddFieldLabelConversionFunc(k.version.WithKind(k.name), func(label, value string) (string, string, error) {
		if _, there := known[label]; there || label == "metadata.name" || label == "metadata.namespace" {
			return label, value, nil
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	}))
}

func (k kind) object() runtime.Object {
	made, err := scheme.New(k.version.WithKind(k.name))
	check(err)
	return made
}

func (k kind) list() runtime.Object {
	made, err := scheme.New(k.version.WithKind(k.name + "List"))
	check(err)
	return made
}

func (k kind) singular() string { return strings.ToLower(k.name) }

func podFields(o runtime.Object) fields.Set {
	pod := o.(*corev1.Pod)
	return fields.Set{"spec.nodeName": pod.Spec.NodeName, "status.phase": string(pod.Status.Phase), "status.podIP": pod.Status.PodIP}
}

func eventFields(o runtime.Object) fields.Set {
	event := o.(*corev1.Event)
	about := event.InvolvedObject
	return fields.Set{"involvedObject.kind": about.Kind, "involvedObject.name": about.Name, "involvedObject.namespace": about.Namespace,
		"involvedObject.uid": string(about.UID), "reason": event.Reason, "type": event.Type}
}
