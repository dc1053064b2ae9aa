/* SPDX-License-Identifier: Apache-2.0 */
/* Which way and which source packets get: by examples, and compared with the kernel's own choice.
 */
#include "agent/node/egress_routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/node/node.h"
#include "tests/unit/unit.h"

#define UP0 2
#define UP1 3

/* ---------------------------------------------------------------- a network in memory */

#define MOST 32
static struct link_info links[MOST];
static struct address_info addresses[MOST];
static struct route_info routes[MOST];
static struct address_label labels[MOST];
static struct network network;
static const int both[] = {UP0, UP1};

static struct polder_addr addr(const char *text)
{
	struct polder_addr a = {};

	CU_ASSERT_FATAL(addr_parse(text, &a) == 0);
	return a;
}

static struct prefix prefix(const char *text)
{
	const char *slash = strchr(text, '/');
	char plain[64];
	struct prefix p;

	snprintf(plain, sizeof(plain), "%.*s", (int)(slash - text), text);
	p.addr = addr(plain);
	p.length = (uint8_t)(atoi(slash + 1) + (addr_is_v4(&p.addr) ? POLDER_V4_MAPPED_BITS : 0));
	return p;
}

static void add_label(const char *text, uint32_t label)
{
	labels[network.label_count].prefix = prefix(text);
	labels[network.label_count++].label = label;
}

/* Two links, and the address labels that a kernel begins with. */
static void begin(void)
{
	memset(links, 0, sizeof(links));
	memset(addresses, 0, sizeof(addresses));
	memset(routes, 0, sizeof(routes));
	memset(labels, 0, sizeof(labels));
	network = (struct network){.links = links,
				   .addresses = addresses,
				   .routes = routes,
				   .labels = labels,
				   .link_count = 2};
	links[0] = (struct link_info){
		.ifindex = UP0, .name = "up0", .type = ARPHRD_ETHER, .up = true, .mtu = 1500};
	links[1] = (struct link_info){
		.ifindex = UP1, .name = "up1", .type = ARPHRD_ETHER, .up = true, .mtu = 1500};
	add_label("::/0", 1);
	add_label("fc00::/7", 5);
	add_label("2002::/16", 2);
}

static struct address_info *add_address(int ifindex, const char *text)
{
	struct address_info *a = &addresses[network.address_count++];

	a->prefix = prefix(text);
	a->ifindex = ifindex;
	return a;
}

static struct route_info *add_route(const char *text, int ifindex, const char *gateway)
{
	struct route_info *r = &routes[network.route_count++];

	r->destination = prefix(text);
	r->ifindex = ifindex;
	r->type = RTN_UNICAST;
	r->scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	r->has_gateway = gateway != NULL;
	if (gateway)
		r->gateway = addr(gateway);
	return r;
}

static struct node_egress *egress;
static size_t egress_count;

static void compute(const int *uplinks, size_t count)
{
	const struct egress_input input = {
		.network = &network, .uplinks = uplinks, .uplink_count = count};

	free(egress);
	CU_ASSERT_FATAL(network_sort(&network) == 0);
	CU_ASSERT_FATAL(egress_routes_compute(&input, &egress, &egress_count) == 0);
}

/* "": no way; "-": a way without a source. */
static bool leaves_as(const char *to, int ifindex, const char *source)
{
	const struct polder_addr destination = addr(to);
	const struct node_egress *way = egress_routes_find(egress, egress_count, &destination);
	char text[INET6_ADDRSTRLEN] = "-";

	if (!way)
		return false;
	if (!addr_is_zero(&way->source))
		addr_format(&way->source, text);
	if (!way->ifindex)
		text[0] = '\0';
	if (strcmp(text, source) == 0 && way->ifindex == ifindex)
		return true;
	printf("\n    %s leaves by %d as %s\n", to, way->ifindex, text);
	return false;
}

/* ---------------------------------------------------------------- examples */

static void address_in_the_gateways_network_is_the_source(void)
{
	begin();
	add_address(UP0, "203.0.113.5/32"); /* a virtual address comes first */
	add_address(UP0, "192.0.2.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	compute(both, 2);
	CU_ASSERT(leaves_as("198.51.100.1", UP0, "192.0.2.10"));
	add_address(UP0, "192.0.2.11/24")->flags = IFA_F_SECONDARY;
	compute(both, 2);
	CU_ASSERT(leaves_as("198.51.100.1", UP0, "192.0.2.10"));
}

static void routes_own_source_comes_first(void)
{
	struct route_info *route;

	begin();
	add_address(UP0, "192.0.2.10/24");
	add_address(UP1, "198.51.100.7/32");
	route = add_route("0.0.0.0/0", UP0, "192.0.2.1");
	route->has_source = true;
	route->source = addr("198.51.100.7");
	compute(both, 2);
	CU_ASSERT(leaves_as("203.0.113.1", UP0, "198.51.100.7"));
	route->source = addr("198.51.100.8"); /* is on no link any more */
	compute(both, 2);
	CU_ASSERT(leaves_as("203.0.113.1", UP0, "192.0.2.10"));
}

static void lower_metric_counts_and_dead_routes_do_not(void)
{
	begin();
	add_address(UP0, "192.0.2.10/24");
	add_address(UP1, "198.51.100.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1")->priority = 200;
	add_route("0.0.0.0/0", UP1, "198.51.100.1")->priority = 100;
	compute(both, 2);
	CU_ASSERT(leaves_as("203.0.113.1", UP1, "198.51.100.10"));
	routes[1].ifindex = 0;
	compute(both, 2);
	CU_ASSERT(leaves_as("203.0.113.1", UP0, "192.0.2.10"));
}

static void without_a_route_there_is_no_way(void)
{
	begin();
	compute(both, 2);
	CU_ASSERT(leaves_as("203.0.113.1", 0, "") && leaves_as("2001:db8::1", 0, ""));
	add_address(UP0, "192.0.2.10/24");
	add_route("192.0.2.0/24", UP0, NULL);
	add_route("2001:db8:2::/64", UP0, NULL);
	add_route("192.0.2.128/25", 0, NULL)->type = RTN_UNREACHABLE;
	compute(both, 2);
	CU_ASSERT(leaves_as("192.0.2.1", UP0, "192.0.2.10"));
	CU_ASSERT(leaves_as("192.0.2.129", 0, ""));
	CU_ASSERT(leaves_as("203.0.113.1", 0, ""));
	CU_ASSERT(leaves_as("2001:db8:2::5", UP0, "-"));
	CU_ASSERT(leaves_as("2001:db8:3::5", 0, ""));
}

static unsigned int reason_to(const char *to)
{
	const struct polder_addr destination = addr(to);
	const struct node_egress *way = egress_routes_find(egress, egress_count, &destination);

	CU_ASSERT_FATAL(way && !way->ifindex);
	return way->reason;
}

/* The pod is told as the kernel tells. */
static void a_route_that_forbids_says_how(void)
{
	begin();
	add_address(UP0, "192.0.2.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	add_route("198.51.100.0/26", 0, NULL)->type = RTN_UNREACHABLE;
	add_route("198.51.100.64/26", 0, NULL)->type = RTN_PROHIBIT;
	add_route("198.51.100.128/26", 0, NULL)->type = RTN_BLACKHOLE;
	add_route("198.51.100.192/26", 0, NULL)->type = RTN_THROW;
	compute(both, 2);
	CU_ASSERT_EQUAL(reason_to("198.51.100.1"), REASON_ROUTE_UNREACHABLE);
	CU_ASSERT_EQUAL(reason_to("198.51.100.65"), REASON_ROUTE_PROHIBITED);
	CU_ASSERT_EQUAL(reason_to("198.51.100.129"), REASON_ROUTE_BLACKHOLE);
	CU_ASSERT_EQUAL(reason_to("198.51.100.193"), REASON_NO_ROUTE);
	CU_ASSERT_EQUAL(reason_to("2001:db8::1"), REASON_NO_ROUTE);
	CU_ASSERT(leaves_as("203.0.113.1", UP0, "192.0.2.10"));
}

static void a_configured_address_is_the_source_while_a_link_has_it(void)
{
	struct egress_input input = {.network = &network, .uplinks = both, .uplink_count = 2};

	begin();
	add_address(UP0, "192.0.2.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	add_address(UP1, "198.51.100.7/32");
	for (int has = 1; has >= 0; has--) {
		input.node_ip_v4 = addr(has ? "198.51.100.7" : "198.51.100.8");
		free(egress);
		CU_ASSERT_FATAL(network_sort(&network) == 0);
		CU_ASSERT_FATAL(egress_routes_compute(&input, &egress, &egress_count) == 0);
		CU_ASSERT(leaves_as("203.0.113.1", UP0, has ? "198.51.100.7" : "-"));
	}
}

static void route_by_another_link_is_no_way(void)
{
	static const int one[] = {UP0};

	begin();
	add_address(UP0, "192.0.2.10/24");
	add_address(UP1, "10.8.0.1/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	add_route("10.8.0.0/24", UP1, NULL);
	compute(one, 1);
	CU_ASSERT(leaves_as("203.0.113.1", UP0, "192.0.2.10"));
	CU_ASSERT(leaves_as("10.8.0.7", 0, ""));
}

static void ipv4_says_nothing_of_ipv6_nor_the_other_way_round(void)
{
	begin();
	add_address(UP0, "192.0.2.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	compute(both, 2);
	CU_ASSERT(leaves_as("2001:db8::1", 0, ""));
	begin();
	add_address(UP0, "2001:db8:2::10/64");
	add_route("::/0", UP0, "fe80::1");
	compute(both, 2);
	CU_ASSERT(leaves_as("192.0.2.1", 0, "") && leaves_as("2001:db8::1", UP0, "2001:db8:2::10"));
}

static void deprecated_and_temporary_addresses_come_last(void)
{
	begin();
	add_address(UP0, "2001:db8:2::d/64")->flags = IFA_F_DEPRECATED;
	add_address(UP0, "2001:db8:2::7/64")->flags = IFA_F_TEMPORARY;
	add_address(UP0, "2001:db8:2::10/64");
	add_address(UP0, "2001:db8:2::99/64")->flags = IFA_F_TENTATIVE;
	add_address(UP0, "fe80::1/64")->scope = RT_SCOPE_LINK;
	add_route("::/0", UP0, "fe80::1");
	compute(both, 2);
	CU_ASSERT(leaves_as("2001:db8::1", UP0, "2001:db8:2::10"));
	addresses[2].flags = IFA_F_DADFAILED;
	compute(both, 2);
	CU_ASSERT(leaves_as("2001:db8::1", UP0, "2001:db8:2::7"));
	addresses[1].flags = IFA_F_TENTATIVE;
	compute(both, 2);
	CU_ASSERT(leaves_as("2001:db8::1", UP0, "2001:db8:2::d"));
	addresses[0].flags = IFA_F_TENTATIVE;
	compute(both, 2);
	CU_ASSERT(leaves_as("2001:db8::1", UP0, "-"));
}

static void labels_and_prefixes_decide_among_ipv6_addresses(void)
{
	begin();
	add_address(UP0, "fd00:1::10/64");
	add_address(UP0, "2001:db8:2::10/64");
	add_address(UP0, "2001:db8:8000::10/64");
	add_route("::/0", UP0, "fe80::1");
	compute(both, 2);
	CU_ASSERT(leaves_as("fd99::1", UP0, "fd00:1::10"));
	CU_ASSERT(leaves_as("2001:db8:8001::1", UP0, "2001:db8:8000::10"));
	CU_ASSERT(leaves_as("2001:db8:1::1", UP0, "2001:db8:2::10"));
	CU_ASSERT(leaves_as("2600::1", UP0, "2001:db8:2::10"));
}

static void address_of_another_link_serves_where_the_uplink_has_none(void)
{
	begin();
	add_address(UP1, "2001:db8:2::10/128");
	add_address(UP0, "fe80::2/64")->scope = RT_SCOPE_LINK;
	add_route("::/0", UP0, "fe80::1");
	compute(both, 2);
	CU_ASSERT(leaves_as("2600::1", UP0, "2001:db8:2::10"));
	add_address(UP0, "2001:db8:3::10/64");
	compute(both, 2);
	CU_ASSERT(leaves_as("2600::1", UP0, "2001:db8:3::10"));
}

static void what_says_the_same_takes_no_place(void)
{
	char text[32];

	begin();
	add_address(UP0, "192.0.2.10/24");
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "10.%d.0.0/16", i);
		add_route(text, UP0, "192.0.2.2");
	}
	compute(both, 2);
	CU_ASSERT(egress_count == 3); /* both families' roots and the address itself */
}

/* ---------------------------------------------------------------- uplinks */

static void uplinks_that_cannot_serve_say_why(void)
{
	struct config config = {.uplinks = {"up0", "up1", "gone"}, .uplink_count = 3};
	struct node node = {};

	begin();
	links[0].type = ARPHRD_NONE;
	strcpy(links[0].kind, "tun");
	links[1].master = 9;
	strcpy(links[1].slave_kind, "bridge");
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT_EQUAL_FATAL(node.uplink_count, 3);
	CU_ASSERT(node.uplinks[0].state == UPLINK_REFUSED && !node.uplinks[0].ifindex);
	CU_ASSERT(strstr(node.uplinks[0].reason, "tun") != NULL);
	CU_ASSERT(node.uplinks[1].state == UPLINK_REFUSED);
	CU_ASSERT(strstr(node.uplinks[1].reason, "bridge") != NULL);
	CU_ASSERT(node.uplinks[2].state == UPLINK_MISSING && node.uplinks[2].reason[0]);
	strcpy(links[1].slave_kind, "vrf"); /* its packets are its own */
	links[1].up = false;
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplinks[1].state == UPLINK_DOWN && node.uplinks[1].ifindex == UP1);
}

static void default_routes_links_are_the_uplinks(void)
{
	struct config config = {};
	struct node node = {};

	begin();
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT_EQUAL(node.uplink_count, 0);
	add_route("0.0.0.0/0", UP0, "192.0.2.1");
	add_route("::/0", UP1, "fe80::1");
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplink_count == 2 && node.uplinks[0].ifindex == UP0 &&
		  node.uplinks[1].ifindex == UP1);
	network.route_count = 0; /* the cable is out: what was stays */
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplink_count == 2 && node.uplinks[0].ifindex == UP0);
	add_route("::/0", UP1, "fe80::1");
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplink_count == 1 && node.uplinks[0].ifindex == UP1);
}

static void the_default_route_that_counts_names_the_uplink(void)
{
	struct config config = {};
	struct node node = {};

	begin();
	add_route("0.0.0.0/0", UP0, "192.0.2.1")->priority = 100;
	add_route("0.0.0.0/0", UP1, "198.51.100.1")->priority = 200;
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplink_count == 1 && node.uplinks[0].ifindex == UP0);
	routes[0].priority = 300;
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplink_count == 1 && node.uplinks[0].ifindex == UP1);
}

static void uplink_that_is_made_anew_has_another_place(void)
{
	struct config config = {.uplinks = {"up0", "up1"}, .uplink_count = 2};
	struct node node = {};
	uint32_t place;

	begin();
	node_find_uplinks(&config, &network, &node);
	place = node.uplinks[0].place;
	CU_ASSERT(place != node.uplinks[1].place);
	links[0].mtu = 9000;
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplinks[0].place == place && node.uplinks[0].mtu == 9000);
	links[0].ifindex = 77;
	node_find_uplinks(&config, &network, &node);
	CU_ASSERT(node.uplinks[0].ifindex == 77 && node.uplinks[0].place != place &&
		  node.uplinks[0].place != node.uplinks[1].place);
}

/* ---------------------------------------------------------------- the kernel's own choice */

static unsigned int seed;

static unsigned int pick(unsigned int count)
{
	return (unsigned int)rand_r(&seed) / 7 % count;
}

static void ip(FILE *batch, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void ip(FILE *batch, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(batch, format, list);
	va_end(list);
	fputc('\n', batch);
}

static void random_v6(char *text, size_t size, bool host)
{
	static const char *const heads[] = {
		"2001:db8:", "2001:db8:8000:", "fd00:1:", "fd00:ffff:", "2002:102:", "3fff:"};

	snprintf(text, size, "%s%x::%x", heads[pick(6)], pick(3), host ? 1 + pick(9) : 0);
}

/* Two links with addresses, routes of all kinds. What does not go together is left out by ip(8). */
static void make_network(FILE *batch)
{
	static const int lengths4[] = {8, 16, 24, 32}, lengths6[] = {32, 48, 64, 128};
	static const char *const kinds[] = {"unreachable", "blackhole", "prohibit"};
	char text[64];
	unsigned int i;

	for (i = 0; i < 2; i++)
		ip(batch,
		   "link add up%u type veth peer name peer%u\nlink set peer%u up\nlink set up%u up",
		   i, i, i, i);
	for (i = 0; i < 6; i++)
		ip(batch, "addr add 10.%u.%u.%u/%d dev up%u", pick(3), pick(3), 1 + pick(9),
		   lengths4[pick(4)], pick(2));
	for (i = 0; i < 8; i++) {
		random_v6(text, sizeof(text), true);
		ip(batch, "addr add %s/%d dev up%u nodad%s", text, lengths6[pick(4)], pick(2),
		   pick(4) ? "" : " preferred_lft 0");
	}
	for (i = 0; i < 8; i++) {
		ip(batch, "route add 10.%u.%u.0/24 dev up%u", pick(4), pick(4), pick(2));
		ip(batch, "route add 10.%u.0.0/16 via 10.%u.%u.%u metric %u", pick(8), pick(3),
		   pick(3), 10 + pick(9), pick(3));
		random_v6(text, sizeof(text), false);
		ip(batch, "route add %s/64 dev up%u metric %u", text, pick(2), 100 + pick(3));
	}
	ip(batch, "route add default via 10.%u.%u.77", pick(3), pick(3));
	ip(batch, "route add default via fe80::77 dev up%u", pick(2));
	ip(batch, "route add %s 10.%u.%u.0/25", kinds[pick(3)], pick(3), pick(3));
	random_v6(text, sizeof(text), false);
	ip(batch, "route add %s %s/72", kinds[pick(3)], text);
}

/* With the address that a socket of the node gets; false: there is no way. */
static bool kernels_source(const struct polder_addr *to, struct polder_addr *ret)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), public = 2; /* IPV6_PREFER_SRC_PUBLIC */
	socklen_t length = sizeof(a);
	bool found;

	CU_ASSERT_FATAL(fd >= 0);
	(void)setsockopt(fd, IPPROTO_IPV6, 72, &public, sizeof(public));
	memcpy(&a.sin6_addr, to, sizeof(*to));
	found = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		getsockname(fd, (struct sockaddr *)&a, &length) == 0;
	if (found)
		memcpy(ret, &a.sin6_addr, sizeof(*ret));
	close(fd);
	return found;
}

static bool agree(const struct network *n, const struct polder_addr *to)
{
	const struct node_egress *way = egress_routes_find(egress, egress_count, to);
	struct polder_addr kernels = {};
	char text[3][INET6_ADDRSTRLEN] = {};
	bool leads = kernels_source(to, &kernels);

	if (network_has_address(n, to))
		return true;
	/* Only where there is no address of a wider scope is a link-local one chosen. */
	if (leads && kernels.bytes[0] == 0xfe && addr_is_zero(&way->source))
		return true;
	if (leads == (way->ifindex != 0) &&
	    (!leads || memcmp(&kernels, &way->source, sizeof(kernels)) == 0))
		return true;
	printf("\n    seed %u: to %s by link %d as %s, the kernel's is %s\n", seed,
	       addr_format(to, text[0]), way->ifindex, addr_format(&way->source, text[1]),
	       leads ? addr_format(&kernels, text[2]) : "none");
	return false;
}

static void one_network(unsigned int number)
{
	struct network n = {};
	struct netlink *nl = NULL;
	FILE *batch;
	char text[64];

	seed = number;
	CU_ASSERT_FATAL(unshare(CLONE_NEWNET) == 0);
	batch = popen("ip -force -batch - 2>/dev/null", "w");
	CU_ASSERT_FATAL(batch != NULL);
	ip(batch, "link set lo up");
	make_network(batch);
	pclose(batch);
	CU_ASSERT_FATAL(netlink_open(-1, &nl) == 0);
	CU_ASSERT_FATAL(network_read(nl, &n) == 0);
	network = n;
	{
		const int uplinks[] = {network_link_named(&n, "up0")->ifindex,
				       network_link_named(&n, "up1")->ifindex};

		compute(uplinks, 2);
	}
	for (int i = 0; i < 200; i++) {
		struct polder_addr to;

		if (i % 2)
			random_v6(text, sizeof(text), true);
		else
			snprintf(text, sizeof(text), "10.%u.%u.%u", pick(9), pick(5),
				 1 + pick(250));
		to = addr(text);
		CU_ASSERT(agree(&n, &to));
	}
	network_clear(&n);
	netlink_close(nl);
}

static void random_networks_agree_with_the_kernel(void)
{
	for (unsigned int i = 1; i <= 60; i++)
		one_network(i);
}

static const struct unit_test tests[] = {
	UNIT_TEST(address_in_the_gateways_network_is_the_source),
	UNIT_TEST(routes_own_source_comes_first),
	UNIT_TEST(lower_metric_counts_and_dead_routes_do_not),
	UNIT_TEST(without_a_route_there_is_no_way),
	UNIT_TEST(a_route_that_forbids_says_how),
	UNIT_TEST(a_configured_address_is_the_source_while_a_link_has_it),
	UNIT_TEST(route_by_another_link_is_no_way),
	UNIT_TEST(ipv4_says_nothing_of_ipv6_nor_the_other_way_round),
	UNIT_TEST(deprecated_and_temporary_addresses_come_last),
	UNIT_TEST(labels_and_prefixes_decide_among_ipv6_addresses),
	UNIT_TEST(address_of_another_link_serves_where_the_uplink_has_none),
	UNIT_TEST(what_says_the_same_takes_no_place),
	UNIT_TEST(uplinks_that_cannot_serve_say_why),
	UNIT_TEST(default_routes_links_are_the_uplinks),
	UNIT_TEST(the_default_route_that_counts_names_the_uplink),
	UNIT_TEST(uplink_that_is_made_anew_has_another_place),
	UNIT_TEST(random_networks_agree_with_the_kernel),
};

int main(void)
{
	int failed = UNIT_RUN("egress routes", tests);

	free(egress);
	return failed;
}
