/* Which versions lack pieces: against a slow model, whatever comes in whatever order, and by reindex alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

#include "depot_kit.h"
#include "wanted.h"
#include "wire.h"

#define NAMES_MAX 4096

/* ---- the model: look at everything ---- */

struct lacking {
	struct id names[NAMES_MAX];
	size_t count;
};

static bool lacks(const struct lacking *l, const struct id *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (id_equal(&l->names[i], name))
			return true;
	return false;
}

static void look_at(struct node *n, struct store_txn *txn, const struct id *name, unsigned depth, struct lacking *out)
{
	static uint8_t member[PIECE_STORED_MAX], text[CONTENT_DEPTH_MAX + 1][PIECE_TEXT_MAX];
	struct wire w;
	struct id below;

	if (!store_has_piece(txn, name)) {
		if (!lacks(out, name))
			out->names[out->count++] = *name;
		return;
	}
	if (depth == 0)
		return;
	ssize_t size = store_read_piece(n->t.store, name, member, sizeof(member));
	assert_true(size > 0);
	size = piece_inflate(n->t.packer, member, (size_t)size, text[depth]);
	assert_true(size > 0);
	wire_init(&w, text[depth], (size_t)size);
	while (w.left > 0) {
		wire_id(&w, &below);
		wire_u64(&w);
		wire_u32(&w);
		look_at(n, txn, &below, depth - 1, out);
	}
}

static void model_lacking(struct node *n, struct store_txn *txn, const struct id *version, struct lacking *out)
{
	struct version *v = calloc(1, sizeof(*v));

	out->count = 0;
	if (document_version(txn, version, v) == 0)
		for (size_t i = 0; i < v->content.count; i++)
			look_at(n, txn, &v->content.pieces[i].name, v->content.depth, out);
	free(v);
}

struct world {
	struct node alice, bob;
	struct run *run;            /* alice's log */
	struct id versions[64];     /* zero: a record of another kind */
	struct id names[NAMES_MAX]; /* her pieces */
	size_t name_count;
	uint64_t chance;
};

static bool is_wanted(struct store_txn *txn, const struct id *version, bool *out_leaf)
{
	uint64_t cursor = 0, number;
	struct wanted w;

	if (store_number(txn, NUMBER_RECORD, version, &number) < 0)
		return false;
	while (wanted_next(txn, cursor, &w) > 0) {
		*out_leaf = w.is_leaf;
		if (w.record == number)
			return true;
		cursor = w.next;
	}
	return false;
}

static void compare_with_model(struct world *w)
{
	struct lacking *l = calloc(1, sizeof(*l));
	struct piece_ref *refs = calloc(NAMES_MAX, sizeof(*refs));
	struct store_txn *txn = txn_begin(&w->bob.t, false);
	uint64_t cursor = 0, last = 0, number;
	struct wanted each;
	size_t wanted = 0, expected = 0;
	bool rest = false, leaf;

	for (size_t i = 0; i < w->run->count; i++) {
		if (id_is_zero(&w->versions[i]) || store_number(txn, NUMBER_RECORD, &w->versions[i], &number) < 0 ||
		    document_version(txn, &w->versions[i], &(struct version){ .parent_count = 0 }) < 0)
			continue;
		model_lacking(&w->bob, txn, &w->versions[i], l);
		assert_int_equal(is_wanted(txn, &w->versions[i], &leaf), l->count > 0);
		expected += l->count > 0;
		if (l->count > 0)
			assert_int_equal(leaf, document_is_leaf(txn, number));
		ssize_t count = wanted_missing(txn, number, refs, NAMES_MAX);
		assert_int_equal(count, l->count);
		for (ssize_t j = 0; j < count; j++)
			assert_true(lacks(l, &refs[j].name));
	}
	while (wanted_next(txn, cursor, &each) > 0) {
		/* Leaves first, each newest first. */
		assert_true(!rest || !each.is_leaf);
		assert_true(rest != !each.is_leaf || last == 0 || each.record < last);
		rest = !each.is_leaf;
		last = each.record;
		cursor = each.next;
		wanted++;
	}
	assert_int_equal(wanted, expected);
	store_abort(txn);
	free(refs);
	free(l);
}

static int note_name(void *context, const struct piece_ref *ref, bool is_list)
{
	struct world *w = context;

	for (size_t i = 0; i < w->name_count; i++)
		if (id_equal(&w->names[i], &ref->name))
			return 0;
	assert_true(w->name_count < NAMES_MAX);
	w->names[w->name_count++] = ref->name;
	return 0;
}

static void note_versions(struct world *w)
{
	struct store_txn *txn = txn_begin(&w->alice.t, false);
	struct version *v = calloc(1, sizeof(*v));

	for (size_t i = 0; i < w->run->count; i++) {
		struct id id;
		record_id(&id, w->run->items[i].bytes, w->run->items[i].size);
		if (document_version(txn, &id, v) < 0)
			continue;
		w->versions[i] = id;
		assert_int_equal(content_each(store_piece_cache(w->alice.t.store), store_pieces(w->alice.t.store),
					      &v->content, true, note_name, w), 0);
	}
	store_abort(txn);
	free(v);
}

/* Chains of versions that share pieces, short ones, long ones with lists, equal ones, an empty one. */
static void alice_writes(struct world *w)
{
	char *long_text = noise(w->chance, 1600000), *some = noise(w->chance + 1, 150000), *zeros = malloc(3000001);
	char brief[] = "short", empty[] = "", another[] = "another";
	char *texts[] = { brief, some, empty, long_text, another, zeros };
	struct id document[6], parent[6];
	bool begun[6] = { false };

	memset(zeros, 'z', 3000000);
	zeros[3000000] = '\0';
	for (int i = 0; i < 24; i++) {
		unsigned which = chance_below(&w->chance, 6);
		char name[8] = { (char)('a' + which), '\0' };
		if (which == 1 || which == 3)
			texts[which][chance_below(&w->chance, 140000)] ^= 1;
		if (!begun[which] || chance_below(&w->chance, 6) == 0)
			document[which] = parent[which] = write_text(&w->alice, NULL, name, texts[which]);
		else
			parent[which] = write_next(&w->alice, &document[which], &parent[which], name, texts[which]);
		begun[which] = true;
	}
	free(long_text);
	free(some);
	free(zeros);
	node_sync(&w->alice);
	w->run = run_of(&w->alice, device_of(&w->alice), 0, UINT64_MAX);
	note_versions(w);
}

static void world_make(struct world *w, uint64_t seed)
{
	w->chance = seed;
	node_make(&w->alice, seed * 3 + 1);
	node_make(&w->bob, seed * 3 + 2);
	node_follow(&w->bob, device_of(&w->alice), true);
	alice_writes(w);
}

static void world_free(struct world *w)
{
	run_free(w->run);
	node_remove(&w->alice);
	node_remove(&w->bob);
	free(w);
}

static void give_piece(struct world *w, size_t index)
{
	assert_int_equal(carry_piece(&w->alice, &w->bob, &w->names[index]), 0);
}

static void in_any_order(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct world *w = calloc(1, sizeof(*w));
		size_t taken = 0, given = 0;
		world_make(w, seed);
		for (int step = 0; taken < w->run->count || given < w->name_count; step++) {
			if (taken < w->run->count && chance_below(&w->chance, 8) == 0) {
				size_t count = 1 + chance_below(&w->chance, 5);
				count = count < w->run->count - taken ? count : w->run->count - taken;
				assert_int_equal(node_take(&w->bob, device_of(&w->alice), &w->run->items[taken], count), count);
				taken += count;
			} else if (given < w->name_count) {
				size_t pick = given + chance_below(&w->chance, (unsigned)(w->name_count - given));
				struct id name = w->names[pick];
				w->names[pick] = w->names[given];
				w->names[given] = name;
				give_piece(w, given++);
			}
			if (step % 16 == 0)
				compare_with_model(w);
			if (step % 64 == 0)
				assert_reindex_is_same(&w->bob);
		}
		compare_with_model(w);
		assert_int_equal(count_missing(&w->bob), 0);
		assert_reindex_is_same(&w->bob);
		struct store_txn *txn = txn_begin(&w->bob.t, false);
		assert_int_equal(index_rows(store_index(txn), TABLE_WANTED), 0);
		store_abort(txn);
		assert_same_folder(&w->alice, &w->bob, device_of(&w->alice));
		world_free(w);
	}
}

static void one_asks_until_nothing_lacks(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_make(w, 7);
	assert_true(carry_log(&w->alice, &w->bob, device_of(&w->alice)) > 0);
	compare_with_model(w);
	assert_int_equal(carry_pieces(&w->alice, &w->bob), w->name_count);
	compare_with_model(w);
	world_free(w);
}

/* What a list names can be told only when it is here. */
static void lists_are_asked_for_first(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct piece_ref refs[128];
	uint64_t number;

	node_make(&w->alice, 1);
	node_make(&w->bob, 2);
	char *text = noise(5, 2000000);
	struct id id = write_text(&w->alice, NULL, "long", text);
	free(text);
	node_sync(&w->alice);
	w->run = run_of(&w->alice, device_of(&w->alice), 0, UINT64_MAX);
	note_versions(w);
	carry_log(&w->alice, &w->bob, device_of(&w->alice));
	struct store_txn *txn = txn_begin(&w->bob.t, false);
	assert_int_equal(store_number(txn, NUMBER_RECORD, &id, &number), 0);
	ssize_t lists = wanted_missing(txn, number, refs, 128);
	assert_in_range(lists, 1, 5);
	store_abort(txn);
	assert_int_equal(carry_piece(&w->alice, &w->bob, &refs[0].name), 0);
	txn = txn_begin(&w->bob.t, false);
	ssize_t more = wanted_missing(txn, number, refs, 128);
	assert_true(more > lists);
	for (ssize_t i = 0; i + 1 < lists; i++)
		assert_true(refs[i].text_size > PIECE_TEXT_MAX);
	for (ssize_t i = lists - 1; i < more; i++)
		assert_true(refs[i].text_size <= PIECE_TEXT_MAX);
	store_abort(txn);
	world_free(w);
}

/* A list that is none: the version can never be whole, and nothing is asked for in vain for ever. */
static void a_content_that_is_not_sound_is_given_up(void **state)
{
	struct node alice, bob;
	struct record *record = record_new();
	uint8_t member[256];
	struct piece_item item = { .bytes = member };
	int result;

	node_make(&alice, 1);
	node_make(&bob, 2);
	node_follow(&bob, device_of(&alice), true);
	ssize_t size = piece_deflate(alice.t.packer, (const uint8_t *)"this is no list", 15, member);
	item.size = (size_t)size;
	id_of_bytes(&item.name, member, item.size);
	struct store_txn *txn = txn_begin(&alice.t, true);
	record->field = FIELD_VERSION;
	record->version.content = (struct content){ .size = 100000, .digest = { { 1 } }, .depth = 1, .count = 1,
		.pieces = { { .name = item.name, .text_size = 100000, .stored_size = (uint32_t)size } } };
	record->version.entry = (struct entry){ .directory = *device_of(&alice), .name = text_of("a"), .what = WHAT_VERSION };
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	txn_commit(txn);
	free(record);
	node_sync(&alice);
	carry_log(&alice, &bob, device_of(&alice));
	assert_int_equal(count_missing(&bob), 1);
	assert_int_equal(bob.depot->calls->take_pieces(bob.depot->context, &item, 1, &result), 0);
	assert_int_equal(result, 0);
	assert_int_equal(count_missing(&bob), 0);
	assert_reindex_is_same(&bob);
	node_remove(&alice);
	node_remove(&bob);
}

static void what_is_dropped_on_purpose_is_not_wanted(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_make(w, 9);
	carry_log(&w->alice, &w->bob, device_of(&w->alice));
	carry_pieces(&w->alice, &w->bob);
	struct store_txn *txn = txn_begin(&w->bob.t, true);
	for (size_t i = 0; i < w->name_count; i += 3)
		assert_int_equal(store_drop_piece(txn, &w->names[i]), 0);
	txn_commit(txn);
	assert_int_equal(count_missing(&w->bob), 0);
	assert_reindex_is_same(&w->bob);
	/* Nor when the journal has given back its room, and the index is made anew. */
	struct gc_report report;
	assert_int_equal(journal_rotate(store_journal(w->bob.t.store)), 0);
	assert_int_equal(store_gc(w->bob.t.store, true, &report), 0);
	assert_true(report.bytes_freed > 0);
	depot_store_free(w->bob.store);
	test_store_stop(&w->bob.t);
	test_store_start(&w->bob.t, true);
	node_open(&w->bob);
	assert_int_equal(count_missing(&w->bob), 0);
	/* But it can be asked for. */
	size_t found = 0;
	for (size_t i = 0; i < w->run->count; i++) {
		struct depot_piece piece[8];
		if (!id_is_zero(&w->versions[i]))
			found += w->bob.depot->calls->missing_of(w->bob.depot->context, &w->versions[i], piece, 8) > 0;
	}
	assert_true(found > 0);
	/* Of one that is noted as having lost something all is wanted again. */
	txn = txn_begin(&w->bob.t, true);
	for (size_t i = 0; i < w->run->count; i++) {
		uint64_t number;
		if (!id_is_zero(&w->versions[i])) {
			assert_int_equal(store_number(txn, NUMBER_RECORD, &w->versions[i], &number), 0);
			assert_int_equal(wanted_note_lost(txn, number), 0);
		}
	}
	txn_commit(txn);
	compare_with_model(w);
	carry_pieces(&w->alice, &w->bob);
	assert_int_equal(count_missing(&w->bob), 0);
	assert_same_folder(&w->alice, &w->bob, device_of(&w->alice));
	world_free(w);
}

/* What this device writes is never wanted, and costs no row; also of what it builds on another's. */
static void own_saves_are_not_wanted(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	bool leaf = true;

	world_make(w, 11);
	carry_log(&w->alice, &w->bob, device_of(&w->alice));
	struct store_txn *txn = txn_begin(&w->bob.t, false);
	uint64_t rows = index_rows(store_index(txn), TABLE_WANTED);
	store_abort(txn);
	size_t last = w->run->count - 1;
	while (id_is_zero(&w->versions[last]))
		last--;
	write_next(&w->bob, &w->versions[last], &w->versions[last], "mine", "bob goes on");
	txn = txn_begin(&w->bob.t, false);
	assert_int_equal(index_rows(store_index(txn), TABLE_WANTED), rows);
	if (is_wanted(txn, &w->versions[last], &leaf))
		assert_false(leaf); /* bob's descends from it */
	store_abort(txn);
	assert_reindex_is_same(&w->bob);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_any_order),
		cmocka_unit_test(one_asks_until_nothing_lacks),
		cmocka_unit_test(lists_are_asked_for_first),
		cmocka_unit_test(a_content_that_is_not_sound_is_given_up),
		cmocka_unit_test(what_is_dropped_on_purpose_is_not_wanted),
		cmocka_unit_test(own_saves_are_not_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
