// SPDX-License-Identifier: Apache-2.0

// testserver is an API server for tests: the groups that Polder and its manifests use, and CustomResourceDefinitions, on the generic
// API server of Kubernetes and a real etcd. Lists, watches, bookmarks, patches, server-side apply, dry runs, 401, 403, 409, 410 and 429
// are the library's own. It knows no controllers, no admission and no validation beyond names; see docs/kubernetes.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/component-base/compatibility"

	generated "testserver/openapi"
)

// version is set by the linker: that of the library.
var version = "1.36.0"

type flags struct {
	etcd, address, cert, key, tokens, features string
	port                                       int
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "testserver:", err)
		os.Exit(1)
	}
}

func parse() flags {
	var f flags
	flag.StringVar(&f.etcd, "etcd", "http://127.0.0.1:2379", "etcd's client address")
	flag.StringVar(&f.address, "address", "127.0.0.1", "address to listen at")
	flag.IntVar(&f.port, "port", 6443, "port to listen at")
	flag.StringVar(&f.cert, "cert", "", "certificate of the server, PEM")
	flag.StringVar(&f.key, "key", "", "its key, PEM")
	flag.StringVar(&f.tokens, "tokens", "", "file of lines TOKEN,USER,UID,\"GROUP,GROUP\"")
	flag.StringVar(&f.features, "feature-gates", "", "such as WatchList=false")
	flag.Parse()
	return f
}

// authenticate takes bearer tokens of the file.
func authenticate(path string) authenticator.Request {
	tokens, err := tokenfile.NewCSV(path)
	check(err)
	return group.NewAuthenticatedGroupAdder(bearertoken.New(tokens))
}

func config(f flags, allowed *rbac) *genericapiserver.RecommendedConfig {
	c := genericapiserver.NewRecommendedConfig(codecs)
	c.EffectiveVersion = compatibility.NewEffectiveVersionFromString(version, "", "")
	c.PublicAddress = net.ParseIP(f.address)
	namer := openapinamer.NewDefinitionNamer(scheme, apiextensions.Scheme)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generated.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generated.GetOpenAPIDefinitions, namer)
	c.LegacyAPIGroupPrefixes.Insert("/api")
	c.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString())
	c.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")

	serving := options.NewSecureServingOptions().WithLoopback()
	serving.BindAddress, serving.BindPort = net.ParseIP(f.address), f.port
	serving.ServerCert.CertKey.CertFile, serving.ServerCert.CertKey.KeyFile = f.cert, f.key
	check(serving.ApplyTo(&c.Config.SecureServing, &c.Config.LoopbackClientConfig))
	c.Authentication.Authenticator = authenticate(f.tokens)
	c.Authorization.Authorizer = allowed
	return c
}

func etcd(f flags) *options.EtcdOptions {
	backend := storagebackend.NewDefaultConfig("/registry", codecs.LegacyCodec(groupVersions()...))
	backend.Transport.ServerList = []string{f.etcd}
	return options.NewEtcdOptions(backend)
}

// extensions serves CustomResourceDefinitions and what they define; it is asked for what our own server does not know.
func extensions(c genericapiserver.RecommendedConfig, stored options.EtcdOptions) *genericapiserver.GenericAPIServer {
	c.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	c.RESTOptionsGetter = nil
	c.MergedResourceConfig = apiextensions.DefaultAPIResourceConfigSource()
	definitions, custom := stored, stored
	definitions.StorageConfig.Codec = apiextensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	definitions.SkipHealthEndpoints = true
	check(definitions.ApplyTo(&c.Config))
	custom.StorageConfig.Codec = unstructured.UnstructuredJSONScheme
	getter := custom.CreateRESTOptionsGetter(&options.SimpleStorageFactory{StorageConfig: custom.StorageConfig}, nil)
	made := apiextensions.Config{GenericConfig: &c, ExtraConfig: apiextensions.ExtraConfig{
		CRDRESTOptionsGetter: getter, MasterCount: 1, ServiceResolver: webhook.NewDefaultServiceResolver(),
		AuthResolverWrapper: webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.LoopbackClientConfig, nil),
	}}
	none := genericapiserver.NewEmptyDelegateWithCustomHandler(http.NotFoundHandler())
	server, err := made.Complete().New(none)
	check(err)
	return server.GenericAPIServer
}

// describe has the server answer for CustomResourceDefinitions itself, so that they stand in its OpenAPI document as all others do: an
// aggregator does that elsewhere.
func describe(server, delegate *genericapiserver.GenericAPIServer) {
	for _, service := range delegate.Handler.GoRestfulContainer.RegisteredWebServices() {
		if strings.HasPrefix(service.RootPath(), "/apis/"+apiextensionsv1.GroupName) {
			server.Handler.GoRestfulContainer.Add(service)
		}
	}
}

func main() {
	f := parse()
	if f.features != "" {
		check(utilfeature.DefaultMutableFeatureGate.Set(f.features))
	}
	allowed := &rbac{}
	c := config(f, allowed)
	stored := etcd(f)
	c.MergedResourceConfig = serverstorage.NewResourceConfig()
	delegate := extensions(*c, *stored)
	check(stored.ApplyTo(&c.Config))
	server, err := c.Complete().New("testserver", delegate)
	check(err)
	install(server, c.RESTOptionsGetter, allowed)

	describe(server, delegate)
	prepared := server.PrepareRun()
	delegate.OpenAPIV3VersionedService = server.OpenAPIV3VersionedService

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	check(prepared.RunWithContext(ctx))
}
