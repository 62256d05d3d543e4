#define _GNU_SOURCE
#include "clinux_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// glibc keeps 32 and 33 for its threads and quietly leaves them out of every set; this program has one thread,
// and a container's PID 1 must not be killable by `kill -33`, so the sets here are the kernel's own.
#define KERNEL_SET_SIZE 8

static int change_mask(int how, uint64_t set, uint64_t *old) {
  return (int)syscall(SYS_rt_sigprocmask, how, &set, old, KERNEL_SET_SIZE);
}

void clinux_signals_take_over(struct clinux_signal_state *inherited) {
  inherited->blocked = 0;
  inherited->ignored = 0;
  change_mask(SIG_BLOCK, ~(uint64_t)0, &inherited->blocked);
  for (int number = 1; number <= 64; number++) {
    struct sigaction action;
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33) continue;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN) {
      inherited->ignored |= (uint64_t)1 << (number - 1);
    }
  }
  struct sigaction standard;
  memset(&standard, 0, sizeof standard);
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, NULL);
}

static void translate(const siginfo_t *info, struct clinux_signal *out) {
  out->number = info->si_signo;
  out->code = info->si_code;
  out->pid = info->si_pid;
  out->uid = info->si_uid;
}

static int take_signal(struct clinux_signal *out, const struct timespec *timeout) {
  uint64_t all = ~(uint64_t)0;
  siginfo_t info;
  long number = syscall(SYS_rt_sigtimedwait, &all, &info, timeout, KERNEL_SET_SIZE);
  if (number < 0) return -errno;
  translate(&info, out);
  return (int)number;
}

int clinux_signal_wait(struct clinux_signal *out) { return take_signal(out, NULL); }

int clinux_signal_poll(struct clinux_signal *out) {
  struct timespec none = {0, 0};
  int number = take_signal(out, &none);
  return number == -EAGAIN ? 0 : number;
}

void clinux_signal_discard_own(int number) {
  uint64_t one = (uint64_t)1 << (number - 1);
  struct timespec none = {0, 0};
  siginfo_t info;
  if (syscall(SYS_rt_sigtimedwait, &one, &info, &none, KERNEL_SET_SIZE) != number) return;
  if (info.si_code <= 0 && info.si_pid != getpid()) kill(getpid(), number);
}

int clinux_signalfd_create(void) {
  uint64_t all = ~(uint64_t)0;
  long fd = syscall(SYS_signalfd4, -1, &all, KERNEL_SET_SIZE, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : (int)fd;
}

int clinux_signalfd_read(int fd, struct clinux_signal *out, int capacity) {
  struct signalfd_siginfo raw[16];
  if (capacity > 16) capacity = 16;
  ssize_t size = read(fd, raw, (size_t)capacity * sizeof raw[0]);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  int count = (int)((size_t)size / sizeof raw[0]);
  for (int i = 0; i < count; i++) {
    out[i].number = (int32_t)raw[i].ssi_signo;
    out[i].code = raw[i].ssi_code;
    out[i].pid = (int32_t)raw[i].ssi_pid;
    out[i].uid = raw[i].ssi_uid;
  }
  return count;
}

static int pipe_write_end = -1;

static void write_to_pipe(int number, siginfo_t *info, void *context) {
  (void)context;
  int saved = errno;
  struct clinux_signal signal;
  translate(info, &signal);
  signal.number = number;
  // A full pipe already holds a thousand signals; the standard ones coalesce in the kernel just the same.
  ssize_t ignored = write(pipe_write_end, &signal, sizeof signal);
  (void)ignored;
  errno = saved;
}

int clinux_signal_pipe_create(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  pipe_write_end = ends[1];
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = write_to_pipe;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask);
  uint64_t handled = 0;
  for (int number = 1; number <= 64; number++) {
    // A genuine fault must still end us, so the synchronous signals keep their default.
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33 || number == SIGSEGV ||
        number == SIGBUS || number == SIGILL || number == SIGFPE || number == SIGTRAP || number == SIGSYS ||
        number == SIGABRT) {
      continue;
    }
    if (sigaction(number, &action, NULL) == 0) handled |= (uint64_t)1 << (number - 1);
  }
  if (change_mask(SIG_UNBLOCK, handled, NULL) < 0) return -errno;
  return ends[0];
}

int clinux_signal_pipe_read(int fd, struct clinux_signal *out, int capacity) {
  ssize_t size = read(fd, out, (size_t)capacity * sizeof *out);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  return (int)((size_t)size / sizeof *out);
}

int clinux_kill(int pid, int signal) { return kill(pid, signal) < 0 ? -errno : 0; }
