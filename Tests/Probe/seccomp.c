// Refused system calls, as old kernels (ENOSYS) and container profiles (EPERM) refuse them.
// A rule is NAME:ERRNO; several rules stack, since each filter only refuses and lets the rest through.
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "seccomp.c knows x86_64 and aarch64"
#endif

/// `argument` < 0: the call is refused whatever its arguments. With `mask` the argument is compared bit by
/// bit (any of the bits), without it by value.
static const struct {
  const char *name;
  unsigned int number;
  int argument;
  unsigned int mask;
  unsigned int value;
} rules[] = {
    {"clone3", SYS_clone3, -1, 0, 0},
    {"clone", SYS_clone, -1, 0, 0},
    {"clone-pidfd", SYS_clone, 0, CLONE_PIDFD, 0},
    {"clone-vfork", SYS_clone, 0, CLONE_VFORK, 0},
    {"pidfd_open", SYS_pidfd_open, -1, 0, 0},
    {"pidfd_send_signal", SYS_pidfd_send_signal, -1, 0, 0},
    {"close_range", SYS_close_range, -1, 0, 0},
    {"signalfd4", SYS_signalfd4, -1, 0, 0},
    {"timerfd_create", SYS_timerfd_create, -1, 0, 0},
    {"epoll_create1", SYS_epoll_create1, -1, 0, 0},
    {"eventfd2", SYS_eventfd2, -1, 0, 0},
    {"getrandom", SYS_getrandom, -1, 0, 0},
    {"prctl", SYS_prctl, -1, 0, 0},
    {"prctl-subreaper", SYS_prctl, 0, 0, PR_SET_CHILD_SUBREAPER},
    {"prctl-death-signal", SYS_prctl, 0, 0, PR_SET_PDEATHSIG},
    {"setsid", SYS_setsid, -1, 0, 0},
};

static unsigned int parse_errno(const char *text) {
  if (strcmp(text, "ENOSYS") == 0) return ENOSYS;
  if (strcmp(text, "EPERM") == 0) return EPERM;
  if (strcmp(text, "EINVAL") == 0) return EINVAL;
  if (strcmp(text, "EAGAIN") == 0) return EAGAIN;
  if (strcmp(text, "ENOMEM") == 0) return ENOMEM;
  return (unsigned int)parse_number(text);
}

static void install(struct sock_filter *filter, unsigned short length) {
  struct sock_fprog program = {.len = length, .filter = filter};
  // Without this an ordinary user may not install a filter. It fails only when an earlier rule refuses
  // prctl, and then the flag is already set.
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) die("seccomp: %s", strerror(errno));
}

void install_seccomp_rule(const char *rule) {
  const char *colon = strchr(rule, ':');
  if (colon == NULL) die("a rule is NAME:ERRNO, not %s", rule);
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    if (strlen(rules[i].name) != (size_t)(colon - rule)) continue;
    if (strncmp(rules[i].name, rule, (size_t)(colon - rule)) != 0) continue;
    unsigned int refuse = SECCOMP_RET_ERRNO | parse_errno(colon + 1);
    unsigned int offset = offsetof(struct seccomp_data, nr);
    unsigned int argument = (unsigned int)offsetof(struct seccomp_data, args);
    if (rules[i].argument > 0) argument += (unsigned int)rules[i].argument * 8;
    if (rules[i].argument < 0) {
      struct sock_filter filter[] = {
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCHITECTURE, 0, 3),
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rules[i].number, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, refuse),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      };
      install(filter, sizeof filter / sizeof filter[0]);
      return;
    }
    unsigned short compare = rules[i].mask != 0 ? BPF_JMP | BPF_JSET | BPF_K : BPF_JMP | BPF_JEQ | BPF_K;
    unsigned int operand = rules[i].mask != 0 ? rules[i].mask : rules[i].value;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCHITECTURE, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rules[i].number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(compare, operand, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refuse),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof filter[0]);
    return;
  }
  die("no rule for this system call: %s", rule);
}
