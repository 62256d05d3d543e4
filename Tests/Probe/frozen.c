// A FUSE file system that is mounted and never answers: what hangs in it is a process in the kernel, as with an NFS
// server that is gone. The protocol is that of linux/fuse.h; without a library, since only one request is answered.
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/// `frozen DIR`: mounts it, says `ready`, and from then on takes every request and answers none. Its end ends the
/// connection: what hung gets an error. Whoever started it unmounts.
int command_frozen(int argc, char **argv) {
  if (argc != 3) die("usage: frozen DIR");
  int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) die("/dev/fuse: %s", strerror(errno));
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", device);
  if (mount("frozen", argv[2], "fuse", MS_NOSUID | MS_NODEV, options) < 0) die("mount: %s", strerror(errno));
  static char request[1 << 17];
  for (;;) {
    ssize_t size = read(device, request, sizeof request);
    if (size < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (size < 0) return 0;
    struct fuse_in_header *header = (struct fuse_in_header *)request;
    if (header->opcode != FUSE_INIT) {
      say("asked %u", header->opcode);
      continue;
    }
    struct {
      struct fuse_out_header header;
      struct fuse_init_out init;
    } reply = {{sizeof reply, 0, header->unique}, {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 65536}};
    if (write(device, &reply, sizeof reply) != sizeof reply) die("FUSE_INIT: %s", strerror(errno));
    say("ready");
  }
}
