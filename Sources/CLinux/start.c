#define _GNU_SOURCE
#include "clinux_start.h"

#include <stdlib.h>
#include <unistd.h>

static int argument_count;
static char *nothing[1] = {NULL};
static char **argument_vector = nothing;
static char **environment_vector = nothing;

// glibc hands main's arguments to constructors too; this one comes before those of the Swift runtime.
__attribute__((constructor(101))) static void capture_start(int count, char **arguments, char **environment) {
  argument_count = count;
  argument_vector = arguments;
  environment_vector = environment;
  char path[8];
  if (readlink("/proc/self/exe", path, sizeof path) < 0) {
    // Without /proc the runtime cannot find its own backtracer and aborts looking for it; told where it is, it does
    // not look. putenv makes a new vector, so what children get stays as it was.
    static char setting[] = "SWIFT_BACKTRACE=enable=no,swift-backtrace=/";
    putenv(setting);
  }
}

int clinux_argument_count(void) { return argument_count; }
char **clinux_argument_vector(void) { return argument_vector; }
char **clinux_environment_vector(void) { return environment_vector; }
