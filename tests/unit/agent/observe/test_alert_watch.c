/* SPDX-License-Identifier: Apache-2.0 */
/* What TrafficAlerts ask the programs for, and nobody else; bytes of flows between walks. */
#include "agent/observe/alert_watch.h"

#include <sys/mount.h>

#include "agent/config/config.h"
#include "agent/observe/flow_bytes.h"
#include "tests/unit/unit.h"

struct fixture {
	char directory[32];
	struct config config;
	struct maps *maps;
	struct flows *flows;
	struct store *store;
	uv_loop_t loop;
	struct events *events;
	struct alert_watch *watch;
	unsigned int told_of_processes; /* so often */
};

static int nobody(const struct polder_addr *addr, char *buffer, size_t size, void *data)
{
	return -ENOENT;
}

static void who(const struct polder_addr *addr, struct flow_watch_end *ret, void *data)
{
	*ret = (struct flow_watch_end){0};
}

static int no_service(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
		      size_t size, void *data)
{
	return -ENOENT;
}

static void on_processes_wanted(void *data)
{
	struct fixture *f = data;

	f->told_of_processes++;
}

static void no_places(void (*visit)(const struct alert_place *place, void *arg), void *arg,
		      void *data)
{
}

static int no_listeners(void (*visit)(const struct process_key *key,
				      const struct process_note *note, void *arg),
			void *arg, void *data)
{
	return 0;
}

static json_t *no_process(const struct event_socket *socket, void *data)
{
	return NULL;
}

static void on_object(const struct object *object, bool deleted, void *data)
{
	alert_watch_object(data, object, deleted);
}

static void open_maps(struct fixture *f)
{
	char pins[64], message[512] = "";

	unit_directory(f->directory);
	if (mount("bpf", f->directory, "bpf", 0, NULL) < 0) {
		fprintf(stderr, "no bpffs: %s\n", strerror(errno));
		exit(errno == EPERM ? 77 : 1);
	}
	snprintf(pins, sizeof(pins), "%s/maps", f->directory);
	f->config.flows_v4 = f->config.flows_v6 = 1024;
	f->config.max_pods = f->config.max_fragments = f->config.max_socket_origins = 64;
	f->config.max_rule_counters = 64;
	f->config.max_services = f->config.max_backends = f->config.max_addresses = 64;
	f->config.max_policy_entries = 64;
	if (maps_open(config_map_sizes(&f->config), pins, &f->maps, message, sizeof(message)) < 0) {
		fprintf(stderr, "%s\n", message);
		abort();
	}
}

static void begin(struct fixture *f)
{
	static const struct event_names names = {.pod = nobody};
	struct flows_maps tables;
	struct alert_watch_env env;

	*f = (struct fixture){0};
	open_maps(f);
	tables = flows_maps_of(f->maps);
	f->flows = flows_new(&tables);
	f->store = store_new();
	uv_loop_init(&f->loop);
	CU_ASSERT_FATAL(f->flows && f->store);
	CU_ASSERT_FATAL(events_open(&f->loop, f->maps, &names, &f->events) == 0);
	env = (struct alert_watch_env){.flows = {.loop = &f->loop,
						 .events = f->events,
						 .flows = f->flows,
						 .maps = f->maps,
						 .who = who,
						 .service = no_service},
				       .store = f->store,
				       .processes_wanted = on_processes_wanted,
				       .wanted_data = f,
				       .sockets = {no_places, no_listeners, no_process}};
	CU_ASSERT_FATAL(alert_watch_open(&env, &f->watch) == 0);
	store_listen(f->store, on_object, f->watch);
}

static void end(struct fixture *f)
{
	alert_watch_close(f->watch);
	events_close(f->events);
	unit_end_loop(&f->loop);
	flows_free(f->flows);
	store_free(f->store);
	maps_close(f->maps);
	umount2(f->directory, MNT_DETACH);
	rmdir(f->directory);
}

static void put(struct fixture *f, const char *name, const char *rule)
{
	struct object_list list = {};
	struct error error = {};
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"polder.dev/v1alpha1\",\"kind\":\"TrafficAlert\",\"metadata\":{"
		 "\"name\":\"%s\"},\"spec\":{%s}}",
		 name, rule);
	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_upsert(f->store, "test", list.objects[0]) == 0);
	free(list.objects);
}

static void take_away(struct fixture *f, const char *name)
{
	CU_ASSERT_FATAL(store_delete(f->store, "test", OBJECT_TRAFFIC_ALERT, "", name) == 0);
}

static uint32_t asked_for(const struct fixture *f)
{
	return maps_control(f->maps)->events;
}

/* Whoever has no alert pays for none. */
static void programs_tell_what_the_alerts_need_and_no_more(void)
{
	struct fixture f;

	begin(&f);
	CU_ASSERT_EQUAL(asked_for(&f), 0);
	put(&f, "volume", "\"volume\":{\"bytes\":1,\"seconds\":1}");
	CU_ASSERT_EQUAL(asked_for(&f), 0);
	put(&f, "scan", "\"scan\":{\"targets\":2,\"seconds\":1}");
	CU_ASSERT_EQUAL(asked_for(&f), EVENT_MASK_DROPS);
	put(&f, "peer", "\"newPeer\":{\"seconds\":1}");
	CU_ASSERT_EQUAL(asked_for(&f), EVENT_MASK_DROPS | EVENT_MASK_FLOWS);
	take_away(&f, "peer");
	CU_ASSERT_EQUAL(asked_for(&f), EVENT_MASK_DROPS);
	put(&f, "scan", "\"volume\":{\"bytes\":1,\"seconds\":1}");
	CU_ASSERT_EQUAL(asked_for(&f), 0);
	CU_ASSERT(!f.told_of_processes && !alert_watch_wants_processes(f.watch));
	put(&f, "shell", "\"shell\":{}");
	CU_ASSERT_EQUAL(asked_for(&f), EVENT_MASK_DROPS | EVENT_MASK_FLOWS);
	CU_ASSERT(f.told_of_processes == 1 && alert_watch_wants_processes(f.watch));
	put(&f, "program", "\"newProcess\":{\"seconds\":1}");
	take_away(&f, "shell");
	CU_ASSERT(f.told_of_processes == 1 && alert_watch_wants_processes(f.watch));
	take_away(&f, "program");
	CU_ASSERT(f.told_of_processes == 2 && !alert_watch_wants_processes(f.watch));
	put(&f, "listener", "\"newListener\":{\"seconds\":1}");
	CU_ASSERT_EQUAL(asked_for(&f), 0);
	CU_ASSERT(f.told_of_processes == 3 && alert_watch_wants_processes(f.watch));
	take_away(&f, "listener");
	CU_ASSERT(f.told_of_processes == 4 && !alert_watch_wants_processes(f.watch));
	take_away(&f, "scan");
	take_away(&f, "volume");
	CU_ASSERT_EQUAL(alerts_wanted(alert_watch_alerts(f.watch)), 0);
	/* No timer is left to keep the loop awake. */
	uv_run(&f.loop, UV_RUN_NOWAIT);
	CU_ASSERT_EQUAL(uv_backend_timeout(&f.loop), -1);
	end(&f);
}

/* ---------------------------------------------------------------- bytes */

static struct flow_record flow(uint16_t port, uint64_t bytes)
{
	struct flow_record record = {.family = FAMILY_V4, .flow = {.bytes = bytes}};

	record.flow.tuple.sport_be = port;
	return record;
}

static uint64_t bytes_of(struct flow_bytes *bytes, uint16_t port, uint64_t sum)
{
	const struct flow_record record = flow(port, sum);

	return flow_bytes_of(bytes, &record);
}

static void bytes_are_those_since_the_last_walk(void)
{
	struct flow_bytes *bytes = flow_bytes_new(100);

	CU_ASSERT_EQUAL(bytes_of(bytes, 1, 5000), 0); /* nobody knows when */
	flow_bytes_walked(bytes);
	CU_ASSERT_EQUAL(bytes_of(bytes, 1, 5100), 100);
	CU_ASSERT_EQUAL(bytes_of(bytes, 2, 70), 70); /* began since */
	flow_bytes_walked(bytes);
	CU_ASSERT_EQUAL(bytes_of(bytes, 1, 5100), 0);
	CU_ASSERT_EQUAL(bytes_of(bytes, 2, 10), 10); /* another one of its tuple */
	flow_bytes_walked(bytes);
	CU_ASSERT_EQUAL(bytes_of(bytes, 2, 15), 5);
	flow_bytes_walked(bytes);
	CU_ASSERT_EQUAL(bytes_of(bytes, 1, 30), 30); /* was gone for a walk */
	CU_ASSERT_EQUAL(flow_bytes_left_out(bytes), 0);
	flow_bytes_free(bytes);
}

static void flows_without_room_are_counted(void)
{
	struct flow_bytes *bytes = flow_bytes_new(2);

	flow_bytes_walked(bytes);
	for (uint16_t port = 1; port <= 5; port++)
		CU_ASSERT_EQUAL(bytes_of(bytes, port, 10), port <= 2 ? 10 : 0);
	CU_ASSERT_EQUAL(flow_bytes_left_out(bytes), 3);
	/* What is over makes room. */
	flow_bytes_walked(bytes);
	flow_bytes_walked(bytes);
	CU_ASSERT_EQUAL(bytes_of(bytes, 9, 10), 10);
	flow_bytes_free(bytes);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(programs_tell_what_the_alerts_need_and_no_more),
		UNIT_TEST(bytes_are_those_since_the_last_walk),
		UNIT_TEST(flows_without_room_are_counted),
	};

	return UNIT_RUN("alert_watch", tests);
}
