// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Which program file a process began, or has from the one that made it, for what is asked when it
 * has ended. Attached with the programs of processes.bpf.c, where the kernel lets programs read its
 * memory. */
#include "processes.h"

#include "common.h"
#include "maps.h"

#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Of the kernel's types only what is read, at the place where this kernel has it. */
struct linux_binprm {
	const char *interp; /* the file that runs: of a script its interpreter */
} __attribute__((preserve_access_index));
struct task_struct {
	__s32 pid, tgid;
} __attribute__((preserve_access_index));

MAP(process_execs, BPF_MAP_TYPE_LRU_HASH, __u32, struct process_exec, PROCESS_EXECS, 0);
/* Too large for the stack beside a call. */
MAP(exec_scratch, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct process_exec, 1, 0);

SEC("raw_tp/sched_process_exec")
int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	__u32 zero = 0, pid = bpf_get_current_pid_tgid() >> 32;
	struct process_exec *exec = bpf_map_lookup_elem(&exec_scratch, &zero);

	if (!exec)
		return 0;
	exec->since_ns = bpf_ktime_get_boot_ns();
	if (bpf_probe_read_kernel_str(exec->path, sizeof(exec->path), BPF_CORE_READ(bprm, interp)) >
	    0)
		bpf_map_update_elem(&process_execs, &pid, exec, BPF_ANY);
	return 0;
}

/* The new process has the file of its parent; the number's former owner is forgotten with his. */
static __always_inline void inherit(__u32 parent, __u32 child)
{
	const struct process_exec *known = bpf_map_lookup_elem(&process_execs, &parent);
	__u32 zero = 0;
	struct process_exec *exec = bpf_map_lookup_elem(&exec_scratch, &zero);

	if (!known || !exec) {
		bpf_map_delete_elem(&process_execs, &child);
		return;
	}
	*exec = *known;
	exec->since_ns = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&process_execs, &child, exec, BPF_ANY);
}

SEC("raw_tp/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	__s32 pid = BPF_CORE_READ(child, pid);

	/* A thread of the same process is none. */
	if (pid == BPF_CORE_READ(child, tgid))
		inherit(BPF_CORE_READ(parent, tgid), pid);
	return 0;
}
