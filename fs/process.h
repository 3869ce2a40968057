/*
 * process.h - which process a thread belongs to: FUSE tells the thread's id, the rules of saving ask for the process.
 *
 * /proc is asked, which costs, so answers are kept for a second.  Thread-safe.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <pthread.h>
#include <stdint.h>

#define PROCESS_KEPT 64 /* slots; more threads than that in a second only cost another look */

struct process_answer {
	uint32_t of;          /* 0: nothing kept */
	uint64_t is, until_ms; /* is 0: none is known */
};

struct processes {
	pthread_mutex_t lock;
	struct process_answer processes[PROCESS_KEPT], parents[PROCESS_KEPT], starts[PROCESS_KEPT];
};

void processes_init(struct processes *p);
void processes_finish(struct processes *p);
/* 0: unknown (0 was given, or the thread has ended and nothing is known: then the thread's own id). */
uint32_t process_of(struct processes *p, uint32_t thread, uint64_t now_ms);
/* The parent of a process, 0 if unknown. */
uint32_t process_parent(struct processes *p, uint32_t process, uint64_t now_ms);
/* When it began, on the clock of now_ms and as exact as the system's ticks; 0 if unknown. */
uint64_t process_started_ms(struct processes *p, uint32_t process, uint64_t now_ms);

#endif
