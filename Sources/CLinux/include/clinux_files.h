#ifndef CLINUX_FILES_H
#define CLINUX_FILES_H

#include <stdint.h>

// PID 1 never opens a file that may lie on a dead mount. It starts a file helper (clinux_fork_helper with
// clinux_file_helper_main), which does that for it, answers over a socket, holds the locks, and, should PID 1
// vanish, first ends the process groups it guards and only then lets the locks go.

enum clinux_file_operation {
  /// Reads a whole file of at most CLINUX_FILE_LIMIT bytes; never through a symbolic link.
  CLINUX_FILE_READ = 1,
  /// Replaces a file: written beside it, synced, renamed, directory synced. Not when a lock that we hold is on a file
  /// that others do not see any more.
  CLINUX_FILE_WRITE = 2,
  /// Makes a directory and its missing parents, and refuses one that somebody else could swap (see reply stages).
  CLINUX_FILE_DIRECTORY = 3,
  /// Locks a file exclusively with flock(2), making it when missing. Answers at once, with EWOULDBLOCK and the
  /// file's content when another process has it, and again when that changes, or its holder has written something; a
  /// last answer follows when the lock is ours.
  /// `data` becomes the file's content while it is held, so that others can say whom they wait for. It goes when the
  /// lock is given back, and when PID 1 vanishes after its groups have been ended: so what the answer finds there
  /// names a holder that vanished itself, whose groups may still run. They have `mode` milliseconds to end: a lock that
  /// is given back sooner leaves that name to the next one.
  CLINUX_FILE_LOCK = 4,
  CLINUX_FILE_UNLOCK = 5,
  /// `mode` is a process group to end before any lock may go, should PID 1 vanish.
  CLINUX_FILE_GUARD = 6,
  CLINUX_FILE_UNGUARD = 7,
  /// Finds the processes that hold something at or below `path`: working directory, root, program, open file, mapped
  /// file. Answers with one line each: `PID KIND TARGET`. Those whose /proc entries we may not read are left out.
  CLINUX_FILE_HOLDERS = 8,
  /// Answers when the file that was read last has changed, after `mode` milliseconds, or when another request comes.
  CLINUX_FILE_AWAIT_CHANGE = 9,
  /// Removes a file; that it is not there is no error.
  CLINUX_FILE_REMOVE = 10,
  /// Removes old files of a directory (see clinux_prune).
  CLINUX_FILE_PRUNE = 11,
  /// CLINUX_FILE_LOCK, answered as that, but the lock is ours only when the file names us. For one under which something
  /// runs without a write before it: should we vanish, the next holder learns only from there that it has to wait.
  CLINUX_FILE_LOCK_NAMED = 12,
};

#define CLINUX_FILE_LIMIT (1u << 20)

struct clinux_file_request {
  uint32_t operation;
  uint32_t mode;
  uint32_t path_length;
  uint32_t data_length;
};

enum clinux_file_stage {
  CLINUX_FILE_STAGE_NONE = 0,
  CLINUX_FILE_STAGE_OPEN,
  CLINUX_FILE_STAGE_READ,
  CLINUX_FILE_STAGE_WRITE,
  CLINUX_FILE_STAGE_SYNC,
  CLINUX_FILE_STAGE_RENAME,
  CLINUX_FILE_STAGE_LOCK,
  CLINUX_FILE_STAGE_MAKE_DIRECTORY,
  /// The directory's name is a symbolic link.
  CLINUX_FILE_STAGE_SYMLINK,
  /// The parent is writable for all and the directory belongs neither to us nor to root.
  CLINUX_FILE_STAGE_FOREIGN,
  CLINUX_FILE_STAGE_TOO_LARGE,
  CLINUX_FILE_STAGE_REMOVE,
  /// The file of a lock that we hold was removed or replaced: somebody else may hold it now.
  CLINUX_FILE_STAGE_LOCK_GONE,
};

struct clinux_file_reply {
  uint32_t operation;
  int32_t error;
  uint32_t stage;
  uint32_t data_length;
};

/// The search of CLINUX_FILE_HOLDERS: fills `out` with whole lines. Returns the length, or -errno.
long clinux_find_holders(const char *_Nonnull path, char *_Nonnull out, unsigned long capacity);

/// Removes files of `directory` whose names begin with one text and end with another: those last changed longer ago
/// than a number of seconds, but never the newest few, and never one whose lock file is locked; with them their lock
/// file. A lock file without its file goes by its own age, and is kept for nothing else. What a crash left of a write
/// (`NAME.PID.tmp`) goes after an hour. `rules` are six texts, each ended by NUL:
/// prefix, suffix, suffix of the lock file instead (empty: there is none), how many to keep, seconds, a name to leave
/// alone. Returns 0 or an error number.
int clinux_prune(const char *_Nonnull directory, const char *_Nonnull rules, unsigned long length);

/// The helper's body. Ends when the socket closes.
int clinux_file_helper_main(int socket_fd, const void *_Nullable unused);

#endif
