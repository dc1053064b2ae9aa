/* SPDX-License-Identifier: Apache-2.0 */
/* Which sockets of the node have to leave their endpoint, and when they are looked for. Needs
 * root. */
#include "agent/services/socket_ends.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include "agent/config/config.h"
#include "agent/kernel/flows.h"
#include "agent/kernel/netlink.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM   64
#define SECOND 1000000000ull
/* Ticks: a socket that was noted so long ago is connected by now. */
#define LONG_AGO 1000

struct world {
	struct config config;
	struct node node;
	struct maps *maps;
	struct store *store;
	struct services *services;
	struct socket_ends *ends;
	uint64_t now;
};

static int no_pods(const char *namespace, const struct service_pod **ret, size_t *ret_count,
		   void *data)
{
	*ret_count = 0;
	return 0;
}

static void on_change(const struct object *object, bool deleted, void *data)
{
	struct world *w = data;

	services_object_changed(w->services, object, deleted);
}

static void on_lost(const struct service_key *service, const struct backend *endpoint, void *data)
{
	struct world *w = data;

	socket_ends_lost(w->ends, service, endpoint, w->now);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(ROOM), .now = SECOND};
	w->maps = small_maps(&w->config, NULL);
	w->store = store_new();
	CU_ASSERT_FATAL(w->store != NULL);
	const struct services_env env = {
		.maps = w->maps,
		.store = w->store,
		.config = &w->config,
		.node = &w->node,
		.pods = no_pods,
	};

	CU_ASSERT_FATAL(services_open(&env, &w->services) == 0);
	w->ends = socket_ends_new(w->maps, w->services);
	CU_ASSERT_FATAL(w->ends != NULL);
	services_on_lost(w->services, on_lost, w);
	store_listen(w->store, on_change, w);
}

static void end(struct world *w)
{
	socket_ends_free(w->ends);
	services_close(w->services);
	store_free(w->store);
	maps_close(w->maps);
}

/* The Service 10.96.0.1, of UDP and TCP port 80, has these endpoints 10.1.1.N:8080, those of
 * `ending` on their way out, those of `silent` not ready; NULL: it is deleted. */
static void serve_all(struct world *w, const char *active, const char *ending, const char *silent)
{
	static char text[8192];
	struct object_list list = {};
	struct error error = {};
	size_t at = 0;

	at += snprintf(text, sizeof(text),
		       "[{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},"
		       "\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":["
		       "{\"name\":\"u\",\"port\":80,\"protocol\":\"UDP\"},"
		       "{\"name\":\"t\",\"port\":80}]}},"
		       "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\","
		       "\"metadata\":{\"name\":\"s\",\"labels\":{\"kubernetes.io/service-name\":"
		       "\"s\"}},\"addressType\":\"IPv4\",\"ports\":["
		       "{\"name\":\"u\",\"port\":8080,\"protocol\":\"UDP\"},"
		       "{\"name\":\"t\",\"port\":8080}],\"endpoints\":[");
	for (const char *c = active; c && *c; c++)
		at += snprintf(text + at, sizeof(text) - at, "{\"addresses\":[\"10.1.1.%c\"]},",
			       *c);
	for (const char *c = ending; c && *c; c++)
		at += snprintf(text + at, sizeof(text) - at,
			       "{\"addresses\":[\"10.1.1.%c\"],\"conditions\":{\"ready\":false,"
			       "\"serving\":true,\"terminating\":true}},",
			       *c);
	for (const char *c = silent; c && *c; c++)
		at += snprintf(text + at, sizeof(text) - at,
			       "{\"addresses\":[\"10.1.1.%c\"],\"conditions\":{\"ready\":false}},",
			       *c);
	if (text[at - 1] == ',')
		at--;
	snprintf(text + at, sizeof(text) - at, "]}]");
	if (active)
		CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT_FATAL(store_replace(w->store, "s", &list) == 0);
	object_list_clear(&list);
	CU_ASSERT(services_apply(w->services) == 0);
}

static void serve(struct world *w, const char *active, const char *ending)
{
	serve_all(w, active, ending, "");
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

/* A UDP socket of the node that is connected to 10.1.1.N:8080. */
static int connected(int n)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(8080),
				 .sin_addr.s_addr = htonl(0x0a010100u + (uint32_t)n)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_FATAL(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	return fd;
}

/* As a program does for a socket that asked for `service` and got 10.1.1.N. */
static void remember(struct world *w, uint64_t cookie, const char *service, int n, uint32_t ago)
{
	char text[32];
	struct socket_peer peer = {.service = addr(service),
				   .service_port_be = htons(80),
				   .endpoint_port_be = htons(8080),
				   .proto = IPPROTO_UDP,
				   .since = flows_now() - ago};

	snprintf(text, sizeof(text), "10.1.1.%d", n);
	peer.endpoint = addr(text);
	CU_ASSERT_FATAL(maps_put(w->maps, MAP_SOCKET_PEERS, &cookie, &peer) == 0);
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	CU_ASSERT_FATAL(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0);
	return cookie;
}

static int by_service(struct world *w, const char *service, int n)
{
	int fd = connected(n);

	remember(w, cookie_of(fd), service, n, LONG_AGO);
	return fd;
}

static int error_of(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);

	CU_ASSERT_FATAL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
	return error;
}

static bool is_ended(int fd)
{
	return error_of(fd) == ECONNABORTED;
}

/* Takes the look that is due. False: none is. */
static bool look(struct world *w)
{
	struct socket_look look;

	if (!socket_ends_begin(w->ends, w->now, &look))
		return false;
	socket_ends_finish(w->ends, &look, socket_look_run(&look), w->now);
	w->now += SOCKET_ENDS_WAIT_MIN_NS;
	return true;
}

static void a_socket_leaves_an_endpoint_that_went_and_others_stay(void)
{
	struct world w;
	int going, other, direct, service;

	begin(&w);
	serve(&w, "12", "");
	going = by_service(&w, "10.96.0.1", 1);
	other = by_service(&w, "10.96.0.1", 2);
	service = by_service(&w, "10.96.0.2", 1);
	direct = connected(1);
	CU_ASSERT(!look(&w));
	serve(&w, "2", "");
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(going));
	CU_ASSERT(!is_ended(other) && !is_ended(service) && !is_ended(direct));
	close(going);
	close(other);
	close(service);
	close(direct);
	end(&w);
}

static void a_socket_that_has_connected_elsewhere_stays(void)
{
	struct world w;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = connected(3);
	remember(&w, cookie_of(fd), "10.96.0.1", 1, 0);
	serve(&w, "", "");
	CU_ASSERT(look(&w));
	CU_ASSERT(!is_ended(fd));
	close(fd);
	end(&w);
}

/* More than the kernel can be asked for by name. */
static void of_many_lost_endpoints_the_right_sockets_are_ended(void)
{
	struct socket_look taken = {.lost = calloc(40, sizeof(*taken.lost)), .lost_count = 40};
	struct world w;
	int going, elsewhere;
	char text[32];

	begin(&w);
	CU_ASSERT_FATAL(taken.lost != NULL);
	taken.maps = w.maps;
	for (int i = 0; i < 40; i++) {
		snprintf(text, sizeof(text), "10.1.1.%d", 10 + i);
		taken.lost[i].service = (struct service_key){
			.addr = addr("10.96.0.1"), .port_be = htons(80), .proto = IPPROTO_UDP};
		taken.lost[i].endpoint =
			(struct backend){.addr = addr(text), .port_be = htons(8080)};
		remember(&w, (uint64_t)i + 1, "10.96.0.1", 10 + i, LONG_AGO);
	}
	going = by_service(&w, "10.96.0.1", 11);
	elsewhere = connected(3);
	remember(&w, cookie_of(elsewhere), "10.96.0.1", 12, LONG_AGO);
	CU_ASSERT_EQUAL(socket_look_run(&taken), 0);
	CU_ASSERT_EQUAL(taken.ended_udp, 1);
	CU_ASSERT(is_ended(going) && !is_ended(elsewhere));
	socket_look_clear(&taken);
	close(going);
	close(elsewhere);
	end(&w);
}

static void an_endpoint_on_its_way_out_keeps_its_sockets(void)
{
	struct world w;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = by_service(&w, "10.96.0.1", 1);
	serve(&w, "2", "1");
	CU_ASSERT(!look(&w));
	serve(&w, "2", "");
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(fd));
	close(fd);
	end(&w);
}

static struct socket_peer peer_of(struct world *w, int fd)
{
	uint64_t cookie = cookie_of(fd);
	struct socket_peer peer = {};

	CU_ASSERT_FATAL(maps_find(w->maps, MAP_SOCKET_PEERS, &cookie, &peer) == 0);
	return peer;
}

/* As a pod's datagrams do. */
static void datagrams_leave_an_endpoint_that_does_not_serve_once_there_is_another(void)
{
	struct service_key tcp;
	struct socket_peer peer;
	struct backend endpoint;
	struct world w;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = by_service(&w, "10.96.0.1", 1);
	serve_all(&w, "", "", "1");
	CU_ASSERT(!look(&w));
	serve_all(&w, "2", "", "1");
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(fd));
	peer = peer_of(&w, fd);
	endpoint = (struct backend){.addr = peer.endpoint, .port_be = peer.endpoint_port_be};
	tcp = (struct service_key){
		.addr = peer.service, .port_be = peer.service_port_be, .proto = IPPROTO_TCP};
	CU_ASSERT(services_has_endpoint(w.services, &tcp, &endpoint));
	close(fd);
	end(&w);
}

static void an_endpoint_that_serves_no_more_is_found_after_a_start(void)
{
	struct world w;
	int fd;

	begin(&w);
	serve_all(&w, "2", "", "1");
	fd = by_service(&w, "10.96.0.1", 1);
	w.now += 2 * SOCKET_ENDS_LAST_NS;
	while (look(&w))
		w.now += SOCKET_ENDS_LAST_NS;
	CU_ASSERT(is_ended(fd));
	close(fd);
	fd = by_service(&w, "10.96.0.1", 1);
	socket_ends_doubt(w.ends);
	CU_ASSERT(look(&w));
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(fd));
	close(fd);
	end(&w);
}

static void a_service_that_is_deleted_loses_all_its_endpoints(void)
{
	struct world w;
	int one, two;

	begin(&w);
	serve(&w, "1", "2");
	one = by_service(&w, "10.96.0.1", 1);
	two = by_service(&w, "10.96.0.1", 2);
	serve(&w, NULL, NULL);
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(one) && is_ended(two));
	close(one);
	close(two);
	end(&w);
}

static void an_endpoint_that_is_back_keeps_its_sockets(void)
{
	struct world w;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = by_service(&w, "10.96.0.1", 1);
	serve(&w, "", "");
	serve(&w, "1", "");
	CU_ASSERT(!look(&w));
	CU_ASSERT(!is_ended(fd));
	close(fd);
	end(&w);
}

/* Who was in the middle of connect() when its endpoint went. */
static void sockets_that_connect_late_are_found(void)
{
	struct world w;
	int second, third;

	begin(&w);
	serve(&w, "1", "");
	serve(&w, "", "");
	CU_ASSERT(look(&w));
	second = by_service(&w, "10.96.0.1", 1);
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(second));
	third = by_service(&w, "10.96.0.1", 1);
	CU_ASSERT(!look(&w));
	w.now += SOCKET_ENDS_LAST_NS;
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(third));
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), SOCKET_ENDS_NEVER);
	close(second);
	close(third);
	end(&w);
}

static void the_second_look_waits_for_the_programs(void)
{
	struct world w;
	struct socket_look taken;

	begin(&w);
	serve(&w, "1", "");
	serve(&w, "", "");
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
		CU_ASSERT_EQUAL(taken.wait, i == 1);
		CU_ASSERT_EQUAL(taken.lost_count, 2); /* of UDP and of TCP */
		socket_ends_finish(w.ends, &taken, 0, w.now);
		w.now += i ? SOCKET_ENDS_LAST_NS : SOCKET_ENDS_WAIT_MIN_NS;
	}
	CU_ASSERT(!look(&w));
	end(&w);
}

/* One look costs the kernel a walk through the whole map, whatever it finds. */
static void endpoints_that_go_close_behind_one_another_share_a_look(void)
{
	struct world w;
	struct socket_look taken;

	begin(&w);
	serve(&w, "123", "");
	serve(&w, "23", "");
	CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken)); /* at once */
	socket_ends_finish(w.ends, &taken, 0, w.now);
	serve(&w, "3", "");
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), w.now + SOCKET_ENDS_WAIT_MIN_NS);
	serve(&w, "", "");
	CU_ASSERT(!look(&w));
	w.now += SOCKET_ENDS_WAIT_MIN_NS;
	CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
	CU_ASSERT_EQUAL(taken.lost_count, 6); /* of UDP and of TCP */
	socket_ends_finish(w.ends, &taken, 0, w.now);
	end(&w);
}

static void looks_take_a_fiftieth_of_the_time(void)
{
	struct world w;
	struct socket_look taken;

	begin(&w);
	serve(&w, "12", "");
	serve(&w, "2", "");
	CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
	serve(&w, "", "");
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), SOCKET_ENDS_NEVER); /* one at a time */
	w.now += SECOND / 100;
	socket_ends_finish(w.ends, &taken, 0, w.now);
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), w.now + 49 * SECOND / 100);
	CU_ASSERT(!look(&w));
	w.now += 49 * SECOND / 100;
	CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
	CU_ASSERT_EQUAL(taken.lost_count, 4); /* what came meanwhile shares it */
	w.now += 10 * SECOND;
	socket_ends_finish(w.ends, &taken, 0, w.now);
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), w.now + SOCKET_ENDS_WAIT_MAX_NS);
	end(&w);
}

static void a_look_that_failed_is_taken_again(void)
{
	struct socket_ends_stats stats;
	struct socket_look taken;
	struct world w;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = by_service(&w, "10.96.0.1", 1);
	serve(&w, "", "");
	CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
	socket_ends_finish(w.ends, &taken, -ENOMEM, w.now);
	socket_ends_stats(w.ends, &stats);
	CU_ASSERT_EQUAL(stats.failure, -ENOMEM);
	CU_ASSERT_EQUAL(stats.failures, 1);
	CU_ASSERT(!look(&w));
	/* However often it fails. */
	for (int i = 0; i < 5; i++) {
		w.now += SOCKET_ENDS_RETRY_NS;
		CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
		socket_ends_finish(w.ends, &taken, -ENOMEM, w.now);
	}
	w.now += SOCKET_ENDS_RETRY_NS;
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(fd));
	socket_ends_stats(w.ends, &stats);
	CU_ASSERT_EQUAL(stats.failure, 0);
	CU_ASSERT_EQUAL(stats.ended_udp, 1);
	CU_ASSERT_EQUAL(stats.ended_tcp, 0);
	close(fd);
	end(&w);
}

/* It stays told until something shows the contrary. */
static void what_the_kernel_cannot_do_is_not_tried_again_and_again(void)
{
	struct socket_ends_stats stats;
	struct socket_look taken;
	struct world w;

	begin(&w);
	serve(&w, "1", "");
	serve(&w, "", "");
	for (int i = 0; i < 3; i++) {
		w.now += SOCKET_ENDS_LAST_NS;
		CU_ASSERT_FATAL(socket_ends_begin(w.ends, w.now, &taken));
		socket_ends_finish(w.ends, &taken, i ? 0 : -EOPNOTSUPP, w.now);
	}
	CU_ASSERT_EQUAL(socket_ends_due(w.ends), SOCKET_ENDS_NEVER);
	socket_ends_stats(w.ends, &stats);
	CU_ASSERT_EQUAL(stats.failure, -EOPNOTSUPP);
	end(&w);
}

static void what_went_while_nobody_followed_is_found(void)
{
	struct world w;
	int gone, there;

	begin(&w);
	serve(&w, "1", "");
	there = by_service(&w, "10.96.0.1", 1);
	gone = by_service(&w, "10.96.0.1", 2);
	socket_ends_doubt(w.ends);
	CU_ASSERT(look(&w));
	CU_ASSERT(look(&w));
	CU_ASSERT(is_ended(gone));
	CU_ASSERT(!is_ended(there));
	close(gone);
	close(there);
	end(&w);
}

static void sockets_that_are_no_more_are_forgotten(void)
{
	struct world w;
	uint64_t old = 1, young = 2, there;
	struct socket_peer peer;
	int fd;

	begin(&w);
	serve(&w, "1", "");
	fd = by_service(&w, "10.96.0.1", 1);
	there = cookie_of(fd);
	remember(&w, old, "10.96.0.1", 1, LONG_AGO);
	remember(&w, young, "10.96.0.1", 1, 0); /* it may be in the middle of connect() */
	socket_ends_doubt(w.ends);
	CU_ASSERT(look(&w));
	CU_ASSERT_EQUAL(maps_find(w.maps, MAP_SOCKET_PEERS, &old, &peer), -ENOENT);
	CU_ASSERT_EQUAL(maps_find(w.maps, MAP_SOCKET_PEERS, &young, &peer), 0);
	CU_ASSERT_EQUAL(maps_find(w.maps, MAP_SOCKET_PEERS, &there, &peer), 0);
	close(fd);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(a_socket_leaves_an_endpoint_that_went_and_others_stay),
	UNIT_TEST(a_socket_that_has_connected_elsewhere_stays),
	UNIT_TEST(of_many_lost_endpoints_the_right_sockets_are_ended),
	UNIT_TEST(an_endpoint_on_its_way_out_keeps_its_sockets),
	UNIT_TEST(datagrams_leave_an_endpoint_that_does_not_serve_once_there_is_another),
	UNIT_TEST(an_endpoint_that_serves_no_more_is_found_after_a_start),
	UNIT_TEST(a_service_that_is_deleted_loses_all_its_endpoints),
	UNIT_TEST(an_endpoint_that_is_back_keeps_its_sockets),
	UNIT_TEST(sockets_that_connect_late_are_found),
	UNIT_TEST(the_second_look_waits_for_the_programs),
	UNIT_TEST(endpoints_that_go_close_behind_one_another_share_a_look),
	UNIT_TEST(looks_take_a_fiftieth_of_the_time),
	UNIT_TEST(a_look_that_failed_is_taken_again),
	UNIT_TEST(what_the_kernel_cannot_do_is_not_tried_again_and_again),
	UNIT_TEST(what_went_while_nobody_followed_is_found),
	UNIT_TEST(sockets_that_are_no_more_are_forgotten),
};

int main(void)
{
	struct polder_addr network;
	struct netlink *nl = NULL;

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	/* All of the network is this namespace's. */
	if (netlink_open(-1, &nl) < 0 || netlink_link_set_up(nl, 1) < 0 ||
	    addr_parse("10.1.1.1", &network) < 0 ||
	    netlink_address_add(nl, 1, &network, POLDER_V4_MAPPED_BITS + 24) < 0)
		return 1;
	netlink_close(nl);
	return UNIT_RUN("socket ends", tests);
}
