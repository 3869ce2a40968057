#include "process.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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

/* The text of /proc/ID/NAME; false: there is none. */
static bool proc_read(uint32_t id, const char *name, char *out, size_t out_size)
{
	char path[sizeof("/proc/4294967295/") + 8];
	snprintf(path, sizeof(path), "/proc/%u/%s", id, name);
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;

	ssize_t size = read(fd, out, out_size - 1);
	if (size <= 0)
		return false;
	out[size] = '\0';
	return true;
}

static uint64_t status_number(uint32_t id, const char *field)
{
	char text[1024];

	if (!proc_read(id, "status", text, sizeof(text)))
		return 0;
	const char *line = strstr(text, field);
	return line ? strtoul(line + strlen(field), NULL, 10) : 0;
}

static uint64_t find_process(uint32_t thread, uint64_t now_ms)
{
	return status_number(thread, "\nTgid:");
}

static uint64_t find_parent(uint32_t process, uint64_t now_ms)
{
	return status_number(process, "\nPPid:");
}

/* proc(5): field 22, in ticks since the machine was started, suspended or not. */
static uint64_t find_start(uint32_t process, uint64_t now_ms)
{
	struct timespec up;
	char text[1024];

	const char *at = proc_read(process, "stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at || clock_gettime(CLOCK_BOOTTIME, &up) < 0)
		return 0;
	uint64_t start_ms = strtoull(at, NULL, 10) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t up_ms = (uint64_t)up.tv_sec * 1000 + (uint64_t)up.tv_nsec / 1000000;
	uint64_t age_ms = up_ms > start_ms ? up_ms - start_ms : 0;
	return now_ms > age_ms ? now_ms - age_ms : 0;
}

static uint64_t ask(struct processes *p, struct process_answer *kept, uint32_t id,
		    uint64_t (*find)(uint32_t id, uint64_t now_ms), uint64_t now_ms)
{
	struct process_answer *answer = &kept[id % PROCESS_KEPT];

	if (id == 0)
		return 0;
	pthread_mutex_lock(&p->lock);
	const struct process_answer known = *answer;
	pthread_mutex_unlock(&p->lock);
	if (known.of == id && now_ms < known.until_ms)
		return known.is;

	const uint64_t is = find(id, now_ms);
	pthread_mutex_lock(&p->lock);
	*answer = (struct process_answer){ id, is, now_ms + KEPT_MS };
	pthread_mutex_unlock(&p->lock);
	return is;
}

uint32_t process_of(struct processes *p, uint32_t thread, uint64_t now_ms)
{
	const uint32_t process = (uint32_t)ask(p, p->processes, thread, find_process, now_ms);

	return process ? process : thread;
}

uint32_t process_parent(struct processes *p, uint32_t process, uint64_t now_ms)
{
	return (uint32_t)ask(p, p->parents, process, find_parent, now_ms);
}

uint64_t process_started_ms(struct processes *p, uint32_t process, uint64_t now_ms)
{
	return ask(p, p->starts, process, find_start, now_ms);
}
