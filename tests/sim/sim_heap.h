/*
 * sim_heap.h - what is to happen, in order of (time, sequence): equal times in the order of coming.
 *
 * Times are microseconds of the simulation.  An event is 40 bytes and owns nothing.
 */
#ifndef SIM_HEAP_H
#define SIM_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_event {
	uint64_t time_us, sequence;
	uint32_t kind, number;
	void *subject;
	uint64_t argument;
};

struct sim_heap {
	struct sim_event *events;
	size_t count, capacity;
	uint64_t last_sequence;
};

void sim_heap_finish(struct sim_heap *heap);
/* Fills in the sequence. Aborts without memory. */
void sim_heap_put(struct sim_heap *heap, struct sim_event event);
bool sim_heap_take(struct sim_heap *heap, struct sim_event *out);
uint64_t sim_heap_next_us(const struct sim_heap *heap); /* UINT64_MAX: empty */

#endif
