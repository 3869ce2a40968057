/*
 * alloc_faults.h - for tests in which memory runs out: the n-th allocation between arm and disarm fails.
 *
 * It stands before the C library's and the sanitizers' malloc, so that the libraries below (LMDB, libgit2,
 * zlib) fail too. Not cmark, which ends the process when it gets no memory. One program includes it once.
 */
#ifndef ALLOC_FAULTS_H
#define ALLOC_FAULTS_H

#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct allocations {
	atomic_bool armed;
	atomic_uint count, failed;
	unsigned fail_at;        /* from 1 */
	uintptr_t exempt[2];     /* code whose calls do not count: from, to */
} allocations;

/* A sanitizer's, where there is one. */
void *__interceptor_malloc(size_t size) __attribute__((weak));
void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *old, size_t size) __attribute__((weak));
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

/* The sanitizers themselves allocate before they have begun. */
#define UNWATCHED __attribute__((no_sanitize("address", "thread", "undefined")))

UNWATCHED static bool allocation_fails(const void *caller)
{
	if (!atomic_load_explicit(&allocations.armed, memory_order_relaxed))
		return false;
	if ((uintptr_t)caller >= allocations.exempt[0] && (uintptr_t)caller < allocations.exempt[1])
		return false;
	if (atomic_fetch_add(&allocations.count, 1) + 1 != allocations.fail_at)
		return false;
	atomic_fetch_add(&allocations.failed, 1);
	errno = ENOMEM;
	return true;
}

UNWATCHED void *malloc(size_t size)
{
	if (allocation_fails(__builtin_return_address(0)))
		return NULL;
	return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

UNWATCHED void *calloc(size_t count, size_t size)
{
	if (allocation_fails(__builtin_return_address(0)))
		return NULL;
	return __interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}

UNWATCHED void *realloc(void *old, size_t size)
{
	if (allocation_fails(__builtin_return_address(0)))
		return NULL;
	return __interceptor_realloc ? __interceptor_realloc(old, size) : __libc_realloc(old, size);
}

/* The sanitizers' own does not ask malloc. */
UNWATCHED char *strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = malloc(size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

static int allocations_find_exempt(struct dl_phdr_info *info, size_t size, void *context)
{
	if (!strstr(info->dlpi_name, "libcmark"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			allocations.exempt[0] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			allocations.exempt[1] = allocations.exempt[0] + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

static inline void allocations_arm(unsigned fail_at)
{
	if (!allocations.exempt[1])
		dl_iterate_phdr(allocations_find_exempt, NULL);
	allocations.fail_at = fail_at;
	allocations.count = allocations.failed = 0;
	allocations.armed = true;
}

/* True if one has failed. */
static inline bool allocations_disarm(void)
{
	allocations.armed = false;
	return allocations.failed > 0;
}

#endif
