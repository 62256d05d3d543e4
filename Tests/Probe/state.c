// `state [--to FILE]`: what this process inherited, one `key value` per line; strings that may hold any
// byte in hexadecimal. Works without /proc, where only the targets of descriptors are then missing.
#define _GNU_SOURCE
#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static void print_hex(FILE *out, const char *key, const char *bytes) {
  fprintf(out, "%s ", key);
  for (; *bytes != 0; bytes++) fprintf(out, "%02x", (unsigned char)*bytes);
  fprintf(out, "\n");
}

static void print_signals(FILE *out) {
  unsigned long long mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
  fprintf(out, "blocked");
  for (int number = 1; number <= 64; number++)
    if (mask & (1ULL << (number - 1))) fprintf(out, " %d", number);
  fprintf(out, "\nignored");
  for (int number = 1; number <= 64; number++) {
    // The handler is the first word of the kernel's layout on every architecture we run on.
    unsigned long action[8] = {0};
    if (syscall(SYS_rt_sigaction, number, NULL, action, 8) == 0 && action[0] == (unsigned long)SIG_IGN)
      fprintf(out, " %d", number);
  }
  fprintf(out, "\n");
}

static void print_descriptors(FILE *out) {
  for (int descriptor = 0; descriptor < 1024; descriptor++) {
    if (descriptor == fileno(out) && descriptor > 2) continue;
    if (fcntl(descriptor, F_GETFD) < 0) continue;
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    fprintf(out, "fd %d %s\n", descriptor, target);
  }
}

static void print_limits(FILE *out) {
  static const struct {
    const char *name;
    int resource;
  } limits[] = {{"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"stack", RLIMIT_STACK},
                {"core", RLIMIT_CORE}};
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    struct rlimit limit;
    if (getrlimit(limits[i].resource, &limit) == 0)
      fprintf(out, "limit %s %lld %lld\n", limits[i].name, (long long)limit.rlim_cur,
              (long long)limit.rlim_max);
  }
}

int command_state(int argc, char **argv) {
  FILE *out = stdout;
  if (argc > 3 && strcmp(argv[2], "--to") == 0) {
    out = fopen(argv[3], "we");
    if (out == NULL) die("cannot write %s", argv[3]);
  }
  fprintf(out, "pid %d\nppid %d\npgid %d\nsid %d\n", getpid(), getppid(), getpgrp(), getsid(0));
  int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  fprintf(out, "terminal %d\n", terminal >= 0);
  fprintf(out, "foreground %d\n", terminal >= 0 ? (int)tcgetpgrp(terminal) : 0);
  if (terminal >= 0) close(terminal);
  print_signals(out);
  print_descriptors(out);
  mode_t mask = umask(0);
  umask(mask);
  fprintf(out, "umask %03o\n", mask);
  char cwd[4096];
  fprintf(out, "cwd %s\n", getcwd(cwd, sizeof cwd) != NULL ? cwd : "");
  uid_t real, effective, saved;
  getresuid(&real, &effective, &saved);
  fprintf(out, "uid %u %u %u\n", real, effective, saved);
  gid_t real_group, effective_group, saved_group, groups[256];
  getresgid(&real_group, &effective_group, &saved_group);
  fprintf(out, "gid %u %u %u\ngroups", real_group, effective_group, saved_group);
  int count = getgroups(256, groups);
  for (int i = 0; i < count; i++) fprintf(out, " %u", groups[i]);
  int death_signal = 0, subreaper = 0;
  prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper, 0, 0, 0);
  fprintf(out, "\ndeath-signal %d\nsubreaper %d\n", death_signal, subreaper);
  print_limits(out);
  for (int i = 0; i < argc; i++) print_hex(out, "arg", argv[i]);
  for (char **entry = environ; *entry != NULL; entry++) print_hex(out, "env", *entry);
  fprintf(out, "end\n");
  fflush(out);
  return 0;
}
