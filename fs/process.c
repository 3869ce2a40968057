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

static uint32_t ask(struct processes *p, struct process_answer *kept, uint32_t id, const char *field, uint64_t now_ms)
{
	struct process_answer *answer = &kept[id % PROCESS_KEPT];

	pthread_mutex_lock(&p->lock);
	const struct process_answer known = *answer;
	pthread_mutex_unlock(&p->lock);
	if (known.of == id && now_ms < known.until_ms)
		return known.is;

	const uint32_t is = status_number(id, field);
	pthread_mutex_lock(&p->lock);
	*answer = (struct process_answer){ id, is, now_ms + KEPT_MS };
	pthread_mutex_unlock(&p->lock);
	return is;
}

uint32_t process_of(struct processes *p, uint32_t thread, uint64_t now_ms)
{
	const uint32_t process = thread ? ask(p, p->processes, thread, "\nTgid:", now_ms) : 0;

	return process ? process : thread;
}

uint32_t process_parent(struct processes *p, uint32_t process, uint64_t now_ms)
{
	return process ? ask(p, p->parents, process, "\nPPid:", now_ms) : 0;
}
