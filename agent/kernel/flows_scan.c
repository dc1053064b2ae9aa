/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/flows_scan.h"

#include <errno.h>

/* With windows of its own: those of the collector are the loop's. */
static void scan_in_thread(uv_work_t *work)
{
	struct flows_scan *scan = work->data;
	struct flows *flows = flows_new(&scan->maps);

	scan->result = flows ? 0 : -ENOMEM;
	if (flows)
		flows_list(flows, 0, scan->visit, scan->data);
	flows_free(flows);
}

static void on_scanned(uv_work_t *work, int status)
{
	struct flows_scan *scan = work->data;

	scan->done(scan, status < 0 ? status : scan->result);
}

int flows_scan_start(uv_loop_t *loop, struct flows_scan *scan)
{
	scan->work.data = scan;
	return uv_queue_work(loop, &scan->work, scan_in_thread, on_scanned);
}
