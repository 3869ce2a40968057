#include "hostile.h"

static void *must(void *pointer)
{
	if (!pointer)
		abort();
	return pointer;
}

static void *copy(const void *bytes, size_t size)
{
	return memcpy(must(malloc(size + 1)), bytes, size);
}

/* ---- the same key for the same seed ---- */

static void seeded(void *context, uint8_t *out, size_t size)
{
	struct id id;

	id_of_bytes(&id, context, sizeof(uint64_t));
	for (size_t i = 0; i < size; i++)
		out[i] = id.bytes[i % ID_SIZE];
}

struct shelf *shelf_new(uint64_t seed)
{
	struct shelf *s = must(calloc(1, sizeof(*s)));
	struct clock clock = clock_system();
	struct record *profile = must(record_new());
	char name[32];

	s->clock = clock;
	clock.random = seeded;
	clock.context = &seed;
	key_create(&s->key, &clock);
	s->packer = must(packer_new());
	s->time_ms = clock_time_ms(&s->clock);
	snprintf(name, sizeof(name), "mallory%llu", (unsigned long long)seed);
	profile->field = FIELD_PROFILE;
	profile->profile.name = (struct text){ name, strlen(name) };
	profile->profile.about = (struct text){ "", 0 };
	shelf_append(s, profile, NULL);
	free(profile);
	return s;
}

void shelf_cut(struct shelf *s, size_t count)
{
	while (s->record_count > count)
		free((void *)(uintptr_t)s->records[--s->record_count].item.bytes);
}

void shelf_free(struct shelf *s)
{
	if (!s)
		return;
	shelf_cut(s, 0);
	for (size_t i = 0; i < s->piece_count; i++)
		free((void *)(uintptr_t)s->pieces[i].bytes);
	free(s->records);
	free(s->pieces);
	packer_free(s->packer);
	key_finish(&s->key);
	free(s);
}

/* ---- records ---- */

static void fill(struct shelf *s, struct record *record, const struct forgery *forgery)
{
	const struct forged *tip = s->record_count ? &s->records[s->record_count - 1] : NULL;

	record->voucher = forgery->voucher ? *forgery->voucher : s->key.public;
	record->seq = tip ? tip->seq + 1 : 0;
	record->prev = tip ? tip->id : (struct id){ { 0 } };
	if (tip && forgery->prev)
		record->prev.bytes[0] ^= 1;
	record->time_ms = s->time_ms += 1;
	record->time_ms += forgery->ahead_ms;
	clock_random(&s->clock, record->nonce, sizeof(record->nonce));
}

static struct forged *grow(struct shelf *s)
{
	if (s->record_count == s->record_capacity) {
		s->record_capacity = s->record_capacity ? 2 * s->record_capacity : 64;
		s->records = must(realloc(s->records, s->record_capacity * sizeof(*s->records)));
	}
	return &s->records[s->record_count++];
}

void shelf_append(struct shelf *s, struct record *record, const struct forgery *forgery)
{
	static const struct forgery none = { 0 };
	struct bytes bytes;

	forgery = forgery ? forgery : &none;
	fill(s, record, forgery);
	bytes_init(&bytes, RECORD_SIZE_MAX);
	if (record_encode(record, &bytes) < 0)
		abort();
	struct forged *f = grow(s);
	*f = (struct forged){ .seq = record->seq, .item = { .size = bytes.size, .is_signed = !forgery->no_signature } };
	f->item.bytes = copy(bytes.data, bytes.size);
	record_id(&f->id, bytes.data, bytes.size);
	if (f->item.is_signed && record_sign(&f->item.signature, &s->key, &f->id) < 0)
		abort();
	if (forgery->signature)
		f->item.signature.bytes[7] ^= 1;
	bytes_finish(&bytes);
}

void shelf_vote(struct shelf *s, const struct forgery *forgery)
{
	struct record *record = must(record_new());

	record->field = FIELD_VOTE;
	clock_random(&s->clock, record->vote.object.bytes, ID_SIZE);
	record->vote.vote = VOTE_KEEP;
	shelf_append(s, record, forgery);
	free(record);
}

/* ---- pieces ---- */

void shelf_add_piece(struct shelf *s, const void *member, size_t size, struct id *out_name)
{
	if (s->piece_count == s->piece_capacity) {
		s->piece_capacity = s->piece_capacity ? 2 * s->piece_capacity : 64;
		s->pieces = must(realloc(s->pieces, s->piece_capacity * sizeof(*s->pieces)));
	}
	struct piece_item *piece = &s->pieces[s->piece_count++];
	*piece = (struct piece_item){ .bytes = copy(member, size), .size = size };
	id_of_bytes(&piece->name, member, size);
	if (out_name)
		*out_name = piece->name;
}

const struct piece_item *shelf_find_piece(const struct shelf *s, const struct id *name)
{
	for (size_t i = s->piece_count; i-- > 0;)
		if (id_equal(&s->pieces[i].name, name))
			return &s->pieces[i];
	return NULL;
}

static int put_piece(void *context, const struct id *text_id, const struct piece_ref *offer, const uint8_t *member,
		     struct piece_ref *out)
{
	shelf_add_piece(context, member, offer->stored_size, NULL);
	return 0;
}

static int find_no_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	return 0;
}

void shelf_save(struct shelf *s, const void *text, size_t size, void (*edit)(struct content *), const struct forgery *forgery)
{
	const struct piece_store store = { .put = put_piece, .find_text = find_no_text, .context = s };
	struct record *record = must(record_new());
	char name[32];

	record->field = FIELD_VERSION;
	if (content_write_bytes(s->packer, &store, text, size, &record->version.content) < 0)
		abort();
	if (edit)
		edit(&record->version.content);
	snprintf(name, sizeof(name), "junk%llu.txt", (unsigned long long)++s->names);
	record->version.entry = (struct entry){ .directory = s->key.public, .what = WHAT_VERSION, .name = { name, strlen(name) } };
	shelf_append(s, record, forgery);
	free(record);
}

void shelf_head(const struct shelf *s, struct head *out)
{
	const struct forged *tip = &s->records[s->record_count - 1];

	*out = (struct head){ .device = s->key.public, .person = s->key.public, .seq = tip->seq, .record = tip->id,
			      .records = s->record_count };
}
