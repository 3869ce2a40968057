/*
 * ask.h - asking a node without a mount: the other end of service.h.
 *
 * Blocks until it is answered, a minute at most.
 */
#ifndef ASK_H
#define ASK_H

#include "request.h"

/* Does a node answer in this data folder? */
bool ask_is_there(const char *data_path);
/* A control file by its path in a mount; its text is appended. What the node refuses is returned with its sentence. */
int ask_read(const char *data_path, const char *path, struct bytes *out, struct why *why);
int ask_write(const char *data_path, const char *path, const char *text, struct why *why);
/* A descriptor from which lines are read as they come, from now on; at its end the node is gone. */
int ask_watch(const char *data_path, const char *path, struct why *why);

#endif
