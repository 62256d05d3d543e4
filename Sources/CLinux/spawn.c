#define _GNU_SOURCE
#include "clinux_spawn.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define KERNEL_SET_SIZE 8

static struct clinux_spawn_features features = {true, true, true};

struct clinux_spawn_features clinux_spawn_features_get(void) { return features; }

// ---- what runs in the child: system calls only ------------------------------------------------------------

static void set_signals(const struct clinux_signal_state *state) {
  for (int number = 1; number <= 64; number++) {
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33) continue;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    bool ignore = state != NULL && (state->ignored >> (number - 1) & 1) != 0;
    action.sa_handler = ignore ? SIG_IGN : SIG_DFL;
    sigaction(number, &action, NULL);
  }
}

static void set_mask(const struct clinux_signal_state *state) {
  uint64_t mask = state != NULL ? state->blocked : 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SET_SIZE);
}

// Marks every descriptor above 2 close-on-exec, whoever opened it.
static void close_above_stdio(bool use_close_range) {
  if (use_close_range && syscall(SYS_close_range, 3u, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) == 0) return;
  int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    char buffer[2048];
    long size;
    while ((size = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
      for (long at = 0; at < size;) {
        unsigned short length;
        memcpy(&length, buffer + at + 16, sizeof length);
        const char *name = buffer + at + 19;
        int fd = 0;
        for (; *name >= '0' && *name <= '9'; name++) fd = fd * 10 + (*name - '0');
        if (*name == 0 && fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
        at += length;
      }
    }
    close(directory);
    if (size == 0) return;
  }
  struct rlimit limit = {.rlim_cur = 1024};
  getrlimit(RLIMIT_NOFILE, &limit);
  int end = limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
  for (int fd = 3; fd < end; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// Puts the three descriptors in place. They may overlap with 0..2 in any order, so all of them are first moved
// out of the way.
static int place_stdio(const int32_t *stdio) {
  int moved[3] = {-1, -1, -1};
  for (int i = 0; i < 3; i++) {
    if (stdio[i] < 0) continue;
    moved[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 3);
    if (moved[i] < 0) return errno;
  }
  for (int i = 0; i < 3; i++) {
    if (moved[i] < 0) continue;
    if (dup2(moved[i], i) < 0) return errno;
    close(moved[i]);
  }
  return 0;
}

// Puts the one descriptor that the child keeps at 3, open across exec.
static int place_kept(int kept) {
  if (kept == 3) return fcntl(3, F_SETFD, 0) < 0 ? errno : 0;
  return dup2(kept, 3) < 0 ? errno : 0;
}

// Names the interpreter of a script or of an ELF program, if the file asks for one.
static void find_interpreter(const char *path, char *out, size_t capacity) {
  out[0] = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char head[256];
  ssize_t size = pread(fd, head, sizeof head - 1, 0);
  if (size > 2 && head[0] == '#' && head[1] == '!') {
    head[size] = 0;
    char *from = head + 2;
    while (*from == ' ' || *from == '\t') from++;
    size_t length = strcspn(from, " \t\r\n");
    // A carriage return is the usual reason for a missing interpreter: keep it visible.
    bool carriage_return = from[length] == '\r';
    if (length + 3 > capacity) length = capacity - 3;
    memcpy(out, from, length);
    memcpy(out + length, "\\r", carriage_return ? 3 : 0);
    if (!carriage_return) out[length] = 0;
  } else if (size >= (ssize_t)sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0 &&
             head[EI_CLASS] == ELFCLASS64) {
    Elf64_Ehdr header;
    memcpy(&header, head, sizeof header);
    for (int i = 0; i < header.e_phnum && i < 64; i++) {
      Elf64_Phdr segment;
      off_t at = (off_t)(header.e_phoff + (uint64_t)i * header.e_phentsize);
      if (pread(fd, &segment, sizeof segment, at) != (ssize_t)sizeof segment) break;
      if (segment.p_type != PT_INTERP) continue;
      size_t length = segment.p_filesz < capacity - 1 ? segment.p_filesz : capacity - 1;
      ssize_t got = pread(fd, out, length, (off_t)segment.p_offset);
      out[got > 0 ? got : 0] = 0;
      break;
    }
  }
  close(fd);
}

static void try_to_execute(const struct clinux_spawn_request *request, struct clinux_spawn_report *report) {
  // With shared memory the parent sees `report` after a success too, so it is written only on failure.
  int error = ENOENT, index = 0;
  for (int i = 0; request->candidates[i] != NULL; i++) {
    const char *path = request->candidates[i];
    execve(path, request->arguments, request->environment);
    if (errno == ENOENT || errno == ENOTDIR) {
      int reason = errno;
      struct stat status;
      if (stat(path, &status) != 0) continue;
      report->stage = CLINUX_STAGE_INTERPRETER;
      report->error = reason;
      report->index = i;
      find_interpreter(path, report->interpreter, sizeof report->interpreter);
      return;
    }
    error = errno;
    index = i;
    // What may not be executed here may be found further on in PATH; everything else is final.
    if (error != EACCES) break;
  }
  report->stage = CLINUX_STAGE_EXEC;
  report->error = error;
  report->index = index;
}

static void become_program(const struct clinux_spawn_request *request, pid_t parent, bool use_close_range,
                           struct clinux_spawn_report *report) {
#define FAIL(where)               \
  do {                            \
    report->stage = where;        \
    report->error = errno;        \
    return;                       \
  } while (0)

  set_signals(request->signals);
  if (request->group == CLINUX_GROUP_SESSION && setsid() < 0) FAIL(CLINUX_STAGE_GROUP);
  if (request->group == CLINUX_GROUP_OWN && setpgid(0, 0) < 0) FAIL(CLINUX_STAGE_GROUP);

  int error = place_stdio(request->stdio);
  if (error != 0) {
    errno = error;
    FAIL(CLINUX_STAGE_STDIO);
  }
  if (request->take_terminal) {
    // SIGTTOU is still blocked here, so a group in the background may take the foreground.
    if (request->group == CLINUX_GROUP_SESSION) {
      ioctl(0, TIOCSCTTY, 0);
    } else {
      pid_t self = (pid_t)syscall(SYS_getpid);
      ioctl(0, TIOCSPGRP, &self);
    }
  }
  close_above_stdio(use_close_range);
  // After all the others are marked: what is at 3 now would have gone at exec anyway.
  if (request->kept > 2 && (error = place_kept(request->kept)) != 0) {
    errno = error;
    FAIL(CLINUX_STAGE_DESCRIPTORS);
  }

  // Limits before the user changes: raising a hard limit is root's to do.
  for (size_t i = 0; i < request->limit_count; i++) {
    struct rlimit limit = {.rlim_cur = request->limits[i].soft, .rlim_max = request->limits[i].hard};
    report->index = (int32_t)i;
    if (setrlimit((__rlimit_resource_t)request->limits[i].resource, &limit) < 0) FAIL(CLINUX_STAGE_LIMIT);
  }
  report->index = 0;

  // Raw calls: glibc's wrappers would signal every thread that it believes to be of this process, and with shared
  // memory those are the parent's.
  if (request->set_groups && syscall(SYS_setgroups, request->group_count, request->groups) < 0) {
    FAIL(CLINUX_STAGE_GROUPS);
  }
  if (request->set_ids) {
    if (syscall(SYS_setresgid, request->gid, request->gid, request->gid) < 0) FAIL(CLINUX_STAGE_GID);
    if (syscall(SYS_setresuid, request->uid, request->uid, request->uid) < 0) FAIL(CLINUX_STAGE_UID);
  }
  if (request->umask >= 0) umask((mode_t)request->umask);
  if (request->directory != NULL && chdir(request->directory) < 0 &&
      (!request->directory_is_optional || chdir("/") < 0)) {
    FAIL(CLINUX_STAGE_DIRECTORY);
  }
  if (request->death_signal != 0) {
    if (prctl(PR_SET_PDEATHSIG, (long)request->death_signal, 0L, 0L, 0L) < 0 && errno != EPERM && errno != ENOSYS) {
      FAIL(CLINUX_STAGE_DEATH_SIGNAL);
    }
    // The parent may have gone before the line above.
    if ((pid_t)syscall(SYS_getppid) != parent) _exit(127);
  }
  set_mask(request->signals);
  try_to_execute(request, report);
#undef FAIL
}

// ---- the parent's side ------------------------------------------------------------------------------------

struct shared_start {
  const struct clinux_spawn_request *request;
  struct clinux_spawn_report *report;
  pid_t parent;
};

static int shared_child(void *context) {
  struct shared_start *start = context;
  become_program(start->request, start->parent, features.close_range, start->report);
  _exit(127);
}

// Only one thread ever spawns, and with CLONE_VFORK it sleeps while the child runs on this.
static char shared_stack[64 * 1024] __attribute__((aligned(16)));

static int spawn_shared(const struct clinux_spawn_request *request, struct clinux_spawned *out) {
  struct shared_start start = {request, &out->report, getpid()};
  int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  int pid = clone(shared_child, shared_stack + sizeof shared_stack, flags, &start);
  if (pid < 0) return -errno;
  out->pid = pid;
  return 0;
}

static bool refused(int error) { return error == ENOSYS || error == EPERM || error == EINVAL; }

// fork semantics without glibc's fork handlers; `pidfd` may be NULL.
static long copy_process(int *pidfd) {
#if defined(__s390x__)
#error "clone takes its arguments in another order here"
#endif
  unsigned long flags = SIGCHLD | (pidfd != NULL ? CLONE_PIDFD : 0);
  return syscall(SYS_clone, flags, NULL, pidfd, NULL, 0UL);
}

static int spawn_copied(const struct clinux_spawn_request *request, struct clinux_spawned *out) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  pid_t parent = getpid();
  int pidfd = -1;
  long pid = copy_process(features.clone_pidfd ? &pidfd : NULL);
  if (pid < 0 && features.clone_pidfd && refused(errno)) {
    features.clone_pidfd = false;
    pidfd = -1;
    pid = copy_process(NULL);
  }
  if (pid < 0) {
    int error = -errno;
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  if (pid == 0) {
    // The pipe must survive place_stdio, so it may not sit on 0, 1 or 2; main made sure that those are open.
    struct clinux_spawn_report report;
    memset(&report, 0, sizeof report);
    // Nor on 3, where the child's own descriptor may go.
    if (ends[1] == 3) ends[1] = fcntl(3, F_DUPFD_CLOEXEC, 4);
    become_program(request, parent, features.close_range, &report);
    ssize_t ignored = write(ends[1], &report, sizeof report);
    (void)ignored;
    _exit(127);
  }
  close(ends[1]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  out->pid = (int32_t)pid;
  out->pidfd = pidfd;
  out->report_fd = ends[0];
  return 0;
}

int clinux_spawn(const struct clinux_spawn_request *request, struct clinux_spawned *out) {
  memset(out, 0, sizeof *out);
  out->pidfd = -1;
  out->report_fd = -1;
  if (request->share_memory && features.clone_vfork) {
    int result = spawn_shared(request, out);
    if (result == 0 || !refused(-result)) return result;
    features.clone_vfork = false;
  }
  int result = spawn_copied(request, out);
  if (result != 0 || !request->share_memory) return result;
  // The caller asked for an answer at once: wait for it here.
  fcntl(out->report_fd, F_SETFL, 0);
  ssize_t size;
  do {
    size = read(out->report_fd, &out->report, sizeof out->report);
  } while (size < 0 && errno == EINTR);
  close(out->report_fd);
  out->report_fd = -1;
  return 0;
}

static int idle_child(void *context) {
  (void)context;
  _exit(0);
}

void clinux_spawn_features_probe(void) {
  features.close_range = syscall(SYS_close_range, ~0u, ~0u, 4) == 0;
  int pid = clone(idle_child, shared_stack + sizeof shared_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
  features.clone_vfork = pid > 0;
  if (pid > 0) waitpid(pid, NULL, 0);
  int pidfd = -1;
  long copied = copy_process(&pidfd);
  if (copied == 0) _exit(0);
  features.clone_pidfd = copied > 0 && pidfd >= 0;
  if (copied > 0) waitpid((pid_t)copied, NULL, 0);
  if (pidfd >= 0) close(pidfd);
}

int clinux_fork_helper(int (*body)(int socket_fd, const void *context), const void *context, bool outlive,
                       int *socket_fd) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  pid_t parent = getpid();
  long pid = copy_process(NULL);
  if (pid < 0) {
    int error = -errno;
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  if (pid == 0) {
    if (!outlive) {
      prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
      if ((pid_t)syscall(SYS_getppid) != parent) _exit(127);
    }
    // Out of reach of a terminal's signals and of a stop meant for our group.
    setpgid(0, 0);
    set_signals(NULL);
    // Not 0, 1 or 2, which are open; everything else is closed, so that no lock or socket of ours lives on here.
    if (ends[1] != 3) {
      if (dup2(ends[1], 3) < 0) _exit(127);
    }
    if (!features.close_range || syscall(SYS_close_range, 4u, ~0u, 0) != 0) {
      for (int fd = 4; fd < 65536; fd++) close(fd);
    }
    prctl(PR_SET_NAME, "supervisor-file", 0L, 0L, 0L);
    // All signals stay blocked: `systemctl stop`, `kill -1` and the like signal every process there is, and the helper
    // must keep its locks until the steps that they protect have ended. Its end is that of the socket, or KILL.
    _exit(body(3, context));
  }
  close(ends[1]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  *socket_fd = ends[0];
  return (int)pid;
}
