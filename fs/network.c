#include "network.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "book.h"
#include "control.h"
#include "depot_store.h"
#include "names.h"

#define KEY_PLACE "place"       /* of LOCAL_NET: see place_of() */
#define KEY_LISTENED "listened" /* of LOCAL_NET: where it listened last */
#define UNTRIED_MAX 256

struct network {
	struct network_options options;
	struct depot_store *depot;
	struct loop *loop;
	atomic_uint ready; /* peers */
	pthread_mutex_t lock; /* of what follows */
	struct network_asked asked;
	bool asks;         /* what is followed changed: until all is here that those connected have */
	bool holds;        /* the desk waits for word of the own log */
	char (*untried)[ADDRESS_SIZE_MAX]; /* while it does: addresses remembered that did not fail yet; owned */
	size_t untried_count;
};

/* ---- what happens ---- */

static void has_arrived(void *context, const struct id *person, const struct id *directory, const char *name)
{
	struct network *n = context;
	struct id renamed;

	if (name[0] == '\0' && names_pin(n->options.store, person, &renamed) == 1 && n->options.arrived)
		n->options.arrived(n->options.context, &renamed, &renamed, "");
	if (n->options.arriving)
		n->options.arriving(n->options.context, person, directory, name);
	if (n->options.desk)
		desk_arrived(n->options.desk, person, directory, name);
	if (n->options.arrived)
		n->options.arrived(n->options.context, person, directory, name);
}

/* It looks for missing pieces, and who is to be followed, again. */
static void came_due(void *context)
{
	struct network *n = context;

	loop_follows_changed(n->loop);
}

static void was_appended(void *context)
{
	struct network *n = context;

	loop_appended(n->loop);
}

/* Does this event tell what became of what was asked? Under the lock. */
static void note_asked(struct network_asked *asked, const struct event *event)
{
	if (asked->state != ASKED_TRYING || strcmp(asked->address, event->address) != 0)
		return;
	if (event->kind == EVENT_READY || (event->kind == EVENT_CLOSE && event->result == -EALREADY)) {
		asked->state = ASKED_CONNECTED;
		asked->device = event->device;
		asked->person = event->person;
	} else if (event->kind == EVENT_CLOSE) {
		asked->state = ASKED_FAILED;
		asked->result = event->result;
	}
}

static void was_tried(struct network *n, const char *address)
{
	for (size_t i = 0; i < n->untried_count; i++)
		if (strcmp(n->untried[i], address) == 0) {
			memmove(n->untried[i], n->untried[--n->untried_count], sizeof(*n->untried));
			return;
		}
}

/* Nobody known can be reached, or a peer has told what it knows of the own log: signing may begin. */
static bool ends_hold(struct network *n, const struct event *event)
{
	if (!n->holds)
		return false;
	if (event->kind == EVENT_CLOSE)
		was_tried(n, event->address);
	if (event->kind != EVENT_OWN_KNOWN && n->untried_count > 0)
		return false;
	n->holds = false;
	return true;
}

static void happened(void *context, const struct event *event)
{
	struct network *n = context;

	if (event->kind == EVENT_READY)
		n->ready++;
	else if (event->kind == EVENT_GONE && n->ready > 0)
		n->ready--;
	pthread_mutex_lock(&n->lock);
	note_asked(&n->asked, event);
	/* It may be of the time before. */
	if (event->kind == EVENT_SYNCED && n->asks)
		n->asks = loop_follows_wait(n->loop);
	bool ends = ends_hold(n, event);
	pthread_mutex_unlock(&n->lock);
	if (ends)
		desk_release_hold(n->options.desk);
	if (n->options.event)
		n->options.event(n->options.context, event);
}

/* ---- beginning ---- */

/* How many addresses stand in the book, count_max at most; fills `out` if it is not NULL. */
static size_t list_remembered(struct store *store, char (*out)[ADDRESS_SIZE_MAX], size_t count_max)
{
	struct index_range range;
	struct store_txn *txn;
	const uint8_t *key, *value;
	size_t size, value_size, count = 0;

	if (store_begin(store, false, &txn) < 0)
		return 0;
	if (store_local_range(txn, LOCAL_NET, BOOK_KEY_PREFIX, BOOK_KEY_PREFIX_SIZE, &range) == 0) {
		while (count < count_max && index_range_next(&range) == 1) {
			store_local_row(&range, &key, &size, &value, &value_size);
			if (size - BOOK_KEY_PREFIX_SIZE >= ADDRESS_SIZE_MAX)
				continue;
			if (out)
				memcpy(out[count], key + BOOK_KEY_PREFIX_SIZE, size - BOOK_KEY_PREFIX_SIZE);
			count++;
		}
		index_range_close(&range);
	}
	store_abort(txn);
	return count;
}

/* Which file the key is, and since when: a copy that was put back is another, however well it was closed. */
static size_t place_of(struct store *store, char *out, size_t size)
{
	struct stat st;

	if (fstatat(store_directory_fd(store), "key", &st, 0) < 0)
		return 0;
	int used = snprintf(out, size, "%ju %ju %jd.%09ld", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
			    (intmax_t)st.st_ctim.tv_sec, (long)st.st_ctim.tv_nsec);
	return used < 0 || (size_t)used >= size ? 0 : (size_t)used;
}

static bool is_in_place(struct store *store)
{
	char place[128];
	struct store_txn *txn;
	const uint8_t *value;
	size_t value_size, size = place_of(store, place, sizeof(place));

	if (store_begin(store, false, &txn) < 0)
		return false;
	bool same = store_local_get(txn, LOCAL_NET, KEY_PLACE, strlen(KEY_PLACE), &value, &value_size) == 0 &&
		    value_size == size && memcmp(value, place, size) == 0;
	store_abort(txn);
	return same;
}

static void write_place(struct store *store)
{
	char place[128];
	struct store_txn *txn;
	size_t size = place_of(store, place, sizeof(place));

	if (is_in_place(store) || store_begin(store, true, &txn) < 0)
		return;
	if (store_local_put(txn, LOCAL_NET, KEY_PLACE, strlen(KEY_PLACE), place, size) == 0)
		store_commit(txn);
	else
		store_abort(txn);
}

uint64_t network_hold_ms(struct store *store)
{
	return (store_was_closed(store) && is_in_place(store)) || list_remembered(store, NULL, 1) == 0 ? 0 : NETWORK_HOLD_MS;
}

/* The configured address, or the default. */
static int read_configured(struct store *store, char out[ADDRESS_SIZE_MAX])
{
	struct control_settings settings = { 0 };

	int err = control_settings_read(store, &settings);
	if (err == 0)
		strcpy(out, settings.listen[0] ? settings.listen : NETWORK_LISTEN_DEFAULT);
	control_settings_finish(&settings);
	return err;
}

/* Where it listened last, if that is on the same host as `wanted`. */
static bool read_listened(struct store *store, const char *wanted, char out[ADDRESS_SIZE_MAX])
{
	char host[ADDRESS_SIZE_MAX], last_host[ADDRESS_SIZE_MAX], last[ADDRESS_SIZE_MAX];
	uint16_t port, last_port;
	struct store_txn *txn;
	const uint8_t *value;
	size_t size;

	if (address_split(wanted, host, &port) < 0 || port != 0 || store_begin(store, false, &txn) < 0)
		return false;
	bool found = store_local_get(txn, LOCAL_NET, KEY_LISTENED, strlen(KEY_LISTENED), &value, &size) == 0 &&
		     size < sizeof(last);
	if (found) {
		memcpy(last, value, size);
		last[size] = '\0';
	}
	store_abort(txn);
	if (!found || address_split(last, last_host, &last_port) < 0 || strcmp(host, last_host) != 0 || last_port == 0)
		return false;
	strcpy(out, last);
	return true;
}

static void write_listened(struct network *n)
{
	char address[ADDRESS_SIZE_MAX], last[ADDRESS_SIZE_MAX] = "", any[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX];
	struct store_txn *txn;
	uint16_t port;

	loop_address(n->loop, address);
	if (!address[0] || address_split(address, host, &port) < 0)
		return;
	address_join(any, host, 0);
	if ((read_listened(n->options.store, any, last) && strcmp(last, address) == 0) ||
	    store_begin(n->options.store, true, &txn) < 0)
		return;
	if (store_local_put(txn, LOCAL_NET, KEY_LISTENED, strlen(KEY_LISTENED), address, strlen(address)) == 0)
		store_commit(txn);
	else
		store_abort(txn);
}

static int start_loop(struct network *n, struct why *why)
{
	struct loop_options options = { .depot = depot_store_depot(n->depot), .clock = *store_clock(n->options.store),
					.dial = true, .event = happened, .context = n };
	char wanted[ADDRESS_SIZE_MAX];
	const char *given = n->options.listen;

	if (given && strlen(given) >= sizeof(wanted))
		return why_set(why, -EINVAL, "%s is too long for an address", given);
	if (given)
		strcpy(wanted, given);
	int err = given ? 0 : read_configured(n->options.store, wanted);
	if (err < 0)
		return err;
	if (read_listened(n->options.store, wanted, options.listen) && loop_start(&n->loop, &options, NULL) == 0)
		return 0;
	strcpy(options.listen, wanted);
	err = loop_start(&n->loop, &options, why);
	if (err == 0)
		write_listened(n);
	return err;
}

int network_start(struct network **out, const struct network_options *options, struct why *why)
{
	struct network *n = calloc(1, sizeof(*n));
	struct id renamed;

	if (!n)
		return -ENOMEM;
	n->options = *options;
	pthread_mutex_init(&n->lock, NULL);
	n->holds = options->desk && store_held_until_ms(options->store) > 0;
	n->untried = n->holds ? calloc(UNTRIED_MAX, sizeof(*n->untried)) : NULL;
	n->untried_count = n->untried ? list_remembered(options->store, n->untried, UNTRIED_MAX) : 0;
	const struct depot_store_options depot_options = { .store = options->store, .arrived = has_arrived,
							   .came_due = came_due, .context = n };
	int err = depot_store_new(&n->depot, &depot_options);
	/* Whoever became known just before the end. */
	if (err == 0 && !store_was_closed(options->store))
		err = names_pin(options->store, &(struct id){ { 0 } }, &renamed);
	if (err >= 0)
		err = start_loop(n, why);
	if (err < 0) {
		network_stop(n);
		return err;
	}
	write_place(options->store);
	store_on_append(options->store, was_appended, n);
	*out = n;
	return 0;
}

void network_stop(struct network *n)
{
	if (!n)
		return;
	store_on_append(n->options.store, NULL, NULL);
	store_on_due(n->options.store, NULL, NULL); /* of the depot, which tells the loop */
	loop_stop(n->loop);
	depot_store_free(n->depot);
	pthread_mutex_destroy(&n->lock);
	free(n->untried);
	free(n);
}

/* ---- what is asked ---- */

int network_connect(struct network *n, const char *text, struct why *why)
{
	struct network_asked asked = { .state = ASKED_TRYING }, before;

	if (address_parse(text, asked.address, &asked.device) < 0)
		return why_set(why, -EINVAL, "%s is not host:port, nor host:port#id", text);
	/* First noted: the answer may be there before loop_connect() returns. */
	pthread_mutex_lock(&n->lock);
	before = n->asked;
	n->asked = asked;
	pthread_mutex_unlock(&n->lock);
	int err = loop_connect(n->loop, asked.address, &asked.device);
	if (err < 0) {
		pthread_mutex_lock(&n->lock);
		n->asked = before;
		pthread_mutex_unlock(&n->lock);
		return why_set(why, err, "too much is asked of the network now; try again");
	}
	return 0;
}

/* Nothing is dialled where the peer is connected already. */
static void find_connected(struct network *n, struct network_asked *asked)
{
	struct peer_view *views = calloc(SESSIONS_MAX, sizeof(*views));

	size_t count = views ? loop_peers(n->loop, views, SESSIONS_MAX) : 0;
	for (size_t i = 0; i < count && i < SESSIONS_MAX; i++) {
		const struct peer_view *v = &views[i];
		if (!v->ready || (strcmp(v->address, asked->address) != 0 && !id_equal(&v->device, &asked->device)))
			continue;
		asked->state = ASKED_CONNECTED;
		asked->device = v->device;
		asked->person = v->person;
		break;
	}
	free(views);
}

void network_asked(struct network *n, struct network_asked *out)
{
	pthread_mutex_lock(&n->lock);
	*out = n->asked;
	pthread_mutex_unlock(&n->lock);
	if (out->state == ASKED_TRYING)
		find_connected(n, out);
}

void network_address(const struct network *n, char out[ADDRESS_SIZE_MAX])
{
	loop_address(n->loop, out);
}

int network_want(struct network *n, const struct id *version, uint64_t token, uint64_t until_ms)
{
	return loop_want(n->loop, version, token, until_ms);
}

void network_follows_changed(struct network *n)
{
	depot_store_follows_changed(n->depot);
	pthread_mutex_lock(&n->lock);
	n->asks = true;
	loop_follows_changed(n->loop);
	pthread_mutex_unlock(&n->lock);
}

bool network_is_asking(struct network *n)
{
	pthread_mutex_lock(&n->lock);
	bool asks = n->asks;
	pthread_mutex_unlock(&n->lock);
	return asks && n->ready > 0;
}

size_t network_peers(struct network *n, struct peer_view *out, size_t count_max)
{
	return loop_peers(n->loop, out, count_max);
}

void network_count(struct network *n, struct core_counts *out)
{
	loop_count(n->loop, out);
}

bool network_has_peers(struct network *n)
{
	return n->ready > 0;
}
