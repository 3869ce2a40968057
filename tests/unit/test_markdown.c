#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "markdown.h"

#define OUT_SIZE_MAX (64u * 1024 * 1024)

#define TEXT(literal) (literal), sizeof(literal) - 1

#define fail_case(name, got, expected) \
	fail_msg("%s: got \"%s\", expected \"%s\"", name, got, expected)

/* The buffer as a string that lives as long as it. */
static const char *string_of(struct bytes *b)
{
	bytes_put_u8(b, 0);
	assert_int_equal(bytes_error(b), 0);
	return (const char *)b->data;
}

static void knows_markdown(void **state)
{
	static const struct {
		const char *name, *text;
		size_t size;
		bool expected;
	} cases[] = {
		{ "a.md", TEXT("\0\xff"), true },
		{ "a.MD", TEXT(""), true },
		{ "a.Markdown", TEXT("\0"), true },
		{ "a.txt", TEXT("text \xc3\xa4"), true },
		{ "Makefile", TEXT(""), true },
		{ "md", TEXT("\xff"), false },
		{ "a.md.png", TEXT("\x89PNG"), false },
		{ "zero", TEXT("a\0b"), false },
		{ "surrogate", TEXT("\xed\xa0\x80"), false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (markdown_is(cases[i].name, cases[i].text, cases[i].size) != cases[i].expected)
			fail_msg("%s", cases[i].name);
}

typedef int convert(const void *text, size_t size, struct bytes *out);

struct convert_case {
	const char *name, *text;
	size_t size;
	const char *expected;
};

static void check_convert(convert *function, const struct convert_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct bytes out;
		bytes_init(&out, OUT_SIZE_MAX);
		assert_int_equal(function(cases[i].text, cases[i].size, &out), 0);
		const char *got = string_of(&out);
		if (strcmp(got, cases[i].expected))
			fail_case(cases[i].name, got, cases[i].expected);
		bytes_finish(&out);
	}
}

static void makes_plain_text(void **state)
{
	static const struct convert_case cases[] = {
		{ "empty", TEXT(""), "" },
		{ "heading and paragraph", TEXT("# A *b* c\n\nd **e**\nf\n"), "A b c\nd e\nf\n" },
		{ "link and image texts", TEXT("[a `b`](c) ![d](e \"f\")"), "a b d\n" },
		{ "code", TEXT("```c\nint x;\n```\n\n    y\n"), "int x;\ny\n" },
		{ "list", TEXT("- a\n- b\n"), "a\nb\n" },
		{ "entities", TEXT("&lt;a&gt; \\*"), "<a> *\n" },
		{ "inline html", TEXT("a <b class=\"x\">c</b>"), "a c\n" },
		{ "html block", TEXT("<div>\nwords <i>in</i> it\n</div>\n"), " \nwords  in  it\n \n" },
		{ "html block unclosed", TEXT("<div\n"), " " },
		{ "front matter", TEXT("---\ntitle: x\n---\n# y\n"), "title: x\ny\n" },
		{ "invalid UTF-8", TEXT("a\xff""b"), "a\xef\xbf\xbd""b\n" },
		{ "NUL", TEXT("a\0b"), "a\xef\xbf\xbd""b\n" },
		{ "hard break", TEXT("a  \nb"), "a\nb\n" },
	};

	check_convert(markdown_plain, cases, sizeof(cases) / sizeof(*cases));
}

#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void finds_title(void **state)
{
	static const struct convert_case cases[] = {
		{ "empty", TEXT(""), "" },
		{ "only blanks", TEXT(" \n\n\t\n"), "" },
		{ "heading", TEXT("a\n\n## The *title* `x`\n\n# later\n"), "The title x" },
		{ "setext over two lines", TEXT("a\nb\n===\n"), "a b" },
		{ "empty heading first", TEXT("#\n\n# b\n"), "b" },
		{ "image heading", TEXT("# ![logo](x.png)\n"), "logo" },
		{ "first line", TEXT("\n\nfirst *line*\nsecond\n"), "first line" },
		{ "line of code", TEXT("```\n\n  x\n```\n"), "x" },
		{ "list", TEXT("- a\n- b\n"), "a" },
		{ "control characters", TEXT("# a\t\x1b[31mb\x7f c\n"), "a [31mb c" },
		{ "front matter", TEXT("---\neip: 1\ntitle: 'A: b'\n---\n# c\n"), "A: b" },
		{ "front matter, CRLF", TEXT("---\r\nTitle: b\r\n---\r\n# c\r\n"), "b" },
		{ "front matter without title", TEXT("---\neip: 1\n---\n# c\n"), "c" },
		{ "front matter, empty title", TEXT("---\ntitle:\n---\n# c\n"), "c" },
		{ "no front matter: open", TEXT("---\ntitle: b\n# c\n"), "c" },
		{ "no front matter: no key", TEXT("---\n\n# c\n\n---\n"), "c" },
		{ "cut", TEXT("# " X50 X50 X50 X50 "yz\n"), X50 X50 X50 X50 },
		{ "cut before a character", TEXT("# " X50 X50 X50 X50 "\xe2\x82\xac"), X50 X50 X50 X50 },
		{ "cut within a character", TEXT("# y" X50 X50 X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xe2\x82\xac"),
		  "y" X50 X50 X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" },
	};

	check_convert(markdown_title, cases, sizeof(cases) / sizeof(*cases));
}

static int list_link(void *context, const char *url, const char *title, bool is_image)
{
	bytes_put_format(context, "%s%s|%s\n", is_image ? "!" : "", url, title);
	return !strcmp(url, "stop") ? 7 : 0;
}

static int list_links(const void *text, size_t size, struct bytes *out)
{
	return markdown_links(text, size, list_link, out);
}

static void lists_links(void **state)
{
	static const struct convert_case cases[] = {
		{ "none", TEXT("a"), "" },
		{ "inline", TEXT("[a](b.md \"t\") ![c](d.png)"), "b.md|t\n!d.png|\n" },
		{ "image in a link", TEXT("[![c](d)](e)"), "e|\n!d|\n" },
		{ "reference", TEXT("[a][r] [r]\n\n[r]: <x y> 't'\n"), "x y|t\nx y|t\n" },
		{ "autolink", TEXT("<https://a.b/c?d&e> <a@b.c>"), "https://a.b/c?d&e|\nmailto:a@b.c|\n" },
		{ "entity and escape", TEXT("[a](b&amp;c\\)d%20e)"), "b&c)d%20e|\n" },
		{ "empty", TEXT("[a]()"), "|\n" },
		{ "in code", TEXT("`[a](b)`"), "" },
	};
	struct bytes out;

	check_convert(list_links, cases, sizeof(cases) / sizeof(*cases));
	bytes_init(&out, OUT_SIZE_MAX);
	assert_int_equal(markdown_links(TEXT("[a](b) [c](stop) [d](e)"), list_link, &out), 7);
	assert_string_equal(string_of(&out), "b|\nstop|\n");
	bytes_finish(&out);
}

static void resolves_links(void **state)
{
	static const struct {
		const char *path, *url, *expected; /* NULL: -ENOENT */
	} cases[] = {
		{ "guides/soil.md", "../notes.md#x", "notes.md" },
		{ "guides/soil.md", "water.md", "guides/water.md" },
		{ "guides/soil.md", "./a/./b/../c.md?q#f", "guides/a/c.md" },
		{ "notes.md", "a%20b%C3%A4.md", "a b\xc3\xa4.md" },
		{ "notes.md", "100%.md", "100%.md" },
		{ "notes.md", "%zz%4", "%zz%4" },
		{ "notes.md", "a//b/", "a/b" },
		{ "notes.md", "...", "..." },
		{ "notes.md", "a/b:c", "a/b:c" },
		{ "notes.md", "1:b", "1:b" },
		{ "a/b/c.md", "..", "a" },
		{ "a/b/c.md", ".", "a/b" },
		{ "a/b/c.md", "%2e%2e/d", "a/d" },
		{ "notes.md", "..", NULL },
		{ "notes.md", ".", NULL },
		{ "a/b.md", "..", NULL },
		{ "a/b.md", "../../c.md", NULL },
		{ "a/b.md", "%2E./%2e%2E/c.md", NULL },
		{ "a/b.md", "../../a/c.md", NULL },
		{ "a/b.md", "/c.md", NULL },
		{ "a/b.md", "//host/c.md", NULL },
		{ "a/b.md", "https://host/c.md", NULL },
		{ "a/b.md", "mailto:a@b", NULL },
		{ "a/b.md", "C:x", NULL },
		{ "a/b.md", "#x", NULL },
		{ "a/b.md", "?q", NULL },
		{ "a/b.md", "", NULL },
		{ "a/b.md", "c%2Fd", NULL },
		{ "a/b.md", "c%00d", NULL },
		{ "a/b.md", "c%ff", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes out;
		bytes_init(&out, OUT_SIZE_MAX);
		bytes_put_text(&out, "kept");
		int err = markdown_resolve(cases[i].path, cases[i].url, &out);
		const char *got = string_of(&out) + 4;
		const char *expected = cases[i].expected ? cases[i].expected : "";
		if (err != (cases[i].expected ? 0 : -ENOENT) || strcmp(got, expected))
			fail_case(cases[i].url, got, expected);
		bytes_finish(&out);
	}
}

static char *page_of(const char *title, const char *text, size_t size, const char *note)
{
	struct bytes out;

	bytes_init(&out, OUT_SIZE_MAX);
	assert_int_equal(markdown_page(title, text, size, note, &out), 0);
	string_of(&out);
	return (char *)bytes_take(&out, &(size_t){ 0 });
}

static void makes_page(void **state)
{
	static const char *const parts[] = {
		"<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">", "name=\"viewport\"",
		"<title>A &lt;&amp;&quot;&gt;</title>", "prefers-color-scheme: dark",
		"<h1>B</h1>\n<p>c <em>d</em></p>\n</main>", "<footer>by &lt;e&gt;</footer>\n</body>\n</html>\n",
		"<pre>key: &lt;v&gt;\n</pre>",
	};
	char *page = page_of("A <&\">", TEXT("---\nkey: <v>\n---\n# B\n\nc *d*\n"), "by <e>");

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (!strstr(page, parts[i]))
			fail_case(parts[i], page, parts[i]);
	free(page);
	page = page_of("", "", 0, NULL);
	assert_null(strstr(page, "<footer"));
	free(page);
}

/* What stands between <main> and </main>: all that a document can make. */
static char *main_of(char *page)
{
	char *start = strstr(page, "<main dir=\"auto\">\n");
	assert_non_null(start);
	start += strlen("<main dir=\"auto\">\n");
	char *end = strstr(start, "</main>");
	assert_non_null(end);
	*end = 0;
	return start;
}

static void keeps_scripts_out(void **state)
{
	static const struct convert_case cases[] = {
		{ "raw block", TEXT("<script>alert(1)</script>\n"), "<!-- raw HTML omitted -->\n" },
		{ "raw inline", TEXT("a <img src=x onerror=alert(1)>"), "<p>a <!-- raw HTML omitted --></p>\n" },
		{ "raw comment", TEXT("<!-- --><script>x</script>\n"), "<!-- raw HTML omitted -->\n" },
		{ "style", TEXT("<style>*{}</style>\n"), "<!-- raw HTML omitted -->\n" },
		{ "not HTML", TEXT("a <scr"), "<p>a &lt;scr</p>\n" },
		{ "javascript", TEXT("[a](javascript:alert(1))"), "<p><a href=\"\">a</a></p>\n" },
		{ "javascript in capitals", TEXT("[a](JaVaScRiPt:x)"), "<p><a href=\"\">a</a></p>\n" },
		{ "javascript by entity", TEXT("[a](&#106;avascript&colon;x)"), "<p><a href=\"\">a</a></p>\n" },
		{ "javascript after a space", TEXT("[a](< javascript:x>)"), "<p><a href=\"\">a</a></p>\n" },
		{ "javascript with a newline", TEXT("[a](java&NewLine;script:x)"), "<p><a href=\"java%0Ascript:x\">a</a></p>\n" },
		{ "javascript after control", TEXT("[a](<&#1;javascript:x>)"), "<p><a href=\"%01javascript:x\">a</a></p>\n" },
		{ "javascript autolink", TEXT("<javascript:x>"), "<p><a href=\"\">javascript:x</a></p>\n" },
		{ "javascript reference", TEXT("[a]\n\n[a]: javascript:x\n"), "<p><a href=\"\">a</a></p>\n" },
		{ "javascript image", TEXT("![a](javascript:x)"), "<p><img src=\"\" alt=\"a\" /></p>\n" },
		{ "vbscript", TEXT("[a](vbscript:x)"), "<p><a href=\"\">a</a></p>\n" },
		{ "file", TEXT("[a](file:///etc/passwd)"), "<p><a href=\"\">a</a></p>\n" },
		{ "data page", TEXT("[a](data:text/html,x)"), "<p><a href=\"\">a</a></p>\n" },
		{ "data svg", TEXT("![a](data:image/svg+xml,x)"), "<p><img src=\"\" alt=\"a\" /></p>\n" },
		{ "data png", TEXT("![a](data:image/png;base64,AA==)"), "<p><img src=\"data:image/png;base64,AA==\" alt=\"a\" /></p>\n" },
		{ "url breaks out", TEXT("[a](<x\" onclick=\"y>)"), "<p><a href=\"x%22%20onclick=%22y\">a</a></p>\n" },
		{ "title breaks out", TEXT("[a](b 'x\" onclick=\"y')"), "<p><a href=\"b\" title=\"x&quot; onclick=&quot;y\">a</a></p>\n" },
		{ "alt breaks out", TEXT("![x\" onerror=\"y](b)"), "<p><img src=\"b\" alt=\"x&quot; onerror=&quot;y\" /></p>\n" },
		{ "info breaks out", TEXT("```x\"onclick=\"y\n```\n"),
		  "<pre><code class=\"language-x&quot;onclick=&quot;y\"></code></pre>\n" },
		{ "code", TEXT("`</main><script>`"), "<p><code>&lt;/main&gt;&lt;script&gt;</code></p>\n" },
		{ "front matter", TEXT("---\na: </pre><script>\n---\n"), "<pre>a: &lt;/pre&gt;&lt;script&gt;\n</pre>\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *page = page_of("</title><script>", cases[i].text, cases[i].size, "</footer><script>");
		assert_null(strstr(page, "<script"));
		const char *got = main_of(page);
		if (strcmp(got, cases[i].expected))
			fail_case(cases[i].name, got, cases[i].expected);
		free(page);
	}
}

/* The first again and again for half of the size, then the second. */
static char *repeat(const char *unit, const char *then, size_t size)
{
	char *text = malloc(size + 1);
	size_t at = 0;

	assert_non_null(text);
	for (; at + strlen(unit) < size / 2; at += strlen(unit))
		memcpy(text + at, unit, strlen(unit));
	for (; at + strlen(then) < size; at += strlen(then))
		memcpy(text + at, then, strlen(then));
	memset(text + at, ' ', size - at);
	text[size] = 0;
	return text;
}

static void refuses_what_takes_for_ever(void **state)
{
	static const struct {
		const char *name, *unit, *then;
		size_t size;
		int expected;
	} cases[] = {
		{ "prose", "A sentence of words, *some* of them [linked](b.md).\n\n", "And more.\n", MARKDOWN_SIZE_MAX, 0 },
		{ "too large", "words\n\n", "words\n", MARKDOWN_SIZE_MAX + 1, -EMSGSIZE },
		{ "blank lines in deep lists", "- ", "\n", 200000, -EMSGSIZE },
		{ "carriage returns in deep lists", "1. ", "\r", 200000, -EMSGSIZE },
		{ "blank lines in deep quoted lists", ">- ", ">\n", 200000, -EMSGSIZE },
		{ "open images", "![", "[](a)", 200000, -EMSGSIZE },
		{ "open images and references", "![", "[a]", 200000, -EMSGSIZE },
		{ "open brackets", "[", "[", MARKDOWN_SIZE_MAX, -EMSGSIZE },
		{ "badges", "- [![a](b)](c)\n", "- [![a](b)](c)\n", 200000, 0 },
		{ "deep quotes", "> ", "a\n", 100000, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = repeat(cases[i].unit, cases[i].then, cases[i].size);
		struct bytes out;
		bytes_init(&out, OUT_SIZE_MAX);
		int err = markdown_page("t", text, cases[i].size, NULL, &out);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		bytes_finish(&out);
		free(text);
	}
}

static void keeps_maximum_of_buffer(void **state)
{
	struct bytes out;

	bytes_init(&out, 100);
	assert_int_equal(markdown_page("t", TEXT("a"), NULL, &out), -EMSGSIZE);
	bytes_finish(&out);
	bytes_init(&out, 3);
	assert_int_equal(markdown_plain(TEXT("words"), &out), -EMSGSIZE);
	bytes_finish(&out);
}

static size_t documents_seen, titles_seen, links_seen; /* nftw(3) passes no context */

static int count_link(void *context, const char *url, const char *title, bool is_image)
{
	struct bytes *path = context;

	links_seen++;
	bytes_clear(path);
	int err = markdown_resolve("EIPS/eip-1.md", url, path);
	assert_true(err == -ENOENT || (!err && path->size));
	return 0;
}

static int check_document(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
	uint8_t *text;
	size_t size;
	struct bytes out;

	if (kind != FTW_F)
		return 0;
	assert_int_equal(file_read(AT_FDCWD, path, OUT_SIZE_MAX, &text, &size), 0);
	bytes_init(&out, OUT_SIZE_MAX);
	assert_true(markdown_is("unnamed", text, size));
	assert_int_equal(markdown_plain(text, size, &out), 0);
	assert_true(!size || out.size);
	bytes_clear(&out);
	assert_int_equal(markdown_title(text, size, &out), 0);
	assert_true(out.size <= 200 && !memchr(string_of(&out), '\n', out.size));
	titles_seen += out.size > 1;
	assert_int_equal(markdown_links(text, size, count_link, &out), 0);
	bytes_clear(&out);
	assert_int_equal(markdown_page(path, text, size, path, &out), 0);
	assert_null(strcasestr(string_of(&out), "<script"));
	bytes_finish(&out);
	free(text);
	documents_seen++;
	return 0;
}

static int remove_path(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
	return remove(path);
}

static void takes_real_documents(void **state)
{
	const char *shared = getenv("MOOT_SHARED");
	const char *tmp = getenv("TMPDIR");
	char archive[4096], folder[4096], command[3 * 4096];

	snprintf(archive, sizeof(archive), "%s/data/documents.tar.gz", shared ? shared : "");
	if (!shared || access(archive, R_OK) < 0) {
		print_message("skipped: no $MOOT_SHARED/data/documents.tar.gz\n");
		skip();
	}
	snprintf(folder, sizeof(folder), "%s/markdown.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(folder));
	snprintf(command, sizeof(command), "tar -xzf '%s' -C '%s' --wildcards 'open/eips/EIPS/eip-1*.md'"
		 " 'open/tldr/pages/linux/a*.md' 'open/tldr/pages.ar/*/a*.md' 'open/tldr/pages.zh/*/a*.md'", archive, folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(nftw(folder, check_document, 16, FTW_PHYS), 0);
	print_message("%zu documents, %zu titles, %zu links\n", documents_seen, titles_seen, links_seen);
	assert_true(documents_seen > 200 && titles_seen == documents_seen && links_seen > 1000);
	nftw(folder, remove_path, 16, FTW_PHYS | FTW_DEPTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_markdown),
		cmocka_unit_test(makes_plain_text),
		cmocka_unit_test(finds_title),
		cmocka_unit_test(lists_links),
		cmocka_unit_test(resolves_links),
		cmocka_unit_test(makes_page),
		cmocka_unit_test(keeps_scripts_out),
		cmocka_unit_test(refuses_what_takes_for_ever),
		cmocka_unit_test(keeps_maximum_of_buffer),
		cmocka_unit_test(takes_real_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
