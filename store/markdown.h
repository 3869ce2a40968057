/*
 * markdown.h - what mootfs understands of a document's text, by cmark (CommonMark).
 *
 * All inputs are bytes of a document; invalid UTF-8 is replaced as CommonMark says.  Raw HTML
 * and dangerous URLs (javascript:, vbscript:, file:, data: but for images) are never passed through.
 * Front matter (`key: value` lines between two `---` at the top) is shown as it is; its `title` is the title.
 * Results are appended to a `struct bytes` of the caller's, with its maximum.
 */
#ifndef MARKDOWN_H
#define MARKDOWN_H

#include <stdbool.h>

#include "bytes.h"

/*
 * cmark aborts where memory ends and is quadratic for some texts: larger ones, and those made so that it would take
 * more than about 50 MB or a second, are -EMSGSIZE.
 */
#define MARKDOWN_SIZE_MAX (1024 * 1024)

/* True for `.md` and `.markdown` (any case), the rest is Markdown too if it is UTF-8 text without NUL. */
bool markdown_is(const char *name, const void *text, size_t size);
/* The plain text, words of code and link texts included, blocks separated by newlines: for search. */
int markdown_plain(const void *text, size_t size, struct bytes *out);
/* The first heading's text, else the first line's, at most 200 bytes, without markup; empty if there is none. */
int markdown_title(const void *text, size_t size, struct bytes *out);
/* Each link and image destination, decoded as CommonMark does, in order. `url` is NUL-terminated. Stops at nonzero and returns it. */
int markdown_links(const void *text, size_t size,
		   int (*visit)(void *context, const char *url, const char *title, bool is_image), void *context);
/*
 * A relative link resolved against the path of the document that has it ("guides/soil.md" + "../notes.md#x"
 * -> "notes.md"): percent-decoded, fragment and query cut off. -ENOENT: it is not a link to a path in this folder
 * (has a scheme, is absolute, leaves the folder, is only a fragment).
 */
int markdown_resolve(const char *document_path, const char *url, struct bytes *out);
/* A whole HTML page that stands alone: title, a small style sheet, no script. `note` (may be NULL) is text shown small under the body. */
int markdown_page(const char *title, const void *text, size_t size, const char *note, struct bytes *out);
/* Text for HTML: & < > " escaped. */
void markdown_escape(struct bytes *out, const char *text);

#endif
