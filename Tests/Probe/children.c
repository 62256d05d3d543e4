// Children that tests put under a supervisor: observers of signals, and families that misbehave.
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/// `on-signal [--exit-on SIG=CODE]… [--uid N]`: says `ready PID`, then `signal N` for each signal received.
int command_on_signal(int argc, char **argv) {
  int codes[65];
  for (int i = 0; i < 65; i++) codes[i] = -1;
  sigset_t all;
  block_all(&all);
  for (int i = 2; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--uid") == 0) {
      if (setuid((uid_t)parse_number(argv[i + 1])) != 0) die("setuid: %s", strerror(errno));
      continue;
    }
    if (strcmp(argv[i], "--exit-on") != 0) die("on-signal: unknown option %s", argv[i]);
    char *equals = strchr(argv[i + 1], '=');
    if (equals == NULL) die("--exit-on SIG=CODE, not %s", argv[i + 1]);
    *equals = 0;
    codes[parse_signal(argv[i + 1])] = (int)parse_number(equals + 1);
  }
  say("ready %d", getpid());
  for (;;) {
    siginfo_t info;
    int number = next_signal(&all, &info);
    say("signal %d", number);
    if (codes[number] >= 0) return codes[number];
  }
}

/// What one member of a family does, from a list of words with commas between them.
struct member {
  bool session;      // `setsid`: leaves the session (and the group)
  bool group;        // `setpgid`: leaves the group only
  bool daemon;       // `daemon`: double fork, so that its parent is whoever adopts it
  bool ignores;      // `ignore`: TERM has no effect
  bool closes;       // `quiet`: does not hold the inherited output
  long linger;       // `linger=MS`: after TERM it cleans up that long
  long code;         // `code=N`: ends with N
};

static struct member parse_member(char *text) {
  struct member member = {0};
  for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
    if (strcmp(word, "setsid") == 0) member.session = true;
    else if (strcmp(word, "setpgid") == 0) member.group = true;
    else if (strcmp(word, "daemon") == 0) member.daemon = true;
    else if (strcmp(word, "ignore") == 0) member.ignores = true;
    else if (strcmp(word, "quiet") == 0) member.closes = true;
    else if (strncmp(word, "linger=", 7) == 0) member.linger = parse_number(word + 7);
    else if (strncmp(word, "code=", 5) == 0) member.code = parse_number(word + 5);
    else if (strcmp(word, "plain") != 0) die("family: unknown word %s", word);
  }
  return member;
}

/// A member's life. It reports its own pid, so that a daemon's is right too.
static noreturn void live(struct member member, int index, int ready) {
  sigset_t all;
  block_all(&all);
  if (member.session) setsid();
  if (member.group) setpgid(0, 0);
  say("member %d %d", index, getpid());
  if (member.closes) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    close(null);
  }
  close(ready);
  for (;;) {
    siginfo_t info;
    int number = next_signal(&all, &info);
    say("member %d signal %d", index, number);
    if (number != SIGTERM || member.ignores) continue;
    if (member.linger > 0) {
      struct timespec pause = {member.linger / 1000, member.linger % 1000 * 1000000};
      while (nanosleep(&pause, &pause) != 0 && errno == EINTR) continue;
      say("member %d cleaned", index);
    }
    _exit((int)member.code);
  }
}

static void start_member(struct member member, int index, int ready) {
  pid_t child = fork();
  if (child < 0) die("fork: %s", strerror(errno));
  if (child > 0) {
    if (member.daemon) waitpid(child, NULL, 0);
    return;
  }
  if (member.daemon) {
    setsid();
    pid_t grandchild = fork();
    if (grandchild != 0) _exit(grandchild < 0);
  }
  live(member, index, ready);
}

/// `family [--member WORDS]… [--exit N | --leader-ignores]`: a leader with members. When all live it says
/// `ready PID`. With `--exit N` it ends at once; otherwise it ends with 0 on TERM, without waiting for them,
/// unless it ignores TERM. It reaps its children, so that they are no zombies of its own making.
int command_family(int argc, char **argv) {
  int ready[2];
  if (pipe(ready) != 0) die("pipe: %s", strerror(errno));
  long code = -1;
  bool ignores = false;
  int count = 0;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--leader-ignores") == 0) {
      ignores = true;
    } else if (i + 1 < argc && strcmp(argv[i], "--exit") == 0) {
      code = parse_number(argv[++i]);
    } else if (i + 1 < argc && strcmp(argv[i], "--member") == 0) {
      struct member member = parse_member(argv[++i]);
      start_member(member, ++count, ready[1]);
    } else {
      die("family: unknown option %s", argv[i]);
    }
  }
  sigset_t all;
  block_all(&all);
  // Each member closes its end when it is set up: end of file means that all are.
  close(ready[1]);
  char byte;
  while (read(ready[0], &byte, 1) > 0) continue;
  close(ready[0]);
  say("ready %d", getpid());
  if (code >= 0) return (int)code;
  for (;;) {
    siginfo_t info;
    int number = next_signal(&all, &info);
    while (number == SIGCHLD && waitpid(-1, NULL, WNOHANG) > 0) continue;
    if (number != SIGCHLD) say("signal %d", number);
    if (number == SIGTERM && !ignores) return 0;
  }
}

/// `orphans N burst|stream`: makes N processes without a parent. `burst`: all live until USR2 comes, then
/// die at the same moment; `stream`: each dies as soon as it is made. Says `ready PID` (burst: when all
/// live), `done` when the last has been made or let go, and `signal N` for every other signal.
int command_orphans(int argc, char **argv) {
  if (argc != 4) die("usage: orphans N burst|stream");
  long count = parse_number(argv[2]);
  bool burst = strcmp(argv[3], "burst") == 0;
  sigset_t all;
  block_all(&all);
  int gate[2], made[2];
  if (pipe(gate) != 0 || pipe(made) != 0) die("pipe: %s", strerror(errno));
  if (!burst) say("ready %d", getpid());
  pid_t maker = fork();
  if (maker < 0) die("fork: %s", strerror(errno));
  if (maker == 0) {
    close(gate[1]);
    close(made[0]);
    for (long i = 0; i < count; i++) {
      pid_t orphan;
      while ((orphan = fork()) < 0 && errno == EAGAIN) continue;
      if (orphan < 0) die("fork: %s", strerror(errno));
      if (orphan > 0) {
        if (!burst) waitpid(orphan, NULL, 0);
        continue;
      }
      if (!burst) {
        // A second generation, whose parent ends first: it is adopted by the reaper at once.
        ssize_t ignored = fork();
        (void)ignored;
        _exit(0);
      }
      close(0);
      close(1);
      close(2);
      // Their dying takes the machine's time, but must not stand in the way of the processes under test.
      struct sched_param none = {0};
      sched_setscheduler(0, SCHED_IDLE, &none);
      close(made[1]);
      char byte;
      while (read(gate[0], &byte, 1) < 0 && errno == EINTR) continue;
      _exit(7);
    }
    _exit(0);
  }
  close(gate[0]);
  close(made[1]);
  struct timespec soon = {0, 1000000};
  bool made_all = false, released = false;
  for (;;) {
    siginfo_t info;
    int number = made_all ? next_signal(&all, &info) : sigtimedwait(&all, &info, &soon);
    if (number == SIGUSR2) {
      close(gate[1]);
      released = true;
      say("done");
    } else if (number > 0 && number != SIGCHLD) {
      say("signal %d", number);
      if (number == SIGTERM) return 0;
    }
    if (made_all) continue;
    struct pollfd event = {.fd = made[0], .events = POLLIN};
    // The maker and, for a burst, each orphan hold an end until they are set up.
    if (poll(&event, 1, 0) > 0 && waitpid(maker, NULL, 0) == maker) {
      made_all = true;
      if (burst && !released) say("ready %d", getpid());
      if (!burst) say("done");
    }
  }
}

/// `parent CMD…`: starts CMD as its child, says `child PID`, and waits for it, so that a test can take the
/// parent away.
int command_parent(int argc, char **argv) {
  if (argc < 3) die("usage: parent CMD…");
  pid_t child = fork();
  if (child < 0) die("fork: %s", strerror(errno));
  if (child == 0) {
    execvp(argv[2], argv + 2);
    die("exec %s: %s", argv[2], strerror(errno));
  }
  say("child %d", child);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// `claim`: reads a process number from its input and makes an orphan of that number (root of a PID namespace
/// only, since it sets the kernel's last PID). The orphan says `claimed PID`, and then behaves as a family's
/// member with code 7. Meanwhile, and afterwards, `signal N` for every signal.
int command_claim(int argc, char **argv) {
  (void)argc;
  (void)argv;
  sigset_t all;
  block_all(&all);
  say("ready %d", getpid());
  char text[32] = "";
  ssize_t length = read(0, text, sizeof text - 1);
  if (length <= 0) die("claim: no number");
  text[strcspn(text, "\n")] = 0;
  pid_t wanted = (pid_t)parse_number(text);
  pid_t maker = fork();
  if (maker == 0) {
    for (int attempt = 0; attempt < 100; attempt++) {
      int file = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
      char last[32];
      int size = snprintf(last, sizeof last, "%d", wanted - 1);
      if (file < 0 || write(file, last, (size_t)size) != size) die("ns_last_pid: %s", strerror(errno));
      close(file);
      pid_t child = fork();
      if (child == 0) {
        if (getpid() != wanted) _exit(0);
        say("claimed %d", getpid());
        siginfo_t info;
        for (;;) {
          int number = next_signal(&all, &info);
          say("claimant signal %d", number);
          if (number == SIGTERM) _exit(7);
        }
      }
      if (child == wanted) _exit(0);
      waitpid(child, NULL, 0);
    }
    die("claim: %d could not be had", wanted);
  }
  waitpid(maker, NULL, 0);
  for (;;) {
    siginfo_t info;
    int number = next_signal(&all, &info);
    if (number != SIGCHLD) say("signal %d", number);
    if (number == SIGTERM) return 0;
  }
}
