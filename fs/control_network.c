/* What stands behind this node of the network, whom it follows, and where the pieces of a document are. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "names.h"
#include "person.h"

/* ---- persons and peers ---- */

/* What a peer is called: its person, else its device, as far as they are known. */
static void put_who(struct control_call *c, struct bytes *out, const struct id *person, const struct id *device)
{
	if (!id_is_zero(person))
		text_put_person(out, c->txn, person);
	else if (!id_is_zero(device))
		text_put_short(out, device);
	else
		bytes_put_text(out, "?");
}

static void put_peer(struct control_call *c, struct bytes *out, const struct peer_view *v)
{
	put_who(c, out, &v->person, &v->device);
	bytes_put_format(out, "\t%s\t", v->address);
	if (v->ready)
		text_put_time(out, v->since_ms);
	else
		bytes_put_text(out, v->session ? "greets" : "-");
	bytes_put_format(out, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t", v->received, v->sent,
			 v->records, v->pieces, v->missing);
	if (v->round_trip_ms)
		bytes_put_format(out, "%" PRIu64, v->round_trip_ms);
	else
		bytes_put_text(out, "-");
	bytes_put_text(out, "\n");
}

int peers_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(cleanup_free) struct peer_view *views = calloc(SESSIONS_MAX, sizeof(*views));

	if (!views)
		return -ENOMEM;
	size_t count = c->host->network ? network_peers(c->host->network, views, SESSIONS_MAX) : 0;
	for (size_t i = 0; i < count && i < SESSIONS_MAX && !text_is_full(out); i++)
		put_peer(c, out, &views[i]);
	bytes_put_text(out, "# name, address, connected since (-: not now), bytes received, bytes sent, records got,\n"
			    "# pieces got, logs of which it has more than is here, round trip in ms\n");
	return 0;
}

/* ---- connect ---- */

static void put_failure(struct bytes *out, int result)
{
	static const struct {
		int result;
		const char *sentence;
	} sentences[] = {
		{ -ECONNREFUSED, "nobody listens there" },
		{ -ECONNRESET, "the other end hung up: it may be no node, or not the one whose id was given" },
		{ -EPIPE, "the other end hung up: it may be no node, or not the one whose id was given" },
		{ -ETIMEDOUT, "nobody answers there" },
		{ -ENOENT, "no such host is known" },
		{ -EKEYREJECTED, "another node answers there than the one whose id was given" },
		{ -ELOOP, "that is this node itself" },
		{ -EBUSY, "it is busy" },
	};

	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (sentences[i].result == result) {
			bytes_put_text(out, sentences[i].sentence);
			return;
		}
	bytes_put_text(out, why_errno(result));
}

int connect_read(struct control_call *c, struct bytes *out)
{
	struct network_asked asked = { .state = ASKED_NOTHING };

	if (c->host->network)
		network_asked(c->host->network, &asked);
	switch (asked.state) {
	case ASKED_NOTHING:
		bytes_put_text(out, "# nobody was asked for yet\n");
		break;
	case ASKED_TRYING:
		bytes_put_format(out, "%s\ttrying\n", asked.address);
		break;
	case ASKED_CONNECTED:
		/* Nobody was known to have admitted the device when it came. */
		if (id_is_zero(&asked.person) && person_of(c->txn, &asked.device, &asked.person) < 0)
			asked.person = asked.device;
		bytes_put_format(out, "%s\tconnected\t", asked.address);
		put_who(c, out, &asked.person, &asked.device);
		bytes_put_text(out, "\t");
		text_put_id(out, &asked.person);
		bytes_put_text(out, "\n");
		break;
	case ASKED_FAILED:
		bytes_put_format(out, "%s\tfailed\t", asked.address);
		put_failure(out, asked.result);
		bytes_put_text(out, "\n");
		break;
	}
	return 0;
}

int connect_write(struct control_call *c, const char *text, size_t size)
{
	if (!c->host->network)
		return why_set(c->why, -ENETDOWN, "the network runs only while the folder is mounted or served");
	return network_connect(c->host->network, text, c->why);
}

/* ---- status, metrics ---- */

void network_put_status(struct control_call *c, struct bytes *out)
{
	char address[ADDRESS_SIZE_MAX] = "";
	struct core_counts counts = { 0 };

	if (!c->host->network) {
		bytes_put_text(out, "listening\tno\n");
		return;
	}
	network_address(c->host->network, address);
	/* Before it is counted: what came meanwhile counts. */
	bool asking = network_is_asking(c->host->network);
	network_count(c->host->network, &counts);
	bytes_put_format(out, "listening\t%s\npeers\t%" PRIu64 "\n", address[0] ? address : "no", counts.sessions);
	if (asking && counts.missing_logs + counts.missing_pieces == 0)
		bytes_put_text(out, "missing\tnot known yet: peers are asked for what is followed now\n");
	else
		bytes_put_format(out, "missing\t%" PRIu64 " logs, %" PRIu64 " pieces\n", counts.missing_logs,
				 counts.missing_pieces);
}

void network_put_metrics(struct network *network, struct bytes *out)
{
	struct core_counts n = { 0 };

	if (network)
		network_count(network, &n);
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "sessions", "gauge", "Peers connected.", n.sessions },
		{ "half_open", "gauge", "Handshakes under way.", n.half_open },
		{ "missing_logs", "gauge", "Logs of which a peer has more than is here, of those followed.", n.missing_logs },
		{ "missing_pieces", "gauge", "Pieces that are being asked for.", n.missing_pieces },
		{ "queued_bytes", "gauge", "Bytes that wait to be sent.", n.queued_bytes },
		{ "memory_bytes", "gauge", "Memory of the protocol.", n.memory },
		{ "sessions_total", "counter", "Peers that came to be connected.", n.sessions_total },
		{ "refused_total", "counter", "Connections refused.", n.refused },
		{ "handshake_failures_total", "counter", "Handshakes that failed.", n.handshake_failures },
		{ "cookies_total", "counter", "Handshakes sent back for a cookie.", n.cookies },
		{ "malformed_total", "counter", "Packets that were no packets.", n.malformed },
		{ "bad_signatures_total", "counter", "Signatures that were not valid.", n.bad_signatures },
		{ "floods_total", "counter", "Peers that sent more than was asked for.", n.floods },
		{ "timeouts_total", "counter", "Answers that did not come in time.", n.timeouts },
		{ "records_in_total", "counter", "Records got.", n.records_in },
		{ "records_out_total", "counter", "Records sent.", n.records_out },
		{ "pieces_in_total", "counter", "Pieces got.", n.pieces_in },
		{ "pieces_out_total", "counter", "Pieces sent.", n.pieces_out },
		{ "bytes_in_total", "counter", "Bytes received.", n.bytes_in },
		{ "bytes_out_total", "counter", "Bytes sent.", n.bytes_out },
		{ "pushes_in_total", "counter", "Pushes got.", n.pushes_in },
		{ "pushes_out_total", "counter", "Pushes sent.", n.pushes_out },
		{ "duplicates_total", "counter", "Pushes of what was here already.", n.duplicates },
		{ "pages_in_total", "counter", "Signed pages got.", n.pages_in },
		{ "pages_out_total", "counter", "Signed pages sent.", n.pages_out },
		{ "queries_dropped_total", "counter", "Queries that were too many.", n.queries_dropped },
		{ "receipts_total", "counter", "Receipts exchanged.", n.receipts },
		{ "forks_total", "counter", "Logs seen to have forked.", n.forks },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		bytes_put_format(out, "# HELP moot_net_%s %s\n# TYPE moot_net_%s %s\nmoot_net_%s %" PRIu64 "\n", rows[i].name,
				 rows[i].help, rows[i].name, rows[i].type, rows[i].name, rows[i].value);
}

/* ---- subscribe ---- */

int follow_read(struct control_call *c, struct bytes *out)
{
	uint64_t on = c->own;

	int err = c->own ? 0 : person_said(c->txn, &c->self, FIELD_SUBSCRIBE, &c->node->person, &on);
	if (err < 0 && err != -ENOENT)
		return err;
	bytes_put_text(out, on ? "1\n" : "0\n");
	return 0;
}

struct subscribe_statement {
	struct id id;
	enum subject what;
	bool on;
};

static void fill_subscribe(struct record *record, const void *context)
{
	const struct subscribe_statement *statement = context;

	record->subscribe.what = statement->what;
	record->subscribe.id = statement->id;
	record->subscribe.on = statement->on;
}

int network_subscribe(struct control_call *c, enum subject what, const struct id *id, bool on)
{
	const struct subscribe_statement statement = { *id, what, on };
	struct network *network = c->host->network;

	int err = control_sign(c, FIELD_SUBSCRIBE, fill_subscribe, &statement);
	if (err == 0 && network)
		network_follows_changed(network);
	return err;
}

int follow_write(struct control_call *c, const char *text, size_t size)
{
	uint64_t said = 0;
	bool on = strcmp(text, "1") == 0;

	if (!on && strcmp(text, "0") != 0)
		return why_set(c->why, -EINVAL, "`%s` is neither 1 nor 0; write %s", text, c->node->row->takes);
	if (c->own)
		return on ? 0 : why_set(c->why, -EINVAL, "your own folder is always followed");
	int err = person_said(c->txn, &c->self, FIELD_SUBSCRIBE, &c->node->person, &said);
	if (err < 0 && err != -ENOENT)
		return err;
	return (said != 0) == on ? 0 : network_subscribe(c, SUBJECT_ENTITY, &c->node->person, on);
}

/* ---- holders ---- */

struct holders {
	struct control_call *c;
	struct bytes *out;
	bool unsigned_yet; /* what was just saved is here, though not in the index */
	struct version_row row;
	struct id author;
	struct bytes peers; /* who should have what is missing: names */
};

static bool follows(struct control_call *c, const struct id *person, const struct id *what)
{
	uint64_t on = 0;

	return person_said(c->txn, person, FIELD_SUBSCRIBE, what, &on) == 0 && on;
}

/* As far as is known here: who made it, whose folder it is, and who says to follow these or the document. */
static bool should_have(const struct holders *h, const struct id *peer)
{
	const struct id *const whose[] = { &h->author, &h->c->node->person, &h->row.document };

	for (size_t i = 0; i < sizeof(whose) / sizeof(whose[0]); i++)
		if (id_equal(peer, whose[i]) || follows(h->c, peer, whose[i]))
			return true;
	return false;
}

static int find_author(struct holders *h)
{
	struct log_row log;

	h->author = h->c->node->person;
	if (h->unsigned_yet)
		return 0;
	int err = log_get_number(h->c->txn, h->row.log, &log);
	return err < 0 ? err : store_number_id(h->c->txn, NUMBER_ENTITY, log.person, &h->author);
}

static int find_peers(struct holders *h)
{
	struct network *network = h->c->host->network;
	CLEANUP(cleanup_free) struct peer_view *views = calloc(SESSIONS_MAX, sizeof(*views));

	if (!views)
		return -ENOMEM;
	size_t count = network ? network_peers(network, views, SESSIONS_MAX) : 0;
	for (size_t i = 0; i < count && i < SESSIONS_MAX; i++) {
		const struct peer_view *v = &views[i];
		if (!v->ready || !should_have(h, id_is_zero(&v->person) ? &v->device : &v->person))
			continue;
		if (h->peers.size > 0)
			bytes_put_text(&h->peers, ", ");
		put_who(h->c, &h->peers, &v->person, &v->device);
	}
	if (h->peers.size == 0)
		bytes_put_text(&h->peers, "-");
	return bytes_error(&h->peers);
}

static int put_holder(void *context, const struct piece_ref *ref, bool is_list, uint64_t at)
{
	const struct holders *h = context;
	bool here = h->unsigned_yet || store_has_piece(h->c->txn, &ref->name);

	if (text_is_full(h->out))
		return 1;
	text_put_short(h->out, &ref->name);
	bytes_put_format(h->out, "\t%" PRIu64 "\t%" PRIu64 "\t%s%s", (uint64_t)ref->text_size, (uint64_t)ref->stored_size,
			 is_list ? "a list of pieces, " : "", here ? "here" : "missing");
	if (!here) {
		bytes_put_text(h->out, "\t");
		bytes_put(h->out, h->peers.data, h->peers.size);
	}
	bytes_put_text(h->out, "\n");
	return is_list && !here ? CONTENT_SKIP : bytes_error(h->out);
}

static int put_holders(struct holders *h)
{
	struct control_call *c = h->c;
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));

	if (!content)
		return -ENOMEM;
	int err = call_current(c, content, &h->row);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	h->unsigned_yet = id_is_zero(&h->row.id);
	err = find_author(h);
	if (err == 0)
		err = find_peers(h);
	if (err < 0)
		return err;
	err = content_each_from(store_piece_cache(c->host->store), store_pieces(c->host->store), content, 0, put_holder, h);
	return err < 0 ? err : 0;
}

int holders_read(struct control_call *c, struct bytes *out)
{
	struct holders h = { .c = c, .out = out };

	bytes_init(&h.peers, SESSIONS_MAX * (4 * PROFILE_NAME_MAX + 2));
	int err = put_holders(&h);
	bytes_finish(&h.peers);
	if (err == 0)
		bytes_put_text(out, "# after `missing`: who is connected and should have it, as the one who made it or who says to\n"
				    "# follow them (-: nobody who is known to); others may have it too\n");
	return err;
}
