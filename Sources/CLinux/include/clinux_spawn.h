#ifndef CLINUX_SPAWN_H
#define CLINUX_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clinux_signals.h"

/// Where the child was when it failed. The order is the order of the steps.
enum clinux_spawn_stage {
  CLINUX_STAGE_NONE = 0,
  CLINUX_STAGE_CLONE,
  CLINUX_STAGE_GROUP,
  CLINUX_STAGE_STDIO,
  CLINUX_STAGE_DESCRIPTORS,
  CLINUX_STAGE_LIMIT,
  CLINUX_STAGE_GROUPS,
  CLINUX_STAGE_GID,
  CLINUX_STAGE_UID,
  CLINUX_STAGE_DIRECTORY,
  CLINUX_STAGE_DEATH_SIGNAL,
  CLINUX_STAGE_EXEC,
  /// execve said ENOENT for a file that exists: `interpreter` names what it asks for.
  CLINUX_STAGE_INTERPRETER,
};

enum clinux_spawn_group {
  CLINUX_GROUP_INHERITED = 0,
  CLINUX_GROUP_OWN = 1,
  CLINUX_GROUP_SESSION = 2,
};

struct clinux_limit {
  int32_t resource;
  uint64_t soft;
  uint64_t hard;
};

/// Everything the child needs. It only reads this and makes system calls: the memory must stay as it is until
/// the call returns, and nothing is allocated on the way.
struct clinux_spawn_request {
  /// Paths tried in order, as execvp would; ended by NULL.
  char *_Nullable const *_Nullable candidates;
  char *_Nullable const *_Nullable arguments;
  char *_Nullable const *_Nullable environment;
  const char *_Nullable directory;
  /// Where `directory` cannot be entered, start in / instead of failing.
  bool directory_is_optional;
  /// Descriptors that become 0, 1 and 2; -1 leaves the one that is there.
  int32_t stdio[3];
  /// A descriptor above 2 that becomes the child's 3 and stays open there; 0: none.
  int32_t kept;
  enum clinux_spawn_group group;
  /// Makes descriptor 0 the controlling terminal (after a new session) or takes its foreground (own group).
  /// Not being able to is no failure.
  bool take_terminal;
  bool set_groups;
  bool set_ids;
  const uint32_t *_Nullable groups;
  size_t group_count;
  uint32_t uid;
  uint32_t gid;
  /// -1: as inherited.
  int32_t umask;
  const struct clinux_limit *_Nullable limits;
  size_t limit_count;
  /// Sent to the child when this process ends; 0: none. Set after the change of user, which clears it.
  int32_t death_signal;
  /// NULL: all signals default and unblocked. Otherwise the child gets this state.
  const struct clinux_signal_state *_Nullable signals;
  /// vfork semantics: the caller sleeps until exec. Only for a caller that has nothing else to do.
  bool share_memory;
};

/// What a child that could not become its program says. All zero: it did.
struct clinux_spawn_report {
  int32_t stage;
  int32_t error;
  /// Index of the candidate, for the stages about a program; of the limit, for CLINUX_STAGE_LIMIT.
  int32_t index;
  char interpreter[244];
};

struct clinux_spawned {
  int32_t pid;
  /// -1 where the kernel gives none.
  int32_t pidfd;
  /// Read end of the close-on-exec pipe: end of file means that exec succeeded, a clinux_spawn_report that it
  /// did not. -1 with share_memory, where `report` has the answer already.
  int32_t report_fd;
  struct clinux_spawn_report report;
};

/// Starts a child. Returns 0 when there is a process (which may still fail, and say so) or -errno of clone.
/// The descriptors in `out` are close-on-exec; report_fd is non-blocking.
int clinux_spawn(const struct clinux_spawn_request *_Nonnull request, struct clinux_spawned *_Nonnull out);

/// Takes away what the kernel refuses, for all later calls: found by clinux_spawn itself or by the probe.
struct clinux_spawn_features {
  bool clone_pidfd;
  bool clone_vfork;
  bool close_range;
};
struct clinux_spawn_features clinux_spawn_features_get(void);
/// Tries each feature on a child that does nothing, which is reaped here: only for `--version --verbose`.
void clinux_spawn_features_probe(void);

/// Runs `body` in a copy of this process that shares nothing but a socket with it (returned in `socket_fd`,
/// close-on-exec, non-blocking; the body gets its own end), has all signals blocked, no other descriptor above 2, and
/// is killed when this process ends unless `outlive` is set. The body must not touch Swift. Its result is the
/// exit code. Returns the pid or -errno.
int clinux_fork_helper(int (*_Nonnull body)(int socket_fd, const void *_Nullable context), const void *_Nullable context,
                       bool outlive, int *_Nonnull socket_fd);

#endif
