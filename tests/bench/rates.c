/*
 * rates - how fast zlib makes and unmakes gzip of a file, as the measure for writing and reading it.
 *
 *   rates THREADS FILE    prints MiB of text a second: deflate at level 6, inflate
 *
 * Each thread has its own part of the file, which is all in memory, and one stream for it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define THREADS_MAX 64
#define GZIP 16 /* to windowBits: gzip's header */

struct part {
	pthread_t thread;
	uint8_t *text, *member;
	uLong text_size, member_size;
	int err;
};

static void *make(void *argument)
{
	struct part *part = argument;
	z_stream z = { .next_in = part->text, .avail_in = (uInt)part->text_size,
		       .next_out = part->member, .avail_out = (uInt)part->member_size };

	if (deflateInit2(&z, 6, Z_DEFLATED, MAX_WBITS + GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		part->err = 1;
	part->member_size = z.total_out;
	deflateEnd(&z);
	return NULL;
}

static void *unmake(void *argument)
{
	struct part *part = argument;
	z_stream z = { .next_in = part->member, .avail_in = (uInt)part->member_size,
		       .next_out = part->text, .avail_out = (uInt)part->text_size };

	if (inflateInit2(&z, MAX_WBITS + GZIP) != Z_OK || inflate(&z, Z_FINISH) != Z_STREAM_END)
		part->err = 1;
	inflateEnd(&z);
	return NULL;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int run(const char *name, void *(*work)(void *), struct part *parts, unsigned count, uint64_t size)
{
	uint64_t start = now_us();
	int err = 0;

	for (unsigned index = 0; index < count; index++) {
		if (pthread_create(&parts[index].thread, NULL, work, &parts[index]) != 0)
			return 1;
	}
	for (unsigned index = 0; index < count; index++) {
		pthread_join(parts[index].thread, NULL);
		err |= parts[index].err;
	}
	printf("%s %llu MiB/s\n", name, (unsigned long long)(size * 1000000 / (now_us() - start + 1) >> 20));
	return err;
}

int main(int argc, char **argv)
{
	struct part parts[THREADS_MAX] = { 0 };
	unsigned count = argc == 3 ? (unsigned)atoi(argv[1]) : 0;
	int fd = count && count <= THREADS_MAX ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 2;
	for (unsigned index = 0; index < count; index++) {
		struct part *part = &parts[index];
		part->text_size = (uLong)st.st_size / count;
		part->member_size = compressBound(part->text_size) + 64;
		part->text = malloc(part->text_size);
		part->member = calloc(1, part->member_size); /* touched: page faults are not zlib's */
		if (!part->text || !part->member ||
		    pread(fd, part->text, part->text_size, (off_t)(index * part->text_size)) != (ssize_t)part->text_size)
			return 1;
	}
	uint64_t size = parts[0].text_size * count;
	return run("deflate", make, parts, count, size) | run("inflate", unmake, parts, count, size);
}
