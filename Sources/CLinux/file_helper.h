#ifndef FILE_HELPER_H
#define FILE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What the parts of the file helper share. It runs in a process of its own with one thread.

#define MAX_PATH 4096

// Answers a request; false when nobody listens any more.
bool clinux_file_answer(uint32_t operation, int error, uint32_t stage, const void *bytes, size_t length);
// Reads `fd` from its start into `data`, which has room for CLINUX_FILE_LIMIT + 1 bytes. Returns the size, or -1 with
// errno, or -2 when there is too much.
ssize_t clinux_file_read_all(int fd, char *data);
// Of the monotonic clock.
long clinux_file_milliseconds(void);

// Nothing is held yet, and nothing guarded.
void clinux_locks_begin(void);
// Takes the lock on `path` and answers, as CLINUX_FILE_LOCK says. `data` has the owner's name, of `length` bytes, and
// room for CLINUX_FILE_LIMIT + 1.
bool clinux_locks_take(const char *path, uint32_t settling, bool must_be_named, char *data, size_t length);
// Gives a lock back and answers.
bool clinux_locks_release(const char *path);
// Whether each of our lock files names us; false with errno. A full disk may have prevented that.
bool clinux_locks_name(void);
// Gives those who wait for our locks a sign of life.
void clinux_locks_touch(void);
// Whether there is any.
bool clinux_locks_held(void);
// Whether each of our locks is on a file that others see, as far as can be told.
bool clinux_locks_stand(void);
void clinux_locks_guard(int group);
void clinux_locks_unguard(int group);
// The end of the helper: the guarded groups first, then the locks.
void clinux_locks_end(void);

#endif
