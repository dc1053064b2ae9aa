/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's decoding of configuration and CNI_ARGS, and the results it builds. */
#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#include "cni/config.h"
#include "cni/environment.h"
#include "cni/result.h"
#include "plugin/io.h"
#include "plugin/text.h"

static struct error failure;

/* A configuration made from text in which ' stands for ". */
static int decode(const char *text, struct cni_config *ret)
{
	char *copy = strdup(text);
	json_t *root;
	int r;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	r = input_parse(copy, strlen(copy), CNI_CONFIG_MAX, &root, &failure);
	free(copy);
	return r < 0 ? r : cni_config_decode(root, ret, &failure);
}

static json_t *parse(const char *text)
{
	char *copy = strdup(text);
	json_t *json;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json = json_loads(copy, 0, NULL);
	free(copy);
	return json;
}

/* Builds and compares; takes the texts of agent's answer and expected result. */
static bool gives(const char *config_text, const char *answer_text, const char *expected_text)
{
	json_t *answer = parse(answer_text), *expected = parse(expected_text), *result = NULL;
	struct cni_config config;
	bool equal;

	if (decode(config_text, &config))
		return false;
	equal = !cni_result_build(&config, answer, &result, &failure) &&
		json_equal(result, expected);
	json_decref(answer);
	json_decref(expected);
	json_decref(result);
	cni_config_clear(&config);
	return equal;
}

static void defaults_are_filled_in(void)
{
	struct cni_config config;

	CU_ASSERT_EQUAL(decode("{'cniVersion':'1.1.0','name':'n'}", &config), 0);
	CU_ASSERT_STRING_EQUAL(config.agent.socket, AGENT_DEFAULT_SOCKET);
	CU_ASSERT_EQUAL(config.agent.timeout_ms, 30000);
	CU_ASSERT_EQUAL(config.version, CNI_1_1_0);
	CU_ASSERT_PTR_NULL(config.previous);
	cni_config_clear(&config);
	CU_ASSERT_PTR_NULL(config.root);
}

static void old_results_name_the_family(void)
{
	const char *answer =
		"{'interfaces':[{'name':'eth0','mtu':1500}],'ips':[{'address':'fd00::1/"
		"128','interface':0}]}";

	CU_ASSERT(gives(
		"{'cniVersion':'0.4.0','name':'n'}", answer,
		"{'cniVersion':'0.4.0','interfaces':[{'name':'eth0'}],'ips':[{'address':'fd00::1/"
		"128','interface':0,'version':'6'}],'routes':[],'dns':{}}"));
	CU_ASSERT(gives("{'cniVersion':'1.1.0','name':'n'}", answer,
			"{'cniVersion':'1.1.0','interfaces':[{'name':'eth0','mtu':1500}],'ips':[{"
			"'address':'fd00::1/128','interface':0}],'routes':[],'dns':{}}"));
}

static void the_answer_is_not_changed(void)
{
	json_t *answer = parse("{'interfaces':[{'name':'e','mtu':1}],'ips':[]}");
	json_t *before = json_deep_copy(answer), *result;
	struct cni_config config;

	CU_ASSERT_EQUAL(decode("{'cniVersion':'0.3.1','name':'n'}", &config), 0);
	CU_ASSERT_EQUAL(cni_result_build(&config, answer, &result, &failure), 0);
	CU_ASSERT(json_equal(answer, before));
	json_decref(result);
	json_decref(answer);
	json_decref(before);
	cni_config_clear(&config);
}

static void senseless_answers_are_refused(void)
{
	static const char *const answers[] = {
		"{}",
		"[]",
		"{'interfaces':[],'ips':{}}",
		"{'interfaces':[5],'ips':[]}",
		"{'interfaces':[{}],'ips':[]}",
		"{'interfaces':[],'ips':[{'address':'10.0.0.1/32'}]}",
		"{'interfaces':[],'ips':[{'interface':0}]}",
		"{'interfaces':[],'ips':[],'routes':5}",
		"{'interfaces':[],'ips':[],'routes':[{}]}",
	};
	struct cni_config config;
	json_t *answer, *result = NULL;

	CU_ASSERT_EQUAL(decode("{'cniVersion':'1.0.0','name':'n'}", &config), 0);
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		answer = parse(answers[i]);
		CU_ASSERT(cni_result_build(&config, answer, &result, &failure) < 0);
		CU_ASSERT_EQUAL(failure.code, CNI_DECODE);
		CU_ASSERT_PTR_NULL(result);
		json_decref(answer);
	}
	cni_config_clear(&config);
}

static void arguments_come_in_any_order(void)
{
	json_t *args, *expected = parse("{'A':'b','IgnoreUnknown':'1','C':'d=e','E':''}");

	CU_ASSERT_EQUAL(cni_args_decode("C=d=e;;IgnoreUnknown=1;E=;A=b;", &args, &failure), 0);
	CU_ASSERT(json_equal(args, expected));
	json_decref(args);
	json_decref(expected);
	CU_ASSERT(cni_args_decode("A=\xff", &args, &failure) < 0);
	CU_ASSERT_EQUAL(failure.code, CNI_INVALID_ENVIRONMENT);
}

static void messages_cut_in_a_character_stay_text(void)
{
	json_t *json;

	error_set(&failure, -EINVAL, CNI_IO_FAILURE, "cut \xc3");
	json = cni_failure_json(&failure, "1.0.0");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json, "msg")), "cut ?");
	json_decref(json);
}

static void long_text_is_quoted_short(void)
{
	char text[500], quoted[TEXT_QUOTE_MAX];

	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CU_ASSERT_EQUAL(strlen(text_quote(text, quoted)), 67);
	CU_ASSERT_EQUAL(quoted[0], '?');
}

int main(void)
{
	CU_pSuite suite;
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite("cni", NULL, NULL);
	CU_ADD_TEST(suite, defaults_are_filled_in);
	CU_ADD_TEST(suite, old_results_name_the_family);
	CU_ADD_TEST(suite, the_answer_is_not_changed);
	CU_ADD_TEST(suite, senseless_answers_are_refused);
	CU_ADD_TEST(suite, arguments_come_in_any_order);
	CU_ADD_TEST(suite, messages_cut_in_a_character_stay_text);
	CU_ADD_TEST(suite, long_text_is_quoted_short);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
