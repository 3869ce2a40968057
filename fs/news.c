#include "news.h"

#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "core.h"
#include "person.h"

#define PATH_TEXT_MAX 8192

/* What stands at a name now. */
static const char *what_came(struct store_txn *txn, const struct notice *notice)
{
	struct standing standing[2];
	int versions = 0;

	int count = tree_standing(txn, &notice->person, &notice->directory, notice->name, standing, 2);
	for (int i = 0; i < count && i < 2; i++) {
		if (standing[i].what == WHAT_DIRECTORY)
			return "directory";
		versions += standing[i].what == WHAT_VERSION;
	}
	return versions > 1 ? "fork" : versions == 1 ? "version" : "removed";
}

static const char *what_happened(int event)
{
	return event == EVENT_READY ? "peer" : event == EVENT_GONE ? "gone" : "fork";
}

/* The path of a notice's directory below its person's root, and what divides it from a name. */
static int put_directory(struct store_txn *txn, const struct notice *notice, struct news_place *place, struct bytes *out)
{
	journal_place covered = store_txn_covered(txn);
	size_t start = out->size;

	if (place->covered == covered && id_equal(&place->person, &notice->person) &&
	    id_equal(&place->directory, &notice->directory)) {
		bytes_put_text(out, place->path);
		return bytes_error(out);
	}
	int err = text_put_path(out, txn, &notice->person, &notice->directory, NULL);
	if (err == 0 && out->size > start)
		bytes_put_text(out, "/");
	size_t size = out->size - start;
	place->covered = 0;
	if (err == 0 && bytes_error(out) == 0 && size < sizeof(place->path)) {
		place->person = notice->person;
		place->directory = notice->directory;
		place->covered = covered;
		memcpy(place->path, out->data + start, size);
		place->path[size] = '\0';
	}
	return err;
}

/* Person, then the path below their root. False: nothing is to be told. */
static bool put_path(struct store_txn *txn, const struct notice *notice, struct news_place *place, struct bytes *out)
{
	struct id person = notice->person;

	if (notice->event && id_is_zero(&person))
		person_of(txn, &notice->directory, &person);
	text_put_person(out, txn, &person);
	if (notice->event || !notice->name[0])
		return true;
	bytes_put_text(out, "/");
	if (put_directory(txn, notice, place, out) < 0)
		return false;
	bytes_put_text(out, notice->name);
	return true;
}

void news_tell(struct store *store, struct events *events, struct news_place *place, const struct notice *notice)
{
	CLEANUP(bytes_finish) struct bytes path;
	struct store_txn *txn;

	bytes_init(&path, PATH_TEXT_MAX);
	if (!notice->event && !notice->arrived)
		return;
	if (!notice->event && id_is_zero(&notice->person)) {
		events_add(events, "many", "");
		return;
	}
	if (store_begin(store, false, &txn) < 0)
		return;
	const char *what = notice->event ? what_happened(notice->event) : !notice->name[0] ? "person" : what_came(txn, notice);
	bool told = put_path(txn, notice, place, &path);
	store_abort(txn);
	bytes_put_u8(&path, '\0');
	if (told && bytes_error(&path) == 0)
		events_add(events, what, (const char *)path.data);
}
