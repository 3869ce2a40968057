#include "process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define KEPT_MS 1000

void processes_init(struct processes *p)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
}

void processes_finish(struct processes *p)
{
	pthread_mutex_destroy(&p->lock);
}

/* A number from /proc/ID/status; 0: none. */
static uint32_t status_number(uint32_t id, const char *field)
{
	char path[sizeof("/proc/4294967295/status")], text[1024];
	snprintf(path, sizeof(path), "/proc/%u/status", id);
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;

	ssize_t size = read(fd, text, sizeof(text) - 1);
	if (size <= 0)
		return 0;
	text[size] = '\0';
	const char *line = strstr(text, field);
	return line ? (uint32_t)strtoul(line + strlen(field), NULL, 10) : 0;
}

uint32_t process_parent(uint32_t process)
{
	return process ? status_number(process, "\nPPid:") : 0;
}

uint32_t process_of(struct processes *p, uint32_t thread, uint64_t now_ms)
{
	if (thread == 0)
		return 0;

	uint32_t process = 0;
	size_t slot = thread % PROCESS_KEPT;
	pthread_mutex_lock(&p->lock);
	if (p->kept[slot].thread == thread && now_ms < p->kept[slot].until_ms)
		process = p->kept[slot].process;
	pthread_mutex_unlock(&p->lock);
	if (process)
		return process;

	process = status_number(thread, "\nTgid:");
	if (!process)
		process = thread;
	pthread_mutex_lock(&p->lock);
	p->kept[slot].thread = thread;
	p->kept[slot].process = process;
	p->kept[slot].until_ms = now_ms + KEPT_MS;
	pthread_mutex_unlock(&p->lock);
	return process;
}
