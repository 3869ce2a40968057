/* command_progress.c - how long something takes, on the terminal. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "progress.h"

#define LOOK_MS 100
#define BEGIN_MS_MAX 1000 /* until what was asked for is missing */

void progress_show(const char *what, uint64_t done, uint64_t total)
{
	enum { WIDTH = 40 };
	char bar[WIDTH + 1];

	if (!isatty(STDERR_FILENO) || total == 0)
		return;
	size_t filled = (size_t)(done * WIDTH / total);
	memset(bar, ' ', WIDTH);
	memset(bar, '#', filled < WIDTH ? filled : WIDTH);
	bar[WIDTH] = '\0';
	fprintf(stderr, "\r%s [%s] %3u%%%s", what, bar, (unsigned)(done * 100 / total), done >= total ? "\n" : "");
}

void sync_print(const struct progress *p, bool terminal)
{
	char text[PROGRESS_TEXT_SIZE];

	progress_describe(p, text);
	if (terminal)
		fprintf(stderr, "\r\033[Ksync: %s%s", text, p->state == PROGRESS_GOING ? "" : "\n");
	else
		fprintf(stderr, "sync: %s\n", text);
}

static uint64_t metric(const char *text, const char *name)
{
	char line[80];
	uint64_t value = 0;

	snprintf(line, sizeof(line), "\nmoot_net_%s ", name);
	const char *at = strstr(text, line);
	return at && sscanf(at + strlen(line), "%" SCNu64, &value) == 1 ? value : 0;
}

static bool read_counts(struct target *t, struct progress_counts *out)
{
	struct bytes text;

	if (target_read(t, "metrics", &text, NULL) < 0)
		return false;
	bytes_put_u8(&text, 0);
	const char *read = (const char *)text.data;
	bool whole = bytes_error(&text) == 0;
	if (whole)
		*out = (struct progress_counts){
			.records = metric(read, "records_in_total"), .pieces = metric(read, "pieces_in_total"),
			.bytes = metric(read, "bytes_in_total"), .missing_logs = metric(read, "missing_logs"),
			.missing_pieces = metric(read, "missing_pieces"), .peers = metric(read, "sessions"),
		};
	bytes_finish(&text);
	return whole;
}

static void sleep_ms(unsigned ms)
{
	const struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

static void show_until_over(struct target *t)
{
	const struct clock clock = clock_system();
	struct progress_counts counts;
	struct progress p = { 0 };
	uint64_t began_ms = clock_now_ms(&clock);
	enum progress_state state = PROGRESS_GOING;

	while (state == PROGRESS_GOING && read_counts(t, &counts)) {
		uint64_t now_ms = clock_now_ms(&clock);
		state = progress_take(&p, &counts, now_ms);
		if (progress_is_due(&p, 0, 0, now_ms))
			sync_print(&p, true);
		if (state == PROGRESS_NONE && counts.peers > 0 && now_ms - began_ms < BEGIN_MS_MAX)
			state = PROGRESS_GOING;
		sleep_ms(state == PROGRESS_GOING ? LOOK_MS : 0);
	}
	if (p.told == PROGRESS_GOING)
		fputc('\n', stderr);
}

void sync_await(void)
{
	struct target node;

	if (!isatty(STDERR_FILENO))
		return;
	if (target_open_node(&node, NULL) == 0 && !node.opened)
		show_until_over(&node);
	target_close(&node);
}
