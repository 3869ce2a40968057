/*
 * Requests for what is not on this machine: they are asked again, by the waiter's thread, when it may have come.
 *
 * A request that failed with ENODATA is copied and parked; how long is told by the mount option `wait`, and while no peer is connected
 * it is not at all.  All that have a file open wait so long once: what the kernel asks again by itself (a read-ahead that
 * failed is a read then), or for the next who reads the same page, does not wait anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "operations.h"
#include "waiter.h"

static struct parked *parked_of(struct waiting *waiting)
{
	return (struct parked *)waiting; /* its first field */
}

/* ---- what is needed ---- */

static void add_version(struct parked *p, const struct id *version)
{
	struct waiting *w = &p->waiting;

	for (size_t i = 0; i < w->version_count; i++)
		if (id_equal(&w->versions[i], version))
			return;
	if (!id_is_zero(version) && w->version_count < WAITED_VERSIONS)
		w->versions[w->version_count++] = *version;
}

/* The one that a diff is made from. */
static void add_parent(struct parked *p, struct store_txn *txn, const struct id *version)
{
	struct version *v = malloc(sizeof(*v));

	if (v && document_version(txn, version, v) == 0 && v->parent_count > 0)
		add_version(p, &v->parents[0]);
	free(v);
}

/* What shows at a document's name, and what that was merged from. */
static void add_heads(struct parked *p, struct store_txn *txn, const struct control_node *control)
{
	struct standing standing[WAITED_VERSIONS];
	struct id ancestors[2];

	int count = tree_standing(txn, &control->person, &control->directory, control->name, standing, WAITED_VERSIONS);
	for (int i = 0; i < count && i < WAITED_VERSIONS; i++)
		if (standing[i].what == WHAT_VERSION)
			add_version(p, &standing[i].id);
	if (count < 2 || p->waiting.version_count < 2)
		return;
	count = document_common_ancestors(txn, &p->waiting.versions[0], &p->waiting.versions[1], ancestors, 2);
	for (int i = 0; i < count && i < 2; i++)
		add_version(p, &ancestors[i]);
}

static void add_behind(struct parked *p, const struct control_node *control)
{
	struct store_txn *txn;

	if (control->scope != CONTROL_DOCUMENT || store_begin(p->m->store, false, &txn) < 0)
		return;
	if (control_kind(control) == CONTROL_CONTENT) {
		add_version(p, &control->version);
	} else {
		/* In diffs/ a version, in pieces/ a piece, which is none. */
		if (!id_is_zero(&control->version)) {
			add_version(p, &control->version);
			add_parent(p, txn, &control->version);
		}
		add_heads(p, txn, control);
	}
	store_abort(txn);
}

static void add_behind_node(struct parked *p, struct node *node)
{
	struct identity is;

	node_identity(p->m->nodes, node, &is);
	if (is.kind == NODE_DOCUMENT || is.kind == NODE_AT)
		add_version(p, &is.id);
	else if (is.kind == NODE_CONTROL)
		add_behind(p, is.control);
}

/* ---- parking ---- */

static int attempt(struct waiting *waiting)
{
	struct parked *p = parked_of(waiting);

	/* What comes in time is no sign that the rest is late. Once answered, it may be closed. */
	if (p->open)
		p->open->node->wait_until_ms = 0;
	int err = p->again(p);
	if (err < 0 && p->open)
		p->open->node->wait_until_ms = waiting->until_ms;
	return err;
}

static void refuse_parked(struct waiting *waiting, int err)
{
	struct parked *p = parked_of(waiting);

	if (p->dropped)
		p->dropped(p);
	reply_error(p->req, err);
}

static void parked_end(struct waiting *waiting)
{
	struct parked *p = parked_of(waiting);

	free(p->bytes);
	free(p);
}

/* Neither the request nor anything that it is about need be there any more: the number is all that is looked at. */
static void interrupted(fuse_req_t req, void *data)
{
	waiter_interrupt(request_mount(req)->waiter, (uint64_t)(uintptr_t)data);
}

static void ready(struct waiting *waiting, uint64_t token)
{
	fuse_req_interrupt_func(parked_of(waiting)->req, interrupted, (void *)(uintptr_t)token);
}

/* Until when the readers of a file wait; it had its time if that is over, but not for ever. */
static uint64_t wait_until(struct mount *m, struct open *open)
{
	const uint64_t now_ms = clock_now_ms(store_clock(m->store)), wait_ms = (uint64_t)m->wait_s * 1000;
	uint64_t until_ms = open ? open->node->wait_until_ms : 0;

	if (until_ms == 0 || now_ms > until_ms + wait_ms) {
		until_ms = now_ms + wait_ms;
		if (open)
			open->node->wait_until_ms = until_ms;
	}
	return until_ms;
}

bool park(const struct parked *request, const void *bytes)
{
	struct mount *m = request->m;

	if (!m->waiter || m->wait_s == 0 || !network_has_peers(m->network))
		return false;
	struct parked *p = malloc(sizeof(*p));
	if (!p)
		return false;
	*p = *request;
	p->waiting = (struct waiting){ .attempt = attempt, .refuse = refuse_parked, .end = parked_end,
				       .until_ms = wait_until(m, p->open) };
	if (bytes) {
		p->bytes = malloc(p->size ? p->size : 1);
		if (p->bytes)
			memcpy(p->bytes, bytes, p->size);
	}
	if (p->open)
		add_version(p, &p->open->version);
	if (p->node && p->waiting.version_count == 0)
		add_behind_node(p, p->node);
	if ((bytes && !p->bytes) || p->waiting.version_count == 0 || waiter_park(m->waiter, &p->waiting, ready) < 0) {
		parked_end(&p->waiting);
		return false;
	}
	return true;
}
