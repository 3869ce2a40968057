/* index_kit.h - an index of its own for each test, after cmocka.h. */
#ifndef INDEX_KIT_H
#define INDEX_KIT_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "index.h"

struct folder {
	char path[256];
	int fd;
	struct index *index;
};

static inline int folder_open(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));
	const char *base = getenv("TMPDIR");

	snprintf(f->path, sizeof(f->path), "%s/index-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(index_open(&f->index, f->fd, NULL), 0);
	*state = f;
	return 0;
}

static inline int folder_close(void **state)
{
	struct folder *f = *state;

	index_close(f->index);
	assert_int_equal(index_remove(f->fd), 0);
	assert_int_equal(unlinkat(f->fd, "index", AT_REMOVEDIR), 0);
	close(f->fd);
	rmdir(f->path);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_open, folder_close)

static inline struct index_txn *begin(const struct folder *f, bool write)
{
	struct index_txn *txn;

	assert_int_equal(index_begin(f->index, write, &txn), 0);
	return txn;
}

static inline void put(struct index_txn *txn, enum table table, const char *key, const char *value)
{
	assert_int_equal(index_put(txn, table, key, strlen(key), value, strlen(value)), 0);
}

static inline void assert_value(struct index_txn *txn, enum table table, const char *key, const char *value)
{
	const uint8_t *found;
	size_t size;

	int err = index_get(txn, table, key, strlen(key), &found, &size);
	assert_int_equal(err, value ? 0 : -ENOENT);
	if (value) {
		assert_int_equal(size, strlen(value));
		assert_memory_equal(found, value, size);
	}
}

#endif
