/*
 * What people type: names, ids and their prefixes, times, links, scratch rules. What is accepted keeps its
 * promises. The input is up to its first newline one spelling, and after it another.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "document.h"
#include "markdown.h"
#include "scratch.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* ---- names ---- */

static void check_name(const char *bytes, size_t size)
{
	bool wanted = size >= 1 && size <= NAME_SIZE_MAX && utf8_valid(bytes, size) && !memchr(bytes, '/', size) &&
		      !memchr(bytes, '\0', size) && bytes[size - 1] != '@' && !(size == 1 && bytes[0] == '.') &&
		      !(size == 2 && memcmp(bytes, "..", 2) == 0);

	require(utf8_valid_name(bytes, size) == wanted);
}

static void check_suffix(const char *name)
{
	const char *suffix = document_suffix(name);

	require(suffix >= name && suffix <= name + strlen(name));
	require(suffix[0] == '\0' || (suffix[0] == '.' && suffix > name && !strchr(suffix + 1, '.')));
}

/* ---- ids ---- */

static void check_id(const char *text)
{
	const char *bare = strncmp(text, "moot:", 5) == 0 ? text + 5 : text;
	char written[ID_TEXT_SIZE + 1];
	struct id id = { { 7 } }, least, greatest, again;

	int err = id_parse(&id, text), prefix_err = id_parse_prefix(&least, &greatest, text);
	require(err == 0 || (err == -EINVAL && id.bytes[0] == 7));
	require(prefix_err == 0 || prefix_err == -EINVAL);
	if (err == 0) {
		id_format(written, &id);
		require(strcmp(written, bare) == 0);
		require(prefix_err == 0 && id_equal(&least, &id) && id_equal(&greatest, &id));
	}
	if (prefix_err < 0)
		return;
	size_t size = strlen(bare);
	require(size >= ID_PREFIX_MIN && size <= ID_TEXT_SIZE && id_compare(&least, &greatest) <= 0);
	id_format(written, &least);
	require(strncmp(written, bare, size) == 0 && id_parse(&again, written) == 0 && id_equal(&again, &least));
	id_format(written, &greatest);
	require(strncmp(written, bare, size) == 0 && id_parse(&again, written) == 0 && id_equal(&again, &greatest));
}

/* ---- times ---- */

/* A time less exactly told ends no sooner. */
static void check_time(const char *text)
{
	static const size_t sizes[] = { 4, 7, 10, 13, 16 };
	uint64_t end = 5, outer;
	char less[20];

	int err = document_parse_time(text, &end);
	require(err == 0 || (err == -EINVAL && end == 5));
	for (size_t i = 0; err == 0 && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (strlen(text) <= sizes[i])
			break;
		memcpy(less, text, sizes[i]);
		less[sizes[i]] = '\0';
		require(document_parse_time(less, &outer) == 0 && outer >= end);
	}
}

/* ---- links ---- */

static void check_components(const char *path, size_t size)
{
	require(size > 0 && !memchr(path, '\0', size));
	for (size_t at = 0; at < size;) {
		const char *slash = memchr(path + at, '/', size - at);
		size_t length = slash ? (size_t)(slash - path) - at : size - at;
		bool last = !slash;
		require(length > 0 || last); /* one slash may end it */
		require(!(length == 1 && path[at] == '.') && !(length == 2 && memcmp(path + at, "..", 2) == 0));
		at += length + 1;
	}
}

/* A document's own path is made of names. */
static bool is_path(const char *path)
{
	size_t length;

	for (;; path += length + 1) {
		length = strcspn(path, "/");
		if (!utf8_valid_name(path, length))
			return false;
		if (path[length] == '\0')
			return true;
	}
}

static void check_link(const char *document, const char *url)
{
	struct bytes path;

	bytes_init(&path, 1 << 20);
	int err = markdown_resolve(document, url, &path);
	require(err <= 0);
	if (err == 0)
		check_components((const char *)path.data, path.size);
	else
		require(path.size == 0);
	bytes_finish(&path);
}

/* ---- scratch ---- */

/* A folder that is gone as soon as it is open: only names are asked for. */
static struct scratch *open_scratch(const char *rules, struct why *why, int *out_error)
{
	char path[] = "/tmp/fuzz_path.XXXXXX";
	struct scratch *s = NULL;

	require(mkdtemp(path) != NULL);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(fd >= 0);
	*out_error = scratch_open(&s, fd, rules, why);
	unlinkat(fd, "scratch", AT_REMOVEDIR);
	close(fd);
	rmdir(path);
	return s;
}

static bool exists(void *context, const char *name)
{
	return (strlen(name) & 1) == *(const unsigned *)context;
}

static void check_rules(struct scratch *s, const char *name)
{
	for (unsigned even = 0; even < 2; even++) {
		bool plain = scratch_is_name(s, name, false, exists, &even);
		bool exclusive = scratch_is_name(s, name, true, exists, &even);
		require(exclusive || !plain);
		require(!plain || scratch_rule(s, name) != NULL);
		require(plain == scratch_is_name(s, name, false, exists, &even));
	}
}

static void check_scratch(const char *name, const char *rules)
{
	struct why why = { "" };
	int err;

	struct scratch *s = open_scratch(rules, &why, &err);
	require(err == 0 || (err == -EINVAL && why.text[0]));
	if (err < 0)
		return;
	check_rules(s, name);
	scratch_close(s);
}

static char *copy_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	require(text != NULL);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
	size_t first = line ? (size_t)(line - data) : size;
	CLEANUP(cleanup_free) char *one = copy_text(data, first);
	CLEANUP(cleanup_free) char *other = copy_text(line ? line + 1 : NULL, line ? size - first - 1 : 0);
	CLEANUP(cleanup_free) char *exact = malloc(first ? first : 1);

	require(exact != NULL);
	if (first)
		memcpy(exact, data, first);
	check_name(exact, first);
	check_suffix(one);
	check_id(one);
	check_time(one);
	if (is_path(one))
		check_link(one, other);
	check_link("guides/soil.md", one);
	check_scratch(one, other);
	return 0;
}
