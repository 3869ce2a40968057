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
