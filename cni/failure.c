/* SPDX-License-Identifier: Apache-2.0 */
/* The error that the plugin prints. */
#include "cni/failure.h"

#include "plugin/text.h"

json_t *cni_failure_json(const struct error *failure, const char *version)
{
	json_t *json = json_pack("{s:s, s:i, s:o}", "cniVersion", version, "code", failure->code,
				 "msg", text_json(failure->text));

	if (json && failure->details[0])
		json_object_set_new(json, "details", text_json(failure->details));
	return json;
}
