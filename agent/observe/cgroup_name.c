/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/cgroup_name.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define CONTAINER_ID 64 /* hexadecimal digits */
#define UUID	     36 /* 8-4-4-4-12 */
#define PLAIN_UID    32 /* of a static pod: a hash */

/* Part of a path. */
struct word {
	const char *text;
	size_t length;
};

static bool starts_with(struct word word, const char *prefix)
{
	size_t length = strlen(prefix);

	return word.length >= length && memcmp(word.text, prefix, length) == 0;
}

/* systemd's units have an ending. */
static struct word without(struct word word, const char *ending)
{
	size_t length = strlen(ending);

	if (word.length > length && memcmp(word.text + word.length - length, ending, length) == 0)
		word.length -= length;
	return word;
}

static bool is_hex(struct word word, size_t length)
{
	if (word.length != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isxdigit((unsigned char)word.text[i]))
			return false;
	return true;
}

/* systemd's slices have underlines where the API has dashes. */
static bool is_uuid(struct word word)
{
	if (word.length != UUID)
		return false;
	for (size_t i = 0; i < UUID; i++) {
		char c = word.text[i];
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? c != '-' && c != '_' : !isxdigit((unsigned char)c))
			return false;
	}
	return true;
}

/* "kubepods", "kubepods.slice", "kubelet-kubepods.slice": below it names are the kubelet's. */
static bool is_kubelets(struct word word)
{
	static const char name[] = "kubepods";
	const size_t length = sizeof(name) - 1;

	word = without(word, ".slice");
	return word.length >= length &&
	       memcmp(word.text + word.length - length, name, length) == 0 &&
	       (word.length == length || word.text[word.length - length - 1] == '-');
}

/* "podUID", "kubepods-besteffort-podUID.slice". False: no pod's. */
static bool take_pod(struct word word, struct cgroup_name *ret)
{
	word = without(word, ".slice");
	while (word.length && !starts_with(word, "pod")) {
		/* The next part between dashes. */
		const char *dash = memchr(word.text, '-', word.length);
		size_t skipped = dash ? (size_t)(dash + 1 - word.text) : word.length;

		word = (struct word){word.text + skipped, word.length - skipped};
	}
	if (!word.length)
		return false;
	word = (struct word){word.text + 3, word.length - 3};
	if (!is_uuid(word) && !is_hex(word, PLAIN_UID))
		return false;
	snprintf(ret->pod_uid, sizeof(ret->pod_uid), "%.*s", (int)word.length, word.text);
	for (char *c = ret->pod_uid; *c; c++)
		if (*c == '_')
			*c = '-';
	return true;
}

/* "cri-containerd-ID.scope", "crio-ID.scope", "docker-ID.scope", "libpod-ID.scope", "ID". */
static void take_container(struct word word, struct cgroup_name *ret)
{
	static const char *const prefixes[] = {"cri-containerd-", "containerd-", "crio-",
					       "docker-",	  "libpod-",	 ""};

	word = without(word, ".scope");
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		size_t length = strlen(prefixes[i]);
		struct word id = {word.text + length, word.length - length};

		if (!starts_with(word, prefixes[i]) || !is_hex(id, CONTAINER_ID))
			continue;
		snprintf(ret->container, sizeof(ret->container), "%.*s", CONTAINER_ID, id.text);
		return;
	}
}

/*
 * Of several the outer pod and its outer container count: who may make cgroups makes them below his
 * own, with any name. A container around a pod is the node itself (kind). Below user.slice users
 * choose the names, so there are no pods.
 */
void cgroup_name_parse(const char *path, struct cgroup_name *ret)
{
	bool kubelets = false, users = strncmp(path, "/user.slice/", 12) == 0;

	memset(ret, 0, sizeof(*ret));
	while (*path) {
		struct word word = {path, strcspn(path, "/")};

		if (kubelets && !users && !ret->pod_uid[0] && take_pod(word, ret))
			ret->container[0] = '\0';
		else if (!ret->container[0])
			take_container(word, ret);
		kubelets |= is_kubelets(word);
		path += word.length;
		path += *path == '/';
	}
}
