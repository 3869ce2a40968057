/*
 * bench_content - MiB/s of writing and reading a file as pieces, and the memory it takes.
 *
 *   bench_content FILE    e.g. a concatenation of many documents
 *
 * Pieces are kept in memory and found by text only in the second round, so the
 * first is all compression and the second all hashing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <uthash.h>

#include "content.h"

struct kept {
	struct id name, text_id;
	struct piece_ref ref;
	uint8_t *member;
	UT_hash_handle hh, by_text;
};

struct shelf {
	struct kept *pieces, *texts;
	uint64_t stored_size;
	int fd;
};

static int shelf_put(void *context, const struct id *text_id, const struct piece_ref *offer,
		     const uint8_t *member, struct piece_ref *out)
{
	struct shelf *shelf = context;
	struct kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		abort();
	kept->member = malloc(offer->stored_size);
	if (!kept->member)
		abort();
	kept->name = offer->name;
	kept->text_id = *text_id;
	kept->ref = *offer;
	memcpy(kept->member, member, offer->stored_size);
	HASH_ADD(hh, shelf->pieces, name, sizeof(kept->name), kept);
	HASH_ADD(by_text, shelf->texts, text_id, sizeof(kept->text_id), kept);
	shelf->stored_size += offer->stored_size;
	return 0;
}

static int shelf_find_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	struct shelf *shelf = context;
	struct kept *kept;

	HASH_FIND(by_text, shelf->texts, text_id, sizeof(*text_id), kept);
	if (kept)
		*out = kept->ref;
	return kept != NULL;
}

static ssize_t shelf_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct shelf *shelf = context;
	struct kept *kept;

	HASH_FIND(hh, shelf->pieces, name, sizeof(*name), kept);
	if (!kept)
		return -ENOENT;
	memcpy(out, kept->member, kept->ref.stored_size);
	return (ssize_t)kept->ref.stored_size;
}

static ssize_t read_file(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	ssize_t got = pread(((struct shelf *)context)->fd, out, size, (off_t)offset);

	return got < 0 ? -errno : got;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void report(const char *what, uint64_t size, uint64_t since_us)
{
	struct rusage usage;
	uint64_t spent_us = now_us() - since_us + 1;

	getrusage(RUSAGE_SELF, &usage);
	printf("%-22s %6llu MiB/s  %8ld KiB peak memory\n", what,
	       (unsigned long long)(size * 1000000 / spent_us >> 20), usage.ru_maxrss);
}

static void read_all(struct piece_cache *cache, const struct piece_store *store,
		     const struct content *content, const char *what)
{
	static uint8_t out[128 * 1024];
	uint64_t start = now_us();

	for (uint64_t at = 0; at < content->size; at += sizeof(out)) {
		if (content_read(cache, store, content, out, sizeof(out), at) <= 0)
			abort();
	}
	report(what, content->size, start);
}

int main(int argc, char **argv)
{
	struct shelf shelf = { .fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1 };
	const struct piece_store store = { shelf_put, shelf_find_text, shelf_get, &shelf };
	struct packer *packer = packer_new();
	struct piece_cache *cache = piece_cache_new(512u << 20);
	struct content content;

	if (shelf.fd < 0 || sodium_init() < 0 || !packer || !cache)
		return 2;
	uint64_t size = (uint64_t)lseek(shelf.fd, 0, SEEK_END);
	for (unsigned round = 0; round < 2; round++) {
		uint64_t start = now_us();

		if (content_write(packer, &store, read_file, &shelf, size, &content) < 0)
			return 1;
		report(round ? "write, all known" : "write, all new", size, start);
	}
	printf("%u pieces, depth %u, %llu of %llu bytes stored\n", HASH_COUNT(shelf.pieces), content.depth,
	       (unsigned long long)shelf.stored_size, (unsigned long long)size);
	read_all(cache, &store, &content, "read, inflating");
	read_all(cache, &store, &content, "read, from the cache");
	return 0;
}
