#include "gather.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_SIZE_MIN (16 * 1024)
#define CHUNK_SIZE_MAX (1024 * 1024)
#define BUCKETS_MIN 256
#define HUGE_PAGE_SIZE (2 * 1024 * 1024)
#define BUCKETS_KEPT 16384     /* and a chunk: memory of its own for each round costs more than its rows */
#define STRAYS_PART 8          /* of the rows, at most, of a table whose keys rise */
#define KEY_SIZE_MAX 511       /* LMDB's */
#define THROUGH_ROWS 4096 /* written through after a walk: fewer cost more than they save */

struct kept { /* a row; in a chunk, in the order of coming */
	uint32_t value_size, value_room;
	uint16_t key_size;
	bool deleted, moved; /* moved: another row took its place */
	uint8_t data[];      /* key, value */
};

struct chunk {
	struct chunk *next;
	size_t used, size;
	uint64_t data[];
};

struct bucket {
	uint64_t hash;
	struct kept *row; /* NULL: free */
};

struct shelf { /* a table */
	struct chunk *first, *last;
	struct bucket *buckets; /* open addressing, linear probes, at most two thirds full */
	size_t bucket_count, count, size;
	size_t strays; /* rows that came with a lesser key than one before them */
	unsigned through_left;
	bool written; /* the table itself may hold rows */
	uint8_t greatest[KEY_SIZE_MAX]; /* of all keys ever, here or there; not of scattered tables */
	size_t greatest_size;
};

struct gather {
	uint64_t seed;
	struct shelf shelves[TABLE_COUNT];
};

/* ---- which ---- */

static const bool is_gathered[TABLE_COUNT] = {
	[TABLE_NUMBER] = true, [TABLE_RECORD] = true, [TABLE_PIECE] = true, [TABLE_TEXT] = true,
	[TABLE_CHAIN] = true, [TABLE_SLOT] = true, [TABLE_ORDER] = true, [TABLE_ENTRY] = true,
	[TABLE_PATH] = true, [TABLE_VERSION] = true, [TABLE_NODE] = true, [TABLE_CHILD] = true, [TABLE_STAND] = true,
};

bool gather_is_scattered(enum table table)
{
	return table == TABLE_NUMBER || table == TABLE_TEXT;
}

static bool is_beyond(const struct shelf *s, const uint8_t *key, size_t size)
{
	int order = memcmp(key, s->greatest, size < s->greatest_size ? size : s->greatest_size);

	return order ? order > 0 : size > s->greatest_size;
}

/* Whether it was the greatest so far. */
static bool note_key(struct shelf *s, const void *key, size_t size)
{
	if (!is_beyond(s, key, size))
		return false;
	memcpy(s->greatest, key, size);
	s->greatest_size = size;
	return true;
}

bool gather_wants(struct gather *g, enum table table, const void *key, size_t key_size)
{
	struct shelf *s = &g->shelves[table];

	if (key_size == 0 || key_size > KEY_SIZE_MAX || !is_gathered[table])
		return false;
	if (s->through_left == 0)
		return true;
	s->through_left--;
	s->written = true;
	if (!gather_is_scattered(table))
		note_key(s, key, key_size);
	return false;
}

bool gather_is_ripe(const struct gather *g, enum table table)
{
	const struct shelf *s = &g->shelves[table];

	return s->count > 0 && !gather_is_scattered(table) && s->strays <= s->count / STRAYS_PART;
}

void gather_note_walk(struct gather *g, enum table table)
{
	g->shelves[table].through_left = THROUGH_ROWS;
}

size_t gather_count(const struct gather *g, enum table table)
{
	return g->shelves[table].count;
}

size_t gather_size(const struct gather *g, enum table table)
{
	const struct shelf *s = &g->shelves[table];

	return s->size + s->bucket_count * sizeof(*s->buckets);
}

/* ---- memory ---- */

struct gather *gather_new(uint64_t seed)
{
	struct gather *g = calloc(1, sizeof(*g));

	if (g)
		g->seed = seed;
	return g;
}

static void chunks_free(struct shelf *s)
{
	struct chunk *next;

	for (struct chunk *chunk = s->first; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	s->first = s->last = NULL;
	s->size = 0;
}

/* Keeps some memory for the next round, if there was little. */
static void shelf_clear(struct shelf *s)
{
	if (s->bucket_count > BUCKETS_KEPT) {
		free(s->buckets);
		s->buckets = NULL;
		s->bucket_count = 0;
		chunks_free(s);
	} else if (s->count > 0) {
		memset(s->buckets, 0, s->bucket_count * sizeof(*s->buckets));
		for (struct chunk *chunk = s->first; chunk; chunk = chunk->next)
			chunk->used = 0;
		s->last = s->first;
	}
	s->count = s->strays = 0;
}

void gather_free(struct gather *g)
{
	for (int i = 0; g && i < TABLE_COUNT; i++) {
		chunks_free(&g->shelves[i]);
		free(g->shelves[i].buckets);
	}
	free(g);
}

static size_t row_size(const struct kept *row)
{
	return (sizeof(*row) + row->key_size + row->value_room + 7) & ~(size_t)7;
}

static struct kept *row_new(struct shelf *s, const void *key, size_t key_size, size_t room)
{
	struct kept wanted = { .key_size = (uint16_t)key_size, .value_room = (uint32_t)room };
	size_t size = row_size(&wanted);

	while (s->last && s->last->size - s->last->used < size && s->last->next)
		s->last = s->last->next;
	if (!s->last || s->last->size - s->last->used < size) {
		size_t next = s->last ? s->last->size * 2 : CHUNK_SIZE_MIN;
		next = next > CHUNK_SIZE_MAX ? CHUNK_SIZE_MAX : next;
		next = next < size ? size : next;
		struct chunk *chunk = malloc(sizeof(*chunk) + next);
		if (!chunk)
			return NULL;
		chunk->next = NULL;
		chunk->used = 0;
		chunk->size = next;
		*(s->last ? &s->last->next : &s->first) = chunk;
		s->last = chunk;
		s->size += sizeof(*chunk) + next;
	}
	struct kept *row = (struct kept *)(s->last->data + s->last->used / 8);
	s->last->used += size;
	*row = wanted;
	memcpy(row->data, key, key_size);
	return row;
}

/* ---- hashing ---- */

static uint64_t fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Multiplies words of the key with secret ones: enough against chance and against who does not know the seed. */
static uint64_t hash_of(const struct gather *g, const uint8_t *key, size_t size)
{
	uint64_t hash = g->seed ^ size, word;

	for (; size >= 8; key += 8, size -= 8) {
		memcpy(&word, key, 8);
		hash = fold(hash ^ word, g->seed | 1);
	}
	word = 0;
	memcpy(&word, key, size);
	return fold(hash ^ word, 0x9e3779b97f4a7c15u ^ g->seed >> 1);
}

/* The bucket of the key, or the free one where it would be. Only where there are buckets. */
static struct bucket *find(const struct shelf *s, uint64_t hash, const void *key, size_t key_size)
{
	size_t at = hash & (s->bucket_count - 1);

	for (;; at = (at + 1) & (s->bucket_count - 1)) {
		struct bucket *bucket = &s->buckets[at];
		if (!bucket->row || (bucket->hash == hash && bucket->row->key_size == key_size &&
				     memcmp(bucket->row->data, key, key_size) == 0))
			return bucket;
	}
}

/* Zeroed. Large ones in large pages: they are looked at in no order, and small ones would be looked up anew each time. */
static struct bucket *buckets_new(size_t count)
{
	size_t size = count * sizeof(struct bucket);

	if (size < HUGE_PAGE_SIZE)
		return calloc(1, size);
	struct bucket *buckets = aligned_alloc(HUGE_PAGE_SIZE, size);
	if (buckets) {
		madvise(buckets, size, MADV_HUGEPAGE);
		memset(buckets, 0, size);
	}
	return buckets;
}

static int grow(struct shelf *s)
{
	size_t count = s->bucket_count ? s->bucket_count * 2 : BUCKETS_MIN;
	struct bucket *buckets = buckets_new(count);

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < s->bucket_count; i++) {
		if (!s->buckets[i].row)
			continue;
		size_t at = s->buckets[i].hash & (count - 1);
		while (buckets[at].row)
			at = (at + 1) & (count - 1);
		buckets[at] = s->buckets[i];
	}
	free(s->buckets);
	s->buckets = buckets;
	s->bucket_count = count;
	return 0;
}

/* The row of the key with room for a value: the one that is there, or a new one. NULL: no memory. */
static struct kept *place(struct gather *g, enum table table, const void *key, size_t key_size, size_t room)
{
	struct shelf *s = &g->shelves[table];
	uint64_t hash = hash_of(g, key, key_size);

	if (s->count >= s->bucket_count / 3 * 2 && grow(s) < 0)
		return NULL;
	struct bucket *bucket = find(s, hash, key, key_size);
	struct kept *old = bucket->row;
	if (old && old->value_room >= room)
		return old;
	/* What has grown once may grow on. */
	struct kept *row = row_new(s, key, key_size, old ? room + room / 2 : room);
	if (!row)
		return NULL;
	if (old)
		old->moved = true;
	*bucket = (struct bucket){ hash, row };
	s->count += !old;
	if (!old && !gather_is_scattered(table) && !note_key(s, key, key_size))
		s->strays++;
	return row;
}

int gather_put(struct gather *g, enum table table, const void *key, size_t key_size, const void *value,
	       size_t value_size)
{
	if (key_size == 0 || key_size > KEY_SIZE_MAX || value_size > UINT32_MAX / 2)
		return -EINVAL;
	struct kept *row = place(g, table, key, key_size, value_size);
	if (!row)
		return -ENOMEM;
	row->deleted = false;
	row->value_size = (uint32_t)value_size;
	if (value_size)
		memcpy(row->data + key_size, value, value_size);
	return 0;
}

int gather_delete(struct gather *g, enum table table, const void *key, size_t key_size)
{
	if (key_size == 0 || key_size > KEY_SIZE_MAX)
		return -EINVAL;
	if (gather_get(g, table, key, key_size, NULL, NULL) == -ENOENT)
		return 0;
	struct kept *row = place(g, table, key, key_size, 0);
	if (!row)
		return -ENOMEM;
	row->deleted = true;
	return 0;
}

int gather_get(const struct gather *g, enum table table, const void *key, size_t key_size, const uint8_t **out_value,
	       size_t *out_size)
{
	const struct shelf *s = &g->shelves[table];
	const struct kept *row = s->count ? find(s, hash_of(g, key, key_size), key, key_size)->row : NULL;

	if (!row && (!is_gathered[table] || key_size > KEY_SIZE_MAX))
		return 0;
	if (!row)
		return s->written && (gather_is_scattered(table) || !is_beyond(s, key, key_size)) ? 0 : -ENOENT;
	if (row->deleted)
		return -ENOENT;
	if (out_value)
		*out_value = row->data + row->key_size;
	if (out_size)
		*out_size = row->value_size;
	return 1;
}

/* ---- in order ---- */

#define RADIX_COUNT_MIN 10000 /* fewer are sorted as fast by comparing */

struct sorted {
	uint64_t part; /* of the key, where keys begin to differ: big-endian, so that it compares as they do */
	const struct kept *row;
};

static int compare_rows(const struct kept *a, const struct kept *b)
{
	int order = memcmp(a->data, b->data, a->key_size < b->key_size ? a->key_size : b->key_size);

	return order ? order : (a->key_size > b->key_size) - (a->key_size < b->key_size);
}

static int compare(const void *left, const void *right)
{
	const struct sorted *a = left, *b = right;

	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	return compare_rows(a->row, b->row);
}

/* How many bytes all keys begin with, of `most` that this one shares with the first. */
static size_t common_part(const struct kept *first, const struct kept *row, size_t most)
{
	size_t same = 0;

	if (row->key_size < most)
		most = row->key_size;
	if (memcmp(first->data, row->data, most) == 0)
		return most;
	while (first->data[same] == row->data[same])
		same++;
	return same;
}

static uint64_t part_of(const struct kept *row, size_t from)
{
	size_t left = row->key_size - from;
	uint64_t part = 0;

	memcpy(&part, row->data + from, left < 8 ? left : 8);
	return be64toh(part);
}

/* By one byte of the part, keeping the order of equal ones. False: it is the same in all. */
static bool sort_by_byte(const struct sorted *from, struct sorted *to, size_t count, unsigned shift)
{
	size_t starts[256] = { 0 }, at = 0;

	for (size_t i = 0; i < count; i++)
		starts[from[i].part >> shift & 0xff]++;
	if (starts[from[0].part >> shift & 0xff] == count)
		return false;
	for (size_t i = 0; i < 256; i++) {
		size_t next = at + starts[i];
		starts[i] = at;
		at = next;
	}
	for (size_t i = 0; i < count; i++)
		to[starts[from[i].part >> shift & 0xff]++] = from[i];
	return true;
}

/* By the parts, byte for byte from the last; then by the whole keys where parts are equal. */
static int sort_many(struct sorted *rows, size_t count)
{
	struct sorted *other = malloc(count * sizeof(*rows)), *from = rows, *to = other;

	if (!other)
		return -ENOMEM;
	for (unsigned shift = 0; shift < 64; shift += 8)
		if (sort_by_byte(from, to, count, shift)) {
			struct sorted *last = from;
			from = to;
			to = last;
		}
	if (from != rows)
		memcpy(rows, from, count * sizeof(*rows));
	free(other);
	for (size_t first = 0, end; first < count; first = end) {
		for (end = first + 1; end < count && rows[end].part == rows[first].part; end++)
			continue;
		if (end - first > 1)
			qsort(rows + first, end - first, sizeof(*rows), compare);
	}
	return 0;
}

static int sort(struct sorted *rows, size_t count)
{
	size_t same = count ? rows[0].row->key_size : 0;
	bool in_order = true;

	for (size_t i = 1; i < count; i++)
		same = common_part(rows[0].row, rows[i].row, same);
	for (size_t i = 0; i < count; i++) {
		rows[i].part = part_of(rows[i].row, same);
		in_order = in_order && (i == 0 || compare(&rows[i - 1], &rows[i]) < 0);
	}
	if (in_order)
		return 0;
	if (count < RADIX_COUNT_MIN) {
		qsort(rows, count, sizeof(*rows), compare);
		return 0;
	}
	return sort_many(rows, count);
}

#define PREFETCH 8 /* rows ahead: in another order than they stand in memory */

static size_t collect(const struct shelf *s, struct sorted *out)
{
	size_t count = 0;

	for (const struct chunk *chunk = s->first; chunk; chunk = chunk->next)
		for (size_t at = 0; at < chunk->used;) {
			const struct kept *row = (const struct kept *)(chunk->data + at / 8);
			at += row_size(row);
			if (!row->moved)
				out[count++].row = row;
		}
	return count;
}

int gather_drain(struct gather *g, enum table table, gather_write write, void *context)
{
	struct shelf *s = &g->shelves[table];
	int err = 0;

	if (s->count == 0)
		return 0;
	struct sorted *rows = calloc(s->count, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	size_t count = collect(s, rows);
	err = sort(rows, count);
	for (size_t i = 0; err == 0 && i < count; i++) {
		const struct kept *row = rows[i].row;
		if (i + PREFETCH < count)
			__builtin_prefetch(rows[i + PREFETCH].row);
		err = write(context, row->data, row->key_size, row->deleted ? NULL : row->data + row->key_size, row->value_size);
	}
	free(rows);
	shelf_clear(s);
	s->written = true;
	return err;
}
