// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A program that runs long, and says when it has begun and when it ends: it shows what waits for
 * programs and what does not. It is attached nowhere; who wants to know runs it by
 * BPF_PROG_TEST_RUN.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64[3]); /* begun, ended, rounds: of 2 ns or more */
	__uint(max_entries, 1);
} marks SEC(".maps");

static int turn(__u32 round, void *ended)
{
	return bpf_get_prandom_u32() == 0 && round == 0;
}

SEC("tc")
int busy(struct __sk_buff *skb)
{
	__u32 zero = 0;
	volatile __u64 *mark = bpf_map_lookup_elem(&marks, &zero);

	if (!mark)
		return 0;
	mark[0] = 1;
	bpf_loop(mark[2], turn, NULL, 0);
	mark[1] = 1;
	return 0;
}
