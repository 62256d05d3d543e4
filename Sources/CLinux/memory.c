#define _GNU_SOURCE
#include "clinux_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int clinux_memory_file(const char *name) {
  int descriptor = memfd_create(name, MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int clinux_memory_file_with(const char *name, const void *bytes, unsigned long length) {
  int descriptor = clinux_memory_file(name);
  if (descriptor < 0) return descriptor;
  for (unsigned long at = 0; at < length;) {
    ssize_t size = write(descriptor, (const char *)bytes + at, length - at);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      int error = errno;
      close(descriptor);
      return -error;
    }
    at += (unsigned long)size;
  }
  if (lseek(descriptor, 0, SEEK_SET) < 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}
