/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of deferred deletions: what is taken has names that can be file names. */
#include "tests/fuzz/fuzz.h"

#include "agent/common/cni_deletion.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cni_deletion note;

	if (cni_deletion_decode((const char *)data, size, &note) == 0)
		MUST(cni_container_id_valid(note.container_id) && cni_ifname_valid(note.ifname));
	return 0;
}
