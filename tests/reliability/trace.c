/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the system calls of a process, over all its threads, and does something at one of them.
 *
 *	trace [-o FILE] [-d] [-a RULE] -- COMMAND...	from the command's exec on
 *	trace [-o FILE] [-d] [-a RULE] -p PID		from when it says "ready"; SIGTERM ends it
 *
 * RULE: kill:N			the process is killed as call N begins, which is not done any more
 *	 fail:N:ERRNO:CALL:DETAIL	the Nth of these calls is not done and fails
 *	 refuse:N:ERRNO:CALL:DETAIL	the Nth of these calls sends a netlink request, and the
 *					kernel's answer is a refusal
 * CALL is a number of the machine's table; DETAIL the command of bpf(2), or the type of a netlink
 * request; 0 of other calls. So the Nth is the same one although threads take turns otherwise.
 *
 * strace counts calls of each thread apart, and cannot refuse what is sent. FILE then has a line
 * for each call: number, thread, call of the machine's table, first argument, type of a netlink
 * request, what it returned; with -d what it is about. Then `hit N`, and `end killed SIGNAL`,
 * `end exited STATUS`, or `end left PID` if the process still runs: then it is traced no more.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/reliability/trace_calls.h"

#define THREADS_MAX  64
#define CALLS_MAX    (1u << 20)
#define TEXT_MAX     600
#define UNKNOWN_TYPE 0x7ff0 /* a request that the route socket does not have */
#define OPTIONS	     (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

enum action { NOTHING, KILL, FAIL, REFUSE };

struct record {
	pid_t thread;
	struct call call;
	uint16_t netlink;
	int64_t result;
	char *about; /* NULL: nothing is known */
};

struct thread {
	pid_t id;
	bool counted;	  /* it is in a call whose begin was seen */
	size_t at;	  /* that call's record */
	int fails_with;	  /* errno; 0: it is done as it is */
	uint64_t message; /* of a request whose type was changed; 0: none */
	uint16_t type;	  /* as it was */
	bool refused;	  /* its answer is to be changed */
};

static struct {
	pid_t process;
	enum action action;
	size_t number; /* of the call, or of those like it, from 1 */
	int error;
	unsigned int call, detail; /* which calls are like it */
	size_t alike;		   /* so many have begun */
	size_t hit;		   /* at this call something was done; 0: nowhere */
	bool describe, began, ended;
	struct thread threads[THREADS_MAX];
	unsigned int thread_count;
	struct record *records;
	size_t count;
	int status;
} trace;

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
	if (number == SIGTERM)
		stop_asked = 1;
}

/* A signal that comes just before a wait must not be slept over: another comes soon. */
static void watch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct itimerval often = {.it_interval.tv_usec = 50000, .it_value.tv_usec = 50000};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

static pid_t wait_any(int *ret_status)
{
	return waitpid(-1, ret_status, __WALL);
}

static void die(const char *what)
{
	fprintf(stderr, "trace: %s: %s\n", what, strerror(errno));
	if (trace.process > 0)
		kill(trace.process, SIGKILL);
	exit(125);
}

static struct thread *thread_of(pid_t id)
{
	for (unsigned int i = 0; i < trace.thread_count; i++)
		if (trace.threads[i].id == id)
			return &trace.threads[i];
	if (trace.thread_count == THREADS_MAX) {
		errno = E2BIG;
		die("threads");
	}
	trace.threads[trace.thread_count] = (struct thread){.id = id};
	return &trace.threads[trace.thread_count++];
}

static void drop_thread(struct thread *thread)
{
	*thread = trace.threads[--trace.thread_count];
}

/* ------------------------------------------------------------------ what is done at a call */

static void set_registers(struct thread *thread, bool entering, int64_t value)
{
	struct user_regs_struct registers;

	if (ptrace(PTRACE_GETREGS, thread->id, NULL, &registers) < 0)
		return; /* it has been killed */
	if (entering)
		registers.orig_rax = (unsigned long long)value;
	else
		registers.rax = (unsigned long long)value;
	(void)ptrace(PTRACE_SETREGS, thread->id, NULL, &registers);
}

static void change_request(struct thread *thread, const struct call *call)
{
	uint64_t message = call_netlink_message(thread->id, call);
	uint64_t at = message + offsetof(struct nlmsghdr, nlmsg_type);
	uint16_t other = UNKNOWN_TYPE;

	if (!message || memory_read(thread->id, at, &thread->type, sizeof(other)) < 0 ||
	    memory_write(thread->id, at, &other, sizeof(other)) < 0)
		return;
	thread->message = message;
}

static void act(struct thread *thread, const struct call *call)
{
	trace.hit = trace.count;
	switch (trace.action) {
	case KILL:
		kill(trace.process, SIGKILL);
		break;
	case FAIL:
		thread->fails_with = trace.error;
		set_registers(thread, true, -1);
		break;
	case REFUSE:
		change_request(thread, call);
		break;
	default:
		break;
	}
}

/* Is it the call of the rule? */
static bool is_wanted(const struct record *record)
{
	uint64_t detail = record->call.number == SYS_bpf ? record->call.args[0] : record->netlink;

	if (trace.action == NOTHING)
		return false;
	if (trace.action == KILL)
		return trace.count + 1 == trace.number;
	return record->call.number == trace.call && detail == trace.detail &&
	       ++trace.alike == trace.number;
}

/* Is something to be done at it? */
static bool keep_record(struct thread *thread, const struct call *call)
{
	struct record *record = &trace.records[trace.count];
	char text[TEXT_MAX];
	bool wanted;

	*record = (struct record){
		.thread = thread->id,
		.call = *call,
		.netlink = call_netlink_type(thread->id, call),
		.result = -ERESTART,
	};
	wanted = is_wanted(record);
	if (wanted || trace.describe) {
		call_describe(thread->id, call, text, sizeof(text));
		record->about = text[0] ? strdup(text) : NULL;
	}
	thread->at = trace.count++;
	thread->counted = true;
	return wanted;
}

static void call_begins(struct thread *thread, const struct __ptrace_syscall_info *info)
{
	struct call call = {.number = info->entry.nr};

	if (!trace.began)
		return;
	if (trace.count == CALLS_MAX) {
		errno = E2BIG;
		die("calls");
	}
	memcpy(call.args, info->entry.args, sizeof(call.args));
	if (keep_record(thread, &call))
		act(thread, &call);
}

/* The kernel's answer to the request that it was made not to know. */
static void change_answer(struct thread *thread, const struct record *record, int64_t length)
{
	uint64_t at = call_netlink_message(thread->id, &record->call);
	struct {
		struct nlmsghdr header;
		int error;
	} answer;

	if (!at || length < (int64_t)sizeof(answer) ||
	    memory_read(thread->id, at, &answer, sizeof(answer)) != sizeof(answer) ||
	    answer.header.nlmsg_type != NLMSG_ERROR || answer.error != -EOPNOTSUPP)
		return;
	answer.error = -trace.error;
	if (memory_write(thread->id, at, &answer, sizeof(answer)) == sizeof(answer))
		thread->refused = false;
}

static void call_ends(struct thread *thread, const struct __ptrace_syscall_info *info)
{
	struct record *record = &trace.records[thread->at];

	if (!thread->counted)
		return;
	thread->counted = false;
	record->result = info->exit.rval;
	if (thread->fails_with) {
		record->result = -thread->fails_with;
		set_registers(thread, false, -thread->fails_with);
		thread->fails_with = 0;
	}
	if (thread->message) {
		memory_write(thread->id, thread->message + offsetof(struct nlmsghdr, nlmsg_type),
			     &thread->type, sizeof(thread->type));
		thread->message = 0;
		thread->refused = true;
	} else if (thread->refused && info->exit.rval > 0) {
		change_answer(thread, record, info->exit.rval);
	}
}

/* ------------------------------------------------------------------ stops */

static void resume(pid_t id, int signal_number)
{
	if (ptrace(PTRACE_SYSCALL, id, NULL, (void *)(long)signal_number) < 0 && errno != ESRCH)
		die("PTRACE_SYSCALL");
}

static void at_call(struct thread *thread)
{
	struct __ptrace_syscall_info info = {};

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof(info), &info) < 0)
		return; /* it has been killed */
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		call_begins(thread, &info);
	else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
		call_ends(thread, &info);
}

static void thread_ends(pid_t id, int status)
{
	struct thread *thread = thread_of(id);

	/* The first thread's end is told last, as the process's. */
	if (id == trace.process) {
		trace.ended = true;
		trace.status = status;
	}
	drop_thread(thread);
}

static void on_status(pid_t id, int status)
{
	int number = WSTOPSIG(status), event = status >> 16;

	if (!WIFSTOPPED(status)) {
		thread_ends(id, status);
		return;
	}
	if (number == (SIGTRAP | 0x80)) {
		at_call(thread_of(id));
		number = 0;
	} else if (event) {
		/* The command's own program: from here on it counts. */
		if (event == PTRACE_EVENT_EXEC)
			trace.began = true;
		number = 0;
	}
	resume(id, number);
}

static void follow(void)
{
	int status;
	pid_t id;

	/* What has been killed will end. */
	while (!trace.ended && (!stop_asked || (trace.hit && trace.action == KILL))) {
		id = wait_any(&status);
		if (id > 0)
			on_status(id, status);
		else if (errno != EINTR)
			return;
	}
}

/* ------------------------------------------------------------------ begin and end */

static void start(char **command)
{
	int status;

	trace.process = fork(); /* a timer is not inherited */
	if (trace.process < 0)
		die("fork");
	if (trace.process == 0) {
		raise(SIGSTOP);
		execvp(command[0], command);
		_exit(127);
	}
	if (waitpid(trace.process, &status, WUNTRACED) < 0)
		die("waitpid");
	if (ptrace(PTRACE_SEIZE, trace.process, NULL, (void *)(OPTIONS | PTRACE_O_EXITKILL)) < 0)
		die("PTRACE_SEIZE");
	thread_of(trace.process);
	kill(trace.process, SIGCONT);
}

/* Those that were not traced yet. */
static unsigned int seize_threads(pid_t process)
{
	unsigned int before = trace.thread_count;
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	tasks = opendir(path);
	if (!tasks)
		die(path);
	while ((entry = readdir(tasks))) {
		pid_t id = atoi(entry->d_name);

		if (id <= 0 || ptrace(PTRACE_SEIZE, id, NULL, (void *)OPTIONS) < 0)
			continue;
		thread_of(id);
		ptrace(PTRACE_INTERRUPT, id, NULL, NULL);
	}
	closedir(tasks);
	return trace.thread_count - before;
}

static void attach(pid_t process)
{
	int status;

	trace.process = process;
	while (seize_threads(process) > 0)
		;
	if (!trace.thread_count) {
		errno = ESRCH;
		die("PTRACE_SEIZE");
	}
	/* Each stops once. */
	for (unsigned int count = trace.thread_count; count && !trace.ended;) {
		pid_t id = wait_any(&status);

		if (id < 0)
			continue;
		on_status(id, status);
		count--;
	}
	trace.began = true;
	puts("ready");
	fflush(stdout);
}

static void leave(void)
{
	int status, number;
	pid_t id;

	for (unsigned int i = 0; i < trace.thread_count; i++)
		ptrace(PTRACE_INTERRUPT, trace.threads[i].id, NULL, NULL);
	while (trace.thread_count && !trace.ended) {
		id = wait_any(&status);
		if (id < 0 && errno != EINTR)
			return;
		if (id < 0)
			continue;
		if (!WIFSTOPPED(status)) {
			thread_ends(id, status);
			continue;
		}
		number = status >> 16 ? 0 : WSTOPSIG(status);
		if (number == (SIGTRAP | 0x80)) {
			at_call(thread_of(id));
			number = 0;
		}
		ptrace(PTRACE_DETACH, id, NULL, (void *)(long)number);
		drop_thread(thread_of(id));
	}
}

static void write_records(FILE *file)
{
	for (size_t i = 0; i < trace.count; i++) {
		const struct record *record = &trace.records[i];

		fprintf(file, "%zu %d %llu %llu %u %lld %s\n", i + 1, record->thread,
			(unsigned long long)record->call.number,
			(unsigned long long)record->call.args[0], record->netlink,
			(long long)record->result, record->about ? record->about : "-");
	}
	if (trace.hit)
		fprintf(file, "hit %zu\n", trace.hit);
	if (!trace.ended)
		fprintf(file, "end left %d\n", trace.process);
	else if (WIFSIGNALED(trace.status))
		fprintf(file, "end killed %d\n", WTERMSIG(trace.status));
	else
		fprintf(file, "end exited %d\n", WEXITSTATUS(trace.status));
}

static bool parse_rule(const char *rule)
{
	if (sscanf(rule, "kill:%zu", &trace.number) == 1)
		trace.action = KILL;
	else if (sscanf(rule, "fail:%zu:%d:%u:%u", &trace.number, &trace.error, &trace.call,
			&trace.detail) == 4)
		trace.action = FAIL;
	else if (sscanf(rule, "refuse:%zu:%d:%u:%u", &trace.number, &trace.error, &trace.call,
			&trace.detail) == 4)
		trace.action = REFUSE;
	return trace.action != NOTHING;
}

int main(int argc, char **argv)
{
	const char *output = NULL;
	pid_t process = 0;
	FILE *file;
	int c;

	while ((c = getopt(argc, argv, "+o:a:p:d")) != -1) {
		if (c == 'o')
			output = optarg;
		else if (c == 'p')
			process = atoi(optarg);
		else if (c == 'd')
			trace.describe = true;
		else if (c != 'a' || !parse_rule(optarg))
			return 2;
	}
	if (!process == (optind == argc))
		return 2;
	trace.records = calloc(CALLS_MAX, sizeof(*trace.records));
	if (!trace.records)
		die("calloc");
	if (process)
		attach(process);
	else
		start(argv + optind);
	watch_signals();
	follow();
	if (!trace.ended)
		leave();
	file = output ? fopen(output, "w") : stderr;
	if (!file)
		die(output);
	write_records(file);
	if (file != stderr)
		fclose(file);
	if (!trace.ended || WIFEXITED(trace.status))
		return trace.ended ? WEXITSTATUS(trace.status) : 0;
	return 128 + WTERMSIG(trace.status);
}
