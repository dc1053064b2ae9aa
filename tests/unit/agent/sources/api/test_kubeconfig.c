/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubeconfig says, and what is wrong with one. */
#include "agent/sources/api/kubeconfig.h"

#include <errno.h>

#include "agent/sources/api/credentials.h"
#include "tests/unit/unit.h"

/* "-----BEGIN X-----\n" */
#define PEM_BASE64 "LS0tLS1CRUdJTiBYLS0tLS0K"
#define PEM	   "-----BEGIN X-----\n"

#define HEAD                                                                                       \
	"apiVersion: v1\nkind: Config\ncurrent-context: one\n"                                     \
	"contexts:\n- name: one\n  context: {cluster: c, user: u}\n"                               \
	"- name: two\n  context: {cluster: c2, user: u2, namespace: x}\n"
#define CLUSTERS                                                                                   \
	"clusters:\n- name: c\n  cluster:\n    server: https://192.0.2.1:6443\n"                   \
	"    certificate-authority-data: " PEM_BASE64 "\n"                                         \
	"- name: c2\n  cluster: {server: 'https://[2001:db8::1]:6443', certificate-authority: "    \
	"ca.crt, tls-server-name: kubernetes, proxy-url: 'http://192.0.2.9:3128'}\n"
#define USERS                                                                                      \
	"users:\n- name: u\n  user: {token: abc}\n"                                                \
	"- name: u2\n  user:\n    client-certificate: /etc/c.crt\n    "                            \
	"client-key-data: " PEM_BASE64 "\n    tokenFile: t/token\n"

static struct error error;

static int parse(const char *text, const char *context, struct kubeconfig *ret)
{
	error = (struct error){};
	return kubeconfig_parse(text, strlen(text), "/etc/kubernetes", context, ret, &error);
}

/* Refused with these words, at this path. */
static bool refused(const char *text, const char *context, const char *path, const char *words)
{
	struct kubeconfig config;
	bool right = parse(text, context, &config) == -EINVAL && strstr(error.text, words) &&
		     strcmp(error.path, path) == 0;

	if (!right)
		printf("\n%s: %s\n", error.path, error.text);
	kubeconfig_clear(&config);
	return right;
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void reads_the_current_context(void)
{
	struct kubeconfig config;

	CU_ASSERT_FATAL(parse(HEAD CLUSTERS USERS, NULL, &config) == 0);
	CU_ASSERT(same(config.context, "one"));
	CU_ASSERT(same(config.server, "https://192.0.2.1:6443"));
	CU_ASSERT(same(config.authority.text, PEM) && !config.authority.file);
	CU_ASSERT(same(config.token, "abc") && !config.token_file && !config.insecure);
	kubeconfig_clear(&config);
}

static void reads_another_context(void)
{
	struct kubeconfig config;

	CU_ASSERT_FATAL(parse(HEAD CLUSTERS USERS, "two", &config) == 0);
	CU_ASSERT(same(config.server, "https://[2001:db8::1]:6443"));
	CU_ASSERT(same(config.authority.file, "/etc/kubernetes/ca.crt"));
	CU_ASSERT(same(config.tls_server_name, "kubernetes"));
	CU_ASSERT(same(config.proxy_url, "http://192.0.2.9:3128"));
	CU_ASSERT(same(config.certificate.file, "/etc/c.crt") && same(config.key.text, PEM));
	CU_ASSERT(same(config.token_file, "/etc/kubernetes/t/token") && !config.token);
	kubeconfig_clear(&config);
}

static void reads_json_as_kubectl_writes_it(void)
{
	struct kubeconfig config;

	CU_ASSERT(parse("{\"current-context\":\"a\",\"contexts\":[{\"name\":\"a\",\"context\":"
			"{\"cluster\":\"a\",\"user\":\"\"}}],\"clusters\":[{\"name\":\"a\","
			"\"cluster\":{\"server\":\"https:\\/\\/h\","
			"\"insecure-skip-tls-verify\":true}}],\"users\":null}",
			NULL, &config) == 0);
	CU_ASSERT(same(config.server, "https://h") && config.insecure && !config.token);
	kubeconfig_clear(&config);
}

static void first_entry_of_a_name_counts(void)
{
	struct kubeconfig config;

	CU_ASSERT(parse(HEAD CLUSTERS "- name: c\n  cluster: {server: https://other}\n" USERS, NULL,
			&config) == 0);
	CU_ASSERT(same(config.server, "https://192.0.2.1:6443"));
	kubeconfig_clear(&config);
}

static void what_starts_programs_is_refused_in_words(void)
{
	CU_ASSERT(refused(HEAD CLUSTERS "users:\n- name: u\n  user:\n    exec: {command: aws}\n",
			  NULL, "$.users[0].user.exec", "credential plugins are not supported"));
	CU_ASSERT(refused(HEAD CLUSTERS
			  "users:\n- name: x\n- name: u\n  user:\n    auth-provider: {name: gcp}\n",
			  NULL, "$.users[1].user[\"auth-provider\"]", "not supported"));
	CU_ASSERT(refused(HEAD CLUSTERS "users:\n- name: u\n  user: {token: t, as: admin}\n", NULL,
			  "$.users[0].user.as", "impersonation"));
}

static void what_is_missing_is_named(void)
{
	CU_ASSERT(refused("contexts: [{name: a}, {name: b}]", NULL, "$[\"current-context\"]",
			  "give --context; there are \"a\", \"b\""));
	CU_ASSERT(
		refused(HEAD CLUSTERS USERS, "three", "$.contexts", "there are \"one\", \"two\""));
	CU_ASSERT(refused(HEAD USERS, NULL, "$.clusters", "\"c\""));
	CU_ASSERT(refused(HEAD CLUSTERS, NULL, "$.users", "\"u\""));
	CU_ASSERT(refused(HEAD "clusters: [{name: c, cluster: {}}]\n" USERS, NULL,
			  "$.clusters[0].cluster.server", "is missing"));
	CU_ASSERT(refused(HEAD "clusters: [{name: c}]\n" USERS, NULL, "$.clusters[0].cluster", ""));
	CU_ASSERT(refused(HEAD CLUSTERS "users: [{name: u, user: {client-certificate: x}}]\n", NULL,
			  "$.users[0].user", "belong together"));
}

static void what_makes_no_sense_is_told_with_its_place(void)
{
	CU_ASSERT(refused(HEAD "clusters: [{name: c, cluster: {server: 1}}]\n" USERS, NULL,
			  "$.clusters[0].cluster.server", "a string"));
	CU_ASSERT(refused(
		HEAD "clusters: [{name: c, cluster: {server: s, insecure-skip-tls-verify: "
		     "true, certificate-authority: x}}]\n" USERS,
		NULL, "$.clusters[0].cluster[\"insecure-skip-tls-verify\"]", "one of both"));
	CU_ASSERT(refused(HEAD "clusters: [{name: c, cluster: {server: s, "
			       "certificate-authority-data: '%%'}}]\n" USERS,
			  NULL, "$.clusters[0].cluster[\"certificate-authority-data\"]", "base64"));
	CU_ASSERT(refused(HEAD "clusters: [{name: c, cluster: {server: s, "
			       "certificate-authority-data: YWJj}}]\n" USERS,
			  NULL, "$.clusters[0].cluster[\"certificate-authority-data\"]", "no PEM"));
	CU_ASSERT(refused("- a\n", NULL, "$", "an object"));
	CU_ASSERT(refused("a: [\n", NULL, "$", "not YAML"));
	CU_ASSERT(error.line > 0);
	CU_ASSERT(refused("a: 1\n---\nb: 2\n", NULL, "$", "one document"));
	CU_ASSERT(refused("", NULL, "$", ""));
}

/* ---------------------------------------------------------------- with the files */

static int read_all(const struct credentials_from *from, struct identity *ret)
{
	error = (struct error){};
	return credentials_read(from, ret, &error);
}

static void files_are_read_and_named_when_they_are_wrong(void)
{
	char top[32], path[64], token[64];
	struct credentials_from from = {.kubeconfig = path};
	struct identity identity;
	static const char text[] =
		"current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
		"clusters: [{name: a, cluster: {server: 'https://h', certificate-authority: ca}}]\n"
		"users: [{name: a, user: {tokenFile: token}}]\n";

	snprintf(path, sizeof(path), "%s/config", unit_directory(top));
	snprintf(token, sizeof(token), "%s/token", top);
	CU_ASSERT(read_all(&from, &identity) == -EINVAL && strcmp(error.path, path) == 0);
	unit_write(path, text, strlen(text));
	CU_ASSERT(read_all(&from, &identity) == -EINVAL && strstr(error.path, "/ca"));
	snprintf(path, sizeof(path), "%s/ca", top);
	unit_write(path, PEM, strlen(PEM));
	snprintf(path, sizeof(path), "%s/config", top);
	unit_write(token, "", 0);
	CU_ASSERT(read_all(&from, &identity) == -EINVAL && strstr(error.text, "empty"));
	unit_write(token, "a b", 3);
	CU_ASSERT(read_all(&from, &identity) == -EINVAL && strstr(error.text, "space"));
	unit_write(token, "secret\r\n", 8);
	CU_ASSERT_FATAL(read_all(&from, &identity) == 0);
	CU_ASSERT(same(identity.token, "secret") && same(identity.authority, PEM));
	CU_ASSERT(identity_equal(&identity, &identity));
	identity_clear(&identity);
	unit_remove_directory(top);
}

static void service_account_of_a_pod_is_read(void)
{
	char top[32], path[64];
	struct credentials_from from = {.directory = top};
	struct identity identity;

	unit_directory(top);
	unsetenv("KUBERNETES_SERVICE_HOST");
	CU_ASSERT(read_all(&from, &identity) == -EINVAL &&
		  strstr(error.text, "--in-cluster is for a pod"));
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	CU_ASSERT(read_all(&from, &identity) == -EINVAL && strstr(error.path, "/token"));
	snprintf(path, sizeof(path), "%s/token", top);
	unit_write(path, "t", 1);
	snprintf(path, sizeof(path), "%s/ca.crt", top);
	unit_write(path, PEM, strlen(PEM));
	CU_ASSERT_FATAL(read_all(&from, &identity) == 0);
	CU_ASSERT(same(identity.server, "https://[fd00::1]:443") && same(identity.token, "t"));
	identity_clear(&identity);
	unit_remove_directory(top);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(reads_the_current_context),
		UNIT_TEST(reads_another_context),
		UNIT_TEST(reads_json_as_kubectl_writes_it),
		UNIT_TEST(first_entry_of_a_name_counts),
		UNIT_TEST(what_starts_programs_is_refused_in_words),
		UNIT_TEST(what_is_missing_is_named),
		UNIT_TEST(what_makes_no_sense_is_told_with_its_place),
		UNIT_TEST(files_are_read_and_named_when_they_are_wrong),
		UNIT_TEST(service_account_of_a_pod_is_read),
	};

	return UNIT_RUN("sources/api/kubeconfig", tests);
}
