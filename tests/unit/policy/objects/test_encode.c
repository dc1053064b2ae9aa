/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that are written and read again are the same. */
#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

/* Written, read, and written: `object` is the caller's. */
static void expect_same(const struct object *object)
{
	char *text = object_encode(object), *again;
	struct object *copy = NULL;
	struct error error = {};

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT(strchr(text, '\n') == NULL);
	if (object_decode(object->kind, text, strlen(text), &copy, &error) < 0) {
		fprintf(stderr, "\n%s: %s %s\n", text, error.path, error.text);
		CU_FAIL_FATAL("what was written cannot be read");
	}
	if (!object_equal(object, copy))
		fprintf(stderr, "\n%s\n", text);
	CU_ASSERT(object_equal(object, copy));
	again = object_encode(copy);
	CU_ASSERT_STRING_EQUAL(again, text);
	free(again);
	free(text);
	object_free(copy);
}

/* With ' for ". */
static void expect_same_text(const char *text)
{
	char *copy = strdup(text);
	struct object_list list = {};
	struct error error = {};

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (objects_decode(copy, strlen(copy), &list, &error) < 0 || list.count == 0) {
		fprintf(stderr, "\n%s: %s %s\n", copy, error.path, error.text);
		CU_FAIL_FATAL("the test's own text is wrong");
	}
	for (size_t i = 0; i < list.count; i++)
		expect_same(list.objects[i]);
	object_list_clear(&list);
	free(copy);
}

#define OBJECT(api, kind, name, more)                                                              \
	"{'apiVersion':'" api "','kind':'" kind "','metadata':{'name':'" name "'," more

static void recorded_objects(void)
{
	static const char *const files[] = {"list-pods.json",	    "list-nodes.json",
					    "list-services.json",   "list-endpointslices.json",
					    "list-namespaces.json", "list-networkpolicies.json"};
	char path[512], *text = malloc(1 << 20);
	struct object_list list = {};
	struct error error;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		FILE *file;
		size_t length;

		snprintf(path, sizeof(path), "%s/%s", UNIT_DATA, files[i]);
		file = fopen(path, "re");
		CU_ASSERT_FATAL(file != NULL);
		length = fread(text, 1, 1 << 20, file);
		fclose(file);
		CU_ASSERT_FATAL(objects_decode(text, length, &list, &error) == 0);
		for (size_t j = 0; j < list.count; j++)
			expect_same(list.objects[j]);
		object_list_clear(&list);
	}
	free(text);
}

static void pods_in_every_state(void)
{
	expect_same_text(OBJECT("v1", "Pod", "bare", "'namespace':'n'}}"));
	expect_same_text(OBJECT(
		"v1", "Pod", "a",
		"'uid':'u-1','resourceVersion':'7','labels':{'z':'','a/b':'c','m':'1'},"
		"'deletionTimestamp':'2026-01-01T00:00:00Z',"
		"'annotations':{'kubernetes.io/config.mirror':'abc'}},"
		"'spec':{'nodeName':'node-1','hostNetwork':true,'containers':[{'ports':["
		"{'containerPort':80,'name':'web'},{'containerPort':53,'protocol':'UDP'}]}],"
		"'initContainers':[{'restartPolicy':'Always','ports':[{'containerPort':9,"
		"'name':'side','protocol':'SCTP'}]},{'ports':[{'containerPort':10}]}]},"
		"'status':{'phase':'Succeeded','podIP':'10.1.2.3','podIPs':[{'ip':'10.1.2.3'},"
		"{'ip':'fd00::7'}],'conditions':[{'type':'Ready','status':'False'}]}}"));
	expect_same_text(OBJECT("v1", "Pod", "odd",
				"'namespace':'n'},'status':{'podIP':'fd00::7',"
				"'phase':'a \\\\ \\\" \\u00e4'}}"));
}

static void nodes_namespaces_and_services(void)
{
	expect_same_text(OBJECT("v1", "Namespace", "n", "'deletionTimestamp':'x'}}"));
	expect_same_text(OBJECT("v1", "Node", "m",
				"'labels':{'a':'b'}},'spec':{'podCIDR':'10.0.0.0/24'},'status':"
				"{'addresses':[{'type':'ExternalIP','address':'192.0.2.1'},"
				"{'type':'Hostname','address':'m'},"
				"{'type':'InternalIP','address':'fd00::1'}]}}"));
	expect_same_text(OBJECT("v1", "Service", "none", "'namespace':'n'}}"));
	expect_same_text(OBJECT("v1", "Service", "headless",
				"'namespace':'n'},'spec':{'clusterIP':'None','selector':{'a':'b'},"
				"'ports':[{'port':80,'targetPort':'web'}]}}"));
	expect_same_text(OBJECT(
		"v1", "Service", "s",
		"'namespace':'n'},'spec':{'type':'NodePort','clusterIPs':['10.96.0.1','fd00::96'],"
		"'publishNotReadyAddresses':true,'internalTrafficPolicy':'Local',"
		"'selector':{'b':'2','a':'1'},'ports':[{'name':'x','port':80,'nodePort':30080},"
		"{'name':'y','port':80,'protocol':'UDP','targetPort':8080}]}}"));
	expect_same_text(OBJECT(
		"v1", "Service", "balanced",
		"'namespace':'n','creationTimestamp':'2026-05-01T10:00:00Z','annotations':{"
		"'polder.dev/forwarding':'dsr','polder.dev/"
		"balancing':'table','other':'x'}},'spec':{"
		"'type':'LoadBalancer','clusterIP':'10.96.0.1','externalIPs':['192.0.2.9',"
		"'127.0.0.1'],'loadBalancerSourceRanges':['192.0.2.0/24','2001:db8::/32'],"
		"'loadBalancerClass':'a.b/"
		"c','loadBalancerIP':'192.0.2.9','externalTrafficPolicy':'Local','"
		"healthCheckNodePort':"
		"30999,'trafficDistribution':'PreferClose','sessionAffinity':'ClientIP',"
		"'sessionAffinityConfig':{'clientIP':{'timeoutSeconds':5}},'ipFamilies':['IPv6',"
		"'IPv4']},'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.10'},{'hostname':'a'}"
		","
		"{'ip':'192.0.2.11','ipMode':'Proxy'},{'ip':'2001:db8::1','ipMode':'VIP'}]}}}"));
	expect_same_text(OBJECT("v1", "Service", "near",
				"'namespace':'n'},'spec':{'sessionAffinity':'ClientIP',"
				"'trafficDistribution':'PreferSameNode','ipFamilies':['IPv6']}}"));
}

static void slices(void)
{
	expect_same_text(OBJECT(
		"discovery.k8s.io/v1", "EndpointSlice", "s-1",
		"'namespace':'n','labels':{'kubernetes.io/service-name':'s'}},'addressType':'IPv4',"
		"'ports':[{'name':'x','port':80,'protocol':'SCTP'},{}],'endpoints':["
		"{'addresses':['10.1.1.1'],'nodeName':'m','targetRef':{'kind':'Pod','name':'p'}},"
		"{'addresses':['10.1.1.2','10.1.1.3'],'conditions':{'ready':false}},"
		"{'addresses':[],'conditions':{'ready':false,'serving':true,'terminating':true}}]"
		"}"));
	expect_same_text(
		OBJECT("discovery.k8s.io/v1", "EndpointSlice", "s-2",
		       "'namespace':'n'},'addressType':'IPv6','endpoints':["
		       "{'addresses':['fd00::1'],'targetRef':{'kind':'Node','name':'p'}}]}"));
	expect_same_text(
		OBJECT("discovery.k8s.io/v1", "EndpointSlice", "s-4",
		       "'namespace':'n'},'addressType':'IPv4','endpoints':["
		       "{'addresses':['10.0.0.1'],'targetRef':{'kind':'Pod','name':'p',"
		       "'namespace':'m'},'hints':{'forZones':[{'name':'a'},{'name':'b'}]}},"
		       "{'addresses':['10.0.0.2'],'targetRef':{'kind':'Pod','name':'p',"
		       "'namespace':'n'},'hints':{'forNodes':[{'name':'x'}]}}]}"));
	expect_same_text(OBJECT("discovery.k8s.io/v1", "EndpointSlice", "s-3",
				"'namespace':'n'},'addressType':'FQDN','endpoints':["
				"{'addresses':['example.com']}]}"));
}

#define POLICY(name, spec)                                                                         \
	OBJECT("networking.k8s.io/v1", "NetworkPolicy", name, "'namespace':'n'},'spec':{" spec "}}")

static void policies(void)
{
	expect_same_text(POLICY("all", "'podSelector':{}"));
	expect_same_text(POLICY("egress", "'podSelector':{},'egress':[]"));
	expect_same_text(POLICY(
		"both", "'podSelector':{},'egress':[{}],'ingress':[{},{'from':[],'ports':[]}]"));
	expect_same_text(POLICY("types", "'policyTypes':['Egress'],'ingress':[{}]"));
	expect_same_text(POLICY(
		"selectors",
		"'podSelector':{'matchLabels':{'z':'1','a':''},'matchExpressions':["
		"{'key':'a','operator':'In','values':['x']},{'key':'b','operator':'In','values':['"
		"x']},"
		"{'key':'c','operator':'NotIn','values':['x','','y']},{'key':'d','operator':'"
		"Exists'},"
		"{'key':'d','operator':'DoesNotExist','values':[]},"
		"{'key':'e','operator':'In','values':['x']}]},'ingress':[{'from':["
		"{'podSelector':{}},{'namespaceSelector':{}},"
		"{'podSelector':{'matchLabels':{'a':'b'}},'namespaceSelector':{'matchExpressions':["
		"{'key':'d','operator':'Exists'}]}}]}]"));
	expect_same_text(POLICY(
		"ports",
		"'podSelector':{},'ingress':[{'ports':[{},{'protocol':'UDP'},{'port':80},"
		"{'port':'web','protocol':'SCTP'},{'port':80,'endPort':80},{'port':1,'endPort':"
		"65535}]"
		"},{'from':[{'ipBlock':{'cidr':'10.1.2.3/8','except':['10.1.0.0/16','10.2.2.2/"
		"32']}},"
		"{'ipBlock':{'cidr':'::/0'}},{'ipBlock':{'cidr':'0.0.0.0/0','except':[]}}]}]"));
}

#define CLUSTER(name, spec)                                                                        \
	OBJECT("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", name,                  \
	       "'labels':{'a':'b'}},'spec':{" spec "}}")

static void cluster_policies(void)
{
	expect_same_text(
		CLUSTER("least", "'tier':'Baseline','priority':0,'subject':{'namespaces':{}}"));
	expect_same_text(CLUSTER(
		"all",
		"'tier':'Admin','priority':1000,'subject':{'pods':{'namespaceSelector':{'"
		"matchLabels':"
		"{'a':'b'}},'podSelector':{'matchExpressions':[{'key':'d','operator':'Exists'}]}}},"
		"'ingress':[{'action':'Pass','name':'first','from':[{'namespaces':{}},{'pods':"
		"{'podSelector':{},'namespaceSelector':{'matchLabels':{'a':'b'}}}}],'protocols':["
		"{'tcp':{'destinationPort':{'number':80}}},{'destinationNamedPort':'web'},"
		"{'udp':{'destinationPort':{'range':{'start':1,'end':9}}}},"
		"{'destinationNamedPort':'dns'},{'sctp':{'destinationPort':{'number':7}}}]}],"
		"'egress':[{'action':'Deny','to':[{'nodes':{}},{'networks':['10.0.0.0/8','fd00::/"
		"8']},"
		"{'networks':['0.0.0.0/0']},{'pods':{'podSelector':{}}},{'networks':['::/0']}]},"
		"{'action':'Accept','to':[{'namespaces':{'matchLabels':{'x':'y'}}}]}]"));
	/* Kinds that are not known: closed as they were. */
	expect_same_text(
		CLUSTER("unknown",
			"'tier':'Admin','priority':1,'subject':{'namespaces':{}},'ingress':["
			"{'action':'Accept','from':[{'planets':{}},{'namespaces':{}}]},"
			"{'action':'Deny','name':'x','from':[{'planets':{}}]},"
			"{'action':'Pass','from':[{'namespaces':{}}],'protocols':[{'quic':{}}]}]"));
}

/* As many as a list may have, in more items than that. */
#define TRAFFIC_ALERT(name, spec)                                                                  \
	OBJECT("polder.dev/v1alpha1", "TrafficAlert", name, "'uid':'u'},'spec':{" spec "}}")

static void traffic_alerts(void)
{
	expect_same_text(TRAFFIC_ALERT("a", "'peersOutside':{'networks':['10.0.0.0/8','2001:db8::/"
					    "32']},'severity':'Critical','message':'m'"));
	expect_same_text(TRAFFIC_ALERT("b", "'peersOutside':{'networks':[]},'rateLimitSeconds':1"));
	expect_same_text(TRAFFIC_ALERT(
		"c", "'foreignResolver':{},'subject':{'namespaces':{'matchLabels':{'a':'b'}}}"));
	expect_same_text(TRAFFIC_ALERT(
		"d", "'foreignResolver':{'services':[],'networks':['192.0.2.1/32']},'subject':{"
		     "'pods':{'podSelector':{}}}"));
	expect_same_text(
		TRAFFIC_ALERT("e", "'scan':{'targets':20,'seconds':60},'severity':'Info'"));
	expect_same_text(TRAFFIC_ALERT(
		"f", "'volume':{'bytes':9223372036854775807,'seconds':60,'networks':['::/0']}"));
	expect_same_text(TRAFFIC_ALERT(
		"g", "'newPeer':{'seconds':2592000},'subject':{'pods':{'namespaceSelector':{"
		     "'matchExpressions':[{'key':'k','operator':'Exists'}]},'podSelector':{"
		     "'matchLabels':{'a':'b'}}}}"));
}

static void many_networks_stay_within_the_limits(void)
{
	char *text = malloc(1 << 20), *at = text;

	at += sprintf(at,
		      "{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':"
		      "'ClusterNetworkPolicy','metadata':{'name':'many'},'spec':{'tier':'Admin',"
		      "'priority':1,'subject':{'namespaces':{}},'egress':[{'action':'Deny',"
		      "'to':[");
	for (int i = 0; i < 25; i++) {
		at += sprintf(at, "%s{'networks':[", i ? "," : "");
		for (int j = 0; j < 3 + i % 23; j++)
			at += sprintf(at, "%s'10.%d.%d.0/24'", j ? "," : "", i, j);
		at += sprintf(at, "]}");
	}
	sprintf(at, "]}]}}");
	expect_same_text(text);
	free(text);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(recorded_objects),
		UNIT_TEST(pods_in_every_state),
		UNIT_TEST(nodes_namespaces_and_services),
		UNIT_TEST(slices),
		UNIT_TEST(policies),
		UNIT_TEST(cluster_policies),
		UNIT_TEST(traffic_alerts),
		UNIT_TEST(many_networks_stay_within_the_limits),
	};

	return UNIT_RUN("policy/encode", tests);
}
