/* What the desk must bear besides: failed releases, kills, crowded windows, full spools, gc, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "desk_bench.h"

#define TEXT_MAX 400000

/* ---- one thing each ---- */

static void test_failed_release_is_tried_again(void **state)
{
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct handle *h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 5);
	put(h, "two\n", 0);
	arm(CALL_WRITE, 1, true, ENOSPC);
	assert_int_equal(handle_flush(h), -ENOSPC);
	assert_int_equal(handle_release(h), -ENOSPC);
	pass(&b, WINDOW);
	assert_text(&b, "a.md", "two\n");
	assert_int_equal(count_versions(&b, "a.md"), 1);
	arm(0, 0, false, 0);
	pass(&b, 1000);
	pass(&b, 1000);
	assert_int_equal(count_versions(&b, "a.md"), 2);
	/* and one that is removed before it could be kept is forgotten whole */
	h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 5);
	put(h, "three\n", 0);
	arm(CALL_WRITE, 1, true, ENOSPC);
	assert_int_equal(handle_flush(h), -ENOSPC);
	handle_release(h);
	arm(0, 0, false, 0);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	pass(&b, WINDOW);
	assert_gone(&b, "a.md");
	assert_int_equal(waiting(&b), 0);
	bench_remove(&b);
}

/* A head set by hand parts open files from the name; each of them still saves its own bytes. */
static void test_two_files_at_one_name(void **state)
{
	for (int order = 0; order < 4; order++) {
		struct standing standing[4];
		struct bench b;
		bench_make(&b);
		must_publish(&b, "a.md", "one\n", 5);
		must_save(&b, "a.md", "two\n", 5);
		struct store_txn *txn = txn_begin(&b.t, false);
		assert_int_equal(tree_standing(txn, &b.root, &b.root, "a.md", standing, 4), 1);
		store_abort(txn);
		must_save(&b, "a.md", "three\n", 5);
		struct handle *old = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
		put(old, "from before\n", 0);
		assert_int_equal(desk_set_head(b.desk, at(&b, "a.md"), &standing[0].id), 0);
		assert_text(&b, "a.md", "two\n");
		struct handle *new = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 7);
		put(new, "from after\n", 0);
		assert_int_equal(handle_flush(order & 1 ? old : new), 0);
		assert_int_equal(handle_flush(order & 1 ? new : old), 0);
		assert_int_equal(handle_release(order & 2 ? old : new), 0);
		if (order & 2)
			assert_text(&b, "a.md", "from after\n");
		assert_int_equal(handle_release(order & 2 ? new : old), 0);
		assert_int_equal(count_versions(&b, "a.md"), 5);
		assert_int_equal(waiting(&b), 0);
		bench_remove(&b);
	}
}

/* A release comes when it likes: also when the next save is open, truncated or half written. */
static void test_late_release_leaves_the_next_save_whole(void **state)
{
	for (int moment = 0; moment < 4; moment++) {
		struct bench b;
		bench_make(&b);
		must_publish(&b, "a.md", "one\n", 5);
		struct handle *old = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
		put(old, "two\n", 0);
		assert_int_equal(handle_flush(old), 0);
		struct handle *new = must_open(&b, "a.md", O_WRONLY | (moment & 2 ? O_TRUNC : 0), 6);
		if (moment & 1)
			put(new, "thr", 0);
		assert_int_equal(handle_release(old), 0);
		put(new, "three\n", 0);
		assert_int_equal(handle_flush(new), 0);
		assert_int_equal(handle_release(new), 0);
		assert_text(&b, "a.md", "three\n");
		assert_int_equal(count_versions(&b, "a.md"), 3);
		bench_remove(&b);
	}
}

static void test_unlink_takes_parted_files_too(void **state)
{
	struct standing standing[4];
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct store_txn *txn = txn_begin(&b.t, false);
	assert_int_equal(tree_standing(txn, &b.root, &b.root, "a.md", standing, 4), 1);
	store_abort(txn);
	struct handle *old = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
	put(old, "never\n", 0);
	assert_int_equal(desk_set_head(b.desk, at(&b, "a.md"), &standing[0].id), 0);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	assert_int_equal(handle_flush(old), 0);
	assert_int_equal(handle_release(old), 0);
	assert_gone(&b, "a.md");
	pass(&b, WINDOW);
	assert_gone(&b, "a.md");
	bench_remove(&b);
}

/* What was flushed, then written on, must not come back over what replaced it. */
static void test_old_draft_goes_with_its_name(void **state)
{
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct handle *h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
	put(h, "draft\n", 0);
	assert_int_equal(handle_flush(h), 0);
	put(h, "drift\n", 0);
	must_save(&b, "b.md", "over\n", 7);
	assert_int_equal(desk_rename(b.desk, at(&b, "b.md"), at(&b, "a.md"), 0, 7), 0);
	assert_int_equal(waiting(&b), 0);
	free(h);
	crash(&b);
	pass(&b, WINDOW);
	assert_text(&b, "a.md", "over\n");
	assert_int_equal(count_versions(&b, "a.md"), 2);
	bench_remove(&b);
}

static void test_new_names_survive_a_kill(void **state)
{
	const struct attributes a = { .permissions = 0644, .uid = 5 };
	struct desk_item item;
	struct attributes attributes;
	struct bench b;
	int fd = memfd_create("taken", 0);

	bench_make(&b);
	assert_int_equal(file_pwrite_all(fd, "taken\n", 6, 0), 0);
	assert_int_equal(desk_take_file(b.desk, fd, at(&b, "taken.md"), &a, 5, NULL), 0);
	close(fd);
	assert_int_equal(desk_symlink(b.desk, at(&b, "link"), "target", 1, 1, &item), 0);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "dir"), 0750, 3, 4, &item), 0);
	must_save(&b, "x", "x\n", 5);
	const struct attributes executable = { .permissions = 0700 };
	assert_int_equal(desk_set_attributes(b.desk, at(&b, "x"), DESK_SET_PERMISSIONS, &executable), 0);
	struct handle *draft = must_create(&b, "draft.md", 5);
	put(draft, "draft\n", 0);
	assert_int_equal(handle_flush(draft), 0);
	free(draft);
	crash(&b);
	for (int published = 0; published < 2; published++) {
		assert_text(&b, "taken.md", "taken\n");
		assert_text(&b, "link", "target");
		assert_text(&b, "draft.md", "draft\n");
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "dir", &item), 0);
		assert_int_equal(item.attributes.permissions, 0750);
		assert_int_equal(item.attributes.uid, 3);
		assert_int_equal(desk_directory(b.desk, &b.root, &item.id, &attributes), 0);
		assert_int_equal(attributes.permissions, 0750);
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "x", &item), 0);
		assert_int_equal(item.attributes.permissions, 0700);
		assert_int_equal(item.mode, MODE_EXECUTABLE);
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "draft.md", &item), 0);
		assert_true(item.attributes.mtime_ns / 1000000 >= HELPER_TIME_MS);
		pass(&b, WINDOW);
		assert_int_equal(waiting(&b), 0);
	}
	bench_remove(&b);
}

/* A draft that a kill left waits; what is saved meanwhile goes on from it, however it is saved. */
static void test_saves_after_a_kill_are_one_chain(void **state)
{
	struct standing standing[4];
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct handle *draft = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
	put(draft, "draft\n", 0);
	assert_int_equal(handle_flush(draft), 0);
	free(draft);
	crash(&b);
	must_save(&b, "a.md", "two\n", 7);
	must_save(&b, "a.md", "three\n", 7);
	must_save(&b, "b.md", "four\n", 7);
	assert_int_equal(desk_rename(b.desk, at(&b, "b.md"), at(&b, "a.md"), 0, 7), 0);
	pass(&b, WINDOW);
	assert_text(&b, "a.md", "four\n");
	assert_int_equal(count_versions(&b, "a.md"), 5);
	struct store_txn *txn = txn_begin(&b.t, false);
	assert_int_equal(tree_standing(txn, &b.root, &b.root, "a.md", standing, 4), 1);
	store_abort(txn);
	bench_remove(&b);
}

static void test_what_is_open_stays_listed(void **state)
{
	struct bench b;

	bench_make(&b);
	struct handle *h = must_create(&b, "a.md", 5);
	put(h, "text\n", 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "a.md"), at(&b, "b.md"), 0, 5), 0);
	assert_listing(&b, "b.md ");
	pass(&b, WINDOW - 1);
	assert_int_equal(handle_flush(h), 0);
	pass(&b, 10);
	assert_listing(&b, "b.md ");
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(count_versions(&b, "b.md"), 0); /* its first save has a window of its own */
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "b.md"), 1);
	bench_remove(&b);
}

static void fill_text(char *text, size_t size)
{
	uint64_t chance = 1;

	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + chance_next(&chance) % 26);
}

static void test_a_name_that_went_begins_anew(void **state)
{
	struct version *v = malloc(sizeof(*v));
	struct desk_item item;
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	must_save(&b, "a.md", "two\n", 5); /* now process 5 has seen a version there */
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	pass(&b, WINDOW);
	pass(&b, 1); /* too late for a copy (S7) */
	must_publish(&b, "a.md", "two\n", 5);
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "a.md", &item), 0);
	struct store_txn *txn = txn_begin(&b.t, false);
	assert_int_equal(document_version(txn, &item.id, v), 0);
	store_abort(txn);
	assert_int_equal(v->parent_count, 0);
	bench_remove(&b);
	free(v);
}

static void test_a_window_crowded_with_saves(void **state)
{
	enum { SAVES = 150, SIZE = 400000 };
	char *text = malloc(SIZE);
	struct bench b;

	/* Saves of many pieces: more than one fact holds. */
	bench_make(&b);
	fill_text(text, SIZE);
	struct handle *h = must_create(&b, "a.md", 5);
	for (int i = 0; i < SAVES; i++) {
		snprintf(text, 32, "save %d", i);
		assert_int_equal(handle_write(h, text, i ? 32 : SIZE, 0), i ? 32 : SIZE);
		assert_int_equal(handle_flush(h), 0);
		assert_int_equal(handle_release(h), 0);
		h = must_open(&b, "a.md", O_RDWR, 5);
	}
	assert_int_equal(handle_release(h), 0);
	assert_true(count_versions(&b, "a.md") > 0);
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "a.md"), SAVES);
	assert_sound(&b);
	bench_remove(&b);
	free(text);
}

static void test_removal_held_by_a_lock_file(void **state)
{
	struct desk_item dir, item;
	struct handle *h;
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	b.busy = true;
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(waiting(&b), 1);
	b.busy = false;
	pass(&b, WINDOW);
	assert_int_equal(waiting(&b), 0);
	/* What goes with its folder goes first. */
	assert_int_equal(desk_mkdir(b.desk, at(&b, "dir"), 0755, 1, 1, &dir), 0);
	const struct desk_slot inside = { dir.id, "x.md" };
	assert_int_equal(desk_create(b.desk, inside, 0644, 1, 1, 5, &h, &item), 0);
	put(h, "x\n", 0);
	assert_int_equal(handle_release(h), 0);
	pass(&b, WINDOW);
	b.busy = true;
	assert_int_equal(desk_unlink(b.desk, inside), 0);
	pass(&b, WINDOW);
	b.busy = false;
	assert_int_equal(desk_rmdir(b.desk, at(&b, "dir")), 0);
	assert_listing(&b, "");
	pass(&b, WINDOW);
	assert_listing(&b, "");
	assert_int_equal(waiting(&b), 0);
	bench_remove(&b);
}

static void test_directory_over_another(void **state)
{
	struct desk_item one, two, item;
	struct handle *h;
	struct bench b;

	bench_make(&b);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "one"), 0755, 1, 1, &one), 0);
	pass(&b, WINDOW);
	const struct desk_slot inside = { one.id, "x.md" };
	assert_int_equal(desk_create(b.desk, inside, 0644, 1, 1, 5, &h, &item), 0);
	put(h, "x\n", 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "two"), 0755, 1, 1, &two), 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "two"), at(&b, "one"), 0, 5), -ENOTEMPTY);
	assert_int_equal(desk_unlink(b.desk, inside), 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "two"), at(&b, "one"), 0, 5), 0);
	assert_listing(&b, "one/ ");
	crash(&b);
	assert_listing(&b, "one/ ");
	pass(&b, WINDOW);
	assert_listing(&b, "one/ ");
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "one", &item), 0);
	assert_true(id_equal(&item.id, &two.id));
	bench_remove(&b);
}

/* A draft of more pieces than a fact holds: only their list is named there. */
static void test_gc_keeps_what_waits(void **state)
{
	enum { SIZE = 2000000 };
	char *text = malloc(SIZE), *got = malloc(SIZE + 1);
	struct gc_report report;
	struct bench b;

	bench_make(&b);
	fill_text(text, SIZE);
	struct handle *h = must_create(&b, "a.md", 5);
	assert_int_equal(handle_write(h, text, SIZE, 0), SIZE);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	free(h);
	crash(&b);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	stop(&b);
	start(&b, true);
	assert_int_equal(read_all(&b, "a.md", got, SIZE + 1), SIZE);
	assert_memory_equal(got, text, SIZE);
	pass(&b, WINDOW);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	assert_int_equal(read_all(&b, "a.md", got, SIZE + 1), SIZE);
	assert_sound(&b);
	bench_remove(&b);
	free(text);
	free(got);
}

/* gc while a save is between its pieces and its record. */
static void test_gc_in_the_middle_of_a_save(void **state)
{
	enum { SIZE = 1500000 }; /* more than a batch holds: some pieces are committed alone */
	struct content *content = calloc(1, sizeof(*content));
	char *text = malloc(SIZE), *got = malloc(SIZE + 1);
	struct gc_report report;
	struct bench b;

	bench_make(&b);
	fill_text(text, SIZE);
	struct store_batch *batch = store_batch_new(b.t.store);
	const struct piece_store pieces = store_batch_pieces(batch);
	assert_int_equal(content_write_bytes(b.t.packer, &pieces, text, SIZE, content), 0);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	struct store_txn *txn = txn_begin(&b.t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_int_equal(content_read(store_piece_cache(b.t.store), store_pieces(b.t.store), content, (uint8_t *)got, SIZE + 1, 0), SIZE);
	assert_memory_equal(got, text, SIZE);
	bench_remove(&b);
	free(content);
	free(text);
	free(got);
}

/* The bytes under edit do not fit: write(2) says so, and what was there before stays. */
static void test_full_spool(void **state)
{
	char path[300], *text = malloc(TEXT_MAX), *got = malloc(TEXT_MAX);
	struct bench b;

	bench_make(&b);
	fill_text(text, TEXT_MAX);
	stop(&b);
	snprintf(path, sizeof(path), "%s/spool", b.t.path);
	if (mount("tmpfs", path, "tmpfs", 0, "size=192k") < 0) {
		start(&b, false);
		bench_remove(&b);
		free(text);
		free(got);
		skip(); /* only root may mount */
	}
	start(&b, false);
	struct handle *h = must_create(&b, "a.md", 5);
	assert_int_equal(handle_write(h, text, 100000, 0), 100000);
	assert_int_equal(handle_write(h, text, 200000, 100000), -ENOSPC);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(read_all(&b, "a.md", got, TEXT_MAX), 100000);
	assert_memory_equal(got, text, 100000);
	must_publish(&b, "b.md", "small\n", 5);
	/* Opening what does not fit to write it fails alike. */
	h = must_open(&b, "a.md", O_RDWR, 5);
	struct handle *other = must_open(&b, "b.md", O_RDWR | O_TRUNC, 5);
	assert_int_equal(handle_write(other, text, 150000, 0), 150000);
	assert_int_equal(handle_write(h, "x", 1, 0), -ENOSPC);
	assert_int_equal(handle_release(other), 0);
	assert_int_equal(handle_write(h, "x", 1, 0), 1);
	assert_int_equal(handle_release(h), 0);
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "a.md"), 2);
	desk_close(b.desk);
	test_store_stop(&b.t);
	assert_int_equal(umount(path), 0);
	start(&b, false);
	assert_int_equal(read_all(&b, "a.md", got, TEXT_MAX), 100000);
	assert_int_equal(got[0], 'x');
	bench_remove(&b);
	free(text);
	free(got);
}

/* ---- many threads ---- */

struct worker {
	struct bench *b;
	unsigned number;
	pthread_t thread;
	int error;
};

static int list_none(void *context, const struct desk_item *item)
{
	return 0;
}

static void work_once(struct worker *w, uint64_t *chance)
{
	static const char *const names[] = { "a.md", "b.md", "c.md", "d.md" };
	struct bench *b = w->b;
	const struct desk_slot one = at(b, names[chance_below(chance, 4)]), two = at(b, names[chance_below(chance, 4)]);
	struct handle *h = NULL;
	struct desk_item item;
	char text[100];
	int err = 0, size = snprintf(text, sizeof(text), "%u %llu\n", w->number, (unsigned long long)*chance);

	switch (chance_below(chance, 8)) {
	case 0:
		err = desk_rename(b->desk, one, two, 0, w->number);
		break;
	case 1:
		err = desk_unlink(b->desk, one);
		break;
	case 2:
		err = desk_each(b->desk, &b->root, &b->root, 0, list_none, NULL);
		break;
	case 3:
		desk_tick(b->desk);
		break;
	case 4:
		err = desk_open_file(b->desk, one, O_RDONLY, w->number, &h);
		if (err == 0 && handle_read(h, text, sizeof(text), 0) < 0)
			w->error = -EIO;
		break;
	default:
		err = desk_create(b->desk, one, 0644, 1, 1, w->number, &h, &item);
		if (err == -EEXIST)
			err = desk_open_file(b->desk, one, O_WRONLY | O_TRUNC, w->number, &h);
		if (err == 0 && handle_write(h, text, (size_t)size, 0) != size)
			w->error = -EIO;
		if (err == 0 && handle_flush(h) < 0)
			w->error = -EIO;
		break;
	}
	if (h && handle_release(h) < 0)
		w->error = -EIO;
	if (err < 0 && err != -ENOENT && err != -EEXIST && err != -EBUSY)
		w->error = err;
}

static void *work(void *context)
{
	struct worker *w = context;
	uint64_t chance = w->number;

	for (int i = 0; i < 300 && w->error == 0; i++)
		work_once(w, &chance);
	return NULL;
}

static void test_threads(void **state)
{
	struct worker workers[4];
	struct bench b;

	bench_make(&b);
	desk_close(b.desk);
	test_store_stop(&b.t);
	/* The tests' own clock is one thread's. */
	const struct store_options options = { .clock = clock_system() };
	const struct desk_options desk_options = { .window_ms = 5, .document_size_max = 1 << 20 };
	assert_int_equal(store_open(&b.t.store, b.t.path, &b.t.key, &options, NULL), 0);
	assert_int_equal(desk_open(&b.desk, b.t.store, &desk_options), 0);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .b = &b, .number = i + 1 };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].error, 0);
	}
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(waiting(&b), 0);
	assert_sound(&b);
	bench_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_release_is_tried_again),
		cmocka_unit_test(test_late_release_leaves_the_next_save_whole),
		cmocka_unit_test(test_two_files_at_one_name),
		cmocka_unit_test(test_unlink_takes_parted_files_too),
		cmocka_unit_test(test_old_draft_goes_with_its_name),
		cmocka_unit_test(test_new_names_survive_a_kill),
		cmocka_unit_test(test_saves_after_a_kill_are_one_chain),
		cmocka_unit_test(test_what_is_open_stays_listed),
		cmocka_unit_test(test_a_name_that_went_begins_anew),
		cmocka_unit_test(test_a_window_crowded_with_saves),
		cmocka_unit_test(test_removal_held_by_a_lock_file),
		cmocka_unit_test(test_directory_over_another),
		cmocka_unit_test(test_gc_keeps_what_waits),
		cmocka_unit_test(test_gc_in_the_middle_of_a_save),
		cmocka_unit_test(test_full_spool),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
