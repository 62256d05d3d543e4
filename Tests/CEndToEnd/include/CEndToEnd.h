// What the end-to-end tests need from libc and Swift's Glibc module does not show (GNU extensions).
#pragma once

#include <sys/types.h>

/// pipe2(2) with O_CLOEXEC. Returns 0, or -1 with errno.
int end_to_end_pipe(int *_Nonnull ends);

/// A new pseudo terminal without echo and output translation; both ends close-on-exec.
/// Returns 0, or -1 with errno.
int end_to_end_open_terminal(int *_Nonnull master, int *_Nonnull slave);

/// Sets the window size through the master, as a terminal emulator does. Returns 0, or -1 with errno.
int end_to_end_resize_terminal(int master, unsigned short rows, unsigned short columns);

/// posix_spawn in a session of its own, with an empty mask, default dispositions and `count` descriptors:
/// `descriptors[n]` becomes n, all others are closed. Returns 0 or an error number.
int end_to_end_spawn(pid_t *_Nonnull pid, char *_Nullable const *_Nonnull arguments,
                     char *_Nullable const *_Nonnull environment, const int *_Nonnull descriptors, int count);

/// Makes a pipe as small as it can be (one page), so that little fills it. A kernel that refuses leaves it.
void end_to_end_shrink_pipe(int descriptor);
