// The stage manager. It starts the program under test with exactly the state asked for, tells the test what
// happens to it, adopts everything that loses its parent (it is a subreaper), and when the test lets go of
// the control socket (descriptor 3), by design or because it crashed, it kills all that is left.
//
// Lines to the test:   started PID | failed ERRNO | stopped SIG | continued | exited CODE | signaled SIG
//                      orphan PID exited CODE | orphan PID signaled SIG | gone | survivors PID:NAME …
// Lines from the test: survivors
#define _GNU_SOURCE
#include "probe.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { control = 3 };

static void tell(const char *format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length] = '\n';
  ssize_t ignored = write(control, line, (size_t)length + 1);
  (void)ignored;
}

/// Calls `visit` for each child of this process (adopted ones too), by a scan of /proc.
static int each_child(void (*visit)(pid_t pid, char state, const char *name, void *context), void *context) {
  DIR *proc = opendir("/proc");
  if (proc == NULL) return 0;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) continue;
    text[length] = 0;
    char *open_bracket = strchr(text, '('), *close_bracket = strrchr(text, ')');
    if (open_bracket == NULL || close_bracket == NULL) continue;
    char state = 0;
    int parent = 0;
    if (sscanf(close_bracket + 1, " %c %d", &state, &parent) != 2 || parent != getpid()) continue;
    *close_bracket = 0;
    count++;
    if (visit != NULL) visit((pid_t)atoi(text), state, open_bracket + 1, context);
  }
  closedir(proc);
  return count;
}

static void append_survivor(pid_t pid, char state, const char *name, void *context) {
  char *line = context;
  size_t length = strlen(line);
  if (state != 'Z' && length < 3900) snprintf(line + length, 4000 - length, " %d:%s", pid, name);
}

static void kill_child(pid_t pid, char state, const char *name, void *context) {
  (void)state;
  (void)name;
  (void)context;
  kill(pid, SIGKILL);
}

/// Kills children until none is left; those of a killed child become ours and are killed in the next turn.
static void end_everything(int signals) {
  long long deadline = now_ms() + 10000;
  while (now_ms() < deadline) {
    each_child(kill_child, NULL);
    struct pollfd event = {.fd = signals, .events = POLLIN};
    poll(&event, 1, 20);
    struct signalfd_siginfo info[16];
    ssize_t ignored = read(signals, info, sizeof info);
    (void)ignored;
    for (;;) {
      pid_t pid = waitpid(-1, NULL, WNOHANG);
      if (pid == 0) break;
      if (pid < 0) return;
    }
  }
}

/// Takes every change of state there is to take. Returns false once no child is left.
static bool take_changes(pid_t main_child) {
  for (;;) {
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) != 0) return errno != ECHILD;
    if (info.si_pid == 0) return true;
    bool is_main = info.si_pid == main_child;
    char who[32] = "";
    if (!is_main) snprintf(who, sizeof who, "orphan %d ", info.si_pid);
    switch (info.si_code) {
      case CLD_EXITED: tell("%sexited %d", who, info.si_status); break;
      case CLD_KILLED:
      case CLD_DUMPED: tell("%ssignaled %d", who, info.si_status); break;
      case CLD_STOPPED: tell("%sstopped %d", who, info.si_status); break;
      case CLD_CONTINUED: tell("%scontinued", who); break;
      default: break;
    }
  }
}

static pid_t start(int argc, char **argv, int options, int failure) {
  pid_t child = fork();
  if (child != 0) return child;
  close(control);
  reset_signals();
  // A group of its own; not when it will lead a session, for which it may not be a leader yet.
  bool leads_session = false;
  for (int i = options; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--controlling-terminal") == 0) leads_session = true;
  if (!leads_session) setpgid(0, 0);
  int command = apply_inherited_state(argc, argv, options);
  execvp(argv[command], argv + command);
  int number = errno;
  ssize_t ignored = write(failure, &number, sizeof number);
  (void)ignored;
  _exit(125);
}

/// Answers the test's questions. Returns false when the test has let go.
static bool answer(void) {
  char text[256];
  ssize_t length = read(control, text, sizeof text - 1);
  if (length < 0 && errno == EINTR) return true;
  if (length <= 0) return false;
  for (ssize_t i = 0; i < length; i++) {
    if (text[i] != '\n') continue;
    char line[4000] = "survivors";
    each_child(append_survivor, line);
    tell("%s", line);
  }
  return true;
}

int command_launch(int argc, char **argv) {
  int options = 2;
  fcntl(control, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  if (argc > 2 && strcmp(argv[2], "--pid-namespace") == 0) {
    options = 3;
    if (unshare(CLONE_NEWPID) != 0) die("unshare(CLONE_NEWPID): %s", strerror(errno));
  }
  sigset_t watched;
  sigfillset(&watched);
  sigprocmask(SIG_SETMASK, &watched, NULL);
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  int signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  int failure[2];
  if (signals < 0 || pipe2(failure, O_CLOEXEC) != 0) die("cannot watch: %s", strerror(errno));
  // Above every number a test may ask for with --open or --close.
  int report = fcntl(failure[1], F_DUPFD_CLOEXEC, 900);
  close(failure[1]);
  pid_t child = start(argc, argv, options, report);
  if (child < 0) die("fork: %s", strerror(errno));
  close(report);

  // The test reads the end of the program's output as "every holder is gone": do not be one.
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int descriptor = 0; descriptor < 3; descriptor++) dup2(null, descriptor);

  // The start is done when exec closes the pipe; a test that has given up meanwhile ends the wait.
  struct pollfd start_events[2] = {
      {.fd = failure[0], .events = POLLIN}, {.fd = control, .events = POLLRDHUP}};
  while (poll(start_events, 2, -1) < 0 && errno == EINTR) continue;
  int number = 0;
  if (start_events[0].revents != 0) {
    ssize_t length = read(failure[0], &number, sizeof number);
    if (length == (ssize_t)sizeof number) tell("failed %d", number);
    else tell("started %d", child);
  }
  bool alive = true;
  for (;;) {
    struct pollfd events[2] = {{.fd = control, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    if (poll(events, 2, -1) < 0 && errno != EINTR) break;
    if (events[1].revents != 0) {
      struct signalfd_siginfo info[16];
      ssize_t ignored = read(signals, info, sizeof info);
      (void)ignored;
      if (alive && !take_changes(child)) {
        alive = false;
        tell("gone");
      }
    }
    if (events[0].revents != 0 && !answer()) break;
  }
  end_everything(signals);
  return 0;
}
