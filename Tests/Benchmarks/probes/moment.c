// The app of the `release` benchmark: says the time of day in nanoseconds, and then serves nobody until it is stopped. All nodes and the database server
// are on one machine, so that it can be compared with the time in the release's record.

#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  printf("%lld%09ld\n", (long long)now.tv_sec, now.tv_nsec);
  fflush(stdout);
  for (;;) pause();
}
