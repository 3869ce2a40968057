/*
 * state_check.c - one state of a data folder that a power cut may have left: verified, opened, used and opened again.
 *
 *	state_check FOLDER
 *
 * Prints a line for each thing found, for test_power.py to judge:
 *
 *	verify N STATUS BAD        before (1) and after (2); `finding N SENTENCE` each
 *	entry HASH                 a record's bytes with its signature
 *	chain broken SEQ           a record whose predecessor is not here
 *	text HASH                  of a version that can be read whole
 *	unreadable RECORD          a version that cannot
 *	unindexed RECORD           a record that the index does not have
 *	done
 *
 * Status 1 and a sentence where the folder does not open, or does not work.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "desk.h"
#include "log.h"
#include "store.h"

#define SIGNATURE_BYTES 64

struct walk {
	struct store *store;
	struct record *record;
};

static _Noreturn void fail(const char *what, int err, const struct why *why)
{
	printf("failed %s: %d %s\n", what, err, why ? why->text : "");
	exit(1);
}

static void print_id(const char *what, const struct id *id)
{
	printf("%s ", what);
	for (size_t i = 0; i < ID_SIZE; i++)
		printf("%02x", id->bytes[i]);
	putchar('\n');
}

static void print_finding(void *context, const char *sentence)
{
	printf("finding %d %s\n", *(int *)context, sentence);
}

static void verify(const char *path, int turn)
{
	struct verify_report report = { 0 };
	struct why why = { "" };
	int err = store_verify(path, print_finding, NULL, &turn, &report, &why);
	printf("verify %d %d %" PRIu64 " %s\n", turn, err, report.bad, why.text);
}

static int read_text(struct walk *w, const struct content *content, struct id *out)
{
	size_t size = (size_t)content->size;
	uint8_t *text = malloc(size + 1);
	size_t done = 0;
	ssize_t got = 1;
	while (text && done < size && got > 0) {
		got = content_read(store_piece_cache(w->store), store_pieces(w->store), content, text + done,
				   size - done, done);
		done += got > 0 ? (size_t)got : 0;
	}
	id_of_bytes(out, text, done);
	free(text);
	return got < 0 ? (int)got : done < size ? -EBADMSG : id_equal(out, &content->digest) ? 0 : -EBADMSG;
}

static int visit(void *context, const struct journal_entry *entry)
{
	struct walk *w = context;
	struct store_txn *txn;
	struct record_row row;
	struct id id, text;

	if (entry->kind != KIND_RECORD || entry->size <= SIGNATURE_BYTES ||
	    record_decode(w->record, entry->bytes + SIGNATURE_BYTES, entry->size - SIGNATURE_BYTES) < 0)
		return 0;
	id_of_bytes(&id, entry->bytes, entry->size);
	print_id("entry", &id);
	record_id(&id, entry->bytes + SIGNATURE_BYTES, entry->size - SIGNATURE_BYTES);
	int err = store_begin(w->store, false, &txn);
	if (err < 0)
		return err;
	if (log_find_record(txn, &id, &row) < 0)
		print_id("unindexed", &id);
	if (w->record->seq > 0 && log_find_record(txn, &w->record->prev, &row) < 0)
		printf("chain broken %" PRIu64 "\n", w->record->seq);
	store_abort(txn);
	if (w->record->field != FIELD_VERSION)
		return 0;
	err = read_text(w, &w->record->version.content, &text);
	if (err == 0) {
		print_id("text", &text);
		return 0;
	}
	print_id("unreadable", &id);
	return 0;
}

static struct store *open_store(const char *path, struct key *key)
{
	struct store_options options = { .clock = clock_system() };
	struct why why = { "" };
	struct store *store;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? -errno : key_load(key, fd, NULL, &why);
	if (err < 0)
		fail("key", err, &why);
	close(fd);
	err = store_open(&store, path, key, &options, &why);
	if (err < 0)
		fail("open", err, &why);
	return store;
}

static int count_waiting(void *context, const struct desk_waiting *waiting)
{
	(*(unsigned *)context)++;
	return 0;
}

/* What waits is signed, for there is no window any more; then one save more. */
static void use(struct store *store, const struct key *key)
{
	const struct desk_options options = { .document_size_max = DOCUMENT_SIZE_DEFAULT_MAX };
	static const char text[] = "saved after the power came back\n";
	struct desk *desk;
	struct handle *handle;
	struct desk_item item;

	int err = desk_open(&desk, store, &options);
	if (err < 0)
		fail("desk", err, NULL);
	struct desk_slot at = { .directory = key->public, .name = "after the cut.md" };
	err = desk_create(desk, at, 0644, 0, 0, 1, &handle, &item);
	if (err < 0)
		fail("create", err, NULL);
	if (handle_write(handle, text, sizeof(text) - 1, 0) != (ssize_t)sizeof(text) - 1)
		fail("write", -EIO, NULL);
	err = handle_sync(handle);
	if (err == 0)
		err = handle_release(handle);
	if (err < 0)
		fail("save", err, NULL);
	unsigned waiting = 1;
	for (int turn = 0; waiting && turn < 100; turn++) {
		desk_tick(desk);
		waiting = 0;
		desk_each_waiting(desk, count_waiting, &waiting);
		if (waiting)
			usleep(2000);
	}
	if (waiting)
		fail("sign", -EBUSY, NULL);
	err = desk_close(desk);
	if (err < 0)
		fail("desk_close", err, NULL);
}

int main(int argc, char **argv)
{
	struct key key;
	if (argc != 2)
		return 2;
	verify(argv[1], 1);
	struct store *store = open_store(argv[1], &key);
	use(store, &key);
	int err = store_close(store);
	if (err < 0)
		fail("close", err, NULL);
	verify(argv[1], 2);

	store = open_store(argv[1], &key);
	struct walk w = { .store = store, .record = record_new() };
	err = w.record ? journal_scan(store_journal(store), 0, visit, NULL, &w) : -ENOMEM;
	if (err < 0)
		fail("scan", err, NULL);
	free(w.record);
	err = store_close(store);
	if (err < 0)
		fail("close again", err, NULL);
	puts("done");
	return 0;
}
