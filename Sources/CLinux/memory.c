#define _GNU_SOURCE
#include "clinux_memory.h"

#include <errno.h>
#include <sys/mman.h>

int clinux_memory_file(const char *name) {
  int descriptor = memfd_create(name, MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}
