#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

/// A file that is only in memory and gone with its last descriptor, which is closed on exec: memfd_create(2).
/// `name` shows in /proc. Returns the descriptor, or -errno.
int clinux_memory_file(const char *_Nonnull name);

/// The same with these bytes in it, to be read from its start.
int clinux_memory_file_with(const char *_Nonnull name, const void *_Nonnull bytes, unsigned long length);

#endif
