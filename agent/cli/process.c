/* SPDX-License-Identifier: Apache-2.0 */
/* Other programs, several at once. */
#include "agent/cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/common/clock.h"

#define ERRORS_MAX (64u << 10)
#define PIECE	   (64u << 10)
#define LOOK_MS	   200 /* how often deadlines are looked at */

extern char **environ;

volatile sig_atomic_t processes_stopped;

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Pipes for the three streams: `ret_mine` this side's ends, `ret_theirs` the program's. */
static int make_pipes(const struct process *process, int *ret_mine, int *ret_theirs)
{
	int fds[2];

	for (int i = 0; i < 3; i++) {
		if (i == STDIN_FILENO && !process->input) {
			ret_theirs[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
			if (ret_theirs[i] < 0)
				return -errno;
			continue;
		}
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		ret_mine[i] = i == STDIN_FILENO ? fds[1] : fds[0];
		ret_theirs[i] = i == STDIN_FILENO ? fds[0] : fds[1];
		fcntl(ret_mine[i], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

/* 0 or -errno. SIGPIPE is ignored here, and must not be there. */
static int spawn(struct process *process, const int *theirs)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	short flags = POSIX_SPAWN_SETSIGDEF | (process->detached ? POSIX_SPAWN_SETPGROUP : 0);
	sigset_t defaults;
	int r;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	if (process->detached)
		sigaddset(&defaults, SIGINT);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, flags);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
	r = posix_spawnp(&process->pid, process->argv[0], &actions, &attributes, process->argv,
			 environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static bool is_stopped(const struct process *process)
{
	return processes_stopped && !process->detached;
}

static void start(struct process *process, int timeout_ms)
{
	int theirs[3] = {-1, -1, -1};

	process->started = true;
	for (int i = 0; i < 3; i++)
		process->fds[i] = -1;
	if (is_stopped(process)) {
		process->error = -ECANCELED;
		return;
	}
	process->error = make_pipes(process, process->fds, theirs);
	if (!process->error)
		process->error = spawn(process, theirs);
	for (int i = 0; i < 3; i++)
		close_end(&theirs[i]);
	if (process->error)
		process->pid = 0;
	if (!process->pid)
		for (int i = 0; i < 3; i++)
			close_end(&process->fds[i]);
	process->deadline_ms = timeout_ms ? clock_monotonic_ms() + timeout_ms : 0;
}

/* Keeps what fits into `most`. */
static void keep(char **text, size_t *length, size_t most, const char *data, size_t size,
		 bool *ret_cut)
{
	size_t room = most - *length;
	char *grown;

	if (size > room) {
		*ret_cut = true;
		size = room;
	}
	grown = realloc(*text, *length + size + 1);
	if (!grown) {
		*ret_cut = true;
		return;
	}
	memcpy(grown + *length, data, size);
	*length += size;
	grown[*length] = '\0';
	*text = grown;
}

static void read_from(struct process *process, int number)
{
	static char piece[PIECE];
	ssize_t n = read(process->fds[number], piece, sizeof(piece));
	bool cut = false;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		close_end(&process->fds[number]);
	else if (number == STDERR_FILENO)
		keep(&process->errors, &process->errors_length, ERRORS_MAX, piece, (size_t)n, &cut);
	else if (process->on_output)
		process->on_output(process, piece, (size_t)n);
	else
		keep(&process->output, &process->output_length, process->most, piece, (size_t)n,
		     &process->cut);
}

static void write_to(struct process *process)
{
	ssize_t n = write(process->fds[STDIN_FILENO], process->input + process->written,
			  process->input_length - process->written);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		process->written += (size_t)n;
	if (n < 0 || process->written == process->input_length)
		close_end(&process->fds[STDIN_FILENO]);
}

/* Both of its streams are at their end: it has ended, or is about to. */
static void reap(struct process *process)
{
	int status = 0;

	close_end(&process->fds[STDIN_FILENO]);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	process->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	process->pid = 0;
}

static bool is_late(const struct process *process)
{
	return process->deadline_ms && clock_monotonic_ms() >= process->deadline_ms;
}

static void serve(struct process *process, const struct pollfd *polled)
{
	if (polled[0].revents)
		write_to(process);
	for (int i = STDOUT_FILENO; i <= STDERR_FILENO; i++)
		if (polled[i].revents)
			read_from(process, i);
	if (!process->error && (is_late(process) || is_stopped(process))) {
		process->error = is_late(process) ? -ETIMEDOUT : -ECANCELED;
		kill(process->detached ? -process->pid : process->pid, SIGKILL);
		/* What it has started may hold the streams open. */
		for (int i = 0; i < 3; i++)
			close_end(&process->fds[i]);
	}
	if (process->fds[STDOUT_FILENO] < 0 && process->fds[STDERR_FILENO] < 0)
		reap(process);
}

/* Starts what there is room for. Returns how many run. */
static size_t fill(struct process *list, size_t count, size_t at_once, int timeout_ms)
{
	size_t running = 0;

	for (size_t i = 0; i < count; i++)
		running += list[i].started && list[i].pid > 0;
	for (size_t i = 0; i < count && running < at_once; i++)
		if (!list[i].started) {
			start(&list[i], timeout_ms);
			running += list[i].pid > 0;
		}
	return running;
}

void processes_run(struct process *list, size_t count, size_t at_once, int timeout_ms)
{
	struct pollfd *polled = calloc(count ? count * 3 : 1, sizeof(*polled));

	if (!polled)
		abort();
	while (fill(list, count, at_once, timeout_ms)) {
		for (size_t i = 0; i < count * 3; i++)
			polled[i] = (struct pollfd){
				.fd = list[i / 3].pid > 0 ? list[i / 3].fds[i % 3] : -1,
				.events = i % 3 ? POLLIN : POLLOUT,
			};
		if (poll(polled, count * 3, LOOK_MS) < 0)
			memset(polled, 0, count * 3 * sizeof(*polled));
		for (size_t i = 0; i < count; i++)
			if (list[i].pid > 0)
				serve(&list[i], polled + i * 3);
	}
	for (size_t i = 0; i < count; i++) {
		keep(&list[i].output, &list[i].output_length, list[i].output_length, "", 0,
		     &list[i].cut);
		keep(&list[i].errors, &list[i].errors_length, list[i].errors_length, "", 0,
		     &list[i].cut);
		if (!list[i].output || !list[i].errors)
			abort();
	}
	free(polled);
}

void process_clear(struct process *process)
{
	free(process->output);
	free(process->errors);
	process->output = process->errors = NULL;
}
