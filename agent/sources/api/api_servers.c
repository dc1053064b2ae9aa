/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials that are read again, and the addresses at which the server was last. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/sources/api/api_internal.h"

#define CREDENTIALS_ORIGIN "api:credentials"
/* While they cannot be read. */
#define CREDENTIALS_RETRY_MS 5000
#define REMEMBERED_BYTES     65536

/* ---------------------------------------------------------------- credentials */

static void tell_credentials(struct api_source *source, const struct error *error)
{
	struct error *told = &source->credentials_error;

	if (!error && !told->text[0])
		return;
	if (error && strcmp(told->text, error->text) == 0 && strcmp(told->path, error->path) == 0)
		return;
	if (error) {
		*told = *error;
		log_error("api", "%s: %s; %s", error->path, error->text,
			  source->has_identity ? "the credentials of before are used"
					       : "the API server cannot be asked");
	} else {
		*told = (struct error){};
		log_info("api", "the credentials can be read again");
	}
	store_set_problem(source->store, CREDENTIALS_ORIGIN, error);
}

static int set_servers(struct api_source *source, const struct identity *identity,
		       struct error *error)
{
	return servers_set(&source->servers, (const char *const *)source->options.servers,
			   source->options.server_count, identity->server,
			   identity->tls_server_name, (const char *const *)source->remembered,
			   source->remembered_count, error);
}

static int read_credentials(struct api_source *source, struct error *error)
{
	const struct api_options *options = &source->options;
	const struct credentials_from from = {options->kubeconfig, options->context,
					      options->service_account};
	struct identity identity = {};
	int r = credentials_read(&from, &identity, error);

	if (r < 0)
		return r;
	if (source->has_identity && identity_equal(&source->identity, &identity)) {
		identity_clear(&identity);
		return 0;
	}
	r = set_servers(source, &identity, error);
	if (r < 0) {
		identity_clear(&identity);
		return r;
	}
	if (source->has_identity)
		log_info("api", "the credentials have changed; requests use the new ones");
	identity_clear(&source->identity);
	source->identity = identity;
	source->has_identity = true;
	/* Whatever waits because of the old ones. */
	for (size_t i = 0; i < API_RESOURCES; i++)
		if (!source->resources[i].request)
			watch_hurry(source->resources[i].watch, api_now(source));
	return 0;
}

void api_refresh_credentials(struct api_source *source, uint64_t now)
{
	struct error error = {};
	int r;

	if (now < source->credentials_due_ms)
		return;
	r = read_credentials(source, &error);
	if (r == -ENOMEM && !error.text[0])
		error_at(&error, r, "credentials", "out of memory");
	tell_credentials(source, r < 0 ? &error : NULL);
	source->credentials_due_ms = now + (r < 0 ? CREDENTIALS_RETRY_MS : CREDENTIALS_AGAIN_MS);
}

/* ---------------------------------------------------------------- remembered addresses */

static void forget(struct api_source *source)
{
	for (size_t i = 0; i < source->remembered_count; i++)
		free(source->remembered[i]);
	source->remembered_count = 0;
}

static void add_remembered(struct api_source *source, const char *text)
{
	char *copy;

	for (size_t i = 0; i < source->remembered_count; i++)
		if (strcmp(source->remembered[i], text) == 0)
			return;
	copy = source->remembered_count < SERVERS_MAX ? strdup(text) : NULL;
	if (copy)
		source->remembered[source->remembered_count++] = copy;
}

/* "192.0.2.1:6443" or "[2001:db8::1]:6443", and nothing else. */
static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	char address[INET6_ADDRSTRLEN + 2] = "";
	struct polder_addr addr;
	size_t length;

	if (!colon || strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1])
		return false;
	length = (size_t)(colon - text);
	if (length > 1 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	if (length == 0 || length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	return addr_parse(address, &addr) == 0;
}

void api_load_remembered(struct api_source *source)
{
	CLEANUP(cleanup_json) json_t *list = NULL;
	const char *path = source->remembered_path;
	json_t *item;
	size_t i;
	int r;

	if (!path)
		return;
	r = state_file_read_json(path, REMEMBERED_BYTES, &list);
	if (r < 0 && r != -ENOENT)
		log_warning("api", "%s: the last addresses of the API server cannot be read: %s",
			    path, strerror(-r));
	json_array_foreach (list, i, item)
		if (json_is_string(item) && is_address(json_string_value(item)))
			add_remembered(source, json_string_value(item));
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void save(const struct api_source *source)
{
	CLEANUP(cleanup_json) json_t *list = json_array();
	int r;

	for (size_t i = 0; i < source->remembered_count; i++)
		json_array_append_new(list, json_string(source->remembered[i]));
	r = state_file_write_json(source->remembered_path, list);
	if (r < 0)
		log_warning("api", "%s: the addresses of the API server cannot be kept: %s",
			    source->remembered_path, strerror(-r));
}

static void add_slice(struct api_source *source, const struct slice_object *slice)
{
	char address[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 10];
	uint16_t port = 0;

	for (size_t i = 0; i < slice->port_count; i++)
		if (!port || strcmp(slice->ports[i].name, "https") == 0)
			port = slice->ports[i].port;
	for (size_t i = 0; port && i < slice->endpoint_count; i++) {
		const struct slice_endpoint *endpoint = &slice->endpoints[i];

		for (size_t j = 0; endpoint->ready && j < endpoint->address_count; j++) {
			const struct polder_addr *addr = &endpoint->addresses[j];

			snprintf(text, sizeof(text), addr_is_v4(addr) ? "%s:%u" : "[%s]:%u",
				 addr_format(addr, address), port);
			add_remembered(source, text);
		}
	}
}

static bool same_list(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	for (size_t i = 0; a_count == b_count && i < a_count; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return a_count == b_count;
}

static void free_list(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
}

void api_remember_servers(struct api_source *source)
{
	char *before[SERVERS_MAX];
	size_t count, before_count = source->remembered_count;
	const struct object *const *objects;
	struct error error;

	source->slices_changed = false;
	objects = store_objects_in(source->store, OBJECT_ENDPOINT_SLICE, "default", &count);
	memcpy(before, source->remembered, sizeof(before));
	source->remembered_count = 0;
	for (size_t i = 0; i < count; i++)
		if (objects[i]->slice.service &&
		    strcmp(objects[i]->slice.service, "kubernetes") == 0)
			add_slice(source, &objects[i]->slice);
	qsort(source->remembered, source->remembered_count, sizeof(source->remembered[0]), compare);
	/* Without any the ones of before may still be right. */
	if (source->remembered_count == 0 ||
	    same_list(before, before_count, source->remembered, source->remembered_count)) {
		free_list(source->remembered, source->remembered_count);
		memcpy(source->remembered, before, sizeof(before));
		source->remembered_count = before_count;
		return;
	}
	free_list(before, before_count);
	log_info("api", "the cluster has %zu API server addresses, the first one is %s",
		 source->remembered_count, source->remembered[0]);
	if (source->remembered_path)
		save(source);
	if (source->has_identity)
		(void)set_servers(source, &source->identity, &error);
}

void api_servers_clear(struct api_source *source)
{
	forget(source);
	servers_clear(&source->servers);
	identity_clear(&source->identity);
}
