/* SPDX-License-Identifier: Apache-2.0 */
/* TrafficAlerts decoded, and what is refused in them. */
#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

#define TEXT_MAX 1024

/* The spec with ' for ". 0 or what objects_decode() says. */
static int decode(const char *spec, struct object_list *ret, struct error *error)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'polder.dev/v1alpha1','kind':'TrafficAlert','metadata':{'name':'a'"
		 "},'spec':%s}",
		 spec);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return objects_decode(text, strlen(text), ret, error);
}

static void expect_refused(const char *spec, const char *path, const char *why)
{
	struct object_list list = {};
	struct error error = {};

	CU_ASSERT_EQUAL(decode(spec, &list, &error), -EINVAL);
	if (strcmp(error.path, path) || !strstr(error.text, why))
		fprintf(stderr, "\n%s: %s %s\n", spec, error.path, error.text);
	CU_ASSERT_STRING_EQUAL(error.path, path);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, why));
}

static void fields_and_their_defaults(void)
{
	struct object_list list = {};
	const struct traffic_alert_object *alert;
	struct error error = {};

	CU_ASSERT_FATAL(decode("{'foreignResolver':{}}", &list, &error) == 0);
	alert = &list.objects[0]->traffic_alert;
	CU_ASSERT_EQUAL(list.objects[0]->kind, OBJECT_TRAFFIC_ALERT);
	CU_ASSERT_STRING_EQUAL(list.objects[0]->namespace, "");
	CU_ASSERT(alert->severity == ALERT_WARNING && alert->rate_limit == 300);
	CU_ASSERT(alert->any_subject && !alert->message && alert->network_count == 0);
	CU_ASSERT_FATAL(alert->service_count == 1);
	CU_ASSERT_STRING_EQUAL(alert->services[0], "kube-system/kube-dns");
	object_list_clear(&list);

	CU_ASSERT_FATAL(decode("{'volume':{'bytes':5,'seconds':6,'networks':['192.0.2.0/24']},"
			       "'severity':'Critical','message':'m','rateLimitSeconds':7,"
			       "'subject':{'namespaces':{'matchLabels':{'a':'b'}}}}",
			       &list, &error) == 0);
	alert = &list.objects[0]->traffic_alert;
	CU_ASSERT(alert->alert == ALERT_VOLUME && alert->bytes == 5 && alert->seconds == 6);
	CU_ASSERT(alert->severity == ALERT_CRITICAL && alert->rate_limit == 7);
	CU_ASSERT(!alert->any_subject && alert->namespace_selector.count == 1);
	CU_ASSERT(alert->network_count == 1 && alert->networks[0].length == 96 + 24);
	CU_ASSERT_STRING_EQUAL(alert->message, "m");
	object_list_clear(&list);

	CU_ASSERT_FATAL(decode("{'shell':{}}", &list, &error) == 0);
	alert = &list.objects[0]->traffic_alert;
	CU_ASSERT(alert->alert == ALERT_SHELL && alert->program_count == 11);
	CU_ASSERT_STRING_EQUAL(alert->programs[1], "bash");
	object_list_clear(&list);

	CU_ASSERT_FATAL(decode("{'newListener':{'ports':[80,'8000-8100'],'nodes':true}}", &list,
			       &error) == 0);
	alert = &list.objects[0]->traffic_alert;
	CU_ASSERT(alert->alert == ALERT_NEW_LISTENER && alert->nodes && !alert->seconds);
	CU_ASSERT_FATAL(alert->port_count == 2);
	CU_ASSERT(alert->ports[0].first == 80 && alert->ports[0].last == 80);
	CU_ASSERT(alert->ports[1].first == 8000 && alert->ports[1].last == 8100);
	object_list_clear(&list);
}

static void what_makes_no_sense_is_refused_in_words(void)
{
	static const char *const wrong_ports[] = {
		"",	   "80",    "80-",  "-80",  "90-80", "0-5",
		"1-65536", "1-5-6", "1- 5", "1-+5", "1-5x",  "4294967297-4294967298"};
	char spec[128];

	expect_refused("{}", "$.spec", "must have one of peersOutside");
	expect_refused("{'scan':{'targets':2,'seconds':1},'newPeer':{'seconds':1}}", "$.spec",
		       "it has 2");
	expect_refused("{'scan':{'targets':2,'seconds':1},'when':1}", "$.spec.when", "");
	expect_refused("{'scan':{'targets':1,'seconds':1}}", "$.spec.scan.targets", "1");
	expect_refused("{'scan':{'targets':2}}", "$.spec.scan.seconds", "is missing");
	expect_refused("{'peersOutside':{}}", "$.spec.peersOutside.networks", "is missing");
	expect_refused("{'peersOutside':{'networks':['10.0.0.1/8/9']}}",
		       "$.spec.peersOutside.networks[0]", "");
	expect_refused("{'foreignResolver':{'services':['dns']}}",
		       "$.spec.foreignResolver.services[0]", "NAMESPACE/NAME");
	expect_refused("{'foreignResolver':{'services':['a/b/c']}}",
		       "$.spec.foreignResolver.services[0]", "NAMESPACE/NAME");
	expect_refused("{'volume':{'bytes':0,'seconds':1}}", "$.spec.volume.bytes", "");
	expect_refused("{'newPeer':{'seconds':0}}", "$.spec.newPeer.seconds", "");
	expect_refused("{'newProcess':{}}", "$.spec.newProcess.seconds", "is missing");
	expect_refused("{'shell':{'executables':[]}}", "$.spec.shell.executables", "one program");
	expect_refused("{'shell':{'executables':['bin/sh']}}", "$.spec.shell.executables[0]",
		       "whole path");
	expect_refused("{'shell':{'executables':['/bin/']}}", "$.spec.shell.executables[0]",
		       "whole path");
	expect_refused("{'newListener':{'nodes':true}}", "$.spec.newListener", "must have seconds");
	expect_refused("{'newListener':{'ports':[0]}}", "$.spec.newListener.ports[0]", "");
	for (size_t i = 0; i < sizeof(wrong_ports) / sizeof(*wrong_ports); i++) {
		snprintf(spec, sizeof(spec), "{'newListener':{'ports':['%s']}}", wrong_ports[i]);
		expect_refused(spec, "$.spec.newListener.ports[0]", "8000-8100");
	}
	expect_refused("{'newPeer':{'seconds':1},'severity':'Bad'}", "$.spec.severity",
		       "Info, Warning or Critical");
	expect_refused("{'newPeer':{'seconds':1},'subject':{}}", "$.spec.subject",
		       "either namespaces or pods");
	expect_refused("{'newPeer':{'seconds':1},'rateLimitSeconds':0}", "$.spec.rateLimitSeconds",
		       "");
}

/* Each field is part of what makes two alerts equal: else a change of it would not be heard of. */
static void a_change_of_any_field_is_a_change(void)
{
	static const char *const specs[] = {
		"{'scan':{'targets':2,'seconds':1}}",
		"{'scan':{'targets':3,'seconds':1}}",
		"{'scan':{'targets':2,'seconds':2}}",
		"{'scan':{'targets':2,'seconds':1},'severity':'Info'}",
		"{'scan':{'targets':2,'seconds':1},'message':'m'}",
		"{'scan':{'targets':2,'seconds':1},'rateLimitSeconds':1}",
		"{'scan':{'targets':2,'seconds':1},'subject':{'namespaces':{}}}",
		"{'scan':{'targets':2,'seconds':1},'subject':{'pods':{'podSelector':{"
		"'matchLabels':{'a':'b'}}}}}",
		"{'volume':{'bytes':2,'seconds':1}}",
		"{'volume':{'bytes':3,'seconds':1}}",
		"{'volume':{'bytes':2,'seconds':1,'networks':['::/0']}}",
		"{'foreignResolver':{}}",
		"{'foreignResolver':{'services':['a/b']}}",
		"{'foreignResolver':{'services':[]}}",
		"{'newPeer':{'seconds':1}}",
		"{'newProcess':{'seconds':1}}",
		"{'shell':{}}",
		"{'shell':{'executables':['sh']}}",
		"{'newListener':{'seconds':1}}",
		"{'newListener':{'ports':[]}}",
		"{'newListener':{'ports':[1]}}",
		"{'newListener':{'ports':['1-2']}}",
		"{'newListener':{'ports':[1],'seconds':1}}",
		"{'newListener':{'ports':[1],'nodes':true}}",
	};
	struct object_list a = {}, b = {};
	struct error error = {};

	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		CU_ASSERT_FATAL(decode(specs[i], &a, &error) == 0);
		for (size_t j = 0; j < sizeof(specs) / sizeof(*specs); j++) {
			CU_ASSERT_FATAL(decode(specs[j], &b, &error) == 0);
			CU_ASSERT_EQUAL(object_equal(a.objects[0], b.objects[0]), i == j);
			object_list_clear(&b);
		}
		object_list_clear(&a);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(fields_and_their_defaults),
		UNIT_TEST(what_makes_no_sense_is_refused_in_words),
		UNIT_TEST(a_change_of_any_field_is_a_change),
	};

	return UNIT_RUN("traffic_alert", tests);
}
