/* Any bytes as a document: nothing may read outside of them, and no page may hold markup of theirs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "markdown.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_SIZE_MAX (64u * 1024 * 1024)

static int resolve_link(void *context, const char *url, const char *title, bool is_image)
{
	struct bytes *path = context;

	bytes_clear(path);
	if (markdown_resolve("a/b.md", url, path) < 0) {
		if (path->size)
			abort();
		return 0;
	}
	bytes_put_u8(path, 0);
	const char *text = (const char *)path->data;
	if (!*text || *text == '/' || !strncmp(text, "../", 3) || strstr(text, "/../") || strstr(text, "//"))
		abort();
	return 0;
}

static void check_page(struct bytes *page)
{
	bytes_put_u8(page, 0);
	const char *text = (const char *)page->data;
	if (strlen(text) + 1 != page->size || strcasestr(text, "<script") || strcasestr(text, "<iframe") ||
	    strcasestr(text, "=\"javascript:") || strcasestr(text, "=\"file:"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *text = malloc(size);
	struct bytes out;

	if (size && !text)
		return 0;
	if (size)
		memcpy(text, data, size);
	bytes_init(&out, OUT_SIZE_MAX);
	markdown_is("notes", text, size);
	markdown_plain(text, size, &out);
	bytes_clear(&out);
	markdown_title(text, size, &out);
	if (out.size > 200)
		abort();
	bytes_clear(&out);
	markdown_links(text, size, resolve_link, &out);
	bytes_clear(&out);
	if (!markdown_page("t", text, size, "n", &out))
		check_page(&out);
	bytes_finish(&out);
	free(text);
	return 0;
}
