/*
 * clock.h - time and randomness, passed in: no module asks the system for them.
 *
 * `time_ms` and `time_ns` are wall time since 1970; `now_ms` is monotonic.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct clock {
	uint64_t (*time_ns)(void *context); /* wall time since 1970, nanoseconds */
	uint64_t (*now_ms)(void *context);  /* monotonic, milliseconds */
	void (*random)(void *context, uint8_t *out, size_t size);
	void *context;
};

/* The system's own clocks and libsodium's randomness. */
struct clock clock_system(void);

uint64_t clock_time_ns(const struct clock *c);
uint64_t clock_time_ms(const struct clock *c);
uint64_t clock_now_ms(const struct clock *c);
void clock_random(const struct clock *c, void *out, size_t size);

/* A file's time as nanoseconds since 1970, modulo 2^64: before 1970 as a negative number. */
uint64_t ns_of_time(const struct timespec *time);
struct timespec time_of_ns(uint64_t ns);

#endif
