/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints a Service's port has. */
#include "agent/services/service_endpoints.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

struct world {
	struct object_list list;
	const struct object *service;
	const struct object *slices[8];
	size_t slice_count;
	struct service_pod pods[8];
	size_t pod_count;
	struct endpoints_from from;
	struct endpoints found;
};

/* 10.0.0.* */
static bool is_here(const struct polder_addr *addr, const void *data)
{
	return addr->bytes[12] == 10 && !addr->bytes[13] && !addr->bytes[14];
}

/* Objects in short; the Service comes first, slices and pods follow. */
static void begin(struct world *world, const char *text)
{
	struct error error = {};
	size_t i;

	*world = (struct world){.from = {.node = "n1", .is_here = is_here}};
	if (objects_decode(text, strlen(text), &world->list, &error) < 0) {
		printf("%s: %s\n", error.path, error.text);
		CU_FAIL_FATAL("the objects cannot be decoded");
	}
	for (i = 0; i < world->list.count; i++) {
		struct object *o = world->list.objects[i];

		if (o->kind == OBJECT_SERVICE)
			world->service = o;
		else if (o->kind == OBJECT_ENDPOINT_SLICE)
			world->slices[world->slice_count++] = o;
		else
			world->pods[world->pod_count++] = (struct service_pod){
				.namespace = o->namespace,
				.labels = &o->labels,
				.object = o,
				.addresses = o->pod.addresses,
				.address_count = o->pod.address_count,
			};
	}
}

static void collect(struct world *world, bool v4)
{
	endpoints_clear(&world->found);
	world->from.service = world->service;
	world->from.slices = world->slices;
	world->from.slice_count = world->slice_count;
	world->from.pods = world->pods;
	world->from.pod_count = world->pod_count;
	CU_ASSERT(endpoints_collect(&world->from, &world->service->service.ports[0], v4,
				    &world->found) == 0);
}

static void end(struct world *world)
{
	endpoints_clear(&world->found);
	object_list_clear(&world->list);
}

/* "10.0.0.1:80 10.0.0.2:80" */
static const char *text_of(const struct backend *list, size_t count)
{
	static char text[1024];
	char addr[INET6_ADDRSTRLEN];
	size_t length = 0, i;

	text[0] = '\0';
	for (i = 0; i < count; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s:%d",
					   i ? " " : "", addr_format(&list[i].addr, addr),
					   ntohs(list[i].port_be));
	return text;
}

#define ACTIVE(world, expected)                                                                    \
	CU_ASSERT_STRING_EQUAL(text_of((world).found.active, (world).found.active_count), expected)
#define TERMINATING(world, expected)                                                               \
	CU_ASSERT_STRING_EQUAL(                                                                    \
		text_of((world).found.terminating, (world).found.terminating_count), expected)

#define SERVICE(spec)                                                                              \
	"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"     \
	"\"clusterIP\":\"10.96.0.1\"," spec "}}"
#define PORT "\"ports\":[{\"name\":\"http\",\"port\":80,\"targetPort\":8080}]"
#define SLICE(name, type, ports, endpoints)                                                        \
	"{\"apiVersion\":\"discovery.k8s.io/"                                                      \
	"v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"" name                           \
	"\",\"labels\":{\"kubernetes.io/service-name\":\"s\"}},\"addressType\":\"" type            \
	"\",\"ports\":[" ports "],\"endpoints\":[" endpoints "]}"
#define HTTP "{\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"}"
#define ENDPOINT(address, conditions)                                                              \
	"{\"addresses\":[\"" address "\"],\"conditions\":{" conditions "}}"
#define POD(name, labels, address, conditions, ports)                                              \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"" name                   \
	"\",\"labels\":{" labels "}},\"spec\":{\"containers\":[{\"name\":\"c\",\"ports\":[" ports  \
	"]}]},\"status\":{\"podIP\":\"" address "\",\"conditions\":[" conditions "]}}"
#define READY	  "{\"type\":\"Ready\",\"status\":\"True\"}"
#define NOT_READY "{\"type\":\"Ready\",\"status\":\"False\"}"

static void ready_endpoints_take_new_flows(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE(PORT) "," SLICE(
		      "a", "IPv4", HTTP,
		      ENDPOINT("10.0.0.2", "\"ready\":true") "," ENDPOINT(
			      "10.0.0.1", "") "," ENDPOINT("10.0.0.3", "\"ready\":false")) "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080 10.0.0.2:8080");
	TERMINATING(world, "10.0.0.3:8080");
	collect(&world, false);
	ACTIVE(world, "");
	end(&world);
}

static void serving_endpoints_that_terminate_step_in_when_none_is_ready(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE(PORT) "," SLICE(
		      "a", "IPv4", HTTP,
		      ENDPOINT("10.0.0.1",
			       "\"ready\":false,\"serving\":true,\"terminating\":"
			       "true") "," ENDPOINT("10.0.0.2", "\"ready\":false,\"serving\":false,"
								"\"terminating\":true")) "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080");
	TERMINATING(world, "10.0.0.2:8080");
	end(&world);
	begin(&world, "[" SERVICE(PORT) "," SLICE(
			      "a", "IPv4", HTTP,
			      ENDPOINT("10.0.0.1",
				       "\"ready\":false,\"serving\":true,"
				       "\"terminating\":true") "," ENDPOINT("10.0.0.2",
									    "\"ready\":true")) "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.2:8080");
	TERMINATING(world, "10.0.0.1:8080");
	end(&world);
}

static void an_endpoint_in_two_slices_counts_once_as_its_readier_self(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE(PORT) "," SLICE(
		      "a", "IPv4", HTTP,
		      ENDPOINT("10.0.0.1",
			       "\"ready\":false")) "," SLICE("b", "IPv4", HTTP,
							     ENDPOINT("10.0.0.1",
								      "\"ready\":true")) "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080");
	TERMINATING(world, "");
	end(&world);
}

static void the_order_of_slices_changes_nothing(void)
{
	struct world world;
	const struct object *first;

	begin(&world, "[" SERVICE(PORT) "," SLICE(
			      "a", "IPv4", HTTP,
			      ENDPOINT("10.0.0.9", "") "," ENDPOINT(
				      "10.0.0.1", "")) "," SLICE("b", "IPv4", HTTP,
								 ENDPOINT("10.0.0.5", "")) "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080 10.0.0.5:8080 10.0.0.9:8080");
	first = world.slices[0];
	world.slices[0] = world.slices[1];
	world.slices[1] = first;
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080 10.0.0.5:8080 10.0.0.9:8080");
	end(&world);
}

static void a_port_of_another_name_or_protocol_is_none(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE(PORT) "," SLICE(
		      "a", "IPv4", "{\"name\":\"other\",\"port\":8080,\"protocol\":\"TCP\"}",
		      ENDPOINT("10.0.0.1", "")) "," SLICE("b", "IPv4",
							  "{\"name\":\"http\",\"port\":8080,"
							  "\"protocol\":\"UDP\"}",
							  ENDPOINT("10.0.0.2", "")) "]");
	collect(&world, true);
	ACTIVE(world, "");
	end(&world);
}

static void pods_serve_a_selector_without_slices(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE(PORT ",\"selector\":{\"app\":\"a\"}") "," POD(
		      "p", "\"app\":\"a\"", "10.0.0.1", READY,
		      "") "," POD("q", "\"app\":\"a\"", "10.0.0.2", NOT_READY,
				  "") "," POD("r", "\"app\":\"b\"", "10.0.0.3", READY, "") "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080");
	TERMINATING(world, "10.0.0.2:8080");
	end(&world);
}

static void slices_win_over_the_selector(void)
{
	struct world world;

	begin(&world, "[" SERVICE(PORT ",\"selector\":{\"app\":\"a\"}") "," POD(
			      "p", "\"app\":\"a\"", "10.0.0.1", READY, "") "," SLICE("a", "IPv4",
										     HTTP, "") "]");
	collect(&world, true);
	ACTIVE(world, "");
	TERMINATING(world, "");
	end(&world);
}

static void a_target_port_by_name_is_each_pods_own(void)
{
	struct world world;

	begin(&world,
	      "[" SERVICE("\"ports\":[{\"port\":80,\"targetPort\":\"web\"}],\"selector\":{}") "," POD(
		      "p", "", "10.0.0.1", READY,
		      "{\"name\":\"web\",\"containerPort\":1000}") "," POD("q", "", "10.0.0.2",
									   READY,
									   "{\"name\":\"web\","
									   "\"containerPort\":"
									   "2000}") "," POD("r", "",
											    "10.0."
											    "0.3",
											    READY,
											    "{\"nam"
											    "e\":"
											    "\"web"
											    "\","
											    "\"cont"
											    "ainerP"
											    "ort\":"
											    "3000,"
											    "\"prot"
											    "ocol\""
											    ":\"UDP"
											    "\"}") "]");
	if (!world.service->service.has_selector) {
		/* An empty selector is none in the API. */
		((struct object *)world.service)->service.has_selector = true;
	}
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:1000 10.0.0.2:2000");
	end(&world);
}

static void unready_pods_are_published_where_the_service_says_so(void)
{
	struct world world;

	begin(&world, "[" SERVICE(PORT ",\"selector\":{\"app\":\"a\"},\"publishNotReadyAddresses\":"
				       "true") "," POD("p", "\"app\":\"a\"", "10.0.0.1", NOT_READY,
						       "") "]");
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080");
	end(&world);
}

static void a_finished_pod_serves_nothing(void)
{
	struct world world;

	begin(&world, "[" SERVICE(PORT ",\"selector\":{\"app\":\"a\"}") "," POD(
			      "p", "\"app\":\"a\"", "10.0.0.1", READY, "") "]");
	((struct object *)world.pods[0].object)->pod.finished = true;
	collect(&world, true);
	ACTIVE(world, "");
	TERMINATING(world, "");
	end(&world);
}

static void a_pod_without_an_object_is_ready(void)
{
	struct world world;

	begin(&world, "[" SERVICE(PORT ",\"selector\":{\"app\":\"a\"}") "," POD(
			      "p", "\"app\":\"a\"", "10.0.0.1", NOT_READY, "") "]");
	world.pods[0].object = NULL;
	collect(&world, true);
	ACTIVE(world, "10.0.0.1:8080");
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(ready_endpoints_take_new_flows),
		UNIT_TEST(serving_endpoints_that_terminate_step_in_when_none_is_ready),
		UNIT_TEST(an_endpoint_in_two_slices_counts_once_as_its_readier_self),
		UNIT_TEST(the_order_of_slices_changes_nothing),
		UNIT_TEST(a_port_of_another_name_or_protocol_is_none),
		UNIT_TEST(pods_serve_a_selector_without_slices),
		UNIT_TEST(slices_win_over_the_selector),
		UNIT_TEST(a_target_port_by_name_is_each_pods_own),
		UNIT_TEST(unready_pods_are_published_where_the_service_says_so),
		UNIT_TEST(a_finished_pod_serves_nothing),
		UNIT_TEST(a_pod_without_an_object_is_ready),
	};

	return UNIT_RUN("services", tests);
}
