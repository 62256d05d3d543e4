// Processes that use something up, or hold on to it.
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static noreturn void answer_signals(void) {
  sigset_t all;
  block_all(&all);
  say("ready %d", getpid());
  for (;;) {
    siginfo_t info;
    int number = next_signal(&all, &info);
    say("signal %d", number);
    if (number == SIGTERM) _exit(0);
  }
}

/// `eat MEGABYTES`: takes that much memory and keeps it; says `eaten` if it is let.
int command_eat(int argc, char **argv) {
  if (argc != 3) die("usage: eat MEGABYTES");
  say("ready %d", getpid());
  size_t size = (size_t)parse_number(argv[2]) << 20;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap: %s", strerror(errno));
  memset(memory, 1, size);
  say("eaten");
  answer_signals();
}

/// `hold KIND PATH`: keeps a file system busy through PATH: `cwd`, `root`, `file`, `map`, or `nothing`.
int command_hold(int argc, char **argv) {
  if (argc != 4) die("usage: hold KIND PATH");
  const char *kind = argv[2], *path = argv[3];
  if (strcmp(kind, "cwd") == 0) {
    if (chdir(path) != 0) die("chdir %s: %s", path, strerror(errno));
  } else if (strcmp(kind, "root") == 0) {
    if (chroot(path) != 0) die("chroot %s: %s", path, strerror(errno));
  } else if (strcmp(kind, "file") == 0 || strcmp(kind, "map") == 0) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die("open %s: %s", path, strerror(errno));
    if (strcmp(kind, "map") == 0) {
      // The descriptor goes: only the mapping is left to hold it.
      if (mmap(NULL, 1, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED) die("mmap: %s", strerror(errno));
      close(file);
    }
  } else if (strcmp(kind, "nothing") != 0) {
    die("hold: unknown kind %s", kind);
  }
  answer_signals();
}
