#include "sim_heap.h"

#include <stdlib.h>

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

void sim_heap_finish(struct sim_heap *heap)
{
	free(heap->events);
	*heap = (struct sim_heap){ 0 };
}

void sim_heap_put(struct sim_heap *heap, struct sim_event event)
{
	if (heap->count == heap->capacity) {
		heap->capacity = heap->capacity ? 2 * heap->capacity : 64;
		heap->events = realloc(heap->events, heap->capacity * sizeof(heap->events[0]));
		if (!heap->events)
			abort();
	}
	event.sequence = ++heap->last_sequence;
	size_t at = heap->count++;
	for (; at > 0 && is_before(&event, &heap->events[(at - 1) / 2]); at = (at - 1) / 2)
		heap->events[at] = heap->events[(at - 1) / 2];
	heap->events[at] = event;
}

bool sim_heap_take(struct sim_heap *heap, struct sim_event *out)
{
	if (heap->count == 0)
		return false;
	*out = heap->events[0];
	struct sim_event last = heap->events[--heap->count];
	size_t at = 0;
	for (size_t child = 1; child < heap->count; child = 2 * at + 1) {
		if (child + 1 < heap->count && is_before(&heap->events[child + 1], &heap->events[child]))
			child++;
		if (!is_before(&heap->events[child], &last))
			break;
		heap->events[at] = heap->events[child];
		at = child;
	}
	heap->events[at] = last;
	return true;
}

uint64_t sim_heap_next_us(const struct sim_heap *heap)
{
	return heap->count > 0 ? heap->events[0].time_us : UINT64_MAX;
}
