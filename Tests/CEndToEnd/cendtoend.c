#define _GNU_SOURCE
#include "CEndToEnd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int end_to_end_pipe(int *ends) { return pipe2(ends, O_CLOEXEC); }

int end_to_end_open_terminal(int *master, int *slave) {
  char name[128];
  *slave = -1;
  *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*master < 0) return -1;
  struct termios modes;
  if (grantpt(*master) == 0 && unlockpt(*master) == 0 && ptsname_r(*master, name, sizeof name) == 0 &&
      (*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0 && tcgetattr(*slave, &modes) == 0) {
    // What the test reads is what the program wrote.
    modes.c_lflag &= ~(tcflag_t)ECHO;
    modes.c_oflag &= ~(tcflag_t)OPOST;
    if (tcsetattr(*slave, TCSANOW, &modes) == 0) return 0;
  }
  int failure = errno;
  close(*master);
  if (*slave >= 0) close(*slave);
  errno = failure;
  return -1;
}

int end_to_end_resize_terminal(int master, unsigned short rows, unsigned short columns) {
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  return ioctl(master, TIOCSWINSZ, &size);
}

int end_to_end_spawn(pid_t *pid, char *const *arguments, char *const *environment, const int *descriptors,
                     int count) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int failure = posix_spawn_file_actions_init(&actions);
  if (failure != 0) return failure;
  failure = posix_spawnattr_init(&attributes);
  if (failure != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return failure;
  }
  for (int target = 0; target < count && failure == 0; target++)
    failure = posix_spawn_file_actions_adddup2(&actions, descriptors[target], target);
  if (failure == 0) failure = posix_spawn_file_actions_addclosefrom_np(&actions, count);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  if (failure == 0) failure = posix_spawn(pid, arguments[0], &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return failure;
}

void end_to_end_shrink_pipe(int descriptor) { fcntl(descriptor, F_SETPIPE_SZ, 4096); }
