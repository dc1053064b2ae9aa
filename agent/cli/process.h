/* SPDX-License-Identifier: Apache-2.0 */
/* Other programs, several at once: started without a shell, what they print read within bounds. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct process;
typedef void (*process_output)(struct process *process, const char *data, size_t length);

struct process {
	/* Set before the start; borrowed. */
	char *const *argv;	  /* ends with NULL; the program is looked for in PATH */
	const char *input;	  /* what it reads; NULL: nothing */
	size_t input_length;	  /* bytes */
	size_t most;		  /* bytes of output that are kept; the rest is dropped */
	process_output on_output; /* each piece as it comes, instead of keeping it; may be NULL */
	void *data;		  /* the caller's */
	bool detached; /* in a process group of its own, where Ctrl-C does not reach it */

	/* Set when it has ended. */
	int error;    /* 0; -ETIMEDOUT; -errno: it was not started */
	int status;   /* its exit status; 128 and the signal's number if one ended it */
	char *output; /* with a NUL behind; never NULL */
	size_t output_length;
	bool cut;     /* there was more output */
	char *errors; /* its standard error, the first 64 KiB; with a NUL behind; never NULL */
	size_t errors_length;

	/* The runner's own. */
	pid_t pid;
	int fds[3];
	size_t written;
	long long deadline_ms;
	bool started;
};

/* Set (by a handler of signals): those that run are ended, but for detached ones, and no others
 * begun; their error is -ECANCELED. */
extern volatile sig_atomic_t processes_stopped;

/*
 * Runs all, `at_once` at a time, and returns when each has ended. One that takes longer than
 * `timeout_ms` (0: no limit) is killed.
 */
void processes_run(struct process *list, size_t count, size_t at_once, int timeout_ms);
/* Frees the results. */
void process_clear(struct process *process);
