/* SPDX-License-Identifier: Apache-2.0 */
/* When the reconciler runs, waits and tries again. On the kernel's maps, with a clock and a wait of
 * the test's; needs root. */
#include "agent/reconcile/reconciler.h"

#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/unit.h"

#define ROOM 1024
#define MS   1000000ull

struct world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct reconciler *reconciler;
	struct local_pod pod;
	const char *state;
	uint64_t now, tick;	   /* each asking for the time takes a tick */
	int waits, wait_result;	   /* for programs */
	int routes, routes_result; /* calls */
	int wanted, called;
	char kept[64];
};

/* ---------------------------------------------------------------- what is around it */

static uint64_t now_ns(void *data)
{
	struct world *w = data;

	return w->now += w->tick;
}

static int wait_for_programs(void *data)
{
	struct world *w = data;

	w->waits++;
	return w->wait_result;
}

static void on_wanted(void *data)
{
	((struct world *)data)->wanted++;
}

static int apply_routes(void *data)
{
	struct world *w = data;

	w->routes++;
	return w->routes_result;
}

static void keep_labels(const char *container_id, const char *ifname, const struct labels *labels,
			void *data)
{
	const char *app = labels_get(labels, "app");

	snprintf(((struct world *)data)->kept, sizeof(((struct world *)data)->kept), "%s %s %s",
		 container_id, ifname, app ? app : "");
}

static void on_held(void *data)
{
	((struct world *)data)->called++;
}

/* JSON with ' for "; NULL deletes. */
static void put(struct world *w, const char *origin, const char *text)
{
	struct object_list list = {};
	struct error error = {};
	char *json = text ? strdup(text) : NULL, *c;

	for (c = json; c && *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (json)
		CU_ASSERT_FATAL(objects_decode(json, strlen(json), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, origin, &list) == 0);
	object_list_clear(&list);
	free(json);
}

/* Each version is a rule set of its own: it comes in force by a switch. */
static void put_policy(struct world *w, int version)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'p','namespace':'x'},'spec':{'podSelector':{},'ingress':[{'ports':[{'port':%d}]}]"
		 "}}",
		 1000 + version);
	put(w, "policy", text);
}

static void put_node(struct world *w, const char *range)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Node','metadata':{'name':'n2'},'spec':{'podCIDRs':['%"
		 "s']}}",
		 range);
	put(w, "node", text);
}

static void start(struct world *w)
{
	const struct reconciler_env env = {.maps = w->maps,
					   .store = w->store,
					   .config = &w->config,
					   .node = &w->node,
					   .state = w->state,
					   .now_ns = now_ns,
					   .wait_for_programs = wait_for_programs,
					   .wanted = on_wanted,
					   .apply_routes = apply_routes,
					   .keep_labels = keep_labels,
					   .data = w};

	CU_ASSERT_FATAL(reconciler_open(&env, &w->reconciler) == 0);
	CU_ASSERT_FATAL(reconciler_attach(w->reconciler, &w->pod) == 0);
}

/* Takes a world that is zero, or says how many entries of policy it has room for. */
static void open_world(struct world *w, const char *state)
{
	uint32_t entries = w->config.max_policy_entries ? w->config.max_policy_entries : ROOM;
	char message[512] = "";

	*w = (struct world){.config = {.node_name = "here",
				       .flows_v4 = 64,
				       .flows_v6 = 64,
				       .max_pods = 64,
				       .max_fragments = ROOM,
				       .max_rule_counters = ROOM,
				       .max_socket_origins = ROOM,
				       .max_services = ROOM,
				       .max_backends = ROOM,
				       .max_addresses = ROOM,
				       .max_policy_entries = entries},
			    .state = state,
			    .now = 1000 * MS};
	CU_ASSERT_FATAL(maps_open(&w->config, NULL, &w->maps, message, sizeof(message)) == 0);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	w->pod = (struct local_pod){.container_id = "c1",
				    .ifname = "eth0",
				    .namespace = "x",
				    .name = "own",
				    .ifindex = 65536};
	CU_ASSERT_FATAL(addr_parse("10.1.0.5", &w->pod.ipv4) == 0);
	start(w);
}

static void commit(struct world *w)
{
	CU_ASSERT(reconciler_begin(w->reconciler));
	reconciler_commit(w->reconciler, 0);
}

/* Synced, one policy in force, everything committed. */
static void begin(struct world *w)
{
	*w = (struct world){};
	open_world(w, NULL);
	put_policy(w, 0);
	reconciler_synced(w->reconciler);
	CU_ASSERT(reconciler_run(w->reconciler) == 0);
	commit(w);
	w->waits = w->wanted = 0;
}

static void end(struct world *w)
{
	reconciler_close(w->reconciler);
	store_free(w->store);
	maps_close(w->maps);
}

static uint32_t slot(const struct world *w)
{
	return maps_slot(w->maps);
}

/* The rule set for what the pod gets: in the slot in force, or in the other one. */
static uint32_t rules(const struct world *w, bool other)
{
	uint32_t index = maps_pod_index(w->maps, w->pod.ifindex);
	struct pod_entry entry = {};

	CU_ASSERT(maps_find(w->maps, MAP_PODS, &index, &entry) == 0);
	return entry.ingress_rules[other ? !slot(w) : slot(w)];
}

static bool is_pending(const struct world *w)
{
	struct reconciler_progress progress;

	reconciler_progress(w->reconciler, &progress);
	return progress.pending;
}

/* ---------------------------------------------------------------- runs */

static void nothing_is_changed_before_all_objects_are_read(void)
{
	struct reconciler_progress progress;
	uint32_t before;
	struct world w = {};

	open_world(&w, NULL);
	before = maps_control(w.maps)->generation;
	put_policy(&w, 0);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_run(w.reconciler) == -EAGAIN);
	CU_ASSERT(maps_control(w.maps)->generation == before);
	CU_ASSERT(rules(&w, false) == 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) >= RULESET_FIRST);
	reconciler_progress(w.reconciler, &progress);
	CU_ASSERT(progress.synced && progress.reconciled && !progress.pending);
	end(&w);
}

static void a_change_is_due_at_once_and_in_force_after_its_run(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	before = rules(&w, false);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	put_policy(&w, 1);
	CU_ASSERT(w.wanted == 1 && is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != before && rules(&w, true) == before);
	CU_ASSERT(!is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_DELAY_NS);
	commit(&w);
	CU_ASSERT(rules(&w, false) == rules(&w, true));
	CU_ASSERT(w.waits == 0);
	end(&w);
}

static void a_run_leaves_policy_for_later_while_the_other_slot_may_be_read(void)
{
	uint32_t first;
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	first = rules(&w, false);
	put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) == first && is_pending(&w));
	/* It wants its grace period now, and another run when that has ended. */
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) == first);
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != first && !is_pending(&w));
	CU_ASSERT(w.waits == 0);
	end(&w);
}

static void a_run_that_may_wait_does_so_itself(void)
{
	uint32_t first, second;
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(w.waits == 0);
	first = rules(&w, false);
	CU_ASSERT(reconciler_begin(w.reconciler));
	put_policy(&w, 2);
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(w.waits == 1);
	second = rules(&w, false);
	CU_ASSERT(second != first);
	/* The grace period of the first switch says nothing of the second one. */
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(rules(&w, true) == first);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == 0);
	commit(&w);
	CU_ASSERT(rules(&w, true) == second);
	end(&w);
}

/* ---------------------------------------------------------------- failures */

static void a_wait_that_fails_leaves_what_is_in_force(void)
{
	uint32_t first;
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	first = rules(&w, false);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_RETRY_NS);
	put_policy(&w, 2);
	w.wait_result = -EPERM;
	CU_ASSERT(reconciler_run_now(w.reconciler) == -EPERM);
	CU_ASSERT(rules(&w, false) == first && is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == w.now + RECONCILER_RETRY_NS);
	w.wait_result = 0;
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != first && !is_pending(&w));
	end(&w);
}

static void routes_that_failed_are_tried_again_later_and_keep_nothing_waiting(void)
{
	struct world w;

	begin(&w);
	w.routes = 0;
	w.routes_result = -ENETUNREACH;
	put_node(&w, "10.2.0.0/24");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(w.routes == 1 && !is_pending(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == w.now + RECONCILER_RETRY_NS);
	/* Other changes do not try them more often. */
	w.now += 1000 * MS;
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(w.routes == 1);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == w.now - 1000 * MS + RECONCILER_RETRY_NS);
	w.now += RECONCILER_RETRY_NS;
	w.routes_result = 0;
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(w.routes == 2);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == RECONCILER_NEVER);
	/* A Node that changes does. */
	w.routes_result = -ENETUNREACH;
	put_node(&w, "10.3.0.0/24");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	put_node(&w, "10.4.0.0/24");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(w.routes == 4);
	end(&w);
}

static void numbers_that_are_not_on_disk_are_not_used(void)
{
	char directory[32], path[64], state[96];
	uint32_t before;
	struct world w = {};

	snprintf(path, sizeof(path), "%s/later", unit_directory(directory));
	snprintf(state, sizeof(state), "%s/policy.json", path);
	open_world(&w, state);
	before = maps_control(w.maps)->generation;
	put_policy(&w, 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == -ENOENT);
	CU_ASSERT(rules(&w, false) == 0 && is_pending(&w));
	CU_ASSERT(maps_control(w.maps)->generation == before);
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == w.now + RECONCILER_RETRY_NS);
	CU_ASSERT(mkdir(path, 0700) == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) >= RULESET_FIRST && !is_pending(&w));
	CU_ASSERT(access(state, R_OK) == 0);
	end(&w);
	unit_remove_directory(directory);
}

/* ---------------------------------------------------------------- who waits for a change */

static void who_waits_is_called_after_the_run_that_holds_the_change(void)
{
	struct reconciler_wait wait = {.call = on_held}, later = {.call = on_held};
	struct world w;

	begin(&w);
	wait.data = later.data = &w;
	wait.change = reconciler_change(w.reconciler);
	reconciler_after(w.reconciler, &wait);
	CU_ASSERT(w.called == 1); /* it is in force already */
	put_policy(&w, 1);
	wait.change = reconciler_change(w.reconciler);
	later.change = wait.change + 1;
	reconciler_after(w.reconciler, &wait);
	reconciler_after(w.reconciler, &later);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns == RECONCILER_NEVER);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns <= w.now);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns == RECONCILER_NEVER);
	/* The next change is in the store, but its run has to wait. */
	put_policy(&w, 2);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	commit(&w);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 3);
	end(&w);
}

static void put_pod(struct world *w, int number)
{
	char origin[16], text[256];

	snprintf(origin, sizeof(origin), "pod%d", number);
	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p%d','namespace':'x'},'spec':"
		 "{'nodeName':'n2'},'status':{'podIPs':[{'ip':'10.2.0.%d'}]}}",
		 number, number);
	put(w, origin, text);
}

static uint64_t turn_after_a_pod(struct world *w, int number)
{
	put_pod(w, number);
	CU_ASSERT(reconciler_run(w->reconciler) == 0);
	return reconciler_due(w->reconciler).turn_ns;
}

static void looks_that_take_long_are_apart_in_a_stream_of_changes(void)
{
	struct world w;

	begin(&w);
	w.now += 1000 * MS;
	for (int i = 1; i < 6; i++) {
		CU_ASSERT(turn_after_a_pod(&w, i) <= w.now);
		w.tick = i < 4 ? 0 : 15 * MS;
		reconciler_end_turn(w.reconciler);
		w.tick = 0;
	}
	w.now += 10 * MS;
	CU_ASSERT(turn_after_a_pod(&w, 6) > w.now);
	CU_ASSERT(turn_after_a_pod(&w, 7) <= w.now - 10 * MS + RECONCILER_LOOK_MAX_NS);
	end(&w);
}

static void who_does_not_wait_any_more_is_not_called(void)
{
	struct reconciler_wait waits[3];
	struct world w;
	int i;

	begin(&w);
	put_policy(&w, 1);
	for (i = 0; i < 3; i++) {
		waits[i] = (struct reconciler_wait){
			.change = reconciler_change(w.reconciler), .call = on_held, .data = &w};
		reconciler_after(w.reconciler, &waits[i]);
	}
	reconciler_cancel(w.reconciler, &waits[1]);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(w.called == 2);
	reconciler_cancel(w.reconciler, &waits[0]);
	end(&w);
}

/* ---------------------------------------------------------------- pods, ends */

static void a_pod_is_covered_by_the_next_run_and_gone_at_once(void)
{
	uint32_t index;
	struct pod_entry entry;
	struct world w;

	begin(&w);
	index = maps_pod_index(w.maps, w.pod.ifindex);
	reconciler_detach(w.reconciler, &w.pod);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &index, &entry) == 0 && entry.ifindex == 0);
	CU_ASSERT(is_pending(&w) && w.wanted == 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(maps_find(w.maps, MAP_PODS, &index, &entry) == 0 && entry.ifindex == 0);
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) >= RULESET_FIRST);
	end(&w);
}

static void labels_of_a_pods_object_are_told_to_be_kept(void)
{
	struct world w;

	begin(&w);
	CU_ASSERT_STRING_EQUAL(w.kept, "");
	put(&w, "own",
	    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'own','namespace':'x',"
	    "'labels':{'app':'a'}}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	commit(&w);
	CU_ASSERT_STRING_EQUAL(w.kept, "c1 eth0 a");
	end(&w);
}

static void an_orderly_end_leaves_both_slots_alike(void)
{
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != rules(&w, true));
	CU_ASSERT(reconciler_finish(w.reconciler) == 0);
	CU_ASSERT(w.waits == 1);
	CU_ASSERT(rules(&w, false) == rules(&w, true));
	end(&w);
}

static bool audit_agrees(struct world *w)
{
	char *difference = NULL;
	bool agrees = reconciler_audit(w->reconciler, &difference) == 0 && !difference;

	free(difference);
	return agrees;
}

/* An object that is another one although nobody has heard of it. */
static void an_audit_finds_what_was_not_followed_and_the_next_run_mends_it(void)
{
	struct reconciler_progress progress;
	const struct object *policy;
	uint32_t before;
	struct world w;

	begin(&w);
	CU_ASSERT(audit_agrees(&w));
	before = rules(&w, false);
	policy = store_get(w.store, OBJECT_NETWORK_POLICY, "x", "p");
	policy->network_policy.ingress[0].ports[0].first = 7;
	policy->network_policy.ingress[0].ports[0].last = 7;
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) == before);
	CU_ASSERT(!audit_agrees(&w));
	CU_ASSERT(reconciler_due(w.reconciler).run_ns == 0 && is_pending(&w));
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != before && !is_pending(&w));
	CU_ASSERT(audit_agrees(&w));
	commit(&w);
	CU_ASSERT(audit_agrees(&w));
	reconciler_progress(w.reconciler, &progress);
	CU_ASSERT(progress.audits == 4 && progress.differences == 1);
	end(&w);
}

/* ---------------------------------------------------------------- what else a run has to do */

static void a_service_that_changes_hides_no_policy_that_did(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	before = rules(&w, false);
	put_policy(&w, 1);
	put(&w, "service",
	    "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
	    "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) != before && !is_pending(&w));
	end(&w);
}

/* What it has left behind goes with one. */
static void a_run_without_a_switch_wants_its_grace_period_too(void)
{
	struct world w;

	begin(&w);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == SLOTS_NEVER);
	put(&w, "service",
	    "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
	    "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns == w.now + SLOTS_DELAY_NS);
	end(&w);
}

static uint32_t generation(const struct world *w)
{
	return maps_control(w->maps)->generation;
}

/* A first look that comes while a grace period runs. */
static void a_look_wants_a_grace_period_of_its_own(void)
{
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns <= w.now);
	reconciler_end_turn(w.reconciler);
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns != SLOTS_NEVER);
	end(&w);
}

static void flows_are_reevaluated_when_a_wait_for_their_second_look_fails(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	before = generation(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(generation(&w) == before);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(generation(&w) == before + 1);
	commit(&w);
	end(&w);
}

static void a_second_look_that_was_taken_is_not_owed_any_more(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	commit(&w);
	before = generation(&w);
	reconciler_synced(w.reconciler); /* a run that touches nothing */
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(generation(&w) == before);
	end(&w);
}

static void a_pod_inherits_no_flows_of_one_that_just_left(void)
{
	uint32_t before;
	struct world w;

	begin(&w);
	before = generation(&w);
	reconciler_detach(w.reconciler, &w.pod);
	CU_ASSERT(generation(&w) == before);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(generation(&w) == before + 1);
	end(&w);
}

static void put_ports(struct world *w, const char *namespace, int first)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':"
		 "'p','namespace':'%s'},'spec':{'podSelector':{},'ingress':[{'ports':[{'port':%d},"
		 "{'port':%d},{'port':%d},{'port':%d},{'port':%d}]}]}}",
		 namespace, first, first + 2, first + 4, first + 6, first + 8);
	put(w, namespace, text);
}

static void room_that_a_sweep_makes_is_used_by_a_run_of_its_own(void)
{
	struct local_pod more = {.container_id = "c2",
				 .ifname = "eth0",
				 .namespace = "y",
				 .name = "more",
				 .ifindex = 65537};
	struct world w = {.config = {.max_policy_entries = 8}};

	open_world(&w, NULL);
	CU_ASSERT_FATAL(addr_parse("10.1.0.6", &more.ipv4) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &more) == 0);
	put_ports(&w, "y", 1001);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	commit(&w);
	put_ports(&w, "x", 2001);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	commit(&w);
	CU_ASSERT(rules(&w, false) == RULESET_CAPACITY && !is_pending(&w));
	put(&w, "y", NULL);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(!is_pending(&w));
	commit(&w);
	CU_ASSERT(is_pending(&w) && reconciler_due(w.reconciler).run_ns == 0);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(rules(&w, false) >= RULESET_FIRST && !is_pending(&w));
	end(&w);
}

static size_t backends(const struct world *w)
{
	return services_backends_used(reconciler_services(w->reconciler));
}

static void services_follow_the_pods_of_this_node(void)
{
	struct world w;

	begin(&w);
	put(&w, "service",
	    "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s','namespace':'x'},"
	    "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}],'selector':{'app':'a'}}}");
	put(&w, "own",
	    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'own','namespace':'x',"
	    "'labels':{'app':'a'}},'spec':{'nodeName':'here'},'status':{'conditions':["
	    "{'type':'Ready','status':'True'}]}}");
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	commit(&w);
	CU_ASSERT(backends(&w) == 1);
	reconciler_detach(w.reconciler, &w.pod);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
		commit(&w);
	}
	CU_ASSERT(backends(&w) == 0);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(reconciler_run_now(w.reconciler) == 0);
	CU_ASSERT(backends(&w) == 1);
	end(&w);
}

static void an_orderly_end_writes_the_numbers_that_were_given(void)
{
	struct stat before = {}, after = {};
	char directory[32], state[64];
	struct world w = {};

	snprintf(state, sizeof(state), "%s/policy.json", unit_directory(directory));
	open_world(&w, state);
	put_policy(&w, 0);
	reconciler_synced(w.reconciler);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	commit(&w);
	put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(stat(state, &before) == 0);
	CU_ASSERT(reconciler_finish(w.reconciler) == 0);
	CU_ASSERT(stat(state, &after) == 0);
	CU_ASSERT(after.st_size > before.st_size);
	end(&w);
	unit_remove_directory(directory);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(nothing_is_changed_before_all_objects_are_read),
		UNIT_TEST(a_change_is_due_at_once_and_in_force_after_its_run),
		UNIT_TEST(a_run_leaves_policy_for_later_while_the_other_slot_may_be_read),
		UNIT_TEST(a_run_that_may_wait_does_so_itself),
		UNIT_TEST(a_wait_that_fails_leaves_what_is_in_force),
		UNIT_TEST(routes_that_failed_are_tried_again_later_and_keep_nothing_waiting),
		UNIT_TEST(numbers_that_are_not_on_disk_are_not_used),
		UNIT_TEST(an_audit_finds_what_was_not_followed_and_the_next_run_mends_it),
		UNIT_TEST(who_waits_is_called_after_the_run_that_holds_the_change),
		UNIT_TEST(looks_that_take_long_are_apart_in_a_stream_of_changes),
		UNIT_TEST(who_does_not_wait_any_more_is_not_called),
		UNIT_TEST(a_pod_is_covered_by_the_next_run_and_gone_at_once),
		UNIT_TEST(labels_of_a_pods_object_are_told_to_be_kept),
		UNIT_TEST(an_orderly_end_leaves_both_slots_alike),
		UNIT_TEST(a_service_that_changes_hides_no_policy_that_did),
		UNIT_TEST(a_run_without_a_switch_wants_its_grace_period_too),
		UNIT_TEST(a_look_wants_a_grace_period_of_its_own),
		UNIT_TEST(flows_are_reevaluated_when_a_wait_for_their_second_look_fails),
		UNIT_TEST(a_second_look_that_was_taken_is_not_owed_any_more),
		UNIT_TEST(a_pod_inherits_no_flows_of_one_that_just_left),
		UNIT_TEST(room_that_a_sweep_makes_is_used_by_a_run_of_its_own),
		UNIT_TEST(services_follow_the_pods_of_this_node),
		UNIT_TEST(an_orderly_end_writes_the_numbers_that_were_given),
	};

	return UNIT_RUN("reconciler", tests);
}
