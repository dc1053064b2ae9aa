/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/tunnel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/kernel/namespace.h"
#include "agent/kernel/netlink_vxlan.h"

#define ALIAS "Polder's tunnel to other nodes"

static int problem(struct tunnel *t, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int problem(struct tunnel *t, int error, const char *format, ...)
{
	char text[sizeof(t->problem)];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	t->is = (struct peers_tunnel){};
	if (strcmp(text, t->problem) != 0) {
		memcpy(t->problem, text, sizeof(text));
		t->since = time(NULL);
		log_error("tunnel", "%s", text);
	}
	return error;
}

uint32_t tunnel_mtu(const struct config *config, uint32_t uplink_mtu, bool v6)
{
	uint32_t overhead = v6 ? TUNNEL_OVERHEAD_V6 : TUNNEL_OVERHEAD_V4;

	if (config->tunnel == TUNNEL_NONE || !uplink_mtu)
		return 0;
	return uplink_mtu > TUNNEL_MTU_LEAST + overhead ? uplink_mtu - overhead : TUNNEL_MTU_LEAST;
}

/* ---------------------------------------------------------------- the device */

static bool is_ours(const struct vxlan_info *info)
{
	return info->external && netlink_vxlan_is_ours(&info->link);
}

static int remove_device(const struct tunnel_env *env, struct tunnel *t)
{
	struct vxlan_info info;
	int r = netlink_vxlan_get(env->nl, TUNNEL_NAME, &info);

	t->is = (struct peers_tunnel){};
	t->ifindex = 0;
	t->problem[0] = '\0';
	if (r == -ENODEV || (r == 0 && !is_ours(&info)))
		return 0;
	if (r == 0)
		r = netlink_link_delete(env->nl, info.link.ifindex);
	if (r == 0)
		log_info("tunnel", "device " TUNNEL_NAME " is removed: tunnel is none");
	return r;
}

/* Who has the port, if it is another VXLAN device. */
static const char *owner_of_port(const struct tunnel_env *env, const struct tunnel *t,
				 char name[IFNAMSIZ])
{
	struct vxlan_info other;

	if (netlink_vxlan_with_port(env->nl, env->config->tunnel_port, t->ifindex, &other) < 0)
		return NULL;
	snprintf(name, IFNAMSIZ, "%s", other.link.name);
	return name;
}

static int fail(const struct tunnel_env *env, struct tunnel *t, int error, const char *what)
{
	const char *words = netlink_error(env->nl);
	char cause[256], name[IFNAMSIZ];

	snprintf(cause, sizeof(cause), "%s%s%s", strerror(-error), *words ? ": " : "", words);
	if ((error == -EADDRINUSE || error == -EBUSY || error == -EEXIST) &&
	    owner_of_port(env, t, name))
		return problem(t, error,
			       "UDP port %u is device %s's: remove that one, or give --tunnel-port "
			       "another number, on all nodes the same; until then no packet passes "
			       "the tunnel",
			       env->config->tunnel_port, name);
	if (error == -EADDRINUSE)
		return problem(t, error,
			       "UDP port %u is in use on this node: give --tunnel-port another "
			       "number, on all nodes the same",
			       env->config->tunnel_port);
	if (error == -EOPNOTSUPP)
		return problem(t, error,
			       "the kernel has no VXLAN (module vxlan): load it, or use --tunnel "
			       "none");
	return problem(t, error, "device " TUNNEL_NAME " cannot be %s: %s", what, cause);
}

static int make_device(const struct tunnel_env *env, struct tunnel *t, uint32_t mtu)
{
	struct vxlan_spec spec = {
		.name = TUNNEL_NAME, .port = env->config->tunnel_port, .mtu = mtu, .alias = ALIAS};
	int r;

	memcpy(spec.mac, netlink_vxlan_mac, sizeof(spec.mac));
	r = netlink_vxlan_add(env->nl, &spec, &t->ifindex);
	if (r < 0)
		return fail(env, t, r, "made");
	t->made++;
	log_info("tunnel", "device " TUNNEL_NAME ": link %d, UDP port %u, MTU %u", t->ifindex,
		 env->config->tunnel_port, mtu);
	return 0;
}

/* Finds the device, made anew if it has to be another one. */
static int need_device(const struct tunnel_env *env, struct tunnel *t, uint32_t mtu,
		       struct vxlan_info *ret)
{
	int r = netlink_vxlan_get(env->nl, TUNNEL_NAME, ret);

	if (r == 0 && !is_ours(ret))
		return problem(t, -EEXIST,
			       "there is a link " TUNNEL_NAME " that Polder has not made: remove "
			       "it; until then no packet passes the tunnel");
	if (r == 0 && ret->port != env->config->tunnel_port) {
		r = netlink_link_delete(env->nl, ret->link.ifindex);
		if (r < 0)
			return fail(env, t, r, "replaced");
		r = -ENODEV;
	}
	if (r == 0) {
		t->ifindex = ret->link.ifindex;
		return 0;
	}
	t->ifindex = 0;
	if (r != -ENODEV)
		return fail(env, t, r, "looked for");
	r = make_device(env, t, mtu);
	if (r == 0)
		r = netlink_vxlan_get(env->nl, TUNNEL_NAME, ret);
	return r;
}

/* The node's processes' packets come by it from addresses that other routes lead to as well. */
static void loosen_reverse_path(void)
{
	int r = sysctl_link_set("ipv4", TUNNEL_NAME, "rp_filter", "2");

	if (r < 0 && r != -EROFS)
		log_warning("tunnel", "rp_filter of " TUNNEL_NAME " cannot be set: %s",
			    strerror(-r));
}

int tunnel_apply(const struct tunnel_env *env, struct tunnel *t, uint32_t uplink_mtu, bool v6)
{
	uint32_t mtu = tunnel_mtu(env->config, uplink_mtu, v6);
	struct vxlan_info info;
	char why[300] = "";
	int r;

	if (env->config->tunnel == TUNNEL_NONE)
		return remove_device(env, t);
	if (!mtu)
		mtu = TUNNEL_MTU_LEAST;
	r = need_device(env, t, mtu, &info);
	if (r < 0)
		return r;
	if (info.link.mtu != mtu) {
		r = netlink_link_set_mtu(env->nl, t->ifindex, mtu);
		if (r < 0)
			return fail(env, t, r, "given its MTU");
	}
	r = env->attach(t->ifindex, why, sizeof(why), env->data);
	if (r < 0) {
		if (info.link.up)
			(void)netlink_link_set_down(env->nl, t->ifindex);
		return problem(t, r, "device " TUNNEL_NAME " is down: %s", why);
	}
	if (!info.link.up) {
		loosen_reverse_path();
		r = netlink_link_set_up(env->nl, t->ifindex);
		if (r < 0)
			return fail(env, t, r, "set up");
	}
	if (t->problem[0])
		log_info("tunnel", "device " TUNNEL_NAME " works");
	t->problem[0] = '\0';
	t->is = (struct peers_tunnel){
		.ifindex = t->ifindex,
		.mtu4 = tunnel_mtu(env->config, uplink_mtu, false),
		.mtu6 = tunnel_mtu(env->config, uplink_mtu, true),
	};
	return 0;
}
