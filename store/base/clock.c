#include "clock.h"

#include <sodium.h>
#include <stdlib.h>
#include <time.h>

static uint64_t system_time_ns(void *context)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t system_now_ms(void *context)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void system_random(void *context, uint8_t *out, size_t size)
{
	randombytes_buf(out, size);
}

struct clock clock_system(void)
{
	/* Without randomness no key and no nonce is safe; libsodium itself aborts where it finds none. */
	if (sodium_init() < 0)
		abort();
	return (struct clock){
		.time_ns = system_time_ns,
		.now_ms = system_now_ms,
		.random = system_random,
	};
}

uint64_t clock_time_ns(const struct clock *c)
{
	return c->time_ns(c->context);
}

uint64_t clock_time_ms(const struct clock *c)
{
	return c->time_ns(c->context) / 1000000;
}

uint64_t clock_now_ms(const struct clock *c)
{
	return c->now_ms(c->context);
}

void clock_random(const struct clock *c, void *out, size_t size)
{
	c->random(c->context, out, size);
}

#define NS_PER_S INT64_C(1000000000)

/* What lies outside of 1677 to 2262 becomes the nearest time that does not. */
uint64_t ns_of_time(const struct timespec *time)
{
	int64_t ns;
	if (__builtin_mul_overflow((int64_t)time->tv_sec, NS_PER_S, &ns) || __builtin_add_overflow(ns, time->tv_nsec, &ns))
		ns = time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return (uint64_t)ns;
}

struct timespec time_of_ns(uint64_t ns)
{
	int64_t since = (int64_t)ns, below = since % NS_PER_S < 0;
	return (struct timespec){ .tv_sec = since / NS_PER_S - below, .tv_nsec = since % NS_PER_S + below * NS_PER_S };
}
