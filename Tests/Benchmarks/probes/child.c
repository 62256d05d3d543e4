// The child process of the other benchmarks. What it does is its first argument:
//
//   idle     says that it runs, then sleeps
//   answer   on USR1 writes the clock as the first act of the handler
//   obey     on TERM writes the clock as the last act before it ends
//   mortal   writes the clock of its first and of its last act, and ends
//
// Samples are 64-bit nanoseconds of the monotonic clock on stdout; "it runs" is the sample 0. Every
// mode ends by itself after a quarter of an hour, so that a failed benchmark leaves nothing behind.

#include <signal.h>
#include <string.h>

#include "clock.h"

static void answer(int number) {
  (void)number;
  int64_t now = clock_now();
  emit(&now, sizeof now);
}

static void obey(int number) {
  (void)number;
  int64_t now = clock_now();
  emit(&now, sizeof now);
  _exit(0);
}

static void handle(int number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, NULL);
}

int main(int argc, char **argv) {
  int64_t began = clock_now();
  const char *mode = argc > 1 ? argv[1] : "";
  alarm(900);
  if (strcmp(mode, "mortal") == 0) {
    int64_t life[2] = {began, clock_now()};
    emit(life, sizeof life);
    return 0;
  } else if (strcmp(mode, "answer") == 0) {
    handle(SIGUSR1, answer);
  } else if (strcmp(mode, "obey") == 0) {
    handle(SIGTERM, obey);
  } else if (strcmp(mode, "idle") != 0) {
    return 64;
  }
  int64_t running = 0;
  emit(&running, sizeof running);
  for (;;) pause();
}
