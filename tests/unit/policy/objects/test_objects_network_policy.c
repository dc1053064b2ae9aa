/* SPDX-License-Identifier: Apache-2.0 */
/* NetworkPolicies: what is refused, where the error points; what counts as absent. */
#include <errno.h>

#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

/* `spec` is the inside of spec, with ' for ". */
static int decode(const char *spec, struct object_list *ret, struct error *ret_error)
{
	char *text;
	int length = asprintf(&text,
			      "{'apiVersion':'networking.k8s.io/"
			      "v1','kind':'NetworkPolicy','metadata':{'name':'p'},"
			      "'spec':{%s}}",
			      spec);
	int r;

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	r = objects_decode(text, (size_t)length, ret, ret_error);
	free(text);
	return r;
}

struct refusal {
	const char *spec;
	const char *path;
	const char *reason; /* a part of it */
};

static void check_refusals(const struct refusal *refusals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct object_list list = {};
		struct error error = {};
		int r = decode(refusals[i].spec, &list, &error);
		bool as_expected = r < 0 && strcmp(error.path, refusals[i].path) == 0 &&
				   strstr(error.text, refusals[i].reason);

		CU_ASSERT(as_expected);
		if (!as_expected)
			fprintf(stderr, "\n%s: %d %s %s\n", refusals[i].spec, r, error.path,
				error.text);
		CU_ASSERT_PTR_NULL(list.objects);
		object_list_clear(&list);
	}
}
#define CHECK_REFUSALS(list) check_refusals(list, sizeof(list) / sizeof((list)[0]))

static void accepts(const char *spec)
{
	struct object_list list = {};
	struct error error = {};
	int r = decode(spec, &list, &error);

	CU_ASSERT_EQUAL(r, 0);
	if (r < 0)
		fprintf(stderr, "\n%s: %s %s\n", spec, error.path, error.text);
	object_list_clear(&list);
}

static void refuses_unknown_fields(void)
{
	static const struct refusal list[] = {
		{"'podSelectors':{}", "$.spec.podSelectors", "unknown field"},
		{"'podSelector':{'app':'a'}", "$.spec.podSelector.app", "unknown field"},
		{"'podSelector':{'matchExpressions':[{'key':'a','operator':'Exists','value':'x'}]}",
		 "$.spec.podSelector.matchExpressions[0].value", "unknown field"},
		{"'ingress':[{'to':[]}]", "$.spec.ingress[0].to", "unknown field"},
		{"'egress':[{'from':[]}]", "$.spec.egress[0].from", "unknown field"},
		{"'ingress':[{'from':[{'serviceSelector':{}}]}]",
		 "$.spec.ingress[0].from[0].serviceSelector", "unknown field"},
		{"'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8','excepts':[]}}]}]",
		 "$.spec.ingress[0].from[0].ipBlock.excepts", "unknown field"},
		{"'ingress':[{'ports':[{'port':1,'name':'x'}]}]", "$.spec.ingress[0].ports[0].name",
		 "unknown field"},
		{"'odd.name':1", "$.spec[\"odd.name\"]", "unknown field"},
	};

	CHECK_REFUSALS(list);
}

static void refuses_wrong_types(void)
{
	static const struct refusal list[] = {
		{"'podSelector':[]", "$.spec.podSelector", "must be an object, not an array"},
		{"'podSelector':{'matchLabels':[]}", "$.spec.podSelector.matchLabels",
		 "must be an object"},
		{"'podSelector':{'matchLabels':{'a':1}}", "$.spec.podSelector.matchLabels.a",
		 "must be a string"},
		{"'podSelector':{'matchLabels':{'a':null}}", "$.spec.podSelector.matchLabels.a",
		 "not null"},
		{"'podSelector':{'matchExpressions':{}}", "$.spec.podSelector.matchExpressions",
		 "must be an array"},
		{"'ingress':{}", "$.spec.ingress", "must be an array"},
		{"'ingress':[null]", "$.spec.ingress[0]", "must not be null"},
		{"'ingress':[[]]", "$.spec.ingress[0]", "must be an object"},
		{"'ingress':[{'from':{}}]", "$.spec.ingress[0].from", "must be an array"},
		{"'ingress':[{'from':[null]}]", "$.spec.ingress[0].from[0]", "must not be null"},
		{"'ingress':[{'ports':{}}]", "$.spec.ingress[0].ports", "must be an array"},
		{"'ingress':[{'ports':[null]}]", "$.spec.ingress[0].ports[0]", "must not be null"},
		{"'ingress':[{'ports':[{'port':80.0}]}]", "$.spec.ingress[0].ports[0].port",
		 "must be an integer"},
		{"'ingress':[{'ports':[{'port':true}]}]", "$.spec.ingress[0].ports[0].port",
		 "must be an integer"},
		{"'ingress':[{'ports':[{'protocol':6}]}]", "$.spec.ingress[0].ports[0].protocol",
		 "must be a string"},
		{"'ingress':[{'from':[{'ipBlock':'10.0.0.0/8'}]}]",
		 "$.spec.ingress[0].from[0].ipBlock", "must be an object"},
		{"'policyTypes':'Ingress'", "$.spec.policyTypes", "must be an array"},
		{"'policyTypes':[null]", "$.spec.policyTypes[0]", "must be a string"},
	};

	CHECK_REFUSALS(list);
}

static void refuses_peers_that_would_widen(void)
{
	static const struct refusal list[] = {
		{"'ingress':[{'from':[{}]}]", "$.spec.ingress[0].from[0]", "must have"},
		{"'ingress':[{'from':[{'podSelector':null}]}]", "$.spec.ingress[0].from[0]",
		 "must have"},
		{"'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8'},'podSelector':{}}]}]",
		 "$.spec.ingress[0].from[0]", "cannot be combined"},
		{"'egress':[{'to':[{'podSelector':{}},{'ipBlock':{'cidr':'::/"
		 "0'},'namespaceSelector':{}}]}]",
		 "$.spec.egress[0].to[1]", "cannot be combined"},
		{"'ingress':[{'from':[{'ipBlock':{}}]}]", "$.spec.ingress[0].from[0].ipBlock.cidr",
		 "is missing"},
	};

	CHECK_REFUSALS(list);
}

static void refuses_wrong_blocks(void)
{
#define BLOCK(cidr, excepts)                                                                       \
	"'ingress':[{'from':[{'podSelector':{}},{'ipBlock':{'cidr':'" cidr "','except':[" excepts  \
	"]}}]}]"
#define AT "$.spec.ingress[0].from[1].ipBlock."
	static const struct refusal list[] = {
		{BLOCK("10.0.0.0", ""), AT "cidr", "must be a block"},
		{BLOCK("10.0.0.0/33", ""), AT "cidr", "must be a block"},
		{BLOCK("10.0.0/8", ""), AT "cidr", "must be a block"},
		{BLOCK("::ffff:10.0.0.0/104", ""), AT "cidr", "must be a block"},
		{BLOCK("10.0.0.0/8", "'11.0.0.0/16'"), AT "except[0]", "not inside"},
		{BLOCK("10.0.0.0/8", "'10.0.0.0/16','0.0.0.0/0'"), AT "except[1]", "not inside"},
		{BLOCK("::/0", "'10.0.0.0/16'"), AT "except[0]", "another address family"},
		{BLOCK("0.0.0.0/0", "'::/0'"), AT "except[0]", "another address family"},
		{BLOCK("10.0.0.0/8", "null"), AT "except[0]", "must not be null"},
	};

	CHECK_REFUSALS(list);
	accepts(BLOCK("10.0.1.7/4", ""));
	accepts(BLOCK("10.0.0.0/8", "'10.0.0.0/8'"));
	accepts(BLOCK("::/0", "'fd00::/8','::/1'"));
}

static void refuses_wrong_ports(void)
{
#define PORT_OF(inside) "'egress':[{'ports':[{" inside "}]}]"
#define PORT_AT		"$.spec.egress[0].ports[0]."
	static const struct refusal list[] = {
		{PORT_OF("'port':0"), PORT_AT "port", "from 1 to 65535"},
		{PORT_OF("'port':65536"), PORT_AT "port", "from 1 to 65535"},
		{PORT_OF("'port':-1"), PORT_AT "port", "from 1 to 65535"},
		{PORT_OF("'port':4294967376"), PORT_AT "port", "from 1 to 65535"},
		{PORT_OF("'port':'80'"), PORT_AT "port", "at least one"},
		{PORT_OF("'port':''"), PORT_AT "port", "1 to 15"},
		{PORT_OF("'port':'a-name-too-long-'"), PORT_AT "port", "1 to 15"},
		{PORT_OF("'port':'Web'"), PORT_AT "port", "lower-case"},
		{PORT_OF("'port':'a--b'"), PORT_AT "port", "--"},
		{PORT_OF("'port':80,'endPort':79"), PORT_AT "endPort", "79 < 80"},
		{PORT_OF("'port':80,'endPort':70000"), PORT_AT "endPort", "65535"},
		{PORT_OF("'endPort':80"), PORT_AT "endPort", "needs a port"},
		{PORT_OF("'port':'web','endPort':80"), PORT_AT "endPort", "numeric port"},
		{PORT_OF("'protocol':'tcp'"), PORT_AT "protocol", "TCP, UDP or SCTP"},
		{PORT_OF("'protocol':'ICMP'"), PORT_AT "protocol", "TCP, UDP or SCTP"},
	};

	CHECK_REFUSALS(list);
	accepts(PORT_OF("'port':80,'endPort':80"));
	accepts(PORT_OF("'port':null,'protocol':null,'endPort':null"));
}

static void refuses_wrong_selectors(void)
{
#define TERM(inside) "'podSelector':{'matchExpressions':[{" inside "}]}"
#define TERM_AT	     "$.spec.podSelector.matchExpressions[0]."
	static const struct refusal list[] = {
		{TERM("'operator':'Exists'"), TERM_AT "key", "is missing"},
		{TERM("'key':'a'"), TERM_AT "operator", "is missing"},
		{TERM("'key':'a','operator':'in'"), TERM_AT "operator", "must be In"},
		{TERM("'key':'a','operator':'Gt','values':['1']"), TERM_AT "operator",
		 "must be In"},
		{TERM("'key':'a','operator':'In'"), TERM_AT "values", "must have a value"},
		{TERM("'key':'a','operator':'In','values':[]"), TERM_AT "values",
		 "must have a value"},
		{TERM("'key':'a','operator':'NotIn','values':null"), TERM_AT "values",
		 "must have a value"},
		{TERM("'key':'a','operator':'Exists','values':['x']"), TERM_AT "values",
		 "must be empty"},
		{TERM("'key':'a','operator':'DoesNotExist','values':['x']"), TERM_AT "values",
		 "must be empty"},
		{TERM("'key':'a','operator':'In','values':['-x']"), TERM_AT "values[0]",
		 "begin and end"},
		{TERM("'key':'-a','operator':'Exists'"), TERM_AT "key", "begin and end"},
		{TERM("'key':'A.b/c','operator':'Exists'"), TERM_AT "key", "prefix"},
		{TERM("'key':'/c','operator':'Exists'"), TERM_AT "key", "prefix"},
		{TERM("'key':'a/b/c','operator':'Exists'"), TERM_AT "key", "begin and end"},
		{TERM("'key':'','operator':'Exists'"), TERM_AT "key", "begin and end"},
		{"'podSelector':{'matchLabels':{'a b':'x'}}",
		 "$.spec.podSelector.matchLabels[\"a b\"]", "begin and end"},
		{"'podSelector':{'matchLabels':{'a':'x y'}}", "$.spec.podSelector.matchLabels.a",
		 "label value"},
		{"'podSelector':{'matchLabels':{'a':"
		 "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}}",
		 "$.spec.podSelector.matchLabels.a", "63 bytes"},
		{"'podSelector':{'matchLabels':{"
		 "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa':''}}",
		 "$.spec.podSelector.matchLabels."
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "63 bytes"},
	};

	CHECK_REFUSALS(list);
	accepts(TERM("'key':'a.b/c_D','operator':'Exists','values':[]"));
	accepts(TERM("'key':'a','operator':'In','values':['']"));
}

static void refuses_unknown_types(void)
{
	static const struct refusal list[] = {
		{"'policyTypes':['ingress']", "$.spec.policyTypes[0]", "Ingress or Egress"},
		{"'policyTypes':['Ingress','Both']", "$.spec.policyTypes[1]", "Ingress or Egress"},
		{"'policyTypes':['Ingress','Egress','Ingress']", "$.spec.policyTypes",
		 "limit is 2"},
	};

	CHECK_REFUSALS(list);
}

static void absent_null_and_empty_are_the_same(void)
{
	static const char *const same[] = {
		"",
		"'podSelector':null",
		"'podSelector':{}",
		"'podSelector':{'matchLabels':null,'matchExpressions':null}",
		"'podSelector':{'matchLabels':{},'matchExpressions':[]}",
		"'ingress':null,'egress':null",
		"'ingress':[],'egress':[]",
		"'policyTypes':null",
		"'policyTypes':[]",
		"'policyTypes':['Ingress']",
	};
	struct object_list first = {}, other = {};
	struct error error;

	CU_ASSERT_EQUAL_FATAL(decode(same[0], &first, &error), 0);
	CU_ASSERT(first.objects[0]->network_policy.isolates_ingress);
	CU_ASSERT_FALSE(first.objects[0]->network_policy.isolates_egress);
	for (size_t i = 1; i < sizeof(same) / sizeof(*same); i++) {
		CU_ASSERT_EQUAL_FATAL(decode(same[i], &other, &error), 0);
		CU_ASSERT(object_equal(first.objects[0], other.objects[0]));
		object_list_clear(&other);
	}
	object_list_clear(&first);
}

static void names_the_limit(void)
{
	size_t size = 70000 * 64;
	char *spec = malloc(size), *end = spec;
	struct object_list list = {};
	struct error error = {};

	end += sprintf(end, "'ingress':[{'from':[");
	for (int i = 0; i < 70000; i++)
		end += sprintf(end, "%s{'ipBlock':{'cidr':'10.%d.%d.0/24'}}", i ? "," : "",
			       i / 256 % 256, i % 256);
	sprintf(end, "]}]");
	CU_ASSERT_EQUAL(decode(spec, &list, &error), -EFBIG);
	CU_ASSERT_STRING_EQUAL(error.path, "$.spec.ingress[0].from");
	CU_ASSERT_STRING_EQUAL(error.text, "has 70000 items; the limit is 8192");
	free(spec);
}

static void refuses_fields_beside_spec(void)
{
	static const char text[] =
		"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\","
		"\"metadata\":{\"name\":\"p\"},\"ingress\":[{}]}";
	struct object_list list = {};
	struct error error = {};

	CU_ASSERT_EQUAL(objects_decode(text, sizeof(text) - 1, &list, &error), -EINVAL);
	CU_ASSERT_STRING_EQUAL(error.path, "$.ingress");
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(refuses_unknown_fields),
		UNIT_TEST(refuses_wrong_types),
		UNIT_TEST(refuses_peers_that_would_widen),
		UNIT_TEST(refuses_wrong_blocks),
		UNIT_TEST(refuses_wrong_ports),
		UNIT_TEST(refuses_wrong_selectors),
		UNIT_TEST(refuses_unknown_types),
		UNIT_TEST(absent_null_and_empty_are_the_same),
		UNIT_TEST(names_the_limit),
		UNIT_TEST(refuses_fields_beside_spec),
	};

	return UNIT_RUN("policy/decode_network_policy", tests);
}
