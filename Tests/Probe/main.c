#include "probe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void say(const char *format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length] = '\n';
  if (write(1, line, (size_t)length + 1) < 0 && errno == EPIPE) {
    // Where PIPE is blocked it is pending now; it is of our own making, not a signal that somebody sent.
    sigset_t pipe_only;
    struct timespec at_once = {0, 0};
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigtimedwait(&pipe_only, NULL, &at_once);
  }
}

noreturn void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "probe: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  _exit(125);
}

long parse_number(const char *text) {
  char *end = NULL;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != 0) die("not a number: %s", text);
  return value;
}

int parse_signal(const char *text) {
  static const struct {
    const char *name;
    int number;
  } names[] = {
      {"HUP", SIGHUP},     {"INT", SIGINT},     {"QUIT", SIGQUIT},   {"ILL", SIGILL},   {"TRAP", SIGTRAP},
      {"ABRT", SIGABRT},   {"BUS", SIGBUS},     {"FPE", SIGFPE},     {"KILL", SIGKILL}, {"USR1", SIGUSR1},
      {"SEGV", SIGSEGV},   {"USR2", SIGUSR2},   {"PIPE", SIGPIPE},   {"ALRM", SIGALRM}, {"TERM", SIGTERM},
      {"CHLD", SIGCHLD},   {"CONT", SIGCONT},   {"STOP", SIGSTOP},   {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},
      {"TTOU", SIGTTOU},   {"URG", SIGURG},     {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ}, {"PROF", SIGPROF},
      {"WINCH", SIGWINCH}, {"VTALRM", SIGVTALRM}, {"IO", SIGIO},     {"PWR", SIGPWR},   {"SYS", SIGSYS},
  };
  if (strncmp(text, "SIG", 3) == 0) text += 3;
  if (strncmp(text, "RTMIN+", 6) == 0) return 34 + (int)parse_number(text + 6);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(text, names[i].name) == 0) return names[i].number;
  return (int)parse_number(text);
}

long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void block_all(sigset_t *set) {
  sigfillset(set);
  sigprocmask(SIG_SETMASK, set, NULL);
}

int next_signal(const sigset_t *set, siginfo_t *info) {
  for (;;) {
    int number = sigwaitinfo(set, info);
    if (number > 0) return number;
    if (errno != EINTR) die("sigwaitinfo: %s", strerror(errno));
  }
}

void reset_signals(void) {
  // The kernel's own layout of `struct sigaction`; zeros mean SIG_DFL. The largest layout in use is
  // 32 bytes, so a zeroed 64 byte block serves every architecture.
  static const unsigned char default_action[64];
  for (int number = 1; number <= 64; number++) {
    if (number == SIGKILL || number == SIGSTOP) continue;
    syscall(SYS_rt_sigaction, number, default_action, NULL, 8);
  }
  unsigned long long empty = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &empty, NULL, 8);
}

static int command_exit(int argc, char **argv) {
  return argc > 2 ? (int)parse_number(argv[2]) : 0;
}

static int command_echo(int argc, char **argv) {
  for (int i = 2; i < argc; i++) say("%s", argv[i]);
  return 0;
}

/// Copies standard input to standard output, and says on standard error that it ended.
static int command_copy(int argc, char **argv) {
  (void)argc;
  (void)argv;
  char buffer[65536];
  ssize_t length;
  while ((length = read(0, buffer, sizeof buffer)) > 0)
    for (ssize_t sent = 0; sent < length;) {
      ssize_t n = write(1, buffer + sent, (size_t)(length - sent));
      if (n < 0) return 1;
      sent += n;
    }
  fprintf(stderr, "end of input\n");
  return 0;
}

static int command_kill_self(int argc, char **argv) {
  if (argc != 3) die("usage: kill-self SIGNAL");
  reset_signals();
  int number = parse_signal(argv[2]);
  kill(getpid(), number);
  // Reached when the signal does not kill (STOP until CONT, or a default action of "ignore").
  say("survived %d", number);
  return 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(int, char **);
  } commands[] = {
      {"launch", command_launch},       {"with", command_with},     {"state", command_state},
      {"exit", command_exit},           {"echo", command_echo},     {"copy", command_copy},
      {"kill-self", command_kill_self}, {"parent", command_parent}, {"on-signal", command_on_signal},
      {"family", command_family},       {"claim", command_claim},   {"orphans", command_orphans},
      {"eat", command_eat},             {"hold", command_hold},
      {"frozen", command_frozen},
  };
  if (argc < 2) die("which part? see main.c");
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc, argv);
  die("unknown part: %s", argv[1]);
}
