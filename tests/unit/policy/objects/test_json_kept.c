/* SPDX-License-Identifier: Apache-2.0 */
/* What is left out before an object is parsed is what nobody reads. */
#include "policy/objects/json_kept.h"

#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

static const struct json_kept inner[] = {{"x", NULL}, {}};
static const struct json_kept table[] = {{"a", NULL}, {"b", inner}, {"p/*", NULL}, {}};

/* ' stands for ". */
static char *quoted(const char *text)
{
	char *copy = strdup(text);

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	return copy;
}

/* NULL: refused. */
static const char *kept(const char *text)
{
	static char buffer[1024];
	char *copy = quoted(text);
	size_t length = 0;
	/* What is written behind an allocation of just this size a sanitizer sees. */
	char *exact = malloc(strlen(copy));
	bool r = json_keep(copy, strlen(copy), table, exact, &length);

	memcpy(buffer, exact, length);
	buffer[length] = '\0';
	free(exact);
	free(copy);
	return r ? buffer : NULL;
}

static bool keeps(const char *text, const char *wanted)
{
	char *copy = quoted(wanted);
	const char *made = kept(text);
	bool same = made && strcmp(made, copy) == 0;

	if (!same)
		fprintf(stderr, "\n%s: %s, not %s\n", text, made ? made : "refused", copy);
	free(copy);
	return same;
}

static void leaves_out_what_the_table_does_not_name(void)
{
	CU_ASSERT(keeps("{'c':1,'a':[1,{'c':2}],'d':{'a':1}}", "{'a':[1,{'c':2}]}"));
	CU_ASSERT(keeps("{'b':{'x':1,'y':2},'a':null}", "{'b':{'x':1},'a':null}"));
	CU_ASSERT(keeps(" { 'z' : [ '}' , '\\'' , '\\\\' ] , 'a' : -1.5e3 } ", "{'a':-1.5e3}"));
	CU_ASSERT(keeps("{}", "{}"));
	CU_ASSERT(keeps("{'c':{}}", "{}"));
	CU_ASSERT(keeps("{'p':1,'p/':2,'p/x':3,'q/p/':4,'p/*':5}", "{'p/':2,'p/x':3,'p/*':5}"));
}

static void items_of_arrays_keep_their_places(void)
{
	CU_ASSERT(keeps("{'b':[{'y':1},{'x':2,'y':1},null,[1],'s']}",
			"{'b':[{},{'x':2},null,[1],'s']}"));
	CU_ASSERT(keeps("{'b':[]}", "{'b':[]}"));
}

static void names_are_told_apart_and_escapes_are_left_to_the_parser(void)
{
	CU_ASSERT(keeps("{'aa':1,'':2,'A':3}", "{}"));
	CU_ASSERT(keeps("{'\\u0061':1}", "{'\\u0061':1}"));
	CU_ASSERT(keeps("{'a':1,'a':2}", "{'a':1,'a':2}"));
}

static void what_is_cut_off_or_no_object_is_refused(void)
{
	char *text = quoted("{'a':'b','b':[{'x':{'y':[]}},1],'c':{'d':'e'}}");
	size_t length = strlen(text), left = 0;
	char *buffer = malloc(length);

	for (size_t i = 0; i < length; i++)
		CU_ASSERT_FALSE(json_keep(text, i, table, buffer, &left));
	CU_ASSERT(json_keep(text, length, table, buffer, &left));
	free(buffer);
	free(text);
	CU_ASSERT_PTR_NULL(kept("[]"));
	CU_ASSERT_PTR_NULL(kept("{'a':1}}"));
	CU_ASSERT_PTR_NULL(kept("{'a':1 'c':2}"));
	CU_ASSERT_PTR_NULL(kept("{'a':1,}"));
	CU_ASSERT_PTR_NULL(kept("{'c'}"));
	CU_ASSERT_PTR_NULL(kept("{'c':}"));
	CU_ASSERT_PTR_NULL(kept("{a:1}"));
}

#define META                                                                                       \
	"'metadata':{'name':'n','namespace':'s','uid':'u','resourceVersion':'7',"                  \
	"'labels':{'k':'v','kubernetes.io/service-name':'svc'},'deletionTimestamp':'t',"           \
	"'annotations':{'kubernetes.io/config.mirror':'m','more':'x','polder.dev/"                 \
	"a':'b'},'managedFields':[{'f':{}}]}"

/* Each has every field that is read, and others. */
static const char *const texts[] = {
	[OBJECT_NAMESPACE] = "{'kind':'Namespace','apiVersion':'v1'," META ",'spec':{'f':[1]}}",
	[OBJECT_NODE] = "{'kind':'Node','apiVersion':'v1'," META ",'spec':{'podCIDR':'10.1.0.0/24',"
			"'podCIDRs':['10.1.0.0/24','fd00::/64'],'taints':[{'key':'k'}]},'status':"
			"{'addresses':[{'type':'InternalIP','address':'192.0.2.1'},{'type':"
			"'ExternalIP','address':'192.0.2.2'}],'images':[{'names':['i']}]}}",
	[OBJECT_POD] =
		"{'kind':'Pod','apiVersion':'v1'," META ",'spec':{'nodeName':'w',"
		"'hostNetwork':true,'volumes':[{}],'containers':[{'name':'c','ports':"
		"[{'name':'http','containerPort':80,'protocol':'UDP'}],'env':[{}]}],"
		"'initContainers':[{'restartPolicy':'Always','ports':[{'containerPort':81}]}"
		",{'ports':[{'containerPort':82}]}]},'status':{'phase':'Running','podIP':"
		"'10.1.0.3','podIPs':[{'ip':'10.1.0.3'},{'ip':'fd00::3'}],'conditions':"
		"[{'type':'Ready','status':'False','reason':'r'}],'containerStatuses':[{}]}}",
	[OBJECT_SERVICE] =
		"{'kind':'Service','apiVersion':'v1'," META ",'spec':{'type':'NodePort',"
		"'clusterIP':'10.96.0.1','clusterIPs':['10.96.0.1'],'ports':[{'name':'p',"
		"'port':80,'targetPort':'http','nodePort':30000,'protocol':'TCP'}],"
		"'selector':{'a':'b'},'publishNotReadyAddresses':true,"
		"'internalTrafficPolicy':'Local'},'status':{'loadBalancer':{'ingress':["
		"{'ip':'192.0.2.1'}]},'conditions':[]}}",
	[OBJECT_ENDPOINT_SLICE] =
		"{'kind':'EndpointSlice','apiVersion':'discovery.k8s.io/v1'," META ",'addressType':"
		"'IPv4','endpoints':[{'addresses':['10.1.0.3'],'conditions':{'ready':false,"
		"'serving':true,'terminating':true},'nodeName':'w','targetRef':{'kind':'Pod',"
		"'name':'t','namespace':'o','uid':'u'},'zone':'z','hints':{'forZones':[{'name':"
		"'z'}],'forNodes':[{'name':'w'}]}}],'ports':[{'name':'p','port':80,'protocol':'TCP'"
		","
		"'appProtocol':'h'}]}",
};

static void an_object_is_the_same_without_what_is_left_out(void)
{
	for (size_t kind = 0; kind < sizeof(texts) / sizeof(texts[0]); kind++) {
		struct object_list whole = {};
		struct object *object = NULL;
		struct error error = {};
		char *text = quoted(texts[kind]);

		CU_ASSERT_EQUAL_FATAL(objects_decode(text, strlen(text), &whole, &error), 0);
		CU_ASSERT_EQUAL_FATAL(
			object_decode((enum object_kind)kind, text, strlen(text), &object, &error),
			0);
		CU_ASSERT(object_equal(whole.objects[0], object));
		if (object->kind == OBJECT_POD || object->kind == OBJECT_NODE ||
		    object->kind == OBJECT_ENDPOINT_SLICE) {
			CU_ASSERT_PTR_NULL(object->resource_version);
		} else {
			CU_ASSERT_STRING_EQUAL(object->resource_version, "7");
		}
		object_free(object);
		object_list_clear(&whole);
		free(text);
	}
}

static void an_error_says_where_as_if_nothing_was_left_out(void)
{
	char *text = quoted("{'metadata':{'managedFields':[],'name':'n'},'spec':{'volumes':[],"
			    "'containers':[{},{'env':[],'ports':[{'containerPort':0}]}]}}");
	struct object *object = NULL;
	struct error error = {};

	CU_ASSERT(object_decode(OBJECT_POD, text, strlen(text), &object, &error) < 0);
	CU_ASSERT_STRING_EQUAL(error.path, "$.spec.containers[1].ports[0].containerPort");
	free(text);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(leaves_out_what_the_table_does_not_name),
		UNIT_TEST(items_of_arrays_keep_their_places),
		UNIT_TEST(names_are_told_apart_and_escapes_are_left_to_the_parser),
		UNIT_TEST(what_is_cut_off_or_no_object_is_refused),
		UNIT_TEST(an_object_is_the_same_without_what_is_left_out),
		UNIT_TEST(an_error_says_where_as_if_nothing_was_left_out),
	};

	return UNIT_RUN("policy/json_kept", tests);
}
