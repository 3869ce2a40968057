#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "waiter.h"

/* ---- a request, and a network that answers when it is told to ---- */

struct request {
	struct waiting waiting;
	struct world *world;
	atomic_int needs;    /* 0: all is here */
	atomic_int attempts;
	int *answer;         /* 0 or the error; 1 before */
};

struct world {
	struct waiter *waiter;
	struct clock clock;
	uint64_t tokens[WAITING_MAX * 2];
	atomic_size_t wanted;
	int refuse;
	atomic_int ended;
	pthread_mutex_t lock;
};

static int attempt(struct waiting *waiting)
{
	struct request *r = (struct request *)waiting;

	r->attempts++;
	if (r->needs > 0)
		return -ENODATA;
	*r->answer = 0;
	return 0;
}

static void refuse(struct waiting *waiting, int err)
{
	struct request *r = (struct request *)waiting;

	*r->answer = err;
}

static void end(struct waiting *waiting)
{
	struct request *r = (struct request *)waiting;

	r->world->ended++;
	free(r);
}

static int want(void *context, const struct id *version, uint64_t token, uint64_t until_ms)
{
	struct world *world = context;

	if (world->refuse)
		return world->refuse;
	world->tokens[world->wanted++] = token;
	return 0;
}

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->clock = clock_system();
	const struct waiter_options options = { .clock = world->clock, .want = want, .context = world };
	assert_int_equal(waiter_new(&world->waiter, &options), 0);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	waiter_free(world->waiter);
	free(world);
	return 0;
}

static struct request *request_new(struct world *world, int needs, uint64_t wait_ms, int *answer)
{
	struct request *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	*answer = 1;
	r->waiting = (struct waiting){ .version_count = 1, .until_ms = clock_now_ms(&world->clock) + wait_ms,
				       .attempt = attempt, .refuse = refuse, .end = end };
	r->world = world;
	r->needs = needs;
	r->answer = answer;
	return r;
}

static void pass_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void await_ended(struct world *world, int count)
{
	for (int i = 0; i < 5000 && world->ended < count; i++)
		pass_ms(1);
	assert_int_equal(world->ended, count);
}

static uint64_t noted_token;

static void note_token(struct waiting *waiting, uint64_t token)
{
	noted_token = token;
}

/* ---- tests ---- */

static void what_came_is_answered(void **state)
{
	struct world *world = *state;
	int answer;
	struct request *r = request_new(world, 1, 60000, &answer);

	assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), 0);
	pass_ms(30);
	assert_int_equal(answer, 1);
	assert_int_equal(waiter_count(world->waiter), 1);
	r->needs = 0;
	waiter_wanted(world->waiter, world->tokens[0]);
	await_ended(world, 1);
	assert_int_equal(answer, 0);
	assert_int_equal(waiter_count(world->waiter), 0);
}

/* The first pieces of a large document are enough for its first bytes. */
static void pieces_that_come_are_tried_at_once(void **state)
{
	struct world *world = *state;
	int answer;
	struct request *r = request_new(world, 1, 60000, &answer);

	assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), 0);
	for (int i = 0; i < 100; i++)
		waiter_came(world->waiter);
	pass_ms(60);
	assert_int_equal(answer, 1);
	assert_in_range(r->attempts, 1, 10);
	r->needs = 0;
	waiter_came(world->waiter);
	await_ended(world, 1);
	assert_int_equal(answer, 0);
}

static void what_does_not_come_ends(void **state)
{
	static const struct {
		const char *name;
		uint64_t wait_ms;
		bool gave_up, refused;
	} cases[] = {
		{ "its time is up", 50, false, false },
		{ "the network gave up", 60000, true, false },
		{ "the network takes no more", 60000, false, true },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int answer;
		struct request *r = request_new(world, 1, cases[i].wait_ms, &answer);

		print_message("%s\n", cases[i].name);
		world->refuse = cases[i].refused ? -EAGAIN : 0;
		assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), 0);
		if (cases[i].gave_up)
			waiter_wanted(world->waiter, world->tokens[world->wanted - 1]);
		await_ended(world, (int)i + 1);
		assert_int_equal(answer, -ENODATA);
	}
}

/* Of several versions it waits for the last answer. */
static void several_versions_are_waited_for(void **state)
{
	struct world *world = *state;
	int answer;
	struct request *r = request_new(world, 1, 60000, &answer);

	r->waiting.version_count = 3;
	assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), 0);
	assert_int_equal(world->wanted, 3);
	waiter_wanted(world->waiter, world->tokens[2]);
	waiter_wanted(world->waiter, world->tokens[0]);
	pass_ms(30);
	assert_int_equal(answer, 1);
	waiter_wanted(world->waiter, world->tokens[1]);
	await_ended(world, 1);
	assert_int_equal(answer, -ENODATA);
}

static void an_interrupt_ends_it(void **state)
{
	struct world *world = *state;
	int answer, other;
	struct request *r = request_new(world, 1, 60000, &answer), *s = request_new(world, 1, 60000, &other);

	assert_int_equal(waiter_park(world->waiter, &r->waiting, note_token), 0);
	uint64_t token = noted_token;
	assert_int_equal(waiter_park(world->waiter, &s->waiting, note_token), 0);
	uint64_t other_token = noted_token;
	assert_true(other_token != token);
	waiter_interrupt(world->waiter, 123456);
	waiter_interrupt(world->waiter, token);
	await_ended(world, 1);
	assert_int_equal(answer, -EINTR);
	assert_int_equal(other, 1);
	waiter_interrupt(world->waiter, other_token);
	await_ended(world, 2);
	assert_int_equal(other, -EINTR);
}

static void interrupt_at_once(struct waiting *waiting, uint64_t token)
{
	waiter_interrupt(((struct request *)waiting)->world->waiter, token);
}

/* libfuse calls the function at once if the interrupt was there before. */
static void an_interrupt_before_it_waits_ends_it(void **state)
{
	struct world *world = *state;
	int answer;
	struct request *r = request_new(world, 1, 60000, &answer);

	assert_int_equal(waiter_park(world->waiter, &r->waiting, interrupt_at_once), 0);
	await_ended(world, 1);
	assert_int_equal(answer, -EINTR);
}

static void their_number_is_bounded(void **state)
{
	struct world *world = *state;
	int answers[WAITING_MAX], last;

	for (int i = 0; i < WAITING_MAX; i++)
		assert_int_equal(waiter_park(world->waiter, &request_new(world, 1, 60000, &answers[i])->waiting, NULL), 0);
	struct request *r = request_new(world, 1, 60000, &last);
	assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), -ENODATA);
	assert_int_equal(waiter_count(world->waiter), WAITING_MAX);
	assert_int_equal(last, 1);
	free(r);

	/* At the end all are answered. */
	waiter_free(world->waiter);
	world->waiter = NULL;
	assert_int_equal(world->ended, WAITING_MAX);
	for (int i = 0; i < WAITING_MAX; i++)
		assert_int_equal(answers[i], -ENODATA);
}

static void no_time_is_no_waiting(void **state)
{
	struct world *world = *state;
	int answer;
	struct request *r = request_new(world, 1, 0, &answer);

	assert_int_equal(waiter_park(world->waiter, &r->waiting, NULL), -ENODATA);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_came_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(pieces_that_come_are_tried_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(what_does_not_come_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(several_versions_are_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interrupt_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interrupt_before_it_waits_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(their_number_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(no_time_is_no_waiting, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
