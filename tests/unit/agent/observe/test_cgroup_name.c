/* SPDX-License-Identifier: Apache-2.0 */
#include <CUnit/CUnit.h>

#include "agent/observe/cgroup_name.h"
#include "tests/unit/unit.h"

#define ID	  "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"
#define OTHER	  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define UID	  "9c1f0a52-7b3e-4d18-8f60-2b9a7c5d4e31"
#define UID_	  "9c1f0a52_7b3e_4d18_8f60_2b9a7c5d4e31"
#define FALSE_UID "00000000-0000-0000-0000-000000000000"

static void check(const char *path, const char *pod_uid, const char *container)
{
	struct cgroup_name name;

	cgroup_name_parse(path, &name);
	CU_ASSERT_STRING_EQUAL(name.pod_uid, pod_uid);
	CU_ASSERT_STRING_EQUAL(name.container, container);
}

static void kubelet_with_systemd_and_containerd(void)
{
	check("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	      ".slice/cri-containerd-" ID ".scope",
	      UID, ID);
	check("/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", UID, ID);
}

static void kubelet_with_cgroupfs(void)
{
	check("/kubepods/besteffort/pod" UID "/" ID, UID, ID);
	check("/kubepods/pod" UID "/" ID, UID, ID);
	check("/system/kubepods/burstable/pod" UID "/crio-" ID, UID, ID);
}

static void a_static_pod_has_a_hash(void)
{
	check("/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" ID,
	      "0123456789abcdef0123456789abcdef", ID);
	check("/kubepods.slice/kubepods-burstable.slice/"
	      "kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice/crio-" ID ".scope",
	      "0123456789abcdef0123456789abcdef", ID);
}

static void crio_has_its_monitor_beside_the_container(void)
{
	check("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
	      ".slice/crio-" ID ".scope/container",
	      UID, ID);
	check("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
	      ".slice/crio-conmon-" ID ".scope",
	      UID, "");
}

static void a_node_that_is_a_container_is_not_the_pods(void)
{
	check("/system.slice/docker-" OTHER ".scope/kubelet.slice/kubelet-kubepods.slice/"
	      "kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" UID_
	      ".slice/cri-containerd-" ID ".scope",
	      UID, ID);
	check("/system.slice/docker-" OTHER ".scope/system.slice/kubelet.service", "", OTHER);
}

static void podman_and_docker(void)
{
	check("/machine.slice/libpod-" ID ".scope/container", "", ID);
	check("/libpod_parent/libpod-" ID, "", ID);
	check("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID
	      ".scope/container",
	      "", ID);
	check("/machine.slice/machine-libpod_pod_" OTHER ".slice/libpod-" ID ".scope", "", ID);
	check("/docker/" ID, "", ID);
	check("/system.slice/docker-" ID ".scope", "", ID);
	check("/default/" ID, "", ID); /* ctr, nerdctl */
}

static void the_node_itself_has_neither(void)
{
	check("/", "", "");
	check("", "", "");
	check("/system.slice/sshd.service", "", "");
	check("/user.slice/user-0.slice/session-3.scope", "", "");
	check("/kubepods.slice", "", "");
	check("/kubepods.slice/kubepods-burstable.slice", "", "");
}

/* Whoever has a cgroup of his own makes others below it. */
static void names_below_a_container_are_not_believed(void)
{
	check("/kubepods/pod" UID "/" ID "/kubepods/pod" FALSE_UID "/" OTHER, UID, ID);
	check("/machine.slice/libpod-" ID ".scope/libpod-" OTHER ".scope", "", ID);
}

static void pods_of_users_are_not_believed(void)
{
	check("/user.slice/user-1000.slice/user@1000.service/kubepods/pod" UID, "", "");
	check("/system.slice/x.service/pod" UID, "", "");
}

static void what_looks_nearly_like_one_is_none(void)
{
	check("/kubepods/pod" UID "x/" ID "0", "", "");
	check("/kubepods/podpod" UID, "", "");
	check("/kubepods/pod", "", "");
	check("/kubepods/pod-/-/--/.slice/.scope", "", "");
	check("/mykubepods/pod" UID, "", "");
	check("/docker/" ID "/..", "", ID);
	check("/libpod-.scope/docker-" ID, "", ID);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(kubelet_with_systemd_and_containerd),
		UNIT_TEST(kubelet_with_cgroupfs),
		UNIT_TEST(a_static_pod_has_a_hash),
		UNIT_TEST(crio_has_its_monitor_beside_the_container),
		UNIT_TEST(a_node_that_is_a_container_is_not_the_pods),
		UNIT_TEST(podman_and_docker),
		UNIT_TEST(the_node_itself_has_neither),
		UNIT_TEST(names_below_a_container_are_not_believed),
		UNIT_TEST(pods_of_users_are_not_believed),
		UNIT_TEST(what_looks_nearly_like_one_is_none),
	};

	return UNIT_RUN("cgroup_name", tests);
}
