/* SPDX-License-Identifier: Apache-2.0 */
/* Reading objects: lists, kinds, metadata, pods, nodes, Services, slices; recorded answers of an
 * API server. */
#include <errno.h>
#include <malloc.h>

#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

static struct object_list list;
static struct error error;

/* With ' for ". */
static int decode(const char *text)
{
	char *copy = strdup(text);
	int r;

	object_list_clear(&list);
	error = (struct error){};
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	r = objects_decode(copy, strlen(copy), &list, &error);
	free(copy);
	return r;
}

static bool refuses(const char *text, const char *path, const char *reason)
{
	int r = decode(text);

	if (r < 0 && strcmp(error.path, path) == 0 && strstr(error.text, reason) && !list.objects)
		return true;
	fprintf(stderr, "\n%s: %d %s %s\n", text, r, error.path, error.text);
	return false;
}

/* The objects of a recorded answer. */
static void decode_file(const char *name)
{
	char path[512], *text = malloc(1 << 20);
	FILE *file;
	size_t length;

	snprintf(path, sizeof(path), "%s/%s", UNIT_DATA, name);
	file = fopen(path, "re");
	CU_ASSERT_FATAL(file != NULL);
	length = fread(text, 1, 1 << 20, file);
	fclose(file);
	object_list_clear(&list);
	CU_ASSERT_EQUAL(objects_decode(text, length, &list, &error), 0);
	free(text);
}

static bool is_addr(const struct polder_addr *addr, const char *text)
{
	char buffer[INET6_ADDRSTRLEN];

	return strcmp(addr_format(addr, buffer), text) == 0;
}

static void reads_the_pods_of_an_api_server(void)
{
	const struct pod_object *pod;

	decode_file("list-pods.json");
	CU_ASSERT_EQUAL_FATAL(list.count, 1);
	CU_ASSERT_EQUAL(list.objects[0]->kind, OBJECT_POD);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->namespace, "demo");
	CU_ASSERT_STRING_EQUAL(labels_get(&list.objects[0]->labels, "app"), "web");
	CU_ASSERT_STRING_EQUAL(list.objects[0]->uid, "950b7327-4b04-4cb7-b69c-ebe33ae7c826");
	pod = &list.objects[0]->pod;
	CU_ASSERT_EQUAL_FATAL(pod->address_count, 1);
	CU_ASSERT(is_addr(&pod->addresses[0], "10.244.7.2"));
	CU_ASSERT_EQUAL_FATAL(pod->port_count, 2);
	CU_ASSERT_STRING_EQUAL(pod->ports[1].name, "dns");
	CU_ASSERT_EQUAL(pod->ports[1].proto, IPPROTO_UDP);
	CU_ASSERT(pod->ready && !pod->host_network && !pod->terminating && !pod->finished);
}

static bool is_within(const struct object *object, const void *pointer)
{
	const char *begin = (const char *)object;

	return (const char *)pointer >= begin &&
	       (const char *)pointer < begin + malloc_usable_size((void *)object);
}

/* There may be 50,000 pods, and each piece of memory costs beside its content. */
static void takes_one_piece_of_memory_for_a_pod(void)
{
	const struct object *pod;

	decode_file("list-pods.json");
	pod = list.objects[0];
	CU_ASSERT(is_within(pod, pod->name) && is_within(pod, pod->uid));
	CU_ASSERT(is_within(pod, pod->pod.addresses) && is_within(pod, pod->pod.node_name));
	CU_ASSERT(malloc_usable_size((void *)pod) < 256);
	CU_ASSERT_PTR_NULL(pod->resource_version);
}

#define SHARING(name, meta, ports, phase)                                                          \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'" name "'," meta "},'spec':{'"        \
	"containers':[{'ports':[" ports "]}]},'status':{'phase':'" phase "'}}"
#define XZ(x, z) "'labels':{'app':'" x "','z':'" z "'}"

static bool shares(const struct object *a, const struct object *b)
{
	bool one = a->labels.items == b->labels.items;

	CU_ASSERT_EQUAL(a->namespace == b->namespace, one);
	CU_ASSERT_EQUAL(a->pod.phase == b->pod.phase, one);
	if (a->pod.port_count)
		CU_ASSERT_EQUAL(a->pod.ports == b->pod.ports, one);
	return one;
}

static void pods_that_say_the_same_share_it(void)
{
	struct object *pods[8];

	CU_ASSERT_FATAL(
		decode("[" SHARING("a", XZ("x", "1"), "{'containerPort':80,'name':'h'}", "Running") "," SHARING("b", "'labels':{'z':'1','app':'x'}", "{'containerPort':80,'name':'h'}", "Running") "," SHARING(
			"c", XZ("x", "2"), "{'containerPort':80,'name':'h'}",
			"Running") "," SHARING("d", XZ("x", "1"), "{'containerPort':81,'name':'h'}",
					       "Running") "," SHARING("e", XZ("x", "1"),
								      "{'containerPort':80,'name':'"
								      "i'}",
								      "Running") "," SHARING("f",
											     XZ("x",
												"1"),
											     "{'"
											     "conta"
											     "inerP"
											     "ort':"
											     "80,'"
											     "name'"
											     ":'h'"
											     "}",
											     "Pendi"
											     "ng") "," SHARING("g",
													       "'namespace':'n'," XZ(
														       "x",
														       "1"),
													       "{'containerPort':80,'name':'h'}",
													       "Running") "," SHARING("h",
																      XZ("x",
																	 "1"),
																      "{'containerPort':80},{'containerPort':80,'name':"
																      "'h'}",
																      "Running") "]") ==
		0);
	CU_ASSERT_EQUAL_FATAL(list.count, 8);
	memcpy(pods, list.objects, sizeof(pods));
	CU_ASSERT(shares(pods[0], pods[1]));
	for (size_t i = 2; i < 8; i++)
		for (size_t j = 0; j < i; j++)
			CU_ASSERT(!shares(pods[i], pods[j]));
	object_free(pods[0]);
	list.objects[0] = list.objects[--list.count];
	CU_ASSERT_STRING_EQUAL(labels_get(&pods[1]->labels, "z"), "1");
	CU_ASSERT_STRING_EQUAL(labels_get(&pods[2]->labels, "z"), "2");
	CU_ASSERT_STRING_EQUAL(pods[1]->pod.phase, "Running");
	CU_ASSERT_STRING_EQUAL(pods[1]->namespace, "default");
	CU_ASSERT_STRING_EQUAL(pods[1]->pod.ports[0].name, "h");
	CU_ASSERT_EQUAL(pods[1]->pod.ports[0].port, 80);
	CU_ASSERT_STRING_EQUAL(pods[6]->namespace, "n");
	CU_ASSERT_PTR_NULL(pods[7]->pod.ports[0].name);
	CU_ASSERT_STRING_EQUAL(pods[7]->pod.ports[1].name, "h");
	CU_ASSERT_STRING_EQUAL(pods[5]->pod.phase, "Pending");
	CU_ASSERT_STRING_EQUAL(pods[4]->pod.ports[0].name, "i");
}

static void takes_one_piece_of_memory_for_a_slice(void)
{
	const struct object *slice;

	decode_file("list-endpointslices.json");
	for (size_t n = 0; n < list.count; n++) {
		slice = list.objects[n];
		CU_ASSERT(is_within(slice, slice->name) && is_within(slice, slice->slice.service));
		for (size_t i = 0; i < slice->slice.endpoint_count; i++)
			CU_ASSERT(is_within(slice, slice->slice.endpoints[i].addresses));
	}
}

static void reads_the_services_of_an_api_server(void)
{
	const struct service_object *web;

	decode_file("list-services.json");
	CU_ASSERT_EQUAL_FATAL(list.count, 4);
	CU_ASSERT_FALSE(list.objects[0]->service.has_selector);
	web = &list.objects[1]->service;
	CU_ASSERT(is_addr(&web->cluster_ips[0], "10.96.179.250"));
	CU_ASSERT_EQUAL(web->cluster_ip_count, 1);
	CU_ASSERT_STRING_EQUAL(web->ports[0].target_name, "http");
	CU_ASSERT_EQUAL(web->ports[1].target_port, 53);
	CU_ASSERT(web->has_selector && !web->headless && !web->internal_local);
	CU_ASSERT(list.objects[2]->service.headless);
	CU_ASSERT_EQUAL(list.objects[2]->service.cluster_ip_count, 0);
	CU_ASSERT_STRING_EQUAL(list.objects[3]->service.type, "NodePort");
	CU_ASSERT_EQUAL(list.objects[3]->service.ports[0].node_port, 30081);
}

static void reads_the_slices_of_an_api_server(void)
{
	const struct slice_object *slice;

	decode_file("list-endpointslices.json");
	CU_ASSERT_EQUAL_FATAL(list.count, 1);
	slice = &list.objects[0]->slice;
	CU_ASSERT_STRING_EQUAL(slice->service, "web");
	CU_ASSERT_EQUAL(slice->family, FAMILY_V4);
	CU_ASSERT_EQUAL_FATAL(slice->endpoint_count, 2);
	CU_ASSERT(slice->endpoints[0].ready && slice->endpoints[0].serving &&
		  !slice->endpoints[0].terminating);
	CU_ASSERT_STRING_EQUAL(slice->endpoints[0].target_pod, "web-0");
	CU_ASSERT_STRING_EQUAL(slice->endpoints[0].node_name, "fake-node");
	CU_ASSERT(!slice->endpoints[1].ready && slice->endpoints[1].serving &&
		  slice->endpoints[1].terminating);
	CU_ASSERT_EQUAL(slice->ports[1].port, 53);
}

static void reads_the_other_answers_of_an_api_server(void)
{
	char text[PREFIX_TEXT_MAX];

	decode_file("list-nodes.json");
	CU_ASSERT_EQUAL_FATAL(list.objects[0]->node.pod_range_count, 1);
	CU_ASSERT_STRING_EQUAL(prefix_format(&list.objects[0]->node.pod_ranges[0], text),
			       "10.244.7.0/24");
	decode_file("list-namespaces.json");
	CU_ASSERT_EQUAL(list.count, 2);
	CU_ASSERT_STRING_EQUAL(labels_get(&list.objects[0]->labels, "kubernetes.io/metadata.name"),
			       "default");
	decode_file("list-networkpolicies.json");
	CU_ASSERT_EQUAL_FATAL(list.count, 2);
	CU_ASSERT_EQUAL(list.objects[1]->network_policy.ingress[0].peer_count, 2);
	CU_ASSERT_EQUAL(list.objects[1]->network_policy.ingress[0].ports[1].last, 8010);
	CU_ASSERT(list.objects[1]->network_policy.isolates_egress);
}

#define NS(name) "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'" name "'}}"

static void reads_one_object_an_array_and_lists(void)
{
	CU_ASSERT_EQUAL(decode(NS("a")), 0);
	CU_ASSERT_EQUAL(list.count, 1);
	CU_ASSERT_EQUAL(decode("[]"), 0);
	CU_ASSERT_EQUAL(list.count, 0);
	CU_ASSERT_EQUAL(decode("[" NS("a") "," NS("b") "]"), 0);
	CU_ASSERT_EQUAL(list.count, 2);
	CU_ASSERT_EQUAL(decode("{'apiVersion':'v1','kind':'List','items':[" NS("a") "]}"), 0);
	CU_ASSERT_EQUAL(list.count, 1);
	CU_ASSERT_EQUAL(decode("{'apiVersion':'v1','kind':'NamespaceList','items':[{'metadata':{'"
			       "name':'a'}},"
			       "{'kind':'ConfigMap','apiVersion':'v1'}]}"),
			0);
	CU_ASSERT_EQUAL(list.count, 1);
	CU_ASSERT_EQUAL(list.skipped, 1);
	CU_ASSERT_EQUAL(decode("{'apiVersion':'v1','kind':'PodList','items':null}"), 0);
	CU_ASSERT_EQUAL(list.count, 0);
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'List','items':[{'metadata':{'name':'a'}}]}",
			  "$.items[0].kind", "is missing"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'PodList','items':{}}", "$.items",
			  "must be an array"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'PodList','items':[null]}", "$.items[0]",
			  "must be an object"));
	CU_ASSERT(refuses("[1]", "$[0]", "must be an object"));
}

static void skips_kinds_it_has_no_use_for(void)
{
	static const char *const foreign[] = {
		"{'apiVersion':'v1','kind':'ConfigMap','data':{}}",
		"{'apiVersion':'serving.knative.dev/v1','kind':'Service','metadata':{},'spec':5}",
		"{'apiVersion':'crd.projectcalico.org/"
		"v1','kind':'NetworkPolicy','spec':{'order':1}}",
		"{'apiVersion':'a.example/v1','kind':'AllowList'}",
		"{'apiVersion':'crd.projectcalico.org/"
		"v1','kind':'NetworkPolicyList','items':[{'spec':{}}]}",
	};

	for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++) {
		CU_ASSERT_EQUAL(decode(foreign[i]), 0);
		CU_ASSERT_EQUAL(list.count, 0);
		CU_ASSERT_EQUAL(list.skipped, 1);
	}
}

static void refuses_its_own_kinds_in_versions_it_does_not_know(void)
{
	CU_ASSERT(refuses("{'kind':'NetworkPolicy','apiVersion':'networking.k8s.io/v1beta1'}",
			  "$.apiVersion", "use networking.k8s.io/v1"));
	CU_ASSERT(refuses("{'kind':'NetworkPolicy','apiVersion':'extensions/v1beta1'}",
			  "$.apiVersion", "use networking.k8s.io/v1"));
	CU_ASSERT(refuses("{'kind':'NetworkPolicy','apiVersion':'v1'}", "$.apiVersion",
			  "use networking.k8s.io/v1"));
	CU_ASSERT(refuses("{'kind':'Pod'}", "$.apiVersion", "is missing"));
	CU_ASSERT(refuses("{'apiVersion':'v1'}", "$.kind", "is missing"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':7}", "$.kind", "must be a string"));
}

static void says_line_and_column_of_broken_json(void)
{
	CU_ASSERT(refuses("{\n 'kind': 'Pod',\n 'metadata': {]\n}", "$", "not JSON"));
	CU_ASSERT_EQUAL(error.line, 3);
	CU_ASSERT(error.column > 0);
	CU_ASSERT(refuses("{'kind':'Pod','kind':'Pod'}", "$", "duplicate object key"));
	CU_ASSERT_EQUAL(error.line, 1);
	CU_ASSERT(refuses("", "$", "not JSON"));
	CU_ASSERT(refuses(NS("a") NS("b"), "$", "not JSON"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'a\\u0000b'}}",
			  "$", "u0000"));
	CU_ASSERT_EQUAL(error.line, 1);
}

static void refuses_texts_over_the_limits(void)
{
	size_t length = OBJECT_TEXT_MAX + 1;
	char *text = malloc(length);

	memset(text, ' ', length);
	object_list_clear(&list);
	CU_ASSERT_EQUAL(objects_decode(text, length, &list, &error), -EFBIG);
	CU_ASSERT(strstr(error.text, "the limit is 67108864") != NULL);
	memset(text, '[', 300);
	memset(text + 300, ']', 300);
	CU_ASSERT_EQUAL(objects_decode(text, 600, &list, &error), -EFBIG);
	CU_ASSERT(strstr(error.text, "nested 300 deep; the limit is 256") != NULL);
	for (size_t i = 0; i < length; i++)
		text[i] = i % 2 ? ',' : '1';
	text[0] = '[';
	CU_ASSERT_EQUAL(objects_decode(text, length - 1, &list, &error), -EFBIG);
	CU_ASSERT(strstr(error.text, "8000000") != NULL);
	CU_ASSERT_EQUAL(decode("[[[[[]]]]]"), -EINVAL);
	free(text);
}

static void refuses_an_object_that_stands_twice(void)
{
	CU_ASSERT(refuses("[" NS("a") "," NS("b") "," NS("a") "]", "$",
			  "Namespace a is defined twice"));
}

static void all_or_nothing(void)
{
	CU_ASSERT(refuses("[" NS("a") ",{'apiVersion':'v1','kind':'Namespace','metadata':{}}]",
			  "$[1].metadata.name", "is missing"));
}

#define META(inside) "{'apiVersion':'v1','kind':'Pod','metadata':{" inside "}}"

static void checks_metadata_and_tolerates_the_rest_of_it(void)
{
	CU_ASSERT_EQUAL(
		decode(META(
			"'name':'Web_1','namespace':'','uid':null,'labels':null,'whatever':[{}]")),
		0);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->namespace, "default");
	CU_ASSERT_STRING_EQUAL(list.objects[0]->uid, "");
	CU_ASSERT(list.objects[0]->pod.ready);
	CU_ASSERT_PTR_NULL(list.objects[0]->resource_version);
	/* A file's is nobody's concern, whatever it is. */
	CU_ASSERT(decode("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'a','"
			 "resourceVersion':7}}") == 0);
	CU_ASSERT_PTR_NULL(list.objects[0]->resource_version);
	CU_ASSERT(decode("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'a','"
			 "resourceVersion':'7'}}") == 0);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->resource_version, "7");
	CU_ASSERT(refuses(META("'name':''"), "$.metadata.name", "empty"));
	CU_ASSERT(refuses(META("'name':'..'"), "$.metadata.name", "must not be"));
	CU_ASSERT(refuses(META("'name':'a/b'"), "$.metadata.name", "must not be"));
	CU_ASSERT(refuses(META("'name':'a\\nb'"), "$.metadata.name", "printable"));
	CU_ASSERT(refuses(META("'name':'a','labels':{'x':1}"), "$.metadata.labels.x",
			  "must be a string"));
	CU_ASSERT(refuses(META("'name':'a','labels':{'x':null}"), "$.metadata.labels.x",
			  "must be a string"));
	CU_ASSERT(
		refuses(META("'name':'a','labels':[]"), "$.metadata.labels", "must be an object"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'Pod'}", "$.metadata", "is missing"));
	CU_ASSERT_EQUAL(decode("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'a','"
			       "namespace':'b'}}"),
			0);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->namespace, "");
}

#define POD(spec, status)                                                                          \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a'},'spec':{" spec                    \
	"},'status':{" status "}}"

static void knows_the_state_of_a_pod(void)
{
	CU_ASSERT_EQUAL(decode(POD("", "'conditions':[{'type':'Ready','status':'False'}]")), 0);
	CU_ASSERT_FALSE(list.objects[0]->pod.ready);
	CU_ASSERT_EQUAL(decode(POD("", "'conditions':[{'type':'PodScheduled','status':'True'}]")),
			0);
	CU_ASSERT_FALSE(list.objects[0]->pod.ready);
	CU_ASSERT_EQUAL(decode(POD("", "'conditions':[],'phase':'Failed'")), 0);
	CU_ASSERT(list.objects[0]->pod.ready && list.objects[0]->pod.finished);
	CU_ASSERT_EQUAL(decode("{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','"
			       "deletionTimestamp':'x'}}"),
			0);
	CU_ASSERT(list.objects[0]->pod.terminating);
	CU_ASSERT_EQUAL(
		decode(POD("'hostNetwork':true,'nodeName':''", "'podIP':'10.0.0.1','podIPs':[]")),
		0);
	CU_ASSERT(list.objects[0]->pod.host_network);
	CU_ASSERT_PTR_NULL(list.objects[0]->pod.node_name);
	CU_ASSERT_EQUAL(list.objects[0]->pod.address_count, 1);
}

static void refuses_pods_that_make_no_sense(void)
{
	CU_ASSERT(refuses(POD("", "'podIPs':[{'ip':'10.0.0.1'},{'ip':'127.0.0.1'}]"),
			  "$.status.podIPs[1].ip", "loopback"));
	CU_ASSERT(refuses(POD("", "'podIP':'fe80::1'"), "$.status.podIP", "link-local"));
	CU_ASSERT(refuses(POD("", "'podIP':'10.0.0.256'"), "$.status.podIP", "must be an IPv4"));
	CU_ASSERT(refuses(POD("'hostNetwork':'yes'", ""), "$.spec.hostNetwork", "true or false"));
	CU_ASSERT(refuses(POD("'containers':[{'ports':[{'name':'a'}]}]", ""),
			  "$.spec.containers[0].ports[0].containerPort", "is missing"));
	CU_ASSERT(refuses(POD("'containers':[{'ports':[{'containerPort':0}]}]", ""),
			  "$.spec.containers[0].ports[0].containerPort", "from 1 to 65535"));
	CU_ASSERT(refuses(POD("'initContainers':{}", ""), "$.spec.initContainers",
			  "must be an array"));
}

#define SERVICE(spec)                                                                              \
	"{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'spec':{" spec "}}"

static void tolerates_unknown_fields_of_services(void)
{
	CU_ASSERT_EQUAL(
		decode(SERVICE(
			"'type':'LoadBalancer','newField':{},'clusterIP':'10.0.0.1',"
			"'ports':[{'port':80,'appProtocol':'x','nodePort':0,'targetPort':0}],"
			"'internalTrafficPolicy':'Local','selector':{}")),
		0);
	CU_ASSERT_EQUAL(list.objects[0]->service.ports[0].target_port, 80);
	CU_ASSERT_FALSE(list.objects[0]->service.has_selector);
	CU_ASSERT(list.objects[0]->service.internal_local);
	CU_ASSERT_EQUAL(list.objects[0]->service.cluster_ip_count, 1);
}

static const struct service_object *decode_service_of(const char *text)
{
	CU_ASSERT_EQUAL_FATAL(decode(text), 0);
	return &list.objects[0]->service;
}

static void keeps_how_traffic_reaches_a_service(void)
{
	const struct service_object *service = decode_service_of(
		"{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','creationTimestamp':"
		"'1970-01-01T00:01:00Z','annotations':{'polder.dev/forwarding':'dsr','b':'c'}},"
		"'spec':{'type':'LoadBalancer','externalIPs':['127.0.0.1','fd00::1'],"
		"'loadBalancerIP':'192.0.2.1','loadBalancerSourceRanges':[' 10.0.0.0/8 '],"
		"'externalTrafficPolicy':'Local','healthCheckNodePort':30001,'ipFamilies':['IPv6']}"
		","
		"'status':{'loadBalancer':{'ingress':[{'hostname':'x'},{'ip':'192.0.2.3'},"
		"{'ip':'192.0.2.4','ipMode':'Proxy'}]}}}");

	CU_ASSERT_EQUAL(service->created, 60);
	CU_ASSERT_EQUAL(service->annotations.count, 1);
	CU_ASSERT_STRING_EQUAL(labels_get(&service->annotations, "polder.dev/forwarding"), "dsr");
	CU_ASSERT_EQUAL(service->external_ip_count, 2);
	CU_ASSERT(is_addr(&service->external_ips[0], "127.0.0.1"));
	CU_ASSERT_EQUAL(service->balancer_ip_count, 1);
	CU_ASSERT(is_addr(&service->balancer_ips[0], "192.0.2.3"));
	CU_ASSERT(service->balancer_elsewhere);
	CU_ASSERT(is_addr(&service->balancer_asked, "192.0.2.1"));
	CU_ASSERT_EQUAL(service->source_range_count, 1);
	CU_ASSERT_EQUAL(service->source_ranges[0].length, 104);
	CU_ASSERT(service->external_local && !service->internal_local);
	CU_ASSERT_EQUAL(service->health_port, 30001);
	CU_ASSERT(service->wants_v6 && !service->wants_v4);
	CU_ASSERT_EQUAL(service->affinity_seconds, 0);
}

static void affinity_has_a_time(void)
{
	CU_ASSERT_EQUAL(
		decode_service_of(SERVICE("'sessionAffinity':'ClientIP'"))->affinity_seconds,
		10800);
	CU_ASSERT_EQUAL(decode_service_of(SERVICE("'sessionAffinity':'ClientIP',"
						  "'sessionAffinityConfig':{'clientIP':{"
						  "'timeoutSeconds':7}}"))
				->affinity_seconds,
			7);
	CU_ASSERT_EQUAL(decode_service_of(SERVICE("'sessionAffinity':'None',"
						  "'sessionAffinityConfig':{'clientIP':{"
						  "'timeoutSeconds':7}}"))
				->affinity_seconds,
			0);
}

static void refuses_traffic_that_makes_no_sense(void)
{
	CU_ASSERT(refuses(SERVICE("'externalIPs':['10.0.0.1','x']"), "$.spec.externalIPs[1]",
			  "must be an IPv4 or IPv6 address"));
	CU_ASSERT(refuses(SERVICE("'loadBalancerSourceRanges':['10.0.0.1']"),
			  "$.spec.loadBalancerSourceRanges[0]", "block"));
	CU_ASSERT(refuses(SERVICE("'externalTrafficPolicy':'Nearby'"),
			  "$.spec.externalTrafficPolicy", "Cluster or Local"));
	CU_ASSERT(refuses(SERVICE("'sessionAffinity':'Cookie'"), "$.spec.sessionAffinity",
			  "None or ClientIP"));
	CU_ASSERT(refuses(SERVICE("'sessionAffinityConfig':{'clientIP':{'timeoutSeconds':86401}}"),
			  "$.spec.sessionAffinityConfig.clientIP.timeoutSeconds", "86400"));
	CU_ASSERT(
		refuses(SERVICE("'ipFamilies':['IPv5']"), "$.spec.ipFamilies[0]", "IPv4 or IPv6"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'status':{"
			  "'loadBalancer':{'ingress':[{},{'ip':'x'}]}}}",
			  "$.status.loadBalancer.ingress[1].ip",
			  "must be an IPv4 or IPv6 address"));
	CU_ASSERT(refuses("{'apiVersion':'v1','kind':'Service','metadata':{'name':'s',"
			  "'annotations':{'polder.dev/x':1}}}",
			  "$.metadata.annotations[\"polder.dev/x\"]", "must be a string"));
}

static void refuses_services_that_make_no_sense(void)
{
	CU_ASSERT(refuses(SERVICE("'clusterIP':'127.0.0.1'"), "$.spec.clusterIP", "loopback"));
	CU_ASSERT(refuses(SERVICE("'clusterIPs':['10.0.0.1','224.0.0.1']"), "$.spec.clusterIPs[1]",
			  "multicast"));
	CU_ASSERT(refuses(SERVICE("'clusterIPs':['0.0.0.0']"), "$.spec.clusterIPs[0]",
			  "unspecified"));
	CU_ASSERT(refuses(SERVICE("'clusterIPs':['169.254.1.1']"), "$.spec.clusterIPs[0]",
			  "link-local"));
	CU_ASSERT(refuses(SERVICE("'clusterIPs':['255.255.255.255']"), "$.spec.clusterIPs[0]",
			  "broadcast"));
	CU_ASSERT(refuses(SERVICE("'clusterIPs':'10.0.0.1'"), "$.spec.clusterIPs",
			  "must be an array"));
	CU_ASSERT(refuses(SERVICE("'ports':[{'port':'80'}]"), "$.spec.ports[0].port",
			  "must be an integer"));
	CU_ASSERT(refuses(SERVICE("'ports':[{}]"), "$.spec.ports[0].port", "is missing"));
	CU_ASSERT(refuses(SERVICE("'ports':[{'port':1,'targetPort':65536}]"),
			  "$.spec.ports[0].targetPort", "65535"));
	CU_ASSERT(refuses(SERVICE("'ports':[{'port':1,'targetPort':'80'}]"),
			  "$.spec.ports[0].targetPort", "at least one"));
	CU_ASSERT(refuses(
		SERVICE("'ports':[{'port':1},{'port':1,'protocol':'UDP'},{'port':1,'name':'b'}]"),
		"$.spec.ports[2]", "twice"));
	CU_ASSERT(refuses(SERVICE("'type':'clusterip'"), "$.spec.type", "must be ClusterIP"));
	CU_ASSERT(refuses(SERVICE("'selector':{'a':['b']}"), "$.spec.selector.a",
			  "must be a string"));
	CU_ASSERT(refuses(SERVICE("'internalTrafficPolicy':'local'"),
			  "$.spec.internalTrafficPolicy", "Local"));
}

#define SLICE(inside)                                                                              \
	"{'apiVersion':'discovery.k8s.io/"                                                         \
	"v1','kind':'EndpointSlice','metadata':{'name':'s','labels':"                              \
	"{'kubernetes.io/service-name':'web'}}," inside "}"

static void null_conditions_of_endpoints_have_their_meaning(void)
{
	const struct slice_endpoint *endpoints;

	CU_ASSERT_EQUAL(
		decode(SLICE(
			"'addressType':'IPv6','ports':[{'port':null,'name':null}],'endpoints':["
			"{'addresses':['fd00::1']},"
			"{'addresses':['fd00::2'],'conditions':{'ready':null,'serving':null,'"
			"terminating':null}},"
			"{'addresses':['fd00::3'],'conditions':{'ready':false}}]")),
		0);
	endpoints = list.objects[0]->slice.endpoints;
	CU_ASSERT(endpoints[0].ready && endpoints[0].serving && !endpoints[0].terminating);
	CU_ASSERT(endpoints[1].ready && endpoints[1].serving && !endpoints[1].terminating);
	CU_ASSERT(!endpoints[2].ready && !endpoints[2].serving);
	CU_ASSERT_EQUAL(list.objects[0]->slice.ports[0].port, 0);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->slice.ports[0].name, "");
}

static void slices_may_be_empty_or_of_names(void)
{
	CU_ASSERT_EQUAL(decode(SLICE("'addressType':'IPv4','endpoints':null,'ports':null")), 0);
	CU_ASSERT_EQUAL(list.objects[0]->slice.endpoint_count, 0);
	CU_ASSERT_EQUAL(
		decode(SLICE("'addressType':'FQDN','endpoints':[{'addresses':['a.example']}]")), 0);
	CU_ASSERT_EQUAL(list.objects[0]->slice.endpoint_count, 0);
}

static void hints_and_foreign_pods_of_endpoints_are_kept(void)
{
	const struct slice_endpoint *endpoints;

	CU_ASSERT_EQUAL_FATAL(
		decode(SLICE(
			"'addressType':'IPv4','endpoints':["
			"{'addresses':['10.0.0.1'],'hints':{'forZones':[{'name':'a'},{'name':'b'"
			"}],'forNodes':[{'name':'n'}]},'targetRef':{'kind':'Pod','name':'p',"
			"'namespace':'default'}},"
			"{'addresses':['10.0.0.2'],'hints':null,'targetRef':{'kind':'Pod',"
			"'name':'p','namespace':'other'}}]")),
		0);
	endpoints = list.objects[0]->slice.endpoints;
	CU_ASSERT_STRING_EQUAL(endpoints[0].zone_hints, "a,b");
	CU_ASSERT_STRING_EQUAL(endpoints[0].node_hints, "n");
	CU_ASSERT(endpoints[0].target_namespace == NULL);
	CU_ASSERT(endpoints[1].zone_hints == NULL && endpoints[1].node_hints == NULL);
	CU_ASSERT_STRING_EQUAL(endpoints[1].target_namespace, "other");
	CU_ASSERT(refuses(SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],"
				"'hints':{'forZones':[{'name':'a,b'}]}}]"),
			  "$.endpoints[0].hints.forZones[0].name", "without a comma"));
}

static void refuses_slices_that_make_no_sense(void)
{
	CU_ASSERT(refuses(
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1','fd00::1']}]"),
		"$.endpoints[0].addresses[1]", "addressType"));
	CU_ASSERT(refuses(SLICE("'addressType':'IPv6','endpoints':[{'addresses':['::1']}]"),
			  "$.endpoints[0].addresses[0]", "loopback"));
	CU_ASSERT(refuses(SLICE("'addressType':'IPv4','endpoints':[{}]"),
			  "$.endpoints[0].addresses", "is missing"));
	CU_ASSERT(refuses(SLICE("'endpoints':[]"), "$.addressType", "is missing"));
	CU_ASSERT(refuses(SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],'"
				"conditions':{'ready':1}}]"),
			  "$.endpoints[0].conditions.ready", "true or false"));
}

#define NODE(inside) "{'apiVersion':'v1','kind':'Node','metadata':{'name':'n'}," inside "}"

static void reads_nodes_of_both_families(void)
{
	CU_ASSERT_EQUAL(
		decode(NODE(
			"'spec':{'podCIDR':'10.1.0.0/24','podCIDRs':['10.1.0.0/24','fd01::/64']},"
			"'status':{'addresses':[{'type':'Hostname','address':'n'},"
			"{'type':'ExternalIP','address':'198.51.100.1'},{'type':'InternalIP','"
			"address':'fd00::1'},"
			"{'type':'InternalIP','address':'192.168.0.1'}]}")),
		0);
	CU_ASSERT_EQUAL(list.objects[0]->node.pod_range_count, 2);
	CU_ASSERT_EQUAL(list.objects[0]->node.internal_count, 2);
	CU_ASSERT_EQUAL_FATAL(list.objects[0]->node.address_count, 3);
	CU_ASSERT(is_addr(&list.objects[0]->node.addresses[0], "fd00::1"));
	CU_ASSERT(is_addr(&list.objects[0]->node.addresses[2], "198.51.100.1"));
	CU_ASSERT(refuses(NODE("'spec':{'podCIDRs':['0.0.0.0/0']}"), "$.spec.podCIDRs[0]",
			  "unspecified"));
	CU_ASSERT(refuses(NODE("'status':{'addresses':[{'type':'InternalIP','address':'n1'}]}"),
			  "$.status.addresses[0].address", "must be an IPv4"));
}

static void equal_objects_are_told_from_others(void)
{
	static const char *const texts[] = {
		POD("'nodeName':'n'", "'podIP':'10.0.0.1'"),
		POD("'nodeName':'n'", "'podIP':'10.0.0.2'"),
		POD("'nodeName':'m'", "'podIP':'10.0.0.1'"),
		POD("'containers':[{'ports':[{'containerPort':1}]}]", ""),
		SERVICE("'clusterIP':'10.0.0.1'"),
		SERVICE("'clusterIP':'None'"),
		SERVICE("'ports':[{'port':1}]"),
		SERVICE("'selector':{'a':'b'}"),
		SERVICE("'externalIPs':['10.0.0.1']"),
		SERVICE("'loadBalancerSourceRanges':['10.0.0.0/8']"),
		SERVICE("'loadBalancerClass':'a/b'"),
		SERVICE("'externalTrafficPolicy':'Local'"),
		SERVICE("'internalTrafficPolicy':'Local'"),
		SERVICE("'healthCheckNodePort':30000"),
		SERVICE("'sessionAffinity':'ClientIP'"),
		SERVICE("'trafficDistribution':'PreferClose'"),
		SERVICE("'trafficDistribution':'PreferSameNode'"),
		SERVICE("'ipFamilies':['IPv4']"),
		SERVICE("'ipFamilies':['IPv6']"),
		SERVICE("},'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.1'}]}"),
		"{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','annotations':{"
		"'polder.dev/a':'b'}}}",
		"{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','creationTimestamp':"
		"'2026-01-01T00:00:00Z'}}",
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],"
		      "'hints':{'forZones':[{'name':'a'}]}}]"),
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],"
		      "'hints':{'forNodes':[{'name':'a'}]}}]"),
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],"
		      "'targetRef':{'kind':'Pod','name':'p'}}]"),
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],"
		      "'targetRef':{'kind':'Pod','name':'p','namespace':'x'}}]"),
		SLICE("'addressType':'IPv4'"),
		SLICE("'addressType':'IPv6'"),
		SLICE("'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1']}]"),
		NODE("'spec':{'podCIDR':'10.1.0.0/24'}"),
		NODE("'spec':{'podCIDR':'10.1.0.0/25'}"),
		NS("a"),
		NS("b"),
	};
	struct object_list kept;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		CU_ASSERT_EQUAL(decode(texts[i]), 0);
		kept = list;
		list = (struct object_list){};
		for (size_t j = 0; j < sizeof(texts) / sizeof(*texts); j++) {
			CU_ASSERT_EQUAL(decode(texts[j]), 0);
			CU_ASSERT_EQUAL(object_equal(kept.objects[0], list.objects[0]), i == j);
		}
		object_list_clear(&kept);
	}
}

static void failure_leaves_the_result_alone(void)
{
	struct object_list untouched = {.skipped = 77};

	CU_ASSERT_EQUAL(objects_decode("x", 1, &untouched, &error), -EINVAL);
	CU_ASSERT_EQUAL(untouched.skipped, 77);
	object_list_clear(&list);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(reads_the_pods_of_an_api_server),
		UNIT_TEST(takes_one_piece_of_memory_for_a_pod),
		UNIT_TEST(pods_that_say_the_same_share_it),
		UNIT_TEST(takes_one_piece_of_memory_for_a_slice),
		UNIT_TEST(reads_the_services_of_an_api_server),
		UNIT_TEST(reads_the_slices_of_an_api_server),
		UNIT_TEST(reads_the_other_answers_of_an_api_server),
		UNIT_TEST(reads_one_object_an_array_and_lists),
		UNIT_TEST(skips_kinds_it_has_no_use_for),
		UNIT_TEST(refuses_its_own_kinds_in_versions_it_does_not_know),
		UNIT_TEST(says_line_and_column_of_broken_json),
		UNIT_TEST(refuses_texts_over_the_limits),
		UNIT_TEST(refuses_an_object_that_stands_twice),
		UNIT_TEST(all_or_nothing),
		UNIT_TEST(checks_metadata_and_tolerates_the_rest_of_it),
		UNIT_TEST(knows_the_state_of_a_pod),
		UNIT_TEST(refuses_pods_that_make_no_sense),
		UNIT_TEST(tolerates_unknown_fields_of_services),
		UNIT_TEST(keeps_how_traffic_reaches_a_service),
		UNIT_TEST(affinity_has_a_time),
		UNIT_TEST(refuses_traffic_that_makes_no_sense),
		UNIT_TEST(hints_and_foreign_pods_of_endpoints_are_kept),
		UNIT_TEST(refuses_services_that_make_no_sense),
		UNIT_TEST(null_conditions_of_endpoints_have_their_meaning),
		UNIT_TEST(slices_may_be_empty_or_of_names),
		UNIT_TEST(refuses_slices_that_make_no_sense),
		UNIT_TEST(reads_nodes_of_both_families),
		UNIT_TEST(equal_objects_are_told_from_others),
		UNIT_TEST(failure_leaves_the_result_alone),
	};

	return UNIT_RUN("policy/objects", tests);
}
