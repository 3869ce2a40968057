/*
 * request.h - what is said over the socket of `moot serve`: control files by their path in a mount.
 *
 *	who asks                             the node
 *	read @/status LF              ->
 *	                              <-     ok 5 LF, then 5 bytes        or: error 2 SENTENCE LF
 *	write 5 @/connect LF, 5 bytes ->
 *	                              <-     ok 0 LF                      or: error 22 SENTENCE LF
 *	watch @/events LF             ->
 *	                              <-     ok LF, then lines as they come, until either closes
 *
 * One request a connection, which the node closes after its answer.  Numbers are decimal; that of an error is its
 * errno, which both ends have of one system.  What is longer than it may be, or is followed by more, is no request.
 *
 * Bytes in, a struct that borrows them out: no I/O, no memory of its own.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <sys/types.h>

#include "bytes.h"
#include "why.h"

#define REQUEST_PATH_MAX 1024 /* a name of 255 bytes, and rows behind it */
#define REQUEST_TEXT_MAX 8192 /* the longest that a control file takes: `about`, or a line, of 4,096 */
#define REQUEST_SIZE_MAX (REQUEST_PATH_MAX + REQUEST_TEXT_MAX + 32)
#define ANSWER_HEAD_MAX (WHY_SIZE + 32)

enum request_verb { REQUEST_READ, REQUEST_WRITE, REQUEST_WATCH };

struct request {
	enum request_verb verb;
	const char *path; /* path_size bytes: at least one, no NUL and no newline; not NUL-terminated */
	size_t path_size;
	const char *text; /* WRITE */
	size_t text_size;
};

/* 1: there it is; 0: more is to come. -EBADMSG, -EMSGSIZE: it is none, whatever comes. */
int request_read(const uint8_t *bytes, size_t size, struct request *out);
/* Appends. -EMSGSIZE, -EINVAL: what cannot be asked. */
int request_write(struct bytes *out, const struct request *request);

struct answer_head {
	int error;      /* 0, or a negative errno */
	bool endless;   /* of a watch */
	size_t size;    /* of what follows, if it is not endless */
	char sentence[WHY_SIZE]; /* of an error */
};

/* How many bytes it took; 0: more is to come; -EBADMSG. */
ssize_t answer_read(const uint8_t *bytes, size_t size, struct answer_head *out);
/* Appends. What the sentence has of newlines becomes blanks. */
void answer_write(struct bytes *out, const struct answer_head *head);

#endif
