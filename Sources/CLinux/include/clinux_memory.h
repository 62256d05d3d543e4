#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

/// A file that is only in memory and gone with its last descriptor, which is closed on exec: memfd_create(2).
/// `name` shows in /proc. Returns the descriptor, or -errno.
int clinux_memory_file(const char *name);

#endif
