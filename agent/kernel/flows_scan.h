/* SPDX-License-Identifier: Apache-2.0 */
/* A look at all flows that keeps nobody waiting: a table of a million entries takes some 100 ms. */
#pragma once

#include "agent/kernel/flows.h"

struct flows_scan {
	struct flows_maps maps;
	flows_visitor visit; /* called in another thread, with `data` */
	/* In the loop, once; 0 or -errno (then not all flows have been seen). May free the scan. */
	void (*done)(struct flows_scan *scan, int result);
	void *data;

	uv_work_t work; /* the scan's own */
	int result;
};

/*
 * Begins. The scan's memory and what it points to stay the caller's, who may not touch what the
 * visitor writes until `done`; the maps stay open until then. 0 or -errno: `done` is not called.
 */
int flows_scan_start(uv_loop_t *loop, struct flows_scan *scan);
