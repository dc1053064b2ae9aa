// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
)

// strategy says what becomes of an object before it is stored.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind   kind
	status bool // this one writes the status alone
}

func part(o runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName(name)
}

func (s strategy) NamespaceScoped() bool { return s.kind.namespaced }

func (s strategy) PrepareForCreate(_ context.Context, o runtime.Object) {
	if s.kind.status && s.kind.name != "Node" && s.kind.name != "Service" {
		part(o, "Status").SetZero()
	}
	switch made := o.(type) {
	case *corev1.Pod:
		made.Status.Phase = corev1.PodPending
	case *corev1.Namespace:
		made.Status.Phase = corev1.NamespaceActive
	}
	if a, err := meta.Accessor(o); err == nil {
		a.SetGeneration(1)
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, made, old runtime.Object) {
	if s.kind.status {
		kept := "Status"
		if s.status {
			kept = "Spec"
		}
		part(made, kept).Set(part(old, kept))
	}
	if spec := part(made, "Spec"); spec.IsValid() && !reflect.DeepEqual(spec.Interface(), part(old, "Spec").Interface()) {
		if a, err := meta.Accessor(made); err == nil {
			a.SetGeneration(a.GetGeneration() + 1)
		}
	}
}

// CheckGracefulDelete keeps a pod of a node until somebody in the kubelet's place deletes it with a grace period of 0.
func (s strategy) CheckGracefulDelete(_ context.Context, o runtime.Object, options *metav1.DeleteOptions) bool {
	pod, is := o.(*corev1.Pod)
	if !is {
		return false
	}
	period := *pod.Spec.TerminationGracePeriodSeconds
	if options.GracePeriodSeconds != nil {
		period = *options.GracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	options.GracePeriodSeconds = &period
	return true
}

func (strategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (s strategy) AllowCreateOnUpdate() bool    { return s.kind.name == "Lease" }
func (strategy) AllowUnconditionalUpdate() bool { return true }
func (strategy) Canonicalize(runtime.Object)    {}

func (k kind) attributes(o runtime.Object) (labels.Set, fields.Set, error) {
	a, err := meta.Accessor(o)
	if err != nil {
		return nil, nil, err
	}
	found := fields.Set{"metadata.name": a.GetName(), "metadata.namespace": a.GetNamespace()}
	if k.fields != nil {
		for name, value := range k.fields(o) {
			found[name] = value
		}
	}
	return a.GetLabels(), found, nil
}

func newStore(getter generic.RESTOptionsGetter, k kind) *genericregistry.Store {
	resource := k.version.WithResource(k.resource).GroupResource()
	s := strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, kind: k}
	made := &genericregistry.Store{
		NewFunc: k.object, NewListFunc: k.list,
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: resource.Group, Resource: k.singular()},
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: k.attributes}
		},
		CreateStrategy: s, UpdateStrategy: s, DeleteStrategy: s,
		TableConvertor: rest.NewDefaultTableConvertor(resource),
	}
	check(made.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter, AttrFunc: k.attributes}))
	return made
}

// shortStore has names that kubectl takes for the resource.
type shortStore struct {
	*genericregistry.Store
	names []string
}

func (s *shortStore) ShortNames() []string { return s.names }

// statusREST is the sub-resource `status`.
type statusREST struct{ store *genericregistry.Store }

func newStatus(store *genericregistry.Store) *statusREST {
	own := *store
	s := store.UpdateStrategy.(strategy)
	s.status = true
	own.UpdateStrategy = s
	return &statusREST{&own}
}

func (r *statusREST) New() runtime.Object { return r.store.NewFunc() }
func (r *statusREST) Destroy()            {}

func (r *statusREST) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, o)
}

func (r *statusREST) Update(ctx context.Context, name string, made rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, made, create, update, false, o)
}

// bindingREST is pods/binding, by which a scheduler gives a pod its node.
type bindingREST struct{ store *genericregistry.Store }

func (r *bindingREST) New() runtime.Object { return &corev1.Binding{} }
func (r *bindingREST) Destroy()            {}

func (r *bindingREST) Create(ctx context.Context, name string, o runtime.Object, _ rest.ValidateObjectFunc,
	_ *metav1.CreateOptions) (runtime.Object, error) {
	bind := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod := old.(*corev1.Pod).DeepCopy()
		if pod.Spec.NodeName != "" {
			return nil, errors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name,
				fmt.Errorf("pod %s is already assigned to node %q", name, pod.Spec.NodeName))
		}
		pod.Spec.NodeName = o.(*corev1.Binding).Target.Name
		return pod, nil
	}
	_, _, err := r.store.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, bind), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, err
}

// install has the server serve all kinds. `allowed` gets the stores that it decides by.
func install(server *genericapiserver.GenericAPIServer, getter generic.RESTOptionsGetter, allowed *rbac) {
	groups := map[schema.GroupVersion]map[string]rest.Storage{}
	for _, k := range kinds {
		store := newStore(getter, k)
		served := groups[k.version]
		if served == nil {
			served = map[string]rest.Storage{}
			groups[k.version] = served
		}
		served[k.resource] = &shortStore{store, k.short}
		if k.status {
			served[k.resource+"/status"] = newStatus(store)
		}
		if k.name == "Pod" {
			served["pods/binding"] = &bindingREST{store}
		}
		allowed.take(k, store)
	}
	for _, version := range groupVersions() {
		info := genericapiserver.NewDefaultAPIGroupInfo(version.Group, scheme, params, codecs)
		info.VersionedResourcesStorageMap[version.Version] = groups[version]
		if version.Group == "" {
			check(server.InstallLegacyAPIGroup("/api", &info))
		} else {
			check(server.InstallAPIGroup(&info))
		}
	}
}
