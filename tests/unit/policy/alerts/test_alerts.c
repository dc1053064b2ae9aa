/* SPDX-License-Identifier: Apache-2.0 */
/* Connections and bytes in, alerts out: what raises each kind of rule, and what must not. */
#include "policy/alerts/alerts.h"
#include "tests/unit/unit.h"

#define SECOND_NS 1000000000ull
#define TOLD_MAX  256

/* What was told, and who has labels. */
struct world {
	struct alerts *alerts;
	struct alert_sample samples[TOLD_MAX];
	uint64_t counts[TOLD_MAX];
	bool several[TOLD_MAX];
	char text[1024];
	size_t told;
	struct labels web, db, space;
};

static void on_tell(const struct alert *alert, void *data)
{
	struct world *world = data;
	char *text = alert_text(alert);
	json_t *document = alert_document(alert, "now");

	CU_ASSERT_FATAL(world->told < TOLD_MAX && text && document);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(document, "text")), text);
	world->samples[world->told] = *alert->newest;
	world->several[world->told] = alert->several;
	world->counts[world->told++] = alert->count;
	snprintf(world->text, sizeof(world->text), "%s", text);
	json_decref(document);
	free(text);
}

static const struct labels *namespace_labels(const char *name, void *data)
{
	struct world *world = data;

	return strcmp(name, "demo") == 0 ? &world->space : NULL;
}

static void set_rule(struct world *world, const char *name, const char *spec)
{
	struct object_list list = {};
	struct error error = {};
	char text[1024];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'polder.dev/v1alpha1','kind':'TrafficAlert','metadata':{'name':'%s'"
		 "},'spec':%s}",
		 name, spec);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(alerts_set(world->alerts, list.objects[0]) == 0);
	object_list_clear(&list);
}

static void begin(struct world *world, const char *spec)
{
	const struct alerts_env env = {on_tell, namespace_labels, world};

	*world = (struct world){.alerts = alerts_new(&env)};
	CU_ASSERT_FATAL(world->alerts != NULL);
	labels_set(&world->web, "app", "web");
	labels_set(&world->db, "app", "db");
	labels_set(&world->space, "team", "a");
	set_rule(world, "rule", spec);
}

static void end(struct world *world)
{
	struct alerts_stats stats;

	alerts_remove(world->alerts, "rule");
	alerts_stats(world->alerts, &stats);
	CU_ASSERT(stats.bytes == 0 && stats.workloads == 0);
	alerts_free(world->alerts);
	labels_clear(&world->web);
	labels_clear(&world->db);
	labels_clear(&world->space);
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr ret;

	CU_ASSERT_FATAL(addr_parse(text, &ret) == 0);
	return ret;
}

static struct alert_end pod(const struct labels *labels, const char *name, const char *ip)
{
	return (struct alert_end){.addr = addr(ip),
				  .namespace = "demo",
				  .name = name,
				  .labels = labels,
				  .local = true,
				  .inside = true};
}

static struct alert_end outside(const char *ip, uint16_t port)
{
	return (struct alert_end){.addr = addr(ip), .port = port};
}

/* TCP from the web pod at a second of the test's own time. */
static struct alert_opening opening(struct world *world, uint64_t second, struct alert_end to)
{
	return (struct alert_opening){.time_ns = second * SECOND_NS,
				      .from = pod(&world->web, "web-1", "10.0.0.5"),
				      .to = to,
				      .asked = to.addr,
				      .asked_port = to.port,
				      .proto = IPPROTO_TCP};
}

static void open_at(struct world *world, uint64_t second, const char *ip, uint16_t port)
{
	struct alert_opening made = opening(world, second, outside(ip, port));

	alerts_opening(world->alerts, &made);
}

static void deny_at(struct world *world, uint64_t second, const char *ip, uint16_t port)
{
	struct alert_opening made = opening(world, second, outside(ip, port));

	made.denied = true;
	alerts_opening(world->alerts, &made);
}

/* ---------------------------------------------------------------- peers and resolvers */

#define OUTSIDE_RULE                                                                               \
	"{'peersOutside':{'networks':['192.0.2.0/24','2001:db8::/32']},'rateLimitSeconds':60}"

static void connection_outside_of_the_list_is_told(void)
{
	struct world world;

	begin(&world, OUTSIDE_RULE);
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts), ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS);
	open_at(&world, 1, "198.51.100.7", 443);
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_STRING_EQUAL(world.samples[0].pod, "demo/web-1");
	CU_ASSERT(world.samples[0].port == 443 && !world.samples[0].denied);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 opened a connection to 198.51.100.7:443 "
					   "(tcp), which is in none of its networks");
	deny_at(&world, 100, "2001:db9::7", 443);
	CU_ASSERT_EQUAL_FATAL(world.told, 2);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 was denied a connection to "
					   "[2001:db9::7]:443 (tcp), which is in none of its "
					   "networks");
	end(&world);
}

static void peers_of_the_list_and_pods_are_not_told(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, OUTSIDE_RULE);
	open_at(&world, 1, "192.0.2.255", 443);
	open_at(&world, 1, "2001:db8::1", 443);
	made = opening(&world, 1, pod(&world.db, "db-1", "198.51.100.9"));
	alerts_opening(world.alerts, &made);
	/* Others' pods are looked at by the agent of their node, and others are nobody's. */
	made = opening(&world, 1, outside("198.51.100.7", 443));
	made.from.local = false;
	alerts_opening(world.alerts, &made);
	made.from = outside("203.0.113.1", 0);
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

static void ask_dns(struct world *world, uint64_t second, const char *ip, uint16_t port,
		    uint8_t proto, const char *service)
{
	struct alert_opening made = opening(world, second, outside(ip, port));

	made.proto = proto;
	made.service = service;
	alerts_opening(world->alerts, &made);
}

static void foreign_resolver_is_told(void)
{
	static const struct {
		const char *ip;
		uint16_t port;
		uint8_t proto;
	} asked[] = {{"198.51.100.53", 53, IPPROTO_UDP},
		     {"198.51.100.53", 53, IPPROTO_TCP},
		     {"2001:db8::53", 853, IPPROTO_TCP}};
	struct world world;

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		begin(&world, "{'foreignResolver':{'networks':['192.0.2.53/32']}}");
		ask_dns(&world, 1, asked[i].ip, asked[i].port, asked[i].proto, NULL);
		CU_ASSERT_EQUAL(world.told, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(world.text, "sends DNS to"));
		end(&world);
	}
	/* A Service of that name in another namespace is another. */
	begin(&world, "{'foreignResolver':{}}");
	ask_dns(&world, 1, "10.96.0.99", 53, IPPROTO_UDP, "demo/kube-dns");
	CU_ASSERT_EQUAL(world.told, 1);
	end(&world);
}

static void resolvers_of_the_list_and_other_ports_are_not_told(void)
{
	struct world world;

	begin(&world, "{'foreignResolver':{'networks':['192.0.2.53/32']}}");
	ask_dns(&world, 1, "192.0.2.53", 53, IPPROTO_UDP, NULL);
	ask_dns(&world, 1, "10.96.0.10", 53, IPPROTO_UDP, "kube-system/kube-dns");
	ask_dns(&world, 1, "198.51.100.53", 54, IPPROTO_UDP, NULL);
	ask_dns(&world, 1, "198.51.100.53", 53, IPPROTO_SCTP, NULL);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

/* ---------------------------------------------------------------- scans */

#define SCAN_RULE "{'scan':{'targets':5,'seconds':10},'rateLimitSeconds':60}"

static void many_denied_ports_are_a_scan(void)
{
	struct world world;

	begin(&world, SCAN_RULE);
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts), ALERTS_WANT_DROPS);
	for (uint16_t i = 0; i < 4; i++)
		deny_at(&world, 1 + i, "10.0.0.9", 100 + i);
	CU_ASSERT_EQUAL(world.told, 0);
	deny_at(&world, 10, "2001:db8::9", 100);
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_EQUAL(world.samples[0].amount, 5);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 was denied 5 addresses or ports within 10 "
					   "s, [2001:db8::9]:100 (tcp) at last");
	end(&world);
}

static void few_targets_slow_ones_and_allowed_ones_are_no_scan(void)
{
	struct world world;

	begin(&world, SCAN_RULE);
	for (uint16_t i = 0; i < 100; i++) {
		deny_at(&world, 1, "10.0.0.9", 100 + i % 4);
		open_at(&world, 1, "10.0.0.9", 200 + i);
	}
	for (uint16_t i = 0; i < 100; i++) /* four within any ten seconds */
		deny_at(&world, 100 + 3ull * i, "10.0.0.9", 300 + i);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

static void scan_from_outside_is_told_by_its_address(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, SCAN_RULE);
	for (uint16_t i = 0; i < 5; i++) {
		made = opening(&world, 1, outside("10.0.0.9", 100 + i));
		made.from = outside("203.0.113.66", 0);
		made.denied = true;
		alerts_opening(world.alerts, &made);
		/* Each of these is another one. */
		made.from.addr = addr("203.0.113.0");
		made.from.addr.bytes[15] = (uint8_t)i;
		alerts_opening(world.alerts, &made);
	}
	CU_ASSERT_EQUAL(world.told, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(world.text, "203.0.113.66 was denied 5"));
	end(&world);
	begin(&world, "{'scan':{'targets':5,'seconds':10},'subject':{'namespaces':{}}}");
	for (uint16_t i = 0; i < 5; i++) {
		made = opening(&world, 1, outside("10.0.0.9", 100 + i));
		made.from = outside("203.0.113.66", 0);
		made.denied = true;
		alerts_opening(world.alerts, &made);
	}
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

/* ---------------------------------------------------------------- volume */

#define VOLUME_RULE                                                                                \
	"{'volume':{'bytes':1000,'seconds':60,'networks':['192.0.2.0/24']},'rateLimitSeconds':1}"

static void send_bytes(struct world *world, uint64_t second, struct alert_end to, uint64_t bytes)
{
	const struct alert_traffic traffic = {.time_ns = second * SECOND_NS,
					      .from = pod(&world->web, "web-1", "10.0.0.5"),
					      .to = to,
					      .proto = IPPROTO_TCP,
					      .bytes = bytes};

	alerts_traffic(world->alerts, &traffic);
}

static void bytes_above_the_volume_are_told(void)
{
	struct world world;

	begin(&world, VOLUME_RULE);
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts), ALERTS_WANT_TRAFFIC);
	send_bytes(&world, 1, outside("198.51.100.7", 443), 600);
	CU_ASSERT_EQUAL(world.told, 0);
	send_bytes(&world, 60, outside("2001:db8::7", 443), 400);
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_EQUAL(world.samples[0].amount, 1000);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(world.text, "has sent 1000 bytes to the outside within 60 s"));
	end(&world);
}

static void slow_bytes_and_those_inside_are_not_told(void)
{
	struct world world;

	begin(&world, VOLUME_RULE);
	for (uint64_t i = 0; i < 10; i++)
		send_bytes(&world, 1 + 60 * i, outside("198.51.100.7", 443), 999);
	send_bytes(&world, 1000, pod(&world.db, "db-1", "10.0.0.6"), 100000);
	send_bytes(&world, 1000, outside("192.0.2.7", 443), 100000);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

/* ---------------------------------------------------------------- new peers */

#define NEW_PEER_RULE "{'newPeer':{'seconds':100},'rateLimitSeconds':1}"

static void open_pod(struct world *world, uint64_t second, const char *name, const char *ip,
		     uint16_t port)
{
	struct alert_opening made = opening(world, second, pod(&world->db, name, ip));

	made.to.port = port;
	alerts_opening(world->alerts, &made);
}

static void peer_that_was_not_learnt_is_told_once(void)
{
	struct world world;

	begin(&world, NEW_PEER_RULE);
	open_pod(&world, 1, "db-1", "10.0.0.6", 5432);
	open_at(&world, 50, "198.51.100.7", 443);
	CU_ASSERT_EQUAL(world.told, 0);
	open_pod(&world, 101, "db-1", "10.0.0.6", 22);
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 opened a connection to demo/db-1 "
					   "10.0.0.6:22 (tcp), a peer that it never had");
	open_at(&world, 200, "2001:db8::7", 443);
	CU_ASSERT_EQUAL(world.told, 2);
	open_pod(&world, 300, "db-1", "10.0.0.6", 22);
	open_at(&world, 300, "2001:db8::7", 443);
	CU_ASSERT_EQUAL(world.told, 2);
	end(&world);
}

/* Pods of one workload are one peer and one subject, whatever their addresses. */
static void peers_that_were_learnt_are_not_told(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, NEW_PEER_RULE);
	open_pod(&world, 1, "db-1", "10.0.0.6", 5432);
	open_at(&world, 1, "198.51.100.7", 443);
	open_pod(&world, 500, "db-2", "2001:db8:1::6", 5432);
	open_at(&world, 500, "198.51.100.7", 443);
	made = opening(&world, 500, outside("198.51.100.7", 443));
	made.from = pod(&world.web, "web-2", "10.0.0.55");
	alerts_opening(world.alerts, &made);
	/* Another workload has begun to learn just now. */
	made.from = pod(&world.db, "db-1", "10.0.0.6");
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

/* ---------------------------------------------------------------- whom it is about */

static void subject_chooses_by_labels_and_namespaces(void)
{
	static const struct {
		const char *subject;
		bool told;
	} cases[] = {
		{"{'namespaces':{}}", true},
		{"{'namespaces':{'matchLabels':{'team':'a'}}}", true},
		{"{'namespaces':{'matchLabels':{'team':'b'}}}", false},
		{"{'namespaces':{'matchLabels':{'kubernetes.io/metadata.name':'demo'}}}", true},
		{"{'namespaces':{'matchLabels':{'kubernetes.io/metadata.name':'other'}}}", false},
		{"{'pods':{'podSelector':{'matchLabels':{'app':'web'}}}}", true},
		{"{'pods':{'podSelector':{'matchLabels':{'app':'db'}}}}", false},
		{"{'pods':{'namespaceSelector':{'matchLabels':{'team':'b'}},'podSelector':{}}}",
		 false},
	};
	struct world world;
	char spec[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(spec, sizeof(spec), "{'peersOutside':{'networks':[]},'subject':%s}",
			 cases[i].subject);
		begin(&world, spec);
		open_at(&world, 1, "198.51.100.7", 443);
		if (world.told != cases[i].told)
			fprintf(stderr, "\n%s\n", cases[i].subject);
		CU_ASSERT_EQUAL(world.told, cases[i].told);
		end(&world);
	}
}

/* ---------------------------------------------------------------- floods */

static void equal_alerts_are_told_as_one_with_their_count(void)
{
	struct world world;

	begin(&world, OUTSIDE_RULE);
	for (uint64_t i = 0; i < 1000; i++)
		open_at(&world, 10, "198.51.100.7", (uint16_t)(i + 1));
	CU_ASSERT_EQUAL(world.told, 1);
	alerts_tick(world.alerts, 69 * SECOND_NS);
	CU_ASSERT_EQUAL(world.told, 1);
	alerts_tick(world.alerts, 70 * SECOND_NS);
	CU_ASSERT_EQUAL_FATAL(world.told, 2);
	CU_ASSERT(world.counts[0] == 1 && world.counts[1] == 999 && !world.several[1]);
	CU_ASSERT_EQUAL(world.samples[1].port, 1000);
	CU_ASSERT_PTR_NOT_NULL(strstr(world.text, "(999 times)"));
	alerts_tick(world.alerts, 1000 * SECOND_NS);
	alerts_flush(world.alerts);
	CU_ASSERT_EQUAL(world.told, 2);
	/* What waits is told with the one that comes when its time is over. */
	open_at(&world, 1000, "198.51.100.7", 1);
	open_at(&world, 1001, "198.51.100.7", 2);
	open_at(&world, 1060, "198.51.100.7", 3);
	CU_ASSERT_EQUAL_FATAL(world.told, 4);
	CU_ASSERT(world.counts[2] == 1 && world.counts[3] == 2);
	end(&world);
}

/* ---------------------------------------------------------------- processes */

static void run_at(struct world *world, uint64_t second, const char *executable, const char *comm)
{
	const struct alert_process process = {
		.pid = 4711, .uid = 33, .comm = comm, .executable = executable};
	struct alert_opening made = opening(world, second, outside("198.51.100.7", 443));

	made.process = &process;
	alerts_opening(world->alerts, &made);
}

#define NEW_PROCESS_RULE "{'newProcess':{'seconds':100},'rateLimitSeconds':1}"

static void program_that_was_not_learnt_is_told_once(void)
{
	struct world world;

	begin(&world, NEW_PROCESS_RULE);
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts),
			ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS | ALERTS_WANT_PROCESSES);
	run_at(&world, 10, "/usr/bin/web", "web");
	run_at(&world, 110, "/tmp/web", "web");
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 opened a connection to 198.51.100.7:443 "
					   "(tcp) by \"/tmp/web\" (pid 4711, uid 33), a program "
					   "that never did");
	CU_ASSERT(world.samples[0].pid == 4711 && world.samples[0].uid == 33);
	run_at(&world, 200, "/tmp/web", "web");
	CU_ASSERT_EQUAL(world.told, 1);
	end(&world);
}

static void programs_that_were_learnt_are_not_told(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, NEW_PROCESS_RULE);
	run_at(&world, 10, "/usr/bin/web", "web");
	run_at(&world, 109, "/usr/bin/cron", "cron");
	run_at(&world, 200, "/usr/bin/web", "curl");
	run_at(&world, 210, "/usr/bin/cron", "cron");
	/* Nothing is known of who it was. */
	made = opening(&world, 220, outside("198.51.100.8", 443));
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 0);
	/* Another workload learns on its own. */
	made = opening(&world, 230, outside("198.51.100.8", 443));
	made.from.labels = &world.db;
	made.process = &(const struct alert_process){.pid = 1, .comm = "db", .executable = "/db"};
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

/* Whoever ran before anybody looked has no known file, until it is begun anew. */
static void program_that_ran_before_is_no_news_when_it_begins_again(void)
{
	struct world world;

	begin(&world, NEW_PROCESS_RULE);
	run_at(&world, 10, NULL, "a-long-name-of-");
	run_at(&world, 120, NULL, "thread-17");
	run_at(&world, 130, "/usr/bin/a-long-name-of-a-server", "x");
	CU_ASSERT_EQUAL(world.told, 0);
	/* What was called so later only was not learnt. */
	run_at(&world, 140, "/usr/bin/thread-17", "thread-17");
	CU_ASSERT_EQUAL(world.told, 1);
	end(&world);
}

static void connection_from_a_shell_is_told(void)
{
	static const struct {
		const char *executable, *comm;
	} shells[] = {{"/usr/bin/bash", "x"}, {"/bin/sh", "x"},	 {"sh", "x"},
		      {NULL, "dash"},	      {"/lib/x", "ash"}, {"/bin/busybox", "nc"}};
	struct world world;

	begin(&world, "{'shell':{},'rateLimitSeconds':1}");
	for (size_t i = 0; i < sizeof(shells) / sizeof(*shells); i++) {
		run_at(&world, 10 * (i + 1), shells[i].executable, shells[i].comm);
		CU_ASSERT_EQUAL(world.told, i + 1);
	}
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 opened a connection to 198.51.100.7:443 "
					   "(tcp) from a shell: \"/bin/busybox\" (pid 4711, uid "
					   "33)");
	end(&world);
}

static void connection_from_another_program_is_none_from_a_shell(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, "{'shell':{},'rateLimitSeconds':1}");
	run_at(&world, 10, "/usr/bin/curl", "curl");
	run_at(&world, 20, "/usr/bin/bash/curl", "curl");
	run_at(&world, 30, NULL, "bashful");
	made = opening(&world, 40, outside("198.51.100.7", 443));
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 0);
	end(&world);
}

static void shells_are_those_of_the_list(void)
{
	struct world world;

	begin(&world, "{'shell':{'executables':['perl','/opt/bin/sh']},'rateLimitSeconds':1}");
	run_at(&world, 10, "/usr/bin/bash", "bash");
	run_at(&world, 20, "/bin/sh", "sh");
	CU_ASSERT_EQUAL(world.told, 0);
	run_at(&world, 30, "/opt/bin/sh", "sh");
	run_at(&world, 40, "/usr/bin/perl", "x");
	CU_ASSERT_EQUAL(world.told, 2);
	end(&world);
}

/* It is whatever who is looked at has chosen. */
static void hostile_names_of_programs_are_told_whole(void)
{
	char path[600] = "/tmp/";
	struct world world;
	json_t *text;

	for (size_t i = strlen(path); i + 2 < sizeof(path); i += 2)
		memcpy(path + i, "\xc3\xa9", 3);
	begin(&world, "{'shell':{},'rateLimitSeconds':1}");
	run_at(&world, 10, "/tmp/\" (pid 1, uid 0)\\", "sh");
	CU_ASSERT_PTR_NOT_NULL(strstr(world.text, "\"/tmp/\\\" (pid 1, uid 0)\\\\\" (pid 4711"));
	run_at(&world, 20, path, "sh");
	CU_ASSERT_EQUAL_FATAL(world.told, 2);
	text = json_string(world.samples[1].executable);
	CU_ASSERT_PTR_NOT_NULL(text);
	CU_ASSERT_EQUAL(strlen(world.samples[1].executable), 255);
	json_decref(text);
	end(&world);
}

/* ---------------------------------------------------------------- listeners */

static void listen_at(struct world *world, uint64_t second, struct alert_end at, uint16_t port)
{
	const struct alert_process process = {.pid = 7, .comm = "nc", .executable = "/bin/nc"};
	const struct alert_listening listening = {
		.time_ns = second * SECOND_NS, .at = at, .port = port, .process = &process};

	alerts_listening(world->alerts, &listening);
}

static void socket_that_listens_where_none_did_is_told_once(void)
{
	struct world world;
	struct alert_end web;

	begin(&world, "{'newListener':{'seconds':100},'rateLimitSeconds':1}");
	web = pod(&world.web, "web-1", "10.0.0.5");
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts), ALERTS_WANT_LISTENERS);
	/* It is learnt since the pod is there, not since something listens. */
	alerts_present(world.alerts, &web, 10 * SECOND_NS);
	listen_at(&world, 109, web, 80);
	listen_at(&world, 110, web, 80);
	CU_ASSERT_EQUAL(world.told, 0);
	listen_at(&world, 111, web, 4444);
	listen_at(&world, 300, web, 4444);
	CU_ASSERT_EQUAL_FATAL(world.told, 1);
	CU_ASSERT_STRING_EQUAL(world.text, "demo/web-1 listens at port 4444 (tcp) of all "
					   "addresses, where it never did: \"/bin/nc\" (pid 7, "
					   "uid 0)");
	end(&world);
}

static void ports_of_the_list_are_not_told_and_others_are(void)
{
	struct world world;
	struct alert_end web;

	begin(&world, "{'newListener':{'ports':[80,'8000-8100']},'rateLimitSeconds':1}");
	web = pod(&world.web, "web-1", "10.0.0.5");
	alerts_present(world.alerts, &web, SECOND_NS);
	listen_at(&world, 1, web, 80);
	listen_at(&world, 1, web, 8000);
	listen_at(&world, 1, web, 8100);
	CU_ASSERT_EQUAL(world.told, 0);
	listen_at(&world, 1, web, 81);
	listen_at(&world, 10, web, 8101);
	CU_ASSERT_EQUAL(world.told, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(world.text, "which is none of its ports"));
	end(&world);
}

static void the_node_and_other_nodes_pods_are_told_if_wanted_alone(void)
{
	struct alert_end node = {.addr = addr("192.0.2.1"), .local = true, .node = true}, other;
	struct world world;

	begin(&world, "{'newListener':{'ports':[]}}");
	other = pod(&world.web, "web-1", "10.0.0.5");
	other.local = false;
	listen_at(&world, 1, other, 80);
	listen_at(&world, 1, node, 80);
	CU_ASSERT_EQUAL(world.told, 0);
	set_rule(&world, "rule", "{'newListener':{'ports':[],'nodes':true}}");
	listen_at(&world, 1, node, 80);
	CU_ASSERT_EQUAL(world.told, 1);
	CU_ASSERT(strncmp(world.text, "192.0.2.1 listens", strlen("192.0.2.1 listens")) == 0);
	end(&world);
}

/* So many workloads that nobody can read them are one alert. */
static void alerts_of_many_workloads_are_told_as_one(void)
{
	const uint64_t workloads = 3 * ALERTS_TOLD_MOST;
	struct world world;
	struct alert_opening made;
	uint64_t sum = 0;

	begin(&world, OUTSIDE_RULE);
	for (uint64_t i = 0; i < workloads; i++) {
		struct labels labels = {};
		char text[32];

		snprintf(text, sizeof(text), "%llu", (unsigned long long)i);
		labels_set(&labels, "app", text);
		made = opening(&world, 10, outside("198.51.100.7", 443));
		made.from = pod(&labels, "web", "10.0.0.5");
		alerts_opening(world.alerts, &made);
		labels_clear(&labels);
	}
	CU_ASSERT_EQUAL(world.told, ALERTS_TOLD_MOST);
	alerts_tick(world.alerts, 70 * SECOND_NS);
	CU_ASSERT_EQUAL_FATAL(world.told, ALERTS_TOLD_MOST + 1);
	CU_ASSERT(world.several[ALERTS_TOLD_MOST]);
	for (size_t i = 0; i < world.told; i++)
		sum += world.counts[i];
	CU_ASSERT_EQUAL(sum, workloads);
	end(&world);
}

/* Addresses that somebody makes up take no memory beyond the limit, and make nobody forget what was
 * learnt of pods. */
static void memory_is_bounded(void)
{
	const uint64_t limit = 64 << 10;
	struct world world;
	struct alert_opening made;
	struct alerts_stats stats;

	begin(&world, SCAN_RULE);
	set_rule(&world, "peers", NEW_PEER_RULE);
	alerts_limit(world.alerts, limit);
	open_at(&world, 1, "198.51.100.7", 443);
	for (uint32_t i = 0; i < 10000; i++) {
		made = opening(&world, 2, outside("10.0.0.9", 80));
		made.from = outside("203.0.113.66", 0);
		memcpy(made.from.addr.bytes + 12, &i, sizeof(i));
		made.denied = true;
		alerts_opening(world.alerts, &made);
	}
	alerts_stats(world.alerts, &stats);
	CU_ASSERT(stats.bytes <= limit && stats.forgotten > 9000 && stats.workloads > 10);
	open_at(&world, 200, "198.51.100.8", 443);
	CU_ASSERT_EQUAL(world.told, 1);
	alerts_remove(world.alerts, "peers");
	end(&world);
}

/* Who missed events finds connections in the flow table that may have been told. */
static void what_is_found_again_is_not_told_again(void)
{
	struct world world;
	struct alert_opening made;

	begin(&world, OUTSIDE_RULE);
	open_at(&world, 10, "198.51.100.7", 443);
	made = opening(&world, 11, outside("198.51.100.7", 443));
	made.found = true;
	alerts_opening(world.alerts, &made);
	alerts_flush(world.alerts);
	CU_ASSERT_EQUAL(world.told, 1);
	made.from.labels = &world.db;
	alerts_opening(world.alerts, &made);
	CU_ASSERT_EQUAL(world.told, 2);
	end(&world);
}

static void changed_rule_begins_anew(void)
{
	struct world world;

	begin(&world, SCAN_RULE);
	for (uint16_t i = 0; i < 4; i++)
		deny_at(&world, 1, "10.0.0.9", 100 + i);
	set_rule(&world, "rule", "{'scan':{'targets':2,'seconds':10}}");
	deny_at(&world, 1, "10.0.0.9", 1);
	CU_ASSERT_EQUAL(world.told, 0);
	deny_at(&world, 1, "10.0.0.9", 2);
	CU_ASSERT_EQUAL(world.told, 1);
	alerts_remove(world.alerts, "rule");
	CU_ASSERT_EQUAL(alerts_wanted(world.alerts), 0);
	deny_at(&world, 1, "10.0.0.9", 3);
	CU_ASSERT_EQUAL(world.told, 1);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(connection_outside_of_the_list_is_told),
		UNIT_TEST(peers_of_the_list_and_pods_are_not_told),
		UNIT_TEST(foreign_resolver_is_told),
		UNIT_TEST(resolvers_of_the_list_and_other_ports_are_not_told),
		UNIT_TEST(many_denied_ports_are_a_scan),
		UNIT_TEST(few_targets_slow_ones_and_allowed_ones_are_no_scan),
		UNIT_TEST(scan_from_outside_is_told_by_its_address),
		UNIT_TEST(bytes_above_the_volume_are_told),
		UNIT_TEST(slow_bytes_and_those_inside_are_not_told),
		UNIT_TEST(peer_that_was_not_learnt_is_told_once),
		UNIT_TEST(peers_that_were_learnt_are_not_told),
		UNIT_TEST(subject_chooses_by_labels_and_namespaces),
		UNIT_TEST(program_that_was_not_learnt_is_told_once),
		UNIT_TEST(programs_that_were_learnt_are_not_told),
		UNIT_TEST(program_that_ran_before_is_no_news_when_it_begins_again),
		UNIT_TEST(connection_from_a_shell_is_told),
		UNIT_TEST(connection_from_another_program_is_none_from_a_shell),
		UNIT_TEST(shells_are_those_of_the_list),
		UNIT_TEST(hostile_names_of_programs_are_told_whole),
		UNIT_TEST(socket_that_listens_where_none_did_is_told_once),
		UNIT_TEST(ports_of_the_list_are_not_told_and_others_are),
		UNIT_TEST(the_node_and_other_nodes_pods_are_told_if_wanted_alone),
		UNIT_TEST(equal_alerts_are_told_as_one_with_their_count),
		UNIT_TEST(alerts_of_many_workloads_are_told_as_one),
		UNIT_TEST(memory_is_bounded),
		UNIT_TEST(what_is_found_again_is_not_told_again),
		UNIT_TEST(changed_rule_begins_anew),
	};

	return UNIT_RUN("alerts", tests);
}
