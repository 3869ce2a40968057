/* What a friend gone bad serves those who follow it. */
#include <libdeflate.h>

#include "hostile.h"

/* Serves until the time is over; meets again when it is thrown out. */
static void serve(struct hostile *h, enum lie lie, void (*edit)(struct session *s, const struct query *query, struct page *page, struct bytes *items))
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		s.lie = lie;
		s.edit = edit;
		session_stay(&s);
		session_close(&s);
	}
}

/* ---- pages ---- */

void friend_nonce(struct hostile *h)
{
	serve(h, LIE_NONCE, NULL);
}

void friend_binding(struct hostile *h)
{
	serve(h, LIE_BINDING, NULL);
}

void friend_signature(struct hostile *h)
{
	serve(h, LIE_SIGNATURE, NULL);
}

void friend_twice(struct hostile *h)
{
	serve(h, LIE_TWICE, NULL);
}

void friend_half(struct hostile *h)
{
	serve(h, LIE_HALF, NULL);
}

void friend_mute(struct hostile *h)
{
	struct session s;

	while (!is_over(h)) {
		if (session_open(&s, h, h->shelf, 0) < 0)
			continue;
		s.is_silent = true;
		session_stay(&s);
		session_close(&s);
	}
}

static void replace_head(struct session *s, struct page *page, struct bytes *items, const struct id *device, uint64_t seq)
{
	struct head head = { .device = *device, .person = s->shelf->key.public, .seq = seq, .records = seq + 1 };

	clock_random(&s->hostile->clock, &head.record, ID_SIZE);
	packet_put_head_item(items, &head);
	page->item_count++;
	page->count = NUMBER_MAX;
}

static void empty(struct page *page, struct bytes *items)
{
	bytes_clear(items);
	page->item_count = 0;
	page->count = NUMBER_MAX;
}

/* Says that there is always more, and brings one more each time: with signatures, or never with one. */
static void edit_endless(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	const struct forgery no_signature = { .no_signature = true };
	struct shelf *shelf = s->shelf;

	page->count = NUMBER_MAX;
	if (query->field == QUERY_HEADS) {
		empty(page, items);
		replace_head(s, page, items, &shelf->key.public, NUMBER_MAX - 1);
	}
	if (query->field != QUERY_RECORDS || !id_equal(&query->subject, &shelf->key.public) || query->from > 200000)
		return;
	empty(page, items);
	while (shelf->record_count <= query->from)
		shelf_vote(shelf, s->hostile->sessions % 2 ? NULL : &no_signature);
	packet_put_record_item(items, &shelf->records[query->from].item);
	page->item_count = 1;
}

void friend_endless(struct hostile *h)
{
	serve(h, LIE_NONE, edit_endless);
}

static void edit_empty(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	empty(page, items);
	if (query->field == QUERY_HEADS)
		replace_head(s, page, items, &s->shelf->key.public, NUMBER_MAX - 1);
}

void friend_empty(struct hostile *h)
{
	serve(h, LIE_NONE, edit_empty);
}

/* Thousands of devices that the person does not have. */
static void edit_heads(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	struct id device;

	if (query->field != QUERY_HEADS)
		return;
	empty(page, items);
	for (unsigned i = 0; i < 2000; i++) {
		clock_random(&s->hostile->clock, &device, ID_SIZE);
		replace_head(s, page, items, &device, number_of(s->hostile, NUMBER_MAX - 2));
	}
}

void friend_heads(struct hostile *h)
{
	serve(h, LIE_NONE, edit_heads);
}

/* "I have more of your own log than you." */
static void edit_own_head(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	if (query->field == QUERY_HEADS)
		replace_head(s, page, items, &s->keys.peer, NUMBER_MAX - 2);
}

void friend_own_head(struct hostile *h)
{
	serve(h, LIE_NONE, edit_own_head);
}

/* Addresses where nobody is, or the victim itself. */
static void edit_peers(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	char address[ADDRESS_SIZE_MAX];
	struct id device;

	if (query->field != QUERY_PEERS)
		return;
	empty(page, items);
	for (unsigned i = 0; i < PEERS_TOLD_MAX; i++) {
		clock_random(&s->hostile->clock, &device, ID_SIZE);
		snprintf(address, sizeof(address), "127.67.%u.%u:%u", (unsigned)number_of(s->hostile, 256), i,
			 i % 2 ? 1 : ntohs(s->hostile->target.sin_port));
		packet_put_peer_item(items, address, &device);
		page->item_count++;
	}
}

void friend_peers(struct hostile *h)
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		s.edit = edit_peers;
		session_settle(&s, 300);
		session_close(&s);
	}
}

/* ---- pieces ---- */

/* A few versions, and more of them with each session: what was refused once is not asked for again. */
static void serve_documents(struct hostile *h, unsigned count, void (*spoil)(struct content *), struct shelf **out_shelf,
			    void (*edit)(struct session *s, const struct query *query, struct page *page, struct bytes *items))
{
	static uint8_t text[30000];
	struct session s;

	*out_shelf = h->shelf;
	for (unsigned i = 0; !is_over(h); i++) {
		for (unsigned j = 0; j < count; j++) {
			clock_random(&h->clock, text, sizeof(text));
			shelf_save(h->shelf, text, sizeof(text), spoil, NULL);
		}
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		s.edit = edit;
		session_settle(&s, 300);
		session_close(&s);
	}
}

static struct shelf *spoiled; /* where spoil_... put their pieces */

/* One piece that says it inflates to a GiB, and does to 60 MiB. */
static void spoil_bomb(struct content *content)
{
	size_t size = 60u << 20, room = PIECE_STORED_MAX - 32;
	uint8_t member[PIECE_STORED_MAX] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };
	uint8_t *zeroes = calloc(1, size);
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
	const uint32_t claims = 1u << 30;

	zeroes[0] = (uint8_t)spoiled->names; /* each another piece */
	size_t deflated = libdeflate_deflate_compress(compressor, zeroes, size, member + 10, room);
	uint32_t crc = libdeflate_crc32(0, zeroes, size);
	libdeflate_free_compressor(compressor);
	free(zeroes);
	if (deflated == 0)
		abort();
	memcpy(member + 10 + deflated, &crc, 4);
	memcpy(member + 14 + deflated, &claims, 4);
	struct piece_ref ref = { .text_size = PIECE_TEXT_MAX, .stored_size = (uint32_t)deflated + 18 };
	shelf_add_piece(spoiled, member, ref.stored_size, &ref.name);
	content->size = PIECE_TEXT_MAX;
	content->depth = 0;
	content->count = 1;
	content->pieces[0] = ref;
}

void friend_bomb(struct hostile *h)
{
	serve_documents(h, 1, spoil_bomb, &spoiled, NULL);
}

/* What it names is there and right, and longer than it says. */
static void spoil_larger(struct content *content)
{
	content->count = 1;
	content->size = content->pieces[0].text_size = 5;
}

void friend_larger(struct hostile *h)
{
	serve_documents(h, 5, spoil_larger, &spoiled, NULL);
}

static void edit_pieces(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	struct cbor_reader list = query->list;
	uint8_t bytes[1000];

	if (query->field != QUERY_PIECES)
		return;
	empty(page, items);
	clock_random(&s->hostile->clock, bytes, sizeof(bytes));
	for (size_t i = 0; i < query->list_count; i++) {
		struct piece_item item = { .bytes = bytes, .size = sizeof(bytes) };
		cbor_get_id(&list, &item.name);
		packet_put_piece_item(items, &item);
		page->item_count++;
	}
}

void friend_wrong_piece(struct hostile *h)
{
	serve_documents(h, 5, NULL, &spoiled, edit_pieces);
}

/* 64 lists of 1,400 pieces each that nobody has. */
static void spoil_lists(struct content *content)
{
	enum { REFS = 1400 };
	static uint8_t text[REFS * CONTENT_REF_SIZE];
	uint8_t member[PIECE_STORED_MAX];
	const uint64_t text_size = PIECE_TEXT_MAX;
	const uint32_t stored_size = 60000;

	content->depth = 1;
	content->count = CONTENT_PIECES_MAX;
	content->size = CONTENT_PIECES_MAX * REFS * text_size;
	for (unsigned i = 0; i < CONTENT_PIECES_MAX; i++) {
		for (unsigned j = 0; j < REFS; j++) {
			uint8_t *ref = text + j * CONTENT_REF_SIZE;
			clock_random(&spoiled->clock, ref, ID_SIZE);
			memcpy(ref + ID_SIZE, &text_size, 8);
			memcpy(ref + ID_SIZE + 8, &stored_size, 4);
		}
		ssize_t size = piece_deflate(spoiled->packer, text, sizeof(text), member);
		if (size < 0)
			abort();
		struct piece_ref ref = { .text_size = REFS * text_size, .stored_size = (uint32_t)size };
		shelf_add_piece(spoiled, member, (size_t)size, &ref.name);
		content->pieces[i] = ref;
	}
}

void friend_lists(struct hostile *h)
{
	serve_documents(h, 2, spoil_lists, &spoiled, NULL);
}

/* ---- records ---- */

/* From the beginning with each session: what was refused is forgotten, what was taken stays. */
static void serve_forged(struct hostile *h, const struct forgery *forgery)
{
	const struct forgery no_signature = { .no_signature = true };
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		shelf_cut(h->shelf, 1);
		for (unsigned j = 0; j < 20; j++)
			shelf_vote(h->shelf, &no_signature);
		shelf_vote(h->shelf, forgery);
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		session_settle(&s, 100);
		session_close(&s);
	}
}

void friend_prev(struct hostile *h)
{
	serve_forged(h, &(struct forgery){ .prev = true });
}

void friend_tip(struct hostile *h)
{
	serve_forged(h, &(struct forgery){ .signature = true });
}

void friend_voucher(struct hostile *h)
{
	const struct id other = { { 1, 2, 3 } };

	serve_forged(h, &(struct forgery){ .voucher = &other });
}

/* Each session another history after the first record, and each is valid. */
void friend_fork(struct hostile *h)
{
	serve_forged(h, NULL);
}

void friend_future(struct hostile *h)
{
	const struct forgery ahead = { .ahead_ms = 365ull * 24 * 3600 * 1000 };
	static uint8_t text[5000];
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		clock_random(&h->clock, text, sizeof(text));
		for (unsigned j = 0; j < 20; j++) {
			text[0]++;
			shelf_save(h->shelf, text, sizeof(text), NULL, &ahead);
		}
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		session_settle(&s, 200);
		session_close(&s);
	}
}

/* ---- more than anybody wants ---- */

static void put_large(struct bytes *items, struct page *page, const struct id *device, uint64_t from)
{
	static uint8_t body[60000];
	struct record *record = record_new();
	struct bytes cbor, bytes;
	struct id prev = { { 0 } };

	bytes_init(&cbor, RECORD_SIZE_MAX);
	bytes_init(&bytes, RECORD_SIZE_MAX);
	cbor_put_array(&cbor, 1);
	cbor_put_bytes(&cbor, body, sizeof(body));
	record->field = 999;
	record->body_bytes = cbor.data;
	record->body_size = cbor.size;
	record->voucher = *device;
	record->time_ms = 1;
	for (uint64_t seq = 0; seq < from + 4; seq++) {
		record->seq = seq;
		record->prev = prev;
		bytes_clear(&bytes);
		if (record_encode(record, &bytes) < 0)
			abort();
		record_id(&prev, bytes.data, bytes.size);
		if (seq < from)
			continue;
		const struct record_item item = { .bytes = bytes.data, .size = bytes.size };
		packet_put_record_item(items, &item);
		page->item_count++;
	}
	bytes_finish(&bytes);
	bytes_finish(&cbor);
	free(record);
}

/* Devices by the thousand, each with a chain that no signature ends. */
static void edit_devices(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	if (query->field == QUERY_HEADS) {
		edit_heads(s, query, page, items);
	} else if (query->field == QUERY_RECORDS && query->from < 200 && !id_equal(&query->subject, &s->shelf->key.public) &&
		   !id_equal(&query->subject, &s->keys.peer)) {
		empty(page, items);
		put_large(items, page, &query->subject, query->from);
	}
}

void friend_devices(struct hostile *h)
{
	serve(h, LIE_NONE, edit_devices);
}

/* A valid log of 100,000 records with large documents among them, for who wants it. */
void friend_junk(struct hostile *h)
{
	static uint8_t text[60000];
	const struct forgery no_signature = { .no_signature = true };

	clock_random(&h->clock, text, sizeof(text));
	while (h->shelf->record_count < 100000) {
		if (h->shelf->record_count % 500 == 0) {
			memcpy(text, &h->shelf->record_count, sizeof(size_t));
			shelf_save(h->shelf, text, sizeof(text), NULL, NULL);
		} else {
			shelf_vote(h->shelf, h->shelf->record_count % 200 ? &no_signature : NULL);
		}
	}
	shelf_vote(h->shelf, NULL);
	begin_clock(h);
	serve(h, LIE_NONE, NULL);
}
