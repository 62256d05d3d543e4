// What the probes share: the monotonic clock in nanoseconds, and writing whole samples.
#ifndef BENCHMARKS_CLOCK_H
#define BENCHMARKS_CLOCK_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

static inline int64_t clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void pause_for(int64_t nanoseconds) {
  struct timespec wait = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  nanosleep(&wait, NULL);
}

// A sample is far below PIPE_BUF, so one write is all or nothing.
static inline void emit(const void *bytes, size_t count) {
  while (write(STDOUT_FILENO, bytes, count) < 0 && errno == EINTR) {
  }
}

#endif
