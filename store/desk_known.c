/*
 * desk_known.c - versions lately read or made: a version never changes, so what is known of it stays true.
 * A save asks three times for the version before it; reading that out of the journal each time cost more than signing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

#define KNOWN_MAX 256

void known_add(struct desk *desk, const struct known *version)
{
	struct known *known;

	HASH_FIND(hh, desk->known, &version->id, sizeof(struct id), known);
	if (known)
		return;
	if (HASH_COUNT(desk->known) >= KNOWN_MAX) {
		known = desk->known; /* the oldest */
		HASH_DEL(desk->known, known);
		body_unref(known->text);
	} else {
		known = malloc(sizeof(*known));
		if (!known)
			return;
	}
	*known = *version;
	body_ref(known->text);
	HASH_ADD(hh, desk->known, id, sizeof(struct id), known);
	if (!known->hh.tbl) {
		body_unref(known->text);
		free(known);
	}
}

int known_get(struct desk *desk, struct store_txn *txn, const struct id *version, struct known *out)
{
	struct known *known;

	HASH_FIND(hh, desk->known, version, sizeof(*version), known);
	if (known) {
		*out = *known;
		body_ref(out->text);
		return 0;
	}
	struct version *v = malloc(sizeof(*v));
	int err = v ? document_version(txn, version, v) : -ENOMEM;
	struct body *text = err == 0 ? body_new(&v->content) : NULL;
	if (err == 0 && !text)
		err = -ENOMEM;
	if (err == 0) {
		*out = (struct known){ .id = *version, .document = v->row.document, .mode = v->row.mode,
				       .time_ms = v->row.time_ms, .text = text };
		known_add(desk, out);
	}
	free(v);
	return err;
}

void known_finish(struct desk *desk)
{
	struct known *known, *next;

	HASH_ITER(hh, desk->known, known, next) {
		HASH_DEL(desk->known, known);
		body_unref(known->text);
		free(known);
	}
}
