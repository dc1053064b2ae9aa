/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that listen: which of those that were noted are told to the alerts, and how often. */
#include "agent/observe/alert_listeners.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

#define POD_NETNS   71
#define NODE_NETNS  1
#define SOCKETS_MAX 5000

/* What the programs have noted, and what was told. */
struct world {
	struct process_key keys[SOCKETS_MAX];
	struct process_note notes[SOCKETS_MAX];
	size_t count;
	bool pod_is_known;
	int error; /* of the look through the notes */
	struct labels labels;
	struct alerts *alerts;
	struct alert_listeners *listeners;
	struct flow_watch_env flows;
	size_t named; /* processes that were asked for */
	char text[512];
	uint64_t raised;
};

static struct polder_addr addr(const char *text)
{
	struct polder_addr ret;

	CU_ASSERT_FATAL(addr_parse(text, &ret) == 0);
	return ret;
}

static void who(const struct polder_addr *at, struct flow_watch_end *ret, void *data)
{
	const struct world *world = data;
	struct polder_addr pod = addr("10.0.0.5");

	*ret = (struct flow_watch_end){0};
	if (world->pod_is_known && memcmp(at, &pod, sizeof(pod)) == 0)
		*ret = (struct flow_watch_end){.namespace = "demo",
					       .name = "web",
					       .labels = &world->labels,
					       .local = true};
}

static void places(void (*visit)(const struct alert_place *place, void *arg), void *arg, void *data)
{
	const struct alert_place node = {NODE_NETNS, addr("192.0.2.1"), true};
	const struct alert_place pod = {POD_NETNS, addr("10.0.0.5"), false};

	visit(&node, arg);
	visit(&pod, arg);
}

static int listeners(void (*visit)(const struct process_key *key, const struct process_note *note,
				   void *arg),
		     void *arg, void *data)
{
	const struct world *world = data;

	for (size_t i = 0; i < world->count; i++)
		visit(&world->keys[i], &world->notes[i], arg);
	return world->error;
}

static json_t *process(const struct event_socket *socket, void *data)
{
	struct world *world = data;
	struct polder_addr pod = addr("10.0.0.5");

	/* All addresses of a namespace are one of it. */
	CU_ASSERT(memcmp(&socket->local, &pod, sizeof(pod)) == 0 ||
		  ntohs(socket->local_port_be) == 99);
	world->named++;
	return json_pack("{s:i, s:s}", "pid", 12, "comm", "nc");
}

static void tell(const struct alert *alert, void *data)
{
	struct world *world = data;
	char *text = alert_text(alert);

	CU_ASSERT_FATAL(text != NULL);
	snprintf(world->text, sizeof(world->text), "%s", text);
	free(text);
}

static const struct labels *namespace_labels(const char *name, void *data)
{
	return NULL;
}

static void put_rule(struct world *world)
{
	static const char text[] = "{\"apiVersion\":\"polder.dev/v1alpha1\",\"kind\":"
				   "\"TrafficAlert\",\"metadata\":{\"name\":\"a\"},\"spec\":{"
				   "\"newListener\":{\"ports\":[80],\"nodes\":true}}}";
	struct object_list list = {};
	struct error error = {};

	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(alerts_set(world->alerts, list.objects[0]) == 0);
	object_list_clear(&list);
}

static struct world *begin(void)
{
	static const struct alert_socket_env env = {places, listeners, process};
	struct world *world = calloc(1, sizeof(*world));
	const struct alerts_env alerts = {tell, namespace_labels, world};

	CU_ASSERT_FATAL(world != NULL);
	world->pod_is_known = true;
	world->flows = (struct flow_watch_env){.who = who, .data = world};
	world->alerts = alerts_new(&alerts);
	world->listeners = alert_listeners_new(&world->flows, &env, world->alerts);
	CU_ASSERT_FATAL(world->alerts && world->listeners);
	put_rule(world);
	return world;
}

static void end(struct world *world)
{
	alert_listeners_free(world->listeners);
	alerts_free(world->alerts);
	free(world);
}

static void note(struct world *world, uint64_t netns, const char *local, uint16_t port)
{
	size_t i = world->count++;

	world->keys[i] = (struct process_key){
		.netns = netns, .local_port_be = htons(port), .proto = IPPROTO_TCP};
	if (local)
		world->keys[i].local = addr(local);
	world->notes[i] = (struct process_note){.netns = netns, .socket = 1000 + i};
}

static void count_raised(const struct alert_rule_stats *rule, void *data)
{
	struct world *world = data;

	world->raised = rule->raised;
}

static uint64_t raised_after_a_look(struct world *world, int r)
{
	CU_ASSERT_EQUAL(alert_listeners_look(world->listeners), r);
	alerts_rules(world->alerts, count_raised, world);
	return world->raised;
}

static void each_socket_is_told_once(void)
{
	struct world *world = begin();

	note(world, POD_NETNS, NULL, 80);
	note(world, POD_NETNS, NULL, 4444);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 1);
	CU_ASSERT_STRING_EQUAL(world->text, "demo/web listens at port 4444 (tcp) of all addresses, "
					    "which is none of its ports: \"nc\" (pid 12, uid 0)");
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 1);
	CU_ASSERT_EQUAL(world->named, 2);
	note(world, NODE_NETNS, NULL, 99);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 2);
	CU_ASSERT_EQUAL(world->named, 3);
	/* To a changed alert all of them are news. */
	put_rule(world);
	alert_listeners_anew(world->listeners);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 4);
	end(world);
}

static void sockets_of_a_loopback_address_and_of_foreign_namespaces_are_not_told(void)
{
	struct world *world = begin();

	note(world, POD_NETNS, "127.0.0.1", 4444);
	note(world, POD_NETNS, "127.1.2.3", 4445);
	note(world, POD_NETNS, "::1", 4446);
	note(world, 999, NULL, 4447);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 0);
	CU_ASSERT_EQUAL(world->named, 0);
	end(world);
}

static void socket_of_a_pod_that_is_not_known_yet_is_told_when_it_is(void)
{
	struct world *world = begin();

	world->pod_is_known = false;
	note(world, POD_NETNS, NULL, 4444);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 0);
	world->pod_is_known = true;
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 1);
	end(world);
}

/* What was told may be told again, and raises nothing then. */
static void look_that_failed_loses_nothing(void)
{
	struct world *world = begin();

	note(world, POD_NETNS, NULL, 4444);
	world->error = -EIO;
	CU_ASSERT_EQUAL(raised_after_a_look(world, -EIO), 1);
	world->error = 0;
	note(world, POD_NETNS, NULL, 4445);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), 2);
	end(world);
}

static void thousands_of_sockets_are_told_without_the_process_of_each(void)
{
	struct world *world = begin();

	for (uint16_t i = 0; i < SOCKETS_MAX; i++)
		note(world, POD_NETNS, NULL, 10000 + i);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), SOCKETS_MAX);
	CU_ASSERT_EQUAL(world->named, 256);
	CU_ASSERT_EQUAL(raised_after_a_look(world, 0), SOCKETS_MAX);
	end(world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(each_socket_is_told_once),
		UNIT_TEST(sockets_of_a_loopback_address_and_of_foreign_namespaces_are_not_told),
		UNIT_TEST(socket_of_a_pod_that_is_not_known_yet_is_told_when_it_is),
		UNIT_TEST(look_that_failed_loses_nothing),
		UNIT_TEST(thousands_of_sockets_are_told_without_the_process_of_each),
	};

	return UNIT_RUN("alert_listeners", tests);
}
