// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
)

// rbac decides by the Roles and bindings that are stored, as they are at the moment of the request. system:masters may do everything.
type rbac struct {
	stores map[string]*genericregistry.Store
}

func (r *rbac) take(k kind, store *genericregistry.Store) {
	if r.stores == nil {
		r.stores = map[string]*genericregistry.Store{}
	}
	if k.version == rbacv1.SchemeGroupVersion {
		r.stores[k.name] = store
	}
}

// What system:discovery and system:public-info-viewer let everybody ask.
var openPaths = []string{"/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"}

func (r *rbac) Authorize(ctx context.Context, asked authorizer.Attributes) (authorizer.Decision, string, error) {
	if slices.Contains(asked.GetUser().GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	if !asked.IsResourceRequest() {
		for _, path := range openPaths {
			if asked.GetVerb() == "get" && (asked.GetPath() == path || strings.HasPrefix(asked.GetPath(), path+"/")) {
				return authorizer.DecisionAllow, "", nil
			}
		}
		return authorizer.DecisionNoOpinion, "", nil
	}
	for _, binding := range listed[rbacv1.ClusterRoleBinding](ctx, r.stores["ClusterRoleBinding"], "") {
		if applies(binding.Subjects, asked.GetUser(), "") && r.roleAllows(ctx, binding.RoleRef, "", asked) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	namespace := asked.GetNamespace()
	if namespace == "" {
		return authorizer.DecisionNoOpinion, "", nil
	}
	for _, binding := range listed[rbacv1.RoleBinding](ctx, r.stores["RoleBinding"], namespace) {
		if applies(binding.Subjects, asked.GetUser(), namespace) && r.roleAllows(ctx, binding.RoleRef, namespace, asked) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// listed gives the objects of a store from its cache.
func listed[T any](ctx context.Context, store *genericregistry.Store, namespace string) (found []T) {
	all, err := store.List(request.WithNamespace(ctx, namespace), &internalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil
	}
	for _, item := range items(all) {
		found = append(found, *item.(*T))
	}
	return found
}

func items(list runtime.Object) (found []any) {
	switch l := list.(type) {
	case *rbacv1.ClusterRoleBindingList:
		for i := range l.Items {
			found = append(found, &l.Items[i])
		}
	case *rbacv1.RoleBindingList:
		for i := range l.Items {
			found = append(found, &l.Items[i])
		}
	case *rbacv1.ClusterRoleList:
		for i := range l.Items {
			found = append(found, &l.Items[i])
		}
	case *rbacv1.RoleList:
		for i := range l.Items {
			found = append(found, &l.Items[i])
		}
	}
	return found
}

func applies(subjects []rbacv1.Subject, who user.Info, namespace string) bool {
	return slices.ContainsFunc(subjects, func(subject rbacv1.Subject) bool {
		switch subject.Kind {
		case rbacv1.UserKind:
			return subject.Name == who.GetName()
		case rbacv1.GroupKind:
			return slices.Contains(who.GetGroups(), subject.Name)
		case rbacv1.ServiceAccountKind:
			own := subject.Namespace
			if own == "" {
				own = namespace
			}
			return who.GetName() == "system:serviceaccount:"+own+":"+subject.Name
		}
		return false
	})
}

func (r *rbac) roleAllows(ctx context.Context, role rbacv1.RoleRef, namespace string, asked authorizer.Attributes) bool {
	var rules []rbacv1.PolicyRule
	if role.Kind == "ClusterRole" {
		for _, known := range listed[rbacv1.ClusterRole](ctx, r.stores["ClusterRole"], "") {
			if known.Name == role.Name {
				rules = known.Rules
			}
		}
	} else {
		for _, known := range listed[rbacv1.Role](ctx, r.stores["Role"], namespace) {
			if known.Name == role.Name {
				rules = known.Rules
			}
		}
	}
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return ruleAllows(rule, asked) })
}

func ruleAllows(rule rbacv1.PolicyRule, asked authorizer.Attributes) bool {
	resource := asked.GetResource()
	if asked.GetSubresource() != "" {
		resource += "/" + asked.GetSubresource()
	}
	return has(rule.Verbs, asked.GetVerb()) && has(rule.APIGroups, asked.GetAPIGroup()) && has(rule.Resources, resource) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, asked.GetName()))
}

func has(allowed []string, wanted string) bool {
	return slices.Contains(allowed, wanted) || slices.Contains(allowed, "*")
}
