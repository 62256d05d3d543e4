#ifndef CLINUX_PROCESS_H
#define CLINUX_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/// One ended child. Exactly one of `exit_code` and `signal` has a meaning: `signal` is 0 after a normal exit.
struct clinux_exit {
  int32_t pid;
  int32_t exit_code;
  int32_t signal;
};

/// Takes one ended child of this process, whoever spawned it. Returns 1 when one was taken, 0 when none has ended,
/// -ECHILD when there is no child at all.
int clinux_reap(struct clinux_exit *_Nonnull out);
/// Like clinux_reap, but leaves the child to be taken later, so that /proc still knows its name.
int clinux_reap_peek(struct clinux_exit *_Nonnull out);

int clinux_pidfd_open(int pid);
int clinux_pidfd_signal(int pidfd, int signal);

int clinux_subreaper_set(bool on);
/// 1 when this process is a child subreaper, 0 when not.
int clinux_subreaper_get(void);
int clinux_death_signal_set(int signal);
/// 1 when close_range(2) with CLOSE_RANGE_CLOEXEC works here.
int clinux_close_range_works(void);

/// What /proc/PID/stat tells of a process.
struct clinux_process {
  int32_t pid;
  int32_t parent;
  int32_t group;
  int32_t session;
  uint64_t start_time;
  char state;
  char name[32];
};

/// Fills `out` with the processes of /proc. Returns how many there are (which may exceed `capacity`), or -errno.
int clinux_process_list(struct clinux_process *_Nonnull out, int capacity);
/// One process. Returns 0 or -errno (-ENOENT: gone).
int clinux_process_read(int pid, struct clinux_process *_Nonnull out);

/// Gives the pages of this program's own code and constants back: those that only the start needed leave the
/// resident set, those that are needed again come back from the page cache. Never touches writable memory.
void clinux_release_start_pages(void);
/// The same for this program and every shared library that it has.
void clinux_release_library_pages(void);

/// Opens /dev/null on each of 0, 1, 2 that is closed, so that no later descriptor takes their place.
void clinux_stdio_ensure(void);
/// 1 when there is a controlling terminal on descriptor `fd` and this process is its session's leader, 2 when it
/// is not the leader, 0 when `fd` is no controlling terminal.
int clinux_terminal_state(int fd);
/// Gives the controlling terminal on `fd` up (TIOCNOTTY).
int clinux_terminal_release(int fd);

#endif
