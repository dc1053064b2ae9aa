/* SPDX-License-Identifier: Apache-2.0 */
/* CNI requests, decoded and checked. */
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

static struct pod_request request;
static struct error error;

/* The config and the CNI_ARGS are texts of JSON. */
static int decode(const char *config, const char *cni_args)
{
	json_t *args =
		json_pack("{s:s, s:s, s:s, s:o, s:o}", "container_id", "abc123", "ifname", "eth0",
			  "netns", "/run/netns/x", "cni_args", json_loads(cni_args, 0, NULL),
			  "config", json_loads(config, 0, NULL));
	int r;

	CU_ASSERT_FATAL(args != NULL);
	pods_request_clear(&request);
	memset(&error, 0, sizeof(error));
	r = pods_request_decode(args, &request, &error);
	json_decref(args);
	return r;
}

static int names(const char *container_id, const char *ifname)
{
	json_t *args = json_pack("{s:s*, s:s*}", "container_id", container_id, "ifname", ifname);
	const char *a, *b;
	int r;

	r = pods_request_names(args, &a, &b, &error);
	json_decref(args);
	return r;
}

static bool refused(int code, const char *word)
{
	return error.code == code && strstr(error.text, word) != NULL;
}

static bool wanted_is(const struct polder_addr *addr, const char *text)
{
	char buffer[INET6_ADDRSTRLEN];

	return !addr_is_zero(addr) && strcmp(addr_format(addr, buffer), text) == 0;
}

static void names_a_pod_by_cni_args(void)
{
	CU_ASSERT_FATAL(
		decode("{\"name\":\"net\"}",
		       "{\"K8S_POD_NAMESPACE\":\"shop\",\"K8S_POD_NAME\":"
		       "\"web-1\",\"K8S_POD_UID\":\"u-1\",\"IgnoreUnknown\":\"1\",\"IP\":\"\"}") ==
		0);
	CU_ASSERT_STRING_EQUAL(request.pod->namespace, "shop");
	CU_ASSERT_STRING_EQUAL(request.pod->name, "web-1");
	CU_ASSERT_STRING_EQUAL(request.pod->uid, "u-1");
	CU_ASSERT_STRING_EQUAL(request.pod->network, "net");
	CU_ASSERT(!request.has_mac && addr_is_zero(&request.wanted_v4));
}

static void falls_back_to_default_and_container_id(void)
{
	CU_ASSERT_FATAL(decode("{\"name\":\"net\"}", "{\"K8S_POD_NAME\":\"\"}") == 0);
	CU_ASSERT_STRING_EQUAL(request.pod->namespace, "default");
	CU_ASSERT_STRING_EQUAL(request.pod->name, "abc123");
	CU_ASSERT_STRING_EQUAL(request.pod->uid, "");
}

static void refuses_bad_container_ids_and_interface_names(void)
{
	static const char *const ids[] = {"", "../x", "-a", "a/b", "a b", "a\tb", "a:b", NULL};
	static const char *const ifs[] = {"",	 ".", "..", "a/b", "a:b", "a b", "sixteen-letters-",
					  "a\n", NULL};
	char longest[202];

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		CU_ASSERT(names(ids[i], "eth0") == -EINVAL && error.code == 4);
	for (size_t i = 0; i < sizeof(ifs) / sizeof(ifs[0]); i++)
		CU_ASSERT(names("abc", ifs[i]) == -EINVAL && error.code == 4);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[201] = '\0';
	CU_ASSERT(names(longest, "eth0") == -EINVAL && error.code == 4);
	longest[200] = '\0';
	CU_ASSERT(names(longest, "fifteen-letters") == 0);
}

static void refuses_bad_pod_names(void)
{
	CU_ASSERT(decode("{\"name\":\"net\"}", "{\"K8S_POD_NAME\":\"a/b\"}") == -EINVAL);
	CU_ASSERT(refused(4, "K8S_POD_NAME"));
	CU_ASSERT(decode("{\"name\":\"net\"}", "{\"K8S_POD_NAMESPACE\":\"a b\"}") == -EINVAL);
	CU_ASSERT(refused(4, "K8S_POD_NAMESPACE"));
	CU_ASSERT(decode("{}", "{}") == -EINVAL && refused(7, "$.name"));
	CU_ASSERT(decode("{\"name\":\"../x\"}", "{}") == -EINVAL && refused(7, "$.name"));
	CU_ASSERT(decode("[]", "{}") == -EINVAL && refused(7, "object"));
}

static void takes_labels_as_list_or_object(void)
{
	CU_ASSERT_FATAL(
		decode("{\"name\":\"n\",\"args\":{\"labels\":[{\"key\":\"app\",\"value\":\"a\"},"
		       "{\"key\":\"tier\",\"value\":\"x\"}],\"cni\":{\"labels\":{\"app\":\"b\"}}}}",
		       "{}") == 0);
	CU_ASSERT(request.pod->labels.count == 2);
	CU_ASSERT_STRING_EQUAL(labels_get(&request.pod->labels, "app"), "b");
	CU_ASSERT_STRING_EQUAL(labels_get(&request.pod->labels, "tier"), "x");
	CU_ASSERT(decode("{\"name\":\"n\",\"args\":{\"labels\":null,\"cni\":null}}", "{}") == 0);
	CU_ASSERT(decode("{\"name\":\"n\",\"args\":null,\"runtimeConfig\":null}", "{}") == 0);
	CU_ASSERT(decode("{\"name\":\"n\",\"args\":{\"labels\":\"app=a\"}}", "{}") == -EINVAL);
	CU_ASSERT(refused(7, "$.args.labels"));
	CU_ASSERT(decode("{\"name\":\"n\",\"args\":{\"cni\":{\"labels\":[{\"key\":\"a\"}]}}}",
			 "{}") == -EINVAL);
	CU_ASSERT(refused(7, "$.args.cni.labels"));
}

static void takes_addresses_in_the_conventions_order(void)
{
	CU_ASSERT_FATAL(
		decode("{\"name\":\"n\",\"runtimeConfig\":{\"IPs\":[\"10.0.0.5\",\"10.0.0.5\","
		       "\"fd00::5/64\"]},\"args\":{\"cni\":{\"ips\":[\"10.0.0.6\"]}}}",
		       "{\"IP\":\"10.0.0.7\"}") == 0);
	CU_ASSERT(wanted_is(&request.wanted_v4, "10.0.0.5") &&
		  wanted_is(&request.wanted_v6, "fd00::5"));
	CU_ASSERT_FATAL(
		decode("{\"name\":\"n\",\"runtimeConfig\":{\"ips\":[]},\"args\":{\"cni\":{\"ips\":"
		       "[\"10.0.0.6/24\"]}}}",
		       "{\"IP\":\"10.0.0.7\"}") == 0);
	CU_ASSERT(wanted_is(&request.wanted_v4, "10.0.0.6") && addr_is_zero(&request.wanted_v6));
	CU_ASSERT_FATAL(decode("{\"name\":\"n\",\"runtimeConfig\":{\"ips\":null}}",
			       "{\"IP\":\"10.0.0.7,fd00::7\"}") == 0);
	CU_ASSERT(wanted_is(&request.wanted_v4, "10.0.0.7") &&
		  wanted_is(&request.wanted_v6, "fd00::7"));
	CU_ASSERT(decode("{\"name\":\"n\",\"runtimeConfig\":{\"ips\":[\"10.0.0.5\",\"10.0.0.6\"]}}",
			 "{}") == -EINVAL);
	CU_ASSERT(refused(7, "two addresses of one family"));
	CU_ASSERT(decode("{\"name\":\"n\",\"runtimeConfig\":{\"ips\":[5]}}", "{}") == -EINVAL);
	CU_ASSERT(decode("{\"name\":\"n\",\"runtimeConfig\":{\"ips\":\"10.0.0.5\"}}", "{}") ==
		  -EINVAL);
	CU_ASSERT(decode("{\"name\":\"n\"}", "{\"IP\":\"ten\"}") == -EINVAL && refused(4, "IP"));
}

static void takes_a_mac_address_that_a_pod_can_have(void)
{
	static const char *const bad[] = {"01:00:5e:00:00:01", "00:00:00:00:00:00",
					  "02:70:6f:6c:64:72", "02:00:00:00:00",
					  "02:00:00:00:00:0g", "0200:00:00:00:001"};

	CU_ASSERT_FATAL(decode("{\"name\":\"n\",\"runtimeConfig\":{\"Mac\":\"02:AA:bb:00:00:09\"}}",
			       "{\"MAC\":\"02:00:00:00:00:01\"}") == 0);
	CU_ASSERT(request.has_mac && request.mac[1] == 0xaa && request.mac[5] == 9);
	CU_ASSERT_FATAL(decode("{\"name\":\"n\"}", "{\"MAC\":\"02:00:00:00:00:01\"}") == 0);
	CU_ASSERT(request.has_mac && request.mac[5] == 1);
	CU_ASSERT(decode("{\"name\":\"n\"}", "{\"MAC\":\"\"}") == 0 && !request.has_mac);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];

		snprintf(text, sizeof(text), "{\"MAC\":\"%s\"}", bad[i]);
		CU_ASSERT(decode("{\"name\":\"n\"}", text) == -EINVAL && refused(4, "MAC"));
	}
}

static void takes_an_mtu_of_the_configuration(void)
{
	static const char *const none[] = {"0", "null"};
	static const char *const bad[] = {"67", "65536", "-1", "\"1400\"", "1400.5", "[]"};
	char text[64];

	CU_ASSERT_FATAL(decode("{\"name\":\"n\",\"mtu\":1400}", "{}") == 0);
	CU_ASSERT(request.mtu == 1400);
	CU_ASSERT(decode("{\"name\":\"n\"}", "{}") == 0 && request.mtu == 0);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		snprintf(text, sizeof(text), "{\"name\":\"n\",\"mtu\":%s}", none[i]);
		CU_ASSERT(decode(text, "{}") == 0 && request.mtu == 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "{\"name\":\"n\",\"mtu\":%s}", bad[i]);
		CU_ASSERT(decode(text, "{}") == -EINVAL && refused(7, "$.mtu"));
	}
}

static void takes_ports_and_bandwidth_only_where_it_declares_them(void)
{
	static const char declared[] =
		"{\"name\":\"n\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true},"
		"\"runtimeConfig\":{%s}}";
	static const char *const bad[] = {
		"\"bandwidth\":5",
		"\"bandwidth\":[]",
		"\"bandwidth\":{\"egressRate\":\"1M\"}",
		"\"bandwidth\":{\"egressRate\":-1}",
		"\"bandwidth\":{\"egressRate\":1000}",
		"\"bandwidth\":{\"ingressRate\":1000000000001}",
		"\"bandwidth\":{\"ingressRate\":1000000,\"ingressBurst\":-5}",
	};
	char text[512];

	CU_ASSERT(
		decode("{\"name\":\"n\",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":80}]}}",
		       "{}") == 0 &&
		request.pod->ports.count == 0);
	snprintf(text, sizeof(text), declared,
		 "\"portMappings\":[{\"hostPort\":80,\"containerPort\":80}]");
	CU_ASSERT(decode(text, "{}") == 0 && request.pod->ports.count == 1);
	snprintf(text, sizeof(text), declared, "\"PortMappings\":[{\"HostPort\":80}]");
	CU_ASSERT(decode(text, "{}") == -EINVAL &&
		  refused(7, "$.runtimeConfig.portMappings[0].containerPort"));
	snprintf(text, sizeof(text), declared,
		 "\"PortMappings\":[],\"bandwidth\":null,\"dns\":{\"Servers\":null}");
	CU_ASSERT(decode(text, "{}") == 0);
	snprintf(text, sizeof(text), declared,
		 "\"bandwidth\":{\"IngressRate\":0,\"IngressBurst\":4294967295,\"EgressRate\":0}");
	CU_ASSERT(decode(text, "{}") == 0 && !request.pod->bandwidth.ingress.burst);
	snprintf(text, sizeof(text), declared,
		 "\"bandwidth\":{\"EgressRate\":1000000,\"EgressBurst\":4294967295,"
		 "\"ingressRate\":2000000,\"ingressBurst\":80000}");
	CU_ASSERT(decode(text, "{}") == 0);
	CU_ASSERT(request.pod->bandwidth.egress.rate == 1000000 &&
		  request.pod->bandwidth.egress.burst == 0);
	CU_ASSERT(request.pod->bandwidth.ingress.rate == 2000000 &&
		  request.pod->bandwidth.ingress.burst == 80000);
	CU_ASSERT(decode("{\"name\":\"n\",\"runtimeConfig\":{\"bandwidth\":{\"egressRate\":"
			 "1000000}}}",
			 "{}") == 0 &&
		  !request.pod->bandwidth.egress.rate);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), declared, bad[i]);
		CU_ASSERT(decode(text, "{}") == -EINVAL && refused(7, "$.runtimeConfig.bandwidth"));
	}
}

static void reads_records_back_and_refuses_damaged_ones(void)
{
	struct local_pod *pod = NULL, *bad = NULL;
	const char *key;
	json_t *record, *value, *again;

	CU_ASSERT_FATAL(decode("{\"name\":\"n\",\"args\":{\"labels\":{\"a\":\"b\"}},"
			       "\"capabilities\":{\"portMappings\":true},"
			       "\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":80,"
			       "\"containerPort\":8080,\"hostIP\":\"0.0.0.0\"}]}}",
			       "{}") == 0);
	CU_ASSERT(addr_parse("10.0.0.5", &request.pod->ipv4) == 0);
	request.pod->mac[0] = 2;
	request.pod->mtu = 1500;
	request.pod->ifindex = 65537;
	request.pod->created = 12345;
	request.pod->object_seen = true;
	strcpy(request.pod->link, "pld0123456789a");
	record = pods_record_encode(request.pod);
	CU_ASSERT_FATAL(record != NULL && pods_record_decode(record, &pod) == 0);
	again = pods_record_encode(pod);
	CU_ASSERT(json_equal(record, again));
	json_decref(again);
	local_pod_free(pod);
	/* Each key lost, and each of another type. Records of before objectSeen, labelsLost,
	 * ports, bandwidth and netnsCookie are good. */
	json_object_foreach (record, key, value) {
		bool optional = strcmp(key, "objectSeen") == 0 || strcmp(key, "labelsLost") == 0 ||
				strcmp(key, "ports") == 0 || strcmp(key, "bandwidth") == 0 ||
				strcmp(key, "netnsCookie") == 0;
		json_t *damaged = json_copy(record);

		json_object_del(damaged, key);
		CU_ASSERT(pods_record_decode(damaged, &bad) == (optional ? 0 : -EBADMSG));
		if (optional)
			local_pod_free(bad);
		json_object_set_new(damaged, key,
				    optional && !json_is_integer(value) ? json_integer(1)
									: json_true());
		CU_ASSERT(pods_record_decode(damaged, &bad) == -EBADMSG);
		json_decref(damaged);
	}
	json_decref(record);
}

static const struct unit_test tests[] = {
	UNIT_TEST(names_a_pod_by_cni_args),
	UNIT_TEST(falls_back_to_default_and_container_id),
	UNIT_TEST(refuses_bad_container_ids_and_interface_names),
	UNIT_TEST(refuses_bad_pod_names),
	UNIT_TEST(takes_labels_as_list_or_object),
	UNIT_TEST(takes_addresses_in_the_conventions_order),
	UNIT_TEST(takes_a_mac_address_that_a_pod_can_have),
	UNIT_TEST(takes_an_mtu_of_the_configuration),
	UNIT_TEST(takes_ports_and_bandwidth_only_where_it_declares_them),
	UNIT_TEST(reads_records_back_and_refuses_damaged_ones),
};

int main(void)
{
	int failed;

	failed = UNIT_RUN("pods_cni", tests);
	pods_request_clear(&request);
	return failed;
}
