#include "request.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *name;
	enum request_verb verb;
	bool sized; /* says how long a text follows */
} verbs[] = {
	{ "read ", REQUEST_READ, false },
	{ "write ", REQUEST_WRITE, true },
	{ "watch ", REQUEST_WATCH, false },
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))
#define HEAD_SIZE_MAX (REQUEST_PATH_MAX + 32)

/* Digits up to `end`, at least one, no zero in front of others, at most `max`. */
static bool read_number(const char *text, const char *end, size_t max, size_t *out)
{
	size_t value = 0;

	if (text == end || (text[0] == '0' && end - text > 1))
		return false;
	for (; text < end; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (size_t)(*text - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

/* The line, up to its newline. */
static int read_head(const char *line, const char *end, struct request *out)
{
	for (size_t i = 0; i < VERB_COUNT; i++) {
		size_t size = strlen(verbs[i].name);
		if ((size_t)(end - line) < size || memcmp(line, verbs[i].name, size) != 0)
			continue;
		line += size;
		out->verb = verbs[i].verb;
		if (verbs[i].sized) {
			const char *blank = memchr(line, ' ', (size_t)(end - line));
			if (!blank || !read_number(line, blank, REQUEST_TEXT_MAX, &out->text_size))
				return -EBADMSG;
			line = blank + 1;
		}
		out->path = line;
		out->path_size = (size_t)(end - line);
		if (out->path_size == 0 || out->path_size > REQUEST_PATH_MAX || memchr(line, '\0', out->path_size))
			return -EBADMSG;
		return 0;
	}
	return -EBADMSG;
}

int request_read(const uint8_t *bytes, size_t size, struct request *out)
{
	const char *text = (const char *)bytes;
	struct request request = { 0 };

	const char *end = size ? memchr(text, '\n', size) : NULL;
	if (!end)
		return size >= HEAD_SIZE_MAX ? -EMSGSIZE : 0;
	int err = read_head(text, end, &request);
	if (err < 0)
		return err;
	size_t left = size - (size_t)(end + 1 - text);
	if (left > request.text_size)
		return -EBADMSG;
	if (left < request.text_size)
		return 0;
	request.text = end + 1;
	*out = request;
	return 1;
}

int request_write(struct bytes *out, const struct request *request)
{
	if (request->path_size == 0 || memchr(request->path, '\0', request->path_size) ||
	    memchr(request->path, '\n', request->path_size))
		return -EINVAL;
	if (request->path_size > REQUEST_PATH_MAX || request->text_size > REQUEST_TEXT_MAX)
		return -EMSGSIZE;
	bytes_put_text(out, verbs[request->verb].name);
	if (verbs[request->verb].sized)
		bytes_put_format(out, "%zu ", request->text_size);
	bytes_put(out, request->path, request->path_size);
	bytes_put_text(out, "\n");
	if (verbs[request->verb].sized && request->text_size > 0)
		bytes_put(out, request->text, request->text_size);
	return bytes_error(out);
}

/* ---- answers ---- */

static int read_error(const char *text, const char *end, struct answer_head *out)
{
	const char *blank = memchr(text, ' ', (size_t)(end - text));
	size_t number;

	if (!blank || !read_number(text, blank, 4095, &number) || number == 0 || end - blank > WHY_SIZE ||
	    memchr(blank, '\0', (size_t)(end - blank)))
		return -EBADMSG;
	out->error = -(int)number;
	memcpy(out->sentence, blank + 1, (size_t)(end - blank - 1));
	return 0;
}

ssize_t answer_read(const uint8_t *bytes, size_t size, struct answer_head *out)
{
	const char *text = (const char *)bytes;
	struct answer_head head = { 0 };

	const char *end = size ? memchr(text, '\n', size) : NULL;
	if (!end)
		return size >= ANSWER_HEAD_MAX ? -EBADMSG : 0;
	size_t line = (size_t)(end - text);
	if (line == 2 && memcmp(text, "ok", 2) == 0)
		head.endless = true;
	else if (line > 3 && memcmp(text, "ok ", 3) == 0 && read_number(text + 3, end, SIZE_MAX / 16, &head.size))
		head.error = 0;
	else if (line <= 6 || memcmp(text, "error ", 6) != 0 || read_error(text + 6, end, &head) < 0)
		return -EBADMSG;
	*out = head;
	return (ssize_t)line + 1;
}

void answer_write(struct bytes *out, const struct answer_head *head)
{
	if (head->error) {
		bytes_put_format(out, "error %d ", -head->error);
		size_t at = out->size;
		bytes_put_text(out, head->sentence);
		for (; at < out->size; at++)
			if (out->data[at] == '\n')
				out->data[at] = ' ';
		bytes_put_text(out, "\n");
	} else if (head->endless) {
		bytes_put_text(out, "ok\n");
	} else {
		bytes_put_format(out, "ok %zu\n", head->size);
	}
}
