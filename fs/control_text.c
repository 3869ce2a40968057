/* What control files are made of: times, ids, paths, texts of contents. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control_private.h"
#include "names.h"

#define CUT_ROOM 65536 /* of what is nearly full: the longest line and the explanation fit */
#define DEPTH_MAX 128 /* of directories: what lies deeper has no path that is told; each costs some lookups */

void text_put_visible(struct bytes *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			bytes_put_format(out, "\\x%02x", *c);
		else
			bytes_put(out, c, 1);
	}
}

void text_put_time(struct bytes *out, uint64_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm utc;
	char text[64];

	if (!gmtime_r(&seconds, &utc) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
		bytes_put_text(out, "?");
	else
		bytes_put_text(out, text);
}

void text_put_id(struct bytes *out, const struct id *id)
{
	char text[ID_TEXT_SIZE + 1];

	id_format(text, id);
	bytes_put_format(out, "moot:%s", text);
}

void text_put_short(struct bytes *out, const struct id *id)
{
	char text[ID_SHORT_SIZE + 1];

	id_format_short(text, id);
	bytes_put_text(out, text);
}

bool text_is_full(struct bytes *out)
{
	if (bytes_error(out) < 0)
		return true;
	if (out->size_max - out->size > CUT_ROOM)
		return false;
	bytes_put_text(out, "# cut here: the rest does not fit\n");
	return true;
}

int text_read(const struct control_host *host, const struct content *content, uint64_t size_max, struct bytes *out)
{
	if (content->size > size_max || content->size > SIZE_MAX)
		return -EFBIG;
	size_t size = (size_t)content->size;
	if (size == 0)
		return 0;
	uint8_t *to = bytes_extend(out, size);
	if (!to)
		return bytes_error(out) == -EMSGSIZE ? -EFBIG : bytes_error(out);
	ssize_t got = content_read(store_piece_cache(host->store), store_pieces(host->store), content, to, size, 0);
	if (got < 0) {
		out->size -= size;
		return (int)got;
	}
	return (size_t)got == size ? 0 : -EBADMSG;
}

void text_put_person(struct bytes *out, struct store_txn *txn, const struct id *person)
{
	char name[PROFILE_NAME_MAX + 1];

	names_of(txn, person, name);
	text_put_visible(out, name);
}

/* Puts what was appended last, from `at` on, in front of the path that begins at `start`. */
static int move_front(struct bytes *out, size_t start, size_t at)
{
	size_t head = out->size - at, rest = at - start;

	if (bytes_error(out) < 0)
		return bytes_error(out);
	char *copy = malloc(head);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, out->data + at, head);
	memmove(out->data + start + head, out->data + start, rest);
	memcpy(out->data + start, copy, head);
	free(copy);
	return 0;
}

int text_put_path(struct bytes *out, struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name)
{
	char parent_name[SHOWN_NAME_MAX + 1];
	size_t start = out->size;
	struct id at = *directory, parent;

	if (name)
		bytes_put_text(out, name);
	for (int depth = 0; !id_equal(&at, person); depth++) {
		int err = depth < DEPTH_MAX ? tree_directory_path(txn, person, &at, &parent, parent_name) : -ENOENT;
		size_t end = out->size;
		if (err == 0) {
			bytes_put_text(out, parent_name);
			if (end > start)
				bytes_put_text(out, "/");
			err = move_front(out, start, end);
		}
		if (err < 0) {
			out->size = start;
			return err;
		}
		at = parent;
	}
	return bytes_error(out);
}

int text_parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	uint64_t value = 0;
	size_t i = 0;

	for (; text[i] >= '0' && text[i] <= '9'; i++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return -EINVAL;
	if (i == 0)
		return -EINVAL;
	const char *unit = text[i] ? strchr(units, text[i]) : NULL;
	if (unit) {
		for (const char *u = units; u <= unit; u++)
			if (__builtin_mul_overflow(value, 1024, &value))
				return -EINVAL;
		i++;
	}
	if (text[i] || value > INT64_MAX)
		return -EINVAL;
	*out = value;
	return 0;
}
