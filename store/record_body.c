#include "record_body.h"

#include <string.h>

#include "utf8.h"

#define TRUST_MAX 1000000 /* parts per million */
#define QUORUM_MAX 1000
#define OFFENCE_MAX 255
#define RANK_COUNT 7

/* ---- parts that several kinds share ---- */

static void put_text(struct bytes *b, struct text text)
{
	cbor_put_text(b, text.size > 0 ? text.data : "", text.size);
}

static void get_text(struct cbor_reader *reader, size_t size_max, struct text *out)
{
	out->size = 0;
	out->data = cbor_get_text(reader, 0, size_max, &out->size);
}

static bool text_is_valid(struct text text, size_t size_max)
{
	return text.size == 0 || (text.data && text.size <= size_max &&
	       !memchr(text.data, '\0', text.size) && utf8_valid(text.data, text.size));
}

static bool name_is_valid(struct text name, size_t size_max)
{
	return name.data && name.size <= size_max && utf8_valid_name(name.data, name.size);
}

static void put_ids(struct bytes *b, const struct id *ids, size_t count)
{
	cbor_put_array(b, count);
	for (size_t i = 0; i < count; i++)
		cbor_put_id(b, &ids[i]);
}

static uint32_t get_ids(struct cbor_reader *reader, struct id *out, size_t count_max)
{
	size_t count = cbor_get_array(reader, 0, count_max);

	for (size_t i = 0; i < count; i++)
		cbor_get_id(reader, &out[i]);
	return (uint32_t)count;
}

/* Rising, so without duplicates; the zero id, which is none, could only be the first. */
static bool ids_are_valid(const struct id *ids, size_t count)
{
	if (count > 0 && id_is_zero(&ids[0]))
		return false;
	for (size_t i = 1; i < count; i++) {
		if (id_compare(&ids[i - 1], &ids[i]) >= 0)
			return false;
	}
	return true;
}

static void put_cut(struct bytes *b, const struct cut_item *cut, size_t count)
{
	cbor_put_array(b, count);
	for (size_t i = 0; i < count; i++) {
		cbor_put_array(b, 3);
		cbor_put_id(b, &cut[i].device);
		cbor_put_uint(b, cut[i].seq);
		cbor_put_id(b, &cut[i].record);
	}
}

static uint32_t get_cut(struct cbor_reader *reader, struct cut_item *out)
{
	size_t count = cbor_get_array(reader, 0, CUT_MAX);

	for (size_t i = 0; i < count; i++) {
		cbor_get_array(reader, 3, 3);
		cbor_get_id(reader, &out[i].device);
		out[i].seq = cbor_get_uint(reader, NUMBER_MAX);
		cbor_get_id(reader, &out[i].record);
	}
	return (uint32_t)count;
}

static bool cut_is_valid(const struct cut_item *cut, size_t count)
{
	if (count > CUT_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (id_is_zero(&cut[i].device) || id_is_zero(&cut[i].record) || cut[i].seq > NUMBER_MAX)
			return false;
		if (i > 0 && id_compare(&cut[i - 1].device, &cut[i].device) >= 0)
			return false;
	}
	return true;
}

/* ---- content ---- */

static bool content_is_valid(const struct content *content)
{
	if (content_check(content) < 0 || id_is_zero(&content->digest))
		return false;
	for (size_t i = 0; i < content->count; i++) {
		if (id_is_zero(&content->pieces[i].name))
			return false;
	}
	return true;
}

void record_put_content(struct bytes *b, const struct content *content)
{
	cbor_put_array(b, 4);
	cbor_put_uint(b, content->size);
	cbor_put_id(b, &content->digest);
	cbor_put_uint(b, content->depth);
	cbor_put_array(b, content->count);
	for (size_t i = 0; i < content->count; i++) {
		cbor_put_array(b, 3);
		cbor_put_id(b, &content->pieces[i].name);
		cbor_put_uint(b, content->pieces[i].text_size);
		cbor_put_uint(b, content->pieces[i].stored_size);
	}
}

/* After the head of its array. */
static void get_content_items(struct cbor_reader *reader, struct content *out)
{
	out->size = cbor_get_uint(reader, DOCUMENT_SIZE_MAX);
	cbor_get_id(reader, &out->digest);
	out->depth = (uint8_t)cbor_get_uint(reader, CONTENT_DEPTH_MAX);
	out->count = (uint16_t)cbor_get_array(reader, 1, CONTENT_PIECES_MAX);
	for (size_t i = 0; i < out->count; i++) {
		cbor_get_array(reader, 3, 3);
		cbor_get_id(reader, &out->pieces[i].name);
		out->pieces[i].text_size = cbor_get_uint(reader, DOCUMENT_SIZE_MAX);
		out->pieces[i].stored_size = (uint32_t)cbor_get_uint(reader, PIECE_STORED_MAX);
	}
	if (!reader->failed && !content_is_valid(out))
		cbor_reader_fail(reader);
}

void record_get_content(struct cbor_reader *reader, struct content *out)
{
	cbor_get_array(reader, 4, 4);
	get_content_items(reader, out);
}

/* ---- entries ---- */

static void put_entry(struct bytes *b, const struct record *r, const struct entry *entry)
{
	const struct replaced *replaces = r->replaces + entry->replaces_first;

	cbor_put_array(b, 5);
	cbor_put_id(b, &entry->directory);
	put_text(b, entry->name);
	cbor_put_uint(b, entry->what);
	cbor_put_optional_id(b, &entry->id);
	cbor_put_array(b, entry->replaces_count);
	for (size_t i = 0; i < entry->replaces_count; i++) {
		cbor_put_array(b, 2);
		cbor_put_id(b, &replaces[i].record);
		cbor_put_uint(b, replaces[i].index);
	}
}

static void get_entry(struct cbor_reader *reader, struct record *r, struct entry *out)
{
	struct replaced *replaces = r->replaces + r->replaces_count;
	size_t count;

	cbor_get_array(reader, 5, 5);
	cbor_get_id(reader, &out->directory);
	get_text(reader, NAME_SIZE_MAX, &out->name);
	out->what = (enum what)cbor_get_uint(reader, WHAT_DIRECTORY);
	cbor_get_optional_id(reader, &out->id);
	count = cbor_get_array(reader, 0, REPLACES_MAX - r->replaces_count);
	for (size_t i = 0; i < count; i++) {
		cbor_get_array(reader, 2, 2);
		cbor_get_id(reader, &replaces[i].record);
		replaces[i].index = (uint32_t)cbor_get_uint(reader, ENTRIES_MAX - 1);
	}
	out->replaces_first = r->replaces_count;
	out->replaces_count = (uint32_t)count;
	r->replaces_count += (uint32_t)count;
}

static bool replaces_are_valid(const struct record *r, const struct entry *entry)
{
	if (r->replaces_count > REPLACES_MAX || entry->replaces_first > r->replaces_count ||
	    entry->replaces_count > r->replaces_count - entry->replaces_first)
		return false;

	const struct replaced *at = r->replaces + entry->replaces_first;
	for (size_t i = 0; i < entry->replaces_count; i++) {
		if (id_is_zero(&at[i].record) || at[i].index >= ENTRIES_MAX)
			return false;
		if (i == 0)
			continue;
		int order = id_compare(&at[i - 1].record, &at[i].record);
		if (order > 0 || (order == 0 && at[i - 1].index >= at[i].index))
			return false;
	}
	return true;
}

static bool entry_is_valid(const struct record *r, const struct entry *entry)
{
	return !id_is_zero(&entry->directory) && name_is_valid(entry->name, NAME_SIZE_MAX) &&
	       replaces_are_valid(r, entry);
}

/* ---- kinds, in order of their numbers ---- */

static void profile_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	cbor_put_optional_id(b, &r->profile.person);
	put_text(b, r->profile.name);
	put_text(b, r->profile.about);
}

static void profile_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	cbor_get_optional_id(reader, &r->profile.person);
	get_text(reader, PROFILE_NAME_MAX, &r->profile.name);
	get_text(reader, PROFILE_ABOUT_MAX, &r->profile.about);
}

static bool profile_valid(const struct record *r)
{
	return (r->profile.name.size == 0 || name_is_valid(r->profile.name, PROFILE_NAME_MAX)) &&
	       text_is_valid(r->profile.about, PROFILE_ABOUT_MAX);
}

static void summary_put(struct bytes *b, const struct record *r)
{
	const struct summary_section *sections = r->summary.sections;

	cbor_put_array(b, SUMMARY_COUNT);
	for (size_t i = 0; i < SUMMARY_COUNT; i++) {
		if (sections && sections[i].present)
			record_put_content(b, &sections[i].content);
		else
			cbor_put_array(b, 0);
	}
}

void record_get_section(struct cbor_reader *reader, struct summary_section *out)
{
	size_t count = cbor_get_array(reader, 0, 4);

	out->present = count > 0;
	out->content.count = 0;
	if (!out->present)
		return;
	if (count != 4)
		cbor_reader_fail(reader);
	get_content_items(reader, &out->content);
	if (out->content.size == 0) /* nothing in force has one encoding: no content */
		cbor_reader_fail(reader);
}

static void summary_get(struct cbor_reader *reader, struct record *r)
{
	struct summary_section section;

	cbor_get_array(reader, SUMMARY_COUNT, SUMMARY_COUNT);
	for (size_t i = 0; i < SUMMARY_COUNT; i++)
		record_get_section(reader, &section);
	r->summary.sections = NULL;
}

static bool summary_valid(const struct record *r)
{
	const struct summary_section *sections = r->summary.sections;

	for (size_t i = 0; sections && i < SUMMARY_COUNT; i++) {
		if (sections[i].present &&
		    (sections[i].content.size == 0 || !content_is_valid(&sections[i].content)))
			return false;
	}
	return true;
}

static void subscribe_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	cbor_put_uint(b, r->subscribe.what);
	cbor_put_id(b, &r->subscribe.id);
	cbor_put_uint(b, r->subscribe.on);
}

static void subscribe_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	r->subscribe.what = (enum subject)cbor_get_uint(reader, SUBJECT_DOCUMENT);
	cbor_get_id(reader, &r->subscribe.id);
	r->subscribe.on = cbor_get_uint(reader, 1);
}

static bool subscribe_valid(const struct record *r)
{
	return r->subscribe.what <= SUBJECT_DOCUMENT && !id_is_zero(&r->subscribe.id);
}

static void trust_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 2);
	cbor_put_id(b, &r->trust.entity);
	cbor_put_uint(b, r->trust.parts_per_million);
}

static void trust_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 2, 2);
	cbor_get_id(reader, &r->trust.entity);
	r->trust.parts_per_million = (uint32_t)cbor_get_uint(reader, TRUST_MAX);
}

static bool trust_valid(const struct record *r)
{
	return !id_is_zero(&r->trust.entity) && r->trust.parts_per_million <= TRUST_MAX;
}

static void denounce_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	cbor_put_id(b, &r->denounce.accused);
	cbor_put_uint(b, r->denounce.offence);
	record_put_content(b, &r->denounce.evidence);
}

static void denounce_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	cbor_get_id(reader, &r->denounce.accused);
	r->denounce.offence = (uint32_t)cbor_get_uint(reader, OFFENCE_MAX);
	record_get_content(reader, &r->denounce.evidence);
}

static bool denounce_valid(const struct record *r)
{
	return !id_is_zero(&r->denounce.accused) && r->denounce.offence >= 1 &&
	       r->denounce.offence <= OFFENCE_MAX && content_is_valid(&r->denounce.evidence) &&
	       r->denounce.evidence.size > 0;
}

static void rank_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 2);
	cbor_put_id(b, &r->rank.peer);
	cbor_put_array(b, RANK_COUNT);
	for (size_t i = 0; i < RANK_COUNT; i++) {
		cbor_put_array(b, 2);
		cbor_put_uint(b, r->rank.ranks[i].good);
		cbor_put_uint(b, r->rank.ranks[i].bad);
	}
}

static void rank_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 2, 2);
	cbor_get_id(reader, &r->rank.peer);
	cbor_get_array(reader, RANK_COUNT, RANK_COUNT);
	for (size_t i = 0; i < RANK_COUNT; i++) {
		cbor_get_array(reader, 2, 2);
		r->rank.ranks[i].good = cbor_get_uint(reader, NUMBER_MAX);
		r->rank.ranks[i].bad = cbor_get_uint(reader, NUMBER_MAX);
	}
}

static bool rank_valid(const struct record *r)
{
	for (size_t i = 0; i < RANK_COUNT; i++) {
		if (r->rank.ranks[i].good > NUMBER_MAX || r->rank.ranks[i].bad > NUMBER_MAX)
			return false;
	}
	return !id_is_zero(&r->rank.peer);
}

static void admit_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	cbor_put_id(b, &r->admit.device);
	cbor_put_uint(b, r->admit.on);
	cbor_put_optional_id(b, &r->admit.last);
}

static void admit_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	cbor_get_id(reader, &r->admit.device);
	r->admit.on = cbor_get_uint(reader, 1);
	cbor_get_optional_id(reader, &r->admit.last);
}

/* Only a retirement has a last record that counts. */
static bool admit_valid(const struct record *r)
{
	return !id_is_zero(&r->admit.device) && (!r->admit.on || id_is_zero(&r->admit.last));
}

static void branch_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 1);
	cbor_put_id(b, &r->branch.record);
}

static void branch_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 1, 1);
	cbor_get_id(reader, &r->branch.record);
}

static bool branch_valid(const struct record *r)
{
	return !id_is_zero(&r->branch.record);
}

static void version_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 5);
	cbor_put_optional_id(b, &r->version.document);
	put_ids(b, r->version.parents, r->version.parent_count);
	cbor_put_uint(b, r->version.mode);
	record_put_content(b, &r->version.content);
	put_entry(b, r, &r->version.entry);
}

static void version_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 5, 5);
	cbor_get_optional_id(reader, &r->version.document);
	r->version.parent_count = get_ids(reader, r->version.parents, PARENTS_MAX);
	r->version.mode = (enum mode)cbor_get_uint(reader, MODE_LINK);
	record_get_content(reader, &r->version.content);
	get_entry(reader, r, &r->version.entry);
}

static bool version_valid(const struct record *r)
{
	const struct content *content = &r->version.content;
	const struct entry *entry = &r->version.entry;

	if (r->version.parent_count > PARENTS_MAX ||
	    !ids_are_valid(r->version.parents, r->version.parent_count))
		return false;
	if (r->version.mode > MODE_LINK || !content_is_valid(content))
		return false;
	if (r->version.mode == MODE_LINK && (content->size < 1 || content->size > LINK_SIZE_MAX))
		return false;
	/* Its own entry stands for this record, whose id is not known inside it. */
	return entry->what == WHAT_VERSION && id_is_zero(&entry->id) && entry_is_valid(r, entry);
}

static void entries_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, r->entries.count);
	for (size_t i = 0; i < r->entries.count; i++)
		put_entry(b, r, &r->entries.entries[i]);
}

static void entries_get(struct cbor_reader *reader, struct record *r)
{
	r->entries.count = (uint32_t)cbor_get_array(reader, 1, ENTRIES_MAX);
	for (size_t i = 0; i < r->entries.count; i++)
		get_entry(reader, r, &r->entries.entries[i]);
}

static bool entries_valid(const struct record *r)
{
	uint64_t replaces = 0;

	if (r->entries.count < 1 || r->entries.count > ENTRIES_MAX)
		return false;
	for (size_t i = 0; i < r->entries.count; i++) {
		const struct entry *entry = &r->entries.entries[i];

		if (entry->what > WHAT_DIRECTORY || !entry_is_valid(r, entry) ||
		    id_is_zero(&entry->id) != (entry->what == WHAT_NOTHING))
			return false;
		replaces += entry->replaces_count;
	}
	return replaces <= REPLACES_MAX;
}

static void vote_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 2);
	cbor_put_id(b, &r->vote.object);
	cbor_put_uint(b, r->vote.vote);
}

static void vote_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 2, 2);
	cbor_get_id(reader, &r->vote.object);
	r->vote.vote = (enum vote)cbor_get_uint(reader, VOTE_DELETE);
}

static bool vote_valid(const struct record *r)
{
	return !id_is_zero(&r->vote.object) && r->vote.vote <= VOTE_DELETE;
}

static void ranking_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 4);
	cbor_put_id(b, &r->ranking.directory);
	put_text(b, r->ranking.name);
	cbor_put_array(b, r->ranking.count);
	for (size_t i = 0; i < r->ranking.count; i++)
		cbor_put_optional_id(b, &r->ranking.versions[i]);
	cbor_put_optional_id(b, &r->ranking.ballots);
}

static void ranking_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 4, 4);
	cbor_get_id(reader, &r->ranking.directory);
	get_text(reader, NAME_SIZE_MAX, &r->ranking.name);
	r->ranking.count = (uint32_t)cbor_get_array(reader, 0, RANKING_MAX);
	for (size_t i = 0; i < r->ranking.count; i++)
		cbor_get_optional_id(reader, &r->ranking.versions[i]);
	cbor_get_optional_id(reader, &r->ranking.ballots);
}

/* Each pair is compared, 32,640 at most: microseconds, beside a signature's. */
static bool has_duplicate(const struct id *ids, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (memcmp(&ids[i], &ids[j], sizeof(ids[i])) == 0)
				return true;
		}
	}
	return false;
}

static bool ranking_valid(const struct record *r)
{
	return !id_is_zero(&r->ranking.directory) && name_is_valid(r->ranking.name, NAME_SIZE_MAX) &&
	       r->ranking.count <= RANKING_MAX && !has_duplicate(r->ranking.versions, r->ranking.count);
}

static void found_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	put_text(b, r->found.name);
	cbor_put_uint(b, r->found.numerator);
	cbor_put_uint(b, r->found.denominator);
}

static void found_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	get_text(reader, PROFILE_NAME_MAX, &r->found.name);
	r->found.numerator = cbor_get_uint(reader, QUORUM_MAX);
	r->found.denominator = cbor_get_uint(reader, QUORUM_MAX);
}

static bool found_valid(const struct record *r)
{
	return name_is_valid(r->found.name, PROFILE_NAME_MAX) && r->found.numerator >= 1 &&
	       r->found.numerator <= r->found.denominator && r->found.denominator <= QUORUM_MAX;
}

static void join_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 2);
	cbor_put_id(b, &r->join.group);
	cbor_put_uint(b, r->join.on);
}

static void join_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 2, 2);
	cbor_get_id(reader, &r->join.group);
	r->join.on = cbor_get_uint(reader, 1);
}

static bool join_valid(const struct record *r)
{
	return !id_is_zero(&r->join.group);
}

static void authorize_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 3);
	cbor_put_id(b, &r->authorize.group);
	cbor_put_id(b, &r->authorize.entity);
	cbor_put_uint(b, r->authorize.on);
}

static void authorize_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 3, 3);
	cbor_get_id(reader, &r->authorize.group);
	cbor_get_id(reader, &r->authorize.entity);
	r->authorize.on = cbor_get_uint(reader, 1);
}

static bool authorize_valid(const struct record *r)
{
	return !id_is_zero(&r->authorize.group) && !id_is_zero(&r->authorize.entity);
}

static void roster_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 4);
	cbor_put_id(b, &r->roster.group);
	cbor_put_optional_id(b, &r->roster.previous);
	put_cut(b, r->roster.cut, r->roster.cut_count);
	put_ids(b, r->roster.members, r->roster.member_count);
}

static void roster_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 4, 4);
	cbor_get_id(reader, &r->roster.group);
	cbor_get_optional_id(reader, &r->roster.previous);
	r->roster.cut_count = get_cut(reader, r->roster.cut);
	r->roster.member_count = get_ids(reader, r->roster.members, MEMBERS_MAX);
}

static bool roster_valid(const struct record *r)
{
	return !id_is_zero(&r->roster.group) && cut_is_valid(r->roster.cut, r->roster.cut_count) &&
	       r->roster.member_count >= 1 && r->roster.member_count <= MEMBERS_MAX &&
	       ids_are_valid(r->roster.members, r->roster.member_count);
}

static void tally_put(struct bytes *b, const struct record *r)
{
	cbor_put_array(b, 7);
	cbor_put_id(b, &r->tally.group);
	cbor_put_id(b, &r->tally.directory);
	put_text(b, r->tally.name);
	cbor_put_id(b, &r->tally.roster);
	put_cut(b, r->tally.cut, r->tally.cut_count);
	cbor_put_optional_id(b, &r->tally.winner);
	cbor_put_id(b, &r->tally.rounds);
}

static void tally_get(struct cbor_reader *reader, struct record *r)
{
	cbor_get_array(reader, 7, 7);
	cbor_get_id(reader, &r->tally.group);
	cbor_get_id(reader, &r->tally.directory);
	get_text(reader, NAME_SIZE_MAX, &r->tally.name);
	cbor_get_id(reader, &r->tally.roster);
	r->tally.cut_count = get_cut(reader, r->tally.cut);
	cbor_get_optional_id(reader, &r->tally.winner);
	cbor_get_id(reader, &r->tally.rounds);
}

static bool tally_valid(const struct record *r)
{
	return !id_is_zero(&r->tally.group) && !id_is_zero(&r->tally.directory) &&
	       name_is_valid(r->tally.name, NAME_SIZE_MAX) && !id_is_zero(&r->tally.roster) &&
	       cut_is_valid(r->tally.cut, r->tally.cut_count) && !id_is_zero(&r->tally.rounds);
}

static const struct record_kind kinds[] = {
	{ FIELD_PROFILE,   "profile",   profile_put,   profile_get,   profile_valid },
	{ FIELD_SUMMARY,   "summary",   summary_put,   summary_get,   summary_valid },
	{ FIELD_SUBSCRIBE, "subscribe", subscribe_put, subscribe_get, subscribe_valid },
	{ FIELD_TRUST,     "trust",     trust_put,     trust_get,     trust_valid },
	{ FIELD_DENOUNCE,  "denounce",  denounce_put,  denounce_get,  denounce_valid },
	{ FIELD_RANK,      "rank",      rank_put,      rank_get,      rank_valid },
	{ FIELD_ADMIT,     "admit",     admit_put,     admit_get,     admit_valid },
	{ FIELD_BRANCH,    "branch",    branch_put,    branch_get,    branch_valid },
	{ FIELD_VERSION,   "version",   version_put,   version_get,   version_valid },
	{ FIELD_ENTRIES,   "entries",   entries_put,   entries_get,   entries_valid },
	{ FIELD_VOTE,      "vote",      vote_put,      vote_get,      vote_valid },
	{ FIELD_RANKING,   "ranking",   ranking_put,   ranking_get,   ranking_valid },
	{ FIELD_FOUND,     "found",     found_put,     found_get,     found_valid },
	{ FIELD_JOIN,      "join",      join_put,      join_get,      join_valid },
	{ FIELD_AUTHORIZE, "authorize", authorize_put, authorize_get, authorize_valid },
	{ FIELD_ROSTER,    "roster",    roster_put,    roster_get,    roster_valid },
	{ FIELD_TALLY,     "tally",     tally_put,     tally_get,     tally_valid },
};

const struct record_kind *record_kind_find(uint64_t field)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].field == field)
			return &kinds[i];
	}
	return NULL;
}
