/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What policy costs: memory and time of a change for many replicas under many policies, and
 * nanoseconds of an evaluated packet by the number of identities, CIDRs and policies. Real agent
 * code on real maps, real programs. Prints JSON.
 *
 * bench-policy [--quick] [part of a case's name, such as "1000 identities" or "scale"]
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "tests/bench/scatter.h"
#include "tests/differential/datagram.h"
#include "tests/differential/harness.h"

#include "scatter.skel.h"

#define ENTRIES	    524288
#define STATE	    "/mnt/numbers.json"
#define ROUNDS_MAX  31
#define REPLICAS    1000
#define POLICIES    100
#define PORT_DENIED 81
#define CHUNK	    500 /* objects decoded at once */

struct bench {
	struct harness node;
	struct scatter_bpf *wrapper;
	const char *only;
	int rounds;
	uint32_t repeat;
};

_Noreturn static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-policy: %s: %s\n", what, why);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static struct sandbox *open_world(struct bench *b)
{
	char message[HARNESS_ERROR];
	struct sandbox *sandbox;

	unlink(STATE);
	if (sandbox_open(&b->node.config, &b->node.node, STATE, &sandbox, message,
			 sizeof(message)) < 0)
		fail("a world", message);
	return sandbox;
}

/* ---------------------------------------------------------------- objects */

/* Objects as text, gathered to be decoded. */
struct objects {
	struct sandbox *sandbox;
	char *text;
	size_t length, count;
	FILE *out;
};

static void objects_begin(struct objects *o, struct sandbox *sandbox)
{
	*o = (struct objects){.sandbox = sandbox};
	o->out = open_memstream(&o->text, &o->length);
	fputc('[', o->out);
}

static void objects_end(struct objects *o)
{
	struct error error = {};
	struct object_list list = {};
	char *c;
	size_t i;

	fputc(']', o->out);
	fclose(o->out);
	for (c = o->text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (objects_decode(o->text, o->length, &list, &error) < 0)
		fail(error.path, error.text);
	for (i = 0; i < list.count; i++)
		if (sandbox_put(o->sandbox, list.objects[i]) < 0)
			fail("put", "no memory");
	list.count = 0;
	object_list_clear(&list);
	free(o->text);
}

/* JSON with ' for ". */
__attribute__((format(printf, 2, 3))) static void object_add(struct objects *o, const char *format,
							     ...)
{
	va_list args;

	if (o->count && o->count % CHUNK == 0) {
		struct sandbox *sandbox = o->sandbox;

		objects_end(o);
		objects_begin(o, sandbox);
	}
	if (o->count % CHUNK)
		fputc(',', o->out);
	o->count++;
	va_start(args, format);
	vfprintf(o->out, format, args);
	va_end(args);
}

static void policy_add(struct objects *o, const char *name, int number, const char *spec)
{
	object_add(o,
		   "{'apiVersion':'networking.k8s.io/"
		   "v1','kind':'NetworkPolicy','metadata':{'namespace':'a','name':'%s%d'},"
		   "'spec':{%s}}",
		   name, number, spec);
}

/* A pod of another node, of a kind of its own if `kind` is. */
static void remote_pod_add(struct objects *o, uint32_t number, uint32_t kind)
{
	object_add(o,
		   "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'a','name':'p%u','"
		   "labels':{'kind':'k%u','third':'%u'}},"
		   "'spec':{'nodeName':'n2'},'status':{'podIPs':[{'ip':'10.%u.%u.%u'},{'ip':'fd00:"
		   "2::%x:%x'}]}}",
		   number, kind, kind % 3, 128 + (number >> 16), number >> 8 & 255, number & 255,
		   number >> 16, number & 0xffff);
}

static void attach(struct sandbox *sandbox, uint32_t number, int ifindex, const char *role)
{
	struct local_pod pod = {.namespace = "a",
				.ifname = "eth0",
				.ifindex = ifindex,
				.mtu = 1500,
				.mac = {2, 0, 0, 0, number >> 8, number}};
	char name[32], text[64];

	snprintf(name, sizeof(name), "replica%u", number);
	pod.name = pod.container_id = name;
	snprintf(text, sizeof(text), "10.1.%u.%u", number >> 8, number & 255);
	addr_parse(text, &pod.ipv4);
	snprintf(text, sizeof(text), "fd00:1::%x", number);
	addr_parse(text, &pod.ipv6);
	labels_set(&pod.labels, "role", role);
	if (sandbox_attach(sandbox, &pod) < 0)
		fail(name, "cannot be attached");
	labels_clear(&pod.labels);
}

/* Without what the agent waits for between a run and its end. */
static void reconcile(struct sandbox *sandbox)
{
	bool again;

	if (sandbox_run(sandbox, &again) < 0)
		fail("pass", "it failed");
	sandbox_commit(sandbox);
}

/* ---------------------------------------------------------------- many replicas under many
 * policies */

static const enum map_index measured_maps[] = {
	MAP_RULESETS,	   MAP_RULESET_PEERS,  MAP_RULESET_PREFIXES, MAP_RULESET_PORTS,
	MAP_RULESET_CELLS, MAP_RULESET_TABLES, MAP_RULE_COUNTERS,    MAP_ADDRESSES};
#define MEASURED_MAPS (sizeof(measured_maps) / sizeof(measured_maps[0]))

/* What the kernel says the map takes. */
static long kernel_bytes(struct sandbox *sandbox, enum map_index index)
{
	char path[64], line[128];
	long bytes = -1;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", maps_fd(sandbox_maps(sandbox), index));
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		sscanf(line, "memlock: %ld", &bytes);
	if (in)
		fclose(in);
	return bytes;
}

/* Elements; of an array those that are not zero. */
static size_t entry_count(const struct map_info *info, struct maps *maps, enum map_index index)
{
	static const char zeros[64];
	char key[64], next[64];
	size_t count = 0;
	bool more = bpf_map_get_next_key(info->fd, NULL, next) == 0;

	for (uint32_t i = 0; maps_element(maps, index, i); i++)
		count += memcmp(maps_element(maps, index, i), zeros, info->value_size) != 0;
	if (maps_element(maps, index, 0))
		return count;
	while (more) {
		count++;
		memcpy(key, next, info->key_size);
		more = bpf_map_get_next_key(info->fd, key, next) == 0;
	}
	return count;
}

static json_t *map_sizes(struct sandbox *sandbox, const long empty[MEASURED_MAPS])
{
	json_t *all = json_array();
	size_t i;

	for (i = 0; i < MEASURED_MAPS; i++) {
		const struct map_info *info = maps_get(sandbox_maps(sandbox), measured_maps[i]);
		size_t count = entry_count(info, sandbox_maps(sandbox), measured_maps[i]);

		json_array_append_new(
			all, json_pack("{s:s, s:I, s:I, s:I}", "map", info->name, "entries",
				       (json_int_t)count, "bytes",
				       (json_int_t)(count * (info->key_size + info->value_size)),
				       "kernel_bytes",
				       (json_int_t)(kernel_bytes(sandbox, measured_maps[i]) -
						    empty[i])));
	}
	return all;
}

/* One of the hundred: half of them say who may come, half where to. `variant` is what a change
 * changes. */
static void replica_policy(struct objects *o, int number, int variant)
{
	char spec[512];

	if (number % 2)
		snprintf(spec, sizeof(spec),
			 "'podSelector':{'matchLabels':{'role':'replica'}},'policyTypes':['Ingress'"
			 "],"
			 "'ingress':[{'from':[{'podSelector':{'matchLabels':{'kind':'k%d'}}}],'"
			 "ports':[{'port':%d}]}]",
			 number, 8000 + number + 1000 * variant);
	else
		snprintf(
			spec, sizeof(spec),
			"'podSelector':{'matchLabels':{'role':'replica'}},'policyTypes':['Egress'],"
			"'egress':[{'to':[{'ipBlock':{'cidr':'203.0.%d.0/"
			"24','except':['203.0.%d.%d/32']}}],"
			"'ports':[{'port':443}]}]",
			number, number, 1 + variant);
	policy_add(o, "q", number, spec);
}

static void change_policy(struct sandbox *sandbox, int round)
{
	struct objects o;

	objects_begin(&o, sandbox);
	replica_policy(&o, 17 + round % 2, 1 + round / 2 % 2);
	objects_end(&o);
}

static void change_pod(struct sandbox *sandbox, int round)
{
	struct objects o;

	objects_begin(&o, sandbox);
	remote_pod_add(&o, 5, round % 2 ? 5 : 1005);
	objects_end(&o);
}

static void change_namespace(struct sandbox *sandbox, int round)
{
	struct objects o;

	objects_begin(&o, sandbox);
	object_add(&o,
		   "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'a','labels':{'round':"
		   "'%d'}}}",
		   round);
	objects_end(&o);
}

static void change_replica(struct sandbox *sandbox, int round)
{
	char name[32];

	(void)round;
	snprintf(name, sizeof(name), "replica%u", REPLICAS / 2);
	if (sandbox_detach(sandbox, name, "eth0") < 0)
		fail(name, "is not attached");
	reconcile(sandbox);
	attach(sandbox, REPLICAS / 2, 10000 + REPLICAS / 2, "replica");
}

/* Median time of the run that puts a change in force, and of what follows later, without the wait.
 */
static json_t *time_change(struct bench *b, struct sandbox *sandbox, const char *name,
			   void (*change)(struct sandbox *, int))
{
	double pass_us[ROUNDS_MAX], finish_us[ROUNDS_MAX];
	bool again;
	int i;

	for (i = 0; i < b->rounds; i++) {
		double begin;

		change(sandbox, i);
		begin = now_us();
		if (sandbox_run(sandbox, &again) < 0)
			fail(name, "the run failed");
		pass_us[i] = now_us() - begin;
		begin = now_us();
		sandbox_commit(sandbox);
		finish_us[i] = now_us() - begin;
	}
	return json_pack("{s:s, s:f, s:f}", "change", name, "pass_us", median(pass_us, b->rounds),
			 "finish_us", median(finish_us, b->rounds));
}

static json_t *measure_scale(struct bench *b)
{
	struct sandbox *sandbox = open_world(b);
	json_t *changes = json_array(), *maps;
	long empty[MEASURED_MAPS];
	struct objects o;
	size_t m;
	int i;

	for (m = 0; m < MEASURED_MAPS; m++)
		empty[m] = kernel_bytes(sandbox, measured_maps[m]);
	for (i = 0; i < REPLICAS; i++)
		attach(sandbox, i, 10000 + i, "replica");
	objects_begin(&o, sandbox);
	for (i = 0; i < POLICIES; i++)
		replica_policy(&o, i, 0);
	for (i = 0; i < POLICIES; i++)
		remote_pod_add(&o, i, i);
	for (i = 0; i < REPLICAS; i++)
		object_add(&o,
			   "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'a','name':'"
			   "replica%d','labels':{'role':'replica'}},"
			   "'spec':{'nodeName':'n1'},'status':{'podIPs':[{'ip':'10.1.%d.%d'},{'ip':"
			   "'fd00:1::%x'}]}}",
			   i, i >> 8, i & 255, i);
	objects_end(&o);
	reconcile(sandbox);
	maps = map_sizes(sandbox, empty);
	json_array_append_new(changes, time_change(b, sandbox, "a policy's rule", change_policy));
	json_array_append_new(changes, time_change(b, sandbox, "a peer's labels", change_pod));
	json_array_append_new(changes,
			      time_change(b, sandbox, "the namespace's labels", change_namespace));
	json_array_append_new(changes, time_change(b, sandbox, "a replica comes", change_replica));
	sandbox_close(sandbox);
	return json_pack("{s:i, s:i, s:i, s:o, s:o}", "replicas", REPLICAS, "policies", POLICIES,
			 "pods_bytes", (int)(REPLICAS * sizeof(struct pod_entry)), "maps", maps,
			 "changes", changes);
}

/* ---------------------------------------------------------------- an evaluated packet */

/* Sources of the packets: `count` addresses, `stride` apart. */
struct sources {
	const char *v4, *v6;
	uint32_t count, stride;
};

/* ns of the wrapper alone, or with the program behind it. The packet is denied by default: all
 * look-ups are made and no flow stays. */
static double run_once(struct bench *b, struct sandbox *sandbox, const struct sources *s, bool v6,
		       bool with_program)
{
	struct scatter *scatter =
		&(struct scatter){.count = s->count, .stride = s->stride, .at = 1, .v6 = v6};
	int target = with_program
			     ? datapath_program_fd(sandbox_datapath(sandbox), DATAPATH_FROM_WIRE)
			     : bpf_program__fd(b->wrapper->progs.nobody);
	struct __sk_buff skb = {.ifindex = HARNESS_UPLINK, .ingress_ifindex = HARNESS_UPLINK};
	struct polder_addr source, destination;
	struct datagram datagram;
	uint32_t zero = 0;

	addr_parse(v6 ? s->v6 : s->v4, &source);
	addr_parse(v6 ? "fd00:1::1" : "10.1.0.1", &destination);
	datagram_make(&datagram, (uint8_t[6]){2, 0, 0, 0, 0, 1}, pods_gateway_mac, &source,
		      &destination, PORT_DENIED);
	memcpy(scatter->header, datagram.frame, v6 ? SCATTER_HEADER_V6 : SCATTER_HEADER_V4);
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = datagram.frame,
		    .data_size_in = datagram.length, .ctx_in = &skb, .ctx_size_in = sizeof(skb),
		    .repeat = b->repeat);
	if (bpf_map_update_elem(bpf_map__fd(b->wrapper->maps.scatters), &zero, scatter, BPF_ANY) ||
	    bpf_map_update_elem(bpf_map__fd(b->wrapper->maps.measured), &zero, &target, BPF_ANY) ||
	    bpf_prog_test_run_opts(bpf_program__fd(b->wrapper->progs.scatter), &options))
		fail("test-run", strerror(errno));
	if (options.retval != TC_ACT_SHOT)
		fail("test-run", "the packet was not denied");
	return options.duration;
}

static uint64_t denied(struct sandbox *sandbox)
{
	uint32_t index = REASON_POLICY_INGRESS * DROP_HOOKS + DROP_FROM_WIRE;
	int cpus = libbpf_num_possible_cpus(), i;
	struct drop_counter values[cpus];
	uint64_t sum = 0;

	if (maps_find(sandbox_maps(sandbox), MAP_DROPS, &index, values) < 0)
		fail("drops", "cannot be read");
	for (i = 0; i < cpus; i++)
		sum += values[i].packets;
	return sum;
}

static double measure_packet(struct bench *b, struct sandbox *sandbox, const struct sources *s,
			     bool v6)
{
	uint64_t before = denied(sandbox);
	double net[ROUNDS_MAX];
	int i;

	for (i = 0; i < b->rounds; i++) {
		double empty = run_once(b, sandbox, s, v6, false);

		net[i] = run_once(b, sandbox, s, v6, true) - empty;
	}
	if (denied(sandbox) - before != (uint64_t)b->rounds * b->repeat)
		fail("test-run", "not every packet was denied by ingress policy");
	return median(net, b->rounds);
}

/* One more policy that says something else each time. */
static void change_one(struct sandbox *sandbox, int round)
{
	struct objects o;
	char spec[256];

	objects_begin(&o, sandbox);
	snprintf(spec, sizeof(spec),
		 "'podSelector':{'matchLabels':{'role':'target'}},'ingress':[{'from':[{'"
		 "podSelector':{'matchLabels':{'kind':'k1'}}}],"
		 "'ports':[{'protocol':'UDP','port':%d}]}]",
		 200 + round % 2);
	policy_add(&o, "z", 0, spec);
	objects_end(&o);
}

/* A local pod that policies isolate, and packets from `s` that they do not let in. */
static json_t *measure_case(struct bench *b, const char *what, uint32_t number,
			    const struct sources *s, void (*add)(struct objects *, uint32_t number))
{
	struct sandbox *sandbox = open_world(b);
	json_t *result, *changed;
	double v4, v6, begin, pass_us;
	struct objects o;

	attach(sandbox, 1, HARNESS_FIRST_POD, "target");
	objects_begin(&o, sandbox);
	add(&o, number);
	objects_end(&o);
	begin = now_us();
	reconcile(sandbox);
	pass_us = now_us() - begin;
	v4 = measure_packet(b, sandbox, s, false);
	v6 = measure_packet(b, sandbox, s, true);
	changed = time_change(b, sandbox, "a policy", change_one);
	sandbox_close(sandbox);
	result = json_pack("{s:s, s:I, s:f, s:f, s:f, s:O}", "of", what, "number",
			   (json_int_t)number, "ns_v4", v4, "ns_v6", v6, "first_run_ms",
			   pass_us / 1e3, "change_us", json_object_get(changed, "pass_us"));
	fprintf(stderr, "  %7u %-12s %5.0f ns %5.0f ns, first pass %.1f ms, a change %.2f ms\n",
		number, what, v4, v6, pass_us / 1e3,
		json_real_value(json_object_get(changed, "pass_us")) / 1e3);
	json_decref(changed);
	return result;
}

/* One line of the table, unless another one is asked for. */
static void add_case(struct bench *b, json_t *results, const char *what, uint32_t number,
		     const struct sources *s, void (*add)(struct objects *, uint32_t number))
{
	char name[64];

	snprintf(name, sizeof(name), "%u %s", number, what);
	if (strstr(name, b->only))
		json_array_append_new(results, measure_case(b, what, number, s, add));
}

/* Two thirds of the kinds may come to another port. */
static void add_identities(struct objects *o, uint32_t number)
{
	uint32_t i;

	policy_add(o, "i", 0,
		   "'podSelector':{'matchLabels':{'role':'target'}},'ingress':["
		   "{'from':[{'podSelector':{'matchLabels':{'third':'0'}}}],'ports':[{'protocol':'"
		   "UDP','port':90}]},"
		   "{'from':[{'podSelector':{'matchLabels':{'third':'1'}}}],'ports':[{'protocol':'"
		   "UDP','port':91}]}]");
	for (i = 0; i < number; i++)
		remote_pod_add(o, i, i);
}

static void add_blocks(struct objects *o, uint32_t number)
{
	uint32_t done = 0, n, i;

	for (n = 0; done < number; n++) {
		char *spec;
		size_t size;
		FILE *out = open_memstream(&spec, &size);

		fprintf(out, "'podSelector':{'matchLabels':{'role':'target'}},'ingress':[{'ports':["
			     "{'protocol':'UDP','port':90}],'from':[");
		for (i = 0; i < 1000 && done < number; i++, done++)
			fprintf(out,
				"%s{'ipBlock':{'cidr':'20.%u.%u.0/"
				"24'}},{'ipBlock':{'cidr':'fd00:20::%x:0/120'}}",
				i ? "," : "", done >> 8, done & 255, done);
		fprintf(out, "]}]");
		fclose(out);
		policy_add(o, "b", n, spec);
		free(spec);
	}
}

static void add_policies(struct objects *o, uint32_t number)
{
	char spec[512];
	uint32_t i;

	for (i = 0; i < number; i++) {
		snprintf(spec, sizeof(spec),
			 "'podSelector':{'matchLabels':{'role':'target'}},'ingress':["
			 "{'from':[{'podSelector':{'matchLabels':{'kind':'k%u'}}},{'ipBlock':{'"
			 "cidr':'20.0.%u.0/28'}}],"
			 "'ports':[{'protocol':'UDP','port':%u},{'protocol':'TCP','port':80}]}]",
			 i, i & 255, 1000 + i);
		policy_add(o, "p", i, spec);
	}
	for (i = 0; i < 1000; i++)
		remote_pod_add(o, i, i);
}

static void measure_lookups(struct bench *b, bool quick, json_t *results)
{
	static const uint32_t identities[] = {10, 1000, 100000}, blocks[] = {10, 100, 1000, 10000},
			      policies[] = {1, 10, 100, 1000};
	size_t i;

	for (i = 0; i < (quick ? 2 : 3); i++)
		add_case(b, results, "identities", identities[i],
			 &(struct sources){"10.128.0.0", "fd00:2::", identities[i], 1},
			 add_identities);
	for (i = 0; i < (quick ? 2 : 4); i++)
		add_case(b, results, "CIDRs", blocks[i],
			 &(struct sources){"20.0.0.7", "fd00:20::7", blocks[i], 256}, add_blocks);
	for (i = 0; i < (quick ? 2 : 4); i++)
		add_case(b, results, "policies", policies[i],
			 &(struct sources){"10.128.0.0", "fd00:2::", 1000, 1}, add_policies);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	struct bench b = {.only = argc > 1 + quick ? argv[1 + quick] : "",
			  .rounds = quick ? 3 : 15,
			  .repeat = quick ? 20000 : 200000};
	CLEANUP(cleanup_json)
	json_t *request = json_pack("{s:i, s:i, s:[s, s]}", "pods", 1, "max_policy_entries",
				    ENTRIES, "pod_ranges", "10.1.0.0/16", "fd00:1::/64");
	CLEANUP(cleanup_json) json_t *result = json_object();
	json_t *lookups = json_array();

	if (harness_open(&b.node, request, result) < 0)
		fail("the node", b.node.error);
	sandbox_close(TAKE_PTR(b.node.sandbox)); /* each part has a world of its own */
	b.wrapper = scatter_bpf__open_and_load();
	if (!b.wrapper)
		fail("the wrapper", strerror(errno));
	json_object_clear(result);
	if (strstr("scale", b.only))
		json_object_set_new(result, "scale", measure_scale(&b));
	measure_lookups(&b, quick, lookups);
	json_object_set_new(result, "lookups", lookups);
	json_dumpf(result, stdout, JSON_INDENT(1));
	putchar('\n');
	scatter_bpf__destroy(b.wrapper);
	harness_close(&b.node);
	return 0;
}
