/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/bandwidth.h"

#include <errno.h>

#include "agent/common/cni_code.h"
#include "agent/common/json_any_case.h"

#define BURST_NOT_SAID UINT32_MAX

static int decode_bits(const json_t *value, const char *path, const char *key, uint64_t *ret,
		       struct error *ret_error)
{
	const json_t *bits = json_get_any_case(value, key);

	if (bits && (!json_is_integer(bits) || json_integer_value(bits) < 0))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "%s.%s is not a number of bits", path, key);
	*ret = (uint64_t)json_integer_value(bits);
	return 0;
}

static int decode_limit(const json_t *value, const char *path, const char *rate_key,
			const char *burst_key, struct bandwidth_limit *ret, struct error *ret_error)
{
	struct bandwidth_limit limit = {};
	int r = decode_bits(value, path, rate_key, &limit.rate, ret_error);

	if (r == 0)
		r = decode_bits(value, path, burst_key, &limit.burst, ret_error);
	if (r < 0)
		return r;
	if (limit.rate && (limit.rate < BANDWIDTH_RATE_MIN || limit.rate > BANDWIDTH_RATE_MAX))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG,
				 "%s.%s %llu is not a rate from %llu to %llu bits a second; 0: no "
				 "limit",
				 path, rate_key, (unsigned long long)limit.rate, BANDWIDTH_RATE_MIN,
				 BANDWIDTH_RATE_MAX);
	if (!limit.rate || limit.burst >= BURST_NOT_SAID)
		limit.burst = 0;
	*ret = limit;
	return 0;
}

int bandwidth_decode(const json_t *value, const char *path, struct bandwidth *ret,
		     struct error *ret_error)
{
	struct bandwidth bandwidth = {};
	int r;

	if (value && !json_is_null(value) && !json_is_object(value))
		return error_set(ret_error, -EINVAL, CNI_INVALID_CONFIG, "%s is not an object",
				 path);
	r = decode_limit(value, path, "ingressRate", "ingressBurst", &bandwidth.ingress, ret_error);
	if (r == 0)
		r = decode_limit(value, path, "egressRate", "egressBurst", &bandwidth.egress,
				 ret_error);
	if (r == 0)
		*ret = bandwidth;
	return r;
}

json_t *bandwidth_encode(const struct bandwidth *bandwidth)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "ingressRate", (json_int_t)bandwidth->ingress.rate,
			 "ingressBurst", (json_int_t)bandwidth->ingress.burst, "egressRate",
			 (json_int_t)bandwidth->egress.rate, "egressBurst",
			 (json_int_t)bandwidth->egress.burst);
}
