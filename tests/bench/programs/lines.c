/* SPDX-License-Identifier: Apache-2.0 */
/* Which line of the source each address of a loaded program is of: what a profiler's addresses
 * mean. */
#include "lines.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <string.h>

/* What the kernel says of a program's lines: BPF_OBJ_GET_INFO_BY_FD. */
struct lines {
	struct bpf_line_info *sources;
	uint64_t *addresses; /* of the machine's code, in the same order */
	uint32_t count;
	struct btf *btf;
};

static bool lines_read(int fd, struct lines *ret)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info), btf_id;

	*ret = (struct lines){};
	if (bpf_obj_get_info_by_fd(fd, &info, &size) || !info.nr_jited_line_info ||
	    info.nr_jited_line_info != info.nr_line_info)
		return false;
	ret->count = info.nr_line_info;
	ret->sources = calloc(ret->count, sizeof(*ret->sources));
	ret->addresses = calloc(ret->count, sizeof(*ret->addresses));
	btf_id = info.btf_id;
	info = (struct bpf_prog_info){
		.nr_line_info = ret->count,
		.line_info = (uintptr_t)ret->sources,
		.line_info_rec_size = sizeof(*ret->sources),
		.nr_jited_line_info = ret->count,
		.jited_line_info = (uintptr_t)ret->addresses,
		.jited_line_info_rec_size = sizeof(*ret->addresses),
	};
	size = sizeof(info);
	if (!ret->sources || !ret->addresses || bpf_obj_get_info_by_fd(fd, &info, &size))
		return false;
	ret->btf = btf__load_from_kernel_by_id(btf_id);
	return ret->btf != NULL;
}

static void lines_clear(struct lines *lines)
{
	btf__free(lines->btf);
	free(lines->sources);
	free(lines->addresses);
}

static void lines_append(const struct lines *lines, json_t *array)
{
	for (uint32_t i = 0; i < lines->count; i++) {
		const struct bpf_line_info *source = &lines->sources[i];
		const char *path = btf__name_by_offset(lines->btf, source->file_name_off);
		const char *name = path ? strrchr(path, '/') : NULL;

		json_array_append_new(array, json_pack("[I, s, i]", (json_int_t)lines->addresses[i],
						       name   ? name + 1
						       : path ? path
							      : "",
						       (int)(source->line_col >> 10)));
	}
}

json_t *lines_of(const struct bpf_object *object)
{
	json_t *array = json_array();
	struct bpf_program *program;
	struct lines lines;

	bpf_object__for_each_program(program, object)
	{
		if (bpf_program__fd(program) >= 0 && lines_read(bpf_program__fd(program), &lines)) {
			lines_append(&lines, array);
			lines_clear(&lines);
		}
	}
	return array;
}
