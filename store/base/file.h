/*
 * file.h - whole reads and writes, and replacing a file so that a crash leaves the old or the new.
 *
 * Errors are negative errno.  Paths are relative to `directory_fd` (AT_FDCWD for the process's own).
 */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int file_write_all(int fd, const void *bytes, size_t size);
int file_pwrite_all(int fd, const void *bytes, size_t size, off_t offset);
/* Reads up to `size` bytes, short only at the end of the file: bytes read or negative errno. */
ssize_t file_pread_all(int fd, void *bytes, size_t size, off_t offset);
/* The whole file; *out_bytes is the caller's (free), NUL-terminated after `size`. -EFBIG over size_max. */
int file_read(int directory_fd, const char *path, size_t size_max,
	      uint8_t **out_bytes, size_t *out_size);
/* Writes beside, fsyncs, renames over, fsyncs the directory. */
int file_replace(int directory_fd, const char *path, mode_t mode, const void *bytes, size_t size);
/* Makes a directory, and those above it, where missing. */
int file_make_directories(const char *path, mode_t mode);

#endif
