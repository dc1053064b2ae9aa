/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into polderd: what a test cannot do to one process of a machine that others use. The
 * file that SHIM names says what it is at the moment: seconds that the wall clock is ahead, seconds
 * that the machine has slept, whether there are inotify instances left, and threads.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct shim {
	volatile int64_t ahead, slept;
	volatile int32_t no_inotify, no_threads;
};

static const struct shim *shim(void)
{
	static const struct shim nothing;
	static const struct shim *found;
	const char *path;
	int fd;

	if (found)
		return found;
	path = getenv("SHIM");
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*found), PROT_READ, MAP_SHARED, fd, 0);
	if (found == MAP_FAILED)
		found = &nothing;
	if (fd >= 0)
		close(fd);
	return found;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int r = (int)syscall(SYS_clock_gettime, clock, now);

	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += shim()->ahead;
	if (r == 0 && clock == CLOCK_BOOTTIME)
		now->tv_sec += shim()->slept;
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *ret, void *zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}

int inotify_init1(int flags)
{
	if (shim()->no_inotify) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_inotify_init1, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
		   void *data)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (shim()->no_threads)
		return EAGAIN;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attributes, run, data);
}
